#include "services/rpc/probe.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/codegen/server_callback_handlers.h"
#include "services/rpc/context.h"

namespace postern::rpc {

ProbeService::ProbeService(const std::vector<std::string>& services)
    : ProbeService(services, [](grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
        *response = ToBuffer(CallerIdentity(*context));
        grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
        reactor->Finish(grpc::Status::OK);
        return reactor;
      }) {}

// As the generated code does it.
ProbeService::ProbeService(const std::vector<std::string>& services, Handler handler)
    : handler_(std::move(handler)) {
  for (const std::string& service : services) {
    paths_.push_back(ProbePath(service));
  }
  for (size_t i = 0; i < paths_.size(); ++i) {
    AddMethod(new grpc::internal::RpcServiceMethod(paths_[i].c_str(),
                                                   grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
    MarkMethodCallback(
        static_cast<int>(i),
        new grpc::internal::CallbackUnaryHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
            [this](grpc::CallbackServerContext* context, const grpc::ByteBuffer*,
                   grpc::ByteBuffer* response) { return handler_(context, response); }));
  }
}

std::string ProbePath(absl::string_view service) { return absl::StrCat("/", service, "/Probe"); }

grpc::ByteBuffer ToBuffer(absl::string_view text) {
  const grpc::Slice slice(text.data(), text.size());
  return grpc::ByteBuffer(&slice, 1);
}

std::string FromBuffer(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string text;
  if (buffer.Dump(&slices).ok()) {
    for (const grpc::Slice& slice : slices) {
      text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  return text;
}

absl::Status Probe(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                   std::string* answer, grpc::ClientContext* context, absl::string_view request) {
  grpc::ClientContext own;
  if (context == nullptr) {
    context = &own;
  }
  if (context->deadline() == std::chrono::system_clock::time_point::max()) {
    context->set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
  }
  const grpc::ByteBuffer sent = ToBuffer(request);
  grpc::ByteBuffer received;
  grpc::Status result;
  absl::Notification done;
  grpc::GenericStub stub(channel);
  stub.UnaryCall(context, path, grpc::StubOptions(), &sent, &received, [&](grpc::Status status) {
    result = std::move(status);
    done.Notify();
  });
  done.WaitForNotification();
  if (answer != nullptr) {
    *answer = result.ok() ? FromBuffer(received) : "";
  }
  return FromGrpc(result);
}

}  // namespace postern::rpc
