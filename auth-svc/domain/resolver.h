// Where an address leads: exact match, sub-addressing, postmaster, catch-alls, aliases to mailboxes
// and addresses elsewhere, and back from these (srs.h).
#ifndef POSTERN_AUTH_SVC_DOMAIN_RESOLVER_H_
#define POSTERN_AUTH_SVC_DOMAIN_RESOLVER_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "auth-svc/domain/canonical.h"
#include "auth-svc/domain/directory.h"

namespace postern::auth {

struct AliasLimits {
  // Aliases on the longest way to a mailbox.
  int max_depth = 10;
  // Mailboxes and addresses elsewhere that one alias leads to; and about as many aliases on the way
  // to them.
  int max_mailboxes = 1000;
};

struct Resolution {
  enum class Outcome {
    // `accounts`, each enabled, and `forwards` together hold at least one.
    kLocal,
    // The domain is ours, the address is not known there.
    kUnknown,
    kNotLocal,
    // Known, but the domain, the account or every account that an alias leads to is disabled, and
    // it leads nowhere else.
    kDisabled,
  };
  Outcome outcome = Outcome::kNotLocal;
  // Each once, in the order in which they are met.
  std::vector<Account> accounts;
  // Addresses in no domain of ours.
  std::vector<Address> forwards;
  // The envelope's sender of what goes to `forwards`; empty: the null sender, and when there are
  // none.
  std::string forward_sender;
  // Of an alias whose senders are listed: itself.
  std::optional<Address> listed_senders_of;
};

// A value; any thread. `separator` empty: no sub-addressing.
class Resolver {
 public:
  Resolver(std::string separator, AliasLimits limits)
      : separator_(std::move(separator)), limits_(limits) {}

  // `text` as it came in RCPT, or "postmaster" alone (RFC 5321 4.5.1). INVALID_ARGUMENT: no
  // address. FAILED_PRECONDITION: an alias that loops or leads beyond the limits, or nobody who
  // could be postmaster; the directory must be mended first.
  // `sender`: the envelope's, at `now`; empty: the null sender, for whom alone SRS addresses of
  // ours lead back. `not_ours`, here and below: gets every address on the way that an external
  // directory keeps, or that nobody has; also when there is an error.
  absl::StatusOr<Resolution> Resolve(DirectoryReader& directory, absl::string_view text,
                                     absl::string_view sender, absl::Time now,
                                     std::vector<Address>* not_ours = nullptr) const;

  // The forms in which an address is looked for: itself and, when it has a sub-address, without it.
  std::vector<Address> Forms(const Address& address) const;

  // True when the account is enabled and may send as each of `addresses`: each leads to it (and
  // perhaps to others too), and not by a catch-all alone; or is an alias whose senders are listed,
  // and has it among them. What is no address is nobody's.
  absl::StatusOr<bool> MaySendAs(DirectoryReader& directory, absl::string_view account_id,
                                 absl::Span<const std::string> addresses,
                                 std::vector<Address>* not_ours = nullptr) const;

  // Every account, enabled or not, that the alias at `address` leads to. FAILED_PRECONDITION names
  // the loop, or the limit that is passed.
  absl::StatusOr<std::vector<Account>> Expand(DirectoryReader& directory,
                                              const Address& address) const;

 private:
  // As Resolve, without `forward_sender`. `original`: whom `address` stands for when nobody has it
  // (nullopt: nobody). The domain's catch-all has what is unknown otherwise.
  absl::StatusOr<Resolution> ResolveRecipient(DirectoryReader& directory, const Address& address,
                                              const std::optional<Address>& original,
                                              std::vector<Address>* not_ours) const;
  absl::StatusOr<Resolution> ResolveAddress(DirectoryReader& directory, const Address& address,
                                            std::vector<Address>* not_ours) const;
  // Accounts of the account or alias with exactly this address; kUnknown when there is neither.
  absl::StatusOr<Resolution> ResolveExact(DirectoryReader& directory, const Address& address,
                                          std::vector<Address>* not_ours) const;
  absl::StatusOr<Resolution> ResolvePostmaster(DirectoryReader& directory, absl::string_view domain,
                                               std::vector<Address>* not_ours) const;

  std::string separator_;
  AliasLimits limits_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_RESOLVER_H_
