#include "services/protocol/sasl/sasl.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "services/text/utf8.h"

namespace postern::sasl {
namespace {

// RFC 4616 2: at least 255 octets each must be taken.
constexpr size_t kMaxIdentity = 255;
// What a password costs to hash grows with it.
constexpr size_t kMaxPassword = 1024;

bool IsIdentity(absl::string_view text) {
  return text.size() <= kMaxIdentity && text.find('\0') == absl::string_view::npos &&
         text::IsUtf8(text);
}

bool IsPassword(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxPassword &&
         text.find('\0') == absl::string_view::npos && text::IsUtf8(text);
}

// RFC 4616.
class Plain : public Mechanism {
 public:
  Step Next(std::optional<absl::string_view> response) override {
    if (!response.has_value()) return Challenge{};
    // message = [authzid] NUL authcid NUL passwd
    const size_t first = response->find('\0');
    if (first == absl::string_view::npos) return Malformed{};
    const size_t second = response->find('\0', first + 1);
    if (second == absl::string_view::npos) return Malformed{};
    const absl::string_view authorization_id = response->substr(0, first);
    const absl::string_view authentication_id = response->substr(first + 1, second - first - 1);
    const absl::string_view password = response->substr(second + 1);
    if (!IsIdentity(authorization_id) || !IsIdentity(authentication_id) ||
        authentication_id.empty() || !IsPassword(password)) {
      return Malformed{};
    }
    return Credentials{{std::string(authorization_id), std::string(authentication_id)},
                       std::string(password)};
  }
};

// draft-murchison-sasl-login: the name, then the password, each after a prompt. Many clients send
// the name as the initial response.
class Login : public Mechanism {
 public:
  Step Next(std::optional<absl::string_view> response) override {
    if (!response.has_value()) return Challenge{"Username:"};
    if (name_.empty()) {
      if (response->empty() || !IsIdentity(*response)) return Malformed{};
      name_ = std::string(*response);
      return Challenge{"Password:"};
    }
    if (!IsPassword(*response)) return Malformed{};
    return Credentials{{"", std::move(name_)}, std::string(*response)};
  }

 private:
  std::string name_;
};

// client-first, server-first, client-final, server-final (RFC 5802 5).
class Scram : public Mechanism {
 public:
  Scram(bool bound, Surroundings surroundings)
      : exchange_(bound, HasBinding(surroundings.bindings), surroundings.bindings,
                  std::move(surroundings.nonce)) {}

  Step Next(std::optional<absl::string_view> response) override {
    if (!response.has_value()) return Challenge{};
    if (!begun_) {
      begun_ = true;
      std::optional<ScramExchange::ClientFirst> first = exchange_.ReadClientFirst(*response);
      if (!first.has_value()) return Malformed{};
      return VerifierWanted{
          {std::move(first->authorization_id), std::move(first->authentication_id)}};
    }
    Proof proof{exchange_.ReadClientFinal(*response), ""};
    if (proof.proof == ScramExchange::Proof::kMalformed) return Malformed{};
    if (proof.proof == ScramExchange::Proof::kRight) proof.server_final = exchange_.ServerFinal();
    return proof;
  }

  Step Provide(const ScramVerifier& verifier) override {
    return Challenge{exchange_.ServerFirst(verifier)};
  }

 private:
  static bool HasBinding(const ChannelBindings& bindings) {
    return !bindings.tls_exporter.empty() || !bindings.tls_server_end_point.empty();
  }

  ScramExchange exchange_;
  bool begun_ = false;
};

// b64token of RFC 6750 2.1.
bool IsToken(absl::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || absl::StrContains("-._~+/=", static_cast<char>(c));
  });
}

// "key=value", each ended by ^A, and one more ^A: the token of the one that is `auth`.
std::optional<std::string> ReadBearer(absl::string_view pairs) {
  if (!absl::ConsumeSuffix(&pairs, "\1\1")) return std::nullopt;
  for (absl::string_view pair : absl::StrSplit(pairs, '\1')) {
    if (!absl::ConsumePrefix(&pair, "auth=")) continue;
    // The scheme's case does not count (RFC 7235 2.1).
    if (!absl::StartsWithIgnoreCase(pair, "Bearer ")) return std::nullopt;
    pair = absl::StripLeadingAsciiWhitespace(pair.substr(7));
    if (!IsToken(pair)) return std::nullopt;
    return std::string(pair);
  }
  return std::nullopt;
}

// RFC 7628 3.1: a GS2 header, ^A, pairs.
class OAuthBearer : public Mechanism {
 public:
  Step Next(std::optional<absl::string_view> response) override {
    if (!response.has_value()) return Challenge{};
    const size_t header_end = response->find('\1');
    if (header_end == absl::string_view::npos) return Malformed{};
    std::optional<std::string> acts_as = ReadGs2Header(response->substr(0, header_end));
    std::optional<std::string> token = ReadBearer(response->substr(header_end + 1));
    if (!acts_as.has_value() || !token.has_value()) return Malformed{};
    return Bearer{{*std::move(acts_as), ""}, *std::move(token)};
  }

 private:
  // "n,a=user,": who to act as, or "".
  static std::optional<std::string> ReadGs2Header(absl::string_view header) {
    if ((!absl::ConsumePrefix(&header, "n,") && !absl::ConsumePrefix(&header, "y,")) ||
        !absl::ConsumeSuffix(&header, ",")) {
      return std::nullopt;
    }
    if (header.empty()) return std::string();
    if (!absl::ConsumePrefix(&header, "a=")) return std::nullopt;
    return ReadSaslName(header);
  }
};

// "user=" user ^A "auth=Bearer " token ^A ^A.
class XOAuth2 : public Mechanism {
 public:
  Step Next(std::optional<absl::string_view> response) override {
    if (!response.has_value()) return Challenge{};
    absl::string_view rest = *response;
    const size_t user_end = rest.find('\1');
    if (user_end == absl::string_view::npos || !absl::ConsumePrefix(&rest, "user=")) {
      return Malformed{};
    }
    const absl::string_view user = response->substr(5, user_end - 5);
    std::optional<std::string> token = ReadBearer(response->substr(user_end + 1));
    if (user.empty() || !IsIdentity(user) || !token.has_value()) return Malformed{};
    return Bearer{{std::string(user), ""}, *std::move(token)};
  }
};

// RFC 4422 A: who to act as, or nothing.
class ExternalMechanism : public Mechanism {
 public:
  Step Next(std::optional<absl::string_view> response) override {
    if (!response.has_value()) return Challenge{};
    if (!IsIdentity(*response)) return Malformed{};
    return External{{std::string(*response), ""}};
  }
};

}  // namespace

Step Mechanism::Provide(const ScramVerifier&) { return Malformed{}; }

std::unique_ptr<Mechanism> MakeMechanism(absl::string_view name, Surroundings surroundings) {
  const std::string upper = absl::AsciiStrToUpper(name);
  if (upper == "PLAIN") return std::make_unique<Plain>();
  if (upper == "LOGIN") return std::make_unique<Login>();
  if (upper == "SCRAM-SHA-256") {
    return std::make_unique<Scram>(/*bound=*/false, std::move(surroundings));
  }
  if (upper == "SCRAM-SHA-256-PLUS") {
    return std::make_unique<Scram>(/*bound=*/true, std::move(surroundings));
  }
  if (upper == "OAUTHBEARER") return std::make_unique<OAuthBearer>();
  if (upper == "XOAUTH2") return std::make_unique<XOAuth2>();
  if (upper == "EXTERNAL") return std::make_unique<ExternalMechanism>();
  return nullptr;
}

std::string BearerError(absl::string_view status) {
  return absl::StrCat(R"({"status":")", status, R"("})");
}

}  // namespace postern::sasl
