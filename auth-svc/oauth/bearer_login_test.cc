#include "auth-svc/oauth/bearer_login.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "auth-svc/domain/resolver.h"
#include "auth-svc/domain/upkeep.h"
#include "auth-svc/oauth/testing/test_key.h"
#include "auth-svc/sqlite/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/postern/config/v1/auth_svc.pb.h"
#include "services/async/wait.h"
#include "services/limits/local_limits.h"

namespace postern::auth::oauth {
namespace {

using Outcome = LoginResult::Outcome;
using testing::HasSubstr;

constexpr int64_t kNow = 1'800'000'000;

// Of the provider `name`, for an address.
class Provider {
 public:
  explicit Provider(const std::string& name) : name_(name) {
    std::ofstream(file()) << KeySetOf({key_.Jwk(R"("kid":"1")")});
  }
  std::string Token(const std::string& address, int64_t expires_at = kNow + 600) const {
    return key_.Sign(
        R"({"alg":"ES256","kid":"1"})",
        absl::StrCat(R"({"iss":"https://)", name_, R"(.test","aud":"mail","sub":"1","email":")",
                     address, R"(","exp":)", expires_at, "}"));
  }
  std::unique_ptr<TokenVerifier> Verifier() const {
    config::v1::OAuth config;
    config.set_name(name_);
    config.add_domains("staff.test");
    config.set_issuer(absl::StrCat("https://", name_, ".test"));
    config.add_audiences("mail");
    config.set_jwks_file(file());
    return *TokenVerifier::Open(config, [] { return absl::FromUnixSeconds(kNow); });
  }

 private:
  std::string file() const {
    return absl::StrCat(std::getenv("TEST_TMPDIR"), "/", name_, "-", getpid(), ".json");
  }
  const std::string name_;
  const TestKey key_ = TestKey::Ec(CJOSE_JWK_EC_P_256);
};

class BearerLoginTest : public testing::Test {
 protected:
  BearerLoginTest() {
    Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, "staff.test").status(); });
    for (const char* address : {"alice@staff.test", "bob@staff.test"}) {
      Change([&](DirectoryWriter& w) { return upkeep_.AddAccount(w, address, {"hash"}).status(); });
    }
    Change(
        [&](DirectoryWriter& w) { return upkeep_.SetAccountEnabled(w, "bob@staff.test", false); });
    // Where no password is taken.
    Change([&](DirectoryWriter& w) {
      return upkeep_.SetLoginPolicy(w, "staff.test", LoginPolicy::kNoPasswords).status();
    });
    std::vector<std::unique_ptr<TokenVerifier>> verifiers;
    for (const Provider* one : {&first_, &second_}) verifiers.push_back(one->Verifier());
    login_ = std::make_unique<BearerLogin>(std::move(verifiers), logins_);
  }

  void Change(std::function<absl::Status(DirectoryWriter&)> body) {
    ASSERT_EQ(directory_->Write([&](DirectoryWriter& w) { return body(w); }), absl::OkStatus());
  }
  LoginResult LogIn(const std::string& token, const std::string& named = "") {
    return async::Wait<LoginResult>([&](auto done) {
      login_->LogIn({{named, ""}, token}, "192.0.2.0/24", std::move(done));
    });
  }

  const AliasLimits limits_;
  const Upkeep upkeep_{Resolver("+", limits_), limits_};
  const std::unique_ptr<Directory> directory_ = MakeTestDirectory();
  Mirror mirror_{*directory_, {}, Resolver("+", limits_), /*mailbox_shards=*/1, 1000};
  limits::LocalLimits failures_{[] { return absl::FromUnixSeconds(kNow); }};
  LoginThrottle throttle_{{}, &failures_};
  process::WorkerPool pool_{/*threads=*/1, /*max_waiting=*/100};
  VouchedLogin logins_{*directory_, mirror_, throttle_, pool_};
  const Provider first_{"first"};
  const Provider second_{"second"};
  std::unique_ptr<BearerLogin> login_;
};

TEST_F(BearerLoginTest, ATokenOfEachProviderLogsItsAccountIn) {
  LoginResult result = LogIn(first_.Token("Alice@Staff.test"));
  EXPECT_EQ(result.outcome, Outcome::kAccepted) << result.detail;
  EXPECT_EQ(result.account.address.ToString(), "alice@staff.test");
  EXPECT_EQ(result.detail, "token of first");
  result = LogIn(second_.Token("alice@staff.test"), "ALICE@staff.test");
  EXPECT_EQ(result.outcome, Outcome::kAccepted) << result.detail;
  EXPECT_EQ(result.detail, "token of second");
}

TEST_F(BearerLoginTest, WhatIsWrongIsSaidInTheLog) {
  struct Case {
    std::string token;
    std::string named;
    const char* detail;
  };
  for (const Case& one : std::vector<Case>{
           {first_.Token("bob@staff.test"), "", "disabled account"},
           {first_.Token("carol@staff.test"), "", "there is no account carol@staff.test"},
           {first_.Token("alice@staff.test"), "bob@staff.test",
            "token of first: is of another than bob@staff.test"},
           {first_.Token("alice@staff.test"), "alice", "nobody can be called what it names"},
           {first_.Token("alice@staff.test", kNow - 600), "", "first: "},
           {"a.b.c", "", "second: "},
       }) {
    const LoginResult result = LogIn(one.token, one.named);
    EXPECT_EQ(result.outcome, Outcome::kInvalid) << one.detail;
    EXPECT_THAT(result.detail, HasSubstr(one.detail));
    EXPECT_THAT(result.detail, testing::Not(HasSubstr(one.token)));
  }
}

TEST_F(BearerLoginTest, WrongTokensAreThrottled) {
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(LogIn("a.b.c", "alice@staff.test").outcome, Outcome::kInvalid);
  }
  EXPECT_EQ(LogIn("a.b.c", "alice@staff.test").outcome, Outcome::kThrottled);
}

}  // namespace
}  // namespace postern::auth::oauth
