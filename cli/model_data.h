/* What `vqc run` and `vqc eval` share: a model made ready to run, and samples for it. */
#ifndef VQC_CLI_MODEL_DATA_H
#define VQC_CLI_MODEL_DATA_H

#include "core/data/samples.h"
#include "core/data/samples_request.h"
#include "core/exec/program.h"
#include "core/graph.h"
#include "core/model.h"

typedef struct vqc_ready_model {
    vqc_model *model;
    vqc_graph *graph;
    vqc_program *program;
} vqc_ready_model;

/* Reads and compiles `path`. What goes wrong is printed, also the list of operators that vqc cannot
 * run (VQC_ERR_MODEL). */
vqc_status vqc_ready_model_open(const char *path, vqc_ready_model *out);

/* Frees; accepts what vqc_ready_model_open left after an error. */
void vqc_ready_model_close(vqc_ready_model *ready);

/* Opens samples for the program's inputs; prints every problem, and a warning when they are
 * synthetic. */
vqc_status vqc_ready_samples_open(const vqc_ready_model *ready, const vqc_samples_request *request,
                                  vqc_samples **out);

/* Reads "resize=256,crop=224,order=bgr,mean=104:117:123" into options; prints what is wrong. */
bool vqc_args_image(const char *command, const char *text, vqc_image_options *options);

/* The part of a help text about --image. */
#define VQC_IMAGE_HELP                                                                             \
    "Pictures (a folder of PNG and JPEG files) go through --image KEY=VALUE,..., in this order:\n" \
    "  resize=256        short side to 256 pixels; resize=224x320: height x width\n"               \
    "  filter=bilinear   with antialiasing (the default), or nearest\n"                            \
    "  crop=224          the middle; crop=224x320: height x width\n"                               \
    "  order=rgb         channels rgb (the default) or bgr\n"                                      \
    "  layout=nchw       or nhwc (default: what the model's input looks like)\n"                   \
    "  mean=M,scale=S    y = (x - mean) * scale, x in 0..255; one number, or three with colons\n"  \
    "                    in the order of the channels: mean=104:117:123; std=S is scale 1/S\n"

#endif
