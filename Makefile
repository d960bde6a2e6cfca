# `make demo` and `make test` need Python 3.11+ (with venv) and nothing else. `make help` lists the targets.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
BIN := .venv/bin
READY := .venv/.ready
# What DVC and git need to find: the console script and python of this environment.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" DVC_NO_ANALYTICS=1

.DEFAULT_GOAL := help
.PHONY: help env demo results test test-fast container-test check smoke format lock clean deploy monitoring-demo docs images sbom bench e2e audit wheel coverage

help:  ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

env: $(READY)  ## make the environment .venv from the locked requirements

demo: $(READY)  ## data, training, comparison, export on the emoji domains; then print what came out
	@$(RUN) dvc repro
	@$(RUN) oodtune summary artifacts/report --bundle artifacts/bundle

test: $(READY)  ## unit, contract and end-to-end tests
	@$(RUN) pytest -n 2 --dist loadgroup -m "not network and not container"

test-fast: $(READY)  ## unit and contract tests only
	@$(RUN) pytest -n 2 --dist loadgroup -m "not network and not container and not e2e"

smoke: $(READY)  ## the tiny pipeline, end to end
	@$(RUN) pytest -m e2e

docs: $(READY)  ## the documentation as a site, in site/
	@$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet

results: $(READY)  ## put the demo's report into README and docs: its table and its picture
	@$(RUN) python -m docs.tables keep artifacts/report demo

check: $(READY)  ## lint, types, import rules
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(RUN) lint-imports

images:  ## build serve, serve-gpu and train with docker, podman or buildah: IMAGES="serve train" PUSH=registry.example.com/team
	@docker/build.sh $(IMAGES) $(if $(PUSH),--push $(PUSH))

sbom: $(READY)  ## Python packages of the images: CycloneDX, and licences held against docker/licences.toml, in artifacts/sbom/
	@$(RUN) docker/sbom.sh

bench: $(READY)  ## all benchmarks, about an hour on 2 idle cores: ONLY="serve combine" QUICK=1
	@$(RUN) python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

audit: $(READY)  ## known vulnerabilities of all locked packages, by pip-audit: DUMP=all.zip of OSV where there is no network
	@$(RUN) python -m requirements.audit $(if $(DUMP),--dump $(DUMP))

wheel: $(READY)  ## the wheel, in dist/: equal bytes from equal sources
	@$(RUN) SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) hatchling build -t wheel -d dist

coverage: $(READY)  ## lines that the tests run, package by package: ONLY=tests/unit for some
	@$(RUN) pytest -n 2 --dist loadgroup -m "not network and not container" --cov=oodtune --cov-report= $(ONLY)
	@$(RUN) python -m tests.coverage_table

e2e: $(READY)  ## the whole system with processes killed at random, minutes: SEED=7 KILLS=3 WORK=directory to keep
	@$(RUN) python -m tests.system $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(WORK),--work $(WORK))

deploy: $(READY)  ## apply an overlay to a cluster: OVERLAY=cpu IMAGE=NAME@sha256:... NAMESPACE=...
	@$(RUN) python -m k8s.deploy --overlay $(OVERLAY) $(if $(IMAGE),--image $(IMAGE)) $(if $(NAMESPACE),--namespace $(NAMESPACE)) $(if $(CONTEXT),--context $(CONTEXT))

monitoring-demo: $(READY)  ## a server, Prometheus with the rules, load that drifts: BUNDLE=artifacts/bundle MINUTES=5
	@$(RUN) python -m k8s.monitoring_demo $(if $(BUNDLE),--bundle $(BUNDLE)) $(if $(MINUTES),--minutes $(MINUTES))

container-test: $(READY)  ## build the images with buildah on a base that debootstrap makes, and run them (root, minutes)
	@$(RUN) pytest -m container tests/container

format: $(READY)  ## let ruff format and fix what it can
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: expected Python 3.11 or newer, found $$($(PYTHON) --version 2>&1); set PYTHON=..."; exit 2; }
	@$(PYTHON) -m venv .uv || { echo "error: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 2; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(READY): requirements/dev.txt pyproject.toml | $(UV)
	@echo "making .venv (about 6 GB, mostly torch)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	@$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml
lock: | $(UV)  ## compile the locked requirements, one file per image
	@$(COMPILE) --extra train --extra data --extra demo --extra pipeline --extra cluster --extra serve --extra registry --extra mlflow --extra cpu --extra dev -o requirements/dev.txt
	@$(COMPILE) --no-annotate --extra train --extra data --extra cluster --extra mlflow --extra cpu -c requirements/dev.txt -o requirements/train.txt
	@$(COMPILE) --no-annotate --extra train --extra data --extra cluster --extra mlflow --extra gpu -c requirements/dev.txt -o requirements/train-gpu.txt
	@$(COMPILE) --no-annotate --extra pipeline -c requirements/dev.txt -o requirements/pipeline.txt
	@$(COMPILE) --no-annotate --extra serve --extra registry --extra cpu -c requirements/dev.txt -o requirements/serve-cpu.txt
	@$(COMPILE) --no-annotate --extra serve --extra registry --extra gpu -c requirements/dev.txt -o requirements/serve-gpu.txt
	@$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	@! grep -n '://' requirements/*.txt || { echo "error: a lock names an address"; exit 1; }

clean:  ## remove environments and everything that runs made
	rm -rf .venv .uv artifacts site .oodtune .dvc/cache .dvc/tmp
