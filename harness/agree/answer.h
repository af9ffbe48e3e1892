/* SPDX-License-Identifier: MIT */
/* answer.h - what one side, the core or the command, says of each packet of a case; whether that is
 * what Linux says; and both in words. */
#ifndef KEEPSTATE_ANSWER_H
#define KEEPSTATE_ANSWER_H

#include "vec.h"

struct answer {
    char is[64];        /* "STATE DIR" */
    char **lines;       /* the table: "ct ..." and "exp ...", in any order */
    size_t count;
    uint8_t *out;       /* under rules: the packet as it leaves, NULL: it does not */
    uint32_t out_size;
    const char *reason; /* the core's, "" of anybody else; never NULL in a whole answer */
    const char *broken; /* the core's: what kst_check says is wrong, NULL if nothing is */
};

void answer_add(struct answer *answer, const char *line);
void answers_free(struct answer *answers, size_t count);

/* Attaches the helpers to the ports that they have wherever Linux is asked: the usual ones, and
 * SIP to TCP 5061. */
struct kst;
void answer_attach(struct kst *t);

/* Adds the connections and the expectations of a table. */
void answer_table(struct answer *answer, const struct kst *t);

/* Has the core use these back ends, by name, from now on; false if there is none of this name. */
bool answer_index(const char *name);
bool answer_timer(const char *name);

/* Tracks a case with an empty table, one answer a packet. */
struct answer *ask_core(const struct vec_case *c, uint64_t seed);

/* NAT draws some ports at random: the first seed by which the core draws those that Linux drew, that
 * is, by which the two agree on a case with rules; 1 if there is none near, or no rules. */
uint64_t answer_seed(const struct vec_case *c);

/* Likewise the naive tracker (harness/naive.h); and what a case needs that it leaves out, NULL: nothing. */
struct answer *ask_naive(const struct vec_case *c);
const char *naive_beyond(const struct vec_case *c);

/* The same state and direction, the same bytes going out where Linux says any, and the same table but for the
 * order of its lines and a second more or less left; and a table that is whole. */
bool answers_agree(const struct vec_case *c, size_t at, const struct answer *answer);

/* A number for all that an answer says, whatever the order of its lines; begins with that of what
 * went before. The same on every machine. */
uint64_t answer_digest(struct answer *answer, uint64_t digest);

/* Prints a case up to packet `at` and what both sides say of that one. */
void answers_show(const struct vec_case *c, size_t at, const struct answer *answers);

#endif
