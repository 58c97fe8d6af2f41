# Opset raising against ONNX Runtime, the checker and the reference evaluator. Included by the Makefile.
$(B)/opset_tool: $(B)/obj/tests/oracle/opset_tool.o $(B)/libvqc.a
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

opset-test: $(B)/opset_tool ## opset raising: every step in the history of every operator, and the zoo
	$(PYTHON_VENV) tests/oracle/test_opset.py --tool $(B)/opset_tool --work $(B)/opset-test

.PHONY: opset-test
