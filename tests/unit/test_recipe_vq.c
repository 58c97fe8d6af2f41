/* Recipes for vector quantization: what is read, contradicts itself or has no effect. */
#include <criterion/criterion.h>
#include <string.h>

#include "formats/recipe_yaml.h"
#include "tests/unit/recipe_problems.h"

static void expect(const char *text, const char *want)
{
    recipe_problems_expect(text, NULL, 0, want);
}

Test(recipe_vq, every_key_is_read)
{
    static const char text[] =
        "version: 1\n"
        "weights: {codec: vq, dim: 4, codebook_size: 300, along: output, codebook_type: int8,\n"
        "  stages: 2, channel_scale: on, output_groups: 3, input_groups: 5}\n"
        "vq: {sweeps: 7, samples: 20, seed: 9, damping: 0.05, error_feedback: diagonal,\n"
        "  sequential: off, zeros: auto}\n"
        "layers:\n"
        "- {match: {op: Gemm}, dim: auto, bits_per_weight: 2.5, output_groups: 1,\n"
        "   input_groups: 1, shared_codebook: all}\n";
    const char *ops[1] = {"Gemm"};
    const int64_t dims[2] = {8, 8};
    vqc_match_subject subject = {
        .node_ops = ops, .node_names = ops, .node_count = 1, .dims = dims, .rank = 2};
    vqc_messages problems = {0};
    vqc_error error = {.message = ""};
    vqc_weight_spec spec;
    vqc_recipe *recipe;

    cr_assert_eq(
        vqc_recipe_parse(text, strlen(text), "t.yaml", NULL, 0, &recipe, &problems, &error), VQC_OK,
        "%s", error.message);
    spec = recipe->weights;
    cr_assert(spec.dim == 4 && spec.codebook_size == 300 && spec.along == VQC_VQ_ALONG_OUTPUT);
    cr_assert(spec.codebook_type == VQC_VQ_STORAGE_INT8 && spec.stages == 2);
    cr_assert(spec.channel_scale == VQC_SWITCH_ON && spec.output_groups == 3 &&
              spec.input_groups == 5 && spec.shared_codebook == NULL);
    cr_assert(recipe->vq.sweeps == 7 && recipe->vq.samples == 20 && recipe->vq.seed == 9 &&
              recipe->vq.damping == 0.05);
    cr_assert_eq(recipe->vq.error_feedback, VQC_VQ_FEEDBACK_DIAGONAL);
    cr_assert_eq(recipe->vq.sequential, VQC_SWITCH_OFF);
    cr_assert_eq(recipe->vq.zeros, VQC_SWITCH_AUTO);
    spec = vqc_recipe_resolve(recipe, &subject, NULL, NULL);
    cr_assert(spec.dim == 0 && spec.codebook_size == 0 && spec.bits_per_weight == 2.5,
              "bits_per_weight takes the place of codebook_size");
    cr_assert(spec.stages == 2 && spec.output_groups == 1);
    cr_assert_str_eq(spec.shared_codebook, "all");
    vqc_recipe_destroy(&recipe);
}

Test(recipe_vq, zeros_are_part_of_allocation)
{
    expect("version: 1\nweights: {codec: vq}\nvq: {allocate: off, zeros: auto}\n",
           "t.yaml:3:28: vq.zeros has no effect with allocate: off; remove it, or set allocate: "
           "auto");
    expect("version: 1\nweights: {codec: vq}\nvq: {zeros: on}\n",
           "t.yaml:3:13: vq.zeros: got \"on\", expected auto or off");
}

Test(recipe_vq, bounds_and_words)
{
    expect(
        "version: 1\nweights: {codec: vq, dim: 33}\n",
        "t.yaml:2:27: weights.dim: got \"33\", expected auto, or an integer of at least 1 and at "
        "most 32");
    expect("version: 1\nweights: {codec: vq, dim: 0}\n",
           "t.yaml:2:27: weights.dim: got \"0\", expected auto, or an integer of at least 1 and at "
           "most 32");
    expect("version: 1\nweights: {codec: vq, dim: atuo}\n",
           "t.yaml:2:27: weights.dim: got \"atuo\", expected auto, or an integer of at least 1 and "
           "at most 32");
    expect(
        "version: 1\nweights: {codec: vq, codebook_size: 65537}\n",
        "t.yaml:2:37: weights.codebook_size: got \"65537\", expected an integer of at least 2 and "
        "at most 65536");
    expect("version: 1\nweights: {codec: vq, codebook_siez: 16}\n",
           "t.yaml:2:22: unknown key \"codebook_siez\"; did you mean \"codebook_size\"?");
    expect("version: 1\nweights: {codec: vq, along: inputs}\n",
           "t.yaml:2:29: weights.along: got \"inputs\", expected one of auto, input, output, "
           "kernel; did you mean \"input\"?");
    expect("version: 1\nweights: {codec: vq}\nvq: {sweep: 3}\n",
           "t.yaml:3:6: unknown key \"sweep\"; did you mean \"sweeps\"?");
}

Test(recipe_vq, contradictions_and_idle_keys)
{
    expect("version: 1\nweights: {codec: vq, bits: 4}\n",
           "t.yaml:2:28: weights.bits has no effect with codec vq; remove it, or set "
           "bits_per_weight or codebook_size");
    expect("version: 1\nweights: {codec: int, dim: 4}\n",
           "t.yaml:2:28: weights.dim has no effect with codec int; remove it, or set codec: vq");
    expect("version: 1\nweights: {codec: vq, codebook_size: 16, bits_per_weight: 2}\n",
           "t.yaml:2:37: weights.codebook_size: got 16 beside bits_per_weight, which says the "
           "same; remove one of them");
    expect("version: 1\nweights: {codec: vq, dim: 8, bits_per_weight: 3}\n",
           "t.yaml:2:47: weights.bits_per_weight: got 3 bits for each of 8 weights, expected at "
           "most 16 bits for a sub-vector and stage; set a smaller dim, or more stages");
    expect("version: 1\nweights: {codec: vq, dim: 8, bits_per_weight: 3, stages: 2}\n", "");
    expect("version: 1\nweights: {codec: vq, shared_codebook: a, input_groups: 2}\n",
           "t.yaml:2:56: weights.input_groups has no effect with shared_codebook a; remove it, or "
           "set shared_codebook: none");
    expect("version: 1\nvq: {sweeps: 3}\n",
           "t.yaml:2:14: vq.sweeps has no effect without codec: vq; remove it, or set codec: vq");
    expect("version: 1\nlayers:\n- {match: {op: Gather}, codec: vq}\nvq: {sweeps: 3}\n", "");
    expect("version: 1\nweights: {codec: vq}\ncalibrate: {data: a.npz}\n", "");
}
