// Who may call what: the table of DESIGN, deny by default.
#ifndef POSTERN_SERVICES_IDENTITY_ACCESS_H_
#define POSTERN_SERVICES_IDENTITY_ACCESS_H_

#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace postern::identity {

inline constexpr absl::string_view kGatewaySmtpMx = "gateway-smtp-mx";
inline constexpr absl::string_view kGatewaySmtpSubmission = "gateway-smtp-submission";
inline constexpr absl::string_view kGatewayPop3 = "gateway-pop3";
inline constexpr absl::string_view kAuthSvc = "auth-svc";
inline constexpr absl::string_view kStoreSvc = "store-svc";
inline constexpr absl::string_view kRelaySvc = "relay-svc";
inline constexpr absl::string_view kPosternctl = "posternctl";

struct AccessRule {
  // Full name: "postern.store.v1.DeliveryService".
  absl::string_view grpc_service;
  std::vector<absl::string_view> callers;
};

absl::Span<const AccessRule> AccessRules();

// Every identity a certificate may carry; any other is nobody's.
absl::Span<const absl::string_view> KnownIdentities();

// `caller` is the identity in the certificate; "" is nobody. An unknown service is nobody's.
bool MayCall(absl::string_view caller, absl::string_view grpc_service);

}  // namespace postern::identity

#endif  // POSTERN_SERVICES_IDENTITY_ACCESS_H_
