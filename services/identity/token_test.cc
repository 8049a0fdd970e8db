#include "services/identity/token.h"

#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "proto/postern/token/v1/token.pb.h"
#include "services/identity/access.h"

namespace postern::identity {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1800000000);
constexpr char kNonce[] = "0123456789abcdef";

// As `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout` write them.
class KeyPair {
 public:
  explicit KeyPair(int type = EVP_PKEY_ED25519) {
    EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_id(type, nullptr);
    EVP_PKEY* key = nullptr;
    EXPECT_EQ(EVP_PKEY_keygen_init(context), 1);
    EXPECT_EQ(EVP_PKEY_keygen(context, &key), 1);
    EVP_PKEY_CTX_free(context);
    private_pem_ = Pem([key](BIO* bio) {
      return PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
    });
    public_pem_ = Pem([key](BIO* bio) { return PEM_write_bio_PUBKEY(bio, key); });
    EVP_PKEY_free(key);
  }
  const std::string& private_pem() const { return private_pem_; }
  const std::string& public_pem() const { return public_pem_; }

 private:
  template <typename Write>
  static std::string Pem(const Write& write) {
    BIO* bio = BIO_new(BIO_s_mem());
    EXPECT_EQ(write(bio), 1);
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string pem(data, static_cast<size_t>(size));
    BIO_free(bio);
    return pem;
  }
  std::string private_pem_;
  std::string public_pem_;
};

class TokenTest : public testing::Test {
 protected:
  // By a rename, as whoever rotates keys does it.
  static void Write(const std::string& file, const std::string& contents) {
    std::ofstream(file + ".new") << contents;
    ASSERT_EQ(std::rename((file + ".new").c_str(), file.c_str()), 0);
  }

  void SetUp() override {
    Write(private_file_, key_.private_pem());
    Write(public_file_, key_.public_pem());
    signer_ = *TokenSigner::Open(private_file_);
    verifier_ = *TokenVerifier::Open(public_file_);
    claims_.set_account_id("account");
    claims_.set_address("alice@example.test");
    claims_.set_mailbox_id("00112233445566778899aabbccddeeff");
    claims_.set_purpose(auth::v1::PURPOSE_MAILDROP);
    claims_.set_gateway(std::string(identity::kGatewayPop3));
    claims_.set_session_nonce(kNonce);
    claims_.set_issued_at(absl::ToUnixSeconds(kNow));
    claims_.set_expires_at(absl::ToUnixSeconds(kNow + absl::Minutes(15)));
  }

  static TokenVerifier::Expected Expected() {
    return {.purpose = auth::v1::PURPOSE_MAILDROP,
            .gateway = identity::kGatewayPop3,
            .session_nonce = kNonce,
            .now = kNow};
  }

  bool Good(absl::string_view token) const { return verifier_->Verify(token, Expected()).ok(); }

  // The files are looked at once a second.
  template <typename Predicate>
  static bool Eventually(const Predicate& predicate) {
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (!predicate()) {
      if (absl::Now() > deadline) {
        return false;
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
    return true;
  }

  const std::string private_file_ = absl::StrCat(testing::TempDir(), "/token.key");
  const std::string public_file_ = absl::StrCat(testing::TempDir(), "/token.pub");
  const KeyPair key_;
  token::v1::Claims claims_;
  std::unique_ptr<TokenSigner> signer_;
  std::unique_ptr<TokenVerifier> verifier_;
};

TEST_F(TokenTest, ComesBackAsItWasSigned) {
  const std::string token = signer_->Sign(claims_);
  // Twice: the second time the signature is remembered.
  for (int i = 0; i < 2; ++i) {
    const auto claims = verifier_->Verify(token, Expected());
    ASSERT_TRUE(claims.ok()) << claims.status();
    EXPECT_EQ(claims->SerializeAsString(), claims_.SerializeAsString());
  }
}

TEST_F(TokenTest, IsTextForAProtoString) {
  for (char c : signer_->Sign(claims_)) {
    EXPECT_TRUE(absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_');
  }
}

TEST_F(TokenTest, WhatDoesNotMatchTheCallIsRefused) {
  using Change = void (*)(TokenVerifier::Expected*);
  const struct {
    const char* what;
    Change change;
    const char* why;
  } cases[] = {
      {"expired", [](auto* e) { e->now = kNow + absl::Minutes(15); }, "expired"},
      {"long expired", [](auto* e) { e->now = absl::InfiniteFuture(); }, "expired"},
      {"another purpose", [](auto* e) { e->purpose = auth::v1::PURPOSE_SUBMISSION; }, "purpose"},
      {"no purpose", [](auto* e) { e->purpose = auth::v1::PURPOSE_UNSPECIFIED; }, "purpose"},
      {"another gateway", [](auto* e) { e->gateway = identity::kGatewaySmtpSubmission; },
       "gateway"},
      {"nobody's gateway", [](auto* e) { e->gateway = ""; }, "gateway"},
      {"a prefix of the gateway", [](auto* e) { e->gateway = "gateway"; }, "gateway"},
      {"another nonce", [](auto* e) { e->session_nonce = "0123456789abcdeF"; }, "session"},
      {"no nonce", [](auto* e) { e->session_nonce = ""; }, "session"},
  };
  const std::string token = signer_->Sign(claims_);
  for (const auto& c : cases) {
    TokenVerifier::Expected expected = Expected();
    c.change(&expected);
    const absl::Status status = verifier_->Verify(token, expected).status();
    EXPECT_TRUE(absl::IsUnauthenticated(status)) << c.what << " " << status;
    EXPECT_TRUE(absl::StrContains(status.message(), c.why)) << c.what << " " << status;
  }
}

TEST_F(TokenTest, GoodUntilTheSecondItExpires) {
  TokenVerifier::Expected expected = Expected();
  const std::string token = signer_->Sign(claims_);
  expected.now = kNow + absl::Minutes(15) - absl::Seconds(1);
  EXPECT_TRUE(verifier_->Verify(token, expected).ok());
  // A live lease does not mind.
  claims_.set_expires_at(0);
  expected.now = absl::InfinitePast();
  EXPECT_TRUE(verifier_->Verify(signer_->Sign(claims_), expected).ok());
}

TEST_F(TokenTest, ClaimsThatLackABindingAreNeverGood) {
  TokenVerifier::Expected expected = Expected();
  token::v1::Claims claims = claims_;
  claims.clear_purpose();
  expected.purpose = auth::v1::PURPOSE_UNSPECIFIED;
  EXPECT_FALSE(verifier_->Verify(signer_->Sign(claims), expected).ok());
  claims = claims_;
  claims.clear_gateway();
  expected = Expected();
  expected.gateway = "";
  EXPECT_FALSE(verifier_->Verify(signer_->Sign(claims), expected).ok());
  claims = claims_;
  claims.clear_session_nonce();
  expected = Expected();
  expected.session_nonce = "";
  EXPECT_FALSE(verifier_->Verify(signer_->Sign(claims), expected).ok());
}

TEST_F(TokenTest, AnyAlteredBitIsRefused) {
  const std::string token = signer_->Sign(claims_);
  ASSERT_TRUE(Good(token));
  // Of the text as it travels, and of the octets it stands for.
  for (size_t i = 0; i < token.size() * 8; ++i) {
    std::string altered = token;
    altered[i / 8] = static_cast<char>(altered[i / 8] ^ (1 << (i % 8)));
    EXPECT_FALSE(Good(altered)) << "bit " << i << " of the text";
  }
  std::string octets;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(token, &octets));
  for (size_t i = 0; i < octets.size() * 8; ++i) {
    std::string altered = octets;
    altered[i / 8] = static_cast<char>(altered[i / 8] ^ (1 << (i % 8)));
    EXPECT_FALSE(Good(absl::WebSafeBase64Escape(altered))) << "bit " << i << " of the octets";
  }
}

TEST_F(TokenTest, OneTokenHasOneSpelling) {
  const std::string token = signer_->Sign(claims_);
  std::string octets;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(token, &octets));
  // A field of number 15, a repeated field (the last one counts), a cut, white space.
  const std::string unknown = octets + std::string("\x7a\x01x", 3);
  const std::string repeated = octets + octets;
  for (const std::string& other :
       {absl::WebSafeBase64Escape(unknown), absl::WebSafeBase64Escape(repeated),
        token.substr(0, token.size() - 1), token + "=", token + "==", token + " ", " " + token,
        token + "\n", token + "A", std::string(), std::string("."), std::string(100000, 'A')}) {
    EXPECT_FALSE(Good(other)) << other.substr(0, 600);
  }
}

TEST_F(TokenTest, TheSignatureCoversTheClaimsUnderOurPrefixAlone) {
  // Claims moved into another token with a good signature.
  token::v1::SignedToken first;
  token::v1::SignedToken second;
  std::string octets;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(signer_->Sign(claims_), &octets));
  ASSERT_TRUE(first.ParseFromString(octets));
  claims_.set_mailbox_id("somebody else's");
  ASSERT_TRUE(absl::WebSafeBase64Unescape(signer_->Sign(claims_), &octets));
  ASSERT_TRUE(second.ParseFromString(octets));
  first.set_claims(second.claims());
  EXPECT_FALSE(Good(absl::WebSafeBase64Escape(first.SerializeAsString())));
}

TEST_F(TokenTest, AWrongKeyIsRefused) {
  const KeyPair other;
  Write(private_file_, other.private_pem());
  const auto stranger = TokenSigner::Open(private_file_);
  ASSERT_TRUE(stranger.ok());
  const std::string token = (*stranger)->Sign(claims_);
  EXPECT_FALSE(Good(token));
  // Under the name of the right key it is no better.
  token::v1::SignedToken forged;
  token::v1::SignedToken real;
  std::string octets;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(token, &octets));
  ASSERT_TRUE(forged.ParseFromString(octets));
  Write(private_file_, key_.private_pem());
  const auto again = TokenSigner::Open(private_file_);
  ASSERT_TRUE(absl::WebSafeBase64Unescape((*again)->Sign(claims_), &octets));
  ASSERT_TRUE(real.ParseFromString(octets));
  forged.set_key_id(real.key_id());
  EXPECT_FALSE(Good(absl::WebSafeBase64Escape(forged.SerializeAsString())));
}

TEST_F(TokenTest, KeysRotateWithOverlapAndAWithdrawnKeyTakesItsTokensAlong) {
  const KeyPair next;
  const std::string old_token = signer_->Sign(claims_);
  ASSERT_TRUE(Good(old_token));
  // The verifiers first learn the new key ...
  Write(public_file_, next.public_pem() + key_.public_pem());
  // ... then the signer uses it ...
  Write(private_file_, next.private_pem());
  std::string new_token;
  ASSERT_TRUE(Eventually([&] {
    new_token = signer_->Sign(claims_);
    return new_token != old_token;
  }));
  EXPECT_TRUE(Eventually([&] { return Good(new_token); }));
  EXPECT_TRUE(Good(old_token));
  // ... and at last the old one is withdrawn, remembered or not.
  Write(public_file_, next.public_pem());
  EXPECT_TRUE(Eventually([&] { return !Good(old_token); }));
  EXPECT_TRUE(Good(new_token));
}

TEST_F(TokenTest, ABrokenFileLeavesTheOldKeysInForce) {
  const KeyPair next;
  const std::string token = signer_->Sign(claims_);
  testing::internal::CaptureStderr();
  Write(public_file_, "garbage");
  Write(private_file_, "");
  const absl::Time end = absl::Now() + absl::Milliseconds(1500);
  while (absl::Now() < end) {
    ASSERT_TRUE(Good(token));
    ASSERT_EQ(signer_->Sign(claims_), token);
  }
  EXPECT_NE(testing::internal::GetCapturedStderr().find("file not read again"), std::string::npos);
  Write(public_file_, next.public_pem());
  Write(private_file_, next.private_pem());
  EXPECT_TRUE(Eventually([&] { return Good(signer_->Sign(claims_)) && !Good(token); }));
}

TEST_F(TokenTest, AFileAtFaultIsNamedAtStart) {
  const KeyPair x25519(EVP_PKEY_X25519);
  std::string seventeen;
  for (int i = 0; i < 17; ++i) {
    seventeen += key_.public_pem();
  }
  const std::string file = absl::StrCat(testing::TempDir(), "/bad.pem");
  for (const std::string& contents :
       {std::string(), std::string("garbage"), key_.private_pem(), x25519.public_pem(),
        key_.public_pem() + "garbage", key_.public_pem() + key_.public_pem().substr(0, 60),
        key_.public_pem() + x25519.public_pem(), seventeen, std::string(100000, 'x')}) {
    Write(file, contents);
    const absl::Status status = TokenVerifier::Open(file).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << contents;
    EXPECT_TRUE(absl::StrContains(status.message(), file)) << status;
  }
  for (const std::string& contents :
       {std::string(), std::string("garbage"), key_.public_pem(), x25519.private_pem()}) {
    Write(file, contents);
    const absl::Status status = TokenSigner::Open(file).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << contents;
    EXPECT_TRUE(absl::StrContains(status.message(), file)) << status;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(TokenVerifier::Open("/nowhere").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(TokenSigner::Open("").status()));
}

}  // namespace
}  // namespace postern::identity
