#include "relay-svc/smtp/hosts.h"

namespace postern::relay {

Hosts::Admission Hosts::Enter(const Address& address, Time now) {
  if (hosts_.size() >= limits_.most) ForgetSome(now);
  Host& host = hosts_[address];
  if (host.silent_until != Time()) {
    // The one that probes holds its place until it has an answer.
    if (now < host.silent_until || host.sessions > 0) return Admission::kSilent;
  }
  if (host.sessions >= limits_.sessions_per_host) return Admission::kBusy;
  ++host.sessions;
  return Admission::kYes;
}

void Hosts::Leave(const Address& address, bool silent, Time now) {
  const auto found = hosts_.find(address);
  Host& host = found->second;
  --host.sessions;
  host.silent_until = silent ? now + limits_.silence : Time();
  if (host.sessions == 0 && host.silent_until == Time() && host.broken_tls_until <= now) {
    hosts_.erase(found);
  }
}

void Hosts::NoteBrokenTls(const Address& address, Time now) {
  hosts_[address].broken_tls_until = now + limits_.broken_tls;
}

bool Hosts::HasBrokenTls(const Address& address, Time now) const {
  const auto found = hosts_.find(address);
  return found != hosts_.end() && now < found->second.broken_tls_until;
}

void Hosts::ForgetSome(Time now) {
  absl::erase_if(hosts_, [now](const auto& entry) {
    const Host& host = entry.second;
    return host.sessions == 0 && host.silent_until <= now && host.broken_tls_until <= now;
  });
  // All are remembered for a reason: then for none, rather than without bound.
  if (hosts_.size() < limits_.most) return;
  absl::erase_if(hosts_, [](const auto& entry) { return entry.second.sessions == 0; });
}

}  // namespace postern::relay
