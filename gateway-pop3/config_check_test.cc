#include "gateway-pop3/config_check.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace postern::gateway_pop3 {
namespace {

config::v1::GatewayPop3 Good() {
  config::v1::GatewayPop3 config;
  config.set_hostname("mail.example.test");
  config.mutable_auth_svc()->set_target("127.0.0.1:1");
  config.mutable_store_svc()->set_target("127.0.0.1:2");
  config::v1::SecurityDomain* domain = config.add_security_domains();
  domain->set_name("public");
  domain->set_certificate_file("c.pem");
  domain->set_private_key_file("k.pem");
  config::v1::Listener* pop3 = config.add_listeners();
  pop3->set_name("pop3");
  pop3->set_tls_enabled(true);
  pop3->set_security_domain("public");
  config::v1::Listener* pop3s = config.add_listeners();
  pop3s->set_name("pop3s");
  pop3s->set_implicit_tls(true);
  pop3s->set_security_domain("public");
  return config;
}

TEST(ConfigCheckTest, Good) { EXPECT_TRUE(CheckConfig(Good()).ok()) << CheckConfig(Good()); }

TEST(ConfigCheckTest, NamesTheSettingAtFault) {
  const struct {
    void (*spoil)(config::v1::GatewayPop3&);
    const char* setting;
  } kCases[] = {
      {[](auto& config) { config.set_hostname("<1@mx>"); }, "hostname"},
      {[](auto& config) { config.set_hostname("mx\r\n+OK"); }, "hostname"},
      {[](auto& config) { config.clear_auth_svc(); }, "auth_svc"},
      {[](auto& config) { config.clear_store_svc(); }, "store_svc"},
      {[](auto& config) {
         config.mutable_listeners(0)->set_tls_enabled(false);
         config.mutable_listeners(0)->clear_security_domain();
       },
       "tls_enabled"},
      {[](auto& config) { config.mutable_listeners(0)->set_require_tls_for_auth(false); },
       "require_tls_for_auth"},
      {[](auto& config) { config.mutable_listeners(1)->set_security_domain("other"); },
       "security_domain"},
  };
  for (const auto& c : kCases) {
    config::v1::GatewayPop3 config = Good();
    c.spoil(config);
    const absl::Status status = CheckConfig(config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.setting;
    EXPECT_TRUE(absl::StrContains(status.message(), c.setting)) << status;
  }
}

}  // namespace
}  // namespace postern::gateway_pop3
