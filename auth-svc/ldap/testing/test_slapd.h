// A real OpenLDAP server for tests: Debian's, with ppolicy, memberof and syncprov, in a folder of
// its own.
#ifndef POSTERN_AUTH_SVC_LDAP_TESTING_TEST_SLAPD_H_
#define POSTERN_AUTH_SVC_LDAP_TESTING_TEST_SLAPD_H_

#include <sys/types.h>

#include <string>

#include "absl/strings/string_view.h"
#include "proto/postern/config/v1/auth_svc.pb.h"
#include "services/identity/test_pki.h"

namespace postern::auth::ldap {

// Aborts when it can't be started: no test means anything then. Below dc=staff,dc=test: people
// alice, bob and carol (password: their name and " secret"), the group team of alice and bob, and
// cn=postern, who may search. Three wrong passwords lock an account.
class TestSlapd {
 public:
  enum class Changes { kTold, kNotTold };

  explicit TestSlapd(Changes changes = Changes::kTold);
  ~TestSlapd();
  TestSlapd(const TestSlapd&) = delete;
  TestSlapd& operator=(const TestSlapd&) = delete;

  // Waits until it answers.
  void Start();
  void Kill();
  // Its process stays and says nothing.
  void Stop();
  void Continue();

  // By the administrator: LDIF, as ldapmodify takes it.
  void Change(absl::string_view ldif) const;

  std::string url() const;
  std::string ldaps_url() const;
  // How a service is told of it, over STARTTLS.
  config::v1::Ldap Config() const;
  std::string folder() const { return folder_; }
  // What signs the certificates of all of them.
  static const identity::TestPki& Pki();

 private:
  // ldapmodify's exit code.
  int TryChange(const std::string& file) const;

  std::string folder_;
  int port_ = 0;
  int ldaps_port_ = 0;
  pid_t pid_ = -1;
};

}  // namespace postern::auth::ldap

#endif  // POSTERN_AUTH_SVC_LDAP_TESTING_TEST_SLAPD_H_
