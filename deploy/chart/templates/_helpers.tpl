{{/* Name of all that is made in the namespace of the release, and of the Roles in others. */}}
{{- define "ingress-sso.name" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}
{{ .Release.Name }}
{{- else -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}-{{ .Chart.Name }}
{{- end -}}
{{- end }}

{{/*
Name of what is the whole cluster's. With the namespace, so that releases of the same name in two namespaces do not take each
other's rights away; but where that would only say the same twice.
*/}}
{{- define "ingress-sso.clusterName" -}}
{{- $name := include "ingress-sso.name" . -}}
{{- if eq $name .Release.Namespace -}}
{{ $name }}
{{- else -}}
{{ $name }}:{{ .Release.Namespace }}
{{- end -}}
{{- end }}

{{- define "ingress-sso.serviceAccount" -}}
{{- $made := .Values.serviceAccount.create | ternary (include "ingress-sso.name" .) "default" -}}
{{ .Values.serviceAccount.name | default $made }}
{{- end }}

{{/* Labels by which the Pods are selected: they can never be changed. `ingress-sso doctor` looks for the first two. */}}
{{- define "ingress-sso.selector" -}}
app.kubernetes.io/name: ingress-sso
app.kubernetes.io/component: controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Version of the program, as far as it is known. */}}
{{- define "ingress-sso.version" -}}
{{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | trimAll "._-" }}
{{- end }}

{{- define "ingress-sso.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/*
Name, namespace, labels and annotations of an object: (dict "root" $ "name" … "namespace" … "labels" … "annotations" …), all but
the first can be left out. An empty namespace is for what has none.
*/}}
{{- define "ingress-sso.metadata" -}}
{{- $root := .root -}}
name: {{ .name | default (include "ingress-sso.name" $root) }}
{{- with hasKey . "namespace" | ternary .namespace $root.Release.Namespace }}
namespace: {{ . }}
{{- end }}
labels:
  {{- include "ingress-sso.selector" $root | nindent 2 }}
  {{- with merge (dict) (.labels | default dict) $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (.annotations | default dict) $root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "ingress-sso.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "ingress-sso.serviceAccount" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Port of /healthz, /readyz and /metrics. */}}
{{- define "ingress-sso.port" -}}
{{ regexFind "[0-9]+$" .Values.listen }}
{{- end }}

{{/* Values that each are right and do not go together. */}}
{{- define "ingress-sso.check" -}}
{{- $values := .Values -}}
{{- if and (gt (int $values.replicas) 1) (not $values.leaderElect) -}}
{{- fail "leaderElect is false and replicas is more than 1: all of them would write; set replicas to 1" -}}
{{- end -}}
{{- if and $values.namespaces (not $values.outpostNamespaces) -}}
{{- fail "namespaces is set and outpostNamespaces is not: that would take the right to list Services everywhere; name the namespace of authentik" -}}
{{- end -}}
{{- $authorities := list $values.outpostCA.pem $values.outpostCA.configMap.name $values.outpostCA.secret.name | compact -}}
{{- if gt (len $authorities) 1 -}}
{{- fail "outpostCA has more than one of pem, configMap.name and secret.name: keep one" -}}
{{- end -}}
{{- end }}
