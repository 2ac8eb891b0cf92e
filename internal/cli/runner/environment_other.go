//go:build !linux

package runner

import "os"

// Environment returns the environment that this program was started with.
func Environment() []string { return os.Environ() }
