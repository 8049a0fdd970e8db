#include "relay-svc/smtp/remote_delivery.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "relay-svc/domain/destination.h"
#include "relay-svc/domain/header_section.h"
#include "services/async/await.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"
#include "services/text/utf8.h"

namespace postern::relay {
namespace {

using boost::asio::awaitable;
using std::chrono::steady_clock;
using Addresses = std::vector<boost::asio::ip::address>;

// Addresses that one attempt tries, over all hosts.
constexpr int kMaxAddresses = 20;
// Attempts that wait for a place at one host; one more waits in the queue instead.
constexpr size_t kMaxInLine = 100;

telemetry::Counter& TlsFallbacks() {
  static auto& counter =
      telemetry::GetCounter("postern_relay_tls_fallbacks_total",
                            "Hosts whose STARTTLS broke, and which then got their mail in clear.");
  return counter;
}

std::string Words(const smtp::ServerAnswer& answer) {
  if (answer.code == 0) return absl::StrCat(answer.command, ": ", answer.text);
  return absl::StrCat(answer.code, answer.enhanced.empty() ? "" : " ", answer.enhanced,
                      answer.text.empty() ? "" : " ", answer.text);
}

// RFC 3463 for an answer that has no code of its own.
std::string EnhancedFor(const smtp::ServerAnswer& answer) {
  if (!answer.enhanced.empty()) {
    const bool softened = answer.code >= 500 && !answer.permanent();
    return softened ? absl::StrCat("4", answer.enhanced.substr(1)) : answer.enhanced;
  }
  if (answer.accepted()) return "2.0.0";
  // 4.4.1: no answer from host; 4.4.2: bad connection.
  if (answer.code == 0) return answer.command == "CONNECT" ? "4.4.1" : "4.4.2";
  return answer.permanent() ? "5.0.0" : "4.0.0";
}

DeliveryResult ToResult(const smtp::ServerAnswer& answer, const std::string& host, bool tls) {
  DeliveryResult result;
  result.kind = answer.accepted()    ? DeliveryResult::Kind::kDelivered
                : answer.permanent() ? DeliveryResult::Kind::kPermanent
                                     : DeliveryResult::Kind::kTemporary;
  result.enhanced = EnhancedFor(answer);
  result.text = Words(answer);
  result.is_reply = answer.code != 0;
  result.remote_mta = host;
  result.tls = tls;
  return result;
}

// After the body has gone out, a second try might be a second copy.
bool MayHaveTaken(const smtp::ServerAnswer& answer) {
  return answer.code == 0 && answer.command == "end of DATA";
}

// RFC 5321 3.8: the host closes; what it had no answer for it has not taken.
bool IsClosing(const smtp::ServerAnswer& answer) { return answer.code == 421; }

// Another host may do better: this one could not be reached, or is not able to work now. RFC 5321
// 3.1: who greets with a 5xx takes no mail from us at all, which says nothing of the domain's other
// hosts (as Postfix has it: smtp_skip_5xx_greeting).
bool MayTryElsewhere(const smtp::ServerAnswer& answer) {
  if (answer.accepted() || MayHaveTaken(answer)) return false;
  if (answer.code == 0 || IsClosing(answer) || answer.command == "CONNECT") return true;
  return !answer.permanent() && answer.command != "RCPT TO" && answer.command != "end of DATA";
}

// The session was over before all had their transaction: the host takes so many messages in one. It
// is asked again as long as it takes some.
bool MayTryAgain(const SessionResult& session) {
  bool took = false;
  for (const smtp::ServerAnswer& answer : session.answers) {
    if (IsClosing(answer) || MayHaveTaken(answer)) return false;
    took = took || answer.accepted();
  }
  return took;
}

}  // namespace

struct RemoteDelivery::Attempt {
  const SpooledMessage& message;
  // Of all recipients; but for `smtputf8`, which is what the sender and the header need.
  const smtp::ClientTransaction transaction;
  MessageBody& body;
  std::vector<std::optional<DeliveryResult>> results;
  // Indices of those whom nothing is settled for; what is known of them stands in `results`.
  std::vector<size_t> open;

  smtp::ClientTransaction ForOpen() const {
    smtp::ClientTransaction part = transaction;
    part.recipients.clear();
    for (const size_t i : open) {
      part.recipients.push_back(transaction.recipients[i]);
      part.smtputf8 = part.smtputf8 || !text::IsAscii(part.recipients.back());
    }
    return part;
  }

  // What does not settle it. A 5xx greeting does when every host has one: Postfix keeps the message
  // even then, but hosts that all say so for days are no use to a sender who waits for them.
  void Note(size_t i, DeliveryResult result) {
    std::optional<DeliveryResult>& known = results[i];
    if (known.has_value() && known->kind == DeliveryResult::Kind::kTemporary &&
        result.kind == DeliveryResult::Kind::kPermanent) {
      return;
    }
    known = std::move(result);
  }

  void NoteOpen(const DeliveryResult& result) {
    for (const size_t i : open) Note(i, result);
  }

  void Take(const SessionResult& session, const std::string& host) {
    const std::vector<size_t> asked = std::exchange(open, {});
    for (size_t k = 0; k < asked.size(); ++k) {
      const smtp::ServerAnswer& answer = session.answers[k];
      DeliveryResult result = ToResult(answer, host, session.tls);
      if (MayTryElsewhere(answer)) {
        Note(asked[k], std::move(result));
        open.push_back(asked[k]);
      } else {
        results[asked[k]] = std::move(result);
      }
    }
  }
};

RemoteDelivery::RemoteDelivery(RemoteDeliveryOptions options, Resolver* resolver)
    : options_(std::move(options)),
      resolver_(resolver),
      tls_(MakeOpportunisticTlsContext()),
      places_(options_.max_sessions),
      hosts_(options_.hosts) {
  TlsFallbacks();  // A rate misses what made its counter appear.
}

awaitable<RouteOrFailure> RemoteDelivery::FindRoute(const std::string& destination) {
  if (const NextHop* hop = FindNextHop(options_.routing, destination); hop != nullptr) {
    co_return Route{{hop->host}, hop->port, /*configured=*/true};
  }
  // An address literal (RFC 5321 4.1.3): the host itself, without a look-up.
  if (const std::optional<std::string> literal = LiteralOf(destination); literal.has_value()) {
    co_return Route{{*literal}, options_.routing.mx_port};
  }
  absl::StatusOr<std::vector<MxRecord>> answer =
      co_await async::Await<absl::StatusOr<std::vector<MxRecord>>>(
          [&](async::Done<std::vector<MxRecord>> done) {
            resolver_->LookUpMx(destination, std::move(done));
          });
  co_return RouteByMx(options_.routing, destination, std::move(answer), random_);
}

awaitable<absl::Status> RemoteDelivery::Enter(const Peer& peer) {
  if (peer.configured) {
    // Its place comes first: whoever is asked to take everything has no more connections than that.
    if (co_await places_.Take(steady_clock::now() + options_.limits.place_timeout)) {
      co_return absl::OkStatus();
    }
    co_return absl::ResourceExhaustedError("no session was free here");
  }
  const Hosts::Address address = peer.endpoint.address();
  while (true) {
    switch (hosts_.Enter(address, steady_clock::now())) {
      case Hosts::Admission::kYes:
        co_return absl::OkStatus();
      case Hosts::Admission::kSilent:
        co_return absl::UnavailableError(
            "the host was silent of late and is left alone for a while");
      case Hosts::Admission::kBusy:
        break;
    }
    Line& line = lines_[address];
    if (line.size() >= kMaxInLine) {
      co_return absl::ResourceExhaustedError("the host has as many sessions as it may have");
    }
    if (!co_await line.Wait(steady_clock::now() + options_.limits.place_timeout)) {
      co_return absl::ResourceExhaustedError("the host has as many sessions as it may have");
    }
  }
}

void RemoteDelivery::Leave(const Peer& peer, bool silent) {
  if (peer.configured) {
    places_.GiveBack();
    return;
  }
  const Hosts::Address address = peer.endpoint.address();
  hosts_.Leave(address, silent, steady_clock::now());
  const auto found = lines_.find(address);
  if (found == lines_.end()) return;
  // Those who wait for a silent host are told so, all of them.
  do {
    found->second.Next();
  } while (silent && !found->second.empty());
  if (found->second.empty()) lines_.erase(found);
}

awaitable<void> RemoteDelivery::TryAddress(Attempt& attempt, const Peer& peer) {
  const Hosts::Address address = peer.endpoint.address();
  if (absl::Status entered = co_await Enter(peer); !entered.ok()) {
    DeliveryResult result = DeliveryResult::Temporary("4.4.1", std::string(entered.message()));
    result.remote_mta = peer.host;
    attempt.NoteOpen(result);
    co_return;
  }
  smtp::ClientOptions client;
  client.hostname = options_.routing.hostname;
  client.recipients_per_transaction = static_cast<size_t>(options_.recipients_per_transaction);
  client.starttls = tls_ != nullptr && !hosts_.HasBrokenTls(address, steady_clock::now());
  if (client.starttls != (tls_ != nullptr)) TlsFallbacks().Add();
  const auto run = [&] {
    return RunOutgoingSession(peer.endpoint, peer.host, client, attempt.ForOpen(), options_.limits,
                              tls_.get(), peer.configured ? nullptr : &places_, stopping_,
                              attempt.body);
  };
  SessionResult session = co_await run();
  if (session.tls_failed) {
    telemetry::Log(telemetry::LogLevel::kWarning, "STARTTLS is broken there, trying in clear",
                   {{"queue_id", attempt.message.queue_id},
                    {"host", peer.host},
                    {"address", address.to_string()}});
    TlsFallbacks().Add();
    client.starttls = false;
    session = co_await run();
    // In clear it works: it was STARTTLS, and not the host that was going away.
    if (session.envelope_sent) hosts_.NoteBrokenTls(address, steady_clock::now());
  }
  // Who has taken something is not silent, whatever comes of its next session.
  const bool silent = session.silent;
  attempt.Take(session, peer.host);
  while (!attempt.open.empty() && !stopping_ && MayTryAgain(session)) {
    session = co_await run();
    attempt.Take(session, peer.host);
  }
  Leave(peer, silent);
}

awaitable<std::vector<DeliveryResult>> RemoteDelivery::Deliver(
    const SpooledMessage& message, const std::string& destination,
    const std::vector<DeliveryRecipient>& recipients, MessageBody& body) {
  const auto all = [&](const DeliveryResult& result) {
    return std::vector<DeliveryResult>(recipients.size(), result);
  };
  const absl::StatusOr<std::shared_ptr<const std::string>> first = co_await body.FirstPiece();
  if (!first.ok()) co_return all(DeliveryResult::Unavailable("the spool can't be read"));

  smtp::ClientTransaction transaction;
  transaction.sender = ForAsciiHosts(message.sender);
  for (const DeliveryRecipient& recipient : recipients) {
    transaction.recipients.push_back(ForAsciiHosts(recipient.address));
  }
  transaction.octets = message.octets;
  transaction.eight_bit = message.eight_bit;
  // RFC 6531 3.6: a message that needs nothing of SMTPUTF8 can go to any host.
  transaction.smtputf8 = !text::IsAscii(transaction.sender) ||
                         (message.smtputf8 && !text::IsAscii(HeaderSectionOf(**first)));
  Attempt attempt{
      message, std::move(transaction), body, {}, std::vector<size_t>(recipients.size())};
  attempt.results.resize(recipients.size());
  std::iota(attempt.open.begin(), attempt.open.end(), size_t{0});

  const RouteOrFailure route_or = co_await FindRoute(destination);
  if (const auto* failure = std::get_if<DeliveryResult>(&route_or)) co_return all(*failure);
  const Route& route = std::get<Route>(route_or);
  bool unknown_hosts_only = true;
  std::string refused;
  int tried = 0;
  for (const std::string& host : route.hosts) {
    Addresses addresses;
    boost::system::error_code no_address;
    const boost::asio::ip::address literal = boost::asio::ip::make_address(host, no_address);
    if (!no_address) {
      addresses.push_back(literal);
    } else {
      absl::StatusOr<Addresses> found = co_await async::Await<absl::StatusOr<Addresses>>(
          [&](async::Done<Addresses> done) { resolver_->LookUpAddresses(host, std::move(done)); });
      if (!found.ok() && !absl::IsNotFound(found.status())) {
        unknown_hosts_only = false;
        attempt.NoteOpen(DeliveryResult::Temporary(
            "4.4.3", absl::StrCat("the DNS has no answer for ", host, " now")));
      }
      if (found.ok()) addresses = *std::move(found);
    }
    for (const boost::asio::ip::address& address : addresses) {
      unknown_hosts_only = false;
      if (!route.configured && !MayDeliverTo(address, options_.networks)) {
        refused =
            absl::StrCat(host, " has the address ", address.to_string(), " (",
                         InnerKind(address, options_.networks), "), where no mail goes from here");
        continue;
      }
      if (++tried > kMaxAddresses) break;
      // Named: GCC 12 destroys a temporary of a co_await twice.
      const Peer peer{host, {address, static_cast<unsigned short>(route.port)}, route.configured};
      co_await TryAddress(attempt, peer);
      if (attempt.open.empty() || stopping_) break;
    }
    if (attempt.open.empty() || stopping_) break;
  }
  if (unknown_hosts_only) {
    co_return all(DeliveryResult::Permanent(
        "5.1.2", absl::StrCat("no mail host of ", destination, " has an address")));
  }
  if (stopping_) {
    for (const size_t i : attempt.open) {
      attempt.results[i] = DeliveryResult::Unavailable("relay-svc stops");
    }
  }
  std::vector<DeliveryResult> results;
  for (std::optional<DeliveryResult>& result : attempt.results) {
    // RFC 3463 X.4.4: unable to route. Nothing else was tried, and the DNS had its say of all
    // hosts.
    results.push_back(result.has_value() ? *std::move(result)
                                         : DeliveryResult::Permanent("5.4.4", refused));
  }
  co_return results;
}

}  // namespace postern::relay
