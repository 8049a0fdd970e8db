# A Redis that keeps nothing: an ACL user for each service, with its own keys.
set -eu
umask 077
{
  echo "user default off"
  echo "user $AUTH_SVC_USER on >$(cat /passwords/redis-auth-svc) ~$AUTH_SVC_PREFIX:* +@all -@dangerous -@admin"
  echo "user $RELAY_SVC_USER on >$(cat /passwords/redis-relay-svc) ~$RELAY_SVC_PREFIX:* +@all -@dangerous -@admin"
} >/data/users.acl
exec redis-server --bind 0.0.0.0 --port 0 --tls-port 6379 --tls-cert-file /certificate/tls.crt \
  --tls-key-file /certificate/tls.key --tls-ca-cert-file /certificate/ca.crt --tls-auth-clients no \
  --aclfile /data/users.acl --dir /data --save "" --appendonly no --maxmemory 64mb --maxmemory-policy volatile-ttl
