package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/LogicIQ/konductor/apis/rights"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
)

const (
	// operatorNamespace is where the operator is looked for by those who may not look everywhere.
	operatorNamespace = "konductor-system"
	operatorLabels    = "app.kubernetes.io/name=konductor,app.kubernetes.io/component=operator"
)

// Options says what to look at.
type Options struct {
	// Program is how this program is called, Client its version and Platform what it runs on.
	Program, Client, Platform string
	// Namespace to look at.
	Namespace string
	// Context of the kubeconfig; empty when there is none.
	Context string
	// For are the workloads whose rights matter; the caller's own when empty.
	For []Workload
	// Now tells the API server's time, once it has answered.
	Now func() time.Time
}

// Examine asks the API server. It returns an error only when that doesn't answer at all, or doesn't know who asks.
func Examine(ctx context.Context, kube kubernetes.Interface, o Options) (*Facts, error) {
	f := &Facts{Namespace: o.Namespace, Context: o.Context, Program: o.Program, Client: o.Client, Platform: o.Platform}
	server, err := kube.Discovery().ServerVersion()
	if err != nil {
		return nil, err
	}
	f.Server = server.GitVersion
	if f.Types, f.TypesErr = types(ctx, kube); f.TypesErr == nil && len(f.Types) > 0 {
		f.Operators, f.OperatorsErr = operators(ctx, kube)
		f.Leader, f.LeaderErr = leader(ctx, kube, f.Operators)
		f.Objects, f.Unanswered, f.ObjectsErr = unanswered(ctx, kube, o.Namespace)
		f.Admission = tryAdmission(ctx, kube, o.Namespace)
	}
	f.Subjects, err = subjects(ctx, kube, o)
	f.Now = o.Now()
	return f, err
}

// types asks which fields the API server knows of konductor's kinds. Everybody may ask that.
func types(ctx context.Context, kube kubernetes.Interface) (map[string]map[string]bool, error) {
	body, err := kube.Discovery().RESTClient().Get().AbsPath("/openapi/v3/apis/" + konductorv1.GroupVersion().String()).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return servedTypes(body)
}

// operators looks for the chart's Deployments, in all namespaces or where the operator usually is.
func operators(ctx context.Context, kube kubernetes.Interface) ([]OperatorFacts, error) {
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
		o := OperatorFacts{Namespace: d.Namespace, Name: d.Name, Wanted: 1, Ready: d.Status.ReadyReplicas, Version: d.Labels["app.kubernetes.io/version"]}
		if d.Spec.Replicas != nil {
			o.Wanted = *d.Spec.Replicas
		}
		found = append(found, o)
	}
	return found, nil
}

// leader looks for who leads, where operators run or anywhere.
func leader(ctx context.Context, kube kubernetes.Interface, operators []OperatorFacts) (*LeaderFacts, error) {
	namespaces := []string{operatorNamespace}
	for _, o := range operators {
		namespaces = append(namespaces, o.Namespace)
	}
	var latest *LeaderFacts
	note := func(l *coordinationv1.Lease) {
		found := leaderFacts(l)
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

func leaderFacts(l *coordinationv1.Lease) *LeaderFacts {
	f := &LeaderFacts{Namespace: l.Namespace}
	if l.Spec.HolderIdentity != nil {
		f.Holder = *l.Spec.HolderIdentity
	}
	if l.Spec.RenewTime != nil {
		f.RenewedAt = l.Spec.RenewTime.Time
	}
	if l.Spec.LeaseDurationSeconds != nil {
		f.Lasts = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	return f
}

// answered is the part of an object that tells whether the operator has looked at it.
type answered struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Status   struct {
		ObservedGeneration int64 `json:"observedGeneration"`
	} `json:"status"`
}

// unanswered lists the objects of a namespace, and those that the operator has not looked at as they are.
func unanswered(ctx context.Context, kube kubernetes.Interface, namespace string) (n int, late []Unanswered, err error) {
	for _, kind := range []string{"barrier", "gate", "lease", "semaphore"} {
		path := fmt.Sprintf("/apis/%s/namespaces/%s/%ss", konductorv1.GroupVersion(), namespace, kind)
		body, err := kube.Discovery().RESTClient().Get().AbsPath(path).Do(ctx).Raw()
		if err != nil {
			return n, nil, err
		}
		var list struct {
			Items []answered `json:"items"`
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return n, nil, err
		}
		n += len(list.Items)
		for i := range list.Items {
			if o := &list.Items[i]; o.Status.ObservedGeneration < o.Metadata.Generation && o.Metadata.DeletionTimestamp.IsZero() {
				late = append(late, Unanswered{kind + "/" + o.Metadata.Name, o.specWritten()})
			}
		}
	}
	return n, late, nil
}

// specWritten returns when the spec was last written: what is not under the name of the subresource status.
func (o *answered) specWritten() time.Time {
	at := o.Metadata.CreationTimestamp.Time
	for _, m := range o.Metadata.ManagedFields {
		if m.Subresource == "" && m.Time != nil && m.Time.After(at) {
			at = m.Time.Time
		}
	}
	return at
}

// tryAdmission tries, without effect, to make a claim that is bound to a Pod which the caller is not.
func tryAdmission(ctx context.Context, kube kubernetes.Interface, namespace string) AdmissionFacts {
	claim := konductorv1.Claim{
		TypeMeta:   metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: konductorv1.KindClaim},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "doctor-", Namespace: namespace},
		Spec: konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "doctor"}, Holder: "doctor", Permits: 1,
			BoundTo: &konductorv1.BoundObject{Kind: konductorv1.KindPod, Name: "doctor", UID: "another"},
		},
	}
	body, err := json.Marshal(claim)
	if err != nil {
		return AdmissionFacts{Tried: true, Err: err}
	}
	path := fmt.Sprintf("/apis/%s/namespaces/%s/claims", konductorv1.GroupVersion(), namespace)
	err = kube.Discovery().RESTClient().Post().AbsPath(path).Param("dryRun", metav1.DryRunAll).
		SetHeader("Content-Type", "application/json").Body(body).Do(ctx).Error()
	switch {
	case err == nil:
		return AdmissionFacts{Tried: true}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "ValidatingAdmissionPolicy 'konductor-"):
		return AdmissionFacts{Tried: true, Refused: true}
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource"):
		return AdmissionFacts{}
	default:
		return AdmissionFacts{Tried: true, Err: err}
	}
}

// subjects asks for the rights of those who matter.
func subjects(ctx context.Context, kube kubernetes.Interface, o Options) ([]SubjectFacts, error) {
	if len(o.For) == 0 {
		me, err := kube.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return nil, fmt.Errorf("asking the API server who you are: %w", err)
		}
		s := SubjectFacts{Name: me.Status.UserInfo.Username, Self: true, Namespace: o.Namespace, Who: rights.User(me.Status.UserInfo.Username)}
		if account, ok := strings.CutPrefix(s.Name, "system:serviceaccount:"); ok {
			namespace, name, _ := strings.Cut(account, ":")
			s.Who = rights.Account(namespace, name)
		}
		s.Missing, s.Err = missing(ctx, &s, askSelf(kube))
		s.More = more(ctx, &s, askSelf(kube))
		return []SubjectFacts{s}, nil
	}
	var all []SubjectFacts
	for _, w := range o.For {
		s := SubjectFacts{Name: w.user(), Of: w.Of, Who: w.Subject, Namespace: w.Namespace, NoToken: w.NoToken}
		if w.Subject.Kind == "ServiceAccount" {
			_, err := kube.CoreV1().ServiceAccounts(w.Subject.Namespace).Get(ctx, w.Subject.Name, metav1.GetOptions{})
			s.NoAccount = apierrors.IsNotFound(err)
		}
		s.Missing, s.Err = missing(ctx, &s, askFor(kube, w))
		all = append(all, s)
	}
	return all, nil
}

// asker asks the API server whether somebody has a right.
type asker func(context.Context, *authorizationv1.ResourceAttributes) (bool, error)

// askSelf asks for the caller's own rights, which everybody may.
func askSelf(kube kubernetes.Interface) asker {
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

// askFor asks for the rights of another, for which the administrators of a namespace have the right.
func askFor(kube kubernetes.Interface, w Workload) asker {
	return func(ctx context.Context, right *authorizationv1.ResourceAttributes) (bool, error) {
		review, err := kube.AuthorizationV1().LocalSubjectAccessReviews(right.Namespace).Create(ctx, &authorizationv1.LocalSubjectAccessReview{
			ObjectMeta: metav1.ObjectMeta{Namespace: right.Namespace},
			Spec:       authorizationv1.SubjectAccessReviewSpec{User: w.user(), Groups: w.groups(), ResourceAttributes: right},
		}, metav1.CreateOptions{})
		if err != nil {
			return false, err
		}
		return review.Status.Allowed, nil
	}
}

// missing returns what of a participant's rights somebody lacks, in the order of the rules.
func missing(ctx context.Context, s *SubjectFacts, may asker) ([]Right, error) {
	var all []Right
	var attributes []*authorizationv1.ResourceAttributes
	for _, rule := range rights.Participant() {
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				named := schema.GroupResource{Group: rule.APIGroups[0], Resource: resource}
				all = append(all, Right{Subject: s.Name, Verb: verb, Resource: named.String(), Namespace: s.Namespace})
				attributes = append(attributes, &authorizationv1.ResourceAttributes{Namespace: s.Namespace, Verb: verb, Group: named.Group, Resource: resource})
			}
		}
	}
	allowed, err := askAll(ctx, attributes, may)
	if err != nil {
		return nil, err
	}
	var lacks []Right
	for i, right := range all {
		if !allowed[i] {
			lacks = append(lacks, right)
		}
	}
	return lacks, nil
}

// more returns what the caller may do besides taking part. What can't be asked for is not said.
func more(ctx context.Context, s *SubjectFacts, may asker) (said []string) {
	of := func(verb, resource string) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Namespace: s.Namespace, Verb: verb, Group: konductorv1.GroupName, Resource: resource}
	}
	allowed, err := askAll(ctx, []*authorizationv1.ResourceAttributes{of("create", "leases"), of("patch", "semaphores"), of("delete", "barriers"), of("break", "leases")}, may)
	if err != nil {
		return nil
	}
	for i, what := range []string{"create leases", "resize semaphores", "delete barriers", "break what others hold"} {
		if allowed[i] {
			said = append(said, what)
		}
	}
	return said
}

// askAll asks for several rights at the same time.
func askAll(ctx context.Context, attributes []*authorizationv1.ResourceAttributes, may asker) ([]bool, error) {
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
