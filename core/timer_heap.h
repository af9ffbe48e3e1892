/* SPDX-License-Identifier: MIT */
/* core/timer_heap.h - a heap of four children a node (Williams, 1964; Johnson, 1975), the soonest on
 * top: the reference that the other timers can be held against.
 *
 * Every call takes a logarithm of what is armed instead of a constant: half as many levels as with two
 * children, and the four that are compared lie in half a cache line. It asks nothing of the clock: a
 * time is all its 64 bits, no distance is too far, and idle time costs nothing.
 *
 *     struct kst__heap | due[3 + slots], the first three unused | slot[slots] | where[slots]
 *
 * Position p has the children 4p+1..4p+4. where[slot] is the position of an armed slot. */
#ifndef KST_TIMER_HEAP_H
#define KST_TIMER_HEAP_H

#include "timer.h"

enum { KST__HEAP_ARITY = 4 };

struct kst__heap {
    uint64_t due_at, slot_at, where_at; /* offsets */
    uint32_t count;                     /* armed */
    uint32_t slots;
};

KST_INLINE uint64_t *kst__heap_due(const struct kst__heap *h, uint32_t position)
{
    return (uint64_t *)((uint8_t *)(uintptr_t)h + h->due_at) + position;
}

KST_INLINE uint32_t *kst__heap_slot(const struct kst__heap *h, uint32_t position)
{
    return (uint32_t *)((uint8_t *)(uintptr_t)h + h->slot_at) + position;
}

KST_INLINE uint32_t *kst__heap_where(const struct kst__heap *h, uint32_t slot)
{
    return (uint32_t *)((uint8_t *)(uintptr_t)h + h->where_at) + slot;
}

static uint64_t kst__heap_bytes(uint32_t slots)
{
    return kst__aligned(sizeof(struct kst__heap)) +
           ((uint64_t)slots + KST__HEAP_ARITY - 1) * sizeof(uint64_t) +
           (uint64_t)slots * 2 * sizeof(uint32_t);
}

static void kst__heap_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct kst__heap *h = (struct kst__heap *)tm;
    (void)now_ms;
    memset(h, 0, sizeof *h);
    h->slots = slots;
    h->due_at = kst__aligned(sizeof *h) + (KST__HEAP_ARITY - 1) * sizeof(uint64_t);
    h->slot_at = h->due_at + (uint64_t)slots * sizeof(uint64_t);
    h->where_at = h->slot_at + (uint64_t)slots * sizeof(uint32_t);
}

KST_INLINE void kst__heap_put(struct kst__heap *h, uint32_t position, uint32_t slot,
                              uint64_t due_ms)
{
    *kst__heap_due(h, position) = due_ms;
    *kst__heap_slot(h, position) = slot;
    *kst__heap_where(h, slot) = position;
}

/* Puts a slot where it belongs on the way from a hole at `position` to the top. */
static void kst__heap_up(struct kst__heap *h, uint32_t position, uint32_t slot, uint64_t due_ms)
{
    while (position > 0) {
        const uint32_t parent = (position - 1) / KST__HEAP_ARITY;
        if (*kst__heap_due(h, parent) <= due_ms)
            break;
        kst__heap_put(h, position, *kst__heap_slot(h, parent), *kst__heap_due(h, parent));
        position = parent;
    }
    kst__heap_put(h, position, slot, due_ms);
}

/* Puts a slot where it belongs at or below a hole at `position`. */
static void kst__heap_down(struct kst__heap *h, uint32_t position, uint32_t slot, uint64_t due_ms)
{
    for (;;) {
        const uint64_t first = (uint64_t)position * KST__HEAP_ARITY + 1;
        if (first >= h->count)
            break;
        const uint64_t end =
            first + KST__HEAP_ARITY < h->count ? first + KST__HEAP_ARITY : h->count;
        uint32_t soonest = (uint32_t)first;
        for (uint32_t child = soonest + 1; child < end; child++)
            if (*kst__heap_due(h, child) < *kst__heap_due(h, soonest))
                soonest = child;
        if (*kst__heap_due(h, soonest) >= due_ms)
            break;
        kst__heap_put(h, position, *kst__heap_slot(h, soonest), *kst__heap_due(h, soonest));
        position = soonest;
    }
    kst__heap_put(h, position, slot, due_ms);
}

static void kst__heap_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct kst__heap *h = (struct kst__heap *)tm;
    KST_ASSERT(h->count < h->slots);
    kst__heap_up(h, h->count++, slot, due_ms);
}

/* The last position's slot fills the hole. */
static void kst__heap_disarm(void *tm, uint32_t slot)
{
    struct kst__heap *h = (struct kst__heap *)tm;
    const uint32_t position = *kst__heap_where(h, slot);
    KST_ASSERT(position < h->count && *kst__heap_slot(h, position) == slot);
    const uint32_t end = --h->count;
    if (position == end)
        return;
    const uint32_t last = *kst__heap_slot(h, end);
    const uint64_t due_ms = *kst__heap_due(h, end);
    if (position > 0 && due_ms < *kst__heap_due(h, (position - 1) / KST__HEAP_ARITY))
        kst__heap_up(h, position, last, due_ms);
    else
        kst__heap_down(h, position, last, due_ms);
}

static uint32_t kst__heap_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct kst__heap *h = (struct kst__heap *)tm;
    while (*work > 0 && h->count > 0 && *kst__heap_due(h, 0) <= now_ms) {
        *work -= 1;
        const uint32_t slot = *kst__heap_slot(h, 0);
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms) {
            kst__heap_disarm(h, slot);
            return slot;
        }
        kst__heap_down(h, 0, slot, due_ms);
    }
    return KST__NONE;
}

static const char *kst__heap_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct kst__heap *h = (const struct kst__heap *)tm;
    *armed = h->count;
    if (h->count > h->slots)
        return "heap: more is armed than there are slots";
    for (uint32_t position = 0; position < h->count; position++) {
        const uint32_t slot = *kst__heap_slot(h, position);
        const uint64_t due_ms = *kst__heap_due(h, position);
        if (slot >= h->slots || !kst__timed_live(t, slot))
            return "heap: a free entry is armed";
        if (*kst__heap_where(h, slot) != position)
            return "heap: an entry does not know its place";
        if (position > 0 && *kst__heap_due(h, (position - 1) / KST__HEAP_ARITY) > due_ms)
            return "heap: a parent comes after its child";
        if (kst__timed_expires_ms(t, slot) < due_ms)
            return "heap: an entry lies later than it expires";
    }
    return NULL;
}

static const struct kst_timer_ops kst_timer_heap = {
    "heap",           kst__heap_bytes, kst__heap_init, kst__heap_arm,
    kst__heap_disarm, kst__heap_next,  kst__heap_check, NULL, NULL,
};

#endif
