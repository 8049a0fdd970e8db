#include "services/identity/access.h"

#include <algorithm>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace postern::identity {

absl::Span<const AccessRule> AccessRules() {
  static const auto& rules = *new std::vector<AccessRule>{
      {"postern.auth.v1.AuthenticationService", {kGatewaySmtpSubmission, kGatewayPop3}},
      {"postern.auth.v1.DirectoryService", {kRelaySvc}},
      {"postern.auth.v1.DirectoryAdminService", {kPosternctl}},
      {"postern.store.v1.DeliveryService", {kGatewaySmtpMx, kRelaySvc}},
      {"postern.store.v1.MaildropService", {kGatewayPop3}},
      {"postern.store.v1.StoreAdminService", {kPosternctl}},
      {"postern.relay.v1.PolicyService", {kGatewaySmtpMx, kGatewaySmtpSubmission}},
      {"postern.relay.v1.SubmissionService", {kGatewaySmtpSubmission}},
      {"postern.relay.v1.ForwardingService", {kGatewaySmtpMx}},
      {"postern.relay.v1.QueueAdminService", {kPosternctl}},
  };
  return rules;
}

absl::Span<const absl::string_view> KnownIdentities() {
  static constexpr absl::string_view kAll[] = {
      kGatewaySmtpMx, identity::kGatewaySmtpSubmission,
      kGatewayPop3,   identity::kAuthSvc,
      kStoreSvc,      identity::kRelaySvc,
      kPosternctl,
  };
  return kAll;
}

bool MayCall(absl::string_view caller, absl::string_view grpc_service) {
  if (caller.empty()) {
    return false;
  }
  for (const AccessRule& rule : AccessRules()) {
    if (rule.grpc_service == grpc_service) {
      return std::find(rule.callers.begin(), rule.callers.end(), caller) != rule.callers.end();
    }
  }
  return false;
}

}  // namespace postern::identity
