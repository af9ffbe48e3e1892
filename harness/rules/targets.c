/* SPDX-License-Identifier: MIT */
/* targets.c - what rules can do with a packet. Whatever is to be kept - marks, ranges, how it is to
 * be tracked - goes into struct rules_packet or to the connection; NAT itself, and dropping, is
 * done by path.c. */
#include "values.h"

#include <string.h>

#define HOOK(name) (1 << RULES_##name)
#define TABLE(name) (1 << RULES_##name)

static const struct rules_option no_options[] = {{NULL, 0, 0, false}};

static enum rules_verdict act_accept(struct rules_part *part, struct rules_packet *p)
{
    (void)part;
    (void)p;
    return RULES_ACCEPT;
}

static enum rules_verdict act_drop(struct rules_part *part, struct rules_packet *p)
{
    (void)part;
    (void)p;
    return RULES_DROP;
}

static enum rules_verdict act_return(struct rules_part *part, struct rules_packet *p)
{
    (void)part;
    (void)p;
    return RULES_RETURN;
}

static enum rules_verdict act_nothing(struct rules_part *part, struct rules_packet *p)
{
    (void)part;
    (void)p;
    return RULES_NEXT;
}

/* ---- REJECT, LOG ---- */

static const struct rules_option reject_options[] = {{"--reject-with", RULES_V_REJECT, 0, true},
                                                     {NULL, 0, 0, false}};

static const char *check_reject(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    struct rules_value *v = &part->values[0];
    char *usual = (char[]){"port-unreach"};
    if (!v->given) {
        value_read(RULES_V_REJECT, &usual, family, v);
        v->given = true;
    }
    return protocol != 6 && strcmp(reject_word(v->as.number[0]), "tcp-reset") == 0
               ? "tcp-reset needs -p tcp"
               : NULL;
}

static enum rules_verdict act_reject(struct rules_part *part, struct rules_packet *p)
{
    p->reject = reject_word(part->values[0].as.number[0]);
    return RULES_REJECT;
}

enum { LOG_PREFIX, LOG_LEVEL, LOG_SEQUENCE, LOG_TCP, LOG_IP, LOG_UID, LOG_MAC, LOG_SLOTS };

static const struct rules_option log_options[] = {
    {"--log-prefix", RULES_V_TEXT, LOG_PREFIX, true},
    {"--log-level", RULES_V_LEVEL, LOG_LEVEL, true},
    {"--log-tcp-sequence", RULES_V_FLAG, LOG_SEQUENCE, true},
    {"--log-tcp-options", RULES_V_FLAG, LOG_TCP, true},
    {"--log-ip-options", RULES_V_FLAG, LOG_IP, true},
    {"--log-uid", RULES_V_FLAG, LOG_UID, true},
    {"--log-macdecode", RULES_V_FLAG, LOG_MAC, true},
    {NULL, 0, 0, false}};

static const char *check_log(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    struct rules_value *v = part->values;
    (void)family;
    (void)protocol;
    if (v[LOG_PREFIX].given && strlen(v[LOG_PREFIX].as.text) > 29)
        return "--log-prefix is longer than 29 bytes";
    v[LOG_LEVEL].given = v[LOG_LEVEL].given && v[LOG_LEVEL].as.number[0] != 4; /* the usual one */
    return NULL;
}

/* ---- marks ---- */

static const struct rules_option mark_options[] = {
    {"--set-xmark", RULES_V_XMARK, 0, true},  {"--set-mark", RULES_V_SET_MARK, 0, true},
    {"--and-mark", RULES_V_AND_MARK, 0, true}, {"--or-mark", RULES_V_OR_MARK, 0, true},
    {"--xor-mark", RULES_V_XOR_MARK, 0, true}, {NULL, 0, 0, false}};

static uint32_t with_bits(uint32_t old, const struct rules_value *v)
{
    return (old & ~v->as.number[1]) ^ v->as.number[0];
}

static enum rules_verdict act_mark(struct rules_part *part, struct rules_packet *p)
{
    p->mark = with_bits(p->mark, &part->values[0]);
    return RULES_NEXT;
}

enum { CONNMARK_SET, CONNMARK_SAVE, CONNMARK_RESTORE, CONNMARK_NF, CONNMARK_CT, CONNMARK_BOTH, CONNMARK_SLOTS };

static const struct rules_option connmark_options[] = {
    {"--set-xmark", RULES_V_XMARK, CONNMARK_SET, true},
    {"--set-mark", RULES_V_SET_MARK, CONNMARK_SET, true},
    {"--and-mark", RULES_V_AND_MARK, CONNMARK_SET, true},
    {"--or-mark", RULES_V_OR_MARK, CONNMARK_SET, true},
    {"--xor-mark", RULES_V_XOR_MARK, CONNMARK_SET, true},
    {"--save-mark", RULES_V_FLAG, CONNMARK_SAVE, true},
    {"--restore-mark", RULES_V_FLAG, CONNMARK_RESTORE, true},
    {"--nfmask", RULES_V_HEX, CONNMARK_NF, true},
    {"--ctmask", RULES_V_HEX, CONNMARK_CT, true},
    {"--mask", RULES_V_HEX, CONNMARK_BOTH, true},
    {NULL, 0, 0, false}};

static const char *check_connmark(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    struct rules_value *v = part->values;
    (void)family;
    (void)protocol;
    if (v[CONNMARK_SET].given + v[CONNMARK_SAVE].given + v[CONNMARK_RESTORE].given != 1)
        return "needs one of --set-mark and its like, --save-mark, --restore-mark";
    for (int slot = CONNMARK_NF; slot <= CONNMARK_CT; slot++) {
        if (v[CONNMARK_SET].given && (v[slot].given || v[CONNMARK_BOTH].given))
            return "masks go with --save-mark and --restore-mark";
        if (v[slot].given && v[CONNMARK_BOTH].given)
            return "--mask stands for both masks";
        if (!v[slot].given)
            v[slot].as.number[0] = v[CONNMARK_BOTH].given ? v[CONNMARK_BOTH].as.number[0] : UINT32_MAX;
        v[slot].given = !v[CONNMARK_SET].given;
    }
    v[CONNMARK_BOTH].given = false;
    return NULL;
}

static enum rules_verdict act_connmark(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = part->values;
    const uint32_t nf = v[CONNMARK_NF].as.number[0], ct = v[CONNMARK_CT].as.number[0];
    struct kst_flow flow;
    if (!rules_flow(p, &flow))
        return RULES_NEXT;
    if (v[CONNMARK_SET].given)
        kst_set_mark(p->t, flow.id, with_bits(flow.mark, &v[CONNMARK_SET]));
    else if (v[CONNMARK_SAVE].given)
        kst_set_mark(p->t, flow.id, (flow.mark & ~ct) ^ (p->mark & nf));
    else
        p->mark = (p->mark & ~nf) ^ (flow.mark & ct);
    return RULES_NEXT;
}

/* ---- the IP header ---- */

/* Changes one 16-bit word of it, and an IPv4 header's checksum so that it is as right as it was. */
static void change_word(struct rules_packet *p, uint32_t at, uint32_t value)
{
    uint8_t *word = p->data + at, *field = p->data + 10;
    const uint32_t old = (uint32_t)word[0] << 8 | word[1];
    word[0] = (uint8_t)(value >> 8);
    word[1] = (uint8_t)value;
    if (p->family == KST_IPV6)
        return;
    uint32_t sum = (~((uint32_t)field[0] << 8 | field[1]) & 0xffff) + (~old & 0xffff) + value;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16)) & 0xffff;
    field[0] = (uint8_t)(sum >> 8);
    field[1] = (uint8_t)sum;
}

void rules_set_ttl(struct rules_packet *p, uint32_t ttl)
{
    if (p->family == KST_IPV6)
        change_word(p, 6, (uint32_t)p->data[6] << 8 | ttl);
    else
        change_word(p, 8, ttl << 8 | p->data[9]);
}

static void set_tos(struct rules_packet *p, uint32_t keep, uint32_t flip)
{
    const uint32_t word = (uint32_t)p->data[0] << 8 | p->data[1];
    if (p->family == KST_IPV6)
        change_word(p, 0, (word & 0xf00f) | (((word >> 4 & 255 & keep) ^ flip) << 4));
    else
        change_word(p, 0, (word & 0xff00) | ((word & 255 & keep) ^ flip));
}

static const struct rules_option tos_options[] = {
    {"--set-tos", RULES_V_TOS, 0, true},     {"--and-tos", RULES_V_AND_TOS, 0, true},
    {"--or-tos", RULES_V_OR_TOS, 0, true},   {"--xor-tos", RULES_V_XOR_TOS, 0, true},
    {NULL, 0, 0, false}};

static enum rules_verdict act_tos(struct rules_part *part, struct rules_packet *p)
{
    set_tos(p, ~part->values[0].as.number[1], part->values[0].as.number[0]);
    return RULES_NEXT;
}

static const struct rules_option dscp_options[] = {
    {"--set-dscp", RULES_V_DSCP, 0, true},
    {"--set-dscp-class", RULES_V_DSCP_CLASS, 0, true},
    {NULL, 0, 0, false}};

static enum rules_verdict act_dscp(struct rules_part *part, struct rules_packet *p)
{
    set_tos(p, 3, part->values[0].as.number[0] << 2);
    return RULES_NEXT;
}

enum { TTL_SET, TTL_INC, TTL_DEC, TTL_SLOTS };

static const struct rules_option ttl_options[] = {{"--ttl-set", RULES_V_BYTE, TTL_SET, true},
                                                  {"--ttl-inc", RULES_V_BYTE, TTL_INC, true},
                                                  {"--ttl-dec", RULES_V_BYTE, TTL_DEC, true},
                                                  {NULL, 0, 0, false}};
static const struct rules_option hl_options[] = {{"--hl-set", RULES_V_BYTE, TTL_SET, true},
                                                 {"--hl-inc", RULES_V_BYTE, TTL_INC, true},
                                                 {"--hl-dec", RULES_V_BYTE, TTL_DEC, true},
                                                 {NULL, 0, 0, false}};

static const char *check_ttl(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    const struct rules_value *v = part->values;
    (void)family;
    (void)protocol;
    if (v[0].given + v[1].given + v[2].given != 1)
        return "needs one of -set, -inc, -dec";
    return (v[TTL_INC].given && v[TTL_INC].as.number[0] == 0) ||
                   (v[TTL_DEC].given && v[TTL_DEC].as.number[0] == 0)
               ? "0 would change nothing"
               : NULL;
}

static enum rules_verdict act_ttl(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = part->values;
    const uint32_t old = p->data[p->family == KST_IPV6 ? 7 : 8];
    uint32_t ttl = v[TTL_SET].as.number[0];
    if (v[TTL_INC].given)
        ttl = old + v[TTL_INC].as.number[0] > 255 ? 255 : old + v[TTL_INC].as.number[0];
    if (v[TTL_DEC].given)
        ttl = old < v[TTL_DEC].as.number[0] ? 0 : old - v[TTL_DEC].as.number[0];
    rules_set_ttl(p, ttl);
    p->ttl_ruled = true;
    return RULES_NEXT;
}

/* ---- CT ---- */

enum { CT_NOTRACK, CT_HELPER, CT_ZONE, CT_ZONE_ORIGINAL, CT_ZONE_REPLY, CT_SLOTS };

static const struct rules_option ct_options[] = {{"--notrack", RULES_V_FLAG, CT_NOTRACK, true},
                                                 {"--helper", RULES_V_TEXT, CT_HELPER, true},
                                                 {"--zone", RULES_V_ZONE, CT_ZONE, true},
                                                 {"--zone-orig", RULES_V_ZONE, CT_ZONE_ORIGINAL, true},
                                                 {"--zone-reply", RULES_V_ZONE, CT_ZONE_REPLY, true},
                                                 {NULL, 0, 0, false}};

static const char *check_ct(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    const struct rules_value *v = part->values;
    (void)family;
    if (v[CT_ZONE].given + v[CT_ZONE_ORIGINAL].given + v[CT_ZONE_REPLY].given > 1)
        return "one zone at a time";
    if (!v[CT_HELPER].given)
        return NULL;
    if (protocol == 0)
        return "--helper needs -p";
    return kst_helper_number(v[CT_HELPER].as.text) != 0 ? NULL : "there is no such helper";
}

static enum rules_verdict act_ct(struct rules_part *part, struct rules_packet *p)
{
    static const uint8_t flags[] = {0, KST_PACKET_ZONE_ORIGINAL, KST_PACKET_ZONE_REPLY};
    const struct rules_value *v = part->values;
    if (p->chosen) /* the first rule of this kind decides */
        return RULES_NEXT;
    p->chosen = true;
    p->notrack = v[CT_NOTRACK].given;
    if (v[CT_HELPER].given)
        p->helper = kst_helper_number(v[CT_HELPER].as.text);
    for (int i = 0; i < 3; i++)
        if (v[CT_ZONE + i].given) {
            const uint32_t zone = v[CT_ZONE + i].as.number[0];
            p->zone = (uint16_t)(zone > UINT16_MAX ? p->mark : zone);
            p->zone_flags = flags[i];
        }
    return RULES_NEXT;
}

static enum rules_verdict act_notrack(struct rules_part *part, struct rules_packet *p)
{
    (void)part;
    p->notrack = p->notrack || !p->chosen;
    p->chosen = true;
    return RULES_NEXT;
}

/* ---- NAT ---- */

enum { NAT_TO, NAT_RANDOM, NAT_RANDOM_FULLY, NAT_PERSISTENT, NAT_SLOTS };

static const struct rules_option snat_options[] = {
    {"--to-source", RULES_V_NAT, NAT_TO, true},
    {"--random", RULES_V_FLAG, NAT_RANDOM, true},
    {"--random-fully", RULES_V_FLAG, NAT_RANDOM_FULLY, true},
    {"--persistent", RULES_V_FLAG, NAT_PERSISTENT, true},
    {"--to", RULES_V_NAT, NAT_TO, true},
    {NULL, 0, 0, false}};
static const struct rules_option dnat_options[] = {
    {"--to-destination", RULES_V_NAT, NAT_TO, true},
    {"--random", RULES_V_FLAG, NAT_RANDOM, true},
    {"--persistent", RULES_V_FLAG, NAT_PERSISTENT, true},
    {"--to", RULES_V_NAT, NAT_TO, true},
    {NULL, 0, 0, false}};
static const struct rules_option masquerade_options[] = {
    {"--to-ports", RULES_V_NAT_PORTS, NAT_TO, true},
    {"--random", RULES_V_FLAG, NAT_RANDOM, true},
    {"--random-fully", RULES_V_FLAG, NAT_RANDOM_FULLY, true},
    {"--to-port", RULES_V_NAT_PORTS, NAT_TO, true},
    {NULL, 0, 0, false}};
static const struct rules_option redirect_options[] = {
    {"--to-ports", RULES_V_NAT_PORTS, NAT_TO, true},
    {"--random", RULES_V_FLAG, NAT_RANDOM, true},
    {"--to-port", RULES_V_NAT_PORTS, NAT_TO, true},
    {NULL, 0, 0, false}};
static const struct rules_option netmap_options[] = {{"--to", RULES_V_NET, 0, true},
                                                     {NULL, 0, 0, false}};

static const char *check_nat_ports(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    const struct rules_value *to = &part->values[NAT_TO];
    (void)family;
    if (to->given && to->as.nat.has_port && protocol != 6 && protocol != 17 && protocol != 33 &&
        protocol != 132 && protocol != 1 && protocol != 58)
        return "ports need -p tcp, udp, sctp, dccp or icmp";
    return NULL;
}

static const char *check_netmap(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    const uint8_t *mask = part->values[0].as.net.mask;
    bool ended = false;
    (void)protocol;
    for (int bit = 0; bit < (family == KST_IPV6 ? 128 : 32); bit++) {
        const bool set = (mask[bit / 8] & 0x80 >> bit % 8) != 0;
        if (set && ended)
            return "the mask must be a prefix";
        ended |= !set;
    }
    return NULL;
}

/* Takes what the options say over into the packet's range. */
static void take_range(const struct rules_value *v, const struct rules_type *type, struct rules_packet *p)
{
    static const uint8_t flags[NAT_SLOTS] = {0, KST_NAT_RANDOM, KST_NAT_RANDOM_FULLY, KST_NAT_PERSISTENT};
    const struct rules_nat *nat = &v[NAT_TO].as.nat;
    struct kst_nat_range *range = &p->range;
    p->translates = true;
    memset(range, 0, sizeof *range);
    for (int slot = NAT_RANDOM; slot < type->slots; slot++)
        range->flags |= v[slot].given ? flags[slot] : 0;
    if (!v[NAT_TO].given)
        return;
    range->flags |= (uint8_t)((nat->has_address ? KST_NAT_ADDRESS : 0) | (nat->has_port ? KST_NAT_PORT : 0) |
                              (nat->has_base ? KST_NAT_OFFSET : 0));
    memcpy(range->port, nat->port, sizeof range->port);
    range->base = nat->base;
    memcpy(range->address, nat->address, sizeof range->address);
}

static enum rules_verdict act_nat(struct rules_part *part, struct rules_packet *p)
{
    take_range(part->values, part->type, p);
    return RULES_ACCEPT;
}

/* To the address of an interface: without one there is no going on. */
static enum rules_verdict to_address_of(struct rules_part *part, struct rules_packet *p, const char *interface,
                                        bool else_any)
{
    take_range(part->values, part->type, p);
    p->range.flags |= KST_NAT_ADDRESS;
    p->no_address = !p->address_of(p->context, interface, else_any, p->family, p->range.address[0]);
    if (p->no_address)
        return RULES_DROP;
    memcpy(p->range.address[1], p->range.address[0], 16);
    return RULES_ACCEPT;
}

static enum rules_verdict act_masquerade(struct rules_part *part, struct rules_packet *p)
{
    return to_address_of(part, p, p->out, true);
}

static enum rules_verdict act_redirect(struct rules_part *part, struct rules_packet *p)
{
    return to_address_of(part, p, p->in[0] != '\0' ? p->in : "lo", false);
}

static enum rules_verdict act_netmap(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *to = &part->values[0];
    p->translates = true;
    memset(&p->range, 0, sizeof p->range);
    p->range.flags = KST_NAT_ADDRESS | KST_NAT_NETMAP;
    while (p->range.prefix < 128 && (to->as.net.mask[p->range.prefix / 8] & 0x80 >> p->range.prefix % 8))
        p->range.prefix++;
    memcpy(p->range.address[0], to->as.net.address, 16);
    memcpy(p->range.address[1], to->as.net.address, 16);
    return RULES_ACCEPT;
}

const struct rules_type rules_targets[] = {
    {.name = "ACCEPT", .options = no_options, .act = act_accept},
    {.name = "DROP", .options = no_options, .act = act_drop,
     .tables = TABLE(RAW) | TABLE(MANGLE) | TABLE(FILTER)},
    {.name = "RETURN", .options = no_options, .act = act_return},
    {.name = "REJECT", .options = reject_options, .check = check_reject, .act = act_reject, .slots = 1,
     .tables = TABLE(FILTER), .hooks = HOOK(INPUT) | HOOK(FORWARD) | HOOK(OUTPUT)},
    {.name = "LOG", .options = log_options, .check = check_log, .act = act_nothing, .slots = LOG_SLOTS},
    {.name = "MARK", .options = mark_options, .act = act_mark, .slots = 1, .needs = 1},
    {.name = "CONNMARK", .options = connmark_options, .check = check_connmark, .act = act_connmark,
     .slots = CONNMARK_SLOTS},
    {.name = "CT", .options = ct_options, .check = check_ct, .act = act_ct, .slots = CT_SLOTS,
     .tables = TABLE(RAW)},
    {.name = "NOTRACK", .options = no_options, .act = act_notrack, .tables = TABLE(RAW)},
    {.name = "TOS", .options = tos_options, .act = act_tos, .slots = 1, .needs = 1,
     .tables = TABLE(MANGLE)},
    {.name = "DSCP", .options = dscp_options, .act = act_dscp, .slots = 1, .needs = 1,
     .tables = TABLE(MANGLE)},
    {.name = "TTL", .options = ttl_options, .check = check_ttl, .act = act_ttl, .slots = TTL_SLOTS,
     .family = KST_IPV4, .tables = TABLE(MANGLE)},
    {.name = "HL", .options = hl_options, .check = check_ttl, .act = act_ttl, .slots = TTL_SLOTS,
     .family = KST_IPV6, .tables = TABLE(MANGLE)},
    {.name = "SNAT", .options = snat_options, .check = check_nat_ports, .act = act_nat,
     .slots = NAT_SLOTS, .needs = NAT_TO + 1, .tables = TABLE(NAT),
     .hooks = HOOK(INPUT) | HOOK(POSTROUTING)},
    {.name = "DNAT", .options = dnat_options, .check = check_nat_ports, .act = act_nat,
     .slots = NAT_SLOTS, .needs = NAT_TO + 1, .tables = TABLE(NAT),
     .hooks = HOOK(PREROUTING) | HOOK(OUTPUT)},
    {.name = "MASQUERADE", .options = masquerade_options, .check = check_nat_ports,
     .act = act_masquerade, .slots = NAT_SLOTS, .tables = TABLE(NAT), .hooks = HOOK(POSTROUTING)},
    {.name = "REDIRECT", .options = redirect_options, .check = check_nat_ports, .act = act_redirect,
     .slots = NAT_SLOTS, .tables = TABLE(NAT), .hooks = HOOK(PREROUTING) | HOOK(OUTPUT)},
    {.name = "NETMAP", .options = netmap_options, .check = check_netmap, .act = act_netmap, .slots = 1,
     .needs = 1, .tables = TABLE(NAT)},
    {.name = NULL}};
