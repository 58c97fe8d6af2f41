/*
 * Fuzz target of the executor: compiles a model and runs it with small limits, fused and node by
 * node. The first byte fills the inputs, the rest is the model. Nothing may crash, hang or allocate
 * far beyond the limit; outputs fit their type and shape.
 */
#include <string.h>

#include "core/exec/program.h"
#include "formats/onnx_file.h"
#include "tests/fuzz/fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 20, MAX_PORTS = 32, FREE_DIM = 2 };

/* An input for the port: free dims are FREE_DIM, values are small numbers of its type; NULL when it
 * would be too large. */
static vqc_buffer *make_input(const vqc_program_port *port, unsigned fill)
{
    int64_t dims[VQC_EXEC_MAX_RANK] = {0};
    size_t rank = port->rank >= 0 ? (size_t)port->rank : 1;
    int32_t dtype = port->dtype != VQC_DTYPE_UNDEFINED ? port->dtype : VQC_DTYPE_FLOAT;
    size_t elements;
    size_t size;
    vqc_buffer *buffer;

    for (size_t i = 0; i < rank; i++) {
        dims[i] = port->rank >= 0 && port->dims[i] >= 0 ? port->dims[i] : FREE_DIM;
    }
    if (vqc_exec_width(dtype) == 0 ||
        !vqc_exec_sizes(dims, rank, vqc_exec_width(dtype), &elements, &size) || size > MAX_BYTES) {
        return NULL;
    }
    buffer = vqc_buffer_create(dtype, dims, rank);
    REQUIRE(buffer != NULL);
    memset(buffer->data, 0, size);
    for (size_t i = 0; i < elements; i++) {
        unsigned char *at = buffer->data + i * buffer->width;
        const float value = (float)((int)((i * 7 + fill) % 11) - 5) * 0.75f;
        if (dtype == VQC_DTYPE_FLOAT) {
            memcpy(at, &value, sizeof value);
        } else {
            /* The lowest bits only: valid in every type, a bool and a small integer too. */
            *at = (unsigned char)((i + fill) & 1u);
        }
    }
    return buffer;
}

static void run(const vqc_graph *graph, unsigned fill, bool no_fusion)
{
    const vqc_program_options options = {.no_fusion = no_fusion, .max_bytes = MAX_BYTES};
    const vqc_buffer *inputs[MAX_PORTS] = {NULL};
    vqc_buffer *owned[MAX_PORTS] = {NULL};
    vqc_buffer *outputs[MAX_PORTS] = {NULL};
    const vqc_program_port *ports;
    vqc_program *program = NULL;
    vqc_runner *runner = NULL;
    vqc_error error = {VQC_OK, ""};
    size_t input_count = 0;
    size_t output_count = 0;
    vqc_status status = vqc_program_create(graph, &options, &program, &error);

    if (status != VQC_OK) {
        REQUIRE(status == VQC_ERR_MODEL && program == NULL && error.message[0] != '\0');
        return;
    }
    ports = vqc_program_inputs(program, &input_count);
    (void)vqc_program_outputs(program, &output_count);
    if (input_count <= MAX_PORTS && output_count <= MAX_PORTS) {
        REQUIRE(vqc_runner_create(program, 1, &runner, &error) == VQC_OK);
        for (size_t i = 0; i < input_count; i++) {
            owned[i] = ports[i].has_default && fill % 2 == 0 ? NULL : make_input(&ports[i], fill);
            inputs[i] = owned[i];
        }
        status = vqc_runner_run(runner, inputs, outputs, NULL, &error);
        REQUIRE(status == VQC_OK || (status == VQC_ERR_MODEL && error.message[0] != '\0'));
        for (size_t i = 0; i < output_count; i++) {
            size_t elements = 0;
            size_t size = 0;
            REQUIRE((status == VQC_OK) == (outputs[i] != NULL));
            REQUIRE(outputs[i] == NULL || (vqc_exec_sizes(outputs[i]->dims, outputs[i]->rank,
                                                          outputs[i]->width, &elements, &size) &&
                                           elements == outputs[i]->elements));
            (void)vqc_buffer_destroy(&outputs[i]);
        }
        REQUIRE(vqc_runner_peak_bytes(runner) <= MAX_BYTES);
    }
    vqc_runner_destroy(&runner);
    for (size_t i = 0; i < MAX_PORTS; i++) {
        (void)vqc_buffer_destroy(&owned[i]);
    }
    vqc_program_destroy(&program);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vqc_model *model = NULL;
    vqc_graph *graph = NULL;
    vqc_error error = {VQC_OK, ""};

    if (size < 1 || vqc_onnx_parse(data + 1, size - 1, "fuzz", &model, &error) != VQC_OK) {
        return 0;
    }
    if (vqc_graph_create(model, &graph, &error) == VQC_OK) {
        run(graph, data[0], false);
        run(graph, data[0], true);
    }
    vqc_graph_destroy(&graph);
    vqc_model_destroy(&model);
    return 0;
}
