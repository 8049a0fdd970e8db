#include "services/rpc/context.h"

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "grpcpp/security/auth_context.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "services/rpc/call_context.h"
#include "services/rpc/tls.h"

namespace postern::rpc {
namespace {

constexpr char kTraceparent[] = "traceparent";
// Between a payload's type and its octets.
constexpr absl::string_view kTypeEnd("\0", 1);

}  // namespace

std::string CallerIdentity(const grpc::CallbackServerContext& context) {
  const auto peer = context.auth_context();
  return peer == nullptr ? std::string() : std::string(PeerIdentity(*peer));
}

CallContext ReadCallContext(const grpc::CallbackServerContext& context) {
  CallContext call;
  const auto& metadata = context.client_metadata();
  const auto traceparent = metadata.find(kTraceparent);
  call.trace = traceparent == metadata.end()
                   ? TraceContext::New()
                   : TraceContext::FromHeader(
                         absl::string_view(traceparent->second.data(), traceparent->second.size()));
  // gRPC says "no deadline" by a time beyond what system_clock can hold.
  const auto deadline = context.deadline();
  call.deadline = deadline == std::chrono::system_clock::time_point::max()
                      ? absl::InfiniteFuture()
                      : absl::FromChrono(deadline);
  return call;
}

void WriteCallContext(const CallContext& call, grpc::ClientContext* context) {
  if (!call.trace.trace_id.empty()) {
    context->AddMetadata(kTraceparent, call.trace.ToHeader());
  }
  if (call.deadline != absl::InfiniteFuture()) {
    context->set_deadline(absl::ToChronoTime(call.deadline));
  }
}

// Both enumerations have the same values (absl/status/status.h says so of itself).
grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) {
    return grpc::Status::OK;
  }
  std::string details;
  status.ForEachPayload([&details](absl::string_view type, const absl::Cord& payload) {
    if (details.empty()) details = absl::StrCat(type, kTypeEnd, std::string(payload));
  });
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()),
                      details);
}

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) {
    return absl::OkStatus();
  }
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  const std::string details = status.error_details();
  if (const size_t end = details.find(kTypeEnd[0]); end != std::string::npos) {
    result.SetPayload(absl::string_view(details).substr(0, end),
                      absl::Cord(absl::string_view(details).substr(end + 1)));
  }
  return result;
}

}  // namespace postern::rpc
