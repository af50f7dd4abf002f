# Everything that is done with the sources; `make` alone prints what there is. It wants GNU make 4, bash and Go, and Node for
# the web app. Whatever else the tests want, `make setup` installs or names.

ifeq ($(filter oneshell,$(.FEATURES)),)
$(error this is make $(MAKE_VERSION); GNU make 4 is needed)
endif

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# What may be set: `make build VERSION=v1.2.3`, `make run ARGS='--listen 127.0.0.1:9000'`, `make bench BENCH=Claim`.
VERSION   ?=
ARGS      ?=
TESTFLAGS ?=
BENCH     ?= .
FUZZTIME  ?= 30s

# Set in the environment: CRONY_REQUIRE_ALL=1 makes the want of any tool an error, CRONY_REQUIRE_UI=1 that of Node alone.
REQUIRE_UI = $(CRONY_REQUIRE_ALL)$(CRONY_REQUIRE_UI)

# A Debian package; how to see that it is here; what is skipped without it.
define PACKAGES
protobuf-compiler; command -v protoc; whether the protobuf code is current
gcc; command -v gcc; the race detector
libc6-dev; test -e /usr/include/stdlib.h; the race detector
chromium; command -v "$${CHROMIUM:-chromium}"; the browser tests
fontconfig; command -v fc-list; Chinese text in the browser tests
fonts-noto-cjk; test -n "$$(fc-list :lang=zh)"; Chinese text in the browser tests
etcd-client; command -v etcdctl; the tests with a stock etcdctl
iproute2; command -v ip; the tests on hosts in network namespaces
nftables; command -v nft; the tests on hosts in network namespaces
strace; command -v strace; the tests of disks that fail
endef

# The linter has its own module graph, so it stays out of go.mod.
GOLANGCI_VERSION := v2.15.0
GOLANGCI         := bin/tools/golangci-lint-$(GOLANGCI_VERSION)

# Stamps stand for folders that npm and Vite fill. A folder in the sources counts too: its time changes with a deleted file.
NPM          ?= $(shell command -v npm)
NODE_MODULES := webui/app/node_modules/.crony-stamp
UI           := webui/dist/app/.stamp
UI_SOURCES   := webui/api/openapi.yaml $(shell find webui/app \( -name node_modules -o -path webui/app/e2e \) -prune \
                  -o ! -name api.gen.ts \( -type f -o -type d -path '*/src*' \) -print)

GO_FILES = find . \( -name node_modules -o -path ./bin -o -path ./data \) -prune -o -name '*.go' -print0
RACE     = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

##@ Use
.PHONY: help build run
help: ## Print this
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	echo
	echo "CONTRIBUTING.md says what each is for; the head of the Makefile, which variables may be set."

build: $(if $(NPM),$(UI),no-ui) ## Build bin/crony, with its web app, and bin/crony-agent
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(if $(VERSION),-X crony/internal/version.release=$(VERSION))' \
		-o bin/ ./cmd/crony ./cmd/crony-agent

run: build ## Build and start a server with an agent and three small jobs; Ctrl-C stops them
	@exec bin/crony dev --demo $(ARGS)

##@ Check
.PHONY: test test-go test-web lint vet check-gen check-fmt bench fuzz soak sim hosts chaos chaos-short setup
STAGES := check-gen check-fmt vet lint test-web sim
test: export CRONY_SIM_SEEDS ?= 200
test: setup ## Everything that must be green: generated code, format, vet, lint, web app, Go and browser tests
	@for stage in $(STAGES); do
		began=$$SECONDS
		echo "== $$stage"
		$(MAKE) $$stage
		echo "== $$stage took $$((SECONDS - began)) s"
	done
	echo "== test-go, after $$SECONDS s"
	$(MAKE) test-go

test-go: $(if $(NPM),$(UI),no-ui) ## Go tests, with the race detector where there is a C compiler, and browser tests
	@$(if $(RACE),,echo "test-go: without the race detector, which wants gcc and libc6-dev")
	go test $(RACE) $(TESTFLAGS) ./...

test-web: $(if $(NPM),$(UI),no-ui) ## Unit tests and lint of the web app
	@$(if $(NPM),cd webui/app && npm run --if-present lint && npm test)

lint: $(GOLANGCI) ## golangci-lint by .golangci.yml
	@$(GOLANGCI) run

vet: ## go vet
	@go vet ./...

# On a copy, so that it judges the sources as they are, committed or not, and touches none. The lines that tell protoc's own
# version do not count.
check-gen: tools ## Is the generated code current?
	@copy=$$(mktemp -d)
	trap 'rm -rf "$$copy"' EXIT
	mkdir "$$copy/is"
	tar -c --exclude-vcs --exclude=node_modules --exclude=./bin --exclude=./data --exclude=./webui/dist/app . |
		tar -x -C "$$copy/is"
	cp -a "$$copy/is" "$$copy/want"
	cd "$$copy/want"
	if command -v protoc >/dev/null; then
		PATH="$(CURDIR)/bin/tools:$$PATH" go generate ./...
	else
		echo "check-gen: protoc is not here, so its output is not checked" >&2
		$(if $(CRONY_REQUIRE_ALL),exit 1)
		PATH="$(CURDIR)/bin/tools:$$PATH" go generate -skip protoc ./...
	fi
	cd ..
	diff -ru -I '^// .*protoc  *v[0-9]' is want || { echo "check-gen: not current; run: make generate" >&2; exit 1; }

check-fmt: ## Are the Go files formatted?
	@files=$$($(GO_FILES) | xargs -0 gofmt -s -l)
	[[ -z $$files ]] || { echo "check-fmt: run make fmt for: "$$files >&2; exit 1; }

bench: ## Benchmarks: BENCH=regexp chooses
	@packages=$$($(GO_FILES) | { xargs -0 grep -l '^func Benchmark' || true; } | xargs -rn1 dirname | sort -u)
	[[ -n $$packages ]] || { echo "bench: there is no benchmark yet"; exit 0; }
	go test -run '^$$' -bench '$(BENCH)' -benchmem $(TESTFLAGS) $$packages

# Else making each interesting input smaller would eat the time.
fuzz: ## Each fuzz target for FUZZTIME, 30s if not set
	@$(GO_FILES) | { xargs -0 grep -Ho '^func Fuzz[A-Za-z0-9_]*' || true; } | while IFS=: read -r file func; do
		echo "== $${func#func } in $$(dirname "$$file")"
		go test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $(TESTFLAGS) \
			"$$(dirname "$$file")" </dev/null
	done

soak: ## A simulated year of 10,000 jobs, in which all sorts of things happen; long
	@CRONY_SOAK_SEED=$${CRONY_SOAK_SEED:-0} CRONY_SOAK_JOBS=$${CRONY_SOAK_JOBS:-10000} CRONY_SOAK_DAYS=$${CRONY_SOAK_DAYS:-365} \
		go test -run '^TestSoak$$' -count 1 -v -timeout 2h $(TESTFLAGS) ./agent

# A seed tells its story again best where Go has one processor for it.
sim: export CRONY_SIM_SEEDS ?= 1000
sim: ## CRONY_SIM_SEEDS (1,000) minutes of trouble in a simulated fleet, from CRONY_SIM_SEED on, on all processors
	@go test -c -o bin/agent.test ./agent
	procs=$$(nproc) first=$${CRONY_SIM_SEED:-1}
	each=$$(((CRONY_SIM_SEEDS + procs - 1) / procs))
	cd agent && seq 0 $$((procs - 1)) | GOMAXPROCS=1 xargs -P $$procs -I{} sh -c \
		'CRONY_SIM_SEED=$$(($$1 + {} * $$2)) CRONY_SIM_SEEDS=$$2 ../bin/agent.test -test.run "^TestSim$$" -test.timeout 24h' sim $$first $$each

hosts: ## A cluster of the real programs on hosts in network namespaces, to which all sorts of things happen; takes root
	@CRONY_HOSTS=1 go test -count 1 -v -timeout 1h $(TESTFLAGS) ./internal/testhosts

# CRONY_CHAOS_SEED replays what was done; with CRONY_CHAOS_ONLY=servers no agent fails, and one server at a time.
chaos: export CRONY_CHAOS_FOR ?= 10m
chaos: export CRONY_CHAOS_LEADER ?= 5m
chaos: ## Faults of all kinds for ten minutes, judged by what is promised, and how fast jobs fail over; takes root
	@CRONY_HOSTS=1 go test -count 1 -v -timeout 2h -run '^(TestChaos|TestServersFail|TestFailover|TestLeaderKilled)$$' \
		$(TESTFLAGS) ./internal/testhosts

chaos-short: export CRONY_CHAOS_FOR ?= 2m
chaos-short: export CRONY_CHAOS_LEADER ?= 1m
chaos-short: ## The same for two minutes
	@$(MAKE) chaos

setup: export PACKAGES := $(PACKAGES)
setup: ## Install the Debian packages that the tests want; when not root, say which
	@look() {
		missing= skipped=
		while IFS=';' read -r package probe what; do
			eval "$$probe" >/dev/null 2>&1 && continue
			missing+=" $$package" skipped+="  $$package:$$what"$$'\n'
		done <<<"$$PACKAGES"
	}
	look
	if [[ -n $$missing && $$EUID = 0 ]] && command -v apt-get >/dev/null; then
		echo "setup: installing$$missing"
		export DEBIAN_FRONTEND=noninteractive
		log=$$(mktemp)
		{ apt-get -q update && apt-get -qy install --no-install-recommends $$missing; } </dev/null >"$$log" 2>&1 ||
			tail "$$log" >&2
		rm "$$log"
		look
	fi
	[[ -n $$missing ]] || exit 0
	printf 'setup: not here, and so skipped:\n%sInstall with: sudo apt-get install --no-install-recommends%s\n' \
		"$$skipped" "$$missing" >&2
	$(if $(CRONY_REQUIRE_ALL),exit 1)

##@ Change
.PHONY: fmt generate clean tools no-ui
fmt: ## Format the Go files
	@$(GO_FILES) | xargs -0 gofmt -s -w

generate: tools ## Run the go:generate lines: protobuf and the REST API's server side
	@PATH="$(CURDIR)/bin/tools:$$PATH" go generate ./...

clean: ## Delete what was built; the data of make run stays
	@rm -rf bin webui/dist/app webui/app/node_modules webui/app/src/api/api.gen.ts webui/app/e2e/out

tools:
	@go build -o bin/tools/ tool

no-ui:
	@echo "make: npm is not here; without Node 20.19 or later the web app is neither built nor tested" >&2
	$(if $(REQUIRE_UI),exit 1)

$(GOLANGCI):
	@echo "lint: building golangci-lint $(GOLANGCI_VERSION), once, in about three minutes"
	GOBIN=$(CURDIR)/bin/tools go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv bin/tools/golangci-lint $@

$(NODE_MODULES): webui/app/package-lock.json
	@node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || a == 20 && b >= 19 ? 0 : 1)' || {
		echo "make: the web app wants Node 20.19 or later, this is $$(node -v); to do without it: make build NPM=" >&2
		exit 1
	}
	cd webui/app
	npm ci --no-audit --no-fund --prefer-offline --ignore-scripts
	touch node_modules/.crony-stamp

$(UI): $(NODE_MODULES) $(UI_SOURCES)
	@cd webui/app
	npm run build
	touch ../dist/app/.stamp
