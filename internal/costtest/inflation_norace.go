//go:build !race

package costtest

const inflation = 1
