/* SPDX-License-Identifier: MIT */
/* link.c - the peelers: each takes its own header off and hands the rest to the next one, which a
 * table names. Those for types of captures stand in `links` at the end. */
#include "link.h"

#include <pcap/dlt.h>
#include <stdbool.h>
#include <stddef.h>

/* Takes `size` bytes from the front, or NULL if fewer remain. */
static const uint8_t *take(struct link_bytes *bytes, uint32_t size)
{
    if (bytes->size < size)
        return NULL;
    const uint8_t *taken = bytes->at;
    bytes->at += size;
    bytes->size -= size;
    return taken;
}

static uint32_t be16(const uint8_t *p)
{
    return (uint32_t)p[0] << 8 | p[1];
}

struct next {
    uint32_t type;
    link_peel *peel;
};

static enum link_content peel_type(const struct next *next, size_t count, uint32_t type,
                                   struct link_bytes *bytes)
{
    for (size_t i = 0; i < count; i++)
        if (next[i].type == type)
            return next[i].peel(bytes);
    return LINK_OTHER;
}

#define PEEL(table, type, bytes) peel_type(table, sizeof(table) / sizeof *(table), type, bytes)

static enum link_content peel_ip(struct link_bytes *bytes)
{
    (void)bytes;
    return LINK_IP;
}

/* Labels (RFC 3032) do not say what they carry: IP shows its version where a pseudo-wire has the 0
 * of its control word (RFC 4385) or the first half-byte of an address. */
static enum link_content peel_mpls(struct link_bytes *bytes)
{
    const uint8_t *label;
    do {
        label = take(bytes, 4);
        if (label == NULL)
            return LINK_SHORT;
        if (++bytes->layers > LINK_LAYERS_MAX)
            return LINK_DEEP;
    } while ((label[2] & 1) == 0);

    if (bytes->size == 0)
        return LINK_SHORT;
    const uint32_t version = bytes->at[0] >> 4;
    return version == 4 || version == 6 ? LINK_IP : LINK_PSEUDOWIRE;
}

/* A PPP protocol number is even in its first byte and odd in its second, so that a first byte of
 * zero may be left out (RFC 1661). */
static enum link_content peel_ppp(struct link_bytes *bytes)
{
    static const struct next protocols[] = {{0x0021, peel_ip}, {0x0057, peel_ip}};
    const uint8_t *first = take(bytes, 1);
    if (first == NULL)
        return LINK_SHORT;
    if (*first & 1)
        return PEEL(protocols, *first, bytes);
    if (take(bytes, 1) == NULL)
        return LINK_SHORT;
    return PEEL(protocols, be16(first), bytes);
}

static enum link_content peel_pppoe(struct link_bytes *bytes)
{
    const uint8_t *header = take(bytes, 6); /* RFC 2516: version and type, code, session, length */
    if (header == NULL)
        return LINK_SHORT;
    if (header[0] != 0x11 || header[1] != 0)
        return LINK_OTHER;
    return peel_ppp(bytes);
}

static enum link_content peel_tag(struct link_bytes *bytes);

/* A header of `size` bytes with an EtherType at `type_at`: below 0x600 it would be a length. */
static enum link_content peel_typed(struct link_bytes *bytes, uint32_t size, uint32_t type_at)
{
    static const struct next types[] = {
        {0x0800, peel_ip},  {0x86dd, peel_ip},   {0x8100, peel_tag},  {0x88a8, peel_tag},
        {0x9100, peel_tag}, {0x8847, peel_mpls}, {0x8848, peel_mpls}, {0x8864, peel_pppoe},
    };
    const uint8_t *header = take(bytes, size);
    if (header == NULL)
        return LINK_SHORT;
    const uint32_t type = be16(header + type_at);
    return type < 0x600 ? LINK_LENGTH : PEEL(types, type, bytes);
}

static enum link_content peel_tag(struct link_bytes *bytes)
{
    if (++bytes->layers > LINK_LAYERS_MAX)
        return LINK_DEEP;
    return peel_typed(bytes, 4, 2);
}

static enum link_content peel_ethernet(struct link_bytes *bytes)
{
    return peel_typed(bytes, 14, 12);
}

static enum link_content peel_cooked(struct link_bytes *bytes)
{
    return peel_typed(bytes, 16, 14);
}

static enum link_content peel_cooked2(struct link_bytes *bytes)
{
    return peel_typed(bytes, 20, 0);
}

/* PPP in frames like HDLC's (RFC 1662), whose address and control may be left out, or Cisco's,
 * which have an EtherType. No PPP protocol begins with these addresses. */
static enum link_content peel_hdlc(struct link_bytes *bytes)
{
    const uint32_t address = bytes->size > 0 ? bytes->at[0] : 0;
    if (address == 0x0f || address == 0x8f)
        return peel_typed(bytes, 4, 2);
    if (address == 0xff && take(bytes, 2) == NULL)
        return LINK_SHORT;
    return peel_ppp(bytes);
}

/* BSD's loopback: an address family in 4 bytes, in the order of the machine that captured (null) or
 * of the network (loop). Each system has a number of its own for IPv6. */
static enum link_content peel_family(struct link_bytes *bytes)
{
    static const struct next families[] = {
        {2, peel_ip}, {24, peel_ip}, {28, peel_ip}, {30, peel_ip}};
    const uint8_t *header = take(bytes, 4);
    if (header == NULL)
        return LINK_SHORT;
    const bool big = header[0] == 0 && header[1] == 0 && header[2] == 0;
    const bool little = header[1] == 0 && header[2] == 0 && header[3] == 0;
    return big || little ? PEEL(families, header[big ? 3 : 0], bytes) : LINK_OTHER;
}

static const struct {
    int dlt;
    link_peel *peel;
} links[] = {
    {DLT_EN10MB, peel_ethernet},
    {12, peel_ip}, /* DLT_RAW is 12 or 14, by system; the 101 of files is translated by libpcap */
    {14, peel_ip},
    {DLT_IPV4, peel_ip},
    {DLT_IPV6, peel_ip},
    {DLT_LINUX_SLL, peel_cooked},
    {DLT_LINUX_SLL2, peel_cooked2},
    {DLT_NULL, peel_family},
    {DLT_LOOP, peel_family},
    {DLT_PPP, peel_hdlc},
    {DLT_PPP_SERIAL, peel_hdlc},
    {DLT_PPP_ETHER, peel_pppoe},
    {DLT_C_HDLC, peel_hdlc},
};
enum { LINKS = sizeof links / sizeof *links };

link_peel *link_find(int dlt)
{
    for (size_t i = 0; i < LINKS; i++)
        if (links[i].dlt == dlt)
            return links[i].peel;
    return NULL;
}

int link_known(unsigned number)
{
    return number < LINKS ? links[number].dlt : -1;
}

const char *link_content_text(enum link_content content)
{
    static const char *const texts[LINK_CONTENTS] = {
#define LINK_X(name, text) text,
        LINK_CONTENTS_LIST(LINK_X)
#undef LINK_X
    };
    return texts[content];
}
