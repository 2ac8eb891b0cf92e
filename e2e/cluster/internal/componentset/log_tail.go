package componentset

import (
	"io"
	"os"
	"strings"
)

// logTail returns the last lines of a log, for an error message.
func logTail(path string) string {
	const (
		maxBytes = 8 << 10
		maxLines = 12
	)
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > maxBytes {
		if _, err := f.Seek(-maxBytes, io.SeekEnd); err != nil {
			return err.Error()
		}
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(data), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-maxLines):], "\n")
}
