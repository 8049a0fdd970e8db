// SubmissionService over domain/submission.h.
#ifndef POSTERN_RELAY_SVC_RPC_SUBMISSION_SERVICE_H_
#define POSTERN_RELAY_SVC_RPC_SUBMISSION_SERVICE_H_

#include <atomic>

#include "boost/asio/thread_pool.hpp"
#include "proto/postern/relay/v1/submission.grpc.pb.h"
#include "relay-svc/domain/submission.h"

namespace postern::relay {

// Thread-safe. What it is given must outlive the server's drain.
class SubmissionServiceAdapter : public v1::SubmissionService::CallbackService {
 public:
  SubmissionServiceAdapter(const SubmissionParts* parts, boost::asio::thread_pool* pool)
      : parts_(parts), pool_(pool) {}

  grpc::ServerUnaryReactor* Enqueue(grpc::CallbackServerContext* context,
                                    const v1::EnqueueRequest* request,
                                    v1::EnqueueResponse* response) override;
  grpc::ServerReadReactor<v1::EnqueueStreamRequest>* EnqueueStream(
      grpc::CallbackServerContext* context, v1::EnqueueResponse* response) override;

 private:
  const SubmissionParts* const parts_;
  boost::asio::thread_pool* const pool_;
  // Messages under way: each holds up to three pieces.
  std::atomic<int> under_way_ = 0;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_RPC_SUBMISSION_SERVICE_H_
