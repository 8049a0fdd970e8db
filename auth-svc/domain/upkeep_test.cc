#include "auth-svc/domain/upkeep.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "auth-svc/sqlite/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postern::auth {
namespace {

using absl::StatusCode;
using testing::HasSubstr;
using testing::MatchesRegex;

class UpkeepTest : public testing::Test {
 protected:
  UpkeepTest() {
    EXPECT_EQ(AddDomain("example.test"), absl::OkStatus());
    EXPECT_EQ(AddDomain("other.test"), absl::OkStatus());
    EXPECT_EQ(AddAccount("alice@example.test"), absl::OkStatus());
    EXPECT_EQ(AddAccount("bob@example.test"), absl::OkStatus());
  }

  absl::Status Write(std::function<absl::Status(DirectoryWriter&)> body) {
    return directory_->Write([&](DirectoryWriter& w) { return body(w); });
  }
  absl::Status AddDomain(const std::string& name) {
    return Write([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, name).status(); });
  }
  absl::Status RemoveDomain(const std::string& name) {
    return Write([&](DirectoryWriter& w) { return upkeep_.RemoveDomain(w, name); });
  }
  absl::Status AddAccount(const std::string& address) {
    return Write([&](DirectoryWriter& w) {
      absl::StatusOr<Account> account = upkeep_.AddAccount(w, address, {"$argon2id$hash"});
      if (account.ok()) added_ = *account;
      return account.status();
    });
  }
  absl::Status RemoveAccount(const std::string& address) {
    return Write([&](DirectoryWriter& w) { return upkeep_.RemoveAccount(w, address); });
  }
  absl::Status AddAlias(const std::string& address, const std::vector<std::string>& targets,
                        const std::vector<std::string>& forwards = {}) {
    return Write([&](DirectoryWriter& w) {
      return upkeep_.AddAlias(w, {address, targets, forwards}).status();
    });
  }
  absl::Status SetAlias(const std::string& address, const std::vector<std::string>& targets,
                        const std::vector<std::string>& forwards = {}) {
    return Write([&](DirectoryWriter& w) {
      return upkeep_.SetAliasTargets(w, {address, targets, forwards}).status();
    });
  }
  Alias FindAlias(const std::string& address) {
    Alias found;
    EXPECT_EQ(directory_->Read([&](DirectoryReader& r) {
      auto alias = r.FindAlias(*CanonicalAddress(address));
      if (alias.ok() && alias->has_value()) found = **alias;
      return alias.status();
    }),
              absl::OkStatus());
    return found;
  }
  std::string SrsKey() {
    std::string found;
    EXPECT_EQ(directory_->Read([&](DirectoryReader& r) {
      auto key = r.FindSrsKey();
      if (key.ok()) found = key->value_or("none");
      return key.status();
    }),
              absl::OkStatus());
    return found;
  }
  absl::Status RemoveAlias(const std::string& address) {
    return Write([&](DirectoryWriter& w) { return upkeep_.RemoveAlias(w, address); });
  }
  // The code, and words that the sentence must have.
  static void ExpectRefused(const absl::Status& status, StatusCode code,
                            const std::vector<std::string>& words) {
    EXPECT_EQ(status.code(), code) << status;
    for (const std::string& word : words) {
      EXPECT_THAT(std::string(status.message()), HasSubstr(word));
    }
  }

  const AliasLimits limits_{/*max_depth=*/3, /*max_mailboxes=*/4};
  Upkeep upkeep_{Resolver("+", limits_), limits_};
  const std::unique_ptr<Directory> directory_ = MakeTestDirectory();
  Account added_;
};

TEST_F(UpkeepTest, Domains) {
  ExpectRefused(AddDomain("EXAMPLE.test"), StatusCode::kAlreadyExists, {"example.test"});
  ExpectRefused(AddDomain("no domain"), StatusCode::kInvalidArgument, {"no domain"});
  EXPECT_EQ(AddDomain("b\xc3\xbc"
                      "cher.example"),
            absl::OkStatus());
  ExpectRefused(AddDomain("xn--bcher-kva.example"), StatusCode::kAlreadyExists, {"xn--bcher-kva"});
  EXPECT_EQ(RemoveDomain("B\xc3\x9c"
                         "CHER.example"),
            absl::OkStatus());
  ExpectRefused(RemoveDomain("nowhere.test"), StatusCode::kNotFound, {"nowhere.test"});
  ExpectRefused(RemoveDomain("example.test"), StatusCode::kFailedPrecondition,
                {"example.test", "alice@example.test", "remove"});
  EXPECT_EQ(RemoveDomain("other.test"), absl::OkStatus());
}

TEST_F(UpkeepTest, Accounts) {
  ExpectRefused(AddAccount("ALICE@example.test"), StatusCode::kAlreadyExists,
                {"account alice@example.test"});
  ExpectRefused(AddAccount("carol@nowhere.test"), StatusCode::kNotFound,
                {"no domain nowhere.test", "add it first"});
  ExpectRefused(AddAccount("carol@[192.0.2.1]"), StatusCode::kNotFound, {"192.0.2.1"});
  ExpectRefused(AddAccount("carol"), StatusCode::kInvalidArgument, {"carol"});
  EXPECT_EQ(AddAccount("alice@other.test"), absl::OkStatus());
  ExpectRefused(RemoveAccount("nobody@example.test"), StatusCode::kNotFound,
                {"no account nobody@example.test"});
}

TEST_F(UpkeepTest, IdsAreRandomAndNeverUsedAgain) {
  std::set<std::string> ids;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(AddAccount("carol@example.test"), absl::OkStatus());
    for (const std::string& id : {added_.account_id, added_.mailbox_id}) {
      EXPECT_THAT(id, MatchesRegex("[0-9a-f]{32}"));
      EXPECT_TRUE(ids.insert(id).second);
    }
    ASSERT_EQ(RemoveAccount("carol@example.test"), absl::OkStatus());
  }
}

TEST_F(UpkeepTest, MailboxesAreSpreadOverTheShards) {
  upkeep_ = Upkeep(Resolver("+", limits_), limits_, /*mailbox_shards=*/3);
  std::set<std::string> shards;
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(AddAccount(absl::StrCat("user", i, "@example.test")), absl::OkStatus());
    EXPECT_THAT(added_.mailbox_id, MatchesRegex("([12]-)?[0-9a-f]{32}"));
    shards.insert(added_.mailbox_id.substr(0, added_.mailbox_id.find('-') + 1));
  }
  EXPECT_EQ(shards.size(), 3u);
}

TEST_F(UpkeepTest, AccountsAndAliasesShareOneNamespace) {
  ExpectRefused(AddAlias("alice@example.test", {"bob@example.test"}), StatusCode::kAlreadyExists,
                {"account alice@example.test"});
  EXPECT_EQ(AddAlias("sales@example.test", {"bob@example.test"}), absl::OkStatus());
  ExpectRefused(AddAccount("sales@example.test"), StatusCode::kAlreadyExists,
                {"alias sales@example.test"});
  ExpectRefused(AddAlias("sales@example.test", {"alice@example.test"}), StatusCode::kAlreadyExists,
                {"alias sales@example.test"});
  ExpectRefused(RemoveAccount("sales@example.test"), StatusCode::kNotFound, {"is an alias"});
  ExpectRefused(RemoveAlias("alice@example.test"), StatusCode::kNotFound, {"is an account"});
}

TEST_F(UpkeepTest, AliasTargetsAreLocalAndThere) {
  ExpectRefused(AddAlias("sales@example.test", {}), StatusCode::kInvalidArgument, {"target"});
  ExpectRefused(AddAlias("sales@example.test", {"alice@example.test", "x@elsewhere.test"}),
                StatusCode::kInvalidArgument, {"x@elsewhere.test", "not local"});
  ExpectRefused(AddAlias("sales@example.test", {"nobody@example.test"}), StatusCode::kNotFound,
                {"nobody@example.test"});
  ExpectRefused(AddAlias("sales@example.test", {"alice+list@example.test"}), StatusCode::kNotFound,
                {"alice+list@example.test", "sub-address"});
  ExpectRefused(AddAlias("sales@nowhere.test", {"alice@example.test"}), StatusCode::kNotFound,
                {"nowhere.test"});
  ExpectRefused(AddAlias("sales@example.test", {"no address"}), StatusCode::kInvalidArgument,
                {"no address"});
}

TEST_F(UpkeepTest, ALoopIsRefusedAndNamed) {
  ExpectRefused(AddAlias("a@example.test", {"A@example.test"}), StatusCode::kFailedPrecondition,
                {"a@example.test -> a@example.test"});
  ASSERT_EQ(AddAlias("a@example.test", {"alice@example.test"}), absl::OkStatus());
  ASSERT_EQ(AddAlias("b@other.test", {"a@example.test"}), absl::OkStatus());
  ExpectRefused(SetAlias("a@example.test", {"bob@example.test", "b@other.test"}),
                StatusCode::kFailedPrecondition,
                {"a@example.test -> b@other.test -> a@example.test"});
  // Nothing of it was kept.
  EXPECT_EQ(directory_->Read([](DirectoryReader& r) {
    auto alias = r.FindAlias({"a", "example.test"});
    EXPECT_EQ((*alias)->targets, (std::vector<Address>{{"alice", "example.test"}}));
    return alias.status();
  }),
            absl::OkStatus());
}

TEST_F(UpkeepTest, DepthIsBoundedForEveryAliasThatIsReached) {
  ASSERT_EQ(AddAlias("a@example.test", {"alice@example.test"}), absl::OkStatus());
  ASSERT_EQ(AddAlias("b@example.test", {"a@example.test"}), absl::OkStatus());
  ASSERT_EQ(AddAlias("c@example.test", {"b@example.test"}), absl::OkStatus());
  ExpectRefused(AddAlias("d@example.test", {"c@example.test"}), StatusCode::kFailedPrecondition,
                {"d@example.test", "max_alias_depth"});
  // Lengthening the end lengthens every way to it.
  ASSERT_EQ(AddAlias("e@example.test", {"bob@example.test"}), absl::OkStatus());
  ExpectRefused(SetAlias("a@example.test", {"e@example.test"}), StatusCode::kFailedPrecondition,
                {"c@example.test", "max_alias_depth"});
  // The short way first does not hide the long one.
  ASSERT_EQ(RemoveAlias("c@example.test"), absl::OkStatus());
  ASSERT_EQ(AddAlias("c@example.test", {"a@example.test", "b@example.test"}), absl::OkStatus());
  ExpectRefused(AddAlias("d@example.test", {"a@example.test", "b@example.test", "c@example.test"}),
                StatusCode::kFailedPrecondition, {"max_alias_depth"});
}

TEST_F(UpkeepTest, SizeIsBoundedForEveryAliasThatIsReached) {
  for (const char* name : {"c", "d", "e"}) {
    ASSERT_EQ(AddAccount(absl::StrCat(name, "@other.test")), absl::OkStatus());
  }
  ExpectRefused(AddAlias("all@example.test", {"alice@example.test", "bob@example.test",
                                              "c@other.test", "d@other.test", "e@other.test"}),
                StatusCode::kFailedPrecondition, {"max_alias_mailboxes"});
  ASSERT_EQ(AddAlias("some@example.test", {"c@other.test", "d@other.test", "e@other.test"}),
            absl::OkStatus());
  ASSERT_EQ(AddAlias("more@example.test", {"some@example.test", "alice@example.test"}),
            absl::OkStatus());
  ExpectRefused(SetAlias("some@example.test",
                         {"c@other.test", "d@other.test", "e@other.test", "bob@example.test"}),
                StatusCode::kFailedPrecondition, {"more@example.test", "max_alias_mailboxes"});
}

TEST_F(UpkeepTest, WhatAnAliasNamesStays) {
  ASSERT_EQ(AddAlias("sales@example.test", {"alice@example.test"}), absl::OkStatus());
  ASSERT_EQ(AddAlias("team@other.test", {"sales@example.test"}), absl::OkStatus());
  ExpectRefused(RemoveAccount("alice@example.test"), StatusCode::kFailedPrecondition,
                {"sales@example.test"});
  ExpectRefused(RemoveAlias("sales@example.test"), StatusCode::kFailedPrecondition,
                {"team@other.test"});
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(AddAlias(absl::StrCat("x", i, "@other.test"), {"alice@example.test"}),
              absl::OkStatus());
  }
  ExpectRefused(RemoveAccount("alice@example.test"), StatusCode::kFailedPrecondition, {"and more"});
  ASSERT_EQ(RemoveAlias("team@other.test"), absl::OkStatus());
  ASSERT_EQ(RemoveAlias("sales@example.test"), absl::OkStatus());
}

TEST_F(UpkeepTest, TargetsAreKeptOnce) {
  EXPECT_EQ(Write([&](DirectoryWriter& w) {
              auto alias = upkeep_.AddAlias(
                  w, {"sales@example.test", {"alice@example.test", "ALICE@example.test"}});
              EXPECT_EQ(alias->targets.size(), 1u);
              return alias.status();
            }),
            absl::OkStatus());
}

TEST_F(UpkeepTest, ForwardsLeadElsewhere) {
  EXPECT_EQ(SrsKey(), "none");
  ExpectRefused(AddAlias("sales@example.test", {}, {"nobody"}), StatusCode::kInvalidArgument,
                {"\"nobody\" is no mail address"});
  ExpectRefused(AddAlias("sales@example.test", {}, {"Bob@Other.test"}),
                StatusCode::kInvalidArgument,
                {"forward Bob@other.test is in a domain of this directory: give it as a target"});
  ExpectRefused(AddAlias("sales@example.test", {}, {"@elsewhere.test"}),
                StatusCode::kInvalidArgument, {"@elsewhere.test"});
  EXPECT_EQ(AddAlias("sales@example.test", {"alice@example.test"}), absl::OkStatus());
  EXPECT_EQ(SrsKey(), "none");
  EXPECT_EQ(SetAlias("sales@example.test", {"alice@example.test"},
                     {"Bob@Elsewhere.test", "Bob@elsewhere.TEST", "bob@elsewhere.test"}),
            absl::OkStatus());
  EXPECT_EQ(FindAlias("sales@example.test").forwards,
            (std::vector<Address>{{"Bob", "elsewhere.test"}, {"bob", "elsewhere.test"}}));
  const std::string key = SrsKey();
  EXPECT_THAT(key, MatchesRegex("[0-9a-f]{64}"));
  EXPECT_EQ(AddAlias("all@example.test", {}, {"carol@distant.test"}), absl::OkStatus());
  EXPECT_EQ(SrsKey(), key);
  // What leads nowhere else.
  ExpectRefused(SetAlias("all@example.test", {}), StatusCode::kInvalidArgument, {"or forward"});
}

TEST_F(UpkeepTest, ADomainThatIsForwardedIntoIsRefused) {
  ASSERT_EQ(AddAlias("sales@example.test", {}, {"bob@elsewhere.test"}), absl::OkStatus());
  ExpectRefused(AddDomain("Elsewhere.test"), StatusCode::kFailedPrecondition,
                {"alias sales@example.test forwards into elsewhere.test"});
  ASSERT_EQ(SetAlias("sales@example.test", {"bob@example.test"}), absl::OkStatus());
  EXPECT_EQ(AddDomain("elsewhere.test"), absl::OkStatus());
}

TEST_F(UpkeepTest, ForwardsCountAsMailboxesDo) {
  ExpectRefused(AddAlias("all@example.test", {"alice@example.test"},
                         {"a@x.test", "b@x.test", "c@x.test", "d@x.test"}),
                StatusCode::kFailedPrecondition, {"max_alias_mailboxes"});
  ASSERT_EQ(AddAlias("some@example.test", {"alice@example.test"}, {"a@x.test", "b@x.test"}),
            absl::OkStatus());
  ASSERT_EQ(AddAlias("more@example.test", {"some@example.test"}, {"a@x.test", "c@x.test"}),
            absl::OkStatus());
  ExpectRefused(SetAlias("some@example.test", {"alice@example.test", "bob@example.test"},
                         {"a@x.test", "b@x.test"}),
                StatusCode::kFailedPrecondition, {"more@example.test", "max_alias_mailboxes"});
}

}  // namespace
}  // namespace postern::auth
