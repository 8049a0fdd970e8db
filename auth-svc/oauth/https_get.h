// One small document over HTTPS, by libcurl.
#ifndef POSTERN_AUTH_SVC_OAUTH_HTTPS_GET_H_
#define POSTERN_AUTH_SVC_OAUTH_HTTPS_GET_H_

#include <atomic>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace postern::auth::oauth {

// INVALID_ARGUMENT is a sentence that begins with the URL: it is neither of https:// nor of http://
// on loopback, or holds a password.
absl::Status CheckUrl(absl::string_view url);

struct Document {
  std::string url;
  // TLS against this CA alone; empty: against those of the system. Read each time.
  std::string ca_file;
  size_t max_octets = 0;
  // For all of it.
  absl::Duration timeout;
};

// Follows no redirect and uses no proxy, whatever the environment says. Gives up soon after `stop`
// becomes true. UNAVAILABLE begins with the URL.
absl::StatusOr<std::string> HttpsGet(const Document& document, const std::atomic<bool>& stop);

}  // namespace postern::auth::oauth

#endif  // POSTERN_AUTH_SVC_OAUTH_HTTPS_GET_H_
