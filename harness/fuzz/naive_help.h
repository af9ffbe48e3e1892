/* SPDX-License-Identifier: MIT */
/* naive_help.h - what a message to a helper opens, said plainly: a second opinion on core/help_*.h, with which it
 * shares no line. It reads what is formed as the protocols' RFCs have it, by sscanf; of anything else it has no opinion.
 * Not of translated connections.
 *
 * Source of the rules: what Linux does (shared with the core), RFC 959, 2428, 1350, 2637, 3261, 4566. */
#ifndef KEEPSTATE_NAIVE_HELP_H
#define KEEPSTATE_NAIVE_HELP_H

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "packet.h"

enum { NAIVE_OPENS = 8, NAIVE_TEXT = 4000 };

struct naive_open {
    uint8_t dst[16];
    uint16_t src_port, dst_port; /* src_port: of calls alone */
    uint8_t class_;
};

struct naive_opinion {
    bool sure;     /* it opens just these; those it may not be able to open if there is no room */
    bool forgets;  /* the call as it is named by now, or all other media, is not expected any more */
    bool no_grant; /* it grants no registration */
    uint32_t count;
    struct naive_open open[NAIVE_OPENS];
};

/* What was said on a connection before, as far as it matters. */
struct naive_talk {
    uint64_t line[2][2]; /* FTP, by direction: where lines began, */
    uint32_t lines[2];   /* so many of them */
    uint32_t session, call; /* PPTP: below */
    uint32_t id[2], key[2];
    bool keyed;
    bool invites_unknown, registers_unknown; /* SIP: something that was not understood may have been one */
    uint32_t invite_cseq; /* of the last one, */
    uint32_t register_cseq[8], registers; /* and of all of these */
};

struct naive_message {
    uint64_t at;                   /* TCP: its first sequence number, which does not wrap here */
    const struct kst_tuple *tuple; /* of the connection, as the client began it */
    bool reply;                    /* from the server */
    bool elsewhere;                /* an address of somebody else counts, too: FTP, SIP's media */
    const uint8_t *bytes;
    uint32_t size;
};

static const uint8_t *naive_own(const struct naive_message *m)
{
    return m->reply ? m->tuple->dst : m->tuple->src;
}

static void naive_add(struct naive_opinion *o, const uint8_t *dst, uint32_t port, uint32_t class_)
{
    struct naive_open *x = &o->open[o->count++];
    memset(x, 0, sizeof *x);
    memcpy(x->dst, dst, 16);
    x->dst_port = (uint16_t)port;
    x->class_ = (uint8_t)class_;
}

/* An address of the connection's family; false if `text` is none, or written in an unusual way. */
static bool naive_address(const struct naive_message *m, const char *text, uint8_t *address)
{
    char again[64];
    const int family = m->tuple->family == KST_IPV4 ? AF_INET : AF_INET6;
    memset(address, 0, 16);
    return inet_pton(family, text, address) == 1 && inet_ntop(family, address, again, sizeof again) != NULL &&
           strcasecmp(again, text) == 0;
}

/* A number in decimal, without zeros in front. */
static bool naive_number(const char *text, uint64_t most, uint32_t *number)
{
    char *end;
    if (!isdigit((unsigned char)text[0]) || strlen(text) > 15 || (text[0] == '0' && text[1] != '\0'))
        return false;
    const uint64_t value = strtoull(text, &end, 10);
    *number = (uint32_t)value;
    return *end == '\0' && value <= most;
}

/* ---- FTP ---- */

/* h1,h2,h3,h4,p1,p2 and what `end` says. */
static bool naive_six(const char *text, const char *end, uint8_t *address, uint32_t *port)
{
    char again[64];
    uint32_t n[6];
    if (sscanf(text, "%3u,%3u,%3u,%3u,%3u,%3u", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5]) != 6)
        return false;
    for (uint32_t i = 0; i < 6; i++)
        if (n[i] > 255)
            return false;
    snprintf(again, sizeof again, "%u,%u,%u,%u,%u,%u%s", n[0], n[1], n[2], n[3], n[4], n[5], end);
    for (uint32_t i = 0; i < 4; i++)
        address[i] = (uint8_t)n[i];
    *port = n[4] << 8 | n[5];
    return strncmp(text, again, strlen(again)) == 0;
}

static void naive_ftp(const struct naive_message *m, const char *text, struct naive_opinion *o)
{
    static const char *const words[2][2] = {{"PORT", "EPRT"}, {"227 ", "229 "}};
    char family[2], host[64], port[8];
    uint32_t number;
    int end = 0;
    uint8_t address[16] = {0};
    const bool v6 = m->tuple->family == KST_IPV6, first = strncasecmp(text, words[m->reply][0], 4) == 0;
    if (m->size <= 4 || strlen(text) != m->size)
        return;
    o->sure = !first && strncasecmp(text, words[m->reply][1], 4) != 0;
    if (o->sure)
        return;
    if (first) {
        const char *six = m->reply ? text + 4 + strcspn(text + 4, "0123456789") : text + 5;
        if (v6 || (!m->reply && text[4] != ' ') || !naive_six(six, m->reply ? ")" : "\r\n", address, &number))
            return;
    } else if (m->reply) {
        if (sscanf(text, "229 %*63[^(](|||%7[0-9]|%n", port, &end) != 1 || end == 0 ||
            !naive_number(port, UINT16_MAX, &number))
            return;
        memcpy(address, naive_own(m), 16);
    } else {
        if (sscanf(text + 4, " |%1[12]|%63[0-9a-f.:]|%7[0-9]|%n", family, host, port, &end) != 3 || end == 0 ||
            strncmp(text + 4, " |", 2) != 0 || !naive_number(port, UINT16_MAX, &number))
            return;
        o->sure = family[0] != (v6 ? '2' : '1');
        if (o->sure || !naive_address(m, host, address))
            return;
    }
    o->sure = true;
    if ((number != 0 || first) && (memcmp(address, naive_own(m), 16) == 0 || m->elsewhere))
        naive_add(o, address, number, 0);
}

/* A line begins here: of two such places Linux gives up the older one for one that is newer. */
static void naive_ftp_line(struct naive_talk *talk, bool reply, uint64_t at)
{
    uint64_t *line = talk->line[reply];
    if (talk->lines[reply] < 2) {
        line[talk->lines[reply]++] = at;
        return;
    }
    uint64_t *older = line[0] < line[1] ? &line[0] : &line[1];
    if (line[0] != at && line[1] != at && at > *older)
        *older = at;
}

/* Only what begins a line is read. `malformed`: and was found to be that. */
static void naive_ftp_hear(struct naive_talk *talk, const struct naive_message *m, const char *text, bool malformed,
                           struct naive_opinion *o)
{
    bool begins = false;
    for (uint32_t i = 0; i < talk->lines[m->reply]; i++)
        begins = begins || talk->line[m->reply][i] == m->at;
    if (begins)
        naive_ftp(m, text, o);
    else
        o->sure = true;
    if (m->size > 0 && m->bytes[m->size - 1] == '\n' && !malformed)
        naive_ftp_line(talk, m->reply, m->at + m->size);
}

/* ---- IRC, TFTP ---- */

/* From the colon on Linux wants 26 bytes, from the blank behind the name on 12. */
static void naive_irc(const struct naive_message *m, const char *text, struct naive_opinion *o)
{
    static const char *const kinds[] = {"SEND", "CHAT", "MOVE", "TSEND", "SCHAT"};
    char nick[64], kind[8], name[64], address[16], port[8], again[200];
    uint32_t number, word; /* the address, the port */
    if (strlen(text) != m->size)
        return;
    o->sure = m->reply || strcasestr(text, "privmsg ") == NULL || strstr(text, "DCC ") == NULL;
    if (o->sure || strchr(text, '\n') != text + m->size - 1)
        return;
    if (sscanf(text, "PRIVMSG %63[^ :\r\n] :\1DCC %7[A-Z] %63[^ :\r\n] %15[0-9] %7[0-9]", nick, kind, name, address,
               port) != 5)
        return;
    const int end = snprintf(again, sizeof again, "PRIVMSG %s :\1DCC %s %s %s %s", nick, kind, name, address, port);
    if (strncmp(text, again, (size_t)end) != 0 || isdigit((unsigned char)text[end]) ||
        !naive_number(address, UINT32_MAX, &number) || !naive_number(port, UINT16_MAX, &word))
        return;
    o->sure = true;
    const size_t colon = 9 + strlen(nick), named = colon + 7 + strlen(kind) + strlen(name);
    const bool room = m->size - colon >= 26 && m->size - named >= 12;
    for (uint32_t i = 0; i < 5; i++)
        if (strcmp(kind, kinds[i]) == 0 && room && word != 0 && number == get32(m->tuple->src))
            naive_add(o, m->tuple->src, word, 0);
}

static void naive_tftp(const struct naive_message *m, struct naive_opinion *o)
{
    o->sure = true;
    if (m->size >= 2 && m->bytes[0] == 0 && (m->bytes[1] == 1 || m->bytes[1] == 2))
        naive_add(o, m->tuple->src, m->tuple->src_port, 0);
}

/* ---- PPTP ---- */

enum { PPTP_NONE, PPTP_ERROR, PPTP_STOPPING, PPTP_REQUESTED, PPTP_CONFIRMED };
enum { CALL_NONE, CALL_OUT_ASKED, CALL_OUT, CALL_IN_ASKED, CALL_IN_ANSWERED, CALL_IN };

/* The call begins: expected by both sides, by the names that they have given it. A session knows one call's: a second
 * one is not known by another name of the server's; by another name of the client's neither of the two is. */
static void naive_pptp_begin(struct naive_talk *talk, const struct naive_message *m, struct naive_opinion *o)
{
    if (talk->keyed && talk->key[1] != talk->id[1])
        return;
    const bool other = talk->keyed && talk->key[0] != talk->id[0];
    talk->keyed = !other;
    memcpy(talk->key, talk->id, sizeof talk->key);
    if (other)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        naive_add(o, i == 0 ? m->tuple->dst : m->tuple->src, talk->id[!i], 0);
        o->open[i].src_port = (uint16_t)talk->id[i];
    }
}

static void naive_pptp(struct naive_talk *talk, const struct naive_message *m, struct naive_opinion *o)
{
    static const uint8_t bytes[16] = {12, 156, 156, 16, 16, 16, 20, 168, 32, 220, 24, 28, 16, 148, 40, 24};
    const uint8_t *at = m->bytes;
    o->sure = true;
    if (m->size < 12 || get16(at + 2) != 1 || get32(at + 4) != 0x1a2b3c4d)
        return;
    const uint32_t type = get16(at + 8);
    if (type > 15 || m->size < bytes[type])
        return;
    const uint32_t first = m->size >= 14 ? get16(at + 12) : 0, second = m->size >= 16 ? get16(at + 14) : 0;
    const bool good = m->size >= 17 && at[16] == 1, confirmed = talk->session == PPTP_CONFIRMED;
    switch (type + (m->reply ? 100u : 0u)) {
    case 1: /* start, wanted and granted; its end */
        talk->session = talk->session == PPTP_NONE ? PPTP_REQUESTED : talk->session;
        break;
    case 102:
        if (talk->session >= PPTP_REQUESTED)
            talk->session = at[14] == 1 ? PPTP_CONFIRMED : PPTP_ERROR;
        break;
    case 3: talk->session = PPTP_STOPPING; break;
    case 104:
        if (talk->session <= PPTP_STOPPING)
            talk->session = at[12] == 1 ? PPTP_NONE : PPTP_ERROR;
        break;
    case 7: /* the client calls; the server says by what name it knows the call */
        if (confirmed) {
            talk->call = CALL_OUT_ASKED;
            talk->id[0] = first;
        }
        break;
    case 108:
        if (!confirmed || (talk->call != CALL_OUT_ASKED && talk->call != CALL_OUT) || second != talk->id[0])
            break;
        talk->call = good ? CALL_OUT : CALL_NONE;
        if (good) {
            talk->id[1] = first;
            naive_pptp_begin(talk, m, o);
        }
        break;
    case 109: /* the server calls, the client answers, it is so */
        if (confirmed) {
            talk->call = CALL_IN_ASKED;
            talk->id[1] = first;
        }
        break;
    case 10:
        if ((talk->call != CALL_IN_ASKED && talk->call != CALL_IN_ANSWERED) || second != talk->id[1])
            break;
        talk->call = good ? CALL_IN_ANSWERED : CALL_NONE;
        if (good)
            talk->id[0] = first;
        break;
    case 111:
        if (!confirmed || (talk->call != CALL_IN_ANSWERED && talk->call != CALL_IN) || first != talk->id[0])
            break;
        talk->call = CALL_IN;
        naive_pptp_begin(talk, m, o);
        break;
    case 12: talk->call = CALL_NONE; break;
    case 113:
        talk->call = CALL_NONE;
        talk->keyed = false;
        o->forgets = true;
        break;
    default: break;
    }
}

/* ---- SIP ---- */

/* The lines of a message that is nothing but lines, ended by CR LF. */
struct naive_lines {
    char text[NAIVE_TEXT + 1];
    char *line[64];
    uint32_t count, body; /* `body`: the first line behind the empty one */
    uint32_t body_bytes;
};

static bool naive_sip_lines(const char *text, uint32_t size, struct naive_lines *l)
{
    if (size < 11 || strlen(text) != size || strcmp(text + size - 2, "\r\n") != 0)
        return false;
    strcpy(l->text, text);
    l->count = l->body = l->body_bytes = 0;
    for (char *at = l->text, *end; *at != '\0'; at = end + 2) {
        end = strstr(at, "\r\n");
        *end = '\0';
        if (l->count == 64 || strpbrk(at, "\r\n") != NULL)
            return false;
        if (at == end && l->body == 0) {
            l->body = l->count + 1;
            l->body_bytes = size - (uint32_t)(end + 2 - l->text);
        } else if (at == end) {
            return false;
        }
        for (const char *c = at; *c != '\0'; c++)
            if (*c < ' ' || *c > '~')
                return false;
        if (*at == ' ')
            return false;
        l->line[l->count++] = at;
    }
    if (l->body == 0 || l->body < 2)
        return false;
    for (uint32_t i = 1; i + 1 < l->body; i++) { /* Name: value */
        const size_t name = strspn(l->line[i], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-");
        const char *value = l->line[i] + name + 2;
        /* A Content-Length, as Linux has it: `l-ID`, too, of which it then misses the colon. */
        const bool length = tolower(l->line[i][0]) == 'l' && !isalpha((unsigned char)l->line[i][1]);
        if (name == 0 || length || strncmp(value - 2, ": ", 2) != 0 || *value == ' ' || *value == '\0')
            return false;
    }
    for (uint32_t i = l->body; i < l->count; i++)
        if (l->line[i][0] < 'a' || l->line[i][0] > 'z' || l->line[i][1] != '=')
            return false;
    return l->body == l->count || strncmp(l->line[l->body], "v=0", 4) == 0;
}

/* The only header of this name; NULL: there is none, or more than one. */
static const char *naive_sip_header(const struct naive_lines *l, const char *name)
{
    const char *found = NULL;
    const size_t length = strlen(name);
    for (uint32_t i = 1; i + 1 < l->body; i++) {
        if (strncasecmp(l->line[i], name, length) != 0)
            continue;
        if (found != NULL || l->line[i][length] != ':')
            return NULL;
        found = l->line[i] + length + 2;
    }
    return found;
}

/* A connection address; false: no opinion. */
static bool naive_sdp_address(const struct naive_message *m, const char *line, uint8_t *address)
{
    const char *front = m->tuple->family == KST_IPV4 ? "c=IN IP4 " : "c=IN IP6 ";
    return strncmp(line, front, 9) == 0 && naive_address(m, line + 9, address);
}

/* False: no opinion. The address in effect is the media's own, else the session's. */
static bool naive_sdp(const struct naive_message *m, const struct naive_lines *l, struct naive_opinion *o)
{
    static const char *const kinds[] = {"audio ", "video ", "image "};
    uint8_t session[16], own[16];
    uint32_t media = 0, sessions = 0;
    for (uint32_t i = l->body; i < l->count && l->line[i][0] != 'm'; i++)
        if (l->line[i][0] == 'c' && (sessions++ > 0 || !naive_sdp_address(m, l->line[i], session)))
            return false;
    for (uint32_t i = l->body; i < l->count; i++) {
        const char *kind = l->line[i] + 2;
        char digits[12];
        uint32_t port, class_ = 0, owns = 0;
        if (l->line[i][0] != 'm')
            continue;
        const size_t letters = strspn(kind, "abcdefghijklmnopqrstuvwxyz");
        if (letters == 0 || sscanf(kind + letters, " %11[0-9]", digits) != 1 || kind[letters] != ' ' ||
            kind[letters + 1] != digits[0] || kind[letters + 1 + strlen(digits)] != ' ' ||
            !naive_number(digits, UINT32_MAX, &port))
            return false;
        for (uint32_t k = 0; k < 3; k++)
            if (strncmp(kind, kinds[k], 6) == 0)
                class_ = k + 1;
        for (uint32_t k = i + 1; k < l->count && l->line[k][0] != 'm'; k++)
            if (l->line[k][0] == 'c' && (owns++ > 0 || !naive_sdp_address(m, l->line[k], own)))
                return false;
        if (class_ == 0 || port == 0 || media == 3)
            continue;
        media++;
        if (port < 1024 || port > UINT16_MAX || (owns == 0 && sessions == 0))
            return true; /* the packet is dropped */
        const uint8_t *where = owns > 0 ? own : session;
        for (uint32_t k = 0; k < 2 && (m->elsewhere || memcmp(where, naive_own(m), 16) == 0); k++)
            naive_add(o, where, (port & ~1u) + k, class_);
    }
    return true;
}

static bool naive_registered(const struct naive_talk *talk, uint32_t cseq)
{
    bool one = talk->registers_unknown || talk->registers > 8;
    for (uint32_t i = 0; i < talk->registers && i < 8; i++)
        one = one || talk->register_cseq[i] == cseq;
    return one;
}

static void naive_sip(struct naive_talk *talk, const struct naive_message *m, const char *text, struct naive_opinion *o)
{
    static struct naive_lines l;
    const struct naive_talk before = *talk;
    char method[12], of[12], digits[16], again[40];
    uint32_t cseq, code = 0;
    talk->invites_unknown = true; /* unless it is understood */
    talk->registers_unknown = true;
    if (!naive_sip_lines(text, m->size, &l))
        return;
    const char *numbered = naive_sip_header(&l, "CSeq"), *length = naive_sip_header(&l, "Content-Length");
    if (m->tuple->protocol == TCP) {
        if (length == NULL || strspn(length, "0123456789") != strlen(length) || strlen(length) > 11)
            return;
        const uint64_t bytes = strtoull(length, NULL, 10);
        if (bytes > l.body_bytes) { /* not all there, and so not read */
            *talk = before;
            o->sure = o->no_grant = true;
        }
        if (bytes != l.body_bytes)
            return;
    }
    if (numbered == NULL || sscanf(numbered, "%15[0-9] %11[A-Z]", digits, of) != 2 ||
        !naive_number(digits, UINT32_MAX, &cseq))
        return;
    snprintf(again, sizeof again, "%s %s", digits, of);
    const bool response = strncmp(text, "SIP/2.0 ", 8) == 0;
    if (strcmp(numbered, again) != 0)
        return;
    const bool formed =
        response ? sscanf(text + 8, "%3[0-9]", digits) == 1 && text[11] == ' ' && naive_number(digits, 999, &code) && code >= 100
                 : sscanf(text, "%11[A-Z]", method) == 1 && strncmp(text + strlen(method), " sip:", 5) == 0;
    if (!formed)
        return;
    const char *what = response ? of : method;
    const bool session = strcmp(what, "INVITE") == 0 || strcmp(what, "UPDATE") == 0 || strcmp(what, "PRACK") == 0;
    const bool registers = strcmp(what, "REGISTER") == 0, ends = strcmp(what, "BYE") == 0;
    const bool ack = strcmp(what, "ACK") == 0;
    if (response && !session && !registers && !ends && !ack)
        return;
    *talk = before;
    o->no_grant = !response || !registers || code < 200 || code > 299 || !naive_registered(talk, cseq);
    if (registers) {
        if (!response && talk->registers < 9)
            talk->register_cseq[talk->registers++ % 8] = cseq;
    } else if (response ? session && code < 300 : session || ack) {
        o->sure = naive_sdp(m, &l, o);
        o->forgets = !response && strcmp(what, "INVITE") == 0;
        if (o->forgets) {
            talk->invites_unknown = false;
            talk->invite_cseq = cseq;
        }
    } else if (response && session) { /* an error */
        o->sure = !talk->invites_unknown;
        o->forgets = o->sure && talk->invite_cseq == cseq;
    } else {
        o->sure = true;
        o->forgets = !response && ends;
    }
}

/* ---- all of them ---- */

/* Hears a message, of a packet that was accepted, or that its helper dropped, for what stands in it (`malformed`) or
 * for other reasons. */
static struct naive_opinion naive_hear(struct naive_talk *talk, const char *helper, const struct naive_message *m,
                                       bool dropped, bool malformed)
{
    static char text[NAIVE_TEXT + 1];
    struct naive_opinion o;
    const uint32_t size = m->size < NAIVE_TEXT ? m->size : NAIVE_TEXT;
    memset(&o, 0, sizeof o);
    if (size > 0)
        memcpy(text, m->bytes, size);
    text[size] = '\0';
    if (strcmp(helper, "pptp") == 0) {
        naive_pptp(talk, m, &o);
    } else if (strcmp(helper, "tftp") == 0) {
        naive_tftp(m, &o);
    } else if (strcmp(helper, "ftp") == 0) {
        naive_ftp_hear(talk, m, text, malformed, &o);
    } else if (strcmp(helper, "irc") == 0) {
        naive_irc(m, text, &o);
    } else if (strcmp(helper, "sip") == 0) {
        naive_sip(talk, m, text, &o);
        talk->invites_unknown = talk->invites_unknown || dropped;
        talk->registers_unknown = talk->registers_unknown || dropped;
    }
    o.sure = o.sure && !dropped;
    return o;
}

#endif
