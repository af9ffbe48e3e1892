/* SPDX-License-Identifier: MIT */
/* test_limit.c - who may have how many: connections that are not ASSURED, a source's, a zone's; what is
 * refused or evicted at a limit says so, and nobody ASSURED pays for it. States and ages are counted
 * as a walk over the table counts them. */
#define KST_IMPLEMENTATION
#include "support.h"

static struct say segment(uint8_t host, uint16_t port, bool answer, uint8_t flags, uint32_t seq,
                          uint32_t ack)
{
    return (struct say){.protocol = TCP, .from = answer ? 200 : host, .to = answer ? host : 200,
                        .sport = answer ? 80 : port, .dport = answer ? port : 80, .flags = flags,
                        .seq = seq, .ack = ack};
}

/* A SYN, its answer, and the ACK that makes it ASSURED: what the first of them came to. */
static struct kst_result shake_hands(struct kst *t, uint64_t now_ms, uint8_t host, uint16_t port)
{
    const struct kst_result first = track(t, now_ms, segment(host, port, false, SYN, 1000, 0));
    if (first.entry != 0) {
        must_be(track(t, now_ms, segment(host, port, true, SYN | ACK, 5000, 1001)).state, KST_ESTABLISHED);
        must_be(track(t, now_ms, segment(host, port, false, ACK, 1001, 5001)).state, KST_ESTABLISHED);
    }
    return first;
}

static struct kst_result knock(struct kst *t, uint64_t now_ms, uint8_t host, uint16_t port)
{
    return track(t, now_ms, (struct say){.protocol = UDP, .from = host, .to = 200, .sport = port, .dport = 53});
}

START_TEST(a_share_is_reserved)
{
    struct kst *t = table_new((struct kst_config){.max = 10, .residence_ms = {0, 1000}});
    must_be(kst_set(t, "keepstate_half_open_max", 40), KST_ERROR_OK);
    for (uint16_t i = 0; i < 4; i++)
        must_say(knock(t, 0, 1, i), KST_REASON_NONE);
    for (uint16_t i = 4; i < 9; i++) { /* the oldest goes, with room for six more */
        must_say(knock(t, 0, 1, i), KST_REASON_HALF_OPEN_EVICTED);
        must_be(kst_count(t), 4);
    }
    must_be(kst_column(t, KST_COLUMN_EARLY_DROP), 5);
    for (uint16_t i = 0; i < 8; i++) { /* who completes takes none of the share */
        const struct kst_result result = shake_hands(t, 0, 2, i);
        must_say(result, i == 0 ? KST_REASON_HALF_OPEN_EVICTED
                         : i < 7 ? KST_REASON_NONE : KST_REASON_TABLE_EVICTED);
        must_be(kst_class_count(t, KST_CLASS_ASSURED), i + 1u);
        must_be_sound(t);
    }
    must_be(kst_count(t), 10);
    free(t);
}
END_TEST

START_TEST(nobody_to_evict)
{
    struct kst *t = table_new((struct kst_config){.max = 10, .residence_ms = {1000}, .evict = {1}});
    must_be(kst_set(t, "keepstate_half_open_max", 20), KST_ERROR_OK);
    must_say(knock(t, 0, 1, 1), KST_REASON_NONE);
    must_say(knock(t, 640, 1, 2), KST_REASON_NONE);
    const struct kst_result refused = knock(t, 900, 1, 3); /* none has stayed for a second */
    must_say(refused, KST_REASON_HALF_OPEN_FULL);
    must_be(refused.verdict, KST_DROP);
    must_be(kst_count(t), 2);
    must_be(kst_column(t, KST_COLUMN_DROP), 1);
    must_say(knock(t, 1064, 1, 3), KST_REASON_HALF_OPEN_EVICTED); /* to within 64 ms */
    must_say(knock(t, 100000, 1, 4), KST_REASON_NONE); /* all have expired */
    must_be(kst_count(t), 1);
    must_be_sound(t);
    free(t);
}
END_TEST

/* A share of next to nothing still lets one in at a time. */
START_TEST(one_at_a_time)
{
    struct kst *t = table_new((struct kst_config){.max = 5});
    must_be(kst_set(t, "keepstate_half_open_max", 1), KST_ERROR_OK);
    for (uint16_t i = 0; i < 5; i++)
        must_say(shake_hands(t, 0, 1, i), KST_REASON_NONE);
    must_be(kst_count(t), 5);
    must_say(knock(t, 0, 1, 9), KST_REASON_TABLE_FULL);
    free(t);
}
END_TEST

START_TEST(a_source_has_its_share)
{
    static const uint8_t first[4] = {10, 0, 0, 1}, second[4] = {10, 0, 0, 2};
    struct kst *t = table_new((struct kst_config){.max = 20, .features = KST_WITH_LIMITS});
    must_be(kst_set(t, "keepstate_source_max", 3), KST_ERROR_OK);
    for (uint16_t i = 0; i < 3; i++)
        must_say(knock(t, 0, 1, i), KST_REASON_NONE);
    const struct kst_result refused = knock(t, 0, 1, 3);
    must_say(refused, KST_REASON_SOURCE_LIMIT);
    must_be(refused.verdict, KST_DROP);
    must_say(knock(t, 0, 1, 2), KST_REASON_NONE); /* of a known one */
    must_say(knock(t, 0, 2, 3), KST_REASON_NONE); /* another's */
    must_be(kst_source_count(t, 0, KST_IPV4, first), 3);
    must_be(kst_source_count(t, 0, KST_IPV4, second), 1);
    must_be(kst_source_count(t, 7, KST_IPV4, first), 0);
    must_be(kst_source_count(t, 0, KST_IPV4, NULL), 4);
    must_be_sound(t);
    must(kst_delete(t, kst_next(t, 0)));
    must_be(kst_source_count(t, 0, KST_IPV4, first), 2);
    must_say(knock(t, 0, 1, 4), KST_REASON_NONE);
    must_say(knock(t, 0, 1, 5), KST_REASON_SOURCE_LIMIT);
    must_say(knock(t, 30000, 1, 6), KST_REASON_NONE); /* what expired makes way */
    kst_flush(t);
    must_be(kst_source_count(t, 0, KST_IPV4, NULL), 0);
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(a_network_is_a_source)
{
    uint8_t address[16] = {10, 0, 0, 9};
    struct kst *t = table_new((struct kst_config){
        .max = 20, .features = KST_WITH_LIMITS, .source_prefix = {29, 126}});
    must_be(kst_set(t, "keepstate_source_max", 2), KST_ERROR_OK);
    must_say(knock(t, 0, 8, 1), KST_REASON_NONE);
    must_say(knock(t, 0, 15, 1), KST_REASON_NONE);
    must_say(knock(t, 0, 9, 1), KST_REASON_SOURCE_LIMIT);
    must_say(knock(t, 0, 16, 1), KST_REASON_NONE);
    must_be(kst_source_count(t, 0, KST_IPV4, address), 2);
    for (uint8_t host = 4; host < 9; host++)
        must_say(track(t, 0, (struct say){.protocol = UDP, .v6 = true, .from = host, .to = 99}),
                 host == 6 || host == 7 ? KST_REASON_SOURCE_LIMIT : KST_REASON_NONE);
    must_be_sound(t);
    free(t);
    t = table_new((struct kst_config){.max = 20, .features = KST_WITH_LIMITS, .source_prefix = {25, 121}});
    must_be(kst_set(t, "keepstate_source_max", 1), KST_ERROR_OK);
    for (uint8_t v6 = 0; v6 < 2; v6++) /* the one bit more counts */
        for (uint8_t i = 0; i < 4; i++)
            must_say(track(t, 0, (struct say){.protocol = UDP, .v6 = v6, .from = (uint8_t)(127 + i), .to = 99}),
                     i < 2 ? KST_REASON_NONE : KST_REASON_SOURCE_LIMIT);
    free(t);
    t = table_new((struct kst_config){.max = 20, .features = KST_WITH_LIMITS, .source_prefix = {32, 128}});
    must_be(kst_set(t, "keepstate_source_max", 1), KST_ERROR_OK);
    for (uint8_t v6 = 0; v6 < 2; v6++) /* each address is one */
        for (uint16_t i = 0; i < 4; i++)
            must_say(track(t, 0, (struct say){.protocol = UDP, .v6 = v6, .from = (uint8_t)(8 + i / 2), .to = 99, .dport = i}),
                     i % 2 == 1 ? KST_REASON_SOURCE_LIMIT : KST_REASON_NONE);
    must_be_sound(t);
    free(t);
}
END_TEST

/* By default an IPv6 source is its /64: whoever has one has all its addresses. */
START_TEST(usual_prefixes)
{
    struct kst *t = table_new((struct kst_config){.max = 20, .features = KST_WITH_LIMITS});
    must_be(kst_set(t, "keepstate_source_max", 1), KST_ERROR_OK);
    must_say(track(t, 0, (struct say){.protocol = UDP, .v6 = true, .from = 1, .to = 99}), KST_REASON_NONE);
    must_say(track(t, 0, (struct say){.protocol = UDP, .v6 = true, .from = 2, .to = 99}),
             KST_REASON_SOURCE_LIMIT);
    must_say(knock(t, 0, 1, 1), KST_REASON_NONE);
    must_say(knock(t, 0, 2, 1), KST_REASON_NONE);
    free(t);
}
END_TEST

START_TEST(a_zone_has_its_share)
{
    struct kst *t = table_new((struct kst_config){.max = 20, .features = KST_WITH_LIMITS});
    must_be(kst_set(t, "keepstate_zone_max", 2), KST_ERROR_OK);
    for (uint16_t zone = 0; zone < 3; zone++)
        for (uint8_t host = 1; host < 5; host++) {
            const struct say say = {.protocol = UDP, .from = host, .to = 200, .v6 = host == 2};
            const struct wire w = wire_of(&say);
            struct kst_result result;
            kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = w.size, .zone = zone}, 1, &result);
            must_say(result, host < 3 ? KST_REASON_NONE : KST_REASON_ZONE_LIMIT);
            must_be(kst_source_count(t, zone, KST_IPV4, NULL), host < 2 ? host : 2u);
        }
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(limits_need_memory)
{
    struct kst *t = table_new((struct kst_config){.max = 2});
    must_be(kst_set(t, "keepstate_source_max", 1), KST_ERROR_SETTING_FEATURE);
    must_be(kst_set(t, "keepstate_zone_max", 1), KST_ERROR_SETTING_FEATURE);
    must_be(kst_set(t, "keepstate_source_max", 0), KST_ERROR_OK);
    knock(t, 0, 1, 1);
    must_be(kst_source_count(t, 0, KST_IPV4, NULL), 0);
    must_be(kst_bytes(&(struct kst_config){.max = 1, .source_prefix = {33, 0}}), 0);
    must_be(kst_bytes(&(struct kst_config){.max = 1, .source_prefix = {0, 129}}), 0);
    free(t);
}
END_TEST

START_TEST(insertions_count_too)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .features = KST_WITH_LIMITS});
    struct kst_flow flow = {.timeout_ms = 1000};
    enum kst_error why;
    must_be(kst_set(t, "keepstate_source_max", 1), KST_ERROR_OK);
    must_be(kst_set(t, "keepstate_half_open_max", 50), KST_ERROR_OK);
    for (uint8_t host = 1; host < 5; host++) {
        flow.tuple[0] = tuple_of((struct say){.protocol = UDP, .from = host, .to = 200});
        flow.tuple[1] = tuple_of((struct say){.protocol = UDP, .from = 200, .to = host});
        flow.status = host == 3 ? KST_SEEN_REPLY | KST_ASSURED : 0;
        must_be(kst_insert(t, &flow, &why) != 0, host < 4);
        must_be(why, host < 4 ? KST_ERROR_OK : KST_ERROR_LIMIT);
        flow.tuple[0].src_port = flow.tuple[1].dst_port = 9;
        must_be(kst_insert(t, &flow, &why), 0);
        must_be(why, KST_ERROR_LIMIT);
    }
    must_be_sound(t);
    free(t);
}
END_TEST

/* Who waits for its verdict is held to the same limits, before and after. */
START_TEST(whoever_waits_counts_too)
{
    static const char *const settings[] = {"keepstate_source_max", "keepstate_zone_max"};
    static const enum kst_reason reasons[] = {KST_REASON_SOURCE_LIMIT, KST_REASON_ZONE_LIMIT};
    for (uint32_t zone = 0; zone < 2; zone++) {
        struct kst *t = table_new((struct kst_config){.max = 8, .features = KST_WITH_LIMITS, .expectations = 2});
        must_be(kst_set(t, settings[zone], 2), KST_ERROR_OK);
        must_say(knock(t, 0, 1, 1), KST_REASON_NONE);
        const struct say say = {.protocol = UDP, .from = 1, .to = 200, .sport = 2, .dport = 53};
        const struct wire w = wire_of(&say);
        const struct kst_packet packet = {.data = w.data, .size = w.size, .flags = KST_PACKET_DEFER};
        struct kst_result r;
        kst_track(t, 0, &packet, 1, &r);
        about("%s", settings[zone]);
        must_say(r, KST_REASON_NONE);
        const struct kst_flow flow = flow_of((struct say){.protocol = UDP, .from = 1, .to = 9, .sport = 7}, 1000);
        must(kst_insert(t, &flow, NULL) != 0); /* another takes the last place meanwhile */
        must_be(kst_confirm(t, 0, &packet, &r, NULL, NULL, 0), reasons[zone]);
        must_be(r.verdict, KST_DROP);
        must_be(kst_count(t), 2);
        must_be_sound(t);
        kst_track(t, 0, &packet, 1, &r); /* now it need not wait at all */
        must_say(r, reasons[zone]);
        must_be(r.verdict, KST_DROP);
        must_be(r.entry, 0);
        must_be(kst_statistics(t)->reasons[reasons[zone]], 2);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* What was foretold and found no place may come again. */
START_TEST(what_finds_no_place_is_still_expected)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .features = KST_WITH_LIMITS, .expectations = 2});
    struct kst_expectation x = {.master = knock(t, 0, 9, 9).entry, .timeout_ms = 1000};
    const struct say child = {.protocol = UDP, .from = 1, .to = 200, .sport = 2, .dport = 53};
    x.tuple = tuple_of(child);
    must_be(kst_expect(t, &x), KST_ERROR_OK);
    for (uint32_t zone = 0; zone < 2; zone++) {
        const char *setting = zone ? "keepstate_zone_max" : "keepstate_source_max";
        must_say(knock(t, 0, 1, (uint16_t)(50 + zone)), KST_REASON_NONE);
        must_be(kst_set(t, setting, 1), KST_ERROR_OK);
        must_say(track(t, 0, child), zone ? KST_REASON_ZONE_LIMIT : KST_REASON_SOURCE_LIMIT);
        must_be(kst_expectation_count(t), 1);
        must_be(kst_set(t, setting, 0), KST_ERROR_OK);
    }
    must_be(track(t, 0, child).state, KST_RELATED);
    must_be(kst_expectation_count(t), 0);
    must_be_sound(t);
    free(t);
}
END_TEST

/* Who knew the seed could crowd one chain: it takes so many and no more. */
START_TEST(a_chain_is_bounded)
{
    struct kst *t = table_new((struct kst_config){.max = 2 * KST_CHAIN_MAX, .features = KST_WITH_LIMITS, .seed = {5, 6}});
    const uint32_t *bucket = NULL;
    uint32_t came = 0;
    for (uint32_t i = 0; came <= KST_CHAIN_MAX; i++) {
        const struct say say = {.protocol = UDP, .from = 1, .to = 200, .sport = 2, .dport = 53};
        struct wire w = wire_of(&say);
        struct kst_tuple tuple = tuple_of(say);
        struct kst__tally tally;
        put32(w.data + 12, i);
        put32(tuple.src, i);
        wire_seal(&w);
        if (bucket != NULL && kst__tally_of(t, &tuple, true, &tally) != bucket)
            continue;
        bucket = kst__tally_of(t, &tuple, true, &tally);
        about("the one that comes as number %u", came);
        must_say(track_wire(t, 0, &w), came < KST_CHAIN_MAX ? KST_REASON_NONE : KST_REASON_CHAIN_TOO_LONG);
        came++;
    }
    must_be(kst_count(t), KST_CHAIN_MAX);
    must_be_sound(t);
    free(t);
}
END_TEST

/* A busy world, counted by walking the table after each packet. */
START_TEST(counted_as_walked)
{
    static const struct kst_config config = {
        .max = 40, .features = KST_WITH_LIMITS | KST_WITH_NAT, .expectations = 4, .source_prefix = {31, 127}};
    uint64_t reasons[KST_REASONS] = {0}, ages = 0, evicted = 0;
    draw_state = 8;
    for (uint32_t run = 0; run < 12; run++) {
        struct kst *t = table_new(config);
        uint64_t now_ms = 0;
        must_be(kst_set(t, "keepstate_source_max", run % 3 * 7), KST_ERROR_OK);
        must_be(kst_set(t, "keepstate_zone_max", run % 2 * 25), KST_ERROR_OK);
        must_be(kst_set(t, "keepstate_half_open_max", run % 4 == 0 ? 30 : 100), KST_ERROR_OK);
        for (uint32_t i = 0; i < 1500; i++) {
            struct wire w = world_wire();
            struct kst_packet packet = {.data = w.data, .size = w.size, .zone = draw_one_in(6)};
            struct kst_result result;
            now_ms += draw_one_in(30) ? draw_below(60000) : draw_below(200);
            packet.flags = draw_one_in(10) ? KST_PACKET_ZONE_ORIGINAL : 0;
            kst_advance(t, now_ms, 1000);
            kst_track(t, now_ms, &packet, 1, &result);
            reasons[result.reason]++;
            if (draw_one_in(40))
                kst_delete(t, kst_next(t, 0));
            kst_advance(t, now_ms, 1000); /* who came with a timeout of 0 */
            must_be_sound(t);
            uint32_t tcp[KST_TCP_STATES] = {0}, udp = 0, zone = 0, half_open = 0;
            for (kst_id id = kst_next(t, 0); id != 0; id = kst_next(t, id)) {
                struct kst_flow flow, other;
                uint32_t like = 0;
                must(kst_get(t, id, &flow));
                const struct kst_tuple *tuple = &flow.tuple[0];
                tcp[flow.state] += tuple->protocol == TCP;
                udp += tuple->protocol == UDP;
                zone += tuple->zone == 1;
                half_open += !(flow.status & KST_ASSURED);
                const uint32_t last = tuple->family == KST_IPV4 ? 3 : 15;
                for (kst_id at = kst_next(t, 0); at != 0; at = kst_next(t, at)) {
                    must(kst_get(t, at, &other));
                    like += other.tuple[0].zone == tuple->zone && other.tuple[0].family == tuple->family &&
                            memcmp(other.tuple[0].src, tuple->src, last) == 0 &&
                            other.tuple[0].src[last] / 2 == tuple->src[last] / 2;
                }
                must_be(kst_source_count(t, tuple->zone, (enum kst_family)tuple->family, tuple->src), like);
                must(run % 3 == 0 || like <= run % 3 * 7);
            }
            must_be(kst_source_count(t, 1, KST_IPV6, NULL), zone);
            must_be(kst_state_count(t, UDP, 0), udp);
            must_be(kst_state_count(t, TCP, KST_TCP_STATES), 0);
            for (uint8_t state = 0; state < KST_TCP_STATES; state++)
                must_be(kst_state_count(t, TCP, state), tcp[state]);
            must(run % 4 != 0 || half_open <= 12);
            must(run % 2 == 0 || zone <= 25);
        }
        for (uint32_t i = 0; i < KST_AGES; i++)
            ages += kst_statistics(t)->victim_ages[i];
        evicted += kst_statistics(t)->gone[KST_GONE_EVICTED];
        free(t);
    }
    must_be(ages, evicted);
    must(evicted > 0 && reasons[KST_REASON_SOURCE_LIMIT] > 0 && reasons[KST_REASON_ZONE_LIMIT] > 0 &&
         reasons[KST_REASON_HALF_OPEN_EVICTED] > 0);
}
END_TEST

START_TEST(ages_of_victims)
{
    static const struct {
        uint64_t stayed_ms;
        uint32_t age;
    } rows[] = {{0, 0}, {63, 0}, {64, 1}, {127, 1}, {128, 2}, {6400, 7}, {29999, 9},
              {(UINT64_C(64) << 22) - 1, 22}, {UINT64_C(64) << 22, 23}, {UINT64_C(64) << 23, 23}}; /* the last has all beyond */
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct kst *t = table_new((struct kst_config){.max = 1});
        must_be(kst_set(t, "nf_conntrack_udp_timeout", 1000000), KST_ERROR_OK);
        knock(t, 0, 1, 1);
        must_say(knock(t, rows[i].stayed_ms, 1, 2), KST_REASON_TABLE_EVICTED);
        for (uint32_t age = 0; age < KST_AGES; age++)
            must_be(kst_statistics(t)->victim_ages[age], age == rows[i].age);
        free(t);
    }
}
END_TEST

SUITE("limit", a_share_is_reserved, nobody_to_evict, one_at_a_time, a_source_has_its_share,
      a_network_is_a_source, usual_prefixes, a_zone_has_its_share, limits_need_memory,
      insertions_count_too, whoever_waits_counts_too, what_finds_no_place_is_still_expected, a_chain_is_bounded,
      counted_as_walked, ages_of_victims)
