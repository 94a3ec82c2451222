//! Bijections that make counters look random: no value comes twice, and the same seed gives the same values on every
//! machine and in every version.

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014): a bijection of 64 bits.
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}

/// What [`mix`] makes `value` of.
pub(super) const fn unmix(value: u64) -> u64 {
    // The multipliers' inverses modulo 2^64; a shift is undone by as many as reach the lowest bit.
    let value = (value ^ value >> 31 ^ value >> 62).wrapping_mul(0x3196_42B2_D24D_8EC3);
    let value = (value ^ value >> 27 ^ value >> 54).wrapping_mul(0x96DE_1B17_3F11_9089);
    (value ^ value >> 30 ^ value >> 60).wrapping_sub(0x9E37_79B9_7F4A_7C15)
}

/// A bijection of the numbers of `bits` bits (1 to 63), one for each key; higher bits of `value` are left out.
pub(super) const fn permute(value: u64, bits: u32, key: u64) -> u64 {
    let mask = (1 << bits) - 1;
    let half = bits.div_ceil(2);
    let mut value = value & mask;
    let mut key = key;
    let mut round = 0;
    // Each step is a bijection; three of them spread every bit over the others.
    while round < 3 {
        key = mix(key);
        value = (value ^ key >> 8 & mask).wrapping_mul(key | 1) & mask;
        value ^= value >> half;
        round += 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    // The generator's published sequence for the seed 0.
    #[test]
    fn mix_is_splitmix64() {
        assert_eq!(mix(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(mix(0x9E37_79B9_7F4A_7C15), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn unmix_takes_back() {
        for value in (0..1000).chain([u64::MAX, 1 << 63, 0x0123_4567_89AB_CDEF]) {
            assert_eq!(unmix(mix(value)), value);
            assert_eq!(mix(unmix(value)), value);
        }
    }

    #[test]
    fn every_number_comes_once() {
        for (bits, key) in [(1, 5), (8, 0), (8, 1), (11, 7), (11, u64::MAX), (16, 3)] {
            let mut seen = vec![false; 1 << bits];
            for value in 0..1 << bits {
                let image = permute(value, bits, key) as usize;
                assert!(!std::mem::replace(&mut seen[image], true), "{image} twice");
            }
        }
    }

    #[test]
    fn a_permutation_looks_random() {
        let ones: u32 = (0..2048).map(|value| permute(value, 56, 9).count_ones()).sum();
        assert!((55_000..60_000).contains(&ones), "{ones} of 114688 bits");
    }
}
