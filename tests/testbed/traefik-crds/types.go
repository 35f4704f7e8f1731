// Package types needs Traefik's Kubernetes types, so that go.mod and go.sum name all that they need.
package types

import _ "github.com/traefik/traefik/v3/pkg/provider/kubernetes/crd/traefikio/v1alpha1"
