#include "auth-svc/oauth/testing/test_key.h"

#include <cjose/jws.h>
#include <jansson.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace postern::auth::oauth {
namespace {

template <typename T>
T* Check(T* made, const char* what) {
  if (made == nullptr) {
    std::fprintf(stderr, "cannot make %s\n", what);
    std::abort();
  }
  return made;
}

}  // namespace

TestKey::TestKey(cjose_jwk_t* key) : key_(Check(key, "a key")) {}

TestKey TestKey::Rsa(size_t bits) {
  return TestKey(cjose_jwk_create_RSA_random(bits, nullptr, 0, nullptr));
}

TestKey TestKey::Ec(cjose_jwk_ec_curve curve) {
  return TestKey(cjose_jwk_create_EC_random(curve, nullptr));
}

TestKey TestKey::Import(absl::string_view jwk) {
  return TestKey(cjose_jwk_import(jwk.data(), jwk.size(), nullptr));
}

std::string TestKey::Jwk(absl::string_view members) const {
  char* const text = Check(cjose_jwk_to_json(key_.get(), /*priv=*/false, nullptr), "JSON of a key");
  const std::string jwk(text);
  std::free(text);
  return absl::StrCat("{", members, members.empty() ? "" : ",", jwk.substr(1));
}

std::string TestKey::Sign(absl::string_view header, absl::string_view payload) const {
  json_t* const json = Check(json_loadb(header.data(), header.size(), 0, nullptr), "a header");
  cjose_jws_t* const jws =
      Check(cjose_jws_sign(key_.get(), json, reinterpret_cast<const uint8_t*>(payload.data()),
                           payload.size(), nullptr),
            "a signature");
  const char* text = nullptr;
  cjose_jws_export(jws, &text, nullptr);
  std::string token(Check(text, "a token"));
  cjose_jws_release(jws);
  json_decref(json);
  return token;
}

std::string KeySetOf(const std::vector<std::string>& jwks) {
  return absl::StrCat("{\"keys\":[", absl::StrJoin(jwks, ","), "]}");
}

std::string CompactOf(absl::string_view header, absl::string_view payload,
                      absl::string_view signature) {
  return absl::StrCat(absl::WebSafeBase64Escape(header), ".", absl::WebSafeBase64Escape(payload),
                      ".", absl::WebSafeBase64Escape(signature));
}

}  // namespace postern::auth::oauth
