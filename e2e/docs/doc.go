// Package docs tests the documentation: that links lead somewhere, that the API server accepts the manifests, that the program
// knows the command lines, that Go code is an excerpt of code that compiles, that no field of the API and no event is left out.
package docs
