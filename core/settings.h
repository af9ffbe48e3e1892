/* SPDX-License-Identifier: MIT */
/* core/settings.h - the knobs, each under its kernel name, changeable while running. */
#ifndef KST_SETTINGS_H
#define KST_SETTINGS_H

#include "base.h"

/* X(id, name, default, lowest, highest). Defaults as measured on Linux 6.18; times in seconds.
 * The defaults of `max`, `buckets`, `count` and `expect_max` come from the table itself. What
 * Linux has as a parameter of a helper's module (loose, sip_direct_media, ...) is a setting
 * here, behind `nf_conntrack_`. */
#define KST__SETTINGS_LIST(X)                                                                      \
    X(MAX, "nf_conntrack_max", 0, 1, KST_ENTRIES_MAX)                                              \
    X(BUCKETS, "nf_conntrack_buckets", 0, 0, 0)                                                    \
    X(COUNT, "nf_conntrack_count", 0, 0, 0)                                                        \
    X(ACCT, "nf_conntrack_acct", 0, 0, 1)                                                          \
    X(CHECKSUM, "nf_conntrack_checksum", 1, 0, 1)                                                  \
    X(EVENTS, "nf_conntrack_events", 2, 0, 2)                                                      \
    X(EXPECT_MAX, "nf_conntrack_expect_max", 0, 0, KST_EXPECTATIONS_MAX)                           \
    X(TIMESTAMP, "nf_conntrack_timestamp", 0, 0, 1)                                                \
    X(SOURCE_MAX, "keepstate_source_max", 0, 0, KST_ENTRIES_MAX)                                   \
    X(ZONE_MAX, "keepstate_zone_max", 0, 0, KST_ENTRIES_MAX)                                       \
    X(HALF_OPEN_MAX, "keepstate_half_open_max", 100, 1, 100)                                       \
    X(PRESSURE_HIGH, "keepstate_pressure_high", 95, 1, 100)                                        \
    X(PRESSURE_LOW, "keepstate_pressure_low", 85, 0, 100)                                          \
    X(FTP_LOOSE, "nf_conntrack_ftp_loose", 0, 0, 1)                                                \
    X(SIP_DIRECT_MEDIA, "nf_conntrack_sip_direct_media", 1, 0, 1)                                  \
    X(SIP_DIRECT_SIGNALLING, "nf_conntrack_sip_direct_signalling", 1, 0, 1)                        \
    X(SIP_TIMEOUT, "nf_conntrack_sip_timeout", 3600, 0, KST_TIMEOUT_MAX_S)                         \
    X(FRAG4_TIMEOUT, "ipfrag_time", 30, 0, KST_TIMEOUT_MAX_S)                                      \
    X(FRAG6_TIMEOUT, "nf_conntrack_frag6_timeout", 60, 0, KST_TIMEOUT_MAX_S)                       \
    X(GENERIC_TIMEOUT, "nf_conntrack_generic_timeout", 600, 0, KST_TIMEOUT_MAX_S)                  \
    X(GRE_TIMEOUT, "nf_conntrack_gre_timeout", 30, 0, KST_TIMEOUT_MAX_S)                           \
    X(GRE_TIMEOUT_STREAM, "nf_conntrack_gre_timeout_stream", 180, 0, KST_TIMEOUT_MAX_S)            \
    X(ICMP_TIMEOUT, "nf_conntrack_icmp_timeout", 30, 0, KST_TIMEOUT_MAX_S)                         \
    X(ICMPV6_TIMEOUT, "nf_conntrack_icmpv6_timeout", 30, 0, KST_TIMEOUT_MAX_S)                     \
    X(UDP_TIMEOUT, "nf_conntrack_udp_timeout", 30, 0, KST_TIMEOUT_MAX_S)                           \
    X(UDP_TIMEOUT_STREAM, "nf_conntrack_udp_timeout_stream", 120, 0, KST_TIMEOUT_MAX_S)            \
    X(UDPLITE_RFC3828, "keepstate_udplite_rfc3828", 0, 0, 1)                                       \
    X(SCTP_CLOSED, "nf_conntrack_sctp_timeout_closed", 10, 0, KST_TIMEOUT_MAX_S)                   \
    X(SCTP_COOKIE_WAIT, "nf_conntrack_sctp_timeout_cookie_wait", 3, 0, KST_TIMEOUT_MAX_S)          \
    X(SCTP_COOKIE_ECHOED, "nf_conntrack_sctp_timeout_cookie_echoed", 3, 0, KST_TIMEOUT_MAX_S)      \
    X(SCTP_ESTABLISHED, "nf_conntrack_sctp_timeout_established", 210, 0, KST_TIMEOUT_MAX_S)        \
    X(SCTP_SHUTDOWN_SENT, "nf_conntrack_sctp_timeout_shutdown_sent", 3, 0, KST_TIMEOUT_MAX_S)      \
    X(SCTP_SHUTDOWN_RECD, "nf_conntrack_sctp_timeout_shutdown_recd", 3, 0, KST_TIMEOUT_MAX_S)      \
    X(SCTP_ACK_SENT, "nf_conntrack_sctp_timeout_shutdown_ack_sent", 3, 0, KST_TIMEOUT_MAX_S)       \
    X(SCTP_HEARTBEAT_SENT, "nf_conntrack_sctp_timeout_heartbeat_sent", 30, 0, KST_TIMEOUT_MAX_S)   \
    X(TCP_BE_LIBERAL, "nf_conntrack_tcp_be_liberal", 0, 0, 1)                                      \
    X(TCP_IGNORE_INVALID_RST, "nf_conntrack_tcp_ignore_invalid_rst", 0, 0, 1)                      \
    X(TCP_LOOSE, "nf_conntrack_tcp_loose", 1, 0, 1)                                                \
    X(TCP_MAX_RETRANS, "nf_conntrack_tcp_max_retrans", 3, 0, 255)                                  \
    X(TCP_SYN_SENT, "nf_conntrack_tcp_timeout_syn_sent", 120, 0, KST_TIMEOUT_MAX_S)                \
    X(TCP_SYN_RECV, "nf_conntrack_tcp_timeout_syn_recv", 60, 0, KST_TIMEOUT_MAX_S)                 \
    X(TCP_ESTABLISHED, "nf_conntrack_tcp_timeout_established", 432000, 0, KST_TIMEOUT_MAX_S)       \
    X(TCP_FIN_WAIT, "nf_conntrack_tcp_timeout_fin_wait", 120, 0, KST_TIMEOUT_MAX_S)                \
    X(TCP_CLOSE_WAIT, "nf_conntrack_tcp_timeout_close_wait", 60, 0, KST_TIMEOUT_MAX_S)             \
    X(TCP_LAST_ACK, "nf_conntrack_tcp_timeout_last_ack", 30, 0, KST_TIMEOUT_MAX_S)                 \
    X(TCP_TIME_WAIT, "nf_conntrack_tcp_timeout_time_wait", 120, 0, KST_TIMEOUT_MAX_S)              \
    X(TCP_CLOSE, "nf_conntrack_tcp_timeout_close", 10, 0, KST_TIMEOUT_MAX_S)                       \
    X(TCP_RETRANS_TIMEOUT, "nf_conntrack_tcp_timeout_max_retrans", 300, 0, KST_TIMEOUT_MAX_S)      \
    X(TCP_UNACKED, "nf_conntrack_tcp_timeout_unacknowledged", 300, 0, KST_TIMEOUT_MAX_S)

enum {
#define KST__X(id, name, normal, lowest, highest) KST__SET_##id,
    KST__SETTINGS_LIST(KST__X)
#undef KST__X
    KST__SETTINGS
};

struct kst__setting {
    const char *name;
    uint32_t normal, lowest, highest;
};

static const struct kst__setting kst__settings[KST__SETTINGS] = {
#define KST__X(id, name, normal, lowest, highest) {name, normal, lowest, highest},
    KST__SETTINGS_LIST(KST__X)
#undef KST__X
};

/* The number of a setting, KST__SETTINGS if no setting has this name. */
static uint32_t kst__setting_number(const char *name)
{
    uint32_t number = 0;
    while (number < KST__SETTINGS && strcmp(kst__settings[number].name, name) != 0)
        number++;
    return number;
}

#endif
