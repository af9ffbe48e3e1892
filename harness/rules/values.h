/* SPDX-License-Identifier: MIT */
/* values.h - the kinds of values that options have: how each is read and printed. */
#ifndef KEEPSTATE_VALUES_H
#define KEEPSTATE_VALUES_H

#include "rules.h"

/* X(kind, words it takes) */
#define RULES_KINDS_LIST(X)                                                                        \
    X(FLAG, 0)       /* --random */                                                                \
    X(NET, 1)        /* 192.0.2.0/24, always with its length */                                    \
    X(HOSTS, 1)      /* the same, a host without */                                                \
    X(INTERFACE, 1)  /* eth0, ppp+ */                                                              \
    X(PROTOCOL, 1)   /* tcp, 99 */                                                                 \
    X(NUMBERED, 1)   /* likewise, printed as a number */                                           \
    X(RANGE16, 1)    /* 80, 1:100 */                                                               \
    X(RANGE32, 1)    /* of 32 bits */                                                              \
    X(PORTS, 1)      /* 22,80:90 */                                                                \
    X(TCP_FLAGS, 2)  /* SYN,ACK SYN */                                                             \
    X(SYN, 0)        /* --syn: FIN,SYN,RST,ACK SYN */                                              \
    X(BYTE, 1)       /* 64 */                                                                      \
    X(NUMBER, 1)     /* of 32 bits */                                                              \
    X(ICMP, 1)       /* 3/1, any */                                                                \
    X(ICMP6, 1)                                                                                    \
    X(RATE, 1)       /* 3/hour */                                                                  \
    X(STATES, 1)     /* NEW,RELATED */                                                             \
    X(CTSTATES, 1)   /* DNAT, too */                                                               \
    X(STATUSES, 1)   /* ASSURED */                                                                 \
    X(DIRECTION, 1)  /* REPLY */                                                                   \
    X(MARK, 1)       /* 0x7, 0x7/0xff */                                                           \
    X(XMARK, 1)      /* always with its mask */                                                    \
    X(SET_MARK, 1)   /* 7/12 for xmark 7/15 */                                                     \
    X(AND_MARK, 1)                                                                                 \
    X(OR_MARK, 1)                                                                                  \
    X(XOR_MARK, 1)                                                                                 \
    X(HEX, 1)        /* 0xff */                                                                    \
    X(TOS, 1)        /* 0x10/0x3f, Minimize-Delay */                                               \
    X(AND_TOS, 1)                                                                                  \
    X(OR_TOS, 1)                                                                                   \
    X(XOR_TOS, 1)                                                                                  \
    X(DSCP, 1)       /* 0x2e */                                                                    \
    X(DSCP_CLASS, 1) /* EF */                                                                      \
    X(TEXT, 1)       /* "any words" */                                                             \
    X(LEVEL, 1)      /* of LOG */                                                                  \
    X(REJECT, 1)     /* icmp-host-prohibited */                                                    \
    X(NAT, 1)        /* 203.0.113.1-203.0.113.5:1024-2000 */                                       \
    X(NAT_PORTS, 1)  /* 1024-2000 */                                                               \
    X(ZONE, 1)       /* 7, mark */

enum rules_kind {
#define RULES_X(name, words) RULES_V_##name,
    RULES_KINDS_LIST(RULES_X)
#undef RULES_X
    RULES_V_KINDS
};

/* How many words a value of this kind has. */
int value_words(enum rules_kind kind);

/* Reads a value, `family` being the ruleset's; NULL, or what is wrong with it. What it allocates is
 * freed with value_free. */
const char *value_read(enum rules_kind kind, char *const *words, uint8_t family,
                       struct rules_value *value);
void value_free(enum rules_kind kind, struct rules_value *value);

/* Prints a blank and the value, nothing for a flag. */
void value_print(enum rules_kind kind, const struct rules_value *value, uint8_t family, FILE *out);

/* Words of REJECT, by their number; of a family, NULL behind the last. */
const char *reject_word(uint32_t number);

/* The number of a protocol by its name or number, -1: there is none. */
int protocol_number(const char *word);

/* Its name, or NULL. */
const char *protocol_name(uint8_t number);

/* A whole number in C's notation, in the whole word. */
bool number_read(const char *word, uint32_t highest, uint32_t *number);

#endif
