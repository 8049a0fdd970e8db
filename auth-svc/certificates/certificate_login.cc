#include "auth-svc/certificates/certificate_login.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/config/reloaded_file.h"
#include "services/config/small_file.h"
#include "services/crypto/certificates.h"

namespace postern::auth::certificates {
namespace {

constexpr size_t kMaxPemOctets = 1 << 20;
constexpr int kMaxDepth = 8;

struct Free {
  void operator()(X509_STORE_CTX* context) const { X509_STORE_CTX_free(context); }
  void operator()(STACK_OF(X509) * chain) const { sk_X509_pop_free(chain, X509_free); }
  void operator()(GENERAL_NAMES* names) const { GENERAL_NAMES_free(names); }
  void operator()(BIGNUM* number) const { BN_free(number); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

using Cas = std::shared_ptr<X509_STORE>;

absl::StatusOr<Cas> ReadCas(absl::string_view file) {
  absl::StatusOr<std::string> text = config::ReadSmallFile(file, kMaxPemOctets);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<crypto::Certificate>> certificates = crypto::ReadCertificates(*text);
  if (!certificates.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(file, ": ", certificates.status().message()));
  }
  const Cas cas(X509_STORE_new(), X509_STORE_free);
  for (const crypto::Certificate& ca : *certificates) {
    if (cas == nullptr || X509_STORE_add_cert(cas.get(), ca.get()) != 1) {
      return absl::ResourceExhaustedError("out of memory");
    }
  }
  return cas;
}

crypto::Certificate ReadDer(const std::string& der) {
  const auto* octets = reinterpret_cast<const unsigned char*>(der.data());
  const unsigned char* const end = octets + der.size();
  crypto::Certificate certificate(d2i_X509(nullptr, &octets, static_cast<long>(der.size())));
  if (octets != end) return nullptr;
  return certificate;
}

std::vector<std::string> AddressesOf(const X509* certificate) {
  std::vector<std::string> addresses;
  const Owned<GENERAL_NAMES> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_EMAIL) continue;
    addresses.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.rfc822Name)),
                           static_cast<size_t>(ASN1_STRING_length(name->d.rfc822Name)));
  }
  return addresses;
}

std::string SerialOf(const X509* certificate) {
  const Owned<BIGNUM> number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), nullptr));
  char* const text = number == nullptr ? nullptr : BN_bn2hex(number.get());
  std::string serial = text == nullptr ? "" : text;
  OPENSSL_free(text);
  return serial;
}

class FileVerifier final : public CertificateVerifier {
 public:
  explicit FileVerifier(std::unique_ptr<config::ReloadedFile<Cas>> cas) : cas_(std::move(cas)) {}

  absl::StatusOr<Verified> Verify(absl::Span<const std::string> certificates) override {
    absl::StatusOr<Verified> verified = Judge(certificates);
    // So that nothing of it misleads whoever uses OpenSSL next on this thread.
    ERR_clear_error();
    return verified;
  }

 private:
  absl::StatusOr<Verified> Judge(absl::Span<const std::string> certificates) const {
    if (certificates.empty()) return absl::UnauthenticatedError("the client shows no certificate");
    const crypto::Certificate own = ReadDer(certificates.front());
    if (own == nullptr) return absl::UnauthenticatedError("that is no certificate");
    const Owned<STACK_OF(X509)> others(sk_X509_new_null());
    for (const std::string& der : certificates.subspan(1)) {
      crypto::Certificate other = ReadDer(der);
      if (other != nullptr && sk_X509_push(others.get(), other.get()) > 0) (void)other.release();
    }
    const std::shared_ptr<const Cas> cas = cas_->Get();
    const Owned<X509_STORE_CTX> context(X509_STORE_CTX_new());
    if (context == nullptr ||
        X509_STORE_CTX_init(context.get(), cas->get(), own.get(), others.get()) != 1 ||
        X509_STORE_CTX_set_purpose(context.get(), X509_PURPOSE_SSL_CLIENT) != 1) {
      return absl::ResourceExhaustedError("out of memory");
    }
    X509_STORE_CTX_set_depth(context.get(), kMaxDepth);
    if (X509_verify_cert(context.get()) != 1) {
      return absl::UnauthenticatedError(
          absl::StrCat("certificate ", SerialOf(own.get()), ": ",
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get()))));
    }
    Verified verified{AddressesOf(own.get()), SerialOf(own.get())};
    if (verified.addresses.empty()) {
      return absl::UnauthenticatedError(
          absl::StrCat("certificate ", verified.serial, ": has no address (rfc822Name)"));
    }
    return verified;
  }

  const std::unique_ptr<config::ReloadedFile<Cas>> cas_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CertificateVerifier>> CertificateVerifier::Open(
    const std::string& ca_file) {
  absl::StatusOr<std::unique_ptr<config::ReloadedFile<Cas>>> cas =
      config::ReloadedFile<Cas>::Open(ca_file, ReadCas);
  if (!cas.ok()) return cas.status();
  return std::make_unique<FileVerifier>(*std::move(cas));
}

void CertificateLogin::LogIn(const sasl::External& named, std::vector<std::string> certificates,
                             std::string network, VouchedLogin::Done done) {
  logins_.LogIn(
      named, std::move(network),
      [this, certificates = std::move(certificates)] { return Verify(certificates); },
      std::move(done));
}

absl::StatusOr<Vouched> CertificateLogin::Verify(absl::Span<const std::string> certificates) const {
  if (verifier_ == nullptr) return absl::UnauthenticatedError("certificates log nobody in here");
  const absl::StatusOr<CertificateVerifier::Verified> verified = verifier_->Verify(certificates);
  if (!verified.ok()) return verified.status();
  Vouched vouched{{}, absl::StrCat("certificate ", verified->serial)};
  for (const std::string& text : verified->addresses) {
    absl::StatusOr<Address> address = CanonicalAddress(text);
    if (address.ok()) vouched.addresses.push_back(*std::move(address));
  }
  return vouched;
}

}  // namespace postern::auth::certificates
