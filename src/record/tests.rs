use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::time::Duration;

use tokio::task::LocalSet;

use super::*;
use crate::frame::{Frame, Identifier};
use crate::metrics::histograms::{Account, Histograms, IntervalLog, Kind};
use crate::moment::WallTime;
use crate::skip::skip;
use full_device::full_device;

#[path = "../../tests/common/full_device.rs"]
mod full_device;

/// A folder of one test's own, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("canip-record-{}-{test}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs the same test with each backend that this machine allows.
fn with_each_backend<F: Future<Output = ()>>(test: impl Fn(Backend) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(test(Backend::Blocking)));
    match tokio_uring::Runtime::new(&tokio_uring::builder()) {
        Ok(runtime) => runtime.block_on(test(Backend::Uring)),
        Err(error) => skip(&format!("a recording with io_uring, which is not allowed here: {error}"), None),
    }
}

async fn record_to(path: &Path, backend: Backend, raw: &[u32]) -> Summary {
    let recording = Recording::start(path, backend).unwrap();
    let recorder = recording.recorder();
    for raw in raw {
        let frame = Frame::data(Identifier::standard(*raw).unwrap(), &[0x11, 0x22]).unwrap();
        recorder.borrow_mut().record(1_700_000_000_123_456_789, "can0", frame.image());
    }
    recording.finish().await
}

#[test]
fn an_existing_recording_is_continued() {
    let folder = Folder::new("continued");
    with_each_backend(async |backend| {
        let path = folder.file(&format!("{backend:?}.log"));
        let summary = record_to(&path, backend, &[0x123, 0x7FF]).await;
        assert_eq!(summary, Summary { recorded: 2, unrecorded: 0 });
        record_to(&path, backend, &[0x001]).await;
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "(1700000000.123456) can0 123#1122\n(1700000000.123456) can0 7FF#1122\n\
             (1700000000.123456) can0 001#1122\n"
        );
    });
}

#[test]
fn a_line_that_a_crash_left_unfinished_stays_alone() {
    let folder = Folder::new("unfinished");
    with_each_backend(async |backend| {
        let path = folder.file(&format!("{backend:?}.log"));
        fs::write(&path, "(1700000000.0").unwrap();
        record_to(&path, backend, &[0x123]).await;
        assert_eq!(fs::read_to_string(&path).unwrap(), "(1700000000.0\n(1700000000.123456) can0 123#1122\n");
    });
}

#[test]
fn many_lines_arrive_whole_and_in_order() {
    let folder = Folder::new("many");
    with_each_backend(async |backend| {
        let path = folder.file(&format!("{backend:?}.log"));
        let recording = Recording::start(&path, backend).unwrap();
        let recorder = recording.recorder();
        // Three halves' worth, with turns for the writer after each tenth of one.
        for round in 0..100_000u32 {
            let frame = Frame::data(Identifier::extended(round).unwrap(), &[]).unwrap();
            recorder.borrow_mut().record(0, "vcan0", frame.image());
            if round % 3_000 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let summary = recording.finish().await;
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(summary.recorded + summary.unrecorded, 100_000);
        assert_eq!(text.lines().count() as u64, summary.recorded);
        let numbers = text.lines().map(|line| {
            let rest = line.strip_prefix("(0000000000.000000) vcan0 ").unwrap_or_else(|| panic!("{line}"));
            u32::from_str_radix(rest.strip_suffix('#').unwrap(), 16).unwrap()
        });
        assert!(numbers.is_sorted_by(|earlier, later| earlier < later));
    });
}

#[test]
fn a_full_disk_is_counted_and_ends_nothing() {
    if !fs::metadata("/dev/full").is_ok_and(|metadata| metadata.file_type().is_char_device()) {
        skip("this machine has no /dev/full", None);
        return;
    }
    let _alone = full_device();
    let folder = Folder::new("full");
    let path = folder.file("full.log");
    symlink("/dev/full", &path).unwrap();
    with_each_backend(async |backend| {
        let summary = record_to(&path, backend, &[1, 2, 3]).await;
        assert_eq!(summary, Summary { recorded: 0, unrecorded: 3 });
    });
}

#[test]
fn what_cannot_be_recorded_to_says_so_in_a_line() {
    let folder = Folder::new("refused");
    let refusal = |name: &str| file::open(&folder.file(name), Content::Frames).unwrap_err().to_string();
    let at = |name: &str| folder.file(name).display().to_string();

    for name in ["bus.pcapng", "bus", ".log"] {
        assert_eq!(
            refusal(name),
            format!(
                "cannot record to {}: its suffix decides the format, and .log (candump's) is the one known",
                at(name)
            )
        );
    }
    assert_eq!(
        refusal("none/bus.log"),
        format!(
            "cannot open recording {}: No such file or directory (os error 2): \
             give --record a file that can be written",
            at("none/bus.log")
        )
    );
    fs::create_dir(folder.file("folder.log")).unwrap();
    assert!(refusal("folder.log").contains("Is a directory"));

    let _held = file::open(&folder.file("held.log"), Content::Frames).unwrap();
    assert_eq!(
        refusal("held.log"),
        format!("{} is being written to already: give --record another file", at("held.log"))
    );
}

/// As a process has one that is being started elsewhere in this one, until it is another program.
#[test]
fn a_copy_of_the_descriptor_holds_nobody_up() {
    let folder = Folder::new("copied");
    let path = folder.file("bus.log");
    let (file, _) = file::open(&path, Content::Frames).unwrap();
    let _copy = file.try_clone().unwrap();
    file::open(&path, Content::Frames).unwrap_err();
    drop(file::BlockingFile(file));
    file::open(&path, Content::Frames).unwrap();
}

const TEN_SECONDS: Duration = Duration::from_secs(10);

/// A log of one interval with two histograms: seven lines.
async fn log_to(path: &Path, backend: Backend) -> Summary {
    let mut log =
        HistogramLog::start(path, backend, WallTime::from_nanos(1_700_000_000_000_000_000)).unwrap();
    log.write(&lines(&[(Kind::CanToTcp, 12_100, 1), (Kind::BatchIn, 4, 3)]));
    log.finish().await
}

/// The lines of an interval with these values.
fn lines(values: &[(Kind, u64, u32)]) -> Vec<u8> {
    let (mut histograms, mut account) = (Histograms::new(), Account::new());
    for &(kind, value, count) in values {
        histograms.record_n(kind, value, count);
    }
    account.add_from(&mut histograms);
    let mut text = Vec::new();
    IntervalLog::new().write_set(account.interval(), TEN_SECONDS, TEN_SECONDS, &mut text);
    text
}

#[test]
fn an_existing_histogram_log_is_continued_with_a_head_of_its_own() {
    let folder = Folder::new("histograms");
    with_each_backend(async |backend| {
        let path = folder.file(&format!("{backend:?}.hlog"));
        fs::write(&path, "Tag=can_to_tcp,0.0").unwrap();
        for _ in 0..2 {
            let summary = log_to(&path, backend).await;
            assert_eq!(summary, Summary { recorded: 7, unrecorded: 0 });
        }
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 1 + 2 * 7);
        assert_eq!(lines[0], "Tag=can_to_tcp,0.0", "what a crash left unfinished stays alone");
        assert_eq!(lines[1..8], lines[8..]);
        assert_eq!(lines[3], "#[StartTime: 1700000000.000 (seconds since epoch)]");
        assert!(lines[6].starts_with("Tag=can_to_tcp,10.000,10.000,12159.000,HISTFAAA"), "{}", lines[6]);
        assert!(lines[7].starts_with("Tag=batch_in,10.000,10.000,4.000,HISTFAAA"), "{}", lines[7]);
    });
}

#[test]
fn a_histogram_log_without_room_counts_what_it_leaves_out() {
    let folder = Folder::new("histograms-full");
    with_each_backend(async |backend| {
        let path = folder.file(&format!("{backend:?}.hlog"));
        let mut log = HistogramLog::start(&path, backend, WallTime::from_nanos(0)).unwrap();
        // The writer has no turn before the end. A line of this histogram has some 100 bytes, and two halves take 2 MiB.
        let line = lines(&[(Kind::BatchIn, 1, 1)]);
        for _ in 0..30_000 {
            log.write(&line);
        }
        let Summary { recorded, unrecorded } = log.finish().await;
        assert_eq!(recorded + unrecorded, 5 + 30_000, "with the five lines of the head");
        assert!((15_000..30_000).contains(&recorded), "{recorded}");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count() as u64, recorded);
    });
}

#[test]
fn a_histogram_log_on_a_full_disk_is_counted_and_ends_nothing() {
    if !fs::metadata("/dev/full").is_ok_and(|metadata| metadata.file_type().is_char_device()) {
        skip("this machine has no /dev/full", None);
        return;
    }
    let _alone = full_device();
    with_each_backend(async |backend| {
        let summary = log_to(Path::new("/dev/full"), backend).await;
        assert_eq!(summary, Summary { recorded: 0, unrecorded: 7 });
    });
}

#[test]
fn a_histogram_log_that_cannot_be_written_says_so_in_a_line() {
    let folder = Folder::new("histograms-refused");
    let refusal = |name: &str| file::open(&folder.file(name), Content::Histograms).unwrap_err().to_string();
    let at = |name: &str| folder.file(name).display().to_string();
    assert_eq!(
        refusal("none/bus.hlog"),
        format!(
            "cannot open histogram log {}: No such file or directory (os error 2): \
             give --histogram-log a file that can be written",
            at("none/bus.hlog")
        )
    );
    let _held = file::open(&folder.file("held"), Content::Histograms).unwrap();
    assert_eq!(
        refusal("held"),
        format!("{} is being written to already: give --histogram-log another file", at("held"))
    );
    // A process of its own, whose end is waited for: the name of a pipe is made by nothing in the standard library.
    let made = std::process::Command::new("mkfifo").arg(folder.file("pipe")).status().unwrap();
    assert!(made.success());
    assert_eq!(
        refusal("pipe"),
        format!(
            "cannot log histograms to {}: it is a pipe or a socket: give --histogram-log a regular file",
            at("pipe")
        )
    );
}
