#include "services/identity/test_pki.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/rand.h"
#include "openssl/x509.h"
#include "openssl/x509v3.h"

namespace postern::identity {
namespace {

void Check(bool ok, absl::string_view what) {
  if (!ok) {
    std::fprintf(stderr, "test_pki: %s\n", std::string(what).c_str());
    std::abort();
  }
}

void AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
  Check(extension != nullptr, absl::StrCat("extension ", value));
  Check(X509_add_ext(certificate, extension, -1) == 1, "add extension");
  X509_EXTENSION_free(extension);
}

X509* NewCertificate(absl::string_view common_name, EVP_PKEY* key) {
  X509* certificate = X509_new();
  Check(certificate != nullptr && X509_set_version(certificate, X509_VERSION_3) == 1, "new");
  unsigned char serial[8];
  Check(RAND_bytes(serial, sizeof(serial)) == 1, "random");
  serial[0] &= 0x7F;
  BIGNUM* number = BN_bin2bn(serial, sizeof(serial), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
  BN_free(number);
  X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600);
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                             reinterpret_cast<const unsigned char*>(common_name.data()),
                             static_cast<int>(common_name.size()), -1, 0);
  Check(X509_set_pubkey(certificate, key) == 1, "public key");
  return certificate;
}

// By a rename, as whoever rotates certificates does it.
template <typename Write>
void WriteFile(const std::string& file, const Write& write) {
  const std::string temporary = file + ".new";
  std::FILE* out = std::fopen(temporary.c_str(), "we");
  Check(out != nullptr, temporary);
  Check(write(out) == 1, file);
  Check(std::fclose(out) == 0, file);
  Check(std::rename(temporary.c_str(), file.c_str()) == 0, file);
}

}  // namespace

TestPki::TestPki(absl::string_view directory)
    : directory_(directory),
      key_(EVP_EC_gen("P-256"), EVP_PKEY_free),
      certificate_(nullptr, X509_free) {
  Check(mkdir(directory_.c_str(), 0700) == 0 || errno == EEXIST, directory_);
  Check(key_ != nullptr, "CA key");
  certificate_.reset(NewCertificate("Test CA", key_.get()));
  X509* ca = certificate_.get();
  X509_set_issuer_name(ca, X509_get_subject_name(ca));
  AddExtension(ca, ca, NID_basic_constraints, "critical,CA:TRUE");
  AddExtension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign");
  AddExtension(ca, ca, NID_subject_key_identifier, "hash");
  Check(X509_sign(ca, key_.get(), EVP_sha256()) > 0, "sign CA");
  WriteFile(ca_file(), [ca](std::FILE* out) { return PEM_write_X509(out, ca); });
}

TestPki::~TestPki() = default;

config::v1::MutualTls TestPki::Issue(absl::string_view name, const Names& names) const {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  Check(key != nullptr, "key");
  const std::unique_ptr<X509, void (*)(X509*)> certificate(NewCertificate(name, key.get()),
                                                           X509_free);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), names.not_before);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), names.not_after);
  X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get()));
  AddExtension(certificate.get(), certificate_.get(), NID_basic_constraints, "critical,CA:FALSE");
  AddExtension(certificate.get(), certificate_.get(), NID_key_usage, "critical,digitalSignature");
  AddExtension(certificate.get(), certificate_.get(), NID_ext_key_usage, "serverAuth,clientAuth");
  AddExtension(certificate.get(), certificate_.get(), NID_authority_key_identifier, "keyid");
  std::vector<std::string> all;
  for (const std::string& uri : names.uris) {
    all.push_back(absl::StrCat("URI:", uri));
  }
  for (const std::string& dns : names.dns) {
    all.push_back(absl::StrCat("DNS:", dns));
  }
  for (const std::string& address : names.addresses) {
    all.push_back(absl::StrCat("IP:", address));
  }
  if (!all.empty()) {
    AddExtension(certificate.get(), certificate_.get(), NID_subject_alt_name,
                 absl::StrJoin(all, ","));
  }
  Check(X509_sign(certificate.get(), key_.get(), EVP_sha256()) > 0, "sign");

  config::v1::MutualTls tls;
  tls.set_ca_file(ca_file());
  tls.set_certificate_file(absl::StrCat(directory_, "/", name, ".pem"));
  tls.set_private_key_file(absl::StrCat(directory_, "/", name, ".key"));
  WriteFile(tls.private_key_file(), [&key](std::FILE* out) {
    return PEM_write_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  });
  WriteFile(tls.certificate_file(),
            [&certificate](std::FILE* out) { return PEM_write_X509(out, certificate.get()); });
  return tls;
}

config::v1::MutualTls TestPki::IssueIdentity(absl::string_view identity) const {
  return Issue(identity, {.uris = {absl::StrCat("spiffe://postern/", identity)},
                          .dns = {std::string(identity)}});
}

std::string TestPki::ca_file() const { return absl::StrCat(directory_, "/ca.pem"); }

}  // namespace postern::identity
