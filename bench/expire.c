/* SPDX-License-Identifier: MIT */
/* bench/expire.c - timers: connections that expire, a millisecond a call or all in one; a call when
 * nothing expires; what a touch costs inside a tracked packet, `touch/udp` less `touch/udp-fixed`. And
 * timers of others. */
#include "bench.h"
#include "peers.h"

#include <stdlib.h>

enum what { SPREAD, AT_ONCE, IDLE, TOUCH, TOUCH_FIXED };
static const struct {
    const char *subject, *what, *how;
} names[] = {[SPREAD] = {"expire", "spread", "all"},   [AT_ONCE] = {"expire", "at-once", "all"},
             [IDLE] = {"expire", "idle", "single"},    [TOUCH] = {"touch", "udp", "burst32"},
             [TOUCH_FIXED] = {"touch", "udp-fixed", "burst32"}};

struct expire {
    const struct kit *kit;
    const struct peer_timer *peer;
    uint32_t size;
    enum what what;
};

static const struct kind udp = {.protocol = UDP};

/* Time over which those who expire are spread: five minutes for a million. */
static uint32_t span_ms(uint32_t size)
{
    const uint32_t ms = (uint32_t)((uint64_t)300000 * size >> 20);
    return ms < 1000 ? 1000 : ms;
}

/* Puts all in again, with any timeouts up to the span. */
static void refill(struct table *w, struct draw *d)
{
    for (uint32_t i = 0; i < w->shape.max; i++) {
        const struct kst_flow flow = flow_whole(&udp, i, 1 + draw_below(d, span_ms(w->shape.max)));
        w->kit->insert(w->t, &flow, NULL);
    }
}

static void expire(struct bench *b, const struct expire *c)
{
    struct table *w = table_of(b, &(struct shape){.kit = c->kit, .kind = udp, .max = c->size, .own = 4});
    struct draw d = {c->size};
    const uint64_t before = w == NULL ? 0 : c->kit->statistics(w->t)->gone[KST_GONE_EXPIRED];
    uint64_t all = 0;
    while (w != NULL && bench_next(b, c->size)) {
        refill(w, &d);
        const uint32_t in = c->kit->count(w->t);
        const uint64_t until_ms = w->now_ms + span_ms(c->size) + 1;
        bench_start(b);
        if (c->what == SPREAD)
            c->kit->advance_all(w->t, w->now_ms, until_ms);
        else
            c->kit->advance(w->t, until_ms, UINT32_MAX);
        bench_stop(b);
        all += c->size;
        w->now_ms = until_ms;
        if (in != c->size || c->kit->count(w->t) != 0)
            bench_fail(b, "of %u that were to expire %u are left", in, c->kit->count(w->t));
    }
    if (w != NULL && c->kit->statistics(w->t)->gone[KST_GONE_EXPIRED] - before != all)
        bench_fail(b, "they have gone, but not expired");
}

static void idle(struct bench *b, const struct expire *c)
{
    struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                  .kind = udp,
                                                  .max = c->size,
                                                  .flows = c->size,
                                                  .made = BY_HAND_FIXED});
    while (w != NULL && bench_next(b, 4096)) {
        bench_start(b);
        c->kit->advance_all(w->t, w->now_ms + 1, w->now_ms + 4096);
        bench_stop(b);
        w->now_ms += 4096;
        if (c->kit->count(w->t) != c->size)
            bench_fail(b, "some expired");
    }
}

static void touch(struct bench *b, const struct expire *c)
{
    struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                  .kind = udp,
                                                  .max = c->size,
                                                  .flows = c->size,
                                                  .made = c->what == TOUCH ? BY_HAND : BY_HAND_FIXED});
    const size_t count = ROUND < 4 * c->size ? ROUND : 4 * c->size;
    const uint64_t before = w == NULL ? 0 : c->kit->statistics(w->t)->reasons[KST_REASON_NONE];
    struct draw d = {c->size};
    uint64_t sent = 0;
    while (w != NULL && bench_next(b, count)) {
        for (size_t i = 0; i < count; i++)
            packet_make(w, i, draw_below(&d, c->size), draw(&d) >> 63 ? KST_REPLY : KST_ORIGINAL, STEP_DATA);
        bench_start(b);
        w->now_ms = c->kit->track_all(w->t, w->now_ms, packets, count, 32, results, false);
        bench_stop(b);
        sent += count;
    }
    if (w == NULL)
        return;
    const struct kst_stats *after = c->kit->statistics(w->t);
    if (after->reasons[KST_REASON_NONE] - before != sent || after->created != 0)
        bench_fail(b, "some packets were not part of the connections");
}

static void run(struct bench *b, const void *argument)
{
    const struct expire *c = argument;
    switch (c->what) {
    case SPREAD:
    case AT_ONCE: expire(b, c); break;
    case IDLE: idle(b, c); break;
    case TOUCH:
    case TOUCH_FIXED: touch(b, c); break;
    }
}

/* ---- others ---- */

static const char *const peer_whats[] = {"start", "restart", "at-once"};

static void run_peer(struct bench *b, const void *argument)
{
    static uint32_t numbers[ROUND], after_ms[ROUND];
    const struct expire *c = argument;
    const size_t count = ROUND < c->size ? ROUND : c->size;
    struct draw d = {c->size};
    void *timers = c->peer->make(c->size);
    if (timers == NULL) {
        bench_fail(b, "it cannot be had");
        return;
    }
    uint32_t turn = 0;
    const bool expires = c->what == 2;
    if (c->what == 1)
        for (; turn < c->size; turn++) {
            const uint32_t number = turn, later = 1000000 + draw_below(&d, 300000);
            c->peer->start(timers, &number, &later, 1);
        }
    while (bench_next(b, expires ? c->size : count)) {
        if (turn >= c->size && c->what == 0) { /* all are started: from the beginning */
            c->peer->unmake(timers);
            timers = c->peer->make(c->size);
            turn = 0;
        }
        if (expires) {
            for (uint32_t number = 0; number < c->size; number++) {
                const uint32_t later = draw_below(&d, 1000);
                c->peer->start(timers, &number, &later, 1);
            }
            c->peer->wait(1000);
        } else {
            for (size_t i = 0; i < count; i++) {
                numbers[i] = c->what == 0 ? turn++ * UINT32_C(2654435761) % c->size : draw_below(&d, c->size);
                after_ms[i] = 1000000 + draw_below(&d, 300000);
            }
        }
        bench_start(b);
        const uint64_t done = expires ? c->peer->expire(timers)
                                      : (c->peer->start(timers, numbers, after_ms, count), count);
        bench_stop(b);
        if (done != (expires ? c->size : count))
            bench_fail(b, "%llu rang", (unsigned long long)done);
    }
    c->peer->unmake(timers);
}

void add_expiries(void)
{
    for (size_t s = 0; sizes[s] != 0; s++) {
        for (size_t k = 0; kits[k] != NULL; k++)
            for (size_t i = 0; i < COUNT(names); i++) {
                struct expire *c = malloc(sizeof *c);
                *c = (struct expire){.kit = kits[k], .size = sizes[s], .what = (enum what)i};
                bench_add(name_of(names[i].subject, names[i].what, sizes[s], kits[k]->index,
                                  kits[k]->timer, names[i].how), run, c);
            }
        for (size_t k = 0; peer_timers[k] != NULL; k++)
            for (size_t i = 0; i < COUNT(peer_whats); i++) {
                struct expire *c = malloc(sizeof *c);
                *c = (struct expire){.peer = peer_timers[k], .size = sizes[s], .what = (enum what)i};
                bench_add(name_of(i == 2 ? "expire" : "timer", peer_whats[i], sizes[s], "peer",
                                  peer_timers[k]->name, i == 2 ? "all" : "single"), run_peer, c);
            }
    }
}
