// A directory for one test, in a file of its own.
#ifndef POSTERN_AUTH_SVC_SQLITE_TEST_DIRECTORY_H_
#define POSTERN_AUTH_SVC_SQLITE_TEST_DIRECTORY_H_

#include <memory>

#include "auth-svc/domain/directory.h"

namespace postern::auth {

// Empty.
std::unique_ptr<Directory> MakeTestDirectory();

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_SQLITE_TEST_DIRECTORY_H_
