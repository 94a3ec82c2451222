//! canip_peer: a bridge between CAN buses over TCP/IP that loses no frame unnoticed.
//!
//! # Map
//!
//! Modules by layer, the lowest last. A module may use what stands below it, never what stands above it or beside it
//! in its layer; `tests/architecture.rs` holds it to that.
//!
//! | layer | module | what it is | what it must not know |
//! | --- | --- | --- | --- |
//! | 6 | [`cli`] | the command line: options, help, exit status | how anything is done |
//! | 5 | [`bridge`] | where sessions meet an engine; server, client, reconnecting, log lines, clocks | what a protocol's bytes mean |
//! | 5 | [`bench`](mod@bench) | the load test: drives buses and bridges, measures, looks for limits | how a report is printed |
//! | 4 | [`config`] | what a bridge is told to do, as plain data | `clap` |
//! | 3 | [`session`] | the sans-I/O peer: greeting, framing, sequence numbers, liveness | descriptors, clocks, log lines |
//! | 3 | [`engine`] | moves buffers between descriptors and memory: io_uring, or epoll | protocols, sessions, what a frame means |
//! | 3 | [`record`] | frames and histograms into files, off the data path | where they come from |
//! | 3 | [`report`] | results of load tests as documents: JSON, text, HTML; compared and merged | how they were measured |
//! | 3 | [`verification`] | what came out of a path, held against what was sent into it | sockets, clocks, where frames come from |
//! | 2 | [`load`] | which frames are due, and when | sockets, clocks, what becomes of them |
//! | 2 | [`bus`] | SocketCAN interfaces and the software bus: opens sockets | what is bridged to what |
//! | 2 | [`wire`] | the protocol byte for byte: encoders and borrowed views | sockets, clocks, sessions |
//! | 2 | [`metrics`] | what is counted and how late frames are, named once | who counts, clocks |
//! | 1 | [`frame`] | identifiers, kernel images, filters, bit times, text notations | any wire, socket or clock |
//! | 1 | [`buffer`] | memory that travels between protocol and engine | what is in it |
//! | 0 | [`moment`] | points in time, as numbers | clocks |
//! | 0 | [`random`] | numbers that no other process draws | what they are for |
//!
//! # Data flow
//!
//! ```text
//!  CAN socket ──► engine ──► filter ──► session ──► send buffer ──► engine ──► TCP
//!                 packets               encodes in place, while the other buffer is in flight
//!
//!  TCP ──► engine ──► session ──► transmit queue ──► bounds ──► engine ──► CAN socket
//!          bytes      decodes     waits --max-age at most
//! ```
//!
//! The two directions of a connection share its session's state and nothing else. Every connection owns its CAN
//! sockets, one a bus: the kernel does the fan-out, applies the filter, counts each connection's overflow, and keeps a
//! connection's own frames from coming back to it.
//!
//! A version 5 session keeps books over what it sent, dropped and received. When its connection breaks, its link is parked:
//! without a stream, with its sockets, counting what the peer misses, until the peer's next connection takes both over.
//!
//! # One thread
//!
//! A bridge is one thread. The engine is turned by one task of the process's runtime; while frames come it blocks in
//! the engine itself. What may wait for somebody else, or takes long, is kept off it: diagnostics are written by a thread of
//! their own (nobody may be reading them), histograms are summed up and put into words on another (which takes as long as
//! a hundred frames), the kernel is asked about interfaces on a third (it may wait for programs that configure some), names are
//! looked up and software buses joined on one that lives for that call, and a software bus that this process hosts has a thread,
//! as the kernel's CAN layer would be outside the process too, and so has what answers load tests on one, as another program
//! would.
//!
//! # Memory
//!
//! Everything that frames pass through is allocated when a connection opens, and nothing is allocated for a frame.
//! Every buffer has a bound, a reason for it, and a counter for what happens when it is full:
//!
//! | buffer | bound | when it is full |
//! | --- | --- | --- |
//! | kernel's CAN receive queue | `--rcvbuf` | the kernel drops the newest: `kernel_drops` |
//! | [`bridge`]'s two send buffers | 256 KiB each, `--max-age` | the newest frame is dropped: `slow_peer`; what is too old: `stale` |
//! | [`bridge`]'s transmit queue | 4,096 frames, `--max-age` | the oldest are discarded: `stale`, or `limited` |
//! | [`bridge`]'s line before a bounded bus | all links there can be, once each | there is always room |
//! | [`bridge`]'s memory of what was put on a bus | 8,192 contents, 64 KiB a link and bus, with its first frame | a new content takes the place of another |
//! | [`bridge`]'s connections without a place | 128, 2 s for each step of a greeting | the oldest goes, of the address that has the most: `turned_away` |
//! | stream receive buffer | 64 KiB, and on io_uring 128 KiB more for what comes while it pauses | TCP makes the peer wait |
//! | [`cli`]'s diagnostics | 256 KiB | the oldest lines are left out, and that is said |
//! | [`record`]'s text | two halves of 1 MiB a file | lines are left out: `unrecorded`, or for histograms said |
//! | [`metrics`]'s histograms | two sets of 784 KiB, and 96 KiB | what is above the highest value counts as that |
//! | what answers load tests | a packet, and the software bus's queues | answers are dropped: counted, said, and missed by the test |
//! | [`verification`]'s window | 262,144 frames, 16 MiB of contents | the oldest is given up, and counts as lost until it comes |
//! | [`load`]'s replay | 1,000,000 frames | the log is refused |
//! | [`report`]'s interval histograms | 64 MiB of text | those that come later are left out: `left_out` |
//!
//! # Unsafe code
//!
//! Only in [`engine`] and [`bus`], one operation a block, each with the reason why it is sound.

pub mod bench;
pub mod bridge;
pub mod buffer;
pub mod bus;
pub mod cli;
pub mod config;
pub mod engine;
pub mod frame;
pub mod load;
pub mod metrics;
pub mod moment;
pub mod random;
pub mod record;
pub mod report;
pub mod session;
#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;
pub mod verification;
pub mod wire;
