/* SPDX-License-Identifier: MIT */
/* test_nat.c - property: a packet that waits for its verdict is in no one's way; a binding gives a
 * connection answers of its own or says why not; what is rewritten has right checksums and can be
 * rewritten back; what helpers change, sequence numbers follow. */
#define KST_IMPLEMENTATION
#include "support.h"

#include <arpa/inet.h>

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

/* What a caller notes on something pending is told with it, not by itself. */
START_TEST(what_is_pending_can_be_marked)
{
    struct kst_config config = small_config;
    config.features |= KST_WITH_LABELS;
    struct kst *t = table_new(config);
    const uint8_t labels[KST_LABEL_BYTES] = {1, 2, 3};
    const struct say say = stranger(1);
    struct wire w = wire_of(&say);
    struct kst_event event;
    struct kst_result r = defer(t, 0, &w);
    must(kst_set_labels(t, r.entry, labels));
    must(kst_set_labels(t, r.entry, labels));
    must(kst_set_mark(t, r.entry, 5));
    must(!kst_event_next(t, &event));
    must_be(confirm(t, 0, &r, &w), KST_REASON_NONE);
    must(kst_event_next(t, &event));
    must_be(event.type, KST_EVENT_NEW);
    must_be(event.about.flow.mark, 5);
    must(memcmp(event.about.flow.labels, labels, sizeof labels) == 0);
    must(!kst_event_next(t, &event));
    must_be_sound(t);
    free(t);
}
END_TEST

/* Somebody ASSURED may have every place when it comes to the last hook: translated or not, then it leaves nothing. */
START_TEST(whoever_waits_may_find_no_room)
{
    for (uint32_t bound = 0; bound < 2; bound++) {
        struct kst *t = table_new(small_config);
        const struct kst_nat_range by = {.flags = KST_NAT_ADDRESS, .address = {{10, 0, 0, 9}, {10, 0, 0, 9}}};
        const struct say say = stranger(1);
        struct wire w = wire_of(&say);
        struct kst_result r = defer(t, 0, &w);
        if (bound)
            must_be(kst_bind(t, r.entry, KST_NAT_SOURCE, &by), KST_REASON_NONE);
        for (uint16_t i = 0; i < small_config.max; i++) {
            struct kst_flow flow = flow_of(stranger(10u + i), 1000);
            flow.status = KST_SEEN_REPLY | KST_ASSURED;
            must(kst_insert(t, &flow, NULL) != 0);
        }
        about("bound %u", bound);
        must_be(confirm(t, 1, &r, &w), KST_REASON_TABLE_FULL);
        must_be(r.verdict, KST_DROP);
        must_be(kst_count(t), small_config.max);
        must_be_sound(t);
        kst_flush(t);
        must_be(confirm(t, 1, &r, &w), KST_REASON_TABLE_FULL); /* once more: it was refused */
        must_be(kst_count(t), 0);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* The name of a connection that is gone is nobody's, whoever has its place. */
START_TEST(the_last_hook_of_who_is_gone)
{
    for (uint32_t way = 0; way < 4; way++) {
        const bool heir = way & 1, closing = way & 2;
        struct kst *t = table_new(small_config);
        const struct say syn = tcp(0, SYN, 1000, 0, 0), rst = tcp(1, RST | ACK, 0, 1001, 0);
        const struct kst_flow flow = flow_of(stranger(5), 1000);
        struct wire w = wire_of(closing ? &rst : &syn);
        if (closing)
            track(t, 0, syn);
        struct kst_result r = defer(t, 1, &w);
        about("way %u", way);
        must_be(r.flags, closing ? KST_CLOSED : KST_CREATED);
        must(kst_delete(t, r.entry)); /* before the packet is through */
        if (heir)
            must_be((uint32_t)kst_insert(t, &flow, NULL), (uint32_t)r.entry);
        must_be(confirm(t, 2, &r, &w), KST_REASON_NONE); /* it may go on, and changes nothing */
        must_be(kst_count(t), heir);
        must_be(kst_statistics(t)->gone[KST_GONE_CLOSED], 0);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* At the end of the clock there is no later. */
START_TEST(the_end_of_the_clock)
{
    struct kst_config config = small_config;
    config.start_ms = UINT64_MAX - 20000;
    struct kst *t = table_new(config);
    const struct say say = stranger(1);
    struct wire w = wire_of(&say);
    struct kst_flow flow;
    struct kst_result r = defer(t, config.start_ms, &w);
    must_be(confirm(t, UINT64_MAX - 5000, &r, &w), KST_REASON_NONE);
    must(kst_get(t, r.entry, &flow));
    must_be(flow.timeout_ms, 5000);
    must_be_sound(t);
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
    for (uint32_t i = 0; i < 3; i++) {
        track(t, 10 * i, tcp(0, SYN, 1000, 0, 0));
        const struct say rst = tcp(0, RST, 1001, 0, 0);
        struct wire w = wire_of(&rst);
        struct kst_result r = defer(t, 10 * i + 1, &w);
        ck_assert_uint_eq(r.flags, KST_CLOSED);
        ck_assert(kst_get(t, r.entry, &(struct kst_flow){0}));
        if (i == 0)
            ck_assert_uint_eq(confirm(t, 10 * i + 2, &r, &w), KST_REASON_NONE);
        else if (i == 1)
            ck_assert(!kst_refuse(t, &r)); /* dropped or not, as in Linux */
        else
            track(t, 10 * i + 2, stranger(1));
        ck_assert(!kst_get(t, r.entry, &(struct kst_flow){0}));
        ck_assert_uint_eq(kst_statistics(t)->gone[KST_GONE_CLOSED], i + 1);
        check(t);
    }
    free(t);
}
END_TEST

/* A connection that is answered with a reset is over, for all but its own newcomers. */
START_TEST(a_rejected_connection_is_closed)
{
    struct kst *t = table_new(small_config);
    struct kst_event event;
    struct kst_flow flow;
    const struct say handshake[] = {HANDSHAKE};
    struct wire w = wire_of(&handshake[0]);
    struct kst_result r = defer(t, 0, &w);
    ck_assert(!kst_close(t, r.entry)); /* pending */
    ck_assert_uint_eq(confirm(t, 0, &r, &w), KST_REASON_NONE);
    track(t, 1, handshake[1]);
    track(t, 2, handshake[2]);
    while (kst_event_next(t, &event))
        ;
    ck_assert(kst_close(t, r.entry));
    ck_assert(kst_get(t, r.entry, &flow));
    ck_assert_uint_eq(flow.state, KST_TCP_CLOSE);
    ck_assert_uint_eq(flow.timeout_ms, 10000);
    ck_assert_uint_eq(kst_state_count(t, 6, KST_TCP_CLOSE), 1);
    ck_assert_uint_eq(kst_state_count(t, 6, KST_TCP_ESTABLISHED), 0);
    ck_assert(kst_event_next(t, &event));
    ck_assert_uint_eq(event.type, KST_EVENT_UPDATE);
    ck_assert_uint_eq(event.changed, KST_CHANGED_STATE);
    check(t);
    kst_advance(t, 5002, UINT32_MAX);
    ck_assert(kst_close(t, r.entry)); /* once more: it has what it had left */
    ck_assert(kst_get(t, r.entry, &flow));
    ck_assert_uint_eq(flow.timeout_ms, 5000);
    ck_assert(!kst_event_next(t, &event));
    kst_advance(t, 10002, UINT32_MAX);
    ck_assert(!kst_close(t, r.entry));
    r = track(t, 10003, (struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = 9});
    ck_assert(!kst_close(t, r.entry));
    check(t);
    flow = flow_of(tcp(0, 0, 0, 0, 0), 70000); /* whose time is its own */
    flow.status = KST_SEEN_REPLY | KST_ASSURED | KST_FIXED_TIMEOUT;
    const kst_id fixed = kst_insert(t, &flow, NULL);
    ck_assert(kst_close(t, fixed));
    ck_assert(kst_get(t, fixed, &flow));
    ck_assert_uint_eq(flow.state, KST_TCP_CLOSE);
    ck_assert_uint_eq(flow.timeout_ms, 70000);
    check(t);
    free(t);
}
END_TEST

/* ---- going through ---- */

enum { ROOM = 1500 };

static struct kst *nat_table(uint32_t max)
{
    return table_new((struct kst_config){.max = max, .features = KST_WITH_NAT, .expectations = 64,
                                         .seed = {1, 2}});
}

/* One address, and ports if `low` is not 0. */
static struct kst_nat_range range_to(bool v6, uint8_t host, uint16_t low, uint16_t high)
{
    struct kst_nat_range range = {.flags = (uint8_t)(KST_NAT_ADDRESS | (low != 0 ? KST_NAT_PORT : 0)),
                                  .port = {low, high}};
    put_host(range.address[0], v6, host);
    put_host(range.address[1], v6, host);
    return range;
}

/* Tracks and translates; the packet is then as it leaves. */
static struct kst_result go(struct kst *t, uint64_t now_ms, struct wire *w,
                            const struct kst_nat_range *source,
                            const struct kst_nat_range *destination)
{
    const struct kst_packet packet = {.data = w->data, .size = w->size};
    struct kst_nat nat = {.range = {source, destination}, .bytes = w->data, .room = ROOM};
    struct kst_result r;
    kst_track_nat(t, now_ms, &packet, &nat, 1, &r);
    w->size = nat.size;
    must_be_sound(t);
    return r;
}

static struct kst_result say_to(struct kst *t, uint64_t now_ms, struct say say,
                                const struct kst_nat_range *source,
                                const struct kst_nat_range *destination, struct wire *out)
{
    *out = wire_of(&say);
    return go(t, now_ms, out, source, destination);
}

/* Byte for byte what would have been said so, checksums made anew. */
static void must_be_same(struct wire out, struct say say)
{
    const struct wire anew = wire_of(&say);
    must_be(out.size, anew.size);
    for (uint32_t i = 0; i < anew.size; i++)
        if (out.data[i] != anew.data[i])
            ck_abort_msg("%s: byte %u is %02x, not %02x", about_text, i, out.data[i], anew.data[i]);
}

/* ---- rewriting ---- */

static const struct {
    const char *name;
    uint8_t protocol;
    uint8_t kind; /* of ports: 0 none, 1 ports, 2 an identifier */
    uint16_t dport;
} spoken[] = {{"TCP", TCP, 1, 80},         {"UDP", UDP, 1, 53},      {"UDP-Lite", UDPLITE, 1, 53},
              {"SCTP", SCTP, 1, 80},       {"echo", ICMP, 2, 0x800}, {"echo6", ICMP6, 2, 0x8000},
              {"timestamp", ICMP, 2, 0xd00}, {"GRE", GRE, 0, 0},     {"ESP", ESP, 0, 0}};

static struct say spoken_by(size_t i, bool v6)
{
    struct say say = {.protocol = spoken[i].protocol, .v6 = v6, .from = 1, .to = 2,
                      .sport = spoken[i].kind != 0 ? 4000 : 0, .dport = spoken[i].dport,
                      .flags = SYN, .seq = 7, .bytes = spoken[i].protocol == TCP ? 0 : 20};
    if (say.protocol == SCTP) {
        const struct say init = sctp(0, 0, 1);
        say.seq = 0;
        say.bytes = init.bytes;
        say.body = init.body;
    } else if (say.protocol == GRE) {
        static const uint8_t version_0[20] = {0, 0, 8, 0};
        say.body = version_0;
    }
    return say;
}

/* What is rewritten is what would have been said by and to those others, checksums made anew; the
 * answers come back as if nothing had been. */
START_TEST(every_protocol_goes_out_and_comes_back)
{
    for (uint32_t v6 = 0; v6 < 2; v6++) {
        for (size_t i = 0; i < COUNT(spoken); i++) {
            if ((spoken[i].protocol == ICMP && v6) || (spoken[i].protocol == ICMP6 && !v6))
                continue;
            for (uint32_t kinds = 0; kinds < 4; kinds++) {
                const bool source = kinds & 1, destination = kinds & 2;
                const bool ports = spoken[i].kind == 1, id = spoken[i].kind == 2;
                struct kst *t = nat_table(4);
                struct wire out;
                const struct kst_nat_range to = range_to(v6, 7, ports || id ? 8888 : 0, 8888);
                const struct kst_nat_range by = range_to(v6, 9, ports || id ? 9999 : 0, 9999);
                struct say say = spoken_by(i, v6), outside = say;
                about("%s over IPv%d, kinds %u", spoken[i].name, v6 ? 6 : 4, kinds);
                if (destination) {
                    outside.to = 7;
                    *(ports ? &outside.dport : &outside.sport) = ports || id ? 8888 : 0;
                }
                if (source) {
                    outside.from = 9;
                    outside.sport = ports || id ? 9999 : 0;
                }
                const struct kst_result r =
                    say_to(t, 0, say, source ? &by : NULL, destination ? &to : NULL, &out);
                must_say(r, KST_REASON_NONE);
                must_be_same(out, outside);

                struct kst_flow flow;
                must(kst_get(t, r.entry, &flow));
                must_be(flow.status & (KST_SRC_NAT | KST_DST_NAT),
                        (source ? KST_SRC_NAT : 0) | (destination ? KST_DST_NAT : 0));
                must_be(flow.status & (KST_SRC_NAT_DONE | KST_DST_NAT_DONE),
                        KST_SRC_NAT_DONE | KST_DST_NAT_DONE);

                struct say back = answer_to(outside), home = answer_to(say);
                if (id) {
                    back.sport = outside.sport;
                    home.sport = say.sport;
                    back.dport = home.dport = say.protocol == ICMP6      ? 0x8100
                                              : spoken[i].dport == 0xd00 ? 0xe00
                                                                         : 0;
                }
                back.bytes = home.bytes = say.protocol == TCP ? 0 : 20;
                back.body = home.body = say.body;
                back.flags = home.flags = SYN | ACK;
                back.seq = home.seq = 1000;
                back.ack = home.ack = 8;
                if (say.protocol == SCTP) {
                    back = answer_to(outside);
                    home = answer_to(say);
                    const struct say init_ack = sctp(1, 0, 2);
                    back.body = home.body = init_ack.body;
                    back.bytes = home.bytes = init_ack.bytes;
                }
                must_be(say_to(t, 1, back, NULL, NULL, &out).direction, KST_REPLY);
                must_be_same(out, home);
                free(t);
            }
        }
    }
}
END_TEST

/* Every port, so that each checksum there is comes up; UDP's that is none stays none. */
START_TEST(any_checksum_comes_out_right)
{
    for (uint32_t protocol = 0; protocol < 3; protocol++) {
        struct say say = {.protocol = protocol == 1 ? (uint8_t)TCP : (uint8_t)UDP, .from = 1, .to = 2,
                          .sport = 1, .dport = 9, .flags = ACK};
        struct wire w = wire_of(&say);
        if (protocol == 2)
            put16(w.data + 26, 0);
        for (uint32_t port = 1; port < 65536; port++) {
            const uint8_t address[16] = {10, 0, (uint8_t)(port * 7), 3};
            about("protocol %u, port %u", protocol, port);
            must(kst__rewrite(w.data, w.size, true, KST_NAT_SOURCE,
                              (struct kst__end){address, (uint16_t)port}));
            must_be(get16(w.data + 20), port);
            struct wire anew = w;
            wire_seal(&anew);
            if (protocol == 2)
                put16(anew.data + 26, 0);
            must(memcmp(w.data, anew.data, w.size) == 0);
        }
    }
}
END_TEST

/* A packet that is too short, of a version that nobody knows, or of another family stays as it is. */
START_TEST(what_cannot_be_rewritten_is_left)
{
    static const uint8_t address[16] = {10, 0, 0, 9};
    const struct kst__end end = {address, 77};
    struct guarded g = guarded_new(100);
    for (size_t i = 0; i < COUNT(spoken); i++) {
        for (uint32_t v6 = 0; v6 < 2; v6++) {
            const struct say say = spoken_by(i, v6);
            const struct wire w = wire_of(&say);
            for (uint32_t size = 0; size <= w.size; size++) {
                uint8_t *bytes = guarded_end(&g, size);
                memcpy(bytes, w.data, size);
                about("%s over IPv%d, %u bytes", spoken[i].name, v6 ? 6 : 4, size);
                if (!kst__rewrite(bytes, size, !v6, KST_NAT_SOURCE, end))
                    must(memcmp(bytes, w.data, size) == 0);
                else
                    must(size >= (v6 ? 40u : 20u));
            }
        }
    }
    guarded_free(&g);

    struct kst *t = nat_table(4);
    const struct kst_nat_range by = range_to(false, 9, 0, 0);
    struct wire out, other;
    const struct kst_result r = say_to(t, 0, stranger(1), &by, NULL, &out);
    const struct say say6 = {.protocol = UDP, .v6 = true, .from = 1, .to = 2};
    other = wire_of(&say6);
    must_be(kst_translate(t, &r, KST_NAT_SOURCE, other.data, other.size), KST_REASON_NAT_PACKET);
    must_be(kst_translate(t, &r, KST_NAT_SOURCE, other.data, 0), KST_REASON_NAT_PACKET);
    for (uint16_t bytes = 4; bytes <= 8; bytes++) { /* Linux wants eight of any GRE header */
        const struct say gre = {.protocol = 47, .from = 1, .to = 2, .bytes = bytes};
        must_say(say_to(t, 0, gre, &by, NULL, &out),
                 bytes < 8 ? KST_REASON_NAT_PACKET : KST_REASON_NONE);
    }
    must_be_same(other, say6);
    free(t);
}
END_TEST

/* Which messages have an identifier there: RFC 792's and RFC 950's of two ways, RFC 4443's echo. */
START_TEST(identifiers_alone_are_identifiers)
{
    static const uint8_t address[16] = {10, 0, 0, 9};
    for (uint32_t row = 0; row < 2 * 2 * 256; row++) {
        const bool v6 = row & 1, source = row & 2;
        const uint8_t type = (uint8_t)(row / 4);
        const bool has = v6 ? type == 128 || type == 129
                            : type == 0 || type == 8 || (type >= 13 && type <= 18);
        struct say say = {.protocol = v6 ? (uint8_t)ICMP6 : (uint8_t)ICMP, .v6 = v6, .from = 1, .to = 2,
                          .sport = 4000, .dport = (uint16_t)(type << 8), .bytes = 12};
        struct wire w = wire_of(&say);
        about("type %u over IPv%d", type, v6 ? 6 : 4);
        must(kst__rewrite(w.data, w.size, !v6, source ? KST_NAT_SOURCE : KST_NAT_DESTINATION,
                          (struct kst__end){address, 77}));
        must_be(get16(w.data + w.l4_at + 4), has ? 77 : 4000);
        struct wire anew = w;
        wire_seal(&anew);
        must(memcmp(anew.data, w.data, w.size) == 0);
    }
}
END_TEST

/* Of GRE a call is changed where it names the receiver's; versions that nobody knows only go out. */
START_TEST(calls_belong_to_the_receiver)
{
    static const uint8_t address[16] = {10, 0, 0, 9};
    for (uint8_t version = 0; version < 8; version++) {
        for (uint32_t kind = 0; kind < 2; kind++) {
            const uint8_t body[12] = {0x30, version, 0x88, 0x0b, 0, 4, 0, 5};
            const struct say say = {.protocol = GRE, .from = 1, .to = 2, .bytes = sizeof body, .body = body};
            struct wire w = wire_of(&say), anew = w;
            const bool destination = kind == KST_NAT_DESTINATION;
            const bool may = version < 2 || !destination;
            about("version %u, kind %u", version, kind);
            must_be(kst__rewrite(w.data, w.size, true, (enum kst_nat_kind)kind, (struct kst__end){address, 77}), may);
            if (may)
                memcpy(anew.data + (destination ? 16 : 12), address, 4);
            if (version == 1 && destination)
                put16(anew.data + 26, 77);
            wire_seal(&anew);
            must(memcmp(w.data, anew.data, w.size) == 0);
        }
    }
}
END_TEST

/* A fragment from the middle of a datagram has addresses alone. */
START_TEST(a_later_fragment_has_no_ports)
{
    static const uint8_t address[16] = {10, 0, 0, 9};
    for (uint32_t v6 = 0; v6 < 2; v6++) {
        static const uint8_t later[8] = {UDP, 0, 0, 8, 0, 0, 0, 9};
        struct say say = {.protocol = UDP, .v6 = v6, .from = 1, .to = 2, .sport = 5000, .dport = 53, .bytes = 8};
        if (v6) {
            say.ip_first = 44;
            say.ip_bytes = 8;
            say.ip_options = later;
        }
        struct wire w = wire_of(&say), anew;
        if (!v6) {
            put16(w.data + 6, 1);
            put16(w.data + 10, 0);
            put16(w.data + 10, sum_folded(sum_of(0, w.data, 20)));
        }
        anew = w;
        about("IPv%d", v6 ? 6 : 4);
        must(kst__rewrite(w.data, w.size, !v6, KST_NAT_SOURCE, (struct kst__end){address, 77}));
        memcpy(anew.data + (v6 ? 8 : 12), address, v6 ? 16 : 4);
        if (!v6) {
            put16(anew.data + 10, 0);
            put16(anew.data + 10, sum_folded(sum_of(0, anew.data, 20)));
        }
        must(memcmp(w.data, anew.data, w.size) == 0);
    }
}
END_TEST

/* Nor does one of a connection that is known, either way; of IPv6 a whole datagram in one fragment can be. */
START_TEST(what_is_known_can_be_too_short)
{
    struct kst *t = nat_table(4);
    const struct kst_nat_range by = range_to(false, 9, 0, 0), by6 = range_to(true, 9, 0, 0);
    struct wire out;
    for (uint32_t i = 0; i < 6; i++) {
        const bool reply = i % 2 == 1, cut = i >= 4; /* Linux wants eight bytes of a GRE header */
        const struct say gre = {.protocol = GRE, .from = reply ? 2 : 1, .to = reply ? 9 : 2, .bytes = cut ? 4 : 8, .body = "\0\0\10\0\0\0\0"};
        const struct kst_result r = say_to(t, 0, gre, &by, NULL, &out);
        about("packet %u", i);
        must_say(r, cut ? KST_REASON_NAT_PACKET : KST_REASON_NONE);
        must_be(r.verdict, cut ? KST_DROP : KST_ACCEPT);
        if (cut)
            must_be_same(out, gre);
        must_be(kst_count(t), 1);
    }
    static const uint8_t atomic[8] = {UDP, 0, 0, 0, 0, 0, 0, 9};
    for (uint32_t i = 0; i < 3; i++) {
        const bool reply = i == 1;
        struct say say = {.protocol = UDP, .v6 = true, .from = reply ? 2 : 1, .to = reply ? 9 : 2, .sport = 5, .dport = 5,
                          .ip_first = 44, .ip_bytes = 8, .ip_options = atomic};
        about("fragment %u", i);
        must_say(say_to(t, 0, say, &by6, NULL, &out), KST_REASON_NONE);
        *(reply ? &say.to : &say.from) = reply ? 1 : 9;
        must_be_same(out, say);
    }
    free(t);
}
END_TEST

/* ---- bindings ---- */

/* Clients of the same port, each of its own address, to the same server. */
static struct say client_of(uint8_t host, uint16_t port)
{
    return (struct say){.protocol = UDP, .from = host, .to = 2, .sport = port, .dport = 53};
}

START_TEST(a_range_is_used_up_and_says_so)
{
    for (uint32_t protocol = 0; protocol < 2; protocol++) {
        struct kst *t = nat_table(16);
        const struct kst_nat_range by = range_to(false, 9, 6000, 6003);
        bool taken[4] = {false};
        struct wire out;
        for (uint8_t host = 10; host < 16; host++) {
            struct say say = client_of(host, 5000);
            if (protocol == 1)
                say = (struct say){.protocol = ICMP, .from = host, .to = 2, .sport = 5000, .dport = 0x800};
            const struct kst_result r = say_to(t, 0, say, &by, NULL, &out);
            about("protocol %u, host %u", protocol, host);
            if (host >= 14) {
                must_say(r, KST_REASON_NAT_EXHAUSTED);
                must_be(r.verdict, KST_DROP);
                must_be(r.entry, 0);
                must_be(kst_count(t), 4);
                continue;
            }
            must_say(r, KST_REASON_NONE);
            const uint16_t port = get16(out.data + (protocol == 1 ? 24 : 20));
            must(port >= 6000 && port <= 6003 && !taken[port - 6000]);
            taken[port - 6000] = true;
        }
        must_be(kst_column(t, KST_COLUMN_INSERT_FAILED), 2);
        /* Another server has ports of its own. */
        struct say other = client_of(20, 5000);
        other.to = 3;
        must_say(say_to(t, 0, other, &by, NULL, &out), KST_REASON_NONE);
        /* Who leaves makes room. */
        kst_flush(t);
        must_say(say_to(t, 0, client_of(15, 5000), &by, NULL, &out), KST_REASON_NONE);
        free(t);
    }
}
END_TEST

/* A port that is free is kept; another is of the same class. */
START_TEST(a_port_is_kept_or_stays_in_its_class)
{
    static const uint16_t ports[][3] = {{7, 1, 511}, {511, 1, 511}, {512, 600, 1023},
                                        {1023, 600, 1023}, {1024, 1024, 65535}, {50000, 1024, 65535}};
    struct kst *t = nat_table(64);
    const struct kst_nat_range by = range_to(false, 9, 0, 0);
    struct wire out;
    for (size_t i = 0; i < COUNT(ports); i++) {
        for (uint8_t host = 10; host < 15; host++) {
            about("port %u, host %u", ports[i][0], host);
            must_say(say_to(t, 0, client_of(host, ports[i][0]), &by, NULL, &out), KST_REASON_NONE);
            const uint16_t port = get16(out.data + 20);
            must(host == 10 ? port == ports[i][0] : port >= ports[i][1] && port <= ports[i][2]);
        }
    }
    /* The null binding of a client that has the address itself gives way, too. */
    must_say(say_to(t, 0, client_of(9, 7), NULL, NULL, &out), KST_REASON_NONE);
    must(get16(out.data + 20) != 7);
    must_be(out.data[15], 9);
    free(t);
}
END_TEST

/* A port is the range's from its first to its last, and no other. */
START_TEST(a_port_outside_its_range_is_moved)
{
    static const uint16_t ports[] = {5999, 6000, 6002, 6003, 6004, 65535};
    struct kst *t = nat_table(16);
    const struct kst_nat_range by = range_to(false, 9, 6000, 6003);
    struct wire out;
    for (size_t i = 0; i < COUNT(ports); i++)
        for (uint8_t host = 9; host < 11; host++) { /* the one has the address already */
            about("port %u, host %u", ports[i], host);
            must_say(say_to(t, 0, client_of(host, ports[i]), &by, NULL, &out), KST_REASON_NONE);
            const uint16_t port = get16(out.data + 20);
            must(port >= 6000 && port <= 6003);
            must(ports[i] < 6000 || ports[i] > 6003 || port == ports[i]);
            kst_flush(t);
        }
    free(t);
}
END_TEST

/* Hosts that ping the same server with one identifier: outside they have one each, and each gets its answer. */
START_TEST(each_ping_has_its_own_answer)
{
    for (uint32_t v6 = 0; v6 < 2; v6++)
        for (uint16_t low = 0; low < 8; low += 7) { /* whatever identifier, or of some */
            struct kst *t = nat_table(16);
            struct kst_nat_range by = range_to(v6, 9, low, (uint16_t)(low + 3));
            bool taken[65536] = {false};
            struct wire out;
            for (uint8_t host = 10; host < 14; host++) {
                const struct say say = {.protocol = v6 ? (uint8_t)ICMP6 : (uint8_t)ICMP, .v6 = v6, .from = host, .to = 2,
                                        .sport = 8, .dport = v6 ? 0x8000 : 0x0800};
                about("IPv%d, host %u", v6 ? 6 : 4, host);
                must_say(say_to(t, 0, say, &by, NULL, &out), KST_REASON_NONE);
                const uint16_t id = get16(out.data + out.l4_at + 4);
                must(!taken[id] && (low == 0 || (id >= 7 && id <= 10)));
                must(host != 10 || id == 8);
                taken[id] = true;
                struct say answer = {.protocol = say.protocol, .v6 = v6, .from = 2, .to = 9, .sport = id,
                                     .dport = v6 ? 0x8100 : 0};
                must_be(say_to(t, 1, answer, &by, NULL, &out).direction, KST_REPLY);
                answer.to = host;
                answer.sport = 8;
                must_be_same(out, answer);
            }
            free(t);
        }
}
END_TEST

/* One source looks the same to all, unless it is to be random or its port is another's there. */
START_TEST(a_source_looks_the_same_to_all)
{
    struct kst *t = nat_table(300);
    struct kst_nat_range by = range_to(false, 9, 20000, 30000);
    struct wire out;
    must_say(say_to(t, 0, client_of(10, 5000), &by, NULL, &out), KST_REASON_NONE);
    const uint16_t port = get16(out.data + 20);
    for (uint8_t server = 20; server < 200; server++) {
        struct say say = client_of(10, 5000);
        say.to = server;
        must_say(say_to(t, 0, say, &by, NULL, &out), KST_REASON_NONE);
        must_be(get16(out.data + 20), port);
    }
    by.flags |= KST_NAT_RANDOM;
    struct say say = client_of(10, 5000);
    say.to = 201;
    must_say(say_to(t, 0, say, &by, NULL, &out), KST_REASON_NONE);
    must(get16(out.data + 20) != port);
    /* Of another range it takes nothing over. */
    by = range_to(false, 9, 31000, 31000);
    say.to = 202;
    must_say(say_to(t, 0, say, &by, NULL, &out), KST_REASON_NONE);
    must_be(get16(out.data + 20), 31000);
    free(t);
}
END_TEST

/* From the bottom: DNAT to a range of ports takes the first that is free, and if there is none the
 * source port gives way; shifted ports keep their distance. */
START_TEST(destinations_are_taken_in_order_or_shifted)
{
    struct kst *t = nat_table(16);
    struct kst_nat_range to = range_to(false, 7, 8000, 8002);
    struct wire out;
    for (uint16_t i = 0; i < 4; i++) { /* the same source port: only the answers' source differs */
        const struct say say = {.protocol = UDP, .from = 1, .to = (uint8_t)(20 + i), .sport = 1, .dport = 80};
        about("%u", i);
        must_say(say_to(t, 0, say, NULL, &to, &out), KST_REASON_NONE);
        must_be(get16(out.data + 22), i < 3 ? 8000 + i : 8002);
        must_be(get16(out.data + 20) == 1, i < 3);
    }
    to = range_to(false, 7, 9000, 9099);
    to.flags |= KST_NAT_OFFSET;
    to.base = 100;
    const struct say shifted = {.protocol = UDP, .from = 3, .to = 2, .sport = 1, .dport = 142};
    must_say(say_to(t, 0, shifted, NULL, &to, &out), KST_REASON_NONE);
    must_be(get16(out.data + 22), 9042);
    free(t);
}
END_TEST

/* Who is out of date is in nobody's way, nor a precedent, collected or not. */
START_TEST(the_expired_hold_no_port)
{
    struct kst *t = nat_table(8);
    struct kst_nat_range by = range_to(false, 9, 6000, 6000);
    struct wire out;
    const struct kst_result first = say_to(t, 0, client_of(10, 5000), &by, NULL, &out);
    must_say(say_to(t, 29999, client_of(11, 5000), &by, NULL, &out), KST_REASON_NAT_EXHAUSTED);
    must_say(say_to(t, 30000, client_of(11, 5000), &by, NULL, &out), KST_REASON_NONE);
    must_be(get16(out.data + 20), 6000);
    must_be(kst_count(t), 1);
    must_be(kst_statistics(t)->gone[KST_GONE_EXPIRED], 1);
    must(!kst_get(t, first.entry, &(struct kst_flow){0}));

    by = range_to(false, 9, 20000, 60000);
    struct say say = client_of(12, 5000);
    must_say(say_to(t, 40000, say, &by, NULL, &out), KST_REASON_NONE);
    const uint16_t port = get16(out.data + 20);
    for (uint8_t server = 20; server < 22; server++) {
        say.to = server;
        must_say(say_to(t, server == 20 ? 69999 : 100000, say, &by, NULL, &out), KST_REASON_NONE);
        if (server == 20)
            must_be(get16(out.data + 20), port);
        else
            must(get16(out.data + 20) != port);
    }

    /* Nor if what was its own is what the newcomer's answers would look like. */
    by = range_to(false, 9, 0, 0);
    for (uint32_t late = 0; late < 2; late++) {
        say = (struct say){.protocol = UDP, .from = 2, .to = 9, .sport = 53, .dport = 5000};
        kst_flush(t);
        about("late: %u", late);
        must_say(say_to(t, 200000 + late * 100000, say, NULL, NULL, &out), KST_REASON_NONE);
        must_say(say_to(t, late ? 330000 : 229999, client_of(13, 5000), &by, NULL, &out), KST_REASON_NONE);
        must_be(get16(out.data + 20) == 5000, late);
    }
    free(t);
}
END_TEST

/* Beyond 128 ports the search goes on elsewhere, for less and less: all are found but a few. */
START_TEST(a_wide_range_is_nearly_used_up)
{
    struct kst *t = nat_table(300);
    const struct kst_nat_range by = range_to(false, 9, 6000, 6199);
    bool taken[200] = {false};
    uint32_t count = 0;
    for (uint16_t i = 0; i < 250; i++) {
        struct wire out;
        const struct kst_result r = say_to(t, 0, client_of((uint8_t)(10 + i % 200), (uint16_t)(100 + i)), &by, NULL, &out);
        const uint16_t port = get16(out.data + 20);
        about("%u", i);
        if (r.reason == KST_REASON_NONE) {
            must(port >= 6000 && port < 6200 && !taken[port - 6000]);
            taken[port - 6000] = true;
            count++;
        } else {
            must_say(r, KST_REASON_NAT_EXHAUSTED);
            must(count >= 128);
        }
    }
    about("%u ports", count);
    must(count > 190 && count <= 200);
    free(t);
}
END_TEST

/* Where one port of 256 is free, a search that looks at 128 finds it half the time; then it looks elsewhere. */
START_TEST(a_search_goes_on_elsewhere)
{
    struct kst *t = nat_table(1024);
    const struct kst_nat_range address = range_to(false, 9, 0, 0), by = range_to(false, 9, 6000, 7023);
    uint32_t found = 0;
    struct wire out;
    for (uint16_t port = 6000; port < 7024; port++)
        if (port % 256 != 0)
            must_say(say_to(t, 0, client_of(10, port), &address, NULL, &out), KST_REASON_NONE);
    for (uint16_t i = 0; i < 200; i++) {
        const struct kst_result r = say_to(t, 0, client_of(11, (uint16_t)(100 + i)), &by, NULL, &out);
        if (r.reason == KST_REASON_NONE) {
            must_be(get16(out.data + 20) % 256, 0);
            must(kst_delete(t, r.entry));
            found++;
        } else {
            must_say(r, KST_REASON_NAT_EXHAUSTED);
        }
    }
    about("%u of 200", found);
    must(found > 120);
    free(t);
}
END_TEST

/* Sent back to itself, as if by whom it was sent to, a packet would look like what it was. */
START_TEST(nobody_is_his_own_answer)
{
    struct kst *t = nat_table(4);
    const struct kst_nat_range by = range_to(false, 2, 0, 0), to = range_to(false, 1, 53, 53);
    struct wire out;
    struct kst_flow flow;
    const struct kst_result r = say_to(
        t, 0, (struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 53, .dport = 53}, &by, &to, &out);
    must_say(r, KST_REASON_NONE);
    must(kst_get(t, r.entry, &flow));
    must(memcmp(&flow.tuple[KST_ORIGINAL], &flow.tuple[KST_REPLY], sizeof flow.tuple[0]) != 0);
    must(get16(out.data + 20) != 53);
    must_be(get16(out.data + 22), 53);
    free(t);
}
END_TEST

/* Where the ranges leave no choice it does. All that comes later is then taken for answers, as in Linux
 * (own-answer-udp, own-answer-tcp), whatever the index. */
START_TEST(turned_round_all_is_an_answer)
{
    struct kst *t = nat_table(4);
    const struct kst_nat_range by = range_to(false, 2, 5060, 5060), to = range_to(false, 1, 6000, 6000);
    const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 6000, .dport = 5060};
    struct wire out;
    struct kst_flow flow;
    struct kst_result r = say_to(t, 0, say, &by, &to, &out);
    uint8_t direction = 99;
    must_be(r.direction, KST_ORIGINAL);
    must(kst_get(t, r.entry, &flow));
    must(memcmp(&flow.tuple[KST_ORIGINAL], &flow.tuple[KST_REPLY], sizeof flow.tuple[0]) == 0);
    must(kst_find(t, &flow.tuple[KST_ORIGINAL], &direction) == r.entry);
    must_be(direction, KST_REPLY);
    must(kst_check(t, NULL));
    r = say_to(t, 1, say, &by, &to, &out);
    must_be(r.verdict, KST_ACCEPT);
    must_be(r.state, KST_ESTABLISHED);
    must_be(r.direction, KST_REPLY);
    must(kst_delete(t, r.entry));
    must(kst_find(t, &flow.tuple[KST_ORIGINAL], NULL) == 0);
    must(kst_check(t, NULL));
    free(t);
}
END_TEST

/* It wants one place in the index, not two as others under NAT, and is refused where that is missing. */
START_TEST(turned_round_it_wants_one_place)
{
    struct kst *t = table_new((struct kst_config){.max = 100, .buckets = 1, .features = KST_WITH_NAT});
    const struct kst_nat_range by = range_to(false, 2, 5060, 5060), to = range_to(false, 1, 6000, 6000);
    const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 6000, .dport = 5060};
    struct wire out;
    uint32_t count = 0;
    while (track(t, 0, stranger(count)).reason == KST_REASON_NONE)
        count++;
    must_say(say_to(t, 0, say, &by, &to, &out), KST_REASON_CHAIN_TOO_LONG);
    must_be(kst_count(t), count);
    must_be_sound(t);
    const struct kst_tuple first = tuple_of(stranger(0));
    must(kst_delete(t, kst_find(t, &first, NULL)));
    must_say(say_to(t, 0, say, &by, &to, &out), KST_REASON_NONE);
    must_be(kst_count(t), count);
    must_be_sound(t);
    free(t);
}
END_TEST

/* What one zone, or family, has bound is no precedent in another. */
START_TEST(zones_and_families_have_mappings_of_their_own)
{
    struct kst *t = nat_table(2); /* few lists */
    struct kst_nat_range by = range_to(false, 9, 20000, 60000);
    struct kst_tuple four = tuple_of(client_of(10, 5000)), six = four, zoned = four, port = four, protocol = four;
    struct wire w = wire_of(&(struct say){.protocol = UDP, .from = 10, .to = 2, .sport = 5000, .dport = 53});
    uint16_t ports[8];
    six.family = KST_IPV6;
    zoned.zone = 1;
    port.src_port++;
    protocol.protocol = UDPLITE;
    must(kst__source_same(&four, &four));
    must(!kst__source_same(&four, &six) && !kst__source_same(&four, &zoned));
    must(!kst__source_same(&four, &port) && !kst__source_same(&four, &protocol));
    for (uint16_t zone = 0; zone < 8; zone++) {
        struct wire out = w;
        out.data[19] = (uint8_t)(2 + zone); /* to another server each */
        wire_seal(&out);
        const struct kst_packet packet = {.data = out.data, .size = out.size, .zone = zone / 2};
        struct kst_nat nat = {.range = {&by, NULL}, .bytes = out.data, .room = ROOM};
        struct kst_result r;
        kst_track_nat(t, 0, &packet, &nat, 1, &r);
        must(r.verdict == KST_ACCEPT);
        ports[zone] = get16(out.data + 20);
        about("packet %u", zone);
        must(zone == 0 || (ports[zone] == ports[zone - 1]) == (zone % 2 == 1));
        must_be_sound(t);
    }
    free(t);
}
END_TEST

/* A call of GRE that was foretold has a key that gives way, from 1 on. */
START_TEST(a_foretold_call_gives_way)
{
    struct kst *t = nat_table(8);
    const struct kst_nat_range by = range_to(false, 9, 0, 0);
    struct wire out;
    static const uint8_t call[12] = {0x30, 1, 0x88, 0x0b, 0, 4, 0, 5};
    for (uint8_t host = 10; host < 13; host++) {
        const bool foretold = host < 12;
        const struct say say = {.protocol = GRE, .from = host, .to = 2, .bytes = sizeof call, .body = call};
        struct kst_expectation x = {.master = track(t, 0, stranger(host)).entry, .timeout_ms = 1000};
        struct kst_flow flow;
        x.tuple = tuple_of(say);
        x.tuple.dst_port = 5;
        if (foretold)
            must_be(kst_expect(t, &x), KST_ERROR_OK);
        const struct kst_result r = say_to(t, 0, say, &by, NULL, &out);
        about("host %u", host);
        must_say(r, foretold ? KST_REASON_NONE : KST_REASON_NAT_EXHAUSTED);
        must_be(get16(out.data + 26), 5); /* it is not in the packet */
        if (!foretold)
            continue;
        must(kst_get(t, r.entry, &flow));
        must_be(flow.tuple[KST_REPLY].src_port, 5);
        must_be(flow.tuple[KST_REPLY].dst_port != 0, host == 11);
    }
    free(t);
}
END_TEST

static int compare(const void *a, const void *b, bool v6)
{
    return memcmp(a, b, v6 ? 16 : 4);
}

/* Of several addresses: within the range, all of them, and the same for the same two. */
START_TEST(an_address_is_chosen_and_kept)
{
    for (uint32_t v6 = 0; v6 < 2; v6++) {
        struct kst *t = nat_table(4000);
        struct kst_nat_range by = {.flags = KST_NAT_ADDRESS};
        put_host(by.address[0], v6, 100);
        put_host(by.address[1], v6, 107);
        if (v6) /* over a border of words */
            by.address[1][11] = 1;
        uint8_t first[200][16];
        uint32_t met = 0, same = 0;
        struct wire out;
        for (uint32_t round = 0; round < 3; round++) {
            for (uint8_t host = 0; host < 99; host++) { /* none of the range */
                struct say say = client_of(host, (uint16_t)(1000 + round));
                say.v6 = v6;
                say.to = round == 2 ? 250 : 251;
                must_say(say_to(t, 0, say, &by, NULL, &out), KST_REASON_NONE);
                const uint8_t *address = out.data + (v6 ? 8 : 12);
                must(compare(address, by.address[0], v6) >= 0 &&
                     compare(address, by.address[1], v6) <= 0);
                met |= 1u << (address[v6 ? 15 : 3] & 7);
                if (round == 0)
                    memcpy(first[host], address, v6 ? 16 : 4);
                else if (round == 1)
                    must(memcmp(first[host], address, v6 ? 16 : 4) == 0);
                else
                    same += memcmp(first[host], address, v6 ? 16 : 4) == 0;
            }
        }
        must_be(met, 255);
        about("IPv%d, same %u", v6 ? 6 : 4, same);
        must(same < 50); /* to another server another one */
        by.flags |= KST_NAT_PERSISTENT;
        for (uint8_t server = 1; server < 20; server++) {
            struct say say = client_of(1, 7000);
            say.v6 = v6;
            say.to = server;
            say.sport = (uint16_t)(7000 + server); /* no other of this source to go by */
            must_say(say_to(t, 0, say, &by, NULL, &out), KST_REASON_NONE);
            if (server == 1)
                memcpy(first[0], out.data + (v6 ? 8 : 12), 16);
            must(memcmp(first[0], out.data + (v6 ? 8 : 12), v6 ? 16 : 4) == 0);
        }
        free(t);
    }
}
END_TEST

START_TEST(a_network_is_mapped_to_another)
{
    struct kst *t = nat_table(4);
    struct kst_nat_range to = {.flags = KST_NAT_NETMAP, .prefix = 20, .address = {{172, 16, 0x5f, 99}}};
    struct kst_flow flow;
    struct wire out;
    must_say(say_to(t, 0, client_of(0xab, 1), &to, &to, &out), KST_REASON_NONE);
    static const uint8_t addresses[8] = {172, 16, 0x50, 0xab, 172, 16, 0x50, 2};
    must(memcmp(out.data + 12, addresses, sizeof addresses) == 0);
    must(kst_get(t, kst_next(t, 0), &flow));
    must(memcmp(flow.tuple[KST_REPLY].dst, addresses, 4) == 0);
    free(t);
    for (uint8_t v6 = 0; v6 < 2; v6++)
        for (uint32_t prefix = 0; prefix <= (v6 ? 128 : 32); prefix++) { /* bit by bit */
            const struct say say = {.protocol = UDP, .v6 = v6, .from = 1, .to = 2, .sport = 3, .dport = 4};
            const uint32_t at = v6 ? 24 : 16;
            memset(&to, 0, sizeof to);
            to.flags = KST_NAT_NETMAP;
            to.prefix = (uint8_t)prefix;
            for (uint32_t i = 0; i < (v6 ? 16 : 4); i++)
                to.address[0][i] = 0xa5;
            t = nat_table(1);
            const struct wire before = wire_of(&say);
            must_say(say_to(t, 0, say, NULL, &to, &out), KST_REASON_NONE);
            for (uint32_t bit = 0; bit < (v6 ? 128 : 32); bit++)
                must_be(out.data[at + bit / 8] >> (7 - bit % 8) & 1,
                        (bit < prefix ? 0xa5 : before.data[at + bit / 8]) >> (7 - bit % 8) & 1);
            free(t);
        }
}
END_TEST

START_TEST(a_binding_is_refused_by_name)
{
    struct kst *t = nat_table(4), *without = table_new((struct kst_config){.max = 4});
    const struct kst_nat_range good = range_to(false, 9, 1, 2);
    struct kst_nat_range bad[6] = {good, good, good, good, good, good};
    const struct say say = stranger(1);
    struct wire w = wire_of(&say);
    struct kst_flow flow;
    bad[0].address[1][3] = 8;       /* reversed */
    bad[1].address[1][4] = 1;       /* no IPv4 address */
    bad[2].flags = 128;             /* means nothing */
    bad[3].flags = KST_NAT_NETMAP;
    bad[3].prefix = 33;
    bad[5].address[0][15] = bad[5].address[1][15] = 1; /* likewise */
    struct kst_result r = defer(without, 0, &w);
    must_be(kst_bind(without, r.entry, KST_NAT_SOURCE, &good), KST_REASON_NAT_RANGE);
    must_be(kst_bind(without, r.entry, KST_NAT_SOURCE, NULL), KST_REASON_NAT_RANGE);
    r = defer(t, 0, &w);
    for (size_t i = 0; i < 4; i++)
        must_be(kst_bind(t, r.entry, KST_NAT_SOURCE, &bad[i]), KST_REASON_NAT_RANGE);
    must_be(kst_bind(t, r.entry, KST_NAT_SOURCE, &bad[5]), KST_REASON_NAT_RANGE);
    bad[4].port[0] = 2; /* reversed ports are turned round */
    bad[4].port[1] = 1;
    bad[4].out_interface = 5;
    must_be(kst_bind(t, r.entry, KST_NAT_SOURCE, &bad[4]), KST_REASON_NONE);
    must_be(kst_bind(t, r.entry, KST_NAT_SOURCE, &good), KST_REASON_NAT_LATE);
    must_be(kst_bind(t, r.entry + 1, KST_NAT_DESTINATION, &good), KST_REASON_NAT_LATE);
    must_be(kst_bind(t, 0, KST_NAT_DESTINATION, &good), KST_REASON_NAT_LATE);
    must_be(confirm(t, 0, &r, &w), KST_REASON_NONE);
    must_be(kst_bind(t, r.entry, KST_NAT_DESTINATION, &good), KST_REASON_NAT_LATE);
    must(kst_get(t, r.entry, &flow));
    must_be(flow.out_interface, 5);
    must_be(flow.status & (KST_SRC_NAT | KST_DST_NAT | KST_SRC_NAT_DONE | KST_DST_NAT_DONE),
            KST_SRC_NAT | KST_SRC_NAT_DONE);
    must_be_sound(t);
    /* In one call the packet goes no further, and leaves nothing behind. */
    const struct say other = stranger(2);
    const struct kst_result refused = say_to(t, 0, other, &bad[0], NULL, &w);
    must_say(refused, KST_REASON_NAT_RANGE);
    must_be(refused.verdict, KST_DROP);
    must_be_same(w, other);
    must_be(kst_count(t), 1);
    free(t);
    free(without);
}
END_TEST

/* A finished TCP connection gives its port to a new one, if nothing else is left and that is a SYN
 * with a newer number; and only then. */
START_TEST(a_finished_connection_gives_its_port_away)
{
    static const struct {
        uint8_t state;
        uint32_t seq; /* of the SYN; the finished one began at 1000 */
        uint16_t status;
        uint8_t flags;
        bool goes;
    } rows[] = {{KST_TCP_CLOSE, 2000, 0, SYN, true},
                {KST_TCP_TIME_WAIT, 2000, 0, SYN, true},
                {KST_TCP_TIME_WAIT, 1001, 0, SYN, true},
                {KST_TCP_CLOSE, 1000, 0, SYN, false}, /* no newer */
                {KST_TCP_CLOSE, 900, 0, SYN, false},
                {KST_TCP_LAST_ACK, 2000, 0, SYN, false},
                {KST_TCP_ESTABLISHED, 2000, 0, SYN, false},
                {KST_TCP_CLOSE, 2000, KST_FIXED_TIMEOUT, SYN, false},
                {KST_TCP_CLOSE, 2000, 0, ACK, false}};
    for (size_t row = 0; row < COUNT(rows); row++) {
        struct kst *t = nat_table(8);
        const struct kst_nat_range by = range_to(false, 9, 6000, 6000);
        struct wire out;
        const struct kst_result old = say_to(t, 0, tcp(0, SYN, 1000, 0, 0), &by, NULL, &out);
        kst__entry_at(t, (uint32_t)old.entry)->status |= rows[row].status;
        kst__entry_at(t, (uint32_t)old.entry)->state = rows[row].state;
        t->states[kst__protocol_row(TCP)][KST_TCP_SYN_SENT]--;
        t->states[kst__protocol_row(TCP)][rows[row].state]++;
        about("row %zu", row);
        must_be_sound(t);
        struct say say = tcp(0, rows[row].flags, rows[row].seq, 0, 0);
        say.from = 3;
        must_say(say_to(t, 2, say, &by, NULL, &out), rows[row].goes ? KST_REASON_NONE : KST_REASON_NAT_EXHAUSTED);
        must_be(kst_statistics(t)->gone[KST_GONE_REPLACED], rows[row].goes);
        must_be(kst_get(t, old.entry, &(struct kst_flow){0}), !rows[row].goes);
        must_be(kst_count(t), 1);
        free(t);
    }
}
END_TEST

/* An entry takes both its tuples with it, and is found by both wherever it came from. */
START_TEST(both_tuples_come_and_go_as_one)
{
    struct kst *t = nat_table(4), *u = nat_table(4);
    const struct kst_nat_range by = range_to(false, 9, 6000, 6100);
    struct wire out;
    struct kst_flow flow;
    enum kst_error why;
    for (uint8_t host = 10; host < 30; host++) {
        must_say(say_to(t, host, client_of(host, 5000), &by, NULL, &out),
                 host < 14 ? KST_REASON_NONE : KST_REASON_TABLE_EVICTED);
        must_be(kst_count(t), host < 14 ? host - 9u : 4u);
    }
    for (kst_id id = 0; (id = kst_next(t, id)) != 0;) {
        must(kst_get(t, id, &flow));
        must_be(kst_find(t, &flow.tuple[KST_REPLY], NULL), id);
        const kst_id restored = kst_insert(u, &flow, &why);
        about("%s", kst_error_text(why));
        must(restored != 0);
        struct kst_flow copy;
        must(kst_get(u, restored, &copy));
        copy.id = flow.id;
        must(memcmp(&copy, &flow, sizeof copy) == 0);
        must_be(kst_insert(u, &flow, &why), 0);
        must_be_sound(u);
    }
    /* A restored mapping is as good as one's own. */
    struct say say = client_of(flow.tuple[0].src[3], 5000);
    say.to = 3;
    must_say(say_to(u, 100, say, &by, NULL, &out), KST_REASON_TABLE_EVICTED);
    must_be(get16(out.data + 20), flow.tuple[KST_REPLY].dst_port);
    /* Time and the caller take them likewise. */
    must(kst_delete(u, kst_next(u, 0)));
    kst_advance(u, 1000000, 100);
    must_be(kst_count(u), 0);
    must_be_sound(u);
    free(t);
    free(u);
}
END_TEST

/* ---- ICMP errors ---- */

static struct say about_it(bool v6, uint8_t from, uint8_t to, const struct wire *inner, uint16_t bytes)
{
    return (struct say){.protocol = v6 ? (uint8_t)ICMP6 : (uint8_t)ICMP, .v6 = v6, .from = from, .to = to,
                        .dport = v6 ? 0x0100 : 0x0301, .bytes = bytes, .body = inner->data};
}

/* An error about a translated packet, from a router outside or from the inner host, shows to who gets
 * it what that knows. */
START_TEST(errors_are_rewritten_inside_and_out)
{
    for (uint32_t row = 0; row < 2 * 2 * COUNT(spoken); row++) {
        const bool v6 = row & 1, cut = row & 2;
        const size_t i = row / 4;
        if ((spoken[i].protocol == ICMP && v6) || (spoken[i].protocol == ICMP6 && !v6))
            continue;
        const bool ports = spoken[i].kind == 1, id = spoken[i].kind == 2;
        struct kst *t = nat_table(4);
        struct kst_nat_range by = range_to(v6, 9, ports ? 9999 : 0, 9999);
        struct kst_nat_range to = range_to(v6, 7, ports ? 8888 : 0, 8888);
        const struct say say = spoken_by(i, v6);
        struct say outside = say;
        struct wire sent, out;
        if (id) {
            by.flags |= KST_NAT_PORT;
            by.port[0] = by.port[1] = 9999;
        }
        outside.from = 9;
        outside.to = 7;
        outside.sport = ports || id ? 9999 : 0;
        outside.dport = ports ? 8888 : say.dport;
        about("%s over IPv%d%s", spoken[i].name, v6 ? 6 : 4, cut ? ", cut" : "");
        must_say(say_to(t, 0, say, &by, &to, &sent), KST_REASON_NONE);
        must_be_same(sent, outside);
        const struct wire inside = wire_of(&say);
        const uint32_t l4 = v6 ? 40 : 20;
        uint16_t bytes = (uint16_t)(cut ? l4 + 8 : sent.size);
        /* From a router: to the client, about what it sent. */
        const struct kst_result r = say_to(t, 1, about_it(v6, 50, 9, &sent, bytes), NULL, NULL, &out);
        must_say(r, KST_REASON_NONE);
        must_be(r.state, KST_RELATED);
        must_be(r.direction, KST_REPLY);
        struct say expected = about_it(v6, 2, 1, &inside, bytes); /* all from there comes from 2 */
        must_be_same(out, expected);
        /* From the server's side, which knows the translated packet alone: about an answer. */
        struct say answer = answer_to(say), answer_outside = answer_to(outside);
        answer.bytes = answer_outside.bytes = say.bytes;
        answer.body = answer_outside.body = say.body;
        if (id) {
            answer.sport = say.sport;
            answer_outside.sport = outside.sport;
            answer.dport = answer_outside.dport = v6 ? 0x8100 : say.dport == 0xd00 ? 0xe00 : 0;
        }
        const struct wire answered = wire_of(&answer), answered_outside = wire_of(&answer_outside);
        if (bytes > answered.size)
            bytes = (uint16_t)answered.size;
        const struct kst_result r2 =
            say_to(t, 2, about_it(v6, 1, 2, &answered, bytes), NULL, NULL, &out);
        must_say(r2, KST_REASON_NONE);
        must_be(r2.direction, KST_ORIGINAL);
        expected = about_it(v6, 9, 7, &answered_outside, bytes);
        must_be_same(out, expected);
        free(t);
    }
}
END_TEST

/* A redirect about a translated connection goes nowhere, nor does an error whose sum is wrong. */
START_TEST(some_errors_are_not_passed_on)
{
    struct kst *t = nat_table(4);
    const struct kst_nat_range by = range_to(false, 9, 0, 0);
    struct wire sent, out;
    must_say(say_to(t, 0, stranger(1), &by, NULL, &sent), KST_REASON_NONE);
    struct say error = about_it(false, 50, 9, &sent, (uint16_t)sent.size);
    error.dport = 0x0501;
    struct kst_result r = say_to(t, 1, error, NULL, NULL, &out);
    must_say(r, KST_REASON_NAT_PACKET);
    must_be(r.verdict, KST_DROP);

    error.dport = 0x0301;
    struct wire w = wire_of(&error);
    w.data[23] ^= 1;
    const struct kst_packet packet = {.data = w.data, .size = w.size, .checksum = KST_CHECKSUM_GOOD};
    struct kst_nat nat = {.bytes = w.data, .room = ROOM};
    kst_track_nat(t, 2, &packet, &nat, 1, &r);
    must_say(r, KST_REASON_NAT_PACKET);

    /* Nor if the connection is not translated at all. */
    must_say(say_to(t, 3, stranger(2), NULL, NULL, &sent), KST_REASON_NONE);
    error = about_it(false, 50, stranger(2).from, &sent, (uint16_t)sent.size);
    for (uint32_t i = 0; i < 2; i++) {
        w = wire_of(&error);
        w.data[23] ^= (uint8_t)i;
        kst_track_nat(t, 4, &packet, &nat, 1, &r);
        must_say(r, i == 0 ? KST_REASON_NONE : KST_REASON_NAT_PACKET);
    }
    free(t);
}
END_TEST

/* The caller's bytes need not be what was tracked: whatever they say, none is touched that is not there,
 * and what cannot be rewritten stays as it is. */
START_TEST(bytes_may_lie)
{
    struct guarded g = guarded_new(200);
    for (uint32_t row = 0; row < 4 * 2; row++) {
        const bool v6 = row & 1;
        const uint32_t what = row / 2; /* an answer, an error, an error that nothing is bound for, a child */
        struct kst *t = nat_table(4);
        const struct kst_nat_range by = range_to(v6, 9, 0, 0);
        const struct say say = {.protocol = UDP, .v6 = v6, .from = 1, .to = 2, .sport = 5, .dport = 6, .bytes = 4};
        struct wire sent, w = wire_of(&say);
        struct kst_result r = say_to(t, 0, say, what == 2 ? NULL : &by, NULL, &sent);
        if (what == 0) {
            struct say back = answer_to(say);
            back.to = 9;
            back.bytes = 4;
            w = wire_of(&back);
        } else if (what < 3) {
            const struct say error = about_it(v6, 50, what == 2 ? 1 : 9, &sent, (uint16_t)sent.size);
            w = wire_of(&error);
        } else {
            struct kst_expectation x = {.master = r.entry, .timeout_ms = 1000, .follows = KST_FOLLOWS,
                                        .nat_direction = KST_ORIGINAL, .nat_port = 5};
            const struct say child = {.protocol = UDP, .v6 = v6, .from = 2, .to = 9, .sport = 7, .dport = 8, .bytes = 4};
            x.tuple = tuple_of(child);
            must_be(kst_expect(t, &x), KST_ERROR_OK);
            w = wire_of(&child);
        }
        r = defer(t, 1, &w);
        must_be(r.state, what == 0 ? KST_ESTABLISHED : KST_RELATED);
        uint32_t done = 0, not_done = 0;
        for (uint32_t size = 0; size <= w.size + 3; size++) {
            for (uint32_t at = 0; at < w.l4_at + 30; at++) {
                for (uint32_t change = 0; change < 4; change++) {
                    static const uint8_t changes[4] = {0, 0xff, 1, 0x0a};
                    uint8_t *bytes = guarded_end(&g, size), before[200];
                    memset(bytes, 0, size);
                    memcpy(bytes, w.data, size < w.size ? size : w.size);
                    if (at < size)
                        bytes[at] = change < 2 ? changes[change] : (uint8_t)(bytes[at] ^ changes[change]);
                    memcpy(before, bytes, size);
                    for (uint32_t kind = 0; kind < 2; kind++) {
                        const enum kst_reason reason = kst_translate(t, &r, (enum kst_nat_kind)kind, bytes, size);
                        about("row %u, %u bytes, byte %u, kind %u", row, size, at, kind);
                        if (reason == KST_REASON_NONE) {
                            done++;
                            const uint32_t ip_bytes = size < 4 ? 0
                                                      : v6    ? 40u + get16(before + 4)
                                                              : get16(before + 2);
                            for (uint32_t i = ip_bytes; i < size; i++)
                                must_be(bytes[i], before[i]); /* behind the packet */
                        } else {
                            not_done++;
                            must_be(reason, KST_REASON_NAT_PACKET);
                            must(memcmp(before, bytes, size) == 0);
                        }
                        memcpy(bytes, before, size);
                    }
                }
            }
        }
        must(done > 0 && not_done > 0);
        /* Nothing is done for who is unknown, or was refused. */
        memcpy(guarded_end(&g, w.size), w.data, w.size);
        struct kst_result others[4] = {r, r, r, r};
        others[0].entry = 0;
        others[1].entry = 100;
        others[2].entry += UINT64_C(1) << 32;
        others[3].verdict = KST_DROP;
        for (uint32_t i = 0; i < 8; i++) {
            about("row %u, other %u", row, i);
            must_be(kst_translate(t, &others[i / 2], (enum kst_nat_kind)(i % 2), guarded_end(&g, w.size), w.size),
                    KST_REASON_NONE);
            must(memcmp(guarded_end(&g, w.size), w.data, w.size) == 0);
        }
        free(t);
    }
    guarded_free(&g);
}
END_TEST

/* Of a buffer of more than 4 GiB what can be of a packet is looked at, and there is room. */
START_TEST(a_buffer_beyond_any_packet)
{
    if (SIZE_MAX <= UINT32_MAX)
        return;
    const size_t bytes = (size_t)UINT32_MAX + 4097;
    uint8_t *buffer = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    struct kst *t = nat_table(4);
    const struct kst_nat_range by = range_to(false, 9, 6000, 6000);
    const struct say say = stranger(1);
    struct say left = say;
    struct wire w = wire_of(&say), out;
    const struct kst_packet packet = {.data = w.data, .size = w.size};
    size_t size = bytes;
    must(buffer != MAP_FAILED);
    memcpy(buffer, w.data, w.size);
    struct kst_result r = defer(t, 0, &w);
    must_be(kst_bind(t, r.entry, KST_NAT_SOURCE, &by), KST_REASON_NONE);
    must_be(kst_translate(t, &r, KST_NAT_SOURCE, buffer, bytes), KST_REASON_NONE);
    must_be(kst_confirm(t, 0, &packet, &r, buffer, &size, bytes), KST_REASON_NONE);
    must_be(size, bytes); /* nothing was changed that has a length */
    left.from = 9;
    left.sport = 6000;
    out = w;
    memcpy(out.data, buffer, w.size);
    must_be_same(out, left);
    munmap(buffer, bytes);
    free(t);
}
END_TEST

/* Of an error that is cut nobody can tell whether it is right: it is passed on only if it needs no rewriting. */
START_TEST(errors_that_are_cut)
{
    for (uint32_t bound = 0; bound < 2; bound++) {
        struct kst *t = nat_table(4);
        const struct kst_nat_range by = range_to(false, 9, 0, 0);
        struct wire sent;
        must_say(say_to(t, 0, client_of(1, 5), bound ? &by : NULL, NULL, &sent), KST_REASON_NONE);
        const struct say error = about_it(false, 50, bound ? 9 : 1, &sent, 80);
        struct wire w = wire_of(&error), before = w;
        const struct kst_packet packet = {.data = w.data, .size = w.size - 20, .flags = KST_PACKET_HEAD};
        struct kst_nat nat = {.bytes = w.data, .room = ROOM};
        struct kst_result r;
        kst_track_nat(t, 1, &packet, &nat, 1, &r);
        about("bound %u", bound);
        must_say(r, bound ? KST_REASON_NAT_PACKET : KST_REASON_NONE);
        must(memcmp(w.data, before.data, w.size) == 0);
        free(t);
    }
}
END_TEST

/* ---- helpers ---- */

/* A client 10.0.0.N at a server 10.0.0.2, seen from outside as somebody else; or a server seen from
 * outside as somebody else. What is said is in the numbers of who says it. */
struct session {
    struct kst *t;
    struct kst_nat_range range;
    uint8_t outside[16];
    bool served; /* the destination is translated, not the source */
    bool v6;
    uint8_t client;
    uint16_t port; /* of the server */
    struct wire out;
};

static struct session session_new(const char *helper, uint16_t port, bool served, bool v6,
                                  uint8_t client, const char *outside)
{
    struct session s = {.t = nat_table(16), .served = served, .v6 = v6, .client = client, .port = port,
                        .range = range_to(v6, 2, 0, 0)};
    must(inet_pton(v6 ? AF_INET6 : AF_INET, outside, s.outside) == 1);
    for (uint32_t i = 0; i < 2 && !served; i++)
        memcpy(s.range.address[i], s.outside, 16);
    must_be(kst_attach(s.t, TCP, port, kst_helper_number(helper)), KST_ERROR_OK);
    return s;
}

/* `options` are those behind the header, `count` bytes of them. */
static struct kst_result said(struct session *s, bool reply, uint8_t flags, uint32_t seq, uint32_t ack,
                              const char *text, const uint8_t *options, uint8_t count)
{
    uint8_t body[600];
    const uint32_t bytes = (uint32_t)strlen(text), address_bytes = s->v6 ? 16 : 4;
    if (count > 0)
        memcpy(body, options, count);
    memcpy(body + count, text, bytes);
    struct say say = {.protocol = TCP, .v6 = s->v6, .from = s->client, .to = 2, .sport = 40000,
                      .dport = s->port};
    if (reply)
        say = answer_to(say);
    say.flags = flags;
    say.seq = seq;
    say.ack = ack;
    say.bytes = (uint16_t)(bytes + count);
    say.body = body;
    say.tcp_options = count;
    s->out = wire_of(&say);
    /* Who is outside knows the other by the other address. */
    if (reply != s->served) {
        memcpy(s->out.data + (s->v6 ? 8 : 12) + address_bytes, s->outside, address_bytes);
        wire_seal(&s->out);
    }
    const struct kst_result r =
        go(s->t, 0, &s->out, s->served ? NULL : &s->range, s->served ? &s->range : NULL);
    if (r.verdict != KST_ACCEPT)
        return r;
    struct wire anew = s->out; /* as it leaves, its checksums are right */
    wire_seal(&anew);
    must(memcmp(anew.data, s->out.data, anew.size) == 0);
    return r;
}

static uint32_t payload_at(const struct session *s)
{
    return s->out.l4_at + (uint32_t)(s->out.data[s->out.l4_at + 12] >> 4) * 4;
}

static void must_carry(const struct session *s, const char *text)
{
    const uint32_t at = payload_at(s);
    char is[ROOM + 1] = "";
    memcpy(is, s->out.data + at, s->out.size - at);
    must_read(is, text);
}

static uint32_t seq_of(const struct session *s)
{
    return kst__be32(s->out.data + s->out.l4_at + 4);
}

static uint32_t ack_of(const struct session *s)
{
    return kst__be32(s->out.data + s->out.l4_at + 8);
}

/* Opens a session; both have said a line, as FTP's helper wants it. Their next numbers. */
enum { CLIENT = 1000 + 1 + 8, SERVER = 5000 + 1 + 8 };
static void session_open(struct session *s)
{
    must_say(said(s, 0, SYN, 1000, 0, "", (const uint8_t *)"\4\2\1\1", 4), KST_REASON_NONE);
    must_say(said(s, 1, SYN | ACK, 5000, 1001, "", (const uint8_t *)"\4\2\1\1", 4), KST_REASON_NONE);
    must_say(said(s, 0, ACK, 1001, 5001, "", NULL, 0), KST_REASON_NONE);
    must_say(said(s, 1, ACK, 5001, 1001, "220 hi\r\n", NULL, 0), KST_REASON_NONE);
    must_say(said(s, 0, ACK, 1001, SERVER, "USER x\r\n", NULL, 0), KST_REASON_NONE);
}

/* A line that grows or shrinks: what comes behind is renumbered for who hears it, and what that
 * acknowledges, blocks included, for who said it; the tracker minds nothing. */
START_TEST(numbers_follow_what_helpers_change)
{
    static const struct {
        bool served, v6;
        uint8_t client;
        const char *outside, *line, *changed;
    } rows[] = {
        {0, 0, 1, "203.0.113.100", "PORT 10,0,0,1,4,210\r\n", "PORT 203,0,113,100,4,210\r\n"},
        {0, 0, 200, "1.2.3.4", "PORT 10,0,0,200,4,210\r\n", "PORT 1,2,3,4,4,210\r\n"},
        {0, 0, 1, "203.0.113.100", "EPRT |1|10.0.0.1|1234|\r\n", "EPRT |1|203.0.113.100|1234|\r\n"},
        {0, 1, 1, "2001:db8::1", "EPRT !2!fd00::1!1234!\r\n",
         "EPRT |2|2001:0db8:0000:0000:0000:0000:0000:0001|1234|\r\n"},
        {1, 0, 1, "203.0.113.100", "227 Entering (10,0,0,2,4,210).\r\n",
         "227 Entering (203,0,113,100,4,210).\r\n"},
        {1, 0, 1, "203.0.113.100", "229 Extended (|||1234|)\r\n", "229 Extended (|||1234|)\r\n"},
        {1, 1, 1, "2001:db8::1", "229 Extended (|||1234|)\r\n", "229 Extended (|||1234|)\r\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct session s = session_new("ftp", 21, rows[i].served, rows[i].v6, rows[i].client, rows[i].outside);
        const bool by = rows[i].served; /* who says the line */
        const uint32_t own = by ? SERVER : CLIENT, other = by ? CLIENT : SERVER;
        const uint32_t bytes = (uint32_t)strlen(rows[i].line);
        const uint32_t grown = (uint32_t)strlen(rows[i].changed) - bytes;
        session_open(&s);
        about("row %zu", i);
        for (uint32_t again = 0; again < 2; again++) { /* a retransmission becomes the same */
            must_say(said(&s, by, ACK, own, other, rows[i].line, NULL, 0), KST_REASON_NONE);
            must_carry(&s, rows[i].changed);
            must_be(seq_of(&s), own);
            must_be(kst_expectation_count(s.t), 1);
        }
        struct kst_flow flow;
        must(kst_get(s.t, kst_next(s.t, 0), &flow));
        must_be((flow.status & KST_SEQ_ADJUST) != 0, grown != 0);

        /* The next line is shifted, its answer shifted back. */
        must_say(said(&s, by, ACK, own + bytes, other, "NOOP\r\n", NULL, 0), KST_REASON_NONE);
        must_be(seq_of(&s), own + bytes + grown);
        must_say(said(&s, !by, ACK, other, own, "", NULL, 0), KST_REASON_NONE);
        must_be(ack_of(&s), own); /* all before it is as it was */
        /* The other side has got the line, but of what follows only the end: a block behind a gap,
         * wherever the option stands. */
        must_say(said(&s, by, ACK, own + bytes + 6, other, "NOOP\r\n", NULL, 0), KST_REASON_NONE);
        for (uint8_t pad = 0; pad < 2; pad++) {
            uint8_t options[12] = {1, 1, 5, 10, 0, 0, 0, 0, 0, 0, 0, 0};
            uint8_t *sack = options + 2 - pad;
            sack[0] = 5;
            sack[1] = 10;
            options[11] = 1;
            put32(sack + 2, own + bytes + 6 + grown);
            put32(sack + 6, own + bytes + 12 + grown);
            must_say(said(&s, !by, ACK, other, own + bytes + grown, "", options, 12), KST_REASON_NONE);
            const uint8_t *seen = s.out.data + s.out.l4_at + 20 + 2 - pad;
            must_be(ack_of(&s), own + bytes);
            must_be(kst__be32(seen + 2), own + bytes + 6);
            must_be(kst__be32(seen + 6), own + bytes + 12);
        }
        must_say(said(&s, !by, ACK, other, own + bytes + 12 + grown, "200 ok\r\n", NULL, 0), KST_REASON_NONE);
        must_be(ack_of(&s), own + bytes + 12);
        must_be(seq_of(&s), other);
        if (grown != 0) { /* options that cannot be read are dropped, as by Linux */
            static const uint8_t bad[4] = {5, 10, 0, 0};
            const struct kst_result r = said(&s, !by, ACK, other + 8, own + bytes + 12 + grown, "", bad, 4);
            must_say(r, KST_REASON_NAT_PACKET);
            must_be(r.verdict, KST_DROP);
        }
        /* A second line adds to the first. */
        must_say(said(&s, by, ACK, own + bytes + 12, other + 8, rows[i].line, NULL, 0), KST_REASON_NONE);
        must_carry(&s, rows[i].changed);
        must_be(seq_of(&s), own + bytes + 12 + grown);
        must_say(said(&s, !by, ACK, other + 8, own + bytes + 12 + grown, "", NULL, 0), KST_REASON_NONE);
        must_be(ack_of(&s), own + bytes + 12); /* all before it is as it was after the first */
        must_say(said(&s, !by, ACK, other + 8, own + 2 * (bytes + grown) + 12, "", NULL, 0), KST_REASON_NONE);
        must_be(ack_of(&s), own + 2 * bytes + 12);
        must_say(said(&s, by, ACK, own + 2 * bytes + 12, other + 8, "NOOP\r\n", NULL, 0), KST_REASON_NONE);
        must_be(seq_of(&s), own + 2 * (bytes + grown) + 12);

        /* Restored, it goes on so. */
        must(kst_get(s.t, kst_next(s.t, 0), &flow));
        kst_flush(s.t);
        must(kst_insert(s.t, &flow, NULL) != 0);
        must_say(said(&s, by, ACK, own + 2 * bytes + 18, other + 8, "NOOP\r\n", NULL, 0), KST_REASON_NONE);
        must_be(seq_of(&s), own + 2 * (bytes + grown) + 18);
        free(s.t);
    }
}
END_TEST

/* The line that grows ends behind 2^32; of what follows the server has two parts, with gaps before. */
START_TEST(numbers_wrap_and_blocks_are_many)
{
    const uint32_t isn = UINT32_MAX - 19, line = isn + 9, behind = line + 21;
    struct session s = session_new("ftp", 21, false, false, 1, "203.0.113.100");
    uint8_t options[20] = {1, 1, 5, 18};
    about("line at %u", line);
    must_say(said(&s, 0, SYN, isn, 0, "", (const uint8_t *)"\4\2\1\1", 4), KST_REASON_NONE);
    must_say(said(&s, 1, SYN | ACK, 5000, isn + 1, "", (const uint8_t *)"\4\2\1\1", 4), KST_REASON_NONE);
    must_say(said(&s, 0, ACK, isn + 1, 5001, "USER x\r\n", NULL, 0), KST_REASON_NONE);
    must_say(said(&s, 0, ACK, line, 5001, "PORT 10,0,0,1,4,210\r\n", NULL, 0), KST_REASON_NONE);
    must_carry(&s, "PORT 203,0,113,100,4,210\r\n");
    must_be(seq_of(&s), line);
    must_say(said(&s, 0, ACK, behind, 5001, "NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n", NULL, 0), KST_REASON_NONE);
    must_be(seq_of(&s), behind + 5);
    for (uint32_t edge = 0; edge < 4; edge++)
        put32(options + 4 + 4 * edge, behind + 5 + 6 * (edge + 1));
    must_say(said(&s, 1, ACK, 5001, behind + 5, "", options, sizeof options), KST_REASON_NONE);
    must_be(ack_of(&s), behind);
    for (uint32_t edge = 0; edge < 4; edge++)
        must_be(kst__be32(s.out.data + s.out.l4_at + 24 + 4 * edge), behind + 6 * (edge + 1));
    must_say(said(&s, 1, ACK, 5001, line, "", NULL, 0), KST_REASON_NONE);
    must_be(ack_of(&s), line);
    free(s.t);
}
END_TEST

/* Options as they may come behind a change of 6 bytes: what is behind their end, or no whole blocks, is
 * nobody's number; what cannot be walked through is dropped, as by Linux. */
START_TEST(options_of_any_kind)
{
    static const struct {
        uint8_t options[16];
        bool readable;
        uint8_t block; /* where one begins that is shifted back, 0: nowhere */
    } rows[] = {
        {{5, 10, 0, 0, 0, 50, 0, 0, 0, 60, 0, 0}, true, 2},
        {{1, 1, 1, 5, 10, 0, 0, 0, 50, 0, 0, 0, 60, 1, 1, 0}, true, 5},
        {{0, 1, 5, 10, 0, 0, 0, 50, 0, 0, 0, 60}, true, 0},
        {{5, 6, 0, 0, 0, 50, 1, 1, 1, 1, 1, 1}, true, 0},
        {{5, 11, 0, 0, 0, 50, 0, 0, 0, 60, 7, 1}, true, 0},
        {{5, 2, 8, 10, 0, 0, 0, 50, 0, 0, 0, 60}, true, 0},
        {{8, 10, 0, 0, 0, 50, 0, 0, 0, 60, 0, 0}, true, 0},
        {{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 5}, false, 0},
        {{5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, false, 0},
        {{5, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, false, 0},
        {{1, 1, 1, 1, 1, 1, 5, 11, 0, 0, 0, 50, 0, 0, 0, 60}, false, 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct session s = session_new("ftp", 21, false, false, 1, "203.0.113.100");
        uint8_t options[16];
        session_open(&s);
        must_say(said(&s, 0, ACK, CLIENT, SERVER, "PORT 10,0,0,1,4,210\r\n", NULL, 0), KST_REASON_NONE);
        must_say(said(&s, 0, ACK, CLIENT + 21, SERVER, "NOOP and some bytes that are there to be acknowledged, or not\r\n",
                      NULL, 0), KST_REASON_NONE);
        memcpy(options, rows[i].options, sizeof options);
        for (uint8_t edge = rows[i].block; edge != 0 && edge < rows[i].block + 8; edge += 4)
            put32(options + edge, CLIENT + 26 + options[edge + 3]); /* as the server has it */
        const struct kst_result r = said(&s, 1, ACK, SERVER, CLIENT + 26, "", options, sizeof options);
        about("row %zu", i);
        must_say(r, rows[i].readable ? KST_REASON_NONE : KST_REASON_NAT_PACKET);
        for (uint8_t edge = rows[i].block; edge != 0 && edge < rows[i].block + 8; edge += 4)
            put32(options + edge, kst__be32(options + edge) - 5);
        if (rows[i].readable) {
            must_be(ack_of(&s), CLIENT + 21);
            must(memcmp(s.out.data + s.out.l4_at + 20, options, sizeof options) == 0);
        }
        free(s.t);
    }
}
END_TEST

/* Between the hooks the packet may have become another, or be gone: nothing is read that is not there, and a
 * segment whose numbers cannot be shifted does not go on. */
START_TEST(what_comes_to_the_last_hook)
{
    static const struct {
        uint32_t size; /* how much of it is left, 0: all */
        uint32_t at;
        uint8_t value;
        bool readable;
    } rows[] = {
        {0, 9, TCP, true},     {20 + 32, 9, TCP, true}, /* options and header are all there */
        {20 + 31, 9, TCP, false}, {20 + 20, 9, TCP, false}, {20 + 19, 9, TCP, false}, {20 + 12, 9, TCP, false},
        {0, 32, 0x40, false}, {0, 32, 0xf0, false},
        {20, 9, TCP, true}, /* not so much as ports: nobody's business, nor is what is not IP */
        {0, 0, 0x75, true},
        {0, 9, UDP, true},  /* an answer is not about a UDP datagram */
        {10, 9, TCP, true},
    };
    for (size_t i = 0; i <= COUNT(rows); i++) {
        struct session s = session_new("ftp", 21, false, false, 1, "203.0.113.100");
        struct guarded g = guarded_new(200);
        session_open(&s);
        must_say(said(&s, 0, ACK, CLIENT, SERVER, "PORT 10,0,0,1,4,210\r\n", NULL, 0), KST_REASON_NONE);
        const uint8_t options[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
        struct say say = {.protocol = TCP, .from = 2, .to = 1, .sport = 21, .dport = 40000, .flags = ACK,
                          .seq = SERVER, .ack = CLIENT + 26, .bytes = 12, .body = options, .tcp_options = 12};
        struct wire w = wire_of(&say);
        memcpy(w.data + 16, s.outside, 4);
        wire_seal(&w);
        struct kst_result r = defer(s.t, 0, &w);
        must_say(r, KST_REASON_NONE);
        about("row %zu", i);
        if (i == COUNT(rows)) { /* without a buffer nothing is shifted */
            const struct kst_packet packet = {.data = w.data, .size = w.size};
            must_be(kst_confirm(s.t, 0, &packet, &r, NULL, NULL, 0), KST_REASON_NONE);
        } else {
            const uint32_t bytes = rows[i].size != 0 ? rows[i].size : w.size;
            uint8_t *at = guarded_end(&g, bytes);
            const struct kst_packet packet = {.data = w.data, .size = w.size, .flags = KST_PACKET_HEAD};
            size_t size = bytes;
            memcpy(at, w.data, bytes);
            at[rows[i].at] = rows[i].value;
            must_be(kst_confirm(s.t, 0, &packet, &r, at, &size, bytes),
                    rows[i].readable ? KST_REASON_NONE : KST_REASON_NAT_PACKET);
            must_be(size, bytes);
        }
        must_be(kst_count(s.t), 1);
        must_be_sound(s.t);
        guarded_free(&g);
        free(s.t);
    }
}
END_TEST

/* A connection whose numbers are shifted, seen by who translates nothing: they stay as they are. */
START_TEST(whoever_only_watches_shifts_nothing)
{
    struct session s = session_new("ftp", 21, false, false, 1, "203.0.113.100");
    session_open(&s);
    must_say(said(&s, 0, ACK, CLIENT, SERVER, "PORT 10,0,0,1,4,210\r\n", NULL, 0), KST_REASON_NONE);
    const struct say say = {.protocol = TCP, .from = 1, .to = 2, .sport = 40000, .dport = 21, .flags = ACK,
                            .seq = CLIENT + 21, .ack = SERVER};
    const struct wire w = wire_of(&say);
    struct wire before = w;
    must_say(track_wire(s.t, 0, &w), KST_REASON_NONE);
    must(memcmp(w.data, before.data, w.size) == 0);
    /* An RST has no acknowledgement to shift. */
    must_say(said(&s, 0, RST, CLIENT + 21, 0, "", NULL, 0), KST_REASON_NONE);
    must_be(seq_of(&s), CLIENT + 26);
    must_be(ack_of(&s), 0);
    free(s.t);
}
END_TEST

/* What was foretold comes to the address that was told, and is bound as its master is: to who told
 * of it, from where that is seen. */
START_TEST(what_is_foretold_follows_its_master)
{
    for (uint32_t served = 0; served < 2; served++) {
        struct session s = session_new("ftp", 21, served, false, 1, "203.0.113.1");
        struct wire out;
        struct kst_flow flow;
        session_open(&s);
        about("served %u", served);
        if (served)
            must_say(said(&s, 1, ACK, SERVER, CLIENT, "227 (10,0,0,2,4,210)\r\n", NULL, 0), KST_REASON_NONE);
        else
            must_say(said(&s, 0, ACK, CLIENT, SERVER, "PORT 10,0,0,1,4,210\r\n", NULL, 0), KST_REASON_NONE);
        struct kst_expectation x;
        must(kst_expectation_get(s.t, kst_expectation_next(s.t, 0), &x));
        must_be(x.follows, KST_FOLLOWS);
        must_be(x.nat_port, 1234);
        must(memcmp(x.tuple.dst, s.outside, 16) == 0);
        const struct say data = {.protocol = TCP, .from = served ? 1 : 2, .to = 9, .sport = 20,
                                 .dport = 1234, .flags = SYN};
        struct say inside = data;
        inside.to = served ? 2 : 1;
        out = wire_of(&data);
        memcpy(out.data + 16, s.outside, 4);
        wire_seal(&out);
        const struct kst_nat_range rule = range_to(false, 77, 0, 0); /* no rule has a say in it */
        const struct kst_result r = go(s.t, 5, &out, &rule, &rule);
        must_say(r, KST_REASON_NONE);
        must_be(r.state, KST_RELATED);
        must_be_same(out, inside);
        must(kst_get(s.t, r.entry, &flow));
        must_be(flow.status & (KST_SRC_NAT | KST_DST_NAT | KST_EXPECTED), KST_DST_NAT | KST_EXPECTED);
        inside = answer_to(inside);
        inside.flags = SYN | ACK;
        inside.ack = 1;
        must_be(say_to(s.t, 6, inside, NULL, NULL, &out).direction, KST_REPLY);
        must(memcmp(out.data + 12, s.outside, 4) == 0);
        free(s.t);
    }
}
END_TEST

/* Two clients name the same port: the second gets another, in the line and in what is expected. */
START_TEST(a_port_that_is_expected_already_is_replaced)
{
    struct session s = session_new("ftp", 21, false, false, 1, "203.0.113.1");
    struct kst_expectation x;
    session_open(&s);
    must_say(said(&s, 0, ACK, CLIENT, SERVER, "PORT 10,0,0,1,4,210\r\n", NULL, 0), KST_REASON_NONE);
    s.client = 3;
    s.port = 21;
    must_say(said(&s, 0, SYN, 1000, 0, "", NULL, 0), KST_REASON_NONE);
    struct kst_flow flow;
    kst_id id = 0, last = 0;
    while ((id = kst_next(s.t, id)) != 0)
        last = id;
    must(kst_get(s.t, last, &flow));
    must(flow.tuple[KST_REPLY].dst_port != 40000);
    struct say back = {.protocol = TCP, .from = 2, .to = 9, .sport = 21,
                       .dport = flow.tuple[KST_REPLY].dst_port, .flags = SYN | ACK, .seq = 5000, .ack = 1001};
    struct wire w = wire_of(&back);
    memcpy(w.data + 16, s.outside, 4);
    wire_seal(&w);
    must_say(go(s.t, 0, &w, NULL, NULL), KST_REASON_NONE);
    must_say(said(&s, 0, ACK, 1001, 5001, "USER x\r\n", NULL, 0), KST_REASON_NONE);
    must_say(said(&s, 0, ACK, CLIENT, 5001, "PORT 10,0,0,3,4,210\r\n", NULL, 0), KST_REASON_NONE);
    must_be(kst_expectation_count(s.t), 2);
    must(kst_expectation_get(s.t, kst_expectation_own(s.t, last, 0), &x));
    must(x.tuple.dst_port > 1234);
    must_be(x.nat_port, 1234);
    char line[64];
    snprintf(line, sizeof line, "PORT 203,0,113,1,%u,%u\r\n", x.tuple.dst_port >> 8, x.tuple.dst_port & 0xff);
    must_carry(&s, line);
    /* What comes there is for the port that was named. */
    struct say data = {.protocol = TCP, .from = 2, .to = 9, .sport = 20, .dport = x.tuple.dst_port, .flags = SYN};
    w = wire_of(&data);
    memcpy(w.data + 16, s.outside, 4);
    wire_seal(&w);
    must_be(go(s.t, 0, &w, NULL, NULL).state, KST_RELATED);
    data.to = 3;
    data.dport = 1234;
    must_be_same(w, data);
    free(s.t);
}
END_TEST

START_TEST(dcc_names_who_is_seen_outside)
{
    struct session s = session_new("irc", 6667, false, false, 1, "203.0.113.100");
    session_open(&s);
    must_say(said(&s, 0, ACK, CLIENT, SERVER, "PRIVMSG nick :\1DCC SEND file 167772161  5000 99\1\r\n", NULL, 0),
             KST_REASON_NONE);
    must_carry(&s, "PRIVMSG nick :\1DCC SEND file 3405803876 5000 99\1\r\n");
    struct kst_expectation x;
    must(kst_expectation_get(s.t, kst_expectation_next(s.t, 0), &x));
    must(memcmp(x.tuple.dst, s.outside, 16) == 0);
    must_be(x.follows, KST_FOLLOWS);
    free(s.t);
}
END_TEST

/* Whoever knows how it is seen and says so is believed; what cannot be expected is not announced. */
START_TEST(announcements_that_cannot_be_kept)
{
    static const struct {
        const char *helper, *line, *carries; /* NULL: dropped */
        uint32_t most; /* expectations */
    } rows[] = {
        {"irc", "PRIVMSG nick :\1DCC SEND file 3405803876 5000 99\1\r\n", "PRIVMSG nick :\1DCC SEND file 3405803876 5000 99\1\r\n", 9},
        {"irc", "PRIVMSG nick :\1DCC SEND file 167772161 5000 99\1\r\n", NULL, 0},
        {"ftp", "PORT 10,0,0,1,4,210\r\n", NULL, 0},
        {"ftp", "PORT 10,0,0,1,255,254\r\n", "PORT 203,0,113,100,255,255\r\n", 9}, /* the next one, of two */
        {"ftp", "PORT 10,0,0,1,255,255\r\n", NULL, 9}, /* the last port, which another expects */
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct session s = session_new(rows[i].helper, rows[i].helper[0] == 'i' ? 6667 : 21, false, false, 1, "203.0.113.100");
        session_open(&s);
        for (uint16_t port = 65534; port != 0; port++) { /* another client's, except the one that is left */
            struct kst_expectation x = {.timeout_ms = 1000000, .flags = KST_EXPECT_ANY_SRC_PORT};
            if (rows[i].carries != NULL && port == 65535)
                break;
            x.master = track(s.t, 0, stranger(7)).entry;
            x.tuple = tuple_of((struct say){.protocol = TCP, .from = 2, .dport = port});
            memcpy(x.tuple.dst, s.outside, 16);
            must_be(kst_expect(s.t, &x), KST_ERROR_OK);
        }
        const uint32_t before = kst_expectation_count(s.t);
        must_be(kst_set(s.t, "nf_conntrack_expect_max", rows[i].most), KST_ERROR_OK);
        const struct kst_result r = said(&s, 0, ACK, CLIENT, SERVER, rows[i].line, NULL, 0);
        about("row %zu", i);
        must_say(r, rows[i].carries != NULL ? KST_REASON_NONE : KST_REASON_HELPER_EXPECT);
        must_be(kst_expectation_count(s.t), before + (rows[i].carries != NULL));
        if (rows[i].carries != NULL)
            must_carry(&s, rows[i].carries);
        must_be_sound(s.t);
        free(s.t);
    }
}
END_TEST

/* No room in the buffer: the packet is dropped, nothing behind the buffer is touched. */
START_TEST(a_line_that_finds_no_room_is_dropped)
{
    struct session s = session_new("ftp", 21, false, false, 1, "203.0.113.100");
    session_open(&s);
    const char *line = "PORT 10,0,0,1,4,210\r\n";
    struct say say = {.protocol = TCP, .from = 1, .to = 2, .sport = 40000, .dport = 21, .flags = ACK,
                      .seq = CLIENT, .ack = SERVER, .bytes = (uint16_t)strlen(line), .body = line};
    const struct wire w = wire_of(&say);
    struct guarded g = guarded_new(200);
    for (uint32_t more = 0; more < 9; more++) {
        uint8_t *bytes = guarded_end(&g, w.size + more);
        memcpy(bytes, w.data, w.size);
        const struct kst_packet packet = {.data = bytes, .size = w.size};
        struct kst_nat nat = {.range = {&s.range, NULL}, .bytes = bytes, .room = w.size + more};
        struct kst_result r;
        kst_track_nat(s.t, 0, &packet, &nat, 1, &r);
        about("%u more", more);
        must_say(r, more < 5 ? KST_REASON_NAT_ROOM : KST_REASON_NONE);
        must_be(nat.size, w.size + (more < 5 ? 0 : 5));
        must_be(kst_expectation_count(s.t), more >= 5); /* what nobody was told of is not expected */
    }
    guarded_free(&g);
    free(s.t);
}
END_TEST

/* One SIP message over UDP between 10.0.0.1, which is seen as 203.0.113.100, and 10.0.0.2. */
static struct kst_result sip_said(struct kst *t, bool reply, const char *message, struct wire *out)
{
    struct kst_nat_range by = {.flags = KST_NAT_ADDRESS, .address = {{203, 0, 113, 100}, {203, 0, 113, 100}}};
    struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 5060, .dport = 5060,
                      .bytes = (uint16_t)strlen(message), .body = message};
    if (reply) {
        say.from = 2;
        say.to = 1;
    }
    *out = wire_of(&say);
    if (reply) {
        memcpy(out->data + 16, by.address[0], 4);
        wire_seal(out);
    }
    const struct kst_result r = go(t, 0, out, &by, NULL);
    struct wire anew = *out;
    wire_seal(&anew);
    must(memcmp(anew.data, out->data, anew.size) == 0);
    must_be(get16(out->data + 24), out->size - 20);
    return r;
}

static void must_carry_sip(const struct wire *out, const char *text)
{
    char is[ROOM + 1] = "";
    memcpy(is, out->data + 28, out->size - 28);
    must_read(is, text);
}

START_TEST(sip_names_who_is_seen_outside)
{
    struct kst *t = nat_table(16);
    struct wire out;
    struct kst_expectation x;
    must_be(kst_attach(t, UDP, 5060, kst_helper_number("sip")), KST_ERROR_OK);
#define SDP(address, port)                                                                         \
    "v=0\r\no=a 1 1 IN IP4 " address "\r\ns=-\r\nc=IN IP4 " address "\r\nt=0 0\r\nm=audio " port        \
    " RTP/AVP 0\r\na=x\r\n"
#define INVITE(address, contact, port, length)                                                     \
    "INVITE sip:b@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP " contact ";maddr=" address                      \
    ";branch=z\r\nFrom: <sip:a@" contact ">;tag=1\r\nTo: <sip:b@10.0.0.2>\r\nCSeq: 1 INVITE\r\n"       \
    "Contact: <sip:a@" contact ">, <sip:c@10.0.0.7>\r\nContent-Length: " length                          \
    "\r\n\r\n" SDP(address, port)
    must_say(sip_said(t, 0, INVITE("10.0.0.1", "10.0.0.1:5060", "4001", "90"), &out), KST_REASON_NONE);
    must_carry_sip(&out, INVITE("203.0.113.100", "203.0.113.100:5060", "4001", "100"));
    must_be(kst_expectation_count(t), 2);
    must(kst_expectation_get(t, kst_expectation_next(t, 0), &x));
    must_be(kst__be32(x.tuple.dst), 0xcb007164);
    must_be(x.tuple.dst_port, 4000);
    must_be(x.nat_port, 4000);
    must_be(x.follows, KST_FOLLOWS_PEER);

    /* The answer says to the client what the client calls itself; the server names its own port. */
#define ANSWER(address, contact, rport)                                                            \
    "SIP/2.0 200 OK\r\nv : SIP/2.0/UDP " contact ";received=" address ";rport=" rport                    \
    "\r\nFrom: <sip:a@" contact ">;tag=1\r\nTo: <sip:b@10.0.0.2>\r\nCSeq: 1 INVITE\r\n"                  \
    "m: <sip:b@10.0.0.2:5060>\r\nl: 90\r\n\r\n" SDP("10.0.0.2", "5000")
    must_say(sip_said(t, 1, ANSWER("203.0.113.100", "203.0.113.100:5060", "5060"), &out), KST_REASON_NONE);
    must_carry_sip(&out, ANSWER("10.0.0.1", "10.0.0.1:5060", "5060"));
    must_be(kst_expectation_count(t), 4);
    /* What is the same on both sides stays as it is written. */
    must_say(sip_said(t, 1, ANSWER("203.0.113.100;maddr=10.0.0.002", "203.0.113.100:5060", "5060"), &out), KST_REASON_NONE);
    must_carry_sip(&out, ANSWER("10.0.0.1;maddr=10.0.0.002", "10.0.0.1:5060", "5060"));

    /* Media comes to the address outside and is bound to the client. */
    struct say media = {.protocol = UDP, .from = 2, .to = 9, .sport = 5000, .dport = 4000};
    out = wire_of(&media);
    put32(out.data + 16, 0xcb007164);
    wire_seal(&out);
    const struct kst_result r = go(t, 1, &out, NULL, NULL);
    must_be(r.state, KST_RELATED);
    media.to = 1;
    must_be_same(out, media);

    /* Whoever registers wants to be called where it is seen, and is; a message that does not fit the
     * buffer is dropped whole. */
#define REGISTER(via, contact)                                                                     \
    "REGISTER sip:10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP " via                                             \
    "\r\nCSeq: 2 REGISTER\r\nContact: <sip:a@" contact ">\r\nExpires: 60\r\n\r\n"
    must_say(sip_said(t, 0, REGISTER("10.0.0.1:5060", "10.0.0.1:5060"), &out), KST_REASON_NONE);
    must_carry_sip(&out, REGISTER("203.0.113.100:5060", "203.0.113.100:5060"));
    /* At another port than it sends from: that one. */
    must_say(sip_said(t, 0, REGISTER("10.0.0.1:5060", "10.0.0.1:5070"), &out), KST_REASON_NONE);
    must_carry_sip(&out, REGISTER("203.0.113.100:5060", "203.0.113.100:5070"));
    static char big[1500];
    const char *invite = REGISTER("10.0.0.1:5060", "10.0.0.1:5060");
    snprintf(big, sizeof big, "%s", invite);
    memset(big + strlen(invite), 'x', 1470 - strlen(invite));
    must_say(sip_said(t, 0, big, &out), KST_REASON_NAT_ROOM);
    free(t);
}
END_TEST

/* Who looks already as the range has it stays so. */
START_TEST(within_the_range_already)
{
    for (uint8_t host = 10; host < 30; host++) {
        struct kst *t = nat_table(1);
        struct kst_nat_range by = range_to(false, 9, 0, 0);
        by.address[1][3] = 200;
        struct wire out;
        must_say(say_to(t, 0, client_of(host, 5000), &by, NULL, &out), KST_REASON_NONE);
        must_be_same(out, client_of(host, 5000));
        free(t);
    }
}
END_TEST

/* A range of ports that is the wrong way round is the same range. */
START_TEST(ports_the_wrong_way_round)
{
    struct kst *t = nat_table(16);
    const struct kst_nat_range by = range_to(false, 9, 6003, 6000);
    uint32_t taken = 0;
    struct wire out;
    for (uint8_t host = 10; host < 15; host++) {
        const struct kst_result r = say_to(t, 0, client_of(host, 5000), &by, NULL, &out);
        must_say(r, host < 14 ? KST_REASON_NONE : KST_REASON_NAT_EXHAUSTED);
        if (host < 14)
            taken |= 1u << (get16(out.data + 20) - 6000);
    }
    must_be(taken, 15);
    free(t);
}
END_TEST

/* A range of ports alone leaves the address as it is. */
START_TEST(ports_alone)
{
    for (uint32_t v6 = 0; v6 < 2; v6++)
        for (uint32_t source = 0; source < 2; source++) {
            struct kst *t = nat_table(4);
            const struct kst_nat_range range = {.flags = KST_NAT_PORT, .port = {8888, 8888}};
            struct say say = {.protocol = UDP, .v6 = v6, .from = 1, .to = 2, .sport = 40000, .dport = 53, .bytes = 20};
            struct wire out;
            must_say(say_to(t, 0, say, source ? &range : NULL, source ? NULL : &range, &out), KST_REASON_NONE);
            *(source ? &say.sport : &say.dport) = 8888;
            must_be_same(out, say);
            free(t);
        }
}
END_TEST

/* A SIP message that ends anywhere, and its buffer with it: nothing behind is read or written. */
START_TEST(sip_cut_anywhere)
{
    struct kst *t = nat_table(16);
    const struct kst_nat_range by = {.flags = KST_NAT_ADDRESS, .address = {{203, 0, 113, 1}, {203, 0, 113, 1}}};
    static const char *const messages[] = {INVITE("10.0.0.1", "10.0.0.1:5060", "4001", "90"),
                                           "THEmethodISallTHEREisOFitUNTILtheENDofTHEmessage"};
    struct guarded g = guarded_new(800);
    must_be(kst_attach(t, UDP, 5060, kst_helper_number("sip")), KST_ERROR_OK);
    for (size_t i = 0; i < COUNT(messages); i++)
        for (uint32_t bytes = 0; bytes <= strlen(messages[i]); bytes++) {
            const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 5060, .dport = 5060,
                                    .bytes = (uint16_t)bytes, .body = messages[i]};
            const struct wire w = wire_of(&say);
            struct kst_result r;
            uint8_t *at = guarded_end(&g, w.size);
            memcpy(at, w.data, w.size);
            const struct kst_packet packet = {.data = at, .size = w.size};
            struct kst_nat nat = {.range = {&by, NULL}, .bytes = at, .room = w.size};
            kst_track_nat(t, 0, &packet, &nat, 1, &r);
            about("%u bytes of %s", bytes, messages[i]);
            must(r.state != KST_INVALID || r.reason != KST_REASON_NONE);
            must(nat.size <= w.size);
            must_be_sound(t);
        }
    guarded_free(&g);
    free(t);
}
END_TEST

/* A datagram in two fragments is translated whole, if there is room. */
START_TEST(fragments_leave_as_a_datagram)
{
    for (uint32_t room = 0; room < 2; room++) {
        struct kst *t = table_new((struct kst_config){.max = 4, .features = KST_WITH_NAT,
                                                      .reassembly_bytes = KST_REASSEMBLY_MIN});
        const struct kst_nat_range by = range_to(false, 9, 6000, 6000);
        struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 5000, .dport = 53, .bytes = 56};
        const struct wire full = wire_of(&say);
        struct wire part[2] = {full, full};
        struct kst_result r;
        size_t size;
        part[0].size = 20 + 32;
        put16(part[0].data + 6, 0x2000);
        part[1].size = 20 + 32;
        put16(part[1].data + 6, 4);
        memcpy(part[1].data + 20, full.data + 52, 32);
        for (uint32_t i = 0; i < 2; i++) {
            put16(part[i].data + 2, part[i].size);
            put16(part[i].data + 10, 0);
            put16(part[i].data + 10, sum_folded(sum_of(0, part[i].data, 20)));
            const struct kst_packet packet = {.data = part[i].data, .size = part[i].size};
            struct kst_nat nat = {.range = {&by, NULL}, .bytes = part[i].data,
                                  .room = room == 0 ? part[i].size : (uint32_t)ROOM};
            kst_track_nat(t, 0, &packet, &nat, 1, &r);
            part[i].size = nat.size;
            if (i == 0)
                must_be(r.verdict, KST_HOLD);
        }
        must_be_sound(t);
        must_say(r, room == 0 ? KST_REASON_NAT_ROOM : KST_REASON_NONE);
        must(kst_datagram(t, &size) != NULL);
        must_be(size, full.size);
        if (room != 0) {
            must_be(r.flags, KST_CREATED | KST_REASSEMBLED);
            say.from = 9;
            say.sport = 6000;
            must_be_same(part[1], say);
        }
        must_be(kst_count(t), room);
        free(t);
    }
}
END_TEST

SUITE("nat", a_rejected_connection_is_closed, what_is_pending_can_be_marked, whoever_waits_may_find_no_room,
      the_last_hook_of_who_is_gone, the_end_of_the_clock, announcements_that_cannot_be_kept, what_is_pending_is_known_but_not_found, what_is_refused_or_forgotten_leaves_nothing,
      a_full_table_makes_room_before_it_waits, what_a_packet_ends_stays_until_it_is_through,
      every_protocol_goes_out_and_comes_back, any_checksum_comes_out_right,
      what_cannot_be_rewritten_is_left, what_is_known_can_be_too_short, identifiers_alone_are_identifiers, calls_belong_to_the_receiver,
      a_later_fragment_has_no_ports, a_range_is_used_up_and_says_so, the_expired_hold_no_port,
      a_wide_range_is_nearly_used_up, a_search_goes_on_elsewhere, nobody_is_his_own_answer, turned_round_all_is_an_answer, turned_round_it_wants_one_place,
      zones_and_families_have_mappings_of_their_own, a_foretold_call_gives_way, bytes_may_lie,
      errors_that_are_cut, a_buffer_beyond_any_packet, options_of_any_kind, what_comes_to_the_last_hook,
      whoever_only_watches_shifts_nothing,
      a_port_is_kept_or_stays_in_its_class, a_port_outside_its_range_is_moved, each_ping_has_its_own_answer, a_source_looks_the_same_to_all,
      destinations_are_taken_in_order_or_shifted, an_address_is_chosen_and_kept,
      a_network_is_mapped_to_another, a_binding_is_refused_by_name,
      a_finished_connection_gives_its_port_away, both_tuples_come_and_go_as_one,
      errors_are_rewritten_inside_and_out, some_errors_are_not_passed_on,
      numbers_follow_what_helpers_change, numbers_wrap_and_blocks_are_many, what_is_foretold_follows_its_master,
      a_port_that_is_expected_already_is_replaced, dcc_names_who_is_seen_outside,
      a_line_that_finds_no_room_is_dropped, sip_names_who_is_seen_outside, sip_cut_anywhere, ports_alone,
      within_the_range_already, ports_the_wrong_way_round,
      fragments_leave_as_a_datagram)
