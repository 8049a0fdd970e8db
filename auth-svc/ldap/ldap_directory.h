// People and groups of an LDAP directory, as ExternalDirectory has them.
#ifndef POSTERN_AUTH_SVC_LDAP_LDAP_DIRECTORY_H_
#define POSTERN_AUTH_SVC_LDAP_LDAP_DIRECTORY_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/external_directory.h"
#include "auth-svc/ldap/connection.h"
#include "auth-svc/ldap/servers.h"

namespace postern::config::v1 {
class Ldap;
}  // namespace postern::config::v1

namespace postern::auth::ldap {

// What is in an entry, by the names of its attributes; config::v1::Ldap says what each means.
struct Schema {
  std::string base_dn;
  std::string user_filter;
  // Empty: the password is tried where the filter finds the person.
  std::string user_dn;
  std::string id_attribute;
  std::vector<std::string> address_attributes;
  std::string disabled_attribute;
  std::vector<std::string> disabled_values;
  int64_t disabled_mask = 0;
  std::string password_changed_attribute;
  // Empty: there are no groups.
  std::string group_filter;
  std::string member_attribute;
};

// INVALID_ARGUMENT names the setting, below `key` ("ldap[0]").
absl::Status CheckConfig(const config::v1::Ldap& config, absl::string_view key);
// The settings, and the preset's where there is none. Of a configuration that CheckConfig passed.
Schema SchemaOf(const config::v1::Ldap& config);

// Thread-safe.
class LdapDirectory final : public ExternalDirectory {
 public:
  // Of a configuration that CheckConfig passed. Connects when it is asked.
  static absl::StatusOr<std::unique_ptr<LdapDirectory>> Open(const config::v1::Ldap& config);

  const std::string& name() const override { return name_; }
  // FAILED_PRECONDITION also for an address that two entries have.
  absl::StatusOr<ExternalEntry> Find(const Address& address) override;
  absl::StatusOr<ExternalLogin> LogIn(const Address& address, absl::string_view password) override;

  const Schema& schema() const { return schema_; }
  Servers& servers() { return servers_; }

 private:
  LdapDirectory(const config::v1::Ldap& config, Schema schema, Servers::Options servers);

  Query PersonWith(const Address& address) const;
  absl::StatusOr<std::optional<Entry>> FindOne(Connection& connection, const Query& query,
                                               const Address& address) const;
  absl::StatusOr<ExternalEntry> FindOn(Connection& connection, const Address& address) const;
  absl::StatusOr<ExternalEntry> ToPerson(const Entry& entry) const;
  absl::StatusOr<ExternalEntry> ToGroup(Connection& connection, const Entry& entry) const;
  absl::StatusOr<ExternalLogin> LogInAs(const Address& address, const std::string& password);

  const std::string name_;
  const Schema schema_;
  Servers servers_;
};

}  // namespace postern::auth::ldap

#endif  // POSTERN_AUTH_SVC_LDAP_LDAP_DIRECTORY_H_
