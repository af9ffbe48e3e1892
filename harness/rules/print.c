/* SPDX-License-Identifier: MIT */
/* print.c - rulesets as text: as iptables-save writes them, and with counters as iptables -nvL. */
#define _GNU_SOURCE
#include "values.h"

#include <inttypes.h>
#include <string.h>

static void print_part(const struct rules_part *part, uint8_t family, FILE *out)
{
    uint32_t printed = 0; /* slots: the first option of each does it */
    for (const struct rules_option *o = part->type->options; o->name != NULL; o++) {
        const struct rules_value *value = &part->values[o->slot];
        if (!value->given || (printed >> o->slot & 1))
            continue;
        printed |= UINT32_C(1) << o->slot;
        fprintf(out, value->inverted ? " ! %s" : " %s", o->name);
        value_print((enum rules_kind)o->kind, value, family, out);
    }
}

static void print_matches(const struct rules_rule *rule, FILE *out)
{
    for (size_t i = 1; i < rule->parts_count; i++) {
        fprintf(out, " -m %s", rule->parts[i].type->name);
        print_part(&rule->parts[i], rule->family, out);
    }
}

static const char *target_name(const struct rules_rule *rule)
{
    return rule->chain_name != NULL ? rule->chain_name
           : rule->target.type != NULL ? rule->target.type->name
                                       : "";
}

void rules_print_rule(const struct rules_chain *chain, const struct rules_rule *rule, FILE *out)
{
    fprintf(out, "-A %s", chain->name);
    print_part(&rule->parts[0], rule->family, out);
    print_matches(rule, out);
    if (target_name(rule)[0] != '\0')
        fprintf(out, " -%c %s", rule->jumps_off ? 'g' : 'j', target_name(rule));
    if (rule->target.type != NULL)
        print_part(&rule->target, rule->family, out);
}

void rules_print(const struct rules *rules, FILE *out)
{
    for (int number = 0; number < RULES_TABLES; number++) {
        const struct rules_tables *table = &rules->table[number];
        if (!table->present)
            continue;
        fprintf(out, "*%s\n", rules_table_names[number]);
        for (uint32_t i = 0; i < table->chains_count; i++) {
            const struct rules_chain *chain = &table->chains[i];
            fprintf(out, ":%s %s [%" PRIu64 ":%" PRIu64 "]\n", chain->name,
                    !chain->builtin ? "-" : chain->drops ? "DROP" : "ACCEPT", chain->packets, chain->bytes);
        }
        for (uint32_t i = 0; i < table->chains_count; i++)
            for (size_t j = 0; j < table->chains[i].rules_count; j++) {
                const struct rules_rule *rule = &table->chains[i].rules[j];
                fprintf(out, "[%" PRIu64 ":%" PRIu64 "] ", rule->packets, rule->bytes);
                rules_print_rule(&table->chains[i], rule, out);
                fputc('\n', out);
            }
        fputs("COMMIT\n", out);
    }
}

/* ---- the summary ---- */

/* One of -s, -d, -i, -o, -p as a column, `all` if it was not given. */
static void print_column(const struct rules_rule *rule, int slot, enum rules_kind kind, int width,
                         const char *all, FILE *out)
{
    const struct rules_value *value = &rule->parts[0].values[slot];
    char text[128] = "";
    FILE *column = value->given ? fmemopen(text, sizeof text, "w") : NULL;
    if (column != NULL) {
        value_print(kind, value, rule->family, column);
        fclose(column);
        all = text + 1; /* behind its blank */
    }
    fprintf(out, " %s%-*s", value->given && value->inverted ? "!" : "",
            value->given && value->inverted ? width - 1 : width, all);
}

static void print_line(const struct rules_rule *rule, FILE *out)
{
    const char *everywhere = rule->family == KST_IPV6 ? "::/0" : "0.0.0.0/0";
    const struct rules_value *fragment = &rule->parts[0].values[IP_FRAGMENT];
    fprintf(out, "%8" PRIu64 " %8" PRIu64 " %-10s", rule->packets, rule->bytes, target_name(rule));
    print_column(rule, IP_PROTOCOL, RULES_V_PROTOCOL, 5, "all", out);
    fprintf(out, " %-3s", !fragment->given ? "--" : fragment->inverted ? "!f" : "-f");
    print_column(rule, IP_IN, RULES_V_INTERFACE, 6, "*", out);
    print_column(rule, IP_OUT, RULES_V_INTERFACE, 6, "*", out);
    print_column(rule, IP_SOURCE, RULES_V_NET, 19, everywhere, out);
    print_column(rule, IP_DESTINATION, RULES_V_NET, 19, everywhere, out);
    print_matches(rule, out);
    if (rule->target.type != NULL)
        print_part(&rule->target, rule->family, out);
    fputs(rule->jumps_off ? " [goto]\n" : "\n", out);
}

void rules_print_summary(const struct rules *rules, FILE *out)
{
    for (int number = 0; number < RULES_TABLES; number++) {
        const struct rules_tables *table = &rules->table[number];
        if (!table->present)
            continue;
        fprintf(out, "Table %s (%s)\n", rules_table_names[number], rules->name);
        for (uint32_t i = 0; i < table->chains_count; i++) {
            const struct rules_chain *chain = &table->chains[i];
            if (chain->builtin)
                fprintf(out, "Chain %s (policy %s %" PRIu64 " packets, %" PRIu64 " bytes)\n", chain->name,
                        chain->drops ? "DROP" : "ACCEPT", chain->packets, chain->bytes);
            else
                fprintf(out, "Chain %s (%u references)\n", chain->name, chain->references);
            fputs("    pkts    bytes target     prot  opt in     out    source              destination\n", out);
            for (size_t j = 0; j < chain->rules_count; j++)
                print_line(&chain->rules[j], out);
            fputc('\n', out);
        }
    }
}
