#include "services/clients/testing/contract_server.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/server_context.h"
#include "gtest/gtest.h"
#include "proto/postern/auth/v1/authentication.grpc.pb.h"
#include "proto/postern/auth/v1/directory.grpc.pb.h"
#include "proto/postern/config/v1/process.pb.h"
#include "proto/postern/relay/v1/forwarding.grpc.pb.h"
#include "proto/postern/relay/v1/policy.grpc.pb.h"
#include "proto/postern/relay/v1/submission.grpc.pb.h"
#include "proto/postern/store/v1/delivery.grpc.pb.h"
#include "proto/postern/store/v1/maildrop.grpc.pb.h"
#include "services/body/piece.h"
#include "services/identity/access.h"
#include "services/rpc/channel.h"
#include "services/rpc/context.h"

namespace postern::clients {

namespace {

using grpc::ServerContext;
using grpc::Status;

// Asks a fake, which answers at once.
template <typename Response, typename Ask>
Status Answer(Response* response, Ask ask) {
  Status status;
  ask([&](absl::StatusOr<Response> answer) {
    status = rpc::ToGrpc(answer.status());
    if (answer.ok()) *response = *std::move(answer);
  });
  return status;
}

class Authentication : public auth::v1::AuthenticationService::Service {
 public:
  explicit Authentication(FakeAuthenticationClient* fake) : fake_(fake) {}

  Status Authenticate(ServerContext*,
                      grpc::ServerReaderWriter<auth::v1::AuthenticateResponse,
                                               auth::v1::AuthenticateRequest>* stream) override {
    FakeAuthenticationClient::Exchange exchange;
    auth::v1::AuthenticateRequest request;
    while (stream->Read(&request)) {
      const auto response = fake_->Step(request, &exchange);
      if (!response.ok()) return rpc::ToGrpc(response.status());
      stream->Write(*response);
      if (!response->has_challenge()) return Status::OK;
    }
    return Status::CANCELLED;
  }

 private:
  FakeAuthenticationClient* const fake_;
};

class Directory : public auth::v1::DirectoryService::Service {
 public:
  explicit Directory(FakeDirectoryClient* fake) : fake_(fake) {}

  Status ResolveRecipient(ServerContext*, const auth::v1::ResolveRecipientRequest* request,
                          auth::v1::ResolveRecipientResponse* response) override {
    return Answer(response,
                  [&](auto done) { fake_->ResolveRecipient({}, *request, std::move(done)); });
  }
  Status MaySendAs(ServerContext*, const auth::v1::MaySendAsRequest* request,
                   auth::v1::MaySendAsResponse* response) override {
    return Answer(response, [&](auto done) { fake_->MaySendAs({}, *request, std::move(done)); });
  }

 private:
  FakeDirectoryClient* const fake_;
};

// What was sent before the client went away.
class AbandonedUploads {
 public:
  void Count() {
    absl::MutexLock lock(&mutex_);
    ++count_;
  }
  bool Wait() const {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(
                                       +[](const int* count) { return *count > 0; }, &count_),
                                   absl::Seconds(20));
  }

 private:
  mutable absl::Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Reads header, pieces and end into `request`; false when the client went away.
template <typename Part, typename Request>
bool ReadUpload(grpc::ServerReader<Part>* reader, Request* request) {
  Part part;
  bool first = true;
  while (reader->Read(&part)) {
    EXPECT_EQ(part.has_header(), std::exchange(first, false)) << "one header, and it comes first";
    if (part.has_header()) {
      *request->mutable_header() = part.header();
    } else if (part.has_chunk()) {
      EXPECT_LE(part.chunk().size(), kMaxPieceOctets);
      request->mutable_body()->append(part.chunk());
    } else {
      EXPECT_EQ(part.body_octets(), request->body().size());
      EXPECT_FALSE(reader->Read(&part)) << "nothing follows the end";
      return true;
    }
  }
  return false;
}

// Keeps requests of an open call from going on, and counts.
class Gate {
 public:
  void Hold(bool hold) {
    absl::MutexLock lock(&mutex_);
    held_ = hold;
  }
  void CountCall() {
    absl::MutexLock lock(&mutex_);
    ++calls_;
  }
  // A request has come.
  void Pass(const ServerContext& context) {
    absl::MutexLock lock(&mutex_);
    ++requests_;
    ++waiting_;
    // A cancellation wakes nobody here.
    while (!context.IsCancelled() &&
           !mutex_.AwaitWithTimeout(absl::Condition(
                                        +[](bool* held) { return !*held; }, &held_),
                                    absl::Milliseconds(10))) {
    }
    --waiting_;
  }
  bool AwaitRequest() const {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(
                                       +[](const int* waiting) { return *waiting > 0; }, &waiting_),
                                   absl::Seconds(20));
  }
  int requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  int calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }

 private:
  mutable absl::Mutex mutex_;
  bool held_ ABSL_GUARDED_BY(mutex_) = false;
  int requests_ ABSL_GUARDED_BY(mutex_) = 0;
  // Held now.
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

class Delivery : public store::v1::DeliveryService::Service {
 public:
  Delivery(FakeDeliveryClient* fake, AbandonedUploads* abandoned, Gate* gate)
      : fake_(fake), abandoned_(abandoned), gate_(gate) {}

  Status Deliver(ServerContext*, const store::v1::DeliverRequest* request,
                 store::v1::DeliverResponse* response) override {
    return Answer(response, [&](auto done) { fake_->Deliver({}, *request, std::move(done)); });
  }
  Status DeliverStream(ServerContext*, grpc::ServerReader<store::v1::DeliverStreamRequest>* reader,
                       store::v1::DeliverResponse* response) override {
    store::v1::DeliverRequest request;
    if (!ReadUpload(reader, &request)) {
      abandoned_->Count();
      return Status::CANCELLED;
    }
    return Answer(response, [&](auto done) { fake_->Deliver({}, request, std::move(done)); });
  }
  Status DeliverMany(ServerContext* context,
                     grpc::ServerReaderWriter<store::v1::DeliverManyResponse,
                                              store::v1::DeliverManyRequest>* stream) override {
    gate_->CountCall();
    store::v1::DeliverManyRequest request;
    while (stream->Read(&request)) {
      gate_->Pass(*context);
      store::v1::DeliverManyResponse response;
      for (const store::v1::NumberedDelivery& one : request.deliveries()) {
        store::v1::DeliveryOutcome& outcome = *response.add_outcomes();
        outcome.set_number(one.number());
        fake_->Deliver({}, one.delivery(), [&](auto answer) {
          outcome.set_code(static_cast<int>(answer.status().code()));
          outcome.set_message(std::string(answer.status().message()));
          if (answer.ok()) outcome.set_repeated_delivery(answer->repeated_delivery());
        });
      }
      stream->Write(response);
    }
    return Status::OK;
  }
  Status CheckQuota(ServerContext*, const store::v1::CheckQuotaRequest* request,
                    store::v1::CheckQuotaResponse* response) override {
    return Answer(response, [&](auto done) { fake_->CheckQuota({}, *request, std::move(done)); });
  }

 private:
  FakeDeliveryClient* const fake_;
  AbandonedUploads* const abandoned_;
  Gate* const gate_;
};

class Maildrops : public store::v1::MaildropService::Service {
 public:
  explicit Maildrops(FakeMaildropClient* fake) : fake_(fake) {}

  Status Open(
      ServerContext* context,
      grpc::ServerReaderWriter<store::v1::OpenResponse, store::v1::OpenRequest>* stream) override {
    store::v1::OpenRequest request;
    if (!stream->Read(&request)) return Status::CANCELLED;
    const std::string token = request.token();
    MaildropListing listing;
    uint64_t fence;
    uint64_t holder;
    {
      absl::MutexLock lock(&mutex_);
      if (request.resume_fence() == 0) {
        auto locked = fake_->Lock(token);
        if (!locked.ok()) return rpc::ToGrpc(locked.status());
        listing = *std::move(locked);
        leases_[token].fence = ++last_fence_;
      } else {
        const auto lease = leases_.find(token);
        if (lease == leases_.end() || lease->second.fence != request.resume_fence()) {
          return rpc::ToGrpc(absl::FailedPreconditionError("the fence is stale"));
        }
        ++resumed_;
      }
      fence = leases_[token].fence;
      holder = leases_[token].holder = ++last_holder_;
      open_.insert(context);
    }
    Send(stream, fence, listing);
    // To the half-close, or the end of the connection.
    while (stream->Read(&request)) {
      fetch_gate_.Pass(*context);
      AnswerFetch(stream, token, request.fetch());
    }
    absl::MutexLock lock(&mutex_);
    open_.erase(context);
    // Another stream may have resumed it, or it was forgotten.
    const auto lease = leases_.find(token);
    if (lease == leases_.end() || lease->second.holder != holder) return Status::CANCELLED;
    if (context->IsCancelled()) return Status::CANCELLED;
    leases_.erase(lease);
    fake_->Unlock(token);
    return Status::OK;
  }

  Status Retrieve(ServerContext*, const store::v1::RetrieveRequest* request,
                  grpc::ServerWriter<store::v1::RetrieveResponse>* writer) override {
    if (!Holds(*request)) {
      return rpc::ToGrpc(absl::FailedPreconditionError("the fence is stale"));
    }
    const auto pieces = fake_->Pieces(
        request->token(), request->uid(),
        request->has_body_lines() ? std::optional(request->body_lines()) : std::nullopt);
    if (!pieces.ok()) return rpc::ToGrpc(pieces.status());
    for (const std::string& piece : *pieces) {
      store::v1::RetrieveResponse response;
      response.set_chunk(piece);
      if (!writer->Write(response)) return Status::CANCELLED;
      fake_->CountPiece();
    }
    return Status::OK;
  }

  Status Commit(ServerContext*, const store::v1::CommitRequest* request,
                store::v1::CommitResponse*) override {
    if (!Holds(*request)) {
      return rpc::ToGrpc(absl::FailedPreconditionError("the fence is stale"));
    }
    return rpc::ToGrpc(fake_->Delete(
        request->token(), {request->deleted_uids().begin(), request->deleted_uids().end()}));
  }

  void Break(bool forget) {
    absl::MutexLock lock(&mutex_);
    if (forget) {
      for (const auto& [token, lease] : leases_) fake_->Unlock(token);
      leases_.clear();
    }
    for (ServerContext* context : open_) context->TryCancel();
  }
  int resumed() const {
    absl::MutexLock lock(&mutex_);
    return resumed_;
  }
  int fetches() const {
    absl::MutexLock lock(&mutex_);
    return fetches_;
  }
  Gate& fetch_gate() { return fetch_gate_; }

 private:
  // As in the store, a resume keeps the fence; the holder says which stream has it now.
  struct Lease {
    uint64_t fence = 0;
    uint64_t holder = 0;
  };
  using Stream = grpc::ServerReaderWriter<store::v1::OpenResponse, store::v1::OpenRequest>;

  // In pages of two, so that there are several.
  static void Send(Stream* stream, uint64_t fence, const MaildropListing& listing) {
    store::v1::OpenResponse response;
    response.mutable_lease()->set_fence(fence);
    response.mutable_lease()->set_uid_validity(listing.uid_validity);
    response.mutable_lease()->set_message_count(listing.entries.size());
    for (size_t at = 0; at == 0 || at < listing.entries.size(); at += 2) {
      auto* page = response.mutable_page();
      page->Clear();
      for (size_t i = at; i < std::min(at + 2, listing.entries.size()); ++i) {
        page->add_uids(listing.entries[i].uid);
        page->add_sizes(listing.entries[i].octets);
      }
      page->set_last(at + 2 >= listing.entries.size());
      stream->Write(response);
      response.clear_lease();
    }
  }

  // What has several pieces is left to Retrieve.
  void AnswerFetch(Stream* stream, const std::string& token,
                   const store::v1::OpenRequest::Fetch& fetch) {
    {
      absl::MutexLock lock(&mutex_);
      ++fetches_;
    }
    store::v1::OpenResponse response;
    store::v1::OpenResponse::Fetched& fetched = *response.mutable_fetched();
    std::vector<uint64_t> uids = fake_->Uids(token);
    uids.erase(uids.begin(), std::lower_bound(uids.begin(), uids.end(), fetch.uid() + 1));
    uids.insert(uids.begin(), fetch.uid());
    for (const uint64_t uid : uids) {
      const bool first = uid == fetch.uid();
      if (!first) fetched.set_next_uid(uid);
      if (!first && !fetch.ahead()) break;
      const auto pieces = fake_->Pieces(
          token, uid, fetch.has_body_lines() ? std::optional(fetch.body_lines()) : std::nullopt);
      if (first && !pieces.ok()) {
        fetched.set_code(static_cast<int>(pieces.status().code()));
        fetched.set_error(std::string(pieces.status().message()));
      } else if (first && pieces->size() > 1) {
        fetched.set_code(static_cast<int>(absl::StatusCode::kOutOfRange));
      }
      if (fetched.code() != 0 || !pieces.ok() || pieces->size() > 1) break;
      fetched.set_next_uid(0);
      store::v1::OpenResponse::Message& message = *fetched.add_messages();
      message.set_uid(uid);
      if (!pieces->empty()) message.set_octets(pieces->front());
      fake_->CountPiece();
    }
    stream->Write(response);
  }

  template <typename Request>
  bool Holds(const Request& request) const {
    absl::MutexLock lock(&mutex_);
    const auto lease = leases_.find(request.token());
    return lease != leases_.end() && lease->second.fence == request.fence();
  }

  FakeMaildropClient* const fake_;
  mutable absl::Mutex mutex_;
  std::map<std::string, Lease> leases_ ABSL_GUARDED_BY(mutex_);
  std::set<ServerContext*> open_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_fence_ ABSL_GUARDED_BY(mutex_) = 100;
  int resumed_ ABSL_GUARDED_BY(mutex_) = 0;
  int fetches_ ABSL_GUARDED_BY(mutex_) = 0;
  Gate fetch_gate_;
  uint64_t last_holder_ ABSL_GUARDED_BY(mutex_) = 0;
};

class Policy : public relay::v1::PolicyService::Service {
 public:
  explicit Policy(FakePolicyClient* fake) : fake_(fake) {}

  Status CheckConnection(ServerContext*, const relay::v1::CheckConnectionRequest* request,
                         relay::v1::CheckConnectionResponse* response) override {
    return Answer(response,
                  [&](auto done) { fake_->CheckConnection({}, *request, std::move(done)); });
  }
  Status CheckSender(ServerContext*, const relay::v1::CheckSenderRequest* request,
                     relay::v1::CheckSenderResponse* response) override {
    return Answer(response, [&](auto done) { fake_->CheckSender({}, *request, std::move(done)); });
  }
  Status CheckRecipient(ServerContext*, const relay::v1::CheckRecipientRequest* request,
                        relay::v1::CheckRecipientResponse* response) override {
    return Answer(response,
                  [&](auto done) { fake_->CheckRecipient({}, *request, std::move(done)); });
  }

 private:
  FakePolicyClient* const fake_;
};

// The methods of two services.
class Enqueuer {
 public:
  Enqueuer(FakeSubmissionClient* fake, AbandonedUploads* abandoned)
      : fake_(fake), abandoned_(abandoned) {}

  Status Whole(const relay::v1::EnqueueRequest* request, relay::v1::EnqueueResponse* response) {
    return Answer(response, [&](auto done) { fake_->Enqueue({}, *request, std::move(done)); });
  }
  Status Parts(grpc::ServerReader<relay::v1::EnqueueStreamRequest>* reader,
               relay::v1::EnqueueResponse* response) {
    relay::v1::EnqueueRequest request;
    if (!ReadUpload(reader, &request)) {
      abandoned_->Count();
      return Status::CANCELLED;
    }
    return Answer(response, [&](auto done) { fake_->Enqueue({}, request, std::move(done)); });
  }

 private:
  FakeSubmissionClient* const fake_;
  AbandonedUploads* const abandoned_;
};

class Submission : public relay::v1::SubmissionService::Service {
 public:
  explicit Submission(Enqueuer enqueuer) : enqueuer_(enqueuer) {}

  Status Enqueue(ServerContext*, const relay::v1::EnqueueRequest* request,
                 relay::v1::EnqueueResponse* response) override {
    return enqueuer_.Whole(request, response);
  }
  Status EnqueueStream(ServerContext*, grpc::ServerReader<relay::v1::EnqueueStreamRequest>* reader,
                       relay::v1::EnqueueResponse* response) override {
    return enqueuer_.Parts(reader, response);
  }

 private:
  Enqueuer enqueuer_;
};

class Forwarding : public relay::v1::ForwardingService::Service {
 public:
  explicit Forwarding(Enqueuer enqueuer) : enqueuer_(enqueuer) {}

  Status Forward(ServerContext*, const relay::v1::EnqueueRequest* request,
                 relay::v1::EnqueueResponse* response) override {
    return enqueuer_.Whole(request, response);
  }
  Status ForwardStream(ServerContext*, grpc::ServerReader<relay::v1::EnqueueStreamRequest>* reader,
                       relay::v1::EnqueueResponse* response) override {
    return enqueuer_.Parts(reader, response);
  }

 private:
  Enqueuer enqueuer_;
};

}  // namespace

struct ContractServer::Services {
  explicit Services(Fakes* fakes)
      : authentication(&fakes->authentication),
        directory(&fakes->directory),
        delivery(&fakes->delivery, &abandoned, &gate),
        maildrops(&fakes->maildrops),
        policy(&fakes->policy),
        submission({&fakes->submission, &abandoned}),
        forwarding({&fakes->forwarding, &abandoned}) {}

  std::unique_ptr<rpc::RpcServer> Start(const identity::TestPki& pki, int port) {
    config::v1::RpcListener listener;
    listener.set_port(port);
    auto server = rpc::RpcServer::Start(
        listener, pki.IssueIdentity(identity::kStoreSvc),
        {&authentication, &directory, &delivery, &maildrops, &policy, &submission, &forwarding});
    EXPECT_TRUE(server.ok()) << server.status();
    return server.ok() ? *std::move(server) : nullptr;
  }

  AbandonedUploads abandoned;
  Gate gate;
  Authentication authentication;
  Directory directory;
  Delivery delivery;
  Maildrops maildrops;
  Policy policy;
  Submission submission;
  Forwarding forwarding;
};

ContractServer::ContractServer(Fakes* fakes, const identity::TestPki* pki)
    : pki_(pki), services_(std::make_unique<Services>(fakes)) {
  server_ = services_->Start(*pki_, 0);
  port_ = server_->port();
}

ContractServer::~ContractServer() {
  if (server_ != nullptr) server_->Drain(absl::ZeroDuration());
}

std::shared_ptr<grpc::Channel> ContractServer::ChannelOf(absl::string_view identity) const {
  config::v1::RpcTarget target;
  target.set_target(absl::StrCat("127.0.0.1:", port_));
  auto channel = rpc::ConnectTo(target, pki_->IssueIdentity(identity), identity::kStoreSvc);
  EXPECT_TRUE(channel.ok()) << channel.status();
  return *std::move(channel);
}

void ContractServer::BreakLeases(bool forget) { services_->maildrops.Break(forget); }

void ContractServer::Stop() {
  server_->Drain(absl::ZeroDuration());
  server_.reset();
}

void ContractServer::Restart() {
  Stop();
  server_ = services_->Start(*pki_, port_);
}

int ContractServer::resumed() const { return services_->maildrops.resumed(); }

int ContractServer::fetches() const { return services_->maildrops.fetches(); }

void ContractServer::HoldFetches(bool hold) { services_->maildrops.fetch_gate().Hold(hold); }

bool ContractServer::AwaitFetch() const { return services_->maildrops.fetch_gate().AwaitRequest(); }

void ContractServer::HoldDeliverMany(bool hold) { services_->gate.Hold(hold); }

bool ContractServer::AwaitDeliverManyRequest() const { return services_->gate.AwaitRequest(); }

int ContractServer::deliver_many_requests() const { return services_->gate.requests(); }

int ContractServer::deliver_many_calls() const { return services_->gate.calls(); }

bool ContractServer::WaitForAbandonedUpload() const { return services_->abandoned.Wait(); }

}  // namespace postern::clients
