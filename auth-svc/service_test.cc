// The whole service over mutual TLS.
#include "auth-svc/service.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "auth-svc/test_service.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/postern/auth/v1/authentication.grpc.pb.h"
#include "proto/postern/auth/v1/directory.grpc.pb.h"
#include "proto/postern/auth/v1/directory_admin.grpc.pb.h"
#include "services/identity/access.h"
#include "services/identity/token.h"
#include "services/storage/postgresql/testing/test_server.h"
#include "services/telemetry/metrics.h"

namespace postern::auth {
namespace {

using identity::kGatewayPop3;
using identity::kGatewaySmtpMx;
using identity::kGatewaySmtpSubmission;
using identity::kPosternctl;
using identity::kRelaySvc;
using identity::kStoreSvc;
using testing::HasSubstr;
using testing::MatchesRegex;
using v1::AuthenticateRequest;
using v1::AuthenticateResponse;

constexpr char kNonce[] = "0123456789abcdef";
const std::string kRightPlain("\0alice@example.test\0correct horse", 33);
const std::string kWrongPlain("\0alice@example.test\0wrong horse!!", 33);

using Admin = v1::DirectoryAdminService::Stub;

// What the service under test has its directory in.
enum class Backend { kSqlite, kPostgresql };

std::unique_ptr<config::v1::PostgreSql> MakeDatabase(Backend backend) {
  if (backend == Backend::kSqlite) return nullptr;
  using storage::postgresql::TestServer;
  auto config = std::make_unique<config::v1::PostgreSql>(
      TestServer::Config(TestServer::Shared().NewDatabase()));
  config::v1::AuthSvc service;
  *service.mutable_postgresql() = *config;
  const absl::StatusOr<std::string> migrated = Migrate(service);
  EXPECT_TRUE(migrated.ok()) << migrated.status();
  return config;
}

class ServiceTest : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(AddDomain("example.test").ok());
    ASSERT_TRUE(AddAccount("alice@example.test", "correct horse").ok());
  }

  template <typename Stub, typename Request, typename Response>
  grpc::Status Call(Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    return (stub.*method)(&context, request, response);
  }

  grpc::Status AddDomain(const std::string& name, const std::string& request_id = "") {
    v1::AddDomainRequest request;
    request.set_request_id(request_id);
    request.set_name(name);
    v1::AddDomainResponse response;
    return Call(*admin_, &Admin::AddDomain, request, &response);
  }
  grpc::Status AddAccount(const std::string& address, const std::string& password,
                          const std::string& request_id = "") {
    v1::AddAccountRequest request;
    request.set_request_id(request_id);
    request.set_address(address);
    request.set_password(password);
    account_.Clear();
    return Call(*admin_, &Admin::AddAccount, request, &account_);
  }

  static AuthenticateRequest Start(const std::string& mechanism, v1::Purpose purpose,
                                   std::optional<std::string> initial_response) {
    AuthenticateRequest request;
    request.mutable_start()->set_mechanism(mechanism);
    request.mutable_start()->set_purpose(purpose);
    request.mutable_start()->set_session_nonce(kNonce);
    request.mutable_start()->set_client_address("192.0.2.1");
    if (initial_response.has_value()) {
      request.mutable_start()->set_initial_response(*initial_response);
    }
    return request;
  }
  static AuthenticateRequest Response(const std::string& response) {
    AuthenticateRequest request;
    request.set_response(response);
    return request;
  }

  struct Exchange {
    std::vector<AuthenticateResponse> answers;
    grpc::Status status;
    const AuthenticateResponse& last() const { return answers.back(); }
  };
  // Sends each request after the answer to the one before.
  Exchange Run(absl::string_view identity, const std::vector<AuthenticateRequest>& requests) {
    auto stub = v1::AuthenticationService::NewStub(service_.Connect(identity));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    auto stream = stub->Authenticate(&context);
    Exchange exchange;
    for (const AuthenticateRequest& request : requests) {
      if (!stream->Write(request)) break;
      AuthenticateResponse answer;
      if (!stream->Read(&answer)) break;
      exchange.answers.push_back(answer);
    }
    stream->WritesDone();
    AuthenticateResponse more;
    EXPECT_FALSE(stream->Read(&more));
    exchange.status = stream->Finish();
    return exchange;
  }
  Exchange LogIn(absl::string_view identity, v1::Purpose purpose, const std::string& plain) {
    return Run(identity, {Start("PLAIN", purpose, plain)});
  }
  AuthenticateResponse::Reason ReasonOf(const std::vector<AuthenticateRequest>& requests) {
    Exchange exchange = Run(kGatewayPop3, requests);
    EXPECT_TRUE(exchange.status.ok()) << exchange.status.error_message();
    EXPECT_EQ(exchange.answers.size(), requests.size());
    return exchange.answers.empty() ? AuthenticateResponse::REASON_UNSPECIFIED
                                    : exchange.last().failure().reason();
  }

  const std::unique_ptr<config::v1::PostgreSql> database_ = MakeDatabase(GetParam());
  TestService service_{database_.get()};
  // Where the database can be shared, changes come by another replica.
  const std::unique_ptr<TestService> replica_ =
      database_ == nullptr ? nullptr : std::make_unique<TestService>(database_.get());
  const std::unique_ptr<Admin> admin_ = v1::DirectoryAdminService::NewStub(
      (replica_ != nullptr ? *replica_ : service_).Connect(kPosternctl));
  v1::AddAccountResponse account_;
};

INSTANTIATE_TEST_SUITE_P(Backends, ServiceTest,
                         testing::Values(Backend::kSqlite, Backend::kPostgresql),
                         [](const testing::TestParamInfo<Backend>& info) {
                           return info.param == Backend::kSqlite ? "Sqlite" : "Postgresql";
                         });

TEST_P(ServiceTest, PlainGivesATokenThatIsBound) {
  Exchange exchange = LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, kRightPlain);
  ASSERT_TRUE(exchange.status.ok()) << exchange.status.error_message();
  const AuthenticateResponse::Success& success = exchange.last().success();
  EXPECT_EQ(success.address(), "alice@example.test");
  const absl::Time now = absl::Now();
  const absl::Time expires = absl::FromUnixSeconds(success.expires_at());
  EXPECT_GT(expires, now + absl::Minutes(14));
  EXPECT_LE(expires, now + absl::Minutes(15));

  auto verifier = *identity::TokenVerifier::Open(service_.public_key_file());
  const identity::TokenVerifier::Expected expected{v1::PURPOSE_MAILDROP, kGatewayPop3, kNonce, now};
  auto claims = verifier->Verify(success.token(), expected);
  ASSERT_TRUE(claims.ok()) << claims.status();
  EXPECT_EQ(claims->account_id(), account_.account().account_id());
  EXPECT_EQ(claims->mailbox_id(), account_.account().mailbox_id());
  EXPECT_EQ(claims->address(), "alice@example.test");
  EXPECT_EQ(claims->expires_at(), success.expires_at());

  identity::TokenVerifier::Expected other = expected;
  other.gateway = kGatewaySmtpSubmission;
  EXPECT_FALSE(verifier->Verify(success.token(), other).ok());
  other = expected;
  other.purpose = v1::PURPOSE_SUBMISSION;
  EXPECT_FALSE(verifier->Verify(success.token(), other).ok());
  other = expected;
  other.session_nonce = "fedcba9876543210";
  EXPECT_FALSE(verifier->Verify(success.token(), other).ok());
  other = expected;
  other.now = expires + absl::Seconds(61);
  EXPECT_FALSE(verifier->Verify(success.token(), other).ok());
}

TEST_P(ServiceTest, EveryWayToSendCredentials) {
  struct {
    const char* name;
    std::vector<AuthenticateRequest> requests;
    size_t answers;
  } const kCases[] = {
      {"PLAIN at once", {Start("PLAIN", v1::PURPOSE_SUBMISSION, kRightPlain)}, 1},
      {"PLAIN when asked",
       {Start("PLAIN", v1::PURPOSE_SUBMISSION, std::nullopt), Response(kRightPlain)},
       2},
      {"LOGIN",
       {Start("LOGIN", v1::PURPOSE_SUBMISSION, std::nullopt), Response("alice@example.test"),
        Response("correct horse")},
       3},
      {"LOGIN with the name at once",
       {Start("LOGIN", v1::PURPOSE_SUBMISSION, "alice@example.test"), Response("correct horse")},
       2},
  };
  for (const auto& c : kCases) {
    Exchange exchange = Run(kGatewaySmtpSubmission, c.requests);
    EXPECT_TRUE(exchange.status.ok()) << c.name << exchange.status.error_message();
    ASSERT_EQ(exchange.answers.size(), c.answers) << c.name;
    EXPECT_EQ(exchange.last().success().address(), "alice@example.test") << c.name;
  }
}

TEST_P(ServiceTest, FailuresSayLittle) {
  const auto purpose = v1::PURPOSE_MAILDROP;
  auto plain = [&](const std::string& response) {
    return ReasonOf({Start("PLAIN", purpose, response)});
  };
  EXPECT_EQ(plain(kWrongPlain), AuthenticateResponse::REASON_INVALID_CREDENTIALS);
  EXPECT_EQ(plain(std::string("\0nobody@example.test\0correct horse", 34)),
            AuthenticateResponse::REASON_INVALID_CREDENTIALS);
  EXPECT_EQ(plain(std::string("\0alice\0correct horse", 20)),
            AuthenticateResponse::REASON_INVALID_CREDENTIALS);
  EXPECT_EQ(plain(std::string("bob@example.test\0alice@example.test\0correct horse", 49)),
            AuthenticateResponse::REASON_INVALID_CREDENTIALS);
  EXPECT_EQ(plain("no nul"), AuthenticateResponse::REASON_MALFORMED);
  EXPECT_EQ(plain(std::string((8 << 10) + 1, 'x')), AuthenticateResponse::REASON_MALFORMED);
  EXPECT_EQ(ReasonOf({Start("CRAM-MD5", purpose, std::nullopt)}),
            AuthenticateResponse::REASON_UNKNOWN_MECHANISM);
  AuthenticateRequest cancel;
  cancel.mutable_cancel();
  EXPECT_EQ(ReasonOf({Start("LOGIN", purpose, std::nullopt), cancel}),
            AuthenticateResponse::REASON_CANCELLED);
  v1::SetAccountEnabledRequest disable;
  disable.set_address("alice@example.test");
  v1::SetAccountEnabledResponse disabled;
  ASSERT_TRUE(Call(*admin_, &Admin::SetAccountEnabled, disable, &disabled).ok());
  EXPECT_EQ(plain(kRightPlain), AuthenticateResponse::REASON_INVALID_CREDENTIALS);
}

TEST_P(ServiceTest, AGatewayGetsTokensForItsOwnPurposeOnly) {
  for (const auto& [identity, purpose] : {std::pair{kGatewayPop3, v1::PURPOSE_SUBMISSION},
                                          std::pair{kGatewaySmtpSubmission, v1::PURPOSE_MAILDROP},
                                          std::pair{kGatewayPop3, v1::PURPOSE_UNSPECIFIED}}) {
    Exchange exchange = LogIn(identity, purpose, kRightPlain);
    EXPECT_EQ(exchange.status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
    EXPECT_TRUE(exchange.answers.empty());
  }
}

TEST_P(ServiceTest, WrongExchangesAreRefused) {
  AuthenticateRequest short_nonce = Start("PLAIN", v1::PURPOSE_MAILDROP, kRightPlain);
  short_nonce.mutable_start()->set_session_nonce("short");
  const AuthenticateRequest start = Start("LOGIN", v1::PURPOSE_MAILDROP, std::nullopt);
  for (const std::vector<AuthenticateRequest>& requests :
       std::vector<std::vector<AuthenticateRequest>>{
           {short_nonce}, {AuthenticateRequest()}, {Response("x")}, {start, start}}) {
    Exchange exchange = Run(kGatewayPop3, requests);
    EXPECT_EQ(exchange.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  // Left in the middle, by half and for good.
  EXPECT_EQ(Run(kGatewayPop3, {}).status.error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(Run(kGatewayPop3, {start}).status.error_code(), grpc::StatusCode::CANCELLED);
}

TEST_P(ServiceTest, FailedLoginsAreCountedByNetworkAndByAccountThatExists) {
  // Other tests of this process count too.
  const auto count = [](absl::string_view series) {
    const std::string text = telemetry::RenderMetrics();
    const std::string start = absl::StrCat("\npostern_auth_login_failures_by_", series, "\"} ");
    const size_t at = text.find(start);
    return at == std::string::npos ? 0 : std::stod(text.substr(at + start.size()));
  };
  constexpr char kNetwork[] = "network_total{network=\"192.0.2.0/24";
  constexpr char kAlice[] = "account_total{account=\"alice@example.test";
  constexpr char kUnknown[] = "account_total{account=\"unknown";
  const double network = count(kNetwork), alice = count(kAlice), unknown = count(kUnknown);
  LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, kWrongPlain);
  LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, std::string("\0mallory@example.test\0wrong", 27));
  LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, kRightPlain);
  // No credentials were judged.
  LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, "malformed");
  EXPECT_EQ(count(kNetwork), network + 2);
  EXPECT_EQ(count(kAlice), alice + 1);
  EXPECT_EQ(count(kUnknown), unknown + 1);
  EXPECT_THAT(telemetry::RenderMetrics(), testing::Not(HasSubstr("mallory")));
}

TEST_P(ServiceTest, ExchangesThatAreDroppedDoNoHarm) {
  auto stub = v1::AuthenticationService::NewStub(service_.Connect(kGatewayPop3));
  for (int i = 0; i < 50; ++i) {
    grpc::ClientContext context;
    auto stream = stub->Authenticate(&context);
    stream->Write(i % 2 == 0 ? Start("LOGIN", v1::PURPOSE_MAILDROP, std::nullopt)
                             : Start("PLAIN", v1::PURPOSE_MAILDROP, kWrongPlain));
    context.TryCancel();
    stream->Finish();
  }
  EXPECT_TRUE(LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, kRightPlain).last().has_success());
}

TEST_P(ServiceTest, ManyLogInAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      for (int j = 0; j < 5; ++j) {
        Exchange exchange =
            LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, i % 2 == 0 ? kRightPlain : kWrongPlain);
        ASSERT_EQ(exchange.answers.size(), 1u);
        EXPECT_EQ(exchange.last().has_success(), i % 2 == 0);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(ServiceTest, NewPasswordEndsTheOldOneAtOnce) {
  ASSERT_TRUE(LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, kRightPlain).last().has_success());
  v1::SetPasswordRequest request;
  request.set_address("alice@example.test");
  request.set_password("battery staple");
  v1::SetPasswordResponse response;
  ASSERT_TRUE(Call(*admin_, &Admin::SetPassword, request, &response).ok());
  EXPECT_TRUE(LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, kRightPlain).last().has_failure());
}

TEST_P(ServiceTest, AHashOfAnotherSystemIsTakenAsItIs) {
  v1::SetPasswordRequest request;
  request.set_address("alice@example.test");
  // Of "battery staple", by `openssl passwd -6 -salt saltsalt`.
  const std::string hash =
      "$6$saltsalt$CYKCUk3wfgAfOLU1N7LBdAOcnz7MHa8PPC6Qvzg2SE3emUjQnShp9I47xqbIijxhGRW/"
      "PXlgS02HgDVtAuivQ/";
  request.set_password_hash("{SHA512-CRYPT}" + hash);
  v1::SetPasswordResponse response;
  ASSERT_TRUE(Call(*admin_, &Admin::SetPassword, request, &response).ok());
  EXPECT_TRUE(LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, kRightPlain).last().has_failure());
  const std::string plain("\0alice@example.test\0battery staple", 34);
  EXPECT_TRUE(LogIn(kGatewayPop3, v1::PURPOSE_MAILDROP, plain).last().has_success());

  request.set_password("battery staple");
  const grpc::Status both = Call(*admin_, &Admin::SetPassword, request, &response);
  EXPECT_EQ(both.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_password();
  request.set_password_hash("{MD5}" + hash);
  const grpc::Status other = Call(*admin_, &Admin::SetPassword, request, &response);
  EXPECT_EQ(other.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(other.error_message(), HasSubstr("scheme {MD5} are not taken"));
  EXPECT_THAT(other.error_message(), Not(HasSubstr("saltsalt")));
}

TEST_P(ServiceTest, DirectoryAnswersRelay) {
  auto directory = v1::DirectoryService::NewStub(service_.Connect(kRelaySvc));
  auto resolve = [&](const std::string& address) {
    v1::ResolveRecipientRequest request;
    request.set_address(address);
    v1::ResolveRecipientResponse response;
    grpc::Status status =
        Call(*directory, &v1::DirectoryService::Stub::ResolveRecipient, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  };
  v1::ResolveRecipientResponse alice = resolve("Alice+list@example.test");
  EXPECT_EQ(alice.outcome(), v1::ResolveRecipientResponse::OUTCOME_LOCAL);
  ASSERT_EQ(alice.mailboxes_size(), 1);
  EXPECT_EQ(alice.mailboxes(0).mailbox_id(), account_.account().mailbox_id());
  EXPECT_EQ(alice.mailboxes(0).address(), "alice@example.test");
  EXPECT_EQ(resolve("postmaster").mailboxes(0).address(), "alice@example.test");
  EXPECT_EQ(resolve("bob@example.test").outcome(), v1::ResolveRecipientResponse::OUTCOME_UNKNOWN);
  EXPECT_EQ(resolve("bob@elsewhere.test").outcome(),
            v1::ResolveRecipientResponse::OUTCOME_NOT_LOCAL);

  v1::MaySendAsRequest check;
  check.set_account_id(account_.account().account_id());
  check.add_addresses("alice@example.test");
  v1::MaySendAsResponse checked;
  ASSERT_TRUE(Call(*directory, &v1::DirectoryService::Stub::MaySendAs, check, &checked).ok());
  EXPECT_TRUE(checked.allowed());
  for (int i = 0; i < 100; ++i) check.add_addresses("alice@example.test");
  EXPECT_EQ(Call(*directory, &v1::DirectoryService::Stub::MaySendAs, check, &checked).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);

  ASSERT_TRUE(AddDomain("a.test").ok());
  v1::ListLocalDomainsRequest list;
  list.set_page_size(1);
  v1::ListLocalDomainsResponse page;
  ASSERT_TRUE(Call(*directory, &v1::DirectoryService::Stub::ListLocalDomains, list, &page).ok());
  EXPECT_EQ(page.domains(0), "a.test");
  list.set_page_token(page.next_page_token());
  page.Clear();
  ASSERT_TRUE(Call(*directory, &v1::DirectoryService::Stub::ListLocalDomains, list, &page).ok());
  EXPECT_EQ(page.domains(0), "example.test");
  EXPECT_EQ(page.next_page_token(), "");
}

TEST_P(ServiceTest, ListsPageThroughEverything) {
  for (int i = 0; i < 7; ++i) {
    ASSERT_TRUE(AddAccount(absl::StrCat("\"user ", i, "\"@example.test"), "correct horse").ok());
  }
  std::vector<std::string> seen;
  v1::ListAccountsRequest request;
  request.set_page_size(3);
  do {
    v1::ListAccountsResponse page;
    grpc::Status status = Call(*admin_, &Admin::ListAccounts, request, &page);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_LE(page.accounts_size(), 3);
    for (const v1::Account& account : page.accounts()) seen.push_back(account.address());
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  ASSERT_EQ(seen.size(), 8u);
  EXPECT_EQ(seen.front(), "alice@example.test");
  EXPECT_EQ(seen.back(), "\"user 6\"@example.test");

  v1::ListAccountsResponse page;
  auto code = [&] { return Call(*admin_, &Admin::ListAccounts, request, &page).error_code(); };
  request.set_page_token("no token");
  EXPECT_EQ(code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.clear_page_token();
  request.set_page_size(1001);
  EXPECT_EQ(code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_page_size(-1);
  EXPECT_EQ(code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_page_size(0);
  request.set_domain("nowhere.test");
  EXPECT_EQ(code(), grpc::StatusCode::NOT_FOUND);
  request.clear_domain();
  request.set_address("ALICE@example.test");
  ASSERT_EQ(code(), grpc::StatusCode::OK);
  EXPECT_EQ(page.accounts_size(), 1);
}

TEST_P(ServiceTest, ARequestIdTakesEffectOnce) {
  ASSERT_TRUE(AddAccount("bob@example.test", "correct horse", "one").ok());
  const std::string id = account_.account().account_id();
  ASSERT_TRUE(AddAccount("bob@example.test", "correct horse", "one").ok());
  EXPECT_EQ(account_.account().account_id(), id);
  EXPECT_EQ(AddAccount("bob@example.test", "correct horse", "two").error_code(),
            grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(AddAccount("carol@example.test", "correct horse", "one").error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(AddDomain("other.test", std::string(65, 'x')).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  // What was refused was not answered for good.
  EXPECT_EQ(AddAccount("bob@other.test", "correct horse", "three").error_code(),
            grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(AddDomain("other.test").ok());
  EXPECT_TRUE(AddAccount("bob@other.test", "correct horse", "three").ok());
}

TEST_P(ServiceTest, BadPasswordsAreRefusedAndNotRepeated) {
  for (const std::string& password :
       {std::string("secret!"), std::string(1025, 's'), std::string("secret\0password", 15)}) {
    grpc::Status status = AddAccount("bob@example.test", password);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), testing::Not(HasSubstr("secret")));
  }
}

TEST_P(ServiceTest, AliasesByRpc) {
  v1::AddAliasRequest add;
  add.mutable_alias()->set_address("Sales@example.test");
  add.mutable_alias()->add_targets("alice@example.test");
  v1::AddAliasResponse added;
  ASSERT_TRUE(Call(*admin_, &Admin::AddAlias, add, &added).ok());
  EXPECT_EQ(added.alias().address(), "sales@example.test");
  v1::SetAliasTargetsRequest set;
  *set.mutable_alias() = added.alias();
  set.mutable_alias()->add_targets("sales@example.test");
  v1::SetAliasTargetsResponse changed;
  grpc::Status loop = Call(*admin_, &Admin::SetAliasTargets, set, &changed);
  EXPECT_EQ(loop.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(loop.error_message(), HasSubstr("sales@example.test -> sales@example.test"));
  v1::RemoveAccountRequest remove;
  remove.set_address("alice@example.test");
  v1::RemoveAccountResponse removed;
  EXPECT_EQ(Call(*admin_, &Admin::RemoveAccount, remove, &removed).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  v1::ListAliasesResponse list;
  ASSERT_TRUE(Call(*admin_, &Admin::ListAliases, v1::ListAliasesRequest(), &list).ok());
  ASSERT_EQ(list.aliases_size(), 1);
  EXPECT_EQ(list.aliases(0).targets(0), "alice@example.test");
}

TEST_P(ServiceTest, AliasesForwardByRpc) {
  v1::AddAliasRequest add;
  add.set_request_id("once");
  add.mutable_alias()->set_address("sales@example.test");
  add.mutable_alias()->add_targets("alice@example.test");
  add.mutable_alias()->add_forwards("Zoe@Elsewhere.test");
  v1::AddAliasResponse added;
  ASSERT_TRUE(Call(*admin_, &Admin::AddAlias, add, &added).ok());
  ASSERT_EQ(added.alias().forwards_size(), 1);
  EXPECT_EQ(added.alias().forwards(0), "Zoe@elsewhere.test");
  // Another change, though the targets are the same.
  add.mutable_alias()->add_forwards("amy@elsewhere.test");
  EXPECT_EQ(Call(*admin_, &Admin::AddAlias, add, &added).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  v1::ListAliasesResponse list;
  ASSERT_TRUE(Call(*admin_, &Admin::ListAliases, v1::ListAliasesRequest(), &list).ok());
  ASSERT_EQ(list.aliases_size(), 1);
  EXPECT_EQ(list.aliases(0).forwards_size(), 1);

  auto directory = v1::DirectoryService::NewStub(service_.Connect(kRelaySvc));
  auto resolve = [&](const std::string& address, const std::string& sender) {
    v1::ResolveRecipientRequest request;
    request.set_address(address);
    request.set_sender(sender);
    v1::ResolveRecipientResponse response;
    const grpc::Status status =
        Call(*directory, &v1::DirectoryService::Stub::ResolveRecipient, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.outcome(), v1::ResolveRecipientResponse::OUTCOME_LOCAL);
    return response;
  };
  const v1::ResolveRecipientResponse there = resolve("sales@example.test", "Sue@sender.test");
  EXPECT_EQ(there.mailboxes_size(), 1);
  ASSERT_EQ(there.forwards_size(), 1);
  EXPECT_EQ(there.forwards(0), "Zoe@elsewhere.test");
  EXPECT_THAT(there.forward_sender(),
              MatchesRegex("SRS0=[a-z2-7]{6}=[A-Z2-7]{2}=sender\\.test=Sue@example\\.test"));
  EXPECT_EQ(resolve("sales@example.test", "no address").forward_sender(), "no address");
  const v1::ResolveRecipientResponse back = resolve(there.forward_sender(), "");
  EXPECT_EQ(back.mailboxes_size(), 0);
  ASSERT_EQ(back.forwards_size(), 1);
  EXPECT_EQ(back.forwards(0), "Sue@sender.test");
  EXPECT_EQ(back.forward_sender(), "");

  v1::SetAliasTargetsRequest set;
  set.mutable_alias()->set_address("sales@example.test");
  set.mutable_alias()->add_forwards("alice@example.test");
  v1::SetAliasTargetsResponse changed;
  const grpc::Status inside = Call(*admin_, &Admin::SetAliasTargets, set, &changed);
  EXPECT_EQ(inside.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(inside.error_message(), HasSubstr("give it as a target"));
  v1::ImportRequest import;
  v1::Alias& imported = *import.add_entries()->mutable_alias();
  imported.set_address("out@example.test");
  imported.add_forwards("zoe@elsewhere.test");
  v1::ImportResponse results;
  ASSERT_TRUE(Call(*admin_, &Admin::Import, import, &results).ok());
  EXPECT_EQ(results.results(0).outcome(), v1::ImportResponse::OUTCOME_ADDED);
  EXPECT_EQ(resolve("out@example.test", "alice@example.test").forward_sender(),
            "alice@example.test");
  EXPECT_EQ(AddDomain("elsewhere.test").error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_P(ServiceTest, OnlyThoseWhoMayCall) {
  for (absl::string_view identity :
       {kGatewaySmtpMx, kGatewaySmtpSubmission, kGatewayPop3, kRelaySvc, kStoreSvc}) {
    auto admin = v1::DirectoryAdminService::NewStub(service_.Connect(identity));
    v1::ListAccountsResponse accounts;
    EXPECT_EQ(Call(*admin, &Admin::ListAccounts, v1::ListAccountsRequest(), &accounts).error_code(),
              grpc::StatusCode::PERMISSION_DENIED)
        << identity;
  }
  for (absl::string_view identity : {kGatewaySmtpMx, kRelaySvc, kStoreSvc, kPosternctl}) {
    EXPECT_EQ(LogIn(identity, v1::PURPOSE_MAILDROP, kRightPlain).status.error_code(),
              grpc::StatusCode::PERMISSION_DENIED)
        << identity;
  }
  for (absl::string_view identity :
       {kGatewaySmtpMx, kGatewaySmtpSubmission, kGatewayPop3, kStoreSvc, kPosternctl}) {
    auto directory = v1::DirectoryService::NewStub(service_.Connect(identity));
    v1::ResolveRecipientResponse response;
    EXPECT_EQ(Call(*directory, &v1::DirectoryService::Stub::ResolveRecipient,
                   v1::ResolveRecipientRequest(), &response)
                  .error_code(),
              grpc::StatusCode::PERMISSION_DENIED)
        << identity;
  }
}

TEST(CheckConfig, OneDatabase) {
  config::v1::AuthSvc config;
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("database_file: absent"));
  config.mutable_postgresql()->set_user("postern_auth");
  EXPECT_TRUE(CheckConfig(config).ok());
  config.set_database_file("directory.db");
  EXPECT_THAT(std::string(CheckConfig(config).message()), HasSubstr("stands beside postgresql"));
}

TEST(CheckConfig, Separator) {
  struct {
    const char* separator;
    bool good;
  } const kCases[] = {{"+", true},  {"", true},   {"--", true},     {"a", false},
                      {"@", false}, {" ", false}, {"+++++", false}, {"\xc3\xa9", false}};
  for (const auto& c : kCases) {
    config::v1::AuthSvc config;
    config.set_database_file("directory.db");
    config.set_subaddress_separator(c.separator);
    absl::Status status = CheckConfig(config);
    EXPECT_EQ(status.ok(), c.good) << c.separator;
    if (!c.good) {
      EXPECT_THAT(std::string(status.message()), HasSubstr("subaddress_separator"));
    }
  }
}

}  // namespace
}  // namespace postern::auth
