#include "services/crypto/random_octets.h"

#include <cstdlib>

#include "openssl/rand.h"

namespace postern::crypto {

std::string RandomOctets(size_t count) {
  std::string octets(count, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(octets.data()), static_cast<int>(count)) != 1) {
    std::abort();
  }
  return octets;
}

}  // namespace postern::crypto
