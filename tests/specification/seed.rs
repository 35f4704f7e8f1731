//! The case that everything began with, word for word: an app's Ingress in, and what then stands in the cluster.

/// The app as its owner wrote it, and as the API server holds it.
pub(crate) const BEFORE: &str = r#"
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: n8n
  namespace: n8n-prd
  uid: uid-of-n8n
  resourceVersion: "1"
  creationTimestamp: "2026-01-01T00:00:00Z"
  annotations:
    cert-manager.io/cluster-issuer: letsencrypt
    sso.djieno.com/authentik: "true"
spec:
  ingressClassName: nginx
  rules:
  - host: app.djieno.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: n8n
            port:
              number: 5678
  tls:
  - hosts: [app.djieno.com]
    secretName: n8n-tls
"#;

/// What stands in the cluster when the app is protected.
pub(crate) const AFTER: &str = r#"
apiVersion: v1
kind: Service
metadata:
  name: authentik-proxy-outpost
  namespace: n8n-prd
  labels:
    app.kubernetes.io/managed-by: ingress-sso
    app.kubernetes.io/part-of: authentik
    sso.djieno.com/outpost: proxy-outpost
spec:
  type: ExternalName
  externalName: ak-outpost-proxy-outpost.authentik-prd.svc.cluster.local
  ports:
  - name: http
    port: 9000
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: authentik-headers-4bd8e4f378
  namespace: n8n-prd
  labels:
    app.kubernetes.io/managed-by: ingress-sso
    app.kubernetes.io/part-of: authentik
data:
  Forwarded: ""
  X-Forwarded-Host: $host
  X-Original-URI: ""
immutable: true
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: n8n-outpost-path
  namespace: n8n-prd
  labels:
    app.kubernetes.io/managed-by: ingress-sso
    app.kubernetes.io/part-of: authentik
    sso.djieno.com/outpost: proxy-outpost
  annotations:
    external-dns.alpha.kubernetes.io/controller: ignore
    external-dns.kubernetes.io/controller: ignore
    nginx.ingress.kubernetes.io/custom-http-errors: "418"
    nginx.ingress.kubernetes.io/enable-global-auth: "false"
    nginx.ingress.kubernetes.io/proxy-buffer-size: 16k
    nginx.ingress.kubernetes.io/proxy-busy-buffers-size: 16k
    sso.djieno.com/app: n8n
  ownerReferences:
  - apiVersion: networking.k8s.io/v1
    kind: Ingress
    name: n8n
    uid: uid-of-n8n
    controller: true
spec:
  ingressClassName: nginx
  rules:
  - host: app.djieno.com
    http:
      paths:
      - path: /outpost.goauthentik.io
        pathType: ImplementationSpecific
        backend:
          service:
            name: authentik-proxy-outpost
            port:
              number: 9000
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: n8n
  namespace: n8n-prd
  uid: uid-of-n8n
  resourceVersion: "1"
  creationTimestamp: "2026-01-01T00:00:00Z"
  annotations:
    cert-manager.io/cluster-issuer: letsencrypt
    nginx.ingress.kubernetes.io/auth-proxy-set-headers: n8n-prd/authentik-headers-4bd8e4f378
    nginx.ingress.kubernetes.io/auth-response-headers: Set-Cookie,X-authentik-username,X-authentik-groups,X-authentik-entitlements,X-authentik-email,X-authentik-name,X-authentik-uid,X-authentik-jwt,X-authentik-meta-jwks,X-authentik-meta-outpost,X-authentik-meta-provider,X-authentik-meta-app,X-authentik-meta-version
    nginx.ingress.kubernetes.io/auth-signin: https://app.djieno.com/outpost.goauthentik.io/start?rd=$scheme://$best_http_host$escaped_request_uri
    nginx.ingress.kubernetes.io/auth-url: https://app.djieno.com/outpost.goauthentik.io/auth/nginx
    nginx.ingress.kubernetes.io/proxy-buffer-size: 16k
    nginx.ingress.kubernetes.io/proxy-busy-buffers-size: 16k
    sso.djieno.com/authentik: "true"
    sso.djieno.com/status: Protected
spec:
  ingressClassName: nginx
  rules:
  - host: app.djieno.com
    http:
      paths:
      - path: /
        pathType: Prefix
        backend:
          service:
            name: n8n
            port:
              number: 5678
  tls:
  - hosts: [app.djieno.com]
    secretName: n8n-tls
"#;
