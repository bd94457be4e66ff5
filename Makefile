# Everything happens in .venv; a stamp file there remembers that an install is
# up to date, so that the second start takes no time.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install -q --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test test-fast mutate lint format bench bench-hostile autobahn fuzz clean

help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## start the server with the demo; ARGS="--port 8080" adds options
	@$(BIN)/python -m rtpush --demo $(ARGS) || { code=$$?; [ $$code -gt 2 ] || \
	  echo "make: options go into ARGS, as in: make run ARGS='--port 5001'" >&2; exit $$code; }

test: $(VENV)/.dev ## run all tests; installs redis, nginx, haproxy and chromium where it may
	@sh tests/setup.sh
	$(BIN)/python -m pytest -n auto --dist worksteal
	@tests=$$(find tests client -name '*.test.js' -o -name '*.test.mjs'); \
	if [ -n "$$tests" ] && command -v node >/dev/null; then node --test $$tests; fi

FAST := test_protocol.py access application config conformance contrib sessions terminal \
  transports web log/test_board.py log/test_contract.py client/test_parts.py \
  client/test_simple_client.py project/test_house.py

test-fast: $(VENV)/.dev ## run what needs no other program, over one transport and one log
	$(BIN)/python -m pytest -n auto --dist worksteal $(FAST:%=tests/%) \
	  -k 'not (redis or sqlite or -sse or [sse or -poll or [poll)'

mutate: $(VENV)/.dev ## change one line at a time and see whether a test fails; TARGET=hub for one
	$(BIN)/python tools/mutate $(TARGET) $(ARGS)

lint: $(VENV)/.dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

format: $(VENV)/.dev ## rewrite the sources in the house style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(VENV)/.run ## measure the fan-out
	$(BIN)/python bench/fanout.py $(ARGS)

bench-hostile: $(VENV)/.run ## measure what hostile clients cost a good one; ARGS='--seconds 60'
	$(BIN)/python bench/hostile.py $(ARGS)

autobahn: $(VENV)/.run ## run the Autobahn test suite, if its wstest (Python 2.7) is installed
	@$(BIN)/python tests/autobahn/run.py

TIME ?= 60

fuzz: $(VENV)/.fuzz ## feed the server what nobody would send; TIME=3600 seconds for each target
	HYPOTHESIS_PROFILE=many $(BIN)/python -m pytest -n auto tests/test_protocol.py tests/log/test_board.py \
	  tests/application/test_rights.py tests/sessions/test_interleavings.py tests/client/test_parts.py \
	  tests/log/test_contract.py tests/log/test_board_shares.py tests/log/test_retained.py
	@mkdir -p .fuzz
	cd .fuzz && ../$(BIN)/python ../fuzz/targets.py envelopes -max_total_time=$(TIME)
	cd .fuzz && ../$(BIN)/python ../fuzz/targets.py connection -max_total_time=$(TIME)
	cd .fuzz && ../$(BIN)/python ../fuzz/api.py

clean: ## remove what make and the tools have made
	rm -rf $(VENV) .fuzz dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: $(PYTHON) is not installed; rtpush needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: rtpush needs Python 3.11 or newer, and $(PYTHON) is" \
	  "$$($(PYTHON) -V 2>&1); name another: make run PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module; on Debian and Ubuntu:" \
	  "sudo apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.made pyproject.toml
	@$(PIP) -e '.[cli]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@$(PIP) -e '.[test,dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.fuzz: $(VENV)/.dev
	@$(PIP) -e '.[fuzz]'
	@touch $@
