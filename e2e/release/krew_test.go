package release

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
)

// krewPlugin has the fields of a krew manifest that are used.
type krewPlugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string         `json:"version"`
		Homepage         string         `json:"homepage"`
		ShortDescription string         `json:"shortDescription"`
		Description      string         `json:"description"`
		Caveats          string         `json:"caveats,omitempty"`
		Platforms        []krewPlatform `json:"platforms"`
	} `json:"spec"`
}

type krewPlatform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	Sha256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

func (p krewPlatform) String() string {
	return p.Selector.MatchLabels["os"] + "/" + p.Selector.MatchLabels["arch"]
}

func parseKrewManifest(manifest []byte) (krewPlugin, error) {
	var p krewPlugin
	err := yaml.UnmarshalStrict(manifest, &p)
	return p, err
}

// releasePlatforms returns the platforms of a release.
func releasePlatforms() []string {
	return []string{"darwin/amd64", "darwin/arm64", "linux/amd64", "linux/arm64", "windows/amd64", "windows/arm64"}
}

// krewViolations returns what krew, the reviewers of its index, or we would reject in a manifest. The rules are those of krew's
// developer guide and naming guide.
func krewViolations(p krewPlugin) []string {
	var faults []string
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	matches := func(pattern, s string) bool { return regexp.MustCompile(pattern).MatchString(s) }
	fault(p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2", "apiVersion is %q", p.APIVersion)
	fault(p.Kind != "Plugin", "kind is %q", p.Kind)
	fault(p.Metadata.Name != "konductor", "name is %q", p.Metadata.Name)
	fault(!matches(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$`, p.Spec.Version), "version is %q, want a v and a semantic version", p.Spec.Version)
	fault(!strings.HasPrefix(p.Spec.Homepage, "https://"), "homepage is %q", p.Spec.Homepage)
	short := p.Spec.ShortDescription
	fault(short == "" || strings.ContainsAny(short, "\r\n"), "shortDescription is not one line")
	fault(len(short) > 64, "shortDescription is longer than the column of 'kubectl krew search'")
	fault(matches(`(?i)kubectl|plugin`, short), "shortDescription says that it is a kubectl plugin")
	fault(strings.HasSuffix(short, "."), "shortDescription ends with a full stop")
	fault(strings.TrimSpace(p.Spec.Description) == "", "description is missing")
	var found []string
	for _, pl := range p.Spec.Platforms {
		found = append(found, pl.String())
		fault(len(pl.Selector.MatchLabels) != 2, "%s: selects by %v, want os and arch", pl, pl.Selector.MatchLabels)
		fault(!matches(`^[0-9a-f]{64}$`, pl.Sha256), "%s: sha256 is %q", pl, pl.Sha256)
		fault(!strings.HasPrefix(pl.URI, "https://") || !strings.Contains(pl.URI, p.Spec.Version), "%s: uri is %q, want https and the version in it", pl, pl.URI)
		bin := "kubectl-konductor"
		if pl.Selector.MatchLabels["os"] == "windows" {
			bin += ".exe"
		}
		fault(pl.Bin != bin, "%s: bin is %q, want %q", pl, pl.Bin, bin)
	}
	slices.Sort(found)
	fault(!slices.Equal(found, releasePlatforms()), "platforms are %v, want each of %v once", found, releasePlatforms())
	return faults
}

// newValidKrewManifest returns a manifest that krew accepts.
func newValidKrewManifest() krewPlugin {
	var p krewPlugin
	p.APIVersion, p.Kind, p.Metadata.Name = "krew.googlecontainertools.github.com/v1alpha2", "Plugin", "konductor"
	p.Spec.Version, p.Spec.Homepage = "v1.2.3", "https://example.com"
	p.Spec.ShortDescription, p.Spec.Description = "Barriers and gates", "Long."
	for _, name := range releasePlatforms() {
		os, arch, _ := strings.Cut(name, "/")
		var pl krewPlatform
		pl.Selector.MatchLabels = map[string]string{"os": os, "arch": arch}
		pl.URI, pl.Sha256, pl.Bin = "https://example.com/v1.2.3/"+os+arch, strings.Repeat("0f", 32), "kubectl-konductor"
		if os == "windows" {
			pl.Bin += ".exe"
		}
		p.Spec.Platforms = append(p.Spec.Platforms, pl)
	}
	return p
}

func TestKrewViolations(t *testing.T) {
	if faults := krewViolations(newValidKrewManifest()); len(faults) > 0 {
		t.Fatalf("a sound manifest has faults: %v", faults)
	}
	for name, tc := range map[string]struct {
		spoil func(*krewPlugin)
		want  string
	}{
		"an older API":              {func(p *krewPlugin) { p.APIVersion = "krew.googlecontainertools.github.com/v1alpha1" }, "apiVersion"},
		"another kind":              {func(p *krewPlugin) { p.Kind = "Theme" }, "kind"},
		"another name":              {func(p *krewPlugin) { p.Metadata.Name = "kubectl-konductor" }, "name"},
		"a version without v":       {func(p *krewPlugin) { p.Spec.Version = "1.2.3" }, "version"},
		"a version of two numbers":  {func(p *krewPlugin) { p.Spec.Version = "v1.2" }, "version"},
		"no homepage":               {func(p *krewPlugin) { p.Spec.Homepage = "" }, "homepage"},
		"two lines":                 {func(p *krewPlugin) { p.Spec.ShortDescription = "a\nb" }, "not one line"},
		"too long a line":           {func(p *krewPlugin) { p.Spec.ShortDescription = strings.Repeat("a", 65) }, "longer"},
		"says what all of them are": {func(p *krewPlugin) { p.Spec.ShortDescription = "A kubectl plugin for gates" }, "kubectl plugin"},
		"no description":            {func(p *krewPlugin) { p.Spec.Description = " " }, "description is missing"},
		"a platform left out":       {func(p *krewPlugin) { p.Spec.Platforms = p.Spec.Platforms[1:] }, "platforms are"},
		"a platform twice":          {func(p *krewPlugin) { p.Spec.Platforms = append(p.Spec.Platforms, p.Spec.Platforms[0]) }, "platforms are"},
		"an os without arch":        {func(p *krewPlugin) { delete(p.Spec.Platforms[0].Selector.MatchLabels, "arch") }, "want os and arch"},
		"a short checksum":          {func(p *krewPlugin) { p.Spec.Platforms[0].Sha256 = "0f" }, "sha256"},
		"a checksum in capitals":    {func(p *krewPlugin) { p.Spec.Platforms[0].Sha256 = strings.Repeat("0F", 32) }, "sha256"},
		"no .exe on Windows":        {func(p *krewPlugin) { p.Spec.Platforms[5].Bin = "kubectl-konductor" }, "bin"},
		"the archive of another":    {func(p *krewPlugin) { p.Spec.Platforms[0].URI = "https://example.com/v1.2.2/x" }, "uri"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newValidKrewManifest()
			tc.spoil(&p)
			if faults := strings.Join(krewViolations(p), "\n"); !strings.Contains(faults, tc.want) {
				t.Errorf("faults %q, want %q in them", faults, tc.want)
			}
		})
	}
}

// goreleaserConfig has the fields of .goreleaser.yaml that are tested.
type goreleaserConfig struct {
	Krews []struct {
		Name             string `json:"name"`
		Homepage         string `json:"homepage"`
		ShortDescription string `json:"short_description"`
		Description      string `json:"description"`
	} `json:"krews"`
	Builds []struct {
		Goos   []string `json:"goos"`
		Goarch []string `json:"goarch"`
		Env    []string `json:"env"`
		Flags  []string `json:"flags"`
	} `json:"builds"`
}

func TestGoreleaserKrewSection(t *testing.T) {
	var c goreleaserConfig
	if err := yaml.Unmarshal(readFile(t, repoRoot(t)+"/.goreleaser.yaml"), &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Krews) != 1 || len(c.Builds) != 1 {
		t.Fatalf("%d manifests and %d builds, want one of each", len(c.Krews), len(c.Builds))
	}
	p := newValidKrewManifest()
	k := c.Krews[0]
	p.Metadata.Name, p.Spec.Homepage, p.Spec.ShortDescription, p.Spec.Description = k.Name, k.Homepage, k.ShortDescription, k.Description
	if faults := krewViolations(p); len(faults) > 0 {
		t.Errorf("faults: %v", faults)
	}
	b := c.Builds[0]
	var built []string
	for _, os := range b.Goos {
		for _, arch := range b.Goarch {
			built = append(built, os+"/"+arch)
		}
	}
	slices.Sort(built)
	if diff := cmp.Diff(releasePlatforms(), built); diff != "" {
		t.Errorf("platforms (-want +got):\n%s", diff)
	}
	if !slices.Contains(b.Env, "CGO_ENABLED=0") || !slices.Contains(b.Flags, "-trimpath") {
		t.Errorf("built with %v and %v, want CGO_ENABLED=0 and -trimpath", b.Env, b.Flags)
	}
}

func TestGoreleaserCheck(t *testing.T) {
	mustRun(t, repoRoot(t), nil, toolchaintest.ProgramPath(t, "goreleaser"), "check") // which also fails on deprecated settings
}
