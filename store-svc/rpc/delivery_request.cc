#include "store-svc/rpc/delivery_request.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "services/rpc/limits.h"
#include "store-svc/domain/envelope.h"

namespace postern::store {
namespace {

constexpr size_t kDeliveryIdOctets = 16;

}  // namespace

absl::StatusOr<Delivery> ParseDeliveryHeader(const v1::DeliveryHeader& header) {
  if (header.delivery_id().size() != kDeliveryIdOctets) {
    return absl::InvalidArgumentError("a delivery_id has 16 octets");
  }
  if (header.recipients().empty() || header.recipients_size() > rpc::kMaxMailboxes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a delivery has 1 to ", rpc::kMaxMailboxes, " recipients"));
  }
  Delivery delivery{.delivery_id = header.delivery_id()};
  delivery.recipients.reserve(header.recipients_size());
  absl::flat_hash_set<std::string> seen;
  const std::string* original = nullptr;
  for (const v1::DeliveryRecipient& recipient : header.recipients()) {
    absl::StatusOr<MailboxId> mailbox = MailboxId::Parse(recipient.mailbox_id());
    if (!mailbox.ok()) return mailbox.status();
    absl::StatusOr<std::string> prefix = EnvelopePrefix(
        header.envelope_sender(), recipient.address(), recipient.original_recipient());
    if (!prefix.ok()) return prefix.status();
    if (header.recipients_size() > 1 && !seen.insert(std::string(mailbox->octets())).second) {
      continue;
    }
    const bool first = delivery.recipients.empty();
    const bool another = !first && recipient.original_recipient() != *original;
    delivery.recipients.push_back(
        {*std::move(mailbox), *std::move(prefix),
         first ? 0 : delivery.recipients.back().of_envelope + (another ? 1 : 0)});
    original = &recipient.original_recipient();
  }
  return delivery;
}

}  // namespace postern::store
