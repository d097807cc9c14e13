# `make` says what there is. Nothing here needs more than cargo, a POSIX shell and nc (or bash), but for `make interop`, which says itself
# what it installs.

CARGO ?= cargo
CARGO_TARGET_DIR ?= target
BIN = $(CARGO_TARGET_DIR)/release/spydercache
CLUSTER = BASE_PORT=$(BASE_PORT) SPYDERCACHE="$(abspath $(BIN))" utils/cluster.sh

# What the targets below take from the command line.
N ?=
SEED ?=
BASE_PORT ?= 8001
ARGS ?= --load $(foreach n,0 1 2,127.0.0.1:$(shell expr $(BASE_PORT) + $(n)))
TARGET ?=
RUNS ?=
CLIENTS ?=
SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help build test interop sim sim-scale chaos cluster status stop kill-node revive bench fuzz clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the program, optimised: target/release/spydercache
	$(CARGO) build --release

test: ## format, clippy without warnings, all tests
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test

interop: ## real clients of many languages and frameworks against a real pool; CLIENTS="redis django" only some
	$(CARGO) build
	SPYDERCACHE="$(abspath $(CARGO_TARGET_DIR))/debug/spydercache" tests/interop/run.sh $(CLIENTS)

sim: ## simulate pools with faults; SEED=... replays one run
	$(if $(SEED),SEED=$(SEED)) $(CARGO) test --release --test simulation -- --nocapture

sim-scale: ## simulate fifty nodes of which one is killed
	$(CARGO) test --release --test simulation fifty_nodes -- --ignored --nocapture

chaos: ## hurt real pools under load and measure what their clients see; RUNS="kill stop" only some
	$(if $(RUNS),RUNS="$(RUNS)") $(CARGO) test --release --test chaos -- --ignored --nocapture

cluster: build ## a pool of three nodes on ports 8001 to 8003 (BASE_PORT=...)
	@$(CLUSTER) start

status: ## which of its nodes run, and what they see
	@$(CLUSTER) status

stop: ## end its nodes; their journals stay
	@$(CLUSTER) stop

kill-node: need-n ## kill -9 one of its nodes; N=1
	@$(CLUSTER) kill $(N)

revive: need-n ## start that node again; N=1
	@$(CLUSTER) revive $(N)

bench: cluster ## load the pool and measure it; ARGS="--help" says how else
	$(BIN) bench $(ARGS)

fuzz: ## fuzz a parser with cargo-fuzz (nightly); TARGET=... SECONDS=60
	@$(CARGO) fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is not installed: make test runs the same corpus, bounded" >&2; exit 1; }
	$(if $(TARGET),$(CARGO) fuzz run $(TARGET) -- -max_total_time=$(SECONDS),$(CARGO) fuzz list)

clean: ## end the pool, and remove its journals and all that was built
	@utils/cluster.sh clean
	$(CARGO) clean

.PHONY: need-n
need-n:
	@case "$(N)" in [123]) ;; *) echo "which node? N=1, N=2 or N=3" >&2; exit 2 ;; esac
