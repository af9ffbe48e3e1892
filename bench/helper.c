/* SPDX-License-Identifier: MIT */
/* bench/helper.c - packets that a helper reads: those that foretell a connection, and those in which
 * it finds nothing. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 4096, WIRE = 768 };

/* In a text %A is the client's address, %C the same with commas, %N as a number, %P and a number the PPTP message
 * of that type; one that begins with < is said by the server. */
static const struct saying {
    const char *name;
    struct kind kind;
    const char *before[4]; /* said once; helpers of TCP read whole lines, and what went before was none */
    const char *text;
    bool foretells;
} sayings[] = {
    {"ftp-port", {.protocol = TCP, .port = 21}, {"NOOP\r\n"}, "PORT %C,200,10\r\n", true},
    {"ftp-idle", {.protocol = TCP, .port = 21}, {"NOOP\r\n"}, "NOOP\r\n", false},
    {"irc-dcc", {.protocol = TCP, .port = 6667}, {"NOOP\r\n"}, "PRIVMSG joe :\1DCC SEND file %N 5000 12345\1\r\n", true},
    {"irc-idle", {.protocol = TCP, .port = 6667}, {"NOOP\r\n"}, "PRIVMSG joe :how do you do\r\n", false},
    {"pptp-call", {.protocol = TCP, .port = 1723}, {"%P1", "<%P2", "%P7"}, "<%P8", true},
    {"pptp-idle", {.protocol = TCP, .port = 1723}, {"%P1", "<%P2"}, "%P5", false},
    {"tftp", {.protocol = UDP, .port = 69}, {NULL}, "", true},
    {"sip-invite", {.protocol = UDP, .port = 5060}, {NULL},
     "INVITE sip:bob@198.18.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP %A:5060;branch=z9hG4bK77\r\n"
     "From: <sip:alice@%A>;tag=1\r\nTo: <sip:bob@198.18.0.1>\r\nCall-ID: 1@%A\r\nCSeq: 1 INVITE\r\n"
     "Contact: <sip:alice@%A:5060>\r\nContent-Type: application/sdp\r\nContent-Length: 99\r\n\r\n"
     "v=0\r\no=- 1 1 IN IP4 %A\r\ns=-\r\nc=IN IP4 %A\r\nt=0 0\r\nm=audio 8000 RTP/AVP 0\r\n", true},
};

struct helper {
    const struct kit *kit;
    const struct saying *saying;
    uint32_t size;
};

static uint8_t wires[MESSAGES][WIRE];

/* A control message of PPTP (RFC 2637): a start, its answer, a call out, its answer, or an echo. */
static uint32_t pptp(uint32_t type, uint32_t flow, uint8_t *at)
{
    static const uint8_t bytes[9] = {0, 156, 156, 0, 0, 16, 0, 168, 32};
    memset(at, 0, bytes[type]);
    at[1] = bytes[type];
    at[3] = 1; /* a control message */
    put32(at + 4, 0x1a2b3c4d);
    at[9] = (uint8_t)type;
    if (type == 2)
        at[14] = 1; /* started */
    else if (type >= 7)
        put16(at + 12, flow & 0xffff); /* whose call this is to the sender */
    if (type == 8) {
        put16(at + 14, flow & 0xffff);
        at[16] = 1; /* connected */
    }
    return bytes[type];
}

/* The text of a flow; TFTP's is its opcode, and what follows is not read. */
static uint32_t say(const struct kind *kind, const char *text, uint32_t flow, char *body)
{
    const struct kst_tuple tuple = flow_tuple(kind, flow);
    const uint8_t *a = tuple.src;
    char *at = body;
    if (text[0] == '\0') {
        memcpy(body, "\0\1file\0octet", 12);
        return 13;
    }
    for (const char *from = text; *from != '\0'; from++) {
        if (*from != '%') {
            *at++ = *from;
            continue;
        }
        from++;
        if (*from == 'P')
            at += pptp((uint32_t)(*++from - '0'), flow, (uint8_t *)at);
        else if (*from == 'N')
            at += sprintf(at, "%u", (unsigned)a[0] << 24 | (unsigned)a[1] << 16 | (unsigned)a[2] << 8 | a[3]);
        else
            at += sprintf(at, *from == 'A' ? "%u.%u.%u.%u" : "%u,%u,%u,%u", a[0], a[1], a[2], a[3]);
    }
    return (uint32_t)(at - body);
}

/* A line of each flow, as far as it has come, goes through; the other side says ACK, so that the window
 * moves on. What is timed is what is said. */
static void lines(struct bench *b, struct table *w, const struct helper *c, const char *text, bool timed)
{
    const struct kind *kind = &c->saying->kind;
    static uint32_t newcomer = 1 << 20;
    const bool tcp = w->shape.flows > 0;
    const uint8_t direction = text[0] == '<' ? KST_REPLY : KST_ORIGINAL;
    for (uint32_t i = 0; i < c->size; i++) {
        const uint32_t flow = tcp ? i : newcomer++;
        const uint32_t sent[2] = {tcp ? w->sent[0][flow] : 0, tcp ? w->sent[1][flow] : 0};
        char body[WIRE];
        const uint32_t bytes = say(kind, text + (direction == KST_REPLY), flow, body);
        packets[i] = packet_write(wires[i], kind, flow, direction, STEP_DATA, sent, body, bytes);
        if (tcp)
            w->sent[direction][flow] += bytes;
    }
    if (timed)
        bench_start(b);
    w->now_ms = c->kit->track_all(w->t, w->now_ms, packets, c->size, 32, results, true);
    if (timed)
        bench_stop(b);
    for (uint32_t i = 0; i < c->size && tcp; i++)
        packet_make(w, i, i, !direction, STEP_AGREE);
    if (tcp)
        c->kit->track(w->t, w->now_ms, packets, c->size, results);
}

static void run(struct bench *b, const void *argument)
{
    const struct helper *c = argument;
    const bool tcp = c->saying->kind.protocol == TCP;
    struct table *w = table_of(b, &(struct shape){.kit = c->kit,
                                                  .kind = c->saying->kind,
                                                  .max = 2 * c->size,
                                                  .flows = tcp ? c->size : 0,
                                                  .upto = STEP_DATA,
                                                  .expectations = 4 * c->size,
                                                  .own = 20});
    if (w == NULL)
        return;
    for (const char *const *text = c->saying->before; *text != NULL; text++)
        lines(b, w, c, *text, false);
    const struct kst_stats before = *c->kit->statistics(w->t);
    uint64_t said = 0;
    while (bench_next(b, c->size)) {
        lines(b, w, c, c->saying->text, true);
        said += c->size;
        if (!tcp) /* each was of a new session */
            c->kit->flush(w->t);
    }
    const uint64_t foretold = c->kit->statistics(w->t)->expect_create - before.expect_create;
    if (c->saying->foretells ? foretold < said : foretold != 0)
        bench_fail(b, "%llu messages foretold %llu connections", (unsigned long long)said,
                   (unsigned long long)foretold);
}

void add_helpers(void)
{
    const uint32_t size = sizes[0];
    for (size_t k = 0; kits[k] != NULL; k++)
        for (size_t i = 0; i < COUNT(sayings); i++) {
            struct helper *c = malloc(sizeof *c);
            *c = (struct helper){kits[k], &sayings[i], size < MESSAGES ? size : MESSAGES};
            bench_add(name_of("helper", sayings[i].name, c->size, kits[k]->index, kits[k]->timer, "burst32"),
                      run, c);
        }
}
