/* SPDX-License-Identifier: MIT */
/* bench/latency.c - single calls, each timed by itself: the median, the tail and the worst. What the
 * clock costs is taken off; a call interrupted by the system counts with its interruption. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum what { NEW, NEW_EVICTING, NEW_SYN_FLOOD, PACKET, ADVANCE };
static const char *const names[] = {[NEW] = "new", [NEW_EVICTING] = "new-evicting",
                                    [NEW_SYN_FLOOD] = "new-syn-flood", [PACKET] = "packet",
                                    [ADVANCE] = "advance"};

struct latency {
    const struct kit *kit;
    uint32_t size;
    enum what what;
};

/* ---- a histogram: four steps to each power of two ---- */

enum { BINS = 4 * 32 };

struct histogram {
    uint64_t bin[BINS], count;
    double worst;
};

static double bin_top(uint32_t bin)
{
    return (double)(UINT64_C(1) << bin / 4) * (1 + (bin % 4) / 4.0);
}

static void note(struct histogram *h, double ns)
{
    uint32_t bin = 0;
    while (bin + 1 < BINS && bin_top(bin) < ns)
        bin++;
    h->bin[bin]++;
    h->count++;
    if (ns > h->worst)
        h->worst = ns;
}

/* ---- exact quantiles need all that was seen: a sample of the latest ---- */

enum { KEPT = 1 << 22 };
static float seen[KEPT];

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double ns_per_tick, clock_ns;

static void calibrate(void)
{
    struct timespec begin, end;
    uint64_t least = UINT64_MAX;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    const uint64_t first = ticks_now();
    double ns;
    do {
        clock_gettime(CLOCK_MONOTONIC, &end);
        ns = (double)(end.tv_sec - begin.tv_sec) * 1e9 + (double)(end.tv_nsec - begin.tv_nsec);
    } while (ns < 20e6);
    ns_per_tick = ns / (double)(ticks_now() - first);
    for (uint32_t i = 0; i < 10000; i++) {
        const uint64_t at = ticks_now(), took = ticks_now() - at;
        least = took < least ? took : least;
    }
    clock_ns = (double)least * ns_per_tick;
}

static void run(struct bench *b, const void *argument)
{
    static uint32_t ticks[ROUND];
    static const struct kind tcp = {.protocol = TCP};
    const struct latency *c = argument;
    const uint32_t half_of = c->size / 2;
    struct shape shape = {.kit = c->kit, .kind = tcp, .max = c->size, .upto = STEP_DATA, .own = 7};
    switch (c->what) {
    case NEW:
    case NEW_SYN_FLOOD: shape.flows = half_of; break;
    case PACKET: shape.flows = c->size; break;
    case NEW_EVICTING:
    case ADVANCE: break;
    }
    if (c->what == NEW_EVICTING || c->what == NEW_SYN_FLOOD)
        shape.half = c->size - shape.flows;
    shape.own += c->what;
    struct table *w = table_of(b, &shape);
    if (w == NULL)
        return;
    if (ns_per_tick == 0)
        calibrate();
    struct histogram h = {0};
    struct draw d = {c->size};
    static uint32_t serial = 1 << 28;
    const size_t count = ROUND < c->size / 4 ? ROUND : c->size / 4;
    while (bench_next(b, count)) {
        if (c->what == ADVANCE) { /* as many expire in each round as it has calls */
            for (uint32_t i = 0; i < count; i++) {
                const struct kst_flow flow = flow_whole(&tcp, serial++, 1 + draw_below(&d, (uint32_t)count));
                c->kit->insert(w->t, &flow, NULL);
            }
        } else {
            for (size_t i = 0; i < count; i++)
                if (c->what == PACKET)
                    packet_make(w, i, draw_below(&d, c->size), draw(&d) >> 63 ? KST_REPLY : KST_ORIGINAL,
                                STEP_DATA);
                else
                    packet_make(w, i, serial++, KST_ORIGINAL, STEP_OPEN);
        }
        bench_start(b);
        if (c->what == ADVANCE)
            c->kit->advance_timed(w->t, w->now_ms + 1, 64, count, ticks);
        else
            c->kit->track_timed(w->t, w->now_ms, packets, count, results, ticks);
        bench_stop(b);
        w->now_ms += c->what == ADVANCE ? count + 1 : 1;
        for (size_t i = 0; i < count; i++) {
            const double ns = ticks[i] * ns_per_tick - clock_ns;
            seen[h.count % KEPT] = (float)(ns > 0 ? ns : 0);
            note(&h, ns > 0 ? ns : 0);
        }
        for (size_t i = 0; i < count && c->what != ADVANCE; i++) {
            const bool created = (results[i].flags & KST_CREATED) != 0;
            const bool evicted = results[i].reason == KST_REASON_TABLE_EVICTED;
            if (created == (c->what == PACKET) ||
                evicted != (c->what == NEW_EVICTING || c->what == NEW_SYN_FLOOD))
                bench_fail(b, "a packet met something else: %s",
                           c->kit->reason_name((enum kst_reason)results[i].reason));
            if (c->what == NEW)
                c->kit->delete(w->t, results[i].entry);
        }
        if (c->what == ADVANCE) {
            c->kit->advance(w->t, w->now_ms, UINT32_MAX);
            if (c->kit->count(w->t) != 0)
                bench_fail(b, "%u did not expire", c->kit->count(w->t));
        }
    }
    const size_t held = h.count < KEPT ? (size_t)h.count : KEPT;
    if (held == 0)
        return;
    qsort(seen, held, sizeof *seen, ascending);
    bench_counter(b, "p50", (double)seen[held / 2]);
    bench_counter(b, "p99", (double)seen[held * 99 / 100]);
    bench_counter(b, "p999", (double)seen[held * 999 / 1000]);
    bench_counter(b, "max", h.worst);
    for (uint32_t bin = 8; bin < BINS; bin++) { /* from 4 ns: below, quarters are none */
        char name[32];
        uint64_t in = h.bin[bin];
        for (uint32_t lower = 0; bin == 8 && lower < 8; lower++)
            in += h.bin[lower];
        snprintf(name, sizeof name, "lat_%.0f", bin_top(bin));
        if (in != 0)
            bench_counter(b, name, (double)in);
    }
}

void add_latencies(void)
{
    for (size_t s = 0; sizes[s] != 0; s++)
        for (size_t k = 0; kits[k] != NULL; k++)
            for (enum what what = NEW; what <= ADVANCE; what++) {
                struct latency *c = malloc(sizeof *c);
                *c = (struct latency){kits[k], sizes[s], what};
                bench_add(name_of("latency", names[what], sizes[s], kits[k]->index, kits[k]->timer, "time"),
                          run, c);
            }
}
