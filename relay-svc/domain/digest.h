// Over what a client gives under one delivery_id.
#ifndef POSTERN_RELAY_SVC_DOMAIN_DIGEST_H_
#define POSTERN_RELAY_SVC_DOMAIN_DIGEST_H_

#include "services/crypto/sha256.h"

namespace postern::relay {

using Digest = crypto::Sha256;

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_DIGEST_H_
