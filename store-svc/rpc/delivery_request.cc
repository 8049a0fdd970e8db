#include "store-svc/rpc/delivery_request.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
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
  absl::flat_hash_map<std::string, size_t> places;
  const std::string* original = nullptr;
  for (const v1::DeliveryRecipient& recipient : header.recipients()) {
    absl::StatusOr<MailboxId> mailbox = MailboxId::Parse(recipient.mailbox_id());
    if (!mailbox.ok()) return mailbox.status();
    absl::StatusOr<std::string> prefix = EnvelopePrefix(
        header.envelope_sender(), recipient.address(), recipient.original_recipient());
    if (!prefix.ok()) return prefix.status();
    // Those that one recipient leads to stand together.
    if (original == nullptr || *original != recipient.original_recipient()) {
      delivery.leads_to.emplace_back();
    }
    original = &recipient.original_recipient();
    const auto [place, is_new] = places.emplace(mailbox->octets(), delivery.recipients.size());
    delivery.leads_to.back().push_back(place->second);
    // A mailbox that stands twice gets one copy.
    if (is_new) delivery.recipients.push_back({*std::move(mailbox), *std::move(prefix)});
  }
  return delivery;
}

}  // namespace postern::store
