// How the rows of an external directory are brought to what it has (mirror.h).
#ifndef POSTERN_AUTH_SVC_DOMAIN_MIRROR_ROWS_H_
#define POSTERN_AUTH_SVC_DOMAIN_MIRROR_ROWS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/canonical.h"
#include "auth-svc/domain/directory.h"
#include "auth-svc/domain/external_directory.h"

namespace postern::auth {

// Brings the rows of one transaction, inside which it lives, to what an external directory has.
// What it is given must outlive it. Without a writer: CANCELLED when there is anything to write.
// FAILED_PRECONDITION: what is ours must be changed first.
class MirrorRows {
 public:
  // `asked`: the address whose owner the directory was asked for.
  MirrorRows(DirectoryReader& rows, DirectoryWriter* writer, const std::string& source,
             const Address& asked, int32_t mailbox_shards)
      : rows_(rows),
        writer_(writer),
        source_(source),
        asked_(asked),
        mailbox_shards_(mailbox_shards) {}

  // The directory has nothing under `asked`.
  absl::Status Nothing();
  // `entry.addresses`: at least one, all in domains of the source.
  absl::Status Person(const ExternalEntry& entry);
  // `members`: those that the rows have are led to.
  absl::Status Group(const std::vector<Address>& members);

 private:
  bool IsTheirs(const Origin& origin) const { return origin.source == source_; }
  absl::StatusOr<bool> IsKnown(const Address& address);
  // Whose account the source has already.
  absl::StatusOr<std::optional<Account>> Keep(Account account, const ExternalEntry& entry);
  // nullopt: there is no address that it could have.
  absl::StatusOr<std::optional<Account>> Begin(const ExternalEntry& entry);
  // An alias of the source, unless the address is another's.
  absl::Status Lead(const Address& address, std::vector<Address> targets);
  // Writes what is to have the address, once what the source had there is out of the way; aliases
  // that name the address go on doing so. False: it is another's, and nothing was written. `id`: of
  // whose the new row is, "" for an alias.
  absl::StatusOr<bool> Place(const Address& address, absl::string_view id,
                             absl::FunctionRef<absl::Status(DirectoryWriter&)> write);
  // The account of somebody who has the address no more, disabled under one that nobody has; it
  // comes back with the mailbox when it is found by its id. `named_by`: the aliases that name it.
  absl::StatusOr<Address> SetAside(Account account, std::vector<Alias>* named_by);
  // An alias of the source goes, and out of the source's groups that name it.
  absl::Status DropAlias(const Address& address);
  absl::Status Write(absl::FunctionRef<absl::Status(DirectoryWriter&)> write);

  DirectoryReader& rows_;
  DirectoryWriter* const writer_;
  const std::string& source_;
  const Address& asked_;
  const int32_t mailbox_shards_;
};

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_MIRROR_ROWS_H_
