// What every implementation of Directory must do. INSTANTIATE_TEST_SUITE_P it with a factory.
#ifndef POSTERN_AUTH_SVC_CONTRACT_DIRECTORY_CONTRACT_H_
#define POSTERN_AUTH_SVC_CONTRACT_DIRECTORY_CONTRACT_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "auth-svc/domain/canonical.h"
#include "auth-svc/domain/directory.h"
#include "gtest/gtest.h"

namespace postern::auth {

// Makes an empty directory.
using DirectoryFactory = std::function<std::unique_ptr<Directory>()>;

class DirectoryContract : public testing::TestWithParam<DirectoryFactory> {
 protected:
  absl::Status Write(std::function<absl::Status(DirectoryWriter&)> body) {
    return directory_->Write([&](DirectoryWriter& writer) { return body(writer); });
  }
  // The value that a read gives; fails the test when it can't be read.
  template <typename T>
  T Get(std::function<absl::StatusOr<T>(DirectoryReader&)> body) {
    T value{};
    absl::Status status = directory_->Read([&](DirectoryReader& reader) {
      absl::StatusOr<T> got = body(reader);
      absl::Status read = got.status();
      if (read.ok()) value = *std::move(got);
      return read;
    });
    EXPECT_TRUE(status.ok()) << status;
    return value;
  }

  static Account MakeAccount(const std::string& local_part, const std::string& domain) {
    Account account;
    account.account_id = absl::StrCat("account-of-", local_part, "@", domain);
    account.mailbox_id = absl::StrCat("mailbox-of-", local_part, "@", domain);
    account.address = Address{local_part, domain};
    account.password_hash = "$argon2id$hash";
    return account;
  }
  static Alias MakeAlias(const std::string& local_part, std::vector<Address> targets) {
    return Alias{Address{local_part, "example.test"}, std::move(targets)};
  }
  void AddDomain(const std::string& name) {
    ASSERT_EQ(Write([&](DirectoryWriter& w) {
                return w.InsertDomain({name, true});
              }),
              absl::OkStatus());
  }
  void AddAccount(const std::string& local_part, const std::string& domain) {
    ASSERT_EQ(
        Write([&](DirectoryWriter& w) { return w.InsertAccount(MakeAccount(local_part, domain)); }),
        absl::OkStatus());
  }
  std::optional<Account> Find(const Address& address) {
    return Get<std::optional<Account>>([&](DirectoryReader& r) { return r.FindAccount(address); });
  }

  const Address alice_{"alice", "example.test"};
  const Address bob_{"bob", "example.test"};
  const std::unique_ptr<Directory> directory_ = GetParam()();
};

TEST_P(DirectoryContract, DomainIsFoundByName) {
  AddDomain("example.test");
  auto find = [&](absl::string_view name) {
    return Get<std::optional<Domain>>([&](DirectoryReader& r) { return r.FindDomain(name); });
  };
  EXPECT_EQ(find("example.test"), (Domain{"example.test", true}));
  EXPECT_EQ(find("example"), std::nullopt);
  EXPECT_EQ(find(""), std::nullopt);
  EXPECT_EQ(Write([](DirectoryWriter& w) {
              return w.UpdateDomain({"example.test", false});
            }),
            absl::OkStatus());
  EXPECT_EQ(find("example.test"), (Domain{"example.test", false}));
}

TEST_P(DirectoryContract, DomainIsThereOnce) {
  AddDomain("example.test");
  EXPECT_TRUE(absl::IsAlreadyExists(Write([](DirectoryWriter& w) {
    return w.InsertDomain({"example.test", true});
  })));
}

TEST_P(DirectoryContract, DomainWithAddressesStays) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  auto remove = [](DirectoryWriter& w) { return w.DeleteDomain("example.test"); };
  EXPECT_TRUE(absl::IsFailedPrecondition(Write(remove)));
  EXPECT_EQ(Write([&](DirectoryWriter& w) { return w.DeleteAccount(alice_); }), absl::OkStatus());
  EXPECT_EQ(Write(remove), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(Write(remove)));
}

TEST_P(DirectoryContract, AccountsAreFoundByTheirOrigin) {
  AddDomain("example.test");
  AddAccount("ours", "example.test");
  Account account = MakeAccount("alice", "example.test");
  account.password_hash.clear();
  account.origin = {"ldap", "uuid-1", "stamp-1"};
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAccount(account); }), absl::OkStatus());
  auto find = [&](const std::string& source, const std::string& id) {
    return Get<std::optional<Account>>(
        [&](DirectoryReader& r) { return r.FindAccountByOrigin(source, id); });
  };
  EXPECT_EQ(find("ldap", "uuid-1"), account);
  EXPECT_EQ(find("ldap", "uuid-2"), std::nullopt);
  EXPECT_EQ(find("other", "uuid-1"), std::nullopt);
  // What is ours has no name elsewhere, and there may be many of it.
  AddAccount("ours-too", "example.test");
  EXPECT_EQ(find("", ""), std::nullopt);

  Account twin = MakeAccount("twin", "example.test");
  twin.origin = {"ldap", "uuid-1", ""};
  EXPECT_TRUE(
      absl::IsAlreadyExists(Write([&](DirectoryWriter& w) { return w.InsertAccount(twin); })));
}

TEST_P(DirectoryContract, AnotherAccountTakesAnAddress) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  const Alias team = MakeAlias("team", {alice_});
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAlias(team); }), absl::OkStatus());
  Account other = MakeAccount("alice", "example.test");
  other.account_id = "another";
  other.mailbox_id = "another-mailbox";
  other.origin = {"ldap", "uuid-1", "stamp-1"};
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAccount(other); }), absl::OkStatus());
  other.version = 2;
  EXPECT_EQ(Find(alice_), other);
}

TEST_P(DirectoryContract, AMovedAccountKeepsItsAliases) {
  AddDomain("example.test");
  AddDomain("other.test");
  AddAccount("alice", "example.test");
  AddAccount("bob", "example.test");
  const Alias team = MakeAlias("team", {bob_, alice_});
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAlias(team); }), absl::OkStatus());
  const Address now{"alicia", "other.test"};
  EXPECT_TRUE(absl::IsAlreadyExists(
      Write([&](DirectoryWriter& w) { return w.MoveAccount(alice_, bob_); })));
  EXPECT_TRUE(absl::IsNotFound(Write([&](DirectoryWriter& w) {
    return w.MoveAccount({"nobody", "example.test"}, now);
  })));
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.MoveAccount(alice_, now); }),
            absl::OkStatus());
  Account moved = MakeAccount("alice", "example.test");
  moved.address = now;
  moved.version = 2;
  EXPECT_EQ(Find(now), moved);
  EXPECT_EQ(Find(alice_), std::nullopt);
  const auto alias =
      Get<std::optional<Alias>>([&](DirectoryReader& r) { return r.FindAlias(team.address); });
  ASSERT_TRUE(alias.has_value());
  EXPECT_EQ(alias->targets, (std::vector<Address>{bob_, now}));
  // The old address is free.
  Account next = MakeAccount("next", "example.test");
  next.address = alice_;
  EXPECT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAccount(next); }), absl::OkStatus());
}

TEST_P(DirectoryContract, AnAliasKeepsItsOrigin) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  AddAccount("bob", "example.test");
  Alias team = MakeAlias("team", {alice_});
  team.origin.source = "ldap";
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAlias(team); }), absl::OkStatus());
  team.targets = {bob_};
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAlias(team); }), absl::OkStatus());
  EXPECT_EQ(
      Get<std::optional<Alias>>([&](DirectoryReader& r) { return r.FindAlias(team.address); }),
      team);
}

TEST_P(DirectoryContract, WhatIsNotThereCannotBeChanged) {
  AddDomain("example.test");
  EXPECT_TRUE(absl::IsNotFound(Write([](DirectoryWriter& w) {
    return w.UpdateDomain({"other.test", true});
  })));
  EXPECT_TRUE(absl::IsNotFound(Write(
      [&](DirectoryWriter& w) { return w.UpdateAccount(MakeAccount("alice", "example.test")); })));
  EXPECT_TRUE(absl::IsNotFound(Write([&](DirectoryWriter& w) { return w.DeleteAccount(alice_); })));
  EXPECT_TRUE(absl::IsNotFound(Write([&](DirectoryWriter& w) { return w.DeleteAlias(alice_); })));
  AddAccount("alice", "example.test");
  EXPECT_TRUE(absl::IsNotFound(Write([&](DirectoryWriter& w) {
    return w.UpdateAlias(Alias{bob_, {alice_}});
  })));
}

TEST_P(DirectoryContract, AnAccountKnowsItsDomainsLoginPolicy) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  EXPECT_EQ(Find(alice_)->login_policy, LoginPolicy::kAny);
  ASSERT_EQ(Write([](DirectoryWriter& w) {
              return w.UpdateDomain({"example.test", true, LoginPolicy::kNoPasswords});
            }),
            absl::OkStatus());
  EXPECT_EQ(Find(alice_)->login_policy, LoginPolicy::kNoPasswords);
  EXPECT_EQ(Get<std::vector<Domain>>([](DirectoryReader& r) { return r.ListDomains("", 9); }),
            (std::vector<Domain>{{"example.test", true, LoginPolicy::kNoPasswords}}));
}

TEST_P(DirectoryContract, AppPasswordsAreTheAccounts) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  AddAccount("bob", "example.test");
  const std::string id = Find(alice_)->account_id;
  AppPassword phone{id, "phone", "hash-1", true, false, absl::FromUnixMicros(1234567)};
  const AppPassword laptop{id, "laptop", "hash-2", true, true, absl::FromUnixMicros(2345678)};
  auto insert = [&](const AppPassword& one) {
    return Write([&](DirectoryWriter& w) { return w.InsertAppPassword(one); });
  };
  auto list = [&](const std::string& account_id) {
    return Get<std::vector<AppPassword>>(
        [&](DirectoryReader& r) { return r.ListAppPasswords(account_id); });
  };
  auto find = [&](const std::string& account_id, const std::string& hash) {
    return Get<std::optional<AppPassword>>(
        [&](DirectoryReader& r) { return r.FindAppPassword(account_id, hash); });
  };
  ASSERT_EQ(insert(phone), absl::OkStatus());
  ASSERT_EQ(insert(laptop), absl::OkStatus());
  EXPECT_TRUE(absl::IsAlreadyExists(insert({id, "phone", "hash-3", true, true})));
  EXPECT_TRUE(absl::IsAlreadyExists(insert({id, "tablet", "hash-1", true, true})));
  EXPECT_FALSE(insert({"nobody", "phone", "hash-1", true, true}).ok());
  EXPECT_EQ(list(id), (std::vector<AppPassword>{laptop, phone}));
  EXPECT_EQ(list(Find(bob_)->account_id), std::vector<AppPassword>{});
  EXPECT_EQ(find(id, "hash-1"), phone);
  EXPECT_EQ(find(id, "hash-3"), std::nullopt);
  EXPECT_EQ(find(Find(bob_)->account_id, "hash-1"), std::nullopt);

  // The latest use stays, and is no change of the account.
  const int64_t version = Find(alice_)->version;
  for (const int64_t micros : {5'000'000, 4'000'000}) {
    ASSERT_EQ(Write([&](DirectoryWriter& w) {
                return w.UseAppPassword(phone, absl::FromUnixMicros(micros));
              }),
              absl::OkStatus());
  }
  phone.last_used_at = absl::FromUnixMicros(5'000'000);
  EXPECT_EQ(find(id, "hash-1"), phone);
  EXPECT_EQ(Find(alice_)->version, version);

  auto remove = [&](const std::string& name) {
    return Write([&](DirectoryWriter& w) { return w.DeleteAppPassword(id, name); });
  };
  EXPECT_EQ(remove("laptop"), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(remove("laptop")));
  EXPECT_EQ(list(id), std::vector<AppPassword>{phone});
}

TEST_P(DirectoryContract, AppPasswordsGoWithTheirAccount) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  Account alice = *Find(alice_);
  auto insert = [&] {
    return Write([&](DirectoryWriter& w) {
      return w.InsertAppPassword({alice.account_id, "phone", "hash", true, true});
    });
  };
  auto count = [&] {
    return Get<std::vector<AppPassword>>(
               [&](DirectoryReader& r) { return r.ListAppPasswords(alice.account_id); })
        .size();
  };
  ASSERT_EQ(insert(), absl::OkStatus());
  // The same account, elsewhere and otherwise.
  const Address moved{"alice.b", "example.test"};
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.MoveAccount(alice_, moved); }),
            absl::OkStatus());
  alice = *Find(moved);
  alice.password_hash = "another";
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAccount(alice); }), absl::OkStatus());
  EXPECT_EQ(count(), 1u);
  // Another takes its place.
  Account another = alice;
  another.account_id = "another";
  another.mailbox_id = "another";
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAccount(another); }), absl::OkStatus());
  EXPECT_EQ(count(), 0u);
  alice = another;
  ASSERT_EQ(insert(), absl::OkStatus());
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.DeleteAccount(moved); }), absl::OkStatus());
  EXPECT_EQ(count(), 0u);
}

TEST_P(DirectoryContract, WhoLacksScramIsFound) {
  AddDomain("example.test");
  AddDomain("other.test");
  auto any = [&](const std::string& domain) {
    return Get<bool>([&](DirectoryReader& r) { return r.AnyWithoutScram(domain); });
  };
  EXPECT_FALSE(any(""));
  AddAccount("alice", "example.test");
  EXPECT_TRUE(any(""));
  EXPECT_TRUE(any("example.test"));
  EXPECT_FALSE(any("other.test"));
  Account alice = *Find(alice_);
  alice.scram_sha_256 = "verifier";
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAccount(alice); }), absl::OkStatus());
  EXPECT_EQ(Find(alice_)->scram_sha_256, "verifier");
  EXPECT_FALSE(any(""));
  EXPECT_FALSE(any("example.test"));
  // By the policy nobody there can.
  ASSERT_EQ(Write([](DirectoryWriter& w) {
              return w.UpdateDomain({"other.test", true, LoginPolicy::kNoPasswords});
            }),
            absl::OkStatus());
  EXPECT_TRUE(any(""));
  EXPECT_TRUE(any("other.test"));
  EXPECT_FALSE(any("example.test"));
}

TEST_P(DirectoryContract, OldestDomainIsTheFirstThatIsEnabled) {
  auto oldest = [&] {
    return Get<std::optional<Domain>>([](DirectoryReader& r) { return r.FindOldestDomain(); });
  };
  EXPECT_EQ(oldest(), std::nullopt);
  AddDomain("zebra.test");
  AddDomain("ant.test");
  EXPECT_EQ(oldest()->name, "zebra.test");
  ASSERT_EQ(Write([](DirectoryWriter& w) {
              return w.UpdateDomain({"zebra.test", false});
            }),
            absl::OkStatus());
  EXPECT_EQ(oldest()->name, "ant.test");
}

TEST_P(DirectoryContract, AccountIsFoundByAddressAndById) {
  AddDomain("example.test");
  AddDomain("other.test");
  AddAccount("alice", "example.test");
  const Account expected = MakeAccount("alice", "example.test");
  EXPECT_EQ(Find(alice_), expected);
  // R: domains are separate namespaces.
  EXPECT_EQ(Find(Address{"alice", "other.test"}), std::nullopt);
  auto by_id = [&](absl::string_view id) {
    return Get<std::optional<Account>>([&](DirectoryReader& r) { return r.FindAccountById(id); });
  };
  EXPECT_EQ(by_id(expected.account_id), expected);
  EXPECT_EQ(by_id("nobody"), std::nullopt);
}

TEST_P(DirectoryContract, OddLocalPartsAreKept) {
  AddDomain("example.test");
  const std::vector<std::string> odd = {"john doe",    "a@b", "\"", "'; DROP TABLE account; --",
                                        "j\xc3\xb6rg", "%",   "_"};
  for (const std::string& local_part : odd) AddAccount(local_part, "example.test");
  for (const std::string& local_part : odd) {
    std::optional<Account> found = Find(Address{local_part, "example.test"});
    ASSERT_TRUE(found.has_value()) << local_part;
    EXPECT_EQ(found->address.local_part, local_part);
  }
}

TEST_P(DirectoryContract, EveryChangeOfAnAccountGivesItANewVersion) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  Account account = *Find(alice_);
  EXPECT_EQ(account.version, 1);
  account.password_hash = "$argon2id$other";
  account.enabled = false;
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAccount(account); }), absl::OkStatus());
  account.version = 2;
  EXPECT_EQ(Find(alice_), account);
}

TEST_P(DirectoryContract, AccountSeesItsDomainsState) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  EXPECT_TRUE(Find(alice_)->domain_enabled);
  ASSERT_EQ(Write([](DirectoryWriter& w) {
              return w.UpdateDomain({"example.test", false});
            }),
            absl::OkStatus());
  EXPECT_FALSE(Find(alice_)->domain_enabled);
  EXPECT_TRUE(Find(alice_)->enabled);
}

TEST_P(DirectoryContract, AccountNeedsItsDomain) {
  EXPECT_TRUE(absl::IsFailedPrecondition(Write(
      [](DirectoryWriter& w) { return w.InsertAccount(MakeAccount("alice", "example.test")); })));
}

TEST_P(DirectoryContract, AnAddressAndAnIdAreTakenOnce) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  AddAccount("bob", "example.test");
  Account again = MakeAccount("alice", "example.test");
  again.account_id = "another";
  again.mailbox_id = "another";
  auto insert = [&](DirectoryWriter& w) { return w.InsertAccount(again); };
  EXPECT_TRUE(absl::IsAlreadyExists(Write(insert)));
  again = MakeAccount("carol", "example.test");
  again.mailbox_id = MakeAccount("alice", "example.test").mailbox_id;
  EXPECT_TRUE(absl::IsAlreadyExists(Write(insert)));
  // An account's address is no alias's, and the other way round.
  EXPECT_TRUE(absl::IsAlreadyExists(Write([&](DirectoryWriter& w) {
    return w.InsertAlias(Alias{alice_, {bob_}});
  })));
  ASSERT_EQ(Write([](DirectoryWriter& w) {
              return w.InsertAlias(MakeAlias("sales", {{"alice", "example.test"}}));
            }),
            absl::OkStatus());
  again = MakeAccount("sales", "example.test");
  EXPECT_TRUE(absl::IsAlreadyExists(Write(insert)));
}

TEST_P(DirectoryContract, OldestAccountIsTheFirstThatIsEnabled) {
  AddDomain("example.test");
  AddDomain("other.test");
  auto oldest = [&](absl::string_view domain) {
    std::optional<Account> found = Get<std::optional<Account>>(
        [&](DirectoryReader& r) { return r.FindOldestAccount(domain); });
    return found.has_value() ? found->address.ToString() : "nobody";
  };
  EXPECT_EQ(oldest(""), "nobody");
  AddAccount("zoe", "other.test");
  AddAccount("bob", "example.test");
  AddAccount("alice", "example.test");
  EXPECT_EQ(oldest("example.test"), "bob@example.test");
  EXPECT_EQ(oldest(""), "zoe@other.test");
  Account bob = *Find(bob_);
  bob.enabled = false;
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAccount(bob); }), absl::OkStatus());
  ASSERT_EQ(Write([](DirectoryWriter& w) {
              return w.UpdateDomain({"other.test", false});
            }),
            absl::OkStatus());
  EXPECT_EQ(oldest("example.test"), "alice@example.test");
  EXPECT_EQ(oldest("other.test"), "nobody");
  EXPECT_EQ(oldest(""), "alice@example.test");
}

TEST_P(DirectoryContract, AliasKeepsItsTargetsInOrder) {
  AddDomain("example.test");
  AddDomain("other.test");
  AddAccount("alice", "example.test");
  AddAccount("bob", "example.test");
  AddAccount("carol", "other.test");
  const Alias alias = MakeAlias("sales", {bob_, {"carol", "other.test"}, alice_});
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAlias(alias); }), absl::OkStatus());
  auto find = [&](const Address& address) {
    return Get<std::optional<Alias>>([&](DirectoryReader& r) { return r.FindAlias(address); });
  };
  EXPECT_EQ(find(alias.address), alias);
  EXPECT_EQ(find(alice_), std::nullopt);
  const Alias changed = MakeAlias("sales", {alice_});
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAlias(changed); }), absl::OkStatus());
  EXPECT_EQ(find(alias.address), changed);
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.DeleteAlias(alias.address); }),
            absl::OkStatus());
  EXPECT_EQ(find(alias.address), std::nullopt);
  AddAccount("sales", "example.test");
}

TEST_P(DirectoryContract, AliasNeedsItsTargetsAndTargetsStay) {
  AddDomain("example.test");
  const Alias alias = MakeAlias("sales", {alice_});
  auto insert = [&](DirectoryWriter& w) { return w.InsertAlias(alias); };
  EXPECT_TRUE(absl::IsFailedPrecondition(Write(insert)));
  EXPECT_FALSE(Write([](DirectoryWriter& w) { return w.InsertAlias(MakeAlias("none", {})); }).ok());
  AddAccount("alice", "example.test");
  ASSERT_EQ(Write(insert), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Write([&](DirectoryWriter& w) { return w.DeleteAccount(alice_); })));
  EXPECT_TRUE(Find(alice_).has_value());
  ASSERT_EQ(
      Write([&](DirectoryWriter& w) { return w.InsertAlias(MakeAlias("team", {alias.address})); }),
      absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Write([&](DirectoryWriter& w) { return w.DeleteAlias(alias.address); })));
}

TEST_P(DirectoryContract, AnAliasKeepsItsSenders) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  AddAccount("bob", "example.test");
  const Alias alias = MakeAlias("sales", {alice_});
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAlias(alias); }), absl::OkStatus());
  const auto set = [&](bool listed, std::vector<std::string> ids) {
    return Write([&](DirectoryWriter& w) { return w.SetAliasSenders(alias.address, listed, ids); });
  };
  const auto senders = [&] {
    std::vector<std::string> found;
    for (const Account& account : Get<std::vector<Account>>(
             [&](DirectoryReader& r) { return r.ListAliasSenders(alias.address); })) {
      found.push_back(account.address.ToString());
    }
    return found;
  };
  const auto listed = [&] {
    return (*Get<std::optional<Alias>>(
                [&](DirectoryReader& r) { return r.FindAlias(alias.address); }))
        .senders_listed;
  };
  EXPECT_FALSE(listed());
  const std::string alice = Find(alice_)->account_id;
  const std::string bob = Find(bob_)->account_id;
  ASSERT_EQ(set(true, {bob, alice}), absl::OkStatus());
  EXPECT_TRUE(listed());
  EXPECT_EQ(senders(), (std::vector<std::string>{"alice@example.test", "bob@example.test"}));
  // Other targets, the same senders; an account that goes, or another in its place, is none.
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAlias(alias); }), absl::OkStatus());
  EXPECT_EQ(senders().size(), 2u);
  Account other = *Find(bob_);
  other.account_id = std::string(32, 'e');
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.UpdateAccount(other); }), absl::OkStatus());
  EXPECT_EQ(senders(), std::vector<std::string>{"alice@example.test"});
  ASSERT_EQ(set(true, {other.account_id}), absl::OkStatus());
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.DeleteAccount(bob_); }), absl::OkStatus());
  EXPECT_EQ(senders(), std::vector<std::string>());
  EXPECT_TRUE(listed());
  ASSERT_EQ(set(false, {}), absl::OkStatus());
  EXPECT_FALSE(listed());
  EXPECT_FALSE(set(true, {std::string(32, 'f')}).ok());
  ASSERT_EQ(set(true, {alice}), absl::OkStatus());
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.DeleteAlias(alias.address); }),
            absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(set(true, {})));
}

TEST_P(DirectoryContract, AliasKeepsItsForwards) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  auto find = [&](const Address& address) {
    return Get<std::optional<Alias>>([&](DirectoryReader& r) { return r.FindAlias(address); });
  };
  auto update = [&](const Alias& alias) {
    return Write([&](DirectoryWriter& w) { return w.UpdateAlias(alias); });
  };
  Alias alias = MakeAlias("sales", {});
  alias.forwards = {{"Zoe", "elsewhere.test"}, {"bob", "elsewhere.test"}};
  ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAlias(alias); }), absl::OkStatus());
  EXPECT_EQ(find(alias.address), alias);
  alias.targets = {alice_};
  alias.forwards.push_back({"amy", "distant.test"});
  ASSERT_EQ(update(alias), absl::OkStatus());
  EXPECT_EQ(find(alias.address), alias);
  EXPECT_EQ(Get<std::vector<Alias>>([](DirectoryReader& r) { return r.ListAliases("", {}, 9); }),
            std::vector<Alias>{alias});
  Alias inside = alias;
  inside.forwards = {{"bob", "example.test"}};
  EXPECT_TRUE(absl::IsFailedPrecondition(update(inside)));
  EXPECT_EQ(find(alias.address), alias);
  alias.forwards.clear();
  ASSERT_EQ(update(alias), absl::OkStatus());
  EXPECT_EQ(find(alias.address), alias);
  alias.targets.clear();
  EXPECT_FALSE(update(alias).ok());
}

TEST_P(DirectoryContract, ADomainThatIsForwardedIntoStaysElsewhere) {
  AddDomain("example.test");
  auto into = [&](absl::string_view domain) {
    return Get<std::optional<Address>>([&](DirectoryReader& r) { return r.FindForwardTo(domain); });
  };
  for (const char* name : {"sales", "all"}) {
    Alias alias = MakeAlias(name, {});
    alias.forwards = {{"bob", "elsewhere.test"}};
    ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAlias(alias); }), absl::OkStatus());
  }
  EXPECT_EQ(into("elsewhere.test"), (Address{"all", "example.test"}));
  EXPECT_EQ(into("example.test"), std::nullopt);
  const absl::Status refused = Write([](DirectoryWriter& w) {
    return w.InsertDomain({"elsewhere.test", true});
  });
  EXPECT_EQ(refused, absl::FailedPreconditionError(
                         "alias all@example.test forwards into elsewhere.test: take that forward "
                         "from it first"));
  for (const char* name : {"sales", "all"}) {
    ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.DeleteAlias(MakeAlias(name, {}).address); }),
              absl::OkStatus());
  }
  AddDomain("elsewhere.test");
}

TEST_P(DirectoryContract, TheFirstSrsKeyStays) {
  auto key = [&] {
    return Get<std::optional<std::string>>([](DirectoryReader& r) { return r.FindSrsKey(); });
  };
  EXPECT_EQ(key(), std::nullopt);
  for (const char* one : {"first", "second"}) {
    ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertSrsKey(one); }), absl::OkStatus());
    EXPECT_EQ(key(), "first");
  }
}

TEST_P(DirectoryContract, AliasesToAnAddressAreFound) {
  AddDomain("example.test");
  AddAccount("alice", "example.test");
  for (const char* name : {"c", "a", "b"}) {
    ASSERT_EQ(Write([&](DirectoryWriter& w) { return w.InsertAlias(MakeAlias(name, {alice_})); }),
              absl::OkStatus());
  }
  auto to = [&](const Address& target, size_t limit) {
    return Get<std::vector<Address>>(
        [&](DirectoryReader& r) { return r.FindAliasesTo(target, limit); });
  };
  EXPECT_EQ(
      to(alice_, 10),
      (std::vector<Address>{{"a", "example.test"}, {"b", "example.test"}, {"c", "example.test"}}));
  EXPECT_EQ(to(alice_, 2).size(), 2u);
  EXPECT_TRUE(to(bob_, 10).empty());
}

TEST_P(DirectoryContract, ListsAreInOrderAndGoOnAfterAnItem) {
  for (const char* name : {"b.test", "a.test", "c.test"}) AddDomain(name);
  for (const char* name : {"b.test", "a.test"}) {
    AddAccount("y", name);
    AddAccount("x", name);
    ASSERT_EQ(Write([&](DirectoryWriter& w) {
                return w.InsertAlias(Alias{{"z", name}, {{"x", name}, {"y", name}}});
              }),
              absl::OkStatus());
  }
  auto domains = [&](absl::string_view after, size_t limit) {
    std::string names;
    for (const Domain& d : Get<std::vector<Domain>>(
             [&](DirectoryReader& r) { return r.ListDomains(after, limit); })) {
      absl::StrAppend(&names, d.name, " ");
    }
    return names;
  };
  EXPECT_EQ(domains("", 10), "a.test b.test c.test ");
  EXPECT_EQ(domains("a.test", 1), "b.test ");
  EXPECT_EQ(domains("c.test", 10), "");
  auto accounts = [&](absl::string_view domain, const Address& after, size_t limit) {
    std::string names;
    for (const Account& a : Get<std::vector<Account>>(
             [&](DirectoryReader& r) { return r.ListAccounts(domain, after, limit); })) {
      absl::StrAppend(&names, a.address.ToString(), " ");
    }
    return names;
  };
  EXPECT_EQ(accounts("", {}, 10), "x@a.test y@a.test x@b.test y@b.test ");
  EXPECT_EQ(accounts("", {"y", "a.test"}, 1), "x@b.test ");
  EXPECT_EQ(accounts("b.test", {}, 10), "x@b.test y@b.test ");
  EXPECT_EQ(accounts("b.test", {"x", "b.test"}, 10), "y@b.test ");
  EXPECT_EQ(accounts("b.test", {"y", "a.test"}, 1), "x@b.test ");
  EXPECT_EQ(accounts("a.test", {"x", "b.test"}, 10), "");
  EXPECT_EQ(accounts("c.test", {}, 10), "");
  auto aliases = [&](absl::string_view domain, const Address& after) {
    return Get<std::vector<Alias>>(
        [&](DirectoryReader& r) { return r.ListAliases(domain, after, 10); });
  };
  ASSERT_EQ(aliases("", {}).size(), 2u);
  EXPECT_EQ(aliases("", {})[1], (Alias{{"z", "b.test"}, {{"x", "b.test"}, {"y", "b.test"}}}));
  EXPECT_EQ(aliases("a.test", {}).size(), 1u);
  EXPECT_EQ(aliases("", {"z", "a.test"}).size(), 1u);
  // A catch-all comes first.
  ASSERT_EQ(Write([&](DirectoryWriter& w) {
              return w.InsertAlias(Alias{{"", "a.test"}, {{"x", "a.test"}}});
            }),
            absl::OkStatus());
  ASSERT_EQ(aliases("a.test", {}).size(), 2u);
  EXPECT_EQ(aliases("a.test", {})[0].address.local_part, "");
  EXPECT_EQ(aliases("a.test", {"", "a.test"}).size(), 1u);
  EXPECT_EQ(aliases("a.test", {"z", "a.test"}).size(), 0u);
}

TEST_P(DirectoryContract, FailedWriteLeavesNothing) {
  const absl::Status refused = Write([](DirectoryWriter& w) {
    EXPECT_EQ(w.InsertDomain({"example.test", true}), absl::OkStatus());
    EXPECT_EQ(w.InsertAccount(MakeAccount("alice", "example.test")), absl::OkStatus());
    // It sees its own changes.
    EXPECT_TRUE((*w.FindAccount({"alice", "example.test"})).has_value());
    return absl::FailedPreconditionError("thought better of it");
  });
  EXPECT_EQ(refused.message(), "thought better of it");
  EXPECT_EQ(Find(alice_), std::nullopt);
  AddDomain("example.test");
}

TEST_P(DirectoryContract, ReadIsOneView) {
  AddDomain("example.test");
  ASSERT_EQ(directory_->Read([&](DirectoryReader& reader) {
    EXPECT_EQ(*reader.FindAccount(alice_), std::nullopt);
    std::thread([&] { AddAccount("alice", "example.test"); }).join();
    EXPECT_EQ(*reader.FindAccount(alice_), std::nullopt);
    return absl::OkStatus();
  }),
            absl::OkStatus());
  EXPECT_TRUE(Find(alice_).has_value());
}

TEST_P(DirectoryContract, ManyThreadsReadAndWrite) {
  AddDomain("example.test");
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      for (int j = 0; j < 10; ++j) {
        const std::string name = absl::StrCat("user", i, "-", j);
        AddAccount(name, "example.test");
        EXPECT_TRUE(Find(Address{name, "example.test"}).has_value());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Get<std::vector<Account>>([](DirectoryReader& r) {
              return r.ListAccounts("", Address(), 1000);
            }).size(),
            80u);
}

TEST_P(DirectoryContract, AnsweredRequestsAreKeptForATimeAndInNumber) {
  const absl::Time start = absl::FromUnixSeconds(1'000'000);
  auto insert = [&](const std::string& id, absl::Time at, absl::Time oldest, size_t max) {
    return Write([&](DirectoryWriter& w) {
      return w.InsertRequest({id, "what", std::string("a\0b", 3), at}, oldest, max);
    });
  };
  auto find = [&](absl::string_view id) {
    return Get<std::optional<AnsweredRequest>>(
        [&](DirectoryReader& r) { return r.FindRequest(id); });
  };
  ASSERT_EQ(insert("one", start, start, 10), absl::OkStatus());
  ASSERT_TRUE(find("one").has_value());
  EXPECT_EQ(find("one")->answer, std::string("a\0b", 3));
  EXPECT_EQ(find("one")->answered_at, start);
  EXPECT_FALSE(find("two").has_value());
  EXPECT_TRUE(absl::IsAlreadyExists(insert("one", start, start, 10)));
  // A later one forgets what is too old, and what is too much.
  ASSERT_EQ(insert("two", start + absl::Seconds(1), start + absl::Seconds(1), 10),
            absl::OkStatus());
  EXPECT_FALSE(find("one").has_value());
  ASSERT_EQ(insert("three", start + absl::Seconds(2), start, 2), absl::OkStatus());
  ASSERT_EQ(insert("four", start + absl::Seconds(3), start, 2), absl::OkStatus());
  EXPECT_FALSE(find("two").has_value());
  EXPECT_TRUE(find("three").has_value());
  EXPECT_TRUE(find("four").has_value());
}

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_CONTRACT_DIRECTORY_CONTRACT_H_
