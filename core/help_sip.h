/* SPDX-License-Identifier: MIT */
/* core/help_sip.h - SIP (RFC 3261) and the SDP (RFC 4566) that it carries: a REGISTER lets calls
 * come in, an INVITE and what follows name where audio, video and fax will go.
 *
 * Lines are found as Linux finds them: of two line ends in a row the second may hide what stands
 * behind it, unless they are CR LF. Nothing here reads a line twice, so work grows with the
 * size. */
#ifndef KST_HELP_SIP_H
#define KST_HELP_SIP_H

#include "help_text.h"

enum kst__sip_class { KST__SIP_SIGNALLING, KST__SIP_AUDIO, KST__SIP_VIDEO, KST__SIP_IMAGE };

struct kst__sip {
    uint32_t register_cseq, invite_cseq; /* CSeq of the last ones that had a consequence */
    uint16_t via_port; /* where who began it wants its answers, other than where it sends from; or 0 */
};

typedef char kst__sip_fits[sizeof(struct kst__sip) <= KST_HELPER_STATE_BYTES ? 1 : -1];

enum {
    KST__SIP_PORT = 5060,
    KST__SIP_MIN = 11,     /* bytes of a message: "SIP/2.0 200" */
    KST__SIP_DIGITS = 11,  /* that Linux reads of a number, leading zeros included; */
    KST__SIP_PORT_DIGITS = 5, /* and of a URI's port */
    KST__SIP_TICKS = 250   /* a second: it counts a registration in 32 bits of them */
};

struct kst__sip_message {
    struct kst_help *h;
    const uint8_t *begin, *end;
    uint32_t cseq;
    uint32_t code; /* of a response */
    bool redescribed; /* something in its session description was replaced */
};

struct kst__sip_uri {
    uint8_t address[16];
    uint16_t port;
    const uint8_t *begin, *end; /* of host and port */
};

KST_INLINE bool kst__line_end_at(const struct kst__text *text)
{
    return *text->at == '\r' || *text->at == '\n';
}

KST_INLINE bool kst__is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Of Latin 1, as Linux has it. */
KST_INLINE bool kst__is_letter(uint8_t c)
{
    return (kst__lower(c) >= 'a' && kst__lower(c) <= 'z') || (c >= 0xc0 && c != 0xd7 && c != 0xf7);
}

/* Steps over a line end that `text` is at; false at the end of the message. */
static bool kst__line_end_skip(struct kst__text *text)
{
    const bool cr = *text->at++ == '\r';
    if (text->at < text->end && cr && *text->at == '\n')
        text->at++;
    return text->at < text->end;
}

/* Over a line end into a line that goes on with the same header, to what it says there; false if it
 * does not, or says nothing. */
static bool kst__sip_folded(struct kst__text *text)
{
    if (!kst__line_end_skip(text) || !kst__is_blank(*text->at))
        return false;
    while (text->at < text->end && kst__is_blank(*text->at))
        text->at++;
    return text->at < text->end;
}

/* Over blanks, and into the next line if the header goes on there; false if it ends here. */
static bool kst__sip_blanks(struct kst__text *text)
{
    while (text->at < text->end && kst__is_blank(*text->at))
        text->at++;
    return text->at < text->end && (!kst__line_end_at(text) || kst__sip_folded(text));
}

/* On to the next line after where `text` is; false if there is none. */
static bool kst__line_next(struct kst__text *text)
{
    while (text->at < text->end && !kst__line_end_at(text))
        text->at++;
    return text->at < text->end && kst__line_end_skip(text);
}

/* On to `word` within a header; false if it is not there. */
static bool kst__sip_search(struct kst__text *text, const char *word)
{
    const uint32_t n = (uint32_t)strlen(word);
    while (kst__left(text) > n) {
        if (kst__line_end_at(text)) {
            if (!kst__sip_folded(text))
                return false;
            text->at++;
            continue;
        }
        if (kst__same_word(text->at, word, n))
            return true;
        text->at++;
    }
    return false;
}

/* A number of at most `most` digits that fits 32 bits. */
static bool kst__sip_number(struct kst__text *text, uint32_t most, uint32_t *number)
{
    uint64_t wide;
    if (!kst__number_read(text, most, &wide) || wide > UINT32_MAX ||
        (text->at < text->end && kst__is_digit(*text->at)))
        return false;
    *number = (uint32_t)wide;
    return true;
}

/* ---- headers ---- */

struct kst__sip_header {
    const char *name, *compact; /* NULL: no compact form */
};
static const struct kst__sip_header kst__sip_cseq = {"cseq", NULL};
static const struct kst__sip_header kst__sip_contact = {"contact", "m"};
static const struct kst__sip_header kst__sip_expires = {"expires", NULL};
static const struct kst__sip_header kst__sip_length = {"content-length", "l"};

static bool kst__sip_name(struct kst__text *line, const struct kst__sip_header *header)
{
    if (kst__word_read(line, header->name))
        return true;
    if (header->compact == NULL || kst__left(line) < 2 ||
        kst__lower(line->at[0]) != (uint8_t)header->compact[0] || kst__is_letter(line->at[1]))
        return false;
    line->at++;
    return true;
}

/* On to the value of the next header of this name behind `text`; false if there is none. */
static bool kst__sip_header_next(struct kst__text *text, const struct kst__sip_header *header)
{
    while (kst__line_next(text)) {
        struct kst__text line = *text;
        if (!kst__is_blank(*line.at) && kst__sip_name(&line, header)) {
            if (!kst__sip_blanks(&line) || *line.at != ':' || ++line.at == line.end ||
                !kst__sip_blanks(&line))
                return false;
            *text = line;
            return true;
        }
        text->at++;
    }
    return false;
}

static struct kst__text kst__sip_text(const struct kst__sip_message *m)
{
    const struct kst__text text = {m->begin, m->end};
    return text;
}

/* The number that a header holds. False if there is no such header, or no number in the first. */
static bool kst__sip_header_number(const struct kst__sip_message *m,
                                   const struct kst__sip_header *header, uint32_t *number)
{
    struct kst__text text = kst__sip_text(m);
    return kst__sip_header_next(&text, header) && kst__sip_number(&text, KST__SIP_DIGITS, number);
}

/* An address; an IPv6 one in brackets if it is a URI's. */
static bool kst__sip_address(const struct kst__sip_message *m, struct kst__text *text,
                             bool brackets, uint8_t *address)
{
    memset(address, 0, 16);
    if (m->h->tuple[0].family == KST_IPV4)
        return kst__ipv4_read(text, address);
    if (text->at < text->end && *text->at == '[')
        text->at++;
    else if (brackets)
        return false;
    if (!kst__ipv6_read(text, address))
        return false;
    if (text->at < text->end && *text->at == ']')
        text->at++;
    else if (brackets)
        return false;
    return true;
}

/* A host and perhaps its port. Linux wants something behind them. */
static bool kst__sip_host_port(const struct kst__sip_message *m, struct kst__text *text,
                               struct kst__sip_uri *uri)
{
    uint32_t port = KST__SIP_PORT;
    uri->begin = text->at;
    if (!kst__sip_address(m, text, true, uri->address) || text->at == text->end)
        return false;
    if (*text->at == ':') {
        text->at++;
        if (!kst__sip_number(text, KST__SIP_PORT_DIGITS, &port) || port < 1024 ||
            port > UINT16_MAX || text->at == text->end)
            return false;
    }
    uri->port = (uint16_t)port;
    uri->end = text->at;
    return true;
}

/* The host of the URI behind `sip:`, and its port. */
static bool kst__sip_host(const struct kst__sip_message *m, struct kst__text *text,
                          struct kst__sip_uri *uri)
{
    struct kst__text user = *text;
    while (user.at < user.end && *user.at != '@' && !kst__line_end_at(&user))
        user.at++;
    if (user.at < user.end && *user.at == '@') {
        user.at++;
        *text = user;
    }
    return kst__sip_host_port(m, text, uri);
}

/* The next Contact that can be read: another one of the same header, if `inside` one, else one of a
 * header further on. */
static bool kst__sip_contact_next(const struct kst__sip_message *m, struct kst__text *text,
                                  bool *inside, struct kst__sip_uri *uri)
{
    for (;;) {
        struct kst__text value = *text;
        const bool among =
            *inside && kst__sip_search(&value, ",") && kst__sip_search(&value, "sip:");
        if (!among) {
            *inside = false;
            value = *text;
            if (!kst__sip_header_next(&value, &kst__sip_contact))
                return false;
            *text = value;
            if (!kst__sip_search(&value, "sip:"))
                continue;
        }
        value.at += 4;
        const bool found = kst__sip_host(m, &value, uri);
        if (found || among)
            *text = value;
        if (found) {
            *inside = true;
            return true;
        }
    }
}

/* The value of a parameter of the URI or contact that `text` is behind; false if it has none. */
static bool kst__sip_parameter(struct kst__text text, const char *name, struct kst__text *value)
{
    struct kst__text comma = text;
    if (kst__sip_search(&comma, ","))
        text.end = comma.at;
    if (!kst__sip_search(&text, name))
        return false;
    text.at += strlen(name);
    *value = text;
    return true;
}

/* Whether the contact is to be reached by the protocol that this connection has. */
static bool kst__sip_transport_fits(const struct kst__sip_message *m, const struct kst__text *text)
{
    struct kst__text value;
    if (!kst__sip_parameter(*text, "transport=", &value))
        return true;
    value.end = m->end;
    const bool tcp = m->h->tuple[0].protocol == KST__TCP;
    return kst__word_read(&value, tcp ? "tcp" : "udp");
}

/* How long a contact holds; false if that cannot be read. */
static bool kst__sip_contact_expires(const struct kst__text *text, uint32_t *expires)
{
    struct kst__text value;
    return !kst__sip_parameter(*text, "expires=", &value) ||
           kst__sip_number(&value, KST__SIP_DIGITS, expires);
}

/* ---- rewriting, where the connection is translated ---- */

/* Whether an address is that of who speaks, which is another to who hears it. */
static bool kst__sip_own(const struct kst__sip_message *m, const uint8_t *address)
{
    const struct kst_help *h = m->h;
    return h->translated && memcmp(address, h->tuple[h->direction].src, 16) == 0;
}

/* Puts a line in the place of [begin, end) of the message, and `text` behind it. */
static enum kst_reason kst__sip_put(struct kst__sip_message *m, const uint8_t *begin,
                                    const uint8_t *end, const struct kst__line *line,
                                    struct kst__text *text)
{
    const enum kst_reason reason = kst__help_put(m->h, begin, end, line);
    if (reason == KST_REASON_NONE)
        m->end += (ptrdiff_t)line->length - (end - begin);
    text->at = begin + (reason == KST_REASON_NONE ? (ptrdiff_t)line->length : end - begin);
    text->end = m->end;
    return reason;
}

static void kst__sip_put_host(const struct kst__sip_message *m, struct kst__line *line,
                              const uint8_t *address, bool brackets)
{
    const bool v6 = m->h->tuple[0].family == KST_IPV6;
    kst__put(line, v6 && brackets ? "[" : "");
    if (v6)
        kst__put_ipv6_short(line, address);
    else
        kst__put_ipv4(line, address);
    kst__put(line, v6 && brackets ? "]" : "");
}

static enum kst_reason kst__sip_put_uri(struct kst__sip_message *m, const struct kst__sip_uri *uri,
                                        const uint8_t *address, uint16_t port,
                                        struct kst__text *text)
{
    char words[64];
    struct kst__line line = {words, sizeof words, 0};
    kst__sip_put_host(m, &line, address, true);
    kst__put_field(&line, ":", port);
    return kst__sip_put(m, uri->begin, uri->end, &line, text);
}

/* Lets host and port be what who hears it knows them by, if they are one of the connection's two
 * ends. */
static enum kst_reason kst__sip_map(struct kst__sip_message *m, const struct kst__sip_uri *uri,
                                    struct kst__text *text)
{
    const struct kst_help *h = m->h;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    const bool is_src = memcmp(uri->address, own->src, 16) == 0 && uri->port == own->src_port;
    const bool is_dst = memcmp(uri->address, own->dst, 16) == 0 && uri->port == own->dst_port;
    const uint16_t via_port = ((const struct kst__sip *)h->state)->via_port;
    const uint8_t *address = is_src ? other->dst : other->src;
    const uint16_t port = is_src          ? other->dst_port
                          : via_port != 0 ? via_port
                                          : other->src_port;
    if ((!is_src && !is_dst) || (memcmp(address, uri->address, 16) == 0 && port == uri->port))
        return KST_REASON_NONE;
    return kst__sip_put_uri(m, uri, address, port, text);
}

/* A parameter of a Via that names an address: the one that `from` is, if it is another to the other
 * side. */
static enum kst_reason kst__sip_via_address(struct kst__sip_message *m, struct kst__text *via,
                                            const char *name, const uint8_t *from,
                                            const uint8_t *to)
{
    struct kst__text value;
    char words[64];
    struct kst__line line = {words, sizeof words, 0};
    uint8_t address[16];
    if (!kst__sip_parameter(*via, name, &value))
        return KST_REASON_NONE;
    const uint8_t *begin = value.at;
    if (!kst__sip_address(m, &value, false, address) || memcmp(address, from, 16) != 0 ||
        memcmp(address, to, 16) == 0)
        return KST_REASON_NONE;
    kst__sip_put_host(m, &line, to, *begin == '[');
    const uint8_t *keep = via->at;
    const enum kst_reason reason = kst__sip_put(m, begin, value.at, &line, via);
    via->at = keep;
    return reason;
}

/* Host and port of the topmost Via, by this transport. */
static bool kst__sip_via_host(const struct kst__sip_message *m, const char *transport,
                              struct kst__text *text, struct kst__sip_uri *uri)
{
    static const struct kst__sip_header via = {"via", "v"};
    *text = kst__sip_text(m);
    if (!kst__sip_header_next(text, &via) || !kst__sip_search(text, transport))
        return false;
    text->at += 4;
    return kst__sip_host_port(m, text, uri);
}

/* Some phones send from one port and listen at another, which their Via names. */
static void kst__sip_note_via(const struct kst__sip_message *m)
{
    const struct kst_tuple *own = &m->h->tuple[m->h->direction];
    struct kst__text text;
    struct kst__sip_uri uri;
    if (kst__sip_via_host(m, "udp ", &text, &uri) && uri.port != own->src_port &&
        memcmp(uri.address, own->src, sizeof uri.address) == 0)
        ((struct kst__sip *)m->h->state)->via_port = uri.port;
}

/* The topmost Via, if it is about this connection, and what its parameters say. */
static enum kst_reason kst__sip_via(struct kst__sip_message *m, bool request)
{
    const struct kst_help *h = m->h;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    struct kst__text text, value;
    struct kst__sip_uri uri;
    uint32_t rport;
    if (!kst__sip_via_host(m, own->protocol == KST__TCP ? "tcp " : "udp ", &text, &uri) ||
        memcmp(uri.address, request ? own->src : own->dst, 16) != 0 ||
        uri.port != (request ? own->src_port : own->dst_port))
        return KST_REASON_NONE;
    enum kst_reason reason = kst__sip_map(m, &uri, &text);
    if (reason == KST_REASON_NONE)
        reason = kst__sip_via_address(m, &text, "maddr=", own->src, other->dst);
    if (reason == KST_REASON_NONE)
        reason = kst__sip_via_address(m, &text, "received=", own->dst, other->src);
    if (reason != KST_REASON_NONE || !kst__sip_parameter(text, "rport=", &value))
        return reason;
    const uint8_t *begin = value.at;
    if (!kst__sip_number(&value, KST__SIP_DIGITS, &rport) || rport != own->dst_port ||
        rport == other->src_port)
        return KST_REASON_NONE;
    char digits[8];
    struct kst__line line = {digits, sizeof digits, 0};
    kst__put_number(&line, other->src_port, 10);
    return kst__sip_put(m, begin, value.at, &line, &text);
}

/* The address of a header that names one. */
static enum kst_reason kst__sip_name_and_address(struct kst__sip_message *m,
                                                 const struct kst__sip_header *header)
{
    struct kst__text text = kst__sip_text(m);
    struct kst__sip_uri uri;
    if (!kst__sip_header_next(&text, header) || !kst__sip_search(&text, "sip:"))
        return KST_REASON_NONE;
    text.at += 4;
    return kst__sip_host(m, &text, &uri) ? kst__sip_map(m, &uri, &text) : KST_REASON_NONE;
}

/* All headers that name an end of the connection; and the port of who listens elsewhere, as Linux has
 * it: by UDP alone, by TCP it loses the packet. */
static enum kst_reason kst__sip_translate(struct kst__sip_message *m, bool request)
{
    static const struct kst__sip_header from = {"from", "f"}, to = {"to", "t"};
    struct kst__text text = kst__sip_text(m);
    struct kst__sip_uri uri;
    const uint16_t via_port = ((const struct kst__sip *)m->h->state)->via_port;
    enum kst_reason reason = KST_REASON_NONE;
    bool inside = false;
    while (request && text.at < text.end && kst__is_letter(*text.at)) /* the method */
        text.at++;
    if (text.at > m->begin && ++text.at < text.end && kst__sip_search(&text, "sip:")) {
        text.at += 4;
        if (kst__sip_host(m, &text, &uri))
            reason = kst__sip_map(m, &uri, &text);
    }
    if (reason == KST_REASON_NONE)
        reason = kst__sip_via(m, request);
    text = kst__sip_text(m);
    while (reason == KST_REASON_NONE && kst__sip_contact_next(m, &text, &inside, &uri))
        reason = kst__sip_map(m, &uri, &text);
    if (reason == KST_REASON_NONE)
        reason = kst__sip_name_and_address(m, &from);
    if (reason == KST_REASON_NONE)
        reason = kst__sip_name_and_address(m, &to);
    if (reason != KST_REASON_NONE || via_port == 0 || m->h->direction == KST_ORIGINAL)
        return reason;
    m->h->to_port = via_port;
    return m->h->tuple[0].protocol == KST__UDP ? KST_REASON_NONE : KST_REASON_NAT_PACKET;
}

/* ---- expectations ---- */

/* Forgets what media, or what signalling, the connection expects. */
static void kst__sip_forget(struct kst_help *h, bool media)
{
    struct kst_expectation x;
    kst_id id = kst_expectation_own(h->t, h->connection, 0), older;
    for (; id != 0 && kst_expectation_get(h->t, id, &x); id = older) {
        older = kst_expectation_own(h->t, h->connection, id);
        if ((x.class_ != KST__SIP_SIGNALLING) != media)
            continue;
        kst_expectation_delete(h->t, id);
        if (!media)
            return;
    }
}

/* The registration was granted: calls may come in for so long. False if there was none for this. */
static bool kst__sip_grant(struct kst_help *h, const struct kst__sip_uri *uri, uint32_t expires_s)
{
    struct kst_expectation x;
    kst_id id = kst_expectation_own(h->t, h->connection, 0);
    for (; id != 0; id = kst_expectation_own(h->t, h->connection, id))
        if (kst_expectation_get(h->t, id, &x) && x.class_ == KST__SIP_SIGNALLING &&
            x.tuple.protocol == h->tuple[0].protocol && x.tuple.dst_port == uri->port &&
            memcmp(x.tuple.dst, uri->address, sizeof uri->address) == 0)
            return kst_expectation_renew(h->t, id, KST_EXPECT_PERMANENT,
                                         (uint64_t)(expires_s * KST__SIP_TICKS) * 1000 /
                                             KST__SIP_TICKS);
    return false;
}

static bool kst__sip_setting(const struct kst_help *h, const char *name)
{
    uint32_t value = 0;
    kst_setting(h->t, name, &value);
    return value != 0;
}

/* Two streams: RTP to the even port, RTCP to the one behind it; `*port` is then what the outside is
 * to be told. */
static enum kst_reason kst__sip_expect_media(const struct kst__sip_message *m, uint8_t class_,
                                             const uint8_t *address, uint32_t *port)
{
    struct kst_help *h = m->h;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    const bool direct = kst__sip_setting(h, "nf_conntrack_sip_direct_media");
    const bool translated = kst__sip_own(m, address);
    struct kst_expectation x;
    enum kst_error error = KST_ERROR_EXPECT_BUSY;
    uint32_t first = *port & ~UINT32_C(1);
    if (direct && memcmp(address, own->src, sizeof own->src) != 0)
        return KST_REASON_NONE;
    memset(&x, 0, sizeof x);
    x.master = h->connection;
    x.tuple.family = own->family;
    x.tuple.protocol = KST__UDP;
    x.tuple.zone = kst__help_zone(h);
    memcpy(x.tuple.dst, translated ? other->dst : address, sizeof x.tuple.dst);
    if (direct)
        memcpy(x.tuple.src, other->src, sizeof x.tuple.src);
    x.flags = (uint8_t)(KST_EXPECT_ANY_SRC_PORT | KST_EXPECT_ANY_MASTER |
                        (direct ? 0 : KST_EXPECT_ANY_SRC));
    x.class_ = class_;
    x.follows = translated ? KST_FOLLOWS_PEER : KST_FOLLOWS_NOT;
    x.nat_direction = h->direction;
    for (uint32_t tries = 0; error == KST_ERROR_EXPECT_BUSY && tries <= KST__HELP_PORTS; tries++) {
        kst_id rtp = 0;
        if (tries > 0 && !translated)
            break;
        if (tries > 0)
            first = (*port + kst__nat_draw(h->t) % (UINT16_MAX - *port + 1)) & ~UINT32_C(1);
        for (uint32_t i = 0; i < 2; i++) {
            x.tuple.dst_port = (uint16_t)(first + i);
            x.nat_port = (uint16_t)((*port & ~UINT32_C(1)) + i);
            error = kst_expect(h->t, &x);
            if (error == KST_ERROR_OK && i == 0)
                rtp = kst_expectation_own(h->t, h->connection, 0);
            if (error != KST_ERROR_OK && (translated || error != KST_ERROR_EXPECT_EXISTS)) {
                kst_expectation_delete(h->t, rtp);
                break;
            }
        }
    }
    if (error != KST_ERROR_OK && (translated || error != KST_ERROR_EXPECT_EXISTS))
        return KST_REASON_HELPER_EXPECT;
    if (first != (*port & ~UINT32_C(1)))
        *port = first;
    return KST_REASON_NONE;
}

/* ---- SDP ---- */

/* On to what stands behind the next line that begins with `name`, before one that begins with
 * `until`. */
static bool kst__sdp_line(struct kst__text *text, const char *name, const char *until)
{
    while (kst__line_next(text)) {
        struct kst__text line = *text;
        if (until != NULL && kst__word_read(&line, until))
            return false;
        if (kst__word_read(&line, name)) {
            *text = line;
            return true;
        }
        text->at++;
    }
    return false;
}

/* The address of a line of this name before the next media line; and where it stands. */
static bool kst__sdp_address(const struct kst__sip_message *m, struct kst__text text,
                             const char *name, uint8_t *address, struct kst__text *at)
{
    const char *network = m->h->tuple[0].family == KST_IPV4 ? "IN IP4 " : "IN IP6 ";
    if (!kst__sdp_line(&text, name, "m="))
        return false;
    while (kst__left(&text) > 7 && !kst__line_end_at(&text)) {
        if (memcmp(text.at, network, 7) == 0) {
            text.at += 7;
            at->at = text.at;
            const bool found = kst__sip_address(m, &text, false, address);
            at->end = text.at;
            return found;
        }
        text.at++;
    }
    return false;
}

/* Whether a media line names some media, with a blank behind it. */
static bool kst__sdp_sound(struct kst__text text)
{
    while (text.at < text.end && kst__is_letter(*text.at))
        text.at++;
    return text.at < text.end && *text.at == ' ';
}

/* The class of the media that a line names, and on to its port; 0 if it is none of ours. */
static uint8_t kst__sdp_media(struct kst__text *text)
{
    static const char names[3][7] = {"audio ", "video ", "image "};
    for (uint8_t i = 0; i < 3; i++) {
        if (kst__left(text) >= 6 && memcmp(text->at, names[i], 6) == 0) {
            text->at += 6;
            return (uint8_t)(KST__SIP_AUDIO + i);
        }
    }
    return 0;
}

/* Puts a line in the place of [begin, end) of the description. */
static enum kst_reason kst__sdp_put(struct kst__sip_message *m, const uint8_t *begin,
                                    const uint8_t *end, const struct kst__line *line,
                                    struct kst__text *text)
{
    m->redescribed = true;
    return kst__sip_put(m, begin, end, line, text);
}

/* Puts an address in the place of whatever stands in a line of this name before the next media
 * line; there must be one if it is `needed`. */
static enum kst_reason kst__sdp_put_address(struct kst__sip_message *m, struct kst__text text,
                                            const char *name, bool needed, const uint8_t *seen_by)
{
    char words[64];
    struct kst__line line = {words, sizeof words, 0};
    struct kst__text at;
    uint8_t address[16];
    if (!kst__sdp_address(m, text, name, address, &at))
        return needed ? KST_REASON_SIP_MEDIA : KST_REASON_NONE;
    kst__sip_put_host(m, &line, seen_by, false);
    return kst__sdp_put(m, at.at, at.end, &line, &text);
}

/* One media line, whose port `text` is at: expects it, and tells the outside what that will see.
 * `address` is that of the session, if there is one, then where this is seen. */
static enum kst_reason kst__sdp_expect(struct kst__sip_message *m, struct kst__text *text,
                                       uint8_t class_, uint32_t port, const uint8_t *port_at,
                                       bool has_address, uint8_t *address)
{
    char digits[8];
    struct kst__line line = {digits, sizeof digits, 0};
    struct kst__text at;
    uint8_t own[16];
    uint32_t seen_by = port;
    if (kst__sdp_address(m, *text, "c=", own, &at))
        memcpy(address, own, sizeof own);
    else if (!has_address)
        return KST_REASON_SIP_MEDIA;
    enum kst_reason reason = kst__sip_expect_media(m, class_, address, &seen_by);
    if (reason != KST_REASON_NONE || !m->h->translated)
        return reason;
    if (kst__sip_own(m, address))
        memcpy(address, m->h->tuple[!m->h->direction].dst, sizeof own);
    if (seen_by != port) {
        kst__put_number(&line, seen_by, 10);
        reason = kst__sdp_put(m, port_at, text->at, &line, text);
    }
    return reason == KST_REASON_NONE ? kst__sdp_put_address(m, *text, "c=", false, address)
                                     : reason;
}

/* A description of which something has changed: its length. `begin` is behind "v=". */
static enum kst_reason kst__sdp_seal(struct kst__sip_message *m, const uint8_t *begin)
{
    struct kst__text header = kst__sip_text(m);
    char digits[12];
    struct kst__line line = {digits, sizeof digits, 0};
    if (!kst__sip_header_next(&header, &kst__sip_length) || !kst__is_digit(*header.at))
        return KST_REASON_SIP_HEADER;
    const uint8_t *number = header.at;
    while (header.at < header.end && kst__is_digit(*header.at))
        header.at++;
    kst__put_number(&line, (uint64_t)(m->end - begin) + 2, 10);
    return kst__sip_put(m, number, header.at, &line, &header);
}

/* Expects what the session description of a message names. Where the connection is translated, it then
 * says of all what its last media line's address is to the outside, as Linux has it. */
static enum kst_reason kst__sdp(struct kst__sip_message *m)
{
    struct kst__text text = kst__sip_text(m), at;
    uint8_t session[16] = {0}, address[16];
    uint32_t port;
    if (!kst__sdp_line(&text, "v=", NULL) || text.at == text.end || !kst__is_digit(*text.at))
        return KST_REASON_NONE;
    const uint8_t *begin = text.at;
    const bool has_session = kst__sdp_address(m, text, "c=", session, &at);
    bool has_address = has_session;
    enum kst_reason reason = KST_REASON_NONE;
    memcpy(address, session, sizeof session);
    for (uint32_t media = 0;
         media < 3 && kst__sdp_line(&text, "m=", NULL) && kst__sdp_sound(text);) {
        const uint8_t class_ = kst__sdp_media(&text);
        const uint8_t *port_at = text.at;
        if (class_ == 0 || !kst__sip_number(&text, KST__SIP_DIGITS, &port) || port == 0)
            continue;
        media++;
        if (port < 1024 || port > UINT16_MAX)
            return KST_REASON_SIP_MEDIA;
        memcpy(address, session, sizeof session);
        reason = kst__sdp_expect(m, &text, class_, port, port_at, has_session, address);
        if (reason != KST_REASON_NONE)
            return reason;
        has_address = true;
        text.end = m->end;
    }
    if (!m->h->translated || !has_address)
        return KST_REASON_NONE;
    for (uint32_t i = 0; i < 2 && reason == KST_REASON_NONE; i++) {
        const struct kst__text all = {begin, m->end};
        reason = kst__sdp_put_address(m, all, i == 0 ? "o=" : "c=", i == 0, address);
    }
    return reason == KST_REASON_NONE && m->redescribed ? kst__sdp_seal(m, begin) : reason;
}

/* ---- methods ---- */

static enum kst_reason kst__sip_invite(struct kst__sip_message *m)
{
    struct kst__sip *sip = (struct kst__sip *)m->h->state;
    kst__sip_forget(m->h, true);
    const enum kst_reason reason = kst__sdp(m);
    if (reason == KST_REASON_NONE)
        sip->invite_cseq = m->cseq;
    return reason;
}

/* The answer to whatever carried SDP. */
static enum kst_reason kst__sip_session_answer(struct kst__sip_message *m)
{
    const struct kst__sip *sip = (const struct kst__sip *)m->h->state;
    if (m->code >= 100 && m->code <= 299)
        return kst__sdp(m);
    if (sip->invite_cseq == m->cseq)
        kst__sip_forget(m->h, true);
    return KST_REASON_NONE;
}

static enum kst_reason kst__sip_bye(struct kst__sip_message *m)
{
    kst__sip_forget(m->h, true);
    return KST_REASON_NONE;
}

/* A client tells where it wants to be called. Until that is granted nobody may. */
static enum kst_reason kst__sip_register(struct kst__sip_message *m)
{
    struct kst_help *h = m->h;
    struct kst__sip *sip = (struct kst__sip *)h->state;
    const struct kst_tuple *own = &h->tuple[h->direction], *other = &h->tuple[!h->direction];
    struct kst__text text = kst__sip_text(m);
    struct kst__sip_uri uri;
    struct kst_expectation x;
    bool inside = false;
    uint32_t expires = 0;
    if (h->expected) /* what was called may not ask for calls */
        return KST_REASON_NONE;
    kst__sip_header_number(m, &kst__sip_expires, &expires);
    if (!kst__sip_contact_next(m, &text, &inside, &uri) ||
        memcmp(uri.address, own->src, sizeof uri.address) != 0 ||
        !kst__sip_transport_fits(m, &text))
        return KST_REASON_NONE;
    if (!kst__sip_contact_expires(&text, &expires))
        return KST_REASON_SIP_HEADER;
    if (expires != 0) {
        const bool direct = kst__sip_setting(h, "nf_conntrack_sip_direct_signalling");
        memset(&x, 0, sizeof x);
        x.master = h->connection;
        x.tuple.family = own->family;
        x.tuple.protocol = own->protocol;
        x.tuple.zone = kst__help_zone(h);
        if (direct)
            memcpy(x.tuple.src, other->src, sizeof x.tuple.src);
        memcpy(x.tuple.dst, h->translated ? other->dst : uri.address, sizeof x.tuple.dst);
        x.follows = h->translated ? KST_FOLLOWS_PEER : KST_FOLLOWS_NOT;
        x.nat_port = uri.port;
        x.flags = (uint8_t)(KST_EXPECT_PERMANENT | KST_EXPECT_INACTIVE | KST_EXPECT_ANY_SRC_PORT |
                            (direct ? 0 : KST_EXPECT_ANY_SRC));
        x.class_ = KST__SIP_SIGNALLING;
        x.child_helper = kst_helper_number("sip");
        const uint16_t from = sip->via_port != 0 ? sip->via_port : own->src_port;
        uint16_t port = h->translated && uri.port == from ? other->dst_port : uri.port;
        enum kst_reason reason = kst__help_expect_port(h, &x, &port);
        if (reason == KST_REASON_NONE && h->translated &&
            (port != uri.port || memcmp(other->dst, uri.address, sizeof uri.address) != 0))
            reason = kst__sip_put_uri(m, &uri, other->dst, port, &text);
        if (reason != KST_REASON_NONE)
            return reason;
    }
    sip->register_cseq = m->cseq;
    return KST_REASON_NONE;
}

static enum kst_reason kst__sip_registered(struct kst__sip_message *m)
{
    struct kst_help *h = m->h;
    const struct kst__sip *sip = (const struct kst__sip *)h->state;
    struct kst__text text = kst__sip_text(m);
    struct kst__sip_uri uri;
    bool inside = false;
    uint32_t expires = 0;
    if (sip->register_cseq != m->cseq || (m->code >= 100 && m->code <= 199))
        return KST_REASON_NONE;
    kst__sip_header_number(m, &kst__sip_expires, &expires);
    while (m->code >= 200 && m->code <= 299 &&
           kst__sip_contact_next(m, &text, &inside, &uri)) {
        uint32_t granted = expires;
        if (memcmp(uri.address, h->tuple[h->direction].dst, sizeof uri.address) != 0 ||
            !kst__sip_transport_fits(m, &text))
            continue;
        if (!kst__sip_contact_expires(&text, &granted))
            return KST_REASON_SIP_HEADER;
        if (granted == 0)
            break;
        if (kst__sip_grant(h, &uri, granted))
            return KST_REASON_NONE;
    }
    kst__sip_forget(h, false);
    return KST_REASON_NONE;
}

enum kst__sip_method {
    KST__SIP_INVITE,
    KST__SIP_UPDATE,
    KST__SIP_ACK,
    KST__SIP_PRACK,
    KST__SIP_BYE,
    KST__SIP_REGISTER,
    KST__SIP_METHODS
};
static const char kst__sip_methods[KST__SIP_METHODS][9] = {"invite", "update", "ack",
                                                           "prack",  "bye",    "register"};

static enum kst_reason kst__sip_request(struct kst__sip_message *m)
{
    for (uint32_t method = 0; method < KST__SIP_METHODS; method++) {
        struct kst__text text = kst__sip_text(m);
        if (!kst__word_read(&text, kst__sip_methods[method]) || kst__left(&text) < 2 ||
            text.at[0] != ' ' || !kst__is_letter(text.at[1]))
            continue;
        if (!kst__sip_header_number(m, &kst__sip_cseq, &m->cseq))
            return KST_REASON_SIP_CSEQ;
        switch (method) {
        case KST__SIP_INVITE: return kst__sip_invite(m);
        case KST__SIP_BYE: return kst__sip_bye(m);
        case KST__SIP_REGISTER: return kst__sip_register(m);
        default: return kst__sdp(m);
        }
    }
    return KST_REASON_NONE;
}

static enum kst_reason kst__sip_response(struct kst__sip_message *m)
{
    struct kst__text text = kst__sip_text(m);
    text.at += 8; /* "SIP/2.0 " */
    if (!kst__sip_number(&text, KST__SIP_DIGITS, &m->code) || m->code == 0)
        return KST_REASON_SIP_STATUS;
    text.at = m->begin;
    if (!kst__sip_header_next(&text, &kst__sip_cseq) ||
        !kst__sip_number(&text, KST__SIP_DIGITS, &m->cseq))
        return KST_REASON_SIP_CSEQ;
    if (text.at < text.end)
        text.at++;
    for (uint32_t method = 0; method < KST__SIP_METHODS; method++) {
        struct kst__text word = text;
        if (!kst__word_read(&word, kst__sip_methods[method]))
            continue;
        switch (method) {
        case KST__SIP_INVITE:
        case KST__SIP_UPDATE:
        case KST__SIP_PRACK: return kst__sip_session_answer(m);
        case KST__SIP_REGISTER: return kst__sip_registered(m);
        default: break;
        }
    }
    return KST_REASON_NONE;
}

/* Reads one message; `*end` is then where it ends now. */
static enum kst_reason kst__sip_read(struct kst_help *h, const uint8_t *begin, const uint8_t **end)
{
    struct kst__sip_message m = {h, begin, *end, 0, 0, false};
    struct kst__text text = kst__sip_text(&m);
    const bool response = kst__word_read(&text, "sip/2.0 ");
    if (!response)
        kst__sip_note_via(&m);
    enum kst_reason reason = response ? kst__sip_response(&m) : kst__sip_request(&m);
    if (reason == KST_REASON_NONE && h->translated)
        reason = kst__sip_translate(&m, !response);
    *end = m.end;
    return reason;
}

/* The end of the message that begins a TCP payload, NULL if it is not all there or cannot be
 * told. Linux forgets by how much those before it have grown if it claims to be longer than it is. */
static const uint8_t *kst__sip_end(struct kst_help *h, const uint8_t *begin, const uint8_t *end)
{
    const struct kst__sip_message m = {h, begin, end, 0, 0, false};
    struct kst__text text = kst__sip_text(&m);
    uint32_t length;
    if (!kst__sip_header_next(&text, &kst__sip_length) ||
        !kst__sip_number(&text, KST__SIP_DIGITS, &length))
        return NULL;
    while (kst__left(&text) >= 4 && memcmp(text.at, "\r\n\r\n", 4) != 0)
        text.at++;
    if (kst__left(&text) < 4)
        return NULL;
    h->unnoted = length > kst__left(&text) - 4;
    return h->unnoted ? NULL : text.at + 4 + length;
}

static enum kst_reason kst__sip_help(struct kst_help *h)
{
    const uint8_t *begin = h->payload, *end = h->payload + h->size;
    enum kst_reason reason = KST_REASON_NONE;
    const bool tcp = h->tuple[0].protocol == KST__TCP;
    if (h->size == 0 || (tcp && !h->answered))
        return KST_REASON_NONE;
    kst_setting(h->t, "nf_conntrack_sip_timeout", &h->timeout_s);
    if (!tcp)
        return h->size < KST__SIP_MIN ? KST_REASON_NONE : kst__sip_read(h, begin, &end);
    while (reason == KST_REASON_NONE && end - begin >= KST__SIP_MIN) {
        const uint8_t *next = kst__sip_end(h, begin, end);
        if (next == NULL)
            break;
        reason = kst__sip_read(h, begin, &next);
        begin = next;
        end = h->payload + h->size;
    }
    return reason;
}

static const struct kst_helper KST__MAYBE_UNUSED kst_helper_sip = {
    "sip",
    {KST__UDP, KST__TCP},
    0,
    false,
    5060,
    {{"signalling", 1, 180}, {"audio", 4, 180}, {"video", 4, 180}, {"image", 2, 180}},
    kst__sip_help};

#endif
