#include "cli/table.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

enum { COLUMNS_MAX = 16, GAP = 2, INDENT = 2, SHRINK_LAST = 12 };

typedef struct row {
    const char **cells; /* [count]; NULL: a line */
    vqc_style style;
} row;

struct vqc_table {
    vqc_arena *arena;
    const vqc_column *columns;
    size_t count;
    row *rows; /* [row_count] */
    size_t row_count;
    size_t capacity;
};

typedef struct layout {
    size_t widths[COLUMNS_MAX]; /* 0: left out */
    size_t natural[COLUMNS_MAX];
    size_t quarters[COLUMNS_MAX]; /* share of the start in a cut cell */
} layout;

vqc_table *vqc_table_create(vqc_arena *arena, const vqc_column *columns, size_t count)
{
    vqc_table *table = vqc_cli_check(vqc_arena_calloc(arena, 1, sizeof *table));
    *table = (vqc_table){.arena = arena, .columns = columns, .count = count};
    return table;
}

static row *new_row(vqc_table *table)
{
    if (table->row_count == table->capacity) {
        size_t capacity = table->capacity * 2 + 16;
        row *rows = vqc_cli_check(vqc_arena_calloc(table->arena, capacity, sizeof *rows));
        if (table->row_count > 0)
            memcpy(rows, table->rows, table->row_count * sizeof *rows);
        table->rows = rows;
        table->capacity = capacity;
    }
    return &table->rows[table->row_count++];
}

void vqc_table_add(vqc_table *table, vqc_style style, const char *const *cells)
{
    row *added = new_row(table);
    added->style = style;
    added->cells = vqc_cli_check(vqc_arena_calloc(table->arena, table->count, sizeof(char *)));
    for (size_t i = 0; i < table->count; i++)
        added->cells[i] = cells[i] != NULL ? cells[i] : "";
}

void vqc_table_add_line(vqc_table *table)
{
    *new_row(table) = (row){.cells = NULL, .style = VQC_STYLE_NONE};
}

static size_t total_width(const vqc_table *table, const layout *sizes)
{
    size_t total = INDENT;
    for (size_t i = 0; i < table->count; i++)
        if (sizes->widths[i] > 0)
            total += sizes->widths[i] + GAP;
    return total - GAP;
}

/* Takes room from the widest column that may be cut until everything fits or none may be cut
 * further. `bound` (>= 1) caps how wide a cuttable column may insist on being. */
static void shrink(const vqc_table *table, layout *sizes, size_t width, size_t bound)
{
    while (total_width(table, sizes) > width) {
        size_t widest = table->count;
        for (size_t i = 0; i < table->count; i++) {
            size_t least = table->columns[i].shrink_to;
            if (least > bound)
                least = bound;
            if (least > 0 && sizes->widths[i] > least &&
                (widest == table->count || sizes->widths[i] > sizes->widths[widest]))
                widest = i;
        }
        if (widest == table->count)
            return;
        sizes->widths[widest]--;
    }
}

static void lay_out(const vqc_table *table, size_t width, layout *sizes)
{
    memset(sizes, 0, sizeof *sizes);
    for (size_t r = 0; r < table->row_count; r++)
        for (size_t i = 0; i < table->count && table->rows[r].cells != NULL; i++) {
            size_t cell = vqc_text_width(table->rows[r].cells[i]);
            if (cell > sizes->natural[i])
                sizes->natural[i] = cell;
        }
    for (size_t i = 0; i < table->count; i++) {
        size_t title = vqc_text_width(table->columns[i].title);
        if (sizes->natural[i] > 0 && title > sizes->natural[i])
            sizes->natural[i] = title;
    }
    memcpy(sizes->widths, sizes->natural, sizeof sizes->widths);
    for (;;) {
        shrink(table, sizes, width, SIZE_MAX);
        if (total_width(table, sizes) <= width)
            return;
        size_t victim = table->count;
        for (size_t i = 0; i < table->count; i++)
            if (sizes->widths[i] > 0 && table->columns[i].drop > 0 &&
                (victim == table->count || table->columns[i].drop > table->columns[victim].drop))
                victim = i;
        if (victim == table->count) {
            shrink(table, sizes, width, SHRINK_LAST);
            return; /* the numbers stay whole, even when the lines wrap */
        }
        memcpy(sizes->widths, sizes->natural, sizeof sizes->widths);
        sizes->natural[victim] = 0;
        for (size_t i = 0; i < table->count; i++)
            sizes->widths[i] = sizes->natural[i];
    }
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* How many different texts a column shows when its cells are cut with this share for their start.
 */
static size_t count_distinct(const vqc_table *table, size_t column, size_t width, size_t quarters)
{
    vqc_arena *arena = vqc_cli_arena();
    char **texts = vqc_cli_check(vqc_arena_calloc(arena, table->row_count, sizeof *texts));
    size_t count = 0;
    for (size_t r = 0; r < table->row_count; r++)
        if (table->rows[r].cells != NULL)
            texts[count++] = vqc_text_cut(arena, table->rows[r].cells[column], width, quarters);
    qsort(texts, count, sizeof *texts, compare_texts);
    size_t distinct = count > 0;
    for (size_t i = 1; i < count; i++)
        distinct += strcmp(texts[i - 1], texts[i]) != 0;
    vqc_arena_destroy(&arena);
    return distinct;
}

/* Cuts cells where it leaves the most of them apart: layers often share both ends of their names.
 */
static void choose_cuts(const vqc_table *table, layout *sizes)
{
    static const size_t shares[] = {2, 1, 3, 0, 4};
    for (size_t i = 0; i < table->count; i++) {
        sizes->quarters[i] = shares[0];
        size_t best = 0;
        for (size_t s = 0; s < 5 && sizes->widths[i] < sizes->natural[i]; s++) {
            size_t distinct = count_distinct(table, i, sizes->widths[i], shares[s]);
            if (distinct > best) {
                best = distinct;
                sizes->quarters[i] = shares[s];
            }
        }
    }
}

static void print_cells(const vqc_table *table, const layout *sizes, const char *const *cells,
                        FILE *stream)
{
    size_t pending = INDENT; /* spaces owed: none are left at the end of a line */
    for (size_t i = 0; i < table->count; i++) {
        size_t width = sizes->widths[i];
        if (width == 0)
            continue;
        const char *cell = vqc_text_cut(table->arena, cells[i], width, sizes->quarters[i]);
        size_t padding = width - vqc_text_width(cell);
        if (table->columns[i].right)
            pending += padding;
        if (*cell != '\0') {
            fprintf(stream, "%*s%s", (int)pending, "", cell);
            pending = 0;
        } else {
            pending += table->columns[i].right ? 0 : padding;
            pending += GAP;
            continue;
        }
        pending += (table->columns[i].right ? 0 : padding) + GAP;
    }
}

void vqc_table_print(const vqc_table *table, FILE *stream, const vqc_term *term)
{
    layout sizes;
    lay_out(table, term->width, &sizes);
    choose_cuts(table, &sizes);
    const char *titles[COLUMNS_MAX];
    for (size_t i = 0; i < table->count; i++)
        titles[i] = table->columns[i].title;
    fputs(vqc_term_begin(term, VQC_STYLE_BOLD), stream);
    print_cells(table, &sizes, titles, stream);
    fprintf(stream, "%s\n", vqc_term_end(term, VQC_STYLE_BOLD));
    for (size_t r = 0; r < table->row_count; r++) {
        const row *now = &table->rows[r];
        if (now->cells == NULL) {
            fprintf(stream, "%*s", INDENT, "");
            for (size_t i = INDENT; i < total_width(table, &sizes); i++)
                fputc('-', stream);
        } else {
            fputs(vqc_term_begin(term, now->style), stream);
            print_cells(table, &sizes, now->cells, stream);
            fputs(vqc_term_end(term, now->style), stream);
        }
        fputc('\n', stream);
    }
}
