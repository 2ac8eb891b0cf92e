//go:build !konductor_broken

package controller

// tellsFirst makes a build with the tag konductor_broken tell claims that they are granted before the grant is written
// (broken.go), so that the checks of e2e/chaos can show that they would notice. In this build, which is every other, it
// does nothing, and nothing of it is left in the program.
const tellsFirst = false
