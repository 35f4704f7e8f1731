{{/* What the controller does in the API, and why. */}}

{{- define "ingress-sso.rules.apps" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs:
    - get # the app, before the route to its login is deleted; the route, when its name turns out to be taken
    - list # the apps; and those of a namespace once more, before what they share is deleted
    - watch # the apps, and who else serves their hosts
    - create # the route of an app's host to the outpost
    - patch # the annotations that protect an app; a route that somebody edited
    - delete # the route of an app that is no longer protected
- apiGroups: [""]
  resources: [services]
  verbs:
    - get # the one that already has the name that a new one was to get
    - list # the outposts that authentik deployed; the Services made beside apps
    - watch # the same
    - create # the way from an app's namespace to the outpost
    - patch # the same, when somebody edited it
    - delete # the same, when no app of the namespace needs it any more
- apiGroups: [""]
  resources: [configmaps]
  verbs:
    - get # the one that already has the name that a new one was to get
    - list # those made beside apps, by their label; no others are asked for
    - watch # the same
    - create # the request headers of the auth check
    - patch # the same, when they are not what they should be
    - delete # the same, when no app of the namespace needs them any more
- apiGroups: [traefik.io]
  resources: [middlewares]
  verbs:
    - get # the one that already has the name that a new one was to get
    - list # those made beside apps; and all others, since one of another namespace can have the same name for Traefik
    - watch # the same
    - create # what asks the outpost about requests to an app
    - patch # the same, when somebody edited it
    - delete # the same, when no app of the namespace needs it any more
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs:
    - create # what became of an app, for `kubectl describe ingress`
    - patch # the count of what happened to an app again
{{- end }}

{{- define "ingress-sso.rules.classes" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs:
    - list # which ingress controller serves a class, and so which annotations protect
    - watch # the same
{{- end }}

{{- define "ingress-sso.rules.outposts" -}}
- apiGroups: [""]
  resources: [services]
  verbs:
    - list # the outposts that authentik deployed
    - watch # the same
{{- end }}

{{- define "ingress-sso.rules.lease" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs:
    - get # who holds it
    - create # it, where nobody has yet
    - update # it, to take, renew and give up
{{- end }}

{{/* A Role and its RoleBinding: (dict "root" $ "name" … "namespace" … "rules" …). */}}
{{- define "ingress-sso.role" -}}
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  {{- include "ingress-sso.metadata" . | nindent 2 }}
rules:
  {{- .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  {{- include "ingress-sso.metadata" . | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
{{ include "ingress-sso.subjects" .root }}
{{- end }}
