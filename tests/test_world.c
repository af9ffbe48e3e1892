/* SPDX-License-Identifier: MIT */
/* test_world.c - properties, over a small and busy world: how packets are cut into batches, where
 * the block lies and what it held before changes nothing, to the byte; every outcome is counted;
 * what kst_get hands out kst_insert takes. */
#include "support.h"

enum { WORLD = 2000, TICK = 500 }; /* packets, and how many of them see the same time */
static struct wire world[WORLD];
static struct kst_packet packets[WORLD];

static void make_world(uint64_t seed)
{
    draw_state = seed;
    for (uint32_t i = 0; i < WORLD; i++) {
        world[i] = world_wire();
        packets[i] = (struct kst_packet){.data = world[i].data, .size = world[i].size};
        packets[i].zone = draw_one_in(10);
        packets[i].checksum = (uint8_t)(draw_one_in(8) ? draw_below(4) : KST_CHECKSUM_VERIFY);
        packets[i].flags = (uint8_t)(draw_one_in(8) ? draw_below(4) : 0);
        packets[i].policy = (uint8_t)draw_below(KST_POLICIES + 1);
    }
}

static const struct kst_config small_world = {
    .max = 60, .buckets = 32, .seed = {1, 2}, .expectations = 16, .events = 500,
    .features = KST_WITH_ACCOUNTING | KST_WITH_LABELS | KST_WITH_TIMESTAMPS};

/* Tracks the world in batches of so many, then a last advance. `moving`: the block goes elsewhere
 * before each batch. Returns the table. */
static struct kst *run_world(struct kst *t, uint32_t batch, struct kst_result *results, bool moving)
{
    const size_t bytes = kst_bytes(&small_world);
    must_be(kst_set(t, "nf_conntrack_acct", 1), KST_ERROR_OK);
    must_be(kst_set(t, "nf_conntrack_timestamp", 1), KST_ERROR_OK);
    must_be(kst_set_policy(t, 5, "nf_conntrack_udp_timeout", 4), KST_ERROR_OK);
    must_be(kst_attach(t, TCP, 2, kst_helper_number("ftp")), KST_ERROR_OK);
    memset(results, 0, WORLD * sizeof *results);
    for (uint32_t at = 0; at < WORLD;) {
        const uint32_t left = TICK - at % TICK, count = batch < left ? batch : left;
        if (moving) {
            void *elsewhere = aligned_alloc(KST_ALIGN, bytes);
            ck_assert_ptr_nonnull(elsewhere);
            memcpy(elsewhere, t, bytes);
            memset(t, 0xdb, bytes);
            free(t);
            t = elsewhere;
        }
        kst_track(t, at / TICK * 9000, packets + at, count, results + at);
        at += count;
    }
    must_be_sound(t);
    kst_advance(t, 50000, 20);
    must_be_sound(t);
    return t;
}

START_TEST(batches_and_places_change_nothing)
{
    static const uint32_t batches[] = {1, 7, 32, 33, 256, 1};
    static struct kst_result first[WORLD], results[WORLD];
    for (uint64_t seed = 1; seed <= 4; seed++) {
        make_world(seed);
        struct kst *t = run_world(table_new(small_world), TICK, first, false);
        uint32_t states[5] = {0};
        for (uint32_t i = 0; i < WORLD; i++)
            states[first[i].state]++;
        for (uint32_t state = 0; state < 5; state++)
            must(states[state] > 0);
        must(kst_statistics(t)->gone[KST_GONE_EVICTED] > 0 && kst_statistics(t)->gone[KST_GONE_EXPIRED] > 0);
        for (size_t i = 0; i < COUNT(batches); i++) {
            struct kst *other = run_world(table_new(small_world), batches[i], results, i % 2 == 1);
            about("world %u, batches of %u", (unsigned)seed, batches[i]);
            must(memcmp(first, results, sizeof first) == 0);
            must(memcmp(t, other, kst_bytes(&small_world)) == 0);
            free(other);
        }
        free(t);
    }
}
END_TEST

START_TEST(the_block_may_hold_anything)
{
    static struct kst_result first[WORLD], results[WORLD];
    const size_t bytes = kst_bytes(&small_world);
    make_world(5);
    struct kst *t = run_world(table_new(small_world), 32, first, false);
    for (int fill = 0xff; fill >= 0; fill -= 0x55) {
        void *block = aligned_alloc(KST_ALIGN, bytes);
        ck_assert_ptr_nonnull(block);
        memset(block, fill, bytes);
        struct kst *other = kst_init(block, bytes, &small_world, NULL);
        other = run_world(other, 32, results, false);
        about("a block full of %#x", (unsigned)fill);
        must(memcmp(first, results, sizeof first) == 0);
        must(memcmp(kst_statistics(t), kst_statistics(other), sizeof(struct kst_stats)) == 0);
        free(other);
    }
    free(t);
}
END_TEST

START_TEST(all_is_counted)
{
    static struct kst_result results[WORLD];
    uint64_t reasons[KST_REASONS] = {0}, created = 0, closed = 0, notrack = 0;
    make_world(6);
    struct kst *t = run_world(table_new(small_world), 32, results, false);
    for (uint32_t i = 0; i < WORLD; i++) {
        const struct kst_result *r = &results[i];
        about("packet %u, %s", i, kst_reason_name((enum kst_reason)r->reason));
        created += r->flags == KST_CREATED;
        closed += r->flags == KST_CLOSED;
        if (packets[i].flags & KST_PACKET_NOTRACK)
            notrack++;
        else
            reasons[r->reason]++;
        const bool known = r->state != KST_INVALID && r->state != KST_UNTRACKED;
        must_be(r->entry != 0, known);
        must_be(r->direction != KST_NO_DIRECTION, known);
        must(r->state != KST_INVALID || r->reason != KST_REASON_NONE);
        must(r->state != KST_UNTRACKED || r->reason == KST_REASON_NONE);
        must(r->verdict == KST_ACCEPT || r->state == KST_INVALID);
    }
    const struct kst_stats *stats = kst_statistics(t);
    about("the sums");
    must(memcmp(stats->reasons + 1, reasons + 1, sizeof reasons - sizeof *reasons) == 0);
    must_be(stats->packets, WORLD);
    must(stats->reasons[0] == reasons[0] || stats->reasons[0] == reasons[0] + notrack);
    must_be(stats->created, created);
    must_be(stats->gone[KST_GONE_EVICTED], reasons[KST_REASON_TABLE_EVICTED]);
    must_be(stats->gone[KST_GONE_CLOSED], closed);
    must_be(stats->created, kst_count(t) + stats->gone[KST_GONE_EXPIRED] +
                                stats->gone[KST_GONE_EVICTED] + stats->gone[KST_GONE_CLOSED] +
                                stats->gone[KST_GONE_REPLACED]);
    must_be(kst_column(t, KST_COLUMN_DROP), reasons[KST_REASON_TABLE_FULL]);
    must_be(kst_column(t, KST_COLUMN_EARLY_DROP), reasons[KST_REASON_TABLE_EVICTED]);
    must_be(kst_column(t, KST_COLUMN_NONE), 0);
    free(t);
}
END_TEST

START_TEST(restored_as_they_were)
{
    static struct kst_result results[WORLD];
    make_world(7);
    struct kst *t = run_world(table_new(small_world), 32, results, false);
    struct kst *copy = table_new(small_world);
    uint32_t count = 0;
    must_be(kst_set(copy, "nf_conntrack_acct", 1), KST_ERROR_OK);
    kst_track(copy, 50000, NULL, 0, NULL); /* nobody is older than the clock */
    for (kst_id id = kst_next(t, 0); id != 0; id = kst_next(t, id), count++) {
        struct kst_flow flow, restored;
        enum kst_error why;
        must(kst_get(t, id, &flow));
        must_be(flow.id, id);
        must(kst_set_mark(t, id, count));
        must(kst_get(t, id, &flow));
        const kst_id twin = kst_insert(copy, &flow, &why);
        about("protocol %u, status %#x, state %u: %s", flow.tuple[0].protocol, flow.status,
              flow.state, kst_error_text(why));
        must(twin != 0);
        must(kst_get(copy, twin, &restored));
        restored.id = flow.id;
        must(memcmp(&flow, &restored, sizeof flow) == 0);
    }
    must(count > 20);
    must_be_sound(copy);
    free(t);
    free(copy);
}
END_TEST

SUITE("world", batches_and_places_change_nothing, the_block_may_hold_anything, all_is_counted,
      restored_as_they_were)
