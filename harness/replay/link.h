/* SPDX-License-Identifier: MIT */
/* link.h - a captured frame comes in, the IP packet inside it goes out, or the reason why there is
 * none. Reads only the bytes that were captured, peels at most LINK_LAYERS_MAX tags and labels, and
 * does not look into the IP packet: whether it is one, the tracker says. */
#ifndef KEEPSTATE_LINK_H
#define KEEPSTATE_LINK_H

#include <stdint.h>

/* VLAN tags and MPLS labels around one packet, taken together: more than anybody stacks, and a
 * bound on what a hostile frame costs. */
#define LINK_LAYERS_MAX 8

/* What a frame holds. X(name, what the frames counted under it are) */
#define LINK_CONTENTS_LIST(X)                                                                      \
    X(IP, "IP")                                                                                    \
    X(OTHER, "another protocol, such as ARP or LLDP")                                              \
    X(LENGTH, "802.3 with a length field, such as STP")                                            \
    X(SHORT, "ends inside the link layer")                                                         \
    X(DEEP, "more VLAN tags and MPLS labels than LINK_LAYERS_MAX")                                 \
    X(PSEUDOWIRE, "something else than IP below MPLS labels")

enum link_content {
#define LINK_X(name, text) LINK_##name,
    LINK_CONTENTS_LIST(LINK_X)
#undef LINK_X
    LINK_CONTENTS
};

/* The bytes that are left. */
struct link_bytes {
    const uint8_t *at;
    uint32_t size;
    uint32_t layers; /* tags and labels peeled so far */
};

typedef enum link_content link_peel(struct link_bytes *bytes);

/* What peels frames of a capture of this type (libpcap's DLT_), NULL if nothing here does. */
link_peel *link_find(int dlt);

/* The types that link_find knows: the `number`th, or -1 behind the last. */
int link_known(unsigned number);

/* In words, for statistics. */
const char *link_content_text(enum link_content content);

#endif
