/* SPDX-License-Identifier: MIT */
/* ask.c - one packet through one table at one hook: rule after rule, chains that call chains. */
#include "rules.h"

#include <stdlib.h>
#include <string.h>

/* The transport header of an IPv6 packet: behind what may stand before it. */
static void walk6(struct rules_packet *p)
{
    enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60 };
    p->protocol = p->data[6];
    p->l4 = 40;
    while (p->size - p->l4 >= 8) {
        const uint8_t *ext = p->data + p->l4;
        uint32_t bytes;
        if (p->protocol == FRAGMENT) {
            bytes = 8;
            p->later_fragment |= ((uint32_t)ext[2] << 8 | (ext[3] & 0xf8u)) != 0;
        } else if (p->protocol == AUTHENTICATION) {
            bytes = (ext[1] + 2u) * 4;
        } else if (p->protocol == HOP_BY_HOP || p->protocol == ROUTING || p->protocol == DESTINATION) {
            bytes = (ext[1] + 1u) * 8;
        } else {
            return;
        }
        p->protocol = ext[0];
        p->l4 = bytes < p->size - p->l4 ? p->l4 + bytes : p->size;
        if (p->later_fragment)
            return;
    }
}

bool rules_look(struct rules_packet *p)
{
    p->later_fragment = false;
    if (p->size >= 20 && p->data[0] >> 4 == 4) {
        const uint32_t header = (uint32_t)(p->data[0] & 15) * 4;
        const uint32_t total = (uint32_t)p->data[2] << 8 | p->data[3];
        if (header < 20 || total < header || header > p->size)
            return false;
        p->length = total;
        p->size = total < p->size ? total : p->size;
        p->family = KST_IPV4;
        p->protocol = p->data[9];
        p->l4 = header;
        p->later_fragment = ((uint32_t)(p->data[6] & 0x1f) << 8 | p->data[7]) != 0;
        return true;
    }
    if (p->size >= 40 && p->data[0] >> 4 == 6) {
        const uint32_t total = ((uint32_t)p->data[4] << 8 | p->data[5]) + 40;
        p->length = total;
        p->size = total < p->size ? total : p->size;
        p->family = KST_IPV6;
        walk6(p);
        return true;
    }
    return false;
}

/* What raw wants of its tracking hangs on the packet as a connection of nobody's, until it is tracked. */
bool rules_flow(const struct rules_packet *p, struct kst_flow *flow)
{
    if (p->result == NULL && p->chosen && !p->notrack) {
        memset(flow, 0, sizeof *flow);
        flow->status = KST_CONFIRMED;
        return true;
    }
    return p->result != NULL && p->result->entry != 0 && kst_get(p->t, p->result->entry, flow);
}

static bool meets(const struct rules_rule *rule, struct rules_packet *p)
{
    for (size_t i = 0; i < rule->parts_count; i++)
        if (!rule->parts[i].type->match(&rule->parts[i], p) || p->hopeless)
            return false;
    return true;
}

static enum rules_verdict policy(struct rules_chain *chain, struct rules_packet *p)
{
    chain->packets++;
    chain->bytes += p->length;
    return chain->drops ? RULES_DROP : RULES_ACCEPT;
}

enum rules_verdict rules_ask(struct rules *rules, enum rules_table table, enum rules_hook hook,
                             struct rules_packet *p, const struct rules_listener *listener)
{
    const struct rules_tables *asked = rules != NULL ? &rules->table[table] : NULL;
    if (asked == NULL || !asked->present || asked->at_hook[hook] < 0)
        return RULES_ACCEPT;
    struct rules_chain *base = &asked->chains[asked->at_hook[hook]];
    struct rules_place at = {(uint32_t)asked->at_hook[hook], 0};
    uint32_t depth = 0, steps = 0;
    for (;;) {
        struct rules_chain *chain = &asked->chains[at.chain];
        enum rules_verdict verdict = RULES_NEXT;
        if (at.rule < chain->rules_count) {
            struct rules_rule *rule = &chain->rules[at.rule++];
            const bool met = meets(rule, p);
            p->hopeless |= ++steps > RULES_STEPS_MAX;
            if (p->hopeless)
                return RULES_DROP;
            if (!met)
                continue;
            rule->packets++;
            rule->bytes += p->length;
            if (rule->target.type != NULL)
                verdict = rule->target.type->act(&rule->target, p);
            if (listener != NULL)
                listener->met(listener->context, hook, table, chain, rule, verdict);
            if (rule->chain_name != NULL) {
                if (!rule->jumps_off)
                    asked->stack[depth++] = at;
                at = (struct rules_place){rule->chain, 0};
            }
            if (verdict == RULES_NEXT)
                continue;
            if (verdict != RULES_RETURN)
                return verdict;
        }
        if (depth == 0) /* the end of all chains, or RETURN */
            break;
        at = asked->stack[--depth];
    }
    const enum rules_verdict verdict = policy(base, p);
    if (listener != NULL)
        listener->met(listener->context, hook, table, base, NULL, verdict);
    return verdict;
}

void rules_zero(struct rules *rules)
{
    for (int table = 0; table < RULES_TABLES; table++)
        for (uint32_t i = 0; i < rules->table[table].chains_count; i++) {
            struct rules_chain *chain = &rules->table[table].chains[i];
            chain->packets = chain->bytes = 0;
            for (size_t j = 0; j < chain->rules_count; j++)
                chain->rules[j].packets = chain->rules[j].bytes = 0;
        }
}
