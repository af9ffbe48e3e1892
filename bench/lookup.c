/* SPDX-License-Identifier: MIT */
/* bench/lookup.c - finding one of so many connections, or noticing that it is not there, by its
 * tuple: in a call each, in calls that wait for each other, and in a window; in ours and in peers. */
#include "bench.h"
#include "peers.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    enum order order;
    enum keys keys;
} ways[] = {{"", UNIFORM, SCATTERED},
            {"-zipf", ZIPF, SCATTERED},
            {"-hot", HOT, SCATTERED},
            {"-sequential", IN_TURN, ADJACENT},
            {"-adversarial", UNIFORM, COLLIDING}};

enum how { SINGLE, DEPENDENT, BURST, LONG_BURST };
static const char *const how_names[] = {"single", "dependent", "burst32", "burst256"};

struct lookup {
    const struct kit *kit; /* or */
    const struct peer *peer;
    struct kind kind;
    enum order order;
    enum how how;
    bool miss;
    uint32_t size;
};

/* Who is asked for: flows beyond those that are there are missed. */
static uint32_t asked(const struct lookup *c, struct draw *d, uint32_t turn)
{
    return draw_flow(d, c->order, c->size, turn) + (c->miss ? c->size : 0);
}

static size_t round_of(uint32_t size)
{
    return ROUND < 4 * size ? ROUND : 4 * size;
}

static void run_ours(struct bench *b, const void *argument)
{
    static struct kst_tuple tuples[ROUND];
    const struct lookup *c = argument;
    const struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                        .kind = c->kind,
                                                        .max = c->size,
                                                        .flows = c->size,
                                                        .upto = STEP_OPEN});
    if (w == NULL)
        return;
    const size_t count = round_of(c->size);
    struct draw d = {c->size};
    uint64_t hits = 0, asks = 0;
    uint32_t turn = 0;
    while (bench_next(b, count)) {
        for (size_t i = 0; i < count; i++)
            tuples[i] = flow_tuple(&c->kind, asked(c, &d, turn++));
        bench_start(b);
        hits += c->how == SINGLE      ? c->kit->find_each(w->t, tuples, count)
                : c->how == DEPENDENT ? c->kit->find_dependent(w->t, tuples, count)
                                      : c->kit->find_batch(w->t, tuples, count, c->how == BURST ? 32 : 256);
        bench_stop(b);
        asks += count;
    }
    if (hits != (c->miss ? 0 : asks))
        bench_fail(b, "%llu of %llu were found", (unsigned long long)hits, (unsigned long long)asks);
    struct kst_flow flow;
    for (size_t i = 0; i < count && !c->miss; i++)
        if (!c->kit->get(w->t, c->kit->find(w->t, &tuples[i], NULL), &flow) ||
            memcmp(&flow.tuple[0], &tuples[i], sizeof tuples[i]) != 0)
            bench_fail(b, "another was found than asked for");
    bench_counter(b, "bytes", (double)w->bytes / c->size);
    bench_counter(b, "connections", c->size);
}

/* ---- peers ---- */

void key_of(const struct kind *kind, uint32_t flow, void *key)
{
    const struct kst_tuple tuple = flow_tuple(kind, flow);
    if (kind->v6) {
        memcpy(key, &tuple, sizeof tuple);
        return;
    }
    uint8_t *at = key;
    memcpy(at, tuple.src, 4);
    memcpy(at + 4, tuple.dst, 4);
    memcpy(at + 8, &tuple.src_port, 4);
    at[12] = tuple.protocol;
    memset(at + 13, 0, 3);
}

struct peer_table {
    const struct peer *peer;
    void *table;
    double bytes; /* a key */
};

static void peer_free(void *thing)
{
    struct peer_table *p = thing;
    p->peer->unmake(p->table);
    free(p);
}

static uint64_t allocated(const struct peer *peer)
{
    const struct mallinfo2 heap = mallinfo2();
    return peer->bytes != NULL ? peer->bytes() : heap.uordblks + heap.hblkhd;
}

static uint8_t keys[ROUND * 40] __attribute__((aligned(64)));

static struct peer_table *peer_of(struct bench *b, const struct lookup *c)
{
    char name[96];
    snprintf(name, sizeof name, "peer %s %u %u keys %d", c->peer->name, c->peer->key_bytes, c->size,
             c->kind.keys);
    struct peer_table *p = kept(name);
    if (p != NULL)
        return p;
    const uint64_t before = allocated(c->peer);
    p = calloc(1, sizeof *p);
    p->peer = c->peer;
    p->table = c->peer->make(c->size);
    uint64_t done = 0;
    for (uint32_t flow = 0; p->table != NULL && flow < c->size; flow += ROUND) {
        const uint32_t some = c->size - flow < ROUND ? c->size - flow : ROUND;
        for (uint32_t i = 0; i < some; i++)
            key_of(&c->kind, flow + i, keys + (size_t)i * c->peer->key_bytes);
        done += c->peer->add(p->table, keys, some, flow + 1);
    }
    if (done != c->size) {
        bench_fail(b, "it took %llu of %u keys", (unsigned long long)done, c->size);
        if (p->table != NULL)
            c->peer->unmake(p->table);
        free(p);
        return NULL;
    }
    p->bytes = (double)(allocated(c->peer) - before) / c->size;
    return keep(name, p, (size_t)(p->bytes * c->size), peer_free);
}

static void run_peer(struct bench *b, const void *argument)
{
    const struct lookup *c = argument;
    const struct peer *peer = c->peer;
    const struct peer_table *p = peer_of(b, c);
    if (p == NULL)
        return;
    const size_t count = round_of(c->size);
    struct draw d = {c->size};
    uint64_t sum = 0, expected = 0;
    uint32_t turn = 0;
    while (bench_next(b, count)) {
        for (size_t i = 0; i < count; i++) {
            const uint32_t flow = asked(c, &d, turn++);
            key_of(&c->kind, flow, keys + i * peer->key_bytes);
            expected += c->miss ? 0 : flow + 1;
        }
        bench_start(b);
        sum += c->how == SINGLE      ? peer->find(p->table, keys, count)
               : c->how == DEPENDENT ? peer->find_dependent(p->table, keys, count)
                                     : peer->find_bulk(p->table, keys, count);
        bench_stop(b);
    }
    if (sum != expected)
        bench_fail(b, "the values found are not those that were put in");
    bench_counter(b, "bytes", p->bytes);
    bench_counter(b, "connections", c->size);
}

static void add(const struct lookup *lookup, const char *way)
{
    char what[64];
    struct lookup *c = malloc(sizeof *c);
    *c = *lookup;
    snprintf(what, sizeof what, "%s-%s%s", c->miss ? "miss" : "hit", c->kind.v6 ? "v6" : "v4", way);
    if (c->kit != NULL)
        bench_add(name_of("lookup", what, c->size, c->kit->index, c->kit->timer, how_names[c->how]),
                  run_ours, c);
    else
        bench_add(name_of("lookup", what, c->size, "peer", c->peer->name, how_names[c->how]), run_peer,
                  c);
}

/* Every way, hit and miss, that makes sense: the less usual distributions for hits alone. What
 * collides under CRC32C is no attack on peers with another hash, and rte_hash takes 16 of them. */
static void add_all(const struct lookup *base)
{
    for (size_t way = 0; way < COUNT(ways); way++)
        for (int v6 = 0; v6 < 2; v6++)
            for (int how = SINGLE; how <= LONG_BURST; how++)
                for (int miss = 0; miss < 2; miss++) {
                    struct lookup c = *base;
                    c.kind = (struct kind){.protocol = TCP, .v6 = v6 != 0, .keys = ways[way].keys};
                    c.order = ways[way].order;
                    c.how = (enum how)how;
                    c.miss = miss != 0;
                    const bool plain = way == 0;
                    if ((!plain && (v6 || miss || how == DEPENDENT)) || (miss && how == DEPENDENT) ||
                        (c.peer != NULL && (how == LONG_BURST || (how == BURST && c.peer->find_bulk == NULL))) ||
                        (c.peer != NULL && c.peer->key_bytes != (v6 ? 40 : 16)) ||
                        (c.peer != NULL && c.kind.keys == COLLIDING))
                        continue;
                    add(&c, ways[way].name);
                }
}

void add_lookups(void)
{
    for (size_t s = 0; sizes[s] != 0; s++) {
        for (size_t i = 0; kits[i] != NULL; i++)
            add_all(&(struct lookup){.kit = kits[i], .size = sizes[s]});
        for (size_t i = 0; peers[i] != NULL; i++)
            add_all(&(struct lookup){.peer = peers[i], .size = sizes[s]});
    }
}
