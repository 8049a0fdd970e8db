#include "auth-svc/ldap/watch.h"

#include <ldap.h>
#include <sys/socket.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "auth-svc/ldap/connection.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::auth::ldap {
namespace {

// Both how long we listen before the server is asked whether it is there, and how long that takes.
constexpr absl::Duration kBeat = absl::Seconds(1);
constexpr absl::Duration kPingTimeout = absl::Seconds(2);
// Without anything new of what is there.
constexpr int kMaxSilentBeats = 5;
constexpr char kAnything[] = "(objectClass=*)";
constexpr char kEntryUuid[] = "entryUUID";

telemetry::Gauge& Watched(const std::string& directory) {
  return telemetry::GetGauge("postern_ldap_watched",
                             "1 while an LDAP directory tells of each change, else 0.",
                             {{"directory", directory}});
}

// What libldap's callbacks are given.
struct Listening {
  Freshness* freshness = nullptr;
  std::string id_attribute;
  // All that is there was named: what comes now is a change.
  bool changes_only = false;
  // Grows with all that comes.
  std::atomic<int64_t> heard = 0;
};

std::string UuidText(const berval& uuid) {
  const std::string hex = absl::BytesToHexString(absl::string_view(uuid.bv_val, uuid.bv_len));
  if (hex.size() != 32) return hex;
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-",
                      hex.substr(16, 4), "-", hex.substr(20));
}

void Tell(Listening& listening, const berval* uuid) {
  if (!listening.changes_only) return;
  if (uuid != nullptr && absl::EqualsIgnoreCase(listening.id_attribute, kEntryUuid)) {
    listening.freshness->Changed(UuidText(*uuid));
  } else {
    // Whose it is would not be known.
    listening.freshness->ChangedAll();
  }
}

int OnEntry(ldap_sync_t* sync, LDAPMessage* message, berval* uuid, ldap_sync_refresh_t) {
  Listening& listening = *static_cast<Listening*>(sync->ls_private);
  ++listening.heard;
  // Of messages that came together libldap gives the first, once for each.
  const bool alone = ldap_next_message(sync->ls_ld, message) == nullptr;
  Tell(listening, alone ? uuid : nullptr);
  return LDAP_SUCCESS;
}

int OnIntermediate(ldap_sync_t* sync, LDAPMessage*, BerVarray uuids, ldap_sync_refresh_t phase) {
  Listening& listening = *static_cast<Listening*>(sync->ls_private);
  for (berval* uuid = uuids; uuid != nullptr && uuid->bv_val != nullptr; ++uuid) {
    Tell(listening, uuid);
  }
  if (phase == LDAP_SYNC_CAPI_DONE) listening.changes_only = true;
  return LDAP_SUCCESS;
}

// The connection stays its owner's.
struct EndSync {
  void operator()(ldap_sync_t* sync) const {
    sync->ls_ld = nullptr;
    ldap_sync_destroy(sync, 1);
  }
};
using Sync = std::unique_ptr<ldap_sync_t, EndSync>;

// ldap_sync_destroy frees these.
char* Copy(const std::string& text) { return ber_strdup(text.c_str()); }

Sync MakeSync(Connection& connection, const Schema& schema, Listening* listening) {
  Sync sync(ldap_sync_initialize(nullptr));
  sync->ls_base = Copy(schema.base_dn);
  sync->ls_scope = LDAP_SCOPE_SUBTREE;
  sync->ls_filter = Copy(kAnything);
  sync->ls_attrs = static_cast<char**>(ber_memcalloc(2, sizeof(char*)));
  sync->ls_attrs[0] = Copy(LDAP_NO_ATTRS);
  sync->ls_timeout = static_cast<int>(absl::ToInt64Seconds(kBeat));
  sync->ls_search_entry = &OnEntry;
  sync->ls_intermediate = &OnIntermediate;
  sync->ls_private = listening;
  sync->ls_ld = connection.handle();
  return sync;
}

// That the server is there: a connection to one that hangs, or is cut off, brings no changes.
absl::Status Ping(LDAP* handle) {
  char* attributes[] = {const_cast<char*>(LDAP_NO_ATTRS), nullptr};
  int id = 0;
  int result = ldap_search_ext(handle, "", LDAP_SCOPE_BASE, kAnything, attributes, 0, nullptr,
                               nullptr, nullptr, 1, &id);
  if (result != LDAP_SUCCESS) return ToStatus(result, "", "ping");
  timeval limit = absl::ToTimeval(kPingTimeout);
  LDAPMessage* message = nullptr;
  result = ldap_result(handle, id, LDAP_MSG_ALL, &limit, &message);
  ldap_msgfree(message);
  if (result > 0) return absl::OkStatus();
  return absl::UnavailableError(result == 0 ? "the server is silent" : "the connection broke");
}

}  // namespace

Watch::Watch(LdapDirectory& directory, Freshness& freshness, absl::Duration retry)
    : directory_(directory), freshness_(freshness), thread_([this, retry] { Run(retry); }) {}

Watch::~Watch() {
  stopping_.Notify();
  thread_.join();
}

void Watch::Run(absl::Duration retry) {
  Watched(directory_.name()).Set(0);
  bool said = false;
  do {
    const absl::Status status = Listen();
    freshness_.SetWatched(false);
    Watched(directory_.name()).Set(0);
    if (stopping_.HasBeenNotified()) return;
    if (absl::IsUnimplemented(status)) {
      telemetry::Log(telemetry::LogLevel::kInfo,
                     "LDAP directory does not tell of changes: what it said is asked again after "
                     "cache_seconds",
                     {{"directory", directory_.name()}, {"status", status.ToString()}});
      return;
    }
    if (!std::exchange(said, true)) {
      telemetry::Log(telemetry::LogLevel::kWarning, "LDAP directory is not watched for now",
                     {{"directory", directory_.name()}, {"status", status.ToString()}});
    }
    // What worked once is news when it breaks again.
    if (absl::IsAborted(status)) said = false;
  } while (!stopping_.WaitForNotificationWithTimeout(retry));
}

int Watch::Begin(ldap_sync_t* sync, const std::atomic<int64_t>& heard) {
  // libldap would wait for ever for a server that falls silent here.
  int fd = -1;
  ldap_get_option(sync->ls_ld, LDAP_OPT_DESC, &fd);
  absl::Notification begun;
  std::thread guard([&] {
    int64_t before = 0;
    for (int silent = 0; silent < kMaxSilentBeats && !stopping_.HasBeenNotified();) {
      if (begun.WaitForNotificationWithTimeout(kBeat)) return;
      const int64_t now = heard.load();
      silent = now == before ? silent + 1 : 0;
      before = now;
    }
    shutdown(fd, SHUT_RDWR);
  });
  const int result = ldap_sync_init(sync, LDAP_SYNC_REFRESH_AND_PERSIST);
  begun.Notify();
  guard.join();
  return result;
}

absl::Status Watch::Listen() {
  absl::StatusOr<Connection> connection = directory_.servers().Lend();
  if (!connection.ok()) return connection.status();
  Listening listening{&freshness_, directory_.schema().id_attribute};
  const Sync sync = MakeSync(*connection, directory_.schema(), &listening);
  int result = Begin(sync.get(), listening.heard);
  bool watched = false;
  while (!stopping_.HasBeenNotified()) {
    if (result == LDAP_UNAVAILABLE_CRITICAL_EXTENSION || result == LDAP_PROTOCOL_ERROR ||
        result == LDAP_SIZELIMIT_EXCEEDED) {
      return absl::UnimplementedError(ldap_err2string(result));
    }
    absl::Status alive = ToStatus(result, "", "watch");
    if (alive.ok()) alive = Ping(connection->handle());
    if (!alive.ok()) return watched ? absl::AbortedError(alive.message()) : alive;
    if (listening.changes_only && !std::exchange(watched, true)) {
      freshness_.SetWatched(true);
      Watched(directory_.name()).Set(1);
      telemetry::Log(telemetry::LogLevel::kInfo, "LDAP directory is watched",
                     {{"directory", directory_.name()}});
    }
    result = ldap_sync_poll(sync.get());
  }
  return absl::OkStatus();
}

}  // namespace postern::auth::ldap
