#include "services/clients/testing/fake_store_client.h"

#include <utility>

#include "gtest/gtest.h"

namespace postern::clients {

namespace {

using store::v1::DeliverRequest;
using store::v1::DeliverResponse;

class FakeDeliverStream : public BodyStream<DeliverResponse> {
 public:
  FakeDeliverStream(FakeDeliveryClient* fake, store::v1::DeliveryHeader header) : fake_(fake) {
    *request_.mutable_header() = std::move(header);
  }

  void Write(std::string piece, async::DoneStatus done) override {
    request_.mutable_body()->append(piece);
    done(absl::OkStatus());
  }
  void Finish(async::Done<DeliverResponse> done) override {
    fake_->Deliver({}, std::move(request_), std::move(done));
  }

 private:
  FakeDeliveryClient* const fake_;
  DeliverRequest request_;
};

class FakeMessageReader : public MessageReader {
 public:
  FakeMessageReader(FakeMaildropClient* fake, absl::StatusOr<std::vector<std::string>> pieces)
      : fake_(fake), pieces_(std::move(pieces)) {}

  void Read(async::Done<std::optional<std::string>> done) override {
    if (!pieces_.ok()) {
      done(pieces_.status());
    } else if (next_ == pieces_->size()) {
      done(std::optional<std::string>());
    } else {
      fake_->CountPiece();
      done(std::optional<std::string>(std::move((*pieces_)[next_++])));
    }
  }

 private:
  FakeMaildropClient* const fake_;
  absl::StatusOr<std::vector<std::string>> pieces_;
  size_t next_ = 0;
};

class FakeMaildrop : public Maildrop {
 public:
  FakeMaildrop(FakeMaildropClient* fake, std::string token)
      : fake_(fake), token_(std::move(token)) {}
  ~FakeMaildrop() override {
    if (open_) fake_->Unlock(token_);
  }

  std::unique_ptr<MessageReader> Retrieve(const rpc::CallContext& /*call*/, uint64_t uid,
                                          std::optional<uint32_t> body_lines) override {
    return std::make_unique<FakeMessageReader>(fake_, fake_->Pieces(token_, uid, body_lines));
  }

  void Commit(const rpc::CallContext& /*call*/, std::vector<uint64_t> deleted_uids,
              async::DoneStatus done) override {
    const absl::Status status =
        deleted_uids.empty() ? absl::OkStatus() : fake_->Delete(token_, deleted_uids);
    if (status.ok()) {
      fake_->Unlock(token_);
      open_ = false;
    }
    done(status);
  }

 private:
  FakeMaildropClient* const fake_;
  const std::string token_;
  bool open_ = true;
};

std::string Top(const std::string& message, uint32_t body_lines) {
  size_t end = message.find("\r\n\r\n");
  if (end == std::string::npos) return message;
  end += 4;
  for (; body_lines > 0 && end < message.size(); --body_lines) {
    const size_t line = message.find("\r\n", end);
    end = line == std::string::npos ? message.size() : line + 2;
  }
  return message.substr(0, end);
}

}  // namespace

void FakeDeliveryClient::AddMailbox(const std::string& mailbox_id) {
  absl::MutexLock lock(&mutex_);
  mailboxes_.insert(mailbox_id);
}

void FakeDeliveryClient::SetFull(const std::string& mailbox_id, bool full) {
  absl::MutexLock lock(&mutex_);
  if (full) {
    full_.insert(mailbox_id);
  } else {
    full_.erase(mailbox_id);
  }
}

void FakeDeliveryClient::FailNext(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  next_ = std::move(status);
}

std::vector<DeliverRequest> FakeDeliveryClient::delivered() const {
  absl::MutexLock lock(&mutex_);
  return delivered_;
}

void FakeDeliveryClient::Deliver(const rpc::CallContext& /*call*/, DeliverRequest request,
                                 async::Done<DeliverResponse> done) {
  absl::StatusOr<DeliverResponse> answer = DeliverResponse();
  {
    absl::MutexLock lock(&mutex_);
    const std::string contents = request.SerializeAsString();
    if (!next_.ok()) {
      answer = std::exchange(next_, absl::OkStatus());
    } else if (const auto known = by_delivery_id_.find(request.header().delivery_id());
               known != by_delivery_id_.end()) {
      if (known->second == contents) {
        answer->set_repeated_delivery(true);
      } else {
        answer = absl::AlreadyExistsError("this delivery_id was used for something else");
      }
    } else {
      EXPECT_EQ(request.header().delivery_id().size(), 16u);
      for (const auto& recipient : request.header().recipients()) {
        EXPECT_EQ(mailboxes_.count(recipient.mailbox_id()), 1u)
            << "nothing was said about mailbox " << recipient.mailbox_id();
        if (full_.count(recipient.mailbox_id()) != 0) {
          answer = absl::ResourceExhaustedError("over quota");
        }
      }
      if (answer.ok()) {
        by_delivery_id_[request.header().delivery_id()] = contents;
        delivered_.push_back(std::move(request));
      }
    }
  }
  done(std::move(answer));
}

std::unique_ptr<BodyStream<DeliverResponse>> FakeDeliveryClient::DeliverStream(
    const rpc::CallContext& /*call*/, store::v1::DeliveryHeader header) {
  return std::make_unique<FakeDeliverStream>(this, std::move(header));
}

void FakeDeliveryClient::CheckQuota(const rpc::CallContext& /*call*/,
                                    store::v1::CheckQuotaRequest request,
                                    async::Done<store::v1::CheckQuotaResponse> done) {
  absl::StatusOr<store::v1::CheckQuotaResponse> answer = store::v1::CheckQuotaResponse();
  {
    absl::MutexLock lock(&mutex_);
    if (!next_.ok()) {
      answer = std::exchange(next_, absl::OkStatus());
    } else {
      for (const std::string& mailbox_id : request.mailbox_ids()) {
        EXPECT_EQ(mailboxes_.count(mailbox_id), 1u)
            << "nothing was said about mailbox " << mailbox_id;
        if (full_.count(mailbox_id) != 0) answer->add_full_mailbox_ids(mailbox_id);
      }
    }
  }
  done(std::move(answer));
}

void FakeMaildropClient::AddMaildrop(const std::string& token, uint32_t uid_validity,
                                     std::map<uint64_t, std::string> messages) {
  absl::MutexLock lock(&mutex_);
  drops_[token] = Drop{uid_validity, std::move(messages)};
}

void FakeMaildropClient::FailNextOpen(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  next_open_ = std::move(status);
}

void FakeMaildropClient::FailNextRetrieve(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  next_retrieve_ = std::move(status);
}

void FakeMaildropClient::FailNextCommit(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  next_commit_ = std::move(status);
}

void FakeMaildropClient::SetPieceOctets(size_t octets) {
  absl::MutexLock lock(&mutex_);
  piece_octets_ = octets;
}

std::vector<uint64_t> FakeMaildropClient::Uids(const std::string& token) const {
  absl::MutexLock lock(&mutex_);
  std::vector<uint64_t> uids;
  for (const auto& [uid, message] : drops_.at(token).messages) uids.push_back(uid);
  return uids;
}

bool FakeMaildropClient::IsOpen(const std::string& token) const {
  absl::MutexLock lock(&mutex_);
  return drops_.at(token).open;
}

bool FakeMaildropClient::WaitUntilClosed(const std::string& token) const {
  const auto closed = [this, &token]()
                          ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !drops_.at(token).open; };
  absl::MutexLock lock(&mutex_);
  return mutex_.AwaitWithTimeout(absl::Condition(&closed), absl::Seconds(20));
}

size_t FakeMaildropClient::pieces() const {
  absl::MutexLock lock(&mutex_);
  return pieces_;
}

void FakeMaildropClient::Open(const rpc::CallContext& /*call*/, std::string token,
                              std::string session_nonce, async::Done<OpenedMaildrop> done) {
  EXPECT_EQ(session_nonce.size(), 16u);
  absl::StatusOr<MaildropListing> listing = Lock(token);
  if (listing.ok()) {
    done(OpenedMaildrop{std::make_unique<FakeMaildrop>(this, token), *std::move(listing)});
  } else {
    done(listing.status());
  }
}

absl::StatusOr<MaildropListing> FakeMaildropClient::Lock(const std::string& token) {
  absl::MutexLock lock(&mutex_);
  if (!next_open_.ok()) return std::exchange(next_open_, absl::OkStatus());
  const auto found = drops_.find(token);
  if (found == drops_.end()) return absl::UnauthenticatedError("the token is not good");
  if (found->second.open) return absl::AbortedError("another session has it");
  found->second.open = true;
  MaildropListing listing;
  listing.uid_validity = found->second.uid_validity;
  for (const auto& [uid, message] : found->second.messages) {
    listing.entries.push_back({uid, message.size()});
  }
  return listing;
}

void FakeMaildropClient::Unlock(const std::string& token) {
  absl::MutexLock lock(&mutex_);
  drops_.at(token).open = false;
}

absl::StatusOr<std::vector<std::string>> FakeMaildropClient::Pieces(
    const std::string& token, uint64_t uid, std::optional<uint32_t> body_lines) {
  absl::MutexLock lock(&mutex_);
  if (!next_retrieve_.ok()) return std::exchange(next_retrieve_, absl::OkStatus());
  const auto& messages = drops_.at(token).messages;
  const auto found = messages.find(uid);
  if (found == messages.end()) return absl::NotFoundError("no such uid");
  const std::string text = body_lines.has_value() ? Top(found->second, *body_lines) : found->second;
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size(); at += piece_octets_) {
    pieces.push_back(text.substr(at, piece_octets_));
  }
  return pieces;
}

absl::Status FakeMaildropClient::Delete(const std::string& token,
                                        const std::vector<uint64_t>& uids) {
  absl::MutexLock lock(&mutex_);
  if (!next_commit_.ok()) return std::exchange(next_commit_, absl::OkStatus());
  for (const uint64_t uid : uids) drops_.at(token).messages.erase(uid);
  return absl::OkStatus();
}

void FakeMaildropClient::CountPiece() {
  absl::MutexLock lock(&mutex_);
  ++pieces_;
}

}  // namespace postern::clients
