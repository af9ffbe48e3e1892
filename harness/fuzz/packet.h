/* SPDX-License-Identifier: MIT */
/* packet.h - packets as bytes: where the transport header is, lengths and checksums put right. It shares no
 * line with the core. Reads and writes only what is there, whatever it is given. */
#ifndef KEEPSTATE_PACKET_H
#define KEEPSTATE_PACKET_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { ICMP = 1, TCP = 6, UDP = 17, GRE = 47, ICMP6 = 58, SCTP = 132, UDPLITE = 136 };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_PSH = 8, TCP_ACK = 16 };

static inline uint32_t get16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t get32(const uint8_t *at)
{
    return get16(at) << 16 | get16(at + 2);
}

static inline void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

struct packet_layout {
    uint32_t l4_at, bytes;   /* of the transport header; that it has, to the end */
    uint32_t protocol, names; /* that it is, and the byte of the headers before it that says so */
    uint32_t addresses_at, addresses_bytes; /* both */
    bool fragment_header;    /* IPv6: there is one */
    bool fragment;           /* one, not an atomic one: its sums are nobody's to put right */
};

/* False if this is no IP packet whose transport header can be found. */
static inline bool packet_lay_out(const uint8_t *data, uint32_t size, struct packet_layout *p)
{
    memset(p, 0, sizeof *p);
    if (size >= 20 && data[0] >> 4 == 4) {
        p->l4_at = (data[0] & 15u) * 4;
        p->protocol = data[p->names = 9];
        p->addresses_at = 12;
        p->addresses_bytes = 8;
        p->fragment = (get16(data + 6) & 0x3fff) != 0;
    } else if (size >= 40 && data[0] >> 4 == 6) {
        p->l4_at = 40;
        p->protocol = data[p->names = 6];
        p->addresses_at = 8;
        p->addresses_bytes = 32;
        for (;;) {
            const uint32_t type = p->protocol;
            if (type != 0 && type != 43 && type != 44 && type != 51 && type != 60)
                break;
            if (p->l4_at + 8 > size)
                return false;
            p->fragment_header = p->fragment_header || type == 44;
            if (type == 44 && (get16(data + p->l4_at + 2) & 0xfff9) != 0)
                p->fragment = true;
            p->protocol = data[p->names = p->l4_at];
            p->l4_at += type == 44 ? 8 : type == 51 ? (data[p->l4_at + 1] + 2u) * 4 : (data[p->l4_at + 1] + 1u) * 8;
        }
    }
    if (p->l4_at < 20 || p->l4_at > size)
        return false;
    p->bytes = size - p->l4_at;
    return true;
}

static inline uint32_t packet_sum(uint32_t sum, const uint8_t *data, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
    return sum;
}

static inline uint32_t packet_fold(uint32_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
}

/* CRC-32C (RFC 9260, appendix A), as it stands on the wire. */
static inline uint32_t packet_crc(const uint8_t *data, uint32_t size)
{
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? UINT32_C(0x82f63b78) : 0);
    }
    crc = ~crc;
    return crc << 24 | (crc << 8 & 0xff0000) | (crc >> 8 & 0xff00) | crc >> 24;
}

/* Bytes of the transport header at which its checksum stands; 0: it has none that is known. */
static inline uint32_t packet_sum_at(uint32_t protocol)
{
    return protocol == TCP ? 16 : protocol == UDP || protocol == UDPLITE ? 6 : protocol == ICMP || protocol == ICMP6 ? 2
           : protocol == SCTP ? 8 : 0;
}

/* Fills in lengths, if they are to be right, and checksums. */
static inline void packet_seal(uint8_t *data, uint32_t size, bool lengths)
{
    struct packet_layout p;
    if (!packet_lay_out(data, size, &p))
        return;
    uint8_t *l4 = data + p.l4_at;
    const bool v6 = data[0] >> 4 == 6;
    if (lengths)
        put16(data + (v6 ? 4 : 2), v6 ? size - 40 : size);
    if (lengths && p.protocol == UDP && p.bytes >= 8 && !p.fragment)
        put16(l4 + 4, p.bytes);
    if (!v6) {
        put16(data + 10, 0);
        put16(data + 10, packet_fold(packet_sum(0, data, p.l4_at)));
    }
    const uint32_t at = packet_sum_at(p.protocol);
    if (p.fragment || at == 0 || p.bytes < at + (p.protocol == SCTP ? 4u : 2u))
        return;
    if (p.protocol == SCTP) {
        put32(l4 + at, 0);
        put32(l4 + at, packet_crc(l4, p.bytes));
        return;
    }
    uint32_t covered = p.bytes, sum = 0;
    if (p.protocol == UDPLITE && get16(l4 + 4) >= 8 && get16(l4 + 4) < covered)
        covered = get16(l4 + 4);
    if (p.protocol != ICMP) /* of UDP-Lite as Linux has it: 17 */
        sum = packet_sum(p.bytes + (p.protocol == UDPLITE ? UDP : p.protocol), data + p.addresses_at, p.addresses_bytes);
    put16(l4 + at, 0);
    sum = packet_fold(packet_sum(sum, l4, covered));
    put16(l4 + at, sum == 0 && (p.protocol == UDP || p.protocol == UDPLITE) ? 0xffff : sum);
}

/* An IP header between two hosts, 10.0.0.N or fd00::N. Returns its bytes; lengths and sums come later. */
static inline uint32_t packet_begin(uint8_t *data, bool v6, uint32_t from, uint32_t to, uint32_t protocol)
{
    const uint32_t bytes = v6 ? 40 : 20;
    memset(data, 0, bytes);
    data[0] = v6 ? 0x60 : 0x45;
    data[v6 ? 7 : 8] = 64;
    data[v6 ? 6 : 9] = (uint8_t)protocol;
    data[v6 ? 8 : 12] = data[v6 ? 24 : 16] = v6 ? 0xfd : 10;
    data[v6 ? 23 : 15] = (uint8_t)from;
    data[v6 ? 39 : 19] = (uint8_t)to;
    return bytes;
}

struct tcp_say {
    uint32_t from, to, sport, dport, seq, ack, flags, window;
    bool v6;
    const uint8_t *payload;
    uint32_t bytes;
};

static inline uint32_t packet_tcp(uint8_t *data, const struct tcp_say *say)
{
    const uint32_t at = packet_begin(data, say->v6, say->from, say->to, TCP);
    uint8_t *l4 = data + at;
    memset(l4, 0, 20);
    put16(l4, say->sport);
    put16(l4 + 2, say->dport);
    put32(l4 + 4, say->seq);
    put32(l4 + 8, say->ack);
    l4[12] = 0x50;
    l4[13] = (uint8_t)say->flags;
    put16(l4 + 14, say->window);
    if (say->bytes > 0)
        memcpy(l4 + 20, say->payload, say->bytes);
    packet_seal(data, at + 20 + say->bytes, true);
    return at + 20 + say->bytes;
}

#endif
