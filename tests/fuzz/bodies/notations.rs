//! can-utils' notations: frames, and files of them.

use canip_peer::frame::notation::{
    IdColumn, LOG_LINE_BYTES_MAX, parse_compact, parse_log_line, write_compact, write_dump_line,
    write_log_line,
};
use canip_peer::frame::{Image, Kind};
use canip_peer::load::Replay;

use super::assert_one_line;

/// A frame that is read is written as the same frame, and every image can be written.
pub fn notations(bytes: &[u8]) {
    if let Some(image) = Image::parse(bytes) {
        assert!(written(image).is_ascii());
        let mut line = Vec::new();
        write_dump_line(&mut line, "can0", image, IdColumn::Wide);
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        line.clear();
        write_log_line(&mut line, u64::MAX, "abcdefghijklmno", image);
        assert!(line.len() <= LOG_LINE_BYTES_MAX);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse_compact(text) {
        Ok(frame) => assert_eq!(parse_compact(&written(frame.image())), Ok(frame)),
        Err(error) => assert_one_line(&error.to_string()),
    }
    match parse_log_line(text) {
        Ok(line) => {
            let mut again = Vec::new();
            write_log_line(&mut again, line.at_ns, line.interface, line.frame.image());
            let again = String::from_utf8(again).expect("text from text");
            let again = parse_log_line(&again).expect("a line of ours");
            assert_eq!((again.at_ns, again.interface), (line.at_ns / 1_000 * 1_000, line.interface));
            let (one, other) = (again.frame.image(), line.frame.image());
            assert_eq!((one.kind(), one.len(), one.payload()), (other.kind(), other.len(), other.payload()));
        }
        Err(error) => assert_one_line(&error.to_string()),
    }
}

/// A log that can be sent again is due in order, without error frames, and without what belongs to other interfaces.
pub fn log_files(bytes: &[u8]) {
    let replays = [None, Some("can0")].map(|interface| Replay::read("drive.log", bytes, interface));
    for replay in replays {
        match replay {
            Ok(replay) => {
                let frames = replay.frames();
                assert!(!frames.is_empty() && frames[0].at_ns == 0);
                assert!(frames.is_sorted_by_key(|due| due.at_ns));
                assert!(frames.iter().all(|due| due.frame.image().kind() != Kind::Error));
            }
            Err(error) => assert_one_line(&error.to_string()),
        }
    }
}

fn written(image: Image<'_>) -> String {
    let mut text = String::new();
    write_compact(&mut text, image).expect("a string takes everything");
    text
}
