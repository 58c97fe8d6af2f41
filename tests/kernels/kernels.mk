# Kernel tests: every listed kernel on every ISA against the C reference. Included by the main Makefile; needs
# only libc. Each target ends with a line "N passed, N failed, N skipped" or "N passed, N failed".
KERNEL_TEST_SRC := $(wildcard tests/kernels/*.c)
KERNEL_TEST_OBJ := $(KERNEL_TEST_SRC:%.c=$(B)/obj/%.o)
KERNEL_TEST_FLAGS = -std=c17 -D_GNU_SOURCE -ffp-contract=off $(WARN) -I. $(CFLAGS) $(SAN)
NEON_CC ?= aarch64-linux-gnu-gcc
QEMU_AARCH64 ?= qemu-aarch64
SIMDE_DIR := $(B)/kernels-simde
NEON_DIR := $(B)/kernels-neon

$(B)/test_kernels: $(KERNEL_TEST_OBJ) $(KERNEL_SRC:%.c=$(B)/obj/%.o)
	$(CC) $(CFLAGS) $(LDFLAGS) $(SAN) -o $@ $^ -lm
kernels-test: $(B)/test_kernels ## kernels on this CPU against the C reference
	$(B)/test_kernels

# AVX-512 on emulated intrinsics, for CPUs without it: only *_avx512.c and the test program differ.
SIMDE_KERNEL_SRC := $(filter-out %_avx512.c,$(KERNEL_SRC))
SIMDE_OBJ := $(patsubst kernels/%.c,$(SIMDE_DIR)/%.o,$(wildcard kernels/*_avx512.c))
$(SIMDE_DIR)/%_avx512.o: kernels/%_avx512.c $(wildcard kernels/*.h)
	@mkdir -p $(@D)
	$(CC) $(KERNEL_TEST_FLAGS) -mavx2 -mfma -mf16c -mbmi2 -DVQC_KERNELS_SIMDE -c $< -o $@
$(SIMDE_DIR)/test_kernels.o: tests/kernels/test_kernels.c tests/kernels/test_kernels.h \
		$(wildcard kernels/*.h)
	@mkdir -p $(@D)
	$(CC) $(KERNEL_TEST_FLAGS) -DVQC_TEST_SIMDE -c $< -o $@
$(B)/test_kernels_simde: $(SIMDE_DIR)/test_kernels.o $(SIMDE_OBJ) \
		$(filter-out %/test_kernels.o,$(KERNEL_TEST_OBJ)) $(SIMDE_KERNEL_SRC:%.c=$(B)/obj/%.o)
	$(CC) $(CFLAGS) $(LDFLAGS) $(SAN) -o $@ $^ -lm
kernels-test-simde: ## AVX-512 kernels on emulated instructions
ifneq ($(ARCH),x86_64)
	@echo "skipped: the emulated AVX-512 test runs on x86-64 only"
	@echo "0 passed, 0 failed, 1 skipped"
else
	@if printf '#include <simde/x86/avx512.h>\n' | $(CC) -fsyntax-only -x c - 2>/dev/null; then \
		$(MAKE) --no-print-directory B=$(B) $(B)/test_kernels_simde && $(B)/test_kernels_simde; \
	else \
		echo "skipped: no SIMDe headers (Debian: libsimde-dev)"; \
		echo "0 passed, 0 failed, 1 skipped"; \
	fi
endif

# NEON, cross-compiled, under qemu-user.
NEON_SRC := $(filter-out %_avx2.c %_avx512.c,$(wildcard kernels/*.c)) $(KERNEL_TEST_SRC)
$(B)/test_kernels_neon: $(NEON_SRC) $(wildcard kernels/*.h tests/kernels/*.h)
	@mkdir -p $(@D)
	$(NEON_CC) -std=c17 -D_GNU_SOURCE -O2 -g -ffp-contract=off $(WARN) -I. -static -o $@ \
		$(NEON_SRC) -lm
kernels-test-neon: ## NEON kernels, cross-compiled, under qemu
	@if ! command -v $(NEON_CC) >/dev/null; then \
		echo "skipped: no $(NEON_CC) (Debian: gcc-aarch64-linux-gnu)"; \
		echo "0 passed, 0 failed, 1 skipped"; \
	elif ! command -v $(QEMU_AARCH64) >/dev/null; then \
		echo "skipped: no $(QEMU_AARCH64) (Debian: qemu-user)"; \
		echo "0 passed, 0 failed, 1 skipped"; \
	else \
		$(MAKE) --no-print-directory B=$(B) $(B)/test_kernels_neon && \
		$(QEMU_AARCH64) $(B)/test_kernels_neon; \
	fi

.PHONY: kernels-test kernels-test-simde kernels-test-neon
-include $(KERNEL_TEST_OBJ:.o=.d)
