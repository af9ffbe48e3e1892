/* SPDX-License-Identifier: MIT */
/* capture.c - reads a capture, asks both sides about each packet at once, and compares: state and
 * direction always, the table after every packet while it is small and now and then when it is not.
 *
 * A capture that disagrees is read again: the kernel's clock runs while it is asked. If it still
 * does, the packets of the conversation that was first become a case of their own, to be shrunk. */
#define _GNU_SOURCE
#include "capture.h"
#include "answer.h"
#include "keepstate.h"
#include "kernel.h"
#include "link.h"
#include "prepare.h"
#include "progress.h"

#include <errno.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TRIES = 3,
    SHOWN_MAX = 3,       /* disagreements of a capture */
    LINES_A_PACKET = 32, /* of the table are compared, on average */
    CASE_MAX = 5000,     /* packets of a conversation that is worth shrinking */
    SHRINK_S = 20,
    LONG_S = 30,         /* a run that is repeated once only */
    ROOM_MAX = 1 << 20,  /* connections */
    SECONDS_SLACK = 1,
    PACKET_NS = 300000   /* what the kernel takes for a packet, mostly less */
};

/* ---- reading ---- */

struct reader {
    pcap_t *pcap;
    link_peel *peel;
    uint64_t frames;  /* read */
    bool failed;      /* the rest could not be read */

    /* the latest: */
    enum link_content content;
    enum prepared prepared; /* if it is IP */
    bool filled;
    struct vec_packet packet; /* if it is to be asked: data, size and from_server */
};

static bool reader_open(struct reader *r, const char *path)
{
    char error[PCAP_ERRBUF_SIZE];
    *r = (struct reader){.failed = false};
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "agree-kernel: %s: %s\n", path, strerror(errno));
        return false;
    }
    r->pcap = pcap_fopen_offline(file, error);
    if (r->pcap == NULL) {
        fprintf(stderr, "agree-kernel: %s: %s\n", path, error);
        fclose(file);
        return false;
    }
    r->peel = link_find(pcap_datalink(r->pcap));
    if (r->peel == NULL) {
        const char *type = pcap_datalink_val_to_name(pcap_datalink(r->pcap));
        fprintf(stderr, "agree-kernel: %s: link type %s (%d) is not supported\n", path,
                type != NULL ? type : "unknown", pcap_datalink(r->pcap));
        pcap_close(r->pcap);
        return false;
    }
    return true;
}

static void reader_close(struct reader *r)
{
    vec_forget_packet(&r->packet);
    pcap_close(r->pcap);
}

static bool is_ipv6(const struct vec_packet *packet)
{
    return packet->data[0] >> 4 == 6;
}

/* False at the end. */
static bool reader_next(struct reader *r)
{
    struct pcap_pkthdr *header;
    const uint8_t *bytes;
    const int got = pcap_next_ex(r->pcap, &header, &bytes);
    vec_forget_packet(&r->packet);
    memset(&r->packet, 0, sizeof r->packet);
    r->failed = got == PCAP_ERROR;
    if (got != 1)
        return false;
    struct link_bytes ip = {bytes, header->caplen, 0};
    r->frames++;
    r->filled = false;
    r->content = r->peel(&ip);
    if (r->content != LINK_IP)
        return true;
    r->packet.data = need(malloc(ip.size + 1));
    r->packet.size = ip.size;
    memcpy(r->packet.data, ip.at, ip.size);
    r->prepared =
        prepare(r->packet.data, &r->packet.size, header->caplen < header->len, &r->filled);
    if (r->prepared == PREPARED_TO_ASK) { /* which side sends does not matter, but always the same */
        const bool v6 = is_ipv6(&r->packet);
        const uint8_t *from = r->packet.data + (v6 ? 8 : 12);
        r->packet.from_server = memcmp(from, from + (v6 ? 16 : 4), v6 ? 16 : 4) > 0;
    }
    return true;
}

/* ---- comparing tables ---- */

/* A line of a table in three parts: what stands before its seconds, they, and what follows. */
struct line {
    char *text;
    size_t before;
    long seconds;
    const char *after;
};

static struct line take_apart(char *text)
{
    struct line line = {.text = text, .after = text};
    char *at = text;
    for (int blanks = strncmp(text, "ct ", 3) == 0 ? 5 : 1; blanks > 0 && at != NULL; blanks--)
        at = (at = strchr(at, ' ')) != NULL ? at + 1 : NULL;
    if (at != NULL) {
        line.before = (size_t)(at - text);
        line.seconds = strtol(at, &at, 10);
        line.after = at;
    }
    return line;
}

static int by_connection(const struct line *x, const struct line *y)
{
    const int after = strcmp(x->after, y->after);
    if (after != 0)
        return after;
    const int before = memcmp(x->text, y->text, x->before < y->before ? x->before : y->before);
    return before != 0 ? before : (x->before > y->before) - (x->before < y->before);
}

static int by_connection_then_seconds(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    const int connection = by_connection(x, y);
    return connection != 0 ? connection : (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

static struct line *sorted(char *const *lines, size_t count)
{
    struct line *line = need(calloc(count + 1, sizeof *line));
    for (size_t i = 0; i < count; i++)
        line[i] = take_apart(lines[i]);
    qsort(line, count, sizeof *line, by_connection_then_seconds);
    return line;
}

/* Keeps a line that the other side has not, unless it is about to expire: the other may have been
 * asked just after that. */
static void keep(const struct line *line, char **lines, size_t *count)
{
    if (line->seconds > 0)
        lines[(*count)++] = line->text;
    else
        free(line->text);
}

/* Leaves in both what the other has not. */
static void strike_out(struct vec_packet *linux_says, struct answer *answer)
{
    const size_t a_count = linux_says->lines_count, b_count = answer->count;
    struct line *a = sorted(linux_says->lines, a_count), *b = sorted(answer->lines, b_count);
    size_t i = 0, j = 0;
    linux_says->lines_count = answer->count = 0;
    while (i < a_count || j < b_count) {
        int order = i == a_count ? 1 : j == b_count ? -1 : by_connection(&a[i], &b[j]);
        if (order == 0 && labs(a[i].seconds - b[j].seconds) > SECONDS_SLACK)
            order = a[i].seconds > b[j].seconds ? 1 : -1;
        if (order < 0) {
            keep(&a[i++], linux_says->lines, &linux_says->lines_count);
        } else if (order > 0) {
            keep(&b[j++], answer->lines, &answer->count);
        } else {
            free(a[i++].text);
            free(b[j++].text);
        }
    }
    free(a);
    free(b);
}

/* Names a difference between tables, whatever the time: 0 is none. */
static uint64_t name_of(const struct vec_packet *linux_says, const struct answer *answer)
{
    uint64_t name = 0;
    for (size_t i = 0; i < linux_says->lines_count + answer->count; i++) {
        const bool ours = i >= linux_says->lines_count;
        const struct line line =
            take_apart(ours ? answer->lines[i - linux_says->lines_count] : linux_says->lines[i]);
        name = name * 31 + 1 + ours;
        for (const char *c = line.after; *c != '\0'; c++)
            name = (name ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    }
    return name;
}

/* ---- asking ---- */

struct asking {
    const char *path;
    struct reader reader;
    struct kst *t;
    uint32_t room;       /* connections that are asked about */
    uint64_t began_ns, tick_length_ns, tick_began_ns;
    uint64_t from, to;   /* frames after each of which the tables are compared */
    bool show;

    uint64_t agreed, disagreed, filled, full;
    uint64_t not_ip[LINK_CONTENTS], not_asked[PREPARED];

    uint64_t lines;      /* in the table when it was last compared, */
    uint64_t compared;   /* after this frame; */
    uint64_t since;      /* packets asked since then; */
    uint64_t difference; /* the name of that between the tables, then */
    uint64_t first[2];   /* the first disagreement is in one of the frames from..to */
};

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Linux counts time in ticks, and this clock of its shows them: what happens within one happens at
 * the same time for both sides. */
static uint64_t tick_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC_COARSE);
}

/* Finds out how long a tick is, and when they begin. */
static void find_ticks(struct asking *a)
{
    struct timespec length;
    clock_getres(CLOCK_MONOTONIC_COARSE, &length);
    a->tick_length_ns = (uint64_t)length.tv_nsec;
    const uint64_t before_ns = tick_ns();
    while ((a->began_ns = tick_ns()) == before_ns)
        ;
    a->tick_began_ns = clock_ns(CLOCK_MONOTONIC);
}

/* Waits for the next tick if this one may end before a packet is through. */
static void stay_in_tick(struct asking *a)
{
    const uint64_t tick = tick_ns(), came_ns = clock_ns(CLOCK_MONOTONIC);
    uint64_t now_ns = came_ns;
    if ((came_ns - a->tick_began_ns) % a->tick_length_ns + PACKET_NS < a->tick_length_ns)
        return;
    while (tick_ns() == tick && now_ns - came_ns < 2 * PACKET_NS)
        now_ns = clock_ns(CLOCK_MONOTONIC);
    if (tick_ns() != tick)
        a->tick_began_ns = now_ns;
}

static uint64_t now_ms(const struct asking *a)
{
    const uint64_t ticks =
        (tick_ns() - a->began_ns + a->tick_length_ns / 2) / a->tick_length_ns;
    return ticks * a->tick_length_ns / 1000000;
}

static void ask_table(struct asking *a, struct answer *answer)
{
    const char *broken;
    kst_advance(a->t, now_ms(a), UINT32_MAX);
    answer_table(answer, a->t);
    if (!kst_check(a->t, &broken)) {
        fprintf(stderr, "agree-kernel: %s, packet %" PRIu64 ": the table is broken: %s\n", a->path,
                a->reader.frames, broken);
        exit(2);
    }
}

/* Leaves in both how the tables differ, and tells whether that is news. */
static bool tables_differ(struct asking *a, struct vec_packet *packet, struct answer *answer)
{
    kernel_table(packet);
    ask_table(a, answer);
    a->lines = answer->count;
    strike_out(packet, answer);
    const uint64_t before = a->difference;
    a->difference = name_of(packet, answer);
    a->compared = a->reader.frames;
    a->since = 0;
    return a->difference != 0 && a->difference != before;
}

static void ask_core_now(struct asking *a, const struct vec_packet *packet, struct answer *answer)
{
    const struct kst_packet one = {.data = packet->data, .size = packet->size};
    struct kst_result result;
    const uint64_t now = now_ms(a);
    kst_advance(a->t, now, UINT32_MAX);
    kst_track(a->t, now, &one, 1, &result);
    if (result.verdict != KST_ACCEPT)
        snprintf(answer->is, sizeof answer->is, "none -");
    else
        snprintf(answer->is, sizeof answer->is, "%s %s",
                 kst_state_name((enum kst_state)result.state),
                 kst_direction_name((enum kst_direction)result.direction));
    answer->reason = kst_reason_name((enum kst_reason)result.reason);
}

static void answer_free(struct answer *answer)
{
    for (size_t i = 0; i < answer->count; i++)
        free(answer->lines[i]);
    free(answer->lines);
}

static void count_disagreement(struct asking *a, uint64_t from)
{
    a->disagreed++;
    if (a->first[1] == 0) {
        a->first[0] = from;
        a->first[1] = a->reader.frames;
    }
}

static void show_disagreement(const struct asking *a, const char *what,
                              const struct answer *answer)
{
    struct vec_packet packet = a->reader.packet;
    const struct vec_case one = {.packets = &packet, .packets_count = 1};
    if (!a->show || a->disagreed > SHOWN_MAX)
        return;
    printf("%s: packet %" PRIu64 "%s\n", a->path, a->reader.frames, what);
    answers_show(&one, 0, answer);
}

static void ask_packet(struct asking *a)
{
    struct vec_packet *packet = &a->reader.packet;
    struct answer answer = {.reason = ""};
    const uint64_t from = a->compared + 1;
    stay_in_tick(a);
    ask_core_now(a, packet, &answer);
    kernel_send(packet);
    if (strcmp(packet->is, "none -") == 0 && strcmp(answer.reason, "EXT_SHORT") == 0) {
        a->not_asked[PREPARED_HEADER]++; /* which has changed nothing */
        return;
    }
    const uint64_t frame = a->reader.frames;
    const bool judged = strcmp(packet->is, answer.is) == 0;
    const bool due = ++a->since * LINES_A_PACKET >= a->lines ||
                     (frame >= a->from && frame <= a->to);
    const bool differ = due && tables_differ(a, packet, &answer);
    a->filled += a->reader.filled;
    if (judged && !differ) {
        a->agreed++;
    } else {
        count_disagreement(a, judged ? from : frame);
        show_disagreement(a, judged ? "; the tables differ:" : ":", &answer);
    }
    answer_free(&answer);
}

/* What the last packets have left, if the tables were not compared since. */
static void ask_end(struct asking *a)
{
    struct vec_packet packet = {.size = 0};
    struct answer answer = {.reason = ""};
    const uint64_t from = a->compared + 1;
    if (a->since > 0 && tables_differ(a, &packet, &answer)) {
        a->agreed--;
        count_disagreement(a, from);
    }
    vec_forget_packet(&packet);
    answer_free(&answer);
}

static void take_frame(struct asking *a)
{
    const struct reader *r = &a->reader;
    if (r->content != LINK_IP)
        a->not_ip[r->content]++;
    else if (r->prepared != PREPARED_TO_ASK)
        a->not_asked[r->prepared]++;
    else if (kst_count(a->t) >= a->room)
        a->full++;
    else
        ask_packet(a);
}

/* An empty table, as the kernel has one. */
static void begin(struct asking *a)
{
    static struct kst_config config = {
        .reassembly_bytes = 4 << 20, .expectations = 4096, .seed = {1, 2}};
    static void *memory;
    if (memory == NULL) {
        const uint32_t max = kernel_max();
        config.max = max == 0 || max > ROOM_MAX ? ROOM_MAX : max;
        memory = need(aligned_alloc(KST_ALIGN, kst_bytes(&config)));
    }
    a->t = need(kst_init(memory, kst_bytes(&config), &config, NULL));
    answer_attach(a->t);
    kst_set(a->t, "ipfrag_time", KERNEL_FRAGMENTS_S);
    kst_set(a->t, "nf_conntrack_frag6_timeout", KERNEL_FRAGMENTS_S);
    a->room = config.max / 8 * 7;
    a->lines = a->difference = 0;
    kernel_begin();
    find_ticks(a);
}

/* False if the capture could not be read at all. */
static bool ask_capture(struct asking *a)
{
    struct progress progress;
    if (!reader_open(&a->reader, a->path))
        return false;
    begin(a);
    progress_begin(&progress, pcap_file(a->reader.pcap), true);
    while (reader_next(&a->reader)) {
        take_frame(a);
        progress_step(&progress, a->reader.frames, kst_count(a->t));
    }
    ask_end(a);
    progress_end(&progress);
    reader_close(&a->reader);
    return true;
}

/* ---- a conversation by itself ---- */

struct pair {
    uint8_t addresses[2][16]; /* the lower one first */
};

/* Who talks in a packet or, if it is an ICMP error, in the one that it is about. */
static struct pair pair_of(const uint8_t *data, uint32_t size)
{
    struct pair pair;
    memset(&pair, 0, sizeof pair);
    const bool v6 = size > 0 && data[0] >> 4 == 6;
    const uint32_t header = v6 ? 40 : size > 0 ? (uint32_t)(data[0] & 15) * 4 : 0;
    const uint32_t bytes = v6 ? 16 : 4;
    if (size < (v6 ? 40 : 20) || header < 20)
        return pair;
    if (size >= header + 8 + (v6 ? 40 : 20) && data[v6 ? 6 : 9] == (v6 ? 58 : 1)) {
        const uint8_t type = data[header];
        if (v6 ? type < 128 : type == 3 || type == 4 || type == 5 || type == 11 || type == 12)
            return pair_of(data + header + 8, size - header - 8);
    }
    const uint8_t *from = data + (v6 ? 8 : 12), *to = from + bytes;
    const bool turned = memcmp(from, to, bytes) > 0;
    memcpy(pair.addresses[turned], from, bytes);
    memcpy(pair.addresses[!turned], to, bytes);
    return pair;
}

static struct pair pair_of_frame(const char *path, uint64_t frame)
{
    struct reader r;
    struct pair pair;
    memset(&pair, 0, sizeof pair);
    if (!reader_open(&r, path))
        return pair;
    while (r.frames < frame && reader_next(&r))
        ;
    if (r.packet.data != NULL)
        pair = pair_of(r.packet.data, r.packet.size);
    reader_close(&r);
    return pair;
}

/* The packets of a pair up to a frame, as a case. */
static struct vec_case gather(const char *path, const struct pair *pair, uint64_t frame)
{
    struct vec_case c = {.packets_count = 0};
    struct reader r;
    if (asprintf(&c.name, "%s, up to packet %" PRIu64, path, frame) < 0)
        exit(2);
    if (!reader_open(&r, path))
        return c;
    while (r.frames < frame && reader_next(&r)) {
        if (r.content != LINK_IP || r.prepared != PREPARED_TO_ASK)
            continue;
        const struct pair its = pair_of(r.packet.data, r.packet.size);
        if (memcmp(&its, pair, sizeof its) != 0)
            continue;
        c.packets = need(realloc(c.packets, (c.packets_count + 1) * sizeof *c.packets));
        c.packets[c.packets_count++] = r.packet;
        memset(&r.packet, 0, sizeof r.packet);
    }
    reader_close(&r);
    return c;
}

static void judge_conversation(struct judge *judge_, const char *path, uint64_t frame)
{
    const struct pair pair = pair_of_frame(path, frame);
    struct vec_case c = gather(path, &pair, frame);
    if (c.packets_count > CASE_MAX)
        printf("      (its conversation has %zu packets: too many to shrink)\n", c.packets_count);
    else if (judge(judge_, &c))
        printf("      (its conversation by itself agrees)\n");
    vec_forget(&c);
}

/* ---- telling ---- */

static void tell_not_asked(const struct asking *a)
{
    const char *before = " (";
    uint64_t sum = a->full;
    for (int i = 0; i < LINK_CONTENTS; i++)
        sum += a->not_ip[i];
    for (int i = 0; i < PREPARED; i++)
        sum += a->not_asked[i];
    printf(", %" PRIu64 " not asked", sum);
    for (int i = 0; i < LINK_CONTENTS + PREPARED; i++) {
        const bool link = i < LINK_CONTENTS;
        const uint64_t count = link ? a->not_ip[i] : a->not_asked[i - LINK_CONTENTS];
        if (count == 0)
            continue;
        printf("%s%" PRIu64 " %s", before, count,
               link ? link_content_text((enum link_content)i)
                    : prepared_text((enum prepared)(i - LINK_CONTENTS)));
        before = "; ";
    }
    if (a->full > 0)
        printf("%s%" PRIu64 " with the table full", before, a->full);
    printf(sum > 0 ? ")" : "");
}

static bool run_capture(struct judge *judge_, const char *path)
{
    struct asking a = {.path = path};
    int tries = 0;
    double took_s = 0;
    do {
        a = (struct asking){.path = path, .from = a.first[0], .to = a.first[1],
                            .show = ++tries == TRIES || took_s > LONG_S};
        const double began_s = seconds_now();
        if (!ask_capture(&a))
            return false;
        took_s = seconds_now() - began_s;
    } while (a.disagreed > 0 && !a.show);
    if (a.disagreed > 0)
        judge_conversation(judge_, path, a.first[1]);

    printf("%s: %" PRIu64 " packets, %" PRIu64 " agree, %" PRIu64 " disagree, %" PRIu64
           " filled in", path, a.reader.frames, a.agreed, a.disagreed, a.filled);
    tell_not_asked(&a);
    printf(tries > 1 && a.disagreed == 0 ? ", asked %d times\n" : "\n", tries);
    if (a.reader.failed)
        fprintf(stderr, "agree-kernel: %s: packet %" PRIu64 ": the capture ends inside it\n", path,
                a.reader.frames + 1);
    return a.disagreed == 0 && !a.reader.failed;
}

int run_captures(struct judge *judge_, char **paths, int count)
{
    bool good = true;
    judge_->shrink_s = SHRINK_S;
    for (int i = 0; i < count; i++)
        good &= run_capture(judge_, paths[i]);
    return !good;
}
