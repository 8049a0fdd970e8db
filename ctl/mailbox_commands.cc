#include "ctl/mailbox_commands.h"

#include <map>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace postern::ctl {
namespace {

using Stub = store::v1::StoreAdminService::Stub;

std::string Of(uint64_t quota) { return quota == 0 ? "unlimited" : absl::StrCat(quota); }

}  // namespace

absl::StatusOr<std::string> MailboxCommands::IdOf(const std::string& mailbox) {
  if (!absl::StrContains(mailbox, "@")) return mailbox;
  auto account = directory_.FindAccount(mailbox);
  if (!account.ok()) return account.status();
  return account->mailbox_id();
}

absl::Status MailboxCommands::List() {
  auto mailboxes = remote_.List(&Stub::ListMailboxes, store::v1::ListMailboxesRequest(),
                                &store::v1::ListMailboxesResponse::mutable_mailboxes);
  if (!mailboxes.ok()) return mailboxes.status();
  auto accounts = directory_.AllAccounts("");
  if (!accounts.ok()) return accounts.status();
  std::map<std::string, std::string> addresses;
  for (const auth::v1::Account& account : *accounts) {
    addresses[account.mailbox_id()] = account.address();
  }
  std::vector<Output::Row> rows;
  for (const store::v1::MailboxUsage& usage : *mailboxes) {
    auto found = addresses.find(usage.mailbox_id());
    // Of an account that was removed.
    const std::string address = found == addresses.end() ? "" : found->second;
    rows.push_back({JsonObject(usage).Text("address", address),
                    {address.empty() ? "(account removed)" : address, usage.mailbox_id(),
                     absl::StrCat(usage.messages()), Octets(usage.octets())}});
  }
  output_.List("mailboxes", {"ADDRESS", "MAILBOX", "MESSAGES", "SIZE"}, rows);
  return absl::OkStatus();
}

absl::Status MailboxCommands::Usage(const std::string& mailbox) {
  auto id = IdOf(mailbox);
  if (!id.ok()) return id.status();
  store::v1::GetUsageRequest request;
  request.set_mailbox_id(*id);
  auto response = remote_.Call(&Stub::GetUsage, request);
  if (!response.ok()) return response.status();
  const store::v1::MailboxUsage& usage = response->usage();
  output_.Thing(
      JsonObject(usage),
      absl::StrCat("mailbox ", *id, ": ", usage.messages(), " of ", Of(usage.quota_messages()),
                   " messages, ", Octets(usage.octets()), " of ",
                   usage.quota_octets() == 0 ? "unlimited" : Octets(usage.quota_octets())));
  return absl::OkStatus();
}

absl::Status MailboxCommands::SetQuota(const std::string& mailbox, std::optional<uint64_t> octets,
                                       std::optional<uint64_t> messages) {
  auto id = IdOf(mailbox);
  if (!id.ok()) return id.status();
  store::v1::SetQuotaRequest request;
  request.set_request_id(NewRequestId());
  request.set_mailbox_id(*id);
  if (octets.has_value()) request.set_quota_octets(*octets);
  if (messages.has_value()) request.set_quota_messages(*messages);
  if (auto response = remote_.Call(&Stub::SetQuota, request); !response.ok()) {
    return response.status();
  }
  return Usage(*id);
}

absl::Status MailboxCommands::Purge(const std::string& mailbox) {
  auto id = IdOf(mailbox);
  if (!id.ok()) return id.status();
  store::v1::PurgeMailboxRequest request;
  request.set_request_id(NewRequestId());
  request.set_mailbox_id(*id);
  auto response = remote_.Call(&Stub::PurgeMailbox, request);
  if (!response.ok()) return response.status();
  output_.Thing(JsonObject(*response).Text("mailbox_id", *id),
                absl::StrCat("mailbox ", *id, ": ", response->purged_messages(),
                             " messages removed for ever"));
  return absl::OkStatus();
}

}  // namespace postern::ctl
