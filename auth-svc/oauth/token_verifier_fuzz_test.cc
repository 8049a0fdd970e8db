#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "auth-svc/oauth/key_set.h"
#include "auth-svc/oauth/testing/test_key.h"
#include "auth-svc/oauth/token_verifier.h"
#include "proto/postern/config/v1/auth_svc.pb.h"

namespace {

using postern::auth::oauth::CompactOf;
using postern::auth::oauth::KeySet;
using postern::auth::oauth::KeySetOf;
using postern::auth::oauth::ReadToken;
using postern::auth::oauth::TestKey;
using postern::auth::oauth::TokenVerifier;
using postern::auth::oauth::Verified;

const absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

// That of RFC 7515 A.3.
const TestKey& Key() {
  static const TestKey& key = *new TestKey(TestKey::Import(
      R"({"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",)"
      R"("y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",)"
      R"("d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"})"));
  return key;
}

TokenVerifier* OpenVerifier() {
  const std::string file = absl::StrCat("/tmp/postern-oauth-fuzz-", getpid());
  std::ofstream(file) << KeySetOf({Key().Jwk("\"kid\":\"1\"")});
  postern::config::v1::OAuth config;
  config.set_name("fuzz");
  config.add_domains("staff.test");
  config.set_issuer("i");
  config.add_audiences("a");
  config.set_required_scope("s");
  config.set_jwks_file(file);
  auto opened = TokenVerifier::Open(config, [] { return kNow; });
  unlink(file.c_str());
  if (!opened.ok()) std::abort();
  return opened->release();
}

}  // namespace

// The input is a token, a set of keys, the header and the claims (a line each) of a token whose
// signature is wrong, and the claims of one that is signed. Only that one lets anybody in.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static TokenVerifier& verifier = *OpenVerifier();
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  if (verifier.Verify(input).ok()) std::abort();

  const absl::StatusOr<KeySet> keys = KeySet::Parse(input);
  if (keys.ok() != (keys.ok() && keys->size() > 0)) std::abort();
  if (keys.ok()) {
    for (const char* algorithm : {"RS256", "PS256", "ES256"}) {
      const std::string text =
          CompactOf(absl::StrCat(R"({"alg":")", algorithm, R"("})"), "{}", std::string(64, 's'));
      if (keys->Verify(*ReadToken(text)).ok()) std::abort();
    }
  }

  const size_t line = input.find('\n');
  if (line != absl::string_view::npos) {
    const std::string text =
        CompactOf(input.substr(0, line), input.substr(line + 1), std::string(64, 's'));
    if (verifier.Verify(text).ok()) std::abort();
  }

  const absl::StatusOr<Verified> verified =
      verifier.Verify(Key().Sign(R"({"alg":"ES256","kid":"1"})", input));
  if (verified.ok() && (verified->address.domain != "staff.test" || verified->subject.empty() ||
                        verified->expires_at < kNow - absl::Seconds(60))) {
    std::abort();
  }
  if (!verified.ok() && !absl::IsUnauthenticated(verified.status())) std::abort();
  return 0;
}
