#include "auth-svc/domain/mechanisms.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "auth-svc/domain/resolver.h"
#include "auth-svc/domain/upkeep.h"
#include "auth-svc/sqlite/test_directory.h"
#include "gtest/gtest.h"

namespace postern::auth {
namespace {

class MechanismsTest : public testing::Test {
 protected:
  MechanismsTest() {
    for (const char* domain : {"scram.test", "plain.test", "apps.test", "idp.test"}) {
      Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, domain).status(); });
    }
    Change([&](DirectoryWriter& w) {
      return upkeep_.AddAccount(w, "alice@scram.test", {"hash", "verifier"}).status();
    });
    Change([&](DirectoryWriter& w) {
      return upkeep_.AddAccount(w, "alice@plain.test", {"hash"}).status();
    });
    Change([&](DirectoryWriter& w) {
      return upkeep_.SetLoginPolicy(w, "apps.test", LoginPolicy::kNoPasswords).status();
    });
  }

  void Change(std::function<absl::Status(DirectoryWriter&)> body) {
    ASSERT_EQ(directory_->Write([&](DirectoryWriter& w) { return body(w); }), absl::OkStatus());
  }
  std::string Offered(const std::string& server_name, bool bindable = true,
                      bool certified = false) {
    std::string offered;
    EXPECT_EQ(directory_->Read([&](DirectoryReader& reader) {
      offered = absl::StrJoin(
          *OfferedMechanisms(reader, configured_, server_name, bindable, certified), " ");
      return absl::OkStatus();
    }),
              absl::OkStatus());
    return offered;
  }

  const AliasLimits limits_;
  const Upkeep upkeep_{Resolver("+", limits_), limits_};
  const std::unique_ptr<Directory> directory_ = MakeTestDirectory();
  ConfiguredMechanisms configured_;
};

TEST_F(MechanismsTest, PasswordsAlone) {
  for (const char* name : {"", "scram.test", "mail.idp.test"}) {
    EXPECT_EQ(Offered(name), "PLAIN LOGIN") << name;
  }
}

TEST_F(MechanismsTest, ScramWhereEverybodyCan) {
  configured_.scram = true;
  for (const char* name : {"scram.test", "mail.scram.test", "a.b.SCRAM.test"}) {
    EXPECT_EQ(Offered(name), "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN") << name;
    EXPECT_EQ(Offered(name, /*bindable=*/false), "SCRAM-SHA-256 PLAIN LOGIN") << name;
  }
  for (const char* name : {"", "plain.test", "mail.plain.test", "apps.test", "test", "nowhere.test",
                           "xscram.test", "192.0.2.1", "..", "scram.test."}) {
    EXPECT_EQ(Offered(name), name == std::string("scram.test.")
                                 ? "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"
                                 : "PLAIN LOGIN")
        << name;
  }
}

TEST_F(MechanismsTest, ExternalToWhoShowsACertificate) {
  EXPECT_EQ(Offered("", true, /*certified=*/true), "PLAIN LOGIN");
  configured_.certificates = true;
  EXPECT_EQ(Offered("", true, /*certified=*/true), "EXTERNAL PLAIN LOGIN");
  EXPECT_EQ(Offered("", true, /*certified=*/false), "PLAIN LOGIN");
}

TEST_F(MechanismsTest, NoScramWhereAnExternalDirectoryHasPeople) {
  configured_.scram = true;
  configured_.external_domains = {"ldap.test"};
  Change([&](DirectoryWriter& w) { return upkeep_.AddDomain(w, "ldap.test").status(); });
  Change([&](DirectoryWriter& w) { return upkeep_.RemoveAccount(w, "alice@plain.test"); });
  Change([&](DirectoryWriter& w) {
    return upkeep_.SetLoginPolicy(w, "apps.test", LoginPolicy::kAny).status();
  });
  for (const char* name : {"ldap.test", "mail.ldap.test", ""}) {
    EXPECT_EQ(Offered(name), "PLAIN LOGIN") << name;
  }
  EXPECT_EQ(Offered("scram.test"), "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
  configured_.external_domains.clear();
  EXPECT_EQ(Offered(""), "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN");
}

TEST_F(MechanismsTest, FarBelowADomainIsNobodys) {
  configured_.bearer_domains = {"idp.test"};
  EXPECT_EQ(Offered("a.b.c.plain.test"), "PLAIN LOGIN");
  EXPECT_EQ(Offered("a.b.c.d.e.plain.test"), "PLAIN LOGIN OAUTHBEARER XOAUTH2") << "any domain's";
}

TEST_F(MechanismsTest, TokensWhereSomebodyCan) {
  configured_.bearer_domains = {"idp.test"};
  for (const char* name : {"", "idp.test", "mail.idp.test", "mail.nowhere.test"}) {
    EXPECT_EQ(Offered(name), "PLAIN LOGIN OAUTHBEARER XOAUTH2") << name;
  }
  EXPECT_EQ(Offered("mail.plain.test"), "PLAIN LOGIN");
}

}  // namespace
}  // namespace postern::auth
