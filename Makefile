# What a developer or a newcomer runs. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The stand-in for Snowflake needs an older connector than Rounds.
FAKESNOW := .venv-fakesnow
DEBIAN_SERVERS := prometheus prometheus-alertmanager mariadb-server postgresql
# What the documentation's commands are typed with.
DEBIAN_TOOLS := curl openssl procps sqlite3
# Many tests wait for servers, so two processes are quicker even on one core. A file's tests share servers and stay together,
# and files are taken in the order of tests/conftest.py rather than by their number of tests.
PYTEST = $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo prepare-demo servers up down up-demo down-demo test test-all test-ci lint format bench docs dashboards \
	manifests dist sbom image lock clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## show all five domains on synthetic data that changes, up to the Slack and e-mail messages
	@$(MAKE) --no-print-directory -j3 prepare-demo
	@exec $(BIN)/rounds demo

prepare-demo: $(VENV)/demo.stamp $(FAKESNOW)/stamp servers

# After the environment, whose making may need a package too: apt takes one at a time.
servers: | $(BIN)/pip
	@scripts/system-packages $(DEBIAN_SERVERS)

DEMO_FILES := -f docker-compose.yml -f docker-compose.demo.yml

up: ## start the exporter, Prometheus, Alertmanager and Grafana in containers
	docker compose up -d --build --wait
	@docker compose logs --no-log-prefix grafana-password alertmanager-config grafana-sources
	@docker compose exec -T exporter rounds status | grep 'has no section for' || true
	@docker compose ps --format '{{.Service}} {{.Ports}}' | sed -n 's/ 127/ http:\/\/127/;s/->.*//p'

down: ## end these containers; what they have stored stays
	docker compose down

up-demo: ## the same with all five domains on synthetic data, and catchers for mail and Slack
	docker compose $(DEMO_FILES) up -d --build --wait
	@docker compose $(DEMO_FILES) ps --format '{{.Service}} {{.Ports}}' | sed -n 's/ 127/ http:\/\/127/;s/->.*//p'

down-demo: ## end the demo's containers and delete what they have stored
	docker compose $(DEMO_FILES) down --volumes

test: $(VENV)/dev.stamp $(FAKESNOW)/stamp ## run the tests that are quick enough to run often
	@scripts/system-packages $(DEBIAN_SERVERS) $(DEBIAN_TOOLS)
	$(PYTEST) -m "not slow"

test-all: $(VENV)/dev.stamp $(FAKESNOW)/stamp ## run all tests
	@scripts/system-packages $(DEBIAN_SERVERS) $(DEBIAN_TOOLS)
	$(PYTEST)

test-ci: $(VENV)/dev.stamp $(FAKESNOW)/stamp ## run the tests but the few that take minutes each
	@scripts/system-packages $(DEBIAN_SERVERS) $(DEBIAN_TOOLS)
	$(PYTEST) -m "not long"

lint: $(VENV)/dev.stamp ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/dev.stamp ## put the code into its standard form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev.stamp $(FAKESNOW)/stamp ## measure against named peers; nothing else should run meanwhile
	@scripts/system-packages prometheus-blackbox-exporter nginx-light mariadb-server postgresql
	$(BIN)/python bench/scrape.py
	$(BIN)/python bench/probes.py
	$(BIN)/python bench/tables.py
	PYTHONPATH=tests $(BIN)/python bench/apr_reading.py
	PYTHONPATH=tests $(BIN)/python bench/syncs.py
	$(BIN)/python bench/syncs_writing.py
	$(BIN)/python bench/emr.py
	PYTHONPATH=tests $(BIN)/python bench/emr_reading.py

docs: $(VENV)/dev.stamp ## generate what is generated in docs/
	$(BIN)/python scripts/metrics_page.py > docs/metrics.md
	$(BIN)/rounds config-schema --format markdown > docs/configuration-reference.md

dashboards: $(VENV)/dev.stamp ## generate grafana/dashboards/ from grafana/src/
	$(BIN)/python grafana/src/build.py

manifests: $(VENV)/dev.stamp ## generate what is generated in deploy/kubernetes/
	$(BIN)/python deploy/kubernetes/generate.py

dist: $(VENV)/dev.stamp ## build wheel, sdist and bill of materials into dist/
	@rm -rf dist
	$(BIN)/python scripts/dist.py dist
	$(BIN)/python scripts/sbom.py dist
	@cd dist && sha256sum -- *.whl *.tar.gz *.json > SHA256SUMS

sbom: $(VENV)/dev.stamp ## write the bill of materials alone
	$(BIN)/python scripts/sbom.py dist

image: ## build the exporter's image, with version and revision
	docker build -f exporter/Dockerfile --build-arg ROUNDS_REVISION=$$(git describe --always --dirty --abbrev=12 --exclude='*') \
	  -t rounds-exporter:$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml) .

LOCK = CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-header --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

lock: $(VENV)/dev.stamp ## pin the versions of all dependencies anew
	$(LOCK) --upgrade --extra postgresql --output-file requirements.txt pyproject.toml
	$(LOCK) --upgrade --extra postgresql --extra demo --output-file requirements-demo.txt pyproject.toml
	$(LOCK) --upgrade --extra postgresql --extra demo --extra dev --output-file requirements-dev.txt pyproject.toml
	$(LOCK) --upgrade --output-file requirements-fakesnow.txt requirements-fakesnow.in

clean: ## remove what the other targets made
	rm -rf $(VENV) $(FAKESNOW) build dist .mypy_cache .ruff_cache .pytest_cache .coverage exporter/*.egg-info

$(BIN)/pip:
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { scripts/system-packages python3-venv && $(PYTHON) -m venv --clear $(VENV); }

$(VENV)/demo.stamp: requirements-demo.txt pyproject.toml | $(BIN)/pip
	@echo "Preparing $(VENV)"
	@$(PIP_INSTALL) --require-hashes -r requirements-demo.txt
	@$(PIP_INSTALL) --no-deps --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt pyproject.toml | $(BIN)/pip
	@echo "Preparing $(VENV) for development"
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.txt
	@$(PIP_INSTALL) --no-deps --editable .
	@touch $@ $(VENV)/demo.stamp

$(FAKESNOW)/stamp: requirements-fakesnow.txt | $(BIN)/pip
	@echo "Preparing $(FAKESNOW), the stand-in for Snowflake"
	@$(PYTHON) -m venv $(FAKESNOW)
	@$(FAKESNOW)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-fakesnow.txt
	@touch $@
