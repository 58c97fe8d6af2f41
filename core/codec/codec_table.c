/* The codec table and what all rows share. */
#include <string.h>

#include "core/codec/codec.h"
#include "core/metrics.h"

static const vqc_codec *const TABLE[] = {
    &vqc_codec_int,          &vqc_codec_float16,    &vqc_codec_bfloat16,
    &vqc_codec_float8e4m3fn, &vqc_codec_float8e5m2, &vqc_codec_vq,
};

const vqc_codec *vqc_codec_find(const char *name)
{
    for (size_t i = 0; i < sizeof TABLE / sizeof TABLE[0]; i++) {
        if (strcmp(TABLE[i]->name, name) == 0) {
            return TABLE[i];
        }
    }
    return NULL;
}

const char *vqc_form_name(vqc_form form)
{
    static const char *const names[] = {
        [VQC_FORM_KEEP] = "",
        [VQC_FORM_DEQUANTIZE] = "DequantizeLinear",
        [VQC_FORM_FOLDABLE] = "foldable",
        [VQC_FORM_MATMUL_NBITS] = "MatMulNBits",
        [VQC_FORM_GATHER_BLOCK] = "GatherBlockQuantized",
        [VQC_FORM_DYNAMIC_MATMUL] = "MatMulInteger",
        [VQC_FORM_DYNAMIC_CONV] = "ConvInteger",
        [VQC_FORM_DYNAMIC_LSTM] = "DynamicQuantizeLSTM",
    };
    return names[form];
}

/* Rounds x[n] to a 16-bit float type and back, as the final Cast of the pattern does. */
static void round_to(int32_t dtype, float *x, size_t n, uint16_t *half)
{
    const vqc_kernels *k = vqc_kernels_get();

    if (dtype == VQC_DTYPE_FLOAT16) {
        k->f32_f16_convert(x, n, half);
        k->f16_f32_convert(half, n, x);
    } else if (dtype == VQC_DTYPE_BFLOAT16) {
        k->f32_bf16_convert(x, n, half);
        k->bf16_f32_convert(half, n, x);
    }
}

vqc_status vqc_code_measure(vqc_code *code, const float *weights, vqc_arena *arena,
                            vqc_error *error)
{
    enum { CHUNK = 64 * 1024 };
    size_t n = code->elements;
    size_t chunks = n / CHUNK + (n % CHUNK != 0 ? 1 : 0);
    float *decoded = vqc_arena_calloc(arena, n, sizeof *decoded);
    vqc_error_sums *sums = vqc_arena_calloc(arena, chunks + 1, sizeof *sums);
    bool rounds = code->decision->layer->dtype == VQC_DTYPE_FLOAT16 ||
                  code->decision->layer->dtype == VQC_DTYPE_BFLOAT16;
    uint16_t *half = vqc_arena_calloc(arena, rounds ? n : 1, sizeof *half);
    vqc_status status;

    if (decoded == NULL || sums == NULL || half == NULL) {
        return vqc_fail_memory(error, n * sizeof *decoded);
    }
    status = code->decision->codec->decode(code, arena, decoded, error);
    if (status != VQC_OK) {
        return status;
    }
#pragma omp parallel for schedule(static) if (n >= VQC_PARALLEL_ELEMENTS)
    for (size_t c = 0; c < chunks; c++) {
        size_t at = c * CHUNK;
        size_t count = n - at < CHUNK ? n - at : CHUNK;
        round_to(code->decision->layer->dtype, decoded + at, count, rounds ? half + at : half);
        vqc_error_sums_add_f32(weights + at, decoded + at, count, &sums[c]);
    }
    memset(&code->sums, 0, sizeof code->sums);
    for (size_t c = 0; c < chunks; c++) {
        vqc_error_sums_add(&code->sums, &sums[c]);
    }
    return VQC_OK;
}
