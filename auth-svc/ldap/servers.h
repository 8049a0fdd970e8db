// The servers of one LDAP directory: connections that are kept, and what is away.
#ifndef POSTERN_AUTH_SVC_LDAP_SERVERS_H_
#define POSTERN_AUTH_SVC_LDAP_SERVERS_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "auth-svc/ldap/connection.h"
#include "services/config/reloaded_file.h"

namespace postern::auth::ldap {

// Thread-safe. Questions block; the caller's threads bound them. A server that is away or hangs is
// left for `retry`: it costs one timeout, and then the next server answers, or UNAVAILABLE at once.
class Servers {
 public:
  struct Options {
    // In this order.
    std::vector<ServerAddress> addresses;
    std::string ca_file;
    // Who searches; empty: nobody in particular.
    std::string bind_dn;
    // Null: there is none.
    std::unique_ptr<config::ReloadedFile<std::string>> bind_password;
    absl::Duration timeout;
    absl::Duration retry;
    // Of each kind, for each server.
    size_t max_idle = 0;
  };
  using Ask = absl::FunctionRef<absl::Status(Connection&)>;

  explicit Servers(Options options);

  // Asks on a connection that is bound as `bind_dn`. Perhaps twice, on another
  // connection. DEADLINE_EXCEEDED never comes out: it is UNAVAILABLE then.
  absl::Status Search(Ask ask);
  // The same, on one that is bound as nobody yet, or as somebody else.
  absl::Status TryPassword(Ask ask);
  // A connection that stays with the caller, bound as `bind_dn`. Its own failures are the caller's
  // to see.
  absl::StatusOr<Connection> Lend();

 private:
  enum class Kind { kSearch, kPassword };
  struct Server {
    ServerAddress address;
    absl::Time away_until = absl::InfinitePast();
    std::vector<Connection> idle[2];
  };

  absl::Status Do(Kind kind, Ask ask);
  absl::StatusOr<Connection> Open(Kind kind, const ServerAddress& address);
  std::optional<Connection> TakeIdle(Kind kind, size_t server);
  void PutIdle(Kind kind, size_t server, Connection connection);
  void DropIdle(size_t server);
  void Leave(size_t server, const absl::Status& why);
  void CameBack(size_t server);
  bool IsAway(size_t server);

  const Options options_;
  absl::Mutex mutex_;
  std::vector<Server> servers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::auth::ldap

#endif  // POSTERN_AUTH_SVC_LDAP_SERVERS_H_
