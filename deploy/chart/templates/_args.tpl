{{/*
Arguments after `run`: those that say other than the program does without them, and for others that many need, how to write
them.
*/}}
{{- define "ingress-sso.args" -}}
{{- with .Values }}
{{- if ne .annotationPrefix "sso.djieno.com" }}
- --annotation-prefix={{ .annotationPrefix }}
{{- end }}
# Outposts that authentik deployed into this cluster are found by their labels. Any other has to be named:
{{- range $name, $url := .outposts }}
- --outpost={{ $name }}={{ $url }}
{{- else }}
# - --outpost=proxy-outpost=http://ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local:9000
{{- end }}
# With several outposts, the one of apps that name none:
{{- with .defaultOutpost }}
- --default-outpost={{ . }}
{{- else }}
# - --default-outpost=proxy-outpost
{{- end }}
# Traefik serves the class of an ingress-nginx that is gone (annotations for nginx would leave apps open):
{{- range $name, $dialect := .classes }}
- --class={{ $name }}={{ $dialect }}
{{- else }}
# - --class=nginx=traefik-nginx
{{- end }}
{{- if ne .authRoute "host" }}
- --auth-route={{ .authRoute }}
{{- end }}
{{- if .nginxRejectsDotSegments }}
- --nginx-rejects-dot-segments
{{- end }}
# Traefik runs with providers.kubernetesIngress.allowExternalNameServices:
{{- if .traefik.allowsExternalName }}
- --traefik-allows-external-name
{{- else }}
# - --traefik-allows-external-name
{{- end }}
{{- if .traefik.trustsForwardHeaders }}
- --traefik-trusts-forward-headers
{{- end }}
{{- if .traefik.safeNaming }}
- --traefik-safe-naming
{{- end }}
{{- if ne .clusterDomain "cluster.local" }}
- --cluster-domain={{ .clusterDomain }}
{{- end }}
{{- range .namespaces }}
- --namespace={{ . }}
{{- end }}
{{- range .outpostNamespaces }}
- --outpost-namespace={{ . }}
{{- end }}
# NetworkPolicies keep these Pods from the outposts, so that these cannot be asked whether they serve an app:
{{- if .probe }}
# - --probe=false
{{- else }}
- --probe=false
{{- end }}
{{- if include "ingress-sso.outpostCA.volume" $ }}
- --outpost-ca=/etc/ingress-sso/outpost-ca.crt
{{- end }}
{{- if not .leaderElect }}
- --leader-elect=false
{{- end }}
{{- with .leaseName }}
- --lease-name={{ . }}
{{- end }}
{{- with .leaseNamespace }}
- --lease-namespace={{ . }}
{{- end }}
{{- if ne (int .concurrency) 16 }}
- --concurrency={{ int .concurrency }}
{{- end }}
{{- if ne .listen "0.0.0.0:8080" }}
- --listen={{ .listen }}
{{- end }}
{{- if ne .log.format "text" }}
- --log-format={{ .log.format }}
{{- end }}
{{- with .extraArgs }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the authorities of outposts come from; nothing where there are none. */}}
{{- define "ingress-sso.outpostCA.volume" -}}
{{- with .Values.outpostCA }}
{{- if .secret.name -}}
secret:
  secretName: {{ .secret.name }}
  items:
    - key: {{ .secret.key }}
      path: outpost-ca.crt
{{- else if .configMap.name -}}
configMap:
  name: {{ .configMap.name }}
  items:
    - key: {{ .configMap.key }}
      path: outpost-ca.crt
{{- else if .pem -}}
configMap:
  name: {{ include "ingress-sso.name" $ }}-outpost-ca
  items:
    - key: ca.crt
      path: outpost-ca.crt
{{- end }}
{{- end }}
{{- end }}
