/* SPDX-License-Identifier: MIT */
/* core/print.h - names, sentences, and a connection as a line of text. No stdio. */
#ifndef KST_PRINT_H
#define KST_PRINT_H

#include "help.h"
#include "line.h"

const char *kst_reason_name(enum kst_reason reason)
{
    static const char *const names[KST_REASONS] = {
#define KST__X(name, columns, text) #name,
        KST_REASONS_LIST(KST__X)
#undef KST__X
    };
    return (uint32_t)reason < KST_REASONS ? names[reason] : "?";
}

const char *kst_reason_text(enum kst_reason reason)
{
    static const char *const texts[KST_REASONS] = {
#define KST__X(name, columns, text) text,
        KST_REASONS_LIST(KST__X)
#undef KST__X
    };
    return (uint32_t)reason < KST_REASONS ? texts[reason] : "?";
}

const char *kst_error_text(enum kst_error error)
{
    static const char *const texts[KST_ERRORS] = {
#define KST__X(name, text) text,
        KST_ERRORS_LIST(KST__X)
#undef KST__X
    };
    return (uint32_t)error < KST_ERRORS ? texts[error] : "?";
}

const char *kst_cause_text(enum kst_cause cause)
{
    static const char *const texts[KST_CAUSES] = {
#define KST__X(name, text) text,
        KST_CAUSES_LIST(KST__X)
#undef KST__X
    };
    return (uint32_t)cause < KST_CAUSES ? texts[cause] : "?";
}

const char *kst_state_name(enum kst_state state)
{
    static const char *const names[] = {"invalid", "new", "established", "related", "untracked"};
    return (uint32_t)state <= KST_UNTRACKED ? names[state] : "?";
}

const char *kst_direction_name(enum kst_direction direction)
{
    static const char *const names[] = {"original", "reply", "-"};
    return (uint32_t)direction <= KST_NO_DIRECTION ? names[direction] : "?";
}

const char *kst_tcp_state_name(enum kst_tcp_state state)
{
    static const char *const names[KST_TCP_STATES] = {
        "NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
        "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE",       "SYN_SENT2"};
    return (uint32_t)state < KST_TCP_STATES ? names[state] : "?";
}

const char *kst_sctp_state_name(enum kst_sctp_state state)
{
    static const char *const names[KST_SCTP_STATES] = {
        "NONE",          "CLOSED",        "COOKIE_WAIT",       "COOKIE_ECHOED",  "ESTABLISHED",
        "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT"};
    return (uint32_t)state < KST_SCTP_STATES ? names[state] : "?";
}

/* The protocol's word for a connection's state, NULL if it has none. */
static const char *kst__state_word(const struct kst_flow *flow)
{
    const uint8_t protocol = flow->tuple[KST_ORIGINAL].protocol;
    return protocol == KST__TCP    ? kst_tcp_state_name((enum kst_tcp_state)flow->state)
           : protocol == KST__SCTP ? kst_sctp_state_name((enum kst_sctp_state)flow->state)
                                   : NULL;
}

static const char *kst__or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* What a helper calls a class of its expectations. */
static const char *kst__class_name(uint8_t helper, uint8_t class_)
{
    const struct kst_helper *found = kst__helper(helper);
    return found != NULL && class_ < KST_EXPECT_CLASSES ? found->classes[class_].name : NULL;
}

/* All 32 digits, as /proc has them. */
static void kst__put_ipv6(struct kst__line *line, const uint8_t *address)
{
    for (uint32_t i = 0; i < 16; i++) {
        const char hex[3] = {"0123456789abcdef"[address[i] >> 4],
                             "0123456789abcdef"[address[i] & 15], '\0'};
        kst__put(line, i != 0 && i % 2 == 0 ? ":" : "");
        kst__put(line, hex);
    }
}

static void kst__put_address(struct kst__line *line, uint8_t family, const uint8_t *address,
                             bool short_ipv6)
{
    if (family == KST_IPV4)
        kst__put_ipv4(line, address);
    else if (short_ipv6)
        kst__put_ipv6_short(line, address);
    else
        kst__put_ipv6(line, address);
}

/* The fields of a tuple, each behind what the format puts before it. Keys are hexadecimal in
 * Linux's text, which JSON does not have: there they are decimal. */
struct kst__labels {
    const char *src, *dst, *sport, *dport, *type, *code, *id, *srckey, *dstkey, *end;
    uint32_t key_base;
    bool short_ipv6;
};

static void kst__put_tuple(struct kst__line *line, const struct kst_tuple *tuple,
                           const struct kst__labels *labels)
{
    kst__put(line, labels->src);
    kst__put_address(line, tuple->family, tuple->src, labels->short_ipv6);
    kst__put(line, labels->dst);
    kst__put_address(line, tuple->family, tuple->dst, labels->short_ipv6);
    kst__put(line, labels->end);
    switch (kst__protocol_of(tuple->protocol)->ports) {
    case KST__PORTS:
        kst__put_field(line, labels->sport, tuple->src_port);
        kst__put_field(line, labels->dport, tuple->dst_port);
        break;
    case KST__TYPES:
        kst__put_field(line, labels->type, tuple->dst_port >> 8);
        kst__put_field(line, labels->code, tuple->dst_port & 0xff);
        kst__put_field(line, labels->id, tuple->src_port);
        break;
    case KST__KEYS:
        kst__put(line, labels->srckey);
        kst__put_number(line, tuple->src_port, labels->key_base);
        kst__put(line, labels->dstkey);
        kst__put_number(line, tuple->dst_port, labels->key_base);
        break;
    default: break;
    }
}

/* What of a connection is told: conntrack lists more than its events say. */
enum kst__telling {
    KST__TELL_MARK = 1,     /* the mark, also if it is 0 */
    KST__TELL_COUNTERS = 2, /* packets, bytes, age */
    KST__TELL_HELPER = 4,
    KST__TELL_EXPIRED = 8   /* the time left, also if it is no whole second */
};

static const struct kst__labels kst__proc_labels = {
    " src=", " dst=", " sport=", " dport=", " type=", " code=", " id=",
    " srckey=0x", " dstkey=0x", "", 16, false};

/* Three formats of one family: PROC has the network layer in front, LEGACY no zone and no age,
 * CONNTRACK short addresses, a zone only if it is one, no timeouts of GRE's own, but the helper. */
static void kst__put_proc(struct kst__line *line, const struct kst_flow *flow,
                          enum kst_format format, uint32_t telling)
{
    static const char *const zones[2] = {" zone-orig=", " zone-reply="};
    struct kst__labels labels = kst__proc_labels;
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    const bool one_zone = original->zone == flow->tuple[KST_REPLY].zone;
    const bool conntrack = format == KST_FORMAT_CONNTRACK, legacy = format == KST_FORMAT_LEGACY;
    labels.short_ipv6 = conntrack;
    if (format == KST_FORMAT_PROC) {
        kst__put_padded(line, original->family == KST_IPV4 ? "ipv4" : "ipv6", 8);
        kst__put_field(line, " ", original->family);
        kst__put(line, " ");
    }
    kst__put_padded(line, kst__protocol_of(original->protocol)->name, 8);
    kst__put_field(line, " ", original->protocol);
    if (flow->timeout_ms >= 1000 || (telling & KST__TELL_EXPIRED))
        kst__put_field(line, " ", flow->timeout_ms / 1000);
    if (kst__state_word(flow) != NULL) {
        kst__put(line, " ");
        kst__put(line, kst__state_word(flow));
    }
    if (original->protocol == KST__GRE && !conntrack) {
        kst__put_field(line, " timeout=", flow->gre_timeouts_s[0]);
        kst__put_field(line, ", stream_timeout=", flow->gre_timeouts_s[1]);
    }
    for (uint32_t direction = 0; direction < 2; direction++) {
        kst__put_tuple(line, &flow->tuple[direction], &labels);
        if (!one_zone && flow->tuple[direction].zone != 0 && !legacy)
            kst__put_field(line, zones[direction], flow->tuple[direction].zone);
        if (flow->accounted && (telling & KST__TELL_COUNTERS)) {
            kst__put_field(line, " packets=", flow->packets[direction]);
            kst__put_field(line, " bytes=", flow->bytes[direction]);
        }
        if (direction == KST_ORIGINAL && !(flow->status & KST_SEEN_REPLY))
            kst__put(line, " [UNREPLIED]");
    }
    if (flow->status & KST_ASSURED)
        kst__put(line, " [ASSURED]");
    if (flow->mark != 0 || (telling & KST__TELL_MARK))
        kst__put_field(line, " mark=", flow->mark);
    if (one_zone && (conntrack ? original->zone != 0 : !legacy))
        kst__put_field(line, " zone=", original->zone);
    if (flow->timestamped && !legacy && (telling & KST__TELL_COUNTERS))
        kst__put_field(line, " delta-time=", flow->age_ms / 1000);
    if (conntrack && flow->helper != 0 && (telling & KST__TELL_HELPER)) {
        kst__put(line, " helper=");
        kst__put(line, kst__or_empty(kst_helper_name(flow->helper)));
    }
}

static const struct kst__labels kst__json_labels = {
    "\"src\":\"",  "\",\"dst\":\"", ",\"sport\":",  ",\"dport\":",  ",\"type\":",
    ",\"code\":", ",\"id\":",     ",\"srckey\":", ",\"dstkey\":", "\"",
    10, false};

static void kst__put_json(struct kst__line *line, const struct kst_flow *flow)
{
    static const char *const names[2] = {",\"original\":{", ",\"reply\":{"};
    const struct kst_tuple *original = &flow->tuple[KST_ORIGINAL];
    kst__put_field(line, "{\"family\":\"ipv", original->family == KST_IPV4 ? 4 : 6);
    kst__put(line, "\",\"protocol\":\"");
    kst__put(line, kst__protocol_of(original->protocol)->name);
    kst__put_field(line, "\",\"protonum\":", original->protocol);
    kst__put_field(line, ",\"timeout\":", flow->timeout_ms / 1000);
    if (kst__state_word(flow) != NULL) {
        kst__put(line, ",\"state\":\"");
        kst__put(line, kst__state_word(flow));
        kst__put(line, "\"");
    }
    for (uint32_t direction = 0; direction < 2; direction++) {
        kst__put(line, names[direction]);
        kst__put_tuple(line, &flow->tuple[direction], &kst__json_labels);
        if (flow->accounted) {
            kst__put_field(line, ",\"packets\":", flow->packets[direction]);
            kst__put_field(line, ",\"bytes\":", flow->bytes[direction]);
        }
        kst__put(line, "}");
    }
    kst__put(line, flow->status & KST_SEEN_REPLY ? ",\"seen_reply\":true" : ",\"seen_reply\":false");
    kst__put(line, flow->status & KST_ASSURED ? ",\"assured\":true" : ",\"assured\":false");
    kst__put_field(line, ",\"mark\":", flow->mark);
    if (original->zone == flow->tuple[KST_REPLY].zone) {
        kst__put_field(line, ",\"zone\":", original->zone);
    } else {
        kst__put_field(line, ",\"zone_original\":", original->zone);
        kst__put_field(line, ",\"zone_reply\":", flow->tuple[KST_REPLY].zone);
    }
    if (flow->timestamped)
        kst__put_field(line, ",\"age\":", flow->age_ms / 1000);
    if (flow->helper != 0) {
        kst__put(line, ",\"helper\":\"");
        kst__put(line, kst__or_empty(kst_helper_name(flow->helper)));
        kst__put(line, "\"");
    }
    if (flow->status & KST_EXPECTED)
        kst__put_field(line, ",\"expected\":true,\"master\":", flow->master);
    kst__put(line, "}");
}

/* Ends a line, and says how long all of it is. */
static size_t kst__line_end(struct kst__line *line)
{
    if (line->size > 0)
        line->text[line->length < line->size ? line->length : line->size - 1] = '\0';
    return line->length;
}

size_t kst_print(const struct kst_flow *flow, enum kst_format format, char *text, size_t size)
{
    struct kst__line line = {text, size, 0};
    if (format == KST_FORMAT_JSON)
        kst__put_json(&line, flow);
    else if (format != KST_FORMAT_LEGACY || flow->tuple[KST_ORIGINAL].family == KST_IPV4)
        kst__put_proc(&line, flow, format,
                      KST__TELL_MARK | KST__TELL_COUNTERS | KST__TELL_HELPER | KST__TELL_EXPIRED);
    return kst__line_end(&line);
}

/* What an expectation is besides where it goes: words with `between` between, `behind` behind
 * the last. */
static void kst__put_flags(struct kst__line *line, uint32_t flags, const char *between,
                           const char *behind)
{
    static const char *const names[] = {"PERMANENT", "INACTIVE", "USERSPACE"};
    bool some = false;
    for (uint32_t i = 0; i < 3; i++) {
        if (!(flags & (uint32_t)KST_EXPECT_PERMANENT << i))
            continue;
        kst__put(line, some ? between : "");
        kst__put(line, names[i]);
        some = true;
    }
    kst__put(line, some ? behind : "");
}

/* All ones, or none, in the family's way. */
static void kst__put_mask(struct kst__line *line, const char *name, uint8_t family, bool ones)
{
    uint8_t address[16];
    memset(address, ones ? 0xff : 0, sizeof address);
    kst__put(line, name);
    kst__put_address(line, family, address, true);
}

/* `conntrack -L expect` */
static void kst__put_conntrack_expectation(struct kst__line *line,
                                           const struct kst_expectation *x)
{
    static const char *const ports[][2] = {
        {"", ""}, {" sport=", " dport="}, {"", ""}, {" srckey=0x", " dstkey=0x"}};
    struct kst__labels labels = kst__proc_labels;
    const uint8_t kind = kst__protocol_of(x->tuple.protocol)->ports;
    const uint32_t base = kind == KST__KEYS ? 16 : 10;
    labels.short_ipv6 = true;
    kst__put_field(line, "", x->timeout_ms / 1000);
    kst__put_field(line, " proto=", x->tuple.protocol);
    kst__put_tuple(line, &x->tuple, &labels);
    kst__put_mask(line, " mask-src=", x->tuple.family, !(x->flags & KST_EXPECT_ANY_SRC));
    kst__put_mask(line, " mask-dst=", x->tuple.family, true);
    if (kind == KST__PORTS || kind == KST__KEYS) {
        kst__put(line, ports[kind][0]);
        kst__put_number(line, x->flags & KST_EXPECT_ANY_SRC_PORT ? 0 : UINT16_MAX, base);
        kst__put(line, ports[kind][1]);
        kst__put_number(line, UINT16_MAX, base);
    }
    kst__put(line, " master-src=");
    kst__put_address(line, x->master_tuple.family, x->master_tuple.src, true);
    kst__put(line, " master-dst=");
    kst__put_address(line, x->master_tuple.family, x->master_tuple.dst, true);
    kst__put_field(line, " sport=", x->master_tuple.src_port);
    kst__put_field(line, " dport=", x->master_tuple.dst_port);
    if (x->tuple.zone != 0)
        kst__put_field(line, " zone=", x->tuple.zone);
    kst__put(line, " ");
    kst__put_flags(line, x->flags, ",", " ");
    kst__put_field(line, "class=", x->class_);
    kst__put(line, " helper=");
    kst__put(line, kst__or_empty(kst_helper_name(x->helper)));
}

/* /proc/net/nf_conntrack_expect */
static void kst__put_proc_expectation(struct kst__line *line, const struct kst_expectation *x)
{
    const char *name = kst_helper_name(x->helper);
    const char *class_ = kst__or_empty(kst__class_name(x->helper, x->class_));
    kst__put_field(line, "", x->timeout_ms / 1000);
    kst__put_field(line, " l3proto = ", x->tuple.family);
    kst__put_field(line, " proto=", x->tuple.protocol);
    kst__put_tuple(line, &x->tuple, &kst__proc_labels);
    kst__put(line, " ");
    kst__put_flags(line, x->flags, ",", " ");
    kst__put(line, kst__or_empty(name));
    kst__put(line, class_[0] != '\0' ? "/" : "");
    kst__put(line, class_);
}

static void kst__put_json_expectation(struct kst__line *line, const struct kst_expectation *x)
{
    kst__put_field(line, "{\"family\":\"ipv", x->tuple.family == KST_IPV4 ? 4 : 6);
    kst__put_field(line, "\",\"protonum\":", x->tuple.protocol);
    kst__put_field(line, ",\"timeout\":", x->timeout_ms / 1000);
    kst__put(line, ",\"expected\":{");
    kst__put_tuple(line, &x->tuple, &kst__json_labels);
    kst__put(line, x->flags & KST_EXPECT_ANY_SRC ? "},\"any_src\":true" : "},\"any_src\":false");
    kst__put(line, x->flags & KST_EXPECT_ANY_SRC_PORT ? ",\"any_sport\":true" : ",\"any_sport\":false");
    kst__put(line, x->flags & KST_EXPECT_PERMANENT ? ",\"permanent\":true" : ",\"permanent\":false");
    kst__put(line, x->flags & KST_EXPECT_INACTIVE ? ",\"active\":false" : ",\"active\":true");
    kst__put_field(line, ",\"master\":", x->master);
    kst__put_field(line, ",\"class\":", x->class_);
    kst__put(line, ",\"helper\":\"");
    kst__put(line, kst__or_empty(kst_helper_name(x->helper)));
    kst__put(line, "\"}");
}

size_t kst_print_expectation(const struct kst_expectation *expectation, enum kst_format format,
                             char *text, size_t size)
{
    struct kst__line line = {text, size, 0};
    if (format == KST_FORMAT_JSON)
        kst__put_json_expectation(&line, expectation);
    else if (format == KST_FORMAT_CONNTRACK)
        kst__put_conntrack_expectation(&line, expectation);
    else
        kst__put_proc_expectation(&line, expectation);
    return kst__line_end(&line);
}

size_t kst_print_event(const struct kst_event *event, enum kst_format format, char *text,
                       size_t size)
{
    static const char *const heads[] = {"    [NEW] ", " [UPDATE] ", "[DESTROY] ", "    [NEW] ",
                                        "[DESTROY] "};
    static const char *const names[] = {"new",      "update",         "destroy", "expect_new",
                                        "expect_destroy", "pressure", "relief"};
    struct kst__line line = {text, size, 0};
    const bool json = format == KST_FORMAT_JSON, of_flow = event->type <= KST_EVENT_DESTROY;
    const bool of_expectation = !of_flow && event->type <= KST_EVENT_EXPECT_DESTROY;
    if (event->type > KST_EVENT_RELIEF || (!json && !of_flow && !of_expectation))
        return kst__line_end(&line);
    if (json) {
        kst__put(&line, "{\"event\":\"");
        kst__put(&line, names[event->type]);
        if (event->type == KST_EVENT_DESTROY) {
            kst__put(&line, "\",\"cause\":\"");
            kst__put(&line, kst_cause_text((enum kst_cause)event->cause));
        }
        kst__put(&line, of_flow          ? "\",\"connection\":"
                        : of_expectation ? "\",\"expectation\":"
                                         : "\",\"connections\":");
        if (of_flow)
            kst__put_json(&line, &event->about.flow);
        else if (of_expectation)
            kst__put_json_expectation(&line, &event->about.expectation);
        else
            kst__put_number(&line, event->about.count, 10);
        kst__put(&line, "}");
        return kst__line_end(&line);
    }
    kst__put(&line, heads[event->type]);
    if (of_expectation)
        kst__put_conntrack_expectation(&line, &event->about.expectation);
    else
        kst__put_proc(&line, &event->about.flow, KST_FORMAT_CONNTRACK,
                      event->type == KST_EVENT_DESTROY ? KST__TELL_COUNTERS
                      : event->type == KST_EVENT_NEW   ? KST__TELL_HELPER | KST__TELL_EXPIRED
                                                       : KST__TELL_EXPIRED);
    return kst__line_end(&line);
}

#endif
