/* SPDX-License-Identifier: MIT */
/* bench/capture.c - a capture of the user's, replayed through every pair of back ends: --capture=FILE.
 *
 * One capture rarely fills a table. So as many copies of it as do play at once, each in a zone of
 * its own, which keeps their connections apart with no byte changed; they begin at different times,
 * PHASES of them, so that at any moment some open while others close. Time is the capture's own. A
 * table has room for twice as many connections as there are at the most, for as many, and for half:
 * WHAT is half, full or over. All from the empty table to the last packet is timed. */
#include "bench.h"
#include "../harness/replay/link.h"

#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PHASES = 64, BURST = 32, WORK = 64, ZONES = 65536 };

static struct {
    struct frame {
        size_t at; /* in `bytes` */
        uint32_t size, ms;
        bool cut;
    } *frames;
    size_t count, room;
    uint8_t *bytes;
    size_t used, bytes_room;
    uint32_t peak; /* connections at a time, if none had to go */
    uint64_t created;
    bool fragments, helped; /* it needs memory for them */
} capture;

static void *grown(void *at, size_t *room, size_t need, size_t size)
{
    if (need <= *room)
        return at;
    *room = need * 2;
    at = realloc(at, *room * size);
    if (at == NULL)
        abort();
    return at;
}

static void frame_add(const struct link_bytes *rest, const struct pcap_pkthdr *header)
{
    static struct timeval first;
    if (capture.count == 0)
        first = header->ts;
    const int64_t ms = ((int64_t)header->ts.tv_sec - first.tv_sec) * 1000 +
                       ((int64_t)header->ts.tv_usec - first.tv_usec) / 1000;
    const uint32_t last = capture.count > 0 ? capture.frames[capture.count - 1].ms : 0;
    capture.frames = grown(capture.frames, &capture.room, capture.count + 1, sizeof *capture.frames);
    capture.bytes = grown(capture.bytes, &capture.bytes_room, capture.used + rest->size, 1);
    memcpy(capture.bytes + capture.used, rest->at, rest->size);
    /* A clock that was set back stands still instead; one beyond 24 days, too. */
    capture.frames[capture.count++] = (struct frame){
        .at = capture.used, .size = rest->size, .cut = header->caplen < header->len,
        .ms = ms < last ? last : ms > INT32_MAX ? INT32_MAX : (uint32_t)ms};
    capture.used += rest->size;
}

static bool capture_read(const char *file)
{
    char why[PCAP_ERRBUF_SIZE];
    pcap_t *pcap = pcap_open_offline(file, why);
    if (pcap == NULL) {
        fprintf(stderr, "bench: %s\n", why);
        return false;
    }
    link_peel *peel = link_find(pcap_datalink(pcap));
    struct pcap_pkthdr *header;
    const u_char *bytes;
    while (peel != NULL && pcap_next_ex(pcap, &header, &bytes) == 1) {
        struct link_bytes rest = {bytes, header->caplen, 0};
        if (peel(&rest) == LINK_IP)
            frame_add(&rest, header);
    }
    if (capture.count == 0)
        fprintf(stderr, "bench: %s: %s\n", file,
                peel == NULL ? "its link type is not known" : "not one IP packet in it");
    pcap_close(pcap);
    return capture.count > 0;
}

/* ---- copies in phases: what comes next ---- */

struct player {
    uint32_t copies, phases;
    uint32_t offset_ms[PHASES], next[PHASES]; /* by phase: the frame that it plays next */
    uint8_t heap[PHASES];                     /* phases, the one whose turn it is at the front */
    uint32_t left;                            /* phases in the heap */
    uint32_t member;                          /* the copy of that phase whose turn it is */
};

static uint64_t due(const struct player *p, uint8_t phase)
{
    return (uint64_t)p->offset_ms[phase] + capture.frames[p->next[phase]].ms;
}

/* The front sinks to where it belongs; equal times go by phase, so that all is told once and for all. */
static void settle(struct player *p)
{
    for (uint32_t at = 0, child; (child = 2 * at + 1) < p->left; at = child) {
        const uint8_t *h = p->heap;
#define BEFORE(a, b) (due(p, a) < due(p, b) || (due(p, a) == due(p, b) && (a) < (b)))
        if (child + 1 < p->left && BEFORE(h[child + 1], h[child]))
            child++;
        if (!BEFORE(h[child], h[at]))
            break;
#undef BEFORE
        const uint8_t other = p->heap[at];
        p->heap[at] = p->heap[child];
        p->heap[child] = other;
    }
}

static struct player player_make(uint32_t copies)
{
    struct player p = {.copies = copies, .phases = copies < PHASES ? copies : PHASES};
    const uint32_t whole = capture.frames[capture.count - 1].ms + 1;
    for (uint32_t i = 0; i < p.phases; i++) {
        p.offset_ms[i] = (uint32_t)((uint64_t)whole * i / p.phases);
        p.heap[p.left++] = (uint8_t)i; /* offsets rise: this is a heap */
    }
    return p;
}

/* Makes the next packet and tells when it comes; false at the end. */
static bool player_next(struct player *p, struct kst_packet *packet, uint32_t *at_ms)
{
    if (p->left == 0)
        return false;
    const uint8_t phase = p->heap[0];
    const struct frame *f = &capture.frames[p->next[phase]];
    *at_ms = (uint32_t)due(p, phase);
    *packet = (struct kst_packet){.data = capture.bytes + f->at,
                                  .size = f->size,
                                  .zone = (uint16_t)(phase + p->member * p->phases),
                                  .checksum = KST_CHECKSUM_GOOD,
                                  .flags = f->cut ? KST_PACKET_HEAD : 0};
    if (phase + ++p->member * p->phases < p->copies)
        return true;
    p->member = 0;
    if (++p->next[phase] == capture.count)
        p->heap[0] = p->heap[--p->left];
    settle(p);
    return true;
}

/* ---- the benchmark ---- */

static const struct fill {
    const char *name;
    uint32_t percent; /* of the connections that fit */
} fills[] = {{"half", 50}, {"full", 100}, {"over", 200}};

struct replay {
    const struct kit *kit;
    const struct fill *fill;
    uint32_t size, copies;
};

static uint32_t times_ms[ROUND];

/* Room for reassembly and expectations only if the capture has use for it. */
static struct kst_config config_of(uint32_t max, bool fragments, bool helped)
{
    return (struct kst_config){.max = max, .reassembly_bytes = fragments ? 64 << 20 : 0,
                               .expectations = helped ? 65536 : 0, .seed = {1, 2}};
}

static void run(struct bench *b, const void *argument)
{
    const struct replay *c = argument;
    const struct kst_config config = config_of(c->size, capture.fragments, capture.helped);
    const size_t bytes = c->kit->bytes(&config);
    void *memory = pages(bytes);
    const uint64_t whole = (uint64_t)c->copies * capture.count;
    uint64_t played = 0;
    struct kst *t = NULL;
    while (bench_next(b, whole)) {
        t = c->kit->init(memory, bytes, &config, NULL);
        if (t == NULL || (capture.helped && c->kit->attach_usual(t) != KST_ERROR_OK))
            bench_fail(b, "no table");
        struct player p = player_make(c->copies);
        for (size_t count = 1; t != NULL && count > 0; played += count) {
            count = 0;
            while (count < ROUND && player_next(&p, &packets[count], &times_ms[count]))
                count++;
            bench_start(b);
            for (size_t i = 0; i < count; i += BURST) {
                c->kit->advance(t, times_ms[i], WORK);
                c->kit->track(t, times_ms[i], &packets[i], count - i < BURST ? count - i : BURST,
                              &results[i]);
            }
            bench_stop(b);
        }
    }
    if (t != NULL) {
        const struct kst_stats *s = c->kit->statistics(t);
        const char *broken = "";
        if (s->packets != whole || played % whole != 0)
            bench_fail(b, "%llu packets were tracked, not %llu", (unsigned long long)s->packets,
                       (unsigned long long)whole);
        if ((uint64_t)capture.peak * c->copies <= c->size && s->created != capture.created * c->copies)
            bench_fail(b, "%llu connections were created, not %llu", (unsigned long long)s->created,
                       (unsigned long long)capture.created * c->copies);
        if (!c->kit->check(t, &broken))
            bench_fail(b, "%s", broken);
        /* Memory for fragments is the same whatever the back ends, and as much as one likes. */
        const struct kst_config plain = config_of(c->size, false, capture.helped);
        const double refused = (double)s->reasons[KST_REASON_TABLE_FULL];
        const double newcomers = (double)s->created + refused;
        bench_counter(b, "bytes", (double)c->kit->bytes(&plain) / c->size);
        bench_counter(b, "connections", c->kit->count(t));
        bench_counter(b, "load", (double)capture.peak * c->copies / c->size);
        bench_counter(b, "copies", c->copies);
        bench_counter(b, "created", (double)s->created / (double)whole);
        bench_counter(b, "evicted", (double)s->gone[KST_GONE_EVICTED] / newcomers);
        bench_counter(b, "refused", refused / newcomers);
    }
    pages_free(memory, bytes);
}

/* Once through a table where all fit: how many connections there are at the most. */
static bool census(void)
{
    const uint32_t most = capture.count < 1024 ? 1024 : (uint32_t)capture.count;
    const struct kst_config config = config_of(most, true, true);
    const struct kit *kit = kits[0];
    const size_t bytes = kit->bytes(&config);
    void *memory = pages(bytes);
    struct kst *t = kit->init(memory, bytes, &config, NULL);
    bool good = t != NULL && kit->attach_usual(t) == KST_ERROR_OK;
    for (size_t i = 0; good && i < capture.count; i += BURST) {
        size_t count = 0;
        for (; count < BURST && i + count < capture.count; count++) {
            const struct frame *f = &capture.frames[i + count];
            packets[count] = (struct kst_packet){.data = capture.bytes + f->at, .size = f->size,
                                                 .checksum = KST_CHECKSUM_GOOD,
                                                 .flags = f->cut ? KST_PACKET_HEAD : 0};
        }
        kit->advance(t, capture.frames[i].ms, WORK);
        kit->track(t, capture.frames[i].ms, packets, count, results);
        if (kit->count(t) > capture.peak)
            capture.peak = kit->count(t);
    }
    if (good) {
        const struct kst_stats *s = kit->statistics(t);
        capture.created = s->created;
        capture.helped = s->expect_create > 0;
        capture.fragments = s->reassembled + s->reassembly_expired > 0;
    }
    good = good && capture.peak > 0;
    if (good) {
        char facts[160];
        snprintf(facts, sizeof facts,
                 "%zu IP packets in %.1f seconds, %llu connections, at most %u at a time",
                 capture.count, capture.frames[capture.count - 1].ms / 1e3,
                 (unsigned long long)capture.created, capture.peak);
        bench_context("capture_facts", facts);
    } else {
        fprintf(stderr, "bench: the capture starts no connection\n");
    }
    pages_free(memory, bytes);
    return good;
}

bool add_capture(const char *file)
{
    if (!capture_read(file) || !census())
        return false;
    for (size_t s = 0; sizes[s] != 0; s++)
        for (size_t i = 0; i < COUNT(fills); i++) {
            const uint64_t wanted = (uint64_t)sizes[s] * fills[i].percent / 100 / capture.peak;
            if (wanted > ZONES || (wanted == 0 && fills[i].percent <= 100))
                continue; /* there are not so many zones; or one copy is more than that */
            const uint32_t copies = wanted == 0 ? 1 : (uint32_t)wanted;
            for (size_t k = 0; kits[k] != NULL; k++) {
                struct replay *c = malloc(sizeof *c);
                *c = (struct replay){kits[k], &fills[i], sizes[s], copies};
                bench_add(name_of("capture", fills[i].name, sizes[s], kits[k]->index,
                                  kits[k]->timer, "burst32"), run, c);
            }
        }
    return true;
}
