/* SPDX-License-Identifier: MIT */
/* packet.c - packets of a random talk, byte by byte. */
#include "packet.h"
#include "prepare.h"
#include "ruling.h"

#include <stdlib.h>
#include <string.h>

/* ---- chance ---- */

uint64_t draw(struct chance *chance) /* splitmix64 */
{
    uint64_t x = chance->state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint32_t below(struct chance *chance, uint32_t limit)
{
    return (uint32_t)(draw(chance) % limit);
}

bool one_in(struct chance *chance, uint32_t n)
{
    return below(chance, n) == 0;
}

/* ---- bytes ---- */

void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

void put32(uint8_t *p, uint32_t value)
{
    put16(p, value >> 16);
    put16(p + 2, value & 0xffff);
}

size_t ip_bytes(const struct talk_state *t)
{
    return t->v6 ? 40 : 20;
}

const uint8_t client_and_server_v4[2][4] = {{192, 0, 2, 1}, {198, 51, 100, 1}};
const uint8_t client_and_server_v6[2][16] = {
    {0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1},
    {0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

void put_ip(const struct talk_state *t, uint8_t *packet, uint8_t protocol, size_t bytes,
                   int from)
{
    const int to = t->alone ? from : 1 - from;
    memset(packet, 0, ip_bytes(t));
    if (t->v6) {
        packet[0] = 0x60;
        put16(packet + 4, (uint32_t)bytes);
        packet[6] = protocol;
        packet[7] = 64;
        memcpy(packet + 8, client_and_server_v6[from], 16);
        memcpy(packet + 24, client_and_server_v6[to], 16);
        return;
    }
    packet[0] = 0x45;
    put16(packet + 2, (uint32_t)(20 + bytes));
    put16(packet + 4, 1);
    packet[8] = 64;
    packet[9] = protocol;
    memcpy(packet + 12, client_and_server_v4[from], 4);
    memcpy(packet + 16, client_and_server_v4[to], 4);
    put_header_sum(packet, 20);
}

uint32_t checksum(const struct talk_state *t, const uint8_t *packet, const uint8_t *l4,
                         size_t bytes, size_t covered, uint8_t protocol, bool pseudo)
{
    uint32_t sum = 0;
    if (pseudo) {
        const uint8_t tail[4] = {0, protocol, (uint8_t)(bytes >> 8), (uint8_t)bytes};
        sum = sum_words(0, t->v6 ? packet + 8 : packet + 12, t->v6 ? 32 : 8);
        sum = sum_words(sum, tail, sizeof tail);
    }
    return ~sum_words(sum, l4, covered) & 0xffff;
}

uint32_t crc32c(const uint8_t *data, size_t size)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

void add_packet(struct talk_state *t, const uint8_t *packet, size_t size, int from)
{
    struct vec_packet *added = &t->c.packets[t->c.packets_count++];
    memset(added, 0, sizeof *added);
    added->data = need(malloc(size + 1));
    memcpy(added->data, packet, size);
    added->size = (uint32_t)size;
    added->from_server = from != 0;
    added->zone = t->zone;
    added->zone_of = t->zone_of;
    if (t->ruling != NULL && size > 0) {
        ruling_address(t->ruling, added->data, size, from);
        ruling_send(t->ruling, added);
    }
}

/* Adds a whole packet as fragments: in any order, one missing, doubled, overlapping, empty or far
 * behind the end at times. The header ends, and the data begins, at `header`. */
static void add_fragments(struct talk_state *t, const uint8_t *packet, size_t size, size_t header,
                          int from)
{
    struct chance *chance = &t->chance;
    uint8_t parts[4][PACKET_MAX];
    size_t sizes[4], count = 0, at = 0;
    const size_t data = size - header, step = 8 * (1 + below(chance, (uint32_t)(data / 16 + 1)));
    const uint32_t id = below(chance, 3);
    while (at < data && count < 4) {
        size_t here = at, length = count == 3 || data - at < step ? data - at : step;
        at += length;
        if (one_in(chance, 20) && here >= 8)
            here -= 8, length += 8; /* overlaps the one before */
        if (one_in(chance, 40))
            length -= below(chance, (uint32_t)(length < 9 ? length : 9));
        if (one_in(chance, 60))
            length = 0;
        size_t claimed = here;
        if (one_in(chance, 80))
            claimed = 65528 - 8 * below(chance, 8);
        const bool more = one_in(chance, 60) ? one_in(chance, 2) : at < data;
        uint8_t *part = parts[count];
        memcpy(part, packet, header);
        size_t begin = header;
        if (t->v6) {
            uint8_t *names = part + (header > 40 ? 40 : 6); /* one extension header, or none */
            part[header] = *names;
            part[header + 1] = 0;
            put16(part + header + 2, (uint32_t)claimed | more);
            put32(part + header + 4, id);
            *names = 44;
            begin = header + 8;
            put16(part + 4, (uint32_t)(begin - 40 + length));
        } else {
            put16(part + 2, (uint32_t)(header + length));
            put16(part + 4, id);
            put16(part + 6, (uint32_t)(claimed / 8) | (uint32_t)more << 13);
            put_header_sum(part, header);
        }
        memcpy(part + begin, packet + header + here, length);
        sizes[count++] = begin + length;
    }
    for (size_t left = count; left > 0; left--) { /* in order, mostly */
        const size_t i = one_in(chance, 2) ? 0 : below(chance, (uint32_t)left);
        if (!one_in(chance, 12) && t->c.packets_count < PACKETS_MAX)
            add_packet(t, parts[i], sizes[i], from);
        if (one_in(chance, 12) && t->c.packets_count < PACKETS_MAX)
            add_packet(t, parts[i], sizes[i], from);
        memmove(&parts[i], &parts[i + 1], (left - i - 1) * sizeof parts[0]);
        memmove(&sizes[i], &sizes[i + 1], (left - i - 1) * sizeof sizes[0]);
    }
}

void finish(struct talk_state *t, uint8_t *packet, uint8_t protocol, size_t bytes, int from)
{
    static const uint8_t exts[] = {0, 60, 43, 51};
    struct chance *chance = &t->chance;
    size_t size = ip_bytes(t) + bytes, extended = 0; /* bytes of options, or before the data */
    put_ip(t, packet, protocol, bytes, from);
    if (t->v6 && one_in(chance, 12)) {
        const uint8_t ext = exts[below(chance, t->helped ? 3 : 4)];
        memmove(packet + 48, packet + 40, bytes);
        memset(packet + 40, 0, 8);
        packet[40] = protocol;
        if (ext == 0 || ext == 60)
            packet[42] = 1, packet[43] = 4; /* PadN */
        packet[6] = ext;
        put16(packet + 4, (uint32_t)(bytes + 8));
        size += 8;
        extended = ext != 51 && one_in(chance, 2) ? 8 : 0;
    } else if (!t->v6 && one_in(chance, 12)) {
        memmove(packet + 24, packet + 20, bytes);
        memset(packet + 20, 1, 4); /* NOP */
        packet[0] = 0x46;
        size += 4;
        extended = 4;
        put16(packet + 2, (uint32_t)size);
        put_header_sum(packet, 24);
    }
    if (one_in(chance, 40) && bytes > 0)
        packet[size - 1 - below(chance, (uint32_t)bytes)] ^= (uint8_t)(1 << below(chance, 8));
    if (one_in(chance, 60)) { /* a packet cut short, with headers that know it */
        size_t cut = below(chance, (uint32_t)bytes + 1);
        put_ip(t, packet, protocol, cut, from);
        size = ip_bytes(t) + cut;
        extended = 0;
    }
    if (one_in(chance, 60)) {
        memset(packet + size, 0xee, 8);
        size += 1 + below(chance, 8);
    }
    if (size > ip_bytes(t) + 16 && one_in(chance, t->fragments ? 3 : 50) &&
        size < 1900 && !t->waits && !t->whole)
        add_fragments(t, packet, size, ip_bytes(t) + extended, from);
    else
        add_packet(t, packet, size, from);
}
