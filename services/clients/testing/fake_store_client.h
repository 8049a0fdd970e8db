// store-svc in memory, for tests.
#ifndef POSTERN_SERVICES_CLIENTS_TESTING_FAKE_STORE_CLIENT_H_
#define POSTERN_SERVICES_CLIENTS_TESTING_FAKE_STORE_CLIENT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "services/body/piece.h"
#include "services/clients/store_client.h"

namespace postern::clients {

// Thread-safe; outlives its streams. Answers on the caller's thread. A mailbox that was not added
// fails the test.
class FakeDeliveryClient : public DeliveryClient {
 public:
  void AddMailbox(const std::string& mailbox_id);
  void SetFull(const std::string& mailbox_id, bool full);
  // The next Deliver, or Finish of a stream, or CheckQuota fails with this.
  void FailNext(absl::Status status);

  // What was committed, in order; a repeated delivery stands once.
  std::vector<store::v1::DeliverRequest> delivered() const;

  void Deliver(const rpc::CallContext& call, store::v1::DeliverRequest request,
               async::Done<store::v1::DeliverResponse> done) override;
  std::unique_ptr<BodyStream<store::v1::DeliverResponse>> DeliverStream(
      const rpc::CallContext& call, store::v1::DeliveryHeader header) override;
  void CheckQuota(const rpc::CallContext& call, store::v1::CheckQuotaRequest request,
                  async::Done<store::v1::CheckQuotaResponse> done) override;

 private:
  mutable absl::Mutex mutex_;
  std::set<std::string> mailboxes_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> full_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> by_delivery_id_ ABSL_GUARDED_BY(mutex_);
  std::vector<store::v1::DeliverRequest> delivered_ ABSL_GUARDED_BY(mutex_);
  absl::Status next_ ABSL_GUARDED_BY(mutex_);
};

// Thread-safe; outlives its maildrops. Answers on the caller's thread. A token stands for a
// maildrop; any other is UNAUTHENTICATED.
class FakeMaildropClient : public MaildropClient {
 public:
  void AddMaildrop(const std::string& token, uint32_t uid_validity,
                   std::map<uint64_t, std::string> messages);
  // The next Open, first piece of a message, or Commit fails with this.
  void FailNextOpen(absl::Status status);
  void FailNextRetrieve(absl::Status status);
  void FailNextCommit(absl::Status status);
  // Messages come in pieces of this size.
  void SetPieceOctets(size_t octets);

  // Uids that are still there.
  std::vector<uint64_t> Uids(const std::string& token) const;
  bool IsOpen(const std::string& token) const;
  // Until no session has it; false after 20 s.
  bool WaitUntilClosed(const std::string& token) const;
  // Pieces given out so far.
  size_t pieces() const;

  void Open(const rpc::CallContext& call, std::string token, std::string session_nonce,
            async::Done<OpenedMaildrop> done) override;

  // The parts of Open, for the test server of the contract suite.
  absl::StatusOr<MaildropListing> Lock(const std::string& token);
  void Unlock(const std::string& token);
  // The message (or with `body_lines` its header and that many lines) in pieces.
  absl::StatusOr<std::vector<std::string>> Pieces(const std::string& token, uint64_t uid,
                                                  std::optional<uint32_t> body_lines);
  absl::Status Delete(const std::string& token, const std::vector<uint64_t>& uids);
  void CountPiece();

 private:
  struct Drop {
    uint32_t uid_validity = 0;
    std::map<uint64_t, std::string> messages;
    bool open = false;
  };

  mutable absl::Mutex mutex_;
  std::map<std::string, Drop> drops_ ABSL_GUARDED_BY(mutex_);
  size_t piece_octets_ ABSL_GUARDED_BY(mutex_) = kMaxPieceOctets;
  size_t pieces_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status next_open_ ABSL_GUARDED_BY(mutex_);
  absl::Status next_retrieve_ ABSL_GUARDED_BY(mutex_);
  absl::Status next_commit_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace postern::clients

#endif  // POSTERN_SERVICES_CLIENTS_TESTING_FAKE_STORE_CLIENT_H_
