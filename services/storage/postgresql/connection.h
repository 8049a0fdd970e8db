// A connection to PostgreSQL with absl::Status and deadlines, over libpq (docs/adr/0035).
#ifndef POSTERN_SERVICES_STORAGE_POSTGRESQL_CONNECTION_H_
#define POSTERN_SERVICES_STORAGE_POSTGRESQL_CONNECTION_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "services/storage/sql/sql.h"

namespace postern::storage::postgresql {

// Where the database is and how it is reached. Files are read at every connect, so that they may be
// swapped.
struct Server {
  // "db1.mail.svc", "db1.mail.svc:5433", "/run/postgresql" (a socket's folder), tried in order.
  // With several, the one that takes writes is looked for: after a failover that is another one.
  std::vector<std::string> hosts;
  std::string database;
  std::string user;
  // The password, with or without a line end; empty: none.
  std::string password_file;
  // TLS with verify-full against this CA. Only sockets and loopback go without.
  std::string ca_file;
  // A client certificate; empty: none.
  std::string certificate_file;
  std::string private_key_file;
  absl::Duration connect_timeout = absl::Seconds(3);
  // A statement that takes longer is cancelled; a server that says nothing for a second longer is
  // left.
  absl::Duration statement_timeout = absl::Seconds(3);
  // Seen in pg_stat_activity.
  std::string application;
  // Gives the rows of every RETURNING backwards, for tests: no order of them is promised, and a
  // database of several servers has another one than PostgreSQL.
  bool returning_backwards = false;
};

// As Sql::Run's parameters.
struct Statement {
  absl::string_view sql;
  std::vector<SqlValue> values;
};

// One thread at a time. Errors as Sql's; after UNAVAILABLE a COMMIT's outcome is unknown.
class Connection final : public Sql {
 public:
  // UNAVAILABLE: no host answers, or none that takes writes. FAILED_PRECONDITION: it answers, and
  // says no (password, certificate, database).
  static absl::StatusOr<std::unique_ptr<Connection>> Open(const Server& server);
  ~Connection() override;

  absl::StatusOr<std::unique_ptr<SqlRows>> Run(absl::string_view sql,
                                               absl::Span<const SqlValue> values) override;
  // All of them in one round trip (libpq's pipeline mode), and what each gave. The first error is
  // the answer, and what follows it did not run; without a BEGIN among them they are one
  // transaction.
  absl::StatusOr<std::vector<std::unique_ptr<SqlRows>>> RunAll(
      absl::Span<const Statement> statements);
  // Several statements without parameters, in one round trip.
  absl::Status Execute(absl::string_view sql);

  // Whether it is of use still, as far as what has come in tells: a server that went has said so,
  // or its end has been closed. Waits for nothing.
  bool StillGood();
  // Of no use any more: it broke, or its server takes no writes any more.
  bool broken() const;
  bool in_transaction() const;
  // Of the server: 150020 is 15.20.
  int server_version() const;

 private:
  struct Rep;
  explicit Connection(std::unique_ptr<Rep> rep);
  const std::unique_ptr<Rep> rep_;
};

}  // namespace postern::storage::postgresql

#endif  // POSTERN_SERVICES_STORAGE_POSTGRESQL_CONNECTION_H_
