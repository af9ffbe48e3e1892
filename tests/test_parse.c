/* SPDX-License-Identifier: MIT */
/* test_parse.c - properties: each way in which a packet can be unreadable has its own reason; what
 * can be read is found wherever options and extension headers have pushed it; bytes behind the IP
 * length mean nothing; a single flipped bit does not pass a verified checksum; nothing outside
 * [data, data + size) is ever read. */
#define KST_IMPLEMENTATION
#include "support.h"

static struct kst__parsed parse(const struct wire *w, uint8_t flags)
{
    const struct kst_packet packet = {
        .data = w->data, .size = w->size, .checksum = KST_CHECKSUM_GOOD, .flags = flags};
    struct kst__parsed parsed;
    kst__parse(&packet, true, &parsed);
    if (parsed.partial) /* a first fragment's transport header is read all the same */
        parsed.reason = KST_REASON_FRAGMENT;
    return parsed;
}

/* Fills in the IP length, as if the packet had been sent that short. */
static void set_length(struct wire *w)
{
    if (w->data[0] >> 4 == 4)
        put16(w->data + 2, w->size);
    else
        put16(w->data + 4, w->size - 40);
}

START_TEST(too_short_for_ip)
{
    for (uint32_t v6 = 0; v6 < 2; v6++) {
        for (uint32_t size = 0; size < (v6 ? 40 : 20); size++) {
            struct wire w = wire_of(&(struct say){.protocol = UDP, .v6 = v6});
            w.size = size;
            about("IPv%u, %u bytes", v6 ? 6 : 4, size);
            must_say(parse(&w, 0), KST_REASON_IP_SHORT);
            must_say(parse(&w, KST_PACKET_HEAD), KST_REASON_IP_SHORT);
        }
    }
}
END_TEST

START_TEST(other_versions)
{
    for (uint32_t version = 0; version < 16; version++) {
        struct wire w = wire_of(&(struct say){.protocol = UDP, .bytes = 100});
        w.data[0] = (uint8_t)(version << 4 | 5);
        const uint32_t whole = w.size;
        for (w.size = 1; version != 4 && version != 6 && w.size <= whole; w.size++) {
            about("version %u, %u bytes", version, w.size);
            must_say(parse(&w, 0), KST_REASON_IP_VERSION);
            must_say(parse(&w, KST_PACKET_HEAD), KST_REASON_IP_VERSION);
        }
    }
}
END_TEST

/* A packet, up to two bytes of it overwritten, and the reason. */
struct damage {
    const char *what;
    struct say say;
    struct {
        uint16_t at;
        uint8_t value;
    } poke[2];
    uint32_t reason; /* enum kst_reason */
};

START_TEST(damage)
{
    static const uint8_t call[] = {0x20, 0x01, 0x88, 0x0b, 0, 0, 0, 77};
    static const uint8_t no_call[] = {0x20, 0x01, 0x08, 0x00, 0, 0, 0, 77};
    static const uint8_t version5[] = {0x20, 0x05, 0x08, 0x00, 0, 0, 0, 77};
    static const uint8_t empty[8] = {0};
    const struct say udp = {.protocol = UDP, .bytes = 4}; /* 32 bytes; IPv6: 52 */
    const struct say udp6 = {.protocol = UDP, .v6 = true, .bytes = 4};
    const struct say fragment = {
        .protocol = UDP, .v6 = true, .ip_first = 44, .ip_options = empty, .ip_bytes = 8};
    const struct say hop = {
        .protocol = 59, .v6 = true, .ip_first = 0, .ip_options = empty, .ip_bytes = 8};
    const struct damage rows[] = {
        {"untouched", udp, {{0, 0x45}}, KST_REASON_NONE},
        {"header of 4 words", udp, {{0, 0x44}}, KST_REASON_IP_HEADER},
        {"header of none", udp, {{0, 0x40}}, KST_REASON_IP_HEADER},
        {"header beyond the end", udp, {{0, 0x49}}, KST_REASON_IP_HEADER},
        {"header to the very end", udp, {{0, 0x48}}, KST_REASON_L4_SHORT},
        {"length one too high", udp, {{3, 33}}, KST_REASON_IP_LENGTH},
        {"length far too high", udp, {{2, 255}}, KST_REASON_IP_LENGTH},
        {"length within the header", udp, {{3, 19}}, KST_REASON_IP_SHORT},
        {"length of none", udp, {{3, 0}}, KST_REASON_IP_SHORT},
        {"length of the header", udp, {{3, 20}}, KST_REASON_L4_SHORT},
        {"length within the ports", udp, {{3, 23}}, KST_REASON_L4_SHORT},
        {"length of the ports", udp, {{3, 24}}, KST_REASON_NONE},
        {"more fragments", udp, {{6, 0x20}}, KST_REASON_FRAGMENT},
        {"offset, low", udp, {{7, 1}}, KST_REASON_FRAGMENT},
        {"offset, high", udp, {{6, 0x10}}, KST_REASON_FRAGMENT},
        {"do not fragment", udp, {{6, 0x40}}, KST_REASON_NONE},
        {"the evil bit", udp, {{6, 0x80}}, KST_REASON_NONE},
        {"ICMP of 7 bytes", {.protocol = ICMP}, {{3, 27}}, KST_REASON_ICMP_SHORT},
        {"ICMP of 8 bytes", {.protocol = ICMP}, {{3, 28}}, KST_REASON_NONE},
        {"ICMPv6 of 7 bytes", {.protocol = ICMP6, .v6 = true}, {{5, 7}}, KST_REASON_ICMP_SHORT},
        {"foreign ICMP of 7", {.protocol = ICMP, .v6 = true}, {{5, 7}}, KST_REASON_L4_SHORT},
        {"foreign ICMPv6 of 7", {.protocol = ICMP6}, {{3, 27}}, KST_REASON_L4_SHORT},
        {"SCTP without ports", {.protocol = SCTP}, {{3, 23}}, KST_REASON_L4_SHORT},
        {"UDP-Lite without ports", {.protocol = UDPLITE}, {{3, 23}}, KST_REASON_L4_SHORT},
        {"TCP without ports", {.protocol = TCP, .v6 = true}, {{5, 3}}, KST_REASON_L4_SHORT},
        {"nothing but addresses", {.protocol = ESP}, {{3, 20}}, KST_REASON_NONE},
        {"PPTP's GRE", {.protocol = GRE, .bytes = 8, .body = call}, {{0, 0x45}}, KST_REASON_NONE},
        {"version 1 without PPP",
         {.protocol = GRE, .bytes = 8, .body = no_call},
         {{0, 0x45}},
         KST_REASON_GRE_PROTOCOL},
        {"version 5",
         {.protocol = GRE, .bytes = 8, .body = version5},
         {{0, 0x45}},
         KST_REASON_NONE},
        {"version 1, too short to tell",
         {.protocol = GRE, .bytes = 8, .body = no_call},
         {{3, 27}},
         KST_REASON_NONE},
        {"payload one too long", udp6, {{5, 13}}, KST_REASON_IP_LENGTH},
        {"no payload", udp6, {{5, 0}}, KST_REASON_L4_SHORT},
        {"payload of the ports", udp6, {{5, 4}}, KST_REASON_NONE},
        {"jumbogram", hop, {{5, 0}, {6, 0}}, KST_REASON_IP_JUMBO},
        {"nothing follows", udp6, {{6, 59}}, KST_REASON_EXT_NO_NEXT},
        {"nothing follows an extension", hop, {{5, 8}, {6, 0}}, KST_REASON_EXT_NO_NEXT},
        {"atomic fragment", fragment, {{43, 0}}, KST_REASON_NONE},
        {"atomic, reserved bits", fragment, {{43, 6}, {41, 255}}, KST_REASON_NONE},
        {"first fragment", fragment, {{43, 1}}, KST_REASON_FRAGMENT},
        {"last fragment", fragment, {{43, 8}}, KST_REASON_FRAGMENT},
        {"far fragment", fragment, {{42, 128}}, KST_REASON_FRAGMENT},
        {"a later fragment's first bytes look like a header",
         fragment,
         {{42, 128}, {40, 60}},
         KST_REASON_FRAGMENT},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct wire w = wire_of(&rows[i].say);
        for (size_t p = 0; p < COUNT(rows[i].poke); p++)
            if (rows[i].poke[p].at != 0 || rows[i].poke[p].value != 0)
                w.data[rows[i].poke[p].at] = rows[i].poke[p].value;
        about("%s", rows[i].what);
        must_say(parse(&w, 0), rows[i].reason);
    }
}
END_TEST

/* Two fragment headers: the second one does not make the first one's fragment whole. */
START_TEST(fragment_of_a_fragment)
{
    const uint8_t headers[16] = {44, 0, 0, 1 /* more */};
    const struct wire w = wire_of(&(struct say){.protocol = UDP,
                                                .v6 = true,
                                                .ip_first = 44,
                                                .ip_options = headers,
                                                .ip_bytes = sizeof headers,
                                                .ip_next = 8});
    must_say(parse(&w, 0), KST_REASON_FRAGMENT);
}
END_TEST

START_TEST(ipv4_options)
{
    static const uint8_t options[40] = {7, 39, 4}; /* record route; their contents do not matter */
    for (uint8_t bytes = 0; bytes <= sizeof options; bytes = (uint8_t)(bytes + 4)) {
        const struct say say = {.protocol = TCP, .from = 1, .to = 2, .sport = 1000, .dport = 80,
                                .bytes = 5, .ip_options = options, .ip_bytes = bytes};
        const struct wire w = wire_of(&say);
        const struct kst__parsed parsed = parse(&w, 0);
        const struct kst_tuple tuple = tuple_of(say);
        about("%u bytes of options", bytes);
        must_say(parsed, KST_REASON_NONE);
        must(kst__tuple_same(&parsed.tuple, &tuple));
        must(parsed.l4 == w.data + 20 + bytes);
        must_be(parsed.l4_bytes, 25);
        must_be(parsed.ip_bytes, w.size);
    }
}
END_TEST

/* Every extension header in every pair of lengths, and every stack of three; whatever is cut off
 * has its reason, byte for byte. */
START_TEST(ipv6_extension_headers)
{
    static const struct {
        uint8_t type, length, bytes; /* as its length field says, and as it is */
    } kinds[] = {{0, 0, 8},   {0, 1, 16}, {43, 0, 8},  {43, 2, 24}, {44, 0, 8},
                 {44, 77, 8}, {51, 1, 12}, {51, 4, 24}, {60, 0, 8},  {60, 2, 24}};
    for (size_t stack = 0; stack < COUNT(kinds) * COUNT(kinds) * COUNT(kinds); stack++) {
        const size_t chosen[3] = {stack % 10, stack / 10 % 10, stack / 100};
        uint8_t headers[72] = {0}, bytes = 0, last = 0;
        for (size_t i = 0; i < 3; i++) {
            if (i > 0)
                headers[last] = kinds[chosen[i]].type;
            last = bytes;
            headers[bytes + 1] = kinds[chosen[i]].length;
            bytes = (uint8_t)(bytes + kinds[chosen[i]].bytes);
        }
        const struct say say = {.protocol = UDP, .v6 = true, .from = 1, .to = 2, .sport = 9,
                                .dport = 53, .bytes = 3, .ip_first = kinds[chosen[0]].type,
                                .ip_options = headers, .ip_bytes = bytes, .ip_next = last};
        struct wire w = wire_of(&say);
        const struct kst_tuple tuple = tuple_of(say);
        const struct kst__parsed parsed = parse(&w, 0);
        about("extension headers, stack %zu", stack);
        must_say(parsed, KST_REASON_NONE);
        must(kst__tuple_same(&parsed.tuple, &tuple));
        must_be(parsed.l4_bytes, 11);
        /* As Linux: a last header that only claims to be longer is not the one to blame. */
        const uint32_t needed = 40u + last + (kinds[chosen[2]].type == 44 ? 4 : 2);
        for (w.size = 41; w.size < w.l4_at + 11; w.size++) {
            set_length(&w);
            must_say(parse(&w, 0), w.size < needed        ? KST_REASON_EXT_SHORT
                                   : w.size < w.l4_at + 4 ? KST_REASON_L4_SHORT
                                                          : KST_REASON_NONE);
        }
    }
}
END_TEST

/* What Linux does not walk is the transport protocol itself. */
START_TEST(not_extension_headers)
{
    static const uint8_t numbers[] = {ESP, 135 /* mobility */, 139 /* HIP */, 140 /* shim6 */};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        const struct wire w =
            wire_of(&(struct say){.protocol = numbers[i], .v6 = true, .bytes = 8});
        must_say(parse(&w, 0), KST_REASON_NONE);
        must_be(parse(&w, 0).tuple.protocol, numbers[i]);
    }
    const uint8_t in_ipv4[] = {0, 43, 44, 51, 59, 60};
    for (size_t i = 0; i < COUNT(in_ipv4); i++) {
        const struct wire w = wire_of(&(struct say){.protocol = in_ipv4[i]});
        must_say(parse(&w, 0), KST_REASON_NONE);
        must_be(parse(&w, 0).tuple.protocol, in_ipv4[i]);
    }
}
END_TEST

START_TEST(extension_headers_are_bounded)
{
    uint8_t *data = calloc(1, 40 + 65535);
    ck_assert_ptr_nonnull(data);
    for (uint32_t count = 65535 / 8 - 1; count <= 65535 / 8; count++) { /* no packet holds more */
        struct kst__parsed parsed;
        data[0] = 0x60;
        data[6] = 60;
        put16(data + 4, count * 8);
        for (uint32_t i = 0; i < count; i++)
            data[40 + i * 8] = i + 1 < count ? 60 : ESP;
        kst__parse(&(struct kst_packet){.data = data, .size = 40 + count * 8}, true, &parsed);
        about("%u extension headers", count);
        must_say(parsed, KST_REASON_NONE); /* test_reasons.c has a lower bound */
    }
    free(data);
}
END_TEST

/* ---- samples: one packet of each kind ---- */

static size_t samples(struct wire *all)
{
    static const uint8_t chunks[32] = {10, 0, 0, 9, 1, 2, 3, 4, 5, 0, 0, 0, 9, 0, 0, 20};
    static const uint8_t extensions[40] = {60, 0, 0, 0, 0, 0, 0, 0, 51, 0, 0, 0, 0, 0, 0, 0,
                                           44, 1, 0, 0, 0, 0, 0, 0, 0,  0, 0, 0, 0, 0, 0, 0};
    static const uint8_t call[] = {0x20, 0x01, 0x88, 0x0b, 0, 0, 0, 77};
    static const uint8_t options[] = {2, 4,  5, 180, 4, 2, 3, 3, 7, 1,
                                      5, 10, 0, 0,   0, 9, 0, 0, 0, 9};
    const struct say says[] = {
        {.protocol = TCP, .flags = SYN, .bytes = 20, .body = options, .tcp_options = 20},
        {.protocol = TCP, .v6 = true, .flags = ACK, .bytes = 9, .seq = 77},
        {.protocol = TCP, .flags = SYN, .ip_options = options, .ip_bytes = 20},
        {.protocol = UDP, .bytes = 5},
        {.protocol = UDP, .v6 = true, .bytes = 6},
        {.protocol = UDPLITE, .bytes = 7},
        {.protocol = ICMP, .dport = 0x0800, .bytes = 3},
        {.protocol = ICMP6, .v6 = true, .dport = 0x8000, .bytes = 3},
        {.protocol = SCTP, .bytes = sizeof chunks, .body = chunks},
        {.protocol = GRE, .bytes = sizeof call, .body = call},
        {.protocol = ESP, .bytes = 3},
        {.protocol = UDP, .v6 = true, .ip_first = 0, .ip_options = extensions, .ip_bytes = 36,
         .ip_next = 28},
    };
    size_t count = 0;
    for (size_t i = 0; i < COUNT(says); i++) {
        struct say say = says[i];
        say.from = 1;
        say.to = 2;
        say.sport = (uint16_t)(i + 1);
        all[count++] = wire_of(&say);
        const struct wire *inner = &all[count - 1]; /* and an error about it */
        all[count] = wire_of(&(struct say){.protocol = say.v6 ? ICMP6 : ICMP,
                                           .v6 = say.v6,
                                           .from = 9,
                                           .to = 1,
                                           .dport = say.v6 ? 0x0104 : 0x0303,
                                           .body = inner->data,
                                           .bytes = (uint16_t)inner->size});
        count++;
    }
    return count;
}
enum { SAMPLES_MAX = 24 };

START_TEST(trailing_bytes_mean_nothing)
{
    struct wire all[SAMPLES_MAX];
    const size_t count = samples(all);
    const struct kst_config config = {.max = 64, .seed = {1, 2}};
    struct kst *bare = table_new(config), *padded = table_new(config);
    draw_state = 3;
    for (size_t i = 0; i < count; i++) {
        struct wire longer = all[i];
        longer.size += 1 + draw_below(40);
        for (uint32_t at = all[i].size; at < longer.size; at++)
            longer.data[at] = (uint8_t)draw();
        about("sample %zu", i);
        must_be(parse(&longer, 0).ip_bytes, all[i].size);
        const struct kst_result a = track_wire(bare, i, &all[i]);
        const struct kst_result b = track_wire(padded, i, &longer);
        must(memcmp(&a, &b, sizeof a) == 0);
        must_be(a.reason, KST_REASON_NONE);
    }
    must(memcmp(bare, padded, kst_bytes(&config)) == 0);
    free(bare);
    free(padded);
}
END_TEST

START_TEST(reads_stay_inside)
{
    struct wire all[SAMPLES_MAX];
    const size_t count = samples(all);
    const uint8_t flags[] = {0, KST_PACKET_HEAD, 0};
    struct kst *t = table_new((struct kst_config){.max = 64});
    struct guarded g = guarded_new(4096);
    for (size_t i = 0; i < count; i++) {
        const struct wire whole = all[i];
        for (uint32_t size = 0; size <= whole.size; size++) {
            for (size_t way = 0; way < 2 * COUNT(flags); way++) {
                struct wire w = whole;
                w.size = size;
                if (way % 3 == 2 && size >= (w.data[0] >> 4 == 4 ? 20 : 40))
                    set_length(&w); /* so that it is read to the end */
                uint8_t *data = way / 3 ? g.page : guarded_end(&g, size);
                if (size > 0)
                    memcpy(data, w.data, size);
                const struct kst_packet packet = {.data = data,
                                                  .size = size,
                                                  .checksum = KST_CHECKSUM_GOOD,
                                                  .flags = flags[way % 3]};
                struct kst_result result;
                kst_track(t, 0, &packet, 1, &result);
                about("sample %zu, %u bytes, way %zu", i, size, way);
                if (way % 3 == 0 && size < whole.size)
                    must_be(result.state, KST_INVALID);
            }
        }
    }
    draw_state = 4;
    for (int i = 0; i < 20000; i++) {
        const struct wire w = world_wire();
        uint8_t *data = guarded_end(&g, w.size);
        memcpy(data, w.data, w.size);
        const struct kst_packet packet = {
            .data = data, .size = w.size, .flags = draw_one_in(2) ? KST_PACKET_HEAD : 0};
        struct kst_result result;
        kst_track(t, 0, &packet, 1, &result);
    }
    must_be_sound(t);
    guarded_free(&g);
    free(t);
}
END_TEST

/* ---- the front of a packet ---- */

START_TEST(head_lengths_are_believed)
{
    const struct say steps[] = {HANDSHAKE};
    struct kst *t = table_new((struct kst_config){.max = 4, .features = KST_WITH_ACCOUNTING});
    const struct say data = tcp(0, ACK, 1001, 5001, 500);
    struct wire w = wire_of(&data);
    struct kst_flow flow;
    struct kst_result result;
    must_be(kst_set(t, "nf_conntrack_acct", 1), KST_ERROR_OK);
    for (size_t i = 0; i < COUNT(steps); i++)
        must_say(track(t, 0, steps[i]), KST_REASON_NONE);
    for (uint32_t size = 20; size < 40; size++) {
        kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = size, .checksum = KST_CHECKSUM_VERIFY, .flags = KST_PACKET_HEAD}, 1, &result);
        must_say(result, KST_REASON_L4_SHORT);
    }
    w.data[w.l4_at + 16] ^= 1; /* wrong, but what it covers is not here */
    kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = 40, .checksum = KST_CHECKSUM_VERIFY, .flags = KST_PACKET_HEAD}, 1, &result);
    must_say(result, KST_REASON_NONE);
    must(kst_get(t, result.entry, &flow));
    must_be(flow.packets[KST_ORIGINAL], 3);
    must_be(flow.bytes[KST_ORIGINAL], 40 + 40 + 540);
    must_say(track(t, 0, tcp(1, ACK, 5001, 1501, 0)), KST_REASON_NONE); /* all 500 bytes */
    must_say(track(t, 0, tcp(1, ACK, 5001, 1502, 0)), KST_REASON_TCP_ACK_OVER);
    must_be(kst_count(t), 1);

    kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = 40, .checksum = KST_CHECKSUM_VERIFY, .flags = 0}, 1, &result);
    must_say(result, KST_REASON_IP_LENGTH);
    kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = w.size, .checksum = KST_CHECKSUM_VERIFY, .flags = KST_PACKET_HEAD}, 1, &result);
    must_say(result, KST_REASON_TCP_CHECKSUM); /* all is here */
    kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = 40, .checksum = KST_CHECKSUM_BAD, .flags = KST_PACKET_HEAD}, 1,
              &result);
    must_say(result, KST_REASON_TCP_CHECKSUM); /* the caller knows better */
    free(t);
}
END_TEST

/* "Checksums that need what is missing are not looked at": the IPv4 header's does not need it. */
START_TEST(head_ip_checksum)
{
    struct wire w = wire_of(&(struct say){.protocol = UDP, .bytes = 500});
    struct kst__parsed parsed;
    w.data[8] ^= 1;
    kst__parse(&(struct kst_packet){.data = w.data, .size = 60, .checksum = KST_CHECKSUM_VERIFY, .flags = KST_PACKET_HEAD}, true, &parsed);
    must_say(parsed, KST_REASON_IP_CHECKSUM);
}
END_TEST

/* ---- checksums ---- */

static const struct {
    const char *name;
    struct say say;
    uint32_t reason;
} summed[] = {
    {"TCP", {.protocol = TCP, .flags = SYN, .bytes = 3}, KST_REASON_TCP_CHECKSUM},
    {"TCP, IPv6", {.protocol = TCP, .v6 = true, .flags = SYN}, KST_REASON_TCP_CHECKSUM},
    {"UDP", {.protocol = UDP, .bytes = 6}, KST_REASON_UDP_CHECKSUM},
    {"UDP, IPv6", {.protocol = UDP, .v6 = true, .bytes = 5}, KST_REASON_UDP_CHECKSUM},
    {"UDP-Lite", {.protocol = UDPLITE, .bytes = 1}, KST_REASON_UDPLITE_CHECKSUM},
    {"ICMP", {.protocol = ICMP, .dport = 0x0800, .bytes = 9}, KST_REASON_ICMP_CHECKSUM},
    {"ICMPv6", {.protocol = ICMP6, .v6 = true, .dport = 0x8000}, KST_REASON_ICMP_CHECKSUM},
    {"SCTP",
     {.protocol = SCTP, .bytes = 20, .body = "\1\0\0\24tag!abcdabcdabcd"},
     KST_REASON_SCTP_CHECKSUM},
    {"IPv4", {.protocol = ESP, .bytes = 2}, KST_REASON_IP_CHECKSUM},
};

START_TEST(checksum_modes)
{
    for (size_t i = 0; i < COUNT(summed); i++) {
        for (uint32_t way = 0; way < 16; way++) {
            const uint8_t mode = way & 3;
            const bool broken = (way & 4) != 0, verify = (way & 8) != 0;
            struct kst *t = table_new((struct kst_config){.max = 1});
            struct wire w = wire_of(&summed[i].say);
            struct kst_result result;
            must_be(kst_set(t, "nf_conntrack_checksum", verify), KST_ERROR_OK);
            if (broken && summed[i].reason == KST_REASON_IP_CHECKSUM)
                w.data[10] ^= 1;
            else if (broken)
                w.data[w.l4_at + 3] ^= 1; /* its port; ICMP's own checksum */
            kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = w.size, .checksum = mode, .flags = 0}, 1, &result);
            const bool bad =
                (mode == KST_CHECKSUM_VERIFY && verify && broken) ||
                (mode == KST_CHECKSUM_BAD && summed[i].reason != KST_REASON_IP_CHECKSUM);
            about("%s, mode %u, %s, nf_conntrack_checksum %d", summed[i].name, mode,
                  broken ? "broken" : "right", verify);
            must_say(result, bad ? summed[i].reason : KST_REASON_NONE);
            must_be(result.state, bad ? KST_INVALID : KST_NEW);
            free(t);
        }
    }
}
END_TEST

/* In IPv6 nothing protects the version, traffic class, flow label, next header and hop limit. */
START_TEST(every_flipped_bit_is_noticed)
{
    struct kst *t = table_new((struct kst_config){.max = 1});
    for (size_t i = 0; i < COUNT(summed) - 1; i++) {
        for (uint32_t bit = 0; bit < 8 * (uint32_t)sizeof(struct wire); bit++) {
            struct wire w = wire_of(&summed[i].say);
            const uint32_t byte = bit / 8;
            if (byte >= w.size)
                break;
            if (summed[i].say.v6 && byte < 8 && byte != 4 && byte != 5)
                continue;
            w.data[byte] ^= (uint8_t)(1 << bit % 8);
            about("%s, bit %u", summed[i].name, bit);
            const struct kst_result result = track_wire(t, 0, &w);
            must_be(result.state, KST_INVALID);
            must(result.reason != KST_REASON_NONE);
        }
    }
    must_be(kst_count(t), 0);
    free(t);
}
END_TEST

/* As Linux: a sum over nothing but zeros is right, and UDP need not have one. */
START_TEST(no_checksum)
{
    struct kst *t = table_new((struct kst_config){.max = 2});
    struct wire w = wire_of(&(struct say){.protocol = UDP, .bytes = 6});
    put16(w.data + w.l4_at + 6, 0);
    w.data[w.l4_at + 9] ^= 1;
    must_say(track_wire(t, 0, &w), KST_REASON_NONE);
    w = wire_of(&(struct say){.protocol = ICMP});
    put16(w.data + w.l4_at + 2, 0);
    must_say(track_wire(t, 0, &w), KST_REASON_ICMP_UNASKED);
    free(t);
}
END_TEST

START_TEST(sums_are_right)
{
    static uint8_t data[65535 + 8];
    draw_state = 5;
    for (uint32_t i = 0; i < 4000; i++) {
        uint8_t *at = data + draw_below(8);
        const uint32_t size = i < 200 ? i : draw_below(1500);
        for (uint32_t j = 0; j < size; j++)
            at[j] = (uint8_t)draw();
        if (size >= 2 && draw_one_in(2)) {
            put16(at, 0);
            put16(at, sum_folded(sum_of(0, at, size)));
        }
        about("%u bytes at %zu", size, (size_t)(at - data));
        const uint32_t sum = sum_of(0, at, size);
        must_be(kst__sum_right(kst__sum(0, at, size)), sum == 0 || sum_folded(sum) == 0);
    }
    memset(data, 0xff, sizeof data); /* the most that can be carried */
    for (uint32_t size = 2; size < 65536; size += size < 100 ? 2 : 1022)
        must(kst__sum_right(kst__sum(0, data, size)));
    must(!kst__sum_right(kst__sum(0, data, 65535)));
}
END_TEST

SUITE("parse", too_short_for_ip, other_versions, damage, fragment_of_a_fragment, ipv4_options,
      ipv6_extension_headers, not_extension_headers, extension_headers_are_bounded,
      trailing_bytes_mean_nothing, reads_stay_inside, head_lengths_are_believed, head_ip_checksum,
      checksum_modes, every_flipped_bit_is_noticed, no_checksum, sums_are_right)
