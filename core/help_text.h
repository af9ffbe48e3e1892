/* SPDX-License-Identifier: MIT */
/* core/help_text.h - what helpers share: reading untrusted text, and saying what they expect.
 *
 * A struct kst__text is what is left to read; every reader checks that before it looks. */
#ifndef KST_HELP_TEXT_H
#define KST_HELP_TEXT_H

#include "line.h"
#include "nat.h"

struct kst__text {
    const uint8_t *at, *end;
};

KST_INLINE uint32_t kst__left(const struct kst__text *text)
{
    return (uint32_t)(text->end - text->at);
}

KST_INLINE bool kst__is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

KST_INLINE uint8_t kst__lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

/* Whether `n` bytes are those of `word`, whatever their case; `word` is in lower case. */
static bool kst__same_word(const uint8_t *text, const char *word, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (kst__lower(text[i]) != (uint8_t)word[i])
            return false;
    return true;
}

/* Whether the text begins with `word`, whatever its case; then it is read. */
static bool kst__word_read(struct kst__text *text, const char *word)
{
    const uint32_t n = (uint32_t)strlen(word);
    if (kst__left(text) < n || !kst__same_word(text->at, word, n))
        return false;
    text->at += n;
    return true;
}

/* Reads on to just behind the first `c`. */
static bool kst__skip_past(struct kst__text *text, uint8_t c)
{
    while (text->at < text->end)
        if (*text->at++ == c)
            return true;
    return false;
}

/* Digits, at most `most`; false if there is none. What exceeds 2^64 wraps. */
static bool kst__number_read(struct kst__text *text, uint32_t most, uint64_t *number)
{
    const uint8_t *begin = text->at;
    *number = 0;
    for (; text->at < text->end && kst__is_digit(*text->at) && most > 0; text->at++, most--)
        *number = *number * 10 + (*text->at - '0');
    return text->at > begin;
}

/* a.b.c.d, each at most 255 behind whatever zeros; no fifth may follow. */
static bool kst__ipv4_read(struct kst__text *text, uint8_t *address)
{
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t number = 0;
        if (i > 0 && (text->at == text->end || *text->at++ != '.'))
            return false;
        if (text->at == text->end || !kst__is_digit(*text->at))
            return false;
        for (; text->at < text->end && kst__is_digit(*text->at); text->at++) {
            number = number * 10 + (uint32_t)(*text->at - '0');
            if (number > 255)
                return false;
        }
        address[i] = (uint8_t)number;
    }
    return text->at == text->end || *text->at != '.';
}

static int kst__hex_digit(uint8_t c)
{
    if (kst__is_digit(c))
        return c - '0';
    return kst__lower(c) >= 'a' && kst__lower(c) <= 'f' ? kst__lower(c) - 'a' + 10 : -1;
}

/* Sixteen bits in hexadecimal, behind whatever zeros. */
static bool kst__group_read(struct kst__text *text, uint32_t *group)
{
    const uint8_t *begin = text->at;
    *group = 0;
    for (; text->at < text->end && kst__hex_digit(*text->at) >= 0; text->at++) {
        *group = *group << 4 | (uint32_t)kst__hex_digit(*text->at);
        if (*group > UINT16_MAX)
            return false;
    }
    return text->at > begin;
}

/* An IPv6 address as people write it (RFC 4291, 2.2), the last 32 bits perhaps in IPv4's way. */
static bool kst__ipv6_read(struct kst__text *text, uint8_t *address)
{
    uint32_t bytes = 0, gap = UINT32_MAX; /* read so far; where `::` stood */
    memset(address, 0, 16);
    while (bytes < 16) {
        struct kst__text ahead = *text;
        uint32_t group;
        if (kst__left(&ahead) >= 2 && ahead.at[0] == ':' && ahead.at[1] == ':') {
            if (gap != UINT32_MAX)
                return false;
            gap = bytes;
            ahead.at += 2;
        } else if (bytes > 0 && (bytes != gap)) {
            if (ahead.at == ahead.end || *ahead.at != ':')
                break;
            ahead.at++;
        }
        const struct kst__text number = ahead;
        if (!kst__group_read(&ahead, &group)) {
            if (gap != bytes || (number.at < number.end &&
                                 (*number.at == ':' || kst__hex_digit(*number.at) >= 0)))
                return false;
            *text = number;
            break;
        }
        if (ahead.at < ahead.end && *ahead.at == '.' && bytes <= 12) {
            ahead = number;
            if (!kst__ipv4_read(&ahead, address + bytes))
                return false;
            *text = ahead;
            bytes += 4;
            break;
        }
        address[bytes] = (uint8_t)(group >> 8);
        address[bytes + 1] = (uint8_t)group;
        bytes += 2;
        *text = ahead;
    }
    if (gap == UINT32_MAX)
        return bytes == 16;
    memmove(address + 16 - (bytes - gap), address + gap, bytes - gap);
    memset(address + gap, 0, 16 - bytes);
    return bytes < 16;
}

/* The zone that a connection lives in, in whatever direction. */
static uint16_t kst__help_zone(const struct kst_help *h)
{
    return h->tuple[0].zone != 0 ? h->tuple[0].zone : h->tuple[1].zone;
}

/* Expects a connection that begins with a packet of this tuple and no other. */
static enum kst_reason kst__help_expect_exactly(struct kst_help *h, uint8_t class_,
                                                const struct kst_tuple *tuple)
{
    struct kst_expectation x;
    memset(&x, 0, sizeof x);
    x.master = h->connection;
    x.tuple = *tuple;
    x.class_ = class_;
    return kst_expect(h->t, &x) == KST_ERROR_OK ? KST_REASON_NONE : KST_REASON_HELPER_EXPECT;
}

enum { KST__HELP_PORTS = 128 };

/* Expects, where the connection is translated, one that will be bound as that is, at the first port
 * that nobody else expects: the one named, which is `*port`, else some of those above it at random.
 * `*port` is then what was taken. */
static enum kst_reason kst__help_expect_port(struct kst_help *h, struct kst_expectation *x,
                                             uint16_t *port)
{
    enum kst_error error = KST_ERROR_EXPECT_BUSY;
    if (h->translated && x->follows == KST_FOLLOWS_NOT)
        x->follows = KST_FOLLOWS;
    x->nat_direction = h->direction;
    x->tuple.dst_port = *port;
    for (uint32_t i = 0; i <= KST__HELP_PORTS && error == KST_ERROR_EXPECT_BUSY; i++) {
        if (i > 0 && !h->translated)
            break;
        if (i > 0)
            x->tuple.dst_port = (uint16_t)(*port + kst__nat_draw(h->t) % (65536u - *port));
        error = kst_expect(h->t, x);
    }
    *port = x->tuple.dst_port;
    return error == KST_ERROR_OK ? KST_REASON_NONE : KST_REASON_HELPER_EXPECT;
}

/* Puts a line in the place of what is at [begin, end) of the payload. */
static enum kst_reason kst__help_put(struct kst_help *h, const uint8_t *begin, const uint8_t *end,
                                     const struct kst__line *line)
{
    return kst_help_replace(h, (uint32_t)(begin - h->payload), (uint32_t)(end - begin), line->text,
                            (uint32_t)line->length)
               ? KST_REASON_NONE
               : KST_REASON_NAT_ROOM;
}

/* Expects `protocol` from the sender of `as`, but for what `flags` leaves open, to this address
 * and port, or another if the connection is translated. */
static enum kst_reason kst__help_expect(struct kst_help *h, uint8_t class_, uint8_t protocol,
                                        uint8_t flags, const struct kst_tuple *as,
                                        const uint8_t *dst, uint16_t *port)
{
    struct kst_expectation x;
    memset(&x, 0, sizeof x);
    x.master = h->connection;
    x.tuple.family = as->family;
    x.tuple.protocol = protocol;
    x.tuple.zone = kst__help_zone(h);
    if (!(flags & KST_EXPECT_ANY_SRC))
        memcpy(x.tuple.src, as->src, sizeof x.tuple.src);
    memcpy(x.tuple.dst, dst, sizeof x.tuple.dst);
    x.nat_port = *port;
    x.class_ = class_;
    x.flags = flags;
    return kst__help_expect_port(h, &x, port);
}

#endif
