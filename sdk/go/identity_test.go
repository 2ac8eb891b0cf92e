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

// testJWT returns a JWT with that payload. Only the API server would check its signature.
func testJWT(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(payload)) + "." + encode([]byte("signature"))
}

const podTokenPayload = `{"sub":"system:serviceaccount:etl:worker","kubernetes.io":{"namespace":"etl","pod":{"name":"load-x7","uid":"123"},"serviceaccount":{"name":"worker","uid":"9"}}}`

func TestDetectIdentity(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(testJWT(podTokenPayload)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	host := hostname()
	none := identity{host: host, machine: currentMachineID()}
	pod := identity{host: host, machine: currentMachineID(), namespace: "etl", pod: "load-x7", podUID: "123"}
	for what, test := range map[string]struct {
		config *rest.Config
		want   identity
	}{
		"of a pod":                        {&rest.Config{BearerToken: testJWT(podTokenPayload)}, pod},
		"of a pod, from a file":           {&rest.Config{BearerTokenFile: file}, pod},
		"the file, if both are there":     {&rest.Config{BearerToken: "other", BearerTokenFile: file}, pod},
		"the other, if there is no file":  {&rest.Config{BearerToken: testJWT(podTokenPayload), BearerTokenFile: file + "x"}, pod},
		"of an account outside of a pod":  {&rest.Config{BearerToken: testJWT(`{"kubernetes.io":{"namespace":"etl"}}`)}, none},
		"of somebody else's making":       {&rest.Config{BearerToken: testJWT(`{"sub":"jane"}`)}, none},
		"no JWT":                          {&rest.Config{BearerToken: "abcdef.0123456789"}, none},
		"three parts that are no JWT":     {&rest.Config{BearerToken: "a.%%%.c"}, none},
		"a JWT whose payload is not JSON": {&rest.Config{BearerToken: testJWT("hello")}, none},
		"none":                            {&rest.Config{}, none},
	} {
		if diff := cmp.Diff(test.want, detectIdentity(test.config), cmp.AllowUnexported(identity{}, machineID{})); diff != "" {
			t.Errorf("token %s (-want +got):\n%s", what, diff)
		}
	}
}

func TestNewInPod(t *testing.T) {
	config := &rest.Config{Host: "https://nowhere", BearerToken: testJWT(podTokenPayload)}
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
	if diff := cmp.Diff(want, home.identity.boundPod()); diff != "" {
		t.Errorf("bound to (-want +got):\n%s", diff)
	}
	if away.identity.boundPod() != nil {
		t.Errorf("in another namespace it is bound to %v", away.identity.boundPod())
	}
	got := []string{home.Holder(), home.Holder(WithHolder("me")), away.Holder()}
	// In another namespace the suffix is made of the Pod's UID, since Pods can have the same hostname.
	apart := hostname() + "/" + shortHash("123")
	if diff := cmp.Diff([]string{"load-x7", "me", apart}, got); diff != "" {
		t.Errorf("holders (-want +got):\n%s", diff)
	}
	if name, err := away.Participant(context.Background()); err != nil || name != apart {
		t.Errorf("the participant is %q, %v", name, err)
	}
	if c, err := New(&rest.Config{Host: "https://nowhere"}); err != nil || c.Namespace() != "default" {
		t.Errorf("without a pod and a namespace it works in %v, %v", c, err)
	}
}

func TestNewMachineID(t *testing.T) {
	here := osFacts{machineID: "m1", bootID: "b1"}
	me := newMachineID(here, "1000")
	for what, test := range map[string]struct {
		facts           osFacts
		user            string
		holds, arrivals bool // the same name as for me
	}{
		"I, in another process":                                {here, "1000", true, true},
		"another user":                                         {here, "0", false, false},
		"another machine":                                      {osFacts{machineID: "m2", bootID: "b2"}, "1000", false, false},
		"a copy of the machine with its ID":                    {osFacts{machineID: "m1", bootID: "b2"}, "1000", false, true},
		"a container on the machine":                           {osFacts{machineID: "m1", bootID: "b1", containerID: "pid:[2]"}, "1000", false, false},
		"a container without an ID":                            {osFacts{bootID: "b1", containerID: "pid:[2]"}, "1000", false, false},
		"a machine whose operating system has nothing to tell": {osFacts{}, "1000", false, false},
	} {
		other := newMachineID(test.facts, test.user)
		if (other.perBoot == me.perBoot) != test.holds || (other.persistent == me.persistent) != test.arrivals {
			t.Errorf("%s is %+v, and I am %+v", what, other, me)
		}
	}
	if one, two := newMachineID(osFacts{bootID: "b1", containerID: "pid:[2]"}, "0"), newMachineID(osFacts{bootID: "b1", containerID: "pid:[3]"}, "0"); one.perBoot == two.perBoot || one.persistent == two.persistent {
		t.Errorf("two containers are both %+v", one)
	}
	if m := currentMachineID(); m.perBoot == "" || m != currentMachineID() {
		t.Errorf("this machine is %+v", m)
	}
}
