// Package crd tests the resource types as the API server sees them: what it
// refuses and with which words, what it fills in, what it shows. There is no
// operator here, so that all of it holds whoever writes.
package crd
