#include "core/prune/channels_set.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"
#include "core/exec/exec.h"

/* ---- groups ---- */

static size_t find_group(size_t *parent, size_t i)
{
    while (parent[i] != i) {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    return i;
}

/* Producers that share a class are of one group: parent[] joined, the first one the root. */
static void join_producers(const vqc_trace *trace, size_t *first_producer, size_t *parent)
{
    for (size_t p = 0; p < trace->producer_count; p++) {
        const vqc_trace_labels *labels = trace->producers[p].labels;
        parent[p] = p;
        for (size_t i = 0; i < labels->count; i++) {
            uint32_t root = vqc_trace_find(trace, labels->atoms[i]);
            size_t a;
            size_t b;
            if (trace->atoms[root].frozen != NULL) {
                continue;
            }
            if (first_producer[root] == SIZE_MAX) {
                first_producer[root] = p;
            }
            a = find_group(parent, first_producer[root]);
            b = find_group(parent, p);
            parent[a < b ? b : a] = a < b ? a : b;
        }
    }
}

/* Counts the indices of the group's first producer. */
static void count_indices(const vqc_channel_set *set, size_t g)
{
    vqc_channel_group *group = &set->groups[g];
    const vqc_trace_labels *labels = set->trace->producers[group->producer].labels;
    size_t own = 0;

    for (size_t i = 0; i < labels->count; i++) {
        own += set->group_of[vqc_trace_find(set->trace, labels->atoms[i])] == g ? 1 : 0;
    }
    group->fixed = labels->count - own;
    group->indices = group->count > 0 && own % group->count == 0 ? own / group->count : 1;
}

static vqc_status build_groups(vqc_channel_set *set, const size_t *first_producer, size_t *parent,
                               vqc_error *error)
{
    const vqc_trace *trace = set->trace;
    size_t *group_of_producer =
        vqc_arena_calloc(set->arena, trace->producer_count + 1, sizeof(size_t));

    set->groups = vqc_arena_calloc(set->arena, trace->producer_count + 1, sizeof *set->groups);
    if (group_of_producer == NULL || set->groups == NULL) {
        return vqc_fail_memory(error, trace->producer_count * sizeof *set->groups);
    }
    for (size_t p = 0; p < trace->producer_count; p++) {
        if (parent[p] == p) {
            set->groups[set->group_count].producer = p;
            group_of_producer[p] = set->group_count++;
        }
    }
    for (size_t a = 0; a < trace->atom_count; a++) { /* roots are in order of first atoms */
        size_t g;
        if (trace->atoms[a].parent != a || first_producer[a] == SIZE_MAX) {
            continue;
        }
        g = group_of_producer[find_group(parent, first_producer[a])];
        set->group_of[a] = g;
        set->slot_of[a] = set->groups[g].count++;
        set->class_count++;
    }
    for (size_t g = 0; g < set->group_count; g++) {
        vqc_channel_group *group = &set->groups[g];
        group->classes = vqc_arena_calloc(set->arena, group->count + 1, sizeof *group->classes);
        group->cost = vqc_arena_calloc(set->arena, group->count + 1, sizeof *group->cost);
        if (group->classes == NULL || group->cost == NULL) {
            return vqc_fail_memory(error, group->count * sizeof *group->cost);
        }
        count_indices(set, g);
    }
    for (size_t a = 0; a < trace->atom_count; a++) {
        if (set->group_of[a] != SIZE_MAX) {
            set->groups[set->group_of[a]].classes[set->slot_of[a]] = (uint32_t)a;
        }
    }
    return VQC_OK;
}

vqc_status vqc_channel_set_create(vqc_trace *trace, vqc_channel_set **out, vqc_error *error)
{
    vqc_channel_set *set = calloc(1, sizeof *set);
    size_t *first_producer = malloc((trace->atom_count + 1) * sizeof *first_producer);
    size_t *parent = malloc((trace->producer_count + 1) * sizeof *parent);
    vqc_status status = VQC_OK;

    *out = NULL;
    if (set != NULL) {
        set->trace = trace;
        set->arena = vqc_arena_create();
    }
    if (set != NULL && set->arena != NULL) {
        set->group_of = vqc_arena_calloc(set->arena, trace->atom_count + 1, sizeof(size_t));
        set->slot_of = vqc_arena_calloc(set->arena, trace->atom_count + 1, sizeof(size_t));
    }
    if (set == NULL || set->arena == NULL || set->group_of == NULL || set->slot_of == NULL ||
        first_producer == NULL || parent == NULL) {
        status = vqc_fail_memory(error, trace->atom_count * sizeof(size_t));
    } else {
        for (size_t a = 0; a < trace->atom_count; a++) {
            first_producer[a] = set->group_of[a] = SIZE_MAX;
        }
        join_producers(trace, first_producer, parent);
        status = build_groups(set, first_producer, parent, error);
    }
    free(first_producer);
    free(parent);
    if (status != VQC_OK) {
        vqc_channel_set_destroy(&set);
    }
    *out = set;
    return status;
}

void vqc_channel_set_destroy(vqc_channel_set **set)
{
    if (*set != NULL) {
        vqc_arena_destroy(&(*set)->arena);
        free(*set);
        *set = NULL;
    }
}

typedef struct sortable {
    double score;
    uint32_t root;
} sortable;

static int compare_scores(const void *a, const void *b)
{
    const sortable *x = a;
    const sortable *y = b;

    if (x->score != y->score) {
        return x->score < y->score ? -1 : 1;
    }
    return x->root < y->root ? -1 : x->root > y->root ? 1 : 0;
}

vqc_status vqc_channel_group_sort(vqc_channel_group *group, const double *score, vqc_error *error)
{
    sortable *items = calloc(group->count + 1, sizeof *items);

    if (items == NULL) {
        return vqc_fail_memory(error, group->count * sizeof *items);
    }
    for (size_t i = 0; i < group->count; i++) {
        items[i] = (sortable){.score = score[i], .root = group->classes[i]};
    }
    qsort(items, group->count, sizeof *items, compare_scores);
    for (size_t i = 0; i < group->count; i++) {
        group->classes[i] = items[i].root;
        group->cost[i] = items[i].score;
    }
    free(items);
    return VQC_OK;
}

/* ---- choosing ---- */

/* The most classes that a group may lose, and the number that is nearest below `wanted`. */
static size_t allowed(const vqc_channel_group *group, const vqc_channel_options *options,
                      size_t wanted)
{
    size_t least = options->min_channels > 2 ? options->min_channels : 2;
    size_t multiple = options->multiple_of > 1 ? options->multiple_of : 1;

    wanted = wanted > group->count ? group->count : wanted;
    while (wanted > 0) {
        size_t left = group->fixed + (group->count - wanted) * group->indices;
        if (left >= least && left % multiple == 0) {
            return wanted;
        }
        wanted--;
    }
    return 0;
}

static void choose_per_layer(vqc_channel_set *set, const vqc_channel_options *options, double share)
{
    for (size_t g = 0; g < set->group_count; g++) {
        double wanted = share * (double)set->groups[g].count;
        set->groups[g].removed = allowed(&set->groups[g], options, (size_t)(wanted + 0.5));
    }
}

/* The cheapest next class of any group, until the share is reached; then the counts are rounded. */
static void choose_global(vqc_channel_set *set, const vqc_channel_options *options, double share)
{
    size_t wanted = (size_t)(share * (double)set->class_count + 0.5);

    for (size_t g = 0; g < set->group_count; g++) {
        set->groups[g].removed = 0;
    }
    for (size_t n = 0; n < wanted; n++) {
        vqc_channel_group *best = NULL;
        for (size_t g = 0; g < set->group_count; g++) {
            vqc_channel_group *group = &set->groups[g];
            if (group->removed < group->count &&
                group->fixed + (group->count - group->removed - 1) * group->indices >= 2 &&
                (best == NULL || group->cost[group->removed] < best->cost[best->removed])) {
                best = group;
            }
        }
        if (best == NULL) {
            break;
        }
        best->removed++;
    }
    for (size_t g = 0; g < set->group_count; g++) {
        set->groups[g].removed = allowed(&set->groups[g], options, set->groups[g].removed);
    }
}

/* Gives back a class, and as many more of its group as the rounding needs. */
static void give_back(vqc_channel_set *set, const vqc_channel_options *options, uint32_t root,
                      bool *removed)
{
    vqc_channel_group *group = &set->groups[set->group_of[root]];
    size_t place = 0;
    size_t keep;

    while (place < group->removed && group->classes[place] != root) {
        place++;
    }
    keep = allowed(group, options, group->removed > 0 ? group->removed - 1 : 0);
    if (place < keep) { /* it changes places with the last one that stays removed */
        uint32_t other = group->classes[keep];
        group->classes[keep] = root;
        group->classes[place] = other;
    }
    for (size_t i = keep; i < group->removed; i++) {
        removed[group->classes[i]] = false;
    }
    group->removed = keep;
}

/* No axis becomes shorter than 2: nodes with a fixed idea of 1 (Squeeze, broadcasting) stay right.
 */
static void mend_axes(vqc_channel_set *set, const vqc_channel_options *options, bool *removed)
{
    const vqc_trace *trace = set->trace;
    bool again = true;

    while (again) {
        again = false;
        for (size_t v = 0; v < trace->value_count; v++) {
            for (int a = 0; a < trace->values[v].rank; a++) {
                const vqc_trace_labels *labels = trace->values[v].labels[a];
                if (labels == NULL || vqc_trace_kept(trace, labels, removed) >= 2) {
                    continue;
                }
                for (size_t i = labels->count; i-- > 0;) {
                    uint32_t root = vqc_trace_find(trace, labels->atoms[i]);
                    if (removed[root]) {
                        give_back(set, options, root, removed);
                        again = true;
                        break;
                    }
                }
            }
        }
    }
}

void vqc_channel_set_select(vqc_channel_set *set, const vqc_channel_options *options, double share,
                            bool *removed)
{
    memset(removed, 0, set->trace->atom_count * sizeof *removed);
    if (options->scope == VQC_CHANNELS_GLOBAL) {
        choose_global(set, options, share);
    } else {
        choose_per_layer(set, options, share);
    }
    for (size_t g = 0; g < set->group_count; g++) {
        for (size_t i = 0; i < set->groups[g].removed; i++) {
            removed[set->groups[g].classes[i]] = true;
        }
    }
    mend_axes(set, options, removed);
}

/* ---- magnitude ---- */

/* energy[n] += squares of a constant expression along one axis. */
static vqc_status axis_energy(const vqc_trace *trace, size_t value, int axis, double *energy,
                              vqc_error *error)
{
    vqc_buffer *buffer = NULL;
    vqc_chunk chunk;
    size_t inner = 1;
    vqc_status status =
        vqc_exec_constant(trace->graph, trace->values[value].value, NULL, &buffer, error);

    if (status != VQC_OK) {
        return status;
    }
    for (size_t a = (size_t)axis + 1; a < buffer->rank; a++) {
        inner *= (size_t)buffer->dims[a];
    }
    for (size_t at = 0; at < buffer->elements; at += VQC_EXEC_CHUNK) {
        size_t n = buffer->elements - at < VQC_EXEC_CHUNK ? buffer->elements - at : VQC_EXEC_CHUNK;
        vqc_element_load(buffer->dtype, buffer->data + at * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, vqc_class_of(buffer->dtype), VQC_CLASS_F64, n);
        for (size_t i = 0; i < n; i++) {
            size_t index = (at + i) / inner % (size_t)buffer->dims[axis];
            energy[index] += chunk.f64[i] * chunk.f64[i];
        }
    }
    vqc_buffer_destroy(&buffer);
    return VQC_OK;
}

/* Adds what lies along `labels` to the classes: score[root]. */
static void spread(const vqc_trace *trace, const vqc_trace_labels *labels, const double *energy,
                   double *score)
{
    for (size_t i = 0; i < labels->count; i++) {
        score[vqc_trace_find(trace, labels->atoms[i])] += energy[i];
    }
}

static vqc_status weigh(vqc_channel_set *set, double *made, double *read, vqc_error *error)
{
    const vqc_trace *trace = set->trace;
    vqc_status status = VQC_OK;

    for (size_t p = 0; p < trace->producer_count && status == VQC_OK; p++) {
        const vqc_trace_producer *producer = &trace->producers[p];
        double *energy = calloc(producer->labels->count + 1, sizeof *energy);
        vqc_error ignored;
        if (energy == NULL) {
            return vqc_fail_memory(error, producer->labels->count * sizeof *energy);
        }
        if (axis_energy(trace, producer->weight, producer->axis, energy, &ignored) == VQC_OK) {
            spread(trace, producer->labels, energy, made);
        }
        free(energy);
    }
    for (size_t k = 0; k < trace->consumer_count && status == VQC_OK; k++) {
        const vqc_trace_consumer *consumer = &trace->consumers[k];
        double *energy = calloc(consumer->labels->count + 1, sizeof *energy);
        vqc_error ignored;
        if (energy == NULL) {
            return vqc_fail_memory(error, consumer->labels->count * sizeof *energy);
        }
        if (vqc_channel_gram(trace, consumer, true, energy, &ignored) == VQC_OK) {
            spread(trace, consumer->labels, energy, read);
        }
        free(energy);
    }
    return status;
}

vqc_status vqc_channel_score_magnitude(vqc_channel_set *set, vqc_error *error)
{
    size_t atoms = set->trace->atom_count;
    double *made = calloc(atoms * 3 + 1, sizeof *made);
    double *read = made == NULL ? NULL : made + atoms;
    double *score = made == NULL ? NULL : made + 2 * atoms;
    vqc_status status =
        made == NULL ? vqc_fail_memory(error, atoms * sizeof *made) : weigh(set, made, read, error);

    for (size_t g = 0; g < set->group_count && status == VQC_OK; g++) {
        vqc_channel_group *group = &set->groups[g];
        double total = 0.0;
        for (size_t i = 0; i < group->count; i++) {
            uint32_t root = group->classes[i];
            score[i] = made[root] * (read[root] > 0.0 ? read[root] : 1.0);
            score[i] = isfinite(score[i]) ? score[i] : (double)HUGE_VALF;
            total += score[i];
        }
        for (size_t i = 0; i < group->count && total > 0.0; i++) {
            score[i] /= total;
        }
        status = vqc_channel_group_sort(group, score, error);
    }
    free(made);
    return status;
}
