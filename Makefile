# vqc: build, test and packaging. `make help` lists the targets.
VERSION := 0.1.0
SOVERSION := 0
PREFIX ?= /usr/local
DESTDIR ?=
B ?= build
CC ?= cc
ifeq ($(origin CC),default)
CC := gcc
endif
PKG_CONFIG ?= pkg-config
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef \
	-Wformat=2 -Werror
PKGS := libprotobuf-c yaml-0.1 libcjson zlib
PKG_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS = $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
OPENMP ?= -fopenmp
SAN ?=
ARCH := $(shell $(CC) -dumpmachine | cut -d- -f1)
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

all: $(B)/vqc

$(B)/gen/onnx/onnx.pb-c.h: | $(B)/gen
	protoc-c -I/usr/include --c_out=$(B)/gen /usr/include/onnx/onnx.proto
$(B)/gen/onnx/onnx.pb-c.c: $(B)/gen/onnx/onnx.pb-c.h
$(B)/gen:
	mkdir -p $@

$(B)/obj/gen/onnx.pb-c.o: $(B)/gen/onnx/onnx.pb-c.h
	@mkdir -p $(@D)
	$(CC) -std=c17 -fPIC -O2 -g $(SAN) -I$(B)/gen $(PKG_CFLAGS) -c $(B)/gen/onnx/onnx.pb-c.c -o $@

$(B)/obj/%_avx2.o: EXTRA := -mavx2 -mfma -mf16c -mbmi2
$(B)/obj/%_avx512.o: EXTRA := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c -mbmi2
$(B)/obj/%.o: %.c $(B)/gen/onnx/onnx.pb-c.h
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(EXTRA) -MMD -MP -c $< -o $@

$(B)/libvqc.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^
$(B)/vqc: $(CLI_OBJ) $(B)/libvqc.a
	$(CC) $(CFLAGS) -o $@ $^ $(LIBS)
$(B)/unit-tests: $(UNIT_OBJ) $(B)/libvqc.a
	$(CC) $(CFLAGS) -o $@ $^ -lcriterion $(LIBS)

unit: $(B)/unit-tests
	$(B)/unit-tests

clean:
	rm -rf $(filter-out $(B)/venv,$(wildcard $(B)/*))

.PHONY: all unit clean
-include $(LIB_OBJ:.o=.d) $(CLI_OBJ:.o=.d) $(UNIT_OBJ:.o=.d)
