/* SPDX-License-Identifier: MIT */
/* bench/kit.c - the core with one pair of back ends, -DKST_INDEX= and -DKST_TIMER=, perhaps with another
 * hash, -DKST_HASH= and -DKIT_HASH, and the loops around its calls as a user would have them: compiled
 * together, nothing between. */
#define KST_STATIC
#define KST_IMPLEMENTATION
#include "bench.h"

static uint64_t find_each(const struct kst *t, const struct kst_tuple *tuples, size_t count)
{
    uint64_t hits = 0;
    for (size_t i = 0; i < count; i++)
        hits += kst_find(t, &tuples[i], NULL) != 0;
    return hits;
}

/* Which tuple comes next depends on what was found: all names are below 2^63. */
static uint64_t find_dependent(const struct kst *t, const struct kst_tuple *tuples, size_t count)
{
    uint64_t hits = 0, last = 0;
    for (size_t i = 0; i < count; i++) {
        last = kst_find(t, &tuples[i + (last >> 63)], NULL);
        hits += last != 0;
    }
    return hits;
}

static uint64_t find_batch(const struct kst *t, const struct kst_tuple *tuples, size_t count,
                           size_t burst)
{
    kst_id ids[256];
    uint64_t hits = 0;
    for (size_t i = 0; i < count; i += burst) {
        const size_t some = count - i < burst ? count - i : burst;
        kst_find_batch(t, tuples + i, some, ids, NULL);
        for (size_t k = 0; k < some; k++)
            hits += ids[k] != 0;
    }
    return hits;
}

static uint64_t track_all(struct kst *t, uint64_t now_ms, const struct kst_packet *in,
                          size_t count, size_t burst, struct kst_result *out, bool keep_all)
{
    for (size_t i = 0; i < count; i += burst)
        kst_track(t, now_ms + i / 16384, in + i, count - i < burst ? count - i : burst,
                  keep_all ? out + i : out);
    return now_ms + (count + 16383) / 16384;
}

static uint64_t translate_all(struct kst *t, uint64_t now_ms, const struct kst_packet *in,
                              size_t count, size_t burst, struct kst_result *out, bool keep_all)
{
    static const struct kst_nat_range by[2] = {
        {.flags = KST_NAT_NETMAP, .prefix = 8, .address = {{203}, {203}}},
        {.flags = KST_NAT_NETMAP, .prefix = 16, .address = {{0x20, 0x02}, {0x20, 0x02}}}};
    struct kst_nat nats[256];
    for (size_t i = 0; i < count; i += burst) {
        const size_t some = count - i < burst ? count - i : burst;
        for (size_t k = 0; k < some; k++)
            nats[k] = (struct kst_nat){.range = {&by[in[i + k].data[0] >> 4 == 6], NULL},
                                       .bytes = (uint8_t *)(uintptr_t)in[i + k].data,
                                       .room = in[i + k].size};
        kst_track_nat(t, now_ms + i / 16384, in + i, nats, some, keep_all ? out + i : out);
    }
    return now_ms + (count + 16383) / 16384;
}

static uint64_t delete_all(struct kst *t, const kst_id *ids, size_t count)
{
    uint64_t gone = 0;
    for (size_t i = 0; i < count; i++)
        gone += kst_delete(t, ids[i]);
    return gone;
}

static uint64_t mixed(struct kst *t, uint64_t now_ms, const struct kst_tuple *tuples,
                      const struct kst_packet *in, size_t count)
{
    uint64_t good = 0;
    for (size_t i = 0; i < count; i++) {
        struct kst_result result;
        switch (i % 10) {
        case 8:
            kst_track(t, now_ms, &in[i], 1, &result);
            good += (result.flags & KST_CREATED) != 0;
            break;
        case 9: good += kst_delete(t, kst_find(t, &tuples[i], NULL)); break;
        default: good += kst_find(t, &tuples[i], NULL) != 0; break;
        }
    }
    return good;
}

static void track_timed(struct kst *t, uint64_t now_ms, const struct kst_packet *in, size_t count,
                        struct kst_result *out, uint32_t *ticks)
{
    for (size_t i = 0; i < count; i++) {
        const uint64_t begin = ticks_now();
        kst_track(t, now_ms, &in[i], 1, &out[i]);
        ticks[i] = (uint32_t)(ticks_now() - begin);
    }
}

static uint64_t advance_timed(struct kst *t, uint64_t now_ms, uint32_t work_max, size_t count,
                              uint32_t *ticks)
{
    uint64_t steps = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t begin = ticks_now();
        steps += kst_advance(t, now_ms + i, work_max);
        ticks[i] = (uint32_t)(ticks_now() - begin);
    }
    return steps;
}

static uint64_t advance_all(struct kst *t, uint64_t now_ms, uint64_t until_ms)
{
    uint64_t steps = 0;
    for (uint64_t now = now_ms; now <= until_ms; now++)
        steps += kst_advance(t, now, UINT32_MAX);
    return steps;
}

static uint64_t print_all(const struct kst *t, enum kst_format format, size_t count)
{
    uint64_t bytes = 0;
    kst_id id = 0;
    for (size_t i = 0; i < count && (id = kst_next(t, id)) != 0; i++) {
        struct kst_flow flow;
        char line[KST_LINE_MAX];
        if (kst_get(t, id, &flow))
            bytes += kst_print(&flow, format, line, sizeof line);
    }
    return bytes;
}

static uint64_t walk(const struct kst *t)
{
    uint64_t met = 0;
    for (kst_id id = 0; (id = kst_next(t, id)) != 0;)
        met++;
    return met;
}

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)
#define KIT_PAIR KST__PASTE(KST__PASTE(kit_, KST_INDEX), KST__PASTE(_, KST_TIMER))
#ifdef KIT_HASH /* part of the name */
#define KIT_NAME KST__PASTE(KIT_PAIR, KST__PASTE(_, KST_HASH))
#define KIT_INDEX TEXT(KST_INDEX) "-" TEXT(KST_HASH)
#else
#define KIT_NAME KIT_PAIR
#define KIT_INDEX TEXT(KST_INDEX)
#endif

const struct kit KIT_NAME = {
    .index = KIT_INDEX,
    .timer = TEXT(KST_TIMER),
#define KIT__X(name) .name = kst_##name,
    KIT_CALLS(KIT__X)
#undef KIT__X
    .find_each = find_each,
    .find_dependent = find_dependent,
    .find_batch = find_batch,
    .track_all = track_all,
    .translate_all = translate_all,
    .delete_all = delete_all,
    .mixed = mixed,
    .track_timed = track_timed,
    .advance_timed = advance_timed,
    .advance_all = advance_all,
    .print_all = print_all,
    .walk = walk,
};
