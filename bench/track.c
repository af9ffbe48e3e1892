/* SPDX-License-Identifier: MIT */
/* bench/track.c - the whole way of a packet of a connection that is open: parsed, found, judged,
 * counted, its timer prolonged; both directions, every packet another connection's. Also translated. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

static const struct traffic {
    const char *name;
    struct kind kind;
    enum order order;
} traffics[] = {
    {"tcp", {.protocol = TCP}, UNIFORM},
    {"tcp-v6", {.protocol = TCP, .v6 = true}, UNIFORM},
    {"tcp-timestamps", {.protocol = TCP, .options = true}, UNIFORM},
    {"tcp-checksum", {.protocol = TCP, .verify = true}, UNIFORM},
    {"tcp-nat", {.protocol = TCP, .nat = true}, UNIFORM}, /* of the connections that translate/tcp has */
    {"tcp-zipf", {.protocol = TCP}, ZIPF},
    {"tcp-hot", {.protocol = TCP}, HOT},
    {"tcp-sequential", {.protocol = TCP, .keys = ADJACENT}, IN_TURN},
    {"tcp-adversarial", {.protocol = TCP, .keys = COLLIDING}, UNIFORM},
    {"udp", {.protocol = UDP}, UNIFORM},
    {"udp-v6", {.protocol = UDP, .v6 = true}, UNIFORM},
    {"udplite", {.protocol = UDPLITE}, UNIFORM},
    {"icmp", {.protocol = ICMP}, UNIFORM},
    {"icmp-v6", {.protocol = ICMP6, .v6 = true}, UNIFORM},
    {"sctp", {.protocol = SCTP}, UNIFORM},
    {"gre", {.protocol = GRE}, UNIFORM},
    {"other", {.protocol = ESP}, UNIFORM},
};

static const struct traffic translated[] = {
    {"tcp", {.protocol = TCP, .nat = true}, UNIFORM},
    {"tcp-v6", {.protocol = TCP, .v6 = true, .nat = true}, UNIFORM},
    {"udp", {.protocol = UDP, .nat = true}, UNIFORM},
};

static const struct {
    const char *name;
    size_t burst;
} hows[] = {{"single", 1}, {"burst32", 32}, {"burst256", 256}};

struct track {
    const struct kit *kit;
    const struct traffic *traffic;
    uint32_t size;
    uint8_t how;
    bool translate;
};

static void run(struct bench *b, const void *argument)
{
    const struct track *c = argument;
    const bool nat = c->traffic->kind.nat;
    const struct shape shape = {.kit = c->kit,
                                .kind = c->traffic->kind,
                                .max = c->size,
                                .flows = c->size,
                                .upto = STEP_DATA,
                                .features = nat ? KST_WITH_NAT : 0};
    struct table *w = table_of(b, &shape);
    if (w == NULL)
        return;
    const size_t count = ROUND < 4 * c->size ? ROUND : 4 * c->size;
    const struct kst_stats before = *c->kit->statistics(w->t);
    struct draw d = {c->size};
    uint64_t sent = 0;
    uint32_t turn = 0;
    while (bench_next(b, count)) {
        for (size_t i = 0; i < count; i++) {
            const uint32_t flow = draw_flow(&d, c->traffic->order, c->size, turn++);
            packet_make(w, i, flow, draw(&d) >> 63 ? KST_REPLY : KST_ORIGINAL, STEP_DATA);
        }
        bench_start(b);
        w->now_ms = (c->translate ? c->kit->translate_all : c->kit->track_all)(
            w->t, w->now_ms, packets, count, hows[c->how].burst, results, false);
        bench_stop(b);
        sent += count;
        for (size_t i = 0; i < hows[c->how].burst && i < count; i++)
            if (results[i].state != KST_ESTABLISHED || results[i].entry == 0)
                bench_fail(b, "a packet is not ESTABLISHED: %s",
                           c->kit->reason_name((enum kst_reason)results[i].reason));
    }
    const struct kst_stats *after = c->kit->statistics(w->t);
    const uint64_t good = after->reasons[KST_REASON_NONE] - before.reasons[KST_REASON_NONE];
    if (after->packets - before.packets != sent || good != sent || after->created != before.created ||
        c->kit->count(w->t) != c->size)
        bench_fail(b, "of %llu packets %llu were plain, %llu created a connection",
                   (unsigned long long)sent, (unsigned long long)good,
                   (unsigned long long)(after->created - before.created));
    bench_counter(b, "bytes", (double)w->bytes / c->size);
    bench_counter(b, "connections", c->size);
}

static void add(const char *subject, const struct traffic *traffic, size_t count, bool translate)
{
    for (size_t s = 0; sizes[s] != 0; s++)
        for (size_t k = 0; kits[k] != NULL; k++)
            for (size_t i = 0; i < count; i++)
                for (uint8_t how = 0; how < COUNT(hows); how++) {
                    struct track *c = malloc(sizeof *c);
                    *c = (struct track){kits[k], &traffic[i], sizes[s], how, translate};
                    bench_add(name_of(subject, traffic[i].name, sizes[s], kits[k]->index,
                                      kits[k]->timer, hows[how].name),
                              run, c);
                }
}

void add_tracks(void)
{
    add("track", traffics, COUNT(traffics), false);
}

void add_translates(void)
{
    add("translate", translated, COUNT(translated), true);
}
