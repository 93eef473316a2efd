//! Max-pool of a batch in training, and its way back: which place won is kept as one bit a channel.

use super::batch_norm::Into;
use super::finish::Operand;
use super::lanes::{LANES, Lanes};
use crate::kernel::graph::Window;

/// An image of a pool.
pub struct Pool<'a> {
    pub window: &'a Window,
    pub image: usize,
    /// [row][column][sixteen channels][tap]: whether the tap won.
    pub won: &'a mut [u16],
}

/// The largest of every window; the first of several.
///
/// # Safety
/// The instruction set of L is there; maps hold the image, and nobody else writes it meanwhile.
#[inline(always)]
pub unsafe fn largest<L: Lanes>(p: &mut Pool, from: Operand, to: Into) {
    let ([height, width], [down, across]) = (from.layout.size, to.layout.size);
    let [taps_down, taps_across] = p.window.size;
    let mut at = 0;
    for y in 0..down {
        for x in 0..across {
            for c in (0..to.layout.channels).step_by(LANES) {
                let won = &mut p.won[at..at + taps_down * taps_across];
                won.fill(0);
                at += won.len();
                // SAFETY: places on the map
                unsafe {
                    let mut best = None;
                    for t in 0..won.len() {
                        let place = (
                            p.window.place(0, y, t / taps_across, height),
                            p.window.place(1, x, t % taps_across, width),
                        );
                        let (Some(y), Some(x)) = place else { continue };
                        let v = L::load(from.map.add(from.layout.at(p.image, y, x) + c));
                        match best {
                            None => {
                                won[t] = u16::MAX;
                                best = Some(v);
                            }
                            Some(old) => {
                                let better = v.greater(old);
                                won[..t].iter_mut().for_each(|w| *w &= !better);
                                won[t] = better;
                                best = Some(v.max(old));
                            }
                        }
                    }
                    let best = best.expect("a window lies on the map");
                    best.store(to.map.add(to.layout.at(p.image, y, x) + c));
                }
            }
        }
    }
}

/// Adds the gradient of each output to that of the place that won.
///
/// # Safety
/// As for [`largest`].
#[inline(always)]
pub unsafe fn back<L: Lanes>(p: &mut Pool, gradient: Operand, to: Into) {
    let ([height, width], [down, across]) = (to.layout.size, gradient.layout.size);
    let [taps_down, taps_across] = p.window.size;
    let mut at = 0;
    for y in 0..down {
        for x in 0..across {
            for c in (0..to.layout.channels).step_by(LANES) {
                let won = &p.won[at..at + taps_down * taps_across];
                at += won.len();
                // SAFETY: places on the map
                unsafe {
                    let g = L::load(gradient.map.add(gradient.layout.at(p.image, y, x) + c));
                    for (t, bits) in won.iter().enumerate() {
                        let place = (
                            p.window.place(0, y, t / taps_across, height),
                            p.window.place(1, x, t % taps_across, width),
                        );
                        let (Some(y), Some(x)) = place else { continue };
                        let into = to.map.add(to.layout.at(p.image, y, x) + c);
                        L::load(into).add(g.keep(*bits)).store(into);
                    }
                }
            }
        }
    }
}
