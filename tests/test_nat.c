/* SPDX-License-Identifier: MIT */
/* test_nat.c - property: a packet that waits for its verdict is in no one's way; a binding gives a
 * connection answers of its own or says why not; what is rewritten has right checksums and can be
 * rewritten back; what helpers change, sequence numbers follow. */
#include "support.h"

/* ---- pending: KST_PACKET_DEFER ---- */

static const struct kst_config small_config = {
    .max = 4, .features = KST_WITH_NAT | KST_WITH_ACCOUNTING, .expectations = 8, .events = 16};

static struct kst_result defer(struct kst *t, uint64_t now_ms, const struct wire *w)
{
    const struct kst_packet packet = {.data = w->data, .size = w->size, .flags = KST_PACKET_DEFER};
    struct kst_result r;
    kst_track(t, now_ms, &packet, 1, &r);
    return r;
}

static enum kst_reason confirm(struct kst *t, uint64_t now_ms, struct kst_result *r, struct wire *w)
{
    const struct kst_packet packet = {.data = w->data, .size = w->size, .flags = KST_PACKET_DEFER};
    size_t size = w->size;
    const enum kst_reason reason = kst_confirm(t, now_ms, &packet, r, w->data, &size, sizeof w->data);
    w->size = (uint32_t)size;
    return reason;
}

static void check(const struct kst *t)
{
    const char *broken;
    if (!kst_check(t, &broken))
        ck_abort_msg("%s", broken);
}

START_TEST(what_is_pending_is_known_but_not_found)
{
    struct kst *t = table_new(small_config);
    const struct kst_tuple tuple = tuple_of(stranger(1));
    struct wire w = wire_of(&(struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = 9});
    struct kst_flow flow;
    struct kst_event event;
    struct kst_result r = defer(t, 10, &w);
    ck_assert_uint_eq(r.state, KST_NEW);
    ck_assert_uint_eq(r.flags, KST_CREATED);
    ck_assert(kst_get(t, r.entry, &flow));
    ck_assert_uint_eq(flow.status & KST_CONFIRMED, 0);
    ck_assert(kst_set_mark(t, r.entry, 7));
    ck_assert_uint_eq(kst_find(t, &tuple, NULL), 0);
    ck_assert_uint_eq(kst_next(t, 0), 0);
    ck_assert_uint_eq(kst_count(t), 0);
    ck_assert(!kst_event_next(t, &event));
    check(t);

    /* Its time begins when it is confirmed. */
    ck_assert_uint_eq(confirm(t, 5010, &r, &w), KST_REASON_NONE);
    ck_assert_uint_eq(kst_find(t, &tuple, NULL), r.entry);
    ck_assert(kst_get(t, r.entry, &flow));
    ck_assert_uint_eq(flow.timeout_ms, 30000);
    ck_assert_uint_eq(flow.mark, 7);
    ck_assert(kst_event_next(t, &event));
    ck_assert_uint_eq(event.type, KST_EVENT_NEW);
    ck_assert_uint_eq(event.about.flow.mark, 7);
    ck_assert_uint_eq(kst_statistics(t)->created, 1);
    check(t);
    free(t);
}
END_TEST

START_TEST(what_is_refused_or_forgotten_leaves_nothing)
{
    struct kst *t = table_new(small_config);
    for (uint32_t i = 0; i < 12; i++) {
        const struct say say = stranger(1);
        struct wire w = wire_of(&say);
        struct kst_result r = defer(t, i, &w);
        ck_assert_uint_eq(r.state, KST_NEW); /* again and again */
        switch (i % 4) {
        case 0: ck_assert(kst_refuse(t, &r)); break;
        case 1: ck_assert(kst_delete(t, r.entry)); break;
        case 2: kst_flush(t); break;
        default: break; /* the next packet refuses it */
        }
        if (i % 4 != 3)
            ck_assert(!kst_get(t, r.entry, &(struct kst_flow){0}));
        check(t);
    }
    const struct say other = stranger(2);
    const struct kst_result r = track(t, 20, other);
    ck_assert(kst_get(t, r.entry, &(struct kst_flow){0}));
    ck_assert_uint_eq(kst_count(t), 1);
    check(t);
    free(t);
}
END_TEST

/* A full table has a slot for what is pending, and room is made before it waits. */
START_TEST(a_full_table_makes_room_before_it_waits)
{
    struct kst *t = table_new(small_config);
    struct kst_flow flow = flow_of(stranger(9), 1000);
    flow.status = KST_SEEN_REPLY | KST_ASSURED;
    for (uint32_t i = 0; i < 4; i++) {
        const struct say say = stranger(i);
        struct wire w = wire_of(&say);
        struct kst_result r = defer(t, i, &w);
        ck_assert_uint_eq(confirm(t, i, &r, &w), KST_REASON_NONE);
    }
    const struct say say = stranger(5);
    struct wire w = wire_of(&say);
    struct kst_result r = defer(t, 5, &w);
    ck_assert_uint_eq(r.reason, KST_REASON_TABLE_EVICTED);
    ck_assert_uint_eq(kst_count(t), 3);
    /* Another takes the place meanwhile, which nothing can make leave. */
    ck_assert_uint_ne(kst_insert(t, &flow, NULL), 0);
    ck_assert_uint_eq(confirm(t, 6, &r, &w), KST_REASON_NONE);
    ck_assert_uint_eq(kst_statistics(t)->gone[KST_GONE_EVICTED], 2);
    check(t);

    /* Or the very tuple. */
    const struct say say6 = stranger(6);
    w = wire_of(&say6);
    r = defer(t, 7, &w);
    flow = flow_of(say6, 1000);
    ck_assert_uint_ne(kst_insert(t, &flow, NULL), 0);
    ck_assert_uint_eq(confirm(t, 8, &r, &w), KST_REASON_CLASH);
    ck_assert_uint_eq(r.verdict, KST_DROP);
    ck_assert_uint_eq(r.entry, 0);
    check(t);
    free(t);
}
END_TEST

/* A connection that a packet ends stays until that packet is through. */
START_TEST(what_a_packet_ends_stays_until_it_is_through)
{
    struct kst *t = table_new(small_config);
    for (uint32_t i = 0; i < 2; i++) {
        track(t, 10 * i, tcp(0, SYN, 1000, 0, 0));
        const struct say rst = tcp(0, RST, 1001, 0, 0);
        struct wire w = wire_of(&rst);
        struct kst_result r = defer(t, 10 * i + 1, &w);
        ck_assert_uint_eq(r.flags, KST_CLOSED);
        ck_assert(kst_get(t, r.entry, &(struct kst_flow){0}));
        if (i == 0)
            ck_assert_uint_eq(confirm(t, 10 * i + 2, &r, &w), KST_REASON_NONE);
        else
            track(t, 10 * i + 2, stranger(1));
        ck_assert(!kst_get(t, r.entry, &(struct kst_flow){0}));
        ck_assert_uint_eq(kst_statistics(t)->gone[KST_GONE_CLOSED], i + 1);
        check(t);
    }
    free(t);
}
END_TEST

SUITE("nat", what_is_pending_is_known_but_not_found, what_is_refused_or_forgotten_leaves_nothing,
      a_full_table_makes_room_before_it_waits, what_a_packet_ends_stays_until_it_is_through)
