#include "auth-svc/rpc/directory_admin_service.h"

#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "auth-svc/domain/app_password.h"
#include "auth-svc/domain/stored_hash.h"
#include "auth-svc/rpc/paging.h"
#include "services/rpc/context.h"
#include "services/telemetry/log.h"

namespace postern::auth {
namespace {

using telemetry::LogLevel;

// directory_admin.proto: "at most 64 characters"; "within an hour".
constexpr size_t kMaxRequestIdOctets = 64;
constexpr absl::Duration kRequestIdLifetime = absl::Hours(1);
constexpr size_t kMaxRequestsKept = 10000;
// Of one transaction, which other changes wait for.
constexpr int kMaxImported = 1000;

void ToProto(const Domain& domain, v1::Domain* out) {
  out->set_name(domain.name);
  out->set_enabled(domain.enabled);
  out->set_login_policy(domain.login_policy == LoginPolicy::kAny
                            ? v1::Domain::LOGIN_POLICY_ANY
                            : v1::Domain::LOGIN_POLICY_NO_PASSWORDS);
}

void ToProto(const Account& account, v1::Account* out) {
  out->set_account_id(account.account_id);
  out->set_address(account.address.ToString());
  out->set_mailbox_id(account.mailbox_id);
  out->set_enabled(account.enabled);
  out->set_source(account.origin.source);
}

void ToProto(const AppPassword& password, v1::AppPassword* out) {
  out->set_name(password.name);
  out->set_pop3(password.pop3);
  out->set_submission(password.submission);
  out->set_created_at(absl::ToUnixSeconds(password.created_at));
  if (password.last_used_at != absl::InfinitePast()) {
    out->set_last_used_at(absl::ToUnixSeconds(password.last_used_at));
  }
}

absl::Status ToProto(DirectoryReader& reader, const Alias& alias, v1::Alias* out) {
  out->set_address(alias.address.ToString());
  for (const Address& target : alias.targets) out->add_targets(target.ToString());
  for (const Address& forward : alias.forwards) out->add_forwards(forward.ToString());
  out->set_source(alias.origin.source);
  if (!alias.senders_listed) return absl::OkStatus();
  out->set_senders_listed(true);
  absl::StatusOr<std::vector<Account>> senders = reader.ListAliasSenders(alias.address);
  if (!senders.ok()) return senders.status();
  for (const Account& sender : *senders) out->add_senders(sender.address.ToString());
  return absl::OkStatus();
}

v1::TestLoginResponse::Outcome ToProto(TriedLogin::Outcome outcome) {
  switch (outcome) {
    case TriedLogin::Outcome::kAccepted:
      return v1::TestLoginResponse::OUTCOME_ACCEPTED;
    case TriedLogin::Outcome::kRefused:
      return v1::TestLoginResponse::OUTCOME_REFUSED;
    case TriedLogin::Outcome::kTemporary:
      return v1::TestLoginResponse::OUTCOME_TEMPORARY;
    case TriedLogin::Outcome::kFound:
      return v1::TestLoginResponse::OUTCOME_FOUND;
  }
  return v1::TestLoginResponse::OUTCOME_UNSPECIFIED;
}

NewAlias FromProto(const v1::Alias& alias) {
  return {alias.address(),
          {alias.targets().begin(), alias.targets().end()},
          {alias.forwards().begin(), alias.forwards().end()}};
}

// The domain of a List request: "" is every one; NOT_FOUND: none of ours.
absl::StatusOr<std::string> DomainFilter(DirectoryReader& reader, absl::string_view text) {
  if (text.empty()) return std::string();
  absl::StatusOr<std::string> name = CanonicalDomain(text);
  if (!name.ok()) return name;
  absl::StatusOr<std::optional<Domain>> domain = reader.FindDomain(*name);
  if (!domain.ok()) return domain.status();
  if (!domain->has_value()) return absl::NotFoundError(absl::StrCat("there is no domain ", *name));
  return name;
}

// Takes the item that was read beyond the page and gives the token that leads to it.
template <typename T>
std::string CutToPage(std::vector<T>& items, size_t size) {
  if (items.size() <= size) return std::string();
  items.pop_back();
  return items.back().address.ToString();
}

void FinishOn(process::WorkerPool& pool, grpc::ServerUnaryReactor* reactor,
              absl::AnyInvocable<absl::Status()> body) {
  process::RunOn<absl::Status>(
      pool, std::move(body),
      [reactor](const absl::Status& status) { reactor->Finish(rpc::ToGrpc(status)); },
      absl::UnavailableError("auth-svc is busy: try again"));
}

}  // namespace

grpc::ServerUnaryReactor* DirectoryAdminService::Run(process::WorkerPool& pool,
                                                     grpc::CallbackServerContext* context,
                                                     absl::AnyInvocable<absl::Status()> body) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  FinishOn(pool, reactor, std::move(body));
  return reactor;
}

absl::Status DirectoryAdminService::Apply(grpc::CallbackServerContext* context,
                                          const Change& change,
                                          absl::FunctionRef<absl::Status(DirectoryWriter&)> body) {
  if (change.request_id.size() > kMaxRequestIdOctets) {
    return absl::InvalidArgumentError(
        absl::StrCat("request_id has more than ", kMaxRequestIdOctets, " characters"));
  }
  const std::string fingerprint = absl::StrCat(change.method, "\n", change.subject);
  bool repeated = false;
  absl::Status status = directory_.Write([&](DirectoryWriter& writer) -> absl::Status {
    // A transaction that was lost is tried again.
    change.response->Clear();
    const absl::Time now = clock_();
    if (!change.request_id.empty()) {
      absl::StatusOr<std::optional<AnsweredRequest>> first = writer.FindRequest(change.request_id);
      if (!first.ok()) return first.status();
      if (first->has_value() && (*first)->answered_at > now - kRequestIdLifetime) {
        if ((*first)->fingerprint != fingerprint) {
          return absl::InvalidArgumentError(
              "this request_id was used for another change within the hour: take a new one");
        }
        repeated = true;
        if (!change.response->ParseFromString((*first)->answer)) {
          return absl::InternalError("the kept answer to this request_id cannot be read");
        }
        return absl::OkStatus();
      }
    }
    absl::Status done = body(writer);
    if (!done.ok() || change.request_id.empty()) return done;
    return writer.InsertRequest(
        AnsweredRequest{change.request_id, fingerprint, change.response->SerializeAsString(), now},
        now - kRequestIdLifetime, kMaxRequestsKept);
  });
  telemetry::Log(status.ok() ? LogLevel::kInfo : LogLevel::kWarning,
                 status.ok() ? "directory changed" : "directory change refused",
                 {{"method", change.method},
                  {"subject", change.subject},
                  {"repeated", repeated},
                  {"status", status.ToString()},
                  {"caller", rpc::CallerIdentity(*context)},
                  {"trace", rpc::ReadCallContext(*context).trace.trace_id}});
  return status;
}

grpc::ServerUnaryReactor* DirectoryAdminService::Submit(
    grpc::CallbackServerContext* context, Change change,
    absl::AnyInvocable<absl::Status(DirectoryWriter&)> body) {
  return Run(admin_pool_, context,
             [this, context, change = std::move(change), body = std::move(body)]() mutable {
               return Apply(context, change, [&](DirectoryWriter& writer) { return body(writer); });
             });
}

template <typename Request>
absl::StatusOr<StoredPassword> DirectoryAdminService::KeptOf(const Request& request) {
  if (request.password_hash().empty()) {
    if (absl::Status good = CheckNewPassword(request.password()); !good.ok()) return good;
    return keeper_.Keep(request.password());
  }
  if (!request.password().empty()) {
    return absl::InvalidArgumentError("either a password or its hash, not both");
  }
  absl::StatusOr<std::string> hash = CanonicalHash(request.password_hash());
  if (!hash.ok()) return hash.status();
  return StoredPassword{*std::move(hash)};
}

template <typename Request>
grpc::ServerUnaryReactor* DirectoryAdminService::SubmitWithPassword(
    grpc::CallbackServerContext* context, Change change, const Request* request,
    absl::AnyInvocable<absl::Status(DirectoryWriter&, StoredPassword)> body) {
  return Run(hashing_pool_, context,
             [this, context, change = std::move(change), request,
              body = std::move(body)]() mutable -> absl::Status {
               absl::StatusOr<StoredPassword> kept = KeptOf(*request);
               if (!kept.ok()) return kept.status();
               return Apply(context, change,
                            [&](DirectoryWriter& writer) { return body(writer, *kept); });
             });
}

grpc::ServerUnaryReactor* DirectoryAdminService::SubmitAbout(
    const std::vector<std::string>& addresses, grpc::CallbackServerContext* context, Change change,
    absl::AnyInvocable<absl::Status(DirectoryWriter&)> body) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  std::vector<Address> asked;
  for (const std::string& text : addresses) {
    absl::StatusOr<Address> address = CanonicalAddress(text);
    if (address.ok()) asked.push_back(*std::move(address));
  }
  mirror_.Refresh(std::move(asked), [=, this, change = std::move(change),
                                     body = std::move(body)](const absl::Status& known) mutable {
    if (!known.ok()) {
      reactor->Finish(rpc::ToGrpc(known));
      return;
    }
    FinishOn(admin_pool_, reactor,
             [=, this, change = std::move(change), body = std::move(body)]() mutable {
               return Apply(context, change, [&](DirectoryWriter& writer) { return body(writer); });
             });
  });
  return reactor;
}

template <typename Response>
grpc::ServerUnaryReactor* DirectoryAdminService::SubmitAlias(
    grpc::CallbackServerContext* context, absl::string_view method, const std::string& request_id,
    const v1::Alias& asked, Response* response,
    absl::StatusOr<Alias> (Upkeep::*write)(DirectoryWriter&, const NewAlias&) const) {
  return SubmitAbout(FromProto(asked).targets, context,
                     {method,
                      absl::StrCat(asked.address(), " -> ", absl::StrJoin(asked.targets(), ", "),
                                   asked.forwards().empty() ? "" : "; on to ",
                                   absl::StrJoin(asked.forwards(), ", ")),
                      request_id, response},
                     [=, this, &asked](DirectoryWriter& writer) {
                       absl::StatusOr<Alias> alias = (upkeep_.*write)(writer, FromProto(asked));
                       if (!alias.ok()) return alias.status();
                       return ToProto(writer, *alias, response->mutable_alias());
                     });
}

grpc::ServerUnaryReactor* DirectoryAdminService::List(
    grpc::CallbackServerContext* context, absl::AnyInvocable<absl::Status(DirectoryReader&)> body) {
  return Run(admin_pool_, context, [this, body = std::move(body)]() mutable {
    return directory_.Read([&](DirectoryReader& reader) { return body(reader); });
  });
}

grpc::ServerUnaryReactor* DirectoryAdminService::AddDomain(grpc::CallbackServerContext* context,
                                                           const v1::AddDomainRequest* request,
                                                           v1::AddDomainResponse* response) {
  return Submit(context, {"AddDomain", request->name(), request->request_id(), response},
                [=, this](DirectoryWriter& writer) {
                  absl::StatusOr<Domain> domain = upkeep_.AddDomain(writer, request->name());
                  if (domain.ok()) ToProto(*domain, response->mutable_domain());
                  return domain.status();
                });
}

grpc::ServerUnaryReactor* DirectoryAdminService::ListDomains(grpc::CallbackServerContext* context,
                                                             const v1::ListDomainsRequest* request,
                                                             v1::ListDomainsResponse* response) {
  return List(context, [=](DirectoryReader& reader) {
    response->Clear();
    absl::StatusOr<size_t> size = PageSize(request->page_size());
    if (!size.ok()) return size.status();
    absl::StatusOr<std::string> after = DomainFromToken(request->page_token());
    if (!after.ok()) return after.status();
    absl::StatusOr<std::vector<Domain>> domains = reader.ListDomains(*after, *size + 1);
    if (!domains.ok()) return domains.status();
    if (domains->size() > *size) {
      domains->pop_back();
      response->set_next_page_token(domains->back().name);
    }
    for (const Domain& domain : *domains) ToProto(domain, response->add_domains());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DirectoryAdminService::RemoveDomain(
    grpc::CallbackServerContext* context, const v1::RemoveDomainRequest* request,
    v1::RemoveDomainResponse* response) {
  return Submit(
      context, {"RemoveDomain", request->name(), request->request_id(), response},
      [=, this](DirectoryWriter& writer) { return upkeep_.RemoveDomain(writer, request->name()); });
}

grpc::ServerUnaryReactor* DirectoryAdminService::SetDomainEnabled(
    grpc::CallbackServerContext* context, const v1::SetDomainEnabledRequest* request,
    v1::SetDomainEnabledResponse* response) {
  return Submit(context,
                {request->enabled() ? "EnableDomain" : "DisableDomain", request->name(),
                 request->request_id(), response},
                [=, this](DirectoryWriter& writer) {
                  absl::StatusOr<Domain> domain =
                      upkeep_.SetDomainEnabled(writer, request->name(), request->enabled());
                  if (domain.ok()) ToProto(*domain, response->mutable_domain());
                  return domain.status();
                });
}

grpc::ServerUnaryReactor* DirectoryAdminService::SetLoginPolicy(
    grpc::CallbackServerContext* context, const v1::SetLoginPolicyRequest* request,
    v1::SetLoginPolicyResponse* response) {
  const bool any = request->login_policy() == v1::Domain::LOGIN_POLICY_ANY;
  return Submit(context,
                {"SetLoginPolicy", absl::StrCat(request->name(), any ? " any" : " no-passwords"),
                 request->request_id(), response},
                [=, this](DirectoryWriter& writer) -> absl::Status {
                  if (!any && request->login_policy() != v1::Domain::LOGIN_POLICY_NO_PASSWORDS) {
                    return absl::InvalidArgumentError("login_policy is ANY or NO_PASSWORDS");
                  }
                  absl::StatusOr<Domain> domain = upkeep_.SetLoginPolicy(
                      writer, request->name(), any ? LoginPolicy::kAny : LoginPolicy::kNoPasswords);
                  if (domain.ok()) ToProto(*domain, response->mutable_domain());
                  return domain.status();
                });
}

grpc::ServerUnaryReactor* DirectoryAdminService::AddAccount(grpc::CallbackServerContext* context,
                                                            const v1::AddAccountRequest* request,
                                                            v1::AddAccountResponse* response) {
  return SubmitWithPassword(context,
                            {"AddAccount", request->address(), request->request_id(), response},
                            request, [=, this](DirectoryWriter& writer, StoredPassword kept) {
                              absl::StatusOr<Account> account =
                                  upkeep_.AddAccount(writer, request->address(), std::move(kept));
                              if (account.ok()) ToProto(*account, response->mutable_account());
                              return account.status();
                            });
}

grpc::ServerUnaryReactor* DirectoryAdminService::ListAccounts(
    grpc::CallbackServerContext* context, const v1::ListAccountsRequest* request,
    v1::ListAccountsResponse* response) {
  return List(context, [=](DirectoryReader& reader) -> absl::Status {
    response->Clear();
    absl::StatusOr<size_t> size = PageSize(request->page_size());
    if (!size.ok()) return size.status();
    if (!request->address().empty()) {
      absl::StatusOr<Address> address = CanonicalAddress(request->address());
      if (!address.ok()) return address.status();
      absl::StatusOr<std::optional<Account>> account = reader.FindAccount(*address);
      if (!account.ok()) return account.status();
      if (account->has_value()) ToProto(**account, response->add_accounts());
      return absl::OkStatus();
    }
    absl::StatusOr<std::string> domain = DomainFilter(reader, request->domain());
    if (!domain.ok()) return domain.status();
    absl::StatusOr<Address> after = AddressFromToken(request->page_token());
    if (!after.ok()) return after.status();
    absl::StatusOr<std::vector<Account>> accounts = reader.ListAccounts(*domain, *after, *size + 1);
    if (!accounts.ok()) return accounts.status();
    response->set_next_page_token(CutToPage(*accounts, *size));
    for (const Account& account : *accounts) ToProto(account, response->add_accounts());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DirectoryAdminService::RemoveAccount(
    grpc::CallbackServerContext* context, const v1::RemoveAccountRequest* request,
    v1::RemoveAccountResponse* response) {
  return Submit(context, {"RemoveAccount", request->address(), request->request_id(), response},
                [=, this](DirectoryWriter& writer) {
                  return upkeep_.RemoveAccount(writer, request->address());
                });
}

grpc::ServerUnaryReactor* DirectoryAdminService::SetPassword(grpc::CallbackServerContext* context,
                                                             const v1::SetPasswordRequest* request,
                                                             v1::SetPasswordResponse* response) {
  return SubmitWithPassword(
      context, {"SetPassword", request->address(), request->request_id(), response}, request,
      [=, this](DirectoryWriter& writer, StoredPassword kept) {
        return upkeep_.SetPassword(writer, request->address(), std::move(kept));
      });
}

grpc::ServerUnaryReactor* DirectoryAdminService::SetAccountEnabled(
    grpc::CallbackServerContext* context, const v1::SetAccountEnabledRequest* request,
    v1::SetAccountEnabledResponse* response) {
  return Submit(context,
                {request->enabled() ? "EnableAccount" : "DisableAccount", request->address(),
                 request->request_id(), response},
                [=, this](DirectoryWriter& writer) {
                  return upkeep_.SetAccountEnabled(writer, request->address(), request->enabled());
                });
}

grpc::ServerUnaryReactor* DirectoryAdminService::AddAppPassword(
    grpc::CallbackServerContext* context, const v1::AddAppPasswordRequest* request,
    v1::AddAppPasswordResponse* response) {
  static const std::string kNoRequestId;
  return SubmitAbout({request->address()}, context,
                     {"AddAppPassword", absl::StrCat(request->address(), " ", request->name()),
                      kNoRequestId, response},
                     [=, this](DirectoryWriter& writer) {
                       AppPassword asked;
                       asked.name = request->name();
                       asked.pop3 = request->pop3();
                       asked.submission = request->submission();
                       asked.created_at = clock_();
                       const std::string password = NewAppPassword();
                       absl::StatusOr<AppPassword> added = upkeep_.AddAppPassword(
                           writer, request->address(), std::move(asked), password);
                       if (!added.ok()) return added.status();
                       ToProto(*added, response->mutable_app_password());
                       response->set_password(password);
                       return absl::OkStatus();
                     });
}

grpc::ServerUnaryReactor* DirectoryAdminService::ListAppPasswords(
    grpc::CallbackServerContext* context, const v1::ListAppPasswordsRequest* request,
    v1::ListAppPasswordsResponse* response) {
  return List(context, [=, this](DirectoryReader& reader) {
    response->Clear();
    absl::StatusOr<std::vector<AppPassword>> passwords =
        upkeep_.ListAppPasswords(reader, request->address());
    if (!passwords.ok()) return passwords.status();
    for (const AppPassword& password : *passwords) {
      ToProto(password, response->add_app_passwords());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DirectoryAdminService::RemoveAppPassword(
    grpc::CallbackServerContext* context, const v1::RemoveAppPasswordRequest* request,
    v1::RemoveAppPasswordResponse* response) {
  return Submit(context,
                {"RemoveAppPassword", absl::StrCat(request->address(), " ", request->name()),
                 request->request_id(), response},
                [=, this](DirectoryWriter& writer) {
                  return upkeep_.RemoveAppPassword(writer, request->address(), request->name());
                });
}

grpc::ServerUnaryReactor* DirectoryAdminService::AddAlias(grpc::CallbackServerContext* context,
                                                          const v1::AddAliasRequest* request,
                                                          v1::AddAliasResponse* response) {
  return SubmitAlias(context, "AddAlias", request->request_id(), request->alias(), response,
                     &Upkeep::AddAlias);
}

grpc::ServerUnaryReactor* DirectoryAdminService::SetAliasTargets(
    grpc::CallbackServerContext* context, const v1::SetAliasTargetsRequest* request,
    v1::SetAliasTargetsResponse* response) {
  return SubmitAlias(context, "SetAliasTargets", request->request_id(), request->alias(), response,
                     &Upkeep::SetAliasTargets);
}

grpc::ServerUnaryReactor* DirectoryAdminService::SetAliasSenders(
    grpc::CallbackServerContext* context, const v1::SetAliasSendersRequest* request,
    v1::SetAliasSendersResponse* response) {
  const std::vector<std::string> accounts(request->accounts().begin(), request->accounts().end());
  return SubmitAbout(
      accounts, context,
      {"SetAliasSenders",
       absl::StrCat(request->address(), " by ",
                    request->members() ? "its members" : absl::StrJoin(accounts, ", ")),
       request->request_id(), response},
      [=, this](DirectoryWriter& writer) {
        absl::StatusOr<Alias> alias =
            upkeep_.SetAliasSenders(writer, request->address(), request->members(), accounts);
        if (!alias.ok()) return alias.status();
        return ToProto(writer, *alias, response->mutable_alias());
      });
}

grpc::ServerUnaryReactor* DirectoryAdminService::ListAliases(grpc::CallbackServerContext* context,
                                                             const v1::ListAliasesRequest* request,
                                                             v1::ListAliasesResponse* response) {
  return List(context, [=](DirectoryReader& reader) {
    response->Clear();
    absl::StatusOr<size_t> size = PageSize(request->page_size());
    if (!size.ok()) return size.status();
    absl::StatusOr<std::string> domain = DomainFilter(reader, request->domain());
    if (!domain.ok()) return domain.status();
    absl::StatusOr<Address> after = AddressFromToken(request->page_token());
    if (!after.ok()) return after.status();
    absl::StatusOr<std::vector<Alias>> aliases = reader.ListAliases(*domain, *after, *size + 1);
    if (!aliases.ok()) return aliases.status();
    response->set_next_page_token(CutToPage(*aliases, *size));
    for (const Alias& alias : *aliases) {
      absl::Status told = ToProto(reader, alias, response->add_aliases());
      if (!told.ok()) return told;
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DirectoryAdminService::RemoveAlias(grpc::CallbackServerContext* context,
                                                             const v1::RemoveAliasRequest* request,
                                                             v1::RemoveAliasResponse* response) {
  return Submit(context, {"RemoveAlias", request->address(), request->request_id(), response},
                [=, this](DirectoryWriter& writer) {
                  return upkeep_.RemoveAlias(writer, request->address());
                });
}

absl::Status DirectoryAdminService::ImportOne(DirectoryWriter& writer,
                                              const v1::ImportRequest::Entry& entry) const {
  switch (entry.what_case()) {
    case v1::ImportRequest::Entry::kDomain:
      return upkeep_.AddDomain(writer, entry.domain()).status();
    case v1::ImportRequest::Entry::kAccount: {
      absl::StatusOr<std::string> hash = CanonicalHash(entry.account().password_hash());
      if (!hash.ok()) return hash.status();
      return upkeep_.AddAccount(writer, entry.account().address(), {*std::move(hash)}).status();
    }
    case v1::ImportRequest::Entry::kAlias: {
      const v1::Alias& asked = entry.alias();
      absl::Status added = upkeep_.AddAlias(writer, FromProto(asked)).status();
      if (added.ok() || absl::IsAlreadyExists(added)) return added;
      // It was refused for where it leads, once it was there.
      const absl::Status undone = upkeep_.RemoveAlias(writer, asked.address());
      return undone.ok() || absl::IsNotFound(undone) || absl::IsInvalidArgument(undone) ? added
                                                                                        : undone;
    }
    case v1::ImportRequest::Entry::WHAT_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("an entry without contents");
}

grpc::ServerUnaryReactor* DirectoryAdminService::Import(grpc::CallbackServerContext* context,
                                                        const v1::ImportRequest* request,
                                                        v1::ImportResponse* response) {
  return Run(admin_pool_, context, [=, this]() -> absl::Status {
    if (request->entries_size() > kMaxImported) {
      return absl::InvalidArgumentError(absl::StrCat("more than ", kMaxImported, " entries"));
    }
    int added = 0;
    absl::Status done = directory_.Write([&](DirectoryWriter& writer) -> absl::Status {
      response->Clear();
      added = 0;
      for (const v1::ImportRequest::Entry& entry : request->entries()) {
        const absl::Status status = ImportOne(writer, entry);
        v1::ImportResponse::Result& result = *response->add_results();
        if (status.ok()) {
          ++added;
          result.set_outcome(v1::ImportResponse::OUTCOME_ADDED);
        } else if (absl::IsAlreadyExists(status)) {
          result.set_outcome(v1::ImportResponse::OUTCOME_PRESENT);
        } else if (absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
                   absl::IsFailedPrecondition(status)) {
          result.set_outcome(v1::ImportResponse::OUTCOME_REFUSED);
          result.set_why(std::string(status.message()));
        } else {
          return status;
        }
      }
      return request->dry_run() ? absl::CancelledError("a dry run") : absl::OkStatus();
    });
    if (request->dry_run() && absl::IsCancelled(done)) return absl::OkStatus();
    telemetry::Log(done.ok() ? LogLevel::kInfo : LogLevel::kWarning, "directory import",
                   {{"entries", request->entries_size()},
                    {"added", added},
                    {"status", done.ToString()},
                    {"caller", rpc::CallerIdentity(*context)}});
    return done;
  });
}

grpc::ServerUnaryReactor* DirectoryAdminService::TestLogin(grpc::CallbackServerContext* context,
                                                           const v1::TestLoginRequest* request,
                                                           v1::TestLoginResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  trial_.Run(
      request->address(),
      request->has_password() ? std::optional<std::string>(request->password()) : std::nullopt,
      [reactor, response](TriedLogin tried) {
        response->set_outcome(ToProto(tried.outcome));
        for (std::string& step : tried.steps) response->add_steps(std::move(step));
        reactor->Finish(grpc::Status::OK);
      });
  return reactor;
}

}  // namespace postern::auth
