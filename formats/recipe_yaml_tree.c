#include "formats/recipe_yaml_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

typedef struct anchor {
    const char *name;
    vqc_yaml_node *node;
} anchor;

typedef struct tree_reader {
    vqc_yaml_context *context;
    yaml_parser_t parser;
    size_t set;
    anchor anchors[VQC_YAML_MAX_ANCHORS];
    size_t anchor_count;
} tree_reader;

/* A collection that is still open, and the key that waits for its value. */
typedef struct open_node {
    vqc_yaml_node *node;
    vqc_yaml_node *key;
    const char *anchor_name;
} open_node;

void vqc_yaml_problem_add(vqc_yaml_context *context, vqc_yaml_place place, const char *format, ...)
{
    char line[700];
    va_list args;

    if (context->problem_count < VQC_YAML_MAX_PROBLEMS) {
        vqc_yaml_problem *problem = &context->problems[context->problem_count];
        va_start(args, format);
        (void)vsnprintf(line, sizeof line, format, args);
        va_end(args);
        problem->place = place;
        problem->order = context->problem_count;
        problem->text = vqc_arena_strdup(context->arena, line);
        if (problem->text == NULL) {
            context->out_of_memory = true;
            return;
        }
    }
    context->problem_count++;
}

vqc_yaml_node *vqc_yaml_node_create(vqc_yaml_context *context, vqc_yaml_kind kind,
                                    vqc_yaml_place place)
{
    vqc_yaml_node *node;

    if (++context->node_count > VQC_YAML_MAX_NODES) {
        vqc_yaml_problem_add(context, place, "recipe too large: expected at most %d values",
                             (int)VQC_YAML_MAX_NODES);
        return NULL;
    }
    node = vqc_arena_calloc(context->arena, 1, sizeof *node);
    if (node == NULL) {
        context->out_of_memory = true;
        return NULL;
    }
    node->kind = kind;
    node->place = place;
    node->text = "";
    return node;
}

/* Room for one more pointer in an array whose capacity is always the next power of two (at least
 * 4). */
static vqc_yaml_node **grow(vqc_yaml_context *context, vqc_yaml_node **array, size_t count)
{
    vqc_yaml_node **grown;

    if (count != 0 && (count < 4 || (count & (count - 1)) != 0)) {
        return array;
    }
    grown = vqc_arena_calloc(context->arena, count == 0 ? 4 : 2 * count, sizeof(vqc_yaml_node *));
    if (grown == NULL) {
        context->out_of_memory = true;
    } else if (count > 0) {
        memcpy(grown, array, count * sizeof(vqc_yaml_node *));
    }
    return grown;
}

bool vqc_yaml_node_append(vqc_yaml_context *context, vqc_yaml_node *parent, vqc_yaml_node *key,
                          vqc_yaml_node *item)
{
    vqc_yaml_node **items = grow(context, parent->items, parent->length);

    if (items == NULL) {
        return false;
    }
    parent->items = items;
    if (parent->kind == VQC_YAML_MAP) {
        vqc_yaml_node **keys = grow(context, parent->keys, parent->length);
        if (keys == NULL) {
            return false;
        }
        parent->keys = keys;
        keys[parent->length] = key;
    }
    items[parent->length++] = item;
    return true;
}

size_t vqc_yaml_map_find(const vqc_yaml_node *map, const char *name, size_t length)
{
    for (size_t i = 0; i < map->length; i++) {
        if (map->keys[i]->length == length && memcmp(map->keys[i]->text, name, length) == 0) {
            return i;
        }
    }
    return map->length;
}

const vqc_yaml_node *vqc_yaml_map_get(const vqc_yaml_node *map, const char *name)
{
    size_t i;
    if (map == NULL || map->kind != VQC_YAML_MAP) {
        return NULL;
    }
    i = vqc_yaml_map_find(map, name, strlen(name));
    return i < map->length ? map->items[i] : NULL;
}

bool vqc_yaml_node_is_null(const vqc_yaml_node *node)
{
    return node->kind == VQC_YAML_SCALAR && node->plain &&
           (node->length == 0 || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

/* Bytes of the UTF-8 character at text (length > 0), 0 when it is not one or a C1 control. */
static size_t utf8_length(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t want = bytes[0] < 0x80                        ? 1
                  : bytes[0] >= 0xc2 && bytes[0] <= 0xdf ? 2
                  : (bytes[0] & 0xf0) == 0xe0            ? 3
                  : bytes[0] >= 0xf0 && bytes[0] <= 0xf4 ? 4
                                                         : 0;
    if (want > length) {
        return 0;
    }
    for (size_t i = 1; i < want; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return want == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0 ? 0 : want;
}

const char *vqc_yaml_text_show(const char *text, size_t length, size_t limit, char *out,
                               size_t size_bytes)
{
    size_t used = 0;
    size_t at = 0;

    /* 8 bytes of room: the longest character (\xNN or 4 bytes of UTF-8), "..." and the NUL. */
    while (at < length && at < limit && used + 8 <= size_bytes) {
        size_t step = utf8_length(text + at, length - at);
        unsigned char byte = (unsigned char)text[at];
        if (step == 0 || byte < 0x20 || byte == 0x7f) {
            (void)snprintf(out + used, size_bytes - used, "\\x%02X", byte);
            used += 4;
            at++;
        } else {
            memcpy(out + used, text + at, step);
            used += step;
            at += step;
        }
    }
    (void)snprintf(out + used, size_bytes - used, "%s", at < length ? "..." : "");
    return out;
}

const char *vqc_yaml_node_show(const vqc_yaml_node *node, char *text, size_t size_bytes)
{
    char shown[96];

    if (vqc_yaml_node_is_null(node)) {
        (void)snprintf(text, size_bytes, "nothing");
    } else if (node->kind == VQC_YAML_LIST) {
        (void)snprintf(text, size_bytes, "a list of %zu", node->length);
    } else if (node->kind == VQC_YAML_MAP) {
        (void)snprintf(text, size_bytes, "a mapping");
    } else {
        (void)snprintf(text, size_bytes, "\"%s\"",
                       vqc_yaml_text_show(node->text, node->length, 64, shown, sizeof shown));
    }
    return text;
}

static vqc_yaml_place place_of(const tree_reader *reader, yaml_mark_t mark)
{
    vqc_yaml_place place = {reader->set, mark.line + 1, mark.column + 1};
    return place;
}

/* Line and column of a byte offset, for the errors that libyaml gives no mark for. */
static vqc_yaml_place place_of_offset(const tree_reader *reader, const char *text, size_t length,
                                      size_t offset)
{
    vqc_yaml_place place = {reader->set, 1, 1};
    for (size_t i = 0; i < offset && i < length; i++) {
        if (text[i] == '\n') {
            place.line++;
            place.column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            place.column++;
        }
    }
    return place;
}

static void note_syntax_error(tree_reader *reader, const char *text, size_t length)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem != NULL ? parser->problem : "cannot be read";
    const char *hint = "";

    if (parser->error == YAML_MEMORY_ERROR) {
        reader->context->out_of_memory = true;
        return;
    }
    if (parser->error == YAML_READER_ERROR) {
        vqc_yaml_problem_add(
            reader->context, place_of_offset(reader, text, length, parser->problem_offset),
            "not valid YAML: %s; expected UTF-8 text without control characters", problem);
        return;
    }
    if (parser->context != NULL && strstr(parser->context, "an alias") != NULL) {
        hint = "; a value that starts with * needs quotes: \"*.weight\"";
    } else if (parser->problem_mark.index < length && text[parser->problem_mark.index] == '\t') {
        hint = "; YAML is indented with spaces, not tabs";
    }
    vqc_yaml_problem_add(reader->context, place_of(reader, parser->problem_mark),
                         "not valid YAML: %s%s%s%s", problem, parser->context != NULL ? " " : "",
                         parser->context != NULL ? parser->context : "", hint);
}

/* Keeps `node` under its anchor once it is complete: it can never contain itself. */
static bool keep_anchor(tree_reader *reader, const char *name, vqc_yaml_node *node)
{
    if (name == NULL) {
        return true;
    }
    if (reader->anchor_count == VQC_YAML_MAX_ANCHORS) {
        vqc_yaml_problem_add(reader->context, node->place, "too many anchors: expected at most %d",
                             (int)VQC_YAML_MAX_ANCHORS);
        return false;
    }
    reader->anchors[reader->anchor_count++] = (anchor){name, node};
    return true;
}

static vqc_yaml_node *find_alias(tree_reader *reader, const yaml_event_t *event)
{
    const char *name = (const char *)event->data.alias.anchor;
    char shown[96];

    for (size_t i = reader->anchor_count; i > 0; i--) { /* a later anchor hides an earlier one */
        if (strcmp(reader->anchors[i - 1].name, name) == 0) {
            return reader->anchors[i - 1].node;
        }
    }
    (void)vqc_yaml_text_show(name, strlen(name), 64, shown, sizeof shown);
    vqc_yaml_problem_add(reader->context, place_of(reader, event->start_mark),
                         "unknown alias *%s; a value that starts with * needs quotes: \"*%s\"",
                         shown, shown);
    return NULL;
}

/* A new node for a scalar or the start of a collection; its anchor's name in *anchor_name. */
static vqc_yaml_node *begin_node(tree_reader *reader, const yaml_event_t *event,
                                 const char **anchor_name)
{
    const yaml_char_t *tag = NULL;
    const yaml_char_t *name = NULL;
    vqc_yaml_kind kind = VQC_YAML_SCALAR;
    vqc_yaml_node *node;

    if (event->type == YAML_SCALAR_EVENT) {
        tag = event->data.scalar.tag;
        name = event->data.scalar.anchor;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        kind = VQC_YAML_LIST;
        tag = event->data.sequence_start.tag;
        name = event->data.sequence_start.anchor;
    } else {
        kind = VQC_YAML_MAP;
        tag = event->data.mapping_start.tag;
        name = event->data.mapping_start.anchor;
    }
    if (tag != NULL) {
        char shown[96];
        (void)vqc_yaml_text_show((const char *)tag, strlen((const char *)tag), 64, shown,
                                 sizeof shown);
        vqc_yaml_problem_add(
            reader->context, place_of(reader, event->start_mark),
            "YAML tag \"%s\" is not supported; a value that starts with ! needs quotes", shown);
        return NULL;
    }
    node = vqc_yaml_node_create(reader->context, kind, place_of(reader, event->start_mark));
    *anchor_name = NULL;
    if (node != NULL && name != NULL) {
        *anchor_name = vqc_arena_strdup(reader->context->arena, (const char *)name);
        reader->context->out_of_memory = reader->context->out_of_memory || *anchor_name == NULL;
    }
    if (node != NULL && kind == VQC_YAML_SCALAR) {
        node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        node->length = event->data.scalar.length;
        node->text =
            vqc_arena_strndup(reader->context->arena, (const char *)event->data.scalar.value,
                              event->data.scalar.length);
        reader->context->out_of_memory = reader->context->out_of_memory || node->text == NULL;
    }
    return reader->context->out_of_memory ? NULL : node;
}

/* Puts a node where the innermost open collection waits for one. A duplicate key is noted and its
 * value dropped, so that reading can go on. */
static bool place_node(tree_reader *reader, open_node *parent, vqc_yaml_node *node)
{
    vqc_yaml_context *context = reader->context;
    size_t found;

    if (parent->node->kind == VQC_YAML_LIST) {
        return vqc_yaml_node_append(context, parent->node, NULL, node);
    }
    if (parent->key == NULL) {
        char shown[96];
        if (node->kind != VQC_YAML_SCALAR) {
            vqc_yaml_problem_add(context, node->place, "got %s as a key, expected a name",
                                 vqc_yaml_node_show(node, shown, sizeof shown));
            return false;
        }
        parent->key = node;
        return true;
    }
    found = vqc_yaml_map_find(parent->node, parent->key->text, parent->key->length);
    if (found < parent->node->length) {
        char shown[96];
        vqc_yaml_problem_add(context, parent->key->place,
                             "duplicate key %s; the first is in line %zu",
                             vqc_yaml_node_show(parent->key, shown, sizeof shown),
                             parent->node->keys[found]->place.line);
    } else if (parent->node->length == VQC_YAML_MAX_KEYS) {
        vqc_yaml_problem_add(context, parent->key->place,
                             "too many keys in one mapping: expected at most %d",
                             (int)VQC_YAML_MAX_KEYS);
        return false;
    } else if (!vqc_yaml_node_append(context, parent->node, parent->key, node)) {
        return false;
    }
    parent->key = NULL;
    return true;
}

typedef struct tree_state {
    open_node open[VQC_YAML_MAX_DEPTH];
    size_t depth;
    vqc_yaml_node *root;
    bool ended; /* stream end reached */
} tree_state;

/* A complete node: into its parent, or it is the root. */
static bool take_node(tree_reader *reader, tree_state *state, vqc_yaml_node *node)
{
    if (state->depth > 0) {
        return place_node(reader, &state->open[state->depth - 1], node);
    }
    state->root = node;
    return true;
}

/* One event; false stops the reading (a problem was noted). */
static bool take_event(tree_reader *reader, tree_state *state, const yaml_event_t *event)
{
    const char *anchor_name = NULL;
    vqc_yaml_node *node;

    switch (event->type) {
    case YAML_STREAM_END_EVENT:
        state->ended = true;
        return true;
    case YAML_DOCUMENT_START_EVENT:
        if (state->root != NULL) {
            vqc_yaml_problem_add(reader->context, place_of(reader, event->start_mark),
                                 "a second document starts here; expected one recipe per file");
            return false;
        }
        return true;
    case YAML_ALIAS_EVENT:
        node = find_alias(reader, event);
        return node != NULL && take_node(reader, state, node);
    case YAML_SCALAR_EVENT:
        node = begin_node(reader, event, &anchor_name);
        return node != NULL && keep_anchor(reader, anchor_name, node) &&
               take_node(reader, state, node);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        if (state->depth == VQC_YAML_MAX_DEPTH) {
            vqc_yaml_problem_add(reader->context, place_of(reader, event->start_mark),
                                 "nested too deeply: expected at most %d levels",
                                 (int)VQC_YAML_MAX_DEPTH);
            return false;
        }
        node = begin_node(reader, event, &anchor_name);
        if (node == NULL) {
            return false;
        }
        state->open[state->depth++] = (open_node){node, NULL, anchor_name};
        return true;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        state->depth--;
        return keep_anchor(reader, state->open[state->depth].anchor_name,
                           state->open[state->depth].node) &&
               take_node(reader, state, state->open[state->depth].node);
    default: /* stream start, document end */
        return true;
    }
}

vqc_yaml_node *vqc_yaml_tree_parse(vqc_yaml_context *context, const char *text, size_t length,
                                   size_t set)
{
    tree_reader *reader = vqc_arena_calloc(context->arena, 1, sizeof *reader);
    tree_state state = {.depth = 0};
    bool going = true;

    if (reader == NULL || !yaml_parser_initialize(&reader->parser)) {
        context->out_of_memory = true;
        return NULL;
    }
    reader->context = context;
    reader->set = set;
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)text, length);
    while (going && !state.ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&reader->parser, &event)) {
            note_syntax_error(reader, text, length);
            going = false;
            break;
        }
        going = take_event(reader, &state, &event) && !context->out_of_memory;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&reader->parser);
    return going ? state.root : NULL;
}
