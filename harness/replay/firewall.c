/* SPDX-License-Identifier: MIT */
/* firewall.c - the options of --rules, and telling what rules did. */
#define _GNU_SOURCE 1
#include "firewall.h"
#include "../agree/describe.h"
#include "../rules/path.h"
#include "command.h"
#include "show.h"

#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdlib.h>
#include <string.h>

struct firewall {
    const struct firewall_options *options;
    struct kst *t;
    struct path *path;
    struct rules *rules[2];
    pcap_t *dead;
    pcap_dumper_t *dumper;
    bool explained; /* the packet of --explain came */
};

bool firewall_wanted(const struct firewall_options *options)
{
    return options->rules[0] != NULL || options->rules[1] != NULL || options->routes_count > 0 ||
           options->addresses_count > 0 || options->write != NULL || options->explain != 0;
}

/* ---- opening ---- */

/* Rules that name an interface which nothing leads to: most likely a --route is missing. */
static void warn_interfaces(const struct firewall *f, const struct rules *rules)
{
    for (int table = 0; table < RULES_TABLES; table++)
        for (uint32_t i = 0; i < rules->table[table].chains_count; i++) {
            const struct rules_chain *chain = &rules->table[table].chains[i];
            for (size_t j = 0; j < chain->rules_count; j++)
                for (int slot = IP_IN; slot <= IP_OUT; slot++) {
                    const struct rules_value *value = &chain->rules[j].parts[0].values[slot];
                    if (value->given && !path_knows(f->path, value->as.text))
                        complain("%s:%zu: '%s': no --route and no --address names this interface", rules->name,
                                 chain->rules[j].line, value->as.text);
                }
        }
}

static int open_dump(struct firewall *f, const char *path)
{
    f->dead = pcap_open_dead(DLT_RAW, PATH_BYTES_MAX);
    f->dumper = f->dead != NULL ? pcap_dump_open(f->dead, path) : NULL;
    if (f->dumper != NULL)
        return COMMAND_DONE;
    complain("--write %s", f->dead != NULL ? pcap_geterr(f->dead) : "no memory is left");
    return COMMAND_INPUT;
}

static int add_all(struct firewall *f, const char *option, bool (*take)(struct path *, const char *),
                   const char **texts, int count, const char *needed)
{
    for (int i = 0; i < count; i++)
        if (!take(f->path, texts[i])) {
            complain("%s %s: %s is needed", option, texts[i], needed);
            fputs("try 'keepstate replay --help'\n", stderr);
            return COMMAND_USAGE;
        }
    return COMMAND_DONE;
}

static int load(struct firewall *f, int which)
{
    static const uint8_t families[] = {KST_IPV4, KST_IPV6};
    char why[512];
    const char *path = f->options->rules[which];
    f->rules[which] = path != NULL ? rules_load(path, families[which], why, sizeof why) : NULL;
    if (path == NULL)
        return COMMAND_DONE;
    if (f->rules[which] == NULL) {
        complain("%s", why);
        return COMMAND_INPUT;
    }
    rules_zero(f->rules[which]);
    path_set_rules(f->path, f->rules[which]);
    warn_interfaces(f, f->rules[which]);
    return COMMAND_DONE;
}

int firewall_open(const struct firewall_options *options, struct kst *t, struct firewall **firewall)
{
    struct firewall *f = *firewall = calloc(1, sizeof *f);
    if (f == NULL || (f->path = path_new(t)) == NULL) {
        complain("no memory is left");
        return COMMAND_INPUT;
    }
    f->options = options;
    f->t = t;
    int code = add_all(f, "--route", path_add_route, options->routes, options->routes_count,
                       "NET/LENGTH=INTERFACE or default=INTERFACE");
    if (code == COMMAND_DONE)
        code = add_all(f, "--address", path_add_address, options->addresses, options->addresses_count,
                       "INTERFACE=ADDRESS or INTERFACE=ADDRESS/LENGTH");
    for (int which = 0; which < 2 && code == COMMAND_DONE; which++)
        code = load(f, which);
    if (code == COMMAND_DONE && options->write != NULL)
        code = open_dump(f, options->write);
    return code;
}

/* ---- telling ---- */

static void print_decision(const struct rules *rules, enum rules_table table, const struct rules_chain *chain,
                           const struct rules_rule *rule)
{
    if (rule == NULL) {
        printf("policy of %s in %s", chain->name, rules_table_names[table]);
    } else {
        printf("%s:%zu: ", rules->name, rule->line);
        rules_print_rule(chain, rule, stdout);
    }
}

static void tell_rule(void *context, enum rules_hook hook, enum rules_table table,
                      const struct rules_chain *chain, const struct rules_rule *rule, enum rules_verdict verdict)
{
    const struct rules *rules = context;
    printf("  %-11s %-7s ", rules_hook_names[hook], rules_table_names[table]);
    if (rule != NULL)
        print_decision(rules, table, chain, rule);
    puts(rule != NULL ? "" : verdict == RULES_DROP ? "policy DROP" : "policy ACCEPT");
}

static void tell_step(void *context, const char *hook, const char *words)
{
    (void)context;
    printf("  %-11s %s\n", hook, words);
}

static void tell_packet(uint64_t number, const uint8_t *bytes, uint32_t size, const char *word)
{
    char words[512];
    describe(bytes, size, words, sizeof words);
    if (number != 0)
        printf("packet %" PRIu64 ": %s\n", number, words);
    else
        printf("  %s %s\n", word, words);
}

static void tell_why(const struct path_end *end, uint64_t number)
{
    if (end->passed || (end->tracked && end->result.verdict != KST_ACCEPT)) {
        show_why(number, &end->result);
    } else if (end->why != NULL) {
        printf("packet %" PRIu64 ": %s: %s\n", number, end->held ? "held" : "dropped", end->why);
    } else {
        printf("packet %" PRIu64 ": %s by ", number, end->reject != NULL ? "rejected" : "dropped");
        print_decision(end->rules, end->table, end->chain, end->rule);
        putchar('\n');
    }
}

void firewall_take(struct firewall *f, uint64_t number, const struct timeval *stamp, uint64_t now_ms,
                   const uint8_t *bytes, uint32_t size, uint8_t flags)
{
    const bool explain = f->options->explain == FIREWALL_ALL || f->options->explain == number;
    const struct path_listener listener = {tell_rule, tell_step, f->rules[size > 0 && bytes[0] >> 4 == 6]};
    struct path_end end;
    f->explained |= explain;
    if (explain)
        tell_packet(number, bytes, size, "");
    path_send(f->path, now_ms, bytes, size, flags, explain ? &listener : NULL, &end);
    const bool leaves = end.passed && (end.way == PATH_FORWARDED || end.way == PATH_FROM_US);
    if (explain && end.passed)
        tell_packet(0, end.bytes, end.size, leaves ? "passes:" : "arrives:");
    else if (explain)
        puts(end.held ? "  is held" : end.reject != NULL ? "  is rejected" : "  is dropped");
    if (f->options->why)
        tell_why(&end, number);
    if (f->options->each)
        show_each(f->t, end.passed ? &end.result : NULL, leaves ? end.bytes : NULL, end.size);
    if (end.passed && f->dumper != NULL) {
        const struct pcap_pkthdr header = {.ts = *stamp, .caplen = end.size, .len = end.size};
        pcap_dump((u_char *)f->dumper, &header, end.bytes);
    }
}

void firewall_summary(const struct firewall *f)
{
    for (int which = 0; which < 2; which++)
        if (f->rules[which] != NULL) {
            putchar('\n');
            rules_print_summary(f->rules[which], stdout);
        }
}

int firewall_close(struct firewall *f)
{
    int code = COMMAND_DONE;
    if (f == NULL)
        return code;
    if (f->options != NULL && f->options->explain != 0 && !f->explained)
        complain("--explain: no IP packet of this number was met");
    if (f->dumper != NULL) {
        if (pcap_dump_flush(f->dumper) != 0 || ferror(pcap_dump_file(f->dumper))) {
            complain("--write %s: it could not be written", f->options->write);
            code = COMMAND_INPUT;
        }
        pcap_dump_close(f->dumper);
    }
    if (f->dead != NULL)
        pcap_close(f->dead);
    path_free(f->path);
    rules_free(f->rules[0]);
    rules_free(f->rules[1]);
    free(f);
    return code;
}
