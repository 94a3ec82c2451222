//! SocketCAN as this machine's kernel does it: opening, filters, receive times, drop counts, link events, bit rates.
//!
//! Runs as root where vcan is; the tests of bit rates also need controllers named can0 and can1, which nothing else uses (the lab has them).

mod common;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::Command;
use std::time::SystemTime;

use canip_peer::bus::bit_rate::{self, Outcome};
use canip_peer::bus::interface::{InterfaceState, kernel_drops, state};
use canip_peer::bus::watch::LinkWatch;
use canip_peer::bus::{BusOptions, socketcan};
use canip_peer::frame::filter::{KernelFilter, KernelRule};
use canip_peer::frame::{Frame, Identifier};

/// How long to wait for what the kernel does at once, on a machine that is very busy.
const PATIENCE_MS: i32 = 10_000;

const EVERYTHING: KernelRule = KernelRule { id: 0, mask: 0 };

/// A virtual interface of one test's own, removed with it.
struct Vcan {
    name: String,
}

impl Vcan {
    fn new(letter: char) -> Self {
        let name = format!("vcan{letter}{}", std::process::id());
        ip(&format!("link add dev {name} type vcan"));
        ip(&format!("link set {name} mtu 72"));
        ip(&format!("link set {name} up"));
        Self { name }
    }

    fn open(&self, options: &BusOptions) -> File {
        File::from(socketcan::open(&self.name, options).unwrap().descriptor)
    }
}

impl Drop for Vcan {
    fn drop(&mut self) {
        let _already_deleted = Command::new("ip").args(["link", "delete", &self.name]).output();
    }
}

fn ip(arguments: &str) {
    run("ip", arguments);
}

fn run(program: &str, arguments: &str) {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

fn options(rules: &[KernelRule]) -> BusOptions {
    BusOptions {
        receive_queue_bytes: 1 << 20,
        require_fd: false,
        kernel_filter: KernelFilter { rules: rules.to_vec(), join: false },
        error_mask: 0,
    }
}

fn data(raw: u32) -> Frame {
    Frame::data(Identifier::standard(raw).unwrap(), &[0x11, 0x22]).unwrap()
}

fn send(bus: &mut File, frame: Frame) {
    let bytes = frame.image().as_bytes();
    assert_eq!(bus.write(bytes).unwrap(), bytes.len());
}

fn wait_readable(descriptor: BorrowedFd<'_>) {
    let mut wait = libc::pollfd { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, alive through the call.
    let ready = unsafe { libc::poll(&raw mut wait, 1, PATIENCE_MS) };
    assert_eq!(ready, 1, "nothing came");
}

/// The identifier of the next frame.
fn receive(bus: &mut File) -> u32 {
    wait_readable(bus.as_fd());
    let mut bytes = [0; 72];
    let length = bus.read(&mut bytes).unwrap();
    assert!(length == 16 || length == 72, "{length} bytes");
    u32::from_ne_bytes(bytes[..4].try_into().unwrap())
}

/// Receive time and drop count of the next frame.
fn receive_controls(bus: &File) -> (Option<libc::timespec>, Option<u32>) {
    wait_readable(bus.as_fd());
    let mut bytes = [0u8; 72];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 16];
    // SAFETY: a message header is plain data; zero is a valid value of each of its parts.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header points at buffers with the lengths given, alive through the call.
    let length = unsafe { libc::recvmsg(bus.as_raw_fd(), &raw mut header, 0) };
    assert!(length > 0, "{}", io::Error::last_os_error());
    assert_eq!(header.msg_flags & libc::MSG_CTRUNC, 0);

    let (mut time, mut drops) = (None, None);
    // SAFETY: the kernel filled the header in.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: not null, so it points into `control`.
        let kind = unsafe { *message };
        // SAFETY: as above.
        let value = unsafe { libc::CMSG_DATA(message) };
        match (kind.cmsg_level, kind.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the value of this message is a timespec.
                time = Some(unsafe { value.cast::<libc::timespec>().read_unaligned() });
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the value of this message is a 32-bit number.
                drops = Some(unsafe { value.cast::<u32>().read_unaligned() });
            }
            other => panic!("unexpected control message {other:?}"),
        }
        // SAFETY: both come from the kernel.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
    }
    (time, drops)
}

fn message(result: Result<impl std::fmt::Debug, impl std::fmt::Display>) -> String {
    result.map(|value| format!("{value:?}")).unwrap_or_else(|error| error.to_string())
}

#[test]
fn what_cannot_be_opened_says_what_to_type() {
    if !common::can_available() {
        return;
    }
    let vcan = Vcan::new('o');
    let name = &vcan.name;
    let all = options(&[EVERYTHING]);
    let fd = BusOptions { require_fd: true, ..all.clone() };
    let open = |name: &str, options: &BusOptions| message(socketcan::open(name, options));

    assert_eq!(
        open("vcannone", &all),
        "there is no interface vcannone: ip link add dev vcannone type vcan && ip link set vcannone up"
    );
    assert_eq!(
        open("sixteen_letters_", &all),
        "\"sixteen_letters_\" is no interface name (1 to 15 characters): \
         see which CAN interfaces there are with: ip -br link show type can"
    );
    assert_eq!(
        open("lo", &all),
        "lo is not a CAN interface: see which there are with: ip -br link show type can"
    );
    assert!(open(name, &fd).starts_with("OpenBus"));
    ip(&format!("link set {name} down"));
    assert_eq!(open(name, &all), format!("interface {name} is down: ip link set {name} up"));
    ip(&format!("link set {name} mtu 16"));
    ip(&format!("link set {name} up"));
    assert!(open(name, &all).starts_with("OpenBus"));
    assert_eq!(
        open(name, &fd),
        format!(
            "interface {name} carries no CAN FD frames (MTU 16, 72 needed): \
             ip link set {name} down && ip link set {name} mtu 72 && ip link set {name} up"
        )
    );
}

#[test]
fn filters_hold_from_the_first_frame_and_own_frames_stay_away() {
    if !common::can_available() {
        return;
    }
    let vcan = Vcan::new('f');
    let mut sender = vcan.open(&options(&[EVERYTHING]));
    let mut one = vcan.open(&options(&[KernelRule { id: 0x123, mask: 0x7FF }]));
    // 0x2000_0000 in the identifier inverts: all but 0x123, and all but 0x124.
    let inverse = [
        KernelRule { id: 0x2000_0123, mask: 0xC000_07FF },
        KernelRule { id: 0x2000_0124, mask: 0xC000_07FF },
    ];
    let mut joined_options = options(&inverse);
    joined_options.kernel_filter.join = true;
    let mut joined = vcan.open(&joined_options);
    let mut other = vcan.open(&options(&[EVERYTHING]));

    for raw in [0x122, 0x123, 0x124, 0x125] {
        send(&mut sender, data(raw));
    }
    send(&mut other, data(0x123));
    assert_eq!([receive(&mut one), receive(&mut one)], [0x123, 0x123]);
    assert_eq!([receive(&mut joined), receive(&mut joined)], [0x122, 0x125]);
    // The sender's first frame is the other's: its own four did not come back.
    assert_eq!(receive(&mut sender), 0x123);
    assert_eq!(sender.read(&mut [0; 72]).unwrap_err().kind(), io::ErrorKind::WouldBlock);

    let nothing = vcan.open(&options(&[]));
    send(&mut sender, data(0x100));
    assert_eq!([receive(&mut other), receive(&mut other)], [0x122, 0x123]);
    assert_eq!((&nothing).read(&mut [0; 72]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn fd_frames_never_pass_unnoticed_and_every_frame_has_its_time() {
    if !common::can_available() {
        return;
    }
    let vcan = Vcan::new('t');
    let mut sender = vcan.open(&options(&[EVERYTHING]));
    let mut receiver = vcan.open(&options(&[EVERYTHING]));
    send(&mut sender, Frame::fd(Identifier::standard(0x7FF).unwrap(), &[0xA5; 64], 1).unwrap());
    wait_readable(receiver.as_fd());
    let mut bytes = [0; 72];
    assert_eq!(receiver.read(&mut bytes).unwrap(), 72);
    assert_eq!((bytes[4], bytes[71]), (64, 0xA5));

    let since_epoch = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
    let before = since_epoch();
    send(&mut sender, data(0x123));
    let (time, drops) = receive_controls(&receiver);
    let after = since_epoch();
    let time = time.unwrap();
    let at_ns = time.tv_sec as u128 * 1_000_000_000 + time.tv_nsec as u128;
    assert!((before..=after).contains(&at_ns), "{before} {at_ns} {after}");
    assert_eq!(drops.unwrap_or(0), 0);
}

#[test]
fn every_dropped_frame_is_counted() {
    if !common::can_available() {
        return;
    }
    let vcan = Vcan::new('d');
    let mut sender = vcan.open(&options(&[EVERYTHING]));
    let small = BusOptions { receive_queue_bytes: 65_536, ..options(&[EVERYTHING]) };
    let bus = socketcan::open(&vcan.name, &small).unwrap();
    assert_eq!(bus.receive_queue_bytes, 131_072);
    let large = BusOptions { receive_queue_bytes: 8 << 20, ..options(&[EVERYTHING]) };
    let large = socketcan::open(&vcan.name, &large).unwrap();
    assert_eq!(large.receive_queue_bytes, 16 << 20);
    let mut large = File::from(large.descriptor);
    let mut receiver = File::from(bus.descriptor);

    for index in 0..2000 {
        send(&mut sender, data(index % 0x7FF));
    }
    for index in 0..2000 {
        assert_eq!(receive(&mut large), index % 0x7FF);
    }
    assert_eq!(kernel_drops(large.as_fd()).unwrap(), 0);

    let dropped = kernel_drops(receiver.as_fd()).unwrap();
    let mut received = 0;
    while receiver.read(&mut [0; 72]).is_ok() {
        received += 1;
    }
    assert!(dropped > 0 && received > 0, "{dropped} dropped, {received} received");
    assert_eq!(dropped + received, 2000);
    send(&mut sender, data(1));
    assert_eq!(receive_controls(&receiver).1, Some(dropped));
}

#[test]
fn a_full_transmit_queue_blocks_the_socket_before_it_overflows() {
    if !common::can_available() {
        return;
    }
    let vcan = Vcan::new('q');
    let name = &vcan.name;
    // As a controller has it: a queue of 10 frames, and a slow bus behind it.
    run("tc", &format!("qdisc replace dev {name} root handle 1: tbf rate 8kbit burst 72 limit 4000"));
    run("tc", &format!("qdisc replace dev {name} parent 1: handle 2: pfifo limit 10"));
    let mut sender = vcan.open(&options(&[EVERYTHING]));
    let mut accepted = 0;
    let refusal = loop {
        match sender.write(data(0x123).image().as_bytes()) {
            Ok(16) => accepted += 1,
            other => break other.unwrap_err(),
        }
    };
    assert_eq!(refusal.raw_os_error(), Some(libc::EAGAIN), "{refusal} after {accepted} frames");
    assert!(accepted >= 8, "only {accepted} frames in flight");
}

#[test]
fn links_that_change_are_noticed() {
    if !common::can_available() {
        return;
    }
    let watch = LinkWatch::open().unwrap();
    let vcan = Vcan::new('w');
    let name = &vcan.name;
    let next = || {
        wait_readable(watch.descriptor());
        assert!(watch.drain().unwrap());
    };
    // ip returns once the kernel has announced the change; other tests' links only add to the noise.
    next();
    let InterfaceState::Up { index, mtu: 72 } = state(name).unwrap() else { panic!("{:?}", state(name)) };
    ip(&format!("link set {name} down"));
    next();
    assert_eq!(state(name).unwrap(), InterfaceState::Down { index });
    ip(&format!("link delete {name}"));
    next();
    assert_eq!(state(name).unwrap(), InterfaceState::Missing);
}

/// The kernel has a way to be asked by which it first looks for a module of the interface's name, and lets whoever asks wait.
#[test]
fn no_module_is_looked_for_to_see_that_an_interface_is_missing() {
    const LOADER: &str = "/proc/sys/kernel/modprobe";
    if !common::controllers_available() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("loader{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let (script, log) = (folder.join("modprobe"), folder.join("log"));
    std::fs::write(&script, format!("#!/bin/sh\necho \"$*\" >>{}\nexit 1\n", log.display())).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let before = std::fs::read_to_string(LOADER).unwrap();
    std::fs::write(LOADER, script.to_str().unwrap()).unwrap();
    let found = state("nosuchcan0");
    // That way, which shows that it would have been seen.
    let _refused = Command::new("cansend").args(["nosuchcan1", "123#"]).output().unwrap();
    std::fs::write(LOADER, before).unwrap();
    let looked_for = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(found.unwrap(), InterfaceState::Missing);
    assert!(looked_for.contains("nosuchcan1") && !looked_for.contains("nosuchcan0"), "{looked_for}");
}

/// One test, because it owns can0 and can1.
#[test]
fn bit_rates_of_real_controllers() {
    if !common::controllers_available() {
        return;
    }
    let classic = |bit_rate| Outcome::Set { bit_rate, data_bit_rate: None };
    for name in ["can0", "can1"] {
        ip(&format!("link set {name} down"));
        assert_eq!(bit_rate::set(name, 500_000, None).unwrap(), classic(500_000), "{name}");
        assert!(matches!(state(name).unwrap(), InterfaceState::Up { mtu: 16, .. }));
        assert_eq!(bit_rate::set(name, 500_000, None).unwrap(), Outcome::Unchanged);
        assert_eq!(bit_rate::set(name, 125_000, None).unwrap(), classic(125_000));
        ip(&format!("link set {name} down"));
        assert_eq!(bit_rate::set(name, 125_000, None).unwrap(), classic(125_000));
    }

    let refused = |bit_rate, data| message(bit_rate::set("can0", bit_rate, data));
    let details = "see what its controller can do with: ip -details link show can0";
    for rate in [0, 3, 20_000_000] {
        let line = refused(rate, None);
        assert!(line.starts_with(&format!("can0 cannot be set to {rate} bit/s: ")), "{line}");
        assert!(line.ends_with(details), "{line}");
    }
    // An SJA1000 knows no FD.
    let line = refused(500_000, Some(2_000_000));
    assert!(
        line.starts_with("can0 cannot be set to 500000 bit/s with 2000000 bit/s for FD data: "),
        "{line}"
    );
    // What was refused left the interface up as it was.
    assert_eq!(bit_rate::set("can0", 125_000, None).unwrap(), Outcome::Unchanged);

    for name in ["can0", "can1"] {
        bit_rate::set(name, 500_000, None).unwrap();
    }
    let mut from = File::from(socketcan::open("can0", &options(&[EVERYTHING])).unwrap().descriptor);
    let mut to = File::from(socketcan::open("can1", &options(&[EVERYTHING])).unwrap().descriptor);
    send(&mut from, data(0x321));
    assert_eq!(receive(&mut to), 0x321);
    unprivileged("can0_without_rights_child");
    for name in ["can0", "can1"] {
        ip(&format!("link set {name} down"));
    }
}

#[test]
fn what_has_no_bit_rate_says_so() {
    if !common::can_available() {
        return;
    }
    let vcan = Vcan::new('b');
    let set = |name: &str| message(bit_rate::set(name, 500_000, None));
    assert_eq!(
        set(&vcan.name),
        format!("{} has no bit rate (a virtual interface): leave the bit rate options out", vcan.name)
    );
    assert_eq!(
        set("can99"),
        "there is no interface can99: see which CAN interfaces there are with: ip -br link show type can"
    );
    assert_eq!(set("lo"), "lo is not a CAN interface: see which there are with: ip -br link show type can");
}

/// Names the run of [`can0_without_rights_child`] that counts.
const CHILD: &str = "CANIP_TEST_CHILD";

/// Runs one test of this binary without the right to change interfaces.
fn unprivileged(test: &str) {
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-net_admin", "--inh-caps", "-net_admin"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("CHILD RAN"), "{said}");
}

/// Runs in the process that [`unprivileged`] starts, after can0 was brought up with 500 kbit/s.
#[test]
fn can0_without_rights_child() {
    if std::env::var_os(CHILD).is_none() {
        println!("part of bit_rates_of_real_controllers, which runs it without rights");
        return;
    }
    // Nothing to do takes no rights.
    assert_eq!(bit_rate::set("can0", 500_000, None).unwrap(), Outcome::Unchanged);
    assert_eq!(
        message(bit_rate::set("can0", 250_000, Some(2_000_000))),
        "no rights to set the bit rate of can0: as root type: ip link set can0 down && \
         ip link set can0 type can bitrate 250000 dbitrate 2000000 fd on && ip link set can0 up"
    );
    assert_eq!(bit_rate::set("can0", 500_000, None).unwrap(), Outcome::Unchanged);
    // SO_RCVBUFFORCE is refused: the host's limit is granted instead.
    let bus = socketcan::open("can0", &options(&[EVERYTHING])).unwrap();
    assert!(bus.receive_queue_bytes > 0);
    println!("CHILD RAN");
}
