//! How the process's memory is given back.

/// From this size on a buffer is memory of its own, which the kernel gets back when the buffer is dropped: the smallest of a
/// link's that counts, what a stream was not yet relieved of.
const OWN_BYTES: libc::c_int = 64 * 1024;

/// Has a link's buffers given back to the kernel when the link ends. The GNU C library raises its limit for that with the
/// first large buffer that is dropped, and from then on keeps what is smaller, in pieces that do not fit the next link:
/// with many connections that come and go a process grows by a megabyte for every hundred of them (measured with 8,000;
/// `tests/loopback/noise.rs` holds it).
///
/// Other C libraries do as they like; there is nothing to set.
pub fn give_back_buffers() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: takes two numbers, and may be called at any time.
        let is_set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_BYTES) };
        if is_set == 0 {
            tracing::debug!("the C library keeps the memory of links that have ended");
        }
    }
}
