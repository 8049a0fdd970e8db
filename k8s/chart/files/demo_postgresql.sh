# A PostgreSQL that keeps its data as long as its pod: a role and a database for each service.
set -eu
PATH="$PATH:$(echo /usr/lib/postgresql/*/bin)"
export HOME=/data PGDATA=/data/postgresql
if [ ! -e "$PGDATA/ready" ]; then
  rm -rf "$PGDATA"
  initdb --username=postgres --auth-local=trust --auth-host=reject --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  echo "hostssl all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
  pg_ctl --wait -o "-c listen_addresses= -c unix_socket_directories=/tmp" start >/dev/null
  create() {
    psql --quiet --host=/tmp --username=postgres --dbname=postgres --set=ON_ERROR_STOP=1 \
      --set=role="$1" --set=database="$2" --set=password="$(cat "/passwords/$3")" <<'SQL'
CREATE ROLE :"role" LOGIN PASSWORD :'password';
CREATE DATABASE :"database" OWNER :"role";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
  }
  create "$AUTH_SVC_ROLE" "$AUTH_SVC_DATABASE" auth-svc
  create "$STORE_SVC_ROLE" "$STORE_SVC_DATABASE" store-svc
  create "$RELAY_SVC_ROLE" "$RELAY_SVC_DATABASE" relay-svc
  psql --quiet --host=/tmp --username=postgres --dbname=postgres \
    --command="REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC"
  pg_ctl --wait stop >/dev/null
  touch "$PGDATA/ready"
fi
# The server takes a key that is its own or root's, and that the world can't read.
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c ssl=on -c max_connections=200 \
  -c ssl_cert_file=/certificate/tls.crt -c ssl_key_file=/certificate/tls.key
