{{/*
Who may connect to pods of the service, as rules of a NetworkPolicy: mail, for everyone or those who are listed; the admin API (with health and metrics) for the
operator, the monitoring and `helm test`. Probes come from the node and pass. The operator gives the same rules to the pods of each region, wherever they are.
*/}}
{{- define "ekitei.ingress" -}}
{{- $protocols := include "ekitei.protocols" . | fromYaml -}}
- ports:
    {{- range $protocol := keys $protocols | sortAlpha }}
    - {port: {{ (get $protocols $protocol).container }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.mailFrom }}
  from:
    {{- toYaml . | nindent 4 }}
    # `helm test` is one of the clients.
    - podSelector:
        matchLabels: {{- include "ekitei.selector" (dict "root" $ "component" "test") | nindent 10 }}
  {{- end }}
{{- if .Values.proxyProtocol.enabled }}
- ports:
    {{- range $protocol := keys $protocols | sortAlpha }}
    - {port: {{ add 10000 (get $protocols $protocol).container }}, protocol: TCP}
    {{- end }}
  from:
    {{- range .Values.proxyProtocol.trustedNetworks }}
    - ipBlock: {cidr: {{ contains "/" . | ternary . (printf "%s/%d" . (contains ":" . | ternary 128 32)) | quote }}}
    {{- end }}
{{- end }}
- ports: [{port: http, protocol: TCP}]
  from:
    {{- range list "operator" "test" }}
    - podSelector:
        matchLabels: {{- include "ekitei.selector" (dict "root" $ "component" .) | nindent 10 }}
    {{- end }}
    {{- with .Values.networkPolicy.monitoringNamespaceSelector }}
    - namespaceSelector: {{- toYaml . | nindent 8 }}
    {{- end }}
    {{- with .Values.networkPolicy.adminFrom }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
