/* SPDX-License-Identifier: MIT */
/* show.c - results, tables and counters as lines of text. */
#include "show.h"

#include "command.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct line {
    char text[KST_LINE_MAX];
};

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

/* Room for `count` lines that is kept from one packet to the next: there is one table. */
static struct line *lines_for(uint32_t count)
{
    static struct line *lines;
    static uint32_t room;
    if (count > room) {
        room = count + count / 2;
        free(lines);
        lines = malloc(room * sizeof *lines);
        if (lines == NULL) {
            complain("no memory is left to sort the table in");
            exit(COMMAND_INPUT);
        }
    }
    return lines;
}

static void print_sorted(const char *word, struct line *lines, uint32_t count)
{
    if (count > 0)
        qsort(lines, count, sizeof *lines, by_text);
    for (uint32_t i = 0; i < count; i++)
        printf("%s %s\n", word, lines[i].text);
}

void show_each(const struct kst *t, const struct kst_result *result, const uint8_t *out, uint32_t size)
{
    const bool dropped = result == NULL || result->verdict != KST_ACCEPT;
    struct line *lines = lines_for(kst_count(t) + kst_expectation_count(t));
    uint32_t count = 0;
    struct kst_flow flow;
    struct kst_expectation expectation;
    printf("is %s %s\n", dropped ? "none" : kst_state_name(result->state),
           kst_direction_name(dropped ? KST_NO_DIRECTION : result->direction));
    if (!dropped && out != NULL)
        fputs("out ", stdout);
    for (uint32_t i = 0; i < size && !dropped && out != NULL; i++)
        printf(i + 1 == size ? "%02x\n" : "%02x", out[i]);
    for (kst_id id = 0; (id = kst_next(t, id)) != 0;)
        if (kst_get(t, id, &flow))
            kst_print(&flow, KST_FORMAT_PROC, lines[count++].text, sizeof lines->text);
    print_sorted("ct", lines, count);
    count = 0;
    for (kst_id id = 0; (id = kst_expectation_next(t, id)) != 0;)
        if (kst_expectation_get(t, id, &expectation))
            kst_print_expectation(&expectation, KST_FORMAT_PROC, lines[count++].text,
                                  sizeof lines->text);
    print_sorted("exp", lines, count);
}

void show_events(struct kst *t, const struct timeval *stamp, enum kst_format format)
{
    char line[2 * KST_LINE_MAX];
    struct kst_event event;
    while (kst_event_next(t, &event))
        if (kst_print_event(&event, format, line, sizeof line) > 0)
            printf(format == KST_FORMAT_JSON ? "{\"time\":%lld.%06ld,%s\n" : "[%lld.%06ld]\t%s\n",
                   (long long)stamp->tv_sec, (long)stamp->tv_usec,
                   format == KST_FORMAT_JSON ? line + 1 : line);
}

void show_why(uint64_t number, const struct kst_result *result)
{
    if (result->reason == KST_REASON_NONE)
        return;
    printf("packet %" PRIu64 ": %s: %s: %s\n", number,
           result->verdict == KST_DROP   ? "dropped"
           : result->verdict == KST_HOLD ? "held"
                                         : kst_state_name(result->state),
           kst_reason_name(result->reason), kst_reason_text(result->reason));
}

uint32_t show_table(const struct kst *t, enum kst_format format)
{
    /* Linux counts the table and the one who reads as holders of a connection. */
    const char *holders = format == KST_FORMAT_JSON        ? ""
                          : format == KST_FORMAT_CONNTRACK ? " use=1"
                                                           : " use=2";
    char line[KST_LINE_MAX];
    struct kst_flow flow;
    uint32_t left_out = 0;
    for (kst_id id = 0; (id = kst_next(t, id)) != 0;) {
        if (!kst_get(t, id, &flow))
            continue;
        if (kst_print(&flow, format, line, sizeof line) > 0)
            printf("%s%s\n", line, holders);
        else
            left_out++;
    }
    return left_out;
}

static void show_columns(const struct kst *t)
{
    static const struct {
        const char *name;
        enum kst_column column;
    } after_insert[] = {
        {"insert_failed", KST_COLUMN_INSERT_FAILED},
        {"drop", KST_COLUMN_DROP},
        {"early_drop", KST_COLUMN_EARLY_DROP},
        {"error", KST_COLUMN_ERROR},
        {"search_restart", KST_COLUMN_NONE}, /* what a table without locks never does */
        {"clash_resolve", KST_COLUMN_NONE},
        {"chaintoolong", KST_COLUMN_CHAIN_TOO_LONG},
    };
    printf("cpu=0 found=0 invalid=%" PRIu64 " insert=%" PRIu64, kst_column(t, KST_COLUMN_INVALID),
           kst_statistics(t)->inserted); /* Linux counts what came over netlink */
    for (size_t i = 0; i < sizeof after_insert / sizeof *after_insert; i++)
        printf(" %s=%" PRIu64, after_insert[i].name, kst_column(t, after_insert[i].column));
    putchar('\n');
}

void show_stats(const struct kst *t, const struct show_counts *counts)
{
    const struct kst_stats *stats = kst_statistics(t);
    uint64_t without_ip = 0;
    for (int i = LINK_IP + 1; i < LINK_CONTENTS; i++)
        without_ip += counts->contents[i];
    const struct {
        uint64_t count;
        const char *what;
        bool always; /* 0 is worth a line */
    } totals[] = {
        {stats->packets, "packets tracked", true},
        {without_ip, "frames without IP", true},
        {counts->cut, "packets cut short by the capture", false},
        {counts->back, "packets stamped before the one before them: taken as simultaneous", false},
        {stats->created, "connections created", true},
        {stats->expect_create, "expectations noted", stats->expect_create > 0},
        {stats->expect_new, "connections that had been expected", stats->expect_create > 0},
    };
    show_columns(t);
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
        if (totals[i].always || totals[i].count > 0)
            printf("%10" PRIu64 "  %s\n", totals[i].count, totals[i].what);
    for (int i = 0; i < KST_CAUSES; i++)
        if (stats->gone[i] > 0)
            printf("%10" PRIu64 "  gone: %s\n", stats->gone[i], kst_cause_text((enum kst_cause)i));
    printf("%10" PRIu32 "  live at the end\n", kst_count(t));
    for (uint8_t state = KST_TCP_SYN_SENT; state < KST_TCP_STATES; state++)
        if (kst_state_count(t, IPPROTO_TCP, state) > 0)
            printf("%10" PRIu32 "  in TCP's state %s\n", kst_state_count(t, IPPROTO_TCP, state),
                   kst_tcp_state_name((enum kst_tcp_state)state));
    for (uint32_t age = 0; age < KST_AGES; age++)
        if (stats->victim_ages[age] > 0)
            printf("%10" PRIu64 "  evicted from their class after less than %.3f s\n",
                   stats->victim_ages[age], 0.064 * (double)(UINT32_C(1) << age));
    for (int i = LINK_IP + 1; i < LINK_CONTENTS; i++)
        if (counts->contents[i] > 0)
            printf("%10" PRIu64 "  frames: %s\n", counts->contents[i],
                   link_content_text((enum link_content)i));
    for (int i = KST_REASON_NONE + 1; i < KST_REASONS; i++)
        if (stats->reasons[i] > 0)
            printf("%10" PRIu64 "  %-19s  %s\n", stats->reasons[i],
                   kst_reason_name((enum kst_reason)i), kst_reason_text((enum kst_reason)i));
}
