/* SPDX-License-Identifier: MIT */
/* core/limit.h - who has how many: a tally for each source and each zone that has a connection, in a
 * hash table of its own behind the columns. Under KST_WITH_LIMITS alone.
 *
 * A source is the network of an original source address (config.source_prefix) in its zone; the tally
 * of a zone has no family. Counting costs one walk of a chain, which a newcomer finds at most
 * KST_CHAIN_MAX long, or is refused. */
#ifndef KST_LIMIT_H
#define KST_LIMIT_H

#include "pool.h"

KST_INLINE struct kst__tallies *kst__tallies_of(const struct kst *t)
{
    return (struct kst__tallies *)kst__at(t, t->tallies_at);
}

KST_INLINE uint32_t *kst__tally_bucket(const struct kst *t, uint32_t number)
{
    return (uint32_t *)(kst__tallies_of(t) + 1) + number;
}

KST_INLINE struct kst__tally *kst__tally_at(const struct kst *t, uint32_t place)
{
    return (struct kst__tally *)(kst__tally_bucket(t, 0) + kst__tallies_of(t)->buckets) + place;
}

/* Each connection has two, at most, that nobody shares. */
static uint32_t kst__tally_buckets(uint32_t slots)
{
    uint32_t buckets = 1;
    while (buckets < 2 * slots)
        buckets *= 2;
    return buckets;
}

static uint64_t kst__tallies_bytes(uint32_t slots)
{
    return sizeof(struct kst__tallies) + kst__tally_buckets(slots) * (uint64_t)sizeof(uint32_t) +
           2 * (uint64_t)slots * sizeof(struct kst__tally);
}

static void kst__tallies_init(struct kst *t)
{
    struct kst__tallies *tallies = kst__tallies_of(t);
    tallies->buckets = kst__tally_buckets(kst__slots(t));
    tallies->used = 0;
    tallies->free = KST__NONE;
    memset(kst__tally_bucket(t, 0), 0xff, tallies->buckets * sizeof(uint32_t)); /* KST__NONE */
}

/* The tally that a connection counts in, empty: its source's, or its zone's. Returns the bucket. */
static uint32_t *kst__tally_of(const struct kst *t, const struct kst_tuple *tuple, bool source,
                               struct kst__tally *tally)
{
    memset(tally, 0, sizeof *tally);
    tally->zone = tuple->zone;
    if (source) {
        const uint32_t bits = t->source_prefix[tuple->family == KST_IPV6];
        tally->family = tuple->family;
        memcpy(tally->address, tuple->src, (bits + 7) / 8);
        if (bits % 8 != 0)
            tally->address[bits / 8] &= (uint8_t)(0xff << (8 - bits % 8));
    }
    const uint64_t words[2] = {kst__be64(tally->address), kst__be64(tally->address + 8)};
    const uint64_t hash = kst__hash(t->seed, words, 2,
                                    UINT64_C(19) << 56 | (uint64_t)tally->family << 16 | tally->zone);
    return kst__tally_bucket(t, (uint32_t)hash & (kst__tallies_of(t)->buckets - 1));
}

/* The link, in a bucket or in a tally, that leads to one like this; to KST__NONE if there is none.
 * Adds the steps it took. */
static uint32_t *kst__tally_find(const struct kst *t, uint32_t *link, const struct kst__tally *like,
                                 uint32_t *steps)
{
    for (; *link != KST__NONE; link = &kst__tally_at(t, *link)->next, *steps += 1)
        if (memcmp(kst__tally_at(t, *link), like, offsetof(struct kst__tally, count)) == 0)
            break;
    return link;
}

/* How many connections a tuple's source, or its zone, has; and the length of the chain. */
static uint32_t kst__tallied(const struct kst *t, const struct kst_tuple *tuple, bool source,
                           uint32_t *steps)
{
    struct kst__tally like;
    uint32_t *bucket = kst__tally_of(t, tuple, source, &like);
    const uint32_t *link = kst__tally_find(t, bucket, &like, steps);
    return *link != KST__NONE ? kst__tally_at(t, *link)->count : 0;
}

/* What a newcomer with this tuple is refused for, or NONE. */
static uint16_t kst__over_limit(const struct kst *t, const struct kst_tuple *tuple)
{
    uint32_t steps = 0;
    const uint32_t source_max = t->set[KST__SET_SOURCE_MAX], zone_max = t->set[KST__SET_ZONE_MAX];
    if (kst__tallied(t, tuple, true, &steps) >= source_max && source_max != 0)
        return KST_REASON_SOURCE_LIMIT;
    if (kst__tallied(t, tuple, false, &steps) >= zone_max && zone_max != 0)
        return KST_REASON_ZONE_LIMIT;
    return steps < KST_CHAIN_MAX ? KST_REASON_NONE : KST_REASON_CHAIN_TOO_LONG;
}

static void kst__tally_add(struct kst *t, const struct kst_tuple *tuple, bool source)
{
    struct kst__tallies *tallies = kst__tallies_of(t);
    struct kst__tally like;
    uint32_t steps = 0;
    uint32_t *bucket = kst__tally_of(t, tuple, source, &like);
    uint32_t place = *kst__tally_find(t, bucket, &like, &steps);
    if (place == KST__NONE) {
        place = tallies->free;
        if (place != KST__NONE)
            tallies->free = kst__tally_at(t, place)->next;
        else
            place = tallies->used++;
        like.next = *bucket;
        *kst__tally_at(t, place) = like;
        *bucket = place;
    }
    kst__tally_at(t, place)->count++;
}

static void kst__tally_drop(struct kst *t, const struct kst_tuple *tuple, bool source)
{
    struct kst__tallies *tallies = kst__tallies_of(t);
    struct kst__tally like;
    uint32_t steps = 0;
    uint32_t *link = kst__tally_find(t, kst__tally_of(t, tuple, source, &like), &like, &steps);
    const uint32_t place = *link;
    KST_ASSERT(place != KST__NONE);
    struct kst__tally *tally = kst__tally_at(t, place);
    if (--tally->count > 0)
        return;
    *link = tally->next;
    tally->next = tallies->free;
    tallies->free = place;
}

/* Everything that is counted, counted again: the sum over all tallies of a kind is all connections. */
static const char *kst__tallies_check(const struct kst *t)
{
    const struct kst__tallies *tallies = kst__tallies_of(t);
    uint64_t connections = 0, places = 0;
    if (tallies->used > 2 * (uint64_t)kst__slots(t))
        return "limit: more tallies than there may be";
    for (uint32_t i = 0; i < tallies->buckets; i++)
        for (uint32_t place = *kst__tally_bucket(t, i); place != KST__NONE;
             place = kst__tally_at(t, place)->next) {
            if (place >= tallies->used || ++places > tallies->used)
                return "limit: a chain leads astray";
            if (kst__tally_at(t, place)->count == 0)
                return "limit: a tally of nothing";
            connections += kst__tally_at(t, place)->count;
        }
    for (uint32_t place = tallies->free; place != KST__NONE; place = kst__tally_at(t, place)->next)
        if (place >= tallies->used || ++places > tallies->used)
            return "limit: the free list leads astray";
    if (places != tallies->used)
        return "limit: a tally is lost";
    return connections == 2 * (uint64_t)t->count ? NULL : "limit: a connection is in none";
}

#endif
