#include "services/identity/token.h"

#include <array>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "openssl/crypto.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "proto/postern/token/v1/token.pb.h"
#include "services/config/reloaded_file.h"
#include "services/crypto/sha256.h"
#include "services/identity/token_keys.h"

namespace postern::identity {
namespace {

constexpr size_t kSignatureOctets = 64;
constexpr size_t kPrivateKeyOctets = 32;
// A token of ours has some 300; what is much longer isn't looked into.
constexpr size_t kMaxTokenOctets = 4096;
// An Ed25519 verification takes 100 us and more, and a session presents its token with every call:
// signatures found good are remembered, by the whole token.
constexpr size_t kMaxRemembered = 8192;

struct DigestContextFree {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using DigestContext = std::unique_ptr<EVP_MD_CTX, DigestContextFree>;

std::string Signed(absl::string_view claims) { return absl::StrCat(kTokenSignaturePrefix, claims); }

const unsigned char* Octets(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

class Ed25519Signer final : public TokenSigner {
 public:
  explicit Ed25519Signer(std::unique_ptr<config::ReloadedFile<TokenKey>> key)
      : key_(std::move(key)) {}

  std::string Sign(const token::v1::Claims& claims) const override {
    const std::shared_ptr<const TokenKey> key = key_->Get();
    token::v1::SignedToken token;
    token.set_claims(claims.SerializeAsString());
    token.set_key_id(key->id);
    const std::string text = Signed(token.claims());
    std::array<unsigned char, kSignatureOctets> signature{};
    size_t size = signature.size();
    const DigestContext context(EVP_MD_CTX_new());
    if (context == nullptr ||
        EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key->key.get()) != 1 ||
        EVP_DigestSign(context.get(), signature.data(), &size, Octets(text), text.size()) != 1) {
      // Out of memory: an unsigned token, which every verifier refuses.
      ERR_clear_error();
      return "";
    }
    token.set_signature(signature.data(), size);
    return absl::WebSafeBase64Escape(token.SerializeAsString());
  }

  std::string Secret(absl::string_view purpose) const override {
    std::array<unsigned char, kPrivateKeyOctets> raw{};
    size_t size = raw.size();
    if (EVP_PKEY_get_raw_private_key(key_->Get()->key.get(), raw.data(), &size) != 1) {
      std::abort();  // Out of memory: ReadTokenSigningKey has made sure that it is an Ed25519 key.
    }
    crypto::Sha256 secret;
    secret.Field("postern secret");
    secret.Field(purpose);
    secret.Field({reinterpret_cast<const char*>(raw.data()), size});
    OPENSSL_cleanse(raw.data(), raw.size());
    return secret.Finish();
  }

 private:
  const std::unique_ptr<config::ReloadedFile<TokenKey>> key_;
};

// Signatures found good. Bounded: the oldest goes first.
class GoodSignatures {
 public:
  bool Contains(absl::string_view token) {
    absl::ReaderMutexLock lock(&mutex_);
    return tokens_.contains(token);
  }

  void Insert(absl::string_view token) {
    absl::MutexLock lock(&mutex_);
    if (!tokens_.emplace(token).second) {
      return;
    }
    order_.emplace_back(token);
    if (order_.size() > kMaxRemembered) {
      tokens_.erase(order_.front());
      order_.pop_front();
    }
  }

 private:
  absl::Mutex mutex_;
  absl::flat_hash_set<std::string> tokens_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> order_ ABSL_GUARDED_BY(mutex_);
};

// What is remembered dies with the keys it was checked against: a key that is withdrawn takes its
// tokens along.
struct VerificationKeys {
  std::vector<TokenKey> keys;
  std::unique_ptr<GoodSignatures> good = std::make_unique<GoodSignatures>();
};

absl::Status Refused(absl::string_view why) { return absl::UnauthenticatedError(why); }

bool SignatureIsGood(const VerificationKeys& keys, const token::v1::SignedToken& token) {
  const std::string text = Signed(token.claims());
  for (const TokenKey& key : keys.keys) {
    if (key.id != token.key_id()) {
      continue;
    }
    const DigestContext context(EVP_MD_CTX_new());
    const bool good =
        context != nullptr &&
        EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.key.get()) == 1 &&
        EVP_DigestVerify(context.get(), Octets(token.signature()), token.signature().size(),
                         Octets(text), text.size()) == 1;
    ERR_clear_error();
    if (good) {
      return true;
    }
  }
  return false;
}

class Ed25519Verifier final : public TokenVerifier {
 public:
  explicit Ed25519Verifier(std::unique_ptr<config::ReloadedFile<VerificationKeys>> keys)
      : keys_(std::move(keys)) {}

  absl::StatusOr<token::v1::Claims> Verify(absl::string_view text,
                                           const Expected& expected) const override {
    if (text.size() > kMaxTokenOctets) {
      return Refused("token too long");
    }
    std::string octets;
    token::v1::SignedToken token;
    // One token has one spelling: no padding bits, no unknown fields, no other order.
    if (!absl::WebSafeBase64Unescape(text, &octets) || absl::WebSafeBase64Escape(octets) != text ||
        !token.ParseFromString(octets)) {
      return Refused("not a token");
    }
    token.DiscardUnknownFields();
    if (token.SerializeAsString() != octets) {
      return Refused("not a token");
    }
    const std::shared_ptr<const VerificationKeys> keys = keys_->Get();
    if (!keys->good->Contains(octets)) {
      if (token.signature().size() != kSignatureOctets || !SignatureIsGood(*keys, token)) {
        return Refused("signature or key not good");
      }
      keys->good->Insert(octets);
    }
    token::v1::Claims claims;
    if (!claims.ParseFromString(token.claims())) {
      return Refused("claims can't be read");
    }
    if (expected.purpose == auth::v1::PURPOSE_UNSPECIFIED || claims.purpose() != expected.purpose) {
      return Refused("token for another purpose");
    }
    if (claims.gateway().empty() || claims.gateway() != expected.gateway) {
      return Refused("token of another gateway");
    }
    if (claims.session_nonce().empty() || claims.session_nonce() != expected.session_nonce) {
      return Refused("token of another session");
    }
    if (absl::FromUnixSeconds(claims.expires_at()) <= expected.now) {
      return Refused("token expired");
    }
    return claims;
  }

 private:
  const std::unique_ptr<config::ReloadedFile<VerificationKeys>> keys_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TokenSigner>> TokenSigner::Open(absl::string_view private_key_file) {
  auto key = config::ReloadedFile<TokenKey>::Open(private_key_file, ReadTokenSigningKey);
  if (!key.ok()) {
    return key.status();
  }
  return std::make_unique<Ed25519Signer>(*std::move(key));
}

absl::StatusOr<std::unique_ptr<TokenVerifier>> TokenVerifier::Open(
    absl::string_view public_keys_file) {
  auto keys = config::ReloadedFile<VerificationKeys>::Open(
      public_keys_file, [](absl::string_view file) -> absl::StatusOr<VerificationKeys> {
        absl::StatusOr<std::vector<TokenKey>> read = ReadTokenVerificationKeys(file);
        if (!read.ok()) {
          return read.status();
        }
        return VerificationKeys{*std::move(read)};
      });
  if (!keys.ok()) {
    return keys.status();
  }
  return std::make_unique<Ed25519Verifier>(*std::move(keys));
}

}  // namespace postern::identity
