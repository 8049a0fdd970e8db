{{/* What the release is made of: each workload's values, program and identity, and the services that it calls. */}}
{{- define "postern.components" -}}
smtp-mx: {values: smtpMx, program: gateway-smtp, identity: gateway-smtp-mx, gateway: true, calls: [store-svc, relay-svc]}
smtp-submission: {values: smtpSubmission, program: gateway-smtp, identity: gateway-smtp-submission, gateway: true, calls: [auth-svc, relay-svc]}
pop3: {values: pop3, program: gateway-pop3, identity: gateway-pop3, gateway: true, calls: [auth-svc, store-svc]}
auth-svc: {values: authSvc, program: auth-svc, identity: auth-svc, gateway: false, calls: []}
store-svc: {values: storeSvc, program: store-svc, identity: store-svc, gateway: false, calls: []}
relay-svc: {values: relaySvc, program: relay-svc, identity: relay-svc, gateway: false, calls: [auth-svc, store-svc]}
{{- end }}

{{/* Every port of the gateways: the listener, its workload, the pod's port and the Service's, and its TLS. */}}
{{- define "postern.listeners" -}}
smtp: {listener: mx, component: smtp-mx, pod: 2525, service: 25, tls: starttls}
submission: {listener: submission, component: smtp-submission, pod: 5870, service: 587, tls: starttls}
submissions: {listener: submissions, component: smtp-submission, pod: 4650, service: 465, tls: implicit}
pop3: {listener: pop3, component: pop3, pod: 1100, service: 110, tls: starttls}
pop3s: {listener: pop3s, component: pop3, pod: 9950, service: 995, tls: implicit}
{{- end }}

{{- define "postern.rpcPort" -}}7300{{- end }}
{{- define "postern.httpPort" -}}8080{{- end }}
{{- define "postern.user" -}}65532{{- end }}

{{- define "postern.fullname" -}}
{{- if contains "postern" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-postern" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* [root, component] */}}
{{- define "postern.name" -}}
{{ include "postern.fullname" (index . 0) }}-{{ index . 1 }}
{{- end }}

{{/* Of everything in the release. */}}
{{- define "postern.releaseSelector" -}}
app.kubernetes.io/name: postern
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* [root, component] */}}
{{- define "postern.selector" -}}
{{ include "postern.releaseSelector" (index . 0) }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* [root, component] */}}
{{- define "postern.labels" -}}
{{ include "postern.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/part-of: postern
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{/* [root, program] */}}
{{- define "postern.image" -}}
{{- $image := (index . 0).Values.image -}}
{{ with $image.registry }}{{ . }}/{{ end }}{{ index . 1 }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end }}

{{/* [root, service]: its address for clients inside the cluster. */}}
{{- define "postern.host" -}}
{{ include "postern.name" . }}.{{ (index . 0).Release.Namespace }}.svc.{{ (index . 0).Values.clusterDomain }}
{{- end }}

{{/* [root, security domain] */}}
{{- define "postern.publicSecret" -}}
{{- $domain := index . 1 -}}
{{ $domain.existingSecret | default (printf "%s-public-%s" (include "postern.fullname" (index . 0)) $domain.name) }}
{{- end }}

{{- define "postern.signingSecret" -}}
{{ .Values.tokens.existingSigningSecret | default (printf "%s-token-signing" (include "postern.fullname" .)) }}
{{- end }}
{{- define "postern.verificationSecret" -}}
{{ .Values.tokens.existingVerificationSecret | default (printf "%s-token-verification" (include "postern.fullname" .)) }}
{{- end }}

{{/* Whether the services keep their data in PostgreSQL: "true" or nothing. */}}
{{- define "postern.onPostgresql" -}}
{{ if or .Values.postgresql.hosts .Values.demo.enabled }}true{{ end }}
{{- end }}
{{- define "postern.onRedis" -}}
{{ if or .Values.redis.addresses .Values.demo.enabled }}true{{ end }}
{{- end }}
{{- define "postern.passwordSecret" -}}
{{ include "postern.fullname" . }}-demo-passwords
{{- end }}
