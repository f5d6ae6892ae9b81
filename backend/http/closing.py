"""Ends the queue of a listening socket without losing a connection that the system has accepted."""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
import sys

_SO_ATTACH_FILTER = 26
"""Of Linux (asm-generic/socket.h); Python's socket does not name it."""

_DROP_SYN = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the flags of the TCP header
        (0x45, 0, 1, 0x02),  # SYN among them? else skip one
        (0x06, 0, 0, 0),  # drop the packet
        (0x06, 0, 0, 0xFFFFFFFF),  # take it whole
    )
)
"""A classic BPF program (linux/filter.h): of the packets of a listening socket, those that begin a connection go."""


def keep_newcomers_out(listener: socket.socket) -> None:
    """Have the system begin no further connection for a socket; those that it has begun go on.

    Nothing new gets into the queue between the last look into it and its end: a connection that begins then is left
    unanswered, and refused when the system tries it again, a second later. Not on Linux, and for a connection whose
    last packet is under way, those microseconds remain.
    """
    if sys.platform == "linux":
        program = ctypes.create_string_buffer(_DROP_SYN, len(_DROP_SYN))
        length = len(_DROP_SYN) // struct.calcsize("HBBI")
        # A sandbox may know no filters.
        with contextlib.suppress(OSError):
            listener.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", length, ctypes.addressof(program))
            )
