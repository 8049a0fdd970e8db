#include "auth-svc/ldap/testing/test_slapd.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/storage/testing/server_process.h"

namespace postern::auth::ldap {
namespace {

using storage::Check;

constexpr absl::Duration kStartTime = absl::Seconds(60);
constexpr char kAdministrator[] = "cn=admin,dc=staff,dc=test";
constexpr char kAdministratorPassword[] = "of the administrator";

constexpr char kPeople[] = R"(dn: dc=staff,dc=test
objectClass: dcObject
objectClass: organization
o: Staff
dc: staff

dn: ou=people,dc=staff,dc=test
objectClass: organizationalUnit
ou: people

dn: cn=postern,dc=staff,dc=test
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: postern
userPassword: of postern

dn: cn=policy,dc=staff,dc=test
objectClass: device
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 3

dn: uid=alice,ou=people,dc=staff,dc=test
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: alice@staff.test
userPassword: alice secret

dn: uid=bob,ou=people,dc=staff,dc=test
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: bob@staff.test
mail: robert@staff.test
userPassword: bob secret

dn: uid=carol,ou=people,dc=staff,dc=test
objectClass: inetOrgPerson
uid: carol
cn: Carol
sn: C
mail: carol@staff.test
userPassword: carol secret

dn: cn=team,dc=staff,dc=test
objectClass: groupOfNames
objectClass: extensibleObject
cn: team
mail: team@staff.test
member: uid=alice,ou=people,dc=staff,dc=test
member: uid=bob,ou=people,dc=staff,dc=test
member: uid=gone,ou=people,dc=staff,dc=test

)";

int Run(const std::vector<std::string>& arguments, const std::string& log) {
  const pid_t pid = storage::Spawn(arguments, log, "KILL");
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

const identity::TestPki& TestSlapd::Pki() {
  static const identity::TestPki& pki =
      *new identity::TestPki(absl::StrCat(std::getenv("TEST_TMPDIR"), "/slapd-pki-", getpid()));
  return pki;
}

TestSlapd::TestSlapd(Changes changes) {
  std::signal(SIGPIPE, SIG_IGN);
  folder_ = "/tmp/postern-slapd.XXXXXX";
  Check(mkdtemp(folder_.data()) != nullptr, folder_);
  std::filesystem::create_directory(folder_ + "/db");
  const config::v1::MutualTls tls = Pki().Issue("slapd", {.addresses = {"127.0.0.1"}});
  port_ = storage::FreePort();
  ldaps_port_ = storage::FreePort();
  std::ofstream(folder_ + "/password") << "of postern\n";
  std::ofstream conf(folder_ + "/slapd.conf");
  for (const char* schema : {"core", "cosine", "inetorgperson"}) {
    conf << "include /etc/ldap/schema/" << schema << ".schema\n";
  }
  conf << "modulepath /usr/lib/ldap\n";
  for (const char* module : {"back_mdb", "ppolicy", "memberof", "syncprov"}) {
    conf << "moduleload " << module << "\n";
  }
  conf << "TLSCACertificateFile " << Pki().ca_file() << "\nTLSCertificateFile "
       << tls.certificate_file() << "\nTLSCertificateKeyFile " << tls.private_key_file()
       << "\ndatabase mdb\nsuffix dc=staff,dc=test\nrootdn " << kAdministrator << "\nrootpw \""
       << kAdministratorPassword << "\"\ndirectory " << folder_ << "/db\nindex mail,entryUUID eq\n"
       << "access to attrs=userPassword by anonymous auth by * none\n"
       << "access to * by dn.exact=cn=postern,dc=staff,dc=test read by self read by * none\n"
       << "overlay ppolicy\nppolicy_default cn=policy,dc=staff,dc=test\nppolicy_use_lockout\n"
       << "overlay memberof\n";
  if (changes == Changes::kTold) conf << "overlay syncprov\n";
  conf.close();
  const std::string people = folder_ + "/people.ldif";
  std::ofstream(people) << kPeople;
  const std::string log = folder_ + "/log";
  Check(Run({"slapadd", "-q", "-f", folder_ + "/slapd.conf", "-l", people}, log) == 0,
        storage::Contents(log));
  Start();
}

TestSlapd::~TestSlapd() {
  if (pid_ > 0) Kill();
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void TestSlapd::Start() {
  const std::string log = folder_ + "/log";
  pid_ = storage::Spawn({"slapd", "-f", folder_ + "/slapd.conf", "-h",
                         absl::StrCat(url(), " ", ldaps_url()), "-d", "none"},
                        log, "KILL");
  const std::string nothing = folder_ + "/nothing.ldif";
  std::ofstream(nothing).close();
  const absl::Time deadline = absl::Now() + kStartTime;
  while (TryChange(nothing) != 0) {
    Check(absl::Now() < deadline && waitpid(pid_, nullptr, WNOHANG) == 0, storage::Contents(log));
    std::this_thread::yield();
  }
}

void TestSlapd::Kill() {
  Check(pid_ > 0, "not running");
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void TestSlapd::Stop() { storage::Suspend(pid_); }

void TestSlapd::Continue() { kill(pid_, SIGCONT); }

void TestSlapd::Change(absl::string_view ldif) const {
  const std::string file = folder_ + "/change.ldif";
  std::ofstream(file) << std::string(ldif);
  Check(TryChange(file) == 0, storage::Contents(folder_ + "/changes.log"));
}

int TestSlapd::TryChange(const std::string& file) const {
  return Run({"ldapmodify", "-x", "-H", url(), "-D", kAdministrator, "-w", kAdministratorPassword,
              "-f", file},
             folder_ + "/changes.log");
}

std::string TestSlapd::url() const { return absl::StrCat("ldap://127.0.0.1:", port_); }

std::string TestSlapd::ldaps_url() const { return absl::StrCat("ldaps://127.0.0.1:", ldaps_port_); }

config::v1::Ldap TestSlapd::Config() const {
  config::v1::Ldap config;
  config.set_name("staff");
  config.add_domains("staff.test");
  config.add_servers(url());
  config.set_ca_file(Pki().ca_file());
  config.set_bind_dn("cn=postern,dc=staff,dc=test");
  config.set_bind_password_file(folder_ + "/password");
  config.set_base_dn("dc=staff,dc=test");
  return config;
}

}  // namespace postern::auth::ldap
