/* SPDX-License-Identifier: MIT */
/* bench/fragment.c - datagrams in fragments, each held, put together and then judged. An operation is
 * a fragment. */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum { DATAGRAMS = 512, MOST = 8, PART = 64 };

static const struct way {
    const char *name;
    bool v6, backwards;
    uint8_t parts;
} ways[] = {{"udp-2", false, false, 2},  {"udp-8", false, false, 8}, {"udp-8-backwards", false, true, 8},
            {"udp-2-v6", true, false, 2}, {"udp-8-v6", true, false, 8}};

struct fragment {
    const struct kit *kit;
    const struct way *way;
};

static uint8_t wires[DATAGRAMS * MOST][128];

/* Part `part` of a datagram of a flow, `number` its identification. */
static struct kst_packet cut(uint8_t *at, const struct way *way, uint32_t flow, uint32_t part, uint32_t number)
{
    const struct kind kind = {.protocol = UDP, .v6 = way->v6};
    const uint32_t none[2] = {0, 0}, ip_bytes = way->v6 ? 40 : 20, l4_bytes = way->parts * PART;
    const bool more = part + 1 < way->parts;
    uint8_t whole[40 + MOST * PART] = {0};
    packet_write(whole, &kind, flow, KST_ORIGINAL, STEP_DATA, none, NULL, l4_bytes - 8);
    memcpy(at, whole, ip_bytes);
    const uint32_t header = way->v6 ? 8 : 0, offset = part * PART / 8;
    memcpy(at + ip_bytes + header, whole + ip_bytes + part * PART, PART);
    if (way->v6) {
        at[4] = 0;
        at[5] = (uint8_t)(header + PART);
        at[6] = 44; /* a fragment header: next, reserved, offset and whether more follow, number */
        const uint8_t fragment[8] = {UDP, 0, (uint8_t)(offset >> 5), (uint8_t)(offset << 3 | more),
                                     (uint8_t)(number >> 24), (uint8_t)(number >> 16),
                                     (uint8_t)(number >> 8), (uint8_t)number};
        memcpy(at + ip_bytes, fragment, sizeof fragment);
    } else {
        at[2] = 0;
        at[3] = (uint8_t)(ip_bytes + PART);
        at[4] = (uint8_t)(number >> 8);
        at[5] = (uint8_t)number;
        at[6] = (uint8_t)((more ? 0x20 : 0) | offset >> 8);
        at[7] = (uint8_t)offset;
    }
    return (struct kst_packet){.data = at, .size = ip_bytes + header + PART, .checksum = KST_CHECKSUM_GOOD};
}

static void run(struct bench *b, const void *argument)
{
    const struct fragment *c = argument;
    const struct way *way = c->way;
    struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                  .kind = {.protocol = UDP, .v6 = way->v6},
                                                  .max = 4096,
                                                  .flows = 1024,
                                                  .upto = STEP_OPEN,
                                                  .reassembly_bytes = 4 << 20});
    const size_t count = (size_t)DATAGRAMS * way->parts;
    const uint64_t before = w == NULL ? 0 : c->kit->statistics(w->t)->reassembled;
    uint64_t datagrams = 0;
    struct draw d = {way->parts};
    while (w != NULL && bench_next(b, count)) {
        for (size_t i = 0; i < count; i++) { /* the parts of 32 datagrams come mixed */
            const uint32_t wave = (uint32_t)i / (32 * way->parts), in = (uint32_t)i % (32 * way->parts);
            const uint32_t part = way->backwards ? way->parts - 1 - in / 32 : in / 32;
            const uint32_t which = wave * 32 + in % 32;
            packets[i] = cut(wires[i], way, which, part, (uint32_t)datagrams + which);
        }
        bench_start(b);
        w->now_ms = c->kit->track_all(w->t, w->now_ms, packets, count, 32, results, false);
        bench_stop(b);
        datagrams += DATAGRAMS;
        draw(&d);
    }
    if (w == NULL)
        return;
    const uint64_t whole = c->kit->statistics(w->t)->reassembled - before;
    if (whole != datagrams || c->kit->count(w->t) != 1024)
        bench_fail(b, "of %llu datagrams %llu were put together; the last fragment: %s",
                   (unsigned long long)datagrams, (unsigned long long)whole,
                   c->kit->reason_name((enum kst_reason)results[0].reason));
}

void add_fragments(void)
{
    for (size_t k = 0; kits[k] != NULL; k++)
        for (size_t i = 0; i < COUNT(ways); i++) {
            struct fragment *c = malloc(sizeof *c);
            *c = (struct fragment){kits[k], &ways[i]};
            bench_add(name_of("fragment", ways[i].name, 1024, kits[k]->index, kits[k]->timer, "burst32"), run, c);
        }
}
