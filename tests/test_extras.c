/* SPDX-License-Identifier: MIT */
/* test_extras.c - properties: a zone of one direction parts the connections of that direction only;
 * labels, timestamps and policies of timeouts belong to their connection, go with it and come back
 * with kst_insert; all print as Linux prints them. */
#define KST_IMPLEMENTATION
#include "support.h"

enum { ORIGINAL = KST_PACKET_ZONE_ORIGINAL, REPLY = KST_PACKET_ZONE_REPLY };

static struct kst_result in_zone(struct kst *t, struct say say, uint16_t zone, uint8_t flags)
{
    return track_as(t, t->now_ms, say, (struct kst_packet){.zone = zone, .flags = flags});
}

static void must_print(const struct kst *t, kst_id id, enum kst_format format, const char *expected)
{
    struct kst_flow flow;
    char line[KST_LINE_MAX];
    must(kst_get(t, id, &flow));
    must_be(kst_print(&flow, format, line, sizeof line), strlen(expected));
    must_read(line, expected);
}

/* ---- zones of one direction ---- */

static struct kst *zoned_table(void)
{
    return table_new((struct kst_config){.max = 8, .features = KST_WITH_NAT, .seed = {1, 2}});
}

START_TEST(a_zone_of_the_original_direction)
{
    const struct say to = {.protocol = UDP, .from = 1, .to = 2, .sport = 5, .dport = 6};
    const struct say back = answer_to(to);
    struct kst *t = zoned_table();
    struct kst_flow flow;
    const struct kst_result first = in_zone(t, to, 9, ORIGINAL);
    must_be(first.state, KST_NEW);
    must(kst_get(t, first.entry, &flow));
    must_be(flow.tuple[0].zone, 9);
    must_be(flow.tuple[1].zone, 0);
    must_be(in_zone(t, to, 9, ORIGINAL).entry, first.entry);
    must_be(in_zone(t, to, 9, 0).entry, first.entry); /* the zone is the same in that direction */
    must_say(in_zone(t, back, 9, 0), KST_REASON_CLASH); /* but not in this one */
    const struct kst_result answer = in_zone(t, back, 0, 0);
    must_be(answer.entry, first.entry);
    must_be(answer.state, KST_ESTABLISHED);
    must_be(answer.direction, KST_REPLY);
    const struct kst_result marked = in_zone(t, back, 9, ORIGINAL); /* all packets of an interface, say */
    must_be(marked.entry, first.entry);
    must_be(marked.direction, KST_REPLY);
    uint8_t direction;
    must_be(kst_find(t, &flow.tuple[0], &direction), first.entry);
    must_be(direction, KST_ORIGINAL);
    must_be(kst_find(t, &flow.tuple[1], &direction), first.entry);
    must_be(direction, KST_REPLY);

    /* A second customer with the same addresses: to whom would the answers go? */
    must_say(in_zone(t, to, 10, ORIGINAL), KST_REASON_CLASH);
    must_say(in_zone(t, to, 0, 0), KST_REASON_CLASH);
    must_be(in_zone(t, to, 10, 0).state, KST_NEW);
    must(kst_delete(t, first.entry));
    must_be_sound(t);
    must_be(in_zone(t, to, 10, ORIGINAL).direction, KST_ORIGINAL);
    kst_flush(t);
    must_be(in_zone(t, to, 0, 0).state, KST_NEW);
    must_say(in_zone(t, to, 10, ORIGINAL), KST_REASON_CLASH); /* not a packet of that one */
    free(t);
}
END_TEST

START_TEST(a_zone_of_the_reply_direction)
{
    const struct say to = {.protocol = TCP, .from = 1, .to = 2, .sport = 5, .dport = 6, .flags = SYN};
    struct say back = answer_to(to);
    struct kst *t = zoned_table();
    struct kst_flow flow;
    back.flags = SYN | ACK;
    back.ack = 1;
    const kst_id id = in_zone(t, to, 9, REPLY).entry;
    must(kst_get(t, id, &flow));
    must_be(flow.tuple[0].zone, 0);
    must_be(flow.tuple[1].zone, 9);
    must_be(in_zone(t, to, 0, 0).entry, id);
    must_be(in_zone(t, back, 0, 0).state, KST_INVALID);
    must_be(in_zone(t, back, 9, 0).entry, id);
    must_be(in_zone(t, back, 9, REPLY).entry, id);
    must_be(in_zone(t, back, 7, REPLY).state, KST_INVALID);
    must(kst_delete(t, id));
    free(t);
}
END_TEST

/* Both directions are a zone as always; zone 0 is none. */
START_TEST(no_zone_of_one_direction)
{
    const struct say to = stranger(1);
    struct kst *t = zoned_table();
    struct kst_flow flow;
    must(kst_get(t, in_zone(t, to, 9, ORIGINAL | REPLY).entry, &flow));
    must_be(flow.tuple[0].zone, 9);
    must_be(flow.tuple[1].zone, 9);
    must(kst_get(t, in_zone(t, to, 0, ORIGINAL).entry, &flow));
    must_be(flow.tuple[0].zone, 0);
    must_be(in_zone(t, answer_to(to), 0, REPLY).entry, flow.id);
    must_be(kst_count(t), 2);
    free(t);
    t = table_new((struct kst_config){.max = 2}); /* so that it needs no memory either */
    must_be(in_zone(t, to, 9, ORIGINAL | REPLY).state, KST_NEW);
    must_be(in_zone(t, answer_to(to), 9, 0).direction, KST_REPLY);
    free(t);
}
END_TEST

/* What has a zone of one direction is apart from what goes the other way with the same tuple, but not
 * from another's answers that look like its own: unless only an expired connection waits for them. */
START_TEST(answers_of_others)
{
    for (uint32_t expired = 0; expired < 2; expired++) {
        struct kst *t = zoned_table();
        const struct say to = stranger(1);
        const kst_id id = in_zone(t, to, 9, ORIGINAL).entry;
        const kst_id other = in_zone(t, answer_to(to), 7, REPLY).entry; /* its tuple is to's answer */
        must(other != 0 && other != id);
        must_be_sound(t);
        must_be(in_zone(t, answer_to(to), 9, ORIGINAL).entry, id);
        must_be(in_zone(t, answer_to(to), 7, REPLY).entry, other);
        must(kst_delete(t, other));
        kst_track(t, expired ? 30000 : 29999, NULL, 0, NULL);
        const struct kst_result result = in_zone(t, to, 5, ORIGINAL);
        about("the other is %s", expired ? "expired" : "alive");
        must_say(result, expired ? KST_REASON_NONE : KST_REASON_CLASH);
        must_be(result.verdict, expired ? KST_ACCEPT : KST_DROP);
        must_be(kst_count(t), 1);
        must_be(kst_next(t, 0), expired ? result.entry : id);
        free(t);
    }
}
END_TEST

/* Who talks to himself is answered by all of his packets, but in a zone of the original direction by none
 * (self-zones-2 and the like in tests/vectors/found.vec.gz). */
START_TEST(oneself_in_zones)
{
    const struct say self = {.protocol = UDP, .from = 1, .to = 1, .sport = 5, .dport = 5};
    struct kst *t = zoned_table();
    const struct kst_result first = in_zone(t, self, 9, 0);
    must_be(first.state, KST_NEW);
    must_be(in_zone(t, self, 9, ORIGINAL).entry, first.entry);
    must_be(in_zone(t, self, 9, ORIGINAL).state, KST_NEW);
    must_be(in_zone(t, self, 9, 0).direction, KST_REPLY);
    must_be(in_zone(t, self, 9, ORIGINAL).direction, KST_ORIGINAL);
    must_be(in_zone(t, self, 9, REPLY).direction, KST_REPLY);
    must_be(kst_count(t), 1);
    must_be_sound(t);
    free(t);
}
END_TEST

/* Two have one tuple, in different directions; who has expired and is not collected yet hides nobody. */
START_TEST(hidden_by_who_has_expired)
{
    for (uint32_t apart_last = 0; apart_last < 2; apart_last++) {
        struct kst *t = zoned_table();
        const struct say to = {.protocol = UDP, .from = 1, .to = 2, .sport = 5, .dport = 6};
        const struct kst_result result = in_zone(t, to, 9, 0);
        struct kst_flow flow, other;
        must(kst_get(t, result.entry, &flow));
        const kst_id apart = in_zone(t, answer_to(to), 9, ORIGINAL).entry; /* its tuple is that of the answers */
        must(apart != 0 && apart != result.entry && kst_get(t, apart, &other));
        must(memcmp(&flow.tuple[1], &other.tuple[0], sizeof flow.tuple[1]) == 0);
        must_be(kst_find(t, &flow.tuple[1], NULL), apart); /* the newer */
        kst_track(t, 20000, NULL, 0, NULL);
        if (apart_last)
            must_be(in_zone(t, answer_to(to), 9, ORIGINAL).entry, apart);
        else
            must_be(in_zone(t, to, 9, 0).entry, result.entry);
        kst_advance(t, 30000, 0);
        must_be(kst_count(t), 2);
        must_be(kst_find(t, &flow.tuple[1], NULL), apart_last ? apart : result.entry);
        const struct say back = answer_to(to);
        const struct wire inner = wire_of(&back), *w = &inner;
        const struct say error = {.protocol = ICMP, .from = 9, .to = 2, .dport = 0x0303, .body = w->data, .bytes = (uint16_t)w->size};
        must_be(in_zone(t, error, 9, ORIGINAL).entry, apart_last ? apart : result.entry);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

START_TEST(errors_in_zones)
{
    struct kst *t = zoned_table();
    const struct say to = stranger(1);
    const struct wire inner = wire_of(&to), *w = &inner;
    const struct say error = {.protocol = ICMP, .from = 9, .to = 1, .dport = 0x0303, .body = w->data,
                              .bytes = (uint16_t)w->size};
    const kst_id id = in_zone(t, to, 9, ORIGINAL).entry;
    must_be(in_zone(t, error, 0, 0).entry, id); /* it comes the way of the answers */
    must_be(in_zone(t, error, 9, ORIGINAL).entry, id);
    must_say(in_zone(t, error, 9, 0), KST_REASON_ICMP_UNRELATED);
    free(t);
}
END_TEST

/* Fragments take the zone along to the datagram that they make. */
START_TEST(fragments_in_zones)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .features = KST_WITH_NAT, .expectations = 1,
                                                  .reassembly_bytes = KST_REASSEMBLY_MIN});
    const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 5, .dport = 6, .bytes = 40};
    const struct wire whole = wire_of(&say);
    struct kst_flow flow;
    struct kst_result result = {0};
    for (uint32_t part = 0; part < 2; part++) {
        struct wire w = whole;
        memmove(w.data + 20, whole.data + 20 + part * 24, 24);
        put16(w.data + 2, 44);
        put16(w.data + 6, part == 0 ? 0x2000 : 24 / 8);
        put16(w.data + 10, 0);
        put16(w.data + 10, sum_folded(sum_of(0, w.data, 20)));
        kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = 44, .zone = 9, .flags = ORIGINAL,
                                             .policy = 3, .helper = kst_helper_number("tftp")}, 1, &result);
    }
    must_be(result.flags, KST_CREATED | KST_REASSEMBLED);
    must(kst_get(t, result.entry, &flow));
    must_be(flow.tuple[0].zone, 9);
    must_be(flow.tuple[1].zone, 0);
    must_be(flow.policy, 3);
    must_be(flow.helper, kst_helper_number("tftp"));
    free(t);
}
END_TEST

START_TEST(zones_print)
{
    struct kst *t = zoned_table();
    const struct say to = {.protocol = UDP, .from = 1, .to = 2, .sport = 5, .dport = 6};
    kst_id id = in_zone(t, to, 9, ORIGINAL).entry;
    must_print(t, id, KST_FORMAT_PROC,
               "ipv4     2 udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=6 zone-orig=9 [UNREPLIED] "
               "src=10.0.0.2 dst=10.0.0.1 sport=6 dport=5 mark=0");
    must_print(t, id, KST_FORMAT_LEGACY,
               "udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=6 [UNREPLIED] "
               "src=10.0.0.2 dst=10.0.0.1 sport=6 dport=5 mark=0");
    must_print(t, id, KST_FORMAT_CONNTRACK,
               "udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=6 zone-orig=9 [UNREPLIED] "
               "src=10.0.0.2 dst=10.0.0.1 sport=6 dport=5 mark=0");
    must_print(t, id, KST_FORMAT_JSON,
               "{\"family\":\"ipv4\",\"protocol\":\"udp\",\"protonum\":17,\"timeout\":30,\"original\":{\"src\":"
               "\"10.0.0.1\",\"dst\":\"10.0.0.2\",\"sport\":5,\"dport\":6},\"reply\":{\"src\":\"10.0.0.2\","
               "\"dst\":\"10.0.0.1\",\"sport\":6,\"dport\":5},\"seen_reply\":false,\"assured\":false,"
               "\"mark\":0,\"zone_original\":9,\"zone_reply\":0}");
    kst_flush(t);
    id = in_zone(t, to, 65535, REPLY).entry;
    must_print(t, id, KST_FORMAT_PROC,
               "ipv4     2 udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=6 [UNREPLIED] "
               "src=10.0.0.2 dst=10.0.0.1 sport=6 dport=5 zone-reply=65535 mark=0");
    free(t);
}
END_TEST

/* ---- labels ---- */

START_TEST(labels)
{
    const struct kst_config config = {.max = 2, .features = KST_WITH_LABELS};
    struct kst *t = table_new(config), *without = table_new((struct kst_config){.max = 1});
    static const uint8_t zeros[KST_LABEL_BYTES];
    uint8_t bits[KST_LABEL_BYTES];
    struct kst_flow flow;
    for (uint32_t i = 0; i < sizeof bits; i++)
        bits[i] = (uint8_t)(i + 1);
    const kst_id a = track(t, 0, stranger(1)).entry, b = track(t, 0, stranger(2)).entry;
    must(kst_get(t, a, &flow) && memcmp(flow.labels, zeros, sizeof zeros) == 0);
    must(kst_set_labels(t, a, bits));
    must(track(t, 0, answer_to(stranger(1))).entry == a);
    must(kst_get(t, a, &flow) && memcmp(flow.labels, bits, sizeof bits) == 0);
    must(kst_get(t, b, &flow) && memcmp(flow.labels, zeros, sizeof zeros) == 0);
    must(kst_get(t, a, &flow));
    must(kst_delete(t, a));
    must(!kst_set_labels(t, a, bits));
    const kst_id heir = track(t, 0, stranger(3)).entry; /* in its place */
    must_be((uint32_t)heir, (uint32_t)a);
    must(kst_get(t, heir, &flow) && memcmp(flow.labels, zeros, sizeof zeros) == 0);
    must(kst_delete(t, heir));
    flow = flow_of(stranger(4), 1000);
    memcpy(flow.labels, bits, sizeof bits);
    must(kst_get(t, kst_insert(t, &flow, NULL), &flow) && memcmp(flow.labels, bits, sizeof bits) == 0);
    kst_advance(t, 5000, 0);
    must(!kst_set_labels(t, flow.id, zeros)); /* expired */

    const kst_id plain = track(without, 0, stranger(1)).entry;
    must(!kst_set_labels(without, plain, bits));
    must(kst_get(without, plain, &flow) && memcmp(flow.labels, zeros, sizeof zeros) == 0);
    must_be_sound(t);
    free(t);
    free(without);
}
END_TEST

/* ---- timestamps ---- */

START_TEST(timestamps)
{
    struct kst *t = table_new((struct kst_config){
        .max = 4, .features = KST_WITH_TIMESTAMPS | KST_WITH_ACCOUNTING, .start_ms = 1000});
    struct kst *without = table_new((struct kst_config){.max = 1});
    struct kst_flow flow;
    must_be(kst_set(without, "nf_conntrack_timestamp", 1), KST_ERROR_SETTING_FEATURE);
    must_be(kst_set(without, "nf_conntrack_timestamp", 0), KST_ERROR_OK);
    free(without);
    const kst_id before = track(t, 1000, stranger(1)).entry;
    must_be(kst_set(t, "nf_conntrack_timestamp", 1), KST_ERROR_OK);
    const kst_id after = track(t, 2000, stranger(2)).entry;
    must_be(kst_set(t, "nf_conntrack_timestamp", 0), KST_ERROR_OK);
    track(t, 14999, stranger(1));
    track(t, 14999, stranger(2));
    must(kst_get(t, before, &flow));
    must(!flow.timestamped && flow.age_ms == 0);
    must(kst_get(t, after, &flow)); /* settled when it began */
    must(flow.timestamped);
    must_be(flow.age_ms, 12999);
    must_print(t, after, KST_FORMAT_PROC,
               "ipv4     2 udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=2 dport=9 [UNREPLIED] src=10.0.0.2 "
               "dst=10.0.0.1 sport=9 dport=2 mark=0 zone=0 delta-time=12");
    must_print(t, after, KST_FORMAT_LEGACY,
               "udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=2 dport=9 [UNREPLIED] src=10.0.0.2 "
               "dst=10.0.0.1 sport=9 dport=2 mark=0");
    must_print(t, after, KST_FORMAT_CONNTRACK,
               "udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=2 dport=9 [UNREPLIED] src=10.0.0.2 "
               "dst=10.0.0.1 sport=9 dport=2 mark=0 delta-time=12");
    must_print(t, before, KST_FORMAT_PROC,
               "ipv4     2 udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=1 dport=9 [UNREPLIED] src=10.0.0.2 "
               "dst=10.0.0.1 sport=9 dport=1 mark=0 zone=0");
    flow.tuple[0].zone = flow.tuple[1].zone = 5;
    const kst_id copy = kst_insert(t, &flow, NULL);
    struct kst_flow same;
    must(kst_get(t, copy, &same));
    must(same.timestamped && same.age_ms == flow.age_ms);
    flow.age_ms = UINT64_C(1) << 40; /* older than the clock */
    flow.tuple[0].zone = flow.tuple[1].zone = 6;
    must(kst_get(t, kst_insert(t, &flow, NULL), &same));
    must(same.timestamped);
    must_be(same.age_ms, 14999);
    must_be_sound(t);
    free(t);
}
END_TEST

/* ---- policies ---- */

START_TEST(policies)
{
    struct kst *t = table_new((struct kst_config){.max = 16});
    struct kst_flow flow;
    must_be(kst_set_policy(t, 1, "nf_conntrack_udp_timeout", 7), KST_ERROR_OK);
    must_be(kst_set_policy(t, KST_POLICIES, "nf_conntrack_udp_timeout", 5), KST_ERROR_OK);
    must_be(kst_set(t, "nf_conntrack_udp_timeout", 40), KST_ERROR_OK);
    static const uint32_t expected_s[KST_POLICIES + 1] = {40, 7, 40, 40, 40, 40, 40, 5};
    for (uint8_t policy = 0; policy <= KST_POLICIES; policy++) {
        const struct kst_result result = track_as(t, t->now_ms, stranger(policy), (struct kst_packet){.policy = policy});
        about("policy %u", policy);
        must(kst_get(t, result.entry, &flow));
        must_be(flow.policy, policy);
        must_be(flow.timeout_ms, expected_s[policy] * 1000);
        must_be(track(t, 0, stranger(policy)).entry, result.entry); /* it stays with the connection */
        must(kst_get(t, result.entry, &flow));
        must_be(flow.policy, policy);
        must_be(flow.timeout_ms, expected_s[policy] * 1000);
        track_as(t, t->now_ms, stranger(policy), (struct kst_packet){.policy = (uint8_t)(KST_POLICIES - policy)});
        must(kst_get(t, result.entry, &flow));
        must_be(flow.policy, policy); /* which another packet cannot change */
        must_be(flow.timeout_ms, expected_s[policy] * 1000);
    }
    /* What is not its own follows the table, whenever that changes. */
    must_be(kst_set(t, "nf_conntrack_udp_timeout", 50), KST_ERROR_OK);
    must_be(kst_set(t, "nf_conntrack_udp_timeout_stream", 90), KST_ERROR_OK);
    for (uint8_t policy = 0; policy <= KST_POLICIES; policy++) {
        const kst_id id = track(t, 100, stranger(policy)).entry;
        about("policy %u, the table's settings changed", policy);
        must(kst_get(t, id, &flow));
        must_be(flow.timeout_ms, expected_s[policy] == 40 ? 50000 : expected_s[policy] * 1000);
        track(t, 100, answer_to(stranger(policy)));
        track(t, 2101, stranger(policy)); /* a stream */
        must(kst_get(t, id, &flow));
        must_be(flow.timeout_ms, 90000);
        kst_track(t, 100, NULL, 0, NULL);
    }
    uint32_t value;
    must(kst_setting(t, "nf_conntrack_udp_timeout", &value));
    must_be(value, 50); /* a policy's value is not the table's */
    must_be_sound(t);
    free(t);
}
END_TEST

START_TEST(policies_refused)
{
    struct kst *t = table_new((struct kst_config){.max = 4});
    static const struct {
        uint8_t policy;
        const char *name;
        uint32_t value;
        enum kst_error expected;
    } rows[] = {
        {0, "nf_conntrack_udp_timeout", 5, KST_ERROR_POLICY},
        {KST_POLICIES + 1, "nf_conntrack_udp_timeout", 5, KST_ERROR_POLICY},
        {255, "nf_conntrack_udp_timeout", 5, KST_ERROR_POLICY},
        {1, "nf_conntrack_udp", 5, KST_ERROR_SETTING_NAME},
        {1, "nf_conntrack_udp_timeout", KST_TIMEOUT_MAX_S + 1, KST_ERROR_SETTING_RANGE},
        {1, "nf_conntrack_max", 1, KST_ERROR_POLICY},
        {1, "nf_conntrack_acct", 1, KST_ERROR_POLICY},
        {1, "nf_conntrack_tcp_loose", 0, KST_ERROR_POLICY},
        {1, "nf_conntrack_buckets", 0, KST_ERROR_POLICY},
        {1, "ipfrag_time", 5, KST_ERROR_POLICY},
        {1, "nf_conntrack_frag6_timeout", 5, KST_ERROR_POLICY},
        {1, "nf_conntrack_sip_timeout", 5, KST_ERROR_POLICY},
        {1, "keepstate_pressure_high", 5, KST_ERROR_POLICY},
        {1, "nf_conntrack_udp_timeout", KST_TIMEOUT_MAX_S, KST_ERROR_OK},
        {1, "nf_conntrack_udp_timeout", 0, KST_ERROR_OK},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        about("row %zu", i);
        must_be(kst_set_policy(t, rows[i].policy, rows[i].name, rows[i].value), rows[i].expected);
    }
    /* Every timeout of a connection is one, and nothing else. */
    uint32_t taken = 0;
    const char *name;
    for (uint32_t i = 0; (name = kst_setting_name(i)) != NULL; i++) {
        if (kst_set_policy(t, 2, name, 1) != KST_ERROR_OK)
            continue;
        about("%s", name);
        must_be(kst_set(t, name, 9), KST_ERROR_OK);
        must_be(t->policy[1][i], 1);
        must_be(t->policy[2][i], 9);
        taken++;
    }
    must_be(taken, 7 + 8 + 10); /* generic, GRE, ICMP, UDP; SCTP; TCP */
    free(t);
}
END_TEST

/* In every protocol, and for each connection its own. */
START_TEST(policies_of_every_protocol)
{
    const struct say ping6 = {.protocol = ICMP6, .v6 = true, .from = 1, .to = 2, .dport = 0x8000};
    const struct {
        const char *name;
        struct say say[3];
    } rows[] = {
        {"nf_conntrack_generic_timeout", {{.protocol = ESP, .from = 1}}},
        {"nf_conntrack_gre_timeout", {{.protocol = GRE, .from = 1}}},
        {"nf_conntrack_icmp_timeout", {{.protocol = ICMP, .from = 1, .dport = 0x0800}}},
        {"nf_conntrack_icmpv6_timeout", {ping6}},
        {"nf_conntrack_udp_timeout", {{.protocol = UDPLITE, .from = 1}}},
        {"nf_conntrack_sctp_timeout_closed", {sctp(0, 0, 1)}},
        {"nf_conntrack_sctp_timeout_cookie_wait", {sctp(0, 0, 1), sctp(1, 0, 2)}},
        {"nf_conntrack_tcp_timeout_syn_sent", {tcp(0, SYN, 1000, 0, 0)}},
        {"nf_conntrack_tcp_timeout_syn_recv", {tcp(0, SYN, 1000, 0, 0), tcp(1, SYN | ACK, 5000, 1001, 0)}},
        {"nf_conntrack_tcp_timeout_established", {HANDSHAKE}},
        {"nf_conntrack_tcp_timeout_unacknowledged", {tcp(0, ACK, 1001, 5001, 0)}},
    };
    for (size_t i = 0; i < 2 * COUNT(rows); i++) {
        const uint8_t policy = i % 2 == 0 ? 0 : 4;
        struct kst *t = table_new((struct kst_config){.max = 2});
        struct kst_flow flow;
        kst_id id = 0;
        uint32_t normal;
        about("%s, policy %u", rows[i / 2].name, policy);
        must(kst_setting(t, rows[i / 2].name, &normal));
        must_be(kst_set_policy(t, 4, rows[i / 2].name, 77), KST_ERROR_OK);
        for (size_t step = 0; step < 3 && rows[i / 2].say[step].protocol != 0; step++)
            id = track_as(t, t->now_ms, rows[i / 2].say[step], (struct kst_packet){.policy = policy}).entry;
        must(kst_get(t, id, &flow));
        must_be(flow.timeout_ms, (policy != 0 ? 77 : normal) * UINT64_C(1000));
        must_be(flow.policy, policy);
        struct kst *copy = table_new((struct kst_config){.max = 2}); /* restored, it has it still */
        must_be(kst_set_policy(copy, 4, rows[i / 2].name, 77), KST_ERROR_OK);
        id = kst_insert(copy, &flow, NULL);
        must(kst_get(copy, id, &flow));
        must_be(flow.policy, policy);
        must_be_sound(copy);
        free(t);
        free(copy);
    }
}
END_TEST

SUITE("extras", a_zone_of_the_original_direction, a_zone_of_the_reply_direction, no_zone_of_one_direction,
      answers_of_others, oneself_in_zones, hidden_by_who_has_expired, errors_in_zones, fragments_in_zones, zones_print, labels, timestamps, policies,
      policies_refused, policies_of_every_protocol)
