#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# replay.sh - the command as its user meets it: options, inputs good and bad, exit codes, messages.
set -euo pipefail
cd "$(dirname "$0")/.."
keepstate=$1
web=corpus/captures/web-v4.pcap
command=("$keepstate")
. tests/expect.sh

same() { # same FILE FILE WHAT
    cmp -s "$1" "$2" || { echo "differ: $3"; diff "$1" "$2" | head -n 10; exit 1; }
    count=$((count + 1))
}

# what it is for
expect 0 '^ipv4 +2 tcp +6 [0-9]+ [A-Z_]+ src=192.0.2.* \[ASSURED\] mark=0 zone=0 use=2$' replay "$web"
expect 0 '^tcp +6 [0-9]+ .* mark=0 use=2$' replay --format legacy "$web"
expect 0 '^tcp +6 [0-9]+ .* mark=0 use=1$' replay --format conntrack "$web"
expect 0 '^icmpv6 +58 [0-9]+ src=2001:db8:1::10 dst=2001:db8:2::10 ' replay --format conntrack corpus/captures/desk.pcap
expect 0 '^\{"family":"ipv4","protocol":"tcp".*\}$' replay --format json "$web"
expect 0 'invalid=[0-9]+ .*early_drop=0' replay --stats "$web"
expect 0 'packets=[0-9]+ bytes=[0-9]+' replay -s nf_conntrack_acct=1 "$web"
expect 0 'packets=[0-9]+ bytes=[0-9]+' replay -s net.netfilter.nf_conntrack_acct=1 "$web"
expect 0 'IPv6 connections left out' replay --format legacy corpus/captures/web-v6.pcap
expect 0 'packet [0-9]+: ' replay --why corpus/captures/scan-v4.pcap
expect 0 '^is new original$' replay --each "$web"
expect 0 'usage: keepstate' --help
expect 0 'examples:' replay --help
expect 0 '^keepstate [0-9]' --version
expect 0 '"ipv6"' replay --format json corpus/captures/dns-v6.pcap

# back ends change no answer
"$keepstate" replay --each "$web" >"$work/usual"
"$keepstate" replay --each --index chain --timer heap "$web" >"$work/other"
same "$work/usual" "$work/other" "the answers of two pairs of back ends"
expect 2 "none is called 'tree'" replay --index tree "$web"
expect 2 "these are:" replay --timer '' "$web"

# every link type in the corpus comes to the same kind of table
for file in vlan.pcap qinq.pcap cooked-v1.pcap cooked-v2.pcap rawip.pcap nanosecond.pcap pcapng.pcapng; do
    expect 0 '^ipv[46] +(2|10) (tcp|udp|icmp)' replay "corpus/captures/$file"
done

# connections that others announce
ftp=corpus/captures/ftp-active-v4.pcap
expect 0 '^is related original$' replay --each "$ftp"
expect 0 '^exp [0-9]+ l3proto = 2 proto=6 src=[0-9.]+ dst=[0-9.]+ sport=0 dport=[0-9]+ ftp$' replay --each "$ftp"
expect 0 '[1-9][0-9]* +connections that had been expected' replay --stats "$ftp"
"$keepstate" replay --helper none=tcp/21 --each "$ftp" >"$work/unhelped"
! grep -q '^is related original$' "$work/unhelped" || { echo "a helper that was taken off still helps"; exit 1; }
"$keepstate" replay --helper none=tcp/21 --helper ftp=tcp/21 --each "$ftp" >"$work/helped"
"$keepstate" replay --each "$ftp" >"$work/usual"
same "$work/helped" "$work/usual" "a helper taken off and attached again"

# events
expect 0 '^\[[0-9]+\.[0-9]{6}\]	    \[NEW\] tcp      6 120 SYN_SENT src=.* \[UNREPLIED\] src=.* helper=ftp$' replay --events "$ftp"
expect 0 '^\[[0-9.]+\]	 \[UPDATE\] tcp      6 60 SYN_RECV src=' replay --events "$ftp"
expect 0 '^\[[0-9.]+\]	 \[UPDATE\] tcp      6 432000 ESTABLISHED src=.* \[ASSURED\]$' replay --events "$ftp"
expect 0 '^\[[0-9.]+\]	\[DESTROY\] tcp      6 ' replay --events --at 9999999 "$ftp"
expect 0 '^\[[0-9.]+\]	    \[NEW\] 300 proto=6 src=.* mask-src=255.255.255.255 mask-dst=255.255.255.255 sport=0 dport=65535 master-src=.* class=0 helper=ftp$' replay --events "$ftp"
expect 0 '^\{"time":[0-9.]+,"event":"destroy","cause":"timed out","connection":\{' replay --events --format json --at 9999999 "$ftp"

# standard input, and what the time is
"$keepstate" replay "$web" >"$work/file"
"$keepstate" replay - <"$web" >"$work/stdin"
same "$work/file" "$work/stdin" "the same capture from standard input"
"$keepstate" replay --at 0 "$web" >"$work/at"
[ "$(wc -l <"$work/at")" -lt "$(wc -l <"$work/file")" ] || { echo "--at 0 tracked it all"; exit 1; }
expect 0 '' replay --at 99999999 "$web"
"$keepstate" replay --at 99999999 "$web" >"$work/late"
[ ! -s "$work/late" ] || { echo "--at three years later something is left"; exit 1; }

# a table that is too small
expect 0 '[1-9][0-9]* +gone: to make room' replay --max 3 --stats corpus/captures/scan-v4.pcap

# bad input: code 1, what was read counts
head -c 5000 "$web" >"$work/cut.pcap"
expect 1 'cut.pcap: packet [0-9]+: truncated' replay "$work/cut.pcap"
grep -q '^ipv4 ' "$work/said" || { echo "the table of a truncated capture is missing"; exit 1; }
: >"$work/empty"
expect 1 'empty' replay "$work/empty"
expect 1 'unknown file format' replay README.md
expect 1 'No such file' replay "$work/missing.pcap"
expect 1 '' replay "$work"
head -c 24 "$web" >"$work/none.pcap"
expect 0 '' replay "$work/none.pcap"
[ ! -s "$work/said" ] || { echo "a capture without packets prints something"; exit 1; }

# wrong usage: code 2
expect 2 'help' replay
expect 2 'NAME=tcp/PORT' replay --helper ftp "$web"
expect 2 'NAME=tcp/PORT' replay --helper ftp=tcp/65536 "$web"
expect 2 'no helper is called gopher; these are' replay --helper gopher=tcp/70 "$web"
expect 2 'help' replay --nonsense "$web"
expect 2 'one FILE' replay "$web" "$web"
expect 2 'nf_conntrack_udp_timeout$' replay -s nf_conntrack_nonsense=1 "$web"
expect 2 '0\.\.1' replay -s nf_conntrack_checksum=2 "$web"
expect 2 'only be read' replay -s nf_conntrack_count=2 "$web"
expect 2 'NAME=VALUE' replay -s nf_conntrack_checksum "$web"
expect 2 '--max' replay -s nf_conntrack_max=300000 "$web"
expect 2 '--max' replay --max 0 "$web"
expect 2 '--at' replay --at soon "$web"
expect 2 '--format' replay --format xml "$web"
expect 2 'nonsense' nonsense

# the output goes nowhere
if [ -w /dev/full ]; then
    got=0
    "$keepstate" replay "$web" >/dev/full 2>"$work/said" || got=$?
    if [ "$got" -ne 1 ] || ! grep -q 'No space' "$work/said"; then
        echo "a full disk: exit $got"
        exit 1
    fi
fi

# captures with any byte changed, or cut anywhere: a table or an error, never a crash
for file in dns-v4.pcap refused-v6.pcap pcapng.pcapng cooked-v1.pcap qinq.pcap; do
    for ((i = 0; i < 12; i++)); do
        size=$(stat -c %s "corpus/captures/$file")
        cp "corpus/captures/$file" "$work/odd"
        LC_ALL=C awk -v byte=$((i * 37 % 256)) 'BEGIN {printf "%c", byte}' |
            dd of="$work/odd" bs=1 seek=$((i * 7919 % size)) conv=notrunc status=none
        got=0
        "$keepstate" replay --stats "$work/odd" >"$work/said" 2>&1 || got=$?
        [ "$got" -le 1 ] || { echo "$file, changed ($i): exit $got"; tail -n 5 "$work/said"; exit 1; }
    done
    count=$((count + 1))
done
echo "$count things tried on the command"
