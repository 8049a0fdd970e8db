// auth-svc in memory, for tests.
#ifndef POSTERN_SERVICES_CLIENTS_TESTING_FAKE_AUTH_CLIENT_H_
#define POSTERN_SERVICES_CLIENTS_TESTING_FAKE_AUTH_CLIENT_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "services/clients/auth_client.h"

namespace postern::clients {

// Thread-safe; outlives its exchanges. Answers on the caller's thread.
class FakeAuthenticationClient : public AuthenticationClient {
 public:
  // Logs in with PLAIN and LOGIN. Anyone else gets REASON_INVALID_CREDENTIALS.
  void AddAccount(const std::string& user, const std::string& password,
                  auth::v1::AuthenticateResponse::Success success);
  // The next step fails with this.
  void FailNext(absl::Status status);

  // Every exchange's start, in order.
  std::vector<auth::v1::AuthenticateRequest::Start> starts() const;

  std::unique_ptr<SaslExchange> Authenticate(const rpc::CallContext& call) override;
  // PLAIN, LOGIN, and one that is named after the server name that was asked for.
  void ListMechanisms(const rpc::CallContext& call, auth::v1::ListMechanismsRequest request,
                      async::Done<auth::v1::ListMechanismsResponse> done) override;

  // One step of an exchange, which is all that an exchange remembers. Shared with the test server
  // of the contract suite.
  struct Exchange {
    std::string mechanism;
    std::string user;
    bool has_user = false;
    bool over = false;
  };
  absl::StatusOr<auth::v1::AuthenticateResponse> Step(const auth::v1::AuthenticateRequest& request,
                                                      Exchange* exchange);

 private:
  auth::v1::AuthenticateResponse Judge(const std::string& user, const std::string& password)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<std::string, std::pair<std::string, auth::v1::AuthenticateResponse::Success>> accounts_
      ABSL_GUARDED_BY(mutex_);
  absl::Status next_ ABSL_GUARDED_BY(mutex_);
  std::vector<auth::v1::AuthenticateRequest::Start> starts_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe. Asked for what it was not told, it fails the test.
class FakeDirectoryClient : public DirectoryClient {
 public:
  void SetRecipient(const std::string& address, auth::v1::ResolveRecipientResponse response);
  // The account may send as `address`; as others of the account it may not.
  void LetSendAs(const std::string& account_id, const std::string& address);
  void FailNext(absl::Status status);

  void ResolveRecipient(const rpc::CallContext& call, auth::v1::ResolveRecipientRequest request,
                        async::Done<auth::v1::ResolveRecipientResponse> done) override;
  void MaySendAs(const rpc::CallContext& call, auth::v1::MaySendAsRequest request,
                 async::Done<auth::v1::MaySendAsResponse> done) override;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, auth::v1::ResolveRecipientResponse> recipients_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::vector<std::string>> senders_ ABSL_GUARDED_BY(mutex_);
  absl::Status next_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_TESTING_FAKE_AUTH_CLIENT_H_
