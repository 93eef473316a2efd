//! Which of the algorithms that cuDNN has measured computes a convolution. Decided over plain records, so that each case has
//! a test without a GPU.

use super::Precision;
use super::halving::is_out_of_memory;
use crate::error::{Error, Result};

/// Arithmetic of an algorithm (cudnnMathType_t).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Math {
    /// Whatever is fast; of f32 data this may be TF32.
    Default,
    /// Tensor cores.
    TensorOp,
    /// Tensor cores, and f32 data may become f16 for them.
    TensorOpConversion,
    /// Fused multiply-adds in the format of the data alone.
    Fma,
}

/// How a measurement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It ran, and gives the same bits every time.
    Sound,
    /// It ran, and does not promise that.
    NotDeterministic,
    /// There was no memory for it.
    NoMemory,
    /// It cannot do this.
    Failed,
}

/// One measured algorithm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Record {
    /// cuDNN's number of the algorithm.
    pub algorithm: u32,
    /// The arithmetic that it was measured in.
    pub math: Math,
    /// Bytes that it needs in this arithmetic.
    pub workspace: usize,
    /// Of one run.
    pub seconds: f32,
    /// How the measurement ended.
    pub status: Status,
}

/// What follows from some records.
#[derive(Debug, Clone, PartialEq)]
pub enum Ranking {
    /// These compute in the precision; the fastest first.
    Try(Vec<Record>),
    /// None does, but these algorithms might: they are to be measured with [`Math::Fma`]. In the order in which they did
    /// best in other arithmetic.
    MeasureInFma(Vec<u32>),
    /// There was no memory to measure in.
    NoMemory,
    /// None can do it and gives the same bits every time.
    Nothing,
}

/// Orders the algorithms that compute in `precision`. A record serves with the arithmetic that it was measured in and no
/// other: workspace and seconds belong to that.
pub fn rank(precision: Precision, found: &[Record]) -> Ranking {
    let fastest_first = |fits: &dyn Fn(&Record) -> bool| {
        let mut some: Vec<Record> = found.iter().copied().filter(|r| r.status == Status::Sound && fits(r)).collect();
        some.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        some
    };
    let computes_in = |r: &Record| match precision {
        // the default may compute f32 in TF32
        Precision::F32 => r.math == Math::Fma,
        Precision::Tf32 | Precision::Bf16 => r.math != Math::TensorOpConversion,
    };
    let (fitting, sound) = (fastest_first(&computes_in), fastest_first(&|_| true));
    if !fitting.is_empty() {
        return Ranking::Try(fitting);
    }
    if precision == Precision::F32 && !sound.is_empty() {
        let mut algorithms: Vec<u32> = Vec::new();
        sound.iter().filter(|r| r.math != Math::Fma).for_each(|r| {
            if !algorithms.contains(&r.algorithm) {
                algorithms.push(r.algorithm);
            }
        });
        return Ranking::MeasureInFma(algorithms);
    }
    match found.iter().any(|r| r.status == Status::NoMemory) {
        true => Ranking::NoMemory,
        false => Ranking::Nothing,
    }
}

/// The fastest algorithm that computes in `precision` and has run once as it will run. `measure` measures an algorithm
/// again with [`Math::Fma`], `run` runs a record in a workspace of its size. `short` says that less memory than wanted
/// was there to measure in.
///
/// # Errors
/// That of the last run where none went well, or of one without memory, since fewer images might do; "out of memory" where
/// that is why nothing was found.
pub fn choose(
    precision: Precision,
    found: &[Record],
    short: bool,
    mut measure: impl FnMut(u32) -> Result<Record>,
    mut run: impl FnMut(&Record) -> Result<()>,
) -> Result<Record> {
    let (ranked, mut problem) = match rank(precision, found) {
        Ranking::MeasureInFma(algorithms) => {
            let (mut measured, mut problem) = (Vec::new(), None);
            for algorithm in algorithms {
                match measure(algorithm) {
                    Ok(record) => measured.push(record),
                    Err(why) => problem = Some(worse(problem, why)),
                }
            }
            (rank(precision, &measured), problem)
        }
        ranked => (ranked, None),
    };
    if let Ranking::Try(records) = &ranked {
        for record in records {
            match run(record) {
                Ok(()) => return Ok(*record),
                Err(why) => problem = Some(worse(problem, why)),
            }
        }
    }
    Err(match problem {
        Some(problem) => problem,
        None if ranked == Ranking::NoMemory || short => {
            candle_core::Error::msg("out of memory: too little for cuDNN to try its algorithms in").into()
        }
        None => Error::from(candle_core::Error::msg(format!(
            "cuDNN has no algorithm in {} that gives the same bits every time, of {} that it knows",
            precision.name(),
            found.len()
        ))),
    })
}

/// Which of two problems is told.
fn worse(before: Option<Error>, now: Error) -> Error {
    before.filter(is_out_of_memory).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(algorithm: u32, math: Math, workspace: usize, seconds: f32) -> Record {
        Record { algorithm, math, workspace, seconds, status: Status::Sound }
    }

    fn failure(algorithm: u32, status: Status) -> Record {
        Record { status, ..record(algorithm, Math::Default, 0, -1.0) }
    }

    /// Algorithms 1 and 2 in both arithmetics: TF32 is faster and needs less.
    fn both() -> Vec<Record> {
        vec![
            record(1, Math::Default, 10, 0.1),
            record(2, Math::Default, 20, 0.2),
            record(2, Math::Fma, 200, 0.5),
            record(1, Math::Fma, 100, 0.9),
        ]
    }

    fn never(_: u32) -> Result<Record> {
        panic!("nothing has to be measured again")
    }

    #[test]
    fn f32_takes_the_fastest_that_was_measured_in_fma_with_its_own_workspace() {
        let chosen = choose(Precision::F32, &both(), false, never, |_| Ok(())).unwrap();
        assert_eq!(chosen, record(2, Math::Fma, 200, 0.5));
    }

    #[test]
    fn without_one_in_fma_every_usable_algorithm_is_measured_in_it() {
        let mut found = both();
        found.retain(|r| r.math != Math::Fma);
        found.push(failure(7, Status::Failed));
        found.push(Record { status: Status::NotDeterministic, ..record(3, Math::Default, 0, 0.01) });
        found.push(record(2, Math::TensorOp, 30, 0.15));
        assert_eq!(rank(Precision::F32, &found), Ranking::MeasureInFma(vec![1, 2]));
        let mut asked = Vec::new();
        let measure = |algorithm: u32| {
            asked.push(algorithm);
            match algorithm {
                1 => Ok(record(1, Math::Fma, 111, 3.0)),
                _ => Ok(record(2, Math::Fma, 222, 2.0)),
            }
        };
        let chosen = choose(Precision::F32, &found, false, measure, |_| Ok(())).unwrap();
        assert_eq!((chosen, asked), (record(2, Math::Fma, 222, 2.0), vec![1, 2]));
    }

    #[test]
    fn an_algorithm_that_cannot_be_measured_in_fma_leaves_the_others() {
        let found = [record(1, Math::Default, 0, 0.1), record(2, Math::Default, 0, 0.2)];
        let measure = |algorithm: u32| match algorithm {
            1 => Err(candle_core::Error::msg("CUDNN_STATUS_NOT_SUPPORTED").into()),
            _ => Ok(record(2, Math::Fma, 5, 1.0)),
        };
        assert_eq!(choose(Precision::F32, &found, false, measure, |_| Ok(())).unwrap().algorithm, 2);
        let none = |_| Err(candle_core::Error::msg("CUDNN_STATUS_NOT_SUPPORTED").into());
        let problem = choose(Precision::F32, &found, false, none, |_| Ok(())).unwrap_err();
        assert!(problem.to_string().contains("NOT_SUPPORTED"), "{problem}");
    }

    #[test]
    fn tf32_and_bf16_take_the_fastest_in_the_arithmetic_that_was_found() {
        for precision in [Precision::Tf32, Precision::Bf16] {
            let mut found = both();
            found.push(record(4, Math::TensorOpConversion, 0, 0.01));
            found.push(record(5, Math::TensorOp, 50, 0.05));
            let chosen = choose(precision, &found, false, never, |_| Ok(())).unwrap();
            assert_eq!(chosen, record(5, Math::TensorOp, 50, 0.05), "no f32 becomes f16");
        }
    }

    #[test]
    fn what_failed_or_is_not_deterministic_is_never_taken() {
        let found = [
            failure(1, Status::Failed),
            Record { status: Status::NotDeterministic, ..record(2, Math::Fma, 0, 0.1) },
            record(3, Math::Fma, 0, f32::NAN),
            record(4, Math::Fma, 0, 0.4),
        ];
        assert_eq!(choose(Precision::F32, &found, false, never, |_| Ok(())).unwrap().algorithm, 4);
        assert_eq!(rank(Precision::Bf16, &found[..2]), Ranking::Nothing);
    }

    #[test]
    fn the_next_is_tried_where_one_does_not_run() {
        let mut tried = Vec::new();
        let chosen = choose(Precision::F32, &both(), false, never, |r| {
            tried.push((r.algorithm, r.workspace));
            match r.algorithm {
                2 => Err(candle_core::Error::msg("CUDNN_STATUS_BAD_PARAM").into()),
                _ => Ok(()),
            }
        });
        assert_eq!((chosen.unwrap().algorithm, tried), (1, vec![(2, 200), (1, 100)]));
        let fails = |_: &Record| Err(candle_core::Error::msg("CUDNN_STATUS_EXECUTION_FAILED").into());
        let problem = choose(Precision::F32, &both(), false, never, fails).unwrap_err();
        assert!(problem.to_string().contains("EXECUTION_FAILED") && !is_out_of_memory(&problem), "{problem}");
    }

    #[test]
    fn too_little_memory_to_measure_in_is_out_of_memory() {
        let none = [failure(1, Status::Failed)];
        for (found, short) in [(&[failure(1, Status::NoMemory)][..], false), (&none, true), (&[], true)] {
            let problem = choose(Precision::Bf16, found, short, never, |_| Ok(())).unwrap_err();
            assert!(is_out_of_memory(&problem), "{problem}");
        }
        // the fastest has no memory, the next is not supported: half as many images may do
        let mut problems =
            ["CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", "CUDNN_STATUS_NOT_SUPPORTED"].into_iter();
        let fails = |_: &Record| Err(candle_core::Error::msg(problems.next().unwrap()).into());
        let problem = choose(Precision::F32, &both(), false, never, fails).unwrap_err();
        assert!(is_out_of_memory(&problem), "{problem}");
        let problem = choose(Precision::Bf16, &none, false, never, |_| Ok(())).unwrap_err();
        assert!(!is_out_of_memory(&problem) && problem.to_string().contains("bf16"), "{problem}");
    }
}
