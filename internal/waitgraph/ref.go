package waitgraph

import (
	"cmp"
	"strings"
)

// Ref names an object.
type Ref struct {
	// Kind is Barrier, Gate, Lease, Semaphore, Job, Pod or Holder.
	Kind string `json:"kind"`
	// Namespace the object is in.
	Namespace string `json:"namespace,omitempty"`
	// Name of the object; of a Holder, the name under which it holds.
	Name string `json:"name"`
}

// String returns KIND/NAME as people type it.
func (r Ref) String() string { return strings.ToLower(r.Kind) + "/" + r.Name }

// StringIn returns KIND/NAME, prefixed with the namespace when that is not the given one.
func (r Ref) StringIn(namespace string) string {
	if r.Namespace == namespace {
		return r.String()
	}
	return r.Namespace + "/" + r.String()
}

// ParseRef parses KIND/NAME or, of two words, KIND NAME, with the kinds that kubectl accepts: lease/x, klease/x,
// leases.konductor.io/x, job/x, jobs.batch/x, po/x. ok is false when there is no such kind; without a name it is empty.
//
// It doesn't use resource.Builder of cli-runtime: that would take lease/x for a Lease of Kubernetes itself, and ask the API
// server for all resource types to resolve the six kinds that are known here.
func ParseRef(words ...string) (ref Ref, ok bool) {
	kind, name := "", ""
	switch len(words) {
	case 1:
		kind, name, _ = strings.Cut(words[0], "/")
	case 2:
		kind, name = words[0], words[1]
	}
	kind = parseKind(kind)
	return Ref{Kind: kind, Name: name}, kind != ""
}

// CompareRefs orders objects by namespace, kind and name.
func CompareRefs(a, b Ref) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
}
