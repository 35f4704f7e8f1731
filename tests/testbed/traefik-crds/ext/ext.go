// Package ext stands in for a module that Traefik keeps inside its own repository: places where other builds
// of Traefik add fields.
package ext

// HTTP adds nothing.
type HTTP struct{}

// Router adds nothing.
type Router struct{}
