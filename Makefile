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

# What the agent is for beside the platform at hand.
PLATFORMS := darwin/arm64 windows/amd64 linux/arm64

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
default-jdk-headless; command -v javac; the SDK for Java
nginx-light; command -v nginx; the test of calls with a client's certificate
python3; command -v python3; the example of a callee in Python, and the test of calls to its web server
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

JAVA_JAR     := bin/crony-callee.jar
JAVA_SOURCES := $(shell find sdk/java/src/main -type f)
JAVA_FLAGS   := -J-XX:TieredStopAtLevel=1 -encoding UTF-8 --release 17 -Werror

GO_FILES = find . \( -name node_modules -o -path ./bin -o -path ./data \) -prune -o -name '*.go' -print0
RACE     = $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)

##@ Use
.PHONY: help build run java
help: ## Print this
	@awk -F ':.*## ' '/^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	echo
	echo "CONTRIBUTING.md says what each is for; the head of the Makefile, which variables may be set."

build: $(if $(NPM),$(UI),no-ui) ## Build bin/crony, with its web app, and bin/crony-agent
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(if $(VERSION),-X crony/internal/version.release=$(VERSION))' \
		-o bin/ ./cmd/crony ./cmd/crony-agent

run: build ## Build and start a server with an agent and three small jobs; Ctrl-C stops them
	@exec bin/crony dev --demo $(ARGS)

java: $(JAVA_JAR) ## Build bin/crony-callee.jar, the SDK for services in Java, and its pages in bin/java/doc

##@ Check
.PHONY: test test-go test-web test-java test-windows lint vet check-gen check-fmt bench fuzz guest soak sim sim-long hosts chaos chaos-short chaos-seed setup
STAGES := check-gen check-fmt vet lint test-web test-java sim
test: setup ## Everything that must be green: generated code, format, vet, lint, web app, Java, sim, chaos, Go and browser tests
	@chaos=$$(mktemp)
	trap 'wait; rm -f "$$chaos"' EXIT # it takes away the hosts that it has made
	for stage in $(STAGES); do
		began=$$SECONDS
		echo "== $$stage"
		if [[ $$stage = sim ]]; then # most of the time chaos waits
			$(MAKE) chaos-seed >"$$chaos" 2>&1 &
		fi
		$(MAKE) $$stage
		echo "== $$stage took $$((SECONDS - began)) s"
	done
	echo "== chaos-seed"
	wait $$! || { cat "$$chaos"; exit 1; }
	tail -n 20 "$$chaos"
	echo "== test-go, after $$SECONDS s"
	$(MAKE) test-go

test-go: $(if $(NPM),$(UI),no-ui) ## Go tests, with the race detector where there is a C compiler, and browser tests
	@$(if $(RACE),,echo "test-go: without the race detector, which wants gcc and libc6-dev")
	go test -p $$(($$(nproc) + 1)) $(RACE) $(TESTFLAGS) ./... # more than there are processors, as half of the time tests wait

test-web: $(if $(NPM),$(UI),no-ui) ## Unit tests and lint of the web app
	@$(if $(NPM),cd webui/app && npm run --if-present lint && npm test)

test-java: ## Tests of the SDK for Java and of the examples of callees
	@if ! command -v javac >/dev/null; then
		echo "test-java: SKIPPED, as javac is not here; make setup says what to install" >&2
		$(if $(CRONY_REQUIRE_ALL),exit 1)
		exit 0
	fi
	$(MAKE) java
	rm -rf bin/java/test
	javac $(JAVA_FLAGS) -Xlint:all -cp $(JAVA_JAR) -d bin/java/test $$(find sdk/java/src/test docs/examples -name '*.java')
	java -XX:TieredStopAtLevel=1 -cp $(JAVA_JAR):bin/java/test crony.callee.Tests

lint: $(GOLANGCI) ## golangci-lint by .golangci.yml
	@$(GOLANGCI) run

vet: ## go vet, and whether the agent builds for each platform that it is for
	@go vet ./...
	export CGO_ENABLED=0
	for platform in $(PLATFORMS); do
		export GOOS=$${platform%/*} GOARCH=$${platform#*/}
		go build -o /dev/null ./cmd/crony-agent
		go vet ./agent ./cmd/crony-agent ./internal/durable
	done

# Not part of test: Wine is not Windows, and docs/platforms.md says what it shows. Wine of before 9.0 lacks a library that Go
# programs want, of one function; it is made here where binutils for Windows are.
test-windows: ## Tests of the agent for Windows, by Wine
	@wine=$$(command -v wine64 wine /usr/lib/wine/wine64 | head -n 1) || true
	skip() { echo "test-windows: SKIPPED, $$1" >&2; $(if $(CRONY_REQUIRE_ALL),exit 1,exit 0); }
	[[ -n $$wine ]] || skip "as wine is not here; apt-get install --no-install-recommends wine64"
	mkdir -p bin/wine
	export WINEPREFIX=$(CURDIR)/bin/wine WINEDEBUG=-all
	system=$$WINEPREFIX/drive_c/windows/system32
	[[ -d $$system ]] || "$$wine" wineboot -i >/dev/null 2>&1 </dev/null
	if [[ ! -e $$system/bcryptprimitives.dll ]]; then
		command -v x86_64-w64-mingw32-ld >/dev/null || skip "as this wine is old; apt-get install binutils-mingw-w64-x86-64"
		printf 'LIBRARY bcryptprimitives.dll\nEXPORTS\n  ProcessPrng = advapi32.SystemFunction036\n' >bin/wine/it.def
		echo | x86_64-w64-mingw32-as -o bin/wine/it.o -
		x86_64-w64-mingw32-ld -shared -e 0 --subsystem windows bin/wine/it.o bin/wine/it.def -o "$$system/bcryptprimitives.dll"
	fi
	GOOS=windows GOARCH=amd64 CGO_ENABLED=0 go test -c -o bin/wine/agent.test.exe ./agent
	log=bin/wine/test.log # a file, and no pipe: wine's own processes go on for a while
	timeout 300 "$$wine" bin/wine/agent.test.exe -test.v -test.timeout 240s $(TESTFLAGS) >"$$log" 2>&1 </dev/null && good=1 || good=
	grep -E '^ *(---|FAIL|PASS|panic)|_test.go' "$$log" | grep -v level= || true
	[[ $$good ]]

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

guest: ## The limits of runs on a kernel that has them all: Debian's, in QEMU, by software; takes root, and a minute or two
	@agent/guest.sh bin/guest

soak: ## A simulated year of 10,000 jobs, in which all sorts of things happen; long
	@CRONY_SOAK_SEED=$${CRONY_SOAK_SEED:-0} CRONY_SOAK_JOBS=$${CRONY_SOAK_JOBS:-10000} CRONY_SOAK_DAYS=$${CRONY_SOAK_DAYS:-365} \
		go test -run '^TestSoak$$' -count 1 -v -timeout 2h $(TESTFLAGS) ./agent

# With a Go in which a seed always tells the same story, unless that can't be made of the one that is installed.
sim: export CRONY_SIM_SEED ?= 1
sim: export CRONY_SIM_SEEDS ?= 1000
sim: ## CRONY_SIM_SEEDS (1,000) minutes of trouble in a simulated fleet, from CRONY_SIM_SEED on, on all processors
	@flags=
	if overlay=$$(go run ./internal/overlay/replay bin/.replay); then
		flags="-overlay $$overlay -tags replay"
	else
		echo "sim: with Go as it is, in which a seed need not tell its story again" >&2
		$(if $(CRONY_REQUIRE_ALL),exit 1)
	fi
	go test -c $$flags -o bin/sim.test ./agent
	cd agent
	[[ ! -w /dev/shm ]] || export TMPDIR=/dev/shm
	GOMAXPROCS=1 ../bin/sim.test -test.run '^TestSimReplays$$'
	export GOMAXPROCS=1 began=$$(date +%s) first=$$CRONY_SIM_SEED last=$$((CRONY_SIM_SEED + CRONY_SIM_SEEDS - 1))
	seq $$first 100 $$last | xargs -P $$(nproc) -n 1 bash -c '
		to=$$(($$0 + 99 < last ? $$0 + 99 : last))
		out=$$(CRONY_SIM_SEED=$$0 CRONY_SIM_SEEDS=$$((to - $$0 + 1)) \
			../bin/sim.test -test.run "^TestSim$$" -test.failfast -test.timeout 2h) || { echo "$$out"; exit 255; }
		took=$$(($$(date +%s) - began))
		echo "seeds $$0 to $$to are well, after $$took s; $$(((to - first + 1) * 60 / (took + 1))) a minute"'

sim-long: export CRONY_SIM_SEED ?= 1001
sim-long: export CRONY_SIM_SEEDS ?= 1000000
sim-long: ## A million seeds, up to the first that fails; CRONY_SIM_SEED goes on where it was stopped
	@$(MAKE) sim

hosts: ## A cluster of the real programs on hosts in network namespaces, to which all sorts of things happen; takes root
	@CRONY_HOSTS=1 go test -count 1 -v -timeout 1h $(TESTFLAGS) ./internal/testhosts

# CRONY_CHAOS_SEED replays what was done; with CRONY_CHAOS_ONLY=servers no agent fails, and one server at a time. What all
# programs logged, and the store's history, stay in the folder CRONY_HOSTS_KEEP.
chaos: export CRONY_CHAOS_FOR ?= 10m
chaos: export CRONY_CHAOS_LEADER ?= 5m
chaos: ## Faults of all kinds for ten minutes, judged by what is promised, and how fast jobs fail over; takes root
	@CRONY_HOSTS=1 go test -count 1 -v -timeout 2h -run '^(TestChaos|TestServersFail|TestFailover|TestLeaderKilled)$$' \
		$(TESTFLAGS) ./internal/testhosts

chaos-short: export CRONY_CHAOS_FOR ?= 2m
chaos-short: export CRONY_CHAOS_LEADER ?= 1m
chaos-short: ## The same for two minutes
	@$(MAKE) chaos

# The seed is of the commit: each tries another one, and the same again if it is run again. Without git it is any. What is killed
# are processes, so that data in memory is as safe as on a disk, and on a disk that others use for builds a sync takes seconds.
chaos-seed: export CRONY_CHAOS_FOR ?= 2m
chaos-seed: export CRONY_CHAOS_SEED ?= $(shell head=$$(git rev-parse HEAD 2>/dev/null) && echo $$((16#$${head:0:15})))
chaos-seed: ## Two minutes of faults of all kinds, by a seed that is the commit's; takes root, and says so if it can't be done
	@log=$$(mktemp)
	trap 'rm -f "$$log"' EXIT
	go test -c -o bin/testhosts.test $(TESTFLAGS) ./internal/testhosts
	[[ ! -w /dev/shm ]] || export TMPDIR=/dev/shm
	(cd internal/testhosts && CRONY_HOSTS=1 ../../bin/testhosts.test -test.v -test.timeout 20m -test.run '^TestChaos$$') | tee "$$log"
	! grep -q '^--- SKIP' "$$log" || echo "chaos-seed: SKIPPED, and nothing of it is proven here; it takes root, and network namespaces" >&2

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

# The same sources make the same file: its entries are in order, and of one time.
$(JAVA_JAR): $(JAVA_SOURCES)
	@rm -rf bin/java $@
	javac $(JAVA_FLAGS) -Xlint:all -d bin/java/classes $(JAVA_SOURCES)
	javadoc $(JAVA_FLAGS) -quiet -Xdoclint:all -notimestamp -d bin/java/doc $(JAVA_SOURCES)
	cd bin/java/classes
	find . -type f | LC_ALL=C sort | sed 's#^./##' >../entries
	jar -J-XX:TieredStopAtLevel=1 --create --file ../crony-callee.jar --date 2026-01-01T00:00:00Z @../entries -C ../../.. LICENSE
	mv ../crony-callee.jar ../../

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
