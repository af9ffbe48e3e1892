/* SPDX-License-Identifier: MIT */
/* nat.c - properties: translated in one call or, with another pair of back ends, hook by hook a packet becomes the
 * same bytes; what was right leaves with right checksums, recomputed from scratch; rewritten back it is what it was;
 * its answer would belong to the same connection, which lies within its ranges; nobody is turned away while they have room;
 * a port that is free is kept, one that is shifted lies where it must; no two connections have the same answers, and the
 * table stays sound; a finished TCP connection's port goes to who has newer numbers alone; NETMAP changes the bits of its
 * prefix, a client keeps its address in a persistent range, of which all addresses are used. What a helper's line is changed
 * into says where somebody is expected; who then comes gets to whoever told of it, at the port told; a stream's numbers move
 * by what it has grown.
 *
 * The head chooses ranges, narrow ones, so that they are used up; a record is a packet of one of a few conversations,
 * either way, or back when who asked is gone, perhaps with a line for a helper, or of who is expected, the last UDP packet
 * changed so that its sum becomes 0, an ICMP error about one of those that left, time, or a deletion. */
#include "rig.h"

#include "packet.h"

#include <arpa/inet.h>

enum { STEPS_MAX = 400, HEAD = 16, RECORD = 24, ROOM = 700, CONVERSATIONS = 96, ENTRIES = 24, GUEST = CONVERSATIONS, CLIENTS = 96 };
enum { TOLD = 16 };
enum said { SAID_PORT, SAID_EPRT, SAID_227, SAID_229, SAID_DCC, SAID_INVITE, SAID_REGISTER, SAID_ELSE, SAYINGS };
enum { TRIES = 4 }; /* a search for a port may take so many times the steps of a packet */

struct wire {
    uint8_t data[ROOM];
    uint32_t size;
};

static struct {
    struct kst *one, *steps; /* in one call, and hook by hook */
    struct kst_nat_range range[2][2]; /* by kind and family */
    bool bound[2];
    uint32_t seq[CONVERSATIONS + 1][2]; /* the last: of whoever is expected */
    struct kst_tuple answer[CONVERSATIONS]; /* that its last connection had */
    struct wire left[4]; /* what left last, to be complained about */
    uint32_t left_at;
    struct { /* the UDP packet with a checksum that came last */
        struct wire wire;
        uint32_t sum; /* that it left with */
        bool odd;     /* it grew by an odd number of bytes */
    } udp;
    struct { /* what the packet at hand says: as it was composed, if it is */
        uint32_t kind;
        uint16_t port;
        bool composed;
    } said;
    struct { /* by expectation, where who told of it is */
        kst_id id;
        uint8_t address[16];
        uint16_t port;
    } told[TOLD];
    uint32_t told_at;
    struct { /* of a range of addresses that is persistent, which one a client has, by its last byte */
        uint8_t client[16], address[16];
    } lasting[2][2][256];
    uint64_t now_ms;
    uint32_t step;
} rig;

/* ---- packets ---- */

/* What conversations are: a protocol, and the ports of two services. */
static const struct {
    uint8_t protocol;
    uint16_t port[2];
} kinds[8] = {{TCP, {21, 5060}}, {UDP, {5060, 69}}, {TCP, {21, 6667}}, {ICMP, {0}}, {UDPLITE, {7, 9}}, {SCTP, {7, 9}}, {GRE, {0}}, {50, {0}}};

/* Who begins conversation `number`: one of three clients with the same port, to one of two servers. */
static struct kst_tuple tuple_of(uint32_t number)
{
    const bool v6 = number & 1;
    const uint32_t kind = number / 2 % 8, client = number / 16 % 3, server = number / 48;
    struct kst_tuple tuple = {.family = v6 ? KST_IPV6 : KST_IPV4, .protocol = kinds[kind].protocol};
    tuple.src[0] = tuple.dst[0] = v6 ? 0xfd : 10;
    tuple.src[v6 ? 15 : 3] = (uint8_t)(1 + client);
    tuple.dst[v6 ? 15 : 3] = (uint8_t)(10 + server);
    if (tuple.protocol == ICMP) {
        tuple.protocol = v6 ? (uint8_t)ICMP6 : (uint8_t)ICMP;
        tuple.src_port = 7;
        tuple.dst_port = v6 ? 0x8000 : 0x0800;
    } else if (kst__protocol_of(tuple.protocol)->ports == KST__PORTS) {
        tuple.src_port = (uint16_t)(5060 + kind / 2);
        tuple.dst_port = kinds[kind].port[server];
    } else if (tuple.protocol == GRE && server == 1) {
        tuple.dst_port = 7; /* a call that nobody announced */
    }
    return tuple;
}

/* A line that a helper reads; the client or the server by name. */
static uint32_t draw_text(const struct kst_tuple *tuple, char *text, uint32_t room)
{
    const uint8_t *a = tuple->src;
    const uint32_t port = PICK(1234, 1024, 5000, 65535, 80), kind = draw_below(SAYINGS);
    char host[64];
    inet_ntop(tuple->family == KST_IPV4 ? AF_INET : AF_INET6, a, host, sizeof host);
    const int bytes =
        kind == SAID_PORT   ? snprintf(text, room, "PORT %u,%u,%u,%u,%u,%u\r\n", a[0], a[1], a[2], a[3], port >> 8, port & 255)
        : kind == SAID_EPRT ? snprintf(text, room, "EPRT |%u|%s|%u|\r\n", tuple->family == KST_IPV4 ? 1 : 2, host, port)
        : kind == SAID_227  ? snprintf(text, room, "227 x (%u,%u,%u,%u,%u,%u)\r\n", a[0], a[1], a[2], a[3], port >> 8, port & 255)
        : kind == SAID_229  ? snprintf(text, room, "229 x (|||%u|)\r\n", port)
        : kind == SAID_DCC  ? snprintf(text, room, "PRIVMSG n :\1DCC SEND f %u %u 9\1\r\n", get32(a), port)
        : kind == SAID_INVITE
            ? snprintf(text, room,
                       "INVITE sip:b@%s:%u SIP/2.0\r\nVia: SIP/2.0/UDP %s:%u;maddr=%s;rport=%u\r\nCSeq: 1 INVITE\r\n"
                       "Contact: <sip:a@%s:%u>\r\nContent-Length: %u\r\n\r\nv=0\r\no=a 1 1 IN IP%c %s\r\nc=IN IP%c %s\r\n"
                       "m=audio %u RTP/AVP 0\r\n",
                       host, port, host, tuple->src_port, host, port, host, tuple->src_port, port,
                       tuple->family == KST_IPV4 ? '4' : '6', host, tuple->family == KST_IPV4 ? '4' : '6', host, port)
        : kind == SAID_REGISTER
            ? snprintf(text, room, "REGISTER sip:b SIP/2.0\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@%s:%u>;expires=9\r\n\r\n", host, tuple->src_port)
            : snprintf(text, room, "%sNOOP\r\n", draw_chance(128) ? "\1" : "");
    uint32_t size = bytes < 0 ? 0 : (uint32_t)bytes < room ? (uint32_t)bytes : room - 1;
    const char *body = strstr(text, "\r\n\r\n"); /* a length as it is, not a port: over TCP there is no message else */
    char *length = strstr(text, "Content-Length: ");
    if (body != NULL && length != NULL && draw_chance(128)) {
        const size_t digits = strspn(length + 16, "0123456789");
        char number[8];
        if (snprintf(number, sizeof number, "%0*zu", (int)digits, strlen(body) - 4) == (int)digits)
            memcpy(length + 16, number, digits);
    }
    const bool changed = draw_chance(48) && size > 0, cut = draw_chance(16);
    if (changed)
        text[draw8() * size / 256] = (char)draw8();
    if (cut)
        size = draw8() * size / 256;
    rig.said.kind = kind;
    rig.said.port = (uint16_t)port;
    rig.said.composed = !changed && !cut;
    return size;
}

static void write_packet(struct wire *w, const struct kst_tuple *tuple, uint32_t number, bool reply)
{
    const bool v6 = tuple->family == KST_IPV6;
    uint32_t at = packet_begin(w->data, v6, 0, 0, tuple->protocol);
    if (v6 && draw_chance(32)) { /* behind options for the destination, of padding */
        static const uint8_t padding[8] = {0, 0, 1, 4};
        memcpy(w->data + at, padding, sizeof padding);
        w->data[at] = w->data[6];
        w->data[6] = 60;
        at += sizeof padding;
    }
    const uint32_t flags = draw_chance(200) ? TCP_ACK : PICK(TCP_SYN, TCP_SYN | TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST);
    uint8_t *l4 = w->data + at;
    uint32_t header = 8, *seq = rig.seq[number];
    char text[500] = "";
    memcpy(w->data + (v6 ? 8 : 12), tuple->src, v6 ? 16 : 4);
    memcpy(w->data + (v6 ? 24 : 16), tuple->dst, v6 ? 16 : 4);
    rig.said.composed = false;
    rig.said.kind = SAID_ELSE;
    const uint32_t bytes = draw_chance(160) ? draw_text(tuple, text, sizeof text) : draw_below(4);
    memset(l4, 0, 40);
    switch (tuple->protocol) {
    case TCP:
        header = 20;
        put32(l4 + 4, seq[reply] + (draw_chance(16) ? draw8() : 0));
        put32(l4 + 8, seq[!reply]);
        l4[13] = (uint8_t)flags;
        put16(l4 + 14, 60000);
        if (draw_chance(64)) { /* SACK, somewhere in the options */
            const uint32_t blocks = 1 + draw_below(2);
            memset(l4 + 20, 1, 20);
            l4[21] = 5;
            l4[22] = (uint8_t)(2 + 8 * blocks);
            for (uint32_t edge = 0; edge < 2 * blocks; edge++)
                put32(l4 + 23 + 4 * edge, seq[!reply] + draw8());
            header = 24 + 8 * blocks;
        }
        l4[12] = (uint8_t)(header / 4 << 4);
        seq[reply] += bytes + ((flags & (TCP_SYN | TCP_FIN)) != 0);
        break;
    case SCTP:
        header = 12;
        break;
    case UDPLITE: put16(l4 + 4, 8); break;
    case GRE:
        if (tuple->dst_port != 0) {
            put16(l4, 0x3001);
            put16(l4 + 2, 0x880b);
            put16(l4 + 6, tuple->dst_port);
        }
        break;
    default: break;
    }
    if (tuple->protocol == ICMP || tuple->protocol == ICMP6) {
        put16(l4, tuple->dst_port);
        put16(l4 + 4, tuple->src_port);
        put16(l4 + 6, 1); /* of a reply that becomes all zeros Linux's sum, and so ours, is the other zero */
    } else if (kst__protocol_of(tuple->protocol)->ports == KST__PORTS) {
        put16(l4, tuple->src_port);
        put16(l4 + 2, tuple->dst_port);
    }
    memcpy(l4 + header, text, tuple->protocol == SCTP ? 0 : bytes);
    if (tuple->protocol == SCTP) { /* an INIT */
        memset(l4 + 12, 0, 20);
        l4[12] = reply ? 2 : 1;
        l4[15] = 20;
    }
    w->size = at + header + (tuple->protocol == SCTP ? 20 : bytes);
    packet_seal(w->data, w->size, true);
    if (tuple->protocol == UDP && draw_chance(32))
        put16(l4 + 6, 0);
}

/* An ICMP error about a packet that left, to who is seen to have sent it. */
static void write_error(struct wire *w)
{
    const struct wire *about = &rig.left[draw_below(4)];
    if (about->size == 0) {
        w->size = 0;
        return;
    }
    const bool v6 = about->data[0] >> 4 == 6;
    const uint32_t at = packet_begin(w->data, v6, 77, 0, v6 ? ICMP6 : ICMP), most = about->size < 300 ? about->size : 300;
    const uint32_t bytes = draw_chance(128) ? most : most < at + 8 ? most : at + 8;
    memcpy(w->data + (v6 ? 24 : 16), about->data + (v6 ? 8 : 12), v6 ? 16 : 4);
    memset(w->data + at, 0, 8);
    put16(w->data + at, v6 ? 0x0100 : PICK(0x0301, 0x0b00, 0x0501));
    memcpy(w->data + at + 8, about->data, bytes);
    if (draw_chance(32))
        w->data[at + 8 + draw8() * bytes / 256] ^= (uint8_t)(1 << draw_below(8));
    w->size = at + 8 + bytes;
    packet_seal(w->data, w->size, true);
}

/* The last UDP packet once more, but for two bytes at its end: so that it will leave with a sum of 0, which says that there is none. */
static void write_zero_sum(struct wire *w)
{
    struct packet_layout p;
    *w = rig.udp.wire;
    if (!packet_lay_out(w->data, w->size, &p) || p.bytes < 10)
        return;
    uint8_t *word = w->data + p.l4_at + p.bytes / 2 * 2 - 2;
    const uint32_t change = rig.udp.odd ? (rig.udp.sum & 255) << 8 | rig.udp.sum >> 8 : rig.udp.sum;
    put16(word, ~packet_fold(get16(word) + change));
    packet_seal(w->data, w->size, true);
}

/* ---- the two ways ---- */

static const struct kst_nat_range *range_of(enum kst_nat_kind kind, bool v6)
{
    return rig.bound[kind] ? &rig.range[kind][v6] : NULL;
}

/* Bytes that a packet may have: every third has no room to grow, so that not even what it could be is read. */
static uint32_t room_of(const struct wire *w)
{
    return rig.step % 3 == 0 ? w->size : ROOM;
}

static struct kst_result at_once(struct wire *w)
{
    const bool v6 = w->size > 0 && w->data[0] >> 4 == 6;
    uint8_t *bytes = fuzz_exact(NULL, room_of(w));
    const struct kst_packet packet = {.data = bytes, .size = w->size};
    struct kst_nat nat = {.range = {range_of(KST_NAT_SOURCE, v6), range_of(KST_NAT_DESTINATION, v6)}, .bytes = bytes, .room = room_of(w)};
    struct kst_result r;
    memcpy(bytes, w->data, w->size);
    const uint64_t begin = rig_begin(rig.now_ms, bytes, w->size);
    kst_track_nat(rig.one, rig.now_ms, &packet, &nat, 1, &r);
    rig_bounded(begin, w->size, TRIES);
    rig_result_sound(&r);
    w->size = nat.size;
    memcpy(w->data, bytes, w->size);
    fuzz_free(bytes);
    return r;
}

static struct kst_result by_hooks(struct wire *w)
{
    static const enum kst_nat_kind hooks[2] = {KST_NAT_DESTINATION, KST_NAT_SOURCE};
    const bool v6 = w->size > 0 && w->data[0] >> 4 == 6;
    const uint32_t room = room_of(w);
    uint8_t *bytes = fuzz_exact(NULL, room);
    const struct kst_packet packet = {.data = bytes, .size = w->size, .flags = KST_PACKET_DEFER};
    struct kst_result r;
    memcpy(bytes, w->data, w->size);
    kst_track(rig.steps, rig.now_ms, &packet, 1, &r);
    for (uint32_t i = 0; i < 2 && r.verdict == KST_ACCEPT && r.entry != 0; i++) {
        if (r.flags & KST_CREATED)
            fuzz_must(kst_bind(rig.steps, r.entry, hooks[i], range_of(hooks[i], v6)) != KST_REASON_NAT_RANGE);
        const enum kst_reason reason = kst_translate(rig.steps, &r, hooks[i], bytes, w->size);
        if (reason != KST_REASON_NONE) {
            kst_refuse(rig.steps, &r);
            r = (struct kst_result){.reason = (uint16_t)reason, .direction = KST_NO_DIRECTION, .verdict = KST_DROP};
        }
    }
    size_t size = w->size;
    if (r.verdict == KST_ACCEPT)
        kst_confirm(rig.steps, rig.now_ms, &packet, &r, bytes, &size, room);
    w->size = (uint32_t)size;
    memcpy(w->data, bytes, w->size);
    fuzz_free(bytes);
    return r;
}

/* ---- what must hold ---- */

/* The ends of a packet as they stand in it. */
static struct kst__end end_of(const struct wire *w, enum kst_nat_kind kind)
{
    struct packet_layout p;
    fuzz_must(packet_lay_out(w->data, w->size, &p));
    const uint8_t *l4 = w->data + p.l4_at;
    const uint32_t bytes = p.addresses_bytes / 2;
    struct kst__end end = {w->data + p.addresses_at + (kind == KST_NAT_SOURCE ? 0 : bytes), 0};
    if (p.protocol == ICMP || p.protocol == ICMP6)
        end.port = (uint16_t)get16(l4 + 4);
    else if (p.protocol == GRE)
        end.port = (uint16_t)(p.bytes >= 8 ? get16(l4 + 6) : 0);
    else if (p.bytes >= 4)
        end.port = (uint16_t)get16(l4 + (kind == KST_NAT_SOURCE ? 0 : 2));
    return end;
}

static void must_be_sound(const struct wire *in, const struct wire *out, const struct kst_result *r, bool error)
{
    struct wire anew = *out, back = *out;
    struct packet_layout p;
    struct kst_flow flow;
    const bool v4 = in->data[0] >> 4 == 4;
    fuzz_must(packet_lay_out(out->data, out->size, &p));
    const uint8_t *l4 = in->data + p.l4_at;
    packet_seal(anew.data, anew.size, true);
    if (p.protocol == UDP && get16(l4 + 6) == 0)
        put16(anew.data + p.l4_at + 6, 0);
    if (memcmp(anew.data, out->data, out->size) != 0)
        fuzz_fail("step %u: a checksum or a length is wrong", rig.step);
    if (error || r->entry == 0 || !kst_get(rig.one, r->entry, &flow))
        return;
    if (!(flow.status & KST_SEQ_ADJUST) && in->size == out->size &&
        !(p.protocol == UDP && p.bytes > 20)) { /* whose text may have changed in place */
        fuzz_must(kst__rewrite(back.data, back.size, v4, KST_NAT_SOURCE, end_of(in, KST_NAT_SOURCE)));
        fuzz_must(kst__rewrite(back.data, back.size, v4, KST_NAT_DESTINATION, end_of(in, KST_NAT_DESTINATION)));
        if (memcmp(back.data, in->data, in->size) != 0 && p.protocol != TCP)
            fuzz_fail("step %u: rewritten back it is another packet", rig.step);
    }
    struct kst_tuple answer = flow.tuple[!r->direction], left;
    kst__tuple_invert(&answer, &left);
    fuzz_must(memcmp(left.src, out->data + p.addresses_at, p.addresses_bytes / 2) == 0);
    fuzz_must(memcmp(left.dst, out->data + p.addresses_at + p.addresses_bytes / 2, p.addresses_bytes / 2) == 0);
    const bool ports = kst__protocol_of(answer.protocol)->ports == KST__PORTS;
    const bool elsewhere = p.protocol == UDP && p.bytes > 20 && r->direction == KST_REPLY; /* SIP: where a Via says */
    fuzz_must(!ports || left.src_port == get16(out->data + p.l4_at));
    fuzz_must(!ports || elsewhere || left.dst_port == get16(out->data + p.l4_at + 2));
    fuzz_same("whose its answer is", kst_find(rig.one, &answer, NULL), r->entry);
}

/* All connections of the table of one call, as they were before the packet. */
static struct holder {
    kst_id id;
    struct kst_tuple tuple[2];
    uint32_t end; /* of what it sent */
    uint32_t adjust[2][3];
    bool finished;
} holders[ENTRIES];
static uint32_t holder_count;

/* Of a net that is mapped to another the front changes, bit by bit; in a range that is persistent a client keeps its address. */
static void must_be_mapped(const struct kst_tuple *tuple, const struct kst_nat_range *range, enum kst_nat_kind kind, const uint8_t *address)
{
    const bool v6 = tuple->family == KST_IPV6, source = kind == KST_NAT_SOURCE;
    const uint8_t *was = source ? tuple->src : tuple->dst;
    for (uint32_t bit = 0; range->flags == KST_NAT_NETMAP && bit < (v6 ? 128u : 32u); bit++) {
        const uint8_t *from = bit < range->prefix ? range->address[0] : was;
        if ((address[bit / 8] ^ from[bit / 8]) >> (7 - bit % 8) & 1)
            fuzz_fail("step %u: bit %u of an address that is mapped", rig.step, bit);
    }
    if (!(range->flags & KST_NAT_PERSISTENT) ||
        (source && memcmp(was, range->address[0], 16) >= 0 && memcmp(was, range->address[1], 16) <= 0))
        return;
    for (uint32_t i = 0; i < holder_count && source; i++) /* a sender keeps sharing its source, even with who was expected */
        if (holders[i].tuple[0].src_port == tuple->src_port && memcmp(holders[i].tuple[0].src, tuple->src, 16) == 0)
            return;
    const uint8_t client = tuple->src[v6 ? 15 : 3];
    if (memcmp(rig.lasting[kind][v6][client].client, tuple->src, 16) == 0 && memcmp(rig.lasting[kind][v6][client].address, address, 16) != 0)
        fuzz_fail("step %u: a client has another address", rig.step);
    memcpy(rig.lasting[kind][v6][client].client, tuple->src, 16);
    memcpy(rig.lasting[kind][v6][client].address, address, 16);
}

/* Of a range of few addresses each is somebody's, if as many ask as no hash would keep from one. */
static void must_all_be_used(const struct kst_config *like, enum kst_nat_kind kind, bool v6)
{
    const struct kst_nat_range *range = range_of(kind, v6);
    struct kst_config config = *like;
    uint8_t bytes[60];
    uint32_t used = 0;
    if (range == NULL || !(range->flags & KST_NAT_PERSISTENT))
        return;
    config.max = CLIENTS;
    struct kst *t = rig_table(&config);
    const uint32_t last = v6 ? 15 : 3, low = range->address[0][last], high = range->address[1][last];
    for (uint32_t client = 1; client <= CLIENTS; client++) {
        const uint32_t at = packet_begin(bytes, v6, client, 10, UDP);
        struct kst_nat nat = {.bytes = bytes, .room = at + 8};
        struct kst_result r;
        struct kst_flow flow;
        memset(bytes + at, 0, 8);
        put16(bytes + at + 2, 7);
        packet_seal(bytes, at + 8, true);
        nat.range[kind] = range;
        kst_track_nat(t, rig.now_ms, &(struct kst_packet){.data = bytes, .size = at + 8}, &nat, 1, &r);
        fuzz_must(kst_get(t, r.entry, &flow));
        const uint8_t *address = kind == KST_NAT_SOURCE ? flow.tuple[KST_REPLY].dst : flow.tuple[KST_REPLY].src;
        fuzz_must(memcmp(address, range->address[0], last) == 0 && address[last] >= low && address[last] <= high);
        used |= 1u << (address[last] - low);
    }
    fuzz_same("addresses that are used", used, (1u << (high - low + 1)) - 1);
}

/* Whom a newcomer is bound to: within its ranges, if no helper bound it. */
static void must_be_in_range(const struct kst_result *r)
{
    struct kst_flow flow;
    if (!(r->flags & KST_CREATED) || !kst_get(rig.one, r->entry, &flow) || (flow.status & KST_EXPECTED))
        return;
    const struct kst_tuple *back = &flow.tuple[KST_REPLY];
    const bool ports = kst__protocol_of(back->protocol)->ports == KST__PORTS;
    if (back->protocol == GRE) /* only who announced a call may have another name for it */
        fuzz_must(flow.tuple[0].src_port == back->dst_port && flow.tuple[0].dst_port == back->src_port);
    const struct kst_nat_range *source = range_of(KST_NAT_SOURCE, back->family == KST_IPV6);
    if (ports && source != NULL && source->flags == KST_NAT_ADDRESS && memcmp(&flow.tuple[0], back, sizeof *back) == 0 &&
        (flow.status & (KST_SRC_NAT | KST_DST_NAT)))
        fuzz_fail("step %u: its own answer, with all ports to choose from", rig.step);
    for (uint32_t kind = 0; kind < 2; kind++) {
        const struct kst_nat_range *range = range_of((enum kst_nat_kind)kind, back->family == KST_IPV6);
        const uint8_t *address = kind == KST_NAT_SOURCE ? back->dst : back->src;
        const uint16_t port = kind == KST_NAT_SOURCE ? back->dst_port : back->src_port;
        if (range == NULL)
            continue;
        must_be_mapped(&flow.tuple[0], range, (enum kst_nat_kind)kind, address);
        if (range->flags & KST_NAT_NETMAP)
            continue;
        if ((range->flags & KST_NAT_ADDRESS) && (memcmp(address, range->address[0], 16) < 0 || memcmp(address, range->address[1], 16) > 0))
            fuzz_fail("step %u: an address out of range", rig.step);
        if (!(range->flags & KST_NAT_PORT) || !ports)
            continue;
        if (port < range->port[0] || port > range->port[1])
            fuzz_fail("step %u: port %u, and the range is %u to %u", rig.step, port, range->port[0], range->port[1]);
        if (!(range->flags & KST_NAT_OFFSET) || kst_count(rig.one) > 1)
            continue;
        const uint32_t was = kind == KST_NAT_SOURCE ? flow.tuple[0].src_port : flow.tuple[0].dst_port;
        const uint32_t shift = (was - range->base) % 65536 % (range->port[1] - range->port[0] + 1u);
        struct kst_tuple answer = *back; /* nobody is in the way but the newcomer itself */
        *(kind == KST_NAT_SOURCE ? &answer.dst_port : &answer.src_port) = (uint16_t)(range->port[0] + shift);
        if (memcmp(&answer, &flow.tuple[0], sizeof answer) != 0)
            fuzz_same("port that is shifted", port, range->port[0] + shift);
    }
}

/* Whether a newcomer, of which only the source's address is changed, will keep its port: nobody has it, and its sender is not seen
 * to have another port already. */
static bool may_keep(const struct kst_tuple *tuple)
{
    const struct kst_nat_range *range = range_of(KST_NAT_SOURCE, tuple->family == KST_IPV6);
    struct kst_tuple seen = *tuple, answer;
    struct kst_flow flow;
    if (range == NULL || rig.bound[KST_NAT_DESTINATION] || range->flags != KST_NAT_ADDRESS || kst__protocol_of(tuple->protocol)->ports != KST__PORTS)
        return false;
    memcpy(seen.src, range->address[0], 16);
    kst__tuple_invert(&seen, &answer);
    for (kst_id id = kst_next(rig.one, 0); id != 0; id = kst_next(rig.one, id))
        if (kst_get(rig.one, id, &flow) && flow.tuple[0].src_port == tuple->src_port && memcmp(flow.tuple[0].src, tuple->src, 16) == 0)
            return false;
    return kst_find(rig.one, &answer, NULL) == 0 && memcmp(&answer, tuple, sizeof answer) != 0;
}

static void note_holders(void)
{
    struct kst_flow flow;
    holder_count = 0;
    for (kst_id id = kst_next(rig.one, 0); id != 0; id = kst_next(rig.one, id)) {
        struct holder *h = &holders[holder_count++];
        fuzz_must(holder_count <= ENTRIES && kst_get(rig.one, id, &flow));
        h->id = id;
        memcpy(h->tuple, flow.tuple, sizeof h->tuple);
        memcpy(h->adjust, flow.seq_adjust, sizeof h->adjust);
        h->end = kst__entry_at(rig.one, (uint32_t)id)->proto.tcp.side[0].end;
        h->finished = flow.tuple[0].protocol == TCP && (flow.state == KST_TCP_TIME_WAIT || flow.state == KST_TCP_CLOSE);
    }
}

/* Whose answers a newcomer has taken over had finished, and the newcomer's numbers are newer. */
static void must_have_gone_for(const struct kst_result *r)
{
    struct kst_flow flow, other;
    if (!(r->flags & KST_CREATED) || !kst_get(rig.one, r->entry, &flow))
        return;
    const uint32_t end = kst__entry_at(rig.one, (uint32_t)r->entry)->proto.tcp.side[0].end;
    for (uint32_t i = 0; i < holder_count; i++) {
        const struct holder *h = &holders[i];
        if (memcmp(&h->tuple[KST_REPLY], &flow.tuple[KST_REPLY], sizeof flow.tuple[0]) != 0 ||
            memcmp(&h->tuple[0], &flow.tuple[0], sizeof flow.tuple[0]) == 0 || memcmp(&h->tuple[1], &flow.tuple[0], sizeof flow.tuple[0]) == 0)
            continue; /* nobody's, or its own that is begun anew */
        fuzz_must(!kst_get(rig.one, h->id, &other));
        if (!h->finished || !kst__after(end, h->end))
            fuzz_fail("step %u: the port of one %s goes to a newcomer", rig.step, h->finished ? "with newer numbers" : "that has not finished");
    }
}

/* Nobody is turned away while an address has a port left, of the few that there are or of all. */
static void must_be_exhausted(struct kst_tuple tuple)
{
    const struct kst_nat_range *range = range_of(KST_NAT_SOURCE, tuple.family == KST_IPV6);
    const bool ports = kst__protocol_of(tuple.protocol)->ports == KST__PORTS, icmp = tuple.protocol == ICMP || tuple.protocol == ICMP6;
    struct kst_tuple back;
    if (range == NULL || rig.bound[KST_NAT_DESTINATION] || (!ports && !icmp) ||
        (range->flags != KST_NAT_ADDRESS && range->flags != (KST_NAT_ADDRESS | KST_NAT_PORT)))
        return;
    if (range->flags == KST_NAT_ADDRESS)
        fuzz_fail("step %u: of all ports of an address none is left", rig.step);
    memcpy(tuple.src, range->address[0], 16);
    for (uint32_t port = range->port[0]; port <= range->port[1]; port++) {
        tuple.src_port = (uint16_t)port;
        kst__tuple_invert(&tuple, &back);
        if (kst_find(rig.one, &back, NULL) == 0)
            fuzz_fail("step %u: port %u is free", rig.step, port);
    }
}

/* ---- what helpers change ---- */

static uint32_t adjust_of(const uint32_t side[3], uint32_t seq)
{
    return (int32_t)(seq - side[0]) > 0 ? side[2] : side[1];
}

/* Numbers of a stream that has grown or shrunk: as in Linux a direction has one position, and what is added before and behind it. */
static void must_be_adjusted(const struct wire *in, const struct wire *out, const struct kst_result *r)
{
    static const uint32_t none[2][3];
    struct packet_layout p;
    struct kst_flow flow;
    if (!packet_lay_out(in->data, in->size, &p) || p.protocol != TCP || !kst_get(rig.one, r->entry, &flow))
        return;
    const uint8_t *tcp = in->data + p.l4_at, *now = out->data + p.l4_at;
    const uint32_t *own = flow.seq_adjust[r->direction], *other = flow.seq_adjust[!r->direction], *was = none[0];
    const uint32_t seq = get32(tcp + 4), ack = get32(tcp + 8), grown = out->size - in->size;
    for (uint32_t i = 0; i < holder_count; i++)
        if (holders[i].id == r->entry)
            was = holders[i].adjust[r->direction];
    fuzz_same("sequence number", get32(now + 4), seq + adjust_of(own, seq));
    if (tcp[13] & TCP_ACK)
        fuzz_same("acknowledgement", get32(now + 8), ack - adjust_of(other, ack - other[1]));
    for (uint32_t at = 23; (tcp[13] & TCP_ACK) && tcp[12] >> 4 >= 8 && at < 21u + tcp[22]; at += 4)
        fuzz_same("edge of a block", get32(now + at), get32(tcp + at) - adjust_of(other, get32(tcp + at) - other[1]));
    if (grown != 0 && (rig.said.kind == SAID_INVITE || rig.said.kind == SAID_REGISTER))
        return; /* which have several places */
    if (grown == 0 || (was[1] != was[2] && (int32_t)(seq - was[0]) <= 0))
        fuzz_must(was[1] == own[1] && was[2] == own[2]);
    else
        fuzz_must(own[0] == seq && own[1] == was[2] && own[2] == was[2] + grown);
}

/* The address and the port that a line names, both as who left says; false if it is not as it was composed. */
static bool read_line(const char *text, uint32_t size, bool v6, uint8_t *address, bool *named, uint32_t *port)
{
    uint32_t a[4], high = 0, family = 0, number = 0;
    int end = -1;
    char host[64];
    *named = !v6 || rig.said.kind == SAID_EPRT; /* by PORT and 227 only an address of version 4 can be named */
    *port = 0;
    memset(address, 0, 16);
    switch (rig.said.kind) {
    case SAID_PORT:
    case SAID_227:
        sscanf(text, rig.said.kind == SAID_PORT ? "PORT %u,%u,%u,%u,%u,%u%n" : "227 x (%u,%u,%u,%u,%u,%u)%n", &a[0], &a[1], &a[2], &a[3],
               &high, port, &end);
        *port += high << 8;
        for (uint32_t i = 0; i < 4 && end >= 0; i++)
            address[i] = (uint8_t)a[i];
        break;
    case SAID_EPRT:
        if (sscanf(text, "EPRT |%u|%63[^|]|%u|%n", &family, host, port, &end) != 3 || family != (v6 ? 2 : 1) ||
            inet_pton(v6 ? AF_INET6 : AF_INET, host, address) != 1)
            return false;
        break;
    case SAID_229:
        *named = false;
        sscanf(text, "229 x (|||%u|)%n", port, &end);
        break;
    default:
        sscanf(text, "PRIVMSG n :\1DCC SEND f %u %u 9\1%n", &number, port, &end);
        put32(address, number);
    }
    return end >= 0 && (uint32_t)end + 2 == size && memcmp(text + end, "\r\n", 2) == 0;
}

/* A line that was changed, or that makes somebody expected, says in the end where that one shall come. */
static void must_tell(const struct wire *in, const struct wire *out, const struct kst_result *r, const struct kst_tuple *from,
                      uint64_t known)
{
    struct packet_layout p, q;
    struct kst_expectation x;
    char text[ROOM + 1];
    uint8_t address[16];
    bool named, told = false;
    uint32_t port;
    if (!rig.said.composed || !packet_lay_out(in->data, in->size, &p) || !packet_lay_out(out->data, out->size, &q) ||
        (p.protocol != TCP && p.protocol != UDP))
        return;
    const uint32_t at = p.l4_at + (p.protocol == TCP ? (in->data[p.l4_at + 12] >> 4) * 4u : 8);
    const bool same = in->size == out->size && memcmp(in->data + at, out->data + at, in->size - at) == 0;
    memcpy(text, out->data + at, out->size - at);
    text[out->size - at] = '\0';
    if (rig.said.kind == SAID_INVITE) {
        const char *was = strstr((const char *)in->data + at, "\r\n\r\n"), *body = strstr(text, "\r\n\r\n");
        const char *length = strstr(text, "Content-Length: ");
        fuzz_must(was != NULL && body != NULL && length != NULL);
        if (strcmp(was, body) != 0)
            fuzz_same("Content-Length", strtoul(length + 16, NULL, 10), strlen(body) - 4);
    }
    if (rig.said.kind >= SAID_INVITE || (same && kst_statistics(rig.one)->expect_create == known))
        return;
    if (!read_line(text, out->size - at, q.addresses_bytes == 32, address, &named, &port))
        fuzz_fail("step %u: a line has changed beyond what it says: %s", rig.step, text);
    for (kst_id id = kst_expectation_own(rig.one, r->entry, 0); id != 0; id = kst_expectation_own(rig.one, r->entry, id)) {
        fuzz_must(kst_expectation_get(rig.one, id, &x));
        if (x.tuple.dst_port != port || (named && memcmp(x.tuple.dst, address, 16) != 0))
            continue;
        told = true;
        rig.told[rig.told_at % TOLD].id = id;
        rig.told[rig.told_at % TOLD].port = rig.said.port;
        memcpy(rig.told[rig.told_at++ % TOLD].address, from->src, 16);
    }
    if (!told)
        fuzz_fail("step %u: nobody is expected where this says: %s", rig.step, text);
}

/* Who is expected comes, perhaps. */
static bool draw_guest(struct kst_tuple *tuple, struct kst_expectation *x)
{
    uint32_t number = kst_expectation_count(rig.one) > 0 ? draw_below(kst_expectation_count(rig.one)) : 0;
    kst_id id = kst_expectation_next(rig.one, 0);
    while (id != 0 && number-- > 0 && kst_expectation_next(rig.one, id) != 0)
        id = kst_expectation_next(rig.one, id);
    if (id == 0 || !kst_expectation_get(rig.one, id, x) || kst__protocol_of(x->tuple.protocol)->ports != KST__PORTS)
        return false;
    *tuple = x->tuple;
    if (x->flags & KST_EXPECT_ANY_SRC)
        memcpy(tuple->src, tuple_of(draw_below(CONVERSATIONS / 2) * 2 + (x->tuple.family == KST_IPV6)).dst, 16);
    if (x->flags & KST_EXPECT_ANY_SRC_PORT)
        tuple->src_port = (uint16_t)(5060 + draw_below(4));
    return true;
}

/* Who was expected gets to who told of it, at the port that was told. */
static void must_arrive(const struct kst_result *r, const struct kst_expectation *x)
{
    struct kst_flow flow;
    if (!(r->flags & KST_CREATED) || !kst_get(rig.one, r->entry, &flow) || flow.master != x->master || x->follows == KST_FOLLOWS_NOT)
        return;
    for (uint32_t i = 0; i < TOLD; i++)
        if (rig.told[i].id == x->id) {
            fuzz_must(memcmp(flow.tuple[KST_REPLY].src, rig.told[i].address, 16) == 0);
            fuzz_same("port of who was expected", flow.tuple[KST_REPLY].src_port, rig.told[i].port);
        }
}

/* ---- steps ---- */

enum what { PACKET, ERROR, ZERO_SUM };

static void step_packet(enum what what)
{
    const bool error = what == ERROR;
    struct wire in, one, other;
    struct kst_expectation x;
    uint32_t number = draw_chance(128) ? PICK(0, 1, 4, 5) : draw_below(CONVERSATIONS); /* mostly FTP */
    struct kst_tuple tuple = tuple_of(number);
    struct kst_flow flow;
    const bool guest = what == PACKET && draw_chance(40) && draw_guest(&tuple, &x);
    if (guest)
        number = GUEST;
    const bool back = what == PACKET && !guest && draw_chance(100) && !(tuple.protocol == GRE && tuple.dst_port != 0);
    const bool reply = back && kst_get(rig.one, kst_find(rig.one, &tuple, NULL), &flow);
    if (reply)
        tuple = rig.answer[number] = flow.tuple[KST_REPLY];
    else if (back && rig.answer[number].family != 0) /* unasked, as who asked is gone */
        tuple = rig.answer[number];
    const bool keeps = what == PACKET && !reply && !guest && may_keep(&tuple);
    memset(&in, 0, sizeof in);
    if (error)
        write_error(&in);
    else if (what == ZERO_SUM)
        write_zero_sum(&in);
    else
        write_packet(&in, &tuple, number, reply);
    one = other = in;
    rig.said.composed = rig.said.composed && what == PACKET;
    note_holders();
    const uint64_t known = kst_statistics(rig.one)->expect_create;
    const uint64_t evicted = kst_statistics(rig.one)->gone[KST_GONE_EVICTED];
    const struct kst_result r = at_once(&one), s = by_hooks(&other);
    fuzz_tell("packet of %u%s%s: %u bytes, then %u: %s %s %s", number, reply ? ", reply" : "",
              error ? ", an error" : what == ZERO_SUM ? ", for a sum of 0" : "", in.size, one.size, kst_state_name((enum kst_state)r.state),
              kst_direction_name((enum kst_direction)r.direction), kst_reason_name((enum kst_reason)r.reason));
    fuzz_same("verdict", r.verdict, s.verdict);
    fuzz_same("state", r.state, s.state);
    fuzz_same("direction", r.direction, s.direction);
    fuzz_same("reason", r.reason, s.reason);
    fuzz_note(r.reason | (uint64_t)r.state << 16);
    rig_check(rig.one);
    rig_check(rig.steps);
    if (!error)
        must_be_in_range(&r);
    if (kst_statistics(rig.one)->gone[KST_GONE_EVICTED] == evicted)
        must_have_gone_for(&r);
    if (keeps && (r.flags & KST_CREATED) && kst_get(rig.one, r.entry, &flow) && !(flow.status & KST_EXPECTED))
        fuzz_same("port that is free", flow.tuple[KST_REPLY].dst_port, tuple.src_port);
    if (r.reason == KST_REASON_NAT_EXHAUSTED && what == PACKET && !reply && !guest)
        must_be_exhausted(tuple);
    if (guest)
        must_arrive(&r, &x);
    if (r.verdict != KST_ACCEPT)
        return;
    fuzz_same("size", one.size, other.size);
    fuzz_must(memcmp(one.data, other.data, one.size) == 0);
    if (one.size == 0 || r.state == KST_INVALID)
        return;
    must_be_sound(&in, &one, &r, error);
    if (!error && r.entry != 0 && r.direction != KST_NO_DIRECTION) {
        must_be_adjusted(&in, &one, &r);
        must_tell(&in, &one, &r, &tuple, known);
    }
    if (error)
        return;
    rig.left[rig.left_at++ % 4] = one;
    struct packet_layout p;
    if (packet_lay_out(one.data, one.size, &p) && p.protocol == UDP && get16(one.data + p.l4_at + 6) != 0) {
        rig.udp.wire = in;
        rig.udp.sum = get16(one.data + p.l4_at + 6);
        rig.udp.odd = (one.size - in.size) % 2 != 0;
    }
}

static void step(void)
{
    const uint32_t kind = draw8();
    if (kind < 172) {
        step_packet(PACKET);
    } else if (kind < 180) {
        step_packet(ZERO_SUM);
    } else if (kind < 215) {
        step_packet(ERROR);
    } else if (kind < 235) {
        rig.now_ms += PICK(1, 1000, 30000, 130000);
        kst_advance(rig.one, rig.now_ms, UINT32_MAX); /* in steps of the timers, which are two */
        kst_advance(rig.steps, rig.now_ms, UINT32_MAX);
    } else if (kind < 250) {
        const struct kst_tuple tuple = tuple_of(draw_below(CONVERSATIONS));
        fuzz_same("deleted", kst_delete(rig.one, kst_find(rig.one, &tuple, NULL)),
                  kst_delete(rig.steps, kst_find(rig.steps, &tuple, NULL)));
    } else {
        kst_flush(rig.one);
        kst_flush(rig.steps);
    }
}

static void draw_range(struct kst_nat_range *range, bool v6, enum kst_nat_kind kind)
{
    const bool wide = draw_chance(64);
    const uint16_t low = (uint16_t)PICK(6000, 5060, 1, 65530);
    memset(range, 0, sizeof *range);
    range->flags = (uint8_t)PICK(1, 3, 3, 7, 1 | 16, 3 | 32, 64, 2, 8);
    range->prefix = (uint8_t)PICK(24, 0, 8, 32, 31);
    range->port[0] = low;
    range->port[1] = (uint16_t)(low + PICK(0, 1, 5, 3));
    range->base = 5060;
    for (uint32_t i = 0; i < 2; i++) {
        if (wide && v6) /* in the longest text */
            memset(range->address[i], 0xfd, 16);
        range->address[i][0] = v6 ? 0xfd : 10;
        range->address[i][v6 ? 15 : 3] = (uint8_t)((kind == KST_NAT_SOURCE ? 100 : 200) + i * (range->flags & 16 ? 3 : 0));
    }
}

static void run(const uint8_t *data, size_t size)
{
    struct kst_config config = {.max = ENTRIES, .features = KST_WITH_NAT, .expectations = 16, .seed = {3, 4}};
    memset(&rig, 0, sizeof rig);
    draw_head(data, size);
    for (uint32_t kind = 0; kind < 2; kind++) {
        rig.bound[kind] = draw_chance(kind == KST_NAT_SOURCE ? 220 : 110);
        for (uint32_t v6 = 0; v6 < 2; v6++)
            draw_range(&rig.range[kind][v6], v6, (enum kst_nat_kind)kind);
    }
    config.seed[0] = draw8();
    rig_back_ends(&config, false);
    rig.one = rig_table(&config);
    rig_back_ends(&config, true);
    rig.steps = rig_table(&config);
    kst_attach_usual(rig.one);
    kst_attach_usual(rig.steps);
    for (rig.step = 0; draw_record(data, size, rig.step); rig.step++)
        step();
    for (uint32_t kind = 0; kind < 2; kind++)
        for (uint32_t v6 = 0; v6 < 2; v6++)
            must_all_be_used(&config, (enum kst_nat_kind)kind, v6);
    fuzz_same("connections", kst_count(rig.one), kst_count(rig.steps));
    rig_note_table(rig.one);
}

const struct fuzz_target fuzz_target = {"nat", FUZZ_RECORDS, HEAD, RECORD, STEPS_MAX, run, false};
