{{/* The spec of the Service of a role, but for its selector. Takes {root, role}. */}}
{{- define "ekitei.serviceSpec" -}}
{{- $protocols := include "ekitei.protocols" .root | fromYaml -}}
{{- $proxy := .root.Values.proxyProtocol.enabled -}}
{{- $settings := include "ekitei.role" . | fromYaml -}}
{{- with $settings.service -}}
type: {{ .type }}
ipFamilyPolicy: {{ .ipFamilyPolicy }}
{{- if ne .type "ClusterIP" }}
externalTrafficPolicy: {{ .externalTrafficPolicy }}
{{- end }}
{{- if eq .type "LoadBalancer" }}
{{- with .loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with .loadBalancerSourceRanges }}
loadBalancerSourceRanges: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- /* Every region has its own Service, and a port of the nodes is for one. */}}
{{- $nodePorts := eq $.role "region" | ternary dict (.nodePorts | default dict) }}
ports:
  {{- range $settings.protocols }}
  - name: {{ . }}
    port: {{ (get $protocols .).port }}
    targetPort: {{ $proxy | ternary (printf "px-%s" .) . }}
    {{- if hasKey $nodePorts . }}
    nodePort: {{ get $nodePorts . | int }}
    {{- end }}
  {{- end }}
{{- end -}}
{{- end -}}
