//! Vision transformers on patches of 16×16 (Dosovitskiy et al. 2021, table 1; DeiT: Touvron et al. 2021) as timm names their
//! tensors.

use super::builder::Builder;
use super::convolution::Conv;
use super::family::Family;
use super::guess::{Guess, Side};
use super::weights::Weights;
use crate::config::ModelFile;
use crate::kernel::graph::{Activation, Op};
use crate::size;

/// Numbers a token, and heads.
#[rustfmt::skip] // a network a row
const TABLE: [(&str, usize, usize); 3] = [
    ("tiny", 192, 3),
    ("small", 384, 6),
    ("base", 768, 12),
];

/// Vision transformers among the families.
pub const FAMILY: Family = Family {
    title: "ViT",
    names: &[
        "vit_tiny_patch16_224",
        "vit_small_patch16_224",
        "vit_base_patch16_224",
        "deit_tiny_patch16_224",
        "deit_small_patch16_224",
        "deit_base_patch16_224",
    ],
    namings: &["timm"],
    keys: &[],
    check,
    recognise: |weights| recognise(weights).into_iter().collect(),
    unseen: "GELU, the usual number of heads, and layer norms with an eps of 1e-6",
    build,
};

/// Side of a patch.
const PATCH: usize = 16;

/// Blocks.
const DEPTH: usize = 12;

/// How many times wider a block's perceptron is inside.
const WIDER: usize = 4;

fn check(file: &ModelFile) -> Result<(), String> {
    match file.size.iter().all(|side| side.is_multiple_of(PATCH)) {
        true => Ok(()),
        false => {
            Err(format!("{} is no multiple of the patches' {PATCH} (hint: side = 224)", size::in_words(file.size)))
        }
    }
}

/// By the numbers of a token; the side by the number of positions.
fn recognise(weights: &Weights) -> Option<Guess> {
    let width = weights.size("cls_token", 2)?;
    let (name, ..) = TABLE.iter().find(|(_, own, _)| *own == width)?;
    let places = weights.size("pos_embed", 1)?.checked_sub(1)?;
    let side = places.isqrt();
    // of another shape than a square's: then the size is for the user to say
    let side = if side * side == places { Side::Told(PATCH * side) } else { Side::Usual(224) };
    let guess = Guess::of(weights, &format!("vit_{name}_patch16_224"), "head.weight", "timm", side)?;
    Some(guess.noting(format!("deit_{name}_patch16_224 is the same network by another name")))
}

fn build(file: &ModelFile, net: &mut Builder) -> Result<(), String> {
    let size = file.family.split('_').nth(1).expect("a checked family");
    let (_, width, heads) = *TABLE.iter().find(|(known, ..)| *known == size).expect("a checked family");
    let patches = net.conv("patch_embed.proj", 0, Conv::new(width, PATCH).stride(PATCH).bare().bias())?;
    let places = net.shape(patches)[1..].iter().product();
    let rows = net.push(Op::Reshape { shape: vec![width, places] }, &[patches])?;
    let tokens = net.push(Op::Transpose { axes: vec![1, 0] }, &[rows])?;
    let class = net.constant("cls_token", &[1, 1, width], &[1, width])?;
    let tokens = net.push(Op::Concat { axis: 0 }, &[class, tokens])?;
    let positions = net.constant("pos_embed", &[1, places + 1, width], &[places + 1, width])?;
    let mut x = net.add(tokens, positions)?;
    for i in 0..DEPTH {
        x = block(net, x, &format!("blocks.{i}"), heads)?;
    }
    // the norm is each token's own, and only the first is read
    let class = net.push(Op::Slice { axis: 0, start: 0, end: 1, step: 1 }, &[x])?;
    let class = net.layer_norm("norm", class, 1)?;
    let class = net.flatten(class)?;
    net.linear("head", class, file.classes).map(drop)
}

/// x + attention(norm(x)), and y + perceptron(norm(y)) of that.
fn block(net: &mut Builder, x: usize, name: &str, heads: usize) -> Result<usize, String> {
    let width = net.shape(x)[1];
    let made = net.layer_norm(&format!("{name}.norm1"), x, 1)?;
    let made = net.linear(&format!("{name}.attn.qkv"), made, 3 * width)?;
    let made = net.push(Op::Attention { heads }, &[made])?;
    let made = net.linear(&format!("{name}.attn.proj"), made, width)?;
    let x = net.add(x, made)?;
    let made = net.layer_norm(&format!("{name}.norm2"), x, 1)?;
    let made = net.linear(&format!("{name}.mlp.fc1"), made, WIDER * width)?;
    let made = net.activate(Activation::Gelu, made)?;
    let made = net.linear(&format!("{name}.mlp.fc2"), made, width)?;
    net.add(x, made)
}
