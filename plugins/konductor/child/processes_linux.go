package child

import (
	"bytes"
	"os"
	"strconv"
)

// process is what /proc says of a process.
type process struct {
	pid, parent, group, session int
	// zombie says that it has ended and waits to be reaped.
	zombie bool
}

// processes returns all processes that can be seen from here.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var found []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		if p, ok := parseStat(stat); ok {
			p.pid = pid
			found = append(found, p)
		}
	}
	return found
}

// parseStat reads the line that proc(5) describes. Its second field is the name in parentheses, which may have anything in
// it; after that come the state, the parent, the process group and the session.
func parseStat(stat []byte) (p process, ok bool) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return p, false
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 4 {
		return p, false
	}
	p.zombie = string(fields[0]) == "Z"
	for i, n := range []*int{&p.parent, &p.group, &p.session} {
		var err error
		if *n, err = strconv.Atoi(string(fields[i+1])); err != nil {
			return p, false
		}
	}
	return p, true
}
