/* SPDX-License-Identifier: MIT */
/* core/index_robin.h - open addressing place by place, robin hood: who lies further from home goes first.
 *
 *     struct kst__robin | place | place | ...         eight to a cache line
 *
 * A place keeps 32 bits of its node's hash, so a walk looks at an entry only when it is (nearly)
 * sure to match, and everybody's home is known without it. An insertion takes the first place whose
 * node lies nearer to its home, and moves that one and those behind it one place on; a removal
 * moves them back. So nobody lies further off than need be, a search ends at the first who lies
 * nearer to home than it has come, and nothing is left behind.
 *
 * The places are cut into rings of KST__ROBIN_RING, each by itself: the last is followed by the
 * first. That is the bound on everything.
 *
 * Room: 16 bytes a node where `max` is a power of two, up to 32 elsewhere: at most half of the places
 * are taken. Under a secret seed twice as many nodes as the average would have to belong in one ring
 * for an insertion to be refused: a chance of less than 1e-21 a ring.
 *
 * Bounds: a find, an insertion or a removal looks at the KST__ROBIN_RING places of a ring (32 lines),
 * twice. On average a find that hits looks at one and a half. An insertion into a full ring is
 * refused.
 *
 * The high half of the hash is kept; its low bits choose the place. Who does not know the seed
 * chooses neither. */
#ifndef KST_INDEX_ROBIN_H
#define KST_INDEX_ROBIN_H

#include "index.h"

#define KST__ROBIN_RING 256U
#define KST__ROBIN_LINE 8U /* places in a cache line, the fewest there are */

struct kst__place {
    uint32_t node; /* KST__NONE: free */
    uint32_t bits; /* high half of the hash */
};

struct kst__robin {
    uint32_t mask; /* places - 1 */
    uint32_t ring; /* places in a ring - 1 */
};

typedef char kst__robin_fits_a_line[sizeof(struct kst__robin) <= KST_ALIGN ? 1 : -1];

/* Two places a node, if there are as many buckets as connections. Fewer buckets mean fewer places. */
static uint64_t kst__robin_count(uint32_t nodes_max, uint32_t buckets)
{
    const uint64_t room = nodes_max <= (uint64_t)buckets + 1 ? buckets : (uint64_t)buckets * 2;
    return 2 * room > KST__ROBIN_LINE ? 2 * room : KST__ROBIN_LINE;
}

static uint64_t kst__robin_bytes(uint32_t nodes_max, uint32_t buckets)
{
    return KST_ALIGN + kst__robin_count(nodes_max, buckets) * sizeof(struct kst__place);
}

static void kst__robin_init(void *ix, uint32_t nodes_max, uint32_t buckets)
{
    struct kst__robin *robin = (struct kst__robin *)ix;
    const uint64_t count = kst__robin_count(nodes_max, buckets);
    memset(ix, 0, KST_ALIGN);
    robin->mask = (uint32_t)(count - 1);
    robin->ring = count < KST__ROBIN_RING ? robin->mask : KST__ROBIN_RING - 1;
    memset((uint8_t *)ix + KST_ALIGN, 0xff, (size_t)count * sizeof(struct kst__place)); /* KST__NONE */
}

KST_INLINE struct kst__place *kst__robin_at(const void *ix, uint32_t number)
{
    return (struct kst__place *)((uint8_t *)(uintptr_t)ix + KST_ALIGN) + number;
}

/* The next place in the ring. */
KST_INLINE uint32_t kst__robin_next(const void *ix, uint32_t number)
{
    const uint32_t ring = ((const struct kst__robin *)ix)->ring;
    return (number & ~ring) | ((number + 1) & ring);
}

KST_INLINE uint32_t kst__robin_home(const void *ix, uint32_t bits)
{
    return bits & ((const struct kst__robin *)ix)->mask;
}

/* How far the place is from the home of who is in it. */
KST_INLINE uint32_t kst__robin_distance(const void *ix, uint32_t number)
{
    return (number - kst__robin_at(ix, number)->bits) & ((const struct kst__robin *)ix)->ring;
}

static void kst__robin_prefetch(const void *ix, uint64_t hash)
{
    KST_PREFETCH(kst__robin_at(ix, kst__robin_home(ix, (uint32_t)(hash >> 32))));
}

/* Not beyond the line that was fetched; what lies there is fetched if the search gets so far. */
static uint32_t kst__robin_peek(const void *ix, uint64_t hash)
{
    const uint32_t bits = (uint32_t)(hash >> 32);
    uint32_t number = kst__robin_home(ix, bits);
    for (uint32_t distance = 0;; distance++) {
        const struct kst__place *place = kst__robin_at(ix, number);
        if (place->node == KST__NONE || kst__robin_distance(ix, number) < distance)
            return KST__NONE;
        if (place->bits == bits)
            return place->node;
        number = kst__robin_next(ix, number);
        if (number % KST__ROBIN_LINE == 0) {
            KST_PREFETCH(kst__robin_at(ix, number));
            return KST__NONE;
        }
    }
}

static uint32_t kst__robin_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    const uint32_t ring = ((const struct kst__robin *)ix)->ring;
    const uint32_t bits = (uint32_t)(key->hash >> 32);
    uint32_t number = kst__robin_home(ix, bits);
    for (uint32_t distance = 0; distance <= ring; distance++) {
        const struct kst__place *place = kst__robin_at(ix, number);
        if (place->node == KST__NONE || kst__robin_distance(ix, number) < distance)
            return KST__NONE;
        if (place->bits == bits && kst__node_matches(t, place->node, key))
            return place->node;
        number = kst__robin_next(ix, number);
    }
    return KST__NONE;
}

static bool kst__robin_insert(void *ix, uint32_t node, uint64_t hash)
{
    const uint32_t ring = ((const struct kst__robin *)ix)->ring;
    struct kst__place newcomer = {node, (uint32_t)(hash >> 32)};
    const uint32_t home = kst__robin_home(ix, newcomer.bits);
    uint32_t number = home, distance = 0, free_at = home, free_distance = 0;
    while (kst__robin_at(ix, free_at)->node != KST__NONE) {
        free_at = kst__robin_next(ix, free_at);
        if (++free_distance > ring)
            return false;
    }
    for (; distance < free_distance && kst__robin_distance(ix, number) >= distance; distance++)
        number = kst__robin_next(ix, number);
    for (;; number = kst__robin_next(ix, number)) { /* all one on, up to the free one */
        const struct kst__place pushed = *kst__robin_at(ix, number);
        *kst__robin_at(ix, number) = newcomer;
        if (number == free_at)
            return true;
        newcomer = pushed;
    }
}

static void kst__robin_remove(void *ix, uint32_t node, uint64_t hash)
{
    const uint32_t ring = ((const struct kst__robin *)ix)->ring;
    uint32_t number = kst__robin_home(ix, (uint32_t)(hash >> 32));
    for (uint32_t distance = 0; kst__robin_at(ix, number)->node != node; distance++) {
        KST_ASSERT(distance < ring);
        number = kst__robin_next(ix, number);
    }
    for (uint32_t moved = 0; moved <= ring; moved++) { /* all one back, up to one who is at home */
        const uint32_t next = kst__robin_next(ix, number);
        kst__robin_at(ix, number)->node = KST__NONE;
        kst__robin_at(ix, number)->bits = UINT32_MAX;
        if (kst__robin_at(ix, next)->node == KST__NONE || kst__robin_distance(ix, next) == 0)
            return;
        *kst__robin_at(ix, number) = *kst__robin_at(ix, next);
        number = next;
    }
}

static const char *kst__robin_check(const void *ix, const struct kst *t, uint32_t *nodes)
{
    const struct kst__robin *robin = (const struct kst__robin *)ix;
    const uint64_t count = kst__robin_count(kst__nodes(t), t->buckets);
    *nodes = 0;
    if (robin->mask != count - 1)
        return "robin: not as many places as there should be";
    if (robin->ring != (count < KST__ROBIN_RING ? count : KST__ROBIN_RING) - 1)
        return "robin: rings of a wrong size";
    for (uint32_t number = 0; number < count; number++) {
        const struct kst__place *place = kst__robin_at(ix, number);
        const uint32_t next = kst__robin_next(ix, number);
        if (kst__robin_at(ix, next)->node != KST__NONE && kst__robin_distance(ix, next) > 0 &&
            (place->node == KST__NONE ||
             kst__robin_distance(ix, next) > kst__robin_distance(ix, number) + 1))
            return "robin: an entry lies further from home than need be";
        if (place->node == KST__NONE)
            continue;
        if (place->node >= kst__nodes(t))
            return "robin: a place leads astray";
        if (!kst__live(t, kst__node_slot(t, place->node)))
            return "robin: a free entry has a place";
        if (place->bits != kst__node_hash(t, place->node) >> 32)
            return "robin: an entry lies under a hash that is not its own";
        if ((kst__robin_home(ix, place->bits) ^ number) & ~robin->ring)
            return "robin: an entry lies in another ring than its own";
        *nodes += 1;
    }
    return NULL;
}

static const struct kst_index_ops kst_index_robin = {
    "robin",         kst__robin_bytes,  kst__robin_init,   kst__robin_prefetch, kst__robin_peek,
    kst__robin_find, kst__robin_insert, kst__robin_remove, kst__robin_check,
};

#endif
