/* SPDX-License-Identifier: MIT */
/* answer.c - comparing what two sides say of a packet, and asking the core. */
#define _GNU_SOURCE
#define KST_IMPLEMENTATION
#include "keepstate.h"

#include "../back_ends.h"
#include "answer.h"
#include "describe.h"
#include "../rules/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of 511 low ports one is found by one of so many seeds but for one case in 3000. */
enum { ENTRIES_MAX = 4096, SECONDS_SLACK = 1, SEEDS_MAX = 4096, SEEDS_ALIKE = 32 };

void answer_add(struct answer *answer, const char *text)
{
    char *line = need(strdup(text));
    vec_squeeze(line);
    answer->lines = need(realloc(answer->lines, (answer->count + 1) * sizeof *answer->lines));
    answer->lines[answer->count++] = line;
}

void answers_free(struct answer *answers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < answers[i].count; j++)
            free(answers[i].lines[j]);
        free(answers[i].lines);
        free(answers[i].out);
    }
    free(answers);
}

/* ---- comparing ---- */

/* Where the seconds of a line begin: behind `ct L3 N L4 N ` or `exp `. */
static char *seconds_of(char *line)
{
    for (int blanks = strncmp(line, "ct ", 3) == 0 ? 5 : 1; blanks > 0 && line != NULL; blanks--) {
        line = strchr(line, ' ');
        line = line != NULL ? line + 1 : NULL;
    }
    return line;
}

/* A line taken apart: all but its seconds, and those. */
struct parted {
    char *rest;
    long seconds;
};

static int by_rest_then_seconds(const void *a, const void *b)
{
    const struct parted *x = a, *y = b;
    const int rest = strcmp(x->rest, y->rest);
    return rest != 0 ? rest : (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

static struct parted *part(char *const *lines, size_t count)
{
    struct parted *parted = need(calloc(count + 1, sizeof *parted));
    for (size_t i = 0; i < count; i++) {
        parted[i].rest = need(strdup(lines[i]));
        char *seconds = seconds_of(parted[i].rest), *end = seconds;
        if (seconds != NULL) {
            parted[i].seconds = strtol(seconds, &end, 10);
            memmove(seconds, end, strlen(end) + 1);
        }
    }
    qsort(parted, count, sizeof *parted, by_rest_then_seconds);
    return parted;
}

static void parted_free(struct parted *parted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(parted[i].rest);
    free(parted);
}

/* What arrives at the machine with the rules does not come out of it: Linux leaves it untold. */
static bool arrived(const struct vec_case *c, const struct vec_packet *packet, const struct answer *answer)
{
    return c->rules_count > 0 && strcmp(packet->is, "none -") == 0 && answer->out == NULL;
}

bool answers_agree(const struct vec_case *c, size_t at, const struct answer *answer)
{
    const struct vec_packet *linux_says = &c->packets[at];
    if (answer->broken != NULL || linux_says->is == NULL ||
        (strcmp(linux_says->is, answer->is) != 0 && !arrived(c, linux_says, answer)))
        return false;
    if (linux_says->out != NULL &&
        (answer->out == NULL || answer->out_size != linux_says->out_size ||
         memcmp(answer->out, linux_says->out, answer->out_size) != 0))
        return false;
    const size_t a_count = linux_says->lines_count, b_count = answer->count;
    char *const *a = linux_says->lines, *const *b = answer->lines;
    if (a_count != b_count)
        return false;
    struct parted *x = part(a, a_count), *y = part(b, b_count);
    bool same = true;
    for (size_t i = 0; i < a_count && same; i++)
        same = strcmp(x[i].rest, y[i].rest) == 0 &&
               labs(x[i].seconds - y[i].seconds) <= SECONDS_SLACK;
    parted_free(x, a_count);
    parted_free(y, b_count);
    return same;
}

/* ---- one number for all ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static uint64_t digest_text(uint64_t digest, const char *text)
{
    for (; *text != '\0'; text++)
        digest = (digest ^ (uint8_t)*text) * UINT64_C(0x100000001b3); /* FNV-1a */
    return (digest ^ '\n') * UINT64_C(0x100000001b3);
}

uint64_t answer_digest(struct answer *answer, uint64_t digest)
{
    digest = digest_text(digest_text(digest, answer->is), answer->reason);
    if (answer->count > 0)
        qsort(answer->lines, answer->count, sizeof *answer->lines, by_text);
    for (size_t i = 0; i < answer->count; i++)
        digest = digest_text(digest, answer->lines[i]);
    for (uint32_t i = 0; answer->out != NULL && i < answer->out_size; i++)
        digest = (digest ^ answer->out[i]) * UINT64_C(0x100000001b3);
    return digest;
}

/* ---- asking the core ---- */

void answer_attach(struct kst *t)
{
    kst_attach_usual(t);
    kst_attach(t, 6, 5061, kst_helper_number("sip"));
}

void answer_table(struct answer *answer, const struct kst *t)
{
    struct kst_flow flow;
    struct kst_expectation expectation;
    char line[KST_LINE_MAX + 4];
    for (kst_id id = kst_next(t, 0); id != 0; id = kst_next(t, id)) {
        strcpy(line, "ct ");
        kst_get(t, id, &flow);
        kst_print(&flow, KST_FORMAT_PROC, line + 3, KST_LINE_MAX);
        answer_add(answer, line);
    }
    for (kst_id id = kst_expectation_next(t, 0); id != 0; id = kst_expectation_next(t, id)) {
        strcpy(line, "exp ");
        kst_expectation_get(t, id, &expectation);
        kst_print_expectation(&expectation, KST_FORMAT_PROC, line + 4, KST_LINE_MAX);
        answer_add(answer, line);
    }
}

static struct kst_config config = {
    .max = ENTRIES_MAX, .reassembly_bytes = 4 << 20, .expectations = ENTRIES_MAX,
    .features = KST_WITH_ACCOUNTING | KST_WITH_NAT | KST_WITH_TIMESTAMPS};

bool answer_index(const char *name)
{
    config.index = back_end_number(kst_index_name, name);
    return kst_index_name(config.index) != NULL;
}

bool answer_timer(const char *name)
{
    config.timer = back_end_number(kst_timer_name, name);
    return kst_timer_name(config.timer) != NULL;
}

/* Rules, and the machine around them; NULL without rules. */
struct machine {
    struct path *path;
    struct rules *rules[2];
};

static void machine_open(struct machine *m, const struct vec_case *c, struct kst *t)
{
    static const uint8_t families[] = {KST_IPV4, KST_IPV6};
    char why[512];
    *m = (struct machine){0};
    if (c->rules_count == 0)
        return;
    m->path = need(path_new(t));
    for (size_t i = 0; vec_routes[i] != NULL; i++)
        path_add_route(m->path, vec_routes[i]);
    for (size_t i = 0; vec_addresses[i] != NULL; i++)
        path_add_address(m->path, vec_addresses[i]);
    for (int v6 = 0; v6 < 2; v6++) {
        char *text = vec_ruleset(c, v6 != 0);
        m->rules[v6] = rules_read(text, strlen(text), c->name, families[v6], why, sizeof why);
        if (m->rules[v6] == NULL) {
            fprintf(stderr, "agree: %s\n%s", why, text);
            exit(2);
        }
        path_set_rules(m->path, m->rules[v6]);
        free(text);
    }
}

static void machine_close(struct machine *m)
{
    path_free(m->path);
    rules_free(m->rules[0]);
    rules_free(m->rules[1]);
}

/* What becomes of a packet under rules: dropped, or accepted as `result` says. */
static void ask_machine(struct machine *m, uint64_t now_ms, const struct vec_packet *packet,
                        struct kst_result *result, struct answer *answer)
{
    struct path_end end;
    path_send(m->path, now_ms, packet->data, packet->size, 0, NULL, &end);
    *result = end.result;
    if (!end.passed) {
        result->verdict = KST_DROP;
        return;
    }
    if (end.way != PATH_FORWARDED)
        return;
    answer->out_size = end.size;
    answer->out = need(malloc(end.size + 1));
    memcpy(answer->out, end.bytes, end.size);
}

struct answer *ask_core(const struct vec_case *c, uint64_t seed)
{
    static void *memory;
    const size_t bytes = kst_bytes(&config);
    config.seed[0] = seed;
    if (memory == NULL)
        memory = need(aligned_alloc(KST_ALIGN, bytes));
    struct kst *t = need(kst_init(memory, bytes, &config, NULL));
    struct answer *answers = need(calloc(c->packets_count + 1, sizeof *answers));
    struct machine machine;
    uint64_t now_ms = 0;

    answer_attach(t);
    machine_open(&machine, c, t);
    for (size_t i = 0; i < c->settings_count; i++) {
        const enum kst_error error = kst_set(t, c->settings[i].name, c->settings[i].value);
        if (error != KST_ERROR_OK) {
            fprintf(stderr, "agree: %s: set %s %u: %s\n", c->name, c->settings[i].name,
                    c->settings[i].value, kst_error_text(error));
            exit(2);
        }
    }
    for (size_t i = 0; i < c->packets_count; i++) {
        static const uint8_t zone_flags[VEC_ZONE_WAYS] = {0, KST_PACKET_ZONE_ORIGINAL,
                                                          KST_PACKET_ZONE_REPLY};
        const struct kst_packet packet = {.data = c->packets[i].data,
                                          .size = c->packets[i].size,
                                          .zone = c->packets[i].zone,
                                          .flags = zone_flags[c->packets[i].zone_of]};
        struct kst_result result;
        now_ms += c->packets[i].wait_ms;
        kst_advance(t, now_ms, UINT32_MAX);
        if (machine.path != NULL)
            ask_machine(&machine, now_ms, &c->packets[i], &result, &answers[i]);
        else
            kst_track(t, now_ms, &packet, 1, &result);
        if (result.verdict != KST_ACCEPT)
            snprintf(answers[i].is, sizeof answers[i].is, "none -");
        else
            snprintf(answers[i].is, sizeof answers[i].is, "%s %s",
                     kst_state_name((enum kst_state)result.state),
                     kst_direction_name((enum kst_direction)result.direction));
        answers[i].reason = kst_reason_name((enum kst_reason)result.reason);

        answer_table(&answers[i], t);
        kst_check(t, &answers[i].broken);
    }
    machine_close(&machine);
    return answers;
}

uint64_t answer_seed(const struct vec_case *c)
{
    bool chance = false; /* whether seeds differ: else a case that disagrees would ask thousands in vain */
    uint64_t first = 0;
    for (uint64_t seed = 1; c->rules_count > 0 && seed <= (chance ? SEEDS_MAX : SEEDS_ALIKE); seed++) {
        struct answer *answers = ask_core(c, seed);
        bool agree = true;
        uint64_t digest = 0;
        for (size_t i = 0; i < c->packets_count; i++) {
            digest = answer_digest(&answers[i], digest);
            agree = agree && answers_agree(c, i, &answers[i]);
        }
        answers_free(answers, c->packets_count);
        if (agree)
            return seed;
        first = seed == 1 ? digest : first;
        chance = chance || digest != first;
    }
    return 1;
}

/* ---- showing ---- */

static void show_packet(const struct vec_packet *packet, size_t number)
{
    char words[512];
    describe(packet->data, packet->size, words, sizeof words);
    if (packet->zone != 0)
        printf("      zone %u%s\n", packet->zone, vec_zone_word(packet->zone_of));
    if (packet->wait_ms != 0)
        printf("      ... %llu ms pass ...\n", (unsigned long long)packet->wait_ms);
    printf("  %3zu %c %s\n", number, packet->from_server ? '<' : '>', words);
}

static void show_out(const uint8_t *out, uint32_t size)
{
    char words[512];
    if (out == NULL)
        return;
    describe(out, size, words, sizeof words);
    printf("           out   %s\n                 ", words);
    for (uint32_t i = 0; i < size && i < 256; i++)
        printf("%02x", out[i]);
    putchar('\n');
}

void answers_show(const struct vec_case *c, size_t at, const struct answer *answers)
{
    for (size_t i = 0; i < c->rules_count; i++)
        printf("      rule%s %s\n", c->rules[i].v6 ? "6" : "", c->rules[i].words);
    for (size_t i = 0; i < c->settings_count; i++)
        printf("      %s = %u\n", c->settings[i].name, c->settings[i].value);
    for (size_t i = 0; i <= at; i++) {
        show_packet(&c->packets[i], i + 1);
        if (i < at)
            printf("        %s%s%s\n", answers[i].is, answers[i].reason[0] != '\0' ? "  " : "",
                   answers[i].reason);
    }
    printf("      Linux:     %s\n", c->packets[at].is);
    show_out(c->packets[at].out, c->packets[at].out_size);
    for (size_t i = 0; i < c->packets[at].lines_count; i++)
        printf("                 %s\n", c->packets[at].lines[i]);
    printf("      keepstate: %s  %s\n", answers[at].is, answers[at].reason);
    show_out(answers[at].out, answers[at].out_size);
    if (answers[at].broken != NULL)
        printf("                 the table is broken: %s\n", answers[at].broken);
    for (size_t i = 0; i < answers[at].count; i++)
        printf("                 %s\n", answers[at].lines[i]);
}
