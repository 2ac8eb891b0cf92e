package integration

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// commandResult is the result of a call of the program.
type commandResult struct {
	Stdout, Stderr string
	ExitCode       int
}

// runKoncli runs the program to its end, with that kubeconfig and no other that it could find.
func (w *testEnv) runKoncli(kubeconfig string, args ...string) commandResult {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, waitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, koncliPath, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	home := w.TempDir()
	cmd.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "KUBECACHEDIR=" + discoveryCacheDir()}
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		w.Fatal(err)
	}
	return commandResult{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// discoveryCacheDir returns the directory of the discovery cache that calls share, as on a user's machine.
func discoveryCacheDir() string { return filepath.Join(filepath.Dir(koncliPath), "cache") }

// writeKubeconfig writes the test's kubeconfig, changed by change, and with the test's namespace.
func (w *testEnv) writeKubeconfig(from string, change func(*api.Config)) string {
	w.Helper()
	config, err := clientcmd.LoadFromFile(from)
	w.must(err)
	for _, c := range config.Contexts {
		c.Namespace = w.namespace
	}
	if current, ok := config.Contexts[config.CurrentContext]; ok {
		config.Contexts = map[string]*api.Context{"prod": current}
		config.CurrentContext = "prod"
	}
	if change != nil {
		change(config)
	}
	path := filepath.Join(w.TempDir(), "kubeconfig")
	w.must(clientcmd.WriteToFile(*config, path))
	return path
}

// changeServers changes the servers of a kubeconfig.
func changeServers(change func(*api.Cluster)) func(*api.Config) {
	return func(c *api.Config) {
		for _, cluster := range c.Clusters {
			change(cluster)
		}
	}
}

// TestUserErrorMessages needs an API server; a table in package cli has the messages that don't.
func TestUserErrorMessages(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "extracts-done", 2)
	createBarrier(w, "given-up", 1)
	w.must(w.newParticipant("quitter").ArriveBarrier(w.ctx, "given-up", konductor.WithHolder("quitter"), konductor.AsFailed("the disk is full")))
	waitBarrierPhase(w, "given-up", konductorv1.BarrierFailed)
	w.createGate("dependencies-ready", jobCondition("load"))
	w.createLease("db-migration")
	w.createLease("free")
	w.createLease("ledger-close")
	w.createSemaphore("db-connections", 1)
	w.newParticipant("build-17").mustAcquire(konductorv1.KindLease, "db-migration")
	w.newParticipant("build-17").mustAcquire(konductorv1.KindSemaphore, "db-connections")
	w.createServiceAccount("outsider", false)

	mine := w.writeKubeconfig(w.adminKubeconfig, nil)
	elsewhere := w.createNamespace()
	outsider := w.writeKubeconfig(w.adminKubeconfig, func(c *api.Config) {
		token := w.serviceAccountConfig("outsider").BearerToken
		for name := range c.AuthInfos {
			c.AuthInfos[name] = &api.AuthInfo{Token: token}
		}
	})
	stranger := w.writeKubeconfig(w.adminKubeconfig, func(c *api.Config) {
		for name := range c.AuthInfos {
			c.AuthInfos[name] = &api.AuthInfo{Token: "not-a-token"}
		}
	})
	// A server without TLS, and one that closes connections.
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	deaf := startClosingServer(w)
	server := w.adminConfig.Host
	untrusted := w.writeKubeconfig(w.adminKubeconfig, changeServers(func(c *api.Cluster) { c.CertificateAuthorityData, c.CertificateAuthority = nil, "" }))
	at := func(address string) string {
		return w.writeKubeconfig(w.adminKubeconfig, changeServers(func(c *api.Cluster) { c.Server = address }))
	}
	user := "system:serviceaccount:" + w.namespace + ":outsider"
	role := func(verb, resource string) string {
		name := "konductor-" + strings.ReplaceAll(verb, ",", "-") + "-" + resource + "-outsider"
		return "kubectl create role " + name + " --verb=" + verb + " --resource=" + resource + ".konductor.io --namespace=" + w.namespace +
			" && kubectl create rolebinding " + name + " --role=" + name + " --serviceaccount=" + w.namespace + ":outsider --namespace=" + w.namespace
	}
	participant := "kubectl create rolebinding konductor-participant-outsider --clusterrole=konductor-participant --serviceaccount=" +
		w.namespace + ":outsider --namespace=" + w.namespace

	triedFor := regexp.MustCompile(`\(tried for \d+s\)`)
	for mistake, c := range map[string]struct {
		as   string // a kubeconfig; the administrator's when it is empty
		args string
		code int
		want string
	}{
		// Names.
		"a typo in a name":                   {"", "status lease/db-migratoin", 2, "lease/db-migratoin not found in namespace NS: did you mean db-migration?"},
		"a typo in a name, with -o":          {"", "status lease db-migratoin -o yaml", 2, "lease/db-migratoin not found in namespace NS: did you mean db-migration?"},
		"a name like no other":               {"", "status barrier/nightly", 2, "barrier/nightly not found in namespace NS: see 'koncli barrier list'"},
		"the wrong namespace":                {"", "-n " + elsewhere + " lease status ledger-close", 2, "lease/ledger-close not found in namespace " + elsewhere + "; it exists in namespace NS: add -n NS"},
		"why of what is not there":           {"", "why barrier/extract-done", 2, "barrier/extract-done not found in namespace NS: did you mean extracts-done?"},
		"why of a job that is not there":     {"", "why job/deploy", 2, "job/deploy not found in namespace NS"},
		"deleting what is not there":         {"", "gate delete dependencies-redy --yes", 2, "gate/dependencies-redy not found in namespace NS: did you mean dependencies-ready?"},
		"resizing what is not there":         {"", "semaphore resize db-conections --permits 3", 2, "semaphore/db-conections not found in namespace NS: did you mean db-connections?"},
		"breaking what is not there":         {"", "lease break ledger --yes", 2, "lease/ledger not found in namespace NS: did you mean ledger-close?"},
		"releasing what is not there":        {"", "lease release ledger-clos", 2, "lease/ledger-clos not found in namespace NS: did you mean ledger-close?"},
		"waiting once for what is not there": {"", "barrier wait x --timeout 0", 2, "barrier/x not found in namespace NS"},
		"waiting for what must be there":     {"", "gate wait x --fail-if-missing", 2, "gate/x not found in namespace NS"},
		"holding what must be there":         {"", "run --lease x --fail-if-missing -- true", 66, "lease/x not found in namespace NS"},
		"a namespace that does not exist":    {"", "-n nowhere lease create x", 2, "namespace nowhere not found: check -n, or create it first"},
		"a name that is taken":               {"", "barrier create extracts-done --expected 3", 1, "barrier/extracts-done already exists: use another name, or delete it first with 'koncli barrier delete extracts-done'"},
		"a name with what names can't have":  {"", "lease create DB_Migration", 1, `Lease.konductor.io "DB_Migration" is invalid: metadata.name: Invalid value: "DB_Migration": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`},
		"a name across all namespaces":       {"", "status lease/free -A", 1, "-A can't be used with the name of an object: use -n NAMESPACE"},
		"a name and a selector":              {"", "status lease/free -l app=etl", 1, "-l and --field-selector can't be used with the name of an object: omit them, or use 'status all'"},
		// Holds of others.
		"releasing what another holds":          {"", "lease release db-migration --holder me", 2, "me has no hold on lease/db-migration and is not queued; held by build-17 (only a break can end the hold of another holder)"},
		"releasing permits that another holds":  {"", "semaphore release db-connections --holder me", 2, "me has no hold on semaphore/db-connections and is not queued; held by build-17 (only a break can end the hold of another holder)"},
		"releasing what nobody holds":           {"", "lease release free --holder me", 2, "me has no hold on lease/free and is not queued"},
		"renewing what another holds":           {"", "lease renew db-migration --holder me", 7, "the hold on lease/db-migration was lost: me doesn't hold it"},
		"deleting what is held":                 {"", "lease delete db-migration", 1, "not deleting lease/db-migration (held by \"build-17\") in namespace NS without confirmation; pass --yes"},
		"deleting what has holders":             {"", "semaphore delete db-connections", 1, "not deleting semaphore/db-connections (held by \"build-17\") in namespace NS without confirmation; pass --yes"},
		"breaking what nobody holds":            {"", "lease break free --yes", 2, "nobody holds lease/free in namespace NS"},
		"breaking the hold of one who has none": {"", "semaphore break db-connections --holder me --yes", 2, "me doesn't hold any permit of semaphore/db-connections in namespace NS"},
		"breaking without a yes":                {"", "semaphore break db-connections --all", 1, "not breaking the holds of \"build-17\" on semaphore/db-connections in namespace NS without confirmation; pass --yes"},
		"not wanting to wait for what is held":  {"", "lease acquire db-migration --holder me --timeout 0", 5, "lease/db-migration is busy"},
		"running under what is held":            {"", "run --lease db-migration --timeout 0 -- true", 69, "lease/db-migration is busy"},
		"more permits than there are":           {"", "semaphore acquire db-connections --permits 2 --holder me", 1, "semaphore/db-connections refused the claim: asks for 2 permits, but spec.permits is 1: ask for fewer or raise it"},
		"the same holder on other terms":        {"", "lease acquire db-migration --holder build-17 --priority 3", 1, "build-17 already has a claim on lease/db-migration with different terms (priority: 0 before, 3 now): release it first, or use another holder"},
		"arriving well after having failed":     {"", "barrier arrive given-up --holder quitter", 1, "quitter has already arrived at barrier/given-up with a different outcome (failed: true before, false now): delete that Arrival first, or use another holder"},
		"waiting for what has failed":           {"", "barrier wait given-up", 6, "barrier/given-up failed: "},
		"looking at what waits":                 {"", "barrier wait extracts-done --timeout 0", 3, "barrier/extracts-done is not open: "},
		"waiting for too long":                  {"", "gate wait dependencies-ready --timeout 3s", 3, "timed out after 3s waiting for gate/dependencies-ready: "},
		// Values that the API server checks.
		"nobody expected":                {"", "barrier create x --expected 0", 1, `Barrier.konductor.io "x" is invalid: `},
		"a quorum of more than all":      {"", "barrier create x --expected 2 --quorum 3", 1, `Barrier.konductor.io "x" is invalid: `},
		"fewer than no permits":          {"", "semaphore create x --permits=-1", 1, `Semaphore.konductor.io "x" is invalid: `},
		"a state that jobs don't have":   {"", "gate create x --job load=Done", 1, `Gate.konductor.io "x" is invalid: `},
		"a selector that is none":        {"", "barrier list -l =x", 1, `-l "=x" is not a label selector (`},
		"a field that can't be selected": {"", "barrier list --field-selector spec.size=3", 1, "--field-selector doesn't support spec.size: use metadata.name, metadata.namespace or status.phase"},
		// No rights.
		"listing without the right":            {outsider, "lease list", 4, user + " may not list leases.konductor.io in namespace NS; to allow it: " + participant},
		"looking without the right":            {outsider, "lease status db-migration", 4, user + " may not get leases.konductor.io in namespace NS; to allow it: " + participant},
		"creating without the right":           {outsider, "lease create x", 4, user + " may not create leases.konductor.io in namespace NS; to allow it: " + role("create", "leases")},
		"deleting without the right":           {outsider, "barrier delete extracts-done --yes", 4, user + " may not delete barriers.konductor.io in namespace NS; to allow it: " + role("delete", "barriers")},
		"resizing without the right":           {outsider, "semaphore resize db-connections --permits 3", 4, user + " may not patch semaphores.konductor.io in namespace NS; to allow it: " + role("patch", "semaphores")},
		"waiting without the right":            {outsider, "barrier wait extracts-done", 4, user + " may not get,list,watch barriers.konductor.io in namespace NS; to allow it: " + participant},
		"running without the right":            {outsider, "run --lease db-migration -- true", 68, user + " may not get,list,watch leases.konductor.io in namespace NS; to allow it: " + participant},
		"why without the right":                {outsider, "why lease/db-migration", 4, user + " may not list leases.konductor.io in namespace NS; to allow it: " + participant},
		"credentials that nobody knows":        {stranger, "lease status db-migration", 4, "the API server doesn't accept these credentials (get leases.konductor.io in namespace NS): log in again, or check the kubeconfig's user"},
		"a list with credentials nobody knows": {stranger, "lease list", 4, "the API server doesn't accept these credentials (list leases.konductor.io in namespace NS): log in again, or check the kubeconfig's user"},
		// Connection and TLS.
		"no kubeconfig":                    {"/none", "lease list", 1, "no cluster is configured: set KUBECONFIG, or pass --kubeconfig or --server"},
		"a kubeconfig that is not there":   {"", "lease list --kubeconfig /none", 1, "kubeconfig /none not found: check --kubeconfig"},
		"a context that is not there":      {"", "lease list --context staging", 1, "the kubeconfig has no context staging: see 'kubectl config get-contexts'"},
		"nobody listens":                   {at("https://127.0.0.1:1"), "lease list", 1, "can't reach the API server: the connection to https://127.0.0.1:1 was refused (tried for 10s); check that the cluster is running, and check the server of context prod"},
		"all of it where nobody listens":   {at("https://127.0.0.1:1"), "status all", 1, "can't reach the API server: the connection to https://127.0.0.1:1 was refused (tried for 10s); check that the cluster is running, and check the server of context prod"},
		"why where nobody listens":         {at("https://127.0.0.1:1"), "why lease/x", 1, "can't reach the API server: the connection to https://127.0.0.1:1 was refused (tried for 10s); check that the cluster is running, and check the server of context prod"},
		"the version where nobody listens": {at("https://127.0.0.1:1"), "version -o json", 1, "can't reach the API server: the connection to https://127.0.0.1:1 was refused (tried for 10s); check that the cluster is running, and check the server of context prod"},
		"a host that does not exist":       {at("https://api.invalid:6443"), "lease list", 1, "host api.invalid not found (tried for 10s): check the server of context prod and the network"},
		"a certificate by nobody known":    {untrusted, "lease list", 1, "the certificate of " + server + " is signed by an unknown authority: check certificate-authority-data in the kubeconfig, or pass --certificate-authority"},
		"a summary by nobody known":        {untrusted, "status all", 1, "the certificate of " + server + " is signed by an unknown authority: check certificate-authority-data in the kubeconfig, or pass --certificate-authority"},
		"a certificate for another name":   {"", "lease list --tls-server-name other", 1, "the certificate of " + server + " is for a different host name ("},
		"a server without TLS":             {at("https://" + strings.TrimPrefix(plain.URL, "http://")), "lease list", 1, "https://" + strings.TrimPrefix(plain.URL, "http://") + " doesn't speak HTTPS: check the server of context prod"},
		"a server that hangs up":           {at("http://" + deaf), "lease list", 1, "http://" + deaf + " closed the connection without an answer (tried for 10s): check that the server of context prod is an API server"},
		"no answer in time":                {"", "lease list --request-timeout 1ns", 1, "can't reach the API server: " + server + " didn't answer in time (tried for 10s); check the network, the server of context prod and --request-timeout"},
	} {
		t.Run(mistake, func(t *testing.T) {
			one := *w
			one.TB = t
			got := one.runKoncli(cmp.Or(c.as, mine), strings.Fields(c.args)...)
			want := "error: " + strings.ReplaceAll(c.want, "NS", w.namespace)
			last := got.Stderr[strings.LastIndex(strings.TrimSuffix(got.Stderr, "\n"), "\n")+1:]
			// On a busy machine the last try ends later.
			last = triedFor.ReplaceAllString(last, "(tried for 10s)")
			if strings.HasSuffix(want, ": ") || strings.HasSuffix(want, "(") {
				// The rest is the API server's, or describes the state.
				last = last[:min(len(last), len(want))]
			} else {
				want += "\n"
			}
			if diff := gocmp.Diff(want, last); diff != "" {
				t.Errorf("stderr (-want +got):\n%s\nall of it:\n%s", diff, got.Stderr)
			}
			if strings.Count(got.Stderr, "\n") > 1 && !strings.Contains(got.Stderr, "trying again") {
				t.Errorf("more than one sentence:\n%s", got.Stderr)
			}
			if got.ExitCode != c.code {
				t.Errorf("exit code %d, want %d", got.ExitCode, c.code)
			}
		})
	}
}

// startClosingServer returns the address of a server that closes each connection.
func startClosingServer(w *testEnv) string {
	w.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	})
	w.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}
