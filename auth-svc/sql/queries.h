// The directory's SQL, whichever database it is, on one connection inside one transaction.
#ifndef POSTERN_AUTH_SVC_SQL_QUERIES_H_
#define POSTERN_AUTH_SVC_SQL_QUERIES_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "auth-svc/domain/directory.h"
#include "services/storage/sql/sql.h"

namespace postern::auth {

// Reads and writes; a Directory hands it out as a reader alone inside Read. One thread.
class Queries final : public DirectoryWriter {
 public:
  // `sql` must outlive it.
  explicit Queries(storage::Sql& sql) : sql_(sql) {}

  absl::StatusOr<std::optional<Domain>> FindDomain(absl::string_view name) override;
  absl::StatusOr<std::optional<Domain>> FindOldestDomain() override;
  absl::StatusOr<std::optional<Account>> FindAccount(const Address& address) override;
  absl::StatusOr<std::optional<Account>> FindAccountById(absl::string_view account_id) override;
  absl::StatusOr<std::optional<Account>> FindAccountByOrigin(absl::string_view source,
                                                             absl::string_view id) override;
  absl::StatusOr<std::optional<Account>> FindOldestAccount(absl::string_view domain) override;
  absl::StatusOr<std::optional<Alias>> FindAlias(const Address& address) override;
  absl::StatusOr<std::vector<Account>> ListAliasSenders(const Address& alias) override;
  absl::StatusOr<std::vector<Address>> FindAliasesTo(const Address& target, size_t limit) override;
  absl::StatusOr<std::optional<Address>> FindForwardTo(absl::string_view domain) override;
  absl::StatusOr<std::optional<std::string>> FindSrsKey() override;
  absl::StatusOr<std::optional<Address>> FindAnyAddress(absl::string_view domain) override;
  absl::StatusOr<std::optional<AppPassword>> FindAppPassword(absl::string_view account_id,
                                                             absl::string_view hash) override;
  absl::StatusOr<std::vector<AppPassword>> ListAppPasswords(absl::string_view account_id) override;
  absl::StatusOr<bool> AnyWithoutScram(absl::string_view domain) override;
  absl::StatusOr<std::vector<Domain>> ListDomains(absl::string_view after, size_t limit) override;
  absl::StatusOr<std::vector<Account>> ListAccounts(absl::string_view domain, const Address& after,
                                                    size_t limit) override;
  absl::StatusOr<std::vector<Alias>> ListAliases(absl::string_view domain, const Address& after,
                                                 size_t limit) override;
  absl::StatusOr<std::optional<AnsweredRequest>> FindRequest(absl::string_view request_id) override;

  absl::Status InsertDomain(const Domain& domain) override;
  absl::Status UpdateDomain(const Domain& domain) override;
  absl::Status DeleteDomain(absl::string_view name) override;
  absl::Status InsertAccount(const Account& account) override;
  absl::Status UpdateAccount(const Account& account) override;
  absl::Status MoveAccount(const Address& from, const Address& to) override;
  absl::Status DeleteAccount(const Address& address) override;
  absl::Status InsertAlias(const Alias& alias) override;
  absl::Status UpdateAlias(const Alias& alias) override;
  absl::Status DeleteAlias(const Address& address) override;
  absl::Status SetAliasSenders(const Address& alias, bool listed,
                               absl::Span<const std::string> account_ids) override;
  absl::Status InsertSrsKey(absl::string_view key) override;
  absl::Status InsertAppPassword(const AppPassword& password) override;
  absl::Status DeleteAppPassword(absl::string_view account_id, absl::string_view name) override;
  absl::Status UseAppPassword(const AppPassword& password, absl::Time at) override;
  absl::Status InsertRequest(const AnsweredRequest& request, absl::Time oldest,
                             size_t max_kept) override;

 private:
  absl::StatusOr<std::vector<Address>> ListAliasAddresses(absl::string_view domain,
                                                          const Address& after, size_t limit);
  absl::Status InsertAddress(const Address& address);
  absl::Status DeleteAddress(const Address& address);
  // What names the account at an address, unless it is `kept_id`: its application passwords, and
  // that it may send as aliases.
  absl::Status DeleteBelongings(const Address& account, absl::string_view kept_id);
  // And its forwards.
  absl::Status InsertTargets(const Alias& alias);
  absl::Status InsertForwards(const Alias& alias);
  absl::Status DeleteTargets(const Address& alias);

  storage::Sql& sql_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_SQL_QUERIES_H_
