#include "services/crypto/random_id.h"

#include "absl/strings/escaping.h"
#include "services/crypto/random_octets.h"

namespace postern::crypto {

std::string RandomId() { return absl::BytesToHexString(RandomOctets(16)); }

std::string ShortRandomId() { return absl::BytesToHexString(RandomOctets(8)); }

}  // namespace postern::crypto
