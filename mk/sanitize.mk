# Sanitizer builds, each in its own directory.
SAN_RUNNERS ?= unit kernels-test cli threads fuzz-replay
SAN_ENV := ASAN_OPTIONS=abort_on_error=1:detect_leaks=1 \
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

##@ Sanitizers
asan: ## address sanitizer with leak check: unit, kernels, command line, fuzz corpora
	+@$(SAN_ENV) $(MAKE) --no-print-directory B=build/asan CFLAGS='-O1 -g -fno-omit-frame-pointer' \
		SAN='-fsanitize=address' VENV=$(VENV) san-run

ubsan: ## undefined behaviour sanitizer over the same runners
	+@$(SAN_ENV) $(MAKE) --no-print-directory B=build/ubsan CFLAGS='-O1 -g' \
		SAN='-fsanitize=undefined,float-cast-overflow -fno-sanitize-recover=all' VENV=$(VENV) san-run

# GCC's OpenMP runtime is not instrumented and every barrier looks like a race; LLVM's tells the sanitizer
# about its barriers through the archer tool, so this build needs clang and libomp. Criterion starts its tests
# in an address range that the thread sanitizer keeps for itself, so the unit tests are left out.
ARCHER ?= $(firstword $(wildcard /usr/lib/llvm-*/lib/libarcher.so))
tsan: ## thread sanitizer (clang and LLVM's OpenMP with archer) over the same runners but unit
	@test -n "$(ARCHER)" || { echo "tsan: libarcher.so not found; run tools/setup.sh dev"; exit 1; }
	+@OMP_TOOL_LIBRARIES=$(ARCHER) TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1 \
		$(MAKE) --no-print-directory B=build/tsan CC=clang CFLAGS='-O1 -g $(QUIET_SIMD)' SAN='-fsanitize=thread' \
		SAN_RUNNERS='kernels-test cli threads fuzz-replay' VENV=$(VENV) san-run

san-run: $(B)/vqc
	+@$(RUN_ALL) $(SAN_RUNNERS)

.PHONY: asan ubsan tsan san-run
