package state

import "strings"

// The processes of a detached cluster have these variables in their environment, so that they are found even without a record: a
// crash may come between the start of a process and the record of its id.
const (
	clusterVar   = "KONDUCTOR_CLUSTER"           // the cluster's directory
	componentVar = "KONDUCTOR_CLUSTER_COMPONENT" // the component's name
)

// MarkerEnv returns the environment variables that mark a process as a component of the cluster in dir. If dir is empty there are
// none.
func MarkerEnv(dir, component string) []string {
	if dir == "" {
		return nil
	}
	return []string{clusterVar + "=" + dir, componentVar + "=" + component}
}

// componentFromEnviron returns the component of a process with that environment, if it is marked as one of the cluster in dir.
// Both variables are required: a user may have set the first one.
func componentFromEnviron(environ []string, dir string) (component string, ok bool) {
	var cluster string
	for _, entry := range environ {
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
