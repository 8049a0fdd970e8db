#include "auth-svc/rpc/directory_service.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "auth-svc/rpc/paging.h"
#include "services/rpc/context.h"
#include "services/telemetry/log.h"

namespace postern::auth {
namespace {

// A message has one From, seldom more.
constexpr int kMaxSenderAddresses = 100;

v1::ResolveRecipientResponse::Outcome ToProto(Resolution::Outcome outcome) {
  switch (outcome) {
    case Resolution::Outcome::kLocal:
      return v1::ResolveRecipientResponse::OUTCOME_LOCAL;
    case Resolution::Outcome::kUnknown:
      return v1::ResolveRecipientResponse::OUTCOME_UNKNOWN;
    case Resolution::Outcome::kNotLocal:
      return v1::ResolveRecipientResponse::OUTCOME_NOT_LOCAL;
    case Resolution::Outcome::kDisabled:
      return v1::ResolveRecipientResponse::OUTCOME_DISABLED;
  }
  return v1::ResolveRecipientResponse::OUTCOME_UNSPECIFIED;
}

void Finish(grpc::ServerUnaryReactor* reactor, grpc::CallbackServerContext* context,
            absl::string_view method, const absl::Status& status) {
  if (!status.ok()) {
    telemetry::Log(telemetry::LogLevel::kWarning, "directory call failed",
                   {{"method", method},
                    {"status", status.ToString()},
                    {"caller", rpc::CallerIdentity(*context)},
                    {"trace", rpc::ReadCallContext(*context).trace.trace_id}});
  }
  reactor->Finish(rpc::ToGrpc(status));
}

}  // namespace

grpc::ServerUnaryReactor* DirectoryService::Answer(
    grpc::CallbackServerContext* context, absl::string_view method,
    absl::AnyInvocable<absl::Status(DirectoryReader&)> read) {
  // Once: asked again, gRPC makes another in its place.
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  process::RunOn<absl::Status>(
      pool_,
      [this, read = std::move(read)]() mutable {
        return directory_.Read([&read](DirectoryReader& reader) { return read(reader); });
      },
      [reactor, context, method](const absl::Status& status) {
        Finish(reactor, context, method, status);
      },
      absl::UnavailableError("too many reads wait"));
  return reactor;
}

grpc::ServerUnaryReactor* DirectoryService::ResolveRecipient(
    grpc::CallbackServerContext* context, const v1::ResolveRecipientRequest* request,
    v1::ResolveRecipientResponse* response) {
  return Answer(context, "ResolveRecipient", [this, request, response](DirectoryReader& reader) {
    absl::StatusOr<Resolution> resolution = resolver_.Resolve(reader, request->address());
    if (!resolution.ok()) return resolution.status();
    response->Clear();
    response->set_outcome(ToProto(resolution->outcome));
    for (const Account& account : resolution->accounts) {
      v1::Mailbox& mailbox = *response->add_mailboxes();
      mailbox.set_mailbox_id(account.mailbox_id);
      mailbox.set_address(account.address.ToString());
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DirectoryService::ListLocalDomains(
    grpc::CallbackServerContext* context, const v1::ListLocalDomainsRequest* request,
    v1::ListLocalDomainsResponse* response) {
  return Answer(context, "ListLocalDomains", [request, response](DirectoryReader& reader) {
    absl::StatusOr<size_t> size = PageSize(request->page_size());
    if (!size.ok()) return size.status();
    absl::StatusOr<std::string> after = DomainFromToken(request->page_token());
    if (!after.ok()) return after.status();
    absl::StatusOr<std::vector<Domain>> domains = reader.ListDomains(*after, *size + 1);
    if (!domains.ok()) return domains.status();
    response->Clear();
    if (domains->size() > *size) {
      domains->pop_back();
      response->set_next_page_token(domains->back().name);
    }
    for (Domain& domain : *domains) response->add_domains(std::move(domain.name));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* DirectoryService::MaySendAs(grpc::CallbackServerContext* context,
                                                      const v1::MaySendAsRequest* request,
                                                      v1::MaySendAsResponse* response) {
  return Answer(context, "MaySendAs",
                [this, request, response](DirectoryReader& reader) -> absl::Status {
                  if (request->addresses_size() > kMaxSenderAddresses) {
                    return absl::InvalidArgumentError(
                        absl::StrCat("more than ", kMaxSenderAddresses, " addresses at once"));
                  }
                  const std::vector<std::string> addresses(request->addresses().begin(),
                                                           request->addresses().end());
                  absl::StatusOr<bool> allowed =
                      resolver_.MaySendAs(reader, request->account_id(), addresses);
                  if (!allowed.ok()) return allowed.status();
                  response->set_allowed(*allowed);
                  return absl::OkStatus();
                });
}

}  // namespace postern::auth
