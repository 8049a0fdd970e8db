// EnqueueStream over real gRPC: what may end a stream, and what of it is spooled.
#include "relay-svc/rpc/submission_service.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "relay-svc/sqlite/sqlite_spool.h"
#include "services/async/wait.h"
#include "services/body/piece.h"
#include "services/clients/testing/fake_auth_client.h"
#include "services/identity/access.h"
#include "services/identity/test_pki.h"
#include "services/rpc/channel.h"
#include "services/rpc/context.h"
#include "services/rpc/server.h"

namespace postern::relay {
namespace {

constexpr char kNonce[] = "nonce";
constexpr char kHeaderSection[] =
    "Received: by gateway\r\nFrom: Alice <alice@example.test>\r\nDate: d\r\nMessage-ID: <1@a>\r\n"
    "\r\n";

class SubmissionServiceTest : public testing::Test {
 protected:
  SubmissionServiceTest() : pki_(absl::StrCat(testing::TempDir(), "/pki")) {
    const std::string key_file = absl::StrCat(testing::TempDir(), "/token.key");
    const std::string public_file = absl::StrCat(testing::TempDir(), "/token.pub");
    EVP_PKEY* key = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
    FILE* file = fopen(key_file.c_str(), "w");
    EXPECT_EQ(PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr), 1);
    fclose(file);
    file = fopen(public_file.c_str(), "w");
    EXPECT_EQ(PEM_write_PUBKEY(file, key), 1);
    fclose(file);
    EVP_PKEY_free(key);
    signer_ = *identity::TokenSigner::Open(key_file);
    verifier_ = *identity::TokenVerifier::Open(public_file);

    static int number = 0;
    spool_ = *OpenSqliteSpool(absl::StrCat(testing::TempDir(), "/spool-", ++number, ".db"), {});
    directory_.LetSendAs("account-alice", "alice@example.test");
    auth::v1::ResolveRecipientResponse remote;
    remote.set_outcome(auth::v1::ResolveRecipientResponse::OUTCOME_NOT_LOCAL);
    directory_.SetRecipient("x@remote.test", remote);
    parts_.options.max_message_octets = 1 << 20;
    parts_.spool = spool_.get();
    parts_.directory = &directory_;
    parts_.verifier = verifier_.get();
    parts_.committed = [](std::vector<JobKey>) {};

    config::v1::RpcListener listener;
    server_ =
        *rpc::RpcServer::Start(listener, pki_.IssueIdentity(identity::kRelaySvc), {&service_});
    config::v1::RpcTarget target;
    target.set_target(absl::StrCat("127.0.0.1:", server_->port()));
    stub_ = v1::SubmissionService::NewStub(*rpc::ConnectTo(
        target, pki_.IssueIdentity(identity::kGatewaySmtpSubmission), identity::kRelaySvc));
  }
  ~SubmissionServiceTest() override {
    server_->Drain(absl::Seconds(10));
    pool_.join();
  }

  v1::EnqueueStreamRequest Header(const std::string& delivery_id) const {
    token::v1::Claims claims;
    claims.set_account_id("account-alice");
    claims.set_address("alice@example.test");
    claims.set_purpose(auth::v1::PURPOSE_SUBMISSION);
    claims.set_gateway(std::string(identity::kGatewaySmtpSubmission));
    claims.set_session_nonce(kNonce);
    claims.set_issued_at(absl::ToUnixSeconds(absl::Now()) - 1);
    claims.set_expires_at(absl::ToUnixSeconds(absl::Now()) + 3600);
    v1::EnqueueStreamRequest request;
    v1::EnqueueHeader& header = *request.mutable_header();
    header.set_token(signer_->Sign(claims));
    header.set_session_nonce(kNonce);
    header.set_delivery_id(delivery_id);
    header.set_envelope_sender("alice@example.test");
    header.add_recipients("x@remote.test");
    return request;
  }
  static v1::EnqueueStreamRequest Piece(std::string octets) {
    v1::EnqueueStreamRequest request;
    request.set_chunk(std::move(octets));
    return request;
  }
  static v1::EnqueueStreamRequest End(uint64_t octets) {
    v1::EnqueueStreamRequest request;
    request.set_body_octets(octets);
    return request;
  }

  absl::Status Send(const std::vector<v1::EnqueueStreamRequest>& parts) {
    grpc::ClientContext context;
    v1::EnqueueResponse response;
    const auto writer = stub_->EnqueueStream(&context, &response);
    for (const v1::EnqueueStreamRequest& part : parts) {
      if (!writer->Write(part)) break;
    }
    writer->WritesDone();
    return rpc::FromGrpc(writer->Finish());
  }
  size_t Spooled() {
    return async::Wait<absl::StatusOr<QueuePage>>(
               [&](auto done) { spool_->List(100, "", std::move(done)); })
        ->entries.size();
  }

  const identity::TestPki pki_;
  std::unique_ptr<identity::TokenSigner> signer_;
  std::unique_ptr<identity::TokenVerifier> verifier_;
  clients::FakeDirectoryClient directory_;
  std::unique_ptr<Spool> spool_;
  SubmissionParts parts_;
  boost::asio::thread_pool pool_{2};
  SubmissionServiceAdapter service_{&parts_, &pool_};
  std::unique_ptr<rpc::RpcServer> server_;
  std::unique_ptr<v1::SubmissionService::Stub> stub_;
};

TEST_F(SubmissionServiceTest, OnlyAWholeBodyIsSpooled) {
  const std::string body = absl::StrCat(kHeaderSection, std::string(100 << 10, 'b'), "\r\n");
  const v1::EnqueueStreamRequest header = Header("0123456789abcdef");
  const struct {
    const char* what;
    std::vector<v1::EnqueueStreamRequest> parts;
  } refused[] = {
      {"nothing", {}},
      {"no header", {Piece(body), End(body.size())}},
      {"end alone", {End(0)}},
      {"header alone", {header}},
      {"no end", {header, Piece(body)}},
      {"two headers", {header, header}},
      {"an end of fewer octets", {header, Piece(body), End(body.size() - 1)}},
      {"an end of more octets", {header, Piece(body), End(body.size() + 1)}},
      {"an empty part", {header, Piece(body), v1::EnqueueStreamRequest()}},
      {"a large piece", {header, Piece(kHeaderSection + std::string(kMaxPieceOctets, 'b'))}},
  };
  for (const auto& c : refused) {
    const absl::Status status = Send(c.parts);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.what << ": " << status;
    EXPECT_EQ(Spooled(), 0u) << c.what;
  }

  std::vector<v1::EnqueueStreamRequest> whole = {header, Piece(body), Piece(body),
                                                 End(2 * body.size())};
  EXPECT_EQ(Send(whole), absl::OkStatus());
  EXPECT_EQ(Send(whole), absl::OkStatus()) << "the same again has no effect";
  EXPECT_EQ(Spooled(), 1u);
}

TEST_F(SubmissionServiceTest, HalfAMessageIsNeverSpooled) {
  const std::string piece = absl::StrCat(kHeaderSection, std::string(200 << 10, 'b'), "\r\n");
  for (int pieces = 0; pieces < 5; ++pieces) {
    grpc::ClientContext context;
    v1::EnqueueResponse response;
    const auto writer = stub_->EnqueueStream(&context, &response);
    ASSERT_TRUE(writer->Write(Header(absl::StrCat("0123456789abcde", pieces))));
    for (int i = 0; i < pieces; ++i) ASSERT_TRUE(writer->Write(Piece(piece)));
    context.TryCancel();
    EXPECT_FALSE(writer->Finish().ok());
  }
  // What still runs of them ends with the server.
  server_->Drain(absl::Seconds(10));
  EXPECT_EQ(Spooled(), 0u);
}

}  // namespace
}  // namespace postern::relay
