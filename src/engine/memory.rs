//! How the process has its memory from the kernel, and gives it back.

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

/// Keeps to pages of the usual size. Where huge ones are on for everything (`/sys/kernel/mm/transparent_hugepage/enabled`), the
/// kernel copies two megabytes into one whenever it finds enough small ones in use, and who needs the memory meanwhile waits:
/// 5 million instructions, during which no frame crosses (Linux 6.12, khugepaged). Children have the same.
///
/// What it would save, looking up fewer pages, is little here: a frame touches 22 of data
/// (`bench/footprint`).
pub fn refuse_huge_pages() {
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } < 0 {
        tracing::debug!("huge pages are not refused: {}", std::io::Error::last_os_error());
    }
}
