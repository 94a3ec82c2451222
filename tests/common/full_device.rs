//! /dev/full, which has one writer at a time, as any file that is recorded to.

use std::fs::File;

/// Held by a test that writes there, of whatever process: a lock on another device, since the program locks this one.
pub fn full_device() -> File {
    let lock = File::open("/dev/zero").unwrap();
    lock.lock().unwrap();
    lock
}
