//! Which bus it is, of all buses of all hosts, so that two ends can tell whether they have the same one.

use std::fs;
use std::hash::Hasher;
use std::io;
use std::os::unix::fs::MetadataExt;

use super::{BusAddress, BusKind};

/// Chosen by the kernel at random whenever a host starts: tells hosts apart, in containers and without.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The network namespace of this thread, in which names of interfaces, and of software buses, are unique.
const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// A hash of host, network namespace, kind and name of a bus; 0 where the kernel does not tell. It says nothing about the
/// host to whoever does not know it.
pub fn of(address: &BusAddress) -> u64 {
    surroundings().map_or(0, |(boot_id, namespace)| hash(&boot_id, namespace, address))
}

fn surroundings() -> io::Result<(String, (u64, u64))> {
    let namespace = fs::metadata(NAMESPACE)?;
    Ok((fs::read_to_string(BOOT_ID)?, (namespace.dev(), namespace.ino())))
}

fn hash(boot_id: &str, (device, inode): (u64, u64), address: &BusAddress) -> u64 {
    let kind = match address.kind {
        BusKind::SocketCan => 0,
        BusKind::Software => 1,
    };
    let mut hasher = Fnv::default();
    hasher.write(boot_id.trim_end().as_bytes());
    hasher.write(&device.to_le_bytes());
    hasher.write(&inode.to_le_bytes());
    hasher.write(&[kind]);
    hasher.write(address.name.as_bytes());
    // 0 means that nothing is known.
    hasher.finish().max(1)
}

/// FNV-1a with 64 bits: what two processes of different builds compare must not be the standard library's, which may change.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bus(kind: BusKind, name: &str) -> BusAddress {
        BusAddress { kind, name: name.to_owned(), paced_bit_rate: None }
    }

    #[test]
    fn a_bus_is_itself_however_it_is_paced() {
        let paced = BusAddress { paced_bit_rate: Some(500_000), ..bus(BusKind::Software, "bus") };
        assert_eq!(of(&paced), of(&bus(BusKind::Software, "bus")));
        assert_ne!(of(&paced), 0);
    }

    #[test]
    fn name_kind_namespace_and_host_tell_buses_apart() {
        let can0 = bus(BusKind::SocketCan, "can0");
        let others = [
            hash("boot", (4, 5), &can0),
            hash("boot", (4, 5), &bus(BusKind::SocketCan, "can1")),
            hash("boot", (4, 5), &bus(BusKind::Software, "can0")),
            hash("boot", (4, 6), &can0),
            hash("boots", (4, 5), &can0),
        ];
        for (index, one) in others.iter().enumerate() {
            assert!(!others[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        let of_text = |text: &str| {
            let mut hasher = Fnv::default();
            hasher.write(text.as_bytes());
            hasher.finish()
        };
        // From the reference implementation's test vectors.
        assert_eq!(of_text(""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(of_text("a"), 0xAF63_DC4C_8601_EC8C);
        assert_eq!(of_text("foobar"), 0x8594_4171_F739_67E8);
    }
}
