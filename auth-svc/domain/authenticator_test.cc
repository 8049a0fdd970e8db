#include "auth-svc/domain/authenticator.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "auth-svc/domain/app_password.h"
#include "auth-svc/domain/mirror.h"
#include "auth-svc/domain/resolver.h"
#include "auth-svc/domain/upkeep.h"
#include "auth-svc/sqlite/test_directory.h"
#include "gtest/gtest.h"
#include "services/async/wait.h"
#include "services/limits/local_limits.h"

namespace postern::auth {
namespace {

using Outcome = LoginResult::Outcome;

// Of "correct horse", by `doveadm pw -s SSHA`.
constexpr char kOtherHash[] = "{SSHA}DURtlrYNoqi6N86XLd9vAEUA2DwLSx6M";

// The real one, counted; can be held up.
class CountingHasher final : public PasswordHasher {
 public:
  absl::StatusOr<std::string> Hash(absl::string_view password) override {
    if (before_hash) std::exchange(before_hash, nullptr)();
    return real_.Hash(password);
  }
  absl::StatusOr<bool> Verify(const std::string& hash, absl::string_view password) override {
    ++verifications;
    if (before_verify) before_verify();
    return real_.Verify(hash, password);
  }
  bool Outdated(const std::string& hash) const override { return real_.Outdated(hash); }

  std::atomic<int> verifications{0};
  std::function<void()> before_verify;
  // Once.
  std::function<void()> before_hash;

 private:
  Argon2Hasher real_{{/*memory_octets=*/8 << 20, /*passes=*/1}};
};

class AuthenticatorTest : public testing::Test {
 protected:
  AuthenticatorTest() {
    Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, "example.test").status(); });
    const std::string hash = *hasher_.Hash("correct horse");
    for (const char* address : {"alice@example.test", "bob@example.test"}) {
      Change([&](DirectoryWriter& w) { return upkeep_.AddAccount(w, address, {hash}).status(); });
    }
    Change([&](DirectoryWriter& w) {
      return upkeep_.SetAccountEnabled(w, "bob@example.test", false);
    });
    Change([&](DirectoryWriter& w) {
      return upkeep_.AddAlias(w, {"sales@example.test", {"alice@example.test"}}).status();
    });
    Make(/*rehash_on_login=*/false);
  }

  void Make(bool rehash_on_login, uint32_t scram_iterations = 0) {
    authenticator_ = *Authenticator::Create(
        *directory_, mirror_, PasswordKeeper(hasher_, scram_iterations), memory_, throttle_,
        reading_, pool_, [this] { return now_; }, rehash_on_login);
  }

  void Change(std::function<absl::Status(DirectoryWriter&)> body) {
    ASSERT_EQ(directory_->Write([&](DirectoryWriter& w) { return body(w); }), absl::OkStatus());
  }
  void SetPassword(const std::string& password) { SetHash(*hasher_.Hash(password)); }
  void SetHash(const std::string& hash) {
    Change(
        [&](DirectoryWriter& w) { return upkeep_.SetPassword(w, "alice@example.test", {hash}); });
  }
  Account Alice() {
    Account alice;
    EXPECT_TRUE(directory_
                    ->Read([&](DirectoryReader& reader) {
                      alice = **reader.FindAccount(*CanonicalAddress("alice@example.test"));
                      return absl::OkStatus();
                    })
                    .ok());
    return alice;
  }
  std::string Hash() { return Alice().password_hash; }
  // Alice's; used just now, so that nothing of a login is noted.
  std::string AddAppPassword(const std::string& name, bool pop3, bool submission) {
    return AddAppPassword({"", name, "", pop3, submission, now_, now_});
  }
  std::string AddAppPassword(const AppPassword& asked) {
    const std::string password = NewAppPassword();
    Change([&](DirectoryWriter& w) {
      return upkeep_.AddAppPassword(w, "alice@example.test", asked, password).status();
    });
    return password;
  }

  LoginResult LogIn(const std::string& name, const std::string& password,
                    const std::string& acts_as = "", LoginUse use = LoginUse::kPop3) {
    return async::Wait<LoginResult>([&](auto done) {
      authenticator_->LogIn(
          {{acts_as, name}, password}, use, "192.0.2.0/24", [] { return false; }, std::move(done));
    });
  }

  const AliasLimits limits_;
  const Upkeep upkeep_{Resolver("+", limits_), limits_};
  const std::unique_ptr<Directory> directory_ = MakeTestDirectory();
  Mirror mirror_{*directory_, {}, Resolver("+", limits_), /*mailbox_shards=*/1, 1000};
  CountingHasher hasher_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  LoginMemory memory_{[this] { return now_; }, absl::Minutes(5), 100};
  limits::LocalLimits failures_{[this] { return now_; }};
  LoginThrottle throttle_{{}, &failures_};
  std::unique_ptr<Authenticator> authenticator_;
  process::WorkerPool pool_{/*threads=*/1, /*max_waiting=*/1};
  process::WorkerPool reading_{/*threads=*/1, /*max_waiting=*/100};
};

TEST_F(AuthenticatorTest, AcceptsAnAccountByItsFullAddress) {
  for (const char* name : {"alice@example.test", "ALICE@Example.Test", "\"alice\"@example.test"}) {
    LoginResult result = LogIn(name, "correct horse");
    EXPECT_EQ(result.outcome, Outcome::kAccepted) << name;
    EXPECT_EQ(result.account.address.ToString(), "alice@example.test");
  }
}

TEST_F(AuthenticatorTest, PlainsAuthorizationIdentityMayOnlyBeTheSame) {
  EXPECT_EQ(LogIn("alice@example.test", "correct horse", "alice@example.test").outcome,
            Outcome::kAccepted);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse", "bob@example.test").outcome,
            Outcome::kInvalid);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse", "alice").outcome, Outcome::kInvalid);
}

// By the work done, not by the clock: whatever is wrong costs exactly one hash.
TEST_F(AuthenticatorTest, EveryWrongLoginIsAnsweredAlikeAndCostsOneHash) {
  struct {
    const char* name;
    const char* password;
    const char* acts_as;
  } const kCases[] = {
      {"alice@example.test", "wrong", ""},
      {"alice@example.test", "", ""},
      {"nobody@example.test", "correct horse", ""},
      {"nobody@elsewhere.test", "correct horse", ""},
      // Disabled, with the right and a wrong password.
      {"bob@example.test", "correct horse", ""},
      {"bob@example.test", "wrong", ""},
      // An alias and a sub-address are no accounts.
      {"sales@example.test", "correct horse", ""},
      {"alice+list@example.test", "correct horse", ""},
      // A local part alone.
      {"alice", "correct horse", ""},
      {"", "correct horse", ""},
      {"no address at all", "correct horse", ""},
      {"alice@example.test", "correct horse", "bob@example.test"},
  };
  for (const auto& c : kCases) {
    hasher_.verifications = 0;
    LoginResult result = LogIn(c.name, c.password, c.acts_as);
    EXPECT_EQ(result.outcome, Outcome::kInvalid) << c.name;
    EXPECT_EQ(hasher_.verifications, 1) << c.name << " " << c.password;
  }
}

TEST_F(AuthenticatorTest, AGoodLoginIsRememberedAndAWrongOneIsNot) {
  EXPECT_FALSE(LogIn("alice@example.test", "correct horse").remembered);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(LogIn("alice@example.test", "correct horse").remembered);
  }
  EXPECT_EQ(hasher_.verifications, 1);
  // A guess beside it costs as much as any other.
  EXPECT_EQ(LogIn("alice@example.test", "wrong").outcome, Outcome::kInvalid);
  EXPECT_EQ(LogIn("alice@example.test", "wrong").outcome, Outcome::kInvalid);
  EXPECT_EQ(hasher_.verifications, 3);
  now_ += absl::Minutes(5);
  EXPECT_FALSE(LogIn("alice@example.test", "correct horse").remembered);
  EXPECT_EQ(hasher_.verifications, 4);
}

TEST_F(AuthenticatorTest, ANewPasswordEndsTheOldOneAtOnce) {
  LogIn("alice@example.test", "correct horse");
  SetPassword("battery staple");
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kInvalid);
  EXPECT_EQ(LogIn("alice@example.test", "battery staple").outcome, Outcome::kAccepted);
}

TEST_F(AuthenticatorTest, AHashOfAnotherSystemIsTakenAndAWrongLoginToldFromNone) {
  SetHash(kOtherHash);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
  EXPECT_TRUE(LogIn("alice@example.test", "correct horse").remembered);
  EXPECT_EQ(hasher_.verifications, 1);
  // Its own, and the one that somebody who is not there costs.
  hasher_.verifications = 0;
  EXPECT_EQ(LogIn("alice@example.test", "wrong").outcome, Outcome::kInvalid);
  EXPECT_EQ(hasher_.verifications, 2);
  EXPECT_EQ(Hash(), kOtherHash);
  Change([&](DirectoryWriter& w) {
    return upkeep_.SetAccountEnabled(w, "alice@example.test", false);
  });
  hasher_.verifications = 0;
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kInvalid);
  EXPECT_EQ(hasher_.verifications, 2);
}

TEST_F(AuthenticatorTest, AGoodLoginBringsAHashUpToDateWhenAsked) {
  Make(/*rehash_on_login=*/true);
  SetHash(kOtherHash);
  EXPECT_EQ(LogIn("alice@example.test", "wrong").outcome, Outcome::kInvalid);
  EXPECT_EQ(Hash(), kOtherHash);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
  const std::string hash = Hash();
  EXPECT_EQ(hash.rfind("$argon2id$v=19$m=8192,t=1,p=1$", 0), 0u) << hash;
  EXPECT_TRUE(LogIn("alice@example.test", "correct horse").remembered) << "with the new version";
  now_ += absl::Minutes(10);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
  EXPECT_EQ(Hash(), hash) << "once";
}

// A new password that was set while the old one was hashed anew stays.
TEST_F(AuthenticatorTest, ARehashOverwritesNoNewPassword) {
  Make(/*rehash_on_login=*/true);
  SetHash(kOtherHash);
  hasher_.before_hash = [&] { SetPassword("battery staple"); };
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kInvalid);
  EXPECT_EQ(LogIn("alice@example.test", "battery staple").outcome, Outcome::kAccepted);
}

TEST_F(AuthenticatorTest, ADisabledAccountOrDomainEndsWhatIsRemembered) {
  LogIn("alice@example.test", "correct horse");
  auto enable = [&](bool enabled) {
    Change([&](DirectoryWriter& w) {
      return upkeep_.SetAccountEnabled(w, "alice@example.test", enabled);
    });
  };
  auto enable_domain = [&](bool enabled) {
    Change([&](DirectoryWriter& w) {
      return upkeep_.SetDomainEnabled(w, "example.test", enabled).status();
    });
  };
  enable(false);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kInvalid);
  enable(true);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
  enable_domain(false);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kInvalid);
  enable_domain(true);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
}

TEST_F(AuthenticatorTest, WhatChangesWhileAHashIsComputedCounts) {
  hasher_.before_verify = [&] {
    Change([&](DirectoryWriter& w) {
      return upkeep_.SetAccountEnabled(w, "alice@example.test", false);
    });
  };
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kInvalid);
}

TEST_F(AuthenticatorTest, MoreThanMayWaitAreToldToComeBack) {
  absl::Notification release;
  absl::Notification hashing;
  hasher_.before_verify = [&] {
    if (!hashing.HasBeenNotified()) hashing.Notify();
    release.WaitForNotification();
  };
  absl::BlockingCounter accepted(2);
  auto start = [&] {
    authenticator_->LogIn(
        {{"", "alice@example.test"}, "correct horse"}, LoginUse::kPop3, "192.0.2.0/24",
        [] { return false; },
        [&](LoginResult r) {
          EXPECT_EQ(r.outcome, Outcome::kAccepted);
          accepted.DecrementCount();
        });
  };
  // One computes, one waits, and the next is one too many, whoever it is.
  start();
  hashing.WaitForNotification();
  start();
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kTemporary);
  EXPECT_EQ(LogIn("nobody@example.test", "correct horse").outcome, Outcome::kTemporary);
  release.Notify();
  accepted.Wait();
}

TEST_F(AuthenticatorTest, NobodyWaitingMeansNoHash) {
  const LoginResult result = async::Wait<LoginResult>([&](auto done) {
    authenticator_->LogIn(
        {{"", "alice@example.test"}, "correct horse"}, LoginUse::kPop3, "192.0.2.0/24",
        [] { return true; }, std::move(done));
  });
  EXPECT_EQ(result.outcome, Outcome::kTemporary);
  EXPECT_EQ(hasher_.verifications, 0);
}

// By the work done: what is throttled costs no hash, and the right password is not told from a
// wrong one.
TEST_F(AuthenticatorTest, AfterTooManyWrongPasswordsNoneIsLookedAt) {
  for (const char* name : {"alice@example.test", "nobody@example.test"}) {
    hasher_.verifications = 0;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(LogIn(name, "wrong").outcome, Outcome::kInvalid);
    for (const char* password : {"wrong", "correct horse"}) {
      const LoginResult result = LogIn(name, password);
      EXPECT_EQ(result.outcome, Outcome::kThrottled);
      EXPECT_EQ(result.detail, "too many failures, the next in 30s");
      EXPECT_TRUE(result.account.account_id.empty());
    }
    EXPECT_EQ(hasher_.verifications, 20);
  }
  now_ += absl::Seconds(30);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
}

// What is remembered could be guessed too, and without the cost of a hash.
TEST_F(AuthenticatorTest, WhatIsRememberedIsThrottledToo) {
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
  EXPECT_TRUE(LogIn("alice@example.test", "correct horse").remembered);
  for (int i = 0; i < 20; ++i) LogIn("alice@example.test", "wrong");
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kThrottled);
}

TEST_F(AuthenticatorTest, AnApplicationPasswordIsForItsProtocolAndCostsNoHash) {
  const std::string phone = AddAppPassword("phone", /*pop3=*/true, /*submission=*/false);
  const std::string laptop = AddAppPassword("laptop", true, true);
  LoginResult result = LogIn("alice@example.test", phone);
  EXPECT_EQ(result.outcome, Outcome::kAccepted);
  EXPECT_EQ(result.detail, "application password phone");
  EXPECT_EQ(LogIn("alice@example.test", laptop, "", LoginUse::kSubmission).outcome,
            Outcome::kAccepted);
  EXPECT_EQ(hasher_.verifications, 0);

  result = LogIn("alice@example.test", phone, "", LoginUse::kSubmission);
  EXPECT_EQ(result.outcome, Outcome::kInvalid);
  EXPECT_EQ(result.detail, "application password phone is not for this protocol");
  EXPECT_EQ(hasher_.verifications, 1) << "as whatever is wrong";
  EXPECT_EQ(LogIn("alice@example.test", NewAppPassword()).outcome, Outcome::kInvalid);
  EXPECT_EQ(LogIn("bob@example.test", phone).outcome, Outcome::kInvalid);
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);

  Change([&](DirectoryWriter& w) {
    return upkeep_.RemoveAppPassword(w, "alice@example.test", "phone");
  });
  EXPECT_EQ(LogIn("alice@example.test", phone).outcome, Outcome::kInvalid);
  Change([&](DirectoryWriter& w) {
    return upkeep_.SetAccountEnabled(w, "alice@example.test", false);
  });
  result = LogIn("alice@example.test", laptop);
  EXPECT_EQ(result.outcome, Outcome::kInvalid);
  EXPECT_EQ(result.detail, "disabled account");
}

TEST_F(AuthenticatorTest, AnApplicationPasswordsUseIsNotedToTheHour) {
  const std::string phone = AddAppPassword({"", "phone", "", true, true, now_});
  auto used = [&] {
    // This hash comes after what is to be noted; as long as that waits, it is one too many.
    while (LogIn("alice@example.test", "wrong").outcome == Outcome::kTemporary) {
    }
    absl::Time at;
    EXPECT_TRUE(directory_
                    ->Read([&](DirectoryReader& reader) {
                      at = reader.ListAppPasswords(Alice().account_id)->front().last_used_at;
                      return absl::OkStatus();
                    })
                    .ok());
    return at;
  };
  EXPECT_EQ(used(), absl::InfinitePast());
  const absl::Time first = now_;
  LogIn("alice@example.test", phone);
  EXPECT_EQ(used(), first);
  now_ += absl::Minutes(59);
  LogIn("alice@example.test", phone);
  EXPECT_EQ(used(), first);
  now_ += absl::Minutes(1);
  LogIn("alice@example.test", phone);
  EXPECT_EQ(used(), now_);
}

TEST_F(AuthenticatorTest, WhereThePolicySaysSoNoPasswordIsTakenNotEvenARememberedOne) {
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
  const std::string phone = AddAppPassword("phone", true, true);
  Change([&](DirectoryWriter& w) {
    return upkeep_.SetLoginPolicy(w, "example.test", LoginPolicy::kNoPasswords).status();
  });
  hasher_.verifications = 0;
  const LoginResult result = LogIn("alice@example.test", "correct horse");
  EXPECT_EQ(result.outcome, Outcome::kInvalid);
  EXPECT_EQ(result.detail, "its domain takes application passwords only");
  EXPECT_EQ(hasher_.verifications, 1);
  EXPECT_EQ(LogIn("alice@example.test", phone).outcome, Outcome::kAccepted);
  Change([&](DirectoryWriter& w) {
    return upkeep_.SetLoginPolicy(w, "example.test", LoginPolicy::kAny).status();
  });
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
}

TEST_F(AuthenticatorTest, AGoodLoginBringsWhatScramNeedsWhenAsked) {
  LogIn("alice@example.test", "correct horse");
  EXPECT_EQ(Alice().scram_sha_256, "");
  now_ += absl::Minutes(10);
  Make(/*rehash_on_login=*/false, /*scram_iterations=*/4096);
  const PasswordKeeper keeper(hasher_, 4096);
  const std::string hash = Hash();
  EXPECT_EQ(LogIn("alice@example.test", "wrong").outcome, Outcome::kInvalid);
  EXPECT_EQ(Alice().scram_sha_256, "");
  EXPECT_EQ(LogIn("alice@example.test", "correct horse").outcome, Outcome::kAccepted);
  EXPECT_TRUE(LogIn("alice@example.test", "correct horse").remembered) << "with the new version";
  const Account alice = Alice();
  EXPECT_EQ(alice.password_hash, hash);
  const auto verifier = keeper.ScramOf({alice.password_hash, alice.scram_sha_256});
  ASSERT_TRUE(verifier.has_value());
  EXPECT_EQ(*verifier, *sasl::MakeScramVerifier("correct horse", verifier->salt, 4096));
  // Of another hash, or when it is switched off, it counts no more.
  EXPECT_EQ(keeper.ScramOf({"another", alice.scram_sha_256}), std::nullopt);
  EXPECT_EQ(PasswordKeeper(hasher_, 0).ScramOf({alice.password_hash, alice.scram_sha_256}),
            std::nullopt);
}

}  // namespace
}  // namespace postern::auth
