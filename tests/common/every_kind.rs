//! Frames of every kind, in cansend's notation.

/// Every kind of frame that a bus can carry, in an order that changes between classic and FD often.
pub fn every_kind() -> Vec<String> {
    let payload = |length: usize| {
        (0..length).map(|at| format!("{:02X}", (at * 37 + length) & 0xFF)).collect::<String>()
    };
    let mut frames =
        vec!["000#".to_owned(), "7FF#".to_owned(), "00000000#".to_owned(), "1FFFFFFF#".to_owned()];
    for length in 0..=8 {
        frames.push(format!("123#{}", payload(length)));
        frames.push(format!("00000123##0{}", payload(length)));
        frames.push(format!("18DAF110#{}", payload(length)));
    }
    for dlc in 9..=15 {
        frames.push(format!("321#{}_{dlc:X}", payload(8)));
        frames.push(format!("00000321#{}_{dlc:X}", payload(8)));
    }
    frames.extend(["100#R".to_owned(), "00000100#R".to_owned()]);
    for dlc in 1..=8 {
        frames.push(format!("100#R{dlc}"));
        frames.push(format!("1ABCDEF0#R{dlc}"));
    }
    for dlc in 9..=15 {
        frames.push(format!("100#R8_{dlc:X}"));
    }
    for length in [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20, 24, 32, 48, 64] {
        for flags in 0..4 {
            frames.push(format!("1FF##{flags}{}", payload(length)));
            frames.push(format!("1FFFFFFF##{flags}{}", payload(length)));
        }
        frames.push("7FF#01".to_owned());
    }
    frames
}
