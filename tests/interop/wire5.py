#!/usr/bin/env python3
"""Version 5 of the wire in plain Python: records to bytes, bytes to records, and the golden files.

    wire5.py write DIRECTORY     writes the golden files
    wire5.py verify DIRECTORY    checks that they are what this encoder makes, and that it reads back what is in them

Written from docs/wire.md alone, and sharing no code with the bridge. canip5.py is a whole peer made of it.
"""

import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

GREETING = b"CANIP/4.1 FEAT=SEQ,TS V=5\n"

HELLO, FRAMES, FD_FRAMES, PING, PONG, LOSS, BUS_STATE, RECEIPT, GOODBYE = range(1, 10)
LATER_KINDS = 128
JOINED = 3

HEADER = struct.Struct("<BBHIQ")
HELLO_BODY = struct.Struct("<QQIHxx")
HELLO_BUS = struct.Struct("<16s16s")
HELLO_IDENTITY = struct.Struct("<Q")
PING_BODY = struct.Struct("<Q")
PONG_BODY = struct.Struct("<QQQ")
FOUR_TOTALS = struct.Struct("<QQQQ")
STATE_BODY = struct.Struct("<BBHII4x")
GOODBYE_BODY = struct.Struct("<I4x")
JOINED_BODY = struct.Struct("<II16s")
IMAGE_HEAD = struct.Struct("<IBBBB")
TIME = struct.Struct("<Q")

MAX_BODY = 65_520
MAX_BUSES = 16
SHORTEST = {
    HELLO: HELLO_BODY.size + HELLO_BUS.size,
    PING: PING_BODY.size,
    PONG: PONG_BODY.size,
    LOSS: FOUR_TOTALS.size,
    BUS_STATE: STATE_BODY.size,
    RECEIPT: FOUR_TOTALS.size,
    GOODBYE: GOODBYE_BODY.size,
}

EXTENDED, REMOTE, ERROR = 0x80000000, 0x40000000, 0x20000000
BRS, ESI = 1, 2
FD_LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64)


class Violation(Exception):
    """The peer broke a rule: the connection ends."""


# ---- images ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """A frame as an image has it."""

    word: int
    payload: bytes = b""
    fd: bool = False
    flags: int = 0
    # Of a remote frame what is asked for; else the length of the payload.
    length: int = 0
    raw_dlc: int = 0

    def image(self):
        """The bytes of the image: 16, or 72 with FD."""
        head = IMAGE_HEAD.pack(self.word, self.length, self.flags, 0, self.raw_dlc)
        return head + self.payload.ljust(64 if self.fd else 8, b"\0")

    @staticmethod
    def of_image(image):
        """Reads 16 or 72 bytes."""
        word, length, flags, _, raw_dlc = IMAGE_HEAD.unpack_from(image)
        room = len(image) - IMAGE_HEAD.size
        fd = room == 64
        if length > room:
            raise Violation(f"a payload of {length} bytes in an image that has room for {room}")
        if not word & (EXTENDED | ERROR) and word & 0x1FFFFFFF > 0x7FF:
            raise Violation(f"an identifier of 11 bits that is {word & 0x1FFFFFFF:#x}")
        remote = bool(word & REMOTE) and not fd and not word & ERROR
        payload = b"" if remote else image[IMAGE_HEAD.size : IMAGE_HEAD.size + length]
        raw_dlc = raw_dlc if not fd and length == 8 and 9 <= raw_dlc <= 15 else 0
        return Frame(word, payload, fd, flags & (BRS | ESI) if fd else 0, length, raw_dlc)

    @staticmethod
    def of_text(text):
        """Reads cansend's notation: 123#11, 00000123#R4, 123#R8_F, 123#1122334455667788_9, 123##3AABB, 20000004#..."""
        identifier, separator, content = text.partition("#")
        if not separator or len(identifier) not in (3, 8):
            raise ValueError(f"not a frame: {text!r}")
        word = int(identifier, 16)
        if len(identifier) == 8 and not word & ERROR:
            word |= EXTENDED
        if content.startswith("#"):
            payload = bytes.fromhex(content[2:])
            return Frame(word, payload, True, int(content[1], 16), len(payload))
        content, _, raw_dlc = content.partition("_")
        raw_dlc = int(raw_dlc, 16) if raw_dlc else 0
        if content.startswith("R"):
            return Frame(word | REMOTE, length=int(content[1:] or "0"), raw_dlc=raw_dlc)
        payload = bytes.fromhex(content)
        return Frame(word, payload, length=len(payload), raw_dlc=raw_dlc)

    def text(self):
        """The same notation, as the bridge writes it."""
        wide = self.word & (EXTENDED | ERROR)
        identifier = f"{self.word & (0x1FFFFFFF | ERROR):08X}" if wide else f"{self.word & 0x7FF:03X}"
        payload = self.payload.hex().upper()
        if self.fd:
            return f"{identifier}##{self.flags:X}{payload}"
        raw_dlc = f"_{self.raw_dlc:X}" if self.raw_dlc else ""
        if self.word & REMOTE and not self.word & ERROR:
            return f"{identifier}#R{self.length or ''}{raw_dlc}"
        return f"{identifier}#{payload}{raw_dlc}"


# ---- records, to bytes -----------------------------------------------------------------------------------------


def record(kind, bus=0, count=0, body=b"", number=0):
    """A header and its body."""
    return HEADER.pack(kind, bus, count, len(body), number) + body


def hello(instance, about, heartbeat_ms, buses, identities=()):
    """Buses are pairs: the name by which one is matched, and its interface's. Of each there is an identity, or of none."""
    body = HELLO_BODY.pack(instance, about, heartbeat_ms, len(buses))
    for name, interface in buses:
        body += HELLO_BUS.pack(name.encode(), interface.encode()[:16])
    for identity in identities:
        body += HELLO_IDENTITY.pack(identity)
    return record(HELLO, body=body)


def frames(bus, number, entries):
    """Entries are pairs of a time and a frame, all of them FD or none; the first has that number."""
    kind = FD_FRAMES if entries[0][1].fd else FRAMES
    body = b"".join(TIME.pack(time) + frame.image() for time, frame in entries)
    return record(kind, bus, len(entries), body, number)


def ping(sent):
    """When it is sent."""
    return record(PING, body=PING_BODY.pack(sent))


def pong(ping_sent, ping_received, sent):
    """The three times that the answering side knows."""
    return record(PONG, body=PONG_BODY.pack(ping_sent, ping_received, sent))


def loss(bus, next_number, kernel, stale, slow_peer, no_connection):
    """What was dropped so far, by cause."""
    return record(LOSS, bus, body=FOUR_TOTALS.pack(kernel, stale, slow_peer, no_connection), number=next_number)


def bus_state(bus, interface, controller, image_bytes, bit_rate, data_bit_rate):
    """How a bus is."""
    return record(BUS_STATE, bus, body=STATE_BODY.pack(interface, controller, image_bytes, bit_rate, data_bit_rate))


def receipt(bus, expected, arrived, taken, stale, refused):
    """What became of the frames that arrived."""
    return record(RECEIPT, bus, body=FOUR_TOTALS.pack(arrived, taken, stale, refused), number=expected)


def goodbye(reason):
    """0: the sender stops; 1: the peer has connected anew; 2: there is no place."""
    return record(GOODBYE, body=GOODBYE_BODY.pack(reason))


def goodbye_joined(peers_bus, interface):
    """Another connection joins the peer's bus of that number to the sender's bus of that interface."""
    return record(GOODBYE, body=JOINED_BODY.pack(JOINED, peers_bus, interface.encode()[:16]))


# ---- bytes, to records -----------------------------------------------------------------------------------------


@dataclass
class Record:
    """A record; `values` are the numbers of its body in their order, `entries` its frames with their times."""

    kind: int
    bus: int
    number: int
    values: tuple = ()
    entries: list = field(default_factory=list)
    buses: list = field(default_factory=list)
    identities: list = field(default_factory=list)


def read_name(padded):
    """A name up to its first zero."""
    return padded.split(b"\0")[0].decode("utf-8", "replace")


def read_record(data):
    """The first record of the bytes and its size, or (None, 0) if it is not complete."""
    if len(data) < HEADER.size:
        return None, 0
    kind, bus, count, length, number = HEADER.unpack_from(data)
    if length > MAX_BODY or length % 8:
        raise Violation(f"a body of {length} bytes")
    if not HELLO <= kind <= GOODBYE and kind < LATER_KINDS:
        raise Violation(f"a record of kind {kind}")
    if kind in (FRAMES, FD_FRAMES) and length != count * (24 if kind == FRAMES else 80):
        raise Violation(f"{count} frames in {length} bytes")
    if length < SHORTEST.get(kind, 0):
        raise Violation(f"a body of {length} bytes in a record of kind {kind}")
    size = HEADER.size + length
    if len(data) < size:
        return None, 0
    return read_body(kind, bus, number, bytes(data[HEADER.size : size])), size


def read_body(kind, bus, number, body):
    """A record whose size is right."""
    result = Record(kind, bus, number)
    if kind in (FRAMES, FD_FRAMES):
        entry = 24 if kind == FRAMES else 80
        for at in range(0, len(body), entry):
            image = body[at + TIME.size : at + entry]
            result.entries.append((TIME.unpack_from(body, at)[0], Frame.of_image(image)))
    elif kind == HELLO:
        result.values = HELLO_BODY.unpack_from(body)
        instance, _, _, buses = result.values
        if instance == 0 or not 1 <= buses <= MAX_BUSES or len(body) < HELLO_BODY.size + buses * HELLO_BUS.size:
            raise Violation(f"a HELLO of instance {instance} with {buses} buses in {len(body)} bytes")
        for index in range(buses):
            names = HELLO_BUS.unpack_from(body, HELLO_BODY.size + index * HELLO_BUS.size)
            result.buses.append(tuple(map(read_name, names)))
        rest = body[HELLO_BODY.size + buses * HELLO_BUS.size :]
        if len(rest) >= buses * HELLO_IDENTITY.size:
            result.identities = [HELLO_IDENTITY.unpack_from(rest, index * HELLO_IDENTITY.size)[0] for index in range(buses)]
    elif kind < LATER_KINDS:
        layouts = {PING: PING_BODY, PONG: PONG_BODY, BUS_STATE: STATE_BODY, GOODBYE: GOODBYE_BODY}
        result.values = layouts.get(kind, FOUR_TOTALS).unpack_from(body)
        if kind == GOODBYE and result.values[0] == JOINED and len(body) >= JOINED_BODY.size:
            reason, number, interface = JOINED_BODY.unpack_from(body)
            result.values = (reason, number, read_name(interface))
    return result


def match(ours, theirs):
    """The peer's number for each of our buses, or None; both are lists of names, "" for none."""
    unnamed = [number for number, name in enumerate(theirs) if not name]
    result = []
    for name in ours:
        if name:
            result.append(theirs.index(name) if name in theirs else None)
        else:
            result.append(unnamed.pop(0) if unnamed else None)
    return result


# ---- golden files ----------------------------------------------------------------------------------------------

START = 1_700_000_000_000_000_001
CLIENT, SERVER = 0x1122334455667788, 0x99AABBCCDDEEFF01


def timed(texts):
    """Frames in cansend's notation, a microsecond apart."""
    return [(START + 1_000 * index, Frame.of_text(text)) for index, text in enumerate(texts)]


def counting(length):
    """Payload bytes 01, 02, 03, ..."""
    return bytes(range(1, length + 1)).hex().upper()


CLASSIC = [f"{0x7F8 + length - 1:03X}#{counting(length)}" for length in range(9)]
CLASSIC += ["00000000#", "1FFFFFFF#FFFFFFFFFFFFFFFF", "18DAF110#0241"]
RAW_DLC = [f"123#{counting(8)}_{dlc:X}" for dlc in range(9, 16)]
REMOTE_FRAMES = ["123#R"] + [f"123#R{length}" for length in range(1, 9)]
REMOTE_FRAMES += [f"123#R8_{dlc:X}" for dlc in range(9, 16)] + ["1ABCDEF0#R4"]
ERROR_FRAMES = ["20000040#0000000000000000", "20000004#0004000000006000", "200002FF#0102030405060708"]
FD = [f"1FF##{index % 4:X}{counting(length)}" for index, length in enumerate(FD_LENGTHS)]
FD += ["1FFFFFFF##3" + "FF" * 64]


def golden():
    """Name, bytes, and what it is, of every golden file that holds something valid."""
    client_buses = [("", "can0"), ("engine", "can1"), ("body", "can2")]
    server_buses = [("engine", "vcan7"), ("sixteen-letters-", "vcan8"), ("", "\u00fcber-sechzehn-")]
    client_identities = [0x0102030405060708, 0x1112131415161718, 0]
    server_identities = [0x2122232425262728, 0, 0xF1F2F3F4F5F6F7F8]
    client = hello(CLIENT, 0, 2_000, client_buses, client_identities)
    server = hello(SERVER, CLIENT, 500, server_buses, server_identities)
    return [
        ("greeting", GREETING, "the line of either side"),
        ("hello-client", client, "instance 0x1122334455667788, about nobody, 2 s; the last bus without an identity"),
        ("hello-server", server, "instance 0x99AABBCCDDEEFF01, about the other, 0.5 s; the second bus without an identity"),
        ("frames-classic", frames(0, 0, timed(CLASSIC)), "all lengths, standard and extended"),
        ("frames-raw-dlc", frames(1, 0x0102030405060708, timed(RAW_DLC)), "eight bytes, DLC 9 to 15"),
        ("frames-remote", frames(15, 7, timed(REMOTE_FRAMES)), "every DLC, and an extended one"),
        ("frames-error", frames(0, 2**64 - 4, timed(ERROR_FRAMES)), "error frames"),
        ("fd-frames", frames(2, 5, timed(FD)), "all lengths, all four of BRS and ESI"),
        ("ping", ping(START), "t1"),
        ("pong", pong(START, START + 3_000_000_000, START + 3_000_000_777), "t1, t2, t3"),
        ("loss", loss(1, 1_000, 1, 20, 300, 2**40), "next 1000; kernel 1, too old 20, slow peer 300, no connection 2^40"),
        ("bus-state", bus_state(2, 2, 3, 72, 500_000, 2_000_000), "up, error-passive, 72 bytes, 500 kbit/s and 2 Mbit/s"),
        ("receipt", receipt(1, 2**32, 4_000, 3_900, 60, 7), "expects 2^32; 4000 arrived, 3900 taken, 60 too old, 7 refused"),
        ("goodbye-stops", goodbye(0), "the sender stops"),
        ("goodbye-replaced", goodbye(1), "the peer has connected anew"),
        ("goodbye-full", goodbye(2), "the server has as many clients as it takes"),
        ("goodbye-joined", goodbye_joined(2, "vcan0"), "another connection joins the peer's bus 2 and `vcan0`"),
    ]


def later():
    """What a later version may send, and this one must read past."""
    longer = record(RECEIPT, 1, body=FOUR_TOTALS.pack(4, 3, 2, 1) + b"\xff" * 8, number=9)
    head = HELLO_BODY.pack(SERVER, 0, 0, 1) + HELLO_BUS.pack(b"", b"can0")
    return [
        ("later-receipt", longer, "eight bytes more than there are now"),
        ("later-hello", record(HELLO, body=head + b"\xff" * 16), "sixteen bytes behind its only bus"),
        ("later-kind-128", record(128, 255, 65_535, b"\xff" * 40, 2**64 - 1), "a kind that may be ignored"),
        ("later-kind-255", record(255), "another one, without a body"),
    ]


def violations():
    """What ends the connection."""
    fits = (START, Frame.of_text("123#11"))
    entry = TIME.pack(START) + fits[1].image()
    nine = TIME.pack(START) + IMAGE_HEAD.pack(0x123, 9, 0, 0, 0) + bytes(8)
    sixty_five = TIME.pack(START) + IMAGE_HEAD.pack(0x123, 65, 0, 0, 0) + bytes(64)
    twelve_bits = TIME.pack(START) + IMAGE_HEAD.pack(0x800, 0, 0, 0, 0) + bytes(8)
    one_bus = HELLO_BUS.pack(b"", b"can0")
    return [
        ("wrong-body-odd", HEADER.pack(PING, 0, 0, 12, 0) + bytes(12), "a body of 12 bytes"),
        ("wrong-body-long", HEADER.pack(LOSS, 0, 0, 65_528, 0), "a body of 65,528 bytes, of which none follows"),
        ("wrong-body-short", HEADER.pack(PONG, 0, 0, 16, 0) + bytes(16), "a PONG of two times"),
        ("wrong-count-low", record(FRAMES, 0, 1, entry * 2), "two frames that are said to be one"),
        ("wrong-count-high", record(FRAMES, 0, 3, entry * 2), "two frames that are said to be three"),
        ("wrong-length-9", record(FRAMES, 0, 1, nine), "nine bytes in a classic image"),
        ("wrong-length-65", record(FD_FRAMES, 0, 1, sixty_five), "65 bytes in an FD image"),
        ("wrong-identifier", record(FRAMES, 0, 1, twelve_bits), "0x800 as an identifier of 11 bits"),
        ("wrong-kind-0", record(0), "no kind"),
        ("wrong-kind-10", record(10), "a frame kind that is reserved"),
        ("wrong-kind-127", record(127), "a kind that is not known, below 128"),
        ("wrong-hello-instance", record(HELLO, body=HELLO_BODY.pack(0, 0, 0, 1) + one_bus), "instance 0"),
        ("wrong-hello-none", record(HELLO, body=HELLO_BODY.pack(SERVER, 0, 0, 0) + one_bus), "no bus"),
        ("wrong-hello-17", record(HELLO, body=HELLO_BODY.pack(SERVER, 0, 0, 17) + one_bus * 17), "17 buses"),
        ("wrong-hello-short", record(HELLO, body=HELLO_BODY.pack(SERVER, 0, 0, 2) + one_bus), "two buses that are one"),
    ]


def read_back(name, data):
    """Reads what a golden file holds, and encodes it anew."""
    read, size = read_record(data)
    assert size == len(data), f"{name}: {size} of {len(data)} bytes"
    if read.kind == HELLO:
        instance, about, heartbeat_ms, _ = read.values
        return hello(instance, about, heartbeat_ms, read.buses, read.identities)
    if read.kind in (FRAMES, FD_FRAMES):
        texts = [(time, Frame.of_text(frame.text())) for time, frame in read.entries]
        return frames(read.bus, read.number, texts)
    if read.kind in (LOSS, BUS_STATE, RECEIPT):
        encode = {LOSS: loss, BUS_STATE: bus_state, RECEIPT: receipt}[read.kind]
        return encode(read.bus, *([read.number] if read.kind != BUS_STATE else []), *read.values)
    if read.kind == GOODBYE and read.values[0] == JOINED:
        return goodbye_joined(*read.values[1:])
    return {PING: ping, PONG: pong, GOODBYE: goodbye}[read.kind](*read.values)


def verify(directory):
    """Compares files and encoder, both ways."""
    expected = {f"{name}.bin": data for name, data, _ in golden() + later() + violations()}
    present = {path.name for path in directory.glob("*.bin")}
    assert present == set(expected), f"{directory}: {sorted(present ^ set(expected))}"
    for name, data in expected.items():
        assert (directory / name).read_bytes() == data, f"{name} is not what the encoder makes"
    for name, data, _ in golden()[1:]:
        assert read_back(name, data) == data, f"{name} does not read back as it was written"
    for name, data, _ in later():
        assert read_record(data)[1] == len(data), name
    for name, data, what in violations():
        try:
            read_record(data)
        except Violation:
            continue
        raise AssertionError(f"{name}: {what}, and nobody minds")
    print(f"{len(expected)} files verified")


def write(directory):
    """Writes the files, and their list as Markdown to standard output."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, data, what in golden() + later() + violations():
        (directory / f"{name}.bin").write_bytes(data)
        print(f"| `{name}.bin` | {len(data)} | {what} |")


def main():
    """The command line."""
    commands = {"write": write, "verify": verify}
    if len(sys.argv) != 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](Path(sys.argv[2]))


if __name__ == "__main__":
    main()
