#include "relay-svc/domain/random_id.h"

#include <sys/random.h>

#include <cstdlib>

#include "absl/strings/escaping.h"

namespace postern::relay {

std::string RandomHex(int octets) {
  std::string raw(static_cast<size_t>(octets), '\0');
  // At most 256 octets come whole and without a wait once the kernel is up (getrandom(2)).
  if (getrandom(raw.data(), raw.size(), 0) != static_cast<ssize_t>(raw.size())) std::abort();
  return absl::BytesToHexString(raw);
}

}  // namespace postern::relay
