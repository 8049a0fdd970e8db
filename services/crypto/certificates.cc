#include "services/crypto/certificates.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace postern::crypto {
namespace {

// Never asks on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

}  // namespace

void FreeCertificate::operator()(x509_st* certificate) const { X509_free(certificate); }

absl::StatusOr<std::vector<Certificate>> ReadCertificates(absl::string_view pem) {
  ERR_clear_error();
  const absl::Cleanup clear_errors = [] { ERR_clear_error(); };
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  if (bio == nullptr) return absl::ResourceExhaustedError("out of memory");
  std::vector<Certificate> certificates;
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr)) {
    certificates.emplace_back(next);
  }
  // The end of the text reads as "no start line"; everything else is a certificate gone wrong.
  const unsigned long error = ERR_peek_last_error();
  if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE) {
    const char* const reason = ERR_reason_error_string(error);
    return absl::InvalidArgumentError(
        absl::StrCat("a broken certificate: ", reason == nullptr ? "refused by OpenSSL" : reason));
  }
  if (certificates.empty()) return absl::InvalidArgumentError("no PEM certificate");
  return certificates;
}

}  // namespace postern::crypto
