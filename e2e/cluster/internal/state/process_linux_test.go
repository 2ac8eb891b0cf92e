package state

import (
	"strings"
	"testing"
)

func TestParseStartTime(t *testing.T) {
	rest := func(state string) string {
		return state + " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	}
	for name, tc := range map[string]struct {
		stat, want, wantErr string
	}{
		"running":                         {stat: "7 (etcd) " + rest("S"), want: "4711"},
		"a name with spaces and brackets": {stat: "7 (a) b (c) " + rest("R"), want: "4711"},
		"ended but not reaped":            {stat: "7 (etcd) " + rest("Z"), wantErr: "has ended"},
		"cut off":                         {stat: "7 (etcd) S 1", wantErr: "unexpected"},
		"nothing":                         {wantErr: "unexpected"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseStartTime([]byte(tc.stat))
			if got != tc.want || (err == nil) != (tc.wantErr == "") || err != nil && !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("parseStat = %q, %v; want %q, %q", got, err, tc.want, tc.wantErr)
			}
		})
	}
}
