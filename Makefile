# `make run` serves; `make test` passes every check. Both set up what they need in .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Label Studio, and what drives its page, live in environments of their own: their dependencies are not ours.
LABEL_STUDIO := .venv-label-studio
LABEL_STUDIO_ML := .venv-label-studio-ml
E2E := .venv-e2e
RAY := .venv-ray
LOCK := .venv-lock
UV := uv==0.13.9
RELEASE := .venv-release
STUDIO_PORT ?= 8080

# pip shows its bars to people at a terminal, and nothing to a log.
PIP_QUIET := $(shell test -t 2 || echo --quiet)
PIP_INSTALL := -m pip install --disable-pip-version-check $(PIP_QUIET)
define OR_SAY_WHY
|| { echo "make: pip could not install this. Is there no network? It needs its package registry once; then run the same again." >&2; exit 1; }
endef

.PHONY: run test setup setup-test check free-ports studio-ports release-check platform-check studio e2e label-studio-ml ray ray-test ray-plan ray-e2e plan soak deploy-test lock benchmark clean

run: free-ports setup
	@echo "== Weights of the embedded network (90 MB, once)"
	@$(BIN)/m2n2 weights get
	@echo "== The server"
	@exec $(BIN)/m2n2 serve

# Before anything is downloaded.
free-ports:
	@$(PYTHON) -I backend/http/ports.py "M2N2_HOST=$${M2N2_HOST:-127.0.0.1}" "M2N2_PORT=$${M2N2_PORT:-9090}" \
		$${M2N2_CVAT_PORT:+"M2N2_CVAT_PORT=$$M2N2_CVAT_PORT"}

studio-ports:
	@$(PYTHON) -I backend/http/ports.py "STUDIO_PORT=$(STUDIO_PORT)" "M2N2_PORT=$${M2N2_PORT:-9090}"

test: setup-test check

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest

# A real Label Studio with sample images, connected to this backend: one command, then click. Ctrl+C stops both.
studio: studio-ports setup-test $(LABEL_STUDIO)/.setup
	@echo "== Weights of the embedded network (90 MB, once)"
	@$(BIN)/m2n2 weights get
	@echo "== Label Studio and the server"
	@exec $(BIN)/python -m backend.tools.studio --label-studio $(LABEL_STUDIO) --port $(STUDIO_PORT)

# The real Label Studio, the real backend and a real browser, and the demo's window on a display of its own; screenshots
# and the backend's log are kept in out/e2e.
e2e: label-studio-ml setup-test $(LABEL_STUDIO)/.setup $(E2E)/.setup
	$(SEE_BROWSER)
	$(BIN)/m2n2 weights get
	$(E2E)/bin/python -m pytest tests/e2e --verbose --durations=0 --label-studio=$(LABEL_STUDIO)

# Our model class in a server of label-studio-ml, the package that others build backends with.
label-studio-ml: setup-test $(LABEL_STUDIO_ML)/.setup
	$(LABEL_STUDIO_ML)/bin/python -m pytest tests/label_studio_ml --verbose

# Two replicas of the engine on Ray Serve, on this machine's processors, and the server as their client.
ray: $(RAY)/.setup
	$(BIN)/m2n2 weights get
	RAY_USAGE_STATS_ENABLED=0 exec $(RAY)/bin/python -m backend.tools.ray.one_machine

# KUBERAY_CRD: a file with the definition of RayService, as `kubectl get crd rayservices.ray.io -o yaml` gives it, to check
# the manifest by.
ray-test: $(RAY)/.setup
	$(BIN)/m2n2 weights get
	$(RAY)/bin/python -m pytest tests/ray --verbose --capture=no $(if $(KUBERAY_CRD),--kuberay-crd=$(KUBERAY_CRD)) \
		--override-ini=filterwarnings=ignore

# Two replicas on this machine against their simulation, and what replicas take under load; some minutes of clicks.
ray-plan: $(RAY)/.setup
	$(BIN)/m2n2 weights get
	RAY_USAGE_STATS_ENABLED=0 $(RAY)/bin/python -m backend.tools.ray.check_plan \
		--json docs/results/benchmarks/plan_check.json --times docs/results/benchmarks/replicas.json

# How many replicas so many annotators need, each of the kind that `make ray-plan` measured.
plan: setup-test
	$(BIN)/m2n2 plan --times docs/results/benchmarks/replicas.json --size 640x480 --p95 2.5 \
		--plot --json docs/results/benchmarks/plan.json

# The annotators of `make e2e`, their backend a client of two replicas on this machine.
ray-e2e: $(LABEL_STUDIO)/.setup $(RAY)/.setup-e2e
	$(SEE_BROWSER)
	$(BIN)/m2n2 weights get
	$(RAY)/bin/python -m pytest tests/e2e --engine=ray --verbose --durations=0 \
		--override-ini=filterwarnings=ignore --label-studio=$(LABEL_STUDIO)

# The full figures of tests/soak, of which the tests do a small share; tens of minutes on two cores.
soak: setup-test
	SOAK=1 $(BIN)/pytest tests/soak --capture=no

# What deploy/ needs besides Python: a real nginx, kubectl's kustomize, fresh environments, Prometheus' own view of the
# alerts, the image built on a clean Debian, run, upgraded and clicked in, a real Label Studio backed up and restored, and an
# installation without a network. As root; an hour, and 35 GB of disk, 20 of them in out/deploy-test, which the next run
# builds on.
deploy-test: setup-test $(RELEASE)/.setup $(LABEL_STUDIO)/.setup
	PATH="$$PATH:/usr/sbin" command -v nginx || tests/install_debian.sh nginx-light
	command -v kubectl || tests/install_debian.sh kubernetes-client
	command -v npm || tests/install_debian.sh npm
	command -v debootstrap && command -v podman && command -v runc && command -v slirp4netns \
		|| tests/install_debian.sh debootstrap podman runc slirp4netns
	test -n "$$(ls /usr/lib/postgresql/*/bin/initdb)" || tests/install_debian.sh postgresql
	command -v promtool || test -x out/deploy-test/promtool || tests/deploy_heavy/fetch_promtool.sh out/deploy-test
	$(BIN)/python -m pytest tests/deploy_heavy --verbose --capture=no --durations=0

# What a release consists of, as it would be uploaded; left in dist.
release-check: setup-test $(RELEASE)/.setup
	$(BIN)/python -m pytest tests/release --verbose

# Asks pip's resolver; some minutes of its questions, and hardly a download.
platform-check: setup-test
	$(BIN)/python -m tests.helpers.platforms

# Writes docs/results/benchmarks.md anew where this machine has its sections, or adds them.
benchmark: $(VENV)/.setup-research
	$(BIN)/m2n2 benchmark --plot --json docs/results/benchmarks/engine.json --markdown docs/results/benchmarks.md
	$(BIN)/m2n2 benchmark --grid 48 --grid 64 --preset paper --sizes 481x321 --json docs/results/benchmarks/paper.json \
		--markdown docs/results/benchmarks.md
	$(BIN)/m2n2 benchmark serve --json docs/results/benchmarks/server.json --markdown docs/results/benchmarks.md
	$(BIN)/m2n2 benchmark cvat --json docs/results/benchmarks/cvat.json --markdown docs/results/benchmarks.md
	$(BIN)/m2n2 benchmark start --json docs/results/benchmarks/start.json --markdown docs/results/benchmarks.md
	$(BIN)/m2n2 benchmark formats --markdown docs/results/benchmarks.md
	$(BIN)/m2n2 benchmark published $(addprefix docs/results/benchmarks/,engine.json server.json h200.json h200_dinov2.json \
		h200_server.json) --markdown docs/results/benchmarks.md

# Writes the lock files of the images anew, after a change of requirements.txt or of the extra `ray`.
lock:
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/python -m pip install --quiet $(UV)
	$(LOCK)/bin/python -m tests.helpers.deploy.lock --uv $(LOCK)/bin/uv

setup: $(VENV)/.setup
setup-test: $(VENV)/.setup-test

# LOCKED=1: by the lock of the image, each file by its sha256. torch, which that lock leaves out, is there already then.
REQUIREMENTS := $(if $(LOCKED),--require-hashes --no-deps --requirement deploy/image/requirements.lock,--requirement requirements.txt)

# A virtual environment that is already there is kept, and in it a torch build of your own choice.
$(VENV)/.setup: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "== Setting up $(VENV) with the packages of requirements.txt (once: several GB with torch for CUDA, or 0.5 GB without)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(PIP_INSTALL) $(REQUIREMENTS) $(OR_SAY_WHY)
	@$(BIN)/python $(PIP_INSTALL) --no-deps $(if $(LOCKED),--no-build-isolation) --editable . $(OR_SAY_WHY)
	@touch $@

$(VENV)/.setup-research: $(VENV)/.setup
	@echo "== Adding what figures need to $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) --editable '.[research]' $(OR_SAY_WHY)
	@touch $@

$(VENV)/.setup-test: $(VENV)/.setup
	@echo "== Adding what tests and samples need to $(VENV)"
	@$(BIN)/python $(PIP_INSTALL) --editable '.[test]' $(OR_SAY_WHY)
	@touch $@

$(LABEL_STUDIO)/.setup: backend/tools/studio/requirements.txt
	@echo "== Setting up Label Studio in $(LABEL_STUDIO) (once: 1.2 GB)"
	@$(PYTHON) -m venv $(LABEL_STUDIO)
	@$(LABEL_STUDIO)/bin/python $(PIP_INSTALL) --requirement $< $(OR_SAY_WHY)
	@touch $@

define SEE_BROWSER
command -v chromium && command -v Xvfb && command -v xdotool || tests/install_debian.sh chromium xvfb xdotool
endef

# These see the packages of $(VENV) behind their own: tests ask the engine itself for a mask, and serve its model.
define SEE_PRODUCT
printf 'import site; site.addsitedir("%s")\n' "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	> "$$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/product.pth"
endef

$(E2E)/.setup: tests/e2e/requirements.txt $(VENV)/.setup-test
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	$(SEE_PRODUCT)
	touch $@

$(LABEL_STUDIO_ML)/.setup: tests/label_studio_ml/requirements.txt pyproject.toml $(VENV)/.setup-test
	$(BIN)/python -m venv $(@D)
	$(SEE_PRODUCT)
	$(@D)/bin/python -m pip install --quiet 'm2n2-annotation[label-studio-ml]'
	$(@D)/bin/python -m pip install --quiet --no-deps --requirement $<
	touch $@

$(RAY)/.setup: pyproject.toml tests/ray/requirements.txt $(VENV)/.setup-test
	$(BIN)/python -m venv $(@D)
	$(SEE_PRODUCT)
	$(@D)/bin/python -m pip install --quiet 'm2n2-annotation[ray]' --requirement tests/ray/requirements.txt
	touch $@

$(RELEASE)/.setup: tests/release/requirements.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --requirement $<
	touch $@

$(RAY)/.setup-e2e: tests/e2e/requirements.txt $(RAY)/.setup
	$(RAY)/bin/python -m pip install --quiet --requirement $<
	touch $@

clean:
	rm -rf $(VENV) $(LABEL_STUDIO) $(LABEL_STUDIO_ML) $(E2E) $(RAY) $(LOCK) $(RELEASE) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
