// The directory as `auth-svc copy-database` carries it: all of it.
#ifndef POSTERN_AUTH_SVC_COPY_COPIED_DIRECTORY_H_
#define POSTERN_AUTH_SVC_COPY_COPIED_DIRECTORY_H_

#include "services/storage/copy/description.h"

namespace postern::auth {

storage::copy::Database CopiedDirectory();

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_COPY_COPIED_DIRECTORY_H_
