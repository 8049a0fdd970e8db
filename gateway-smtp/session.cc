#include "gateway-smtp/session.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/types/span.h"
#include "gateway-smtp/added_fields.h"
#include "gateway-smtp/message.h"
#include "gateway-smtp/replies.h"
#include "gateway-smtp/session_metrics.h"
#include "services/async/await.h"
#include "services/crypto/random_octets.h"
#include "services/net/connection.h"
#include "services/net/sasl_login.h"
#include "services/net/session_io.h"
#include "services/protocol/mail/header_editor.h"
#include "services/rpc/call_context.h"
#include "services/rpc/limits.h"
#include "services/telemetry/log.h"

namespace postern::gateway_smtp {
namespace {

namespace action = smtp::action;
namespace event = smtp::event;
namespace asio = boost::asio;
using auth::v1::AuthenticateResponse;
using std::chrono::steady_clock;
using telemetry::Log;
using telemetry::LogEnabled;
using telemetry::LogLevel;

constexpr size_t kDeliveryIdOctets = 16;
// A token that ends sooner may not last until the end of DATA.
constexpr absl::Duration kTokenReserve = absl::Seconds(30);
// The envelope's share of a request (rpc::kMaxRpcMessageOctets), the body's being 256 KiB.
constexpr size_t kMaxEnvelopeOctets = 512 << 10;
// Besides its strings, what a recipient takes in a request.
constexpr size_t kRecipientOverhead = 16;

// Fields of a client's that end here. Return-Path is what the last server writes (RFC 5321 4.4), as
// ours does with Delivered-To; Bcc is not for other recipients to see (RFC 5322 3.6.3).
constexpr absl::string_view kEndingFields[] = {"Bcc", "Resent-Bcc", "Return-Path", "Delivered-To"};
// Of what goes on to another server: it knows by Delivered-To that the message comes back to it.
constexpr absl::Span<const absl::string_view> kEndingFieldsOfForwards(kEndingFields, 3);

// From MAIL to the reply to DATA.
struct Transaction {
  rpc::TraceContext trace = rpc::TraceContext::New();
  // mx: RCPT's answers, as Deliver wants them.
  store::v1::DeliveryHeader delivery;
  // mx: mail for a recipient leaves the platform, so that all of it goes by the queue.
  bool forwards = false;
  // The mailboxes in it, and since when they are known.
  std::vector<std::string> mailboxes;
  steady_clock::time_point known_since;
  size_t envelope_octets = 0;
  // What all recipients lead to, here and elsewhere; one that is not local counts as one.
  int destinations = 0;
  std::string delivery_id;
  std::unique_ptr<Message> message;
};

struct Login {
  std::string token;
  std::string address;
  absl::Time expires_at;
};

class Session {
 public:
  Session(net::SessionContext context, const SessionSetup& setup)
      : context_(std::move(context)),
        setup_(setup),
        connection_(*context_.connection),
        io_(context_),
        engine_(setup.options),
        sasl_({.authentication = setup.authentication,
               .purpose = auth::v1::PURPOSE_SUBMISSION,
               .connection = &connection_,
               .client_address = submission() ? connection_.peer_address() : "",
               .step_timeout = setup.login_timeout,
               .idle_timeout = context_.idle_timeout}) {}

  asio::awaitable<void> Run();

 private:
  bool submission() const { return setup_.options.submission; }
  // Into the queue, not into the maildrops.
  bool queued() const { return submission() || transaction_->forwards; }

  rpc::CallContext Call(const rpc::TraceContext& trace) const {
    return {trace, absl::Now() + absl::FromChrono(setup_.question_timeout)};
  }

  // False: the connection is of no use any more.
  asio::awaitable<bool> SendOutput();
  // Once TLS is up.
  asio::awaitable<void> OfferMechanisms();
  // Waits for octets and gives them to the engine; its next action, or nullopt: as above.
  asio::awaitable<std::optional<smtp::Action>> ReadMore();

  // What needs no waiting; false for the rest.
  bool AnswerAtOnce(const smtp::Action& action, smtp::Event* answer);
  asio::awaitable<smtp::Event> Answer(smtp::Action* action);

  // mx: at the greeting, and at MAIL where messages are counted.
  asio::awaitable<smtp::Event> CheckConnection(relay::v1::CheckConnectionRequest::Event event);
  asio::awaitable<smtp::Event> CheckSender();
  asio::awaitable<smtp::Event> CheckRecipient(const std::string& address);
  asio::awaitable<absl::StatusOr<relay::v1::CheckRecipientResponse>> AskForRecipient(
      const rpc::CallContext& call, const std::string& address);
  // mx, before the commit: ABORTED when RCPT's answers don't hold any more. All questions together
  // take as long as a commit may.
  asio::awaitable<absl::Status> CheckRecipientsAgain();
  smtp::Event AcceptRecipient(const std::string& address,
                              const relay::v1::CheckRecipientResponse& response);
  smtp::Event LoggedIn(absl::StatusOr<AuthenticateResponse> response);
  void BeginMessage();
  asio::awaitable<smtp::Event> EndMessage();
  void LogMessage(const smtp::Reply& reply, absl::string_view id, const absl::Status& status) const;
  void NoteForeign() const;
  void LogAuthentication(const char* what, absl::string_view detail) const;

  const net::SessionContext context_;
  const SessionSetup& setup_;
  net::Connection& connection_;
  net::SessionIo io_;
  smtp::ServerSession engine_;
  // EHLO or HELO was said, be it before STARTTLS.
  bool greeted_ = false;
  // mx: how many messages the client's network may send is limited.
  bool messages_count_ = false;
  std::unique_ptr<Transaction> transaction_;
  // submission only.
  net::SaslLogin sasl_;
  // Of the last login that began: auth-svc's line about it has the account, where there is one.
  rpc::TraceContext login_trace_;
  std::unique_ptr<Login> login_;
};

asio::awaitable<void> Session::Run() {
  smtp::Action action = engine_.Start();
  if (connection_.secure()) co_await OfferMechanisms();
  while (true) {
    if (std::holds_alternative<action::Read>(action)) {
      std::optional<smtp::Action> next = co_await ReadMore();
      if (!next.has_value()) co_return;
      action = *std::move(next);
      continue;
    }
    smtp::Event answer;
    if (AnswerAtOnce(action, &answer)) {
      action = engine_.Resume(std::move(answer));
      continue;
    }
    if (const auto* close = std::get_if<action::Close>(&action)) {
      if (close->foreign) NoteForeign();
      (void)co_await SendOutput();
      co_return;
    }
    if (std::holds_alternative<action::Flush>(action)) {
      if (!co_await SendOutput()) co_return;
      answer = event::Done{};
    } else if (std::holds_alternative<action::StartTls>(action)) {
      if (!co_await SendOutput() || !co_await io_.StartTls()) co_return;
      co_await OfferMechanisms();
      answer = event::TlsEstablished{};
    } else {
      answer = co_await Answer(&action);
    }
    action = engine_.Resume(std::move(answer));
  }
}

void Session::NoteForeign() const {
  Metrics().sessions_foreign.Add();
  Log(LogLevel::kInfo, "client speaks another protocol",
      {{"session", context_.session_id}, {"client", connection_.peer_address()}});
}

asio::awaitable<void> Session::OfferMechanisms() {
  if (!submission()) co_return;
  engine_.Offer(co_await setup_.mechanisms->For(connection_));
}

asio::awaitable<bool> Session::SendOutput() {
  if (!engine_.has_output()) co_return true;
  co_return co_await io_.Send(engine_.TakeOutput());
}

asio::awaitable<std::optional<smtp::Action>> Session::ReadMore() {
  if (engine_.has_output() && !co_await SendOutput()) co_return std::nullopt;
  const net::SessionIo::Input input = co_await io_.Read(
      greeted_ ? io_.NextDeadline(context_.idle_timeout) : context_.hello_deadline);
  switch (input.kind) {
    case net::SessionIo::Input::Kind::kOctets: {
      smtp::Action next = engine_.Resume(event::Received{input.octets});
      greeted_ = greeted_ || !engine_.helo().empty();
      co_return next;
    }
    case net::SessionIo::Input::Kind::kTimedOut:
      co_return engine_.Resume(event::TimedOut{});
    case net::SessionIo::Input::Kind::kDrain:
      co_return engine_.Resume(event::Drain{});
    case net::SessionIo::Input::Kind::kGone:
      break;
  }
  co_return std::nullopt;
}

bool Session::AnswerAtOnce(const smtp::Action& action, smtp::Event* answer) {
  if (const auto* body = std::get_if<action::Body>(&action)) {
    if (!transaction_->message->TryAppend(body->octets)) return false;
    *answer = event::Done{};
    return true;
  }
  if (std::holds_alternative<action::BeginMessage>(action)) {
    if (submission() && login_->expires_at < setup_.clock() + kTokenReserve) {
      *answer = event::Refused{LogInAgain()};
    } else {
      BeginMessage();
      *answer = event::Accepted{};
    }
    return true;
  }
  if (std::holds_alternative<action::AbandonMessage>(action)) {
    Metrics().messages_abandoned.Add();
    Log(LogLevel::kInfo, "message abandoned",
        {{"session", context_.session_id},
         {"trace", transaction_->trace.trace_id},
         {"size", transaction_->message->octets()}});
    transaction_.reset();
    *answer = event::Done{};
    return true;
  }
  if (std::holds_alternative<action::AuthCancel>(action)) {
    sasl_.Cancel();
    *answer = event::Done{};
    return true;
  }
  if (submission()) {
    // Users connect from everywhere; their password is what counts.
    if (!std::holds_alternative<action::CheckConnection>(action)) return false;
  } else {
    // Anyone may be the sender of what comes in.
    if (!std::holds_alternative<action::CheckSender>(action)) return false;
    transaction_ = std::make_unique<Transaction>();
    if (messages_count_) return false;
  }
  *answer = event::Accepted{};
  return true;
}

asio::awaitable<smtp::Event> Session::Answer(smtp::Action* action) {
  if (std::holds_alternative<action::EndMessage>(*action)) co_return co_await EndMessage();
  if (const auto* recipient = std::get_if<action::CheckRecipient>(action)) {
    co_return co_await CheckRecipient(recipient->address);
  }
  if (std::holds_alternative<action::CheckConnection>(*action)) {
    co_return co_await CheckConnection(relay::v1::CheckConnectionRequest::EVENT_CONNECTION);
  }
  if (std::holds_alternative<action::CheckSender>(*action)) {
    if (submission()) co_return co_await CheckSender();
    co_return co_await CheckConnection(relay::v1::CheckConnectionRequest::EVENT_MESSAGE);
  }
  if (auto* start = std::get_if<action::AuthStart>(action)) {
    login_trace_ = rpc::TraceContext::New();
    co_return LoggedIn(co_await sasl_.Start(login_trace_, std::move(start->mechanism),
                                            std::move(start->initial_response)));
  }
  if (auto* respond = std::get_if<action::AuthRespond>(action)) {
    co_return LoggedIn(co_await sasl_.Respond(std::move(respond->response)));
  }
  // A body too long for memory.
  co_await transaction_->message->Append(std::get<action::Body>(*action).octets);
  co_return event::Done{};
}

asio::awaitable<smtp::Event> Session::CheckConnection(
    relay::v1::CheckConnectionRequest::Event event) {
  const bool message = event == relay::v1::CheckConnectionRequest::EVENT_MESSAGE;
  const Question question = message ? Question::kSender : Question::kConnection;
  relay::v1::CheckConnectionRequest request;
  request.set_client_address(connection_.peer_address());
  request.set_event(event);
  const rpc::CallContext call = Call(rpc::TraceContext::New());
  const auto ask = [&](async::Done<relay::v1::CheckConnectionResponse> done) {
    setup_.policy->CheckConnection(call, std::move(request), std::move(done));
  };
  const auto response =
      co_await async::Await<absl::StatusOr<relay::v1::CheckConnectionResponse>>(ask);
  if (!response.ok()) {
    Log(LogLevel::kWarning, "connection not checked",
        {{"session", context_.session_id},
         {"trace", call.trace.trace_id},
         {"status", response.status().ToString()}});
    co_return event::Refused{ReplyTo(response.status(), question)};
  }
  if (response->refusal() != relay::v1::REFUSAL_UNSPECIFIED) {
    co_return event::Refused{ReplyTo(response->refusal(), question)};
  }
  messages_count_ = response->has_messages_left();
  co_return event::Accepted{};
}

// submission only.
asio::awaitable<smtp::Event> Session::CheckSender() {
  if (login_->expires_at < setup_.clock() + kTokenReserve) {
    co_return event::Refused{LogInAgain()};
  }
  transaction_ = std::make_unique<Transaction>();
  relay::v1::CheckSenderRequest request;
  request.set_token(login_->token);
  request.set_session_nonce(sasl_.session_nonce());
  request.set_sender(engine_.envelope().sender);
  const rpc::CallContext call = Call(transaction_->trace);
  const auto ask = [&](async::Done<relay::v1::CheckSenderResponse> done) {
    setup_.policy->CheckSender(call, std::move(request), std::move(done));
  };
  const auto response = co_await async::Await<absl::StatusOr<relay::v1::CheckSenderResponse>>(ask);
  if (!response.ok()) {
    Log(LogLevel::kWarning, "sender not checked",
        {{"session", context_.session_id},
         {"trace", call.trace.trace_id},
         {"status", response.status().ToString()}});
    co_return event::Refused{ReplyTo(response.status(), Question::kSender)};
  }
  if (response->refusal() != relay::v1::REFUSAL_UNSPECIFIED) {
    Log(LogLevel::kInfo, "sender refused",
        {{"session", context_.session_id},
         {"trace", call.trace.trace_id},
         {"account", login_->address},
         {"sender", engine_.envelope().sender}});
    co_return event::Refused{ReplyTo(response->refusal(), Question::kSender)};
  }
  co_return event::Accepted{};
}

asio::awaitable<absl::StatusOr<relay::v1::CheckRecipientResponse>> Session::AskForRecipient(
    const rpc::CallContext& call, const std::string& address) {
  relay::v1::CheckRecipientRequest request;
  request.set_client_address(connection_.peer_address());
  request.set_sender(engine_.envelope().sender);
  request.set_recipient(address);
  if (submission()) {
    request.set_token(login_->token);
    request.set_session_nonce(sasl_.session_nonce());
  }
  const auto ask = [&](async::Done<relay::v1::CheckRecipientResponse> done) {
    setup_.policy->CheckRecipient(call, std::move(request), std::move(done));
  };
  auto response = co_await async::Await<absl::StatusOr<relay::v1::CheckRecipientResponse>>(ask);
  if (!response.ok()) {
    Log(LogLevel::kWarning, "recipient not checked",
        {{"session", context_.session_id},
         {"trace", call.trace.trace_id},
         {"status", response.status().ToString()}});
  }
  co_return std::move(response);
}

asio::awaitable<smtp::Event> Session::CheckRecipient(const std::string& address) {
  if (transaction_->mailboxes.empty()) transaction_->known_since = steady_clock::now();
  const rpc::CallContext call = Call(transaction_->trace);
  const auto response = co_await AskForRecipient(call, address);
  if (!response.ok()) {
    co_return event::Refused{ReplyTo(response.status(), Question::kRecipient)};
  }
  relay::v1::Refusal refusal = response->refusal();
  // An mx gateway has nowhere to put mail for others (R3), whatever it is told: where what
  // `forwards` goes, ForwardingService asks for itself.
  if (refusal == relay::v1::REFUSAL_UNSPECIFIED && !submission() && response->mailboxes().empty() &&
      response->forwards() == 0) {
    refusal = relay::v1::REFUSAL_RELAYING;
  }
  if (refusal != relay::v1::REFUSAL_UNSPECIFIED) {
    Metrics().recipients_refused.Add();
    if (LogEnabled(LogLevel::kDebug)) {
      Log(LogLevel::kDebug, "recipient refused",
          {{"session", context_.session_id},
           {"trace", transaction_->trace.trace_id},
           {"recipient", address},
           {"refusal", relay::v1::Refusal_Name(refusal)}});
    }
    co_return event::Refused{ReplyTo(refusal, Question::kRecipient)};
  }
  co_return AcceptRecipient(address, *response);
}

smtp::Event Session::AcceptRecipient(const std::string& address,
                                     const relay::v1::CheckRecipientResponse& response) {
  size_t octets = address.size() + kRecipientOverhead;
  if (!submission()) {
    for (const auth::v1::Mailbox& mailbox : response.mailboxes()) {
      octets += mailbox.mailbox_id().size() + mailbox.address().size() + address.size() +
                kRecipientOverhead;
    }
  }
  // Said now, of the one too many: the rest of the envelope stands, and a client that sends to the
  // others in another transaction (RFC 5321 4.5.3.1.10) reaches them.
  const int destinations =
      transaction_->destinations + std::max(1, response.mailboxes_size() + response.forwards());
  if (transaction_->envelope_octets + octets > kMaxEnvelopeOctets ||
      destinations > rpc::kMaxMailboxes) {
    return event::Refused{smtp::TooManyRecipients()};
  }
  transaction_->envelope_octets += octets;
  transaction_->destinations = destinations;
  transaction_->forwards |= response.forwards() > 0;
  if (submission()) return event::Accepted{};
  // The store gives a mailbox that stands twice one copy.
  for (const auth::v1::Mailbox& mailbox : response.mailboxes()) {
    store::v1::DeliveryRecipient* recipient = transaction_->delivery.add_recipients();
    recipient->set_mailbox_id(mailbox.mailbox_id());
    recipient->set_address(mailbox.address());
    recipient->set_original_recipient(address);
    transaction_->mailboxes.push_back(mailbox.mailbox_id());
  }
  return event::Accepted{};
}

asio::awaitable<absl::Status> Session::CheckRecipientsAgain() {
  if (steady_clock::now() - transaction_->known_since < setup_.recipients_hold) {
    co_return absl::OkStatus();
  }
  const rpc::CallContext call{transaction_->trace,
                              absl::Now() + absl::FromChrono(setup_.commit_timeout)};
  std::vector<std::string> mailboxes;
  for (const smtp::Recipient& recipient : engine_.envelope().recipients) {
    const auto response = co_await AskForRecipient(call, recipient.address);
    if (!response.ok()) co_return response.status();
    if (response->forwards() > 0) co_return absl::AbortedError("a recipient leaves since RCPT");
    for (const auth::v1::Mailbox& mailbox : response->mailboxes()) {
      mailboxes.push_back(mailbox.mailbox_id());
    }
  }
  if (mailboxes == transaction_->mailboxes) co_return absl::OkStatus();
  co_return absl::AbortedError("a recipient is not what it was at RCPT");
}

smtp::Event Session::LoggedIn(absl::StatusOr<AuthenticateResponse> response) {
  if (!response.ok()) {
    Metrics().authentications_unavailable.Add();
    LogAuthentication("authentication unavailable", response.status().ToString());
    return event::Refused{AuthenticationUnavailable()};
  }
  if (response->has_challenge()) {
    return event::Challenge{std::move(*response->mutable_challenge())};
  }
  if (!response->has_success()) {
    Metrics().authentications_failed.Add();
    LogAuthentication("authentication failed",
                      AuthenticateResponse::Reason_Name(response->failure().reason()));
    return event::Refused{ReplyTo(response->failure().reason())};
  }
  login_ = std::make_unique<Login>();
  login_->token = std::move(*response->mutable_success()->mutable_token());
  login_->address = std::move(*response->mutable_success()->mutable_address());
  login_->expires_at = absl::FromUnixSeconds(response->success().expires_at());
  Metrics().authentications_ok.Add();
  LogAuthentication("authenticated", login_->address);
  return event::Authenticated{};
}

void Session::LogAuthentication(const char* what, absl::string_view detail) const {
  Log(LogLevel::kInfo, what,
      {{"session", context_.session_id},
       {"trace", login_trace_.trace_id},
       {"client", connection_.peer_address()},
       {login_ != nullptr ? "account" : "status", detail}});
}

void Session::BeginMessage() {
  const smtp::Envelope& envelope = engine_.envelope();
  transaction_->delivery_id = crypto::RandomOctets(kDeliveryIdOctets);
  const std::string id = absl::BytesToHexString(transaction_->delivery_id);
  const std::string client = connection_.peer_address();
  const std::string tls = connection_.tls_description();
  const std::string protocol = engine_.protocol_name();

  ReceivedParts parts;
  parts.helo = engine_.helo();
  parts.client_address = client;
  parts.hostname = setup_.options.hostname;
  parts.protocol = protocol;
  parts.tls = tls;
  parts.id = id;
  if (envelope.recipients.size() == 1) parts.recipient = envelope.recipients.front().address;
  parts.time = setup_.clock();

  MessageOptions options;
  options.trace = transaction_->trace;
  options.received = MakeReceived(parts);
  options.edits.removed = kEndingFields;
  if (submission()) {
    options.edits.added = {{"Date", MakeDate(parts.time)},
                           {"Message-ID", MakeMessageId(id, envelope.sender, parts.hostname)}};
  } else if (transaction_->forwards) {
    options.edits.removed = kEndingFieldsOfForwards;
  }
  options.declared_octets = envelope.declared_octets;
  options.timeout = setup_.commit_timeout;
  options.session_deadline = context_.session_deadline;

  if (!queued()) {
    store::v1::DeliveryHeader& header = transaction_->delivery;
    header.set_delivery_id(transaction_->delivery_id);
    header.set_envelope_sender(envelope.sender);
    transaction_->message = NewDelivery(setup_.delivery, std::move(header), std::move(options));
    return;
  }
  relay::v1::EnqueueHeader header;
  if (submission()) {
    header.set_token(login_->token);
    header.set_session_nonce(sasl_.session_nonce());
  }
  header.set_delivery_id(transaction_->delivery_id);
  header.set_envelope_sender(envelope.sender);
  for (const smtp::Recipient& recipient : envelope.recipients) {
    header.add_recipients(recipient.address);
  }
  header.set_smtputf8(envelope.smtputf8);
  header.set_eight_bit(envelope.eight_bit);
  transaction_->message = NewSubmission(submission() ? setup_.submission : setup_.forwarding,
                                        std::move(header), std::move(options));
}

asio::awaitable<smtp::Event> Session::EndMessage() {
  const steady_clock::time_point began = steady_clock::now();
  absl::Status stands;
  if (!queued()) stands = co_await CheckRecipientsAgain();
  absl::StatusOr<std::string> id;
  if (stands.ok()) {
    id = co_await transaction_->message->Commit();
  } else {
    id = std::move(stands);
  }
  const SessionMetrics& metrics = Metrics();
  metrics.commit_seconds.Observe(
      std::chrono::duration<double>(steady_clock::now() - began).count());
  smtp::Reply reply;
  if (id.ok()) {
    reply = {250, "2.0.0", absl::StrCat("Accepted as ", *id)};
    metrics.message_octets.Add(static_cast<double>(transaction_->message->octets()));
  } else {
    reply = ReplyTo(id.status(), submission()             ? Question::kEnqueue
                                 : transaction_->forwards ? Question::kForward
                                                          : Question::kDeliver);
  }
  metrics.MessagesWith(reply.code).Add();
  LogMessage(reply, id.ok() ? *id : "", id.status());
  transaction_.reset();
  if (!id.ok()) co_return event::Refused{std::move(reply)};
  co_return event::Accepted{std::move(reply.text)};
}

void Session::LogMessage(const smtp::Reply& reply, absl::string_view id,
                         const absl::Status& status) const {
  if (!LogEnabled(LogLevel::kInfo)) return;
  const smtp::Envelope& envelope = engine_.envelope();
  Log(LogLevel::kInfo, status.ok() ? "message accepted" : "message refused",
      {{"session", context_.session_id},
       {"trace", transaction_->trace.trace_id},
       {"sender", envelope.sender},
       {"recipients", envelope.recipients.size()},
       {"size", transaction_->message->octets()},
       {"delivery_id", absl::BytesToHexString(transaction_->delivery_id)},
       {"id", id},
       {"reply", absl::StrCat(reply.code, " ", reply.enhanced)},
       {"status", status.ok() ? std::string("OK") : status.ToString()}});
}

}  // namespace

asio::awaitable<void> RunSession(net::SessionContext context, const SessionSetup* setup) {
  const SessionMetrics& metrics = Metrics();
  const steady_clock::time_point began = steady_clock::now();
  const std::string id = context.session_id;
  metrics.sessions.Add();
  if (LogEnabled(LogLevel::kDebug)) {
    Log(LogLevel::kDebug, "session begins",
        {{"session", id}, {"client", context.connection->peer_address()}});
  }
  // On the heap: it is large, and only the session's end frees a coroutine's frame.
  const auto session = std::make_unique<Session>(std::move(context), *setup);
  co_await session->Run();
  metrics.session_seconds.Observe(
      std::chrono::duration<double>(steady_clock::now() - began).count());
  if (LogEnabled(LogLevel::kDebug)) Log(LogLevel::kDebug, "session ends", {{"session", id}});
}

}  // namespace postern::gateway_smtp
