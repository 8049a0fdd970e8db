#include "auth-svc/oauth/token.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace postern::auth::oauth {
namespace {

// As much as SASL carries.
constexpr size_t kMaxTokenOctets = 8192;
constexpr size_t kMaxQuotedOctets = 80;

constexpr Algorithm kAlgorithms[] = {
    {"RS256", CJOSE_JWK_KTY_RSA, CJOSE_JWK_EC_INVALID, 0},
    {"RS384", CJOSE_JWK_KTY_RSA, CJOSE_JWK_EC_INVALID, 0},
    {"RS512", CJOSE_JWK_KTY_RSA, CJOSE_JWK_EC_INVALID, 0},
    {"PS256", CJOSE_JWK_KTY_RSA, CJOSE_JWK_EC_INVALID, 0},
    {"PS384", CJOSE_JWK_KTY_RSA, CJOSE_JWK_EC_INVALID, 0},
    {"PS512", CJOSE_JWK_KTY_RSA, CJOSE_JWK_EC_INVALID, 0},
    {"ES256", CJOSE_JWK_KTY_EC, CJOSE_JWK_EC_P_256, 64},
    {"ES384", CJOSE_JWK_KTY_EC, CJOSE_JWK_EC_P_384, 96},
    {"ES512", CJOSE_JWK_KTY_EC, CJOSE_JWK_EC_P_521, 132},
};

absl::Status Refused(absl::string_view why) { return absl::UnauthenticatedError(why); }

// RFC 7515 2: without padding, spaces or anything else; cjose would overlook some.
bool IsBase64Url(absl::string_view part) {
  return !part.empty() && std::all_of(part.begin(), part.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
  });
}

Json DecodeObject(absl::string_view part) {
  std::string text;
  return absl::WebSafeBase64Unescape(part, &text) ? ParseObject(text) : nullptr;
}

// RFC 8725 3.11: a JWT that was made for something else is not taken.
absl::Status CheckType(const json_t* header) {
  if (json_object_get(header, "typ") == nullptr) return absl::OkStatus();
  const std::string type = StringAt(header, "typ").value_or("");
  const absl::string_view name = absl::StripPrefix(type, "application/");
  if (absl::EqualsIgnoreCase(name, "JWT") || absl::EqualsIgnoreCase(name, "at+jwt")) {
    return absl::OkStatus();
  }
  return Refused(absl::StrCat("its type is ", Quoted(type), ", not JWT or at+jwt"));
}

}  // namespace

const Algorithm* FindAlgorithm(absl::string_view name) {
  const auto* const found = std::find_if(std::begin(kAlgorithms), std::end(kAlgorithms),
                                         [&](const Algorithm& a) { return a.name == name; });
  return found == std::end(kAlgorithms) ? nullptr : found;
}

std::string Quoted(absl::string_view text) {
  const bool cut = text.size() > kMaxQuotedOctets;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kMaxQuotedOctets)), cut ? "..." : "",
                      "\"");
}

absl::StatusOr<Token> ReadToken(absl::string_view text) {
  if (text.size() > kMaxTokenOctets) {
    return Refused(absl::StrCat("it is longer than ", kMaxTokenOctets, " octets"));
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '.');
  // That of an unsecured one is empty: the algorithm says more.
  if (parts.size() != 3 || !IsBase64Url(parts[0]) || !IsBase64Url(parts[1]) ||
      !(parts[2].empty() || IsBase64Url(parts[2]))) {
    return Refused(parts.size() == 5 ? "it is an encrypted JWT (JWE), not a signed one"
                                     : "it is not a signed JWT in three parts");
  }
  const Json header = DecodeObject(parts[0]);
  if (header == nullptr) return Refused("its header is not a JSON object");
  const std::string algorithm = StringAt(header.get(), "alg").value_or("");
  Token token;
  token.text = text;
  token.algorithm = FindAlgorithm(algorithm);
  if (token.algorithm == nullptr) {
    return Refused(absl::StrCat("its algorithm is ", Quoted(algorithm),
                                ", not one of RS256, PS256, ES256 and their like"));
  }
  if (absl::Status status = CheckType(header.get()); !status.ok()) return status;
  // RFC 7515 4.1.11: whoever does not know what it names must refuse.
  if (json_object_get(header.get(), "crit") != nullptr) {
    return Refused("its header has \"crit\", which names what we do not know");
  }
  if (json_object_get(header.get(), "kid") != nullptr) {
    token.key_id = StringAt(header.get(), "kid");
    if (!token.key_id.has_value()) return Refused("its key id is not a string");
  }
  const size_t signature_octets = parts[2].size() * 3 / 4;
  if (signature_octets == 0 || (token.algorithm->signature_octets != 0 &&
                                token.algorithm->signature_octets != signature_octets)) {
    return Refused(absl::StrCat("its signature of ", signature_octets, " octets is none of ",
                                token.algorithm->name));
  }
  token.claims = DecodeObject(parts[1]);
  if (token.claims == nullptr) return Refused("its claims are not a JSON object");
  return token;
}

}  // namespace postern::auth::oauth
