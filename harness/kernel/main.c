/* SPDX-License-Identifier: MIT */
/* main.c - holds the core against the running kernel: over the cases of .vec files, or over
 * conversations made at random. A disagreement is shrunk to the fewest packets and shown, and can
 * be kept as a vector. */
#define _GNU_SOURCE
#include "kernel.h"
#include "talk.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    uint64_t seed, packets;
    unsigned disagreements_max;
    const char *keep, *record;
} options = {.packets = 100000, .disagreements_max = 1};

static uint64_t by_the_clock; /* cases that agreed when asked again */

/* ---- cases that are changed ---- */

static struct vec_case copy_case(const struct vec_case *from)
{
    struct vec_case c = *from;
    c.name = need(strdup(from->name));
    c.settings = need(calloc(from->settings_count + 1, sizeof *c.settings));
    for (size_t i = 0; i < from->settings_count; i++) {
        c.settings[i] = from->settings[i];
        c.settings[i].name = need(strdup(from->settings[i].name));
    }
    c.packets = need(calloc(from->packets_count + 1, sizeof *c.packets));
    for (size_t i = 0; i < from->packets_count; i++) {
        const struct vec_packet *packet = &from->packets[i];
        c.packets[i].wait_ms = packet->wait_ms;
        c.packets[i].from_server = packet->from_server;
        c.packets[i].size = packet->size;
        c.packets[i].data = need(malloc(packet->size + 1));
        memcpy(c.packets[i].data, packet->data, packet->size);
    }
    return c;
}

/* The first packet on which the two differ, or the number of packets. */
static size_t first_difference(struct vec_case *c, struct answer **answers)
{
    kernel_ask(c);
    *answers = ask_core(c);
    size_t i = 0;
    while (i < c->packets_count) {
        struct answer *answer = &(*answers)[i];
        /* What Linux drops before it tracks, a bad IP header, we call invalid. */
        if (strcmp(c->packets[i].is, "none -") == 0 &&
            (strncmp(answer->reason, "IP_", 3) == 0 || strcmp(answer->reason, "EXT_SHORT") == 0))
            snprintf(answer->is, sizeof answer->is, "none -");
        if (!answers_agree(&c->packets[i], answer))
            break;
        i++;
    }
    return i;
}

static bool differs(struct vec_case *c)
{
    struct answer *answers;
    const size_t at = first_difference(c, &answers);
    answers_free(answers, c->packets_count);
    return at < c->packets_count;
}

static void drop_packet(struct vec_case *c, size_t at)
{
    struct vec_packet *packet = &c->packets[at];
    vec_forget_packet(packet);
    memmove(packet, packet + 1, (--c->packets_count - at) * sizeof *packet);
}

static void drop_setting(struct vec_case *c, size_t at)
{
    free(c->settings[at].name);
    memmove(&c->settings[at], &c->settings[at + 1],
            (--c->settings_count - at) * sizeof *c->settings);
}

/* Leaves out whatever the disagreement does not need. */
static void shrink(struct vec_case *c)
{
    bool smaller = true;
    while (smaller) {
        smaller = false;
        for (size_t i = c->packets_count; i-- > 0;) {
            struct vec_case less = copy_case(c);
            drop_packet(&less, i);
            const bool still = differs(&less);
            vec_forget(&less);
            if (still) {
                drop_packet(c, i);
                smaller = true;
            }
        }
        for (size_t i = c->settings_count; i-- > 0;) {
            struct vec_case less = copy_case(c);
            drop_setting(&less, i);
            const bool still = differs(&less);
            vec_forget(&less);
            if (still) {
                drop_setting(c, i);
                smaller = true;
            }
        }
    }
}

/* Appends the case, with Linux's answers, to a file, unless `path` is NULL. */
static void append(const char *path, const struct vec_case *c)
{
    FILE *file = path != NULL ? fopen(path, "a") : NULL;
    if (path == NULL)
        return;
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    fprintf(file, "case %s\n", c->name);
    for (size_t i = 0; i < c->settings_count; i++)
        fprintf(file, "set %s %u\n", c->settings[i].name, c->settings[i].value);
    for (size_t i = 0; i < c->packets_count; i++) {
        const struct vec_packet *packet = &c->packets[i];
        if (packet->wait_ms != 0)
            fprintf(file, "wait %llu\n", (unsigned long long)packet->wait_ms);
        fprintf(file, "pkt %c ", packet->from_server ? '<' : '>');
        for (size_t byte = 0; byte < packet->size; byte++)
            fprintf(file, "%02x", packet->data[byte]);
        fprintf(file, "\nis %s\n", packet->is);
        for (size_t line = 0; line < packet->lines_count; line++)
            fprintf(file, "%s\n", packet->lines[line]);
    }
    fclose(file);
}

/* Whether the two agree on a case. The kernel's clock runs while it is asked: a case is run again a
 * few times before a difference counts. If it does, it is shown. */
static bool judge(const struct vec_case *original)
{
    enum { TRIES = 6 };
    struct answer *answers;
    struct vec_case c = copy_case(original);
    bool agree = false;
    size_t at;
    for (int i = 0; i < TRIES && !agree; i++) {
        agree = !differs(&c);
        by_the_clock += agree && i > 0;
    }
    if (!agree) {
        shrink(&c);
        at = first_difference(&c, &answers);
        printf("case %s: the core and the running kernel disagree on packet %zu of %zu\n", c.name,
               at + 1, c.packets_count);
        if (at < c.packets_count)
            answers_show(&c, at, answers);
        else
            printf("      (only sometimes)\n");
        append(options.keep, &c);
        answers_free(answers, c.packets_count);
    }
    append(options.record, &c);
    vec_forget(&c);
    return agree;
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int run_files(char **paths, int count)
{
    size_t cases = 0, disagreeing = 0, skipped = 0;
    bool bad = false;
    for (int i = 0; i < count; i++) {
        struct vec_file *file = vec_open(paths[i]);
        if (file == NULL) {
            perror(paths[i]);
            return 2;
        }
        for (const struct vec_case *c; (c = vec_next(file)) != NULL;) {
            if (c->has_rules) {
                skipped++;
                continue;
            }
            cases++;
            disagreeing += !judge(c);
        }
        if (vec_error(file) != NULL) {
            fprintf(stderr, "%s\n", vec_error(file));
            bad = true;
        }
        vec_close(file);
    }
    printf("%zu cases, %zu disagree with the running kernel", cases, disagreeing);
    printf(skipped > 0 ? ", %zu with rules skipped\n" : "\n", skipped);
    return bad || cases == 0 || disagreeing != 0;
}

static int run_random(void)
{
    const double began = seconds_now();
    double shown = began;
    uint64_t packets = 0, cases = 0;
    unsigned disagreements = 0;
    while (packets < options.packets && disagreements < options.disagreements_max) {
        struct vec_case c = talk(options.seed, cases++);
        packets += c.packets_count;
        disagreements += !judge(&c);
        vec_forget(&c);
        if (isatty(2) && seconds_now() - shown > 0.5) {
            shown = seconds_now();
            fprintf(stderr, "\r%llu packets, %.0f a second ", (unsigned long long)packets,
                    (double)packets / (shown - began));
        }
    }
    if (isatty(2))
        fprintf(stderr, "\r\033[K");
    printf("seed %llu: %llu packets in %llu conversations, %u disagree with the running kernel "
           "(%.0f packets a second, %llu conversations asked twice)\n",
           (unsigned long long)options.seed, (unsigned long long)packets, (unsigned long long)cases,
           disagreements, (double)packets / (seconds_now() - began),
           (unsigned long long)by_the_clock);
    return disagreements != 0;
}

static const char usage[] =
    "usage: agree-kernel [--seed N] [--packets N] [--most N] [--keep OUT.vec] [--record OUT.vec]\n"
    "                    [FILE.vec[.gz]...]\n"
    "Asks the running kernel, in a network namespace of its own, and the core, and compares.\n"
    "  FILE...        the packets of these cases; else conversations made at random\n"
    "  --seed N       of the random ones (default: the time)\n"
    "  --packets N    how many (default 100000)\n"
    "  --most N       stop after so many disagreements (default 1)\n"
    "  --keep OUT     append disagreements to this file, shrunk, as vectors\n"
    "  --record OUT   append every case to this file, with what the kernel says\n"
    "Exit: 0 all agree, or this machine cannot be asked; 1 a disagreement; 2 wrong usage.\n";

/* A whole number above 0, or the end of the program. */
static uint64_t number(const char *text)
{
    char *end;
    const uint64_t value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || value == 0) {
        fprintf(stderr, "agree-kernel: a whole number above 0 is needed, not '%s'\n", text);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"seed", required_argument, NULL, 's'},
                                          {"packets", required_argument, NULL, 'p'},
                                          {"most", required_argument, NULL, 'm'},
                                          {"keep", required_argument, NULL, 'k'},
                                          {"record", required_argument, NULL, 'r'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    char why[256];
    options.seed = (uint64_t)time(NULL);
    for (int option; (option = getopt_long(argc, argv, "h", longs, NULL)) != -1;)
        switch (option) {
        case 's': options.seed = number(optarg); break;
        case 'p': options.packets = number(optarg); break;
        case 'm': options.disagreements_max = (unsigned)number(optarg); break;
        case 'k': options.keep = optarg; break;
        case 'r': options.record = optarg; break;
        case 'h': fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return 2;
        }
    if (!kernel_open(why, sizeof why)) {
        printf("agree-kernel: skipped: %s\n", why);
        return 0;
    }
    return optind < argc ? run_files(argv + optind, argc - optind) : run_random();
}
