//! What is said of the bounds on what peers may put on a bus.

use super::limiter::{CATCH_UP_NS, WHOLE_BUS};
use crate::config::{BitRate, Bounds};

/// Lines for the log: the way that nothing crosses, and what is bounded.
pub fn in_words(bus: &str, bounds: &Bounds, bit_rate: Option<BitRate>) -> Vec<String> {
    let read_only = bounds.read_only.then(|| format!("{bus}: read only: nothing of a peer is put on it"));
    let write_only = bounds.write_only.then(|| format!("{bus}: write only: nothing of it is sent to a peer"));
    read_only.into_iter().chain(write_only).chain(bounds_in_words(bus, bounds, bit_rate)).collect()
}

fn bounds_in_words(bus: &str, bounds: &Bounds, bit_rate: Option<BitRate>) -> Option<String> {
    let allow = bounds.allow.as_ref().map(|_| "what passes --tx-allow".to_owned());
    let rate = bounds.frames_per_s.map(|rate| format!("{rate} frames/s"));
    let load = bounds.load.zip(bit_rate).map(|(load, BitRate { nominal, data })| {
        let percent = f64::from(load.millionths) * 100.0 / f64::from(WHOLE_BUS);
        let data = data.map(|data| format!(", {data} for FD data")).unwrap_or_default();
        format!("{percent} % of its time at {nominal} bit/s{data}")
    });
    let is_throttled = rate.is_some() || load.is_some();
    let bounds: Vec<String> = allow.into_iter().chain(rate).chain(load).collect();
    let catch_up_ms = CATCH_UP_NS / 1_000_000;
    let burst =
        if is_throttled { format!("; unused, {catch_up_ms} ms of it are saved up") } else { String::new() };
    (!bounds.is_empty())
        .then(|| format!("{bus}: at most this of all peers together: {}{burst}", bounds.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::config::LoadBound;
    use crate::frame::filter::FilterSet;

    #[test]
    fn bounds_are_named() {
        let unbounded = Bounds::default();
        let say = |bounds: &Bounds, rate| in_words("can0", bounds, rate);
        assert_eq!(say(&unbounded, None), [""; 0]);
        let read_only = Bounds { read_only: true, ..unbounded.clone() };
        assert_eq!(say(&read_only, None), ["can0: read only: nothing of a peer is put on it"]);
        let write_only = Bounds { write_only: true, frames_per_s: Some(5), ..unbounded.clone() };
        assert_eq!(
            say(&write_only, None),
            [
                "can0: write only: nothing of it is sent to a peer",
                "can0: at most this of all peers together: 5 frames/s; unused, 10 ms of it are saved up"
            ]
        );
        let allow = Some(Rc::new(FilterSet::default().compile().unwrap()));
        let allowed = Bounds { allow: allow.clone(), ..unbounded };
        assert_eq!(say(&allowed, None), ["can0: at most this of all peers together: what passes --tx-allow"]);
        let load = Some(LoadBound { millionths: 125_000, bit_rate: None, is_for_one_bus: true });
        let all = Bounds { allow, frames_per_s: Some(1_000), load, ..Bounds::default() };
        assert_eq!(
            say(&all, Some(BitRate { nominal: 500_000, data: Some(2_000_000) })),
            [
                "can0: at most this of all peers together: what passes --tx-allow, 1000 frames/s, 12.5 % of its time at \
             500000 bit/s, 2000000 for FD data; unused, 10 ms of it are saved up"
            ]
        );
    }
}
