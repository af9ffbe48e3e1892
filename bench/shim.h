/* SPDX-License-Identifier: MIT */
/* bench/shim.h - Google Benchmark, for C.
 *
 *     while (bench_next(b, count)) {      once a round of `count` operations
 *         ...                             prepared outside the timed part
 *         bench_start(b);
 *         ...                             the operations
 *         bench_stop(b);
 *     }                                   what follows verifies, outside the timed part, too
 */
#ifndef BENCH_SHIM_H
#define BENCH_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench; /* one benchmark while it runs */
typedef void bench_run(struct bench *b, const void *argument);

/* Registers one under a name; `argument` stays the caller's. */
void bench_add(const char *name, bench_run *run, const void *argument);

bool bench_next(struct bench *b, uint64_t count);
void bench_start(struct bench *b);
void bench_stop(struct bench *b);

/* The result is wrong, or there is none: the benchmark counts as failed. */
__attribute__((format(printf, 2, 3))) void bench_fail(struct bench *b, const char *format, ...);

/* Another figure for the JSON. */
void bench_counter(struct bench *b, const char *name, double value);

/* A fact about the whole run, for the JSON's context. */
void bench_context(const char *name, const char *value);

/* Reads Google Benchmark's flags from the arguments and takes them out; runs all that they select,
 * returns how many, or -1 if one failed or a flag means nothing. */
void bench_begin(int *count, char **arguments);
int bench_all(int count, char **arguments);

#ifdef __cplusplus
}
#endif

#endif
