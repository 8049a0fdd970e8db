// Files that other systems keep their people in, as what posternctl account import adds.
#ifndef POSTERN_CTL_IMPORT_FILE_H_
#define POSTERN_CTL_IMPORT_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::ctl {

// What one line asks for.
struct ImportLine {
  enum class Kind { kDomain, kAccount, kAlias };
  // From 1.
  int line = 0;
  Kind kind = Kind::kAccount;
  // A domain's name, or an address.
  std::string name;
  // An account's: as another system has it.
  std::string password_hash;
  // An alias's.
  std::vector<std::string> targets;
  // Not empty: why the line is none of these; without a secret.
  std::string fault;
  // An alias's, of which no file says that they are: DirectoryCommands::Import takes them from
  // `targets`.
  std::vector<std::string> forwards;
};

// "passwd-file": Dovecot's, USER:{SCHEME}HASH:... (what is behind the hash is not read).
// "virtual": Postfix's virtual(5), ADDRESS TARGET...; "DOMAIN anything" is a domain.
// "csv": RFC 4180, with a header: address, and password_hash or targets (separated by blanks).
// `domain`: of names without one; empty: they have to have one. INVALID_ARGUMENT: no such format,
// or a header that does not say what there is. Domains come first, then accounts, then aliases.
absl::StatusOr<std::vector<ImportLine>> ReadImport(absl::string_view format, absl::string_view text,
                                                   absl::string_view domain);

}  // namespace postern::ctl

#endif  // POSTERN_CTL_IMPORT_FILE_H_
