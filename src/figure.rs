//! What the figures of a run look like: plain data that is stored with the plan. No cell and no id depends on it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Names of all charts, in the order in which they are drawn. `report::CHARTS` draws them.
pub const KINDS: [&str; 14] = [
    "side-by-side",
    "corruption",
    "robust-accuracy",
    "security-curve",
    "success-steps",
    "success-queries",
    "patch-area",
    "distance",
    "cost",
    "transfer",
    "gallery",
    "confusion",
    "class-max",
    "grad-cam",
];

/// Widths by name, in millimetres: a column of a two-column page, and the whole page.
pub const WIDTHS: [(&str, f64); 2] = [("column", 85.0), ("page", 180.0)];

/// Sizes of type that a figure may have, in points.
pub const FONTS: std::ops::RangeInclusive<f64> = 5.0..=14.0;

/// Size of type where none is asked for: the smallest that journals take.
pub const FONT_PT: f64 = 7.0;

/// Most panels side by side.
pub const MOST_COLUMNS: usize = 6;

/// Red, green, blue.
pub type Colour = (u8, u8, u8);

/// Palettes by name, the default first. `okabe-ito`: Okabe and Ito (2008), told apart by colour-blind readers; yellow is
/// left out, it vanishes on white. `grey`: five greys, evenly spaced in lightness (CIE L* 0, 22, 42, 60, 76), for print
/// without colour; markers and dashes tell apart what follows.
pub const PALETTES: [(&str, &[Colour]); 2] = [
    (
        "okabe-ito",
        &[(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (0, 0, 0)],
    ),
    ("grey", &[(0, 0, 0), (54, 54, 54), (99, 99, 99), (145, 145, 145), (187, 187, 187)]),
];

/// One `[figure]` of a sweep file, checked. What is not given is left to the chart.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FigureRecord {
    /// One of [`KINDS`]; `None`: every chart that has no block of its own.
    pub kind: Option<String>,
    /// Name of its files; `None`: that of the chart.
    pub name: Option<String>,
    /// One of [`WIDTHS`].
    pub width: Option<String>,
    /// Size of type in points.
    pub font: Option<f64>,
    /// One of [`PALETTES`].
    pub palette: Option<String>,
    /// Panels side by side.
    pub columns: Option<usize>,
    /// What a text of the figure (a model, an attack, a line of the legend, an axis, a title) is called instead.
    pub labels: BTreeMap<String, String>,
    /// Models that are shown; empty: all.
    pub models: Vec<String>,
    /// Attacks that are shown; empty: all.
    pub attacks: Vec<String>,
    /// Norms that are shown; empty: all.
    pub norms: Vec<String>,
    /// Budgets that are shown, as cells write them; empty: all, or the usual one where a chart shows one.
    pub eps: Vec<String>,
}

impl FigureRecord {
    /// What is not given here is taken from `general`.
    pub fn over(&self, general: &FigureRecord) -> FigureRecord {
        let either = |own: &Vec<String>, other: &Vec<String>| if own.is_empty() { other.clone() } else { own.clone() };
        let labels = general.labels.iter().chain(&self.labels).map(|(k, v)| (k.clone(), v.clone()));
        FigureRecord {
            kind: self.kind.clone(),
            name: self.name.clone(),
            width: self.width.clone().or_else(|| general.width.clone()),
            font: self.font.or(general.font),
            palette: self.palette.clone().or_else(|| general.palette.clone()),
            columns: self.columns.or(general.columns),
            labels: labels.collect(),
            models: either(&self.models, &general.models),
            attacks: either(&self.attacks, &general.attacks),
            norms: either(&self.norms, &general.norms),
            eps: either(&self.eps, &general.eps),
        }
    }

    /// Whether it is one that a sweep file may ask for; a plan may come from anywhere.
    pub fn is_sound(&self) -> bool {
        let known = |name: &Option<String>, names: &[&str]| name.as_ref().is_none_or(|n| names.contains(&n.as_str()));
        known(&self.kind, &KINDS)
            && known(&self.width, &WIDTHS.map(|(name, _)| name))
            && known(&self.palette, &PALETTES.map(|(name, _)| name))
            && self.font.is_none_or(|font| FONTS.contains(&font))
            && self.columns.is_none_or(|columns| (1..=MOST_COLUMNS).contains(&columns))
            && self
                .name
                .as_ref()
                .is_none_or(|name| name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)))
    }

    /// Every figure of a run, by kind: the blocks about it, over the block about all; where there is none, that block.
    pub fn resolved(blocks: &[FigureRecord]) -> Vec<(&'static str, FigureRecord)> {
        let general = blocks.iter().find(|b| b.kind.is_none()).cloned().unwrap_or_default();
        let mut figures = Vec::new();
        for kind in KINDS {
            let own = blocks.iter().filter(|b| b.kind.as_deref() == Some(kind)).map(|b| (kind, b.over(&general)));
            let before = figures.len();
            figures.extend(own);
            if figures.len() == before {
                figures.push((kind, general.clone()));
            }
        }
        figures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
    const BLIND: [(&str, [[f64; 3]; 3]); 4] = [
        ("nobody", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),
        (
            "protanopia",
            [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        ),
        (
            "deuteranopia",
            [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        ),
        (
            "tritanopia",
            [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
        ),
    ];

    /// CIE L*a*b* (D65) of a colour as such a reader sees it.
    fn seen((r, g, b): Colour, eye: &[[f64; 3]; 3]) -> [f64; 3] {
        let linear = [r, g, b].map(|v| match f64::from(v) / 255.0 {
            v if v <= 0.04045 => v / 12.92,
            v => ((v + 0.055) / 1.055).powf(2.4),
        });
        let times = |m: &[[f64; 3]; 3], v: [f64; 3]| m.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
        let shown = times(eye, linear).map(|v| v.clamp(0.0, 1.0));
        let xyz = times(
            &[[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]],
            shown,
        );
        let f = |v: f64| if v > 216.0 / 24389.0 { v.cbrt() } else { (24389.0 / 27.0 * v + 16.0) / 116.0 };
        let [x, y, z] = [f(xyz[0] / 0.95047), f(xyz[1]), f(xyz[2] / 1.08883)];
        [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
    }

    fn distance(a: [f64; 3], b: [f64; 3]) -> f64 {
        (0..3).map(|i| (a[i] - b[i]).powi(2)).sum::<f64>().sqrt()
    }

    /// Euclidean distance in L*a*b* (CIE 1976): 2.3 is just noticeable; markers and dashes come on top.
    #[test]
    fn colours_stay_apart_for_colour_blind_readers() {
        for (name, palette) in PALETTES {
            for (eye, matrix) in &BLIND {
                for (i, a) in palette.iter().enumerate() {
                    for b in &palette[..i] {
                        let apart = distance(seen(*a, matrix), seen(*b, matrix));
                        assert!(apart > 15.0, "{name}, {eye}: {a:?} and {b:?} are {apart:.1} apart");
                    }
                    let white = distance(seen(*a, matrix), seen((255, 255, 255), matrix));
                    assert!(white > 20.0, "{name}, {eye}: {a:?} is {white:.1} from white");
                }
            }
        }
    }

    #[test]
    fn greys_are_evenly_spaced_in_lightness() {
        let lightness: Vec<f64> = PALETTES[1].1.iter().map(|c| seen(*c, &BLIND[0].1)[0]).collect();
        for (found, wanted) in lightness.iter().zip([0.0, 22.0, 42.0, 60.0, 76.0]) {
            assert!((found - wanted).abs() < 0.7, "{lightness:?}");
        }
    }
}
