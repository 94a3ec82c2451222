#!/usr/bin/env python3
"""A peer of protocol version 5 in plain Python, against which the bridge is tested.

    canip5.py server [--port 3333] [--bind 127.0.0.1] [options]
    canip5.py client --port 3333 [--host 127.0.0.1] [options]

    --bus [NAME=]IFACE   a bus, by its name or without one; once for each, the default is one without a name
    --heartbeat SECONDS  interval of PING and RECEIPT, 0 for none (default 0.5)
    --instance HEX       the number that a process has (default: a random one)

A server serves one connection after the other; a client makes the next one when it is told to. The end is SIGINT,
SIGTERM, or that of standard input while there is no connection. What arrives is printed on standard output,

    BUS NUMBER TIME FRAME

in cansend's notation; all else is told on standard error, the totals at the end. Standard input takes lines:

    BUS FRAME            sends a frame, or counts it as lost while there is no connection
    lose BUS K S P       uses up numbers as if K frames had been dropped by the kernel, S as too old, P for a slow peer
    state BUS I C        the interface's and the controller's state, by their numbers
    break                resets the connection: what is under way is lost; a server listens no more
    connect              connects, or listens, anew
    hold / resume        reads and sends nothing; goes on
    queued BYTES         says when so many wait to be read
    raw HEX              sends these bytes

Exit status 1: the peer broke a rule of docs/wire.md, from which alone this is written.
"""

import argparse
import collections
import fcntl
import os
import secrets
import select
import signal
import socket
import struct
import sys
import termios
import time

import wire5
from wire5 import BUS_STATE, FD_FRAMES, FRAMES, GOODBYE, HELLO, LOSS, PING, PONG, RECEIPT, Violation

LINE_WAIT_S = 2.0
HELLO_WAIT_S = 10.0
GOODBYE_WAIT_S = 10.0
LINE_LIMIT = 1024
EARLY_PINGS, EARLY_INTERVAL_S = 5, 0.1
LOSS_INTERVAL_S = 0.1
DEAD_INTERVALS = 3
# Frames in one record at most: small, so that every run has records of one frame and of several.
RECORD_FRAMES = 50


def log(text):
    """Writes one line of diagnostics."""
    print(f"canip5: {text}", file=sys.stderr, flush=True)


class Bus:
    """A bus of ours: its numbers, and the books of both directions for the peer that is known."""

    def __init__(self, number, name, interface):
        self.number, self.name, self.interface = number, name, interface
        self.state = (2, 0, 72, 0, 0)
        self.peer_number = None
        self.waiting = collections.deque()
        # To the peer: the next number, what was dropped by cause, and what the peer said of the rest.
        self.next_out = 0
        self.losses = [0, 0, 0, 0]
        self.loss_due = False
        self.receipt = None
        self.sent = 0
        # From the peer.
        self.expected = 0
        self.arrived = self.taken = self.refused = 0
        self.seen = self.skipped = 0
        self.peer_losses = (0, 0, 0, 0)
        self.peer_state = None
        # Where the books began, and the frames that outages have cost under way since: out and in.
        self.start_out = self.start_in = None
        self.under_way_out = self.under_way_in = 0
        self.begin_connection()

    def begin_connection(self):
        """Forgets what holds for one connection only."""
        self.first_loss_seen = self.first_receipt_seen = False
        self.first_loss_sent = None
        self.peer_number = None

    def loss_record(self):
        """What was dropped so far."""
        self.loss_due = False
        return wire5.loss(self.number, self.next_out, *self.losses)

    def receipt_record(self):
        """What became of what arrived."""
        return wire5.receipt(self.number, self.expected, self.arrived, self.taken, 0, self.refused)

    def state_record(self):
        """How this bus is."""
        return wire5.bus_state(self.number, *self.state)

    def take_loss(self, number, totals, known):
        """The peer's LOSS; the first one of a connection settles what the outage cost."""
        if not self.first_loss_seen:
            self.first_loss_seen = True
            if not known or self.start_in is None or number < self.expected:
                self.start_in = (number, sum(totals))
                self.arrived = self.taken = self.refused = self.under_way_in = 0
                log(f"bus {self.number}: books of the peer's frames begin at {number}")
            else:
                start, start_lost = self.start_in
                total = (number - start) - (sum(totals) - start_lost) - self.arrived
                under_way, self.under_way_in = total - self.under_way_in, total
                dropped = [now - before for now, before in zip(totals, self.peer_losses)]
                words = "kernel {} stale {} slow_peer {} no_connection {}".format(*dropped)
                log(f"bus {self.number}: outage cost of the peer's frames: under_way {under_way} {words}")
                if under_way < 0:
                    raise Violation(f"bus {self.number}: {under_way} frames were under way")
            self.expected = number
        if any(now < before for now, before in zip(totals, self.peer_losses)) and known:
            raise Violation(f"bus {self.number}: totals of LOSS go down, {self.peer_losses} to {totals}")
        if number < self.expected:
            raise Violation(f"bus {self.number}: LOSS says that {number} comes next, after {self.expected - 1}")
        self.skipped += number - self.expected
        self.expected = number
        self.peer_losses = totals

    def take_receipt(self, expected, totals, known):
        """The peer's RECEIPT; the first one of a connection settles what the outage cost."""
        if expected > self.next_out and known:
            raise Violation(f"bus {self.number}: RECEIPT expects {expected}, and {self.next_out} is the next")
        if not self.first_receipt_seen:
            self.first_receipt_seen = True
            number, lost = self.first_loss_sent
            if not known or self.start_out is None:
                self.start_out = (number, lost)
                self.under_way_out = 0
                log(f"bus {self.number}: books of our frames begin at {number}")
                return
            start, start_lost = self.start_out
            total = (number - start) - (lost - start_lost) - totals[0]
            under_way, self.under_way_out = total - self.under_way_out, total
            log(f"bus {self.number}: outage cost of our frames: under_way {under_way}")
            if under_way < 0:
                raise Violation(f"bus {self.number}: {under_way} of our frames were under way")
        if sum(totals[1:]) > totals[0]:
            raise Violation(f"bus {self.number}: a RECEIPT that does not add up: {totals}")
        self.receipt = (expected, *totals)

    def take_frames(self, number, entries):
        """Accounts for frames and prints them."""
        if not self.first_loss_seen:
            raise Violation(f"bus {self.number}: frames before the first LOSS")
        if not entries:
            raise Violation(f"bus {self.number}: a record of no frames")
        lines = []
        for offset, (stamp, frame) in enumerate(entries):
            if number + offset < self.expected:
                self.seen += 1
                continue
            self.skipped += number + offset - self.expected
            self.expected = number + offset + 1
            self.arrived += 1
            is_error = bool(frame.word & wire5.ERROR)
            self.refused += is_error
            self.taken += not is_error
            lines.append(f"{self.number} {number + offset} {stamp} {frame.text()}\n")
        sys.stdout.write("".join(lines))
        sys.stdout.flush()


class Ended(Exception):
    """The connection is over, for the reason that this says."""


class Connection:
    """One connection after the greeting."""

    def __init__(self, peer, sock, data):
        self.peer, self.sock, self.data = peer, sock, bytearray(data)
        self.began = self.last_received = time.monotonic()
        self.output = bytearray()
        self.handed_over = 0  # bytes that the socket has taken
        self.frame_ends = collections.deque()  # (offset of a frame's end in the stream, its bus)
        self.hello_sent = self.said_goodbye = self.heard_goodbye = False
        self.hello = None
        self.known = False
        self.holding = False
        self.pings_sent, self.next_ping = 0, 0.0
        self.pending_pings = set()
        self.next_loss = 0.0
        for bus in peer.buses:
            bus.begin_connection()
        if peer.role == "client":
            self.say_hello()

    def say(self, record):
        """Queues a record."""
        self.output += record

    def say_hello(self):
        """HELLO; of what is remembered, a server says only what concerns this peer."""
        about = self.peer.known_instance
        if self.peer.role == "server" and about != self.hello.values[0]:
            about = 0
        names = [(bus.name, bus.interface) for bus in self.peer.buses]
        heartbeat_ms = round(self.peer.heartbeat_s * 1000)
        self.say(wire5.hello(self.peer.instance, about, heartbeat_ms, names))
        self.hello_sent = True

    def matched(self):
        """Our buses that carry something."""
        return [bus for bus in self.peer.buses if bus.peer_number is not None]

    def take_hello(self, record):
        """The peer's HELLO: buses are matched, and how things are is said."""
        self.hello = record
        instance, about, heartbeat_ms, _ = record.values
        if self.peer.role == "server":
            self.say_hello()
        self.known = instance == self.peer.known_instance
        names = [name for name, _ in record.buses]
        for bus, number in zip(self.peer.buses, wire5.match([bus.name for bus in self.peer.buses], names)):
            bus.peer_number = number
            other = "none" if number is None else f"{number} ({record.buses[number][1]})"
            log(f"bus {bus.number} is matched with the peer's {other}")
        for bus in self.matched():
            bus.first_loss_sent = (bus.next_out, sum(bus.losses))
            self.say(bus.state_record() + bus.loss_record() + bus.receipt_record())
        self.peer.known_instance = instance
        self.peer.connections += 1
        about_us = {0: "nobody", self.peer.instance: "us"}.get(about, "another")
        log(f"connected: version 5, instance {instance:016x} about {about_us}, heartbeat {heartbeat_ms} ms")

    def bus_of(self, record):
        """Our bus that is matched with the one that the record is about."""
        for bus in self.matched():
            if bus.peer_number == record.bus:
                return bus
        raise Violation(f"a record of kind {record.kind} about bus {record.bus}, which is not matched")

    def take(self, record):
        """What the peer said."""
        if self.heard_goodbye:
            raise Violation("a record after GOODBYE")
        if (record.kind == HELLO) != (self.hello is None):
            raise Violation("no HELLO, or two of them")
        if record.kind == HELLO:
            self.take_hello(record)
        elif record.kind in (FRAMES, FD_FRAMES):
            self.bus_of(record).take_frames(record.number, record.entries)
        elif record.kind == LOSS:
            self.bus_of(record).take_loss(record.number, record.values, self.known)
        elif record.kind == RECEIPT:
            about_us = self.hello.values[1] == self.peer.instance
            self.bus_of(record).take_receipt(record.number, record.values, about_us)
        elif record.kind == BUS_STATE:
            bus = self.bus_of(record)
            bus.peer_state = record.values
            log("bus {}: the peer's is: interface {} controller {} image {} rates {} {}".format(bus.number, *record.values))
        elif record.kind == PING:
            self.peer.pings_answered += 1
            now = time.time_ns()
            self.say(wire5.pong(record.values[0], now, time.time_ns()))
        elif record.kind == PONG:
            self.take_pong(*record.values)
        elif record.kind == GOODBYE:
            self.heard_goodbye = True
            log(f"the peer says goodbye: reason {record.values[0]}")

    def take_pong(self, t1, t2, t3):
        """The round trip, and how far the peer's clock is ahead."""
        t4 = time.time_ns()
        if t1 not in self.pending_pings:
            raise Violation("a PONG to no PING")
        self.pending_pings = {ping for ping in self.pending_pings if ping > t1}
        if t3 < t2:
            raise Violation("a PONG that was sent before its PING came")
        sample = ((t4 - t1) - (t3 - t2), ((t2 - t1) + (t3 - t4)) // 2)
        self.peer.pongs += 1
        self.peer.best_sample = min(self.peer.best_sample or sample, sample)

    # -- out

    def encode_waiting(self):
        """Frames into records, as long as what was encoded before is on its way."""
        for bus in self.matched():
            while bus.waiting and len(self.output) < 65536:
                batch = []
                while bus.waiting and len(batch) < RECORD_FRAMES:
                    if batch and bus.waiting[0][2].fd != batch[0][1].fd:
                        break
                    number, stamp, frame = bus.waiting[0]
                    if batch and number != first + len(batch):
                        break
                    first = first if batch else number
                    batch.append((stamp, frame))
                    bus.waiting.popleft()
                record = wire5.frames(bus.number, first, batch)
                entry = (len(record) - wire5.HEADER.size) // len(batch)
                start = self.handed_over + len(self.output) + wire5.HEADER.size
                self.frame_ends.extend((start + entry * (index + 1), bus) for index in range(len(batch)))
                self.say(record)

    def due(self, now):
        """What time alone makes due."""
        if self.hello is None:
            if now > self.began + HELLO_WAIT_S:
                raise Ended("the peer sent no HELLO")
            return
        if self.said_goodbye:
            return
        interval = self.peer.heartbeat_s
        if interval and now > self.last_received + DEAD_INTERVALS * interval:
            raise Ended("the peer gave no sign of life for three heartbeat intervals")
        if interval and now >= self.next_ping:
            early = self.pings_sent < EARLY_PINGS
            self.next_ping = now + (min(EARLY_INTERVAL_S, interval) if early else interval)
            self.pings_sent += 1
            stamp = time.time_ns()
            self.pending_pings.add(stamp)
            self.say(b"".join(bus.receipt_record() for bus in self.matched()) + wire5.ping(stamp))
        if now >= self.next_loss and any(bus.loss_due for bus in self.matched()):
            self.next_loss = now + LOSS_INTERVAL_S
            # What waits to be encoded has lower numbers than the LOSS says come next.
            self.encode_waiting()
            for bus in self.matched():
                if bus.loss_due and not bus.waiting:
                    self.say(bus.loss_record())

    def goodbye(self, reason=0):
        """The last records of this direction."""
        if self.said_goodbye or self.hello is None:
            return
        self.said_goodbye = True
        while any(bus.waiting for bus in self.matched()):
            self.encode_waiting()
            self.flush()
        for bus in self.matched():
            self.say(bus.loss_record() + bus.receipt_record())
        self.say(wire5.goodbye(reason))
        self.flush()
        self.sock.shutdown(socket.SHUT_WR)

    def flush(self):
        """Waits until the socket has taken everything."""
        while self.output:
            select.select([], [self.sock], [])
            self.write()

    def write(self):
        """Hands over what the socket takes."""
        taken = self.sock.send(self.output)
        del self.output[:taken]
        self.handed_over += taken
        while self.frame_ends and self.frame_ends[0][0] <= self.handed_over:
            self.frame_ends.popleft()[1].sent += 1

    def read(self):
        """What has come; Ended at the end of the stream."""
        piece = self.sock.recv(262144)
        if not piece:
            if self.data:
                raise Violation(f"the stream ends inside a record, after {len(self.data)} bytes of it")
            raise Ended("the peer has closed it" + ("" if self.heard_goodbye else " without a goodbye"))
        self.last_received = time.monotonic()
        self.data += piece
        self.parse()

    def parse(self):
        """Takes all complete records."""
        at = 0
        with memoryview(self.data) as view:
            while True:
                record, size = wire5.read_record(view[at:])
                if record is None:
                    break
                self.take(record)
                at += size
        del self.data[:at]

    def abandon(self):
        """What lay in buffers is lost, and said so by the next LOSS."""
        for _, bus in self.frame_ends:
            bus.losses[3] += 1
        for bus in self.peer.buses:
            bus.losses[3] += len(bus.waiting)
            bus.waiting.clear()
        self.sock.close()


class Peer:
    """The process: its buses, its connection, its standard input."""

    def __init__(self, arguments):
        self.role = arguments.role
        self.address = (arguments.host if self.role == "client" else arguments.bind, arguments.port)
        self.heartbeat_s = arguments.heartbeat
        self.instance = int(arguments.instance, 16) if arguments.instance else secrets.randbits(63) + 1
        named = [text.rpartition("=") for text in arguments.bus or ["python"]]
        self.buses = [Bus(number, name, interface) for number, (name, _, interface) in enumerate(named)]
        self.known_instance = 0
        self.connection = None
        self.listener = None
        self.connections = self.pings_answered = self.pongs = 0
        self.best_sample = None
        self.input_rest = b""
        self.input_open = True
        self.stopping = False
        self.goodbye_until = None
        self.queued_bytes = None

    def run(self):
        """Until the end."""
        self.connect()
        while True:
            try:
                self.turn()
            except (Ended, ConnectionError) as reason:
                self.end_connection(str(reason))
            if self.connection is None and (self.stopping or not self.input_open):
                return

    def turn(self):
        """Waits for something, and deals with it."""
        now = time.monotonic()
        connection = self.connection
        if self.stopping:
            self.stop(now)
        if connection and not connection.holding:
            connection.due(now)
            if not connection.said_goodbye:
                connection.encode_waiting()
        inputs = [sys.stdin.fileno()] if self.input_open else []
        outputs = []
        if connection and not connection.holding:
            inputs.append(connection.sock)
            outputs += [connection.sock] if connection.output else []
        elif self.listener and not connection:
            inputs.append(self.listener)
        readable, writable, _ = select.select(inputs, outputs, [], 0.02)
        if connection and self.queued_bytes is not None:
            self.look_at_queue()
        if connection and connection.sock in readable:
            connection.read()
        if connection and connection.sock in writable and not connection.said_goodbye:
            connection.write()
        if self.listener and self.listener in readable:
            self.begin(self.listener.accept()[0])
        if sys.stdin.fileno() in readable:
            self.read_input()

    def look_at_queue(self):
        """Says when what was waited for has come."""
        count = fcntl.ioctl(self.connection.sock, termios.FIONREAD, b"\0" * 4)
        if int.from_bytes(count, sys.byteorder) >= self.queued_bytes:
            log(f"queued: {self.queued_bytes} bytes are there")
            self.queued_bytes = None

    def stop(self, now):
        """Says goodbye once, and waits for the peer's end."""
        if self.connection is None:
            return
        if self.goodbye_until is None:
            self.goodbye_until = now + GOODBYE_WAIT_S
            self.connection.holding = False
            self.connection.goodbye()
        if now > self.goodbye_until:
            raise Violation("the peer does not close its direction after our GOODBYE")

    def connect(self):
        """A client's connection, or the socket on which a server waits for one."""
        if self.role == "client":
            self.begin(socket.create_connection(self.address))
            return
        self.listener = socket.create_server(self.address)
        self.address = self.listener.getsockname()
        log(f"listening on {self.address[0]}:{self.address[1]}")

    def begin(self, sock):
        """Greets, on a connection that has come up."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(LINE_WAIT_S)
        if self.role == "client":
            sock.sendall(wire5.GREETING)
        data = b""
        while b"\n" not in data:
            piece = sock.recv(4096)
            if not piece or len(data) > LINE_LIMIT:
                raise Violation(f"sent {data[:40]!r} instead of a greeting")
            data += piece
        line, _, rest = data.partition(b"\n")
        tokens = line.decode("ascii").split()
        if tokens[:1] != ["CANIP/4.1"] or not any("5" in token[2:].split(",") for token in tokens if token[:2] == "V="):
            raise Violation(f"does not offer version 5: {line!r}")
        if self.role == "server":
            sock.sendall(wire5.GREETING)
        sock.setblocking(False)
        self.connection = Connection(self, sock, rest)
        self.connection.parse()

    def end_connection(self, reason):
        """The connection is over."""
        connection, self.connection = self.connection, None
        if connection is None:
            log(reason)
            return
        if connection.heard_goodbye:
            try:
                connection.goodbye()
            except OSError as error:
                log(f"the peer did not wait for our goodbye: {error}")
        connection.abandon()
        log(f"connection ended: {reason}")

    def read_input(self):
        """Lines of standard input."""
        data = os.read(sys.stdin.fileno(), 65536)
        self.input_open = bool(data)
        *lines, self.input_rest = (self.input_rest + data).split(b"\n")
        for line in lines:
            self.obey(line.decode().split())

    def obey(self, words):
        """One line."""
        command, *operands = words
        if command.isdigit():
            self.send(self.buses[int(command)], wire5.Frame.of_text(operands[0]))
        elif command == "lose":
            bus, *dropped = map(int, operands)
            bus = self.buses[bus]
            for index, count in enumerate(dropped):
                bus.losses[index] += count
                bus.next_out += count
            bus.loss_due = True
        elif command == "state":
            bus, interface, controller = map(int, operands)
            self.buses[bus].state = (interface, controller, 72, 500_000, 2_000_000)
            if self.connection and self.buses[bus].peer_number is not None:
                self.connection.say(self.buses[bus].state_record())
        elif command == "break":
            # Linger time zero: the kernel sends RST and drops what it has, as an outage does.
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if self.listener:
                self.listener.close()
                self.listener = None
            self.end_connection("broken on demand")
        elif command == "connect":
            self.connect()
        elif command in ("hold", "resume"):
            self.connection.holding = command == "hold"
            self.connection.last_received = time.monotonic()
            log(f"{command}: done")
        elif command == "queued":
            self.queued_bytes = int(operands[0])
        elif command == "raw":
            self.connection.say(bytes.fromhex(operands[0]))
        else:
            sys.exit(f"canip5: no command: {words}")

    def send(self, bus, frame):
        """A frame of the bus, which uses up a number whatever becomes of it."""
        number = bus.next_out
        bus.next_out += 1
        if self.connection is None or self.connection.said_goodbye or self.connection.hello is None:
            bus.losses[3] += 1
        elif bus.peer_number is not None:
            bus.waiting.append((number, time.time_ns(), frame))

    def report(self):
        """What was counted."""
        for bus in self.buses:
            receipt = bus.receipt or (0, 0, 0, 0, 0)
            log(
                f"bus {bus.number}: sent {bus.sent} lost {sum(bus.losses)} next {bus.next_out}"
                f" receipt_expected {receipt[0]} receipt_arrived {receipt[1]} receipt_taken {receipt[2]}"
                f" receipt_stale {receipt[3]} receipt_refused {receipt[4]} arrived {bus.arrived} refused {bus.refused} seen {bus.seen}"
                f" skipped {bus.skipped} expected {bus.expected} peer_lost {sum(bus.peer_losses)}"
                f" under_way_out {bus.under_way_out} under_way_in {bus.under_way_in}"
            )
        if self.best_sample:
            log("clock: round trip {} ns, ahead {} ns".format(*self.best_sample))
        log(f"total: connections {self.connections} pings_answered {self.pings_answered} pongs {self.pongs}")


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description="A version 5 peer.")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3333)
    parser.add_argument("--bus", action="append", metavar="[NAME=]IFACE")
    parser.add_argument("--heartbeat", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--instance", metavar="HEX")
    return parser.parse_args()


def main():
    """Runs the peer, then tells its totals."""
    peer = Peer(parse_arguments())

    def stop(_number, _frame):
        peer.stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    try:
        peer.run()
    except Violation as violation:
        log(f"VIOLATION: {violation}")
        peer.report()
        sys.exit(1)
    peer.report()


if __name__ == "__main__":
    main()
