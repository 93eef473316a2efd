//! The vocabulary: what a cell is told by, as types. On disk and in sweep files each is the text it has always been.
//!
//! What is *done* with a threat or a goal stands in the rooms of those names; here is what they are called.

pub use crate::ratio::Ratio;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a change is measured; data, not a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Largest absolute change of a channel of a pixel.
    Linf,
    /// Euclidean length of the change over all pixels and channels.
    L2,
    /// Sum of the absolute changes over all pixels and channels.
    L1,
    /// Number of changed components, each channel of a pixel being one, whatever happens to them.
    L0,
    /// Number of changed pixels, whatever happens to them.
    Pixels,
    /// Changed pixels as a share of the image, all in one region (see `threat`).
    Patch,
    /// Nothing: every image is allowed.
    Any,
}

/// What is said of a norm, in sweep files, tables and figures. A new norm is a variant of [`Norm`], a line in [`NORMS`], and
/// its geometry in `threat`.
pub struct NormTerms {
    /// The norm.
    pub norm: Norm,
    /// Name in sweep files and tables.
    pub name: &'static str,
    /// Name in running text and in the formats of others; `None`: budgets are told in words ([`Threat::caption`]).
    pub title: Option<&'static str>,
    /// Key of its budgets in sweep files; `None`: it has none.
    pub budget_key: Option<&'static str>,
    /// Axis of budgets; `None`: none is drawn.
    pub axis: Option<Axis>,
    /// The budget that the field reports most: 8/255 in Linf, 0.5 in L2, 12 in L1 (Croce and Hein 2021), one pixel, a tenth
    /// of the area.
    pub usual: f64,
    /// The same as sweep files have it; empty: there is no budget.
    pub example: &'static str,
    /// Caption of an axis of distances of witnesses; `None`: there is no distance that shrinks.
    pub distance: Option<&'static str>,
}

/// An axis of budgets.
pub struct Axis {
    /// What it says.
    pub caption: &'static str,
    /// How many of its units a budget of 1 is.
    pub units: f64,
}

/// Every norm.
pub const NORMS: &[NormTerms] = &[
    NormTerms {
        norm: Norm::Linf,
        name: "linf",
        title: Some("Linf"),
        budget_key: Some("eps"),
        axis: Some(Axis { caption: "eps / 255 (Linf)", units: 255.0 }),
        usual: 8.0 / 255.0,
        example: "8/255",
        distance: Some("least Linf change that fools / 255"),
    },
    NormTerms {
        norm: Norm::L2,
        name: "l2",
        title: Some("L2"),
        budget_key: Some("eps"),
        axis: Some(Axis { caption: "eps (L2, pixels in [0,1])", units: 1.0 }),
        usual: 0.5,
        example: "0.5",
        distance: Some("least L2 change that fools"),
    },
    NormTerms {
        norm: Norm::L1,
        name: "l1",
        title: Some("L1"),
        budget_key: Some("eps"),
        axis: Some(Axis { caption: "eps (L1, pixels in [0,1])", units: 1.0 }),
        usual: 12.0,
        example: "12",
        distance: Some("least L1 change that fools"),
    },
    NormTerms {
        norm: Norm::L0,
        name: "l0",
        title: Some("L0"),
        budget_key: Some("count"),
        axis: Some(Axis { caption: "changed components (L0)", units: 1.0 }),
        usual: 3.0,
        example: "3",
        distance: Some("fewest changed components that fool"),
    },
    NormTerms {
        norm: Norm::Pixels,
        name: "pixels",
        title: None,
        budget_key: Some("count"),
        axis: Some(Axis { caption: "changed pixels", units: 1.0 }),
        usual: 1.0,
        example: "1",
        distance: None,
    },
    NormTerms {
        norm: Norm::Patch,
        name: "patch",
        title: None,
        budget_key: Some("area"),
        axis: None,
        usual: 0.1,
        example: "0.1",
        distance: None,
    },
    NormTerms {
        norm: Norm::Any,
        name: "any",
        title: None,
        budget_key: None,
        axis: None,
        usual: 0.0,
        example: "",
        distance: None,
    },
];

/// A larger patch does not fit into the image at every angle (Brown et al. 2017 go as far).
const MOST_AREA: f64 = 0.5;

impl Norm {
    /// Every one.
    pub fn all() -> impl Iterator<Item = Norm> {
        NORMS.iter().map(|terms| terms.norm)
    }

    /// Its line in [`NORMS`].
    pub fn terms(self) -> &'static NormTerms {
        NORMS.iter().find(|terms| terms.norm == self).expect("every norm is listed")
    }

    /// Name in sweep files and tables.
    pub fn name(self) -> &'static str {
        self.terms().name
    }

    /// Key of its budgets in sweep files; `None`: it has none.
    pub fn budget_key(self) -> Option<&'static str> {
        self.terms().budget_key
    }

    /// Reads a budget as sweep files have it: `"8/255"`, a number of pixels, `"5 %"` of the area.
    ///
    /// # Errors
    /// What is expected instead.
    pub fn budget(self, text: &str) -> Result<Ratio, &'static str> {
        let number = if self == Norm::Patch { Ratio::of_share(text) } else { Ratio::parse(text) };
        match (self, number) {
            (Norm::Pixels | Norm::L0, Some(n)) if n.den() == 1 && n.num() > 0 => Ok(n),
            (Norm::Pixels | Norm::L0, _) => Err("a whole number from 1"),
            (Norm::Patch, Some(n)) if n.num() > 0 && n.to_f64() <= MOST_AREA => Ok(n),
            (Norm::Patch, _) => Err("a share of the image above 0 and up to 50 %, as \"5 %\" or \"0.05\""),
            (Norm::Linf, Some(n)) if n.to_f64() > 1.0 => {
                Err("a radius up to 1, the whole range of a pixel; eight grey levels are \"8/255\"")
            }
            // an L1 ball of radius 1,000,000 holds every image up to side 577, an L2 ball one of radius 1000
            (Norm::L1, Some(n)) if n.to_f64() <= 1e6 => Ok(n),
            (Norm::L1, Some(_)) => Err("a radius up to 1000000: pixels lie in [0,1]"),
            (_, Some(n)) if n.to_f64() > 1000.0 => Err("a radius below 1000: pixels lie in [0,1]"),
            (_, Some(n)) => Ok(n),
            (_, None) => Err("a number as \"8/255\" or \"0.5\""),
        }
    }

    /// Whether a small step in any direction stays allowed after it is projected: what a descent needs.
    pub fn is_ball(self) -> bool {
        matches!(self, Norm::Linf | Norm::L2 | Norm::L1)
    }
}

/// How far an attack may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Budget {
    /// So far: a radius in units of [0,1] pixels; a number of pixels; a share of the image; 1 where every image is allowed.
    Within(Ratio),
    /// As far as it must. The *nearest* image that is fooled counts, of those found before so many passes of the net were
    /// spent on it, forward and back each counted as one.
    Minimal {
        /// Passes that the attack may ask for; those of the judge's tests do not count.
        passes: u64,
    },
}

impl Budget {
    /// Nothing may change.
    pub const ZERO: Budget = Budget::Within(Ratio::ZERO);

    /// The radius; `None`: there is none.
    pub fn radius(self) -> Option<Ratio> {
        match self {
            Budget::Within(radius) => Some(radius),
            Budget::Minimal { .. } => None,
        }
    }

    /// The nearest `f64` to the radius; infinite where there is none.
    pub fn to_f64(self) -> f64 {
        self.radius().map_or(f64::INFINITY, Ratio::to_f64)
    }

    /// Whether the nearest image counts, not the first.
    pub fn is_minimal(self) -> bool {
        self.radius().is_none()
    }
}

/// The images that an attack may return: those within `eps` of the clean image in this norm, and inside [0,1].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredThreat", into = "StoredThreat")]
pub struct Threat {
    /// How distance is measured.
    pub norm: Norm,
    /// How far from the clean image.
    pub eps: Budget,
}

impl Threat {
    /// All images within a radius.
    pub fn within(norm: Norm, radius: Ratio) -> Threat {
        Threat { norm, eps: Budget::Within(radius) }
    }

    /// The radius.
    ///
    /// # Errors
    /// Where there is none.
    pub fn radius(&self) -> Result<Ratio, String> {
        self.eps.radius().ok_or_else(|| {
            "needs a budget, not a minimal threat (hint: `ddn` and `fmn` look for the least distance)".into()
        })
    }

    /// `eps` as it stands in tables: in grey levels for Linf, else as a decimal or whole number; `minimal, 2000 passes`.
    pub fn eps_text(&self) -> String {
        match (self.eps, self.norm) {
            (Budget::Within(radius), Norm::Linf) => radius.in_grey_levels(),
            (Budget::Within(radius), _) => radius.to_string(),
            (Budget::Minimal { passes }, _) => format!("{MINIMAL}, {passes} passes"),
        }
    }

    /// `Linf 8/255`, `3 pixels`, `10 % of the area`, `any image`.
    pub fn caption(&self) -> String {
        let eps = self.eps_text();
        match self.norm {
            Norm::Pixels if eps == "1" => "1 pixel".to_string(),
            Norm::Pixels => format!("{eps} pixels"),
            Norm::Patch => format!("{} of the area", self.percent()),
            Norm::Any => "any image".to_string(),
            Norm::L0 if eps == "1" => "L0 1 component".to_string(),
            Norm::L0 if !self.eps.is_minimal() => format!("L0 {eps} components"),
            norm => format!("{} {eps}", norm.terms().title.unwrap_or(norm.name())),
        }
    }

    /// `eps` as a share, `12.5 %`.
    pub fn percent(&self) -> String {
        format!("{} %", (1e4 * self.eps.to_f64()).round() / 100.0)
    }
}

/// What stands in the place of a radius where there is none.
const MINIMAL: &str = "minimal";

/// A threat on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredThreat {
    norm: Norm,
    eps: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    passes: Option<u64>,
}

impl From<Threat> for StoredThreat {
    fn from(threat: Threat) -> StoredThreat {
        match threat.eps {
            Budget::Within(_) => StoredThreat { norm: threat.norm, eps: threat.eps_text(), passes: None },
            Budget::Minimal { passes } => StoredThreat { norm: threat.norm, eps: MINIMAL.into(), passes: Some(passes) },
        }
    }
}

impl TryFrom<StoredThreat> for Threat {
    type Error = String;

    fn try_from(StoredThreat { norm, eps, passes }: StoredThreat) -> Result<Threat, String> {
        match (passes, Ratio::parse(&eps)) {
            (Some(passes), None) if eps == MINIMAL => Ok(Threat { norm, eps: Budget::Minimal { passes } }),
            (None, Some(radius)) => Ok(Threat::within(norm, radius)),
            _ => Err(format!("eps `{eps}` is no number")),
        }
    }
}

/// What an attack wants: any wrong class, or one class chosen by a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Goal {
    /// Any class but the label.
    Untargeted,
    /// This class.
    Class(usize),
    /// The class after the label, cyclically.
    Next,
    /// The class with the lowest clean logit.
    LeastLikely,
    /// A class other than the label, uniform by seed.
    Random,
}

impl Goal {
    /// Reads `untargeted`, `target:3`, `target:next`, `target:least-likely`, `target:random`.
    pub fn parse(text: &str) -> Option<Goal> {
        match text.strip_prefix("target:") {
            None => (text == "untargeted").then_some(Goal::Untargeted),
            Some("next") => Some(Goal::Next),
            Some("least-likely") => Some(Goal::LeastLikely),
            Some("random") => Some(Goal::Random),
            Some(n) => n.parse().ok().filter(|_| n.bytes().all(|b| b.is_ascii_digit())).map(Goal::Class),
        }
    }

    /// Name in sweep files and tables.
    pub fn name(&self) -> String {
        match self {
            Goal::Untargeted => "untargeted".into(),
            Goal::Class(t) => format!("target:{t}"),
            Goal::Next => "target:next".into(),
            Goal::LeastLikely => "target:least-likely".into(),
            Goal::Random => "target:random".into(),
        }
    }

    /// Whether a class is to be reached, not only one to be left.
    pub fn is_targeted(&self) -> bool {
        *self != Goal::Untargeted
    }

    /// The one class that all images are to be taken for; `None`: there is none.
    pub fn class(&self) -> Option<usize> {
        match self {
            Goal::Class(class) => Some(*class),
            _ => None,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl From<Goal> for String {
    fn from(goal: Goal) -> String {
        goal.name()
    }
}

impl TryFrom<String> for Goal {
    type Error = String;

    fn try_from(text: String) -> Result<Goal, String> {
        Goal::parse(&text).ok_or_else(|| format!("unknown goal `{text}`"))
    }
}

/// Whether a cell is attacked by itself, or goes on from smaller budgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Attacked at its budget alone.
    At,
    /// What broke at one of these smaller budgets counts, ascending; the others were attacked on from where the largest of
    /// them left off.
    Within(Vec<Ratio>),
}

impl Mode {
    /// Names in sweep files and tables.
    pub const NAMES: [&str; 2] = ["at", "within"];

    /// Name in sweep files and tables, without the smaller budgets.
    pub fn name(&self) -> &'static str {
        match self {
            Mode::At => "at",
            Mode::Within(_) => "within",
        }
    }

    /// Whether images that broke at a smaller budget count here.
    pub fn carries(&self) -> bool {
        matches!(self, Mode::Within(smaller) if !smaller.is_empty())
    }

    /// As it is stored: `at`, or `within 1/255 2/255`.
    pub fn text(&self, norm: Norm) -> String {
        let smaller: &[Ratio] = if let Mode::Within(smaller) = self { smaller } else { &[] };
        let texts = smaller.iter().map(|radius| Threat::within(norm, *radius).eps_text());
        [self.name().to_string()].into_iter().chain(texts).collect::<Vec<_>>().join(" ")
    }

    /// Reads what [`Mode::text`] writes.
    pub fn parse(text: &str) -> Option<Mode> {
        let mut words = text.split(' ');
        match (words.next(), words.map(Ratio::parse).collect::<Option<Vec<_>>>()?) {
            (Some("at"), smaller) if smaller.is_empty() => Some(Mode::At),
            (Some("within"), smaller) => Some(Mode::Within(smaller)),
            _ => None,
        }
    }
}

/// What is stored and judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WitnessKind {
    /// 8-bit images, exact membership.
    U8,
    /// Float images, membership up to 1e-6.
    F32,
}

impl WitnessKind {
    /// Every one.
    pub const ALL: [WitnessKind; 2] = [WitnessKind::U8, WitnessKind::F32];

    /// Name in sweep files and tables.
    pub fn name(self) -> &'static str {
        match self {
            WitnessKind::U8 => "u8",
            WitnessKind::F32 => "f32",
        }
    }
}

impl fmt::Display for WitnessKind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an attack meets the defence of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Through {
    /// Not at all: it asks the bare network, as one that does not know of the defence.
    Straight,
    /// Through it; on the way back a stage without a derivative is the identity (BPDA, Athalye et al. 2018, §4.1).
    Bpda,
    /// Through it, by the derivative of every stage.
    Exact,
}

impl Through {
    /// Every one.
    pub const ALL: [Through; 3] = [Through::Straight, Through::Bpda, Through::Exact];

    /// Name in sweep files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Through::Straight => "straight",
            Through::Bpda => "bpda",
            Through::Exact => "exact",
        }
    }
}

/// Number format in which gradients are computed. What is judged is always computed in [`Precision::F32`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// IEEE single precision.
    F32,
    /// Single precision with products of 11 significant bits, on the GPU's tensor cores.
    Tf32,
    /// Values and products of 8 significant bits, sums in single precision.
    Bf16,
}

impl Precision {
    /// Every one.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

    /// Name in sweep files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    /// Bytes of a value of a map.
    pub fn bytes(self) -> usize {
        if self == Precision::Bf16 { 2 } else { 4 }
    }

    /// By how much logits may be off, as a share of the largest: the unit roundoff times 24, for the rounding of two
    /// factors in each of up to 19 layers, which adds up as √38 ≈ 6, and a factor of 4 to be safe. 0 stands for what
    /// the judge computes with itself.
    pub fn logit_error(self) -> f32 {
        match self {
            Precision::F32 => 0.0,
            Precision::Tf32 => 24.0 / 2048.0,
            Precision::Bf16 => 24.0 / 256.0,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored<T: Serialize>(term: &T) -> String {
        serde_json::to_string(term).unwrap()
    }

    #[test]
    fn every_term_is_read_back_from_its_text() {
        for norm in Norm::all() {
            assert_eq!(stored(&norm), format!("\"{}\"", norm.name()));
            for eps in ["8/255", "0.5", "3", "1/3"] {
                let radius = Ratio::parse(eps).unwrap();
                let threat = Threat::within(norm, radius);
                assert_eq!(serde_json::from_str::<Threat>(&stored(&threat)).unwrap(), threat);
                let mode = Mode::Within(vec![radius; 2]);
                assert_eq!(Mode::parse(&mode.text(norm)), Some(mode));
            }
        }
        for witness in WitnessKind::ALL {
            assert_eq!(stored(&witness), format!("\"{witness}\""));
        }
        for precision in Precision::ALL {
            assert_eq!(stored(&precision), format!("\"{precision}\""));
        }
        for name in ["untargeted", "target:3", "target:next", "target:least-likely", "target:random"] {
            let goal = Goal::parse(name).unwrap();
            assert_eq!((goal.name().as_str(), stored(&goal)), (name, format!("\"{name}\"")));
        }
        for name in ["", "target:", "target:-1", "target:+1", "target:x", "Untargeted"] {
            assert_eq!(Goal::parse(name), None, "{name}");
        }
        for text in ["", "at 1", "within x", "beside"] {
            assert_eq!(Mode::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_radius_beyond_the_range_of_a_pixel_is_refused() {
        assert!(Norm::Linf.budget("8").unwrap_err().contains("8/255"));
        assert_eq!(Norm::Linf.budget("1"), Ok(Ratio::parse("1").unwrap()));
        assert!(Norm::L2.budget("8").is_ok());
    }

    #[test]
    fn grey_levels_are_told_as_such() {
        let threat = |norm, eps: &str| Threat::within(norm, Ratio::parse(eps).unwrap());
        assert_eq!(stored(&threat(Norm::Linf, "1/51")), r#"{"norm":"linf","eps":"5/255"}"#);
        let minimal = Threat { norm: Norm::L2, eps: Budget::Minimal { passes: 2000 } };
        assert_eq!(stored(&minimal), r#"{"norm":"l2","eps":"minimal","passes":2000}"#);
        assert_eq!(serde_json::from_str::<Threat>(&stored(&minimal)).unwrap(), minimal);
        for damaged in [r#"{"norm":"l2","eps":"minimal"}"#, r#"{"norm":"l2","eps":"0.5","passes":2000}"#] {
            assert!(serde_json::from_str::<Threat>(damaged).is_err(), "{damaged}");
        }
        assert_eq!(threat(Norm::Linf, "1/51").caption(), "Linf 5/255");
        assert_eq!(threat(Norm::L2, "1/2").caption(), "L2 0.5");
        assert_eq!(threat(Norm::Pixels, "1").caption(), "1 pixel");
        assert_eq!(threat(Norm::Patch, "1/8").caption(), "12.5 % of the area");
        assert_eq!(Mode::Within(vec![Ratio::parse("1/51").unwrap()]).text(Norm::Linf), "within 5/255");
    }
}
