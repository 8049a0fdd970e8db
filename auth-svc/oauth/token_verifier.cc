#include "auth-svc/oauth/token_verifier.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "auth-svc/oauth/https_get.h"
#include "proto/postern/config/v1/auth_svc.pb.h"

namespace postern::auth::oauth {
namespace {

constexpr char kEmail[] = "email";

absl::Status Refused(absl::string_view why) { return absl::UnauthenticatedError(why); }

absl::Status Named(absl::string_view key, absl::string_view setting, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(key, ".", setting, ": ", why));
}

// A string, or an array in which only strings count; empty when it is anything else.
std::vector<std::string> StringsAt(const json_t* claims, const char* name) {
  const json_t* const value = json_object_get(claims, name);
  if (json_is_string(value)) return {json_string_value(value)};
  std::vector<std::string> strings;
  size_t index = 0;
  const json_t* element = nullptr;
  json_array_foreach(value, index, element) {
    if (json_is_string(element)) strings.push_back(json_string_value(element));
  }
  return strings;
}

// RFC 7519 2, NumericDate. nullopt: it is absent.
absl::StatusOr<std::optional<absl::Time>> TimeAt(const json_t* claims, const char* name) {
  const json_t* const value = json_object_get(claims, name);
  if (value == nullptr) return std::nullopt;
  if (!json_is_number(value)) return Refused(absl::StrCat("its \"", name, "\" is not a number"));
  return absl::UnixEpoch() + absl::Seconds(json_number_value(value));
}

// "3m20s"
std::string Text(absl::Duration duration) {
  return absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
}

}  // namespace

absl::Status CheckConfig(const config::v1::OAuth& config, absl::string_view key) {
  if (config.has_jwks_file() == config.has_jwks_url()) {
    return Named(key, "jwks_url",
                 config.has_jwks_url() ? "there must not be jwks_file too"
                                       : "either this or jwks_file must be there");
  }
  if (config.has_jwks_url()) {
    const absl::Status checked = CheckUrl(config.jwks_url());
    if (!checked.ok()) return Named(key, "jwks_url", checked.message());
  } else if (config.has_ca_file()) {
    return Named(key, "ca_file", "is for jwks_url, which is absent");
  }
  if (config.address_claim().empty()) return Named(key, "address_claim", "is empty");
  for (const std::string& domain : config.domains()) {
    const absl::StatusOr<std::string> canonical = CanonicalDomain(domain);
    if (!canonical.ok()) return Named(key, "domains", canonical.status().message());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<TokenVerifier>> TokenVerifier::Open(const config::v1::OAuth& config,
                                                                   process::Clock clock) {
  Options options;
  options.name = config.name();
  options.issuer = config.issuer();
  options.audiences = {config.audiences().begin(), config.audiences().end()};
  for (const std::string& domain : config.domains()) {
    absl::StatusOr<std::string> canonical = CanonicalDomain(domain);
    if (!canonical.ok()) return canonical.status();
    options.domains.insert(*std::move(canonical));
  }
  options.address_claim = config.address_claim();
  options.required_scope = config.required_scope();
  options.skew = absl::Seconds(config.clock_skew_seconds());
  std::unique_ptr<KeySource> keys;
  if (config.has_jwks_url()) {
    keys = std::make_unique<FetchedKeys>(FetchedKeys::Options{
        config.name(), config.jwks_url(), config.ca_file(), absl::Seconds(config.timeout_seconds()),
        absl::Seconds(config.refresh_seconds()), clock});
  } else {
    auto opened = FileKeys::Open(config.jwks_file());
    if (!opened.ok()) return opened.status();
    keys = *std::move(opened);
  }
  return std::unique_ptr<TokenVerifier>(
      new TokenVerifier(std::move(options), std::move(keys), std::move(clock)));
}

TokenVerifier::TokenVerifier(Options options, std::unique_ptr<KeySource> keys, process::Clock clock)
    : options_(std::move(options)), keys_(std::move(keys)), clock_(std::move(clock)) {}

absl::StatusOr<Verified> TokenVerifier::Verify(absl::string_view text) {
  const absl::StatusOr<Token> token = ReadToken(text);
  if (!token.ok()) return token.status();
  const json_t* const claims = token->claims.get();
  // Before the signature, so that what is old or another issuer's has no keys fetched.
  const std::string issuer = StringAt(claims, "iss").value_or("");
  if (issuer != options_.issuer) return Refused(absl::StrCat("its issuer is ", Quoted(issuer)));
  const absl::StatusOr<absl::Time> expires_at = CheckTimes(claims);
  if (!expires_at.ok()) return expires_at.status();
  if (absl::Status status = CheckSignature(*token); !status.ok()) return status;
  if (absl::Status status = CheckAudience(claims); !status.ok()) return status;
  if (absl::Status status = CheckScope(claims); !status.ok()) return status;
  std::string subject = StringAt(claims, "sub").value_or("");
  if (subject.empty()) return Refused("it has no claim \"sub\"");
  absl::StatusOr<Address> address = AddressOf(claims);
  if (!address.ok()) return address.status();
  return Verified{*std::move(address), std::move(subject), *expires_at};
}

absl::StatusOr<absl::Time> TokenVerifier::CheckTimes(const json_t* claims) const {
  const absl::Time now = clock_();
  const auto expires = TimeAt(claims, "exp");
  if (!expires.ok()) return expires.status();
  if (!expires->has_value()) return Refused("it has no claim \"exp\": it would never expire");
  if (now >= **expires + options_.skew) {
    return Refused(absl::StrCat("it expired ", Text(now - **expires), " ago"));
  }
  for (const char* name : {"nbf", "iat"}) {
    const auto from = TimeAt(claims, name);
    if (!from.ok()) return from.status();
    if (from->has_value() && **from > now + options_.skew) {
      return Refused(absl::StrCat("it is valid only in ", Text(**from - now), " (\"", name,
                                  "\"): is a clock wrong?"));
    }
  }
  return **expires;
}

absl::Status TokenVerifier::CheckSignature(const Token& token) {
  const auto known = keys_->Known();
  if (!known.ok()) return known.status();
  absl::Status status = (*known)->Verify(token);
  if (!absl::IsNotFound(status)) return status;
  const auto newest = keys_->Newest();
  if (!newest.ok()) {
    return absl::UnavailableError(
        absl::StrCat(status.message(), " so far; ", newest.status().message()));
  }
  if (*newest != *known) status = (*newest)->Verify(token);
  return absl::IsNotFound(status) ? Refused(status.message()) : status;
}

absl::Status TokenVerifier::CheckAudience(const json_t* claims) const {
  const std::vector<std::string> audiences = StringsAt(claims, "aud");
  for (const std::string& audience : audiences) {
    if (std::find(options_.audiences.begin(), options_.audiences.end(), audience) !=
        options_.audiences.end()) {
      return absl::OkStatus();
    }
  }
  if (audiences.empty()) return Refused("it has no claim \"aud\"");
  return Refused(
      absl::StrCat("it is for the audience ", Quoted(absl::StrJoin(audiences, " ")), ", not us"));
}

absl::Status TokenVerifier::CheckScope(const json_t* claims) const {
  if (options_.required_scope.empty()) return absl::OkStatus();
  std::vector<std::string> scopes;
  for (const char* name : {"scope", "scp"}) {
    // RFC 8693 4.2: one string; some providers have an array.
    for (const std::string& text : StringsAt(claims, name)) {
      for (absl::string_view scope : absl::StrSplit(text, ' ')) {
        if (scope == options_.required_scope) return absl::OkStatus();
        scopes.emplace_back(scope);
      }
    }
  }
  return Refused(absl::StrCat("it lacks the scope ", Quoted(options_.required_scope), ", it has ",
                              Quoted(absl::StrJoin(scopes, " "))));
}

absl::StatusOr<Address> TokenVerifier::AddressOf(const json_t* claims) const {
  const std::string& claim = options_.address_claim;
  const std::string text = StringAt(claims, claim).value_or("");
  if (text.empty()) return Refused(absl::StrCat("it has no claim ", Quoted(claim)));
  // OpenID Connect Core 5.1. Some providers write it as a string.
  const json_t* const verified = json_object_get(claims, "email_verified");
  if (claim == kEmail && verified != nullptr && !json_is_true(verified) &&
      StringAt(claims, "email_verified") != "true") {
    return Refused(absl::StrCat("its address ", Quoted(text), " is not verified (email_verified)"));
  }
  absl::StatusOr<Address> address = CanonicalAddress(text);
  if (!address.ok()) {
    return Refused(absl::StrCat("its claim ", Quoted(claim), " is no address: ", Quoted(text)));
  }
  if (!options_.domains.contains(address->domain)) {
    return Refused(absl::StrCat("its address ", Quoted(text), " is of a domain that ",
                                options_.name, " does not vouch for"));
  }
  return address;
}

}  // namespace postern::auth::oauth
