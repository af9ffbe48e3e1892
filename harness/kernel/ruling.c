/* SPDX-License-Identifier: MIT */
/* ruling.c - see ruling.h. Rules are drawn word by word: every match and target of which Linux leaves
 * a trace that can be compared. Left out: ranges of several addresses, of which Linux chooses by a
 * hash of its own; random ports; TOS, DSCP and TTL as targets, since states travel there. */
#define _GNU_SOURCE
#include "ruling.h"
#include "../rules/path.h"
#include "prepare.h"

#include <stdlib.h>
#include <string.h>

struct ruling {
    struct chance *chance;
    struct kst *t;
    struct path *path;
    struct rules *rules;
    bool v6;
    uint64_t now_ms;
    uint8_t client[2][16], server[16]; /* as the client knows them */
    uint8_t own[16];                   /* the machine's: it does not answer here */
};

static const char *const hosts_v4[] = {"192.0.2.1", "192.0.2.2", "192.0.2.0/24", "198.51.100.1", "203.0.113.1",
                                       "203.0.113.2", "198.51.100.0/25", "0.0.0.0/1", "198.51.100.2"};
static const char *const hosts_v6[] = {"2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::/48", "2001:db8:2::1",
                                       "2001:db8:9::1", "2001:db8:9::2", "2001:db8:2::/64", "2001:db8::/47",
                                       "2001:db8:2::2"};

/* ---- rules ---- */

static const char *not(struct chance *chance)
{
    return one_in(chance, 4) ? "! " : "";
}

static const char *host(struct chance *chance, bool v6)
{
    return v6 ? PICK(chance, hosts_v6) : PICK(chance, hosts_v4);
}

static void put_range(struct chance *chance, FILE *out, const char *option)
{
    static const char *const ports[] = {"80", "40000", "1:1000", "40000:50000", "0:79", "53", "8080", "1024:65535"};
    fprintf(out, " %s%s", not(chance), option);
    fprintf(out, " %s", PICK(chance, ports));
}

static void put_ports(struct chance *chance, FILE *out, const char *option)
{
    if (one_in(chance, 3))
        put_range(chance, out, option);
}

/* -p and what goes with it. */
static void put_protocol(struct chance *chance, FILE *out, bool v6)
{
    static const char *const flags[] = {"FIN,SYN,RST,ACK SYN", "SYN,ACK SYN,ACK", "RST RST", "ACK ACK", "ALL NONE",
                                        "FIN,ACK FIN,ACK", "PSH,URG NONE"};
    static const char *const types[] = {"8", "0", "3", "3/1", "11", "13", "any"};
    static const char *const types6[] = {"128", "129", "1", "1/4", "3", "2", "4/0"};
    static const char *const multiports[] = {"22,80,443", "40000:50000,1", "80:90,8080", "1:65535"};
    static const char *const ways[] = {"--sports", "--dports", "--ports"};
    static const char *const others[] = {"gre", "esp", "udplite", "sctp", "50", "tcp", "ipencap"};
    switch (below(chance, 8)) {
    case 0:
    case 1:
    case 2:
        fputs(" -p tcp", out);
        if (one_in(chance, 4)) {
            fprintf(out, " -m multiport %s%s", not(chance), PICK(chance, ways));
            fprintf(out, " %s", PICK(chance, multiports));
            break;
        }
        fputs(" -m tcp", out);
        put_ports(chance, out, "--sport");
        put_ports(chance, out, "--dport");
        if (one_in(chance, 3))
            fprintf(out, " %s--tcp-flags %s", not(chance), PICK(chance, flags));
        if (one_in(chance, 8))
            fprintf(out, " %s--tcp-option %u", not(chance), below(chance, 9) + 1);
        break;
    case 3:
    case 4:
        fputs(" -p udp -m udp", out);
        put_ports(chance, out, "--sport");
        put_ports(chance, out, "--dport");
        break;
    case 5:
        fprintf(out, " -p %s -m %s %s%s %s", v6 ? "ipv6-icmp" : "icmp", v6 ? "icmp6" : "icmp", not(chance),
                v6 ? "--icmpv6-type" : "--icmp-type", v6 ? PICK(chance, types6) : PICK(chance, types));
        break;
    case 6:
        fputs(" -p sctp -m sctp", out);
        put_ports(chance, out, "--sport");
        put_ports(chance, out, "--dport");
        break;
    default: fprintf(out, " %s-p %s", not(chance), PICK(chance, others));
    }
}

static void put_conntrack(struct chance *chance, FILE *out, bool v6)
{
    static const char *const states[] = {"NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "SNAT", "DNAT",
                                         "RELATED,ESTABLISHED", "NEW,UNTRACKED", "INVALID,NEW", "SNAT,DNAT"};
    static const char *const statuses[] = {"NONE", "EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED",
                                           "ASSURED,EXPECTED"};
    static const char *const expiries[] = {"0:5", "5:25", "25:45", "45:100", "100:500", "500:", "0:100"};
    static const char *const addresses[] = {"--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst"};
    static const char *const ports[] = {"--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport"};
    static const char *const protocols[] = {"6", "17", "1", "58", "132"};
    bool any = false;
    fputs(" -m conntrack", out);
    while (!any) {
        if (one_in(chance, 2) && (any = true))
            fprintf(out, " %s--ctstate %s", not(chance), PICK(chance, states));
        if (one_in(chance, 8) && (any = true))
            fprintf(out, " %s--ctproto %s", not(chance), PICK(chance, protocols));
        if (one_in(chance, 5) && (any = true)) {
            fprintf(out, " %s%s", not(chance), PICK(chance, addresses));
            fprintf(out, " %s", host(chance, v6));
        }
        if (one_in(chance, 6) && (any = true))
            put_range(chance, out, PICK(chance, ports));
        if (one_in(chance, 5) && (any = true))
            fprintf(out, " %s--ctstatus %s", not(chance), PICK(chance, statuses));
        if (one_in(chance, 10) && (any = true))
            fprintf(out, " %s--ctexpire %s", not(chance), PICK(chance, expiries));
        if (one_in(chance, 6) && (any = true))
            fprintf(out, " --ctdir %s", one_in(chance, 2) ? "REPLY" : "ORIGINAL");
        if (any && one_in(chance, 40))
            fputs(" -m comment --comment \"as it is\"", out);
    }
}

static void put_match(struct chance *chance, FILE *out, bool v6)
{
    static const char *const states[] = {"NEW", "ESTABLISHED", "RELATED,ESTABLISHED", "INVALID", "UNTRACKED,NEW"};
    static const char *const lengths[] = {"0:60", "40", "61:200", "28:48", "500:"};
    switch (below(chance, 9)) {
    case 0:
    case 1: put_conntrack(chance, out, v6); break;
    case 2: fprintf(out, " -m state %s--state %s", not(chance), PICK(chance, states)); break;
    case 3:
    case 4:
        fprintf(out, " -m %s %s", one_in(chance, 2) ? "mark" : "connmark", not(chance));
        fprintf(out, "--mark 0x%x/0x%x", below(chance, 4), 3 + below(chance, 5));
        break;
    case 5: fprintf(out, " -m length %s--length %s", not(chance), PICK(chance, lengths)); break;
    case 6: {
        const char *name = v6 ? "hl" : "ttl";
        const uint32_t way = below(chance, 3);
        fprintf(out, " -m %s %s--%s-%s %u", name, way == 0 ? not(chance) : "", name,
                way == 0 ? "eq" : way == 1 ? "lt" : "gt", 62 + below(chance, 4));
        break;
    }
    case 7:
        fprintf(out, " -m limit --limit %u/hour", 1 + below(chance, 9));
        fprintf(out, " --limit-burst %u", 1 + below(chance, 6));
        break;
    default: fprintf(out, " -m dscp %s--dscp %s", not(chance), one_in(chance, 2) ? "0" : "10");
    }
}

/* What comes before the target. `in`, `out`: interfaces are known there. */
static void put_matches(struct chance *chance, FILE *file, bool v6, bool in, bool out)
{
    if (one_in(chance, 4))
        fprintf(file, " %s-s %s", not(chance), host(chance, v6));
    if (one_in(chance, 4))
        fprintf(file, " %s-d %s", not(chance), host(chance, v6));
    if (in && one_in(chance, 5))
        fprintf(file, " %s-i %s", not(chance), one_in(chance, 2) ? "left" : "ri+");
    if (out && one_in(chance, 5))
        fprintf(file, " %s-o %s", not(chance), one_in(chance, 2) ? "left" : "right");
    if (one_in(chance, 2))
        put_protocol(chance, file, v6);
    while (one_in(chance, 3))
        put_match(chance, file, v6);
}

static void filter_rule(struct chance *chance, FILE *out, bool v6)
{
    static const char *const chains[] = {"FORWARD", "FORWARD", "FORWARD", "INPUT", "one", "two"};
    static const char *const rejects[] = {"icmp-port-unreachable", "icmp-admin-prohibited"};
    static const char *const rejects6[] = {"icmp6-port-unreachable", "icmp6-adm-prohibited"};
    const char *chain = PICK(chance, chains);
    const bool builtin = chain[0] < 'a', last = strcmp(chain, "two") == 0; /* one may lead to two */
    fprintf(out, "-A %s", chain);
    put_matches(chance, out, v6, true, strcmp(chain, "FORWARD") == 0);
    switch (below(chance, 11)) {
    case 0:
    case 1:
    case 2: fputs(" -j ACCEPT", out); break;
    case 3:
    case 4: fputs(" -j DROP", out); break;
    case 5:
        fprintf(out, " -j REJECT --reject-with %s", v6 ? PICK(chance, rejects6) : PICK(chance, rejects));
        break;
    case 6: fputs(" -j RETURN", out); break;
    case 7: fputs(last ? "" : one_in(chance, 2) ? " -j two" : " -g two", out); break;
    case 8: fputs(!builtin ? " -j CONNMARK --save-mark" : one_in(chance, 2) ? " -j one" : " -g one", out); break;
    case 9: fputs(" -p tcp -j REJECT --reject-with tcp-reset", out); break;
    default:
        fprintf(out, " -j MARK --set-xmark 0x%x", below(chance, 8));
        fprintf(out, "/0x%x", 1 + below(chance, 7));
    }
}

static void mangle_rule(struct chance *chance, FILE *out, bool v6)
{
    static const char *const chains[] = {"PREROUTING", "PREROUTING", "FORWARD", "POSTROUTING", "INPUT"};
    const char *chain = PICK(chance, chains);
    fprintf(out, "-t mangle -A %s", chain);
    put_matches(chance, out, v6, chain[1] != 'O', chain[0] == 'F' || chain[1] == 'O');
    switch (below(chance, 6)) {
    case 0: fprintf(out, " -j MARK --set-mark 0x%x", below(chance, 8)); break;
    case 1: fprintf(out, " -j MARK --%s-mark 0x%x", one_in(chance, 2) ? "or" : "xor", below(chance, 8)); break;
    case 2:
        fprintf(out, " -j CONNMARK --set-xmark 0x%x", below(chance, 8));
        fprintf(out, "/0x%x", below(chance, 8));
        break;
    case 3:
        fprintf(out, " -j CONNMARK --save-mark --nfmask 0x%x", below(chance, 8));
        fprintf(out, " --ctmask 0x%x", below(chance, 8));
        break;
    case 4: fputs(" -j CONNMARK --restore-mark", out); break;
    default: fputs(one_in(chance, 3) ? " -j DROP" : " -j ACCEPT", out);
    }
}

static void raw_rule(struct chance *chance, FILE *out, bool v6)
{
    static const char *const targets[] = {"CT --notrack", "CT --zone 1", "CT --zone 2", "NOTRACK", "DROP", "ACCEPT",
                                          "CT --zone mark", "MARK --set-mark 2"};
    fputs("-t raw -A PREROUTING", out);
    put_matches(chance, out, v6, true, false);
    if (one_in(chance, 2))
        put_protocol(chance, out, v6), fputs(" -m comment --comment x", out);
    fprintf(out, " -j %s", PICK(chance, targets));
}

static void nat_rule(struct chance *chance, FILE *out, bool v6)
{
    static const char *const protocols[] = {"tcp", "udp", "sctp"};
    const char *outside = v6 ? "2001:db8:9::1" : "203.0.113.1", *inside = v6 ? "2001:db8:2::1" : "198.51.100.1";
    const bool ports = one_in(chance, 3);
    const bool bare = ports && one_in(chance, 4); /* the address stays as it is */
    const char *open = v6 && ports && !bare ? "[" : "", *close = v6 && ports && !bare ? "]" : "";
    char port[32] = "";
    if (one_in(chance, 2)) {
        fputs("-t nat -A POSTROUTING", out);
        put_matches(chance, out, v6, false, true);
        if (ports) {
            fprintf(out, " -m comment --comment p%s%s", " -p ", PICK(chance, protocols));
            snprintf(port, sizeof port, ":%u", 6000 + below(chance, 2));
        }
        switch (below(chance, 5)) {
        case 0: fputs(" -j MASQUERADE", out); break;
        case 1: fprintf(out, " -j NETMAP --to %s", v6 ? "2001:db8:7::/48" : "203.0.113.0/24"); break;
        case 2: fputs(" -j ACCEPT", out); break;
        default: fprintf(out, " -j SNAT --to-source %s%s%s%s", open, bare ? "" : outside, close, port);
        }
        return;
    }
    fputs("-t nat -A PREROUTING", out);
    put_matches(chance, out, v6, true, false);
    if (ports) {
        fprintf(out, " -m comment --comment p -p %s", PICK(chance, protocols));
        snprintf(port, sizeof port, one_in(chance, 2) ? ":8080" : ":8080-8083");
    }
    switch (below(chance, 5)) {
    case 0: fprintf(out, " -j REDIRECT%s%s", ports ? " --to-ports " : "", ports ? "8080" : ""); break;
    case 1: fprintf(out, " -j NETMAP --to %s", v6 ? "2001:db8:2::/64" : "198.51.100.0/24"); break;
    case 2: fputs(" -j ACCEPT", out); break;
    default: fprintf(out, " -j DNAT --to-destination %s%s%s%s", open, bare ? "" : inside, close, port);
    }
}

static void add_rule(struct talk_state *t, void (*make)(struct chance *, FILE *, bool), struct chance *chance)
{
    char *words = NULL;
    size_t size;
    FILE *out = need(open_memstream(&words, &size));
    make(chance, out, t->v6);
    fclose(out);
    /* Nobody takes -p twice; nor iptables-restore both of these, whose options have one name. */
    char *first = strstr(words, "-p "), *second = first != NULL ? strstr(first + 1, "-p ") : NULL;
    if (second != NULL || (strstr(words, "-m mark") != NULL && strstr(words, "-m connmark") != NULL)) {
        free(words);
        return;
    }
    t->c.rules = need(realloc(t->c.rules, (t->c.rules_count + 1) * sizeof *t->c.rules));
    t->c.rules[t->c.rules_count].v6 = t->v6;
    t->c.rules[t->c.rules_count++].words = words;
}

static void new_chain(struct chance *chance, FILE *out, bool v6)
{
    (void)chance;
    (void)v6;
    fputs("-N two", out);
}

static void new_other(struct chance *chance, FILE *out, bool v6)
{
    (void)chance;
    (void)v6;
    fputs("-N one", out);
}

static void no_nat(struct chance *chance, FILE *out, bool v6)
{
    (void)chance;
    fprintf(out, "-t nat -A POSTROUTING -s %s -j ACCEPT", v6 ? "2001:db8::1" : "192.0.2.77");
}

/* ---- the machine ---- */

struct ruling *ruling_begin(struct talk_state *t, uint64_t rules)
{
    static const struct kst_config config = {.max = 256, .features = KST_WITH_NAT | KST_WITH_ACCOUNTING,
                                             .seed = {1, 0}, .expectations = 256};
    struct chance chance = {rules};
    struct ruling *r = need(calloc(1, sizeof *r));
    char why[512];
    draw(&chance);
    t->v6 = one_in(&chance, 3);
    add_rule(t, new_other, &chance);
    add_rule(t, new_chain, &chance);
    add_rule(t, no_nat, &chance); /* the table is there: its null bindings are, too */
    for (uint32_t i = below(&chance, 3); i > 0; i--)
        add_rule(t, raw_rule, &chance);
    for (uint32_t i = below(&chance, 4); i > 0; i--)
        add_rule(t, mangle_rule, &chance);
    for (uint32_t i = below(&chance, 4); i > 0; i--)
        add_rule(t, nat_rule, &chance);
    for (uint32_t i = below(&chance, 7); i > 0; i--)
        add_rule(t, filter_rule, &chance);

    const size_t bytes = kst_bytes(&config);
    r->chance = &t->chance;
    r->v6 = t->v6;
    r->t = need(kst_init(need(aligned_alloc(KST_ALIGN, bytes)), bytes, &config, NULL));
    kst_attach_usual(r->t);
    kst_attach(r->t, 6, 5061, kst_helper_number("sip"));
    r->path = need(path_new(r->t));
    for (size_t i = 0; vec_routes[i] != NULL; i++)
        path_add_route(r->path, vec_routes[i]);
    for (size_t i = 0; vec_addresses[i] != NULL; i++)
        path_add_address(r->path, vec_addresses[i]);
    char *text = vec_ruleset(&t->c, t->v6);
    r->rules = rules_read(text, strlen(text), "random rules", t->v6 ? KST_IPV6 : KST_IPV4, why, sizeof why);
    if (r->rules == NULL) {
        fprintf(stderr, "%s\n%s", why, text);
        exit(2);
    }
    free(text);
    path_set_rules(r->path, r->rules);

    const size_t address = t->v6 ? 16 : 4;
    for (int i = 0; i < 2; i++) {
        memcpy(r->client[i], t->v6 ? client_and_server_v6[0] : client_and_server_v4[0], address);
        r->client[i][address - 1] = (uint8_t)(i + 1);
    }
    memcpy(r->own, t->v6 ? (const uint8_t[16]){0x20, 1, 0xd, 0xb8, 0, 9, [15] = 2} : (const uint8_t[16]){203, 0, 113, 2},
           16);
    memcpy(r->server, t->v6 ? client_and_server_v6[1] : client_and_server_v4[1], address);
    if (one_in(&t->chance, 2)) { /* one that is translated, perhaps, or the machine itself */
        memcpy(r->server, t->v6 ? (const uint8_t[16]){0x20, 1, 0xd, 0xb8, 0, 9} : (const uint8_t[16]){203, 0, 113},
               address);
        r->server[address - 1] = (uint8_t)(1 + one_in(&t->chance, 4));
    }
    return r;
}

void ruling_end(struct ruling *ruling)
{
    if (ruling == NULL)
        return;
    path_free(ruling->path);
    rules_free(ruling->rules);
    free(ruling->t);
    free(ruling);
}

/* ---- other addresses ---- */

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

/* A packet's parts. */
struct parts {
    uint8_t *addresses, *l4;
    size_t bytes; /* of an address */
    size_t l4_bytes;
    uint8_t protocol;
    uint8_t *ports[2], *sum; /* or NULL; the first is an ICMP identifier, too */
    bool error;              /* ICMP about another packet */
};

static void find_ports(struct parts *p, bool v6)
{
    uint8_t *l4 = p->l4;
    const bool icmp = p->protocol == (v6 ? 58 : 1);
    if ((p->protocol == 6 || p->protocol == 17 || p->protocol == 132 || p->protocol == 136) && p->l4_bytes >= 4) {
        p->ports[0] = l4;
        p->ports[1] = l4 + 2;
    }
    if (icmp && p->l4_bytes >= 8) {
        p->error = v6 ? l4[0] < 128 : l4[0] == 3 || l4[0] == 4 || l4[0] == 5 || l4[0] == 11 || l4[0] == 12;
        if (v6 ? l4[0] == 128 || l4[0] == 129 : l4[0] == 0 || l4[0] == 8 || (l4[0] >= 13 && l4[0] <= 18))
            p->ports[0] = l4 + 4;
    }
    const size_t at = p->protocol == 6 ? 16 : p->protocol == 17 || p->protocol == 136 ? 6 : icmp ? 2 : 0;
    if (at != 0 && p->l4_bytes >= at + 2)
        p->sum = l4 + at;
    if (p->protocol == 17 && p->sum != NULL && get16(p->sum) == 0)
        p->sum = NULL;
}

static bool take_apart(uint8_t *packet, size_t size, struct parts *p)
{
    const bool v6 = packet[0] >> 4 == 6;
    size_t at = v6 ? 40 : (size_t)(packet[0] & 15) * 4;
    memset(p, 0, sizeof *p);
    if (size < (v6 ? 40 : 20) || at > size)
        return false;
    p->addresses = packet + (v6 ? 8 : 12);
    p->bytes = v6 ? 16 : 4;
    p->protocol = packet[v6 ? 6 : 9];
    while (v6 && at + 8 <= size && (p->protocol == 0 || p->protocol == 43 || p->protocol == 60 || p->protocol == 51)) {
        const size_t ext = p->protocol == 51 ? (packet[at + 1] + 2u) * 4 : (packet[at + 1] + 1u) * 8;
        p->protocol = packet[at];
        at += ext;
    }
    if (at > size)
        return false;
    p->l4 = packet + at;
    p->l4_bytes = size - at;
    find_ports(p, v6);
    return true;
}

/* Puts other bytes in place; sums that cover them stay as right as they were. */
static void put_bytes(struct parts *p, uint8_t *to, const uint8_t *from, size_t bytes, bool covered)
{
    for (size_t i = 0; i < bytes; i += 2) {
        if (p->sum != NULL && covered) {
            uint32_t sum = (~get16(p->sum) & 0xffff) + (~get16(to + i) & 0xffff) + get16(from + i);
            sum = (sum & 0xffff) + (sum >> 16);
            put16(p->sum, ~((sum & 0xffff) + (sum >> 16)) & 0xffff);
        }
        memcpy(to + i, from + i, 2);
    }
}

static void put_address(struct parts *p, int which, const uint8_t *address)
{
    /* ICMP has no pseudo-header */
    put_bytes(p, p->addresses + (size_t)which * p->bytes, address, p->bytes, p->protocol != 1 || p->bytes == 16);
}

static void put_port(struct parts *p, int which, uint32_t port)
{
    uint8_t bytes[2];
    put16(bytes, port);
    if (p->ports[which] != NULL)
        put_bytes(p, p->ports[which], bytes, 2, true);
}

static void seal(uint8_t *packet, struct parts *p, bool crc_right)
{
    if (packet[0] >> 4 == 4 && sum_words(0, packet, (size_t)(packet[0] & 15) * 4) != 0xffff)
        put_header_sum(packet, (size_t)(packet[0] & 15) * 4);
    if (crc_right) {
        put32(p->l4 + 8, 0);
        const uint32_t crc = crc32c(p->l4, p->l4_bytes);
        for (int i = 0; i < 4; i++)
            p->l4[8 + i] = (uint8_t)(crc >> (8 * i));
    }
}

static bool crc_is_right(const struct parts *p)
{
    uint8_t copy[PACKET_MAX];
    if (p->protocol != 132 || p->l4_bytes < 12)
        return false;
    memcpy(copy, p->l4, p->l4_bytes);
    memset(copy + 8, 0, 4);
    const uint32_t crc = crc32c(copy, p->l4_bytes);
    return p->l4[8] == (uint8_t)crc && p->l4[9] == (uint8_t)(crc >> 8) && p->l4[10] == (uint8_t)(crc >> 16) &&
           p->l4[11] == (uint8_t)(crc >> 24);
}

/* The connection that an answer of this packet's kind belongs to, as the client began it. */
static bool find_flow(const struct ruling *r, const struct parts *p, const uint8_t *client, struct kst_flow *flow)
{
    struct kst_tuple tuple = {.family = r->v6 ? KST_IPV6 : KST_IPV4, .protocol = p->protocol};
    memcpy(tuple.src, client, p->bytes);
    memcpy(tuple.dst, r->server, p->bytes);
    if (p->ports[1] != NULL) {
        tuple.src_port = (uint16_t)get16(p->ports[1]);
        tuple.dst_port = (uint16_t)get16(p->ports[0]);
    } else if (p->ports[0] != NULL) {
        const uint32_t type = p->l4[0];
        const uint32_t asked = r->v6 ? 128 : type == 0 ? 8 : type == 14 ? 13 : type == 16 ? 15 : 17;
        tuple.src_port = (uint16_t)get16(p->ports[0]);
        tuple.dst_port = (uint16_t)(asked << 8 | p->l4[1]);
    }
    for (tuple.zone = 0; tuple.zone < 3; tuple.zone++) {
        uint8_t direction;
        if (kst_get(r->t, kst_find(r->t, &tuple, &direction), flow))
            return direction == KST_ORIGINAL;
    }
    return false;
}

/* Sends a packet to where one is expected. */
static void put_expected(const struct ruling *r, struct parts *p)
{
    struct kst_expectation expected;
    for (kst_id id = 0; (id = kst_expectation_next(r->t, id)) != 0;)
        if (kst_expectation_get(r->t, id, &expected) && expected.tuple.protocol == p->protocol) {
            put_address(p, 1, expected.tuple.dst);
            put_port(p, 1, expected.tuple.dst_port);
            return;
        }
}

void ruling_address(struct ruling *r, uint8_t *packet, size_t size, int from)
{
    const uint8_t *client = r->client[one_in(r->chance, 8)];
    struct parts p;
    struct kst_flow flow;
    if (!take_apart(packet, size, &p))
        return;
    const bool crc_right = crc_is_right(&p);
    if (p.error) { /* to who sent what it is about */
        const size_t inner = r->v6 ? 16 : 20;
        if (p.l4_bytes >= inner + p.bytes)
            put_address(&p, 1, p.l4 + inner);
    } else if (from == 0) {
        put_address(&p, 0, client);
        put_address(&p, 1, r->server);
    } else if (find_flow(r, &p, client, &flow) && memcmp(flow.tuple[KST_REPLY].src, r->own, p.bytes) != 0) {
        const struct kst_tuple *reply = &flow.tuple[KST_REPLY];
        put_address(&p, 0, reply->src);
        put_address(&p, 1, reply->dst);
        put_port(&p, 0, reply->src_port);
        put_port(&p, 1, reply->dst_port);
    } else if (one_in(r->chance, 2)) {
        put_expected(r, &p);
    }
    seal(packet, &p, crc_right);
}

void ruling_send(struct ruling *r, struct vec_packet *packet)
{
    struct path_end end;
    r->now_ms += packet->wait_ms;
    path_send(r->path, r->now_ms, packet->data, packet->size, 0, NULL, &end);
    if (!end.passed || end.way != PATH_FORWARDED)
        return;
    packet->out_size = end.size;
    packet->out = need(malloc(end.size + 1));
    memcpy(packet->out, end.bytes, end.size);
}
