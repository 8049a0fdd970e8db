#include "store-svc/copy/copied_mail.h"

#include "store-svc/postgresql/postgresql_mail_store.h"
#include "store-svc/sqlite/sqlite_mail_store.h"

namespace postern::store {
namespace {

using storage::copy::Number;
using storage::copy::Octets;
using storage::copy::Table;

// As MailboxId::shard(), of the id that is the first parameter.
#define POSTERN_SHARD_OF_FIRST                                         \
  "CASE octet_length($1::bytea) WHEN 16 THEN 0 ELSE "                  \
  "(get_byte($1::bytea, 0) << 24) + (get_byte($1::bytea, 1) << 16) + " \
  "(get_byte($1::bytea, 2) << 8) + get_byte($1::bytea, 3) END"

Table Mailboxes() {
  return {.name = "mailbox",
          .columns = {Octets("mailbox_id"), Number("uid_validity"), Number("uid_next"),
                      Number("messages"), Number("octets"), Number("quota_messages"),
                      Number("quota_octets")},
          .postgresql = {
              .select = "SELECT mailbox_id, uid_validity, uid_next, messages, octets, "
                        "quota_messages, quota_octets FROM mailbox ORDER BY mailbox_id",
              .insert = "INSERT INTO mailbox (shard, mailbox_id, uid_validity, uid_next, messages, "
                        "octets, quota_messages, quota_octets) VALUES (" POSTERN_SHARD_OF_FIRST
                        ", $1, $2, $3, $4, $5, $6, $7)"}};
}

// A body has a number in SQLite, and its hash in PostgreSQL.
Table Messages() {
  return {.name = "message",
          .columns = {Octets("mailbox_id"), Number("uid"), Octets("sha256"), Number("octets"),
                      Octets("prefix")},
          .key_columns = 2,
          // Without its body a message is an error when it is written.
          .sqlite = {.select = "SELECT m.mailbox_id, m.uid, b.sha256, m.octets, m.prefix "
                               "FROM message m LEFT JOIN body b ON b.body_id = m.body_id "
                               "ORDER BY m.mailbox_id, m.uid",
                     .insert = "INSERT INTO message (mailbox_id, uid, body_id, octets, prefix) "
                               "VALUES (?1, ?2, (SELECT body_id FROM body WHERE sha256 = ?3), ?4, "
                               "?5)"},
          .postgresql = {.select = "SELECT mailbox_id, uid, sha256, octets, prefix FROM message "
                                   "ORDER BY mailbox_id, uid",
                         .insert =
                             "INSERT INTO message (shard, mailbox_id, uid, sha256, octets, prefix) "
                             "VALUES (" POSTERN_SHARD_OF_FIRST ", $1, $2, $3, $4, $5)"}};
}

// SQLite forgets them in the order of their rows, and does not know their shards: a repeated
// delivery may come to any that has mailboxes. Of one that was spread over shards, which PostgreSQL
// digests shard by shard, a repetition is refused after the copy.
Table Deliveries() {
  return {
      .name = "delivery",
      .columns = {Number("committed_at"), Octets("delivery_id"), Octets("digest")},
      .key_columns = 2,
      .postgresql = {.select = "SELECT committed_at, delivery_id, digest FROM "
                               "(SELECT DISTINCT ON (delivery_id) committed_at, delivery_id, "
                               "digest FROM delivery ORDER BY delivery_id, shard) AS one "
                               "ORDER BY committed_at, delivery_id",
                     .insert = "INSERT INTO delivery (shard, delivery_id, digest, committed_at) "
                               "SELECT shard, $2::bytea, $3::bytea, $1::bigint FROM used_shard"},
      .before_postgresql =
          "CREATE TEMP TABLE used_shard ON COMMIT DROP AS "
          "SELECT DISTINCT shard FROM mailbox; ANALYZE used_shard"};
}

Table Deletions() {
  return {.name = "deletion",
          .columns = {Octets("mailbox_id"), Number("uid")},
          .key_columns = 2,
          .postgresql = {.select = "SELECT mailbox_id, uid FROM deletion ORDER BY mailbox_id, uid",
                         .insert = "INSERT INTO deletion (shard, mailbox_id, uid) "
                                   "VALUES (" POSTERN_SHARD_OF_FIRST ", $1, $2)"}};
}

#undef POSTERN_SHARD_OF_FIRST

}  // namespace

storage::copy::Database CopiedMail() {
  return {.service = "store-svc",
          .sqlite_migrations = SqliteMailMigrations(),
          .postgresql_migrations = MailMigrations(),
          .tables = {Mailboxes(), Messages(), Deliveries(), Deletions()},
          .has_bodies = true};
}

}  // namespace postern::store
