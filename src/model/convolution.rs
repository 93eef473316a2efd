//! Convolutions of weight files, as every family takes them.

use super::Taken;

/// PyTorch's default `eps` of `BatchNorm2d`, also timm's and torchvision's.
const BATCH_NORM_EPS: f64 = 1e-5;

/// Weight outputs × inputs × height × width and bias of a convolution.
pub type Convolution = (Vec<f64>, Vec<f64>);

/// Convolution `name` with its batch norm `norm`, if it has one, folded in:
/// w' = w·γ/√(σ²+ε), b' = (b − μ)·γ/√(σ²+ε) + β.
///
/// # Errors
/// A tensor that is missing or of another shape; variances below 0.
pub fn convolution(
    taken: &mut Taken,
    name: &str,
    norm: Option<&str>,
    shape: [usize; 4],
) -> Result<Convolution, String> {
    let outputs = shape[0];
    let mut weight = taken.take::<f64>(format!("{name}.weight"), &shape)?;
    // timm and torchvision keep a bias beside batch norm; a net trained without one has none
    let bias_name = format!("{name}.bias");
    let mut bias = match norm.is_some() && !taken.is_there(&bias_name) {
        true => vec![0.0; outputs],
        false => taken.take(bias_name, &[outputs])?,
    };
    if let Some(norm) = norm {
        let mut get = |part: &str| taken.take::<f64>(format!("{norm}.{part}"), &[outputs]);
        let (gamma, beta) = (get("weight")?, get("bias")?);
        let (mean, variance) = (get("running_mean")?, get("running_var")?);
        if let Some(o) = variance.iter().position(|v| *v < 0.0) {
            return Err(format!(
                "tensor `{norm}.running_var`: expected variances from 0, found {} at {o}",
                variance[o]
            ));
        }
        for (o, of_output) in weight.chunks_exact_mut(shape[1..].iter().product()).enumerate() {
            let scale = gamma[o] / (variance[o] + BATCH_NORM_EPS).sqrt();
            of_output.iter_mut().for_each(|w| *w *= scale);
            bias[o] = (bias[o] - mean[o]) * scale + beta[o];
        }
    }
    Ok((weight, bias))
}
