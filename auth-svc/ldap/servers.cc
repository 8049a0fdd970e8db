#include "auth-svc/ldap/servers.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::auth::ldap {
namespace {

// Of the connection or its server; anything else is an answer.
bool IsBroken(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

telemetry::Counter& Left(const std::string& server) {
  return telemetry::GetCounter("postern_ldap_server_left_total",
                               "Times that an LDAP server was away or silent, and was left.",
                               {{"server", server}});
}

}  // namespace

Servers::Servers(Options options) : options_(std::move(options)) {
  for (const ServerAddress& address : options_.addresses) {
    servers_.push_back({address});
    Left(address.url);
  }
}

absl::Status Servers::Search(Ask ask) { return Do(Kind::kSearch, ask); }

absl::Status Servers::TryPassword(Ask ask) { return Do(Kind::kPassword, ask); }

absl::Status Servers::Do(Kind kind, Ask ask) {
  absl::Status why = absl::UnavailableError("every LDAP server is away");
  for (size_t i = 0; i < options_.addresses.size(); ++i) {
    if (IsAway(i)) continue;
    if (std::optional<Connection> idle = TakeIdle(kind, i)) {
      why = ask(*idle);
      if (!IsBroken(why)) {
        PutIdle(kind, i, *std::move(idle));
        return why;
      }
      if (absl::IsDeadlineExceeded(why)) {
        Leave(i, why);
        continue;
      }
      // A server that closed its idle connections is not away: then a new one is tried.
      DropIdle(i);
    }
    absl::StatusOr<Connection> opened = Open(kind, options_.addresses[i]);
    why = opened.ok() ? ask(*opened) : opened.status();
    if (!IsBroken(why)) {
      CameBack(i);
      if (opened.ok()) PutIdle(kind, i, *std::move(opened));
      return why;
    }
    Leave(i, why);
  }
  return absl::UnavailableError(why.message());
}

absl::StatusOr<Connection> Servers::Lend() {
  absl::Status why = absl::UnavailableError("every LDAP server is away");
  for (size_t i = 0; i < options_.addresses.size(); ++i) {
    if (IsAway(i)) continue;
    absl::StatusOr<Connection> opened = Open(Kind::kSearch, options_.addresses[i]);
    if (opened.ok()) {
      CameBack(i);
      return opened;
    }
    why = opened.status();
    if (!IsBroken(why)) return why;
    Leave(i, why);
  }
  return absl::UnavailableError(why.message());
}

absl::StatusOr<Connection> Servers::Open(Kind kind, const ServerAddress& address) {
  absl::StatusOr<Connection> connection =
      Connection::Open(address, options_.ca_file, options_.timeout);
  if (!connection.ok() || kind == Kind::kPassword || options_.bind_dn.empty()) return connection;
  const absl::StatusOr<BindResult> bound =
      connection->Bind(options_.bind_dn, *options_.bind_password->Get());
  if (!bound.ok()) return bound.status();
  if (!bound->right) {
    return absl::FailedPreconditionError(
        absl::StrCat(address.url, ": bind_dn ", options_.bind_dn, " and its password are refused",
                     bound->detail.empty() ? "" : absl::StrCat(" (", bound->detail, ")")));
  }
  return connection;
}

std::optional<Connection> Servers::TakeIdle(Kind kind, size_t server) {
  absl::MutexLock lock(&mutex_);
  std::vector<Connection>& idle = servers_[server].idle[static_cast<int>(kind)];
  if (idle.empty()) return std::nullopt;
  Connection taken = std::move(idle.back());
  idle.pop_back();
  return taken;
}

void Servers::PutIdle(Kind kind, size_t server, Connection connection) {
  absl::MutexLock lock(&mutex_);
  std::vector<Connection>& idle = servers_[server].idle[static_cast<int>(kind)];
  if (idle.size() < options_.max_idle) idle.push_back(std::move(connection));
}

void Servers::DropIdle(size_t server) {
  // They end outside the lock.
  std::vector<Connection> dropped[2];
  absl::MutexLock lock(&mutex_);
  for (int kind = 0; kind < 2; ++kind) {
    dropped[kind] = std::exchange(servers_[server].idle[kind], {});
  }
}

bool Servers::IsAway(size_t server) {
  absl::MutexLock lock(&mutex_);
  return absl::Now() < servers_[server].away_until;
}

void Servers::Leave(size_t server, const absl::Status& why) {
  DropIdle(server);
  {
    absl::MutexLock lock(&mutex_);
    Server& left = servers_[server];
    const bool said = absl::Now() < left.away_until;
    left.away_until = absl::Now() + options_.retry;
    if (said) return;
  }
  Left(options_.addresses[server].url).Add();
  telemetry::Log(telemetry::LogLevel::kWarning, "LDAP server left",
                 {{"server", options_.addresses[server].url}, {"status", why.ToString()}});
}

void Servers::CameBack(size_t server) {
  {
    absl::MutexLock lock(&mutex_);
    if (servers_[server].away_until == absl::InfinitePast()) return;
    servers_[server].away_until = absl::InfinitePast();
  }
  telemetry::Log(telemetry::LogLevel::kInfo, "LDAP server is back",
                 {{"server", options_.addresses[server].url}});
}

}  // namespace postern::auth::ldap
