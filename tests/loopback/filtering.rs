//! Filters keep frames of the bus off the connection, and what is kept off is counted.

use crate::text_file::TextFile;
use crate::{Pair, carry};

on_each_engine!(pass_and_block_files, candump_expressions, only_bus_to_peer);

/// Sends frames of both kinds from the server's bus, and checks which of them come out at the client's.
fn check(engine: &str, options: &str, passing: &[&str], blocked: &[&str]) {
    let Pair { near, server, client, far, .. } = Pair::start(engine, options, "");
    for frame in blocked {
        near.send(&[frame]);
    }
    near.send(passing);
    assert_eq!(far.wait(passing.len()), passing);
    let totals = server.interrupt().totals();
    let expected = (passing.len() as u64, blocked.len() as u64);
    assert_eq!((totals["sent"], totals["filtered"]), expected, "{totals:?}");
    assert_eq!(client.interrupt().totals()["received"], passing.len() as u64);
}

fn pass_and_block_files(engine: &'static str) {
    let pass = TextFile::new("# engine\n0x100-0x1FF, 0x7E8\n0x18DAF110x 0x0CF00400x/0x1FFFFF00x # 29 bits\n");
    let block = TextFile::new("0x150 0x160/0x7F0\n");
    let options = format!("--pass-filter {pass} --block-filter {block}");
    check(
        engine,
        &options,
        &["100#", "1FF#01", "7E8#0241", "18DAF110#02", "0CF004AA#11", "14F#"],
        &["0FF#", "200#", "150#", "16F#", "7E9#", "000007E8#", "18DAF111#", "0CF00500#"],
    );
    let options = format!("--block-filter {block}");
    check(engine, &options, &["100#", "00000150#"], &["150#", "160#", "165#AA"]);
}

fn candump_expressions(engine: &'static str) {
    check(engine, "--filter 123:7FF,400:7F0", &["123#", "40F#"], &["124#", "410#"]);
    check(engine, "--filter 123:7FF --filter 18DAF110:1FFFFFFF", &["123#", "18DAF110#"], &["124#"]);
    check(engine, "--filter 400~7F0", &["123#", "3FF#"], &["400#", "40A#"]);
}

fn only_bus_to_peer(engine: &'static str) {
    let Pair { near, server, client, far, .. } = Pair::start(engine, "--filter 001:7FF", "");
    carry(&far, &[&near], &["123#01".to_owned(), "456#02".to_owned()]);
    let totals = server.interrupt().totals();
    assert_eq!((totals["received"], totals["filtered"]), (2, 0), "{totals:?}");
    client.interrupt().totals();
}
