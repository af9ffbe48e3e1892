/* SPDX-License-Identifier: MIT */
/* vec.c - the reader of .vec files. */
#define _GNU_SOURCE
#include "vec.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { LINE_MAX_BYTES = 1 << 18 }; /* a packet of 64 KiB in hexadecimal, and then some */

struct vec_file {
    gzFile gz;
    char *path;
    char *line;       /* the one read last */
    size_t number;    /* its number */
    bool pending;     /* it is still to be looked at: the next case's first */
    char *error;
    struct vec_case current;
};

void *need(void *memory)
{
    if (memory == NULL) {
        fputs("out of memory\n", stderr);
        exit(2);
    }
    return memory;
}

struct vec_file *vec_open(const char *path)
{
    gzFile gz = gzopen(path, "rb");
    if (gz == NULL)
        return NULL;
    struct vec_file *file = need(calloc(1, sizeof *file));
    file->gz = gz;
    file->path = need(strdup(path));
    file->line = need(malloc(LINE_MAX_BYTES));
    return file;
}

void vec_forget_packet(struct vec_packet *packet)
{
    for (size_t i = 0; i < packet->lines_count; i++)
        free(packet->lines[i]);
    free(packet->lines);
    free(packet->data);
    free(packet->is);
    free(packet->out);
}

void vec_forget(struct vec_case *c)
{
    for (size_t i = 0; i < c->packets_count; i++)
        vec_forget_packet(&c->packets[i]);
    for (size_t i = 0; i < c->settings_count; i++)
        free(c->settings[i].name);
    for (size_t i = 0; i < c->rules_count; i++)
        free(c->rules[i].words);
    free(c->rules);
    free(c->settings);
    free(c->packets);
    free(c->name);
    memset(c, 0, sizeof *c);
}

void vec_close(struct vec_file *file)
{
    if (file == NULL)
        return;
    vec_forget(&file->current);
    gzclose(file->gz);
    free(file->path);
    free(file->line);
    free(file->error);
    free(file);
}

const char *vec_error(const struct vec_file *file)
{
    return file->error;
}

static bool fail(struct vec_file *file, const char *what)
{
    if (file->error == NULL &&
        asprintf(&file->error, "%s:%zu: %s", file->path, file->number, what) < 0)
        file->error = NULL;
    return false;
}

void vec_squeeze(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++)
        if (!isspace((unsigned char)*from))
            *to++ = *from;
        else if (to > text && to[-1] != ' ')
            *to++ = ' ';
    while (to > text && to[-1] == ' ')
        to--;
    *to = '\0';
}

static bool next_line(struct vec_file *file)
{
    if (file->pending) {
        file->pending = false;
        return true;
    }
    if (gzgets(file->gz, file->line, LINE_MAX_BYTES) == NULL) {
        int code;
        const char *text = gzerror(file->gz, &code);
        if (code < 0) /* the end of the stream is no error */
            fail(file, text);
        return false;
    }
    file->number++;
    const size_t length = strlen(file->line);
    if (length + 1 == LINE_MAX_BYTES)
        return fail(file, "the line is too long");
    if (length > 0 && file->line[length - 1] == '\n')
        file->line[length - 1] = '\0';
    return true;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* To be freed. */
static bool read_bytes(struct vec_file *file, const char *hex, uint8_t **data, uint32_t *size)
{
    const size_t digits = strlen(hex);
    for (size_t i = 0; i < digits; i++)
        if (hex_digit(hex[i]) < 0 || digits % 2 != 0)
            return fail(file, "a packet is bytes in lower-case hexadecimal");
    free(*data);
    *size = (uint32_t)(digits / 2);
    *data = need(malloc(*size > 0 ? *size : 1)); /* no byte more: reading on is seen */
    for (size_t i = 0; i < *size; i++)
        (*data)[i] = (uint8_t)(hex_digit(hex[2 * i]) << 4 | hex_digit(hex[2 * i + 1]));
    return true;
}

static bool read_packet(struct vec_file *file, const char *text, struct vec_packet *packet)
{
    if ((text[0] != '<' && text[0] != '>') || text[1] != ' ')
        return fail(file, "expected `pkt > HEX` or `pkt < HEX`");
    packet->from_server = text[0] == '<';
    return read_bytes(file, text + 2, &packet->data, &packet->size);
}

static bool read_setting(struct vec_file *file, const char *text, struct vec_case *c)
{
    char name[128];
    unsigned value;
    if (sscanf(text, "%127s %u", name, &value) != 2)
        return fail(file, "expected `set NAME VALUE`");
    c->settings = need(realloc(c->settings, (c->settings_count + 1) * sizeof *c->settings));
    c->settings[c->settings_count].name = need(strdup(name));
    c->settings[c->settings_count++].value = value;
    return true;
}

/* The word that a line begins with is `word`; *rest is what follows it. */
static bool begins(const char *line, const char *word, const char **rest)
{
    const size_t length = strlen(word);
    if (strncmp(line, word, length) != 0 || line[length] != ' ')
        return false;
    *rest = line + length + 1;
    return true;
}

const char *vec_zone_word(uint8_t zone_of)
{
    static const char *const words[VEC_ZONE_WAYS] = {"", " original", " reply"};
    return words[zone_of];
}

bool vec_has_zones(const struct vec_case *c)
{
    for (size_t i = 0; i < c->packets_count; i++)
        if (c->packets[i].zone != 0)
            return true;
    return false;
}

const char *const vec_routes[] = {"192.0.2.0/24=left", "2001:db8:1::/48=left", "default=right", NULL};
const char *const vec_addresses[] = {"right=203.0.113.2", "right=2001:db8:9::2", NULL};

char *vec_ruleset(const struct vec_case *c, bool v6)
{
    static const char *const tables[] = {"raw", "mangle", "nat", "filter"};
    char *text = NULL, table[16] = "";
    size_t size;
    FILE *out = need(open_memstream(&text, &size));
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        bool begun = false;
        for (size_t j = 0; j < c->rules_count; j++) {
            const char *words = c->rules[j].words;
            int skipped = 0;
            if (sscanf(words, "-t %15s %n", table, &skipped) != 1)
                strcpy(table, "filter");
            if (c->rules[j].v6 != v6 || strcmp(table, tables[i]) != 0)
                continue;
            if (!begun)
                fprintf(out, "*%s\n", table);
            begun = true;
            fprintf(out, "%s\n", words + skipped);
        }
        fputs(begun ? "COMMIT\n" : "", out);
    }
    fclose(out);
    return need(text);
}

/* What stands before a packet: how long it waits, and the zone of it and of those that follow. */
struct before {
    uint64_t wait_ms;
    uint16_t zone;
    uint8_t zone_of;
};

static bool read_zone(struct vec_file *file, const char *text, struct before *before)
{
    char *end;
    const unsigned long zone = strtoul(text, &end, 10);
    for (before->zone_of = 0; before->zone_of < VEC_ZONE_WAYS; before->zone_of++)
        if (end > text && zone <= UINT16_MAX && strcmp(end, vec_zone_word(before->zone_of)) == 0) {
            before->zone = (uint16_t)zone;
            return true;
        }
    return fail(file, "expected `zone N`, `zone N original` or `zone N reply`");
}

static bool read_line(struct vec_file *file, struct vec_case *c, struct before *before)
{
    struct vec_packet *packet = c->packets_count > 0 ? &c->packets[c->packets_count - 1] : NULL;
    const char *rest;
    if (begins(file->line, "set", &rest))
        return read_setting(file, rest, c);
    if (begins(file->line, "wait", &rest)) {
        before->wait_ms += strtoull(rest, NULL, 10);
        return true;
    }
    if (begins(file->line, "zone", &rest))
        return read_zone(file, rest, before);
    if (begins(file->line, "rule", &rest) || begins(file->line, "rule6", &rest)) {
        c->rules = need(realloc(c->rules, (c->rules_count + 1) * sizeof *c->rules));
        c->rules[c->rules_count].v6 = file->line[4] == '6';
        c->rules[c->rules_count++].words = need(strdup(rest));
        return true;
    }
    if (begins(file->line, "pkt", &rest)) {
        c->packets = need(realloc(c->packets, (c->packets_count + 1) * sizeof *c->packets));
        packet = &c->packets[c->packets_count++];
        memset(packet, 0, sizeof *packet);
        packet->wait_ms = before->wait_ms;
        packet->zone = before->zone;
        packet->zone_of = before->zone_of;
        before->wait_ms = 0;
        return read_packet(file, rest, packet);
    }
    if (packet == NULL)
        return fail(file, "expected `pkt` before what was said of it");
    if (begins(file->line, "out", &rest))
        return read_bytes(file, rest, &packet->out, &packet->out_size);
    if (begins(file->line, "is", &rest)) {
        free(packet->is);
        packet->is = need(strdup(rest));
        vec_squeeze(packet->is);
        return true;
    }
    if (begins(file->line, "ct", &rest) || begins(file->line, "exp", &rest)) {
        char *line = need(strdup(file->line));
        vec_squeeze(line);
        packet->lines =
            need(realloc(packet->lines, (packet->lines_count + 1) * sizeof *packet->lines));
        packet->lines[packet->lines_count++] = line;
        return true;
    }
    return fail(file, "this begins with no word that is known");
}

const struct vec_case *vec_next(struct vec_file *file)
{
    struct vec_case *c = &file->current;
    struct before before = {0, 0, 0};
    const char *rest;
    vec_forget(c);
    while (file->error == NULL && next_line(file)) {
        if (file->line[0] == '\0' || file->line[0] == '#')
            continue;
        if (begins(file->line, "case", &rest)) {
            if (c->name != NULL) {
                file->pending = true;
                break;
            }
            c->name = need(strdup(rest));
            c->line = file->number;
        } else if (c->name == NULL) {
            fail(file, "expected `case NAME` first");
        } else {
            read_line(file, c, &before);
        }
    }
    return c->name != NULL && file->error == NULL ? c : NULL;
}
