# Tests. Every runner ends with a line "N passed, N failed, N skipped"; tests/run_all.sh adds them up.
CHECK_RUNNERS := lint-light unit kernels-test cli
TEST_RUNNERS := lint unit kernels-test kernels-test-simde kernels-test-neon cli threads install-check \
	example-same oracles fuzz-replay faults conformance zoo static-zoo self-test
RUN_ALL = VQC=$(B)/vqc VENV=$(VENV) B=$(B) MAKE='$(MAKE)' tests/run_all.sh

##@ Test
test: ## installs what the tests need and runs them all
	@VENV=$(VENV) tools/setup.sh build test python
	+@$(MAKE) --no-print-directory $(JOBS) test-run

test-run: $(B)/vqc $(B)/libvqc.so
	+@$(RUN_ALL) $(TEST_RUNNERS)

check: $(B)/vqc ## the fast part of the tests, under a minute
	+@$(RUN_ALL) $(CHECK_RUNNERS)

unit: $(B)/unit-tests ## unit tests
	@$(B)/unit-tests

cli: $(B)/vqc ## command line tests: expected stdout, stderr and exit codes
	@tests/cli/run.sh $(B)/vqc

threads: $(B)/vqc ## the same bytes at every thread count
	@VQC=$(B)/vqc tests/threads.sh

conformance: $(B)/vqc ## ONNX's own backend node tests through vqc
	@$(PYTHON_VENV) tests/conformance/run.py --vqc $(B)/vqc --work $(B)/conformance

zoo: $(B)/vqc ## every zoo model x every recipe against ONNX Runtime
	@$(PYTHON_VENV) tests/oracle/zoo_run.py --vqc $(B)/vqc --work $(B)/zoo

static-zoo: $(B)/vqc ## every zoo model with calibration data x the static recipes against ONNX Runtime
	@$(PYTHON_VENV) tests/oracle/static_zoo.py --vqc $(B)/vqc --work $(B)/static-zoo

golden: $(B)/vqc ## writes tests/golden/*.csv and tests/conformance/outcomes.csv anew
	@$(PYTHON_VENV) tests/oracle/zoo_run.py --vqc $(B)/vqc --work $(B)/zoo --write-golden
	@$(PYTHON_VENV) tests/oracle/static_zoo.py --vqc $(B)/vqc --work $(B)/static-zoo --write-golden
	@$(PYTHON_VENV) tests/conformance/run.py --vqc $(B)/vqc --work $(B)/conformance --write-outcomes

faults: $(B)/vqc $(B)/failalloc.so ## failing allocations, full disks, cut files, interrupts
	@$(PYTHON_VENV) tests/faults/run.py --vqc $(B)/vqc --failalloc $(B)/failalloc.so
$(B)/failalloc.so: tests/faults/failalloc.c
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) -std=c17 -D_GNU_SOURCE $(WARN) -O2 -g -fPIC -shared -o $@ $< -ldl

example-same: example-check ## the shipped example is what its program makes
	@echo "1 passed, 0 failed"

oracles: $(B)/libvqc.a $(B)/opset_tool ## single parts against NumPy, onnx and ONNX Runtime
	+@B=$(B) VENV=$(VENV) CC=$(CC) MAKE='$(MAKE)' tests/oracle/run_tests.sh
$(B)/%_tool: $(B)/obj/tests/oracle/%_tool.o $(B)/libvqc.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

self-test: all $(B)/unit-tests $(B)/test_kernels $(B)/failalloc.so $(FUZZ_NAMES:%=$(B)/replay/%) ## a deliberately failing case for each runner, run inverted
	+@VQC=$(abspath $(B))/vqc VENV=$(VENV) B=$(B) MAKE='$(MAKE)' tests/self_test.sh

bench: $(B)/vqc $(B)/libvqc.a ## kernel speeds, k-means, then time and memory for a 1 GiB model and static int8 beside ONNX Runtime's tools
	$(B)/vqc bench
	@$(PYTHON_VENV) tests/bench/large_model.py --vqc $(B)/vqc --work $(B)/bench
	@B=$(B) CC=$(CC) $(PYTHON_VENV) tests/bench/kmeans_bench.py
	@$(PYTHON_VENV) tests/bench/static_bench.py --vqc $(B)/vqc --work $(B)/bench/static

frontier: $(B)/vqc ## size and accuracy of every labelled model at many settings: docs/FRONTIER.md, frontier.csv, frontier.svg
	@$(PYTHON_VENV) tests/bench/frontier.py --vqc $(B)/vqc --work $(B)/bench/frontier

.PHONY: frontier test test-run check unit cli threads conformance zoo static-zoo golden faults example-same oracles self-test bench
.SECONDARY: $(B)/obj/tests/oracle/opset_tool.o
