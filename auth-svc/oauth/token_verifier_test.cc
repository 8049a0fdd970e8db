#include "auth-svc/oauth/token_verifier.h"

#include <gmock/gmock.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "auth-svc/oauth/testing/test_issuer.h"
#include "auth-svc/oauth/testing/test_key.h"
#include "gtest/gtest.h"
#include "proto/postern/config/v1/auth_svc.pb.h"

namespace postern::auth::oauth {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr int64_t kNow = 1'800'000'000;
constexpr char kRs256[] = R"({"alg":"RS256","kid":"rsa"})";

process::Clock FixedClock() {
  return [] { return absl::FromUnixSeconds(kNow); };
}

std::string Kid(absl::string_view id) { return absl::StrCat("\"kid\":\"", id, "\""); }

// Generating one takes a while.
const TestKey& RsaKey() {
  static const TestKey& key = *new TestKey(TestKey::Rsa());
  return key;
}

const TestKey& EcKey(cjose_jwk_ec_curve curve = CJOSE_JWK_EC_P_256) {
  static std::map<cjose_jwk_ec_curve, TestKey>& keys = *new std::map<cjose_jwk_ec_curve, TestKey>;
  return keys.try_emplace(curve, TestKey::Ec(curve)).first->second;
}

// Claims that pass; `others` are JSON by name, "" leaves one out.
std::string Claims(const std::map<std::string, std::string>& others = {}) {
  std::map<std::string, std::string> members = {
      {"iss", "\"https://login.test\""},
      {"aud", "\"mail\""},
      {"sub", "\"1234\""},
      {"email", "\"Alice@Staff.test\""},
      {"iat", absl::StrCat(kNow - 10)},
      {"exp", absl::StrCat(kNow + 600)},
  };
  for (const auto& [name, json] : others) members[name] = json;
  std::vector<std::string> texts;
  for (const auto& [name, json] : members) {
    if (!json.empty()) texts.push_back(absl::StrCat("\"", name, "\":", json));
  }
  return absl::StrCat("{", absl::StrJoin(texts, ","), "}");
}

class TokenVerifierTest : public testing::Test {
 protected:
  TokenVerifierTest()
      : file_(absl::StrCat(std::getenv("TEST_TMPDIR"), "/keys-", getpid(), ".json")) {
    config_.set_name("login");
    config_.add_domains("Staff.test");
    config_.set_issuer("https://login.test");
    config_.add_audiences("other client");
    config_.add_audiences("mail");
    config_.set_jwks_file(file_);
    Publish({RsaKey().Jwk(Kid("rsa")), EcKey().Jwk(Kid("ec"))});
  }

  // As Kubernetes and people do: another file by a rename.
  void Publish(const std::vector<std::string>& jwks) const {
    std::ofstream(file_ + ".new") << KeySetOf(jwks);
    std::filesystem::rename(file_ + ".new", file_);
  }

  std::unique_ptr<TokenVerifier> Open(process::Clock clock = FixedClock()) const {
    EXPECT_EQ(CheckConfig(config_, "oauth[0]"), absl::OkStatus());
    auto opened = TokenVerifier::Open(config_, std::move(clock));
    EXPECT_TRUE(opened.ok()) << opened.status();
    return *std::move(opened);
  }

  const std::string file_;
  config::v1::OAuth config_;
};

// "alice@staff.test", or the error.
std::string Outcome(TokenVerifier& verifier, absl::string_view token) {
  const absl::StatusOr<Verified> verified = verifier.Verify(token);
  return verified.ok() ? verified->address.ToString() : verified.status().ToString();
}

TEST_F(TokenVerifierTest, SaysWhoItIs) {
  const absl::StatusOr<Verified> verified = Open()->Verify(RsaKey().Sign(kRs256, Claims()));
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(verified->address, *CanonicalAddress("alice@staff.test"));
  EXPECT_EQ(verified->subject, "1234");
  EXPECT_EQ(verified->expires_at, absl::FromUnixSeconds(kNow + 600));
}

TEST_F(TokenVerifierTest, EveryAlgorithm) {
  Publish({RsaKey().Jwk(Kid("rsa")), EcKey(CJOSE_JWK_EC_P_256).Jwk(Kid("256")),
           EcKey(CJOSE_JWK_EC_P_384).Jwk(Kid("384")), EcKey(CJOSE_JWK_EC_P_521).Jwk(Kid("521"))});
  const auto verifier = Open();
  struct Case {
    const char* algorithm;
    const TestKey* key;
    const char* id;
  };
  for (const Case& c : {Case{"RS256", &RsaKey(), "rsa"}, Case{"RS384", &RsaKey(), "rsa"},
                        Case{"RS512", &RsaKey(), "rsa"}, Case{"PS256", &RsaKey(), "rsa"},
                        Case{"PS384", &RsaKey(), "rsa"}, Case{"PS512", &RsaKey(), "rsa"},
                        Case{"ES256", &EcKey(CJOSE_JWK_EC_P_256), "256"},
                        Case{"ES384", &EcKey(CJOSE_JWK_EC_P_384), "384"},
                        Case{"ES512", &EcKey(CJOSE_JWK_EC_P_521), "521"}}) {
    const std::string named =
        c.key->Sign(absl::StrCat(R"({"alg":")", c.algorithm, R"(",)", Kid(c.id), "}"), Claims());
    EXPECT_EQ(Outcome(*verifier, named), "alice@staff.test") << c.algorithm;
    const std::string unnamed =
        c.key->Sign(absl::StrCat(R"({"alg":")", c.algorithm, R"("})"), Claims());
    EXPECT_EQ(Outcome(*verifier, unnamed), "alice@staff.test") << c.algorithm;
    // Any octet of the signature, or of what it signs.
    for (const size_t at : {named.find('.') + 5, named.rfind('.') + 3, named.size() - 9}) {
      std::string changed = named;
      changed[at] = changed[at] == 'A' ? 'B' : 'A';
      EXPECT_THAT(Outcome(*verifier, changed), StartsWith("UNAUTHENTICATED")) << c.algorithm;
    }
  }
}

TEST_F(TokenVerifierTest, ClaimsThatPass) {
  config_.set_required_scope("mail:send");
  const auto verifier = Open();
  const std::map<std::string, std::string> good[] = {
      {{"scope", R"("openid mail:send")"}},
      {{"scp", R"(["openid","mail:send"])"}},
      {{"scope", R"("openid")"}, {"scp", R"("mail:send")"}},
      {{"scope", R"("mail:send")"}, {"aud", R"(["elsewhere",7,"mail"])"}},
      {{"scope", R"("mail:send")"}, {"email_verified", "true"}},
      {{"scope", R"("mail:send")"}, {"email_verified", R"("true")"}},
      {{"scope", R"("mail:send")"}, {"iat", ""}},
      // Within the skew of a minute.
      {{"scope", R"("mail:send")"}, {"exp", absl::StrCat(kNow - 59)}},
      {{"scope", R"("mail:send")"}, {"nbf", absl::StrCat(kNow + 60)}},
      {{"scope", R"("mail:send")"}, {"exp", absl::StrCat(kNow, ".5")}},
  };
  for (const auto& claims : good) {
    EXPECT_EQ(Outcome(*verifier, RsaKey().Sign(kRs256, Claims(claims))), "alice@staff.test")
        << Claims(claims);
  }
}

TEST_F(TokenVerifierTest, ClaimsThatAreRefused) {
  config_.set_required_scope("mail:send");
  const auto verifier = Open();
  struct Case {
    std::map<std::string, std::string> claims;
    const char* says;
  };
  const Case cases[] = {
      {{{"iss", R"("https://login.test/")"}}, R"(its issuer is "https://login.test/")"},
      {{{"iss", ""}}, R"(its issuer is "")"},
      {{{"iss", R"(["https://login.test"])"}}, R"(its issuer is "")"},
      {{{"exp", ""}}, R"(it has no claim "exp")"},
      {{{"exp", R"("1800000600")"}}, R"(its "exp" is not a number)"},
      {{{"exp", "1799999820"}}, "it expired 3m ago"},
      {{{"exp", "1799999940"}}, "it expired 1m ago"},
      {{{"exp", "-1e300"}}, "it expired inf ago"},
      {{{"nbf", "1800000061"}}, R"(it is valid only in 1m1s ("nbf"))"},
      {{{"nbf", "true"}}, R"(its "nbf" is not a number)"},
      {{{"iat", "1800003600"}}, R"(it is valid only in 1h ("iat"))"},
      {{{"aud", ""}}, R"(it has no claim "aud")"},
      {{{"aud", "7"}}, R"(it has no claim "aud")"},
      {{{"aud", R"("Mail")"}}, R"(it is for the audience "Mail", not us)"},
      {{{"aud", R"(["a","b"])"}}, R"(it is for the audience "a b", not us)"},
      {{}, R"(it lacks the scope "mail:send", it has "")"},
      {{{"scope", R"("mail:sending mail")"}}, R"(it has "mail:sending mail")"},
      {{{"scope", R"("mail:send")"}, {"sub", ""}}, R"(it has no claim "sub")"},
      {{{"scope", R"("mail:send")"}, {"email", ""}}, R"(it has no claim "email")"},
      {{{"scope", R"("mail:send")"}, {"email", R"(["alice@staff.test"])"}},
       R"(it has no claim "email")"},
      {{{"scope", R"("mail:send")"}, {"email", R"("alice")"}}, "is no address: \"alice\""},
      {{{"scope", R"("mail:send")"}, {"email", R"("alice@staff.test.other.test")"}},
       "of a domain that login does not vouch for"},
      {{{"scope", R"("mail:send")"}, {"email_verified", "false"}},
       R"(its address "Alice@Staff.test" is not verified)"},
      {{{"scope", R"("mail:send")"}, {"email_verified", R"("no")"}}, "is not verified"},
      {{{"scope", R"("mail:send")"}, {"email_verified", "null"}}, "is not verified"},
  };
  for (const Case& c : cases) {
    const std::string token = RsaKey().Sign(kRs256, Claims(c.claims));
    const std::string outcome = Outcome(*verifier, token);
    EXPECT_THAT(outcome, StartsWith("UNAUTHENTICATED"));
    EXPECT_THAT(outcome, HasSubstr(c.says));
    EXPECT_THAT(outcome, Not(HasSubstr(token.substr(token.rfind('.') + 1))));
  }
}

TEST_F(TokenVerifierTest, AnotherClaimHasTheAddress) {
  config_.set_address_claim("upn");
  const auto verifier = Open();
  const std::string token =
      RsaKey().Sign(kRs256, Claims({{"upn", R"("bob@staff.test")"}, {"email_verified", "false"}}));
  EXPECT_EQ(Outcome(*verifier, token), "bob@staff.test");
  EXPECT_THAT(Outcome(*verifier, RsaKey().Sign(kRs256, Claims())),
              HasSubstr(R"(it has no claim "upn")"));
}

TEST_F(TokenVerifierTest, HeadersThatPass) {
  const auto verifier = Open();
  for (const char* type : {"JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"}) {
    EXPECT_EQ(Outcome(*verifier, RsaKey().Sign(absl::StrCat(R"({"alg":"RS256","typ":")", type,
                                                            R"(","kid":"rsa"})"),
                                               Claims())),
              "alice@staff.test")
        << type;
  }
  // Where a forger's own keys would be is not looked at.
  EXPECT_EQ(Outcome(*verifier,
                    RsaKey().Sign(R"({"alg":"RS256","jku":"https://x.test/","jwk":{}})", Claims())),
            "alice@staff.test");
}

TEST_F(TokenVerifierTest, FormsThatAreRefused) {
  const auto verifier = Open();
  const std::string good = RsaKey().Sign(kRs256, Claims());
  const std::string claims = Claims();
  struct Case {
    std::string token;
    const char* says;
  };
  const Case cases[] = {
      {"", "not a signed JWT in three parts"},
      {"opaque", "not a signed JWT in three parts"},
      {"..", "not a signed JWT in three parts"},
      {good + ".", "not a signed JWT in three parts"},
      {good + "=", "not a signed JWT in three parts"},
      {good + "=x", "not a signed JWT in three parts"},
      {" " + good, "not a signed JWT in three parts"},
      {good + "\n", "not a signed JWT in three parts"},
      {"a.b.c.d.e", "it is an encrypted JWT (JWE)"},
      {std::string(8193, 'a'), "it is longer than 8192 octets"},
      {CompactOf("x", claims, "s"), "its header is not a JSON object"},
      {CompactOf("[]", claims, "s"), "its header is not a JSON object"},
      {CompactOf(R"({"alg":"none","alg":"RS256"})", claims, "s"), "its header is not a JSON"},
      {CompactOf(R"({"alg":"none"})", claims, ""), R"(its algorithm is "none")"},
      {CompactOf(R"({"alg":"None"})", claims, ""), R"(its algorithm is "None")"},
      {CompactOf(R"({"alg":"HS256","kid":"rsa"})", claims, std::string(32, 's')),
       R"(its algorithm is "HS256")"},
      {CompactOf(R"({"alg":"HS384"})", claims, "s"), R"(its algorithm is "HS384")"},
      {CompactOf(R"({"alg":"HS512"})", claims, "s"), R"(its algorithm is "HS512")"},
      {CompactOf(R"({"alg":"EdDSA"})", claims, "s"), R"(its algorithm is "EdDSA")"},
      {CompactOf(R"({"alg":"RS1"})", claims, "s"), R"(its algorithm is "RS1")"},
      {CompactOf(R"({"kid":"rsa"})", claims, "s"), R"(its algorithm is "")"},
      {CompactOf(R"({"alg":["RS256"]})", claims, "s"), R"(its algorithm is "")"},
      {CompactOf(R"({"alg":"RS256","typ":"logout+jwt"})", claims, "s"),
       R"(its type is "logout+jwt")"},
      {CompactOf(R"({"alg":"RS256","typ":7})", claims, "s"), R"(its type is "")"},
      {CompactOf(R"({"alg":"RS256","crit":["b64"],"b64":false})", claims, "s"), "\"crit\""},
      {CompactOf(R"({"alg":"RS256","kid":7})", claims, "s"), "its key id is not a string"},
      {CompactOf(R"({"alg":"RS256","kid":"rsa"})", claims, ""), "its signature of 0 octets"},
      {CompactOf(R"({"alg":"ES256","kid":"ec"})", claims, std::string(65, 's')),
       "its signature of 65 octets is none of ES256"},
      {CompactOf(kRs256, "x", "s"), "its claims are not a JSON object"},
      {CompactOf(kRs256, "\"x\"", "s"), "its claims are not a JSON object"},
      {CompactOf(kRs256, R"({"iss":"a","iss":"https://login.test"})", "s"), "its claims are not"},
      {CompactOf(kRs256, R"({"iss":"https://login.test\u0000"})", "s"), "its claims are not"},
      {CompactOf(kRs256, claims, "s"), R"(its signature is not by key "rsa")"},
      // Keys are known by their ids, whatever else would fit.
      {EcKey().Sign(R"({"alg":"ES256","kid":"rsa"})", claims),
       R"(its algorithm ES256 is not that of key "rsa")"},
      {RsaKey().Sign(R"({"alg":"RS256","kid":"ec"})", claims),
       R"(its algorithm RS256 is not that of key "ec")"},
      {EcKey(CJOSE_JWK_EC_P_384).Sign(R"({"alg":"ES384","kid":"ec"})", claims),
       R"(its algorithm ES384 is not that of key "ec")"},
      {TestKey::Ec(CJOSE_JWK_EC_P_256).Sign(R"({"alg":"ES256","kid":"ec"})", claims),
       R"(its signature is not by key "ec")"},
      {TestKey::Ec(CJOSE_JWK_EC_P_256).Sign(R"({"alg":"ES256"})", claims),
       "it names no key, and none of the issuer's keys signed it"},
      {RsaKey().Sign(R"({"alg":"RS256","kid":"a\u0007g"})", claims),
       R"(its key id "a\x07g" is unknown)"},
  };
  for (const Case& c : cases) {
    const std::string outcome = Outcome(*verifier, c.token);
    EXPECT_THAT(outcome, StartsWith("UNAUTHENTICATED"));
    EXPECT_THAT(outcome, HasSubstr(c.says));
  }
}

TEST_F(TokenVerifierTest, KeysThatAreNotUsed) {
  const std::string token = RsaKey().Sign(R"({"alg":"RS256"})", Claims());
  const std::string small = TestKey::Rsa(2040).Jwk(Kid("small"));
  struct Case {
    std::string jwk;
    const char* says;
  };
  const Case cases[] = {
      {RsaKey().Jwk(R"("kid":"k","use":"enc")"), R"(key "k" is for "enc", not sig)"},
      {RsaKey().Jwk(R"("use":["sig"])"), R"(a key without id is for "", not sig)"},
      {RsaKey().Jwk(R"("kid":"k","key_ops":["sign"])"), R"(key "k" is not to verify with)"},
      {RsaKey().Jwk(R"("kid":"k","key_ops":"verify")"), R"(key "k" is not to verify with)"},
      {RsaKey().Jwk(R"("kid":"k","alg":"RSA-OAEP")"), R"(key "k" is for "RSA-OAEP")"},
      {RsaKey().Jwk(R"("kid":"k","alg":"HS256")"), R"(key "k" is for "HS256")"},
      {small, R"(key "small" has 2040 bits, under 2048)"},
      {R"({"kty":"oct","kid":"k","k":"c2VjcmV0"})", R"(key "k" is of type "oct")"},
      {R"({"kty":"OKP","crv":"Ed25519","x":"AA"})", R"(a key without id is of type "OKP")"},
      {R"({"kty":"EC","crv":"P-256","x":"AA","y":"AA"})", "a key without id cannot be read"},
      {absl::StrReplaceAll(EcKey().Jwk(""), {{R"("crv":"P-256")", R"("crv":"P-384")"}}),
       "cannot be read"},
      {R"({"kty":"RSA"})", "has 0 bits"},
      {"7", "a key without id is not a JSON object"},
  };
  for (const Case& c : cases) {
    Publish({c.jwk});
    EXPECT_THAT(TokenVerifier::Open(config_, FixedClock()).status().ToString(),
                HasSubstr(absl::StrCat(file_, ": has no key that can be used")));
    EXPECT_THAT(TokenVerifier::Open(config_, FixedClock()).status().ToString(), HasSubstr(c.says));
    // Beside one that can be used they do no harm.
    Publish({c.jwk, EcKey().Jwk(Kid("ec"))});
    const auto verifier = Open();
    EXPECT_EQ(Outcome(*verifier, EcKey().Sign(R"({"alg":"ES256","kid":"ec"})", Claims())),
              "alice@staff.test");
    EXPECT_THAT(Outcome(*verifier, token), StartsWith("UNAUTHENTICATED"));
  }
}

TEST_F(TokenVerifierTest, AKeyForOneAlgorithmTakesNoOther) {
  Publish({RsaKey().Jwk(R"("kid":"rsa","use":"sig","key_ops":["verify"],"alg":"PS256")")});
  const auto verifier = Open();
  EXPECT_EQ(Outcome(*verifier, RsaKey().Sign(R"({"alg":"PS256","kid":"rsa"})", Claims())),
            "alice@staff.test");
  EXPECT_THAT(Outcome(*verifier, RsaKey().Sign(kRs256, Claims())),
              HasSubstr(R"(its algorithm RS256 is not that of key "rsa")"));
}

TEST_F(TokenVerifierTest, SetsThatAreNone) {
  for (const char* text : {"", "x", "[]", "{}", R"({"keys":{}})", R"({"keys":[],"keys":[]})"}) {
    std::ofstream(file_) << text;
    EXPECT_THAT(TokenVerifier::Open(config_, FixedClock()).status().ToString(),
                HasSubstr(absl::StrCat(file_, ": is not a JWK Set")));
  }
  Publish({});
  EXPECT_THAT(TokenVerifier::Open(config_, FixedClock()).status().ToString(),
              HasSubstr("has no key that can be used"));
  Publish(std::vector<std::string>(65, EcKey().Jwk("")));
  EXPECT_THAT(TokenVerifier::Open(config_, FixedClock()).status().ToString(),
              HasSubstr("has more than 64 keys"));
  std::filesystem::remove(file_);
  EXPECT_THAT(TokenVerifier::Open(config_, FixedClock()).status().ToString(),
              HasSubstr(absl::StrCat(file_, ": cannot be read")));
}

void WaitUntil(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  while (!condition()) {
    ASSERT_LT(absl::Now(), deadline);
    std::this_thread::yield();
  }
}

TEST_F(TokenVerifierTest, TheFileIsReadAgain) {
  const auto verifier = Open();
  const TestKey next = TestKey::Ec(CJOSE_JWK_EC_P_256);
  const std::string token = next.Sign(R"({"alg":"ES256","kid":"next"})", Claims());
  EXPECT_THAT(Outcome(*verifier, token), HasSubstr(R"(its key id "next" is unknown)"));
  Publish({next.Jwk(Kid("next"))});
  WaitUntil([&] { return Outcome(*verifier, token) == "alice@staff.test"; });
  EXPECT_THAT(Outcome(*verifier, RsaKey().Sign(kRs256, Claims())),
              HasSubstr(R"(its key id "rsa" is unknown)"));
}

class FetchedKeysTest : public TokenVerifierTest {
 protected:
  FetchedKeysTest() {
    config_.clear_jwks_file();
    config_.set_jwks_url(issuer_.url());
    config_.set_ca_file(issuer_.ca_file());
    // In no test's way, unless it wants to wait for it.
    config_.set_timeout_seconds(60);
    issuer_.Answer(KeySetOf({RsaKey().Jwk(Kid("rsa"))}));
  }

  std::unique_ptr<TokenVerifier> OpenFetched() {
    return Open([this] { return absl::FromUnixSeconds(kNow + later_); });
  }

  TestIssuer issuer_;
  std::atomic<int> later_ = 0;
  const TestKey next_ = TestKey::Ec(CJOSE_JWK_EC_P_256);
  const std::string old_token_ = RsaKey().Sign(kRs256, Claims());
  const std::string new_token_ = next_.Sign(R"({"alg":"ES256","kid":"next"})", Claims());
};

TEST_F(FetchedKeysTest, AreFetchedOnce) {
  const auto verifier = OpenFetched();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  EXPECT_EQ(issuer_.asked(), 1);
}

TEST_F(FetchedKeysTest, ANewKeyIsFetchedByItsFirstToken) {
  const auto verifier = OpenFetched();
  EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  issuer_.Answer(KeySetOf({RsaKey().Jwk(Kid("rsa")), next_.Jwk(Kid("next"))}));
  EXPECT_EQ(Outcome(*verifier, new_token_), "alice@staff.test");
  EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  EXPECT_EQ(issuer_.asked(), 2);
  // The old one is withdrawn, which the next fetch brings.
  issuer_.Answer(KeySetOf({next_.Jwk(Kid("next"))}));
  later_ = 10;
  EXPECT_THAT(Outcome(*verifier, RsaKey().Sign(R"({"alg":"RS256","kid":"x"})", Claims())),
              HasSubstr(R"(its key id "x" is unknown)"));
  EXPECT_THAT(Outcome(*verifier, old_token_), HasSubstr(R"(its key id "rsa" is unknown)"));
}

TEST_F(FetchedKeysTest, AKeyWithoutIdToo) {
  issuer_.Answer(KeySetOf({RsaKey().Jwk("")}));
  const auto verifier = OpenFetched();
  EXPECT_EQ(Outcome(*verifier, RsaKey().Sign(R"({"alg":"RS256"})", Claims())), "alice@staff.test");
  issuer_.Answer(KeySetOf({next_.Jwk("")}));
  EXPECT_EQ(Outcome(*verifier, next_.Sign(R"({"alg":"ES256"})", Claims())), "alice@staff.test");
}

TEST_F(FetchedKeysTest, ManyTokensOfUnknownKeysFetchOnce) {
  const auto verifier = OpenFetched();
  EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  issuer_.Answer(KeySetOf({RsaKey().Jwk(Kid("rsa")), next_.Jwk(Kid("next"))}));
  auto ask = [&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 16; ++i) {
      threads.emplace_back([&, i] {
        const std::string header = absl::StrCat(R"({"alg":"ES256",)", Kid(absl::StrCat(i)), "}");
        EXPECT_THAT(Outcome(*verifier, next_.Sign(header, Claims())), HasSubstr("is unknown"));
      });
      threads.emplace_back([&] { EXPECT_EQ(Outcome(*verifier, new_token_), "alice@staff.test"); });
    }
    for (std::thread& thread : threads) thread.join();
  };
  ask();
  EXPECT_EQ(issuer_.asked(), 2);
  later_ = 9;
  ask();
  EXPECT_EQ(issuer_.asked(), 2);
  later_ = 10;
  ask();
  EXPECT_EQ(issuer_.asked(), 3);
}

TEST_F(FetchedKeysTest, WhatIsOldOrAnothersFetchesNothing) {
  const auto verifier = OpenFetched();
  EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  EXPECT_THAT(Outcome(*verifier, next_.Sign(R"({"alg":"ES256","kid":"x"})",
                                            Claims({{"iss", R"("https://other.test")"}}))),
              HasSubstr("its issuer is"));
  EXPECT_THAT(
      Outcome(*verifier, next_.Sign(R"({"alg":"ES256","kid":"x"})", Claims({{"exp", "1"}}))),
      HasSubstr("it expired"));
  EXPECT_EQ(issuer_.asked(), 1);
}

TEST_F(FetchedKeysTest, KnownKeysGoOnWhileTheIssuerIsAway) {
  config_.set_refresh_seconds(1);
  const auto verifier = OpenFetched();
  EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  issuer_.BeAway(true);
  const int before = issuer_.asked();
  WaitUntil([&] { return issuer_.asked() >= before + 2; });
  EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  // Which may be a good one, for all we know.
  EXPECT_THAT(Outcome(*verifier, new_token_),
              testing::AllOf(StartsWith("UNAVAILABLE: its key id \"next\" is unknown so far; "),
                             HasSubstr(issuer_.url())));
  issuer_.Answer(KeySetOf({RsaKey().Jwk(Kid("rsa")), next_.Jwk(Kid("next"))}));
  issuer_.BeAway(false);
  WaitUntil([&] { return Outcome(*verifier, new_token_) == "alice@staff.test"; });
}

TEST_F(FetchedKeysTest, AnIssuerThatHangsCostsOneTimeout) {
  config_.set_timeout_seconds(1);
  const auto verifier = OpenFetched();
  EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  issuer_.Hang(true);
  EXPECT_THAT(Outcome(*verifier, new_token_), StartsWith("UNAVAILABLE"));
  // The fetch may still be about to give up, its caller just did.
  EXPECT_THAT(Outcome(*verifier, new_token_), StartsWith("UNAVAILABLE"));
  const absl::Time before = absl::Now();
  later_ = 100;
  EXPECT_THAT(Outcome(*verifier, new_token_), StartsWith("UNAVAILABLE"));
  EXPECT_EQ(Outcome(*verifier, old_token_), "alice@staff.test");
  EXPECT_LT(absl::Now() - before, absl::Seconds(1));
  issuer_.Hang(false);
}

TEST_F(FetchedKeysTest, AnswersThatAreNone) {
  struct Case {
    const char* status_line;
    std::string body;
    std::string says;
  };
  const std::string good = KeySetOf({RsaKey().Jwk(Kid("rsa"))});
  const Case cases[] = {
      {"404 Not Found", good, "answers 404"},
      {"302 Found\r\nLocation: /keys", good, "redirects (302), which is not followed"},
      {"200 OK", "<html>", "is not a JWK Set"},
      {"200 OK", R"({"keys":[]})", "has no key that can be used"},
      {"200 OK", std::string((1 << 20) + 1, ' '), "is larger than 1048576 octets"},
  };
  for (const Case& c : cases) {
    issuer_.Answer(c.body, c.status_line);
    const auto verifier = OpenFetched();
    EXPECT_THAT(
        Outcome(*verifier, old_token_),
        testing::AllOf(StartsWith("UNAVAILABLE"), HasSubstr(issuer_.url()), HasSubstr(c.says)));
    // Refused at once from then on: it is tried again without anybody waiting.
    const int asked = issuer_.asked();
    EXPECT_THAT(Outcome(*verifier, old_token_), StartsWith("UNAVAILABLE"));
    EXPECT_EQ(issuer_.asked(), asked);
  }
}

TEST_F(FetchedKeysTest, TheCertificateIsChecked) {
  // It has the address alone.
  config_.set_jwks_url(issuer_.url("localhost"));
  EXPECT_THAT(Outcome(*OpenFetched(), old_token_), HasSubstr("SSL"));
  config_.set_jwks_url(issuer_.url());
  config_.clear_ca_file();
  EXPECT_THAT(Outcome(*OpenFetched(), old_token_), HasSubstr("SSL"));
}

TEST_F(FetchedKeysTest, NothingIsFetchedThroughAProxy) {
  for (const char* name : {"https_proxy", "HTTPS_PROXY", "ALL_PROXY"}) {
    setenv(name, "http://127.0.0.1:1/", 1);
  }
  unsetenv("no_proxy");
  unsetenv("NO_PROXY");
  EXPECT_EQ(Outcome(*OpenFetched(), old_token_), "alice@staff.test");
}

// RFC 7515 A.2 and A.3: header, payload, key and signature as they are printed there.
constexpr char kRfcPayload[] =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlf"
    "Q";

TEST(KeySet, VectorsOfRfc7515) {
  const absl::StatusOr<KeySet> keys = KeySet::Parse(KeySetOf({
      R"({"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-)"
      R"(Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGz)"
      R"(jb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZ)"
      R"(lxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb5)"
      R"(4h4FRWyuXpoQ","e":"AQAB"})",
      R"({"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
      R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})",
  }));
  ASSERT_TRUE(keys.ok()) << keys.status();
  const std::string rs256 = absl::StrCat(
      "eyJhbGciOiJSUzI1NiJ9.", kRfcPayload,
      ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2F"
      "p5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMH"
      "lb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9"
      "QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw");
  const std::string es256 = absl::StrCat(
      "eyJhbGciOiJFUzI1NiJ9.", kRfcPayload,
      ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
  for (const std::string& text : {rs256, es256}) {
    const absl::StatusOr<Token> token = ReadToken(text);
    ASSERT_TRUE(token.ok()) << token.status();
    EXPECT_EQ(keys->Verify(*token), absl::OkStatus());
    std::string changed = text;
    changed[changed.size() - 20] ^= 1;
    const absl::StatusOr<Token> other = ReadToken(changed);
    ASSERT_TRUE(other.ok()) << other.status();
    EXPECT_TRUE(absl::IsNotFound(keys->Verify(*other)));
  }
}

TEST(CheckConfig, NamesTheSetting) {
  config::v1::OAuth good;
  good.set_jwks_url("https://login.test/keys");
  good.add_domains("staff.test");
  EXPECT_EQ(CheckConfig(good, "oauth[0]"), absl::OkStatus());
  for (const char* url : {"http://localhost/", "http://127.0.0.1:80/", "http://[::1]:80/"}) {
    config::v1::OAuth config = good;
    config.set_jwks_url(url);
    EXPECT_EQ(CheckConfig(config, "oauth[0]"), absl::OkStatus()) << url;
  }
  struct Case {
    std::function<void(config::v1::OAuth&)> change;
    const char* says;
  };
  auto url = [](const char* text) {
    return [text](config::v1::OAuth& c) { c.set_jwks_url(text); };
  };
  const Case cases[] = {
      {[](auto& c) { c.clear_jwks_url(); }, "oauth[0].jwks_url: either this or jwks_file"},
      {[](auto& c) { c.set_jwks_file("f"); }, "oauth[0].jwks_url: there must not be jwks_file"},
      {[](auto& c) {
         c.clear_jwks_url();
         c.set_jwks_file("f");
         c.set_ca_file("ca");
       },
       "oauth[0].ca_file: is for jwks_url"},
      {url("http://login.test/"), "oauth[0].jwks_url: http://login.test/ is not https://"},
      {url("http://127.evil.test/"), "is not https://"},
      {url("file:///etc/passwd"), "is not https://"},
      {url("ftp://127.0.0.1/"), "is not https://"},
      {url("login.test"), "is not a URL"},
      {url("https://u:p@login.test/"), "holds a user or a password"},
      {[](auto& c) { c.set_address_claim(""); }, "oauth[0].address_claim: is empty"},
      {[](auto& c) { c.add_domains("a b"); }, "oauth[0].domains: "},
  };
  for (const Case& c : cases) {
    config::v1::OAuth config = good;
    c.change(config);
    EXPECT_THAT(CheckConfig(config, "oauth[0]").ToString(), HasSubstr(c.says));
  }
}

}  // namespace
}  // namespace postern::auth::oauth
