/* SPDX-License-Identifier: MIT */
/* naive.c - asking the naive tracker. */
#define _GNU_SOURCE
#include "keepstate.h"

#include "../naive.h"

#include "answer.h"

#include <stdio.h>
#include <stdlib.h>

/* A packet to or from a port that the recorded kernel gave a helper. */
static bool to_helper(const uint8_t *l4, uint32_t bytes, unsigned protocol)
{
    static const struct {
        unsigned protocol, port;
    } helped[] = {{6, 21}, {6, 1723}, {6, 5060}, {6, 5061}, {6, 6667}, {17, 69}, {17, 5060}};
    for (size_t i = 0; i < sizeof helped / sizeof helped[0] && bytes >= 4; i++)
        if (protocol == helped[i].protocol && (helped[i].port == naive_16(l4) || helped[i].port == naive_16(l4 + 2)))
            return true;
    return false;
}

/* Whether a packet is a fragment, or goes to a helper: what the naive tracker leaves out. */
static const char *beyond(const struct vec_packet *packet)
{
    const uint8_t *data = packet->data;
    if (packet->size >= 20 && data[0] >> 4 == 4) {
        const uint32_t header = (data[0] & 15u) * 4;
        if (naive_16(data + 6) & 0x3fff)
            return "fragments";
        if (header <= packet->size && to_helper(data + header, packet->size - header, data[9]))
            return "helpers";
    } else if (packet->size >= 40 && data[0] >> 4 == 6) {
        uint32_t at = 40, next = data[6];
        while ((next == 0 || next == 43 || next == 44 || next == 51 || next == 60) && at + 8 <= packet->size) {
            if (next == 44) /* even one of all there is comes through another room */
                return (naive_16(data + at + 2) & 0xfff9) != 0 ? "fragments" : NULL;
            const uint32_t bytes = next == 51 ? (data[at + 1] + 2u) * 4 : (data[at + 1] + 1u) * 8;
            next = data[at];
            at += bytes;
        }
        if (at <= packet->size && to_helper(data + at, packet->size - at, next))
            return "helpers";
    }
    return NULL;
}

const char *naive_beyond(const struct vec_case *c)
{
    if (c->rules_count > 0)
        return "rules";
    for (size_t i = 0; i < c->packets_count; i++) {
        const char *why =
            c->packets[i].zone_of != 0 ? "zones of one direction" : beyond(&c->packets[i]);
        if (why != NULL)
            return why;
    }
    return NULL;
}

struct answer *ask_naive(const struct vec_case *c)
{
    static const struct kst_config config = {.max = NAIVE_ROOM,
                                             .features = KST_WITH_ACCOUNTING | KST_WITH_TIMESTAMPS};
    static struct naive n;
    struct answer *answers = need(calloc(c->packets_count + 1, sizeof *answers));
    uint64_t now_ms = 0;
    naive_init(&n, &config);
    for (size_t i = 0; i < c->settings_count; i++)
        if (naive_set(&n, 0, c->settings[i].name, c->settings[i].value) != KST_ERROR_OK) {
            fprintf(stderr, "agree: %s: set %s %u\n", c->name, c->settings[i].name, c->settings[i].value);
            exit(2);
        }
    for (size_t i = 0; i < c->packets_count; i++) {
        const struct kst_packet packet = {.data = c->packets[i].data, .size = c->packets[i].size,
                                          .zone = c->packets[i].zone};
        struct kst_result result;
        now_ms += c->packets[i].wait_ms;
        naive_track(&n, now_ms, &packet, &result);
        snprintf(answers[i].is, sizeof answers[i].is, "%s %s", kst_state_name((enum kst_state)result.state),
                 kst_direction_name((enum kst_direction)result.direction));
        answers[i].reason = kst_reason_name((enum kst_reason)result.reason);
        for (uint32_t j = 0; j < n.count; j++) {
            struct kst_flow flow;
            char line[KST_LINE_MAX + 4] = "ct ";
            naive_flow(&n, &n.entry[j], &flow);
            kst_print(&flow, KST_FORMAT_PROC, line + 3, KST_LINE_MAX);
            answer_add(&answers[i], line);
        }
    }
    return answers;
}
