/* SPDX-License-Identifier: MIT */
/* speech.c - what helpers read, word by word. Most of it is right, so that expectations are made
 * and met; the rest is spoilt in one place or another. */
#define _GNU_SOURCE
#include "speech.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 1400 };

struct words {
    char text[TEXT_MAX + 1];
    size_t size;
};

__attribute__((format(printf, 2, 3))) static void say(struct words *w, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int n = vsnprintf(w->text + w->size, sizeof w->text - w->size, format, arguments);
    va_end(arguments);
    w->size += n > 0 ? (size_t)n : 0;
    if (w->size > TEXT_MAX)
        w->size = TEXT_MAX;
}

/* Changes, leaves out, doubles or cuts something. */
static void spoil(struct chance *chance, struct words *w)
{
    static const char letters[] = " \t,;:|()[]<>@.-=/0123456789aAzZ\r\n\r\n\1\xff\x80+";
    if (w->size == 0)
        return;
    const size_t at = below(chance, (uint32_t)w->size);
    const char letter = one_in(chance, 12) ? '\0' : letters[below(chance, sizeof letters - 1)];
    switch (below(chance, 5)) {
    case 0: w->text[at] = letter; break;
    case 1: memmove(w->text + at, w->text + at + 1, --w->size - at); break;
    case 2:
        if (w->size < TEXT_MAX) {
            memmove(w->text + at + 1, w->text + at, w->size++ - at);
            w->text[at] = letter;
        }
        break;
    case 3: w->size = at; break;
    default: { /* a digit becomes many */
        char *digit = memchr(w->text + at, '1' + (char)below(chance, 8), w->size - at);
        if (digit != NULL && w->size + 12 < TEXT_MAX) {
            const size_t many = 1 + below(chance, 11);
            memmove(digit + many, digit, w->size - (size_t)(digit - w->text));
            memset(digit, '0' + (char)below(chance, 10), many);
            w->size += many;
        }
    }
    }
}

/* ---- carriers ---- */

static void send_udp(struct talk_state *t, int from, uint16_t sport, uint16_t dport, const void *data,
                     size_t size)
{
    uint8_t packet[PACKET_MAX];
    uint8_t *l4 = packet + ip_bytes(t);
    put16(l4, sport);
    put16(l4 + 2, dport);
    put16(l4 + 4, (uint32_t)(8 + size));
    put16(l4 + 6, 0);
    memcpy(l4 + 8, data, size);
    put_ip(t, packet, 17, 8 + size, from);
    const uint32_t sum = checksum(t, packet, l4, 8 + size, 8 + size, 17, true);
    put16(l4 + 6, sum == 0 ? 0xffff : sum);
    finish(t, packet, 17, 8 + size, from);
}

static void send_segment(struct talk_state *t, int from, uint16_t sport, uint16_t dport, uint8_t flags,
                         uint32_t seq, uint32_t ack, const void *data, size_t size)
{
    uint8_t packet[PACKET_MAX];
    uint8_t *l4 = packet + ip_bytes(t);
    memset(l4, 0, 20);
    put16(l4, sport);
    put16(l4 + 2, dport);
    put32(l4 + 4, seq);
    put32(l4 + 8, ack);
    l4[12] = 0x50;
    l4[13] = flags;
    put16(l4 + 14, 8192);
    memcpy(l4 + 20, data, size);
    put_ip(t, packet, 6, 20 + size, from);
    put16(l4 + 16, checksum(t, packet, l4, 20 + size, 20 + size, 6, true));
    finish(t, packet, 6, 20 + size, from);
}

enum { SYN = 2, RST = 4, PSH = 8, ACK = 16 };

/* The next piece of a stream: at times one that was sent before, or that something is missing
 * before. */
static void send_stream(struct talk_state *t, int from, const void *data, size_t size)
{
    struct chance *chance = &t->chance;
    struct side *us = &t->side[from], *them = &t->side[1 - from];
    uint32_t seq = us->seq;
    if (one_in(chance, 25))
        seq += one_in(chance, 2) ? 1 + below(chance, 40) : 0u - 1 - below(chance, 40);
    send_segment(t, from, t->ports[from], t->ports[1 - from], ACK | PSH, seq, them->seq, data, size);
    if (!one_in(chance, 25))
        us->seq = seq + (uint32_t)size;
}

static void send_words(struct talk_state *t, int from, struct words *w)
{
    struct chance *chance = &t->chance;
    while (one_in(chance, 4))
        spoil(chance, w);
    if (w->size > 1 && one_in(chance, 25)) { /* in two pieces */
        const size_t cut = 1 + below(chance, (uint32_t)w->size - 1);
        send_stream(t, from, w->text, cut);
        if (t->c.packets_count < PACKETS_MAX)
            send_stream(t, from, w->text + cut, w->size - cut);
        return;
    }
    send_stream(t, from, w->text, w->size);
}

static void handshake(struct talk_state *t)
{
    struct side *client = &t->side[0], *server = &t->side[1];
    send_segment(t, 0, t->ports[0], t->ports[1], SYN, client->seq++, 0, "", 0);
    if (!one_in(&t->chance, 30))
        send_segment(t, 1, t->ports[1], t->ports[0], SYN | ACK, server->seq++, client->seq, "", 0);
    if (!one_in(&t->chance, 30))
        send_segment(t, 0, t->ports[0], t->ports[1], ACK, client->seq, server->seq, "", 0);
    t->opened = t->answered = true;
}

/* Ports that are named and then called. */
static uint16_t a_port(struct chance *chance)
{
    static const uint16_t ports[] = {4000, 4000, 4000, 4002, 5000, 1024, 65535, 20};
    return PICK(chance, ports);
}

/* Whose address is named: one's own, mostly. */
static int whose(struct chance *chance, int own)
{
    return one_in(chance, 8) ? 1 - own : own;
}

static void say_address(const struct talk_state *t, struct words *w, int whose_)
{
    if (t->v6)
        say(w, "%s", whose_ == 0 ? "2001:db8:1::1" : "2001:db8:2::1");
    else
        say(w, "%s", whose_ == 0 ? "192.0.2.1" : "198.51.100.1");
}

/* A TCP connection that may be the one that was announced. */
static void call_tcp(struct talk_state *t, int to)
{
    struct chance *chance = &t->chance;
    const uint16_t sport = one_in(chance, 2) ? 20 : 30000, dport = a_port(chance);
    if (one_in(chance, 5))
        send_segment(t, to, dport, sport, SYN | ACK, 7000, 5001, "", 0);
    else
        send_segment(t, 1 - to, sport, dport, one_in(chance, 10) ? ACK : SYN, 5000, 0, "", 0);
}

static void call_udp(struct talk_state *t, int to)
{
    struct chance *chance = &t->chance;
    const uint16_t sport = one_in(chance, 2) ? a_port(chance) : 30000;
    const uint16_t dport = (uint16_t)(a_port(chance) + below(chance, 2));
    if (one_in(chance, 5))
        send_udp(t, to, dport, sport, "answer", 6);
    else
        send_udp(t, 1 - to, sport, dport, "call", 4);
}

/* ---- FTP ---- */

static void go_on_ftp(struct talk_state *t)
{
    struct chance *chance = &t->chance;
    struct words w = {.size = 0};
    const int from = (int)below(chance, 2);
    const uint16_t port = a_port(chance);
    const uint8_t *v4 = client_and_server_v4[whose(chance, from)];
    const char *end = one_in(chance, 12) ? "\n" : one_in(chance, 12) ? "" : "\r\n";
    if (one_in(chance, 3)) {
        call_tcp(t, (int)below(chance, 2));
        return;
    }
    if (one_in(chance, 6)) { /* other words, that end a line */
        say(&w, from == 0 ? "USER me\r\n" : "220 ready\r\n");
    } else if (from == 0 && one_in(chance, 2)) {
        say(&w, "%s %u,%u,%u,%u,%u,%u%s", one_in(chance, 6) ? "port" : "PORT", v4[0], v4[1], v4[2],
            v4[3], port >> 8, port & 255, end);
    } else if (from == 0) {
        const char mark = one_in(chance, 6) ? '!' : '|';
        say(&w, "EPRT %c%d%c", mark, t->v6 != one_in(chance, 20) ? 2 : 1, mark);
        say_address(t, &w, whose(chance, 0));
        say(&w, "%c%u%c%s", mark, port, mark, end);
    } else if (one_in(chance, 2)) {
        say(&w, "227 %s(%u,%u,%u,%u,%u,%u)%s", one_in(chance, 4) ? "" : "Entering Passive Mode ",
            v4[0], v4[1], v4[2], v4[3], port >> 8, port & 255, end);
    } else {
        say(&w, "229 %s(|||%u|)%s", one_in(chance, 4) ? "" : "Entering Extended Passive Mode ", port,
            end);
    }
    if (one_in(chance, 30))
        w.size = below(chance, 6) < w.size ? below(chance, 6) : w.size;
    send_words(t, from, &w);
}

/* ---- IRC ---- */

static void go_on_irc(struct talk_state *t)
{
    static const char *const keywords[] = {"SEND", "SEND", "CHAT", "MOVE", "TSEND", "SCHAT", "send", "X"};
    struct chance *chance = &t->chance;
    struct words w = {.size = 0};
    const uint8_t *v4 = client_and_server_v4[whose(chance, 0)];
    if (one_in(chance, 3)) {
        call_tcp(t, 0);
        return;
    }
    if (one_in(chance, 12))
        say(&w, "\r\n ");
    say(&w, "%s %s %s:\1DCC ", one_in(chance, 6) ? "privmsg" : "PRIVMSG", one_in(chance, 6) ? "a b" : "you",
        one_in(chance, 12) ? "hi " : "");
    for (int i = one_in(chance, 8) ? 2 : 1; i > 0; i--)
        say(&w, "%s %s %lu%s%u ", PICK(chance, keywords), one_in(chance, 8) ? "a" : "file.txt",
            (unsigned long)v4[0] << 24 | (unsigned long)v4[1] << 16 | (unsigned long)v4[2] << 8 | v4[3],
            one_in(chance, 8) ? "   " : " ", a_port(chance));
    say(&w, "%s\1%s", one_in(chance, 2) ? "12345" : "", one_in(chance, 12) ? "" : "\r\n");
    send_words(t, one_in(chance, 12) ? 1 : 0, &w);
}

/* ---- TFTP ---- */

static void go_on_tftp(struct talk_state *t)
{
    struct chance *chance = &t->chance;
    struct words w = {.size = 0};
    if (one_in(chance, 3)) { /* the transfer */
        const uint16_t port = 34567;
        if (one_in(chance, 2))
            send_udp(t, 1, port, t->ports[0], "\0\3\0\1data", 8);
        else
            send_udp(t, 0, t->ports[0], port, "\0\4\0\1", 4);
        return;
    }
    say(&w, "%c%c", 1, 1 + (int)below(chance, 5));
    w.text[0] = '\0';
    say(&w, "file");
    if (one_in(chance, 8))
        w.size = below(chance, 4);
    const int from = one_in(chance, 6) ? 1 : 0;
    send_udp(t, from, t->ports[from], t->ports[1 - from], w.text, w.size);
}

/* ---- SIP ---- */

static void say_sdp(struct talk_state *t, struct words *w, int from)
{
    static const char *const media[] = {"audio", "audio", "video", "image", "text"};
    struct chance *chance = &t->chance;
    const char *ip = t->v6 != one_in(chance, 40) ? "IP6" : "IP4";
    say(w, "v=0\r\no=- 1 1 IN %s ", ip);
    say_address(t, w, from);
    say(w, "\r\ns=-\r\n");
    if (!one_in(chance, 6)) {
        say(w, "c=IN %s ", ip);
        say_address(t, w, whose(chance, from));
        say(w, "\r\n");
    }
    say(w, "t=0 0\r\n");
    for (uint32_t i = one_in(chance, 3) ? below(chance, 5) : 1; i > 0; i--) {
        say(w, "m=%s %u RTP/AVP 0\r\n", PICK(chance, media),
            one_in(chance, 12) ? below(chance, 70000) : (unsigned)a_port(chance) + below(chance, 2));
        if (one_in(chance, 4)) {
            say(w, "c=IN %s ", ip);
            say_address(t, w, whose(chance, from));
            say(w, "\r\n");
        }
    }
}

static void say_contact(struct talk_state *t, struct words *w, int from)
{
    struct chance *chance = &t->chance;
    say(w, "<sip:%s%s", one_in(chance, 4) ? "" : "a@", t->v6 && !one_in(chance, 20) ? "[" : "");
    say_address(t, w, whose(chance, from));
    say(w, "%s", t->v6 && !one_in(chance, 20) ? "]" : "");
    if (!one_in(chance, 3))
        say(w, ":%u", one_in(chance, 12) ? below(chance, 70000) : (unsigned)a_port(chance));
    if (one_in(chance, 6))
        say(w, ";transport=%s", one_in(chance, 2) ? "udp" : "TCP");
    say(w, ">");
    if (one_in(chance, 6))
        say(w, ";expires=%u", below(chance, 3) * 100);
}

static void say_sip(struct talk_state *t, struct words *w, int from)
{
    static const char *const methods[] = {"INVITE", "INVITE", "INVITE", "REGISTER", "REGISTER", "REGISTER", "UPDATE",
                                          "ACK", "PRACK", "BYE", "CANCEL", "invite", "OPTIONS"};
    static const uint32_t codes[] = {200, 200, 200, 100, 180, 183, 299, 300, 404, 486, 99, 0};
    struct chance *chance = &t->chance;
    struct words body = {.size = 0};
    const char *method = PICK(chance, methods), *ends = one_in(chance, 25) ? "\n" : "\r\n";
    if (one_in(chance, 3))
        say(w, "SIP/2.0 %u Words%s", PICK(chance, codes), ends);
    else
        say(w, "%s %s SIP/2.0%s", method, one_in(chance, 12) ? "1" : "sip:b@example.org", ends);
    say(w, "Via: SIP/2.0/UDP ");
    say_address(t, w, from);
    say(w, ":5060;branch=z9hG4bK1%s", ends);
    if (!one_in(chance, 25))
        say(w, "%s: %u %s%s", one_in(chance, 8) ? "cseq" : "CSeq", 1 + below(chance, 2), method, ends);
    if (!one_in(chance, 4)) {
        say(w, "%s: ", one_in(chance, 4) ? "m" : "Contact");
        for (int more = one_in(chance, 6) ? 2 : 1; more > 0; more--) {
            say_contact(t, w, from ^ (w->text[0] == 'S' ? 1 : 0));
            if (more > 1)
                say(w, one_in(chance, 3) ? ",%s " : ", ", ends);
        }
        say(w, "%s", ends);
    }
    if (!one_in(chance, 3))
        say(w, "Expires: %u%s", below(chance, 3) * 60, ends);
    if (method[0] != 'R' && method[0] != 'B' && !one_in(chance, 6))
        say_sdp(t, &body, from);
    say(w, "%s: %u%s%s", one_in(chance, 6) ? "l" : "Content-Length",
        (unsigned)body.size + (one_in(chance, 12) ? below(chance, 40) : 0), ends, ends);
    say(w, "%s", body.text);
}

static void go_on_sip(struct talk_state *t, bool tcp)
{
    struct chance *chance = &t->chance;
    struct words w = {.size = 0};
    const int from = one_in(chance, 3) ? 1 : 0;
    if (one_in(chance, 4)) {
        call_udp(t, (int)below(chance, 2));
        return;
    }
    say_sip(t, &w, from);
    if (tcp && one_in(chance, 4) && w.size < TEXT_MAX / 2)
        say_sip(t, &w, from);
    if (tcp) {
        send_words(t, from, &w);
        return;
    }
    while (one_in(chance, 4))
        spoil(chance, &w);
    send_udp(t, from, t->ports[from], t->ports[1 - from], w.text, w.size);
}

/* ---- PPTP ---- */

static void go_on_pptp(struct talk_state *t)
{
    /* The bytes of each control message, in all. */
    static const uint8_t sizes[16] = {12,  156, 156, 16, 16, 16,  20, 168,
                                      32, 220, 24,  28, 16, 148, 40, 24};
    static const uint8_t client[] = {1, 7, 7, 7, 10, 12, 3, 5, 15}, server[] = {2, 8, 8, 8, 9, 11, 13, 4, 6, 14};
    struct chance *chance = &t->chance;
    uint8_t message[256] = {0};
    const size_t step = t->c.packets_count;
    int from = (int)below(chance, 2);
    if (step > 6 && one_in(chance, 3)) { /* the call */
        uint8_t packet[PACKET_MAX];
        uint8_t *l4 = packet + ip_bytes(t);
        memset(l4, 0, 16);
        l4[0] = 0x30;
        l4[1] = one_in(chance, 12) ? 0 : 1;
        put16(l4 + 2, one_in(chance, 20) ? 0x800 : 0x880b);
        put16(l4 + 6, 100 + 100 * below(chance, one_in(chance, 6) ? 3 : 2));
        finish(t, packet, 47, 12 + below(chance, 4), from);
        return;
    }
    uint32_t type = from == 0 ? PICK(chance, client) : PICK(chance, server);
    if (step < 7 && !one_in(chance, 10)) { /* the usual beginning */
        from = step % 2 != 0 ? 0 : 1;
        type = step == 3 ? 1 : step == 4 ? 2 : step == 5 ? 7 : 8;
    }
    if (one_in(chance, 40))
        type = below(chance, 20);
    size_t size = sizes[type & 15];
    put16(message, (uint32_t)size);
    put16(message + 2, one_in(chance, 40) ? 2 : 1);
    put32(message + 4, one_in(chance, 40) ? 0x1a2b3c4e : 0x1a2b3c4d);
    put16(message + 8, type);
    const uint32_t own = 100 + 100 * (uint32_t)(from == 1), other = 300 - own;
    switch (type) {
    case 2: put16(message + 12, 0x100), message[14] = one_in(chance, 8) ? 2 : 1; break;
    case 4: message[12] = one_in(chance, 8) ? 2 : 1; break;
    case 11: put16(message + 12, one_in(chance, 8) ? 300 : other); break;
    default:
        put16(message + 12, one_in(chance, 12) ? 300 : own);
        put16(message + 14, one_in(chance, 12) ? 300 : other);
        message[16] = one_in(chance, 8) ? 2 : 1;
    }
    if (one_in(chance, 20))
        size -= 1 + below(chance, 12);
    send_stream(t, from, message, size);
}

/* ---- all of them ---- */

enum speech speech_begin(struct talk_state *t)
{
    static const uint16_t ports[SPEECHES] = {0, 21, 6667, 69, 5060, 5061, 1723};
    /* Under rules PPTP, the last one, is left out: the calls it names are not translated here. */
    const uint32_t there = SPEECHES - (t->ruling != NULL);
    const enum speech speech = (enum speech)(1 + below(&t->chance, there - 1));
    if (t->ruling == NULL && (speech == SPEECH_IRC || speech == SPEECH_PPTP))
        t->v6 = one_in(&t->chance, 20);
    t->ports[0] = one_in(&t->chance, 4) ? ports[speech] : 4000;
    t->ports[1] = ports[speech];
    t->alone = false;
    t->helped = true;
    if (speech != SPEECH_TFTP && speech != SPEECH_SIP)
        handshake(t);
    return speech;
}

void speech_go_on(struct talk_state *t, enum speech speech)
{
    switch (speech) {
    case SPEECH_FTP: go_on_ftp(t); break;
    case SPEECH_IRC: go_on_irc(t); break;
    case SPEECH_TFTP: go_on_tftp(t); break;
    case SPEECH_SIP: go_on_sip(t, false); break;
    case SPEECH_SIP_TCP: go_on_sip(t, true); break;
    default: go_on_pptp(t); break;
    }
}
