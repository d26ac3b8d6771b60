{{/* The pod template of a role; `region` is what the operator makes pods of regions from. Takes {root, role}. */}}
{{- define "ekitei.pod" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $fullname := include "ekitei.fullname" .root -}}
{{- $role := include "ekitei.role" . | fromYaml -}}
{{- $selector := include "ekitei.selector" (dict "root" .root "component" .role) -}}
{{- /* Pods of regions get labels from the operator: they are spread by that which it leaves alone. */ -}}
{{- $spread := eq .role "region" | ternary (include "ekitei.serviceLabel" .root) $selector -}}
metadata:
  labels:
    {{- $labels := merge (include "ekitei.serviceLabel" .root | fromYaml) (include "ekitei.adminLabel" .root | fromYaml) ($selector | fromYaml) $role.labels $values.commonLabels }}
    {{- toYaml $labels | nindent 4 }}
  {{- $annotations := $role.annotations }}
  {{- if ne .role "region" }}
  {{- /* Keys that need a restart get one. */}}
  {{- $annotations = merge (dict "checksum/config" (include "ekitei.config" . | sha256sum)) $annotations }}
  {{- end }}
  {{- with $annotations }}
  annotations: {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "ekitei.serviceAccount" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ add $values.shutdown.preStopSeconds $values.shutdown.graceSeconds 10 }}
  securityContext: {{- include "ekitei.podSecurity" .root | nindent 4 }}
  {{- with $role.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $role.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $role.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $role.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  topologySpreadConstraints:
  {{- with $role.topologySpreadConstraints }}
    {{- toYaml . | nindent 4 }}
  {{- else }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- $spread | nindent 10 }}
      {{- if ne $.role "region" }}
      matchLabelKeys: [{{ eq $values.store.kind "embedded" | ternary "controller-revision-hash" "pod-template-hash" }}]
      {{- end }}
  {{- end }}
  {{- end }}
  containers:
    - name: ekitei
      image: {{ include "ekitei.image" .root }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      command: [ekitei]
      args: [serve, --config, /etc/ekitei/ekitei.yaml]
      env:
        # For the verbs of the administrator in `kubectl exec`.
        - {name: EKITEI_SERVER, value: "http://127.0.0.1:8080"}
        - {name: EKITEI_TOKEN_FILE, value: /etc/ekitei-secrets/admin/{{ $values.admin.existingSecretKey }}}
        {{- if and (eq $values.store.kind "foundationdb") $values.store.foundationdb.tls.existingSecret }}
        - {name: FDB_TLS_CERTIFICATE_FILE, value: /etc/ekitei-secrets/foundationdb/tls.crt}
        - {name: FDB_TLS_KEY_FILE, value: /etc/ekitei-secrets/foundationdb/tls.key}
        - {name: FDB_TLS_CA_FILE, value: /etc/ekitei-secrets/foundationdb/ca.crt}
        {{- end }}
        {{- with $role.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        {{- $protocols := include "ekitei.protocols" .root | fromYaml }}
        {{- range $role.protocols }}
        {{- $port := (get $protocols .).container }}
        - {name: {{ . }}, containerPort: {{ $port }}}
        {{- if $values.proxyProtocol.enabled }}
        - {name: px-{{ . }}, containerPort: {{ add 10000 $port }}}
        {{- end }}
        {{- end }}
        - {name: http, containerPort: 8080}
      # The port of the admin API has no bans and no limits on connections: nothing that clients do can make a probe fail.
      startupProbe:
        httpGet: {path: /healthz/live, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        # An embedded store is read in full first.
        failureThreshold: 900
      livenessProbe:
        httpGet: {path: /healthz/live, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /healthz/ready, port: http}
        periodSeconds: 5
        timeoutSeconds: 2
        failureThreshold: 2
      {{- if $values.shutdown.preStopSeconds }}
      lifecycle:
        # Endpoints and load balancers hear of the end of the pod first; then SIGTERM drains it within `shutdown.grace`.
        preStop: {sleep: {seconds: {{ $values.shutdown.preStopSeconds }}}}
      {{- end }}
      resources: {{- toYaml $role.resources | nindent 8 }}
      securityContext: {{- include "ekitei.containerSecurity" .root | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/ekitei, readOnly: true}
        {{- range (include "ekitei.secrets" . | fromYaml).secrets }}
        - {name: {{ .volume }}, mountPath: /etc/ekitei-secrets/{{ .mount }}, readOnly: true}
        {{- end }}
        {{- if eq $values.store.kind "embedded" }}
        - {name: data, mountPath: /var/lib/ekitei}
        {{- else }}
        - {name: foundationdb, mountPath: /etc/foundationdb, readOnly: true}
        {{- end }}
        {{- if and (eq $values.bodies.kind "s3") $values.bodies.s3.cache.size }}
        - {name: cache, mountPath: /var/cache/ekitei}
        {{- end }}
        {{- with $role.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ $fullname }}-{{ .role }}}
    {{- range (include "ekitei.secrets" . | fromYaml).secrets }}
    - name: {{ .volume }}
      # 0440: for the pod's group alone. YAML 1.2 has no octal numbers of this form.
      secret: {secretName: {{ .name }}, defaultMode: 288}
    {{- end }}
    {{- with $values.store.foundationdb.clusterFile }}
    {{- if eq $values.store.kind "foundationdb" }}
    - name: foundationdb
      {{- if .existingSecret }}
      secret: {secretName: {{ .existingSecret }}}
      {{- else }}
      configMap: {name: {{ .existingConfigMap | default (printf "%s-config" (include "ekitei.foundationdb" $root)) }}}
      {{- end }}
    {{- else if $values.store.embedded.existingClaim }}
    - name: data
      persistentVolumeClaim: {claimName: {{ $values.store.embedded.existingClaim }}}
    {{- end }}
    {{- end }}
    {{- if and (eq $values.bodies.kind "s3") $values.bodies.s3.cache.size }}
    - name: cache
      emptyDir: {sizeLimit: {{ $values.bodies.s3.cache.size }}}
    {{- end }}
    {{- with $role.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/*
The Secrets that pods of a role mount below /etc/ekitei-secrets, as YAML {secrets: [{volume, mount, name}]}. Names of Secrets may be longer than those of volumes,
and have dots. Takes {root, role}.
*/}}
{{- define "ekitei.secrets" -}}
{{- $values := .root.Values -}}
secrets:
  - {volume: secret-admin, mount: admin, name: {{ include "ekitei.adminSecret" .root }}}
  {{- with $values.signing.existingSecret }}
  - {volume: secret-signing, mount: signing, name: {{ . }}}
  {{- end }}
  {{- if $values.encryption.enabled }}
  - {volume: secret-encryption, mount: encryption, name: {{ $values.encryption.existingSecret }}}
  {{- end }}
  {{- if and (eq $values.bodies.kind "s3") $values.bodies.s3.existingSecret }}
  - {volume: secret-s3, mount: s3, name: {{ $values.bodies.s3.existingSecret }}}
  {{- end }}
  {{- if and (eq $values.store.kind "foundationdb") $values.store.foundationdb.tls.existingSecret }}
  - {volume: secret-foundationdb, mount: foundationdb, name: {{ $values.store.foundationdb.tls.existingSecret }}}
  {{- end }}
  {{- range $index, $name := (include "ekitei.certificates" . | fromYaml).secrets }}
  - {volume: secret-tls-{{ $index }}, mount: tls-{{ $index }}, name: {{ $name }}}
  {{- end }}
  {{- range $index, $mount := $values.secretMounts }}
  - {volume: mount-{{ $index }}, mount: {{ $mount.name | quote }}, name: {{ $mount.name | quote }}}
  {{- end }}
{{- end -}}

{{/* The name of the FoundationDBCluster that the chart makes. */}}
{{- define "ekitei.foundationdb" -}}
{{- .Values.store.foundationdb.cluster.name | default (printf "%s-fdb" (include "ekitei.fullname" .)) -}}
{{- end -}}
