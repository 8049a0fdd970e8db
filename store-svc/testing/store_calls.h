// Calls to store-svc in the words of tests.
#ifndef POSTERN_STORE_SVC_TESTING_STORE_CALLS_H_
#define POSTERN_STORE_SVC_TESTING_STORE_CALLS_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "proto/postern/store/v1/delivery.grpc.pb.h"
#include "proto/postern/store/v1/maildrop.grpc.pb.h"

namespace postern::store {

inline constexpr char kAlice[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
inline constexpr char kBob[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
inline constexpr char kNonce[] = "session nonce 16";

// What Deliver puts before a body for "<mailbox_id>@example.test".
std::string PrefixOf(absl::string_view mailbox_id);

v1::DeliveryHeader MakeHeader(absl::string_view delivery_id,
                              const std::vector<std::string>& mailbox_ids);

absl::StatusOr<v1::DeliverResponse> Deliver(grpc::Channel& channel, v1::DeliveryHeader header,
                                            absl::string_view body);
// In pieces of `piece_octets`.
absl::StatusOr<v1::DeliverResponse> DeliverStream(grpc::Channel& channel,
                                                  const v1::DeliveryHeader& header,
                                                  absl::string_view body, size_t piece_octets);

// An Open stream.
class OpenMaildrop {
 public:
  OpenMaildrop(const std::shared_ptr<grpc::Channel>& channel, std::string token,
               std::string nonce = kNonce);

  // The lease and the whole listing.
  absl::Status Open(uint64_t resume_fence = 0);
  // Half-closes, and waits for the end.
  absl::Status Close();
  // Waits for the server to end the stream.
  absl::Status AwaitEnd();

  absl::StatusOr<std::string> Retrieve(uint64_t uid, std::optional<uint32_t> body_lines = {});
  // Over the open stream.
  void StartFetch(const v1::OpenRequest::Fetch& fetch);
  absl::StatusOr<v1::OpenResponse::Fetched> AwaitFetched();
  absl::Status Commit(const std::vector<uint64_t>& uids);

  void set_token(std::string token) { token_ = std::move(token); }
  void set_nonce(std::string nonce) { nonce_ = std::move(nonce); }
  void set_fence(uint64_t fence) { lease_.set_fence(fence); }
  const v1::OpenResponse::Lease& lease() const { return lease_; }
  const std::vector<std::pair<uint64_t, uint64_t>>& entries() const { return entries_; }

 private:
  const std::unique_ptr<v1::MaildropService::Stub> stub_;
  std::string token_;
  std::string nonce_;
  std::unique_ptr<grpc::ClientContext> context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::OpenRequest, v1::OpenResponse>> stream_;
  v1::OpenResponse::Lease lease_;
  std::vector<std::pair<uint64_t, uint64_t>> entries_;
};

}  // namespace postern::store

#endif  // POSTERN_STORE_SVC_TESTING_STORE_CALLS_H_
