#include "services/protocol/sasl/sasl.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
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
    return Credentials{std::string(authorization_id), std::string(authentication_id),
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
    return Credentials{"", std::move(name_), std::string(*response)};
  }

 private:
  std::string name_;
};

}  // namespace

std::unique_ptr<Mechanism> MakeMechanism(absl::string_view name) {
  if (absl::EqualsIgnoreCase(name, "PLAIN")) return std::make_unique<Plain>();
  if (absl::EqualsIgnoreCase(name, "LOGIN")) return std::make_unique<Login>();
  return nullptr;
}

}  // namespace postern::sasl
