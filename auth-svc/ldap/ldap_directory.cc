#include "auth-svc/ldap/ldap_directory.h"

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "auth-svc/domain/password.h"
#include "auth-svc/ldap/filter.h"
#include "proto/postern/config/v1/auth_svc.pb.h"
#include "services/config/small_file.h"
#include "services/text/nearest.h"

namespace postern::auth::ldap {
namespace {

constexpr size_t kMaxPasswordFileOctets = 4096;
// Two are one too many.
constexpr int kOneAndOneMore = 2;
constexpr char kAnything[] = "(objectClass=*)";
constexpr char kModified[] = "modifyTimestamp";

struct Preset {
  const char* name;
  const char* user_filter;
  const char* id_attribute;
  std::vector<std::string> address_attributes;
  const char* disabled_attribute;
  std::vector<std::string> disabled_values;
  int64_t disabled_mask;
  const char* password_changed_attribute;
  const char* group_filter;
  const char* member_attribute;
};

const std::vector<Preset>& Presets() {
  static const auto* const presets = new std::vector<Preset>{
      {"openldap",
       "(&(objectClass=inetOrgPerson)(mail=%s))",
       "entryUUID",
       {"mail"},
       // ppolicy: locked by an administrator, for ever.
       "pwdAccountLockedTime",
       {"000001010000Z"},
       0,
       "pwdChangedTime",
       "(&(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))(mail=%s))",
       "member"},
      {"active_directory",
       "(&(objectCategory=person)(objectClass=user)(|(mail=%s)(proxyAddresses=smtp:%s)))",
       "objectGUID",
       {"mail", "proxyAddresses"},
       "userAccountControl",
       {},
       // ACCOUNTDISABLE
       2,
       "pwdLastSet",
       "(&(objectClass=group)(|(mail=%s)(proxyAddresses=smtp:%s)))",
       "member"},
      {"freeipa",
       "(&(objectClass=person)(|(mail=%s)(mailAlternateAddress=%s)))",
       "ipaUniqueID",
       {"mail", "mailAlternateAddress"},
       "nsAccountLock",
       {"true"},
       0,
       "krbLastPwdChange",
       "(&(objectClass=ipaUserGroup)(mail=%s))",
       "member"},
  };
  return *presets;
}

const Preset* FindPreset(absl::string_view name) {
  for (const Preset& preset : Presets()) {
    if (name == preset.name) return &preset;
  }
  return nullptr;
}

// An id or stamp as text, whatever the server keeps in it (objectGUID is 16 octets).
std::string AsText(const std::string& value) {
  const bool printable = std::all_of(value.begin(), value.end(),
                                     [](unsigned char c) { return absl::ascii_isgraph(c); });
  return printable ? value : absl::BytesToHexString(value);
}

// Of "SMTP:alice@example.org" and the like; nullopt: not an address of mail.
struct MailValue {
  absl::string_view text;
  bool is_primary = false;
};
std::optional<MailValue> ReadMailValue(absl::string_view value) {
  const size_t colon = value.find(':');
  if (colon == absl::string_view::npos || colon > value.find('@')) return MailValue{value, false};
  const absl::string_view prefix = value.substr(0, colon);
  if (!absl::EqualsIgnoreCase(prefix, "smtp")) return std::nullopt;
  return MailValue{value.substr(colon + 1), prefix == "SMTP"};
}

std::vector<Address> ReadAddresses(const Entry& entry, const std::vector<std::string>& attributes) {
  std::vector<Address> addresses;
  absl::flat_hash_set<Address> seen;
  std::optional<Address> primary;
  for (const std::string& attribute : attributes) {
    for (const std::string& value : entry.Values(attribute)) {
      const std::optional<MailValue> mail = ReadMailValue(value);
      if (!mail.has_value()) continue;
      absl::StatusOr<Address> address = CanonicalAddress(mail->text);
      if (!address.ok()) continue;
      if (mail->is_primary) primary = *address;
      if (seen.insert(*address).second) addresses.push_back(*std::move(address));
    }
  }
  if (primary.has_value()) {
    const auto found = std::find(addresses.begin(), addresses.end(), *primary);
    std::rotate(addresses.begin(), found, found + 1);
  }
  return addresses;
}

absl::Status BindAs(Connection& connection, const std::string& dn, const std::string& password,
                    ExternalLogin* login) {
  absl::StatusOr<BindResult> bound = connection.Bind(dn, password);
  if (!bound.ok()) return bound.status();
  login->right = bound->right;
  login->detail = std::move(bound->detail);
  return absl::OkStatus();
}

absl::Status Named(absl::string_view key, absl::string_view setting, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(key, ".", setting, ": ", why));
}

}  // namespace

absl::Status CheckConfig(const config::v1::Ldap& config, absl::string_view key) {
  for (const std::string& url : config.servers()) {
    absl::StatusOr<ServerAddress> server = ParseServer(url);
    if (!server.ok()) return Named(key, "servers", server.status().message());
    if (!config.ca_file().empty()) continue;
    if (server->ldaps) {
      return Named(key, "ca_file", absl::StrCat("is absent, and ", url, " needs TLS"));
    }
    if (!server->IsLoopback()) {
      return Named(key, "ca_file",
                   absl::StrCat("is absent, and to ", url, " passwords would go in clear"));
    }
  }
  if (config.bind_dn().empty() != config.bind_password_file().empty()) {
    return Named(key, "bind_dn", "belongs together with bind_password_file");
  }
  const Preset* const preset = FindPreset(config.preset());
  if (preset == nullptr) {
    std::vector<std::string> names;
    for (const Preset& known : Presets()) names.push_back(known.name);
    const std::string nearest = text::Nearest(config.preset(), names);
    return Named(
        key, "preset",
        absl::StrCat("\"", config.preset(), "\" is none of ", absl::StrJoin(names, ", "),
                     nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?")));
  }
  const Schema schema = SchemaOf(config);
  struct Pattern {
    const char* setting;
    const std::string* text;
    bool may_be_empty;
    bool is_filter;
  };
  const Pattern patterns[] = {{"user_filter", &schema.user_filter, false, true},
                              {"group_filter", &schema.group_filter, true, true},
                              {"user_dn", &schema.user_dn, true, false}};
  for (const Pattern& pattern : patterns) {
    if (pattern.text->empty() && pattern.may_be_empty) continue;
    absl::Status checked = CheckPattern(*pattern.text);
    if (!checked.ok()) return Named(key, pattern.setting, checked.message());
    if (!pattern.is_filter) continue;
    checked = CheckFilter(*pattern.text);
    if (!checked.ok()) return Named(key, pattern.setting, checked.message());
  }
  for (const std::string& domain : config.domains()) {
    absl::StatusOr<std::string> canonical = CanonicalDomain(domain);
    if (!canonical.ok()) return Named(key, "domains", canonical.status().message());
  }
  return absl::OkStatus();
}

Schema SchemaOf(const config::v1::Ldap& config) {
  const Preset& preset = *FindPreset(config.preset());
  auto chosen = [](bool given, const std::string& value, const char* otherwise) {
    return given ? value : std::string(otherwise);
  };
  Schema schema;
  schema.base_dn = config.base_dn();
  schema.user_filter = chosen(config.has_user_filter(), config.user_filter(), preset.user_filter);
  schema.user_dn = config.user_dn();
  schema.id_attribute =
      chosen(config.has_id_attribute(), config.id_attribute(), preset.id_attribute);
  schema.address_attributes = {config.address_attributes().begin(),
                               config.address_attributes().end()};
  if (schema.address_attributes.empty()) schema.address_attributes = preset.address_attributes;
  schema.disabled_attribute = chosen(config.has_disabled_attribute(), config.disabled_attribute(),
                                     preset.disabled_attribute);
  if (config.has_disabled_attribute()) {
    schema.disabled_values = {config.disabled_values().begin(), config.disabled_values().end()};
    schema.disabled_mask = config.disabled_mask();
  } else {
    schema.disabled_values = preset.disabled_values;
    schema.disabled_mask = preset.disabled_mask;
  }
  schema.password_changed_attribute =
      chosen(config.has_password_changed_attribute(), config.password_changed_attribute(),
             preset.password_changed_attribute);
  schema.group_filter =
      chosen(config.has_group_filter(), config.group_filter(), preset.group_filter);
  schema.member_attribute =
      chosen(config.has_member_attribute(), config.member_attribute(), preset.member_attribute);
  return schema;
}

absl::StatusOr<std::unique_ptr<LdapDirectory>> LdapDirectory::Open(const config::v1::Ldap& config) {
  Servers::Options servers;
  for (const std::string& url : config.servers()) {
    absl::StatusOr<ServerAddress> server = ParseServer(url);
    if (!server.ok()) return server.status();
    servers.addresses.push_back(*std::move(server));
  }
  servers.ca_file = config.ca_file();
  servers.bind_dn = config.bind_dn();
  if (!config.bind_password_file().empty()) {
    auto password = config::ReloadedFile<std::string>::Open(
        config.bind_password_file(), [](absl::string_view file) -> absl::StatusOr<std::string> {
          absl::StatusOr<std::string> text = config::ReadSmallFile(file, kMaxPasswordFileOctets);
          if (!text.ok()) return text;
          absl::StripTrailingAsciiWhitespace(&*text);
          if (text->empty()) return absl::InvalidArgumentError(absl::StrCat(file, ": is empty"));
          return text;
        });
    if (!password.ok()) return password.status();
    servers.bind_password = *std::move(password);
  }
  servers.timeout = absl::Seconds(config.timeout_seconds());
  servers.retry = absl::Seconds(config.retry_seconds());
  servers.max_idle = static_cast<size_t>(config.max_connections());
  return std::unique_ptr<LdapDirectory>(
      new LdapDirectory(config, SchemaOf(config), std::move(servers)));
}

LdapDirectory::LdapDirectory(const config::v1::Ldap& config, Schema schema,
                             Servers::Options servers)
    : name_(config.name()), schema_(std::move(schema)), servers_(std::move(servers)) {}

absl::StatusOr<ExternalEntry> LdapDirectory::Find(const Address& address) {
  absl::StatusOr<ExternalEntry> found = absl::InternalError("not asked");
  const absl::Status status = servers_.Search([&](Connection& connection) {
    found = FindOn(connection, address);
    return found.status();
  });
  if (!status.ok()) return status;
  return found;
}

absl::StatusOr<std::optional<Entry>> LdapDirectory::FindOne(Connection& connection,
                                                            const Query& query,
                                                            const Address& address) const {
  absl::StatusOr<std::vector<Entry>> entries = connection.Search(query, kOneAndOneMore);
  if (absl::IsNotFound(entries.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat("base_dn is not there, or is not to be seen: ", entries.status().message()));
  }
  const bool too_many =
      absl::IsOutOfRange(entries.status()) || (entries.ok() && entries->size() > 1);
  if (too_many) {
    return absl::FailedPreconditionError(absl::StrCat(
        "more than one entry has the address ", address.ToString(),
        entries.ok() ? absl::StrCat(": ", (*entries)[0].dn, " and ", (*entries)[1].dn) : ""));
  }
  if (!entries.ok()) return entries.status();
  if (entries->empty()) return std::nullopt;
  return std::move(entries->front());
}

Query LdapDirectory::PersonWith(const Address& address) const {
  Query query{schema_.base_dn,
              /*base_only=*/false,
              Expand(schema_.user_filter, address, &EscapeFilterValue),
              {schema_.id_attribute, schema_.disabled_attribute, schema_.password_changed_attribute,
               kModified}};
  query.attributes.insert(query.attributes.end(), schema_.address_attributes.begin(),
                          schema_.address_attributes.end());
  std::erase(query.attributes, "");
  return query;
}

absl::StatusOr<ExternalEntry> LdapDirectory::FindOn(Connection& connection,
                                                    const Address& address) const {
  absl::StatusOr<std::optional<Entry>> person = FindOne(connection, PersonWith(address), address);
  if (!person.ok()) return person.status();
  if (person->has_value()) return ToPerson(**person);
  if (schema_.group_filter.empty()) return ExternalEntry{};
  const Query groups{schema_.base_dn,
                     false,
                     Expand(schema_.group_filter, address, &EscapeFilterValue),
                     {schema_.id_attribute, schema_.member_attribute}};
  absl::StatusOr<std::optional<Entry>> group = FindOne(connection, groups, address);
  if (!group.ok()) return group.status();
  if (group->has_value()) return ToGroup(connection, **group);
  return ExternalEntry{};
}

absl::StatusOr<ExternalEntry> LdapDirectory::ToPerson(const Entry& entry) const {
  ExternalEntry person;
  person.kind = ExternalEntry::Kind::kPerson;
  person.place = entry.dn;
  const std::vector<std::string>& ids = entry.Values(schema_.id_attribute);
  if (ids.size() != 1) {
    return absl::FailedPreconditionError(
        absl::StrCat(entry.dn, " has ", ids.empty() ? "no value" : "several values", " of ",
                     schema_.id_attribute, " (id_attribute) that we may read"));
  }
  person.id = AsText(ids.front());
  person.addresses = ReadAddresses(entry, schema_.address_attributes);
  if (person.addresses.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        entry.dn, " has no address in ", absl::StrJoin(schema_.address_attributes, ", "),
        " (address_attributes) that we may read"));
  }
  for (const std::string& value : entry.Values(schema_.disabled_attribute)) {
    int64_t number = 0;
    if ((absl::SimpleAtoi(value, &number) && (number & schema_.disabled_mask) != 0) ||
        std::any_of(schema_.disabled_values.begin(), schema_.disabled_values.end(),
                    [&](const std::string& v) { return absl::EqualsIgnoreCase(v, value); })) {
      person.enabled = false;
    }
  }
  for (const std::string& attribute :
       {schema_.password_changed_attribute, std::string(kModified)}) {
    const std::vector<std::string>& stamps = entry.Values(attribute);
    if (stamps.empty()) continue;
    // Named: one may have the other's value.
    person.stamp = absl::StrCat(attribute, "=", AsText(stamps.front()));
    break;
  }
  return person;
}

absl::StatusOr<ExternalEntry> LdapDirectory::ToGroup(Connection& connection,
                                                     const Entry& entry) const {
  ExternalEntry group;
  group.kind = ExternalEntry::Kind::kGroup;
  group.place = entry.dn;
  const std::vector<std::string>& ids = entry.Values(schema_.id_attribute);
  if (!ids.empty()) group.id = AsText(ids.front());
  absl::flat_hash_set<Address> seen;
  for (const std::string& member : entry.Values(schema_.member_attribute)) {
    std::vector<Address> addresses;
    if (absl::StatusOr<Address> address = CanonicalAddress(member); address.ok()) {
      addresses.push_back(*std::move(address));
    } else {
      absl::StatusOr<std::vector<Entry>> found = connection.Search(
          {member, /*base_only=*/true, kAnything, schema_.address_attributes}, /*limit=*/1);
      // Who is gone, or is no entry at all, gets no mail.
      if (absl::IsNotFound(found.status()) || absl::IsFailedPrecondition(found.status())) continue;
      if (!found.ok()) return found.status();
      for (const Entry& e : *found) addresses = ReadAddresses(e, schema_.address_attributes);
      if (addresses.size() > 1) addresses.resize(1);
    }
    for (Address& address : addresses) {
      if (seen.insert(address).second) group.members.push_back(std::move(address));
    }
  }
  return group;
}

absl::StatusOr<ExternalLogin> LdapDirectory::LogIn(const Address& address,
                                                   absl::string_view password) {
  // An LDAP server takes an empty password for nobody's, and says that it is right (RFC 4513
  // 5.1.2); NUL would end it early on the way.
  if (password.empty() || password.find('\0') != absl::string_view::npos) {
    absl::StatusOr<ExternalEntry> entry = Find(address);
    if (!entry.ok()) return entry.status();
    return ExternalLogin{*std::move(entry), false, "a password that cannot be"};
  }
  std::string secret(password);
  const absl::Cleanup wipe = [&secret] { Wipe(&secret); };
  if (!schema_.user_dn.empty()) return LogInAs(address, secret);
  absl::StatusOr<ExternalEntry> entry = Find(address);
  if (!entry.ok()) return entry.status();
  ExternalLogin login{*std::move(entry), false, ""};
  if (login.entry->kind != ExternalEntry::Kind::kPerson) {
    login.detail = "no such person";
    return login;
  }
  const absl::Status status = servers_.TryPassword([&](Connection& connection) {
    return BindAs(connection, login.entry->place, secret, &login);
  });
  if (!status.ok()) return status;
  return login;
}

absl::StatusOr<ExternalLogin> LdapDirectory::LogInAs(const Address& address,
                                                     const std::string& password) {
  ExternalLogin login;
  const std::string dn = Expand(schema_.user_dn, address, &EscapeDnValue);
  const absl::Status status = servers_.TryPassword([&](Connection& connection) {
    const absl::Status bound = BindAs(connection, dn, password, &login);
    if (!bound.ok() || !login.right) return bound;
    // Whose password it is must be who has the address.
    Query query = PersonWith(address);
    query.base = dn;
    query.base_only = true;
    absl::StatusOr<std::optional<Entry>> entry = FindOne(connection, query, address);
    if (!entry.ok()) return entry.status();
    if (!entry->has_value()) {
      return absl::FailedPreconditionError(absl::StrCat(
          dn, " (user_dn) was let in, but user_filter says that ", query.filter, " is not there"));
    }
    absl::StatusOr<ExternalEntry> person = ToPerson(**entry);
    if (!person.ok()) return person.status();
    login.entry = *std::move(person);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return login;
}

}  // namespace postern::auth::ldap
