// page_size and page_token of the List methods: the token is the last item's name or address.
#ifndef POSTERN_AUTH_SVC_RPC_PAGING_H_
#define POSTERN_AUTH_SVC_RPC_PAGING_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/canonical.h"

namespace postern::auth {

// 1 to 1000; 0 means 100; anything else is INVALID_ARGUMENT.
absl::StatusOr<size_t> PageSize(int32_t requested);

// "" is the beginning. INVALID_ARGUMENT: no token of ours.
absl::StatusOr<std::string> DomainFromToken(absl::string_view token);
absl::StatusOr<Address> AddressFromToken(absl::string_view token);

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_RPC_PAGING_H_
