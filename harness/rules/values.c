/* SPDX-License-Identifier: MIT */
/* values.c - the kinds of values: a reader and a printer each, in a table at the end. Readers take
 * the words behind an option and say NULL, or what is wrong with them. */
#define _GNU_SOURCE
#include "values.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- words and numbers ---- */

bool number_read(const char *word, uint32_t highest, uint32_t *number)
{
    char *end;
    if (!isdigit((unsigned char)*word))
        return false;
    const unsigned long long value = strtoull(word, &end, 0);
    if (*end != '\0' || value > highest)
        return false;
    *number = (uint32_t)value;
    return true;
}

/* Cuts the text at the first `mark`; what is behind it, or NULL if there is none. */
static char *cut(char *text, char mark)
{
    char *at = strchr(text, mark);
    if (at != NULL)
        *at++ = '\0';
    return at;
}

/* A copy to cut up; false if the word is too long for anything that is cut up. */
static bool copied(char copy[128], const char *word)
{
    return snprintf(copy, 128, "%s", word) < 128;
}

struct word {
    const char *name;
    uint32_t number;
};

static const struct word *named(const struct word *words, const char *name)
{
    while (words->name != NULL && strcasecmp(words->name, name) != 0)
        words++;
    return words->name != NULL ? words : NULL;
}

/* Words parted by commas, their numbers or'ed. */
static bool listed(const struct word *words, const char *text, uint32_t *bits)
{
    char copy[128];
    if (!copied(copy, text))
        return false;
    *bits = 0;
    for (char *word = copy, *next; word != NULL; word = next) {
        next = cut(word, ',');
        const struct word *found = named(words, word);
        if (found == NULL)
            return false;
        *bits |= found->number;
    }
    return true;
}

/* The names of single bits in the order of the list; `none` for 0. */
static void print_list(const struct word *words, uint32_t bits, const char *none, FILE *out)
{
    const char *comma = " ";
    if (bits == 0)
        fprintf(out, " %s", none);
    for (; words->name != NULL; words++)
        if (words->number != 0 && (words->number & (words->number - 1)) == 0 && (bits & words->number)) {
            fprintf(out, "%s%s", comma, words->name);
            comma = ",";
        }
}

/* ---- addresses ---- */

static int family_of(uint8_t family)
{
    return family == KST_IPV6 ? AF_INET6 : AF_INET;
}

static uint32_t address_bits(uint8_t family)
{
    return family == KST_IPV6 ? 128 : 32;
}

static bool address_read(const char *text, uint8_t family, uint8_t address[16])
{
    memset(address, 0, 16);
    return inet_pton(family_of(family), text, address) == 1;
}

static const char *address_text(const uint8_t address[16], uint8_t family)
{
    static char text[2][INET6_ADDRSTRLEN]; /* two in one line */
    static int which;
    which = 1 - which;
    return inet_ntop(family_of(family), address, text[which], sizeof text[which]);
}

static const char *read_net(char *const *words, uint8_t family, struct rules_value *value)
{
    char copy[128];
    uint32_t bits = address_bits(family);
    if (!copied(copy, words[0]))
        return "this is no address";
    const char *mask = cut(copy, '/');
    if (!address_read(copy, family, value->as.net.address))
        return family == KST_IPV6 ? "this is no IPv6 address" : "this is no IPv4 address";
    if (mask != NULL && (strpbrk(mask, ".:") != NULL))
        return address_read(mask, family, value->as.net.mask) ? NULL : "this is no mask";
    if (mask != NULL && !number_read(mask, bits, &bits))
        return "the prefix has no such length";
    memset(value->as.net.mask, 0, 16);
    for (uint32_t i = 0; i < bits; i++)
        value->as.net.mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
    return NULL;
}

/* The length of a mask that is a prefix, -1 if it is none. */
static int prefix_of(const uint8_t mask[16], uint8_t family)
{
    const uint32_t all = address_bits(family);
    uint32_t bits = 0;
    while (bits < all && (mask[bits / 8] & 0x80 >> bits % 8))
        bits++;
    for (uint32_t i = bits; i < all; i++)
        if (mask[i / 8] & 0x80 >> i % 8)
            return -1;
    return (int)bits;
}

static const char *read_masked(char *const *words, uint8_t family, struct rules_value *value)
{
    const char *wrong = read_net(words, family, value);
    for (int i = 0; i < 16; i++)
        value->as.net.address[i] &= value->as.net.mask[i];
    return wrong;
}

static void print_net(const struct rules_value *value, uint8_t family, FILE *out)
{
    const int prefix = prefix_of(value->as.net.mask, family);
    if (prefix >= 0)
        fprintf(out, " %s/%d", address_text(value->as.net.address, family), prefix);
    else
        fprintf(out, " %s/%s", address_text(value->as.net.address, family),
                address_text(value->as.net.mask, family));
}

static void print_hosts(const struct rules_value *value, uint8_t family, FILE *out)
{
    if (prefix_of(value->as.net.mask, family) == (int)address_bits(family))
        fprintf(out, " %s", address_text(value->as.net.address, family));
    else
        print_net(value, family, out);
}

/* ---- text ---- */

static const char *read_text(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    if (strlen(words[0]) > 255)
        return "the text is longer than 255 bytes";
    value->as.text = strdup(words[0]);
    return value->as.text != NULL ? NULL : "no memory is left";
}

static const char *read_interface(char *const *words, uint8_t family, struct rules_value *value)
{
    if (words[0][0] == '\0' || strlen(words[0]) > 15 || strpbrk(words[0], "/ \t\"") != NULL)
        return "this is no interface: 1 to 15 bytes, neither / nor blanks";
    return read_text(words, family, value);
}

/* In quotes wherever iptables-save has them. */
static void print_text(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    bool quoted = value->as.text[0] == '\0';
    for (const char *at = value->as.text; *at != '\0'; at++)
        quoted |= !isalnum((unsigned char)*at) && *at != '-' && *at != '_';
    fputs(quoted ? " \"" : " ", out);
    for (const char *at = value->as.text; *at != '\0'; at++)
        fprintf(out, strchr("\"\\'", *at) != NULL ? "\\%c" : "%c", *at);
    fputs(quoted ? "\"" : "", out);
}

static void print_interface(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    fprintf(out, " %s", value->as.text);
}

/* ---- protocols ---- */

/* As the protocols file of Debian has them, IANA's; the first name of a number prints it. */
static const struct word protocols[] = {
    {"icmp", 1},          {"igmp", 2},         {"ggp", 3},         {"ipencap", 4},
    {"st", 5},            {"tcp", 6},          {"egp", 8},         {"igp", 9},
    {"pup", 12},          {"udp", 17},         {"hmp", 20},        {"xns-idp", 22},
    {"rdp", 27},          {"iso-tp4", 29},     {"dccp", 33},       {"xtp", 36},
    {"ddp", 37},          {"idpr-cmtp", 38},   {"ipv6", 41},       {"ipv6-route", 43},
    {"ipv6-frag", 44},    {"idrp", 45},        {"rsvp", 46},       {"gre", 47},
    {"esp", 50},          {"ah", 51},          {"skip", 57},       {"ipv6-icmp", 58},
    {"icmpv6", 58},       {"icmp6", 58},       {"ipv6-nonxt", 59}, {"ipv6-opts", 60},
    {"rspf", 73},         {"vmtp", 81},        {"eigrp", 88},      {"ospf", 89},
    {"ax.25", 93},        {"ipip", 94},        {"etherip", 97},    {"encap", 98},
    {"pim", 103},         {"ipcomp", 108},     {"vrrp", 112},      {"l2tp", 115},
    {"isis", 124},        {"sctp", 132},       {"fc", 133},        {"mobility-header", 135},
    {"ipv6-mh", 135},     {"mh", 135},         {"udplite", 136},   {"mpls-in-ip", 137},
    {"manet", 138},       {"hip", 139},        {"shim6", 140},     {"wesp", 141},
    {"rohc", 142},        {"ethernet", 143},   {"all", 0},         {"ip", 0},
    {NULL, 0}};

int protocol_number(const char *word)
{
    uint32_t number;
    const struct word *found = named(protocols, word);
    return found != NULL ? (int)found->number : number_read(word, 255, &number) ? (int)number : -1;
}

const char *protocol_name(uint8_t number)
{
    for (const struct word *word = protocols; word->name != NULL && number != 0; word++)
        if (word->number == number)
            return word->name;
    return NULL;
}

static const char *read_protocol(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    const int number = protocol_number(words[0]);
    value->as.number[0] = (uint32_t)number;
    return number >= 0 ? NULL : "no protocol has this name or number";
}

static void print_protocol(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    const char *name = protocol_name((uint8_t)value->as.number[0]);
    if (name != NULL)
        fprintf(out, " %s", name);
    else
        fprintf(out, " %u", value->as.number[0]);
}

static void print_number(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    fprintf(out, " %u", value->as.number[0]);
}

/* ---- numbers and ranges ---- */

static const char *read_range(const char *word, uint32_t highest, uint32_t range[2])
{
    static const char wrong[] = "a number or LOWEST:HIGHEST is needed";
    char copy[128];
    if (!copied(copy, word))
        return wrong;
    const char *to = cut(copy, ':');
    range[0] = 0;
    range[1] = highest;
    if (!(to != NULL && copy[0] == '\0') && !number_read(copy, highest, &range[0]))
        return wrong;
    if (to == NULL)
        range[1] = range[0];
    else if (*to != '\0' && !number_read(to, highest, &range[1]))
        return wrong;
    return range[0] <= range[1] ? NULL : "the range is reversed";
}

static const char *read_range16(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return read_range(words[0], UINT16_MAX, value->as.number);
}

static const char *read_range32(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return read_range(words[0], UINT32_MAX, value->as.number);
}

static void print_range(const struct rules_value *value, uint8_t family, FILE *out)
{
    print_number(value, family, out);
    if (value->as.number[1] != value->as.number[0])
        fprintf(out, ":%u", value->as.number[1]);
}

static const char *read_ports(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    char copy[RULES_PORTS_MAX * 12 + 1];
    uint32_t range[2], taken = 0;
    if (snprintf(copy, sizeof copy, "%s", words[0]) >= (int)sizeof copy)
        return "too many ports: 15 at most, a range counts twice";
    value->as.ports.count = 0;
    for (char *word = copy, *next; word != NULL; word = next) {
        next = cut(word, ',');
        const char *wrong = word[0] == '\0' || word[0] == ':' || word[strlen(word) - 1] == ':'
                                ? "ports are needed, such as 22,80:90"
                                : read_range(word, UINT16_MAX, range);
        if (wrong != NULL)
            return wrong;
        taken += strchr(word, ':') != NULL ? 2 : 1;
        if (taken > RULES_PORTS_MAX)
            return "too many ports: 15 at most, a range counts twice";
        value->as.ports.range[value->as.ports.count][0] = (uint16_t)range[0];
        value->as.ports.range[value->as.ports.count++][1] = (uint16_t)range[1];
    }
    return NULL;
}

static void print_ports(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    for (uint8_t i = 0; i < value->as.ports.count; i++) {
        const uint16_t *range = value->as.ports.range[i];
        fprintf(out, "%c%u", i == 0 ? ' ' : ',', range[0]);
        if (range[1] != range[0])
            fprintf(out, ":%u", range[1]);
    }
}

static const char *read_byte(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return number_read(words[0], 255, value->as.number) ? NULL : "a number of 0 to 255 is needed";
}

static const char *read_number(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return number_read(words[0], UINT32_MAX, value->as.number) ? NULL : "a number below 2^32 is needed";
}

/* ---- TCP, ICMP ---- */

static const struct word tcp_flags[] = {{"FIN", 1},  {"SYN", 2},  {"RST", 4},  {"PSH", 8},
                                        {"ACK", 16}, {"URG", 32}, {"ALL", 63}, {"NONE", 0},
                                        {NULL, 0}};

static const char *read_tcp_flags(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return listed(tcp_flags, words[0], &value->as.number[0]) &&
                   listed(tcp_flags, words[1], &value->as.number[1])
               ? NULL
               : "flags are needed: of FIN,SYN,RST,PSH,ACK,URG, ALL, NONE";
}

static const char *read_syn(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)words;
    (void)family;
    value->as.number[0] = 1 | 2 | 4 | 16;
    value->as.number[1] = 2;
    return NULL;
}

static void print_tcp_flags(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    print_list(tcp_flags, value->as.number[0], "NONE", out);
    print_list(tcp_flags, value->as.number[1], "NONE", out);
}

enum { ICMP_ANY = 0x100 }; /* type or code */
#define CODE(type, code) ((type) << 16 | (code))
#define TYPE(type) CODE(type, ICMP_ANY)

static const struct word icmp_types[] = {
    {"any", TYPE(ICMP_ANY)},
    {"echo-reply", TYPE(0)},
    {"pong", TYPE(0)},
    {"destination-unreachable", TYPE(3)},
    {"network-unreachable", CODE(3, 0)},
    {"host-unreachable", CODE(3, 1)},
    {"protocol-unreachable", CODE(3, 2)},
    {"port-unreachable", CODE(3, 3)},
    {"fragmentation-needed", CODE(3, 4)},
    {"source-route-failed", CODE(3, 5)},
    {"source-quench", TYPE(4)},
    {"redirect", TYPE(5)},
    {"echo-request", TYPE(8)},
    {"ping", TYPE(8)},
    {"router-advertisement", TYPE(9)},
    {"router-solicitation", TYPE(10)},
    {"time-exceeded", TYPE(11)},
    {"ttl-exceeded", TYPE(11)},
    {"parameter-problem", TYPE(12)},
    {"timestamp-request", TYPE(13)},
    {"timestamp-reply", TYPE(14)},
    {"address-mask-request", TYPE(17)},
    {"address-mask-reply", TYPE(18)},
    {NULL, 0}};

static const struct word icmp6_types[] = {
    {"destination-unreachable", TYPE(1)},
    {"no-route", CODE(1, 0)},
    {"communication-prohibited", CODE(1, 1)},
    {"address-unreachable", CODE(1, 3)},
    {"port-unreachable", CODE(1, 4)},
    {"packet-too-big", TYPE(2)},
    {"time-exceeded", TYPE(3)},
    {"ttl-exceeded", TYPE(3)},
    {"parameter-problem", TYPE(4)},
    {"echo-request", TYPE(128)},
    {"ping", TYPE(128)},
    {"echo-reply", TYPE(129)},
    {"pong", TYPE(129)},
    {"router-solicitation", TYPE(133)},
    {"router-advertisement", TYPE(134)},
    {"neighbour-solicitation", TYPE(135)},
    {"neighbor-solicitation", TYPE(135)},
    {"neighbour-advertisement", TYPE(136)},
    {"neighbor-advertisement", TYPE(136)},
    {"redirect", TYPE(137)},
    {NULL, 0}};

static const char *read_types(const struct word *types, const char *word, struct rules_value *value)
{
    char copy[128];
    const struct word *found = named(types, word);
    uint32_t *number = value->as.number;
    if (found != NULL) {
        number[0] = found->number >> 16;
        number[1] = found->number & 0xffff;
        return NULL;
    }
    if (!copied(copy, word))
        return "no ICMP type has this name";
    const char *code = cut(copy, '/');
    number[1] = ICMP_ANY;
    if (!number_read(copy, 255, &number[0]) || (code != NULL && !number_read(code, 255, &number[1])))
        return "no ICMP type has this name or number";
    return NULL;
}

static const char *read_icmp(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    const char *wrong = read_types(icmp_types, words[0], value);
    if (wrong == NULL && value->as.number[0] == 255 && value->as.number[1] == ICMP_ANY)
        value->as.number[0] = ICMP_ANY; /* so it is in Linux */
    return wrong;
}

static const char *read_icmp6(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return read_types(icmp6_types, words[0], value);
}

static void print_icmp(const struct rules_value *value, uint8_t family, FILE *out)
{
    if (value->as.number[0] == ICMP_ANY)
        fputs(" any", out);
    else
        print_number(value, family, out);
    if (value->as.number[1] != ICMP_ANY)
        fprintf(out, "/%u", value->as.number[1]);
}

/* ---- limit ---- */

/* Each as long as so many of the one before. */
static const struct {
    const char *name, *whole; /* as many letters as one likes */
    uint32_t parts;
} units[] = {{"sec", "second", 1}, {"min", "minute", 60}, {"hour", "hour", 60}, {"day", "day", 24}};

/* Number and unit, the finest that has a whole number. */
static const char *read_rate(char *const *words, uint8_t family, struct rules_value *value)
{
    static const char wrong[] = "a rate is needed, such as 10/min, of at most 10000/sec";
    char copy[128];
    uint32_t *number = value->as.number;
    (void)family;
    if (!copied(copy, words[0]))
        return wrong;
    const char *unit = cut(copy, '/');
    if (!number_read(copy, UINT32_MAX, &number[0]) || number[0] == 0)
        return wrong;
    number[1] = 0;
    if (unit != NULL) {
        const size_t length = strlen(unit);
        while (number[1] < 4 &&
               (length == 0 || strncasecmp(units[number[1]].whole, unit, length) != 0))
            number[1]++;
        if (number[1] == 4)
            return wrong;
    }
    while (number[1] > 0 && number[0] % units[number[1]].parts == 0)
        number[0] /= units[number[1]--].parts;
    uint64_t lowest = 10000;
    for (uint32_t i = 1; i <= number[1]; i++)
        lowest *= units[i].parts;
    return number[0] <= lowest ? NULL : wrong;
}

static void print_rate(const struct rules_value *value, uint8_t family, FILE *out)
{
    print_number(value, family, out);
    fprintf(out, "/%s", units[value->as.number[1]].name);
}

/* ---- connections ---- */

static const struct word states[] = {{"INVALID", 1},     {"NEW", 8},       {"RELATED", 4},
                                     {"ESTABLISHED", 2}, {"UNTRACKED", 256}, {NULL, 0}};
static const struct word ct_states[] = {{"INVALID", 1},     {"NEW", 8},       {"RELATED", 4},
                                        {"ESTABLISHED", 2}, {"UNTRACKED", 256}, {"SNAT", 64},
                                        {"DNAT", 128},      {NULL, 0}};
static const struct word statuses[] = {{"EXPECTED", KST_EXPECTED}, {"SEEN_REPLY", KST_SEEN_REPLY},
                                       {"ASSURED", KST_ASSURED},   {"CONFIRMED", KST_CONFIRMED},
                                       {"NONE", 0},                {NULL, 0}};
static const struct word directions[] = {{"ORIGINAL", 1}, {"REPLY", 2}, {NULL, 0}};

static const char *read_states(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return listed(states, words[0], value->as.number) ? NULL : "states are needed, such as NEW,RELATED";
}

static const char *read_ct_states(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return listed(ct_states, words[0], value->as.number) ? NULL : "states are needed, such as NEW,DNAT";
}

static const char *read_statuses(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return listed(statuses, words[0], value->as.number)
               ? NULL
               : "of EXPECTED,SEEN_REPLY,ASSURED,CONFIRMED, or NONE, is needed";
}

static const char *read_direction(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return listed(directions, words[0], value->as.number) && value->as.number[0] < 3
               ? NULL
               : "ORIGINAL or REPLY is needed";
}

static void print_states(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    print_list(ct_states, value->as.number[0], "", out);
}

static void print_statuses(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    print_list(statuses, value->as.number[0], "NONE", out);
}

static void print_direction(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    print_list(directions, value->as.number[0], "", out);
}

/* ---- marks, TOS: a value and a mask ---- */

static const char *read_pair(const char *word, uint32_t highest, uint32_t pair[2])
{
    char copy[128];
    if (!copied(copy, word))
        return "VALUE or VALUE/MASK is needed";
    const char *mask = cut(copy, '/');
    pair[1] = highest;
    return number_read(copy, highest, &pair[0]) && (mask == NULL || number_read(mask, highest, &pair[1]))
               ? NULL
               : "VALUE or VALUE/MASK is needed";
}

/* How an option says what is to be done with the bits: all come to (old & ~mask) ^ value. */
enum { AS_IT_IS, SET, AND, OR, XOR };

static const char *read_bits(const char *word, int how, uint32_t highest, uint32_t pair[2])
{
    uint32_t one;
    if (how <= SET) {
        const char *wrong = read_pair(word, highest, pair);
        if (how == SET)
            pair[1] |= pair[0];
        return wrong;
    }
    if (!number_read(word, highest, &one))
        return "a number is needed, or it is too large";
    pair[0] = how == AND ? 0 : one;
    pair[1] = how == AND ? highest ^ one : how == OR ? one : 0;
    return NULL;
}

#define BITS(name, how, highest)                                                                   \
    static const char *read_##name(char *const *words, uint8_t family, struct rules_value *value)  \
    {                                                                                              \
        (void)family;                                                                              \
        return read_bits(words[0], how, highest, value->as.number);                                \
    }
BITS(mark, AS_IT_IS, UINT32_MAX)
BITS(set_mark, SET, UINT32_MAX)
BITS(and_mark, AND, UINT32_MAX)
BITS(or_mark, OR, UINT32_MAX)
BITS(xor_mark, XOR, UINT32_MAX)
BITS(and_tos, AND, 255)
BITS(or_tos, OR, 255)
BITS(xor_tos, XOR, 255)

static const char *read_tos(char *const *words, uint8_t family, struct rules_value *value)
{
    static const struct word names[] = {{"Minimize-Delay", 16},   {"Maximize-Throughput", 8},
                                        {"Maximize-Reliability", 4}, {"Minimize-Cost", 2},
                                        {"Normal-Service", 0},    {NULL, 0}};
    const struct word *found = named(names, words[0]);
    (void)family;
    if (found == NULL)
        return read_bits(words[0], AS_IT_IS, 255, value->as.number);
    value->as.number[0] = found->number;
    value->as.number[1] = 0x3f;
    return NULL;
}

static void print_hex(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    fprintf(out, " 0x%x", value->as.number[0]);
}

static void print_xmark(const struct rules_value *value, uint8_t family, FILE *out)
{
    print_hex(value, family, out);
    fprintf(out, "/0x%x", value->as.number[1]);
}

static void print_mark(const struct rules_value *value, uint8_t family, FILE *out)
{
    if (value->as.number[1] == UINT32_MAX)
        print_hex(value, family, out);
    else
        print_xmark(value, family, out);
}

static void print_tos(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    fprintf(out, " 0x%02x/0x%02x", value->as.number[0], value->as.number[1]);
}

static const char *read_dscp(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    return number_read(words[0], 63, value->as.number) ? NULL : "a number of 0 to 63 is needed";
}

static const char *read_dscp_class(char *const *words, uint8_t family, struct rules_value *value)
{
    const char *w = words[0];
    uint32_t *number = value->as.number;
    (void)family;
    if (strcasecmp(w, "EF") == 0)
        number[0] = 46;
    else if (strcasecmp(w, "BE") == 0)
        number[0] = 0;
    else if (strncasecmp(w, "CS", 2) == 0 && w[2] >= '0' && w[2] <= '7' && w[3] == '\0')
        number[0] = (uint32_t)(w[2] - '0') * 8;
    else if (strncasecmp(w, "AF", 2) == 0 && w[2] >= '1' && w[2] <= '4' && w[3] >= '1' && w[3] <= '3' &&
             w[4] == '\0')
        number[0] = (uint32_t)(w[2] - '0') * 8 + (uint32_t)(w[3] - '0') * 2;
    else
        return "a class is needed: BE, EF, CS0 to CS7, AF11 to AF43";
    return NULL;
}

static void print_dscp(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    fprintf(out, " 0x%02x", value->as.number[0]);
}

/* ---- targets ---- */

static const char *read_level(char *const *words, uint8_t family, struct rules_value *value)
{
    static const struct word levels[] = {{"emerg", 0}, {"panic", 0},   {"alert", 1}, {"crit", 2},
                                         {"err", 3},   {"error", 3},   {"warn", 4},  {"warning", 4},
                                         {"notice", 5}, {"info", 6},   {"debug", 7}, {NULL, 0}};
    const struct word *found = named(levels, words[0]);
    (void)family;
    if (found != NULL)
        value->as.number[0] = found->number;
    return found != NULL || number_read(words[0], 7, value->as.number)
               ? NULL
               : "a level is needed: 0 to 7, or its name";
}

static const struct {
    const char *name, *also;
    uint8_t family; /* 0: both */
} rejections[] = {{"icmp-port-unreachable", "port-unreach", KST_IPV4},
                  {"icmp-net-unreachable", "net-unreach", KST_IPV4},
                  {"icmp-host-unreachable", "host-unreach", KST_IPV4},
                  {"icmp-proto-unreachable", "proto-unreach", KST_IPV4},
                  {"icmp-net-prohibited", "net-prohib", KST_IPV4},
                  {"icmp-host-prohibited", "host-prohib", KST_IPV4},
                  {"icmp-admin-prohibited", "admin-prohib", KST_IPV4},
                  {"icmp6-port-unreachable", "port-unreach", KST_IPV6},
                  {"icmp6-no-route", "no-route", KST_IPV6},
                  {"icmp6-adm-prohibited", "adm-prohibited", KST_IPV6},
                  {"icmp6-addr-unreachable", "addr-unreach", KST_IPV6},
                  {"icmp6-policy-fail", "policy-fail", KST_IPV6},
                  {"icmp6-reject-route", "reject-route", KST_IPV6},
                  {"tcp-reset", "tcp-rst", 0}};
enum { REJECTIONS = sizeof rejections / sizeof *rejections };

const char *reject_word(uint32_t number)
{
    return number < REJECTIONS ? rejections[number].name : NULL;
}

static const char *read_reject(char *const *words, uint8_t family, struct rules_value *value)
{
    for (uint32_t i = 0; i < REJECTIONS; i++)
        if ((rejections[i].family == 0 || rejections[i].family == family) &&
            (strcasecmp(rejections[i].name, words[0]) == 0 ||
             strcasecmp(rejections[i].also, words[0]) == 0)) {
            value->as.number[0] = i;
            return NULL;
        }
    return "there is no such way to reject";
}

static void print_reject(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    fprintf(out, " %s", reject_word(value->as.number[0]));
}

/* PORT[-PORT][/BASE] */
static bool read_nat_ports(char *text, struct rules_nat *nat)
{
    char *base = cut(text, '/');
    const char *to = cut(text, '-');
    uint32_t port[3] = {0, 0, 0};
    if (!number_read(text, UINT16_MAX, &port[0]) ||
        !number_read(to != NULL ? to : text, UINT16_MAX, &port[1]) || port[0] > port[1] ||
        (base != NULL && (!number_read(base, UINT16_MAX, &port[2]) || to == NULL)))
        return false;
    nat->port[0] = (uint16_t)port[0];
    nat->port[1] = (uint16_t)port[1];
    nat->base = (uint16_t)port[2];
    nat->has_port = true;
    nat->has_base = base != NULL;
    return true;
}

static const char *read_to_ports(char *const *words, uint8_t family, struct rules_value *value)
{
    char copy[128];
    (void)family;
    memset(&value->as.nat, 0, sizeof value->as.nat);
    return copied(copy, words[0]) && strchr(copy, '/') == NULL && read_nat_ports(copy, &value->as.nat)
               ? NULL
               : "a port or LOWEST-HIGHEST is needed";
}

/* [ADDRESS[-ADDRESS]][:PORTS], with IPv6 addresses in brackets if there are ports. */
static const char *read_nat(char *const *words, uint8_t family, struct rules_value *value)
{
    static const char wrong[] = "ADDRESS, ADDRESS-ADDRESS or either with :PORT or :PORT-PORT is needed";
    char copy[128], *addresses = copy, *ports;
    struct rules_nat *nat = &value->as.nat;
    memset(nat, 0, sizeof *nat);
    if (!copied(copy, words[0]))
        return wrong;
    if (copy[0] == '[') {
        addresses = copy + 1;
        char *behind = cut(addresses, ']');
        if (family != KST_IPV6 || behind == NULL || (*behind != '\0' && *behind != ':'))
            return wrong;
        ports = *behind == ':' ? behind + 1 : NULL;
    } else {
        ports = family == KST_IPV6 && copy[0] == ':' && copy[1] == ':' ? NULL
                : family == KST_IPV6 && copy[0] != ':'                 ? NULL
                                                                       : cut(copy, ':');
    }
    if (ports != NULL && !read_nat_ports(ports, nat))
        return "the ports are no PORT, PORT-PORT or PORT-PORT/BASE";
    if (addresses[0] == '\0')
        return ports != NULL ? NULL : wrong;
    const char *to = cut(addresses, '-');
    nat->has_address = true;
    return address_read(addresses, family, nat->address[0]) &&
                   address_read(to != NULL ? to : addresses, family, nat->address[1])
               ? NULL
               : wrong;
}

static void print_nat(const struct rules_value *value, uint8_t family, FILE *out)
{
    const struct rules_nat *nat = &value->as.nat;
    const bool brackets = family == KST_IPV6 && nat->has_address && nat->has_port;
    fputs(brackets ? " [" : " ", out);
    if (nat->has_address)
        fputs(address_text(nat->address[0], family), out);
    if (nat->has_address && memcmp(nat->address[0], nat->address[1], 16) != 0)
        fprintf(out, "-%s", address_text(nat->address[1], family));
    fputs(brackets ? "]" : "", out);
    if (nat->has_port)
        fprintf(out, ":%u", nat->port[0]);
    if (nat->has_port && nat->port[0] != nat->port[1])
        fprintf(out, "-%u", nat->port[1]);
    if (nat->has_base)
        fprintf(out, "/%u", nat->base);
}

static void print_to_ports(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)family;
    fprintf(out, " %u", value->as.nat.port[0]);
    if (value->as.nat.port[0] != value->as.nat.port[1])
        fprintf(out, "-%u", value->as.nat.port[1]);
}

enum { ZONE_OF_MARK = 0x10000 };

static const char *read_zone(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)family;
    value->as.number[0] = ZONE_OF_MARK;
    return strcmp(words[0], "mark") == 0 || number_read(words[0], UINT16_MAX, value->as.number)
               ? NULL
               : "a zone is needed: 0 to 65535, or mark";
}

static void print_zone(const struct rules_value *value, uint8_t family, FILE *out)
{
    if (value->as.number[0] == ZONE_OF_MARK)
        fputs(" mark", out);
    else
        print_number(value, family, out);
}

/* ---- the table ---- */

static const char *read_nothing(char *const *words, uint8_t family, struct rules_value *value)
{
    (void)words;
    (void)family;
    (void)value;
    return NULL;
}

static void print_nothing(const struct rules_value *value, uint8_t family, FILE *out)
{
    (void)value;
    (void)family;
    (void)out;
}

static const struct {
    const char *(*read)(char *const *words, uint8_t family, struct rules_value *value);
    void (*print)(const struct rules_value *value, uint8_t family, FILE *out);
    bool allocates;
} kinds[RULES_V_KINDS] = {
    [RULES_V_FLAG] = {read_nothing, print_nothing, false},
    [RULES_V_NET] = {read_masked, print_net, false},
    [RULES_V_HOSTS] = {read_net, print_hosts, false},
    [RULES_V_INTERFACE] = {read_interface, print_interface, true},
    [RULES_V_PROTOCOL] = {read_protocol, print_protocol, false},
    [RULES_V_NUMBERED] = {read_protocol, print_number, false},
    [RULES_V_RANGE16] = {read_range16, print_range, false},
    [RULES_V_RANGE32] = {read_range32, print_range, false},
    [RULES_V_PORTS] = {read_ports, print_ports, false},
    [RULES_V_TCP_FLAGS] = {read_tcp_flags, print_tcp_flags, false},
    [RULES_V_SYN] = {read_syn, print_tcp_flags, false},
    [RULES_V_BYTE] = {read_byte, print_number, false},
    [RULES_V_NUMBER] = {read_number, print_number, false},
    [RULES_V_ICMP] = {read_icmp, print_icmp, false},
    [RULES_V_ICMP6] = {read_icmp6, print_icmp, false},
    [RULES_V_RATE] = {read_rate, print_rate, false},
    [RULES_V_STATES] = {read_states, print_states, false},
    [RULES_V_CTSTATES] = {read_ct_states, print_states, false},
    [RULES_V_STATUSES] = {read_statuses, print_statuses, false},
    [RULES_V_DIRECTION] = {read_direction, print_direction, false},
    [RULES_V_MARK] = {read_mark, print_mark, false},
    [RULES_V_XMARK] = {read_mark, print_xmark, false},
    [RULES_V_SET_MARK] = {read_set_mark, print_xmark, false},
    [RULES_V_AND_MARK] = {read_and_mark, print_xmark, false},
    [RULES_V_OR_MARK] = {read_or_mark, print_xmark, false},
    [RULES_V_XOR_MARK] = {read_xor_mark, print_xmark, false},
    [RULES_V_HEX] = {read_number, print_hex, false},
    [RULES_V_TOS] = {read_tos, print_tos, false},
    [RULES_V_AND_TOS] = {read_and_tos, print_tos, false},
    [RULES_V_OR_TOS] = {read_or_tos, print_tos, false},
    [RULES_V_XOR_TOS] = {read_xor_tos, print_tos, false},
    [RULES_V_DSCP] = {read_dscp, print_dscp, false},
    [RULES_V_DSCP_CLASS] = {read_dscp_class, print_dscp, false},
    [RULES_V_TEXT] = {read_text, print_text, true},
    [RULES_V_LEVEL] = {read_level, print_number, false},
    [RULES_V_REJECT] = {read_reject, print_reject, false},
    [RULES_V_NAT] = {read_nat, print_nat, false},
    [RULES_V_NAT_PORTS] = {read_to_ports, print_to_ports, false},
    [RULES_V_ZONE] = {read_zone, print_zone, false},
};

int value_words(enum rules_kind kind)
{
    static const uint8_t words[RULES_V_KINDS] = {
#define RULES_X(name, count) count,
        RULES_KINDS_LIST(RULES_X)
#undef RULES_X
    };
    return words[kind];
}

const char *value_read(enum rules_kind kind, char *const *words, uint8_t family,
                       struct rules_value *value)
{
    return kinds[kind].read(words, family, value);
}

void value_free(enum rules_kind kind, struct rules_value *value)
{
    if (kinds[kind].allocates && value->given)
        free(value->as.text);
    value->given = false;
}

void value_print(enum rules_kind kind, const struct rules_value *value, uint8_t family, FILE *out)
{
    kinds[kind].print(value, family, out);
}
