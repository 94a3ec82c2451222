//! Names of files and series, from names that are anybody's.

/// Characters of a bus in a name: no interface has more than 15, a software bus may.
const BUS_CHARS_MAX: usize = 32;

/// `vcan0-to-vcan1`: letters, digits, dots, dashes and underscores only.
pub fn of_direction(from: &str, to: &str) -> String {
    format!("{}-to-{}", of_bus(from), of_bus(to))
}

fn of_bus(name: &str) -> String {
    let plain = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' => letter,
        _ => '-',
    };
    name.chars().take(BUS_CHARS_MAX).map(plain).collect()
}

/// `trial-01-vcan0-to-vcan1.hgrm`, counted from 1.
pub fn of_distribution(trial: usize, from: &str, to: &str) -> String {
    format!("trial-{:02}-{}.hgrm", trial + 1, of_direction(from, to))
}

/// `trial-01.hlog`, counted from 1.
pub fn of_log(trial: usize) -> String {
    format!("trial-{:02}.hlog", trial + 1)
}

/// Whether a file has a name that the two above may have given it.
pub fn is_of_a_trial(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("trial-") else { return false };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at(digits);
    let is_distribution = rest.starts_with('-') && rest.contains("-to-") && rest.ends_with(".hgrm");
    number.len() >= 2 && (rest == ".hlog" || is_distribution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        assert_eq!(of_distribution(0, "vcan0", "vcan1"), "trial-01-vcan0-to-vcan1.hgrm");
        assert_eq!(of_distribution(99, "../a b", "x,y\n"), "trial-100-..-a-b-to-x-y-.hgrm");
        assert_eq!(of_log(8), "trial-09.hlog");
        assert_eq!(of_bus(&"é".repeat(40)), "-".repeat(32));
    }

    #[test]
    fn our_own_files_are_known() {
        for ours in ["trial-01.hlog", "trial-100.hlog", "trial-01-a-to-b.hgrm"] {
            assert!(is_of_a_trial(ours), "{ours}");
        }
        for other in ["trial-1.hlog", "trial-.hlog", "trial-01.hlog.txt", "trial-01-notes.hgrm", "my.hlog"] {
            assert!(!is_of_a_trial(other), "{other}");
        }
    }
}
