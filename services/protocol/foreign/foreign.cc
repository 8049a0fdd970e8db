#include "services/protocol/foreign/foreign.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"

namespace postern::protocol {

bool BeginsHttp(absl::string_view line) {
  constexpr absl::string_view kMethods[] = {"GET",     "HEAD",    "POST",  "PUT",  "DELETE",
                                            "CONNECT", "OPTIONS", "TRACE", "PATCH"};
  const absl::string_view word = line.substr(0, line.find(' '));
  return std::any_of(std::begin(kMethods), std::end(kMethods), [&](absl::string_view method) {
    return absl::EqualsIgnoreCase(word, method);
  });
}

bool BeginsTls(absl::string_view octets) { return absl::StartsWith(octets, "\x16"); }

}  // namespace postern::protocol
