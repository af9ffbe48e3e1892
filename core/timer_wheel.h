/* SPDX-License-Identifier: MIT */
/* core/timer_wheel.h - a hierarchical wheel (Varghese and Lauck, 1987) with a tick of 1 ms.
 *
 * Level l turns once in 64^(l+1) ms; eleven levels cover the 64 bits of the clock, so nothing is
 * ever too far away. A time goes to the level of the highest digit (base 64) in which it differs
 * from the clock, into the place that this digit names: always one that the clock has yet to reach.
 * When the clock gets there, the place's references go down to the levels below, or, if they are
 * due, out. A bit for every place tells which hold something: idle time costs nothing.
 *
 *     struct kst__wheel | chunks | where[slots]
 *
 * A place is a list of chunks, one cache line each, of slot numbers: they can be walked without
 * touching the entries. All chunks but a place's first are full. where[slot] is the position of
 * the slot's reference, so that it can be taken out: the first chunk's last one fills the hole. */
#ifndef KST_TIMER_WHEEL_H
#define KST_TIMER_WHEEL_H

#include "timer.h"

enum {
    KST__WHEEL_DIGIT = 6, /* bits */
    KST__WHEEL_TURN = 1 << KST__WHEEL_DIGIT,
    KST__WHEEL_LEVELS = 11,
    KST__WHEEL_PLACES = KST__WHEEL_LEVELS * KST__WHEEL_TURN,
    KST__CHUNK_REFS = 14
};

struct kst__chunk {
    uint32_t next;  /* chunk of the same place, or of the free list */
    uint16_t place;
    uint16_t count;
    uint32_t ref[KST__CHUNK_REFS];
};

struct kst__wheel {
    uint64_t clock_ms;
    uint64_t chunks_at, where_at; /* offsets */
    uint32_t chunks_free;         /* first of the free list */
    uint32_t chunks_used;         /* chunks ever used */
    uint32_t chunks_max;
    uint32_t emptying;            /* the place above level 0 that is being handed down, or 0 */
    uint32_t fetched;             /* the chunk whose entries were asked for last */
    uint64_t pending[KST__WHEEL_LEVELS]; /* a bit for every place that holds something */
    uint32_t first[KST__WHEEL_PLACES];   /* chunk */
};

KST_INLINE struct kst__chunk *kst__wheel_chunk(const struct kst__wheel *w, uint32_t number)
{
    return (struct kst__chunk *)((uint8_t *)(uintptr_t)w + w->chunks_at) + number;
}

KST_INLINE uint32_t *kst__wheel_where(const struct kst__wheel *w, uint32_t slot)
{
    return (uint32_t *)((uint8_t *)(uintptr_t)w + w->where_at) + slot;
}

/* Full chunks, and one that is not for every place that holds something. */
static uint32_t kst__wheel_chunks_max(uint32_t slots)
{
    return slots / KST__CHUNK_REFS + (slots < KST__WHEEL_PLACES ? slots : (uint32_t)KST__WHEEL_PLACES);
}

static uint64_t kst__wheel_chunks_at(void)
{
    return kst__aligned(sizeof(struct kst__wheel));
}

static uint64_t kst__wheel_bytes(uint32_t slots)
{
    return kst__wheel_chunks_at() +
           (uint64_t)kst__wheel_chunks_max(slots) * sizeof(struct kst__chunk) +
           (uint64_t)slots * sizeof(uint32_t);
}

static void kst__wheel_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct kst__wheel *w = (struct kst__wheel *)tm;
    memset(w, 0, sizeof *w);
    memset(w->first, 0xff, sizeof w->first); /* KST__NONE */
    w->clock_ms = now_ms;
    w->chunks_max = kst__wheel_chunks_max(slots);
    w->chunks_free = w->fetched = KST__NONE;
    w->chunks_at = kst__wheel_chunks_at();
    w->where_at = w->chunks_at + (uint64_t)w->chunks_max * sizeof(struct kst__chunk);
}

/* The place for a time at or after the clock. */
KST_INLINE uint32_t kst__wheel_place(const struct kst__wheel *w, uint64_t due_ms)
{
    const uint64_t differ = due_ms ^ w->clock_ms;
    const uint32_t level = differ == 0 ? 0 : kst__highest_bit(differ) / KST__WHEEL_DIGIT;
    const uint32_t digit =
        (uint32_t)(due_ms >> (level * KST__WHEEL_DIGIT)) & (KST__WHEEL_TURN - 1);
    return level * KST__WHEEL_TURN + digit;
}

static uint32_t kst__wheel_new_chunk(struct kst__wheel *w)
{
    const uint32_t number = w->chunks_free;
    if (number == KST__NONE) {
        KST_ASSERT(w->chunks_used < w->chunks_max);
        return w->chunks_used++;
    }
    w->chunks_free = kst__wheel_chunk(w, number)->next;
    return number;
}

static void kst__wheel_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct kst__wheel *w = (struct kst__wheel *)tm;
    const uint32_t place = kst__wheel_place(w, due_ms > w->clock_ms ? due_ms : w->clock_ms);
    uint32_t number = w->first[place];
    struct kst__chunk *chunk = kst__wheel_chunk(w, number == KST__NONE ? 0 : number);
    if (number == KST__NONE || chunk->count == KST__CHUNK_REFS) {
        number = kst__wheel_new_chunk(w);
        chunk = kst__wheel_chunk(w, number);
        chunk->next = w->first[place];
        chunk->place = (uint16_t)place;
        chunk->count = 0;
        w->first[place] = number;
        w->pending[place / KST__WHEEL_TURN] |= UINT64_C(1) << (place % KST__WHEEL_TURN);
    }
    *kst__wheel_where(w, slot) = number * KST__CHUNK_REFS + chunk->count;
    chunk->ref[chunk->count++] = slot;
}

/* Takes the last reference out of a place that holds something. */
static uint32_t kst__wheel_pop(struct kst__wheel *w, uint32_t place)
{
    const uint32_t number = w->first[place];
    struct kst__chunk *chunk = kst__wheel_chunk(w, number);
    KST_ASSERT(chunk->count > 0);
    const uint32_t slot = chunk->ref[--chunk->count];
    if (chunk->count == 0) {
        w->first[place] = chunk->next;
        if (chunk->next == KST__NONE)
            w->pending[place / KST__WHEEL_TURN] &= ~(UINT64_C(1) << (place % KST__WHEEL_TURN));
        chunk->next = w->chunks_free;
        w->chunks_free = number;
    }
    return slot;
}

static void kst__wheel_disarm(void *tm, uint32_t slot)
{
    struct kst__wheel *w = (struct kst__wheel *)tm;
    const uint32_t where = *kst__wheel_where(w, slot);
    struct kst__chunk *chunk = kst__wheel_chunk(w, where / KST__CHUNK_REFS);
    KST_ASSERT(chunk->ref[where % KST__CHUNK_REFS] == slot);
    const uint32_t last = kst__wheel_pop(w, chunk->place);
    if (last != slot) {
        chunk->ref[where % KST__CHUNK_REFS] = last;
        *kst__wheel_where(w, last) = where;
    }
}

/* Turns the clock to the next place that holds something, if that is not after `now_ms`, and
 * returns the place; else turns it to `now_ms` and returns KST__WHEEL_PLACES. The lowest level
 * that holds anything ahead holds the soonest. */
static uint32_t kst__wheel_turn(struct kst__wheel *w, uint64_t now_ms)
{
    for (uint32_t level = 0; level < KST__WHEEL_LEVELS; level++) {
        const uint32_t shift = level * KST__WHEEL_DIGIT;
        const uint32_t digit = (uint32_t)(w->clock_ms >> shift) & (KST__WHEEL_TURN - 1);
        const uint64_t ahead = w->pending[level] >> digit;
        if (ahead == 0)
            continue;
        const uint32_t to = digit + kst__lowest_bit(ahead);
        const uint64_t starts_ms =
            ((w->clock_ms >> shift) + (to - digit)) << shift; /* lower digits 0 */
        if (starts_ms > now_ms)
            break;
        if (starts_ms > w->clock_ms)
            w->clock_ms = starts_ms;
        return level * KST__WHEEL_TURN + to;
    }
    if (now_ms > w->clock_ms)
        w->clock_ms = now_ms;
    return KST__WHEEL_PLACES;
}

/* Starts the access to all that a chunk refers to, and to the chunk behind it. */
static void kst__wheel_fetch(struct kst__wheel *w, const struct kst *t, uint32_t number)
{
    const struct kst__chunk *chunk = kst__wheel_chunk(w, number);
    w->fetched = number;
    for (uint32_t i = chunk->count; i-- > 0;)
        kst__rearm_prefetch(t, chunk->ref[i]);
    if (chunk->next != KST__NONE)
        KST_PREFETCH(kst__wheel_chunk(w, chunk->next));
}

static uint32_t kst__wheel_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct kst__wheel *w = (struct kst__wheel *)tm;
    while (*work > 0) {
        /* A place above level 0 is emptied to the end before the clock moves on: what is left in
         * it may be due before what it has handed down. */
        const uint32_t place = w->emptying != 0 ? w->emptying : kst__wheel_turn(w, now_ms);
        if (place == KST__WHEEL_PLACES)
            return KST__NONE;
        if (w->first[place] == KST__NONE) { /* the last of it was disarmed meanwhile */
            w->emptying = 0;
            continue;
        }
        *work -= 1;
        if (w->first[place] != w->fetched)
            kst__wheel_fetch(w, t, w->first[place]);
        const uint32_t slot = kst__wheel_pop(w, place);
        w->emptying = place >= KST__WHEEL_TURN && w->first[place] != KST__NONE ? place : 0;
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms)
            return slot;
        kst__wheel_arm(w, slot, due_ms);
    }
    return KST__NONE;
}

static void kst__wheel_prefetch(const void *tm, uint32_t slot)
{
    KST_PREFETCH(kst__wheel_where((const struct kst__wheel *)tm, slot));
}

static void kst__wheel_peek(const void *tm, uint32_t slot)
{
    const struct kst__wheel *w = (const struct kst__wheel *)tm;
    KST_PREFETCH(kst__wheel_chunk(w, *kst__wheel_where(w, slot) / KST__CHUNK_REFS));
}

static const char *kst__wheel_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct kst__wheel *w = (const struct kst__wheel *)tm;
    uint32_t chunks_held = 0, chunks_free = 0;
    *armed = 0;
    for (uint32_t number = w->chunks_free; number != KST__NONE;
         number = kst__wheel_chunk(w, number)->next)
        if (number >= w->chunks_used || ++chunks_free > w->chunks_used)
            return "wheel: the free chunks lead astray";
    for (uint32_t place = 0; place < KST__WHEEL_PLACES; place++) {
        const uint32_t level = place / KST__WHEEL_TURN, digit = place % KST__WHEEL_TURN;
        uint32_t number = w->first[place], chunks = 0;
        if ((w->pending[level] >> digit & 1) != (number != KST__NONE))
            return "wheel: a place's bit lies";
        if (number == KST__NONE)
            continue;
        const uint32_t shift = level * KST__WHEEL_DIGIT;
        const uint32_t now = (uint32_t)(w->clock_ms >> shift) & (KST__WHEEL_TURN - 1);
        if (digit < now + (level > 0 && place != w->emptying))
            return "wheel: a place holds something that the clock has passed";
        for (bool front = true; number != KST__NONE; front = false) {
            if (number >= w->chunks_used || ++chunks > w->chunks_max)
                return "wheel: a chunk leads astray";
            const struct kst__chunk *chunk = kst__wheel_chunk(w, number);
            if (chunk->place != place || chunk->count == 0 ||
                (front ? chunk->count > KST__CHUNK_REFS : chunk->count != KST__CHUNK_REFS))
                return "wheel: a chunk is not as full as it should be";
            for (uint32_t i = 0; i < chunk->count; i++) {
                const uint32_t slot = chunk->ref[i];
                if (!kst__timed_live(t, slot))
                    return "wheel: a free entry is armed";
                if (*kst__wheel_where(w, slot) != number * KST__CHUNK_REFS + i)
                    return "wheel: an entry does not know its place";
                const uint64_t expires_ms = kst__timed_expires_ms(t, slot);
                if (expires_ms > w->clock_ms &&
                    (expires_ms >> shift) < (w->clock_ms >> shift & ~UINT64_C(63)) + digit)
                    return "wheel: an entry lies later than it expires";
            }
            *armed += chunk->count;
            chunks_held++;
            number = chunk->next;
        }
    }
    return chunks_held + chunks_free == w->chunks_used ? NULL : "wheel: a chunk is lost";
}

static const struct kst_timer_ops kst_timer_wheel = {
    "wheel",           kst__wheel_bytes, kst__wheel_init,  kst__wheel_arm,
    kst__wheel_disarm, kst__wheel_next,  kst__wheel_check, kst__wheel_prefetch,
    kst__wheel_peek,
};

#endif
