//! Reports as files: what is written, how this program and others read it, how reports are compared and merged.
//!
//! Other people's readers are JSON Schema and HdrHistogram for Python (`tests/report/requirements.txt`), by the interpreter that
//! `CANIP_PYTHON` names, and headless Chromium. Where one is missing a test says so, and fails if `CANIP_REQUIRE_READERS=1`.

#[path = "common/sample_report.rs"]
mod sample_report;

#[path = "common/skip.rs"]
mod skip;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use canip_peer::report::document::{Finding, Latency, Method, Outcome, Report};
use canip_peer::report::{self, IntervalHistograms, ReportError};

use skip::skip;

/// A directory of its own for a test, empty, and removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("canip-report-{test}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Every kind of report that a test may need, each in its directory.
    fn samples(&self) -> Vec<PathBuf> {
        static SAMPLES: OnceLock<Vec<(&str, (Report, IntervalHistograms))>> = OnceLock::new();
        let samples = SAMPLES.get_or_init(|| {
            vec![
                ("passed", sample_report::passed()),
                ("sweep", sample_report::sweep()),
                ("tune", sample_report::tune()),
                ("soak", sample_report::soak()),
                ("link", sample_report::link()),
            ]
        });
        let written = samples.iter().map(|(name, (report, intervals))| {
            let folder = self.0.join(name);
            report::write(&folder, report, intervals).unwrap();
            // Not assert_eq, which would print both.
            assert!(report::read(&folder.join("report.json")).unwrap() == *report, "{name}");
            folder
        });
        written.collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn missing(what: &str) {
    skip(&format!("{what} is missing here"), Some("CANIP_REQUIRE_READERS"));
}

fn python(script: &str, arguments: &[PathBuf]) -> Output {
    let interpreter = std::env::var_os("CANIP_PYTHON").unwrap_or_else(|| "python3".into());
    Command::new(interpreter).arg(repository(script)).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

// ---- written and read ----------------------------------------------------------------------------------------------

#[test]
fn files_have_their_names_and_nothing_else_is_touched() {
    let folder = Folder::new("names");
    folder.file("mine.txt", b"mine");
    folder.file("trial-07.hlog", b"of an earlier report");
    folder.file("report.json", b"of an earlier report");
    let (report, intervals) = sample_report::passed();
    report::write(&folder.0, &report, &intervals).unwrap();
    assert_eq!(
        folder.names(),
        [
            "mine.txt",
            "report.html",
            "report.json",
            "trial-01-far-to-near.hgrm",
            "trial-01-near-to-far.hgrm",
            "trial-01.hlog"
        ]
    );
    let table = fs::read_to_string(folder.0.join("trial-01-near-to-far.hgrm")).unwrap();
    assert!(
        table.starts_with("near to far, 100 %, in microseconds:\n       Value     Percentile"),
        "{table}"
    );
    assert_eq!(intervals.left_out(), 0);
}

#[test]
fn other_peoples_readers_read_the_same() {
    let folder = Folder::new("readers");
    let arguments = [vec![repository("docs/report.schema.json")], folder.samples()].concat();
    let output = python("tests/report/readers.py", &arguments);
    match output.status.code() {
        Some(77) => missing("jsonschema or hdrhistogram for Python (tests/report/requirements.txt)"),
        _ => assert!(output.status.success(), "{}", text(&output)),
    }
}

#[test]
fn the_schema_is_no_formality() {
    let folder = Folder::new("schema");
    let (report, intervals) = sample_report::passed();
    report::write(&folder.0.join("changed"), &report, &intervals).unwrap();
    let path = folder.0.join("changed/report.json");
    let document = fs::read_to_string(&path).unwrap();
    fs::write(&path, document.replacen("\"sent\": 59520", "\"sent\": -1", 1)).unwrap();
    let output =
        python("tests/report/readers.py", &[repository("docs/report.schema.json"), folder.0.join("changed")]);
    match output.status.code() {
        Some(77) => missing("jsonschema or hdrhistogram for Python (tests/report/requirements.txt)"),
        _ => assert!(text(&output).contains("counts.sent: -1 is less than the minimum"), "{}", text(&output)),
    }
}

// ---- the page ------------------------------------------------------------------------------------------------------

#[test]
fn the_page_shows_what_the_document_says() {
    let folder = Folder::new("page");
    let mut folders = folder.samples();
    let (hostile, intervals) = sample_report::hostile();
    report::write(&folder.0.join("hostile"), &hostile, &intervals).unwrap();
    folders.push(folder.0.join("hostile"));
    let output = python("tests/report/page.py", &folders);
    assert!(output.status.success(), "{}", text(&output));

    // The judge itself: a figure that is another's, markup that got through.
    let page = fs::read_to_string(folders[0].join("report.html")).unwrap();
    let wrong = page.replacen("<data value=\"59520\">59,520<", "<data value=\"59520\">59,250<", 4);
    fs::write(folders[0].join("report.html"), wrong.replace("<footer>", "<footer onclick=\"x\">")).unwrap();
    let output = python("tests/report/page.py", &folders[..1]);
    let said = text(&output);
    assert!(said.contains("59,250 for 59520") && said.contains("footer with onclick"), "{said}");
}

/// What a browser makes of a page in a window, with everything unfolded: how far it reaches beyond the window, how many
/// texts its pictures show, and how high the smallest one is.
const MEASURE: &str = r#"<!DOCTYPE html><title>-</title><iframe src="PAGE" width="WIDTH" height="900" style="border:0"></iframe>
<script>onload = () => {
  const page = frames[0].document;
  for (const each of page.querySelectorAll("details")) each.open = true;
  const texts = [...page.querySelectorAll("figure > svg text")].map(text => text.getBoundingClientRect().height);
  const shown = texts.filter(height => height > 0);
  const root = page.documentElement;
  document.title = `over ${root.scrollWidth - root.clientWidth} texts ${shown.length} least ${Math.min(...shown).toFixed(1)}`;
}</script>"#;

#[test]
fn the_page_fits_phones_and_desks() {
    let folder = Folder::new("browser");
    let (hostile, intervals) = sample_report::hostile();
    report::write(&folder.0.join("hostile"), &hostile, &intervals).unwrap();
    let mut pages: Vec<PathBuf> = folder
        .samples()
        .into_iter()
        .chain([folder.0.join("hostile")])
        .map(|each| each.join("report.html"))
        .collect();
    let reports = ["passed", "sweep", "link"].map(|name| folder.0.join(name).join("report.json"));
    let reports = reports.map(|path| (path.clone(), report::read(&path).unwrap()));
    pages.push(folder.0.join("comparison.html"));
    report::write_page(&pages[6], &report::comparison_page(&reports)).unwrap();
    // The judge itself: a page that is too wide, with small print.
    let small = "<figure><svg viewBox='0 0 400 20' width='40'><text y='15'>a</text></svg></figure>";
    let wide = folder.file("wide.html", format!("<div style='width: 500px'>{small}</div>").as_bytes());
    let wrapper =
        MEASURE.replace("PAGE", wide.file_name().unwrap().to_str().unwrap()).replace("WIDTH", "360");
    let Some(title) = in_browser(&folder, &folder.file("wrapper.html", wrapper.as_bytes())) else {
        return missing("chromium-headless-shell");
    };
    assert!(title.starts_with("over 148 texts 1 least 1."), "{title}");
    for page in pages {
        for width in [360, 759, 1280] {
            let wrapper = MEASURE
                .replace("PAGE", page.strip_prefix(&folder.0).unwrap().to_str().unwrap())
                .replace("WIDTH", &width.to_string());
            let wrapper = folder.file("wrapper.html", wrapper.as_bytes());
            let Some(title) = in_browser(&folder, &wrapper) else { panic!("the browser has gone") };
            let words: Vec<&str> = title.split(' ').collect();
            assert_eq!(words[..2], ["over", "0"], "{page:?} at {width}: {title}");
            assert!(words[3].parse::<u32>().unwrap() > 10, "{page:?} {title}");
            assert!(words[5].parse::<f64>().unwrap() >= 10.0, "{page:?} {title}");
        }
    }
}

/// The title of a page once its script has run.
fn in_browser(folder: &Folder, page: &Path) -> Option<String> {
    let output = Command::new("chromium-headless-shell")
        .args([
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            "--virtual-time-budget=5000",
        ])
        .arg(format!("--user-data-dir={}", folder.0.join("browser").display()))
        .args(["--window-size=1400,1000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .output();
    let output = output.ok()?;
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let title = dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>"));
    Some(title.unwrap_or_else(|| panic!("{}", text(&output))).0.to_owned())
}

// ---- bad input -----------------------------------------------------------------------------------------------------

/// The text of a report that was read, with something replaced in it.
fn refusal(folder: &Folder, from: &str, to: &str) -> String {
    let (report, _) = sample_report::passed();
    let document = serde_json::to_string(&report).unwrap();
    assert!(document.contains(from), "{from}");
    let path = folder.file("report.json", document.replacen(from, to, 1).as_bytes());
    let error = report::read(&path).unwrap_err().to_string();
    let error =
        error.strip_prefix(&format!("{}: ", path.display())).expect("the line names the file").to_owned();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn what_is_no_report_is_refused_in_a_line() {
    let folder = Folder::new("refused");
    let refused = |from, to| refusal(&folder, from, to);
    assert_eq!(
        refused("canip_peer bench report", "something else"),
        "no report of a load test: give the report.json that `bench --out` wrote"
    );
    assert_eq!(
        refused("\"version\":1", "\"version\":2"),
        "version 2 of the form; this program reads version 1"
    );
    assert_eq!(
        refused("\"version\":1", "\"version\":1.5"),
        "version 1.5 of the form; this program reads version 1"
    );
    assert!(refused("{\"format\"", "{\"format").starts_with("not JSON (expected `:`"));
    assert!(
        refused("\"method\":\"trial\"", "\"method\":\"magic\"")
            .starts_with("damaged: unknown variant `magic`")
    );
    assert!(refused("\"processors\":2", "\"processors\":-2").starts_with("damaged: invalid value"));
    assert!(refused("\"host\":", "\"hosts\":").starts_with("damaged: missing field `host`"));
    assert_eq!(
        refused("\"lost\":0", "\"lost\":1"),
        "does not agree with itself: trial 1: near to far: 59520 frames sent are not 59520 received and 1 lost"
    );
    assert_eq!(
        refused("\"count\":59520", "\"count\":59521"),
        "does not agree with itself: trial 1: near to far: latency: count is 59521, the histogram has 59520"
    );
    assert!(refused("\"p99_ns\":", "\"p99_ns\":1").contains("trial 1: near to far: latency: p99_ns is 1"));
    assert_eq!(
        refused("HISTFAAA", "HISTFAAB"),
        "does not agree with itself: trial 1: near to far: latency: the histogram is damaged"
    );
    assert_eq!(
        refused("\"duration_s\":15.0", "\"duration_s\":-15.0"),
        "does not agree with itself: trial 1: duration_s is -15"
    );

    // What an error repeats of a file steers no terminal.
    let (mut report, _) = sample_report::passed();
    report.trials[0].directions[0].from = "ne\u{1b}[2Jar".to_owned();
    report.trials[0].directions[0].latency.count += 1;
    let error = report::parse(Path::new("a.json"), &serde_json::to_vec(&report).unwrap()).unwrap_err();
    let expected = "a.json: does not agree with itself: trial 1: ne?[2Jar to far: latency: count is 59521, the histogram \
                    has 59520";
    assert_eq!(error.to_string(), expected);

    let unread = |path: &Path| report::read(path).unwrap_err().to_string();
    let path = folder.file("empty", b"");
    assert!(unread(&path).starts_with(&format!("{}: not JSON (EOF", path.display())));
    for foreign in ["[]", "3", "null", "{\"format\":1}", "{\"format\":\"canip_peer bench report\"}"] {
        assert!(matches!(
            report::read(&folder.file("foreign", foreign.as_bytes())),
            Err(ReportError::Foreign { .. })
        ));
    }
    let path = folder.file("deep", "[".repeat(1 << 20).as_bytes());
    assert!(unread(&path).contains("not JSON"), "{}", unread(&path));
    let missing = folder.0.join("missing");
    assert_eq!(
        unread(&missing),
        format!(
            "{}: cannot read: No such file or directory (os error 2): give the report.json that `bench --out` wrote into its \
             folder",
            missing.display()
        )
    );
    assert!(unread(&folder.0).contains("cannot read: Is a directory"));
}

#[test]
fn a_huge_file_is_not_read_at_all() {
    let folder = Folder::new("huge");
    let path = folder.file("huge.json", b"");
    // Without taking room on the disk.
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len((256 << 20) + 1).unwrap();
    let error = report::read(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{}: larger than 256 MiB: no report of a load test", path.display()));
}

#[test]
fn what_contradicts_itself_is_not_written() {
    let folder = Folder::new("contradiction");
    let (mut report, intervals) = sample_report::passed();
    report.trials[0].directions[1].offered_per_s = f64::NAN;
    let error = report::write(&folder.0.join("new"), &report, &intervals).unwrap_err();
    assert!(error.to_string().contains("report.json: damaged: invalid type: null, expected f64"), "{error}");
    assert!(folder.names().is_empty());
}

#[test]
fn a_place_that_refuses_is_left_as_it_was() {
    let folder = Folder::new("place");
    let (report, intervals) = sample_report::passed();
    let file = folder.file("file", b"mine");
    let error = report::write(&file, &report, &intervals).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{}: cannot write: File exists (os error 17): choose another place", file.display())
    );
    // A directory stands where the document should: it is the last to be moved, and only then.
    fs::create_dir_all(folder.0.join("taken/report.json/x")).unwrap();
    let error = report::write(&folder.0.join("taken"), &report, &intervals).unwrap_err().to_string();
    assert!(error.contains("taken/report.json: cannot write: Is a directory"), "{error}");
    let error = report::write_page(&folder.0.join("missing/page.html"), "").unwrap_err().to_string();
    assert!(error.ends_with("make its directory first, or choose another place"), "{error}");
}

/// A file system that has no room for a report, unmounted with its test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Folder) -> Option<Self> {
        let place = folder.0.join("disk");
        fs::create_dir(&place).unwrap();
        let run = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48k", "none"]).arg(&place).output();
        run.is_ok_and(|run| run.status.success()).then(|| Self(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let run = Command::new("umount").arg(&self.0).output().unwrap();
        assert!(run.status.success(), "{run:?}");
    }
}

#[test]
fn a_full_disk_keeps_what_it_had() {
    let folder = Folder::new("full");
    let Some(disk) = SmallDisk::mount(&folder) else {
        skip("this process may not mount a file system", None);
        return;
    };
    fs::write(disk.0.join("report.json"), "the one before").unwrap();
    let (report, intervals) = sample_report::passed();
    let error = report::write(&disk.0, &report, &intervals).unwrap_err().to_string();
    assert!(
        error.ends_with("No space left on device (os error 28): free some space, or choose another place"),
        "{error}"
    );
    let names: Vec<_> = fs::read_dir(&disk.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["report.json"]);
    assert_eq!(fs::read_to_string(disk.0.join("report.json")).unwrap(), "the one before");
    let new = disk.0.join("new");
    report::write(&new, &report, &intervals).unwrap_err();
    assert!(!new.exists());
}

// ---- the command ---------------------------------------------------------------------------------------------------

fn canip_peer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_canip_peer")).args(arguments).env_remove("COLUMNS").output().unwrap()
}

#[test]
fn a_summary_fits_a_screen() {
    let folder = Folder::new("summary");
    for path in folder.samples() {
        let output = canip_peer(&["report", "show", path.join("report.json").to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(shown.lines().count() <= 23, "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    }
    let output = canip_peer(&["report", "show", folder.0.join("passed/report.json").to_str().unwrap()]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "\
PASS  The link holds a saturated 500 kbit/s bus in both directions: none of
      119,040 frames was lost.

path  own bridge, near and far, software buses (no vcan interface can be made
      here); io_uring, protocol 5; --max-age 100
load  100 % of a 500 kbit/s bus, 11-bit identifiers, 8 bytes, random payloads;
      15 s after 1 s of warm-up

frames         sent  received  lost  duplicated  reordered  corrupted  foreign
near to far  59,520    59,520     0           0          0          0        0
far to near  59,520    59,520     0           0          0          0        0

latency      offered/s      p50     p99   p99.9      max  late p99
near to far      3,968  92.2 µs  141 µs  311 µs  1.18 ms   6.08 µs
far to near      3,968   128 µs  193 µs  439 µs  1.65 ms   5.70 µs

bridge  processor  a frame    memory
server     1.25 s  10.5 µs  8.88 MiB
client     1.13 s  9.50 µs  8.88 MiB
"
    );
}

/// What `report show` says of a report.
fn shown(folder: &Folder, report: &Report) -> String {
    let path = folder.file("shown.json", serde_json::to_string(report).unwrap().as_bytes());
    let output = canip_peer(&["report", "show", path.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.lines().count() <= 22, "{}: {shown}", shown.lines().count());
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    shown
}

#[test]
fn whatever_went_wrong_fits_a_screen() {
    let folder = Folder::new("wrong");
    let (mut report, _) = sample_report::passed();
    let late = "the generator fell behind its schedule: a hundredth of the frames were sent 12.3 ms late or more (2.00 ms allowed)";
    report.verdict.result = Outcome::Invalid;
    report.verdict.reasons =
        vec![late.to_owned(), late.replace("12.3", "15.6"), late.replace("12.3", "17.8")];
    for direction in &mut report.trials[0].directions {
        direction.lost_where = [("kernel_queue".to_owned(), 1_000), ("unexplained".to_owned(), 3)].into();
        direction.counts.sent += 1_003;
        direction.counts.lost = 1_003;
    }
    let text = shown(&folder, &report);
    assert!(text.lines().count() <= 22);
    for part in [
        "INVALID  The link holds",
        "  * the generator fell behind its schedule: a hundredth of the frames were sent\n    12.3 ms late or more (2.00 ms allowed)\n",
        "    15.6 ms late or more (2.00 ms allowed)\n",
        "    17.8 ms late or more (2.00 ms allowed)\n",
        "lost, near to far: 1,000 kernel queue, 3 unexplained\n",
        "lost, far to near: 1,000 kernel queue, 3 unexplained\n",
        "server     1.25 s",
        "client     1.13 s",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    report.verdict.reasons.push("another one".to_owned());
    assert!(shown(&folder, &report).contains("    and one more reason\n"));
}

#[test]
fn hundreds_of_millions_of_frames_fit_a_screen() {
    let folder = Folder::new("millions");
    let (mut report, _) = sample_report::passed();
    for direction in &mut report.trials[0].directions {
        direction.counts.sent = 115_200_000;
        direction.counts.received = 115_199_000;
        direction.counts.lost = 1_000;
        direction.counts.reordered = 12;
    }
    let text = shown(&folder, &report);
    for part in [
        "frames              sent     received   lost  reordered\n",
        "near to far  115,200,000  115,199,000  1,000         12\n",
        "none duplicated, corrupted, foreign\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn settings_are_compared_on_one_screen() {
    let folder = Folder::new("settings");
    let (mut report, _) = sample_report::tune();
    report.verdict.reasons = (1..=9).map(|round| format!("--linger-us 1000, round {round}: the generator fell behind its schedule: a hundredth of the frames were sent 12.3 ms late or more (2.00 ms allowed)")).collect();
    let pattern = report.findings[0].clone();
    report.findings.clear();
    for setting in ["--busy-poll", "--linger-us 200", "--linger-us 1000", "--engine epoll"] {
        for quantity in ["p50", "p99", "CPU a frame"] {
            let subject = format!("{setting}: {quantity}");
            report.findings.push(Finding { subject, ..pattern.clone() });
        }
    }
    report.findings[11].value = 1.6;
    report.findings[11].is_real = Some(false);
    let text = shown(&folder, &report);
    let lines: Vec<&str> = text.lines().collect();
    let table: Vec<&&str> = lines.iter().skip_while(|line| !line.starts_with("setting")).collect();
    assert_eq!(table.len(), 13, "{text}");
    assert_eq!(
        [*table[0], *table[1], *table[12]],
        [
            "setting                        difference     ±  matters",
            "--busy-poll: p50                  -33.7 %  2.50      yes",
            "--engine epoll: CPU a frame       +1.60 %  2.50       no",
        ]
    );
    assert!(!text.contains(" trials behind"), "{text}");
    assert!(text.contains("    and 7 more reasons\n"), "{text}");
}

#[test]
fn a_search_shows_its_end() {
    let folder = Folder::new("search");
    let (mut report, _) = sample_report::sweep();
    let trials = report.trials.clone();
    report.trials.extend(trials);
    for (index, trial) in report.trials.iter_mut().enumerate() {
        trial.label = format!("{}/s", 1_000 + index);
    }
    for (method, first, missing) in [
        (Method::Throughput, "1012/s", "and 12 trials before these"),
        (Method::Sweep, "1000/s", "and 12 trials behind these"),
    ] {
        report.method = method;
        let text = shown(&folder, &report);
        let rows: Vec<&str> =
            text.lines().filter(|line| line.contains("/s ") && line.starts_with('1')).collect();
        assert!(rows[0].starts_with(first), "{text}");
        assert_eq!(rows.last().unwrap().starts_with("1023/s"), first != "1000/s", "{text}");
        assert!(text.contains(missing), "{text}");
    }
}

#[test]
fn hostile_reports_do_not_steer_the_terminal() {
    let folder = Folder::new("terminal");
    let (mut report, intervals) = sample_report::hostile();
    report::write(&folder.0.join("a"), &report, &intervals).unwrap();
    report.path.kind = "\u{1b}]0;title\u{7}".to_owned();
    report::write(&folder.0.join("b"), &report, &intervals).unwrap();
    let paths = ["a", "b"].map(|name| folder.0.join(name).join("report.json"));
    let [a, b] = paths.each_ref().map(|path| path.to_str().unwrap());
    for arguments in [vec!["show", b], vec!["compare", a, b]] {
        let output = canip_peer(&[vec!["report"], arguments].concat());
        let shown = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && shown.contains("<script>aler"), "{shown}");
        assert!(!shown.contains(|letter: char| letter.is_control() && letter != '\n'), "{shown:?}");
    }
}

#[test]
fn reports_are_compared_with_the_first() {
    let folder = Folder::new("compare");
    let (before, intervals) = sample_report::passed();
    report::write(&folder.0.join("before"), &before, &intervals).unwrap();
    let mut after = before.clone();
    after.command.push("--busy-poll".to_owned());
    let mut histogram = after.trials[0].directions[0].latency.histogram().unwrap();
    histogram.reset();
    histogram.record_n(50_000, 59_519).unwrap();
    histogram.record(100_000_000).unwrap();
    after.trials[0].directions[0].latency = Latency::of(&histogram);
    report::write(&folder.0.join("after"), &after, &intervals).unwrap();
    let paths = ["before", "after"].map(|name| folder.0.join(name).join("report.json"));
    let [before, after] = paths.each_ref().map(|path| path.to_str().unwrap());
    let page = folder.0.join("page.html");
    let output = canip_peer(&["report", "compare", before, after, "--out", page.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    let block: Vec<&str> =
        shown.lines().skip_while(|line| !line.starts_with("near to far")).take(12).collect();
    assert!(shown.contains("  * after alone has --busy-poll\n"), "{shown}");
    assert_eq!(
        block,
        [
            "near to far                        before    after",
            "delivered a second                  3,968    3,968     same",
            "sent                               59,520   59,520     same",
            "lost                                    0        0     same",
            "duplicated, reordered, corrupted        0        0     same",
            "mean                              93.5 µs  51.7 µs  -44.7 %",
            "p50                               92.2 µs  50.0 µs  -45.7 %",
            "p90                                108 µs  50.0 µs  -53.6 %",
            "p99                                141 µs  50.0 µs  -64.6 %",
            "p99.9                              311 µs  50.0 µs  -83.9 %",
            "p99.99                             989 µs  50.0 µs  -94.9 %",
            "max                               1.18 ms   100 ms   × 85.1",
        ]
    );
    let page = fs::read_to_string(page).unwrap();
    for part in
        ["<h1>before, after</h1>", "after alone has --busy-poll", "<small>-45.7 %</small>", "percentiles-1"]
    {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn reports_of_one_load_are_added_up() {
    let folder = Folder::new("merge");
    let (first, intervals) = sample_report::passed();
    let mut second = first.clone();
    second.started = "2026-11-23T00:00:00Z".to_owned();
    second.verdict.result = Outcome::Fail;
    second.trials[0].load.seed = 2;
    let there = &mut second.trials[0].directions[0];
    (there.counts.sent, there.counts.lost) = (59_525, 5);
    there.lost_where.insert("bridge_stale".to_owned(), 5);
    for (name, report) in [("a", &first), ("b", &second)] {
        report::write(&folder.0.join(name), report, &intervals).unwrap();
    }
    let paths = ["a", "b"].map(|name| folder.0.join(name).join("report.json"));
    let [a, b] = paths.each_ref().map(|path| path.to_str().unwrap());
    let out = folder.0.join("sum.json");
    let output = canip_peer(&["report", "merge", a, b, "--out", out.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let sum = report::read(&out).unwrap();
    assert_eq!(sum.started, "2026-11-23T00:00:00Z");
    assert_eq!(sum.verdict.text, "2 reports together: 5 of 238,085 frames lost.");
    assert_eq!(sum.verdict.result, Outcome::Fail);
    let there = &sum.trials[0].directions[0];
    assert_eq!((there.counts.sent, there.counts.received, there.counts.lost), (119_045, 119_040, 5));
    assert_eq!(
        (there.latency.count, there.latency.p50_ns, there.latency.max_ns),
        (119_040, 92_159, 1_175_551)
    );
    assert_eq!(there.lost_where["bridge_stale"], 5);
    assert_eq!((there.intervals.len(), there.intervals[29].start_s), (30, 29.0));
    assert_eq!((sum.trials[0].duration_s, there.offered_per_s), (30.0, 3_968.0));
    assert_eq!(sum.trials[0].bridges[0].counters["sent"], 119_040);

    let directory = folder.0.join("sum");
    assert!(canip_peer(&["report", "merge", a, b, "--out", directory.to_str().unwrap()]).status.success());
    assert!(report::read(&directory.join("report.json")).unwrap() == sum);
}

#[test]
fn a_report_is_added_up_once() {
    let (report, _) = sample_report::passed();
    let reports = ["a.json", "b.json"].map(|path| (PathBuf::from(path), report.clone()));
    assert_eq!(
        report::merge(&reports).unwrap_err().to_string(),
        "b.json: the same report as a.json: give each run's once"
    );
}

fn difference(change: impl Fn(&mut Report)) -> String {
    let (first, _) = sample_report::passed();
    let mut second = first.clone();
    change(&mut second);
    let reports = [(PathBuf::from("a.json"), first), (PathBuf::from("b.json"), second)];
    let error = report::merge(&reports).unwrap_err().to_string();
    error.strip_prefix("b.json: cannot be merged with a.json: ").expect("the line names the files").to_owned()
}

#[test]
fn reports_of_different_things_are_not_added_up() {
    use canip_peer::report::document::Method;
    assert_eq!(difference(|report| report.method = Method::Soak), "another method: trial and soak");
    assert_eq!(difference(|report| report.host.name.push('2')), "another host: workbench and workbench2");
    assert_eq!(difference(|report| report.trials.clear()), "1 trials and 0");
    assert_eq!(
        difference(|report| report.trials[0].load = sample_report::load(50.0)),
        "another load: 100 % of a 500 kbit/s bus, 11-bit identifiers, 8 bytes, random payloads and \
         50 % of a 500 kbit/s bus, 11-bit identifiers, 8 bytes, random payloads"
    );
    assert_eq!(
        difference(|report| report.path.engine = Some("epoll".to_owned())),
        "another path: own bridge, software, engine io_uring, protocol 5, --max-age 100 and own bridge, software, \
         engine epoll, protocol 5, --max-age 100"
    );
    assert_eq!(
        difference(|report| {
            report.trials[0].bridges[0].counters.insert("sent".to_owned(), u64::MAX);
        }),
        "together they have more frames than can be counted"
    );
}

#[test]
fn failures_of_the_command_are_one_line() {
    let folder = Folder::new("command");
    let missing = folder.0.join("missing.json");
    let missing = missing.to_str().unwrap();
    for (arguments, status, line) in [
        (
            vec!["show", missing],
            1,
            format!(
                "canip_peer: {missing}: cannot read: No such file or directory (os error 2): give the report.json that `bench \
                 --out` wrote into its folder\n"
            ),
        ),
        (
            vec!["compare", missing, missing],
            1,
            format!(
                "canip_peer: {missing}: cannot read: No such file or directory (os error 2): give the report.json that `bench \
                 --out` wrote into its folder\n"
            ),
        ),
    ] {
        let output = canip_peer(&[vec!["report"], arguments].concat());
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), line);
        assert!(output.stdout.is_empty());
    }
    // A single one has nothing to be compared with.
    assert_eq!(canip_peer(&["report", "compare", missing]).status.code(), Some(2));
    assert_eq!(canip_peer(&["report", "merge", missing, missing]).status.code(), Some(2));
}

#[test]
fn files_may_be_read_by_whoever_may_read_others() {
    let folder = Folder::new("rights");
    let (report, _) = sample_report::passed();
    let path = folder.0.join("a.json");
    report::write_document(&path, &report).unwrap();
    let other = folder.file("other", b"");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&path), mode(&other));
}

#[test]
fn intervals_have_a_bound() {
    // A thousand intervals of a few values are far below it.
    let (report, intervals) = sample_report::soak();
    assert_eq!(intervals.left_out(), 0);
    assert_eq!(report.trials[0].directions[0].intervals.len(), 2_880);
    let mut full = IntervalHistograms::with_room(10_000);
    full.begin_trial(canip_peer::moment::WallTime::from_nanos(0));
    let histogram = report.trials[0].directions[0].latency.histogram().unwrap();
    for second in 0..20 {
        let start = std::time::Duration::from_secs(second);
        full.add("a", "b", start, std::time::Duration::from_secs(1), &histogram);
    }
    let kept = 20 - full.left_out();
    assert!((4..16).contains(&kept), "{kept}");
}
