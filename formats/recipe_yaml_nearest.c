#include <string.h>

#include "formats/recipe_yaml_read.h"

enum { MAX_WORD = 32 };

static char folded(char c)
{
    return (char)(c == '-' ? '_' : c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

/* Edits (insert, delete, replace, swap of neighbours) between two words of at most MAX_WORD bytes:
 * optimal string alignment distance. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][MAX_WORD + 1];

    for (size_t j = 0; j <= b_length; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t *row = rows[i % 3];
        const size_t *up = rows[(i + 2) % 3];
        const size_t *up2 = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            size_t best = up[j - 1] + (a[i - 1] != b[j - 1] ? 1 : 0);
            best = up[j] + 1 < best ? up[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                up2[j - 2] + 1 < best) {
                best = up2[j - 2] + 1;
            }
            row[j] = best;
        }
    }
    return rows[a_length % 3][b_length];
}

const char *vqc_recipe_nearest(const char *written, size_t length, const char *const *candidates,
                               size_t count)
{
    char word[MAX_WORD + 1] = "";
    size_t limit = length / 3 > 3 ? 3 : length / 3 < 1 ? 1 : length / 3;
    size_t best = limit + 1;
    const char *nearest = NULL;

    if (length < 2 || length > MAX_WORD || memchr(written, '\0', length) != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < length; i++) {
        word[i] = folded(written[i]);
    }
    for (size_t i = 0; i < count; i++) {
        size_t candidate_length = strlen(candidates[i]);
        size_t distance;
        if (candidate_length > MAX_WORD) {
            continue;
        }
        distance = edit_distance(word, length, candidates[i], candidate_length);
        if (distance < best && distance < candidate_length) {
            best = distance;
            nearest = candidates[i];
        }
    }
    for (size_t i = 0; nearest == NULL && length >= 3 && i < count; i++) {
        if (strlen(candidates[i]) >= 3 &&
            (strstr(word, candidates[i]) != NULL || strstr(candidates[i], word) != NULL)) {
            nearest = candidates[i];
        }
    }
    return nearest;
}
