/* Tables of text that fit the terminal. */
#ifndef VQC_CLI_TABLE_H
#define VQC_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "cli/term.h"
#include "core/memory.h"

typedef struct vqc_column {
    const char *title;
    bool right;       /* aligned to the right: numbers */
    size_t shrink_to; /* columns to which long cells may be cut in their middle, before columns are
                         dropped; 0: never cut */
    int drop;         /* too narrow a terminal drops columns, highest first; 0: never */
} vqc_column;

typedef struct vqc_table vqc_table;

/* A table in `arena` with `columns` [count] (count <= 16; borrowed). Never NULL. */
vqc_table *vqc_table_create(vqc_arena *arena, const vqc_column *columns, size_t count);

/* Adds a row of cleaned texts [count] that stay valid; NULL cells are empty. */
void vqc_table_add(vqc_table *table, vqc_style style, const char *const *cells);

/* Adds a line between rows, above totals. */
void vqc_table_add_line(vqc_table *table);

/* Prints the table with two spaces before each line. Columns without any content are left out. */
void vqc_table_print(const vqc_table *table, FILE *stream, const vqc_term *term);

#endif
