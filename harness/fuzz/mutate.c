/* SPDX-License-Identifier: MIT */
/* mutate.c - makes and changes inputs by what they are.
 *
 * A conversation of packets is never thought up beforehand: it grows by packets that follow from those that
 * are there - the next segment, its answer, an error about it, an attacker's guess at it - so that numbers
 * are plausible, or just wrong. Seven times in eight what was touched gets its lengths and checksums back.
 * Text is changed by the words and numbers that stand in it. All else is left to the engine. */
#define _GNU_SOURCE
#include "mutate.h"

#include "fuzz.h"
#include "packet.h"

/* Of libFuzzer, if it is there: knows the dictionary and what was compared with what. */
__attribute__((weak)) size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

enum { FRAMES_MAX = 200, PACKET_MAX = 2000 };

static uint64_t *chance;

static uint32_t any(uint32_t limit)
{
    return (uint32_t)(fuzz_random(chance) % limit);
}

static bool one_in(uint32_t times)
{
    return any(times) == 0;
}

/* A call, so that what stands among the choices is drawn before the choice, by every compiler. Two draws in one
 * expression are a bug for the same reason: C does not say which comes first. */
static uint32_t one_of(const uint32_t *choices, size_t count)
{
    return choices[any((uint32_t)count)];
}

#define ONE_OF(...)                                                                                \
    one_of((const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* ---- bytes ---- */

/* Puts `with` where `without` bytes were; false if there is no room. */
static bool splice(uint8_t *data, size_t *size, size_t max, size_t at, size_t without, const uint8_t *with, size_t bytes)
{
    if (*size - without + bytes > max)
        return false;
    memmove(data + at + bytes, data + at + without, *size - at - without);
    if (bytes > 0)
        memcpy(data + at, with, bytes);
    *size = *size - without + bytes;
    return true;
}

/* One small change that knows nothing. */
static size_t garble(uint8_t *data, size_t size, size_t max)
{
    if (LLVMFuzzerMutate != NULL && size > 0 && one_in(2))
        return LLVMFuzzerMutate(data, size, max);
    uint8_t bytes[16];
    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)any(256);
    const size_t at = size > 0 ? any((uint32_t)size) : 0;
    switch (size > 0 ? any(8) : 5) {
    case 0: data[at] ^= (uint8_t)(1 << any(8)); break;
    case 1: data[at] = bytes[0]; break;
    case 2: data[at] = (uint8_t)ONE_OF(0, 1, 127, 128, 255, data[at] + 1u, data[at] - 1u); break;
    case 3:
        if (at + 2 <= size)
            put16(data + at, ONE_OF(0, 1, 7, 8, 0xffff, 0x8000, (uint32_t)size, get16(data + at) + 1, get16(data + at) - 1));
        break;
    case 4:
        if (at + 4 <= size)
            put32(data + at, ONE_OF(0, 1, 0xffffffff, 0x80000000, 0x7fffffff, get32(data + at) + 1, get32(data + at) - 1));
        break;
    case 5: splice(data, &size, max, at, 0, bytes, 1 + any(sizeof bytes)); break;
    case 6: splice(data, &size, max, at, 1 + any((uint32_t)(size - at) < 16 ? (uint32_t)(size - at) : 16), NULL, 0); break;
    default: { /* what stands there once more */
        uint8_t copy[64];
        const size_t count = 1 + any(size - at < sizeof copy ? (uint32_t)(size - at) : (uint32_t)sizeof copy);
        memcpy(copy, data + at, count <= size - at ? count : size - at);
        splice(data, &size, max, any((uint32_t)size), 0, copy, count <= size - at ? count : size - at);
    }
    }
    return size;
}

/* ---- frames ---- */

static struct {
    uint8_t *data;
    size_t size, max, head;
    uint32_t count;
    size_t at[FRAMES_MAX + 1]; /* where each begins, and where the last ends */
} in;

static void find_frames(void)
{
    const uint8_t *at = in.data + in.head;
    struct fuzz_frame f;
    in.count = 0;
    in.at[0] = in.head;
    while (in.count < FRAMES_MAX && fuzz_frame_next(&at, in.data + in.size, &f)) {
        put16(in.data + in.at[in.count] + 2, f.size); /* the last may have been cut */
        in.at[++in.count] = (size_t)(at - in.data);
    }
    in.size = in.at[in.count];
}

static uint8_t *frame_bytes(uint32_t number)
{
    return in.data + in.at[number] + FRAME_HEAD;
}

static uint32_t frame_size(uint32_t number)
{
    return (uint32_t)(in.at[number + 1] - in.at[number] - FRAME_HEAD);
}

/* In `number`'s place, `old` frames of which go. */
static void frame_put(uint32_t number, uint32_t old, uint32_t wait, uint32_t flags, const uint8_t *bytes, uint32_t size)
{
    static uint8_t frame[FRAME_HEAD + 65536];
    frame[0] = (uint8_t)wait;
    frame[1] = (uint8_t)flags;
    put16(frame + 2, size);
    memcpy(frame + FRAME_HEAD, bytes, size);
    splice(in.data, &in.size, in.max, in.at[number], in.at[number + old] - in.at[number], frame, FRAME_HEAD + size);
    find_frames();
}

static void frames_remove(uint32_t number, uint32_t count)
{
    splice(in.data, &in.size, in.max, in.at[number], in.at[number + count] - in.at[number], NULL, 0);
    find_frames();
}

static uint32_t draw_wait(void)
{
    return one_in(3) ? any(256) : one_in(3) ? any(8) << 4 | any(16) : 0;
}

static uint32_t draw_flags(void)
{
    return one_in(fuzz_target.flags_often ? 2 : 6) ? any(256) : 0;
}

/* Frames change places, come twice, go, or come from elsewhere. */
static void shuffle_frames(const uint8_t *other, size_t other_size)
{
    static uint8_t copy[FUZZ_SIZE_MAX];
    const uint32_t number = any(in.count), to = any(in.count + 1);
    const uint32_t count = 1 + (one_in(2) ? any(in.count - number) : 0);
    const size_t bytes = in.at[number + count] - in.at[number];
    switch (any(5)) {
    case 0: /* comes twice */
        memcpy(copy, in.data + in.at[number], bytes);
        splice(in.data, &in.size, in.max, in.at[to], 0, copy, bytes);
        break;
    case 1: /* moves */
        memcpy(copy, in.data + in.at[number], bytes);
        frames_remove(number, count);
        splice(in.data, &in.size, in.max, in.at[to < in.count ? to : in.count], 0, copy, bytes);
        break;
    case 2:
        if (one_in(2))
            in.data[in.at[number]] = (uint8_t)draw_wait();
        else
            in.data[in.at[number] + 1] = (uint8_t)draw_flags();
        break;
    case 3: /* spliced */
        if (other != NULL && other_size > in.head + FRAME_HEAD) {
            const uint8_t *at = other + in.head, *from = at;
            struct fuzz_frame f;
            uint32_t skip = any(16), take = 1 + any(16);
            while (skip-- > 0 && fuzz_frame_next(&at, other + other_size, &f) && at < other + other_size)
                from = at;
            const uint8_t *end = from;
            while (take-- > 0 && fuzz_frame_next(&end, other + other_size, &f))
                ;
            splice(in.data, &in.size, in.max, in.at[to], 0, from, (size_t)(end - from));
        }
        break;
    default:
        if (in.count > 1)
            frames_remove(number, count < in.count ? count : 1);
        return;
    }
    find_frames();
}

/* ---- packets ---- */

static uint8_t made[PACKET_MAX + 1200]; /* what is put behind a packet is no more */

/* Sequence numbers that a segment uses up. */
static uint32_t segment_length(const uint8_t *l4, uint32_t bytes)
{
    const uint32_t header = (l4[12] >> 4) * 4u;
    return (bytes > header ? bytes - header : 0) + ((l4[13] & TCP_SYN) != 0) + (l4[13] & TCP_FIN);
}

/* A value, or one that is a little off, or hardly right, or just wrong. */
static uint32_t near(uint32_t value, uint32_t window)
{
    if (!one_in(4))
        return value;
    return ONE_OF(value + 1, value - 1, value + window, value + window + 1, value - window, value - window - 1,
                  value - 66000, value - 66001, value + 0x80000000, 0, value + 100, value - 100, any(UINT32_MAX));
}

static uint32_t put_chunk(uint8_t *at, uint32_t type, uint32_t flags, uint32_t bytes)
{
    memset(at, 0, bytes + 3);
    at[0] = (uint8_t)type;
    at[1] = (uint8_t)flags;
    put16(at + 2, bytes);
    return (bytes + 3) / 4 * 4;
}

/* What the port fields say, and the rest of a transport header, for a first packet. */
static uint32_t make_first(uint8_t *data)
{
    const uint32_t protocols[] = {TCP, TCP, TCP, TCP, UDP, UDP, SCTP, SCTP, ICMP, GRE, UDPLITE, any(256)};
    uint32_t protocol = protocols[any(sizeof protocols / sizeof protocols[0])];
    const bool v6 = one_in(3);
    if (protocol == ICMP && v6)
        protocol = ICMP6;
    const uint32_t from = 1 + any(3), to = 1 + any(4), at = packet_begin(data, v6, from, to, protocol);
    uint8_t *l4 = data + at;
    uint32_t bytes = 8 + any(16);
    memset(l4, 0, 64);
    put16(l4, 1000 + any(4));
    put16(l4 + 2, ONE_OF(80, 80, 21, 53, 5060, 69, 1723, 6667, 7));
    switch (protocol) {
    case TCP:
        put32(l4 + 4, ONE_OF(1000, 0xfffffff0, 0, 0x7ffffff0, any(UINT32_MAX)));
        l4[12] = 0x50;
        l4[13] = one_in(8) ? TCP_ACK : TCP_SYN;
        put16(l4 + 14, ONE_OF(8192, 65535, 0, 1, 512));
        bytes = 20;
        if (one_in(2)) {
            static const uint8_t offer[] = {2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 0, 0};
            memcpy(l4 + 20, offer, sizeof offer);
            l4[29] = (uint8_t)any(16);
            l4[12] = 0x80;
            bytes = 32;
        }
        break;
    case SCTP:
        put32(l4 + 4, 0);
        bytes = 12 + put_chunk(l4 + 12, 1, 0, 20);
        put32(l4 + 16, 1 + any(3));
        break;
    case ICMP:
    case ICMP6:
        put16(l4, v6 ? ONE_OF(0x8000, 0x8b00, 0x8000, 0x8700, any(65536)) : ONE_OF(0x0800, 0x0d00, 0x0800, 0x1100, any(65536)));
        put16(l4 + 2, 0);
        put16(l4 + 4, any(4));
        break;
    case GRE:
        put16(l4, one_in(2) ? 0x3001 : 0);
        put16(l4 + 2, 0x880b);
        put16(l4 + 6, any(3));
        break;
    default: put16(l4 + 4, bytes); break;
    }
    return at + bytes;
}

/* The packet that may follow frame `number`: of the same side, or its answer. 0 if none. */
static uint32_t make_next(uint32_t number, bool answer)
{
    const uint8_t *packet = frame_bytes(number);
    const uint32_t size = frame_size(number);
    struct packet_layout p;
    if (!packet_lay_out(packet, size, &p) || size > PACKET_MAX || p.bytes < 8)
        return 0;
    memcpy(made, packet, size);
    uint8_t *a = made + p.addresses_at, *l4 = made + p.l4_at;
    uint32_t end = size;
    if (answer) {
        uint8_t half[16];
        const uint32_t one = p.addresses_bytes / 2;
        memcpy(half, a, one);
        memmove(a, a + one, one);
        memcpy(a + one, half, one);
    }
    if (answer && (p.protocol == TCP || p.protocol == UDP || p.protocol == SCTP || p.protocol == UDPLITE)) {
        const uint32_t ports = get32(l4);
        put32(l4, ports << 16 | ports >> 16);
    }
    if (p.protocol == TCP && p.bytes >= 20) {
        const uint32_t length = segment_length(l4, p.bytes), seq = get32(l4 + 4), ack = get32(l4 + 8), was = l4[13];
        const bool begins = (was & TCP_SYN) != 0;
        uint32_t next_seq = answer ? ack : seq + length, next_ack = answer ? seq + length : ack, flags = TCP_ACK;
        if (begins && !(was & TCP_ACK) && answer) { /* an answer to a SYN: a number of its own */
            flags = TCP_SYN | TCP_ACK;
            next_seq = ONE_OF(5000, 0xfffffff0, 0, any(UINT32_MAX));
        } else if (begins && !answer) {
            flags = was;
            next_seq = seq;
        } else if (one_in(4)) {
            flags = ONE_OF(TCP_ACK | TCP_FIN, TCP_RST, TCP_RST | TCP_ACK, TCP_SYN, TCP_SYN | TCP_ACK, TCP_ACK | TCP_PSH, any(256));
        }
        l4[12] = 0x50;
        l4[13] = (uint8_t)flags;
        put32(l4 + 4, near(next_seq, 8192));
        put32(l4 + 8, near(next_ack, 8192));
        put16(l4 + 14, one_in(4) ? ONE_OF(0, 1, 65535, 100, 512) : 8192);
        end = p.l4_at + 20;
        if ((flags & TCP_SYN) && one_in(2)) {
            static const uint8_t offer[] = {2, 4, 5, 180, 4, 2, 1, 3, 3, 2, 0, 0};
            memcpy(made + end, offer, sizeof offer);
            if (one_in(4))
                made[end + 9] = (uint8_t)ONE_OF(0, 7, 14, 15, 255);
            l4[12] = 0x80;
            end += sizeof offer;
        } else if (one_in(12)) { /* a selective acknowledgement */
            static const uint8_t sack[] = {1, 1, 5, 10};
            memcpy(made + end, sack, sizeof sack);
            if (one_in(8))
                made[end + 3] = (uint8_t)ONE_OF(7, 8, 9, 11); /* of blocks that are not whole */
            put32(made + end + 4, near(next_ack, 100));
            put32(made + end + 8, near(next_ack + 10, 8192));
            l4[12] = 0x80;
            end += 12;
        }
        if (!(flags & TCP_SYN) && one_in(3)) {
            const uint32_t bytes = ONE_OF(1, 10, 100, 1000);
            memset(made + end, 'x', bytes);
            end += bytes;
        }
    } else if (p.protocol == SCTP && p.bytes >= 16) {
        static const uint8_t follows[][2] = {{1, 2}, {2, 10}, {10, 11}, {11, 0}, {0, 3}, {7, 8}, {8, 14}, {4, 5}};
        uint32_t type = ONE_OF(0, 3, 4, 5, 6, 7, 8, 9, 14, 1, 2, 10, 11), tag = get32(l4 + 4);
        for (uint32_t i = 0; i < 8 && !one_in(4); i++)
            if (follows[i][0] == l4[12])
                type = follows[i][1];
        if (answer && (l4[12] == 1 || l4[12] == 2) && p.bytes >= 20)
            tag = get32(l4 + 16);
        else if (one_in(4))
            tag = any(4);
        put32(l4 + 4, type == 1 ? 0 : tag);
        end = p.l4_at + 12;
        for (uint32_t chunks = one_in(6) ? 2 + any(2) : 1; chunks > 0; chunks--) {
            const uint32_t bytes = type == 1 || type == 2 ? 20 : ONE_OF(4, 8, 17);
            uint8_t *chunk = made + end;
            end += put_chunk(chunk, type, one_in(8), bytes);
            put32(chunk + 4, 1 + any(3));
            type = any(15);
        }
    } else if ((p.protocol == ICMP || p.protocol == ICMP6) && answer) {
        const uint32_t type = l4[0];
        l4[0] = (uint8_t)(p.protocol == ICMP6 ? (type == 128 ? 129 : type == 129 ? 128 : type == 139 ? 140 : type ^ 1)
                          : type == 8 ? 0 : type == 0 ? 8 : type == 13 ? 14 : type ^ 1);
    } else if (p.protocol == GRE && one_in(4)) {
        put16(l4 + 6, any(3));
    }
    packet_seal(made, end, true);
    return end;
}

/* An ICMP error about frame `number`, from a router to its sender. 0 if it can't be. */
static uint32_t make_error(uint32_t number)
{
    const uint8_t *packet = frame_bytes(number);
    uint32_t size = frame_size(number);
    struct packet_layout p;
    if (!packet_lay_out(packet, size, &p))
        return 0;
    const bool v6 = packet[0] >> 4 == 6;
    if (size > 1200 || one_in(4))
        size = p.l4_at + (p.bytes < 8 ? p.bytes : 8);
    if (size > PACKET_MAX) /* nothing but extension headers */
        return 0;
    const uint32_t at = packet_begin(made, v6, 9, 1, v6 ? ICMP6 : ICMP);
    uint8_t *l4 = made + at;
    const uint32_t half = p.addresses_bytes / 2;
    memcpy(made + p.addresses_at + half, packet + p.addresses_at, half);
    if (one_in(6))
        made[p.addresses_at + half + any(half)] ^= 2;
    memset(l4, 0, 8);
    l4[0] = (uint8_t)(v6 ? ONE_OF(1, 2, 3, 4, 127) : ONE_OF(3, 11, 12, 4, 5));
    l4[1] = (uint8_t)ONE_OF(0, 1, 4);
    memcpy(l4 + 8, packet, size);
    packet_seal(made, at + 8 + size, true);
    return at + 8 + size;
}

/* What somebody sends who sees the addresses, and guesses at the rest. */
static uint32_t make_attack(uint32_t number)
{
    const uint32_t size = make_next(number, one_in(2));
    struct packet_layout p;
    if (size == 0 || !packet_lay_out(made, size, &p))
        return 0;
    uint8_t *l4 = made + p.l4_at;
    switch (p.protocol) {
    case TCP:
        if (p.bytes < 20)
            return 0;
        l4[13] = (uint8_t)ONE_OF(TCP_RST, TCP_SYN, TCP_RST | TCP_ACK, TCP_ACK, TCP_SYN | TCP_ACK, TCP_FIN | TCP_ACK);
        {
            const uint32_t seq = get32(l4 + 4), off = any(65536), anywhere = any(UINT32_MAX);
            put32(l4 + 4, ONE_OF(0, seq + off, seq - off, anywhere));
        }
        if (one_in(2))
            put32(l4 + 8, any(UINT32_MAX));
        break;
    case SCTP:
        if (p.bytes < 16)
            return 0;
        l4[12] = (uint8_t)ONE_OF(6, 1, 4, 9, 14, 15); /* ABORT, INIT, HEARTBEAT; beyond the table */
        l4[13] = (uint8_t)any(2);
        put32(l4 + 4, ONE_OF(0, 1, any(UINT32_MAX)));
        break;
    default: {
        const uint32_t at = any(p.bytes < 8 ? p.bytes : 8);
        l4[at] ^= (uint8_t)(1 << any(8));
    }
    }
    packet_seal(made, size, true);
    return size;
}

/* One field of one packet. */
static void touch_packet(uint32_t number)
{
    uint32_t size = frame_size(number);
    struct packet_layout p;
    memcpy(made, frame_bytes(number), size < PACKET_MAX ? size : (size = PACKET_MAX));
    bool lengths = !one_in(8);
    if (!packet_lay_out(made, size, &p) || p.bytes < 8 || one_in(5)) {
        size = (uint32_t)garble(made, size, PACKET_MAX);
    } else {
        uint8_t *l4 = made + p.l4_at;
        const bool v6 = made[0] >> 4 == 6;
        const uint32_t what = any(p.protocol == TCP && p.bytes >= 20 ? 14 : 8), where = any(p.addresses_bytes);
        switch (what) {
        case 0: made[p.addresses_at + where] ^= (uint8_t)ONE_OF(1, 2, 3, 128); break;
        case 1: put16(l4 + 2 * (where & 1), ONE_OF(0, 21, 69, 80, 1723, 5060, 6667, any(65536))); break;
        case 2: made[v6 ? 6 : 9] = (uint8_t)ONE_OF(TCP, UDP, ICMP, ICMP6, SCTP, GRE, UDPLITE, 0, 43, 44, 51, 59, 60, any(256)); break;
        case 3: size = p.l4_at + any(p.bytes + 1); break;
        case 4: /* options, extension headers */
            if (!v6 && made[0] == 0x45) {
                static const uint8_t nop[4] = {1, 1, 1, 0};
                size_t longer = size;
                splice(made, &longer, PACKET_MAX, 20, 0, nop, 4);
                size = (uint32_t)longer;
                made[0] = 0x46;
            } else if (v6) {
                uint8_t header[8] = {made[6], 0};
                const uint32_t kind = ONE_OF(0, 43, 44, 51, 60);
                size_t longer = size;
                if (kind == 44)
                    put16(header + 2, ONE_OF(0, 1, 8, 6));
                splice(made, &longer, PACKET_MAX, 40, 0, header, 8);
                size = (uint32_t)longer;
                made[6] = (uint8_t)kind;
            }
            break;
        case 5: /* a fragment */
            if (!v6)
                put16(made + 6, ONE_OF(0x2000, 0x2001, 1, 0x4000, any(0x4000)));
            break;
        case 6: size = p.l4_at + (uint32_t)garble(l4, p.bytes, PACKET_MAX - p.l4_at); break;
        case 7: lengths = false, put16(made + (v6 ? 4 : 2), ONE_OF(0, 20, size - 1, size + 1, 40, 65535)); break;
        case 8: l4[13] = (uint8_t)ONE_OF(TCP_SYN, TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST, TCP_RST | TCP_ACK, TCP_SYN | TCP_ACK, l4[13] ^ 1u << any(8)); break;
        case 9: put32(l4 + 4, near(get32(l4 + 4) + any(3), get16(l4 + 14))); break;
        case 10: put32(l4 + 8, near(get32(l4 + 8) + any(3), 8192)); break;
        case 11: put16(l4 + 14, ONE_OF(0, 1, 512, 8192, 65535)); break;
        case 12: l4[12] = (uint8_t)(any(16) << 4); break;
        default: { /* one more option, with room for it */
            static const uint8_t options[][4] = {{1, 1, 1, 0}, {3, 3, 14, 0}, {3, 3, 255, 0}, {2, 4, 1, 0}, {4, 2, 1, 1}, {5, 2, 1, 1}, {8, 0, 1, 1}, {254, 4, 0, 0},
                                                 {3, 2, 1, 1}, {3, 4, 1, 1}};
            size_t longer = size;
            if (l4[12] >> 4 < 15 && splice(made, &longer, PACKET_MAX, p.l4_at + 20, 0, options[any(sizeof options / 4)], 4))
                l4[12] = (uint8_t)(l4[12] + 0x10);
            size = (uint32_t)longer;
        }
        }
    }
    if (!one_in(8))
        packet_seal(made, size, lengths);
    frame_put(number, 1, in.data[in.at[number]], in.data[in.at[number] + 1], made, size);
}

/* Frame `number` in pieces. */
static void cut_up(uint32_t number)
{
    static uint8_t whole[65536];
    const uint32_t size = frame_size(number), wait = in.data[in.at[number]], flags = in.data[in.at[number] + 1];
    struct packet_layout p;
    memcpy(whole, frame_bytes(number), size);
    if (size > PACKET_MAX || !packet_lay_out(whole, size, &p) || p.fragment || p.bytes <= 8)
        return;
    const bool v6 = whole[0] >> 4 == 6;
    const uint32_t header = v6 ? p.l4_at + 8 : p.l4_at, step = 8 * (1 + any(1 + p.bytes / 8)), id = any(3);
    uint32_t put = 0;
    for (uint32_t at = 0; at < p.bytes && put < 16; at += step, put++) {
        const bool more = at + step < p.bytes;
        const uint32_t bytes = more ? step : p.bytes - at;
        memcpy(made, whole, p.l4_at);
        memcpy(made + header, whole + p.l4_at + at, bytes);
        if (v6 && p.l4_at == 40) {
            made[6] = 44;
            made[40] = (uint8_t)p.protocol;
            made[41] = 0;
            put16(made + 42, at | more);
            put32(made + 44, id);
        } else if (v6) {
            return;
        } else {
            put16(made + 4, id);
            put16(made + 6, at / 8 | (more ? 0x2000 : 0));
        }
        packet_seal(made, header + bytes, true);
        frame_put(number + put, put == 0, put == 0 ? wait : 0, flags, made, header + bytes);
        if (number + put >= in.count)
            return;
    }
}

static void change_packets(const uint8_t *other, size_t other_size)
{
    if (in.count == 0 || one_in(12)) {
        const uint32_t size = make_first(made), number = any(in.count + 1), wait = draw_wait();
        packet_seal(made, size, true);
        frame_put(number, 0, wait, draw_flags(), made, size);
        return;
    }
    const uint32_t number = one_in(2) ? in.count - 1 : any(in.count), choice = any(20);
    uint32_t size = 0;
    if (choice < 7)
        size = make_next(number, choice < 4);
    else if (choice == 7)
        size = make_error(number);
    else if (choice == 8)
        size = make_attack(number);
    else if (choice < 13)
        touch_packet(number);
    else if (choice == 13)
        cut_up(number);
    else if (choice == 14)
        in.data[in.at[number] + 1] = (uint8_t)(one_in(2) ? 0 : any(256));
    else
        shuffle_frames(other, other_size);
    if (size > 0 && size <= PACKET_MAX) {
        const uint32_t to = one_in(6) ? any(in.count + 1) : number + 1, wait = draw_wait();
        frame_put(to, 0, wait, draw_flags(), made, size);
    }
}

/* ---- text ---- */

/* Lines of each helper's protocol, in the order of KST_HELPERS; one target reads them all. */
struct line {
    bool reply; /* the server says it */
    const char *text;
};
static const struct line ftp_lines[] = {
    {1, "220 ready\r\n"}, {0, "USER joe\r\n"}, {0, "PORT 10,0,0,1,4,1\r\n"}, {0, "EPRT |1|10.0.0.1|1025|\r\n"}, {0, "EPRT |2|fd00::1|1025|\r\n"},
    {1, "227 Entering Passive Mode (10,0,0,2,4,1)\r\n"}, {1, "229 Entering Extended Passive Mode (|||1025|)\r\n"},
    {0, "PORT 10,0,0,9,0,0\r\n"}, {1, "227 =10,0,0,2,4,1\r\n"}, {0, "PASV\r\n"}, {0, "EPSV\r\n"}};
static const struct line irc_lines[] = {
    {0, "NICK joe\r\n"}, {0, "PRIVMSG joe :\1DCC SEND file 167772161 1025 1234\1\r\n"}, {0, "PRIVMSG joe :\1DCC CHAT chat 167772161 1025\1\r\n"},
    {0, "PRIVMSG joe :\1DCC MOVE x 167772161 1 2\1\r\n"}, {0, "PRIVMSG joe :\1DCC TSEND x 167772162 1 2\1\r\n"}, {0, "PRIVMSG joe :\1DCC CHAT c 167772161 1\n"},
    {1, ":joe!j@x PRIVMSG ann :\1PING 1\1\r\n"}};
static const struct line sip_lines[] = {
    {0, "INVITE sip:a@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060\r\nFrom: <sip:b@10.0.0.1>\r\nTo: <sip:a@10.0.0.2>\r\n"
     "Call-ID: 1@x\r\nCSeq: 1 INVITE\r\nContact: <sip:b@10.0.0.1:5060>\r\nContent-Type: application/sdp\r\nContent-Length: 91\r\n\r\n"
     "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 31\r\n"},
    {1, "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060\r\nCSeq: 1 INVITE\r\nCall-ID: 1@x\r\nContact: <sip:a@10.0.0.2>\r\nContent-Length: 66\r\n\r\n"
     "v=0\r\no=- 1 1 IN IP4 10.0.0.2\r\ns=-\r\nc=IN IP4 10.0.0.2\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n"},
    {0, "UPDATE sip:a@x SIP/2.0\r\nCSeq: 2 UPDATE\r\nContent-Length: 0\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP6 fd00::1\r\nm=image 4004 udptl t38\r\n"
     "c=IN IP6 fd00::1\r\n"},
    {0, "INVITE sip:a@x SIP/2.0\r\nCSeq: 3 INVITE\r\nContent-Length: 0\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.1\r\nm=video 4002 RTP/AVP 31\r\n"},
    {0, "INVITE sip:a@y SIP/2.0\r\nCSeq: 4 INVITE\r\nContent-Length: 0\r\n\r\nv=0\r\nc=IN IP4 10.0.0.1\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 10.0.0.9\r\n"
     "m=video 4002 RTP/AVP 31\r\n"},
    {1, "SIP/2.0 486 Busy Here\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"},
    {0, "REGISTER sip:10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1:5060\r\nCall-ID: 2@x\r\nCSeq: 1 REGISTER\r\n"
     "Contact: <sip:b@10.0.0.1:5060>;expires=60\r\nExpires: 100\r\nContent-Length: 0\r\n\r\n"},
    {1, "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5060\r\nCSeq: 1 REGISTER\r\nCall-ID: 2@x\r\nContact: <sip:b@10.0.0.1:5060>;expires=60\r\n"
     "Expires: 60\r\nContent-Length: 0\r\n\r\n"},
    {0, "BYE sip:a@10.0.0.2 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1\r\ni: 1@x\r\nCSeq: 2 BYE\r\nl: 0\r\n\r\n"},
    {0, "BYE sip:a@10.0.0.2 SIP/2.0\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n"}};
#define LINES(lines) {lines, sizeof lines / sizeof lines[0]}
static const struct {
    const struct line *lines;
    size_t count;
} helper_lines[] = {LINES(ftp_lines), LINES(irc_lines), {NULL, 0}, LINES(sip_lines), {NULL, 0}};
enum { HELPERS = 5, PPTP = 2, SIP = 3, TFTP = 4 };

static const char *const words[] = {
    "PORT ", "EPRT ", "227 ", "229 ", "PRIVMSG ", "\1DCC ", "SEND ", "CHAT ", "10,0,0,1,", "10.0.0.1", "10.0.0.2", "fd00::1", "::",
    "167772161", "Contact: ", "m: ", "Content-Length: ", "l: ", "CSeq: 1 ", "INVITE", "REGISTER", "BYE", "c=IN IP4 ", "c=IN IP6 ",
    "m=audio ", "m=image ", "sip:", ";maddr=", ";transport=tcp", ";expires=", "Expires: ", "a=", "SIP/2.0 ", "\r\n", "\r\n\r\n", "\n", "\r",
    "|", "|||", "0", "-1", "65535", "65536", "4294967295", "4294967296", "4294967328", "18446744073709551616", "256", "1", "[", "]",
    "nf_conntrack_max", "nf_conntrack_", "_timeout_", "tcp", "udp", "src=", "dst=", "sport=", "[ASSURED]", "set ", "pkt > ", "wait ",
    "case ", "is ", "ct ", "zone ", "\xd4\xc3\xb2\xa1", "\x0a\x0d\x0d\x0a"};
enum { WORDS = sizeof words / sizeof words[0] };

/* What texts are made of, by kind (text.c): the first begins one. */
#define SAY(text) {text, sizeof(text) - 1}
enum { TEXTS = 5, SENTENCES = 5 };
static const struct sentence {
    const char *text;
    size_t bytes;
} sentences[TEXTS][SENTENCES] = {
    {SAY("nf_conntrack_max 8\n"), SAY("nf_conntrack_acct = 1\n"), SAY("nf_conntrack_udp_timeout 30 1\n"),
     SAY("nf_conntrack_tcp_timeout_established 600\n"), SAY("nf_conntrack_tcp_be_liberal\t1\n")},
    {SAY("ipv4     2 tcp      6 300 ESTABLISHED src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1 "
         "[ASSURED] mark=0 zone=0\n"),
     SAY("ipv6     10 udp      17 30 src=fd00::1 dst=fd00::2 sport=1 dport=2 packets=1 bytes=40 [UNREPLIED] src=fd00::2 dst=fd00::1 "
         "sport=2 dport=1 packets=0 bytes=0 mark=1 zone=1\n"),
     SAY("ipv4     2 icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=1\n"),
     SAY("sctp     132 100 COOKIE_WAIT src=10.0.0.1 dst=10.0.0.2 sport=1 dport=2 zone-orig=1 src=10.0.0.2 dst=10.0.0.1 sport=2 dport=1\n"),
     SAY("gre      47 179 src=10.0.0.1 dst=10.0.0.2 srckey=0x1 dstkey=0x2 src=10.0.0.2 dst=10.0.0.1 srckey=0x2 dstkey=0x1 helper=pptp\n")},
    {SAY("192.0.2.1\n"), SAY("fd00::1:2\n"), SAY("2001:db8:1:2:3:4:5:6\n"), SAY("::ffff:192.0.2.1\n"), SAY("1::\n")},
    {SAY("case one\n"), SAY("pkt > 4500001c00000000400166df0a0000010a0000020800f7fd00010001\nis new original\n"),
     SAY("wait 100\n"), SAY("set nf_conntrack_max=8\n"),
     SAY("ct ipv4 2 icmp 1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=1 [UNREPLIED] src=10.0.0.2 dst=10.0.0.1 type=0 code=0 id=1\n")},
    {SAY("\xd4\xc3\xb2\xa1\2\0\4\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x65\0\0\0"), /* IP without a link's header */
     SAY("\1\0\0\0\0\0\0\0\34\0\0\0\34\0\0\0E\0\0\34\0\0\0\0@\1\0\0\12\0\0\1\12\0\0\2\10\0\0\0\0\1\0\1"),
     SAY("\2\0\0\0\0\0\0\0\24\0\0\0\50\0\0\0E\0\0\50\0\0\0\0@\21\0\0\12\0\0\1\12\0\0\2"),
     SAY("\3\0\0\0\0\0\0\0\4\0\0\0\4\0\0\0\140\0\0\0"), SAY("\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")}};

/* A PPTP control message (RFC 2637): header, type, what it says. It may be what follows `before`, if that is one. */
static uint32_t make_pptp(uint8_t *at, bool *reply, const uint8_t *before, uint32_t before_bytes)
{
    static const uint8_t bytes[16] = {0, 156, 156, 16, 16, 16, 20, 168, 32, 220, 24, 28, 16, 148, 40, 24};
    static const uint8_t next[16] = {1, 2, 7, 4, 1, 6, 5, 8, 9, 10, 11, 12, 13, 7, 8, 15};
    const uint16_t servers = 1 << 2 | 1 << 4 | 1 << 8 | 1 << 9 | 1 << 11 | 1 << 13;
    uint32_t type = one_in(8) ? any(18) : ONE_OF(1, 2, 7, 8, 7, 8, 9, 10, 11, 12, 13, 15);
    if (before_bytes == 0 && one_in(2))
        type = 1;
    const bool follows = before_bytes > 9 && before[9] < 16 && !one_in(4);
    if (follows)
        type = next[before[9]];
    const uint32_t size = bytes[type % 16] > 0 ? bytes[type % 16] : 12;
    *reply = servers >> type & 1;
    memset(at, 0, size);
    put16(at, one_in(16) ? any(300) : size);
    put16(at + 2, one_in(16) ? any(3) : 1);
    put32(at + 4, 0x1a2b3c4d);
    put16(at + 8, type);
    if (type < 3) { /* version, result */
        at[12] = 1;
        at[14] = (uint8_t)(1 + one_in(8));
    } else {
        put16(at + 12, 1 + one_in(4)); /* a call */
        put16(at + 14, 1 + one_in(4)); /* the other's */
        if (follows && before_bytes > 14 && !one_in(8))
            memcpy(at + (type == 11 ? 12 : 14), before + 12, 2);
        at[16] = (uint8_t)(1 + one_in(8));
    }
    return !one_in(12) ? size : one_in(2) ? any(size + 1) : size < 13 ? size : ONE_OF(9, 10, 11, 12, 13, size - 1, size - 2);
}

/* `*reply`: the server says it. */
static uint32_t make_message(uint32_t helper, uint8_t *at, bool *reply, const uint8_t *before, uint32_t before_bytes)
{
    helper %= HELPERS;
    *reply = false;
    if (helper == PPTP)
        return make_pptp(at, reply, before, before_bytes);
    if (helper == TFTP) {
        memcpy(at, "\0\1file\0octet\0", 13);
        at[1] = (uint8_t)ONE_OF(1, 2, 1, 3, 0, 5);
        return one_in(8) ? any(14) : 13;
    }
    const bool follow = one_in(2);
    const struct line *lines = helper_lines[helper].lines, *line = &lines[any((uint32_t)helper_lines[helper].count)];
    for (size_t i = 0; i + 1 < helper_lines[helper].count && before != NULL && follow; i++)
        if (before_bytes >= strlen(lines[i].text) / 2 && memcmp(before, lines[i].text, strlen(lines[i].text) / 2) == 0)
            line = &lines[i + 1]; /* often its answer */
    *reply = line->reply;
    memcpy(at, line->text, strlen(line->text));
    return (uint32_t)strlen(line->text);
}

/* Says how long the body of a SIP message is, or nearly. */
static size_t seal_message(uint8_t *data, size_t size, size_t max)
{
    static const char name[] = "Content-Length: ";
    const uint8_t *length = memmem(data, size, name, sizeof name - 1), *body = memmem(data, size, "\r\n\r\n", 4);
    char number[24];
    if (length == NULL || body == NULL)
        return size;
    const size_t at = (size_t)(length - data) + sizeof name - 1;
    size_t end = at;
    while (end < size && data[end] >= '0' && data[end] <= '9')
        end++;
    const uint64_t bytes = size - (uint64_t)(body - data) - 4, wrong[] = {bytes + 1, bytes - 1, bytes + (UINT64_C(1) << 32)};
    snprintf(number, sizeof number, "%" PRIu64, one_in(16) ? wrong[any(3)] : bytes);
    splice(data, &size, max, at, end - at, (const uint8_t *)number, strlen(number));
    return size;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Changes a word, a number, a line. */
static size_t touch_text(uint8_t *data, size_t size, size_t max)
{
    const size_t at = size > 0 ? any((uint32_t)size) : 0;
    char number[32];
    size_t begin = at, end;
    switch (any(8)) {
    case 0:
    case 1: { /* the number nearest behind */
        while (begin < size && !is_digit(data[begin]))
            begin++;
        for (end = begin; end < size && is_digit(data[end]);)
            end++;
        memset(number, 0, sizeof number);
        memcpy(number, data + begin, end - begin < sizeof number ? end - begin : 0);
        const uint64_t was = strtoull(number, NULL, 10);
        if (one_in(3)) { /* near what it was */
            const uint64_t close[] = {was + 1, was - 1, was + 2, was * 2, was + (UINT64_C(1) << 32), was + (1 << 16)};
            snprintf(number, sizeof number, "%" PRIu64, close[any(6)]);
        } else {
            snprintf(number, sizeof number, "%" PRIu64, one_in(3) ? (uint64_t)any(65536) : one_in(2) ? fuzz_random(chance) :
                     (uint64_t)ONE_OF(0, 1, 255, 256, 65535, 65536, 0x7fffffff, 0xffffffff, 10, 167772161));
        }
        splice(data, &size, max, begin, end - begin, (const uint8_t *)number, strlen(number));
        break;
    }
    case 2:
    case 3: {
        const char *word = words[any(WORDS)];
        splice(data, &size, max, at, 0, (const uint8_t *)word, strlen(word));
        break;
    }
    case 4: /* a line twice, or gone */
        while (begin > 0 && data[begin - 1] != '\n')
            begin--;
        for (end = at; end < size && data[end++] != '\n';)
            ;
        if (one_in(2))
            splice(data, &size, max, begin, end - begin, NULL, 0);
        else if (end - begin < 1000) {
            uint8_t copy[1000];
            memcpy(copy, data + begin, end - begin);
            splice(data, &size, max, begin, 0, copy, end - begin);
        }
        break;
    case 5:
        if (at < size && ((data[at] | 32) >= 'a' && (data[at] | 32) <= 'z'))
            data[at] ^= 32;
        break;
    case 6:
        if (at < size)
            data[at] = (uint8_t)ONE_OF(' ', '\r', '\n', ',', '.', ':', '|', '(', 0, 1, '\t', ';', '@', '=');
        break;
    default: size = garble(data, size, max); break;
    }
    return size;
}

/* Who says a message, seldom the wrong one; and some of what else may be about it. */
static uint32_t draw_message_flags(bool reply)
{
    uint32_t flags = reply ^ one_in(12);
    while (one_in(3))
        flags |= 2u << any(7);
    return flags;
}

enum { COME = 16, OTHER = 64 }; /* of a message's flags: who is expected comes; on another connection */

/* The last message on a connection among the first `number`; -1: there is none. */
static int last_on(uint32_t number, uint32_t connection)
{
    int last = (int)number - 1;
    while (last >= 0 && (in.data[in.at[last] + 1] & OTHER) != connection)
        last--;
    return last;
}

/* One message more, behind the first `number`. */
static void add_message(uint32_t number)
{
    static uint8_t message[FUZZ_SIZE_MAX];
    const uint32_t helper = in.head > 0 ? in.data[0] : 0;
    uint32_t connection = number > 0 ? in.data[in.at[number - 1] + 1] & OTHER : 0; /* the same for a while */
    if (one_in(8))
        connection ^= OTHER;
    bool reply;
    const int last = last_on(number, connection);
    const uint8_t *before = last < 0 ? NULL : frame_bytes((uint32_t)last);
    uint32_t size = make_message(helper, message, &reply, before, last < 0 ? 0 : frame_size((uint32_t)last));
    if (helper % HELPERS == SIP)
        size = (uint32_t)seal_message(message, size, 4000);
    uint32_t flags = (draw_message_flags(reply) & ~(uint32_t)OTHER) | connection;
    if (one_in(6))
        flags |= COME;
    frame_put(number, 0, draw_wait(), flags, message, size);
}

static void change_messages(const uint8_t *other, size_t other_size)
{
    static uint8_t message[FUZZ_SIZE_MAX];
    const uint32_t helper = in.head > 0 ? in.data[0] : 0, choice = any(10);
    if (in.count == 0 || choice < 3) {
        add_message(one_in(3) ? any(in.count + 1) : in.count);
        return;
    }
    const uint32_t number = any(in.count), size = frame_size(number);
    const uint32_t wait = in.data[in.at[number]], flags = in.data[in.at[number] + 1];
    memcpy(message, frame_bytes(number), size);
    if (choice < 6) {
        size_t bytes = touch_text(message, size, 4000);
        if (helper % HELPERS == SIP && !one_in(8))
            bytes = seal_message(message, bytes, 4000);
        frame_put(number, 1, wait, flags, message, (uint32_t)bytes);
    } else if (choice == 6 && size > 1) { /* in two */
        const uint32_t cut = any(size);
        frame_put(number, 1, wait, flags, message, cut);
        if (number < in.count)
            frame_put(number + 1, 0, 0, flags, message + cut, size - cut);
    } else if (choice == 7 && number + 1 < in.count && size + frame_size(number + 1) < 4000) { /* in one */
        memcpy(message + size, frame_bytes(number + 1), frame_size(number + 1));
        frame_put(number, 2, wait, flags, message, size + frame_size(number + 1));
    } else if (choice == 8) {
        in.data[in.at[number] + 1] ^= (uint8_t)(1 << any(8));
    } else {
        shuffle_frames(other, other_size);
    }
}

/* ---- records ---- */

static void change_records(const uint8_t *other, size_t other_size)
{
    uint8_t copy[64];
    const size_t record = fuzz_target.record;
    const uint32_t count = (uint32_t)((in.size - in.head) / record);
    if (count == 0 || one_in(6)) {
        const uint32_t plain = any(4);
        for (size_t i = 0; i < record; i++)
            copy[i] = (uint8_t)(any(4) < plain ? 0 : any(256));
        copy[0] = count > 0 && one_in(2) ? in.data[in.head + any(count) * record] : (uint8_t)any(256); /* as another does */
        splice(in.data, &in.size, in.max, in.head + any(count + 1) * record, 0, copy, record);
        return;
    }
    const size_t at = in.head + any(count) * record, to = in.head + any(count) * record;
    const uint32_t run = 1 + any(8);
    switch (any(7)) {
    case 0: /* once more, some times */
        memcpy(copy, in.data + at, record);
        for (uint32_t i = 0; i < run; i++)
            splice(in.data, &in.size, in.max, to, 0, copy, record);
        break;
    case 1: splice(in.data, &in.size, in.max, at, (in.size - at) / record < run ? record : run * record, NULL, 0); break;
    case 2: /* elsewhere */
        memcpy(copy, in.data + at, record);
        splice(in.data, &in.size, in.max, at, record, NULL, 0);
        splice(in.data, &in.size, in.max, to <= in.size ? to : at, 0, copy, record);
        break;
    case 3: /* from elsewhere */
        if (other != NULL && other_size >= in.head + record) {
            const uint32_t there = (uint32_t)((other_size - in.head) / record), first = any(there);
            const uint32_t take = there - first < run ? there - first : run;
            splice(in.data, &in.size, in.max, to, 0, other + in.head + first * record, take * record);
        }
        break;
    default: { /* one choice */
        const uint32_t choice = any((uint32_t)record);
        in.data[at + choice] = (uint8_t)(one_in(4) ? ONE_OF(0, 255, 128) : any(256));
    }
    }
}

/* ---- all of it ---- */

static void change_once(const uint8_t *other, size_t other_size)
{
    if (in.head > 0 && one_in(20)) {
        const uint32_t at = any((uint32_t)in.head);
        in.data[at] = (uint8_t)(one_in(2) ? any(8) : any(256));
        return;
    }
    switch (fuzz_target.shape) {
    case FUZZ_RECORDS: change_records(other, other_size); break;
    case FUZZ_PACKETS: change_packets(other, other_size); break;
    case FUZZ_MESSAGES: change_messages(other, other_size); break;
    case FUZZ_TEXT: in.size = in.head + touch_text(in.data + in.head, in.size - in.head, in.max - in.head); break;
    case FUZZ_PACKET: { /* as a conversation of one, which may be seen to go on */
        static uint8_t frames[FUZZ_SIZE_MAX];
        uint8_t *data = in.data;
        const size_t max = in.max, head = in.head, size = in.size - head < PACKET_MAX ? in.size - head : PACKET_MAX;
        in.data = frames;
        in.head = 0;
        in.max = sizeof frames;
        in.size = FRAME_HEAD + size;
        memset(frames, 0, FRAME_HEAD);
        put16(frames + 2, (uint32_t)size);
        memcpy(frames + FRAME_HEAD, data + head, size);
        find_frames();
        change_packets(NULL, 0);
        const uint32_t number = in.count > 0 ? any(in.count) : 0;
        const size_t bytes = in.count > 0 ? frame_size(number) : 0;
        in.data = data;
        in.head = head;
        in.max = max;
        in.size = head + (bytes < max - head ? bytes : max - head);
        memcpy(data + head, frames + (bytes > 0 ? in.at[number] + FRAME_HEAD : 0), in.size - head);
        break;
    }
    }
}

static void begin(uint8_t *data, size_t size, size_t max, uint64_t *random)
{
    chance = random;
    in.data = data;
    in.head = fuzz_target.head;
    in.max = max < FUZZ_SIZE_MAX ? max : FUZZ_SIZE_MAX;
    in.size = size < in.max ? size : in.max;
    if (in.size < in.head) { /* a head there always is, if there is room */
        memset(data + in.size, 0, in.head - in.size);
        in.size = in.head;
    }
    if (fuzz_target.shape == FUZZ_PACKETS || fuzz_target.shape == FUZZ_MESSAGES)
        find_frames();
}

size_t mutate(uint8_t *data, size_t size, size_t max, const uint8_t *other, size_t other_size, uint64_t *random)
{
    if (max < fuzz_target.head + 64)
        return size;
    begin(data, size, max, random);
    for (uint32_t times = 1 + any(4); times > 0; times--)
        change_once(other, other_size);
    return in.size;
}

size_t mutate_make(uint8_t *data, size_t max, uint64_t *random)
{
    begin(data, 0, max, random);
    for (size_t i = 0; i < in.head; i++)
        data[i] = (uint8_t)any(256);
    if (fuzz_target.shape == FUZZ_RECORDS) {
        const uint32_t most = fuzz_target.steps_max < 300 ? fuzz_target.steps_max : 300;
        const size_t size = in.head + (size_t)fuzz_target.record * (10 + any(most));
        in.size = size < in.max ? size : in.max;
        /* An input of few kinds of steps, and of plain choices, zeros, goes deep where one of all kinds goes astray. */
        const uint32_t plain = any(4), kinds_count = any(5);
        uint8_t kinds[4];
        for (uint32_t i = 0; i < 4; i++)
            kinds[i] = (uint8_t)any(256);
        for (size_t i = in.head; i < in.size; i++) {
            const bool first = (i - in.head) % fuzz_target.record == 0;
            data[i] = (uint8_t)any(256);
            if (first && kinds_count > 0 && !one_in(8))
                data[i] = kinds[any(kinds_count)];
            else if (!first && any(4) < plain)
                data[i] = 0;
        }
        return in.size;
    }
    uint32_t steps = 1 + any(60);
    if (fuzz_target.shape == FUZZ_PACKET) {
        const uint32_t size = make_first(made);
        packet_seal(made, size, true);
        memcpy(data + in.head, made, size);
        in.size = in.head + size;
        steps = any(6);
    }
    if (fuzz_target.shape == FUZZ_MESSAGES) { /* a conversation, and little harm to it */
        for (uint32_t i = 0; i < steps / 2; i++)
            add_message(in.count);
        steps = any(8);
    }
    if (fuzz_target.shape == FUZZ_TEXT) { /* sentences, and some harm to them */
        const struct sentence *say = sentences[in.data[0] % TEXTS];
        for (uint32_t i = 0; i < steps / 8; i++, say = &sentences[in.data[0] % TEXTS][any(SENTENCES)])
            splice(in.data, &in.size, in.max, in.size, 0, (const uint8_t *)say->text, say->bytes);
        steps = any(16);
    }
    for (uint32_t i = 0; i < steps; i++)
        change_once(NULL, 0);
    return in.size;
}

/* ---- the engines ---- */

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *two, size_t two_size, uint8_t *out,
                                 size_t max, unsigned seed);
void *afl_custom_init(void *afl, unsigned seed);
size_t afl_custom_fuzz(void *own, uint8_t *data, size_t size, uint8_t **out, uint8_t *other, size_t other_size, size_t max);
void afl_custom_deinit(void *own);

/* Growing by single changes takes long: some inputs are made anew. Of steps drawn from records as many as a third, since a
 * change there sends all that follows astray, and a fresh one finds as much; packets say by themselves where they belong. */
static bool begins_anew(size_t max)
{
    return max >= fuzz_target.head + 64u && one_in(fuzz_target.shape == FUZZ_RECORDS ? 3 : 8);
}

#ifdef FUZZ_MUTATOR /* not defined: to see what libFuzzer does by itself */

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    uint64_t random = seed;
    chance = &random;
    if (one_in(8) && LLVMFuzzerMutate != NULL)
        return LLVMFuzzerMutate(data, size, max);
    if (begins_anew(max))
        return mutate_make(data, max, &random);
    return mutate(data, size, max, NULL, 0, &random);
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *one, size_t one_size, const uint8_t *two, size_t two_size, uint8_t *out,
                                 size_t max, unsigned seed)
{
    uint64_t random = seed;
    const size_t size = one_size < max ? one_size : max;
    memcpy(out, one, size);
    return mutate(out, size, max, two, two_size, &random);
}

#endif

struct afl {
    uint64_t random;
    uint8_t data[FUZZ_SIZE_MAX];
};

void *afl_custom_init(void *afl, unsigned seed)
{
    struct afl *own = malloc(sizeof *own);
    (void)afl;
    if (own != NULL)
        own->random = seed;
    return own;
}

size_t afl_custom_fuzz(void *own, uint8_t *data, size_t size, uint8_t **out, uint8_t *other, size_t other_size, size_t max)
{
    struct afl *afl = own;
    const size_t most = max < sizeof afl->data ? max : sizeof afl->data;
    if (size > most)
        size = most;
    *out = afl->data;
    chance = &afl->random;
    if (begins_anew(most))
        return mutate_make(afl->data, most, &afl->random);
    memcpy(afl->data, data, size);
    return mutate(afl->data, size, most, other, other_size, &afl->random);
}

void afl_custom_deinit(void *own)
{
    free(own);
}
