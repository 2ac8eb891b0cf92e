// Package view is how konductor's objects look to people, as plain data: a row for each object, the details of one, what
// has changed, and what can be done about it. It is pure: it reads no clock, talks to no API server and knows no
// terminal. A World takes in what a watch brings; the dashboard, its single frame, the line for each change, the JSON
// and the status commands all show what it makes of it.
//
// world.go takes in, row.go makes rows, detail.go and its neighbours the details, action.go what can be done.
package view

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
)

// APIVersion is that of the view's JSON, the same as of why and graph.
const APIVersion = waits.Version

// Kinds that are followed beside konductor's own.
const (
	KindEvent = "Event"
	KindPod   = konductorv1.KindPod
	KindJob   = "Job"
)

// Kinds returns the four primitives, in the order in which they are shown.
func Kinds() []string {
	return []string{konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore}
}

// Followed returns every kind that a view is made from, Pods and Jobs excepted, which are followed while details show
// them.
func Followed() []string {
	return append(Kinds(), konductorv1.KindClaim, konductorv1.KindArrival, KindEvent)
}

// Ref names an object.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String returns KIND/NAME, as kubectl writes it.
func (r Ref) String() string { return strings.ToLower(r.Kind) + "/" + r.Name }

// Resource returns the resource of a konductor kind with its group, as RBAC names it.
func Resource(kind string) string { return strings.ToLower(kind) + "s." + konductorv1.GroupName }

// News is what a watch has brought since it was last asked.
type News struct {
	// Kinds has the kinds of which there is news.
	Kinds []KindNews
	// Link says how the connection to the API server is.
	Link Link
	// Skew is how far the API server's clock is ahead of this machine's.
	Skew time.Duration
}

// KindNews is what is new of one kind. An object that has changed several times is here once, as it is now.
type KindNews struct {
	Kind string
	// All says that Put is everything there is: what is not in it is gone.
	All bool
	// Put are objects that are new or have changed. They are shared and must not be written to.
	Put []metav1.Object
	// Gone are objects that were deleted.
	Gone []Ref
	// Denied says in a sentence why objects of this kind can't be seen; empty: they can.
	Denied string
}

// Link is the connection to the API server.
type Link struct {
	// Down says that it is lost and being looked for.
	Down bool `json:"down"`
	// Since is when it was lost, by this machine's clock.
	Since time.Time `json:"since,omitzero"`
	// Why is the error that told of it.
	Why string `json:"why,omitempty"`
}
