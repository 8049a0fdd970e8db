// postern.store.v1.MaildropService over a MailStore and Leases.
#ifndef POSTERN_STORE_SVC_RPC_MAILDROP_SERVICE_H_
#define POSTERN_STORE_SVC_RPC_MAILDROP_SERVICE_H_

#include <memory>

#include "store-svc/rpc/maildrop_session.h"

namespace grpc {
class Service;
}  // namespace grpc

namespace postern::store {

class OpenStream;
template <typename Stream>
class RunningStreams;

class MaildropServer {
 public:
  explicit MaildropServer(MaildropParts parts);
  // When no call runs any more.
  ~MaildropServer();

  grpc::Service* service();

  // Drain: ends the Open streams as broken ones, so that their sessions resume with the next
  // process, and refuses new ones. Calls that run on a lease go on.
  void EndStreams();

 private:
  const MaildropParts parts_;
  std::unique_ptr<RunningStreams<OpenStream>> streams_;
  std::unique_ptr<grpc::Service> service_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_RPC_MAILDROP_SERVICE_H_
