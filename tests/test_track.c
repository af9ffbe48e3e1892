/* SPDX-License-Identifier: MIT */
/* test_track.c - properties: the calls around a packet do what they say at their edges (refused,
 * deleted, stale and made-up names; iteration; marks; zones; NOTRACK; a clock that stands still or
 * jumps); each ICMP type, and each protocol's way to ASSURED, is what Linux makes of it. */
#define KST_IMPLEMENTATION
#include "support.h"

static bool there(const struct kst *t, kst_id id)
{
    struct kst_flow flow;
    return kst_get(t, id, &flow);
}

/* ---- refusing ---- */

START_TEST(refused)
{
    struct kst *t = table_new((struct kst_config){.max = 2});
    const struct kst_result created = track(t, 0, stranger(1));
    const struct kst_result again = track(t, 0, stranger(1));
    must(!kst_refuse(t, &again)); /* that one created nothing */
    must(there(t, created.entry));
    must(kst_refuse(t, &created));
    must(!there(t, created.entry));
    must_be(kst_count(t), 0);
    must_be(kst_statistics(t)->gone[KST_GONE_REFUSED], 1);
    must_be(kst_statistics(t)->gone[KST_GONE_DELETED], 0);
    must(!kst_refuse(t, &created)); /* twice */
    const struct kst_result anew = track(t, 0, stranger(1));
    must_be(anew.flags, KST_CREATED);
    must(anew.entry != created.entry);
    must(!kst_refuse(t, &created)); /* its namesake is another one */
    must(there(t, anew.entry));
    kst_advance(t, 30000, 0);
    must(!kst_refuse(t, &anew)); /* expired, though not collected */
    must_be(kst_statistics(t)->gone[KST_GONE_REFUSED], 1);
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(nothing_to_refuse)
{
    struct kst *t = table_new((struct kst_config){.max = 1});
    const struct kst_result invalid =
        track(t, 0, (struct say){.protocol = TCP, .flags = FIN | ACK});
    must(!kst_refuse(t, &invalid));
    const struct say syn = {.protocol = TCP, .from = 1, .to = 2, .flags = SYN};
    const struct say rst = {.protocol = TCP, .from = 2, .to = 1, .flags = RST | ACK, .ack = 1};
    must_be(track(t, 0, syn).flags, KST_CREATED);
    const struct kst_result closed = track(t, 0, rst);
    must_say(closed, KST_REASON_TCP_REFUSED);
    must_be(closed.flags, KST_CLOSED);
    must(closed.entry != 0);
    must(!there(t, closed.entry));
    must(!kst_refuse(t, &closed));
    must_be(kst_statistics(t)->gone[KST_GONE_REFUSED], 0);
    must_be(kst_statistics(t)->gone[KST_GONE_CLOSED], 1);
    free(t);
}
END_TEST

/* ---- names ---- */

START_TEST(stale_and_made_up_names)
{
    struct kst *t = table_new((struct kst_config){.max = 3});
    const kst_id gone = track(t, 0, stranger(1)).entry, here = track(t, 0, stranger(2)).entry;
    must(kst_delete(t, gone));
    const kst_id heir = track(t, 0, stranger(3)).entry; /* in the slot that became free */
    must_be((uint32_t)heir, (uint32_t)gone);
    const kst_id nobody[] = {0, UINT64_MAX, gone, here + 1, here - 1, here + (UINT64_C(1) << 32),
                             here & UINT32_MAX, heir ^ UINT64_C(1) << 63, UINT32_MAX, 3, 4};
    for (size_t i = 0; i < COUNT(nobody); i++) {
        struct kst_flow flow;
        memset(&flow, 0x55, sizeof flow);
        about("name %zu", i);
        must(!kst_get(t, nobody[i], &flow));
        must_be(flow.mark, 0x55555555); /* left alone */
        must(!kst_delete(t, nobody[i]));
        must(!kst_set_mark(t, nobody[i], 7));
        must(!kst_refuse(t, &(struct kst_result){.entry = nobody[i], .flags = KST_CREATED}));
    }
    must_be(kst_count(t), 2);
    must_be(kst_next(t, UINT64_MAX), 0); /* nothing comes after the last name there can be */
    must_be_sound(t);
    free(t);
}
END_TEST

/* Names tell 2^32 creations apart, so an old connection may see half as many and more. */
START_TEST(old_connections)
{
    struct kst *t = table_new((struct kst_config){.max = 4});
    const kst_id old = track(t, 0, stranger(1)).entry;
    t->serial += UINT32_C(1) << 31; /* as many were created meanwhile */
    const kst_id young = track(t, 0, stranger(2)).entry;
    must(there(t, old) && there(t, young) && young != old);
    must_be_sound(t);
    t->serial = UINT32_MAX;
    kst_flush(t);
    must(track(t, 0, stranger(3)).entry >> 32 != 0); /* else it might be 0, the name of nobody */
    free(t);
}
END_TEST

START_TEST(not_found)
{
    struct kst *t = table_new((struct kst_config){.max = 3});
    struct kst_tuple tuple = tuple_of(stranger(1));
    uint8_t direction = 77;
    const kst_id id = track(t, 0, stranger(1)).entry;
    must_be(kst_find(t, &tuple, NULL), id);
    tuple.src[3] ^= 64;
    must_be(kst_find(t, &tuple, &direction), 0);
    must_be(kst_find(t, &(struct kst_tuple){{0}, {0}, 0, 0, 0, 0, 0}, &direction), 0);
    tuple = tuple_of((struct say){.protocol = ICMP, .dport = 0x0900}); /* which has no answer */
    must_be(kst_find(t, &tuple, &direction), 0);
    must_be(direction, 77); /* left alone */
    tuple = tuple_of(stranger(1));
    kst_advance(t, 30000, 0);
    must_be(kst_find(t, &tuple, &direction), 0); /* expired, though not collected */
    must_be(kst_count(t), 1);
    free(t);
}
END_TEST

/* ---- iteration ---- */

START_TEST(iteration_with_deletions)
{
    struct kst *t = table_new((struct kst_config){.max = 50});
    for (uint32_t way = 0; way < 3; way++) {
        uint32_t met[50] = {0};
        kst_flush(t);
        must_be(kst_next(t, 0), 0);
        for (uint32_t i = 0; i < 50; i++)
            track(t, 0, stranger(i));
        for (kst_id id = kst_next(t, 0); id != 0; id = kst_next(t, id)) {
            struct kst_flow flow;
            must(kst_get(t, id, &flow));
            const uint32_t number = flow.tuple[0].src_port;
            if (number < 50)
                met[number]++;
            if (way == 1 && number % 2 == 0)
                kst_delete(t, id); /* the one just met */
            if (way == 2 && number + 1 < 50) {
                const struct kst_tuple next = tuple_of(stranger(number + 1));
                kst_delete(t, kst_find(t, &next, NULL)); /* one that may lie ahead */
                track(t, 0, stranger(1000 + number)); /* and somebody takes its place */
            }
        }
        for (uint32_t i = 0; i < 50; i++) {
            const struct kst_tuple tuple = tuple_of(stranger(i));
            about("way %u, number %u", way, i);
            must(met[i] <= 1);
            if (way < 2 || kst_find(t, &tuple, NULL) != 0)
                must_be(met[i], 1);
        }
        must_be_sound(t);
    }
    free(t);
}
END_TEST

START_TEST(flushed)
{
    struct kst *t = table_new((struct kst_config){.max = 20, .start_ms = 500});
    kst_id ids[20];
    must_be(kst_set(t, "nf_conntrack_udp_timeout", 7), KST_ERROR_OK);
    for (uint32_t i = 0; i < 20; i++)
        ids[i] = track(t, 500 + i, stranger(i)).entry;
    kst_flush(t);
    must_be(kst_count(t), 0);
    must_be(kst_statistics(t)->gone[KST_GONE_DELETED], 20);
    must_be(kst_statistics(t)->created, 20);
    must_be_sound(t);
    for (uint32_t i = 0; i < 20; i++) {
        const struct kst_result result = track(t, 600, stranger(19 - i));
        struct kst_flow flow;
        must_be(result.flags, KST_CREATED);
        must(kst_get(t, result.entry, &flow));
        must_be(flow.timeout_ms, 7000);
    }
    for (uint32_t i = 0; i < 20; i++)
        must(!there(t, ids[i]));
    must_be_sound(t);
    kst_flush(t);
    kst_flush(t);
    must_be(kst_statistics(t)->gone[KST_GONE_DELETED], 40);
    free(t);
}
END_TEST

START_TEST(marks)
{
    struct kst *t = table_new((struct kst_config){.max = 2});
    const kst_id a = track(t, 0, stranger(1)).entry, b = track(t, 0, stranger(2)).entry;
    struct kst_flow flow;
    must(kst_get(t, a, &flow));
    must_be(flow.mark, 0);
    must(kst_set_mark(t, a, 0xdeadbeef));
    track(t, 0, stranger(1));
    must(kst_get(t, a, &flow));
    must_be(flow.mark, 0xdeadbeef);
    must(kst_get(t, b, &flow));
    must_be(flow.mark, 0);
    must(kst_delete(t, a));
    must(kst_get(t, track(t, 0, stranger(1)).entry, &flow));
    must_be(flow.mark, 0); /* not inherited with the slot */
    free(t);
}
END_TEST

START_TEST(not_tracked)
{
    struct kst *t = table_new((struct kst_config){.max = 2});
    struct wire w = wire_of(&(struct say){.protocol = UDP});
    const struct kst_packet packets[2] = {
        {.data = w.data, .size = w.size, .flags = KST_PACKET_NOTRACK},
        {.data = NULL, .size = 0, .flags = KST_PACKET_NOTRACK | KST_PACKET_HEAD}};
    struct kst_result results[2];
    kst_track(t, 0, packets, 2, results);
    for (int i = 0; i < 2; i++) {
        must_be(results[i].state, KST_UNTRACKED);
        must_be(results[i].direction, KST_NO_DIRECTION);
        must_be(results[i].verdict, KST_ACCEPT);
        must_be(results[i].entry, 0);
        must_say(results[i], KST_REASON_NONE);
    }
    must_be(kst_count(t), 0);
    must_be(kst_statistics(t)->packets, 2);
    free(t);
}
END_TEST

START_TEST(zones_are_worlds)
{
    struct kst *t = table_new((struct kst_config){.max = 8});
    const struct say ping = {.protocol = ICMP, .from = 1, .to = 2, .sport = 7, .dport = 0x0800};
    const struct say pong = {.protocol = ICMP, .from = 2, .to = 1, .sport = 7};
    static const uint16_t zones[] = {0, 1, 256, 65535};
    kst_id ids[COUNT(zones)];
    struct wire w[2] = {wire_of(&ping), wire_of(&pong)};
    for (size_t i = 0; i < 2 * COUNT(zones); i++) {
        const size_t zone = i % COUNT(zones), answer = i / COUNT(zones);
        struct kst_result result;
        kst_track(t, 0, &(struct kst_packet){.data = w[answer].data, .size = w[answer].size, .zone = zones[zone]}, 1,
                  &result);
        about("zone %u, packet %zu", zones[zone], answer);
        must_be(result.state, answer ? KST_ESTABLISHED : KST_NEW);
        if (!answer)
            ids[zone] = result.entry;
        must_be(result.entry, ids[zone]);
        struct kst_tuple tuple = tuple_of(ping);
        tuple.zone = zones[zone];
        must_be(kst_find(t, &tuple, NULL), ids[zone]);
    }
    must_be(kst_count(t), COUNT(zones));
    struct kst_result result;
    kst_track(t, 0, &(struct kst_packet){.data = w[1].data, .size = w[1].size, .zone = 2}, 1, &result);
    must_say(result, KST_REASON_ICMP_UNASKED);
    must_be_sound(t);
    free(t);
}
END_TEST

/* ---- what a protocol makes of it ---- */

/* A message of each type, alone, in an empty table. */
START_TEST(icmp_types)
{
    for (uint32_t i = 0; i < 512; i++) {
        const uint32_t v6 = i >> 8, type = i & 255;
        struct kst *t = table_new((struct kst_config){.max = 1});
        struct say say = {.protocol = v6 ? ICMP6 : ICMP, .v6 = v6};
        say.dport = (uint16_t)(type << 8);
        const struct kst_result result = track(t, 0, say);
        enum kst_reason reason = KST_REASON_ICMP_NO_ANSWER;
        enum kst_state state = KST_INVALID;
        switch (v6 * 1000 + type) {
        case 8: case 13: case 15: case 17: case 1128: case 1139:
            reason = KST_REASON_NONE;
            state = KST_NEW;
            break;
        case 0: case 14: case 16: case 18: case 1129: case 1140:
            reason = KST_REASON_ICMP_UNASKED;
            break;
        case 3: case 4: case 5: case 11: case 12:
            reason = KST_REASON_ICMP_INNER; /* errors; but about what? */
            break;
        case 1130: case 1131: case 1132: case 1133: case 1134: case 1135: case 1136: case 1143:
        case 1151: case 1152:
            reason = KST_REASON_NONE;
            state = KST_UNTRACKED;
            break;
        default:
            if (v6 ? type < 128 : type > 18)
                reason = v6 ? KST_REASON_ICMP_INNER : KST_REASON_ICMP_TYPE;
            break;
        }
        about("ICMP%s type %u", v6 ? "v6" : "", type);
        must_say(result, reason);
        must_be(result.state, state);
        must_be(kst_count(t), state == KST_NEW);
        free(t);
    }
}
END_TEST

/* RELATED to the connection, from the other way; nothing about the connection changes. */
START_TEST(errors_about_a_connection)
{
    for (uint32_t v6 = 0; v6 < 2; v6++) {
        struct kst *t = table_new((struct kst_config){.max = 1});
        struct say say = stranger(1);
        say.v6 = v6;
        struct wire inner = wire_of(&say);
        const struct say error = {.protocol = v6 ? ICMP6 : ICMP, .v6 = v6, .from = 9, .to = 1,
                                  .dport = v6 ? 0x0104 : 0x0303, .body = inner.data,
                                  .bytes = (uint16_t)inner.size};
        struct kst_flow before, after;
        const kst_id id = track(t, 0, say).entry;
        kst_advance(t, 10000, 0);
        must(kst_get(t, id, &before));
        struct kst_result result = track(t, 10000, error);
        must_say(result, KST_REASON_NONE);
        must_be(result.state, KST_RELATED);
        must_be(result.direction, KST_REPLY);
        must_be(result.entry, id);
        must(kst_get(t, id, &after));
        must(memcmp(&before, &after, sizeof before) == 0);

        result = track(t, 30000, error); /* it has expired, though it is not collected */
        must_be(kst_count(t), 1);
        must_say(result, KST_REASON_ICMP_UNRELATED);
        must_be(result.entry, 0);
        free(t);
    }
}
END_TEST

START_TEST(assured)
{
    const struct {
        struct say say;
        uint64_t last_ms;
        bool assured;
    } rows[] = {
        {stranger(1), 2000, false}, {stranger(1), 2001, true},
        {{.protocol = UDPLITE}, 0, true}, {{.protocol = GRE, .from = 1}, 0, true},
        {{.protocol = ESP, .from = 1}, 9000, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct kst *t = table_new((struct kst_config){.max = 1});
        struct say say = rows[i].say;
        struct kst_flow flow;
        say.to = 2;
        const kst_id id = track(t, 0, say).entry;
        about("row %zu", i);
        must(kst_get(t, id, &flow));
        must_be(flow.status, KST_CONFIRMED);
        must_be(track(t, 0, answer_to(say)).direction, KST_REPLY);
        must(kst_get(t, id, &flow)); /* the first answer is judged as if there were none yet */
        must_be(flow.status, KST_CONFIRMED | KST_SEEN_REPLY);
        track(t, rows[i].last_ms, say);
        must(kst_get(t, id, &flow));
        must_be(flow.status, KST_CONFIRMED | KST_SEEN_REPLY | (rows[i].assured ? KST_ASSURED : 0));
        free(t);
    }
}
END_TEST

/* ---- the clock ---- */

START_TEST(clock_stands_still_or_jumps)
{
    static const uint64_t year_ms = UINT64_C(365) * 86400 * 1000;
    struct kst *t = table_new((struct kst_config){.max = 40});
    uint64_t now_ms = 0;
    for (uint32_t i = 0; i < 200; i++)
        must_be(track(t, now_ms, stranger(i % 10)).state, KST_NEW);
    must_be(kst_count(t), 10);
    for (uint32_t years = 1; years <= 10; years++) {
        now_ms += years * year_ms;
        about("a jump of %u years", years);
        const struct kst_result result = track(t, now_ms, stranger(100 + years));
        must_be(result.flags, KST_CREATED);
        must_be(kst_next(t, 0), result.entry); /* all others have expired */
        must_be_sound(t);
        track(t, now_ms, stranger(3));
        must_be_sound(t);
    }
    kst_advance(t, now_ms, 1000);
    must_be(kst_count(t), 2);
    must_be_sound(t);
    free(t);
}
END_TEST

/* A connection that talks for ten years in a table that nobody ever advances. */
START_TEST(never_advanced)
{
    struct kst *t = table_new((struct kst_config){.max = 4});
    must_be(kst_set(t, "nf_conntrack_udp_timeout", KST_TIMEOUT_MAX_S), KST_ERROR_OK);
    const kst_id id = track(t, 0, stranger(1)).entry;
    for (uint64_t month = 1; month < 120; month++) {
        about("month %llu", (unsigned long long)month);
        must_be(track(t, month * 2592000 * 1000, stranger(1)).entry, id);
        must_be_sound(t);
    }
    free(t);
}
END_TEST

/* Both sides of a connection close it outside the windows: it gets the timeout of what is not acknowledged,
 * which may be 0. So says Linux 6.18. */
START_TEST(shortened_to_nothing)
{
    static const uint32_t timeouts_s[] = {7, 0};
    for (size_t i = 0; i < COUNT(timeouts_s); i++) {
        struct kst *t = table_new((struct kst_config){.max = 4});
        struct kst_flow flow;
        const struct say handshake[] = {HANDSHAKE};
        kst_id id = 0;
        about("%u seconds", timeouts_s[i]);
        must_be(kst_set(t, "nf_conntrack_tcp_timeout_unacknowledged", timeouts_s[i]), KST_ERROR_OK);
        for (size_t j = 0; j < COUNT(handshake); j++)
            id = track(t, 0, handshake[j]).entry;
        must_say(track(t, 0, tcp(0, FIN | ACK, 1001, 15001, 0)), KST_REASON_TCP_ACK_OVER);
        must_say(track(t, 0, tcp(1, FIN | ACK, 5001, 11001, 0)), KST_REASON_TCP_ACK_OVER);
        must_be(kst_get(t, id, &flow), timeouts_s[i] != 0);
        if (timeouts_s[i] != 0)
            must_be(flow.timeout_ms, timeouts_s[i] * 1000);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

SUITE("track", refused, nothing_to_refuse, stale_and_made_up_names, old_connections, not_found,
      iteration_with_deletions, flushed, marks, not_tracked, zones_are_worlds, icmp_types,
      errors_about_a_connection, assured, clock_stands_still_or_jumps, never_advanced,
      shortened_to_nothing)
