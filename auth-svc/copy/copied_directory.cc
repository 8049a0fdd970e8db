#include "auth-svc/copy/copied_directory.h"

#include "auth-svc/postgresql/postgresql_directory.h"
#include "auth-svc/sqlite/sqlite_directory.h"

namespace postern::auth {

storage::copy::Database CopiedDirectory() {
  using storage::copy::Number;
  using storage::copy::Octets;
  using storage::copy::Text;
  return {
      .service = "auth-svc",
      .sqlite_migrations = SqliteDirectoryMigrations(),
      .postgresql_migrations = DirectoryMigrations(),
      .tables = {
          {.name = "domain",
           .columns = {Number("position"), Text("name"), Number("enabled"), Number("login_policy")},
           .identity = "position"},
          {.name = "address", .columns = {Text("domain"), Text("local_part")}, .key_columns = 2},
          {.name = "account",
           .columns = {Number("position"), Text("account_id"), Text("mailbox_id"), Text("domain"),
                       Text("local_part"), Text("password_hash"), Number("enabled"),
                       Number("version"), Text("source"), Text("source_id"), Text("source_stamp"),
                       Text("scram_sha_256")},
           .identity = "position"},
          {.name = "alias",
           .columns = {Text("domain"), Text("local_part"), Text("source"), Number("senders")},
           .key_columns = 2},
          {.name = "alias_target",
           .columns = {Text("domain"), Text("local_part"), Number("position"),
                       Text("target_domain"), Text("target_local_part")},
           .key_columns = 3},
          {.name = "alias_forward",
           .columns = {Text("domain"), Text("local_part"), Number("position"),
                       Text("forward_domain"), Text("forward_local_part")},
           .key_columns = 3},
          {.name = "alias_sender",
           .columns = {Text("domain"), Text("local_part"), Text("account_id")},
           .key_columns = 3},
          {.name = "srs_key", .columns = {Number("id"), Text("key")}},
          {.name = "app_password",
           .columns = {Text("account_id"), Text("name"), Text("hash"), Number("uses"),
                       Number("created_at"), Number("last_used_at")},
           .key_columns = 2},
          {.name = "answered_request",
           .columns = {Text("request_id"), Text("fingerprint"), Octets("answer"),
                       Number("answered_at")}},
      }};
}

}  // namespace postern::auth
