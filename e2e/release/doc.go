// Package release makes the parts of a release that goreleaser doesn't: the container image for several architectures, SBOMs from
// the build information in the programs, and the proof that a build of the same commit in another directory gives the same bytes.
// All of it works without a network.
package release
