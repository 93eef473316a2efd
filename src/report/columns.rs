//! What each column of each table says, in one line: the manual's tables of columns are written from this, and a test holds
//! it to the headings that a run writes (`tests/docs.rs`). Those of `outcomes.csv` stand at
//! [`Outcome`](crate::record::Outcome).

/// A table with a line for each of its columns.
pub struct Described {
    /// Path below the run (or its export) without extension.
    pub table: &'static str,
    /// When it is written, and what a row is.
    pub rows: &'static str,
    /// Columns in order, each with what it says.
    pub columns: &'static [(&'static str, &'static str)],
}

/// Every table of a report.
pub const TABLES: &[Described] = &[
    SUMMARY,
    WORST_CASE,
    IMAGES,
    CORRUPTIONS,
    CORRUPTION_MEAN,
    DEFENCES,
    BINARISED,
    DISTANCES,
    STAGES,
    TARGETS,
    CONFUSION,
    CLASS_MAX,
    TRANSFER,
    EXPLAIN,
    SANITY,
];

const CELL: (&str, &str) = ("cell", "id of the cell: the name of its folder below `cells/`");
const MODEL: (&str, &str) = ("model", "the attacked network");
const DATASET: (&str, &str) = ("dataset", "dataset, split and images: `cifar10:test[0..1000]`");
const ATTACK: (&str, &str) = ("attack", "the attack");
const PARAMS: (&str, &str) = ("params", "all its parameters: `steps=10;step_size=2.5*eps/steps`");
const NORM: (&str, &str) = ("norm", "`linf`, `l2`, `l1`, `l0`, `pixels`, `patch` or `any`");
const EPS: (&str, &str) = ("eps", "the budget, exact, as the sweep file has it");
const GOAL: (&str, &str) = ("goal", "`untargeted` or `target:…`");
const MODE: (&str, &str) = ("mode", "`at` or `within`");
const WITNESS: (&str, &str) = ("witness", "`u8`: the 8-bit image was judged; `f32`: the float image was");
const PRECISION: (&str, &str) = ("precision", "number format of the gradients");
const EXAMPLE: (&str, &str) = ("example", "index of the image in its split");
const WEIGHTS_PINNED: (&str, &str) = (
    "weights_pinned",
    "`no` where no model file names the weights by their SHA-256, or where it leaves the description to a repository without naming a commit",
);
const DATA_PINNED: (&str, &str) =
    ("data_pinned", "`no` where nothing names the files of the Hub that the images come from by their SHA-256");

const SUMMARY: Described = Described {
    table: "tables/summary",
    rows: "One row per cell.",
    columns: &[
        CELL,
        MODEL,
        DATASET,
        ("n", "number of images; those whose label is already the target are left out"),
        ATTACK,
        PARAMS,
        NORM,
        EPS,
        GOAL,
        MODE,
        WITNESS,
        PRECISION,
        ("status", "`ok`; `failed`: `error` says why, and there are no rates; `missing`: not computed yet"),
        ("clean_correct", "images that were right before the attack"),
        ("robust_correct", "images that were right before the attack and not fooled"),
        ("clean_accuracy", "`clean_correct` of `n`"),
        ("robust_accuracy", "`robust_correct` of `n`"),
        ("robust_low", "95 % Wilson interval of `robust_accuracy`, lower bound"),
        ("robust_high", "the same, upper bound"),
        ("attack_success_rate", "fooled images, of `clean_correct`"),
        ("error_rate", "images that are wrong after the attack, of `n`, whatever the prediction was before"),
        ("median_linf_255", "median over the fooled images of the largest change, in grey levels"),
        ("median_l2", "median over the fooled images of the Euclidean length of the change, with pixels in [0,1]"),
        ("forwards", "mean number of forward passes per attacked image, including those of the judge"),
        ("backwards", "mean number of gradient passes per attacked image"),
        (
            "zero_gradient",
            "share of the attacked images for which a gradient was zero everywhere: a warning that the attack was blind",
        ),
        WEIGHTS_PINNED,
        DATA_PINNED,
        ("error", "why the cell failed"),
    ],
};

/// Of `worst-case.csv`.
pub const WORST_CASE: Described = Described {
    table: "tables/worst-case",
    rows: "The answer of the sweep: one row for each budget at which two attacks or more have a complete cell. It is no cell, and \
           nothing counts it as one.",
    columns: &[
        MODEL,
        DATASET,
        NORM,
        EPS,
        GOAL,
        WITNESS,
        ("attacks", "names of the attacks, each once, with spaces between"),
        ("cells", "ids of the cells, with spaces between"),
        ("lacking", "cells of this budget that failed or are missing: the network may be weaker than this"),
        ("n", "number of images"),
        ("clean_correct", "images that were right before the attacks"),
        ("robust_correct", "images that were right before and that none of the cells fooled"),
        ("clean_accuracy", "`clean_correct` of `n`"),
        ("robust_accuracy", "`robust_correct` of `n`"),
        ("robust_low", "95 % Wilson interval of `robust_accuracy`, lower bound"),
        ("robust_high", "the same, upper bound"),
    ],
};

/// Of `corruptions.csv`.
const CORRUPTIONS: Described = Described {
    table: "tables/corruptions",
    rows: "One row per complete cell of images that suffered a corruption.",
    columns: &[
        CELL,
        MODEL,
        DATASET,
        ("corruption", "what the images suffered before they were attacked; `-like`: made here"),
        ("severity", "from 1 to 5"),
        ATTACK,
        PARAMS,
        NORM,
        EPS,
        GOAL,
        ("n", "images"),
        ("clean_accuracy", "images that are right before the attack, of `n`"),
        ("clean_low", "95 % Wilson interval, lower bound"),
        ("clean_high", "the same, upper bound"),
        ("robust_accuracy", "images that are right before and after the attack, of `n`"),
        ("robust_low", "95 % Wilson interval, lower bound"),
        ("robust_high", "the same, upper bound"),
    ],
};

/// Of `corruption-mean.csv`.
const CORRUPTION_MEAN: Described = Described {
    table: "tables/corruption-mean",
    rows: "One row per network on corrupted images, alone and under each attack besides.",
    columns: &[
        MODEL,
        ("dataset", "name of the dataset"),
        ("images", "the images before anything happened to them"),
        ("attack", "name of the attack; empty: none"),
        ("params", "its parameters"),
        NORM,
        EPS,
        GOAL,
        MODE,
        WITNESS,
        PRECISION,
        ("train", "images that the attack was fitted to; empty: none"),
        ("n", "images"),
        (
            "corruptions",
            "corruptions that the mean is over: of the common fifteen those that are there, else the extra ones",
        ),
        ("cells", "cells that it is over"),
        ("whole", "`yes`: fifteen corruptions at five severities, as RobustBench reports it"),
        ("mean_accuracy", "mean of the accuracies, each with the same weight"),
        ("mean_low", "95 % interval over images, lower bound"),
        ("mean_high", "the same, upper bound"),
        ("mce", "mean corruption error: errors by those of AlexNet; of all sets of `imagenet-c`, without an attack"),
    ],
};

/// Of `binarised.csv`.
const BINARISED: Described = Described {
    table: "tables/binarised",
    rows: "One row per cell whose attack was put to the binarisation test (`binarise`).",
    columns: &[
        CELL,
        MODEL,
        DATASET,
        ATTACK,
        PARAMS,
        NORM,
        EPS,
        ("images", "images that it was put to"),
        (
            "separated",
            "of these, with a readout that tells the point to be found from the others: only they say something",
        ),
        ("fooled", "of these, on which the attack found what is there to be found"),
        ("success_rate", "`fooled` of `separated`: an attack that is equal to the network reaches nearly 1"),
        ("success_low", "95 % Wilson interval, lower bound"),
        ("success_high", "the same, upper bound"),
        ("guessed", "of `separated`, on which one of 400 guesses found it"),
        ("guess_rate", "`guessed` of `separated`: near 1 the test is too easy to say anything"),
    ],
};

/// Of `defences.csv`.
const DEFENCES: Described = Described {
    table: "tables/defences",
    rows: "One row per complete cell of a network with a defence.",
    columns: &[
        CELL,
        MODEL,
        ("defence", "what stands before the network, with all constants"),
        DATASET,
        ATTACK,
        ("params", "parameters of the attack, without how it meets the defence"),
        NORM,
        EPS,
        GOAL,
        ("through", "`straight`: blind; `bpda`, `exact`: through the defence"),
        ("eot", "draws that a gradient is the mean of; empty: nothing that is asked is random"),
        ("votes", "draws whose majority is what the network says; empty: the defence is not random"),
        ("split_votes", "images with the flag `split-vote`: other draws may decide otherwise"),
        ("n", "images"),
        ("robust_correct", "images that are right before and after the attack"),
        ("clean_accuracy", "images that are right before it, of `n`"),
        ("robust_accuracy", "`robust_correct` of `n`"),
        ("robust_low", "95 % Wilson interval, lower bound"),
        ("robust_high", "the same, upper bound"),
        ("bare_model", "the same network with nothing before it; empty: the run has no such cell"),
        ("bare_cell", "id of the cell of the same attack on that"),
        ("bare_robust_accuracy", "its `robust_accuracy`"),
        ("left_over_bare", "the difference"),
        ("binarised", "images of the binarisation test with a readout; empty: the attack was not put to it"),
        ("binarised_fooled", "of these, on which the attack found what is there to be found"),
        ("binarised_guessed", "of these, on which guesses found it"),
    ],
};

pub const DISTANCES: Described = Described {
    table: "tables/distances",
    rows: "One row per complete cell of a minimal threat; written only if there are any.",
    columns: &[
        CELL,
        MODEL,
        ATTACK,
        ("norm", "norm of the distances: `linf`, `l2` or `l1`, with pixels in [0,1], or `l0`, in components"),
        ("n", "images that were right before, and so attacked"),
        ("failed", "of these, images that the attack did not fool"),
        (
            "q25",
            "first quartile of the least distances of the `n` images: the one at place ⌊n/4⌋, counted from 0, where images that \
             were not fooled are infinitely far; empty where it falls on one of those",
        ),
        ("q50", "the same at place ⌊n/2⌋: the median"),
        ("q75", "the same at place ⌊3n/4⌋"),
    ],
};

/// Of `stages.csv`.
pub const STAGES: Described = Described {
    table: "tables/stages",
    rows: "One row per stage of an attack that runs others one after the other, each on the images that stand; written only if \
           there are any. The only table that holds a time, so two runs of one sweep may differ in it.",
    columns: &[
        CELL,
        MODEL,
        ATTACK,
        ("stage", "the attack of the stage"),
        ("standing", "images that stand after it, of those that were attacked"),
        ("passes", "forward and gradient passes spent on all images until its end, including those of the judge"),
        ("seconds", "from the beginning of the attack to the end of the stage; of the machine, not of the attack"),
    ],
};

const IMAGES: Described = Described {
    table: "tables/images",
    rows: "One row per image and cell.",
    columns: &[
        CELL,
        EXAMPLE,
        ("label", "true class; empty for a blank canvas"),
        ("clean_prediction", "class predicted before the attack"),
        ("adversarial_prediction", "class predicted for the witness"),
        ("success", "whether the image was right before and fooled after"),
        ("linf_255", "largest change in grey levels"),
        ("l2", "Euclidean length of the change, with pixels in [0,1]"),
        ("margin_clean", "the label's logit minus the best other, clean image"),
        ("margin_adversarial", "the same, witness"),
        ("step", "iteration that gave the witness, from 1; 0: the clean image stands"),
        ("restart", "restart that gave the witness, from 0"),
        ("forwards", "forward passes spent on the image, including those of the judge"),
        ("backwards", "gradient passes spent on the image"),
        ("flags", "separated by spaces: see the table of flags"),
        WEIGHTS_PINNED,
        DATA_PINNED,
        (
            "votes",
            "draws of a random defence that are for the class predicted for the witness; empty: nothing was put to the vote",
        ),
        ("votes_low", "lower end of the 95 % interval (Wilson) of their share of all draws"),
        ("votes_high", "upper end"),
    ],
};

const TARGETS: Described = Described {
    table: "tables/targets",
    rows: "One row per targeted cell; written only if there are any.",
    columns: &[
        CELL,
        MODEL,
        ATTACK,
        PARAMS,
        NORM,
        EPS,
        GOAL,
        ("n", "images whose label is not the target"),
        ("target_rate_before", "share for which the target is predicted, clean images"),
        ("target_rate_after", "the same, witnesses"),
        ("target_top5_before", "share for which the target is among the five best, clean images"),
        ("target_top5_after", "the same, witnesses"),
        ("target_low", "95 % Wilson interval of `target_rate_after`, lower bound"),
        ("target_high", "the same, upper bound"),
        ("target_top5_low", "95 % Wilson interval of `target_top5_after`, lower bound"),
        ("target_top5_high", "the same, upper bound"),
        ("label_probability_before", "mean probability of the label, clean images"),
        ("label_probability_after", "the same, witnesses"),
        ("target_probability_before", "mean probability of the target, clean images"),
        ("target_probability_after", "the same, witnesses"),
        ("fitted_to", "networks that a universal attack was fitted to"),
    ],
};

const CONFUSION: Described = Described {
    table: "tables/confusion",
    rows: "Which classes the clean network confuses: one row for each label and prediction that occur together.",
    columns: &[
        MODEL,
        DATASET,
        ("label", "number of the true class"),
        ("label_name", "its name"),
        ("prediction", "number of the predicted class; empty where the logits are not finite"),
        ("prediction_name", "its name"),
        ("count", "images of this label with this prediction"),
        ("of_label", "images of this label"),
    ],
};

const CLASS_MAX: Described = Described {
    table: "tables/class-max",
    rows: "One row per painting of `class-max` and second network that was asked about it.",
    columns: &[
        CELL,
        MODEL,
        ("class", "number of the painted class"),
        ("name", "its name"),
        ("recipe", "what keeps the picture from being noise"),
        ("objective", "what was maximised"),
        PARAMS,
        ("seed", "seed of the sweep"),
        ("canvas", "number of the start"),
        ("steps", "steps of the run"),
        ("logit", "logit of the class"),
        ("probability", "probability of the class"),
        ("rank", "number of classes that score higher"),
        ("second_model", "another network that was asked (`transfer_to`)"),
        ("second_probability", "probability of the class there"),
        ("second_rank", "number of classes that score higher there"),
        ("objective_curve", "the objective on the way, as `step:value`"),
    ],
};

const TRANSFER: Described = Described {
    table: "tables/transfer",
    rows: "One row per cell and other network that is shown its witnesses; written with `transfer_to`.",
    columns: &[
        CELL,
        MODEL,
        ATTACK,
        PARAMS,
        NORM,
        EPS,
        GOAL,
        ("transfer_to", "the other network"),
        ("n", "images"),
        ("clean_accuracy", "clean images that the other network has right, of `n`"),
        ("accuracy", "witnesses that it has right, of `n`"),
        ("target_rate", "witnesses that it takes for the target, of `n`"),
        ("label_probability", "mean probability of the label there, witnesses"),
        ("target_probability", "mean probability of the target there, witnesses"),
    ],
};

const EXPLAIN: Described = Described {
    table: "tables/explain",
    rows: "One row per image whose predictions are explained; written with `explain`. Where maps are no squares, their `side` is empty, and two more columns, `height` and `width`, follow.",
    columns: &[
        CELL,
        EXAMPLE,
        ("maximum_clean", "largest value of the clean image's Grad-CAM map"),
        ("maximum_adversarial", "largest value of the witness's map"),
        ("correlation", "Pearson's correlation of the two maps; empty where one is constant"),
        ("share_clean", "share of the clean map's mass on the pixels that the attack changed"),
        ("share_adversarial", "share of the mass of the witness's map on them"),
        (
            "layer",
            "layer whose maps they are, as the weight file names it; empty in maps from before one could be chosen",
        ),
        ("side", "height and width of the maps"),
    ],
};

const SANITY: Described = Described {
    table: "tables/sanity",
    rows: "One row per relation and pair of cells.",
    columns: &[
        ("relation", "what must hold"),
        ("verdict", "`ok`, `suspicious` or `violated`"),
        MODEL,
        ("cell", "id of the cell that is to be no stronger, or that is looked at alone"),
        ("against", "id of the cell that is to be no weaker; empty where the relation is about one cell"),
        ("n", "images compared"),
        ("count", "of these, the images that count in `cell`: fooled, or what `why` says"),
        ("against_count", "the same in `against`"),
        ("only", "images that count in `cell` alone"),
        ("only_against", "images that count in `against` alone"),
        ("p", "chance of a result as bad as this where the relation just holds; empty where no chance is involved"),
        ("p_holm", "the same, corrected for all relations of the run (Holm 1979)"),
        ("why", "one sentence"),
    ],
};

/// What describes the cell in every row of `export --format parquet`; the columns of an outcome follow.
pub const EXPORT: Described = Described {
    table: "export",
    rows: "One row per image and cell.",
    columns: &[
        ("run", "id of the run: the digest of the ids of its cells"),
        CELL,
        MODEL,
        ("network", "all but the weights that decides a logit: architecture, side, normalisation"),
        ("weights", "SHA-256 of the weight file"),
        DATASET,
        ATTACK,
        PARAMS,
        NORM,
        EPS,
        ("eps_value", "the budget as a number"),
        GOAL,
        MODE,
        WITNESS,
        PRECISION,
        ("seed", "seed of every random choice"),
        WEIGHTS_PINNED,
        DATA_PINNED,
    ],
};

/// What `foolproof optimality --csv FILE` writes.
pub const OPTIMALITY: Described = Described {
    table: "optimality",
    rows: "One row per network and attack, of each network the best first.",
    columns: &[
        CELL,
        MODEL,
        DATASET,
        ATTACK,
        PARAMS,
        NORM,
        ("passes", "passes that the attack might ask for on an image"),
        GOAL,
        WITNESS,
        ("seed", "seed of every random choice"),
        ("rule", "`steps`: exact areas; `attackbench`: that benchmark's trapezoid and scale"),
        ("n", "images that were right before, and that all attacks compared here met"),
        ("scale", "the largest of the least distances that any attack found for an image: farther ones count as this"),
        (
            "optimality",
            "1: nobody found a nearer image (above 1: it found nearer ones than the frozen reference); 0: it found nothing up to \
             the scale; empty: nobody found any",
        ),
        (
            "optimality_low",
            "95 % interval over the images (bootstrap of 2,000 samples, the same for all attacks), lower bound",
        ),
        ("optimality_high", "the same, upper bound"),
        ("asr", "images that it fooled at any distance, of `n`"),
        ("passes_mean", "mean number of passes spent on an attacked image, including those of the judge"),
        ("improved", "images on which it found less than the frozen reference; without one, than all other attacks"),
        (
            "global",
            "mean of `optimality` over all networks that were attacked with these images; empty where it lacks one",
        ),
    ],
};

/// What `foolproof optimality --curve FILE` writes.
pub const OPTIMALITY_CURVE: Described = Described {
    table: "optimality-curve",
    rows: "One row for each number of passes at which the optimality of an attack changes.",
    columns: &[
        CELL,
        MODEL,
        ATTACK,
        NORM,
        ("passes", "a budget of passes"),
        (
            "optimality",
            "of the images whose least distance was found by then; the others count as not fooled, although the attack may \
             have had a farther image, because a run keeps the least distance of each image alone: a lower bound below the limit",
        ),
    ],
};
