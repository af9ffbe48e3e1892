/* SPDX-License-Identifier: MIT */
/* tcp.c - property: of any sequence of real packets, TCP's above all, the core says what the naive tracker says;
 * and what must not matter does not: how packets are cut into batches, what lies behind their end, what year
 * it is, what the zones are called, the seed. A packet that is INVALID changes no state of anybody but
 * SCTP's (whose earlier chunks count) and shortens no timer (but an RST or FIN outside the windows, to
 * nf_conntrack_tcp_timeout_unacknowledged at least: the two sides lost each other); an ICMP error creates nothing;
 * whatever was before, an honest handshake leads to ESTABLISHED, if the client is who it was.
 *
 * The head says which of that is tried, and whether helpers and reassembly are on: these the naive tracker
 * does not judge. Frames hold packets; their flags say how they come. */
#include "rig.h"

#include "../agree/describe.h"
#include "../naive.h"
#include "inner.h"
#include "packet.h"

enum { STEPS_MAX = 300, MAX = 40, BATCH_MAX = 24, PAD = 9, ZONE = 40000 };

enum { /* of a frame */
    FLAG_CHECKSUM = 3,
    FLAG_NOTRACK = 4,
    FLAG_HEAD = 8,     /* only the front of it */
    FLAG_ZONE = 16,
    FLAG_ADVANCE = 32, /* some work before it */
    FLAG_POLICY = 64,
    FLAGS_AGAIN = FLAG_ADVANCE | FLAG_POLICY | 128 /* all of them: it comes as often as a byte counts, or nearly */
};

enum { /* of the head: how the second table differs */
    OTHER_BATCH = 1,
    OTHER_PAD = 2,
    OTHER_TIME = 4,
    OTHER_ZONE = 8,
    OTHER_SEED = 16
};

static struct {
    struct kst_config config;
    struct kst *one, *other, *before;
    size_t bytes;
    struct naive naive;
    bool judged; /* the naive tracker has a say */
    uint32_t differs, batch_max, batch_count, step;
    uint64_t now_ms, shift_ms;
    struct kst_packet batch[BATCH_MAX];
    struct kst_result answers[BATCH_MAX];
} rig;

static void batch_flush(void)
{
    struct kst_result results[BATCH_MAX];
    kst_track(rig.other, rig.now_ms + rig.shift_ms, rig.batch, rig.batch_count, results);
    for (uint32_t i = 0; i < rig.batch_count; i++) {
        if (!rig_same_result(&results[i], &rig.answers[i]))
            fuzz_fail("packet %u of %u before step %u: %s %s, and %s %s in the other table", i + 1, rig.batch_count,
                      rig.step, kst_state_name((enum kst_state)rig.answers[i].state),
                      kst_reason_name((enum kst_reason)rig.answers[i].reason),
                      kst_state_name((enum kst_state)results[i].state),
                      kst_reason_name((enum kst_reason)results[i].reason));
        fuzz_same("the connection, in the other table", results[i].entry >> 32, rig.answers[i].entry >> 32); /* slots differ */
        fuzz_free((void *)(uintptr_t)rig.batch[i].data);
    }
    rig.batch_count = 0;
}

static bool same_tuples(const struct kst_tuple *a, const struct kst_tuple *b, bool zones)
{
    struct kst_tuple c = *b;
    if (zones)
        c.zone = (uint16_t)(c.zone - ZONE);
    return memcmp(a, &c, sizeof c) == 0;
}

static void same_flow(const struct kst_flow *a, const struct kst_flow *b, const char *who, bool zones)
{
    if (!same_tuples(&a->tuple[0], &b->tuple[0], zones) || !same_tuples(&a->tuple[1], &b->tuple[1], zones))
        fuzz_fail("%s has other tuples", who);
    if (a->timeout_ms != b->timeout_ms)
        fuzz_fail("timeout %" PRIu64 " ms, and %s says %" PRIu64, a->timeout_ms, who, b->timeout_ms);
    if (a->state != b->state || a->status != b->status)
        fuzz_fail("state %u, status %x, and %s says %u, %x", a->state, a->status, who, b->state, b->status);
    fuzz_same("policy", a->policy, b->policy);
    for (uint32_t dir = 0; dir < 2; dir++) {
        fuzz_same("packets", a->packets[dir], b->packets[dir]);
        fuzz_same("bytes", a->bytes[dir], b->bytes[dir]);
        fuzz_same("tag", a->sctp_tags[dir], b->sctp_tags[dir]);
        fuzz_same("GRE's timeout", a->gre_timeouts_s[dir], b->gre_timeouts_s[dir]);
    }
}

/* All that is in one table is in the other and, if it has a say, in the naive one. */
static void compare(void)
{
    uint32_t live = 0;
    batch_flush();
    kst_advance(rig.one, rig.now_ms, 0); /* both know what time it is */
    kst_advance(rig.other, rig.now_ms + rig.shift_ms, 0);
    for (kst_id id = kst_next(rig.one, 0); id != 0; id = kst_next(rig.one, id), live++) {
        struct kst_flow a, b;
        fuzz_must(kst_get(rig.one, id, &a));
        struct kst_tuple tuple = a.tuple[0];
        if (rig.differs & OTHER_ZONE)
            tuple.zone = (uint16_t)(tuple.zone + ZONE);
        if (!kst_get(rig.other, kst_find(rig.other, &tuple, NULL), &b))
            fuzz_fail("the other table lacks a connection");
        same_flow(&a, &b, "the other table", rig.differs & OTHER_ZONE);
        if (!rig.judged)
            continue;
        const struct naive_entry *e = naive_tagged(&rig.naive, id);
        if (e == NULL)
            fuzz_fail("the naive tracker lacks a connection");
        naive_flow(&rig.naive, e, &b);
        same_flow(&a, &b, "the naive tracker", false);
        inner_same(rig.one, id, e);
    }
    if (rig.judged)
        fuzz_same("connections", live, rig.naive.count);
    for (kst_id id = kst_next(rig.other, 0); id != 0; id = kst_next(rig.other, id))
        live--;
    fuzz_same("connections of the other table", live, 0);
    rig_check(rig.one);
    rig_check(rig.other);
    if (rig.differs == OTHER_BATCH && memcmp(rig.one, rig.other, rig.bytes) != 0)
        fuzz_fail("batches leave other bytes than packets one by one");
}

/* A refused packet has changed nothing that it may not. */
static void unchanged(const struct kst_packet *packet)
{
    struct packet_layout p;
    const bool tcp = packet_lay_out(packet->data, packet->size, &p) && p.protocol == TCP && p.bytes >= 14;
    const bool ends = (tcp && (packet->data[p.l4_at + 13] & (TCP_RST | TCP_FIN))) || rig.config.reassembly_bytes != 0;
    uint32_t unacked_s = 0;
    kst_setting(rig.one, "nf_conntrack_tcp_timeout_unacknowledged", &unacked_s);
    kst_advance(rig.before, rig.now_ms, UINT32_MAX); /* who expired goes now or later, and takes the calls announced along */
    for (kst_id id = kst_next(rig.before, 0); id != 0; id = kst_next(rig.before, id)) {
        struct kst_flow was, is;
        fuzz_must(kst_get(rig.before, id, &was));
        if (!kst_get(rig.one, id, &is))
            fuzz_fail("an INVALID packet removed a connection");
        if (was.tuple[0].protocol == SCTP)
            continue;
        if (is.state != was.state || is.status != was.status)
            fuzz_fail("an INVALID packet changed state %u to %u", was.state, is.state);
        fuzz_must(is.packets[0] == was.packets[0] && is.packets[1] == was.packets[1]);
        fuzz_must(is.timeout_ms <= was.timeout_ms);
        if (is.timeout_ms < was.timeout_ms && !(ends && (was.status & KST_ASSURED) && is.timeout_ms == unacked_s * 1000u))
            fuzz_fail("an INVALID packet shortened a timer from %" PRIu64 " to %" PRIu64, was.timeout_ms, is.timeout_ms);
    }
}

static bool is_error(const struct kst_packet *packet)
{
    struct packet_layout p;
    if (!packet_lay_out(packet->data, packet->size, &p) || p.bytes < 8 || p.fragment)
        return false;
    const uint32_t type = packet->data[p.l4_at];
    return packet->data[0] >> 4 == 4 ? p.protocol == ICMP && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12)
                                     : p.protocol == ICMP6 && type < 128;
}

static void send(const struct fuzz_frame *frame)
{
    struct kst_packet packet = {.zone = frame->flags & FLAG_ZONE ? 7 : 0};
    uint32_t size = frame->size;
    char words[600];
    packet.checksum = frame->flags & FLAG_CHECKSUM;
    if (frame->flags & FLAG_NOTRACK)
        packet.flags = KST_PACKET_NOTRACK;
    if (frame->flags & FLAG_POLICY)
        packet.policy = 3;
    if ((frame->flags & FLAG_HEAD) && !rig.judged) {
        packet.flags |= KST_PACKET_HEAD;
        size -= size / 4;
    }
    const bool padded = (rig.differs & OTHER_PAD) && !(packet.flags & KST_PACKET_HEAD);
    uint8_t *second = fuzz_exact(NULL, size + (padded ? PAD : 0));
    memcpy(second, frame->bytes, size);
    if (padded && size > 0) { /* no byte of it counts where the packet says how long it is, and it is so long */
        const uint32_t says = size < 6 ? 0 : frame->bytes[0] >> 4 == 4 ? get16(frame->bytes + 2) : 40 + get16(frame->bytes + 4);
        memset(second + size, 0x2a, PAD);
        rig.batch[rig.batch_count].size = says <= size && size >= 40 ? size + PAD : size;
    } else {
        rig.batch[rig.batch_count].size = size;
    }
    packet.data = fuzz_exact(frame->bytes, size);
    packet.size = size;
    if (fuzz_telling) {
        describe(packet.data, size, words, sizeof words);
        printf("%4u %12" PRIu64 " ms  %s%s\n", rig.step, rig.now_ms, words, packet.checksum ? "  (checksum not looked at)" : "");
    }
    memcpy(rig.before, rig.one, rig.bytes);
    const struct kst_result r = rig_track(rig.one, rig.now_ms, &packet);
    rig_note_result(&r);
    fuzz_tell("%22s-> %s %s %s%s", "", kst_state_name((enum kst_state)r.state),
              kst_direction_name((enum kst_direction)r.direction), kst_reason_name((enum kst_reason)r.reason),
              r.flags & KST_CREATED ? ", created" : "");
    if (is_error(&packet) && (r.flags & KST_CREATED))
        fuzz_fail("an ICMP error created a connection");
    if (r.state == KST_INVALID && r.verdict == KST_ACCEPT)
        unchanged(&packet);
    if (rig.judged) {
        struct kst_result naive;
        naive_track(&rig.naive, rig.now_ms, &packet, &naive);
        if (!rig_same_result(&r, &naive))
            fuzz_fail("the naive tracker says %s %s %s, verdict %u, flags %u", kst_state_name((enum kst_state)naive.state),
                      kst_direction_name((enum kst_direction)naive.direction),
                      kst_reason_name((enum kst_reason)naive.reason), naive.verdict, naive.flags);
        struct naive_entry *e = naive_named(&rig.naive, naive.entry);
        if (e != NULL && (r.flags & KST_CREATED))
            e->tag = r.entry;
        if (e != NULL)
            fuzz_same("the connection", r.entry, e->tag);
    }
    struct kst_packet *other = &rig.batch[rig.batch_count];
    const uint32_t other_size = other->size;
    *other = packet;
    other->data = second;
    other->size = other_size;
    if (rig.differs & OTHER_ZONE)
        other->zone = (uint16_t)(packet.zone + ZONE);
    rig.answers[rig.batch_count++] = r;
    if (rig.batch_count == rig.batch_max)
        batch_flush();
    fuzz_free((void *)(uintptr_t)packet.data);
}

static struct kst_result say(const struct tcp_say *say, const struct packet_layout *p, const uint8_t *addresses, bool answer,
                             const struct kst_packet *like)
{
    uint8_t data[128];
    struct kst_packet packet = *like;
    const uint32_t size = packet_tcp(data, say), half = p->addresses_bytes / 2;
    memcpy(data + p->addresses_at + (answer ? half : 0), addresses, half);
    memcpy(data + p->addresses_at + (answer ? 0 : half), addresses + half, half);
    packet_seal(data, size, true);
    packet.data = data;
    packet.size = size;
    packet.checksum = KST_CHECKSUM_VERIFY;
    packet.flags = 0;
    struct kst_result result;
    kst_track(rig.before, rig.now_ms, &packet, 1, &result);
    return result;
}

/* An honest handshake between two that have a past, tried on a copy. */
static void handshake(const struct fuzz_frame *frame)
{
    struct packet_layout p;
    struct kst_tuple tuple;
    struct kst_flow flow;
    uint8_t dir = 0;
    const struct kst_packet like = {.zone = frame->flags & FLAG_ZONE ? 7 : 0};
    if (!packet_lay_out(frame->bytes, frame->size, &p) || p.protocol != TCP || p.bytes < 20 || p.fragment)
        return;
    memcpy(rig.before, rig.one, rig.bytes);
    memset(&tuple, 0, sizeof tuple);
    const uint32_t half = p.addresses_bytes / 2;
    const uint8_t *l4 = frame->bytes + p.l4_at;
    memcpy(tuple.src, frame->bytes + p.addresses_at, half);
    memcpy(tuple.dst, frame->bytes + p.addresses_at + half, half);
    tuple.src_port = (uint16_t)get16(l4);
    tuple.dst_port = (uint16_t)get16(l4 + 2);
    tuple.family = half == 4 ? KST_IPV4 : KST_IPV6;
    tuple.protocol = TCP;
    tuple.zone = like.zone;
    if (memcmp(tuple.src, tuple.dst, 16) == 0 && tuple.src_port == tuple.dst_port)
        return; /* nobody shakes his own hand */
    const kst_id id = kst_find(rig.before, &tuple, &dir);
    if (id != 0 && dir == KST_REPLY)
        return;
    if (kst_count(rig.before) >= MAX)
        return;
    uint32_t seq = 0x10000000, ack = 0x20000000;
    if (id != 0) { /* RFC 793: larger than those recently used */
        const struct kst__tcp *tcp = &kst__entry_at(rig.before, (uint32_t)id)->proto.tcp;
        seq = tcp->side[0].end + 100000;
        ack = tcp->side[1].end + 100000;
        if (kst__entry_at(rig.before, (uint32_t)id)->state == KST_TCP_SYN_SENT2)
            return; /* as in Linux, a simultaneous open that does not go on is in the way until it expires */
    }
    for (uint32_t round = 0; round < 2; round++) { /* SYNs that find an old connection may be lost on it once */
        struct tcp_say s = {.sport = tuple.src_port, .dport = tuple.dst_port, .v6 = half == 16, .window = 8192};
        const uint8_t *addresses = frame->bytes + p.addresses_at;
        s.seq = seq, s.flags = TCP_SYN;
        const struct kst_result first = say(&s, &p, addresses, false, &like);
        s.sport = tuple.dst_port, s.dport = tuple.src_port;
        s.seq = ack, s.ack = seq + 1, s.flags = TCP_SYN | TCP_ACK;
        const struct kst_result second = say(&s, &p, addresses, true, &like);
        s.sport = tuple.src_port, s.dport = tuple.dst_port;
        s.seq = seq + 1, s.ack = ack + 1, s.flags = TCP_ACK;
        const struct kst_result third = say(&s, &p, addresses, false, &like);
        const kst_id now = kst_find(rig.before, &tuple, NULL);
        if (first.state != KST_INVALID && second.state != KST_INVALID && third.state == KST_ESTABLISHED && now != 0 &&
            kst_get(rig.before, now, &flow) && flow.state == KST_TCP_ESTABLISHED)
            return;
        fuzz_tell("handshake: %s, %s, %s", kst_reason_name((enum kst_reason)first.reason),
                  kst_reason_name((enum kst_reason)second.reason), kst_reason_name((enum kst_reason)third.reason));
        fuzz_tell("state %u", flow.state);
    }
    fuzz_fail("an honest handshake does not lead to ESTABLISHED");
}

static void begin(void)
{
    const uint32_t what = draw8(), starts = draw8();
    memset(&rig, 0, offsetof(__typeof__(rig), batch));
    rig.differs = draw8() & 31;
    rig.batch_max = rig.differs & OTHER_BATCH ? 1 + draw8() % BATCH_MAX : 1;
    rig.judged = (what & 3) < 2;
    rig.config.max = MAX;
    rig.config.seed[0] = draw8();
    rig.config.features = KST_WITH_ACCOUNTING;
    rig.config.start_ms = (starts & 1) ? (UINT64_C(1) << 32) - 4096 * (starts & 7) : starts * 1000;
    if ((what & 3) == 2)
        rig.config.reassembly_bytes = KST_REASSEMBLY_MIN;
    if ((what & 3) == 3)
        rig.config.expectations = 24;
    rig_back_ends(&rig.config, false);
    struct kst_config config = rig.config;
    rig.bytes = kst_bytes(&config);
    rig.one = rig_table(&config);
    rig.before = rig_table(&config);
    if (rig.differs & OTHER_TIME) /* whole beats */
        rig.shift_ms = (UINT64_C(1) << 32) * (1 + (starts >> 5)) + 64 * (starts & 31);
    if (rig.differs & OTHER_SEED)
        config.seed[1] = 99;
    if (rig.differs & ~(uint32_t)OTHER_BATCH)
        rig_back_ends(&config, true);
    config.start_ms += rig.shift_ms;
    rig.other = rig_table(&config);
    naive_init(&rig.naive, &rig.config);
    rig.now_ms = rig.config.start_ms;
    if (rig.config.expectations > 0)
        fuzz_must(kst_attach_usual(rig.one) == KST_ERROR_OK && kst_attach_usual(rig.other) == KST_ERROR_OK);
    static const struct {
        const char *name;
        uint32_t value;
    } settings[] = {{"nf_conntrack_acct", 1}, {"nf_conntrack_tcp_loose", 0}, {"nf_conntrack_tcp_be_liberal", 1},
                    {"nf_conntrack_tcp_ignore_invalid_rst", 1}, {"nf_conntrack_tcp_max_retrans", 1},
                    {"keepstate_udplite_rfc3828", 1}, {"nf_conntrack_checksum", 0}};
    const uint32_t chosen = draw8();
    for (uint32_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (chosen >> i & 1) {
            fuzz_must(kst_set(rig.one, settings[i].name, settings[i].value) == KST_ERROR_OK);
            fuzz_must(kst_set(rig.other, settings[i].name, settings[i].value) == KST_ERROR_OK);
            fuzz_must(naive_set(&rig.naive, 0, settings[i].name, settings[i].value) == KST_ERROR_OK);
            fuzz_tell("%s = %u", settings[i].name, settings[i].value);
        }
}

static void run(const uint8_t *data, size_t size)
{
    const uint8_t *at = data + (size < fuzz_target.head ? size : fuzz_target.head);
    struct fuzz_frame frame;
    uint32_t again_left = 4; /* they take long */
    begin();
    while (rig.step < STEPS_MAX && fuzz_frame_next(&at, data + size, &frame)) {
        rig.step++;
        if (kst_count(rig.one) >= MAX)
            break; /* a full table is for the target `track` */
        if (frame.wait != 0 || (frame.flags & FLAG_ADVANCE)) {
            batch_flush();
            rig.now_ms += fuzz_wait_ms(frame.wait);
        }
        if (frame.flags & FLAG_ADVANCE) {
            kst_advance(rig.one, rig.now_ms, UINT32_MAX);
            kst_advance(rig.other, rig.now_ms + rig.shift_ms, UINT32_MAX);
        }
        const bool again = (frame.flags & FLAGS_AGAIN) == FLAGS_AGAIN && again_left > 0;
        const uint32_t times = again ? 254 + frame.wait % 8 : 1;
        again_left -= again;
        for (uint32_t i = 0; i < times && kst_count(rig.one) < MAX; i++)
            send(&frame);
        rig_check(rig.one);
        if (rig.step % 8 == 0)
            compare();
        if (rig.step % 4 == 1)
            handshake(&frame);
    }
    compare();
    rig_note_table(rig.one);
}

const struct fuzz_target fuzz_target = {"tcp", FUZZ_PACKETS, 8, 0, STEPS_MAX, run, false};
