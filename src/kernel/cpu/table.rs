//! The kernels compiled once for each instruction set, chosen when an engine is made.

use super::attention::{self, Head};
use super::batch_norm::{self, Into};
use super::conv::{self, Block};
use super::dense;
use super::finish::{Operand, Target};
use super::first;
use super::instructions::Instructions;
use super::lanes::Portable;
use super::linear;
use super::outer::{self, Outer};
use super::product::{self, Kernel, Product};
use super::rows::{self, Rows};
use super::stem;
use super::windows::{self, Pool};
use std::ops::Range;

/// Entry points for one instruction set.
///
/// # Safety
/// Each may be called only on a machine that has the instructions, and as the kernel of the same name says.
pub struct Table {
    /// [`conv::block`].
    pub block: unsafe fn(&Block, &mut conv::Scratch),
    /// [`first::forward`].
    pub first_forward: unsafe fn(&first::Forward, &mut first::Scratch),
    /// [`first::backward`].
    pub first_backward: unsafe fn(&first::Backward, &mut first::Scratch, &mut first::Put),
    /// [`dense::block`].
    pub dense: unsafe fn(&dense::Part, &mut dense::Scratch),
    /// [`stem::backward`].
    pub stem_backward: unsafe fn(&stem::Backward, &mut stem::Scratch, &mut stem::Put),
    /// [`rows::compute`].
    pub rows: unsafe fn(&Rows),
    /// [`attention::forward`].
    pub attention: unsafe fn(&Head, Operand, &Target, &mut attention::Scratch),
    /// [`attention::backward`].
    pub attention_back: unsafe fn(&Head, Operand, &Target, &mut attention::Scratch),
    /// [`linear::forward`].
    pub linear_forward: unsafe fn(&mut linear::Forward),
    /// [`linear::backward`].
    pub linear_backward: unsafe fn(&mut linear::Backward),
    /// [`outer::accumulate`].
    pub outer: unsafe fn(&Outer),
    /// [`batch_norm::compute`].
    pub batch_norm: unsafe fn(&mut batch_norm::Work, Range<usize>),
    /// [`windows::largest`].
    pub largest: unsafe fn(&mut Pool, Operand, Into),
    /// [`windows::back`].
    pub largest_back: unsafe fn(&mut Pool, Operand, Into),
}

impl Table {
    /// The kernels for `instructions`.
    ///
    /// # Panics
    /// Where this machine does not have them: what the table holds may then be called anywhere.
    pub fn of(instructions: Instructions) -> &'static Table {
        assert!(instructions <= Instructions::widest(), "this machine has no {}", instructions.name());
        match instructions {
            Instructions::Portable => &portable::TABLE,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => &avx2::TABLE,
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => &avx512::TABLE,
            #[cfg(not(target_arch = "x86_64"))]
            _ => unreachable!("not wider than the widest"),
        }
    }
}

macro_rules! compile {
    ($module:ident, $lanes:ty $(, $feature:literal)?) => {
        mod $module {
            use super::*;

            // SAFETY: all are called through the table, so the instructions are there; the rest is passed on.
            unsafe impl Kernel for $lanes {
                $(#[target_feature(enable = $feature)])?
                unsafe fn multiply(p: &Product) {
                    unsafe { product::multiply::<$lanes>(p) }
                }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn block(b: &Block, scratch: &mut conv::Scratch) {
                unsafe { conv::block::<$lanes>(b, scratch) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn first_forward(f: &first::Forward, scratch: &mut first::Scratch) {
                unsafe { first::forward::<$lanes>(f, scratch) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn first_backward(
                b: &first::Backward,
                scratch: &mut first::Scratch,
                put: &mut first::Put,
            ) {
                unsafe { first::backward::<$lanes>(b, scratch, put) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn dense(p: &dense::Part, scratch: &mut dense::Scratch) {
                unsafe { dense::block::<$lanes>(p, scratch) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn stem_backward(
                b: &stem::Backward,
                scratch: &mut stem::Scratch,
                put: &mut stem::Put,
            ) {
                unsafe { stem::backward::<$lanes>(b, scratch, put) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn rows(r: &Rows) {
                unsafe { rows::compute::<$lanes>(r) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn attention(h: &Head, source: Operand, target: &Target, scratch: &mut attention::Scratch) {
                unsafe { attention::forward::<$lanes>(h, source, target, scratch) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn attention_back(
                h: &Head,
                gradient: Operand,
                target: &Target,
                scratch: &mut attention::Scratch,
            ) {
                unsafe { attention::backward::<$lanes>(h, gradient, target, scratch) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn linear_forward(f: &mut linear::Forward) {
                unsafe { linear::forward::<$lanes>(f) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn linear_backward(b: &mut linear::Backward) {
                unsafe { linear::backward::<$lanes>(b) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn outer(o: &Outer) {
                unsafe { outer::accumulate::<$lanes>(o) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn batch_norm(work: &mut batch_norm::Work, images: Range<usize>) {
                unsafe { batch_norm::compute::<$lanes>(work, images) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn largest(p: &mut Pool, from: Operand, to: Into) {
                unsafe { windows::largest::<$lanes>(p, from, to) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn largest_back(p: &mut Pool, gradient: Operand, to: Into) {
                unsafe { windows::back::<$lanes>(p, gradient, to) }
            }

            pub static TABLE: Table = Table {
                block,
                first_forward,
                first_backward,
                dense,
                stem_backward,
                rows,
                attention,
                attention_back,
                linear_forward,
                linear_backward,
                outer,
                batch_norm,
                largest,
                largest_back,
            };
        }
    };
}

compile!(portable, Portable);
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
#[cfg(target_arch = "x86_64")]
compile!(avx2, Avx2, "avx2,fma");
#[cfg(target_arch = "x86_64")]
compile!(avx512, Avx512, "avx512f");
