#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# record.sh [NAME...] - record the captures in this folder anew: all, or just the named ones.
#
# Real programs talk in three network namespaces that exist only while this runs; no packet can
# leave them, since nothing connects them to the machine. All takes root, Debian 12 and a minute.
#
#     client eth0 ------------- left ROUTER right ------------- eth0 server
#     192.0.2.10       192.0.2.1           198.51.100.1     198.51.100.10
#     2001:db8:1::10   2001:db8:1::1       2001:db8:2::1    2001:db8:2::10
#
# A new scenario is a line in `captures` and a function of that name, dashes as underscores and
# without the -v4 or -v6. Each starts from a fresh net; what it records is kept only if it succeeds.
set -euo pipefail

captures='
desk.pcap              | a desk for two seconds, IPv4 and IPv6: names, pages, pings; uploads are under way and connections idle when the capture ends
web-v4.pcap            | nginx and curl: pages in parallel, three on one connection, 100 kB, a HEAD, a 404
web-v6.pcap            | the same over IPv6
dns-v4.pcap            | dnsmasq and dig: A, AAAA, MX, PTR, NXDOMAIN, one over TCP, one truncated and asked again over TCP
dns-v6.pcap            | the same over IPv6
ping-traceroute-v4.pcap | ping of the server and the router; traceroute by UDP, ICMP and TCP; a host, a net and a policy that are unreachable
ping-traceroute-v6.pcap | the same over IPv6
ftp-active-v4.pcap     | vsftpd and curl, the server connects back: PORT for a listing and a download, EPRT for a download and an upload
ftp-active-v6.pcap     | EPRT for all of them
ftp-passive-v4.pcap    | vsftpd and curl, the client connects twice: PASV for a listing and a download, EPSV for a download and an upload
ftp-passive-v6.pcap    | EPSV for all of them
refused-v4.pcap        | curl to a closed TCP port (RST), dig to a closed UDP port (ICMP port unreachable)
refused-v6.pcap        | the same over IPv6
killed-v4.pcap         | SIGKILL to the server while it sends, to the client while it reads, to a client and a server with unread data (RST); a close with SO_LINGER 0 (RST)
killed-v6.pcap         | the same over IPv6
vanished-v4.pcap       | the link to the server goes down during an upload of single lines: retransmissions, then ICMP host unreachable
vanished-v6.pcap       | the same over IPv6
scan-v4.pcap           | nmap: SYN, connect, UDP, NULL, FIN, Xmas, ACK, SCTP INIT and IP protocol scans; a SYN scan in tiny fragments
scan-v6.pcap           | the same over IPv6, without the fragments
loss-v4.pcap           | the router drops 10 % of all packets, seen from the client side: two downloads, an upload, six pages
loss-v6.pcap           | the same over IPv6
pmtu-v4.pcap           | an upload and a ping meet a link of 1280 bytes: ICMP fragmentation needed, then smaller segments
pmtu-v6.pcap           | the same over IPv6: ICMPv6 packet too big
fragments-v4.pcap      | ping of 3000 bytes, and a DNS answer of 2 kB in one UDP datagram
fragments-v6.pcap      | the same over IPv6: fragment headers
vlan.pcap              | a page, a query and a ping over IPv4 and IPv6 on VLAN 42 (802.1Q)
qinq.pcap              | the same with two tags, 802.1ad 7 outside 802.1Q 42
cooked-v1.pcap         | the same on the pseudo-interface "any" of the client
cooked-v2.pcap         | the same, newer header
rawip.pcap             | the same through a tun device (socat), so without any link layer
nanosecond.pcap        | the same on Ethernet, time stamps in nanoseconds
pcapng.pcapng          | the same, written as pcapng (editcap)
firewall.pcap          | what came in at a router that runs ../firewall/rules.v4: pages, a query, pings and FTP from inside to outside, a page from outside to the web server inside, and what it is to keep out
'

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
client=kst$$-client router=kst$$-router server=kst$$-server


# --- Running things -----------------------------------------------------------------------------

die() { echo "record.sh: $*" >&2; exit 1; }

in_client() { ip netns exec "$client" "$@"; }
in_router() { ip netns exec "$router" "$@"; }
in_server() { ip netns exec "$server" "$@"; }

# Starts a program in a namespace; $spawned is its process id, $work/PROGRAM.log what it says.
spawn() {
    ip netns exec "$1" "${@:2}" </dev/null >"$work/$2.log" 2>&1 &
    spawned=$!
}

# Ends one of them, and hides bash's note about it.
end() {
    kill "-$1" "$2"
    wait "$2" 2>/dev/null || true
}

wait_for() {
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.05
    done
    die "waited in vain: $*"
}

# For what is recorded because it goes wrong.
must_fail() { if "$@" 2>/dev/null; then die "should have failed: $*"; fi; }

need() {
    local command package missing=
    ((EUID == 0)) || die "namespaces need root"
    while read -r command package; do
        command -v "$command" >/dev/null || missing+=" $package"
    done <<'END'
curl             curl
dig              bind9-dnsutils
dnsmasq          dnsmasq-base
editcap          wireshark-common
ethtool          ethtool
ip               iproute2
ip6tables-legacy iptables
nginx            nginx
nmap             nmap
ping             iputils-ping
python3          python3
socat            socat
sysctl           procps
tcpdump          tcpdump
traceroute       traceroute
vsftpd           vsftpd
END
    [[ -z $missing ]] || die "missing Debian packages:$missing"
}


# --- The net ------------------------------------------------------------------------------------

net_up() {
    local ns
    for ns in "$client" "$router" "$server"; do
        ip netns add "$ns"
        # Only what the programs say should be in a capture: no duplicate address detection, no
        # router solicitation, multicast reports at once. No rate limit, or scans take minutes.
        ip netns exec "$ns" sysctl -q -w \
            net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.router_solicitations=0 \
            net.ipv6.conf.default.mldv2_unsolicited_report_interval=1 \
            net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
        ip -n "$ns" link set lo up
    done
    in_router sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1

    cable "$client" eth0 02:00:00:00:01:10 "$router" left 02:00:00:00:01:01
    cable "$server" eth0 02:00:00:00:02:10 "$router" right 02:00:00:00:02:01
    address "$client" eth0 192.0.2.10/24 2001:db8:1::10/64
    address "$router" left 192.0.2.1/24 2001:db8:1::1/64
    address "$router" right 198.51.100.1/24 2001:db8:2::1/64
    address "$server" eth0 198.51.100.10/24 2001:db8:2::10/64
    routes "$client" 192.0.2.1 2001:db8:1::1
    routes "$server" 198.51.100.1 2001:db8:2::1
}

# Two ends of a veth. Offloads are off: checksums must be right and no frame beyond the MTU.
cable() {
    ip -n "$1" link add "$2" address "$3" type veth peer name "$5" address "$6" netns "$4"
    plug "$1" "$2"
    plug "$4" "$5"
}

plug() {
    ip netns exec "$1" ethtool -K "$2" rx off tx off sg off tso off gso off gro off >/dev/null
    ip -n "$1" link set "$2" up
}

address() {
    ip -n "$1" address add "$3" dev "$2"
    ip -n "$1" address add "$4" dev "$2"
}

routes() {
    ip -n "$1" route replace default via "$2"
    ip -n "$1" route replace default via "$3"
}

# Everything in the namespaces was started here, so all of it may be killed.
net_down() {
    local ns
    {
        for ns in "$client" "$router" "$server"; do
            ip netns pids "$ns" | xargs --no-run-if-empty kill -KILL || true
        done
        wait
    } 2>/dev/null
    for ns in "$client" "$router" "$server"; do
        [[ ! -e /run/netns/$ns ]] || ip netns delete "$ns"
    done
}


# --- Recording ----------------------------------------------------------------------------------

# capture_start [NAMESPACE OPTION...]: where, and what else tcpdump should know.
capture_start() {
    (($#)) || set -- "$router" -i left
    sleep 0.2 # until the last multicast report is out
    spawn "$1" tcpdump -n -U -s 0 -Z root --immediate-mode -w "$work/$file" "${@:2}"
    recorder=$spawned
    wait_for grep -q '^tcpdump: listening' "$work/tcpdump.log"
}

capture_stop() {
    sleep 0.3 # for the last acknowledgements
    end INT "$recorder"
    grep -q '^0 packets dropped by kernel' "$work/tcpdump.log" || die "$file is incomplete"
}


# --- Servers and clients ------------------------------------------------------------------------

# Scenarios say $family, $target, $url; so IPv4 and IPv6 share one text.
use_family() {
    family=$1
    if [[ $family == 6 ]]; then
        near=2001:db8:1::1 target=2001:db8:2::10 url='http://[2001:db8:2::10]'
        no_host=2001:db8:2::99 no_net=2001:db8:3::1 forbidden=2001:db8:4::1
        iptables=ip6tables-legacy nmap=(nmap -6)
    else
        near=192.0.2.1 target=198.51.100.10 url=http://198.51.100.10
        no_host=198.51.100.99 no_net=203.0.113.1 forbidden=203.0.113.129
        iptables=iptables-legacy nmap=(nmap)
    fi
}

# In one process, so that killing it kills the connections.
serve_web() {
    spawn "$server" nginx -p "$work" -e stderr -c web.conf
    web=$spawned
    wait_for curl_index
}
curl_index() { in_server curl -q --noproxy '*' -fsS http://127.0.0.1/; }

serve_dns() {
    local text=
    printf -v text ',%0200d' {1..10} # 2 kB, in strings of the 255 bytes that DNS allows
    spawn "$server" dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file= \
        --user=root --interface=eth0 --no-resolv --no-hosts --local=/example.test/ --edns-packet-max=4096 \
        --host-record=www.example.test,198.51.100.10,2001:db8:2::10 \
        --mx-host=example.test,www.example.test,10 --txt-record="long.example.test$text"
    wait_for in_server dig @127.0.0.1 +tries=1 +time=1 www.example.test
}

serve_ftp() {
    spawn "$server" vsftpd "$work/ftp.conf"
    wait_for in_server socat -u OPEN:/dev/null TCP:127.0.0.1:21
}

fetch() { in_client curl -q --noproxy '*' -sS --max-time 60 "$@" >/dev/null 2>"$work/curl.log"; }
ask() { in_client dig "@$target" +tries=1 +time=2 "$@" >/dev/null; }
reach() { in_client ping "-$family" -n -i 0.2 -W 1 "$@" >/dev/null; }
trace() { in_client traceroute "-$family" -n -m 4 -w 1 "$@" "$target" >/dev/null; }
probe() { in_client "${nmap[@]}" -n -Pn -T4 --max-retries 1 "$@" "$target" >/dev/null; }

# A little of everything, for captures that differ in how they are written.
small_talk() {
    serve_web
    serve_dns
    capture_start "$@"
    for family in 4 6; do
        use_family "$family"
        fetch "$url/page1.html"
        ask www.example.test
        reach -c 2 "$target"
    done
    capture_stop
}

files() {
    mkdir -p "$work/www" "$work/ftp/pub" "$work/ftp/incoming" "$work/empty" "$work/kept"
    chmod 755 "$work"
    head -c 100000 < <(seq 100000) >"$work/www/100k.txt"
    head -c 40000 "$work/www/100k.txt" >"$work/www/40k.txt"
    head -c 20000 "$work/www/100k.txt" >"$work/www/20k.txt"
    head -c 3000 "$work/www/100k.txt" >"$work/www/index.html"
    local page
    for page in {1..6}; do
        head -c "${page}000" "$work/www/100k.txt" >"$work/www/page$page.html"
    done
    cp "$work/www/20k.txt" "$work/ftp/pub"
    chown ftp "$work/ftp/incoming" # the root of an anonymous login must not be writable

    cat >"$work/web.conf" <<END
daemon off;
master_process off;
user root;
pid $work/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path $work/body;
    proxy_temp_path $work/proxy;
    fastcgi_temp_path $work/fastcgi;
    uwsgi_temp_path $work/uwsgi;
    scgi_temp_path $work/scgi;
    server {
        listen 80;
        listen [::]:80;
        root $work/www;
        location /slow/ { alias $work/www/; limit_rate 20k; }
        location /upload/ { alias $work/kept/; dav_methods PUT; }
    }
}
END
    cat >"$work/ftp.conf" <<END
background=NO
listen=NO
listen_ipv6=YES
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_root=$work/ftp
secure_chroot_dir=$work/empty
connect_from_port_20=YES
isolate=NO
isolate_network=NO
seccomp_sandbox=NO
END
}


# --- Scenarios ----------------------------------------------------------------------------------

desk() {
    serve_web
    serve_dns
    capture_start
    for family in 4 6; do
        use_family "$family"
        ask www.example.test
        fetch "$url/" "$url/page1.html"
        reach -c 2 "$target"
        for _ in {1..12}; do echo 'one more line'; sleep 0.2; done |
            fetch -T - "$url/upload/lines$family.txt" &
        spawn "$client" socat -u "TCP:${url#http://}:80" /dev/null
    done
    sleep 0.5
    capture_stop
}

web() {
    serve_web
    capture_start
    fetch --parallel --parallel-immediate "$url/page[1-6].html"
    fetch "$url/" "$url/page1.html" "$url/page2.html"
    fetch "$url/100k.txt"
    fetch --head "$url/"
    fetch "$url/missing"
    capture_stop
}

dns() {
    serve_dns
    capture_start
    ask www.example.test A
    ask www.example.test AAAA
    ask example.test MX
    ask -x 198.51.100.10
    ask missing.example.test
    ask +tcp www.example.test
    ask +noedns long.example.test TXT
    capture_stop
}

ping_traceroute() {
    # The router has no default route, so an unknown net is unreachable without further ado.
    ip -n "$router" route add prohibit "$forbidden"
    capture_start
    reach -c 5 "$target"
    reach -c 2 -s 1400 "$target"
    reach -c 2 "$near"
    trace
    trace -I
    trace -T -p 80
    must_fail reach -c 2 -W 4 "$no_host"
    sleep 1 # errors from the routing table have a limit of their own, one a second
    must_fail reach -c 2 -i 1.1 "$no_net"
    sleep 1
    must_fail reach -c 1 "$forbidden"
    capture_stop
}

ftp_active() { ftp --disable-eprt -P -; }
ftp_passive() { ftp --disable-epsv; }

# $1 forbids the newer command, for which IPv6 has no older one.
ftp() {
    local old=("$@") new=("${@:2}") at=${url/http/ftp}
    [[ $family == 4 ]] || old=("${new[@]}")
    serve_ftp
    capture_start
    fetch "${old[@]}" "$at/pub/"
    fetch "${old[@]}" "$at/pub/20k.txt"
    fetch "${new[@]}" "$at/pub/20k.txt"
    fetch "${new[@]}" -T "$work/www/page3.html" "$at/incoming/$name.html"
    capture_stop
}

refused() {
    capture_start
    must_fail fetch "$url:81/"
    must_fail ask www.example.test
    capture_stop
}

killed() {
    local get
    capture_start

    serve_web
    fetch "$url/slow/100k.txt" &
    get=$!
    sleep 1
    end KILL "$web"
    wait "$get" || true

    serve_web
    spawn "$client" curl -q --noproxy '*' -sS -o /dev/null "$url/slow/100k.txt"
    sleep 0.5
    end KILL "$spawned"

    # This one reads less than it gets.
    spawn "$client" curl -q --noproxy '*' -sS -o /dev/null --limit-rate 1k "$url/40k.txt"
    sleep 0.5
    end KILL "$spawned"

    in_client python3 -c "
import socket, struct
s = socket.create_connection(('$target', 80))
s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
s.sendall(b'GET /slow/100k.txt HTTP/1.0\r\n\r\n')
s.recv(1000)
s.close()"

    kill -STOP "$web"
    fetch -T "$work/www/20k.txt" -H Expect: "$url/upload/20k.txt" &
    get=$!
    sleep 0.5
    end KILL "$web"
    wait "$get" || true
    capture_stop
}

vanished() {
    serve_web
    capture_start
    for _ in {1..20}; do echo 'one more line'; sleep 0.2; done |
        fetch -T - --max-time 5 "$url/upload/lines.txt" &
    local put=$!
    sleep 1
    ip -n "$server" link set eth0 down
    if wait "$put"; then die "the upload survived"; fi
    capture_stop
}

scan() {
    serve_web
    serve_dns
    capture_start
    probe -sS -p 20-45,53,80
    probe -sT -p 50-85
    probe -sU -p 50-70
    local kind
    for kind in N F X A; do
        probe "-s$kind" -p 22,53,80
    done
    probe -sY -p 80
    probe -sO -p 1,2,6,17,47,50,132,136
    [[ $family == 6 ]] || probe -sS -f -p 22,80
    capture_stop
}

loss() {
    serve_web
    in_router "$iptables" -A FORWARD -m statistic --mode random --probability 0.1 -j DROP
    capture_start
    fetch "$url/40k.txt"
    fetch -T "$work/www/40k.txt" "$url/upload/40k.txt"
    fetch "$url/40k.txt"
    local page
    for page in {1..6}; do
        fetch "$url/page$page.html"
    done
    capture_stop
}

pmtu() {
    serve_web
    ip -n "$router" link set right mtu 1280
    capture_start
    fetch -T "$work/www/page6.html" "$url/upload/page6.html"
    fetch -T "$work/www/40k.txt" "$url/upload/40k.txt"
    ip -n "$client" route flush cache # forget, so that the ping has to learn for itself
    ip -n "$client" -6 route flush cache
    must_fail reach -c 2 -M 'do' -s 1400 "$target"
    capture_stop
}

fragments() {
    serve_dns
    capture_start
    reach -c 3 -s 3000 "$target"
    ask +bufsize=4096 long.example.test TXT
    capture_stop
}

vlan() { tagged 8100:42; }
qinq() { tagged 88a8:7 8100:42; }

# Both ends of the left cable move to a tap behind tagger.py; only tagged frames remain on it.
tagged() {
    local ns link
    for ns in "$client" "$router"; do
        link=left
        [[ $ns == "$router" ]] || link=eth0
        ip -n "$ns" address flush dev "$link"
        ip -n "$ns" link set "$link" mtu 1508
        spawn "$ns" python3 "$here/tagger.py" tagged "$link" "$@"
        wait_for ip -n "$ns" link show tagged
        plug "$ns" tagged
    done
    address "$client" tagged 192.0.2.10/24 2001:db8:1::10/64
    address "$router" tagged 192.0.2.1/24 2001:db8:1::1/64
    routes "$client" 192.0.2.1 2001:db8:1::1
    small_talk
}

cooked_v1() { small_talk "$client" -i any -y LINUX_SLL; }
cooked_v2() { small_talk "$client" -i any -y LINUX_SLL2; }
nanosecond() { small_talk "$router" -i left --time-stamp-precision=nano; }

# Not by dumpcap, which would write down what kernel and processor this machine has.
pcapng() {
    nanosecond
    mv "$work/$file" "$work/plain"
    editcap -F pcapng "$work/plain" "$work/$file"
}

# IP in UDP between client and router, as VPNs do it; the server is then behind the tunnel.
rawip() {
    local ns
    spawn "$client" socat UDP:192.0.2.1:4000,bind=192.0.2.10:4000 TUN,tun-name=tun0,iff-no-pi
    spawn "$router" socat UDP:192.0.2.10:4000,bind=192.0.2.1:4000 TUN,tun-name=tun0,iff-no-pi
    for ns in "$client" "$router"; do
        wait_for ip -n "$ns" link show tun0
        ip -n "$ns" link set tun0 mtu 1400 up
    done
    address "$client" tun0 203.0.113.2/30 2001:db8:3::2/64
    address "$router" tun0 203.0.113.1/30 2001:db8:3::1/64
    ip -n "$client" route add 198.51.100.0/24 dev tun0
    ip -n "$client" route add 2001:db8:2::/64 dev tun0
    small_talk "$client" -i tun0
}

# The firewall of ../firewall at work. What came in is the capture, what the router forwarded, as it
# left but with the TTL that it came with, becomes ../firewall/passed.txt.
firewall() {
    local inside=192.0.2.10 outside=198.51.100.1
    spawn "$client" nginx -p "$work" -e stderr -c web.conf
    wait_for in_client curl -q --noproxy '*' -fsS http://127.0.0.1/
    serve_web
    serve_dns
    serve_ftp
    ip -n "$server" route del default # the network inside cannot be seen from there,
    ip -n "$server" route add 192.0.2.0/24 via "$outside" # but who wants to, tries
    in_router iptables-legacy-restore "$here/../firewall/rules.v4"
    spawn "$router" tcpdump -n -U -s 2000 -Z root --immediate-mode -i any -Q out -y LINUX_SLL2 -w "$work/left.pcap"
    local left=$spawned
    wait_for grep -q '^tcpdump: listening' "$work/tcpdump.log"
    capture_start "$router" -i any -Q in -y LINUX_SLL2 -s 2000 # frames of 256 KiB fill the ring

    fetch "$url/page2.html"
    ask www.example.test
    must_fail ask -p 5353 www.example.test
    reach -c 2 "$target"
    fetch --disable-eprt -P - "ftp://$target/pub/20k.txt"
    fetch "ftp://$target/pub/"
    in_server curl -q --noproxy '*' -fsS "http://$outside/page1.html" >/dev/null
    in_server ping -n -c 4 -i 0.2 -W 1 "$outside" >/dev/null || true
    must_fail in_server curl -q --noproxy '*' -sS --max-time 1 "http://$inside/"
    must_fail in_server curl -q --noproxy '*' -sS --max-time 1 "http://$outside:8080/"
    in_server nmap -n -Pn -T4 --max-retries 0 -sA -p 22,80 "$inside" >/dev/null
    in_server nmap -n -Pn -T4 --max-retries 0 -sX -p 22,80 "$outside" >/dev/null
    in_server nmap -n -Pn -T4 --max-retries 0 -sM -p 80 "$inside" >/dev/null
    capture_stop
    end INT "$left"
    python3 "$here/../firewall/passed.py" "$work/left.pcap" >"$here/../firewall/passed.txt"
}


# --- The list -----------------------------------------------------------------------------------

names() { sed -n 's/^\([a-z0-9-]*\)\.pcap.*/\1/p' <<<"$captures"; }

record() {
    name=$1
    file=$(grep -o "^$name\.pcap[a-z]*" <<<"$captures") || die "no scenario named $name"
    local scenario=${name%-v[46]}
    use_family "$([[ $name == *-v6 ]] && echo 6 || echo 4)"
    rm -f "$work"/*.log
    net_up
    "${scenario//-/_}"
    net_down
    install -m 644 "$work/$file" "$here/$file"
    echo "$file"
}

# The table in README.md, after the line that opens it.
table() {
    local file how type count
    while IFS='|' read -r file how; do
        file=${file// /}
        [[ -f $here/$file ]] || continue
        type=$(tcpdump -nr "$here/$file" --count 2>&1)
        count=$(sed -n 's/^\([0-9]*\) packets\?$/\1/p' <<<"$type")
        type=$(sed -n 's/.*link-type \([A-Z0-9_]*\).*/\1/p' <<<"$type")
        echo "| $file | $type | $count |$how |"
    done <<<"$captures"
}

readme() {
    { sed '/^|---/q' "$here/README.md"; table; } >"$work/README.md"
    cat "$work/README.md" >"$here/README.md"
}

clean_up() {
    local status=$?
    net_down
    ((status == 0)) || tail -n 5 "$work"/*.log 2>/dev/null | cat >&2 || true
    rm -rf "$work"
}

need
work=$(mktemp -d)
trap clean_up EXIT
trap 'exit 130' INT TERM
files
mapfile -t all < <(names)
(($#)) || set -- "${all[@]}"
for name; do
    record "$name"
done
readme
