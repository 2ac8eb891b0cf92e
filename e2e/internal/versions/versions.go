// Package versions describes the differences between the versions of Kubernetes that tests run on, so that a test states what it
// expects on each of them: a feature that is absent in a version is asserted to be absent there. It asks the API server for its
// version, however that was chosen.
package versions

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

// Version is the version of an API server.
type Version struct{ version *version.Version }

// ServerVersion asks an API server for its version.
func ServerVersion(config *rest.Config) (Version, error) {
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return Version{}, err
	}
	info, err := d.ServerVersion()
	if err != nil {
		return Version{}, err
	}
	v, err := version.ParseSemantic(info.GitVersion)
	return Version{v}, err
}

// ForTest is ServerVersion, and fails the test on an error.
func ForTest(t testing.TB, config *rest.Config) Version {
	t.Helper()
	k, err := ServerVersion(config)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// String returns the version as v1.36.3.
func (k Version) String() string { return "v" + k.version.String() }

// Minor returns the version as 1.36.
func (k Version) Minor() string { return fmt.Sprintf("%d.%d", k.version.Major(), k.version.Minor()) }

// atLeast reports whether the version is that minor version of Kubernetes 1 or a later one.
func (k Version) atLeast(minor uint) bool { return k.version.AtLeast(version.MajorMinor(1, minor)) }

// HasMutatingAdmissionPolicy reports whether MutatingAdmissionPolicies are served by default: from 1.36 on. 1.34 and 1.35 have
// them as a beta version that is off by default.
func (k Version) HasMutatingAdmissionPolicy() bool { return k.atLeast(36) }

// HasBetaMutatingAdmissionPolicy reports whether MutatingAdmissionPolicies are available only by turning on the beta version.
func (k Version) HasBetaMutatingAdmissionPolicy() bool { return k.atLeast(34) && !k.atLeast(36) }

// RatchetsStatus reports whether a write of the status of a custom resource is allowed although its spec, which stays as it is,
// violates a rule that was added later: from 1.33 on. Writes of the rest are ratcheted in all versions.
func (k Version) RatchetsStatus() bool { return k.atLeast(33) }

// invalidValuePattern matches the prefix of the API server's error for a violated rule of a CRD. For scalars it contains the
// value, for objects and lists nothing. Errors about bounds and types, "in body", are different.
var invalidValuePattern = regexp.MustCompile(`Invalid value: (?:("(?:[^"\\]|\\.)*"|-?[0-9]+): )?`)

// ExpectedError returns the error of this version for what 1.36 rejects with the error words.
func (k Version) ExpectedError(words string) string {
	if !k.atLeast(36) {
		// Formats of numbers were not checked.
		words = strings.NewReplacer(`"float64"`, `"number"`, "of type int32", "of type integer").Replace(words)
	}
	if !k.atLeast(35) && !strings.Contains(words, " in body ") {
		words = invalidValuePattern.ReplaceAllStringFunc(words, replaceValueWithType)
	}
	if !k.atLeast(33) {
		words = strings.ReplaceAll(words, "Duplicate value: {", "Duplicate value: map[string]interface {}{")
	}
	return words
}

func replaceValueWithType(broken string) string {
	const named = `Invalid value: "%s": `
	switch value := strings.TrimPrefix(broken, "Invalid value: "); {
	case value == "":
		return fmt.Sprintf(named, "object")
	case strings.HasPrefix(value, `"`):
		return fmt.Sprintf(named, "string")
	default:
		return fmt.Sprintf(named, "integer")
	}
}
