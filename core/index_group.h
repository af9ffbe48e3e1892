/* SPDX-License-Identifier: MIT */
/* core/index_group.h - what `swiss` and `cuckoo` are made of: groups of nodes, a cache line each.
 *
 *     struct kst__groups | group | group | ...           each aligned to KST_ALIGN
 *
 * A group has room for twelve nodes and a tag of eight hash bits beside each, which are compared all
 * at once: by SSE2, or eight at a time in a 64-bit word, with the same result. So a find that hits
 * costs one line here and the entry. A tag that matches by chance, one in 255 a node, costs a look at
 * another entry.
 *
 * The low bits of the hash choose the group, the highest eight make the tag: who does not know the
 * seed chooses neither. */
#ifndef KST_INDEX_GROUP_H
#define KST_INDEX_GROUP_H

#include "index.h"

enum { KST__GROUP_NODES = 12, KST__GROUP_FULL = (1 << KST__GROUP_NODES) - 1, KST__GROUP_LOAD = 8 };

struct kst__group {
    uint8_t tags[KST__GROUP_NODES]; /* 0: this place is free */
    uint16_t passed; /* nodes that belong here but had to go elsewhere; 0: no need to look there */
    uint16_t moved;  /* bits by place: nodes that are here for such a reason. See the index */
    uint32_t nodes[KST__GROUP_NODES];
};

struct kst__groups {
    uint64_t mask;  /* groups - 1 */
    uint32_t reach; /* of `swiss`: groups that a find looks at, at most */
};

typedef char kst__group_is_a_cache_line[sizeof(struct kst__group) == KST_ALIGN ? 1 : -1];
typedef char kst__groups_fit_a_line[sizeof(struct kst__groups) <= KST_ALIGN ? 1 : -1];

/* As many groups as make eight nodes to each of twelve places, or fewer, if there are as many buckets
 * as connections: under NAT there are two nodes to each. Fewer buckets mean fewer groups. */
static uint64_t kst__groups_count(uint32_t nodes_max, uint32_t buckets)
{
    const uint64_t room = nodes_max <= (uint64_t)buckets + 1 ? buckets : (uint64_t)buckets * 2;
    return room > KST__GROUP_LOAD ? room / KST__GROUP_LOAD : 1;
}

static uint64_t kst__groups_bytes(uint32_t nodes_max, uint32_t buckets)
{
    return KST_ALIGN + kst__groups_count(nodes_max, buckets) * sizeof(struct kst__group);
}

KST_INLINE struct kst__group *kst__group_at(const void *ix, uint64_t number)
{
    return (struct kst__group *)((uint8_t *)(uintptr_t)ix + KST_ALIGN) + number;
}

KST_INLINE uint64_t kst__group_home(const void *ix, uint64_t hash)
{
    return hash & ((const struct kst__groups *)ix)->mask;
}

KST_INLINE uint8_t kst__group_tag(uint64_t hash) /* 1..255 */
{
    const uint8_t tag = (uint8_t)(hash >> 56);
    return (uint8_t)(tag + (tag == 0));
}

/* ---- which places have this tag, bit by bit ---- */

#if defined(__GNUC__) && defined(__SSE2__) && !defined(KST_NO_SIMD)

typedef char kst__bytes16 __attribute__((vector_size(16)));

KST_INLINE uint32_t kst__group_match(const struct kst__group *group, uint8_t tag)
{
    kst__bytes16 tags, wanted;
    memcpy(&tags, group, sizeof tags);
    memset(&wanted, tag, sizeof wanted);
    return (uint32_t)__builtin_ia32_pmovmskb128((kst__bytes16)(tags == wanted)) & KST__GROUP_FULL;
}

#else

/* A bit for each of eight bytes that is 0. No byte's sum carries into the next one's. */
KST_INLINE uint32_t kst__zero_bytes(uint64_t word)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
    const uint64_t zero = ~(((word & low) + low) | word | low); /* 0x80 where a byte was 0 */
    return (uint32_t)((zero >> 7) * UINT64_C(0x0102040810204080) >> 56);
}

KST_INLINE uint32_t kst__group_match(const struct kst__group *group, uint8_t tag)
{
    const uint64_t wanted = tag * UINT64_C(0x0101010101010101);
    const uint32_t first = kst__zero_bytes(kst__le64(group->tags) ^ wanted);
    const uint32_t last = kst__zero_bytes(kst__le64(group->tags + KST__GROUP_NODES - 8) ^ wanted);
    return first | last << (KST__GROUP_NODES - 8);
}

#endif

KST_INLINE uint32_t kst__group_find(const struct kst__group *group, const struct kst *t,
                                   const struct kst__key *key, uint8_t tag)
{
    for (uint32_t hits = kst__group_match(group, tag); hits != 0; hits &= hits - 1) {
        const uint32_t node = group->nodes[kst__lowest_bit(hits)];
        if (kst__node_matches(t, node, key))
            return node;
    }
    return KST__NONE;
}

/* The place of a node, KST__NONE if it is not in this group. */
KST_INLINE uint32_t kst__group_place(const struct kst__group *group, uint8_t tag, uint32_t node)
{
    for (uint32_t hits = kst__group_match(group, tag); hits != 0; hits &= hits - 1) {
        const uint32_t place = kst__lowest_bit(hits);
        if (group->nodes[place] == node)
            return place;
    }
    return KST__NONE;
}

/* A free place, KST__NONE if the group is full. */
KST_INLINE uint32_t kst__group_free(const struct kst__group *group)
{
    const uint32_t places = kst__group_match(group, 0);
    return places != 0 ? kst__lowest_bit(places) : KST__NONE;
}

KST_INLINE void kst__group_put(struct kst__group *group, uint32_t place, uint8_t tag, uint32_t node,
                              bool moved)
{
    group->tags[place] = tag;
    group->nodes[place] = node;
    group->moved = (uint16_t)((group->moved & ~(1U << place)) | (uint32_t)moved << place);
}

KST_INLINE void kst__group_clear(struct kst__group *group, uint32_t place)
{
    group->tags[place] = 0;
    group->moved = (uint16_t)(group->moved & ~(1U << place));
}

static void kst__group_prefetch(const void *ix, uint64_t hash)
{
    KST_PREFETCH(kst__group_at(ix, kst__group_home(ix, hash)));
}

/* The first node whose tag matches; now and then by chance, and another is the one. */
KST_INLINE uint32_t kst__group_peek(const struct kst__group *group, uint8_t tag)
{
    const uint32_t hits = kst__group_match(group, tag);
    return hits != 0 ? group->nodes[kst__lowest_bit(hits)] : KST__NONE;
}

static void kst__groups_init(void *ix, uint32_t nodes_max, uint32_t buckets)
{
    const uint64_t count = kst__groups_count(nodes_max, buckets);
    struct kst__groups *groups = (struct kst__groups *)ix;
    memset(ix, 0, (size_t)kst__groups_bytes(nodes_max, buckets));
    groups->mask = count - 1;
}

/* A group by itself; its nodes are added to those counted. Where they belong is the index's affair. */
static const char *kst__group_check(const struct kst__group *group, const struct kst *t,
                                   uint32_t *nodes)
{
    for (uint32_t place = 0; place < KST__GROUP_NODES; place++) {
        if (group->tags[place] == 0) {
            if (group->moved >> place & 1)
                return "group: a free place has been moved to";
            continue;
        }
        const uint32_t node = group->nodes[place];
        if (node >= kst__nodes(t))
            return "group: a node leads astray";
        if (!kst__live(t, kst__node_slot(t, node)))
            return "group: a free entry is in the index";
        if (group->tags[place] != kst__group_tag(kst__node_hash(t, node)))
            return "group: an entry has a tag that is not its own";
        *nodes += 1;
    }
    return group->moved >> KST__GROUP_NODES ? "group: more has been moved than there are places" : NULL;
}

#endif
