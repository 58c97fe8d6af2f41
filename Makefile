# vqc: build, test and packaging. `make help` lists the targets.
VERSION := 0.1.0
SOVERSION := 0
PREFIX ?= /usr/local
DESTDIR ?=
# Build directory; another one (make B=build/x) keeps another set of flags apart.
B ?= build
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
	-Wformat=2 -Werror
IMAGE_PKGS := libpng libjpeg
PKGS := libprotobuf-c yaml-0.1 libcjson zlib $(IMAGE_PKGS)
# A fresh machine has neither pkg-config nor a compiler while this is read: `make demo` and `make test`
# install them and start make again.
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(filter-out $(IMAGE_PKGS),$(PKGS)) 2>/dev/null)
IMAGE_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(IMAGE_PKGS) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
ONNX_INCLUDE ?= /usr/include
OPENMP ?= -fopenmp
SAN ?=
LDFLAGS ?=
# V=1 shows the commands in full.
ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-5s %s\n'
endif
ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null || uname -m)))
ALL_CFLAGS = -std=c17 -D_GNU_SOURCE -fPIC -ffp-contract=off -fvisibility=default $(OPENMP) $(WARN) \
	-I. -isystem $(B)/gen $(PKG_CFLAGS) -DVQC_VERSION='"$(VERSION)"' $(CFLAGS) $(SAN)
LIBS = $(PKG_LIBS) -lm $(OPENMP) $(SAN)

KERNEL_SRC := $(wildcard kernels/*.c)
ifneq ($(ARCH),x86_64)
KERNEL_SRC := $(filter-out %_avx2.c %_avx512.c,$(KERNEL_SRC))
endif
ifneq ($(ARCH),aarch64)
KERNEL_SRC := $(filter-out %_neon.c,$(KERNEL_SRC))
endif
LIB_SRC := $(wildcard core/*.c core/*/*.c formats/*.c) $(KERNEL_SRC)
CLI_SRC := $(wildcard cli/*.c)
UNIT_SRC := $(wildcard tests/unit/*.c)
LIB_OBJ := $(LIB_SRC:%.c=$(B)/obj/%.o) $(B)/obj/gen/onnx.pb-c.o
CLI_OBJ := $(CLI_SRC:%.c=$(B)/obj/%.o)
UNIT_OBJ := $(UNIT_SRC:%.c=$(B)/obj/%.o)

##@ Build
all: $(B)/vqc $(B)/libvqc.a $(B)/libvqc.so ## the program and both libraries, in build/

.DELETE_ON_ERROR:

# The flags as they were; objects depend on it, so that a change of flags rebuilds them.
FLAGS_TEXT = $(CC) $(ALL_CFLAGS) $(LDFLAGS)
$(B)/flags.txt: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS_TEXT))' | cmp -s - $@ || \
		printf '%s\n' '$(subst ','\'',$(FLAGS_TEXT))' > $@
FORCE:

$(B)/gen/onnx/onnx.pb-c.h $(B)/gen/onnx/onnx.pb-c.c &: $(ONNX_INCLUDE)/onnx/onnx.proto
	@mkdir -p $(B)/gen
	$(say) GEN $(B)/gen/onnx/onnx.pb-c.h
	$(Q)protoc-c -I$(ONNX_INCLUDE) --c_out=$(B)/gen $<

$(B)/obj/gen/onnx.pb-c.o: $(B)/gen/onnx/onnx.pb-c.c $(B)/gen/onnx/onnx.pb-c.h $(B)/flags.txt
	@mkdir -p $(@D)
	$(say) CC $@
	$(Q)$(CC) -std=c17 -fPIC -O2 -g $(SAN) -I$(B)/gen $(PKG_CFLAGS) -c $< -o $@

$(B)/obj/%_avx2.o: EXTRA := -mavx2 -mfma -mf16c -mbmi2
$(B)/obj/%_avx512.o: EXTRA := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c -mbmi2
$(B)/obj/formats/image_decode.o: EXTRA := $(IMAGE_CFLAGS)
$(B)/obj/%.o: %.c $(B)/gen/onnx/onnx.pb-c.h $(B)/flags.txt
	@mkdir -p $(@D)
	$(say) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) $(EXTRA) -MMD -MP -c $< -o $@

$(B)/libvqc.a: $(LIB_OBJ)
	@rm -f $@
	$(say) AR $@
	$(Q)ar rcs $@ $^
$(B)/vqc: $(CLI_OBJ) $(B)/libvqc.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
$(B)/unit-tests: $(UNIT_OBJ) $(B)/libvqc.a
	$(say) LINK $@
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lcriterion $(LIBS)

# The shared library exports what the public header declares and nothing else.
$(B)/libvqc.map: core/vqc.h
	@mkdir -p $(@D)
	$(say) GEN $@
	$(Q){ echo '{ global:'; sed -nE 's/^[a-z].*[ *](vqc_[a-z0-9_]+)\(.*/\1;/p' $< | sort -u; \
		echo 'local: *; };'; } > $@
$(B)/libvqc.so.$(VERSION): $(LIB_OBJ) $(B)/libvqc.map
	$(say) LINK $@
	$(Q)$(CC) -shared $(CFLAGS) $(LDFLAGS) -Wl,-soname,libvqc.so.$(SOVERSION) \
		-Wl,--version-script=$(B)/libvqc.map -o $@ $(LIB_OBJ) $(LIBS)
$(B)/libvqc.so: $(B)/libvqc.so.$(VERSION)
	@ln -sf libvqc.so.$(VERSION) $(B)/libvqc.so.$(SOVERSION)
	@ln -sf libvqc.so.$(SOVERSION) $@

clean: ## removes what was built (the Python environment stays)
	rm -rf $(filter-out $(VENV) $(B)/venv,$(wildcard $(B)/*))

.PHONY: all clean FORCE
include tests/kernels/kernels.mk tests/fuzz/fuzz.mk examples/examples.mk
include mk/setup.mk mk/test.mk mk/lint.mk mk/sanitize.mk mk/install.mk
-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(UNIT_OBJ:.o=.d)
