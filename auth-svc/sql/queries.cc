#include "auth-svc/sql/queries.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"

namespace postern::auth {
namespace {

using storage::Sql;
using storage::SqlRows;
using storage::SqlValue;

// Answers that are dropped for one that is kept: more than one, so that there are soon no more than
// there should be.
constexpr int64_t kMaxDropped = 100;

// A statement with its parameters.
class Query {
 public:
  Query(Sql& sql, absl::string_view text) : sql_(sql), text_(text) {}

  // In the order of the parameters.
  Query& Text(absl::string_view value) {
    values_.push_back(SqlValue::Text(value));
    return *this;
  }
  Query& Blob(absl::string_view value) {
    values_.push_back(SqlValue::Blob(value));
    return *this;
  }
  Query& Int(int64_t value) {
    values_.push_back(SqlValue::Int(value));
    return *this;
  }

  absl::Status Run() { return Rows().status(); }
  // Of an UPDATE or DELETE that names one row: NOT_FOUND when it changed none.
  absl::Status ChangeOne(absl::string_view what) {
    const absl::StatusOr<std::unique_ptr<SqlRows>> rows = Rows();
    if (!rows.ok()) return rows.status();
    if ((*rows)->changes() == 1) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat("there is no ", what));
  }

  // `read` turns a row into a value.
  template <typename T>
  absl::StatusOr<std::vector<T>> All(T (*read)(const SqlRows&, size_t)) {
    const absl::StatusOr<std::unique_ptr<SqlRows>> rows = Rows();
    if (!rows.ok()) return rows.status();
    std::vector<T> all;
    for (size_t i = 0; i < (*rows)->size(); ++i) all.push_back(read(**rows, i));
    return all;
  }
  template <typename T>
  absl::StatusOr<std::optional<T>> First(T (*read)(const SqlRows&, size_t)) {
    const absl::StatusOr<std::unique_ptr<SqlRows>> rows = Rows();
    if (!rows.ok()) return rows.status();
    if ((*rows)->size() == 0) return std::optional<T>();
    return std::optional<T>(read(**rows, 0));
  }

 private:
  absl::StatusOr<std::unique_ptr<SqlRows>> Rows() { return sql_.Run(text_, values_); }

  Sql& sql_;
  const absl::string_view text_;
  absl::InlinedVector<SqlValue, 8> values_;
};

std::string TextAt(const SqlRows& rows, size_t row, int column) {
  return std::string(rows.Octets(row, column));
}

LoginPolicy PolicyOf(int64_t value) {
  return value == 1 ? LoginPolicy::kNoPasswords : LoginPolicy::kAny;
}
int64_t NumberOf(LoginPolicy policy) { return policy == LoginPolicy::kNoPasswords ? 1 : 0; }

std::string ReadText(const SqlRows& rows, size_t row) { return TextAt(rows, row, 0); }

Domain ReadDomain(const SqlRows& rows, size_t row) {
  return Domain{TextAt(rows, row, 0), rows.Int(row, 1) != 0, PolicyOf(rows.Int(row, 2))};
}

Address ReadAddress(const SqlRows& rows, size_t row) {
  return Address{TextAt(rows, row, 1), TextAt(rows, row, 0)};
}

// An alias's one target or forward, and its origin.
Alias ReadAliasTo(const SqlRows& rows, size_t row) {
  Alias alias;
  alias.origin.source = TextAt(rows, row, 2);
  alias.senders_listed = rows.Int(row, 5) != 0;
  (rows.Int(row, 3) == 0 ? alias.targets : alias.forwards).push_back(ReadAddress(rows, row));
  return alias;
}

#define POSTERN_ACCOUNT_COLUMNS                                                         \
  "SELECT account.account_id, account.mailbox_id, account.domain, account.local_part, " \
  "account.password_hash, account.enabled, domain.enabled, account.version, "           \
  "account.source, account.source_id, account.source_stamp, account.scram_sha_256, "    \
  "domain.login_policy FROM account "                                                   \
  "JOIN domain ON domain.name = account.domain "

Account ReadAccount(const SqlRows& rows, size_t row) {
  Account account;
  account.account_id = TextAt(rows, row, 0);
  account.mailbox_id = TextAt(rows, row, 1);
  account.address = Address{TextAt(rows, row, 3), TextAt(rows, row, 2)};
  account.password_hash = TextAt(rows, row, 4);
  account.enabled = rows.Int(row, 5) != 0;
  account.domain_enabled = rows.Int(row, 6) != 0;
  account.version = rows.Int(row, 7);
  account.origin = {TextAt(rows, row, 8), TextAt(rows, row, 9), TextAt(rows, row, 10)};
  account.scram_sha_256 = TextAt(rows, row, 11);
  account.login_policy = PolicyOf(rows.Int(row, 12));
  return account;
}

// `uses` of app_password.
constexpr int64_t kPop3 = 1;
constexpr int64_t kSubmission = 2;

#define POSTERN_APP_PASSWORD_COLUMNS \
  "SELECT account_id, name, hash, uses, created_at, last_used_at FROM app_password "

AppPassword ReadAppPassword(const SqlRows& rows, size_t row) {
  AppPassword password;
  password.account_id = TextAt(rows, row, 0);
  password.name = TextAt(rows, row, 1);
  password.hash = TextAt(rows, row, 2);
  password.pop3 = (rows.Int(row, 3) & kPop3) != 0;
  password.submission = (rows.Int(row, 3) & kSubmission) != 0;
  password.created_at = absl::FromUnixMicros(rows.Int(row, 4));
  const int64_t used = rows.Int(row, 5);
  password.last_used_at = used == 0 ? absl::InfinitePast() : absl::FromUnixMicros(used);
  return password;
}

// The first local part that may be on a page of `domain` which begins behind `after`; nullopt: none
// may. Compared alone it is where an index leads, which a pair beside `domain = $1` is not: that
// reads all that was on the pages before.
std::optional<std::string> FirstOfPage(absl::string_view domain, const Address& after) {
  if (after.domain < domain) return "";
  if (after.domain > domain) return std::nullopt;
  // Nothing lies between the two: there is no NUL in a text.
  return after.local_part + '\x01';
}

AnsweredRequest ReadRequest(const SqlRows& rows, size_t row) {
  AnsweredRequest request;
  request.request_id = TextAt(rows, row, 0);
  request.fingerprint = TextAt(rows, row, 1);
  request.answer = TextAt(rows, row, 2);
  request.answered_at = absl::FromUnixMicros(rows.Int(row, 3));
  return request;
}

}  // namespace

absl::StatusOr<std::optional<Domain>> Queries::FindDomain(absl::string_view name) {
  return Query(sql_, "SELECT name, enabled, login_policy FROM domain WHERE name = $1")
      .Text(name)
      .First(&ReadDomain);
}

absl::StatusOr<std::optional<Domain>> Queries::FindOldestDomain() {
  return Query(sql_,
               "SELECT name, enabled, login_policy FROM domain WHERE enabled = 1 "
               "ORDER BY position LIMIT 1")
      .First(&ReadDomain);
}

absl::StatusOr<std::optional<Account>> Queries::FindAccount(const Address& address) {
  return Query(sql_,
               POSTERN_ACCOUNT_COLUMNS "WHERE account.domain = $1 AND account.local_part = $2")
      .Text(address.domain)
      .Text(address.local_part)
      .First(&ReadAccount);
}

absl::StatusOr<std::optional<Account>> Queries::FindAccountById(absl::string_view account_id) {
  return Query(sql_, POSTERN_ACCOUNT_COLUMNS "WHERE account.account_id = $1")
      .Text(account_id)
      .First(&ReadAccount);
}

absl::StatusOr<std::optional<Account>> Queries::FindAccountByOrigin(absl::string_view source,
                                                                    absl::string_view id) {
  return Query(sql_, POSTERN_ACCOUNT_COLUMNS
               "WHERE account.source = $1 AND account.source_id = $2 AND account.source <> ''")
      .Text(source)
      .Text(id)
      .First(&ReadAccount);
}

absl::StatusOr<std::optional<Account>> Queries::FindOldestAccount(absl::string_view domain) {
  if (domain.empty()) {
    return Query(sql_, POSTERN_ACCOUNT_COLUMNS
                 "WHERE account.enabled = 1 AND domain.enabled = 1 AND account.source = '' "
                 "ORDER BY account.position LIMIT 1")
        .First(&ReadAccount);
  }
  // A range of one, so that the order is that of one index alone: with an equality PostgreSQL may
  // go through all accounts by age until it meets the domain, which may be the youngest.
  return Query(sql_, POSTERN_ACCOUNT_COLUMNS
               "WHERE account.domain >= $1 AND account.domain <= $1 AND account.enabled = 1 "
               "AND domain.enabled = 1 AND account.source = '' "
               "ORDER BY account.domain, account.position LIMIT 1")
      .Text(domain)
      .First(&ReadAccount);
}

absl::StatusOr<std::optional<Alias>> Queries::FindAlias(const Address& address) {
  // An alias leads somewhere, so where it leads tells that it is there.
  absl::StatusOr<std::vector<Alias>> leads =
      Query(
          sql_,
          "SELECT target_domain, target_local_part, source, 0, position, senders FROM alias_target "
          "JOIN alias USING (domain, local_part) WHERE domain = $1 AND local_part = $2 "
          "UNION ALL "
          "SELECT forward_domain, forward_local_part, source, 1, position, senders FROM "
          "alias_forward "
          "JOIN alias USING (domain, local_part) WHERE domain = $1 AND local_part = $2 "
          "ORDER BY 4, 5")
          .Text(address.domain)
          .Text(address.local_part)
          .All(&ReadAliasTo);
  if (!leads.ok()) return leads.status();
  if (leads->empty()) return std::optional<Alias>();
  Alias alias{address, {}, {}, std::move(leads->front().origin), leads->front().senders_listed};
  for (Alias& one : *leads) {
    std::move(one.targets.begin(), one.targets.end(), std::back_inserter(alias.targets));
    std::move(one.forwards.begin(), one.forwards.end(), std::back_inserter(alias.forwards));
  }
  return std::optional<Alias>(std::move(alias));
}

absl::StatusOr<std::vector<Account>> Queries::ListAliasSenders(const Address& alias) {
  return Query(sql_, POSTERN_ACCOUNT_COLUMNS
               "JOIN alias_sender USING (account_id) "
               "WHERE alias_sender.domain = $1 AND alias_sender.local_part = $2 "
               "ORDER BY account.domain, account.local_part")
      .Text(alias.domain)
      .Text(alias.local_part)
      .All(&ReadAccount);
}

absl::StatusOr<std::vector<Address>> Queries::FindAliasesTo(const Address& target, size_t limit) {
  return Query(sql_,
               "SELECT domain, local_part FROM alias_target "
               "WHERE target_domain = $1 AND target_local_part = $2 "
               "ORDER BY domain, local_part LIMIT $3")
      .Text(target.domain)
      .Text(target.local_part)
      .Int(static_cast<int64_t>(limit))
      .All(&ReadAddress);
}

absl::StatusOr<std::optional<Address>> Queries::FindForwardTo(absl::string_view domain) {
  return Query(sql_,
               "SELECT domain, local_part FROM alias_forward WHERE forward_domain = $1 "
               "ORDER BY domain, local_part LIMIT 1")
      .Text(domain)
      .First(&ReadAddress);
}

absl::StatusOr<std::optional<std::string>> Queries::FindSrsKey() {
  return Query(sql_, "SELECT key FROM srs_key WHERE id = 1").First(&ReadText);
}

absl::StatusOr<std::optional<Address>> Queries::FindAnyAddress(absl::string_view domain) {
  return Query(sql_,
               "SELECT domain, local_part FROM address WHERE domain = $1 "
               "ORDER BY local_part LIMIT 1")
      .Text(domain)
      .First(&ReadAddress);
}

absl::StatusOr<std::optional<AppPassword>> Queries::FindAppPassword(absl::string_view account_id,
                                                                    absl::string_view hash) {
  return Query(sql_, POSTERN_APP_PASSWORD_COLUMNS "WHERE account_id = $1 AND hash = $2")
      .Text(account_id)
      .Text(hash)
      .First(&ReadAppPassword);
}

absl::StatusOr<std::vector<AppPassword>> Queries::ListAppPasswords(absl::string_view account_id) {
  return Query(sql_, POSTERN_APP_PASSWORD_COLUMNS "WHERE account_id = $1 ORDER BY name")
      .Text(account_id)
      .All(&ReadAppPassword);
}

absl::StatusOr<bool> Queries::AnyWithoutScram(absl::string_view domain) {
  absl::StatusOr<std::optional<std::string>> found =
      domain.empty()
          ? Query(sql_, "SELECT name FROM domain WHERE login_policy = 1 LIMIT 1").First(&ReadText)
          : Query(sql_, "SELECT name FROM domain WHERE name = $1 AND login_policy = 1")
                .Text(domain)
                .First(&ReadText);
  if (!found.ok()) return found.status();
  if (found->has_value()) return true;
  found = domain.empty()
              ? Query(sql_, "SELECT account_id FROM account WHERE scram_sha_256 = '' LIMIT 1")
                    .First(&ReadText)
              : Query(sql_,
                      "SELECT account_id FROM account "
                      "WHERE domain = $1 AND scram_sha_256 = '' LIMIT 1")
                    .Text(domain)
                    .First(&ReadText);
  if (!found.ok()) return found.status();
  return found->has_value();
}

absl::StatusOr<std::vector<Domain>> Queries::ListDomains(absl::string_view after, size_t limit) {
  return Query(sql_,
               "SELECT name, enabled, login_policy FROM domain WHERE name > $1 "
               "ORDER BY name LIMIT $2")
      .Text(after)
      .Int(static_cast<int64_t>(limit))
      .All(&ReadDomain);
}

absl::StatusOr<std::vector<Account>> Queries::ListAccounts(absl::string_view domain,
                                                           const Address& after, size_t limit) {
  if (domain.empty()) {
    return Query(sql_, POSTERN_ACCOUNT_COLUMNS
                 "WHERE (account.domain, account.local_part) > ($1, $2) "
                 "ORDER BY account.domain, account.local_part LIMIT $3")
        .Text(after.domain)
        .Text(after.local_part)
        .Int(static_cast<int64_t>(limit))
        .All(&ReadAccount);
  }
  const std::optional<std::string> first = FirstOfPage(domain, after);
  if (!first.has_value()) return std::vector<Account>();
  return Query(sql_, POSTERN_ACCOUNT_COLUMNS
               "WHERE account.domain = $1 AND account.local_part >= $2 "
               "ORDER BY account.local_part LIMIT $3")
      .Text(domain)
      .Text(*first)
      .Int(static_cast<int64_t>(limit))
      .All(&ReadAccount);
}

absl::StatusOr<std::vector<Address>> Queries::ListAliasAddresses(absl::string_view domain,
                                                                 const Address& after,
                                                                 size_t limit) {
  if (domain.empty()) {
    return Query(sql_,
                 "SELECT domain, local_part FROM alias WHERE (domain, local_part) > ($1, $2) "
                 "ORDER BY domain, local_part LIMIT $3")
        .Text(after.domain)
        .Text(after.local_part)
        .Int(static_cast<int64_t>(limit))
        .All(&ReadAddress);
  }
  const std::optional<std::string> first = FirstOfPage(domain, after);
  if (!first.has_value()) return std::vector<Address>();
  return Query(sql_,
               "SELECT domain, local_part FROM alias WHERE domain = $1 AND local_part >= $2 "
               "ORDER BY local_part LIMIT $3")
      .Text(domain)
      .Text(*first)
      .Int(static_cast<int64_t>(limit))
      .All(&ReadAddress);
}

absl::StatusOr<std::vector<Alias>> Queries::ListAliases(absl::string_view domain,
                                                        const Address& after, size_t limit) {
  absl::StatusOr<std::vector<Address>> addresses = ListAliasAddresses(domain, after, limit);
  if (!addresses.ok()) return addresses.status();
  std::vector<Alias> aliases;
  for (const Address& address : *addresses) {
    absl::StatusOr<std::optional<Alias>> alias = FindAlias(address);
    if (!alias.ok()) return alias.status();
    if (alias->has_value()) aliases.push_back(**std::move(alias));
  }
  return aliases;
}

absl::StatusOr<std::optional<AnsweredRequest>> Queries::FindRequest(absl::string_view request_id) {
  return Query(sql_,
               "SELECT request_id, fingerprint, answer, answered_at FROM answered_request "
               "WHERE request_id = $1")
      .Text(request_id)
      .First(&ReadRequest);
}

absl::Status Queries::InsertDomain(const Domain& domain) {
  absl::StatusOr<std::optional<Address>> alias = FindForwardTo(domain.name);
  if (!alias.ok()) return alias.status();
  if (alias->has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("alias ", (*alias)->ToString(),
                                                      " forwards into ", domain.name,
                                                      ": take that forward from it first"));
  }
  return Query(sql_, "INSERT INTO domain (name, enabled, login_policy) VALUES ($1, $2, $3)")
      .Text(domain.name)
      .Int(domain.enabled)
      .Int(NumberOf(domain.login_policy))
      .Run();
}

absl::Status Queries::UpdateDomain(const Domain& domain) {
  return Query(sql_, "UPDATE domain SET enabled = $1, login_policy = $2 WHERE name = $3")
      .Int(domain.enabled)
      .Int(NumberOf(domain.login_policy))
      .Text(domain.name)
      .ChangeOne(absl::StrCat("domain ", domain.name));
}

absl::Status Queries::DeleteDomain(absl::string_view name) {
  absl::StatusOr<std::optional<Address>> used = FindAnyAddress(name);
  if (!used.ok()) return used.status();
  if (used->has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("domain ", name, " has addresses"));
  }
  return Query(sql_, "DELETE FROM domain WHERE name = $1")
      .Text(name)
      .ChangeOne(absl::StrCat("domain ", name));
}

absl::Status Queries::InsertAddress(const Address& address) {
  absl::StatusOr<std::optional<Domain>> domain = FindDomain(address.domain);
  if (!domain.ok()) return domain.status();
  if (!domain->has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("there is no domain ", address.domain));
  }
  return Query(sql_, "INSERT INTO address (domain, local_part) VALUES ($1, $2)")
      .Text(address.domain)
      .Text(address.local_part)
      .Run();
}

absl::Status Queries::DeleteAddress(const Address& address) {
  absl::StatusOr<std::vector<Address>> aliases = FindAliasesTo(address, 1);
  if (!aliases.ok()) return aliases.status();
  if (!aliases->empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(address.ToString(), " is a target of ", aliases->front().ToString()));
  }
  return Query(sql_, "DELETE FROM address WHERE domain = $1 AND local_part = $2")
      .Text(address.domain)
      .Text(address.local_part)
      .Run();
}

absl::Status Queries::InsertAccount(const Account& account) {
  absl::Status taken = InsertAddress(account.address);
  if (!taken.ok()) return taken;
  return Query(sql_,
               "INSERT INTO account (account_id, mailbox_id, domain, local_part, password_hash, "
               "enabled, source, source_id, source_stamp, scram_sha_256, version) "
               "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1)")
      .Text(account.account_id)
      .Text(account.mailbox_id)
      .Text(account.address.domain)
      .Text(account.address.local_part)
      .Text(account.password_hash)
      .Int(account.enabled)
      .Text(account.origin.source)
      .Text(account.origin.id)
      .Text(account.origin.stamp)
      .Text(account.scram_sha_256)
      .Run();
}

absl::Status Queries::DeleteBelongings(const Address& account, absl::string_view kept_id) {
  absl::Status deleted;
  for (const absl::string_view statement :
       {"DELETE FROM app_password WHERE account_id <> $1 AND account_id IN "
        "(SELECT account_id FROM account WHERE domain = $2 AND local_part = $3)",
        "DELETE FROM alias_sender WHERE account_id <> $1 AND account_id IN "
        "(SELECT account_id FROM account WHERE domain = $2 AND local_part = $3)"}) {
    if (!deleted.ok()) break;
    deleted =
        Query(sql_, statement).Text(kept_id).Text(account.domain).Text(account.local_part).Run();
  }
  return deleted;
}

absl::Status Queries::UpdateAccount(const Account& account) {
  absl::Status deleted = DeleteBelongings(account.address, account.account_id);
  if (!deleted.ok()) return deleted;
  return Query(sql_,
               "UPDATE account SET account_id = $1, mailbox_id = $2, password_hash = $3, "
               "enabled = $4, source = $5, source_id = $6, source_stamp = $7, "
               "scram_sha_256 = $8, version = version + 1 WHERE domain = $9 AND local_part = $10")
      .Text(account.account_id)
      .Text(account.mailbox_id)
      .Text(account.password_hash)
      .Int(account.enabled)
      .Text(account.origin.source)
      .Text(account.origin.id)
      .Text(account.origin.stamp)
      .Text(account.scram_sha_256)
      .Text(account.address.domain)
      .Text(account.address.local_part)
      .ChangeOne(absl::StrCat("account ", account.address.ToString()));
}

absl::Status Queries::MoveAccount(const Address& from, const Address& to) {
  absl::Status taken = InsertAddress(to);
  if (!taken.ok()) return taken;
  absl::Status moved = Query(sql_,
                             "UPDATE account SET domain = $1, local_part = $2, "
                             "version = version + 1 WHERE domain = $3 AND local_part = $4")
                           .Text(to.domain)
                           .Text(to.local_part)
                           .Text(from.domain)
                           .Text(from.local_part)
                           .ChangeOne(absl::StrCat("account ", from.ToString()));
  if (!moved.ok()) return moved;
  absl::Status followed =
      Query(sql_,
            "UPDATE alias_target SET target_domain = $1, target_local_part = $2 "
            "WHERE target_domain = $3 AND target_local_part = $4")
          .Text(to.domain)
          .Text(to.local_part)
          .Text(from.domain)
          .Text(from.local_part)
          .Run();
  return followed.ok() ? DeleteAddress(from) : followed;
}

absl::Status Queries::DeleteAccount(const Address& address) {
  absl::Status deleted = Query(sql_, "DELETE FROM account WHERE domain = $1 AND local_part = $2")
                             .Text(address.domain)
                             .Text(address.local_part)
                             .ChangeOne(absl::StrCat("account ", address.ToString()));
  return deleted.ok() ? DeleteAddress(address) : deleted;
}

absl::Status Queries::InsertTargets(const Alias& alias) {
  if (alias.targets.empty() && alias.forwards.empty()) {
    return absl::InvalidArgumentError("an alias without targets and forwards");
  }
  int64_t position = 0;
  for (const Address& target : alias.targets) {
    absl::StatusOr<std::optional<Address>> taken =
        Query(sql_, "SELECT domain, local_part FROM address WHERE domain = $1 AND local_part = $2")
            .Text(target.domain)
            .Text(target.local_part)
            .First(&ReadAddress);
    if (!taken.ok()) return taken.status();
    if (!taken->has_value()) {
      return absl::FailedPreconditionError(absl::StrCat("there is no ", target.ToString()));
    }
    absl::Status inserted = Query(sql_,
                                  "INSERT INTO alias_target (domain, local_part, position, "
                                  "target_domain, target_local_part) VALUES ($1, $2, $3, $4, $5)")
                                .Text(alias.address.domain)
                                .Text(alias.address.local_part)
                                .Int(position++)
                                .Text(target.domain)
                                .Text(target.local_part)
                                .Run();
    if (!inserted.ok()) return inserted;
  }
  return InsertForwards(alias);
}

absl::Status Queries::InsertForwards(const Alias& alias) {
  int64_t position = 0;
  for (const Address& forward : alias.forwards) {
    absl::StatusOr<std::optional<Domain>> domain = FindDomain(forward.domain);
    if (!domain.ok()) return domain.status();
    if (domain->has_value()) {
      return absl::FailedPreconditionError(
          absl::StrCat(forward.ToString(), " is in a domain of ours"));
    }
    absl::Status inserted = Query(sql_,
                                  "INSERT INTO alias_forward (domain, local_part, position, "
                                  "forward_domain, forward_local_part) VALUES ($1, $2, $3, $4, $5)")
                                .Text(alias.address.domain)
                                .Text(alias.address.local_part)
                                .Int(position++)
                                .Text(forward.domain)
                                .Text(forward.local_part)
                                .Run();
    if (!inserted.ok()) return inserted;
  }
  return absl::OkStatus();
}

absl::Status Queries::DeleteTargets(const Address& alias) {
  absl::Status deleted =
      Query(sql_, "DELETE FROM alias_target WHERE domain = $1 AND local_part = $2")
          .Text(alias.domain)
          .Text(alias.local_part)
          .Run();
  if (!deleted.ok()) return deleted;
  return Query(sql_, "DELETE FROM alias_forward WHERE domain = $1 AND local_part = $2")
      .Text(alias.domain)
      .Text(alias.local_part)
      .Run();
}

absl::Status Queries::InsertAlias(const Alias& alias) {
  absl::Status taken = InsertAddress(alias.address);
  if (!taken.ok()) return taken;
  absl::Status inserted =
      Query(sql_, "INSERT INTO alias (domain, local_part, source) VALUES ($1, $2, $3)")
          .Text(alias.address.domain)
          .Text(alias.address.local_part)
          .Text(alias.origin.source)
          .Run();
  return inserted.ok() ? InsertTargets(alias) : inserted;
}

absl::Status Queries::UpdateAlias(const Alias& alias) {
  absl::StatusOr<std::optional<Alias>> present = FindAlias(alias.address);
  if (!present.ok()) return present.status();
  if (!present->has_value()) {
    return absl::NotFoundError(absl::StrCat("there is no alias ", alias.address.ToString()));
  }
  absl::Status deleted = DeleteTargets(alias.address);
  return deleted.ok() ? InsertTargets(alias) : deleted;
}

absl::Status Queries::DeleteAlias(const Address& address) {
  absl::Status untargeted = DeleteTargets(address);
  if (!untargeted.ok()) return untargeted;
  absl::Status deleted = Query(sql_, "DELETE FROM alias WHERE domain = $1 AND local_part = $2")
                             .Text(address.domain)
                             .Text(address.local_part)
                             .ChangeOne(absl::StrCat("alias ", address.ToString()));
  return deleted.ok() ? DeleteAddress(address) : deleted;
}

absl::Status Queries::SetAliasSenders(const Address& alias, bool listed,
                                      absl::Span<const std::string> account_ids) {
  absl::Status done =
      Query(sql_, "UPDATE alias SET senders = $1 WHERE domain = $2 AND local_part = $3")
          .Int(listed)
          .Text(alias.domain)
          .Text(alias.local_part)
          .ChangeOne(absl::StrCat("alias ", alias.ToString()));
  if (!done.ok()) return done;
  done = Query(sql_, "DELETE FROM alias_sender WHERE domain = $1 AND local_part = $2")
             .Text(alias.domain)
             .Text(alias.local_part)
             .Run();
  for (const std::string& account_id : account_ids) {
    if (!done.ok()) return done;
    done =
        Query(sql_, "INSERT INTO alias_sender (domain, local_part, account_id) VALUES ($1, $2, $3)")
            .Text(alias.domain)
            .Text(alias.local_part)
            .Text(account_id)
            .Run();
  }
  return done;
}

absl::Status Queries::InsertSrsKey(absl::string_view key) {
  return Query(sql_, "INSERT INTO srs_key (id, key) VALUES (1, $1) ON CONFLICT (id) DO NOTHING")
      .Text(key)
      .Run();
}

absl::Status Queries::InsertAppPassword(const AppPassword& password) {
  return Query(sql_,
               "INSERT INTO app_password (account_id, name, hash, uses, created_at, last_used_at) "
               "VALUES ($1, $2, $3, $4, $5, $6)")
      .Text(password.account_id)
      .Text(password.name)
      .Text(password.hash)
      .Int((password.pop3 ? kPop3 : 0) | (password.submission ? kSubmission : 0))
      .Int(absl::ToUnixMicros(password.created_at))
      .Int(password.last_used_at == absl::InfinitePast()
               ? 0
               : absl::ToUnixMicros(password.last_used_at))
      .Run();
}

absl::Status Queries::DeleteAppPassword(absl::string_view account_id, absl::string_view name) {
  return Query(sql_, "DELETE FROM app_password WHERE account_id = $1 AND name = $2")
      .Text(account_id)
      .Text(name)
      .ChangeOne(absl::StrCat("application password \"", name, "\""));
}

absl::Status Queries::UseAppPassword(const AppPassword& password, absl::Time at) {
  return Query(sql_,
               "UPDATE app_password SET last_used_at = $1 "
               "WHERE account_id = $2 AND hash = $3 AND last_used_at < $4")
      .Int(absl::ToUnixMicros(at))
      .Text(password.account_id)
      .Text(password.hash)
      .Int(absl::ToUnixMicros(at))
      .Run();
}

absl::Status Queries::InsertRequest(const AnsweredRequest& request, absl::Time oldest,
                                    size_t max_kept) {
  absl::Status expired = Query(sql_, "DELETE FROM answered_request WHERE answered_at < $1")
                             .Int(absl::ToUnixMicros(oldest))
                             .Run();
  if (!expired.ok()) return expired;
  absl::Status inserted = Query(sql_,
                                "INSERT INTO answered_request (request_id, fingerprint, answer, "
                                "answered_at) VALUES ($1, $2, $3, $4)")
                              .Text(request.request_id)
                              .Text(request.fingerprint)
                              .Blob(request.answer)
                              .Int(absl::ToUnixMicros(request.answered_at))
                              .Run();
  if (!inserted.ok()) return inserted;
  return Query(sql_,
               "DELETE FROM answered_request WHERE request_id IN (SELECT request_id FROM "
               "answered_request ORDER BY answered_at DESC LIMIT $1 OFFSET $2)")
      .Int(kMaxDropped)
      .Int(static_cast<int64_t>(max_kept))
      .Run();
}

}  // namespace postern::auth
