// One connection to an LDAP server (RFC 4511), by libldap, with an end to every wait.
#ifndef POSTERN_AUTH_SVC_LDAP_CONNECTION_H_
#define POSTERN_AUTH_SVC_LDAP_CONNECTION_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

struct ldap;

namespace postern::auth::ldap {

struct ServerAddress {
  // As it was configured: for the log.
  std::string url;
  std::string host;
  int port = 0;
  // TLS from the first octet; else STARTTLS (RFC 4511 4.14) when there is a CA.
  bool ldaps = false;

  bool IsLoopback() const;
};

// "ldap://HOST[:PORT]" or "ldaps://...". INVALID_ARGUMENT is a sentence that begins with the text.
absl::StatusOr<ServerAddress> ParseServer(absl::string_view url);

struct Entry {
  std::string dn;
  // By the names that were asked for; an attribute without a value is absent.
  absl::flat_hash_map<std::string, std::vector<std::string>> attributes;

  const std::vector<std::string>& Values(const std::string& attribute) const;
};

struct Query {
  std::string base;
  // That very entry, or all below it too.
  bool base_only = false;
  std::string filter;
  std::vector<std::string> attributes;
};

struct BindResult {
  bool right = false;
  // What the server says beside it ("account locked"), for the log.
  std::string detail;
};

// Thread-compatible; movable. Errors: DEADLINE_EXCEEDED: no answer in time; UNAVAILABLE: the server
// can't be reached, or can't serve now: after both the connection is of no use.
// FAILED_PRECONDITION: it refuses the question, which it will do again; NOT_FOUND: there is no such
// base.
class Connection {
 public:
  // TLS against `ca_file`, which is read now, and the server's name; empty: in clear. `timeout` for
  // all of it, and for each answer later.
  static absl::StatusOr<Connection> Open(const ServerAddress& server, const std::string& ca_file,
                                         absl::Duration timeout);

  // A simple bind (RFC 4513 5.1.3). Both empty: anonymous; a password alone empty is refused here,
  // since servers take it for anonymous and say that it was right.
  absl::StatusOr<BindResult> Bind(const std::string& dn, const std::string& password);
  // OUT_OF_RANGE: more than `limit` entries.
  absl::StatusOr<std::vector<Entry>> Search(const Query& query, int limit);

  // For libldap's own functions.
  ::ldap* handle() const { return handle_.get(); }

 private:
  struct Unbind {
    void operator()(::ldap* handle) const;
  };

  Connection(std::unique_ptr<::ldap, Unbind> handle, absl::Duration timeout)
      : handle_(std::move(handle)), timeout_(timeout) {}

  std::unique_ptr<::ldap, Unbind> handle_;
  absl::Duration timeout_;
};

// The status of one of libldap's results. `what` begins its message.
absl::Status ToStatus(int result, absl::string_view diagnostic, absl::string_view what);

}  // namespace postern::auth::ldap

#endif  // POSTERN_AUTH_SVC_LDAP_CONNECTION_H_
