// Who somebody is, by a bearer token of an identity provider.
#ifndef POSTERN_AUTH_SVC_OAUTH_TOKEN_VERIFIER_H_
#define POSTERN_AUTH_SVC_OAUTH_TOKEN_VERIFIER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "auth-svc/domain/canonical.h"
#include "auth-svc/oauth/key_source.h"
#include "auth-svc/oauth/token.h"
#include "services/process/clock.h"

namespace postern::config::v1 {
class OAuth;
}  // namespace postern::config::v1

namespace postern::auth::oauth {

// INVALID_ARGUMENT names the setting, below `key` ("oauth[0]").
absl::Status CheckConfig(const config::v1::OAuth& config, absl::string_view key);

struct Verified {
  // Of one of the provider's domains.
  Address address;
  // "sub": never another's at that provider.
  std::string subject;
  absl::Time expires_at;
};

// JWTs (RFC 7519, RFC 9068, OpenID Connect Core 2) of one provider, judged by RFC 8725: signed by
// an asymmetric algorithm that suits the key. Thread-safe.
class TokenVerifier {
 public:
  // Of a configuration that CheckConfig passed. Does not wait for keys that are fetched.
  static absl::StatusOr<std::unique_ptr<TokenVerifier>> Open(const config::v1::OAuth& config,
                                                             process::Clock clock);

  // UNAUTHENTICATED: a sentence for the log that says why not, and has nothing of the token but
  // single values. UNAVAILABLE: keys could not be fetched; may be tried again. Blocks for
  // timeout_seconds at most, and only while keys that it needs are fetched.
  absl::StatusOr<Verified> Verify(absl::string_view token);

  const std::string& name() const { return options_.name; }

 private:
  struct Options {
    std::string name;
    std::string issuer;
    std::vector<std::string> audiences;
    // Canonical.
    absl::flat_hash_set<std::string> domains;
    std::string address_claim;
    // Empty: none.
    std::string required_scope;
    absl::Duration skew;
  };

  TokenVerifier(Options options, std::unique_ptr<KeySource> keys, process::Clock clock);

  absl::StatusOr<absl::Time> CheckTimes(const json_t* claims) const;
  absl::Status CheckSignature(const Token& token);
  absl::Status CheckAudience(const json_t* claims) const;
  absl::Status CheckScope(const json_t* claims) const;
  absl::StatusOr<Address> AddressOf(const json_t* claims) const;

  const Options options_;
  const std::unique_ptr<KeySource> keys_;
  const process::Clock clock_;
};

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_TOKEN_VERIFIER_H_
