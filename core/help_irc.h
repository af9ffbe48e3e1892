/* SPDX-License-Identifier: MIT */
/* core/help_irc.h - IRC's DCC: `PRIVMSG nick :^ADCC SEND file 3221225985 5000 1234^A` names
 * where the other side will connect to. Read only at the beginning of a packet, and only from
 * the client. */
#ifndef KST_HELP_IRC_H
#define KST_HELP_IRC_H

#include "help_text.h"

enum { KST__IRC_MAX = 4095, KST__IRC_MIN = 26 }; /* bytes that are read; that are there from the colon on */

/* Behind the keyword: a word, an address, a port; and behind the word a line must end. The text is
 * then that of address and port. */
static bool kst__dcc_read(struct kst__text *from, uint32_t *address, uint16_t *port)
{
    struct kst__text text = *from;
    uint64_t number;
    for (;;) { /* the file's name */
        if (text.end - text.at < 12)
            return false;
        if (*text.at++ == ' ')
            break;
    }
    struct kst__text line = text;
    if (!kst__skip_past(&line, '\n'))
        return false;
    from->at = text.at;
    kst__number_read(&text, UINT32_MAX, &number);
    *address = (uint32_t)number;
    while (text.at < text.end && *text.at == ' ')
        text.at++;
    kst__number_read(&text, UINT32_MAX, &number);
    *port = (uint16_t)number;
    from->end = text.at;
    return true;
}

static enum kst_reason kst__irc_help(struct kst_help *h)
{
    static const char *const keywords[] = {"SEND ", "CHAT ", "MOVE ", "TSEND ", "SCHAT "};
    const struct kst_tuple *original = &h->tuple[KST_ORIGINAL], *reply = &h->tuple[KST_REPLY];
    const uint32_t size = h->size < KST__IRC_MAX ? h->size : (uint32_t)KST__IRC_MAX;
    struct kst__text text = {h->payload, h->payload + size};
    if (h->direction != KST_ORIGINAL || !h->answered)
        return KST_REASON_NONE;
    while (text.at < text.end && (*text.at == ' ' || *text.at == '\r' || *text.at == '\n'))
        text.at++;
    if (!kst__word_read(&text, "privmsg "))
        return KST_REASON_NONE;
    do { /* on to the first " :" */
        if (!kst__skip_past(&text, ' '))
            return KST_REASON_NONE;
    } while (text.at < text.end && *text.at != ':');
    if (kst__left(&text) < KST__IRC_MIN || memcmp(text.at, ":\1DCC ", 6) != 0)
        return KST_REASON_NONE;
    text.at += 6;

    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        const uint32_t n = (uint32_t)strlen(keywords[i]);
        uint32_t address;
        uint16_t port;
        if (kst__left(&text) < n || memcmp(text.at, keywords[i], n) != 0)
            continue;
        text.at += n;
        struct kst__text numbers = text;
        if (!kst__dcc_read(&numbers, &address, &port))
            continue;
        const uint8_t bytes[16] = {(uint8_t)(address >> 24), (uint8_t)(address >> 16),
                                   (uint8_t)(address >> 8), (uint8_t)address};
        const bool own = memcmp(bytes, original->src, sizeof bytes) == 0 ||
                         memcmp(bytes, reply->dst, sizeof bytes) == 0;
        if (!own || port == 0) /* a lie: nothing is opened for it */
            continue;
        const enum kst_reason reason =
            kst__help_expect(h, 0, KST__TCP, KST_EXPECT_ANY_SRC | KST_EXPECT_ANY_SRC_PORT, original,
                             reply->dst, &port);
        if (reason != KST_REASON_NONE || !h->translated)
            return reason;
        char words[24];
        struct kst__line line = {words, sizeof words, 0};
        kst__put_number(&line, kst__be32(reply->dst), 10);
        kst__put_field(&line, " ", port);
        return kst__help_put(h, numbers.at, numbers.end, &line);
    }
    return KST_REASON_NONE;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_irc = {
    "irc", {KST__TCP, 0}, KST_IPV4, false, 6667, {{"", 8, 300}, {"", 0, 0}, {"", 0, 0}, {"", 0, 0}},
    kst__irc_help};

#endif
