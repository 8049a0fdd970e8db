// posternctl queue: what waits in relay-svc to be delivered.
#ifndef POSTERN_CTL_QUEUE_COMMANDS_H_
#define POSTERN_CTL_QUEUE_COMMANDS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "ctl/output.h"
#include "ctl/remote.h"
#include "proto/postern/relay/v1/queue_admin.grpc.pb.h"

namespace postern::ctl {

// One thread; `output` must outlive it.
class QueueCommands {
 public:
  QueueCommands(Endpoint endpoint, Output& output)
      : remote_(std::move(endpoint)), output_(output) {}

  absl::Status List();
  absl::Status Show(const std::string& queue_id);
  absl::Status Hold(const std::string& queue_id);
  absl::Status Release(const std::string& queue_id);
  // Empty: every message.
  absl::Status Retry(const std::string& queue_id);
  absl::Status Delete(const std::string& queue_id);

 private:
  Remote<relay::v1::QueueAdminService> remote_;
  Output& output_;
};

}  // namespace postern::ctl

#endif  // POSTERN_CTL_QUEUE_COMMANDS_H_
