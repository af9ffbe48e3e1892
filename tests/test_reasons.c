/* SPDX-License-Identifier: MIT */
/* test_reasons.c - property: every reason in the list can be had, by a story of a few packets, and
 * its last packet counts once: under its reason, and in those columns of `conntrack -S` in which
 * Linux counts it. */
#define KST_PARSE_EXT_MAX 4 /* so that limits are soon reached: the options work, too */
#define KST_CHAIN_MAX 12
#define KST_IMPLEMENTATION
#include "support.h"

enum { STEPS_MAX = 13 };

struct story {
    enum kst_reason reason; /* of the last packet */
    uint32_t columns;       /* enum kst_column, or'ed */
    struct say steps[STEPS_MAX];
    struct {
        uint16_t at;
        uint8_t value;
    } poke[3];        /* bytes of the last packet, overwritten after its checksums were made */
    uint8_t checksum; /* enum kst_checksum, of the last packet */
    uint16_t size;    /* that it is cut to */
    const char *setting; /* set to 0 first */
    const char *helper;  /* of every connection */
    uint32_t max, buckets;
};

/* An ICMP error to this host, about such a packet. */
static struct say error(uint8_t to, struct say about_what)
{
    static struct wire inner;
    inner = wire_of(&about_what);
    return (struct say){.protocol = ICMP, .from = 9, .to = to, .dport = 0x0303,
                        .body = inner.data, .bytes = (uint16_t)inner.size};
}

/* The client says this after its handshake, and then, at `seq`, the next. */
static struct say client(uint32_t seq, const char *line)
{
    struct say say = tcp(0, ACK | PSH, seq, 5001, (uint16_t)strlen(line));
    say.body = line;
    return say;
}

static struct say sip(const char *message)
{
    return (struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 5060, .dport = 5060,
                        .bytes = (uint16_t)strlen(message), .body = message};
}

/* test_defrag.c, test_index.c, test_limit.c, test_help.c and test_nat.c have these. */
static bool told_elsewhere(uint32_t reason)
{
    return (reason > KST_REASON_FRAGMENT && reason <= KST_REASON_FRAGMENT_FULL) ||
           (reason >= KST_REASON_HALF_OPEN_FULL && reason <= KST_REASON_ZONE_LIMIT) ||
           reason == KST_REASON_CLASH || reason == KST_REASON_HELPER ||
           (reason >= KST_REASON_NAT_LATE && reason <= KST_REASON_NAT_ROOM);
}

START_TEST(every_reason_has_its_story)
{
    enum { NONE = 0, I = KST_COLUMN_INVALID, E = KST_COLUMN_ERROR, GOOD = KST_CHECKSUM_GOOD };
    static const uint8_t five[40] = {60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0, 60, 0, 0, 0,
                                     0,  0, 0, 0, 60, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t call[8] = {0x20, 0x01, 0x08, 0x00};
    const struct say udp6 = {.protocol = UDP, .v6 = true};
    const struct say deep = {.protocol = UDP, .v6 = true, .ip_first = 60, .ip_options = five,
                             .ip_bytes = sizeof five, .ip_next = 32};
    const struct say lite = {.protocol = UDPLITE, .bytes = 4};
    const struct say ping = {.protocol = ICMP, .dport = 0x0800};
    const struct say read = {.protocol = UDP, .from = 1, .to = 2, .sport = 5, .dport = 69,
                             .bytes = 2, .body = "\0\1"}; /* TFTP, from one port to two */
    struct say read_too = read;
    read_too.dport = 70;
    struct story stories[] = {
        {KST_REASON_NONE, NONE, .steps = {stranger(1)}},
        {KST_REASON_IP_SHORT, I, .steps = {stranger(1)}, .size = 19},
        {KST_REASON_IP_VERSION, I, .steps = {stranger(1)}, .poke = {{0, 0x55}}},
        {KST_REASON_IP_HEADER, I, .steps = {stranger(1)}, .poke = {{0, 0x44}}, .checksum = GOOD},
        {KST_REASON_IP_LENGTH, I, .steps = {stranger(1)}, .poke = {{3, 200}}},
        {KST_REASON_IP_CHECKSUM, I, .steps = {stranger(1)}, .poke = {{8, 1}}},
        {KST_REASON_IP_JUMBO, I, .steps = {udp6}, .poke = {{5, 0}, {6, 0}}},
        {KST_REASON_FRAGMENT, I, .steps = {stranger(1)}, .poke = {{6, 0x20}}, .checksum = GOOD},
        {KST_REASON_EXT_SHORT, I, .steps = {udp6}, .poke = {{5, 1}, {6, 60}}},
        {KST_REASON_EXT_DEPTH, I, .steps = {deep}},
        {KST_REASON_EXT_NO_NEXT, I, .steps = {udp6}, .poke = {{6, 59}}},
        {KST_REASON_L4_SHORT, I, .steps = {stranger(1)}, .poke = {{3, 27}}, .checksum = GOOD},
        {KST_REASON_TCP_OFFSET, I, .steps = {tcp(0, SYN, 1, 0, 0)}, .poke = {{32, 0x40}}},
        {KST_REASON_TCP_CHECKSUM, I, .steps = {tcp(0, SYN, 1, 0, 1)}, .poke = {{40, 99}}},
        {KST_REASON_TCP_FLAGS, I, .steps = {tcp(0, SYN | FIN, 1, 0, 0)}},
        {KST_REASON_TCP_FIRST, I, .steps = {tcp(0, SYN | ACK, 1, 1, 0)}},
        {KST_REASON_TCP_PICKUP, I,
         .steps = {tcp(0, ACK, 1, 1, 0)},
         .setting = "nf_conntrack_tcp_loose"},
        {KST_REASON_TCP_STATE, I, .steps = {tcp(0, SYN, 1000, 0, 0), tcp(0, ACK, 1001, 1, 0)}},
        {KST_REASON_TCP_RST_SEQ, I, .steps = {HANDSHAKE, tcp(0, RST, 900, 0, 0)}},
        {KST_REASON_TCP_SEQ_OVER, I, .steps = {HANDSHAKE, tcp(0, ACK, 21000, 5001, 9)}},
        {KST_REASON_TCP_ACK_OVER, I, .steps = {HANDSHAKE, tcp(0, ACK, 1001, 5002, 9)}},
        {KST_REASON_TCP_SEQ_JUST_OVER, NONE, .steps = {HANDSHAKE, tcp(0, ACK, 10000, 5001, 9)}},
        {KST_REASON_TCP_SEQ_OLD, NONE, .steps = {HANDSHAKE, tcp(0, ACK, 1001u - 20000, 5001, 9)}},
        {KST_REASON_TCP_ACK_OLD, NONE, .steps = {HANDSHAKE, tcp(0, ACK, 1001, 5001u - 70000, 9)}},
        {KST_REASON_TCP_IGNORED, NONE, .steps = {HANDSHAKE, tcp(0, SYN, 9000, 0, 0)}},
        {KST_REASON_TCP_CHALLENGE, NONE,
         .steps = {HANDSHAKE, tcp(0, FIN | ACK, 1001, 5001, 0), tcp(1, FIN | ACK, 5001, 1002, 0),
          tcp(0, SYN, 9000, 0, 0), tcp(1, ACK, 5002, 1002, 0)}},
        {KST_REASON_TCP_RST_HELD, NONE, .steps = {HANDSHAKE, tcp(0, RST, 1101, 0, 0)}},
        {KST_REASON_TCP_SYN_AGAIN, NONE,
         .steps = {tcp(0, SYN, 1000, 0, 0), tcp(0, SYN, 1000, 0, 0)}},
        {KST_REASON_TCP_REFUSED, NONE,
         .steps = {tcp(0, SYN, 1000, 0, 0), tcp(1, RST | ACK, 0, 1001, 0)}},
        {KST_REASON_SCTP_CHECKSUM, I, .steps = {sctp(0, 0, 1)}, .poke = {{50, 99}}},
        {KST_REASON_SCTP_CHUNKS, I, .steps = {{.protocol = SCTP}}},
        {KST_REASON_SCTP_FIRST, I, .steps = {sctp(0, 0, 6)}},
        {KST_REASON_SCTP_TAG, I, .steps = {sctp(0, 5, 1)}},
        {KST_REASON_SCTP_STATE, I, .steps = {sctp(0, 5, 4), sctp(1, 0, 1)}},
        {KST_REASON_SCTP_HEARTBEAT, NONE, .steps = {sctp(0, 5, 4), sctp(0, 6, 4)}},
        {KST_REASON_SCTP_INIT_AGAIN, NONE, .steps = {sctp(0, 0, 1), sctp(0, 0, 1)}},
        {KST_REASON_GRE_PROTOCOL, I, .steps = {{.protocol = GRE, .bytes = 8, .body = call}}},
        {KST_REASON_UDP_LENGTH, I, .steps = {stranger(1)}, .poke = {{25, 7}}},
        {KST_REASON_UDP_CHECKSUM, I, .steps = {stranger(1)}, .poke = {{21, 99}}},
        {KST_REASON_UDPLITE_COVERAGE, I, .steps = {lite}, .poke = {{25, 7}}},
        {KST_REASON_UDPLITE_NO_CHECKSUM, I, .steps = {lite}, .poke = {{26, 0}, {27, 0}}},
        {KST_REASON_UDPLITE_CHECKSUM, I, .steps = {lite}, .poke = {{28, 99}}},
        {KST_REASON_ICMP_SHORT, E, .steps = {ping}, .poke = {{3, 27}}, .checksum = GOOD},
        {KST_REASON_ICMP_CHECKSUM, E, .steps = {ping}, .poke = {{27, 99}}},
        {KST_REASON_ICMP_TYPE, E, .steps = {{.protocol = ICMP, .dport = 0x1300}}},
        {KST_REASON_ICMP_NO_ANSWER, I, .steps = {{.protocol = ICMP, .dport = 0x0900}}},
        {KST_REASON_ICMP_UNASKED, I, .steps = {{.protocol = ICMP, .dport = 0x0000}}},
        {KST_REASON_ICMP_FAMILY, I, .steps = {{.protocol = ICMP, .v6 = true, .dport = 0x0800}}},
        {KST_REASON_ICMP_INNER, E, .steps = {{.protocol = ICMP, .dport = 0x0300, .bytes = 4}}},
        {KST_REASON_ICMP_UNRELATED, E, .steps = {error(1, stranger(7))}},
        {KST_REASON_ICMP_MISDIRECTED, E, .steps = {stranger(7), error(3, stranger(7))}},
        {KST_REASON_HELPER_EXPECT, NONE, .steps = {read, read_too}, .helper = "tftp"},
        {KST_REASON_FTP_PARTIAL, NONE,
         .steps = {HANDSHAKE, client(1001, "USER me\r\n"), client(1010, "POR")},
         .helper = "ftp"},
        {KST_REASON_FTP_ADDRESS, NONE,
         .steps = {HANDSHAKE, client(1001, "USER me\r\n"), client(1010, "PORT 10,0,0,1,4\r\n")},
         .helper = "ftp"},
        {KST_REASON_SIP_STATUS, NONE, .steps = {sip("SIP/2.0 none\r\n")}, .helper = "sip"},
        {KST_REASON_SIP_CSEQ, NONE, .steps = {sip("BYE sip:b@x\r\n\r\n")}, .helper = "sip"},
        {KST_REASON_SIP_HEADER, NONE,
         .steps = {sip("REGISTER sip:x\r\nCSeq: 1 REGISTER\r\n"
                       "Contact: <sip:a@10.0.0.1>;expires=never\r\n")},
         .helper = "sip"},
        {KST_REASON_SIP_MEDIA, NONE,
         .steps = {sip("ACK sip:b@x\r\nCSeq: 1 ACK\r\n\r\n"
                       "v=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 80 RTP\r\n")},
         .helper = "sip"},
        {KST_REASON_TABLE_FULL, KST_COLUMN_DROP, .steps = {HANDSHAKE, stranger(1)}, .max = 1},
        {KST_REASON_TABLE_EVICTED, KST_COLUMN_EARLY_DROP,
         .steps = {stranger(1), stranger(2)},
         .max = 1},
        {KST_REASON_CHAIN_TOO_LONG,
         KST_COLUMN_INSERT_FAILED | KST_COLUMN_CHAIN_TOO_LONG,
         .steps = {stranger(1), stranger(2), stranger(3), stranger(4), stranger(5), stranger(6),
                   stranger(7), stranger(8), stranger(9), stranger(10), stranger(11),
                   stranger(12), stranger(13)},
         .max = 20,
         .buckets = 1},
    };
    uint32_t told = 0;
    for (size_t i = 0; i < COUNT(stories); i++) {
        const struct story *story = &stories[i];
        struct kst *t = table_new((struct kst_config){
            .max = story->max != 0 ? story->max : 8, .buckets = story->buckets,
            .expectations = story->helper != NULL ? 8 : 0});
        struct kst_result result = {0};
        uint64_t before[7] = {0}; /* of each column; then of the reason */
        const uint8_t helper = story->helper != NULL ? kst_helper_number(story->helper) : 0;
        about("story %zu, %s", i, kst_reason_name(story->reason));
        while (told_elsewhere(told))
            told++;
        must_be(story->reason, told); /* none is left out */
        told++;
        if (story->setting != NULL)
            must_be(kst_set(t, story->setting, 0), KST_ERROR_OK);
        for (size_t step = 0; step < STEPS_MAX && story->steps[step].protocol != 0; step++) {
            const bool last = step + 1 == STEPS_MAX || story->steps[step + 1].protocol == 0;
            struct wire w = wire_of(&story->steps[step]);
            for (size_t p = 0; last && p < COUNT(story->poke); p++)
                if (story->poke[p].at != 0 || story->poke[p].value != 0)
                    w.data[story->poke[p].at] = story->poke[p].value;
            for (uint32_t column = 0; column < 6; column++)
                before[column] = kst_column(t, (enum kst_column)(1 << column));
            before[6] = kst_statistics(t)->reasons[story->reason];
            kst_track(t, 0,
                      &(struct kst_packet){.data = w.data,
                                           .size = last && story->size != 0 ? story->size : w.size,
                                           .checksum = last ? story->checksum : 0,
                                           .helper = helper},
                      1, &result);
        }
        must_say(result, story->reason);
        must_be(kst_statistics(t)->reasons[story->reason], before[6] + 1);
        for (uint32_t column = 0; column < 6; column++) {
            about("story %zu, %s, column %u", i, kst_reason_name(story->reason), column);
            must_be(kst_column(t, (enum kst_column)(1 << column)),
                    before[column] + (story->columns >> column & 1));
        }
        const bool helped = story->helper != NULL; /* to be dropped, which Linux does not count */
        const bool refused = helped || (story->columns & ~(uint32_t)KST_COLUMN_EARLY_DROP) != 0;
        const bool dropped = refused && !(story->columns & (I | E));
        must_be(result.state == KST_INVALID, refused);
        must_be(result.verdict, dropped ? KST_DROP : KST_ACCEPT);
        must_be_sound(t);
        free(t);
    }
    while (told_elsewhere(told))
        told++;
    must_be(told, KST_REASONS);
}
END_TEST

SUITE("reasons", every_reason_has_its_story)
