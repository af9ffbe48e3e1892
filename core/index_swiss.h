/* SPDX-License-Identifier: MIT */
/* core/index_swiss.h - open addressing by groups of twelve (index_group.h).
 *
 * A node lies in the group that its hash chooses or, if that was full, in one of the next. Each group
 * that it went past counts it in `passed`: a find goes on only where somebody did, and a removal
 * leaves nothing behind. `moved` marks nodes that belong in the group before; they go back when it
 * gets a free place.
 *
 * Room: 8 bytes a node where `max` is a power of two, up to 16 elsewhere: at most 8 of 12 places are
 * taken on average. Then 2 of 100 nodes lie beyond their first group, 3 when nodes have come and gone
 * for long. Under a secret seed no search goes on for KST__SWISS_REACH groups: more than 768 nodes
 * would have to belong in 64 groups where 512 do, a chance of less than 1e-23 a group.
 *
 * Bounds: a find looks at KST__SWISS_REACH groups, an insertion or a removal at twice as many. An
 * insertion that finds no place within them is refused. */
#ifndef KST_INDEX_SWISS_H
#define KST_INDEX_SWISS_H

#include "index_group.h"

#define KST__SWISS_REACH 64U

static void kst__swiss_init(void *ix, uint32_t nodes_max, uint32_t buckets)
{
    struct kst__groups *groups = (struct kst__groups *)ix;
    kst__groups_init(ix, nodes_max, buckets);
    groups->reach = groups->mask < KST__SWISS_REACH ? (uint32_t)groups->mask + 1 : KST__SWISS_REACH;
}

/* The group so many behind another; the first follows the last. */
KST_INLINE struct kst__group *kst__swiss_group(const void *ix, uint64_t number, uint32_t distance)
{
    return kst__group_at(ix, (number + distance) & ((const struct kst__groups *)ix)->mask);
}

static uint32_t kst__swiss_peek(const void *ix, uint64_t hash)
{
    const uint64_t home = kst__group_home(ix, hash);
    const struct kst__group *group = kst__group_at(ix, home);
    const uint32_t node = kst__group_peek(group, kst__group_tag(hash));
    if (node == KST__NONE && group->passed != 0)
        KST_PREFETCH(kst__swiss_group(ix, home, 1));
    return node;
}

/* Beyond the first group: 2 or 3 of 100 searches, and by itself so that the rest is short. */
KST__NOINLINE static uint32_t kst__swiss_find_on(const void *ix, const struct kst *t,
                                                 const struct kst__key *key)
{
    const uint32_t reach = ((const struct kst__groups *)ix)->reach;
    const uint64_t home = kst__group_home(ix, key->hash);
    for (uint32_t distance = 1; distance < reach; distance++) {
        const struct kst__group *group = kst__swiss_group(ix, home, distance);
        const uint32_t node = kst__group_find(group, t, key, kst__group_tag(key->hash));
        if (node != KST__NONE || group->passed == 0)
            return node;
    }
    return KST__NONE;
}

static uint32_t kst__swiss_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    const struct kst__group *group = kst__group_at(ix, kst__group_home(ix, key->hash));
    const uint32_t node = kst__group_find(group, t, key, kst__group_tag(key->hash));
    return KST_LIKELY(node != KST__NONE || group->passed == 0) ? node
                                                               : kst__swiss_find_on(ix, t, key);
}

static bool kst__swiss_insert(void *ix, uint32_t node, uint64_t hash)
{
    const uint32_t reach = ((const struct kst__groups *)ix)->reach;
    const uint64_t home = kst__group_home(ix, hash);
    uint32_t distance = 0, place;
    while ((place = kst__group_free(kst__swiss_group(ix, home, distance))) == KST__NONE)
        if (++distance == reach)
            return false;
    kst__group_put(kst__swiss_group(ix, home, distance), place, kst__group_tag(hash), node,
                  distance == 1);
    while (distance-- > 0)
        kst__swiss_group(ix, home, distance)->passed++;
    return true;
}

/* A group has a free place: whoever belongs here and lies in the next group comes back, and makes a
 * free place there. */
static void kst__swiss_pull(void *ix, uint64_t number, uint32_t place)
{
    const uint32_t reach = ((const struct kst__groups *)ix)->reach;
    struct kst__group *group = kst__swiss_group(ix, number, 0);
    for (uint32_t distance = 1; distance < reach && group->passed != 0; distance++) {
        struct kst__group *next = kst__swiss_group(ix, number, distance);
        if (next->moved == 0)
            return;
        const uint32_t from = kst__lowest_bit(next->moved);
        kst__group_put(group, place, next->tags[from], next->nodes[from], false);
        kst__group_clear(next, from);
        group->passed--;
        group = next;
        place = from;
    }
}

static void kst__swiss_remove(void *ix, uint32_t node, uint64_t hash)
{
    const uint8_t tag = kst__group_tag(hash);
    uint64_t number = kst__group_home(ix, hash);
    for (uint32_t distance = 0;; distance++, number++) {
        struct kst__group *group = kst__swiss_group(ix, number, 0);
        const uint32_t place = kst__group_place(group, tag, node);
        if (place != KST__NONE) {
            kst__group_clear(group, place);
            kst__swiss_pull(ix, number, place);
            return;
        }
        KST_ASSERT(distance < KST__SWISS_REACH && group->passed != 0);
        group->passed--;
    }
}

/* How far a node lies from where it belongs. */
static uint32_t kst__swiss_distance(const void *ix, const struct kst *t, uint64_t number,
                                    uint32_t node)
{
    return (uint32_t)kst__group_home(ix, number - kst__group_home(ix, kst__node_hash(t, node)));
}

/* How many nodes have gone past a group. */
static uint32_t kst__swiss_passed(const void *ix, const struct kst *t, uint64_t number)
{
    const uint32_t reach = ((const struct kst__groups *)ix)->reach;
    uint32_t passed = 0;
    for (uint32_t further = 1; further < reach; further++) {
        const struct kst__group *group = kst__swiss_group(ix, number, further);
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++)
            if (group->tags[place] != 0 &&
                kst__swiss_distance(ix, t, number + further, group->nodes[place]) >= further)
                passed++;
        if (group->passed == 0)
            break;
    }
    return passed;
}

static const char *kst__swiss_check(const void *ix, const struct kst *t, uint32_t *nodes)
{
    const struct kst__groups *groups = (const struct kst__groups *)ix;
    const char *broken;
    *nodes = 0;
    if (groups->mask != kst__groups_count(kst__nodes(t), t->buckets) - 1)
        return "swiss: not as many groups as there should be";
    if (groups->reach > KST__SWISS_REACH || groups->reach > groups->mask + 1)
        return "swiss: a search would go on for too long";
    for (uint64_t number = 0; number <= groups->mask; number++)
        if ((broken = kst__group_check(kst__group_at(ix, number), t, nodes)) != NULL)
            return broken;
    for (uint64_t number = 0; number <= groups->mask; number++) {
        const struct kst__group *group = kst__group_at(ix, number);
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
            if (group->tags[place] == 0)
                continue;
            const uint32_t distance = kst__swiss_distance(ix, t, number, group->nodes[place]);
            if (distance >= groups->reach)
                return "swiss: an entry lies out of reach";
            if ((group->moved >> place & 1) != (distance == 1))
                return "swiss: an entry does not know the group that it belongs in";
            for (uint32_t back = 1; back <= distance; back++)
                if (kst__group_at(ix, kst__group_home(ix, number - back))->passed == 0)
                    return "swiss: a group does not know who went past it";
        }
        if (group->passed != 0 && group->passed != kst__swiss_passed(ix, t, number))
            return "swiss: a group does not know how many went past it";
    }
    return NULL;
}

static const struct kst_index_ops kst_index_swiss = {
    "swiss",         kst__groups_bytes,  kst__swiss_init,   kst__group_prefetch, kst__swiss_peek,
    kst__swiss_find, kst__swiss_insert, kst__swiss_remove, kst__swiss_check,
};

#endif
