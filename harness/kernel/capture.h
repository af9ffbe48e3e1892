/* SPDX-License-Identifier: MIT */
/* capture.h - a capture's packets, one by one, through the running kernel and the core. */
#ifndef KEEPSTATE_CAPTURE_H
#define KEEPSTATE_CAPTURE_H

#include "judge.h"

/* Prints one line a capture, and its first disagreements. The exit status: 1 if there was any, or a
 * capture could not be read. */
int run_captures(struct judge *judge, char **paths, int count);

#endif
