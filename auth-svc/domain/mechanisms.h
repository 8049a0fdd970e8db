// Which SASL mechanisms are offered: what the domain's accounts can do.
#ifndef POSTERN_AUTH_SVC_DOMAIN_MECHANISMS_H_
#define POSTERN_AUTH_SVC_DOMAIN_MECHANISMS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "auth-svc/domain/directory.h"

namespace postern::auth {

// What is configured.
struct ConfiguredMechanisms {
  bool scram = false;
  // Canonical; whose people an identity provider vouches for.
  std::vector<std::string> bearer_domains = {};
  // Canonical; whose people an external directory has, and nobody here their passwords.
  std::vector<std::string> external_domains = {};
  // EXTERNAL, by a TLS client certificate.
  bool certificates = false;
};

// In the order in which a client that takes the first should find them. `server_name`: as
// ListMechanismsRequest's; where it tells no domain, it is any. A client takes SCRAM by itself
// where it is offered, so it is offered where everybody can do it; a person chooses OAUTHBEARER and
// XOAUTH2, so these are offered where somebody can. PLAIN and LOGIN carry application passwords
// everywhere. `bindable`: the connection has channel bindings; `certified`: the client has shown a
// certificate.
absl::StatusOr<std::vector<std::string>> OfferedMechanisms(DirectoryReader& reader,
                                                           const ConfiguredMechanisms& configured,
                                                           absl::string_view server_name,
                                                           bool bindable, bool certified);

}  // namespace postern::auth

#endif  // POSTERN_AUTH_SVC_DOMAIN_MECHANISMS_H_
