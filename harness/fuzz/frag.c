/* SPDX-License-Identifier: MIT */
/* frag.c - property: a datagram that comes in pieces becomes what it was, and is judged as the whole one is, by a table
 * that knows no fragments, in whatever order they come, among whatever others; what becomes of each piece - held, a copy, an
 * overlap, a wrong end - is what a map of bytes says; and when the time for all is over, no memory is in use.
 *
 * Frames hold whole datagrams; their flags say how each is cut up, and are the seed of what is left to chance. A
 * frame that holds a fragment, or what cannot be cut, comes as it is: from then on only invariants are held. */
#include "rig.h"

#include "../agree/describe.h"
#include "packet.h"

enum { STEPS_MAX = 100, PIECES_MAX = 64, MANY_MAX = KST_FRAGMENTS_MAX + 16, LONG = 8 * MANY_MAX, FRAME_MAX = 4096 };
enum { IP_MAX = 65535, HEADERS_MAX = 300, MAP_MAX = IP_MAX + HEADERS_MAX, GIANT_PIECE = 8192 };

enum { /* of a frame */
    FLAG_ORDER = 3,       /* in order, backwards, anyhow, or with harm done, too */
    FLAG_AMONG = 4,       /* among the pieces of the next one */
    FLAG_SIZE = 8 | 16,   /* of the pieces */
    FLAG_ZONE = 32,
    FLAG_TRUSTED = 64,    /* nobody looks at checksums */
    FLAG_LONG = 128       /* with zeros it becomes so long that in pieces of 8 bytes these are too many, or, if these are to be
                             large, as long as a datagram can be, or a little longer */
};

struct piece {
    uint32_t begin, end;
    bool more;
    uint8_t checksum; /* enum kst_checksum: what its network card says */
    uint32_t late_ms; /* it comes so much later than the one before */
};

static struct datagram {
    uint8_t data[MAP_MAX];
    uint32_t size, id, flags, count, next;
    struct packet_layout p;
    struct piece pieces[2 * MANY_MAX];
    /* The model of what is held: to which run each byte belongs, 0 for none. */
    uint16_t run[MAP_MAX];
    uint32_t runs, last_end, end, held, fragments, joined; /* the last: bytes of the datagram that was completed */
    uint32_t touched; /* `run` is 0 behind here */
    uint64_t expires_ms;
    uint8_t checksum; /* of all that are held together */
    bool end_seen, there;
} datagrams[2];

static struct {
    struct kst *cut, *whole;
    uint64_t now_ms;
    uint32_t number; /* of datagrams so far */
    uint32_t crowd;  /* first fragments of others that are in the way of what comes late */
    bool apart;      /* the two tables have seen different things */
} rig;

static void forget(struct datagram *d)
{
    memset(d->run, 0, d->touched * sizeof d->run[0]);
    d->touched = d->runs = d->last_end = d->end = d->held = d->fragments = 0;
    d->end_seen = d->there = false;
}

/* What becomes of a piece; NONE: it completes the datagram. */
static enum kst_reason expect(struct datagram *d, const struct piece *piece)
{
    const bool v4 = d->data[0] >> 4 == 4;
    const uint32_t needed = d->p.protocol == TCP ? 20 : d->p.protocol == UDP || d->p.protocol == ICMP6 ? 8 : 1;
    uint32_t end = piece->end;
    if (!v4 && piece->begin == 0 && end < needed) /* RFC 7112 */
        return KST_REASON_FRAGMENT;
    if (piece->more && end % 8 != 0) { /* IPv4 goes without the rest, IPv6 without it all */
        end -= end % 8;
        if (!v4 || end == piece->begin) {
            forget(d);
            return v4 ? KST_REASON_FRAGMENT_BAD : KST_REASON_FRAGMENT;
        }
    }
    if (d->there && d->expires_ms <= rig.now_ms)
        forget(d);
    const bool fresh = !d->there;
    if (fresh)
        d->expires_ms = rig.now_ms + (v4 ? 30000 : 60000);
    bool all_in = true, none_in = true;
    const uint32_t run = d->run[piece->begin];
    d->there = true;
    if (piece->more ? d->end_seen && end > d->end
                    : end < d->end || (d->end_seen && end != d->end)) {
        if (v4 || fresh)
            forget(d);
        return KST_REASON_FRAGMENT_BAD;
    }
    if (end > d->end)
        d->end = end;
    d->end_seen = d->end_seen || !piece->more;
    for (uint32_t i = piece->begin; i < end; i++) {
        all_in = all_in && d->run[i] != 0 && d->run[i] == run;
        none_in = none_in && d->run[i] == 0;
    }
    if (all_in)
        return KST_REASON_FRAGMENT_COPY;
    if (!none_in) {
        forget(d);
        return KST_REASON_FRAGMENT_OVERLAP;
    }
    if (d->fragments++ == KST_FRAGMENTS_MAX) {
        forget(d);
        return KST_REASON_FRAGMENT_MANY;
    }
    if (d->fragments == 1)
        d->checksum = piece->checksum;
    else if (d->checksum != piece->checksum)
        d->checksum = d->checksum == KST_CHECKSUM_BAD || piece->checksum == KST_CHECKSUM_BAD ? KST_CHECKSUM_BAD : KST_CHECKSUM_VERIFY;
    /* Right behind all that is there, it goes on with the last run; else it begins one. */
    const bool joins = piece->begin > 0 && piece->begin == d->last_end && d->run[piece->begin - 1] != 0;
    const uint32_t own = joins ? d->run[piece->begin - 1] : ++d->runs;
    for (uint32_t i = piece->begin; i < end; i++)
        d->run[i] = (uint16_t)own;
    if (end > d->last_end)
        d->last_end = d->touched = end;
    d->held += end - piece->begin;
    if (!d->end_seen || d->held != d->end)
        return KST_REASON_FRAGMENT_HELD;
    d->joined = d->end;
    forget(d);
    return d->p.l4_at + d->joined > IP_MAX + (v4 ? 0u : 40u) ? KST_REASON_FRAGMENT_BAD : KST_REASON_NONE;
}

/* Of a whole one, and of a piece but where it is changed on its way. */
static uint8_t checksum_of(uint32_t flags)
{
    return flags & FLAG_TRUSTED ? KST_CHECKSUM_GOOD : KST_CHECKSUM_VERIFY;
}

static struct kst_result track(struct kst *t, const uint8_t *data, uint32_t size, uint32_t flags, uint8_t checksum)
{
    struct kst_packet packet = {.size = size, .zone = flags & FLAG_ZONE ? 7 : 0, .checksum = checksum};
    packet.data = fuzz_exact(data, size);
    const struct kst_result r = rig_track(t, rig.now_ms, &packet);
    fuzz_free((void *)(uintptr_t)packet.data);
    if (fuzz_telling) {
        char words[600];
        describe(data, size, words, sizeof words);
        printf("%12" PRIu64 " ms  %s: %s\n", rig.now_ms, words, kst_reason_name((enum kst_reason)r.reason));
    }
    return r;
}

static void send_piece(struct datagram *d, const struct piece *piece)
{
    uint8_t data[MAP_MAX];
    const bool v4 = d->data[0] >> 4 == 4;
    const uint32_t header = v4 ? d->p.l4_at : d->p.l4_at + 8, bytes = piece->end - piece->begin;
    memcpy(data, d->data, d->p.l4_at);
    memcpy(data + header, d->data + d->p.l4_at + piece->begin, bytes);
    if (v4) {
        put16(data + 4, d->id);
        put16(data + 6, piece->begin / 8 | (piece->more ? 0x2000u : 0));
    } else {
        uint8_t *fragment = data + d->p.l4_at;
        data[d->p.names] = 44;
        /* Of what kind it is the first one says; in others it may be said wrong (RFC 8200 §4.5). */
        fragment[0] = (uint8_t)(piece->begin == 0 || (d->id & 1) ? d->p.protocol : d->p.protocol == UDP ? TCP : UDP);
        fragment[1] = 0;
        put16(fragment + 2, piece->begin | piece->more);
        put32(fragment + 4, d->id);
    }
    put16(data + (v4 ? 2 : 4), v4 ? header + bytes : header + bytes - 40);
    if (v4) {
        put16(data + 10, 0);
        put16(data + 10, packet_fold(packet_sum(0, data, header)));
    }
    rig.now_ms += piece->late_ms;
    const enum kst_reason expected = rig.apart ? KST_REASON_NONE : expect(d, piece);
    struct kst_result r = track(rig.cut, data, header + bytes, d->flags, piece->checksum);
    rig_note_result(&r);
    if (rig.apart)
        return;
    if (r.reason == KST_REASON_FRAGMENT_FULL) { /* nobody promised memory: what is left of it is not followed */
        rig.apart = true;
        return;
    }
    if (expected == KST_REASON_NONE) {
        const uint32_t bytes_all = d->p.l4_at + d->joined; /* a piece may have lied about being the last */
        memcpy(data, d->data, bytes_all);
        put16(data + (v4 ? 2 : 4), v4 ? bytes_all : bytes_all - 40);
        if (v4) {
            put16(data + 4, d->id);
            put16(data + 6, 0);
            put16(data + 10, 0);
            put16(data + 10, packet_fold(packet_sum(0, data, d->p.l4_at)));
        }
        size_t joined_bytes;
        const uint8_t *joined = kst_datagram(rig.cut, &joined_bytes);
        fuzz_same("bytes of what was put together", joined_bytes, bytes_all);
        if (memcmp(joined, data, bytes_all) != 0)
            fuzz_fail("what was put together is not what was cut up");
        const struct kst_result whole = track(rig.whole, data, bytes_all, d->flags, d->checksum);
        fuzz_must(r.flags & KST_REASSEMBLED);
        r.flags ^= KST_REASSEMBLED;
        if (!rig_same_result(&r, &whole))
            fuzz_fail("reassembled it is %s %s, whole %s %s", kst_state_name((enum kst_state)r.state),
                      kst_reason_name((enum kst_reason)r.reason), kst_state_name((enum kst_state)whole.state),
                      kst_reason_name((enum kst_reason)whole.reason));
        fuzz_same("the connection", r.entry >> 32, whole.entry >> 32); /* the slot is the back ends' affair */
        return;
    }
    if (expected == KST_REASON_FRAGMENT) { /* judged as the packet that it is, of which the other table knows nothing */
        fuzz_must(r.verdict != KST_HOLD && !(r.flags & KST_REASSEMBLED));
        rig.apart = r.entry != 0;
        return;
    }
    fuzz_must(r.entry == 0 && r.flags == 0);
    if (r.reason != expected)
        fuzz_fail("the bytes %u to %u are %s, and the map says %s", piece->begin, piece->end,
                  kst_reason_name((enum kst_reason)r.reason), kst_reason_name(expected));
    fuzz_must(r.verdict == (expected == KST_REASON_FRAGMENT_HELD ? KST_HOLD : KST_DROP));
}

/* What happens to the pieces on their way. */
static void harm(struct datagram *d, uint64_t *random)
{
    const uint32_t most = d->size <= FRAME_MAX ? d->p.bytes + 8 : d->p.bytes;
    memset(d->data + d->size, 0, most - d->p.bytes);
    for (uint32_t times = 1 + (uint32_t)fuzz_random(random) % 3; times > 0 && d->count > 0; times--) {
        const uint32_t number = (uint32_t)fuzz_random(random) % d->count, to = (uint32_t)fuzz_random(random) % d->count;
        struct piece *piece = &d->pieces[number];
        switch (fuzz_random(random) % 8) {
        case 0: /* twice */
        case 1:
            if (d->count < 2 * MANY_MAX) {
                memmove(&d->pieces[to + 1], &d->pieces[to], (d->count - to) * sizeof *piece);
                d->pieces[to] = d->pieces[number + (to <= number)];
                d->count++;
            }
            break;
        case 2: *piece = d->pieces[--d->count]; break; /* lost */
        case 3: /* reaches into the one before */
            if (piece->begin >= 8)
                piece->begin -= 8;
            break;
        case 4: /* and into the one behind, or behind them all */
            if (piece->end + 8 <= most)
                piece->end += 8;
            break;
        case 5: piece->more = !piece->more; break;
        case 6: /* the first has not all headers; what it lacks may come by itself */
            if (piece->begin == 0 && piece->end > 16) {
                const uint32_t end = 8 + 8 * (to & 1);
                if ((fuzz_random(random) & 1) && d->count < 2 * MANY_MAX) {
                    d->pieces[d->count] = *piece;
                    d->pieces[d->count].begin = end;
                    d->count++;
                }
                piece->more = true;
                piece->end = end;
            }
            break;
        default: piece->end -= 1 + (uint32_t)fuzz_random(random) % 24; break; /* its end is lost */
        }
        const bool whole = piece->begin == 0 && !piece->more; /* that is no fragment */
        if ((int32_t)(piece->end - piece->begin) <= 0 || piece->end > most || whole)
            *piece = d->pieces[--d->count];
    }
}

/* Some come late, some are trusted otherwise, and what they carry may be wrong. */
static void change(struct datagram *d, uint64_t *random)
{
    static const uint32_t late_ms[] = {0, 29999, 30000, 59999, 60000, 1};
    const uint64_t wrong = fuzz_random(random);
    if (wrong % 4 == 0)
        d->data[d->p.l4_at + (wrong >> 8) % d->p.bytes] ^= 1;
    for (uint32_t i = 0; i < d->count; i++) {
        const uint64_t chance = fuzz_random(random);
        if (chance % 8 == 0)
            d->pieces[i].late_ms = late_ms[(chance >> 8) % 6];
        if ((chance >> 16) % 8 == 0)
            d->pieces[i].checksum = (chance >> 24) & 3;
    }
}

/* False if this cannot be cut. */
static bool cut_up(struct datagram *d, const struct fuzz_frame *frame)
{
    static const uint32_t sizes[] = {24, 64, 160, 512};
    uint64_t random = (uint64_t)frame->flags << 8 | frame->wait;
    const uint8_t *data = frame->bytes;
    if (frame->size < 40 || frame->size > FRAME_MAX || !packet_lay_out(data, frame->size, &d->p) || d->p.fragment)
        return false;
    const bool v4 = data[0] >> 4 == 4;
    d->size = v4 ? get16(data + 2) : 40 + get16(data + 4);
    if (d->size > frame->size || d->size < d->p.l4_at + 25 || d->p.l4_at > HEADERS_MAX || d->p.fragment_header ||
        (!v4 && d->p.protocol == 59))
        return false;
    memcpy(d->data, data, d->size);
    const uint32_t around = frame->wait / 8;
    const bool giant = (frame->flags & FLAG_LONG) && (frame->flags & FLAG_SIZE) == FLAG_SIZE && frame->wait % 8 == 0; /* they take long */
    const uint32_t edge = v4 ? IP_MAX - d->p.l4_at - 16 + around : (uint32_t)IP_MAX - around;
    const uint32_t longer = d->p.l4_at + (giant ? edge : LONG);
    const bool many = (frame->flags & FLAG_LONG) && !giant && d->size < longer;
    if (giant || many) {
        memset(d->data + d->size, 0, longer - d->size);
        d->size = longer;
        packet_seal(d->data, d->size, true);
    }
    d->p.bytes = d->size - d->p.l4_at;
    if (v4) {
        put16(d->data + 10, 0);
        put16(d->data + 10, packet_fold(packet_sum(0, d->data, d->p.l4_at)));
    }
    d->flags = frame->flags;
    d->id = 0x4b00 + rig.number++;
    d->count = d->next = 0;
    forget(d);
    const uint32_t wanted = sizes[frame->flags >> 3 & 3], least = (d->p.bytes / PIECES_MAX + 8) / 8 * 8;
    const uint32_t usual = many ? 8 : giant ? GIANT_PIECE : wanted > least ? wanted : least;
    for (uint32_t at = 0; at < d->p.bytes;) {
        const uint32_t step = at == 0 && usual < 24 ? 24 : usual; /* the first has all headers */
        const bool more = at + step < d->p.bytes;
        d->pieces[d->count++] = (struct piece){at, more ? at + step : d->p.bytes, more, checksum_of(frame->flags), 0};
        at = d->pieces[d->count - 1].end;
    }
    if (d->count < 2)
        return false;
    for (uint32_t i = d->count; i-- > 1;) {
        const uint32_t order = frame->flags & FLAG_ORDER;
        const uint32_t j = order == 0 ? i : order == 1 ? d->count - 1 - i : (uint32_t)fuzz_random(&random) % (i + 1);
        if (order == 1 && j >= i)
            continue;
        const struct piece piece = d->pieces[i];
        d->pieces[i] = d->pieces[j];
        d->pieces[j] = piece;
    }
    if ((frame->flags & FLAG_ORDER) == 3)
        harm(d, &random);
    if ((frame->flags & FLAG_ORDER) >= 2)
        change(d, &random);
    return d->count > 0;
}

/* Two of one identifier, which are two if any one thing more tells them apart. */
static void collide(struct datagram *d, const struct datagram *other, uint32_t how)
{
    const bool one_family = (d->data[0] ^ other->data[0]) >> 4 == 0, v4 = d->data[0] >> 4 == 4;
    const uint32_t at = v4 ? 12 : 8, bytes = v4 ? 8 : 32;
    if (one_family && (how & 1))
        memcpy(d->data + at, other->data + at, bytes);
    if (one_family && memcmp(d->data + at, other->data + at, bytes) == 0 && (!v4 || d->p.protocol == other->p.protocol))
        d->flags = (d->flags & ~(uint32_t)FLAG_ZONE) | (~other->flags & FLAG_ZONE);
    d->id = other->id;
}

/* Datagrams of which no more than the first piece comes, until there is no room. */
static void send_crowd(void)
{
    uint8_t data[300];
    for (uint32_t i = 0; i < rig.crowd; i++) {
        const uint32_t at = packet_begin(data, false, 7, 8, UDP), bytes = at + ((i + rig.number) % 3 == 0 ? 8 : 256);
        memset(data + at, 0, bytes - at);
        put16(data + 2, bytes);
        put16(data + 4, 0x100 + i);
        put16(data + 6, 0x2000);
        put16(data + 10, packet_fold(packet_sum(0, data, at)));
        const enum kst_reason reason = (enum kst_reason)track(rig.cut, data, bytes, 0, KST_CHECKSUM_VERIFY).reason;
        if (reason == KST_REASON_FRAGMENT_FULL)
            break;
        fuzz_must(reason == KST_REASON_FRAGMENT_HELD || reason == KST_REASON_FRAGMENT_COPY || reason == KST_REASON_FRAGMENT_OVERLAP);
    }
}

static void send_all(uint32_t count)
{
    uint32_t late_ms = 0;
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = datagrams[i].next; k < datagrams[i].count; k++)
            late_ms += datagrams[i].pieces[k].late_ms;
    if (late_ms >= 30000)
        send_crowd();
    for (bool some = true; some;) {
        some = false;
        for (uint32_t i = 0; i < count; i++)
            if (datagrams[i].next < datagrams[i].count) {
                send_piece(&datagrams[i], &datagrams[i].pieces[datagrams[i].next++]);
                some = true;
            }
    }
}

static void compare(void)
{
    kst_advance(rig.cut, rig.now_ms, 0); /* both know what time it is */
    kst_advance(rig.whole, rig.now_ms, 0);
    rig_check(rig.cut);
    rig_check(rig.whole);
    if (rig.apart)
        return;
    uint32_t connections[2] = {0}; /* that have not expired: which of the others are gone is each table's affair */
    for (kst_id id = kst_next(rig.whole, 0); id != 0; id = kst_next(rig.whole, id))
        connections[1]++;
    for (kst_id id = kst_next(rig.cut, 0); id != 0; id = kst_next(rig.cut, id), connections[0]++) {
        struct kst_flow a, b;
        fuzz_must(kst_get(rig.cut, id, &a));
        const kst_id other = kst_find(rig.whole, &a.tuple[KST_ORIGINAL], NULL);
        if (other >> 32 != id >> 32 || !kst_get(rig.whole, other, &b))
            fuzz_fail("a connection is not there for the whole datagrams");
        fuzz_must(memcmp(a.tuple, b.tuple, sizeof a.tuple) == 0);
        fuzz_same("state", a.state, b.state);
        fuzz_same("status", a.status, b.status);
        fuzz_same("timeout", a.timeout_ms, b.timeout_ms);
        fuzz_same("bytes", a.bytes[0], b.bytes[0]);
        fuzz_same("bytes", a.bytes[1], b.bytes[1]);
    }
    fuzz_same("connections", connections[0], connections[1]);
}

static void run(const uint8_t *data, size_t size)
{
    const uint8_t *at = data + (size < fuzz_target.head ? size : fuzz_target.head);
    struct kst_config config = {.max = 200, .features = KST_WITH_ACCOUNTING, .seed = {draw8()}};
    struct fuzz_frame frame;
    memset(&rig, 0, sizeof rig);
    const uint32_t starts = draw8();
    static const uint32_t crowds[] = {0, 0, 12, 1000};
    config.start_ms = rig.now_ms = starts & 1 ? (UINT64_C(1) << 32) - 40000 : 0;
    rig.crowd = crowds[starts >> 1 & 3];
    rig_back_ends(&config, true);
    rig.whole = rig_table(&config);
    rig_back_ends(&config, false);
    config.reassembly_bytes = KST_REASSEMBLY_MIN;
    rig.cut = rig_table(&config);
    fuzz_must(kst_set(rig.cut, "nf_conntrack_acct", 1) == KST_ERROR_OK);
    fuzz_must(kst_set(rig.whole, "nf_conntrack_acct", 1) == KST_ERROR_OK);
    uint32_t waiting = 0;
    for (uint32_t step = 0; step < STEPS_MAX && fuzz_frame_next(&at, data + size, &frame); step++) {
        if (waiting == 0)
            rig.now_ms += fuzz_wait_ms(frame.wait);
        if (cut_up(&datagrams[waiting], &frame)) {
            if (waiting == 1 && (frame.wait & 128))
                collide(&datagrams[1], &datagrams[0], frame.wait >> 6);
            waiting++;
            if (waiting == 1 && (frame.flags & FLAG_AMONG))
                continue;
            send_all(waiting);
            waiting = 0;
        } else {
            const struct kst_result r = track(rig.cut, frame.bytes, frame.size, frame.flags, checksum_of(frame.flags));
            rig_note_result(&r);
            struct packet_layout p;
            /* An IPv6 fragment header, if only of one that is all there is, counts in one table alone. */
            if (!packet_lay_out(frame.bytes, frame.size, &p) || p.fragment ||
                (frame.bytes[0] >> 4 == 6 && p.l4_at != 40) ||
                (r.reason >= KST_REASON_FRAGMENT && r.reason <= KST_REASON_FRAGMENT_FULL))
                rig.apart = true;
            const struct kst_result whole = track(rig.whole, frame.bytes, frame.size, frame.flags, checksum_of(frame.flags));
            if (!rig.apart && !rig_same_result(&r, &whole))
                fuzz_fail("what is no fragment is %s %s, and %s %s without reassembly",
                          kst_state_name((enum kst_state)r.state), kst_reason_name((enum kst_reason)r.reason),
                          kst_state_name((enum kst_state)whole.state), kst_reason_name((enum kst_reason)whole.reason));
        }
        compare();
    }
    send_all(waiting);
    compare();
    rig_note_table(rig.cut);
    rig.now_ms += 70000; /* longer than either family waits */
    while (kst_advance(rig.cut, rig.now_ms, 100) == 100)
        ;
    rig_check(rig.cut);
    fuzz_same("cells in use when all is over", kst__defrag_at(rig.cut)->cells_count, 0);
    fuzz_same("datagrams", kst__defrag_at(rig.cut)->queues_count, 0);
}

const struct fuzz_target fuzz_target = {"frag", FUZZ_PACKETS, 4, 0, STEPS_MAX, run, true};
