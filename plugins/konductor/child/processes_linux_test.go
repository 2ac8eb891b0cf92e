package child

import "testing"

func TestStatIsReadWhateverTheNameOfTheProcess(t *testing.T) {
	for line, want := range map[string]process{
		"12 (sh) S 1 12 12 0 -1 4194560":           {parent: 1, group: 12, session: 12},
		"12 (a) b) (c) Z 7 8 9 0 -1":               {parent: 7, group: 8, session: 9, zombie: true},
		"12 (with space and 1 2 3) R 40 41 42 0 0": {parent: 40, group: 41, session: 42},
	} {
		if got, ok := parseStat([]byte(line)); !ok || got != want {
			t.Errorf("%s: %+v, %t, want %+v", line, got, ok, want)
		}
	}
	for _, line := range []string{"", "12", "12 (sh)", "12 (sh) S 1", "12 (sh) S a b c"} {
		if got, ok := parseStat([]byte(line)); ok {
			t.Errorf("%q was read as %+v", line, got)
		}
	}
}
