// posternctl domain, account and alias: auth-svc's directory.
#ifndef POSTERN_CTL_DIRECTORY_COMMANDS_H_
#define POSTERN_CTL_DIRECTORY_COMMANDS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ctl/import_file.h"
#include "ctl/output.h"
#include "ctl/password_input.h"
#include "ctl/remote.h"
#include "proto/postern/auth/v1/directory_admin.grpc.pb.h"

namespace postern::ctl {

// One command each; prints when it went well. One thread; `output` must outlive it.
class DirectoryCommands {
 public:
  DirectoryCommands(Endpoint endpoint, Output& output)
      : remote_(std::move(endpoint)), output_(output) {}

  absl::Status AddDomain(const std::string& name);
  absl::Status ListDomains();
  absl::Status RemoveDomain(const std::string& name);
  absl::Status SetDomainEnabled(const std::string& name, bool enabled);

  // `no_passwords`: with application passwords, or as an identity provider says; else any way.
  absl::Status SetLoginPolicy(const std::string& name, bool no_passwords);

  absl::Status AddAccount(const std::string& address, const NewPassword& password);
  // `domain` empty: of every domain.
  absl::Status ListAccounts(const std::string& domain);
  absl::Status RemoveAccount(const std::string& address);
  absl::Status SetPassword(const std::string& address, const NewPassword& password);
  absl::Status SetAccountEnabled(const std::string& address, bool enabled);
  // An error when it would be refused. `password`: nullopt: only looks.
  absl::Status TestLogin(const std::string& address, const std::optional<std::string>& password);

  // Shows the password, this once.
  absl::Status AddAppPassword(const std::string& address, const std::string& name, bool pop3,
                              bool submission);
  absl::Status ListAppPasswords(const std::string& address);
  absl::Status RemoveAppPassword(const std::string& address, const std::string& name);

  // Says of each line what becomes, or would become, of it. An error when any was refused.
  // `forward_outside`: targets in domains that neither the directory nor a line has are forwards.
  absl::Status Import(std::vector<ImportLine> lines, bool dry_run, bool forward_outside);

  absl::Status AddAlias(const std::string& address, const std::vector<std::string>& targets,
                        const std::vector<std::string>& forwards);
  absl::Status SetAlias(const std::string& address, const std::vector<std::string>& targets,
                        const std::vector<std::string>& forwards);
  // `members`: whoever it leads to; else these accounts alone.
  absl::Status SetAliasSenders(const std::string& address, bool members,
                               const std::vector<std::string>& accounts);
  absl::Status ListAliases(const std::string& domain);
  absl::Status RemoveAlias(const std::string& address);

  // For what names mailboxes by their accounts. NOT_FOUND: no such account.
  absl::StatusOr<auth::v1::Account> FindAccount(const std::string& address);
  absl::StatusOr<std::vector<auth::v1::Account>> AllAccounts(const std::string& domain);

 private:
  absl::StatusOr<std::vector<auth::v1::Domain>> AllDomains();

  Remote<auth::v1::DirectoryAdminService> remote_;
  Output& output_;
};

}  // namespace postern::ctl

#endif  // POSTERN_CTL_DIRECTORY_COMMANDS_H_
