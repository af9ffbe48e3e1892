/* SPDX-License-Identifier: MIT */
/* test_restore.c - properties: a connection that kst_insert puts into a table goes on where it
 * stood, whoever talks first; one that cannot be is refused by name, and nothing changes. */
#include "support.h"

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
            original->zone = 2;
            reply->zone = 1;
            expected = KST_ERROR_FLOW_FAMILY;
            break;
        case 10: flow.status = 1 << 9; break;
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
        case 29:
            reply->zone = 1; /* a zone of one direction needs KST_WITH_NAT, too */
            expected = KST_ERROR_FLOW_NAT;
            break;
        case 30:
            flow.policy = KST_POLICIES + 1;
            expected = KST_ERROR_POLICY;
            break;
        case 31:
            flow.helper = kst_helper_number("ftp"); /* config.expectations is 0 */
            expected = KST_ERROR_HELPER;
            break;
        case 32:
            flow.accounted = true;
            expected = KST_ERROR_SETTING_FEATURE;
            break;
        case 33:
            flow.timestamped = true;
            expected = KST_ERROR_SETTING_FEATURE;
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

/* Who foretold it is told as long as it lives, be that gone. */
START_TEST(restored_knows_its_master)
{
    struct kst *t = table_new((struct kst_config){.max = 2, .expectations = 1});
    struct kst_flow flow = flow_of(stranger(1), 5000), is;
    const kst_id master = kst_insert(t, &flow, NULL);
    flow = flow_of(stranger(2), 5000);
    flow.status = KST_EXPECTED;
    flow.master = master;
    const kst_id id = kst_insert(t, &flow, NULL);
    must(kst_get(t, id, &is));
    must(is.master == master);
    must(is.status & KST_EXPECTED);
    must(kst_delete(t, master));
    must(kst_get(t, id, &is));
    must(is.master == master);
    must_be_sound(t);
    free(t);
}
END_TEST

/* By how much helpers have moved the numbers of either side. */
START_TEST(restored_goes_on_adjusting)
{
    struct kst *t = table_new((struct kst_config){.max = 1, .features = KST_WITH_NAT, .expectations = 1});
    struct kst_flow flow = flow_of((struct say){.protocol = TCP, .from = 1, .to = 2, .sport = 3, .dport = 4}, 5000), is;
    flow.status = KST_SEQ_ADJUST;
    for (uint32_t i = 0; i < 6; i++)
        flow.seq_adjust[i / 3][i % 3] = 10 + i;
    must(kst_get(t, kst_insert(t, &flow, NULL), &is));
    must(is.status & KST_SEQ_ADJUST);
    for (uint32_t i = 0; i < 6; i++)
        must_be(is.seq_adjust[i / 3][i % 3], 10 + i);
    flow = flow_of(stranger(1), 5000); /* no numbers, or no memory for them */
    flow.status = KST_SEQ_ADJUST;
    kst_flush(t);
    must(kst_get(t, kst_insert(t, &flow, NULL), &is));
    must_be(is.status & KST_SEQ_ADJUST, 0);
    free(t);
    t = table_new((struct kst_config){.max = 1, .features = KST_WITH_NAT});
    flow = flow_of((struct say){.protocol = TCP, .from = 1, .to = 2, .sport = 3, .dport = 4}, 5000);
    flow.status = KST_SEQ_ADJUST;
    must(kst_get(t, kst_insert(t, &flow, NULL), &is));
    must_be(is.status & KST_SEQ_ADJUST, 0);
    must_be_sound(t);
    free(t);
}
END_TEST

SUITE("restore", restored_tcp_goes_on, restored_sctp_goes_on, restored_sctp_without_reply,
      insertions_refused, fixed_timeout, restored_knows_its_master, restored_goes_on_adjusting)
