// What an LDAP server tells of changes while we listen (RFC 4533, refreshAndPersist).
#ifndef POSTERN_AUTH_SVC_LDAP_WATCH_H_
#define POSTERN_AUTH_SVC_LDAP_WATCH_H_

#include <atomic>
#include <cstdint>
#include <thread>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "auth-svc/domain/freshness.h"
#include "auth-svc/ldap/ldap_directory.h"

struct ldap_sync_t;

namespace postern::auth::ldap {

// Tells `freshness` of every entry below base_dn that becomes another, on a thread of its own with
// a connection of its own. A server that cannot do it is said once in the log and not asked again;
// one that is away is tried again every `retry`.
class Watch {
 public:
  // Both must outlive it.
  Watch(LdapDirectory& directory, Freshness& freshness, absl::Duration retry);
  // Waits for what is being asked, some timeouts at most.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  void Run(absl::Duration retry);
  // The first part of it, which names all that is there.
  int Begin(ldap_sync_t* sync, const std::atomic<int64_t>& heard);
  // Until it breaks, or the end. UNIMPLEMENTED: the server cannot do it.
  absl::Status Listen();

  LdapDirectory& directory_;
  Freshness& freshness_;
  absl::Notification stopping_;
  std::thread thread_;
};

}  // namespace postern::auth::ldap

#endif  // POSTERN_AUTH_SVC_LDAP_WATCH_H_
