/* SPDX-License-Identifier: MIT */
/* progress.h - one line on a terminal that tells how far a long run is, and is gone at its end.
 * A run of less than a second never shows it. */
#ifndef KEEPSTATE_PROGRESS_H
#define KEEPSTATE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
    FILE *file;       /* being read; its position is what is done */
    uint64_t bytes;   /* its size, 0: not known */
    uint64_t next_ms; /* when the line is due */
    bool wanted;
    bool shown;
};

/* `wanted`: whether a line on stderr disturbs nobody. */
void progress_begin(struct progress *progress, FILE *file, bool wanted);

/* To be called after each packet; looks at the clock every few hundred only. */
void progress_step(struct progress *progress, uint64_t packets, uint32_t connections);

void progress_end(struct progress *progress);

#endif
