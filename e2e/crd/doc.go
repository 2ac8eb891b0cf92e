// Package crd tests the CRDs as the API server applies them: what it rejects and with which errors, its defaults, its output.
// There is no operator here, so that all of it holds for every client.
package crd
