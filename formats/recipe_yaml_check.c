#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/report.h"
#include "formats/recipe_yaml_keys.h"
#include "formats/recipe_yaml_read.h"

/* The keys of one weights mapping or rule, with what they are merged into. Only what a rule sets
 * itself is checked: a default that does not suit one rule's codec is simply not used there. */
typedef struct spec_check {
    vqc_yaml_context *context;
    const vqc_yaml_node *own;  /* the mapping, may be NULL */
    const vqc_yaml_node *root; /* holds activations: for the top weights; NULL in a rule */
    const vqc_yaml_node *base; /* the weights mapping a rule builds upon; NULL for itself */
    unsigned own_set;          /* VQC_SPEC_* that could be read from it */
    unsigned base_set;
    const vqc_weight_spec *merged;
    vqc_operators operators;
    const char *path; /* "weights." or "layers[0]." */
} spec_check;

static const char *const granularity_names[] = {"tensor", "channel", "block"};
static const char *const range_names[] = {"auto", "minmax", "percentile", "mse"};

/* The value that this mapping itself gives to a key, when it could be read. */
static const vqc_yaml_node *own_key(const spec_check *check, const char *name, unsigned bit)
{
    const vqc_yaml_node *node = vqc_yaml_map_get(check->own, name);
    if (node == NULL && bit == VQC_SPEC_ACTIVATIONS) {
        node = vqc_yaml_map_get(check->root, name);
    }
    return (check->own_set & bit) != 0 ? node : NULL;
}

/* Whether `key`, which is idle or wrong because of the value of `cause`, is worth a word: not when
 * the cause could not be read, and not when a --set has overruled what the file says. */
static bool is_due(const spec_check *check, const vqc_yaml_node *key, const char *cause,
                   unsigned cause_bit)
{
    const vqc_yaml_node *node = vqc_yaml_map_get(check->own, cause);
    unsigned set = check->own_set;

    if (node == NULL) {
        node = vqc_yaml_map_get(check->base, cause);
        set = check->base_set;
    }
    if (node == NULL) {
        return true; /* the built-in default */
    }
    return (set & cause_bit) != 0 && !(key->place.set == 0 && node->place.set != 0);
}

typedef struct key_need {
    const char *key;
    unsigned bit;
    bool by_int, by_float8, by_float16, by_vq; /* which codecs use the key */
} key_need;

static const key_need needs[] = {
    {"bits", VQC_SPEC_BITS, true, false, false, false},
    {"granularity", VQC_SPEC_GRANULARITY, true, true, false, false},
    {"block_size", VQC_SPEC_BLOCK_SIZE, true, true, false, false},
    {"symmetric", VQC_SPEC_SYMMETRIC, true, false, false, false},
    {"range", VQC_SPEC_RANGE, true, false, false, false},
    {"percentile", VQC_SPEC_PERCENTILE, true, false, false, false},
    {"reduce_range", VQC_SPEC_REDUCE_RANGE, true, false, false, false},
    {"rounding", VQC_SPEC_ROUNDING, true, false, false, false},
    {"min_elements", VQC_SPEC_MIN_ELEMENTS, true, true, true, true},
    {"pattern", VQC_SPEC_PATTERN, true, false, false, false},
    {"dim", VQC_SPEC_DIM, false, false, false, true},
    {"codebook_size", VQC_SPEC_CODEBOOK_SIZE, false, false, false, true},
    {"bits_per_weight", VQC_SPEC_BITS_PER_WEIGHT, false, false, false, true},
    {"along", VQC_SPEC_ALONG, false, false, false, true},
    {"codebook_type", VQC_SPEC_CODEBOOK_TYPE, false, false, false, true},
    {"stages", VQC_SPEC_STAGES, false, false, false, true},
    {"channel_scale", VQC_SPEC_CHANNEL_SCALE, false, false, false, true},
    {"output_groups", VQC_SPEC_OUTPUT_GROUPS, false, false, false, true},
    {"input_groups", VQC_SPEC_INPUT_GROUPS, false, false, false, true},
    {"shared_codebook", VQC_SPEC_SHARED_CODEBOOK, false, false, false, true},
};

static void note_idle(const spec_check *check, const vqc_yaml_node *key, const char *name,
                      const char *cause, const char *value, const char *way_out)
{
    vqc_yaml_problem_add(check->context, key->place,
                         "%s%s has no effect with %s %s; remove it, or set %s", check->path, name,
                         cause, value, way_out);
}

static void check_idle_keys(const spec_check *check)
{
    const char *codec = check->merged->codec;
    bool is_int = strcmp(codec, "int") == 0;
    bool is_float8 = strncmp(codec, "float8", 6) == 0;
    bool is_vq = strcmp(codec, "vq") == 0;
    bool is_keep = strcmp(codec, "keep") == 0;

    for (size_t i = 0; i < sizeof needs / sizeof needs[0]; i++) {
        const key_need *need = &needs[i];
        const vqc_yaml_node *key = own_key(check, need->key, need->bit);
        bool used = is_int      ? need->by_int
                    : is_float8 ? need->by_float8
                    : is_vq     ? need->by_vq
                                : need->by_float16;
        if (key == NULL) {
            continue;
        }
        if (is_keep || !used) {
            if (is_due(check, key, "codec", VQC_SPEC_CODEC)) {
                note_idle(check, key, need->key, "codec", codec,
                          need->by_float16 ? "another codec"
                          : need->by_int && is_vq && strcmp(need->key, "bits") == 0
                              ? "bits_per_weight or codebook_size"
                          : need->by_int ? "codec: int"
                                         : "codec: vq");
            }
        } else if (need->bit == VQC_SPEC_BLOCK_SIZE &&
                   check->merged->granularity != VQC_GRANULARITY_BLOCK) {
            if (is_due(check, key, "granularity", VQC_SPEC_GRANULARITY)) {
                note_idle(check, key, need->key, "granularity",
                          granularity_names[check->merged->granularity], "granularity: block");
            }
        } else if (need->bit == VQC_SPEC_PERCENTILE &&
                   check->merged->range != VQC_RANGE_PERCENTILE) {
            if (is_due(check, key, "range", VQC_SPEC_RANGE)) {
                note_idle(check, key, need->key, "range", range_names[check->merged->range],
                          "range: percentile");
            }
        } else if (need->bit == VQC_SPEC_REDUCE_RANGE && check->merged->reduce_range &&
                   check->merged->bits != 8 && is_due(check, key, "bits", VQC_SPEC_BITS)) {
            char bits[16];
            (void)snprintf(bits, sizeof bits, "%d", check->merged->bits);
            note_idle(check, key, need->key, "bits", bits, "bits: 8");
        }
    }
}

/* Where to point for something that several keys bring about: the first of them that is set here.
 */
static const vqc_yaml_node *first_own(const spec_check *check, const key_need *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const vqc_yaml_node *node = own_key(check, keys[i].key, keys[i].bit);
        if (node != NULL) {
            return node;
        }
    }
    return NULL;
}

static void check_matmul_nbits(const spec_check *check)
{
    static const key_need bits[] = {{.key = "bits", .bit = VQC_SPEC_BITS},
                                    {.key = "pattern", .bit = VQC_SPEC_PATTERN}};
    static const key_need shape[] = {{.key = "granularity", .bit = VQC_SPEC_GRANULARITY},
                                     {.key = "pattern", .bit = VQC_SPEC_PATTERN}};
    static const key_need block[] = {{.key = "block_size", .bit = VQC_SPEC_BLOCK_SIZE},
                                     {.key = "granularity", .bit = VQC_SPEC_GRANULARITY},
                                     {.key = "pattern", .bit = VQC_SPEC_PATTERN}};
    const vqc_weight_spec *spec = check->merged;
    const vqc_yaml_node *pattern = own_key(check, "pattern", VQC_SPEC_PATTERN);
    const vqc_yaml_node *node;

    if (spec->pattern != VQC_PATTERN_MATMUL_NBITS || strcmp(spec->codec, "int") != 0) {
        return; /* other codecs have one pattern only, see check_idle_keys */
    }
    if (pattern != NULL && check->operators != VQC_OPERATORS_ONNXRUNTIME) {
        vqc_yaml_problem_add(check->context, pattern->place,
                             "%spattern: matmul_nbits is an operator of ONNX Runtime, got "
                             "target.operators: standard; set target.operators: onnxruntime, or "
                             "pattern: auto",
                             check->path);
    }
    node = first_own(check, bits, 2);
    if (node != NULL && spec->bits != 2 && spec->bits != 4 && spec->bits != 8) {
        vqc_yaml_problem_add(check->context, node->place,
                             "%spattern: matmul_nbits takes bits 2, 4 or 8, got %d; change bits, "
                             "or set pattern: auto",
                             check->path, spec->bits);
    }
    if (spec->granularity != VQC_GRANULARITY_BLOCK) {
        node = first_own(check, shape, 2);
        if (node != NULL && is_due(check, node, "granularity", VQC_SPEC_GRANULARITY)) {
            vqc_yaml_problem_add(check->context, node->place,
                                 "%spattern: matmul_nbits has a scale per block, got granularity "
                                 "%s; set granularity: block, or pattern: auto",
                                 check->path, granularity_names[spec->granularity]);
        }
        return;
    }
    node = first_own(check, block, 3);
    if (node != NULL &&
        (spec->block_size < 16 || (spec->block_size & (spec->block_size - 1)) != 0)) {
        vqc_yaml_problem_add(check->context, node->place,
                             "%spattern: matmul_nbits takes a block_size that is a power of two "
                             "and at least 16, got %lld; change block_size, or set pattern: auto",
                             check->path, (long long)spec->block_size);
    }
}

/* Integer kernels take 8-bit codes with a scale per tensor or channel; with ranges from calibration
 * also without zero points. */
static void check_activations(const spec_check *check)
{
    const vqc_weight_spec *spec = check->merged;
    const vqc_yaml_node *own = own_key(check, "activations", VQC_SPEC_ACTIVATIONS);
    const vqc_yaml_node *bits = own_key(check, "bits", VQC_SPEC_BITS);
    const vqc_yaml_node *granularity = own_key(check, "granularity", VQC_SPEC_GRANULARITY);
    const vqc_yaml_node *symmetric = own_key(check, "symmetric", VQC_SPEC_SYMMETRIC);
    bool is_int = strcmp(spec->codec, "int") == 0;
    bool is_static = spec->activations == VQC_ACTIVATIONS_STATIC;
    const char *kind = is_static ? "static" : "dynamic";

    if (spec->activations == VQC_ACTIVATIONS_NONE ||
        (is_static ? vqc_weight_spec_can_be_static(spec) : vqc_weight_spec_can_be_dynamic(spec))) {
        return;
    }
    if (own != NULL) {
        char got[64];
        if (is_static && strcmp(spec->codec, "vq") == 0) {
            vqc_yaml_problem_add(check->context, own->place,
                                 "%sactivations: static takes codec vq with codebook_type int8, "
                                 "one stage and one input group; change that, or set "
                                 "activations: none",
                                 check->root != NULL ? "" : check->path);
            return;
        }
        if (!is_int) {
            (void)snprintf(got, sizeof got, "codec %s", spec->codec);
        } else if (spec->bits != 8) {
            (void)snprintf(got, sizeof got, "bits %d", spec->bits);
        } else {
            (void)snprintf(got, sizeof got, "%s",
                           spec->granularity == VQC_GRANULARITY_BLOCK ? "granularity block"
                                                                      : "symmetric false");
        }
        vqc_yaml_problem_add(check->context, own->place,
                             "%sactivations: %s takes codec int with bits 8%s and granularity "
                             "tensor or channel, got %s; change that, or set activations: none",
                             check->root != NULL ? "" : check->path, kind,
                             is_static ? ", symmetric: true" : "", got);
        return;
    }
    /* Inherited: another codec, or keep, just has no use for it; other codes need a decision. */
    if (is_int && bits != NULL && spec->bits != 8) {
        vqc_yaml_problem_add(check->context, bits->place,
                             "%sbits: got %d, expected 8 with activations: %s; add "
                             "activations: none here to store these weights only",
                             check->path, spec->bits, kind);
    } else if (is_int && granularity != NULL && spec->granularity == VQC_GRANULARITY_BLOCK) {
        vqc_yaml_problem_add(check->context, granularity->place,
                             "%sgranularity: got block, expected tensor or channel with "
                             "activations: %s; add activations: none here to store these "
                             "weights only",
                             check->path, kind);
    } else if (is_int && symmetric != NULL && !spec->symmetric) {
        vqc_yaml_problem_add(check->context, symmetric->place,
                             "%ssymmetric: got false, expected true with activations: static; add "
                             "activations: none here to store these weights only",
                             check->path);
    }
}

/* Two keys for one number, and numbers that are too large together. */
static void check_codebook(const spec_check *check)
{
    const vqc_weight_spec *spec = check->merged;
    const vqc_yaml_node *size = own_key(check, "codebook_size", VQC_SPEC_CODEBOOK_SIZE);
    const vqc_yaml_node *bits = own_key(check, "bits_per_weight", VQC_SPEC_BITS_PER_WEIGHT);
    const vqc_yaml_node *dim = own_key(check, "dim", VQC_SPEC_DIM);
    const vqc_yaml_node *at = bits != NULL ? bits : dim;
    static const key_need group_keys[] = {{.key = "output_groups", .bit = VQC_SPEC_OUTPUT_GROUPS},
                                          {.key = "input_groups", .bit = VQC_SPEC_INPUT_GROUPS}};
    const vqc_yaml_node *groups = first_own(check, group_keys, 2);
    bool is_shared = spec->shared_codebook != NULL && strcmp(spec->shared_codebook, "none") != 0;

    if (strcmp(spec->codec, "vq") != 0) {
        return;
    }
    if (is_shared && groups != NULL && (spec->output_groups > 1 || spec->input_groups > 1)) {
        note_idle(check, groups,
                  groups == own_key(check, "output_groups", VQC_SPEC_OUTPUT_GROUPS)
                      ? "output_groups"
                      : "input_groups",
                  "shared_codebook", spec->shared_codebook, "shared_codebook: none");
    }
    if (size != NULL && bits != NULL && (size->place.set != 0) == (bits->place.set != 0)) {
        vqc_yaml_problem_add(check->context, size->place,
                             "%scodebook_size: got %d beside bits_per_weight, which says the same; "
                             "remove one of them",
                             check->path, spec->codebook_size);
    } else if (at != NULL && spec->codebook_size == 0 &&
               spec->bits_per_weight * spec->dim / spec->stages >= 16.5) {
        vqc_yaml_problem_add(check->context, at->place,
                             "%s%s: got %g bits for each of %d weights, expected at most 16 bits "
                             "for a sub-vector and stage; set a smaller dim, or more stages",
                             check->path, at == bits ? "bits_per_weight" : "dim",
                             spec->bits_per_weight, spec->dim);
    }
}

static void check_spec(const spec_check *check)
{
    check_idle_keys(check);
    check_codebook(check);
    check_matmul_nbits(check);
    check_activations(check);
}

/* A set that is not closed or a \ at the end would silently be taken literally. */
static const char *glob_fault(const char *glob)
{
    for (; *glob != '\0'; glob++) {
        if (*glob == '\\') {
            if (glob[1] == '\0') {
                return "a \\ at the end escapes nothing; write \\\\ for a backslash";
            }
            glob++;
        } else if (*glob == '[') {
            const char *item = glob + 1;
            item += *item == '!' || *item == '^' ? 1 : 0;
            item += *item == ']' ? 1 : 0;
            while (*item != '\0' && *item != ']') {
                item += *item == '\\' && item[1] != '\0' ? 2 : 1;
            }
            if (*item == '\0') {
                return "a [ is never closed; write \\[ for a bracket";
            }
            glob = item;
        }
    }
    return NULL;
}

/* An operator in the wrong case would match nothing. Custom operators are free to be called
 * anything. */
static const char *op_fault(const char *op)
{
    static const char *const ops[] = {"Attention", "Conv", "ConvTranspose", "Einsum", "Gather",
                                      "Gemm",      "GRU",  "LSTM",          "MatMul", "RNN"};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        if (strcasecmp(op, ops[i]) == 0) {
            return strcmp(op, ops[i]) == 0 ? NULL : ops[i];
        }
    }
    return NULL;
}

/* Item i of a value that is one string or a list of them. */
static const vqc_yaml_node *string_item(const vqc_yaml_node *node, size_t i)
{
    return node->kind == VQC_YAML_LIST ? node->items[i] : node;
}

static void check_match(vqc_yaml_context *context, const vqc_yaml_node *map, const vqc_match *match,
                        const char *path)
{
    char shown[96];

    for (size_t i = 0; i < match->name_count; i++) {
        const vqc_yaml_node *node = string_item(vqc_yaml_map_get(map, "name"), i);
        const char *fault = glob_fault(match->names[i]);
        if (fault != NULL) {
            vqc_yaml_problem_add(context, node->place, "%smatch.name: got %s: %s", path,
                                 vqc_yaml_node_show(node, shown, sizeof shown), fault);
        }
    }
    for (size_t i = 0; i < match->op_count; i++) {
        const vqc_yaml_node *node = string_item(vqc_yaml_map_get(map, "op"), i);
        const char *meant = op_fault(match->ops[i]);
        if (meant != NULL) {
            vqc_yaml_problem_add(context, node->place,
                                 "%smatch.op: got %s, expected an operator's exact name; did you "
                                 "mean \"%s\"?",
                                 path, vqc_yaml_node_show(node, shown, sizeof shown), meant);
        }
    }
    if (match->max_elements >= 0 && match->min_elements > match->max_elements) {
        vqc_yaml_problem_add(
            context, vqc_yaml_map_get(map, "max_elements")->place,
            "%smatch.max_elements: got %lld, expected at least min_elements (%lld)", path,
            (long long)match->max_elements, (long long)match->min_elements);
    }
    if (match->rank >= 0 && match->shape != NULL && (size_t)match->rank != match->shape_rank) {
        vqc_yaml_problem_add(context, vqc_yaml_map_get(map, "rank")->place,
                             "%smatch.rank: got %d, expected the %zu of shape; remove it", path,
                             match->rank, match->shape_rank);
    }
}

static void check_gates(vqc_yaml_context *context, const vqc_yaml_node *root,
                        const vqc_recipe *recipe, bool clean)
{
    const vqc_gates *gates = &recipe->gates;
    const vqc_yaml_node *verify = vqc_yaml_map_get(root, "verify");
    const vqc_yaml_node *on_miss = vqc_yaml_map_get(vqc_yaml_map_get(root, "gates"), "on_miss");
    if (clean && verify != NULL && !recipe->verify && vqc_gates_need_outputs(gates)) {
        vqc_yaml_problem_add(context, verify->place,
                             "verify: got false, but there are gates on the model's outputs; "
                             "remove these, or verify");
    }
    if (clean && on_miss != NULL && isnan(gates->max_size_ratio) &&
        isnan(gates->min_weight_sqnr_db) && isnan(gates->layer_max_size_ratio) &&
        isnan(gates->layer_min_weight_sqnr_db) && !vqc_gates_need_outputs(gates)) {
        vqc_yaml_problem_add(context, on_miss->place,
                             "gates.on_miss has no effect without a limit; remove it, or set "
                             "max_size_ratio or min_weight_sqnr_db");
    }
}

/* A key without effect, unless a --set has taken away what the file relies on. */
static void note_unused(vqc_yaml_context *context, const vqc_yaml_node *key,
                        const vqc_yaml_node *cause, const char *path, const char *name,
                        const char *why)
{
    if (key != NULL && !(key->place.set == 0 && cause != NULL && cause->place.set != 0)) {
        vqc_yaml_problem_add(context, key->place, "%s%s has no effect %s", path, name, why);
    }
}

/* Every key of the mapping `map`, or those in `names` (NULL at the end). */
static void note_unused_keys(vqc_yaml_context *context, const vqc_yaml_node *root, const char *map,
                             const char *const *names, const char *why)
{
    const vqc_yaml_node *node = vqc_yaml_map_get(root, map);
    const vqc_yaml_node *cause = vqc_yaml_map_get(root, "activations");
    char path[32];

    (void)snprintf(path, sizeof path, "%s.", map);
    for (size_t i = 0;
         node != NULL && names == NULL && node->kind == VQC_YAML_MAP && i < node->length; i++) {
        note_unused(context, node->items[i], cause, path, node->keys[i]->text, why);
    }
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        note_unused(context, vqc_yaml_map_get(node, names[i]), cause, path, names[i], why);
    }
}

/* Keys that only codec vq reads. */
static void check_vq_keys(vqc_yaml_context *context, const vqc_yaml_node *root,
                          const vqc_recipe *recipe)
{
    const vqc_yaml_node *vq = vqc_yaml_map_get(root, "vq");

    if (recipe->vq.zeros == VQC_SWITCH_AUTO && recipe->vq.allocate == VQC_SWITCH_OFF) {
        note_unused(context, vqc_yaml_map_get(vq, "zeros"), vqc_yaml_map_get(vq, "allocate"), "vq.",
                    "zeros", "with allocate: off; remove it, or set allocate: auto");
    }
    if (!vqc_recipe_uses_codec(recipe, "vq")) {
        note_unused_keys(context, root, "vq", NULL,
                         "without codec: vq; remove it, or set codec: vq");
    }
}

/* Keys that only static quantization reads, or codec vq. */
static void check_static_keys(vqc_yaml_context *context, const vqc_yaml_node *root,
                              const vqc_recipe *recipe)
{
    static const char *const target_keys[] = {"output_sqnr_db", "max_accuracy_drop", "fallback",
                                              NULL};
    static const char *const calibrate_keys[] = {"cache", "data", NULL};
    static const char *const accuracy_keys[] = {"max_accuracy_drop", "fallback", NULL};
    static const char why[] = "without activations: static; remove it, or set activations: static";
    const vqc_yaml_node *layers = vqc_yaml_map_get(root, "layers");
    const vqc_yaml_node *target = vqc_yaml_map_get(root, "target");
    const vqc_yaml_node *fixed = vqc_yaml_map_get(root, "static");
    bool is_static = recipe->weights.activations == VQC_ACTIVATIONS_STATIC;
    bool percentile = recipe->weights.observer == VQC_OBSERVER_AUTO ||
                      recipe->weights.observer == VQC_OBSERVER_PERCENTILE;

    for (size_t i = 0; i < recipe->rule_count; i++) {
        const vqc_weight_spec *spec = &recipe->rules[i].spec;
        is_static = is_static || ((spec->set & VQC_SPEC_ACTIVATIONS) != 0 &&
                                  spec->activations == VQC_ACTIVATIONS_STATIC);
        percentile =
            percentile ||
            ((spec->set & VQC_SPEC_OBSERVER) != 0 &&
             (spec->observer == VQC_OBSERVER_AUTO || spec->observer == VQC_OBSERVER_PERCENTILE));
    }
    if (is_static) {
        if (!percentile) {
            note_unused(context, vqc_yaml_map_get(fixed, "percentile"),
                        vqc_yaml_map_get(fixed, "observer"), "static.", "percentile",
                        "with these observers; remove it, or set observer: percentile");
        }
        if (isnan(recipe->accuracy.output_sqnr_db) && isnan(recipe->accuracy.max_accuracy_drop)) {
            note_unused(context, vqc_yaml_map_get(target, "fallback"), NULL, "target.", "fallback",
                        "without a target; remove it, or set output_sqnr_db or max_accuracy_drop");
        }
        return;
    }
    note_unused_keys(context, root, "target",
                     vqc_recipe_uses_codec(recipe, "vq") ? accuracy_keys : target_keys, why);
    note_unused_keys(context, root, "static", NULL, why);
    if (!vqc_recipe_uses_codec(recipe, "vq") && !vqc_prune_wanted(recipe)) {
        note_unused_keys(context, root, "calibrate", calibrate_keys, why);
    }
    for (size_t i = 0; i < recipe->rule_count; i++) {
        char path[48];
        (void)snprintf(path, sizeof path, "layers[%zu].", i);
        note_unused(context, vqc_yaml_map_get(layers->items[i], "observer"),
                    vqc_yaml_map_get(root, "activations"), path, "observer", why);
    }
}

/* Keys of prune that do not fit one another. */
static void check_prune(vqc_yaml_context *context, const vqc_yaml_node *root,
                        const vqc_recipe *recipe)
{
    static const char *const fixed_keys[] = {"sparsity", "threshold", "scope", "target", NULL};
    static const char *const channel_keys[] = {"multiple_of", "min_channels", NULL};
    static const char *const how_keys[] = {"pattern", "block",      "score",
                                           "scope",   "compensate", NULL};
    const vqc_yaml_node *prune = vqc_yaml_map_get(root, "prune");
    const vqc_yaml_node *layers = vqc_yaml_map_get(root, "layers");
    vqc_prune_pattern pattern;
    const vqc_yaml_node *node;
    const char *fault = "";
    const char *key;
    char shown[96];

    if (!vqc_prune_options_pattern(&recipe->prune, &pattern, &fault)) {
        key = strcmp(recipe->prune.pattern, "block") == 0 ? "block" : "pattern";
        node = vqc_yaml_map_get(prune, key);
        vqc_yaml_problem_add(
            context, node != NULL ? node->place : prune->place, "prune.%s: got %s, expected %s",
            key, node != NULL ? vqc_yaml_node_show(node, shown, sizeof shown) : "none", fault);
        return;
    }
    if (pattern.kind != VQC_PRUNE_BLOCK) {
        note_unused(context, vqc_yaml_map_get(prune, "block"), vqc_yaml_map_get(prune, "pattern"),
                    "prune.", "block", "without pattern: block; remove it, or set pattern: block");
    }
    for (size_t i = 0; pattern.kind != VQC_PRUNE_CHANNELS && channel_keys[i] != NULL; i++) {
        note_unused(context, vqc_yaml_map_get(prune, channel_keys[i]),
                    vqc_yaml_map_get(prune, "pattern"), "prune.", channel_keys[i],
                    "without pattern: channels; remove it, or set pattern: channels");
    }
    if (pattern.kind == VQC_PRUNE_CHANNELS) {
        note_unused(context, vqc_yaml_map_get(prune, "threshold"),
                    vqc_yaml_map_get(prune, "pattern"), "prune.", "threshold",
                    "with pattern: channels; remove it, or set sparsity or target");
    }
    if (pattern.kind == VQC_PRUNE_CHANNELS && recipe->prune.scope == VQC_PRUNE_SCOPE_OUTPUT) {
        vqc_yaml_problem_add(context, prune->place,
                             "prune.scope: got output, expected layer or global with pattern: "
                             "channels");
    }
    for (size_t i = 0; pattern.kind == VQC_PRUNE_N_OF_M && fixed_keys[i] != NULL; i++) {
        note_unused(context, vqc_yaml_map_get(prune, fixed_keys[i]),
                    vqc_yaml_map_get(prune, "pattern"), "prune.", fixed_keys[i],
                    "with a pattern N:M, which says how many weights stay; remove it");
    }
    for (size_t i = 0; (pattern.kind == VQC_PRUNE_N_OF_M || pattern.kind == VQC_PRUNE_CHANNELS) &&
                       i < recipe->rule_count;
         i++) {
        const vqc_weight_spec *spec = &recipe->rules[i].spec;
        if ((spec->set & VQC_SPEC_SPARSITY) != 0 && spec->sparsity > 0.0) {
            vqc_yaml_problem_add(context, layers->items[i]->place,
                                 "layers[%zu].sparsity: got %g, expected 0 (not pruned) with a "
                                 "pattern N:M or channels",
                                 i, spec->sparsity);
        }
    }
    if (!isnan(recipe->prune.threshold) &&
        (!isnan(recipe->prune.sparsity) || !isnan(recipe->prune.output_sqnr_db))) {
        vqc_yaml_problem_add(context, prune->place,
                             "prune.threshold: got sparsity or target beside it, expected one of "
                             "them");
    }
    for (size_t i = 0; !vqc_prune_wanted(recipe) && how_keys[i] != NULL; i++) {
        note_unused(context, vqc_yaml_map_get(prune, how_keys[i]),
                    vqc_yaml_map_get(prune, "sparsity"), "prune.", how_keys[i],
                    "when nothing is pruned; remove it, or set sparsity");
    }
}

void vqc_recipe_check(vqc_yaml_context *context, const vqc_yaml_node *root,
                      const vqc_recipe *recipe)
{
    const vqc_yaml_node *weights = vqc_yaml_map_get(root, "weights");
    const vqc_yaml_node *layers = vqc_yaml_map_get(root, "layers");
    spec_check check = {.context = context,
                        .own = weights,
                        .root = root,
                        .own_set = recipe->weights.set,
                        .merged = &recipe->weights,
                        .operators = recipe->operators,
                        .path = "weights."};

    check_gates(context, root, recipe, context->problem_count == 0);
    if (context->problem_count == 0) {
        check_static_keys(context, root, recipe);
        check_vq_keys(context, root, recipe);
        check_prune(context, root, recipe);
    }
    check_spec(&check);
    for (size_t i = 0; i < recipe->rule_count; i++) {
        const vqc_layer_rule *rule = &recipe->rules[i];
        const vqc_yaml_node *node = layers->items[i];
        vqc_weight_spec merged = recipe->weights;
        char path[48];
        (void)snprintf(path, sizeof path, "layers[%zu].", i);
        vqc_weight_spec_merge(&merged, &rule->spec);
        check = (spec_check){.context = context,
                             .own = node,
                             .base = weights,
                             .own_set = rule->spec.set,
                             .base_set = recipe->weights.set,
                             .merged = &merged,
                             .operators = recipe->operators,
                             .path = path};
        check_spec(&check);
        check_match(context, vqc_yaml_map_get(node, "match"), &rule->match, path);
    }
}
