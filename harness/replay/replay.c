/* SPDX-License-Identifier: MIT */
/* replay.c - `keepstate replay`: reads a capture through libpcap, hands each IP packet to the
 * tracker at the capture's own time, and prints what came of it. Reads no clock but for the line of
 * progress: the same capture always prints the same. */
#define _GNU_SOURCE 1
#include "../back_ends.h"
#include "command.h"
#include "firewall.h"
#include "keepstate.h"
#include "link.h"
#include "progress.h"
#include "show.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* The longest capture, seconds: what 32 bits of a stamp can tell apart. A later stamp is taken for
 * this time, so that hostile ones cannot overflow anything. */
#define SPAN_MAX_S UINT32_MAX

/* As Linux has it; and more events than one step ever has, but a flood of expiries. */
enum { REASSEMBLY_BYTES = 4 << 20, EXPECTATIONS = 4096, EVENTS = 1 << 16 };

enum { GO_ON = -1 }; /* no reason to exit */

struct options {
    const char *path;
    const char **settings; /* NAME=VALUE, as given */
    int settings_count;
    const char **helpers; /* NAME=PROTOCOL/PORT, as given */
    int helpers_count;
    uint32_t max;
    uint8_t index, timer;
    enum kst_format format;
    uint64_t seed;  /* 0: whatever comes */
    uint64_t at_us; /* UINT64_MAX: to the end */
    bool formatted; /* --format was given */
    bool each, why, stats, events;
    struct firewall_options firewall;
};

struct replay {
    const struct options *options;
    struct kst *table;
    struct firewall *firewall; /* or NULL */
    link_peel *peel;
    struct timeval first; /* stamp of the first frame */
    uint64_t now_us;      /* since then */
    uint64_t frames;      /* read */
    struct show_counts counts;
};

/* ---- the command line ---- */

static const struct {
    const char *name;
    enum kst_format format;
} formats[] = {{"proc", KST_FORMAT_PROC},
               {"legacy", KST_FORMAT_LEGACY},
               {"conntrack", KST_FORMAT_CONNTRACK},
               {"json", KST_FORMAT_JSON}};
enum { FORMATS = sizeof formats / sizeof *formats };

static int help(void)
{
    puts("usage: keepstate replay [OPTION]... FILE\n\n"
         "Tracks the packets of a capture (pcap or pcapng; - is standard input) as the Linux\n"
         "kernel would have, by the capture's own time, and prints the connection table.\n\n"
         "  -s, --set NAME=VALUE  a setting, by its sysctl name with or without net.netfilter.;\n"
         "                        may be given again. A wrong NAME lists those there are\n"
         "      --helper NAME=PROTOCOL/PORT\n"
         "                        attach a helper to one more port, e.g. ftp=tcp/2121, or take it\n"
         "                        off one: none=tcp/21; may be given again. By itself: ftp=tcp/21,\n"
         "                        irc=tcp/6667, pptp=tcp/1723, tftp=udp/69, sip=udp/5060\n"
         "      --max N           room for N connections (default 262144)\n"
         "      --index NAME      the table's index: swiss, chain, cuckoo or robin. Like the timer\n"
         "      --timer NAME      wheel, hashed, lists or heap, it changes no answer\n"
         "      --at SECONDS      stop that long after the first packet, e.g. 1.5\n"
         "      --format FORMAT   of the table: proc (/proc/net/nf_conntrack, the default),\n"
         "                        legacy (/proc/net/ip_conntrack, IPv4 only), conntrack\n"
         "                        (conntrack -L) or json (lines)\n"
         "      --each            after every packet its state, its direction and the table,\n"
         "                        instead of one table at the end\n"
         "      --events          what happens to connections, as conntrack -E -o timestamp prints it\n"
         "                        (with --format json as lines of JSON), before the table\n"
         "      --why             which packets were refused, or ignored in part, and why\n"
         "      --stats           counters, as conntrack -S prints them, and the reasons\n"
         "  -h, --help            this text\n"
         "  -V, --version         of keepstate\n\n"
         "with rules:\n"
         "      --rules FILE      what iptables-save writes: each packet goes through the tables raw,\n"
         "                        mangle, nat and filter as in Linux, and each rule is printed with\n"
         "                        what it met, after the connections\n"
         "      --rules6 FILE     what ip6tables-save writes\n"
         "      --route NET=INTERFACE\n"
         "                        192.0.2.0/24=eth0 or default=ppp0: where packets come in (by their\n"
         "                        source) and leave (by their destination), by the longest prefix;\n"
         "                        may be given again\n"
         "      --address INTERFACE=ADDRESS\n"
         "                        of this host, eth0=192.0.2.1: what is for it, or from it, is not\n"
         "                        forwarded; MASQUERADE takes the first. With a length, /24, it is a\n"
         "                        route as well; may be given again\n"
         "      --explain N       which rules packet N met, and what became of it; all: of each\n"
         "      --write FILE      a capture of what passed, as it left\n"
         "      --seed N          draw the ports that NAT draws at random as before by the same N\n\n"
         "--each then also prints `out HEX`, the packet as it left; --why tells which rule dropped it.\n\n"
         "exit codes: 0 done; 1 the capture is bad, and what was read before is printed all the\n"
         "same; 2 wrong usage\n\n"
         "examples:\n"
         "  keepstate replay --why --stats day.pcap\n"
         "  keepstate replay --rules rules.v4 --route 192.0.2.0/24=lan --route default=wan day.pcap\n"
         "  zcat day.pcap.gz | keepstate replay --at 60 -s nf_conntrack_udp_timeout=10 -");
    return COMMAND_DONE;
}

/* The last line of each complaint about the command line. */
static int usage(void)
{
    fputs("try 'keepstate replay --help'\n", stderr);
    return COMMAND_USAGE;
}

static bool read_number(const char *text, uint32_t *number)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > UINT32_MAX)
        return false;
    *number = (uint32_t)value;
    return true;
}

static int read_max(const char *text, struct options *options)
{
    if (read_number(text, &options->max) && options->max >= 1 && options->max <= KST_ENTRIES_MAX)
        return GO_ON;
    complain("--max: a number from 1 to %" PRIu32 " is needed, not '%s'", KST_ENTRIES_MAX, text);
    return usage();
}

static int read_seed(const char *text, struct options *options)
{
    uint32_t seed;
    if (read_number(text, &seed) && seed > 0) {
        options->seed = seed;
        return GO_ON;
    }
    complain("--seed: a whole number above 0 is needed, not '%s'", text);
    return usage();
}

static int read_at(const char *text, struct options *options)
{
    char *end;
    const double seconds = strtod(text, &end);
    if (end != text && *end == '\0' && seconds >= 0 && seconds <= SPAN_MAX_S) { /* no NaN */
        options->at_us = (uint64_t)(seconds * 1e6 + 0.5);
        return GO_ON;
    }
    complain("--at: seconds after the first packet are needed, such as 1.5, not '%s'", text);
    return usage();
}

static int read_explain(const char *text, struct options *options)
{
    uint32_t number = 0;
    options->firewall.explain = FIREWALL_ALL;
    if (strcmp(text, "all") == 0)
        return GO_ON;
    if (read_number(text, &number) && number > 0) {
        options->firewall.explain = number;
        return GO_ON;
    }
    complain("--explain: the number of a packet, or all, is needed, not '%s'", text);
    return usage();
}

static int read_format(const char *text, struct options *options)
{
    options->formatted = true;
    for (size_t i = 0; i < FORMATS; i++) {
        if (strcmp(formats[i].name, text) == 0) {
            options->format = formats[i].format;
            return GO_ON;
        }
    }
    complain("--format: proc, legacy, conntrack or json is needed, not '%s'", text);
    return usage();
}

/* An index or a timer, by its name. */
static int read_back_end(const char *option, const char *(*names)(uint32_t), uint8_t *number)
{
    *number = back_end_number(names, optarg);
    if (names(*number) != NULL)
        return GO_ON;
    complain("--%s: none is called '%s'; these are:", option, optarg);
    back_ends_list(names, stderr);
    return usage();
}

static int read_option(int option, struct options *options)
{
    switch (option) {
    case 's': options->settings[options->settings_count++] = optarg; return GO_ON;
    case 'p': options->helpers[options->helpers_count++] = optarg; return GO_ON;
    case 'm': return read_max(optarg, options);
    case 'i': return read_back_end("index", kst_index_name, &options->index);
    case 't': return read_back_end("timer", kst_timer_name, &options->timer);
    case 'a': return read_at(optarg, options);
    case 'd': return read_seed(optarg, options);
    case 'f': return read_format(optarg, options);
    case 'e': options->each = true; return GO_ON;
    case 'w': options->why = true; return GO_ON;
    case 'v': options->events = true; return GO_ON;
    case 'c': options->stats = true; return GO_ON;
    case '4': options->firewall.rules[0] = optarg; return GO_ON;
    case '6': options->firewall.rules[1] = optarg; return GO_ON;
    case 'r': options->firewall.routes[options->firewall.routes_count++] = optarg; return GO_ON;
    case 'n': options->firewall.addresses[options->firewall.addresses_count++] = optarg; return GO_ON;
    case 'o': options->firewall.write = optarg; return GO_ON;
    case 'x': return read_explain(optarg, options);
    case 'h': return help();
    case 'V': puts("keepstate " KST_VERSION); return COMMAND_DONE;
    default: return usage(); /* getopt has said what is wrong */
    }
}

/* GO_ON, or the exit code. */
static int read_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"set", required_argument, NULL, 's'},    {"max", required_argument, NULL, 'm'},
        {"index", required_argument, NULL, 'i'},  {"timer", required_argument, NULL, 't'},
        {"at", required_argument, NULL, 'a'},     {"format", required_argument, NULL, 'f'},
        {"each", no_argument, NULL, 'e'},         {"why", no_argument, NULL, 'w'},
        {"stats", no_argument, NULL, 'c'},        {"events", no_argument, NULL, 'v'},
        {"rules", required_argument, NULL, '4'},  {"rules6", required_argument, NULL, '6'},
        {"route", required_argument, NULL, 'r'},  {"address", required_argument, NULL, 'n'},
        {"seed", required_argument, NULL, 'd'},
        {"write", required_argument, NULL, 'o'},  {"explain", required_argument, NULL, 'x'},
        {"helper", required_argument, NULL, 'p'}, {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {NULL, 0, NULL, 0},
    };
    int option, code;
    while ((option = getopt_long(argc, argv, "s:hV", names, NULL)) != -1)
        if ((code = read_option(option, options)) != GO_ON)
            return code;
    if (argc - optind != 1) {
        complain(argc == optind ? "which capture? FILE is missing" : "one FILE at a time");
        return usage();
    }
    if (options->each && options->formatted) {
        complain("--each prints in a format of its own: leave out --format");
        return usage();
    }
    options->path = argv[optind];
    options->firewall.each = options->each;
    options->firewall.why = options->why;
    return GO_ON;
}

/* ---- the table ---- */

/* Behind `prefix`, if `text` begins with it. */
static const char *without(const char *prefix, const char *text)
{
    const size_t length = strlen(prefix);
    return strncmp(text, prefix, length) == 0 ? text + length : text;
}

static int refuse_setting(const struct kst *t, const char *name, const char *given,
                          enum kst_error error)
{
    const char *known;
    uint32_t lowest, highest;
    if (error == KST_ERROR_SETTING_RANGE && kst_setting_range(t, name, &lowest, &highest))
        complain("-s %s: the value must lie in %" PRIu32 "..%" PRIu32 "%s", given, lowest, highest,
                 strcmp(name, "nf_conntrack_max") == 0 ? "; --max makes room for more" : "");
    else
        complain("-s %s: %s%s", given, kst_error_text(error),
                 error == KST_ERROR_SETTING_NAME ? "; these are:" : "");
    for (uint32_t i = 0; error == KST_ERROR_SETTING_NAME && (known = kst_setting_name(i)); i++)
        fprintf(stderr, "  %s\n", known);
    return usage();
}

static int apply_setting(struct kst *t, const char *given)
{
    const char *text = without("net.ipv4.", without("net.netfilter.", given));
    const char *equals = strchr(text, '=');
    char name[64]; /* more than any has */
    uint32_t value;
    if (equals == NULL || !read_number(equals + 1, &value)) {
        complain("-s %s: NAME=VALUE is needed, VALUE a whole number below 2^32", given);
        return usage();
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    const enum kst_error error = kst_set(t, name, value);
    return error == KST_ERROR_OK ? GO_ON : refuse_setting(t, name, given, error);
}

/* NAME=PROTOCOL/PORT */
static int attach_helper(struct kst *t, const char *given)
{
    static const struct {
        const char *name;
        uint8_t number;
    } protocols[] = {{"tcp/", 6}, {"udp/", 17}};
    const char *equals = strchr(given, '='), *known;
    char name[32] = "";
    uint8_t protocol = 0;
    uint32_t port = 0;
    for (size_t i = 0; equals != NULL && i < sizeof protocols / sizeof *protocols; i++)
        if (without(protocols[i].name, equals + 1) != equals + 1 &&
            read_number(without(protocols[i].name, equals + 1), &port) && port <= UINT16_MAX)
            protocol = protocols[i].number;
    if (protocol == 0) {
        complain("--helper %s: NAME=tcp/PORT or NAME=udp/PORT is needed", given);
        return usage();
    }
    snprintf(name, sizeof name, "%.*s", (int)(equals - given), given);
    const uint8_t helper = kst_helper_number(name);
    if (helper == 0 && strcmp(name, "none") != 0) {
        complain("--helper %s: no helper is called %s; these are:", given, name);
        for (uint8_t i = 1; (known = kst_helper_name(i)) != NULL; i++)
            fprintf(stderr, "  %s\n", known);
        return usage();
    }
    const enum kst_error error = kst_attach(t, protocol, (uint16_t)port, helper);
    if (error == KST_ERROR_OK)
        return GO_ON;
    complain("--helper %s: %s", given, kst_error_text(error));
    return usage();
}

/* Makes the table that the options ask for. GO_ON, or the exit code. */
static int make_table(const struct options *options, struct kst **table)
{
    struct kst_config config = {.max = options->max,
                                .index = options->index,
                                .timer = options->timer,
                                .features = KST_WITH_ACCOUNTING | KST_WITH_TIMESTAMPS |
                                            KST_WITH_LIMITS |
                                            (firewall_wanted(&options->firewall) ? KST_WITH_NAT : 0u),
                                .reassembly_bytes = REASSEMBLY_BYTES,
                                .expectations = EXPECTATIONS,
                                .events = options->events ? EVENTS : 0};
    if (options->seed != 0)
        config.seed[0] = options->seed;
    else if (getrandom(config.seed, sizeof config.seed, 0) != (ssize_t)sizeof config.seed) {
        complain("no random numbers: %s", strerror(errno));
        return COMMAND_INPUT;
    }
    const size_t bytes = kst_bytes(&config);
    void *memory = bytes != 0 ? aligned_alloc(KST_ALIGN, bytes) : NULL;
    *table = memory != NULL ? kst_init(memory, bytes, &config, NULL) : NULL;
    if (*table == NULL) {
        free(memory);
        complain("no memory for %" PRIu32 " connections, %zu MiB: try --max with less",
                 options->max, bytes >> 20);
        return COMMAND_USAGE;
    }
    kst_attach_usual(*table);
    int code = GO_ON;
    for (int i = 0; i < options->settings_count && code == GO_ON; i++)
        code = apply_setting(*table, options->settings[i]);
    for (int i = 0; i < options->helpers_count && code == GO_ON; i++)
        code = attach_helper(*table, options->helpers[i]);
    return code;
}

/* ---- the capture ---- */

/* Microseconds from `first` to `stamp`; 0 if it lies before. */
static uint64_t since(const struct timeval *first, const struct timeval *stamp)
{
    if (stamp->tv_sec < first->tv_sec)
        return 0;
    const uint64_t seconds = (uint64_t)stamp->tv_sec - (uint64_t)first->tv_sec;
    if (seconds >= SPAN_MAX_S)
        return (uint64_t)SPAN_MAX_S * 1000000;
    const uint64_t from = (uint64_t)first->tv_usec;
    const uint64_t to = seconds * 1000000 + (uint64_t)stamp->tv_usec;
    return to > from ? to - from : 0;
}

/* The time of a frame. Files hold whatever they like, also as the fraction of a second. */
static uint64_t time_of(struct replay *r, const struct timeval *stamp)
{
    struct timeval clean = *stamp;
    if (clean.tv_usec < 0 || clean.tv_usec > 999999)
        clean.tv_usec = clean.tv_usec < 0 ? 0 : 999999;
    if (r->frames == 0)
        r->first = clean;
    const uint64_t time_us = since(&r->first, &clean);
    r->counts.back += time_us < r->now_us;
    return time_us > r->now_us ? time_us : r->now_us;
}

static void tell_events(struct replay *r)
{
    const uint64_t us = (uint64_t)r->first.tv_usec + r->now_us;
    const struct timeval stamp = {.tv_sec = r->first.tv_sec + (time_t)(us / 1000000),
                                  .tv_usec = (suseconds_t)(us % 1000000)};
    if (r->options->events)
        show_events(r->table, &stamp, r->options->format);
}

/* In steps, so that the events of a flood of expiries find room. */
static void advance(struct replay *r, uint64_t now_us)
{
    r->now_us = now_us;
    while (kst_advance(r->table, now_us / 1000, EVENTS / 4) == EVENTS / 4)
        tell_events(r);
    tell_events(r);
}

static void track(struct replay *r, const struct link_bytes *ip, bool cut, const struct timeval *stamp)
{
    const struct kst_packet packet = {.data = ip->at,
                                      .size = ip->size,
                                      .checksum = KST_CHECKSUM_VERIFY,
                                      .flags = cut ? KST_PACKET_HEAD : 0};
    struct kst_result result;
    r->counts.cut += cut;
    if (r->firewall != NULL) {
        firewall_take(r->firewall, r->frames, stamp, r->now_us / 1000, packet.data, packet.size, packet.flags);
        tell_events(r);
        return;
    }
    kst_track(r->table, r->now_us / 1000, &packet, 1, &result);
    tell_events(r);
    if (r->options->why)
        show_why(r->frames, &result);
    if (r->options->each)
        show_each(r->table, &result, NULL, 0);
}

/* False if the frame came after --at: it is not tracked, nor is any other. */
static bool take_frame(struct replay *r, const struct pcap_pkthdr *header, const uint8_t *bytes)
{
    struct link_bytes rest = {bytes, header->caplen, 0};
    const uint64_t now_us = time_of(r, &header->ts);
    if (now_us > r->options->at_us)
        return false;
    r->frames++;
    advance(r, now_us);
    const enum link_content content = r->peel(&rest);
    r->counts.contents[content]++;
    if (content == LINK_IP)
        track(r, &rest, header->caplen < header->len, &header->ts);
    return true;
}

/* Reads to the end, or to --at, or until the output fails. False if the capture is bad. */
static bool read_capture(struct replay *r, pcap_t *pcap)
{
    const bool mixed = (r->options->each || r->options->why || r->options->events ||
                        r->options->firewall.explain != 0) &&
                       isatty(STDOUT_FILENO);
    struct pcap_pkthdr *header;
    const uint8_t *bytes;
    struct progress progress;
    int got;
    progress_begin(&progress, pcap_file(pcap), !mixed);
    while ((got = pcap_next_ex(pcap, &header, &bytes)) == 1 && take_frame(r, header, bytes) &&
           !ferror(stdout))
        progress_step(&progress, r->frames, kst_count(r->table));
    progress_end(&progress);
    return got != PCAP_ERROR;
}

static void refuse_link(const char *name, int dlt)
{
    const char *type = pcap_datalink_val_to_name(dlt);
    const char *known;
    complain("%s: captured on link type %s (%d), which is not supported; these are:", name,
             type != NULL ? type : "unknown", dlt);
    for (unsigned i = 0; link_known(i) >= 0; i++)
        if ((known = pcap_datalink_val_to_name(link_known(i))) != NULL)
            fprintf(stderr, "%s %s", i == 0 ? " " : "", known);
    fputc('\n', stderr);
}

/* The capture, ready to be read, or NULL when the complaint is out. */
static pcap_t *open_capture(const char *path, const char *name, link_peel **peel)
{
    char error[PCAP_ERRBUF_SIZE];
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "rb");
    if (file == NULL) {
        complain("%s: %s", name, strerror(errno));
        return NULL;
    }
    pcap_t *pcap = pcap_fopen_offline(file, error);
    if (pcap == NULL) {
        complain("%s: %s", name, error);
        fclose(file);
        return NULL;
    }
    *peel = link_find(pcap_datalink(pcap));
    if (*peel == NULL) {
        refuse_link(name, pcap_datalink(pcap));
        pcap_close(pcap);
        return NULL;
    }
    return pcap;
}

/* What a user would otherwise puzzle over. */
static void tell_checksums(const struct kst *t)
{
    const struct kst_stats *stats = kst_statistics(t);
    const uint64_t wrong = stats->reasons[KST_REASON_IP_CHECKSUM] +
                           stats->reasons[KST_REASON_TCP_CHECKSUM] +
                           stats->reasons[KST_REASON_UDP_CHECKSUM];
    if (wrong >= 8 && wrong >= stats->packets / 8)
        complain("%" PRIu64 " of %" PRIu64 " packets have a wrong checksum: captured where they"
                 " were sent, before the network card summed? Try -s nf_conntrack_checksum=0",
                 wrong, stats->packets);
}

static void print_end(struct replay *r)
{
    const struct options *options = r->options;
    if (r->frames > 0 && options->at_us != UINT64_MAX)
        advance(r, options->at_us);
    const uint32_t left_out = options->each ? 0 : show_table(r->table, options->format);
    if (left_out > 0)
        complain("%" PRIu32 " IPv6 connections left out: --format legacy has no words for them",
                 left_out);
    if (r->firewall != NULL && !options->each)
        firewall_summary(r->firewall);
    if (options->stats)
        show_stats(r->table, &r->counts);
    if (kst_statistics(r->table)->events_lost > 0)
        complain("%" PRIu64 " events lost", kst_statistics(r->table)->events_lost);
    tell_checksums(r->table);
}

/* What is wrong with the capture is told last, where a long table does not hide it. */
static int run(struct replay *r)
{
    const char *path = r->options->path;
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    pcap_t *pcap = open_capture(path, name, &r->peel);
    if (pcap == NULL)
        return COMMAND_INPUT;
    const bool good = read_capture(r, pcap);
    print_end(r);
    if (!good)
        complain("%s: packet %" PRIu64 ": %s", name, r->frames + 1, pcap_geterr(pcap));
    pcap_close(pcap);
    return good ? COMMAND_DONE : COMMAND_INPUT;
}

int replay_main(int argc, char **argv)
{
    struct options options = {.max = 262144, .at_us = UINT64_MAX};
    struct replay replay = {.options = &options};
    options.settings = calloc((size_t)argc, sizeof *options.settings); /* as many as words */
    options.helpers = calloc((size_t)argc, sizeof *options.helpers);
    options.firewall.routes = calloc((size_t)argc, sizeof *options.firewall.routes);
    options.firewall.addresses = calloc((size_t)argc, sizeof *options.firewall.addresses);
    if (options.settings == NULL || options.helpers == NULL || options.firewall.routes == NULL ||
        options.firewall.addresses == NULL) {
        complain("%s", strerror(errno));
        return COMMAND_INPUT;
    }
    int code = read_options(argc, argv, &options);
    if (code == GO_ON)
        code = make_table(&options, &replay.table);
    if (code == GO_ON && firewall_wanted(&options.firewall)) {
        const int opened = firewall_open(&options.firewall, replay.table, &replay.firewall);
        code = opened == COMMAND_DONE ? GO_ON : opened;
    }
    if (code == GO_ON)
        code = run(&replay);
    const int closed = firewall_close(replay.firewall);
    free(replay.table);
    free(options.settings);
    free(options.helpers);
    free(options.firewall.routes);
    free(options.firewall.addresses);
    return code == COMMAND_DONE ? closed : code;
}
