// posternctl mailbox: how much is where in store-svc, how much may be, and purge.
#ifndef POSTERN_CTL_MAILBOX_COMMANDS_H_
#define POSTERN_CTL_MAILBOX_COMMANDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ctl/directory_commands.h"
#include "ctl/output.h"
#include "ctl/remote.h"
#include "proto/postern/store/v1/store_admin.grpc.pb.h"

namespace postern::ctl {

// A mailbox is named by its account's address or by its id. One thread; `directory` and `output`
// must outlive it.
class MailboxCommands {
 public:
  MailboxCommands(Endpoint endpoint, DirectoryCommands& directory, Output& output)
      : remote_(std::move(endpoint)), directory_(directory), output_(output) {}

  absl::Status List();
  absl::Status Usage(const std::string& mailbox);
  // What is absent stays; 0 is what every mailbox has.
  absl::Status SetQuota(const std::string& mailbox, std::optional<uint64_t> octets,
                        std::optional<uint64_t> messages);
  absl::Status Purge(const std::string& mailbox);

 private:
  absl::StatusOr<std::string> IdOf(const std::string& mailbox);

  Remote<store::v1::StoreAdminService> remote_;
  DirectoryCommands& directory_;
  Output& output_;
};

}  // namespace postern::ctl

#endif  // POSTERN_CTL_MAILBOX_COMMANDS_H_
