//! A recording on a file system that is really full, and then is not. Runs where this process may mount one.

#[path = "common/skip.rs"]
mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use canip_peer::frame::{Frame, Identifier};
use canip_peer::record::{Backend, Recording, Summary};

use skip::skip;

/// How long the disk may take, on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A file system of 600 KiB, unmounted with its test: less than the recorder writes at once.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("canip-full-disk-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let run =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=600k", "none"]).arg(&folder).output();
        if run.is_ok_and(|run| run.status.success()) {
            return Some(Self(folder));
        }
        fs::remove_dir(&folder).unwrap();
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let run = Command::new("umount").arg(&self.0).output().unwrap();
        assert!(run.status.success(), "{run:?}");
        fs::remove_dir(&self.0).unwrap();
    }
}

fn run(path: &Path, backend: Backend, grow: impl Fn()) -> Summary {
    let test = async {
        let recording = Recording::start(path, backend).unwrap();
        let recorder = recording.recorder();
        // More than a half of 1 MiB, less than both.
        for raw in 0..50_000 {
            let frame = Frame::data(Identifier::extended(raw).unwrap(), &[]).unwrap();
            recorder.borrow_mut().record(0, "can0", frame.image());
        }
        // Until the disk has taken what it can; a fixed pause would guess when that is.
        let deadline = Instant::now() + PATIENCE;
        while fs::metadata(path).unwrap().len() < 500_000 {
            assert!(Instant::now() < deadline, "{} bytes", fs::metadata(path).unwrap().len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        grow();
        recording.finish().await
    };
    match backend {
        Backend::Blocking => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(tokio::task::LocalSet::new().run_until(test))
        }
        Backend::Uring => tokio_uring::Runtime::new(&tokio_uring::builder()).unwrap().block_on(test),
    }
}

#[test]
fn lines_are_whole_when_space_returns_and_when_it_does_not() {
    let uring = tokio_uring::Runtime::new(&tokio_uring::builder()).is_ok();
    if !uring {
        skip("a full disk with io_uring, which is not allowed here", None);
    }
    for backend in [Backend::Blocking, Backend::Uring].into_iter().filter(|b| uring || *b != Backend::Uring) {
        let Some(disk) = SmallDisk::mount() else {
            skip("this process may not mount a file system", None);
            return;
        };
        let path = disk.0.join("bus.log");
        let remount = || {
            let run = Command::new("mount").args(["-o", "remount,size=8m"]).arg(&disk.0).output().unwrap();
            assert!(run.status.success(), "{run:?}");
        };
        assert_eq!(run(&path, backend, remount), Summary { recorded: 50_000, unrecorded: 0 }, "{backend:?}");
        check(&path, 50_000);
        fs::remove_file(&path).unwrap();
        drop(disk);

        let disk = SmallDisk::mount().unwrap();
        let path = disk.0.join("bus.log");
        let summary = run(&path, backend, || {});
        // 600 KiB are 614,400 bytes, or 17,554 lines of 35; the folder may take a page.
        assert!((17_000..=17_554).contains(&summary.recorded), "{backend:?} {summary:?}");
        assert_eq!(summary.recorded + summary.unrecorded, 50_000);
        check(&path, summary.recorded);
        fs::remove_file(&path).unwrap();
    }
}

fn check(path: &Path, lines: u64) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    assert_eq!(text.lines().count() as u64, lines);
    for (number, line) in text.lines().enumerate() {
        assert_eq!(line, format!("(0000000000.000000) can0 {number:08X}#"));
    }
}
