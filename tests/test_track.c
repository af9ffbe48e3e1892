/* SPDX-License-Identifier: MIT */
/* test_track.c - properties: the calls around a packet do what they say at their edges (refused,
 * deleted, stale and made-up names; iteration; marks; zones; NOTRACK; a clock that stands still or
 * jumps); how packets are cut into batches, where the block lies and what it held before changes
 * nothing; every outcome is counted; what kst_get hands out kst_insert takes. */
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
    must_be(kst_statistics(t)->refused, 1);
    must_be(kst_statistics(t)->deleted, 0);
    must(!kst_refuse(t, &created)); /* twice */
    const struct kst_result anew = track(t, 0, stranger(1));
    must_be(anew.flags, KST_CREATED);
    must(anew.entry != created.entry);
    must(!kst_refuse(t, &created)); /* its namesake is another one */
    must(there(t, anew.entry));
    kst_advance(t, 30000, 0);
    must(!kst_refuse(t, &anew)); /* expired, though not collected */
    must_be(kst_statistics(t)->refused, 1);
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
    must_be(kst_statistics(t)->refused, 0);
    must_be(kst_statistics(t)->closed, 1);
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
    tuple.src[15] = 1; /* padding */
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
    must_be(kst_statistics(t)->deleted, 20);
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
    must_be(kst_statistics(t)->deleted, 40);
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
        kst_track(t, 0, &(struct kst_packet){w[answer].data, w[answer].size, zones[zone], 0, 0}, 1,
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
    kst_track(t, 0, &(struct kst_packet){w[1].data, w[1].size, 2, 0, 0}, 1, &result);
    must_say(result, KST_REASON_ICMP_UNASKED);
    must_be_sound(t);
    free(t);
}
END_TEST

/* ---- what a protocol makes of it ---- */

/* A message of each type, alone, in an empty table (spec/protocols.md 4 and 5). */
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

/* ---- how it is run makes no difference ---- */

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
    }
}

static const struct kst_config small_world = {
    .max = 60, .buckets = 32, .features = KST_WITH_ACCOUNTING, .seed = {1, 2}};

/* Tracks the world in batches of so many, then a last advance. `moving`: the block goes elsewhere
 * before each batch. Returns the table. */
static struct kst *run_world(struct kst *t, uint32_t batch, struct kst_result *results, bool moving)
{
    const size_t bytes = kst_bytes(&small_world);
    must_be(kst_set(t, "nf_conntrack_acct", 1), KST_ERROR_OK);
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
        must(kst_statistics(t)->evicted > 0 && kst_statistics(t)->expired > 0);
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
    must_be(stats->evicted, reasons[KST_REASON_TABLE_EVICTED]);
    must(stats->closed >= closed); /* reopening closes too */
    must_be(stats->created, kst_count(t) + stats->expired + stats->evicted + stats->closed);
    must_be(kst_column(t, KST_COLUMN_DROP), reasons[KST_REASON_TABLE_FULL]);
    must_be(kst_column(t, KST_COLUMN_EARLY_DROP), reasons[KST_REASON_TABLE_EVICTED]);
    must_be(kst_column(t, KST_COLUMN_NONE), 0);
    free(t);
}
END_TEST

/* ---- connections from outside ---- */

START_TEST(restored_as_they_were)
{
    static struct kst_result results[WORLD];
    make_world(7);
    struct kst *t = run_world(table_new(small_world), 32, results, false);
    struct kst *copy = table_new(small_world);
    uint32_t count = 0;
    must_be(kst_set(copy, "nf_conntrack_acct", 1), KST_ERROR_OK);
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

START_TEST(restored_tcp_goes_on)
{
    static const struct {
        uint8_t reply, flags;
        uint32_t seq, ack;
        uint16_t bytes, window;
    } steps[] = {
        {0, ACK, 0xfffffff0, 5000000, 100, 500}, {1, ACK, 5000000, 84, 1400, 1},
        {1, ACK, 5001400, 84, 1400, 1}, /* windows are scaled, though nobody knows by how much */
        {1, ACK, 5002800, 84, 1400, 1},          {0, ACK, 84, 5004200, 0, 500},
        {1, FIN | ACK, 5004200, 84, 0, 1},       {0, FIN | ACK, 84, 5004201, 0, 500},
        {1, ACK, 5004201, 85, 0, 1},
    };
    for (size_t from = 0; from < 5; from++) { /* whichever comes first */
        struct kst *t = table_new((struct kst_config){.max = 1});
        const struct say to = {.protocol = TCP, .from = 1, .to = 2, .sport = 9, .dport = 80};
        struct kst_flow flow = flow_of(to, 1000);
        flow.status = KST_SEEN_REPLY | KST_ASSURED;
        const kst_id id = kst_insert(t, &flow, NULL);
        for (size_t i = from; i < COUNT(steps); i++) {
            struct say say = to;
            if (steps[i].reply)
                say = (struct say){.protocol = TCP, .from = 2, .to = 1, .sport = 80, .dport = 9};
            say.flags = steps[i].flags;
            say.seq = steps[i].seq;
            say.ack = steps[i].ack;
            say.bytes = steps[i].bytes;
            say.window = steps[i].window;
            const struct kst_result result = track(t, 0, say);
            about("from step %zu, step %zu", from, i);
            must_say(result, KST_REASON_NONE);
            must_be(result.state, KST_ESTABLISHED);
            must_be(result.entry, id);
            must_be(result.direction, steps[i].reply ? KST_REPLY : KST_ORIGINAL);
        }
        must(kst_get(t, id, &flow));
        must_be(flow.state, KST_TCP_TIME_WAIT);
        free(t);
    }
}
END_TEST

/* ---- SCTP restored: the association goes on where it stood ---- */

static struct kst_result chunk(struct kst *t, bool reply, uint32_t tag, uint8_t type)
{
    const uint8_t bytes[20] = {type, 0, 0, 20, 0, 0, 0, reply ? 22 : 11 /* INIT's: the own tag */};
    struct say say = sctp(reply, tag, type);
    say.body = bytes;
    return track(t, 0, say);
}

/* The connection of a table of one, put into another table of one. */
static struct kst *restored(struct kst *t)
{
    struct kst *copy = table_new((struct kst_config){.max = 1});
    struct kst_flow flow;
    enum kst_error why;
    must(kst_get(t, kst_next(t, 0), &flow));
    kst_insert(copy, &flow, &why);
    must_be(why, KST_ERROR_OK);
    free(t);
    return copy;
}

START_TEST(restored_sctp_goes_on)
{
    struct kst *t = table_new((struct kst_config){.max = 1});
    must_say(chunk(t, false, 0, 1), KST_REASON_NONE);   /* INIT */
    must_say(chunk(t, true, 11, 2), KST_REASON_NONE);   /* INIT-ACK */
    must_say(chunk(t, false, 22, 10), KST_REASON_NONE); /* COOKIE-ECHO */
    must_say(chunk(t, true, 11, 11), KST_REASON_NONE);  /* COOKIE-ACK */
    must_say(chunk(t, false, 22, 0), KST_REASON_NONE);  /* DATA */
    t = restored(t);
    must_say(chunk(t, false, 22, 0), KST_REASON_NONE);
    must_say(chunk(t, true, 11, 0), KST_REASON_NONE);
    free(t);
}
END_TEST

/* One side's chunks alone can take an association to ESTABLISHED. */
START_TEST(restored_sctp_without_reply)
{
    static const uint8_t types[] = {4, 1, 10, 11}; /* HEARTBEAT, INIT, COOKIE-ECHO, COOKIE-ACK */
    struct kst *t = table_new((struct kst_config){.max = 1});
    for (size_t i = 0; i < COUNT(types); i++)
        must_say(chunk(t, false, 0, types[i]), KST_REASON_NONE);
    must_be_sound(t);
    t = restored(t);
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(insertions_refused)
{
    const struct say udp = {.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = 2};
    const struct say tcp = {.protocol = TCP, .from = 1, .to = 2, .sport = 1, .dport = 2};
    const struct say ping = {.protocol = ICMP, .from = 1, .to = 2, .dport = 0x0800};
    const struct say sctp = {.protocol = SCTP, .from = 1, .to = 2};
    const struct say gre = {.protocol = GRE, .from = 1, .to = 2};
    const struct say esp = {.protocol = ESP, .from = 1, .to = 2};
    for (uint32_t row = 0;; row++) {
        struct kst *t = table_new((struct kst_config){.max = 2});
        struct kst_flow flow = flow_of(row < 10 ? udp : tcp, 1000);
        struct kst_tuple *original = &flow.tuple[KST_ORIGINAL], *reply = &flow.tuple[KST_REPLY];
        enum kst_error expected = row < 10 ? KST_ERROR_FLOW_FAMILY : KST_ERROR_FLOW_STATE, why;
        switch (row) {
        case 0: original->family = reply->family = 0; break;
        case 1: original->family = KST_IPV6; break;
        case 2: reply->family = KST_IPV6; break;
        case 3: reply->protocol = TCP; break;
        case 4: original->src[4] = reply->dst[4] = 1; break;
        case 5: original->dst[15] = reply->src[15] = 1; break;
        case 6: original->protocol = reply->protocol = ICMP6; break;
        case 7: original->protocol = reply->protocol = ESP; break; /* which has no ports */
        case 8:
            flow = flow_of(udp, 1000);
            reply->src_port++; /* needs KST_WITH_NAT */
            expected = KST_ERROR_FLOW_NAT;
            break;
        case 9:
            reply->zone = 1;
            expected = KST_ERROR_FLOW_FAMILY;
            break;
        case 10: flow.status = 1; break;
        case 11: flow.status = 1 << 15; break;
        case 12: flow.status = KST_ASSURED; break;
        case 13: flow.state = KST_TCP_NONE; break;
        case 14: flow.state = KST_TCP_STATES; break;
        case 15:
            flow = flow_of(sctp, 1000);
            flow.state = KST_SCTP_NONE;
            break;
        case 16:
            flow = flow_of(sctp, 1000);
            flow.state = KST_SCTP_STATES;
            break;
        case 17:
            flow = flow_of(udp, 1000);
            flow.state = 1;
            break;
        case 18:
            flow = flow_of(ping, 1000);
            original->dst_port = 0x0000; /* begins with an answer */
            reply->dst_port = 0x0800;
            expected = KST_ERROR_FLOW_TUPLE;
            break;
        case 19:
            flow = flow_of(ping, 1000);
            original->dst_port = 0x0900; /* has none */
            expected = KST_ERROR_FLOW_TUPLE;
            break;
        case 20:
            flow = flow_of(ping, 1000);
            reply->dst_port = 0x0e00; /* another question's */
            expected = KST_ERROR_FLOW_TUPLE;
            break;
        case 21:
            flow.timeout_ms = 0;
            expected = KST_ERROR_FLOW_TIMEOUT;
            break;
        case 22:
            flow.timeout_ms = (uint64_t)KST_TIMEOUT_MAX_S * 1000 + 1;
            expected = KST_ERROR_FLOW_TIMEOUT;
            break;
        case 23:
        case 24:
            flow = flow_of(gre, 1000);
            flow.gre_timeouts_s[row - 23] = KST_TIMEOUT_MAX_S + 1;
            expected = KST_ERROR_FLOW_TIMEOUT;
            break;
        case 25:
            must(kst_insert(t, &flow, NULL) != 0);
            expected = KST_ERROR_FLOW_EXISTS;
            break;
        case 26: { /* the other way round */
            const struct kst_flow mirrored = {.tuple = {*reply, *original},
                                              .timeout_ms = 1000,
                                              .state = KST_TCP_SYN_SENT};
            must(kst_insert(t, &mirrored, NULL) != 0);
            expected = KST_ERROR_FLOW_EXISTS;
            break;
        }
        case 27:
            track(t, 0, stranger(1));
            track(t, 0, stranger(2));
            expected = KST_ERROR_FULL;
            break;
        case 28:
            flow = flow_of(esp, (uint64_t)KST_TIMEOUT_MAX_S * 1000);
            flow.status = KST_SEEN_REPLY | KST_ASSURED | KST_CONFIRMED | KST_FIXED_TIMEOUT;
            expected = KST_ERROR_OK;
            break;
        default: free(t); return;
        }
        const uint32_t before = kst_count(t);
        const kst_id id = kst_insert(t, &flow, &why);
        about("row %u: %s", row, kst_error_text(why));
        must_be(why, expected);
        must_be(id != 0, expected == KST_ERROR_OK);
        must_be(kst_count(t), before + (expected == KST_ERROR_OK));
        must_be(kst_insert(t, &flow, NULL), 0); /* `why` may be NULL; the last one exists now */
        must_be_sound(t);
        free(t);
    }
}
END_TEST

START_TEST(fixed_timeout)
{
    struct kst *t = table_new((struct kst_config){.max = 1});
    struct kst_flow flow = flow_of(stranger(1), 5000);
    flow.status = KST_FIXED_TIMEOUT;
    const kst_id id = kst_insert(t, &flow, NULL);
    must_be(track(t, 1000, stranger(1)).entry, id);
    must(kst_get(t, id, &flow));
    must_be(flow.timeout_ms, 4000);
    free(t);
}
END_TEST

SUITE("track", refused, nothing_to_refuse, stale_and_made_up_names, old_connections, not_found,
      iteration_with_deletions, flushed, marks, not_tracked, zones_are_worlds, icmp_types,
      errors_about_a_connection, assured,
      clock_stands_still_or_jumps, never_advanced, batches_and_places_change_nothing,
      the_block_may_hold_anything, all_is_counted, restored_as_they_were, restored_tcp_goes_on,
      restored_sctp_goes_on, restored_sctp_without_reply, insertions_refused, fixed_timeout)
