/* SPDX-License-Identifier: MIT */
/* matches.c - what rules can ask about a packet. A match sees its values in p's part by the slots
 * that its options name, and says whether all that were given hold. */
#include "values.h"

#include <string.h>

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

static bool in_range(const struct rules_value *value, uint32_t number)
{
    return number >= value->as.number[0] && number <= value->as.number[1];
}

/* A criterion that was not given holds. */
static bool holds(const struct rules_value *value, bool so)
{
    return !value->given || so != value->inverted;
}

/* `bytes` of the transport header; without them nothing can be said, and Linux drops the packet. */
static const uint8_t *header(struct rules_packet *p, uint32_t bytes)
{
    if (p->size - p->l4 >= bytes)
        return p->data + p->l4;
    p->hopeless = true;
    return NULL;
}

/* ---- ip ---- */

static const struct rules_option ip_options[] = {
    {"-s", RULES_V_NET, IP_SOURCE, false},
    {"-d", RULES_V_NET, IP_DESTINATION, false},
    {"-i", RULES_V_INTERFACE, IP_IN, false},
    {"-o", RULES_V_INTERFACE, IP_OUT, false},
    {"-p", RULES_V_PROTOCOL, IP_PROTOCOL, false},
    {"-f", RULES_V_FLAG, IP_FRAGMENT, false},
    {"--source", RULES_V_NET, IP_SOURCE, false},
    {"--src", RULES_V_NET, IP_SOURCE, false},
    {"--destination", RULES_V_NET, IP_DESTINATION, false},
    {"--dst", RULES_V_NET, IP_DESTINATION, false},
    {"--in-interface", RULES_V_INTERFACE, IP_IN, false},
    {"--out-interface", RULES_V_INTERFACE, IP_OUT, false},
    {"--protocol", RULES_V_PROTOCOL, IP_PROTOCOL, false},
    {"--proto", RULES_V_PROTOCOL, IP_PROTOCOL, false},
    {"--fragment", RULES_V_FLAG, IP_FRAGMENT, false},
    {NULL, 0, 0, false}};

static bool is_any(const struct rules_value *value)
{
    static const uint8_t zeros[16] = {0};
    return memcmp(value->as.net.mask, zeros, 16) == 0;
}

/* What matches all is not kept: iptables-save does not print it either. */
static const char *check_ip(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    struct rules_value *v = part->values;
    (void)protocol;
    if (v[IP_FRAGMENT].given && family == KST_IPV6)
        return "only IPv4 has -f";
    for (int slot = IP_SOURCE; slot <= IP_DESTINATION; slot++)
        v[slot].given = v[slot].given && (v[slot].inverted || !is_any(&v[slot]));
    for (int slot = IP_IN; slot <= IP_OUT; slot++)
        if (v[slot].given && !v[slot].inverted && strcmp(v[slot].as.text, "+") == 0)
            value_free(RULES_V_INTERFACE, &v[slot]);
    if (v[IP_PROTOCOL].given && v[IP_PROTOCOL].as.number[0] == 0) {
        if (v[IP_PROTOCOL].inverted)
            return "a rule that no protocol meets";
        v[IP_PROTOCOL].given = false;
    }
    return NULL;
}

static bool same_net(const struct rules_value *value, const uint8_t *address, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((address[i] ^ value->as.net.address[i]) & value->as.net.mask[i])
            return false;
    return true;
}

static bool same_interface(const struct rules_value *value, const char *name)
{
    const size_t length = strlen(value->as.text);
    return value->as.text[length - 1] == '+' ? strncmp(value->as.text, name, length - 1) == 0
                                             : strcmp(value->as.text, name) == 0;
}

static bool match_ip(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = part->values;
    const bool v6 = p->family == KST_IPV6;
    const size_t bytes = v6 ? 16 : 4;
    const uint8_t *source = p->data + (v6 ? 8 : 12);
    return (!v[IP_SOURCE].given || holds(&v[IP_SOURCE], same_net(&v[IP_SOURCE], source, bytes))) &&
           (!v[IP_DESTINATION].given ||
            holds(&v[IP_DESTINATION], same_net(&v[IP_DESTINATION], source + bytes, bytes))) &&
           (!v[IP_IN].given || holds(&v[IP_IN], same_interface(&v[IP_IN], p->in))) &&
           (!v[IP_OUT].given || holds(&v[IP_OUT], same_interface(&v[IP_OUT], p->out))) &&
           holds(&v[IP_PROTOCOL], p->protocol == v[IP_PROTOCOL].as.number[0]) &&
           holds(&v[IP_FRAGMENT], p->later_fragment);
}

const struct rules_type rules_ip = {
    .name = "ip", .options = ip_options, .check = check_ip, .match = match_ip, .slots = IP_SLOTS};

/* ---- ports: tcp, udp, sctp ---- */

enum { SOURCE_PORT, DESTINATION_PORT, TCP_FLAGS, TCP_OPTION, TCP_SLOTS };
enum { PORT_SLOTS = TCP_FLAGS };

#define PORT_OPTIONS                                                                               \
    {"--sport", RULES_V_RANGE16, SOURCE_PORT, false},                                              \
        {"--dport", RULES_V_RANGE16, DESTINATION_PORT, false},                                     \
        {"--source-port", RULES_V_RANGE16, SOURCE_PORT, false},                                    \
        {"--destination-port", RULES_V_RANGE16, DESTINATION_PORT, false}

static const struct rules_option port_options[] = {PORT_OPTIONS, {NULL, 0, 0, false}};
static const struct rules_option tcp_options[] = {PORT_OPTIONS,
                                                  {"--tcp-flags", RULES_V_TCP_FLAGS, TCP_FLAGS, false},
                                                  {"--syn", RULES_V_SYN, TCP_FLAGS, false},
                                                  {"--tcp-option", RULES_V_BYTE, TCP_OPTION, false},
                                                  {NULL, 0, 0, false}};

/* All ports are no criterion. */
static const char *check_ports(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    (void)family;
    (void)protocol;
    for (int slot = SOURCE_PORT; slot <= DESTINATION_PORT; slot++) {
        struct rules_value *v = &part->values[slot];
        v->given = v->given && (v->inverted || v->as.number[0] != 0 || v->as.number[1] != UINT16_MAX);
    }
    return NULL;
}

static bool ports_hold(const struct rules_value *v, const uint8_t *l4)
{
    return holds(&v[SOURCE_PORT], in_range(&v[SOURCE_PORT], get16(l4))) &&
           holds(&v[DESTINATION_PORT], in_range(&v[DESTINATION_PORT], get16(l4 + 2)));
}

static bool match_ports(struct rules_part *part, struct rules_packet *p, uint32_t bytes)
{
    const uint8_t *l4 = p->later_fragment ? NULL : header(p, bytes);
    return l4 != NULL && ports_hold(part->values, l4);
}

static bool match_udp(struct rules_part *part, struct rules_packet *p)
{
    return match_ports(part, p, 8);
}

static bool match_sctp(struct rules_part *part, struct rules_packet *p)
{
    return match_ports(part, p, 12);
}

/* Whether a TCP header of `bytes` has an option of this kind. */
static bool has_option(const uint8_t *l4, uint32_t bytes, uint32_t kind)
{
    for (uint32_t at = 20; at < bytes;) {
        if (l4[at] == kind)
            return true;
        at += l4[at] < 2 || at + 1 >= bytes || l4[at + 1] == 0 ? 1 : l4[at + 1];
    }
    return false;
}

static bool match_tcp(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = part->values;
    const uint8_t *l4 = p->later_fragment ? NULL : header(p, 20);
    if (l4 == NULL || !ports_hold(v, l4) ||
        !holds(&v[TCP_FLAGS], (l4[13] & v[TCP_FLAGS].as.number[0]) == v[TCP_FLAGS].as.number[1]))
        return false;
    if (!v[TCP_OPTION].given)
        return true;
    const uint32_t bytes = (uint32_t)(l4[12] >> 4) * 4;
    if (bytes < 20 || header(p, bytes) == NULL) {
        p->hopeless = true;
        return false;
    }
    return holds(&v[TCP_OPTION], has_option(l4, bytes, v[TCP_OPTION].as.number[0]));
}

enum { MULTI_SOURCE, MULTI_DESTINATION, MULTI_EITHER, MULTI_SLOTS };

static const struct rules_option multiport_options[] = {
    {"--sports", RULES_V_PORTS, MULTI_SOURCE, false},
    {"--dports", RULES_V_PORTS, MULTI_DESTINATION, false},
    {"--ports", RULES_V_PORTS, MULTI_EITHER, false},
    {"--source-ports", RULES_V_PORTS, MULTI_SOURCE, false},
    {"--destination-ports", RULES_V_PORTS, MULTI_DESTINATION, false},
    {"--port", RULES_V_PORTS, MULTI_EITHER, false},
    {NULL, 0, 0, false}};

static const char *check_multiport(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    const struct rules_value *v = part->values;
    (void)family;
    if (protocol != 6 && protocol != 17 && protocol != 33 && protocol != 132 && protocol != 136)
        return "needs -p tcp, udp, udplite, sctp or dccp";
    return v[0].given + v[1].given + v[2].given == 1 ? NULL : "needs one of --sports, --dports, --ports";
}

static bool among(const struct rules_value *value, uint32_t port)
{
    for (uint8_t i = 0; i < value->as.ports.count; i++)
        if (port >= value->as.ports.range[i][0] && port <= value->as.ports.range[i][1])
            return true;
    return false;
}

static bool match_multiport(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = part->values;
    const uint8_t *l4 = p->later_fragment ? NULL : header(p, 4);
    if (l4 == NULL)
        return false;
    const uint32_t source = get16(l4), destination = get16(l4 + 2);
    return (!v[MULTI_SOURCE].given || holds(&v[MULTI_SOURCE], among(&v[MULTI_SOURCE], source))) &&
           (!v[MULTI_DESTINATION].given ||
            holds(&v[MULTI_DESTINATION], among(&v[MULTI_DESTINATION], destination))) &&
           (!v[MULTI_EITHER].given ||
            holds(&v[MULTI_EITHER],
                  among(&v[MULTI_EITHER], source) || among(&v[MULTI_EITHER], destination)));
}

/* ---- icmp ---- */

static const struct rules_option icmp_options[] = {{"--icmp-type", RULES_V_ICMP, 0, false},
                                                   {NULL, 0, 0, false}};
static const struct rules_option icmp6_options[] = {{"--icmpv6-type", RULES_V_ICMP6, 0, false},
                                                    {NULL, 0, 0, false}};

static bool match_icmp(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = part->values;
    const uint8_t *l4 = p->later_fragment ? NULL : header(p, 8);
    return l4 != NULL && holds(&v[0], (v[0].as.number[0] > 255 || v[0].as.number[0] == l4[0]) &&
                                          (v[0].as.number[1] > 255 || v[0].as.number[1] == l4[1]));
}

/* ---- the IP header ---- */

static const struct rules_option length_options[] = {{"--length", RULES_V_RANGE16, 0, false},
                                                     {NULL, 0, 0, false}};

static bool match_length(struct rules_part *part, struct rules_packet *p)
{
    return holds(&part->values[0], in_range(&part->values[0], p->length));
}

enum { TTL_EQUAL, TTL_LESS, TTL_MORE, TTL_SLOTS };

static const struct rules_option ttl_options[] = {{"--ttl-eq", RULES_V_BYTE, TTL_EQUAL, false},
                                                  {"--ttl-lt", RULES_V_BYTE, TTL_LESS, true},
                                                  {"--ttl-gt", RULES_V_BYTE, TTL_MORE, true},
                                                  {"--ttl", RULES_V_BYTE, TTL_EQUAL, false},
                                                  {NULL, 0, 0, false}};
static const struct rules_option hl_options[] = {{"--hl-eq", RULES_V_BYTE, TTL_EQUAL, false},
                                                 {"--hl-lt", RULES_V_BYTE, TTL_LESS, true},
                                                 {"--hl-gt", RULES_V_BYTE, TTL_MORE, true},
                                                 {"--hl", RULES_V_BYTE, TTL_EQUAL, false},
                                                 {NULL, 0, 0, false}};

static const char *check_ttl(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    const struct rules_value *v = part->values;
    (void)family;
    (void)protocol;
    return v[0].given + v[1].given + v[2].given == 1 ? NULL : "needs one of -eq, -lt, -gt";
}

static bool match_ttl(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = part->values;
    const uint32_t ttl = p->data[p->family == KST_IPV6 ? 7 : 8];
    return holds(&v[TTL_EQUAL], ttl == v[TTL_EQUAL].as.number[0]) &&
           holds(&v[TTL_LESS], ttl < v[TTL_LESS].as.number[0]) &&
           holds(&v[TTL_MORE], ttl > v[TTL_MORE].as.number[0]);
}

static const struct rules_option tos_options[] = {{"--tos", RULES_V_TOS, 0, false},
                                                  {NULL, 0, 0, false}};
static const struct rules_option dscp_options[] = {{"--dscp", RULES_V_DSCP, 0, false},
                                                   {"--dscp-class", RULES_V_DSCP_CLASS, 0, false},
                                                   {NULL, 0, 0, false}};

static uint32_t tos_of(const struct rules_packet *p)
{
    return p->family == KST_IPV6 ? get16(p->data) >> 4 & 255 : p->data[1];
}

static bool match_tos(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = &part->values[0];
    return holds(v, (tos_of(p) & v->as.number[1]) == v->as.number[0]);
}

static bool match_dscp(struct rules_part *part, struct rules_packet *p)
{
    return holds(&part->values[0], tos_of(p) >> 2 == part->values[0].as.number[0]);
}

/* ---- marks ---- */

static const struct rules_option mark_options[] = {{"--mark", RULES_V_MARK, 0, false},
                                                   {NULL, 0, 0, false}};

static bool match_mark(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = &part->values[0];
    return holds(v, (p->mark & v->as.number[1]) == v->as.number[0]);
}

static bool match_connmark(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = &part->values[0];
    struct kst_flow flow;
    return rules_flow(p, &flow) && holds(v, (flow.mark & v->as.number[1]) == v->as.number[0]);
}

/* ---- state ---- */

enum { BIT_INVALID = 1, BIT_ESTABLISHED = 2, BIT_RELATED = 4, BIT_NEW = 8, BIT_SNAT = 64, BIT_DNAT = 128,
       BIT_UNTRACKED = 256 };

static uint32_t state_bit(const struct rules_packet *p)
{
    static const uint32_t bits[] = {[KST_INVALID] = BIT_INVALID,
                                    [KST_NEW] = BIT_NEW,
                                    [KST_ESTABLISHED] = BIT_ESTABLISHED,
                                    [KST_RELATED] = BIT_RELATED,
                                    [KST_UNTRACKED] = BIT_UNTRACKED};
    return p->result != NULL ? bits[p->result->state]
           : p->notrack      ? BIT_UNTRACKED
           : p->chosen       ? BIT_NEW
                             : BIT_INVALID;
}

static const struct rules_option state_options[] = {{"--state", RULES_V_STATES, 0, false},
                                                    {NULL, 0, 0, false}};

static bool match_state(struct rules_part *part, struct rules_packet *p)
{
    return holds(&part->values[0], (state_bit(p) & part->values[0].as.number[0]) != 0);
}

enum {
    CT_STATE,
    CT_PROTOCOL,
    CT_ORIGINAL_SOURCE,
    CT_ORIGINAL_DESTINATION,
    CT_REPLY_SOURCE,
    CT_REPLY_DESTINATION,
    CT_ORIGINAL_SOURCE_PORT,
    CT_ORIGINAL_DESTINATION_PORT,
    CT_REPLY_SOURCE_PORT,
    CT_REPLY_DESTINATION_PORT,
    CT_STATUS,
    CT_EXPIRE,
    CT_DIRECTION,
    CT_SLOTS
};

static const struct rules_option conntrack_options[] = {
    {"--ctstate", RULES_V_CTSTATES, CT_STATE, false},
    {"--ctproto", RULES_V_NUMBERED, CT_PROTOCOL, false},
    {"--ctorigsrc", RULES_V_HOSTS, CT_ORIGINAL_SOURCE, false},
    {"--ctorigdst", RULES_V_HOSTS, CT_ORIGINAL_DESTINATION, false},
    {"--ctreplsrc", RULES_V_HOSTS, CT_REPLY_SOURCE, false},
    {"--ctrepldst", RULES_V_HOSTS, CT_REPLY_DESTINATION, false},
    {"--ctorigsrcport", RULES_V_RANGE16, CT_ORIGINAL_SOURCE_PORT, false},
    {"--ctorigdstport", RULES_V_RANGE16, CT_ORIGINAL_DESTINATION_PORT, false},
    {"--ctreplsrcport", RULES_V_RANGE16, CT_REPLY_SOURCE_PORT, false},
    {"--ctrepldstport", RULES_V_RANGE16, CT_REPLY_DESTINATION_PORT, false},
    {"--ctstatus", RULES_V_STATUSES, CT_STATUS, false},
    {"--ctexpire", RULES_V_RANGE32, CT_EXPIRE, false},
    {"--ctdir", RULES_V_DIRECTION, CT_DIRECTION, true},
    {NULL, 0, 0, false}};

static const char *check_conntrack(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    (void)family;
    (void)protocol;
    for (int slot = 0; slot < CT_SLOTS; slot++)
        if (part->values[slot].given)
            return NULL;
    return "needs an option";
}

static bool tuples_hold(const struct rules_value *v, const struct kst_flow *flow)
{
    for (int direction = 0; direction < 2; direction++) {
        const struct kst_tuple *tuple = &flow->tuple[direction];
        const struct rules_value *net = &v[CT_ORIGINAL_SOURCE + 2 * direction];
        const struct rules_value *port = &v[CT_ORIGINAL_SOURCE_PORT + 2 * direction];
        if ((net[0].given && !holds(&net[0], same_net(&net[0], tuple->src, 16))) ||
            (net[1].given && !holds(&net[1], same_net(&net[1], tuple->dst, 16))) ||
            !holds(&port[0], in_range(&port[0], tuple->src_port)) ||
            !holds(&port[1], in_range(&port[1], tuple->dst_port)))
            return false;
    }
    return true;
}

/* Where there is no connection the state alone counts, and it must be asked for. */
static bool match_conntrack(struct rules_part *part, struct rules_packet *p)
{
    const struct rules_value *v = part->values;
    struct kst_flow flow;
    const bool has = rules_flow(p, &flow);
    uint32_t bits = state_bit(p);
    if (has)
        bits |= (flow.status & KST_SRC_NAT ? BIT_SNAT : 0u) | (flow.status & KST_DST_NAT ? BIT_DNAT : 0u);
    if (!holds(&v[CT_STATE], (bits & v[CT_STATE].as.number[0]) != 0))
        return false;
    if (!has)
        return v[CT_STATE].given;
    /* What is not in the table yet has no expiry: Linux reads it as over. */
    const uint64_t left_s = flow.status & KST_CONFIRMED ? flow.timeout_ms / 1000 : 0;
    return holds(&v[CT_PROTOCOL], flow.tuple[0].protocol == v[CT_PROTOCOL].as.number[0]) &&
           tuples_hold(v, &flow) &&
           holds(&v[CT_STATUS], (flow.status & v[CT_STATUS].as.number[0]) != 0) &&
           holds(&v[CT_EXPIRE], in_range(&v[CT_EXPIRE], left_s < UINT32_MAX ? (uint32_t)left_s : UINT32_MAX)) &&
           (!v[CT_DIRECTION].given ||
            (p->result == NULL || p->result->direction == KST_ORIGINAL) == (v[CT_DIRECTION].as.number[0] == 1));
}

static const struct rules_option helper_options[] = {{"--helper", RULES_V_TEXT, 0, false},
                                                     {NULL, 0, 0, false}};

/* Of the connection that expected this one. */
static bool match_helper(struct rules_part *part, struct rules_packet *p)
{
    struct kst_flow flow, master;
    const char *name = NULL;
    if (rules_flow(p, &flow) && (flow.status & KST_EXPECTED) && kst_get(p->t, flow.master, &master))
        name = kst_helper_name(master.helper);
    const char *wanted = part->values[0].as.text;
    return holds(&part->values[0], name != NULL && (wanted[0] == '\0' || strcmp(name, wanted) == 0));
}

/* ---- limit ---- */

enum { LIMIT_RATE, LIMIT_BURST, LIMIT_SLOTS };

static const struct rules_option limit_options[] = {{"--limit", RULES_V_RATE, LIMIT_RATE, true},
                                                    {"--limit-burst", RULES_V_NUMBER, LIMIT_BURST, true},
                                                    {NULL, 0, 0, false}};

enum { LIMIT_SCALE = 10000, BURST = 5, BURST_MAX = 10000 };

/* What a packet costs, in ten-thousandths of a second. */
static uint64_t cost(const struct rules_part *part)
{
    static const uint32_t seconds[] = {1, 60, 3600, 86400};
    const uint32_t *rate = part->values[LIMIT_RATE].as.number;
    return (uint64_t)LIMIT_SCALE * seconds[rate[1]] / rate[0];
}

static uint64_t burst(const struct rules_part *part)
{
    return part->values[LIMIT_BURST].given ? part->values[LIMIT_BURST].as.number[0] : BURST;
}

static const char *check_limit(struct rules_part *part, uint8_t family, uint8_t protocol)
{
    struct rules_value *rate = &part->values[LIMIT_RATE];
    (void)family;
    (void)protocol;
    if (!rate->given) {
        rate->given = true;
        rate->as.number[0] = 3;
        rate->as.number[1] = 2; /* an hour */
    }
    if (burst(part) < 1 || burst(part) > BURST_MAX)
        return "--limit-burst must lie in 1 to 10000";
    if (burst(part) == BURST)
        part->values[LIMIT_BURST].given = false;
    part->credit = cost(part) * burst(part);
    return NULL;
}

static bool match_limit(struct rules_part *part, struct rules_packet *p)
{
    const uint64_t full = cost(part) * burst(part);
    const uint64_t passed_ms = p->now_ms > part->since_ms ? p->now_ms - part->since_ms : 0;
    if (p->now_ms > part->since_ms)
        part->since_ms = p->now_ms;
    part->credit += passed_ms < full ? passed_ms * (LIMIT_SCALE / 1000) : full;
    if (part->credit > full)
        part->credit = full;
    if (part->credit < cost(part))
        return false;
    part->credit -= cost(part);
    return true;
}

/* ---- the rest ---- */

static const struct rules_option comment_options[] = {{"--comment", RULES_V_TEXT, 0, true},
                                                      {NULL, 0, 0, false}};

static bool match_all(struct rules_part *part, struct rules_packet *p)
{
    (void)part;
    (void)p;
    return true;
}

const struct rules_type rules_matches[] = {
    {.name = "tcp", .options = tcp_options, .check = check_ports, .match = match_tcp,
     .slots = TCP_SLOTS, .protocol = 6},
    {.name = "udp", .options = port_options, .check = check_ports, .match = match_udp,
     .slots = PORT_SLOTS, .protocol = 17},
    {.name = "sctp", .options = port_options, .check = check_ports, .match = match_sctp,
     .slots = PORT_SLOTS, .protocol = 132},
    {.name = "icmp", .options = icmp_options, .match = match_icmp, .slots = 1, .needs = 1,
     .protocol = 1, .family = KST_IPV4},
    {.name = "icmp6", .options = icmp6_options, .match = match_icmp, .slots = 1, .needs = 1,
     .protocol = 58, .family = KST_IPV6},
    {.name = "multiport", .options = multiport_options, .check = check_multiport,
     .match = match_multiport, .slots = MULTI_SLOTS},
    {.name = "state", .options = state_options, .match = match_state, .slots = 1, .needs = 1},
    {.name = "conntrack", .options = conntrack_options, .check = check_conntrack,
     .match = match_conntrack, .slots = CT_SLOTS},
    {.name = "helper", .options = helper_options, .match = match_helper, .slots = 1, .needs = 1},
    {.name = "mark", .options = mark_options, .match = match_mark, .slots = 1, .needs = 1},
    {.name = "connmark", .options = mark_options, .match = match_connmark, .slots = 1, .needs = 1},
    {.name = "limit", .options = limit_options, .check = check_limit, .match = match_limit,
     .slots = LIMIT_SLOTS},
    {.name = "length", .options = length_options, .match = match_length, .slots = 1, .needs = 1},
    {.name = "ttl", .options = ttl_options, .check = check_ttl, .match = match_ttl,
     .slots = TTL_SLOTS, .family = KST_IPV4},
    {.name = "hl", .options = hl_options, .check = check_ttl, .match = match_ttl,
     .slots = TTL_SLOTS, .family = KST_IPV6},
    {.name = "tos", .options = tos_options, .match = match_tos, .slots = 1, .needs = 1},
    {.name = "dscp", .options = dscp_options, .match = match_dscp, .slots = 1, .needs = 1},
    {.name = "comment", .options = comment_options, .match = match_all, .slots = 1, .needs = 1},
    {.name = NULL}};
