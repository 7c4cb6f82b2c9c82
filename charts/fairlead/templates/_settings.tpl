{{/* The file that `fairlead-operator run --settings` reads. What is not said there is the operator's default. */}}
{{- define "fairlead.settings" -}}
image: {{ .Values.proxyImage | default (include "fairlead.image" .) | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
- {{ .name | quote }}
{{- end }}
{{- end }}
drainTimeout: {{ .Values.drainTimeout }}
gateway:
  replicas: {{ .Values.gateway.replicas }}
  networkPolicy: {{ .Values.gateway.networkPolicy }}
  {{- range $key := list "resources" "nodeSelector" "tolerations" "affinity" "topologySpread" "priorityClassName" "labels" "annotations" }}
  {{- with index $.Values.gateway $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
{{- with .Values.sidecar.resources }}
sidecar:
  resources:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}
