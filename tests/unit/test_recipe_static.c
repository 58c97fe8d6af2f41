/* Recipes for static quantization: what contradicts itself or has no effect, word for word. */
#include <criterion/criterion.h>

#include "formats/recipe_yaml.h"
#include "tests/unit/recipe_problems.h"

static void expect(const char *text, const char *want)
{
    recipe_problems_expect(text, NULL, 0, want);
}

Test(recipe_static, activations)
{
#define STATIC "version: 1\nactivations: static\n"
    expect(STATIC "weights: {granularity: tensor}\nlayers:\n"
                  "- {match: {op: Gemm}, observer: entropy}\n"
                  "- {match: {op: Gather}, codec: float16}\n"
                  "- {match: {op: RNN}, bits: 4, symmetric: false, activations: none}\n",
           "");
    expect(STATIC "weights: {bits: 4}\n",
           "t.yaml:2:14: activations: static takes codec int with bits 8, symmetric: true and "
           "granularity tensor or channel, got bits 4; change that, or set activations: none");
    expect(STATIC "weights: {symmetric: false}\n",
           "t.yaml:2:14: activations: static takes codec int with bits 8, symmetric: true and "
           "granularity tensor or channel, got symmetric false; change that, or set activations: "
           "none");
    expect(STATIC "layers:\n- {match: {op: Gemm}, bits: 4}\n"
                  "- {match: {op: Conv}, granularity: block}\n"
                  "- {match: {op: Conv}, symmetric: false}\n",
           "t.yaml:4:29: layers[0].bits: got 4, expected 8 with activations: static; add "
           "activations: none here to store these weights only\n"
           "t.yaml:5:36: layers[1].granularity: got block, expected tensor or channel with "
           "activations: static; add activations: none here to store these weights only\n"
           "t.yaml:6:34: layers[2].symmetric: got false, expected true with activations: static; "
           "add activations: none here to store these weights only");
}

Test(recipe_static, keys)
{
#define WITHOUT " has no effect without activations: static; remove it, or set activations: static"
    expect("version: 1\ntarget: {output_sqnr_db: 20, fallback: int16}\n"
           "static: {type: int8, exclude: [{first: 1}]}\n"
           "calibrate: {data: a.npz, cache: c.json, image: {crop: 8}}\n"
           "layers:\n- {match: {op: Conv}, bits: 4, observer: mse}\n",
           "t.yaml:2:26: target.output_sqnr_db" WITHOUT "\n"
           "t.yaml:2:40: target.fallback" WITHOUT "\n"
           "t.yaml:3:16: static.type" WITHOUT "\n"
           "t.yaml:3:31: static.exclude" WITHOUT "\n"
           "t.yaml:4:19: calibrate.data" WITHOUT "\n"
           "t.yaml:4:33: calibrate.cache" WITHOUT "\n"
           "t.yaml:6:42: layers[0].observer" WITHOUT);
    /* One layer with static activations is enough. */
    expect("version: 1\nstatic: {type: int8}\nlayers:\n- {match: {op: Conv}, activations: "
           "static}\n",
           "");
    /* What a --set takes away is no fault of the file. */
    recipe_problems_expect(STATIC "static: {type: int8}\n", &(const char *){"activations=none"}, 1,
                           "");
    expect(STATIC "static: {observer: mse, percentile: 99}\n",
           "t.yaml:3:37: static.percentile has no effect with these observers; remove it, or set "
           "observer: percentile");
    expect(STATIC "static: {percentile: 99}\n", ""); /* auto tries it */
    expect(STATIC "target: {fallback: int16}\n",
           "t.yaml:3:20: target.fallback has no effect without a target; remove it, or set "
           "output_sqnr_db or max_accuracy_drop");
    expect("version: 1\ngates: {min_cosine: 0.9, on_miss: remove_file}\n", "");
}
