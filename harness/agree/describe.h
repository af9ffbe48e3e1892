/* SPDX-License-Identifier: MIT */
/* describe.h - a packet in words, one line, for people who look for a disagreement. */
#ifndef KEEPSTATE_DESCRIBE_H
#define KEEPSTATE_DESCRIBE_H

#include <stddef.h>
#include <stdint.h>

/* "192.0.2.1 > 198.51.100.1 tcp 40000 > 80 [S.] seq 1 ack 2 win 3 len 0"; cut at `size`. Reads only
 * [data, data + bytes), says so where that ends too soon. */
void describe(const uint8_t *data, size_t bytes, char *text, size_t size);

#endif
