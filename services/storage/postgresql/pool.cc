#include "services/storage/postgresql/pool.h"

#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace postern::storage::postgresql {
namespace {

// Of a transaction that lost against another one.
constexpr int kMaxAttempts = 5;
// In which a transaction that lost, or a connection that broke while it was idle, says so.
constexpr absl::Duration kSoon = absl::Seconds(1);
// For so long nobody else waits for a server that one has waited for in vain; by then the watch
// knows.
constexpr absl::Duration kRest = absl::Seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<Connection>> Pool::Take() {
  const absl::Time until = absl::Now() + options_.patience;
  {
    absl::MutexLock lock(&mutex_);
    while (true) {
      if (!state_.ok()) return state_;
      if (absl::Now() < silent_until_) {
        return absl::UnavailableError("postgresql: the server said nothing just now");
      }
      while (!idle_.empty()) {
        std::unique_ptr<Connection> connection = std::move(idle_.back());
        idle_.pop_back();
        // The server may have gone and come back meanwhile.
        if (connection->StillGood()) return connection;
        --connected_;
      }
      if (IsToOpen()) break;
      if (HasRoom() && !growing_) {
        growing_ = grower_.Submit([this] { Grow(); });
        opening_ += growing_ ? 1 : 0;
      }
      ++waiting_;
      const bool over = mutex_.AwaitWithDeadline(absl::Condition(this, &Pool::WaitIsOver), until);
      --waiting_;
      if (over) continue;
      if (!growth_.ok()) return growth_;
      return absl::UnavailableError(
          absl::StrCat("postgresql: all ", options_.max_connections, " connections are in use"));
    }
    ++opening_;
  }
  absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(server_);
  absl::MutexLock lock(&mutex_);
  --opening_;
  connected_ += connection.ok() ? 1 : 0;
  return connection;
}

void Pool::Grow() {
  while (true) {
    absl::StatusOr<std::unique_ptr<Connection>> connection = Connection::Open(server_);
    absl::MutexLock lock(&mutex_);
    --opening_;
    growth_ = connection.status();
    if (connection.ok()) {
      ++connected_;
      idle_.push_back(*std::move(connection));
    }
    growing_ = connection.ok() && waiting_ > idle_.size() && HasRoom();
    if (!growing_) return;
    ++opening_;
  }
}

void Pool::Return(std::unique_ptr<Connection> connection) {
  const bool usable = !connection->broken() && !connection->in_transaction();
  absl::MutexLock lock(&mutex_);
  if (usable) {
    idle_.push_back(std::move(connection));
  } else {
    --connected_;
  }
}

void Pool::SetState(const absl::Status& state) {
  absl::MutexLock lock(&mutex_);
  state_ = state;
}

absl::Status Pool::Lend(OnBreak on_break, absl::FunctionRef<absl::Status(Connection&)> body) {
  thread_local absl::InsecureBitGen random;
  const absl::Time begun = absl::Now();
  for (int attempt = 1;; ++attempt) {
    absl::StatusOr<std::unique_ptr<Connection>> connection = Take();
    if (!connection.ok()) return connection.status();
    const absl::Time lent = absl::Now();
    const absl::Status status = body(**connection);
    const bool broken = (*connection)->broken();
    if (broken && absl::Now() - lent > kSoon) {
      absl::MutexLock lock(&mutex_);
      silent_until_ = absl::Now() + kRest;
    }
    if (!broken && (*connection)->in_transaction()) {
      (*connection)->Execute("ROLLBACK").IgnoreError();
    }
    Return(*std::move(connection));
    // Who has waited for long, for a lock or for an answer, would wait for as long again.
    if (attempt == kMaxAttempts || absl::Now() - begun > kSoon) return status;
    // A connection may have died while it was idle.
    const bool again = absl::IsAborted(status) || (on_break == OnBreak::kRepeat && broken &&
                                                   absl::IsUnavailable(status) && attempt == 1);
    if (!again) return status;
    // Those who met don't meet again.
    absl::SleepFor(absl::Milliseconds(absl::Uniform(random, 1, 10 * attempt)));
  }
}

absl::Status Pool::Transact(Access access, absl::FunctionRef<absl::Status(Sql&)> body) {
  const bool reads = access == Access::kRead;
  return Lend(reads ? OnBreak::kRepeat : OnBreak::kFail, [&](Connection& connection) {
    absl::Status status =
        connection.Execute(reads ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN");
    if (status.ok()) status = body(connection);
    return status.ok() ? connection.Execute("COMMIT") : status;
  });
}

absl::StatusOr<std::unique_ptr<SqlRows>> Pool::Query(absl::string_view sql,
                                                     absl::Span<const SqlValue> values) {
  std::unique_ptr<SqlRows> rows;
  const absl::Status status = Lend(OnBreak::kRepeat, [&](Connection& connection) {
    absl::StatusOr<std::unique_ptr<SqlRows>> answer = connection.Run(sql, values);
    if (answer.ok()) rows = *std::move(answer);
    return answer.status();
  });
  if (!status.ok()) return status;
  return rows;
}

absl::StatusOr<int64_t> Pool::Change(OnBreak on_break, absl::string_view sql,
                                     absl::Span<const SqlValue> values) {
  int64_t changes = 0;
  const absl::Status status = Lend(on_break, [&](Connection& connection) {
    absl::StatusOr<std::unique_ptr<SqlRows>> rows = connection.Run(sql, values);
    if (rows.ok()) changes = (*rows)->changes();
    return rows.status();
  });
  if (!status.ok()) return status;
  return changes;
}

}  // namespace postern::storage::postgresql
