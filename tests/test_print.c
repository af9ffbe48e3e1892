/* SPDX-License-Identifier: MIT */
/* test_print.c - properties: connections print as Linux prints them (less `use=`), to the letter;
 * a line that does not fit is cut, terminated and never written beyond its buffer; none is longer
 * than promised; every name and sentence in the lists is there, and none twice. */
#include "support.h"

#include <arpa/inet.h>

static struct kst_flow flow_for(struct say say, uint32_t seconds, uint16_t status, uint8_t state)
{
    struct kst_flow flow = flow_of(say, seconds * UINT64_C(1000) + 999); /* seconds are floored */
    flow.status = status;
    flow.state = state;
    return flow;
}

enum { ANSWERED = KST_SEEN_REPLY, ASSURED = KST_SEEN_REPLY | KST_ASSURED };

/* As Linux 6.18 prints them. */
/* As the conntrack command of Debian 12 printed them (less `use=1`), and addresses as RFC 5952 and
 * inet_ntop have them. */
START_TEST(as_conntrack_prints)
{
    const struct say gre = {.protocol = GRE, .from = 1, .to = 2};
    const struct say ping6 = {
        .protocol = ICMP6, .v6 = true, .from = 1, .to = 2, .sport = 7, .dport = 0x8000};
    struct kst_flow zoned = flow_for(stranger(5), 29, 0, 0);
    zoned.tuple[0].zone = zoned.tuple[1].zone = 5;
    const struct {
        struct kst_flow flow;
        const char *line;
    } rows[] = {
        {flow_for(tcp(0, SYN, 0, 0, 0), 299, ASSURED, KST_TCP_ESTABLISHED),
         "tcp      6 299 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 src=10.0.0.2 "
         "dst=10.0.0.1 sport=80 dport=40000 [ASSURED] mark=0"},
        {flow_for(gre, 179, ANSWERED, 0),
         "gre      47 179 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x0 src=10.0.0.2 "
         "dst=10.0.0.1 srckey=0x0 dstkey=0x0 mark=0"},
        {flow_for(ping6, 29, 0, 0),
         "icmpv6   58 29 src=fd00::1 dst=fd00::2 type=128 code=0 id=7 [UNREPLIED] src=fd00::2 "
         "dst=fd00::1 type=129 code=0 id=7 mark=0"},
        {zoned,
         "udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5 dport=9 [UNREPLIED] src=10.0.0.2 "
         "dst=10.0.0.1 sport=9 dport=5 mark=0 zone=5"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char line[KST_LINE_MAX];
        kst_print(&rows[i].flow, KST_FORMAT_CONNTRACK, line, sizeof line);
        about("row %zu", i);
        must_read(line, rows[i].line);
    }

    draw_state = 5;
    for (int round = 0; round < 20000; round++) { /* few different words: runs of zeros, ties */
        struct kst_flow flow = flow_for(ping6, 1, 0, 0);
        static const uint16_t words[] = {0, 0, 0, 0, 1, 0xffff, 0xabc, 0x10};
        char expected[INET6_ADDRSTRLEN + 8], line[KST_LINE_MAX];
        for (size_t i = 0; i < 8; i++)
            put16(flow.tuple[0].src + 2 * i, words[draw_below(COUNT(words))]);
        strcpy(expected, "src=");
        inet_ntop(AF_INET6, flow.tuple[0].src, expected + 4, INET6_ADDRSTRLEN);
        strcat(expected, " ");
        kst_print(&flow, KST_FORMAT_CONNTRACK, line, sizeof line);
        char *src = strstr(line, "src=");
        must(src != NULL);
        src[strlen(expected)] = '\0';
        must_read(src, expected);
    }
}
END_TEST

START_TEST(as_linux_prints)
{
    const struct say tcp_say = tcp(0, SYN, 0, 0, 0);
    const struct say dns = {.protocol = UDP, .from = 1, .to = 2, .sport = 5353, .dport = 53};
    const struct say ping = {.protocol = ICMP, .from = 1, .to = 2, .sport = 4660, .dport = 0x0800};
    const struct say ping6 = {
        .protocol = ICMP6, .v6 = true, .from = 1, .to = 2, .sport = 7, .dport = 0x8000};
    const struct say esp = {.protocol = ESP, .from = 1, .to = 2};
    const struct say gre = {.protocol = GRE, .from = 1, .to = 2};
    struct {
        struct kst_flow flow;
        const char *proc, *legacy;
    } rows[] = {
        {flow_for(tcp_say, 119, 0, KST_TCP_SYN_SENT),
         "ipv4     2 tcp      6 119 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 "
         "[UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 mark=0 zone=0",
         "tcp      6 119 SYN_SENT src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 [UNREPLIED] "
         "src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 mark=0"},
        {flow_for(tcp_say, 431999, ASSURED, KST_TCP_ESTABLISHED),
         "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 "
         "packets=5 bytes=440 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 packets=4 bytes=520 "
         "[ASSURED] mark=7 zone=0",
         "tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 dport=80 packets=5 "
         "bytes=440 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 packets=4 bytes=520 [ASSURED] "
         "mark=7"},
        {flow_for(dns, 29, 0, 0),
         "ipv4     2 udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5353 dport=53 [UNREPLIED] "
         "src=10.0.0.2 dst=10.0.0.1 sport=53 dport=5353 mark=0 zone=0",
         "udp      17 29 src=10.0.0.1 dst=10.0.0.2 sport=5353 dport=53 [UNREPLIED] src=10.0.0.2 "
         "dst=10.0.0.1 sport=53 dport=5353 mark=0"},
        {flow_for(ping, 29, 0, 0),
         "ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=4660 [UNREPLIED] "
         "src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=4660 mark=0 zone=0",
         "icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=4660 [UNREPLIED] src=10.0.0.2 "
         "dst=10.0.0.1 type=0 code=0 id=4660 mark=0"},
        {flow_for(ping6, 29, ANSWERED, 0),
         "ipv6     10 icmpv6   58 29 src=fd00:0000:0000:0000:0000:0000:0000:0001 "
         "dst=fd00:0000:0000:0000:0000:0000:0000:0002 type=128 code=0 id=7 "
         "src=fd00:0000:0000:0000:0000:0000:0000:0002 dst=fd00:0000:0000:0000:0000:0000:0000:0001 "
         "type=129 code=0 id=7 mark=0 zone=0",
         ""},
        {flow_for(esp, 597, ANSWERED, 0),
         "ipv4     2 unknown  50 597 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1 mark=0 "
         "zone=5",
         "unknown  50 597 src=10.0.0.1 dst=10.0.0.2 src=10.0.0.2 dst=10.0.0.1 mark=0"},
        {flow_for(gre, 179, ASSURED, 0),
         "ipv4     2 gre      47 179 timeout=30, stream_timeout=180 src=10.0.0.1 dst=10.0.0.2 "
         "srckey=0x0 dstkey=0x0 src=10.0.0.2 dst=10.0.0.1 srckey=0x0 dstkey=0x0 [ASSURED] mark=0 "
         "zone=0",
         "gre      47 179 timeout=30, stream_timeout=180 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 "
         "dstkey=0x0 src=10.0.0.2 dst=10.0.0.1 srckey=0x0 dstkey=0x0 [ASSURED] mark=0"},
        {flow_for((struct say){.protocol = SCTP, .from = 1, .to = 2}, 2, 0, KST_SCTP_COOKIE_WAIT),
         "ipv4     2 sctp     132 2 COOKIE_WAIT src=10.0.0.1 dst=10.0.0.2 sport=0 dport=0 "
         "[UNREPLIED] src=10.0.0.2 dst=10.0.0.1 sport=0 dport=0 mark=0 zone=0",
         "sctp     132 2 COOKIE_WAIT src=10.0.0.1 dst=10.0.0.2 sport=0 dport=0 [UNREPLIED] "
         "src=10.0.0.2 dst=10.0.0.1 sport=0 dport=0 mark=0"},
        {flow_for((struct say){.protocol = UDPLITE, .from = 255, .to = 10}, 0, 0, 0),
         "ipv4     2 udplite  136 0 src=10.0.0.255 dst=10.0.0.10 sport=0 dport=0 [UNREPLIED] "
         "src=10.0.0.10 dst=10.0.0.255 sport=0 dport=0 mark=0 zone=0",
         "udplite  136 0 src=10.0.0.255 dst=10.0.0.10 sport=0 dport=0 [UNREPLIED] "
         "src=10.0.0.10 dst=10.0.0.255 sport=0 dport=0 mark=0"},
    };
    struct kst_flow *counted = &rows[1].flow;
    counted->accounted = true;
    counted->packets[0] = 5, counted->bytes[0] = 440;
    counted->packets[1] = 4, counted->bytes[1] = 520;
    counted->mark = 7;
    rows[5].flow.tuple[0].zone = rows[5].flow.tuple[1].zone = 5;
    rows[6].flow.gre_timeouts_s[0] = 30;
    rows[6].flow.gre_timeouts_s[1] = 180;
    for (size_t i = 0; i < COUNT(rows); i++) {
        char line[KST_LINE_MAX];
        about("row %zu", i);
        must_be(kst_print(&rows[i].flow, KST_FORMAT_PROC, line, sizeof line), strlen(rows[i].proc));
        must_read(line, rows[i].proc);
        must_be(kst_print(&rows[i].flow, KST_FORMAT_LEGACY, line, sizeof line),
                strlen(rows[i].legacy));
        must_read(line, rows[i].legacy);
    }
}
END_TEST

/* What a table hands out prints just so. */
START_TEST(tracked_then_printed)
{
    const struct say steps[] = {HANDSHAKE};
    struct kst *t = table_new((struct kst_config){.max = 1});
    struct kst_flow flow;
    char line[KST_LINE_MAX];
    for (size_t i = 0; i < COUNT(steps); i++)
        track(t, 0, steps[i]);
    kst_advance(t, 1, 0);
    must(kst_get(t, kst_next(t, 0), &flow));
    kst_print(&flow, KST_FORMAT_PROC, line, sizeof line);
    must_read(line,
              "ipv4     2 tcp      6 431999 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=40000 "
              "dport=80 src=10.0.0.2 dst=10.0.0.1 sport=80 dport=40000 [ASSURED] mark=0 zone=0");
    free(t);
}
END_TEST

START_TEST(json)
{
    char line[KST_LINE_MAX];
    struct kst_flow flow = flow_for(tcp(0, SYN, 0, 0, 0), 9, ASSURED, KST_TCP_CLOSE);
    flow.accounted = true;
    flow.packets[0] = 5, flow.bytes[0] = 440;
    flow.mark = UINT32_MAX;
    kst_print(&flow, KST_FORMAT_JSON, line, sizeof line);
    must_read(line,
              "{\"family\":\"ipv4\",\"protocol\":\"tcp\",\"protonum\":6,\"timeout\":9,"
              "\"state\":\"CLOSE\",\"original\":{\"src\":\"10.0.0.1\",\"dst\":\"10.0.0.2\","
              "\"sport\":40000,\"dport\":80,\"packets\":5,\"bytes\":440},\"reply\":{\"src\":"
              "\"10.0.0.2\",\"dst\":\"10.0.0.1\",\"sport\":80,\"dport\":40000,\"packets\":0,"
              "\"bytes\":0},\"seen_reply\":true,\"assured\":true,\"mark\":4294967295,\"zone\":0}");
    flow.helper = kst_helper_number("sip");
    flow.timestamped = true, flow.age_ms = 61999;
    flow.status |= KST_EXPECTED, flow.master = 5;
    flow.tuple[0].zone = 7;
    kst_print(&flow, KST_FORMAT_JSON, line, sizeof line);
    must_read(strstr(line, ",\"zone"), ",\"zone_original\":7,\"zone_reply\":0,\"age\":61,\"helper\":\"sip\",\"expected\":true,\"master\":5}");
    const struct say ping6 = {.protocol = ICMP6, .v6 = true, .sport = 1, .dport = 0x8003};
    flow = flow_for(ping6, 1, 0, 0);
    kst_print(&flow, KST_FORMAT_JSON, line, sizeof line);
    must_read(line,
              "{\"family\":\"ipv6\",\"protocol\":\"icmpv6\",\"protonum\":58,\"timeout\":1,"
              "\"original\":{\"src\":\"fd00:0000:0000:0000:0000:0000:0000:0000\",\"dst\":"
              "\"fd00:0000:0000:0000:0000:0000:0000:0000\",\"type\":128,\"code\":3,\"id\":1},"
              "\"reply\":{\"src\":\"fd00:0000:0000:0000:0000:0000:0000:0000\",\"dst\":"
              "\"fd00:0000:0000:0000:0000:0000:0000:0000\",\"type\":129,\"code\":3,\"id\":1},"
              "\"seen_reply\":false,\"assured\":false,\"mark\":0,\"zone\":0}");
    flow = flow_for((struct say){.protocol = GRE}, 1, 0, 0);
    flow.tuple[0].dst_port = flow.tuple[1].src_port = 77;
    kst_print(&flow, KST_FORMAT_JSON, line, sizeof line);
    must(strstr(line, "\"srckey\":0,\"dstkey\":77}") != NULL); /* JSON has no hexadecimal */
    kst_print(&flow, KST_FORMAT_PROC, line, sizeof line);
    must(strstr(line, " srckey=0x0 dstkey=0x4d ") != NULL);
}
END_TEST

static struct kst_flow draw_flow(void)
{
    struct say say = world_say();
    if (say.protocol == ICMP || say.protocol == ICMP6)
        say.dport = say.v6 ? 0x8000 : 0x0800;
    struct kst_flow flow = flow_of(say, draw() >> draw_below(64));
    flow.status = (uint16_t)(draw() & ASSURED);
    flow.accounted = draw_one_in(2);
    for (int i = 0; i < 2; i++) {
        flow.packets[i] = draw() >> draw_below(64);
        flow.bytes[i] = draw() >> draw_below(64);
        flow.gre_timeouts_s[i] = (uint32_t)draw();
    }
    flow.mark = (uint32_t)draw();
    flow.tuple[0].zone = draw_one_in(2) ? (uint16_t)draw() : 0;
    flow.tuple[1].zone = draw_one_in(2) ? flow.tuple[0].zone : 0;
    flow.timestamped = draw_one_in(2);
    flow.age_ms = draw() >> draw_below(64);
    flow.helper = (uint8_t)draw_below(6);
    flow.status |= draw_one_in(2) ? KST_EXPECTED : 0;
    flow.master = draw();
    return flow;
}

/* Braces that close, strings that end, a colon behind every name, no stray comma. */
static void must_be_json(const char *line)
{
    uint32_t depth = 0;
    char before = ',';
    for (const char *at = line; *at != '\0'; at++) {
        char now = *at;
        if (now == '"') {
            at += 1 + strcspn(at + 1, "\"\\");
            must(*at == '"');
            now = at[1] == ':' ? 'n' : 's'; /* a name, a string */
        } else if (strchr("{}:,", now) == NULL) {
            const size_t size = strcspn(at, "{}:,\"");
            at += size - 1;
            now = 'v'; /* true, false or a number */
            if (strncmp(at + 1 - size, "true", size) != 0 &&
                strncmp(at + 1 - size, "false", size) != 0)
                must_be(strspn(at + 1 - size, "0123456789"), size);
        }
        switch (now) {
        case 'n': must(before == '{' || before == ','); break;
        case ':': must(before == 'n'); break;
        case 's':
        case 'v': must(before == ':'); break;
        case '{': must(at == line || before == ':'); break;
        default: must(before == 's' || before == 'v' || before == '}'); break;
        }
        depth += now == '{';
        depth -= now == '}';
        must(depth > 0 || at[1] == '\0');
        before = now;
    }
    must_be(depth, 0);
}

START_TEST(json_is_json)
{
    draw_state = 1;
    for (int i = 0; i < 2000; i++) {
        const struct kst_flow flow = draw_flow();
        char line[KST_LINE_MAX];
        must(kst_print(&flow, KST_FORMAT_JSON, line, sizeof line) < sizeof line);
        about("%s", line);
        must_be_json(line);
    }
}
END_TEST

/* ---- expectations ---- */

static struct kst_expectation expectation_for(const char *helper, struct say say, uint8_t flags)
{
    const struct say master = {.protocol = TCP, .v6 = say.v6, .from = 1, .to = 2, .sport = 40000, .dport = 21};
    struct kst_expectation x = {.master = 5, .tuple = tuple_of(say), .master_tuple = tuple_of(master),
                                .timeout_ms = 297999, .flags = flags};
    x.helper = helper != NULL ? kst_helper_number(helper) : 0;
    return x;
}

START_TEST(expectations)
{
    const struct say data = {.protocol = TCP, .from = 2, .to = 1, .dport = 40001};
    const struct say data6 = {.protocol = UDP, .v6 = true, .from = 2, .to = 1, .sport = 7, .dport = 8};
    const struct say call = {.protocol = GRE, .from = 1, .to = 2, .sport = 100, .dport = 200};
    struct kst_expectation zoned = expectation_for("ftp", data, KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT);
    memset(zoned.tuple.src, 0, sizeof zoned.tuple.src);
    zoned.tuple.zone = 7;
    const struct {
        struct kst_expectation x;
        const char *proc, *conntrack, *json;
    } rows[] = {
        {expectation_for("ftp", data, KST_EXPECT_ANY_SRC_PORT),
         "297 l3proto = 2 proto=6 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=40001 ftp",
         "297 proto=6 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=40001 mask-src=255.255.255.255 "
         "mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 sport=40000 "
         "dport=21 class=0 helper=ftp",
         "{\"family\":\"ipv4\",\"protonum\":6,\"timeout\":297,\"expected\":{\"src\":\"10.0.0.2\",\"dst\":"
         "\"10.0.0.1\",\"sport\":0,\"dport\":40001},\"any_src\":false,\"any_sport\":true,\"permanent\":false,"
         "\"active\":true,\"master\":5,\"class\":0,\"helper\":\"ftp\"}"},
        {zoned, "297 l3proto = 2 proto=6 src=0.0.0.0 dst=10.0.0.1 sport=0 dport=40001 ftp",
         "297 proto=6 src=0.0.0.0 dst=10.0.0.1 sport=0 dport=40001 mask-src=0.0.0.0 "
         "mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.0.1 master-dst=10.0.0.2 sport=40000 "
         "dport=21 zone=7 class=0 helper=ftp",
         NULL},
        {expectation_for(NULL, data6, KST_EXPECT_PERMANENT | KST_EXPECT_INACTIVE | KST_EXPECT_USERSPACE),
         "297 l3proto = 10 proto=17 src=fd00:0000:0000:0000:0000:0000:0000:0002 "
         "dst=fd00:0000:0000:0000:0000:0000:0000:0001 sport=7 dport=8 PERMANENT,INACTIVE,USERSPACE ",
         "297 proto=17 src=fd00::2 dst=fd00::1 sport=7 dport=8 "
         "mask-src=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff mask-dst=ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "sport=65535 dport=65535 master-src=fd00::1 master-dst=fd00::2 sport=40000 dport=21 "
         "PERMANENT,INACTIVE,USERSPACE class=0 helper=",
         NULL},
        {expectation_for("pptp", call, KST_EXPECT_INACTIVE),
         "297 l3proto = 2 proto=47 src=10.0.0.1 dst=10.0.0.2 srckey=0x64 dstkey=0xc8 INACTIVE pptp",
         "297 proto=47 src=10.0.0.1 dst=10.0.0.2 srckey=0x64 dstkey=0xc8 mask-src=255.255.255.255 "
         "mask-dst=255.255.255.255 srckey=0xffff dstkey=0xffff master-src=10.0.0.1 master-dst=10.0.0.2 "
         "sport=40000 dport=21 INACTIVE class=0 helper=pptp",
         NULL},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char line[KST_LINE_MAX];
        about("row %zu", i);
        must_be(kst_print_expectation(&rows[i].x, KST_FORMAT_PROC, line, sizeof line), strlen(rows[i].proc));
        must_read(line, rows[i].proc);
        kst_print_expectation(&rows[i].x, KST_FORMAT_LEGACY, line, sizeof line);
        must_read(line, rows[i].proc);
        kst_print_expectation(&rows[i].x, KST_FORMAT_CONNTRACK, line, sizeof line);
        must_read(line, rows[i].conntrack);
        kst_print_expectation(&rows[i].x, KST_FORMAT_JSON, line, sizeof line);
        must_be_json(line);
        if (rows[i].json != NULL)
            must_read(line, rows[i].json);
    }
}
END_TEST

/* The longest ones, and those that do not fit. */
START_TEST(expectations_of_any_kind)
{
    struct guarded g = guarded_new(KST_LINE_MAX);
    draw_state = 9;
    for (uint32_t round = 0; round < 3000; round++) {
        struct kst_expectation x;
        char whole[KST_LINE_MAX];
        const enum kst_format format = (enum kst_format)(round % 4);
        for (size_t i = 0; i < sizeof x; i++)
            ((uint8_t *)&x)[i] = draw_one_in(2) ? 0xff : (uint8_t)draw();
        x.tuple.family = x.master_tuple.family = draw_one_in(2) ? KST_IPV4 : KST_IPV6;
        const size_t length = kst_print_expectation(&x, format, whole, sizeof whole);
        about("%s", whole);
        must(length < sizeof whole);
        must_be(length, strlen(whole));
        if (format == KST_FORMAT_JSON)
            must_be_json(whole);
        const size_t size = draw_below((uint32_t)length + 2);
        char *line = (char *)guarded_end(&g, size);
        must_be(kst_print_expectation(&x, format, line, size), length);
        if (size > 0) {
            must_be(strlen(line), size <= length ? size - 1 : length);
            must(memcmp(line, whole, size - 1) == 0);
        }
    }
    guarded_free(&g);
}
END_TEST

START_TEST(cut_lines)
{
    struct guarded g = guarded_new(KST_LINE_MAX + 1);
    draw_state = 2;
    for (int i = 0; i < 60; i++) {
        const struct kst_flow flow = draw_flow();
        const enum kst_format format = (enum kst_format)(i % 3);
        char whole[KST_LINE_MAX];
        const size_t length = kst_print(&flow, format, whole, sizeof whole);
        must_be(length, strlen(whole));
        must_be(kst_print(&flow, format, NULL, 0), length);
        for (size_t size = 0; size <= length + 1; size++) {
            char *line = (char *)guarded_end(&g, size);
            memset(g.page, 0x7f, g.bytes);
            about("%zu bytes for %s", size, whole);
            must_be(kst_print(&flow, format, line, size), length);
            must(line[-1] == 0x7f);
            if (size > 0) {
                must_be(strlen(line), size <= length ? size - 1 : length);
                must(memcmp(line, whole, size - 1) == 0);
            }
        }
    }
    guarded_free(&g);
}
END_TEST

START_TEST(the_longest_line)
{
    struct kst_flow flow = {.accounted = true, .timeout_ms = UINT64_MAX, .mark = UINT32_MAX,
                            .timestamped = true, .age_ms = UINT64_MAX, .helper = 3, .master = UINT64_MAX};
    size_t longest = 0;
    for (uint32_t protocol = 0; protocol < 256; protocol++) {
        for (uint32_t i = 0; i < 2 * 16 * 16; i++) {
            memset(flow.tuple, 0xff, sizeof flow.tuple);
            memset(flow.packets, 0xff, sizeof flow.packets);
            memset(flow.bytes, 0xff, sizeof flow.bytes);
            memset(flow.gre_timeouts_s, 0xff, sizeof flow.gre_timeouts_s);
            for (int direction = 0; direction < 2; direction++) {
                flow.tuple[direction].family = i % 2 ? KST_IPV4 : KST_IPV6;
                flow.tuple[direction].protocol = (uint8_t)protocol;
                flow.tuple[direction].zone = (uint16_t)(UINT16_MAX - (i / 128 % 2) * (uint32_t)direction);
            }
            flow.state = (uint8_t)(i / 2 % 16);
            flow.status = (uint16_t)(i / 32 % 2 ? 0xffff : i / 64 % 2 ? KST_ASSURED : 0);
            for (int format = KST_FORMAT_PROC; format <= KST_FORMAT_JSON; format++) {
                const size_t length = kst_print(&flow, (enum kst_format)format, NULL, 0);
                longest = length > longest ? length : longest;
            }
        }
    }
    must(longest < KST_LINE_MAX);
    must(longest > KST_LINE_MAX / 2); /* the limit is not absurd */
}
END_TEST

/* ---- names ---- */

static const char *reason_name(uint32_t i)
{
    return kst_reason_name((enum kst_reason)i);
}
static const char *reason_text(uint32_t i)
{
    return kst_reason_text((enum kst_reason)i);
}
static const char *error_text(uint32_t i)
{
    return kst_error_text((enum kst_error)i);
}
static const char *cause_text(uint32_t i)
{
    return kst_cause_text((enum kst_cause)i);
}
static const char *state_name(uint32_t i)
{
    return kst_state_name((enum kst_state)i);
}
static const char *direction_name(uint32_t i)
{
    return kst_direction_name((enum kst_direction)i);
}
static const char *tcp_state_name(uint32_t i)
{
    return kst_tcp_state_name((enum kst_tcp_state)i);
}
static const char *sctp_state_name(uint32_t i)
{
    return kst_sctp_state_name((enum kst_sctp_state)i);
}

START_TEST(names)
{
    static const struct {
        const char *(*name)(uint32_t i);
        uint32_t count;
    } lists[] = {
        {reason_name, KST_REASONS},         {reason_text, KST_REASONS},
        {error_text, KST_ERRORS},           {state_name, KST_UNTRACKED + 1},
        {direction_name, KST_NO_DIRECTION + 1}, {tcp_state_name, KST_TCP_STATES},
        {sctp_state_name, KST_SCTP_STATES}, {cause_text, KST_CAUSES},
    };
    for (size_t list = 0; list < COUNT(lists); list++) {
        for (uint32_t i = 0; i < lists[list].count; i++) {
            const char *name = lists[list].name(i);
            about("list %zu, %u: %s", list, i, name);
            must(strlen(name) > 0);
            must(name[strlen(name) - 1] != '.');
            must(strcmp(name, "?") != 0);
            for (uint32_t j = 0; j < i; j++)
                must(strcmp(name, lists[list].name(j)) != 0);
        }
        must_read(lists[list].name(lists[list].count), "?");
        must_read(lists[list].name(UINT32_MAX), "?");
    }
    must_read(kst_reason_name(KST_REASON_TCP_SYN_AGAIN), "TCP_SYN_AGAIN");
    must_read(kst_tcp_state_name(KST_TCP_SYN_SENT2), "SYN_SENT2");
    must_read(kst_sctp_state_name(KST_SCTP_HEARTBEAT_SENT), "HEARTBEAT_SENT");
    must_read(kst_state_name(KST_UNTRACKED), "untracked");
    must_read(kst_direction_name(KST_REPLY), "reply");
}
END_TEST

SUITE("print", as_conntrack_prints, as_linux_prints, tracked_then_printed, json, json_is_json, expectations,
      expectations_of_any_kind, cut_lines,
      the_longest_line, names)
