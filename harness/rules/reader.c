/* SPDX-License-Identifier: MIT */
/* reader.c - what iptables-save writes becomes a ruleset, line by line. The first thing that is not
 * understood ends it, with file, line and word. Chains may be named before they are declared: a table
 * is put together at its COMMIT. */
#define _GNU_SOURCE
#include "values.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *const rules_table_names[RULES_TABLES] = {"raw", "mangle", "nat", "filter"};
const char *const rules_hook_names[RULES_HOOKS] = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT",
                                                   "POSTROUTING"};

#define HOOK(name) (1 << RULES_##name)
static const uint8_t hooks_of[RULES_TABLES] = {
    [RULES_RAW] = HOOK(PREROUTING) | HOOK(OUTPUT),
    [RULES_MANGLE] = HOOK(PREROUTING) | HOOK(INPUT) | HOOK(FORWARD) | HOOK(OUTPUT) | HOOK(POSTROUTING),
    [RULES_NAT] = HOOK(PREROUTING) | HOOK(INPUT) | HOOK(OUTPUT) | HOOK(POSTROUTING),
    [RULES_FILTER] = HOOK(INPUT) | HOOK(FORWARD) | HOOK(OUTPUT)};

struct reader {
    struct rules *rules;
    struct rules_tables *table; /* being read, or NULL */
    enum rules_table number;    /* its number */
    size_t line;
    char *words[RULES_WORDS_MAX + 1]; /* of the line, a NULL behind them */
    bool quoted[RULES_WORDS_MAX + 1]; /* what is in quotes is no option */
    int count, at;
    char *why;
    size_t why_size;
};

/* Always false. */
__attribute__((format(printf, 3, 4))) static bool fail(struct reader *r, const char *word,
                                                       const char *format, ...)
{
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    snprintf(r->why, r->why_size, "%s:%zu: %s%.60s%s%s", r->rules->name, r->line,
             word != NULL ? "'" : "", word != NULL ? word : "", word != NULL ? "': " : "", what);
    return false;
}

/* Room for one more element of `size` bytes, zeroed, or NULL. */
static void *grow(void **array, size_t count, size_t *room, size_t size)
{
    if (count == *room) {
        const size_t more = *room * 2 + 8;
        char *larger = realloc(*array, more * size);
        if (larger == NULL)
            return NULL;
        memset(larger + *room * size, 0, (more - *room) * size);
        *array = larger;
        *room = more;
    }
    return (char *)*array + count * size;
}

/* ---- words ---- */

/* Cuts the line up in place: blanks part words; in quotes a backslash takes what follows it as it
 * is. */
static bool cut_line(struct reader *r, char *line)
{
    r->count = r->at = 0;
    for (char *from = line;;) {
        while (*from != '\0' && isspace((unsigned char)*from))
            from++;
        if (*from == '\0')
            break;
        if (r->count == RULES_WORDS_MAX)
            return fail(r, NULL, "more than %d words", RULES_WORDS_MAX);
        bool inside = false;
        char *to = from;
        r->quoted[r->count] = *from == '"';
        r->words[r->count++] = from;
        for (; *from != '\0' && (inside || !isspace((unsigned char)*from)); from++)
            if (*from == '"' && inside && from[1] != '\0' && !isspace((unsigned char)from[1]))
                return fail(r, r->words[r->count - 1], "a blank is needed behind a quote that ends");
            else if (*from == '"')
                inside = !inside;
            else
                *to++ = inside && *from == '\\' && from[1] != '\0' ? *++from : *from;
        const bool last = *from == '\0';
        *to = '\0';
        if (inside)
            return fail(r, NULL, "a quote is not closed");
        from += !last;
    }
    r->words[r->count] = NULL;
    return true;
}

static char *next_word(struct reader *r)
{
    return r->at < r->count ? r->words[r->at++] : NULL;
}

static bool no_more(struct reader *r)
{
    return r->at == r->count || fail(r, r->words[r->at], "too many words");
}

static bool count_read(const char *word, uint64_t *count)
{
    char *end;
    errno = 0;
    *count = isdigit((unsigned char)*word) ? strtoull(word, &end, 10) : 0;
    return isdigit((unsigned char)*word) && *end == '\0' && errno == 0;
}

/* [PACKETS:BYTES] */
static bool counters_read(const char *word, uint64_t *packets, uint64_t *bytes)
{
    char copy[64];
    const size_t length = strlen(word);
    if (length < 5 || length >= sizeof copy || word[0] != '[' || word[length - 1] != ']')
        return false;
    memcpy(copy, word + 1, length - 2);
    copy[length - 2] = '\0';
    char *colon = strchr(copy, ':');
    if (colon == NULL)
        return false;
    *colon = '\0';
    return count_read(copy, packets) && count_read(colon + 1, bytes);
}

/* ---- chains ---- */

static struct rules_chain *find_chain(const struct rules_tables *table, const char *name)
{
    for (uint32_t i = 0; i < table->chains_count; i++)
        if (strcmp(table->chains[i].name, name) == 0)
            return &table->chains[i];
    return NULL;
}

static struct rules_chain *add_chain(struct reader *r, const char *name)
{
    struct rules_tables *table = r->table;
    size_t room = table->chains_room;
    if (table->chains_count == RULES_CHAINS_MAX)
        return fail(r, name, "more than %d chains", RULES_CHAINS_MAX), NULL;
    void *chains = table->chains;
    struct rules_chain *chain = grow(&chains, table->chains_count, &room, sizeof *chain);
    table->chains = chains;
    table->chains_room = (uint32_t)room;
    if (chain == NULL || (chain->name = strdup(name)) == NULL)
        return fail(r, name, "no memory is left"), NULL;
    table->chains_count++;
    return chain;
}

static const struct rules_type *find_type(const struct rules_type *types, const char *name)
{
    while (types->name != NULL && strcmp(types->name, name) != 0)
        types++;
    return types->name != NULL ? types : NULL;
}

static bool new_chain(struct reader *r, const char *name)
{
    if (name == NULL)
        return fail(r, NULL, "which chain? a name is missing");
    if (name[0] == '\0' || name[0] == '-' || name[0] == '!' || strlen(name) > 28 ||
        strpbrk(name, " \t\"\\'") != NULL)
        return fail(r, name, "this is no name of a chain: 1 to 28 bytes without blanks or quotes");
    if (find_type(rules_targets, name) != NULL)
        return fail(r, name, "a target has this name");
    if (find_chain(r->table, name) != NULL)
        return fail(r, name, "the chain is there already");
    return add_chain(r, name) != NULL;
}

static bool set_policy(struct reader *r, struct rules_chain *chain, const char *policy)
{
    if (policy == NULL)
        return fail(r, chain->name, "a policy is missing");
    if (!chain->builtin)
        return strcmp(policy, "-") == 0 || fail(r, policy, "only built-in chains have a policy");
    if (strcmp(policy, "ACCEPT") != 0 && strcmp(policy, "DROP") != 0)
        return fail(r, policy, "a policy is ACCEPT or DROP");
    chain->drops = policy[0] == 'D';
    if (chain->drops && r->number == RULES_NAT)
        return fail(r, policy, "the table nat is not for filtering");
    return true;
}

/* :NAME POLICY [PACKETS:BYTES] */
static bool read_chain(struct reader *r)
{
    char *name = next_word(r) + 1, *counters;
    struct rules_chain *chain = find_chain(r->table, name);
    if (chain == NULL || !chain->builtin) {
        if (!new_chain(r, name))
            return false;
        chain = &r->table->chains[r->table->chains_count - 1];
    }
    if (!set_policy(r, chain, next_word(r)))
        return false;
    counters = next_word(r);
    if (counters != NULL && !counters_read(counters, &chain->packets, &chain->bytes))
        return fail(r, counters, "counters are needed, [PACKETS:BYTES]");
    return no_more(r);
}

/* ---- rules ---- */

static void free_part(struct rules_part *part)
{
    for (const struct rules_option *o = part->type != NULL ? part->type->options : NULL;
         o != NULL && o->name != NULL && part->values != NULL; o++)
        value_free((enum rules_kind)o->kind, &part->values[o->slot]);
    free(part->values);
}

static void free_rule(struct rules_rule *rule)
{
    for (size_t i = 0; i < rule->parts_count; i++)
        free_part(&rule->parts[i]);
    free_part(&rule->target);
    free(rule->parts);
    free(rule->chain_name);
}

static bool begin_part(struct reader *r, struct rules_part *part, const struct rules_type *type,
                       const char *word)
{
    part->type = type;
    part->values = calloc(type->slots + 1u, sizeof *part->values);
    return part->values != NULL || fail(r, word, "no memory is left");
}

static bool add_part(struct reader *r, struct rules_rule *rule, const struct rules_type *type,
                     const char *word)
{
    struct rules_part *parts = realloc(rule->parts, (rule->parts_count + 1) * sizeof *parts);
    if (parts == NULL)
        return fail(r, word, "no memory is left");
    rule->parts = parts;
    memset(&parts[rule->parts_count], 0, sizeof *parts);
    return begin_part(r, &parts[rule->parts_count++], type, word);
}

static const struct rules_option *find_option(const struct rules_part *part, const char *word)
{
    if (part->type == NULL)
        return NULL;
    for (const struct rules_option *o = part->type->options; o->name != NULL; o++)
        if (strcmp(o->name, word) == 0)
            return o;
    return NULL;
}

/* The part that an option belongs to: `ip`, the target, or the last match that has it. What -p names
 * is a match as well, if no other has the option. */
static struct rules_part *part_of(struct reader *r, struct rules_rule *rule, const char *word,
                                  const struct rules_option **option)
{
    if ((*option = find_option(&rule->target, word)) != NULL)
        return &rule->target;
    for (size_t i = rule->parts_count; i-- > 0;)
        if ((*option = find_option(&rule->parts[i], word)) != NULL)
            return &rule->parts[i];
    const struct rules_value *protocol = &rule->parts[0].values[IP_PROTOCOL];
    for (const struct rules_type *type = rules_matches; type->name != NULL; type++) {
        if (type->protocol == 0 || !protocol->given || protocol->as.number[0] != type->protocol ||
            (type->family != 0 && type->family != r->rules->family))
            continue;
        const struct rules_part wanted = {.type = type};
        if ((*option = find_option(&wanted, word)) != NULL && add_part(r, rule, type, word))
            return &rule->parts[rule->parts_count - 1];
    }
    return NULL;
}

static bool read_option(struct reader *r, struct rules_rule *rule, char *word, bool inverted)
{
    const struct rules_option *option;
    r->why[0] = '\0';
    struct rules_part *part = part_of(r, rule, word, &option);
    if (part == NULL)
        return r->why[0] != '\0'
                   ? false
                   : fail(r, word, word[0] == '-' ? "no match and no target of this rule has this option"
                                                  : "an option is needed here");
    struct rules_value *value = &part->values[option->slot];
    const enum rules_kind kind = (enum rules_kind)option->kind;
    if (value->given)
        return fail(r, word, "this was given before");
    if (inverted && option->plain)
        return fail(r, word, "this cannot be inverted");
    if (r->count - r->at < value_words(kind))
        return fail(r, word, "what it compares or sets is missing");
    const char *wrong = value_read(kind, &r->words[r->at], r->rules->family, value);
    if (wrong != NULL)
        return fail(r, value_words(kind) > 0 ? r->words[r->at] : word, "%s %s", word, wrong);
    r->at += value_words(kind);
    value->given = true;
    value->inverted = inverted;
    return true;
}

static const struct rules_type *known_type(struct reader *r, const struct rules_type *types,
                                           const char *name)
{
    const struct rules_type *type = find_type(types, name);
    return type != NULL && type->family != 0 && type->family != r->rules->family ? NULL : type;
}

static bool read_match(struct reader *r, struct rules_rule *rule, const char *name)
{
    if (name == NULL)
        return fail(r, NULL, "-m: which match? a name is missing");
    if (strcmp(name, "icmpv6") == 0)
        name = "icmp6";
    const struct rules_type *type = known_type(r, rules_matches, name);
    if (type == NULL)
        return fail(r, name, "no match of this name is known");
    return add_part(r, rule, type, name);
}

/* -j NAME, -g NAME: a target or a chain, which may still be to come. */
static bool read_target(struct reader *r, struct rules_rule *rule, const char *name, bool jumps_off)
{
    if (name == NULL)
        return fail(r, NULL, "which target? a name is missing");
    if (rule->target.type != NULL || rule->chain_name != NULL)
        return fail(r, name, "a second target");
    const struct rules_type *type = jumps_off ? NULL : known_type(r, rules_targets, name);
    if (type != NULL)
        return begin_part(r, &rule->target, type, name);
    rule->jumps_off = jumps_off;
    rule->chain_name = strdup(name);
    return rule->chain_name != NULL || fail(r, name, "no memory is left");
}

static bool is(const char *word, const char *brief, const char *whole)
{
    return strcmp(word, brief) == 0 || strcmp(word, whole) == 0;
}

static bool read_words(struct reader *r, struct rules_rule *rule)
{
    char *word;
    while ((word = next_word(r)) != NULL) {
        const bool inverted = strcmp(word, "!") == 0 && !r->quoted[r->at - 1];
        bool good;
        if (inverted && (word = next_word(r)) == NULL)
            return fail(r, "!", "what is inverted?");
        if (r->quoted[r->at - 1])
            return fail(r, word, "an option is needed here");
        const bool names = is(word, "-m", "--match") || is(word, "-j", "--jump") ||
                           is(word, "-g", "--goto") || is(word, "-c", "--set-counters");
        if (inverted && names)
            return fail(r, word, "this cannot be inverted");
        if (is(word, "-m", "--match"))
            good = read_match(r, rule, next_word(r));
        else if (is(word, "-j", "--jump") || is(word, "-g", "--goto"))
            good = read_target(r, rule, next_word(r), is(word, "-g", "--goto"));
        else if (is(word, "-c", "--set-counters"))
            good = (r->count - r->at >= 2 && count_read(r->words[r->at], &rule->packets) &&
                    count_read(r->words[r->at + 1], &rule->bytes) && (r->at += 2)) ||
                   fail(r, word, "packets and bytes are needed");
        else
            good = read_option(r, rule, word, inverted);
        if (!good)
            return false;
    }
    return true;
}

/* What a match or target needs of the rest of its rule. */
static bool check_part(struct reader *r, const struct rules_rule *rule, struct rules_part *part)
{
    const struct rules_type *type = part->type;
    if (type->act == NULL && type->protocol != 0 && type->protocol != rule->protocol)
        return fail(r, type->name, "this match needs -p %s", protocol_name(type->protocol));
    if (type->needs != 0 && !part->values[type->needs - 1].given) {
        const struct rules_option *o = type->options;
        while (o->slot != type->needs - 1)
            o++;
        return fail(r, type->name, "%s is missing", o->name);
    }
    const char *wrong =
        type->check != NULL ? type->check(part, r->rules->family, rule->protocol) : NULL;
    if (wrong != NULL)
        return fail(r, type->name, "%s", wrong);
    if (type->act != NULL && type->tables != 0 && !(type->tables >> r->number & 1))
        return fail(r, type->name, "the table %s does not have this target", rules_table_names[r->number]);
    return true;
}

static bool check_rule(struct reader *r, const struct rules_chain *chain, struct rules_rule *rule)
{
    const struct rules_value *ip = rule->parts[0].values;
    const int hook = chain->builtin ? 1 << chain->hook : 0;
    if (ip[IP_PROTOCOL].given && !ip[IP_PROTOCOL].inverted)
        rule->protocol = (uint8_t)ip[IP_PROTOCOL].as.number[0];
    if (ip[IP_IN].given && (hook & (HOOK(OUTPUT) | HOOK(POSTROUTING))))
        return fail(r, "-i", "there is no interface that packets come in by at %s", chain->name);
    if (ip[IP_OUT].given && (hook & (HOOK(PREROUTING) | HOOK(INPUT))))
        return fail(r, "-o", "there is no interface that packets leave by at %s", chain->name);
    for (size_t i = 0; i < rule->parts_count; i++)
        if (!check_part(r, rule, &rule->parts[i]))
            return false;
    return rule->target.type == NULL || check_part(r, rule, &rule->target);
}

/* -A CHAIN ... */
static bool read_rule(struct reader *r, struct rules_rule *counted)
{
    const char *name = next_word(r);
    struct rules_chain *chain = name != NULL ? find_chain(r->table, name) : NULL;
    if (name == NULL)
        return fail(r, NULL, "-A: which chain? a name is missing");
    if (chain == NULL)
        return fail(r, name, "the table %s has no chain of this name", rules_table_names[r->number]);
    void *rules = chain->rules;
    struct rules_rule *rule = grow(&rules, chain->rules_count, &chain->rules_room, sizeof *rule);
    chain->rules = rules;
    if (rule == NULL)
        return fail(r, name, "no memory is left");
    *rule = *counted;
    rule->line = r->line;
    rule->family = r->rules->family;
    chain->rules_count++;
    return add_part(r, rule, &rules_ip, name) && read_words(r, rule) && check_rule(r, chain, rule);
}

/* ---- tables ---- */

static bool begin_table(struct reader *r, const char *name)
{
    for (r->number = RULES_RAW; r->number < RULES_TABLES; r->number++)
        if (strcmp(rules_table_names[r->number], name) == 0)
            break;
    if (r->number == RULES_TABLES)
        return fail(r, name, "no table of this name is known: raw, mangle, nat, filter");
    if (r->table != NULL)
        return fail(r, name, "the table before it has no COMMIT");
    r->table = &r->rules->table[r->number];
    if (r->table->present)
        return fail(r, name, "the table stands here twice");
    r->table->present = true;
    for (int hook = 0; hook < RULES_HOOKS; hook++) {
        r->table->at_hook[hook] = -1;
        if (!(hooks_of[r->number] >> hook & 1))
            continue;
        struct rules_chain *chain = add_chain(r, rules_hook_names[hook]);
        if (chain == NULL)
            return false;
        chain->builtin = true;
        chain->hook = (enum rules_hook)hook;
        chain->hooks = (uint8_t)(1 << hook);
        r->table->at_hook[hook] = (int)(chain - r->table->chains);
    }
    return true;
}

static bool resolve(struct reader *r, struct rules_rule *rule)
{
    if (rule->chain_name == NULL)
        return true;
    struct rules_chain *chain = find_chain(r->table, rule->chain_name);
    r->line = rule->line;
    if (chain == NULL)
        return fail(r, rule->chain_name, "no target is known, and no chain, of this name");
    if (chain->builtin)
        return fail(r, rule->chain_name, "rules cannot lead to a built-in chain");
    rule->chain = (uint32_t)(chain - r->table->chains);
    chain->references++;
    return true;
}

/* Walks each chain after all that lead to it, so that it learns all hooks it is met at; what is never
 * walked is part of a loop. `waiting` counts the references that are still to come. */
static bool spread_hooks(struct reader *r, uint32_t *waiting, uint32_t *queue)
{
    struct rules_tables *table = r->table;
    uint32_t first = 0, last = 0;
    for (uint32_t i = 0; i < table->chains_count; i++) {
        waiting[i] = table->chains[i].references;
        if (waiting[i] == 0)
            queue[last++] = i;
    }
    while (first < last) {
        const struct rules_chain *chain = &table->chains[queue[first++]];
        for (size_t i = 0; i < chain->rules_count; i++) {
            if (chain->rules[i].chain_name == NULL)
                continue;
            table->chains[chain->rules[i].chain].hooks |= chain->hooks;
            if (--waiting[chain->rules[i].chain] == 0)
                queue[last++] = chain->rules[i].chain;
        }
    }
    for (uint32_t i = 0; i < table->chains_count; i++)
        for (size_t j = 0; waiting[i] != 0 && j < table->chains[i].rules_count; j++)
            if (table->chains[i].rules[j].chain_name != NULL &&
                waiting[table->chains[i].rules[j].chain] != 0) {
                r->line = table->chains[i].rules[j].line;
                return fail(r, table->chains[i].rules[j].chain_name, "chains lead in a circle");
            }
    return true;
}

/* That targets are met only where they make sense. */
static bool check_hooks(struct reader *r)
{
    for (uint32_t i = 0; i < r->table->chains_count; i++)
        for (size_t j = 0; j < r->table->chains[i].rules_count; j++) {
            const struct rules_rule *rule = &r->table->chains[i].rules[j];
            const struct rules_type *type = rule->target.type;
            if (type == NULL || type->hooks == 0)
                continue;
            for (int hook = 0; hook < RULES_HOOKS; hook++)
                if (r->table->chains[i].hooks & ~type->hooks & 1 << hook) {
                    r->line = rule->line;
                    return fail(r, type->name, "not at %s, from where packets come here",
                                rules_hook_names[hook]);
                }
        }
    return true;
}

static bool commit(struct reader *r)
{
    const size_t line = r->line;
    for (uint32_t i = 0; i < r->table->chains_count; i++)
        for (size_t j = 0; j < r->table->chains[i].rules_count; j++)
            if (!resolve(r, &r->table->chains[i].rules[j]))
                return false;
    uint32_t *room = calloc(r->table->chains_count, 2 * sizeof *room);
    r->table->stack = calloc(r->table->chains_count, sizeof *r->table->stack);
    if (room == NULL || r->table->stack == NULL)
        return free(room), fail(r, "COMMIT", "no memory is left");
    const bool good = spread_hooks(r, room, room + r->table->chains_count) && check_hooks(r);
    free(room);
    if (good) {
        r->line = line;
        r->table = NULL;
    }
    return good;
}

/* ---- lines ---- */

static bool read_line(struct reader *r, char *line)
{
    struct rules_rule counted = {0};
    if (line[0] == '#')
        return true;
    if (!cut_line(r, line))
        return false;
    if (r->count == 0) /* blanks of any kind */
        return true;
    if (r->words[0][0] == '*')
        return r->count == 1 ? begin_table(r, r->words[0] + 1) : fail(r, r->words[1], "too many words");
    if (r->table == NULL)
        return fail(r, r->words[0], "expected *TABLE before anything else");
    if (strcmp(r->words[0], "COMMIT") == 0)
        return r->count == 1 ? commit(r) : fail(r, r->words[1], "too many words");
    if (r->words[0][0] == ':')
        return read_chain(r);

    const char *word = next_word(r);
    if (word[0] == '[') {
        if (!counters_read(word, &counted.packets, &counted.bytes))
            return fail(r, word, "counters are needed, [PACKETS:BYTES]");
        word = next_word(r);
    }
    if (word != NULL && is(word, "-A", "--append"))
        return read_rule(r, &counted);
    if (word != NULL && is(word, "-N", "--new-chain"))
        return new_chain(r, next_word(r)) && no_more(r);
    if (word != NULL && is(word, "-P", "--policy")) {
        const char *name = next_word(r);
        struct rules_chain *chain = name != NULL ? find_chain(r->table, name) : NULL;
        if (chain == NULL || !chain->builtin)
            return fail(r, name, "no built-in chain has this name");
        return set_policy(r, chain, next_word(r)) && no_more(r);
    }
    return fail(r, word, "expected -A CHAIN, :CHAIN, *TABLE or COMMIT");
}

struct rules *rules_read(const char *text, size_t size, const char *name, uint8_t family, char *why,
                         size_t why_size)
{
    struct reader *r = calloc(1, sizeof *r);
    struct rules *rules = calloc(1, sizeof *rules);
    char *copy = malloc(size + 1);
    bool good = r != NULL && rules != NULL && copy != NULL;
    if (!good) {
        snprintf(why, why_size, "%s: no memory is left", name);
    } else {
        rules->name = name;
        rules->family = family;
        r->rules = rules;
        r->why = why;
        r->why_size = why_size;
        memcpy(copy, text, size);
        copy[size] = '\0';
        if (size > RULES_BYTES_MAX)
            good = fail(r, NULL, "longer than %d bytes", RULES_BYTES_MAX);
        for (char *line = copy, *end; good && line < copy + size; line = end + 1) {
            r->line++;
            end = memchr(line, '\n', (size_t)(copy + size - line));
            end = end != NULL ? end : copy + size;
            *end = '\0';
            good = strlen(line) == (size_t)(end - line) ? read_line(r, line)
                                                        : fail(r, NULL, "a byte of 0 in the text");
        }
        if (good && r->table != NULL)
            good = fail(r, rules_table_names[r->number], "the table has no COMMIT");
    }
    free(copy);
    free(r);
    if (!good) {
        rules_free(rules);
        return NULL;
    }
    return rules;
}

struct rules *rules_load(const char *path, uint8_t family, char *why, size_t why_size)
{
    char *text = NULL;
    size_t size = 0, room = 0, got = 1;
    errno = 0;
    FILE *file = fopen(path, "rb");
    struct rules *rules = NULL;
    while (file != NULL && got > 0 && size <= RULES_BYTES_MAX) {
        if (size == room) {
            char *larger = realloc(text, room = room * 2 + 4096);
            if (larger == NULL)
                break;
            text = larger;
        }
        size += got = fread(text + size, 1, room - size, file);
    }
    if (file == NULL || ferror(file) || errno == ENOMEM)
        snprintf(why, why_size, "%s: %s", path, strerror(errno));
    else
        rules = rules_read(text, size, path, family, why, why_size);
    if (file != NULL)
        fclose(file);
    free(text);
    return rules;
}

void rules_free(struct rules *rules)
{
    if (rules == NULL)
        return;
    for (int number = 0; number < RULES_TABLES; number++) {
        struct rules_tables *table = &rules->table[number];
        for (uint32_t i = 0; i < table->chains_count; i++) {
            for (size_t j = 0; j < table->chains[i].rules_count; j++)
                free_rule(&table->chains[i].rules[j]);
            free(table->chains[i].rules);
            free(table->chains[i].name);
        }
        free(table->chains);
        free(table->stack);
    }
    free(rules);
}
