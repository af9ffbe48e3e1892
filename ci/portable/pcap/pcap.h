/* SPDX-License-Identifier: MIT */
/* pcap.h - writes no captures, where libpcap is not at hand: for machines that ci/portable.sh compiles for. */
#ifndef PORTABLE_PCAP_H
#define PORTABLE_PCAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>
#include <sys/types.h>

typedef struct pcap pcap_t;
typedef struct pcap_dumper pcap_dumper_t;
struct pcap_pkthdr {
    struct timeval ts;
    uint32_t caplen, len;
};
enum { DLT_RAW = 12 };

#define pcap_open_dead(link, snap) ((void)(link), (void)(snap), (pcap_t *)NULL)
#define pcap_dump_open(dead, path) ((void)(dead), (void)(path), (pcap_dumper_t *)NULL)
#define pcap_geterr(dead) ((void)(dead), "no libpcap")
#define pcap_dump(to, header, data) ((void)(to), (void)(header), (void)(data))
#define pcap_dump_close(dumper) ((void)(dumper))
#define pcap_close(dead) ((void)(dead))

#endif
