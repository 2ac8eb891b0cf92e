package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rbac"
	"github.com/LogicIQ/konductor/operator"
)

const (
	// operatorNamespace is where a user who can't list all namespaces looks for the operator.
	operatorNamespace = "konductor-system"
	operatorLabels    = "app.kubernetes.io/name=konductor,app.kubernetes.io/component=operator"
)

// Options say what to examine.
type Options struct {
	// Program is the name that this program is called by. ClientVersion is its version, and Platform its operating system
	// and architecture.
	Program, ClientVersion, Platform string
	// Namespace is the namespace to examine.
	Namespace string
	// Context is the context of the kubeconfig; empty if there is none.
	Context string
	// Kubeconfig is the file given for it; empty: the default.
	Kubeconfig string
	// Targets are what is checked besides the installation; empty: the caller's own rights. Filename is the file they are in;
	// empty: none.
	Targets
	Filename string
	// Now returns the API server's time, after its first response.
	Now func() time.Time
}

// Collect asks the API server. It returns an error only if the API server doesn't answer at all, or doesn't authenticate
// the caller.
func Collect(ctx context.Context, kube kubernetes.Interface, o Options) (*Facts, error) {
	f := &Facts{Namespace: o.Namespace, Context: o.Context, Kubeconfig: o.Kubeconfig, Program: o.Program, ClientVersion: o.ClientVersion, Platform: o.Platform, Filename: o.Filename}
	server, err := kube.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	f.ServerVersion = server.GitVersion
	if f.ServedFields, f.ServedFieldsErr = fetchServedFields(ctx, kube); f.ServedFieldsErr == nil && len(f.ServedFields) > 0 {
		f.Operators, f.OperatorsErr = listOperators(ctx, kube)
		f.Leader, f.LeaderErr = findLeader(ctx, kube, f.Operators)
		f.ObjectCount, f.Unreconciled, f.ObjectsErr = listUnreconciled(ctx, kube, o.Namespace)
		f.Admission = probeAdmission(ctx, kube, o.Namespace)
		if f.Admission.Denied {
			f.Creators = probeCreatorAnnotation(ctx, kube, o.Namespace)
		}
		f.Workloads = collectWorkloads(ctx, kube, o)
	}
	f.Subjects, err = collectSubjects(ctx, kube, o)
	f.Now = o.Now()
	return f, err
}

// fetchServedFields returns the fields of konductor's kinds that the API server serves; nil if it doesn't serve the group.
// Every user may read that.
func fetchServedFields(ctx context.Context, kube kubernetes.Interface) (map[string]map[string]bool, error) {
	body, err := kube.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/" + konductorv1.GroupVersion().String()).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseServedFields(body)
}

// listOperators returns the chart's Deployments, from all namespaces or only from the usual one.
func listOperators(ctx context.Context, kube kubernetes.Interface) ([]OperatorFacts, error) {
	options := metav1.ListOptions{LabelSelector: operatorLabels}
	list, err := kube.AppsV1().Deployments(metav1.NamespaceAll).List(ctx, options)
	if apierrors.IsForbidden(err) {
		there, errThere := kube.AppsV1().Deployments(operatorNamespace).List(ctx, options)
		if errThere == nil && len(there.Items) > 0 {
			list, err = there, nil
		}
	}
	if err != nil {
		return nil, err
	}
	var found []OperatorFacts
	for i := range list.Items {
		d := &list.Items[i]
		o := OperatorFacts{Namespace: d.Namespace, Name: d.Name, Desired: 1, Ready: d.Status.ReadyReplicas, Version: d.Labels["app.kubernetes.io/version"]}
		for _, c := range d.Spec.Template.Spec.Containers {
			o.HoldsJobs = o.HoldsJobs || slices.Contains(c.Args, "--hold-workloads")
		}
		if d.Spec.Replicas != nil {
			o.Desired = *d.Spec.Replicas
		}
		found = append(found, o)
	}
	return found, nil
}

// findLeader returns the most recently renewed leader election lease: of all namespaces if they can be listed, else of the
// operators' and the usual one; nil if there is none.
func findLeader(ctx context.Context, kube kubernetes.Interface, operators []OperatorFacts) (*LeaderFacts, error) {
	namespaces := []string{operatorNamespace}
	for _, o := range operators {
		namespaces = append(namespaces, o.Namespace)
	}
	var latest *LeaderFacts
	note := func(l *coordinationv1.Lease) {
		found := newLeaderFacts(l)
		if latest == nil || found.RenewedAt.After(latest.RenewedAt) {
			latest = found
		}
	}
	list, err := kube.CoordinationV1().Leases(metav1.NamespaceAll).List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + operator.LeaderElectionID})
	if err == nil {
		for i := range list.Items {
			note(&list.Items[i])
		}
		return latest, nil
	}
	for _, namespace := range namespaces {
		l, getErr := kube.CoordinationV1().Leases(namespace).Get(ctx, operator.LeaderElectionID, metav1.GetOptions{})
		if getErr == nil {
			note(l)
		}
	}
	if latest != nil {
		return latest, nil
	}
	return nil, err
}

func newLeaderFacts(l *coordinationv1.Lease) *LeaderFacts {
	f := &LeaderFacts{Namespace: l.Namespace}
	if l.Spec.HolderIdentity != nil {
		f.Holder = *l.Spec.HolderIdentity
	}
	if l.Spec.RenewTime != nil {
		f.RenewedAt = l.Spec.RenewTime.Time
	}
	if l.Spec.LeaseDurationSeconds != nil {
		f.LeaseDuration = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	return f
}

// observedObject has the fields that show whether the operator has reconciled an object.
type observedObject struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Status   struct {
		ObservedGeneration int64 `json:"observedGeneration"`
	} `json:"status"`
}

// listUnreconciled counts the objects of a namespace, and lists those whose current spec the operator has not reconciled.
func listUnreconciled(ctx context.Context, kube kubernetes.Interface, namespace string) (n int, late []UnreconciledObject, err error) {
	for _, kind := range []string{"barrier", "gate", "lease", "semaphore"} {
		path := fmt.Sprintf("/apis/%s/namespaces/%s/%ss", konductorv1.GroupVersion(), namespace, kind)
		body, err := kube.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Raw()
		if err != nil {
			return n, nil, err
		}
		var list struct {
			Items []observedObject `json:"items"`
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return n, nil, err
		}
		n += len(list.Items)
		for i := range list.Items {
			if o := &list.Items[i]; o.Status.ObservedGeneration < o.Metadata.Generation && o.Metadata.DeletionTimestamp.IsZero() {
				late = append(late, UnreconciledObject{kind + "/" + o.Metadata.Name, o.specChangedAt()})
			}
		}
	}
	return n, late, nil
}

// specChangedAt returns when the spec was last written: by any managed fields other than those of the status subresource.
func (o *observedObject) specChangedAt() time.Time {
	at := o.Metadata.CreationTimestamp.Time
	for _, m := range o.Metadata.ManagedFields {
		if m.Subresource == "" && m.Time != nil && m.Time.After(at) {
			at = m.Time.Time
		}
	}
	return at
}

// probeAdmission tries, as a dry run, to create a claim that is bound to a Pod other than the caller's.
func probeAdmission(ctx context.Context, kube kubernetes.Interface, namespace string) AdmissionFacts {
	_, err := dryRunClaim(ctx, kube, namespace, &konductorv1.BoundObject{Kind: konductorv1.KindPod, Name: "doctor", UID: "another"})
	switch {
	case err == nil:
		return AdmissionFacts{Probed: true}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'konductor-"):
		return AdmissionFacts{Probed: true, Denied: true}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource"):
		return AdmissionFacts{}
	default:
		return AdmissionFacts{Probed: true, Err: err}
	}
}

// probeCreatorAnnotation tries, as a dry run, to create a claim that is bound to nothing. Pods can't do that in their own
// namespace, so they learn nothing.
func probeCreatorAnnotation(ctx context.Context, kube kubernetes.Interface, namespace string) CreatorFacts {
	claim, err := dryRunClaim(ctx, kube, namespace, nil)
	if err != nil {
		return CreatorFacts{}
	}
	return CreatorFacts{
		Probed: true, Recorded: claim.Annotations[konductorv1.CreatedByAnnotation] != "", Supported: servesMutatingPolicies(kube),
	}
}

// servesMutatingPolicies reports whether the API server has MutatingAdmissionPolicies.
func servesMutatingPolicies(kube kubernetes.Interface) bool {
	for _, version := range []string{"v1", "v1beta1"} {
		list, err := kube.Discovery().ServerResourcesForGroupVersion(admissionregistrationv1.GroupName + "/" + version)
		if err == nil && slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Kind == "MutatingAdmissionPolicy" }) {
			return true
		}
	}
	return false
}

// dryRunClaim creates a claim as a dry run, and returns the claim as it would be.
func dryRunClaim(ctx context.Context, kube kubernetes.Interface, namespace string, to *konductorv1.BoundObject) (*konductorv1.Claim, error) {
	claim := &konductorv1.Claim{
		TypeMeta:   metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: konductorv1.KindClaim},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "doctor-", Namespace: namespace},
		Spec: konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "doctor"}, Holder: "doctor", Permits: 1, BoundTo: to,
		},
	}
	body, err := json.Marshal(claim)
	if err != nil {
		return nil, err
	}
	path := fmt.Sprintf("/apis/%s/namespaces/%s/claims", konductorv1.GroupVersion(), namespace)
	result := kube.Discovery().RESTClient().Post().AbsPath(path).Param("dryRun", metav1.DryRunAll).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx)
	if err := result.Error(); err != nil {
		return nil, err // the error from Raw doesn't say what denies it
	}
	answer, err := result.Raw()
	if err != nil {
		return nil, err
	}
	return claim, json.Unmarshal(answer, claim)
}

// collectSubjects checks the rights of the subjects.
func collectSubjects(ctx context.Context, kube kubernetes.Interface, o Options) ([]SubjectFacts, error) {
	subjects := o.Subjects
	if len(subjects)+len(o.Workloads) == 0 {
		subjects = []Subject{{Self: true, Namespace: o.Namespace}}
	}
	var all []SubjectFacts
	for _, w := range subjects {
		s := SubjectFacts{Subject: w, User: w.userName()}
		if w.Self {
			me, err := kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
			if err != nil {
				return nil, fmt.Errorf("reading your user name from the API server: %w", err)
			}
			s.User = me.Status.UserInfo.Username
			s.RBACSubject = rbac.UserSubject(s.User)
			if account, ok := strings.CutPrefix(s.User, "system:serviceaccount:"); ok {
				namespace, name, _ := strings.Cut(account, ":")
				s.RBACSubject = rbac.ServiceAccountSubject(namespace, name)
			}
			s.MissingRights, s.Err = missingRights(ctx, &s, newSelfAccessReview(kube))
			if w.Creates == "" {
				s.AdditionalRights = additionalRights(ctx, &s, newSelfAccessReview(kube))
			}
			all = append(all, s)
			continue
		}
		if w.RBACSubject.Kind == "ServiceAccount" {
			_, err := kube.CoreV1().ServiceAccounts(w.RBACSubject.Namespace).Get(ctx, w.RBACSubject.Name, metav1.GetOptions{})
			s.AccountMissing = apierrors.IsNotFound(err)
		}
		s.MissingRights, s.Err = missingRights(ctx, &s, newSubjectAccessReview(kube, w))
		all = append(all, s)
	}
	return all, nil
}

// accessReviewFunc asks the API server whether a subject has a right.
type accessReviewFunc func(context.Context, *authorizationv1.ResourceAttributes) (bool, error)

// newSelfAccessReview checks the caller's own rights, which every user may do.
func newSelfAccessReview(kube kubernetes.Interface) accessReviewFunc {
	return func(ctx context.Context, right *authorizationv1.ResourceAttributes) (bool, error) {
		review, err := kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
			Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: right},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return review.Status.Allowed, nil
	}
}

// newSubjectAccessReview checks the rights of another subject, which namespace administrators may do.
func newSubjectAccessReview(kube kubernetes.Interface, w Subject) accessReviewFunc {
	return func(ctx context.Context, right *authorizationv1.ResourceAttributes) (bool, error) {
		review, err := kube.AuthorizationV1().LocalSubjectAccessReviews(right.Namespace).Create(ctx, &authorizationv1.LocalSubjectAccessReview{
			ObjectMeta: metav1.ObjectMeta{Namespace: right.Namespace},
			Spec:       authorizationv1.SubjectAccessReviewSpec{User: w.userName(), Groups: w.userGroups(), ResourceAttributes: right},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return review.Status.Allowed, nil
	}
}

// missingRights returns those rights that a subject needs and lacks, in the order of the rules.
func missingRights(ctx context.Context, s *SubjectFacts, may accessReviewFunc) ([]MissingRight, error) {
	var all []MissingRight
	var attributes []*authorizationv1.ResourceAttributes
	_, needed := s.role()
	for _, rule := range needed {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				named := schema.GroupResource{Group: rule.APIGroups[0], Resource: resource}
				all = append(all, MissingRight{Subject: s.User, Verb: verb, Resource: named.String(), Namespace: s.Namespace})
				attributes = append(attributes, &authorizationv1.ResourceAttributes{Namespace: s.Namespace, Verb: verb, Group: named.Group, Resource: resource})
			}
		}
	}
	allowed, err := reviewAll(ctx, attributes, may)
	if err != nil {
		return nil, err
	}
	var lacks []MissingRight
	for i, right := range all {
		if !allowed[i] {
			lacks = append(lacks, right)
		}
	}
	return lacks, nil
}

// additionalRights returns what the caller may do besides participating; nothing if that can't be checked.
func additionalRights(ctx context.Context, s *SubjectFacts, may accessReviewFunc) (said []string) {
	of := func(verb, resource string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Namespace: s.Namespace, Verb: verb, Group: konductorv1.GroupName, Resource: resource}
	}
	allowed, err := reviewAll(ctx, []*authorizationv1.ResourceAttributes{of("create", "leases"), of("patch", "semaphores"), of("delete", "barriers"), of("break", "leases")}, may)
	if err != nil {
		return nil
	}
	for i, what := range []string{"create leases", "resize semaphores", "delete barriers", "break the holds of others"} {
		if allowed[i] {
			said = append(said, what)
		}
	}
	return said
}

// reviewAll checks several rights concurrently.
func reviewAll(ctx context.Context, attributes []*authorizationv1.ResourceAttributes, may accessReviewFunc) ([]bool, error) {
	const atOnce = 8
	allowed := make([]bool, len(attributes))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, right := range attributes {
		group.Go(func() error {
			var err error
			allowed[i], err = may(ctx, right)
			return err
		})
	}
	return allowed, group.Wait()
}
