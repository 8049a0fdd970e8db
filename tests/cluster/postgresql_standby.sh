# A standby of the PostgreSQL that demo_postgresql.sh runs; and the primary, once it is promoted.
set -eu
PATH="$PATH:$(echo /usr/lib/postgresql/*/bin)"
export HOME=/data PGDATA=/data/postgresql
if [ ! -e "$PGDATA/copied" ]; then
  rm -rf "$PGDATA"
  PGPASSWORD="$(cat /passwords/standby)" PGSSLMODE=verify-full PGSSLROOTCERT=/certificate/ca.crt \
    pg_basebackup --pgdata="$PGDATA" --host="$PRIMARY" --username=standby --checkpoint=fast --write-recovery-conf
  touch "$PGDATA/copied"
fi
# It wants no standby itself.
exec postgres -c listen_addresses='*' -c unix_socket_directories=/tmp -c ssl=on -c max_connections=200 \
  -c ssl_cert_file=/certificate/tls.crt -c ssl_key_file=/certificate/tls.key -c synchronous_standby_names=
