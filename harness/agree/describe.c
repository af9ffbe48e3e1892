/* SPDX-License-Identifier: MIT */
/* describe.c - written apart from core/parse.h on purpose: it is for when that is suspected. */
#include "describe.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

struct line {
    char *text;
    size_t size, length;
};

static void put(struct line *line, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    const int written =
        vsnprintf(line->text + line->length, line->size - line->length, format, values);
    va_end(values);
    if (written > 0)
        line->length += (size_t)written;
    if (line->length >= line->size)
        line->length = line->size - 1;
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void describe_tcp(struct line *line, const uint8_t *l4, size_t bytes)
{
    static const char letters[] = "FSRP.UEW"; /* as tcpdump has them */
    if (bytes < 20) {
        put(line, " (cut short)");
        return;
    }
    put(line, " [");
    for (int bit = 0; bit < 8; bit++)
        if (l4[13] >> bit & 1)
            put(line, "%c", letters[bit]);
    const size_t header = (size_t)(l4[12] >> 4) * 4;
    put(line, "] seq %u ack %u win %u", get32(l4 + 4), get32(l4 + 8), get16(l4 + 14));
    if (header < 20 || header > bytes) {
        put(line, " (data offset %zu)", header);
        return;
    }
    put(line, " len %zu", bytes - header);
    for (size_t i = 20; i < header; i++)
        put(line, "%s%02x", i == 20 ? " options " : "", l4[i]);
}

static void describe_sctp(struct line *line, const uint8_t *l4, size_t bytes)
{
    static const char *const names[] = {"DATA",      "INIT",  "INIT-ACK", "SACK",
                                        "HEARTBEAT", "HEARTBEAT-ACK", "ABORT", "SHUTDOWN",
                                        "SHUTDOWN-ACK", "ERROR", "COOKIE-ECHO", "COOKIE-ACK",
                                        "ECNE", "CWR", "SHUTDOWN-COMPLETE"};
    put(line, " tag %08x", get32(l4 + 4));
    for (size_t at = 12; at + 4 <= bytes; at += (get16(l4 + at + 2) + 3u) & ~3u) {
        const unsigned type = l4[at], length = get16(l4 + at + 2);
        put(line, type < 15 ? ", %s" : ", chunk %2$u", type < 15 ? names[type] : "", type);
        if (l4[at + 1] != 0)
            put(line, " flags %u", l4[at + 1]);
        if ((type == 1 || type == 2) && at + 8 <= bytes)
            put(line, " initiate tag %08x", get32(l4 + at + 4));
        if (length < 4) {
            put(line, " length %u", length);
            break;
        }
    }
}

static void describe_l4(struct line *line, unsigned protocol, const uint8_t *l4, size_t bytes)
{
    static const struct {
        unsigned number;
        const char *name;
    } names[] = {{1, "icmp"},   {6, "tcp"},     {17, "udp"},     {47, "gre"},
                 {58, "icmp6"}, {132, "sctp"}, {136, "udplite"}};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].number == protocol)
            name = names[i].name;
    put(line, name != NULL ? " %s" : " protocol %2$u", name, protocol);
    if (protocol == 1 || protocol == 58) {
        if (bytes >= 8)
            put(line, " type %u code %u id %u", l4[0], l4[1], get16(l4 + 4));
        if (bytes >= 28 && (protocol == 1 ? l4[0] != 0 && l4[0] < 13 && l4[0] != 8 : l4[0] < 128)) {
            put(line, ", about: ");
            describe(l4 + 8, bytes - 8, line->text + line->length, line->size - line->length);
            while (line->text[line->length] != '\0')
                line->length++;
        }
        return;
    }
    if ((protocol == 6 || protocol == 17 || protocol == 132 || protocol == 136) && bytes >= 4)
        put(line, " %u > %u", get16(l4), get16(l4 + 2));
    if (protocol == 6)
        describe_tcp(line, l4, bytes);
    else if ((protocol == 17 || protocol == 136) && bytes >= 8)
        put(line, " length %u checksum %04x", get16(l4 + 4), get16(l4 + 6));
    else if (protocol == 132 && bytes >= 12)
        describe_sctp(line, l4, bytes);
}

void describe(const uint8_t *data, size_t bytes, char *text, size_t size)
{
    struct line line = {text, size, 0};
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    if (size > 0)
        text[0] = '\0';
    if (bytes >= 20 && data[0] >> 4 == 4) {
        const size_t total = get16(data + 2), header = (size_t)(data[0] & 15) * 4;
        put(&line, "%s > %s", inet_ntop(AF_INET, data + 12, from, sizeof from),
            inet_ntop(AF_INET, data + 16, to, sizeof to));
        if (total != bytes)
            put(&line, " (%zu bytes, header says %zu)", bytes, total);
        const unsigned fragment = get16(data + 6);
        if (fragment & 0x3fff)
            put(&line, " fragment at %u%s of %04x", (fragment & 0x1fff) * 8,
                fragment & 0x2000 ? ", more follow," : "", get16(data + 4));
        const size_t end = total < bytes ? total : bytes;
        if (header >= 20 && header <= end && !(fragment & 0x1fff))
            describe_l4(&line, data[9], data + header, end - header);
    } else if (bytes >= 40 && data[0] >> 4 == 6) {
        size_t at = 40, end = get16(data + 4) + 40u;
        unsigned next = data[6];
        put(&line, "%s > %s", inet_ntop(AF_INET6, data + 8, from, sizeof from),
            inet_ntop(AF_INET6, data + 24, to, sizeof to));
        if (end != bytes)
            put(&line, " (%zu bytes, header says %zu)", bytes, end);
        end = end < bytes ? end : bytes;
        while ((next == 0 || next == 43 || next == 44 || next == 51 || next == 60) &&
               at + 8 <= end) {
            put(&line, " ext %u", next);
            if (next == 44)
                put(&line, " (fragment at %u%s)", get16(data + at + 2) & 0xfff8u,
                    data[at + 3] & 1 ? ", more follow" : "");
            const size_t length = next == 44   ? 8
                                  : next == 51 ? (data[at + 1] + 2u) * 4
                                               : (data[at + 1] + 1u) * 8;
            next = data[at];
            at += length;
        }
        if (at <= end)
            describe_l4(&line, next, data + at, end - at);
        put(&line, " (%zu bytes)", bytes);
    } else {
        put(&line, "no IP packet, %zu bytes", bytes);
    }
}
