// Package apitest is an API server in memory, for unit tests of what the SDK does with leases. It has the leases and claims
// of one namespace, and an operator that grants at once. A hold ends only when it is released or Expire is called: no test
// depends on how long something takes.
package apitest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Namespace is the namespace of all objects.
const Namespace = "etl"

const prefix = "/apis/" + konductorv1.GroupName + "/v1/namespaces/" + Namespace + "/"

// Server is the API server.
type Server struct {
	config rest.Config

	mu       sync.Mutex
	revision int64
	leases   map[string]*konductorv1.Lease
	claims   map[string]*konductorv1.Claim
	deleted  map[string]metav1.Object // by resource/name, as last stored, with the revision of the deletion
	changed  chan struct{}            // closed at the next change
	writes   []string                 // VERB resource/name
	hold     func(*http.Request)      // called before each request; may be nil
}

// NewServer starts a Server, which ends with the test.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		leases: map[string]*konductorv1.Lease{}, claims: map[string]*konductorv1.Claim{}, deleted: map[string]metav1.Object{},
		changed: make(chan struct{}),
	}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	// Watches end with their clients, which may outlive the test.
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	s.config = rest.Config{Host: server.URL}
	return s
}

// Config returns the config of a client.
func (s *Server) Config() *rest.Config { return rest.CopyConfig(&s.config) }

// CreateLease creates a lease.
func (s *Server) CreateLease(lease *konductorv1.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.createLease(lease.DeepCopy())
}

// Lease returns a lease; nil: there is none.
func (s *Server) Lease(name string) *konductorv1.Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[name].DeepCopy()
}

// Claims returns all claims.
func (s *Server) Claims() (all []konductorv1.Claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.claims {
		all = append(all, *c.DeepCopy())
	}
	return all
}

// DeleteLease deletes a lease and its claims.
func (s *Server) DeleteLease(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leases, name)
	for _, c := range s.claims {
		if c.Spec.Target.Name == name {
			s.deleteClaim(c)
		}
	}
	s.publish()
}

// Expire ends the hold on a lease as if its TTL had passed.
func (s *Server) Expire(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lease := s.leases[name]
	for _, holder := range lease.Status.Holders() {
		c := s.claims[holder.Claim]
		c.Status.Phase, c.Status.Message = konductorv1.ClaimExpired, "its ttl passed"
		s.store(c)
		s.grantNext(lease)
	}
}

// BeforeRequest makes the server call f before it handles a request.
func (s *Server) BeforeRequest(f func(*http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = f
}

// Writes returns the writes so far, as VERB resource/name.
func (s *Server) Writes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

// Changed returns a channel that is closed at the next change of an object.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *Server) serve(w http.ResponseWriter, req *http.Request) {
	body, _ := io.ReadAll(req.Body) // what can't be read can't be decoded either
	s.mu.Lock()
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		hold(req)
	}
	switch {
	case req.URL.Path == "/readyz":
		return
	case strings.HasSuffix(req.URL.Path, "/selfsubjectreviews"):
		respond(w, http.StatusCreated, &authenticationv1.SelfSubjectReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
			Status:   authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "jane"}},
		})
		return
	}
	resource, name, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, prefix), "/")
	if req.URL.Query().Get("watch") == "true" {
		s.watch(w, req, resource)
		return
	}
	obj, err := s.handle(req, resource, name, body)
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		answer := status.Status()
		answer.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		respond(w, int(answer.Code), &answer)
		return
	}
	respond(w, http.StatusOK, obj)
}

func respond(w http.ResponseWriter, code int, obj any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(obj) // the client may have gone away
}

// handle carries out a request that isn't a watch.
func (s *Server) handle(req *http.Request, resource, name string, body []byte) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.Method != http.MethodGet {
		written := name
		if req.Method == http.MethodPost {
			var named metav1.PartialObjectMetadata
			_ = json.Unmarshal(body, &named)
			written = named.Name
		}
		s.writes = append(s.writes, req.Method+" "+resource+"/"+written)
	}
	switch {
	case req.Method == http.MethodPost && resource == "leases":
		lease := &konductorv1.Lease{}
		if err := json.Unmarshal(body, lease); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if s.leases[lease.Name] != nil {
			return nil, apierrors.NewAlreadyExists(groupResource(resource), lease.Name)
		}
		return s.createLease(lease), nil
	case req.Method == http.MethodPost && resource == "claims":
		claim := &konductorv1.Claim{}
		if err := json.Unmarshal(body, claim); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return s.createClaim(claim)
	case req.Method == http.MethodGet && name == "":
		items := []metav1.Object{}
		if obj := s.object(resource, selectedName(req)); obj != nil {
			items = append(items, obj)
		}
		return map[string]any{
			"apiVersion": konductorv1.GroupVersion().String(), "kind": "List", "items": items,
			"metadata": metav1.ListMeta{ResourceVersion: strconv.FormatInt(s.revision, 10)},
		}, nil
	}
	obj := s.object(resource, name)
	if obj == nil {
		return nil, apierrors.NewNotFound(groupResource(resource), name)
	}
	claim, isClaim := obj.(*konductorv1.Claim)
	switch {
	case req.Method == http.MethodPatch && isClaim:
		return s.renewClaim(claim, body)
	case req.Method == http.MethodDelete && isClaim:
		opts := metav1.DeleteOptions{}
		if err := json.Unmarshal(body, &opts); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if p := opts.Preconditions; p != nil && (p.UID != nil && *p.UID != claim.UID || p.ResourceVersion != nil && *p.ResourceVersion != claim.ResourceVersion) {
			return nil, apierrors.NewConflict(groupResource(resource), name, errors.New("precondition failed"))
		}
		s.deleteClaim(claim)
		if lease := s.leases[claim.Spec.Target.Name]; lease != nil {
			s.grantNext(lease)
		}
		s.publish()
		return claim, nil
	case req.Method == http.MethodGet:
		return obj, nil
	default:
		return nil, apierrors.NewMethodNotSupported(groupResource(resource), req.Method)
	}
}

func groupResource(resource string) schema.GroupResource {
	return schema.GroupResource{Group: konductorv1.GroupName, Resource: resource}
}

// object returns a copy of an object; nil: it doesn't exist.
func (s *Server) object(resource, name string) metav1.Object {
	if lease, ok := s.leases[name]; ok && resource == "leases" {
		return lease.DeepCopy()
	}
	if claim, ok := s.claims[name]; ok && resource == "claims" {
		return claim.DeepCopy()
	}
	return nil
}

func selectedName(req *http.Request) string {
	_, name, _ := strings.Cut(req.URL.Query().Get("fieldSelector"), "metadata.name=")
	return name
}

// store gives an object a new revision.
func (s *Server) store(obj metav1.Object) {
	s.revision++
	if obj.GetUID() == "" {
		obj.SetUID(types.UID(fmt.Sprintf("uid-%d", s.revision)))
		obj.SetCreationTimestamp(metav1.Now())
	}
	obj.SetNamespace(Namespace)
	obj.SetResourceVersion(strconv.FormatInt(s.revision, 10))
	switch o := obj.(type) {
	case *konductorv1.Lease:
		s.leases[o.Name] = o.DeepCopy()
	case *konductorv1.Claim:
		s.claims[o.Name] = o.DeepCopy()
	}
	s.publish()
}

func (s *Server) publish() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) createLease(lease *konductorv1.Lease) *konductorv1.Lease {
	lease.TypeMeta = metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: konductorv1.KindLease}
	lease.UID, lease.Generation = "", 1
	lease.Status = konductorv1.LeaseStatus{Phase: konductorv1.LeaseAvailable, ObservedGeneration: 1}
	s.store(lease)
	return lease
}

// createClaim stores a claim, and lets the operator answer it.
func (s *Server) createClaim(claim *konductorv1.Claim) (*konductorv1.Claim, error) {
	if s.claims[claim.Name] != nil {
		return nil, apierrors.NewAlreadyExists(groupResource("claims"), claim.Name)
	}
	claim.TypeMeta = metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: konductorv1.KindClaim}
	claim.UID, claim.Status = "", konductorv1.ClaimStatus{Phase: konductorv1.ClaimPending}
	s.store(claim)
	lease := s.leases[claim.Spec.Target.Name]
	if lease == nil || lease.UID != claim.Spec.Target.UID {
		return claim, nil // the operator answers only for the object that the claim is on
	}
	s.grantNext(lease.DeepCopy())
	if stored := s.claims[claim.Name].DeepCopy(); stored.Status.Phase == konductorv1.ClaimPending && stored.Spec.WhenBusy == konductorv1.BusyRefuse {
		stored.Status.Phase, stored.Status.Message = konductorv1.ClaimRefused, konductorv1.MessageBusy
		s.store(stored)
	}
	return claim, nil
}

// grantNext grants a lease to the oldest claim, unless it is held.
func (s *Server) grantNext(lease *konductorv1.Lease) {
	for _, holder := range lease.Status.Holders() {
		if c := s.claims[holder.Claim]; c != nil && c.UID == holder.ClaimUID && c.Status.Phase == konductorv1.ClaimGranted {
			return
		}
	}
	lease.Status.Phase = konductorv1.LeaseAvailable
	lease.Status.SetHolder(nil)
	var next *konductorv1.Claim
	for _, c := range s.claims {
		if c.Status.Phase == konductorv1.ClaimPending && c.Spec.Target.UID == lease.UID && (next == nil || compareRevisions(c, next) < 0) {
			next = c.DeepCopy()
		}
	}
	if next != nil {
		token, _ := strconv.ParseInt(lease.ResourceVersion, 10, 64)
		now := metav1.NowMicro()
		lease.Status.Phase, lease.Status.FencingToken = konductorv1.LeaseHeld, token
		lease.Status.SetHolder(&konductorv1.Holder{Name: next.Spec.Holder, Claim: next.Name, ClaimUID: next.UID, Permits: 1, FencingToken: token, AcquiredAt: now})
		if ttl := next.Spec.TTL.Or(0); ttl > 0 {
			expires := metav1.NewMicroTime(now.Add(ttl))
			lease.Status.ExpiresAt = &expires
		}
		next.Status = konductorv1.ClaimStatus{Phase: konductorv1.ClaimGranted, FencingToken: token}
	}
	s.store(lease)
	if next != nil {
		s.store(next)
	}
}

func compareRevisions(a, b metav1.Object) int {
	x, _ := strconv.ParseInt(a.GetResourceVersion(), 10, 64)
	y, _ := strconv.ParseInt(b.GetResourceVersion(), 10, 64)
	return cmp.Compare(x, y)
}

// renewClaim applies the SDK's JSON patch that raises the renewals of a claim.
func (s *Server) renewClaim(claim *konductorv1.Claim, body []byte) (*konductorv1.Claim, error) {
	var patch []struct {
		Op, Path string
		Value    any
	}
	if err := json.Unmarshal(body, &patch); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	invalid := apierrors.NewInvalid(schema.GroupKind{Group: konductorv1.GroupName, Kind: konductorv1.KindClaim}, claim.Name, nil)
	for _, p := range patch {
		value := fmt.Sprint(p.Value)
		switch p.Op + " " + p.Path {
		case "test /metadata/uid":
			if value != string(claim.UID) {
				return nil, invalid
			}
		case "test /spec/renewals":
			if value != strconv.FormatInt(claim.Spec.Renewals, 10) {
				return nil, invalid
			}
		case "replace /spec/renewals":
			if claim.Status.Phase != konductorv1.ClaimGranted {
				return nil, invalid
			}
			claim.Spec.Renewals++
		default:
			return nil, apierrors.NewBadRequest("the patch has " + p.Path)
		}
	}
	s.store(claim)
	if lease := s.leases[claim.Spec.Target.Name].DeepCopy(); lease.Status.ClaimUID == claim.UID {
		lease.Status.Renewals = claim.Spec.Renewals
		expires := metav1.NewMicroTime(time.Now().Add(claim.Spec.TTL.Or(0)))
		lease.Status.ExpiresAt = &expires
		s.store(lease)
	}
	return claim, nil
}

func (s *Server) deleteClaim(claim *konductorv1.Claim) {
	s.revision++
	last := claim.DeepCopy()
	last.ResourceVersion = strconv.FormatInt(s.revision, 10)
	s.deleted["claims/"+claim.Name] = last
	delete(s.claims, claim.Name)
}

// watch sends the states of one object after a revision, until the client goes away.
func (s *Server) watch(w http.ResponseWriter, req *http.Request, resource string) {
	name := selectedName(req)
	last := &metav1.ObjectMeta{ResourceVersion: req.URL.Query().Get("resourceVersion")}
	w.Header().Set("Content-Type", "application/json")
	flusher, _ := w.(http.Flusher)
	flusher.Flush()
	for {
		s.mu.Lock()
		changed := s.changed
		obj, kind := s.object(resource, name), watch.Modified
		if obj == nil {
			obj, kind = s.deleted[resource+"/"+name], watch.Deleted
		}
		s.mu.Unlock()
		if obj != nil && compareRevisions(obj, last) > 0 {
			last.ResourceVersion = obj.GetResourceVersion()
			if json.NewEncoder(w).Encode(map[string]any{"type": kind, "object": obj}) != nil {
				return
			}
			flusher.Flush()
		}
		select {
		case <-changed:
		case <-req.Context().Done():
			return
		}
	}
}
