//! Numbers that no other process draws.

use std::io;

/// A number other than 0, drawn by the kernel. Small generators that seed themselves do so from the clock, and two processes that
/// are started at the same moment can be alike by that.
///
/// # Errors
/// The kernel gives none.
pub fn unique_number() -> io::Result<u64> {
    Ok(getrandom::u64()?.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        let drawn: std::collections::HashSet<u64> = (0..1_000).map(|_| unique_number().unwrap()).collect();
        assert_eq!((drawn.len(), drawn.contains(&0)), (1_000, false));
    }
}
