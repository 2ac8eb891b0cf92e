# Everything here works on a machine with Go and git. What needs more says so.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE ?= logiciq/koncli:dev
GO ?= go
CHAOS_SECONDS ?= 60
CHAOS_SEED ?=
# The race detector needs a C compiler.
RACE := $(shell [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC)" >/dev/null && echo -race)
LDFLAGS := -s -w -X github.com/LogicIQ/konductor/plugins/konductor/cli.released=$(VERSION)
CLUSTER := bin/cluster
tool = $$($(CLUSTER) tool $(1))

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
generate: $(CLUSTER) ## Generate deepcopy code, CRDs, the operator's role, and the table of the chart's values
	$(call tool,controller-gen) object crd:generateEmbeddedObjectMeta=false paths=./apis/... output:crd:dir=charts/konductor/files/crds
	$(call tool,controller-gen) rbac:roleName=konductor-operator paths=./operator/... output:rbac:dir=charts/konductor/files/rbac
	cd e2e && $(GO) run ./cmd/chartvalues ../charts/konductor

.PHONY: bench
bench: build ## Measure against floors, budgets and rivals (BENCH=regexp for some, BENCH_QUICK=1, BENCH_DOCS=file for the page)
	cd e2e && $(GO) build -o ../bin/bench ./cmd/bench
	bin/bench

##@ Check
.PHONY: test
test: test-unit test-integration test-chaos test-pods ## All tests: unit, integration (real API server), a short campaign, and real Pods where they can run
	@echo "test: ok"

.PHONY: test-unit
test-unit: race-note ## Unit and property tests
	$(GO) test $(RACE) ./...

.PHONY: test-integration
test-integration: race-note ## Tests against a real kube-apiserver and etcd
	cd e2e && $(GO) test $(RACE) -timeout 20m ./cluster/... ./chart/... ./cmd/... ./crd/... ./integration/... ./bench/...

.PHONY: test-chaos
test-chaos: race-note ## A short campaign while everything fails, and proof that the checks notice each broken rule (CHAOS_SEED)
	cd e2e && CHAOS_SEED=$(CHAOS_SEED) $(GO) test $(RACE) -count=1 -timeout 20m ./chaos/...

.PHONY: chaos
chaos: ## A campaign: clients work while everything fails, then every promise is checked (CHAOS_SECONDS, CHAOS_SEED)
	@mkdir -p bin/chaos
	cd e2e && $(GO) build -o ../bin/chaos/campaign ./cmd/chaos
	bin/chaos/campaign -seconds $(CHAOS_SECONDS) -seed $(or $(CHAOS_SEED),0)

.PHONY: test-pods
test-pods: image.tar ## Tests with real Pods (needs root on Linux; says so and skips where it can't)
	cd e2e && $(GO) test -v -timeout 40m ./pods/... | grep --line-buffered -v '^=== '

.PHONY: race-note
race-note:
	@[ -n "$(RACE)" ] || echo "note: no C compiler, so tests run without the race detector"

.PHONY: lint
lint: $(CLUSTER) ## golangci-lint on all modules
	lint="$(call tool,golangci-lint)"; "$$lint" run ./... && cd e2e && "$$lint" run --config ../.golangci.yml ./...

.PHONY: generate-check
generate-check: generate ## Fail when generated files are not up to date
	@git diff --exit-code -- apis charts || { echo "generated files have changed: run 'make generate' and commit them"; exit 1; }
	@test -z "$$(git status --porcelain -- apis/v1/zz_generated.deepcopy.go charts/konductor/files)" || { echo "generated files are not committed"; exit 1; }

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-zA-Z_-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
