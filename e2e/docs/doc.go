// Package docs tests what people read: that links lead somewhere, that manifests
// are accepted by the API server, that command lines are ones the program knows,
// that Go is an excerpt of code which compiles, that no field of the API and no
// event is left out.
package docs
