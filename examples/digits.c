#include "examples/digits.h"

#include <math.h>
#include <string.h>

#include "examples/exact_math.h"

/* A point of a pen stroke in a box of 100 x 100, y downwards, and what the pen does there. */
typedef enum pen { CURVE, CORNER, LIFT, CLOSE, STOP } pen;

typedef struct glyph_point {
    int8_t x;
    int8_t y;
    uint8_t pen; /* CURVE goes on smoothly, CORNER breaks the curve, LIFT ends the stroke, CLOSE
                    joins it to its first point, STOP also ends the glyph */
} glyph_point;

enum {
    MAX_POINTS = 20,
    MAX_VARIANTS = 4,
    STEPS = 5, /* line segments per pair of points */
    MAX_SEGMENTS = 2 * MAX_POINTS * STEPS
};

typedef struct glyph {
    glyph_point points[MAX_POINTS];
} glyph;

static const struct {
    uint32_t count;
    glyph variants[MAX_VARIANTS];
} glyphs[10] = {
    /* 0: oval; narrow oval; drawn from the top with overlap; with a slash */
    {4,
     {{{{50, 0, 0},
        {25, 14, 0},
        {16, 50, 0},
        {25, 86, 0},
        {50, 100, 0},
        {75, 86, 0},
        {84, 50, 0},
        {75, 14, CLOSE},
        {0, 0, STOP}}},
      {{{54, 0, 0},
        {36, 15, 0},
        {28, 52, 0},
        {34, 86, 0},
        {50, 100, 0},
        {66, 84, 0},
        {73, 46, 0},
        {68, 13, CLOSE},
        {0, 0, STOP}}},
      {{{64, 8, 0},
        {38, 4, 0},
        {18, 42, 0},
        {26, 88, 0},
        {56, 98, 0},
        {80, 66, 0},
        {78, 24, 0},
        {56, 2, 0},
        {42, 12, STOP}}},
      {{{50, 0, 0},
        {25, 14, 0},
        {16, 50, 0},
        {25, 86, 0},
        {50, 100, 0},
        {75, 86, 0},
        {84, 50, 0},
        {75, 14, CLOSE},
        {74, 12, 0},
        {26, 88, STOP}}}}},
    /* 1: a stroke; with a flag; with flag and foot */
    {3,
     {{{{50, 0, 0}, {50, 50, 0}, {50, 100, STOP}}},
      {{{30, 24, 0}, {44, 12, 0}, {54, 0, CORNER}, {54, 50, 0}, {54, 100, STOP}}},
      {{{32, 20, 0}, {52, 2, CORNER}, {52, 50, 0}, {52, 98, LIFT}, {26, 99, 0}, {78, 99, STOP}}}}},
    /* 2: with a foot; with a loop; angular */
    {3,
     {{{{20, 26, 0},
        {32, 6, 0},
        {56, 0, 0},
        {77, 17, 0},
        {70, 44, 0},
        {44, 74, 0},
        {18, 99, CORNER},
        {50, 99, 0},
        {84, 98, STOP}}},
      {{{20, 20, 0},
        {44, 0, 0},
        {74, 14, 0},
        {68, 46, 0},
        {42, 80, 0},
        {22, 97, 0},
        {18, 84, 0},
        {36, 80, 0},
        {60, 96, 0},
        {86, 92, STOP}}},
      {{{22, 12, 0},
        {50, 0, 0},
        {74, 14, 0},
        {66, 42, CORNER},
        {20, 98, CORNER},
        {82, 98, STOP}}}}},
    /* 3: round; flat top; one sweep */
    {3,
     {{{{22, 13, 0},
        {46, 0, 0},
        {72, 11, 0},
        {70, 36, 0},
        {44, 47, CORNER},
        {74, 58, 0},
        {80, 80, 0},
        {54, 100, 0},
        {20, 88, STOP}}},
      {{{22, 2, CORNER},
        {76, 2, CORNER},
        {46, 42, CORNER},
        {76, 54, 0},
        {80, 80, 0},
        {50, 100, 0},
        {18, 88, STOP}}},
      {{{24, 8, 0},
        {58, 0, 0},
        {72, 20, 0},
        {52, 44, 0},
        {48, 48, 0},
        {76, 66, 0},
        {68, 94, 0},
        {38, 100, 0},
        {18, 90, STOP}}}}},
    /* 4: open; closed in one stroke; rounded open */
    {3,
     {{{{32, 0, 0}, {26, 32, 0}, {18, 62, CORNER}, {86, 62, LIFT}, {66, 30, 0}, {64, 100, STOP}}},
      {{{64, 100, 0}, {64, 0, CORNER}, {14, 68, CORNER}, {86, 68, STOP}}},
      {{{24, 4, 0},
        {22, 36, 0},
        {40, 54, 0},
        {70, 46, LIFT},
        {75, 0, 0},
        {72, 50, 0},
        {66, 100, STOP}}}}},
    /* 5: in one stroke; hat drawn last; like an S */
    {3,
     {{{{78, 2, CORNER},
        {30, 2, CORNER},
        {24, 44, CORNER},
        {52, 36, 0},
        {78, 54, 0},
        {74, 86, 0},
        {46, 100, 0},
        {18, 90, STOP}}},
      {{{32, 4, 0},
        {28, 42, CORNER},
        {58, 38, 0},
        {80, 66, 0},
        {62, 95, 0},
        {20, 94, LIFT},
        {32, 4, 0},
        {82, 2, STOP}}},
      {{{76, 6, 0},
        {48, 1, 0},
        {28, 20, 0},
        {42, 42, 0},
        {70, 58, 0},
        {72, 86, 0},
        {46, 100, 0},
        {20, 92, STOP}}}}},
    /* 6: round; straight back; wide loop */
    {3,
     {{{{68, 2, 0},
        {38, 22, 0},
        {20, 62, 0},
        {34, 96, 0},
        {64, 95, 0},
        {78, 73, 0},
        {60, 52, 0},
        {34, 58, 0},
        {22, 74, STOP}}},
      {{{58, 0, 0},
        {34, 44, 0},
        {22, 80, 0},
        {46, 100, 0},
        {72, 84, 0},
        {64, 60, 0},
        {42, 58, 0},
        {24, 76, STOP}}},
      {{{76, 8, 0},
        {48, 4, 0},
        {22, 34, 0},
        {20, 76, 0},
        {48, 100, 0},
        {80, 84, 0},
        {78, 54, 0},
        {50, 44, 0},
        {22, 62, STOP}}}}},
    /* 7: plain; curved; with a bar; with a serif */
    {4,
     {{{{18, 3, CORNER}, {80, 3, CORNER}, {42, 100, STOP}}},
      {{{16, 6, 0}, {48, 5, 0}, {80, 3, CORNER}, {56, 44, 0}, {46, 100, STOP}}},
      {{{18, 3, CORNER}, {80, 3, CORNER}, {44, 100, LIFT}, {34, 52, 0}, {76, 50, STOP}}},
      {{{18, 20, CORNER}, {20, 3, CORNER}, {80, 3, CORNER}, {58, 44, 0}, {50, 100, STOP}}}}},
    /* 8: in one stroke; two rings; small head */
    {3,
     {{{{74, 16, 0},
        {50, 0, 0},
        {26, 18, 0},
        {46, 44, 0},
        {76, 68, 0},
        {70, 94, 0},
        {46, 100, 0},
        {22, 86, 0},
        {30, 62, 0},
        {60, 42, CLOSE},
        {0, 0, STOP}}},
      {{{50, 0, 0},
        {30, 10, 0},
        {28, 33, 0},
        {50, 46, 0},
        {72, 33, 0},
        {70, 10, CLOSE},
        {50, 46, 0},
        {24, 60, 0},
        {24, 88, 0},
        {50, 100, 0},
        {76, 88, 0},
        {76, 60, CLOSE},
        {0, 0, STOP}}},
      {{{68, 10, 0},
        {48, 0, 0},
        {36, 16, 0},
        {52, 36, 0},
        {80, 66, 0},
        {72, 96, 0},
        {40, 99, 0},
        {20, 78, 0},
        {36, 52, 0},
        {62, 32, CLOSE},
        {0, 0, STOP}}}}},
    /* 9: straight tail; curved tail; ring and stick */
    {3,
     {{{{75, 22, 0},
        {56, 2, 0},
        {28, 12, 0},
        {24, 38, 0},
        {48, 50, 0},
        {70, 36, 0},
        {76, 16, CORNER},
        {74, 58, 0},
        {66, 100, STOP}}},
      {{{73, 28, 0},
        {60, 4, 0},
        {32, 6, 0},
        {22, 32, 0},
        {42, 52, 0},
        {68, 38, 0},
        {76, 14, 0},
        {77, 52, 0},
        {66, 88, 0},
        {44, 100, 0},
        {24, 92, STOP}}},
      {{{50, 0, 0},
        {28, 10, 0},
        {24, 36, 0},
        {46, 50, 0},
        {70, 36, 0},
        {72, 10, CLOSE},
        {74, 4, 0},
        {70, 100, STOP}}}}},
};

typedef struct vec2 {
    float x;
    float y;
} vec2;

/* Line segments in pixels. */
typedef struct drawing {
    vec2 from[MAX_SEGMENTS];
    vec2 to[MAX_SEGMENTS];
    int count;
} drawing;

static void add_segment(drawing *out, vec2 from, vec2 to)
{
    if (out->count < MAX_SEGMENTS) {
        out->from[out->count] = from;
        out->to[out->count] = to;
        out->count++;
    }
}

/* The curve from b to c of the cubic through a, b, c, d (Catmull and Rom, 1974), as line segments.
 */
static void add_curve(drawing *out, vec2 a, vec2 b, vec2 c, vec2 d)
{
    vec2 last = b;

    for (int i = 1; i <= STEPS; i++) {
        float t = (float)i / (float)STEPS;
        float wa = 0.5f * t * (t * (2.0f - t) - 1.0f);
        float wb = 0.5f * (t * t * (3.0f * t - 5.0f) + 2.0f);
        float wc = 0.5f * t * (t * (4.0f - 3.0f * t) + 1.0f);
        float wd = 0.5f * t * t * (t - 1.0f);
        vec2 next = {wa * a.x + wb * b.x + wc * c.x + wd * d.x,
                     wa * a.y + wb * b.y + wc * c.y + wd * d.y};
        add_segment(out, last, next);
        last = next;
    }
}

/* The smooth curve through points [count], closed or with free ends. */
static void add_run(drawing *out, const vec2 *points, int count, int closed)
{
    int pairs = closed ? count : count - 1;

    for (int i = 0; i < pairs; i++) {
        int before = i > 0 ? i - 1 : closed ? count - 1 : i;
        int next = (i + 1) % count;
        int after = i + 2 < count ? i + 2 : closed ? (i + 2) % count : next;
        add_curve(out, points[before], points[i], points[next], points[after]);
    }
}

/* How one sample differs from its glyph. */
typedef struct style {
    float m[4]; /* [2][2] from the glyph's box, centre (50, 50), to pixels */
    vec2 centre;
    float jitter; /* standard deviation of each point, in hundredths of the box */
    float radius; /* half the pen's width, pixels */
    float soft;   /* width of the stroke's soft rim, pixels */
    float ink;
    float noise;    /* standard deviation of the noise on each pixel */
    float specks;   /* stray marks per image */
    float erasures; /* thin white lines per image */
} style;

static float uniform(random_stream *random, double low, double high)
{
    return (float)random_uniform(random, low, high);
}

static style random_style(random_stream *random)
{
    style s;
    double sine;
    double cosine;
    double height = random_uniform(random, 13.5, 20.0) / 100.0;
    double width = height * random_uniform(random, 0.72, 1.18);
    double shear = 0.22 * random_normal(random);

    exact_sin_cos(0.17 * random_normal(random), &sine, &cosine);
    s.m[0] = (float)(cosine * width);
    s.m[1] = (float)(-(cosine * shear + sine) * height);
    s.m[2] = (float)(sine * width);
    s.m[3] = (float)((cosine - sine * shear) * height);
    s.centre.x = uniform(random, 11.5, 16.5);
    s.centre.y = uniform(random, 11.5, 16.5);
    s.jitter = uniform(random, 1.0, 5.5);
    s.radius = uniform(random, 0.55, 1.75);
    s.soft = uniform(random, 0.7, 1.9);
    s.ink = uniform(random, 0.65, 1.1);
    s.noise = random_below(random, 2) == 0 ? 0.0f : uniform(random, 0.02, 0.14);
    s.specks = random_below(random, 4) == 0 ? 2.0f : 0.0f;
    s.erasures = random_below(random, 4) == 0 ? 1.0f : 0.0f;
    return s;
}

/* The glyph's strokes with every point moved at random, in pixels. */
static void lay_out(const glyph *shape, const style *s, random_stream *random, drawing *out)
{
    vec2 run[MAX_POINTS];
    int count = 0;

    out->count = 0;
    for (int i = 0; i < MAX_POINTS; i++) {
        const glyph_point *p = &shape->points[i];
        float x = (float)p->x - 50.0f + s->jitter * (float)random_normal(random);
        float y = (float)p->y - 50.0f + s->jitter * (float)random_normal(random);
        if (p->pen == STOP && count == 0) {
            break;
        }
        run[count].x = s->m[0] * x + s->m[1] * y + s->centre.x;
        run[count].y = s->m[2] * x + s->m[3] * y + s->centre.y;
        count++;
        if (p->pen != CURVE) {
            add_run(out, run, count, p->pen == CLOSE);
            run[0] = run[count - 1];
            count = p->pen == CORNER ? 1 : 0;
        }
        if (p->pen == STOP) {
            break;
        }
    }
}

/* Lowers distance [28 * 28] (squared, pixels) to that from the segment, where it is below reach^2.
 */
static void measure_segment(vec2 from, vec2 to, float reach, float *distance)
{
    float dx = to.x - from.x;
    float dy = to.y - from.y;
    float length = dx * dx + dy * dy;
    float low_x = (from.x < to.x ? from.x : to.x) - reach;
    float high_x = (from.x < to.x ? to.x : from.x) + reach;
    float low_y = (from.y < to.y ? from.y : to.y) - reach;
    float high_y = (from.y < to.y ? to.y : from.y) + reach;
    int x0 = low_x < 0.0f ? 0 : (int)low_x;
    int y0 = low_y < 0.0f ? 0 : (int)low_y;
    int x1 = high_x > DIGIT_SIDE - 1 ? DIGIT_SIDE - 1 : (int)high_x;
    int y1 = high_y > DIGIT_SIDE - 1 ? DIGIT_SIDE - 1 : (int)high_y;

    for (int y = y0; y <= y1; y++) {
        for (int x = x0; x <= x1; x++) {
            float px = (float)x - from.x;
            float py = (float)y - from.y;
            float t = length > 0.0f ? (px * dx + py * dy) / length : 0.0f;
            float *d = &distance[y * DIGIT_SIDE + x];
            float square;
            t = t < 0.0f ? 0.0f : t > 1.0f ? 1.0f : t;
            px -= t * dx;
            py -= t * dy;
            square = px * px + py * py;
            *d = square < *d ? square : *d;
        }
    }
}

/* Ink of a pen of `radius` at each pixel: 1 inside, 0 outside, `soft` pixels of slope between. */
static void ink_strokes(const drawing *strokes, float radius, float soft, float *ink)
{
    float reach = radius + soft;

    for (int i = 0; i < DIGIT_PIXELS; i++) {
        ink[i] = reach * reach;
    }
    for (int i = 0; i < strokes->count; i++) {
        measure_segment(strokes->from[i], strokes->to[i], reach, ink);
    }
    for (int i = 0; i < DIGIT_PIXELS; i++) {
        float v = 0.5f + (radius - sqrtf(ink[i])) / soft; /* sqrt is exact by IEEE 754 */
        ink[i] = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
    }
}

/* A short or (`across`) a long straight line somewhere. */
static drawing random_line(random_stream *random, int across)
{
    drawing line = {.count = 0};
    double half = across ? 20.0 : 1.8;
    double cx = random_uniform(random, across ? 8.0 : 0.0, across ? 20.0 : 28.0);
    double cy = random_uniform(random, across ? 8.0 : 0.0, across ? 20.0 : 28.0);
    double sine;
    double cosine;
    vec2 from;
    vec2 to;

    exact_sin_cos(random_uniform(random, -1.57, 1.57), &sine, &cosine);
    from = (vec2){(float)(cx - half * cosine), (float)(cy - half * sine)};
    to = (vec2){(float)(cx + half * cosine), (float)(cy + half * sine)};
    add_segment(&line, from, to);
    return line;
}

int digit_draw(uint64_t seed, digit_set set, uint64_t index, float *pixels)
{
    random_stream random = random_open(seed, (uint64_t)set, index);
    int label = (int)(index % 10);
    uint32_t variant = random_below(&random, glyphs[label].count);
    style s = random_style(&random);
    float mark[DIGIT_PIXELS];
    drawing strokes;

    lay_out(&glyphs[label].variants[variant], &s, &random, &strokes);
    ink_strokes(&strokes, s.radius, s.soft, pixels);
    for (int n = 0; n < (int)s.erasures; n++) {
        strokes = random_line(&random, 1);
        ink_strokes(&strokes, 0.7f, 1.0f, mark);
        for (int i = 0; i < DIGIT_PIXELS; i++) {
            pixels[i] *= 1.0f - mark[i];
        }
    }
    for (int n = 0; n < (int)s.specks; n++) {
        strokes = random_line(&random, 0);
        ink_strokes(&strokes, 0.6f, 1.0f, mark);
        for (int i = 0; i < DIGIT_PIXELS; i++) {
            pixels[i] = mark[i] > pixels[i] ? mark[i] : pixels[i];
        }
    }
    for (int i = 0; i < DIGIT_PIXELS; i++) {
        float v = s.ink * pixels[i];
        if (s.noise > 0.0f) {
            v += s.noise * (float)random_normal(&random);
        }
        v = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
        pixels[i] = (float)(int)(v * DIGIT_LEVELS + 0.5f) / (float)DIGIT_LEVELS;
    }
    return label;
}
