package measures

import "testing"

func TestFormatCount(t *testing.T) {
	for n, want := range map[int]string{5: "5", 1000: "1000", 20_000: "20 000", 1_000_000: "1 000 000", 1_002_030: "1 002 030"} {
		if got := formatCount(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}
