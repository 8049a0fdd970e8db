#include "services/net/proxy_reader.h"

#include <string>
#include <utility>
#include <variant>

#include "absl/types/span.h"

namespace postern::net {

boost::asio::awaitable<absl::StatusOr<proxy::Header>> ReadProxyHeader(Connection& connection,
                                                                      Deadline deadline) {
  std::string octets;
  while (true) {
    std::variant<proxy::Header, proxy::Incomplete, proxy::Malformed> parsed =
        proxy::ParseHeader(octets);
    if (auto* header = std::get_if<proxy::Header>(&parsed)) co_return std::move(*header);
    if (const auto* malformed = std::get_if<proxy::Malformed>(&parsed)) {
      co_return absl::InvalidArgumentError(malformed->why);
    }
    const size_t size = octets.size();
    octets.resize(size + std::get<proxy::Incomplete>(parsed).more);
    const absl::StatusOr<size_t> got =
        co_await connection.Read(absl::MakeSpan(octets).subspan(size), deadline);
    if (!got.ok()) co_return got.status();
    octets.resize(size + *got);
  }
}

}  // namespace postern::net
