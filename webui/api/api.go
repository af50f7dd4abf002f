// Package api is the contract of the REST API: openapi.yaml, and what is generated from it. The web app's client and the
// sdk speak the same document; a test holds its schemas against the domain types that they name.
package api

import _ "embed"

//go:generate go tool oapi-codegen -config server.cfg.yaml openapi.yaml

// Spec is the OpenAPI document.
//
//go:embed openapi.yaml
var Spec []byte
