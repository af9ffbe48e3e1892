/* SPDX-License-Identifier: MIT */
/* prepare.c - one family a function: header, length, addresses, hop count, then the checksum. */
#include "prepare.h"

#include <string.h>

enum { TTL = 64, LENGTH_MAX = 65535 }; /* of the TUN devices */
enum { ICMPV6 = 58, TCP = 6, UDP = 17, SCTP = 132 };

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

uint32_t sum_words(uint32_t sum, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        sum += i % 2 == 0 ? (uint32_t)data[i] << 8 : data[i];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

void put_header_sum(uint8_t *data, size_t header)
{
    put16(data + 10, 0);
    put16(data + 10, ~sum_words(0, data, header));
}

/* ---- transport checksums ---- */

/* SCTP's is a CRC-32C, least significant byte first. Linux leaves 0 to the card. */
static bool fill_sctp(uint8_t *l4, uint32_t bytes)
{
    static const uint8_t nothing[4] = {0};
    uint32_t crc = UINT32_MAX;
    if (bytes < 12 || memcmp(l4 + 8, nothing, sizeof nothing) != 0)
        return false;
    for (uint32_t i = 0; i < bytes; i++) {
        crc ^= l4[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    for (int i = 0; i < 4; i++)
        l4[8 + i] = (uint8_t)(~crc >> 8 * i);
    return true;
}

/* To a card Linux leaves the sum of the pseudo-header in the field, not inverted; ICMP it sums
 * itself. */
static bool fill_sum(uint8_t *l4, uint32_t bytes, uint8_t protocol, const uint8_t *addresses,
                     uint32_t addresses_bytes)
{
    const uint32_t field = protocol == TCP ? 16 : protocol == UDP ? 6 : 2;
    const uint8_t tail[4] = {0, protocol, (uint8_t)(bytes >> 8), (uint8_t)bytes};
    if (bytes < (protocol == TCP ? 20 : 8))
        return false;
    const uint32_t pseudo = sum_words(sum_words(0, addresses, addresses_bytes), tail, sizeof tail);
    if (get16(l4 + field) != pseudo || sum_words(pseudo, l4, bytes) == 0xffff)
        return false;
    put16(l4 + field, 0);
    const uint32_t sum = ~sum_words(pseudo, l4, bytes) & 0xffff;
    put16(l4 + field, sum == 0 && protocol == UDP ? 0xffff : sum);
    return true;
}

static bool fill(uint8_t *l4, uint32_t bytes, uint8_t protocol, const uint8_t *addresses,
                 uint32_t addresses_bytes)
{
    if (protocol == SCTP)
        return fill_sctp(l4, bytes);
    return (protocol == TCP || protocol == UDP || (protocol == ICMPV6 && addresses_bytes == 32)) &&
           fill_sum(l4, bytes, protocol, addresses, addresses_bytes);
}

/* ---- IPv4 ---- */

static enum prepared address4(const uint8_t *address)
{
    if (address[0] == 0)
        return PREPARED_NO_ADDRESS;
    if (address[0] == 127)
        return PREPARED_LOOPBACK;
    if (address[0] >> 4 == 14 || get16(address) + get16(address + 2) == 2 * 0xffff)
        return PREPARED_MULTICAST;
    return PREPARED_TO_ASK;
}

/* Whether there is nothing among the options but padding and a router alert. */
static bool options_plain(const uint8_t *options, uint32_t bytes)
{
    enum { END = 0, NOP = 1, ALERT = 148 };
    for (uint32_t at = 0; at < bytes && options[at] != END;) {
        if (options[at] == NOP)
            at++;
        else if (options[at] == ALERT && at + 4 <= bytes && options[at + 1] == 4)
            at += 4;
        else
            return false;
    }
    return true;
}

static enum prepared prepare4(uint8_t *data, uint32_t *size, bool cut, bool *filled)
{
    const enum prepared shortage = cut ? PREPARED_CUT : PREPARED_HEADER;
    const uint32_t header = (uint32_t)(data[0] & 15) * 4;
    if (*size < 20 || *size < header)
        return shortage;
    if (header < 20)
        return PREPARED_HEADER;
    const bool summed = sum_words(0, data, header) == 0xffff;
    if (!summed && get16(data + 10) != 0)
        return PREPARED_HEADER;
    const bool segments = get16(data + 2) == 0 && data[9] == TCP; /* the card cuts and counts them */
    const uint32_t total = segments ? *size : get16(data + 2);
    if (total < header)
        return PREPARED_HEADER;
    if (total > *size || (segments && cut))
        return shortage;
    if (total > LENGTH_MAX)
        return PREPARED_LONG;
    const enum prepared from = address4(data + 12), to = address4(data + 16);
    if (from != PREPARED_TO_ASK || to != PREPARED_TO_ASK)
        return from != PREPARED_TO_ASK ? from : to;
    if (!options_plain(data + 20, header - 20))
        return PREPARED_OPTIONS;

    const bool whole = (get16(data + 6) & 0x3fff) == 0;
    const bool sum_filled =
        whole && fill(data + header, total - header, data[9], data + 12, 8);
    *filled |= sum_filled || segments || !summed;
    *size = total;
    put16(data + 2, total);
    if (data[8] <= 1)
        data[8] = TTL;
    put_header_sum(data, header);
    return PREPARED_TO_ASK;
}

/* ---- IPv6 ---- */

static enum prepared address6(const uint8_t *address)
{
    static const uint8_t zeros[15] = {0};
    if (memcmp(address, zeros, sizeof zeros) == 0 && address[15] <= 1)
        return address[15] == 0 ? PREPARED_NO_ADDRESS : PREPARED_LOOPBACK;
    if (memcmp(address, zeros, 10) == 0 && get16(address + 10) == 0xffff) /* an IPv4 one */
        return PREPARED_NO_ADDRESS;
    if (address[0] == 0xff)
        return PREPARED_MULTICAST;
    if (address[0] == 0xfe && address[1] >> 6 == 2)
        return PREPARED_LINK_LOCAL;
    return PREPARED_TO_ASK;
}

/* Fills in behind headers that leave the destination where it stands, and the datagram whole. */
static bool fill6(uint8_t *data, uint32_t total)
{
    enum { DESTINATION = 60, AUTHENTICATION = 51 };
    uint8_t next = data[6];
    uint32_t at = 40;
    while ((next == DESTINATION || next == AUTHENTICATION) && at + 8 <= total) {
        const uint32_t words = data[at + 1];
        const uint32_t bytes = next == AUTHENTICATION ? (words + 2) * 4 : (words + 1) * 8;
        next = data[at];
        at += bytes;
    }
    return at <= total && fill(data + at, total - at, next, data + 8, 32);
}

static enum prepared prepare6(uint8_t *data, uint32_t *size, bool cut, bool *filled)
{
    enum { HOP_BY_HOP = 0 };
    const enum prepared shortage = cut ? PREPARED_CUT : PREPARED_HEADER;
    if (*size < 40)
        return shortage;
    const bool segments = get16(data + 4) == 0 && data[6] == TCP && *size >= 60;
    const uint32_t total = segments ? *size : get16(data + 4) + 40;
    if (total > *size || (segments && cut))
        return shortage;
    if (total > LENGTH_MAX)
        return PREPARED_LONG;
    const enum prepared from = address6(data + 8), to = address6(data + 24);
    if (from != PREPARED_TO_ASK || to != PREPARED_TO_ASK)
        return from != PREPARED_TO_ASK ? from : to;
    if (data[6] == HOP_BY_HOP)
        return PREPARED_OPTIONS;

    *size = total;
    put16(data + 4, total - 40);
    const bool sum_filled = fill6(data, total);
    *filled |= sum_filled || segments;
    if (data[7] <= 1)
        data[7] = TTL;
    return PREPARED_TO_ASK;
}

enum prepared prepare(uint8_t *data, uint32_t *size, bool cut, bool *filled)
{
    if (*size == 0)
        return cut ? PREPARED_CUT : PREPARED_HEADER;
    return data[0] >> 4 == 4   ? prepare4(data, size, cut, filled)
           : data[0] >> 4 == 6 ? prepare6(data, size, cut, filled)
                               : PREPARED_HEADER;
}

const char *prepared_text(enum prepared prepared)
{
    static const char *const texts[PREPARED] = {
#define PREPARED_X(name, text) text,
        PREPARED_LIST(PREPARED_X)
#undef PREPARED_X
    };
    return texts[prepared];
}
