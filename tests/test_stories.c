/* SPDX-License-Identifier: MIT */
/* test_stories.c - tells the core each story of tests/stories/ and holds it to what must follow.
 *
 *     story the name of it                             an empty table, settings at their defaults
 *     set NAME VALUE
 *     TIME DIR FLAGS [FIELD VALUE]... : EXPECTED...    a TCP segment, and what is said of it
 *     TIME : EXPECTED...                               time passes, nothing else
 *
 * TIME is seconds since the story began. DIR is > from the client, < from the server. FLAGS are
 * S F R P U and . for ACK. FIELDs are seq, ack, win (8192 unless said), len, scale (the option), and
 * the words `sackok` and `sack FROM TO`. EXPECTED is in any order: a state (new, established,
 * invalid), a direction (original, reply), a TCP state, `N s` left (within one), ASSURED, UNREPLIED,
 * a reason, `gone`; ASSURED, UNREPLIED and the reason must be named if they are so. */
#define _GNU_SOURCE
#include "keepstate.h"

#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

enum { STORIES_MAX = 256, WORDS_MAX = 32 };

static struct {
    char *path, *name;
    long at; /* of the line behind its head */
    int line;
} stories[STORIES_MAX];
static int stories_count;

static struct segment {
    uint8_t bytes[256];
    uint32_t size;
    uint32_t options;
} segment;

static void put(uint32_t at, uint32_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++)
        segment.bytes[at + i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static void put_option(const uint8_t *option, uint32_t bytes)
{
    memcpy(segment.bytes + 40 + segment.options, option, bytes);
    segment.options += (bytes + 3) & ~UINT32_C(3); /* zeros behind it end the list: one is enough */
}

/* Fills `segment` from the words before the colon; -1, or what was not understood. */
static int build(char **words, int count)
{
    static const char letters[] = "FSRP.U";
    uint32_t length = 0;
    memset(&segment, 0, sizeof segment);
    const bool reply = words[1][0] == '<';
    put(12, reply ? 0xc6336401 : 0xc0000201, 4);
    put(16, reply ? 0xc0000201 : 0xc6336401, 4);
    put(20, reply ? 80 : 40000, 2);
    put(22, reply ? 40000 : 80, 2);
    put(34, 8192, 2);
    for (const char *c = words[2]; *c != '\0'; c++) {
        const char *letter = strchr(letters, *c);
        if (letter == NULL)
            return 2;
        segment.bytes[33] = (uint8_t)(segment.bytes[33] | 1 << (letter - letters));
    }
    for (int i = 3; i < count; i++) {
        const uint32_t value = i + 1 < count ? (uint32_t)strtoul(words[i + 1], NULL, 10) : 0;
        if (strcmp(words[i], "sackok") == 0) {
            put_option((const uint8_t[]){1, 1, 4, 2}, 4);
            continue;
        }
        if (i + 1 == count)
            return i;
        if (strcmp(words[i], "seq") == 0) {
            put(24, value, 4);
        } else if (strcmp(words[i], "ack") == 0) {
            put(28, value, 4);
        } else if (strcmp(words[i], "win") == 0) {
            put(34, value, 2);
        } else if (strcmp(words[i], "len") == 0) {
            length = value;
        } else if (strcmp(words[i], "scale") == 0) {
            put_option((const uint8_t[]){1, 3, 3, (uint8_t)value}, 4);
        } else if (strcmp(words[i], "sack") == 0 && i + 2 < count) {
            put_option((const uint8_t[]){1, 1, 5, 10}, 4);
            put(40 + segment.options, value, 4);
            put(44 + segment.options, (uint32_t)strtoul(words[i + 2], NULL, 10), 4);
            segment.options += 8;
            i++;
        } else {
            return i;
        }
        i++;
    }
    segment.bytes[0] = 0x45;
    segment.bytes[9] = 6;
    segment.bytes[32] = (uint8_t)((5 + segment.options / 4) << 4);
    segment.size = 40 + segment.options + length;
    ck_assert_uint_le(segment.size, sizeof segment.bytes);
    put(2, segment.size, 2);
    return -1;
}

static bool has(char **words, int count, const char *word)
{
    for (int i = 0; i < count; i++)
        if (strcmp(words[i], word) == 0)
            return true;
    return false;
}

/* Compares what is with what is expected. An empty text, or what is wrong. */
static const char *compare(char **words, int count, const struct kst_result *result,
                           const struct kst_flow *flow)
{
    static char got[256];
    const char *state = kst_state_name((enum kst_state)result->state);
    const char *direction = kst_direction_name((enum kst_direction)result->direction);
    const char *reason = kst_reason_name((enum kst_reason)result->reason);
    const char *tcp = flow != NULL ? kst_tcp_state_name((enum kst_tcp_state)flow->state) : "gone";
    const bool assured = flow != NULL && (flow->status & KST_ASSURED);
    const bool unreplied = flow != NULL && !(flow->status & KST_SEEN_REPLY);
    const bool packet = result->direction != UINT8_MAX;
    const uint64_t left_s = flow != NULL ? flow->timeout_ms / 1000 : 0;
    bool same = has(words, count, "ASSURED") == assured &&
                has(words, count, "UNREPLIED") == unreplied && has(words, count, tcp);
    if (packet)
        same = same && has(words, count, state) &&
               (result->direction == KST_NO_DIRECTION || has(words, count, direction)) &&
               (result->reason == KST_REASON_NONE || has(words, count, reason));
    for (int i = 0; i < count; i++) { /* nothing else may be expected */
        const bool number = words[i][0] >= '0' && words[i][0] <= '9';
        if (number) {
            const uint64_t wanted = strtoull(words[i], NULL, 10);
            same = same && flow != NULL && (wanted > left_s ? wanted - left_s : left_s - wanted) <= 1;
        } else {
            same = same && (strcmp(words[i], tcp) == 0 || strcmp(words[i], "s") == 0 ||
                            strcmp(words[i], "ASSURED") == 0 || strcmp(words[i], "UNREPLIED") == 0 ||
                            (packet && (strcmp(words[i], state) == 0 ||
                                        strcmp(words[i], direction) == 0 ||
                                        strcmp(words[i], reason) == 0)));
        }
    }
    snprintf(got, sizeof got, "%s %s %s %s %llu s%s%s", packet ? state : "", packet ? direction : "",
             packet ? reason : "", tcp, (unsigned long long)left_s, assured ? " ASSURED" : "",
             unreplied ? " UNREPLIED" : "");
    return same ? "" : got;
}

static int split(char *text, char **words)
{
    int count = 0;
    for (char *word = strtok(text, " \t\n"); word != NULL; word = strtok(NULL, " \t\n"))
        if (count < WORDS_MAX)
            words[count++] = word;
    return count;
}

START_TEST(story)
{
    static const struct kst_config config = {.max = 16, .seed = {1, 2}};
    const size_t bytes = kst_bytes(&config);
    struct kst *t = kst_init(aligned_alloc(KST_ALIGN, bytes), bytes, &config, NULL);
    FILE *file = fopen(stories[_i].path, "r");
    char line[512], *words[WORDS_MAX];
    ck_assert_ptr_nonnull(t);
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, stories[_i].at, SEEK_SET), 0);
    int told = 0;
    for (int number = stories[_i].line + 1; fgets(line, sizeof line, file) != NULL; number++) {
        if (strncmp(line, "story ", 6) == 0)
            break;
        line[strcspn(line, "#\n")] = '\0';
        char *expected_text = strchr(line, ':');
        if (expected_text != NULL)
            *expected_text++ = '\0';
        const int count = split(line, words);
        if (count == 0)
            continue;
        if (strcmp(words[0], "set") == 0) {
            ck_assert_int_eq(count, 3);
            ck_assert_int_eq(kst_set(t, words[1], (uint32_t)strtoul(words[2], NULL, 10)),
                             KST_ERROR_OK);
            continue;
        }
        ck_assert_msg(expected_text != NULL && (count == 1 || count >= 3),
                      "%s:%d: neither a segment nor time", stories[_i].path, number);
        const uint64_t now_ms = (uint64_t)(strtod(words[0], NULL) * 1000 + 0.5);
        struct kst_result result = {.direction = UINT8_MAX};
        struct kst_flow flow;
        kst_advance(t, now_ms, UINT32_MAX);
        if (count > 1) {
            const int wrong = build(words, count);
            ck_assert_msg(wrong < 0, "%s:%d: what is '%s'?", stories[_i].path, number,
                          words[wrong < 0 ? 0 : wrong]);
            const struct kst_packet packet = {
                .data = segment.bytes, .size = segment.size, .checksum = KST_CHECKSUM_GOOD};
            kst_track(t, now_ms, &packet, 1, &result);
        }
        const char *broken = NULL;
        ck_assert_msg(kst_check(t, &broken), "%s:%d: %s", stories[_i].path, number, broken);
        const bool there = kst_get(t, kst_next(t, 0), &flow);
        const int expected_count = split(expected_text, words);
        const char *got = compare(words, expected_count, &result, there ? &flow : NULL);
        ck_assert_msg(got[0] == '\0', "%s:%d: got %s", stories[_i].path, number, got);
        told++;
    }
    ck_assert_int_gt(told, 0);
    fclose(file);
    free(t);
}
END_TEST

static void collect(const char *path)
{
    char line[512];
    FILE *file = fopen(path, "r");
    for (int number = 1; file != NULL && fgets(line, sizeof line, file) != NULL; number++)
        if (strncmp(line, "story ", 6) == 0 && stories_count < STORIES_MAX) {
            line[strcspn(line, "\n")] = '\0';
            stories[stories_count].path = strdup(path);
            stories[stories_count].name = strdup(line + 6);
            stories[stories_count].at = ftell(file);
            stories[stories_count++].line = number;
        }
    if (file != NULL)
        fclose(file);
}

int main(void)
{
    const char *folder = getenv("STORIES");
    char pattern[512];
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/*.kst", folder != NULL ? folder : "tests/stories");
    if (glob(pattern, 0, NULL, &found) != 0) {
        fprintf(stderr, "no stories: %s\n", pattern);
        return 1;
    }
    for (size_t i = 0; i < found.gl_pathc; i++)
        collect(found.gl_pathv[i]);
    globfree(&found);

    Suite *suite = suite_create("stories");
    TCase *tcase = tcase_create("tcp");
    tcase_add_loop_test(tcase, story, 0, stories_count);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    for (int i = 0; i < stories_count; i++) {
        free(stories[i].path);
        free(stories[i].name);
    }
    return failed == 0 ? 0 : 1;
}
