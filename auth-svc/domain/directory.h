// The directory: domains, accounts and aliases, as the domain code sees them. Storage alone; what
// may be stored is decided by upkeep.h, where an address leads by resolver.h.
#ifndef POSTERN_AUTH_SVC_DOMAIN_DIRECTORY_H_
#define POSTERN_AUTH_SVC_DOMAIN_DIRECTORY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "auth-svc/domain/canonical.h"

namespace postern::auth {

struct Domain {
  std::string name;
  bool enabled = true;

  friend bool operator==(const Domain&, const Domain&) = default;
};

// Where an account or alias came from, when somebody else keeps it (external_directory.h).
struct Origin {
  // The external directory's name; empty: it is ours.
  std::string source;
  // Its own name for the entry; empty for an alias.
  std::string id;
  // Changes when its password does; empty for an alias.
  std::string stamp;

  bool external() const { return !source.empty(); }
  friend bool operator==(const Origin&, const Origin&) = default;
};

struct Account {
  // 32 lower-case hexadecimal digits each, random, never used again.
  std::string account_id;
  std::string mailbox_id;
  Address address;
  // "$argon2id$..."; empty for one of an external directory.
  std::string password_hash;
  bool enabled = true;
  // Its domain's state, read with it. Ignored when written.
  bool domain_enabled = true;
  // Grows with every change of the account: what was proved of an older version is not proved now.
  // Ignored when written.
  int64_t version = 1;
  Origin origin;

  friend bool operator==(const Account&, const Account&) = default;
};

struct Alias {
  Address address;
  // At least one; in the order given.
  std::vector<Address> targets;
  // Of `origin.source` alone.
  Origin origin;

  friend bool operator==(const Alias&, const Alias&) = default;
};

// The answer to a change that was made, kept so that a repeated request gets it again.
struct AnsweredRequest {
  std::string request_id;
  // What was asked, without secrets.
  std::string fingerprint;
  std::string answer;
  absl::Time answered_at;
};

// One consistent view. Lives inside Read or Write; one thread.
class DirectoryReader {
 public:
  virtual ~DirectoryReader() = default;

  virtual absl::StatusOr<std::optional<Domain>> FindDomain(absl::string_view name) = 0;
  // The enabled domain that was added first.
  virtual absl::StatusOr<std::optional<Domain>> FindOldestDomain() = 0;
  virtual absl::StatusOr<std::optional<Account>> FindAccount(const Address& address) = 0;
  virtual absl::StatusOr<std::optional<Account>> FindAccountById(absl::string_view account_id) = 0;
  virtual absl::StatusOr<std::optional<Account>> FindAccountByOrigin(absl::string_view source,
                                                                     absl::string_view id) = 0;
  // The enabled account of ours that was added first, in `domain` or, when that is empty, in any
  // enabled domain.
  virtual absl::StatusOr<std::optional<Account>> FindOldestAccount(absl::string_view domain) = 0;
  virtual absl::StatusOr<std::optional<Alias>> FindAlias(const Address& address) = 0;
  // Aliases that name `target` themselves, at most `limit`, in order.
  virtual absl::StatusOr<std::vector<Address>> FindAliasesTo(const Address& target,
                                                             size_t limit) = 0;
  // An account's or alias's address in `domain`.
  virtual absl::StatusOr<std::optional<Address>> FindAnyAddress(absl::string_view domain) = 0;

  // Pages in order: by name, or by domain and local part. What comes after `after`, at most
  // `limit`.
  virtual absl::StatusOr<std::vector<Domain>> ListDomains(absl::string_view after,
                                                          size_t limit) = 0;
  // `domain` empty: every domain's.
  virtual absl::StatusOr<std::vector<Account>> ListAccounts(absl::string_view domain,
                                                            const Address& after, size_t limit) = 0;
  virtual absl::StatusOr<std::vector<Alias>> ListAliases(absl::string_view domain,
                                                         const Address& after, size_t limit) = 0;

  virtual absl::StatusOr<std::optional<AnsweredRequest>> FindRequest(
      absl::string_view request_id) = 0;
};

// A reader that sees its own changes. ALREADY_EXISTS when the name, address or id is taken (an
// account and an alias share one namespace); NOT_FOUND when what is to be changed is not there;
// FAILED_PRECONDITION when something still refers to it or it refers to nothing.
class DirectoryWriter : public DirectoryReader {
 public:
  virtual absl::Status InsertDomain(const Domain& domain) = 0;
  virtual absl::Status UpdateDomain(const Domain& domain) = 0;
  virtual absl::Status DeleteDomain(absl::string_view name) = 0;
  virtual absl::Status InsertAccount(const Account& account) = 0;
  // By address: all the rest, so that another account can take its place.
  virtual absl::Status UpdateAccount(const Account& account) = 0;
  // Aliases that name it follow.
  virtual absl::Status MoveAccount(const Address& from, const Address& to) = 0;
  virtual absl::Status DeleteAccount(const Address& address) = 0;
  virtual absl::Status InsertAlias(const Alias& alias) = 0;
  // By address: the targets. The origin stays.
  virtual absl::Status UpdateAlias(const Alias& alias) = 0;
  virtual absl::Status DeleteAlias(const Address& address) = 0;
  // Forgets those that were answered before `oldest`, and the oldest beyond `max_kept`.
  virtual absl::Status InsertRequest(const AnsweredRequest& request, absl::Time oldest,
                                     size_t max_kept) = 0;
};

// Thread-safe. Every call blocks for the database: microseconds to read, an fsync to write.
class Directory {
 public:
  virtual ~Directory() = default;

  virtual absl::Status Read(absl::FunctionRef<absl::Status(DirectoryReader&)> body) = 0;
  // One transaction, durable when it returns OK; an error of `body` undoes all of it and is
  // returned. UNAVAILABLE or ABORTED: lost against another writer, may be tried again.
  virtual absl::Status Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> body) = 0;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_DIRECTORY_H_
