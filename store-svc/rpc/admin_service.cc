#include "store-svc/rpc/admin_service.h"

#include <optional>
#include <utility>
#include <vector>

#include "grpcpp/server_context.h"
#include "grpcpp/support/server_callback.h"
#include "proto/postern/store/v1/store_admin.grpc.pb.h"
#include "services/rpc/context.h"
#include "services/telemetry/log.h"

namespace postern::store {
namespace {

constexpr int kDefaultPage = 100;
constexpr int kLargestPage = 1000;

void Fill(const MailboxUsage& usage, v1::MailboxUsage* message) {
  message->set_mailbox_id(usage.mailbox.ToString());
  message->set_messages(usage.messages);
  message->set_octets(usage.octets);
  message->set_quota_messages(usage.quota_messages);
  message->set_quota_octets(usage.quota_octets);
}

// As store_svc.proto has it for every mailbox's.
absl::Status Check(const QuotaChange& change) {
  if (change.messages.value_or(0) > 10'000'000) {
    return absl::InvalidArgumentError("quota_messages is 1 to 10000000");
  }
  const uint64_t octets = change.octets.value_or(0);
  if (octets != 0 && (octets < 1 << 20 || octets > uint64_t{1} << 50)) {
    return absl::InvalidArgumentError("quota_octets is 1MiB to 1048576GiB");
  }
  return absl::OkStatus();
}

class StoreAdminService final : public v1::StoreAdminService::CallbackService {
 public:
  StoreAdminService(MailStore* store, process::WorkerPool* pool) : store_(store), pool_(pool) {}

  // Page tokens are the last mailbox's id.
  grpc::ServerUnaryReactor* ListMailboxes(grpc::CallbackServerContext* context,
                                          const v1::ListMailboxesRequest* request,
                                          v1::ListMailboxesResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    if (request->page_size() < 0 || request->page_size() > kLargestPage) {
      return FinishWith(reactor, absl::InvalidArgumentError("page_size is 1 to 1000"));
    }
    std::optional<MailboxId> after;
    if (!request->page_token().empty()) {
      absl::StatusOr<MailboxId> id = MailboxId::Parse(request->page_token());
      if (!id.ok()) return FinishWith(reactor, absl::InvalidArgumentError("not a page_token"));
      after = *std::move(id);
    }
    const size_t limit = request->page_size() == 0 ? kDefaultPage : request->page_size();
    return Read(reactor, [this, response, after, limit] {
      absl::StatusOr<std::vector<MailboxUsage>> usages = store_->ListMailboxes(after, limit);
      if (!usages.ok()) return usages.status();
      for (const MailboxUsage& usage : *usages) Fill(usage, response->add_mailboxes());
      if (usages->size() == limit) {
        response->set_next_page_token(usages->back().mailbox.ToString());
      }
      return absl::OkStatus();
    });
  }

  grpc::ServerUnaryReactor* GetUsage(grpc::CallbackServerContext* context,
                                     const v1::GetUsageRequest* request,
                                     v1::GetUsageResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::StatusOr<MailboxId> id = MailboxId::Parse(request->mailbox_id());
    if (!id.ok()) return FinishWith(reactor, id.status());
    return Read(reactor, [this, response, id = *std::move(id)] {
      absl::StatusOr<MailboxUsage> usage = store_->Usage(id);
      if (usage.ok()) Fill(*usage, response->mutable_usage());
      return usage.status();
    });
  }

  // Repeating it is harmless, so the request_id is for the log alone.
  grpc::ServerUnaryReactor* SetQuota(grpc::CallbackServerContext* context,
                                     const v1::SetQuotaRequest* request,
                                     v1::SetQuotaResponse* /*response*/) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::StatusOr<MailboxId> id = MailboxId::Parse(request->mailbox_id());
    if (!id.ok()) return FinishWith(reactor, id.status());
    QuotaChange change;
    if (request->has_quota_messages()) change.messages = request->quota_messages();
    if (request->has_quota_octets()) change.octets = request->quota_octets();
    if (absl::Status good = Check(change); !good.ok()) return FinishWith(reactor, good);
    const rpc::CallContext call = rpc::ReadCallContext(*context);
    store_->SetQuota(*id, change, [reactor, request, call](const absl::Status& status) {
      telemetry::Log(telemetry::LogLevel::kInfo, "mailbox quota set",
                     {{"trace", call.trace.trace_id},
                      {"request_id", request->request_id()},
                      {"mailbox", request->mailbox_id()},
                      {"quota_messages", request->quota_messages()},
                      {"quota_octets", request->quota_octets()},
                      {"status", status.ToString()}});
      FinishWith(reactor, status);
    });
    return reactor;
  }

  // Repeating it is harmless, so the request_id is for the log alone.
  grpc::ServerUnaryReactor* PurgeMailbox(grpc::CallbackServerContext* context,
                                         const v1::PurgeMailboxRequest* request,
                                         v1::PurgeMailboxResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    absl::StatusOr<MailboxId> id = MailboxId::Parse(request->mailbox_id());
    if (!id.ok()) return FinishWith(reactor, id.status());
    const rpc::CallContext call = rpc::ReadCallContext(*context);
    store_->Purge(*id, [reactor, request, response, call](absl::StatusOr<uint64_t> purged) {
      if (purged.ok()) response->set_purged_messages(*purged);
      telemetry::Log(telemetry::LogLevel::kInfo, "mailbox purged",
                     {{"trace", call.trace.trace_id},
                      {"request_id", request->request_id()},
                      {"mailbox", request->mailbox_id()},
                      {"messages", purged.value_or(0)},
                      {"status", purged.status().ToString()}});
      reactor->Finish(rpc::ToGrpc(purged.status()));
    });
    return reactor;
  }

 private:
  static grpc::ServerUnaryReactor* FinishWith(grpc::ServerUnaryReactor* reactor,
                                              const absl::Status& status) {
    reactor->Finish(rpc::ToGrpc(status));
    return reactor;
  }

  template <typename Query>
  grpc::ServerUnaryReactor* Read(grpc::ServerUnaryReactor* reactor, Query query) {
    process::RunOn<absl::Status>(
        *pool_, std::move(query),
        [reactor](const absl::Status& status) { FinishWith(reactor, status); },
        absl::UnavailableError("too many reads wait"));
    return reactor;
  }

  MailStore* const store_;
  process::WorkerPool* const pool_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeStoreAdminService(MailStore* store, process::WorkerPool* pool) {
  return std::make_unique<StoreAdminService>(store, pool);
}

}  // namespace postern::store
