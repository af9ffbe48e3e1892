/* SPDX-License-Identifier: MIT */
/* path.c - hooks, tables, routing, in Linux's order. What a hook has in store stands in a table; each
 * step may end the way. */
#define _GNU_SOURCE
#include "path.h"
#include "join.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct route {
    uint8_t family, prefix, net[16];
    char interface[PATH_NAME_MAX + 1];
};

struct path {
    struct kst *t;
    struct rules *rules[2]; /* IPv4, IPv6 */
    struct route *routes, *addresses;
    size_t routes_count, addresses_count;
    struct join *join;
    uint8_t bytes[PATH_BYTES_MAX + 1024]; /* of the packet under way; helpers may make it longer */
};

/* ---- the machine ---- */

struct path *path_new(struct kst *t)
{
    struct path *path = calloc(1, sizeof *path);
    if (path != NULL && (path->join = join_new()) == NULL) {
        free(path);
        path = NULL;
    }
    if (path != NULL)
        path->t = t;
    return path;
}

void path_free(struct path *path)
{
    if (path == NULL)
        return;
    join_free(path->join);
    free(path->routes);
    free(path->addresses);
    free(path);
}

void path_set_rules(struct path *path, struct rules *rules)
{
    path->rules[rules->family == KST_IPV6] = rules;
}

static bool add(struct route **list, size_t *count, const struct route *one)
{
    struct route *longer = realloc(*list, (*count + 1) * sizeof *longer);
    if (longer == NULL)
        return false;
    *list = longer;
    longer[(*count)++] = *one;
    return true;
}

/* ADDRESS[/LENGTH] in the first `length` bytes of the text; *has_prefix: a length was given. */
static bool read_net(const char *text, size_t length, struct route *one, bool *has_prefix)
{
    char copy[64], *end;
    if (length >= sizeof copy)
        return false;
    memcpy(copy, text, length);
    copy[length] = '\0';
    char *slash = strchr(copy, '/');
    *has_prefix = slash != NULL;
    if (slash != NULL)
        *slash++ = '\0';
    one->family = strchr(copy, ':') != NULL ? KST_IPV6 : KST_IPV4;
    if (inet_pton(one->family == KST_IPV6 ? AF_INET6 : AF_INET, copy, one->net) != 1)
        return false;
    const unsigned long most = one->family == KST_IPV6 ? 128 : 32;
    const unsigned long prefix = slash != NULL ? strtoul(slash, &end, 10) : most;
    one->prefix = (uint8_t)prefix;
    return slash == NULL || (*slash >= '0' && *slash <= '9' && *end == '\0' && prefix <= most);
}

static bool read_name(const char *text, size_t length, struct route *one)
{
    if (length == 0 || length > PATH_NAME_MAX)
        return false;
    memcpy(one->interface, text, length);
    one->interface[length] = '\0';
    return strcspn(one->interface, " /=") == length;
}

bool path_add_route(struct path *path, const char *text)
{
    const char *equals = strchr(text, '=');
    struct route one = {0};
    bool has_prefix;
    if (equals == NULL || !read_name(equals + 1, strlen(equals + 1), &one))
        return false;
    if (strncmp(text, "default=", 8) != 0)
        return read_net(text, (size_t)(equals - text), &one, &has_prefix) &&
               add(&path->routes, &path->routes_count, &one);
    one.family = KST_IPV4;
    if (!add(&path->routes, &path->routes_count, &one))
        return false;
    one.family = KST_IPV6;
    return add(&path->routes, &path->routes_count, &one);
}

bool path_add_address(struct path *path, const char *text)
{
    const char *equals = strchr(text, '=');
    struct route one = {0};
    bool has_prefix;
    if (equals == NULL || !read_name(text, (size_t)(equals - text), &one) ||
        !read_net(equals + 1, strlen(equals + 1), &one, &has_prefix) ||
        !add(&path->addresses, &path->addresses_count, &one))
        return false;
    return !has_prefix || add(&path->routes, &path->routes_count, &one);
}

bool path_knows(const struct path *path, const char *interface)
{
    const size_t length = strlen(interface);
    const bool begins = length > 0 && interface[length - 1] == '+';
    if (strcmp(interface, "lo") == 0)
        return true;
    for (size_t i = 0; i < path->routes_count + path->addresses_count; i++) {
        const char *known = i < path->routes_count ? path->routes[i].interface
                                                   : path->addresses[i - path->routes_count].interface;
        if (begins ? strncmp(known, interface, length - 1) == 0 : strcmp(known, interface) == 0)
            return true;
    }
    return false;
}

/* ---- routing ---- */

static bool inside(const struct route *route, uint8_t family, const uint8_t *address, uint32_t prefix)
{
    if (route->family != family || memcmp(route->net, address, prefix / 8) != 0)
        return false;
    return prefix % 8 == 0 || ((route->net[prefix / 8] ^ address[prefix / 8]) >> (8 - prefix % 8)) == 0;
}

/* An address of the machine itself: its own, and those of loopback. */
static bool is_ours(const struct path *path, uint8_t family, const uint8_t *address)
{
    static const uint8_t loopback[16] = {[15] = 1};
    const uint32_t bits = family == KST_IPV6 ? 128 : 32;
    if (family == KST_IPV6 ? memcmp(address, loopback, 16) == 0 : address[0] == 127)
        return true;
    for (size_t i = 0; i < path->addresses_count; i++)
        if (inside(&path->addresses[i], family, address, bits))
            return true;
    return false;
}

/* One that every host on a link takes: multicast, broadcast. */
static bool is_for_all(const struct path *path, uint8_t family, const uint8_t *address)
{
    if (family == KST_IPV6)
        return address[0] == 0xff;
    if (address[0] >> 4 == 14 || memcmp(address, "\xff\xff\xff\xff", 4) == 0)
        return true;
    for (size_t i = 0; i < path->addresses_count; i++) {
        const struct route *one = &path->addresses[i];
        const uint32_t host = one->prefix < 31 ? UINT32_MAX >> one->prefix : 0;
        const uint32_t low = (uint32_t)address[0] << 24 | (uint32_t)address[1] << 16 |
                             (uint32_t)address[2] << 8 | address[3];
        if (host != 0 && inside(one, family, address, one->prefix) && (low & host) == host)
            return true;
    }
    return false;
}

/* The interface by the longest prefix, NULL if there is no way. Without a route of the family all is
 * taken to be reachable, nobody knows by what. */
static const char *route(const struct path *path, uint8_t family, const uint8_t *address)
{
    const struct route *best = NULL;
    bool any = false;
    for (size_t i = 0; i < path->routes_count; i++) {
        const struct route *one = &path->routes[i];
        any |= one->family == family;
        if (inside(one, family, address, one->prefix) && (best == NULL || one->prefix > best->prefix))
            best = one;
    }
    return best != NULL ? best->interface : any ? NULL : "";
}

static bool address_of(void *context, const char *interface, bool else_any, uint8_t family, uint8_t address[16])
{
    static const uint8_t loopback[2][16] = {{127, 0, 0, 1}, {[15] = 1}};
    const struct path *path = context;
    const struct route *found = NULL;
    for (size_t i = path->addresses_count; i-- > 0;) {
        const struct route *one = &path->addresses[i];
        const bool here = strcmp(one->interface, interface) == 0;
        if (one->family == family &&
            (here || (else_any && (found == NULL || strcmp(found->interface, interface) != 0))))
            found = one;
    }
    if (found == NULL && strcmp(interface, "lo") != 0)
        return false;
    memcpy(address, found != NULL ? found->net : loopback[family == KST_IPV6], 16);
    return true;
}

/* ---- the walk ---- */

enum step { END, RAW, TRACK, MANGLE, DNAT, FILTER, SNAT, CONFIRM };

/* In the order of Linux's priorities. */
static const uint8_t steps[RULES_HOOKS][6] = {
    [RULES_PREROUTING] = {RAW, TRACK, MANGLE, DNAT},
    [RULES_INPUT] = {MANGLE, FILTER, SNAT, CONFIRM},
    [RULES_FORWARD] = {MANGLE, FILTER},
    [RULES_OUTPUT] = {RAW, TRACK, MANGLE, DNAT, FILTER},
    [RULES_POSTROUTING] = {MANGLE, SNAT, CONFIRM}};

struct walk {
    struct path *path;
    uint64_t now_ms;
    struct rules *rules; /* of the family, or NULL */
    struct rules_packet p;
    struct kst_packet packet;
    const struct path_listener *listener;
    struct path_end *end;
    enum rules_hook hook;
    bool again;          /* looped: what is done once is done */
    bool confirmed;
};

__attribute__((format(printf, 2, 3))) static void say(const struct walk *w, const char *format, ...)
{
    char words[256];
    va_list arguments;
    if (w->listener == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    w->listener->step(w->listener->context, rules_hook_names[w->hook], words);
}

/* Ends the way; always false. */
static bool stop(struct walk *w, const char *why)
{
    w->end->why = why;
    say(w, "%s: %s", w->end->held ? "held" : "dropped", why);
    return false;
}

static void met(void *context, enum rules_hook hook, enum rules_table table, const struct rules_chain *chain,
                const struct rules_rule *rule, enum rules_verdict verdict)
{
    struct walk *w = context;
    w->end->table = table;
    w->end->chain = chain;
    w->end->rule = rule;
    if (w->listener != NULL)
        w->listener->met(w->listener->context, hook, table, chain, rule, verdict);
}

static bool ask(struct walk *w, enum rules_table table)
{
    const struct rules_listener listener = {met, w};
    switch (rules_ask(w->rules, table, w->hook, &w->p, &listener)) {
    case RULES_DROP:
        return w->p.hopeless   ? stop(w, "too short for what a rule asks of it, or rules without end")
               : w->p.no_address ? stop(w, "the interface has no address (--address)")
                                 : false;
    case RULES_REJECT:
        w->end->reject = w->p.reject;
#ifdef KST_HAS_CLOSE
        if (strcmp(w->p.reject, "tcp-reset") == 0 && w->p.result != NULL)
            kst_close(w->path->t, w->p.result->entry);
#endif
        return false;
    default: return true;
    }
}

/* What Linux throws away before it tracks. */
static bool no_ip(enum kst_reason reason)
{
    return reason >= KST_REASON_IP_SHORT && reason <= KST_REASON_IP_JUMBO;
}

static bool track(struct walk *w)
{
    struct kst_result *result = &w->end->result;
    struct kst_packet *packet = &w->packet;
    if (w->again)
        return true;
    packet->zone = w->p.zone;
    packet->helper = w->p.helper;
    packet->flags |= (uint8_t)(KST_PACKET_DEFER | w->p.zone_flags | (w->p.notrack ? KST_PACKET_NOTRACK : 0));
    if (w->hook == RULES_OUTPUT) /* Linux checks no sums of its own */
        packet->checksum = KST_CHECKSUM_IGNORE;
    kst_track(w->path->t, w->now_ms, packet, 1, result);
    w->p.result = result;
    w->end->tracked = true;
    if (result->reason != KST_REASON_NONE)
        say(w, "tracked: %s %s: %s: %s", kst_state_name((enum kst_state)result->state),
            kst_direction_name((enum kst_direction)result->direction),
            kst_reason_name((enum kst_reason)result->reason), kst_reason_text((enum kst_reason)result->reason));
    else
        say(w, "tracked: %s %s", kst_state_name((enum kst_state)result->state),
            kst_direction_name((enum kst_direction)result->direction));
    if (no_ip((enum kst_reason)result->reason) || result->verdict != KST_ACCEPT)
        return stop(w, kst_reason_text((enum kst_reason)result->reason));
    return true;
}

/* Rewriting, and before that, on a connection's first packet, the decision. */
static bool translate(struct walk *w, enum kst_nat_kind kind)
{
    const uint16_t done = kind == KST_NAT_SOURCE ? KST_SRC_NAT_DONE : KST_DST_NAT_DONE;
    const struct kst_result *result = &w->end->result;
    const bool icmp = w->p.protocol == (w->p.family == KST_IPV6 ? 58 : 1);
    struct kst_flow flow;
    enum kst_reason reason;
    if (w->again || w->rules == NULL || !w->rules->table[RULES_NAT].present || !rules_flow(&w->p, &flow))
        return true;
    if ((result->state == KST_NEW || (result->state == KST_RELATED && !icmp)) && !(flow.status & done)) {
        w->p.translates = false;
        if (!ask(w, RULES_NAT))
            return false;
        reason = kst_bind(w->path->t, result->entry, kind, w->p.translates ? &w->p.range : NULL);
        if (reason != KST_REASON_NONE)
            say(w, "NAT: %s: %s", kst_reason_name(reason), kst_reason_text(reason));
        if (reason == KST_REASON_NAT_RANGE)
            return stop(w, kst_reason_text(reason));
    }
    reason = kst_translate(w->path->t, result, kind, w->p.data, w->p.size);
    return reason == KST_REASON_NONE || stop(w, kst_reason_text(reason));
}

static bool confirm(struct walk *w)
{
    size_t size = w->p.size;
    struct kst_result *result = &w->end->result;
    if (w->again)
        return true;
    w->confirmed = true;
    const enum kst_reason reason = kst_confirm(w->path->t, w->now_ms, &w->packet, result, w->p.data, &size,
                                               sizeof w->path->bytes);
    w->p.size = w->p.length = (uint32_t)size;
    return result->verdict == KST_ACCEPT || stop(w, kst_reason_text(reason));
}

static bool walk_hook(struct walk *w, enum rules_hook hook)
{
    bool good = true;
    w->hook = hook;
    for (const uint8_t *at = steps[hook]; *at != END && good; at++)
        switch (*at) {
        case RAW: good = ask(w, RULES_RAW); break;
        case TRACK: good = track(w); break;
        case MANGLE: good = ask(w, RULES_MANGLE); break;
        case DNAT: good = translate(w, KST_NAT_DESTINATION); break;
        case FILTER: good = ask(w, RULES_FILTER); break;
        case SNAT: good = translate(w, KST_NAT_SOURCE); break;
        case CONFIRM: good = confirm(w); break;
        }
    return good;
}

static const uint8_t *address(const struct walk *w, bool destination)
{
    const bool v6 = w->p.family == KST_IPV6;
    return w->p.data + (v6 ? 8 : 12) + (destination ? (v6 ? 16 : 4) : 0);
}

static uint32_t ttl_of(const struct walk *w)
{
    return w->p.data[w->p.family == KST_IPV6 ? 7 : 8];
}

static bool leave(struct walk *w)
{
    const char *out = route(w->path, w->p.family, address(w, true));
    w->end->out = w->p.out = out != NULL ? out : "";
    if (out == NULL)
        return stop(w, "there is no route to where it goes (--route)");
    return true;
}

/* The destination may have changed. */
static bool deliver_or_forward(struct walk *w)
{
    const uint8_t *to = address(w, true);
    if (is_ours(w->path, w->p.family, to) || is_for_all(w->path, w->p.family, to)) {
        w->end->way = w->again ? PATH_LOOPED : PATH_TO_US;
        say(w, "routed: to this host");
        return walk_hook(w, RULES_INPUT);
    }
    if (!leave(w))
        return false;
    say(w, "routed: out %s", w->p.out);
    w->hook = RULES_FORWARD;
    if (ttl_of(w) <= 1)
        return stop(w, "its TTL ends here");
    rules_set_ttl(&w->p, ttl_of(w) - 1);
    const bool passed = walk_hook(w, RULES_FORWARD) && walk_hook(w, RULES_POSTROUTING);
    if (passed && !w->p.ttl_ruled) /* as it came */
        rules_set_ttl(&w->p, ttl_of(w) + 1);
    return passed;
}

/* From this host; back to it if it goes there. */
static bool send_out(struct walk *w)
{
    w->end->way = PATH_FROM_US;
    w->hook = RULES_OUTPUT;
    if (is_ours(w->path, w->p.family, address(w, true)))
        w->end->out = w->p.out = "lo";
    else if (!leave(w))
        return false;
    if (!walk_hook(w, RULES_OUTPUT))
        return false;
    if (is_ours(w->path, w->p.family, address(w, true)))
        w->end->out = w->p.out = "lo";
    else if (!leave(w))
        return false;
    if (!walk_hook(w, RULES_POSTROUTING))
        return false;
    if (strcmp(w->p.out, "lo") != 0)
        return true;
    w->again = true;
    w->end->in = w->p.in = "lo";
    w->p.out = "";
    return walk_hook(w, RULES_PREROUTING) && deliver_or_forward(w);
}

static bool walk(struct walk *w)
{
    const char *in = route(w->path, w->p.family, address(w, false));
    if (is_ours(w->path, w->p.family, address(w, false)))
        return send_out(w);
    w->end->in = w->p.in = in != NULL ? in : "";
    w->hook = RULES_PREROUTING;
    return walk_hook(w, RULES_PREROUTING) && deliver_or_forward(w);
}

void path_send(struct path *path, uint64_t now_ms, const uint8_t *bytes, uint32_t size, uint8_t flags,
               const struct path_listener *listener, struct path_end *end)
{
    struct walk w = {.path = path, .now_ms = now_ms, .listener = listener, .end = end};
    memset(end, 0, sizeof *end);
    end->in = end->out = "";
    if (size > PATH_BYTES_MAX)
        size = PATH_BYTES_MAX;
    memcpy(path->bytes, bytes, size);
    w.packet = (struct kst_packet){.data = path->bytes, .size = size, .flags = flags};
    w.p = (struct rules_packet){.t = path->t, .now_ms = now_ms, .data = path->bytes, .size = size,
                                .in = "", .out = "", .address_of = address_of, .context = path};
    const enum kst_reason reason = join_take(path->join, now_ms, path->bytes, &w.p.size, sizeof path->bytes);
    end->held = reason == KST_REASON_FRAGMENT_HELD;
    if (reason != KST_REASON_NONE || !rules_look(&w.p)) {
        stop(&w, reason != KST_REASON_NONE ? kst_reason_text(reason) : "this is no IP packet");
        return;
    }
    w.packet.size = w.p.size;
    w.rules = end->rules = path->rules[w.p.family == KST_IPV6];
    end->passed = walk(&w);
    if (!end->passed && end->tracked && !w.confirmed)
        kst_refuse(path->t, &end->result);
    end->bytes = path->bytes;
    end->size = w.p.size;
}
