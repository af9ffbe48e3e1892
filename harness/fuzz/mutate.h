/* SPDX-License-Identifier: MIT */
/* mutate.h - inputs made, and changed, by one who knows what they are: records, conversations, packets,
 * lines of text. One source for libFuzzer (LLVMFuzzerCustomMutator), AFL++ (afl_custom_fuzz) and the
 * plain driver. */
#ifndef KEEPSTATE_MUTATE_H
#define KEEPSTATE_MUTATE_H

#include <stddef.h>
#include <stdint.h>

/* An input from nothing but chance, at most `max` bytes. */
size_t mutate_make(uint8_t *data, size_t max, uint64_t *random);

/* Changes an input in place; `other` is another one to take from, or NULL. */
size_t mutate(uint8_t *data, size_t size, size_t max, const uint8_t *other, size_t other_size, uint64_t *random);

#endif
