/* SPDX-License-Identifier: MIT */
/* main.c - holds the core against the running kernel: over the cases of .vec files, the
 * packets of captures, or conversations made at random. */
#define _GNU_SOURCE
#include "capture.h"
#include "judge.h"
#include "kernel.h"
#include "talk.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static struct {
    uint64_t seed, packets;
    unsigned disagreements_max;
    bool ruled;
    struct judge judge;
} options = {.packets = 100000, .disagreements_max = 1};

static int run_files(char **paths, int count)
{
    size_t cases = 0, disagreeing = 0, skipped = 0;
    const bool rules = kernel_takes_rules();
    bool bad = false;
    for (int i = 0; i < count; i++) {
        struct vec_file *file = vec_open(paths[i]);
        if (file == NULL) {
            perror(paths[i]);
            return 2;
        }
        for (const struct vec_case *c; (c = vec_next(file)) != NULL;) {
            if (c->rules_count > 0 && !rules) {
                skipped++;
                continue;
            }
            cases++;
            disagreeing += !judge(&options.judge, c);
        }
        if (vec_error(file) != NULL) {
            fprintf(stderr, "%s\n", vec_error(file));
            bad = true;
        }
        vec_close(file);
    }
    printf("%zu cases, %zu disagree with the running kernel", cases, disagreeing);
    printf(skipped > 0 ? ", %zu with rules skipped: no iptables-legacy-restore\n" : "\n", skipped);
    return bad || cases == 0 || disagreeing != 0;
}

static int run_random(void)
{
    const double began = seconds_now();
    double shown = began;
    uint64_t packets = 0, cases = 0;
    unsigned disagreements = 0;
    while (packets < options.packets && disagreements < options.disagreements_max) {
        struct vec_case c = (options.ruled ? talk_ruled : talk)(options.seed, cases++);
        packets += c.packets_count;
        disagreements += !judge(&options.judge, &c);
        vec_forget(&c);
        if (isatty(2) && seconds_now() - shown > 0.5) {
            shown = seconds_now();
            fprintf(stderr, "\r%llu packets, %.0f a second ", (unsigned long long)packets,
                    (double)packets / (shown - began));
        }
    }
    if (isatty(2))
        fprintf(stderr, "\r\033[K");
    printf("seed %llu: %llu packets in %llu conversations%s, %u disagree with the running kernel "
           "(%.0f packets a second, %llu conversations asked twice",
           (unsigned long long)options.seed, (unsigned long long)packets, (unsigned long long)cases,
           options.ruled ? " under random rules" : "",
           disagreements, (double)packets / (seconds_now() - began),
           (unsigned long long)options.judge.by_the_clock);
    if (options.judge.by_chance > 0)
        printf(", in %llu NAT drew a port at random: not compared",
               (unsigned long long)options.judge.by_chance);
    puts(")");
    return disagreements != 0;
}

static const char usage[] =
    "usage: agree-kernel [--rules] [--seed N] [--packets N] [--most N] [--keep OUT.vec] [--record OUT.vec]\n"
    "                    [FILE.vec[.gz]... | --capture FILE...]\n"
    "Asks the running kernel, in a network namespace of its own, and the core, and compares.\n"
    "  FILE...        the packets of these cases; else conversations made at random\n"
    "  --capture      the files are captures (pcap or pcapng); each packet is asked about\n"
    "  --rules        these are made under random rulesets, with NAT\n"
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
                                          {"capture", no_argument, NULL, 'c'},
                                          {"rules", no_argument, NULL, 'u'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    char why[256];
    bool captures = false;
    options.seed = (uint64_t)time(NULL);
    for (int option; (option = getopt_long(argc, argv, "h", longs, NULL)) != -1;)
        switch (option) {
        case 's': options.seed = number(optarg); break;
        case 'p': options.packets = number(optarg); break;
        case 'm': options.disagreements_max = (unsigned)number(optarg); break;
        case 'k': options.judge.keep = optarg; break;
        case 'r': options.judge.record = optarg; break;
        case 'c': captures = true; break;
        case 'u': options.ruled = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return 2;
        }
    if (captures && optind == argc) {
        fprintf(stderr, "agree-kernel: which capture? FILE is missing\n%s", usage);
        return 2;
    }
    if (!kernel_open(why, sizeof why)) {
        printf("agree-kernel: skipped: %s\n", why);
        return 0;
    }
    if (options.ruled && !kernel_takes_rules()) {
        printf("agree-kernel: skipped: needs the command iptables-legacy-restore\n");
        return 0;
    }
    if (captures)
        return run_captures(&options.judge, argv + optind, argc - optind);
    return optind < argc ? run_files(argv + optind, argc - optind) : run_random();
}
