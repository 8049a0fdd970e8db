#include "services/clients/content_fault.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace postern::clients {
namespace {

constexpr absl::string_view kType = "postern.relay.v1.ContentFault";

}  // namespace

absl::Status ContentFaultError(relay::v1::ContentFault::Kind kind, absl::string_view field) {
  relay::v1::ContentFault fault;
  fault.set_kind(kind);
  fault.set_field(std::string(field));
  absl::Status status = absl::InvalidArgumentError(
      absl::StrCat(relay::v1::ContentFault::Kind_Name(kind), field.empty() ? "" : ": ", field));
  status.SetPayload(kType, absl::Cord(fault.SerializeAsString()));
  return status;
}

std::optional<relay::v1::ContentFault> ContentFaultOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kType);
  relay::v1::ContentFault fault;
  if (!payload.has_value() || !fault.ParseFromString(std::string(*payload))) return std::nullopt;
  return fault;
}

}  // namespace postern::clients
