#include "auth-svc/oauth/bearer_login.h"

#include <optional>

#include "absl/strings/str_cat.h"

namespace postern::auth::oauth {

void BearerLogin::LogIn(sasl::Bearer bearer, std::string network, VouchedLogin::Done done) {
  logins_.LogIn(
      bearer, std::move(network), [this, token = std::move(bearer.token)] { return Verify(token); },
      std::move(done));
}

absl::StatusOr<Vouched> BearerLogin::Verify(absl::string_view token) const {
  std::string why;
  std::optional<absl::Status> away;
  for (const std::unique_ptr<TokenVerifier>& provider : providers_) {
    absl::StatusOr<Verified> verified = provider->Verify(token);
    if (verified.ok()) {
      return Vouched{{std::move(verified->address)}, absl::StrCat("token of ", provider->name())};
    }
    if (!absl::IsUnauthenticated(verified.status())) away = verified.status();
    absl::StrAppend(&why, why.empty() ? "" : "; ", provider->name(), ": ",
                    verified.status().message());
  }
  return away.has_value() ? *away : absl::UnauthenticatedError(why);
}

}  // namespace postern::auth::oauth
