/* SPDX-License-Identifier: MIT */
/* core/index_cuckoo.h - two groups of twelve to choose from (index_group.h).
 *
 * A node lies in the group that its hash chooses or, if that was full, in the group across, which is a
 * matter of the first and the tag: so either leads to the other, and a node can be moved without its
 * hash. `passed` counts who belongs in a group but lies across: a find looks there only if there is
 * somebody. `moved` marks who lies across. When both groups are full a node of theirs moves across,
 * or makes another one move first: two moves at most, tried in a fixed order.
 *
 * Room: 8 bytes a node where `max` is a power of two, up to 16 elsewhere: at most 8 of 12 places are
 * taken on average. Then 2 of 100 nodes lie across, 7 when nodes have come and gone for long. At most
 * 1 of 8 groups is full, and an insertion is refused if both of its own and the 24 groups across
 * from those, at least, are: under a secret seed a chance below 1e-20.
 *
 * Bounds: a find or a removal looks at two groups, an insertion at 2 + 2 * 12 * (1 + 12) = 314, and
 * at more than 26 with a chance below 1e-20. A find looks at the second group only where somebody
 * had to go there. An insertion that finds no place is refused. */
#ifndef KST_INDEX_CUCKOO_H
#define KST_INDEX_CUCKOO_H

#include "index_group.h"

/* The other group of a node with this tag; never the same, if there are two. */
KST_INLINE uint64_t kst__cuckoo_across(const void *ix, uint64_t number, uint8_t tag)
{
    const uint64_t far = (tag * UINT64_C(0x9e3779b97f4a7c15) >> 32) | 1;
    return number ^ (far & ((const struct kst__groups *)ix)->mask);
}

static uint32_t kst__cuckoo_peek(const void *ix, uint64_t hash)
{
    const uint64_t home = kst__group_home(ix, hash);
    const uint8_t tag = kst__group_tag(hash);
    const struct kst__group *group = kst__group_at(ix, home);
    const uint32_t node = kst__group_peek(group, tag);
    if (node == KST__NONE && group->passed != 0)
        KST_PREFETCH(kst__group_at(ix, kst__cuckoo_across(ix, home, tag)));
    return node;
}

static uint32_t kst__cuckoo_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    const uint64_t home = kst__group_home(ix, key->hash);
    const uint8_t tag = kst__group_tag(key->hash);
    const struct kst__group *group = kst__group_at(ix, home);
    const uint32_t node = kst__group_find(group, t, key, tag);
    if (node != KST__NONE || group->passed == 0)
        return node;
    return kst__group_find(kst__group_at(ix, kst__cuckoo_across(ix, home, tag)), t, key, tag);
}

/* Where the node in a place would go. */
KST_INLINE uint64_t kst__cuckoo_other(const void *ix, uint64_t number, uint32_t place)
{
    return kst__cuckoo_across(ix, number, kst__group_at(ix, number)->tags[place]);
}

/* Moves a node across, to a free place there. */
static void kst__cuckoo_move(void *ix, uint64_t number, uint32_t place, uint32_t free_place)
{
    struct kst__group *from = kst__group_at(ix, number);
    struct kst__group *to = kst__group_at(ix, kst__cuckoo_other(ix, number, place));
    const bool home = from->moved >> place & 1; /* it goes back there */
    if (home)
        to->passed--;
    else
        from->passed++;
    kst__group_put(to, free_place, from->tags[place], from->nodes[place], !home);
    kst__group_clear(from, place);
}

/* Makes a place free in a full group by moving a node across. KST__NONE if none can. */
static uint32_t kst__cuckoo_push(void *ix, uint64_t number)
{
    for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
        const uint64_t other = kst__cuckoo_other(ix, number, place);
        const uint32_t free_place = kst__group_free(kst__group_at(ix, other));
        if (free_place != KST__NONE) {
            kst__cuckoo_move(ix, number, place, free_place);
            return place;
        }
    }
    return KST__NONE;
}

/* Likewise where all groups across are full too: one of those makes a place free first. */
static uint32_t kst__cuckoo_push_twice(void *ix, uint64_t number)
{
    for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
        const uint32_t free_place = kst__cuckoo_push(ix, kst__cuckoo_other(ix, number, place));
        if (free_place != KST__NONE) {
            kst__cuckoo_move(ix, number, place, free_place);
            return place;
        }
    }
    return KST__NONE;
}

static bool kst__cuckoo_insert(void *ix, uint32_t node, uint64_t hash)
{
    const uint8_t tag = kst__group_tag(hash);
    const uint64_t home = kst__group_home(ix, hash), across = kst__cuckoo_across(ix, home, tag);
    uint64_t number = home;
    uint32_t place = kst__group_free(kst__group_at(ix, home));
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__group_free(kst__group_at(ix, number = across));
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__cuckoo_push(ix, number = home);
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__cuckoo_push(ix, number = across);
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__cuckoo_push_twice(ix, number = home);
    if (KST_UNLIKELY(place == KST__NONE))
        place = kst__cuckoo_push_twice(ix, number = across);
    if (KST_UNLIKELY(place == KST__NONE))
        return false;
    kst__group_put(kst__group_at(ix, number), place, tag, node, number != home);
    if (number != home)
        kst__group_at(ix, home)->passed++;
    return true;
}

static void kst__cuckoo_remove(void *ix, uint32_t node, uint64_t hash)
{
    const uint8_t tag = kst__group_tag(hash);
    struct kst__group *home = kst__group_at(ix, kst__group_home(ix, hash)), *group = home;
    uint32_t place = kst__group_place(group, tag, node);
    if (place == KST__NONE) {
        group = kst__group_at(ix, kst__cuckoo_across(ix, kst__group_home(ix, hash), tag));
        place = kst__group_place(group, tag, node);
        KST_ASSERT(place != KST__NONE && home->passed != 0);
        home->passed--;
    }
    kst__group_clear(group, place);
}

/* How many nodes that belong in a group lie across from it. */
static uint32_t kst__cuckoo_passed(const void *ix, uint64_t number)
{
    uint32_t passed = 0;
    for (uint32_t tag = 1; tag < 256; tag++) {
        const struct kst__group *group = kst__group_at(ix, kst__cuckoo_across(ix, number, (uint8_t)tag));
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++)
            passed += group->tags[place] == tag && (group->moved >> place & 1);
    }
    return passed;
}

static const char *kst__cuckoo_check(const void *ix, const struct kst *t, uint32_t *nodes)
{
    const struct kst__groups *groups = (const struct kst__groups *)ix;
    const char *broken;
    *nodes = 0;
    if (groups->mask != kst__groups_count(kst__nodes(t), t->buckets) - 1)
        return "cuckoo: not as many groups as there should be";
    for (uint64_t number = 0; number <= groups->mask; number++) {
        const struct kst__group *group = kst__group_at(ix, number);
        if ((broken = kst__group_check(group, t, nodes)) != NULL)
            return broken;
        for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
            if (group->tags[place] == 0)
                continue;
            const uint64_t home = kst__group_home(ix, kst__node_hash(t, group->nodes[place]));
            const bool moved = group->moved >> place & 1;
            if (number != (moved ? kst__cuckoo_across(ix, home, group->tags[place]) : home))
                return "cuckoo: an entry lies in neither of its groups";
            if (moved && kst__group_at(ix, home)->passed == 0)
                return "cuckoo: a group does not know who lies across";
        }
        if (group->passed != 0 && group->passed != kst__cuckoo_passed(ix, number))
            return "cuckoo: a group does not know how many lie across";
    }
    return NULL;
}

static const struct kst_index_ops kst_index_cuckoo = {
    "cuckoo",         kst__groups_bytes,   kst__groups_init,    kst__group_prefetch, kst__cuckoo_peek,
    kst__cuckoo_find, kst__cuckoo_insert, kst__cuckoo_remove, kst__cuckoo_check,
};

#endif
