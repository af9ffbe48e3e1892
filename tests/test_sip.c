/* SPDX-License-Identifier: MIT */
/* test_sip.c - properties: what SIP announces is expected, and nothing else; headers are found as Linux finds them,
 * however they are written and wherever the message ends; under NAT each side reads the addresses that it knows the
 * other by, and a message that does not fit is dropped whole. */
#define KST_IMPLEMENTATION
#include "support.h"

#include <arpa/inet.h>

enum { ROOM = 1400, STEPS = 5 };

/* ---- talking ---- */

/* Between 10.0.0.1:5060 and 10.0.0.2:5060, or the same of fd00::; the client may be seen as somebody else. */
struct phone {
    struct kst *t;
    bool v6;
    struct kst_nat_range seen_as;
    uint8_t outside[16];
    uint16_t port; /* that it is seen to have */
    struct wire out;
};

static struct phone phone_new(bool v6, const char *outside, uint16_t port)
{
    struct phone p = {.v6 = v6, .port = port != 0 ? port : 5060};
    p.t = table_new((struct kst_config){.max = 16, .expectations = 32, .features = KST_WITH_NAT, .seed = {1, 2}});
    put_host(p.outside, v6, 1);
    if (outside != NULL) {
        must(inet_pton(v6 ? AF_INET6 : AF_INET, outside, p.outside) == 1);
        p.seen_as.flags = (uint8_t)(KST_NAT_ADDRESS | (port != 0 ? KST_NAT_PORT : 0));
        memcpy(p.seen_as.address[0], p.outside, 16);
        memcpy(p.seen_as.address[1], p.outside, 16);
        p.seen_as.port[0] = p.seen_as.port[1] = p.port;
    }
    must_be(kst_attach(p.t, UDP, 5060, kst_helper_number("sip")), KST_ERROR_OK);
    return p;
}

static struct kst_result say_in(struct phone *p, bool reply, const char *text, uint32_t room)
{
    struct say say = {.protocol = UDP, .v6 = p->v6, .from = 1, .to = 2, .sport = 5060, .dport = 5060,
                      .bytes = (uint16_t)strlen(text), .body = text};
    const uint32_t address_bytes = p->v6 ? 16 : 4, dst_at = p->v6 ? 24 : 16;
    if (reply) {
        say.from = 2;
        say.to = 1;
        say.dport = p->port;
    }
    p->out = wire_of(&say);
    if (reply) {
        memcpy(p->out.data + dst_at, p->outside, address_bytes);
        wire_seal(&p->out);
    }
    uint8_t *exact = malloc(room > p->out.size ? room : p->out.size);
    ck_assert_ptr_nonnull(exact);
    memcpy(exact, p->out.data, p->out.size);
    const struct kst_packet packet = {.data = exact, .size = p->out.size};
    struct kst_nat nat = {.range = {&p->seen_as, NULL}, .bytes = exact, .room = room > p->out.size ? room : p->out.size};
    struct kst_result r;
    if (p->seen_as.flags != 0)
        kst_track_nat(p->t, p->t->now_ms, &packet, &nat, 1, &r);
    else
        kst_track(p->t, p->t->now_ms, &packet, 1, &r);
    must_be_sound(p->t);
    if (p->seen_as.flags != 0 && r.verdict == KST_ACCEPT) {
        memcpy(p->out.data, exact, nat.size);
        p->out.size = nat.size;
        struct wire anew = p->out;
        wire_seal(&anew);
        must(memcmp(anew.data, p->out.data, anew.size) == 0);
    }
    free(exact);
    return r;
}

static struct kst_result say_it(struct phone *p, bool reply, const char *text)
{
    return say_in(p, reply, text, ROOM);
}

static void must_carry(const struct phone *p, const char *text)
{
    char is[ROOM + 1] = "";
    memcpy(is, p->out.data + p->out.l4_at + 8, p->out.size - p->out.l4_at - 8);
    must_read(is, text);
}

/* What is expected, oldest first: the class by its letter, last byte of the address, port, `-` if it is inactive. */
static const char *expected_of(const struct kst *t)
{
    static char text[256];
    size_t at = 0;
    text[0] = '\0';
    for (kst_id id = kst_expectation_next(t, 0); id != 0; id = kst_expectation_next(t, id)) {
        struct kst_expectation x;
        must(kst_expectation_get(t, id, &x));
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%c%u:%u%s", at > 0 ? " " : "", "savi"[x.class_],
                               x.tuple.dst[x.tuple.family == KST_IPV4 ? 3 : 15], x.tuple.dst_port,
                               x.flags & KST_EXPECT_INACTIVE ? "-" : "");
        must(at < sizeof text);
    }
    return text;
}

/* ---- what is announced ---- */

#define CSEQ(number, method) "CSeq: " #number " " #method "\r\n"
#define REGISTER(rest) "REGISTER sip:10.0.0.2 SIP/2.0\r\n" CSEQ(2, REGISTER) rest
#define REGISTERED(code, rest) "SIP/2.0 " #code " x\r\n" CSEQ(2, REGISTER) rest
#define MINE "Contact: <sip:a@10.0.0.1:5070>\r\n"
#define HOUR "Expires: 3600\r\n"
#define INVITE(rest) "INVITE sip:b@10.0.0.2 SIP/2.0\r\n" CSEQ(1, INVITE) "\r\n" rest
#define SDP(media) "v=0\r\nc=IN IP4 10.0.0.1\r\n" media
#define AUDIO(port) "m=audio " #port " RTP/AVP 0\r\n"

START_TEST(what_is_announced)
{
    static const struct {
        const char *steps[STEPS]; /* of the server, if they begin with < */
        enum kst_reason reason;   /* of the last */
        const char *expected;
    } rows[] = {
        /* Registrations. */
        {{REGISTER(MINE HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER(MINE)}, KST_REASON_NONE, ""},
        {{REGISTER("Contact: <sip:a@10.0.0.1:5070>;expires=60\r\n")}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER("Contact: <sip:a@10.0.0.1:5070>;expires=x\r\n" HOUR)}, KST_REASON_SIP_HEADER, ""},
        {{REGISTER("Contact: <sip:a@10.0.0.1:5070>;expires=0\r\n" HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER("Contact: <sip:a@10.0.0.1:5070;transport=tcp>\r\n" HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER("Contact: <sip:a@10.0.0.1:5070;transport=UDP>\r\n" HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER("Contact: <sip:a@10.0.0.7:5070>\r\n" HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER("m: sip:a@10.0.0.1:5070\r\n" HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER("mx: sip:a@10.0.0.1:5070\r\n" HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER("M\t:\t sip:a@10.0.0.1:5070 \r\n" HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER("Contact:\r\n \r\n\t <sip:a@10.0.0.1:5070>\r\n" HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER("Contact: <tel:1>,\r\n <sip:a@10.0.0.1:5070>\r\n" HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER("Contact: <tel:1>\r\n" MINE HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER("Contact: <sip:a@10.0.0.1:80>\r\n" HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER("Contact: <sip:a@10.0.0.1:65536>\r\n" HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER(HOUR "Contact: <sip:a@10.0.0.1:5070")}, KST_REASON_NONE, ""}, /* nothing behind it */
        {{REGISTER(HOUR "Contact: <sip:a@10.0.0.1")}, KST_REASON_NONE, ""},
        {{REGISTER(HOUR "Contact: <sip:a@")}, KST_REASON_NONE, ""},
        {{REGISTER(HOUR "Contact: <sip:a@10.0.0.1:")}, KST_REASON_NONE, ""},
        {{REGISTER(HOUR "Contact: <sip:a@\r\n ")}, KST_REASON_NONE, ""},
        {{REGISTER(HOUR "Contact:")}, KST_REASON_NONE, ""},
        {{REGISTER(HOUR "Contact:\r\n   ")}, KST_REASON_NONE, ""},
        {{REGISTER(HOUR "Contact")}, KST_REASON_NONE, ""},
        {{REGISTER(HOUR "m")}, KST_REASON_NONE, ""},
        /* How they are granted. */
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, MINE HOUR)}, KST_REASON_NONE, "s1:5070"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(100, MINE HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(199, MINE HOUR)}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(300, MINE HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER(MINE HOUR), "<" REGISTERED(99, MINE HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER(MINE HOUR), "<" REGISTERED(0, MINE HOUR)}, KST_REASON_SIP_STATUS, "s1:5070-"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, MINE)}, KST_REASON_NONE, ""},
        {{REGISTER(MINE HOUR), "<SIP/2.0 200 x\r\nCSeq: 3 REGISTER\r\n" MINE HOUR}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER(MINE HOUR), "<SIP/2.0 200 x\r\n" MINE HOUR}, KST_REASON_SIP_CSEQ, "s1:5070-"},
        {{REGISTER(MINE HOUR), "<SIP/2.0 200 x\r\nCSeq: 2"}, KST_REASON_NONE, "s1:5070-"}, /* of what? */
        {{REGISTER(MINE HOUR), "<SIP/2.0 200 x\r\nCSeq: 2 OPTIONS\r\n"}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER(MINE HOUR), "<SIP/2.0 200 x\r\nCSeq: 2 ACK\r\n"}, KST_REASON_NONE, "s1:5070-"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, "Contact: <sip:a@10.0.0.7:5070>, <sip:a@10.0.0.1:5070>\r\n" HOUR)},
         KST_REASON_NONE, "s1:5070"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, "Contact: <sip:a@10.0.0.1:5071>, <sip:a@10.0.0.1:5070>\r\n" HOUR)},
         KST_REASON_NONE, "s1:5070"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, "Contact: <sip:a@10.0.0.1:5070;transport=tcp>\r\n" HOUR MINE)},
         KST_REASON_NONE, "s1:5070"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, "Contact: <sip:a@10.0.0.7>, <tel:1>\r\n" HOUR MINE)}, KST_REASON_NONE,
         "s1:5070"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, "Contact: <sip:a@10.0.0.7>, <sip:b@nobody>, <sip:a@10.0.0.1:5070>\r\n" HOUR)},
         KST_REASON_NONE, "s1:5070"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, "Contact: <sip:a@10.0.0.1:5070>;expires=99999999999\r\n" HOUR)},
         KST_REASON_SIP_HEADER, "s1:5070-"},
        {{REGISTER(MINE HOUR), "<" REGISTERED(200, "Contact: <sip:a@10.0.0.1:5070>;expires=0\r\n" HOUR)}, KST_REASON_NONE, ""},
        {{REGISTER(MINE HOUR), INVITE(SDP(AUDIO(4000))), "<" REGISTERED(200, MINE HOUR)}, KST_REASON_NONE,
         "s1:5070 a1:4000 a1:4001"},
        {{REGISTER(MINE HOUR), "<" REGISTER("Contact: <sip:b@10.0.0.2:5070>\r\n" HOUR), "<" REGISTERED(200, MINE HOUR)},
         KST_REASON_NONE, ""}, /* a session has one registration: the first was not there to be granted */
        {{REGISTER(MINE HOUR), "<" REGISTER("Contact: <sip:b@10.0.0.2:5070>\r\n" HOUR),
          REGISTERED(200, "Contact: <sip:b@10.0.0.2:5070>\r\n" HOUR)}, KST_REASON_NONE, "s2:5070"},
        /* Sessions. */
        {{INVITE(SDP(AUDIO(4000)))}, KST_REASON_NONE, "a1:4000 a1:4001"},
        {{INVITE(SDP(AUDIO(4001)))}, KST_REASON_NONE, "a1:4000 a1:4001"},
        {{INVITE(SDP("m=video 4000 x\r\n" "m=image 5000 x\r\n"))}, KST_REASON_NONE, "v1:4000 v1:4001 i1:5000 i1:5001"},
        {{INVITE(SDP(AUDIO(0) "m=text 9 x\r\n" AUDIO(4002)))}, KST_REASON_NONE, "a1:4002 a1:4003"},
        {{INVITE(SDP(AUDIO(1023)))}, KST_REASON_SIP_MEDIA, ""},
        {{INVITE(SDP(AUDIO(65536)))}, KST_REASON_SIP_MEDIA, ""},
        {{INVITE("v=0\r\n" AUDIO(4000))}, KST_REASON_SIP_MEDIA, ""},
        {{INVITE("v=0\r\n" AUDIO(4000) "c=IN IP4 10.0.0.1\r\n")}, KST_REASON_NONE, "a1:4000 a1:4001"},
        {{INVITE("v=0\r\nc=IN IP4 10.0.0.7\r\n" AUDIO(4000))}, KST_REASON_NONE, ""}, /* not its own to give */
        {{INVITE("v=x\r\nc=IN IP4 10.0.0.1\r\n" AUDIO(4000))}, KST_REASON_NONE, ""},
        {{INVITE("v=")}, KST_REASON_NONE, ""},
        {{INVITE(SDP("m=au"))}, KST_REASON_NONE, ""},
        {{INVITE(SDP("m=a "))}, KST_REASON_NONE, ""},
        {{INVITE(SDP("m=audio 4000"))}, KST_REASON_NONE, "a1:4000 a1:4001"},
        {{INVITE(SDP("m=\xe9\xc0 1 x\r\n" AUDIO(4000)))}, KST_REASON_NONE, "a1:4000 a1:4001"}, /* letters of Latin 1 */
        {{INVITE(SDP("m=\xd7 1 x\r\n" AUDIO(4000)))}, KST_REASON_NONE, ""},
        {{INVITE(SDP("m=\xf7 1 x\r\n" AUDIO(4000)))}, KST_REASON_NONE, ""},
        {{INVITE(SDP(AUDIO(4000))), "BYE sip:b SIP/2.0\r\n" CSEQ(3, BYE)}, KST_REASON_NONE, ""},
        {{INVITE(SDP(AUDIO(4000))), "<SIP/2.0 486 x\r\n" CSEQ(1, INVITE)}, KST_REASON_NONE, ""},
        {{INVITE(SDP(AUDIO(4000))), "<SIP/2.0 486 x\r\n" CSEQ(9, INVITE)}, KST_REASON_NONE, "a1:4000 a1:4001"},
        {{INVITE(SDP(AUDIO(4000))), INVITE(SDP(AUDIO(4010)))}, KST_REASON_NONE, "a1:4010 a1:4011"},
        {{INVITE(SDP(AUDIO(4000))), "<SIP/2.0 180 x\r\n" CSEQ(1, PRACK) "\r\nv=0\r\nc=IN IP4 10.0.0.2\r\n" AUDIO(6000)},
         KST_REASON_NONE, "a1:4000 a1:4001 a2:6000 a2:6001"},
        {{"INVITE \xe9 SIP/2.0\r\n" SDP(AUDIO(4000))}, KST_REASON_SIP_CSEQ, ""}, /* a request, by Linux's letters */
        {{"INVITE \xd7 SIP/2.0\r\n" SDP(AUDIO(4000))}, KST_REASON_NONE, ""},
        {{"INVITE 7 SIP/2.0\r\n" SDP(AUDIO(4000))}, KST_REASON_NONE, ""},
        {{"INVITEsip:b SIP/2.0\r\n" SDP(AUDIO(4000))}, KST_REASON_NONE, ""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct phone p = phone_new(false, NULL, 0);
        struct kst_result r = {0};
        must_say(say_it(&p, false, "OPTIONS sip:b SIP/2.0\r\n"), KST_REASON_NONE);
        for (size_t step = 0; step < STEPS && rows[i].steps[step] != NULL; step++) {
            const char *text = rows[i].steps[step];
            r = say_it(&p, text[0] == '<', text + (text[0] == '<'));
        }
        about("row %zu, %.60s", i, rows[i].steps[0]);
        must_say(r, rows[i].reason);
        must_read(expected_of(p.t), rows[i].expected);
        free(p.t);
    }
}
END_TEST

/* An IPv6 URI has brackets, and something behind them; a description has none. */
START_TEST(brackets)
{
    static const struct {
        const char *contact;
        bool expected;
    } rows[] = {{"sip:a@[fd00::1]:5070>\r\n", true}, {"sip:a@[fd00::1]>\r\n", true}, {"sip:a@fd00::1>\r\n", false},
                {"sip:a@[fd00::1>\r\n", false},      {"sip:a@[fd00::1", false},      {"sip:a@[fd00::1]", false},
                {"sip:a@", false},                   {"sip:a@[", false},             {"sip:a@[fd00::1]:5070", false}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        char text[256];
        struct phone p = phone_new(true, NULL, 0);
        snprintf(text, sizeof text, "REGISTER sip:b SIP/2.0\r\n" CSEQ(2, REGISTER) HOUR "Contact: <%s", rows[i].contact);
        about("%s", rows[i].contact);
        must_say(say_it(&p, false, text), KST_REASON_NONE);
        must_be(kst_expectation_count(p.t), rows[i].expected);
        must_say(say_it(&p, false, INVITE("v=0\r\nc=IN IP6 fd00::1\r\n" AUDIO(4000))), KST_REASON_NONE);
        must_be(kst_expectation_count(p.t), 2 + rows[i].expected);
        free(p.t);
    }
}
END_TEST

/* Somebody else expects what the port would be: without NAT there is no other port to take. */
START_TEST(a_port_that_is_busy)
{
    struct phone p = phone_new(false, NULL, 0);
    const struct kst_result master = track(p.t, 0, stranger(1));
    struct kst_expectation x = {.master = master.entry, .timeout_ms = 1000, .flags = KST_EXPECT_ANY_SRC};
    x.tuple = tuple_of((struct say){.protocol = UDP, .to = 1, .sport = 7, .dport = 4001});
    memset(x.tuple.src, 0, sizeof x.tuple.src);
    must_be(kst_expect(p.t, &x), KST_ERROR_OK);
    must_say(say_it(&p, false, "OPTIONS sip:b SIP/2.0\r\n"), KST_REASON_NONE);
    must_say(say_it(&p, false, INVITE(SDP(AUDIO(4000)))), KST_REASON_HELPER_EXPECT);
    must_be(kst_expectation_count(p.t), 1);
    must_say(say_it(&p, false, INVITE(SDP(AUDIO(4002)))), KST_REASON_NONE);
    must_be(kst_expectation_count(p.t), 3);
    free(p.t);
}
END_TEST

/* ---- under NAT ---- */

/* Addresses and ports are the connection's own, or stay. `C` is the client as it calls itself, `O` as it is seen. */
#define C "10.0.0.1"
#define O "203.0.113.100"
#define S "10.0.0.2"
START_TEST(who_reads_what)
{
    static const struct {
        const char *outside;
        uint16_t port;
        bool reply;
        const char *says, *reads; /* NULL: the same */
    } rows[] = {
        {O, 0, false, "OPTIONS sip:" C " SIP/2.0\r\n", "OPTIONS sip:" O ":5060 SIP/2.0\r\n"},
        {O, 0, false, "OPTIONS sip:x@" C ":5060 SIP/2.0\r\n", "OPTIONS sip:x@" O ":5060 SIP/2.0\r\n"},
        {O, 0, false, "OPTIONS sip:x@" C ":5061 SIP/2.0\r\n", NULL}, /* another port, another end */
        {O, 0, false, "OPTIONS sip:x@" S ":5061 SIP/2.0\r\n", NULL},
        {O, 0, false, "OPTIONS sip:x@" S ":5060 SIP/2.0\r\n", NULL},
        {O, 0, false, "OPTIONS tel:1 SIP/2.0\r\nFrom: <tel:1>\r\nTo: x\r\n", NULL},
        {O, 0, false, "OPTIONSOPTIONS", NULL},
        {O, 0, false, "OPTIONSOPTIONS ", NULL},
        {O, 0, false, "OPTIONS x\r\nf: <sip:" C ">\r\nT: <sip:" S ">\r\n", "OPTIONS x\r\nf: <sip:" O ":5060>\r\nT: <sip:" S ">\r\n"},
        {O, 0, true, "OPTIONS x\r\nf: <sip:" S ">\r\nT: <sip:" O ">\r\n", "OPTIONS x\r\nf: <sip:" S ">\r\nT: <sip:" C ":5060>\r\n"},
        {O, 0, false, "OPTIONS x\r\nFrom: <sip:nobody>\r\nTo: <sip:" C ">\r\n", "OPTIONS x\r\nFrom: <sip:nobody>\r\nTo: <sip:" O ":5060>\r\n"},
        {O, 0, false, "OPTIONS x\r\nVia: SIP/2.0/UDP " C ";maddr=" C "\r\n", "OPTIONS x\r\nVia: SIP/2.0/UDP " O ":5060;maddr=" O "\r\n"},
        {O, 0, false, "OPTIONS x\r\nVia: SIP/2.0/UDP " C ";maddr=10.0.0.9;received=nobody\r\n",
         "OPTIONS x\r\nVia: SIP/2.0/UDP " O ":5060;maddr=10.0.0.9;received=nobody\r\n"},
        {O, 0, false, "OPTIONS x\r\nVia: SIP/2.0/TCP " C "\r\n", NULL},
        {O, 0, false, "OPTIONS x\r\nVia: SIP/2.0/UDP 10.0.0.9\r\n", NULL},
        {O, 0, true, "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " O ";received=" O ";rport=5060\r\n",
         "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " C ":5060;received=" C ";rport=5060\r\n"},
        {O, 0, true, "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " S "\r\n", NULL}, /* it is not its */
        {O, 0, false, "OPTIONS x\r\nContact: <sip:a@" C ">, <sip:a@" C ":5061>, <sip:" C ">\r\n",
         "OPTIONS x\r\nContact: <sip:a@" O ":5060>, <sip:a@" C ":5061>, <sip:" O ":5060>\r\n"},
        {O, 0, false, "OPTIONS x\r\nContact: <sip:" C ">, <sip:a@" C ">\r\n", /* a user reaches to the line's first @ */
         "OPTIONS x\r\nContact: <sip:" C ">, <sip:a@" O ":5060>\r\n"},
        /* The port alone. */
        {C, 6060, false, "OPTIONS sip:" C " SIP/2.0\r\nVia: SIP/2.0/UDP " C ";maddr=" C "\r\n",
         "OPTIONS sip:" C ":6060 SIP/2.0\r\nVia: SIP/2.0/UDP " C ":6060;maddr=" C "\r\n"},
        {C, 6060, true, "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " C ":6060;rport=6060;x\r\n",
         "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " C ":5060;rport=5060;x\r\n"},
        {C, 6060, true, "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " C ":6060;rport=6061\r\n",
         "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " C ":5060;rport=6061\r\n"},
        {C, 6060, true, "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " C ":6060;rport=;x\r\n",
         "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " C ":5060;rport=;x\r\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct phone p = phone_new(false, rows[i].outside, rows[i].port);
        if (rows[i].reply)
            must_say(say_it(&p, false, "OPTIONS tel:1 SIP/2.0\r\n"), KST_REASON_NONE);
        about("row %zu", i);
        must_say(say_it(&p, rows[i].reply, rows[i].says), KST_REASON_NONE);
        must_carry(&p, rows[i].reads != NULL ? rows[i].reads : rows[i].says);
        free(p.t);
    }
    struct phone p = phone_new(true, "2001:db8::9", 0); /* in brackets, and a description without */
    must_say(say_it(&p, false, "OPTIONS sip:[fd00::1] SIP/2.0\r\nVia: SIP/2.0/UDP [fd00::1];maddr=[fd00::1]\r\n"), KST_REASON_NONE);
    must_carry(&p, "OPTIONS sip:[2001:db8::9]:5060 SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::9]:5060;maddr=[2001:db8::9]\r\n");
#define SIX(address, length)                                                                       \
    "INVITE tel:1 SIP/2.0\r\n" CSEQ(1, INVITE) "l: " length "\r\n\r\nv=0\r\no=a 1 1 IN IP6 " address                  \
    "\r\nc=IN IP6 " address "\r\n" AUDIO(4000)
    must_say(say_it(&p, false, SIX("fd00::1", "71")), KST_REASON_NONE);
    must_carry(&p, SIX("2001:db8::9", "79"));
    free(p.t);
}
END_TEST

/* A phone that listens elsewhere than it sends from says so in its Via: answers go there, and its port is not what
 * it is seen by. */
START_TEST(whoever_listens_elsewhere)
{
    struct phone p = phone_new(false, O, 0);
    must_say(say_it(&p, false, "OPTIONS tel:1 SIP/2.0\r\nVia: SIP/2.0/UDP " C ":5099\r\n"), KST_REASON_NONE);
    must_say(say_it(&p, true, "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nTo: <sip:" O ">\r\n"), KST_REASON_NONE);
    must_carry(&p, "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nTo: <sip:" C ":5099>\r\n");
    must_be(get16(p.out.data + 22), 5099);
    free(p.t);
}
END_TEST

#define SESSION(address, port, length)                                                             \
    "INVITE tel:1 SIP/2.0\r\n" CSEQ(1, INVITE) "l: " length "\r\n\r\nv=0\r\no=a 1 1 IN IP4 " address                  \
    "\r\nc=IN IP4 " address "\r\nm=audio " port " RTP/AVP 0\r\n"

/* Media whose port another expects already gets another, even one, which is told; at the end of all ports there may
 * be none. */
START_TEST(media_gives_way)
{
    for (uint32_t last = 0; last < 2; last++) {
        struct phone p = phone_new(false, O, 0);
        const struct kst_result master = track(p.t, 0, stranger(1));
        struct kst_expectation x = {.master = master.entry, .timeout_ms = 1000000};
        x.tuple = tuple_of((struct say){.protocol = UDP, .from = 2, .sport = 7, .dport = last ? 65535 : 4001});
        memcpy(x.tuple.dst, p.outside, 16);
        must_be(kst_expect(p.t, &x), KST_ERROR_OK);
        must_say(say_it(&p, false, "OPTIONS tel:1 SIP/2.0\r\n"), KST_REASON_NONE);
        about("last %u", last);
        if (last) { /* none is left behind it */
            must_say(say_it(&p, false, SESSION(C, "65534", "74")), KST_REASON_HELPER_EXPECT);
            must_be(kst_expectation_count(p.t), 1);
            free(p.t);
            continue;
        }
        const char *session = SESSION(C, "4000", "73");
        must_say(say_in(&p, false, session, 28 + (uint32_t)strlen(session)), KST_REASON_NAT_ROOM);
        must_be(kst_expectation_count(p.t), 1); /* what nobody was told of is not expected */
        must_say(say_it(&p, false, session), KST_REASON_NONE);
        must_be(kst_expectation_count(p.t), 3);
        struct kst_expectation rtp, rtcp;
        const kst_id second = kst_expectation_own(p.t, kst_next(p.t, kst_next(p.t, 0)), 0);
        must(kst_expectation_get(p.t, second, &rtcp));
        must(kst_expectation_get(p.t, kst_expectation_own(p.t, rtcp.master, second), &rtp));
        must(rtp.tuple.dst_port % 2 == 0 && rtp.tuple.dst_port > 4001);
        must_be(rtcp.tuple.dst_port, rtp.tuple.dst_port + 1);
        must_be(rtp.nat_port, 4000);
        must_be(rtcp.nat_port, 4001);
        char port[8], length[24], expected[400];
        snprintf(port, sizeof port, "%u", rtp.tuple.dst_port);
        snprintf(expected, sizeof expected, SESSION(O, "%s", "%s"), "", port);
        const char *body = strstr(expected, "\r\n\r\n") + 4;
        snprintf(length, sizeof length, "%zu", strlen(body));
        snprintf(expected, sizeof expected, SESSION(O, "%s", "%s"), length, port);
        must_carry(&p, expected);

        /* It comes from the server, and is sent to the client's own port as from who that talks to; from somebody
         * else it keeps its source. */
        struct say media = {.protocol = UDP, .from = 2, .to = 9, .sport = 5000, .dport = rtp.tuple.dst_port};
        struct wire w = wire_of(&media);
        memcpy(w.data + 16, p.outside, 4);
        wire_seal(&w);
        const struct kst_packet packet = {.data = w.data, .size = w.size};
        struct kst_nat nat = {.bytes = w.data, .room = sizeof w.data};
        struct kst_result r;
        kst_track_nat(p.t, 0, &packet, &nat, 1, &r);
        must_be(r.state, KST_RELATED);
        must_be(w.data[19], 1);
        must_be(get16(w.data + 22), 4000);
        free(p.t);
    }
}
END_TEST

/* Media may come from elsewhere, if the setting lets it: it goes to the client, and looks as it is. */
START_TEST(media_from_elsewhere)
{
    struct phone p = phone_new(false, O, 0);
    must_be(kst_set(p.t, "nf_conntrack_sip_direct_media", 0), KST_ERROR_OK);
    must_say(say_it(&p, false, SESSION(C, "4000", "73")), KST_REASON_NONE);
    for (uint8_t from = 2; from < 4; from++) {
        struct say media = {.protocol = UDP, .from = from, .to = 9, .sport = 5000, .dport = (uint16_t)(4000 + from - 2)};
        struct wire w = wire_of(&media);
        memcpy(w.data + 16, p.outside, 4);
        wire_seal(&w);
        const struct kst_packet packet = {.data = w.data, .size = w.size};
        const struct kst_nat_range rule = {.flags = KST_NAT_ADDRESS, .address = {{10, 0, 0, 77}, {10, 0, 0, 77}}};
        struct kst_nat nat = {.range = {&rule, &rule}, .bytes = w.data, .room = sizeof w.data};
        struct kst_result r;
        struct kst_flow flow;
        kst_track_nat(p.t, 0, &packet, &nat, 1, &r);
        about("from %u", from);
        must_be(r.state, KST_RELATED);
        must_be(w.data[19], 1); /* no rule has a say in that */
        must(kst_get(p.t, r.entry, &flow));
        must_be(w.data[15], from == 2 ? 2 : 77); /* but in the source of who is no peer */
        must_be_sound(p.t);
    }
    free(p.t);
}
END_TEST

/* However little room there is, a message leaves as it should be or not at all. */
START_TEST(there_may_be_no_room)
{
#define ALL(address, port, length)                                                                 \
    "INVITE sip:" address port " SIP/2.0\r\n" CSEQ(1, INVITE) "Via: SIP/2.0/UDP " address port ";maddr=" address      \
    ";received=nobody;rport=1\r\nFrom: <sip:" address port ">\r\nTo: <sip:" address port ">\r\nContact: <sip:" address     \
    port ">\r\nl: " length "\r\n\r\nv=0\r\no=a 1 1 IN IP4 " address "\r\nc=IN IP4 " address "\r\n" AUDIO(4000)
    const char *says = ALL(C, "", "73"), *reads = ALL(O, ":5060", "83");
    const uint32_t least = 28 + (uint32_t)strlen(says), enough = 28 + (uint32_t)strlen(reads);
    for (uint32_t room = least; room <= enough + 1; room++) {
        struct phone p = phone_new(false, O, 0);
        const struct kst_result r = say_in(&p, false, says, room);
        about("room for %u of %u", room, enough);
        must_say(r, room < enough ? KST_REASON_NAT_ROOM : KST_REASON_NONE);
        if (room >= enough)
            must_carry(&p, reads);
        must_be(kst_count(p.t), room >= enough);
        must_be(kst_expectation_count(p.t), room >= enough ? 2 : 0);
        free(p.t);
    }
    /* Answers shrink, mostly, but not that of a port that grows. */
    const char *grows = "SIP/2.0 200 x\r\nCSeq: 1 OPTIONS\r\nVia: SIP/2.0/UDP " C ":1060;received=" C ";rport=1060\r\n";
    for (uint32_t room = 0; room < 3; room++) {
        struct phone p = phone_new(false, C, 1060);
        must_say(say_it(&p, false, "OPTIONS tel:1 SIP/2.0\r\nVia: SIP/2.0/UDP " C ":50600\r\n"), KST_REASON_NONE);
        const uint32_t size = 28 + (uint32_t)strlen(grows);
        about("%u bytes more", room);
        must_say(say_in(&p, true, grows, size + room), room < 1 ? KST_REASON_NAT_ROOM : KST_REASON_NONE);
        free(p.t);
    }
}
END_TEST

/* A description whose length is what the message ends with. */
START_TEST(a_length_at_the_end)
{
    struct phone p = phone_new(false, O, 0);
    must_say(say_it(&p, false, "INVITE tel:1 SIP/2.0\r\n" CSEQ(1, INVITE) "\r\nv=0\r\no=a 1 1 IN IP4 " C "\r\nc=IN IP4 " C
                               "\r\n" AUDIO(4000) "l: 7"), KST_REASON_NONE);
    must_carry(&p, "INVITE tel:1 SIP/2.0\r\n" CSEQ(1, INVITE) "\r\nv=0\r\no=a 1 1 IN IP4 " O "\r\nc=IN IP4 " O
                   "\r\n" AUDIO(4000) "l: 87"); /* as long as it was before that was written, as in Linux */
    free(p.t);
}
END_TEST

SUITE("sip", what_is_announced, brackets, a_port_that_is_busy, who_reads_what, whoever_listens_elsewhere, media_gives_way,
      media_from_elsewhere, there_may_be_no_room, a_length_at_the_end)
