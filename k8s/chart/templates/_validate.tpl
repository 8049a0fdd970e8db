{{/* What can't work is refused, with the reason. */}}
{{- define "postern.validate" -}}
{{- $v := .Values -}}
{{- if not $v.hostname }}{{ fail "hostname is empty: give the name that the public certificate has, such as mail.example.org" }}{{ end -}}
{{- $domains := list -}}
{{- range $v.securityDomains }}{{ $domains = append $domains .name }}{{ end -}}
{{- range $component, $about := fromYaml (include "postern.components" .) -}}
{{- $values := index $v $about.values -}}
{{- if $about.gateway -}}
{{- if not (has $values.securityDomain $domains) }}{{ fail (printf "%s.securityDomain is %q; securityDomains has %s" $about.values $values.securityDomain (join ", " $domains)) }}{{ end -}}
{{- if and $values.autoscaling.enabled (gt (int $values.autoscaling.minReplicas) (int $values.autoscaling.maxReplicas)) }}{{ fail (printf "%s.autoscaling.minReplicas is more than maxReplicas" $about.values) }}{{ end -}}
{{- else if and (gt (int $values.replicas) 1) (not (include "postern.onPostgresql" $)) -}}
{{- fail (printf "%s.replicas is %d, but without postgresql.hosts its data is in a SQLite file, which one process has: set it to 1, or give postgresql.hosts" $about.values (int $values.replicas)) -}}
{{- end -}}
{{- end -}}
{{- if $v.demo.enabled -}}
{{- if or $v.postgresql.hosts $v.redis.addresses }}{{ fail "demo.enabled brings PostgreSQL and Redis along: leave postgresql.hosts and redis.addresses empty" }}{{ end -}}
{{- if ne $v.mtls.source "job" }}{{ fail "demo.enabled wants mtls.source: job, which makes its servers' certificates and passwords" }}{{ end -}}
{{- end -}}
{{- if $v.postgresql.hosts -}}
{{- if not $v.postgresql.existingSecret }}{{ fail "postgresql.existingSecret is empty: name a Secret with the keys auth-svc, store-svc and relay-svc" }}{{ end -}}
{{- if not $v.postgresql.caSecret }}{{ fail "postgresql.caSecret is empty: name a Secret with the server's CA as ca.crt; its certificate is always verified" }}{{ end -}}
{{- end -}}
{{- if $v.redis.addresses -}}
{{- if not $v.redis.existingSecret }}{{ fail "redis.existingSecret is empty: name a Secret with the keys auth-svc and relay-svc" }}{{ end -}}
{{- if not $v.redis.caSecret }}{{ fail "redis.caSecret is empty: name a Secret with the server's CA as ca.crt; its certificate is always verified" }}{{ end -}}
{{- if and $v.redis.cluster $v.redis.sentinelMaster }}{{ fail "redis.cluster and redis.sentinelMaster exclude each other" }}{{ end -}}
{{- end -}}
{{- range $v.ldap -}}
{{- if not .existingSecret }}{{ fail (printf "ldap %s has no existingSecret: name a Secret with the servers' CA as ca.crt and, with config.bind_dn, its password as password" .name) }}{{ end -}}
{{- end -}}
{{- range $v.oauth -}}
{{- if and (not .existingSecret) (not (hasKey .config "jwks_url")) }}{{ fail (printf "oauth %s has neither existingSecret nor config.jwks_url: name a Secret with the provider's keys as jwks.json, or where it publishes them" .name) }}{{ end -}}
{{- if and (hasKey .config "jwks_url") $v.networkPolicy.enabled (not $v.networkPolicy.oauth.to) }}{{ fail (printf "networkPolicy.oauth.to is empty: auth-svc could not fetch the keys of oauth %s" .name) }}{{ end -}}
{{- end -}}
{{- if and (ne $v.mtls.source "job") (not (and $v.tokens.existingSigningSecret $v.tokens.existingVerificationSecret)) }}{{ fail (printf "mtls.source is %s, so nobody makes token keys: give tokens.existingSigningSecret and tokens.existingVerificationSecret" $v.mtls.source) }}{{ end -}}
{{- if ne (empty $v.tokens.existingSigningSecret) (empty $v.tokens.existingVerificationSecret) }}{{ fail "give both tokens.existingSigningSecret and tokens.existingVerificationSecret, or neither" }}{{ end -}}
{{- if eq $v.mtls.source "existing" -}}
{{- range $v.securityDomains }}{{ if not .existingSecret }}{{ fail (printf "mtls.source is existing, and security domain %s has no existingSecret: nobody makes its certificate" .name) }}{{ end }}{{ end -}}
{{- end -}}
{{- if and (eq $v.mtls.source "certManager") (not (.Capabilities.APIVersions.Has "cert-manager.io/v1")) }}{{ fail "mtls.source is certManager, but the cluster has no cert-manager.io/v1" }}{{ end -}}
{{- if $v.networkPolicy.enabled -}}
{{- if not $v.networkPolicy.clusterCidrs }}{{ fail "networkPolicy.clusterCidrs is empty: give the ranges of pods, services and nodes, so that relay-svc is kept from them; or set networkPolicy.enabled: false" }}{{ end -}}
{{- if and $v.postgresql.hosts (not $v.networkPolicy.postgresql.to) }}{{ fail "networkPolicy.postgresql.to is empty: nothing could reach postgresql.hosts" }}{{ end -}}
{{- if and $v.redis.addresses (not $v.networkPolicy.redis.to) }}{{ fail "networkPolicy.redis.to is empty: nothing could reach redis.addresses" }}{{ end -}}
{{- if and $v.ldap (not $v.networkPolicy.ldap.to) }}{{ fail "networkPolicy.ldap.to is empty: auth-svc could reach no LDAP server" }}{{ end -}}
{{- end -}}
{{- if and $v.loadBalancer.single $v.loadBalancer.internetSourceRanges $v.loadBalancer.userSourceRanges (ne (toJson $v.loadBalancer.internetSourceRanges) (toJson $v.loadBalancer.userSourceRanges)) (not $v.networkPolicy.enabled) }}{{ fail "loadBalancer.single has one list of source ranges for all ports: without networkPolicy.enabled, different internetSourceRanges and userSourceRanges want loadBalancer.single: false" }}{{ end -}}
{{- if and (has "0.0.0.0/0" $v.loadBalancer.proxyProtocol.networks) }}{{ fail "loadBalancer.proxyProtocol.networks has 0.0.0.0/0: anybody could claim any address" }}{{ end -}}
{{- if and $v.loadBalancer.proxyProtocol.networks (eq $v.loadBalancer.externalTrafficPolicy "Cluster") (eq $v.loadBalancer.type "LoadBalancer") (not $v.loadBalancer.proxyProtocol.acceptNodes) }}{{ fail "loadBalancer.externalTrafficPolicy: Cluster hides the balancer behind the nodes' addresses, so that every pod could send a PROXY header through a node port: use Local, or say loadBalancer.proxyProtocol.acceptNodes: true" }}{{ end -}}
{{- end }}
