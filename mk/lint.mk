# Style and structure checks.
C_FILES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h' 2>/dev/null)
SH_FILES = $(shell git ls-files --cached --others --exclude-standard '*.sh' '.ci/run' 2>/dev/null)

##@ Style
lint: ## formatting, include rules, file lengths, shell scripts, manual page
	@tools/lint.sh

lint-light: ## the part of lint that takes a second
	@tools/lint.sh --light

tidy: $(B)/gen/onnx/onnx.pb-c.h ## clang-tidy (advice, not part of lint)
	clang-tidy --quiet $(LIB_SRC) $(CLI_SRC) -- $(filter-out $(SAN),$(ALL_CFLAGS))

format: ## formats the C sources in place
	clang-format -i $(C_FILES)

.PHONY: lint lint-light tidy format
