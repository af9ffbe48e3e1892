/* SPDX-License-Identifier: MIT */
/* progress.c - a line of progress: when it is due, and what it says. */
#define _GNU_SOURCE 1
#include "progress.h"

#include <inttypes.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    FIRST_MS = 1000, /* shorter runs need none */
    EVERY_MS = 200,
    LOOK_EVERY = 512 /* packets, a power of two: what the clock costs is not to be seen */
};

static uint64_t clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void progress_begin(struct progress *progress, FILE *file, bool wanted)
{
    struct stat about;
    *progress = (struct progress){.file = file, .wanted = wanted && isatty(STDERR_FILENO)};
    if (fstat(fileno(file), &about) == 0 && S_ISREG(about.st_mode))
        progress->bytes = (uint64_t)about.st_size;
    progress->next_ms = clock_ms() + FIRST_MS;
}

void progress_step(struct progress *progress, uint64_t packets, uint32_t connections)
{
    if (!progress->wanted || packets % LOOK_EVERY != 0)
        return;
    const uint64_t now_ms = clock_ms();
    if (now_ms < progress->next_ms)
        return;

    const off_t at = ftello(progress->file);
    fputs("\rkeepstate: ", stderr);
    if (progress->bytes > 0 && at >= 0)
        fprintf(stderr, "%3.0f %%, ", 100.0 * (double)at / (double)progress->bytes);
    fprintf(stderr, "%" PRIu64 " packets, %" PRIu32 " connections\033[K", packets, connections);
    progress->next_ms = now_ms + EVERY_MS;
    progress->shown = true;
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
