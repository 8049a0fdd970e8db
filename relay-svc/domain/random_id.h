// Identifiers that nobody can guess.
#ifndef POSTERN_RELAY_SVC_DOMAIN_RANDOM_ID_H_
#define POSTERN_RELAY_SVC_DOMAIN_RANDOM_ID_H_

#include <string>

namespace postern::relay {

// `octets` random octets as lower-case hexadecimal digits.
std::string RandomHex(int octets);

// 16 digits.
inline std::string NewQueueId() { return RandomHex(8); }

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_RANDOM_ID_H_
