#include "auth-svc/oauth/key_set.h"

#include <cjose/error.h>
#include <cjose/jws.h>
#include <openssl/err.h>

#include <utility>

#include "absl/numeric/bits.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/config/small_file.h"

namespace postern::auth::oauth {
namespace {

constexpr size_t kMaxKeys = 64;
constexpr size_t kMinRsaBits = 2048;

struct ReleaseJws {
  void operator()(cjose_jws_t* jws) const { cjose_jws_release(jws); }
};

absl::Status LeftOut(absl::string_view why) { return absl::InvalidArgumentError(why); }

// Of a big-endian number in base64url; 0: it is none.
size_t BitsOf(absl::string_view base64url) {
  std::string octets;
  if (!absl::WebSafeBase64Unescape(base64url, &octets)) return 0;
  const size_t first = octets.find_first_not_of('\0');
  if (first == std::string::npos) return 0;
  return 8 * (octets.size() - first - 1) +
         static_cast<size_t>(absl::bit_width(static_cast<unsigned char>(octets[first])));
}

// RFC 7517 4.3: when it is there, one of them.
bool HoldsVerify(const json_t* operations) {
  if (operations == nullptr) return true;
  size_t index = 0;
  const json_t* operation = nullptr;
  json_array_foreach(operations, index, operation) {
    if (json_is_string(operation) && json_string_value(operation) == absl::string_view("verify")) {
      return true;
    }
  }
  return false;
}

// Only what makes a public key, so that nothing else in it has an effect.
Json PublicPart(const json_t* jwk) {
  Json made(json_object());
  for (const char* name : {"kty", "n", "e", "crv", "x", "y"}) {
    const json_t* const value = json_object_get(jwk, name);
    if (json_is_string(value)) json_object_set(made.get(), name, const_cast<json_t*>(value));
  }
  return made;
}

std::string NameOf(const json_t* jwk) {
  const std::optional<std::string> id = StringAt(jwk, "kid");
  return id.has_value() ? absl::StrCat("key ", Quoted(*id)) : "a key without id";
}

}  // namespace

bool KeySet::Key::Suits(const Algorithm& wanted) const {
  if (algorithm.has_value() && *algorithm != wanted.name) return false;
  if (cjose_jwk_get_kty(key.get(), nullptr) != wanted.key_type) return false;
  return wanted.key_type != CJOSE_JWK_KTY_EC ||
         cjose_jwk_EC_get_curve(key.get(), nullptr) == wanted.curve;
}

absl::StatusOr<KeySet::Key> KeySet::ParseKey(const json_t* jwk) {
  if (!json_is_object(jwk)) return LeftOut("is not a JSON object");
  if (json_object_get(jwk, "use") != nullptr && StringAt(jwk, "use") != "sig") {
    return LeftOut(absl::StrCat("is for ", Quoted(StringAt(jwk, "use").value_or("")), ", not sig"));
  }
  if (!HoldsVerify(json_object_get(jwk, "key_ops"))) return LeftOut("is not to verify with");
  Key made;
  made.id = StringAt(jwk, "kid");
  if (json_object_get(jwk, "alg") != nullptr) {
    made.algorithm = StringAt(jwk, "alg").value_or("");
    if (FindAlgorithm(*made.algorithm) == nullptr) {
      return LeftOut(absl::StrCat("is for ", Quoted(*made.algorithm), ", which is not taken"));
    }
  }
  const std::string type = StringAt(jwk, "kty").value_or("");
  if (type != "RSA" && type != "EC") {
    return LeftOut(absl::StrCat("is of type ", Quoted(type), ", not RSA or EC"));
  }
  if (type == "RSA") {
    const size_t bits = BitsOf(StringAt(jwk, "n").value_or(""));
    if (bits < kMinRsaBits) {
      return LeftOut(absl::StrCat("has ", bits, " bits, under ", kMinRsaBits));
    }
  }
  made.key.reset(cjose_jwk_import_json(PublicPart(jwk).get(), nullptr));
  ERR_clear_error();
  if (made.key == nullptr) return LeftOut("cannot be read, or is of a curve that is not taken");
  return made;
}

absl::StatusOr<KeySet> KeySet::Parse(absl::string_view text) {
  const Json set = ParseObject(text);
  const json_t* const keys = json_object_get(set.get(), "keys");
  if (!json_is_array(keys)) return absl::InvalidArgumentError("is not a JWK Set (RFC 7517 5)");
  if (json_array_size(keys) > kMaxKeys) {
    return absl::InvalidArgumentError(absl::StrCat("has more than ", kMaxKeys, " keys"));
  }
  KeySet made;
  size_t index = 0;
  const json_t* jwk = nullptr;
  json_array_foreach(keys, index, jwk) {
    absl::StatusOr<Key> key = ParseKey(jwk);
    if (key.ok()) {
      made.keys_.push_back(*std::move(key));
    } else {
      made.left_out_.push_back(absl::StrCat(NameOf(jwk), " ", key.status().message()));
    }
  }
  if (made.keys_.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("has no key that can be used",
                                                   made.left_out_.empty() ? "" : ": ",
                                                   absl::StrJoin(made.left_out_, "; ")));
  }
  return made;
}

absl::StatusOr<KeySet> KeySet::Read(absl::string_view file) {
  const absl::StatusOr<std::string> text = config::ReadSmallFile(file, kMaxOctets);
  if (!text.ok()) return text.status();
  absl::StatusOr<KeySet> set = Parse(*text);
  if (set.ok()) return set;
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", set.status().message()));
}

absl::Status KeySet::Verify(const Token& token) const {
  const std::unique_ptr<cjose_jws_t, ReleaseJws> jws(
      cjose_jws_import(token.text.data(), token.text.size(), nullptr));
  if (jws == nullptr) return absl::UnauthenticatedError("it cannot be read as a JWS");
  bool known = false;
  bool suits = false;
  bool good = false;
  for (const Key& key : keys_) {
    if (token.key_id.has_value() && key.id != token.key_id) continue;
    known = true;
    if (!key.Suits(*token.algorithm)) continue;
    suits = true;
    if (good = cjose_jws_verify(jws.get(), key.key.get(), nullptr); good) break;
  }
  // What a signature that is wrong leaves there is not for this thread's next one to find.
  ERR_clear_error();
  if (good) return absl::OkStatus();
  if (!token.key_id.has_value()) {
    return absl::NotFoundError("it names no key, and none of the issuer's keys signed it");
  }
  const std::string id = Quoted(*token.key_id);
  if (!known) return absl::NotFoundError(absl::StrCat("its key id ", id, " is unknown"));
  if (!suits) {
    return absl::UnauthenticatedError(
        absl::StrCat("its algorithm ", token.algorithm->name, " is not that of key ", id));
  }
  return absl::UnauthenticatedError(absl::StrCat("its signature is not by key ", id));
}

}  // namespace postern::auth::oauth
