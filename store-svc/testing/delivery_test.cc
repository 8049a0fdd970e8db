// DeliveryService and StoreAdminService of the real process, over mutual TLS.
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "proto/postern/store/v1/store_admin.grpc.pb.h"
#include "services/body/piece.h"
#include "services/identity/access.h"
#include "services/rpc/context.h"
#include "store-svc/testing/breakable_hop.h"
#include "store-svc/testing/store_calls.h"
#include "store-svc/testing/store_process.h"

namespace postern::store {
namespace {

std::string Text(size_t octets) {
  std::string text;
  while (text.size() < octets) absl::StrAppend(&text, "line ", text.size(), "\r\n");
  text.resize(octets);
  return text;
}

class DeliveryTest : public testing::Test {
 protected:
  void SetUp() override {
    process_.Start();
    Connect();
  }

  void Connect() {
    mx_ = process_.Connect(identity::kGatewaySmtpMx);
    pop3_ = process_.Connect(identity::kGatewayPop3);
  }

  std::unique_ptr<OpenMaildrop> Open(absl::string_view mailbox_id) {
    auto maildrop = std::make_unique<OpenMaildrop>(
        pop3_, process_.Sign(process_.MakeClaims(mailbox_id, kNonce)));
    const absl::Status status = maildrop->Open();
    EXPECT_TRUE(status.ok()) << status;
    return maildrop;
  }

  // Nothing staged and nothing stored, as soon as the process noticed.
  void ExpectEventuallyNoBodies() {
    const char* const bodies =
        OnPostgresql() ? "SELECT (SELECT count(*) FROM body) + (SELECT count(*) FROM staged_body)"
                       : "SELECT count(*) FROM body";
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (process_.Number(bodies) > 0) {
      ASSERT_LT(absl::Now(), deadline);
      std::this_thread::yield();
    }
  }

  StoreProcess process_{"max_message_octets: 4MiB"};
  std::shared_ptr<grpc::Channel> mx_;
  std::shared_ptr<grpc::Channel> pop3_;
};

TEST_F(DeliveryTest, OnlyItsCallersCall) {
  for (const auto id : {identity::kGatewayPop3, identity::kGatewaySmtpSubmission}) {
    const auto channel = process_.Connect(id);
    EXPECT_TRUE(
        absl::IsPermissionDenied(Deliver(*channel, MakeHeader("1", {kAlice}), "body").status()))
        << id;
  }
  for (const auto id : {identity::kGatewaySmtpMx, identity::kRelaySvc}) {
    EXPECT_TRUE(Deliver(*process_.Connect(id), MakeHeader(id, {kAlice}), "body").ok()) << id;
  }
}

TEST_F(DeliveryTest, WhatIsDeliveredIsRetrieved) {
  const std::string small = "Subject: x\r\n\r\n.dot\r\nno newline";
  ASSERT_TRUE(Deliver(*mx_, MakeHeader("1", {kAlice, kBob, kAlice}), small).ok());
  const std::string largest = Text(kMaxPieceOctets);
  ASSERT_TRUE(Deliver(*mx_, MakeHeader("2", {kAlice}), largest).ok());
  ASSERT_TRUE(Deliver(*mx_, MakeHeader("3", {kAlice}), "").ok());
  const auto maildrop = Open(kAlice);
  const std::vector<std::string> expected = {PrefixOf(kAlice) + small, PrefixOf(kAlice) + largest,
                                             PrefixOf(kAlice)};
  ASSERT_EQ(maildrop->entries().size(), expected.size()) << "twice a recipient, once delivered";
  uint64_t octets = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const auto& [uid, size] = maildrop->entries()[i];
    absl::StatusOr<std::string> message = maildrop->Retrieve(uid);
    ASSERT_TRUE(message.ok()) << message.status();
    EXPECT_TRUE(*message == expected[i]) << i;
    EXPECT_EQ(size, expected[i].size());
    octets += size;
  }
  EXPECT_EQ(maildrop->lease().message_count(), expected.size());
  EXPECT_EQ(maildrop->lease().total_octets(), octets);
  EXPECT_EQ(*Open(kBob)->Retrieve(1), PrefixOf(kBob) + small);
}

TEST_F(DeliveryTest, BadRequestsAreRefusedAndHaveNoEffect) {
  using Header = v1::DeliveryHeader;
  const std::vector<std::pair<const char*, void (*)(Header*)>> kCases = {
      {"no id", [](Header* h) { h->clear_delivery_id(); }},
      {"a short id", [](Header* h) { h->mutable_delivery_id()->resize(15); }},
      {"a long id", [](Header* h) { h->mutable_delivery_id()->resize(17); }},
      {"no recipients", [](Header* h) { h->clear_recipients(); }},
      {"too many recipients",
       [](Header* h) {
         for (int i = 0; i < 1000; ++i) *h->add_recipients() = h->recipients(0);
       }},
      {"no mailbox", [](Header* h) { h->mutable_recipients(0)->clear_mailbox_id(); }},
      {"not a mailbox", [](Header* h) { h->mutable_recipients(0)->set_mailbox_id("' OR 1=1 --"); }},
      {"a header in the sender", [](Header* h) { h->set_envelope_sender("a@b>\r\nX-Evil: 1"); }},
      {"a header in the address",
       [](Header* h) { h->mutable_recipients(0)->set_address("a@b\r\nX-Evil: 1"); }},
      {"a header in RCPT's words",
       [](Header* h) { h->mutable_recipients(0)->set_original_recipient("a@b\nX-Evil: 1"); }},
  };
  for (const auto& [what, change] : kCases) {
    Header header = MakeHeader("1", {kAlice});
    change(&header);
    EXPECT_TRUE(absl::IsInvalidArgument(Deliver(*mx_, header, "body").status())) << what;
    EXPECT_TRUE(absl::IsInvalidArgument(DeliverStream(*mx_, header, "body", 1000).status()))
        << what;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(
      Deliver(*mx_, MakeHeader("1", {kAlice}), Text(kMaxPieceOctets + 1)).status()));
  ExpectEventuallyNoBodies();
}

TEST_F(DeliveryTest, RepeatsAndContradictions) {
  EXPECT_FALSE(Deliver(*mx_, MakeHeader("1", {kAlice}), "body")->repeated_delivery());
  EXPECT_TRUE(Deliver(*mx_, MakeHeader("1", {kAlice}), "body")->repeated_delivery());
  EXPECT_TRUE(DeliverStream(*mx_, MakeHeader("1", {kAlice}), "body", 3)->repeated_delivery())
      << "in another form";
  EXPECT_TRUE(absl::IsAlreadyExists(Deliver(*mx_, MakeHeader("1", {kAlice}), "other").status()));
  EXPECT_TRUE(absl::IsAlreadyExists(Deliver(*mx_, MakeHeader("1", {kBob}), "body").status()));
  EXPECT_EQ(Open(kAlice)->entries().size(), 1u);
  EXPECT_EQ(Open(kBob)->entries().size(), 0u);
}

TEST_F(DeliveryTest, StreamsLargeBodies) {
  for (const size_t piece : {kMaxPieceOctets, size_t{100} << 10, size_t{1000}}) {
    const std::string body = absl::StrCat("pieces of ", piece, "\r\n\r\n", Text(3 << 20));
    ASSERT_TRUE(DeliverStream(*mx_, MakeHeader(absl::StrCat(piece), {kAlice}), body, piece).ok());
    const auto maildrop = Open(kAlice);
    const auto& [uid, size] = maildrop->entries().back();
    EXPECT_EQ(size, PrefixOf(kAlice).size() + body.size());
    EXPECT_TRUE(*maildrop->Retrieve(uid) == PrefixOf(kAlice) + body) << piece;
    ASSERT_TRUE(maildrop->Close().ok());
  }
}

TEST_F(DeliveryTest, StreamsThatBreakTheRulesLeaveNothing) {
  EXPECT_TRUE(absl::IsInvalidArgument(
      DeliverStream(*mx_, MakeHeader("1", {kAlice}), Text((4 << 20) + 1), kMaxPieceOctets)
          .status()))
      << "over max_message_octets";
  EXPECT_TRUE(absl::IsInvalidArgument(
      DeliverStream(*mx_, MakeHeader("2", {kAlice}), Text(300 << 10), 300 << 10).status()))
      << "a piece over 256 KiB";
  const auto stub = v1::DeliveryService::NewStub(mx_);
  {
    grpc::ClientContext context;
    v1::DeliverResponse response;
    const auto writer = stub->DeliverStream(&context, &response);
    writer->WritesDone();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT) << "nothing";
  }
  {
    grpc::ClientContext context;
    v1::DeliverResponse response;
    const auto writer = stub->DeliverStream(&context, &response);
    v1::DeliverStreamRequest request;
    *request.mutable_header() = MakeHeader("3", {kAlice});
    writer->Write(request);
    writer->Write(request);
    writer->WritesDone();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT) << "two headers";
  }
  // Half-closed without the end, and with one that is not the pieces'.
  for (const int end : {-1, 0, 99, 101}) {
    grpc::ClientContext context;
    v1::DeliverResponse response;
    const auto writer = stub->DeliverStream(&context, &response);
    v1::DeliverStreamRequest request;
    *request.mutable_header() = MakeHeader("4", {kAlice});
    writer->Write(request);
    request.set_chunk(Text(100));
    writer->Write(request);
    request.set_body_octets(end);
    if (end >= 0) writer->Write(request);
    writer->WritesDone();
    EXPECT_EQ(writer->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT) << end;
  }
  ExpectEventuallyNoBodies();
  EXPECT_EQ(Open(kAlice)->entries().size(), 0u);
}

TEST_F(DeliveryTest, HalfAMessageIsNeverDelivered) {
  // Sends some pieces, then ends the call as given, without a half-close.
  for (int round = 0; round < 20; ++round) {
    BreakableHop hop(process_.port());
    const auto channel = process_.Connect(identity::kGatewaySmtpMx, hop.port());
    const auto stub = v1::DeliveryService::NewStub(channel);
    grpc::ClientContext context;
    v1::DeliverResponse response;
    const auto writer = stub->DeliverStream(&context, &response);
    v1::DeliverStreamRequest request;
    *request.mutable_header() = MakeHeader(absl::StrCat(round), {kAlice});
    ASSERT_TRUE(writer->Write(request));
    for (int i = 0; i < round % 5; ++i) {
      request.set_chunk(Text(200 << 10));
      ASSERT_TRUE(writer->Write(request));
    }
    if (round % 2 == 0) {
      hop.Break();
    } else {
      context.TryCancel();
    }
    EXPECT_FALSE(writer->Finish().ok());
  }
  ExpectEventuallyNoBodies();
  EXPECT_EQ(Open(kAlice)->entries().size(), 0u);
}

// A DeliverMany call.
class ManyCall {
 public:
  explicit ManyCall(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::DeliveryService::NewStub(channel)), stream_(Begin()) {}

  void Add(uint64_t number, v1::DeliveryHeader header, std::string body) {
    v1::NumberedDelivery& delivery = *request_.add_deliveries();
    delivery.set_number(number);
    *delivery.mutable_delivery()->mutable_header() = std::move(header);
    delivery.mutable_delivery()->set_body(std::move(body));
  }
  bool Send() {
    const bool sent = stream_->Write(request_);
    request_.Clear();
    return sent;
  }
  void HalfClose() { stream_->WritesDone(); }
  // Reads until all of `numbers` are answered or the call ends.
  void Read(size_t numbers) {
    v1::DeliverManyResponse response;
    while (outcomes.size() < numbers && stream_->Read(&response)) {
      for (const v1::DeliveryOutcome& outcome : response.outcomes()) {
        EXPECT_TRUE(outcomes.emplace(outcome.number(), outcome).second) << outcome.number();
      }
    }
  }
  absl::Status Finish() { return rpc::FromGrpc(stream_->Finish()); }

  absl::StatusCode CodeOf(uint64_t number) const {
    return static_cast<absl::StatusCode>(outcomes.at(number).code());
  }

  absl::flat_hash_map<uint64_t, v1::DeliveryOutcome> outcomes;

 private:
  using Stream = grpc::ClientReaderWriter<v1::DeliverManyRequest, v1::DeliverManyResponse>;

  std::unique_ptr<Stream> Begin() {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    return stub_->DeliverMany(&context_);
  }

  const std::unique_ptr<v1::DeliveryService::Stub> stub_;
  grpc::ClientContext context_;
  const std::unique_ptr<Stream> stream_;
  v1::DeliverManyRequest request_;
};

TEST_F(DeliveryTest, OfManyEachIsAnsweredForItself) {
  ManyCall call(mx_);
  call.Add(7, MakeHeader("1", {kAlice, kBob}), "one");
  call.Add(3, MakeHeader("", {}), "no recipients");
  call.Add(9, MakeHeader("2", {kAlice}), Text(kMaxPieceOctets + 1));
  ASSERT_TRUE(call.Send());
  // Whoever repeats has heard nothing of the first try, but comes after it.
  call.Read(3);
  call.Add(8, MakeHeader("1", {kAlice, kBob}), "one");
  call.Add(6, MakeHeader("1", {kAlice, kBob}), "other");
  call.Add(1ull << 63, MakeHeader("3", {kAlice}), Text(kMaxPieceOctets));
  ASSERT_TRUE(call.Send());
  call.HalfClose();
  call.Read(6);
  ASSERT_EQ(call.outcomes.size(), 6u);
  EXPECT_EQ(call.CodeOf(7), absl::StatusCode::kOk);
  EXPECT_FALSE(call.outcomes[7].repeated_delivery());
  EXPECT_EQ(call.CodeOf(3), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(call.CodeOf(9), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(call.CodeOf(8), absl::StatusCode::kOk);
  EXPECT_TRUE(call.outcomes[8].repeated_delivery());
  EXPECT_EQ(call.CodeOf(6), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(call.CodeOf(1ull << 63), absl::StatusCode::kOk);
  EXPECT_TRUE(call.Finish().ok());
  EXPECT_EQ(Open(kAlice)->entries().size(), 2u);
  EXPECT_EQ(*Open(kBob)->Retrieve(1), PrefixOf(kBob) + "one");
}

TEST_F(DeliveryTest, AClientThatVanishesLeavesNothingBehind) {
  for (int round = 0; round < 10; ++round) {
    BreakableHop hop(process_.port());
    ManyCall call(process_.Connect(identity::kGatewaySmtpMx, hop.port()));
    for (int i = 0; i < 100; ++i) {
      call.Add(i, MakeHeader(absl::StrCat(round, " ", i), {kAlice}), Text(2000));
      if (i % 10 == 9) {
        ASSERT_TRUE(call.Send());
      }
    }
    hop.Break();
    EXPECT_FALSE(call.Finish().ok());
  }
  // A call that never ends would hold this up until the grace is over.
  process_.Terminate();
  EXPECT_EQ(process_.Wait(), 0);
}

TEST_F(DeliveryTest, TooManyInOneRequestEndTheCall) {
  ManyCall call(mx_);
  for (int i = 0; i < 257; ++i) call.Add(i, MakeHeader(absl::StrCat(i), {kAlice}), "body");
  ASSERT_TRUE(call.Send());
  call.Read(1);
  EXPECT_TRUE(absl::IsInvalidArgument(call.Finish()));
  EXPECT_EQ(Open(kAlice)->entries().size(), 0u);
}

TEST_F(DeliveryTest, AFloodOfBadOnesIsAnsweredAndHoldsNobodyUp) {
  constexpr int kRequests = 1000;
  ManyCall call(mx_);
  std::thread writer([&] {
    for (int i = 0; i < kRequests; ++i) {
      for (int j = 0; j < 256; ++j) call.Add(i * 256 + j, MakeHeader("", {}), "");
      if (!call.Send()) return;
    }
  });
  EXPECT_TRUE(Deliver(*process_.Connect(identity::kRelaySvc), MakeHeader("1", {kAlice}), "").ok());
  call.Read(kRequests * 256);
  writer.join();
  EXPECT_EQ(call.outcomes.size(), size_t{kRequests} * 256);
}

// Drain: what was answered is there, and a call with nothing to do ends at once. gRPC drops what a
// client has not read yet when its own write meets the end of the call: so some answers may be
// lost, and whoever misses one repeats the delivery, as gateways do.
TEST_F(DeliveryTest, StoppingEndsTheCallsThatStayOpen) {
  ManyCall idle(mx_);
  ManyCall busy(mx_);
  constexpr uint64_t kMessages = 2000;
  const auto body = [](uint64_t i) { return absl::StrCat("message ", i, Text(2000)); };
  uint64_t sent = 0;
  std::thread writer([&] {
    for (uint64_t i = 0; i < kMessages; ++i) {
      busy.Add(i, MakeHeader(absl::StrCat(i), {kAlice}), body(i));
      sent = i + 1;
      if (!busy.Send()) return;
    }
  });
  busy.Read(100);
  process_.Terminate();
  busy.Read(kMessages);
  writer.join();
  EXPECT_TRUE(absl::IsUnavailable(busy.Finish()));
  EXPECT_TRUE(absl::IsUnavailable(idle.Finish()));
  EXPECT_EQ(process_.Wait(), 0);

  process_.Start();
  Connect();
  uint64_t repeated = 0;
  for (uint64_t i = 0; i < sent; ++i) {
    const auto again = Deliver(*mx_, MakeHeader(absl::StrCat(i), {kAlice}), body(i));
    ASSERT_TRUE(again.ok()) << again.status();
    repeated += again->repeated_delivery();
    if (const auto answered = busy.outcomes.find(i); answered != busy.outcomes.end()) {
      EXPECT_EQ(answered->second.code(), 0) << i;
      EXPECT_TRUE(again->repeated_delivery()) << i;
    }
  }
  EXPECT_GE(repeated, busy.outcomes.size());
  EXPECT_EQ(Open(kAlice)->entries().size(), sent);
}

TEST_F(DeliveryTest, AFullMailboxRefusesAllRecipients) {
  StoreProcess small("quota_messages: 3");
  small.Start();
  mx_ = small.Connect(identity::kGatewaySmtpMx);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Deliver(*mx_, MakeHeader(absl::StrCat("fill ", i), {kAlice}), "body").ok());
  }
  EXPECT_TRUE(
      absl::IsResourceExhausted(Deliver(*mx_, MakeHeader("1", {kBob, kAlice}), "body").status()));
  EXPECT_TRUE(absl::IsResourceExhausted(
      DeliverStream(*mx_, MakeHeader("1", {kBob, kAlice}), Text(300 << 10), 100 << 10).status()));
  EXPECT_TRUE(Deliver(*mx_, MakeHeader("1", {kBob}), "body").ok()) << "it had no effect";

  const auto stub = v1::DeliveryService::NewStub(mx_);
  const auto check = [&](const std::vector<std::string>& ids) {
    grpc::ClientContext context;
    v1::CheckQuotaRequest request;
    for (const std::string& id : ids) request.add_mailbox_ids(id);
    v1::CheckQuotaResponse response;
    const absl::Status status = rpc::FromGrpc(stub->CheckQuota(&context, request, &response));
    return std::make_pair(status, std::vector<std::string>(response.full_mailbox_ids().begin(),
                                                           response.full_mailbox_ids().end()));
  };
  EXPECT_EQ(check({kAlice}).second, std::vector<std::string>({kAlice}));
  // Members of an alias: one that is full is no hindrance to the other.
  EXPECT_TRUE(check({kBob, kAlice}).second.empty());
  EXPECT_TRUE(check({}).first.ok());
  EXPECT_TRUE(absl::IsInvalidArgument(check({"nonsense"}).first));
  EXPECT_TRUE(absl::IsInvalidArgument(check(std::vector<std::string>(1001, kBob)).first));
}

// RCPT said yes to both: to the one because it has room, to the alias because that one has.
TEST_F(DeliveryTest, AMailboxOfTwoRecipientsCountsForBoth) {
  StoreProcess small("quota_messages: 3");
  small.Start();
  mx_ = small.Connect(identity::kGatewaySmtpMx);
  for (int i = 0; i < 3; ++i) {
    const auto filled = Deliver(*mx_, MakeHeader(absl::StrCat("fill ", i), {kAlice}), "body");
    ASSERT_TRUE(filled.ok()) << filled.status();
  }
  const struct {
    std::vector<std::pair<std::string, std::string>> recipients;
    absl::StatusCode code;
  } cases[] = {
      {{{kBob, "bob"}, {kBob, "all"}, {kAlice, "all"}}, absl::StatusCode::kOk},
      {{{kBob, "all"}, {kAlice, "all"}, {kBob, "bob"}}, absl::StatusCode::kOk},
      {{{kBob, "bob"}, {kAlice, "alice"}}, absl::StatusCode::kResourceExhausted},
      {{{kBob, "all"}, {kAlice, "all"}, {kAlice, "alice"}}, absl::StatusCode::kResourceExhausted},
  };
  for (const auto& c : cases) {
    v1::DeliveryHeader header = MakeHeader(absl::StrCat("case ", &c - cases), {});
    for (const auto& [mailbox, original] : c.recipients) {
      v1::DeliveryRecipient& recipient = *header.add_recipients();
      recipient.set_mailbox_id(mailbox);
      recipient.set_address("a@example.test");
      recipient.set_original_recipient(absl::StrCat(original, "@example.test"));
    }
    EXPECT_EQ(Deliver(*mx_, header, "body").status().code(), c.code) << (&c - cases);
  }
}

TEST_F(DeliveryTest, AdminListsMeasuresAndPurges) {
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(Deliver(*mx_, MakeHeader(absl::StrCat(i), {kAlice, kBob}), absl::StrCat(i)).ok());
  }
  const auto stub = v1::StoreAdminService::NewStub(process_.Connect(identity::kPosternctl));
  std::string token;
  std::vector<std::string> listed;
  do {
    grpc::ClientContext context;
    v1::ListMailboxesRequest request;
    request.set_page_size(1);
    request.set_page_token(token);
    v1::ListMailboxesResponse response;
    ASSERT_TRUE(stub->ListMailboxes(&context, request, &response).ok());
    for (const v1::MailboxUsage& usage : response.mailboxes()) {
      listed.push_back(usage.mailbox_id());
      EXPECT_EQ(usage.messages(), 3u);
      EXPECT_EQ(usage.octets(), 3 * (PrefixOf(kAlice).size() + 1));
      EXPECT_EQ(usage.quota_messages(), 100000u);
    }
    token = response.next_page_token();
  } while (!token.empty());
  EXPECT_EQ(listed, std::vector<std::string>({kAlice, kBob}));
  for (const auto& [size, page] :
       std::vector<std::pair<int, std::string>>{{-1, ""}, {1001, ""}, {1, "nonsense"}}) {
    grpc::ClientContext context;
    v1::ListMailboxesRequest request;
    request.set_page_size(size);
    request.set_page_token(page);
    v1::ListMailboxesResponse response;
    EXPECT_EQ(stub->ListMailboxes(&context, request, &response).error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  }
  {
    grpc::ClientContext context;
    v1::PurgeMailboxRequest request;
    request.set_mailbox_id(kAlice);
    v1::PurgeMailboxResponse response;
    ASSERT_TRUE(stub->PurgeMailbox(&context, request, &response).ok());
    EXPECT_EQ(response.purged_messages(), 3u);
  }
  {
    grpc::ClientContext context;
    v1::GetUsageRequest request;
    request.set_mailbox_id(kAlice);
    v1::GetUsageResponse response;
    ASSERT_TRUE(stub->GetUsage(&context, request, &response).ok());
    EXPECT_EQ(response.usage().messages(), 0u);
    EXPECT_EQ(response.usage().octets(), 0u);
  }
  EXPECT_EQ(Open(kBob)->entries().size(), 3u);
}

// DESIGN: 250 means durable; one id, one effect.
TEST_F(DeliveryTest, KilledItKeepsWhatItAcknowledgedAndRetriesHaveOneEffect) {
  constexpr int kClients = 8;
  constexpr int kRounds = 3;
  absl::Mutex mutex;
  // Every delivery tried, and its body; unacknowledged ones are tried again.
  absl::flat_hash_map<std::string, std::string> sent;
  absl::flat_hash_map<std::string, std::string> unanswered;
  std::atomic<int> sequence = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::atomic<int> acknowledged = 0;
    std::vector<std::thread> clients;
    const std::shared_ptr<grpc::Channel> channel = mx_;
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([&, channel] {
        for (;;) {
          const std::string id = absl::StrCat("delivery ", sequence++);
          const std::string body = absl::StrCat(id, "\r\n", Text(2000));
          const bool ok = Deliver(*channel, MakeHeader(id, {kAlice}), body).ok();
          absl::MutexLock lock(&mutex);
          sent[id] = body;
          if (!ok) {
            unanswered[id] = body;
            return;
          }
          ++acknowledged;
        }
      });
    }
    while (acknowledged < 50) std::this_thread::yield();
    process_.Kill();
    for (std::thread& client : clients) client.join();
    process_.Start();
    Connect();
    for (const auto& [id, body] : unanswered) {
      absl::StatusOr<v1::DeliverResponse> again = Deliver(*mx_, MakeHeader(id, {kAlice}), body);
      EXPECT_TRUE(again.ok()) << again.status();
    }
    unanswered.clear();
    const auto maildrop = Open(kAlice);
    EXPECT_EQ(maildrop->entries().size(), sent.size());
    absl::flat_hash_map<std::string, int> found;
    for (const auto& [uid, size] : maildrop->entries()) ++found[*maildrop->Retrieve(uid)];
    for (const auto& [id, body] : sent) EXPECT_EQ(found[PrefixOf(kAlice) + body], 1) << id;
    ASSERT_TRUE(maildrop->Close().ok());
  }
}

}  // namespace
}  // namespace postern::store
