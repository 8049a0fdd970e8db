#include "auth-svc/rpc/directory_service.h"

#include <memory>
#include <string>
#include <utility>
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

// Where an alias leads may be found to have changed once that is looked at, and again.
constexpr int kMaxReads = 4;

}  // namespace

struct DirectoryService::Call {
  // Once: asked again, gRPC makes another in its place.
  grpc::ServerUnaryReactor* reactor;
  grpc::CallbackServerContext* context;
  absl::string_view method;
  Question question;
  int reads = 0;

  void Finish(const absl::Status& status) { auth::Finish(reactor, context, method, status); }
};

grpc::ServerUnaryReactor* DirectoryService::Answer(grpc::CallbackServerContext* context,
                                                   absl::string_view method, Question question) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Read(std::make_shared<Call>(Call{reactor, context, method, std::move(question)}));
  return reactor;
}

void DirectoryService::Read(std::shared_ptr<Call> call) {
  struct Read {
    absl::Status status;
    std::vector<Address> addresses;
  };
  process::RunOn<struct Read>(
      pool_,
      [this, call] {
        struct Read read;
        read.status = directory_.Read([&](DirectoryReader& reader) {
          read.addresses.clear();
          return call->question(reader, &read.addresses);
        });
        return read;
      },
      [this, call](struct Read read) {
        // What the rows have may be why it failed.
        const bool answered = read.status.ok() || absl::IsFailedPrecondition(read.status);
        if (!answered || ++call->reads >= kMaxReads || mirror_.Stale(read.addresses).empty()) {
          call->Finish(read.status);
          return;
        }
        mirror_.Refresh(std::move(read.addresses), [this, call](const absl::Status& refreshed) {
          if (refreshed.ok()) {
            this->Read(call);
          } else {
            call->Finish(refreshed);
          }
        });
      },
      {absl::UnavailableError("too many reads wait"), {}});
}

grpc::ServerUnaryReactor* DirectoryService::ResolveRecipient(
    grpc::CallbackServerContext* context, const v1::ResolveRecipientRequest* request,
    v1::ResolveRecipientResponse* response) {
  return Answer(
      context, "ResolveRecipient",
      [this, request, response](DirectoryReader& reader, std::vector<Address>* addresses) {
        absl::StatusOr<Resolution> resolution =
            resolver_.Resolve(reader, request->address(), request->sender(), clock_(), addresses);
        if (!resolution.ok()) return resolution.status();
        response->Clear();
        response->set_outcome(ToProto(resolution->outcome));
        for (const Account& account : resolution->accounts) {
          v1::Mailbox& mailbox = *response->add_mailboxes();
          mailbox.set_mailbox_id(account.mailbox_id);
          mailbox.set_address(account.address.ToString());
        }
        for (const Address& forward : resolution->forwards) {
          response->add_forwards(forward.ToString());
        }
        response->set_forward_sender(resolution->forward_sender);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* DirectoryService::ListLocalDomains(
    grpc::CallbackServerContext* context, const v1::ListLocalDomainsRequest* request,
    v1::ListLocalDomainsResponse* response) {
  return Answer(context, "ListLocalDomains",
                [request, response](DirectoryReader& reader, std::vector<Address>*) {
                  absl::StatusOr<size_t> size = PageSize(request->page_size());
                  if (!size.ok()) return size.status();
                  absl::StatusOr<std::string> after = DomainFromToken(request->page_token());
                  if (!after.ok()) return after.status();
                  absl::StatusOr<std::vector<Domain>> domains =
                      reader.ListDomains(*after, *size + 1);
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
                [this, request, response](DirectoryReader& reader,
                                          std::vector<Address>* rests_on) -> absl::Status {
                  if (request->addresses_size() > kMaxSenderAddresses) {
                    return absl::InvalidArgumentError(
                        absl::StrCat("more than ", kMaxSenderAddresses, " addresses at once"));
                  }
                  const std::vector<std::string> addresses(request->addresses().begin(),
                                                           request->addresses().end());
                  absl::StatusOr<bool> allowed =
                      resolver_.MaySendAs(reader, request->account_id(), addresses, rests_on);
                  if (!allowed.ok()) return allowed.status();
                  response->set_allowed(*allowed);
                  return absl::OkStatus();
                });
}

}  // namespace postern::auth
