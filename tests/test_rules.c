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

SUITE("rules", reads_and_prints_as_iptables_does)
