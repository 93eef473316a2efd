//! The sweep file: blocks, each a full product of models, goals, threats and attacks over one data subset.

use super::asked::Asked;
use super::model_file::is_sha256;
use super::reader::{self, At, Problems, Table};

/// A sweep file as written.
#[derive(Debug, Clone)]
pub struct SweepFile {
    /// Name of the folder below `results/`.
    pub name: String,
    /// Seed of every random choice.
    pub seed: u64,
    /// In order.
    pub blocks: Vec<Block>,
    /// In order.
    pub figures: Vec<FigureSpec>,
}

/// One `[figure]` or `[[figure]]`.
#[derive(Debug, Clone)]
pub struct FigureSpec {
    /// Line it begins on.
    pub line: usize,
    /// The chart it is about; all if not given.
    pub kind: Option<At<String>>,
    /// Name of its files.
    pub name: Option<At<String>>,
    /// `column` or `page`.
    pub width: Option<At<String>>,
    /// Size of type in points.
    pub font: Option<At<f64>>,
    /// Name of a palette.
    pub palette: Option<At<String>>,
    /// What texts are called instead.
    pub labels: Vec<(String, String)>,
    /// What is shown, and how many panels side by side.
    pub panels: PanelSpec,
}

/// `panels = { models, attacks, norms, eps, columns }`.
#[derive(Debug, Clone, Default)]
pub struct PanelSpec {
    /// Models shown; empty: all.
    pub models: Vec<At<String>>,
    /// Attacks shown; empty: all.
    pub attacks: Vec<At<String>>,
    /// Norms shown; empty: all.
    pub norms: Vec<At<String>>,
    /// Budgets shown; empty: all.
    pub eps: Vec<At<String>>,
    /// Panels side by side.
    pub columns: Option<At<u64>>,
}

/// One `[[sweep]]`.
#[derive(Debug, Clone)]
pub struct Block {
    /// Line it begins on.
    pub line: usize,
    /// Names of models or paths of model files.
    pub models: Vec<At<String>>,
    /// The images.
    pub data: Option<DataSpec>,
    /// `untargeted`, `target:…`.
    pub goals: Vec<At<String>>,
    /// Norms with their budgets.
    pub threats: Vec<ThreatSpec>,
    /// Attacks with their parameters.
    pub attacks: Vec<AttackSpec>,
    /// `at` if not given.
    pub mode: At<String>,
    /// `u8` if not given.
    pub witness: At<String>,
    /// `f32` if not given.
    pub precision: At<String>,
    /// How attacks meet a defence; as `bpda` if not given.
    pub through: Vec<At<String>>,
    /// Draws of a random defence that a gradient is the mean of.
    pub eot: Option<At<u64>>,
    /// Probability that a success must have for the search to end; any if not given.
    pub confidence: Option<At<String>>,
    /// What universal attacks are fitted to.
    pub train: Option<TrainSpec>,
    /// Models that judge the witnesses too.
    pub transfer_to: Vec<At<String>>,
    /// Images of each cell on which its attack is put to the binarisation test.
    pub binarise: Option<At<u64>>,
    /// Whether predictions are explained by maps, and by which.
    pub explain: Option<ExplainSpec>,
}

/// `explain = true`, or `{ layer = "features.18" }`.
#[derive(Debug, Clone)]
pub struct ExplainSpec {
    /// Line it stands on.
    pub line: usize,
    /// The layer whose maps explain; the model's usual one if not given.
    pub layer: Option<String>,
}

/// `train = { models, name, split, … }`: the keys of `data`, and the nets.
#[derive(Debug, Clone)]
pub struct TrainSpec {
    /// Line it stands on.
    pub line: usize,
    /// One net or an ensemble; empty: the attacked net itself.
    pub models: Vec<At<String>>,
    /// The images.
    pub data: DataSpec,
}

/// `data = { name, split, first, every, take, shuffle, indices, path, resize, allow_empty, corruption, severity }`, and the keys of a
/// [`TableSpec`].
#[derive(Debug, Clone)]
pub struct DataSpec {
    /// Name in the registry.
    pub name: At<String>,
    /// The dataset's first split if not given.
    pub split: Option<At<String>>,
    /// 0 if not given.
    pub first: usize,
    /// 1 if not given; not 0.
    pub every: usize,
    /// All if not given.
    pub take: Option<usize>,
    /// Seed of the order; the split's own if not given.
    pub shuffle: Option<u64>,
    /// In place of the four above.
    pub indices: Option<Vec<usize>>,
    /// Folder of the pictures, for datasets that are one.
    pub path: Option<At<String>>,
    /// Length of the short side of what is cut from pictures, before the cut.
    pub resize: Option<At<usize>>,
    /// Whether a class folder without pictures is a class all the same.
    pub allow_empty: Option<At<bool>>,
    /// What the images suffer: names, or words for several.
    pub corruption: Vec<At<String>>,
    /// At which severities; empty: all.
    pub severity: Vec<u64>,
    /// For the dataset of parquet files.
    pub table: TableSpec,
}

/// Which parquet files, and what is in them.
#[derive(Debug, Clone, Default)]
pub struct TableSpec {
    /// On the Hub: `owner/name`.
    pub repository: Option<At<String>>,
    /// Commit, branch or tag there.
    pub revision: Option<At<String>>,
    /// Path of the files, with `*`.
    pub files: Option<At<String>>,
    /// Column of pictures.
    pub image: Option<At<String>>,
    /// Column of labels.
    pub label: Option<At<String>>,
    /// How many, where the files do not name them.
    pub classes: Option<At<u64>>,
    /// Of the files, in order.
    pub sha256: Vec<At<String>>,
}

impl TableSpec {
    /// The keys that are given, each with its line.
    pub fn given(&self) -> Vec<(&'static str, usize)> {
        let texts = [
            ("repository", &self.repository),
            ("revision", &self.revision),
            ("files", &self.files),
            ("image", &self.image),
            ("label", &self.label),
        ];
        let lines = texts.into_iter().filter_map(|(key, text)| Some((key, text.as_ref()?.line)));
        let count = self.classes.iter().map(|c| ("classes", c.line));
        lines.chain(count).chain(self.sha256.iter().take(1).map(|s| ("sha256", s.line))).collect()
    }
}

/// `{ norm, eps = [..] }`, with `count` in place of `eps` for pixels, `area` for patches, and neither for `any`.
#[derive(Debug, Clone)]
pub struct ThreatSpec {
    /// Name of the norm.
    pub norm: At<String>,
    /// `None`: no budget is given.
    pub budgets: Option<Budgets>,
    /// `minimal = true, passes = 2000`: passes of the net in which the least distance is looked for.
    pub minimal: Option<At<u64>>,
}

/// Key and exact budgets, as text.
type Budgets = (&'static str, Vec<At<String>>);

/// What budgets are called: radius, number of pixels, share of the image.
const BUDGET_KEYS: [&str; 3] = ["eps", "count", "area"];

/// `{ name, … }`.
#[derive(Debug, Clone)]
pub struct AttackSpec {
    /// Name in the registry.
    pub name: At<String>,
    /// Everything else, values as text; several values of a parameter stand for as many attacks.
    pub params: Vec<(At<String>, Vec<String>)>,
}

impl SweepFile {
    /// Reads a sweep file; what is wrong goes to `problems`, what is right is returned all the same, so that names can
    /// be checked too.
    pub fn parse(problems: &Problems) -> SweepFile {
        reader::read(problems, SweepFile::read)
    }

    /// All that a sweep file may say.
    pub fn asked() -> Asked {
        reader::ask(SweepFile::read)
    }

    fn read(top: &Table) -> SweepFile {
        let name = top.required_text("name");
        if let Some(name) = name.as_ref().filter(|n| !is_folder_name(&n.value)) {
            top.problem(
                name.line,
                format!(
                    "`name` becomes a folder: use letters, digits, `-`, `_`, `.`, {MOST_LETTERS} at most, and begin with a \
                     letter or digit"
                ),
            );
        }
        let seed = top.count("seed").map_or(0, |s| s.value);
        let mut blocks = Vec::new();
        top.tables("sweep", |table| blocks.push(Block::parse(table)));
        let mut figures = Vec::new();
        top.table_or_tables("figure", |table| figures.push(FigureSpec::parse(table)));
        SweepFile { name: name.map_or(String::new(), |n| n.value), seed, blocks, figures }
    }
}

/// What a threat is measured by: its budgets, or the passes of a minimal one, 2000 where it names none (AttackBench, Cinà et al.
/// 2025). `None`: a problem was told.
fn budgets(t: &Table) -> Option<(Option<Budgets>, Option<At<u64>>)> {
    const PASSES: u64 = 2000;
    let read = |key: &'static str| if key == "count" { t.scalars(key) } else { t.texts(key) };
    let given: Vec<&'static str> = BUDGET_KEYS.into_iter().filter(|key| t.has(key)).collect();
    if given.len() > 1 && !t.is_asking() {
        t.problem(t.line, format!("a threat has one kind of budget, not `{}`", given.join("` and `")));
        return None;
    }
    let budgets: Vec<Budgets> = given.into_iter().map(|key| (key, read(key))).collect();
    let budgets = budgets.into_iter().next();
    let (is_minimal, passes) = (t.flag("minimal"), t.count("passes"));
    t.range("passes", 2, u64::MAX);
    if t.has("minimal") != is_minimal.is_some() || t.has("passes") != passes.is_some() {
        return None; // of another kind than it should be
    }
    let minimal = match (is_minimal.is_some_and(|flag| flag.value), passes) {
        (true, Some(passes)) if passes.value < 2 => {
            t.problem(passes.line, "`passes` is less than one forward and one back (hint: passes = 2000)");
            return None;
        }
        (true, passes) => Some(passes.unwrap_or(At { value: PASSES, line: t.line })),
        (false, Some(passes)) => {
            t.problem(passes.line, "`passes` belongs to a minimal threat (hint: minimal = true)");
            return None;
        }
        (false, None) => None,
    };
    Some((budgets, minimal))
}

impl Block {
    fn parse(table: &Table) -> Block {
        let or = |key, default: &str| table.text(key).unwrap_or(At { value: default.into(), line: table.line });
        let mut threats = Vec::new();
        table.tables("threats", |t| {
            let norm = t.required_text("norm");
            let budgets = budgets(t);
            threats.extend(norm.zip(budgets).map(|(norm, (budgets, minimal))| ThreatSpec { norm, budgets, minimal }));
        });
        let mut attacks = Vec::new();
        table.tables("attacks", |t| {
            let name = t.required_text("name");
            let params = t.rest();
            t.leave_rest();
            attacks.extend(name.map(|name| AttackSpec { name, params }));
        });
        Block {
            line: table.line,
            models: table.texts("models"),
            data: table.required_table("data", DataSpec::parse).flatten(),
            goals: table.texts("goals"),
            threats,
            attacks,
            mode: or("mode", "at"),
            witness: or("witness", "u8"),
            precision: or("precision", "f32"),
            through: table.text_or_texts("through"),
            eot: {
                table.range("eot", 1, MOST_DRAWS);
                table.count("eot")
            },
            confidence: table.text("confidence"),
            train: table.table("train", TrainSpec::parse).flatten(),
            transfer_to: if table.has("transfer_to") { table.texts("transfer_to") } else { Vec::new() },
            binarise: {
                table.range("binarise", 1, u64::MAX);
                table.count("binarise")
            },
            explain: ExplainSpec::parse(table),
        }
    }
}

impl ExplainSpec {
    fn parse(table: &Table) -> Option<ExplainSpec> {
        let layer = |t: &Table| Some(ExplainSpec { line: t.line, layer: Some(t.required_text("layer")?.value) });
        table.table_or_flag("explain", layer, |line| ExplainSpec { line, layer: None })
    }
}

impl FigureSpec {
    fn parse(table: &Table) -> FigureSpec {
        let name = table.text("name");
        if let Some(name) = name.as_ref().filter(|n| !is_folder_name(&n.value)) {
            let rule = "use letters, digits, `-`, `_`, `.`, and begin with a letter or digit";
            table.problem(name.line, format!("`name` becomes the name of files: {rule}"));
        }
        let labels = table.table("labels", |t| {
            let mut labels = Vec::new();
            for (text, mut values) in t.rest() {
                match values.len() {
                    1 => labels.extend(values.pop().map(|value| (text.value, value))),
                    n => t.problem(text.line, format!("label `{}`: one text, not {n}", text.value)),
                }
            }
            t.leave_rest();
            labels
        });
        FigureSpec {
            line: table.line,
            kind: table.text("kind"),
            name,
            width: table.text("width"),
            font: table.number("font"),
            palette: table.text("palette"),
            labels: labels.unwrap_or_default(),
            panels: table.table("panels", PanelSpec::parse).unwrap_or_default(),
        }
    }
}

impl PanelSpec {
    fn parse(table: &Table) -> PanelSpec {
        let texts = |key| if table.has(key) { table.scalars(key) } else { Vec::new() };
        PanelSpec {
            models: texts("models"),
            attacks: texts("attacks"),
            norms: texts("norms"),
            eps: texts("eps"),
            columns: table.count("columns"),
        }
    }
}

impl TrainSpec {
    fn parse(table: &Table) -> Option<TrainSpec> {
        let models = if table.has("models") { table.texts("models") } else { Vec::new() };
        Some(TrainSpec { line: table.line, models, data: DataSpec::parse(table)? })
    }
}

impl DataSpec {
    pub(super) fn parse(table: &Table) -> Option<DataSpec> {
        let (name, split) = (table.required_text("name"), table.text("split"));
        let (first, every, take) = (table.count("first"), table.count("every"), table.count("take"));
        table.range("every", 1, u64::MAX);
        table.range("take", 1, u64::MAX);
        let (path, resize) = (table.text("path"), table.count("resize"));
        let shuffle = table.count("shuffle").map(|seed| seed.value);
        let indices = table.has("indices").then(|| table.counts("indices"));
        let place = [("first", &first), ("every", &every), ("take", &take)].into_iter().find(|(_, n)| n.is_some());
        let beside = place.map(|(key, _)| key).or(shuffle.map(|_| "shuffle"));
        if let (Some(key), Some(_)) = (beside, &indices) {
            table.problem(
                table.line,
                format!("`indices` says which images there are: it goes without `{key}` (hint: remove one of the two)"),
            );
        }
        let sha256 = if table.has("sha256") { table.texts("sha256") } else { Vec::new() };
        for hash in sha256.iter().filter(|h| !is_sha256(&h.value)) {
            table.problem(hash.line, "`sha256`: expected 64 lower-case hexadecimal digits");
        }
        if let Some(every) = every.as_ref().filter(|e| e.value == 0) {
            table.problem(every.line, "`every` is the step from one image to the next: 1 at least");
        }
        if let Some(take) = take.as_ref().filter(|t| t.value == 0) {
            table.problem(take.line, "`take` is the number of images: 1 at least (hint: without it, all)");
        }
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let rest = TableSpec {
            repository: table.text("repository"),
            revision: table.text("revision"),
            files: table.text("files"),
            image: table.text("image"),
            label: table.text("label"),
            classes: table.count("classes"),
            sha256,
        };
        let allow_empty = table.flag("allow_empty");
        table.range("severity", 1, 5);
        let (corruption, severity) = (table.text_or_texts("corruption"), table.count_or_counts("severity"));
        Some(DataSpec {
            name: name?,
            split,
            first: first.map_or(0, |n| size(n.value)),
            every: every.map_or(1, |n| size(n.value).max(1)),
            take: take.map(|n| size(n.value)),
            shuffle,
            indices: indices.map(|all| all.into_iter().map(size).collect()),
            path,
            resize: resize.map(|n| At { value: size(n.value), line: n.line }),
            allow_empty,
            corruption,
            severity,
            table: rest,
        })
    }
}

/// More draws a gradient are a slip of the pen.
pub const MOST_DRAWS: u64 = 10_000;

/// A folder's name may have 255 bytes; `-first-N` and endings of files come behind this one.
const MOST_LETTERS: usize = 100;

/// Names that are made are shorter, to be read and written by people.
const MOST_LETTERS_MADE: usize = 60;

/// A name of a run made of a text: what no folder may be called becomes `-`. `otherwise` where nothing is left.
pub fn folder_name(text: &str, otherwise: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = text.chars().map(safe).take(MOST_LETTERS_MADE).collect();
    let name = name.trim_matches(['-', '_', '.']);
    if name.is_empty() { otherwise.into() } else { name.into() }
}

/// Safe as one folder name on every system.
fn is_folder_name(name: &str) -> bool {
    name.len() <= MOST_LETTERS
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
