/* SPDX-License-Identifier: MIT */
/* test_help.c - properties: each helper expects what its protocol's messages announce, and nothing
 * when they are cut, split, misplaced, overlong or lies; it reads no byte behind them (each packet
 * lies in memory of its own size) and opens no way to a third party; PPTP's keys make its GRE one
 * connection, and go with it; a helper from outside is a helper like the others. */
#define _DEFAULT_SOURCE /* as support.h does, before any header of the library's */
#define KST_HELPERS(X) X(ftp) X(irc) X(pptp) X(sip) X(tftp) X(toy) X(odd)
#include "keepstate.h"

/* A helper of a user's own. What it heard last is here. */
static struct kst_help heard;
static uint32_t heard_times;
static const char *heard_text = ""; /* what it puts in the place of others */
static enum kst_reason toy_help(struct kst_help *h);
static const struct kst_helper kst_helper_toy = {
    .name = "toy",
    .protocols = {17, 6},
    .port = 7777,
    .classes = {{"word", 2, 60}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    .help = toy_help};
static const struct kst_helper kst_helper_odd = { /* the same, of no port of its own */
    .name = "odd", .protocols = {136, 132}, .classes = {{"word", 2, 60}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    .help = toy_help};

#define KST_IMPLEMENTATION
#include "support.h"

#include <arpa/inet.h>
#include <ctype.h>

static void toy_gives_way(struct kst_help *h);
static bool replaced;

/* `d` drops; `k` deletes its own connection, `n` lets another one have its place, `kd` and `nd` drop then; `t` and a
 * digit set the timeout; `m` marks its connection; `e` and a digit expect UDP to that port of whoever spoke, with this helper;
 * `r`, two digits and what shall be in the place of so many bytes behind so many, then, behind a dot, another command;
 * anything else is counted. */
static enum kst_reason toy_help(struct kst_help *h)
{
    heard = *h;
    heard_times++;
    must_be((uintptr_t)h->state % 8, 0);
    uint8_t *state = h->state;
    state[KST_HELPER_STATE_BYTES - 1]++;
    if (h->size == 0)
        return KST_REASON_NONE;
    const uint8_t *dot = memchr(h->payload, '.', h->size);
    const uint8_t command = dot != NULL && dot + 1 < h->payload + h->size ? dot[1] : h->payload[0];
    if (h->payload[0] == 'r' && h->size > 3)
        replaced = kst_help_replace(h, h->payload[1] - (uint32_t)'0', h->payload[2] - (uint32_t)'0', heard_text,
                                    (uint32_t)strlen(heard_text));
    if (command == 'k' || command == 'n') {
        if (command == 'n')
            toy_gives_way(h);
        else
            must(kst_delete(h->t, h->connection));
        h->timeout_s = 9; /* of what? */
        return h->size > 1 && h->payload[1] == 'd' ? KST_REASON_HELPER : KST_REASON_NONE;
    }
    if (command == 'd')
        return KST_REASON_HELPER;
    if (command == 'm')
        must(kst_set_mark(h->t, h->connection, 77));
    if (h->size > 1 && h->payload[0] == 't')
        h->timeout_s = h->payload[1] - (uint32_t)'0';
    if (h->size > 1 && h->payload[0] == 'e') {
        struct kst_expectation x = {.master = h->connection, .tuple = h->tuple[!h->direction]};
        x.tuple.protocol = UDP;
        x.tuple.src_port = 0;
        x.tuple.dst_port = (uint16_t)(h->payload[1] - '0');
        x.flags = KST_EXPECT_ANY_SRC_PORT;
        x.child_helper = kst_helper_number("toy");
        return kst_expect(h->t, &x) == KST_ERROR_OK ? KST_REASON_NONE : KST_REASON_HELPER_EXPECT;
    }
    return KST_REASON_NONE;
}

/* The connection goes, and who comes then has its slot. */
static void toy_gives_way(struct kst_help *h)
{
    const struct kst_flow heir = flow_of((struct say){.protocol = UDP, .from = 7, .to = 8, .sport = 9, .dport = 10}, 7000);
    must(kst_delete(h->t, h->connection));
    must_be((uint32_t)kst_insert(h->t, &heir, NULL), (uint32_t)h->connection);
}

/* ---- talking ---- */

/* A conversation between 10.0.0.1 and 10.0.0.2, or fd00::1 and fd00::2. */
struct talk {
    struct kst *t;
    struct say to;   /* the client's packets */
    uint32_t seq[2]; /* TCP: of what comes next, by side */
    uint8_t helper;
    uint16_t zone; /* of the client's packets, in that direction */
};

/* A packet in memory of exactly its size. */
static struct kst_result speak_raw(struct talk *talk, bool reply, uint8_t flags, const void *payload,
                                   uint32_t size)
{
    struct say say = reply ? answer_to(talk->to) : talk->to;
    struct kst_result result;
    say.flags = flags;
    say.seq = talk->seq[reply];
    say.ack = flags & ACK ? talk->seq[!reply] : 0;
    say.window = 0xffff;
    const struct wire w = wire_of(&say);
    uint8_t *data = malloc(w.size + size);
    ck_assert_ptr_nonnull(data);
    memcpy(data, w.data, w.size);
    if (size > 0)
        memcpy(data + w.size, payload, size);
    if (say.v6)
        put16(data + 4, w.size - 40 + size);
    else
        put16(data + 2, w.size + size);
    if (say.protocol == UDP)
        put16(data + w.l4_at + 4, 8 + size);
    if (!say.v6) {
        put16(data + 10, 0);
        put16(data + 10, sum_folded(sum_of(0, data, 20)));
    }
    kst_track(talk->t, talk->t->now_ms,
              &(struct kst_packet){.data = data, .size = w.size + size, .helper = talk->helper,
                                   .zone = reply ? 0 : talk->zone, .flags = KST_PACKET_ZONE_ORIGINAL,
                                   .checksum = KST_CHECKSUM_GOOD},
              1, &result);
    free(data);
    if (result.verdict == KST_ACCEPT)
        talk->seq[reply] += size + ((flags & SYN) != 0);
    must_be_sound(talk->t);
    return result;
}

static struct kst_result speak(struct talk *talk, bool reply, const void *payload, uint32_t size)
{
    return speak_raw(talk, reply, ACK | PSH, payload, size);
}

static struct kst_result tell(struct talk *talk, bool reply, const char *text)
{
    return speak(talk, reply, text, (uint32_t)strlen(text));
}

static void shake_hands(struct talk *talk)
{
    must_be(speak_raw(talk, 0, SYN, NULL, 0).state, KST_NEW);
    must_be(speak_raw(talk, 1, SYN | ACK, NULL, 0).state, KST_ESTABLISHED);
    must_be(speak_raw(talk, 0, ACK, NULL, 0).state, KST_ESTABLISHED);
}

static struct talk talk_begin(const char *helper, bool v6)
{
    struct talk talk = {.seq = {1000, 0xffffff00}, .helper = kst_helper_number(helper)};
    const bool udp = strcmp(helper, "tftp") == 0;
    must(talk.helper != 0);
    talk.t = table_new((struct kst_config){.max = 16, .expectations = 16, .seed = {1, 2}});
    talk.to = (struct say){.protocol = udp ? UDP : TCP, .v6 = v6, .from = 1, .to = 2, .sport = 40000,
                           .dport = 21};
    if (!udp)
        shake_hands(&talk);
    return talk;
}

/* FTP reads a line only where it knows that one begins. */
static struct talk ftp_begin(bool v6)
{
    struct talk talk = talk_begin("ftp", v6);
    must_say(tell(&talk, 1, "220 hello\r\n"), KST_REASON_NONE);
    must_say(tell(&talk, 0, "USER me\r\n"), KST_REASON_NONE);
    return talk;
}

static uint32_t count(const struct talk *talk)
{
    return kst_expectation_count(talk->t);
}

/* That there is one expectation, and which. */
static void must_expect(const struct talk *talk, uint8_t from, uint16_t sport, uint8_t to,
                        uint16_t dport, uint8_t protocol, uint8_t flags)
{
    struct kst_expectation x;
    must_be(count(talk), 1);
    must(kst_expectation_get(talk->t, kst_expectation_next(talk->t, 0), &x));
    struct kst_tuple tuple = tuple_of((struct say){.protocol = protocol, .v6 = talk->to.v6,
                                                   .from = from, .to = to, .sport = sport, .dport = dport});
    if (flags & KST_EXPECT_ANY_SRC)
        memset(tuple.src, 0, sizeof tuple.src);
    must(memcmp(x.tuple.src, tuple.src, sizeof tuple.src) == 0);
    must(memcmp(x.tuple.dst, tuple.dst, sizeof tuple.dst) == 0);
    must_be(x.tuple.src_port, sport);
    must_be(x.tuple.dst_port, dport);
    must(memcmp(&x.tuple, &tuple, sizeof tuple) == 0);
    must_be(x.flags, flags);
    must_be(x.timeout_ms, 300000);
    must_be(x.helper, talk->helper);
    must_be(x.child_helper, 0);
    must_be(x.class_, 0);
}

/* ---- FTP ---- */

struct ftp_row {
    bool reply;
    const char *line;
    enum kst_reason reason;
    uint16_t port; /* that is expected to go to whoever spoke; 0: nothing is */
};

static const struct ftp_row ftp4[] = {
    {0, "PORT 10,0,0,1,4,1\r\n", KST_REASON_NONE, 1025},
    {0, "PORT 10,0,0,1,4,1\r", KST_REASON_NONE, 1025},
    {0, "pORt 10,0,0,1,255,255\r\n", KST_REASON_NONE, 65535},
    {0, "PORT 010,000,000,001,004,001\r\n", KST_REASON_NONE, 1025},
    {0, "PORT 10,,,1,4,1\r\n", KST_REASON_NONE, 1025}, /* an empty number is 0 */
    {0, "PORT and so on 10,0,0,1,4,1\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORTER 10,0,0,1,4,1\r\n", KST_REASON_NONE, 1025}, /* up to the first space */
    {0, "PORT 4294967306,0,0,1,4,1\r\n", KST_REASON_NONE, 1025}, /* 2^32 + 10 */
    {0, "PORT 10,0,0,1,260,1\r\n", KST_REASON_NONE, 1025},
    {0, "PORT 10,0,0,1,4,65537\r\n", KST_REASON_NONE, 1025},
    {0, "PORT ,,,,,\r\n", KST_REASON_NONE, 0}, /* 0.0.0.0 is another */
    {0, "PORT 10,0,0,9,4,1\r\n", KST_REASON_NONE, 0},
    {0, "PORT 10,0,0,2,4,1\r\n", KST_REASON_NONE, 0},
    {0, "PORT 10,0,0,257,4,1\r\n", KST_REASON_NONE, 0},
    {0, "PORT 10,0,0,1,4,1\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT 10,0,0,1,4,1", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT 10,0,0,1,4\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT 10,0,0,1,4,1,1\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT 10,0,0,1,4,1,\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT 10.0.0.1.4.1\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT 10, 0,0,1,4,1\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT -10,0,0,1,4,1\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT  10,0,0,1,4,1\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT10,0,0,1,4,1\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT ", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT \x80\xff,\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "P", KST_REASON_FTP_PARTIAL, 0},
    {0, "po", KST_REASON_FTP_PARTIAL, 0},
    {0, "PORT", KST_REASON_FTP_PARTIAL, 0},
    {0, "e", KST_REASON_FTP_PARTIAL, 0},
    {0, "EPRT", KST_REASON_FTP_PARTIAL, 0},
    {0, "X", KST_REASON_NONE, 0},
    {0, "PO\r\n", KST_REASON_NONE, 0},
    {0, "POXT 10,0,0,1,4,1\r\n", KST_REASON_NONE, 0},
    {0, " PORT 10,0,0,1,4,1\r\n", KST_REASON_NONE, 0},
    {0, "NOOP\r\nPORT 10,0,0,1,4,1\r\n", KST_REASON_NONE, 0}, /* only where the packet begins */
    {0, "227 (10,0,0,1,4,1)\r\n", KST_REASON_NONE, 0}, /* not the client's to say */
    {0, "229 (|||1025|)\r\n", KST_REASON_NONE, 0},
    {0, "EPRT |1|10.0.0.1|1025|\r\n", KST_REASON_NONE, 1025},
    {0, "eprt ~1~10.0.0.1~1025~", KST_REASON_NONE, 1025},
    {0, "EPRT |1|10.0.0.1|66561|\r\n", KST_REASON_NONE, 1025},
    {0, "EPRT |1|10.0.0.1|000000000001025|\r\n", KST_REASON_NONE, 1025},
    {0, "EPRT |1|10.0.0.9|1025|\r\n", KST_REASON_NONE, 0},
    {0, "EPRT |1|10.0.0.1|0|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|10.0.0.1|65536|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|10.0.0.1||\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|10.0.0.1|1025\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|10.0.0.1|1025", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|10.0.0.1|1025!\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|10.0.0|1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|10.0.0.1.1|1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |2|fd00::1|1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |3|10.0.0.1|1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT 010010.0.0.1010250\r\n", KST_REASON_FTP_ADDRESS, 0}, /* a digit is no delimiter */
    {0, "EPRT  1 10.0.0.1 1025 \r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT \x80" "1\x80" "10.0.0.1\x80" "1025\x80\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT ", KST_REASON_FTP_ADDRESS, 0},
    {1, "227 Entering Passive Mode (10,0,0,2,4,1).\r\n", KST_REASON_NONE, 1025},
    {1, "227 10,0,0,2,4,1\n", KST_REASON_NONE, 1025},
    {1, "227 =10,0,0,2,4,1x", KST_REASON_NONE, 1025},
    {1, "227 10,0,0,2,4,1", KST_REASON_FTP_ADDRESS, 0},
    {1, "227 (10,0,0,9,4,1)\r\n", KST_REASON_NONE, 0},
    {1, "227 (10,0,0,1,4,1)\r\n", KST_REASON_NONE, 0},
    {1, "227 2 of (10,0,0,2,4,1)\r\n", KST_REASON_FTP_ADDRESS, 0}, /* from the first digit on */
    {1, "227 nothing\r\n", KST_REASON_FTP_ADDRESS, 0},
    {1, "227-(10,0,0,2,4,1)\r\n", KST_REASON_NONE, 0},
    {1, "2", KST_REASON_FTP_PARTIAL, 0},
    {1, "22", KST_REASON_FTP_PARTIAL, 0},
    {1, "227", KST_REASON_FTP_PARTIAL, 0},
    {1, "227 ", KST_REASON_FTP_PARTIAL, 0},
    {1, "229 ", KST_REASON_FTP_PARTIAL, 0},
    {1, "220 ", KST_REASON_NONE, 0},
    {1, "229 Entering Extended Passive Mode (|||1025|)\r\n", KST_REASON_NONE, 1025},
    {1, "229 (###1025#", KST_REASON_NONE, 1025},
    {1, "229 ((((1025(", KST_REASON_NONE, 1025},
    {1, "229 (|||0|)\r\n", KST_REASON_FTP_ADDRESS, 0},
    {1, "229 (|||1025)\r\n", KST_REASON_FTP_ADDRESS, 0},
    {1, "229 (|||1025", KST_REASON_FTP_ADDRESS, 0},
    {1, "229 (|||", KST_REASON_FTP_ADDRESS, 0},
    {1, "229 (|1||1025|)\r\n", KST_REASON_FTP_ADDRESS, 0},
    {1, "229 (||#1025|)\r\n", KST_REASON_FTP_ADDRESS, 0},
    {1, "229 |||1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {1, "229 (1111025|)\r\n", KST_REASON_FTP_ADDRESS, 0},
    {1, "PORT 10,0,0,2,4,1\r\n", KST_REASON_NONE, 0}, /* not the server's to say */
    {1, "EPRT |1|10.0.0.2|1025|\r\n", KST_REASON_NONE, 0},
};

static const struct ftp_row ftp6[] = {
    {0, "EPRT |2|fd00::1|1025|\r\n", KST_REASON_NONE, 1025},
    {0, "EPRT |2|FD00:0:0:0:0:0:0:1|1025|\r\n", KST_REASON_NONE, 1025},
    {0, "EPRT |2|fd00:0000::0001|1025|", KST_REASON_NONE, 1025},
    {0, "EPRT |2|fd00::0.0.0.1|1025|\r\n", KST_REASON_NONE, 1025},
    {0, "EPRT |2|fd00::9|1025|\r\n", KST_REASON_NONE, 0},
    {0, "EPRT |2|::|1025|\r\n", KST_REASON_NONE, 0},
    {0, "EPRT |2|fd00:::1|1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |2|fd00::10001|1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |2|fd00::1", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |2|fd00::1|", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |2|fd00::1%eth0|1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |2||1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "EPRT |1|10.0.0.1|1025|\r\n", KST_REASON_FTP_ADDRESS, 0},
    {0, "PORT 10,0,0,1,4,1\r\n", KST_REASON_NONE, 0},
    {1, "229 (|||1025|)\r\n", KST_REASON_NONE, 1025},
    {1, "227 (10,0,0,2,4,1)\r\n", KST_REASON_NONE, 0},
};

START_TEST(ftp_lines)
{
    for (size_t i = 0; i < COUNT(ftp4) + COUNT(ftp6); i++) {
        const bool v6 = i >= COUNT(ftp4);
        const struct ftp_row *row = v6 ? &ftp6[i - COUNT(ftp4)] : &ftp4[i];
        struct talk talk = ftp_begin(v6);
        about("IPv%d, %s: %s", v6 ? 6 : 4, row->reply ? "server" : "client", row->line);
        const struct kst_result result = tell(&talk, row->reply, row->line);
        must_say(result, row->reason);
        must_be(result.verdict, row->reason == KST_REASON_NONE ? KST_ACCEPT : KST_DROP);
        must_be(result.state, row->reason == KST_REASON_NONE ? KST_ESTABLISHED : KST_INVALID);
        if (row->port != 0)
            must_expect(&talk, row->reply ? 1 : 2, 0, row->reply ? 2 : 1, row->port, TCP,
                        KST_EXPECT_ANY_SRC_PORT);
        else
            must_be(count(&talk), 0);
        must_be(kst_count(talk.t), 1); /* a known connection stays */
        free(talk.t);
    }
}
END_TEST

/* Port 0 passes in the old commands, as in Linux. */
START_TEST(ftp_port_zero)
{
    struct talk talk = ftp_begin(false);
    must_say(tell(&talk, 0, "PORT 10,0,0,1,0,0\r\n"), KST_REASON_NONE);
    must_expect(&talk, 2, 0, 1, 0, TCP, KST_EXPECT_ANY_SRC_PORT);
    free(talk.t);
}
END_TEST

START_TEST(ftp_loose)
{
    struct talk talk = ftp_begin(false);
    must_be(kst_set(talk.t, "nf_conntrack_ftp_loose", 1), KST_ERROR_OK);
    must_say(tell(&talk, 0, "PORT 10,0,0,9,4,1\r\n"), KST_REASON_NONE);
    must_expect(&talk, 2, 0, 9, 1025, TCP, KST_EXPECT_ANY_SRC_PORT);
    must_say(tell(&talk, 1, "227 (10,0,0,8,4,1)\r\n"), KST_REASON_NONE); /* replaces it */
    must_expect(&talk, 1, 0, 8, 1025, TCP, KST_EXPECT_ANY_SRC_PORT);
    free(talk.t);
}
END_TEST

/* Behind NAT the data goes to where the server believes the client to be. */
START_TEST(ftp_translated)
{
    struct talk talk = {.seq = {5, 9}, .helper = kst_helper_number("ftp")};
    talk.t = table_new((struct kst_config){.max = 2, .expectations = 2, .features = KST_WITH_NAT});
    talk.to = (struct say){.protocol = TCP, .from = 1, .to = 2, .sport = 40000, .dport = 21};
    struct kst_flow flow = flow_of(talk.to, 100000);
    flow.status = KST_SEEN_REPLY | KST_ASSURED;
    flow.helper = talk.helper;
    put_host(flow.tuple[1].dst, false, 77);
    must(kst_insert(talk.t, &flow, NULL) != 0);
    must_say(tell(&talk, 0, "NOOP\r\n"), KST_REASON_NONE);
    must_say(tell(&talk, 0, "PORT 10,0,0,1,4,1\r\n"), KST_REASON_NONE);
    must_expect(&talk, 2, 0, 77, 1025, TCP, KST_EXPECT_ANY_SRC_PORT);
    free(talk.t);
}
END_TEST

/* Where a line begins is known from what came before. */
START_TEST(ftp_line_starts)
{
    static const char port[] = "PORT 10,0,0,1,4,1\r\n";
    struct talk talk = talk_begin("ftp", false);
    must_say(tell(&talk, 0, port), KST_REASON_NONE); /* the first is never read */
    must_be(count(&talk), 0);
    must_say(tell(&talk, 0, port), KST_REASON_NONE);
    must_be(count(&talk), 1);
    must(kst_expectation_delete(talk.t, kst_expectation_next(talk.t, 0)));
    must_say(tell(&talk, 0, "NOOP"), KST_REASON_NONE); /* unfinished */
    must_say(tell(&talk, 0, port), KST_REASON_NONE);
    must_be(count(&talk), 0);

    /* Split over two packets. */
    must_say(tell(&talk, 0, "PORT 10,0,0,1"), KST_REASON_FTP_ADDRESS); /* dropped: to be sent again */
    must_say(tell(&talk, 0, port), KST_REASON_NONE);
    must_be(count(&talk), 1);
    must(kst_expectation_delete(talk.t, kst_expectation_next(talk.t, 0)));

    /* Sent again: known from the last two lines, not from earlier ones. */
    const uint32_t here = talk.seq[0];
    must_say(tell(&talk, 0, "NOOP\r\n"), KST_REASON_NONE);
    const uint32_t after = talk.seq[0];
    talk.seq[0] = here;
    must_say(tell(&talk, 0, port), KST_REASON_NONE);
    must_be(count(&talk), 1);
    must(kst_expectation_delete(talk.t, kst_expectation_next(talk.t, 0)));
    talk.seq[0] = after + 13; /* "NOOP" ended at `after`, PORT at `after` + 13: both are lines */
    must_say(tell(&talk, 0, "\r\n"), KST_REASON_NONE);
    must_say(tell(&talk, 0, "\r\n"), KST_REASON_NONE);
    talk.seq[0] = after;
    must_say(tell(&talk, 0, port), KST_REASON_NONE);
    must_be(count(&talk), 0);
    free(talk.t);

    /* Each side has its own; sequence numbers wrap. */
    talk = talk_begin("ftp", false);
    must_say(tell(&talk, 0, "X\r\n"), KST_REASON_NONE);
    must_say(tell(&talk, 1, "227 (10,0,0,2,4,1)\r\n"), KST_REASON_NONE);
    must_be(count(&talk), 0);
    char line[0x104];
    memset(line, 'x', sizeof line);
    memcpy(line, "200 ", 4);
    line[sizeof line - 1] = '\n';
    must_say(speak(&talk, 1, line, sizeof line), KST_REASON_NONE);
    must(talk.seq[1] < 0x1000); /* beyond 2^32 */
    const uint32_t first = talk.seq[1];
    must_say(tell(&talk, 1, "227 (10,0,0,2,4,1)\r\n"), KST_REASON_NONE);
    must_be(count(&talk), 1);
    must(kst_expectation_delete(talk.t, kst_expectation_next(talk.t, 0)));

    /* Of the last two lines the older one goes, also where they lie on both sides of 2^32; and
     * an old line that is sent again is not news. */
    const uint32_t second = talk.seq[1];
    talk.seq[1] = first - 40;
    must_say(tell(&talk, 1, "200 x\r\n"), KST_REASON_NONE);
    for (uint32_t i = 0; i < 2; i++) {
        talk.seq[1] = i == 0 ? first : second;
        must_say(tell(&talk, 1, i == 0 ? "227 (10,0,0,2,4,1)\r\n" : "227 (10,0,0,2,4,2)\r\n"),
                 KST_REASON_NONE);
        about("line %u", i);
        must_expect(&talk, 1, 0, 2, (uint16_t)(1025 + i), TCP, KST_EXPECT_ANY_SRC_PORT);
    }
    free(talk.t);
}
END_TEST

START_TEST(ftp_line_starts_around_the_wrap)
{
    struct talk talk = talk_begin("ftp", false); /* the server is 255 bytes before 2^32 */
    char line[250];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    must_say(speak(&talk, 1, line, sizeof line), KST_REASON_NONE); /* a line ends before it, */
    must(talk.seq[1] > 0xfffffff0);
    must_say(tell(&talk, 1, "200 200 200 200\r\n"), KST_REASON_NONE); /* one after it, */
    const uint32_t second = talk.seq[1];
    must(second < 0x100);
    must_say(tell(&talk, 1, "200 200 200 200\r\n"), KST_REASON_NONE); /* and a third */
    talk.seq[1] = second;
    must_say(tell(&talk, 1, "227 (10,0,0,2,4,1)\r\n"), KST_REASON_NONE);
    must_be(count(&talk), 1);
    free(talk.t);
}
END_TEST

/* ---- IRC ---- */

START_TEST(irc_lines)
{
    static const struct {
        bool reply;
        const char *line;
        uint16_t port;
    } rows[] = { /* 167772161 is 10.0.0.1 */
        {0, "PRIVMSG bob :\1DCC SEND file 167772161 1025 99\1\r\n", 1025},
        {0, "privmsg bob :\1DCC CHAT chat 167772161 1025\1\n", 1025},
        {0, " \r\n PRIVMSG bob :\1DCC MOVE file 167772161 65535 99\1\r\n", 65535},
        {0, "PRIVMSG bob :\1DCC TSEND file 167772161 1025 99\1\r\n", 1025},
        {0, "PRIVMSG bob :\1DCC SCHAT chat 167772161 1025\1\r\n", 1025},
        {0, "PRIVMSG a :b :\1DCC SEND file 167772161 1025 99\1\r\n", 0}, /* the first colon counts */
        {0, "PRIVMSG a b c :\1DCC SEND file 167772161 1025 99\1\r\n", 1025},
        {0, "PRIVMSG bob :\1DCC SEND file    167772161 1025 99\1\r\n", 0},
        {0, "PRIVMSG bob :\1DCC SEND file 167772161    1025 99\1\r\n", 1025},
        {0, "PRIVMSG bob :\1DCC SEND file 4462739457 1025 99\1\r\n", 1025}, /* 2^32 more */
        {0, "PRIVMSG bob :\1DCC SEND file 167772161 66561 99\1\r\n", 1025},
        {0, "PRIVMSG bob :\1DCC SEND file 167772161 0 99\1\r\n", 0},
        {0, "PRIVMSG bob :\1DCC SEND file 167772161 65536 99\1\r\n", 0},
        {0, "PRIVMSG bob :\1DCC SEND file 167772169 1025 99\1\r\n", 0}, /* 10.0.0.9 */
        {0, "PRIVMSG bob :\1DCC SEND file 167772162 1025 99\1\r\n", 0}, /* the server */
        {0, "PRIVMSG bob :\1DCC SEND file x 1025 99\1\r\n", 0},
        {0, "PRIVMSG bob :\1DCC SEND 167772161 1025 99\1\r\n", 0},
        {0, "PRIVMSG bob :\1DCC SEND file 167772161 1025 99\1", 0}, /* the line must end */
        {0, "PRIVMSG bob :\1dcc SEND file 167772161 1025 99\1\r\n", 0},
        {0, "PRIVMSG bob :\1DCC send file 167772161 1025 99\1\r\n", 0},
        {0, "PRIVMSG bob :\1DCC SENDfile 167772161 1025 99\1\r\n", 0},
        {0, "PRIVMSG bob :DCC SEND file 167772161 1025 99\1\r\n", 0},
        {0, "PRIVMSG bob : \1DCC SEND file 167772161 1025 99\1\r\n", 0},
        {0, "PRIVMSG bob\1DCC SEND file 167772161 1025 99\1\r\n", 0},
        {0, "NOTICE bob :\1DCC SEND file 167772161 1025 99\1\r\n", 0},
        {0, "xPRIVMSG bob :\1DCC SEND file 167772161 1025 99\1\r\n", 0},
        {0, "JOIN #x\r\nPRIVMSG bob :\1DCC SEND file 167772161 1025 99\1\r\n", 0},
        {0, "PRIVMSG b :\1DCC CHAT 1 2\1\n", 0},
        {0, "PRIVMSG b :\1DCC SEND f 167772161 1\n", 0}, /* 26 bytes from the colon on, whatever is in front */
        {0, "PRIVMSG bobbybob :\1DCC SEND f 167772161 1\n", 0},
        {0, "PRIVMSG b :\1DCC SEND f 167772161 12\n", 12},
        {0, "PRIVMSG b :\1DCC TSEND f 167772161 1\n", 1},
        {0, "PRIVMSG b :\1DCC SEND CHAT MOVE TSEND \n", 0}, /* one after the other, until less than a word is left */
        {1, "PRIVMSG bob :\1DCC SEND file 167772161 1025 99\1\r\n", 0}, /* only the client's */
        {1, "PRIVMSG bob :\1DCC SEND file 167772162 1025 99\1\r\n", 0},
        {1, ":al!al@host PRIVMSG bob :\1DCC SEND file 167772162 1025 99\1\r\n", 0},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct talk talk = talk_begin("irc", false);
        about("row %zu: %s", i, rows[i].line);
        must_say(tell(&talk, rows[i].reply, rows[i].line), KST_REASON_NONE);
        if (rows[i].port != 0)
            must_expect(&talk, 0, 0, 1, rows[i].port, TCP, KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT);
        else
            must_be(count(&talk), 0);
        free(talk.t);
    }
}
END_TEST

/* What lies behind 4095 bytes is not read. */
START_TEST(irc_overlong)
{
    static const char head[] = "PRIVMSG bob :\1DCC SEND file 167772161 1025 ";
    for (uint32_t size = 4094; size <= 4097; size++) {
        char line[4100];
        struct talk talk = talk_begin("irc", false);
        memset(line, '9', sizeof line);
        memcpy(line, head, sizeof head - 1);
        line[size - 1] = '\n';
        about("%u bytes", size);
        must_say(speak(&talk, 0, line, size), KST_REASON_NONE);
        must_be(count(&talk), size <= 4095);
        memset(line, ' ', sizeof line); /* nothing but what is skipped */
        must_say(speak(&talk, 0, line, size), KST_REASON_NONE);
        free(talk.t);
    }
}
END_TEST

START_TEST(irc_eight_at_a_time)
{
    struct talk talk = talk_begin("irc", false);
    for (uint32_t i = 1; i <= 20; i++) {
        char line[80];
        snprintf(line, sizeof line, "PRIVMSG bob :\1DCC SEND f 167772161 %u 1\1\r\n", 2000 + i);
        must_say(tell(&talk, 0, line), KST_REASON_NONE);
        must_be(count(&talk), i < 8 ? i : 8);
    }
    struct kst_expectation x;
    kst_id id = kst_expectation_own(talk.t, kst_next(talk.t, 0), 0);
    for (uint32_t i = 20; i > 12; i--, id = kst_expectation_own(talk.t, x.master, id)) {
        must(kst_expectation_get(talk.t, id, &x));
        must_be(x.tuple.dst_port, 2000 + i);
    }
    must_be(id, 0);
    /* The newest transfer begins, from anywhere. */
    const struct say data = {.protocol = TCP, .from = 99, .to = 1, .sport = 3, .dport = 2020, .flags = SYN};
    must_be(track(talk.t, 0, data).state, KST_RELATED);
    must_be(count(&talk), 7);
    free(talk.t);
}
END_TEST

/* ---- TFTP ---- */

/* A header that goes on in a line of nothing but blanks, where the message ends: nothing behind is read. */
START_TEST(sip_folded_at_the_end)
{
    static const char *const messages[] = {
        "REGISTER x\r\nl\n ", "REGISTER x\r\nl:\n ", "REGISTER x\r\nl \r\n\t",
        "REGISTER x\r\nCSeq: 1 REGISTER\r\nl: 10\r\n\r\nm: a\n     "};
    for (size_t i = 0; i < COUNT(messages); i++) {
        struct talk talk = talk_begin("sip", false);
        about("%s", messages[i]);
        must_say(tell(&talk, 0, messages[i]), KST_REASON_NONE);
        must_be(count(&talk), 0);
        free(talk.t);
    }
}
END_TEST

START_TEST(tftp_requests)
{
    for (uint32_t i = 0; i < 2 * 8; i++) {
        static const struct {
            uint8_t bytes[3];
            uint32_t size;
            bool expected;
        } rows[] = {{{0, 1, 'f'}, 3, true}, {{0, 2, 'f'}, 3, true}, {{0, 1}, 2, true}, {{0, 3, 0}, 3, false},
                    {{1, 1, 0}, 3, false}, {{0, 0, 1}, 3, false},   {{0}, 1, false},   {{0}, 0, false}};
        for (uint32_t reply = 0; reply < 2; reply++) { /* also what the server says, as in Linux */
            struct talk talk = talk_begin("tftp", i >= 8);
            about("row %u, IPv%d, reply %u", i % 8, i >= 8 ? 6 : 4, reply);
            if (reply)
                must_be(speak(&talk, 0, NULL, 0).state, KST_NEW);
            const struct kst_result result = speak(&talk, reply, rows[i % 8].bytes, rows[i % 8].size);
            must_say(result, KST_REASON_NONE);
            must_be(result.state, reply ? KST_ESTABLISHED : KST_NEW);
            if (rows[i % 8].expected)
                must_expect(&talk, 2, 0, 1, 40000, UDP, KST_EXPECT_ANY_SRC_PORT);
            else
                must_be(count(&talk), 0);
            free(talk.t);
        }
    }
}
END_TEST

/* One that cannot be expected is dropped, and no connection remains of it. */
START_TEST(tftp_refused)
{
    struct talk talk = talk_begin("tftp", false);
    must_say(speak(&talk, 0, "\0\1", 2), KST_REASON_NONE);
    must_say(speak(&talk, 0, "\0\1", 2), KST_REASON_NONE); /* the same again */
    talk.to.dport = 70;
    const struct kst_result result = speak(&talk, 0, "\0\1", 2);
    must_say(result, KST_REASON_HELPER_EXPECT);
    must_be(result.verdict, KST_DROP);
    must_be(result.state, KST_INVALID);
    must_be(result.direction, KST_NO_DIRECTION);
    must_be(result.entry, 0);
    must_be(result.flags, 0);
    must_be(kst_count(talk.t), 1);
    must_be(count(&talk), 1);
    must_be(kst_statistics(talk.t)->gone[KST_GONE_REFUSED], 1);
    free(talk.t);
}
END_TEST

/* ---- PPTP ---- */

enum { START_REQUEST = 1, START_REPLY, STOP_REQUEST, STOP_REPLY, ECHO_REQUEST, ECHO_REPLY,
       OUT_REQUEST, OUT_REPLY, IN_REQUEST, IN_REPLY, IN_CONNECTED, CLEAR_REQUEST, DISCONNECT,
       WAN_ERROR, SET_LINK };

static const uint8_t pptp_sizes[] = {12, 156, 156, 16,  16, 16, 20, 168,
                                     32, 220, 24,  28, 16, 148, 40, 24}; /* RFC 2637 */

struct pptp { /* a message: two numbers at its front, a result behind */
    bool reply;
    uint8_t message;
    uint16_t first, second;
    uint8_t result; /* or the high byte of what stands there */
};

static uint32_t pptp_write(const struct pptp *m, uint8_t *bytes)
{
    memset(bytes, 0, 256);
    put16(bytes, pptp_sizes[m->message]);
    put16(bytes + 2, 1);
    put32(bytes + 4, 0x1a2b3c4d);
    put16(bytes + 8, m->message);
    put16(bytes + 12, m->first);
    put16(bytes + 14, m->second);
    bytes[16] = m->result;
    if (m->message == START_REPLY) /* version, result */
        bytes[14] = m->result;
    if (m->message == STOP_REPLY)
        bytes[12] = m->result;
    return pptp_sizes[m->message];
}

static struct kst_result pptp(struct talk *talk, struct pptp m)
{
    uint8_t bytes[256];
    const uint32_t size = pptp_write(&m, bytes);
    const struct kst_result result = speak(talk, m.reply, bytes, size);
    must_say(result, KST_REASON_NONE);
    return result;
}

#define SESSION {0, START_REQUEST, 0x100, 0, 0}, {1, START_REPLY, 0x100, 0, 1}
#define OUTGOING(client, server) {0, OUT_REQUEST, client, 1, 0}, {1, OUT_REPLY, server, client, 1}
#define INCOMING(client, server)                                                                   \
    {1, IN_REQUEST, server, 1, 0}, {0, IN_REPLY, client, server, 1}, {0, IN_CONNECTED, server, 0, 0}

enum { PPTP_STEPS = 8 };

START_TEST(pptp_sequences)
{
    static const struct {
        struct pptp steps[PPTP_STEPS];
        uint32_t expected;
    } rows[] = {
        {{SESSION, OUTGOING(100, 200)}, 2},
        {{SESSION, {1, IN_REQUEST, 200, 1, 0}, {0, IN_REPLY, 100, 200, 1}, {1, IN_CONNECTED, 100, 0, 0}}, 2},
        {{SESSION, OUTGOING(100, 200), {1, OUT_REPLY, 200, 100, 1}}, 2}, /* once more */
        {{SESSION, OUTGOING(100, 200), {1, DISCONNECT, 200, 0, 0}}, 0},
        {{SESSION, OUTGOING(100, 200), {1, DISCONNECT, 200, 0, 0}, OUTGOING(101, 201)}, 2},
        {{SESSION, OUTGOING(100, 200), {0, CLEAR_REQUEST, 100, 0, 0}}, 2}, /* until the answer */
        {{SESSION, OUTGOING(100, 200), {0, DISCONNECT, 100, 0, 0}}, 2},    /* not its to say */
        {{SESSION, OUTGOING(100, 200), OUTGOING(101, 201)}, 0}, /* one call a session */
        {{SESSION, {1, DISCONNECT, 0, 0, 0}}, 0},
        {{{1, DISCONNECT, 0, 0, 0}, SESSION, OUTGOING(100, 200)}, 2},
        {{OUTGOING(100, 200)}, 0}, /* without a session */
        {{{0, START_REQUEST, 0, 0, 0}, OUTGOING(100, 200)}, 0},
        {{{1, START_REPLY, 0, 0, 1}, OUTGOING(100, 200)}, 0},
        {{{0, START_REQUEST, 0, 0, 0}, {1, START_REPLY, 0, 0, 2}, OUTGOING(100, 200)}, 0},
        {{SESSION, {1, OUT_REPLY, 200, 100, 1}}, 0}, /* nobody asked */
        {{SESSION, {0, OUT_REQUEST, 100, 1, 0}, {1, OUT_REPLY, 200, 101, 1}}, 0}, /* another's */
        {{SESSION, {0, OUT_REQUEST, 100, 1, 0}, {1, OUT_REPLY, 200, 100, 2}}, 0}, /* refused */
        {{SESSION, {0, OUT_REQUEST, 100, 1, 0}, {1, OUT_REPLY, 200, 100, 2}, {1, OUT_REPLY, 200, 100, 1}}, 0},
        {{SESSION, {1, OUT_REQUEST, 100, 1, 0}, {0, OUT_REPLY, 200, 100, 1}}, 0}, /* the wrong sides */
        {{SESSION, {1, IN_REQUEST, 200, 1, 0}, {0, IN_REPLY, 100, 201, 1}, {1, IN_CONNECTED, 100, 0, 0}}, 0},
        {{SESSION, {1, IN_REQUEST, 200, 1, 0}, {0, IN_REPLY, 100, 200, 2}, {1, IN_CONNECTED, 100, 0, 0}}, 0},
        {{SESSION, {1, IN_REQUEST, 200, 1, 0}, {0, IN_REPLY, 100, 200, 1}, {1, IN_CONNECTED, 101, 0, 0}}, 0},
        {{SESSION, {1, IN_REQUEST, 200, 1, 0}, {1, IN_CONNECTED, 0, 0, 0}}, 0},
        {{SESSION, {1, IN_REQUEST, 200, 1, 0}, {0, IN_REPLY, 100, 200, 1}, {0, IN_REPLY, 101, 200, 1},
          {1, IN_CONNECTED, 101, 0, 0}}, 2}, /* the last name counts */
        {{SESSION, {1, IN_REQUEST, 200, 1, 0}, {0, IN_REPLY, 100, 200, 1}, {0, IN_REPLY, 101, 200, 1},
          {1, IN_CONNECTED, 100, 0, 0}}, 0},
        {{SESSION, {1, IN_REQUEST, 200, 1, 0}, {0, IN_REPLY, 100, 200, 1}, {1, IN_CONNECTED, 100, 0, 0},
          {1, IN_CONNECTED, 100, 0, 0}}, 2}, /* once more */
        {{SESSION, {0, IN_REPLY, 100, 0, 1}, {1, IN_CONNECTED, 100, 0, 0}}, 0},
        {{SESSION, {0, STOP_REQUEST, 1, 0, 0}, OUTGOING(100, 200)}, 0},
        {{SESSION, {0, STOP_REQUEST, 1, 0, 0}, {1, STOP_REPLY, 0, 0, 1}, SESSION, OUTGOING(100, 200)}, 2},
        {{SESSION, {0, STOP_REQUEST, 1, 0, 0}, {1, STOP_REPLY, 0, 0, 2}, SESSION, OUTGOING(100, 200)}, 0},
        {{SESSION, {0, ECHO_REQUEST, 1, 0, 0}, {1, ECHO_REPLY, 1, 0, 1}, {1, WAN_ERROR, 0, 0, 0},
          {0, SET_LINK, 0, 0, 0}, OUTGOING(100, 200)},
         2},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct talk talk = talk_begin("pptp", false);
        about("row %zu", i);
        for (size_t step = 0; step < PPTP_STEPS && rows[i].steps[step].message != 0; step++)
            pptp(&talk, rows[i].steps[step]);
        must_be(count(&talk), rows[i].expected);
        struct kst_expectation x;
        for (kst_id id = kst_expectation_next(talk.t, 0); id != 0; id = kst_expectation_next(talk.t, id)) {
            must(kst_expectation_get(talk.t, id, &x));
            must_be(x.flags, 0);
            must_be(x.tuple.protocol, GRE);
            const bool back = x.tuple.src[3] == 2;
            must_be(x.tuple.src[3] + x.tuple.dst[3], 3);
            must_be(x.tuple.src_port / 100, back ? 2 : 1);
            must_be(x.tuple.dst_port / 100, back ? 1 : 2);
            must_be(x.timeout_ms, 300000);
        }
        free(talk.t);
    }
}
END_TEST

static struct say gre_call(bool reply, uint16_t call)
{
    static uint8_t bodies[2][12];
    uint8_t *body = bodies[reply];
    const uint8_t begin[8] = {0x30, 0x01, 0x88, 0x0b, 0, 4};
    memcpy(body, begin, sizeof begin);
    put16(body + 6, call);
    return (struct say){.protocol = GRE, .from = reply ? 2 : 1, .to = reply ? 1 : 2, .bytes = 12,
                        .body = body};
}

static uint32_t keys(const struct talk *talk)
{
    return kst__expectations_of(talk->t)->keys;
}

/* What a client says before it was answered, in a connection that began in its middle, opens no session. */
START_TEST(pptp_before_an_answer)
{
    const struct pptp steps[] = {SESSION, OUTGOING(100, 200)};
    for (uint32_t answered = 0; answered < 2; answered++) {
        struct talk talk = {.seq = {1000, 2000}, .helper = kst_helper_number("pptp")};
        talk.t = table_new((struct kst_config){.max = 16, .expectations = 8});
        talk.to = (struct say){.protocol = TCP, .from = 1, .to = 2, .sport = 40000, .dport = 1723};
        about("answered: %u", answered);
        if (answered) {
            must_be(speak_raw(&talk, 0, ACK, NULL, 0).state, KST_NEW);
            must_be(speak_raw(&talk, 1, ACK, NULL, 0).state, KST_ESTABLISHED);
        }
        for (size_t i = 0; i < COUNT(steps); i++)
            pptp(&talk, steps[i]);
        must_be(count(&talk), answered ? 2 : 0);
        free(talk.t);
    }
}
END_TEST

/* The connection of a session, in a table like that. */
static struct talk pptp_begin(struct kst_config config, uint16_t zone)
{
    struct talk talk = {.seq = {1000, 2000}, .helper = kst_helper_number("pptp"), .zone = zone, .t = table_new(config)};
    talk.to = (struct say){.protocol = TCP, .from = 1, .to = 2, .sport = 40000, .dport = 1723};
    shake_hands(&talk);
    return talk;
}

static struct talk pptp_call(void)
{
    struct talk talk = talk_begin("pptp", false);
    const struct pptp steps[] = {SESSION, OUTGOING(100, 200)};
    for (size_t i = 0; i < COUNT(steps); i++)
        pptp(&talk, steps[i]);
    must_be(count(&talk), 2);
    must_be(keys(&talk), 2);
    return talk;
}

/* Each side's packets carry the other's call only; they are one connection all the same. */
START_TEST(pptp_keys)
{
    for (uint32_t server_first = 0; server_first < 2; server_first++) {
        struct talk talk = pptp_call();
        struct kst_flow flow;
        about("%s first", server_first ? "server" : "client");
        const struct kst_result first = track(talk.t, 0, gre_call(server_first, server_first ? 100 : 200));
        must_be(first.state, KST_RELATED);
        must_be_sound(talk.t);
        must_be(count(&talk), 0); /* the other is its answer */
        must_be(kst_statistics(talk.t)->expect_new, 1);
        must(kst_get(talk.t, first.entry, &flow));
        must_be(flow.tuple[0].src_port, server_first ? 200 : 100);
        must_be(flow.tuple[0].dst_port, server_first ? 100 : 200);
        must_be(flow.status, KST_CONFIRMED | KST_EXPECTED);
        must_be(flow.gre_timeouts_s[0], 30);
        must_be(flow.gre_timeouts_s[1], 180);
        const struct kst_result back = track(talk.t, 0, gre_call(!server_first, server_first ? 200 : 100));
        must_be(back.entry, first.entry);
        must_be(back.state, KST_ESTABLISHED);
        must_be(back.direction, KST_REPLY);
        /* Another call, and other hosts, are not its. */
        must_be(track(talk.t, 0, gre_call(0, 201)).state, KST_NEW);
        struct say stray = gre_call(0, 200);
        stray.from = 9; /* the key is that of a call between two hosts */
        const struct kst_result other = track(talk.t, 0, stray);
        must(kst_get(talk.t, other.entry, &flow));
        must_be(flow.tuple[0].src_port, 0);

        /* An ICMP error about the call is related to it, though its inner packet lacks the key. */
        const struct say inner = gre_call(0, 200);
        const struct wire w = wire_of(&inner);
        const struct kst_result error = track(
            talk.t, 0, (struct say){.protocol = ICMP, .from = 9, .to = 1, .dport = 0x0303,
                                    .bytes = (uint16_t)w.size, .body = w.data});
        must_be(error.state, KST_RELATED);
        must_be(error.entry, first.entry);
        free(talk.t);
    }
}
END_TEST

/* The end of the call, of the session, of the table. */
START_TEST(pptp_ends)
{
    enum { TOLD, DELETED, EXPIRED, FLUSHED, WAYS };
    for (uint32_t way = 0; way < 2 * WAYS; way++) {
        const bool begun = way >= WAYS;
        struct talk talk = pptp_call();
        const kst_id master = kst_next(talk.t, 0);
        struct kst_flow flow;
        kst_id call = 0;
        about("way %u", way);
        if (begun) {
            call = track(talk.t, 0, gre_call(0, 200)).entry;
            must(track(talk.t, 0, gre_call(1, 100)).entry == call);
        }
        const kst_id stranger_ = track(talk.t, 0, stranger(1)).entry;
        switch (way % WAYS) {
        case TOLD: pptp(&talk, (struct pptp){1, DISCONNECT, 200, 0, 0}); break;
        case DELETED: must(kst_delete(talk.t, master)); break;
        case EXPIRED:
            must(kst_get(talk.t, master, &flow));
            for (uint64_t now = 0; now <= flow.timeout_ms; now += 100) { /* the call goes on */
                kst_advance(talk.t, now, 100);
                track(talk.t, now, gre_call(0, 200));
            }
            break;
        default: kst_flush(talk.t); break;
        }
        must_be_sound(talk.t);
        must_be(keys(&talk), 0);
        must_be(count(&talk), 0);
        must_be(kst_get(talk.t, master, &flow), way % WAYS == TOLD);
        must(!kst_get(talk.t, call, &flow));
        must_be(kst_statistics(talk.t)->gone[KST_GONE_CALLED_OFF], begun || way == EXPIRED);
        must_be(kst_get(talk.t, stranger_, &flow), way % WAYS == TOLD || way % WAYS == DELETED);
        must_be(track(talk.t, talk.t->now_ms, gre_call(0, 200)).state, KST_NEW);
        free(talk.t);
    }
}
END_TEST

/* The client has a zone of its own direction. The end of the session ends its call all the same, be it that the client
 * began it, there, or the server, without a zone; but not what has the same ends and answers in another zone. */
START_TEST(pptp_ends_across_zones)
{
    enum { CLIENT, SERVER, OTHERS, WHO };
    for (uint32_t who = 0; who < WHO; who++) {
        struct talk talk = pptp_begin((struct kst_config){.max = 16, .expectations = 8, .features = KST_WITH_NAT}, 7);
        const struct pptp steps[] = {SESSION, OUTGOING(100, 200)};
        struct kst_flow flow;
        about("who %u", who);
        for (size_t i = 0; i < COUNT(steps); i++)
            pptp(&talk, steps[i]);
        const struct kst_packet as[WHO] = {{.zone = 7, .flags = KST_PACKET_ZONE_ORIGINAL}, {.zone = 0},
                                           {.zone = 9, .flags = KST_PACKET_ZONE_REPLY}};
        const kst_id call = track_as(talk.t, talk.t->now_ms, gre_call(who == SERVER, who == SERVER ? 100 : 200), as[who]).entry;
        must(kst_get(talk.t, call, &flow));
        pptp(&talk, (struct pptp){1, DISCONNECT, 200, 0, 0});
        must_be(kst_get(talk.t, call, &flow), who == OTHERS);
        must_be(keys(&talk), 0);
        must_be_sound(talk.t);
        free(talk.t);
    }
}
END_TEST

/* The session is old, and makes room for its own call. */
START_TEST(pptp_session_evicted_by_its_call)
{
    struct talk talk = pptp_begin((struct kst_config){
        .max = 1, .expectations = 8, .events = 16, .evict = {KST_CLASS_ASSURED + 1}}, 0);
    const struct pptp steps[] = {SESSION, OUTGOING(100, 200)};
    for (size_t i = 0; i < COUNT(steps); i++)
        pptp(&talk, steps[i]);
    const struct kst_result result = track(talk.t, 0, gre_call(0, 200));
    must_be_sound(talk.t);
    must_say(result, KST_REASON_TABLE_EVICTED);
    must_be(result.state, KST_RELATED);
    must_be(kst_count(talk.t), 1);
    must_be(kst_next(talk.t, 0), result.entry);
    must_be(keys(&talk), 0);
    must_be(count(&talk), 0);
    free(talk.t);
}
END_TEST

/* No room for both keys: then none, and nothing is expected. */
START_TEST(pptp_without_room)
{
    for (uint32_t room = 1; room <= 5; room++) {
        struct talk talk = pptp_begin((struct kst_config){.max = 4, .expectations = room}, 0);
        const struct pptp session[] = {SESSION};
        pptp(&talk, session[0]);
        pptp(&talk, session[1]);
        for (uint16_t call = 0; call < 6; call++) {
            const struct pptp steps[] = {OUTGOING(100, 200)};
            struct pptp request = steps[0], reply = steps[1];
            if (room < 4) { /* always another */
                request.first = reply.second = (uint16_t)(100 + call);
                reply.first = (uint16_t)(200 + call);
            }
            about("room for %u, call %u", room, call);
            pptp(&talk, request);
            pptp(&talk, reply);
            must_be(keys(&talk), room >= 4 ? 2 : 0);
            must_be(count(&talk), room >= 4 ? 2 : 0);
        }
        free(talk.t);
    }
}
END_TEST

/* A call that cannot be expected from both sides is expected from none; that before it goes on. */
START_TEST(pptp_second_call_without_room)
{
    for (uint32_t most = 0; most < 3; most++) {
        struct talk talk = pptp_call();
        const kst_id first = track(talk.t, 0, gre_call(0, 200)).entry;
        const struct pptp steps[] = {OUTGOING(101, 200)};
        must_be(count(&talk), 0);
        must_be(kst_set(talk.t, "nf_conntrack_expect_max", most), KST_ERROR_OK);
        pptp(&talk, steps[0]);
        pptp(&talk, steps[1]);
        about("%u", most);
        must_be(keys(&talk), most < 2 ? 2 : 0); /* two names for one: no packet tells which */
        must_be(count(&talk), 0);
        must_be(track(talk.t, 0, gre_call(1, 100)).entry == first, most < 2);
        free(talk.t);
    }
}
END_TEST

START_TEST(pptp_malformed)
{
    for (uint32_t way = 0; way < 8; way++) {
        struct talk talk = talk_begin("pptp", false);
        const struct pptp steps[] = {SESSION, OUTGOING(100, 200)};
        uint8_t bytes[256];
        for (size_t i = 0; i < 3; i++)
            pptp(&talk, steps[i]);
        uint32_t size = pptp_write(&steps[3], bytes);
        switch (way) {
        case 0: put16(bytes + 2, 2); break;      /* a management message */
        case 1: bytes[7] ^= 1; break;            /* the cookie */
        case 2: put16(bytes + 8, 0); break;
        case 3: put16(bytes + 8, 16); break;
        case 4: put16(bytes + 8, 65535); break;
        case 5: size--; break;
        case 6: put16(bytes, 65535); break;      /* its length is not looked at, what is there is */
        default: size = 255; break;              /* more than there should be */
        }
        about("way %u", way);
        must_say(speak(&talk, 1, bytes, size), KST_REASON_NONE);
        must_be(count(&talk), way < 6 ? 0 : 2);
        free(talk.t);
    }
}
END_TEST

/* ---- hostile ---- */

struct message {
    bool reply;
    const void *bytes;
    uint32_t size;
};

struct dialogue {
    const char *helper;
    bool v6;
    uint32_t count;
    struct message messages[6];
};

#define TEXT(reply, text) {reply, text, sizeof(text) - 1}

static uint8_t pptp_bytes[12][256];

/* Good conversations, to be spoilt. */
static uint32_t dialogues(struct dialogue *d)
{
    static const struct pptp out[] = {SESSION, OUTGOING(100, 200), {1, DISCONNECT, 200, 0, 0}};
    static const struct pptp in[] = {SESSION, {1, IN_REQUEST, 200, 1, 0}, {0, IN_REPLY, 100, 200, 1},
                                     {1, IN_CONNECTED, 100, 0, 0}};
    const struct dialogue all[] = {
        {"ftp", false, 4, {TEXT(0, "USER me\r\n"), TEXT(0, "PORT 10,0,0,1,4,1\r\n"),
                           TEXT(0, "EPRT |1|10.0.0.1|1026|\r\n"), TEXT(0, "EPRT #1#10.0.0.9#9#\r\n")}},
        {"ftp", false, 3, {TEXT(1, "220 x\r\n"), TEXT(1, "227 Passive (10,0,0,2,255,255)\r\n"),
                           TEXT(1, "229 Extended (|||65535|)\r\n")}},
        {"ftp", true, 5, {TEXT(0, "USER me\r\n"), TEXT(0, "EPRT |2|fd00::1|1026|\r\n"),
                          TEXT(0, "EPRT |2|fd00:0:0::0.0.0.1|1026|\r\n"), TEXT(1, "220 x\r\n"),
                          TEXT(1, "229 Extended (|||65535|)\r\n")}},
        {"irc", false, 3, {TEXT(0, "NICK me\r\n"), TEXT(0, "PRIVMSG bob :\1DCC SEND f.c 167772161 1025 99\1\r\n"),
                           TEXT(0, " \r\nPRIVMSG bob :\1DCC SCHAT chat 167772161 1026\1\r\n")}},
        {"tftp", false, 2, {TEXT(0, "\0\1file\0octet\0"), TEXT(1, "\0\2x\0octet\0")}},
    };
    uint32_t count_ = 0;
    for (; count_ < COUNT(all); count_++)
        d[count_] = all[count_];
    d[count_] = (struct dialogue){.helper = "pptp", .count = 5};
    d[count_ + 1] = (struct dialogue){.helper = "pptp", .count = 5};
    for (uint32_t i = 0; i < 5; i++) {
        d[count_].messages[i] = (struct message){out[i].reply, pptp_bytes[i], pptp_write(&out[i], pptp_bytes[i])};
        d[count_ + 1].messages[i] =
            (struct message){in[i].reply, pptp_bytes[6 + i], pptp_write(&in[i], pptp_bytes[6 + i])};
    }
    return count_ + 2;
}

/* Nobody but the two of them may be the goal of what they bring about, and from whom it may come is
 * said, but for IRC's transfers. */
static void must_open_nothing_else(const struct talk *talk)
{
    struct kst_expectation x;
    struct kst_tuple ends = tuple_of((struct say){.v6 = talk->to.v6, .from = 1, .to = 2});
    for (kst_id id = kst_expectation_next(talk->t, 0); id != 0; id = kst_expectation_next(talk->t, id)) {
        must(kst_expectation_get(talk->t, id, &x));
        const bool to_client = memcmp(x.tuple.dst, ends.src, 16) == 0;
        must(to_client || memcmp(x.tuple.dst, ends.dst, 16) == 0);
        if (talk->helper == kst_helper_number("irc"))
            must(to_client);
        else
            must(!(x.flags & KST_EXPECT_ANY_SRC) &&
                 memcmp(x.tuple.src, to_client ? ends.dst : ends.src, 16) == 0);
        must(x.tuple.family == (talk->to.v6 ? KST_IPV6 : KST_IPV4));
    }
}

/* Each message cut anywhere. What was cut announces nothing that the whole does not. */
START_TEST(cut_anywhere)
{
    struct dialogue all[8];
    const uint32_t number = dialogues(all);
    for (uint32_t i = 0; i < number; i++) {
        for (uint32_t at = 0; at < all[i].count; at++) {
            for (uint32_t size = 0; size <= all[i].messages[at].size; size++) {
                struct talk talk = talk_begin(all[i].helper, all[i].v6);
                about("dialogue %u, message %u cut to %u", i, at, size);
                for (uint32_t before = 0; before < at; before++)
                    must_say(speak(&talk, all[i].messages[before].reply, all[i].messages[before].bytes,
                                   all[i].messages[before].size),
                             KST_REASON_NONE);
                const uint64_t created = kst_statistics(talk.t)->expect_create;
                speak(&talk, all[i].messages[at].reply, all[i].messages[at].bytes, size);
                must_open_nothing_else(&talk);
                if (strcmp(all[i].helper, "pptp") == 0 && size < all[i].messages[at].size)
                    must_be(kst_statistics(talk.t)->expect_create, created);
                if (size == all[i].messages[at].size && at == all[i].count - 1 && i < 4 && i != 0)
                    must(kst_statistics(talk.t)->expect_create > created);
                /* The rest comes in a packet of its own. */
                speak(&talk, all[i].messages[at].reply, (const uint8_t *)all[i].messages[at].bytes + size,
                      all[i].messages[at].size - size);
                must_open_nothing_else(&talk);
                free(talk.t);
            }
        }
    }
}
END_TEST

/* Bytes changed, put in, taken out, doubled; long runs of digits; zeros in the middle. */
START_TEST(spoilt_at_random)
{
    static const uint8_t odd[] = {0, 0xff, 0x80, ' ', '9', '0', '\n', '\r', ':', ',', '.', '|', '(', 1};
    struct dialogue all[8];
    const uint32_t number = dialogues(all);
    uint64_t expected = 0;
    draw_state = 21;
    for (uint32_t round = 0; round < 12000; round++) {
        const struct dialogue *d = &all[draw_below(number)];
        struct talk talk = talk_begin(d->helper, d->v6);
        const uint32_t spoilt = draw_below(d->count);
        about("round %u, %s", round, d->helper);
        for (uint32_t i = 0; i < d->count; i++) {
            uint8_t bytes[700];
            uint32_t size = d->messages[i].size;
            memcpy(bytes, d->messages[i].bytes, size);
            for (uint32_t times = i == spoilt || draw_one_in(8) ? 1 + draw_below(4) : 0; times > 0; times--) {
                const uint32_t at = draw_below(size + 1), run = 1 + draw_below(draw_one_in(4) ? 80 : 2);
                switch (draw_below(4)) {
                case 0:
                    for (uint32_t j = at; j < size && j < at + run; j++)
                        bytes[j] = draw_one_in(3) ? (uint8_t)draw() : odd[draw_below(COUNT(odd))];
                    break;
                case 1: /* put in */
                    memmove(bytes + at + run, bytes + at, size - at);
                    memset(bytes + at, draw_one_in(2) ? '0' + (int)draw_below(10) : odd[draw_below(COUNT(odd))], run);
                    size += run;
                    break;
                case 2: /* taken out */
                    if (at + run <= size) {
                        memmove(bytes + at, bytes + at + run, size - at - run);
                        size -= run;
                    }
                    break;
                default: size = at; break;
                }
            }
            speak(&talk, d->messages[i].reply ^ draw_one_in(30), bytes, size);
            must_open_nothing_else(&talk);
        }
        expected += kst_statistics(talk.t)->expect_create;
        free(talk.t);
    }
    must(expected > 4000); /* most go well all the same */
}
END_TEST

/* Any header of TCP's: options, none, more than there is; a packet of which only the front is
 * there. */
START_TEST(where_the_payload_is)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4});
    const uint8_t toy = kst_helper_number("toy");
    const uint8_t body[12] = {1, 1, 1, 0, 'x', 'y', 'z'};
    for (uint32_t way = 0; way < 4; way++) {
        struct say say = {.protocol = way < 3 ? TCP : UDP, .from = 1, .to = 2, .sport = (uint16_t)way,
                          .flags = SYN, .seq = 77, .bytes = 7, .body = body};
        say.tcp_options = way == 1 ? 4 : 0;
        const struct wire w = wire_of(&say);
        const struct kst_packet packet = {.data = w.data, .size = w.size - (way == 2), .helper = toy,
                                          .flags = way == 2 ? KST_PACKET_HEAD : 0};
        struct kst_result result;
        heard_times = 0;
        kst_track(t, 0, &packet, 1, &result);
        about("way %u", way);
        must_be(result.state, KST_NEW);
        must_be(heard_times, way != 2); /* of a packet that is not all there it hears nothing */
        if (way == 2)
            continue;
        must_be(heard.size, way == 1 ? 3 : 7);
        must(heard.payload == w.data + w.size - heard.size);
        must_be(heard.seq, way == 3 ? 0 : 77);
        must_be(heard.direction, KST_ORIGINAL);
        must_be(heard.connection, result.entry);
        must(!heard.answered && !heard.expected);
        const struct kst_tuple tuple = tuple_of(say);
        must(memcmp(&heard.tuple[0], &tuple, sizeof tuple) == 0);
    }
    free(t);
}
END_TEST

/* Less the zeros that lead a number: Linux, unlike inet_pton, takes any number of them. */
static void without_zeros(const char *text, char *plain)
{
    for (bool first = true; *text != '\0'; text++) {
        if (first && *text == '0' && isxdigit((unsigned char)text[1]))
            continue;
        first = !isxdigit((unsigned char)*text);
        *plain++ = *text;
    }
    *plain = '\0';
}

/* Whatever inet_pton takes, and nothing else. */
START_TEST(ipv6_as_the_library_reads_it)
{
    static const char alphabets[][14] = {"0123af:::::::", "1:::::::::::2", "123456789..::"};
    uint32_t good = 0, dotted = 0;
    draw_state = 31;
    for (uint32_t round = 0; round < 200000; round++) {
        const char *alphabet = alphabets[draw_below(COUNT(alphabets))];
        char text[48];
        uint8_t expected[16], got[16];
        const uint32_t length = draw_below(round % 4 == 0 ? 40 : 14);
        for (uint32_t i = 0; i < length; i++)
            text[i] = alphabet[draw_below(13)];
        if (round % 8 == 0) { /* eight groups, or nearly so */
            uint32_t at = 0;
            for (uint32_t groups = 6 + draw_below(4); groups > 0 && at < 40; groups--) {
                text[at++] = (char)('1' + draw_below(9));
                text[at++] = ':';
                if (draw_one_in(9))
                    text[at++] = ':';
            }
            text[at - draw_below(2)] = '\0';
        } else if (round % 8 == 1) { /* IPv4 at the end */
            static const char *const heads[] = {"::", "1::", "::ffff:", "1:2:3:4:5:6:", "1:2:3:4:5:6:7:",
                                                "1:2:3:4:5::", "1:2:3:4:5:", "1:2:3:4:5:6::", ""};
            const uint32_t parts[4] = {draw_below(270), draw_below(270), draw_below(9), draw_below(1200)};
            const char *head = heads[draw_below(COUNT(heads))];
            snprintf(text, sizeof text, "%s%u.%u.%u.%u", head, parts[0], parts[1], parts[2], parts[3]);
        } else {
            text[length] = '\0';
        }
        const uint32_t size = (uint32_t)strlen(text);
        uint8_t *exact = malloc(size + 1); /* of no size at all malloc may say NULL */
        ck_assert_ptr_nonnull(exact);
        memcpy(exact + 1, text, size);
        struct kst__text left = {exact + 1, exact + 1 + size};
        const bool taken = kst__ipv6_read(&left, got) && left.at == left.end;
        char plain[sizeof text];
        without_zeros(text, plain);
        const bool right = inet_pton(AF_INET6, plain, expected) == 1;
        about("\"%s\"", text);
        must_be(taken, right);
        if (right)
            must(memcmp(got, expected, 16) == 0);
        good += right;
        dotted += right && strchr(text, '.') != NULL;
        free(exact);
    }
    about("%u good ones, %u with dots", good, dotted);
    must(good > 10000 && dotted > 200);
}
END_TEST

/* ---- a helper from outside ---- */

static struct kst_result toy_says(struct kst *t, uint16_t dport, bool reply, const char *text)
{
    struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = dport};
    say = reply ? answer_to(say) : say;
    say.bytes = (uint16_t)strlen(text);
    say.body = text;
    const struct kst_result result = track(t, t->now_ms, say);
    must_be_sound(t);
    return result;
}

START_TEST(toy_drops)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4, .events = 8});
    struct kst_event event;
    must_be(kst_attach(t, UDP, 5, kst_helper_number("toy")), KST_ERROR_OK);
    struct kst_result result = toy_says(t, 5, false, "d"); /* the first: nothing remains */
    must_say(result, KST_REASON_HELPER);
    must_be(result.verdict, KST_DROP);
    must_be(result.state, KST_INVALID);
    must_be(result.entry, 0);
    must_be(result.flags, 0);
    must_be(kst_count(t), 0);
    must(!kst_event_next(t, &event)); /* it never was there */
    must_be(kst_statistics(t)->reasons[KST_REASON_HELPER], 1);
    must_be(kst_statistics(t)->gone[KST_GONE_REFUSED], 1);
    for (uint32_t column = 1; column <= KST_COLUMN_CHAIN_TOO_LONG; column *= 2)
        must_be(kst_column(t, (enum kst_column)column), 0);
    const struct wire w = wire_of(&(struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = 5, .bytes = 1, .body = "d"});
    const struct kst_packet packet = {.data = w.data, .size = w.size, .flags = KST_PACKET_DEFER};
    kst_track(t, 0, &packet, 1, &result); /* nor does one that had waited */
    must_be(result.state, KST_NEW);
    must_be(kst_confirm(t, 0, &packet, &result, NULL, NULL, 0), KST_REASON_HELPER);
    must_be(result.verdict, KST_DROP);
    must_be(kst_count(t), 0);
    must(!kst_event_next(t, &event));
    must_be(kst_confirm(t, 0, &packet, &result, NULL, NULL, 0), KST_REASON_HELPER); /* it is still so */
    must_be(kst_statistics(t)->reasons[KST_REASON_HELPER], 2);
    must_be_sound(t);
    must_be(toy_says(t, 5, false, "hello").state, KST_NEW);
    must_be(kst_count(t), 1);
    must_say(toy_says(t, 5, false, "d"), KST_REASON_HELPER); /* now the connection stays */
    must_say(toy_says(t, 5, true, "d"), KST_REASON_HELPER);
    must_be(kst_count(t), 1);
    must_be(toy_says(t, 6, false, "d").state, KST_NEW); /* a connection without it */
    free(t);
}
END_TEST

START_TEST(toy_hears_and_prolongs)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4, .features = 0});
    struct kst_flow flow;
    must_be(kst_attach(t, UDP, 5, kst_helper_number("toy")), KST_ERROR_OK);
    const kst_id id = toy_says(t, 5, false, "t9").entry;
    must(kst_get(t, id, &flow));
    must_be(flow.timeout_ms, 9000);
    must_be(flow.helper, kst_helper_number("toy"));
    must(!heard.answered);
    toy_says(t, 5, true, "x");
    must(heard.answered);
    must_be(heard.direction, KST_REPLY);
    must(kst_get(t, id, &flow));
    must_be(flow.timeout_ms, 30000); /* as always */
    toy_says(t, 5, false, "t1");
    must(heard.answered);
    must_be(((uint8_t *)kst__help_at(t, (uint32_t)id)->state)[KST_HELPER_STATE_BYTES - 1], 3);
    kst_advance(t, 999, 100);
    must_be(kst_count(t), 1);
    kst_advance(t, 1000, 100);
    must_be(kst_count(t), 0);
    must_be_sound(t);
    toy_says(t, 5, false, ""); /* the next in its place begins with zeros */
    must_be(((uint8_t *)kst__help_at(t, (uint32_t)id)->state)[KST_HELPER_STATE_BYTES - 1], 1);
    kst_flush(t);

    flow = flow_of((struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = 5}, 7000);
    flow.helper = kst_helper_number("toy");
    flow.status = KST_FIXED_TIMEOUT;
    must(kst_insert(t, &flow, NULL) != 0);
    heard_times = 0;
    const kst_id fixed = toy_says(t, 5, false, "t9").entry;
    must_be(heard_times, 1);
    must(kst_get(t, fixed, &flow));
    must_be(flow.timeout_ms, 7000); /* no packet moves it, nor does a helper */
    flow.helper = kst_helper_number("ftp"); /* which does not speak UDP */
    flow.tuple[0].src_port = flow.tuple[1].dst_port = 4711;
    enum kst_error why;
    must_be(kst_insert(t, &flow, &why), 0);
    must_be(why, KST_ERROR_HELPER);
    free(t);
}
END_TEST

/* A helper may delete its own connection: nothing more is done to that. */
START_TEST(toy_deletes_itself)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4, .events = 16});
    must_be(kst_attach(t, UDP, 5, kst_helper_number("toy")), KST_ERROR_OK);
    for (uint32_t way = 0; way < 4; way++) {
        about("way %u", way);
        if (way >= 2)
            must_be(toy_says(t, 5, false, "x").state, KST_NEW);
        const struct kst_result result = toy_says(t, 5, false, way % 2 == 0 ? "k" : "kd");
        must_say(result, way % 2 == 0 ? KST_REASON_NONE : KST_REASON_HELPER);
        must_be(result.verdict, way % 2 == 0 ? KST_ACCEPT : KST_DROP);
        must_be(kst_count(t), 0);
        must_be(kst_statistics(t)->gone[KST_GONE_DELETED], way + 1);
        must_be(kst_statistics(t)->gone[KST_GONE_REFUSED], 0);
        struct kst_event event; /* of who was there for one packet, and not for all of it, nothing is told */
        for (uint32_t news = 0; news < (way >= 2 ? 2u : 0u); news++) {
            must(kst_event_next(t, &event));
            must_be(event.type, news == 0 ? KST_EVENT_NEW : KST_EVENT_DESTROY);
        }
        must(!kst_event_next(t, &event));
    }
    free(t);
}
END_TEST

START_TEST(toy_marks_before_it_is_told)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4, .events = 16});
    struct kst_event event;
    must_be(kst_attach(t, UDP, 5, kst_helper_number("toy")), KST_ERROR_OK);
    must_be(toy_says(t, 5, false, "m").state, KST_NEW);
    must(kst_event_next(t, &event));
    must_be(event.type, KST_EVENT_NEW);
    must_be(event.about.flow.mark, 77);
    must(!kst_event_next(t, &event));
    must(kst_set_mark(t, event.about.flow.id, 1)); /* from then on all */
    must(kst_event_next(t, &event));
    must_be(event.type, KST_EVENT_UPDATE);
    free(t);
}
END_TEST

/* Or make way for another one, which has its slot: that is left alone, and nobody is told of it twice. */
START_TEST(toy_gives_its_place_away)
{
    for (uint32_t way = 0; way < 8; way++) {
        const bool drops = way & 1, known = way & 2, through = way & 4;
        struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4, .events = 16});
        struct kst_result result;
        struct kst_event event;
        must_be(kst_attach(t, UDP, 5, kst_helper_number("toy")), KST_ERROR_OK);
        if (known)
            must_be(toy_says(t, 5, false, "x").state, KST_NEW);
        while (kst_event_next(t, &event))
            ;
        about("way %u", way);
        if (through) { /* by steps */
            const char *text = drops ? "nd" : "n";
            const struct wire w = wire_of(&(struct say){.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = 5,
                                                        .bytes = (uint16_t)strlen(text), .body = text});
            const struct kst_packet packet = {.data = w.data, .size = w.size, .flags = KST_PACKET_DEFER};
            kst_track(t, 0, &packet, 1, &result);
            kst_confirm(t, 0, &packet, &result, NULL, NULL, 0);
        } else {
            result = toy_says(t, 5, false, drops ? "nd" : "n");
        }
        must_be_sound(t);
        must_say(result, drops ? KST_REASON_HELPER : KST_REASON_NONE);
        must_be(kst_count(t), 1);
        struct kst_flow flow;
        must(kst_get(t, kst_next(t, 0), &flow));
        must_be(flow.tuple[0].src_port, 9);
        must_be(flow.timeout_ms, 7000);
        must_be(flow.status & KST_SEEN_REPLY, 0);
        uint32_t news = 0, others = 0;
        while (kst_event_next(t, &event)) {
            if (event.type == KST_EVENT_DESTROY)
                must_be(event.about.flow.tuple[0].src_port, 1);
            else if (event.about.flow.tuple[0].src_port == 9)
                event.type == KST_EVENT_NEW ? news++ : others++;
        }
        must_be(news, 1);
        must_be(others, 0);
        free(t);
    }
}
END_TEST

/* What a helper replaces is in the packet, right by its lengths and checksums, if there is room, if the connection is
 * translated and if its protocol is one whose messages may grow. */
START_TEST(toy_replaces)
{
    static const struct {
        uint8_t protocol;
        bool translated, replaced;
        const char *says, *text, *leaves; /* NULL: as it was */
    } rows[] = {
        {UDP, false, false, "r12abcd", "xyz", NULL},
        {UDP, true, true, "r42abcd", "xyz", "r42axyzd"},
        {UDP, true, true, "r04abcd", "", "bcd"},
        {UDP, true, true, "r70abcd", "!", "r70abcd!"},
        {UDP, true, false, "r80abcd", "!", NULL}, /* behind its end */
        {UDP, true, false, "r71abcd", "!", NULL},
        {UDP, true, false, "r09abcd", "!", NULL},
        {TCP, true, true, "r42abcd", "xyz", "r42axyzd"},
        {TCP, true, true, "r43abcd", "xyz", "r43axyz"}, /* nothing to be shifted */
        {TCP, true, true, "r42abcd.k", "xyz", "r42axyzd.k"}, /* and is gone then */
        {TCP, true, true, "r42abcd.n", "xyz", "r42axyzd.n"},
        {UDP, true, true, "r42abcd.k", "xyz", "r42axyzd.k"},
        {UDPLITE, true, false, "r42abcd", "xyz", NULL},
    };
    for (size_t i = 0; i < 2 * COUNT(rows); i++) {
        const bool v6 = i % 2 == 1;
        const size_t row = i / 2;
        struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4, .features = KST_WITH_NAT, .seed = {1, 2}});
        struct kst_nat_range by = {.flags = KST_NAT_ADDRESS};
        put_host(by.address[0], v6, 9);
        by.address[1][0] = by.address[0][0];
        memcpy(by.address[1], by.address[0], 16);
        const uint8_t helper = kst_helper_number(rows[row].protocol == UDPLITE ? "odd" : "toy");
        const char *leaves = rows[row].leaves != NULL ? rows[row].leaves : rows[row].says;
        const struct say say = {.protocol = rows[row].protocol, .v6 = v6, .from = 1, .to = 2, .sport = 5000, .dport = 5,
                                .flags = ACK, .seq = 1, .ack = 1, .bytes = (uint16_t)strlen(rows[row].says),
                                .body = rows[row].says};
        struct wire w = wire_of(&say);
        const struct kst_packet packet = {.data = w.data, .size = w.size, .helper = helper};
        struct kst_nat nat = {.range = {rows[row].translated ? &by : NULL, NULL}, .bytes = w.data, .room = sizeof w.data};
        struct kst_result result;
        heard_times = 0;
        replaced = false;
        heard_text = rows[row].text;
        kst_track_nat(t, 0, &packet, &nat, 1, &result);
        w.size = nat.size;
        about("row %zu over IPv%d", row, v6 ? 6 : 4);
        must_say(result, KST_REASON_NONE);
        must_be(heard_times, 1);
        must_be(replaced, rows[row].replaced);
        struct say left = say;
        left.from = rows[row].translated ? 9 : 1;
        left.bytes = (uint16_t)strlen(leaves);
        left.body = leaves;
        const struct wire expected = wire_of(&left);
        must_be(w.size, expected.size);
        must(memcmp(w.data, expected.data, w.size) == 0);
        struct kst_flow flow;
        const bool there = kst_get(t, result.entry, &flow), grown = strlen(leaves) != strlen(rows[row].says);
        must_be(there, strchr(rows[row].says, '.') == NULL);
        if (there)
            must_be((flow.status & KST_SEQ_ADJUST) != 0, grown && rows[row].protocol == TCP);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* Of an error about a translated connection it hears, as of others, and may change nothing. */
START_TEST(toy_hears_of_errors)
{
    for (uint32_t translated = 0; translated < 2; translated++) {
        struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4, .features = KST_WITH_NAT});
        const struct kst_nat_range by = {.flags = KST_NAT_ADDRESS, .address = {{10, 0, 0, 9}, {10, 0, 0, 9}}};
        const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 1, .dport = 5, .bytes = 4, .body = "r09x"};
        struct wire w = wire_of(&say), sent;
        struct kst_result result;
        must_be(kst_attach(t, UDP, 5, kst_helper_number("toy")), KST_ERROR_OK);
        heard_text = "";
        for (uint32_t i = 0; i < 2; i++) {
            if (i == 1) { /* the client's host complains of the server's answer */
                struct say answer = answer_to(say);
                answer.bytes = 4;
                answer.body = "r09x";
                const struct wire inner = wire_of(&answer);
                w = wire_of(&(struct say){.protocol = ICMP, .from = 1, .to = 2, .dport = 0x0303,
                                          .bytes = (uint16_t)inner.size, .body = inner.data});
            }
            const struct kst_packet packet = {.data = w.data, .size = w.size};
            struct kst_nat nat = {.range = {translated ? &by : NULL, NULL}, .bytes = w.data, .room = sizeof w.data};
            heard_times = 0;
            replaced = true;
            kst_track_nat(t, 0, &packet, &nat, 1, &result);
            about("translated %u, packet %u", translated, i);
            must_say(result, KST_REASON_NONE);
            must_be(heard_times, 1);
            must_be(heard.error, i);
            must_be(heard.translated, translated && i == 0);
            must_be(replaced, i); /* behind its end; of an error it did not try */
            must_be(nat.size, w.size);
            sent = w;
            wire_seal(&sent);
            must(memcmp(sent.data, w.data, w.size) == 0);
        }
        must_be(result.state, KST_RELATED);
        free(t);
    }
}
END_TEST

/* Of UDP a sum of nothing is no sum, and stays none; one that comes to nothing is written otherwise (RFC 768). */
START_TEST(sums_that_are_nothing)
{
    for (uint32_t way = 0; way < 3; way++) {
        struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4, .features = KST_WITH_NAT});
        const struct kst_nat_range by = {.flags = KST_NAT_ADDRESS, .address = {{10, 0, 0, 9}, {10, 0, 0, 9}}};
        static char says[] = "r04abcd-";
        uint8_t zeros[2] = {0, 0};
        heard_text = "ab";
        /* What leaves is "abbcd-" and two bytes more, which are made to bring the sum to nothing. */
        uint8_t body[10];
        memcpy(body, says, 8);
        memcpy(body + 8, zeros, 2);
        const uint8_t leaves[8] = "abbcd-";
        struct say left = {.protocol = UDP, .from = 9, .to = 2, .sport = 5000, .dport = 5, .bytes = 8, .body = leaves};
        const struct wire plain = wire_of(&left);
        if (way == 1)
            memcpy(body + 8, plain.data + 26, 2);
        const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = 5000, .dport = 5, .bytes = 10, .body = body};
        struct wire w = wire_of(&say);
        if (way == 2)
            put16(w.data + 26, 0);
        const struct kst_packet packet = {.data = w.data, .size = w.size, .helper = kst_helper_number("toy")};
        struct kst_nat nat = {.range = {&by, NULL}, .bytes = w.data, .room = sizeof w.data};
        struct kst_result result;
        kst_track_nat(t, 0, &packet, &nat, 1, &result);
        about("way %u", way);
        must_say(result, KST_REASON_NONE);
        must_be(nat.size, 36);
        must_be(get16(w.data + 26), way == 0 ? get16(plain.data + 26) : way == 1 ? 0xffff : 0);
        free(t);
    }
}
END_TEST

/* Only of what the tracker has accepted. */
START_TEST(toy_hears_no_nonsense)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4});
    struct say say = tcp(0, SYN, 1, 0, 4);
    struct wire w = wire_of(&say);
    struct kst_result result;
    heard_times = 0;
    const uint8_t toy = kst_helper_number("toy");
    w.data[w.size - 1] ^= 1; /* the checksum */
    kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = w.size, .helper = toy}, 1, &result);
    must_say(result, KST_REASON_TCP_CHECKSUM);
    w.data[w.size - 1] ^= 1;
    kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = w.size, .helper = toy,
                                         .flags = KST_PACKET_NOTRACK}, 1, &result);
    must_be(result.state, KST_UNTRACKED);
    must_be(heard_times, 0);
    kst_track(t, 0, &(struct kst_packet){.data = w.data, .size = w.size, .helper = toy}, 1, &result);
    must_be(heard_times, 1);
    must_say(track(t, 0, tcp(0, ACK, 1, 1, 4)), KST_REASON_TCP_STATE);
    must_be(heard_times, 1);
    must_say(track(t, 0, tcp(1, RST | ACK, 0, 6, 0)), KST_REASON_TCP_REFUSED); /* and is gone */
    must_be(heard_times, 1);
    free(t);
}
END_TEST

/* What it expects has this helper again, and knows that it was expected. */
START_TEST(toy_has_children)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 4});
    struct kst_expectation x;
    must_be(kst_attach(t, UDP, 5, kst_helper_number("toy")), KST_ERROR_OK);
    must_be(toy_says(t, 5, true, "e3").state, KST_NEW); /* to port 1: no helper */
    must_be(kst_expectation_count(t), 0);
    kst_flush(t);
    must_be(toy_says(t, 5, false, "e3").state, KST_NEW);
    must(kst_expectation_get(t, kst_expectation_next(t, 0), &x));
    must_be(x.timeout_ms, 60000); /* of its class */
    must_be(toy_says(t, 5, false, "e4").state, KST_NEW);
    must_be(toy_says(t, 5, false, "e5").state, KST_NEW);
    must_be(kst_expectation_count(t), 2); /* the most of its class: the oldest went */
    must_be(toy_says(t, 3, true, "").state, KST_NEW);
    const struct say child = {.protocol = UDP, .from = 2, .to = 1, .sport = 99, .dport = 5};
    heard_times = 0;
    must_be(track(t, 0, child).state, KST_RELATED);
    must_be(heard_times, 1);
    must(heard.expected && !heard.answered);
    must_be(track(t, 0, answer_to(child)).state, KST_ESTABLISHED);
    must(heard.expected && heard.answered);
    char line[KST_LINE_MAX];
    must(kst_expectation_get(t, kst_expectation_next(t, 0), &x));
    kst_print_expectation(&x, KST_FORMAT_PROC, line, sizeof line);
    must_read(line, "60 l3proto = 2 proto=17 src=10.0.0.2 dst=10.0.0.1 sport=0 dport=4 toy/word");
    free(t);
}
END_TEST

/* A helper that finds no room for its newcomer's expectation takes it down with all it had. */
START_TEST(toy_fails)
{
    struct kst *t = table_new((struct kst_config){.max = 4, .expectations = 1});
    must_be(kst_attach(t, UDP, 5, kst_helper_number("toy")), KST_ERROR_OK);
    must_be(kst_attach(t, UDP, 6, kst_helper_number("toy")), KST_ERROR_OK);
    must_be(toy_says(t, 5, false, "e3").state, KST_NEW);
    must_say(toy_says(t, 6, false, "e4"), KST_REASON_HELPER_EXPECT);
    must_be(kst_count(t), 1);
    must_be(kst_statistics(t)->created, 2);
    must_be(kst_statistics(t)->gone[KST_GONE_REFUSED], 1);
    free(t);
}
END_TEST

/* ---- attaching ---- */

START_TEST(attaching)
{
    struct kst *t = table_new((struct kst_config){.max = 80, .expectations = 4});
    struct kst *without = table_new((struct kst_config){.max = 4});
    const uint8_t toy = kst_helper_number("toy"), tftp = kst_helper_number("tftp");
    must_be(kst_attach(without, UDP, 5, toy), KST_ERROR_HELPER);
    must_be(kst_attach(without, UDP, 5, 0), KST_ERROR_OK); /* nothing to take off */
    must_be(kst_attach_usual(without), KST_ERROR_HELPER);
    free(without);
    must_be(kst_attach(t, UDP, 5, 255), KST_ERROR_HELPER);
    for (uint16_t port = 0; port < KST_ATTACH_MAX; port++)
        must_be(kst_attach(t, UDP, port, toy), KST_ERROR_OK);
    must_be(kst_attach(t, UDP, KST_ATTACH_MAX, toy), KST_ERROR_HELPERS_MANY);
    must_be(kst_attach(t, TCP, 5, toy), KST_ERROR_HELPERS_MANY);
    must_be(kst_attach(t, UDP, 5, tftp), KST_ERROR_OK); /* a port has one */
    must_be(kst_attach(t, UDP, 99, 0), KST_ERROR_OK);   /* which has none */
    must_be(kst_attach(t, UDP, 7, 0), KST_ERROR_OK);
    must_be(kst_attach(t, UDP, 7, 0), KST_ERROR_OK);
    must_be(kst_attach(t, UDP, KST_ATTACH_MAX, toy), KST_ERROR_OK);
    must_be(kst_attach(t, UDP, 7, toy), KST_ERROR_HELPERS_MANY);
    for (uint16_t port = 0; port <= KST_ATTACH_MAX + 1; port++) {
        struct kst_flow flow;
        about("port %u", port);
        must(kst_get(t, toy_says(t, port, false, "").entry, &flow));
        must_be(flow.helper, port == 5 ? tftp : port == 7 || port > KST_ATTACH_MAX ? 0 : toy);
        struct say other = {.protocol = TCP, .from = 1, .to = 2, .dport = port, .flags = SYN};
        must(kst_get(t, track(t, 0, other).entry, &flow));
        must_be(flow.helper, 0); /* of another protocol */
    }
    for (uint16_t port = 0; port <= KST_ATTACH_MAX; port++)
        must_be(kst_attach(t, UDP, port, 0), KST_ERROR_OK);
    kst_flush(t);
    for (uint16_t port = 0; port <= KST_ATTACH_MAX; port++) {
        struct kst_flow flow;
        must(kst_get(t, toy_says(t, port, false, "").entry, &flow));
        must_be(flow.helper, 0);
    }
    free(t);
}
END_TEST

START_TEST(the_packet_goes_first)
{
    struct kst *t = table_new((struct kst_config){.max = 8, .expectations = 4});
    const uint8_t toy = kst_helper_number("toy"), tftp = kst_helper_number("tftp");
    must_be(kst_attach(t, UDP, 5, toy), KST_ERROR_OK);
    const struct {
        uint16_t dport;
        uint8_t helper, expected;
    } rows[] = {{5, 0, toy},  {5, tftp, tftp}, {6, 0, 0}, {6, tftp, tftp},
                {6, 255, 0},  {6, kst_helper_number("ftp"), 0}, /* which does not speak UDP */
                {5, kst_helper_number("ftp"), 0}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        const struct say say = {.protocol = UDP, .from = 1, .to = 2, .sport = (uint16_t)i, .dport = rows[i].dport};
        const struct wire w = wire_of(&say);
        struct kst_packet packet = {.data = w.data, .size = w.size, .helper = rows[i].helper};
        struct kst_result result;
        struct kst_flow flow;
        kst_track(t, 0, &packet, 1, &result);
        about("row %zu", i);
        must(kst_get(t, result.entry, &flow));
        must_be(flow.helper, rows[i].expected);
        packet.helper = toy; /* too late */
        kst_track(t, 0, &packet, 1, &result);
        must(kst_get(t, result.entry, &flow));
        must_be(flow.helper, rows[i].expected);
        must_be_sound(t);
    }
    free(t);
}
END_TEST

START_TEST(the_usual_ports)
{
    static const struct {
        const char *helper;
        uint8_t protocol;
        uint16_t port;
    } rows[] = {{"ftp", TCP, 21}, {"irc", TCP, 6667}, {"pptp", TCP, 1723}, {"tftp", UDP, 69}, {"toy", UDP, 7777}};
    struct kst *t = table_new((struct kst_config){.max = 32, .expectations = 4});
    must_be(kst_attach_usual(t), KST_ERROR_OK);
    must_be(kst_attach_usual(t), KST_ERROR_OK); /* again: no more ports */
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (uint32_t way = 0; way < 3; way++) { /* the port, IPv6, the next port */
            struct say say = {.protocol = rows[i].protocol, .v6 = way == 1, .from = 1, .to = 2, .flags = SYN};
            say.dport = (uint16_t)(rows[i].port + (way == 2));
            struct kst_flow flow;
            about("%s, way %u", rows[i].helper, way);
            must(kst_get(t, track(t, 0, say).entry, &flow));
            const bool ipv4_only = i == 1 || i == 2;
            const uint8_t number = kst_helper_number(rows[i].helper);
            must(number != 0);
            must_read(kst_helper_name(number), rows[i].helper);
            must_be(flow.helper, way == 2 || (way == 1 && ipv4_only) ? 0 : number);
        }
    }
    must_be(kst_helper_number("nobody"), 0);
    must_be(kst_helper_number(""), 0);
    must(kst_helper_name(0) == NULL);
    must(kst_helper_name((uint8_t)KST__HELPERS) == NULL);
    must(kst_helper_name(255) == NULL);
    free(t);
}
END_TEST

SUITE("help", ftp_lines, ftp_port_zero, ftp_loose, ftp_translated, ftp_line_starts,
      ftp_line_starts_around_the_wrap, irc_lines,
      irc_overlong, irc_eight_at_a_time, sip_folded_at_the_end, tftp_requests, tftp_refused,
      pptp_sequences, pptp_before_an_answer, pptp_keys, pptp_ends, pptp_ends_across_zones, pptp_second_call_without_room,
      pptp_session_evicted_by_its_call, pptp_without_room, pptp_malformed, cut_anywhere,
      spoilt_at_random, where_the_payload_is, ipv6_as_the_library_reads_it, toy_drops,
      toy_hears_and_prolongs, toy_deletes_itself, toy_marks_before_it_is_told, toy_gives_its_place_away,
      toy_replaces, toy_hears_of_errors,
      sums_that_are_nothing, toy_hears_no_nonsense, toy_has_children, toy_fails, attaching,
      the_packet_goes_first, the_usual_ports)
