// For the tests of rpc.h: a service of any name, and a caller of any method.
#ifndef POSTERN_SERVICES_RPC_PROBE_H_
#define POSTERN_SERVICES_RPC_PROBE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"

namespace postern::rpc {

// Registers the method Probe of each of `services`. It answers with the caller's identity, unless
// it is given something else to do.
class ProbeService final : public grpc::Service {
 public:
  using Handler =
      std::function<grpc::ServerUnaryReactor*(grpc::CallbackServerContext*, grpc::ByteBuffer*)>;

  explicit ProbeService(const std::vector<std::string>& services);
  ProbeService(const std::vector<std::string>& services, Handler handler);

 private:
  std::vector<std::string> paths_;
  Handler handler_;
};

// The path of `service`'s Probe.
std::string ProbePath(absl::string_view service);

grpc::ByteBuffer ToBuffer(absl::string_view text);
std::string FromBuffer(const grpc::ByteBuffer& buffer);

// Waits for the answer, 20 s at most. `context` may be null.
absl::Status Probe(const std::shared_ptr<grpc::Channel>& channel, const std::string& path,
                   std::string* answer = nullptr, grpc::ClientContext* context = nullptr,
                   absl::string_view request = "");

}  // namespace postern::rpc

#endif  // POSTERN_SERVICES_RPC_PROBE_H_
