/* SPDX-License-Identifier: MIT */
/* toys.h - an index and a timer of one's own, from outside the header:
 *
 *     #define KST_BACK_ENDS "toys.h"
 *     #define KST_INDEX toy
 *     #define KST_TIMER toy
 *     #define KST_IMPLEMENTATION
 *     #include "keepstate.h"
 *
 * What each call promises stands at the top of core/index.h and core/timer.h. Both keep plain arrays
 * and search them from end to end: right, and slow. */
#ifndef TOYS_H
#define TOYS_H

/* ---- an index: nodes and their hashes, in no order ---- */

struct toy_index {
    uint32_t count, room;
    struct toy_node {
        uint64_t hash;
        uint32_t node;
    } nodes[];
};

static uint64_t toy_index_bytes(uint32_t nodes_max, uint32_t buckets)
{
    (void)buckets;
    return sizeof(struct toy_index) + (uint64_t)nodes_max * sizeof(struct toy_node);
}

static void toy_index_init(void *ix, uint32_t nodes_max, uint32_t buckets)
{
    struct toy_index *toy = ix;
    (void)buckets;
    toy->count = 0;
    toy->room = nodes_max;
}

static uint32_t toy_index_find(const void *ix, const struct kst *t, const struct kst__key *key)
{
    const struct toy_index *toy = ix;
    for (uint32_t i = 0; i < toy->count; i++)
        if (toy->nodes[i].hash == key->hash && kst__node_matches(t, toy->nodes[i].node, key))
            return toy->nodes[i].node;
    return KST__NONE;
}

static bool toy_index_insert(void *ix, uint32_t node, uint64_t hash)
{
    struct toy_index *toy = ix;
    if (toy->count == toy->room)
        return false;
    toy->nodes[toy->count++] = (struct toy_node){hash, node};
    return true;
}

static void toy_index_remove(void *ix, uint32_t node, uint64_t hash)
{
    struct toy_index *toy = ix;
    uint32_t i = 0;
    (void)hash;
    while (toy->nodes[i].node != node)
        i++;
    toy->nodes[i] = toy->nodes[--toy->count];
}

static const char *toy_index_check(const void *ix, const struct kst *t, uint32_t *nodes)
{
    const struct toy_index *toy = ix;
    *nodes = toy->count;
    for (uint32_t i = 0; i < toy->count; i++)
        if (toy->nodes[i].hash != kst__node_hash(t, toy->nodes[i].node))
            return "toy: a node lies under another's hash";
    return NULL;
}

static const struct kst_index_ops kst_index_toy = {
    .name = "toy", .bytes = toy_index_bytes, .init = toy_index_init, .find = toy_index_find,
    .insert = toy_index_insert, .remove = toy_index_remove, .check = toy_index_check};

/* ---- a timer: when each slot is due; a step looks at one of them ---- */

#define TOY_IDLE UINT64_MAX /* what is due at the end of time never is */

struct toy_timer {
    uint32_t slots, armed;
    uint32_t cursor; /* to be looked at next, */
    uint32_t left;   /* and so many after which none can be due */
    uint64_t now_ms;
    uint64_t due_ms[];
};

static uint64_t toy_timer_bytes(uint32_t slots)
{
    return sizeof(struct toy_timer) + (uint64_t)slots * sizeof(uint64_t);
}

static void toy_timer_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct toy_timer *toy = tm;
    *toy = (struct toy_timer){.slots = slots, .now_ms = now_ms};
    for (uint32_t slot = 0; slot < slots; slot++)
        toy->due_ms[slot] = TOY_IDLE;
}

static void toy_timer_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct toy_timer *toy = tm;
    toy->due_ms[slot] = due_ms < TOY_IDLE ? due_ms : TOY_IDLE - 1;
    toy->armed++;
    if (due_ms <= toy->now_ms)
        toy->left = toy->slots;
}

static void toy_timer_disarm(void *tm, uint32_t slot)
{
    struct toy_timer *toy = tm;
    toy->due_ms[slot] = TOY_IDLE;
    toy->armed--;
}

static uint32_t toy_timer_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct toy_timer *toy = tm;
    if (now_ms > toy->now_ms)
        toy->left = toy->slots;
    toy->now_ms = now_ms;
    for (; toy->left > 0 && *work > 0; toy->left--, *work -= 1) {
        const uint32_t slot = toy->cursor;
        toy->cursor = (slot + 1) % toy->slots;
        if (toy->due_ms[slot] > now_ms || toy->due_ms[slot] == TOY_IDLE)
            continue;
        toy_timer_disarm(toy, slot);
        const uint64_t rearm_ms = kst__rearm_ms(t, slot); /* it may have been prolonged */
        if (rearm_ms > now_ms) {
            toy_timer_arm(toy, slot, rearm_ms);
            continue;
        }
        toy->left--;
        *work -= 1;
        return slot;
    }
    return KST__NONE;
}

static const char *toy_timer_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct toy_timer *toy = tm;
    *armed = 0;
    for (uint32_t slot = 0; slot < toy->slots; slot++) {
        if (toy->due_ms[slot] == TOY_IDLE)
            continue;
        *armed += 1;
        if (!kst__timed_live(t, slot))
            return "toy: a free entry is armed";
        if (kst__timed_expires_ms(t, slot) < toy->due_ms[slot])
            return "toy: an entry is due later than it expires";
    }
    return NULL;
}

static const struct kst_timer_ops kst_timer_toy = {
    .name = "toy", .bytes = toy_timer_bytes, .init = toy_timer_init, .arm = toy_timer_arm,
    .disarm = toy_timer_disarm, .next = toy_timer_next, .check = toy_timer_check};

#endif
