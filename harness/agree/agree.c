/* SPDX-License-Identifier: MIT */
/* agree.c - holds the core against what Linux said: every packet of .vec files, its state, its
 * direction, the whole table after it, times to within a second. Shows the first disagreement of a
 * case as packets and words. With --through it asks the command instead of the core, with --naive the
 * tracker that the core itself is held against. */
#define _GNU_SOURCE
#include "answer.h"

#include <errno.h>
#include <getopt.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_MAX = 5 };

static struct {
    const char *only;    /* the one case */
    const char *pcap;    /* write the case there */
    const char *through; /* the command */
    bool naive;          /* the naive tracker */
    bool first;          /* the first disagreement is enough */
    bool digest;         /* tell what all answers come to */
    bool verbose;
} options;

/* ---- asking the command ---- */

static void write_pcap(const struct vec_case *c, const char *path)
{
    pcap_t *dead = need(pcap_open_dead(DLT_RAW, 1 << 18));
    pcap_dumper_t *dumper = pcap_dump_open(dead, path);
    if (dumper == NULL) {
        fprintf(stderr, "agree: %s\n", pcap_geterr(dead));
        exit(2);
    }
    uint64_t now_us = UINT64_C(1700000000000000);
    for (size_t i = 0; i < c->packets_count; i++) {
        now_us += c->packets[i].wait_ms * 1000;
        struct pcap_pkthdr header = {.caplen = c->packets[i].size, .len = c->packets[i].size};
        header.ts.tv_sec = (time_t)(now_us / 1000000);
        header.ts.tv_usec = (suseconds_t)(now_us % 1000000);
        pcap_dump((u_char *)dumper, &header, c->packets[i].data);
    }
    pcap_dump_close(dumper);
    pcap_close(dead);
}

/* A file of our own in /tmp with this text; its path. */
static void write_text(char path[32], const char *text)
{
    strcpy(path, "/tmp/agree-XXXXXX");
    const int fd = mkstemp(path);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text)) {
        perror(path);
        exit(2);
    }
    close(fd);
}

/* The options that a case's rules need, and the files they name. */
static void add_rules(FILE *command, const struct vec_case *c, char paths[2][32])
{
    for (int v6 = 0; v6 < 2; v6++) {
        char *text = vec_ruleset(c, v6 != 0);
        write_text(paths[v6], text);
        fprintf(command, " --rules%s %s", v6 ? "6" : "", paths[v6]);
        free(text);
    }
    fprintf(command, " --seed %llu", (unsigned long long)answer_seed(c));
    for (size_t i = 0; vec_routes[i] != NULL; i++)
        fprintf(command, " --route %s", vec_routes[i]);
    for (size_t i = 0; vec_addresses[i] != NULL; i++)
        fprintf(command, " --address %s", vec_addresses[i]);
}

static void take_line(struct answer *answer, char *line)
{
    if (strncmp(line, "out ", 4) != 0) {
        answer_add(answer, line);
        return;
    }
    answer->out_size = (uint32_t)(strlen(line + 4) / 2);
    answer->out = need(malloc(answer->out_size + 1));
    for (uint32_t i = 0; i < answer->out_size; i++)
        if (sscanf(line + 4 + 2 * i, "%2hhx", &answer->out[i]) != 1)
            answer->out_size = 0;
}

static struct answer *ask_command(const struct vec_case *c)
{
    char path[32], rules[2][32], *command = NULL, *line = NULL;
    size_t at = 0, room = 0, length;
    FILE *words = need(open_memstream(&command, &length));
    write_text(path, "");
    write_pcap(c, path);
    fprintf(words, "%s replay --each --helper sip=tcp/5061", options.through);
    for (size_t i = 0; i < c->settings_count; i++)
        fprintf(words, " -s %s=%u", c->settings[i].name, c->settings[i].value);
    if (c->rules_count > 0)
        add_rules(words, c, rules);
    fprintf(words, " %s", path);
    fclose(words);

    struct answer *answers = need(calloc(c->packets_count + 1, sizeof *answers));
    FILE *output = need(popen(command, "r"));
    while (getline(&line, &room, output) > 0) {
        vec_squeeze(line);
        if (strncmp(line, "is ", 3) == 0 && c->packets_count > 0) {
            at = at < c->packets_count ? at + 1 : at;
            snprintf(answers[at - 1].is, sizeof answers[at - 1].is, "%.*s",
                     (int)sizeof answers[at - 1].is - 1, line + 3);
        } else if (at > 0) {
            take_line(&answers[at - 1], line);
        }
    }
    if (pclose(output) != 0) { /* whatever it printed */
        fprintf(stderr, "agree: failed: %s\n", command);
        snprintf(answers[0].is, sizeof answers[0].is, "the command failed");
    }
    for (size_t i = 0; i < c->packets_count; i++)
        answers[i].reason = "";
    for (int v6 = 0; v6 < 2 && c->rules_count > 0; v6++)
        unlink(rules[v6]);
    unlink(path);
    free(line);
    free(command);
    return answers;
}

/* ---- cases ---- */

struct tally {
    size_t cases, packets, skipped, disagreeing, broken;
    uint64_t digest;
};

static void run_case(const char *path, const struct vec_case *c, struct tally *tally)
{
    if (options.only != NULL && strcmp(options.only, c->name) != 0)
        return;
    if (options.pcap != NULL)
        write_pcap(c, options.pcap);
    if (options.through != NULL && vec_has_zones(c)) /* which the command does not have */
        return;
    const char *beyond = options.naive ? naive_beyond(c) : NULL;
    if (beyond != NULL) {
        tally->skipped++;
        if (options.verbose)
            printf("%s:%zu: case %s skipped: the naive tracker has no %s\n", path, c->line, c->name, beyond);
        return;
    }
    struct answer *answers = options.through != NULL ? ask_command(c)
                             : options.naive         ? ask_naive(c)
                                                     : ask_core(c, answer_seed(c));
    tally->cases++;
    tally->packets += c->packets_count;
    size_t broken = 0;
    for (size_t i = 0; i < c->packets_count; i++) {
        broken += answers[i].broken != NULL;
        tally->digest = answer_digest(&answers[i], tally->digest);
    }
    tally->broken += broken > 0;
    for (size_t i = 0; i < c->packets_count; i++) {
        if (answers_agree(c, i, &answers[i]))
            continue;
        if (tally->disagreeing++ < SHOWN_MAX || options.only != NULL) {
            printf("%s:%zu: case %s, packet %zu\n", path, c->line, c->name, i + 1);
            answers_show(c, i, answers);
        }
        break;
    }
    answers_free(answers, c->packets_count);
}

static void show_tally(const char *name, const struct tally *tally)
{
    printf("%-20s %6zu packets in %5zu cases", name, tally->packets, tally->cases);
    if (tally->disagreeing > 0)
        printf(", %zu cases DISAGREE with Linux", tally->disagreeing);
    else
        printf(" agree with Linux");
    if (tally->broken > 0)
        printf(", %zu BREAK the table", tally->broken);
    printf(tally->skipped > 0 ? ", %zu skipped (-v tells why)\n" : "\n", tally->skipped);
}

static bool run_file(const char *path, struct tally *all)
{
    struct tally tally = {.digest = all->digest};
    struct vec_file *file = vec_open(path);
    if (file == NULL) {
        fprintf(stderr, "agree: %s: %s\n", path, strerror(errno));
        return false;
    }
    for (const struct vec_case *c; (c = vec_next(file)) != NULL && !(options.first && tally.disagreeing > 0);)
        run_case(path, c, &tally);
    const char *error = vec_error(file);
    if (error != NULL)
        fprintf(stderr, "agree: %s\n", error);
    const char *name = strrchr(path, '/');
    show_tally(name != NULL ? name + 1 : path, &tally);
    const bool fine = error == NULL && tally.disagreeing == 0 && tally.broken == 0;
    vec_close(file);
    all->cases += tally.cases;
    all->packets += tally.packets;
    all->skipped += tally.skipped;
    all->disagreeing += tally.disagreeing;
    all->broken += tally.broken;
    all->digest = tally.digest;
    return fine;
}

static const char usage[] =
    "usage: agree [-v] [--first] [--digest] [--case NAME [--pcap OUT]] [--index NAME] [--timer NAME]\n"
    "             [--through COMMAND | --naive] FILE.vec[.gz]...\n"
    "Holds the core against what Linux said of each packet.\n"
    "  --case NAME        that case alone, even if what it needs is not built yet\n"
    "  --pcap OUT         write the case as a capture\n"
    "  --through COMMAND  ask COMMAND replay --each instead of the core\n"
    "  --index NAME, --timer NAME   the core's back ends, where it was built with a choice\n"
    "  --naive            ask the naive tracker instead: no fragments, no helpers\n"
    "  --first            end at the first disagreement\n"
    "  --digest           tell what all answers come to, in one number: the same on every machine\n"
    "  -v, --verbose      tell of skipped cases\n"
    "Exit: 0 all agree, 1 a disagreement or a bad file, 2 wrong usage.\n";

int main(int argc, char **argv)
{
    static const struct option longs[] = {{"case", required_argument, NULL, 'c'},
                                          {"pcap", required_argument, NULL, 'p'},
                                          {"through", required_argument, NULL, 't'},
                                          {"naive", no_argument, NULL, 'n'},
                                          {"first", no_argument, NULL, 'f'},
                                          {"digest", no_argument, NULL, 'd'},
                                          {"index", required_argument, NULL, 'i'},
                                          {"timer", required_argument, NULL, 'm'},
                                          {"verbose", no_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    for (int option; (option = getopt_long(argc, argv, "vh", longs, NULL)) != -1;)
        switch (option) {
        case 'c': options.only = optarg; break;
        case 'p': options.pcap = optarg; break;
        case 't': options.through = optarg; break;
        case 'n': options.naive = true; break;
        case 'f': options.first = true; break;
        case 'd': options.digest = true; break;
        case 'i':
        case 'm':
            if (option == 'i' ? answer_index(optarg) : answer_timer(optarg))
                break;
            fprintf(stderr, "agree: no %s is called %s\n", option == 'i' ? "index" : "timer", optarg);
            return 2;
        case 'v': options.verbose = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return 2;
        }
    if (optind == argc || (options.pcap != NULL && options.only == NULL)) {
        fputs(usage, stderr);
        return 2;
    }
    struct tally all = {.digest = UINT64_C(0xcbf29ce484222325)};
    bool fine = true;
    for (int i = optind; i < argc && (fine || !options.first); i++)
        fine = run_file(argv[i], &all) && fine;
    if (all.cases == 0 && fine) {
        fprintf(stderr, "agree: no case%s%s\n", options.only ? " named " : "",
                options.only ? options.only : "");
        return 1;
    }
    if (argc - optind > 1)
        show_tally("all", &all);
    if (options.digest)
        printf("digest %016llx\n", (unsigned long long)all.digest);
    return fine ? 0 : 1;
}
