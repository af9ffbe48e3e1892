/* SPDX-License-Identifier: MIT */
/* bench/floor.c - what the memory allows: random reads of a line of 64 bytes, or of two of which the
 * first names the second, as a bucket names an entry. No lookup can be faster than these, whatever
 * its code. `1` and `2` are lines an operation; `dep` waits for each, `indep` leaves it to the
 * processor, `batch32x` prefetches 32 at once, `slide` prefetches 32 ahead of each stage, `w` writes. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 8, AHEAD = 32 };

struct bucket {
    uint32_t entry[SLOTS];
    uint8_t rest[64 - 4 * SLOTS];
};
struct entry {
    uint64_t value;
    uint64_t written;
    uint8_t rest[64 - 16];
};

struct ground {
    uint32_t entries, buckets; /* powers of two */
    struct bucket *bucket;
    struct entry *entry;
};

static uint32_t *bucket_word(const struct ground *g, uint32_t query)
{
    return &g->bucket[(query >> 3) & (g->buckets - 1)].entry[query % SLOTS];
}

/* What stands in a bucket, computed: entries in no order. */
static uint32_t entry_of(const struct ground *g, uint32_t query)
{
    const uint32_t place = query & (g->buckets * SLOTS - 1);
    return place * UINT32_C(2654435761) & (g->entries - 1);
}

static uint64_t dep2(const struct ground *g, const uint32_t *queries, size_t count)
{
    uint64_t sum = 0, last = 0;
    for (size_t i = 0; i < count; i++) {
        last = g->entry[*bucket_word(g, queries[i + (last >> 63)])].value;
        sum += last;
    }
    return sum;
}

static uint64_t indep2(const struct ground *g, const uint32_t *queries, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += g->entry[*bucket_word(g, queries[i])].value;
    return sum;
}

static uint64_t batch32x2(const struct ground *g, const uint32_t *queries, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i += AHEAD) {
        const struct entry *entries[AHEAD];
        for (size_t k = 0; k < AHEAD; k++)
            __builtin_prefetch(bucket_word(g, queries[i + k]));
        for (size_t k = 0; k < AHEAD; k++) {
            entries[k] = &g->entry[*bucket_word(g, queries[i + k])];
            __builtin_prefetch(entries[k]);
        }
        for (size_t k = 0; k < AHEAD; k++)
            sum += entries[k]->value;
    }
    return sum;
}

static inline uint64_t sliding(const struct ground *g, const uint32_t *queries, size_t count, bool write)
{
    struct entry *entries[AHEAD] = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < count + 2 * AHEAD; i++) {
        const size_t half = i - AHEAD, now = i - 2 * AHEAD;
        if (now < count) {
            struct entry *entry = entries[now % AHEAD];
            sum += entry->value;
            if (write)
                entry->written = now;
        }
        if (half < count) {
            entries[half % AHEAD] = &g->entry[*bucket_word(g, queries[half])];
            __builtin_prefetch(entries[half % AHEAD], write);
        }
        if (i < count)
            __builtin_prefetch(bucket_word(g, queries[i]));
    }
    return sum;
}

static uint64_t slide2(const struct ground *g, const uint32_t *queries, size_t count)
{
    return sliding(g, queries, count, false);
}

static uint64_t slide2w(const struct ground *g, const uint32_t *queries, size_t count)
{
    return sliding(g, queries, count, true);
}

static uint64_t dep1(const struct ground *g, const uint32_t *queries, size_t count)
{
    uint64_t sum = 0, last = 0;
    for (size_t i = 0; i < count; i++) {
        last = g->entry[entry_of(g, queries[i + (last >> 63)])].value;
        sum += last;
    }
    return sum;
}

static uint64_t indep1(const struct ground *g, const uint32_t *queries, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += g->entry[entry_of(g, queries[i])].value;
    return sum;
}

static uint64_t batch32x1(const struct ground *g, const uint32_t *queries, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i += AHEAD) {
        for (size_t k = 0; k < AHEAD; k++)
            __builtin_prefetch(&g->entry[entry_of(g, queries[i + k])]);
        for (size_t k = 0; k < AHEAD; k++)
            sum += g->entry[entry_of(g, queries[i + k])].value;
    }
    return sum;
}

static uint64_t slide1(const struct ground *g, const uint32_t *queries, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(&g->entry[entry_of(g, queries[i + AHEAD < count ? i + AHEAD : i])]);
        sum += g->entry[entry_of(g, queries[i])].value;
    }
    return sum;
}

static const struct probe {
    const char *name;
    uint64_t (*run)(const struct ground *g, const uint32_t *queries, size_t count);
} probes[] = {{"dep2", dep2},     {"indep2", indep2}, {"batch32x2", batch32x2},
              {"slide2", slide2}, {"slide2w", slide2w}, {"dep1", dep1},
              {"indep1", indep1}, {"batch32x1", batch32x1}, {"slide1", slide1}};

static void ground_free(void *thing)
{
    struct ground *g = thing;
    pages_free(g->bucket, g->buckets * sizeof *g->bucket);
    pages_free(g->entry, g->entries * sizeof *g->entry);
    free(g);
}

/* Buckets are half full: two slots for each entry. */
static struct ground *ground_of(uint32_t entries)
{
    char name[64];
    snprintf(name, sizeof name, "ground %u", entries);
    struct ground *g = kept(name);
    if (g != NULL)
        return g;
    g = calloc(1, sizeof *g);
    g->entries = entries;
    g->buckets = entries * 2 / SLOTS;
    g->bucket = pages(g->buckets * sizeof *g->bucket);
    g->entry = pages(g->entries * sizeof *g->entry);
    for (uint32_t place = 0; place < g->buckets * SLOTS; place++)
        *bucket_word(g, place) = entry_of(g, place);
    for (uint32_t i = 0; i < entries; i++)
        g->entry[i].value = i + 1;
    return keep(name, g, g->buckets * sizeof *g->bucket + entries * sizeof *g->entry, ground_free);
}

struct floor_case {
    const struct probe *probe;
    uint32_t size;
};

static void run_floor(struct bench *b, const void *argument)
{
    static uint32_t queries[ROUND];
    const struct floor_case *c = argument;
    const struct ground *g = ground_of(c->size);
    struct draw d = {c->size};
    uint64_t sum = 0, expected = 0;
    const size_t count = ROUND < 4 * c->size ? ROUND : 4 * c->size;
    while (bench_next(b, count)) {
        for (size_t i = 0; i < count; i++) {
            queries[i] = (uint32_t)(draw(&d) >> 32);
            expected += entry_of(g, queries[i]) + 1;
        }
        bench_start(b);
        sum += c->probe->run(g, queries, count);
        bench_stop(b);
    }
    if (sum != expected)
        bench_fail(b, "it read something else than what is there");
}

void add_floors(void)
{
    for (size_t s = 0; sizes[s] != 0; s++)
        for (size_t i = 0; i < COUNT(probes); i++) {
            struct floor_case *c = malloc(sizeof *c);
            *c = (struct floor_case){&probes[i], sizes[s]};
            bench_add(name_of("floor", "probe", sizes[s], "floor", probes[i].name, "all"), run_floor, c);
        }
}
