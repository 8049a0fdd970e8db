#include "auth-svc/domain/resolver.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "auth-svc/domain/upkeep.h"
#include "auth-svc/sqlite/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace postern::auth {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

constexpr char kHash[] = "$argon2id$hash";
// srs.h has "RA" for it.
const absl::Time kNow = absl::UnixEpoch() + absl::Hours(24 * 20000);

class ResolverTest : public testing::Test {
 protected:
  ResolverTest() {
    Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, "example.test").status(); });
    Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, "other.test").status(); });
  }

  void Change(std::function<absl::Status(DirectoryWriter&)> body) {
    ASSERT_EQ(directory_->Write([&](DirectoryWriter& w) { return body(w); }), absl::OkStatus());
  }
  void AddAccount(const std::string& address) {
    Change([&](DirectoryWriter& w) { return upkeep_.AddAccount(w, address, {kHash}).status(); });
  }
  void AddAlias(const std::string& address, const std::vector<std::string>& targets,
                const std::vector<std::string>& forwards = {}) {
    Change([&](DirectoryWriter& w) {
      return upkeep_.AddAlias(w, {address, targets, forwards}).status();
    });
  }
  void SetEnabled(const std::string& address, bool enabled) {
    Change([&](DirectoryWriter& w) { return upkeep_.SetAccountEnabled(w, address, enabled); });
  }
  void SetDomainEnabled(const std::string& name, bool enabled) {
    Change([&](DirectoryWriter& w) { return upkeep_.SetDomainEnabled(w, name, enabled).status(); });
  }

  // "alice@example.test bob@example.test", with " on bob@elsewhere.test from SENDER" behind them,
  // or the outcome's name, or the error.
  std::string Resolve(absl::string_view address, absl::string_view sender = "",
                      absl::Duration later = absl::ZeroDuration()) {
    return ResolveWith(resolver_, address, sender, later);
  }
  std::string ResolveWith(const Resolver& resolver, absl::string_view address,
                          absl::string_view sender = "",
                          absl::Duration later = absl::ZeroDuration()) {
    std::string text;
    absl::Status status = directory_->Read([&](DirectoryReader& reader) {
      absl::StatusOr<Resolution> resolution =
          resolver.Resolve(reader, address, sender, kNow + later);
      if (!resolution.ok()) return resolution.status();
      switch (resolution->outcome) {
        case Resolution::Outcome::kUnknown:
          text = "unknown";
          break;
        case Resolution::Outcome::kNotLocal:
          text = "not local";
          break;
        case Resolution::Outcome::kDisabled:
          text = "disabled";
          break;
        case Resolution::Outcome::kLocal:
          for (const Account& account : resolution->accounts) {
            EXPECT_TRUE(account.enabled && account.domain_enabled);
            absl::StrAppend(&text, text.empty() ? "" : " ", account.address.ToString());
          }
          for (const Address& forward : resolution->forwards) {
            absl::StrAppend(&text, text.empty() ? "on " : " on ", forward.ToString());
          }
      }
      EXPECT_EQ(resolution->outcome == Resolution::Outcome::kLocal,
                !resolution->accounts.empty() || !resolution->forwards.empty());
      if (!resolution->forward_sender.empty()) {
        absl::StrAppend(&text, " from ", resolution->forward_sender);
      }
      return absl::OkStatus();
    });
    return status.ok() ? text : status.ToString();
  }

  bool MaySendAs(const std::string& account, const std::vector<std::string>& addresses) {
    bool allowed = false;
    EXPECT_EQ(directory_->Read([&](DirectoryReader& reader) {
      auto found = reader.FindAccount(*CanonicalAddress(account));
      if (!found.ok()) return found.status();
      auto may = resolver_.MaySendAs(reader, (*found)->account_id, addresses);
      if (may.ok()) allowed = *may;
      return may.status();
    }),
              absl::OkStatus());
    return allowed;
  }

  const AliasLimits limits_{/*max_depth=*/3, /*max_mailboxes=*/5};
  const Resolver resolver_{"+", limits_};
  const Upkeep upkeep_{resolver_, limits_};
  const std::unique_ptr<Directory> directory_ = MakeTestDirectory();
};

TEST_F(ResolverTest, ExactAddresses) {
  AddAccount("alice@example.test");
  AddAccount("\"John Doe\"@example.test");
  struct {
    const char* address;
    const char* expected;
  } const kCases[] = {
      {"alice@example.test", "alice@example.test"},
      {"ALICE@Example.TEST", "alice@example.test"},
      {"\"alice\"@example.test", "alice@example.test"},
      {"\"john doe\"@example.test", "\"john doe\"@example.test"},
      {"bob@example.test", "unknown"},
      // Domains are separate namespaces: a defect of the predecessor.
      {"alice@other.test", "unknown"},
      {"alice@elsewhere.test", "not local"},
      {"alice@[192.0.2.1]", "not local"},
      {"alice@sub.example.test", "not local"},
  };
  for (const auto& c : kCases) EXPECT_EQ(Resolve(c.address), c.expected) << c.address;
  EXPECT_THAT(Resolve("alice"), HasSubstr("INVALID_ARGUMENT"));
  EXPECT_THAT(Resolve(""), HasSubstr("INVALID_ARGUMENT"));
}

TEST_F(ResolverTest, ACatchAllHasWhatNothingElseHas) {
  AddAccount("alice@example.test");
  AddAccount("bob@example.test");
  AddAccount("carol@example.test");
  SetEnabled("carol@example.test", false);
  AddAlias("@example.test", {"bob@example.test"});
  AddAlias("sales@example.test", {"alice@example.test"});
  struct {
    const char* address;
    const char* expected;
  } const kCases[] = {
      {"anybody@example.test", "bob@example.test"},
      {"anybody+list@example.test", "bob@example.test"},
      {"alice@example.test", "alice@example.test"},
      {"alice+list@example.test", "alice@example.test"},
      {"sales@example.test", "alice@example.test"},
      {"postmaster@example.test", "alice@example.test"},
      // Known, and refused.
      {"carol@example.test", "disabled"},
      {"anybody@other.test", "unknown"},
      {"anybody@elsewhere.test", "not local"},
  };
  for (const auto& c : kCases) EXPECT_EQ(Resolve(c.address), c.expected) << c.address;
  for (const char* nobody : {"@example.test", "\"\"@example.test"}) {
    EXPECT_THAT(Resolve(nobody), HasSubstr("INVALID_ARGUMENT")) << nobody;
  }
  // Mail for everybody is no right to write as everybody.
  EXPECT_TRUE(MaySendAs("bob@example.test", {"bob@example.test"}));
  EXPECT_FALSE(MaySendAs("bob@example.test", {"anybody@example.test"}));
  SetDomainEnabled("example.test", false);
  EXPECT_EQ(Resolve("anybody@example.test"), "disabled");
}

TEST_F(ResolverTest, WhatAnotherKeepsIsNamed) {
  AddAccount("ours@example.test");
  Account theirs = NewAccount(*CanonicalAddress("theirs@example.test"), 1);
  theirs.origin = {"staff", "1", ""};
  theirs.enabled = false;
  const Alias group{*CanonicalAddress("group@example.test"),
                    {theirs.address, *CanonicalAddress("ours@example.test")},
                    {},
                    Origin{"staff", "", ""}};
  Change([&](DirectoryWriter& w) { return w.InsertAccount(theirs); });
  Change([&](DirectoryWriter& w) { return w.InsertAlias(group); });
  AddAlias("list@example.test", {"group@example.test"});
  const struct {
    const char* address;
    std::vector<std::string> not_ours;
  } kCases[] = {
      {"ours@example.test", {}},
      {"ours+x@example.test", {"ours+x@example.test"}},
      {"theirs@example.test", {"theirs@example.test"}},
      // The whole way, and who is disabled.
      {"list@example.test", {"group@example.test", "theirs@example.test"}},
      {"nobody@example.test", {"nobody@example.test"}},
  };
  for (const auto& c : kCases) {
    std::vector<std::string> found;
    EXPECT_TRUE(directory_
                    ->Read([&](DirectoryReader& reader) {
                      std::vector<Address> not_ours;
                      const absl::Status status =
                          resolver_.Resolve(reader, c.address, "", kNow, &not_ours).status();
                      for (const Address& a : not_ours) found.push_back(a.ToString());
                      return status;
                    })
                    .ok());
    EXPECT_EQ(found, c.not_ours) << c.address;
  }
}

TEST_F(ResolverTest, AnotherDirectorysPeopleAreNoPostmasters) {
  Account theirs = NewAccount(*CanonicalAddress("theirs@example.test"), 1);
  theirs.origin = {"staff", "1", ""};
  Change([&](DirectoryWriter& w) { return w.InsertAccount(theirs); });
  EXPECT_THAT(Resolve("postmaster@example.test"), HasSubstr("FAILED_PRECONDITION"));
  AddAccount("ours@other.test");
  EXPECT_EQ(Resolve("postmaster@example.test"), "ours@other.test");
}

TEST_F(ResolverTest, SubAddresses) {
  AddAccount("alice@example.test");
  AddAccount("bob@example.test");
  AddAccount("alice+work@example.test");
  AddAlias("sales@example.test", {"bob@example.test"});
  struct {
    const char* address;
    const char* expected;
  } const kCases[] = {
      {"alice+list@example.test", "alice@example.test"},
      {"ALICE+List@example.test", "alice@example.test"},
      {"alice+@example.test", "alice@example.test"},
      {"alice+a+b@example.test", "alice@example.test"},
      // An exact match comes first.
      {"alice+work@example.test", "alice+work@example.test"},
      {"sales+q3@example.test", "bob@example.test"},
      {"+list@example.test", "unknown"},
      {"carol+list@example.test", "unknown"},
      {"alice-list@example.test", "unknown"},
      {"\"alice+with space\"@example.test", "alice@example.test"},
  };
  for (const auto& c : kCases) EXPECT_EQ(Resolve(c.address), c.expected) << c.address;
  EXPECT_EQ(ResolveWith(Resolver("", limits_), "alice+list@example.test"), "unknown");
  EXPECT_EQ(ResolveWith(Resolver("--", limits_), "alice--list@example.test"), "alice@example.test");
  EXPECT_EQ(ResolveWith(Resolver("--", limits_), "alice-list@example.test"), "unknown");
}

TEST_F(ResolverTest, Aliases) {
  AddAccount("alice@example.test");
  AddAccount("bob@example.test");
  AddAccount("carol@other.test");
  AddAlias("sales@example.test", {"bob@example.test", "carol@other.test"});
  AddAlias("team@other.test", {"sales@example.test", "alice@example.test", "bob@example.test"});
  EXPECT_EQ(Resolve("sales@example.test"), "bob@example.test carol@other.test");
  // Each mailbox once.
  EXPECT_EQ(Resolve("team@other.test"), "bob@example.test carol@other.test alice@example.test");
}

TEST_F(ResolverTest, DisabledIsSaid) {
  AddAccount("alice@example.test");
  AddAccount("bob@other.test");
  AddAlias("both@example.test", {"alice@example.test", "bob@other.test"});
  AddAlias("bobs@example.test", {"bob@other.test"});
  AddAlias("alices@other.test", {"alice@example.test"});
  SetEnabled("bob@other.test", false);
  EXPECT_EQ(Resolve("bob@other.test"), "disabled");
  EXPECT_EQ(Resolve("bob+x@other.test"), "disabled");
  EXPECT_EQ(Resolve("both@example.test"), "alice@example.test");
  EXPECT_EQ(Resolve("bobs@example.test"), "disabled");
  SetEnabled("bob@other.test", true);
  SetDomainEnabled("other.test", false);
  EXPECT_EQ(Resolve("bob@other.test"), "disabled");
  EXPECT_EQ(Resolve("nobody@other.test"), "disabled");
  EXPECT_EQ(Resolve("postmaster@other.test"), "disabled");
  EXPECT_EQ(Resolve("both@example.test"), "alice@example.test");
  // The alias's own domain counts.
  EXPECT_EQ(Resolve("alices@other.test"), "disabled");
  SetDomainEnabled("other.test", true);
  EXPECT_EQ(Resolve("both@example.test"), "alice@example.test bob@other.test");
}

TEST_F(ResolverTest, PostmasterIsAlwaysThere) {
  EXPECT_THAT(Resolve("postmaster"), HasSubstr("FAILED_PRECONDITION"));
  EXPECT_THAT(Resolve("postmaster@example.test"), HasSubstr("FAILED_PRECONDITION"));
  EXPECT_EQ(Resolve("postmaster@elsewhere.test"), "not local");
  // The only account there is.
  AddAccount("zoe@other.test");
  EXPECT_EQ(Resolve("postmaster@example.test"), "zoe@other.test");
  // The domain's first.
  AddAccount("bob@example.test");
  AddAccount("alice@example.test");
  EXPECT_EQ(Resolve("postmaster@example.test"), "bob@example.test");
  EXPECT_EQ(Resolve("PostMaster@example.test"), "bob@example.test");
  EXPECT_EQ(Resolve("postmaster+abuse@example.test"), "bob@example.test");
  EXPECT_EQ(Resolve("postmaster@other.test"), "zoe@other.test");
  SetEnabled("bob@example.test", false);
  EXPECT_EQ(Resolve("postmaster@example.test"), "alice@example.test");
  // Its own.
  AddAlias("postmaster@example.test", {"zoe@other.test", "alice@example.test"});
  EXPECT_EQ(Resolve("postmaster@example.test"), "zoe@other.test alice@example.test");
  // Without a domain: the first one's. RFC 5321 4.5.1.
  EXPECT_EQ(Resolve("Postmaster"), "zoe@other.test alice@example.test");
  SetDomainEnabled("example.test", false);
  EXPECT_EQ(Resolve("postmaster"), "zoe@other.test");
  // A disabled account of that name does not make postmaster go away.
  AddAccount("postmaster@other.test");
  EXPECT_EQ(Resolve("postmaster@other.test"), "postmaster@other.test");
  SetEnabled("postmaster@other.test", false);
  EXPECT_EQ(Resolve("postmaster@other.test"), "zoe@other.test");
}

TEST_F(ResolverTest, LimitsThatWereLoweredAreKept) {
  AddAccount("alice@example.test");
  AddAccount("bob@example.test");
  AddAlias("a@example.test", {"alice@example.test", "bob@example.test"});
  AddAlias("b@example.test", {"a@example.test"});
  EXPECT_THAT(ResolveWith(Resolver("+", {1, 5}), "b@example.test"),
              HasSubstr("more than 1 aliases"));
  EXPECT_THAT(ResolveWith(Resolver("+", {3, 1}), "b@example.test"),
              HasSubstr("more than 1 mailboxes"));
}

TEST_F(ResolverTest, ALoopInTheDatabaseIsFoundNotFollowed) {
  // Upkeep refuses it; whatever else writes the database may not.
  AddAccount("alice@example.test");
  AddAlias("a@example.test", {"alice@example.test"});
  AddAlias("b@example.test", {"a@example.test"});
  Change([](DirectoryWriter& w) {
    return w.UpdateAlias(Alias{{"a", "example.test"}, {{"b", "example.test"}}});
  });
  EXPECT_THAT(Resolve("a@example.test"),
              HasSubstr("a@example.test -> b@example.test -> a@example.test"));
}

TEST_F(ResolverTest, MaySendAs) {
  AddAccount("alice@example.test");
  AddAccount("bob@example.test");
  AddAccount("alice@other.test");
  AddAccount("alice+work@example.test");
  AddAlias("sales@example.test", {"alice@example.test", "bob@example.test"});
  AddAlias("team@other.test", {"sales@example.test"});
  AddAlias("bobs@example.test", {"bob@example.test"});
  struct {
    std::vector<std::string> addresses;
    bool expected;
  } const kCases[] = {
      {{"alice@example.test"}, true},
      {{"ALICE@EXAMPLE.TEST"}, true},
      {{"alice+list@example.test"}, true},
      {{"sales@example.test"}, true},
      {{"sales+q3@example.test"}, true},
      {{"team@other.test"}, true},
      {{"alice@example.test", "sales@example.test"}, true},
      // By the rule that gives the domain's first account postmaster's mail.
      {{"postmaster@example.test"}, true},
      {{}, true},
      {{"bob@example.test"}, false},
      {{"bobs@example.test"}, false},
      // Compared whole, not by local part: a defect of the predecessor.
      {{"alice@other.test"}, false},
      {{"alice@elsewhere.test"}, false},
      // Another account's own address, though it looks like a sub-address.
      {{"alice+work@example.test"}, false},
      {{"alice@example.test", "bob@example.test"}, false},
      {{"nobody@example.test"}, false},
      {{"alice"}, false},
      {{""}, false},
      {{"alice@example.test "}, false},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(MaySendAs("alice@example.test", c.addresses), c.expected)
        << testing::PrintToString(c.addresses);
  }
  SetEnabled("alice@example.test", false);
  EXPECT_FALSE(MaySendAs("alice@example.test", {"alice@example.test"}));
  EXPECT_FALSE(MaySendAs("alice@example.test", {}));
  SetEnabled("alice@example.test", true);
  SetDomainEnabled("example.test", false);
  EXPECT_FALSE(MaySendAs("alice@example.test", {"team@other.test"}));
}

// A group speaks by those who may, be they in it or not.
TEST_F(ResolverTest, ListedSendersAlone) {
  AddAccount("alice@example.test");
  AddAccount("bob@example.test");
  AddAlias("team@example.test", {"alice@example.test"});
  AddAlias("wide@example.test", {"team@example.test"});
  const auto set = [&](bool members, const std::vector<std::string>& accounts) {
    EXPECT_EQ(directory_->Write([&](DirectoryWriter& writer) {
      return upkeep_.SetAliasSenders(writer, "team@example.test", members, accounts).status();
    }),
              absl::OkStatus());
  };
  EXPECT_FALSE(MaySendAs("bob@example.test", {"team@example.test"}));
  set(false, {"bob@example.test"});
  EXPECT_TRUE(MaySendAs("bob@example.test", {"team@example.test"}));
  EXPECT_TRUE(MaySendAs("bob@example.test", {"Team+list@example.test", "bob@example.test"}));
  EXPECT_FALSE(MaySendAs("alice@example.test", {"team@example.test"}));
  // Another alias' senders are its own.
  EXPECT_TRUE(MaySendAs("alice@example.test", {"wide@example.test"}));
  EXPECT_FALSE(MaySendAs("bob@example.test", {"wide@example.test"}));
  // Where it leads is another matter.
  EXPECT_EQ(Resolve("team@example.test"), "alice@example.test");
  SetEnabled("alice@example.test", false);
  EXPECT_TRUE(MaySendAs("bob@example.test", {"team@example.test"}));
  SetEnabled("alice@example.test", true);
  SetEnabled("bob@example.test", false);
  EXPECT_FALSE(MaySendAs("bob@example.test", {"team@example.test"}));
  set(false, {});
  EXPECT_FALSE(MaySendAs("alice@example.test", {"team@example.test"}));
  set(true, {});
  EXPECT_TRUE(MaySendAs("alice@example.test", {"team@example.test"}));
}

TEST_F(ResolverTest, AliasesLeadElsewhere) {
  AddAccount("alice@example.test");
  AddAccount("bob@other.test");
  SetEnabled("bob@other.test", false);
  AddAlias("out@example.test", {}, {"Zoe@Elsewhere.test"});
  AddAlias("both@example.test", {"alice@example.test"}, {"amy@distant.test", "Zoe@elsewhere.test"});
  AddAlias("all@other.test", {"both@example.test", "out@example.test", "bob@other.test"},
           {"last@elsewhere.test"});
  AddAlias("bobs@example.test", {"bob@other.test"}, {"bob@elsewhere.test"});
  struct {
    const char* address;
    const char* expected;
  } const kCases[] = {
      {"out@example.test", "on Zoe@elsewhere.test"},
      {"Out+list@example.test", "on Zoe@elsewhere.test"},
      {"both@example.test", "alice@example.test on amy@distant.test on Zoe@elsewhere.test"},
      // Each once.
      {"all@other.test",
       "alice@example.test on amy@distant.test on Zoe@elsewhere.test on last@elsewhere.test"},
      {"bobs@example.test", "on bob@elsewhere.test"},
      {"alice@example.test", "alice@example.test"},
  };
  for (const auto& c : kCases) EXPECT_EQ(Resolve(c.address), c.expected) << c.address;
  // Nobody sends as one that only leads elsewhere.
  EXPECT_FALSE(MaySendAs("alice@example.test", {"out@example.test"}));
  EXPECT_TRUE(MaySendAs("alice@example.test", {"both@example.test"}));
  EXPECT_THAT(ResolveWith(Resolver("+", {3, 3}), "all@other.test"),
              HasSubstr("more than 3 mailboxes"));
  SetDomainEnabled("example.test", false);
  EXPECT_EQ(Resolve("out@example.test"), "disabled");
}

TEST_F(ResolverTest, ForwardsHaveASenderWhoMaySend) {
  AddAccount("alice@example.test");
  AddAlias("out@example.test", {}, {"zoe@elsewhere.test"});
  AddAlias("all@other.test", {"out@example.test"});
  AddAlias("postmaster@example.test", {}, {"zoe@elsewhere.test"});
  AddAlias("@other.test", {}, {"zoe@elsewhere.test"});
  struct {
    const char* address;
    const char* sender;
    const char* from;
  } const kCases[] = {
      {"out@example.test", "", ""},
      {"out@example.test", "Alice@Example.test", " from Alice@Example.test"},
      {"out@example.test", "nobody@other.test", " from nobody@other.test"},
      {"out@example.test", "Sue@Sender.test",
       " from SRS0=[a-z2-7]{6}=RA=sender\\.test=Sue@example\\.test"},
      {"out@example.test", "SRS0=x@sender.test",
       " from SRS1=[a-z2-7]{6}=sender\\.test==x@example\\.test"},
      // The address's own domain, not that of the last alias on the way.
      {"all+x@OTHER.test", "sue@sender.test",
       " from SRS0=[a-z2-7]{6}=RA=sender\\.test=sue@other\\.test"},
      {"anybody@other.test", "sue@sender.test",
       " from SRS0=[a-z2-7]{6}=RA=sender\\.test=sue@other\\.test"},
      {"postmaster", "sue@sender.test",
       " from SRS0=[a-z2-7]{6}=RA=sender\\.test=sue@example\\.test"},
      // What can't be rewritten.
      {"out@example.test", "no address", " from no address"},
      {"out@example.test", "j\xc3\xb6rg@sender.test", " from j\xc3\xb6rg@sender.test"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(Resolve(c.address, c.sender),
                MatchesRegex(absl::StrCat("on zoe@elsewhere\\.test", c.from)))
        << c.address << " " << c.sender;
  }
  EXPECT_EQ(Resolve("alice@example.test", "sue@sender.test"), "alice@example.test");
}

TEST_F(ResolverTest, SrsAddressesLeadBack) {
  AddAccount("alice@example.test");
  AddAccount("bob@other.test");
  AddAlias("out@example.test", {}, {"zoe@elsewhere.test"});
  AddAlias("@example.test", {"alice@example.test"});
  const auto rewritten = [&](absl::string_view sender) {
    return std::string(
        absl::StripPrefix(Resolve("out@example.test", sender), "on zoe@elsewhere.test from "));
  };
  const std::string sue = rewritten("Sue@sender.test");
  EXPECT_EQ(Resolve(sue), "on Sue@sender.test");
  EXPECT_EQ(Resolve(absl::AsciiStrToLower(sue)), "on sue@sender.test");
  EXPECT_EQ(Resolve(rewritten("SRS0=x@sender.test")), "on SRS0=x@sender.test");
  // In every domain of ours.
  EXPECT_EQ(Resolve(absl::StrCat(absl::StripSuffix(sue, "example.test"), "other.test")),
            "on Sue@sender.test");
  EXPECT_EQ(Resolve(absl::StrCat(absl::StripSuffix(sue, "example.test"), "elsewhere.test")),
            "not local");
  // Answers have the null sender (RFC 5321 4.5.5); all else is for whoever has what nobody has.
  EXPECT_EQ(Resolve(sue, "zoe@elsewhere.test"), "alice@example.test");
  EXPECT_EQ(Resolve(sue, "", absl::Hours(24 * 30)), "alice@example.test");
  EXPECT_EQ(Resolve("SRS0=aaaaaa=RA=sender.test=Sue@example.test"), "alice@example.test");
  EXPECT_EQ(Resolve("SRS0=aaaaaa=RA=sender.test=Sue@other.test"), "unknown");
  // What somebody has is theirs.
  AddAccount(sue);
  EXPECT_EQ(Resolve(sue), absl::AsciiStrToLower(sue));
  SetDomainEnabled("other.test", false);
  EXPECT_EQ(Resolve(absl::StrCat(absl::StripSuffix(sue, "example.test"), "other.test")),
            "disabled");
}

TEST_F(ResolverTest, AnSrsAddressOfADomainThatBecameOursIsFollowedOnce) {
  AddAlias("out@example.test", {}, {"zoe@elsewhere.test"});
  const auto rewritten = [&](absl::string_view sender) {
    return std::string(
        absl::StripPrefix(Resolve("out@example.test", sender), "on zoe@elsewhere.test from "));
  };
  const std::string sue = rewritten("Sue+x@new.test");
  const std::string amy = rewritten("amy@new.test");
  // Of an address that is one of ours by then.
  const std::string twice =
      rewritten(absl::StrCat(absl::StripSuffix(sue, "example.test"), "new.test"));
  Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, "new.test").status(); });
  AddAccount("sue@new.test");
  EXPECT_EQ(Resolve(sue), "sue@new.test");
  EXPECT_EQ(Resolve(amy), "unknown");
  EXPECT_THAT(twice, HasSubstr("SRS1="));
  EXPECT_EQ(Resolve(twice), "unknown");
  AddAlias("@new.test", {}, {"zoe@elsewhere.test"});
  EXPECT_EQ(Resolve(amy), "on zoe@elsewhere.test");
}

TEST_F(ResolverTest, AnUnknownAccountMaySendAsNobody) {
  EXPECT_EQ(directory_->Read([&](DirectoryReader& reader) {
    auto may = resolver_.MaySendAs(reader, "no such id", {});
    EXPECT_TRUE(may.ok() && !*may);
    return absl::OkStatus();
  }),
            absl::OkStatus());
}

}  // namespace
}  // namespace postern::auth
