/* SPDX-License-Identifier: MIT */
/* track.c - property: whatever happens to a table, the naive tracker (harness/naive.h) and the core give
 * the same answers, and hold the same connections after every step; however packets are cut into batches.
 *
 * The input is a head that says what the table is like, and records of RECORD bytes, one step each: a
 * packet, time, work, a setting, a call. A step draws typed choices from its record; zeros, and what lies
 * behind the end of the input, are the plainest choice. Numbers of packets are drawn near those that the
 * connection they belong to has reached, as the naive tracker knows them.
 *
 * Three tables meet: the core with one packet a call, the core with batches, the naive one. */
#include "rig.h"

#include "../agree/describe.h"
#include "../naive.h"
#include "inner.h"
#include "packet.h"

#include <stdarg.h>

enum {
    STEPS_MAX = 4000,
    BATCH_MAX = 40,
    RECENT = 8,         /* packets that are remembered, to be repeated and complained about */
    WIRE_MAX = 2200,
    IDS_MAX = STEPS_MAX /* names that connections may have had */
};

/* ---- the three tables ---- */

struct wire {
    uint8_t data[WIRE_MAX];
    uint32_t size, l4_at, protocol;
};

static struct {
    struct kst_config config;
    size_t bytes;
    struct kst *one, *many, *copy; /* a packet a call, batches, and one to try things on */
    struct naive naive;
    uint64_t now_ms;  /* the time that comes with the next call */
    uint64_t seen_ms; /* and that came with the last */
    uint32_t step;
    struct kst_result last; /* of the packet before, by the core and by the naive tracker */
    struct kst_result last_naive;
    struct kst_packet batch[BATCH_MAX]; /* that the second core has not seen yet, */
    struct kst_result answers[BATCH_MAX]; /* and what the first one said of them */
    uint32_t batch_count, batch_max;
    struct wire recent[RECENT];
    uint32_t recent_at, conversation;
    kst_id ids[IDS_MAX]; /* every name that was ever given */
    uint32_t ids_count;
} rig;

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    va_list values;
    if (!fuzz_telling)
        return;
    va_start(values, format);
    printf("%4u  %12" PRIu64 " ms  ", rig.step, rig.now_ms - rig.config.start_ms);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
}

#define fail fuzz_fail

#define must_be(what, core, naive)                                                                 \
    do {                                                                                           \
        if ((core) != (naive) && fuzz_oracles >= FUZZ_MODEL)                                       \
            fail("%s: the core says %" PRIu64 ", the naive tracker %" PRIu64, what, (uint64_t)(core), \
                 (uint64_t)(naive));                                                               \
    } while (0)

/* The batch that has gathered goes to the second core, which must come to the same. */
static void batch_flush(void)
{
    struct kst_result answers[BATCH_MAX];
    const uint32_t count = rig.batch_count;
    if (count == 0)
        return;
    rig.batch_count = 0;
    kst_track(rig.many, rig.now_ms, rig.batch, count, answers);
    for (uint32_t i = 0; i < count; i++)
        fuzz_free((void *)(uintptr_t)rig.batch[i].data);
    if (fuzz_oracles < FUZZ_BACK_ENDS)
        return;
    for (uint32_t i = 0; i < count; i++)
        if (!rig_same_result(&answers[i], &rig.answers[i]) || answers[i].entry != rig.answers[i].entry)
            fail("packet %u of a batch of %u: %s %s, and alone %s %s", i + 1, count,
                 kst_state_name((enum kst_state)answers[i].state), kst_reason_name((enum kst_reason)answers[i].reason),
                 kst_state_name((enum kst_state)rig.answers[i].state),
                 kst_reason_name((enum kst_reason)rig.answers[i].reason));
    if (memcmp(rig.one, rig.many, rig.bytes) != 0)
        fail("a batch of %u leaves another table than its packets one by one", count);
}

/* Everybody hears what time it is: most calls go by the last that they were told. */
static void clocks(void)
{
    kst_advance(rig.one, rig.now_ms, 0);
    kst_advance(rig.many, rig.now_ms, 0);
    naive_clock(&rig.naive, rig.now_ms);
    rig.seen_ms = rig.now_ms;
}

/* Both cores do all the work there is. */
static void drain(void)
{
    batch_flush();
    kst_advance(rig.one, rig.now_ms, UINT32_MAX);
    kst_advance(rig.many, rig.now_ms, UINT32_MAX);
}

/* ---- comparing ---- */

static void compare_flow(const struct kst_flow *core, const struct kst_flow *naive)
{
    if (memcmp(core->tuple, naive->tuple, sizeof core->tuple) != 0)
        fail("the tuples of a connection");
    must_be("timeout_ms", core->timeout_ms, naive->timeout_ms);
    must_be("status", core->status, naive->status);
    must_be("the protocol's state", core->state, naive->state);
    must_be("accounted", core->accounted, naive->accounted);
    for (uint32_t dir = 0; dir < 2; dir++) {
        must_be("packets", core->packets[dir], naive->packets[dir]);
        must_be("bytes", core->bytes[dir], naive->bytes[dir]);
        must_be("GRE's timeout", core->gre_timeouts_s[dir], naive->gre_timeouts_s[dir]);
        must_be("SCTP's tag", core->sctp_tags[dir], naive->sctp_tags[dir]);
    }
    must_be("mark", core->mark, naive->mark);
    must_be("timestamped", core->timestamped, naive->timestamped);
    must_be("age_ms", core->age_ms, naive->age_ms);
    must_be("policy", core->policy, naive->policy);
    must_be("helper", core->helper, naive->helper);
    must_be("master", core->master, naive->master);
    if (memcmp(core->labels, naive->labels, sizeof core->labels) != 0)
        fail("labels");
}

static void compare_tables(void)
{
    uint32_t live = 0;
    const char *broken;
    if (rig.seen_ms != rig.now_ms)
        return; /* the core does not know yet */
    if (fuzz_oracles >= FUZZ_INVARIANTS && !kst_check(rig.one, &broken))
        fail("the table is broken: %s", broken);
    if (fuzz_oracles < FUZZ_MODEL)
        return;
    for (kst_id id = kst_next(rig.one, 0); id != 0; id = kst_next(rig.one, id), live++) {
        struct kst_flow core, naive;
        const struct naive_entry *e = naive_tagged(&rig.naive, id);
        if (!kst_get(rig.one, id, &core) || core.id != id)
            fail("kst_next names a connection that kst_get does not know");
        if (e == NULL)
            fail("the core has a connection %" PRIu64 " that the naive tracker has not", id);
        naive_flow(&rig.naive, e, &naive);
        compare_flow(&core, &naive);
        inner_same(rig.one, id, e);
    }
    inner_same_order(rig.one, &rig.naive);
    must_be("connections alive", live, rig.naive.count);
    if (kst_count(rig.one) < rig.naive.count)
        fail("the core counts %u, the naive tracker %u", kst_count(rig.one), rig.naive.count);
}

/* What is left when all that expired is collected, tried on a copy, which lies elsewhere. */
static void compare_counts(void)
{
    memcpy(rig.copy, rig.one, rig.bytes);
    naive_clock(&rig.naive, rig.now_ms);
    kst_advance(rig.copy, rig.now_ms, UINT32_MAX);
    if (fuzz_oracles < FUZZ_MODEL)
        return;
    must_be("connections, all collected", kst_count(rig.copy), rig.naive.count);
    for (uint32_t class_ = 0; class_ < KST_CLASSES; class_++)
        must_be("connections of a class", kst_class_count(rig.copy, (enum kst_class)class_),
                naive_class_count(&rig.naive, class_));
    const struct kst_stats *stats = kst_statistics(rig.copy);
    for (uint32_t cause = 0; cause < KST_CAUSES; cause++)
        if (stats->gone[cause] != rig.naive.gone[cause])
            fail("connections gone, %s: the core says %" PRIu64 ", the naive tracker %" PRIu64,
                 kst_cause_text((enum kst_cause)cause), stats->gone[cause], rig.naive.gone[cause]);
    for (uint32_t reason = 0; reason < KST_REASONS; reason++)
        must_be("packets of a reason", stats->reasons[reason], rig.naive.reasons[reason]);
    must_be("created", stats->created, rig.naive.created);
    must_be("inserted", stats->inserted, rig.naive.inserted);
}

/* A connection has been given a name by the core: one that no other ever had. */
static void name_given(uint64_t name, kst_id id)
{
    struct naive_entry *e = naive_named(&rig.naive, name);
    for (uint32_t i = 0; i < rig.ids_count; i++)
        if (rig.ids[i] == id && fuzz_oracles >= FUZZ_MODEL)
            fail("the name %" PRIu64 " is given a second time", id);
    if (id == 0 && fuzz_oracles >= FUZZ_MODEL)
        fail("a connection without a name");
    if (rig.ids_count < IDS_MAX)
        rig.ids[rig.ids_count++] = id;
    if (e != NULL)
        e->tag = id;
}

/* ---- packets ---- */

/* The checksum at `at` of the transport header, over `covered` bytes. */
static void seal_sum(struct wire *w, uint32_t at, uint32_t covered, uint32_t pseudo)
{
    uint8_t *l4 = w->data + w->l4_at;
    const uint32_t bytes = w->size - w->l4_at;
    const bool v6 = w->data[0] >> 4 == 6;
    uint32_t sum = 0;
    put16(l4 + at, 0);
    if (pseudo != 0)
        sum = packet_sum(bytes + pseudo, w->data + (v6 ? 8 : 12), v6 ? 32 : 8);
    sum = packet_fold(packet_sum(sum, l4, covered));
    put16(l4 + at, sum == 0 && pseudo != 6 ? 0xffff : sum);
}

/* Lengths and checksums, as far as there is room for them. */
static void seal(struct wire *w)
{
    uint8_t *l4 = w->data + w->l4_at;
    const uint32_t bytes = w->size - w->l4_at;
    if (w->data[0] >> 4 == 4) {
        w->data[0] = (uint8_t)(0x40 | w->l4_at / 4);
        put16(w->data + 2, w->size);
        put16(w->data + 10, 0);
        put16(w->data + 10, packet_fold(packet_sum(0, w->data, w->l4_at)));
    } else {
        put16(w->data + 4, w->size - 40);
    }
    switch (w->protocol) {
    case 6:
        if (bytes >= 20)
            seal_sum(w, 16, bytes, 6);
        break;
    case 17:
        if (bytes >= 8)
            seal_sum(w, 6, bytes, 17);
        break;
    case 136:
        if (bytes >= 8) {
            const uint32_t covered = get16(l4 + 4);
            seal_sum(w, 6, covered >= 8 && covered <= bytes ? covered : bytes,
                     rig.naive.set[0][NAIVE_UDPLITE] ? 136 : 17);
        }
        break;
    case 1:
        if (bytes >= 8)
            seal_sum(w, 2, bytes, 0);
        break;
    case 58:
        if (bytes >= 8)
            seal_sum(w, 2, bytes, 58);
        break;
    case 132:
        if (bytes >= 12) {
            put32(l4 + 8, 0);
            put32(l4 + 8, packet_crc(l4, bytes));
        }
        break;
    default: break;
    }
}

/* Who talks: the endpoints of conversation `number`, the way of `dir`. */
static void begin_wire(struct wire *w, uint32_t number, uint32_t dir, uint32_t protocol)
{
    const bool v6 = number % 3 == 2;
    const uint32_t client = 1, server = number % 11 == 10 ? 1 : 2;
    memset(w, 0, sizeof *w);
    w->protocol = protocol;
    w->l4_at = w->size = v6 ? 40 : 20;
    uint8_t *from = w->data + (v6 ? 8 : 12), *to = from + (v6 ? 16 : 4);
    w->data[0] = v6 ? 0x60 : 0x45;
    w->data[v6 ? 7 : 8] = 64;
    w->data[v6 ? 6 : 9] = (uint8_t)protocol;
    from[0] = to[0] = v6 ? 0xfd : 10;
    from[v6 ? 15 : 3] = (uint8_t)(dir == 0 ? client : server);
    to[v6 ? 15 : 3] = (uint8_t)(dir == 0 ? server : client);
}

/* Its ports. Conversation 10 talks to itself. */
static uint32_t port_of(uint32_t number, bool server)
{
    return number % 11 == 10 ? 7 : server ? 80 : 1000 + number / 3;
}

static struct naive_entry *known(const struct wire *w, uint32_t zone, uint32_t *dir)
{
    const struct kst_packet packet = {.data = w->data, .size = w->size, .zone = (uint16_t)zone,
                                      .checksum = KST_CHECKSUM_IGNORE};
    struct naive_packet p;
    naive_read(&rig.naive, &packet, &p);
    return p.reason == KST_REASON_NONE ? naive_find(&rig.naive, &p.tuple, dir) : NULL;
}

/* A number near `from`, mostly that itself. */
static uint32_t draw_near(uint32_t from, uint32_t window)
{
    const uint32_t choice = draw8();
    switch (choice < 176 ? 0 : choice % 20) {
    case 1: return from + 1;
    case 2: return from - 1;
    case 3: return from + window;
    case 4: return from + window + 1;
    case 5: return from - window;
    case 6: return from - window - 1;
    case 7: return from - 66000;
    case 8: return from - 66001;
    case 9: return from + UINT32_C(0x80000000);
    case 10: return 0;
    case 11: return from + 100;
    case 12: return from - 100;
    case 13: return draw32();
    case 14: return from + 66000 - 1;
    case 15: return from - window + 1;
    default: return from;
    }
}

static void draw_tcp_options(struct wire *w, const struct naive_side *other, bool syn)
{
    uint8_t *at = w->data + w->size;
    const uint32_t choice = draw8();
    uint32_t bytes = 0;
    if (syn && choice >= 252) { /* a scale of a size that it has not */
        bytes = 8;
        at[0] = at[1] = 1;
        at[2] = 3;
        at[3] = (uint8_t)PICK(4, 2, 5, 6, 1, 0);
        at[4] = at[5] = at[6] = at[7] = 1;
    } else if (syn && choice >= 96) {
        static const uint8_t offer[] = {2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 0, 0};
        memcpy(at, offer, bytes = sizeof offer);
        at[9] = (uint8_t)PICK(7, 0, 2, 14, 15, 255);
        if (choice >= 220)
            at[4] = 1, at[5] = 1; /* no SACK */
        if (choice >= 240)
            at[6] = at[7] = 1, at[8] = at[9] = 1; /* no scale */
    } else if (choice >= 236) { /* anything */
        bytes = 4 + 4 * (choice % 5);
        for (uint32_t i = 0; i < bytes; i++)
            at[i] = (uint8_t)(i % 3 == 0 ? PICK(1, 5, 3, 4, 8, 0, 255) : PICK(10, 2, 3, 0, 4, 18, 1));
    } else if (choice >= 200) { /* SACK, sometimes of blocks that are not whole */
        bytes = 12;
        at[0] = at[1] = 1;
        at[2] = 5;
        at[3] = choice >= 230 ? (uint8_t)(choice - 230 + 6) : 10;
        put32(at + 4, draw_near(other != NULL ? other->end - 10 : 0, 8192));
        put32(at + 8, other != NULL && choice < 212 ? other->end + choice % 3 : draw_near(other != NULL ? other->end : 0, 8192));
    } else if (choice >= 184) {
        static const uint8_t stamp[] = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
        memcpy(at, stamp, bytes = sizeof stamp);
    }
    w->data[w->l4_at + 12] = (uint8_t)((20 + bytes) / 4 << 4);
    w->size += bytes;
}

static void draw_tcp(struct wire *w, uint32_t number, uint32_t zone)
{
    uint32_t dir = draw8() & 1, known_dir = 0, flags = 0;
    const uint32_t plan = draw8();
    begin_wire(w, number, 0, 6);
    uint8_t *l4 = w->data + w->l4_at;
    w->size += 20;
    put16(w->data + (w->l4_at == 20 ? 2 : 4), w->l4_at == 20 ? w->size : 20);
    put16(l4, port_of(number, false));
    put16(l4 + 2, port_of(number, true));
    l4[12] = 0x50;
    struct naive_entry *e = known(w, zone, &known_dir);
    uint32_t state = e != NULL ? e->state : (uint32_t)KST_TCP_NONE;
    if (plan < 160) { /* what comes next, if all goes well */
        const uint32_t original = e != NULL ? known_dir : 0; /* who of ours is the original side */
        switch (state) {
        case KST_TCP_NONE: flags = NAIVE_SYN; break;
        case KST_TCP_SYN_SENT: flags = NAIVE_SYN | NAIVE_ACK; dir = !original; break;
        case KST_TCP_SYN_RECV: flags = NAIVE_ACK; dir = original; break;
        case KST_TCP_ESTABLISHED: flags = NAIVE_ACK | (plan >= 140 ? NAIVE_FIN : 0u); break;
        case KST_TCP_FIN_WAIT:
        case KST_TCP_CLOSE_WAIT: flags = NAIVE_ACK | (plan & 2 ? NAIVE_FIN : 0u); break;
        case KST_TCP_LAST_ACK: flags = NAIVE_ACK; break;
        default: flags = NAIVE_SYN; break;
        }
    } else if (plan < 250) {
        flags = PICK(NAIVE_ACK, NAIVE_SYN, NAIVE_RST, NAIVE_ACK, NAIVE_SYN | NAIVE_ACK, NAIVE_FIN | NAIVE_ACK,
                     NAIVE_RST | NAIVE_ACK, NAIVE_RST, NAIVE_ACK | NAIVE_PSH, NAIVE_SYN);
    } else {
        flags = draw8();
    }
    begin_wire(w, number, dir, 6);
    w->size += 20;
    put16(l4, port_of(number, dir));
    put16(l4 + 2, port_of(number, !dir));
    l4[13] = (uint8_t)flags;
    const struct naive_side *own = e != NULL ? &e->tcp.side[dir ^ known_dir] : NULL;
    const struct naive_side *other = e != NULL ? &e->tcp.side[!(dir ^ known_dir)] : NULL;
    const uint32_t first = PICK(1000, 0xfffffff0, 0, 0x7ffffff0);
    uint32_t seq = own != NULL && own->maxwin != 0 ? own->end : own != NULL && own->end != 0 ? own->end : first;
    uint32_t ack = other != NULL ? other->end : 5000;
    if (flags & NAIVE_SYN && own != NULL && own->maxwin != 0 && draw_chance(128))
        seq--; /* the same again */
    switch (e != NULL ? draw_below(64) : 0) {
    case 1: seq = e->tcp.last_seq; break;
    case 2: seq = e->tcp.last_end; break;
    case 3: seq = other->maxack; break;
    case 4: seq = own->maxend; break;
    case 5: seq = own->maxend + 1; break;
    case 6: ack = e->tcp.last_end; break;
    case 7: seq = e->tcp.last_ack; break;
    case 8: ack = 0; break;
    case 9: seq = other->maxack - 1; break;
    case 10: seq = other->maxack + 1; break;
    default: break;
    }
    put32(l4 + 4, draw_near(seq, other != NULL ? other->maxwin : 8192));
    put32(l4 + 8, draw_near(ack, own != NULL ? own->maxwin : 8192));
    put16(l4 + 14, PICK(8192, 8192, 8192, 8192, 0, 1, 65535, 100, 512));
    draw_tcp_options(w, other, (flags & NAIVE_SYN) != 0);
    if (!(flags & (NAIVE_SYN | NAIVE_RST)) || draw_chance(16))
        w->size += PICK(0, 0, 0, 0, 1, 10, 100, 1400, 1000);
}

static void draw_udp(struct wire *w, uint32_t number, uint32_t protocol)
{
    const uint32_t dir = draw8() & 1;
    begin_wire(w, number, dir, protocol);
    uint8_t *l4 = w->data + w->l4_at;
    put16(l4, port_of(number, dir));
    put16(l4 + 2, port_of(number, !dir));
    w->size += 8 + PICK(0, 1, 10, 100);
    put16(l4 + 4, w->size - w->l4_at);
    if (draw_chance(24))
        put16(l4 + 4, PICK(0, 7, 8, 9, w->size - w->l4_at + 1, w->size - w->l4_at - 1, 65535));
}

static void draw_sctp(struct wire *w, uint32_t number, uint32_t zone)
{
    static const uint8_t types[] = {1, 2, 10, 11, 0, 3, 4, 5, 6, 7, 8, 9, 14, 4, 5, 15, 192, 12};
    uint32_t dir = draw8() & 1, known_dir = 0;
    const uint32_t plan = draw8();
    begin_wire(w, number, 0, 132);
    uint8_t *l4 = w->data + w->l4_at;
    w->size += 12;
    put16(w->data + (w->l4_at == 20 ? 2 : 4), w->l4_at == 20 ? w->size : 12);
    put16(l4, port_of(number, false));
    put16(l4 + 2, port_of(number, true));
    const struct naive_entry *e = known(w, zone, &known_dir);
    uint32_t type = types[draw_below(sizeof types)], count = 1;
    if (plan < 144) {
        const uint32_t original = e != NULL ? known_dir : 0;
        switch (e != NULL ? e->state : 0) {
        case KST_SCTP_NONE: type = 1; break;
        case KST_SCTP_CLOSED: type = e != NULL && e->sctp.tag[0] == 0 ? 2 : 1, dir = type == 2 ? !original : original; break;
        case KST_SCTP_COOKIE_WAIT: type = 10, dir = original; break;
        case KST_SCTP_COOKIE_ECHOED: type = 11, dir = !original; break;
        case KST_SCTP_ESTABLISHED: type = plan < 100 ? 0 : 7; break;
        case KST_SCTP_SHUTDOWN_SENT:
        case KST_SCTP_SHUTDOWN_RECD: type = 8; break;
        case KST_SCTP_SHUTDOWN_ACK_SENT: type = 14; break;
        default: type = 5; break;
        }
    } else {
        count = PICK(1, 1, 1, 2, 2, 3, 0);
    }
    const bool answer = e != NULL && e->sctp.odd && draw_chance(96);
    if (answer) { /* to a HEARTBEAT that was let through on trial */
        type = 5;
        dir = !(e->sctp.odd_dir ^ known_dir);
    }
    begin_wire(w, number, dir, 132);
    put16(l4, port_of(number, dir));
    put16(l4 + 2, port_of(number, !dir));
    uint32_t tag = e != NULL ? e->sctp.tag[dir ^ known_dir] : 1;
    if (type == 1)
        tag = 0;
    else if (draw_chance(answer ? 192 : 64))
        tag = PICK(e != NULL ? e->sctp.tag[!(dir ^ known_dir)] : 0, 0, 1, 2, 3);
    put32(l4 + 4, tag);
    w->size = w->l4_at + 12;
    for (; count > 0; count--) {
        uint8_t *chunk = w->data + w->size;
        const uint32_t bytes = type == 1 || type == 2 ? 20 : PICK(4, 4, 8, 17);
        chunk[0] = (uint8_t)type;
        chunk[1] = draw_chance(48) ? 1 : 0;
        put16(chunk + 2, bytes);
        if (draw_chance(12))
            put16(chunk + 2, PICK(0, 1, 3, 5, 100, 65535));
        put32(chunk + 4, PICK(1, 2, 3, 0, 1, 2));
        w->size += (bytes + 3) / 4 * 4;
        type = types[draw_below(sizeof types)];
    }
}

static void draw_icmp(struct wire *w, uint32_t number)
{
    const uint32_t dir = draw8() & 1;
    const bool v6 = number % 3 == 2;
    begin_wire(w, number, dir, v6 ? 58 : 1);
    uint8_t *l4 = w->data + w->l4_at;
    const uint32_t choice = draw8();
    if (choice >= 250) { /* that of the other family */
        w->protocol = v6 ? 1 : 58;
        w->data[v6 ? 6 : 9] = (uint8_t)w->protocol;
    }
    if (choice < 200)
        l4[0] = (uint8_t)(v6 ? 128 + dir : dir ? 0 : 8);
    else if (choice < 240)
        l4[0] = (uint8_t)(v6 ? PICK(139, 140, 128, 129, 130, 135, 137, 143, 151, 153) : PICK(13, 14, 15, 16, 17, 18, 9, 10, 19));
    else
        l4[0] = (uint8_t)draw8();
    l4[1] = (uint8_t)PICK(0, 0, 0, 1);
    put16(l4 + 4, port_of(number, false));
    w->size += 8 + PICK(0, 8, 56);
}

/* An error about an earlier packet. */
static void draw_error(struct wire *w)
{
    struct wire about = rig.recent[draw_below(RECENT)];
    if (about.size < 20 || about.size > 1500) {
        draw_icmp(w, rig.conversation);
        return;
    }
    const bool v6 = about.data[0] >> 4 == 6;
    uint32_t bytes = about.size;
    begin_wire(w, v6 ? 2 : 0, 0, v6 ? 58 : 1);
    uint8_t *l4 = w->data + w->l4_at;
    memcpy(w->data + (v6 ? 24 : 16), about.data + (v6 ? 8 : 12), v6 ? 16 : 4);
    w->data[v6 ? 23 : 15] = 9; /* from a router */
    if (draw_chance(32))
        w->data[v6 ? 39 : 19] ^= 2;
    l4[0] = (uint8_t)(v6 ? PICK(1, 2, 3, 4, 127, 100) : PICK(3, 11, 4, 5, 12));
    l4[1] = (uint8_t)PICK(1, 0, 4);
    if (draw_chance(64))
        bytes = about.l4_at + PICK(8, 4, 3, 0, 7);
    if (bytes > about.size)
        bytes = about.size;
    memcpy(l4 + 8, about.data, bytes);
    w->size += 8 + bytes;
    if (draw_chance(16))
        l4[8 + draw8() % (bytes + 1)] ^= (uint8_t)draw8();
}

static void draw_other(struct wire *w, uint32_t number)
{
    const uint32_t dir = draw8() & 1, protocol = PICK(47, 47, 47, 47, 50, 2, 89, 33, 255, 59, 135, 51);
    begin_wire(w, number, dir, protocol);
    uint8_t *l4 = w->data + w->l4_at;
    if (protocol == 47) {
        l4[1] = (uint8_t)PICK(0, 1, 1, 2, 0x81);
        put16(l4 + 2, PICK(0x880b, 0x880b, 0x880b, 0x0800));
        put16(l4 + 6, PICK(1, 2, 0, 65535));
    }
    w->size += PICK(8, 12, 0, 7, 100);
}

/* Inserts `bytes` at `at`. */
static void splice(struct wire *w, uint32_t at, const uint8_t *bytes, uint32_t size)
{
    memmove(w->data + at + size, w->data + at, w->size - at);
    memcpy(w->data + at, bytes, size);
    w->size += size;
    w->l4_at += size;
}

/* What lies between the IP header and the transport header. */
static void draw_ip_options(struct wire *w)
{
    static const uint8_t nop4[] = {1, 1, 1, 0};
    static const uint8_t kinds[] = {0, 60, 43, 51, 44, 0, 60};
    if (w->data[0] >> 4 == 4) {
        splice(w, 20, nop4, 4);
        return;
    }
    uint8_t header[16] = {w->data[6], 0};
    const uint32_t kind = kinds[draw_below(sizeof kinds)];
    header[1] = kind == 51 || kind == 44 ? 0 : (uint8_t)PICK(0, 1);
    const uint32_t bytes = kind == 51 ? 8 : kind == 44 ? 8 : (header[1] + 1u) * 8;
    if (kind == 44)
        put16(header + 2, PICK(0, 0, 0, 1, 8, 6)); /* whole, more, further on */
    w->data[6] = (uint8_t)kind;
    splice(w, 40, header, bytes);
}

/* Harm on the way, after all sums were right. */
static void draw_harm(struct wire *w, uint32_t choice)
{
    switch (choice % 10) {
    case 0: w->size = draw16() % (w->size + 1); break;
    case 1: w->data[draw16() % (w->size + 1)] ^= (uint8_t)(1 << draw_below(8)); break;
    case 2: w->size += 4; break; /* padding of the link */
    case 3: put16(w->data + (w->data[0] >> 4 == 4 ? 2 : 4), draw_below(100)); break;
    case 4: w->data[w->l4_at + draw8() % 24] ^= (uint8_t)draw8(); break;
    case 5: w->data[draw8() % 41] ^= (uint8_t)draw8(); break;
    case 6:
        if (w->data[0] >> 4 == 4) { /* a fragment */
            put16(w->data + 6, PICK(0x2000, 1, 0x4000, 0x2001));
            put16(w->data + 10, 0);
            put16(w->data + 10, packet_fold(packet_sum(0, w->data, w->l4_at)));
        } else {
            w->data[6] = (uint8_t)PICK(44, 59, 0, 51, 60, 43);
        }
        break;
    case 7: /* the transport ends early, and the IP length says so */
        w->size = w->l4_at + draw_below(24);
        seal(w);
        break;
    case 8: w->data[w->l4_at + (w->protocol == 6 ? 16 : w->protocol == 132 ? 8 : w->protocol == 1 || w->protocol == 58 ? 2 : 6)] ^= 1; break;
    default: put16(w->data + w->l4_at + 6, 0); break; /* UDP without a checksum */
    }
}

static void draw_raw(struct wire *w)
{
    w->size = draw_below(64) + 1;
    for (uint32_t i = 0; i < w->size; i++)
        w->data[i] = (uint8_t)draw8();
    w->data[0] = (uint8_t)PICK(0x45, 0x60, w->data[0]);
}

/* An index of fewer buckets than connections may have no place for one, which is its own business. */
static bool few_buckets(void)
{
    return rig.config.buckets != 0 && rig.config.buckets < rig.config.max;
}

/* Whether those that expired count against some limit as long as they are not collected. */
static bool limited(void)
{
    const uint32_t *set = rig.naive.set[0];
    return set[NAIVE_HALF_OPEN] < 100 || set[NAIVE_SOURCE] != 0 || set[NAIVE_ZONE] != 0;
}

/* The packet goes to all three. */
static void send(const struct wire *w, struct kst_packet packet)
{
    char words[600];
    struct kst_result core, naive;
    const uint8_t *exact = fuzz_exact(w->data, w->size);
    packet.data = exact;
    packet.size = w->size;
    rig.recent[rig.recent_at++ % RECENT] = *w;

    naive_clock(&rig.naive, rig.now_ms);
    const uint32_t max = rig.naive.set[0][NAIVE_MAX];
    bool hidden = kst_count(rig.one) > rig.naive.count; /* some have expired that take room */
    if (hidden && (rig.naive.count >= max || limited())) {
        drain();
        hidden = false;
    }
    if (fuzz_telling) {
        describe(w->data, w->size, words, sizeof words);
        tell("%s%s%s", words, packet.checksum == KST_CHECKSUM_BAD ? "  (checksum: bad)" : packet.checksum ? "  (checksum: not looked at)" : "",
             packet.flags & KST_PACKET_NOTRACK ? "  (not tracked)" : "");
    }
    core = rig_track(rig.one, rig.now_ms, &packet);
    rig_note_result(&core);
    rig.seen_ms = rig.now_ms;
    rig.naive.crowded = hidden && (core.reason == KST_REASON_TABLE_EVICTED || core.reason == KST_REASON_TABLE_FULL);
    rig.naive.no_place = few_buckets() && core.reason == KST_REASON_CHAIN_TOO_LONG;
    naive_track(&rig.naive, rig.now_ms, &packet, &naive);
    rig.naive.crowded = rig.naive.no_place = false;
    if (fuzz_telling)
        printf("%*s-> %s %s %s%s%s, naive: %s %s %s\n", 25, "", kst_state_name((enum kst_state)core.state),
               kst_direction_name((enum kst_direction)core.direction), kst_reason_name((enum kst_reason)core.reason),
               core.flags & KST_CREATED ? ", created" : "", core.flags & KST_CLOSED ? ", closed" : "",
               kst_state_name((enum kst_state)naive.state), kst_direction_name((enum kst_direction)naive.direction),
               kst_reason_name((enum kst_reason)naive.reason));
    packet.data = exact;
    rig.batch[rig.batch_count] = packet;
    rig.answers[rig.batch_count++] = core;

    must_be("verdict", core.verdict, naive.verdict);
    must_be("state", core.state, naive.state);
    must_be("direction", core.direction, naive.direction);
    must_be("flags", core.flags, naive.flags);
    if (core.reason != naive.reason && fuzz_oracles >= FUZZ_MODEL)
        fail("reason: the core says %s, the naive tracker %s", kst_reason_name((enum kst_reason)core.reason),
             kst_reason_name((enum kst_reason)naive.reason));
    must_be("whether a connection is named", core.entry != 0, naive.entry != 0);
    if (naive.flags & KST_CREATED)
        name_given(naive.entry, core.entry);
    else if (naive_named(&rig.naive, naive.entry) != NULL)
        must_be("the connection", core.entry, naive_named(&rig.naive, naive.entry)->tag);
    rig.last = core;
    rig.last_naive = naive;
    if (rig.batch_count >= rig.batch_max)
        batch_flush();
}

static void step_packet(uint32_t kind)
{
    struct wire w = {0};
    struct kst_packet packet = {0};
    uint32_t times = 1;
    const uint32_t which = draw8(), extra = draw8();
    if (which >= 112)
        rig.conversation = which % 12;
    const uint32_t number = rig.conversation;
    packet.zone = number == 9 ? 5 : 0;
    if (extra >= 252)
        packet.zone = (uint16_t)PICK(5, 0, 65535);
    packet.policy = number == 4 ? 3 : 0;
    if (kind < 110)
        draw_tcp(&w, number, packet.zone);
    else if (kind < 135)
        draw_udp(&w, number, 17);
    else if (kind < 143)
        draw_udp(&w, number, 136);
    else if (kind < 170)
        draw_sctp(&w, number, packet.zone);
    else if (kind < 184)
        draw_icmp(&w, number);
    else if (kind < 190)
        draw_other(&w, number);
    else if (kind < 200)
        draw_error(&w);
    else if (kind < 206)
        w = rig.recent[draw_below(RECENT)], times = PICK(1, 1, 2, 3, 4, 260);
    else
        draw_raw(&w);
    if (kind < 200) {
        if (extra >= 224 && extra < 232)
            draw_ip_options(&w);
        seal(&w);
    }
    if (extra >= 232 && extra < 246 && w.size > 40)
        draw_harm(&w, draw8());
    if (extra >= 246 && extra < 251)
        packet.checksum = (uint8_t)PICK(KST_CHECKSUM_IGNORE, KST_CHECKSUM_GOOD, KST_CHECKSUM_BAD);
    if (extra == 251)
        packet.flags = KST_PACKET_NOTRACK;
    for (; times > 0; times--)
        send(&w, packet);
}

/* ---- the other steps ---- */

static struct naive_entry *draw_entry(void)
{
    const uint32_t number = draw8();
    return rig.naive.count > 0 ? &rig.naive.entry[number % rig.naive.count] : NULL;
}

static void step_time(void)
{
    const struct naive_entry *e = draw_entry();
    uint64_t to_ms = rig.now_ms;
    const uint32_t choice = draw8();
    if (choice < 80 && e != NULL)
        to_ms = e->expires_ms + PICK(0, 0, 1, 63, 64) - (choice & 1);
    else if (choice < 250)
        to_ms += PICK(1, 10, 63, 64, 65, 999, 1000, 1999, 2000, 2001, 3000, 10000, 29999, 30000, 60000, 120000, 300000, 3600000);
    else if (choice < 253)
        to_ms += UINT64_C(1) << PICK(32, 31, 26, 38);
    else
        to_ms += draw32();
    batch_flush();
    rig.now_ms = to_ms > rig.now_ms ? to_ms : rig.now_ms;
    tell("time");
}

static void step_advance(void)
{
    const uint32_t work = PICK(1, 0, 2, 3, 8, 100, UINT32_MAX);
    const bool back = draw_chance(32); /* the caller's clock lies before what it was: that stands still */
    batch_flush();
    if (back) {
        clocks();
        kst_advance(rig.one, rig.config.start_ms, 0);
        kst_advance(rig.many, rig.config.start_ms, 0);
        compare_tables();
    }
    naive_clock(&rig.naive, rig.now_ms);
    rig.seen_ms = rig.now_ms;
    const uint32_t before = kst_count(rig.one), used = kst_advance(rig.one, rig.now_ms, work);
    if (before - kst_count(rig.one) > work)
        fail("kst_advance collected %u in %u steps", before - kst_count(rig.one), work);
    tell("kst_advance: %u of %u steps", used, work);
    if ((used > work || kst_advance(rig.many, rig.now_ms, work) != used) && fuzz_oracles >= FUZZ_BACK_ENDS)
        fail("kst_advance used %u steps", used);
    if (used < work)
        must_be("connections, nothing left to collect", kst_count(rig.one), rig.naive.count);
}

static void step_set(uint32_t policy)
{
    const uint32_t number = draw8() % NAIVE_SET;
    const char *name = naive_settings[number].name;
    const bool timeout = naive_settings[number].high == 8589934;
    const uint32_t value = number == NAIVE_MAX ? 1 + draw_below(rig.config.max + 1)
                           : timeout ? PICK(naive_settings[number].normal, 1, 2, 10, 30, 100, 300, 301, 600, 432000, 0, 8589934, 8589935)
                           : number == NAIVE_RETRANS   ? PICK(3, 0, 1, 255, 256)
                           : number == NAIVE_HALF_OPEN ? PICK(100, 50, 1, 30, 0, 101)
                           : number == NAIVE_SOURCE || number == NAIVE_ZONE ? PICK(0, 1, 2, 3, 6)
                                                                            : draw_below(2);
    batch_flush();
    tell("%s = %u%s", name, value, policy != 0 ? ", policy 3" : "");
    const enum kst_error naive = naive_set(&rig.naive, policy, name, value);
    if (policy == 0) {
        must_be("kst_set", kst_set(rig.one, name, value), naive);
        kst_set(rig.many, name, value);
    } else {
        must_be("kst_set_policy", kst_set_policy(rig.one, (uint8_t)policy, name, value), naive);
        kst_set_policy(rig.many, (uint8_t)policy, name, value);
    }
}

/* A name: of one that is there, or of one that was. */
static kst_id draw_id(void)
{
    const uint32_t choice = draw8(), number = draw16();
    const struct naive_entry *e = draw_entry();
    if (choice < 192 && e != NULL)
        return e->tag;
    if (choice < 250 && rig.ids_count > 0)
        return rig.ids[number % rig.ids_count];
    return (kst_id)draw32() << 32 | draw8();
}

static void step_delete(void)
{
    const kst_id id = draw_id();
    const struct naive_entry *e = naive_tagged(&rig.naive, id);
    const uint64_t name = e != NULL && id != 0 ? e->name : 0;
    kst_id found = id;
    batch_flush();
    clocks();
    e = naive_named(&rig.naive, name);
    if (e != NULL && draw_chance(128)) { /* by its tuple */
        const uint32_t dir = draw8() & 1;
        uint32_t naive_way;
        uint8_t way = 9;
        const struct kst_tuple tuple = e->tuple[dir];
        found = kst_find(rig.one, &tuple, &way);
        must_be("kst_find", found, naive_find(&rig.naive, &tuple, &naive_way)->tag);
        must_be("kst_find's direction", way, naive_way);
    }
    tell("kst_delete %" PRIu64 "%s", found, e == NULL ? ", which is gone" : "");
    must_be("kst_delete", kst_delete(rig.one, found), naive_delete(&rig.naive, name));
    kst_delete(rig.many, found);
}

static void step_refuse(void)
{
    batch_flush();
    clocks();
    const bool refused = kst_refuse(rig.one, &rig.last);
    tell("kst_refuse: %s", refused ? "undone" : "nothing to undo");
    must_be("kst_refuse", refused, naive_refuse(&rig.naive, &rig.last_naive));
    kst_refuse(rig.many, &rig.last);
}

static void step_flush(void)
{
    batch_flush();
    clocks();
    tell("kst_flush");
    kst_flush(rig.one);
    kst_flush(rig.many);
    naive_flush(&rig.naive);
}

static void step_mark(void)
{
    const kst_id id = draw_id();
    const uint32_t mark = draw8();
    uint8_t labels[KST_LABEL_BYTES] = {0};
    batch_flush();
    clocks();
    struct naive_entry *e = id != 0 ? naive_tagged(&rig.naive, id) : NULL;
    tell("kst_set_mark and kst_set_labels of %" PRIu64 " to %u", id, mark);
    must_be("kst_set_mark", kst_set_mark(rig.one, id, mark), e != NULL);
    kst_set_mark(rig.many, id, mark);
    if (e != NULL)
        e->mark = mark;
    labels[mark % KST_LABEL_BYTES] = (uint8_t)mark;
    const bool labelled = e != NULL && (rig.config.features & KST_WITH_LABELS);
    must_be("kst_set_labels", kst_set_labels(rig.one, id, labels), labelled);
    kst_set_labels(rig.many, id, labels);
    if (labelled)
        memcpy(e->labels, labels, sizeof labels);
}

static void step_insert(void)
{
    static const uint8_t protocols[] = {6, 6, 17, 132, 47, 136, 50, 1};
    struct kst_flow flow = {0};
    struct wire w;
    enum kst_error error = KST_ERROR_OK, naive_error_;
    const uint32_t number = draw_below(12), protocol = protocols[draw_below(sizeof protocols)];
    begin_wire(&w, number, 0, protocol == 1 && number % 3 == 2 ? 58 : protocol);
    uint8_t *l4 = w.data + w.l4_at;
    w.size += 20;
    put16(l4, naive_types(w.protocol) ? (w.protocol == 1 ? 0x0800 : 0x8000) : port_of(number, false));
    put16(l4 + 2, naive_types(w.protocol) ? 0 : port_of(number, true));
    put16(l4 + 4, port_of(number, false));
    const struct kst_packet packet = {.data = w.data, .size = w.size, .checksum = KST_CHECKSUM_IGNORE};
    struct naive_packet p;
    put16(w.data + (w.l4_at == 20 ? 2 : 4), w.l4_at == 20 ? w.size : 20);
    naive_read(&rig.naive, &packet, &p);
    flow.tuple[0] = p.tuple;
    naive_invert(&p.tuple, &flow.tuple[1]);
    const uint32_t status = draw8();
    flow.status = (uint16_t)((status & 1 ? KST_SEEN_REPLY : 0) | ((status & 3) == 3 ? KST_ASSURED : 0) |
                             (status & 16 ? KST_FIXED_TIMEOUT : 0) | (status >= 250 ? KST_EXPECTED : 0));
    flow.timeout_ms = PICK(300000, 1, 30000, 63, 64, 432000000, 100, 0);
    flow.mark = draw8();
    if (protocol == 6)
        flow.state = (uint8_t)PICK(3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0);
    if (protocol == 132)
        flow.state = (uint8_t)PICK(4, 1, 2, 3, 5, 6, 7, 8, 9, 0);
    flow.accounted = draw_chance(64);
    flow.packets[0] = draw8();
    flow.bytes[1] = draw8();
    if (!flow.accounted)
        flow.packets[0] = flow.bytes[1] = 0;
    flow.sctp_tags[0] = flow.sctp_tags[1] = protocol == 132 ? 1 : 0;
    if (protocol == 47)
        flow.gre_timeouts_s[0] = PICK(0, 5);
    flow.policy = (uint8_t)PICK(0, 0, 0, 3);

    batch_flush();
    clocks();
    const bool hidden = kst_count(rig.one) > rig.naive.count;
    if (hidden && (rig.naive.count >= rig.naive.set[0][NAIVE_MAX] || limited()))
        drain();
    const kst_id id = kst_insert(rig.one, &flow, &error);
    kst_insert(rig.many, &flow, NULL);
    tell("kst_insert protocol %u, conversation %u, status %u, state %u: %s", w.protocol, number, flow.status, flow.state,
         kst_error_text(error));
    if (error != KST_ERROR_OK && error != KST_ERROR_FULL && error != KST_ERROR_LIMIT &&
        error != KST_ERROR_FLOW_EXISTS)
        return; /* no flow at all: nothing may have happened */
    rig.naive.crowded = (hidden || few_buckets()) && error == KST_ERROR_FULL;
    const uint64_t name = naive_insert(&rig.naive, &flow, &naive_error_);
    rig.naive.crowded = false;
    must_be("kst_insert", error, naive_error_);
    if (name != 0)
        name_given(name, id);
}

static void step(void)
{
    const uint32_t kind = draw8();
    if (kind < 210)
        step_packet(kind);
    else if (kind < 226)
        step_time();
    else if (kind < 232)
        step_advance();
    else if (kind < 238)
        step_set(0);
    else if (kind < 240)
        step_set(3);
    else if (kind < 244)
        step_delete();
    else if (kind < 248)
        step_refuse();
    else if (kind < 249)
        step_flush();
    else if (kind < 252)
        step_mark();
    else
        step_insert();
}

static void begin(void)
{
    static const uint64_t starts[] = {0, 0, (UINT64_C(1) << 32) - 5000, (UINT64_C(1) << 38) - 5000, 1000000,
                                      UINT64_C(1) << 62};
    static const uint8_t orders[][KST_CLASSES] = {{0}, {1, 2, 3, 4}, {2, 1}, {1}, {3, 1, 2}, {4, 3, 2, 1}};
    static const uint32_t features[] = {KST_WITH_ACCOUNTING | KST_WITH_TIMESTAMPS | KST_WITH_LABELS, 0,
                                        KST_WITH_ACCOUNTING | KST_WITH_NAT | KST_WITH_LIMITS,
                                        KST_WITH_TIMESTAMPS | KST_WITH_LIMITS};
    memset(&rig, 0, sizeof rig);
    rig.config.max = 4 + draw8() % 8;
    rig.config.start_ms = rig.now_ms = rig.seen_ms = starts[draw_below(6)];
    memcpy(rig.config.evict, orders[draw_below(6)], sizeof rig.config.evict);
    rig.config.features = features[draw_below(4)];
    rig.batch_max = 1 + draw8() % BATCH_MAX;
    const uint32_t residence = draw8();
    for (uint32_t i = 0; i < KST_CLASSES && residence >= 128; i++)
        rig.config.residence_ms[i] = (residence >> i & 1) ? 4000u << i : 0;
    if (residence > 0 && residence < 128) { /* networks of one to four addresses */
        rig.config.source_prefix[0] = (uint8_t)(32 - residence % 3);
        rig.config.source_prefix[1] = (uint8_t)(128 - residence / 4 % 3);
    }
    rig.config.buckets = PICK(0, 1, 2, 64);
    if (draw_below(4) == 3) { /* what nobody makes use of changes nothing */
        rig.config.events = 3;
        rig.config.expectations = 4;
    }
    rig_back_ends(&rig.config, false);
    rig.bytes = kst_bytes(&rig.config);
    rig.one = rig_table(&rig.config);
    rig.many = rig_table(&rig.config);
    rig.copy = rig_table(&rig.config);
    if (draw_below(4) == 3) /* names are about to begin anew */
        rig.one->serial = rig.many->serial = UINT32_MAX - 3;
    naive_init(&rig.naive, &rig.config);
    if (rig.config.source_prefix[0] != 0 && (rig.config.features & KST_WITH_LIMITS) && residence < 32) { /* and of those each may have few */
        const uint32_t most = 1 + residence / 8;
        kst_set(rig.one, "keepstate_source_max", most);
        kst_set(rig.many, "keepstate_source_max", most);
        naive_set(&rig.naive, 0, "keepstate_source_max", most);
    }
}

static void run(const uint8_t *data, size_t size)
{
    begin();
    tell("a table of %u, %u buckets, batches of %u", rig.config.max, rig.config.buckets, rig.batch_max);
    for (uint32_t number = 0; draw_record(data, size, number); number++) {
        rig.step++;
        step();
        compare_tables();
        if (rig.step % 4 == 0)
            compare_counts();
    }
    batch_flush();
    compare_counts();
    rig_note_table(rig.one);
}

const struct fuzz_target fuzz_target = {"track", FUZZ_RECORDS, 10, 20, STEPS_MAX, run, false};
