// SubmissionService and ForwardingService over domain/submission.h.
#ifndef POSTERN_RELAY_SVC_RPC_SUBMISSION_SERVICE_H_
#define POSTERN_RELAY_SVC_RPC_SUBMISSION_SERVICE_H_

#include <atomic>

#include "boost/asio/thread_pool.hpp"
#include "proto/postern/relay/v1/forwarding.grpc.pb.h"
#include "proto/postern/relay/v1/submission.grpc.pb.h"
#include "relay-svc/domain/submission.h"

namespace postern::relay {

// What both do with a message. Thread-safe.
class Enqueuer {
 public:
  Enqueuer(const SubmissionParts* parts, boost::asio::thread_pool* pool)
      : parts_(parts), pool_(pool) {}

  grpc::ServerUnaryReactor* Whole(grpc::CallbackServerContext* context,
                                  const v1::EnqueueRequest* request, v1::EnqueueResponse* response);
  grpc::ServerReadReactor<v1::EnqueueStreamRequest>* Parts(grpc::CallbackServerContext* context,
                                                           v1::EnqueueResponse* response);

 private:
  const SubmissionParts* const parts_;
  boost::asio::thread_pool* const pool_;
  // Messages under way: each holds up to three pieces.
  std::atomic<int> under_way_ = 0;
};

// Thread-safe. What they are given must outlive the server's drain.
class SubmissionServiceAdapter : public v1::SubmissionService::CallbackService {
 public:
  SubmissionServiceAdapter(const SubmissionParts* parts, boost::asio::thread_pool* pool)
      : enqueuer_(parts, pool) {}

  grpc::ServerUnaryReactor* Enqueue(grpc::CallbackServerContext* context,
                                    const v1::EnqueueRequest* request,
                                    v1::EnqueueResponse* response) override {
    return enqueuer_.Whole(context, request, response);
  }
  grpc::ServerReadReactor<v1::EnqueueStreamRequest>* EnqueueStream(
      grpc::CallbackServerContext* context, v1::EnqueueResponse* response) override {
    return enqueuer_.Parts(context, response);
  }

 private:
  Enqueuer enqueuer_;
};

class ForwardingServiceAdapter : public v1::ForwardingService::CallbackService {
 public:
  ForwardingServiceAdapter(const SubmissionParts* parts, boost::asio::thread_pool* pool)
      : enqueuer_(parts, pool) {}

  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* context,
                                    const v1::EnqueueRequest* request,
                                    v1::EnqueueResponse* response) override {
    return enqueuer_.Whole(context, request, response);
  }
  grpc::ServerReadReactor<v1::EnqueueStreamRequest>* ForwardStream(
      grpc::CallbackServerContext* context, v1::EnqueueResponse* response) override {
    return enqueuer_.Parts(context, response);
  }

 private:
  Enqueuer enqueuer_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_RPC_SUBMISSION_SERVICE_H_
