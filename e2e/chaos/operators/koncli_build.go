package operators

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/LogicIQ/konductor/e2e/manifest"
)

// ClockSkewEnv is the environment variable with the clock skew, in seconds, of a koncli that Build has built.
const ClockSkewEnv = "CHAOS_WALL_CLOCK_OFF_BY"

// Build builds koncli into dir and returns its path. Its source is the product's, unchanged. In its standard library, package
// time adds ClockSkewEnv to the wall clock, so that the clock is wrong for the whole process. The monotonic clock is not changed,
// as when somebody sets a clock.
func Build(ctx context.Context, dir string, tags ...string) (string, error) {
	root, err := manifest.RepoRoot()
	if err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	overlay, err := writeOverlay(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("making a clock that can be wrong: %w", err)
	}
	out := filepath.Join(dir, strings.Join(append([]string{"koncli"}, tags...), "-"))
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay="+overlay, "-tags="+strings.Join(tags, ","), "-o", out, "./plugins/konductor")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building koncli: %w\n%s", err, text)
	}
	return out, nil
}

// writeOverlay writes a package time whose wall clock can be wrong, and returns the overlay file for the go command.
func writeOverlay(ctx context.Context, dir string) (string, error) {
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	source := filepath.Join(strings.TrimSpace(string(goroot)), "src", "time")
	text, err := os.ReadFile(filepath.Join(source, "time.go"))
	if err != nil {
		return "", err
	}
	const read = "\tsec, nsec, mono := runtimeNow()\n"
	if bytes.Count(text, []byte(read)) != 1 {
		return "", errors.New("this Go reads the clock in another way than time.Now of Go 1.26")
	}
	// The text and the path are the same each time, so that the go command finds earlier builds in its cache.
	overlay := filepath.Join(dir, "_overlay") // an underscore: no package of this module
	if err := os.MkdirAll(overlay, 0o755); err != nil {
		return "", err
	}
	files := map[string]string{
		"time.go":     strings.Replace(string(text), read, read+"\tsec += wallClockOffBy\n", 1),
		"offclock.go": strings.ReplaceAll(skewedClockSource, "VARIABLE", ClockSkewEnv),
	}
	replace := map[string]string{}
	for name, text := range files {
		replace[filepath.Join(source, name)] = filepath.Join(overlay, name)
		if err := os.WriteFile(filepath.Join(overlay, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	config, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, config, 0o644)
}

// skewedClockSource is added to package time, which can't import os or strconv.
const skewedClockSource = `package time

import "syscall"

var wallClockOffBy = func() (seconds int64) {
	text, _ := syscall.Getenv("VARIABLE")
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	for _, digit := range []byte(text) {
		seconds = 10*seconds + int64(digit-'0')
	}
	if negative {
		return -seconds
	}
	return seconds
}()
`
