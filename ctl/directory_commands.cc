#include "ctl/directory_commands.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "services/text/idna.h"

namespace postern::ctl {
namespace {

using Stub = auth::v1::DirectoryAdminService::Stub;

// Who keeps an account or alias; "-": we do.
std::string Source(const std::string& source) { return source.empty() ? "-" : source; }
std::string State(bool enabled) { return enabled ? "enabled" : "disabled"; }
std::string LoginPolicy(const auth::v1::Domain& domain) {
  return domain.login_policy() == auth::v1::Domain::LOGIN_POLICY_NO_PASSWORDS ? "no-passwords"
                                                                              : "any";
}
std::string Uses(const auth::v1::AppPassword& password) {
  std::vector<std::string> uses;
  if (password.pop3()) uses.push_back("pop3");
  if (password.submission()) uses.push_back("submission");
  return absl::StrJoin(uses, ", ");
}

// `key` names what the text says was done.
JsonObject Done(absl::string_view key, absl::string_view what) {
  return JsonObject().Text(key, what);
}

auth::v1::Alias MakeAlias(const std::string& address, const std::vector<std::string>& targets,
                          const std::vector<std::string>& forwards) {
  auth::v1::Alias alias;
  alias.set_address(address);
  for (const std::string& target : targets) alias.add_targets(target);
  for (const std::string& forward : forwards) alias.add_forwards(forward);
  return alias;
}

template <typename Request>
void Put(const NewPassword& password, Request* request) {
  if (password.is_hash) {
    request->set_password_hash(password.text);
  } else {
    request->set_password(password.text);
  }
}

std::string AliasText(const auth::v1::Alias& alias) {
  const std::string forwards = absl::StrJoin(alias.forwards(), ", ");
  const std::string senders =
      !alias.senders_listed()
          ? ""
          : absl::StrCat("; sent as by ",
                         alias.senders().empty() ? "nobody" : absl::StrJoin(alias.senders(), ", "));
  if (alias.targets().empty()) {
    return absl::StrCat(alias.address(), " leads on to ", forwards, senders);
  }
  return absl::StrCat(alias.address(), " leads to ", absl::StrJoin(alias.targets(), ", "),
                      forwards.empty() ? "" : ", and on to ", forwards, senders);
}

// Well within a request's size (services/rpc/limits.h) and a transaction's time.
constexpr int kImportAtOnce = 500;
constexpr size_t kImportOctetsAtOnce = 256 << 10;

auth::v1::ImportRequest::Entry ToEntry(const ImportLine& line) {
  auth::v1::ImportRequest::Entry entry;
  switch (line.kind) {
    case ImportLine::Kind::kDomain:
      entry.set_domain(line.name);
      break;
    case ImportLine::Kind::kAccount:
      entry.mutable_account()->set_address(line.name);
      entry.mutable_account()->set_password_hash(line.password_hash);
      break;
    case ImportLine::Kind::kAlias:
      *entry.mutable_alias() = MakeAlias(line.name, line.targets, line.forwards);
      break;
  }
  return entry;
}

// As the directory has it. What is no domain name is refused there, as it is.
std::string CanonicalDomainOf(absl::string_view name) {
  const std::string domain =
      absl::AsciiStrToLower(absl::StripSuffix(name.substr(name.rfind('@') + 1), "."));
  return text::ToALabels(domain).value_or(domain);
}

// Makes forwards of targets in no domain of `ours` or of a line.
void ForwardOutside(const std::vector<auth::v1::Domain>& ours, std::vector<ImportLine>* lines) {
  absl::flat_hash_set<std::string> inside;
  for (const auth::v1::Domain& domain : ours) inside.insert(domain.name());
  for (const ImportLine& line : *lines) inside.insert(CanonicalDomainOf(line.name));
  for (ImportLine& line : *lines) {
    const auto outside = std::stable_partition(
        line.targets.begin(), line.targets.end(),
        [&](const std::string& t) { return inside.contains(CanonicalDomainOf(t)); });
    line.forwards.assign(outside, line.targets.end());
    line.targets.erase(outside, line.targets.end());
  }
}

}  // namespace

absl::Status DirectoryCommands::AddDomain(const std::string& name) {
  auth::v1::AddDomainRequest request;
  request.set_request_id(NewRequestId());
  request.set_name(name);
  auto response = remote_.Call(&Stub::AddDomain, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(response->domain()),
                absl::StrCat("domain ", response->domain().name(), " added"));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<auth::v1::Domain>> DirectoryCommands::AllDomains() {
  return remote_.List(&Stub::ListDomains, auth::v1::ListDomainsRequest(),
                      &auth::v1::ListDomainsResponse::mutable_domains);
}

absl::Status DirectoryCommands::ListDomains() {
  auto domains = AllDomains();
  if (!domains.ok()) return domains.status();
  std::vector<Output::Row> rows;
  for (const auth::v1::Domain& domain : *domains) {
    rows.push_back(
        {JsonObject(domain), {domain.name(), State(domain.enabled()), LoginPolicy(domain)}});
  }
  output_.List("domains", {"DOMAIN", "STATE", "LOGINS"}, rows);
  return absl::OkStatus();
}

absl::Status DirectoryCommands::RemoveDomain(const std::string& name) {
  auth::v1::RemoveDomainRequest request;
  request.set_request_id(NewRequestId());
  request.set_name(name);
  auto response = remote_.Call(&Stub::RemoveDomain, request);
  if (!response.ok()) return response.status();
  output_.Thing(Done("removed", name), absl::StrCat("domain ", name, " removed"));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::SetDomainEnabled(const std::string& name, bool enabled) {
  auth::v1::SetDomainEnabledRequest request;
  request.set_request_id(NewRequestId());
  request.set_name(name);
  request.set_enabled(enabled);
  auto response = remote_.Call(&Stub::SetDomainEnabled, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(response->domain()),
                absl::StrCat("domain ", response->domain().name(), " is ", State(enabled)));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::SetLoginPolicy(const std::string& name, bool no_passwords) {
  auth::v1::SetLoginPolicyRequest request;
  request.set_request_id(NewRequestId());
  request.set_name(name);
  request.set_login_policy(no_passwords ? auth::v1::Domain::LOGIN_POLICY_NO_PASSWORDS
                                        : auth::v1::Domain::LOGIN_POLICY_ANY);
  auto response = remote_.Call(&Stub::SetLoginPolicy, request);
  if (!response.ok()) return response.status();
  output_.Thing(
      JsonObject(response->domain()),
      absl::StrCat("logins of ", response->domain().name(), ": ", LoginPolicy(response->domain())));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::AddAccount(const std::string& address,
                                           const NewPassword& password) {
  auth::v1::AddAccountRequest request;
  request.set_request_id(NewRequestId());
  request.set_address(address);
  Put(password, &request);
  auto response = remote_.Call(&Stub::AddAccount, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(response->account()),
                absl::StrCat("account ", response->account().address(), " added, mailbox ",
                             response->account().mailbox_id()));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<auth::v1::Account>> DirectoryCommands::AllAccounts(
    const std::string& domain) {
  auth::v1::ListAccountsRequest request;
  request.set_domain(domain);
  return remote_.List(&Stub::ListAccounts, request,
                      &auth::v1::ListAccountsResponse::mutable_accounts);
}

absl::Status DirectoryCommands::ListAccounts(const std::string& domain) {
  auto accounts = AllAccounts(domain);
  if (!accounts.ok()) return accounts.status();
  std::vector<Output::Row> rows;
  for (const auth::v1::Account& account : *accounts) {
    rows.push_back({JsonObject(account),
                    {account.address(), State(account.enabled()), account.mailbox_id(),
                     Source(account.source())}});
  }
  output_.List("accounts", {"ADDRESS", "STATE", "MAILBOX", "SOURCE"}, rows);
  return absl::OkStatus();
}

absl::StatusOr<auth::v1::Account> DirectoryCommands::FindAccount(const std::string& address) {
  auth::v1::ListAccountsRequest request;
  request.set_address(address);
  auto response = remote_.Call(&Stub::ListAccounts, request);
  if (!response.ok()) return response.status();
  if (response->accounts_size() != 1) {
    return absl::NotFoundError(
        absl::StrCat("there is no account ", address,
                     ": posternctl account list shows those that there are, and posternctl "
                     "mailbox list the mailboxes of those that were removed"));
  }
  return response->accounts(0);
}

absl::Status DirectoryCommands::RemoveAccount(const std::string& address) {
  // Only now can its mailbox still be named.
  auto account = FindAccount(address);
  if (!account.ok()) return account.status();
  auth::v1::RemoveAccountRequest request;
  request.set_request_id(NewRequestId());
  request.set_address(account->address());
  auto response = remote_.Call(&Stub::RemoveAccount, request);
  if (!response.ok()) return response.status();
  output_.Thing(
      Done("removed", account->address()).Text("mailbox_id", account->mailbox_id()),
      absl::StrCat("account ", account->address(), " removed; its mail is kept: posternctl ",
                   "mailbox purge ", account->mailbox_id(), " removes it for ever"));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::SetPassword(const std::string& address,
                                            const NewPassword& password) {
  auth::v1::SetPasswordRequest request;
  request.set_request_id(NewRequestId());
  request.set_address(address);
  Put(password, &request);
  auto response = remote_.Call(&Stub::SetPassword, request);
  if (!response.ok()) return response.status();
  output_.Thing(Done("password_set", address), absl::StrCat("password of ", address, " set"));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::SetAccountEnabled(const std::string& address, bool enabled) {
  auth::v1::SetAccountEnabledRequest request;
  request.set_request_id(NewRequestId());
  request.set_address(address);
  request.set_enabled(enabled);
  auto response = remote_.Call(&Stub::SetAccountEnabled, request);
  if (!response.ok()) return response.status();
  output_.Thing(Done(State(enabled), address),
                absl::StrCat("account ", address, " is ", State(enabled)));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::TestLogin(const std::string& address,
                                          const std::optional<std::string>& password) {
  using Response = auth::v1::TestLoginResponse;
  auth::v1::TestLoginRequest request;
  request.set_address(address);
  if (password.has_value()) request.set_password(*password);
  auto response = remote_.Call(&Stub::TestLogin, request);
  if (!response.ok()) return response.status();
  JsonObject json;
  json.Text("outcome", absl::AsciiStrToLower(absl::StripPrefix(
                           Response::Outcome_Name(response->outcome()), "OUTCOME_")));
  std::vector<std::string> steps;
  for (const std::string& step : response->steps()) steps.push_back(JsonString(step));
  json.Array("steps", steps);
  output_.Thing(json, absl::StrJoin(response->steps(), "\n"));
  switch (response->outcome()) {
    case Response::OUTCOME_ACCEPTED:
    case Response::OUTCOME_FOUND:
      return absl::OkStatus();
    case Response::OUTCOME_TEMPORARY:
      return absl::UnavailableError("a client would be told to try again later");
    default:
      return absl::PermissionDeniedError("a client would be refused");
  }
}

absl::Status DirectoryCommands::AddAppPassword(const std::string& address, const std::string& name,
                                               bool pop3, bool submission) {
  auth::v1::AddAppPasswordRequest request;
  request.set_address(address);
  request.set_name(name);
  request.set_pop3(pop3);
  request.set_submission(submission);
  auto response = remote_.Call(&Stub::AddAppPassword, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(*response), absl::StrCat("application password ", name, " of ", address,
                                                    " (", Uses(response->app_password()),
                                                    "), shown only now:\n", response->password()));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::ListAppPasswords(const std::string& address) {
  auth::v1::ListAppPasswordsRequest request;
  request.set_address(address);
  auto response = remote_.Call(&Stub::ListAppPasswords, request);
  if (!response.ok()) return response.status();
  std::vector<Output::Row> rows;
  for (const auth::v1::AppPassword& password : response->app_passwords()) {
    rows.push_back({JsonObject(password),
                    {password.name(), Uses(password), UnixTime(password.created_at()),
                     UnixTime(password.last_used_at())}});
  }
  output_.List("app_passwords", {"NAME", "FOR", "MADE", "LAST USED"}, rows);
  return absl::OkStatus();
}

absl::Status DirectoryCommands::RemoveAppPassword(const std::string& address,
                                                  const std::string& name) {
  auth::v1::RemoveAppPasswordRequest request;
  request.set_request_id(NewRequestId());
  request.set_address(address);
  request.set_name(name);
  auto response = remote_.Call(&Stub::RemoveAppPassword, request);
  if (!response.ok()) return response.status();
  output_.Thing(Done("removed", name),
                absl::StrCat("application password ", name, " of ", address, " removed"));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::Import(std::vector<ImportLine> lines, bool dry_run,
                                       bool forward_outside) {
  if (forward_outside) {
    auto domains = AllDomains();
    if (!domains.ok()) return domains.status();
    ForwardOutside(*domains, &lines);
  }
  std::vector<Output::Row> rows;
  size_t refused = 0;
  auto say = [&](const ImportLine& line, absl::string_view outcome, const std::string& why) {
    if (!why.empty()) ++refused;
    JsonObject json;
    json.Number("line", line.line).Text("name", line.name).Text("outcome", outcome);
    if (!why.empty()) json.Text("why", why);
    rows.push_back({json,
                    {absl::StrCat(line.line), line.name,
                     why.empty() ? std::string(outcome) : absl::StrCat(outcome, ": ", why)}});
  };
  // Its domain, and what an alias leads to, goes with a line in a dry run, of which nothing stays.
  absl::flat_hash_map<std::string, const ImportLine*> by_name;
  std::vector<const ImportLine*> good;
  for (const ImportLine& line : lines) {
    if (!line.fault.empty()) {
      say(line, "refused", line.fault);
    } else {
      good.push_back(&line);
      by_name.try_emplace(line.name, &line);
    }
  }
  for (size_t next = 0; next < good.size();) {
    auth::v1::ImportRequest request;
    request.set_dry_run(dry_run);
    // Null: only goes with another.
    std::vector<const ImportLine*> sent;
    absl::flat_hash_set<const ImportLine*> in_it;
    auto put = [&](const ImportLine& line, bool asked) {
      *request.add_entries() = ToEntry(line);
      sent.push_back(asked ? &line : nullptr);
      in_it.insert(&line);
    };
    size_t octets = 0;
    while (next < good.size() && request.entries_size() < kImportAtOnce &&
           octets < kImportOctetsAtOnce) {
      const ImportLine& line = *good[next++];
      std::vector<std::string> needed = line.targets;
      needed.push_back(line.name.substr(line.name.rfind('@') + 1));
      for (const std::string& name : needed) {
        const auto other = by_name.find(name);
        if (!dry_run || other == by_name.end() || in_it.contains(other->second) ||
            other->second == &line) {
          continue;
        }
        put(*other->second, /*asked=*/false);
      }
      put(line, /*asked=*/true);
      octets += request.entries(request.entries_size() - 1).ByteSizeLong();
    }
    auto response = remote_.Call(&Stub::Import, request);
    if (!response.ok()) return response.status();
    if (response->results_size() != request.entries_size()) {
      return absl::InternalError("auth-svc answered another number of entries than were sent");
    }
    for (int i = 0; i < response->results_size(); ++i) {
      if (sent[i] == nullptr) continue;
      const auth::v1::ImportResponse::Result& result = response->results(i);
      switch (result.outcome()) {
        case auth::v1::ImportResponse::OUTCOME_ADDED:
          say(*sent[i], dry_run ? "would be added" : "added", "");
          break;
        case auth::v1::ImportResponse::OUTCOME_PRESENT:
          say(*sent[i], "is there already", "");
          break;
        default:
          say(*sent[i], "refused", result.why());
      }
    }
  }
  output_.List("lines", {"LINE", "NAME", "RESULT"}, rows);
  if (refused == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(refused, " of ", rows.size(), " lines ",
                                                    dry_run ? "would be" : "were", " refused"));
}

absl::Status DirectoryCommands::AddAlias(const std::string& address,
                                         const std::vector<std::string>& targets,
                                         const std::vector<std::string>& forwards) {
  auth::v1::AddAliasRequest request;
  request.set_request_id(NewRequestId());
  *request.mutable_alias() = MakeAlias(address, targets, forwards);
  auto response = remote_.Call(&Stub::AddAlias, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(response->alias()), AliasText(response->alias()));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::SetAlias(const std::string& address,
                                         const std::vector<std::string>& targets,
                                         const std::vector<std::string>& forwards) {
  auth::v1::SetAliasTargetsRequest request;
  request.set_request_id(NewRequestId());
  *request.mutable_alias() = MakeAlias(address, targets, forwards);
  auto response = remote_.Call(&Stub::SetAliasTargets, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(response->alias()), AliasText(response->alias()));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::SetAliasSenders(const std::string& address, bool members,
                                                const std::vector<std::string>& accounts) {
  auth::v1::SetAliasSendersRequest request;
  request.set_request_id(NewRequestId());
  request.set_address(address);
  request.set_members(members);
  for (const std::string& account : accounts) request.add_accounts(account);
  auto response = remote_.Call(&Stub::SetAliasSenders, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(response->alias()), AliasText(response->alias()));
  return absl::OkStatus();
}

absl::Status DirectoryCommands::ListAliases(const std::string& domain) {
  auth::v1::ListAliasesRequest request;
  request.set_domain(domain);
  auto aliases =
      remote_.List(&Stub::ListAliases, request, &auth::v1::ListAliasesResponse::mutable_aliases);
  if (!aliases.ok()) return aliases.status();
  std::vector<Output::Row> rows;
  for (const auth::v1::Alias& alias : *aliases) {
    std::vector<std::string> leads(alias.targets().begin(), alias.targets().end());
    leads.insert(leads.end(), alias.forwards().begin(), alias.forwards().end());
    rows.push_back({JsonObject(alias), {alias.address(), absl::StrJoin(leads, ", ")}});
  }
  output_.List("aliases", {"ADDRESS", "LEADS TO"}, rows);
  return absl::OkStatus();
}

absl::Status DirectoryCommands::RemoveAlias(const std::string& address) {
  auth::v1::RemoveAliasRequest request;
  request.set_request_id(NewRequestId());
  request.set_address(address);
  auto response = remote_.Call(&Stub::RemoveAlias, request);
  if (!response.ok()) return response.status();
  output_.Thing(Done("removed", address), absl::StrCat("alias ", address, " removed"));
  return absl::OkStatus();
}

}  // namespace postern::ctl
