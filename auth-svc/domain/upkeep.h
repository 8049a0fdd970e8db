// What may be written into the directory: every rule that a change must keep, and the sentence that
// an operator reads when it does not.
#ifndef POSTERN_AUTH_SVC_DOMAIN_UPKEEP_H_
#define POSTERN_AUTH_SVC_DOMAIN_UPKEEP_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/password.h"
#include "auth-svc/domain/resolver.h"

namespace postern::auth {

// A new account, enabled, with ids of its own and a mailbox in one of `mailbox_shards` shards.
Account NewAccount(const Address& address, int32_t mailbox_shards);

// An alias as an operator typed it.
struct NewAlias {
  std::string address;
  std::vector<std::string> targets;
  std::vector<std::string> forwards;
};

// A value; any thread. Each function runs inside one Directory::Write, whose caller must return its
// error from there, so that nothing of a refused change stays. Names and addresses come as an
// operator typed them.
class Upkeep {
 public:
  // New mailboxes are spread over `mailbox_shards` shards, at least 1. `sources`: the external
  // directories that there are; what one of them keeps is changed there, and FAILED_PRECONDITION
  // here.
  Upkeep(Resolver resolver, AliasLimits limits, int32_t mailbox_shards = 1,
         std::vector<std::string> sources = {})
      : resolver_(std::move(resolver)),
        limits_(limits),
        mailbox_shards_(mailbox_shards),
        sources_(std::move(sources)) {}

  absl::StatusOr<Domain> AddDomain(DirectoryWriter& directory, absl::string_view name) const;
  absl::StatusOr<Domain> SetDomainEnabled(DirectoryWriter& directory, absl::string_view name,
                                          bool enabled) const;
  absl::StatusOr<Domain> SetLoginPolicy(DirectoryWriter& directory, absl::string_view name,
                                        LoginPolicy policy) const;
  // FAILED_PRECONDITION while it has accounts or aliases.
  absl::Status RemoveDomain(DirectoryWriter& directory, absl::string_view name) const;

  absl::StatusOr<Account> AddAccount(DirectoryWriter& directory, absl::string_view address,
                                     StoredPassword password) const;
  absl::Status SetPassword(DirectoryWriter& directory, absl::string_view address,
                           StoredPassword password) const;
  absl::Status SetAccountEnabled(DirectoryWriter& directory, absl::string_view address,
                                 bool enabled) const;
  // FAILED_PRECONDITION while an alias names it.
  absl::Status RemoveAccount(DirectoryWriter& directory, absl::string_view address) const;

  // `password`: as NewAppPassword made it; its name is 1 to 64 octets of UTF-8. ALREADY_EXISTS: the
  // name; FAILED_PRECONDITION: the account has 100. External accounts have them too.
  absl::StatusOr<AppPassword> AddAppPassword(DirectoryWriter& directory, absl::string_view address,
                                             AppPassword asked, absl::string_view password) const;
  absl::Status RemoveAppPassword(DirectoryWriter& directory, absl::string_view address,
                                 absl::string_view name) const;
  absl::StatusOr<std::vector<AppPassword>> ListAppPasswords(DirectoryReader& directory,
                                                            absl::string_view address) const;

  // FAILED_PRECONDITION: a loop, or beyond the limits. INVALID_ARGUMENT: a target in a domain that
  // is not ours, or a forward in one that is. NOT_FOUND: a target that is neither an account nor an
  // alias.
  absl::StatusOr<Alias> AddAlias(DirectoryWriter& directory, const NewAlias& asked) const;
  // The same, for an alias that is there.
  absl::StatusOr<Alias> SetAliasTargets(DirectoryWriter& directory, const NewAlias& asked) const;
  // Who may send as an alias: `accounts` alone, or, with `members`, those it leads to.
  absl::StatusOr<Alias> SetAliasSenders(DirectoryWriter& directory, absl::string_view address,
                                        bool members, absl::Span<const std::string> accounts) const;
  // FAILED_PRECONDITION while another alias names it.
  absl::Status RemoveAlias(DirectoryWriter& directory, absl::string_view address) const;

 private:
  absl::Status CheckOwn(const Origin& origin, const Address& address) const;
  absl::StatusOr<Account> NeedOwnAccount(DirectoryReader& directory, absl::string_view text) const;
  absl::StatusOr<Alias> ReadAlias(DirectoryReader& directory, const NewAlias& asked) const;
  // That `changed`, and every alias that leads to it, still expands within the limits.
  absl::Status CheckExpansions(DirectoryReader& directory, const Address& changed) const;

  Resolver resolver_;
  AliasLimits limits_;
  int32_t mailbox_shards_;
  std::vector<std::string> sources_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_UPKEEP_H_
