#include "gateway-pop3/session.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/clock.h"
#include "gateway-pop3/failures.h"
#include "gateway-pop3/session_metrics.h"
#include "services/async/await.h"
#include "services/net/connection.h"
#include "services/net/sasl_login.h"
#include "services/net/session_io.h"
#include "services/rpc/call_context.h"
#include "services/telemetry/log.h"

namespace postern::gateway_pop3 {

namespace {

namespace action = pop3::action;
namespace event = pop3::event;
namespace asio = boost::asio;
using auth::v1::AuthenticateResponse;
using std::chrono::steady_clock;
using telemetry::Log;
using telemetry::LogEnabled;
using telemetry::LogLevel;

// A message's octets that may wait for the ones after them, so that a small message leaves in one
// write together with its final dot.
constexpr size_t kGatherOctets = 32 << 10;

class Session {
 public:
  Session(net::SessionContext context, const SessionSetup& setup)
      : context_(std::move(context)),
        setup_(setup),
        connection_(*context_.connection),
        io_(context_),
        engine_(setup.options),
        sasl_({.authentication = setup.authentication,
               .purpose = auth::v1::PURPOSE_MAILDROP,
               .connection = &connection_,
               .client_address = connection_.peer_address(),
               .step_timeout = setup.question_timeout,
               .idle_timeout = context_.idle_timeout}) {}
  ~Session() {
    if (opened_) Metrics().open_maildrops.Add(-1);
  }

  asio::awaitable<void> Run();
  void LogEnd(std::chrono::duration<double> time) const;

 private:
  rpc::CallContext Call(steady_clock::duration time) const {
    return {trace_, absl::Now() + absl::FromChrono(time)};
  }

  // False: the connection is of no use any more.
  asio::awaitable<bool> SendOutput();
  // Once TLS is up.
  asio::awaitable<void> OfferMechanisms();
  // Waits for octets and gives them to the engine; its next action, or nullopt: as above.
  asio::awaitable<std::optional<pop3::Action>> ReadMore();

  asio::awaitable<pop3::Event> Answer(pop3::Action* action);
  pop3::Event LoggedIn(absl::StatusOr<AuthenticateResponse> response);
  asio::awaitable<pop3::Event> OpenMaildrop();
  asio::awaitable<pop3::Action> NextPiece();
  asio::awaitable<pop3::Event> Commit(std::vector<uint64_t> uids);
  void NoteForeign() const;
  void LogRefusedLogin(const char* what, const std::string& status) const;
  void ObserveLogin() const;

  const net::SessionContext context_;
  const SessionSetup& setup_;
  net::Connection& connection_;
  net::SessionIo io_;
  pop3::ServerSession engine_;
  const rpc::TraceContext trace_ = rpc::TraceContext::New();

  net::SaslLogin sasl_;
  steady_clock::time_point login_began_;
  std::string token_;
  std::string address_;
  std::unique_ptr<clients::Maildrop> maildrop_;
  bool opened_ = false;

  // A message on its way, and what of it the engine has put into its output since the last write.
  std::unique_ptr<clients::MessageReader> reader_;
  size_t gathered_ = 0;

  uint64_t retrieved_ = 0;
  uint64_t retrieved_octets_ = 0;
  uint64_t deleted_ = 0;
};

asio::awaitable<void> Session::Run() {
  if (connection_.secure()) co_await OfferMechanisms();
  pop3::Action action = engine_.Start();
  while (true) {
    if (std::holds_alternative<action::Read>(action)) {
      std::optional<pop3::Action> next = co_await ReadMore();
      if (!next.has_value()) co_return;
      action = *std::move(next);
    } else if (std::holds_alternative<action::Flush>(action)) {
      if (reader_ == nullptr) {
        if (!co_await SendOutput()) co_return;
        action = engine_.Resume(event::Done{});
      } else {
        if (gathered_ >= kGatherOctets) {
          gathered_ = 0;
          if (!co_await SendOutput()) co_return;
        }
        action = co_await NextPiece();
      }
    } else if (auto* retrieve = std::get_if<action::Retrieve>(&action)) {
      reader_ = maildrop_->Retrieve(Call(context_.session_deadline - steady_clock::now()),
                                    retrieve->uid, retrieve->body_lines);
      gathered_ = 0;
      action = co_await NextPiece();
    } else if (std::holds_alternative<action::StartTls>(action)) {
      if (!co_await SendOutput() || !co_await io_.StartTls()) co_return;
      co_await OfferMechanisms();
      action = engine_.Resume(event::TlsEstablished{});
    } else if (const auto* close = std::get_if<action::Close>(&action)) {
      if (close->foreign) NoteForeign();
      (void)co_await SendOutput();
      co_return;
    } else {
      action = engine_.Resume(co_await Answer(&action));
    }
  }
}

void Session::NoteForeign() const {
  Metrics().sessions_foreign.Add();
  Log(LogLevel::kInfo, "client speaks another protocol",
      {{"session", context_.session_id}, {"client", connection_.peer_address()}});
}

asio::awaitable<void> Session::OfferMechanisms() {
  engine_.Offer(co_await setup_.mechanisms->For(connection_));
}

asio::awaitable<bool> Session::SendOutput() {
  if (!engine_.has_output()) co_return true;
  co_return co_await io_.Send(engine_.TakeOutput());
}

asio::awaitable<std::optional<pop3::Action>> Session::ReadMore() {
  if (engine_.has_output() && !co_await SendOutput()) co_return std::nullopt;
  const net::SessionIo::Input input = co_await io_.Read(
      engine_.greeted() ? io_.NextDeadline(context_.idle_timeout) : context_.hello_deadline);
  switch (input.kind) {
    case net::SessionIo::Input::Kind::kOctets:
      co_return engine_.Resume(event::Received{input.octets});
    case net::SessionIo::Input::Kind::kTimedOut:
      co_return engine_.Resume(event::TimedOut{});
    case net::SessionIo::Input::Kind::kDrain:
      co_return engine_.Resume(event::Drain{});
    case net::SessionIo::Input::Kind::kGone:
      break;
  }
  co_return std::nullopt;
}

asio::awaitable<pop3::Event> Session::Answer(pop3::Action* action) {
  if (auto* start = std::get_if<action::AuthStart>(action)) {
    login_began_ = steady_clock::now();
    co_return LoggedIn(co_await sasl_.Start(trace_, std::move(start->mechanism),
                                            std::move(start->initial_response)));
  }
  if (auto* respond = std::get_if<action::AuthRespond>(action)) {
    co_return LoggedIn(co_await sasl_.Respond(std::move(respond->response)));
  }
  if (std::holds_alternative<action::AuthCancel>(*action)) {
    sasl_.Cancel();
    co_return event::Done{};
  }
  if (std::holds_alternative<action::OpenMaildrop>(*action)) co_return co_await OpenMaildrop();
  co_return co_await Commit(std::move(std::get<action::Commit>(*action).deleted_uids));
}

pop3::Event Session::LoggedIn(absl::StatusOr<AuthenticateResponse> response) {
  if (!response.ok()) {
    Metrics().logins_unavailable.Add();
    ObserveLogin();
    LogRefusedLogin("login unavailable", response.status().ToString());
    // Whatever the code: no service has judged these credentials.
    return event::Failed{pop3::Failure::kTemporary};
  }
  if (response->has_challenge()) {
    return event::Challenge{std::move(*response->mutable_challenge())};
  }
  if (!response->has_success()) {
    const AuthenticateResponse::Reason reason = response->failure().reason();
    const pop3::Failure failure = FailureOf(reason);
    (failure == pop3::Failure::kTemporary ? Metrics().logins_unavailable : Metrics().logins_failed)
        .Add();
    ObserveLogin();
    LogRefusedLogin("login failed", AuthenticateResponse::Reason_Name(reason));
    return event::Failed{failure};
  }
  token_ = std::move(*response->mutable_success()->mutable_token());
  address_ = std::move(*response->mutable_success()->mutable_address());
  return event::Authenticated{};
}

asio::awaitable<pop3::Event> Session::OpenMaildrop() {
  const auto open = [&](async::Done<clients::OpenedMaildrop> done) {
    setup_.maildrops->Open(Call(setup_.question_timeout), std::move(token_), sasl_.session_nonce(),
                           std::move(done));
  };
  absl::StatusOr<clients::OpenedMaildrop> opened =
      co_await async::Await<absl::StatusOr<clients::OpenedMaildrop>>(open);
  ObserveLogin();
  if (!opened.ok()) {
    const pop3::Failure failure = FailureOf(opened.status());
    (failure == pop3::Failure::kInUse ? Metrics().logins_in_use : Metrics().logins_unavailable)
        .Add();
    LogRefusedLogin("maildrop not opened", opened.status().ToString());
    co_return event::Failed{failure};
  }
  maildrop_ = std::move(opened->maildrop);
  opened_ = true;
  Metrics().open_maildrops.Add(1);
  Metrics().logins_ok.Add();
  event::Opened result;
  result.uid_validity = opened->listing.uid_validity;
  result.messages.reserve(opened->listing.entries.size());
  for (const clients::MaildropEntry& entry : opened->listing.entries) {
    result.messages.push_back({entry.uid, entry.octets});
  }
  Log(LogLevel::kInfo, "logged in",
      {{"session", context_.session_id},
       {"trace", trace_.trace_id},
       {"client", connection_.peer_address()},
       {"account", address_},
       {"messages", result.messages.size()}});
  co_return std::move(result);
}

// The engine's action after the next piece, or after the message's end.
asio::awaitable<pop3::Action> Session::NextPiece() {
  const auto read = [&](async::Done<std::optional<std::string>> done) {
    reader_->Read(std::move(done));
  };
  const auto give_up = [this] { reader_.reset(); };
  const absl::StatusOr<std::optional<std::string>> piece =
      co_await async::AwaitUntil<absl::StatusOr<std::optional<std::string>>>(
          io_.NextDeadline(setup_.question_timeout), read, give_up);
  if (!piece.ok()) {
    reader_.reset();
    Metrics().retrievals_failed.Add();
    Log(LogLevel::kWarning, "message not sent",
        {{"session", context_.session_id},
         {"trace", trace_.trace_id},
         {"status", piece.status().ToString()}});
    co_return engine_.Resume(event::Failed{FailureOf(piece.status())});
  }
  if (!piece->has_value()) {
    reader_.reset();
    ++retrieved_;
    Metrics().messages_retrieved.Add();
    co_return engine_.Resume(event::MessageEnd{});
  }
  const size_t octets = (*piece)->size();
  gathered_ += octets;
  retrieved_octets_ += octets;
  Metrics().octets_retrieved.Add(static_cast<double>(octets));
  co_return engine_.Resume(event::MessagePiece{**piece});
}

asio::awaitable<pop3::Event> Session::Commit(std::vector<uint64_t> uids) {
  const size_t count = uids.size();
  const auto commit = [&](async::DoneStatus done) {
    maildrop_->Commit(Call(setup_.commit_timeout), std::move(uids), std::move(done));
  };
  const absl::Status status = co_await async::Await<absl::Status>(commit);
  if (!status.ok()) {
    Metrics().commits_failed.Add();
    Log(LogLevel::kWarning, "messages not deleted",
        {{"session", context_.session_id},
         {"trace", trace_.trace_id},
         {"account", address_},
         {"count", count},
         {"status", status.ToString()}});
    co_return event::Failed{FailureOf(status)};
  }
  deleted_ = count;
  Metrics().messages_deleted.Add(static_cast<double>(count));
  co_return event::Done{};
}

void Session::ObserveLogin() const {
  Metrics().login_seconds.Observe(
      std::chrono::duration<double>(steady_clock::now() - login_began_).count());
}

void Session::LogRefusedLogin(const char* what, const std::string& status) const {
  Log(LogLevel::kInfo, what,
      {{"session", context_.session_id},
       {"trace", trace_.trace_id},
       {"client", connection_.peer_address()},
       {"status", status}});
}

void Session::LogEnd(std::chrono::duration<double> time) const {
  Metrics().session_seconds.Observe(time.count());
  // Who only knocked is for those who look closely.
  const LogLevel level = opened_ ? LogLevel::kInfo : LogLevel::kDebug;
  if (!LogEnabled(level)) return;
  Log(level, "session ends",
      {{"session", context_.session_id},
       {"account", address_},
       {"retrieved", retrieved_},
       {"octets", retrieved_octets_},
       {"deleted", deleted_},
       {"milliseconds", static_cast<int64_t>(time.count() * 1000)}});
}

}  // namespace

asio::awaitable<void> RunSession(net::SessionContext context, const SessionSetup* setup) {
  const steady_clock::time_point began = steady_clock::now();
  Metrics().sessions.Add();
  // On the heap: it is large, and only the session's end frees a coroutine's frame.
  const auto session = std::make_unique<Session>(std::move(context), *setup);
  co_await session->Run();
  session->LogEnd(steady_clock::now() - began);
}

}  // namespace postern::gateway_pop3
