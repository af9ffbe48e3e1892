/* SPDX-License-Identifier: MIT */
/* path.h - a packet's way through a machine: which hooks it passes, in which order tables, tracker
 * and NAT see it, where it comes in and goes out. The machine is a tracker, a ruleset for each family,
 * routes and addresses. */
#ifndef KEEPSTATE_PATH_H
#define KEEPSTATE_PATH_H

#include "rules.h"

enum { PATH_NAME_MAX = 15, PATH_BYTES_MAX = 65535 + 40 };

struct path;

/* An empty machine around a tracker that has KST_WITH_NAT; what it is given must outlive it. */
struct path *path_new(struct kst *t);
void path_free(struct path *path);
void path_set_rules(struct path *path, struct rules *rules);

/* "192.0.2.0/24=eth0", "default=eth1"; "eth0=192.0.2.1", with a length also a route. False: neither. */
bool path_add_route(struct path *path, const char *text);
bool path_add_address(struct path *path, const char *text);

/* Whether an interface of this name, or that begins as `ppp+` says, is known. */
bool path_knows(const struct path *path, const char *interface);

enum path_way { PATH_FORWARDED, PATH_TO_US, PATH_FROM_US, PATH_LOOPED };

/* What became of a packet. */
struct path_end {
    struct kst_result result; /* of its tracking */
    enum path_way way;
    const char *in, *out;     /* interfaces, "" for none or unknown */
    bool tracked;             /* `result` says something */
    bool held;                /* a fragment: the one that completes its datagram has the answer */
    bool passed;
    const uint8_t *bytes;     /* of one that passed, as it leaves; valid until the next packet. TTL and
                               * TOS are as they came unless a rule has changed them. A datagram that
                               * came in fragments is whole */
    uint32_t size;
    const char *why;          /* one that did not: why, if no rule said so, else NULL */
    const char *reject;       /* the answer that a rule gave it, or NULL */
    enum rules_table table;   /* what said so: */
    struct rules *rules;
    const struct rules_chain *chain;
    const struct rules_rule *rule; /* NULL: the chain's policy */
};

/* Is told, if there is one, of each step: of rules that matched and policies, and in words of all
 * else ("routed: out right"). */
struct path_listener {
    void (*met)(void *context, enum rules_hook hook, enum rules_table table, const struct rules_chain *chain,
                const struct rules_rule *rule, enum rules_verdict verdict);
    void (*step)(void *context, const char *hook, const char *words);
    void *context;
};

/* Sends a packet on its way. `flags` are KST_PACKET_HEAD or 0. */
void path_send(struct path *path, uint64_t now_ms, const uint8_t *bytes, uint32_t size, uint8_t flags,
               const struct path_listener *listener, struct path_end *end);

#endif
