// SHA-256 (FIPS 180-4). No header of OpenSSL comes with it.
#ifndef POSTERN_SERVICES_CRYPTO_SHA256_H_
#define POSTERN_SERVICES_CRYPTO_SHA256_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace postern::crypto {

inline constexpr size_t kSha256Octets = 32;

// Over octets as they come. One thread. Ends the process when there is no memory for it.
class Sha256 {
 public:
  Sha256();
  // The octets as they are: the pieces of a body.
  void Update(absl::string_view octets);
  // With its length before it, so that no two lists of fields are alike.
  void Field(absl::string_view octets);
  // kSha256Octets; once.
  std::string Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// Of all the octets at once; kSha256Octets.
std::string Sha256Of(absl::string_view octets);

}  // namespace postern::crypto

#endif  // POSTERN_SERVICES_CRYPTO_SHA256_H_
