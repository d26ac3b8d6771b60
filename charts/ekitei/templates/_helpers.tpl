{{/* What templates share. Each helper takes the root context, unless it says otherwise. */}}

{{/* The beginning of the names of all objects: the release's, and the chart's if that is not in it. */}}
{{- define "ekitei.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels of an object. Takes {root, component}. */}}
{{- define "ekitei.labels" -}}
{{- $own := dict
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" (.root.Chart.AppVersion | toString)
  "app.kubernetes.io/managed-by" .root.Release.Service
  "app.kubernetes.io/part-of" "ekitei" -}}
{{- merge $own (include "ekitei.selector" . | fromYaml) .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{/* Labels that select the pods of a component, and never change. Takes {root, component}. */}}
{{- define "ekitei.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{/* The label of every pod that runs the service, those that the operator makes for regions included. */}}
{{- define "ekitei.serviceLabel" -}}
ekitei.dev/service: {{ include "ekitei.fullname" . }}
{{- end -}}

{{/* The label of pods whose admin API is that of the installation: the operator takes it from pods of regions with another store. */}}
{{- define "ekitei.adminLabel" -}}
ekitei.dev/admin: {{ include "ekitei.fullname" . }}
{{- end -}}

{{/* The metadata of an object, but for annotations of its own. Takes {root, component, name}. */}}
{{- define "ekitei.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels: {{- include "ekitei.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "ekitei.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "ekitei.serviceAccount" -}}
{{- with .Values.serviceAccount }}{{ if .create }}{{ .name | default (include "ekitei.fullname" $) }}{{ else }}{{ .name | default "default" }}{{ end }}{{ end -}}
{{- end -}}

{{- define "ekitei.operatorServiceAccount" -}}
{{- with .Values.operator.serviceAccount }}{{ if .create }}{{ .name | default (printf "%s-operator" (include "ekitei.fullname" $)) }}{{ else }}{{ .name | default "default" }}{{ end }}{{ end -}}
{{- end -}}

{{- define "ekitei.hostname" -}}
{{- .Values.hostname | default (printf "%s.%s.svc" (include "ekitei.fullname" .) .Release.Namespace) -}}
{{- end -}}

{{- define "ekitei.clientHost" -}}
{{- .Values.clientHost | default (include "ekitei.hostname" .) -}}
{{- end -}}

{{/* The Secret with the admin token. */}}
{{- define "ekitei.adminSecret" -}}
{{- .Values.admin.existingSecret | default (printf "%s-admin" (include "ekitei.fullname" .)) -}}
{{- end -}}

{{/*
Secrets with certificates of the pods of a role, the default first: as YAML {secrets: [...]}. Those that the chart makes are in its own cluster only, so pods of
regions do without them: the certificate of their host is in the store. Takes {root, role}.
*/}}
{{- define "ekitei.certificates" -}}
{{- $tls := .root.Values.tls -}}
{{- $secrets := $tls.existingSecrets -}}
{{- if ne .role "region" -}}
{{- if $tls.certManager.enabled -}}
{{- $secrets = prepend $secrets (printf "%s-tls" (include "ekitei.fullname" .root)) -}}
{{- else if and $tls.selfSigned (not $secrets) -}}
{{- $secrets = list (printf "%s-self-signed" (include "ekitei.fullname" .root)) -}}
{{- end -}}
{{- end -}}
{{- dict "secrets" $secrets | toYaml -}}
{{- end -}}

{{/*
Protocols: the port that clients connect to, and what pods listen on, since processes without capabilities cannot have ports below 1024. With the PROXY
protocol the Service leads to the container's port + 10000 instead. Names of ports have 15 octets at most.
*/}}
{{- define "ekitei.protocols" -}}
smtp: {port: 25, container: 2525}
submission: {port: 587, container: 5870}
submissions: {port: 465, container: 4650}
imap: {port: 143, container: 1430}
imaps: {port: 993, container: 9930}
pop3: {port: 110, container: 1100}
pop3s: {port: 995, container: 9950}
https: {port: 443, container: 8443}
{{- end -}}

{{/* The roles that have pods, as YAML {roles: [...]}. */}}
{{- define "ekitei.roles" -}}
{{- $roles := eq .Values.topology "all" | ternary (list "all") (list "mx" "submission" "imap" "worker") -}}
{{- dict "roles" $roles | toYaml -}}
{{- end -}}

{{/*
What holds for the pods of a role: `pods`, with what the role says over it. A region's: `pods`, `roles.mx` and `regions` over one another, but for where they run,
which a MailRegion says. Takes {root, role}.
*/}}
{{- define "ekitei.role" -}}
{{- $values := .root.Values -}}
{{- if eq .role "region" -}}
{{- $placed := mergeOverwrite (deepCopy $values.pods) (deepCopy $values.roles.mx) -}}
{{- mergeOverwrite (omit $placed "nodeSelector" "affinity" "tolerations") (deepCopy $values.regions) | toYaml -}}
{{- else -}}
{{- mergeOverwrite (deepCopy $values.pods) (deepCopy (get $values.roles .role)) | toYaml -}}
{{- end -}}
{{- end -}}

{{/* Whether a role has no pods. Takes {root, role}. */}}
{{- define "ekitei.isOff" -}}
{{- $settings := include "ekitei.role" . | fromYaml -}}
{{- if not (or $settings.autoscaling.enabled (int $settings.replicas)) }}true{{ end -}}
{{- end -}}

{{/* Whether pods of the service are to be made by the operator, for MailRegions. */}}
{{- define "ekitei.hasRegions" -}}
{{- if and .Values.operator.enabled (eq .Values.store.kind "foundationdb") }}true{{ end -}}
{{- end -}}

{{/* What restricted pods have in common (Pod Security Standards). */}}
{{- define "ekitei.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.security.runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
{{- end }}
{{- with .Values.security.fsGroup }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "ekitei.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}
