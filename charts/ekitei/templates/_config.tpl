{{/*
The configuration of the pods of a role: what follows from the values, with `config` and the role's `config` over it. Takes {root, role}.
*/}}
{{- define "ekitei.config" -}}
{{- $values := .root.Values -}}
{{- $role := include "ekitei.role" . | fromYaml -}}
{{- $protocols := include "ekitei.protocols" .root | fromYaml -}}
{{- $base := include "ekitei.config.base" . | fromYaml -}}

{{- /* Where it listens: each protocol, the same with the PROXY protocol, and the admin API. */ -}}
{{- $listeners := list -}}
{{- range $protocol := $role.protocols -}}
{{- $port := (get $protocols $protocol).container -}}
{{- $listeners = append $listeners (dict "protocol" $protocol "address" (printf "%s:%v" $values.listen $port)) -}}
{{- if $values.proxyProtocol.enabled -}}
{{- $proxy := dict "trustedNetworks" $values.proxyProtocol.trustedNetworks -}}
{{- $address := printf "%s:%v" $values.listen (add 10000 $port) -}}
{{- $listeners = append $listeners (dict "name" (printf "px-%s" $protocol) "protocol" $protocol "address" $address "proxyProtocol" $proxy) -}}
{{- end -}}
{{- end -}}
{{- $listeners = append $listeners (dict "protocol" "http" "address" (printf "%s:8080" $values.listen)) -}}
{{- $_ := set $base "listeners" $listeners -}}
{{- /* Sending, packing and the like are for the workers; where there are none, for all pods but those of regions. */ -}}
{{- if not (has .role (list "all" "worker")) -}}
{{- $_ := set $base "cluster" (dict "work" false) -}}
{{- end -}}

{{- mergeOverwrite $base (deepCopy $values.config) (deepCopy (default dict $role.config)) | toYaml -}}
{{- end -}}

{{/* The configuration but for the listeners. Takes {root, role}. */}}
{{- define "ekitei.config.base" -}}
{{- $certificates := include "ekitei.certificates" . | fromYaml -}}
{{- with .root -}}
hostname: {{ include "ekitei.hostname" . }}
store:
{{- if eq .Values.store.kind "embedded" }}
  kind: embedded
  path: /var/lib/ekitei/store
{{- else }}
  kind: foundationdb
  clusterFile: /etc/foundationdb/{{ .Values.store.foundationdb.clusterFile.key }}
  prefix: {{ .Values.store.foundationdb.prefix | quote }}
{{- end }}
blobs:
{{- if eq .Values.bodies.kind "directory" }}
  kind: directory
  path: /var/lib/ekitei/blobs
{{- else }}
  {{- with .Values.bodies.s3 }}
  kind: s3
  bucket: {{ .bucket | quote }}
  pathStyle: {{ .pathStyle }}
  prefix: {{ .prefix | quote }}
  {{- with .endpoint }}
  endpoint: {{ . | quote }}
  {{- end }}
  {{- with .region }}
  region: {{ . | quote }}
  {{- end }}
  {{- if .existingSecret }}
  credentials:
    accessKeyId: file:/etc/ekitei-secrets/s3/{{ .accessKeyIdKey }}
    secretAccessKey: file:/etc/ekitei-secrets/s3/{{ .secretAccessKeyKey }}
  {{- end }}
  {{- if .cache.size }}
  objectCache:
    disk: /var/cache/ekitei
    {{- /* The folder may become a little larger while pages are replaced. */}}
    diskSize: {{ include "ekitei.cacheOctets" .cache.size | quote }}
  {{- end }}
  {{- end }}
{{- end }}
{{- with .Values.signing }}
{{- if .existingSecret }}
signing:
  encryptionKey: file:/etc/ekitei-secrets/signing/{{ .existingSecretKey }}
{{- end }}
{{- end }}
{{- if .Values.encryption.enabled }}
encryption:
  enabled: true
  masterKey: file:/etc/ekitei-secrets/encryption/{{ .Values.encryption.existingSecretKey }}
{{- end }}
tls:
  certificates:
  {{- range $index, $_ := $certificates.secrets }}
    - certificate: /etc/ekitei-secrets/tls-{{ $index }}/tls.crt
      key: /etc/ekitei-secrets/tls-{{ $index }}/tls.key
  {{- else }} []
  {{- end }}
web:
  clientHost: {{ include "ekitei.clientHost" . }}
  {{- /* Pods listen on high ports: programs are told those of the Services. */}}
  clientServices:
  {{- $protocols := include "ekitei.protocols" . | fromYaml }}
  {{- $served := dict }}
  {{- range (include "ekitei.roles" . | fromYaml).roles }}
  {{- range (include "ekitei.role" (dict "root" $.root "role" .) | fromYaml).protocols }}{{ $_ := set $served . true }}{{ end }}
  {{- end }}
  {{- range $protocol := list "imaps" "imap" "pop3s" "pop3" "submissions" "submission" }}
  {{- if hasKey $served $protocol }}
    - {protocol: {{ $protocol }}, port: {{ (get $protocols $protocol).port }}}
  {{- end }}
  {{- end }}
admin:
  token: file:/etc/ekitei-secrets/admin/{{ .Values.admin.existingSecretKey }}
log:
  level: {{ .Values.log.level }}
  format: {{ .Values.log.format }}
shutdown:
  grace: {{ .Values.shutdown.graceSeconds }}s
{{- end -}}
{{- end -}}

{{/* Nine tenths of a size such as `20Gi`, as the service writes it. Takes the size. */}}
{{- define "ekitei.cacheOctets" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[A-Z]i$" . -}}
{{- $mebibytes := get (dict "Mi" 1 "Gi" 1024 "Ti" 1048576) $unit | int64 | mul $number -}}
{{- printf "%dMiB" (div (mul $mebibytes 9) 10) -}}
{{- end -}}
