// When certificates end, for whoever is to be woken before.
#ifndef POSTERN_SERVICES_TELEMETRY_CERTIFICATE_END_H_
#define POSTERN_SERVICES_TELEMETRY_CERTIFICATE_END_H_

#include "absl/strings/string_view.h"

typedef struct x509_st X509;

namespace postern::telemetry {

// The certificate that is in force now. `what`: "mtls", or "public:" and a security domain's name.
void SetCertificateEnd(absl::string_view what, const X509* leaf);

}  // namespace postern::telemetry

#endif  // POSTERN_SERVICES_TELEMETRY_CERTIFICATE_END_H_
