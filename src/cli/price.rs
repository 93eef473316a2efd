//! The price of a plan in words: what is missing, and what it takes here.

use crate::error::Result;
use crate::notice::say;
use crate::store::Store;
use crate::sweep::plan::Plan;
use crate::sweep::price::{self, Price};
use crate::sweep::run::Machine;

/// Says what the store lacks of a plan and what that costs; gives it back.
pub fn say_price(plan: &Plan, store: Option<&Store>, machine: &Machine) -> Result<Price> {
    let price = price::price(plan, store, machine)?;
    say(line(&price));
    Ok(price)
}

/// Twice as long is worth a word.
const NOTABLY: f64 = 2.0;

/// `36 cells missing: 12000 gradient steps at most …, about 14 s on this machine (by a probe of two seconds …); 1.2 MB to store`.
fn line(price: &Price) -> String {
    let Price { missing, steps, most_seconds, seconds, probed, bytes } = price;
    if *missing == 0 {
        return "no cell is missing: nothing to compute".into();
    }
    let by = match probed {
        0 => "by the time of stored cells".into(),
        _ if *most_seconds < NOTABLY * seconds => {
            "by a probe of two seconds, where every image stands to the end".into()
        }
        _ => format!(
            "by a probe of two seconds, in which a few steps fooled many images; {} if every image stood to the end",
            time(*most_seconds)
        ),
    };
    let noun = if *missing == 1 { "cell" } else { "cells" };
    format!(
        "{missing} {noun} missing: {steps} gradient steps at most (a pass forward and one back each), about {} on this machine ({by}); \
         {} to store, nothing to download",
        time(*seconds),
        size(*bytes)
    )
}

/// A time in the unit that people would take.
pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => "a second".into(),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} hours", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// Bytes likewise.
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b < 1_000_000 => format!("{:.1} kB", b as f64 / 1e3),
        b if b < 1_000_000_000 => format!("{:.1} MB", b as f64 / 1e6),
        b => format!("{:.1} GB", b as f64 / 1e9),
    }
}
