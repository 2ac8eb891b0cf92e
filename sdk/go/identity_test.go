package konductor

import (
	"context"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// token returns a JWT with that payload. Its signature is for the API server to check, and not checked here.
func token(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(payload)) + "." + encode([]byte("signature"))
}

const podToken = `{"sub":"system:serviceaccount:etl:worker","kubernetes.io":{"namespace":"etl","pod":{"name":"load-x7","uid":"123"},"serviceaccount":{"name":"worker","uid":"9"}}}`

func TestAPodIsKnownByItsToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token(podToken)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := hostname()
	none := identity{host: host}
	pod := identity{host: host, namespace: "etl", pod: "load-x7", podUID: "123"}
	for what, test := range map[string]struct {
		config *rest.Config
		want   identity
	}{
		"of a pod":                        {&rest.Config{BearerToken: token(podToken)}, pod},
		"of a pod, from a file":           {&rest.Config{BearerTokenFile: file}, pod},
		"the file, if both are there":     {&rest.Config{BearerToken: "other", BearerTokenFile: file}, pod},
		"the other, if there is no file":  {&rest.Config{BearerToken: token(podToken), BearerTokenFile: file + "x"}, pod},
		"of an account outside of a pod":  {&rest.Config{BearerToken: token(`{"kubernetes.io":{"namespace":"etl"}}`)}, none},
		"of somebody else's making":       {&rest.Config{BearerToken: token(`{"sub":"jane"}`)}, none},
		"no JWT":                          {&rest.Config{BearerToken: "abcdef.0123456789"}, none},
		"three parts that are no JWT":     {&rest.Config{BearerToken: "a.%%%.c"}, none},
		"a JWT whose payload is not JSON": {&rest.Config{BearerToken: token("hello")}, none},
		"none":                            {&rest.Config{}, none},
	} {
		if diff := cmp.Diff(test.want, ownIdentity(test.config), cmp.AllowUnexported(identity{})); diff != "" {
			t.Errorf("token %s (-want +got):\n%s", what, diff)
		}
	}
}

func TestAClientWorksInItsPodsNamespaceAndIsBoundOnlyThere(t *testing.T) {
	config := &rest.Config{Host: "https://nowhere", BearerToken: token(podToken)}
	at := func(opts ...ClientOption) *Client {
		t.Helper()
		c, err := New(config, opts...)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	home, away := at(), at(InNamespace("other"))
	if home.Namespace() != "etl" || away.Namespace() != "other" {
		t.Errorf("they work in %s and %s", home.Namespace(), away.Namespace())
	}
	want := &konductorv1.BoundObject{Kind: "Pod", Name: "load-x7", UID: "123"}
	if diff := cmp.Diff(want, home.identity.bound()); diff != "" {
		t.Errorf("bound to (-want +got):\n%s", diff)
	}
	if away.identity.bound() != nil {
		t.Errorf("in another namespace it is bound to %v", away.identity.bound())
	}
	got := []string{home.Holder(), home.Holder(WithHolder("me")), away.Holder()}
	if diff := cmp.Diff([]string{"load-x7", "me", hostname()}, got); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
	if name, err := away.Participant(context.Background()); err != nil || name != hostname() {
		t.Errorf("the participant is %q, %v", name, err)
	}
	if c, err := New(&rest.Config{Host: "https://nowhere"}); err != nil || c.Namespace() != "default" {
		t.Errorf("without a pod and a namespace it works in %v, %v", c, err)
	}
}
