// Logins of people whom an external directory has.
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "auth-svc/domain/app_password.h"
#include "auth-svc/domain/authenticator.h"
#include "auth-svc/domain/freshness.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/resolver.h"
#include "auth-svc/domain/test_external.h"
#include "auth-svc/domain/upkeep.h"
#include "auth-svc/domain/vouched_login.h"
#include "auth-svc/sqlite/test_directory.h"
#include "gtest/gtest.h"
#include "services/async/wait.h"
#include "services/limits/local_limits.h"

namespace postern::auth {
namespace {

using Outcome = LoginResult::Outcome;

class ExternalLoginTest : public testing::Test {
 protected:
  ExternalLoginTest() {
    for (const char* domain : {"staff.test", "other.test", "ours.test"}) {
      Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, domain).status(); });
    }
    external_.Person("1", {"alice@staff.test"}, "secret");
    authenticator_ =
        *Authenticator::Create(*directory_, mirror_, PasswordKeeper(hasher_, 0), memory_, throttle_,
                               reading_, hashing_, [this] { return now_; });
  }

  void Change(std::function<absl::Status(DirectoryWriter&)> body) {
    ASSERT_EQ(directory_->Write([&](DirectoryWriter& w) { return body(w); }), absl::OkStatus());
  }
  void SetPolicy(const std::string& domain, LoginPolicy policy) {
    Change([&](DirectoryWriter& w) { return upkeep_.SetLoginPolicy(w, domain, policy).status(); });
  }
  std::string AddAppPassword(const std::string& address, const std::string& name) {
    const std::string password = NewAppPassword();
    Change([&](DirectoryWriter& w) {
      return upkeep_.AddAppPassword(w, address, {"", name, "", true, true, now_, now_}, password)
          .status();
    });
    return password;
  }
  LoginResult LogIn(const std::string& name, const std::string& password) {
    return async::Wait<LoginResult>([&](auto done) {
      authenticator_->LogIn(
          {{"", name}, password}, LoginUse::kPop3, "192.0.2.0/24", [] { return false; },
          std::move(done));
    });
  }
  LoginResult LogInVouched(const std::string& address) {
    return async::Wait<LoginResult>([&](auto done) {
      vouched_.LogIn(
          {}, "192.0.2.0/24",
          [&]() -> absl::StatusOr<Vouched> {
            return Vouched{{*CanonicalAddress(address)}, "somebody"};
          },
          std::move(done));
    });
  }
  void Expire() { now_ += absl::Minutes(2); }

  const AliasLimits limits_;
  const Upkeep upkeep_{Resolver("+", limits_), limits_};
  const std::unique_ptr<Directory> directory_ = MakeTestDirectory();
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  TestExternal external_;
  Freshness freshness_{[this] { return now_; }, absl::Minutes(1), 100};
  Mirror mirror_{*directory_,
                 {{&external_, {"staff.test", "other.test"}, &freshness_, 2}},
                 Resolver("+", limits_),
                 /*mailbox_shards=*/1,
                 1000};
  Argon2Hasher hasher_{{/*memory_octets=*/8 << 20, /*passes=*/1}};
  LoginMemory memory_{[this] { return now_; }, absl::Minutes(5), 100};
  limits::LocalLimits failures_{[this] { return now_; }};
  LoginThrottle throttle_{{}, &failures_};
  std::unique_ptr<Authenticator> authenticator_;
  process::WorkerPool hashing_{/*threads=*/1, /*max_waiting=*/100};
  process::WorkerPool reading_{/*threads=*/1, /*max_waiting=*/100};
  VouchedLogin vouched_{*directory_, mirror_, throttle_, reading_};
};

TEST_F(ExternalLoginTest, AnApplicationPasswordLastsAsLongAsThePersonIsThere) {
  ASSERT_EQ(LogIn("alice@staff.test", "secret").outcome, Outcome::kAccepted);
  const std::string phone = AddAppPassword("alice@staff.test", "phone");
  EXPECT_EQ(LogIn("alice@staff.test", phone).outcome, Outcome::kAccepted);
  Expire();
  external_.Person("1", {"alice@staff.test"}, "secret", /*enabled=*/false);
  const LoginResult result = LogIn("alice@staff.test", phone);
  EXPECT_EQ(result.outcome, Outcome::kInvalid);
  EXPECT_EQ(result.detail, "disabled account");
  Expire();
  external_.Person("1", {"alice@staff.test"}, "secret");
  EXPECT_EQ(LogIn("alice@staff.test", phone).outcome, Outcome::kAccepted);
}

// For ever would be longer than a password does.
TEST_F(ExternalLoginTest, WhileTheDirectoryIsAwayThoseUsedOfLateGoOn) {
  ASSERT_EQ(LogIn("alice@staff.test", "secret").outcome, Outcome::kAccepted);
  const std::string used = AddAppPassword("alice@staff.test", "used");
  const std::string unused = AddAppPassword("alice@staff.test", "unused");
  EXPECT_EQ(LogIn("alice@staff.test", used).outcome, Outcome::kAccepted);
  Expire();
  external_.SetAway(absl::UnavailableError("away"));
  EXPECT_EQ(LogIn("alice@staff.test", used).outcome, Outcome::kAccepted);
  EXPECT_EQ(LogIn("alice@staff.test", unused).outcome, Outcome::kTemporary);
  now_ += absl::Minutes(5);
  EXPECT_EQ(LogIn("alice@staff.test", used).outcome, Outcome::kTemporary);
  external_.SetAway(absl::OkStatus());
  EXPECT_EQ(LogIn("alice@staff.test", unused).outcome, Outcome::kAccepted);
  // One that is removed is not known from before either.
  EXPECT_EQ(LogIn("alice@staff.test", used).outcome, Outcome::kAccepted);
  Change(
      [&](DirectoryWriter& w) { return upkeep_.RemoveAppPassword(w, "alice@staff.test", "used"); });
  EXPECT_EQ(LogIn("alice@staff.test", used).outcome, Outcome::kInvalid);
}

TEST_F(ExternalLoginTest, ThePolicyIsThatOfTheAccountsDomain) {
  external_.Person("2", {"bob@staff.test", "bob@other.test"}, "secret");
  // So that no row leads from the one to the other.
  Change([&](DirectoryWriter& w) {
    return upkeep_.AddAccount(w, "robot@ours.test", {"hash"}).status();
  });
  Change([&](DirectoryWriter& w) {
    return upkeep_.AddAlias(w, {"bob@other.test", {"robot@ours.test"}}).status();
  });
  EXPECT_EQ(LogIn("bob@other.test", "secret").outcome, Outcome::kAccepted);
  SetPolicy("staff.test", LoginPolicy::kNoPasswords);
  const LoginResult result = LogIn("bob@other.test", "secret");
  EXPECT_EQ(result.outcome, Outcome::kInvalid);
  EXPECT_EQ(result.detail, "its domain takes application passwords only");
  EXPECT_EQ(LogIn("bob@staff.test", "secret").outcome, Outcome::kInvalid);
}

TEST_F(ExternalLoginTest, WhoIsVouchedForHasAnAccountUnderThatVeryAddress) {
  external_.Person("2", {"bob@staff.test", "b@staff.test"}, "secret");
  Change([&](DirectoryWriter& w) {
    return upkeep_.AddAccount(w, "carol@ours.test", {"hash"}).status();
  });
  external_.Group("sales@staff.test", {"carol@ours.test"});
  EXPECT_EQ(LogInVouched("bob@staff.test").outcome, Outcome::kAccepted) << "never seen before";
  for (const char* address : {"b@staff.test", "sales@staff.test"}) {
    const LoginResult result = LogInVouched(address);
    EXPECT_EQ(result.outcome, Outcome::kInvalid) << address;
    EXPECT_EQ(result.detail,
              std::string("somebody: ") + address + " is not an account's own address");
  }
  external_.SetAway(absl::UnavailableError("away"));
  Expire();
  EXPECT_EQ(LogInVouched("bob@staff.test").outcome, Outcome::kTemporary);
}

}  // namespace
}  // namespace postern::auth
