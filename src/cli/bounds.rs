//! The options that say which way frames cross, and what peers may put on the buses.

use std::rc::Rc;

use clap::Args;

use super::Failure;
use super::values::{parse_bit_rate, parse_load_bound, parse_rate_bound};
use crate::config::{BitRate, Bounds, LoadBound};
use crate::frame::filter::{Filter, FilterSet, parse_candump};

/// The heading that they are printed under.
const BOUNDS: &str = "Bounds (what peers may put on each bus)";

/// What peers may put on the buses of this side.
#[derive(Args, Debug)]
#[command(next_help_heading = BOUNDS)]
pub struct BoundArgs {
    /// Put nothing of the peer on the bus
    #[arg(long)]
    read_only: bool,
    /// Send nothing of the bus to the peer
    #[arg(long)]
    pub write_only: bool,
    /// Frames of the peer that may go on the bus, as for candump: 123:C00007FF is standard data frame 123, and 123:7FF all
    /// that ends alike; again for more
    #[arg(long, value_name = "EXPR")]
    tx_allow: Vec<String>,
    /// Frames a second that all peers together may put on the bus
    #[arg(long, value_name = "FRAMES", value_parser = parse_rate_bound, allow_negative_numbers = true)]
    tx_rate: Option<u32>,
    /// Percent of the bus's time that their frames may take, by its bit rate
    #[arg(long, value_name = "PERCENT", value_parser = parse_load_bound, allow_negative_numbers = true)]
    tx_load: Option<u32>,
    /// Bit rate to reckon --tx-load with, of a bus that has none of its own (vcan0)
    #[arg(long, value_name = "RATE", value_parser = parse_bit_rate, allow_negative_numbers = true)]
    pub bitrate: Option<u32>,
}

impl BoundArgs {
    /// The bounds of each of so many buses; `data_bit_rate` belongs to the bit rate.
    pub fn to_bounds(&self, buses: usize, data_bit_rate: Option<u32>) -> Result<Bounds, Failure> {
        self.refuse_contradictions()?;
        let bit_rate = self.bitrate.map(|nominal| BitRate { nominal, data: data_bit_rate });
        Ok(Bounds {
            read_only: self.read_only,
            write_only: self.write_only,
            allow: self.allowed()?.map(Rc::new),
            frames_per_s: self.tx_rate,
            load: self.tx_load.map(|millionths| LoadBound {
                millionths,
                bit_rate,
                is_for_one_bus: buses == 1,
            }),
        })
    }

    fn refuse_contradictions(&self) -> Result<(), Failure> {
        let bounds = [
            ("--tx-allow", !self.tx_allow.is_empty()),
            ("--tx-rate", self.tx_rate.is_some()),
            ("--tx-load", self.tx_load.is_some()),
        ];
        let bound = bounds.into_iter().find_map(|(option, is_given)| is_given.then_some(option));
        let message = match bound {
            _ if self.read_only && self.write_only => {
                "--read-only and --write-only together let nothing cross: leave one of them out".to_owned()
            }
            Some(option) if self.read_only => {
                format!("--read-only puts nothing of the peer on the bus, so that there is nothing to bound: leave {option} out")
            }
            _ if self.bitrate.is_some() && self.tx_load.is_none() => {
                "--bitrate is what --tx-load is reckoned with: give both, for example --tx-load 30 --bitrate 500000 \
                 (--can-bitrate sets an interface's)"
                    .to_owned()
            }
            _ => return Ok(()),
        };
        Err(Failure::Usage(message))
    }

    fn allowed(&self) -> Result<Option<Filter>, Failure> {
        if self.tx_allow.is_empty() {
            return Ok(None);
        }
        let mut expressions = Vec::new();
        for text in &self.tx_allow {
            let expression =
                parse_candump(text).map_err(|error| Failure::Usage(format!("--tx-allow: {error}")))?;
            if expression.conditions.is_empty() || expression.error_mask.is_some() {
                return Err(Failure::Usage(format!(
                    "--tx-allow {text}: give identifiers alone, for example 123:C00007FF; error frames are never put on a bus"
                )));
            }
            expressions.push(expression);
        }
        let set = FilterSet { expressions, ..FilterSet::default() };
        set.compile().map(Some).map_err(|error| Failure::Usage(format!("--tx-allow: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::notation::parse_compact;

    fn allowed(expression: &str) -> Filter {
        let bounds = BoundArgs {
            read_only: false,
            write_only: false,
            tx_allow: vec![expression.to_owned()],
            tx_rate: None,
            tx_load: None,
            bitrate: None,
        };
        bounds.allowed().unwrap_or_else(|_| panic!("{expression}")).unwrap()
    }

    /// What users copy from there must not let more through than it says.
    #[test]
    fn what_the_readme_allows_is_what_it_says() {
        let readme = include_str!("../../README.md");
        let line = readme.lines().find(|line| line.contains("may ask for diagnostics, and no more")).unwrap();
        let expression = line.split_whitespace().skip_while(|word| *word != "--tx-allow").nth(1).unwrap();
        let passes = |filter: &Filter, text: &str| filter.passes(parse_compact(text).unwrap().image());
        let filter = allowed(expression);
        assert!(passes(&filter, "7E0#0210") && passes(&filter, "7E7##10210"), "{expression}");
        for other in ["7DF#", "7E8#", "7E0#R", "000007E0#", "18DA07E1#0210"] {
            assert!(!passes(&filter, other), "{expression} lets {other} through");
        }
        assert!(readme.contains("`18DA10F1:DFFFFFFF` an extended one"));
        let filter = allowed("18DA10F1:DFFFFFFF");
        assert!(passes(&filter, "18DA10F1#02"));
        for other in ["18DA10F1#R", "18DA10F2#", "0F1#"] {
            assert!(!passes(&filter, other), "{other}");
        }
    }
}
