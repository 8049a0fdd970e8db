// Randomness that nobody can guess: nonces, delivery ids. Ids in digits: random_id.h.
#ifndef POSTERN_SERVICES_CRYPTO_RANDOM_OCTETS_H_
#define POSTERN_SERVICES_CRYPTO_RANDOM_OCTETS_H_

#include <cstddef>
#include <string>

namespace postern::crypto {

// Ends the process when the system has no randomness at all: then nothing here can be trusted.
std::string RandomOctets(size_t count);

}  // namespace postern::crypto

#endif  // POSTERN_SERVICES_CRYPTO_RANDOM_OCTETS_H_
