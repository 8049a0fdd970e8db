// Delivers what the spool holds: takes what is due, one job per message and destination, and writes
// down what became of it.
#ifndef POSTERN_RELAY_SVC_DOMAIN_QUEUE_RUNNER_H_
#define POSTERN_RELAY_SVC_DOMAIN_QUEUE_RUNNER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "relay-svc/domain/delivery.h"
#include "relay-svc/domain/retry_schedule.h"
#include "relay-svc/domain/spool.h"
#include "services/clients/auth_client.h"
#include "services/process/clock.h"

namespace postern::relay {

struct QueueRunnerOptions {
  // Of notices to senders.
  std::string hostname;
  RetrySchedule schedule{{}, absl::Hours(120)};
  // As OutcomeContext's.
  absl::Duration delay_warning = absl::InfiniteDuration();
  // Remote jobs at a time.
  int max_sessions = 50;
  int max_sessions_per_destination = 10;
  // Local jobs at a time.
  int max_local_jobs = 64;
  // Jobs known at a time, running ones included; what is due beyond stays in the spool.
  size_t window = 2000;
  size_t window_per_destination = 200;
  // How long the spool keeps a job for this process without a word from it. Running ones are kept
  // for as long as they take.
  absl::Duration claim = absl::Minutes(2);
  // How long a delivery_id is remembered.
  absl::Duration delivery_id_retention = absl::Hours(24);
  process::Clock clock = process::SystemClock();
};

// Owns its thread. What it is given must outlive it. After a crash or a cut-off drain, everything
// that was under way is due again in the spool.
class QueueRunner {
 public:
  QueueRunner(QueueRunnerOptions options, Spool* spool, clients::DirectoryClient* directory,
              Deliverer* local, Deliverer* remote);
  // Drains, with a grace of a second, if nobody did.
  ~QueueRunner();
  QueueRunner(const QueueRunner&) = delete;
  QueueRunner& operator=(const QueueRunner&) = delete;

  // These jobs are due now (a commit, a released message). Any thread; never blocks.
  void Offer(std::vector<JobKey> keys);
  // Something may have become due. Any thread; never blocks.
  void Wake();
  // Starts no job any more; running ones may finish for `grace`. False: some did not; they are
  // abandoned and due again at the next start. Blocks; one thread.
  bool Drain(absl::Duration grace);

 private:
  class Loop;
  std::shared_ptr<Loop> loop_;
};

}  // namespace postern::relay

#endif  // POSTERN_RELAY_SVC_DOMAIN_QUEUE_RUNNER_H_
