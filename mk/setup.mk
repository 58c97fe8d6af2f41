# Set-up and first minute: what a fresh machine needs, and the demonstration.
VENV ?= build/venv
PYTHON_VENV = $(VENV)/bin/python

# As many jobs as processors, unless the user said how many.
JOBS = $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 1))

##@ First minute
demo: ## installs what is missing, builds, compresses the example and shows what it cost
	@tools/setup.sh build
	+@$(MAKE) --no-print-directory $(JOBS) demo-run

demo-run: $(B)/vqc
	@mkdir -p $(B)/demo
	$(B)/vqc compress examples/lenet5.onnx -c configs/int8.yaml -o $(B)/demo/lenet5.int8.onnx --force
	$(B)/vqc report $(B)/demo/lenet5.int8.onnx --ref examples/lenet5.onnx
	@echo "Compressed model: $(B)/demo/lenet5.int8.onnx"

setup: ## installs what the build needs (Debian packages)
	@tools/setup.sh build

setup-test: ## installs what the tests need as well (Debian packages, Python environment in build/venv)
	@VENV=$(VENV) tools/setup.sh build test python

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z][a-z0-9-]*:.*## / { split($$1, name, ":"); printf "  %-20s %s\n", name[1], $$2 }' \
		mk/setup.mk Makefile mk/test.mk $(wildcard tests/*/*.mk examples/*.mk) mk/lint.mk mk/sanitize.mk mk/install.mk
	@printf '\nVariables: B (build directory), V=1 (full commands), CC, CFLAGS, PREFIX, DESTDIR, VENV, VQC_ZOO, FUZZ_SECONDS\n'

.PHONY: demo demo-run setup setup-test help
