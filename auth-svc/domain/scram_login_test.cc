#include "auth-svc/domain/scram_login.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "auth-svc/domain/resolver.h"
#include "auth-svc/domain/upkeep.h"
#include "auth-svc/sqlite/test_directory.h"
#include "gtest/gtest.h"
#include "services/async/wait.h"
#include "services/limits/local_limits.h"

namespace postern::auth {
namespace {

using Outcome = LoginResult::Outcome;
using Proof = sasl::ScramExchange::Proof;

class ScramLoginTest : public testing::Test {
 protected:
  ScramLoginTest() {
    Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, "example.test").status(); });
    Change([&](DirectoryWriter& w) {
      return upkeep_.AddAccount(w, "alice@example.test", *keeper_.Keep("correct horse")).status();
    });
    Change([&](DirectoryWriter& w) {
      return upkeep_.AddAccount(w, "imported@example.test", {"hash"}).status();
    });
  }

  void Change(std::function<absl::Status(DirectoryWriter&)> body) {
    ASSERT_EQ(directory_->Write([&](DirectoryWriter& w) { return body(w); }), absl::OkStatus());
  }
  ScramLogin::Begun Begin(const std::string& name, const std::string& acts_as = "") {
    return async::Wait<ScramLogin::Begun>([&](auto done) {
      login_.Begin({acts_as, name}, "192.0.2.0/24", std::move(done));
    });
  }
  LoginResult End(ScramLogin::Begun begun, Proof proof) {
    return async::Wait<LoginResult>(
        [&](auto done) { login_.End(std::move(begun.attempt), proof, std::move(done)); });
  }

  const AliasLimits limits_;
  const Upkeep upkeep_{Resolver("+", limits_), limits_};
  const std::unique_ptr<Directory> directory_ = MakeTestDirectory();
  const Mirror mirror_{*directory_, {}, Resolver("+", limits_), /*mailbox_shards=*/1, 1000};
  Argon2Hasher hasher_{{/*memory_octets=*/8 << 20, /*passes=*/1}};
  const PasswordKeeper keeper_{hasher_, 4096};
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  limits::LocalLimits failures_{[this] { return now_; }};
  LoginThrottle throttle_{{}, &failures_};
  process::WorkerPool reading_{/*threads=*/1, /*max_waiting=*/100};
  ScramLogin login_{*directory_, mirror_, keeper_, throttle_, reading_, "secret"};
};

TEST_F(ScramLoginTest, AnAccountsVerifierIsThatOfItsPassword) {
  ScramLogin::Begun begun = Begin("Alice@example.test");
  EXPECT_EQ(begun.verifier, *sasl::MakeScramVerifier("correct horse", begun.verifier.salt, 4096));
  const LoginResult result = End(std::move(begun), Proof::kRight);
  EXPECT_EQ(result.outcome, Outcome::kAccepted);
  EXPECT_EQ(result.account.address.ToString(), "alice@example.test");
  EXPECT_EQ(End(Begin("alice@example.test"), Proof::kWrong).detail, "wrong password");
  EXPECT_EQ(End(Begin("alice@example.test"), Proof::kWrongBinding).detail,
            "the TLS connection is not the client's");
}

// Whoever asks twice learns nothing: the salt is the same, as an account's is, and no proof fits.
TEST_F(ScramLoginTest, WhoIsNotThereHasAStandIn) {
  for (const char* name : {"nobody@example.test", "imported@example.test", "alice", ""}) {
    const ScramLogin::Begun first = Begin(name);
    const ScramLogin::Begun second = Begin(name);
    ASSERT_NE(first.attempt, nullptr);
    EXPECT_EQ(first.verifier.iterations, 4096u);
    EXPECT_EQ(first.verifier.salt.size(), 16u);
    EXPECT_EQ(first.verifier.salt, second.verifier.salt) << name;
    EXPECT_NE(first.verifier.stored_key, second.verifier.stored_key) << name;
    EXPECT_EQ(End(first, Proof::kWrong).outcome, Outcome::kInvalid);
  }
  EXPECT_EQ(Begin("nobody@example.test").verifier.salt, Begin("NOBODY@example.test").verifier.salt);
  EXPECT_NE(Begin("nobody@example.test").verifier.salt,
            Begin("nobody2@example.test").verifier.salt);
  EXPECT_EQ(End(Begin("imported@example.test"), Proof::kWrong).detail,
            "nothing for SCRAM is kept of this account");
}

TEST_F(ScramLoginTest, ToActAsAnotherIsNotAllowed) {
  EXPECT_EQ(End(Begin("alice@example.test", "alice@example.test"), Proof::kRight).outcome,
            Outcome::kAccepted);
  EXPECT_EQ(End(Begin("alice@example.test", "bob@example.test"), Proof::kRight).detail,
            "asks to act as another");
  // Until then it is as any: the salt would tell whether there is such an account.
  for (const char* name : {"alice@example.test", "nobody@example.test"}) {
    EXPECT_EQ(Begin(name, "bob@example.test").verifier.salt, Begin(name).verifier.salt) << name;
  }
}

TEST_F(ScramLoginTest, WhatChangesMeanwhileCounts) {
  struct Case {
    std::function<absl::Status(DirectoryWriter&)> change;
    const char* detail;
  };
  const Case cases[] = {
      {[&](DirectoryWriter& w) {
         return upkeep_.SetLoginPolicy(w, "example.test", LoginPolicy::kNoPasswords).status();
       },
       "its domain takes application passwords only"},
      {[&](DirectoryWriter& w) {
         return upkeep_.SetLoginPolicy(w, "example.test", LoginPolicy::kAny).status();
       },
       ""},
      {[&](DirectoryWriter& w) {
         return upkeep_.SetDomainEnabled(w, "example.test", false).status();
       },
       "disabled domain"},
      {[&](DirectoryWriter& w) {
         return upkeep_.SetPassword(w, "alice@example.test", *keeper_.Keep("battery staple"));
       },
       "changed meanwhile"},
      // By a version that knows nothing of SCRAM.
      {[&](DirectoryWriter& w) -> absl::Status {
         auto alice = w.FindAccount(*CanonicalAddress("alice@example.test"));
         (*alice)->password_hash = *hasher_.Hash("another");
         return w.UpdateAccount(**alice);
       },
       "changed meanwhile"},
  };
  for (const Case& one : cases) {
    const ScramLogin::Begun begun = Begin("alice@example.test");
    Change(one.change);
    const LoginResult result = End(begun, Proof::kRight);
    EXPECT_EQ(result.detail, one.detail);
    EXPECT_EQ(result.outcome,
              std::string(one.detail).empty() ? Outcome::kAccepted : Outcome::kInvalid);
  }
  auto without_scram = [&] {
    bool any = false;
    EXPECT_TRUE(directory_
                    ->Read([&](DirectoryReader& reader) {
                      any = (*reader.FindAccount(*CanonicalAddress("alice@example.test")))
                                ->scram_sha_256.empty();
                      return absl::OkStatus();
                    })
                    .ok());
    return any;
  };
  EXPECT_FALSE(without_scram());
  EXPECT_EQ(End(Begin("alice@example.test"), Proof::kWrong).detail,
            "nothing for SCRAM is kept of this account");
  EXPECT_TRUE(without_scram()) << "so that it is not offered for it";
}

TEST_F(ScramLoginTest, WrongProofsAreCountedAndWhatWasLeftIsNot) {
  for (int i = 0; i < 100; ++i) EXPECT_NE(Begin("alice@example.test").attempt, nullptr);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(End(Begin("alice@example.test"), Proof::kWrong).outcome, Outcome::kInvalid);
  }
  const ScramLogin::Begun begun = Begin("alice@example.test");
  EXPECT_EQ(begun.attempt, nullptr);
  EXPECT_EQ(begun.result.outcome, Outcome::kThrottled);
}

}  // namespace
}  // namespace postern::auth
