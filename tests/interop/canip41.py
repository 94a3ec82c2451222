#!/usr/bin/env python3
"""A peer of protocol versions 4.0 and 4.1 in plain Python, against which the bridge is tested.

    canip41.py server (--can IFACE | --stdio) [--port 3333] [--bind 127.0.0.1] [options]
    canip41.py client (--can IFACE | --stdio) --host HOST [--port 3333] [options]

    --no-seq         do not offer sequence numbers
    --timestamp      offer time stamps
    --protocol 4.0   no greeting: 14-byte frames from the first byte on (default 4.1)

It behaves as the original tool does: it greets at once when the connection is up, waits 2 s for the other's line,
and falls back to the frames of version 4.0. It serves one connection and ends with it, or on SIGINT or SIGTERM.

The bus is a SocketCAN interface, or with --stdio this process's own input and output: frames to send are lines on
standard input in cansend's notation (123#1122, 12345678#), and each frame received is one line on standard output

    FLAGS DLC IDENTIFIER PAYLOAD SEQUENCE TIME

as they came over the wire: hexadecimal flags, identifier and payload (all eight bytes), decimal dlc, sequence number
and microseconds, "-" for what was not agreed on. The last line on standard output is the summary, a JSON object.
Diagnostics go to standard error. Written from the description of the wire, and sharing no code with the bridge.
"""

import argparse
import errno
import json
import os
import select
import signal
import socket
import struct
import sys
import time

GREETING_WAIT_S = 2.0
GREETING_LIMIT_BYTES = 1024
# Input is left where it is while this much waits to be sent.
OUTPUT_LIMIT_BYTES = 64 * 1024

FLAG_EXTENDED = 0x01
CAN_EFF_FLAG, CAN_RTR_FLAG, CAN_ERR_FLAG = 0x80000000, 0x40000000, 0x20000000
CAN_FRAME = struct.Struct("=IB3x8s")

FRAME = struct.Struct("<BBI8s")
SEQUENCE = struct.Struct(">I")
TIME = struct.Struct(">Q")


def log(text):
    """Writes one line of diagnostics."""
    print(f"canip41: {text}", file=sys.stderr, flush=True)


class Link:
    """The wire: what was agreed on, frames to bytes and bytes to frames, and the account of the sequence."""

    def __init__(self, features):
        self.features = features
        self.next_out = 0
        self.next_in = 0
        self.sent = self.received = 0
        self.gaps = self.missing = self.duplicates = self.reordered = 0
        self.malformed = 0
        self.length = FRAME.size
        self.length += SEQUENCE.size if "SEQ" in features else 0
        self.length += TIME.size if "TS" in features else 0

    def encode(self, identifier, extended, payload):
        """The bytes of one frame."""
        out = FRAME.pack(FLAG_EXTENDED if extended else 0, len(payload), identifier, payload)
        if "SEQ" in self.features:
            out += SEQUENCE.pack(self.next_out)
            self.next_out = (self.next_out + 1) & 0xFFFFFFFF
        if "TS" in self.features:
            out += TIME.pack(time.time_ns() // 1000)
        self.sent += 1
        return out

    def decode(self, data):
        """One frame: (flags, dlc, identifier, eight payload bytes, sequence or None, time or None)."""
        flags, dlc, identifier, payload = FRAME.unpack_from(data)
        offset, sequence, stamp = FRAME.size, None, None
        if "SEQ" in self.features:
            (sequence,) = SEQUENCE.unpack_from(data, offset)
            offset += SEQUENCE.size
            self.account(sequence)
        if "TS" in self.features:
            (stamp,) = TIME.unpack_from(data, offset)
        self.received += 1
        limit = 0x1FFFFFFF if flags & FLAG_EXTENDED else 0x7FF
        if flags & ~FLAG_EXTENDED or dlc > 8 or identifier > limit or any(payload[dlc:]):
            self.malformed += 1
        return flags, dlc, identifier, payload, sequence, stamp

    def account(self, sequence):
        """Compares a sequence number with the one that is due."""
        ahead = (sequence - self.next_in) & 0xFFFFFFFF
        if ahead == 0xFFFFFFFF:
            self.duplicates += 1
        elif ahead >= 0x80000000:
            self.reordered += 1
        else:
            if ahead:
                self.gaps += 1
                self.missing += ahead
            self.next_in = (sequence + 1) & 0xFFFFFFFF


class CanBus:
    """The bus end on a SocketCAN interface."""

    def __init__(self, interface):
        self.socket = socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW)
        self.socket.bind((interface,))
        self.input = self.socket.fileno()

    def read(self):
        """Frames that are to be sent: (identifier, extended, payload); None at the end of input."""
        word, length, payload = CAN_FRAME.unpack(self.socket.recv(CAN_FRAME.size))
        if word & (CAN_RTR_FLAG | CAN_ERR_FLAG):
            return []
        extended = bool(word & CAN_EFF_FLAG)
        return [(word & (0x1FFFFFFF if extended else 0x7FF), extended, payload[:length])]

    def write(self, frames):
        """Puts received frames on the bus."""
        for flags, dlc, identifier, payload, _, _ in frames:
            word = identifier | (CAN_EFF_FLAG if flags & FLAG_EXTENDED else 0)
            self.send(CAN_FRAME.pack(word, dlc, payload))

    def send(self, image):
        """Sends one frame; while the interface's transmit queue is full, waits for it."""
        while True:
            try:
                self.socket.send(image)
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
            time.sleep(0.001)


class TextBus:
    """The bus end on standard input and output."""

    def __init__(self):
        self.input = sys.stdin.fileno()
        self.rest = b""

    def read(self):
        """Frames that are to be sent: (identifier, extended, payload); None at the end of input."""
        data = os.read(self.input, 65536)
        if not data:
            return None
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [self.parse(line.decode()) for line in lines if line.strip()]

    @staticmethod
    def parse(line):
        """One line in cansend's notation; more than three digits make an extended identifier."""
        identifier, separator, payload = line.strip().partition("#")
        if not separator:
            sys.exit(f"canip41: not a frame: {line!r}")
        return int(identifier, 16), len(identifier) > 3, bytes.fromhex(payload.replace(".", ""))

    @staticmethod
    def write(frames):
        """Prints received frames."""
        sys.stdout.write(
            "".join(
                f"{flags:02X} {dlc} {identifier:08X} {payload.hex().upper()}"
                f" {'-' if sequence is None else sequence} {'-' if stamp is None else stamp}\n"
                for flags, dlc, identifier, payload, sequence, stamp in frames
            )
        )
        sys.stdout.flush()


def greet(connection, offered):
    """Sends the greeting, waits for the other's: (version, features agreed on, bytes that follow)."""
    line = "CANIP/4.1" + (f" FEAT={','.join(offered)}" if offered else "") + "\n"
    connection.sendall(line.encode())
    deadline = time.monotonic() + GREETING_WAIT_S
    data = b""
    while b"\n" not in data and len(data) < GREETING_LIMIT_BYTES:
        wait = deadline - time.monotonic()
        if wait <= 0 or not select.select([connection], [], [], wait)[0]:
            break
        piece = connection.recv(4096)
        if not piece:
            break
        data += piece
    answer, newline, rest = data.partition(b"\n")
    if not newline:
        return "4.0", [], data
    tokens = answer.decode("ascii", "replace").split()
    if not tokens or tokens[0] != "CANIP/4.1":
        return "4.0", [], rest
    log(f"greeted with {answer.decode('ascii', 'replace')!r}")
    tags = [tag.upper() for token in tokens if token.startswith("FEAT=") for tag in token[5:].split(",")]
    agreed = [tag for tag in offered if tag in tags]
    return ("4.1" if agreed else "4.0"), agreed, rest


def bridge(connection, bus, link, data):
    """Carries frames both ways until the connection ends."""
    output = bytearray()
    reading = True
    while True:
        whole = len(data) - len(data) % link.length
        if whole:
            bus.write([link.decode(data[at : at + link.length]) for at in range(0, whole, link.length)])
            data = data[whole:]
        inputs = [connection]
        if reading and len(output) < OUTPUT_LIMIT_BYTES:
            inputs.append(bus.input)
        readable, writable, _ = select.select(inputs, [connection] if output else [], [])
        if connection in readable:
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
        if bus.input in readable:
            frames = bus.read()
            reading = frames is not None
            for frame in frames or []:
                output += link.encode(*frame)
        if connection in writable:
            del output[: connection.send(output)]


class Ended(Exception):
    """SIGINT or SIGTERM arrived."""


def end(_number, _frame):
    """Signal handler."""
    raise Ended


def connect(arguments):
    """The one connection, as server or as client."""
    if arguments.role == "client":
        return socket.create_connection((arguments.host, arguments.port))
    with socket.create_server((arguments.bind, arguments.port)) as listener:
        log(f"listening on {arguments.bind}:{listener.getsockname()[1]}")
        return listener.accept()[0]


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description="A version 4.1 and 4.0 peer.")
    parser.add_argument("role", choices=["server", "client"])
    bus = parser.add_mutually_exclusive_group(required=True)
    bus.add_argument("--can", metavar="IFACE")
    bus.add_argument("--stdio", action="store_true")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3333)
    parser.add_argument("--no-seq", action="store_true")
    parser.add_argument("--timestamp", action="store_true")
    parser.add_argument("--protocol", choices=["4.0", "4.1"], default="4.1")
    return parser.parse_args()


def main():
    """Runs the peer, then prints its summary."""
    arguments = parse_arguments()
    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    offered = ([] if arguments.no_seq else ["SEQ"]) + (["TS"] if arguments.timestamp else [])
    version, link, why = "none", Link([]), "the connection ended"
    try:
        bus = CanBus(arguments.can) if arguments.can else TextBus()
        connection = connect(arguments)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        version, features, data = ("4.0", [], b"")
        if arguments.protocol == "4.1":
            version, features, data = greet(connection, offered)
        link = Link(features)
        connection.setblocking(False)
        log(f"connected: version {version} ({','.join(features)})")
        bridge(connection, bus, link, data)
    except Ended:
        why = "ended by a signal"
    except OSError as error:
        why = str(error)
    log(why)
    counters = ("sent", "received", "gaps", "missing", "duplicates", "reordered", "malformed")
    summary = {"version": version, "features": ",".join(link.features)}
    summary.update({name: getattr(link, name) for name in counters})
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    main()
