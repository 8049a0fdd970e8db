#include "services/storage/postgresql/connection.h"

#include <poll.h>
#include <postgresql/libpq-fe.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "services/config/small_file.h"

namespace postern::storage::postgresql {
namespace {

constexpr size_t kMaxPasswordOctets = 4096;
// A server that is stopped keeps its connections: beyond the statement's own timeout it is gone.
constexpr absl::Duration kSilence = absl::Seconds(1);
// For how long a transaction whose client is not heard of any more (its network lost every packet)
// may be in others' way, by its locks. We compute for far less between two statements.
constexpr absl::Duration kIdleInTransaction = absl::Seconds(5);

struct ClearResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
using Result = std::unique_ptr<PGresult, ClearResult>;

// One line, without the "ERROR:" that libpq puts before it.
std::string OneLine(const char* message) {
  std::string text(absl::StripAsciiWhitespace(message == nullptr ? "" : message));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// By SQLSTATE (PostgreSQL, Appendix A).
absl::Status StatusOf(absl::string_view state, absl::string_view message) {
  const std::string text = absl::StrCat("postgresql: ", message, " (", state, ")");
  // foreign_key_violation
  if (state == "23503") return absl::FailedPreconditionError(text);
  // unique_violation
  if (state == "23505") return absl::AlreadyExistsError(text);
  // serialization_failure, deadlock_detected, lock_not_available
  if (state == "40001" || state == "40P01" || state == "55P03") return absl::AbortedError(text);
  // disk_full
  if (state == "53100") return absl::ResourceExhaustedError(text);
  // Connections, other resources, an operator's or a timeout's intervention, a server that takes no
  // writes any more (read_only_sql_transaction), I/O.
  for (const absl::string_view kind : {"08", "53", "57", "58"}) {
    if (absl::StartsWith(state, kind)) return absl::UnavailableError(text);
  }
  // And idle_in_transaction_session_timeout: this process did not run for long.
  if (state == "25006" || state == "25P03") return absl::UnavailableError(text);
  return absl::InternalError(text);
}

class Rows final : public SqlRows {
 public:
  Rows(Result result, bool backwards) : result_(std::move(result)), backwards_(backwards) {
    if (!absl::SimpleAtoi(PQcmdTuples(result_.get()), &changes_)) changes_ = 0;
  }

  size_t size() const override { return static_cast<size_t>(PQntuples(result_.get())); }
  bool IsNull(size_t row, int column) const override {
    return PQgetisnull(result_.get(), At(row), column) != 0;
  }
  // Binary: int2, int4, int8 or bool, its most significant octet first.
  int64_t Int(size_t row, int column) const override {
    const absl::string_view octets = Octets(row, column);
    if (octets.size() > sizeof(int64_t)) return 0;
    uint64_t bits = !octets.empty() && (octets[0] & 0x80) != 0 ? ~uint64_t{0} : 0;
    for (const char octet : octets) bits = bits << 8 | static_cast<unsigned char>(octet);
    return static_cast<int64_t>(bits);
  }
  absl::string_view Octets(size_t row, int column) const override {
    return {PQgetvalue(result_.get(), At(row), column),
            static_cast<size_t>(PQgetlength(result_.get(), At(row), column))};
  }
  int64_t changes() const override { return changes_; }

 private:
  int At(size_t row) const { return static_cast<int>(backwards_ ? size() - 1 - row : row); }

  const Result result_;
  const bool backwards_;
  int64_t changes_ = 0;
};

// What PQsendQueryPrepared takes: numbers as text, so that the server decides their type, octets
// binary.
class Parameters {
 public:
  explicit Parameters(absl::Span<const SqlValue> values) {
    texts_.reserve(values.size());
    for (const SqlValue& value : values) {
      formats_.push_back(value.kind == SqlValue::Kind::kBlob ? 1 : 0);
      switch (value.kind) {
        case SqlValue::Kind::kNull:
          values_.push_back(nullptr);
          lengths_.push_back(0);
          break;
        case SqlValue::Kind::kInt:
          texts_.push_back(absl::StrCat(value.number));
          values_.push_back(texts_.back().c_str());
          lengths_.push_back(0);
          break;
        case SqlValue::Kind::kText:
          // libpq wants a NUL behind it.
          texts_.emplace_back(value.octets);
          values_.push_back(texts_.back().c_str());
          lengths_.push_back(0);
          break;
        case SqlValue::Kind::kBlob:
          values_.push_back(value.octets.data() == nullptr ? "" : value.octets.data());
          lengths_.push_back(static_cast<int>(value.octets.size()));
          break;
      }
    }
  }

  int size() const { return static_cast<int>(values_.size()); }
  const char* const* values() const { return values_.data(); }
  const int* lengths() const { return lengths_.data(); }
  const int* formats() const { return formats_.data(); }

 private:
  std::vector<std::string> texts_;
  std::vector<const char*> values_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
};

bool WithoutTls(const std::string& host) {
  return absl::StartsWith(host, "/") || host == "127.0.0.1" || host == "::1" || host == "localhost";
}

// "name:port", "[2001:db8::1]:port", "/folder"; the port may be absent.
void SplitHost(absl::string_view text, std::string* host, std::string* port) {
  *port = "";
  if (absl::StartsWith(text, "[")) {
    const size_t end = text.find(']');
    *host = std::string(text.substr(1, end - 1));
    if (end != absl::string_view::npos && end + 1 < text.size() && text[end + 1] == ':') {
      *port = std::string(text.substr(end + 2));
    }
    return;
  }
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) {
    *host = std::string(text);
  } else {
    *host = std::string(text.substr(0, colon));
    *port = std::string(text.substr(colon + 1));
  }
}

struct Keywords {
  std::vector<std::pair<const char*, std::string>> pairs;

  void Set(const char* name, std::string value) { pairs.emplace_back(name, std::move(value)); }
};

absl::StatusOr<Keywords> KeywordsOf(const Server& server) {
  Keywords keywords;
  std::vector<std::string> hosts;
  std::vector<std::string> ports;
  // A socket goes without whatever this says.
  const bool tls = !server.ca_file.empty();
  for (const std::string& text : server.hosts) {
    SplitHost(text, &hosts.emplace_back(), &ports.emplace_back());
    if (!tls && !WithoutTls(hosts.back())) {
      return absl::InvalidArgumentError(
          absl::StrCat("ca_file: absent, and ", text, " is reached over a network"));
    }
  }
  keywords.Set("host", absl::StrJoin(hosts, ","));
  keywords.Set("port", absl::StrJoin(ports, ","));
  keywords.Set("target_session_attrs", "read-write");
  keywords.Set("dbname", server.database);
  keywords.Set("user", server.user);
  if (!server.password_file.empty()) {
    absl::StatusOr<std::string> password =
        config::ReadSmallFile(server.password_file, kMaxPasswordOctets);
    if (!password.ok()) return password.status();
    keywords.Set("password", std::string(absl::StripTrailingAsciiWhitespace(*password)));
  }
  // Nothing of what the environment or a home directory says.
  keywords.Set("passfile", "/dev/null/none");
  keywords.Set("service", "");
  keywords.Set("sslmode", tls ? "verify-full" : "disable");
  keywords.Set("gssencmode", "disable");
  if (tls) {
    keywords.Set("sslrootcert", server.ca_file);
    keywords.Set("ssl_min_protocol_version", "TLSv1.2");
    keywords.Set("sslcert",
                 server.certificate_file.empty() ? "/dev/null/none" : server.certificate_file);
    if (!server.private_key_file.empty()) keywords.Set("sslkey", server.private_key_file);
  }
  keywords.Set("connect_timeout",
               absl::StrCat(std::max<int64_t>(2, absl::ToInt64Seconds(server.connect_timeout))));
  keywords.Set("client_encoding", "UTF8");
  keywords.Set("application_name", server.application);
  keywords.Set(
      "options",
      absl::StrCat("-c statement_timeout=", absl::ToInt64Milliseconds(server.statement_timeout),
                   " -c lock_timeout=", absl::ToInt64Milliseconds(server.statement_timeout),
                   " -c idle_in_transaction_session_timeout=",
                   absl::ToInt64Milliseconds(kIdleInTransaction)));
  return keywords;
}

// What libpq says of hosts that are not there, in its own words (it has no codes for them).
bool SaysNo(absl::string_view message) {
  if (absl::StrContains(message, "certificate")) return true;
  return absl::StrContains(message, "FATAL:") &&
         !absl::StrContains(message, "the database system is") &&
         !absl::StrContains(message, "too many") &&
         !absl::StrContains(message, "remaining connection slots");
}

}  // namespace

struct Connection::Rep {
  ~Rep() { PQfinish(handle); }

  // Sends what is to be sent and reads until libpq has a whole result.
  absl::Status Await(absl::Time deadline) {
    while (true) {
      const int unsent = PQflush(handle);
      if (unsent < 0) return Broken();
      if (unsent == 0 && PQisBusy(handle) == 0) return absl::OkStatus();
      pollfd wait{.fd = PQsocket(handle),
                  .events = static_cast<short>(POLLIN | (unsent > 0 ? POLLOUT : 0)),
                  .revents = 0};
      const absl::Duration left = deadline - absl::Now();
      const int ready = left <= absl::ZeroDuration()
                            ? 0
                            : poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) {
        broken = true;
        return absl::UnavailableError("postgresql: the server says nothing");
      }
      if (PQconsumeInput(handle) != 1) return Broken();
    }
  }

  // The last result of what was sent, all being read; the first error wins.
  absl::StatusOr<Result> Take() {
    const absl::Time deadline = absl::Now() + statement_timeout + kSilence;
    Result last;
    absl::Status error;
    while (true) {
      if (absl::Status status = Await(deadline); !status.ok()) return status;
      Result result(PQgetResult(handle));
      if (result == nullptr) break;
      const ExecStatusType kind = PQresultStatus(result.get());
      if (kind == PGRES_COMMAND_OK || kind == PGRES_TUPLES_OK) {
        last = std::move(result);
        continue;
      }
      if (!error.ok()) continue;
      error = kind == PGRES_PIPELINE_ABORTED ? absl::AbortedError("postgresql: an error before it")
                                             : ErrorOf(result.get());
    }
    if (PQstatus(handle) != CONNECTION_OK) broken = true;
    if (!error.ok()) return error;
    if (last == nullptr) return Broken();
    return last;
  }

  // The end of a pipeline.
  absl::Status TakeSync() {
    if (absl::Status status = Await(absl::Now() + statement_timeout + kSilence); !status.ok()) {
      return status;
    }
    const Result result(PQgetResult(handle));
    return PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC ? absl::OkStatus() : Broken();
  }

  // The name that a text is prepared under; fresh: it is to be prepared yet.
  const std::string& NameOf(absl::string_view sql, bool* fresh) {
    auto known = prepared.find(sql);
    *fresh = known == prepared.end();
    if (*fresh) known = prepared.emplace(sql, absl::StrCat("s", ++names)).first;
    return known->second;
  }

  absl::Status SendPrepare(const std::string& name, absl::string_view sql,
                           const Parameters& parameters) {
    const bool sent = PQsendPrepare(handle, name.c_str(), std::string(sql).c_str(),
                                    parameters.size(), nullptr) == 1;
    return sent ? absl::OkStatus() : Broken();
  }

  absl::Status SendQuery(const std::string& name, const Parameters& parameters) {
    const bool sent =
        PQsendQueryPrepared(handle, name.c_str(), parameters.size(), parameters.values(),
                            parameters.lengths(), parameters.formats(), /*resultFormat=*/1) == 1;
    return sent ? absl::OkStatus() : Broken();
  }

  absl::Status ErrorOf(const PGresult* result) {
    const char* const state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state == nullptr) return Broken();
    // Not the detail: it may hold values.
    const char* const message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    absl::Status status = StatusOf(state, OneLine(message));
    // It was demoted, or is going: the next connection finds its successor.
    if (absl::string_view(state) == "25006" || absl::StartsWith(state, "57P")) broken = true;
    return status;
  }

  absl::Status Broken() {
    broken = true;
    return absl::UnavailableError(absl::StrCat("postgresql: ", OneLine(PQerrorMessage(handle))));
  }

  std::unique_ptr<SqlRows> RowsOf(Result result, absl::string_view sql) const {
    return std::make_unique<Rows>(std::move(result),
                                  returning_backwards && absl::StrContains(sql, "RETURNING"));
  }

  PGconn* handle = nullptr;
  bool returning_backwards = false;
  absl::Duration statement_timeout;
  bool broken = false;
  // Names of prepared statements by their text; none is used again.
  absl::flat_hash_map<std::string, std::string> prepared;
  int names = 0;
};

Connection::Connection(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
Connection::~Connection() = default;

absl::StatusOr<std::unique_ptr<Connection>> Connection::Open(const Server& server) {
  absl::StatusOr<Keywords> keywords = KeywordsOf(server);
  if (!keywords.ok()) return keywords.status();
  std::vector<const char*> names;
  std::vector<const char*> values;
  for (const auto& [name, value] : keywords->pairs) {
    names.push_back(name);
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  auto rep = std::make_unique<Rep>();
  rep->statement_timeout = server.statement_timeout;
  rep->returning_backwards = server.returning_backwards;
  rep->handle = PQconnectdbParams(names.data(), values.data(), /*expand_dbname=*/0);
  if (rep->handle == nullptr) return absl::ResourceExhaustedError("postgresql: out of memory");
  if (PQstatus(rep->handle) != CONNECTION_OK) {
    const std::string why = absl::StrCat("postgresql: ", OneLine(PQerrorMessage(rep->handle)));
    return SaysNo(why) ? absl::FailedPreconditionError(why) : absl::UnavailableError(why);
  }
  // Its notices would go to stderr.
  PQsetNoticeReceiver(
      rep->handle, [](void*, const PGresult*) {}, nullptr);
  if (PQsetnonblocking(rep->handle, 1) != 0) return rep->Broken();
  return std::unique_ptr<Connection>(new Connection(std::move(rep)));
}

absl::StatusOr<std::unique_ptr<SqlRows>> Connection::Run(absl::string_view sql,
                                                         absl::Span<const SqlValue> values) {
  Rep& rep = *rep_;
  if (rep.broken) return absl::UnavailableError("postgresql: the connection is broken");
  const Parameters parameters(values);
  bool fresh = false;
  const std::string& name = rep.NameOf(sql, &fresh);
  if (fresh) {
    absl::Status prepared = rep.SendPrepare(name, sql, parameters);
    if (prepared.ok()) prepared = rep.Take().status();
    if (!prepared.ok()) {
      rep.prepared.erase(sql);
      return prepared;
    }
  }
  if (absl::Status status = rep.SendQuery(name, parameters); !status.ok()) return status;
  absl::StatusOr<Result> result = rep.Take();
  if (!result.ok()) return result.status();
  return rep.RowsOf(*std::move(result), sql);
}

absl::StatusOr<std::vector<std::unique_ptr<SqlRows>>> Connection::RunAll(
    absl::Span<const Statement> statements) {
  Rep& rep = *rep_;
  if (rep.broken) return absl::UnavailableError("postgresql: the connection is broken");
  if (PQenterPipelineMode(rep.handle) != 1) return rep.Broken();
  std::vector<absl::string_view> prepared;
  // For each that was sent, whether it only prepares.
  std::vector<bool> sent;
  absl::Status status;
  for (const Statement& statement : statements) {
    const Parameters parameters(statement.values);
    bool fresh = false;
    const std::string& name = rep.NameOf(statement.sql, &fresh);
    if (fresh) {
      prepared.push_back(statement.sql);
      sent.push_back(true);
      status = rep.SendPrepare(name, statement.sql, parameters);
    }
    if (status.ok()) status = rep.SendQuery(name, parameters);
    if (!status.ok()) return status;
    sent.push_back(false);
  }
  if (PQpipelineSync(rep.handle) != 1) return rep.Broken();
  std::vector<std::unique_ptr<SqlRows>> answers;
  for (const bool only_prepares : sent) {
    absl::StatusOr<Result> result = rep.Take();
    if (rep.broken) return result.status();
    if (status.ok()) status = result.status();
    if (status.ok() && !only_prepares)
      answers.push_back(rep.RowsOf(*std::move(result), statements[answers.size()].sql));
  }
  if (absl::Status synced = rep.TakeSync(); !synced.ok()) return synced;
  if (PQexitPipelineMode(rep.handle) != 1) return rep.Broken();
  if (!status.ok()) {
    // What was to be prepared behind the error was not.
    for (const absl::string_view sql : prepared) rep.prepared.erase(sql);
    return status;
  }
  return answers;
}

absl::Status Connection::Execute(absl::string_view sql) {
  if (rep_->broken) return absl::UnavailableError("postgresql: the connection is broken");
  if (PQsendQuery(rep_->handle, std::string(sql).c_str()) != 1) return rep_->Broken();
  return rep_->Take().status();
}

bool Connection::StillGood() {
  // A last word first, and the end after it.
  for (int i = 0; i < 4 && !rep_->broken; ++i) {
    pollfd wait{.fd = PQsocket(rep_->handle), .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, 0) <= 0) return true;
    rep_->broken = PQconsumeInput(rep_->handle) != 1;
    PQisBusy(rep_->handle);  // Takes in what was read.
  }
  return !rep_->broken;
}

bool Connection::broken() const { return rep_->broken; }

bool Connection::in_transaction() const {
  return PQtransactionStatus(rep_->handle) != PQTRANS_IDLE;
}

int Connection::server_version() const { return PQserverVersion(rep_->handle); }

}  // namespace postern::storage::postgresql
