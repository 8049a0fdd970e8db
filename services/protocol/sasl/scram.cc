#include "services/protocol/sasl/scram.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stringprep.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/crypto/sha256.h"
#include "services/protocol/sasl/base64.h"
#include "services/text/utf8.h"

namespace postern::sasl {
namespace {

constexpr size_t kMaxIdentity = 255;
constexpr size_t kMaxNonce = 256;
constexpr size_t kMaxSaltOctets = 64;
// Of what is kept: a client computes as many at each login.
constexpr uint32_t kMaxIterations = 1'000'000;

const unsigned char* Octets(absl::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

std::string Hmac(absl::string_view key, absl::string_view text) {
  unsigned char mac[crypto::kSha256Octets];
  unsigned int size = sizeof mac;
  if (HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), Octets(text), text.size(), mac,
           &size) == nullptr) {
    std::abort();  // Out of memory: nothing here can be trusted then.
  }
  return std::string(reinterpret_cast<const char*>(mac), size);
}

// RFC 4013, as a stored string: unassigned code points are forbidden.
std::optional<std::string> SaslPrep(absl::string_view text) {
  if (text.find('\0') != absl::string_view::npos) return std::nullopt;
  char* prepared = nullptr;
  const int result = stringprep_profile(std::string(text).c_str(), &prepared, "SASLprep",
                                        static_cast<Stringprep_profile_flags>(0));
  const std::unique_ptr<char, decltype(&std::free)> freed(prepared, &std::free);
  if (result != STRINGPREP_OK) return std::nullopt;
  return std::string(prepared);
}

bool IsNonce(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxNonce &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

}  // namespace

std::optional<std::string> ReadSaslName(absl::string_view text) {
  std::string name;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '=') {
      name.push_back(text[i]);
      continue;
    }
    const absl::string_view code = text.substr(i, 3);
    if (code != "=2C" && code != "=3D") return std::nullopt;
    name.push_back(code == "=2C" ? ',' : '=');
    i += 2;
  }
  if (name.empty() || name.size() > kMaxIdentity || name.find('\0') != std::string::npos ||
      !text::IsUtf8(name)) {
    return std::nullopt;
  }
  return name;
}

std::string ScramVerifier::ToString() const {
  return absl::StrCat(iterations, ",", EncodeBase64(salt), ",", EncodeBase64(stored_key), ",",
                      EncodeBase64(server_key));
}

std::optional<ScramVerifier> ScramVerifier::FromString(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ',');
  ScramVerifier read;
  if (parts.size() != 4 || !absl::SimpleAtoi(parts[0], &read.iterations) || read.iterations == 0 ||
      read.iterations > kMaxIterations || !DecodeBase64(parts[1], read.salt) || read.salt.empty() ||
      read.salt.size() > kMaxSaltOctets || !DecodeBase64(parts[2], read.stored_key) ||
      read.stored_key.size() != crypto::kSha256Octets || !DecodeBase64(parts[3], read.server_key) ||
      read.server_key.size() != crypto::kSha256Octets) {
    return std::nullopt;
  }
  return read;
}

absl::StatusOr<ScramVerifier> MakeScramVerifier(absl::string_view password, std::string salt,
                                                uint32_t iterations) {
  std::optional<std::string> prepared = SaslPrep(password);
  if (!prepared.has_value() || prepared->empty()) {
    return absl::InvalidArgumentError("SASLprep (RFC 4013) forbids the password");
  }
  unsigned char salted[crypto::kSha256Octets];
  const int done =
      PKCS5_PBKDF2_HMAC(prepared->data(), static_cast<int>(prepared->size()), Octets(salt),
                        static_cast<int>(salt.size()), static_cast<int>(iterations), EVP_sha256(),
                        sizeof salted, salted);
  OPENSSL_cleanse(prepared->data(), prepared->size());
  if (done != 1) return absl::ResourceExhaustedError("not enough memory to hash a password");
  const absl::string_view key(reinterpret_cast<const char*>(salted), sizeof salted);
  ScramVerifier made;
  made.iterations = iterations;
  made.salt = std::move(salt);
  made.stored_key = crypto::Sha256Of(Hmac(key, "Client Key"));
  made.server_key = Hmac(key, "Server Key");
  OPENSSL_cleanse(salted, sizeof salted);
  return made;
}

ScramExchange::ScramExchange(bool bound, bool plus_offered, ChannelBindings bindings,
                             std::string nonce)
    : bound_(bound),
      plus_offered_(plus_offered),
      bindings_(std::move(bindings)),
      nonce_(std::move(nonce)) {}

std::optional<ScramExchange::ClientFirst> ScramExchange::ReadClientFirst(
    absl::string_view message) {
  // gs2-cbind-flag "," [ authzid ] "," client-first-message-bare
  const size_t flag_end = message.find(',');
  if (flag_end == absl::string_view::npos) return std::nullopt;
  const size_t header_end = message.find(',', flag_end + 1);
  if (header_end == absl::string_view::npos) return std::nullopt;
  absl::string_view flag = message.substr(0, flag_end);
  absl::string_view acts_as = message.substr(flag_end + 1, header_end - flag_end - 1);
  ClientFirst first;
  if (absl::ConsumePrefix(&flag, "p=")) {
    if (!bound_) return std::nullopt;
    binding_ = flag == "tls-exporter"           ? bindings_.tls_exporter
               : flag == "tls-server-end-point" ? bindings_.tls_server_end_point
                                                : std::string();
    if (binding_.empty()) return std::nullopt;
  } else if (bound_ || (flag != "n" && flag != "y") || (flag == "y" && plus_offered_)) {
    return std::nullopt;
  }
  if (!acts_as.empty()) {
    if (!absl::ConsumePrefix(&acts_as, "a=")) return std::nullopt;
    std::optional<std::string> name = ReadSaslName(acts_as);
    if (!name.has_value()) return std::nullopt;
    first.authorization_id = *std::move(name);
  }
  const absl::string_view bare = message.substr(header_end + 1);
  // "m=" (a mandatory extension) is none of ours; what stands after the nonce may be ignored.
  std::vector<absl::string_view> parts = absl::StrSplit(bare, ',');
  if (parts.size() < 2 || !absl::ConsumePrefix(&parts[0], "n=") ||
      !absl::ConsumePrefix(&parts[1], "r=") || !IsNonce(parts[1])) {
    return std::nullopt;
  }
  std::optional<std::string> name = ReadSaslName(parts[0]);
  if (!name.has_value()) return std::nullopt;
  first.authentication_id = *std::move(name);
  gs2_header_ = std::string(message.substr(0, header_end + 1));
  client_first_bare_ = std::string(bare);
  client_nonce_ = std::string(parts[1]);
  return first;
}

std::string ScramExchange::ServerFirst(const ScramVerifier& verifier) {
  verifier_ = verifier;
  server_first_ = absl::StrCat("r=", client_nonce_, nonce_, ",s=", EncodeBase64(verifier.salt),
                               ",i=", verifier.iterations);
  return server_first_;
}

ScramExchange::Proof ScramExchange::ReadClientFinal(absl::string_view message) {
  // "c=" channel-binding ",r=" nonce ["," extensions] ",p=" proof
  const size_t proof_at = message.rfind(",p=");
  if (proof_at == absl::string_view::npos) return Proof::kMalformed;
  const absl::string_view without_proof = message.substr(0, proof_at);
  std::string proof;
  if (!DecodeBase64(message.substr(proof_at + 3), proof) || proof.size() != crypto::kSha256Octets) {
    return Proof::kMalformed;
  }
  std::vector<absl::string_view> parts = absl::StrSplit(without_proof, ',');
  std::string bound;
  if (parts.size() < 2 || !absl::ConsumePrefix(&parts[0], "c=") || !DecodeBase64(parts[0], bound) ||
      !absl::ConsumePrefix(&parts[1], "r=") || parts[1] != absl::StrCat(client_nonce_, nonce_)) {
    return Proof::kMalformed;
  }
  auth_message_ = absl::StrCat(client_first_bare_, ",", server_first_, ",", without_proof);
  const std::string signature = Hmac(verifier_.stored_key, auth_message_);
  for (size_t i = 0; i < proof.size(); ++i) proof[i] = static_cast<char>(proof[i] ^ signature[i]);
  const std::string key = crypto::Sha256Of(proof);
  if (CRYPTO_memcmp(key.data(), verifier_.stored_key.data(), key.size()) != 0) {
    return Proof::kWrong;
  }
  // Of who knows the password: somebody stands between us.
  if (bound != absl::StrCat(gs2_header_, binding_)) return Proof::kWrongBinding;
  return Proof::kRight;
}

std::string ScramExchange::ServerFinal() const {
  return absl::StrCat("v=", EncodeBase64(Hmac(verifier_.server_key, auth_message_)));
}

}  // namespace postern::sasl
