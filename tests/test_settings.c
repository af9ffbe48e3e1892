/* SPDX-License-Identifier: MIT */
/* test_settings.c - properties: every setting has Linux's name and default, takes exactly its range
 * and does what it says: each timeout is what a packet gives its connection, from the next packet
 * on; and a machine's memory chooses the sizes that it chooses in Linux. */
#include "support.h"

/* As measured on Linux 6.18. */
static const struct {
    const char *name;
    uint32_t normal, lowest, highest;
} settings[] = {
    {"nf_conntrack_acct", 0, 0, 1},
    {"nf_conntrack_checksum", 1, 0, 1},
    {"nf_conntrack_generic_timeout", 600, 0, 8589934},
    {"nf_conntrack_gre_timeout", 30, 0, 8589934},
    {"nf_conntrack_gre_timeout_stream", 180, 0, 8589934},
    {"nf_conntrack_icmp_timeout", 30, 0, 8589934},
    {"nf_conntrack_icmpv6_timeout", 30, 0, 8589934},
    {"nf_conntrack_udp_timeout", 30, 0, 8589934},
    {"nf_conntrack_udp_timeout_stream", 120, 0, 8589934},
    {"nf_conntrack_sctp_timeout_closed", 10, 0, 8589934},
    {"nf_conntrack_sctp_timeout_cookie_wait", 3, 0, 8589934},
    {"nf_conntrack_sctp_timeout_cookie_echoed", 3, 0, 8589934},
    {"nf_conntrack_sctp_timeout_established", 210, 0, 8589934},
    {"nf_conntrack_sctp_timeout_heartbeat_sent", 30, 0, 8589934},
    {"nf_conntrack_sctp_timeout_shutdown_sent", 3, 0, 8589934},
    {"nf_conntrack_sctp_timeout_shutdown_recd", 3, 0, 8589934},
    {"nf_conntrack_sctp_timeout_shutdown_ack_sent", 3, 0, 8589934},
    {"nf_conntrack_tcp_be_liberal", 0, 0, 1},
    {"nf_conntrack_tcp_ignore_invalid_rst", 0, 0, 1},
    {"nf_conntrack_tcp_loose", 1, 0, 1},
    {"nf_conntrack_tcp_max_retrans", 3, 0, 255},
    {"nf_conntrack_tcp_timeout_syn_sent", 120, 0, 8589934},
    {"nf_conntrack_tcp_timeout_syn_recv", 60, 0, 8589934},
    {"nf_conntrack_tcp_timeout_established", 432000, 0, 8589934},
    {"nf_conntrack_tcp_timeout_fin_wait", 120, 0, 8589934},
    {"nf_conntrack_tcp_timeout_close_wait", 60, 0, 8589934},
    {"nf_conntrack_tcp_timeout_last_ack", 30, 0, 8589934},
    {"nf_conntrack_tcp_timeout_time_wait", 120, 0, 8589934},
    {"nf_conntrack_tcp_timeout_close", 10, 0, 8589934},
    {"nf_conntrack_tcp_timeout_max_retrans", 300, 0, 8589934},
    {"nf_conntrack_tcp_timeout_unacknowledged", 300, 0, 8589934},
    {"ipfrag_time", 30, 0, 8589934}, /* net.ipv4 */
    {"nf_conntrack_frag6_timeout", 60, 0, 8589934},
    {"nf_conntrack_events", 2, 0, 2},
    {"nf_conntrack_timestamp", 0, 0, 1},
    {"nf_conntrack_ftp_loose", 0, 0, 1}, /* parameters of the helpers' modules */
    {"nf_conntrack_sip_direct_media", 1, 0, 1},
    {"nf_conntrack_sip_direct_signalling", 1, 0, 1},
    {"nf_conntrack_sip_timeout", 3600, 0, 8589934},
    {"keepstate_udplite_rfc3828", 0, 0, 1}, /* ours */
    {"keepstate_half_open_max", 100, 1, 100},
    {"keepstate_source_max", 0, 0, KST_ENTRIES_MAX},
    {"keepstate_zone_max", 0, 0, KST_ENTRIES_MAX},
    {"keepstate_pressure_high", 95, 1, 100},
    {"keepstate_pressure_low", 85, 0, 100},
    {"nf_conntrack_expect_max", 33, 0, 33}, /* of the table below */
    {"nf_conntrack_max", 77, 1, 77},
    {"nf_conntrack_buckets", 64, 64, 64},
    {"nf_conntrack_count", 0, 0, 0},
};

static const struct kst_config config = {
    .max = 77, .buckets = 33, .features = KST_WITH_ACCOUNTING | KST_WITH_TIMESTAMPS | KST_WITH_LIMITS,
    .expectations = 33, .seed = {1, 2}};

static void must_read_as(const struct kst *t, const char *name, uint32_t expected)
{
    uint32_t value = ~expected;
    must(kst_setting(t, name, &value));
    must_be(value, expected);
}

START_TEST(names_and_defaults)
{
    struct kst *t = table_new(config);
    for (size_t i = 0; i < COUNT(settings); i++) {
        about("%s", settings[i].name);
        must_read_as(t, settings[i].name, settings[i].normal);
    }
    uint32_t number = 0;
    const char *name;
    while ((name = kst_setting_name(number)) != NULL) {
        uint32_t times = 0;
        for (size_t i = 0; i < COUNT(settings); i++)
            times += strcmp(settings[i].name, name) == 0;
        about("%s", name);
        must_be(times, 1);
        number++;
    }
    must_be(number, COUNT(settings));
    must(kst_setting_name(UINT32_MAX) == NULL);
    free(t);
}
END_TEST

START_TEST(ranges)
{
    struct kst *t = table_new(config);
    for (size_t i = 0; i < COUNT(settings) - 2; i++) {
        const char *name = settings[i].name;
        const uint32_t lowest = settings[i].lowest, highest = settings[i].highest;
        const uint32_t outside[] = {lowest - 1, highest + 1, UINT32_MAX};
        about("%s", name);
        must_be(kst_set(t, name, lowest), KST_ERROR_OK);
        must_read_as(t, name, lowest);
        must_be(kst_set(t, name, highest), KST_ERROR_OK);
        must_read_as(t, name, highest);
        for (size_t j = 0; j < COUNT(outside); j++)
            must_be(kst_set(t, name, outside[j]), KST_ERROR_SETTING_RANGE);
        must_read_as(t, name, highest);
        must_be(kst_set(t, name, settings[i].normal), KST_ERROR_OK);
    }
    for (size_t i = 0; i < COUNT(settings); i++) /* no setting moved another */
        must_read_as(t, settings[i].name, settings[i].normal);
    free(t);
}
END_TEST

START_TEST(read_only)
{
    static const char *const names[] = {"nf_conntrack_buckets", "nf_conntrack_count"};
    struct kst *t = table_new(config);
    track(t, 0, stranger(1));
    track(t, 0, stranger(2));
    for (uint32_t value = 0; value < 3; value++)
        for (size_t i = 0; i < COUNT(names); i++)
            must_be(kst_set(t, names[i], value), KST_ERROR_SETTING_READ_ONLY);
    must_read_as(t, "nf_conntrack_buckets", 64);
    must_read_as(t, "nf_conntrack_count", 2);
    free(t);
}
END_TEST

START_TEST(unknown)
{
    static const char *const names[] = {
        "", "nf_conntrack", "nf_conntrack_max ", " nf_conntrack_max", "NF_CONNTRACK_MAX",
        "nf_conntrack_tcp_timeout", "net.netfilter.nf_conntrack_max", "nf_conntrack_maximum"};
    struct kst *t = table_new(config);
    for (size_t i = 0; i < COUNT(names); i++) {
        uint32_t value = 4711, other = 4711;
        about("\"%s\"", names[i]);
        must_be(kst_set(t, names[i], 1), KST_ERROR_SETTING_NAME);
        must(!kst_setting(t, names[i], &value));
        must(!kst_setting_range(t, names[i], &value, &other));
        must_be(value + other, 2 * 4711);
    }
    free(t);
}
END_TEST

START_TEST(told_ranges)
{
    struct kst *t = table_new(config);
    for (size_t i = 0; i < COUNT(settings) - 2; i++) {
        uint32_t lowest = 1, highest = 0;
        about("%s", settings[i].name);
        must(kst_setting_range(t, settings[i].name, &lowest, &highest));
        must_be(lowest, settings[i].lowest);
        must_be(highest, settings[i].highest);
    }
    for (uint32_t count = 0; count < 2; count++) { /* what can only be read is what it is */
        uint32_t lowest = 7, highest = 7;
        must(kst_setting_range(t, "nf_conntrack_count", &lowest, &highest));
        must_be(lowest, count);
        must_be(highest, count);
        track(t, 0, stranger(1));
    }
    free(t);
}
END_TEST

START_TEST(accounting)
{
    struct kst *without = table_new((struct kst_config){.max = 1});
    must_be(kst_set(without, "nf_conntrack_acct", 1), KST_ERROR_SETTING_FEATURE);
    must_be(kst_set(without, "nf_conntrack_acct", 0), KST_ERROR_OK);
    must_read_as(without, "nf_conntrack_acct", 0);
    free(without);

    struct kst *t = table_new(config);
    struct kst_flow flow;
    const kst_id before = track(t, 0, stranger(1)).entry;
    must_be(kst_set(t, "nf_conntrack_acct", 1), KST_ERROR_OK);
    const kst_id after = track(t, 0, stranger(2)).entry;
    track(t, 0, stranger(1));
    track(t, 0, answer_to(stranger(2)));
    must_be(kst_set(t, "nf_conntrack_acct", 0), KST_ERROR_OK);
    struct say longer = stranger(2);
    longer.bytes = 100;
    track(t, 0, longer);
    must(kst_get(t, before, &flow));
    must(!flow.accounted && flow.packets[0] == 0);
    must(kst_get(t, after, &flow)); /* who is counted stays so */
    must(flow.accounted);
    must_be(flow.packets[KST_ORIGINAL], 2);
    must_be(flow.bytes[KST_ORIGINAL], 28 + 128);
    must_be(flow.packets[KST_REPLY], 1);
    must_be(flow.bytes[KST_REPLY], 28);
    free(t);
}
END_TEST

START_TEST(timeouts)
{
    const struct say ping = {.protocol = ICMP, .from = 1, .to = 2, .dport = 0x0800};
    const struct say ping6 = {.protocol = ICMP6, .v6 = true, .from = 1, .to = 2, .dport = 0x8000};
    const struct say gre = {.protocol = GRE, .from = 1, .to = 2};
    const struct say lite = {.protocol = UDPLITE, .from = 1, .to = 2};
    const struct say data = tcp(0, ACK, 1001, 5001, 10);
    const struct {
        const char *setting; /* without nf_conntrack_ */
        struct say steps[8];
        uint64_t last_ms; /* when the last of them comes; the others at 0 */
    } rows[] = {
        {"generic_timeout", {{.protocol = ESP}}, 0},
        {"gre_timeout", {gre, gre, answer_to(gre)}, 1},
        {"gre_timeout_stream", {gre, answer_to(gre), gre}, 1},
        {"icmp_timeout", {ping, ping}, 1},
        {"icmpv6_timeout", {ping6}, 0},
        {"udp_timeout", {stranger(1)}, 0},
        {"udp_timeout", {stranger(1), answer_to(stranger(1))}, 9000},
        {"udp_timeout", {stranger(1), answer_to(stranger(1)), stranger(1)}, 2000},
        {"udp_timeout_stream", {stranger(1), answer_to(stranger(1)), stranger(1)}, 2001},
        {"udp_timeout", {lite, lite, answer_to(lite)}, 9000},
        {"udp_timeout_stream", {lite, answer_to(lite), lite}, 0},
        {"sctp_timeout_closed", {sctp(0, 0, 1)}, 0},
        {"sctp_timeout_cookie_wait", {sctp(0, 0, 1), sctp(1, 0, 2)}, 0},
        {"sctp_timeout_cookie_echoed", {sctp(0, 0, 1), sctp(1, 0, 2), sctp(0, 0, 10)}, 0},
        {"sctp_timeout_established",
         {sctp(0, 0, 1), sctp(1, 0, 2), sctp(0, 0, 10), sctp(1, 0, 11)},
         0},
        {"sctp_timeout_shutdown_sent",
         {sctp(0, 0, 1), sctp(1, 0, 2), sctp(0, 0, 10), sctp(1, 0, 11), sctp(0, 0, 7)},
         0},
        {"sctp_timeout_shutdown_recd",
         {sctp(0, 0, 1), sctp(1, 0, 2), sctp(0, 0, 10), sctp(1, 0, 11), sctp(1, 0, 7)},
         0},
        {"sctp_timeout_shutdown_ack_sent",
         {sctp(0, 0, 1), sctp(1, 0, 2), sctp(0, 0, 10), sctp(1, 0, 11), sctp(0, 0, 7),
          sctp(1, 0, 8)},
         0},
        {"sctp_timeout_heartbeat_sent", {sctp(0, 7, 4)}, 0},
        {"tcp_timeout_syn_sent", {tcp(0, SYN, 1000, 0, 0)}, 0},
        {"tcp_timeout_syn_recv", {tcp(0, SYN, 1000, 0, 0), tcp(1, SYN | ACK, 5000, 1001, 0)}, 9},
        {"tcp_timeout_established", {HANDSHAKE}, 9},
        {"tcp_timeout_unacknowledged", {HANDSHAKE, data}, 9},
        {"tcp_timeout_unacknowledged", {tcp(0, ACK, 1001, 5001, 0)}, 0}, /* picked up */
        {"tcp_timeout_max_retrans", {HANDSHAKE, data, data, data, data}, 9},
        {"tcp_timeout_fin_wait", {HANDSHAKE, tcp(0, FIN | ACK, 1001, 5001, 0)}, 9},
        {"tcp_timeout_close_wait",
         {HANDSHAKE, tcp(0, FIN | ACK, 1001, 5001, 0), tcp(1, ACK, 5001, 1002, 0)},
         9},
        {"tcp_timeout_last_ack",
         {HANDSHAKE, tcp(0, FIN | ACK, 1001, 5001, 0), tcp(1, FIN | ACK, 5001, 1002, 0)},
         9},
        {"tcp_timeout_time_wait",
         {HANDSHAKE, tcp(0, FIN | ACK, 1001, 5001, 0), tcp(1, FIN | ACK, 5001, 1002, 0),
          tcp(0, ACK, 1002, 5002, 0)},
         9},
        {"tcp_timeout_close", {HANDSHAKE, tcp(1, RST, 5001, 0, 0)}, 9},
    };
    for (size_t i = 0; i < 2 * COUNT(rows); i++) { /* by default, then set to 77 seconds */
        const bool set = i >= COUNT(rows);
        const struct say *steps = rows[i % COUNT(rows)].steps;
        struct kst *t = table_new(config);
        struct kst_flow flow;
        char name[80];
        uint32_t seconds = 0;
        snprintf(name, sizeof name, "nf_conntrack_%s", rows[i % COUNT(rows)].setting);
        about("%s, %s, row %zu", name, set ? "set" : "by default", i % COUNT(rows));
        if (set)
            must_be(kst_set(t, name, 77), KST_ERROR_OK);
        must(kst_setting(t, name, &seconds));
        for (size_t step = 0; step < 8 && steps[step].protocol != 0; step++) {
            const bool last = step == 7 || steps[step + 1].protocol == 0;
            const struct kst_result result =
                track(t, last ? rows[i % COUNT(rows)].last_ms : 0, steps[step]);
            must_say(result, KST_REASON_NONE);
        }
        must_be(kst_count(t), 1);
        must(kst_get(t, kst_next(t, 0), &flow));
        must_be(flow.timeout_ms, seconds * UINT64_C(1000));
        free(t);
    }
}
END_TEST

/* Both sides send a SYN: a state whose 120 seconds nothing can change. The answering SYN itself
 * prolongs nothing. */
START_TEST(syn_sent2)
{
    struct kst *t = table_new(config);
    struct kst_flow flow;
    must_be(kst_set(t, "nf_conntrack_tcp_timeout_syn_sent", 5), KST_ERROR_OK);
    const kst_id id = track(t, 0, tcp(0, SYN, 1000, 0, 0)).entry;
    must_say(track(t, 1000, tcp(1, SYN, 5000, 0, 0)), KST_REASON_TCP_SYN_AGAIN);
    must(kst_get(t, id, &flow));
    must_be(flow.state, KST_TCP_SYN_SENT2);
    must_be(flow.timeout_ms, 4000);
    must_say(track(t, 1000, tcp(0, SYN, 1000, 0, 0)), KST_REASON_NONE);
    must(kst_get(t, id, &flow));
    must_be(flow.state, KST_TCP_SYN_SENT2);
    must_be(flow.timeout_ms, 120000);
    free(t);
}
END_TEST

START_TEST(a_running_timeout_stays)
{
    const struct say gre = {.protocol = GRE, .from = 1, .to = 2};
    struct kst *t = table_new(config);
    struct kst_flow flow;
    const kst_id udp = track(t, 0, stranger(1)).entry, tunnel = track(t, 0, gre).entry;
    must_be(kst_set(t, "nf_conntrack_udp_timeout", 5), KST_ERROR_OK);
    must_be(kst_set(t, "nf_conntrack_gre_timeout", 5), KST_ERROR_OK);
    must(kst_get(t, udp, &flow));
    must_be(flow.timeout_ms, 30000);
    track(t, 1000, stranger(1));
    must(kst_get(t, udp, &flow));
    must_be(flow.timeout_ms, 5000);
    track(t, 1000, gre); /* noted when the connection began */
    must(kst_get(t, tunnel, &flow));
    must_be(flow.timeout_ms, 30000);
    must_be(flow.gre_timeouts_s[0], 30);
    must_be(flow.gre_timeouts_s[1], 180);
    kst_advance(t, 6000, 100);
    must_be(kst_count(t), 1);
    free(t);
}
END_TEST

/* The switches, each off and on: the reason of the last packet. */
START_TEST(switches)
{
    const struct say data = tcp(0, ACK, 1001, 5001, 10);
    const struct {
        const char *setting;
        struct say steps[8];
        enum kst_reason reasons[2]; /* off, on */
    } rows[] = {
        {"nf_conntrack_tcp_loose",
         {tcp(0, ACK, 1, 1, 0)},
         {KST_REASON_TCP_PICKUP, KST_REASON_NONE}},
        {"nf_conntrack_tcp_be_liberal",
         {HANDSHAKE, tcp(0, ACK, 99999, 5001, 1)},
         {KST_REASON_TCP_SEQ_OVER, KST_REASON_NONE}},
        {"nf_conntrack_tcp_be_liberal", /* of no use against this */
         {HANDSHAKE, tcp(0, RST, 900, 0, 0)},
         {KST_REASON_TCP_RST_SEQ, KST_REASON_TCP_RST_SEQ}},
        {"nf_conntrack_tcp_ignore_invalid_rst",
         {HANDSHAKE, tcp(0, RST, 900, 0, 0)},
         {KST_REASON_TCP_RST_SEQ, KST_REASON_TCP_RST_HELD}},
    };
    for (size_t i = 0; i < 2 * COUNT(rows); i++) {
        const size_t row = i / 2;
        struct kst *t = table_new(config);
        struct kst_result result = {0};
        about("%s = %zu", rows[row].setting, i % 2);
        must_be(kst_set(t, rows[row].setting, i % 2), KST_ERROR_OK);
        for (size_t step = 0; step < 8 && rows[row].steps[step].protocol != 0; step++)
            result = track(t, 0, rows[row].steps[step]);
        must_say(result, rows[row].reasons[i % 2]);
        free(t);
    }
    for (uint32_t allowed = 0; allowed < 5; allowed++) { /* nf_conntrack_tcp_max_retrans */
        const struct say steps[] = {HANDSHAKE, data, data, data};
        struct kst *t = table_new(config);
        struct kst_flow flow;
        about("%u retransmissions", allowed);
        must_be(kst_set(t, "nf_conntrack_tcp_max_retrans", allowed), KST_ERROR_OK);
        must_be(kst_set(t, "nf_conntrack_tcp_timeout_max_retrans", 50), KST_ERROR_OK);
        for (size_t step = 0; step < COUNT(steps); step++)
            track(t, 0, steps[step]);
        must(kst_get(t, kst_next(t, 0), &flow));
        must_be(flow.timeout_ms, allowed <= 2 ? 50000 : 300000); /* two of them were */
        free(t);
    }
}
END_TEST

START_TEST(udplite_as_linux_or_as_rfc3828)
{
    for (uint32_t way = 0; way < 4; way++) {
        const uint32_t set = way & 1, sent = way >> 1;
        struct kst *t = table_new(config);
        struct wire w = wire_of(&(struct say){.protocol = UDPLITE, .bytes = 5});
        if (sent)
            wire_sum(&w, 6, w.size - w.l4_at, UDPLITE);
        about("keepstate_udplite_rfc3828 = %u, %s", set, sent ? "RFC 3828" : "Linux");
        must_be(kst_set(t, "keepstate_udplite_rfc3828", set), KST_ERROR_OK);
        must_say(track_wire(t, 0, &w),
                 set == sent ? KST_REASON_NONE : KST_REASON_UDPLITE_CHECKSUM);
        free(t);
    }
}
END_TEST

/* What Linux chooses, by memory and by era. */
START_TEST(default_sizes)
{
    static const uint64_t mib = UINT64_C(1) << 20;
    static const struct {
        uint64_t memory_mib;
        uint32_t extra; /* bytes more than that */
        enum kst_era era;
        uint32_t buckets, max;
    } rows[] = {
        {0, 0, KST_ERA_2_4, 16, 128},
        {128, 0, KST_ERA_2_4, 1024, 8192},
        {256, 0, KST_ERA_2_4, 2048, 16384},
        {512, 0, KST_ERA_2_4, 4096, 32768},
        {1024, 0, KST_ERA_2_4, 8192, 65536},
        {1024, 1, KST_ERA_2_4, 8192, 65536},
        {4096, 0, KST_ERA_2_4, 8192, 65536},
        {0, 0, KST_ERA_TO_5_14, 32, 128},
        {512, 0, KST_ERA_TO_5_14, 4096, 16384},
        {1024, 0, KST_ERA_TO_5_14, 8192, 32768},
        {1024, 1, KST_ERA_TO_5_14, 16384, 65536},
        {4096, 0, KST_ERA_TO_5_14, 16384, 65536},
        {4096, 1, KST_ERA_TO_5_14, 65536, 262144},
        {0, 0, KST_ERA_TODAY, 1024, 1024},
        {128, 0, KST_ERA_TODAY, 1024, 1024},
        {129, 0, KST_ERA_TODAY, 1536, 1536}, /* 1032, rounded up to whole pages */
        {512, 0, KST_ERA_TODAY, 4096, 4096},
        {1024, 0, KST_ERA_TODAY, 8192, 8192},
        {1024, 1, KST_ERA_TODAY, 65536, 65536},
        {4096, 0, KST_ERA_TODAY, 65536, 65536},
        {4096, 1, KST_ERA_TODAY, 262144, 262144},
        {24576, 0, KST_ERA_TODAY, 262144, 262144},
        {UINT64_C(1) << 43, 0, KST_ERA_TODAY, 262144, 262144},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct kst_sizes sizes =
            kst_default_sizes(rows[i].memory_mib * mib + rows[i].extra, rows[i].era);
        about("row %zu", i);
        must_be(sizes.buckets, rows[i].buckets);
        must_be(sizes.max, rows[i].max);
    }
    for (int era = KST_ERA_2_4; era <= KST_ERA_TODAY; era++) { /* and they are accepted */
        const struct kst_sizes sizes = kst_default_sizes(UINT64_MAX, (enum kst_era)era);
        must(kst_bytes(&(struct kst_config){.max = sizes.max, .buckets = sizes.buckets}) > 0);
    }
}
END_TEST

SUITE("settings", names_and_defaults, ranges, read_only, unknown, told_ranges, accounting, timeouts,
      syn_sent2, a_running_timeout_stays, switches, udplite_as_linux_or_as_rfc3828, default_sizes)
