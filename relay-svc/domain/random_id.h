// How the queue names its messages.
#ifndef POSTERN_RELAY_SVC_DOMAIN_RANDOM_ID_H_
#define POSTERN_RELAY_SVC_DOMAIN_RANDOM_ID_H_

#include <string>

#include "services/crypto/random_id.h"

namespace postern::relay {

// 16 digits.
inline std::string NewQueueId() { return crypto::ShortRandomId(); }

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_RANDOM_ID_H_
