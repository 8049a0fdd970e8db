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
#include "absl/types/span.h"
#include "auth-svc/domain/canonical.h"

namespace postern::auth {

// How the people of a domain log in.
enum class LoginPolicy {
  kAny,
  // Not with an account's own password: with application passwords, or as an identity provider
  // says.
  kNoPasswords,
};

struct Domain {
  std::string name;
  bool enabled = true;
  LoginPolicy login_policy = LoginPolicy::kAny;

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
  // What SCRAM-SHA-256 knows of the password (scram_verifier.h); empty: nothing.
  std::string scram_sha_256;
  bool enabled = true;
  // Its domain's state, read with it. Ignored when written.
  bool domain_enabled = true;
  LoginPolicy login_policy = LoginPolicy::kAny;
  // Grows with every change of the account: what was proved of an older version is not proved now.
  // Ignored when written.
  int64_t version = 1;
  Origin origin;

  friend bool operator==(const Account&, const Account&) = default;
};

struct Alias {
  Address address;
  // Accounts and aliases of ours; in the order given, as all that follows.
  std::vector<Address> targets;
  // Addresses in no domain of ours (ForwardAddress). With `targets` at least one.
  std::vector<Address> forwards;
  // Of `origin.source` alone.
  Origin origin;
  // Who may send as it: ListAliasSenders alone, or else the accounts that it leads to. Ignored when
  // targets are written.
  bool senders_listed = false;

  friend bool operator==(const Alias&, const Alias&) = default;
};

// A password of one program of a person's: random, never chosen (app_password.h).
struct AppPassword {
  std::string account_id;
  // What the person calls it; once in an account.
  std::string name;
  std::string hash;
  // At least one of them.
  bool pop3 = false;
  bool submission = false;
  absl::Time created_at;
  // To the hour; InfinitePast: never.
  absl::Time last_used_at = absl::InfinitePast();

  friend bool operator==(const AppPassword&, const AppPassword&) = default;
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
  // Of an alias, by address.
  virtual absl::StatusOr<std::vector<Account>> ListAliasSenders(const Address& alias) = 0;
  // Aliases that name `target` themselves, at most `limit`, in order.
  virtual absl::StatusOr<std::vector<Address>> FindAliasesTo(const Address& target,
                                                             size_t limit) = 0;
  // An alias that forwards into `domain`.
  virtual absl::StatusOr<std::optional<Address>> FindForwardTo(absl::string_view domain) = 0;
  // Signs the senders of what is forwarded (srs.h).
  virtual absl::StatusOr<std::optional<std::string>> FindSrsKey() = 0;
  // An account's or alias's address in `domain`.
  virtual absl::StatusOr<std::optional<Address>> FindAnyAddress(absl::string_view domain) = 0;

  virtual absl::StatusOr<std::optional<AppPassword>> FindAppPassword(absl::string_view account_id,
                                                                     absl::string_view hash) = 0;
  // Of an account, by name.
  virtual absl::StatusOr<std::vector<AppPassword>> ListAppPasswords(
      absl::string_view account_id) = 0;
  // Whether somebody in `domain` (empty: in any) can't log in by SCRAM: nothing for it is kept, or
  // the domain's policy is against it.
  virtual absl::StatusOr<bool> AnyWithoutScram(absl::string_view domain) = 0;

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
  // FAILED_PRECONDITION, too, while an alias forwards into it: the sentence is an operator's.
  virtual absl::Status InsertDomain(const Domain& domain) = 0;
  virtual absl::Status UpdateDomain(const Domain& domain) = 0;
  virtual absl::Status DeleteDomain(absl::string_view name) = 0;
  virtual absl::Status InsertAccount(const Account& account) = 0;
  // By address: all the rest, so that another account can take its place; another's application
  // passwords go.
  virtual absl::Status UpdateAccount(const Account& account) = 0;
  // Aliases that name it follow.
  virtual absl::Status MoveAccount(const Address& from, const Address& to) = 0;
  virtual absl::Status DeleteAccount(const Address& address) = 0;
  virtual absl::Status InsertAlias(const Alias& alias) = 0;
  // By address: the targets and forwards. The origin and the senders stay.
  virtual absl::Status UpdateAlias(const Alias& alias) = 0;
  virtual absl::Status DeleteAlias(const Address& address) = 0;
  // `listed`: these accounts alone; else none is given.
  virtual absl::Status SetAliasSenders(const Address& alias, bool listed,
                                       absl::Span<const std::string> account_ids) = 0;
  // Changes nothing when there is one.
  virtual absl::Status InsertSrsKey(absl::string_view key) = 0;
  virtual absl::Status InsertAppPassword(const AppPassword& password) = 0;
  virtual absl::Status DeleteAppPassword(absl::string_view account_id, absl::string_view name) = 0;
  // Changes nothing when it is gone, or was used later already.
  virtual absl::Status UseAppPassword(const AppPassword& password, absl::Time at) = 0;
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
