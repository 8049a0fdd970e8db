#include "services/crypto/sha256.h"

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "openssl/evp.h"

namespace postern::crypto {

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  // Fetched once: EVP_sha256() would look the algorithm up for every hash.
  static EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  if (context_ == nullptr || EVP_DigestInit_ex2(context_.get(), sha256, nullptr) != 1) {
    std::abort();
  }
}

void Sha256::Update(absl::string_view octets) {
  EVP_DigestUpdate(context_.get(), octets.data(), octets.size());
}

void Sha256::Field(absl::string_view octets) {
  Update(absl::StrCat(octets.size(), ":"));
  Update(octets);
}

std::string Sha256::Finish() {
  std::string hash(kSha256Octets, '\0');
  EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(hash.data()), nullptr);
  return hash;
}

std::string Sha256Of(absl::string_view octets) {
  Sha256 hash;
  hash.Update(octets);
  return hash.Finish();
}

}  // namespace postern::crypto
