#include "services/clients/testing/fake_relay_client.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace postern::clients {

namespace {

using relay::v1::EnqueueRequest;
using relay::v1::EnqueueResponse;

class FakeEnqueueStream : public BodyStream<EnqueueResponse> {
 public:
  FakeEnqueueStream(FakeSubmissionClient* fake, relay::v1::EnqueueHeader header) : fake_(fake) {
    *request_.mutable_header() = std::move(header);
  }

  void Write(std::string piece, async::DoneStatus done) override {
    request_.mutable_body()->append(piece);
    done(absl::OkStatus());
  }
  void Finish(async::Done<EnqueueResponse> done) override {
    fake_->Enqueue({}, std::move(request_), std::move(done));
  }

 private:
  FakeSubmissionClient* const fake_;
  EnqueueRequest request_;
};

}  // namespace

void FakePolicyClient::SetConnection(const std::string& client_address,
                                     relay::v1::CheckConnectionResponse response) {
  absl::MutexLock lock(&mutex_);
  connections_[client_address] = std::move(response);
}

void FakePolicyClient::SetSender(const std::string& sender, relay::v1::Refusal refusal) {
  absl::MutexLock lock(&mutex_);
  senders_[sender] = refusal;
}

void FakePolicyClient::SetRecipient(const std::string& recipient,
                                    relay::v1::CheckRecipientResponse response) {
  absl::MutexLock lock(&mutex_);
  recipients_[recipient] = std::move(response);
}

void FakePolicyClient::FailNext(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  next_ = std::move(status);
}

int FakePolicyClient::connections_asked() const {
  absl::MutexLock lock(&mutex_);
  return connections_asked_;
}

std::vector<relay::v1::CheckSenderRequest> FakePolicyClient::senders_asked() const {
  absl::MutexLock lock(&mutex_);
  return senders_asked_;
}

std::vector<relay::v1::CheckRecipientRequest> FakePolicyClient::recipients_asked() const {
  absl::MutexLock lock(&mutex_);
  return recipients_asked_;
}

void FakePolicyClient::CheckConnection(const rpc::CallContext& /*call*/,
                                       relay::v1::CheckConnectionRequest request,
                                       async::Done<relay::v1::CheckConnectionResponse> done) {
  absl::StatusOr<relay::v1::CheckConnectionResponse> answer;
  {
    absl::MutexLock lock(&mutex_);
    ++connections_asked_;
    if (!next_.ok()) {
      answer = std::exchange(next_, absl::OkStatus());
    } else if (const auto known = connections_.find(request.client_address());
               known != connections_.end()) {
      answer = known->second;
    } else {
      ADD_FAILURE() << "nothing was said about client " << request.client_address();
      answer = absl::InternalError("unexpected");
    }
  }
  done(std::move(answer));
}

void FakePolicyClient::CheckSender(const rpc::CallContext& /*call*/,
                                   relay::v1::CheckSenderRequest request,
                                   async::Done<relay::v1::CheckSenderResponse> done) {
  absl::StatusOr<relay::v1::CheckSenderResponse> answer;
  {
    absl::MutexLock lock(&mutex_);
    senders_asked_.push_back(request);
    if (!next_.ok()) {
      answer = std::exchange(next_, absl::OkStatus());
    } else if (const auto known = senders_.find(request.sender()); known != senders_.end()) {
      relay::v1::CheckSenderResponse response;
      response.set_refusal(known->second);
      answer = response;
    } else {
      ADD_FAILURE() << "nothing was said about sender " << request.sender();
      answer = absl::InternalError("unexpected");
    }
  }
  done(std::move(answer));
}

void FakePolicyClient::CheckRecipient(const rpc::CallContext& /*call*/,
                                      relay::v1::CheckRecipientRequest request,
                                      async::Done<relay::v1::CheckRecipientResponse> done) {
  absl::StatusOr<relay::v1::CheckRecipientResponse> answer;
  {
    absl::MutexLock lock(&mutex_);
    recipients_asked_.push_back(request);
    if (!next_.ok()) {
      answer = std::exchange(next_, absl::OkStatus());
    } else if (const auto known = recipients_.find(request.recipient());
               known != recipients_.end()) {
      answer = known->second;
    } else {
      ADD_FAILURE() << "nothing was said about recipient " << request.recipient();
      answer = absl::InternalError("unexpected");
    }
  }
  done(std::move(answer));
}

void FakeSubmissionClient::AddToken(const std::string& token) {
  absl::MutexLock lock(&mutex_);
  tokens_.push_back(token);
}

void FakeSubmissionClient::FailNext(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  next_ = std::move(status);
}

std::vector<EnqueueRequest> FakeSubmissionClient::enqueued() const {
  absl::MutexLock lock(&mutex_);
  return enqueued_;
}

void FakeSubmissionClient::Enqueue(const rpc::CallContext& /*call*/, EnqueueRequest request,
                                   async::Done<EnqueueResponse> done) {
  absl::StatusOr<EnqueueResponse> answer = EnqueueResponse();
  {
    absl::MutexLock lock(&mutex_);
    const std::string contents = request.SerializeAsString();
    const std::string& delivery_id = request.header().delivery_id();
    if (!next_.ok()) {
      answer = std::exchange(next_, absl::OkStatus());
    } else if (std::find(tokens_.begin(), tokens_.end(), request.header().token()) ==
               tokens_.end()) {
      answer = absl::UnauthenticatedError("the token is not good");
    } else if (const auto known = by_delivery_id_.find(delivery_id);
               known != by_delivery_id_.end()) {
      if (known->second.first == contents) {
        answer->set_queue_id(known->second.second);
        answer->set_repeated_delivery(true);
      } else {
        answer = absl::AlreadyExistsError("this delivery_id was used for something else");
      }
    } else {
      EXPECT_EQ(delivery_id.size(), 16u);
      EXPECT_GT(request.header().recipients_size(), 0);
      const std::string queue_id = absl::StrCat("queue-", enqueued_.size() + 1);
      by_delivery_id_[delivery_id] = {contents, queue_id};
      answer->set_queue_id(queue_id);
      enqueued_.push_back(std::move(request));
    }
  }
  done(std::move(answer));
}

std::unique_ptr<BodyStream<EnqueueResponse>> FakeSubmissionClient::EnqueueStream(
    const rpc::CallContext& /*call*/, relay::v1::EnqueueHeader header) {
  return std::make_unique<FakeEnqueueStream>(this, std::move(header));
}

}  // namespace postern::clients
