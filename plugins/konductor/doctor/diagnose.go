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

	"github.com/LogicIQ/konductor/apis/rights"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

const (
	// oldestServer is the oldest Kubernetes that konductor is made for.
	oldestServer = "v1.32.0"
	// answersWithin is how long an operator that works may take to look at an object, with much room to spare.
	answersWithin = 10 * time.Second
	// development is the version of a chart that was not released.
	development = "dev"
)

// Diagnose says of each fact whether it is as it should be.
func Diagnose(f *Facts) *Report {
	r := &Report{APIVersion: Version, Kind: "Report", Healthy: true, Context: f.Context, Namespace: f.Namespace}
	r.add(Check{Name: CheckClient, Status: OK, Message: f.Client + ", " + f.Platform})
	r.add(f.server())
	r.add(f.types())
	if f.TypesErr == nil && len(f.Types) > 0 {
		r.add(f.operator())
		if f.installed() {
			r.add(f.leader())
			r.add(f.lag())
		}
		r.add(f.admission())
	}
	for i := range f.Subjects {
		f.judge(r, &f.Subjects[i])
	}
	for _, object := range r.Objects() {
		if raw, err := json.Marshal(object); err == nil {
			r.Apply = append(r.Apply, raw)
		}
	}
	return r
}

// where names the cluster that was looked at, if it has a name.
func (f *Facts) where() string {
	if f.Context == "" {
		return ""
	}
	return " in the cluster of context " + f.Context
}

// run returns a command of this program's on the cluster that was looked at.
func (f *Facts) run(args ...string) string { return f.command(f.Program, args) }

func (f *Facts) kubectl(args ...string) string { return f.command("kubectl", args) }

func (f *Facts) command(program string, args []string) string {
	if f.Context != "" {
		args = append(args, "--context="+f.Context)
	}
	return view.CommandLine(program, args)
}

func (f *Facts) server() Check {
	c := Check{Name: CheckServer, Status: OK, Message: "Kubernetes " + f.Server}
	if f.Context != "" {
		c.Message += ", context " + f.Context
	}
	v, err := version.ParseGeneric(f.Server)
	if err == nil && v.LessThan(version.MustParseGeneric(oldestServer)) {
		c.Status, c.Fix = Failed, "upgrade the cluster to Kubernetes "+strings.TrimSuffix(oldestServer, ".0")+" or later"
	}
	return c
}

func (f *Facts) types() Check {
	c := Check{Name: CheckTypes, Status: OK}
	own := ownTypes()
	kinds := slices.Sorted(maps.Keys(own))
	if f.TypesErr != nil {
		return c.unread("describe konductor's resource types", f.TypesErr)
	}
	var missing, older, newer []string
	for _, kind := range kinds {
		served, there := f.Types[kind]
		if !there {
			missing = append(missing, kind)
			continue
		}
		older = append(older, lacking(kind, own[kind], served)...)
		newer = append(newer, lacking(kind, served, own[kind])...)
	}
	switch {
	case len(missing) == len(kinds):
		c.Status, c.Message = Failed, "konductor's resource types are not installed"+f.where()
		c.Fix = f.run("install")
	case len(missing) > 0:
		c.Status, c.Message = Failed, "resource types are missing: "+strings.Join(missing, ", ")
		c.Fix = f.run("upgrade")
	case len(older) > 0:
		c.Status, c.Message = Failed, "the resource types are older than this program: "+few(older)+" missing"
		c.Fix = f.run("upgrade")
	case len(newer) > 0:
		c.Status, c.Message = Warning, "the resource types are newer than this program, which doesn't know "+few(newer)
		c.Fix = "use the version of this program that the operator has"
	default:
		c.Message = fmt.Sprintf("all %d, as this program knows them", len(kinds))
	}
	return c
}

// lacking returns the fields of a kind that are in one and not in the other. Of a part that is missing altogether only
// the part is named.
func lacking(kind string, in, notIn map[string]bool) (fields []string) {
	for _, field := range slices.Sorted(maps.Keys(in)) {
		parent := field[:max(strings.LastIndex(field, "."), 0)]
		if !notIn[field] && (parent == "" || notIn[parent]) {
			fields = append(fields, kind+"."+field)
		}
	}
	return fields
}

// few returns the first of a list, and how many more there are.
func few(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

// unread says of c that it couldn't be looked at. That the right to do this is missing says nothing about konductor.
func (c Check) unread(do string, err error) Check {
	if apierrors.IsForbidden(err) {
		c.Status, c.Message = Unknown, "you may not "+do
	} else {
		c.Status, c.Message = Failed, "the API server doesn't answer the question to "+do+": "+err.Error()
	}
	return c
}

// installed is false when there is certainly no operator, so that there is no point in asking what it does.
func (f *Facts) installed() bool {
	return f.OperatorsErr != nil || len(f.Operators) > 0 || f.Leader != nil && f.Leader.fresh(f.Now)
}

func (f *Facts) operator() Check {
	c := Check{Name: CheckOperator, Status: OK}
	switch {
	case f.OperatorsErr != nil:
		return c.unread("list deployments outside of "+operatorNamespace, f.OperatorsErr)
	case !f.installed():
		c.Status, c.Message, c.Fix = Failed, "no operator is installed"+f.where()+": nothing is granted and nothing opens", f.run("install")
		return c
	case len(f.Operators) == 0:
		c.Message = "it runs, and not in a Deployment of the chart's"
		return c
	}
	var said []string
	for _, o := range f.Operators {
		said = append(said, fmt.Sprintf("%s/%s: %d of %d ready", o.Namespace, o.Name, o.Ready, o.Wanted))
		status, fix := OK, ""
		switch {
		case o.Ready == 0:
			status, fix = Failed, f.kubectl("describe", "deployment", o.Name, "--namespace="+o.Namespace)
		case o.Ready < o.Wanted:
			status, fix = Warning, f.kubectl("get", "pods", "--namespace="+o.Namespace)
		}
		if o.Version != "" {
			said[len(said)-1] += ", version " + o.Version
			if status == OK && o.Version != development && strings.TrimPrefix(o.Version, "v") != strings.TrimPrefix(f.Client, "v") {
				status, fix = Warning, "this program has version "+f.Client+": use the same for both"
			}
		}
		if worse(status, c.Status) {
			c.Status, c.Fix = status, fix
		}
	}
	c.Message = strings.Join(said, "; ")
	return c
}

// worse reports whether a is worse than b.
func worse(a, b Status) bool {
	order := []Status{OK, Unknown, Warning, Failed}
	return slices.Index(order, a) > slices.Index(order, b)
}

// fresh reports whether the leader is there.
func (l *LeaderFacts) fresh(now time.Time) bool {
	return l.Holder != "" && now.Sub(l.RenewedAt) <= l.Lasts
}

func (f *Facts) leader() Check {
	c := Check{Name: CheckLeader, Status: OK}
	logs := func(namespace string) string {
		return f.kubectl("logs", "--namespace="+namespace, "--selector=app.kubernetes.io/name=konductor", "--tail=50")
	}
	switch l := f.Leader; {
	case f.LeaderErr != nil:
		return c.unread("list leases.coordination.k8s.io, which say who leads", f.LeaderErr)
	case l == nil:
		c.Status, c.Message = Failed, "no operator has ever led"
		if len(f.Operators) > 0 {
			c.Fix = logs(f.Operators[0].Namespace)
		}
	case l.Holder == "":
		c.Status, c.Message = Failed, "nobody leads: the last leader has given up and no other has taken over"
		c.Fix = logs(l.Namespace)
	case !l.fresh(f.Now):
		c.Status = Failed
		c.Message = fmt.Sprintf("%s led, and was last heard of %s ago", l.Holder, ago(f.Now, l.RenewedAt))
		c.Fix = logs(l.Namespace)
	default:
		c.Message = fmt.Sprintf("%s, heard of %s ago", l.Holder, ago(f.Now, l.RenewedAt))
	}
	return c
}

func (f *Facts) lag() Check {
	c := Check{Name: CheckLag, Status: OK}
	if f.ObjectsErr != nil {
		return c.unread("list konductor's objects in namespace "+f.Namespace, f.ObjectsErr)
	}
	var late []Unanswered
	for _, u := range f.Unanswered {
		if f.Now.Sub(u.Since) > answersWithin {
			late = append(late, u)
		}
	}
	if len(late) == 0 {
		c.Message = fmt.Sprintf("none: the operator has looked at all %d objects in namespace %s", f.Objects-len(f.Unanswered), f.Namespace)
		if n := len(f.Unanswered); n > 0 {
			c.Message += fmt.Sprintf(", but for %d that are new", n)
		}
		return c
	}
	oldest := slices.MinFunc(late, func(a, b Unanswered) int { return a.Since.Compare(b.Since) })
	c.Status = Failed
	c.Message = fmt.Sprintf("the operator hasn't looked at %d of %d objects in namespace %s, %s for %s",
		len(late), f.Objects, f.Namespace, oldest.Object, ago(f.Now, oldest.Since))
	c.Fix = "see that the operator runs, and that it watches this namespace (watchNamespaces)"
	return c
}

func ago(now, then time.Time) string { return duration.HumanDuration(max(now.Sub(then), 0)) }

func (f *Facts) admission() Check {
	c := Check{Name: CheckAdmission, Status: OK}
	switch {
	case !f.Admission.Tried:
		c.Status, c.Message = Unknown, "you may not create claims, so that it can't be tried whether one is refused that is made in another's name"
	case f.Admission.Refused:
		c.Message = "the API server refuses what is done in another's name"
	case f.Admission.Err != nil:
		c.Status, c.Message = Unknown, "it can't be tried whether a claim is refused that is made in another's name: "+f.Admission.Err.Error()
	default:
		c.Status, c.Message = Warning, "any workload may act in another's name: the admission policies are not installed, or bound elsewhere"
		c.Fix = "set admissionPolicy: true in the chart's values"
	}
	return c
}

// judge adds what is to be said of somebody's rights.
func (f *Facts) judge(r *Report, s *SubjectFacts) {
	who := s.Name
	if s.Of != "" {
		who = s.Of + " (" + s.Name + ")"
	}
	if s.NoAccount {
		r.add(Check{
			Name: CheckWorkload, Status: Failed, Subject: s.Name, Message: who + " doesn't exist, so that no Pod can be created with it",
			Fix: f.kubectl("create", "serviceaccount", s.Who.Name, "--namespace="+s.Who.Namespace),
		})
	}
	if s.NoToken {
		r.add(Check{
			Name: CheckWorkload, Status: Failed, Subject: s.Name, Message: who + " is given no token, so that nothing in the Pod can ask the API server",
			Fix: "set automountServiceAccountToken: true in the Pod's spec",
		})
	}
	c := Check{Name: CheckRights, Status: OK, Subject: s.Name}
	switch {
	case s.Err != nil:
		c = c.unread(fmt.Sprintf("ask for the rights of %s (create localsubjectaccessreviews.authorization.k8s.io in namespace %s)", who, s.Namespace), s.Err)
	case len(s.Missing) > 0:
		c.Status = Failed
		c.Message = fmt.Sprintf("%s may not %s in namespace %s", who, summary(s.Missing), s.Namespace)
		c.Fix = f.run("rbac", "--namespace="+s.Namespace, "--for="+s.whom()) + " | " + f.kubectl("apply", "-f", "-")
		r.Missing = append(r.Missing, s.Missing...)
		role, binding := rights.Grant(s.Namespace, rights.Participant(), s.Who)
		r.grants = append(r.grants, grant{role, binding})
	default:
		c.Message = who + " may take part in namespace " + s.Namespace
		if s.Self && len(s.More) > 0 {
			c.Message += ", and " + strings.Join(s.More, ", ")
		}
	}
	r.add(c)
}

// whom returns how rbac is told for whom.
func (s *SubjectFacts) whom() string {
	switch {
	case s.Who.Kind == "User":
		return "user/" + s.Who.Name
	case s.Who.Namespace != s.Namespace:
		return "serviceaccount/" + s.Who.Namespace + ":" + s.Who.Name
	default:
		return "serviceaccount/" + s.Who.Name
	}
}

// summary names rights by their resources.
func summary(missing []Right) string {
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
