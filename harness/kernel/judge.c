/* SPDX-License-Identifier: MIT */
/* judge.c - asks again, leaves out, shows, writes down. */
#define _GNU_SOURCE
#include "judge.h"
#include "../rules/rules.h"
#include "kernel.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 6, SHOWN_MAX = 64 /* packets */ };

static struct vec_case copy_case(const struct vec_case *from)
{
    struct vec_case c = *from;
    c.name = need(strdup(from->name));
    c.settings = need(calloc(from->settings_count + 1, sizeof *c.settings));
    for (size_t i = 0; i < from->settings_count; i++) {
        c.settings[i] = from->settings[i];
        c.settings[i].name = need(strdup(from->settings[i].name));
    }
    c.rules = need(calloc(from->rules_count + 1, sizeof *c.rules));
    for (size_t i = 0; i < from->rules_count; i++) {
        c.rules[i] = from->rules[i];
        c.rules[i].words = need(strdup(from->rules[i].words));
    }
    c.packets = need(calloc(from->packets_count + 1, sizeof *c.packets));
    for (size_t i = 0; i < from->packets_count; i++) {
        const struct vec_packet *packet = &from->packets[i];
        c.packets[i].wait_ms = packet->wait_ms;
        c.packets[i].zone = packet->zone;
        c.packets[i].zone_of = packet->zone_of;
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
    *answers = ask_core(c, 1);
    size_t i = 0;
    while (i < c->packets_count) {
        struct answer *answer = &(*answers)[i];
        /* What Linux drops before it tracks, a bad IP header, we call invalid. */
        if (strcmp(c->packets[i].is, "none -") == 0 &&
            (strncmp(answer->reason, "IP_", 3) == 0 || strcmp(answer->reason, "EXT_SHORT") == 0))
            snprintf(answer->is, sizeof answer->is, "none -");
        if (!answers_agree(c, i, answer))
            break;
        i++;
    }
    return i;
}

/* Whether chance has a say: NAT draws some ports at random, Linux others than we. */
static bool draws(const struct vec_case *c)
{
    bool same = true;
    struct answer *one = ask_core(c, 1), *other = ask_core(c, 2);
    for (size_t i = 0; i < c->packets_count && same; i++) {
        same = one[i].out_size == other[i].out_size && one[i].count == other[i].count &&
               (one[i].out == NULL || memcmp(one[i].out, other[i].out, one[i].out_size) == 0);
        for (size_t line = 0; line < one[i].count && same; line++)
            same = strcmp(one[i].lines[line], other[i].lines[line]) == 0;
    }
    answers_free(one, c->packets_count);
    answers_free(other, c->packets_count);
    return !same;
}

static bool differs(struct vec_case *c)
{
    struct answer *answers;
    const size_t at = first_difference(c, &answers);
    answers_free(answers, c->packets_count);
    return at < c->packets_count && !(c->rules_count > 0 && draws(c));
}

static void drop_packets(struct vec_case *c, size_t at, size_t count)
{
    for (size_t i = at; i < at + count; i++)
        vec_forget_packet(&c->packets[i]);
    c->packets_count -= count;
    memmove(&c->packets[at], &c->packets[at + count],
            (c->packets_count - at) * sizeof *c->packets);
}

static void drop_setting(struct vec_case *c, size_t at)
{
    free(c->settings[at].name);
    memmove(&c->settings[at], &c->settings[at + 1],
            (--c->settings_count - at) * sizeof *c->settings);
}

static void drop_rule(struct vec_case *c, size_t at)
{
    free(c->rules[at].words);
    memmove(&c->rules[at], &c->rules[at + 1], (--c->rules_count - at) * sizeof *c->rules);
}

/* A chain that is still led to has to stay, and so has the table of NAT. */
static bool can_be_ruled(const struct vec_case *c)
{
    bool good = c->rules_count > 0, nat = false;
    for (size_t i = 0; i < c->rules_count; i++)
        nat |= strncmp(c->rules[i].words, "-t nat ", 7) == 0;
    for (int v6 = 0; v6 < 2 && good; v6++) {
        char why[256], *text = vec_ruleset(c, v6 != 0);
        struct rules *rules =
            rules_read(text, strlen(text), c->name, v6 ? KST_IPV6 : KST_IPV4, why, sizeof why);
        good = rules != NULL;
        rules_free(rules);
        free(text);
    }
    return good && nat;
}

/* Leaves out `count` packets, unless the disagreement needs them. */
static bool spare_packets(struct vec_case *c, size_t at, size_t count)
{
    struct vec_case less = copy_case(c);
    drop_packets(&less, at, count);
    const bool still = differs(&less);
    vec_forget(&less);
    if (still)
        drop_packets(c, at, count);
    return still;
}

static bool spare_rule(struct vec_case *c, size_t at)
{
    struct vec_case less = copy_case(c);
    drop_rule(&less, at);
    const bool still = can_be_ruled(&less) && differs(&less);
    vec_forget(&less);
    if (still)
        drop_rule(c, at);
    return still;
}

static bool spare_setting(struct vec_case *c, size_t at)
{
    struct vec_case less = copy_case(c);
    drop_setting(&less, at);
    const bool still = differs(&less);
    vec_forget(&less);
    if (still)
        drop_setting(c, at);
    return still;
}

/* Leaves out whatever the disagreement does not need: first halves, then quarters, at last single
 * packets, until nothing can go. */
static void shrink(struct vec_case *c, double until)
{
    bool smaller = true;
    for (size_t count = c->packets_count / 2; count > 1; count /= 2)
        for (size_t i = c->packets_count / count; i-- > 0;)
            if (seconds_now() < until && (i + 1) * count <= c->packets_count)
                spare_packets(c, i * count, count);
    while (smaller && seconds_now() < until) {
        smaller = false;
        for (size_t i = c->packets_count; i-- > 0 && seconds_now() < until;)
            smaller |= spare_packets(c, i, 1);
        for (size_t i = c->settings_count; i-- > 0 && seconds_now() < until;)
            smaller |= spare_setting(c, i);
        for (size_t i = c->rules_count; i-- > 0 && seconds_now() < until;)
            smaller |= spare_rule(c, i);
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
    for (size_t i = 0; i < c->rules_count; i++)
        fprintf(file, "rule%s %s\n", c->rules[i].v6 ? "6" : "", c->rules[i].words);
    for (size_t i = 0; i < c->packets_count; i++) {
        const struct vec_packet *packet = &c->packets[i];
        if (i == 0 ? packet->zone != 0
                   : packet->zone != packet[-1].zone || packet->zone_of != packet[-1].zone_of)
            fprintf(file, "zone %u%s\n", packet->zone, vec_zone_word(packet->zone_of));
        if (packet->wait_ms != 0)
            fprintf(file, "wait %llu\n", (unsigned long long)packet->wait_ms);
        fprintf(file, "pkt %c ", packet->from_server ? '<' : '>');
        for (size_t byte = 0; byte < packet->size; byte++)
            fprintf(file, "%02x", packet->data[byte]);
        fprintf(file, "\nis %s\n", packet->is);
        if (packet->out != NULL)
            fputs("out ", file);
        for (size_t byte = 0; packet->out != NULL && byte < packet->out_size; byte++)
            fprintf(file, "%02x%s", packet->out[byte], byte + 1 == packet->out_size ? "\n" : "");
        for (size_t line = 0; line < packet->lines_count; line++)
            fprintf(file, "%s\n", packet->lines[line]);
    }
    fclose(file);
}

static void show(const struct judge *judge, struct vec_case *c)
{
    struct answer *answers;
    const size_t at = first_difference(c, &answers);
    printf("case %s: the core and the running kernel disagree on packet %zu of %zu\n", c->name,
           at + 1, c->packets_count);
    if (at == c->packets_count)
        printf("      (only sometimes)\n");
    else if (at < SHOWN_MAX || judge->shrink_s == 0)
        answers_show(c, at, answers);
    else
        printf("      (too many to show: there was no time to leave more out)\n");
    append(judge->keep, c);
    answers_free(answers, c->packets_count);
}

bool judge(struct judge *judge, const struct vec_case *original)
{
    struct vec_case c = copy_case(original);
    bool agree = false;
    const bool chance = c.rules_count > 0 && draws(&c);
    judge->by_chance += chance;
    for (int i = 0; i < TRIES && !agree; i++) {
        agree = !differs(&c);
        judge->by_the_clock += agree && i > 0;
    }
    if (!agree) {
        shrink(&c, judge->shrink_s != 0 ? seconds_now() + judge->shrink_s : HUGE_VAL);
        show(judge, &c);
    }
    append(chance ? NULL : judge->record, &c);
    vec_forget(&c);
    return agree;
}
