# The commands of this project; CI runs the same ones. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CLIPS ?= ../shared/clips
# Processes of `make test`, a file of tests at a time in each; TensorFlow takes some 2 GB in each.
JOBS ?= 2
# Of `make soak`.
MINUTES ?= 60
# Of `make sigterm`.
TRIES ?= 100
# A stamp per set of packages and per Python: another interpreter means another environment.
PYTHON_VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BASE := $(VENV)/.base-$(PYTHON_VERSION)
RUNTIME := $(VENV)/.runtime-$(PYTHON_VERSION)
DEVICE_TEST := $(VENV)/.device-test-$(PYTHON_VERSION)
DOCS := $(VENV)/.docs-$(PYTHON_VERSION)
WORKSTATION := $(VENV)/.workstation-$(PYTHON_VERSION)
# The versions that tests ran with, where they ran on this Python; `CONSTRAINTS=` takes the newest of everything.
CONSTRAINTS ?= $(wildcard packaging/constraints-$(PYTHON_VERSION).txt)
PIP_INSTALL := $(BIN)/pip install --quiet $(CONSTRAINTS:%=-c %)
PACKAGING_BIN := .cache/envs/packaging/bin
PACKAGING := .cache/envs/packaging/.made-$(PYTHON_VERSION)
DEMO_SOURCE = $(if $(CAMERA),--camera $(CAMERA),--demo)

.PHONY: help demo test test-device check format docs docs-config runtimes model test-system accuracy parity calibration compactness qat recipe distillation unknown disturbances picture shapes decoding benchmark bench-check fuzz sigterm soak constraints package sbom addon check-packages clean

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: $(RUNTIME)  ## install the runtime alone and watch it recognise; CAMERA=0 uses a camera
	$(BIN)/edge-har run $(DEMO_SOURCE)

test: $(WORKSTATION)  ## every test, training and conversion with it
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-device: $(DEVICE_TEST)  ## the runtime's tests alone, without TensorFlow
	$(BIN)/python -m pytest $(ARGS) tests/test_edge_har_*.py

test-system: $(WORKSTATION)  ## whole systems: clean Debian and arm64 roots, Home Assistant; minutes each, and docs/figures/system.md (needs root, and apt: mmdebstrap qemu-user-static binfmt-support systemd-container mosquitto openssh-client)
	$(BIN)/python -m pytest tests/system --page docs/figures/system.md $(ARGS)

check: $(WORKSTATION)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(WORKSTATION)  ## put the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS)  ## the documents as a site, in build/site; start at build/site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-config: $(DEVICE_TEST)  ## write the tables of docs/config.md again, from the options' declarations
	$(BIN)/python -m edge_har.config.page docs/config.md

runtimes: $(WORKSTATION)  ## environments of older TFLite runtimes, which `edge-har convert` asks (needs Python 3.11)
	$(BIN)/python -m convert.verify.runtimes --make

model: $(WORKSTATION)  ## make the shipped model again (needs CLIPS/weizmann)
	$(BIN)/python -m benchmarks ship-model --clips $(CLIPS)/weizmann --out edge_har/default.ehar

accuracy: $(WORKSTATION)  ## make docs/figures/accuracy.md and its picture again: every model on four data sets (needs CLIPS, and EDGE_HAR_ENCODERS or CLIPS/../encoders; some hours, resumable)
	$(BIN)/python -m benchmarks accuracy --clips $(CLIPS) --out docs/figures/accuracy.md

parity: $(WORKSTATION)  ## make docs/figures/parity.md again: float against int8 on three data sets (needs CLIPS; resumable)
	$(BIN)/python -m benchmarks parity --clips $(CLIPS) --out docs/figures/parity.md

calibration: $(WORKSTATION)  ## make docs/figures/calibration.md again: what int8 is calibrated on (needs CLIPS/weizmann; resumable)
	$(BIN)/python -m benchmarks calibration --clips $(CLIPS)/weizmann --out docs/figures/calibration.md

compactness: $(WORKSTATION)  ## make docs/figures/compactness.md again: pruning and shrinking beside a control (needs CLIPS; resumable)
	$(BIN)/python -m benchmarks compactness --clips $(CLIPS) --out docs/figures/compactness.md

qat: $(WORKSTATION)  ## make docs/figures/qat.md again: fine-tuning under int8's rounding (needs CLIPS/weizmann; resumable)
	$(BIN)/python -m benchmarks qat --clips $(CLIPS)/weizmann --out docs/figures/qat.md

recipe: $(WORKSTATION)  ## make docs/figures/recipe.md again: the default training beside the notebooks' (needs CLIPS/ucf9; resumable)
	$(BIN)/python -m benchmarks recipe --clips $(CLIPS)/ucf9 --out docs/figures/recipe.md

distillation: $(WORKSTATION)  ## make docs/figures/distillation.md again: a small model that a larger one teaches (needs CLIPS/ucf9; resumable)
	$(BIN)/python -m benchmarks distillation --clips $(CLIPS)/ucf9 --out docs/figures/distillation.md

unknown: $(WORKSTATION)  ## make docs/figures/unknown.md again: movements that a model never saw (needs CLIPS/weizmann_full and ucf9; resumable)
	$(BIN)/python -m benchmarks unknown --clips $(CLIPS) --out docs/figures/unknown.md

disturbances: $(WORKSTATION)  ## make docs/figures/disturbances.md again: what light, bumps and slow cameras do (needs CLIPS/weizmann)
	$(BIN)/python -m benchmarks disturbances --clips $(CLIPS)/weizmann --out docs/figures/disturbances.md

picture: $(WORKSTATION)  ## make docs/figures/demo.webp again: the moving picture of the README
	$(BIN)/python -m benchmarks demo --out docs/figures/demo.webp

shapes: $(WORKSTATION)  ## make docs/figures/shapes.md again: the shipped model on pictures of every shape
	$(BIN)/python -m benchmarks shapes --out docs/figures/shapes.md

decoding: $(WORKSTATION)  ## make docs/figures/decoding.md again: OpenCV's reader of files beside PyAV's
	$(BIN)/python -m benchmarks decoding --out docs/figures/decoding.md

benchmark: $(WORKSTATION)  ## make docs/figures/benchmark.md and its plot again (needs CLIPS/ucf9, and EDGE_HAR_ENCODERS or CLIPS/../encoders)
	$(BIN)/edge-har benchmark --clips $(CLIPS)/ucf9 --folds 1 --out docs/figures/benchmark.md

bench-check: $(WORKSTATION)  ## the limits on speed and memory, as ratios in one run
	$(BIN)/python -m benchmarks check

fuzz: $(DEVICE_TEST)  ## 10,000 damaged streams, bundles, configurations and recordings each, 2,000 bundles through every command; none may crash, hang or raise
	$(BIN)/python -m tests.helpers.fuzz_mjpeg --streams 10000 2>/dev/null
	$(BIN)/python -m tests.helpers.fuzz_bundle --count 10000
	$(BIN)/python -m tests.helpers.fuzz_config --count 10000
	$(BIN)/python -m tests.helpers.fuzz_recording --count 10000
	$(BIN)/python -m tests.helpers.fuzz_commands --count 2000

sigterm: $(DEVICE_TEST)  ## end TRIES (100) runs by a signal, whatever each is at; all must end within 2 s
	$(BIN)/python -m tests.helpers.sigterm --tries $(TRIES)

soak: $(DEVICE_TEST)  ## run for MINUTES (60) while cameras, receivers and disks fail, and make docs/figures/soak.md again
	$(BIN)/python -m tests.soak --minutes $(MINUTES) --out docs/figures/soak.md

constraints: $(WORKSTATION)  ## write the versions of this environment, in which the tests ran, into packaging/
	$(BIN)/pip freeze --exclude-editable > packaging/constraints-$(PYTHON_VERSION).txt

package: $(PACKAGING)  ## sdist and wheel in dist/, checked
	rm -rf dist build
	$(PACKAGING_BIN)/python -m build
	$(PACKAGING_BIN)/twine check --strict dist/*

sbom: package  ## a CycloneDX list of what the wheel and its extras install, dist/edge-har.cdx.json
	$(PYTHON) -m venv --clear .cache/envs/sbom
	.cache/envs/sbom/bin/pip install --quiet $(CONSTRAINTS:%=-c %) "$$(echo dist/*.whl)[all]"
	.cache/envs/sbom/bin/pip uninstall --quiet --yes pip setuptools
	$(PACKAGING_BIN)/cyclonedx-py environment --output-reproducible --validate \
	  --output-file dist/edge-har.cdx.json .cache/envs/sbom/bin/python

addon: package  ## the folder of a Home Assistant add-on, dist/edge_har, to copy into its /addons
	cp -r packaging/home-assistant dist/edge_har
	cp dist/*.whl packaging/constraints-3.11.txt dist/edge_har/

check-packages: $(PACKAGING)  ## lint the container, the workflows, the issue forms and CITATION.cff; no network is used
	$(PACKAGING_BIN)/hadolint --ignore DL3008 packaging/Containerfile packaging/home-assistant/Dockerfile
	$(PACKAGING_BIN)/shellcheck .ci/run
	$(PACKAGING_BIN)/zizmor --offline --no-progress --quiet .github/workflows
	$(PACKAGING_BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(PACKAGING_BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(PACKAGING_BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

clean:  ## remove what these commands made, but not the caches of training
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(BASE):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 10) else "edge_har needs Python 3.10 or newer, this is %d.%d: PYTHON=python3.12 make ... picks another" % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	@touch $@

$(RUNTIME): $(BASE) setup.cfg pyproject.toml $(CONSTRAINTS)
	$(PIP_INSTALL) -e .
	@touch $@

$(DEVICE_TEST): $(BASE) setup.cfg pyproject.toml $(CONSTRAINTS)
	$(PIP_INSTALL) -e '.[test]'
	@touch $@

$(DOCS): $(BASE) setup.cfg pyproject.toml $(CONSTRAINTS)
	$(PIP_INSTALL) -e '.[docs]'
	@touch $@

$(WORKSTATION): $(BASE) setup.cfg pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info < (3, 14) else "TensorFlow has no Python %d.%d yet, so training and every test need Python 3.10 to 3.13: PYTHON=python3.12 make ... picks one; make demo and make test-device run on this one" % sys.version_info[:2])'
	$(PIP_INSTALL) -e '.[workstation,dev]'
	@touch $@ $(RUNTIME) $(DEVICE_TEST)

$(PACKAGING): packaging/tools.txt
	$(PYTHON) -m venv --clear .cache/envs/packaging
	$(PACKAGING_BIN)/pip install --quiet -r packaging/tools.txt
	@touch $@
