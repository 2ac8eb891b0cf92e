package chart

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	"github.com/LogicIQ/konductor/e2e/manifest"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func TestMain(m *testing.M) {
	// Logs of the operator's libraries would only be noise.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	code := m.Run()
	if err := errors.Join(removeBuiltPlugins()...); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		code = 1
	}
	os.Exit(code)
}

// builtPlugins are the plugins built so far, by version.
var builtPlugins struct {
	sync.Mutex
	built map[string]string
}

// buildPlugin returns a plugin with that release version, under the name by which kubectl calls it.
func buildPlugin(t *testing.T, version string) string {
	t.Helper()
	builtPlugins.Lock()
	defer builtPlugins.Unlock()
	if path, ok := builtPlugins.built[version]; ok {
		return path
	}
	root, err := manifest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "konductor-chart-")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kubectl-konductor")
	if builtPlugins.built == nil {
		builtPlugins.built = map[string]string{}
	}
	builtPlugins.built[version] = path
	// The flags are those of "make build", so that little is left to compile.
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-X github.com/LogicIQ/konductor/internal/cli.buildVersion="+version, "-o", path, "./plugins/konductor")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the plugin: %v\n%s", err, out)
	}
	return path
}

func removeBuiltPlugins() (failed []error) {
	for _, path := range builtPlugins.built {
		failed = append(failed, os.RemoveAll(filepath.Dir(path)))
	}
	return failed
}

// commandResult is the result of a command line.
type commandResult struct {
	stdout, stderr string
	exitCode       int
}

// runCommand runs a program; it may fail.
func runCommand(t *testing.T, path string, args ...string) commandResult {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home)
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return commandResult{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// startControlPlane starts an API server with its controllers. flags are further flags of the API server.
func startControlPlane(t *testing.T, flags ...string) *cluster.ControlPlane {
	t.Helper()
	cp, err := cluster.StartControlPlane(t.Context(), cluster.ControlPlaneOptions{ControllerManager: true, APIServerFlags: flags, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cp.Close(); err != nil {
			t.Error(err)
		}
	})
	return cp
}

// createRestrictedNamespace creates a namespace that admits only Pods of the Pod Security level "restricted".
func createRestrictedNamespace(t *testing.T, cp *cluster.ControlPlane, name string) {
	t.Helper()
	kube := kubernetes.NewForConfigOrDie(cp.Config())
	_, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// applier applies objects without changes.
type applier struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
}

func newApplier(t *testing.T, config *rest.Config) *applier {
	t.Helper()
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &applier{objects, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found))}
}

// apply applies an object; with dryRun the API server only checks it.
func (a *applier) apply(ctx context.Context, obj *unstructured.Unstructured, dryRun bool) error {
	kind := obj.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: "test", Force: true}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	_, err = a.client.Resource(mapping.Resource).Namespace(obj.GetNamespace()).Apply(ctx, obj.GetName(), obj, options)
	return err
}

// startOperator starts an operator beside the control plane, with the installed account and its Deployment's arguments, except
// the listen addresses. It is stopped when the test ends, or by the returned function.
func startOperator(t *testing.T, cp *cluster.ControlPlane) (stop func()) {
	t.Helper()
	ctx := t.Context()
	deployment, err := kubernetes.NewForConfigOrDie(cp.Config()).AppsV1().Deployments(install.Namespace).Get(ctx, install.Deployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "operator.yaml")
	config, err := install.OperatorConfig(ctx, cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := credentials.WriteKubeconfig(config, install.Namespace, file); err != nil {
		t.Fatal(err)
	}
	args := slices.Concat(deployment.Spec.Template.Spec.Containers[0].Args, []string{"--kubeconfig=" + file, "--metrics-bind-address=0", "--health-probe-bind-address=0"})
	program, err := cp.StartProgram("operator", buildPlugin(t, "v1.2.0"), args, []string{"HOME=" + dir, "TMPDIR=" + dir})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			const grace = 20 * time.Second
			if err := program.Stop(context.WithoutCancel(ctx), syscall.SIGTERM, grace); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				t.Logf("the operator's log:\n%s", program.Output())
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// newAdminClient returns an SDK client of an administrator with holder as the default holder name.
func newAdminClient(t *testing.T, cp *cluster.ControlPlane, namespace string) *konductor.Client {
	t.Helper()
	client, err := konductor.New(cp.Config(), konductor.InNamespace(namespace), konductor.NotifyFunc(func(s string) { t.Log(s) }))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// objectKey returns a readable, unique key of an object.
func objectKey(obj *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", obj.GetKind(), obj.GetNamespace(), obj.GetName())
}

// objectsByKey returns objects by key, after a round trip through JSON.
func objectsByKey(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	out := map[string]any{}
	for _, obj := range objects {
		text, err := json.Marshal(obj.Object)
		if err != nil {
			t.Fatal(err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		if _, twice := out[objectKey(obj)]; twice {
			t.Errorf("%s is there twice", objectKey(obj))
		}
		out[objectKey(obj)] = plain
	}
	return out
}
