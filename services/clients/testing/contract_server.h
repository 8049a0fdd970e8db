// The three services over the fakes, behind a real gRPC server with mutual TLS: what the contract
// suite puts the gRPC clients in front of.
#ifndef POSTERN_SERVICES_CLIENTS_TESTING_CONTRACT_SERVER_H_
#define POSTERN_SERVICES_CLIENTS_TESTING_CONTRACT_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/clients/testing/fake_auth_client.h"
#include "services/clients/testing/fake_relay_client.h"
#include "services/clients/testing/fake_store_client.h"
#include "services/identity/test_pki.h"
#include "services/rpc/server.h"

namespace postern::clients {

struct Fakes {
  FakeAuthenticationClient authentication;
  FakeDirectoryClient directory;
  FakeDeliveryClient delivery;
  FakeMaildropClient maildrops;
  FakePolicyClient policy;
  FakeSubmissionClient submission;
  FakeSubmissionClient forwarding;
};

// Thread-safe. Every service of every deployable, under the identity store-svc.
class ContractServer {
 public:
  // `fakes` and `pki` outlive it.
  ContractServer(Fakes* fakes, const identity::TestPki* pki);
  ~ContractServer();

  // A channel of a caller with this identity.
  std::shared_ptr<grpc::Channel> ChannelOf(absl::string_view identity) const;

  // Ends every Open stream as a server does that goes away. Their leases can be resumed, unless
  // `forget`.
  void BreakLeases(bool forget);
  // DeliverMany calls answer nothing while held.
  void HoldDeliverMany(bool hold);
  // Waits until one has come and is held, 20 s at most.
  bool AwaitDeliverManyRequest() const;
  int deliver_many_requests() const;
  int deliver_many_calls() const;
  // Goes away with all its calls.
  void Stop();
  // Stops and comes back on the same port.
  void Restart();
  // How many times a lease was resumed; how many fetches its stream brought; uploads that ended
  // without being committed.
  int resumed() const;
  int fetches() const;
  // Keeps fetches from being answered; waits for one that is kept. False after 20 s.
  void HoldFetches(bool hold);
  bool AwaitFetch() const;
  // Waits for that, 20 s at most.
  bool WaitForAbandonedUpload() const;

 private:
  struct Services;

  const identity::TestPki* const pki_;
  const std::unique_ptr<Services> services_;
  std::unique_ptr<rpc::RpcServer> server_;
  int port_ = 0;
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_TESTING_CONTRACT_SERVER_H_
