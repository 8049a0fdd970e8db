#include "services/identity/token_keys.h"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "openssl/bio.h"
#include "openssl/err.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "services/config/small_file.h"
#include "services/crypto/sha256.h"

namespace postern::identity {
namespace {

constexpr size_t kMaxFileOctets = 64 << 10;
constexpr size_t kMaxKeys = 16;
constexpr size_t kPublicKeyOctets = 32;
constexpr size_t kKeyIdOctets = 8;
constexpr absl::string_view kPublicBegin = "-----BEGIN PUBLIC KEY-----";
constexpr absl::string_view kPublicEnd = "-----END PUBLIC KEY-----";

// Never asks on the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

absl::Status Wrong(absl::string_view file, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(file, ": ", why));
}

absl::StatusOr<TokenKey> MakeKey(absl::string_view file, EVP_PKEY* key, absl::string_view what) {
  std::shared_ptr<EVP_PKEY> owned(key, EVP_PKEY_free);
  if (key == nullptr || EVP_PKEY_get_id(key) != EVP_PKEY_ED25519) {
    return Wrong(file, what);
  }
  std::string raw(kPublicKeyOctets, '\0');
  size_t size = raw.size();
  if (EVP_PKEY_get_raw_public_key(key, reinterpret_cast<unsigned char*>(raw.data()), &size) != 1 ||
      size != raw.size()) {
    return Wrong(file, what);
  }
  return TokenKey{crypto::Sha256Of(raw).substr(0, kKeyIdOctets), std::move(owned)};
}

template <typename Read>
EVP_PKEY* ReadPem(absl::string_view pem, const Read& read) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  if (bio == nullptr) {
    return nullptr;
  }
  EVP_PKEY* key = read(bio, nullptr, NoPassphrase, nullptr);
  BIO_free(bio);
  return key;
}

}  // namespace

absl::StatusOr<TokenKey> ReadTokenSigningKey(absl::string_view file) {
  const absl::Cleanup clear_errors = [] { ERR_clear_error(); };
  const absl::StatusOr<std::string> pem = config::ReadSmallFile(file, kMaxFileOctets);
  if (!pem.ok()) {
    return pem.status();
  }
  return MakeKey(file, ReadPem(*pem, PEM_read_bio_PrivateKey),
                 "holds no Ed25519 private key (PEM, PKCS #8, without a passphrase)");
}

absl::StatusOr<std::vector<TokenKey>> ReadTokenVerificationKeys(absl::string_view file) {
  const absl::Cleanup clear_errors = [] { ERR_clear_error(); };
  const absl::StatusOr<std::string> pem = config::ReadSmallFile(file, kMaxFileOctets);
  if (!pem.ok()) {
    return pem.status();
  }
  std::vector<TokenKey> keys;
  absl::string_view rest = absl::StripAsciiWhitespace(*pem);
  while (!rest.empty()) {
    const size_t end = rest.find(kPublicEnd);
    if (!absl::StartsWith(rest, kPublicBegin) || end == absl::string_view::npos) {
      return Wrong(file, absl::StrCat("holds something that is not a PEM public key, after ",
                                      keys.size(), " good ones"));
    }
    absl::StatusOr<TokenKey> key =
        MakeKey(file, ReadPem(rest.substr(0, end + kPublicEnd.size()), PEM_read_bio_PUBKEY),
                absl::StrCat("public key ", keys.size() + 1, " is not an Ed25519 key"));
    if (!key.ok()) {
      return key.status();
    }
    if (keys.size() == kMaxKeys) {
      return Wrong(file, absl::StrCat("holds more than ", kMaxKeys, " keys"));
    }
    keys.push_back(*std::move(key));
    rest = absl::StripLeadingAsciiWhitespace(rest.substr(end + kPublicEnd.size()));
  }
  if (keys.empty()) {
    return Wrong(file, "holds no public key");
  }
  return keys;
}

}  // namespace postern::identity
