/* SPDX-License-Identifier: MIT */
/* bench/full.c - tables under pressure: packets and newcomers at levels of filling, and what happens at
 * the limit: who is evicted, who is refused, who is kept, and what it costs. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

/* A scenario is a table that holds `open` and `half` of each hundred that fit - answered and ASSURED,
 * and nobody answered - and what each hundred packets are. */
static const struct scenario {
    const char *name;
    uint8_t open, half;   /* percent */
    uint8_t data;         /* packets of open connections */
    uint8_t flood;        /* first packets of newcomers that will never say more */
    uint8_t scan;         /* likewise of one source, each answered by a RST */
    uint8_t honest;       /* newcomers that complete their handshake, three packets each */
    uint8_t protocol;     /* of the flood */
    bool evicts, refuses; /* what a newcomer must meet */
} scenarios[] = {
    {"packet-load50", 50, 0, 100, 0, 0, 0, TCP, false, false},
    {"packet-load75", 75, 0, 100, 0, 0, 0, TCP, false, false},
    {"packet-load90", 90, 0, 100, 0, 0, 0, TCP, false, false},
    {"packet-load100", 100, 0, 100, 0, 0, 0, TCP, false, false},
    {"new-load50", 50, 0, 0, 100, 0, 0, TCP, false, false},
    {"new-load75", 75, 0, 0, 100, 0, 0, TCP, false, false},
    {"new-load90", 90, 0, 0, 100, 0, 0, TCP, false, false},
    {"new-load98", 98, 0, 0, 100, 0, 0, TCP, false, false},
    {"new-evicting", 0, 100, 0, 100, 0, 0, TCP, true, false},
    {"new-refused", 100, 0, 0, 100, 0, 0, TCP, false, true},
    {"syn-flood", 50, 50, 0, 100, 0, 0, TCP, true, false},
    {"udp-flood", 50, 50, 0, 100, 0, 0, UDP, true, false},
    {"port-scan", 75, 25, 0, 0, 100, 0, TCP, true, false},
    {"attack-and-data", 50, 50, 50, 50, 0, 0, TCP, true, false},
    {"attack-and-honest", 50, 50, 50, 47, 0, 3, TCP, true, false},
};

struct full {
    const struct kit *kit;
    const struct scenario *scenario;
    uint32_t size;
    size_t burst;
};

struct counts {
    uint64_t newcomers, evicted, refused, data, data_kept, honest, honest_good;
};

static void run(struct bench *b, const void *argument)
{
    const struct full *c = argument;
    const struct scenario *s = c->scenario;
    const struct kind tcp = {.protocol = TCP}, flood = {.protocol = s->protocol},
                      scan = {.protocol = TCP, .keys = SWEPT};
    const uint32_t hundredth = c->size / 100;
    const uint32_t open = s->open == 100 ? c->size : s->open * hundredth;
    const uint32_t half = s->half == 100 ? c->size : s->half == 0 ? 0 : c->size - open;
    struct shape shape = {.kit = c->kit, .kind = tcp, .max = c->size, .flows = open, .half = half,
                          .upto = STEP_DATA, .own = (uint32_t)(5 + (s->half != 0 || s->flood != 0))};
    struct table *w = table_of(b, &shape);
    if (w == NULL)
        return;
    /* Where newcomers fit, few enough that the level stays what it is called. */
    const bool fits = s->flood == 100 && !s->evicts && !s->refuses;
    const size_t few = c->size / 64 < ROUND ? c->size / 64 : ROUND;
    const size_t count = fits ? few : (ROUND < 4 * c->size ? ROUND : 4 * c->size) / 100 * 100;
    struct counts n = {0};
    struct draw d = {c->size};
    static uint32_t serial = 1 << 27; /* newcomers are never the same twice */
    static uint8_t role[ROUND];
    enum { DATA, FLOOD, SCAN, CLOSED, HONEST, ANSWER, AGREE };
    while (bench_next(b, count)) {
        const uint32_t first = serial;
        for (size_t i = 0; i < count; i++) {
            const uint32_t part = (uint32_t)(i % 100), told = s->data, turn = (uint32_t)(i / 100);
            if (part < told) {
                role[i] = DATA;
                packet_make(w, i, draw_below(&d, open), draw(&d) >> 63 ? KST_REPLY : KST_ORIGINAL, STEP_DATA);
            } else if (part < told + s->flood) {
                role[i] = FLOOD;
                packet_make_as(w, &flood, i, serial++, KST_ORIGINAL, STEP_OPEN);
            } else if (part < told + s->flood + s->scan) {
                role[i] = i % 2 == 0 ? SCAN : CLOSED;
                packet_make_as(w, &scan, i, i % 2 == 0 ? ++serial : serial, i % 2 != 0,
                               i % 2 == 0 ? STEP_OPEN : STEP_RST);
            } else { /* an honest newcomer, its answer and its ACK, each a hundred packets later */
                const uint32_t phase = part - told - s->flood - s->scan;
                role[i] = (uint8_t)(turn < phase ? FLOOD : HONEST + phase);
                if (turn < phase)
                    packet_make_as(w, &flood, i, serial++, KST_ORIGINAL, STEP_OPEN);
                else
                    packet_make_as(w, &tcp, i, (UINT32_C(1) << 31) + first + turn - phase, phase == 1,
                                   (enum step)(STEP_OPEN + phase));
            }
        }
        bench_start(b);
        w->now_ms = c->kit->track_all(w->t, w->now_ms, packets, count, c->burst, results, true);
        bench_stop(b);
        for (size_t i = 0; i < count; i++) {
            const struct kst_result *r = &results[i];
            const bool created = (r->flags & KST_CREATED) != 0;
            switch (role[i]) {
            case DATA:
                n.data++;
                n.data_kept += r->state == KST_ESTABLISHED && !created;
                break;
            case HONEST: n.honest += i + 200 < count; /* fall through */
            case FLOOD:
            case SCAN:
                n.newcomers++;
                n.evicted += created && r->reason == KST_REASON_TABLE_EVICTED;
                n.refused += !created && r->reason == KST_REASON_TABLE_FULL;
                break;
            case AGREE: n.honest_good += r->state == KST_ESTABLISHED && r->entry != 0; break;
            default: break;
            }
        }
        /* Those that the round added leave again where there was room, so do the honest. */
        for (size_t i = 0; i < count; i++)
            if ((fits && role[i] == FLOOD) || role[i] == AGREE)
                c->kit->delete(w->t, results[i].entry);
    }
    const uint32_t assured = c->kit->class_count(w->t, KST_CLASS_ASSURED);
    if (assured != open || n.data_kept != n.data)
        bench_fail(b, "of %u ASSURED %u are left; %llu of their %llu packets were ESTABLISHED",
                   open, assured, (unsigned long long)n.data_kept, (unsigned long long)n.data);
    if ((s->evicts && s->scan == 0 && s->honest == 0 && n.evicted != n.newcomers) ||
        (s->refuses && n.refused != n.newcomers) || (!s->refuses && n.refused != 0) ||
        (!s->evicts && n.evicted != 0))
        bench_fail(b, "of %llu newcomers %llu evicted somebody and %llu were refused",
                   (unsigned long long)n.newcomers, (unsigned long long)n.evicted,
                   (unsigned long long)n.refused);
    bench_counter(b, "load", (double)(open + half) / c->size);
    bench_counter(b, "connections", open + half);
    if (n.newcomers > 0) {
        bench_counter(b, "evicted", (double)n.evicted / (double)n.newcomers);
        bench_counter(b, "refused", (double)n.refused / (double)n.newcomers);
    }
    bench_counter(b, "kept", open > 0 ? (double)assured / open : 1);
    if (n.honest > 0)
        bench_counter(b, "honest", (double)n.honest_good / (double)n.honest);
}

void add_full(void)
{
    static const size_t bursts[] = {1, 32};
    for (size_t s = 0; sizes[s] != 0; s++)
        for (size_t k = 0; kits[k] != NULL; k++)
            for (size_t i = 0; i < COUNT(scenarios); i++)
                for (size_t how = 0; how < COUNT(bursts); how++) {
                    struct full *c = malloc(sizeof *c);
                    *c = (struct full){kits[k], &scenarios[i], sizes[s], bursts[how]};
                    bench_add(name_of("full", scenarios[i].name, sizes[s], kits[k]->index,
                                      kits[k]->timer, how == 0 ? "single" : "burst32"), run, c);
                }
}
