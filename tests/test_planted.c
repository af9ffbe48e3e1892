/* SPDX-License-Identifier: MIT */
/* test_planted.c - properties that bugs were planted against (harness/bugs) before anything held them: a
 * change of the core that breaks one of these went unnoticed once. */
#include "support.h"

static const struct kst_config plain = {.max = 64, .seed = {1, 2}};

static struct say with_options(struct say say, const uint8_t *options, uint8_t bytes)
{
    say.tcp_options = bytes;
    say.bytes = (uint16_t)(say.bytes + bytes);
    say.body = options;
    return say;
}

/* The sum of all 32-bit words is 2^32 - 1: what is left of it carries twice. */
START_TEST(sum_that_carries_twice)
{
    struct kst *t = table_new(plain);
    for (uint32_t sum = 1; sum < 0x10000; sum += 0x111) {
        struct wire w = wire_of(&(struct say){
            .protocol = ICMP, .from = 1, .to = 2, .dport = 0x0800, .sport = 0xf7ff});
        put16(w.data + w.l4_at + 2, sum);
        put16(w.data + w.l4_at + 6, ~sum);
        about("checksum %04x", sum);
        must_say(track_wire(t, 0, &w), KST_REASON_NONE);
        put16(w.data + w.l4_at + 6, ~sum ^ 1);
        must_say(track_wire(t, 0, &w), KST_REASON_ICMP_CHECKSUM);
    }
    free(t);
}
END_TEST

/* The second of two fragment headers says that this is the middle of something. */
START_TEST(middle_of_a_fragment)
{
    static const uint8_t headers[16] = {44, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 2};
    const struct say say = {.protocol = UDP, .v6 = true, .from = 1, .to = 2, .bytes = 8,
                            .ip_first = 44, .ip_options = headers, .ip_bytes = 16, .ip_next = 8};
    struct kst *t = table_new(plain);
    const struct kst_result result = track(t, 0, say);
    must_say(result, KST_REASON_FRAGMENT);
    must_be(result.state, KST_INVALID);
    must_be(kst_count(t), 0);
    free(t);
}
END_TEST

/* A window scale has three bytes: one of four is none, and then the windows are what they say. */
START_TEST(window_scale_of_four_bytes)
{
    static const uint8_t four[4] = {3, 4, 0, 7}, three[4] = {3, 3, 7, 0};
    for (int right = 0; right < 2; right++) {
        struct kst *t = table_new(plain);
        about("scaled: %d", right);
        track(t, 0, with_options(tcp(0, SYN, 1000, 0, 0), right ? three : four, 4));
        track(t, 0, with_options(tcp(1, SYN | ACK, 5000, 1001, 0), three, 4));
        struct say narrow = tcp(0, ACK, 1001, 5001, 0);
        narrow.window = 300;
        must_say(track(t, 0, narrow), KST_REASON_NONE);
        must_say(track(t, 0, tcp(1, ACK, 25001, 1001, 10)), right ? KST_REASON_NONE : KST_REASON_TCP_SEQ_OVER);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* Blocks of selective acknowledgements are whole, or nobody reads them. */
START_TEST(sack_of_odd_length)
{
    static const uint8_t permitted[4] = {4, 2, 1, 1};
    for (uint8_t bytes = 2; bytes <= 18; bytes++) {
        struct kst *t = table_new(plain);
        uint8_t options[20];
        memset(options, 0x70, sizeof options); /* an edge of 0x70707070: far ahead of all that was sent */
        options[0] = 5;
        options[1] = bytes;
        if (bytes + 2 < (int)sizeof options)
            memset(options + bytes + 1, 1, sizeof options - bytes - 1);
        track(t, 0, with_options(tcp(0, SYN, 1000, 0, 0), permitted, 4));
        track(t, 0, with_options(tcp(1, SYN | ACK, 5000, 1001, 0), permitted, 4));
        about("an option of %u bytes", bytes);
        must_say(track(t, 0, with_options(tcp(0, ACK, 1001, 5001, 0), options, 20)),
                 bytes == 10 || bytes == 18 ? KST_REASON_TCP_ACK_OVER : KST_REASON_NONE);
        free(t);
    }
}
END_TEST

/* More datagrams run out of time than one packet clears away: none of them goes on all the same. */
START_TEST(late_fragment_of_many)
{
    struct kst_config config = plain;
    config.reassembly_bytes = 1 << 20;
    struct kst *t = table_new(config);
    const uint32_t many = KST_COLLECT_MAX + 8;
    struct wire half[2];
    for (uint32_t i = 0; i < 2; i++) {
        half[i] = wire_of(&(struct say){.protocol = UDP, .from = 1, .to = 2, .bytes = 8});
        put16(half[i].data + 6, i == 0 ? 0x2000 : 2); /* 16 bytes and more to come; the rest */
    }
    for (uint32_t id = 0; id < 2 * many; id++) {
        struct wire *w = &half[id / many];
        put16(w->data + 4, id < many ? id : 2 * many - 1 - id); /* the youngest first */
        put16(w->data + 10, 0);
        put16(w->data + 10, sum_folded(sum_of(0, w->data, 20)));
        about("fragment %u", id);
        must_say(track_wire(t, id < many ? 0 : 30000, w), KST_REASON_FRAGMENT_HELD);
        must_be_sound(t);
    }
    free(t);
}
END_TEST

/* However often a segment comes again, it does not become the first once more. */
START_TEST(retransmitted_for_ever)
{
    const struct say handshake[] = {HANDSHAKE};
    struct kst *t = table_new(plain);
    struct kst_flow flow;
    for (size_t i = 0; i < COUNT(handshake); i++)
        track(t, 0, handshake[i]);
    for (uint32_t times = 0; times < 600; times++) {
        const struct kst_result result = track(t, 0, tcp(0, ACK, 1001, 5001, 0));
        about("time %u", times);
        must(kst_get(t, result.entry, &flow));
        must_be(flow.timeout_ms, times < 2 ? 432000 * 1000 : 300 * 1000); /* the handshake's was the first */
    }
    free(t);
}
END_TEST

/* Fragments of one identifier and two protocols are of two datagrams. */
START_TEST(protocols_are_not_mixed)
{
    struct kst_config config = plain;
    config.reassembly_bytes = 1 << 20;
    for (int mixed = 0; mixed < 2; mixed++) {
        struct kst *t = table_new(config);
        for (uint32_t i = 0; i < 2; i++) {
            struct wire w = wire_of(&(struct say){.protocol = mixed && i ? ESP : GRE, .from = 1, .to = 2, .bytes = 16});
            put16(w.data + 6, i == 0 ? 0x2000 : 2);
            put16(w.data + 10, 0);
            put16(w.data + 10, sum_folded(sum_of(0, w.data, 20)));
            about("fragment %u, mixed: %d", i, mixed);
            must_say(track_wire(t, 0, &w), i == 0 || mixed ? KST_REASON_FRAGMENT_HELD : KST_REASON_NONE);
        }
        must_be(kst_count(t), !mixed);
        must_be_sound(t);
        free(t);
    }
}
END_TEST

/* ---- helpers ---- */

static const struct kst_config helped = {.max = 64, .expectations = 16, .seed = {1, 2}};

static struct kst_result speak(struct kst *t, struct say say, const char *text)
{
    say.bytes = (uint16_t)strlen(text);
    say.body = text;
    return track(t, 0, say);
}

/* Of the last two places where a line began the older one is forgotten, also where numbers wrap. */
START_TEST(lines_across_the_wrap)
{
    static const char noop[] = "NOOP 89abcd\r\n", port[] = "PORT 10,0,0,1,19,137\r\n";
    struct kst *t = table_new(helped);
    must_be(kst_attach_usual(t), KST_ERROR_OK);
    struct say client = tcp(0, SYN, UINT32_MAX - 20, 0, 0);
    client.dport = 21;
    track(t, 0, client);
    struct say server = answer_to(client);
    server.flags = SYN | ACK;
    server.seq = 5000;
    server.ack = client.seq + 1;
    track(t, 0, server);
    client.flags = ACK;
    client.ack = 5001;
    client.seq++;
    for (int line = 0; line < 3; line++) { /* the third begins behind the wrap */
        must_say(speak(t, client, line < 2 ? noop : port), KST_REASON_NONE);
        must_be(kst_expectation_count(t), line == 2);
        client.seq += (uint32_t)strlen(line < 2 ? noop : port);
    }
    must(kst_expectation_delete(t, kst_expectation_next(t, 0)));
    client.seq -= (uint32_t)strlen(port);
    must_say(speak(t, client, port), KST_REASON_NONE); /* once more: it still begins a line */
    must_be(kst_expectation_count(t), 1);
    must_be_sound(t);
    free(t);
}
END_TEST

/* Who was called may not ask for calls. */
START_TEST(called_may_not_register)
{
    static const char request[] = "REGISTER sip:10.0.0.2 SIP/2.0\r\nCSeq: 1 REGISTER\r\n"
                                  "Contact: <sip:bob@10.0.0.1:5060>\r\nExpires: 100\r\n\r\n";
    for (int called = 0; called < 2; called++) {
        struct kst *t = table_new(helped);
        const uint8_t sip = kst_helper_number("sip");
        struct say child = stranger(7000);
        must_be(kst_attach(t, UDP, 9, sip), KST_ERROR_OK);
        about("called: %d", called);
        if (called) {
            struct kst_expectation x = {.master = track(t, 0, stranger(1)).entry, .tuple = tuple_of(child),
                                        .timeout_ms = 1000, .child_helper = sip};
            must_be(kst_expect(t, &x), KST_ERROR_OK);
        }
        const struct kst_result result = speak(t, child, request);
        must_say(result, KST_REASON_NONE);
        must_be(result.state, called ? KST_RELATED : KST_NEW);
        must_be(kst_expectation_count(t), !called);
        free(t);
    }
}
END_TEST

/* Nobody who is ASSURED has to go, whatever its state. */
START_TEST(assured_in_every_state)
{
    for (uint8_t state = KST_TCP_SYN_SENT; state <= KST_TCP_SYN_SENT2; state++) {
        struct kst *t = table_new((struct kst_config){.max = 1, .seed = {1, 2}});
        struct kst_flow flow = {.timeout_ms = 1000, .status = KST_ASSURED | KST_SEEN_REPLY, .state = state};
        flow.tuple[KST_ORIGINAL] = tuple_of(tcp(0, SYN, 0, 0, 0));
        flow.tuple[KST_REPLY] = tuple_of(tcp(1, SYN, 0, 0, 0));
        about("state %u", state);
        const kst_id id = kst_insert(t, &flow, NULL);
        must(id != 0);
        must_say(track(t, 0, stranger(7)), KST_REASON_TABLE_FULL);
        must(kst_get(t, id, &flow));
        free(t);
    }
}
END_TEST

SUITE("planted", protocols_are_not_mixed, assured_in_every_state,
      lines_across_the_wrap, called_may_not_register, retransmitted_for_ever, sum_that_carries_twice, middle_of_a_fragment, window_scale_of_four_bytes, sack_of_odd_length,
      late_fragment_of_many)
