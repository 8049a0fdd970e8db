// What is wrong with a message's content, on its way from relay-svc to the reply: a closed set that
// travels with an INVALID_ARGUMENT, since a status' words never reach a client.
#ifndef POSTERN_SERVICES_CLIENTS_CONTENT_FAULT_H_
#define POSTERN_SERVICES_CLIENTS_CONTENT_FAULT_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "proto/postern/relay/v1/submission.pb.h"

namespace postern::clients {

// INVALID_ARGUMENT that carries the fault. `field` is the header field's name as RFC 5322 writes
// it, where the fault is in one.
absl::Status ContentFaultError(relay::v1::ContentFault::Kind kind, absl::string_view field = "");

// The fault that `status` carries.
std::optional<relay::v1::ContentFault> ContentFaultOf(const absl::Status& status);

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_CONTENT_FAULT_H_
