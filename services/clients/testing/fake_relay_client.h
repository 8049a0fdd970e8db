// relay-svc in memory, for tests.
#ifndef POSTERN_SERVICES_CLIENTS_TESTING_FAKE_RELAY_CLIENT_H_
#define POSTERN_SERVICES_CLIENTS_TESTING_FAKE_RELAY_CLIENT_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "services/clients/relay_client.h"

namespace postern::clients {

// Thread-safe. Answers on the caller's thread, and remembers nothing. Asked for what it was not
// told, it fails the test.
class FakePolicyClient : public PolicyClient {
 public:
  void SetConnection(const std::string& client_address,
                     relay::v1::CheckConnectionResponse response);
  void SetSender(const std::string& sender, relay::v1::Refusal refusal);
  // With or without a token.
  void SetRecipient(const std::string& recipient, relay::v1::CheckRecipientResponse response);
  // The next question fails with this.
  void FailNext(absl::Status status);

  // Questions that were asked.
  int connections_asked() const;
  std::vector<relay::v1::CheckSenderRequest> senders_asked() const;
  std::vector<relay::v1::CheckRecipientRequest> recipients_asked() const;

  void CheckConnection(const rpc::CallContext& call, relay::v1::CheckConnectionRequest request,
                       async::Done<relay::v1::CheckConnectionResponse> done) override;
  void CheckSender(const rpc::CallContext& call, relay::v1::CheckSenderRequest request,
                   async::Done<relay::v1::CheckSenderResponse> done) override;
  void CheckRecipient(const rpc::CallContext& call, relay::v1::CheckRecipientRequest request,
                      async::Done<relay::v1::CheckRecipientResponse> done) override;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, relay::v1::CheckConnectionResponse> connections_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, relay::v1::Refusal> senders_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, relay::v1::CheckRecipientResponse> recipients_ ABSL_GUARDED_BY(mutex_);
  int connections_asked_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<relay::v1::CheckSenderRequest> senders_asked_ ABSL_GUARDED_BY(mutex_);
  std::vector<relay::v1::CheckRecipientRequest> recipients_asked_ ABSL_GUARDED_BY(mutex_);
  absl::Status next_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe; outlives its streams. Answers on the caller's thread. A token that was not added is
// UNAUTHENTICATED.
class FakeSubmissionClient : public SubmissionClient {
 public:
  void AddToken(const std::string& token);
  // The next Enqueue, or Finish of a stream, fails with this.
  void FailNext(absl::Status status);

  // What was committed, in order; a repeated delivery stands once.
  std::vector<relay::v1::EnqueueRequest> enqueued() const;

  void Enqueue(const rpc::CallContext& call, relay::v1::EnqueueRequest request,
               async::Done<relay::v1::EnqueueResponse> done) override;
  std::unique_ptr<BodyStream<relay::v1::EnqueueResponse>> EnqueueStream(
      const rpc::CallContext& call, relay::v1::EnqueueHeader header) override;

 private:
  mutable absl::Mutex mutex_;
  std::vector<std::string> tokens_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::pair<std::string, std::string>> by_delivery_id_
      ABSL_GUARDED_BY(mutex_);
  std::vector<relay::v1::EnqueueRequest> enqueued_ ABSL_GUARDED_BY(mutex_);
  absl::Status next_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_TESTING_FAKE_RELAY_CLIENT_H_
