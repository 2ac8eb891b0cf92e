package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/LogicIQ/konductor/internal/view"
)

const (
	// minServerVersion is the oldest supported Kubernetes version.
	minServerVersion = "v1.32.0"
	// maxReconcileLag is how long a working operator may take to reconcile an object, with a large margin.
	maxReconcileLag = 10 * time.Second
	// unreleasedVersion is the version of an unreleased chart.
	unreleasedVersion = "dev"
)

// Diagnose checks the facts and returns the report.
func Diagnose(f *Facts) *Report {
	r := &Report{APIVersion: APIVersion, Kind: "Report", Healthy: true, Context: f.Context, Namespace: f.Namespace}
	r.addCheck(Check{Name: CheckClient, Status: OK, Message: f.ClientVersion + ", " + f.Platform})
	r.addCheck(f.checkServer())
	r.addCheck(f.checkTypes())
	if f.ServedFieldsErr == nil && len(f.ServedFields) > 0 {
		r.addCheck(f.checkOperator())
		if f.mayBeInstalled() {
			r.addCheck(f.checkLeader())
			r.addCheck(f.checkLag())
		}
		r.addCheck(f.checkAdmission())
		if f.Creators.Probed {
			r.addCheck(f.checkCreators())
		}
	}
	probed := map[string]bool{}
	for i := range f.Workloads {
		w := &f.Workloads[i]
		if !probed[w.Namespace] {
			probed[w.Namespace] = true
			r.addCheck(f.checkHeldJobs(w.Namespace, w.Probe))
		}
		for _, c := range w.check(f) {
			r.addCheck(c)
		}
	}
	for i := range f.Subjects {
		f.checkSubject(r, &f.Subjects[i])
	}
	for _, object := range r.RBACObjects() {
		if raw, err := json.Marshal(object); err == nil {
			r.ApplyObjects = append(r.ApplyObjects, raw)
		}
	}
	return r
}

// contextText names the kubeconfig context, if there is one.
func (f *Facts) contextText() string {
	if f.Context == "" {
		return ""
	}
	return " in the cluster of context " + f.Context
}

// koncliCommand returns a command line of this program for the examined cluster.
func (f *Facts) koncliCommand(args ...string) string { return f.commandOnCluster(f.Program, args) }

func (f *Facts) kubectlCommand(args ...string) string { return f.commandOnCluster("kubectl", args) }

func (f *Facts) commandOnCluster(program string, args []string) string {
	if f.Context != "" {
		args = append(args, "--context="+f.Context)
	}
	if f.Kubeconfig != "" {
		args = append(args, "--kubeconfig="+f.Kubeconfig)
	}
	return view.CommandLine(program, args)
}

func (f *Facts) checkServer() Check {
	c := Check{Name: CheckServer, Status: OK, Message: "Kubernetes " + f.ServerVersion}
	if f.Context != "" {
		c.Message += ", context " + f.Context
	}
	v, err := version.ParseGeneric(f.ServerVersion)
	if err == nil && v.LessThan(version.MustParseGeneric(minServerVersion)) {
		c.Status, c.Fix = Failed, "upgrade the cluster to Kubernetes "+strings.TrimSuffix(minServerVersion, ".0")+" or later"
	}
	return c
}

func (f *Facts) checkTypes() Check {
	c := Check{Name: CheckResourceTypes, Status: OK}
	own := expectedFields()
	kinds := slices.Sorted(maps.Keys(own))
	if f.ServedFieldsErr != nil {
		return c.withReadError("read konductor's resource types", f.ServedFieldsErr)
	}
	var missing, older, newer []string
	for _, kind := range kinds {
		served, there := f.ServedFields[kind]
		if !there {
			missing = append(missing, kind)
			continue
		}
		older = append(older, missingFields(kind, own[kind], served)...)
		newer = append(newer, missingFields(kind, served, own[kind])...)
	}
	switch {
	case len(missing) == len(kinds):
		c.Status, c.Message = Failed, "konductor's resource types are not installed"+f.contextText()
		c.Fix = f.koncliCommand("install")
	case len(missing) > 0:
		c.Status, c.Message = Failed, "resource types are missing: "+strings.Join(missing, ", ")
		c.Fix = f.koncliCommand("upgrade")
	case len(older) > 0:
		c.Status, c.Message = Failed, "the resource types are older than this program: "+firstFew(older)+" missing"
		c.Fix = f.koncliCommand("upgrade")
	case len(newer) > 0:
		c.Status, c.Message = Warning, "the resource types are newer than this program: it doesn't know "+firstFew(newer)
		c.Fix = "use the same version of this program as the operator"
	default:
		c.Message = fmt.Sprintf("all %d are installed, with the fields that this program expects", len(kinds))
	}
	return c
}

// missingFields returns the fields of a kind that are in one set and not in the other. If a parent field is missing, only
// that is named.
func missingFields(kind string, in, notIn map[string]bool) (fields []string) {
	for _, field := range slices.Sorted(maps.Keys(in)) {
		parent := field[:max(strings.LastIndex(field, "."), 0)]
		if !notIn[field] && (parent == "" || notIn[parent]) {
			fields = append(fields, kind+"."+field)
		}
	}
	return fields
}

// firstFew returns the first entries of a list, and the number of the others.
func firstFew(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// withReadError returns c for facts that couldn't be read. A missing right to read them says nothing about konductor.
func (c Check) withReadError(do string, err error) Check {
	if apierrors.IsForbidden(err) {
		c.Status, c.Message = Unknown, "you can't "+do
	} else {
		c.Status, c.Message = Failed, "can't "+do+": "+err.Error()
	}
	return c
}

// mayBeInstalled is false if there certainly is no operator, so that checks of its work are pointless.
func (f *Facts) mayBeInstalled() bool {
	return f.OperatorsErr != nil || len(f.Operators) > 0 || f.Leader != nil && f.Leader.isActive(f.Now)
}

func (f *Facts) checkOperator() Check {
	c := Check{Name: CheckOperator, Status: OK}
	switch {
	case f.OperatorsErr != nil:
		return c.withReadError("list deployments outside of "+operatorNamespace, f.OperatorsErr)
	case !f.mayBeInstalled():
		c.Status, c.Message, c.Fix = Failed, "no operator is installed"+f.contextText()+": nothing is granted and nothing opens", f.koncliCommand("install")
		return c
	case len(f.Operators) == 0:
		c.Message = "running, but not in a Deployment of the chart"
		return c
	}
	var said []string
	for _, o := range f.Operators {
		said = append(said, fmt.Sprintf("%s/%s: %d of %d ready", o.Namespace, o.Name, o.Ready, o.Desired))
		status, fix := OK, ""
		switch {
		case o.Ready == 0:
			status, fix = Failed, f.kubectlCommand("describe", "deployment", o.Name, "--namespace="+o.Namespace)
		case o.Ready < o.Desired:
			status, fix = Warning, f.kubectlCommand("get", "pods", "--namespace="+o.Namespace)
		}
		if o.Version != "" {
			said[len(said)-1] += ", version " + o.Version
			if status == OK && o.Version != unreleasedVersion && strings.TrimPrefix(o.Version, "v") != strings.TrimPrefix(f.ClientVersion, "v") {
				status, fix = Warning, "this program has version "+f.ClientVersion+": use the same version of both"
			}
		}
		if isWorse(status, c.Status) {
			c.Status, c.Fix = status, fix
		}
	}
	c.Message = strings.Join(said, "; ")
	return c
}

// isWorse reports whether a is worse than b.
func isWorse(a, b Status) bool {
	order := []Status{OK, Unknown, Warning, Failed}
	return slices.Index(order, a) > slices.Index(order, b)
}

// isActive reports whether the leader's lease is current.
func (l *LeaderFacts) isActive(now time.Time) bool {
	return l.Holder != "" && now.Sub(l.RenewedAt) <= l.LeaseDuration
}

func (f *Facts) checkLeader() Check {
	c := Check{Name: CheckLeader, Status: OK}
	logs := func(namespace string) string {
		return f.kubectlCommand("logs", "--namespace="+namespace, "--selector=app.kubernetes.io/name=konductor", "--tail=50")
	}
	switch l := f.Leader; {
	case f.LeaderErr != nil:
		return c.withReadError("list leases.coordination.k8s.io, which the leader election uses", f.LeaderErr)
	case l == nil:
		c.Status, c.Message = Failed, "no operator has been elected leader yet"
		if len(f.Operators) > 0 {
			c.Fix = logs(f.Operators[0].Namespace)
		}
	case l.Holder == "":
		c.Status, c.Message = Failed, "there is no leader: the last one has stepped down, and no other has taken over"
		c.Fix = logs(l.Namespace)
	case !l.isActive(f.Now):
		c.Status = Failed
		c.Message = fmt.Sprintf("%s was the leader, and last renewed its lease %s ago", l.Holder, ageText(f.Now, l.RenewedAt))
		c.Fix = logs(l.Namespace)
	default:
		c.Message = fmt.Sprintf("%s, lease renewed %s ago", l.Holder, ageText(f.Now, l.RenewedAt))
	}
	return c
}

func (f *Facts) checkLag() Check {
	c := Check{Name: CheckLag, Status: OK}
	if f.ObjectsErr != nil {
		return c.withReadError("list konductor's objects in namespace "+f.Namespace, f.ObjectsErr)
	}
	var late []UnreconciledObject
	for _, u := range f.Unreconciled {
		if f.Now.Sub(u.Since) > maxReconcileLag {
			late = append(late, u)
		}
	}
	if len(late) == 0 {
		c.Message = fmt.Sprintf("none: the operator has observed all %d objects in namespace %s", f.ObjectCount-len(f.Unreconciled), f.Namespace)
		if n := len(f.Unreconciled); n > 0 {
			c.Message += fmt.Sprintf(", except for %d new ones", n)
		}
		return c
	}
	oldest := slices.MinFunc(late, func(a, b UnreconciledObject) int { return a.Since.Compare(b.Since) })
	c.Status = Failed
	c.Message = fmt.Sprintf("the operator hasn't observed %d of %d objects in namespace %s, the oldest (%s) for %s",
		len(late), f.ObjectCount, f.Namespace, oldest.Object, ageText(f.Now, oldest.Since))
	c.Fix = "check that the operator is running, and that it watches this namespace (watchNamespaces)"
	return c
}

func ageText(now, then time.Time) string { return duration.HumanDuration(max(now.Sub(then), 0)) }

func (f *Facts) checkAdmission() Check {
	c := Check{Name: CheckAdmission, Status: OK}
	switch {
	case !f.Admission.Probed:
		c.Status, c.Message = Unknown, "can't check whether claims in another Pod's name are rejected: you can't create claims"
	case f.Admission.Denied:
		c.Message = "the API server rejects claims and arrivals in another Pod's name"
	case f.Admission.Err != nil:
		c.Status, c.Message = Unknown, "can't check whether claims in another Pod's name are rejected: "+f.Admission.Err.Error()
	default:
		c.Status, c.Message = Warning, "any workload can create claims and arrivals in another Pod's name: the admission policies are not installed, or not bound to this namespace"
		c.Fix = "set admissionPolicy: true in the chart's values"
	}
	return c
}

// checkCreators checks whether claims and arrivals that are bound to no Pod have a recorded creator.
func (f *Facts) checkCreators() Check {
	c := Check{Name: CheckCreators, Status: OK}
	const shared = "any participant can renew or release claims that were created outside of Pods by other clients than konductor's"
	switch {
	case f.Creators.Recorded:
		c.Message = "the API server records who creates claims and arrivals that are not bound to a Pod"
	case f.Creators.Supported:
		c.Status, c.Message = Warning, "the API server could record who creates claims and arrivals that are not bound to a Pod, but doesn't: "+shared
		c.Fix = f.koncliCommand("upgrade") + ", or helm upgrade"
	default:
		c.Status, c.Message = Warning, "Kubernetes "+f.ServerVersion+" can't record who creates claims and arrivals that are not bound to a Pod: "+shared
		c.Fix = "upgrade the cluster to Kubernetes 1.36 or later, and then konductor"
	}
	return c
}

// checkSubject adds the checks of a subject's rights.
func (f *Facts) checkSubject(r *Report, s *SubjectFacts) {
	who := s.User
	if s.Workload != "" {
		who = s.Workload + " (" + s.User + ")"
	}
	if s.AccountMissing {
		r.addCheck(Check{
			Name: CheckWorkload, Status: Failed, Subject: s.User, Message: who + ": the ServiceAccount doesn't exist, so no Pod can use it",
			Fix: f.kubectlCommand("create", "serviceaccount", s.RBACSubject.Name, "--namespace="+s.RBACSubject.Namespace),
		})
	}
	if s.TokenDisabled {
		r.addCheck(Check{
			Name: CheckWorkload, Status: Failed, Subject: s.User, Message: who + " mounts no token, so its containers can't call the API server",
			Fix: "set automountServiceAccountToken: true in the Pod's spec",
		})
	}
	c := Check{Name: CheckRights, Status: OK, Subject: s.User}
	switch {
	case s.Err != nil:
		c = c.withReadError(fmt.Sprintf("check the permissions of %s (create localsubjectaccessreviews.authorization.k8s.io in namespace %s)", who, s.Namespace), s.Err)
	case len(s.MissingRights) > 0:
		c.Status = Failed
		c.Message = fmt.Sprintf("%s can't %s in namespace %s", who, rightsText(s.MissingRights), s.Namespace)
		args := []string{"rbac", "--namespace=" + s.Namespace, "--for=" + s.forFlagValue()}
		if s.Creates != "" {
			c.Message += ", which creating " + s.Creates + " needs"
			args = append(args, "--filename="+f.Filename)
		}
		c.Fix = f.koncliCommand(args...) + " | " + f.kubectlCommand("apply", "-f", "-")
		r.MissingRights = append(r.MissingRights, s.MissingRights...)
		r.rbacObjects = append(r.rbacObjects, s.grant())
	case s.Creates != "":
		c.Message = fmt.Sprintf("%s has the rights that the annotations of %s need in namespace %s", who, s.Creates, s.Namespace)
	default:
		c.Message = who + " can participate in namespace " + s.Namespace
		if s.Self && len(s.AdditionalRights) > 0 {
			c.Message += ", and " + strings.Join(s.AdditionalRights, ", ")
		}
	}
	r.addCheck(c)
}

// forFlagValue returns the value of rbac's --for for the subject.
func (s *SubjectFacts) forFlagValue() string {
	switch {
	case s.RBACSubject.Kind == "User":
		return "user/" + s.RBACSubject.Name
	case s.RBACSubject.Namespace != s.Namespace:
		return "serviceaccount/" + s.RBACSubject.Namespace + ":" + s.RBACSubject.Name
	default:
		return "serviceaccount/" + s.RBACSubject.Name
	}
}

// rightsText lists rights by resource.
func rightsText(missing []MissingRight) string {
	verbs := map[string][]string{}
	var resources []string
	for _, m := range missing {
		if _, known := verbs[m.Resource]; !known {
			resources = append(resources, m.Resource)
		}
		verbs[m.Resource] = append(verbs[m.Resource], m.Verb)
	}
	var said []string
	for _, resource := range resources {
		said = append(said, strings.Join(verbs[resource], ",")+" "+resource)
	}
	return strings.Join(said, "; ")
}
