//! The kernels of `src/kernel/cuda/pixels.cu`, run on the CPU by `scripts/check_pixels.cpp`, against the plain code of
//! `kernel::pixels`: the same bits on random and on nasty numbers. Skipped where there is no C++ compiler.
//! `FOOLPROOF_SANITIZE=1` runs them under the sanitizers.

mod support;

use candle_core::{Device, Tensor};
use foolproof::kernel::pixels::{self, Ball, Place};
use foolproof::ratio::Ratio;
use foolproof::rng::Stream;
use foolproof::threat::{Norm, Threat};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use support::stream;

/// Values of an image: below, at and above one a lane, and the last lanes of a second round left out.
const SIZES: [usize; 8] = [1, 3, 48, 1023, 1024, 1025, 3072, 5000];

/// Images of a request.
const ROWS: usize = 3;

/// The program that runs the kernels; `None` without a compiler.
fn program() -> Option<&'static PathBuf> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    PROGRAM
        .get_or_init(|| {
            let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("check_pixels");
            let mut compile = Command::new("c++");
            // -ffp-contract=off: as NVRTC is told with --fmad=false
            compile.args(["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off"]);
            compile.args(["-I", "src/kernel/cuda", "-I", "scripts", "scripts/check_pixels.cpp", "-o"]).arg(&program);
            if std::env::var_os("FOOLPROOF_SANITIZE").is_some() {
                compile.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
            }
            match compile.status() {
                Ok(status) => assert!(status.success(), "the kernels do not compile"),
                Err(problem) => {
                    eprintln!("skipped tests/pixels.rs: no C++ compiler ({problem})");
                    return None;
                }
            }
            Some(program)
        })
        .as_ref()
}

/// The program at work, one for each test.
struct Kernels {
    child: Child,
}

impl Kernels {
    fn start() -> Option<Kernels> {
        let child = Command::new(program()?).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Some(Kernels { child: child.expect("the program starts") })
    }

    /// The bytes that a kernel writes for these scalars and arrays.
    fn run(&mut self, kernel: u32, values: usize, scalars: [f64; 6], arrays: &[&[u8]]) -> Vec<u8> {
        let mut request: Vec<u8> = [kernel, ROWS as u32, values as u32].iter().flat_map(|v| v.to_ne_bytes()).collect();
        request.extend(scalars.iter().flat_map(|v| v.to_ne_bytes()));
        arrays.iter().for_each(|array| request.extend_from_slice(array));
        self.child.stdin.as_mut().unwrap().write_all(&request).unwrap();
        let bytes = match kernel {
            2 => ROWS * values,
            3 | 4 => ROWS * 4,
            _ => ROWS * values * 4,
        };
        let mut answer = vec![0; bytes];
        self.child.stdout.as_mut().unwrap().read_exact(&mut answer).unwrap();
        answer
    }
}

impl Drop for Kernels {
    /// The program ends with its input, and then without a complaint of the sanitizers.
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        assert!(status.success() || std::thread::panicking(), "{status:?}");
    }
}

fn bytes(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|v| v.to_ne_bytes()).collect()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect()
}

fn numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(4).map(|b| u32::from_ne_bytes(b.try_into().unwrap())).collect()
}

/// Bits; NaN is NaN, whatever its payload.
fn bits(v: &[f32]) -> Vec<Option<u32>> {
    v.iter().map(|v| (!v.is_nan()).then_some(v.to_bits())).collect()
}

fn tensor(v: &[f32], values: usize) -> Tensor {
    Tensor::from_slice(v, (ROWS, values), &Device::Cpu).unwrap()
}

fn tensor_u8(v: &[u8], values: usize) -> Tensor {
    Tensor::from_slice(v, (ROWS, values), &Device::Cpu).unwrap()
}

fn values_of(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// What numbers an image may hold.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Anywhere near the clean image.
    Near,
    /// Half-way between grey levels, at the edges of ball and box and their neighbours among floats.
    Edges,
    /// NaN, infinities and outsiders among the others.
    Broken,
}

const KINDS: [Kind; 3] = [Kind::Near, Kind::Edges, Kind::Broken];

/// Clean images, as bytes and as floats, and images around them.
fn images(kind: Kind, eps: f32, values: usize, s: &mut Stream) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
    let byte = |s: &mut Stream| match s.below(4) {
        0 => [0, 1, 254, 255][s.below(4)],
        _ => s.below(256) as u8,
    };
    let clean: Vec<u8> = (0..ROWS * values).map(|_| byte(s)).collect();
    let x: Vec<f32> = clean.iter().map(|c| f32::from(*c) / 255.0).collect();
    let image = |x: &f32| {
        let near = (x + (2.0 * s.uniform() - 1.0) * 1.2 * eps).clamp(0.0, 1.0);
        let edge = [
            x + eps,
            x - eps,
            (s.below(256) as f32 + 0.5) / 255.0,
            s.below(256) as f32 / 255.0,
            0.0,
            -0.0,
            1.0,
            *x,
            x + 0.5 / 255.0,
            x - 0.5 / 255.0,
        ][s.below(10)];
        let edge = [edge, edge.next_up(), edge.next_down()][s.below(3)];
        match kind {
            Kind::Near => near,
            Kind::Edges => edge,
            Kind::Broken if s.below(values.min(40)) == 0 => {
                [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.1, 1.1, 1e30, f32::MIN_POSITIVE / 2.0][s.below(7)]
            }
            Kind::Broken => near,
        }
    };
    let x_adv = x.iter().map(image).collect();
    (clean, x, x_adv)
}

/// Gradients of all sizes, many of them 0, in one row of every three all of them; some NaN or infinite if asked for.
fn gradient(kind: Kind, values: usize, s: &mut Stream) -> Vec<f32> {
    let size = [1.0, 1e-30, 1e30, 1e-42, 3e38][s.below(5)];
    let value = |i: usize| match (s.below(6), s.below(values.min(50))) {
        _ if i / values == 2 => [0.0, -0.0][i % 2],
        (0, _) => 0.0,
        (_, 0) if kind == Kind::Broken => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][s.below(3)],
        _ => (2.0 * s.uniform() - 1.0) * size,
    };
    (0..ROWS * values).map(value).collect()
}

/// Budgets from nothing over a fraction of a grey level to more than all.
const EPS: [&str; 8] = ["0", "1/2550", "0.5/255", "1/255", "8/255", "0.031", "0.5", "2"];

/// Every case once: kind of numbers, budget, values of an image.
fn cases() -> impl Iterator<Item = (Kind, Ratio, usize)> {
    let all = KINDS.iter().flat_map(|k| EPS.iter().flat_map(move |e| SIZES.iter().map(move |s| (*k, *e, *s))));
    all.map(|(kind, eps, size)| (kind, Ratio::parse(eps).unwrap(), size))
}

#[test]
fn a_step_is_the_same_to_the_bit() {
    let Some(mut kernels) = Kernels::start() else { return };
    let mut s = stream("steps");
    for (kind, eps, values) in cases() {
        let eps = eps.to_f64();
        let (_, x, x_adv) = images(kind, eps as f32, values, &mut s);
        let g = gradient(kind, values, &mut s);
        let step_size = [2.0 / 255.0, 0.25 * eps as f32, 0.7, 1e-9][s.below(4)];
        let arrays = [bytes(&x_adv), bytes(&g), bytes(&x)];
        let arrays: Vec<&[u8]> = arrays.iter().map(Vec::as_slice).collect();
        let [x_adv, g, x] = [&x_adv, &g, &x].map(|v| tensor(v, values));
        let scalars = [f64::from(step_size), eps, 0.0, 0.0, 0.0, 0.0];
        let linf = kernels.run(0, values, scalars, &arrays);
        let here = pixels::step_linf(&x_adv, &g, &x, step_size, eps as f32).unwrap();
        assert!(bits(&floats(&linf)) == bits(&values_of(&here)), "Linf, {kind:?}, eps {eps}, {values} values");
        let l2 = kernels.run(1, values, scalars, &arrays);
        let here = pixels::step_l2(&x_adv, &g, &x, step_size, eps).unwrap();
        assert!(bits(&floats(&l2)) == bits(&values_of(&here)), "L2, {kind:?}, eps {eps}, {values} values");
    }
}

#[test]
fn rounding_membership_and_bound_are_the_same_to_the_bit() {
    let Some(mut kernels) = Kernels::start() else { return };
    let mut s = stream("looks");
    let mut seen = Vec::new();
    for (kind, eps, values) in cases() {
        for norm in [Norm::Linf, Norm::L2] {
            let threat = Threat::within(norm, eps);
            let ball = threat.ball().unwrap();
            let (clean, _, images) = images(kind, eps.to_f64() as f32, values, &mut s);
            let g = gradient(kind, values, &mut s);
            let name = format!("{norm:?}, {kind:?}, eps {eps}, {values} values");

            let (i, c) = (tensor(&images, values), tensor_u8(&clean, values));
            let most = f64::from(ball.most);
            let there = kernels.run(2, values, [most, 0.0, 0.0, 0.0, 0.0, 0.0], &[&bytes(&images), &clean]);
            let rounded = pixels::round_in_ball(&i, &c, ball.most).unwrap();
            let rounded: Vec<u8> = rounded.flatten_all().unwrap().to_vec1().unwrap();
            assert!(there == rounded, "rounded: {name}");

            // as it is, and with a value that the rounding would never give
            let mut wrong = rounded.clone();
            wrong[s.below(ROWS * values)] ^= 1 << s.below(8);
            for rounded in [rounded, wrong] {
                let q = tensor_u8(&rounded, values);
                let here = pixels::membership(&i, &c, &q, &ball).unwrap();
                let there = kernels.run(3, values, of_ball(&ball), &[&bytes(&images), &clean, &rounded]);
                let there: Vec<Place> = numbers(&there).into_iter().map(Place::of_code).collect();
                assert!(here == there, "{here:?}, {there:?}: {name}");
                check_places(&threat, &here, &images, &clean, &rounded, &name);
                seen.extend(here);

                let there = kernels.run(4, values, [0.0; 6], &[&bytes(&g), &bytes(&images), &rounded]);
                let here = pixels::first_order(&tensor(&g, values), &i, &q).unwrap();
                assert!(bits(&here) == bits(&floats(&there)), "{here:?}, {:?}: {name}", floats(&there));
            }
        }
    }
    for place in [Place::Inside, Place::NotFinite, Place::Outside, Place::RoundedOutside] {
        assert!(seen.iter().filter(|p| **p == place).count() > 20, "{place:?} hardly occurs");
    }
}

fn of_ball(ball: &Ball) -> [f64; 6] {
    let is_linf = if ball.is_linf { 1.0 } else { 0.0 };
    [is_linf, ball.reach, ball.slack, f64::from(ball.most), f64::from_bits(ball.most_square), 0.0]
}

/// The places are those that the judge finds in memory.
fn check_places(threat: &Threat, places: &[Place], images: &[f32], clean: &[u8], rounded: &[u8], name: &str) {
    let values = images.len() / ROWS;
    for (i, place) in places.iter().enumerate() {
        let row = i * values..(i + 1) * values;
        let (image, clean, rounded) = (&images[row.clone()], &clean[row.clone()], &rounded[row]);
        let x: Vec<f32> = clean.iter().map(|c| f32::from(*c) / 255.0).collect();
        let expected = match () {
            () if image.iter().any(|v| !v.is_finite()) => Place::NotFinite,
            () if !threat.contains(image, &x, [1; 2]) => Place::Outside,
            () if !threat.contains_u8(rounded, clean, [1; 2]) => Place::RoundedOutside,
            () => Place::Inside,
        };
        assert_eq!(*place, expected, "{name}");
        // what is inside is rounded as it is in memory
        if threat.norm == Norm::Linf && expected == Place::Inside {
            let nearest = threat.quantise(image, clean, None);
            assert!(nearest == rounded || nearest.iter().zip(rounded).filter(|(a, b)| a != b).count() == 1, "{name}");
        }
    }
}

#[test]
fn bytes_become_floats_the_same_way() {
    let all: Vec<u8> = (0..ROWS * 256).map(|i| (i % 256) as u8).collect();
    let Some(mut kernels) = Kernels::start() else { return };
    let there = kernels.run(5, 256, [0.0; 6], &[&all]);
    let expected: Vec<f32> = all.iter().map(|v| f32::from(*v) / 255.0).collect();
    assert_eq!(bits(&floats(&there)), bits(&expected));
    let images = Tensor::from_slice(&all, (4, 192), &Device::Cpu).unwrap();
    assert_eq!(bits(&values_of(&pixels::to_unit(&images, [8; 2]).unwrap())), bits(&expected));
}

#[test]
fn operands_of_other_sizes_are_an_error() {
    let (four, three) = (tensor(&[0.0; 12], 4), tensor(&[0.0; 9], 3));
    assert!(pixels::step_linf(&four, &four, &three, 0.1, 0.1).is_err());
    assert!(pixels::first_order(&four, &four, &tensor_u8(&[0; 9], 3)).is_err());
    assert!(pixels::round_in_ball(&three, &tensor_u8(&[0; 12], 4), 1).is_err());
}
