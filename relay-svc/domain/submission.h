// Mail from users, and for aliases that leave the platform, on its way into the spool.
#ifndef POSTERN_RELAY_SVC_DOMAIN_SUBMISSION_H_
#define POSTERN_RELAY_SVC_DOMAIN_SUBMISSION_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "boost/asio/awaitable.hpp"
#include "proto/postern/relay/v1/submission.pb.h"
#include "relay-svc/domain/digest.h"
#include "relay-svc/domain/spool.h"
#include "relay-svc/domain/submitter.h"
#include "services/clients/auth_client.h"
#include "services/identity/token.h"
#include "services/limits/limits.h"
#include "services/process/clock.h"
#include "services/rpc/limits.h"

namespace postern::relay {

struct SubmissionOptions {
  // Whose mail it is: a user's, who shows a token; or anybody's, to addresses of ours alone.
  enum class From { kUser, kAnybody };
  From from = From::kUser;
  uint64_t max_message_octets = 52 << 20;
  // A gateway takes no more mailboxes for one message.
  int max_recipients = rpc::kMaxMailboxes;
  // None is taken while as many wait in the queue; its own limit is the spool's.
  int64_t max_queue_messages = INT64_MAX;
  // Of a user's messages; nullopt: as many as come.
  std::optional<limits::Rate> recipients;
  process::Clock clock = process::SystemClock();
};

// What the submission of every message needs. Thread-safe; what stands here must outlive every
// call.
struct SubmissionParts {
  SubmissionOptions options;
  Spool* spool = nullptr;
  clients::DirectoryClient* directory = nullptr;
  const identity::TokenVerifier* verifier = nullptr;
  limits::Limits* limits = nullptr;
  // Told of every message after its commit, with what it made due: nothing, when it is a
  // repetition.
  std::function<void(std::vector<JobKey>)> committed;
};

// One message: Begin, Add as often as there are pieces, End. One operation at a time; after an
// error it is over. Everything the gateway checked is checked again: the service decides.
// ABORTED: a local recipient vanished since RCPT; the transaction may be tried again.
// FAILED_PRECONDITION: the account has written to too many of late.
class Submission {
 public:
  explicit Submission(const SubmissionParts* parts) : parts_(*parts) {}

  boost::asio::awaitable<absl::Status> Begin(Caller caller, relay::v1::EnqueueHeader header);
  boost::asio::awaitable<absl::Status> Add(absl::string_view octets);
  boost::asio::awaitable<absl::StatusOr<relay::v1::EnqueueResponse>> End();

 private:
  bool user() const { return parts_.options.from == SubmissionOptions::From::kUser; }
  // Once the header section is known: whose it is, and recipients.
  boost::asio::awaitable<absl::Status> Admit();
  // Adds a From where there is none.
  boost::asio::awaitable<absl::Status> CheckOriginators();
  boost::asio::awaitable<absl::Status> CheckRecipients();
  // Counts `recipients` of the account's rate; negative: gives them back.
  boost::asio::awaitable<absl::Status> CountRecipients(int64_t recipients);
  // Into pieces, and full pieces into the spool.
  boost::asio::awaitable<absl::Status> Keep(absl::string_view octets);
  absl::Status CheckLineEnds(absl::string_view octets);

  const SubmissionParts& parts_;
  Caller caller_;
  relay::v1::EnqueueHeader header_;
  // A user's; empty: anybody's.
  std::string account_id_;
  std::vector<NewMessage::Recipient> recipients_;
  std::unique_ptr<SpoolWriter> writer_;
  Digest body_digest_;
  uint64_t octets_ = 0;
  char last_octet_ = '\n';
  // What came before the header section was whole.
  std::string start_;
  bool admitted_ = false;
  // Not yet a full piece.
  std::string piece_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_SUBMISSION_H_
