#include "relay-svc/domain/route.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace postern::relay {
namespace {

// A domain with more MX hosts than this is not tried to its end.
constexpr size_t kMaxHosts = 20;

}  // namespace

const NextHop* FindNextHop(const RoutingOptions& options, absl::string_view domain) {
  auto found = options.next_hops.find(domain);
  if (found == options.next_hops.end()) found = options.next_hops.find("*");
  return found == options.next_hops.end() ? nullptr : &found->second;
}

RouteOrFailure RouteByMx(const RoutingOptions& options, absl::string_view domain,
                         absl::StatusOr<std::vector<MxRecord>> answer, absl::BitGenRef random) {
  if (absl::IsNotFound(answer.status())) {
    return DeliveryResult::Permanent("5.1.2", absl::StrCat("no such domain: ", domain));
  }
  if (!answer.ok()) {
    return DeliveryResult::Temporary("4.4.3",
                                     absl::StrCat("the DNS has no answer for ", domain, " now"));
  }
  std::vector<MxRecord> records = *std::move(answer);
  if (records.empty()) {
    // RFC 5321 5.1: the domain itself is its implicit MX.
    return Route{{std::string(domain)}, options.mx_port};
  }
  if (records.size() == 1 && records[0].host.empty()) {
    return DeliveryResult::Permanent("5.1.10",
                                     absl::StrCat(domain, " takes no mail (null MX, RFC 7505)"));
  }
  // A root among others is a mistake of theirs (RFC 7505 3).
  records.erase(std::remove_if(records.begin(), records.end(),
                               [](const MxRecord& r) { return r.host.empty(); }),
                records.end());
  // RFC 5321 5.1: where we are an MX ourselves, only better ones than us may be tried.
  int own_preference = std::numeric_limits<int>::max();
  for (const MxRecord& record : records) {
    if (absl::EqualsIgnoreCase(record.host, options.hostname)) {
      own_preference = std::min(own_preference, record.preference);
    }
  }
  records.erase(std::remove_if(records.begin(), records.end(),
                               [&](const MxRecord& r) { return r.preference >= own_preference; }),
                records.end());
  if (records.empty()) {
    return DeliveryResult::Permanent(
        "5.4.6", absl::StrCat("mail for ", domain, " loops: its best MX is ", options.hostname));
  }
  // Equal preferences in random order.
  std::shuffle(records.begin(), records.end(), random);
  std::stable_sort(records.begin(), records.end(), [](const MxRecord& a, const MxRecord& b) {
    return a.preference < b.preference;
  });
  if (records.size() > kMaxHosts) records.resize(kMaxHosts);
  Route route{{}, options.mx_port};
  for (MxRecord& record : records) route.hosts.push_back(std::move(record.host));
  return route;
}

}  // namespace postern::relay
