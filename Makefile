# The commands of the project. Each one makes the environment first when it is missing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check soak wheel web-runtime mobile-tools notebook clean

demo: $(READY)  ## trains, evaluates, exports and predicts handwritten digits
	$(BIN)/pictorch demo

test: $(READY) static  ## every check and every test
	$(BIN)/pytest $(PARALLEL)

check: $(READY) static  ## the checks and tests that take under 90 s
	$(BIN)/pytest $(PARALLEL) -m "not slow"

.PHONY: static
static: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(READY)  ## 100,000 requests, a source of 1,000,000 images: memory must not grow; a host is lost
	PICTORCH_SOAK_REQUESTS=100000 $(BIN)/pytest tests/serving/test_soak.py
	PICTORCH_SOAK_HOSTS=2 $(BIN)/pytest tests/training/test_soak_hosts.py
	PICTORCH_SOAK_ENTRIES=1000000 $(BIN)/pytest tests/predictor/test_prediction_soak.py

KERNELS := 0

wheel: $(READY)  ## builds the source archive, and from it the wheel, into dist/; KERNELS=1 compiles the kernels in
	rm -rf dist
	PICTORCH_KERNELS=$(KERNELS) $(BIN)/python -m build --no-isolation --outdir dist .

RUNTIME := src/pictorch/exporting/browser/runtime

web-runtime: $(READY)  ## fetches ONNX Runtime for browsers, by version and hash, for `export --to web`
	npm ci --ignore-scripts --no-audit --no-fund
	mkdir -p $(RUNTIME)
	cp node_modules/onnxruntime-web/dist/ort.wasm.bundle.min.mjs $(RUNTIME)/ort.js
	cp node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm $(RUNTIME)/ort.wasm
	cp $(VENV)/lib/python3*/site-packages/onnxruntime/LICENSE $(RUNTIME)/LICENSE.txt
	cp $(VENV)/lib/python3*/site-packages/onnxruntime/ThirdPartyNotices.txt $(RUNTIME)

mobile-tools: $(READY)  ## installs ExecuTorch, for `export --to mobile`
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[mobile]'

notebook: $(READY)  ## executes the example notebook anew
	$(BIN)/python examples/execute.py examples/first_steps.ipynb

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pictorch needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

clean:  ## removes the environment and everything that was built
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
