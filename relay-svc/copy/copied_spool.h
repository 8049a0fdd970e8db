// The spool as `relay-svc copy-database` carries it: messages, how far each recipient is, bodies,
// delivery ids. What is claimed is due again when the claim would have run out.
#ifndef POSTERN_RELAY_SVC_COPY_COPIED_SPOOL_H_
#define POSTERN_RELAY_SVC_COPY_COPIED_SPOOL_H_

#include "services/storage/copy/description.h"

namespace postern::relay {

storage::copy::Database CopiedSpool();

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_COPY_COPIED_SPOOL_H_
