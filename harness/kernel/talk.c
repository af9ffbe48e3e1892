/* SPDX-License-Identifier: MIT */
/* talk.c - the makers of packets. Each takes a talk and adds one packet to it. */
#define _GNU_SOURCE
#include "keepstate.h"

#include "../naive.h"
#include "packet.h"
#include "ruling.h"
#include "speech.h"
#include "talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- TCP ---- */

static uint32_t askew(struct chance *chance, uint32_t value)
{
    static const uint32_t steps[] = {1, 2, 10, 100, 1400, 8191, 8192, 8193, 20000, 65535, 66000,
                                     66001, 100000, 1u << 20, 1u << 30, 1u << 31};
    const uint32_t step = PICK(chance, steps);
    return one_in(chance, 2) ? value + step : value - step;
}

/* Now and then a number at the very edge of what the connection allows, which the naive tracker knows. */
static void draw_edge(struct talk_state *t, int from, bool is_rst, uint32_t *seq, uint32_t *ack)
{
    static const struct kst_config config = {.max = NAIVE_ROOM};
    static struct naive n;
    naive_init(&n, &config);
    for (size_t i = 0; i < t->c.settings_count; i++)
        naive_set(&n, 0, t->c.settings[i].name, t->c.settings[i].value);
    for (size_t i = 0; i < t->c.packets_count; i++) {
        const struct vec_packet *p = &t->c.packets[i];
        const struct kst_packet packet = {.data = p->data, .size = p->size, .zone = p->zone};
        struct kst_result result;
        naive_track(&n, 0, &packet, &result);
    }
    if (n.count == 0 || n.entry[n.count - 1].tuple[0].protocol != 6)
        return;
    const struct naive_entry *e = &n.entry[n.count - 1];
    const struct naive_tcp *tcp = &e->tcp;
    const uint32_t dir = e->tuple[0].src_port == t->ports[from] ? KST_ORIGINAL : KST_REPLY;
    const struct naive_side *own = &tcp->side[dir], *other = &tcp->side[!dir];
    const uint32_t lag = own->maxwin > 66000 ? own->maxwin : 66000, close = below(&t->chance, 3) - 1;
    const uint32_t seqs[] = {own->maxend, own->end, own->end - other->maxwin, tcp->last_seq, tcp->last_end, tcp->last_ack};
    const uint32_t acks[] = {other->end, other->end - lag, tcp->last_end, other->maxend};
    if (!one_in(&t->chance, 3))
        *seq = (is_rst && one_in(&t->chance, 2) ? other->maxack : PICK(&t->chance, seqs)) + close;
    if (one_in(&t->chance, 2))
        *ack = PICK(&t->chance, acks) + close;
}

static size_t put_tcp_options(struct chance *chance, uint8_t *options, bool syn, uint32_t near)
{
    size_t at = 0;
    if (one_in(chance, 3) && syn) {
        memcpy(options + at, "\x02\x04\x05\xb4", 4);
        at += 4;
    }
    if (one_in(chance, 2) && syn) {
        memcpy(options + at, "\x01\x03\x03", 3);
        options[at + 3] = (uint8_t)below(chance, one_in(chance, 8) ? 256 : 15);
        at += 4;
    }
    if (one_in(chance, 2) && syn) {
        memcpy(options + at, "\x01\x01\x04\x02", 4);
        at += 4;
    }
    if (one_in(chance, 4)) {
        memcpy(options + at, "\x01\x01\x08\x0a", 4);
        put32(options + at + 4, (uint32_t)draw(chance));
        put32(options + at + 8, (uint32_t)draw(chance));
        at += 12;
    }
    if (!syn && one_in(chance, 3) && at + 12 <= 40) {
        const uint32_t left = one_in(chance, 4) ? askew(chance, near) : near + below(chance, 3000);
        memcpy(options + at, "\x01\x01\x05\x0a", 4);
        put32(options + at + 4, left);
        put32(options + at + 8, one_in(chance, 3) ? near + below(chance, 3) : left + below(chance, 3000));
        at += 12;
    }
    if (one_in(chance, 30) && at + 4 <= 40) { /* nonsense */
        for (int i = 0; i < 4; i++)
            options[at++] = (uint8_t)below(chance, one_in(chance, 2) ? 6 : 256);
    }
    return at;
}

static void talk_tcp(struct talk_state *t)
{
    enum { FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16, URG = 32 };
    struct chance *chance = &t->chance;
    uint8_t packet[PACKET_MAX];
    int from = t->opened && below(chance, 2) ? 1 : 0;
    uint8_t flags = ACK;
    if (!t->opened) {
        flags = one_in(chance, 8) ? ACK : SYN;
        from = one_in(chance, 12) ? 1 : 0;
    } else if (!t->answered && !one_in(chance, 4)) {
        from = 1;
        flags = one_in(chance, 6) ? (uint8_t)(RST | ACK) : one_in(chance, 10) ? SYN : (uint8_t)(SYN | ACK);
    } else {
        static const uint8_t likely[] = {ACK, ACK, ACK, ACK | PSH, ACK | PSH, ACK, FIN | ACK,
                                         FIN | ACK, RST, RST | ACK, SYN, SYN | ACK};
        flags = PICK(chance, likely);
        if (one_in(chance, 25))
            flags = (uint8_t)below(chance, 64);
    }
    struct side *us = &t->side[from], *them = &t->side[1 - from];
    uint32_t seq = us->seq, ack = flags & ACK || one_in(chance, 2) ? them->seq : 0;
    uint32_t length = (flags & (SYN | RST)) == 0 && one_in(chance, 2) ? below(chance, 1400) : 0;
    if (flags == SYN && t->opened && one_in(chance, 2))
        seq = us->seq = (uint32_t)draw(chance); /* opens it again */
    if (one_in(chance, 8))
        seq = askew(chance, seq);
    if (one_in(chance, 8))
        ack = askew(chance, ack);
    if (t->opened && one_in(chance, 3))
        draw_edge(t, from, (flags & RST) != 0, &seq, &ack);
    if ((flags & RST) && one_in(chance, 6))
        seq = 0;
    if ((flags & RST) && one_in(chance, 6))
        ack = 0;
    if ((flags & RST) && one_in(chance, 3))
        seq = us->acked;
    if (one_in(chance, 20))
        length = below(chance, 3) == 0 ? 1 : below(chance, 1400);
    if (one_in(chance, 12))
        us->window = below(chance, 3) == 0 ? 0 : below(chance, 65536);

    uint8_t *l4 = packet + ip_bytes(t);
    memset(l4, 0, 60);
    const size_t options = put_tcp_options(chance, l4 + 20, (flags & SYN) != 0, one_in(chance, 3) ? them->seq : ack);
    const size_t header = 20 + options, bytes = header + length;
    put16(l4, t->ports[from]);
    put16(l4 + 2, t->ports[1 - from]);
    put32(l4 + 4, seq);
    put32(l4 + 8, ack);
    l4[12] = (uint8_t)(header / 4 << 4);
    if (one_in(chance, 80))
        l4[12] = (uint8_t)(below(chance, 16) << 4);
    l4[13] = (uint8_t)(flags | (one_in(chance, 20) ? below(chance, 4) << 6 : 0));
    put16(l4 + 14, us->window);
    memset(l4 + header, 'x', length);
    put_ip(t, packet, 6, bytes, from);
    put16(l4 + 16, checksum(t, packet, l4, bytes, bytes, 6, true));
    finish(t, packet, 6, bytes, from);

    us->seq = seq + length + ((flags & SYN) != 0) + ((flags & FIN) != 0);
    if (flags & ACK)
        us->acked = ack;
    them->acked = seq;
    t->opened = true;
    t->answered = t->answered || from == 1;
}

/* ---- UDP, UDP-Lite ---- */

static void talk_udp(struct talk_state *t, uint8_t protocol)
{
    struct chance *chance = &t->chance;
    uint8_t packet[PACKET_MAX];
    const int from = (int)below(chance, 2);
    uint8_t *l4 = packet + ip_bytes(t);
    const size_t bytes = 8 + below(chance, 64);
    memset(l4, 'u', bytes);
    put16(l4, t->ports[from]);
    put16(l4 + 2, t->ports[1 - from]);
    uint32_t length = (uint32_t)bytes;
    if (protocol == 136)
        length = one_in(chance, 2) ? 0 : 8 + below(chance, (uint32_t)bytes - 7);
    if (one_in(chance, 12))
        length = below(chance, (uint32_t)bytes + 4);
    put16(l4 + 4, length);
    put16(l4 + 6, 0);
    put_ip(t, packet, protocol, bytes, from);
    size_t covered = bytes;
    if (protocol == 136 && length >= 8 && length <= bytes)
        covered = length;
    const uint8_t number = protocol == 136 && one_in(chance, 4) ? 136 : 17; /* Linux computes 17 */
    const uint32_t sum = checksum(t, packet, l4, bytes, covered, number, true);
    put16(l4 + 6, one_in(chance, 10) ? 0 : sum == 0 ? 0xffff : sum);
    finish(t, packet, protocol, bytes, from);
}

/* ---- ICMP ---- */

static void seal_icmp(struct talk_state *t, uint8_t *packet, size_t bytes, int from)
{
    uint8_t *l4 = packet + ip_bytes(t);
    const uint8_t protocol = t->v6 ? 58 : 1;
    put16(l4 + 2, 0);
    put_ip(t, packet, protocol, bytes, from);
    put16(l4 + 2, checksum(t, packet, l4, bytes, bytes, protocol, t->v6));
    finish(t, packet, protocol, bytes, from);
}

static void talk_icmp(struct talk_state *t)
{
    static const uint8_t v4[] = {8, 0, 8, 0, 8, 0, 13, 14, 15, 16, 17, 18};
    static const uint8_t v6[] = {128, 129, 128, 129, 139, 140};
    struct chance *chance = &t->chance;
    uint8_t packet[PACKET_MAX];
    uint8_t *l4 = packet + ip_bytes(t);
    const size_t bytes = 8 + below(chance, 32);
    memset(l4, 'i', bytes);
    l4[0] = t->v6 ? PICK(chance, v6) : PICK(chance, v4);
    if (one_in(chance, 6))
        l4[0] = (uint8_t)below(chance, 256);
    if (t->v6 && l4[0] >= 130 && l4[0] <= 137)
        l4[0] = 128; /* neighbour discovery is not forwarded */
    l4[1] = one_in(chance, 10) ? (uint8_t)below(chance, 4) : 0;
    put16(l4 + 4, below(chance, 2));
    put16(l4 + 6, below(chance, 4));
    seal_icmp(t, packet, bytes, (int)below(chance, 2));
}

/* An error about one of the packets so far. */
static void talk_icmp_error(struct talk_state *t)
{
    static const uint8_t v4[] = {3, 11, 12, 4, 5}, v6[] = {1, 2, 3, 4, 0, 100, 127};
    struct chance *chance = &t->chance;
    uint8_t packet[PACKET_MAX];
    uint8_t *l4 = packet + ip_bytes(t);
    if (t->c.packets_count == 0) {
        talk_icmp(t);
        return;
    }
    const struct vec_packet *about = &t->c.packets[below(chance, (uint32_t)t->c.packets_count)];
    const uint8_t *as_seen = about->data;
    size_t inner = about->size;
    if (about->out != NULL && !one_in(chance, 8)) { /* who complains got it so */
        as_seen = about->out;
        inner = about->out_size;
    }
    inner = inner < 512 ? inner : 512;
    if (one_in(chance, 2) && inner > ip_bytes(t) + 8)
        inner = ip_bytes(t) + 8;
    if (one_in(chance, 10))
        inner = below(chance, (uint32_t)inner + 1);
    memset(l4, 0, 8);
    l4[0] = t->v6 ? PICK(chance, v6) : PICK(chance, v4);
    l4[1] = (uint8_t)below(chance, 5);
    memcpy(l4 + 8, as_seen, inner);
    if (one_in(chance, 8) && inner > 0)
        l4[8 + below(chance, (uint32_t)(inner < 48 ? inner : 48))] ^= (uint8_t)(1 << below(chance, 8));
    /* It goes to who sent that packet, mostly. */
    const int to = one_in(chance, 8) ? !about->from_server : about->from_server;
    seal_icmp(t, packet, 8 + inner, 1 - to);
}

/* ---- SCTP ---- */

static size_t put_chunk(struct chance *chance, uint8_t *chunk, uint8_t type, uint32_t tag)
{
    size_t bytes = 4;
    memset(chunk, 0, 64);
    chunk[0] = type;
    chunk[1] = one_in(chance, 3) ? (uint8_t)below(chance, 4) : 0;
    if (type == 1 || type == 2) {
        put32(chunk + 4, tag);
        put32(chunk + 8, 65535);
        put16(chunk + 12, 1);
        put16(chunk + 14, 1);
        put32(chunk + 16, 1);
        bytes = 20;
    } else if (type == 0) {
        bytes = 20;
    } else if (type == 3) {
        bytes = 16;
    } else if (type == 4 || type == 5 || type == 10 || type == 7) {
        bytes = 8 + below(chance, 8);
    }
    put16(chunk + 2, (uint32_t)bytes);
    if (one_in(chance, 40))
        put16(chunk + 2, below(chance, 32));
    return (bytes + 3) & ~(size_t)3;
}

static void talk_sctp(struct talk_state *t)
{
    static const uint8_t opening[] = {1, 2, 10, 11};
    static const uint8_t likely[] = {0, 0, 3, 4, 5, 6, 7, 8, 14, 9, 10, 11, 1, 2};
    struct chance *chance = &t->chance;
    uint8_t packet[PACKET_MAX];
    uint8_t *l4 = packet + ip_bytes(t);
    size_t step = t->c.packets_count;
    int from = (int)below(chance, 2);
    uint8_t type = PICK(chance, likely);
    if (step < 4 && !one_in(chance, 6)) { /* the handshake, in turn */
        type = opening[step];
        from = (int)(step % 2);
    } else if (one_in(chance, 30)) {
        type = (uint8_t)below(chance, 256);
    }
    uint32_t initiate = t->side[1 - from].tag; /* the tag that the other side is to carry */
    if (one_in(chance, 12))
        initiate = (uint32_t)draw(chance);
    uint32_t tag = type == 1 ? 0 : t->side[from].tag;
    if (one_in(chance, 10))
        tag = one_in(chance, 2) ? t->side[1 - from].tag : below(chance, 2) * (uint32_t)draw(chance);
    put16(l4, t->ports[from]);
    put16(l4 + 2, t->ports[1 - from]);
    put32(l4 + 4, tag);
    size_t bytes = 12 + put_chunk(chance, l4 + 12, type, initiate);
    while (one_in(chance, 4) && bytes < 200)
        bytes += put_chunk(chance, l4 + bytes, PICK(chance, likely), initiate);
    if (one_in(chance, 60))
        bytes = 12;
    put32(l4 + 8, 0);
    const uint32_t crc = crc32c(l4, bytes);
    for (int i = 0; i < 4; i++)
        l4[8 + i] = (uint8_t)(crc >> (8 * i));
    if (one_in(chance, 60))
        l4[8] ^= 1;
    finish(t, packet, 132, bytes, from);
}

/* ---- the rest ---- */

static void talk_other(struct talk_state *t)
{
    static const uint8_t protocols[] = {47, 47, 47, 50, 51, 4, 33, 103, 1, 58, 89};
    struct chance *chance = &t->chance;
    uint8_t packet[PACKET_MAX];
    uint8_t *l4 = packet + ip_bytes(t);
    uint8_t protocol = PICK(chance, protocols);
    if (t->v6 && protocol == 51)
        protocol = 50; /* an extension header there */
    const size_t bytes = below(chance, 24);
    memset(l4, 0, 32);
    if (protocol == 47) {
        l4[1] = (uint8_t)below(chance, 3);
        put16(l4 + 2, one_in(chance, 6) ? 0x800 : 0x880b);
        put16(l4 + 6, below(chance, 2));
    }
    finish(t, packet, protocol, bytes, (int)below(chance, 2));
}

/* The same packet again. */
static void talk_again(struct talk_state *t)
{
    if (t->c.packets_count == 0) {
        talk_tcp(t);
        return;
    }
    const struct vec_packet *packet =
        &t->c.packets[t->c.packets_count - 1 - below(&t->chance, (uint32_t)t->c.packets_count)];
    add_packet(t, packet->data, packet->size, packet->from_server);
}

static void add_setting(struct talk_state *t)
{
    static const struct {
        const char *name;
        uint32_t values[3];
    } settings[] = {
        {"nf_conntrack_tcp_be_liberal", {1, 1, 1}},
        {"nf_conntrack_tcp_loose", {0, 0, 0}},
        {"nf_conntrack_tcp_ignore_invalid_rst", {1, 1, 1}},
        {"nf_conntrack_tcp_max_retrans", {0, 1, 2}},
        {"nf_conntrack_tcp_timeout_max_retrans", {50, 100, 500000}},
        {"nf_conntrack_tcp_timeout_unacknowledged", {40, 200, 600000}},
        {"nf_conntrack_tcp_timeout_established", {50, 290, 1000}},
        {"nf_conntrack_tcp_timeout_close", {20, 400, 40}},
        {"nf_conntrack_tcp_timeout_fin_wait", {500, 40, 20}},
        {"nf_conntrack_tcp_timeout_syn_sent", {500, 40, 20}},
        {"nf_conntrack_checksum", {0, 0, 0}},
        {"nf_conntrack_acct", {1, 1, 1}},
        {"nf_conntrack_timestamp", {1, 1, 1}},
        {"nf_conntrack_udp_timeout", {50, 100, 7}},
        {"nf_conntrack_generic_timeout", {60, 70, 80}},
        {"nf_conntrack_gre_timeout", {60, 70, 80}},
        {"nf_conntrack_icmp_timeout", {60, 70, 80}},
        {"nf_conntrack_icmpv6_timeout", {60, 70, 80}},
        {"nf_conntrack_sctp_timeout_closed", {60, 70, 80}},
        {"nf_conntrack_sctp_timeout_established", {60, 70, 80}},
    };
    const size_t chosen = below(&t->chance, sizeof settings / sizeof settings[0]);
    struct vec_setting *setting = &t->c.settings[t->c.settings_count++];
    setting->name = need(strdup(settings[chosen].name));
    setting->value = PICK(&t->chance, settings[chosen].values);
}

static void choose_zone(struct talk_state *t)
{
    t->zone = (uint16_t)below(&t->chance, 4);
    t->zone_of = t->zone != 0 ? (uint8_t)below(&t->chance, VEC_ZONE_WAYS) : 0;
}

/* Everything about a talk but its packets. */
static void begin(struct talk_state *t, const char *kind, uint64_t seed, uint64_t number)
{
    char name[64];
    memset(t, 0, sizeof *t);
    t->chance.state = seed * UINT64_C(0x2545f4914f6cdd1d) + number;
    draw(&t->chance);
    struct chance *chance = &t->chance;
    snprintf(name, sizeof name, "%s-%llu-%llu", kind, (unsigned long long)seed, (unsigned long long)number);
    t->c.name = need(strdup(name));
    t->c.packets = need(calloc(PACKETS_MAX, sizeof *t->c.packets));
    t->c.settings = need(calloc(4, sizeof *t->c.settings));
    while (t->c.settings_count < 2 && one_in(chance, 3))
        add_setting(t);
    t->v6 = one_in(chance, 3);
    t->ports[0] = one_in(chance, 20) ? 0 : 40000;
    t->ports[1] = one_in(chance, 20) ? 40000 : 80;
    t->fragments = one_in(chance, 6);
    t->alone = t->ports[0] == t->ports[1] && one_in(chance, 2);
    for (int i = 0; i < 2; i++) {
        t->side[i].seq = one_in(chance, 2) ? UINT32_MAX - below(chance, 5000) : (uint32_t)draw(chance);
        t->side[i].window = one_in(chance, 3) ? below(chance, 65536) : 8192;
        t->side[i].tag = (uint32_t)draw(chance) | 1;
    }
}

/* One more packet of the talk's kind. */
static void go_on(struct talk_state *t, uint32_t kind)
{
    if (one_in(&t->chance, 12))
        talk_icmp_error(t);
    else if (kind < 9)
        talk_tcp(t);
    else if (kind == 9)
        talk_udp(t, 17);
    else if (kind == 10)
        talk_udp(t, 136);
    else if (kind == 11)
        talk_icmp(t);
    else if (kind < 15)
        talk_sctp(t);
    else
        talk_other(t);
}

struct vec_case talk(uint64_t seed, uint64_t number)
{
    struct talk_state t;
    begin(&t, "random", seed, number);
    struct chance *chance = &t.chance;
    const uint32_t kind = below(chance, 16);
    t.waits = kind == 9 && one_in(chance, 1000); /* long enough to become a stream */
    const bool zones = one_in(chance, 8), wander = zones && one_in(chance, 2);
    t.whole = wander;
    if (zones)
        choose_zone(&t);
    const enum speech speech = one_in(chance, 3) ? speech_begin(&t) : SPEECH_NONE;
    const size_t count = 3 + below(chance, PACKETS_MAX - 3);
    while (t.c.packets_count < count) {
        if (wander && one_in(chance, 3))
            choose_zone(&t);
        if (one_in(chance, speech == SPEECH_NONE ? 10 : 25))
            talk_again(&t);
        else if (speech != SPEECH_NONE && !one_in(chance, 15))
            speech_go_on(&t, speech);
        else
            go_on(&t, kind);
    }
    if (t.waits)
        t.c.packets[count - 1].wait_ms = 2100;
    return t.c;
}

struct vec_case talk_ruled(uint64_t seed, uint64_t number)
{
    struct talk_state t;
    begin(&t, "ruled", seed, number);
    t.alone = false;
    t.whole = true;
    t.ruling = ruling_begin(&t, seed * UINT64_C(0x9e3779b97f4a7c15) + number / RULED_TALKS);
    static const uint8_t kinds[] = {0, 0, 0, 9, 9, 10, 11, 11, 12, 15};
    const uint32_t kind = PICK(&t.chance, kinds);
    const enum speech speech = one_in(&t.chance, 4) ? speech_begin(&t) : SPEECH_NONE;
    const size_t count = 3 + below(&t.chance, PACKETS_MAX - 3);
    while (t.c.packets_count < count)
        if (one_in(&t.chance, speech == SPEECH_NONE ? 10 : 25))
            talk_again(&t);
        else if (speech != SPEECH_NONE && !one_in(&t.chance, 15))
            speech_go_on(&t, speech);
        else
            go_on(&t, one_in(&t.chance, 12) ? 9 : kind);
    ruling_end(t.ruling);
    return t.c;
}
