// Against a real slapd.
#include "auth-svc/ldap/ldap_directory.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "auth-svc/domain/freshness.h"
#include "auth-svc/ldap/testing/test_slapd.h"
#include "auth-svc/ldap/watch.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/process/clock.h"

namespace postern::auth::ldap {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using Kind = ExternalEntry::Kind;

std::unique_ptr<LdapDirectory> Open(const config::v1::Ldap& config) {
  EXPECT_EQ(CheckConfig(config, "ldap[0]"), absl::OkStatus());
  auto opened = LdapDirectory::Open(config);
  EXPECT_TRUE(opened.ok()) << opened.status();
  return *std::move(opened);
}

Address Of(absl::string_view text) { return *CanonicalAddress(text); }

// "person alice@staff.test (disabled)", "group a b", "nothing", or the error.
std::string Text(const absl::StatusOr<ExternalEntry>& entry) {
  if (!entry.ok()) return entry.status().ToString();
  if (entry->kind == Kind::kNothing) return "nothing";
  std::string text = entry->kind == Kind::kPerson ? "person" : "group";
  for (const Address& a : entry->addresses) absl::StrAppend(&text, " ", a.ToString());
  for (const Address& a : entry->members) absl::StrAppend(&text, " ", a.ToString());
  if (!entry->enabled) absl::StrAppend(&text, " (disabled)");
  return text;
}

// "right", "wrong: why", or the error.
std::string LogIn(LdapDirectory& directory, absl::string_view address, absl::string_view password) {
  absl::StatusOr<ExternalLogin> login = directory.LogIn(Of(address), password);
  if (!login.ok()) return login.status().ToString();
  return absl::StrCat(login->right ? "right" : "wrong", login->detail.empty() ? "" : ": ",
                      login->detail);
}

void WaitUntil(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  while (!condition()) {
    ASSERT_LT(absl::Now(), deadline);
    std::this_thread::yield();
  }
}

TEST(LdapDirectory, PeopleAndGroupsAreFoundByTheirAddresses) {
  TestSlapd slapd;
  const auto directory = Open(slapd.Config());
  EXPECT_EQ(directory->name(), "staff");
  absl::StatusOr<ExternalEntry> alice = directory->Find(Of("Alice@Staff.test"));
  EXPECT_EQ(Text(alice), "person alice@staff.test");
  EXPECT_THAT(alice->id, MatchesRegex("[0-9a-f-]{36}"));
  EXPECT_EQ(alice->place, "uid=alice,ou=people,dc=staff,dc=test");
  absl::StatusOr<ExternalEntry> robert = directory->Find(Of("robert@staff.test"));
  EXPECT_EQ(Text(robert), "person bob@staff.test robert@staff.test");
  EXPECT_EQ(robert->id, directory->Find(Of("bob@staff.test"))->id);
  EXPECT_EQ(Text(directory->Find(Of("team@staff.test"))), "group alice@staff.test bob@staff.test");
  for (const char* nobody :
       {"nobody@staff.test", "\"*\"@staff.test", "\"a)(mail=*\"@staff.test", "alice@other.test"}) {
    EXPECT_EQ(Text(directory->Find(Of(nobody))), "nothing") << nobody;
  }
}

TEST(LdapDirectory, PasswordsAreTriedThere) {
  TestSlapd slapd;
  config::v1::Ldap direct = slapd.Config();
  direct.set_user_dn("uid=%u,ou=people,dc=staff,dc=test");
  for (const config::v1::Ldap& config : {slapd.Config(), direct}) {
    const auto directory = Open(config);
    EXPECT_EQ(LogIn(*directory, "alice@staff.test", "alice secret"), "right");
    EXPECT_EQ(LogIn(*directory, "alice@staff.test", "bob secret"), "wrong");
    // An unauthenticated bind would succeed.
    EXPECT_EQ(LogIn(*directory, "alice@staff.test", ""), "wrong: a password that cannot be");
    EXPECT_EQ(LogIn(*directory, "alice@staff.test", absl::string_view("alice secret\0", 13)),
              "wrong: a password that cannot be");
    EXPECT_THAT(LogIn(*directory, "nobody@staff.test", "alice secret"), HasSubstr("wrong"));
    EXPECT_THAT(LogIn(*directory, "team@staff.test", "alice secret"), HasSubstr("wrong"));
  }
  const auto found = Open(slapd.Config());
  EXPECT_EQ(LogIn(*found, "robert@staff.test", "bob secret"), "right");
  // A DN that is somebody's, and an address that is somebody else's.
  slapd.Change(
      "dn: uid=carol,ou=people,dc=staff,dc=test\nchangetype: modify\nreplace: mail\n"
      "mail: dave@staff.test\n");
  slapd.Change(
      "dn: uid=dave,ou=people,dc=staff,dc=test\nchangetype: add\nobjectClass: inetOrgPerson\n"
      "cn: D\nsn: D\nmail: d@staff.test\nuserPassword: dave secret\n");
  EXPECT_THAT(LogIn(*Open(direct), "dave@staff.test", "dave secret"),
              HasSubstr("uid=dave,ou=people,dc=staff,dc=test (user_dn) was let in, but"));
}

TEST(LdapDirectory, ALockedAccountIsSaidToBe) {
  TestSlapd slapd;
  const auto directory = Open(slapd.Config());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(LogIn(*directory, "bob@staff.test", "x"), "wrong");
  EXPECT_EQ(LogIn(*directory, "bob@staff.test", "bob secret"), "wrong: Account locked");
  // By an administrator, for ever.
  slapd.Change(
      "dn: uid=alice,ou=people,dc=staff,dc=test\nchangetype: modify\nreplace: "
      "pwdAccountLockedTime\n"
      "pwdAccountLockedTime: 000001010000Z\n");
  EXPECT_EQ(Text(directory->Find(Of("alice@staff.test"))), "person alice@staff.test (disabled)");
}

TEST(LdapDirectory, ANewPasswordIsAnotherStamp) {
  TestSlapd slapd;
  const auto directory = Open(slapd.Config());
  auto stamp = [&] { return directory->Find(Of("alice@staff.test"))->stamp; };
  // By slapadd: before the policy kept it.
  const std::string first = stamp();
  EXPECT_NE(first, "");
  slapd.Change(
      "dn: uid=alice,ou=people,dc=staff,dc=test\nchangetype: modify\nreplace: userPassword\n"
      "userPassword: another\n");
  const std::string second = stamp();
  EXPECT_NE(second, first);
  slapd.Change(
      "dn: uid=alice,ou=people,dc=staff,dc=test\nchangetype: modify\nreplace: cn\ncn: Alicia\n");
  EXPECT_EQ(stamp(), second);
  EXPECT_EQ(LogIn(*directory, "alice@staff.test", "another"), "right");
  EXPECT_EQ(LogIn(*directory, "alice@staff.test", "alice secret"), "wrong");
}

TEST(LdapDirectory, OtherAttributesByConfiguration) {
  TestSlapd slapd;
  slapd.Change(
      "dn: cn=list,dc=staff,dc=test\nchangetype: add\nobjectClass: groupOfNames\n"
      "objectClass: extensibleObject\ncn: list\nlabeledURI: list@staff.test\n"
      "member: cn=postern,dc=staff,dc=test\ndescription: alice@staff.test\n"
      "description: x@far.test\ndescription: no address\n");
  slapd.Change(
      "dn: uid=carol,ou=people,dc=staff,dc=test\nchangetype: modify\nadd: description\n"
      "description: smtp:c@staff.test\ndescription: SMTP:carol.c@staff.test\n"
      "description: sip:carol@voice.test\n-\nadd: employeeType\nemployeeType: Left\n-\n"
      "add: roomNumber\nroomNumber: 514\n");
  config::v1::Ldap config = slapd.Config();
  config.set_user_filter("(&(objectClass=inetOrgPerson)(uid=%u))");
  config.set_id_attribute("uid");
  config.add_address_attributes("mail");
  config.add_address_attributes("description");
  config.set_disabled_attribute("employeeType");
  config.add_disabled_values("left");
  config.set_group_filter("(labeledURI=%s)");
  config.set_member_attribute("description");
  const auto directory = Open(config);
  absl::StatusOr<ExternalEntry> carol = directory->Find(Of("carol@anything.test"));
  EXPECT_EQ(Text(carol), "person carol.c@staff.test carol@staff.test c@staff.test (disabled)");
  EXPECT_EQ(carol->id, "carol");
  EXPECT_EQ(Text(directory->Find(Of("list@staff.test"))), "group alice@staff.test x@far.test");
  // userAccountControl's way: 514 is 512 and 2.
  config.set_disabled_attribute("roomNumber");
  config.clear_disabled_values();
  config.set_disabled_mask(2);
  EXPECT_THAT(Text(Open(config)->Find(Of("carol@staff.test"))), HasSubstr("(disabled)"));
  config.set_disabled_mask(4);
  EXPECT_THAT(Text(Open(config)->Find(Of("carol@staff.test"))), Not(HasSubstr("(disabled)")));
}

// Each is said for what it is.
TEST(LdapDirectory, WhatIsWrongIsNamed) {
  TestSlapd slapd;
  identity::TestPki other(absl::StrCat(slapd.folder(), "/other"));
  std::ofstream(slapd.folder() + "/wrong") << "wrong\n";
  slapd.Change(
      "dn: uid=twin,ou=people,dc=staff,dc=test\nchangetype: add\nobjectClass: inetOrgPerson\n"
      "cn: T\nsn: T\nmail: bob@staff.test\n");
  const struct {
    std::function<void(config::v1::Ldap&)> change;
    std::string says;
  } cases[] = {
      {[](auto& c) { c.set_base_dn("dc=nowhere"); },
       "FAILED_PRECONDITION: base_dn is not there, or is not to be seen: search for "},
      {[](auto& c) { c.set_base_dn("no dn"); }, "Invalid DN syntax"},
      {[](auto& c) { c.set_id_attribute("employeeNumber"); },
       "FAILED_PRECONDITION: uid=alice,ou=people,dc=staff,dc=test has no value of employeeNumber "
       "(id_attribute) that we may read"},
      {[](auto& c) { c.add_address_attributes("maill"); },
       "uid=alice,ou=people,dc=staff,dc=test has no address in maill (address_attributes)"},
      {[&](auto& c) { c.set_ca_file(other.ca_file()); }, "is its certificate signed by a CA of "},
      {[&](auto& c) { c.set_ca_file("/nonexistent"); }, "TLS cannot be set up with ca_file"},
      {[&](auto& c) { c.set_bind_password_file(slapd.folder() + "/wrong"); },
       "bind_dn cn=postern,dc=staff,dc=test and its password are refused"},
      {[](auto& c) { c.set_bind_dn("cn=nobody,dc=staff,dc=test"); },
       "bind_dn cn=nobody,dc=staff,dc=test and its password are refused"},
      {[](auto& c) {
         c.clear_bind_dn();
         c.clear_bind_password_file();
       },
       "base_dn is not there, or is not to be seen"},
  };
  for (const auto& c : cases) {
    config::v1::Ldap config = slapd.Config();
    c.change(config);
    EXPECT_THAT(Text(Open(config)->Find(Of("alice@staff.test"))), HasSubstr(c.says));
  }
  EXPECT_THAT(Text(Open(slapd.Config())->Find(Of("bob@staff.test"))),
              AllOf(HasSubstr("more than one entry has the address bob@staff.test"),
                    HasSubstr("uid=twin,ou=people,dc=staff,dc=test")));
}

TEST(LdapDirectory, TlsIsVerified) {
  TestSlapd slapd;
  config::v1::Ldap config = slapd.Config();
  config.clear_servers();
  config.add_servers(slapd.ldaps_url());
  EXPECT_EQ(Text(Open(config)->Find(Of("alice@staff.test"))), "person alice@staff.test");
  // The certificate is 127.0.0.1's.
  for (const std::string& url : {slapd.ldaps_url(), slapd.url()}) {
    config.clear_servers();
    config.add_servers(absl::StrReplaceAll(url, {{"127.0.0.1", "localhost"}}));
    EXPECT_THAT(Text(Open(config)->Find(Of("alice@staff.test"))), HasSubstr("and for localhost?"));
  }
  // Loopback alone goes in clear.
  config.clear_ca_file();
  config.clear_servers();
  config.add_servers(slapd.url());
  EXPECT_EQ(Text(Open(config)->Find(Of("alice@staff.test"))), "person alice@staff.test");
}

TEST(LdapDirectory, ACertificateAuthorityIsReadAgain) {
  TestSlapd slapd;
  identity::TestPki other(absl::StrCat(slapd.folder(), "/other"));
  config::v1::Ldap config = slapd.Config();
  const std::string file = slapd.folder() + "/ca.pem";
  config.set_ca_file(file);
  config.set_retry_seconds(1);
  auto put = [&](const std::string& from) {
    std::ifstream in(from);
    std::ofstream(file) << in.rdbuf();
  };
  put(other.ca_file());
  const auto directory = Open(config);
  EXPECT_THAT(Text(directory->Find(Of("alice@staff.test"))), HasSubstr("UNAVAILABLE"));
  put(TestSlapd::Pki().ca_file());
  WaitUntil([&] { return directory->Find(Of("alice@staff.test")).ok(); });
}

TEST(LdapDirectory, AServerThatHangsCostsOneTimeout) {
  TestSlapd slapd;
  config::v1::Ldap config = slapd.Config();
  config.set_timeout_seconds(1);
  const auto directory = Open(config);
  // Idle connections of both kinds are there.
  EXPECT_EQ(LogIn(*directory, "alice@staff.test", "alice secret"), "right");
  slapd.Stop();
  const absl::Time began = absl::Now();
  EXPECT_THAT(Text(directory->Find(Of("alice@staff.test"))), HasSubstr("UNAVAILABLE"));
  EXPECT_LT(absl::Now() - began, absl::Seconds(3));
  const absl::Time left = absl::Now();
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(LogIn(*directory, "alice@staff.test", "alice secret"),
                HasSubstr("every LDAP server is away"));
  }
  EXPECT_LT(absl::Now() - left, absl::Milliseconds(500));
  slapd.Continue();
}

// It takes connections and says nothing: libldap alone would wait for ever.
TEST(LdapDirectory, AHandshakeThatHangsEnds) {
  const int listening = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listening, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(listening, 10), 0);
  socklen_t size = sizeof address;
  getsockname(listening, reinterpret_cast<sockaddr*>(&address), &size);
  for (const char* scheme : {"ldaps", "ldap"}) {
    config::v1::Ldap config;
    config.set_name("silent");
    config.add_servers(absl::StrCat(scheme, "://127.0.0.1:", ntohs(address.sin_port)));
    config.set_ca_file(TestSlapd::Pki().ca_file());
    config.set_base_dn("dc=staff,dc=test");
    config.set_timeout_seconds(1);
    const absl::Time began = absl::Now();
    EXPECT_THAT(Text(Open(config)->Find(Of("alice@staff.test"))),
                HasSubstr("finishes no TLS handshake in 1s"));
    EXPECT_LT(absl::Now() - began, absl::Seconds(3));
  }
  close(listening);
}

TEST(LdapDirectory, TheNextServerAnswers) {
  TestSlapd first;
  TestSlapd second;
  config::v1::Ldap config = first.Config();
  config.add_servers(second.url());
  config.set_retry_seconds(1);
  second.Change(
      "dn: uid=alice,ou=people,dc=staff,dc=test\nchangetype: modify\nadd: mail\n"
      "mail: second@staff.test\n");
  const auto directory = Open(config);
  EXPECT_EQ(Text(directory->Find(Of("alice@staff.test"))), "person alice@staff.test");
  first.Kill();
  EXPECT_EQ(Text(directory->Find(Of("alice@staff.test"))),
            "person alice@staff.test second@staff.test");
  EXPECT_EQ(LogIn(*directory, "alice@staff.test", "alice secret"), "right");
  first.Start();
  WaitUntil(
      [&] { return Text(directory->Find(Of("alice@staff.test"))) == "person alice@staff.test"; });
}

TEST(LdapDirectory, AServerThatCameAgainIsAskedAtOnce) {
  TestSlapd slapd;
  const auto directory = Open(slapd.Config());
  EXPECT_EQ(LogIn(*directory, "alice@staff.test", "alice secret"), "right");
  slapd.Kill();
  slapd.Start();
  // The idle connections are gone; that is not the server's fault.
  EXPECT_EQ(LogIn(*directory, "alice@staff.test", "alice secret"), "right");
}

class WatchTest : public testing::Test {
 protected:
  void Learn(LdapDirectory& directory, absl::string_view address) {
    Freshness::Question question(freshness_);
    absl::StatusOr<ExternalEntry> entry = directory.Find(Of(address));
    ASSERT_TRUE(entry.ok()) << entry.status();
    question.Answered(Of(address), entry->id);
  }
  bool IsFresh(absl::string_view address) { return freshness_.IsFresh(Of(address)); }

  // An answer is of no worth unless the server tells of changes.
  Freshness freshness_{process::SystemClock(), absl::ZeroDuration(), 100};
};

TEST_F(WatchTest, ChangesAreTold) {
  TestSlapd slapd;
  const auto directory = Open(slapd.Config());
  Watch watch(*directory, freshness_, absl::Milliseconds(100));
  WaitUntil([&] {
    Learn(*directory, "alice@staff.test");
    return IsFresh("alice@staff.test");
  });
  Learn(*directory, "bob@staff.test");
  Learn(*directory, "team@staff.test");
  Learn(*directory, "new@staff.test");
  // No newcomer, and nobody else.
  slapd.Change("dn: uid=bob,ou=people,dc=staff,dc=test\nchangetype: modify\nreplace: cn\ncn: R\n");
  WaitUntil([&] { return !IsFresh("bob@staff.test"); });
  EXPECT_TRUE(IsFresh("alice@staff.test"));
  EXPECT_TRUE(IsFresh("team@staff.test"));
  slapd.Change("dn: uid=alice,ou=people,dc=staff,dc=test\nchangetype: delete\n");
  WaitUntil([&] { return !IsFresh("alice@staff.test"); });
  Learn(*directory, "new@staff.test");
  slapd.Change(
      "dn: uid=new,ou=people,dc=staff,dc=test\nchangetype: add\nobjectClass: inetOrgPerson\n"
      "cn: N\nsn: N\nmail: new@staff.test\n");
  WaitUntil([&] { return !IsFresh("new@staff.test"); });

  // While it hangs nothing is known, and when it is back it tells again.
  Learn(*directory, "carol@staff.test");
  EXPECT_TRUE(IsFresh("carol@staff.test"));
  slapd.Stop();
  WaitUntil([&] { return !IsFresh("carol@staff.test"); });
  slapd.Continue();
  WaitUntil([&] {
    Freshness::Question question(freshness_);
    absl::StatusOr<ExternalEntry> entry = directory->Find(Of("carol@staff.test"));
    if (entry.ok()) question.Answered(Of("carol@staff.test"), entry->id);
    return IsFresh("carol@staff.test");
  });
}

TEST_F(WatchTest, AServerThatTellsNothingIsLeftAlone) {
  TestSlapd slapd(TestSlapd::Changes::kNotTold);
  const auto directory = Open(slapd.Config());
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  {
    Watch watch(*directory, freshness_, absl::Hours(1));
    // Its thread ends by itself, having said so; the watch that is gone waited for it.
    Learn(*directory, "alice@staff.test");
    EXPECT_FALSE(IsFresh("alice@staff.test"));
  }
  testing::internal::GetCapturedStdout();
  testing::internal::GetCapturedStderr();
}

TEST(LdapConfig, MistakesAreNamed) {
  config::v1::Ldap good;
  good.set_name("staff");
  good.add_domains("staff.test");
  good.add_servers("ldaps://ldap.staff.test");
  good.set_ca_file("/ca.pem");
  good.set_base_dn("dc=staff,dc=test");
  EXPECT_EQ(CheckConfig(good, "ldap[0]"), absl::OkStatus());
  const struct {
    std::function<void(config::v1::Ldap&)> change;
    std::string says;
  } cases[] = {
      {[](auto& c) { c.set_servers(0, "ldap.staff.test"); },
       "ldap[0].servers: \"ldap.staff.test\": expected ldap://HOST, ldaps://HOST"},
      {[](auto& c) { c.set_servers(0, "ldapi:///"); }, "expected ldap://HOST"},
      {[](auto& c) { c.set_servers(0, "ldap://x/dc=y"); }, "base_dn's to say"},
      {[](auto& c) { c.clear_ca_file(); },
       "ldap[0].ca_file: is absent, and ldaps://ldap.staff.test needs TLS"},
      {[](auto& c) {
         c.clear_ca_file();
         c.set_servers(0, "ldap://10.1.2.3");
       },
       "ldap[0].ca_file: is absent, and to ldap://10.1.2.3 passwords would go in clear"},
      {[](auto& c) { c.set_bind_dn("cn=x"); },
       "ldap[0].bind_dn: belongs together with bind_password_file"},
      {[](auto& c) { c.set_preset("opennldap"); },
       "ldap[0].preset: \"opennldap\" is none of openldap, active_directory, freeipa; did you mean "
       "openldap?"},
      {[](auto& c) { c.set_user_filter("(mail=*)"); }, "ldap[0].user_filter: \"(mail=*)\": has"},
      {[](auto& c) { c.set_user_filter("(mail=%s"); },
       "ldap[0].user_filter: \"(mail=%s\": is no LDAP filter"},
      {[](auto& c) { c.set_group_filter("(mail=%x)"); }, "ldap[0].group_filter: \"(mail=%x)\": "},
      {[](auto& c) { c.set_user_dn("uid=x"); }, "ldap[0].user_dn: \"uid=x\": has neither"},
      {[](auto& c) { c.set_domains(0, "staff_test"); }, "ldap[0].domains: "},
  };
  for (const auto& c : cases) {
    config::v1::Ldap config = good;
    c.change(config);
    EXPECT_THAT(CheckConfig(config, "ldap[0]").ToString(), HasSubstr(c.says));
  }
  for (const char* preset : {"openldap", "active_directory", "freeipa"}) {
    good.set_preset(preset);
    EXPECT_EQ(CheckConfig(good, "ldap[0]"), absl::OkStatus()) << preset;
  }
}

}  // namespace
}  // namespace postern::auth::ldap
