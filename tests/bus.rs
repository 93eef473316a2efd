//! What one step of PGD moves between memory and the device, counted (`kernel::bus`): a quarter of what `docs/performance.md` has,
//! 64 images of 224 pixels, 1,000 classes. The net is a stand-in that says so, on the CPU; what crosses is the same on a GPU.

use candle_core::{Device, Tensor};
use foolproof::attack::{self, Params, Task};
use foolproof::data::Subset;
use foolproof::error::Result;
use foolproof::goal::Goal;
use foolproof::judge::{Judging, Trial, Verdict, WitnessKind};
use foolproof::kernel::bus::{Crossed, crossed};
use foolproof::kernel::{Engine, Loss, Precision};
use foolproof::oracle::{Mark, Memo};
use foolproof::ratio::Ratio;
use foolproof::rng::Streams;
use foolproof::threat::{Norm, Threat};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

const IMAGES: usize = 64;
const SIDE: usize = 224;
const VALUES: usize = 3 * SIDE * SIDE;
const CLASSES: usize = 1000;

/// Is sure of class 0, a little less with every gradient, and asks the loss for its slope where the logits lie, as the CUDA
/// engine does. Notes what has crossed whenever it is asked for a gradient.
struct Counting {
    asked: Mutex<Vec<Crossed>>,
}

impl Counting {
    fn logits_after(&self, images: &Tensor, gradients: usize) -> Result<Tensor> {
        let n = images.dim(0)?;
        let row = |_| (0..CLASSES).map(|c| if c == 0 { 10.0 - 0.1 * gradients as f32 } else { 0.0 });
        Ok(Tensor::from_vec((0..n).flat_map(row).collect(), (n, CLASSES), &Device::Cpu)?)
    }
}

impl Engine for Counting {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        self.logits_after(images, 0)
    }

    fn logits_and_gradient(&self, images: &Tensor, loss: &dyn Loss) -> Result<(Tensor, Tensor)> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(crossed());
        let logits = self.logits_after(images, asked.len())?;
        loss.on_device(0, &logits)?;
        // so small that rounding cannot matter, and of either sign
        let gradient = ((images - 0.5)? * 1e-9)?;
        Ok((logits, gradient))
    }
}

/// Bytes to the device and back of each step but the first two and the last: there images begin, clean ones cross for the
/// judge, once, and all are judged.
fn steps(norm: Norm, eps: &str, on_device: bool) -> Vec<(u64, u64)> {
    let pixels: Vec<u8> = (0..IMAGES * VALUES).map(|i| (i * 31 % 251) as u8).collect();
    let subset = Subset::new((0..IMAGES).collect(), vec![0; IMAGES], pixels, [SIDE; 2], vec!["zero".into(); CLASSES]);
    let engine = Counting { asked: Mutex::new(Vec::new()) };
    let verdict = Verdict { logits: vec![1.0; CLASSES], prediction: Some(0) };
    let threat = Threat::within(norm, Ratio::parse(eps).unwrap());
    let entry = attack::find("pgd").unwrap();
    let attack = entry.build(&Params::resolve(entry.params, &[("steps", "6")]).unwrap(), &threat).unwrap();
    let trial = Trial {
        engine: &engine,
        attacked_through: (&engine, Precision::F32),
        device: &Device::Cpu,
        subset: &subset,
        images: 0..subset.len(),
        clean: &vec![verdict; IMAGES],
        goal: Goal::Untargeted,
        seed: 0,
        witness: WitnessKind::U8,
        judging: Judging::WhereItMatters,
        blind: false,
        votes: None,
        on_device,
        marks: &[Mark { end: 6, threat }],
        earlier: None,
        confidence: None,
        every_image: false,
        batch: IMAGES,
        stop: &AtomicBool::new(false),
    };
    let task = Task::new(threat, Streams::new(0, "bus"));
    let (outcomes, _) = trial.run(attack.as_ref(), &task, &Memo::new(0), &mut |_| {}).unwrap().remove(0);
    assert!(outcomes.iter().all(|o| o.success == Some(false) && o.backwards == 6), "every image goes all the way");
    let asked = engine.asked.into_inner().unwrap();
    let between = |w: &[Crossed]| (w[1].to_device - w[0].to_device, w[1].to_host - w[0].to_host);
    asked.windows(2).skip(2).map(between).collect()
}

#[test]
fn a_step_moves_its_logits_and_a_few_numbers_an_image() {
    let (n, image) = (IMAGES as u64, VALUES as u64);
    // class and sign for the loss, and where candidates go; logits, membership, bound
    let (up, down) = (n * (4 + 4 + 4), n * (4 * CLASSES as u64 + 4 + 4));
    for (to_device, to_host) in steps(Norm::Linf, "8/255", true) {
        println!("Linf, a step of {n} images of {SIDE}: {to_device} bytes to the device, {to_host} back");
        assert!(to_device <= up && to_host <= down, "{to_device} to the device, {to_host} back");
    }
    // in the L2 ball rounded images are shortened in memory: nearest levels and the gradient come, shorter ones go
    for (to_device, to_host) in steps(Norm::L2, "3", true) {
        println!("L2, a step of {n} images of {SIDE}: {to_device} bytes to the device, {to_host} back");
        assert!(to_device <= up + n * (image + 3 * 4) && to_host <= down + n * 5 * image, "{to_device}, {to_host}");
    }
}
