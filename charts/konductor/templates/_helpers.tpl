{{- define "konductor.name" -}}konductor-operator{{- end }}

{{- define "konductor.labels" -}}
{{ include "konductor.labelsWith" (list . dict) }}
{{- end }}

{{- /* With further labels, which come before those of all objects. None takes the place of the chart's own. */}}
{{- define "konductor.labelsWith" -}}
{{- $top := index . 0 }}
{{- $own := include "konductor.selector" $top | fromYaml }}
{{- $_ := set $own "app.kubernetes.io/version" $top.Chart.AppVersion }}
{{- $_ := set $own "app.kubernetes.io/managed-by" $top.Release.Service }}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" $top.Chart.Name $top.Chart.Version | replace "+" "_") }}
{{- toYaml (merge $own (index . 1 | default dict) ($top.Values.labels | default dict)) }}
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
