/* SPDX-License-Identifier: MIT */
/* test_rules.c - rulesets: rules/ipv4.lines and ipv6.lines say what iptables-save makes of single
 * rules, and what is refused; so must the reader and the printer here. What is printed, read again,
 * prints the same. Bad files are refused by file, line and word. */
#include "support.h"

#include "../harness/rules/rules.h"

static char why[512];

static struct rules *read_text(const char *text, uint8_t family)
{
    why[0] = '\0';
    return rules_read(text, strlen(text), "rules", family, why, sizeof why);
}

/* To be freed. */
static char *printed(const struct rules *rules)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    rules_print(rules, out);
    fclose(out);
    return text;
}

/* ---- one rule, as iptables has it ---- */

/* The rules among the lines that a ruleset prints, less their counters. */
static void rules_of(char *text, char *rules, size_t size)
{
    rules[0] = '\0';
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
        if (line[0] == '[' && strlen(rules) + strlen(line) < size)
            strcat(strcat(rules, strchr(line, ' ') + 1), "\n");
}

static unsigned try_line(const char *line, const char *expected, uint8_t family)
{
    char text[1024], got[1024];
    const char *rule = strchr(line, ' ') + 1;
    snprintf(text, sizeof text, "*%.*s\n:web - [0:0]\n%s\nCOMMIT\n", (int)(rule - line - 1), line, rule);
    struct rules *rules = read_text(text, family);
    about("%s", line);
    if (rules == NULL) {
        if (expected[0] != '\0')
            ck_abort_msg("%s: is refused: %s", line, why);
        must(strncmp(why, "rules:", 6) == 0 && strchr("0123456789", why[6]) != NULL);
        return 1;
    }
    char *first = printed(rules);
    struct rules *again = read_text(first, family);
    must(again != NULL);
    char *second = printed(again);
    must_read(first, second);
    rules_of(first, got, sizeof got);
    must_read(got, expected);
    free(first);
    free(second);
    rules_free(rules);
    rules_free(again);
    return 1;
}

/* A line that begins with a table is a rule; those behind `= ` what becomes of it, `!`: nothing. */
static unsigned try_lines(const char *path, uint8_t family)
{
    char line[1024], rule[1024] = "", expected[1024] = "";
    unsigned count = 0;
    FILE *file = fopen(path, "r");
    if (file == NULL)
        ck_abort_msg("%s: cannot be read; the tests run in the repository's root", path);
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '=') {
            strcat(strcat(expected, line + 2), "\n");
        } else if (line[0] != '!' && line[0] != '#') {
            if (rule[0] != '\0')
                count += try_line(rule, expected, family);
            strcpy(rule, line);
            expected[0] = '\0';
        }
    }
    fclose(file);
    return count + try_line(rule, expected, family);
}

START_TEST(reads_and_prints_as_iptables_does)
{
    must(try_lines("tests/rules/ipv4.lines", KST_IPV4) > 200);
    must(try_lines("tests/rules/ipv6.lines", KST_IPV6) > 40);
}
END_TEST

/* ---- files that are refused ---- */

START_TEST(bad_files_are_named)
{
    static const struct {
        const char *text, *why;
    } bad[] = {
        {"-A FORWARD -j DROP\n", "rules:1: '-A': expected *TABLE before anything else"},
        {"*filter\n-A FORWARD\n", "rules:2: 'filter': the table has no COMMIT"},
        {"*filter\nCOMMIT\n*filter\nCOMMIT\n", "rules:3: 'filter': the table stands here twice"},
        {"*filter\n*nat\n", "rules:2: 'nat': the table before it has no COMMIT"},
        {"*security\nCOMMIT\n", "rules:1: 'security': no table of this name is known: raw, mangle, nat, filter"},
        {"*filter\n:a - [0:0]\n:a - [0:0]\nCOMMIT\n", "rules:3: 'a': the chain is there already"},
        {"*filter\n:INPUT RETURN [0:0]\nCOMMIT\n", "rules:2: 'RETURN': a policy is ACCEPT or DROP"},
        {"*filter\n:INPUT DROP [0]\nCOMMIT\n", "rules:2: '[0]': counters are needed, [PACKETS:BYTES]"},
        {"*filter\n:DROP - [0:0]\nCOMMIT\n", "rules:2: 'DROP': a target has this name"},
        {"*filter\n-A FORWARD -j a\nCOMMIT\n", "rules:2: 'a': no target is known, and no chain, of this name"},
        {"*filter\n:a - [0:0]\n:b - [0:0]\n-A a -j b\n-A b -g a\nCOMMIT\n",
         "rules:4: 'b': chains lead in a circle"},
        {"*filter\n:a - [0:0]\n-A a -j a\nCOMMIT\n", "rules:3: 'a': chains lead in a circle"},
        {"*nat\n:a - [0:0]\n-A a -j SNAT --to-source 1.2.3.4\n-A PREROUTING -j a\nCOMMIT\n",
         "rules:3: 'SNAT': not at PREROUTING, from where packets come here"},
        {"*filter\n-A FORWARD -m comment --comment \"a\nCOMMIT\n", "rules:2: a quote is not closed"},
        {"*filter\n[1:2 -A FORWARD\nCOMMIT\n", "rules:2: '[1:2': counters are needed, [PACKETS:BYTES]"},
        {"*filter\nnonsense\nCOMMIT\n", "rules:2: 'nonsense': expected -A CHAIN, :CHAIN, *TABLE or COMMIT"},
        {"*filter\n-A FORWARD -p tcp --dport 80 --dport 81\nCOMMIT\n", "rules:2: '--dport': this was given before"},
        {"*filter\n-A FORWARD -p tcp -m tcp --sport 80:x\nCOMMIT\n",
         "rules:2: '80:x': --sport a number or LOWEST:HIGHEST is needed"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        about("%s", bad[i].text);
        must(read_text(bad[i].text, KST_IPV4) == NULL);
        must_read(why, bad[i].why);
    }
    must(rules_read("*filter\n\0\nCOMMIT\n", 18, "rules", KST_IPV4, why, sizeof why) == NULL);
    must_read(why, "rules:2: a byte of 0 in the text");
    must(rules_load("tests/no/such", KST_IPV4, why, sizeof why) == NULL);
    must_read(why, "tests/no/such: No such file or directory");
}
END_TEST

/* Rules with any byte changed, lost or doubled are read or refused; what is read prints what is read
 * again. */
/* Whatever C calls a blank parts words, and a line may have nothing else. */
START_TEST(lines_of_blanks)
{
    struct rules *rules = read_text(" \n\v\n\f\t\r\n*filter\n\v\f\n:INPUT\fACCEPT\v[0:0]\n\nCOMMIT\n\v", KST_IPV4);
    if (rules == NULL)
        ck_abort_msg("%s", why);
    rules_free(rules);
}
END_TEST

START_TEST(damaged_files_do_no_harm)
{
    char text[8192];
    FILE *file = fopen("corpus/firewall/rules.v4", "r");
    must(file != NULL);
    const size_t size = fread(text, 1, sizeof text, file);
    fclose(file);
    unsigned read = 0;
    for (unsigned i = 0; i < 3000; i++) {
        char damaged[sizeof text];
        size_t kept = 0;
        about("the damaged file no. %u", i);
        const size_t at = draw_below((uint32_t)size), where = draw_below((uint32_t)size);
        for (size_t j = 0; j < size && kept < sizeof damaged; j++)
            if (j != at)
                damaged[kept++] = text[j];
            else if (draw_one_in(2))
                damaged[kept++] = draw_one_in(3) ? (char)draw() : text[where];
        struct rules *rules = rules_read(damaged, kept, "rules", KST_IPV4, why, sizeof why);
        if (rules == NULL) {
            must(strncmp(why, "rules:", 6) == 0);
            continue;
        }
        read++;
        char *first = printed(rules);
        struct rules *again = read_text(first, KST_IPV4);
        must(again != NULL);
        char *second = printed(again);
        must_read(first, second);
        free(first);
        free(second);
        rules_free(rules);
        rules_free(again);
    }
    must(read > 300 && read < 2900);
}
END_TEST

/* ---- asking ---- */

static enum rules_verdict ask(struct rules *rules, enum rules_hook hook, struct say say, struct rules_packet *p)
{
    static struct wire w;
    w = wire_of(&say);
    p->data = w.data;
    p->size = w.size;
    p->in = p->in != NULL ? p->in : "lan";
    p->out = p->out != NULL ? p->out : "wan0";
    must(rules_look(p));
    return rules_ask(rules, RULES_FILTER, hook, p, NULL);
}

static struct rules_rule *rule_of(struct rules *rules, const char *chain, size_t number)
{
    struct rules_tables *table = &rules->table[RULES_FILTER];
    for (uint32_t i = 0; i < table->chains_count; i++)
        if (strcmp(table->chains[i].name, chain) == 0)
            return &table->chains[i].rules[number];
    return NULL;
}

/* What a single rule says of a packet of TCP from 10.0.0.1:1000 to 10.0.0.2:80, by interface lan to
 * wan0: whether it matched. */
START_TEST(matches)
{
    static const struct {
        const char *words;
        bool met;
    } rules[] = {
        {"", true},
        {"-s 10.0.0.1", true},
        {"-s 10.0.0.0/31", true},
        {"-s 10.0.0.2", false},
        {"! -s 10.0.0.2", true},
        {"-d 10.0.0.2/255.0.0.255", true},
        {"-i lan -o wan+", true},
        {"-i wan+", false},
        {"! -i la+", false},
        {"-p tcp", true},
        {"! -p udp", true},
        {"-f", false},
        {"! -f", true},
        {"-p tcp --dport 80", true},
        {"-p tcp --dport 81:", false},
        {"-p tcp ! --sport 1:999", true},
        {"-p tcp --syn", true},
        {"-p tcp ! --syn", false},
        {"-p tcp --tcp-flags ALL SYN", true},
        {"-p tcp --tcp-option 2", false},
        {"-p tcp -m multiport --dports 22,79:81", true},
        {"-p tcp -m multiport ! --ports 1000", false},
        {"-m state --state INVALID", true}, /* nobody tracked it */
        {"-m conntrack ! --ctstate NEW", true},
        {"-m conntrack --ctproto 6", false},
        {"-m conntrack --ctstate INVALID --ctproto 17", true},
        {"-m mark --mark 0x5/0x7", true},
        {"-m mark ! --mark 5", true},
        {"-m connmark --mark 0", false},
        {"-m connmark ! --mark 1", false},
        {"-m length --length 40:60", true},
        {"-m length ! --length 0:100", false},
        {"-m ttl --ttl-eq 64", true},
        {"-m ttl --ttl-lt 64", false},
        {"-m ttl --ttl-gt 63", true},
        {"-m tos --tos 0", true},
        {"-m dscp ! --dscp 0", false},
        {"-m comment --comment \"whatever it is\"", true},
    };
    const struct say syn = {.protocol = TCP, .from = 1, .to = 2, .sport = 1000, .dport = 80, .flags = SYN};
    for (size_t i = 0; i < COUNT(rules); i++) {
        char text[512];
        snprintf(text, sizeof text, "*filter\n-A FORWARD %s -j DROP\nCOMMIT\n", rules[i].words);
        about("%s", rules[i].words);
        struct rules *read = read_text(text, KST_IPV4);
        struct rules_packet p = {.mark = 0xd};
        must(read != NULL);
        const enum rules_verdict verdict =
            ask(read, RULES_FORWARD, syn, &p);
        must_be(verdict, rules[i].met ? RULES_DROP : RULES_ACCEPT);
        must_be(rule_of(read, "FORWARD", 0)->packets, rules[i].met);
        must_be(rule_of(read, "FORWARD", 0)->bytes, rules[i].met ? p.length : 0);
        rules_free(read);
    }
}
END_TEST

START_TEST(chains_call_chains)
{
    struct rules *rules = read_text("*filter\n:FORWARD DROP [0:0]\n:a - [0:0]\n:b - [0:0]\n:c - [0:0]\n"
                                    "-A FORWARD -p udp -j a\n"    /* comes back */
                                    "-A FORWARD -p tcp -g a\n"    /* does not */
                                    "-A FORWARD -m mark --mark 3 -j ACCEPT\n"
                                    "-A a -j MARK --or-mark 1\n"
                                    "-A a -j b\n"
                                    "-A a -j MARK --or-mark 4\n"
                                    "-A b -j MARK --or-mark 2\n"
                                    "-A b -g c\n"
                                    "-A b -j DROP\n"
                                    "-A c -m mark --mark 3 -j RETURN\n"
                                    "-A c -j DROP\nCOMMIT\n", KST_IPV4);
    struct rules_packet udp = {0}, tcp = {0};
    about("%s", why);
    must(rules != NULL);
    must_be(ask(rules, RULES_FORWARD, (struct say){.protocol = UDP, .from = 1, .to = 2}, &udp), RULES_DROP);
    must_be(udp.mark, 7);
    must_be(rule_of(rules, "FORWARD", 1)->packets, 0);
    must_be(rule_of(rules, "a", 2)->packets, 1); /* b's goto came back to a */
    must_be(rule_of(rules, "b", 2)->packets, 0);
    must_be(ask(rules, RULES_FORWARD, (struct say){.protocol = TCP, .from = 1, .to = 2}, &tcp), RULES_DROP);
    must_be(tcp.mark, 7);
    must_be(rules->table[RULES_FILTER].chains[1].packets, 2); /* FORWARD's policy */
    must_be(ask(rules, RULES_INPUT, (struct say){.protocol = UDP, .from = 1, .to = 2}, &udp), RULES_ACCEPT);
    rules_zero(rules);
    must_be(rule_of(rules, "a", 2)->packets, 0);
    rules_free(rules);
}
END_TEST

/* 30 chains that each call the next one twice are a billion rules to meet. */
START_TEST(work_is_bounded)
{
    char text[8192] = "*filter\n-A FORWARD -j c0\n", line[64];
    for (int i = 0; i <= 30; i++) {
        snprintf(line, sizeof line, ":c%d - [0:0]\n", i);
        strcat(text, line);
    }
    for (int i = 0; i < 60; i++) {
        snprintf(line, sizeof line, "-A c%d -j c%d\n", i / 2, i / 2 + 1);
        strcat(text, line);
    }
    struct rules *rules = read_text(strcat(text, "COMMIT\n"), KST_IPV4);
    struct rules_packet p = {0};
    must(rules != NULL);
    must_be(ask(rules, RULES_FORWARD, (struct say){.protocol = UDP, .from = 1, .to = 2}, &p), RULES_DROP);
    must(p.hopeless);
    rules_free(rules);
}
END_TEST

/* A bucket of three that gets one more each ten seconds. */
START_TEST(limit_fills_up_again)
{
    struct rules *rules =
        read_text("*filter\n-A FORWARD -m limit --limit 6/min --limit-burst 3 -j DROP\nCOMMIT\n", KST_IPV4);
    static const struct {
        uint64_t now_ms;
        bool met;
    } story[] = {{0, true}, {0, true}, {0, true}, {0, false}, {9999, false}, {10000, true}, {10000, false},
                 {1000000, true}, {1000000, true}, {1000000, true}, {1000000, false}, {999, false}};
    must(rules != NULL);
    for (size_t i = 0; i < COUNT(story); i++) {
        struct rules_packet p = {.now_ms = story[i].now_ms};
        about("packet %zu", i + 1);
        must_be(ask(rules, RULES_FORWARD, (struct say){.protocol = UDP, .from = 1, .to = 2}, &p),
                story[i].met ? RULES_DROP : RULES_ACCEPT);
    }
    rules_free(rules);
}
END_TEST

/* A match that needs more than there is drops the packet, as in Linux; no packet makes us read
 * beyond its end. */
START_TEST(short_packets)
{
    struct rules *rules = read_text("*filter\n-A FORWARD -p tcp -m tcp --tcp-option 5 -j ACCEPT\n"
                                    "-A FORWARD -p udp -m udp --dport 5 -j ACCEPT\n"
                                    "-A FORWARD -p icmp -m icmp --icmp-type 8 -j ACCEPT\n"
                                    "-A FORWARD -p sctp -m multiport --ports 5 -j ACCEPT\nCOMMIT\n", KST_IPV4);
    static const uint8_t protocols[] = {TCP, UDP, ICMP, SCTP};
    struct guarded g = guarded_new(256);
    must(rules != NULL);
    for (uint32_t i = 0; i < 4000; i++) {
        const uint8_t protocol = protocols[draw_below(4)];
        const struct wire w = wire_of(&(struct say){.protocol = protocol, .from = 1, .to = 2, .sport = 1,
                                                    .dport = protocol == ICMP ? 8 << 8 : 5, .flags = SYN});
        const uint32_t size = 20 + draw_below(w.size - 19);
        uint8_t *data = guarded_end(&g, size);
        memcpy(data, w.data, size);
        data[2] = (uint8_t)(size >> 8);
        data[3] = (uint8_t)size;
        if (protocol == TCP && size > w.l4_at + 12 && draw_one_in(2))
            data[w.l4_at + 12] = (uint8_t)draw();
        struct rules_packet p = {.data = data, .size = size, .in = "", .out = ""};
        must(rules_look(&p));
        const enum rules_verdict verdict = rules_ask(rules, RULES_FILTER, RULES_FORWARD, &p, NULL);
        const uint32_t enough = protocol == TCP ? 20 : protocol == SCTP ? 4 : 8;
        if (size - w.l4_at < enough)
            must(verdict == RULES_DROP && p.hopeless);
        else if (protocol != TCP)
            must(!p.hopeless);
    }
    guarded_free(&g);
    rules_free(rules);
}
END_TEST

SUITE("rules", reads_and_prints_as_iptables_does, bad_files_are_named, lines_of_blanks, damaged_files_do_no_harm, matches,
      chains_call_chains, work_is_bounded, limit_fills_up_again, short_packets)
