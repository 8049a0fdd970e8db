#include "auth-svc/rpc/paging.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace postern::auth {
namespace {

constexpr int32_t kDefaultPageSize = 100;
constexpr int32_t kMaxPageSize = 1000;

absl::Status BadToken() {
  return absl::InvalidArgumentError(
      "page_token is not one that a list gave: start again without it");
}

}  // namespace

absl::StatusOr<size_t> PageSize(int32_t requested) {
  if (requested == 0) return static_cast<size_t>(kDefaultPageSize);
  if (requested < 0 || requested > kMaxPageSize) {
    return absl::InvalidArgumentError(
        absl::StrCat("page_size is ", requested, ", expected 1 to ", kMaxPageSize));
  }
  return static_cast<size_t>(requested);
}

absl::StatusOr<std::string> DomainFromToken(absl::string_view token) {
  if (token.empty()) return std::string();
  absl::StatusOr<std::string> domain = CanonicalDomain(token);
  return domain.ok() ? domain : BadToken();
}

absl::StatusOr<Address> AddressFromToken(absl::string_view token) {
  if (token.empty()) return Address();
  absl::StatusOr<Address> address = CanonicalAliasAddress(token);
  return address.ok() ? address : BadToken();
}

}  // namespace postern::auth
