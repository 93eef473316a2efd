//! Some images on their way through the whole net and back: who computes which, and where they meet.

use super::compiled::Cpu;
use super::connected::{linear_backward, linear_forward};
use super::crew::Crew;
use super::forward::Start;
use super::workspace::{Scratch, Workspace};
use rayon::prelude::*;

/// With fewer images than this a thread, threads share layers instead of images: weights are then what limits, and
/// each thread reads only its part.
const IMAGES_TO_SHARE: usize = 8;

/// Some images on their way through the net.
pub struct Wave<'a> {
    cpu: &'a Cpu,
    images: usize,
    /// Images of a workspace.
    share: usize,
    workspaces: Vec<Workspace>,
    /// Outputs of each fully connected layer, images × outputs.
    hidden: Vec<Vec<f32>>,
}

impl<'a> Wave<'a> {
    /// `keeps`: a way back follows.
    pub fn begin(cpu: &'a Cpu, images: usize, keeps: bool) -> Wave<'a> {
        let threads = rayon::current_num_threads();
        assert!(images <= cpu.shard() * threads, "more images than workspaces hold");
        let together = threads > 1 && images < IMAGES_TO_SHARE * threads && images <= cpu.shard();
        let share = if together { images } else { images.div_ceil(threads) };
        let mut workspaces: Vec<Workspace> =
            (0..images.div_ceil(share)).map(|_| cpu.workspaces.take(|| Workspace::new(cpu))).collect();
        workspaces.iter_mut().for_each(|w| w.keeps = keeps);
        Wave { cpu, images, share, workspaces, hidden: Vec::new() }
    }

    /// For each workspace with its part of `inputs` and `outputs`: alone, or if there is only one, with all threads.
    pub fn each<T: Sync>(
        &mut self,
        inputs: &[T],
        outputs: &mut [f32],
        work: impl Fn(&mut Workspace, &[T], &mut [f32], &mut Crew) + Sync,
    ) {
        let cpu = self.cpu;
        let (of_input, of_output) = (inputs.len() / self.images, outputs.len() / self.images);
        if let [only] = self.workspaces.as_mut_slice() {
            return work(only, inputs, outputs, &mut Crew::Team(cpu));
        }
        let parts = inputs.par_chunks(self.share * of_input).zip(outputs.par_chunks_mut(self.share * of_output));
        self.workspaces.par_iter_mut().zip(parts).with_max_len(1).for_each(|(workspace, (inputs, outputs))| {
            let mut scratch = cpu.scratches.take(|| Scratch::new(cpu));
            work(workspace, inputs, outputs, &mut Crew::Alone(&mut scratch));
            cpu.scratches.give_back(scratch);
        });
    }

    /// Room for the gradient of the logits, and the logits.
    pub fn forward<T: Sync>(&mut self, inputs: &[T], start: &Start<T>) -> (Vec<f32>, Vec<f32>) {
        let cpu = self.cpu;
        let mut values = vec![0.0; self.images * cpu.stride];
        self.each(inputs, &mut values, |workspace, inputs, features, crew| {
            workspace.forward(cpu, inputs, start, features, crew);
        });
        for (i, linear) in cpu.linears.iter().enumerate() {
            let outputs = linear_forward(cpu.table, linear, &values, self.images);
            let stride = cpu.linears.get(i + 1).map_or(linear.outputs, |next| next.stride);
            values = vec![0.0; self.images * stride];
            for (row, outputs) in values.chunks_exact_mut(stride).zip(outputs.chunks_exact(linear.outputs)) {
                row[..linear.outputs].copy_from_slice(outputs);
            }
            self.hidden.push(outputs);
        }
        (vec![0.0; values.len()], values)
    }

    /// From the gradient with respect to the logits to that with respect to the images.
    pub fn backward(&mut self, mut gradient: Vec<f32>, of_images: &mut [f32]) {
        let cpu = self.cpu;
        for (linear, hidden) in cpu.linears.iter().zip(&self.hidden).rev() {
            if linear.relu {
                // as PyTorch: 0 where the output is 0, let through where it is NaN
                gradient.iter_mut().zip(hidden).filter(|(_, h)| **h <= 0.0).for_each(|(g, _)| *g = 0.0);
            }
            gradient = linear_backward(cpu.table, linear, &gradient, self.images);
        }
        self.each(&gradient, of_images, |workspace, gradient, of_images, crew| {
            workspace.backward(cpu, gradient, of_images, crew);
        });
    }
}

impl Drop for Wave<'_> {
    fn drop(&mut self) {
        self.workspaces.drain(..).for_each(|w| self.cpu.workspaces.give_back(w));
    }
}
