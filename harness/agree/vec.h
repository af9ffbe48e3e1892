/* SPDX-License-Identifier: MIT */
/* vec.h - reads .vec files: what Linux said of packets (tests/vectors/README.md has the format).
 * Plain or gzipped text comes in, one case at a time goes out. A line that is not understood ends
 * the reading with an error that names file and line. */
#ifndef KEEPSTATE_VEC_H
#define KEEPSTATE_VEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum vec_zone_of { VEC_ZONE_BOTH, VEC_ZONE_ORIGINAL, VEC_ZONE_REPLY, VEC_ZONE_WAYS };

struct vec_packet {
    uint64_t wait_ms;  /* before it */
    uint16_t zone;     /* that a rule gives it, */
    uint8_t zone_of;   /* enum vec_zone_of: for which direction */
    uint8_t *data;
    uint32_t size;
    bool from_server;  /* `<`: for people, the tracker does not see it */
    char *is;          /* "STATE DIR", one blank between */
    char **lines;      /* the table after it: "ct ..." and "exp ...", sorted, runs of blanks as one */
    size_t lines_count;
    uint8_t *out;      /* under rules: the packet as it left; NULL: none did, or nobody said */
    uint32_t out_size;
};

struct vec_setting {
    char *name;
    uint32_t value;
};

struct vec_case {
    char *name;
    size_t line;       /* where it begins */
    struct vec_setting *settings;
    size_t settings_count;
    struct vec_packet *packets;
    size_t packets_count;
    struct vec_rule {
        bool v6;
        char *words;   /* as iptables or ip6tables takes them */
    } *rules;
    size_t rules_count;
};

/* The rules of one family as iptables-save would write them, to be freed; "" if there are none. */
char *vec_ruleset(const struct vec_case *c, bool v6);

/* How the machine with rules is routed where Linux is asked; NULL ends each. */
extern const char *const vec_routes[], *const vec_addresses[];

/* Whether a packet of it has a zone. */
bool vec_has_zones(const struct vec_case *c);

/* "", " original", " reply" */
const char *vec_zone_word(uint8_t zone_of);

struct vec_file;

/* NULL if the file cannot be read; errno tells why. */
struct vec_file *vec_open(const char *path);
void vec_close(struct vec_file *file);

/* The next case, or NULL at the end or at an error; it is valid until the next call. */
const struct vec_case *vec_next(struct vec_file *file);

/* "PATH:LINE: what is wrong", or NULL if nothing was. */
const char *vec_error(const struct vec_file *file);

/* Frees what a case holds. */
void vec_forget(struct vec_case *c);
void vec_forget_packet(struct vec_packet *packet);

/* `memory`, unless it is NULL: then the program ends. */
void *need(void *memory);

/* Makes runs of blanks one blank, in place, and cuts them off at the end. */
void vec_squeeze(char *text);

#endif
