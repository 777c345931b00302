# Everything happens in .venv, which is made when it is first needed and renewed when what it holds changes.

VENV := .venv
BIN := $(VENV)/bin
PROJECT_FILES := setup.cfg setup.py pyproject.toml constraints.txt
LOCALE := securechat/locale

# The first Python that is new enough; or say which: make PYTHON=/path/to/python
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

PIP_LOG := $(VENV)/pip.log
INSTALL = $(BIN)/python -m pip install --constraint constraints.txt --editable $(1) > $(PIP_LOG) 2>&1 \
	|| { echo 'securechat cannot be installed: is there a network? $(PIP_LOG) says more' >&2; exit 1; }

# What `make test` runs; for instance, make test TESTS=tests.wire.test_records
TESTS := tests
# `make quick` leaves out the tests that start daemons, clients and other Python programs
QUICK_TESTS = $(subst /,.,$(basename $(sort $(shell find tests -name "test_*.py" -not -path "tests/programs/*"))))
# Worker processes, two for each core, because many tests wait
JOBS = $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
# Ends a run that hangs; tests/__init__.py has a limit for each test
LIMIT = $(if $(shell command -v timeout),timeout --foreground --kill-after=10 900)
# Options of Python that run the tests; .ci/run measures their coverage
RUNNER :=
TRIAL = $(LIMIT) $(BIN)/python $(RUNNER) -m twisted.trial --reporter=text --jobs=$(JOBS)

.PHONY: chat test quick lint format bench streaming leaks load balanced sidechannel manifests secrets fuzz build \
	messages option-tables share screenshots constraints clean

# A robot that needs no network, and a conversation with it; both end when you leave
chat: $(VENV)/installed
	@tools/chat.sh $(BIN)

test: $(VENV)/installed-dev
	@$(TRIAL) $(TESTS)

# Random inputs for each property; otherwise there are 500
quick: export EXAMPLES ?= 100
quick: $(VENV)/installed-dev
	@$(TRIAL) $(QUICK_TESTS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# securechat beside its alternatives, a quarter of an hour; ROWS='handshake stream-50' measures some of the rows. The
# table goes into docs/performance.md if all rows were measured. nginx takes part if it is installed
bench: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks $(or $(ROWS),--write docs/performance.md)

# Only the rows of streamed replies
streaming: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks stream

# Whether API requests leave memory, descriptors or sessions behind, six minutes; CALLS=1000 sends fewer
leaks: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.leaks $(if $(CALLS),--calls $(CALLS))

# The daemon under load, five minutes: 10,000 sessions, newcomers beside 2,000 replies, floods, restarts;
# LOADS='floods restarts' applies some of the loads
load: $(VENV)/installed-dev
	@for load in $(or $(LOADS),sessions newcomers floods turnover restarts); do \
		echo "$$load:" && $(BIN)/python -m benchmarks.$$load || failed=1; \
	done; exit $${failed:-0}

# Two daemons behind HAProxy, one of which is stopped or killed, two minutes; ROWS='drain kill' measures some of the rows
balanced: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.balanced $(ROWS)

# Whether an observer can tell replies apart, an hour; CELL=topics-20-100 or CELL='topics-*' measures some of the cells,
# LOAD=1000 adds as many conversations beside those that are observed
sidechannel: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check scikit-learn >&2
	$(BIN)/python -m sidechannel $(if $(CELL),'$(CELL)') $(if $(LOAD),--load $(LOAD))

# The manifests for Kubernetes against its schemas, and the other files in deploy/
manifests: $(VENV)/installed-dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check kubernetes-validate >&2
	@$(TRIAL) tests.test_deploy

# The whole suite once more, and every key, secret and prompt of it searched for in all that was said meanwhile
secrets: $(VENV)/installed-dev
	$(BIN)/python -m tests.harness.secret_search

# Every parser, with atheris; a quarter of an hour for a million runs each
fuzz: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris >&2
	$(BIN)/python -m fuzz --runs $(or $(RUNS),1000000)

build: $(VENV)/installed-dev
	$(BIN)/python -m build

# The catalogues, when what users read has changed: once, then translate what is new in the .po, then again
messages: $(VENV)/installed-dev
	$(BIN)/pybabel extract --no-location --omit-header --width=120 --add-comments=Translators: \
		--output=$(LOCALE)/securechat.pot securechat
	$(BIN)/pybabel update --domain=securechat --width=120 --no-fuzzy-matching --ignore-obsolete \
		--ignore-pot-creation-date --input-file=$(LOCALE)/securechat.pot --output-dir=$(LOCALE)
	$(BIN)/pybabel compile --domain=securechat --directory=$(LOCALE) --statistics

# The tables of options in docs/, made from the settings in the source
option-tables: export LANGUAGE = en
option-tables: $(VENV)/installed-dev
	$(BIN)/python -m tools.option_tables

# The pictures of a terminal in docs/, after its texts or their translations have changed; port 8080 has to be free
screenshots: $(VENV)/installed-dev
	$(BIN)/python -m tools.screenshot

# The manual pages and the completion for shells in share/, made from the settings in the source
share: export LANGUAGE = en
share: $(VENV)/installed-dev
	$(BIN)/python -m tools.share

# The newest versions that setup.cfg allows, written down
constraints:
	$(PYTHON) -m venv --clear build/venv
	build/venv/bin/python -m pip install --quiet --editable '.[dev]'
	build/venv/bin/python -m pip freeze --all --exclude pip --exclude-editable > constraints.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage* .hypothesis .mypy_cache .ruff_cache _trial_temp*
	rm -f twisted/plugins/dropin.cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# Standard output belongs to the conversation: nothing here writes to it
$(VENV)/installed: $(PROJECT_FILES)
	$(if $(PYTHON),,$(error securechat needs Python 3.11 or later; if you have it: make PYTHON=/path/to/python))
	@echo 'Installing into $(VENV) …' >&2
	@$(PYTHON) -m venv --clear $(VENV) >&2
	@$(call INSTALL,.)
	@$(BIN)/twistd --help > /dev/null  # writes Twisted's cache of plugins, one of which does not load with -W error
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo 'Installing what the tests need …' >&2
	@$(call INSTALL,'.[dev]')
	@touch $@
