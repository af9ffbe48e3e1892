/* SPDX-License-Identifier: MIT */
/* core/timer_hashed.h - a hashed wheel of one level (Varghese and Lauck, 1987) with a tick of 1 ms.
 *
 * A place for each millisecond of a turn, as many as there are slots: a time has the place that its
 * lowest bits name. What is more than a turn ahead is met once every turn and waits. With as many
 * places as slots the waiting costs at most a step a millisecond, however long it lasts, and small tables
 * have KST__HASHED_PLACES_MIN places. What still has more than a turn to wait stays where it is,
 * to be met after a whole turn; only its last turn takes it to the place of its very millisecond.
 *
 * A place whose turn it is gives all that it holds to a list of what is due, which is taken from step by
 * step. When the clock jumps by more than a turn, all places are met in one turn, and the clock stands
 * where it stood when that began. Above the places stands a tree of bits, 64 to a word: idle time
 * and empty places cost nothing.
 *
 *     struct kst__hashed | links[slots] | first[places + 1], the last one of what is due | bits
 *
 * The first in a place has slots + place before it: so a slot can be taken out without knowing where. */
#ifndef KST_TIMER_HASHED_H
#define KST_TIMER_HASHED_H

#include "timer.h"

enum {
    KST__HASHED_PLACES_MIN = 8192, /* milliseconds in a turn */
    KST__HASHED_LEVELS = 5         /* of bits, 64 to a word: enough for 2^30 places */
};

struct kst__hashed_link {
    uint32_t next, last; /* of the place */
};

struct kst__hashed {
    uint64_t clock_ms;  /* all places up to here have been met */
    uint64_t jumped_ms; /* what the clock will be set to when it has met all places, */
    uint64_t turned_ms; /* which is so when it reaches this; 0: there was no jump */
    uint64_t links_at, first_at, bits_at[KST__HASHED_LEVELS]; /* offsets */
    uint32_t slots;
    uint32_t places; /* a power of two */
};

KST_INLINE struct kst__hashed_link *kst__hashed_link_at(const struct kst__hashed *w, uint32_t slot)
{
    return (struct kst__hashed_link *)((uint8_t *)(uintptr_t)w + w->links_at) + slot;
}

KST_INLINE uint32_t *kst__hashed_first(const struct kst__hashed *w, uint32_t place)
{
    return (uint32_t *)((uint8_t *)(uintptr_t)w + w->first_at) + place;
}

KST_INLINE uint64_t *kst__hashed_bits(const struct kst__hashed *w, uint32_t level, uint32_t word)
{
    return (uint64_t *)((uint8_t *)(uintptr_t)w + w->bits_at[level]) + word;
}

static uint32_t kst__hashed_places(uint32_t slots)
{
    return kst__power_of_two(kst__max32(slots, KST__HASHED_PLACES_MIN));
}

static uint32_t kst__hashed_words(uint32_t places, uint32_t level)
{
    return kst__max32(places >> (6 * (level + 1)), 1);
}

static uint64_t kst__hashed_bytes(uint32_t slots)
{
    const uint32_t places = kst__hashed_places(slots);
    uint64_t bytes = kst__aligned(sizeof(struct kst__hashed)) +
                     (uint64_t)slots * sizeof(struct kst__hashed_link) +
                     ((uint64_t)places + 2) * sizeof(uint32_t); /* 2: what follows has 8 bytes */
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++)
        bytes += kst__hashed_words(places, level) * sizeof(uint64_t);
    return bytes;
}

static void kst__hashed_init(void *tm, uint32_t slots, uint64_t now_ms)
{
    struct kst__hashed *w = (struct kst__hashed *)tm;
    memset(w, 0, sizeof *w);
    w->clock_ms = now_ms;
    w->slots = slots;
    w->places = kst__hashed_places(slots);
    w->links_at = kst__aligned(sizeof *w);
    w->first_at = w->links_at + (uint64_t)slots * sizeof(struct kst__hashed_link);
    uint64_t end = w->first_at + ((uint64_t)w->places + 2) * sizeof(uint32_t);
    memset(kst__hashed_first(w, 0), 0xff, (size_t)(end - w->first_at)); /* KST__NONE */
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++) {
        const uint64_t bytes = kst__hashed_words(w->places, level) * sizeof(uint64_t);
        w->bits_at[level] = end;
        memset(kst__hashed_bits(w, level, 0), 0, (size_t)bytes);
        end += bytes;
    }
}

/* ---- the bits of the places that hold something, and of the words that are not 0 ---- */

static void kst__hashed_mark(struct kst__hashed *w, uint32_t place)
{
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++) {
        *kst__hashed_bits(w, level, place / 64) |= UINT64_C(1) << (place % 64);
        place /= 64;
    }
}

static void kst__hashed_unmark(struct kst__hashed *w, uint32_t place)
{
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++) {
        uint64_t *word = kst__hashed_bits(w, level, place / 64);
        *word &= ~(UINT64_C(1) << (place % 64));
        if (*word != 0)
            break;
        place /= 64;
    }
}

/* The first place at or behind `from` that holds something, KST__NONE if all are empty. */
static uint32_t kst__hashed_seek(const struct kst__hashed *w, uint32_t from)
{
    for (uint32_t level = 0; level < KST__HASHED_LEVELS; level++) {
        if (from / 64 >= kst__hashed_words(w->places, level))
            break;
        const uint64_t ahead =
            *kst__hashed_bits(w, level, from / 64) & UINT64_MAX << (from % 64);
        if (ahead == 0) {
            from = from / 64 + 1;
            continue;
        }
        from = from / 64 * 64 + kst__lowest_bit(ahead);
        while (level-- > 0)
            from = from * 64 + kst__lowest_bit(*kst__hashed_bits(w, level, from));
        return from;
    }
    return KST__NONE;
}

/* ---- places ---- */

static void kst__hashed_put(struct kst__hashed *w, uint32_t slot, uint32_t place)
{
    uint32_t *first = kst__hashed_first(w, place);
    struct kst__hashed_link *link = kst__hashed_link_at(w, slot);
    link->next = *first;
    link->last = w->slots + place;
    if (*first != KST__NONE)
        kst__hashed_link_at(w, *first)->last = slot;
    else if (place < w->places)
        kst__hashed_mark(w, place);
    *first = slot;
}

KST_INLINE uint32_t kst__hashed_place(const struct kst__hashed *w, uint64_t ms)
{
    return (uint32_t)ms & (w->places - 1);
}

static void kst__hashed_arm(void *tm, uint32_t slot, uint64_t due_ms)
{
    struct kst__hashed *w = (struct kst__hashed *)tm;
    const uint64_t met_ms = w->turned_ms != 0 ? w->jumped_ms : w->clock_ms;
    kst__hashed_put(w, slot, due_ms > met_ms ? kst__hashed_place(w, due_ms) : w->places);
}

static void kst__hashed_disarm(void *tm, uint32_t slot)
{
    struct kst__hashed *w = (struct kst__hashed *)tm;
    const struct kst__hashed_link *link = kst__hashed_link_at(w, slot);
    if (link->next != KST__NONE)
        kst__hashed_link_at(w, link->next)->last = link->last;
    if (link->last < w->slots) {
        KST_ASSERT(kst__hashed_link_at(w, link->last)->next == slot);
        kst__hashed_link_at(w, link->last)->next = link->next;
        return;
    }
    const uint32_t place = link->last - w->slots;
    KST_ASSERT(place <= w->places && *kst__hashed_first(w, place) == slot);
    *kst__hashed_first(w, place) = link->next;
    if (link->next == KST__NONE && place < w->places)
        kst__hashed_unmark(w, place);
}

/* Turns the clock to the next place that holds something, but not beyond `until_ms`, which is at most
 * a turn ahead. True if there is one: it has become the list of what is due, which was empty. */
static bool kst__hashed_turn(struct kst__hashed *w, uint64_t until_ms)
{
    const uint32_t from = kst__hashed_place(w, w->clock_ms + 1);
    uint32_t place = kst__hashed_seek(w, from);
    if (place == KST__NONE)
        place = kst__hashed_seek(w, 0);
    const uint64_t steps = kst__hashed_place(w, (uint64_t)place - from) + UINT64_C(1);
    if (place == KST__NONE || steps > until_ms - w->clock_ms) {
        w->clock_ms = until_ms;
        return false;
    }
    w->clock_ms += steps;
    const uint32_t slot = *kst__hashed_first(w, place);
    *kst__hashed_first(w, w->places) = slot;
    kst__hashed_link_at(w, slot)->last = w->slots + w->places;
    *kst__hashed_first(w, place) = KST__NONE;
    kst__hashed_unmark(w, place);
    return true;
}

/* Moves on to the next place that is to be met, false if there is none up to `now_ms`. */
static bool kst__hashed_move(struct kst__hashed *w, uint64_t now_ms)
{
    while (w->clock_ms < now_ms || w->turned_ms != 0) {
        if (w->turned_ms == 0 && now_ms - w->clock_ms > w->places) {
            w->turned_ms = w->clock_ms + w->places;
            w->jumped_ms = now_ms;
        }
        if (kst__hashed_turn(w, w->turned_ms != 0 ? w->turned_ms : now_ms))
            return true;
        if (w->turned_ms != 0) {
            w->clock_ms = w->jumped_ms;
            w->turned_ms = 0;
        }
    }
    return false;
}

static uint32_t kst__hashed_next(void *tm, struct kst *t, uint64_t now_ms, uint32_t *work)
{
    struct kst__hashed *w = (struct kst__hashed *)tm;
    while (*work > 0) {
        if (*kst__hashed_first(w, w->places) == KST__NONE && !kst__hashed_move(w, now_ms))
            return KST__NONE;
        *work -= 1;
        const uint32_t slot = *kst__hashed_first(w, w->places);
        kst__hashed_disarm(w, slot);
        kst__rearm_prefetch(t, *kst__hashed_first(w, w->places));
        const uint64_t due_ms = kst__rearm_ms(t, slot);
        if (due_ms <= now_ms)
            return slot;
        /* A turn or more ahead: the place that the clock has just met comes last. */
        const uint64_t meet_ms = due_ms - now_ms < w->places ? due_ms : w->clock_ms;
        kst__hashed_put(w, slot, kst__hashed_place(w, meet_ms));
    }
    return KST__NONE;
}

/* Whether what expires then is met in time in this place: in the turn after a jump, or later. */
static bool kst__hashed_in_time(const struct kst__hashed *w, uint32_t place, uint64_t expires_ms)
{
    const bool turning = w->turned_ms != 0;
    const uint64_t met_ms = turning ? w->jumped_ms : w->clock_ms;
    if (place == w->places ||
        (turning && kst__hashed_place(w, place - w->clock_ms - 1) < w->turned_ms - w->clock_ms))
        return true;
    return expires_ms > met_ms && kst__hashed_place(w, place - met_ms - 1) < expires_ms - met_ms;
}

/* The first place from this one on, which begins a word, whose word is not 0. */
static uint32_t kst__hashed_skip(const struct kst__hashed *w, uint32_t place)
{
    while (place < w->places && *kst__hashed_bits(w, 0, place / 64) == 0)
        place += 64;
    return place;
}

static bool kst__hashed_empty(const struct kst__hashed *w, uint32_t place, uint32_t count)
{
    const uint32_t *first = kst__hashed_first(w, place);
    return count == 0 ||
           (*first == KST__NONE && memcmp(first, first + 1, (count - 1) * sizeof *first) == 0);
}

static const char *kst__hashed_check(const void *tm, const struct kst *t, uint32_t *armed)
{
    const struct kst__hashed *w = (const struct kst__hashed *)tm;
    *armed = 0;
    if (w->turned_ms != 0 && (w->clock_ms > w->turned_ms || w->turned_ms > w->jumped_ms))
        return "hashed: the clock has gone astray";
    for (uint32_t place = 0; place <= w->places; place++) {
        const uint32_t marked = place % 64 == 0 ? kst__hashed_skip(w, place) : place;
        if (!kst__hashed_empty(w, place, marked - place))
            return "hashed: a place's bit lies";
        place = marked;
        uint32_t last = w->slots + place;
        for (uint32_t slot = *kst__hashed_first(w, place); slot != KST__NONE;) {
            if (slot >= w->slots || *armed >= w->slots)
                return "hashed: a link leads astray";
            if (!kst__timed_live(t, slot))
                return "hashed: a free entry is armed";
            if (kst__hashed_link_at(w, slot)->last != last)
                return "hashed: neighbours disagree";
            if (!kst__hashed_in_time(w, place, kst__timed_expires_ms(t, slot)))
                return "hashed: an entry lies later than it expires";
            *armed += 1;
            last = slot;
            slot = kst__hashed_link_at(w, slot)->next;
        }
        if (place < w->places && (*kst__hashed_bits(w, 0, place / 64) >> place % 64 & 1) !=
                                     (*kst__hashed_first(w, place) != KST__NONE))
            return "hashed: a place's bit lies";
    }
    for (uint32_t level = 1; level < KST__HASHED_LEVELS; level++)
        for (uint32_t word = 0; word < kst__hashed_words(w->places, level - 1); word++)
            if ((*kst__hashed_bits(w, level, word / 64) >> word % 64 & 1) !=
                (*kst__hashed_bits(w, level - 1, word) != 0))
                return "hashed: a word's bit lies";
    return NULL;
}

static const struct kst_timer_ops kst_timer_hashed = {
    "hashed",           kst__hashed_bytes, kst__hashed_init, kst__hashed_arm,
    kst__hashed_disarm, kst__hashed_next,  kst__hashed_check, NULL, NULL,
};

#endif
