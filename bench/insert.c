/* SPDX-License-Identifier: MIT */
/* bench/insert.c - a new connection, from its first packet; its removal; and a mixture of finding,
 * adding and removing at a constant number of connections. Peers add and remove keys. */
#include "bench.h"
#include "peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum act { INSERT, REMOVE, MIXED };
static const char *const act_names[] = {"insert", "remove", "mixed"};

struct insert {
    const struct kit *kit; /* or */
    const struct peer *peer;
    struct kind kind;
    uint32_t size;
    enum act act;
    size_t burst;
};

static size_t round_of(uint32_t size)
{
    return ROUND < size ? ROUND : size;
}

/* No order that memory knows: `size` is a power of two. */
static uint32_t shuffled(uint32_t turn, uint32_t size)
{
    return turn * UINT32_C(2654435761) % size;
}

/* From none to as many as fit; then all are forgotten, and it begins anew. */
static void insert_ours(struct bench *b, const struct insert *c)
{
    struct table *w = table_of(b, &(struct shape){.kit = c->kit, .kind = c->kind, .max = c->size, .own = 1});
    const size_t count = round_of(c->size);
    const uint64_t before = w == NULL ? 0 : c->kit->statistics(w->t)->created;
    uint64_t sent = 0;
    while (w != NULL && bench_next(b, count)) {
        if (c->kit->count(w->t) == c->size)
            c->kit->flush(w->t);
        const uint32_t first = c->kit->count(w->t);
        for (size_t i = 0; i < count; i++)
            packet_make(w, i, first + (uint32_t)i, KST_ORIGINAL, STEP_OPEN);
        bench_start(b);
        w->now_ms = c->kit->track_all(w->t, w->now_ms, packets, count, c->burst, results, false);
        bench_stop(b);
        sent += count;
        if (c->kit->count(w->t) != first + count)
            bench_fail(b, "%u are in the table, not %zu", c->kit->count(w->t), first + count);
    }
    if (w != NULL && c->kit->statistics(w->t)->created - before != sent)
        bench_fail(b, "not every first packet created a connection");
    if (w != NULL)
        bench_counter(b, "bytes", (double)w->bytes / c->size);
}

/* By name, in no order; those removed come back outside the timed part. */
static void remove_ours(struct bench *b, const struct insert *c)
{
    static kst_id round_ids[ROUND];
    struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                  .kind = c->kind,
                                                  .max = c->size,
                                                  .flows = c->size,
                                                  .upto = STEP_OPEN,
                                                  .own = 1});
    if (w == NULL)
        return;
    const size_t count = round_of(c->size);
    kst_id *ids = malloc(c->size * sizeof *ids);
    for (uint32_t flow = 0; flow < c->size; flow++) {
        const struct kst_tuple tuple = flow_tuple(&c->kind, flow);
        ids[flow] = c->kit->find(w->t, &tuple, NULL);
    }
    uint32_t turn = 0;
    while (bench_next(b, count)) {
        for (size_t i = 0; i < count; i++)
            round_ids[i] = ids[shuffled(turn + (uint32_t)i, c->size)];
        bench_start(b);
        const uint64_t gone = c->kit->delete_all(w->t, round_ids, count);
        bench_stop(b);
        if (gone != count || c->kit->count(w->t) != c->size - count)
            bench_fail(b, "%llu of %zu were removed", (unsigned long long)gone, count);
        for (size_t i = 0; i < count; i++)
            packet_make(w, i, shuffled(turn + (uint32_t)i, c->size), KST_ORIGINAL, STEP_OPEN);
        c->kit->track_all(w->t, w->now_ms, packets, count, 256, results, true);
        for (size_t i = 0; i < count; i++)
            ids[shuffled(turn++, c->size)] = results[i].entry;
    }
    free(ids);
}

/* Three quarters full; those added are the next in a row, those removed the oldest. */
struct rotation {
    uint32_t first, next;
    struct draw draws;
};

static uint32_t rotate(struct rotation *r, size_t i)
{
    return i % 10 < 8 ? r->first + 10 + draw_below(&r->draws, r->next - r->first - 20) /* surely there */
           : i % 10 == 8 ? r->next++
                         : r->first++;
}

static void mixed_ours(struct bench *b, const struct insert *c)
{
    static struct kst_tuple tuples[ROUND];
    const uint32_t in = c->size / 4 * 3;
    struct shape shape = {.kit = c->kit, .kind = c->kind, .max = c->size, .flows = in, .upto = STEP_OPEN, .own = 2};
    struct table *w = table_of(b, &shape);
    const size_t count = round_of(c->size / 4) / 10 * 10;
    struct rotation r = {0, in, {1}};
    while (w != NULL && bench_next(b, count)) {
        /* What is found must be there when its turn comes: it is drawn from before this round. */
        struct rotation before = r;
        before.first += (uint32_t)count / 10;
        for (size_t i = 0; i < count; i++) {
            const uint32_t flow = i % 10 < 8 ? rotate(&before, 0) : rotate(&r, i);
            tuples[i] = flow_tuple(&c->kind, flow);
            if (i % 10 == 8)
                packet_make(w, i, flow, KST_ORIGINAL, STEP_OPEN);
        }
        r.draws = before.draws;
        bench_start(b);
        const uint64_t good = c->kit->mixed(w->t, w->now_ms, tuples, packets, count);
        bench_stop(b);
        if (good != count || c->kit->count(w->t) != in)
            bench_fail(b, "%llu of %zu operations did what they should", (unsigned long long)good, count);
    }
    if (w != NULL)
        table_drop(w);
}

static void run_ours(struct bench *b, const void *argument)
{
    static void (*const acts[])(struct bench *, const struct insert *) = {
        [INSERT] = insert_ours, [REMOVE] = remove_ours, [MIXED] = mixed_ours};
    const struct insert *c = argument;
    acts[c->act](b, c);
}

/* ---- peers: the same, and the table begins as one that has been full, where it can ---- */

static uint8_t keys[ROUND * 40] __attribute__((aligned(64)));

static void keys_make(const struct insert *c, uint32_t first, size_t count)
{
    for (size_t i = 0; i < count; i++)
        key_of(&c->kind, c->act == REMOVE ? shuffled(first + (uint32_t)i, c->size) : first + (uint32_t)i,
               keys + i * c->peer->key_bytes);
}

static void run_peer(struct bench *b, const void *argument)
{
    const struct insert *c = argument;
    const struct peer *peer = c->peer;
    void *table = peer->make(c->size);
    if (table == NULL) {
        bench_fail(b, "it cannot be had");
        return;
    }
    const uint32_t in = c->act == INSERT ? 0 : c->act == REMOVE ? c->size : c->size / 4 * 3;
    const size_t count = c->act == MIXED ? round_of(c->size / 4) / 10 * 10 : round_of(c->size);
    uint64_t put = 0;
    for (uint32_t first = 0; first < c->size; first += (uint32_t)round_of(c->size)) {
        keys_make(c, first, round_of(c->size));
        put += peer->add(table, keys, round_of(c->size), first);
    }
    for (uint32_t first = in; first < c->size; first += ROUND) {
        const size_t some = c->size - first < ROUND ? c->size - first : ROUND;
        keys_make(c, first, some);
        put -= peer->remove(table, keys, some);
    }
    if (put != in)
        bench_fail(b, "it did not take the keys");
    struct rotation r = {0, in, {1}};
    uint32_t turn = 0;
    while (bench_next(b, count)) {
        uint64_t good = 0;
        switch (c->act) {
        case INSERT:
            if (turn == c->size) {
                for (turn = 0; turn < c->size; turn += (uint32_t)count) {
                    keys_make(c, turn, count);
                    peer->remove(table, keys, count);
                }
                turn = 0;
            }
            keys_make(c, turn, count);
            bench_start(b);
            good = peer->add(table, keys, count, turn + 1);
            bench_stop(b);
            break;
        case REMOVE:
            keys_make(c, turn, count);
            bench_start(b);
            good = peer->remove(table, keys, count);
            bench_stop(b);
            peer->add(table, keys, count, 1);
            break;
        case MIXED: {
            struct rotation before = r;
            before.first += (uint32_t)count / 10;
            for (size_t i = 0; i < count; i++)
                key_of(&c->kind, i % 10 < 8 ? rotate(&before, 0) : rotate(&r, i),
                       keys + i * peer->key_bytes);
            r.draws = before.draws;
            bench_start(b);
            good = peer->mixed(table, keys, count);
            bench_stop(b);
            break;
        }
        }
        turn += (uint32_t)count;
        if (good != count)
            bench_fail(b, "%llu of %zu operations did what they should", (unsigned long long)good, count);
    }
    peer->unmake(table);
}

static void add(struct insert base)
{
    static const struct kind kinds[] = {{.protocol = TCP},
                                        {.protocol = TCP, .v6 = true},
                                        {.protocol = TCP, .keys = COLLIDING}};
    static const char *const kind_names[] = {"v4", "v6", "v4-adversarial"};
    static const size_t bursts[] = {1, 32};
    for (size_t k = 0; k < COUNT(kinds); k++)
        for (size_t i = 0; i < COUNT(bursts); i++) {
            struct insert *c = malloc(sizeof *c);
            *c = base;
            c->kind = kinds[k];
            c->burst = bursts[i];
            /* A call of many first packets; all else has a call each. rte_hash takes no more than 16
             * keys of one CRC, so that there is nothing to measure. */
            if ((bursts[i] != 1 && (base.peer != NULL || base.act != INSERT)) ||
                (base.peer != NULL && base.peer->key_bytes != (kinds[k].v6 ? 40 : 16)) ||
                (kinds[k].keys == COLLIDING && (base.act != INSERT || base.peer != NULL)))
                free(c);
            else
                bench_add(name_of(act_names[c->act], kind_names[k], c->size,
                                  c->kit != NULL ? c->kit->index : "peer",
                                  c->kit != NULL ? c->kit->timer : c->peer->name,
                                  bursts[i] == 1 ? "single" : "burst32"),
                          c->kit != NULL ? run_ours : run_peer, c);
        }
}

void add_inserts(void)
{
    for (size_t s = 0; sizes[s] != 0; s++)
        for (enum act act = INSERT; act <= MIXED; act++) {
            for (size_t i = 0; kits[i] != NULL; i++)
                add((struct insert){.kit = kits[i], .size = sizes[s], .act = act});
            for (size_t i = 0; peers[i] != NULL; i++)
                add((struct insert){.peer = peers[i], .size = sizes[s], .act = act});
        }
}
