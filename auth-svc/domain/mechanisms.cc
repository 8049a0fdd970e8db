#include "auth-svc/domain/mechanisms.h"

#include <algorithm>
#include <optional>

#include "auth-svc/domain/canonical.h"

namespace postern::auth {
namespace {

// `domain` empty: whether there is any.
bool Has(const std::vector<std::string>& domains, absl::string_view domain) {
  return domain.empty() ? !domains.empty()
                        : std::find(domains.begin(), domains.end(), domain) != domains.end();
}

// How many names are looked for: the client chooses the server name.
constexpr int kMaxNames = 5;

// The domain of ours that it is, or is below; "": none.
absl::StatusOr<std::string> DomainOf(DirectoryReader& reader, absl::string_view server_name) {
  const absl::StatusOr<std::string> canonical = CanonicalDomain(server_name);
  if (!canonical.ok()) return std::string();
  absl::string_view name = *canonical;
  for (int i = 0; i < kMaxNames; ++i) {
    absl::StatusOr<std::optional<Domain>> domain = reader.FindDomain(name);
    if (!domain.ok()) return domain.status();
    if (domain->has_value()) return std::string(name);
    const size_t dot = name.find('.');
    if (dot == absl::string_view::npos) return std::string();
    name.remove_prefix(dot + 1);
  }
  return std::string();
}

}  // namespace

absl::StatusOr<std::vector<std::string>> OfferedMechanisms(DirectoryReader& reader,
                                                           const ConfiguredMechanisms& configured,
                                                           absl::string_view server_name,
                                                           bool bindable, bool certified) {
  absl::StatusOr<std::string> domain = DomainOf(reader, server_name);
  if (!domain.ok()) return domain.status();
  std::vector<std::string> offered;
  if (configured.certificates && certified) offered.push_back("EXTERNAL");
  if (configured.scram && !Has(configured.external_domains, *domain)) {
    absl::StatusOr<bool> without = reader.AnyWithoutScram(*domain);
    if (!without.ok()) return without.status();
    if (!*without) {
      if (bindable) offered.push_back("SCRAM-SHA-256-PLUS");
      offered.push_back("SCRAM-SHA-256");
    }
  }
  offered.insert(offered.end(), {"PLAIN", "LOGIN"});
  if (Has(configured.bearer_domains, *domain)) {
    offered.insert(offered.end(), {"OAUTHBEARER", "XOAUTH2"});
  }
  return offered;
}

}  // namespace postern::auth
