{{- define "penstock.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters: "-proxy-headless", an ordinal and the hash of a revision still fit into 63. */}}
{{- define "penstock.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "penstock.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "penstock.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "penstock.controller.fullname" -}}{{ include "penstock.fullname" . }}-controller{{- end -}}
{{- define "penstock.proxy.fullname" -}}{{ include "penstock.fullname" . }}-proxy{{- end -}}
{{- define "penstock.proxy.headless" -}}{{ include "penstock.fullname" . }}-proxy-headless{{- end -}}

{{/* Call with (dict "root" $ "component" "proxy"). */}}
{{- define "penstock.selectorLabels" -}}
app.kubernetes.io/name: {{ include "penstock.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "penstock.labels" -}}
{{ include "penstock.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Without versions: a new chart must not restart proxies whose image stays the same, for their viewers would notice. */}}
{{- define "penstock.podLabels" -}}
{{ include "penstock.selectorLabels" . }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "penstock.serviceAccountName" -}}
{{- default (ternary (include "penstock.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "penstock.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "penstock.claimName" -}}
{{- default (printf "%s-data" (include "penstock.controller.fullname" .)) .Values.database.sqlite.existingClaim -}}
{{- end -}}

{{/* One environment variable from a Secret. Call with (dict "root" $ "env" "PENSTOCK_API_TOKEN" "secret" "apiToken"). */}}
{{- define "penstock.secretEnv" -}}
{{- $secret := index .root.Values.secrets .secret -}}
{{- $name := default .root.Values.secrets.existingSecret $secret.existingSecret -}}
{{- if not $name -}}
{{- fail (printf "Penstock needs a Secret for %s: set secrets.existingSecret (or secrets.%s.existingSecret) to the name of one that holds the key %q" .env .secret $secret.key) -}}
{{- end -}}
- name: {{ .env }}
  valueFrom:
    secretKeyRef:
      name: {{ $name }}
      key: {{ $secret.key }}
{{- end -}}

{{- define "penstock.databaseEnv" -}}
{{- if eq .Values.database.mode "postgres" -}}
{{ include "penstock.secretEnv" (dict "root" . "env" "PENSTOCK_DATABASE_URL" "secret" "databaseUrl") }}
{{- else -}}
- name: PENSTOCK_DATABASE_URL
  value: sqlite:////var/lib/penstock/penstock.db
{{- end -}}
{{- end -}}

{{- define "penstock.proxyUrls" -}}
{{- $urls := list -}}
{{- range $ordinal := until (int .Values.proxy.replicas) -}}
{{- $urls = append $urls (printf "http://%s-%d.%s.%s.svc:8090" (include "penstock.proxy.fullname" $) $ordinal (include "penstock.proxy.headless" $) $.Release.Namespace) -}}
{{- end -}}
{{- toJson $urls -}}
{{- end -}}

{{/* How viewers reach a proxy; $(POD_NAME) and $(POD_ORDINAL) are expanded by the kubelet. */}}
{{- define "penstock.proxy.publicUrl" -}}
{{- if .Values.proxy.publicUrl -}}
{{- .Values.proxy.publicUrl | replace "{ordinal}" "$(POD_ORDINAL)" -}}
{{- else if .Values.ingress.enabled -}}
{{- printf "%s://%s" (ternary "https" "http" (not (empty .Values.ingress.tls))) .Values.ingress.host -}}
{{- else -}}
{{- printf "http://$(POD_NAME).%s.%s.svc:8090" (include "penstock.proxy.headless" .) .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{- define "penstock.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- with .Values.podSecurity }}
{{- if not (kindIs "invalid" .runAsUser) }}
runAsUser: {{ int64 .runAsUser }}
{{- end }}
{{- if not (kindIs "invalid" .runAsGroup) }}
runAsGroup: {{ int64 .runAsGroup }}
{{- end }}
{{- if not (kindIs "invalid" .fsGroup) }}
fsGroup: {{ int64 .fsGroup }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end }}
{{- end -}}

{{- define "penstock.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Brings the schema up to date and ends; does nothing when it is there. Call with (dict "root" $ "dataDir" "/tmp" "volume" "tmp"). */}}
{{- define "penstock.migrationsContainer" -}}
name: migrations
image: {{ include "penstock.image" .root }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: [db, upgrade]
env:
  - name: PENSTOCK_DATA_DIR
    value: {{ .dataDir }}
  {{- include "penstock.databaseEnv" .root | nindent 2 }}
resources: {{- toYaml .root.Values.controller.resources | nindent 2 }}
securityContext: {{- include "penstock.containerSecurityContext" .root | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if ne .volume "tmp" }}
  - name: {{ .volume }}
    mountPath: {{ .dataDir }}
  {{- end }}
{{- end -}}

{{/* What a person asks for and no cluster can give: said here, before anything is rendered. */}}
{{- define "penstock.validate" -}}
{{- $values := .Values -}}
{{- $postgres := eq $values.database.mode "postgres" -}}
{{- if not $values.mqtt.url -}}
{{- fail "mqtt.url is required: the MQTT 5 broker that the sources publish to, e.g. mqtt://mosquitto:1883" -}}
{{- end -}}
{{- if and (gt (int $values.controller.replicas) 1) (not $postgres) -}}
{{- fail "controller.replicas must be 1 with database.mode=sqlite: one file on one volume serves one controller" -}}
{{- end -}}
{{- if and (eq $values.migrations.mode "job") (not $postgres) -}}
{{- fail "migrations.mode=job needs database.mode=postgres: a hook cannot mount the SQLite volume that the controller uses" -}}
{{- end -}}
{{- if and (gt (int $values.proxy.replicas) 1) $values.proxy.publicUrl (not (contains "{ordinal}" $values.proxy.publicUrl)) -}}
{{- fail "proxy.publicUrl must hold {ordinal} when proxy.replicas is more than 1: viewers are sent to the one proxy that carries the stream" -}}
{{- end -}}
{{- if $values.ingress.enabled -}}
{{- if not $values.ingress.host -}}
{{- fail "ingress.host is required when ingress.enabled is true" -}}
{{- end -}}
{{- if and (gt (int $values.proxy.replicas) 1) (not $values.proxy.publicUrl) -}}
{{- fail "proxy.publicUrl is required when ingress.enabled is true and proxy.replicas is more than 1, e.g. https://tv-{ordinal}.example.org: each proxy needs a host of its own" -}}
{{- end -}}
{{- if and (gt (int $values.proxy.replicas) 1) (not (contains "{ordinal}" (regexReplaceAll ":[^:]*$" (trimPrefix "http://" (trimPrefix "https://" $values.proxy.publicUrl)) ""))) -}}
{{- fail "proxy.publicUrl must hold {ordinal} in its host when ingress.enabled is true: an Ingress tells proxies apart by host" -}}
{{- end -}}
{{- end -}}
{{- end -}}
