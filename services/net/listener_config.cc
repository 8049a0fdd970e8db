// What gateway.h says of listeners' and security domains' settings.
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "boost/asio/ip/address.hpp"
#include "services/net/gateway.h"
#include "services/net/network.h"

namespace postern::net {

namespace asio = boost::asio;

absl::Status CheckListeners(
    const google::protobuf::RepeatedPtrField<config::v1::Listener>& listeners,
    const google::protobuf::RepeatedPtrField<config::v1::SecurityDomain>& domains) {
  absl::flat_hash_set<std::string> domain_names;
  for (const config::v1::SecurityDomain& domain : domains) {
    if (!domain_names.insert(domain.name()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("security_domains: name \"", domain.name(), "\" stands twice"));
    }
  }
  if (listeners.empty()) return absl::InvalidArgumentError("listeners: there is none");
  absl::flat_hash_set<std::string> names;
  for (const config::v1::Listener& listener : listeners) {
    const auto refuse = [&listener](absl::string_view why) {
      return absl::InvalidArgumentError(
          absl::StrCat("listeners: \"", listener.name(), "\": ", why));
    };
    if (!names.insert(listener.name()).second) return refuse("name stands twice");
    boost::system::error_code error;
    asio::ip::make_address(listener.address(), error);
    if (error)
      return refuse(absl::StrCat("address: \"", listener.address(), "\" is no IP address"));
    if (listener.tls_enabled() && listener.implicit_tls()) {
      return refuse("tls_enabled and implicit_tls exclude each other");
    }
    const bool tls = listener.tls_enabled() || listener.implicit_tls();
    if (tls && listener.security_domain().empty()) {
      return refuse("security_domain: absent, and TLS wants one");
    }
    if (!listener.security_domain().empty() && !domain_names.contains(listener.security_domain())) {
      return refuse(absl::StrCat("security_domain: \"", listener.security_domain(),
                                 "\" is not in security_domains"));
    }
    for (const std::string& network : listener.proxy_networks()) {
      if (absl::Status status = Network::Parse(network).status(); !status.ok()) {
        return refuse(absl::StrCat("proxy_networks: ", status.message()));
      }
    }
    if (listener.require_tls() && !tls) return refuse("require_tls wants tls_enabled");
    if (!listener.require_tls_for_auth()) {
      return refuse("require_tls_for_auth: false would take passwords in clear");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::shared_ptr<TlsProfile>>> LoadSecurityDomains(
    const google::protobuf::RepeatedPtrField<config::v1::SecurityDomain>& domains) {
  std::map<std::string, std::shared_ptr<TlsProfile>> profiles;
  for (const config::v1::SecurityDomain& domain : domains) {
    absl::StatusOr<std::shared_ptr<TlsProfile>> profile =
        TlsProfile::Load(domain.name(), domain.certificate_file(), domain.private_key_file(),
                         domain.request_client_certificates());
    if (!profile.ok()) return profile.status();
    profiles[domain.name()] = *std::move(profile);
  }
  return profiles;
}

}  // namespace postern::net
