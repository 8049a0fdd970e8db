#include "relay-svc/domain/digest.h"

#include <openssl/evp.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"

namespace postern::relay {

Digest::Digest() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
  if (context_ == nullptr || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) {
    std::abort();  // No memory.
  }
}

void Digest::Update(absl::string_view octets) {
  EVP_DigestUpdate(context_.get(), octets.data(), octets.size());
}

void Digest::Field(absl::string_view octets) {
  Update(absl::StrCat(octets.size(), ":"));
  Update(octets);
}

std::string Digest::Finish() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_.get(), digest, &size);
  return std::string(reinterpret_cast<const char*>(digest), size);
}

}  // namespace postern::relay
