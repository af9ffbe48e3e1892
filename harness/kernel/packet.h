/* SPDX-License-Identifier: MIT */
/* packet.h - chance, the talk that is being made, and its packets: whole ones, fragments,
 * damaged ones. */
#ifndef KEEPSTATE_PACKET_H
#define KEEPSTATE_PACKET_H

#include "vec.h"

enum { PACKET_MAX = 2048, PACKETS_MAX = 24 };

struct chance {
    uint64_t state;
};

uint64_t draw(struct chance *chance);
uint32_t below(struct chance *chance, uint32_t limit); /* 0..limit-1 */
bool one_in(struct chance *chance, uint32_t n);

#define PICK(chance, array) ((array)[below(chance, sizeof(array) / sizeof((array)[0]))])

struct side {
    uint32_t seq, acked; /* TCP: next to send, highest acknowledged by us */
    uint32_t window;
    uint32_t tag;        /* SCTP: what this side's packets carry */
};

struct talk_state {
    struct chance chance;
    struct vec_case c;
    bool v6;
    uint16_t ports[2];
    struct side side[2];
    bool opened, answered;
    bool fragments; /* many of them */
    bool waits;     /* at its end: Linux would have forgotten its fragments by then */
    bool whole;     /* no fragments: Linux joins them before it gives them a zone */
    uint16_t zone;  /* of its packets */
    uint8_t zone_of;
    bool helped;    /* rules attach helpers by port, and nftables sees no port behind an AH */
    struct ruling *ruling; /* under rules, or NULL */
    bool alone;     /* one host talks to itself, from a port to the same one */
};

extern const uint8_t client_and_server_v4[2][4], client_and_server_v6[2][16];

void put16(uint8_t *p, uint32_t value);
void put32(uint8_t *p, uint32_t value);

size_t ip_bytes(const struct talk_state *t);

/* Writes the IP header before `bytes` of `protocol`, from client (0) or server (1). */
void put_ip(const struct talk_state *t, uint8_t *packet, uint8_t protocol, size_t bytes, int from);

/* The checksum over `covered` of `bytes` at the transport header, with or without a
 * pseudo-header. */
uint32_t checksum(const struct talk_state *t, const uint8_t *packet, const uint8_t *l4,
                  size_t bytes, size_t covered, uint8_t protocol, bool pseudo);
uint32_t crc32c(const uint8_t *data, size_t size);

/* Adds a packet as it is. */
void add_packet(struct talk_state *t, const uint8_t *packet, size_t size, int from);

/* Finishes and adds a packet whose transport part stands at its place: now and then with a wrong
 * checksum, extension headers or options before it, cut short, in fragments, or with bytes
 * behind its end. */
void finish(struct talk_state *t, uint8_t *packet, uint8_t protocol, size_t bytes, int from);

#endif
