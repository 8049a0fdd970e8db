#include "auth-svc/rpc/authentication_service.h"

#include <grpcpp/alarm.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/synchronization/mutex.h"
#include "auth-svc/domain/login.h"
#include "auth-svc/domain/password.h"
#include "services/crypto/random_octets.h"
#include "services/identity/access.h"
#include "services/net/client_network.h"
#include "services/protocol/sasl/base64.h"
#include "services/protocol/sasl/sasl.h"
#include "services/rpc/context.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::auth {
namespace {

using telemetry::LogLevel;
using v1::AuthenticateRequest;
using v1::AuthenticateResponse;

// authentication.proto: "at most 8 KiB".
constexpr size_t kMaxResponseOctets = 8 << 10;
constexpr size_t kNonceOctets = 16;
// SCRAM without an initial response has that many; no mechanism that we have has more.
constexpr int kMaxRequests = 4;
// From the first octet to the token, the client's answers and the wait for a hash included.
constexpr absl::Duration kExchangeTime = absl::Seconds(60);
constexpr int kMaxExchanges = 10000;
// "[IPv6:...]:port" and some; more is no address.
constexpr size_t kMaxClientOctets = 64;
// Of randomness, in base64 (RFC 5802 5.1).
constexpr size_t kScramNonceOctets = 18;
// A SHA-512 (RFC 5929 4.1).
constexpr size_t kMaxBindingOctets = 64;
// authentication.proto: "at most 8, and 32 KiB in all", and what is beside them.
constexpr int kMaxCertificates = 8;
constexpr size_t kMaxStartOctets = 48 << 10;

// What a gateway may ask a token for.
v1::Purpose PurposeOf(absl::string_view gateway) {
  if (gateway == identity::kGatewayPop3) return v1::PURPOSE_MAILDROP;
  if (gateway == identity::kGatewaySmtpSubmission) return v1::PURPOSE_SUBMISSION;
  return v1::PURPOSE_UNSPECIFIED;
}

LoginUse UseOf(v1::Purpose purpose) {
  return purpose == v1::PURPOSE_MAILDROP ? LoginUse::kPop3 : LoginUse::kSubmission;
}

absl::string_view Name(AuthenticateResponse::Reason reason) {
  switch (reason) {
    case AuthenticateResponse::REASON_INVALID_CREDENTIALS:
      return "invalid credentials";
    case AuthenticateResponse::REASON_UNKNOWN_MECHANISM:
      return "unknown mechanism";
    case AuthenticateResponse::REASON_MALFORMED:
      return "malformed";
    case AuthenticateResponse::REASON_CANCELLED:
      return "cancelled";
    case AuthenticateResponse::REASON_TOO_MANY_FAILURES:
      return "throttled";
    default:
      return "temporary";
  }
}

telemetry::Counter& Logins(absl::string_view outcome) {
  return telemetry::GetCounter("postern_auth_logins_total", "SASL exchanges by how they ended.",
                               {{"outcome", std::string(outcome)}});
}

}  // namespace

// One exchange: read, step, answer, until success or failure. At most one gRPC operation or login
// is under way at a time, so its state needs no lock; it lives until OnDone.
class AuthenticationService::Exchange final
    : public grpc::ServerBidiReactor<AuthenticateRequest, AuthenticateResponse>,
      public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(AuthenticationService& service, grpc::CallbackServerContext* context)
      : service_(service), context_(context) {}

  void Begin() {
    self_ = shared_from_this();
    gateway_ = rpc::CallerIdentity(*context_);
    trace_ = rpc::ReadCallContext(*context_).trace.trace_id;
    if (service_.exchanges_.fetch_add(1) >= kMaxExchanges) {
      Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many exchanges"));
      return;
    }
    // The client, not only the gateway, decides how long an exchange takes.
    deadline_.Set(absl::ToChronoTime(absl::Now() + kExchangeTime),
                  [weak = weak_from_this()](bool expired) {
                    if (!expired) return;
                    if (auto self = weak.lock()) self->Expire();
                  });
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the exchange was left unfinished"));
      return;
    }
    if (++requests_ > kMaxRequests) {
      Refuse(grpc::StatusCode::INVALID_ARGUMENT, "more steps than any mechanism has");
      return;
    }
    if (mechanism_ == nullptr) {
      OnStart();
      return;
    }
    switch (request_.step_case()) {
      case AuthenticateRequest::kResponse:
        if (last_.has_value()) {
          AnswerLast();
        } else {
          Step(request_.mutable_response());
        }
        return;
      case AuthenticateRequest::kCancel:
        Fail(AuthenticateResponse::REASON_CANCELLED, "cancelled by the client");
        return;
      default:
        Refuse(grpc::StatusCode::INVALID_ARGUMENT, "expected a response or a cancel");
    }
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the gateway has gone"));
      return;
    }
    request_.Clear();
    StartRead(&request_);
  }

  // Whatever is under way ends soon, and then finishes.
  void OnCancel() override {}

  void OnDone() override {
    service_.exchanges_.fetch_sub(1);
    deadline_.Cancel();
    {
      absl::MutexLock lock(&ended_mutex_);
      ended_ = true;
    }
    self_.reset();
  }

 private:
  void Expire() {
    absl::MutexLock lock(&ended_mutex_);
    if (!ended_) context_->TryCancel();
  }

  void OnStart() {
    if (request_.step_case() != AuthenticateRequest::kStart) {
      Refuse(grpc::StatusCode::INVALID_ARGUMENT, "an exchange begins with start");
      return;
    }
    AuthenticateRequest::Start& start = *request_.mutable_start();
    if (start.session_nonce().size() != kNonceOctets) {
      Refuse(grpc::StatusCode::INVALID_ARGUMENT, "session_nonce has 16 octets");
      return;
    }
    // A captured POP3 gateway gets no token that sends, and the other way round.
    if (start.purpose() == v1::PURPOSE_UNSPECIFIED || start.purpose() != PurposeOf(gateway_)) {
      Refuse(grpc::StatusCode::PERMISSION_DENIED, "this gateway gets no token for that purpose");
      return;
    }
    purpose_ = start.purpose();
    nonce_ = start.session_nonce();
    client_ = start.client_address().substr(0, kMaxClientOctets);
    if (start.tls_exporter().size() > kMaxBindingOctets ||
        start.tls_server_end_point().size() > kMaxBindingOctets) {
      Refuse(grpc::StatusCode::INVALID_ARGUMENT, "a channel binding has at most 64 octets");
      return;
    }
    if (start.client_certificates_size() > kMaxCertificates ||
        start.ByteSizeLong() > kMaxStartOctets) {
      Refuse(grpc::StatusCode::INVALID_ARGUMENT, "more certificates than there may be");
      return;
    }
    mechanism_ = MakeMechanism(start);
    if (mechanism_ == nullptr) {
      Fail(AuthenticateResponse::REASON_UNKNOWN_MECHANISM, "unknown mechanism");
      return;
    }
    mechanism_name_ = start.mechanism();
    certificates_.assign(start.client_certificates().begin(), start.client_certificates().end());
    Step(start.has_initial_response() ? start.mutable_initial_response() : nullptr);
  }

  // Null: of none that is offered.
  std::unique_ptr<sasl::Mechanism> MakeMechanism(const AuthenticateRequest::Start& start) const {
    const std::string& name = start.mechanism();
    const ConfiguredMechanisms& configured = service_.parts_.mechanisms;
    if (absl::StartsWith(name, "SCRAM-") && !configured.scram) return nullptr;
    if ((name == "OAUTHBEARER" || name == "XOAUTH2") && configured.bearer_domains.empty()) {
      return nullptr;
    }
    if (name == "EXTERNAL" && !configured.certificates) return nullptr;
    return sasl::MakeMechanism(name, {{start.tls_exporter(), start.tls_server_end_point()},
                                      sasl::EncodeBase64(crypto::RandomOctets(kScramNonceOctets))});
  }

  // Wipes `response`.
  void Step(std::string* response) {
    if (response != nullptr && response->size() > kMaxResponseOctets) {
      Wipe(response);
      Fail(AuthenticateResponse::REASON_MALFORMED, "response too long");
      return;
    }
    sasl::Step step = mechanism_->Next(
        response == nullptr ? std::nullopt : std::optional<absl::string_view>(*response));
    if (response != nullptr) Wipe(response);
    On(std::move(step));
  }

  void On(sasl::Step step) {
    if (auto* challenge = std::get_if<sasl::Challenge>(&step)) {
      Challenge(std::move(challenge->octets));
    } else if (auto* credentials = std::get_if<sasl::Credentials>(&step)) {
      sasl::Credentials taken = std::move(*credentials);
      Wipe(&credentials->password);
      service_.parts_.passwords.LogIn(
          std::move(taken), UseOf(purpose_), net::NetworkOf(client_),
          [this] { return context_->IsCancelled(); },
          [this](LoginResult result) { OnLogin(std::move(result)); });
    } else if (auto* wanted = std::get_if<sasl::VerifierWanted>(&step)) {
      service_.parts_.scram.Begin(*wanted, net::NetworkOf(client_),
                                  [this](ScramLogin::Begun begun) { OnBegun(std::move(begun)); });
    } else if (auto* bearer = std::get_if<sasl::Bearer>(&step)) {
      service_.parts_.tokens.LogIn(
          std::move(*bearer), net::NetworkOf(client_),
          [this](LoginResult result) { OnTokenJudged(std::move(result)); });
    } else if (auto* external = std::get_if<sasl::External>(&step)) {
      service_.parts_.certificates.LogIn(
          *external, std::move(certificates_), net::NetworkOf(client_),
          [this](LoginResult result) { OnLogin(std::move(result)); });
    } else if (auto* proof = std::get_if<sasl::Proof>(&step)) {
      service_.parts_.scram.End(
          std::move(scram_), proof->proof,
          [this, final = std::move(proof->server_final)](LoginResult result) mutable {
            OnProved(std::move(result), std::move(final));
          });
    } else {
      Fail(AuthenticateResponse::REASON_MALFORMED, "not what the mechanism expects");
    }
  }

  void Challenge(std::string octets) {
    response_.Clear();
    response_.set_challenge(std::move(octets));
    StartWrite(&response_);
  }

  // These, as OnLogin, on a worker's thread or inside Step.
  void OnBegun(ScramLogin::Begun begun) {
    scram_ = std::move(begun.attempt);
    if (scram_ == nullptr) {
      OnLogin(std::move(begun.result));
    } else {
      On(mechanism_->Provide(begun.verifier));
    }
  }

  // SMTP and POP3 have no place for additional data with success: it is a challenge (RFC 4422 3.6).
  void OnProved(LoginResult result, std::string server_final) {
    if (result.outcome != LoginResult::Outcome::kAccepted) {
      OnLogin(std::move(result));
      return;
    }
    last_ = std::move(result);
    Challenge(std::move(server_final));
  }

  // RFC 7628 3.2.3: why not is a challenge; whatever its answer is, the exchange has failed.
  void OnTokenJudged(LoginResult result) {
    if (result.outcome != LoginResult::Outcome::kInvalid) {
      OnLogin(std::move(result));
      return;
    }
    // The client may go instead of answering.
    NoteFailure(AuthenticateResponse::REASON_INVALID_CREDENTIALS, result.detail, &result.account);
    last_ = std::move(result);
    Challenge(sasl::BearerError("invalid_token"));
  }

  void AnswerLast() {
    if (last_->outcome != LoginResult::Outcome::kAccepted) {
      SendFailure(AuthenticateResponse::REASON_INVALID_CREDENTIALS);
    } else if (request_.response().empty()) {
      OnLogin(*std::move(last_));
    } else {
      Fail(AuthenticateResponse::REASON_MALFORMED, "the last challenge has an empty answer");
    }
  }

  void OnLogin(LoginResult result) {
    switch (result.outcome) {
      case LoginResult::Outcome::kAccepted:
        Succeed(result);
        return;
      case LoginResult::Outcome::kInvalid:
        Fail(AuthenticateResponse::REASON_INVALID_CREDENTIALS, result.detail, &result.account);
        return;
      case LoginResult::Outcome::kThrottled:
        Fail(AuthenticateResponse::REASON_TOO_MANY_FAILURES, result.detail);
        return;
      case LoginResult::Outcome::kTemporary:
        Fail(AuthenticateResponse::REASON_TEMPORARY, result.detail);
        return;
    }
  }

  void Succeed(const LoginResult& result) {
    const absl::Time now = service_.parts_.clock();
    token::v1::Claims claims;
    claims.set_account_id(result.account.account_id);
    claims.set_address(result.account.address.ToString());
    claims.set_mailbox_id(result.account.mailbox_id);
    claims.set_purpose(purpose_);
    claims.set_gateway(gateway_);
    claims.set_session_nonce(nonce_);
    claims.set_issued_at(absl::ToUnixSeconds(now));
    claims.set_expires_at(absl::ToUnixSeconds(now + service_.parts_.token_lifetime));
    Logins(result.remembered ? "remembered" : "accepted").Add();
    telemetry::Log(LogLevel::kInfo, "login accepted",
                   {{"account", claims.address()},
                    {"client", client_},
                    {"gateway", gateway_},
                    {"mechanism", mechanism_name_},
                    {"remembered", result.remembered},
                    {"detail", result.detail},
                    {"trace", trace_}});
    response_.Clear();
    AuthenticateResponse::Success& success = *response_.mutable_success();
    success.set_token(service_.parts_.signer.Sign(claims));
    success.set_address(claims.address());
    success.set_expires_at(claims.expires_at());
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }

  // `account`: whose password was tried. A login name that is none of ours is not logged: people
  // type passwords into that field.
  void Fail(AuthenticateResponse::Reason reason, absl::string_view detail,
            const Account* account = nullptr) {
    NoteFailure(reason, detail, account);
    SendFailure(reason);
  }

  void NoteFailure(AuthenticateResponse::Reason reason, absl::string_view detail,
                   const Account* account) {
    const std::string address = account != nullptr && !account->account_id.empty()
                                    ? account->address.ToString()
                                    : std::string();
    Logins(Name(reason)).Add();
    if (reason == AuthenticateResponse::REASON_INVALID_CREDENTIALS) {
      service_.login_failures_.Count(client_, address, service_.parts_.clock());
    }
    telemetry::Log(LogLevel::kInfo, "login refused",
                   {{"reason", Name(reason)},
                    {"detail", detail},
                    {"account", address},
                    {"client", client_},
                    {"gateway", gateway_},
                    {"mechanism", mechanism_name_},
                    {"trace", trace_}});
  }

  void SendFailure(AuthenticateResponse::Reason reason) {
    response_.Clear();
    response_.mutable_failure()->set_reason(reason);
    StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  }

  // The gateway, not its client, is at fault.
  void Refuse(grpc::StatusCode code, const char* why) {
    Logins("refused").Add();
    telemetry::Log(
        LogLevel::kWarning, "exchange refused",
        {{"reason", why}, {"client", client_}, {"gateway", gateway_}, {"trace", trace_}});
    Finish(grpc::Status(code, why));
  }

  AuthenticationService& service_;
  grpc::CallbackServerContext* const context_;
  std::shared_ptr<Exchange> self_;
  std::string gateway_;
  std::string trace_;
  grpc::Alarm deadline_;
  AuthenticateRequest request_;
  AuthenticateResponse response_;
  int requests_ = 0;
  std::unique_ptr<sasl::Mechanism> mechanism_;
  std::vector<std::string> certificates_;
  std::shared_ptr<ScramLogin::Attempt> scram_;
  // What is said when the client has answered the last challenge.
  std::optional<LoginResult> last_;
  std::string mechanism_name_;
  v1::Purpose purpose_ = v1::PURPOSE_UNSPECIFIED;
  std::string nonce_;
  std::string client_;
  // The context dies at OnDone; the deadline may strike at the same moment.
  absl::Mutex ended_mutex_;
  bool ended_ ABSL_GUARDED_BY(ended_mutex_) = false;
};

AuthenticationService::AuthenticationService(Parts parts) : parts_(std::move(parts)) {
  // A rate misses what made its counter appear.
  for (const char* outcome :
       {"accepted", "remembered", "invalid credentials", "temporary", "throttled"}) {
    Logins(outcome);
  }
}

grpc::ServerBidiReactor<AuthenticateRequest, AuthenticateResponse>*
AuthenticationService::Authenticate(grpc::CallbackServerContext* context) {
  auto exchange = std::make_shared<Exchange>(*this, context);
  exchange->Begin();
  return exchange.get();
}

grpc::ServerUnaryReactor* AuthenticationService::ListMechanisms(
    grpc::CallbackServerContext* context, const v1::ListMechanismsRequest* request,
    v1::ListMechanismsResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  process::RunOn<absl::Status>(
      parts_.reading,
      [this, request, response] {
        return parts_.directory.Read([&](DirectoryReader& reader) {
          response->Clear();
          absl::StatusOr<std::vector<std::string>> offered =
              OfferedMechanisms(reader, parts_.mechanisms, request->server_name(),
                                request->bindable(), request->certified());
          if (!offered.ok()) return offered.status();
          response->mutable_mechanisms()->Assign(offered->begin(), offered->end());
          return absl::OkStatus();
        });
      },
      [reactor](const absl::Status& status) { reactor->Finish(rpc::ToGrpc(status)); },
      absl::UnavailableError("too many logins wait for the directory"));
  return reactor;
}

}  // namespace postern::auth
