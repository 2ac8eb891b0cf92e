package state

import "strings"

// The processes of a detached cluster carry these in their environment, so that
// they are found even where nothing was written down: a crash may come between
// the start of a process and the note of its id.
const (
	clusterVar   = "KONDUCTOR_CLUSTER"           // the cluster's folder
	componentVar = "KONDUCTOR_CLUSTER_COMPONENT" // what the process is
)

// Marks are the environment variables that mark a process as a component of the
// cluster in dir. Without dir there are none.
func Marks(dir, component string) []string {
	if dir == "" {
		return nil
	}
	return []string{clusterVar + "=" + dir, componentVar + "=" + component}
}

// markedComponent gives the component that environ marks a process of the cluster in
// dir as. Both variables are wanted: a person may well set the first one.
func markedComponent(environ, dir string) (component string, ok bool) {
	var cluster string
	for entry := range strings.SplitSeq(environ, "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case clusterVar:
			cluster = value
		case componentVar:
			component = value
		}
	}
	return component, cluster == dir && component != ""
}
