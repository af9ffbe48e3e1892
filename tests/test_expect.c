/* SPDX-License-Identifier: MIT */
/* test_expect.c - properties: an expectation meets the packets that its masks let it meet, and only
 * while it and its master live; it makes the packet RELATED, once; what would take the same packets
 * is refused by name; limits hold; ids never come back; and however expectations, packets, deaths
 * and time are mixed, they are those that a plain list has. */
#define KST_EXPECT_CHAIN_MAX 8 /* soon reached */
#define KST_IMPLEMENTATION
#include "support.h"

enum { ANY_SRC = KST_EXPECT_ANY_SRC, ANY_PORT = KST_EXPECT_ANY_SRC_PORT,
       PERMANENT = KST_EXPECT_PERMANENT, INACTIVE = KST_EXPECT_INACTIVE };

static const struct kst_config config = {.max = 64, .expectations = 32, .seed = {1, 2}};

static const struct say foretold = {.protocol = UDP, .from = 3, .to = 4, .sport = 5, .dport = 6};

/* So long that nothing expires by accident; it starts now. */
static kst_id master_for(struct kst *t, uint32_t number, const char *helper, uint64_t timeout_ms)
{
    struct say say = tcp(0, 0, 0, 0, 0);
    say.sport = (uint16_t)(50000 + number);
    struct kst_flow flow = flow_of(say, timeout_ms);
    flow.status = KST_SEEN_REPLY | KST_ASSURED;
    flow.helper = helper != NULL ? kst_helper_number(helper) : 0;
    const kst_id id = kst_insert(t, &flow, NULL);
    must(id != 0);
    return id;
}

static kst_id master_new(struct kst *t, uint32_t number)
{
    return master_for(t, number, NULL, 1000000);
}

static struct kst_expectation to_expect(kst_id master, struct say say, uint8_t flags)
{
    return (struct kst_expectation){
        .master = master, .tuple = tuple_of(say), .timeout_ms = 60000, .flags = flags};
}

static enum kst_error expect(struct kst *t, kst_id master, struct say say, uint8_t flags)
{
    const struct kst_expectation x = to_expect(master, say, flags);
    const enum kst_error error = kst_expect(t, &x);
    must_be_sound(t);
    return error;
}

static bool foreseen(const struct kst *t, kst_id id)
{
    struct kst_expectation x;
    return kst_expectation_get(t, id, &x);
}

/* At the time that it is. */
static struct kst_result track_now(struct kst *t, struct say say)
{
    const struct kst_result result = track(t, t->now_ms, say);
    must_be_sound(t);
    return result;
}

START_TEST(nothing_without_memory)
{
    struct kst *t = table_new((struct kst_config){.max = 1});
    must_be(expect(t, track(t, 0, stranger(1)).entry, stranger(2), 0), KST_ERROR_EXPECT_FULL);
    must_be(kst_expectation_count(t), 0);
    must_be(kst_expectation_next(t, 0), 0);
    free(t);
}
END_TEST

/* What is said of a translation is not kept where there is none. */
START_TEST(translation_is_nothing_without_nat)
{
    for (uint32_t with = 0; with < 2; with++) {
        struct kst *t = table_new((struct kst_config){.max = 2, .expectations = 1, .features = with ? KST_WITH_NAT : 0});
        struct kst_expectation x = to_expect(track(t, 0, stranger(1)).entry, stranger(2), 0);
        x.follows = KST_FOLLOWS;
        x.nat_direction = KST_REPLY;
        x.nat_port = 7;
        must_be(kst_expect(t, &x), KST_ERROR_OK);
        must(kst_expectation_get(t, kst_expectation_next(t, 0), &x));
        must_be(x.follows, with ? KST_FOLLOWS : 0);
        must_be(x.nat_direction, with ? KST_REPLY : 0);
        must_be(x.nat_port, with ? 7 : 0);
        must_be(x.child_helper, 0);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* ---- what is met ---- */

START_TEST(masks)
{
    enum { SAME, OTHER_SRC, OTHER_SPORT, OTHER_DST, OTHER_DPORT, OTHER_ZONE, OTHER_PROTOCOL, BACK, WAYS };
    for (uint8_t flags = 0; flags < 4; flags++) {
        for (uint32_t way = 0; way < WAYS; way++) {
            struct kst *t = table_new((struct kst_config){.max = 8, .expectations = 1}); /* a bucket */
            struct say say = foretold;
            must_be(expect(t, master_new(t, 1), say, flags), KST_ERROR_OK);
            say.from = (uint8_t)(say.from + (way == OTHER_SRC));
            say.sport = (uint16_t)(say.sport + (way == OTHER_SPORT));
            say.to = (uint8_t)(say.to + (way == OTHER_DST));
            say.dport = (uint16_t)(say.dport + (way == OTHER_DPORT));
            if (way == OTHER_PROTOCOL)
                say.protocol = UDPLITE;
            if (way == BACK)
                say = answer_to(say);
            const struct wire w = wire_of(&say);
            const struct kst_packet packet = {
                .data = w.data, .size = w.size, .zone = way == OTHER_ZONE ? 1 : 0};
            struct kst_result result;
            kst_track(t, 0, &packet, 1, &result);
            const bool met = way == SAME || (way == OTHER_SRC && (flags & ANY_SRC)) ||
                             (way == OTHER_SPORT && (flags & ANY_PORT));
            about("flags %u, way %u", flags, way);
            must_be(result.flags, KST_CREATED);
            must_be(result.state, met ? KST_RELATED : KST_NEW);
            must_be(kst_expectation_count(t), met ? 0 : 1);
            must_be(kst_statistics(t)->expect_new, met);
            must_be_sound(t);
            free(t);
        }
    }
}
END_TEST

/* The very bytes of an IPv4 address in an IPv6 one, and in the same bucket: there is but one. */
START_TEST(the_same_bytes_of_another_family)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .expectations = 1});
    must_be(expect(t, master_new(t, 1), foretold, ANY_SRC), KST_ERROR_OK);
    const struct say six = {.protocol = UDP, .v6 = true, .from = 3, .sport = 5, .dport = 6};
    struct wire w = wire_of(&six);
    memset(w.data + 24, 0, 16);
    put_host(w.data + 24, false, foretold.to);
    wire_seal(&w);
    const struct kst_result result = track_wire(t, 0, &w);
    must_be(result.flags, KST_CREATED);
    must_be(result.state, KST_NEW);
    must_be(track_now(t, foretold).state, KST_RELATED);
    free(t);
}
END_TEST

/* Keys of calls lie among the expectations: they take room of the table and of a bucket, are met by nothing else, and
 * are worth nothing once their master is over. */
START_TEST(keys_lie_among_them)
{
    const struct kst_tuple call = {.src = {10, 0, 0, 1}, .dst = {10, 0, 0, 2}, .src_port = 100, .dst_port = 200,
                                   .family = KST_IPV4, .protocol = GRE};
    static const uint8_t body[12] = {0x30, 1, 0x88, 0x0b, 0, 4, 0, 200};
    const struct say packet = {.protocol = GRE, .from = 1, .to = 2, .bytes = sizeof body, .body = body};
    struct kst *t = table_new((struct kst_config){.max = 8, .expectations = 4});
    struct kst_flow flow;
    const uint32_t master = (uint32_t)master_for(t, 1, NULL, 5000);
    const kst_id other = master_new(t, 2);
    struct say say = foretold;
    kst__help_of(t, master);
    must(kst__key_insert(t, master, &call));
    for (say.dport = 0; say.dport < 3; say.dport++)
        must_be(expect(t, other, say, 0), KST_ERROR_OK);
    must_be(expect(t, other, say, 0), KST_ERROR_EXPECT_FULL); /* though there are but three */
    must(!kst__key_insert(t, master, &call));
    must_be(kst_expectation_count(t), 3);
    must_be(kst_expectation_own(t, kst_next(t, 0), 0), 0);
    must(kst_get(t, track_now(t, packet).entry, &flow));
    must_be(flow.tuple[0].src_port, 100);
    must(kst_delete(t, flow.id));
    kst_track(t, 5000, NULL, 0, NULL); /* its master is over, and not collected */
    must(kst_get(t, track_now(t, packet).entry, &flow));
    must_be(flow.tuple[0].src_port, 0);
    must_be_sound(t);
    free(t);

    t = table_new(config);
    const uint32_t slot = (uint32_t)master_new(t, 1);
    kst__help_of(t, slot);
    for (uint32_t i = 0; i <= KST_EXPECT_CHAIN_MAX; i++) {
        struct kst_tuple tuple = call;
        tuple.src[3] = (uint8_t)(100 + i);
        about("key %u", i);
        must_be(kst__key_insert(t, slot, &tuple), i < KST_EXPECT_CHAIN_MAX);
    }
    must_be_sound(t);
    free(t);
}
END_TEST

/* IPv6 and IPv4 with the same bytes; a zone that is the master's. */
START_TEST(families_and_zones)
{
    struct kst *t = table_new(config);
    struct kst_flow flow = flow_of(stranger(1), 1000000);
    flow.tuple[0].zone = flow.tuple[1].zone = 5;
    const kst_id zoned = kst_insert(t, &flow, NULL);
    struct kst_expectation x = to_expect(zoned, foretold, 0);
    must_be(kst_expect(t, &x), KST_ERROR_EXPECT_TUPLE); /* another zone than its master's */
    x.tuple.zone = 5;
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    x.tuple.family = KST_IPV6;
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    must_be(track_now(t, foretold).state, KST_NEW);
    const struct wire w = wire_of(&foretold);
    struct kst_result result;
    kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = w.size, .zone = 5}, 1, &result);
    must_be(result.state, KST_RELATED);
    must_be(kst_expectation_count(t), 1);
    must(kst_expectation_get(t, kst_expectation_next(t, 0), &x));
    must_be(x.tuple.family, KST_IPV6);
    must_be(x.tuple.zone, 5);
    free(t);
}
END_TEST

/* What the child has from its master, and how it goes on. */
START_TEST(the_child)
{
    struct kst *t = table_new((struct kst_config){
        .max = 4, .expectations = 4, .features = KST_WITH_ACCOUNTING});
    const kst_id master = master_new(t, 1);
    struct kst_expectation x = to_expect(master, foretold, ANY_PORT);
    struct kst_flow flow;
    x.tuple.src_port = 4711; /* does not count */
    x.child_helper = kst_helper_number("tftp");
    must(kst_set_mark(t, master, 77));
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    must(kst_set_mark(t, master, 78)); /* as it is when the child comes */
    must_be(kst_set(t, "nf_conntrack_acct", 1), KST_ERROR_OK);

    struct kst_result result = track_now(t, foretold);
    must_be(result.state, KST_RELATED);
    must_be(result.direction, KST_ORIGINAL);
    must_be(result.flags, KST_CREATED);
    must(kst_get(t, result.entry, &flow));
    must_be(flow.master, master);
    must_be(flow.mark, 78);
    must_be(flow.status, KST_CONFIRMED | KST_EXPECTED);
    must_be(flow.helper, kst_helper_number("tftp"));
    must_be(flow.packets[0], 1);
    must_be(kst_expectation_count(t), 0);
    must(kst_set_mark(t, master, 79));
    must_be(track_now(t, foretold).state, KST_RELATED); /* until it is answered */
    must_be(track_now(t, answer_to(foretold)).state, KST_ESTABLISHED);
    must_be(track_now(t, foretold).state, KST_ESTABLISHED);
    must(kst_get(t, result.entry, &flow));
    must_be(flow.mark, 78);
    must_be(flow.status, KST_CONFIRMED | KST_EXPECTED | KST_SEEN_REPLY);

    must(kst_delete(t, master)); /* the child lives on */
    must(kst_get(t, result.entry, &flow));
    must_be(flow.master, master);
    must(kst_delete(t, result.entry));
    result = track_now(t, foretold); /* and does not come again */
    must_be(result.state, KST_NEW);
    must(kst_get(t, result.entry, &flow));
    must_be(flow.master, 0);
    must_be(flow.mark, 0);
    must_be(flow.helper, 0);
    free(t);
}
END_TEST

START_TEST(permanent_and_inactive)
{
    struct kst *t = table_new(config);
    const kst_id master = master_new(t, 1);
    must_be(expect(t, master, foretold, PERMANENT), KST_ERROR_OK);
    const kst_id id = kst_expectation_next(t, 0);
    for (uint32_t i = 1; i <= 3; i++) {
        const struct kst_result result = track_now(t, foretold);
        must_be(result.state, KST_RELATED);
        must_be(kst_statistics(t)->expect_new, i);
        must(foreseen(t, id));
        must(kst_delete(t, result.entry));
    }
    must(kst_expectation_renew(t, id, PERMANENT | INACTIVE, 5000));
    kst_id child = track_now(t, foretold).entry;
    must(kst_delete(t, child));
    must_be(kst_statistics(t)->expect_new, 3);
    must_be(expect(t, master_new(t, 2), foretold, 0), KST_ERROR_EXPECT_BUSY); /* it is there */
    must(kst_expectation_renew(t, id, ANY_SRC | ANY_PORT | KST_EXPECT_USERSPACE | 128, 5000));
    struct kst_expectation x;
    must(kst_expectation_get(t, id, &x));
    must_be(x.flags, 0); /* what it meets, and whose it is, cannot be changed */
    must_be(track_now(t, foretold).state, KST_RELATED);
    must(!foreseen(t, id));
    must(!kst_expectation_renew(t, id, 0, 5000));
    free(t);
}
END_TEST

/* Two for the two directions of one connection: when one comes, the other is its answer. */
START_TEST(both_directions)
{
    for (uint32_t way = 0; way < 4; way++) {
        struct kst *t = table_new(config);
        const kst_id master = master_new(t, 1), other = master_new(t, 2);
        const bool same_master = way != 1, inactive = way == 2, loose = way == 3;
        const bool paired = way == 0;
        struct say back = answer_to(foretold);
        must_be(expect(t, master, foretold, 0), KST_ERROR_OK);
        must_be(expect(t, same_master ? master : other, back,
                       (uint8_t)((inactive ? INACTIVE : 0) | (loose ? ANY_PORT : 0))),
                KST_ERROR_OK);
        about("way %u", way);
        must_be(track_now(t, foretold).state, KST_RELATED);
        must_be(kst_expectation_count(t), !paired);
        must_be(track_now(t, back).state, KST_ESTABLISHED); /* nothing new: it meets none */
        must_be(kst_expectation_count(t), !paired);
        must_be(kst_statistics(t)->expect_new, 1);
        must_be(kst_statistics(t)->expect_delete, 1 + paired);
        free(t);
    }
}
END_TEST

/* Linux notes that it came when it begins to judge the packet, and the packet may be INVALID. */
START_TEST(an_invalid_first_packet_takes_it)
{
    const struct say fin = {.protocol = TCP, .from = 3, .to = 4, .flags = FIN | ACK};
    struct kst *t = table_new(config);
    must_be(expect(t, master_new(t, 1), fin, 0), KST_ERROR_OK);
    must_say(track_now(t, fin), KST_REASON_TCP_FIRST);
    must_be(kst_expectation_count(t), 0);
    must_be(kst_statistics(t)->expect_new, 1);
    struct say syn = fin;
    syn.flags = SYN;
    must_be(track_now(t, syn).state, KST_NEW);
    free(t);
}
END_TEST

START_TEST(a_full_table_leaves_it)
{
    struct kst *t = table_new((struct kst_config){.max = 2, .expectations = 2});
    const kst_id master = master_new(t, 1);
    const kst_id other = master_new(t, 2);
    must_be(expect(t, master, foretold, 0), KST_ERROR_OK);
    must_say(track_now(t, foretold), KST_REASON_TABLE_FULL);
    must_be(kst_expectation_count(t), 1);
    must_be(kst_statistics(t)->expect_new, 0);
    must(kst_delete(t, other));
    must_be(track_now(t, foretold).state, KST_RELATED);
    free(t);
}
END_TEST

/* Its master makes room for it. */
START_TEST(the_master_is_evicted_for_its_child)
{
    for (uint32_t expired = 0; expired < 2; expired++) {
        struct kst *t = table_new((struct kst_config){
            .max = 1, .expectations = 2, .evict = {KST_CLASS_ASSURED + 1}});
        struct kst_flow flow;
        const kst_id master = master_for(t, 1, NULL, 10000);
        must_be(expect(t, master, foretold, 0), KST_ERROR_OK);
        must_be(expect(t, master, answer_to(foretold), 0), KST_ERROR_OK);
        about("master %s", expired ? "expired" : "evicted");
        const struct kst_result result = track(t, expired ? 10000 : 9999, foretold);
        must_be_sound(t);
        must_say(result, expired ? KST_REASON_NONE : KST_REASON_TABLE_EVICTED);
        must_be(result.state, expired ? KST_NEW : KST_RELATED);
        must(kst_get(t, result.entry, &flow));
        must_be(flow.master, expired ? 0 : master);
        must(!kst_get(t, master, &flow));
        must_be(kst_expectation_count(t), 0);
        must_be(kst_statistics(t)->expect_delete, 2);
        free(t);
    }
}
END_TEST

/* ---- what is refused ---- */

START_TEST(refusals)
{
    struct kst *t = table_new(config), *without = table_new((struct kst_config){.max = 2});
    const kst_id master = master_for(t, 1, "ftp", 1000000);
    const kst_id gone = track(t, 0, stranger(1)).entry;
    must(kst_delete(t, gone));
    for (uint32_t row = 0;; row++) {
        struct kst_expectation x = to_expect(master, foretold, 0);
        struct kst *at = t;
        enum kst_error expected = KST_ERROR_EXPECT_TUPLE;
        switch (row) {
        case 0: x.master = 0; expected = KST_ERROR_NOT_FOUND; break;
        case 1: x.master = gone; expected = KST_ERROR_NOT_FOUND; break;
        case 2: x.master = UINT64_MAX; expected = KST_ERROR_NOT_FOUND; break;
        case 3:
            at = without;
            x.master = track(without, 0, stranger(1)).entry;
            expected = KST_ERROR_EXPECT_FULL;
            break;
        case 4: x.tuple.family = 0; break;
        case 5: x.tuple.family = 11; break;
        case 6: x.tuple.dst[4] = 1; break;
        case 7: x.tuple.src[15] = 1; break;
        case 8: x.tuple.protocol = ICMP6; break;
        case 9: x.tuple.protocol = ESP; break; /* has no ports */
        case 10: x.tuple.zone = 1; break;
        case 11: x.flags = 64; break;
        case 12: x.flags = 128; break; /* what keys have */
        case 13: x.class_ = KST_EXPECT_CLASSES; expected = KST_ERROR_EXPECT_CLASS; break;
        case 14: x.class_ = 255; expected = KST_ERROR_EXPECT_CLASS; break;
        case 15: x.child_helper = 255; expected = KST_ERROR_HELPER; break;
        case 16: x.child_helper = kst_helper_number("ftp"); expected = KST_ERROR_HELPER; break;
        default: free(t); free(without); return;
        }
        about("row %u", row);
        must_be(kst_expect(at, &x), expected);
        must_be(kst_expectation_count(at), 0);
        must_be_sound(at);
    }
}
END_TEST

/* A second one beside a first. */
START_TEST(clashes)
{
    const enum kst_error OK = KST_ERROR_OK, BUSY = KST_ERROR_EXPECT_BUSY,
                         EXISTS = KST_ERROR_EXPECT_EXISTS;
    const struct {
        uint8_t flags[2], from, sport, dport; /* of the second */
        bool other_master;
        uint8_t class_;
        enum kst_error expected;
        uint32_t count;
    } rows[] = {
        {{0, 0}, 3, 5, 6, false, 0, OK, 1}, /* the same again replaces */
        {{0, 0}, 3, 5, 6, true, 0, BUSY, 1},
        {{0, 0}, 3, 5, 6, false, 1, EXISTS, 1},
        {{0, 0}, 3, 5, 6, true, 1, BUSY, 1},
        {{0, 0}, 9, 5, 6, false, 0, OK, 2},
        {{0, 0}, 3, 9, 6, false, 0, OK, 2},
        {{0, 0}, 3, 5, 9, false, 0, OK, 2},
        {{ANY_SRC, ANY_SRC}, 9, 5, 6, false, 0, OK, 1}, /* the address does not count */
        {{ANY_SRC, ANY_SRC}, 9, 5, 6, true, 0, BUSY, 1},
        {{ANY_SRC, 0}, 9, 5, 6, false, 0, BUSY, 1},
        {{0, ANY_SRC}, 9, 5, 6, false, 0, BUSY, 1},
        {{ANY_SRC, ANY_PORT}, 9, 9, 6, false, 0, BUSY, 1}, /* 3:5 is met by both */
        {{ANY_SRC, 0}, 9, 9, 6, false, 0, OK, 2},
        {{ANY_PORT, 0}, 9, 9, 6, false, 0, OK, 2},
        {{ANY_PORT, 0}, 3, 9, 6, false, 0, BUSY, 1},
        {{ANY_PORT, ANY_PORT}, 3, 9, 6, false, 0, OK, 1},
        {{ANY_PORT, ANY_PORT}, 3, 9, 6, false, 1, EXISTS, 1},
        {{ANY_PORT | ANY_SRC, ANY_PORT | ANY_SRC}, 9, 9, 6, false, 0, OK, 1},
        {{ANY_PORT | ANY_SRC, ANY_PORT | ANY_SRC}, 9, 9, 7, false, 0, OK, 2},
        {{ANY_SRC, 0}, 0, 5, 6, false, 0, BUSY, 1}, /* the address that no address is written as */
        {{INACTIVE, PERMANENT}, 3, 5, 6, false, 0, OK, 1},
        {{INACTIVE, PERMANENT}, 3, 5, 6, true, 0, BUSY, 1},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct kst *t = table_new(config);
        const kst_id masters[2] = {master_new(t, 1), master_new(t, 2)};
        struct say second = foretold;
        must_be(expect(t, masters[0], foretold, rows[i].flags[0]), KST_ERROR_OK);
        const kst_id first = kst_expectation_next(t, 0);
        second.from = rows[i].from;
        second.sport = rows[i].sport;
        second.dport = rows[i].dport;
        struct kst_expectation x = to_expect(masters[rows[i].other_master], second, rows[i].flags[1]);
        if (second.from == 0)
            memset(x.tuple.src, 0, sizeof x.tuple.src);
        x.class_ = rows[i].class_;
        kst_track(t, 10000, NULL, 0, NULL);
        about("row %zu", i);
        must_be(kst_expect(t, &x), rows[i].expected);
        must_be_sound(t);
        must_be(kst_expectation_count(t), rows[i].count);
        must_be(foreseen(t, first), rows[i].expected != KST_ERROR_OK || rows[i].count == 2);
        must_be(kst_statistics(t)->expect_create, 1 + (rows[i].expected == KST_ERROR_OK));
        if (rows[i].expected == KST_ERROR_OK) { /* the time starts anew */
            must(kst_expectation_get(t, kst_expectation_own(t, x.master, 0), &x));
            must_be(x.timeout_ms, 60000);
            must_be(x.flags, rows[i].flags[1]);
        }
        free(t);
    }
}
END_TEST

/* What is over, but not yet collected, only takes room. */
START_TEST(the_expired_are_in_nobodys_way)
{
    for (uint32_t way = 0; way < 2; way++) {
        struct kst *t = table_new(config);
        const kst_id brief = master_for(t, 1, NULL, way == 0 ? 5000 : 1000000), heir = master_new(t, 2);
        struct kst_expectation x = to_expect(brief, foretold, 0);
        x.timeout_ms = way == 0 ? 60000 : 5000;
        must_be(kst_expect(t, &x), KST_ERROR_OK);
        about("%s over", way == 0 ? "the master's time is" : "its time is");
        kst_track(t, 4999, NULL, 0, NULL);
        must_be(expect(t, heir, foretold, 0), KST_ERROR_EXPECT_BUSY);
        kst_track(t, 5000, NULL, 0, NULL);
        must_be(kst_expectation_count(t), 1);
        must_be(kst_expectation_next(t, 0), 0);
        must_be(expect(t, heir, foretold, 0), KST_ERROR_OK);
        must_be(kst_expectation_count(t), 1);
        struct kst_flow flow;
        must(kst_get(t, track_now(t, foretold).entry, &flow));
        must_be(flow.master, heir);
        free(t);
    }
}
END_TEST

/* ---- limits ---- */

/* The newest so many of a class remain. */
START_TEST(limits_of_a_class)
{
    static const struct {
        const char *helper;
        uint8_t class_;
        uint32_t most;
    } rows[] = {{"ftp", 0, 1}, {"irc", 0, 8}, {"pptp", 0, 2}, {"irc", 1, 255}, {NULL, 0, 255}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 600});
        const kst_id master = master_for(t, 1, rows[i].helper, 1000000), other = master_new(t, 2);
        struct kst_expectation x = to_expect(master, foretold, 0);
        about("row %zu", i);
        x.tuple.dst_port = 1;
        x.class_ = 3;
        must_be(kst_expect(t, &x), KST_ERROR_OK); /* neither another class */
        x.class_ = rows[i].class_;
        x.tuple.dst_port = 2;
        x.master = other;
        must_be(kst_expect(t, &x), KST_ERROR_OK); /* nor another master counts */
        x.master = master;
        for (uint32_t n = 0; n < rows[i].most + 20; n++) {
            x.tuple.dst_port = (uint16_t)(100 + n);
            must_be(kst_expect(t, &x), KST_ERROR_OK);
            must_be(kst_expectation_count(t), 2 + (n < rows[i].most ? n + 1 : rows[i].most));
        }
        must_be_sound(t);
        kst_id id = 0; /* the newest first */
        for (uint32_t n = rows[i].most + 20; n-- > 20;) {
            id = kst_expectation_own(t, master, id);
            must(kst_expectation_get(t, id, &x));
            must_be(x.tuple.dst_port, 100 + n);
        }
        id = kst_expectation_own(t, master, id);
        must(kst_expectation_get(t, id, &x));
        must_be(x.class_, 3);
        must_be(kst_expectation_own(t, master, id), 0);
        must_be(kst_expectation_own(t, master, kst_expectation_own(t, other, 0)), 0); /* another's is no place to go on */
        free(t);
    }
}
END_TEST

START_TEST(limit_of_the_table)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .expectations = 5});
    const kst_id master = master_new(t, 1), ftp = master_for(t, 2, "ftp", 1000000);
    struct say say = foretold;
    uint32_t value;
    must(kst_setting(t, "nf_conntrack_expect_max", &value));
    must_be(value, 5);
    must_be(kst_set(t, "nf_conntrack_expect_max", 6), KST_ERROR_SETTING_RANGE);
    for (say.dport = 0; say.dport < 4; say.dport++)
        must_be(expect(t, master, say, 0), KST_ERROR_OK);
    must_be(expect(t, ftp, say, 0), KST_ERROR_OK);
    say.dport++;
    must_be(expect(t, master, say, 0), KST_ERROR_EXPECT_FULL);
    must_be(expect(t, ftp, say, 0), KST_ERROR_OK); /* its own oldest makes room */
    say.dport = 2;
    must_be(expect(t, master, say, 0), KST_ERROR_OK); /* so does the same */
    must_be(kst_set(t, "nf_conntrack_expect_max", 3), KST_ERROR_OK);
    must_be(kst_expectation_count(t), 5); /* nobody is thrown out */
    for (uint32_t left = 5; left > 2; left--) {
        say.dport = 50;
        must_be(expect(t, master, say, 0), KST_ERROR_EXPECT_FULL);
        must(kst_expectation_delete(t, kst_expectation_own(t, master, 0)));
    }
    must_be(expect(t, master, say, 0), KST_ERROR_OK);
    must_be(kst_set(t, "nf_conntrack_expect_max", 0), KST_ERROR_OK);
    say.dport = 51;
    must_be(expect(t, master, say, 0), KST_ERROR_EXPECT_FULL);
    free(t);
}
END_TEST

/* Many to one port, each from another host. */
START_TEST(limit_of_a_bucket)
{
    struct kst *t = table_new(config);
    const kst_id master = master_new(t, 1);
    struct say say = foretold;
    for (uint32_t i = 0; i < KST_EXPECT_CHAIN_MAX; i++) {
        say.from = (uint8_t)(100 + i);
        must_be(expect(t, master, say, 0), KST_ERROR_OK);
    }
    for (uint32_t i = 0; i < KST_EXPECT_CHAIN_MAX; i++) { /* each may start its time anew */
        say.from = (uint8_t)(100 + i);
        about("number %u", i);
        must_be(expect(t, master, say, 0), KST_ERROR_OK);
    }
    say.from = 99;
    must_be(expect(t, master, say, 0), KST_ERROR_EXPECT_FULL);
    say.dport = 999;
    must_be(expect(t, master, say, 0), KST_ERROR_OK); /* it is not the table that is full */
    must_be(kst_expectation_count(t), KST_EXPECT_CHAIN_MAX + 1);
    free(t);
}
END_TEST

/* ---- time, death, names ---- */

START_TEST(timeouts)
{
    static const struct {
        const char *helper;
        uint64_t given_ms, expected_ms;
    } rows[] = {{NULL, 1, 1},        {NULL, 5000, 5000}, {"ftp", 0, 300000}, {"irc", 0, 300000},
                {"ftp", 7000, 7000}, {NULL, 864000000, 864000000}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct kst *t = table_new((struct kst_config){.max = 2, .expectations = 2, .start_ms = 500});
        const kst_id master = master_for(t, 1, rows[i].helper, 8000000000);
        struct kst_expectation x = to_expect(master, foretold, 0);
        x.timeout_ms = rows[i].given_ms;
        must_be(kst_expect(t, &x), KST_ERROR_OK);
        const kst_id id = kst_expectation_next(t, 0);
        about("row %zu", i);
        must(kst_expectation_get(t, id, &x));
        must_be(x.timeout_ms, rows[i].expected_ms);
        must_be(x.id, id);
        must_be(x.master, master);
        must_be(x.helper, rows[i].helper != NULL ? kst_helper_number(rows[i].helper) : 0);
        kst_advance(t, 500 + rows[i].expected_ms - 1, 1000);
        must(kst_expectation_get(t, id, &x));
        must_be(x.timeout_ms, 1);
        kst_track(t, 500 + rows[i].expected_ms, NULL, 0, NULL); /* only the clock moves */
        must(!foreseen(t, id));
        must(!kst_expectation_renew(t, id, 0, 9000));
        must(!kst_expectation_delete(t, id));
        must_be(kst_expectation_next(t, 0), 0);
        must_be(kst_expectation_own(t, master, 0), 0);
        must_be(kst_expectation_count(t), 1);
        must_be(track_now(t, foretold).state, KST_NEW);
        must(kst_advance(t, t->now_ms, 1000) >= 1);
        must_be(kst_expectation_count(t), 0);
        must_be(kst_statistics(t)->expect_delete, 1);
        must_be(kst_statistics(t)->expect_new, 0);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* Longer, shorter, and for ever. */
START_TEST(renewals)
{
    static const uint64_t times_ms[] = {1, 100, 60000, 60001, 4000000, UINT64_MAX};
    for (size_t i = 0; i < COUNT(times_ms); i++) {
        struct kst *t = table_new(config);
        must_be(expect(t, master_for(t, 1, NULL, 8000000000), foretold, 0), KST_ERROR_OK);
        const kst_id id = kst_expectation_next(t, 0);
        kst_advance(t, 1000, 100);
        must(kst_expectation_renew(t, id, 0, times_ms[i]));
        must_be_sound(t);
        about("%llu ms", (unsigned long long)times_ms[i]);
        kst_advance(t, times_ms[i] < 10000000 ? 1000 + times_ms[i] - 1 : 7000000000, 1000);
        must(foreseen(t, id));
        must_be_sound(t);
        if (times_ms[i] < 10000000) {
            kst_advance(t, 1000 + times_ms[i], 1000);
            must_be(kst_expectation_count(t), 0);
        }
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* Every way in which a master can go takes what it has foretold along, and nothing else. */
START_TEST(death_with_the_master)
{
    enum { EXPIRED, COLLECTED, DELETED, EVICTED, FLUSHED, REFUSED, CLOSED, REPLACED, WAYS };
    const struct say to_the_end[] = {tcp(1, SYN | ACK, 5000, 1001, 0), tcp(0, ACK, 1001, 5001, 0),
                                     tcp(0, FIN | ACK, 1001, 5001, 0),
                                     tcp(1, FIN | ACK, 5001, 1002, 0), tcp(0, ACK, 1002, 5002, 0)};
    for (uint32_t way = 0; way < WAYS; way++) {
        struct kst *t = table_new((struct kst_config){.max = 2, .expectations = 16});
        const struct kst_result first = track(t, 0, tcp(0, SYN, 1000, 0, 0));
        const kst_id master = first.entry, other = master_new(t, 2);
        struct say say = foretold;
        kst_id ids[10];
        for (say.dport = 0; say.dport < 10; say.dport++) {
            struct kst_expectation x = to_expect(say.dport % 2 == 0 ? master : other, say, 0);
            x.timeout_ms = 500000;
            must_be(kst_expect(t, &x), KST_ERROR_OK);
            ids[say.dport] = kst_expectation_own(t, x.master, 0);
        }
        about("way %u", way);
        switch (way) {
        case EXPIRED: kst_track(t, 120000, NULL, 0, NULL); break; /* not collected */
        case COLLECTED: kst_advance(t, 120000, 1000); break;
        case DELETED: must(kst_delete(t, master)); break;
        case EVICTED: must_say(track(t, 0, stranger(1)), KST_REASON_TABLE_EVICTED); break;
        case FLUSHED: kst_flush(t); break;
        case REFUSED: must(kst_refuse(t, &first)); break;
        case CLOSED: must_say(track(t, 0, tcp(1, RST | ACK, 0, 1001, 0)), KST_REASON_TCP_REFUSED); break;
        default:
            for (size_t i = 0; i < COUNT(to_the_end); i++)
                must_be(track(t, 0, to_the_end[i]).entry, master);
            must_be(kst_expectation_count(t), 10);
            must_be(track(t, 0, tcp(0, SYN, 900000, 0, 0)).flags, KST_CREATED);
            must_be(kst_statistics(t)->gone[KST_GONE_REPLACED], 1);
            break;
        }
        must_be_sound(t);
        must_be(kst_expectation_own(t, master, 0), 0);
        for (uint32_t i = 0; i < 10; i++) {
            struct kst_expectation x;
            const bool lives = i % 2 == 1 && way != FLUSHED;
            must_be(kst_expectation_get(t, ids[i], &x), lives);
            must(!lives || x.master == other);
        }
        must_be(kst_expectation_count(t), way == FLUSHED ? 0 : way == EXPIRED ? 10 : 5);
        kst_advance(t, t->now_ms, 1000);
        must_be_sound(t);
        must_be(kst_expectation_count(t), way == FLUSHED ? 0 : 5);
        must_be(kst_statistics(t)->expect_delete, way == FLUSHED ? 10 : 5);
        free(t);
    }
}
END_TEST

/* A master whose time is over foretells nothing any more, though nobody has collected it. */
START_TEST(an_expired_master)
{
    struct kst *t = table_new(config);
    const kst_id master = master_for(t, 1, NULL, 5000);
    must_be(expect(t, master, foretold, 0), KST_ERROR_OK); /* for a minute */
    const kst_id id = kst_expectation_next(t, 0);
    kst_track(t, 5000, NULL, 0, NULL);
    must(!foreseen(t, id));
    must_be(kst_expectation_next(t, 0), 0);
    must_be(kst_expectation_own(t, master, 0), 0);
    must(!kst_expectation_delete(t, id));
    must(!kst_expectation_renew(t, id, 0, 1000));
    must_be(expect(t, master, stranger(1), 0), KST_ERROR_NOT_FOUND);
    must_be(kst_count(t), 1);
    const struct kst_result result = track_now(t, foretold);
    must_be(result.state, KST_NEW);
    struct kst_flow flow;
    must(kst_get(t, result.entry, &flow));
    must_be(flow.master, 0);
    kst_advance(t, 5000, 1000);
    must_be(kst_expectation_count(t), 0);
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(names)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .expectations = 4});
    kst_id met[200];
    uint32_t count = 0;
    must_be(kst_expectation_next(t, 0), 0);
    for (uint32_t round = 0; round < 50; round++) { /* always in the same few places */
        const kst_id master = master_new(t, 1);
        struct say say = foretold;
        for (say.dport = 0; say.dport < 4; say.dport++)
            must_be(expect(t, master, say, 0), KST_ERROR_OK);
        for (kst_id id = kst_expectation_next(t, 0); id != 0; id = kst_expectation_next(t, id)) {
            for (uint32_t i = 0; i < count; i++)
                must(met[i] != id);
            must(count < COUNT(met));
            met[count++] = id;
        }
        must_be(count, 4 * (round + 1));
        if (round % 2 == 0)
            kst_flush(t);
        else
            must(kst_delete(t, master));
        for (uint32_t i = 0; i < count; i++) {
            must(!foreseen(t, met[i]));
            must(!kst_expectation_delete(t, met[i]));
            must(!kst_expectation_renew(t, met[i], 0, 1000));
            must_be(kst_expectation_own(t, master, met[i]), 0);
        }
    }
    kst__expectations_of(t)->serial = UINT32_MAX; /* 2^32 later */
    const kst_id master = master_new(t, 1), other = master_new(t, 2);
    must_be(expect(t, master, foretold, 0), KST_ERROR_OK);
    const kst_id here = kst_expectation_next(t, 0);
    must(here >> 32 != 0);
    const kst_id nobody[] = {0, UINT64_MAX, UINT32_MAX, here + 1, here - 1, here & UINT32_MAX, 4,
                             here + (UINT64_C(1) << 32), here ^ UINT64_C(1) << 63, master};
    for (size_t i = 0; i < COUNT(nobody); i++) {
        struct kst_expectation x;
        memset(&x, 0x55, sizeof x);
        about("name %zu", i);
        if (nobody[i] == here)
            continue;
        must(!kst_expectation_get(t, nobody[i], &x));
        must_be(x.flags, 0x55); /* left alone */
        must(!kst_expectation_delete(t, nobody[i]));
        must(!kst_expectation_renew(t, nobody[i], 0, 1));
        must(nobody[i] == 0 || kst_expectation_own(t, master, nobody[i]) == 0);
    }
    must_be(kst_expectation_own(t, other, 0), 0);
    must_be(kst_expectation_own(t, other, here), 0); /* not its own */
    must_be(kst_expectation_own(t, 4711, 0), 0);
    must_be(kst_expectation_next(t, UINT64_MAX), 0);
    must(foreseen(t, here));
    free(t);
    t = table_new((struct kst_config){.max = 2}); /* no helpers, nothing expected */
    const kst_id plain = master_new(t, 1);
    must_be(kst_expectation_next(t, 0), 0);
    must_be(kst_expectation_own(t, plain, 0), 0);
    must_be(kst_expectation_count(t), 0);
    must(!foreseen(t, 1));
    free(t);
}
END_TEST

START_TEST(iteration_with_deletions)
{
    struct kst *t = table_new(config);
    const kst_id master = master_new(t, 1);
    for (uint32_t way = 0; way < 3; way++) {
        struct say say = foretold;
        uint32_t met = 0;
        for (say.dport = 0; say.dport < 32; say.dport++)
            must_be(expect(t, master, say, 0), KST_ERROR_OK);
        for (kst_id id = way == 2 ? kst_expectation_own(t, master, 0) : kst_expectation_next(t, 0), next;
             id != 0; id = next) {
            next = way == 2 ? kst_expectation_own(t, master, id) : 0;
            if (way != 0)
                must(kst_expectation_delete(t, id));
            if (way != 2)
                next = kst_expectation_next(t, id);
            must_be_sound(t);
            met++;
        }
        about("way %u", way);
        must_be(met, 32);
        must_be(kst_expectation_count(t), way == 0 ? 32 : 0);
    }
    free(t);
}
END_TEST

/* ---- at random, against a plain list ---- */

enum { MASTERS = 4, LIST_MAX = 16 };

struct listed {
    kst_id id;
    uint64_t expires_ms;
    struct kst_tuple tuple;
    uint32_t master;
    uint8_t flags, class_;
};

static struct listed list[LIST_MAX]; /* the oldest first */
static uint32_t listed;

struct life {
    kst_id id;
    uint64_t expires_ms;
};

static void list_drop(uint32_t i)
{
    memmove(&list[i], &list[i + 1], (--listed - i) * sizeof *list);
}

static void list_drop_of(uint32_t master)
{
    for (uint32_t i = listed; i-- > 0;)
        if (list[i].master == master)
            list_drop(i);
}

static bool list_meets(const struct kst_tuple *a, const struct kst_tuple *b, uint32_t loose)
{
    return memcmp(a->dst, b->dst, 16) == 0 && a->dst_port == b->dst_port &&
           ((loose & ANY_SRC) || memcmp(a->src, b->src, 16) == 0) &&
           ((loose & ANY_PORT) || a->src_port == b->src_port);
}

static uint32_t list_most(uint32_t master, uint8_t class_)
{
    static const uint32_t most[MASTERS] = {1, 8, 2, 255};
    return class_ == 0 ? most[master] : 255;
}

static enum kst_error list_expect(const struct listed *x, uint32_t max)
{
    uint32_t same = LIST_MAX, of_class = 0, oldest = LIST_MAX;
    for (uint32_t i = 0; i < listed; i++) {
        if (list_meets(&list[i].tuple, &x->tuple, list[i].flags | x->flags)) {
            if (list[i].master == x->master && memcmp(&list[i].tuple, &x->tuple, sizeof x->tuple) == 0 &&
                ((list[i].flags ^ x->flags) & (ANY_SRC | ANY_PORT)) == 0)
                same = i;
            else
                return KST_ERROR_EXPECT_BUSY;
        }
    }
    if (same != LIST_MAX && list[same].class_ != x->class_)
        return KST_ERROR_EXPECT_EXISTS;
    if (same != LIST_MAX)
        list_drop(same);
    for (uint32_t i = listed; i-- > 0;) {
        if (list[i].master == x->master && list[i].class_ == x->class_) {
            of_class++;
            oldest = i;
        }
    }
    if (of_class >= list_most(x->master, x->class_))
        list_drop(oldest);
    if (listed >= max)
        return KST_ERROR_EXPECT_FULL;
    list[listed++] = *x;
    return KST_ERROR_OK;
}

/* Whom the packet meets; what it leaves. */
static bool list_packet(const struct kst_tuple *tuple, uint32_t *master)
{
    for (uint32_t i = 0; i < listed; i++) {
        if ((list[i].flags & INACTIVE) || !list_meets(&list[i].tuple, tuple, list[i].flags))
            continue;
        struct kst_tuple back = list[i].tuple;
        *master = list[i].master;
        if (list[i].flags & PERMANENT)
            return true;
        memcpy(back.src, list[i].tuple.dst, 16);
        memcpy(back.dst, list[i].tuple.src, 16);
        back.src_port = list[i].tuple.dst_port;
        back.dst_port = list[i].tuple.src_port;
        list_drop(i);
        for (uint32_t j = 0; j < listed; j++) {
            if (list[j].master == *master && !(list[j].flags & INACTIVE) &&
                memcmp(&list[j].tuple, &back, sizeof back) == 0) {
                list_drop(j);
                break;
            }
        }
        return true;
    }
    return false;
}

static void must_be_the_list(const struct kst *t, const struct life *lives)
{
    uint32_t met = 0;
    for (uint32_t i = 0; i < listed; i++) {
        struct kst_expectation x;
        must(kst_expectation_get(t, list[i].id, &x));
        must(memcmp(&x.tuple, &list[i].tuple, sizeof x.tuple) == 0);
        must_be(x.flags, list[i].flags);
        must_be(x.class_, list[i].class_);
        must_be(x.master, lives[list[i].master].id);
        must_be(x.timeout_ms, list[i].expires_ms - t->now_ms);
    }
    must_be(kst_expectation_count(t), listed);
    for (kst_id id = kst_expectation_next(t, 0); id != 0; id = kst_expectation_next(t, id))
        met++;
    must_be(met, listed);
    for (uint32_t master = 0; master < MASTERS; master++) {
        kst_id id = kst_expectation_own(t, lives[master].id, 0);
        for (uint32_t i = listed; i-- > 0;) {
            if (list[i].master != master)
                continue;
            must_be(id, list[i].id);
            id = kst_expectation_own(t, lives[master].id, id);
        }
        must_be(id, 0);
    }
}

static struct say draw_child(void)
{
    struct say say = {.protocol = UDP};
    say.from = (uint8_t)(3 + draw_below(2));
    say.to = (uint8_t)(3 + draw_below(2));
    say.sport = (uint16_t)(5 + draw_below(2));
    say.dport = (uint16_t)(5 + draw_below(2));
    return say;
}

/* Whether each of the four places where all goes has a bucket of its own. */
static bool apart(const struct kst *t)
{
    const uint32_t *buckets[4];
    for (uint32_t i = 0; i < 4; i++) {
        const struct kst_tuple tuple = tuple_of((struct say){
            .protocol = UDP, .to = (uint8_t)(3 + i / 2), .dport = (uint16_t)(5 + i % 2)});
        buckets[i] = kst__expect_bucket(t, &tuple);
        for (uint32_t j = 0; j < i; j++)
            if (buckets[i] == buckets[j])
                return false;
    }
    return true;
}

START_TEST(as_a_plain_list)
{
    static const char *const helpers[MASTERS] = {"ftp", "irc", "pptp", NULL};
    uint32_t answers[KST_ERRORS] = {0}, children = 0, strangers = 0, pairs = 0;
    draw_state = 11;
    for (int run = 0; run < 60; run++) {
        struct kst_config walk = {.max = 40, .expectations = LIST_MAX};
        struct kst *t = NULL;
        do {
            free(t);
            walk.seed[0] = draw();
            t = table_new(walk);
        } while (!apart(t));
        struct life lives[MASTERS] = {{0}};
        uint32_t max = LIST_MAX;
        listed = 0;
        for (uint32_t step = 0; step < 400; step++) {
            const uint32_t what = draw_below(20);
            about("run %d, step %u, operation %u", run, step, what);
            for (uint32_t m = 0; m < MASTERS; m++) { /* there is always one of each */
                if (lives[m].id == 0) {
                    const uint64_t timeout_ms = 1 + draw_below(40000);
                    lives[m].id = master_for(t, m, helpers[m], timeout_ms);
                    lives[m].expires_ms = t->now_ms + timeout_ms;
                }
            }
            if (what < 9) {
                struct kst_expectation x = to_expect(0, draw_child(), 0);
                struct listed item = {.master = draw_below(MASTERS), .class_ = draw_one_in(4)};
                item.flags = draw_one_in(3) ? (uint8_t)draw_below(32) : 0;
                x.master = lives[item.master].id;
                x.flags = item.flags;
                x.class_ = item.class_;
                x.timeout_ms = 1 + draw_below(20000);
                item.expires_ms = t->now_ms + x.timeout_ms;
                if (item.flags & ANY_SRC)
                    memset(x.tuple.src, 0, 16);
                if (item.flags & ANY_PORT)
                    x.tuple.src_port = 0;
                item.tuple = x.tuple;
                const enum kst_error expected = list_expect(&item, max), got = kst_expect(t, &x);
                must_be(got, expected);
                answers[got]++;
                if (got == KST_ERROR_OK)
                    list[listed - 1].id = kst_expectation_own(t, x.master, 0);
            } else if (what < 14) {
                const struct say say = draw_child();
                const struct kst_tuple tuple = tuple_of(say);
                const bool known = kst_find(t, &tuple, NULL) != 0;
                uint32_t master = 0;
                const uint32_t before = listed;
                const bool met = !known && list_packet(&tuple, &master);
                const struct kst_result result = track(t, t->now_ms, say);
                struct kst_flow flow;
                must(known || result.state == (met ? KST_RELATED : KST_NEW));
                must(kst_get(t, result.entry, &flow));
                must(known || flow.master == (met ? lives[master].id : 0));
                children += met;
                strangers += !known && !met;
                pairs += met && before - listed == 2;
                if (!draw_one_in(8))
                    must(kst_delete(t, result.entry));
            } else if (what == 14 && listed > 0) {
                const uint32_t i = draw_below(listed);
                must(kst_expectation_delete(t, list[i].id));
                list_drop(i);
            } else if (what == 15 && listed > 0) {
                const uint32_t i = draw_below(listed);
                const uint8_t flags = (uint8_t)(draw_below(4) * PERMANENT), may = PERMANENT | INACTIVE;
                const uint64_t timeout_ms = 1 + draw_below(20000);
                must(kst_expectation_renew(t, list[i].id, flags, timeout_ms));
                list[i].flags = (uint8_t)((list[i].flags & ~may) | (flags & may));
                list[i].expires_ms = t->now_ms + timeout_ms;
            } else if (what == 16) {
                const uint32_t m = draw_below(MASTERS);
                must(kst_delete(t, lives[m].id));
                lives[m].id = 0;
                list_drop_of(m);
            } else if (what == 17) {
                max = draw_below(LIST_MAX + 1);
                must_be(kst_set(t, "nf_conntrack_expect_max", max), KST_ERROR_OK);
            } else if (what == 18) {
                kst_advance(t, t->now_ms + draw_below(8000), UINT32_MAX);
                for (uint32_t m = 0; m < MASTERS; m++) {
                    if (lives[m].id != 0 && lives[m].expires_ms <= t->now_ms) {
                        lives[m].id = 0;
                        list_drop_of(m);
                    }
                }
                for (uint32_t i = listed; i-- > 0;)
                    if (list[i].expires_ms <= t->now_ms)
                        list_drop(i);
            } else if (draw_one_in(20)) {
                kst_flush(t);
                memset(lives, 0, sizeof lives);
                listed = 0;
            } else { /* the block goes elsewhere */
                const size_t bytes = kst_bytes(&walk);
                void *elsewhere = aligned_alloc(KST_ALIGN, bytes);
                ck_assert_ptr_nonnull(elsewhere);
                memcpy(elsewhere, t, bytes);
                memset(t, 0xdb, bytes);
                free(t);
                t = elsewhere;
            }
            must_be_sound(t);
            must_be_the_list(t, lives);
        }
        free(t);
    }
    about("all runs"); /* nothing of this was rare */
    must(answers[KST_ERROR_OK] > 1000 && answers[KST_ERROR_EXPECT_BUSY] > 500 &&
         answers[KST_ERROR_EXPECT_EXISTS] > 50 && answers[KST_ERROR_EXPECT_FULL] > 50);
    must(children > 200 && strangers > 200 && pairs > 10);
}
END_TEST

SUITE("expect", nothing_without_memory, translation_is_nothing_without_nat, masks,
      the_same_bytes_of_another_family, keys_lie_among_them, families_and_zones, the_child, permanent_and_inactive, both_directions,
      an_invalid_first_packet_takes_it, a_full_table_leaves_it, the_master_is_evicted_for_its_child,
      refusals, clashes, the_expired_are_in_nobodys_way, limits_of_a_class, limit_of_the_table,
      limit_of_a_bucket, timeouts, renewals, death_with_the_master, an_expired_master, names,
      iteration_with_deletions, as_a_plain_list)
