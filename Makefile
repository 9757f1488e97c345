# Two commands do everything on a fresh machine that has Python and make:
#   make demo     run the main job: a small music platform, the guard in front, a cast of visitors
#   make test     run the tests
# Others: make check, make load, make practice, make clients, make bench, make lock, make clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test check load practice clients bench lock clean tools install
.DEFAULT_GOAL := help

help:
	@sed -n '2,4s/^# \{0,1\}//p' Makefile

# The lock with hashes, then the project itself: no compiler, no other source.
$(STAMP): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

install: $(STAMP)

# What the tests speak with besides Python packages: a browser, curl, Debian's Redis, and a clock that can be set.
tools:
	@sh tests/tools.sh chromium:chromium curl:curl openssl:openssl redis-server:redis-server nginx:nginx-light faketime:faketime

demo: $(STAMP)
	$(BIN)/guard demo $(if $(ONCE),--once) $(if $(CHOICES),--choices)

test: $(STAMP) tools
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy guard
	$(BIN)/lint-imports
	$(BIN)/guard check policies/*.yaml
	$(BIN)/python -m pytest -q tests/test_docs.py

load: $(STAMP)
	$(BIN)/python -m loadtests.run $(ARGS)

# Days of a music platform through policies, scored: what detection stops, and whom it hurts.
practice: $(STAMP)
	$(BIN)/python -m loadtests.practice $(ARGS)

# Real browsers, players and rippers through the real sidecar. Installs what is missing; ten minutes.
clients: $(STAMP)
	$(BIN)/python -m loadtests.clients $(ARGS)

# The benchmark measures peers, too. fastapi-guard installs a package called `guard`, as we do: an environment of its own.
.venv-bench/.installed: requirements-bench.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

.venv-peers/.installed: requirements-peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-peers.txt
	@touch $@

bench: .venv-bench/.installed .venv-peers/.installed
	@sh tests/tools.sh wrk:wrk nginx:nginx-light node:nodejs npm:npm
	.venv-bench/bin/python -m loadtests.bench $(ARGS)

# Renew the lock (needs uv).
lock:
	uv pip compile --universal --generate-hashes --extra dev --python-version 3.11 --no-header --no-annotate \
		pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) .venv-bench .venv-peers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache loadtests/reports
