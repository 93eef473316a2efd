//! Pasting a picture into the scene: a given picture, or training pictures of the target class, by the same
//! transformations as a patch; and the controls of a patch, noise, the mean colour, plain grey.

use super::patch::{MAX_ANGLE, Placing};
use super::{Attack, Entry, Kind, Param, Task, Training, Workshop};
use crate::data::Batch;
use crate::error::{Error, Result};
use crate::goal::Goal;
use crate::oracle::Oracle;
use crate::placement::Picture;
use crate::threat::Norm;

pub const ENTRY: Entry = Entry {
    name: "paste",
    revision: 1,
    summary: "a picture placed like a patch: the real object, and a patch's controls (Brown et al. 2017)",
    source: "the controls of Brown et al. 2017, arXiv:1712.09665",
    norms: &[Norm::Patch],
    params: &[
        Param {
            name: "content",
            kind: Kind::Choice(&["class", "picture", "noise", "mean", "grey"]),
            default: "class",
            summary: "training pictures of the target class in turn; a file; uniform noise; the training images' mean; mid grey",
        },
        Param {
            name: "picture",
            kind: Kind::Picture,
            default: "",
            summary: "the file of content = \"picture\"; what is transparent leaves the scene as it is",
        },
        Param { name: "mask", kind: Kind::Choice(&["circle", "square"]), default: "circle", summary: "as the patch's" },
        Param {
            name: "rotation",
            kind: Kind::Number,
            default: MAX_ANGLE,
            summary: "degrees, each way (Brown et al. 2017: 22.5)",
        },
    ],
    build: |params, threat| {
        let content = match params.choice("content") {
            "class" => Content::Class,
            "picture" => Content::Given,
            "noise" => Content::Noise,
            "mean" => Content::Mean,
            _ => Content::Grey,
        };
        if (content == Content::Given) != params.has_picture("picture") {
            return Err("`picture` names a file exactly where content = \"picture\"".into());
        }
        Ok(Box::new(Paste { content, placing: Placing::of(params, threat) }))
    },
};

/// Pictures of a class that are pasted at most; they are taken in turn.
const MOST_PICTURES: usize = 1000;

#[derive(Clone, Copy, PartialEq)]
enum Content {
    Class,
    Given,
    Noise,
    Mean,
    Grey,
}

struct Paste {
    content: Content,
    placing: Placing,
}

impl Attack for Paste {
    fn perturb(&self, oracle: &mut Oracle, batch: &Batch, task: &Task) -> Result<()> {
        self.placing.paste_all(oracle, batch, task)
    }

    fn cost(&self) -> u64 {
        1
    }

    fn queries(&self) -> Option<u64> {
        Some(1)
    }

    fn check_goal(&self, goal: &Goal) -> Result<(), String> {
        match (self.content, goal) {
            (Content::Class, Goal::Class(_)) => Ok(()),
            (Content::Class, _) => Err("content = \"class\" pastes pictures of a class (hint: target:NAME)".into()),
            _ => Ok(()),
        }
    }

    fn changes_every_image(&self) -> bool {
        true
    }

    fn pastes(&self) -> bool {
        true
    }

    fn training(&self) -> Training {
        match self.content {
            Content::Class | Content::Mean => Training::Images,
            _ => Training::Nothing,
        }
    }

    fn pictures(&self, workshop: &mut Workshop) -> Result<Vec<Picture>> {
        let side = super::patch::fit::picture_side(workshop.size);
        let train = || {
            workshop
                .train
                .ok_or_else(|| Error::usage("attack `paste` has no training images (hint: `train` in the block)"))
        };
        Ok(match self.content {
            Content::Given => workshop.given.cloned().into_iter().collect(),
            Content::Grey => vec![Picture::grey(side)],
            Content::Noise => vec![Picture::noise(side, &mut workshop.streams.stream(0, 0, "noise"))],
            Content::Mean => {
                let train = train()?;
                let plane = train.values() / 3;
                let mean = |c: usize| {
                    let values = train.pixels.chunks_exact(plane).skip(c).step_by(3).flatten();
                    values.map(|v| f64::from(*v)).sum::<f64>() / (train.len() * plane) as f64 / 255.0
                };
                vec![Picture::uniform(side, [0, 1, 2].map(|c| mean(c) as f32))]
            }
            Content::Class => {
                let (train, target) = (train()?, workshop.target()?);
                let of_class = (0..train.len()).filter(|i| train.labels[*i] == target).take(MOST_PICTURES);
                let pictures: Vec<Picture> =
                    of_class.map(|i| Picture::middle_u8(train.size, train.image(i))).collect::<Result<_>>()?;
                if pictures.is_empty() {
                    let name = train.classes.get(target).map_or("", String::as_str);
                    return Err(Error::usage(format!(
                        "none of the training images shows class {target}, `{name}` (hint: `take` more of them)"
                    )));
                }
                pictures
            }
        })
    }
}
