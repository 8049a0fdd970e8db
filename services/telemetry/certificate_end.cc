#include "services/telemetry/certificate_end.h"

#include <ctime>
#include <string>

#include "openssl/asn1.h"
#include "openssl/x509.h"
#include "services/telemetry/metrics.h"

namespace postern::telemetry {

void SetCertificateEnd(absl::string_view what, const X509* leaf) {
  std::tm end{};
  if (leaf == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &end) != 1) return;
  GetGauge("postern_certificate_expiry_timestamp_seconds",
           "When a certificate that is in force ends, in Unix time.",
           {{"certificate", std::string(what)}})
      .Set(static_cast<double>(timegm(&end)));
}

}  // namespace postern::telemetry
