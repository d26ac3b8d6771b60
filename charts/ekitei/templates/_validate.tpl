{{/* What the schema cannot say: each rule fails with what to do. Included once, by the ConfigMaps of the service. */}}
{{- define "ekitei.validate" -}}
{{- $values := .Values -}}
{{- $embedded := eq $values.store.kind "embedded" -}}
{{- $fdb := $values.store.foundationdb -}}
{{- $newKey := "--from-literal=key=$(openssl rand -base64 32)" -}}

{{- if and $embedded (ne $values.topology "all") -}}
{{- fail "topology: \"roles\" needs store.kind: \"foundationdb\", since an embedded store serves one pod" -}}
{{- end -}}
{{- $all := include "ekitei.role" (dict "root" . "role" "all") | fromYaml -}}
{{- if and $embedded (or (gt (int $all.replicas) 1) $all.autoscaling.enabled) -}}
{{- fail "an embedded store serves one pod: for more replicas or autoscaling set store.kind: \"foundationdb\" and bodies.kind: \"s3\"" -}}
{{- end -}}
{{- if and (not $embedded) (ne $values.bodies.kind "s3") -}}
{{- fail "store.kind: \"foundationdb\" needs bodies.kind: \"s3\", since its pods have no volume in common" -}}
{{- end -}}
{{- if and (eq $values.bodies.kind "s3") (not $values.bodies.s3.bucket) -}}
{{- fail "bodies.s3.bucket: the name of the bucket is missing" -}}
{{- end -}}
{{- if not $embedded -}}
{{- if and $fdb.clusterFile.existingSecret $fdb.clusterFile.existingConfigMap -}}
{{- fail "store.foundationdb.clusterFile: set existingSecret or existingConfigMap, not both" -}}
{{- end -}}
{{- if not (or $fdb.clusterFile.existingSecret $fdb.clusterFile.existingConfigMap $fdb.cluster.create) -}}
{{- fail "store.foundationdb: no cluster is named. Set clusterFile.existingSecret or clusterFile.existingConfigMap, or cluster.create: true to have one made by the FoundationDB operator" -}}
{{- end -}}
{{- if not $values.signing.existingSecret -}}
{{- fail (printf "signing.existingSecret: a cluster needs a key that DKIM keys and certificates are stored under; it is not generated, since a new one could not read what is stored. Make it once: kubectl -n %s create secret generic %s-signing %s" .Release.Namespace (include "ekitei.fullname" .) $newKey) -}}
{{- end -}}
{{- end -}}
{{- if and $values.encryption.enabled (not $values.encryption.existingSecret) -}}
{{- fail (printf "encryption.existingSecret: the master key is missing; it is not generated, since mail is lost without it. Make it once, and keep a copy: kubectl -n %s create secret generic %s-encryption %s" .Release.Namespace (include "ekitei.fullname" .) $newKey) -}}
{{- end -}}
{{- if and $values.proxyProtocol.enabled (not $values.proxyProtocol.trustedNetworks) -}}
{{- fail "proxyProtocol.trustedNetworks: the addresses of the load balancers are missing. Whoever may send a PROXY header can pretend to have any address, so they must be listed: [10.0.0.0/16]" -}}
{{- end -}}
{{- range $network := $values.proxyProtocol.trustedNetworks -}}
{{- if regexMatch "/0+$" $network -}}
{{- fail (printf "proxyProtocol.trustedNetworks: %s would believe everyone; list the addresses of the load balancers" $network) -}}
{{- end -}}
{{- end -}}
{{- if and $values.tls.certManager.enabled (not $values.tls.certManager.issuerRef) -}}
{{- fail "tls.certManager.issuerRef: say who issues the certificate: {name: letsencrypt, kind: ClusterIssuer}" -}}
{{- end -}}
{{- if and $values.tls.certManager.enabled (not $values.hostname) -}}
{{- fail "hostname: a certificate by cert-manager needs the public name of the service" -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" (include "ekitei.fullname" .)) -}}
{{- fail (printf "the names of Services cannot begin with a digit, as %q does: set fullnameOverride" (include "ekitei.fullname" .)) -}}
{{- end -}}
{{- if and $values.operator.enabled (not $values.operator.serviceAccount.create) (not $values.operator.serviceAccount.name) -}}
{{- fail "operator.serviceAccount.name: name the account that is there. Without a name all pods of the namespace's default account would get the operator's rights" -}}
{{- end -}}
{{- range list "replicas" "autoscaling" "podDisruptionBudget" -}}
{{- if hasKey $values.regions . -}}
{{- fail (printf "regions.%s: each MailRegion says by spec.replicas how many pods it has, which autoscalers may set; its PodDisruptionBudget follows from that" .) -}}
{{- end -}}
{{- end -}}
{{- with $values.operator.acme.externalAccount -}}
{{- if and .keyId (not .existingSecret) -}}
{{- fail "operator.acme.externalAccount.existingSecret: name the Secret with the HMAC key of the account" -}}
{{- end -}}
{{- end -}}
{{- $mounts := list -}}
{{- range $values.secretMounts -}}
{{- if or (has .name (list "admin" "signing" "encryption" "s3" "foundationdb")) (regexMatch "^tls-[0-9]+$" .name) -}}
{{- fail (printf "secretMounts: the chart has something else at /etc/ekitei-secrets/%s; give the Secret another name" .name) -}}
{{- end -}}
{{- if has .name $mounts -}}
{{- fail (printf "secretMounts: %s is there twice" .name) -}}
{{- end -}}
{{- $mounts = append $mounts .name -}}
{{- end -}}
{{- range $role := (include "ekitei.roles" . | fromYaml).roles -}}
{{- $settings := include "ekitei.role" (dict "root" $ "role" $role) | fromYaml -}}
{{- if and $settings.autoscaling.enabled (not $settings.autoscaling.cpu) (not $settings.autoscaling.connections) -}}
{{- fail (printf "roles.%s.autoscaling: set cpu or connections, else there is nothing to scale by" $role) -}}
{{- end -}}
{{- if and $settings.autoscaling.enabled (gt (int $settings.autoscaling.minReplicas) (int $settings.autoscaling.maxReplicas)) -}}
{{- fail (printf "roles.%s.autoscaling: minReplicas is more than maxReplicas" $role) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $values.topology "roles") (lt (int (include "ekitei.role" (dict "root" . "role" "worker") | fromYaml).replicas) 1) -}}
{{- fail "roles.worker.replicas: without workers nothing would send, pack or report; set at least 1" -}}
{{- end -}}
{{- end -}}
