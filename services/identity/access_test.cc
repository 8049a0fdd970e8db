#include "services/identity/access.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace postern::identity {
namespace {

// DESIGN, "Who may call what", written out a second time: the code's table must not drift from it.
const std::map<std::string, std::set<std::string>>& Design() {
  static const auto& table = *new std::map<std::string, std::set<std::string>>{
      {"postern.auth.v1.AuthenticationService", {"gateway-smtp-submission", "gateway-pop3"}},
      {"postern.auth.v1.DirectoryService", {"relay-svc"}},
      {"postern.auth.v1.DirectoryAdminService", {"posternctl"}},
      {"postern.store.v1.DeliveryService", {"gateway-smtp-mx", "relay-svc"}},
      {"postern.store.v1.MaildropService", {"gateway-pop3"}},
      {"postern.store.v1.StoreAdminService", {"posternctl"}},
      {"postern.relay.v1.PolicyService", {"gateway-smtp-mx", "gateway-smtp-submission"}},
      {"postern.relay.v1.SubmissionService", {"gateway-smtp-submission"}},
      {"postern.relay.v1.ForwardingService", {"gateway-smtp-mx"}},
      {"postern.relay.v1.QueueAdminService", {"posternctl"}},
  };
  return table;
}

TEST(AccessTest, EveryCellOfTheTable) {
  ASSERT_EQ(AccessRules().size(), Design().size());
  for (const auto& [service, callers] : Design()) {
    for (absl::string_view caller : KnownIdentities()) {
      EXPECT_EQ(MayCall(caller, service), callers.count(std::string(caller)) == 1)
          << caller << " " << service;
    }
  }
}

TEST(AccessTest, RulesNameKnownIdentitiesOnly) {
  for (const AccessRule& rule : AccessRules()) {
    for (absl::string_view caller : rule.callers) {
      EXPECT_TRUE(std::find(KnownIdentities().begin(), KnownIdentities().end(), caller) !=
                  KnownIdentities().end())
          << caller;
    }
  }
}

TEST(AccessTest, NobodyAndTheUnknownAreDenied) {
  for (const AccessRule& rule : AccessRules()) {
    for (absl::string_view caller : {"", "stranger", "GATEWAY-POP3", "posternctl ", "*"}) {
      EXPECT_FALSE(MayCall(caller, rule.grpc_service)) << caller << " " << rule.grpc_service;
    }
  }
  for (absl::string_view caller : KnownIdentities()) {
    for (absl::string_view service :
         {"", "postern.auth.v1", "grpc.health.v1.Health", "postern.auth.v1.authenticationservice",
          "grpc.reflection.v1alpha.ServerReflection"}) {
      EXPECT_FALSE(MayCall(caller, service)) << caller << " " << service;
    }
  }
}

}  // namespace
}  // namespace postern::identity
