// SHA-256 over what a client gives under one delivery_id.
#ifndef POSTERN_RELAY_SVC_DOMAIN_DIGEST_H_
#define POSTERN_RELAY_SVC_DOMAIN_DIGEST_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

typedef struct evp_md_ctx_st EVP_MD_CTX;

namespace postern::relay {

// One thread.
class Digest {
 public:
  Digest();
  // The octets as they are: the pieces of a body.
  void Update(absl::string_view octets);
  // With its length before it, so that no two lists of fields are alike.
  void Field(absl::string_view octets);
  // 32 octets; once.
  std::string Finish();

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_DIGEST_H_
