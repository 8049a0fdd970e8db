{{/* Each process's configuration, as docs/CONFIGURATION.md has it. */}}

{{/* [root, service] */}}
{{- define "postern.target" -}}
target: dns:///{{ include "postern.host" . }}:{{ include "postern.rpcPort" . }}
{{- end }}

{{- define "postern.mtlsConfig" -}}
certificate_file: /etc/postern/mtls/tls.crt
private_key_file: /etc/postern/mtls/tls.key
ca_file: /etc/postern/mtls/ca.crt
{{- end }}

{{/* [root, component]: where it keeps its data. */}}
{{- define "postern.storageConfig" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $of := (index (fromYaml (include "postern.components" $root)) $component).values -}}
{{- $demo := $root.Values.demo.enabled -}}
{{- if include "postern.onPostgresql" $root }}
{{- $own := index $root.Values.postgresql $of }}
postgresql:
  hosts: {{ if $demo }}["{{ include "postern.host" (list $root "postgresql") }}:5432"]{{ else }}{{ toJson $root.Values.postgresql.hosts }}{{ end }}
  database: {{ $own.database }}
  user: {{ $own.user }}
  password_file: /etc/postern/postgresql/password
  ca_file: {{ if $demo }}/etc/postern/mtls/ca.crt{{ else }}/etc/postern/postgresql-ca/ca.crt{{ end }}
{{- else }}
database_file: /data/{{ get (dict "auth-svc" "directory.db" "store-svc" "mail.db" "relay-svc" "spool.db") $component }}
{{- end }}
{{- if and (include "postern.onRedis" $root) (ne $component "store-svc") }}
{{- $own := index $root.Values.redis $of }}
redis:
  addresses: {{ if $demo }}["{{ include "postern.host" (list $root "redis") }}:6379"]{{ else }}{{ toJson $root.Values.redis.addresses }}{{ end }}
  username: {{ $own.username }}
  key_prefix: {{ $own.keyPrefix }}
  password_file: /etc/postern/redis/password
  ca_file: {{ if $demo }}/etc/postern/mtls/ca.crt{{ else }}/etc/postern/redis-ca/ca.crt{{ end }}
  {{- with $root.Values.redis.sentinelMaster }}
  sentinel: {master_name: {{ . }}}
  {{- end }}
  {{- if $root.Values.redis.cluster }}
  cluster: true
  {{- end }}
{{- end }}
{{- end }}

{{/* [root, component]: of a gateway. */}}
{{- define "postern.gatewayConfig" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $values := index $root.Values (index (fromYaml (include "postern.components" $root)) $component).values -}}
hostname: {{ $root.Values.hostname }}
security_domains:
  - name: {{ $values.securityDomain }}
    certificate_file: /etc/postern/tls/tls.crt
    private_key_file: /etc/postern/tls/tls.key
    {{- if and $root.Values.clientCertificates.caSecret (ne $component "smtp-mx") }}
    request_client_certificates: true
    {{- end }}
listeners:
{{- range $port, $about := fromYaml (include "postern.listeners" $root) }}
{{- if eq $about.component $component }}
{{- $listener := dict "name" $about.listener "address" "0.0.0.0" "port" $about.pod "security_domain" $values.securityDomain "idle_timeout_seconds" (ternary 600 300 (eq $component "pop3")) }}
{{- $_ := set $listener (ternary "implicit_tls" "tls_enabled" (eq $about.tls "implicit")) true }}
{{- with $root.Values.loadBalancer.proxyProtocol.networks }}{{- $_ := set $listener "proxy_networks" . }}{{- end }}
{{- $_ := mergeOverwrite $listener (deepCopy $values.listener) }}
  - {{ toJson $listener }}
{{- end }}
{{- end }}
{{- end }}

{{/* [root, component]: the whole, with what the values add. */}}
{{- define "postern.config" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $about := index (fromYaml (include "postern.components" $root)) $component -}}
{{- $text := include "postern.ownConfig" . -}}
{{- $config := fromYaml $text -}}
{{- if hasKey $config "Error" }}{{ fail (printf "%s: %s\n%s" $component $config.Error $text) }}{{ end -}}
{{- toYaml (mergeOverwrite $config (deepCopy (index $root.Values $about.values).config)) }}
{{- end }}

{{- define "postern.ownConfig" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $about := index (fromYaml (include "postern.components" $root)) $component -}}
process:
  http: {address: 0.0.0.0, port: {{ include "postern.httpPort" $root }}}
  drain_grace_seconds: {{ $root.Values.drainGraceSeconds }}
  log_level: {{ $root.Values.logLevel }}
  mtls:
    {{- include "postern.mtlsConfig" $root | nindent 4 }}
{{- range $service := $about.calls }}
{{ replace "-" "_" $service }}:
  {{- include "postern.target" (list $root $service) | nindent 2 }}
{{- end }}
{{- if $about.gateway }}
{{- if eq $about.program "gateway-smtp" }}
role: {{ trimPrefix "smtp-" $component }}
{{- end }}
{{ include "postern.gatewayConfig" . }}
{{- else }}
rpc: {address: 0.0.0.0, port: {{ include "postern.rpcPort" $root }}}
{{- include "postern.storageConfig" . }}
{{- if eq $component "auth-svc" }}
token_signing_key_file: /etc/postern/token/token-signing.pem
{{- with $root.Values.ldap }}
ldap:
{{- range . }}
{{- $folder := printf "/etc/postern/ldap-%s" .name }}
{{- $files := dict "name" .name "ca_file" (printf "%s/ca.crt" $folder) }}
{{- if .config.bind_dn }}{{ $_ := set $files "bind_password_file" (printf "%s/password" $folder) }}{{ end }}
  - {{ toJson (mergeOverwrite $files (deepCopy .config)) }}
{{- end }}
{{- end }}
{{- with $root.Values.oauth }}
oauth:
{{- range . }}
{{- $files := dict "name" .name }}
{{- if .existingSecret }}{{ $_ := set $files (ternary "ca_file" "jwks_file" (hasKey .config "jwks_url")) (printf "/etc/postern/oauth-%s/%s" .name (ternary "ca.crt" "jwks.json" (hasKey .config "jwks_url"))) }}{{ end }}
  - {{ toJson (mergeOverwrite $files (deepCopy .config)) }}
{{- end }}
{{- end }}
{{- if $root.Values.clientCertificates.caSecret }}
client_certificates: {ca_file: /etc/postern/client-ca/ca.crt}
{{- end }}
{{- else }}
token_verification_keys_file: /etc/postern/token/token-verification.pem
{{- end }}
{{- if eq $component "relay-svc" }}
delivery: {hostname: {{ $root.Values.hostname }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "postern.posternctlConfig" -}}
mtls:
  {{- include "postern.mtlsConfig" . | nindent 2 }}
{{- range $service := list "auth-svc" "store-svc" "relay-svc" }}
{{ replace "-" "_" $service }}:
  {{- include "postern.target" (list $ $service) | nindent 2 }}
{{- end }}
{{- end }}
