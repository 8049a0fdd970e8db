{{/* What all pods have: nobody's rights, and nothing to write to. */}}
{{- define "postern.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ include "postern.user" . }}
  runAsGroup: {{ include "postern.user" . }}
  fsGroup: {{ include "postern.user" . }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "postern.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* [root, component]: Secrets and the configuration, as the configuration names them. */}}
{{- define "postern.volumes" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $about := index (fromYaml (include "postern.components" $root)) $component -}}
{{- $values := index $root.Values $about.values -}}
- name: mtls
  secret: {secretName: {{ include "postern.name" (list $root (printf "mtls-%s" $about.identity)) }}, defaultMode: 0440}
{{- if $about.gateway }}
{{- range $root.Values.securityDomains }}
{{- if eq .name $values.securityDomain }}
- name: tls
  secret: {secretName: {{ include "postern.publicSecret" (list $root .) }}, defaultMode: 0440, items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]}
{{- end }}
{{- end }}
{{- else }}
- name: token
  {{- if eq $component "auth-svc" }}
  secret: {secretName: {{ include "postern.signingSecret" $root }}, defaultMode: 0440, items: [{key: token-signing.pem, path: token-signing.pem}]}
  {{- else }}
  secret: {secretName: {{ include "postern.verificationSecret" $root }}, defaultMode: 0440, items: [{key: token-verification.pem, path: token-verification.pem}]}
  {{- end }}
{{- if eq $component "auth-svc" }}
{{- range $root.Values.ldap }}
- name: ldap-{{ .name }}
  secret: {secretName: {{ .existingSecret }}, defaultMode: 0440}
{{- end }}
{{- with $root.Values.clientCertificates.caSecret }}
- name: client-ca
  secret: {secretName: {{ . }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- range $root.Values.oauth }}
{{- if .existingSecret }}
- name: oauth-{{ .name }}
  secret: {secretName: {{ .existingSecret }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end }}
{{- if include "postern.onPostgresql" $root }}
{{ include "postern.postgresqlVolumes" . }}
{{- end }}
{{- if and (include "postern.onRedis" $root) (ne $component "store-svc") }}
- name: redis
  secret: {secretName: {{ ternary (include "postern.passwordSecret" $root) $root.Values.redis.existingSecret $root.Values.demo.enabled }}, defaultMode: 0440, items: [{key: {{ ternary (printf "redis-%s" $component) $component $root.Values.demo.enabled }}, path: password}]}
{{- if not $root.Values.demo.enabled }}
- name: redis-ca
  secret: {secretName: {{ $root.Values.redis.caSecret }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* [root, component]: what reaches the database; all that `migrate` needs. */}}
{{- define "postern.postgresqlVolumes" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
- name: postgresql
  secret: {secretName: {{ ternary (include "postern.passwordSecret" $root) $root.Values.postgresql.existingSecret $root.Values.demo.enabled }}, defaultMode: 0440, items: [{key: {{ $component }}, path: password}]}
{{- if not $root.Values.demo.enabled }}
- name: postgresql-ca
  secret: {secretName: {{ $root.Values.postgresql.caSecret }}, defaultMode: 0440, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- end }}

{{/* Volumes, as a list. */}}
{{- define "postern.mounts" -}}
{{- range $volume := fromYamlArray . }}
- {name: {{ $volume.name }}, mountPath: /etc/postern/{{ $volume.name }}, readOnly: true}
{{- end }}
- {name: config, mountPath: /etc/postern/config, readOnly: true}
{{- end }}

{{/* [root, component, volumes]: brings a service's schema up to date, and ends. */}}
{{- define "postern.migrateContainer" -}}
{{- $root := index . 0 -}}
{{- $about := index (fromYaml (include "postern.components" $root)) (index . 1) -}}
- name: migrate
  image: {{ include "postern.image" (list $root $about.program) }}
  imagePullPolicy: {{ $root.Values.image.pullPolicy }}
  args: [migrate, --config, /etc/postern/config/config.yaml, --wait, "120"]
  resources: {{ toJson (index $root.Values $about.values).resources }}
  securityContext:
    {{- include "postern.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    {{- include "postern.mounts" (index . 2) | nindent 4 }}
{{- end }}

{{/* [root, component]: a pod of a gateway or a service. */}}
{{- define "postern.pod" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
{{- $about := index (fromYaml (include "postern.components" $root)) $component -}}
{{- $values := index $root.Values $about.values -}}
{{- $config := include "postern.config" . -}}
metadata:
  labels:
    {{- include "postern.labels" . | nindent 4 }}
    {{- if $about.gateway }}
    postern/gateway: "true"
    {{- end }}
    {{- with $values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    postern/configuration: {{ sha256sum $config }}
    {{- with $values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  {{- include "postern.podSecurity" $root | nindent 2 }}
  # After preStop's five seconds, and with some to spare.
  terminationGracePeriodSeconds: {{ add $root.Values.drainGraceSeconds 20 }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector: {{ toJson . }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations: {{ toJson . }}
  {{- end }}
  {{- with $values.affinity }}
  affinity: {{ toJson . }}
  {{- end }}
  topologySpreadConstraints:
    # Not DoNotSchedule: on two nodes a drain would wait for ever.
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector: {matchLabels: {{ toJson (fromYaml (include "postern.selector" .)) }}}
      matchLabelKeys: [pod-template-hash]
  dnsConfig:
    # Names of services are whole; mail's domains are not looked for under the cluster's.
    options: [{name: ndots, value: "1"}]
  {{- if and $root.Values.demo.enabled (not $about.gateway) }}
  initContainers:
    # The demo's database comes with the release: no hook finds it.
    {{- include "postern.migrateContainer" (list $root $component (include "postern.volumes" .)) | nindent 4 }}
  {{- end }}
  containers:
    - name: {{ $component }}
      image: {{ include "postern.image" (list $root $about.program) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [--config, /etc/postern/config/config.yaml]
      ports:
        - {name: http, containerPort: {{ include "postern.httpPort" $root }}}
        {{- if $about.gateway }}
        {{- range $port, $listener := fromYaml (include "postern.listeners" $root) }}
        {{- if eq $listener.component $component }}
        - {name: {{ $port }}, containerPort: {{ $listener.pod }}}
        {{- end }}
        {{- end }}
        {{- else }}
        - {name: rpc, containerPort: {{ include "postern.rpcPort" $root }}}
        {{- end }}
      startupProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 1, failureThreshold: 60}
      livenessProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 10, timeoutSeconds: 3, failureThreshold: 6}
      readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 2}
      lifecycle:
        # Until nobody sends anything here any more.
        preStop: {sleep: {seconds: 5}}
      resources: {{ toJson $values.resources }}
      securityContext:
        {{- include "postern.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        {{- include "postern.mounts" (include "postern.volumes" .) | nindent 8 }}
        {{- if and (not $about.gateway) (not (include "postern.onPostgresql" $root)) }}
        - {name: data, mountPath: /data}
        {{- end }}
        {{- with $values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    - name: config
      configMap: {name: {{ include "postern.name" . }}}
    {{- include "postern.volumes" . | nindent 4 }}
    {{- with $values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}
