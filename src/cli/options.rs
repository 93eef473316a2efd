//! What every verb may be told.

use super::transfer;
use crate::data::Source;
use crate::error::{Error, Result};
use crate::hub::Hub;
use crate::hub::settings::Settings;
use crate::kernel::cpu::{INSTRUCTIONS, Instructions};
#[cfg(feature = "cuda")]
use crate::kernel::cuda::open as open_cuda;
use crate::notice::say;
use crate::sweep::run::Machine;
use candle_core::Device;
use std::path::PathBuf;

/// How to compute and where to write. Threads and batch change no result; another device changes last bits.
#[derive(clap::Args)]
pub struct Options {
    /// Where to compute: auto, cpu, cuda or cuda:N; a sweep on several GPUs by a process each: cuda:0,cuda:1, or cuda:all
    #[arg(long, global = true, default_value = "auto")]
    pub device: String,
    /// Threads [default: all cores]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Processes that compute a sweep together, and share the threads [default: 1, or one a GPU]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Widest CPU instructions to use: avx512, avx2 or portable; results are the same, only the speed differs
    #[arg(long, global = true, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(INSTRUCTIONS.iter().map(|(name, _)| *name)))]
    pub instructions: Option<String>,
    /// Images per batch [default: as many as 1 GiB holds, on a GPU 2 GiB, at most 512]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Option<u32>,
    /// Images per chunk: what is computed before it is stored, and so what a kill costs [default: about a minute's work]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub chunk: Option<u32>,
    /// Folder of all runs
    #[arg(long, global = true, value_name = "DIR", default_value = "results")]
    pub out: PathBuf,
    /// Attack only the first N images of every cell, in a run whose name says so
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// Make a Grad-CAM map of every prediction of a run: where the network looked, of this layer [default: the last map of at
    /// least 4×4]
    #[arg(long, global = true, value_name = "LAYER", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub explain: Option<String>,
    /// Exit status 3 where a relation of the sanity ladder is violated
    #[arg(long, global = true)]
    pub strict: bool,
    /// No progress on stderr
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl Options {
    /// Where data and models come from; what the Hub sends is told.
    pub fn source(&self) -> Source {
        let mut source = Source::from_env();
        source.hub = transfer::hub(self.quiet);
        source.limit = self.limit.map(|limit| limit as usize);
        source.runs = Some(self.out.clone());
        source
    }

    /// The same, but what is not on this machine is not downloaded.
    pub fn here(&self) -> Source {
        let mut source = Source::from_env();
        source.hub = Hub::new(Settings { offline: true, ..Settings::from_env() });
        source
    }

    /// Those that change what a worker computes, or how, as another process is given them.
    pub fn passed_on(&self) -> Vec<String> {
        let mut passed = Vec::new();
        let mut pass = |name: &str, value: Option<String>| passed.extend(value.map(|v| format!("--{name}={v}")));
        pass("instructions", self.instructions.clone());
        pass("batch", self.batch.map(|n| n.to_string()));
        pass("chunk", self.chunk.map(|n| n.to_string()));
        pass("limit", self.limit.map(|n| n.to_string()));
        pass("explain", self.explain.clone());
        passed
    }

    /// Opens the device and sets the number of threads, once a process.
    pub fn machine(&self) -> Result<Machine> {
        self.machine_on(&self.device)
    }

    /// The same, whatever device was asked for.
    pub fn machine_on(&self, device: &str) -> Result<Machine> {
        let threads =
            self.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build_global()
            .map_err(|e| Error::usage(format!("cannot start {threads} threads: {e} (hint: fewer `--threads`)")))?;
        if let Some((_, limit)) = INSTRUCTIONS.iter().find(|(name, _)| Some(*name) == self.instructions.as_deref()) {
            if *limit > Instructions::widest() {
                return Err(Error::usage(format!(
                    "this machine has no {} (hint: --instructions {})",
                    limit.name(),
                    Instructions::widest().name()
                )));
            }
            limit.limit();
        }
        let (device, device_name) = open_device(device, self.quiet)?;
        let (batch, chunk) = (self.batch.map(|b| b as usize), self.chunk.map(|c| c as usize));
        Ok(Machine { device, device_name, threads, batch, chunk })
    }
}

fn open_device(text: &str, quiet: bool) -> Result<(Device, String)> {
    let cpu = || (Device::Cpu, "cpu".to_string());
    let ordinal = match text {
        "cpu" => return Ok(cpu()),
        "auto" | "cuda" => 0,
        _ => text
            .strip_prefix("cuda:")
            .and_then(|i| i.parse().ok())
            .ok_or_else(|| Error::usage(format!("unknown device `{text}` (known: auto, cpu, cuda, cuda:N)")))?,
    };
    match open_cuda(ordinal) {
        Ok(device) => Ok((device, format!("cuda:{ordinal}"))),
        Err(why) if text == "auto" => {
            if !quiet {
                say(format_args!("computing on the CPU: {why}"));
            }
            Ok(cpu())
        }
        Err(why) => Err(Error::usage(format!("no device `{text}`: {why} (hint: --device cpu)"))),
    }
}

/// Whether the first CUDA device opens, else why not.
pub fn try_cuda() -> Result<()> {
    open_cuda(0).map(drop)
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(_: usize) -> Result<Device> {
    Err(Error::usage("this program was built without CUDA (scripts/build_cuda.sh builds one with it)"))
}
