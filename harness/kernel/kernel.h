/* SPDX-License-Identifier: MIT */
/* kernel.h - the running Linux as a judge: a packet goes in, what nf_conntrack makes of it and its
 * whole table come out. All of it happens in a network namespace of our own, between two TUN
 * devices; nothing leaves it. */
#ifndef KEEPSTATE_KERNEL_H
#define KEEPSTATE_KERNEL_H

#include "answer.h"

/* Moves this process into a new network namespace and sets it up. False, and why in one line, if
 * that cannot be done here: not root, no TUN, no nf_conntrack, no nft or ip command. */
bool kernel_open(char *why, size_t size);

/* Whether it can be given rules: the commands iptables-legacy-restore and its like are there. */
bool kernel_takes_rules(void);

/* Fills in what Linux says of each packet of a case: `is`, `lines` and, under rules, `out`; whatever
 * stood there is freed. The table is emptied and the settings put back to their defaults first. */
void kernel_ask(struct vec_case *c);

/* The same by single steps, for packets too many to be a case. kernel_begin empties the table and
 * lets fragments of earlier packets expire, kernel_send fills in `is`, kernel_table `lines`. */
void kernel_begin(void);
void kernel_send(struct vec_packet *packet);
void kernel_table(struct vec_packet *packet);

/* How many connections it takes: nf_conntrack_max, 0 for any number. */
uint32_t kernel_max(void);

/* How long it keeps fragments. */
#define KERNEL_FRAGMENTS_S 1

/* Seconds of a clock that only ever goes on. */
double seconds_now(void);

#endif
