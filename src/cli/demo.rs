//! `canip_peer demo`: the bridge at work on one machine, with nothing to set up.
//!
//! Server and client are processes of their own, started as a user would start them, each on a software bus; this
//! process is what hangs on the two buses.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use clap::Args;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::bench::process::{BridgeProcess, PATIENCE, ProcessError};
use crate::bus::{self, BusAddress, BusError, BusKind, BusOptions, Packet, Receiver, software};
use crate::frame::filter::KernelFilter;
use crate::frame::notation::{IdColumn, parse_compact, write_dump_line};
use crate::frame::{Frame, Identifier};

/// Frames that are shown crossing, each way.
const SHOWN: [&str; 4] = ["123#11223344", "7DF#0201050000000000", "000#", "18DAF110#022F10"];

/// Frames that then cross as fast as they can, each way, and are counted.
const COUNTED: u32 = 10_000;

/// Frames under way at most: no more than a bus's receive queue holds.
const WINDOW: u32 = 500;

/// See the bridge at work, on two buses in user space: needs no CAN and no rights
#[derive(Args, Clone, Debug)]
pub struct DemoArguments {}

/// Why the demonstration did not come to its end.
#[derive(thiserror::Error, Debug)]
pub enum DemoError {
    /// One of the two buses.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// A process of the bridge.
    #[error(transparent)]
    Bridge(#[from] ProcessError),
    /// A frame did not arrive.
    #[error("only {arrived} of {sent} frames arrived on {bus} within {} s", PATIENCE.as_secs())]
    Lost {
        /// The bus.
        bus: String,
        /// How many were sent.
        sent: u32,
        /// How many arrived.
        arrived: u32,
    },
    /// A frame arrived that was not the next one.
    #[error("on {bus} frame {expected} should have arrived, and another did")]
    Order {
        /// The bus.
        bus: String,
        /// The number of the frame that was due.
        expected: u32,
    },
    /// A signal came first.
    #[error("stopped by {0} before the demonstration was over")]
    Stopped(&'static str),
    /// Standard output takes no more.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The system refused a step.
    #[error("cannot {operation}: {source}")]
    System {
        /// What was tried.
        operation: &'static str,
        /// The system's answer.
        source: io::Error,
    },
}

fn system(operation: &'static str) -> impl FnOnce(io::Error) -> DemoError {
    move |source| DemoError::System { operation, source }
}

/// Runs the demonstration, for as long as somebody looks on.
pub fn run(_: &DemoArguments) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("set up the runtime"))?;
    let result = runtime.block_on(demonstrate_until_stopped());
    software::stop_hosting();
    match result {
        Err(DemoError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// The processes of the bridge end with the demonstration, whatever ends it.
async fn demonstrate_until_stopped() -> Result<(), DemoError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen for signals"))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(system("listen for signals"))?;
    let mut out = io::stdout();
    tokio::select! {
        // Ctrl-C reaches the whole process group: what then becomes of the bridge is no news.
        biased;
        _ = interrupt.recv() => Err(DemoError::Stopped("SIGINT")),
        _ = terminate.recv() => Err(DemoError::Stopped("SIGTERM")),
        result = demonstrate(&mut out) => result,
    }
}

async fn demonstrate(out: &mut impl Write) -> Result<(), DemoError> {
    let id = std::process::id();
    let mut vehicle = End::join(format!("vehicle-{id}"))?;
    let mut desk = End::join(format!("desk-{id}"))?;

    let title = format!(
        "A bridge between two CAN buses, {} and {}, as one would start it:\n",
        vehicle.name, desk.name
    );
    print(out, &title)?;
    let arguments = format!("--can {} --bind 127.0.0.1 --port 0", vehicle.name);
    let mut server = start("server", &arguments, out)?;
    let port = server.wait("listening on ").await?.rsplit(':').next().unwrap_or_default().to_owned();
    let arguments = format!("--can {} --host 127.0.0.1 --port {port}", desk.name);
    let mut client = start("client", &arguments, out)?;
    client.wait("connected to ").await?;
    server.wait(" connected: ").await?;

    print(out, &format!("\nFrames sent to {}, as they arrive on {}:", vehicle.name, desk.name))?;
    show(&vehicle, &mut desk, out).await?;
    print(out, &format!("Frames sent to {}, as they arrive on {}:", desk.name, vehicle.name))?;
    show(&desk, &mut vehicle, out).await?;

    print(out, &format!("{COUNTED} frames each way, as fast as they go:"))?;
    count(&vehicle, &mut desk, out).await?;
    count(&desk, &mut vehicle, out).await?;

    print(out, "\nWhat the two sides counted:")?;
    print(out, &stop(client).await?)?;
    print(out, &stop(server).await?)?;
    print(
        out,
        "\nNo frame lost, none out of order. To try it yourself, type the lines above with names and a port of\n\
         your own, and see the frames with: canip_peer dump --can-interface software NAME",
    )
}

/// Prints a line at once; whoever looks on may have gone.
fn print(out: &mut impl Write, line: &str) -> Result<(), DemoError> {
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(DemoError::Output)
}

/// Sends some frames one by one and prints each as it arrives, with the time that it took.
async fn show(from: &End, to: &mut End, out: &mut impl Write) -> Result<(), DemoError> {
    let mut column = IdColumn::default();
    let mut line = Vec::new();
    for (sent, text) in (0..).zip(SHOWN) {
        let frame = parse_compact(text).expect("the frames shown are written in the notation");
        let start = Instant::now();
        from.send(&frame).await?;
        let arrived = to.receive(sent + 1, sent).await?;
        let microseconds = start.elapsed().as_micros();
        column = column.including(arrived.image());
        write_dump_line(&mut line, &to.name, arrived.image(), column);
        let text = String::from_utf8_lossy(&line);
        print(out, &format!("{:<60} {microseconds:>6} µs", text.trim_end()))?;
        line.clear();
    }
    Ok(())
}

/// Sends numbered frames and checks that they arrive in order.
async fn count(from: &End, to: &mut End, out: &mut impl Write) -> Result<(), DemoError> {
    let start = Instant::now();
    let identifier = Identifier::standard(0x100).expect("an 11-bit identifier");
    let mut arrived = 0;
    let mut sent = 0;
    while arrived < COUNTED {
        if sent < COUNTED && sent - arrived < WINDOW {
            let frame = Frame::data(identifier, &sent.to_be_bytes()).expect("four bytes");
            from.send(&frame).await?;
            sent += 1;
            continue;
        }
        let frame = to.receive(sent, arrived).await?;
        if frame.image().payload() != arrived.to_be_bytes() {
            return Err(DemoError::Order { bus: to.name.clone(), expected: arrived });
        }
        arrived += 1;
    }
    let per_second = f64::from(COUNTED) / start.elapsed().as_secs_f64();
    print(out, &format!("  {} to {}: all {COUNTED} in order, {per_second:.0} a second", from.name, to.name))
}

/// What hangs on one of the two buses.
struct End {
    name: String,
    bus: AsyncFd<OwnedFd>,
    receiver: Receiver,
    /// Received and not yet asked for, the next one last.
    pending: Vec<Frame>,
}

impl End {
    fn join(name: String) -> Result<Self, DemoError> {
        let address = BusAddress { kind: BusKind::Software, name: name.clone(), paced_bit_rate: None };
        let options = BusOptions {
            receive_queue_bytes: 0,
            require_fd: false,
            kernel_filter: KernelFilter::everything(),
            error_mask: 0,
        };
        let open = bus::open(&address, &options)?;
        let bus = bus::watched(open.descriptor).map_err(system("watch a bus"))?;
        Ok(Self { name, bus, receiver: Receiver::new(), pending: Vec::new() })
    }

    async fn send(&self, frame: &Frame) -> Result<(), DemoError> {
        loop {
            let mut ready = self.bus.writable().await.map_err(system("send to a bus"))?;
            let image = frame.image();
            if let Ok(result) = ready.try_io(|bus| bus::send(bus.get_ref().as_fd(), image.as_bytes())) {
                return result.map_err(system("send to a bus"));
            }
        }
    }

    /// The next frame; of `sent` frames, `arrived` have come before.
    async fn receive(&mut self, sent: u32, arrived: u32) -> Result<Frame, DemoError> {
        let lost = DemoError::Lost { bus: self.name.clone(), sent, arrived };
        let next = async {
            loop {
                if let Some(frame) = self.pending.pop() {
                    return Ok(frame);
                }
                self.take().await?;
            }
        };
        timeout(PATIENCE, next).await.unwrap_or(Err(lost))
    }

    async fn take(&mut self) -> Result<(), DemoError> {
        let mut ready = self.bus.readable().await.map_err(system("receive from a bus"))?;
        let Ok(result) = ready.try_io(|bus| self.receiver.receive(bus.get_ref().as_fd())) else {
            return Ok(());
        };
        result.map_err(system("receive from a bus"))?;
        for received in self.receiver.iter() {
            if let Packet::Frames(images) = bus::interpret(BusKind::Software, received.packet) {
                self.pending.extend(images.map(Frame::copy_of));
            }
        }
        self.pending.reverse();
        Ok(())
    }
}

/// One side of the bridge, and the line that starts it.
fn start(side: &'static str, arguments: &str, out: &mut impl Write) -> Result<BridgeProcess, DemoError> {
    print(out, &format!("  canip_peer {side} --can-interface software {arguments}"))?;
    let words = ["--can-interface", "software"].into_iter().chain(arguments.split(' '));
    Ok(BridgeProcess::start(side, &words.map(str::to_owned).collect::<Vec<_>>())?)
}

/// Ends one side, and tells what it counted, without what it did not.
async fn stop(process: BridgeProcess) -> Result<String, DemoError> {
    let side = process.role();
    let line = process.stop().await?;
    let (_, counters) = line.split_once("total: ").unwrap_or_default();
    let words: Vec<&str> = counters.split(' ').collect();
    let counted = words.chunks(2).filter(|pair| pair.get(1).is_some_and(|&count| count != "0"));
    let text: Vec<String> = counted.map(|pair| pair.join(" ")).collect();
    Ok(format!("  {side}: {}", text.join(", ")))
}
