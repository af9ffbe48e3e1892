/* SPDX-License-Identifier: MIT */
/* kernel.c - the namespace, the two devices, and reading the verdict back.
 *
 * A packet written to one TUN device is forwarded out of the other one. On its way nftables writes
 * its state and its direction into the DSCP field, where they are read back. */
#define _GNU_SOURCE
#include "kernel.h"
#include "prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* DSCP by state and direction: 8 * (state + 1) + direction. */
static const char *const states[] = {"new", "established", "related", "invalid", "untracked"};
static const char *const directions[] = {"original", "reply", "-"};
enum { STATES = 5, STATE_INVALID = 3 };

static struct {
    int left, right;   /* the TUN devices */
    int table, expect; /* /proc/thread-self/net/nf_conntrack and _expect */
    int netlink;
    unsigned run;      /* cases asked so far */
    double unanswered_s; /* when a packet last got no answer: it may have been a fragment */
    bool ruled;        /* set up for cases with rules */
    char *rulesets[2]; /* that are loaded, IPv4 and IPv6 */
    struct {
        char *name;
        char value[24];
    } defaults[64]; /* of the settings that a case has changed */
    size_t defaults_count;
} kernel;

#define TEXT(x) #x
#define NUMBER(macro) TEXT(macro)

double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char set_up[] =
    "set -e\n"
    "ip link set lo up\n"
    "for d in left right; do\n"
    "  echo 1 >/proc/sys/net/ipv6/conf/$d/addr_gen_mode\n"
    "  ip link set $d mtu 65535 up\n"
    "  echo 0 >/proc/sys/net/ipv4/conf/$d/rp_filter\n"
    "  echo 0 >/proc/sys/net/ipv4/conf/$d/send_redirects\n"
    "  echo 1 >/proc/sys/net/ipv4/conf/$d/accept_local\n"
    "done\n"
    "echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter\n"
    "echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects\n"
    "echo 1 >/proc/sys/net/ipv4/ip_forward\n"
    "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding\n"
    "echo 1 >/proc/sys/net/ipv6/conf/all/accept_source_route\n"
    "echo " NUMBER(KERNEL_FRAGMENTS_S) " >/proc/sys/net/ipv4/ipfrag_time\n" /* else what is never */
    "echo " NUMBER(KERNEL_FRAGMENTS_S) /* completed uses up its memory */
    " >/proc/sys/net/netfilter/nf_conntrack_frag6_timeout\n"
    "for f in -4 -6; do\n"
    "  ip $f rule add iif left lookup 100\n"
    "  ip $f rule add iif right lookup 101\n"
    "  ip $f route add default dev right table 100\n"
    "  ip $f route add default dev left table 101\n"
    "done\n";

/* Under rules packets are routed as vec_routes has it, and what this host itself would say - to
 * packets that were rejected, or came to it - stays unsaid. */
static const char set_up_rules[] =
    "set -e\n"
    "for f in -4 -6; do\n"
    "  ip $f rule del iif left lookup 100\n"
    "  ip $f rule del iif right lookup 101\n"
    "  ip $f route add default dev right\n"
    "done\n"
    "ip route add 192.0.2.0/24 dev left\n"
    "ip route add 2001:db8:1::/48 dev left\n"
    "ip address add 203.0.113.2/32 dev right\n"
    "ip address add 2001:db8:9::2/128 dev right nodad\n"
    "nft add chain inet keepstate silence '{ type filter hook output priority -500; policy drop; }'\n";
static const char tear_down_rules[] =
    "set -e\n"
    "nft delete chain inet keepstate silence\n"
    "ip address del 203.0.113.2/32 dev right\n"
    "ip address del 2001:db8:9::2/128 dev right\n"
    "ip route del 192.0.2.0/24 dev left\n"
    "ip route del 2001:db8:1::/48 dev left\n"
    "for f in -4 -6; do\n"
    "  ip $f route del default dev right\n"
    "  ip $f rule add iif left lookup 100\n"
    "  ip $f rule add iif right lookup 101\n"
    "done\n";

static int open_tun(const char *name)
{
    struct ifreq request;
    const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    strncpy(request.ifr_name, name, sizeof request.ifr_name - 1);
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &request) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* As kst_attach_usual has it, and SIP over TCP. */
static const struct {
    const char *name, *protocol;
    int port;
    bool ipv4;
} helpers[] = {{"ftp", "tcp", 21, false},   {"irc", "tcp", 6667, true},  {"pptp", "tcp", 1723, true},
               {"tftp", "udp", 69, false}, {"sip", "udp", 5060, false}, {"sip", "tcp", 5061, false}};

/* Rules that mark every state and direction, both families. */
static bool load_rules(void)
{
    FILE *nft = popen("nft -f -", "w");
    if (nft == NULL)
        return false;
    fputs("table inet keepstate {\n", nft);
    for (size_t i = 0; i < sizeof helpers / sizeof helpers[0]; i++)
        fprintf(nft, "ct helper h%zu { type \"%s\" protocol %s;%s }\n", i, helpers[i].name,
                helpers[i].protocol, helpers[i].ipv4 ? " l3proto ip;" : "");
    fputs("chain help { type filter hook prerouting priority -150;\n", nft);
    for (size_t i = 0; i < sizeof helpers / sizeof helpers[0]; i++)
        fprintf(nft, "%s%s dport %d ct helper set \"h%zu\"\n", helpers[i].ipv4 ? "ip version 4 " : "",
                helpers[i].protocol, helpers[i].port, i);
    fputs("}\nchain zones { type filter hook prerouting priority -300;\n", nft);
    for (int dscp = 1; dscp <= 3 * VEC_ZONE_WAYS; dscp++)
        for (int v6 = 0; v6 < 2; v6++)
            fprintf(nft, "%s dscp %d ct%s zone set %d\n", v6 ? "ip6" : "ip", dscp,
                    vec_zone_word((uint8_t)((dscp - 1) % VEC_ZONE_WAYS)),
                    (dscp - 1) / VEC_ZONE_WAYS + 1);
    fputs("}\nchain tell { type filter hook postrouting priority 200;\n", nft);
    for (int state = 0; state < STATES; state++)
        for (int direction = 0; direction < 3; direction++)
            for (const char *ip = "ip"; ip != NULL; ip = strcmp(ip, "ip") == 0 ? "ip6" : NULL) {
                if ((direction == 2) != (state >= STATE_INVALID))
                    continue;
                fprintf(nft, "ct state %s ", states[state]);
                if (direction < 2)
                    fprintf(nft, "ct direction %s ", directions[direction]);
                fprintf(nft, "%s dscp set %d\n", ip, 8 * (state + 1) + direction);
            }
    fputs("}\n}\n", nft);
    return pclose(nft) == 0;
}

static bool explain(char *why, size_t size, const char *what)
{
    snprintf(why, size, "%s%s%s", what, errno != 0 ? ": " : "", errno != 0 ? strerror(errno) : "");
    return false;
}

bool kernel_open(char *why, size_t size)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    errno = 0;
    if (system("command -v nft >/dev/null && command -v ip >/dev/null") != 0)
        return explain(why, size, "needs the commands nft and ip");
    if (unshare(CLONE_NEWNET) < 0)
        return explain(why, size, "cannot make a network namespace");
    kernel.left = open_tun("left");
    kernel.right = open_tun("right");
    if (kernel.left < 0 || kernel.right < 0)
        return explain(why, size, "cannot make a TUN device");
    kernel.table = open("/proc/thread-self/net/nf_conntrack", O_RDONLY | O_CLOEXEC);
    kernel.expect = open("/proc/thread-self/net/nf_conntrack_expect", O_RDONLY | O_CLOEXEC);
    if (kernel.table < 0)
        return explain(why, size, "this kernel shows no /proc/net/nf_conntrack");
    kernel.netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (kernel.netlink < 0 ||
        bind(kernel.netlink, (const struct sockaddr *)&address, sizeof address) < 0)
        return explain(why, size, "cannot talk netlink");
    errno = 0;
    if (system(set_up) != 0)
        return explain(why, size, "cannot set the namespace up");
    if (!load_rules())
        return explain(why, size, "cannot load nftables rules");
    return true;
}

/* Deletes every connection, and with it every expectation. */
static void flush(void)
{
    struct {
        struct nlmsghdr header;
        struct nfgenmsg family;
    } message = {.header = {.nlmsg_len = sizeof message,
                            .nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE,
                            .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
                 .family = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0}};
    _Alignas(8) char reply[512];
    const struct nlmsgerr *error = (const struct nlmsgerr *)(const void *)(reply + NLMSG_HDRLEN);
    if (send(kernel.netlink, &message, sizeof message, 0) < 0 ||
        recv(kernel.netlink, reply, sizeof reply, 0) < (ssize_t)(NLMSG_HDRLEN + sizeof *error) ||
        error->error != 0) {
        perror("flushing the kernel's table");
        exit(2);
    }
}

static int open_setting(const char *name, int mode)
{
    char path[256];
    snprintf(path, sizeof path, "/proc/sys/net/netfilter/%s", name);
    const int fd = open(path, mode | O_CLOEXEC);
    if (fd < 0) {
        perror(path);
        exit(2);
    }
    return fd;
}

static void write_setting(const char *name, const char *value)
{
    const int fd = open_setting(name, O_WRONLY);
    if (write(fd, value, strlen(value)) < 0) {
        fprintf(stderr, "%s: cannot be set to %s: %s\n", name, value, strerror(errno));
        exit(2);
    }
    close(fd);
}

/* Sets one, having noted its default the first time. */
static void change_setting(const struct vec_setting *setting)
{
    char value[24];
    size_t i = 0;
    while (i < kernel.defaults_count && strcmp(kernel.defaults[i].name, setting->name) != 0)
        i++;
    if (i == kernel.defaults_count && i < sizeof kernel.defaults / sizeof kernel.defaults[0]) {
        const int fd = open_setting(setting->name, O_RDONLY);
        const ssize_t got = read(fd, kernel.defaults[i].value, sizeof kernel.defaults[i].value - 1);
        kernel.defaults[i].value[got > 0 ? got : 0] = '\0';
        kernel.defaults[i].name = need(strdup(setting->name));
        kernel.defaults_count++;
        close(fd);
    }
    snprintf(value, sizeof value, "%u", setting->value);
    write_setting(setting->name, value);
}

static bool is_ipv6(const struct vec_packet *packet)
{
    return packet->size > 0 && packet->data[0] >> 4 == 6;
}

/* Whether `out` is what became of the packet, or of the datagram that it completed. Nobody but us
 * sends between these addresses. */
static bool is_it(const struct vec_packet *packet, const uint8_t *out, size_t size)
{
    const bool v6 = is_ipv6(packet);
    const size_t addresses = v6 ? 8 : 12;
    return size >= (v6 ? 40 : 20) && out[0] >> 4 == packet->data[0] >> 4 &&
           memcmp(out + addresses, packet->data + addresses, v6 ? 32 : 8) == 0;
}

/* Linux keeps fragments from case to case: every run of a case gets identifiers of its own. A
 * wrong header checksum stays wrong. */
static void rename_datagram(uint8_t *data, size_t size)
{
    const size_t header = size > 0 ? (size_t)(data[0] & 15) * 4 : 0;
    if (size >= 20 && data[0] >> 4 == 4 && header >= 20 && header <= size &&
        ((data[6] << 8 | data[7]) & 0x3fff) != 0) {
        const bool right = sum_words(0, data, header) == 0xffff;
        const unsigned id = (unsigned)(data[4] << 8 | data[5]) + kernel.run * 8;
        data[4] = (uint8_t)(id >> 8);
        data[5] = (uint8_t)id;
        if (right)
            put_header_sum(data, header);
    } else if (size >= 48 && data[0] >> 4 == 6) {
        size_t at = 40;
        uint8_t next = data[6];
        while ((next == 0 || next == 43 || next == 51 || next == 60) && at + 8 <= size) {
            next = data[at];
            at += next == 51 ? (data[at + 1] + 2u) * 4 : (data[at + 1] + 1u) * 8;
        }
        if (next == 44 && at + 8 <= size)
            for (int byte = 0; byte < 3; byte++)
                data[at + 4 + (size_t)byte] = (uint8_t)(kernel.run >> (16 - 8 * byte));
    }
}

/* The rules know a packet's zone, 1 to 3, by its DSCP; a packet without one has DSCP 0 there. */
static void mark_zone(const struct vec_packet *packet, uint8_t *data)
{
    const unsigned dscp =
        packet->zone == 0 ? 0 : (packet->zone - 1u) * VEC_ZONE_WAYS + packet->zone_of + 1;
    if (packet->size >= 40 && is_ipv6(packet)) {
        data[0] = (uint8_t)(0x60 | dscp >> 2);
        data[1] = (uint8_t)((data[1] & 0x3f) | dscp << 6);
    } else if (packet->size >= 20 && data[0] >> 4 == 4) {
        const size_t header = (size_t)(data[0] & 15) * 4;
        const bool right = header <= packet->size && sum_words(0, data, header) == 0xffff;
        data[1] = (uint8_t)((data[1] & 3) | dscp << 2);
        if (right)
            put_header_sum(data, header);
    }
}

/* Under rules a packet may come out anywhere, with other addresses: nothing else does. Its TTL and
 * its DSCP field, which tells the state, are put back as they came in. */
static void take_out(struct vec_packet *packet, uint8_t *out, size_t size)
{
    const bool v6 = is_ipv6(packet);
    if (size < (v6 ? 40u : 20u) || packet->size < (v6 ? 40u : 20u))
        return;
    if (v6) {
        out[0] = packet->data[0];
        out[1] = (uint8_t)((packet->data[1] & 0xf0) | (out[1] & 0x0f));
        out[7] = packet->data[7];
    } else {
        out[1] = packet->data[1];
        out[8] = packet->data[8];
        put_header_sum(out, (size_t)(out[0] & 15) * 4);
    }
    free(packet->out);
    packet->out_size = (uint32_t)size;
    packet->out = need(malloc(size + 1));
    memcpy(packet->out, out, size);
}

static const char *state_of(const uint8_t *out, bool v6, char is[64])
{
    const unsigned dscp = v6 ? (unsigned)((out[0] & 15) << 2 | out[1] >> 6) : (unsigned)(out[1] >> 2);
    if (dscp / 8 >= 1 && dscp / 8 <= STATES && dscp % 8 < 3)
        snprintf(is, 64, "%s %s", states[dscp / 8 - 1], directions[dscp % 8]);
    return is;
}

static void send_ruled(struct vec_packet *packet)
{
    static uint8_t out[1 << 17];
    const int ends[] = {kernel.right, kernel.left};
    char is[64] = "none -";
    free(packet->out);
    packet->out = NULL;
    if (write(packet->from_server ? kernel.right : kernel.left, packet->data, packet->size) >= 0)
        for (int i = 0; i < 2; i++)
            for (ssize_t got; (got = read(ends[i], out, sizeof out)) > 0;)
                if (got >= 20 && out[0] >> 4 == packet->data[0] >> 4) {
                    state_of(out, is_ipv6(packet), is);
                    take_out(packet, out, (size_t)got);
                }
    free(packet->is);
    packet->is = need(strdup(is));
}

/* Sends `in`, which is the packet or another name for it. */
static void send_as(struct vec_packet *packet, const uint8_t *in)
{
    static uint8_t out[1 << 17];
    const int from = packet->from_server ? kernel.right : kernel.left;
    const int to = packet->from_server ? kernel.left : kernel.right;
    char is[64] = "none -";
    ssize_t got;
    if (write(from, in, packet->size) >= 0) {
        while ((got = read(to, out, sizeof out)) > 0) {
            if (!is_it(packet, out, (size_t)got))
                continue;
            state_of(out, is_ipv6(packet), is);
        }
        while (read(from, out, sizeof out) > 0) /* errors that the kernel sends back */
            ;
    }
    if (strcmp(is, "none -") == 0)
        kernel.unanswered_s = seconds_now();
    free(packet->is);
    packet->is = need(strdup(is));
}

void kernel_send(struct vec_packet *packet)
{
    static uint8_t marked[1 << 17];
    memcpy(marked, packet->data, packet->size);
    mark_zone(packet, marked);
    send_as(packet, marked);
}

/* Adds the lines of a /proc file, each behind `word`, less `use=`. */
static void read_table(struct vec_packet *packet, int fd, const char *word)
{
    static char *text;
    static size_t room;
    size_t size = 0;
    ssize_t got = 1;
    if (fd < 0)
        return;
    lseek(fd, 0, SEEK_SET);
    while (got > 0) {
        if (room < size + (1 << 16))
            text = need(realloc(text, room = room * 2 + (1 << 17)));
        if ((got = read(fd, text + size, room - 1 - size)) > 0)
            size += (size_t)got;
    }
    text[size] = '\0';
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char *whole = NULL, *use = strstr(line, " use=");
        if (use != NULL)
            *use = '\0';
        if (asprintf(&whole, "%s %s", word, line) < 0)
            exit(2);
        vec_squeeze(whole);
        packet->lines =
            need(realloc(packet->lines, (packet->lines_count + 1) * sizeof *packet->lines));
        packet->lines[packet->lines_count++] = whole;
    }
}

void kernel_table(struct vec_packet *packet)
{
    for (size_t line = 0; line < packet->lines_count; line++)
        free(packet->lines[line]);
    packet->lines_count = 0;
    read_table(packet, kernel.table, "ct");
    read_table(packet, kernel.expect, "exp");
}

static void wait_s(double seconds)
{
    const struct timespec wait = {.tv_sec = (time_t)seconds,
                                  .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    if (seconds > 0)
        nanosleep(&wait, NULL);
}

void kernel_begin(void)
{
    flush();
    if (kernel.unanswered_s > 0)
        wait_s(kernel.unanswered_s + KERNEL_FRAGMENTS_S * 1.1 - seconds_now());
}

uint32_t kernel_max(void)
{
    char value[24] = "";
    const int fd = open_setting("nf_conntrack_max", O_RDONLY);
    const ssize_t got = read(fd, value, sizeof value - 1);
    close(fd);
    return got > 0 ? (uint32_t)strtoul(value, NULL, 10) : 0;
}

bool kernel_takes_rules(void)
{
    return system("command -v iptables-legacy-restore >/dev/null && "
                  "command -v ip6tables-legacy-restore >/dev/null") == 0;
}

static void must_run(const char *script, const char *what)
{
    if (system(script) == 0)
        return;
    fprintf(stderr, "agree-kernel: cannot %s\n", what);
    exit(2);
}

/* Gives a family its ruleset, unless it has it and no rule of it remembers earlier packets. */
static void load_ruleset(const struct vec_case *c, bool v6)
{
    static const char empty[] = "*raw\nCOMMIT\n*mangle\nCOMMIT\n*nat\nCOMMIT\n*filter\nCOMMIT\n";
    char *text = vec_ruleset(c, v6);
    if (kernel.rulesets[v6] != NULL && strcmp(kernel.rulesets[v6], text) == 0 &&
        strstr(text, "-m limit") == NULL) {
        free(text);
        return;
    }
    FILE *restore = popen(v6 ? "ip6tables-legacy-restore" : "iptables-legacy-restore", "w");
    if (restore == NULL || fputs(empty, restore) < 0 || fputs(text, restore) < 0 || pclose(restore) != 0) {
        fprintf(stderr, "agree-kernel: iptables-restore does not take this:\n%s", text);
        exit(2);
    }
    free(kernel.rulesets[v6]);
    kernel.rulesets[v6] = text;
}

static void load_rulesets(const struct vec_case *c)
{
    const bool ruled = c->rules_count > 0;
    if (ruled && !kernel.ruled)
        must_run(set_up_rules, "route as cases with rules need it");
    if (ruled || kernel.ruled)
        for (int v6 = 0; v6 < 2; v6++)
            load_ruleset(c, v6 != 0);
    if (!ruled && kernel.ruled)
        must_run(tear_down_rules, "route as cases without rules need it");
    kernel.ruled = ruled;
}

void kernel_ask(struct vec_case *c)
{
    static uint8_t renamed[1 << 17];
    load_rulesets(c);
    flush();
    kernel.run++;
    for (size_t i = 0; i < c->settings_count; i++)
        change_setting(&c->settings[i]);
    for (size_t i = 0; i < c->packets_count; i++) {
        struct vec_packet *packet = &c->packets[i];
        if (packet->wait_ms != 0) {
            wait_s((double)packet->wait_ms / 1000);
            kernel_table(packet); /* who reads it has expired connections collected */
        }
        memcpy(renamed, packet->data, packet->size);
        rename_datagram(renamed, packet->size);
        mark_zone(packet, renamed);
        if (kernel.ruled)
            send_ruled(packet);
        else
            send_as(packet, renamed);
        kernel_table(packet);
    }
    for (size_t i = 0; i < kernel.defaults_count; i++)
        write_setting(kernel.defaults[i].name, kernel.defaults[i].value);
}
