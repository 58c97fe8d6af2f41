/* A piece of a model as a program of its own: some nodes, from kept values to kept values. */
#ifndef VQC_CORE_VQ_SEQUENCE_PIECE_H
#define VQC_CORE_VQ_SEQUENCE_PIECE_H

#include "core/vq/sequence_internal.h"

typedef struct vqc_sequence_piece {
    vqc_arena *arena;
    vqc_model model;
    vqc_graph *graph;
    vqc_program *program;
    vqc_runner **runners; /* [runner_count] */
    size_t runner_count;
} vqc_sequence_piece;

/*
 * Compiles nodes [node_count] of the original or the coded model with everything constant that they
 * read; inputs and outputs are values, the program's ports in this order. A zeroed piece is empty.
 * On failure the piece is cleared.
 */
vqc_status vqc_sequence_piece_make(vqc_sequence *self, bool coded, const size_t *nodes,
                                   size_t node_count, const size_t *inputs, size_t input_count,
                                   const size_t *outputs, size_t output_count, size_t runners,
                                   int threads, vqc_sequence_piece *piece, vqc_error *error);
void vqc_sequence_piece_clear(vqc_sequence_piece *piece);

#endif
