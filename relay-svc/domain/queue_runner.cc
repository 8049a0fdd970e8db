#include "relay-svc/domain/queue_runner.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/random/random.h"
#include "absl/synchronization/mutex.h"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/executor_work_guard.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/steady_timer.hpp"
#include "relay-svc/domain/delivery_attempt.h"
#include "relay-svc/domain/due_window.h"
#include "relay-svc/domain/message_body.h"
#include "services/async/await.h"
#include "services/telemetry/log.h"
#include "services/telemetry/metrics.h"

namespace postern::relay {
namespace {

using boost::asio::awaitable;
using telemetry::Log;
using telemetry::LogLevel;

// Rows of one look for due work.
constexpr int kPageRows = 1000;
// Due work is looked for at least this often, whatever the spool said would be due next.
constexpr std::chrono::seconds kLongestSleep{60};
// The wait before the spool is asked again after it failed.
constexpr std::chrono::seconds kSpoolPause{1};
// The wait before a destination that others are busy with is looked at again.
constexpr std::chrono::seconds kBusyPause{1};
// For jobs that run when the runner is destroyed without a drain.
constexpr absl::Duration kLastGrace = absl::Seconds(1);
constexpr absl::Duration kForgetInterval = absl::Minutes(10);

const char* Name(DeliveryResult::Kind kind) {
  switch (kind) {
    case DeliveryResult::Kind::kDelivered:
      return "delivered";
    case DeliveryResult::Kind::kTemporary:
      return "temporary";
    case DeliveryResult::Kind::kPermanent:
      return "permanent";
  }
  return "";
}

struct Metrics {
  telemetry::Counter& jobs = telemetry::GetCounter("postern_relay_attempts_total",
                                                   "Attempts: one message, one destination.");
  telemetry::Counter& delivered = Results(DeliveryResult::Kind::kDelivered);
  telemetry::Counter& temporary = Results(DeliveryResult::Kind::kTemporary);
  telemetry::Counter& permanent = Results(DeliveryResult::Kind::kPermanent);
  telemetry::Counter& notices = telemetry::GetCounter(
      "postern_relay_notices_total", "Notices to senders that were spooled: of failure, of delay.");
  telemetry::Counter& forwarded = telemetry::GetCounter(
      "postern_relay_forwarded_total", "Messages that were sent on for aliases that leave.");
  telemetry::Gauge& running =
      telemetry::GetGauge("postern_relay_attempts_running", "Attempts now.");
  telemetry::Histogram& latency = telemetry::GetLatencyHistogram(
      "postern_relay_delivery_seconds", "From the commit to the delivery of a recipient.");

  telemetry::Counter& Of(DeliveryResult::Kind kind) {
    return kind == DeliveryResult::Kind::kDelivered   ? delivered
           : kind == DeliveryResult::Kind::kTemporary ? temporary
                                                      : permanent;
  }

 private:
  static telemetry::Counter& Results(DeliveryResult::Kind kind) {
    return telemetry::GetCounter("postern_relay_recipient_results_total",
                                 "Recipients by what an attempt came to.",
                                 {{"result", Name(kind)}});
  }
};

}  // namespace

// Everything but the constructor, the destructor and the posting functions runs on thread_. The
// coroutines keep it alive: what a drain abandoned may still answer until the process ends.
class QueueRunner::Loop : public std::enable_shared_from_this<QueueRunner::Loop> {
 public:
  Loop(QueueRunnerOptions options, Spool* spool, clients::DirectoryClient* directory,
       Deliverer* local, Deliverer* remote)
      : options_(std::move(options)),
        spool_(spool),
        directory_(directory),
        local_(local),
        remote_(remote),
        window_({.jobs = options_.window,
                 .jobs_per_destination = options_.window_per_destination,
                 .running_remote = options_.max_sessions,
                 .running_per_destination = options_.max_sessions_per_destination,
                 .running_local = options_.max_local_jobs}),
        timer_(context_),
        renewal_(context_) {}

  void Run() {
    boost::asio::post(context_, [this] {
      Find();
      RenewLater();
    });
    thread_ = std::thread([this] { context_.run(); });
  }

  void Offer(std::vector<JobKey> keys) {
    boost::asio::post(context_, [this, keys = std::move(keys)] {
      for (const JobKey& key : keys) Take(key);
      StartJobs();
    });
  }

  void Wake() {
    boost::asio::post(context_, [this] { Find(); });
  }

  bool Drain(absl::Duration grace) {
    if (!thread_.joinable()) return drained_;
    boost::asio::post(context_, [this] {
      stopping_ = true;
      local_->Stop();
      remote_->Stop();
      timer_.cancel();
      NoteIdle();
    });
    {
      absl::MutexLock lock(&mutex_);
      drained_ = mutex_.AwaitWithTimeout(absl::Condition(&idle_), grace);
    }
    if (drained_) {
      // The loop ends by itself, when the last callback has let go of it: a thread of the spool's
      // may still be on its way out of one.
      boost::asio::post(context_, [this] { renewal_.cancel(); });
      work_.reset();
    } else {
      context_.stop();
    }
    thread_.join();
    return drained_;
  }

 private:
  void Take(const JobKey& key) {
    // Found again later.
    if (window_.Add(key) == DueWindow::Added::kFull) left_behind_ = true;
  }

  void StartJobs() {
    if (stopping_) return;
    while (std::optional<JobKey> key = window_.Start()) {
      metrics_.running.Set(window_.running());
      boost::asio::co_spawn(context_, RunJob(shared_from_this(), *std::move(key)),
                            boost::asio::detached);
    }
  }

  void FinishJob(const JobKey& key, const std::vector<JobKey>& due) {
    window_.Finish(key);
    metrics_.running.Set(window_.running());
    for (const JobKey& next : due) Take(next);
    StartJobs();
    ++finished_since_find_;
    // There is room again, worth a look for what was left behind.
    if (left_behind_ && !finding_ &&
        (window_.size() == 0 || finished_since_find_ >= options_.window_per_destination / 2)) {
      Find();
    }
    NoteIdle();
  }

  void NoteIdle() {
    if (!stopping_ || window_.running() > 0 || finding_) return;
    absl::MutexLock lock(&mutex_);
    idle_ = true;
  }

  // Looks for due work; one look at a time.
  void Find() {
    if (stopping_) return;
    if (finding_) {
      find_again_ = true;
      return;
    }
    finding_ = true;
    boost::asio::co_spawn(context_, FindDue(shared_from_this()), boost::asio::detached);
  }

  static awaitable<void> FindDue(std::shared_ptr<Loop> self) {
    absl::Time next_due = absl::InfiniteFuture();
    bool failed = false;
    self->left_behind_ = false;
    self->finished_since_find_ = 0;
    DueCursor cursor;
    while (!self->stopping_) {
      const absl::Time now = self->options_.clock();
      absl::StatusOr<DuePage> page =
          co_await async::Await<absl::StatusOr<DuePage>>([&](async::Done<DuePage> done) {
            self->spool_->FindDue(now, cursor, kPageRows, std::move(done));
          });
      if (!page.ok()) {
        Log(LogLevel::kError, "the spool can't be read", {{"status", page.status().ToString()}});
        failed = true;
        break;
      }
      for (const JobKey& key : page->keys) self->Take(key);
      self->StartJobs();
      next_due = page->next_due;
      cursor = page->cursor;
      if (page->end) break;
      if (self->window_.full()) {
        self->left_behind_ = true;
        break;
      }
    }
    self->Forget();
    self->finding_ = false;
    if (self->stopping_) {
      self->NoteIdle();
      co_return;
    }
    if (std::exchange(self->find_again_, false)) {
      self->Find();
      co_return;
    }
    if (failed) {
      self->SleepFor(kSpoolPause);
      co_return;
    }
    self->SleepUntil(next_due);
  }

  void SleepUntil(absl::Time due) {
    wake_at_ = due;
    const absl::Duration wait =
        std::clamp(due - options_.clock(), absl::ZeroDuration(), absl::FromChrono(kLongestSleep));
    SleepFor(absl::ToChronoMilliseconds(wait) + std::chrono::milliseconds(1));
  }

  void SleepFor(std::chrono::milliseconds time) {
    timer_.expires_after(time);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (!error) Find();
    });
  }

  void Forget() {
    const absl::Time now = options_.clock();
    if (now < forgotten_at_ + kForgetInterval) return;
    forgotten_at_ = now;
    spool_->ForgetDeliveryIds(now - options_.delivery_id_retention, [](absl::Status status) {
      if (!status.ok()) {
        Log(LogLevel::kWarning, "old delivery ids stay", {{"status", status.ToString()}});
      }
    });
  }

  // Jobs of this process stay its own while they run, those that a drain waits for too.
  void RenewLater() {
    renewal_.expires_after(absl::ToChronoMilliseconds(options_.claim / 5));
    renewal_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      RenewLater();
      if (claims_.empty()) return;
      std::vector<JobClaim> claims;
      for (const auto& [key, claim] : claims_) claims.push_back({key.queue_id, claim});
      spool_->Renew(std::move(claims), options_.clock() + options_.claim, [](absl::Status status) {
        if (!status.ok()) {
          Log(LogLevel::kWarning, "claims can't be renewed", {{"status", status.ToString()}});
        }
      });
    });
  }

  // Returns when the spool has what became of the job, whatever it takes: without it, a delivered
  // recipient would be delivered to again.
  awaitable<Committed> Record(const JobOutcome& outcome) {
    boost::asio::steady_timer pause(context_);
    while (true) {
      absl::StatusOr<Committed> committed = co_await async::Await<absl::StatusOr<Committed>>(
          [&](async::Done<Committed> done) { spool_->Record(outcome, std::move(done)); });
      if (committed.ok()) co_return *std::move(committed);
      if (absl::IsFailedPrecondition(committed.status())) {
        Log(LogLevel::kError, "the outcome of a delivery is lost: another has claimed the job",
            {{"queue_id", outcome.queue_id}});
        co_return Committed();
      }
      Log(LogLevel::kError, "the outcome of a delivery can't be written, trying again",
          {{"queue_id", outcome.queue_id}, {"status", committed.status().ToString()}});
      pause.expires_after(kSpoolPause);
      boost::system::error_code ignored;
      co_await pause.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
    }
  }

  static awaitable<void> RunJob(std::shared_ptr<Loop> self, JobKey key) {
    const bool local = key.destination == kLocalDestination;
    absl::StatusOr<std::optional<Job>> job =
        co_await async::Await<absl::StatusOr<std::optional<Job>>>(
            [&](async::Done<std::optional<Job>> done) {
              const absl::Time now = self->options_.clock();
              self->spool_->Claim(key, now, now + self->options_.claim,
                                  local ? 0 : self->options_.max_sessions_per_destination,
                                  std::move(done));
            });
    if (!job.ok() || !job->has_value()) {
      if (absl::IsResourceExhausted(job.status())) {
        self->SleepFor(kBusyPause);
      } else if (!job.ok()) {
        Log(LogLevel::kError, "the spool can't be read",
            {{"queue_id", key.queue_id}, {"status", job.status().ToString()}});
        self->SleepFor(kSpoolPause);
      }
      self->FinishJob(key, {});
      co_return;
    }
    self->claims_[key] = (*job)->claim;
    std::vector<JobKey> due = co_await self->Attempt(**job);
    self->claims_.erase(key);
    self->FinishJob(key, due);
  }

  awaitable<std::vector<JobKey>> Attempt(const Job& job) {
    metrics_.jobs.Add();
    MessageBody body(spool_, job.message);
    const std::vector<DeliveryResult> results =
        co_await AttemptDelivery(job, body, directory_, local_, remote_);
    const absl::Time now = options_.clock();
    for (size_t i = 0; i < results.size(); ++i) {
      const int attempt = job.recipients[i].attempts + 1;
      Note(job, job.recipients[i].address, attempt, results[i], now);
      for (const DeliveryResult& member : results[i].members) {
        Note(job, member.address, attempt, member, now);
      }
    }

    // Read before, so it is at hand; empty when even that failed.
    const absl::StatusOr<std::shared_ptr<const std::string>> start = co_await body.FirstPiece();
    const JobOutcome outcome = DecideOutcome(
        job, results, start.ok() ? absl::string_view(**start) : absl::string_view(),
        OutcomeContext{options_.schedule, options_.delay_warning, options_.hostname, now, random_});
    if (outcome.notice.has_value()) {
      metrics_.notices.Add();
      Log(LogLevel::kInfo, "notice to the sender spooled",
          {{"queue_id", job.message.queue_id},
           {"notice_queue_id", outcome.notice->message.message.queue_id}});
    }
    const Committed committed = co_await Record(outcome);
    // Nothing is due when another had the job, or the message was deleted.
    if (!committed.due.empty()) NoteForwarded(job, outcome);
    for (const RecipientOutcome& recipient : outcome.recipients) {
      if (recipient.kind == RecipientOutcome::Kind::kWaiting) WakeBy(recipient.next_attempt_at);
    }
    for (const AddedRecipient& added : outcome.added) WakeBy(added.next_attempt_at);
    co_return committed.due;
  }

  void NoteForwarded(const Job& job, const JobOutcome& outcome) {
    for (const NewMessage& message : outcome.forwarded) {
      metrics_.forwarded.Add();
      Log(LogLevel::kInfo, "message forwarded",
          {{"queue_id", job.message.queue_id},
           {"forwarded_queue_id", message.message.queue_id},
           {"sender", message.message.sender},
           {"recipients", message.recipients.size()}});
    }
  }

  void WakeBy(absl::Time due) {
    if (!stopping_ && !finding_ && due < wake_at_) SleepUntil(due);
    // A look that is under way may have passed this recipient.
    if (finding_) find_again_ = true;
  }

  void Note(const Job& job, const std::string& recipient, int attempt, const DeliveryResult& result,
            absl::Time now) {
    metrics_.Of(result.kind).Add();
    if (result.kind == DeliveryResult::Kind::kDelivered) {
      metrics_.latency.Observe(absl::ToDoubleSeconds(now - job.message.enqueued_at));
    }
    Log(LogLevel::kInfo, "delivery attempt",
        {{"queue_id", job.message.queue_id},
         {"trace", job.message.trace_id},
         {"recipient", recipient},
         {"result", Name(result.kind)},
         {"host", result.remote_mta},
         {"reply", result.text},
         {"tls", result.tls},
         {"attempt", attempt}});
  }

  const QueueRunnerOptions options_;
  Spool* const spool_;
  clients::DirectoryClient* const directory_;
  Deliverer* const local_;
  Deliverer* const remote_;
  Metrics metrics_;
  absl::BitGen random_;

  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      context_.get_executor()};
  DueWindow window_;
  // Waits for the next due recipient.
  boost::asio::steady_timer timer_;
  boost::asio::steady_timer renewal_;
  // Of what runs.
  absl::flat_hash_map<JobKey, std::string> claims_;
  absl::Time wake_at_ = absl::InfinitePast();
  absl::Time forgotten_at_ = absl::InfinitePast();
  bool stopping_ = false;
  bool finding_ = false;
  bool find_again_ = false;
  // The spool has due work that found no place in the window.
  bool left_behind_ = false;
  size_t finished_since_find_ = 0;

  absl::Mutex mutex_;
  bool idle_ ABSL_GUARDED_BY(mutex_) = false;
  // Of whoever drains.
  bool drained_ = false;
  std::thread thread_;
};

QueueRunner::QueueRunner(QueueRunnerOptions options, Spool* spool,
                         clients::DirectoryClient* directory, Deliverer* local, Deliverer* remote)
    : loop_(std::make_shared<Loop>(std::move(options), spool, directory, local, remote)) {
  loop_->Run();
}

QueueRunner::~QueueRunner() { Drain(kLastGrace); }

void QueueRunner::Offer(std::vector<JobKey> keys) { loop_->Offer(std::move(keys)); }

void QueueRunner::Wake() { loop_->Wake(); }

bool QueueRunner::Drain(absl::Duration grace) { return loop_->Drain(grace); }

}  // namespace postern::relay
