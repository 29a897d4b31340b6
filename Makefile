# One command a job; CI and people call the same targets. `make help` lists them.
SHELL := /bin/bash
VENV := .venv
SITE_VENV := .venv-site
TPU_VENV := .venv-tpu
PEERS_VENV := .venv-peers
CHECKOV_VENV := .venv-checkov
PY := $(VENV)/bin/python
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
DEMO_DIR ?= demo-out
REPLAY_DIR ?= replay-out
# Of `base-check`: any that pyproject.toml admits.
PYTHON ?= 3.11
# Trust what the machine trusts: behind a company's proxy uv's own certificates do not reach anything.
export UV_SYSTEM_CERTS := 1

.PHONY: help setup demo pictures replay doctor-table test test-slow test-fast test-attack programs chart-programs checkov test-cluster test-e2e test-tpu test-tpu-full image test-image sbom peers bench phase3 cluster cluster-down lint types imports check lock docs site base-check test-launcher release-check release-notes dist chart-package workflows clean

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s $$'\t'

.uv/bin/uv:
	python3.11 -m venv .uv
	.uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt

# uv keeps one cache of unpacked packages and hard-links them: a second environment costs no download.
$(VENV)/.installed: $(filter .uv/bin/uv,$(UV)) requirements/dev.txt pyproject.toml
	test -x $(PY) || $(UV) venv --quiet --python 3.11 $(VENV)
	$(UV) pip sync --quiet --compile-bytecode --python $(PY) --require-hashes requirements/dev.txt
	$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
	touch $@

setup: $(VENV)/.installed ## install everything into .venv, pinned by hash

demo: setup ## run the whole story on synthetic data and print the leaderboard
	$(VENV)/bin/octjob demo --dir $(DEMO_DIR)

pictures: setup ## run the demo, or take what is in DEMO_DIR, and draw the README's pictures of its report (Chromium)
	$(VENV)/bin/octjob demo --dir $(DEMO_DIR)
	$(PY) -m docs.report_pictures $(DEMO_DIR)

replay: setup ## run the original's situation on synthetic data, 30 seeds, and print what they report
	$(VENV)/bin/octjob demo --sweep seed_replay --dir $(REPLAY_DIR)
	$(PY) -m benchmarks.seed_replay $(REPLAY_DIR)/sweeps/seed_replay

doctor-table: setup ## plant faults in small sweeps, five data sets each, and print what the doctor names first
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.doctor

test: setup chart-programs ## the default test suite; under 10 minutes
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist worksteal -m "not slow"

test-slow: setup ## what takes longer: whole sweeps that are killed and continued, simulations whose truth is known
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist worksteal -m slow --durations=10

test-fast: setup chart-programs ## the unit tests only
	OMP_NUM_THREADS=1 $(PY) -m pytest -n auto --dist worksteal -m "not slow" tests/unit

test-attack: setup ## hostile specs, files, checkpoints and networks: seeded, bounded, with counts
	OMP_NUM_THREADS=1 $(PY) -m pytest -s -n 2 --dist loadfile tests/attack

# Kubernetes, JobSet and Kueue are built from source once and kept outside the checkout. An existing cluster needs none.
programs: setup ## build the control plane's programs (needs Go; about a quarter of an hour the first time)
	$(if $(OCTJOB_TEST_KUBECONFIG),,$(PY) -m tests.cluster.build)

chart-programs: setup
	$(PY) -m tests.cluster.build --charts

# Read by tests/cluster/test_documents.py; its hundred packages are nobody else's.
$(CHECKOV_VENV)/.installed: $(filter .uv/bin/uv,$(UV)) requirements/checkov.txt
	test -x $(CHECKOV_VENV)/bin/python || $(UV) venv --quiet --python 3.11 $(CHECKOV_VENV)
	$(UV) pip sync --quiet --python $(CHECKOV_VENV)/bin/python --require-hashes requirements/checkov.txt
	touch $@

checkov: $(CHECKOV_VENV)/.installed ## install checkov, which the tests let read the chart, in an environment of its own

# Ten programs share two cores with the tests: what fails must fail twice. The last lines name what passed only then.
CLUSTER_TESTS := OMP_NUM_THREADS=1 $(PY) -m pytest -p tests.cluster.second_try tests/cluster --durations=10
test-cluster: programs checkov ## the tests on a real Kubernetes control plane, started for them on loopback (needs Go)
	$(CLUSTER_TESTS) || { echo "Once more, what failed:"; $(CLUSTER_TESTS) --last-failed --last-failed-no-failures=none; }

# Pods are containers here: see tests/cluster/README.md for what it needs.
test-e2e: setup ## sweeps in real pods of the image: containerd, kubelet, DNS (needs root, Go, `make image`); under 15 minutes
	$(PY) -m tests.cluster.build --pods
	OMP_NUM_THREADS=1 $(PY) -m pytest -vv tests/pods --durations=10

# torch_xla and the TPU's compiler, with the versions of the image; what it shares with .venv is linked.
$(TPU_VENV)/.installed: $(filter .uv/bin/uv,$(UV)) requirements/tpu-test.txt pyproject.toml
	test -x $(TPU_VENV)/bin/python || $(UV) venv --quiet --python 3.11 $(TPU_VENV)
	$(UV) pip sync --quiet --python $(TPU_VENV)/bin/python --require-hashes requirements/tpu-test.txt
	$(UV) pip install --quiet --python $(TPU_VENV)/bin/python --no-deps --no-build-isolation -e .
	touch $@

# The tests for .venv have a conftest.py that this environment could not import.
TPU_TESTS := $(TPU_VENV)/bin/python -m pytest --confcutdir tests/tpu tests/tpu -p no:cacheprovider
test-tpu: $(TPU_VENV)/.installed ## octjob's modules through the TPU's own compiler, without a TPU or a network
	$(TPU_TESTS) -m "not slow"

test-tpu-full: $(TPU_VENV)/.installed ## the same with full-size training steps and more kinds of chips; half an hour
	$(TPU_TESTS)

image: ## build the container image with the docker or podman that is there, and check it
	k8s/image/build.sh

test-image: setup ## the tests of the image that `make image` built
	OMP_NUM_THREADS=1 $(PY) -m pytest tests/image --durations=5

# What the image's own Python says of its packages, read from outside: nothing is installed into it.
SBOM_VENV := .venv-sbom
$(SBOM_VENV)/.installed: $(filter .uv/bin/uv,$(UV)) requirements/sbom.txt
	@test -x $(SBOM_VENV)/bin/python || $(UV) venv --quiet --python 3.11 $(SBOM_VENV)
	@$(UV) pip sync --quiet --python $(SBOM_VENV)/bin/python --require-hashes requirements/sbom.txt
	@chmod -R a+rX $(SBOM_VENV)/lib
	@touch $@

sbom: $(SBOM_VENV)/.installed ## the Python packages in the image, with versions and licences, as CycloneDX
	@k8s/image/sbom.sh $(CURDIR)/$(SBOM_VENV)/lib/python3.11/site-packages

# Loaders that the benchmarks run beside octjob, each script in a process of this environment.
$(PEERS_VENV)/.installed: $(filter .uv/bin/uv,$(UV)) requirements/peers.txt
	test -x $(PEERS_VENV)/bin/python || $(UV) venv --quiet --python 3.11 $(PEERS_VENV)
	$(UV) pip sync --quiet --python $(PEERS_VENV)/bin/python --require-hashes requirements/peers.txt
	touch $@

peers: $(PEERS_VENV)/.installed

bench: setup peers ## every figure of docs/benchmarks.md anew; under 30 minutes on an idle machine
	$(PY) -m benchmarks

phase3: programs ## sweeps/phase3.yaml on such a control plane, from `helm install` to the table, with timings
	OMP_NUM_THREADS=1 $(PY) -m pytest -s tests/cluster/test_phase3.py

cluster: setup ## start a control plane that stays, with fake TPU slices, and print its KUBECONFIG line
	$(PY) -m tests.cluster up

cluster-down: setup ## stop what `make cluster` started and remove every trace of it
	$(PY) -m tests.cluster down

lint: setup ## style, formatting, and the docs generated from the code
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m docs.generate --check

types: setup ## mypy --strict
	$(VENV)/bin/mypy

imports: setup ## who may import whom
	$(VENV)/bin/lint-imports

# zizmor looks for what an attacker could use, actionlint and shellcheck for what would not run, hadolint at the image.
# actionlint is built from source, once, and left out where there is no Go; CI insists on it.
SHELL_SCRIPTS = $(shell git ls-files "*.sh") .ci/run
workflows: setup ## what reads .github, the Dockerfile and the shell scripts
	$(VENV)/bin/zizmor --offline --persona pedantic --no-progress --quiet .github
	actionlint=$$($(PY) -m tests.cluster.build --workflows) || exit 1; \
	test -z "$$actionlint" || "$$actionlint" -shellcheck $(VENV)/bin/shellcheck -pyflakes=
	$(VENV)/bin/shellcheck $(SHELL_SCRIPTS)
	$(VENV)/bin/hadolint Dockerfile

check: lint types imports workflows ## everything but the tests

base-check: $(filter .uv/bin/uv,$(UV)) ## the launcher alone, without torch, on PYTHON (3.11): octjob --help must work
	$(UV) venv --quiet --clear --python $(PYTHON) .venv-base
	$(UV) pip sync --quiet --python .venv-base/bin/python --require-hashes requirements/base.txt
	$(UV) pip install --quiet --python .venv-base/bin/python --no-deps --no-build-isolation -e .
	.venv-base/bin/python -m compileall -q octjob
	.venv-base/bin/octjob --help > /dev/null
	.venv-base/bin/octjob plan --offline --matrix sweeps/phase3.yaml > /dev/null

# What pyproject.toml's contract calls the launcher; nothing of it may need torch, and neither may its tests.
LAUNCHER_TESTS := $(addprefix tests/unit/,spec storage records leaderboard targets evaluate)
test-launcher: base-check ## the launcher's tests without torch, on PYTHON (3.11)
	$(UV) pip sync --quiet --python .venv-base/bin/python --require-hashes requirements/launcher-test.txt
	$(UV) pip install --quiet --python .venv-base/bin/python --no-deps --no-build-isolation -e .
	OMP_NUM_THREADS=1 .venv-base/bin/python -m pytest -n auto --dist worksteal $(LAUNCHER_TESTS)

PLATFORM := --python-version 3.11 --python-platform x86_64-manylinux_2_31
LOCK := $(UV) pip compile --quiet --generate-hashes $(PLATFORM) --no-header
# A launcher is a laptop: every system and every Python that pyproject.toml admits, by markers.
LOCK_EVERYWHERE := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header

lock: $(filter .uv/bin/uv,$(UV)) ## resolve the lock files anew
	$(LOCK) --extra dev --override requirements/overrides.txt pyproject.toml -o requirements/dev.txt
	$(LOCK) --extra tpu --override requirements/overrides.txt pyproject.toml -o requirements/tpu.txt
	awk -f requirements/cpu.awk requirements/tpu.txt > requirements/tpu-cpu.txt
	$(LOCK) --extra train --extra formats --constraints requirements/tpu.txt pyproject.toml -o requirements/gpu.txt
	$(LOCK) --extra backbones --extra formats --constraints requirements/gpu.txt pyproject.toml -o requirements/backbones.txt
	echo cyclonedx-bom | $(LOCK) - -o requirements/sbom.txt
	echo checkov | $(LOCK) - -o requirements/checkov.txt
	printf '%s\n' editables hatchling==1.27.0 | $(LOCK) - -o requirements/build.txt
	$(LOCK_EVERYWHERE) --group build pyproject.toml -o requirements/base.txt
	$(LOCK_EVERYWHERE) --constraints requirements/base.txt --group launcher-test pyproject.toml -o requirements/launcher-test.txt
	$(LOCK) --extra tpu --group tpu-test --constraints requirements/tpu.txt --override requirements/overrides.txt pyproject.toml -o requirements/tpu-test.txt
	$(LOCK) --group peers -o requirements/peers.txt
	$(LOCK) --group docs -o requirements/docs.txt
	echo uv | $(LOCK) - -o requirements/uv.txt

docs: setup ## write the reference pages that follow from the code
	$(PY) -m docs.generate

$(SITE_VENV)/.installed: $(filter .uv/bin/uv,$(UV)) requirements/docs.txt
	test -x $(SITE_VENV)/bin/python || $(UV) venv --quiet --python 3.11 $(SITE_VENV)
	$(UV) pip sync --quiet --python $(SITE_VENV)/bin/python --require-hashes requirements/docs.txt
	touch $@

site: docs $(SITE_VENV)/.installed ## build the documentation site into site/; it asks no other host for anything
	NO_MKDOCS_2_WARNING=1 $(SITE_VENV)/bin/mkdocs build --strict --quiet
	$(PY) -m docs.selfcontained site

release-check: setup ## whether everything that tells a version tells that of TAG (v0.2.0)
	$(PY) -m docs.release check $(TAG)

release-notes: setup ## the changelog's section of TAG as the text of a release of REPOSITORY (owner/name) with IMAGE
	$(PY) -m docs.release notes $(TAG) $(REPOSITORY) $(IMAGE)

dist: setup ## wheel and sdist in dist/, and the wheel tried where nothing else of octjob is
	rm -rf dist
	$(VENV)/bin/hatchling build
	$(UV) venv --quiet --clear --python 3.11 .venv-base
	$(UV) pip sync --quiet --python .venv-base/bin/python --require-hashes requirements/base.txt
	$(UV) pip install --quiet --python .venv-base/bin/python --no-deps dist/*.whl
	.venv-base/bin/octjob --version

chart-package: setup chart-programs ## the chart with IMAGE (by digest) in its values, packed into build/
	rm -rf build
	$(PY) -m docs.release chart $(IMAGE) build
	$$($(PY) -m tests.cluster.build helm) package build/octjob --destination build

clean: ## remove what the targets made
	rm -rf .venv .venv-base .venv-checkov .venv-peers .venv-site .venv-tpu .uv build dist site demo-out replay-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
