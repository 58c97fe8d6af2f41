/* Samples: threads and errors, arrays, tensors, labels, type changes, synthetic numbers. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/npz.h"
#include "formats/samples_open.h"
#include "formats/tensor_pb.h"

static char folder[] = "/tmp/vqc-samples-XXXXXX";
static char path[128];
static vqc_messages problems;
static vqc_error error;

static void setup(void)
{
    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/a.npz", folder);
}

static void teardown(void)
{
    char command[128];

    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
    vqc_messages_clear(&problems);
}

TestSuite(samples, .init = setup, .fini = teardown);

/* ---- vqc_samples_for_each ---- */

typedef struct counting {
    vqc_samples samples;
    atomic_int reading;  /* reads going on */
    atomic_int most;     /* at a time */
    atomic_size_t reads; /* in total */
    atomic_size_t last;  /* index of the last read + 1 */
    atomic_int backward; /* reads that were not in order */
    atomic_int held;     /* not released */
} counting;

static vqc_status count_read(vqc_samples *self, size_t index, size_t slot, vqc_sample *out,
                             vqc_error *bad)
{
    counting *all = self->state;
    int now = atomic_fetch_add(&all->reading, 1) + 1;

    (void)slot;
    (void)bad;
    if (now > atomic_load(&all->most)) {
        atomic_store(&all->most, now);
    }
    if (index + 1 <= atomic_exchange(&all->last, index + 1)) {
        atomic_fetch_add(&all->backward, 1);
    }
    *out = (vqc_sample){.index = index};
    atomic_fetch_add(&all->reads, 1);
    atomic_fetch_add(&all->held, 1);
    atomic_fetch_sub(&all->reading, 1);
    return index == 77 ? vqc_fail(bad, VQC_ERR_IO, "cannot read 77") : VQC_OK;
}

static void count_release(vqc_samples *self, size_t slot)
{
    counting *all = self->state;

    (void)slot;
    atomic_fetch_sub(&all->held, 1);
}

static vqc_status mark(void *context, size_t slot, const vqc_sample *sample, vqc_error *bad)
{
    atomic_int *seen = context;

    (void)slot;
    atomic_fetch_add(&seen[sample->index], 1);
    return sample->index % 10 == 3 && sample->index >= 33
               ? vqc_fail(bad, VQC_ERR_MODEL, "bad sample %zu", sample->index)
               : VQC_OK;
}

static counting make_counting(size_t count, bool sequential)
{
    return (counting){.samples = {.count = count,
                                  .sequential = sequential,
                                  .read = count_read,
                                  .release = count_release}};
}

Test(samples, every_sample_once_and_in_steps)
{
    for (int sequential = 0; sequential < 2; sequential++) {
        counting all = make_counting(32, sequential == 1);
        atomic_int seen[32] = {0};
        all.samples.state = &all;
        cr_assert_eq(vqc_samples_for_each(&all.samples, 1, 3, 30, 4, mark, seen, &error), VQC_OK);
        for (size_t i = 0; i < 32; i++) {
            cr_expect_eq(seen[i], i >= 1 && i < 30 && i % 3 == 1, "%zu", i);
        }
        cr_expect_eq(all.reads, 10);
        cr_expect_eq(all.held, 0);
        cr_expect(sequential == 0 || (all.most == 1 && all.backward == 0));
        cr_assert_eq(vqc_samples_for_each(&all.samples, 40, 1, 99, 4, mark, seen, &error), VQC_OK);
        cr_assert_eq(vqc_samples_for_each(&all.samples, 0, 0, 99, 0, mark, seen, &error), VQC_OK);
        cr_expect_eq(all.reads, 42);
    }
}

Test(samples, the_error_of_the_lowest_sample_is_returned)
{
    for (int run = 0; run < 20; run++) {
        counting all = make_counting(200, run % 2 == 1);
        atomic_int seen[200] = {0};
        all.samples.state = &all;
        error = (vqc_error){VQC_OK, ""};
        cr_assert_eq(vqc_samples_for_each(&all.samples, 0, 1, 200, 8, mark, seen, &error),
                     VQC_ERR_MODEL);
        cr_expect_str_eq(error.message, "bad sample 33");
        cr_expect_eq(error.code, VQC_ERR_MODEL);
        cr_expect_eq(all.held, 0);
        cr_expect_eq(seen[199], 0);
        all.held = 0;
        cr_assert_eq(vqc_samples_for_each(&all.samples, 77, 10, 200, 2, mark, seen, &error),
                     VQC_ERR_IO);
        cr_expect_str_eq(error.message, "cannot read 77");
    }
}

/* ---- arrays ---- */

static const vqc_program_port image_port = {
    .name = "x", .dtype = VQC_DTYPE_FLOAT, .rank = 2, .dims = {-1, 3}, .dim_names = {"batch"}};
static const vqc_program_port step_port = {.name = "step", .dtype = VQC_DTYPE_INT64, .rank = 0};

static vqc_array make_array(const char *name, vqc_dtype dtype, const int64_t *dims, size_t rank,
                            void *data)
{
    vqc_array array = {.name = (char *)(uintptr_t)name,
                       .dtype = dtype,
                       .dims = (int64_t *)(uintptr_t)dims,
                       .rank = rank,
                       .data = data};
    cr_assert(vqc_npy_array_bytes(dtype, dims, rank, &array.size_bytes));
    return array;
}

static vqc_samples *open_path(const char *where, const vqc_program_port *ports, size_t count,
                              vqc_status wanted)
{
    vqc_samples_request request = {.path = where};
    vqc_samples *samples = NULL;
    vqc_status status = vqc_samples_open(&request, ports, count, &samples, &problems, &error);

    cr_assert_eq(status, wanted, "%d: %s", (int)status, error.message);
    cr_assert_eq(samples != NULL, wanted == VQC_OK);
    return samples;
}

static void expect_problem(size_t index, const char *text)
{
    cr_assert_gt(problems.count, index);
    cr_expect_not_null(strstr(problems.items[index], text), "\"%s\" is not in \"%s\"", text,
                       problems.items[index]);
}

Test(samples, npz_along_batch_axis_and_leading_axis)
{
    double x[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    int32_t step[4] = {100, 101, 102, 103};
    uint8_t labels[4] = {7, 8, 9, 200};
    float target[8] = {0, .5f, 1, 1.5f, 2, 2.5f, 3, 3.5f};
    const int64_t flat[] = {4, 3};
    const int64_t leading[] = {4, 1, 3};
    const int64_t four[] = {4};
    const int64_t two[] = {4, 2};
    const vqc_program_port ports[2] = {image_port, step_port};

    for (int form = 0; form < 4; form++) {
        vqc_array arrays[4] = {
            make_array("x", VQC_DTYPE_DOUBLE, form < 2 ? flat : leading, form < 2 ? 2 : 3, x),
            make_array("step", VQC_DTYPE_INT32, four, 1, step),
            make_array("labels", VQC_DTYPE_UINT8, four, 1, labels),
            make_array("target", VQC_DTYPE_FLOAT, two, 2, target)};
        vqc_npz_method method = form % 2 == 0 ? VQC_NPZ_STORED : VQC_NPZ_DEFLATED;
        vqc_samples *samples;
        cr_assert_eq(vqc_npz_write(path, arrays, 4, method, &error), VQC_OK);
        samples = open_path(path, ports, 2, VQC_OK);
        cr_assert_eq(samples->count, 4);
        cr_expect(samples->has_labels && !samples->is_synthetic);
        cr_expect_eq(samples->sequential, form % 2 == 1);
        /* two passes, the second one with gaps */
        for (size_t i = 0; i < 7; i += i < 4 ? 1 : 2) {
            size_t index = i < 4 ? i : i - 3;
            vqc_sample sample = {0};
            cr_assert_eq(samples->read(samples, index, 1, &sample, &error), VQC_OK, "%s",
                         error.message);
            cr_expect_eq(sample.index, index);
            cr_expect_eq(sample.inputs[0]->rank, 2);
            cr_expect_eq(sample.inputs[0]->dims[0], 1);
            cr_expect_eq(sample.inputs[0]->dtype, VQC_DTYPE_FLOAT);
            for (size_t k = 0; k < 3; k++) {
                float value;
                memcpy(&value, sample.inputs[0]->data + 4 * k, sizeof value);
                cr_expect_eq(value, (float)(3 * index + k));
            }
            cr_expect_eq(sample.inputs[1]->rank, 0);
            cr_expect_eq(sample.inputs[1]->dtype, VQC_DTYPE_INT64);
            cr_expect_eq(*(const int64_t *)(const void *)sample.inputs[1]->data,
                         100 + (int64_t)index);
            cr_expect_eq(sample.label_count, 1);
            cr_expect_eq(sample.labels[0], labels[index]);
            cr_expect_eq(sample.target->elements, 2);
            cr_expect_eq(((const float *)(const void *)sample.target->data)[1],
                         target[2 * index + 1]);
            samples->release(samples, 1);
        }
        vqc_samples_destroy(&samples);
        cr_assert_null(samples);
    }
}

Test(samples, a_fixed_batch_takes_groups_and_max_samples_spreads)
{
    float x[30];
    const int64_t dims[] = {10, 3};
    vqc_program_port port = image_port;
    vqc_samples_request request = {.path = path, .max_samples = 2};
    vqc_array array = make_array("x", VQC_DTYPE_FLOAT, dims, 2, x);
    vqc_samples *samples = NULL;
    vqc_sample sample = {0};

    for (size_t i = 0; i < 30; i++) {
        x[i] = (float)i;
    }
    port.dims[0] = 2;
    cr_assert_eq(vqc_npz_write(path, &array, 1, VQC_NPZ_STORED, &error), VQC_OK);
    cr_assert_eq(vqc_samples_open(&request, &port, 1, &samples, &problems, &error), VQC_OK);
    cr_assert_eq(samples->count, 2); /* of the groups 0..4: 0 and 2 */
    cr_assert_eq(samples->read(samples, 1, 0, &sample, &error), VQC_OK);
    cr_expect_eq(sample.inputs[0]->dims[0], 2);
    cr_expect_eq(((const float *)(const void *)sample.inputs[0]->data)[5], 17.0f);
    vqc_samples_destroy(&samples);
    port.dims[0] = 4;
    samples = open_path(path, &port, 1, VQC_ERR_MODEL);
    expect_problem(0, "got float32 [10,3], expected float32 [4,3], with samples in groups");
}

Test(samples, all_problems_at_once)
{
    float x[8] = {0};
    const int64_t wide[] = {2, 4};
    const int64_t two[] = {2};
    vqc_array arrays[3] = {make_array("x", VQC_DTYPE_FLOAT, wide, 2, x),
                           make_array("foo", VQC_DTYPE_FLOAT, wide, 2, x),
                           make_array("step", VQC_DTYPE_FLOAT, two, 1, x)};
    vqc_program_port ports[4] = {image_port, step_port, image_port, image_port};

    ports[2].name = "missing";
    ports[3].name = "optional";
    ports[3].has_default = true;
    cr_assert_eq(vqc_npz_write(path, arrays, 3, VQC_NPZ_DEFLATED, &error), VQC_OK);
    (void)open_path(path, ports, 4, VQC_ERR_MODEL);
    cr_expect_eq(problems.count, 4);
    expect_problem(0, "input \"x\": got float32 [2,4], expected float32 [batch,3]");
    expect_problem(1, "input \"step\": got type float32 [2], expected int64 []");
    expect_problem(2, "input \"missing\" is missing, expected float32 [batch,3]");
    expect_problem(3, "\"foo\" is no input of the model; its inputs: \"x\", \"step\"");
    cr_expect_str_eq(error.message, problems.items[0]);
    vqc_messages_clear(&problems);
    (void)open_path("/nowhere/at all.npz", ports, 4, VQC_ERR_IO);
    expect_problem(0, "/nowhere/at all.npz: No such file");
}

Test(samples, values_that_do_not_fit_are_named)
{
    int64_t big[3] = {0, 16777217, 5};
    double huge[3] = {1.0, -1e300, (double)INFINITY};
    const int64_t dims[] = {1, 3};
    vqc_array array = make_array("x", VQC_DTYPE_INT64, dims, 2, big);
    vqc_sample sample = {0};
    vqc_samples *samples;

    cr_assert_eq(vqc_npz_write(path, &array, 1, VQC_NPZ_STORED, &error), VQC_OK);
    samples = open_path(path, &image_port, 1, VQC_OK);
    cr_assert_eq(samples->read(samples, 0, 0, &sample, &error), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "\"x\", sample 0: element 1 is 16777217 (int64), "
                                             "which float32 cannot hold exactly"),
                       "%s", error.message);
    vqc_samples_destroy(&samples);
    array = make_array("x", VQC_DTYPE_DOUBLE, dims, 2, huge);
    cr_assert_eq(vqc_npz_write(path, &array, 1, VQC_NPZ_STORED, &error), VQC_OK);
    samples = open_path(path, &image_port, 1, VQC_OK);
    cr_assert_eq(samples->read(samples, 0, 0, &sample, &error), VQC_ERR_MODEL);
    cr_expect_not_null(strstr(error.message, "element 1 is -1e+300"), "%s", error.message);
    vqc_samples_destroy(&samples);
}

/* ---- folders ---- */

Test(samples, a_folder_of_arrays_and_labels)
{
    float x[3] = {1, 2, 3};
    const int64_t dims[] = {1, 3};
    vqc_array array = make_array(NULL, VQC_DTYPE_FLOAT, dims, 2, x);
    vqc_samples_request request = {.path = folder, .labels = path, .label_offset = 1};
    vqc_samples *samples = NULL;
    vqc_sample sample = {0};
    FILE *file;

    for (int i = 0; i < 3; i++) {
        char name[160];
        (void)snprintf(name, sizeof name, "%s/%d.npy", folder, i);
        x[0] = (float)i;
        cr_assert_eq(vqc_npy_write(name, &array, &error), VQC_OK);
    }
    (void)snprintf(path, sizeof path, "%s/labels.csv", folder);
    file = fopen(path, "w");
    cr_assert_not_null(file);
    (void)fputs("id,label,file\r\n9,41,\"2.npy\"\r\n9,5,sub/0.npy\r\n", file);
    (void)fclose(file);
    cr_assert_eq(vqc_samples_open(&request, &image_port, 1, &samples, &problems, &error), VQC_OK,
                 "%s", error.message);
    cr_assert_eq(samples->count, 3);
    cr_assert_eq(samples->read(samples, 2, 0, &sample, &error), VQC_OK);
    cr_expect_eq(sample.labels[0], 42);
    cr_expect_eq(*(const float *)(const void *)sample.inputs[0]->data, 2.0f);
    cr_assert_eq(samples->read(samples, 1, 0, &sample, &error), VQC_OK);
    cr_expect_eq(sample.labels[0], VQC_SAMPLES_NO_LABEL);
    vqc_samples_destroy(&samples);
    file = fopen(path, "a");
    cr_assert_not_null(file);
    (void)fputs("1,x,1.npy\n1,3,gone.npy\n", file);
    (void)fclose(file);
    cr_assert_eq(vqc_samples_open(&request, &image_port, 1, &samples, &problems, &error),
                 VQC_ERR_MODEL);
    expect_problem(0, "labels.csv:4: expected a file and its class");
    expect_problem(1, "\"gone.npy\" is not in the folder");
}

Test(samples, test_data_sets_by_name_and_order)
{
    const int64_t dims[] = {1, 3};
    vqc_buffer *x = vqc_buffer_create(VQC_DTYPE_FLOAT, dims, 2);
    vqc_buffer *step = vqc_buffer_create(VQC_DTYPE_INT64, NULL, 0);
    const vqc_program_port ports[2] = {image_port, step_port};
    vqc_samples *samples;
    vqc_sample sample = {0};
    char name[200];

    for (int set = 0; set < 11; set++) {
        float values[3] = {(float)set, 2, 3};
        int64_t number = 10 * set;
        memcpy(x->data, values, sizeof values);
        memcpy(step->data, &number, sizeof number);
        (void)snprintf(name, sizeof name, "%s/test_data_set_%d", folder, set);
        cr_assert_eq(mkdir(name, 0755), 0);
        /* set 0 in the order of the inputs, the others by name and the other way round */
        (void)snprintf(name, sizeof name, "%s/test_data_set_%d/input_%d.pb", folder, set, set > 0);
        cr_assert_eq(vqc_tensor_pb_write(name, set > 0 ? "x" : "", x, &error), VQC_OK);
        (void)snprintf(name, sizeof name, "%s/test_data_set_%d/input_%d.pb", folder, set, set == 0);
        cr_assert_eq(vqc_tensor_pb_write(name, set > 0 ? "step" : "", step, &error), VQC_OK);
        (void)snprintf(name, sizeof name, "%s/test_data_set_%d/output_0.pb", folder, set);
        cr_assert_eq(vqc_tensor_pb_write(name, "y", x, &error), VQC_OK);
    }
    samples = open_path(folder, ports, 2, VQC_OK);
    cr_assert_eq(samples->count, 11);
    for (size_t i = 0; i < 11; i++) {
        cr_assert_eq(samples->read(samples, i, 0, &sample, &error), VQC_OK);
        cr_expect_eq(*(const float *)(const void *)sample.inputs[0]->data, (float)i);
        cr_expect_eq(*(const int64_t *)(const void *)sample.inputs[1]->data, (int64_t)(10 * i));
        cr_expect_eq(*(const float *)(const void *)sample.target->data, (float)i);
        samples->release(samples, 0);
    }
    vqc_samples_destroy(&samples);
    (void)snprintf(name, sizeof name, "%s/test_data_set_7/input_0.pb", folder);
    cr_assert_eq(unlink(name), 0);
    (void)open_path(folder, ports, 2, VQC_ERR_MODEL);
    expect_problem(0, "test_data_set_7: input \"step\" is missing, expected int64 []");
    vqc_buffer_destroy(&x);
    vqc_buffer_destroy(&step);
}

Test(samples, packed_types_survive_a_pb_file)
{
    const int64_t dims[] = {5};
    vqc_buffer *four = vqc_buffer_create(VQC_DTYPE_INT4, dims, 1);
    vqc_buffer *back = NULL;
    char *name = NULL;

    for (int i = 0; i < 5; i++) {
        four->data[i] = (unsigned char)(i - 3);
    }
    cr_assert_eq(vqc_tensor_pb_write(path, "four", four, &error), VQC_OK);
    cr_assert_eq(vqc_tensor_pb_read(path, &back, &name, &error), VQC_OK, "%s", error.message);
    cr_expect_str_eq(name, "four");
    cr_expect_eq(back->dtype, VQC_DTYPE_INT4);
    cr_expect_arr_eq(back->data, four->data, 5);
    free(name);
    vqc_buffer_destroy(&back);
    vqc_buffer_destroy(&four);
}

/* ---- synthetic ---- */

Test(samples, synthetic_numbers_are_normal_and_repeatable)
{
    const vqc_program_port ports[3] = {
        {.name = "a", .dtype = VQC_DTYPE_FLOAT, .rank = 2, .dims = {-1, 5000}},
        {.name = "b", .dtype = VQC_DTYPE_UINT8, .rank = 1, .dims = {-1}, .dim_names = {"n"}},
        {.name = "c", .dtype = VQC_DTYPE_INT32, .rank = 1, .dims = {1000}}};
    const vqc_samples_dim dim = {"n", 1000};
    vqc_samples_request request = {.path = "synthetic", .seed = 5, .dims = &dim, .dim_count = 1};
    vqc_samples *samples[2] = {NULL, NULL};
    vqc_sample one = {0};
    vqc_sample two = {0};
    double sum = 0.0;
    double square = 0.0;
    unsigned highest = 0;

    for (int i = 0; i < 2; i++) {
        cr_assert_eq(vqc_samples_open(&request, ports, 3, &samples[i], &problems, &error), VQC_OK,
                     "%s", error.message);
        cr_expect(samples[i]->is_synthetic);
    }
    cr_assert_eq(samples[0]->read(samples[0], 3, 0, &one, &error), VQC_OK);
    cr_assert_eq(samples[1]->read(samples[1], 3, 7, &two, &error), VQC_OK);
    cr_assert_eq(one.inputs[0]->elements, 5000);
    cr_assert_eq(one.inputs[1]->elements, 1000);
    for (int k = 0; k < 3; k++) {
        cr_expect_arr_eq(one.inputs[k]->data, two.inputs[k]->data,
                         one.inputs[k]->elements * one.inputs[k]->width);
    }
    for (size_t i = 0; i < 5000; i++) {
        double value = (double)((const float *)(const void *)one.inputs[0]->data)[i];
        sum += value;
        square += value * value;
    }
    cr_expect(fabs(sum / 5000.0) < 0.06 && fabs(square / 5000.0 - 1.0) < 0.08);
    for (size_t i = 0; i < 1000; i++) {
        int32_t value = ((const int32_t *)(const void *)one.inputs[2]->data)[i];
        cr_expect(value == 0 || value == 1);
        highest = one.inputs[1]->data[i] > highest ? one.inputs[1]->data[i] : highest;
    }
    cr_expect_gt(highest, 240u);
    vqc_samples_destroy(&samples[0]);
    vqc_samples_destroy(&samples[1]);
    request.dims = &(vqc_samples_dim){"m", 2};
    cr_assert_eq(vqc_samples_open(&request, ports, 3, &samples[0], &problems, &error),
                 VQC_ERR_USAGE);
    expect_problem(0, "no input has a free dimension called \"m\"");
}
