#include "services/process/config_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "proto/postern/config/v1/auth_svc.pb.h"
#include "proto/postern/config/v1/gateway.pb.h"
#include "services/config/config.h"
#include "services/identity/test_pki.h"

namespace postern::process {
namespace {

class ConfigFilesTest : public testing::Test {
 protected:
  ConfigFilesTest() {
    mtls_ = pki_.IssueIdentity("auth-svc");
    // A token key.
    const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(
        EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free);
    std::FILE* out = std::fopen(File("token.key").c_str(), "we");
    PEM_write_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    out = std::fopen(File("token.pub").c_str(), "we");
    PEM_write_PUBKEY(out, key.get());
    std::fclose(out);
    Write("rubbish", "rubbish\n");
  }

  std::string File(absl::string_view name) const {
    return absl::StrCat(pki_.directory(), "/", name);
  }
  void Write(absl::string_view name, absl::string_view text) const {
    std::ofstream(File(name)) << text;
  }
  std::string Issue(absl::string_view name, long not_before, long not_after) {
    return pki_.Issue(name, {.dns = {"x.test"}, .not_before = not_before, .not_after = not_after})
        .certificate_file();
  }

  config::v1::AuthSvc Good() const {
    config::v1::AuthSvc config;
    *config.mutable_process()->mutable_mtls() = mtls_;
    config.set_token_signing_key_file(File("token.key"));
    config.set_database_file(File("directory.db"));
    return config;
  }

  // "KEY: WHY" of each, with the folder taken out.
  std::vector<std::string> Faults(const google::protobuf::Message& config) const {
    std::vector<std::string> all;
    for (const FileFault& fault : CheckFiles(config, absl::Now())) {
      std::string why = fault.why;
      const std::string folder = pki_.directory() + "/";
      for (size_t at; (at = why.find(folder)) != std::string::npos;) why.erase(at, folder.size());
      all.push_back(absl::StrCat(fault.key, ": ", why));
    }
    return all;
  }

  const identity::TestPki pki_{absl::StrCat(testing::TempDir(), "/pki")};
  config::v1::MutualTls mtls_;
};

using Lines = std::vector<std::string>;

TEST_F(ConfigFilesTest, GoodOnes) {
  EXPECT_EQ(Faults(Good()), Lines());
  struct stat found {};
  EXPECT_NE(stat(File("directory.db").c_str(), &found), 0) << "nothing was made";
}

TEST_F(ConfigFilesTest, WhatIsWrongWithAMutualTls) {
  const std::string other = pki_.IssueIdentity("store-svc").private_key_file();
  const std::string old = Issue("old", -7200, -3600);
  const std::string old_key = File("old.key");
  const std::string early = Issue("early", 86400, 172800);
  const std::string early_key = File("early.key");
  const struct {
    const char* what;
    std::string certificate;
    std::string key;
    std::string ca;
    std::string begins;
  } cases[] = {
      {"absent", File("nothing"), "", "", "certificate_file: nothing: cannot be read: No such"},
      {"a folder", "/", "", "", "certificate_file: /: "},
      {"rubbish", File("rubbish"), "", "", "certificate_file: rubbish: holds no PEM certificate"},
      {"another's key", "", other, "", "private_key_file: store-svc.key: "},
      {"no CA", "", "", File("nothing"), "ca_file: nothing: cannot be read: No such"},
      {"expired", old, old_key, "", "certificate_file: old.pem: expired on 20"},
      {"too early", early, early_key, "", "certificate_file: early.pem: is not valid before 20"},
  };
  for (const auto& c : cases) {
    config::v1::AuthSvc config = Good();
    config::v1::MutualTls& tls = *config.mutable_process()->mutable_mtls();
    if (!c.certificate.empty()) tls.set_certificate_file(c.certificate);
    if (!c.key.empty()) tls.set_private_key_file(c.key);
    if (!c.ca.empty()) tls.set_ca_file(c.ca);
    const Lines faults = Faults(config);
    ASSERT_EQ(faults.size(), 1u) << c.what;
    EXPECT_TRUE(absl::StartsWith(faults[0], "process.mtls." + c.begins)) << faults[0];
  }
}

TEST_F(ConfigFilesTest, AllFaultsAreTold) {
  config::v1::AuthSvc config = Good();
  config.mutable_process()->mutable_mtls()->set_ca_file(File("nothing"));
  config.set_token_signing_key_file(File("token.pub"));
  config.set_database_file(File("nowhere/directory.db"));
  const Lines faults = Faults(config);
  ASSERT_EQ(faults.size(), 3u);
  EXPECT_TRUE(absl::StartsWith(faults[0], "process.mtls.ca_file: ")) << faults[0];
  EXPECT_TRUE(absl::StartsWith(faults[1], "database_file: nowhere: No such file")) << faults[1];
  EXPECT_TRUE(absl::StartsWith(faults[2], "token_signing_key_file: token.pub: holds no Ed25519"))
      << faults[2];
}

TEST_F(ConfigFilesTest, NoMutualTls) {
  config::v1::AuthSvc config = Good();
  config.mutable_process()->clear_mtls();
  EXPECT_EQ(Faults(config), Lines{"process.mtls: is not set"});
  config.clear_process();
  EXPECT_EQ(Faults(config), Lines{"process.mtls: is not set"});
}

TEST_F(ConfigFilesTest, OfADatabase) {
  config::v1::AuthSvc config = Good();
  config.clear_database_file();
  config::v1::PostgreSql& database = *config.mutable_postgresql();
  database.set_password_file(File("token.key"));
  database.set_ca_file(pki_.ca_file());
  EXPECT_EQ(Faults(config), Lines());
  database.set_password_file(File("nothing"));
  database.set_ca_file(Issue("old", -7200, -3600));
  const Lines faults = Faults(config);
  ASSERT_EQ(faults.size(), 2u);
  EXPECT_TRUE(absl::StartsWith(faults[0], "postgresql.password_file: nothing: ")) << faults[0];
  EXPECT_TRUE(absl::StartsWith(faults[1], "postgresql.ca_file: old.pem: expired on")) << faults[1];
}

TEST_F(ConfigFilesTest, OfDirectoriesAndIdentityProviders) {
  config::v1::AuthSvc config = Good();
  config::v1::Ldap& ldap = *config.add_ldap();
  ldap.set_ca_file(pki_.ca_file());
  ldap.set_bind_password_file(File("nothing"));
  config.add_oauth()->set_jwks_file(File("nothing"));
  config.add_oauth()->set_ca_file(Issue("old", -7200, -3600));
  config.mutable_client_certificates()->set_ca_file(File("nothing"));
  const Lines faults = Faults(config);
  ASSERT_EQ(faults.size(), 4u);
  EXPECT_TRUE(absl::StartsWith(faults[0], "ldap[0].bind_password_file: nothing: ")) << faults[0];
  EXPECT_TRUE(absl::StartsWith(faults[1], "oauth[0].jwks_file: nothing: ")) << faults[1];
  EXPECT_TRUE(absl::StartsWith(faults[2], "oauth[1].ca_file: old.pem: expired on")) << faults[2];
  EXPECT_TRUE(absl::StartsWith(faults[3], "client_certificates.ca_file: nothing: ")) << faults[3];
}

TEST_F(ConfigFilesTest, PublicCertificates) {
  config::v1::GatewaySmtp config;
  *config.mutable_process()->mutable_mtls() = mtls_;
  const std::string good = Issue("good", -60, 86400);
  const std::string old = Issue("old", -7200, -3600);
  const auto add = [&](const std::string& certificate, const std::string& key) {
    config::v1::SecurityDomain& domain = *config.add_security_domains();
    domain.set_name("d");
    domain.set_certificate_file(certificate);
    domain.set_private_key_file(key);
  };
  add(good, File("good.key"));
  EXPECT_EQ(Faults(config), Lines());
  add(good, File("old.key"));
  add(old, File("old.key"));
  add(File("rubbish"), File("good.key"));
  const Lines faults = Faults(config);
  ASSERT_EQ(faults.size(), 3u);
  EXPECT_TRUE(absl::StartsWith(faults[0], "security_domains[1].private_key_file: old.key: not the"))
      << faults[0];
  EXPECT_TRUE(
      absl::StartsWith(faults[1], "security_domains[2].certificate_file: old.pem: expired on 20"))
      << faults[1];
  EXPECT_TRUE(absl::StartsWith(faults[2], "security_domains[3].certificate_file: rubbish: no PEM"))
      << faults[2];
}

TEST_F(ConfigFilesTest, WhereAKeyStands) {
  Write("c.yaml",
        "process:\n"
        "  mtls:\n"
        "    ca_file: x\n"
        "security_domains:\n"
        "  - name: a\n"
        "  - name: b\n"
        "    certificate_file: y\n");
  const std::string file = File("c.yaml");
  for (const auto& [key, line] :
       std::vector<std::pair<std::string, int>>{{"process.mtls.ca_file", 3},
                                                {"security_domains[0].name", 5},
                                                {"security_domains[1].certificate_file", 7},
                                                {"security_domains[1].private_key_file", 6},
                                                {"database_file", 1}}) {
    EXPECT_EQ(config::PlaceOf(file, key), absl::StrCat(file, ":", line, ": ", key));
  }
}

}  // namespace
}  // namespace postern::process
