package pods

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/internal/rules"
)

// failureReport describes the state of a test's namespace and the operator, to find out why the test failed.
func failureReport(ctx context.Context, s *testEnv) string {
	var out strings.Builder
	fmt.Fprintf(&out, "how namespace %s stands:\n", s.namespace)
	for _, part := range []func(context.Context, *strings.Builder) error{s.reportObjects, s.reportPods, s.reportEvents, s.reportOperator} {
		if err := part(ctx, &out); err != nil {
			fmt.Fprintf(&out, "(%v)\n", err)
		}
	}
	return out.String()
}

// reportObjects writes the status of konductor's objects.
func (s *testEnv) reportObjects(ctx context.Context, out *strings.Builder) error {
	for _, kind := range []string{konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore, konductorv1.KindClaim} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(schema.GroupVersionKind{Group: konductorv1.GroupName, Version: konductorv1.GroupVersion().Version, Kind: kind + "List"})
		if err := s.client.List(ctx, list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			obj := &list.Items[i]
			status, err := yaml.Marshal(map[string]any{"spec": obj.Object["spec"], "status": obj.Object["status"]})
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%s %s (revision %s)\n%s", kind, obj.GetName(), obj.GetResourceVersion(), firstLines(string(status), 40))
		}
	}
	return nil
}

// reportPods writes the state of every container, and the logs of those that failed or still run.
func (s *testEnv) reportPods(ctx context.Context, out *strings.Builder) error {
	list, err := s.kube.CoreV1().Pods(s.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		fmt.Fprintf(out, "Pod %s: %s %s\n", pod.Name, pod.Status.Phase, pod.Status.Message)
		if pod.Status.Phase == corev1.PodSucceeded {
			continue
		}
		for _, c := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			switch {
			case c.State.Terminated != nil:
				fmt.Fprintf(out, "  %s: exit code %d %s\n", c.Name, c.State.Terminated.ExitCode, c.State.Terminated.Message)
			case c.State.Running != nil:
				fmt.Fprintf(out, "  %s: running\n", c.Name)
			case c.State.Waiting != nil:
				fmt.Fprintf(out, "  %s: waiting: %s %s\n", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message)
			}
			if c.State.Running != nil || (c.State.Terminated != nil && c.State.Terminated.ExitCode != 0) {
				options := &corev1.PodLogOptions{Container: c.Name, TailLines: ptr.To[int64](8)}
				if text, err := s.kube.CoreV1().Pods(s.namespace).GetLogs(pod.Name, options).DoRaw(ctx); err == nil {
					fmt.Fprint(out, indent(string(text)))
				}
			}
		}
	}
	return nil
}

func (s *testEnv) reportEvents(ctx context.Context, out *strings.Builder) error {
	list, err := s.kube.CoreV1().Events(s.namespace).List(ctx, metav1.ListOptions{FieldSelector: "type!=Normal"})
	if err != nil {
		return err
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int { return cmp.Compare(rules.RevisionOrZero(&a), rules.RevisionOrZero(&b)) })
	for i := max(0, len(list.Items)-20); i < len(list.Items); i++ {
		e := &list.Items[i]
		fmt.Fprintf(out, "%s %s/%s: %s: %s\n", e.LastTimestamp.Format("15:04:05"), e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
	return nil
}

// reportOperator writes the ends of the operators' logs, without their start-up lines.
func (s *testEnv) reportOperator(ctx context.Context, out *strings.Builder) error {
	list, err := s.kube.CoreV1().Pods(install.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		pod := &list.Items[i]
		text, err := s.kube.CoreV1().Pods(install.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{TailLines: ptr.To[int64](200)}).DoRaw(ctx)
		if err != nil {
			return err
		}
		lines := slices.DeleteFunc(strings.SplitAfter(string(text), "\n"), func(line string) bool { return strings.Contains(line, `"msg":"Starting `) })
		lines = lines[max(0, len(lines)-15):]
		fmt.Fprintf(out, "operator %s (%s)\n%s", pod.Name, pod.Status.Phase, indent(strings.Join(lines, "")))
	}
	return nil
}

// firstLines returns the first lines of a text.
func firstLines(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	if len(all) > lines {
		all = append(all[:lines], "…\n")
	}
	return indent(strings.Join(all, ""))
}

func indent(text string) string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return ""
	}
	return "    " + strings.ReplaceAll(text, "\n", "\n    ") + "\n"
}
