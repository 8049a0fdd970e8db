// A service that posternctl talks to: one call at a time, errors as sentences for its user.
#ifndef POSTERN_CTL_REMOTE_H_
#define POSTERN_CTL_REMOTE_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/postern/config/v1/posternctl.pb.h"

namespace postern::ctl {

// Which service, and where the configuration says that it is.
struct Endpoint {
  // Its identity.
  absl::string_view service;
  // The key of its target.
  absl::string_view setting;
  config::v1::RpcTarget target;
  config::v1::MutualTls tls;
  // For error messages.
  std::string config_file;
};

absl::StatusOr<std::shared_ptr<grpc::Channel>> Connect(const Endpoint& endpoint);
// Puts the deadline and a new trace on a call.
void Prepare(grpc::ClientContext* context);
// One line that says what to do next.
absl::Status Explain(const Endpoint& endpoint, const grpc::Status& status);
// For a change, so that gRPC's own repetitions take effect once.
std::string NewRequestId();

// Connects at the first call. One thread.
template <typename Service>
class Remote {
 public:
  explicit Remote(Endpoint endpoint) : endpoint_(std::move(endpoint)) {}

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Service::Stub::*method)(grpc::ClientContext*,
                                                                      const Request&, Response*),
                                const Request& request) {
    if (stub_ == nullptr) {
      absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = Connect(endpoint_);
      if (!channel.ok()) return channel.status();
      stub_ = Service::NewStub(*std::move(channel));
    }
    grpc::ClientContext context;
    Prepare(&context);
    Response response;
    const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
    if (!status.ok()) return Explain(endpoint_, status);
    return response;
  }

  // Gathers `items` of every page.
  template <typename Request, typename Response, typename Item>
  absl::StatusOr<std::vector<Item>> List(
      grpc::Status (Service::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
      Request request, google::protobuf::RepeatedPtrField<Item>* (Response::*items)()) {
    request.set_page_size(kPageSize);
    std::vector<Item> all;
    do {
      absl::StatusOr<Response> page = Call(method, request);
      if (!page.ok()) return page.status();
      for (Item& item : *(*page.*items)()) all.push_back(std::move(item));
      request.set_page_token(page->next_page_token());
    } while (!request.page_token().empty());
    return all;
  }

 private:
  // An entry of the queue may have hundreds of recipients, and a message has at most 1 MiB.
  static constexpr int kPageSize = 50;

  const Endpoint endpoint_;
  std::unique_ptr<typename Service::Stub> stub_;
};

}  // namespace postern::ctl

#endif  // POSTERN_CTL_REMOTE_H_
