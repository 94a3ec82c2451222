#!/usr/bin/env python3
"""Reads the files of reports with implementations that are not this project's: JSON Schema and HdrHistogram for Python.

    readers.py SCHEMA DIRECTORY ...

Prints what does not agree, and ends with 1 if anything does not; with 77 if the modules are missing.
"""

import json
import sys
from pathlib import Path

try:
    import jsonschema
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader
except ImportError as error:
    print(f"a module is missing: {error}")
    sys.exit(77)

PERCENTILES = {"p50_ns": 50, "p90_ns": 90, "p99_ns": 99, "p99.9_ns": 99.9, "p99.99_ns": 99.99}
faults = []


def same(where, one, other, within=0.0):
    if abs(one - other) > within:
        faults.append(f"{where}: {one} and {other}")


def value_at(histogram, percentile):
    """The value at a percentile by rank, rounded up as the newer implementations do; this one rounds to the nearest rank."""
    half_a_rank = 49.9999 / histogram.get_total_count()
    return histogram.get_value_at_percentile(min(percentile + half_a_rank, 100))


def check_distribution(where, said):
    histogram = HdrHistogram.decode(said["histogram"].encode())
    same(f"{where} count", said["count"], histogram.get_total_count())
    if said["count"] == 0:
        return histogram
    for name, percentile in PERCENTILES.items():
        same(f"{where} {name}", said[name], value_at(histogram, percentile))
    same(f"{where} max", said["max_ns"], histogram.get_max_value())
    same(f"{where} min", said["min_ns"], histogram.get_min_value())
    same(f"{where} mean", said["mean_ns"], histogram.get_mean_value(), said["mean_ns"] * 1e-9)
    return histogram


def check_table(path, title, histogram):
    """The table of percentiles: title, headings, rows, three closing lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if lines[0] != f"{title}, in microseconds:":
        faults.append(f"{path}: titled {lines[0]!r}")
    if lines[1].split() != ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"] or lines[2]:
        faults.append(f"{path}: headings {lines[1]!r}")
    rows = [line.split() for line in lines[3:-3]]
    counted = {step.value_iterated_to: step.total_count_to_this_value for step in histogram.get_recorded_iterator()}
    for value, part, total, *_ in rows:
        kept = value_at(histogram, float(part) * 100)
        same(f"{path} at {part}", float(value), kept / 1000, 0.0005)
        same(f"{path} counted up to {value}", int(total), counted[kept])
    if float(rows[-1][1]) != 1 or int(rows[-1][2]) != histogram.get_total_count():
        faults.append(f"{path}: ends with {rows[-1]}")
    largest = float(lines[-2].split("=")[1].split(",")[0])
    same(f"{path} max", largest, histogram.get_max_value() / 1000, 0.0005)


def check_log(path, directions):
    """Intervals by their tags, which together are the distributions of the whole trial."""
    sums = {}
    reader = HistogramLogReader(str(path), HdrHistogram(1, 60_000_000_000, 3))
    while (interval := reader.get_next_interval_histogram()) is not None:
        tag = interval.get_tag()
        if tag not in sums:
            sums[tag] = HdrHistogram(interval.lowest_trackable_value, interval.highest_trackable_value, 3)
        sums[tag].add(interval)
    if len(sums) != len(directions):
        faults.append(f"{path}: tags {list(sums)}")
    for (tag, total), (where, histogram) in zip(sums.items(), directions):
        for percentile in [0, 50, 90, 99, 99.9, 99.99, 100]:
            kept = [each.get_value_at_percentile(percentile) for each in (total, histogram)]
            same(f"{path} {tag} ({where}) at {percentile}", *kept)
        same(f"{path} {tag} count", total.get_total_count(), histogram.get_total_count())


def check_directory(directory, validator):
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    for error in validator.iter_errors(report):
        faults.append(f"{directory}: {error.json_path}: {error.message}")
    tables = sorted(directory.glob("trial-*.hgrm"))
    logs = sorted(directory.glob("trial-*.hlog"))
    same(f"{directory} tables", len(tables), sum(len(trial["directions"]) for trial in report["trials"]))
    same(f"{directory} logs", len(logs), len(report["trials"]))
    for number, (trial, log) in enumerate(zip(report["trials"], logs), start=1):
        directions = []
        for direction in trial["directions"]:
            where = f"{direction['from']} to {direction['to']}"
            histogram = check_distribution(f"{directory} {number} {where}", direction["latency"])
            check_distribution(f"{directory} {number} {where} lateness", direction["lateness"])
            title = "".join(letter if letter.isprintable() else "\ufffd" for letter in f"{where}, {trial['label']}")
            mine = [path for path in tables if path.name.startswith(f"trial-{number:02}-{plain(direction['from'])}-to-")]
            same(f"{directory} {number} {where} tables", len(mine), 1)
            check_table(mine[0], title, histogram)
            directions.append((where, histogram))
        check_log(log, directions)


def plain(name):
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._") else "-" for letter in name)


def main():
    schema = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in sys.argv[2:]:
        check_directory(Path(name), validator)
    for fault in faults[:40]:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
