#include "services/config/config.h"

#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "proto/postern/config/v1/auth_svc.pb.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "proto/postern/config/v1/relay_svc.pb.h"
#include "proto/postern/config/v1/store_svc.pb.h"

namespace postern::config {
namespace {

using config::v1::AuthSvc;
using config::v1::GatewaySmtp;
using config::v1::RelaySvc;
using config::v1::StoreSvc;

constexpr char kGateway[] = R"(# A gateway.
process:
  http: {address: "0.0.0.0", port: 8080}
  mtls:
    certificate_file: /tls/tls.crt
    private_key_file: '/tls/tls.key'
    ca_file: /tls/ca.crt
  drain_grace_seconds: 2m
role: submission
hostname: mail.example.test
security_domains:
  - name: public
    certificate_file: a.pem
    private_key_file: a.key
listeners:
  - name: submission
    port: 587
    tls_enabled: true
    security_domain: public
  - name: submissions
    port: 465
    implicit_tls: true
    security_domain: public
    idle_timeout_seconds: 300
limits:
  max_message_octets: 25MiB
auth_svc:
  target: dns:///auth-svc.mail.svc:7300
)";

TEST(ConfigTest, ReadsEveryKind) {
  GatewaySmtp config;
  const absl::Status status = ParseConfig(kGateway, "g.yaml", &config);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.process().http().address(), "0.0.0.0");
  EXPECT_EQ(config.process().http().port(), 8080);
  EXPECT_EQ(config.process().mtls().private_key_file(), "/tls/tls.key");
  EXPECT_EQ(config.process().drain_grace_seconds(), 120);
  EXPECT_EQ(config.process().log_level(), "info");
  EXPECT_EQ(config.role(), GatewaySmtp::submission);
  ASSERT_EQ(config.listeners_size(), 2);
  EXPECT_TRUE(config.listeners(0).tls_enabled());
  EXPECT_FALSE(config.listeners(0).implicit_tls());
  EXPECT_EQ(config.listeners(1).port(), 465);
  EXPECT_EQ(config.limits().max_message_octets(), 25 << 20);
  EXPECT_EQ(config.limits().max_recipients(), 100);
  EXPECT_EQ(config.auth_svc().target(), "dns:///auth-svc.mail.svc:7300");
}

TEST(ConfigTest, UnitsOfTimeAndSize) {
  const struct {
    const char* text;
    int64_t value;
  } seconds[] = {{"60", 60}, {"90s", 90}, {"5m", 300}, {"2h", 7200}, {"30d", 2592000}};
  for (const auto& c : seconds) {
    StoreSvc config;
    const absl::Status status =
        ParseConfig(absl::StrCat("database_file: x\ntoken_verification_keys_file: y\n",
                                 "delivery_id_retention_seconds: ", c.text),
                    "f", &config);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(config.delivery_id_retention_seconds(), c.value) << c.text;
  }
  const struct {
    const char* text;
    int64_t value;
  } octets[] = {{"65536", 65536}, {"64KiB", 65536}, {"50MiB", 52428800}, {"1GiB", 1073741824}};
  for (const auto& c : octets) {
    StoreSvc config;
    const absl::Status status =
        ParseConfig(absl::StrCat("database_file: x\ntoken_verification_keys_file: y\n",
                                 "max_message_octets: ", c.text),
                    "f", &config);
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(config.max_message_octets(), c.value) << c.text;
  }
}

TEST(ConfigTest, RepeatedNumbers) {
  RelaySvc config;
  const absl::Status status = ParseConfig(
      "database_file: x\ntoken_verification_keys_file: y\n"
      "delivery: {hostname: h, retry_seconds: [60, 2m, 1h]}\n",
      "f", &config);
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_EQ(config.delivery().retry_seconds_size(), 3);
  EXPECT_EQ(config.delivery().retry_seconds(1), 120);
}

struct BadCase {
  const char* yaml;
  // The whole message.
  const char* message;
};

// Every message names file, line and key, what was found and what was expected.
TEST(ConfigTest, WhatIsWrongIsSaidInFull) {
  const BadCase cases[] = {
      {"role: mx\nhostname: h\nlistner: []\n",
       "g.yaml:3: listner: unknown key; did you mean listeners?"},
      {"role: mx\nhostname: h\nprocess:\n  htpp: {}\n",
       "g.yaml:4: process.htpp: unknown key; did you mean http?"},
      // The right key in the wrong place.
      {"role: mx\nhostname: h\nlog_level: debug\n",
       "g.yaml:3: log_level: unknown key; did you mean process.log_level?"},
      {"role: mx\nhostname: h\nlimits: {qqqqqqqq: 1}\n",
       "g.yaml:3: limits.qqqqqqqq: unknown key, expected one of max_message_octets, "
       "max_recipients, max_errors"},
      {"role: mx\nhostname: a\nthreads: 1\nhostname: b\n",
       "g.yaml:4: hostname: stands here a second time; it stood in line 2 already"},
      {"role: mx\n", "g.yaml:1: hostname: is absent or empty, expected text"},
      {"role: mx\nhostname: \"\"\n", "g.yaml:2: hostname: is absent or empty, expected text"},
      {"hostname: h\n", "g.yaml:1: role: is absent or empty, expected one of mx, submission"},
      {"role: mx\nhostname: h\nrelay_svc: {}\n",
       "g.yaml:3: relay_svc.target: is absent or empty, expected text"},
      {"role: MX\nhostname: h\n", "g.yaml:1: role: found \"MX\", expected one of mx, submission"},
      {"role: ROLE_UNSPECIFIED\nhostname: h\n",
       "g.yaml:1: role: found \"ROLE_UNSPECIFIED\", expected one of mx, submission"},
      {"role: 1\nhostname: h\n", "g.yaml:1: role: found \"1\", expected one of mx, submission"},
      {"role: mx\nhostname: h\nthreads: 257\n",
       "g.yaml:3: threads: found \"257\", expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nthreads: -1\n",
       "g.yaml:3: threads: found \"-1\", expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nthreads: 99999999999999999999\n",
       "g.yaml:3: threads: found \"99999999999999999999\", expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nthreads: \"4\"\n",
       "g.yaml:3: threads: found \"4\" in quotes, expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nthreads: 4.0\n",
       "g.yaml:3: threads: found \"4.0\", expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nthreads: 0x10\n",
       "g.yaml:3: threads: found \"0x10\", expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nthreads: 4s\n",
       "g.yaml:3: threads: found \"4s\", expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nthreads: [4]\n",
       "g.yaml:3: threads: found a list, expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nthreads:\n",
       "g.yaml:3: threads: found nothing, expected a whole number from 0 to 256"},
      {"role: mx\nhostname: h\nauth_required: yes\n",
       "g.yaml:3: auth_required: found \"yes\", expected true or false"},
      {"role: mx\nhostname: {a: b}\n", "g.yaml:2: hostname: found keys, expected text"},
      {"role: mx\nhostname: ~\n", "g.yaml:2: hostname: found nothing, expected text"},
      {"role: mx\nhostname: \"a\\nb\"\n",
       "g.yaml:2: hostname: found \"a?b\" in quotes, expected text without control characters"},
      {"role: mx\nhostname: h\nprocess: here\n",
       "g.yaml:3: process: found \"here\", expected keys below it"},
      {"role: mx\nhostname: h\nlisteners: {name: x}\n",
       "g.yaml:3: listeners: found keys, expected a list, each of it keys below it"},
      {"role: mx\nhostname: h\nlisteners:\n- name: x\n- name: y\n  port: 70000\n",
       "g.yaml:6: listeners[1].port: found \"70000\", expected a whole number from 0 to 65535"},
      {"role: mx\nhostname: h\nlisteners:\n- name: x\n- port: 1\n",
       "g.yaml:5: listeners[1].name: is absent or empty, expected text"},
      {"role: mx\nhostname: h\nprocess: {drain_grace_seconds: 2w}\n",
       "g.yaml:3: process.drain_grace_seconds: found \"2w\", expected a duration such as 90s, 5m, "
       "2h or 1d, from 0 to 3600 seconds"},
      {"role: mx\nhostname: h\nprocess: {drain_grace_seconds: 9999999999999999h}\n",
       "g.yaml:3: process.drain_grace_seconds: found \"9999999999999999h\", expected a duration "
       "such as 90s, 5m, 2h or 1d, from 0 to 3600 seconds"},
      {"role: mx\nhostname: h\nlimits: {max_message_octets: 10MB}\n",
       "g.yaml:3: limits.max_message_octets: found \"10MB\", expected a size such as 64KiB, 50MiB "
       "or 1GiB, from 65536 to 1073741824 octets"},
      {"- a\n", "g.yaml:1: found a list, expected keys"},
      {"just text\n", "g.yaml:1: found \"just text\", expected keys"},
      {"role: mx\n---\nhostname: h\n", "g.yaml:2: a second document starts; expected one"},
      {"role: &a mx\nhostname: *a\n", "g.yaml:1: anchors (&name) are not taken here"},
      {"role: mx\nhostname: !!str h\n", "g.yaml:2: tags (!name) are not taken here"},
      {"role: mx\n\thostname: h\n", "g.yaml:2: a tab indents; expected spaces"},
      {"role: mx\nhostname: \xFF\n", "g.yaml:2: is not UTF-8"},
      {"role: mx\nhostname: a\x01\n", "g.yaml:2: holds a control character"},
      {"{a: b}: c\n", "g.yaml:1: a key is a mapping or a list; expected a name"},
      {"~: c\n", "g.yaml:1: a key is empty; expected a name"},
      {"\"\": c\n",
       "g.yaml:1: \"\": unknown key, expected one of process, role, hostname, "
       "security_domains, listeners, limits, auth_required, verify_identity, "
       "auth_svc, store_svc, relay_svc, threads"},
      {"<<: {role: mx}\n",
       "g.yaml:1: <<: unknown key, expected one of process, role, hostname, "
       "security_domains, listeners, limits, auth_required, verify_identity, "
       "auth_svc, store_svc, relay_svc, threads"},
  };
  for (const BadCase& c : cases) {
    GatewaySmtp config;
    const absl::Status status = ParseConfig(c.yaml, "g.yaml", &config);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.yaml;
    EXPECT_EQ(std::string(status.message()), c.message);
  }
}

std::string Repeat(absl::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) {
    absl::StrAppend(&all, text);
  }
  return all;
}

TEST(ConfigTest, HostileYamlIsAnErrorAndNothingWorse) {
  std::string steps;
  for (int i = 0; i < 1000; ++i) {
    absl::StrAppend(&steps, std::string(i, ' '), "a:\n");
  }
  const std::string cases[] = {
      Repeat("[", 500000),
      Repeat("{a: ", 200000),
      Repeat("- ", 500000),
      Repeat("? ", 500000),
      steps,
      "a: &a [x]\nb: &b [*a, *a, *a, *a]\nc: &c [*b, *b, *b, *b]\n",
      "a: *nowhere\n",
      Repeat("x", (1 << 20) + 1),
      Repeat("k: [a, b]\n", 90000),
      "[" + Repeat("a,", 400000) + "]",
      "role: \"" + Repeat("\\", 100000),
      "%YAML 9.9\n---\n",
      "%TAG ! tag:x,2000:\n--- !x a",
      "role: |\n  mx",
      "role: >9\n mx",
      std::string("role: mx\0hostname: h", 20),
      "\xFF\xFE r\x00",
      "{",
      "}",
      "role: mx: hostname",
      "role: 'mx",
      "--- a\n...\n--- b\n",
      ": : :",
      "? ?",
  };
  for (const std::string& yaml : cases) {
    GatewaySmtp config;
    const absl::Status status = ParseConfig(yaml, "f", &config);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << yaml.substr(0, 40) << " " << status;
    EXPECT_LT(status.message().size(), 500u) << status;
    EXPECT_EQ(status.message().find('\n'), absl::string_view::npos) << status;
  }
}

TEST(ConfigTest, AnEmptyFileHasOnlyTheDefaults) {
  for (const char* yaml : {"", "\n", "# nothing\n", "---\n", "{}"}) {
    config::v1::Process config;
    EXPECT_TRUE(ParseConfig(yaml, "f", &config).ok()) << yaml;
    EXPECT_EQ(config.drain_grace_seconds(), 25);
  }
}

TEST(ConfigTest, TextMayLookLikeSomethingElse) {
  AuthSvc config;
  const absl::Status status =
      ParseConfig("database_file: 12\ntoken_signing_key_file: true\nsubaddress_separator: \"\"\n",
                  "f", &config);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.database_file(), "12");
  EXPECT_EQ(config.token_signing_key_file(), "true");
  EXPECT_EQ(config.subaddress_separator(), "");
}

TEST(ConfigTest, PrintedItLoadsAgain) {
  GatewaySmtp config;
  ASSERT_TRUE(ParseConfig(kGateway, "g.yaml", &config).ok());
  config.mutable_security_domains(0)->set_name("quote \" back\\slash # : - {");
  const std::string printed = PrintConfig(config);
  GatewaySmtp again;
  const absl::Status status = ParseConfig(printed, "printed", &again);
  ASSERT_TRUE(status.ok()) << status << "\n" << printed;
  EXPECT_EQ(PrintConfig(again), printed);
  EXPECT_EQ(again.security_domains(0).name(), config.security_domains(0).name());
  // Defaults stand in it, absent dependencies don't.
  EXPECT_TRUE(absl::StrContains(printed, "\n  max_recipients: 100\n")) << printed;
  EXPECT_TRUE(
      absl::StrContains(printed, "\n  - name: \"submissions\"\n    address: \"127.0.0.1\"\n"))
      << printed;
  EXPECT_FALSE(absl::StrContains(printed, "store_svc")) << printed;
}

TEST(ConfigTest, AFileThatCannotBeReadIsNamed) {
  GatewaySmtp config;
  EXPECT_EQ(
      LoadConfig("/nowhere/x.yaml", &config),
      absl::InvalidArgumentError("/nowhere/x.yaml: cannot be read: No such file or directory"));
  EXPECT_FALSE(LoadConfig(testing::TempDir(), &config).ok());
  const std::string file = absl::StrCat(testing::TempDir(), "/c.yaml");
  std::ofstream(file) << kGateway;
  EXPECT_TRUE(LoadConfig(file, &config).ok());
  std::ofstream(file) << std::string((1 << 20) + 1, ' ');
  EXPECT_FALSE(LoadConfig(file, &config).ok());
}

}  // namespace
}  // namespace postern::config
