// Package view is the view model of konductor's objects, as plain data: a row for each object, the details of one, the
// changes, and the possible actions. It is pure: it reads no clock, talks to no API server and knows no terminal. A Store
// applies what a watch delivers; the dashboard, its single frame, the line for each change, the JSON and the status commands
// all show its content.
//
// store.go has the Store, row.go builds rows, detail.go and its neighbors the details, action.go the actions.
package view

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// APIVersion is the apiVersion of the view's JSON, the same as of why and graph.
const APIVersion = waitgraph.APIVersion

// Kinds that are watched beside konductor's own.
const (
	KindEvent = "Event"
	KindPod   = konductorv1.KindPod
	KindJob   = "Job"
)

// PrimitiveKinds returns the kinds of the four primitives, in display order.
func PrimitiveKinds() []string {
	return []string{konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore}
}

// WatchedKinds returns every kind that a view is built from, except Pods and Jobs, which are watched only while details show
// them.
func WatchedKinds() []string {
	return append(PrimitiveKinds(), konductorv1.KindClaim, konductorv1.KindArrival, KindEvent)
}

// Ref identifies an object.
type Ref struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String returns KIND/NAME, as kubectl writes it.
func (r Ref) String() string { return strings.ToLower(r.Kind) + "/" + r.Name }

// GroupResourceName returns the resource of a konductor kind with its group, as in RBAC.
func GroupResourceName(kind string) string {
	return strings.ToLower(kind) + "s." + konductorv1.GroupName
}

// Delta has the changes that a watch delivered since the last Delta.
type Delta struct {
	// Kinds are the kinds with changes.
	Kinds []KindDelta
	// Connection is the state of the connection to the API server.
	Connection Connection
	// ClockSkew is how far the API server's clock is ahead of this machine's.
	ClockSkew time.Duration
}

// KindDelta has the changes of one kind. An object that changed several times is in it once, in its latest state.
type KindDelta struct {
	Kind string
	// Replace says that Upserted is the complete list: all other objects of the kind are gone.
	Replace bool
	// Upserted are new or changed objects. They are shared and must not be modified.
	Upserted []metav1.Object
	Deleted  []Ref
	// DeniedMessage says in a sentence why objects of this kind can't be read; empty: they can.
	DeniedMessage string
}

// Connection is the state of the connection to the API server.
type Connection struct {
	// Down says that the connection is lost and being retried.
	Down bool `json:"down"`
	// DownSince is when the connection was lost, by this machine's clock.
	DownSince time.Time `json:"since,omitzero"`
	// LastError is the error by which it was lost.
	LastError string `json:"why,omitempty"`
}
