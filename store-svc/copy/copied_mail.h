// Mail as `store-svc copy-database` carries it: mailboxes with their uids and quotas, messages,
// bodies, delivery ids, deletions that were begun. Leases and their holders stay where they are.
#ifndef POSTERN_STORE_SVC_COPY_COPIED_MAIL_H_
#define POSTERN_STORE_SVC_COPY_COPIED_MAIL_H_

#include "services/storage/copy/description.h"

namespace postern::store {

storage::copy::Database CopiedMail();

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_COPY_COPIED_MAIL_H_
