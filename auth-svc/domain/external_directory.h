// A directory that somebody else keeps (LDAP): asked about one address at a time.
#ifndef POSTERN_AUTH_SVC_DOMAIN_EXTERNAL_DIRECTORY_H_
#define POSTERN_AUTH_SVC_DOMAIN_EXTERNAL_DIRECTORY_H_

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/canonical.h"

namespace postern::auth {

// What it has under an address.
struct ExternalEntry {
  enum class Kind { kNothing, kPerson, kGroup };
  Kind kind = Kind::kNothing;
  // A person's: never changes, and is never another's.
  std::string id;
  // A person's: changes with the password.
  std::string stamp;
  bool enabled = true;
  // A person's, at least one: the mailbox's own first when it says which that is, else in any
  // order, the same each time.
  std::vector<Address> addresses;
  // A group's, at least one, each once.
  std::vector<Address> members;
  // Where it was found (a DN), for an operator.
  std::string place;

  // Whether a person has the address.
  bool Has(const Address& address) const {
    return std::find(addresses.begin(), addresses.end(), address) != addresses.end();
  }
};

struct ExternalLogin {
  // nullopt: it does not say who has the address to whom it does not let in.
  std::optional<ExternalEntry> entry;
  bool right = false;
  // Why not, for the log ("account locked"); "" when the directory does not say.
  std::string detail;
};

// Thread-safe. Every call blocks for the directory, at most for a few times its timeout.
// UNAVAILABLE: it is away; may be tried again. FAILED_PRECONDITION: it, or what we were told of it,
// must be mended first; the message says what.
class ExternalDirectory {
 public:
  virtual ~ExternalDirectory() = default;

  // Of its accounts and aliases (Origin::source).
  virtual const std::string& name() const = 0;
  virtual absl::StatusOr<ExternalEntry> Find(const Address& address) = 0;
  // Never with an empty password.
  virtual absl::StatusOr<ExternalLogin> LogIn(const Address& address,
                                              absl::string_view password) = 0;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_EXTERNAL_DIRECTORY_H_
