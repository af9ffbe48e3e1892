#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# rules.sh - the options of `keepstate replay` that go with rules; and that what it lets out of the
# firewall of corpus/firewall is what a real router let out, byte by byte.
set -euo pipefail
cd "$(dirname "$0")/.."
keepstate=$1
rules=corpus/firewall/rules.v4
capture=corpus/captures/firewall.pcap
net=(--address left=192.0.2.1/24 --address right=198.51.100.1/24)
command=("$keepstate" replay)
. tests/expect.sh

ruleset() { printf '%s\n' "$@" >"$work/rules"; }

# the real firewall
"$keepstate" replay --rules "$rules" "${net[@]}" --each "$capture" | grep '^out ' >"$work/passed"
if ! cmp "$work/passed" corpus/firewall/passed.txt; then
    echo "not what the router sent on (<: what it did)"
    diff corpus/firewall/passed.txt "$work/passed" | cut -c1-160 | head -n 6
    exit 1
fi
count=$((count + 1))
expect 0 '^ +1 +60 DNAT +tcp +-- +right +\* +0.0.0.0/0 +198.51.100.1/32 +-m tcp --dport 80 --to-destination 192.0.2.10:80$' --rules "$rules" "${net[@]}" "$capture"
expect 0 '^Chain INPUT \(policy DROP 3 packets, 228 bytes\)$' --rules "$rules" "${net[@]}" "$capture"
expect 0 '^ +121 +[0-9]+ ACCEPT +all +.*-m conntrack --ctstate RELATED,ESTABLISHED$' --rules "$rules" "${net[@]}" "$capture"
expect 0 '^packet 137: dropped by corpus/firewall/rules.v4:[0-9]+: -A bad_tcp .* -j DROP$' --rules "$rules" "${net[@]}" --why "$capture"
expect 0 '^packet 134: dropped by policy of INPUT in filter$' --rules "$rules" "${net[@]}" --why "$capture"

# one packet: what it met, what became of it
expect 0 '^  FORWARD +filter +corpus/firewall/rules.v4:[0-9]+: -A FORWARD -i left -o right -g from_inside$' --rules "$rules" "${net[@]}" --explain 2 "$capture"
for line in '^packet 2: 192.0.2.10 > 198.51.100.10 tcp' '^  PREROUTING +tracked: new original$' \
    '^  PREROUTING +routed: out right$' '^  POSTROUTING +nat .*-j SNAT --to-source 198.51.100.1$' \
    '^  passes: 198.51.100.1 > 198.51.100.10 tcp'; do
    grep -qE -- "$line" "$work/said" || { echo "--explain 2 lacks $line"; cat "$work/said"; exit 1; }
done
[ "$(grep -c '^packet ' "$work/said")" -eq 1 ] || { echo "--explain 2 explains others"; exit 1; }
expect 0 '^packet 142: ' --rules "$rules" "${net[@]}" --explain all "$capture"
expect 0 'no IP packet of this number' --rules "$rules" "${net[@]}" --explain 99999 "$capture"

# what passed, as a capture: it goes through once more without any rules
expect 0 '' --rules "$rules" "${net[@]}" --write "$work/passed.pcap" "$capture"
expect 0 ' (130|131) +packets tracked$' --stats "$work/passed.pcap"

# a used-up range of ports has its name, and so has a missing address
ruleset '*nat' '-A POSTROUTING -p udp -j SNAT --to-source 203.0.113.1:6000-6001' 'COMMIT'
expect 0 'dropped: NAT_EXHAUSTED: .*the range is used up' --rules "$work/rules" --why corpus/captures/dns-v4.pcap
ruleset '*nat' '-A POSTROUTING -j MASQUERADE' 'COMMIT'
expect 0 'dropped: the interface has no address' --rules "$work/rules" --route default=eth0 --why --explain 2 "$capture"

# routes: the longest prefix, and none
ruleset '*filter' '-A FORWARD -o wan -j DROP' 'COMMIT'
expect 0 '^ +[1-9][0-9]* +[0-9]+ DROP ' --rules "$work/rules" --route default=lan --route 198.51.100.0/24=wan corpus/captures/web-v4.pcap
expect 0 'no --route and no --address names this interface' --rules "$work/rules" --route default=lan corpus/captures/web-v4.pcap
expect 0 '^ +0 +0 DROP ' --rules "$work/rules" --route default=wan --route 198.51.0.0/16=wan --route 198.51.100.0/24=lan --route 192.0.2.0/24=lan corpus/captures/refused-v4.pcap
expect 0 'dropped: there is no route' --rules "$work/rules" --route 192.0.2.0/24=lan --why corpus/captures/web-v4.pcap

# fragments: rules see the datagram
ruleset '*filter' '-A FORWARD -p udp -m udp --sport 53 -m length --length 1500: -j DROP' 'COMMIT'
expect 0 '^ +1 +2096 DROP ' --rules "$work/rules" --write "$work/passed.pcap" corpus/captures/fragments-v4.pcap
expect 0 ' 7 +packets tracked$' --stats "$work/passed.pcap"
expect 0 '^ +1 +2116 DROP ' --rules6 "$work/rules" corpus/captures/fragments-v6.pcap
expect 0 '  PREROUTING +held: a fragment, held until' --rules "$work/rules" --explain all corpus/captures/fragments-v4.pcap

# IPv6
ruleset '*filter' '-A FORWARD -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j REJECT --reject-with tcp-reset' 'COMMIT'
expect 0 'rejected by .*--reject-with tcp-reset$' --rules6 "$work/rules" --why corpus/captures/web-v6.pcap

# bad rule files: by file, line and word
ruleset '*filter' '-A FORWARD -m recent --set -j DROP' 'COMMIT'
expect 1 "rules:2: 'recent': no match of this name" --rules "$work/rules" "$capture"
ruleset '*filter' '-A FORWARD -p tcp --dports 80 -j DROP' 'COMMIT'
expect 1 "rules:2: '--dports': no match and no target" --rules "$work/rules" "$capture"
ruleset '*filter' '-A FORWARD -j web' 'COMMIT'
expect 1 "rules:2: 'web': no target is known, and no chain" --rules "$work/rules" "$capture"
ruleset '*filter' '-A FORWARD -j DROP'
expect 1 'no COMMIT' --rules "$work/rules" "$capture"
expect 1 'No such file' --rules "$work/missing" "$capture"

# wrong usage
expect 2 'INTERFACE' --rules "$rules" --route 192.0.2.0/33=eth0 "$capture"
expect 2 'INTERFACE' --rules "$rules" --route eth0 "$capture"
expect 2 'INTERFACE=ADDRESS' --rules "$rules" --address 192.0.2.1=eth0 "$capture"
expect 2 '--explain' --rules "$rules" --explain 0 "$capture"
expect 2 '--seed' --rules "$rules" --seed x "$capture"
expect 1 '--write' --rules "$rules" --write "$work/no/such" "$capture"
echo "$count things tried with rules"
