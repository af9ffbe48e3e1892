/* SPDX-License-Identifier: MIT */
/* core/line.h - writing text without stdio: numbers and addresses, for lines that are printed and for
 * messages that helpers change. */
#ifndef KST_LINE_H
#define KST_LINE_H

#include "base.h"

/* A line that is cut at `size` but counts on. */
struct kst__line {
    char *text;
    size_t size, length;
};

static void kst__put(struct kst__line *line, const char *text)
{
    for (; *text != '\0'; text++, line->length++)
        if (line->length + 1 < line->size)
            line->text[line->length] = *text;
}

static void kst__put_number(struct kst__line *line, uint64_t number, uint32_t base)
{
    char digits[21], *at = digits + sizeof digits;
    *--at = '\0';
    do
        *--at = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    kst__put(line, at);
}

static void kst__put_padded(struct kst__line *line, const char *text, size_t width)
{
    const size_t end = line->length + width;
    kst__put(line, text);
    while (line->length < end)
        kst__put(line, " ");
}

/* `name` and a number behind it. */
static void kst__put_field(struct kst__line *line, const char *name, uint64_t number)
{
    kst__put(line, name);
    kst__put_number(line, number, 10);
}

static void kst__put_ipv4(struct kst__line *line, const uint8_t *address)
{
    for (uint32_t i = 0; i < 4; i++)
        kst__put_field(line, i == 0 ? "" : ".", address[i]);
}

/* As people write it (RFC 5952): the longest run of zeros, the first of equals, becomes `::`. */
static void kst__put_ipv6_short(struct kst__line *line, const uint8_t *address)
{
    uint32_t begin = 8, length = 1; /* a single zero is no run */
    for (uint32_t i = 0, run = 0; i < 8; i++) {
        run = kst__be16(address + 2 * i) == 0 ? run + 1 : 0;
        if (run > length) {
            length = run;
            begin = i + 1 - run;
        }
    }
    const bool mapped = begin == 0 && length == 5 && kst__be16(address + 10) == UINT16_MAX;
    const bool with_ipv4 = mapped || (begin == 0 && length == 6);
    for (uint32_t i = 0; i < (with_ipv4 ? 6u : 8u); i++) {
        if (i == begin) {
            kst__put(line, "::");
            i += length - 1;
            continue;
        }
        kst__put(line, i == 0 || i == begin + length ? "" : ":");
        kst__put_number(line, kst__be16(address + 2 * i), 16);
    }
    if (with_ipv4) {
        kst__put(line, mapped ? ":" : "");
        kst__put_ipv4(line, address + 12);
    }
}

#endif
