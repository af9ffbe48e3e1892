/* SPDX-License-Identifier: MIT */
/* rules.c - properties: a ruleset is read, or refused with file and line; read, printed and read again it is the same
 * text; packets that go through it, whatever it makes of them, leave with right checksums, recomputed from scratch,
 * and leave a sound table.
 *
 * The head chooses the family and whether the rest is the text itself or records, of which each draws a rule out of
 * words that belong together, most of the time; a letter or two may then be spoilt. */
#define _GNU_SOURCE
#define RIG_SHARED
#include "rig.h"

#include "../rules/path.h"
#include "../rules/rules.h"
#include "packet.h"

#include <stdlib.h>

enum { STEPS_MAX = 48, HEAD = 6, RECORD = 12, TEXT_MAX = 16384, PACKETS = 24 };
enum { TRIES = 8 }; /* NAT, and rules that call chains, may take so many times the steps of a packet */

/* ---- a ruleset out of draws ---- */

static const char *const tables[4] = {"raw", "mangle", "nat", "filter"};
static const char *const hooks[4][5] = {{"PREROUTING", "OUTPUT", "PREROUTING", "OUTPUT", "own"},
                                        {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
                                        {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "own"},
                                        {"INPUT", "FORWARD", "OUTPUT", "own", "FORWARD"}};

/* %u becomes a number, %a an address of the family, %b one that a port may follow. What a word needs stands before it:
 * 4 or 6, the family; t, TCP; < or >, the chain PREROUTING or POSTROUTING. Now and then it does not get it. */
static const char *const clauses[] = {"", "-p tcp ", "-p udp ", "-p %u ", "! -p tcp ", "4-p icmp --icmp-type %u ",
                                        "6-p ipv6-icmp -m icmp6 --icmpv6-type 1%u "};
static const char *const matches[] = {
    "", "-s %a", "! -d %a", "<-i left", ">! -o right", "<-i le+", "t-m tcp --dport %u", "t-m tcp ! --sport %u:200", "t--syn",
    "t--tcp-flags SYN,RST SYN", "t-m multiport --dports %u,80:90,443", "-m state --state NEW,RELATED",
    "-m conntrack ! --ctstate ESTABLISHED", "-m conntrack --ctdir REPLY", "-m conntrack --ctstatus ASSURED,SEEN_REPLY --ctexpire 1:%u",
    "-m conntrack --ctorigsrc %a --ctproto 6", "-m mark --mark %u/0xff", "-m connmark ! --mark %u",
    "-m limit --limit %u/sec --limit-burst 3", "-m length --length %u:200", "4-m ttl --ttl-lt %u", "6-m hl --hl-gt %u",
    "-m dscp --dscp %u", "-m tos --tos 0x10", "-m comment --comment \"a \\\"b %u\"", "-m helper --helper ftp", "4-f", "-c 3 4"};

static const char *const targets[4][14] = {
    {"ACCEPT", "CT --notrack", "CT --zone %u", "tCT --helper ftp", "MARK --set-mark %u", "DROP", "RETURN", "own", "LOG",
     "CT --zone-orig %u", "NOTRACK", "CT --zone mark", "ACCEPT", "LOG"},
    {"ACCEPT", "MARK --set-xmark %u/0xf0", "MARK --or-mark %u", "CONNMARK --save-mark", "CONNMARK --restore-mark",
     "TOS --set-tos %u", "DSCP --set-dscp %u", "4TTL --ttl-set %u", "4TTL --ttl-dec 1", "6HL --hl-inc 1", "DROP", "own",
     "CONNMARK --set-mark %u", "6HL --hl-set %u"},
    {">SNAT --to-source %a", "<DNAT --to-destination %a", ">MASQUERADE", "t<REDIRECT --to-ports %u", "<NETMAP --to %a/29",
     "t>SNAT --to-source %b:%u-60000 --persistent", "t<DNAT --to-destination %b:%u", "t>MASQUERADE --to-ports 2%u-2900 --random",
     "ACCEPT", "own", "RETURN", ">SNAT --to-source %a --random-fully", ">NETMAP --to %a", "t<DNAT --to-destination %a"},
    {"ACCEPT", "DROP", "REJECT", "tREJECT --reject-with tcp-reset", "4REJECT --reject-with icmp-host-unreachable", "own",
     "RETURN", "LOG --log-prefix \"x %u \" --log-level 4", "6REJECT --reject-with icmp6-adm-prohibited", "ACCEPT", "ACCEPT",
     "DROP", "own", "REJECT"}};

struct text {
    char at[TEXT_MAX];
    size_t length;
};

static void put(struct text *t, const char *word, bool v6)
{
    for (; *word != '\0' && t->length + 64 < sizeof t->at; word++) {
        if (*word != '%') {
            t->at[t->length++] = *word;
            continue;
        }
        char *at = t->at + t->length;
        word++;
        const int bytes = *word == 'u' ? snprintf(at, 16, "%u", PICK(1, 6, 21, 32, 17, 8, 60, draw8()))
                          : v6         ? snprintf(at, 32, *word == 'b' ? "[fd00::%x]" : "fd00::%x", draw_below(12))
                                       : snprintf(at, 32, "10.0.0.%u", draw_below(12));
        t->length += (size_t)bytes;
    }
}

/* What a word needs is set down; returns what stands behind it, "" if it is not for this family. */
static const char *needs(const char *word, bool v6, bool *tcp, const char **hook)
{
    for (;; word++)
        switch (*word) {
        case '4':
        case '6':
            if ((*word == '6') != v6 && !draw_chance(4))
                return "";
            break;
        case 't': *tcp = true; break;
        case '<': *hook = "PREROUTING"; break;
        case '>': *hook = "POSTROUTING"; break;
        default: return word;
        }
}

static void draw_rule(struct text *t, uint32_t table, bool v6)
{
    const char *hook = hooks[table][draw_below(5)], *words[4];
    const uint32_t count = draw_below(3);
    bool tcp = false;
    words[0] = needs(targets[table][draw_below(14)], v6, &tcp, &hook);
    for (uint32_t i = 1; i <= count; i++)
        words[i] = needs(matches[draw8() % (sizeof matches / sizeof matches[0])], v6, &tcp, &hook);
    if (table == 3 && hook[0] == 'P') /* it has neither */
        hook = "FORWARD";
    if (table == 0 && hook[0] == 'P')
        hook = "PREROUTING";
    if (strcmp(hook, "own") == 0 && strcmp(words[0], "own") == 0)
        words[0] = "RETURN";
    put(t, "-A ", v6);
    put(t, hook, v6);
    put(t, " ", v6);
    put(t, tcp && !draw_chance(4) ? "-p tcp " : needs(clauses[draw_below(7)], v6, &tcp, &hook), v6);
    for (uint32_t i = 1; i <= count; i++) {
        put(t, words[i], v6);
        put(t, " ", v6);
    }
    if (words[0][0] != '\0') {
        put(t, draw_chance(8) ? "-g " : "-j ", v6);
        put(t, words[0], v6);
    }
    put(t, "\n", v6);
}

static void draw_rules(struct text *t, const uint8_t *data, size_t size, bool v6)
{
    uint32_t record = 0;
    bool more = draw_record(data, size, record);
    for (uint32_t table = 0; table < 4; table++) {
        const uint32_t chance = more ? draw8() : 0; /* how many rules it gets */
        put(t, "*", v6);
        put(t, tables[table], v6);
        put(t, "\n", v6);
        for (uint32_t i = 0; i < 5; i++) {
            put(t, ":", v6);
            put(t, hooks[table][i], v6);
            put(t, strcmp(hooks[table][i], "own") == 0 ? " - [0:0]\n" : " ACCEPT [0:0]\n", v6);
            if (table != 1 && i == (table == 3 ? 3 : table == 0 ? 1 : 4))
                break;
        }
        if (table == 0 || table == 1)
            put(t, ":own - [0:0]\n", v6);
        for (uint32_t i = 0; more && i < 1 + chance % 5; i++) {
            draw_rule(t, table, v6);
            more = draw_record(data, size, ++record);
        }
        put(t, "COMMIT\n", v6);
    }
}

/* ---- what must hold ---- */

/* As printed, in exactly its size. */
static uint8_t *print(const struct rules *rules, size_t *size)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    fuzz_must(out != NULL);
    rules_print(rules, out);
    fclose(out);
    uint8_t *copy = fuzz_exact(text, *size);
    free(text);
    return copy;
}

static uint32_t make_packet(uint8_t *data, uint64_t *chance, bool v6)
{
    static const uint8_t protocols[4] = {TCP, UDP, ICMP, TCP};
    const uint64_t z = fuzz_random(chance);
    const uint32_t protocol = protocols[z & 3] == ICMP && v6 ? ICMP6 : protocols[z & 3];
    const bool back = z >> 2 & 1;
    const uint32_t client = 1 + (z >> 3 & 1), server = 8 + (z >> 4 & 1), port = z >> 5 & 1 ? 21 : 80;
    if (protocol == TCP) {
        const struct tcp_say say = {.from = back ? server : client, .to = back ? client : server,
                                    .sport = back ? port : 4000, .dport = back ? 4000 : port, .seq = 100, .ack = 100,
                                    .flags = z >> 6 & 1 ? TCP_SYN : z >> 7 & 1 ? TCP_ACK : TCP_RST, .window = 5000, .v6 = v6};
        return packet_tcp(data, &say);
    }
    const uint32_t at = packet_begin(data, v6, back ? server : client, back ? client : server, protocol);
    memset(data + at, 0, 16);
    if (protocol == UDP) {
        put16(data + at, back ? port : 4000);
        put16(data + at + 2, back ? 4000 : port);
    } else {
        data[at] = v6 ? (back ? 129 : 128) : (back ? 0 : 8);
        data[at + 5] = 7;
    }
    packet_seal(data, at + 16, true);
    return at + 16;
}

/* Some packets, always the same ones for a text, on their way. */
static void walk(struct rules *rules, bool v6, uint64_t chance)
{
    struct kst_config config = {.max = 16, .features = KST_WITH_NAT, .expectations = 8, .seed = {5, 6}};
    rig_back_ends(&config, false);
    struct kst *t = rig_table(&config);
    struct path *path = path_new(t);
    uint8_t data[128], anew[2048];
    fuzz_must(path != NULL);
    fuzz_must(path_add_route(path, v6 ? "fd00::/125=left" : "10.0.0.0/29=left") && path_add_route(path, "default=right"));
    fuzz_must(path_add_address(path, v6 ? "right=fd00::a" : "right=10.0.0.10"));
    path_set_rules(path, rules);
    for (uint32_t i = 0; i < PACKETS; i++) {
        struct path_end end;
        const uint32_t size = make_packet(data, &chance, v6);
        const uint8_t *bytes = fuzz_exact(data, size);
        const uint64_t begin = rig_begin(i * 500, bytes, size);
        path_send(path, i * 500, bytes, size, 0, NULL, &end);
        rig_bounded(begin, size, TRIES);
        fuzz_note((uint64_t)end.passed << 8 | (uint64_t)end.way);
        rig_check(t);
        if (!end.passed)
            continue;
        fuzz_must(end.size <= sizeof anew);
        memcpy(anew, end.bytes, end.size);
        packet_seal(anew, end.size, true);
        if (memcmp(anew, end.bytes, end.size) != 0)
            fuzz_fail("packet %u: a checksum or a length is wrong", i);
    }
    path_free(path);
}

static void run(const uint8_t *data, size_t size)
{
    static struct text text;
    char why[512] = "";
    draw_head(data, size);
    const bool v6 = draw_chance(64), plain = draw_chance(64);
    const uint32_t spoilt = draw_chance(64) ? 1 + draw_below(2) : 0, at = draw16(), by = draw8();
    text.length = 0;
    if (plain && size > HEAD) {
        text.length = size - HEAD < sizeof text.at ? size - HEAD : sizeof text.at;
        memcpy(text.at, data + HEAD, text.length);
    } else {
        draw_rules(&text, data, size, v6);
        for (uint32_t i = 0; i < spoilt; i++)
            text.at[(at * (i + 1)) % text.length] = (char)(by != 0 ? by : '-');
    }
    const char *read = (const char *)fuzz_exact(text.at, text.length);
    struct rules *rules = rules_read(read, text.length, "fuzz", v6 ? KST_IPV6 : KST_IPV4, why, sizeof why);
    fuzz_tell("%.*s%s", (int)text.length, read, rules != NULL ? "taken" : why);
    fuzz_note(rules != NULL);
    if (rules == NULL) {
        fuzz_must(strncmp(why, "fuzz:", 5) == 0 && strlen(why) > 7);
        return;
    }
    size_t size_one, size_two;
    const uint8_t *one = print(rules, &size_one);
    struct rules *again = rules_read((const char *)one, size_one, "print", v6 ? KST_IPV6 : KST_IPV4, why, sizeof why);
    if (again == NULL)
        fuzz_fail("what was printed is not read: %s\n%.*s", why, (int)size_one, (const char *)one);
    const uint8_t *two = print(again, &size_two);
    if (size_one != size_two || memcmp(one, two, size_one) != 0)
        fuzz_fail("printed again it is another ruleset:\n%.*s\n%.*s", (int)size_one, (const char *)one, (int)size_two,
                  (const char *)two);
    rules_free(again);
    walk(rules, v6, size_one);
    rules_free(rules);
}

const struct fuzz_target fuzz_target = {"rules", FUZZ_RECORDS, HEAD, RECORD, STEPS_MAX, run, false};
