/* SPDX-License-Identifier: MIT */
/* core/help_ftp.h - FTP (RFC 959, RFC 2428): PORT and EPRT of the client, 227 and 229 of the server
 * name where the data connection will go.
 *
 * A packet is read only if it begins where a line does: that is known from the packet before it, so
 * the first of each side is never read. Numbers are read as Linux reads them, modulo 2^32. */
#ifndef KST_HELP_FTP_H
#define KST_HELP_FTP_H

#include "help_text.h"

struct kst__ftp { /* by direction: the last two places where a line began */
    uint32_t line[2][2];
    uint32_t lines[2];
};

typedef char kst__ftp_fits[sizeof(struct kst__ftp) <= KST_HELPER_STATE_BYTES ? 1 : -1];

struct kst__ftp_address { /* where data will go, beginning with where the command came from */
    uint8_t address[16];
    uint8_t family;
    uint16_t port;
    const uint8_t *begin, *end; /* where it stands */
};

static bool kst__ftp_at_line(const struct kst__ftp *ftp, uint8_t direction, uint32_t seq)
{
    for (uint32_t i = 0; i < ftp->lines[direction]; i++)
        if (ftp->line[direction][i] == seq)
            return true;
    return false;
}

/* Notes where the next line begins, in the place of the older one. */
static void kst__ftp_note_line(struct kst__ftp *ftp, uint8_t direction, uint32_t seq)
{
    uint32_t *line = ftp->line[direction];
    if (kst__ftp_at_line(ftp, direction, seq))
        return;
    if (ftp->lines[direction] < 2) {
        line[ftp->lines[direction]++] = seq;
        return;
    }
    const uint32_t older = kst__before(line[0], line[1]) ? 0 : 1;
    if (kst__after(seq, line[older]))
        line[older] = seq;
}

/* `count` numbers with `separator` between and something that is neither behind: `end`, or
 * anything if that is 0. An empty number is 0. */
static bool kst__ftp_numbers(struct kst__text *text, uint32_t *numbers, uint32_t count,
                             uint8_t separator, uint8_t end)
{
    memset(numbers, 0, count * sizeof *numbers);
    for (uint32_t i = 0; text->at < text->end && i < count; text->at++) {
        const uint8_t c = *text->at;
        if (kst__is_digit(c))
            numbers[i] = numbers[i] * 10 + (c - '0');
        else if (c == separator)
            i++;
        else
            return i == count - 1 && (end == 0 || c == end);
    }
    return false;
}

/* An IPv4 address of four numbers that are not held to 255: Linux or's them together. */
static void kst__ftp_ipv4(const uint32_t *numbers, struct kst__ftp_address *a)
{
    const uint32_t ipv4 = numbers[0] << 24 | numbers[1] << 16 | numbers[2] << 8 | numbers[3];
    for (uint32_t i = 0; i < 4; i++)
        a->address[i] = (uint8_t)(ipv4 >> (24 - 8 * i));
}

/* h1,h2,h3,h4,p1,p2 */
static bool kst__ftp_six(struct kst__text *text, uint8_t end, struct kst__ftp_address *a)
{
    uint32_t numbers[6];
    a->begin = text->at;
    if (!kst__ftp_numbers(text, numbers, 6, ',', end))
        return false;
    a->end = text->at;
    kst__ftp_ipv4(numbers, a);
    a->port = (uint16_t)(numbers[4] << 8 | numbers[5]);
    return true;
}

/* A port, not 0, and the delimiter behind it. */
static bool kst__ftp_port(struct kst__text *text, uint8_t delimiter, struct kst__ftp_address *a)
{
    a->port = 0;
    for (; text->at < text->end; text->at++) {
        if (*text->at == delimiter) {
            a->end = text->at + 1;
            return a->port != 0;
        }
        if (!kst__is_digit(*text->at))
            return false;
        a->port = (uint16_t)(a->port * 10 + (*text->at - '0'));
    }
    return false;
}

static bool kst__ftp_delimiter(uint8_t c)
{
    return c >= 33 && c <= 126 && !kst__is_digit(c);
}

static bool kst__ftp_port_command(struct kst__text *text, struct kst__ftp_address *a)
{
    return kst__skip_past(text, ' ') && kst__ftp_six(text, '\r', a);
}

/* |1|132.235.1.2|6275| or |2|3ffe::1|6275| */
static bool kst__ftp_eprt_command(struct kst__text *text, struct kst__ftp_address *a)
{
    uint32_t numbers[4];
    if (!kst__skip_past(text, ' ') || kst__left(text) <= 3)
        return false;
    const uint8_t delimiter = text->at[0];
    a->begin = text->at;
    if (!kst__ftp_delimiter(delimiter) || text->at[2] != delimiter ||
        text->at[1] != (a->family == KST_IPV4 ? '1' : '2'))
        return false;
    text->at += 3;
    if (a->family == KST_IPV4) {
        if (!kst__ftp_numbers(text, numbers, 4, '.', delimiter))
            return false;
        kst__ftp_ipv4(numbers, a);
    } else if (!kst__ipv6_read(text, a->address) || text->at == text->end ||
               (*text->at != delimiter && *text->at != '\0')) {
        return false;
    }
    text->at++;
    return kst__ftp_port(text, delimiter, a);
}

static bool kst__ftp_227(struct kst__text *text, struct kst__ftp_address *a)
{
    while (text->at < text->end && !kst__is_digit(*text->at))
        text->at++;
    return kst__ftp_six(text, 0, a);
}

/* |||6446| */
static bool kst__ftp_229(struct kst__text *text, struct kst__ftp_address *a)
{
    if (!kst__skip_past(text, '(') || kst__left(text) <= 3)
        return false;
    const uint8_t delimiter = text->at[0];
    a->begin = text->at;
    if (!kst__ftp_delimiter(delimiter) || text->at[1] != delimiter || text->at[2] != delimiter)
        return false;
    text->at += 3;
    return kst__ftp_port(text, delimiter, a);
}

/* What a line says: NONE, and `found` if it names an address. */
static enum kst_reason kst__ftp_line(const struct kst_help *h, struct kst__ftp_address *a,
                                     bool *found)
{
    static const char words[2][2][5] = {{"port", "eprt"}, {"227 ", "229 "}};
    struct kst__text text = {h->payload, h->payload + h->size};
    *found = false;
    for (uint32_t i = 0; i < 2; i++) {
        const char *word = words[h->direction][i];
        if (h->size <= 4 && kst__same_word(h->payload, word, h->size))
            return KST_REASON_FTP_PARTIAL;
        if (!kst__word_read(&text, word))
            continue;
        *found = h->direction == KST_ORIGINAL
                     ? (i == 0 ? kst__ftp_port_command(&text, a) : kst__ftp_eprt_command(&text, a))
                     : (i == 0 ? kst__ftp_227(&text, a) : kst__ftp_229(&text, a));
        return *found ? KST_REASON_NONE : KST_REASON_FTP_ADDRESS;
    }
    return KST_REASON_NONE;
}

/* Puts another address and port in the place of the one that was read, in the same form. */
static enum kst_reason kst__ftp_rewrite(struct kst_help *h, const struct kst__ftp_address *a,
                                        const uint8_t *address, uint16_t port)
{
    char text[64];
    struct kst__line line = {text, sizeof text, 0};
    if (kst__is_digit(*a->begin)) { /* h1,h2,h3,h4,p1,p2 */
        for (uint32_t i = 0; i < 4; i++)
            kst__put_field(&line, i == 0 ? "" : ",", address[i]);
        kst__put_field(&line, ",", port >> 8);
        kst__put_field(&line, ",", port & 0xff);
    } else { /* |1|h.h.h.h|p|, |2|h:h::h|p| or |||p| */
        const bool extended = h->direction == KST_ORIGINAL;
        kst__put(&line, !extended ? "||" : a->family == KST_IPV4 ? "|1|" : "|2|");
        if (extended && a->family == KST_IPV4)
            kst__put_ipv4(&line, address);
        else if (extended)
            kst__put_ipv6_short(&line, address);
        kst__put_field(&line, "|", port);
        kst__put(&line, "|");
    }
    return kst__help_put(h, a->begin, a->end, &line);
}

static enum kst_reason kst__ftp_help(struct kst_help *h)
{
    struct kst__ftp *ftp = (struct kst__ftp *)h->state;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    struct kst__ftp_address a;
    enum kst_reason reason = KST_REASON_NONE;
    bool found;
    uint32_t loose = 1;
    if (!h->answered || h->size == 0)
        return KST_REASON_NONE;
    const uint32_t behind = h->seq + h->size; /* as it came: its peer will number it so */
    const bool ends = h->payload[h->size - 1] == '\n';
    if (kst__ftp_at_line(ftp, h->direction, h->seq)) {
        memcpy(a.address, own->src, sizeof a.address);
        a.family = own->family;
        reason = kst__ftp_line(h, &a, &found);
        if (reason != KST_REASON_NONE)
            return reason;
        const bool elsewhere = memcmp(a.address, own->src, sizeof a.address) != 0;
        if (elsewhere)
            kst_setting(h->t, "nf_conntrack_ftp_loose", &loose);
        if (found && loose)
            reason = kst__help_expect(h, 0, own->protocol, KST_EXPECT_ANY_SRC_PORT, other,
                                      elsewhere ? a.address : other->dst, &a.port);
        if (found && loose && h->translated && reason == KST_REASON_NONE)
            reason = kst__ftp_rewrite(h, &a, other->dst, a.port);
    }
    if (ends)
        kst__ftp_note_line(ftp, h->direction, behind);
    return reason;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_ftp = {
    "ftp", {KST__TCP, 0},
    0,     false,
    21,    {{"", 1, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__ftp_help};

#endif
