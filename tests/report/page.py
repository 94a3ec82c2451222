#!/usr/bin/env python3
"""Reads report.html as a browser and a screen reader do, and holds it against report.json. Takes Python alone.

    page.py DIRECTORY ...

Prints what is wrong, and ends with 1 if anything is.
"""

import json
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from math import exp, log
from pathlib import Path

UNITS = {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}
COUNTS = ["sent", "received", "lost", "duplicated", "reordered", "corrupted", "foreign"]
TIMES = {"least": "min_ns", "p50": "p50_ns", "p90": "p90_ns", "p99": "p99_ns", "p99.9": "p99.9_ns",
         "p99.99": "p99.99_ns", "max": "max_ns", "mean": "mean_ns"}
TABLES = {"Latency: from when a frame was due to when it came out": "latency",
          "Lateness of the generator: from when a frame was due to when it was sent": "lateness"}
faults = []


def expect(condition, what):
    if not condition:
        faults.append(what)


def text_of(element):
    return "".join(element.itertext())


# ---- as a browser reads it -----------------------------------------------------------------------------------


class Browser(HTMLParser):
    """Elements as HTML has them, whatever XML makes of the page."""

    def __init__(self):
        super().__init__()
        self.elements = []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))


def check_safety(where, page):
    browser = Browser()
    browser.feed(page)
    for tag, attributes in browser.elements:
        expect(tag not in ("script", "link", "img", "iframe", "object", "embed", "image", "use", "foreignobject"),
               f"{where}: an element {tag}")
        for name, value in attributes.items():
            expect(not name.startswith("on"), f"{where}: {tag} with {name}")
            if name in ("href", "src", "xlink:href", "srcset", "action"):
                expect(value.startswith("#"), f"{where}: {tag} refers to {value}")
    style = page[page.index("<style>"):page.index("</style>")]
    expect("url(" not in style and "@import" not in style, f"{where}: the style refers to something")
    expect(page.count("<style>") == 1, f"{where}: several styles")


# ---- as a screen reader does ---------------------------------------------------------------------------------


def check_access(where, root):
    expect(root.get("lang") == "en", f"{where}: no language")
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    expect(len(ids) == len(set(ids)), f"{where}: an id twice")
    for element in root.iter():
        for name in (element.get("aria-labelledby") or "").split():
            expect(name in ids, f"{where}: no element {name}")
        if (element.get("href") or "").startswith("#"):
            expect(element.get("href")[1:] in ids, f"{where}: no place {element.get('href')}")
    for landmark in ("header", "main", "footer"):
        expect(len(list(root.iter(landmark))) == 1, f"{where}: not one {landmark}")
    levels = [int(element.tag[1]) for element in root.iter() if re.fullmatch("h[1-6]", element.tag)]
    expect(levels.count(1) == 1 and levels[0] == 1, f"{where}: headings {levels}")
    expect(all(after <= before + 1 for before, after in zip(levels, levels[1:])), f"{where}: headings {levels}")
    for table in root.iter("table"):
        expect(table[0].tag == "caption", f"{where}: a table without a caption")
        for heading in table.iter("th"):
            expect(heading.get("scope") in ("col", "row", "rowgroup"), f"{where}: a heading without a scope")
        for row in table.iter("tr"):
            expect(row[0].tag == "th" or row[0].text is None, f"{where}: a row without a heading")
    for picture in root.iter("svg"):
        if picture.get("aria-hidden") == "true":
            continue
        expect(picture.get("role") == "img", f"{where}: a picture without a role")
        expect([child.tag for child in picture[:2]] == ["title", "desc"], f"{where}: a picture without a title")
        expect(all(text_of(child).strip() for child in picture[:2]), f"{where}: a picture with an empty title")


def check_contrast(where, page):
    """WCAG 2.1: 4.5 to 1 for text, which the names beside lines are, too."""
    style = page[page.index("<style>"):page.index("</style>")]
    light, dark = style.split("@media (prefers-color-scheme: dark)")[:2]
    for name, part in (("light", light), ("dark", dark.split("}")[0])):
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", part))
        texts = ["ink", "soft", "link"] + [key for key in colours if re.fullmatch(r"[bo]\d+", key)]
        for text in texts:
            for ground in ("card", "page", "code"):
                if ground == "code" and text != "ink":
                    continue
                ratio = contrast(colours[text], colours[ground])
                expect(ratio >= 4.5, f"{where}: {name} {text} on {ground}: {ratio:.2f}")
        for badge in ("pass", "fail", "doubt"):
            ratio = contrast("#ffffff", colours[badge])
            expect(ratio >= 4.5, f"{where}: {name} white on {badge}: {ratio:.2f}")


def contrast(one, other):
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour):
    parts = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# ---- against the document ------------------------------------------------------------------------------------


def shown_value(shown):
    """What people read, as a number."""
    number, _, unit = shown.replace(",", "").partition(" ")
    return float(number) * UNITS.get(unit, 1)


def check_figure(where, data, value):
    expect(float(data.get("value")) == value, f"{where}: {data.get('value')} for {value}")
    shown = shown_value(data.text)
    # Times and rates have three digits, frames all of theirs.
    is_exact = isinstance(value, int) and not data.text.endswith(tuple(UNITS))
    within = 0 if is_exact else abs(value) * 0.0051
    expect(abs(shown - value) <= within, f"{where}: {data.text} for {value}")


def rows_of(table):
    return {text_of(row[0]): row.findall("./td") for row in table.iter("tr") if row[0].get("scope") == "row"}


def check_numbers(where, root, report):
    numbers = root.find(".//section[@id='numbers']")
    trials = report["trials"]
    places = [numbers] if len(trials) == 1 else numbers.findall("./details")
    expect(len(places) == len(trials), f"{where}: {len(places)} trials shown of {len(trials)}")
    for number, (place, trial) in enumerate(zip(places, trials)):
        check_trial(f"{where} trial {number}", place, trial)
    for card, direction in zip(root.findall(".//div[@class='card']"), trials[0]["directions"], strict=True) if len(trials) == 1 else ():
        latency, counts = direction["latency"], direction["counts"]
        values = [counts["lost"], counts["sent"], *(latency[name] for name in ("p50_ns", "p99_ns", "p99.9_ns", "max_ns"))]
        for data, value in zip(card.iter("data"), values, strict=True):
            check_figure(f"{where} card", data, value)
    shown = sum(len(list(place.iter("data"))) for place in places)
    expect(shown > 30 * len(trials), f"{where}: only {shown} figures")


def check_trial(where, place, trial):
    directions = trial["directions"]
    tables = {text_of(table[0]): rows_of(table) for table in place.iter("table")}
    for name in COUNTS:
        for cell, direction in zip(tables["Frames"][name], directions, strict=True):
            check_figure(f"{where} {name}", cell.find("data"), direction["counts"][name])
    for row, name in (("offered a second", "offered_per_s"), ("delivered a second", "delivered_per_s")):
        for cell, direction in zip(tables["Frames"][row], directions, strict=True):
            check_figure(f"{where} {name}", cell.find("data"), direction[name])
    for caption, distribution in TABLES.items():
        for row, name in TIMES.items():
            for cell, direction in zip(tables[caption][row], directions, strict=True):
                check_figure(f"{where} {distribution} {name}", cell.find("data"), direction[distribution][name])
    for direction in directions:
        title = f"{direction['from']} to {direction['to']}"
        if direction.get("lost_where"):
            rows = tables[clean(f"Where frames were lost, {title}")]
            for name, frames in direction["lost_where"].items():
                check_figure(f"{where} {name}", rows[clean(name.replace("_", " "))][0].find("data"), frames)
    for caption, rows in tables.items():
        if caption.startswith("The bridges"):
            for index, bridge in enumerate(trial["bridges"]):
                for name, frames in bridge["counters"].items():
                    data = rows[clean(name.replace("_", " "))][index].find("data")
                    check_figure(f"{where} {name}", data, frames)


def clean(text):
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in text)


def check_curves(where, root, report):
    """The end of each curve stands at its greatest value, read off the axis as a person would."""
    if len(report["trials"]) != 1:
        return
    figure = root.find(".//figure[@id='percentiles-0']")
    directions = report["trials"][0]["directions"]
    for picture in figure.findall("./svg"):
        axis = [(float(text.get("y")) - 4, shown_value(text.text)) for text in picture.findall("./text")
                if text.get("class") == "tick end" and text.text.split(" ")[-1] in UNITS]
        (low_y, low), (high_y, high) = axis[0], axis[-1]
        lines = [path.get("d") for group in picture.findall("./g") for path in group if path.get("class") == "line"]
        for line, direction in zip(lines, directions, strict=True):
            y = float(line.rpartition(" ")[2])
            part = (y - low_y) / (high_y - low_y)
            value = exp(log(low) + part * (log(high) - log(low)))
            greatest = direction["latency"]["max_ns"]
            expect(abs(value / greatest - 1) < 0.02, f"{where}: a curve ends at {value:.0f}, not at {greatest}")


def check_texts(where, root, report):
    """Everything to do the run again, as it was and escaped."""
    shown = " ".join(text_of(root).split())
    host, path, program = report["host"], report["path"], report["program"]
    texts = [report["verdict"]["text"], *report["verdict"].get("reasons", []), host["name"], host["kernel"],
             host["processor"], path["near"], path["far"], path["engine"], path["protocol"], program["version"],
             program["commit"], report["trials"][0]["load"]["description"], str(report["trials"][0]["load"]["seed"])]
    texts += [reason for trial in report["trials"] for reason in trial.get("invalid_because", [])]
    texts += [finding["text"] for finding in report.get("findings", [])]
    texts += report["command"]
    for text in texts:
        expect(" ".join(clean(text).split()) in shown, f"{where}: {text!r} is not shown")


def main():
    for name in sys.argv[1:]:
        page = (Path(name) / "report.html").read_text(encoding="utf-8")
        report = json.loads((Path(name) / "report.json").read_text(encoding="utf-8"))
        root = ElementTree.fromstring(page)
        check_safety(name, page)
        check_access(name, root)
        check_contrast(name, page)
        check_numbers(name, root, report)
        check_curves(name, root, report)
        check_texts(name, root, report)
    for fault in faults[:40]:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
