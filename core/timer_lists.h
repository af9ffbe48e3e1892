/* SPDX-License-Identifier: MIT */
/* core/timer_lists.h - a list for each class of timeouts: whoever waits equally long stands in line.
 *
 * Timeouts have few lengths, and the clock does not go back: who is armed later for the same length is
 * due later, so a list to whose end all are added is in order, and its head tells when it is to be
 * looked at. What lies ahead is put into classes by its length, eight to a power of two, as the clock
 * stood at the last `next`. A class has two lists, each sorted by a key that is never after the expiry:
 *   => in order   for what is due no sooner than the last one in it. The key is when it is due: it
 *                 is met once, when its time has come.
 *   => early      for the others. The key is when the shortest of the class would be due if it were
 *                 armed now, which keeps this list sorted whatever comes. What it holds is met up
 *                 to an eighth of its length too early; what is left to wait is less than an eighth,
 *                 so that nobody is met more often than every three octaves, eleven times.
 * The trade-off: equal timeouts cost the least that a timer can cost; random ones are met a few times.
 * A step may have to look at the heads of all lists that hold something, which lie side by side: a
 * constant, if not a small one. Nothing is looked at before the soonest key. A clock that jumps moves
 * nothing: the keys are all 64 bits of it.
 *
 *     struct kst__lists | nodes[slots + KST__LISTS]
 *
 * A list is a ring through a node of its own, behind those of the slots, whose key is the head's. */
#ifndef KST_TIMER_LISTS_H
#define KST_TIMER_LISTS_H

#include "timer.h"

enum {
    KST__LISTS_OCTAVES = 31, /* of eight classes, above the first eight; from 2^34 ms on all is one */
    KST__LISTS_CLASSES = 8 + 8 * KST__LISTS_OCTAVES,
    KST__LISTS = 2 * KST__LISTS_CLASSES /* in order, then early */
};

struct kst__lists_node {
    uint64_t key_ms;
    uint32_t next, last; /* of the ring */
};

struct kst__lists {
    uint64_t clock_ms;
    uint64_t soonest_ms; /* no key is below it */
    uint64_t nodes_at;   /* offset */
    uint32_t slots;
    uint32_t at;         /* the list that was drained last */
    uint64_t pending[KST__LISTS / 64]; /* a bit for every list that holds something */
};

KST_INLINE struct kst__lists_node *kst__lists_at(const struct kst__lists *l, uint32_t number)
{
    return (struct kst__lists_node *)((uint8_t *)(uintptr_t)l + l->nodes_at) + number;
}

static uint64_t kst__lists_bytes(uint32_t slots)
{
    return kst__aligned(sizeof(struct kst__lists)) +
           ((uint64_t)slots + KST__LISTS) * sizeof(struct kst__lists_node);
}

static void kst__lists_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct kst__lists *l = (struct kst__lists *)tm;
    memset(l, 0, sizeof *l);
    l->clock_ms = now_ms;
    l->soonest_ms = UINT64_MAX;
    l->nodes_at = kst__aligned(sizeof *l);
    l->slots = slots;
    for (uint32_t list = 0; list < KST__LISTS; list++) {
        struct kst__lists_node *ring = kst__lists_at(l, slots + list);
        ring->key_ms = 0;
        ring->next = ring->last = slots + list;
    }
}

/* The class of what is so far ahead, and the least that is in it. */
KST_INLINE uint32_t kst__lists_class(uint64_t ahead_ms)
{
    const uint32_t octave = ahead_ms < 8 ? 0 : kst__highest_bit(ahead_ms) - 2;
    if (octave > KST__LISTS_OCTAVES)
        return KST__LISTS_CLASSES - 1;
    return octave == 0 ? (uint32_t)ahead_ms : octave * 8 + (uint32_t)(ahead_ms >> (octave - 1) & 7);
}

KST_INLINE uint64_t kst__lists_least_ms(uint32_t class_)
{
    return class_ < 8 ? class_ : (uint64_t)(8 + class_ % 8) << (class_ / 8 - 1);
}

static void kst__lists_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct kst__lists *l = (struct kst__lists *)tm;
    const uint64_t ahead_ms = due_ms > l->clock_ms ? due_ms - l->clock_ms : 0;
    const uint32_t class_ = kst__lists_class(ahead_ms);
    uint32_t list = class_;
    uint64_t key_ms = due_ms;
    const uint32_t end = kst__lists_at(l, l->slots + list)->last;
    if (end < l->slots && due_ms < kst__lists_at(l, end)->key_ms) {
        list += KST__LISTS_CLASSES;
        key_ms = ahead_ms == 0 ? 0 : l->clock_ms + kst__lists_least_ms(class_);
    }
    struct kst__lists_node *ring = kst__lists_at(l, l->slots + list);
    struct kst__lists_node *node = kst__lists_at(l, slot);
    node->key_ms = key_ms;
    node->next = l->slots + list;
    node->last = ring->last;
    if (ring->last == l->slots + list)
        ring->key_ms = key_ms;
    kst__lists_at(l, ring->last)->next = slot;
    ring->last = slot;
    l->pending[list / 64] |= UINT64_C(1) << (list % 64);
    if (key_ms < l->soonest_ms)
        l->soonest_ms = key_ms;
}

static void kst__lists_disarm(void *tm, uint32_t slot)
{
    struct kst__lists *l = (struct kst__lists *)tm;
    const struct kst__lists_node *node = kst__lists_at(l, slot);
    struct kst__lists_node *next = kst__lists_at(l, node->next);
    struct kst__lists_node *last = kst__lists_at(l, node->last);
    KST_ASSERT(next->last == slot && last->next == slot);
    last->next = node->next;
    next->last = node->last;
    if (node->last < l->slots)
        return;
    if (node->next < l->slots) {
        last->key_ms = next->key_ms;
    } else { /* it was the only one */
        const uint32_t list = node->next - l->slots;
        l->pending[list / 64] &= ~(UINT64_C(1) << (list % 64));
    }
}

/* A list whose head's time has come; KST__LISTS if there is none, and then the soonest key is known. */
static uint32_t kst__lists_due(struct kst__lists *l, uint64_t now_ms)
{
    uint64_t soonest_ms = UINT64_MAX;
    if ((l->pending[l->at / 64] >> l->at % 64 & 1) &&
        kst__lists_at(l, l->slots + l->at)->key_ms <= now_ms)
        return l->at;
    for (uint32_t word = 0; word < KST__LISTS / 64; word++)
        for (uint64_t bits = l->pending[word]; bits != 0; bits &= bits - 1) {
            const uint32_t list = word * 64 + kst__lowest_bit(bits);
            const uint64_t key_ms = kst__lists_at(l, l->slots + list)->key_ms;
            if (key_ms <= now_ms)
                return l->at = list;
            if (key_ms < soonest_ms)
                soonest_ms = key_ms;
        }
    l->soonest_ms = soonest_ms;
    return KST__LISTS;
}

static uint32_t kst__lists_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct kst__lists *l = (struct kst__lists *)tm;
    l->clock_ms = now_ms;
    while (*work > 0 && l->soonest_ms <= now_ms) {
        const uint32_t list = kst__lists_due(l, now_ms);
        if (list == KST__LISTS)
            return KST__NONE;
        *work -= 1;
        const uint32_t slot = kst__lists_at(l, l->slots + list)->next;
        kst__lists_disarm(l, slot);
        kst__rearm_prefetch(t, kst__lists_at(l, l->slots + list)->next);
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms)
            return slot;
        kst__lists_arm(l, slot, due_ms); /* its key is after now_ms: it is not met again */
    }
    return KST__NONE;
}

static const char *kst__lists_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct kst__lists *l = (const struct kst__lists *)tm;
    *armed = 0;
    for (uint32_t list = 0; list < KST__LISTS; list++) {
        const uint32_t ring = l->slots + list;
        uint32_t last = ring;
        uint64_t least_ms = 0;
        for (uint32_t slot = kst__lists_at(l, ring)->next; slot != ring;) {
            if (slot >= l->slots || *armed >= l->slots)
                return "lists: a link leads astray";
            const struct kst__lists_node *node = kst__lists_at(l, slot);
            if (!kst__timed_live(t, slot))
                return "lists: a free entry is armed";
            if (node->last != last)
                return "lists: neighbours disagree";
            if (node->key_ms < least_ms || node->key_ms < l->soonest_ms)
                return "lists: a list is out of order";
            if (last == ring && kst__lists_at(l, ring)->key_ms != node->key_ms)
                return "lists: a list does not know its head";
            if (kst__timed_expires_ms(t, slot) < node->key_ms)
                return "lists: an entry lies later than it expires";
            *armed += 1;
            least_ms = node->key_ms;
            last = slot;
            slot = node->next;
        }
        if (kst__lists_at(l, ring)->last != last)
            return "lists: neighbours disagree";
        if ((l->pending[list / 64] >> (list % 64) & 1) != (last != ring))
            return "lists: a list's bit lies";
    }
    return NULL;
}

static const struct kst_timer_ops kst_timer_lists = {
    "lists",           kst__lists_bytes, kst__lists_init, kst__lists_arm,
    kst__lists_disarm, kst__lists_next,  kst__lists_check, NULL, NULL,
};

#endif
