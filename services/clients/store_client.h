// store-svc as its callers see it.
#ifndef POSTERN_SERVICES_CLIENTS_STORE_CLIENT_H_
#define POSTERN_SERVICES_CLIENTS_STORE_CLIENT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "proto/postern/store/v1/delivery.pb.h"
#include "services/async/done.h"
#include "services/clients/body_stream.h"
#include "services/rpc/call_context.h"

namespace grpc {
class Channel;
}  // namespace grpc

namespace postern::clients {

// Thread-safe.
class DeliveryClient {
 public:
  virtual ~DeliveryClient() = default;
  // Body at most kMaxPieceOctets. Repeats on UNAVAILABLE while the deadline allows: the
  // delivery_id makes it safe.
  virtual void Deliver(const rpc::CallContext& call, store::v1::DeliverRequest request,
                       async::Done<store::v1::DeliverResponse> done) = 0;
  // For larger ones; not repeated.
  virtual std::unique_ptr<BodyStream<store::v1::DeliverResponse>> DeliverStream(
      const rpc::CallContext& call, store::v1::DeliveryHeader header) = 0;
  virtual void CheckQuota(const rpc::CallContext& call, store::v1::CheckQuotaRequest request,
                          async::Done<store::v1::CheckQuotaResponse> done) = 0;
};

struct MaildropEntry {
  uint64_t uid;
  uint64_t octets;
};

// What Open listed.
struct MaildropListing {
  uint32_t uid_validity = 0;
  // Ascending by uid.
  std::vector<MaildropEntry> entries;
};

// A message on its way to the client. One Read at a time; destroying it cancels.
class MessageReader {
 public:
  virtual ~MessageReader() = default;
  // The next piece; nullopt at the end.
  virtual void Read(async::Done<std::optional<std::string>> done) = 0;
};

// An open maildrop: holds the lease and, when the stream breaks (a rolling update), takes it up
// again with its fence while it can. One operation at a time. Destroying it lets go of the lease
// without deleting.
class Maildrop {
 public:
  virtual ~Maildrop() = default;
  // nullopt: the whole message; else the header and this many lines of the body (TOP).
  virtual std::unique_ptr<MessageReader> Retrieve(const rpc::CallContext& call, uint64_t uid,
                                                  std::optional<uint32_t> body_lines) = 0;
  // Deletes in one transaction, then frees the lease. With no uids it only frees.
  virtual void Commit(const rpc::CallContext& call, std::vector<uint64_t> deleted_uids,
                      async::DoneStatus done) = 0;
};

struct OpenedMaildrop {
  std::unique_ptr<Maildrop> maildrop;
  MaildropListing listing;
};

// Thread-safe.
class MaildropClient {
 public:
  virtual ~MaildropClient() = default;
  // ABORTED: another session has it. UNAUTHENTICATED: the token is not good. The call's deadline is
  // for the opening alone.
  virtual void Open(const rpc::CallContext& call, std::string token, std::string session_nonce,
                    async::Done<OpenedMaildrop> done) = 0;
};

// How small bodies travel: each in a call of its own, or all in one that stays open, for who
// delivers much (delivery_outbox.h).
enum class SmallBodies { kCallEach, kOpenCall };

std::unique_ptr<DeliveryClient> MakeDeliveryClient(std::shared_ptr<grpc::Channel> channel,
                                                   SmallBodies small_bodies);
std::unique_ptr<MaildropClient> MakeMaildropClient(std::shared_ptr<grpc::Channel> channel);

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_STORE_CLIENT_H_
