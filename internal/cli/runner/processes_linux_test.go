package runner

import (
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	for line, want := range map[string]process{
		"12 (sh) S 1 12 12 0 -1 4194560":           {name: "sh", ppid: 1, pgid: 12, sid: 12},
		"12 (a) b) (c) Z 7 8 9 0 -1":               {name: "a) b) (c", ppid: 7, pgid: 8, sid: 9, zombie: true},
		"12 (with space and 1 2 3) R 40 41 42 0 0": {name: "with space and 1 2 3", ppid: 40, pgid: 41, sid: 42},
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

func TestTranslateToOwnNamespace(t *testing.T) {
	all := []process{
		{pid: 1, name: "init"},
		{pid: 100, ppid: 1, pgid: 100, sid: 100, name: "self"},
		{pid: 103, ppid: 102, pgid: 101, sid: 100, name: "inner"},
		{pid: 101, ppid: 100, pgid: 101, sid: 100, name: "command"},
		{pid: 102, ppid: 101, pgid: 101, sid: 100, name: "child"},
		{pid: 200, ppid: 1, pgid: 200, sid: 200, name: "another container's"},
	}
	of := map[int]namespacedIDs{
		100: {[]int{100, 1}, []int{100, 0}, []int{100, 0}},
		101: {[]int{101, 7}, []int{101, 7}, []int{100, 0}},
		102: {[]int{102, 8}, []int{101, 7}, []int{100, 0}},
		103: {[]int{103, 9, 1}, []int{101, 7, 0}, []int{100, 0, 0}},
		200: {[]int{200, 7}, []int{200, 7}, []int{200, 7}},
	}
	got := translateToOwnNamespace(all, 100, func(pid int) namespacedIDs { return of[pid] })
	want := []process{
		{pid: 1, name: "self"},
		{pid: 7, ppid: 1, pgid: 7, name: "command"},
		{pid: 8, ppid: 7, pgid: 7, name: "child"},
		{pid: 9, ppid: 8, pgid: 7, name: "inner"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
