/* SPDX-License-Identifier: MIT */
/* test_toys.c - back ends of one's own (toys.h) serve as ours do: chosen by number among others,
 * they give the same answers over a small and busy world, whose table is full; who asks for one that
 * there is not is told. */
#undef KST_ALL_BACK_ENDS
#define KST_BACK_ENDS "toys.h"
#define KST_INDEXES(X) X(swiss) X(toy)
#define KST_TIMERS(X) X(wheel) X(toy)
#define KST_IMPLEMENTATION
#include "support.h"

static struct kst *table_with(uint8_t index, uint8_t timer)
{
    return table_new((struct kst_config){.max = 40, .index = index, .timer = timer, .seed = {1, 2},
                                         .expectations = 8, .events = 64,
                                         .features = KST_WITH_NAT | KST_WITH_ACCOUNTING});
}

/* All that can be seen of a table, its connections in the order of their tuples. */
static size_t seen(const struct kst *t, struct kst_flow *flows)
{
    size_t count = 0;
    for (kst_id id = kst_next(t, 0); id != 0; id = kst_next(t, id)) {
        struct kst_flow flow;
        memset(&flow, 0, sizeof flow);
        must(kst_get(t, id, &flow));
        size_t at = count++;
        for (; at > 0 && memcmp(flows[at - 1].tuple, flow.tuple, sizeof flow.tuple) > 0; at--)
            flows[at] = flows[at - 1];
        flows[at] = flow;
    }
    return count;
}

START_TEST(toys_serve_as_ours_do)
{
    static struct kst_flow flows[2][64];
    uint64_t evicted = 0, expired = 0;
    for (uint64_t seed = 1; seed <= 8; seed++) {
        struct kst *ours = table_with(0, 0), *toys = table_with(seed % 4 != 0, seed % 4 != 1);
        uint64_t now_ms = 0;
        draw_state = seed;
        kst_attach(ours, TCP, 2, kst_helper_number("ftp"));
        kst_attach(toys, TCP, 2, kst_helper_number("ftp"));
        for (uint32_t i = 0; i < 3000; i++) {
            const struct wire w = world_wire();
            about("seed %u, packet %u", (unsigned)seed, i);
            now_ms += draw_one_in(20) ? draw_below(40000) : draw_below(20);
            kst_advance(ours, now_ms, 1000); /* in time: else who is full may meet a live one first */
            kst_advance(toys, now_ms, 1000);
            struct kst_result a = track_wire(ours, now_ms, &w), b = track_wire(toys, now_ms, &w);
            a.entry = b.entry = a.entry != 0 && b.entry != 0; /* slots may differ */
            must(memcmp(&a, &b, sizeof a) == 0);
            if (i % 50 != 0)
                continue;
            must_be_sound(ours);
            must_be_sound(toys);
            const size_t count = seen(ours, flows[0]);
            must_be(seen(toys, flows[1]), count);
            for (size_t j = 0; j < count; j++)
                flows[0][j].master = flows[1][j].master = flows[0][j].id = flows[1][j].id = 0;
            must(memcmp(flows[0], flows[1], count * sizeof flows[0][0]) == 0);
        }
        evicted += kst_statistics(toys)->gone[KST_GONE_EVICTED];
        expired += kst_statistics(toys)->gone[KST_GONE_EXPIRED];
        free(ours);
        free(toys);
    }
    must(evicted > 0 && expired > 0);
}
END_TEST

/* An index that takes the one node of a connection under NAT, and has no room for the other. */
START_TEST(half_indexed_is_not_at_all)
{
    struct kst *t = table_with(1, 0);
    struct toy_index *index = (struct toy_index *)(uintptr_t)kst__index(t);
    const struct kst_nat_range by = {.flags = KST_NAT_ADDRESS,
                                     .address = {{10, 0, 0, 9}, {10, 0, 0, 9}}};
    for (uint32_t room = 0; room <= 2; room++) {
        struct wire w = wire_of(&(struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 5});
        const struct kst_packet packet = {.data = w.data, .size = w.size};
        struct kst_nat nat = {.range = {&by, NULL}, .bytes = w.data, .room = sizeof w.data};
        struct kst_result r;
        about("room for %u nodes", room);
        index->room = room;
        kst_track_nat(t, 0, &packet, &nat, 1, &r);
        must_say(r, room < 2 ? KST_REASON_CHAIN_TOO_LONG : KST_REASON_NONE);
        must_be(index->count, room < 2 ? 0 : 2);
        must_be(kst_count(t), room == 2);
        must_be_sound(t);
    }
    free(t);
}
END_TEST

START_TEST(none_of_that_number)
{
    enum kst_error why;
    must_be(strcmp(kst_index_name(1), "toy"), 0);
    must_be(strcmp(kst_timer_name(0), "wheel"), 0);
    must(kst_index_name(2) == NULL && kst_timer_name(2) == NULL);
    must_be(kst_bytes(&(struct kst_config){.max = 1, .index = 2}), 0);
    must(kst_init(NULL, 0, &(struct kst_config){.max = 1, .timer = 2}, &why) == NULL);
    must_be(why, KST_ERROR_BACK_END);
}
END_TEST

SUITE("toys", toys_serve_as_ours_do, half_indexed_is_not_at_all, none_of_that_number)
