/* SPDX-License-Identifier: MIT */
/* firewall.h - `keepstate replay --rules`: packets go through a ruleset's hooks, and what became of
 * them is told, counted and written. */
#ifndef KEEPSTATE_FIREWALL_H
#define KEEPSTATE_FIREWALL_H

#include "keepstate.h"

#include <sys/time.h>

#define FIREWALL_ALL UINT64_MAX

struct firewall_options {
    const char *rules[2];    /* files, IPv4 and IPv6; NULL: none */
    const char **routes, **addresses;
    int routes_count, addresses_count;
    const char *write;       /* where to write what passes, or NULL */
    uint64_t explain;        /* the number of a packet, 0: none, FIREWALL_ALL */
    bool each, why;
};

struct firewall;

/* Whether anything asks for one. */
bool firewall_wanted(const struct firewall_options *options);

/* Makes one around a table with KST_WITH_NAT. COMMAND_DONE, or how to exit when the complaint is
 * out. */
int firewall_open(const struct firewall_options *options, struct kst *t, struct firewall **firewall);

/* Sends packet `number` through, with flags as in kst_packet, and says what the options ask for. */
void firewall_take(struct firewall *firewall, uint64_t number, const struct timeval *stamp, uint64_t now_ms,
                   const uint8_t *bytes, uint32_t size, uint8_t flags);

/* The rules with their counters. */
void firewall_summary(const struct firewall *firewall);

/* COMMAND_DONE, or COMMAND_INPUT when the complaint about what could not be written is out. */
int firewall_close(struct firewall *firewall);

#endif
