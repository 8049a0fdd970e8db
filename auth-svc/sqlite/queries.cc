#include "auth-svc/sqlite/queries.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace postern::auth {
namespace {

using storage::Sqlite;
using storage::Statement;

// A prepared statement with its parameters, reset at the end so that it holds no snapshot.
class Query {
 public:
  Query(Sqlite& database, absl::string_view sql) : statement_(database.Prepare(sql)) {}
  ~Query() {
    if (statement_.ok()) (*statement_)->Reset();
  }
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // In the order of the parameters.
  Query& Text(absl::string_view value) {
    if (statement_.ok()) (*statement_)->BindText(++bound_, value);
    return *this;
  }
  Query& Blob(absl::string_view value) {
    if (statement_.ok()) (*statement_)->BindBlob(++bound_, value);
    return *this;
  }
  Query& Int(int64_t value) {
    if (statement_.ok()) (*statement_)->Bind(++bound_, value);
    return *this;
  }

  absl::Status Run() { return statement_.ok() ? (*statement_)->Run() : statement_.status(); }

  // `read` turns the row into a value.
  template <typename T>
  absl::StatusOr<std::vector<T>> All(T (*read)(const Statement&)) {
    if (!statement_.ok()) return statement_.status();
    std::vector<T> rows;
    while (true) {
      absl::StatusOr<bool> row = (*statement_)->Step();
      if (!row.ok()) return row.status();
      if (!*row) return rows;
      rows.push_back(read(**statement_));
    }
  }
  template <typename T>
  absl::StatusOr<std::optional<T>> First(T (*read)(const Statement&)) {
    if (!statement_.ok()) return statement_.status();
    absl::StatusOr<bool> row = (*statement_)->Step();
    if (!row.ok()) return row.status();
    if (!*row) return std::optional<T>();
    return std::optional<T>(read(**statement_));
  }

 private:
  absl::StatusOr<Statement*> statement_;
  int bound_ = 0;
};

std::string TextAt(const Statement& row, int column) { return std::string(row.Text(column)); }

Domain ReadDomain(const Statement& row) { return Domain{TextAt(row, 0), row.Int(1) != 0}; }

Address ReadAddress(const Statement& row) { return Address{TextAt(row, 1), TextAt(row, 0)}; }

#define POSTERN_ACCOUNT_COLUMNS                                                           \
  "SELECT account.account_id, account.mailbox_id, account.domain, account.local_part, "   \
  "account.password_hash, account.enabled, domain.enabled, account.version FROM account " \
  "JOIN domain ON domain.name = account.domain "

Account ReadAccount(const Statement& row) {
  Account account;
  account.account_id = TextAt(row, 0);
  account.mailbox_id = TextAt(row, 1);
  account.address = Address{TextAt(row, 3), TextAt(row, 2)};
  account.password_hash = TextAt(row, 4);
  account.enabled = row.Int(5) != 0;
  account.domain_enabled = row.Int(6) != 0;
  account.version = row.Int(7);
  return account;
}

AnsweredRequest ReadRequest(const Statement& row) {
  AnsweredRequest request;
  request.request_id = TextAt(row, 0);
  request.fingerprint = TextAt(row, 1);
  request.answer = std::string(row.Blob(2));
  request.answered_at = absl::FromUnixMicros(row.Int(3));
  return request;
}

// Of an UPDATE or DELETE that names one row.
absl::Status NeedOneRow(Sqlite& database, absl::string_view what) {
  if (database.Changes() == 1) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("there is no ", what));
}

}  // namespace

absl::StatusOr<std::optional<Domain>> Queries::FindDomain(absl::string_view name) {
  return Query(database_, "SELECT name, enabled FROM domain WHERE name = ?")
      .Text(name)
      .First(&ReadDomain);
}

absl::StatusOr<std::optional<Domain>> Queries::FindOldestDomain() {
  return Query(database_,
               "SELECT name, enabled FROM domain WHERE enabled = 1 ORDER BY position LIMIT 1")
      .First(&ReadDomain);
}

absl::StatusOr<std::optional<Account>> Queries::FindAccount(const Address& address) {
  return Query(database_,
               POSTERN_ACCOUNT_COLUMNS "WHERE account.domain = ? AND account.local_part = ?")
      .Text(address.domain)
      .Text(address.local_part)
      .First(&ReadAccount);
}

absl::StatusOr<std::optional<Account>> Queries::FindAccountById(absl::string_view account_id) {
  return Query(database_, POSTERN_ACCOUNT_COLUMNS "WHERE account.account_id = ?")
      .Text(account_id)
      .First(&ReadAccount);
}

absl::StatusOr<std::optional<Account>> Queries::FindOldestAccount(absl::string_view domain) {
  if (domain.empty()) {
    return Query(database_, POSTERN_ACCOUNT_COLUMNS
                 "WHERE account.enabled = 1 AND domain.enabled = 1 "
                 "ORDER BY account.position LIMIT 1")
        .First(&ReadAccount);
  }
  return Query(database_, POSTERN_ACCOUNT_COLUMNS
               "WHERE account.domain = ? AND account.enabled = 1 AND domain.enabled = 1 "
               "ORDER BY account.position LIMIT 1")
      .Text(domain)
      .First(&ReadAccount);
}

absl::StatusOr<std::optional<Alias>> Queries::FindAlias(const Address& address) {
  // An alias has at least one target, so its targets tell that it is there.
  absl::StatusOr<std::vector<Address>> targets =
      Query(database_,
            "SELECT target_domain, target_local_part FROM alias_target "
            "WHERE domain = ? AND local_part = ? ORDER BY position")
          .Text(address.domain)
          .Text(address.local_part)
          .All(&ReadAddress);
  if (!targets.ok()) return targets.status();
  if (targets->empty()) return std::optional<Alias>();
  return std::optional<Alias>(Alias{address, *std::move(targets)});
}

absl::StatusOr<std::vector<Address>> Queries::FindAliasesTo(const Address& target, size_t limit) {
  return Query(database_,
               "SELECT domain, local_part FROM alias_target "
               "WHERE target_domain = ? AND target_local_part = ? "
               "ORDER BY domain, local_part LIMIT ?")
      .Text(target.domain)
      .Text(target.local_part)
      .Int(static_cast<int64_t>(limit))
      .All(&ReadAddress);
}

absl::StatusOr<std::optional<Address>> Queries::FindAnyAddress(absl::string_view domain) {
  return Query(database_,
               "SELECT domain, local_part FROM address WHERE domain = ? "
               "ORDER BY local_part LIMIT 1")
      .Text(domain)
      .First(&ReadAddress);
}

absl::StatusOr<std::vector<Domain>> Queries::ListDomains(absl::string_view after, size_t limit) {
  return Query(database_, "SELECT name, enabled FROM domain WHERE name > ? ORDER BY name LIMIT ?")
      .Text(after)
      .Int(static_cast<int64_t>(limit))
      .All(&ReadDomain);
}

absl::StatusOr<std::vector<Account>> Queries::ListAccounts(absl::string_view domain,
                                                           const Address& after, size_t limit) {
  if (domain.empty()) {
    return Query(database_, POSTERN_ACCOUNT_COLUMNS
                 "WHERE (account.domain, account.local_part) > (?, ?) "
                 "ORDER BY account.domain, account.local_part LIMIT ?")
        .Text(after.domain)
        .Text(after.local_part)
        .Int(static_cast<int64_t>(limit))
        .All(&ReadAccount);
  }
  return Query(database_, POSTERN_ACCOUNT_COLUMNS
               "WHERE account.domain = ? AND (account.domain, account.local_part) > (?, ?) "
               "ORDER BY account.domain, account.local_part LIMIT ?")
      .Text(domain)
      .Text(after.domain)
      .Text(after.local_part)
      .Int(static_cast<int64_t>(limit))
      .All(&ReadAccount);
}

absl::StatusOr<std::vector<Alias>> Queries::ListAliases(absl::string_view domain,
                                                        const Address& after, size_t limit) {
  absl::StatusOr<std::vector<Address>> addresses =
      domain.empty()
          ? Query(database_,
                  "SELECT domain, local_part FROM alias WHERE (domain, local_part) > (?, ?) "
                  "ORDER BY domain, local_part LIMIT ?")
                .Text(after.domain)
                .Text(after.local_part)
                .Int(static_cast<int64_t>(limit))
                .All(&ReadAddress)
          : Query(database_,
                  "SELECT domain, local_part FROM alias "
                  "WHERE domain = ? AND (domain, local_part) > (?, ?) "
                  "ORDER BY domain, local_part LIMIT ?")
                .Text(domain)
                .Text(after.domain)
                .Text(after.local_part)
                .Int(static_cast<int64_t>(limit))
                .All(&ReadAddress);
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
  return Query(database_,
               "SELECT request_id, fingerprint, answer, answered_at FROM answered_request "
               "WHERE request_id = ?")
      .Text(request_id)
      .First(&ReadRequest);
}

absl::Status Queries::InsertDomain(const Domain& domain) {
  return Query(database_, "INSERT INTO domain (name, enabled) VALUES (?, ?)")
      .Text(domain.name)
      .Int(domain.enabled)
      .Run();
}

absl::Status Queries::UpdateDomain(const Domain& domain) {
  absl::Status updated = Query(database_, "UPDATE domain SET enabled = ? WHERE name = ?")
                             .Int(domain.enabled)
                             .Text(domain.name)
                             .Run();
  return updated.ok() ? NeedOneRow(database_, absl::StrCat("domain ", domain.name)) : updated;
}

absl::Status Queries::DeleteDomain(absl::string_view name) {
  absl::StatusOr<std::optional<Address>> used = FindAnyAddress(name);
  if (!used.ok()) return used.status();
  if (used->has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("domain ", name, " has addresses"));
  }
  absl::Status deleted = Query(database_, "DELETE FROM domain WHERE name = ?").Text(name).Run();
  return deleted.ok() ? NeedOneRow(database_, absl::StrCat("domain ", name)) : deleted;
}

absl::Status Queries::InsertAddress(const Address& address) {
  absl::StatusOr<std::optional<Domain>> domain = FindDomain(address.domain);
  if (!domain.ok()) return domain.status();
  if (!domain->has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("there is no domain ", address.domain));
  }
  return Query(database_, "INSERT INTO address (domain, local_part) VALUES (?, ?)")
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
  return Query(database_, "DELETE FROM address WHERE domain = ? AND local_part = ?")
      .Text(address.domain)
      .Text(address.local_part)
      .Run();
}

absl::Status Queries::InsertAccount(const Account& account) {
  absl::Status taken = InsertAddress(account.address);
  if (!taken.ok()) return taken;
  return Query(database_,
               "INSERT INTO account (account_id, mailbox_id, domain, local_part, password_hash, "
               "enabled, version) VALUES (?, ?, ?, ?, ?, ?, 1)")
      .Text(account.account_id)
      .Text(account.mailbox_id)
      .Text(account.address.domain)
      .Text(account.address.local_part)
      .Text(account.password_hash)
      .Int(account.enabled)
      .Run();
}

absl::Status Queries::UpdateAccount(const Account& account) {
  absl::Status updated = Query(database_,
                               "UPDATE account SET password_hash = ?, enabled = ?, "
                               "version = version + 1 WHERE account_id = ?")
                             .Text(account.password_hash)
                             .Int(account.enabled)
                             .Text(account.account_id)
                             .Run();
  return updated.ok() ? NeedOneRow(database_, absl::StrCat("account ", account.address.ToString()))
                      : updated;
}

absl::Status Queries::DeleteAccount(const Address& address) {
  absl::Status deleted = Query(database_, "DELETE FROM account WHERE domain = ? AND local_part = ?")
                             .Text(address.domain)
                             .Text(address.local_part)
                             .Run();
  if (!deleted.ok()) return deleted;
  absl::Status one = NeedOneRow(database_, absl::StrCat("account ", address.ToString()));
  return one.ok() ? DeleteAddress(address) : one;
}

absl::Status Queries::InsertTargets(const Alias& alias) {
  if (alias.targets.empty()) return absl::InvalidArgumentError("an alias without targets");
  int64_t position = 0;
  for (const Address& target : alias.targets) {
    absl::StatusOr<std::optional<Address>> taken =
        Query(database_,
              "SELECT domain, local_part FROM address WHERE domain = ? AND local_part = ?")
            .Text(target.domain)
            .Text(target.local_part)
            .First(&ReadAddress);
    if (!taken.ok()) return taken.status();
    if (!taken->has_value()) {
      return absl::FailedPreconditionError(absl::StrCat("there is no ", target.ToString()));
    }
    absl::Status inserted = Query(database_,
                                  "INSERT INTO alias_target (domain, local_part, position, "
                                  "target_domain, target_local_part) VALUES (?, ?, ?, ?, ?)")
                                .Text(alias.address.domain)
                                .Text(alias.address.local_part)
                                .Int(position++)
                                .Text(target.domain)
                                .Text(target.local_part)
                                .Run();
    if (!inserted.ok()) return inserted;
  }
  return absl::OkStatus();
}

absl::Status Queries::DeleteTargets(const Address& alias) {
  return Query(database_, "DELETE FROM alias_target WHERE domain = ? AND local_part = ?")
      .Text(alias.domain)
      .Text(alias.local_part)
      .Run();
}

absl::Status Queries::InsertAlias(const Alias& alias) {
  absl::Status taken = InsertAddress(alias.address);
  if (!taken.ok()) return taken;
  absl::Status inserted = Query(database_, "INSERT INTO alias (domain, local_part) VALUES (?, ?)")
                              .Text(alias.address.domain)
                              .Text(alias.address.local_part)
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
  absl::Status deleted = Query(database_, "DELETE FROM alias WHERE domain = ? AND local_part = ?")
                             .Text(address.domain)
                             .Text(address.local_part)
                             .Run();
  if (!deleted.ok()) return deleted;
  absl::Status one = NeedOneRow(database_, absl::StrCat("alias ", address.ToString()));
  return one.ok() ? DeleteAddress(address) : one;
}

absl::Status Queries::InsertRequest(const AnsweredRequest& request, absl::Time oldest,
                                    size_t max_kept) {
  absl::Status expired = Query(database_, "DELETE FROM answered_request WHERE answered_at < ?")
                             .Int(absl::ToUnixMicros(oldest))
                             .Run();
  if (!expired.ok()) return expired;
  absl::Status inserted = Query(database_,
                                "INSERT INTO answered_request (request_id, fingerprint, answer, "
                                "answered_at) VALUES (?, ?, ?, ?)")
                              .Text(request.request_id)
                              .Text(request.fingerprint)
                              .Blob(request.answer)
                              .Int(absl::ToUnixMicros(request.answered_at))
                              .Run();
  if (!inserted.ok()) return inserted;
  return Query(database_,
               "DELETE FROM answered_request WHERE request_id IN (SELECT request_id FROM "
               "answered_request ORDER BY answered_at DESC LIMIT -1 OFFSET ?)")
      .Int(static_cast<int64_t>(max_kept))
      .Run();
}

}  // namespace postern::auth
