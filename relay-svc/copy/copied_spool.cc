#include "relay-svc/copy/copied_spool.h"

#include "relay-svc/postgresql/postgresql_spool.h"
#include "relay-svc/sqlite/sqlite_spool.h"

namespace postern::relay {
namespace {

using storage::copy::Number;
using storage::copy::Octets;
using storage::copy::Table;
using storage::copy::Text;
using storage::copy::TextInSqlite;

// In the order of arrival, in which SQLite numbers them.
Table Messages() {
  return {
      .name = "message",
      .columns = {Number("enqueued_at"), Text("queue_id"), TextInSqlite("sender"), Number("octets"),
                  Number("held"), Number("smtputf8"), Number("eight_bit"), Text("trace_id"),
                  Octets("sha256")},
      .key_columns = 2,
      // Without its body a message is an error when it is written.
      .sqlite = {.select = "SELECT m.enqueued_at, m.queue_id, m.sender, m.octets, m.held, "
                           "m.smtputf8, m.eight_bit, m.trace_id, b.sha256 FROM message m "
                           "LEFT JOIN body b ON b.body_id = m.body_id "
                           "ORDER BY m.enqueued_at, m.queue_id",
                 .insert = "INSERT INTO message (enqueued_at, queue_id, sender, octets, held, "
                           "smtputf8, eight_bit, trace_id, body_id) VALUES (?1, ?2, ?3, ?4, ?5, "
                           "?6, ?7, ?8, (SELECT body_id FROM body WHERE sha256 = ?9))"},
      .postgresql = {.select = "SELECT enqueued_at, queue_id, sender, octets, held, smtputf8, "
                               "eight_bit, trace_id, sha256 FROM message "
                               "ORDER BY enqueued_at, queue_id",
                     .insert = "INSERT INTO message (shard, enqueued_at, queue_id, sender, "
                               "octets, held, smtputf8, eight_bit, trace_id, sha256) "
                               "VALUES (0, $1, $2, $3, $4, $5, $6, $7, $8, $9)"}};
}

// In SQLite their numbers say the order of the envelope, in PostgreSQL their positions.
Table Recipients() {
  return {
      .name = "recipient",
      .columns = {Text("queue_id"), Number("position"), TextInSqlite("address"),
                  TextInSqlite("destination"), Number("state"), Number("held"), Number("attempts"),
                  Number("next_attempt_at"), TextInSqlite("last_result"), Number("delay_told")},
      .key_columns = 2,
      .sqlite = {.select = "SELECT m.queue_id, (SELECT count(*) FROM recipient p "
                           "WHERE p.message_id = r.message_id AND p.id <= r.id), r.address, "
                           "r.destination, r.state, r.held, r.attempts, r.next_attempt_at, "
                           "r.last_result, r.delay_told FROM message m JOIN recipient r "
                           "ON r.message_id = m.id ORDER BY m.queue_id, r.id",
                 .insert = "INSERT INTO recipient (message_id, address, destination, state, "
                           "held, attempts, next_attempt_at, last_result, delay_told) VALUES "
                           "((SELECT id FROM message WHERE queue_id = ?1), ?3, ?4, ?5, ?6, "
                           "?7, ?8, ?9, ?10)"},
      .postgresql = {.select = "SELECT queue_id, row_number() OVER (PARTITION BY queue_id "
                               "ORDER BY position), address, destination, state, held, "
                               "attempts, next_attempt_at, last_result, delay_told "
                               "FROM recipient "
                               "ORDER BY queue_id, position",
                     .insert = "INSERT INTO recipient (shard, queue_id, position, address, "
                               "destination, state, held, attempts, next_attempt_at, "
                               "last_result, delay_told) VALUES (0, $1, $2, $3, $4, $5, $6, $7, "
                               "$8, $9, $10)"}};
}

Table Deliveries() {
  return {.name = "delivery",
          .columns = {Octets("delivery_id"), Octets("digest"), Text("queue_id"),
                      Number("committed_at")},
          .postgresql = {.select = "SELECT delivery_id, digest, queue_id, committed_at "
                                   "FROM delivery ORDER BY delivery_id",
                         .insert = "INSERT INTO delivery (shard, delivery_id, digest, queue_id, "
                                   "committed_at) VALUES (0, $1, $2, $3, $4)"}};
}

}  // namespace

storage::copy::Database CopiedSpool() {
  return {.service = "relay-svc",
          .sqlite_migrations = SqliteSpoolMigrations(),
          .postgresql_migrations = SpoolMigrations(),
          .tables = {Messages(), Recipients(), Deliveries()},
          .has_bodies = true,
          .after_postgresql =
              "UPDATE queue_size SET messages = CASE slot WHEN 0 THEN "
              "(SELECT count(*) FROM message) ELSE 0 END"};
}

}  // namespace postern::relay
