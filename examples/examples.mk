##@ Example
EXAMPLE_SRC := $(wildcard examples/*.c)
EXAMPLE_OBJ := $(EXAMPLE_SRC:%.c=$(B)/obj/%.o)
# What the program needs of vqc: the array formats, not the compressor.
EXAMPLE_LIB_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(wildcard formats/np*.c formats/file_*.c) core/error.c core/memory.c \
	core/dtype.c) $(B)/obj/gen/onnx.pb-c.o
EXAMPLE_FILES := lenet5.onnx lenet5.calib.npz lenet5.eval.npz

# Vectorizing changes no result: the innermost loops have nothing to reorder (see lenet.c).
$(B)/obj/examples/%.o: EXTRA := -O3
$(B)/make_lenet5: $(EXAMPLE_OBJ) $(EXAMPLE_LIB_OBJ)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

example: $(B)/make_lenet5 ## draws the digits and trains examples/lenet5.onnx anew (half a minute)
	$(B)/make_lenet5 -o examples

example-check: $(B)/make_lenet5 ## does the same in build/ and compares with the committed files
	@mkdir -p $(B)/example-check
	$(B)/make_lenet5 -o $(B)/example-check
	@for f in $(EXAMPLE_FILES); do cmp $(B)/example-check/$$f examples/$$f || exit 1; done
	@echo "example-check: $(EXAMPLE_FILES) are reproduced byte for byte"

.PHONY: example example-check
-include $(EXAMPLE_OBJ:.o=.d)
