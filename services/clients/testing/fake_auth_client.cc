#include "services/clients/testing/fake_auth_client.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace postern::clients {

namespace {

using auth::v1::AuthenticateRequest;
using auth::v1::AuthenticateResponse;

AuthenticateResponse Failure(AuthenticateResponse::Reason reason) {
  AuthenticateResponse response;
  response.mutable_failure()->set_reason(reason);
  return response;
}

AuthenticateResponse Challenge(const std::string& octets) {
  AuthenticateResponse response;
  response.set_challenge(octets);
  return response;
}

class FakeExchange : public SaslExchange {
 public:
  explicit FakeExchange(FakeAuthenticationClient* fake) : fake_(fake) {}

  void Step(AuthenticateRequest request, async::Done<AuthenticateResponse> done) override {
    done(fake_->Step(request, &exchange_));
  }

 private:
  FakeAuthenticationClient* const fake_;
  FakeAuthenticationClient::Exchange exchange_;
};

}  // namespace

void FakeAuthenticationClient::AddAccount(const std::string& user, const std::string& password,
                                          AuthenticateResponse::Success success) {
  absl::MutexLock lock(&mutex_);
  accounts_[user] = {password, std::move(success)};
}

void FakeAuthenticationClient::FailNext(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  next_ = std::move(status);
}

std::vector<AuthenticateRequest::Start> FakeAuthenticationClient::starts() const {
  absl::MutexLock lock(&mutex_);
  return starts_;
}

std::unique_ptr<SaslExchange> FakeAuthenticationClient::Authenticate(
    const rpc::CallContext& /*call*/) {
  return std::make_unique<FakeExchange>(this);
}

void FakeAuthenticationClient::ListMechanisms(const rpc::CallContext&,
                                              auth::v1::ListMechanismsRequest request,
                                              async::Done<auth::v1::ListMechanismsResponse> done) {
  auth::v1::ListMechanismsResponse response;
  for (const char* name : {"PLAIN", "LOGIN"}) response.add_mechanisms(name);
  if (!request.server_name().empty()) {
    response.add_mechanisms(absl::StrCat("X-", absl::AsciiStrToUpper(request.server_name()),
                                         request.bindable() ? "-BINDABLE" : ""));
  }
  done(std::move(response));
}

absl::StatusOr<AuthenticateResponse> FakeAuthenticationClient::Step(
    const AuthenticateRequest& request, Exchange* exchange) {
  absl::MutexLock lock(&mutex_);
  if (!next_.ok()) {
    exchange->over = true;
    return std::exchange(next_, absl::OkStatus());
  }
  if (exchange->over) {
    ADD_FAILURE() << "a step after the exchange's end";
    return absl::InternalError("the exchange is over");
  }
  std::string response;
  bool has_response = true;
  switch (request.step_case()) {
    case AuthenticateRequest::kStart:
      if (!exchange->mechanism.empty()) ADD_FAILURE() << "an exchange was started twice";
      starts_.push_back(request.start());
      exchange->mechanism = request.start().mechanism();
      response = request.start().initial_response();
      has_response = request.start().has_initial_response();
      break;
    case AuthenticateRequest::kResponse:
      if (exchange->mechanism.empty()) ADD_FAILURE() << "an exchange began with a response";
      response = request.response();
      break;
    case AuthenticateRequest::kCancel:
      exchange->over = true;
      return Failure(AuthenticateResponse::REASON_CANCELLED);
    case AuthenticateRequest::STEP_NOT_SET:
      ADD_FAILURE() << "an empty step";
      return absl::InvalidArgumentError("an empty step");
  }
  if (exchange->mechanism == "PLAIN") {
    if (!has_response) return Challenge("");
    exchange->over = true;
    const std::vector<std::string> parts = absl::StrSplit(response, '\0');
    if (parts.size() != 3) return Failure(AuthenticateResponse::REASON_MALFORMED);
    return Judge(parts[1], parts[2]);
  }
  if (exchange->mechanism == "LOGIN") {
    if (!has_response) return Challenge("Username:");
    if (!exchange->has_user) {
      exchange->has_user = true;
      exchange->user = response;
      return Challenge("Password:");
    }
    exchange->over = true;
    return Judge(exchange->user, response);
  }
  exchange->over = true;
  return Failure(AuthenticateResponse::REASON_UNKNOWN_MECHANISM);
}

AuthenticateResponse FakeAuthenticationClient::Judge(const std::string& user,
                                                     const std::string& password) {
  const auto account = accounts_.find(user);
  if (account == accounts_.end() || account->second.first != password) {
    return Failure(AuthenticateResponse::REASON_INVALID_CREDENTIALS);
  }
  AuthenticateResponse response;
  *response.mutable_success() = account->second.second;
  return response;
}

void FakeDirectoryClient::SetRecipient(const std::string& address,
                                       auth::v1::ResolveRecipientResponse response) {
  absl::MutexLock lock(&mutex_);
  recipients_[address] = std::move(response);
}

void FakeDirectoryClient::LetSendAs(const std::string& account_id, const std::string& address) {
  absl::MutexLock lock(&mutex_);
  senders_[account_id].push_back(address);
}

void FakeDirectoryClient::FailNext(absl::Status status) {
  absl::MutexLock lock(&mutex_);
  next_ = std::move(status);
}

void FakeDirectoryClient::ResolveRecipient(const rpc::CallContext& /*call*/,
                                           auth::v1::ResolveRecipientRequest request,
                                           async::Done<auth::v1::ResolveRecipientResponse> done) {
  absl::StatusOr<auth::v1::ResolveRecipientResponse> answer;
  {
    absl::MutexLock lock(&mutex_);
    if (!next_.ok()) {
      answer = std::exchange(next_, absl::OkStatus());
    } else if (const auto known = recipients_.find(request.address()); known != recipients_.end()) {
      answer = known->second;
    } else {
      ADD_FAILURE() << "nothing was said about recipient " << request.address();
      answer = absl::InternalError("unexpected");
    }
  }
  done(std::move(answer));
}

void FakeDirectoryClient::MaySendAs(const rpc::CallContext& /*call*/,
                                    auth::v1::MaySendAsRequest request,
                                    async::Done<auth::v1::MaySendAsResponse> done) {
  absl::StatusOr<auth::v1::MaySendAsResponse> answer;
  {
    absl::MutexLock lock(&mutex_);
    if (!next_.ok()) {
      answer = std::exchange(next_, absl::OkStatus());
    } else if (const auto known = senders_.find(request.account_id()); known != senders_.end()) {
      auth::v1::MaySendAsResponse response;
      response.set_allowed(std::all_of(
          request.addresses().begin(), request.addresses().end(), [&](const std::string& address) {
            return std::find(known->second.begin(), known->second.end(), address) !=
                   known->second.end();
          }));
      answer = response;
    } else {
      ADD_FAILURE() << "nothing was said about account " << request.account_id();
      answer = absl::InternalError("unexpected");
    }
  }
  done(std::move(answer));
}

}  // namespace postern::clients
