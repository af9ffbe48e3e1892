/* SPDX-License-Identifier: MIT */
/* before.h - what sources of the harness and the suites say before they include keepstate.h, said before
 * judges.py includes it for them. */
#define _GNU_SOURCE
