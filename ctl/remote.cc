#include "ctl/remote.h"

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "services/rpc/call_context.h"
#include "services/rpc/channel.h"
#include "services/rpc/context.h"

namespace postern::ctl {
namespace {

constexpr absl::Duration kCallTime = absl::Seconds(30);

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const Endpoint& endpoint) {
  if (endpoint.target.target().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(endpoint.config_file, ": ", endpoint.setting,
                                                   ".target: needed for this command"));
  }
  return rpc::ConnectTo(endpoint.target, endpoint.tls, endpoint.service);
}

void Prepare(grpc::ClientContext* context) {
  rpc::CallContext call;
  call.trace = rpc::TraceContext::New();
  call.deadline = absl::Now() + kCallTime;
  rpc::WriteCallContext(call, context);
}

absl::Status Explain(const Endpoint& endpoint, const grpc::Status& status) {
  const absl::Status plain = rpc::FromGrpc(status);
  const std::string where = absl::StrCat(endpoint.service, " at ", endpoint.target.target());
  switch (plain.code()) {
    case absl::StatusCode::kUnavailable:
      return absl::UnavailableError(absl::StrCat(
          where, " does not answer: check that it runs and that ", endpoint.setting,
          ".target and mtls in ", endpoint.config_file, " are right (", plain.message(), ")"));
    case absl::StatusCode::kDeadlineExceeded:
      return absl::DeadlineExceededError(
          absl::StrCat(where, " did not answer within ", absl::FormatDuration(kCallTime),
                       ": the change may or may not have been made; look, then try again"));
    case absl::StatusCode::kPermissionDenied:
      return absl::PermissionDeniedError(absl::StrCat(
          where, " refuses this certificate: mtls.certificate_file in ", endpoint.config_file,
          " must have the identity posternctl (", plain.message(), ")"));
    case absl::StatusCode::kUnimplemented:
      return absl::UnimplementedError(
          absl::StrCat(where, " does not know this command: it may be of another version"));
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return absl::Status(plain.code(),
                          absl::StrCat(where, " failed: ", plain.message(), ": see its log"));
    default:
      return plain;
  }
}

std::string NewRequestId() { return rpc::TraceContext::New().trace_id; }

}  // namespace postern::ctl
