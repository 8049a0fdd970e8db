#include "services/identity/mutual_tls_files.h"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "openssl/bio.h"
#include "openssl/crypto.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/ssl.h"
#include "openssl/x509.h"
#include "services/config/small_file.h"
#include "services/crypto/certificates.h"

namespace postern::identity {
namespace {

constexpr size_t kMaxPemOctets = 1 << 20;

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* p) const {
    Free(p);
  }
};
using Bio = std::unique_ptr<BIO, Freer<BIO_free>>;
using crypto::Certificate;
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Context = std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>>;
using Store = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;

// Never asks on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

absl::Status Wrong(absl::string_view setting, absl::string_view file, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("process.mtls.", setting, ": ", file, ": ", why));
}

absl::Status OutOfMemory() { return absl::ResourceExhaustedError("out of memory"); }

// What OpenSSL has to say about the last failure, in words.
std::string Why() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  return reason == nullptr ? "refused by OpenSSL" : reason;
}

absl::StatusOr<std::string> ReadPem(absl::string_view setting, const std::string& file) {
  if (file.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("process.mtls.", setting, ": is not set"));
  }
  absl::StatusOr<std::string> pem = config::ReadSmallFile(file, kMaxPemOctets);
  if (!pem.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("process.mtls.", setting, ": ", pem.status().message()));
  }
  return pem;
}

// Every certificate of the file; at least one.
absl::StatusOr<std::vector<Certificate>> ReadCertificates(absl::string_view setting,
                                                          const std::string& file) {
  absl::StatusOr<std::string> pem = ReadPem(setting, file);
  if (!pem.ok()) {
    return pem.status();
  }
  absl::StatusOr<std::vector<Certificate>> certificates = crypto::ReadCertificates(*pem);
  if (absl::IsInvalidArgument(certificates.status())) {
    return Wrong(setting, file, absl::StrCat("holds ", certificates.status().message()));
  }
  return certificates;
}

absl::Status AppendPem(const std::vector<Certificate>& certificates, std::string* pem) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr) {
    return OutOfMemory();
  }
  for (const Certificate& certificate : certificates) {
    if (PEM_write_bio_X509(bio.get(), certificate.get()) != 1) {
      return OutOfMemory();
    }
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  pem->append(data, static_cast<size_t>(size));
  return absl::OkStatus();
}

absl::Status AppendPem(EVP_PKEY* key, std::string* pem) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr ||
      PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return OutOfMemory();
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  pem->append(data, static_cast<size_t>(size));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<MutualTlsPem> LoadMutualTls(const config::v1::MutualTls& tls) {
  ERR_clear_error();
  const absl::Cleanup clear_errors = [] { ERR_clear_error(); };
  const absl::StatusOr<std::vector<Certificate>> chain =
      ReadCertificates("certificate_file", tls.certificate_file());
  if (!chain.ok()) {
    return chain.status();
  }
  absl::StatusOr<std::string> key_pem = ReadPem("private_key_file", tls.private_key_file());
  if (!key_pem.ok()) {
    return key_pem.status();
  }
  const absl::Cleanup wipe_key = [&] { OPENSSL_cleanse(key_pem->data(), key_pem->size()); };
  const Bio key_bio(BIO_new_mem_buf(key_pem->data(), static_cast<int>(key_pem->size())));
  if (key_bio == nullptr) {
    return OutOfMemory();
  }
  const Key key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return Wrong("private_key_file", tls.private_key_file(),
                 "holds no PEM private key without a passphrase");
  }
  if (X509_check_private_key(chain->front().get(), key.get()) != 1) {
    return Wrong("private_key_file", tls.private_key_file(),
                 absl::StrCat("is not the key of the certificate in ", tls.certificate_file()));
  }
  // A context like gRPC's own says whether OpenSSL's security level takes them.
  const Context context(SSL_CTX_new(TLS_method()));
  if (context == nullptr) {
    return OutOfMemory();
  }
  if (SSL_CTX_use_certificate(context.get(), chain->front().get()) != 1) {
    return Wrong("certificate_file", tls.certificate_file(), Why());
  }
  for (size_t i = 1; i < chain->size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context.get(), (*chain)[i].get()) != 1) {
      return Wrong("certificate_file", tls.certificate_file(), Why());
    }
  }
  if (SSL_CTX_use_PrivateKey(context.get(), key.get()) != 1) {
    return Wrong("private_key_file", tls.private_key_file(), Why());
  }
  const absl::StatusOr<std::vector<Certificate>> ca = ReadCertificates("ca_file", tls.ca_file());
  if (!ca.ok()) {
    return ca.status();
  }
  const Store store(X509_STORE_new());
  for (const Certificate& root : *ca) {
    if (store == nullptr || X509_STORE_add_cert(store.get(), root.get()) != 1) {
      return Wrong("ca_file", tls.ca_file(), Why());
    }
  }
  MutualTlsPem pem;
  for (const absl::Status& status :
       {AppendPem(key.get(), &pem.key_and_chain), AppendPem(*chain, &pem.key_and_chain),
        AppendPem(*ca, &pem.ca)}) {
    if (!status.ok()) {
      return status;
    }
  }
  return pem;
}

}  // namespace postern::identity
