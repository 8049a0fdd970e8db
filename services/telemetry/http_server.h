// The HTTP port of every process: /livez, /readyz, /metrics.
#ifndef POSTERN_SERVICES_TELEMETRY_HTTP_SERVER_H_
#define POSTERN_SERVICES_TELEMETRY_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace postern::telemetry {

struct HttpResponse {
  int code = 200;
  std::string body;
  absl::string_view content_type = "text/plain; charset=utf-8";
};

// GET and HEAD only, on one thread of its own; requests of 8 KiB at most, 64 connections at once,
// 10 s for each request. Destroying it stops the thread.
class HttpServer {
 public:
  // Called on the server's thread with the request's path, without its query.
  using Handler = std::function<HttpResponse(absl::string_view path)>;

  // INVALID_ARGUMENT names address and port.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(absl::string_view address, int port,
                                                           Handler handler);
  virtual ~HttpServer() = default;
  virtual int port() const = 0;
};

}  // namespace postern::telemetry

#endif  // POSTERN_SERVICES_TELEMETRY_HTTP_SERVER_H_
