//! How the rate changes from the first step to the last.

use crate::config::SCHEDULES;

/// How the rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// Evenly up for half of the steps, evenly down for the rest (Smith 2017; the cycle of Wong et al. 2020).
    OneCycle,
    /// Half a cosine down (Loshchilov and Hutter 2017, without restarts).
    Cosine,
    /// The same always.
    Constant,
}

/// In the order of [`SCHEDULES`].
const ALL: [Schedule; 3] = [Schedule::OneCycle, Schedule::Cosine, Schedule::Constant];

impl Schedule {
    /// Name in training files.
    pub fn name(self) -> &'static str {
        SCHEDULES[ALL.iter().position(|s| *s == self).expect("all are listed")]
    }

    /// By its name.
    pub fn parse(name: &str) -> Option<Schedule> {
        SCHEDULES.iter().position(|n| *n == name).map(|i| ALL[i])
    }

    /// Share of the largest rate at a step, of so many.
    pub fn share(self, step: u64, steps: u64) -> f64 {
        let done = step as f64 / steps.max(1) as f64;
        match self {
            Schedule::OneCycle => 1.0 - (2.0 * done - 1.0).abs(),
            // from libm, so that it is the same on every machine
            Schedule::Cosine => 0.5 * (1.0 + libm::cos(std::f64::consts::PI * done)),
            Schedule::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall_as_their_names_say() {
        let shares = |s: Schedule| [0, 1, 2, 3, 4].map(|step| (1e6 * s.share(step, 4)).round() / 1e6);
        assert_eq!(shares(Schedule::OneCycle), [0.0, 0.5, 1.0, 0.5, 0.0]);
        assert_eq!(shares(Schedule::Cosine), [1.0, 0.853553, 0.5, 0.146447, 0.0]);
        assert_eq!(shares(Schedule::Constant), [1.0; 5]);
        for (i, name) in SCHEDULES.iter().enumerate() {
            assert_eq!((Schedule::parse(name), ALL[i].name()), (Some(ALL[i]), *name));
        }
    }
}
