#include "auth-svc/oauth/https_get.h"

#include <curl/curl.h>

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace postern::auth::oauth {
namespace {

constexpr long kOk = 200;

struct EndUrl {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};
struct EndTransfer {
  void operator()(CURL* transfer) const { curl_easy_cleanup(transfer); }
};

// "" when there is none.
std::string PartOf(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return "";
  std::string copy(text);
  curl_free(text);
  return copy;
}

bool IsLoopback(absl::string_view host) {
  return host == "localhost" || host == "[::1]" ||
         (absl::StartsWith(host, "127.") &&
          host.find_first_not_of("0123456789.") == absl::string_view::npos);
}

struct Body {
  std::string text;
  size_t max_octets;
};

size_t OnOctets(char* data, size_t size, size_t count, void* arg) {
  Body& body = *static_cast<Body*>(arg);
  const size_t octets = size * count;
  // Less than there was ends the transfer.
  if (octets > body.max_octets - body.text.size()) return 0;
  body.text.append(data, octets);
  return octets;
}

int OnProgress(void* arg, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<const std::atomic<bool>*>(arg)->load() ? 1 : 0;
}

}  // namespace

absl::Status CheckUrl(absl::string_view url) {
  auto refused = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(url, " ", why));
  };
  const std::unique_ptr<CURLU, EndUrl> parts(curl_url());
  if (curl_url_set(parts.get(), CURLUPART_URL, std::string(url).c_str(), 0) != CURLUE_OK) {
    return refused("is not a URL");
  }
  const std::string scheme = PartOf(parts.get(), CURLUPART_SCHEME);
  const std::string host = PartOf(parts.get(), CURLUPART_HOST);
  if (!PartOf(parts.get(), CURLUPART_USER).empty() ||
      !PartOf(parts.get(), CURLUPART_PASSWORD).empty()) {
    return refused("holds a user or a password, which are not sent");
  }
  if (scheme == "https" || (scheme == "http" && IsLoopback(host))) return absl::OkStatus();
  return refused("is not https:// (http:// only on loopback)");
}

absl::StatusOr<std::string> HttpsGet(const Document& document, const std::atomic<bool>& stop) {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, EndTransfer> transfer(started == CURLE_OK ? curl_easy_init()
                                                                        : nullptr);
  auto failed = [&](absl::string_view why) {
    return absl::UnavailableError(absl::StrCat(document.url, ": ", why));
  };
  if (transfer == nullptr) return failed("libcurl cannot be initialised");
  CURL* const curl = transfer.get();
  Body body{"", document.max_octets};
  char detail[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(curl, CURLOPT_URL, document.url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "Postern");
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                   static_cast<long>(absl::ToInt64Milliseconds(document.timeout)));
  curl_easy_setopt(curl, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 1L);
  curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 2L);
  if (!document.ca_file.empty()) {
    curl_easy_setopt(curl, CURLOPT_CAINFO, document.ca_file.c_str());
    // Debian's has the system's CAs there beside those of the file.
    curl_easy_setopt(curl, CURLOPT_CAPATH, nullptr);
  }
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &OnOctets);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, &OnProgress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &stop);
  const CURLcode done = curl_easy_perform(curl);
  if (done == CURLE_WRITE_ERROR) {
    return failed(absl::StrCat("is larger than ", document.max_octets, " octets"));
  }
  if (done != CURLE_OK) return failed(detail[0] != '\0' ? detail : curl_easy_strerror(done));
  long code = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
  if (code / 100 == 3) return failed(absl::StrCat("redirects (", code, "), which is not followed"));
  if (code != kOk) return failed(absl::StrCat("answers ", code));
  return std::move(body.text);
}

}  // namespace postern::auth::oauth
