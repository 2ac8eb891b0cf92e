// Package release makes those parts of a release that goreleaser doesn't: the
// container image for several architectures, bills of materials from what the
// linker noted in the programs, and the proof that the same commit gives the same
// bytes in another folder. All of it works without a network.
package release
