# Fuzzing: each tests/fuzz/fuzz_NAME.c has its committed inputs in tests/fuzz/corpus/NAME/.
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SECONDS ?= 30
# clang warns where instrumentation keeps it from vectorizing a loop that asks for it.
QUIET_SIMD := -Wno-pass-failed

##@ Fuzzing
fuzz-replay: $(FUZZ_NAMES:%=$(B)/replay/%) ## runs every committed input through its fuzz target
	@B=$(B) tests/fuzz/replay.sh

$(B)/replay/%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/obj/tests/fuzz/replay_main.o $(B)/libvqc.a
	@mkdir -p $(@D)
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

fuzz: ## libFuzzer with address and undefined behaviour sanitizers, FUZZ_SECONDS for each target
	+@$(MAKE) --no-print-directory B=build/fuzz CC=clang CFLAGS='-O1 -g -fno-omit-frame-pointer $(QUIET_SIMD)' \
		SAN='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined' fuzz-run

fuzz-run: $(FUZZ_NAMES:%=$(B)/fuzz_%)
	@for name in $(FUZZ_NAMES); do \
		mkdir -p $(B)/found/$$name $(B)/new/$$name; \
		echo "fuzzing $$name for $(FUZZ_SECONDS) s"; \
		ASAN_OPTIONS=detect_leaks=1 $(B)/fuzz_$$name -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=4096 \
			-print_final_stats=1 -artifact_prefix=$(B)/found/$$name/ $(B)/new/$$name \
			tests/fuzz/corpus/$$name >$(B)/$$name.log 2>&1 || \
			{ tail -n 60 $(B)/$$name.log; echo "fuzz: $$name failed"; exit 1; }; \
		sed -n 's/^stat::\(number_of_executed_units\|new_units_added\): */  \1 /p' $(B)/$$name.log; \
	done

$(B)/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/libvqc.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

.PHONY: fuzz fuzz-replay fuzz-run
.SECONDARY: $(FUZZ_NAMES:%=$(B)/obj/tests/fuzz/fuzz_%.o) $(B)/obj/tests/fuzz/replay_main.o
-include $(FUZZ_NAMES:%=$(B)/obj/tests/fuzz/fuzz_%.d) $(B)/obj/tests/fuzz/replay_main.d
