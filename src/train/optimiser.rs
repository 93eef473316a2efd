//! Stochastic gradient descent with momentum and weight decay, as PyTorch's `SGD` has them.

use super::recipe::Recipe;

/// One step: v ← μ·v + g + λ·w, w ← w − rate·v, for every tensor that is a weight.
pub fn step(recipe: &Recipe, rate: f64, weights: &mut [f32], velocity: &mut [f32], gradient: &[f32]) {
    let (momentum, decay, rate) = (recipe.momentum as f32, recipe.weight_decay as f32, rate as f32);
    for ((w, v), g) in weights.iter_mut().zip(velocity).zip(gradient) {
        *v = momentum * *v + (g + decay * *w);
        *w -= rate * *v;
    }
}

/// A moving average that keeps this share of itself.
pub fn average(keeps: f64, average: &mut [f32], weights: &[f32]) {
    let keeps = keeps as f32;
    average.iter_mut().zip(weights).for_each(|(a, w)| *a = keeps * *a + (1.0 - keeps) * w);
}

#[cfg(test)]
mod tests {
    use super::super::recipe::{Kind, Recipe};
    use super::*;

    #[test]
    fn a_step_is_that_of_the_formula() {
        let recipe = Recipe { momentum: 0.5, weight_decay: 0.25, ..Recipe::usual(Kind::Standard) };
        let (mut w, mut v) = ([2.0], [4.0]);
        step(&recipe, 0.5, &mut w, &mut v, &[1.0]);
        assert_eq!((w, v), ([2.0 - 0.5 * 3.5], [0.5 * 4.0 + 1.0 + 0.25 * 2.0]));
        let mut a = [8.0];
        average(0.75, &mut a, &[4.0]);
        assert_eq!(a, [7.0]);
    }
}
