/* SPDX-License-Identifier: MIT */
/* fuzz.h - what a target is, and what it may use. A target is one file: a property on top, and a struct
 * fuzz_target that says what its inputs look like and runs one. driver.c does the rest, for libFuzzer,
 * for AFL++ and for no engine at all; mutate.c changes inputs knowing what they are. */
#ifndef KEEPSTATE_FUZZ_H
#define KEEPSTATE_FUZZ_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What stands behind the head of an input. */
enum fuzz_shape {
    FUZZ_RECORDS, /* `record` bytes for each step, from which typed choices are drawn; zeros are plain */
    FUZZ_PACKETS, /* frames (below) that hold IP packets */
    FUZZ_MESSAGES, /* frames that hold text */
    FUZZ_PACKET,  /* one IP packet */
    FUZZ_TEXT     /* bytes */
};

struct fuzz_target {
    const char *name;
    enum fuzz_shape shape;
    uint32_t head;     /* bytes */
    uint32_t record;   /* FUZZ_RECORDS: bytes of one */
    uint32_t steps_max; /* records or frames that are looked at */
    void (*run)(const uint8_t *data, size_t size);
    bool flags_often;   /* a frame's flags say how it comes; else they are for rare events */
};
extern const struct fuzz_target fuzz_target;

enum { FUZZ_SIZE_MAX = 1 << 17 }; /* bytes of an input */

/* ---- failing and telling ---- */

extern bool fuzz_telling;   /* every step is to be told in words */
extern uint64_t fuzz_steps; /* edges of the program that were passed, in a build that counts them */

/* Which pair of back ends a run is about: the input's head says so, unless the driver wants them all. */
enum { FUZZ_KITS = 16 };
extern uint32_t fuzz_kit;

/* Unless NULL it is shown each packet that a target tracks. */
extern void (*fuzz_watch)(uint64_t now_ms, const uint8_t *data, uint32_t size);
/* Which oracles count: all, but where somebody measures what each is worth (harness/bugs). */
enum fuzz_oracles { FUZZ_CRASHES, FUZZ_INVARIANTS, FUZZ_BACK_ENDS, FUZZ_MODEL };
extern enum fuzz_oracles fuzz_oracles;

/* Says what is wrong, in words, after the whole story, and aborts. */
__attribute__((format(printf, 1, 2), noreturn)) void fuzz_fail(const char *format, ...);

__attribute__((format(printf, 1, 2))) void fuzz_tell(const char *format, ...);

#define fuzz_must(condition)                                                                       \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fuzz_fail("%s:%d: %s", __FILE__, __LINE__, #condition);                                \
    } while (0)

#define fuzz_same(what, one, other)                                                                \
    do {                                                                                           \
        const uint64_t one_ = (uint64_t)(one), other_ = (uint64_t)(other);                         \
        if (one_ != other_)                                                                        \
            fuzz_fail("%s:%d: %s: %" PRIu64 " and %" PRIu64, __FILE__, __LINE__, what, one_, other_); \
    } while (0)

/* What a run came to, in one number that is the same on every machine: tell it each answer. */
extern uint64_t fuzz_digest;

static inline void fuzz_note(uint64_t value)
{
    fuzz_digest = (fuzz_digest ^ value) * UINT64_C(0x9e3779b97f4a7c15);
    fuzz_digest ^= fuzz_digest >> 29;
}

/* Memory that a failure, which jumps out of the middle, does not leak: it is freed after the run. */
void *fuzz_alloc(size_t size, size_t align);

/* A copy, or zeros of NULL, in an allocation of exactly this size: reading outside it is seen. Freed likewise, or by
 * fuzz_free. */
uint8_t *fuzz_exact(const void *data, size_t size);
void fuzz_free(void *memory);

/* ---- chance ---- */

static inline uint64_t fuzz_random(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* ---- drawing choices from the input: zeros at its end ---- */

extern const uint8_t *draw_at, *draw_end;

static inline uint32_t draw8(void)
{
    return draw_at < draw_end ? *draw_at++ : 0;
}

static inline uint32_t draw16(void)
{
    const uint32_t high = draw8();
    return high << 8 | draw8();
}

static inline uint32_t draw32(void)
{
    const uint32_t high = draw16();
    return high << 16 | draw16();
}

static inline uint32_t draw_below(uint32_t limit)
{
    return draw8() % limit;
}

/* True in so many of 256 draws; false at the end. */
static inline bool draw_chance(uint32_t of_256)
{
    return draw8() >= 256 - of_256;
}

/* A call, so that what stands among the choices is drawn before the choice, by every compiler. Never draw twice in one
 * expression: C does not say which comes first. */
static inline uint32_t draw_pick(const uint32_t *choices, size_t count)
{
    return choices[draw_below((uint32_t)count)];
}

#define PICK(...)                                                                                  \
    draw_pick((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* Draws come from the input's head. */
static inline void draw_head(const uint8_t *data, size_t size)
{
    draw_at = data;
    draw_end = data + (size < fuzz_target.head ? size : fuzz_target.head);
}

/* And then from the next record: false behind the last one. */
static inline bool draw_record(const uint8_t *data, size_t size, uint32_t number)
{
    const size_t at = fuzz_target.head + (size_t)number * fuzz_target.record;
    if (at >= size || number >= fuzz_target.steps_max)
        return false;
    draw_at = data + at;
    draw_end = size - at < fuzz_target.record ? data + size : draw_at + fuzz_target.record;
    return true;
}

/* ---- frames ---- */

enum { FRAME_HEAD = 4 };

struct fuzz_frame { /* as it lies there: wait, flags, size (16 bits, high byte first), bytes */
    uint8_t wait, flags;
    uint32_t size;
    const uint8_t *bytes;
};

/* The next frame at *at, cut off at the end of the input. */
static inline bool fuzz_frame_next(const uint8_t **at, const uint8_t *end, struct fuzz_frame *f)
{
    if (end - *at < FRAME_HEAD)
        return false;
    f->wait = (*at)[0];
    f->flags = (*at)[1];
    f->size = (uint32_t)(*at)[2] << 8 | (*at)[3];
    f->bytes = *at + FRAME_HEAD;
    if (f->size > (size_t)(end - f->bytes))
        f->size = (uint32_t)(end - f->bytes);
    *at = f->bytes + f->size;
    return true;
}

/* What a frame's `wait` stands for: 0..15, times 1, 4, 16 ... 2^30 ms: up to half a year. */
static inline uint64_t fuzz_wait_ms(uint8_t wait)
{
    return (uint64_t)(wait & 15) << (wait >> 4) * 2;
}

#endif
