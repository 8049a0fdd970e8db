#include "auth-svc/domain/mirror.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "auth-svc/domain/test_external.h"
#include "auth-svc/domain/upkeep.h"
#include "auth-svc/sqlite/test_directory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/async/wait.h"

namespace postern::auth {
namespace {

using testing::HasSubstr;

class MirrorTest : public testing::Test {
 protected:
  MirrorTest() {
    for (const char* domain : {"staff.test", "ours.test"}) {
      Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, domain).status(); });
    }
  }

  void Change(std::function<absl::Status(DirectoryWriter&)> body) {
    ASSERT_EQ(directory_->Write([&](DirectoryWriter& w) { return body(w); }), absl::OkStatus());
  }
  void AddOurs(const std::string& address) {
    Change([&](DirectoryWriter& w) { return upkeep_.AddAccount(w, address, {"$hash"}).status(); });
  }

  absl::Status Refresh(const std::string& address) {
    return async::Wait<absl::Status>(
        [&](auto done) { mirror_.Refresh({*CanonicalAddress(address)}, std::move(done)); });
  }
  // After a refresh: "alice@staff.test", "disabled", "unknown", or the error.
  std::string Resolve(const std::string& address) {
    if (absl::Status refreshed = Refresh(address); !refreshed.ok()) return refreshed.ToString();
    std::string text;
    const absl::Status status = directory_->Read([&](DirectoryReader& reader) {
      absl::StatusOr<Resolution> found = resolver_.Resolve(reader, address, "", absl::UnixEpoch());
      if (!found.ok()) return found.status();
      text = found->outcome == Resolution::Outcome::kDisabled  ? "disabled"
             : found->outcome == Resolution::Outcome::kUnknown ? "unknown"
                                                               : "";
      for (const Account& account : found->accounts) {
        absl::StrAppend(&text, text.empty() ? "" : " ", account.address.ToString());
      }
      return absl::OkStatus();
    });
    return status.ok() ? text : status.ToString();
  }
  std::optional<Account> Find(const std::string& address) {
    std::optional<Account> found;
    EXPECT_TRUE(directory_
                    ->Read([&](DirectoryReader& reader) {
                      found = *reader.FindAccount(*CanonicalAddress(address));
                      return absl::OkStatus();
                    })
                    .ok());
    return found;
  }
  std::string Mailbox(const std::string& address) {
    const std::optional<Account> found = Find(address);
    return found.has_value() ? found->mailbox_id : "none";
  }
  void Forget() { freshness_.ChangedAll(); }
  // Whether it was let in, and as whom.
  std::string LogIn(const std::string& address, const std::string& password) {
    absl::Notification done;
    std::string text;
    mirror_.LogIn(
        *CanonicalAddress(address), password,
        [&](absl::StatusOr<ExternalLogin> login, std::optional<Account> account) {
          text = !login.ok() ? login.status().ToString() : !login->right ? "wrong" : "right";
          if (account.has_value()) {
            absl::StrAppend(&text, " ", account->address.ToString());
          }
          done.Notify();
        });
    done.WaitForNotification();
    return text;
  }

  absl::Time now_ = absl::FromUnixSeconds(1700000000);
  TestExternal external_;
  Freshness freshness_{[this] { return now_; }, absl::Seconds(60), 1000};
  const Resolver resolver_{"+", AliasLimits{}};
  const Upkeep upkeep_{resolver_, AliasLimits{}, /*mailbox_shards=*/1, {"staff"}};
  const std::unique_ptr<Directory> directory_ = MakeTestDirectory();
  Mirror mirror_{*directory_,
                 {{&external_, {"staff.test", "other.test"}, &freshness_, 2}},
                 resolver_,
                 /*mailbox_shards=*/1,
                 /*max_members=*/3};
};

TEST_F(MirrorTest, OtherDomainsAreNotAskedAbout) {
  AddOurs("carol@ours.test");
  EXPECT_EQ(Resolve("carol@ours.test"), "carol@ours.test");
  EXPECT_EQ(external_.questions(), 0);
  // One that posternctl did not add is not ours, whoever has people there.
  external_.Person("9", {"eve@other.test"});
  EXPECT_EQ(Refresh("eve@other.test"), absl::OkStatus());
  EXPECT_EQ(external_.questions(), 0);
}

TEST_F(MirrorTest, APersonGetsAMailboxWhenFirstAskedFor) {
  external_.Person("1", {"alice@staff.test"});
  EXPECT_EQ(Mailbox("alice@staff.test"), "none");
  EXPECT_EQ(Resolve("alice@staff.test"), "alice@staff.test");
  EXPECT_EQ(Resolve("nobody@staff.test"), "unknown");
  const std::string mailbox = Mailbox("alice@staff.test");
  EXPECT_EQ(external_.questions(), 2);
  // Remembered, both.
  EXPECT_EQ(Resolve("alice@staff.test"), "alice@staff.test");
  EXPECT_EQ(Resolve("nobody@staff.test"), "unknown");
  EXPECT_EQ(external_.questions(), 2);
  now_ += absl::Seconds(61);
  EXPECT_EQ(Resolve("alice@staff.test"), "alice@staff.test");
  EXPECT_EQ(external_.questions(), 3);
  EXPECT_EQ(Mailbox("alice@staff.test"), mailbox);
  // Nothing was written the second time.
  EXPECT_EQ(Find("alice@staff.test")->version, 1);
}

TEST_F(MirrorTest, WhoIsGoneIsDisabledAndComesBackWithTheMailbox) {
  external_.Person("1", {"alice@staff.test"});
  Resolve("alice@staff.test");
  const std::string mailbox = Mailbox("alice@staff.test");
  external_.Remove("alice@staff.test");
  Forget();
  EXPECT_EQ(Resolve("alice@staff.test"), "disabled");
  external_.Person("1", {"alice@staff.test"}, "1", /*enabled=*/false);
  Forget();
  EXPECT_EQ(Resolve("alice@staff.test"), "disabled");
  external_.Person("1", {"alice@staff.test"});
  Forget();
  EXPECT_EQ(Resolve("alice@staff.test"), "alice@staff.test");
  EXPECT_EQ(Mailbox("alice@staff.test"), mailbox);
}

TEST_F(MirrorTest, AnotherPersonWithTheAddressGetsAnotherMailbox) {
  external_.Person("1", {"alice@staff.test"});
  Resolve("alice@staff.test");
  const Account first = *Find("alice@staff.test");
  external_.Person("2", {"alice@staff.test"});
  Forget();
  EXPECT_EQ(Resolve("alice@staff.test"), "alice@staff.test");
  const Account second = *Find("alice@staff.test");
  EXPECT_NE(second.mailbox_id, first.mailbox_id);
  EXPECT_NE(second.account_id, first.account_id);
}

TEST_F(MirrorTest, AnotherAddressKeepsTheMailbox) {
  external_.Person("1", {"alice@staff.test"});
  Resolve("alice@staff.test");
  const std::string mailbox = Mailbox("alice@staff.test");
  Change([&](DirectoryWriter& w) {
    return upkeep_.AddAlias(w, {"team@ours.test", {"alice@staff.test"}}).status();
  });
  external_.Person("1", {"alice.smith@staff.test"});
  Forget();
  EXPECT_EQ(Resolve("alice.smith@staff.test"), "alice.smith@staff.test");
  EXPECT_EQ(Mailbox("alice.smith@staff.test"), mailbox);
  EXPECT_EQ(Resolve("alice@staff.test"), "unknown");
  EXPECT_EQ(Resolve("team@ours.test"), "alice.smith@staff.test");
}

TEST_F(MirrorTest, WhoHasAnAddressNowHasItAndNobodyLosesAMailbox) {
  external_.Person("1", {"alice@staff.test"});
  Resolve("alice@staff.test");
  const std::string alices = Mailbox("alice@staff.test");
  Change([&](DirectoryWriter& w) {
    return upkeep_.AddAlias(w, {"team@ours.test", {"alice@staff.test"}}).status();
  });
  // A successor takes it as a further address; she herself was not asked about yet.
  external_.Person("2", {"bob@staff.test"});
  Resolve("bob@staff.test");
  external_.Person("1", {"alice.smith@staff.test"});
  external_.Person("2", {"bob@staff.test", "alice@staff.test"});
  Forget();
  EXPECT_EQ(Resolve("alice@staff.test"), "bob@staff.test");
  // What we lead to an address goes to whoever has it.
  EXPECT_EQ(Resolve("team@ours.test"), "bob@staff.test");
  EXPECT_EQ(Resolve("alice.smith@staff.test"), "alice.smith@staff.test");
  EXPECT_EQ(Mailbox("alice.smith@staff.test"), alices);
}

TEST_F(MirrorTest, ANewcomerWithAMovedPersonsAddressGetsANewMailbox) {
  external_.Person("1", {"a@staff.test"});
  Resolve("a@staff.test");
  const std::string first = Mailbox("a@staff.test");
  external_.Person("1", {"a2@staff.test"});
  external_.Person("2", {"a@staff.test"});
  Forget();
  EXPECT_EQ(Resolve("a@staff.test"), "a@staff.test");
  EXPECT_NE(Mailbox("a@staff.test"), first);
  EXPECT_EQ(Resolve("a2@staff.test"), "a2@staff.test");
  EXPECT_EQ(Mailbox("a2@staff.test"), first);
}

TEST_F(MirrorTest, TwoPeopleSwapTheirAddresses) {
  external_.Person("1", {"a@staff.test"});
  external_.Person("2", {"b@staff.test"});
  Resolve("a@staff.test");
  Resolve("b@staff.test");
  const std::string first = Mailbox("a@staff.test");
  const std::string second = Mailbox("b@staff.test");
  external_.Person("1", {"b@staff.test"});
  external_.Person("2", {"a@staff.test"});
  Forget();
  EXPECT_EQ(Resolve("a@staff.test"), "a@staff.test");
  EXPECT_EQ(Resolve("b@staff.test"), "b@staff.test");
  EXPECT_EQ(Mailbox("a@staff.test"), second);
  EXPECT_EQ(Mailbox("b@staff.test"), first);
}

TEST_F(MirrorTest, AnAddressIsWhatThePersonsAttributesHave) {
  external_.Person("1", {"alice@staff.test"}, "one");
  // As a server that takes blanks for nothing.
  external_.Answers("\"  alice\"@staff.test", "alice@staff.test");
  EXPECT_EQ(Resolve("\"  alice\"@staff.test"), "unknown");
  EXPECT_EQ(LogIn("\"  alice\"@staff.test", "one"), "wrong");
  EXPECT_EQ(Mailbox("alice@staff.test"), "none");
}

TEST_F(MirrorTest, WhatIsBehindOursIsAskedForOnceThatIsGone) {
  AddOurs("carol@ours.test");
  Change([&](DirectoryWriter& w) {
    return upkeep_.AddAlias(w, {"sales@staff.test", {"carol@ours.test"}}).status();
  });
  external_.Person("1", {"sales@staff.test"});
  EXPECT_EQ(Resolve("sales@staff.test"), "carol@ours.test");
  Change([&](DirectoryWriter& w) { return upkeep_.RemoveAlias(w, "sales@staff.test"); });
  EXPECT_EQ(Resolve("sales@staff.test"), "sales@staff.test");
}

TEST_F(MirrorTest, FurtherAddressesLeadToThePerson) {
  external_.Person("1", {"alice@staff.test", "a@staff.test", "alice@ours.test"});
  EXPECT_EQ(Resolve("a@staff.test"), "alice@staff.test");
  EXPECT_EQ(Resolve("alice@staff.test"), "alice@staff.test");
  EXPECT_EQ(Resolve("alice+list@staff.test"), "alice@staff.test");
  // A domain that is not the directory's is not its to fill.
  EXPECT_EQ(Resolve("alice@ours.test"), "unknown");
  external_.Person("1", {"alice@staff.test"});
  Forget();
  EXPECT_EQ(Resolve("a@staff.test"), "unknown");
}

TEST_F(MirrorTest, WhatIsOursStays) {
  AddOurs("robot@staff.test");
  AddOurs("carol@ours.test");
  Change([&](DirectoryWriter& w) {
    return upkeep_.AddAlias(w, {"sales@staff.test", {"carol@ours.test"}}).status();
  });
  external_.Person("1", {"robot@staff.test"});
  external_.Person("2", {"sales@staff.test", "bob@staff.test"});
  EXPECT_EQ(Resolve("robot@staff.test"), "robot@staff.test");
  EXPECT_FALSE(Find("robot@staff.test")->origin.external());
  EXPECT_EQ(Resolve("sales@staff.test"), "carol@ours.test");
  EXPECT_EQ(Resolve("bob@staff.test"), "bob@staff.test");
  // And whose password opens the door is let in as himself, never as who is behind our alias.
  EXPECT_EQ(LogIn("sales@staff.test", "1"), "right bob@staff.test");
  EXPECT_EQ(LogIn("robot@staff.test", "1"), "right");
}

TEST_F(MirrorTest, GroupsAreAliases) {
  external_.Person("1", {"alice@staff.test"});
  external_.Person("2", {"bob@staff.test"});
  AddOurs("carol@ours.test");
  external_.Group("team@staff.test",
                  {"alice@staff.test", "carol@ours.test", "gone@staff.test", "x@far.test"});
  EXPECT_EQ(Resolve("team@staff.test"),
            "FAILED_PRECONDITION: group team@staff.test has more than 3 members "
            "(max_alias_mailboxes)");
  external_.Group("team@staff.test", {"alice@staff.test", "carol@ours.test", "x@far.test"});
  EXPECT_EQ(Resolve("team@staff.test"), "alice@staff.test carol@ours.test");
  external_.Group("all@staff.test", {"team@staff.test", "bob@staff.test", "all@staff.test"});
  EXPECT_EQ(Resolve("all@staff.test"), "alice@staff.test carol@ours.test bob@staff.test");
  external_.Group("team@staff.test", {"bob@staff.test"});
  Forget();
  EXPECT_EQ(Resolve("team@staff.test"), "bob@staff.test");
  EXPECT_EQ(Resolve("all@staff.test"), "bob@staff.test");
  // One that goes is out of those that it is in.
  external_.Remove("team@staff.test");
  Forget();
  EXPECT_EQ(Resolve("team@staff.test"), "unknown");
  EXPECT_EQ(Resolve("all@staff.test"), "bob@staff.test");
  // Ours is for us to mend.
  external_.Group("team@staff.test", {"bob@staff.test"});
  Forget();
  Resolve("team@staff.test");
  Change([&](DirectoryWriter& w) {
    return upkeep_.AddAlias(w, {"list@ours.test", {"team@staff.test"}}).status();
  });
  external_.Remove("team@staff.test");
  Forget();
  EXPECT_THAT(Resolve("team@staff.test"),
              HasSubstr("list@ours.test leads there: change that alias first"));
}

TEST_F(MirrorTest, GroupsThatLeadToEachOtherAreAskedAboutOnce) {
  external_.Group("a@staff.test", {"b@staff.test"});
  external_.Group("b@staff.test", {"a@staff.test"});
  EXPECT_EQ(Resolve("a@staff.test"), "unknown");
  EXPECT_EQ(external_.questions(), 2);
  // Twelve groups that lead through each other.
  for (int i = 0; i < 12; ++i) {
    external_.Group(absl::StrCat("g", i, "@staff.test"), {absl::StrCat("g", i + 1, "@staff.test"),
                                                          absl::StrCat("g", i + 2, "@staff.test")});
  }
  Refresh("g0@staff.test").IgnoreError();
  EXPECT_LT(external_.questions(), 20);
}

TEST_F(MirrorTest, ADirectoryThatIsAwayGivesNoAnswer) {
  external_.Person("1", {"alice@staff.test"});
  Resolve("alice@staff.test");
  external_.SetAway(absl::UnavailableError("away"));
  EXPECT_EQ(Resolve("alice@staff.test"), "alice@staff.test");
  EXPECT_EQ(Resolve("bob@staff.test"), "UNAVAILABLE: away");
  EXPECT_EQ(LogIn("alice@staff.test", "1"), "UNAVAILABLE: away");
  Forget();
  EXPECT_EQ(Resolve("alice@staff.test"), "UNAVAILABLE: away");
  external_.SetAway(absl::OkStatus());
  EXPECT_EQ(Resolve("alice@staff.test"), "alice@staff.test");
}

TEST_F(MirrorTest, ALoginMakesTheAccountAndANewPasswordAnotherVersion) {
  external_.Person("1", {"alice@staff.test", "a@staff.test"}, "one");
  EXPECT_EQ(LogIn("alice@staff.test", "two"), "wrong alice@staff.test");
  EXPECT_EQ(LogIn("a@staff.test", "one"), "right alice@staff.test");
  EXPECT_EQ(LogIn("nobody@staff.test", "one"), "wrong");
  EXPECT_EQ(Find("alice@staff.test")->version, 1);
  external_.Person("1", {"alice@staff.test"}, "two");
  EXPECT_EQ(LogIn("alice@staff.test", "two"), "right alice@staff.test");
  EXPECT_EQ(Find("alice@staff.test")->version, 2);
  // In a domain that is not ours nobody logs in.
  external_.Person("9", {"eve@other.test"}, "one");
  EXPECT_EQ(LogIn("eve@other.test", "one"), "wrong");
}

TEST_F(MirrorTest, WhatItKeepsIsChangedThere) {
  external_.Person("1", {"alice@staff.test", "a@staff.test"});
  Resolve("alice@staff.test");
  auto refused = [&](std::function<absl::Status(DirectoryWriter&)> body) {
    const absl::Status status = directory_->Write([&](DirectoryWriter& w) { return body(w); });
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("comes from the directory staff"));
  };
  refused([&](auto& w) { return upkeep_.SetPassword(w, "alice@staff.test", {"$hash"}); });
  refused([&](auto& w) { return upkeep_.SetAccountEnabled(w, "alice@staff.test", false); });
  refused([&](auto& w) { return upkeep_.RemoveAccount(w, "alice@staff.test"); });
  refused([&](auto& w) { return upkeep_.RemoveAlias(w, "a@staff.test"); });
  refused([&](auto& w) {
    return upkeep_.SetAliasTargets(w, {"a@staff.test", {"alice@staff.test"}}).status();
  });
  // Gone there, it can go here.
  external_.Person("1", {"somebody@other.test"});
  external_.Remove("somebody@other.test");
  Forget();
  EXPECT_EQ(Resolve("a@staff.test"), "unknown");
  EXPECT_EQ(Resolve("alice@staff.test"), "disabled");
  Change([&](DirectoryWriter& w) { return upkeep_.RemoveAccount(w, "alice@staff.test"); });
}

TEST_F(MirrorTest, WhoseDirectoryIsNoMoreBecomesOurs) {
  external_.Person("1", {"alice@staff.test", "a@staff.test"});
  Resolve("alice@staff.test");
  const std::string mailbox = Mailbox("alice@staff.test");
  const Upkeep alone(resolver_, AliasLimits{});
  Change([&](DirectoryWriter& w) { return alone.SetPassword(w, "alice@staff.test", {"$hash"}); });
  EXPECT_FALSE(Find("alice@staff.test")->origin.external());
  EXPECT_EQ(Mailbox("alice@staff.test"), mailbox);
  Change([&](DirectoryWriter& w) { return alone.RemoveAlias(w, "a@staff.test"); });
  Change([&](DirectoryWriter& w) { return alone.RemoveAccount(w, "alice@staff.test"); });
}

}  // namespace
}  // namespace postern::auth
