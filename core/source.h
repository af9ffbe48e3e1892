/* SPDX-License-Identifier: MIT */
/* core/source.h - translated connections by who began them, so that one more of the same address
 * and port can look the same to the outside (RFC 4787's endpoint-independent mapping, when
 * possible). Whatever had its source bound is in a list, the newest first; of a list at most
 * KST_NAT_SOURCES_MAX are looked at. */
#ifndef KST_SOURCE_H
#define KST_SOURCE_H

#include "pool.h"

static void kst__sources_init(struct kst *t)
{
    memset(kst__at(t, t->sources_at), 0xff, t->sources * sizeof(uint32_t)); /* KST__NONE */
}

/* The list of all that have the source of this tuple. */
static uint32_t *kst__source_list(const struct kst *t, const struct kst_tuple *tuple)
{
    const uint64_t words[3] = {kst__le64(tuple->src), kst__le64(tuple->src + 8),
                               (uint64_t)tuple->src_port << 32 | (uint64_t)tuple->zone << 16 |
                                   (uint64_t)tuple->family << 8 | tuple->protocol};
    const uint64_t hash = kst__siphash(t->seed, words, 3, 1, 3);
    return (uint32_t *)kst__at(t, t->sources_at) + (hash & (t->sources - 1));
}

static bool kst__source_same(const struct kst_tuple *a, const struct kst_tuple *b)
{
    return memcmp(a->src, b->src, sizeof a->src) == 0 && a->src_port == b->src_port &&
           a->zone == b->zone && a->family == b->family && a->protocol == b->protocol;
}

static void kst__source_join(struct kst *t, uint32_t slot)
{
    struct kst__source *s = kst__source_at(t, slot);
    uint32_t *list = kst__source_list(t, &kst__entry_at(t, slot)->tuple);
    s->newer = KST__NONE;
    s->older = *list;
    if (s->older != KST__NONE)
        kst__source_at(t, s->older)->newer = slot;
    *list = slot;
}

static void kst__source_leave(struct kst *t, uint32_t slot)
{
    const struct kst__source *s = kst__source_at(t, slot);
    if (s->newer == KST__NONE)
        *kst__source_list(t, &kst__entry_at(t, slot)->tuple) = s->older;
    else
        kst__source_at(t, s->newer)->older = s->older;
    if (s->older != KST__NONE)
        kst__source_at(t, s->older)->newer = s->newer;
}

/* NULL, or what is wrong; `bound` entries should be in the lists. */
static const char *kst__source_check(const struct kst *t, uint32_t bound)
{
    uint32_t met = 0;
    for (uint32_t i = 0; i < t->sources; i++) {
        uint32_t *list = (uint32_t *)kst__at(t, t->sources_at) + i, newer = KST__NONE;
        for (uint32_t slot = *list; slot != KST__NONE; slot = kst__source_at(t, slot)->older) {
            if (!kst__live(t, slot) || ++met > bound || kst__source_at(t, slot)->newer != newer ||
                !(kst__entry_at(t, slot)->status & KST_SRC_NAT_DONE) ||
                kst__source_list(t, &kst__entry_at(t, slot)->tuple) != list)
                return "source: a list leads astray";
            newer = slot;
        }
    }
    return met == bound ? NULL : "source: one is in no list";
}

#endif
