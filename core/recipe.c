#include "core/recipe.h"

#include <math.h>
#include <string.h>

vqc_weight_spec vqc_weight_spec_default(void)
{
    vqc_weight_spec spec = {
        .set = 0,
        .codec = "int",
        .bits = 8,
        .granularity = VQC_GRANULARITY_CHANNEL,
        .block_size = 32,
        .symmetric = true,
        .range = VQC_RANGE_AUTO,
        .percentile = 99.99,
        .reduce_range = false,
        .rounding = VQC_ROUNDING_AUTO,
        .min_elements = 1024,
        .pattern = VQC_PATTERN_AUTO,
        .activations = VQC_ACTIVATIONS_NONE,
        .bits_per_weight = 4.0,
        .codebook_type = VQC_VQ_STORAGE_FLOAT16,
        .stages = 1,
        .output_groups = 1,
        .input_groups = 1,
    };
    return spec;
}

vqc_status vqc_recipe_create_default(vqc_recipe **out, vqc_error *error)
{
    vqc_arena *arena;
    vqc_recipe *recipe;

    *out = NULL;
    arena = vqc_arena_create();
    if (arena == NULL) {
        return vqc_fail_memory(error, sizeof(vqc_recipe));
    }
    recipe = vqc_arena_calloc(arena, 1, sizeof *recipe);
    if (recipe == NULL) {
        vqc_arena_destroy(&arena);
        return vqc_fail_memory(error, sizeof *recipe);
    }
    recipe->arena = arena;
    recipe->path = vqc_arena_strdup(arena, "built-in default");
    recipe->name = vqc_arena_strdup(arena, "int8");
    if (recipe->path == NULL || recipe->name == NULL) {
        vqc_arena_destroy(&arena);
        return vqc_fail_memory(error, sizeof "built-in default");
    }
    recipe->version = 1;
    recipe->operators = VQC_OPERATORS_STANDARD;
    recipe->objective = VQC_OBJECTIVE_SIZE;
    recipe->weights = vqc_weight_spec_default();
    recipe->verify = true;
    recipe->prune = vqc_prune_options_default();
    recipe->fixed.percentile = 99.99;
    recipe->vq.sweeps = 4;
    recipe->vq.zeros = VQC_SWITCH_OFF;
    recipe->vq.damping = 0.01;
    recipe->accuracy.output_sqnr_db = (double)NAN;
    recipe->accuracy.max_accuracy_drop = (double)NAN;
    recipe->gates.min_output_sqnr_db = (double)NAN;
    recipe->gates.min_cosine = (double)NAN;
    recipe->gates.min_top1_agreement = (double)NAN;
    recipe->gates.max_accuracy_drop = (double)NAN;
    recipe->gates.min_accuracy = (double)NAN;
    recipe->gates.max_size_ratio = (double)NAN;
    recipe->gates.min_weight_sqnr_db = (double)NAN;
    recipe->gates.layer_max_size_ratio = (double)NAN;
    recipe->gates.layer_min_weight_sqnr_db = (double)NAN;
    recipe->report.sort = VQC_SORT_MODEL;
    *out = recipe;
    return VQC_OK;
}

bool vqc_gates_need_outputs(const vqc_gates *gates)
{
    return !isnan(gates->min_output_sqnr_db) || !isnan(gates->min_cosine) ||
           !isnan(gates->min_top1_agreement) || !isnan(gates->max_accuracy_drop) ||
           !isnan(gates->min_accuracy);
}

void vqc_recipe_destroy(vqc_recipe **recipe)
{
    if (recipe != NULL && *recipe != NULL) {
        /* The recipe lives in its own arena: take the arena out before it frees the struct. */
        vqc_arena *arena = (*recipe)->arena;
        *recipe = NULL;
        vqc_arena_destroy(&arena);
    }
}

/* The keys of codec vq. codebook_size and bits_per_weight say the same: the later one counts. */
static void merge_vq(vqc_weight_spec *base, const vqc_weight_spec *over)
{
    if (over->set & VQC_SPEC_DIM) {
        base->dim = over->dim;
    }
    if (over->set & VQC_SPEC_CODEBOOK_SIZE) {
        base->codebook_size = over->codebook_size;
    } else if (over->set & VQC_SPEC_BITS_PER_WEIGHT) {
        base->codebook_size = 0;
    }
    if (over->set & VQC_SPEC_BITS_PER_WEIGHT) {
        base->bits_per_weight = over->bits_per_weight;
    }
    if (over->set & VQC_SPEC_ALONG) {
        base->along = over->along;
    }
    if (over->set & VQC_SPEC_CODEBOOK_TYPE) {
        base->codebook_type = over->codebook_type;
    }
    if (over->set & VQC_SPEC_STAGES) {
        base->stages = over->stages;
    }
    if (over->set & VQC_SPEC_CHANNEL_SCALE) {
        base->channel_scale = over->channel_scale;
    }
    if (over->set & VQC_SPEC_OUTPUT_GROUPS) {
        base->output_groups = over->output_groups;
    }
    if (over->set & VQC_SPEC_INPUT_GROUPS) {
        base->input_groups = over->input_groups;
    }
    if (over->set & VQC_SPEC_SHARED_CODEBOOK) {
        base->shared_codebook = over->shared_codebook;
    }
}

void vqc_weight_spec_merge(vqc_weight_spec *base, const vqc_weight_spec *over)
{
    if (over->set & VQC_SPEC_CODEC) {
        memcpy(base->codec, over->codec, sizeof base->codec);
    }
    if (over->set & VQC_SPEC_BITS) {
        base->bits = over->bits;
    }
    if (over->set & VQC_SPEC_GRANULARITY) {
        base->granularity = over->granularity;
    }
    if (over->set & VQC_SPEC_BLOCK_SIZE) {
        base->block_size = over->block_size;
    }
    if (over->set & VQC_SPEC_SYMMETRIC) {
        base->symmetric = over->symmetric;
    }
    if (over->set & VQC_SPEC_RANGE) {
        base->range = over->range;
    }
    if (over->set & VQC_SPEC_PERCENTILE) {
        base->percentile = over->percentile;
    }
    if (over->set & VQC_SPEC_REDUCE_RANGE) {
        base->reduce_range = over->reduce_range;
    }
    if (over->set & VQC_SPEC_OBSERVER) {
        base->observer = over->observer;
    }
    if (over->set & VQC_SPEC_ROUNDING) {
        base->rounding = over->rounding;
    }
    if (over->set & VQC_SPEC_MIN_ELEMENTS) {
        base->min_elements = over->min_elements;
    }
    if (over->set & VQC_SPEC_PATTERN) {
        base->pattern = over->pattern;
    }
    if (over->set & VQC_SPEC_SPARSE) {
        base->sparse = over->sparse;
    }
    if (over->set & VQC_SPEC_SPARSITY) {
        base->sparsity = over->sparsity;
    }
    if (over->set & VQC_SPEC_ACTIVATIONS) {
        base->activations = over->activations;
    }
    merge_vq(base, over);
    base->set |= over->set;
}

/* Reads the [set] that starts at glob (just behind '['). Returns the byte behind the closing ']'
 * and whether `byte` is in the set; NULL when the set is not closed. A ']' that comes first is a
 * member. */
static const char *set_test(const char *glob, unsigned char byte, bool *hit)
{
    bool negate = *glob == '!' || *glob == '^';
    bool found = false;
    const char *first;

    glob += negate ? 1 : 0;
    first = glob;
    while (*glob != '\0' && (*glob != ']' || glob == first)) {
        unsigned char low;
        unsigned char high;
        if (*glob == '\\' && glob[1] != '\0') {
            glob++;
        }
        low = (unsigned char)*glob++;
        high = low;
        if (*glob == '-' && glob[1] != '\0' && glob[1] != ']') {
            glob++;
            if (*glob == '\\' && glob[1] != '\0') {
                glob++;
            }
            high = (unsigned char)*glob++;
        }
        found = found || (byte >= low && byte <= high);
    }
    *hit = found != negate;
    return *glob == ']' ? glob + 1 : NULL;
}

/* Tests one byte against the item (literal, ?, set or escape; not *) at glob. Returns the next item
 * when it matches, else NULL. A '[' that is never closed and a last '\' are literals. */
static const char *item_test(const char *glob, unsigned char byte)
{
    switch (*glob) {
    case '\0':
        return NULL;
    case '?':
        return glob + 1;
    case '[': {
        bool hit;
        const char *next = set_test(glob + 1, byte, &hit);
        if (next != NULL) {
            return hit ? next : NULL;
        }
        break;
    }
    case '\\':
        if (glob[1] != '\0') {
            return (unsigned char)glob[1] == byte ? glob + 2 : NULL;
        }
        break;
    default:
        break;
    }
    return (unsigned char)*glob == byte ? glob + 1 : NULL;
}

bool vqc_glob_test(const char *glob, const char *text)
{
    /* When an item fails, only the last * can help: give it one more byte and go on behind it. An
     * earlier * could only repeat what the last one can do, so the cost is |glob| * |text| at most.
     */
    const char *star = NULL;
    const char *star_text = NULL;

    while (*text != '\0') {
        const char *next;
        if (*glob == '*') {
            star = ++glob;
            star_text = text;
            continue;
        }
        next = item_test(glob, (unsigned char)*text);
        if (next != NULL) {
            glob = next;
            text++;
        } else if (star != NULL) {
            glob = star;
            text = ++star_text;
        } else {
            return false;
        }
    }
    while (*glob == '*') {
        glob++;
    }
    return *glob == '\0';
}

static bool names_test(const vqc_match *match, const vqc_match_subject *subject)
{
    for (size_t i = 0; i < match->name_count; i++) {
        if (subject->tensor_name != NULL && vqc_glob_test(match->names[i], subject->tensor_name)) {
            return true;
        }
        for (size_t n = 0; n < subject->node_count; n++) {
            if (subject->node_names[n] != NULL &&
                vqc_glob_test(match->names[i], subject->node_names[n])) {
                return true;
            }
        }
    }
    return match->name_count == 0;
}

static bool ops_test(const vqc_match *match, const vqc_match_subject *subject)
{
    for (size_t i = 0; i < match->op_count; i++) {
        for (size_t n = 0; n < subject->node_count; n++) {
            if (subject->node_ops[n] != NULL && strcmp(match->ops[i], subject->node_ops[n]) == 0) {
                return true;
            }
        }
    }
    return match->op_count == 0;
}

/* Product of the dims; INT64_MAX when it does not fit, 0 for a negative (unknown) one. */
static int64_t element_count(const vqc_match_subject *subject)
{
    int64_t count = 1;
    bool fits = true;
    for (size_t i = 0; i < subject->rank; i++) {
        if (subject->dims[i] <= 0) {
            return 0;
        }
        fits = fits && !__builtin_mul_overflow(count, subject->dims[i], &count);
    }
    return fits ? count : INT64_MAX;
}

static bool shape_test(const vqc_match *match, const vqc_match_subject *subject)
{
    if (match->shape == NULL) {
        return true;
    }
    if (match->shape_rank != subject->rank) {
        return false;
    }
    for (size_t i = 0; i < subject->rank; i++) {
        if (match->shape[i] != -1 && match->shape[i] != subject->dims[i]) {
            return false;
        }
    }
    return true;
}

/* first and last together mean both ends of the model, not their (nearly always empty) overlap. */
static bool ends_test(const vqc_match *match, const vqc_match_subject *subject)
{
    if (match->first == 0 && match->last == 0) {
        return true;
    }
    if (subject->index == VQC_MATCH_NO_INDEX) {
        return false;
    }
    return (match->first > 0 && subject->index < match->first) ||
           (match->last > 0 && subject->count - subject->index <= match->last);
}

bool vqc_match_test(const vqc_match *match, const vqc_match_subject *subject)
{
    if (match->rank >= 0 && (size_t)match->rank != subject->rank) {
        return false;
    }
    if (match->min_elements >= 0 && element_count(subject) < match->min_elements) {
        return false;
    }
    if (match->max_elements >= 0 && element_count(subject) > match->max_elements) {
        return false;
    }
    return shape_test(match, subject) && ends_test(match, subject) && ops_test(match, subject) &&
           names_test(match, subject);
}

bool vqc_weight_spec_can_be_dynamic(const vqc_weight_spec *spec)
{
    return strcmp(spec->codec, "int") == 0 && spec->bits == 8 &&
           spec->granularity != VQC_GRANULARITY_BLOCK;
}

bool vqc_weight_spec_can_be_static(const vqc_weight_spec *spec)
{
    if (strcmp(spec->codec, "vq") == 0) {
        return spec->codebook_type == VQC_VQ_STORAGE_INT8 && spec->stages == 1 &&
               spec->input_groups == 1;
    }
    return vqc_weight_spec_can_be_dynamic(spec) && spec->symmetric;
}

vqc_weight_spec vqc_recipe_resolve(const vqc_recipe *recipe, const vqc_match_subject *subject,
                                   bool *named, bool *rule_hits)
{
    vqc_weight_spec spec = recipe->weights;
    bool by_name = false;

    for (size_t i = 0; i < recipe->rule_count; i++) {
        const vqc_layer_rule *rule = &recipe->rules[i];
        if (!vqc_match_test(&rule->match, subject)) {
            continue;
        }
        vqc_weight_spec_merge(&spec, &rule->spec);
        by_name = by_name || rule->match.name_count > 0;
        if (rule_hits != NULL) {
            rule_hits[i] = true;
        }
    }
    if (spec.activations == VQC_ACTIVATIONS_DYNAMIC && !vqc_weight_spec_can_be_dynamic(&spec)) {
        spec.activations = VQC_ACTIVATIONS_NONE;
    }
    if (named != NULL) {
        *named = by_name;
    }
    return spec;
}

bool vqc_recipe_is_static(const vqc_recipe *recipe)
{
    if (recipe->weights.activations == VQC_ACTIVATIONS_STATIC) {
        return true;
    }
    for (size_t i = 0; i < recipe->rule_count; i++) {
        const vqc_weight_spec *spec = &recipe->rules[i].spec;
        if ((spec->set & VQC_SPEC_ACTIVATIONS) != 0 &&
            spec->activations == VQC_ACTIVATIONS_STATIC) {
            return true;
        }
    }
    return false;
}

bool vqc_recipe_uses_codec(const vqc_recipe *recipe, const char *codec)
{
    bool used = strcmp(recipe->weights.codec, codec) == 0;

    for (size_t i = 0; i < recipe->rule_count; i++) {
        const vqc_weight_spec *spec = &recipe->rules[i].spec;
        used = used || ((spec->set & VQC_SPEC_CODEC) != 0 && strcmp(spec->codec, codec) == 0);
    }
    return used;
}

bool vqc_prune_by_default(const vqc_recipe *recipe)
{
    const vqc_prune_options *o = &recipe->prune;
    vqc_prune_pattern pattern;

    return (!isnan(o->sparsity) && o->sparsity > 0.0) || !isnan(o->threshold) ||
           !isnan(o->output_sqnr_db) ||
           (vqc_prune_options_pattern(o, &pattern, NULL) && pattern.kind == VQC_PRUNE_N_OF_M);
}

bool vqc_prune_wanted(const vqc_recipe *recipe)
{
    bool wanted = vqc_prune_by_default(recipe);

    for (size_t i = 0; i < recipe->rule_count; i++) {
        const vqc_weight_spec *spec = &recipe->rules[i].spec;
        wanted = wanted || ((spec->set & VQC_SPEC_SPARSITY) != 0 && spec->sparsity > 0.0);
    }
    return wanted;
}
