#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""tagger.py TAP LINK TAG... - a VLAN sub-interface in user space.

What enters TAP leaves LINK with the tags in front; what arrives on LINK enters TAP without them.
A TAG is TPID:VID, such as 8100:42, the outermost first. Exists because small kernels lack 8021q,
and a recording should not depend on that: the frames on LINK are the same either way."""

import contextlib
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
ETH_P_ALL = 0x0003
TPIDS = (b"\x81\x00", b"\x88\xa8")
FRAME_MAX = 4096

tap_name, link_name, *tags = sys.argv[1:]
pairs = [tag.split(":") for tag in tags]
header = b"".join(struct.pack("!HH", int(tpid, 16), int(vid)) for tpid, vid in pairs)

tap = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", tap_name.encode(), IFF_TAP | IFF_NO_PI))
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
link.bind((link_name, 0))

while True:
    ready, _, _ = select.select([tap, link], [], [])
    if tap in ready:
        frame = os.read(tap, FRAME_MAX)
        link.send(frame[:12] + header + frame[12:])
    if link in ready:
        frame, (_, _, kind, *_) = link.recvfrom(FRAME_MAX)
        if kind == socket.PACKET_OUTGOING:
            continue
        while frame[12:14] in TPIDS:  # the kernel has already taken the outermost
            frame = frame[:12] + frame[16:]
        with contextlib.suppress(OSError):  # TAP may still be down: a cable not plugged in yet
            os.write(tap, frame)
