/* SPDX-License-Identifier: MIT */
/* bench/life.c - a connection from its first packet to its last: opened, used, closed, collected. An
 * operation is a whole life, in a table that is half full of others. */
#include "bench.h"

#include <stdlib.h>

static const struct life {
    const char *name;
    struct kind kind;
    uint32_t steps;
    struct {
        uint8_t direction;
        uint8_t step;     /* enum step */
        uint32_t sent[2]; /* before it, FINs included */
    } at[8];
} lives[] = {
    {"tcp", {.protocol = TCP}, 8,
     {{0, STEP_OPEN, {0, 0}}, {1, STEP_ANSWER, {0, 0}}, {0, STEP_AGREE, {0, 0}},
      {0, STEP_DATA, {0, 0}}, {1, STEP_DATA, {24, 0}}, {0, STEP_FIN, {24, 24}},
      {1, STEP_FIN, {25, 24}}, {0, STEP_AGREE, {25, 25}}}},
    {"tcp-v6", {.protocol = TCP, .v6 = true}, 8,
     {{0, STEP_OPEN, {0, 0}}, {1, STEP_ANSWER, {0, 0}}, {0, STEP_AGREE, {0, 0}},
      {0, STEP_DATA, {0, 0}}, {1, STEP_DATA, {24, 0}}, {0, STEP_FIN, {24, 24}},
      {1, STEP_FIN, {25, 24}}, {0, STEP_AGREE, {25, 25}}}},
    {"udp", {.protocol = UDP}, 2, {{0, STEP_DATA, {0, 0}}, {1, STEP_DATA, {0, 0}}}},
};

static const struct {
    const char *name;
    size_t burst;
} hows[] = {{"single", 1}, {"burst32", 32}};

struct life_case {
    const struct kit *kit;
    const struct life *life;
    uint32_t size;
    uint8_t how;
};

static uint8_t wires[ROUND][128] __attribute__((aligned(64)));

static void run(struct bench *b, const void *argument)
{
    const struct life_case *c = argument;
    const struct life *life = c->life;
    struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                  .kind = life->kind,
                                                  .max = c->size,
                                                  .flows = c->size / 2,
                                                  .made = BY_HAND_FIXED,
                                                  .own = 3});
    const uint32_t count = ROUND / 8 < c->size / 4 ? ROUND / 8 : c->size / 4;
    uint32_t next = c->size;
    uint64_t born = w == NULL ? 0 : c->kit->statistics(w->t)->created, lived = 0;
    while (w != NULL && bench_next(b, count)) {
        /* Waves of one burst of connections: each step of all, then the next step. */
        size_t made = 0;
        for (uint32_t first = 0; first < count; first += 32)
            for (uint32_t step = 0; step < life->steps; step++)
                for (uint32_t i = first; i < first + 32; i++, made++)
                    packets[made] = packet_write(
                        wires[made], &life->kind, next + i, life->at[step].direction,
                        (enum step)life->at[step].step, life->at[step].sent, NULL,
                        life->kind.protocol == UDP              ? 16
                        : life->at[step].step == STEP_DATA ? 24
                                                                : 0);
        next += count;
        lived += count;
        bench_start(b);
        const uint64_t now_ms =
            c->kit->track_all(w->t, w->now_ms, packets, made, hows[c->how].burst, results, true);
        const uint32_t in = c->kit->count(w->t);
        c->kit->advance(w->t, now_ms + 121 * 1000, UINT32_MAX);
        bench_stop(b);
        if (in != c->size / 2 + count || results[made - 1].state != KST_ESTABLISHED ||
            c->kit->count(w->t) != c->size / 2)
            bench_fail(b, "of %u lives %u were there, and %u after their end; the last packet: %s", count,
                       in - c->size / 2, c->kit->count(w->t) - c->size / 2,
                       c->kit->reason_name((enum kst_reason)results[made - 1].reason));
        w->now_ms = now_ms + 121 * 1000;
    }
    if (w != NULL && c->kit->statistics(w->t)->created - born != lived)
        bench_fail(b, "some lives never began");
}

void add_lives(void)
{
    for (size_t s = 0; sizes[s] != 0; s++)
        for (size_t k = 0; kits[k] != NULL; k++)
            for (size_t i = 0; i < COUNT(lives); i++)
                for (uint8_t how = 0; how < COUNT(hows); how++) {
                    struct life_case *c = malloc(sizeof *c);
                    *c = (struct life_case){kits[k], &lives[i], sizes[s], how};
                    bench_add(name_of("life", lives[i].name, sizes[s], kits[k]->index, kits[k]->timer,
                                      hows[how].name), run, c);
                }
}
