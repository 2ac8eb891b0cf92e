{{- define "konductor.name" -}}konductor-operator{{- end }}

{{- define "konductor.labels" -}}
{{ include "konductor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "konductor.selector" -}}
app.kubernetes.io/name: konductor
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- /* Who may read metrics is asked of the API server, which is a cluster-wide right. "true" or nothing. */}}
{{- define "konductor.servesMetrics" -}}
{{- if eq .Values.metrics.serve "always" -}}
true
{{- else if and (eq .Values.metrics.serve "auto") (not .Values.watchNamespaces) -}}
true
{{- end -}}
{{- end }}

{{- define "konductor.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
