// The rows of the directory that external directories keep: brought up to date when somebody asks
// for an address, so that whatever reads the directory knows nothing of where its people are.
#ifndef POSTERN_AUTH_SVC_DOMAIN_MIRROR_H_
#define POSTERN_AUTH_SVC_DOMAIN_MIRROR_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "auth-svc/domain/canonical.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/external_directory.h"
#include "auth-svc/domain/freshness.h"
#include "auth-svc/domain/resolver.h"

namespace postern::auth {

// Thread-safe. What is ours comes first: an account or alias of ours is never changed, and its
// address never another's. Who is gone from the external directory is disabled and keeps the
// mailbox; who has another address there keeps it too; who has a gone one's address gets a new one.
class Mirror {
 public:
  struct Source {
    ExternalDirectory* directory = nullptr;
    // In canonical form; no other source's.
    std::vector<std::string> domains;
    Freshness* freshness = nullptr;
    // Questions that it is asked at the same time.
    size_t threads = 1;
  };
  using Done = absl::AnyInvocable<void(absl::Status)>;
  // The account is the one that the login names, when there is one.
  using LoggedIn = absl::AnyInvocable<void(absl::StatusOr<ExternalLogin>, std::optional<Account>)>;

  // What it is given must outlive it. New mailboxes as Upkeep's; `max_members` of a group.
  Mirror(Directory& directory, std::vector<Source> sources, Resolver resolver,
         int32_t mailbox_shards, size_t max_members);
  // Finishes what was begun.
  ~Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  bool Covers(const Address& address) const { return SourceOf(address) != nullptr; }
  // Of the external directory that covers the address.
  const std::string& NameOf(const Address& address) const;
  // Those of which the rows may not be true any more: to be refreshed before they are read.
  // Microseconds.
  std::vector<Address> Stale(absl::Span<const Address> addresses) const;
  // Asks about those that are stale, in each form in which the resolver looks for them, and then
  // calls `done`, on this thread when none is. UNAVAILABLE, FAILED_PRECONDITION: as
  // ExternalDirectory's; RESOURCE_EXHAUSTED: too many wait.
  void Refresh(std::vector<Address> addresses, Done done);
  // Tries the password in the external directory of a covered address; the rows are true then.
  // Wipes its copy of the password.
  void LogIn(Address address, std::string password, LoggedIn done);

 private:
  struct Kept;
  // One question and those that it leads to.
  struct Learning;

  Kept* SourceOf(const Address& address) const;
  // Nobody is to be in a domain that posternctl did not add.
  absl::StatusOr<bool> IsOurs(const Address& address);
  absl::Status RefreshOne(Kept& kept, const Address& address);
  // Asks and writes down, whether it is fresh or not.
  absl::Status Learn(Kept& kept, const Address& address, Learning& learning);
  // The entry as the source may have it here: nothing, when it is not its address.
  ExternalEntry AsOwner(const Kept& kept, const Address& address, ExternalEntry entry) const;
  absl::Status WriteDown(Kept& kept, const Address& address, const ExternalEntry& local,
                         Learning& learning, Freshness::Question& question);

  Directory& directory_;
  const Resolver resolver_;
  const int32_t mailbox_shards_;
  const size_t max_members_;
  std::vector<std::unique_ptr<Kept>> sources_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_MIRROR_H_
