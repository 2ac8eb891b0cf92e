# Everything here works on a machine with Go and git. What needs more says so.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE ?= logiciq/koncli:dev
GO ?= go
VERSIONS ?=
CHAOS_SECONDS ?= 60
FUZZ_SECONDS ?= 60
CHAOS_SEED ?=
VULN_DB ?= https://vuln.go.dev
# The race detector needs a C compiler.
RACE := $(shell [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC)" >/dev/null && echo -race)
LDFLAGS := -s -w -X github.com/LogicIQ/konductor/internal/cli.buildVersion=$(VERSION)
CLUSTER := bin/cluster
tool = $$($(abspath $(CLUSTER)) tool $(1))
# A line for each package; at the end what failed, and what was skipped and why.
TESTSUM := --format pkgname --format-hide-empty-pkg

##@ Try it
.PHONY: demo
demo: build $(CLUSTER) bin/demo image.tar ## A real cluster, konductor in it, and an ETL pipeline, live (KEEP=1 keeps the cluster)
	bin/demo

.PHONY: cluster-up
cluster-up: $(CLUSTER) ## Start a real Kubernetes; its kubeconfig is .cluster/kubeconfig
	$(CLUSTER) up

.PHONY: cluster-down
cluster-down: $(CLUSTER) ## Stop it and remove every trace of it
	$(CLUSTER) down

.PHONY: image
image: image.tar ## Build the koncli image without Docker, and load it into the cluster's node if there is one
	if $(CLUSTER) status >/dev/null 2>&1; then $(CLUSTER) image load bin/image.tar; fi

.PHONY: deploy
deploy: build $(CLUSTER) ## Install CRDs, RBAC and the operator into the cluster of KUBECONFIG
	$(call tool,helm) upgrade --install konductor charts/konductor --namespace konductor-system --create-namespace \
	  --set image.repository=$(firstword $(subst :, ,$(IMAGE))) --set image.tag=$(lastword $(subst :, ,$(IMAGE))) --wait --timeout 3m

.PHONY: undeploy
undeploy: $(CLUSTER) ## Remove the operator again; CRDs and objects stay
	$(call tool,helm) uninstall konductor --namespace konductor-system --wait

##@ Build
.PHONY: build
build: ## Build bin/kubectl-konductor and bin/koncli
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/koncli ./plugins/konductor
	cp -f bin/koncli bin/kubectl-konductor

.PHONY: image.tar
image.tar: build $(CLUSTER)
	$(CLUSTER) image build --binary bin/koncli --tag $(IMAGE) -o bin/image.tar

.PHONY: $(CLUSTER)
$(CLUSTER):
	@mkdir -p bin
	cd e2e && $(GO) build -o ../$(CLUSTER) ./cmd/cluster

.PHONY: bin/demo
bin/demo:
	@mkdir -p bin
	cd e2e && $(GO) build -o ../bin/demo ./cmd/demo

.PHONY: generate
generate: $(CLUSTER) ## Generate deepcopy code, CRDs, the operator's role, the table of the chart's values, and the reference of the command line
	$(call tool,controller-gen) object crd:generateEmbeddedObjectMeta=false paths=./apis/... output:crd:dir=charts/konductor/files/crds
	$(call tool,controller-gen) rbac:roleName=konductor-operator paths=./operator/... output:rbac:dir=charts/konductor/files/rbac
	cd e2e && $(GO) run ./cmd/chartvalues ../charts/konductor
	cd e2e && $(GO) run ./cmd/reference -markdown ../docs/cli

.PHONY: man
man: ## Write the man pages of all commands to bin/man
	cd e2e && $(GO) run ./cmd/reference -man ../bin/man

.PHONY: bench
bench: build ## Measure against lower bounds, budgets and alternatives (BENCH=regexp for some, BENCH_QUICK=1, BENCH_OBJECTS=n,… for scale and held-waiting, BENCH_JUNK=n for junk, BENCH_DOCS=file for the page)
	cd e2e && $(GO) build -o ../bin/bench ./cmd/bench
	bin/bench

##@ Release
RELEASE := bin/konductor-release
DIST := bin/dist
# Where the image of a release goes. The chart's values name the same.
RELEASE_IMAGE ?= docker.io/logiciq/koncli
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
CREATED ?= $(shell TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo 1970-01-01T00:00:00Z)
# What is released is built from modules that are already there, and never from what a network says at that moment.
OFFLINE := GOPROXY=off GOFLAGS=-mod=readonly
# Goreleaser believes git about the commit only where there is a remote, and there is none in a copy.
OFFLINE += GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=remote.origin.url GIT_CONFIG_VALUE_0=https://github.com/LogicIQ/konductor
# What makes it a snapshot. To build the very files of a release, check out its tag and say
# RELEASE_FLAGS=--skip=publish,announce.
RELEASE_FLAGS ?= --snapshot

.PHONY: release-snapshot
release-snapshot: release-dist ## Build all of a release into bin/dist without publishing, twice, and compare
	e2e/release/reproduce.sh $(DIST) $(MAKE) --no-print-directory release-dist

.PHONY: release-test
release-test: ## Check what release-snapshot has built: archives, packages, image, SBOM, and with the real krew
	cd e2e && KONDUCTOR_DIST=$(abspath $(DIST)) $(GO) test -tags dist -count=1 -timeout 20m ./release/...

.PHONY: release
release: $(CLUSTER) $(RELEASE) release-modules ## Make a draft release of the tag that is checked out, and push its image (needs GITHUB_TOKEN and docker login)
	tag=$$(git describe --tags --exact-match); goreleaser="$(call tool,goreleaser)"; \
	$(RELEASE) notes CHANGELOG.md "$$tag" > bin/notes.md; \
	$(OFFLINE) "$$goreleaser" release --clean --release-notes bin/notes.md; \
	$(RELEASE) push bin/release/image "$(RELEASE_IMAGE):$$tag"

.PHONY: krew-manifest
krew-manifest: ## Take the krew manifest of the release in bin/dist into krew-manifests
	cp $(DIST)/krew/konductor.yaml krew-manifests/konductor.yaml

.PHONY: release-dist
release-dist: $(CLUSTER) $(RELEASE) release-modules
	goreleaser="$(call tool,goreleaser)"; $(OFFLINE) "$$goreleaser" release --clean $(RELEASE_FLAGS)

# What is needed without a network later: modules, and the tool that packs the chart.
.PHONY: release-modules
release-modules: $(CLUSTER)
	$(GO) mod download
	cd e2e && $(GO) mod download
	$(CLUSTER) tool helm

# What goreleaser puts beside the programs; it calls this with VERSION, REVISION and CREATED. The chart in the checkout runs
# an image that is built there, and the one of a release the release's; Helm packs it with the times that its files have.
.PHONY: release-files
release-files: $(RELEASE) $(CLUSTER)
	rm -rf bin/release
	mkdir -p bin/release/completions bin/release/man
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/release/koncli ./plugins/konductor
	bin/release/koncli completion bash > bin/release/completions/koncli.bash
	bin/release/koncli completion zsh > bin/release/completions/_koncli
	bin/release/koncli completion fish > bin/release/completions/koncli.fish
	bin/release/koncli completion powershell > bin/release/completions/koncli.ps1
	if $(MAKE) --no-print-directory -n man >/dev/null 2>&1; then \
	  SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(MAKE) --no-print-directory man; \
	  for page in bin/man/*.1; do gzip -9n < $$page > bin/release/man/$${page##*/}.gz; done; \
	fi
	cp -r charts/konductor bin/release/chart
	find bin/release/chart -type f -exec touch -d '$(CREATED)' {} +
	$(call tool,helm) package bin/release/chart --version $(VERSION:v%=%) --app-version $(VERSION) --destination bin/release
	for arch in amd64 arm64; do \
	  CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/release/linux_$$arch/koncli ./plugins/konductor; \
	done
	$(RELEASE) image --version $(VERSION:v%=%) --revision $(REVISION) --created $(CREATED) --tag $(RELEASE_IMAGE):$(VERSION) \
	  -o bin/release/image --archive bin/release/koncli-image.oci.tar \
	  linux/amd64=bin/release/linux_amd64/koncli linux/arm64=bin/release/linux_arm64/koncli

.PHONY: $(RELEASE)
$(RELEASE):
	@mkdir -p bin
	cd e2e && $(GO) build -o ../$(RELEASE) ./cmd/release

##@ Check
.PHONY: test
test: test-unit test-integration test-chaos test-pods ## All tests: unit, integration (real API server), a short campaign, and real Pods where they can run
	@echo "test: ok"

.PHONY: test-unit
test-unit: race-note $(CLUSTER) ## Unit and property tests
	$(call tool,gotestsum) $(TESTSUM) -- $(RACE) ./...
	for tool in shell runc; do (cd e2e/tools/$$tool && "$(call tool,gotestsum)" $(TESTSUM) -- $(RACE) ./...); done

.PHONY: fuzz
fuzz: ## Run all fuzz tests, one after another, each for FUZZ_SECONDS
	$(GO) list -f '{{if .TestGoFiles}}{{.ImportPath}} {{.Dir}}{{else if .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}' ./... | while read -r package dir; do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$dir"/*_test.go); do \
	    echo "$$package $$name"; $(GO) test "$$package" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZ_SECONDS)s -fuzzminimizetime 2s || exit 1; \
	  done; \
	done

.PHONY: test-integration
.PHONY: test-integration
test-integration: race-note $(CLUSTER) ## Tests against a real kube-apiserver and etcd
	cd e2e && $(GO) list ./... | grep -vE '/e2e/($(TESTED_ALONE)|release)(/|$$)' | xargs $(call tool,gotestsum) $(TESTSUM) -- $(RACE) -timeout 30m
	cd e2e && $(call tool,gotestsum) $(TESTSUM) -- $(RACE) -p 1 -timeout 20m ./chart/... ./integration/... ./bench/...
	@# It packs and unpacks the program several times, which takes the race detector ten minutes, and has no goroutines.
	cd e2e && $(call tool,gotestsum) $(TESTSUM) -- -timeout 20m ./release/...

# The packages whose tests start many processes with deadlines of seconds: nothing is compiled or tested beside them.
TESTED_ALONE := chart|integration|bench|chaos|pods

# What may differ by version: resource types, chart, installation, behaviour; and that it is that version.
VERSION_TESTS ?= ./internal/versions ./crd ./chart ./docs ./integration

.PHONY: test-versions
test-versions: $(CLUSTER) ## Types, chart, installation, behaviour and kubectl on each Kubernetes that is pinned (VERSIONS="1.32 1.34" for some)
	@for version in $(or $(VERSIONS),$$($(CLUSTER) versions)); do \
	  export KONDUCTOR_KUBERNETES=$$version; \
	  echo "Kubernetes $$version, $$("$(call tool,kube-apiserver)" --version)"; \
	  for program in kube-controller-manager kubectl; do $(CLUSTER) tool $$program >/dev/null; done; \
	  (cd e2e && "$(call tool,gotestsum)" $(TESTSUM) --jsonfile ../bin/tests-$$version.json -- -count=1 -p 1 -timeout 40m $(VERSION_TESTS)); \
	  if grep '"Action":"skip".*"Test":' bin/tests-$$version.json; then echo "tests were skipped on Kubernetes $$version"; exit 1; fi; \
	done

.PHONY: test-kueue
test-kueue: race-note $(CLUSTER) ## Held Jobs beside the real Kueue, which is built first (minutes); no part of test
	$(CLUSTER) tool kueue >/dev/null
	cd e2e && $(call tool,gotestsum) $(TESTSUM) -- $(RACE) -tags kueue -count=1 -timeout 20m -run '^TestKueue' ./integration/...

.PHONY: test-chaos
test-chaos: race-note $(CLUSTER) ## A short campaign while everything fails, and proof that the checks notice each broken rule (CHAOS_SEED)
	cd e2e && CHAOS_SEED=$(CHAOS_SEED) $(call tool,gotestsum) $(TESTSUM) -- $(RACE) -p 1 -count=1 -timeout 20m ./chaos/...

.PHONY: chaos
chaos: ## A campaign: clients work while everything fails, then every promise is checked (CHAOS_SECONDS, CHAOS_SEED)
	@mkdir -p bin/chaos
	cd e2e && $(GO) build -o ../bin/chaos/campaign ./cmd/chaos
	bin/chaos/campaign -seconds $(CHAOS_SECONDS) -seed $(or $(CHAOS_SEED),0)

.PHONY: test-pods
test-pods: image.tar ## Tests with real Pods (needs root on Linux; says so and skips where it can't)
	cd e2e && $(call tool,gotestsum) --format testname -- -p 1 -timeout 40m ./pods/...

.PHONY: race-note
race-note:
	@[ -n "$(RACE)" ] || echo "note: no C compiler, so tests run without the race detector"

.PHONY: lint
lint: $(CLUSTER) ## golangci-lint on all modules
	lint="$(call tool,golangci-lint)"; "$$lint" run ./... && cd e2e && "$$lint" run --config ../.golangci.yml ./...

.PHONY: vuln
vuln: $(CLUSTER) ## Look for known vulnerabilities in what the program calls (needs the database at VULN_DB)
	@vuln="$(call tool,govulncheck)"; \
	if found=$$("$$vuln" -db '$(VULN_DB)' ./... 2>&1); then echo "$$found"; \
	elif grep -q 'fetching vulnerabilities' <<<"$$found"; then \
	  echo "$$found"; echo "vuln: NOT CHECKED: the database at $(VULN_DB) can't be reached from here; VULN_DB=URL names another (file:///... for a copy)"; \
	else echo "$$found"; exit 1; fi

.PHONY: generate-check
generate-check: generate ## Fail when generated files are not up to date
	@git diff --exit-code -- apis charts docs/cli || { echo "generated files have changed: run 'make generate' and commit them"; exit 1; }
	@test -z "$$(git status --porcelain -- apis/v1/zz_generated.deepcopy.go charts/konductor/files docs/cli)" || { echo "generated files are not committed"; exit 1; }

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z_-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
