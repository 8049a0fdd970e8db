#include "gateway-smtp/config_check.h"

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace postern::gateway_smtp {
namespace {

using config::v1::GatewaySmtp;

GatewaySmtp Mx() {
  GatewaySmtp config;
  config.set_role(GatewaySmtp::mx);
  config.set_hostname("mx.example.test");
  config.add_security_domains()->set_name("public");
  // R5: starts without a certificate.
  config.add_listeners()->set_name("mx");
  config.mutable_store_svc()->set_target("127.0.0.1:1");
  config.mutable_relay_svc()->set_target("127.0.0.1:2");
  return config;
}

GatewaySmtp Submission() {
  GatewaySmtp config = Mx();
  config.set_role(GatewaySmtp::submission);
  config.clear_store_svc();
  config.mutable_auth_svc()->set_target("127.0.0.1:3");
  config.mutable_listeners(0)->set_name("submission");
  config.mutable_listeners(0)->set_security_domain("public");
  config.mutable_listeners(0)->set_tls_enabled(true);
  return config;
}

TEST(CheckConfigTest, TakesWhatIsSafe) {
  EXPECT_TRUE(CheckConfig(Mx()).ok());
  EXPECT_TRUE(CheckConfig(Submission()).ok());
  GatewaySmtp both = Submission();
  config::v1::Listener* implicit = both.add_listeners();
  implicit->set_name("submissions");
  implicit->set_security_domain("public");
  implicit->set_implicit_tls(true);
  EXPECT_TRUE(CheckConfig(both).ok());
}

TEST(CheckConfigTest, RefusesByName) {
  const struct {
    const char* why;
    GatewaySmtp (*good)();
    void (*spoil)(GatewaySmtp*);
    const char* named;
  } kCases[] = {
      {"R2, R4: an open relay", &Submission, [](GatewaySmtp* c) { c->set_auth_required(false); },
       "auth_required"},
      {"R2, R9: senders that are not the user's", &Submission,
       [](GatewaySmtp* c) { c->set_verify_identity(false); }, "verify_identity"},
      {"R5, R6: passwords in clear", &Submission,
       [](GatewaySmtp* c) { c->mutable_listeners(0)->set_require_tls_for_auth(false); },
       "require_tls_for_auth"},
      {"R5: the same on mx", &Mx,
       [](GatewaySmtp* c) { c->mutable_listeners(0)->set_require_tls_for_auth(false); },
       "require_tls_for_auth"},
      {"nobody could log in", &Submission,
       [](GatewaySmtp* c) { c->mutable_listeners(0)->clear_tls_enabled(); }, "tls_enabled"},
      {"R10: a security domain that is not there", &Submission,
       [](GatewaySmtp* c) { c->mutable_listeners(0)->set_security_domain("absent"); },
       "\"absent\""},
      {"R10: TLS without one", &Submission,
       [](GatewaySmtp* c) { c->mutable_listeners(0)->clear_security_domain(); }, "security_domain"},
      {"mx without the store", &Mx, [](GatewaySmtp* c) { c->clear_store_svc(); }, "store_svc"},
      {"mx without policy", &Mx, [](GatewaySmtp* c) { c->clear_relay_svc(); }, "relay_svc"},
      {"submission without auth", &Submission, [](GatewaySmtp* c) { c->clear_auth_svc(); },
       "auth_svc"},
      {"submission without a queue", &Submission, [](GatewaySmtp* c) { c->clear_relay_svc(); },
       "relay_svc"},
      {"no role", &Mx, [](GatewaySmtp* c) { c->set_role(GatewaySmtp::ROLE_UNSPECIFIED); }, "role"},
      {"no listener", &Mx, [](GatewaySmtp* c) { c->clear_listeners(); }, "listeners"},
      {"a name that would break replies", &Mx,
       [](GatewaySmtp* c) { c->set_hostname("mx\r\n250 x"); }, "hostname"},
  };
  for (const auto& c : kCases) {
    GatewaySmtp config = c.good();
    c.spoil(&config);
    const absl::Status status = CheckConfig(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.why;
    EXPECT_TRUE(absl::StrContains(status.message(), c.named)) << c.why << ": " << status;
  }
}

}  // namespace
}  // namespace postern::gateway_smtp
