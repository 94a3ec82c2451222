#!/usr/bin/env python3
"""Cuts valgrind's trace of a bridge into turns of its engine, and counts what each touches. Called by `footprint`."""

import bisect
import collections
import statistics
import subprocess
import sys

PAGE_BITS, LINE_BITS = 12, 6
# Where valgrind 3.19 loads a position-independent executable on x86_64.
LOADED_AT = 0x108000


class Symbols:
    """The program's functions by address."""

    def __init__(self, program):
        listed = subprocess.run(["nm", "-nC", program], capture_output=True, text=True, check=True).stdout
        entries = (line.split(" ", 2) for line in listed.splitlines() if not line.startswith(" "))
        functions = [(int(address, 16), name) for address, kind, name in entries if kind in "tTwW"]
        self.addresses = [LOADED_AT + address for address, _ in functions]
        self.names = [name for _, name in functions]

    def name(self, address):
        """The function that an address belongs to."""
        if not self.addresses[0] <= address < self.addresses[-1] + (1 << 16):
            return "a library"
        return self.names[bisect.bisect_right(self.addresses, address) - 1]

    def beginning(self, name):
        """Where functions of this name begin."""
        return {address for address, function in zip(self.addresses, self.names) if function == name}


class Turn:
    """What one turn touches."""

    def __init__(self):
        self.instructions = 0
        self.code, self.data = set(), set()
        self.touched_by = collections.defaultdict(set)

    def counts(self):
        """The columns of the table."""
        places = [(self.code, PAGE_BITS), (self.data, PAGE_BITS), (self.code, LINE_BITS), (self.data, LINE_BITS)]
        return [self.instructions, *(len({at >> bits for at in touched}) for touched, bits in places)]


def turns(trace, symbols, beginnings):
    """The turns of a trace: lines of an operation, an address and a size."""
    turn, function = Turn(), None
    for line in trace:
        if line[:2] not in ("I ", " L", " S", " M"):
            continue
        address, size = line[3:].split(",")
        first = int(address, 16)
        last = first + int(size) - 1
        if line[0] == "I":
            if first in beginnings:
                yield turn
                turn = Turn()
            turn.instructions += 1
            turn.code.update((first, last))
            function = first
        else:
            turn.data.update((first, last))
        turn.touched_by[first >> PAGE_BITS].add(function)


def main():
    """Reads the trace from standard input, prints a line of the table."""
    program, engine, role, verbose = sys.argv[1:]
    symbols = Symbols(program)
    name = {"uring": "canip_peer::engine::uring::UringEngine::take_turn",
            "epoll": "canip_peer::engine::epoll::EpollEngine::take_turn"}[engine]
    beginnings = symbols.beginning(name)
    if not beginnings:
        sys.exit(f"footprint: {program} has no symbol {name}: is it stripped?")
    found = [(turn.counts(), turn) for turn in turns(sys.stdin, symbols, beginnings)][1:-1]
    if not found:
        sys.exit(f"footprint: the trace has no turn: does valgrind load programs elsewhere than at {LOADED_AT:#x}?")
    medians = [statistics.median_low(column) for column in zip(*(counts for counts, _ in found))]
    print(f"| {engine} | {role} |", " | ".join(map(str, medians)), "|")
    if verbose == "yes":
        usual = min(found, key=lambda item: sum(abs(a - b) for a, b in zip(item[0], medians)))[1]
        for page, by in sorted(usual.touched_by.items()):
            kind = "code" if any(at >> PAGE_BITS == page for at in usual.code) else "data"
            names = sorted({symbols.name(at).replace("canip_peer::", "") for at in by})
            print(f"  {kind} {page << PAGE_BITS:#x}  {', '.join(names)}")


main()
