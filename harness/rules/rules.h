/* SPDX-License-Identifier: MIT */
/* rules.h - a ruleset, as iptables-save or ip6tables-save writes it: read, printed, asked about a
 * packet. Text may be hostile: what is not understood is an error that names file, line and word, and
 * sizes and work are bounded. How packets walk from hook to hook is path.h's.
 *
 * A rule is a list of parts: the part `ip` (-s, -d, -i, -o, -p, -f), its matches, its target. What
 * there is says a table, matches.c and targets.c: a part's name, the options that it takes, what it
 * does. An option is a name and a kind of value; how kinds are read and printed says values.c. */
#ifndef KEEPSTATE_RULES_H
#define KEEPSTATE_RULES_H

#include "keepstate.h"

#include <stdio.h>

/* As iptables has it, or far more than anybody writes. */
enum {
    RULES_BYTES_MAX = 16 << 20, /* of a file */
    RULES_WORDS_MAX = 255,      /* of a line */
    RULES_PORTS_MAX = 15,       /* of a multiport; a range counts as two */
    RULES_CHAINS_MAX = 65536,   /* of a table */
    RULES_STEPS_MAX = 1 << 20   /* rules that one packet may meet at one hook: more, and it is dropped */
};

enum rules_table { RULES_RAW, RULES_MANGLE, RULES_NAT, RULES_FILTER, RULES_TABLES };
enum rules_hook {
    RULES_PREROUTING,
    RULES_INPUT,
    RULES_FORWARD,
    RULES_OUTPUT,
    RULES_POSTROUTING,
    RULES_HOOKS
};

extern const char *const rules_table_names[RULES_TABLES], *const rules_hook_names[RULES_HOOKS];

/* ---- what a rule is made of ---- */

/* To what addresses and ports a target translates. */
struct rules_nat {
    uint8_t address[2][16];
    uint16_t port[2], base;
    bool has_address, has_port, has_base;
};

struct rules_value {
    bool given, inverted;
    union {
        uint32_t number[2]; /* a number; lowest and highest; value and mask; credit and cost */
        struct {
            uint8_t address[16], mask[16];
        } net;
        struct {
            uint8_t count;
            uint16_t range[RULES_PORTS_MAX][2];
        } ports;
        struct rules_nat nat;
        char *text;
    } as;
};

struct rules_packet;
struct rules_part;

struct rules_option {
    const char *name;     /* with its dashes; NULL ends a list */
    uint8_t kind;         /* enum rules_kind, values.h */
    uint8_t slot;         /* of the part's values. Options may share one: the first prints it */
    bool plain;           /* may not be inverted */
};

enum rules_verdict {
    RULES_NEXT,   /* the next rule */
    RULES_ACCEPT,
    RULES_DROP,
    RULES_RETURN,
    RULES_REJECT  /* dropped with an answer */
};

struct rules_type {
    const char *name;
    const struct rules_option *options;
    /* After reading: fills in what was left out. NULL, or what is wrong. */
    const char *(*check)(struct rules_part *part, uint8_t family, uint8_t protocol);
    bool (*match)(struct rules_part *part, struct rules_packet *p);
    enum rules_verdict (*act)(struct rules_part *part, struct rules_packet *p);
    uint8_t slots;     /* values that a part has */
    uint8_t needs;     /* a slot that must be given, + 1; 0: none must */
    uint8_t protocol;  /* a match that -p NAME alone brings in, and that needs this protocol; 0: none */
    uint8_t family;    /* the only one that has it; 0: both have */
    uint8_t tables;    /* targets: those they stand in, a bit each; 0: all */
    uint8_t hooks;     /* targets: those they may be met at, a bit each; 0: all */
};

extern const struct rules_type rules_matches[], rules_targets[]; /* a NULL name ends each */
extern const struct rules_type rules_ip; /* -s and its like */
enum { IP_SOURCE, IP_DESTINATION, IP_IN, IP_OUT, IP_PROTOCOL, IP_FRAGMENT, IP_SLOTS };

struct rules_part {
    const struct rules_type *type;
    struct rules_value *values; /* type->slots */
    uint64_t credit, since_ms;  /* limit: the bucket */
};

struct rules_rule {
    uint64_t packets, bytes;
    size_t line;              /* in its file */
    struct rules_part *parts; /* the first is `ip` */
    size_t parts_count;
    struct rules_part target; /* type NULL: none, or a chain */
    char *chain_name;         /* of a chain to go on in, or NULL */
    uint32_t chain;           /* its number */
    bool jumps_off;           /* -g: not to come back */
    uint8_t protocol;         /* of -p, not inverted; 0: none */
    uint8_t family;
};

struct rules_chain {
    char *name;
    uint64_t packets, bytes; /* of the policy */
    bool builtin, drops;     /* the policy of a built-in one */
    enum rules_hook hook;    /* of a built-in one */
    uint8_t hooks;           /* it is met at, a bit each */
    uint32_t references;     /* rules that go there */
    struct rules_rule *rules;
    size_t rules_count, rules_room;
};

/* Where to go on in a chain that called another. */
struct rules_place {
    uint32_t chain;
    size_t rule;
};

struct rules_tables {
    bool present;
    struct rules_chain *chains; /* the built-in ones first, by hook */
    uint32_t chains_count, chains_room;
    int at_hook[RULES_HOOKS];   /* the chain of this hook, -1: none */
    struct rules_place *stack;  /* of chains that wait: never more than there are, none leads to itself */
};

struct rules {
    const char *name; /* of the file, as the caller gave it */
    uint8_t family;   /* enum kst_family */
    struct rules_tables table[RULES_TABLES];
};

/* ---- reading, printing ---- */

/* Reads `size` bytes of text. NULL, and "NAME:LINE: WORD: what is wrong" in `why`, if it is no good.
 * `name` must outlive the ruleset. */
struct rules *rules_read(const char *text, size_t size, const char *name, uint8_t family, char *why,
                         size_t why_size);
/* Likewise a file. */
struct rules *rules_load(const char *path, uint8_t family, char *why, size_t why_size);
void rules_free(struct rules *rules);

/* As iptables-save -c, less its comments. */
void rules_print(const struct rules *rules, FILE *out);
/* "-A CHAIN ..." */
void rules_print_rule(const struct rules_chain *chain, const struct rules_rule *rule, FILE *out);
/* Every rule with its packets and bytes, much as iptables -nvxL for each table. */
void rules_print_summary(const struct rules *rules, FILE *out);
/* Sets all counters to 0. */
void rules_zero(struct rules *rules);

/* ---- asking ---- */

/* What rules see of a packet, and what they make of it. */
struct rules_packet {
    struct kst *t;
    uint64_t now_ms;
    uint8_t *data;              /* IP header first */
    uint32_t size;              /* bytes there are: what is behind its end is cut off */
    uint32_t length;            /* of the packet: more, if the capture cut it */
    const struct kst_result *result; /* once it is tracked */
    const char *in, *out;       /* interfaces, "" if there is none or it is not known */
    uint32_t mark;
    /* of the headers, filled in by rules_look */
    uint8_t family, protocol;   /* the one behind IPv6's extension headers */
    bool later_fragment;        /* not the first */
    uint32_t l4;                /* where the transport header begins; `size` if there is none */
    /* what raw says of its tracking */
    bool chosen;                /* a rule has: the first one counts */
    bool notrack;
    uint16_t zone;
    uint8_t zone_flags, helper; /* as in kst_packet */
    /* what NAT says: a range was chosen */
    bool translates;
    struct kst_nat_range range;
    /* The first of an interface; `else_any`: of whatever interface, if it has none. */
    bool (*address_of)(void *context, const char *interface, bool else_any, uint8_t family, uint8_t address[16]);
    void *context;
    /* what became of it */
    bool hopeless;              /* a match found it too broken to pass: dropped */
    bool no_address;            /* a target found no address to translate to: dropped */
    bool ttl_ruled;             /* a rule has set the TTL */
    const char *reject;         /* with what it is rejected */
};

/* Finds the headers; false if it is no IP packet that rules can look at. */
bool rules_look(struct rules_packet *p);

/* Sets TTL or hop limit; an IPv4 header's checksum follows. */
void rules_set_ttl(struct rules_packet *p, uint32_t ttl);

/* The connection of the packet, if it has one. */
bool rules_flow(const struct rules_packet *p, struct kst_flow *flow);

/* Tells of rules that matched, of policies; `rule` NULL: the policy of `chain`. */
struct rules_listener {
    void (*met)(void *context, enum rules_hook hook, enum rules_table table, const struct rules_chain *chain,
                const struct rules_rule *rule, enum rules_verdict verdict);
    void *context;
};

/* What one table says of a packet at a hook, ACCEPT if it has no chain there. */
enum rules_verdict rules_ask(struct rules *rules, enum rules_table table, enum rules_hook hook,
                             struct rules_packet *p, const struct rules_listener *listener);

#endif
