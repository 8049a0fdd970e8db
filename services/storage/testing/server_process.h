// What tests need to run a real server: a process, a free port, its log.
#ifndef POSTERN_SERVICES_STORAGE_TESTING_SERVER_PROCESS_H_
#define POSTERN_SERVICES_STORAGE_TESTING_SERVER_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace postern::storage {

// Ends the test when `good` is false: nothing that follows means anything.
void Check(bool good, absl::string_view what);

// Its output goes behind what `log` has. Looked up in PATH. It ends when we do, by `end_signal`
// ("KILL", "QUIT"); as `user`, or as who we are when that is empty.
pid_t Spawn(std::vector<std::string> arguments, const std::string& log,
            const std::string& end_signal, const std::string& user = "");

// Stops it (SIGSTOP), every thread of it: when this returns it does nothing more until SIGCONT.
// kill() alone returns while threads on other processors are still at work.
void Suspend(pid_t pid);

// Of 127.0.0.1; somebody else may still take it.
int FreePort();

std::string Contents(const std::string& file);

}  // namespace postern::storage

#endif  // POSTERN_SERVICES_STORAGE_TESTING_SERVER_PROCESS_H_
