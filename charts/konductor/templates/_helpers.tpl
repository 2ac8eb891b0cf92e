{{- define "konductor.name" -}}konductor-operator{{- end }}

{{- define "konductor.labels" -}}
{{ include "konductor.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "konductor.selector" -}}
app.kubernetes.io/name: konductor
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}
