//! Late binding: one program for machines with and without CUDA.
//!
//! candle links the CUDA libraries, so that a program made with it would not even start without them. Here each of their
//! functions is defined as one jump through a table (`build.rs` writes both from `symbols/`), and [`load`] fills the
//! table from the real libraries. A function that a newer candle needs and the lists lack is an error of the linker.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
compile_error!("feature `cuda` is for x86-64 Linux");

use crate::kernel::libraries::{FOLDERS, LIBRARIES, named};
use crate::notice::say;
use std::ffi::{CStr, CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

std::arch::global_asm!(include_str!(concat!(env!("OUT_DIR"), "/jumps.s")), options(att_syntax));

/// Number of its library, and name, of each function in the table.
const SYMBOLS: &[(usize, &CStr)] = include!(concat!(env!("OUT_DIR"), "/symbols.rs"));

/// The one that may be missing.
const CURAND: usize = 3;

/// What stands for the functions of cuRAND that are called when a device is opened and closed; a call of any other ends in
/// [`late_missing`].
fn without_curand(name: &CStr) -> *mut c_void {
    unsafe extern "C" fn create(generator: *mut *mut c_void, _: c_int) -> c_int {
        // SAFETY: the caller's place for a generator
        unsafe { generator.write(std::ptr::null_mut()) };
        0
    }
    extern "C" fn set_seed(_: *mut c_void, _: u64) -> c_int {
        0
    }
    extern "C" fn set_stream(_: *mut c_void, _: *mut c_void) -> c_int {
        0
    }
    extern "C" fn destroy(_: *mut c_void) -> c_int {
        0
    }
    match name.to_bytes() {
        b"curandCreateGenerator" => create as *mut c_void,
        b"curandSetPseudoRandomGeneratorSeed" => set_seed as *mut c_void,
        b"curandSetStream" => set_stream as *mut c_void,
        b"curandDestroyGenerator" => destroy as *mut c_void,
        _ => std::ptr::null_mut(),
    }
}

unsafe extern "C" {
    static mut late_table: [*mut c_void; SYMBOLS.len()];
}

/// Where an unfilled slot leads.
#[unsafe(no_mangle)]
extern "C" fn late_missing(i: c_int) -> ! {
    let name = SYMBOLS[i as usize].1.to_string_lossy();
    say(format_args!("CUDA function {name} called, but no library that has it is loaded"));
    std::process::abort()
}

/// Opens the CUDA libraries, once a process, in the folders of [`FOLDERS`] or wherever the dynamic linker finds them. No
/// CUDA function may be called before this has returned `Ok`.
///
/// # Errors
/// Says which library is missing.
pub fn load() -> Result<(), &'static str> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    DONE.get_or_init(fill).as_ref().copied().map_err(String::as_str)
}

fn fill() -> Result<(), String> {
    // candle opens cuRAND with every device; nothing of ours asks it for numbers, and PyTorch's wheels come without it
    let open = |(i, names): (usize, &&[&str])| match open(names) {
        Err(_) if i == CURAND => Ok(std::ptr::null_mut()),
        opened => opened,
    };
    let handles = LIBRARIES.iter().enumerate().map(open).collect::<Result<Vec<_>, _>>()?;
    for (i, (library, name)) in SYMBOLS.iter().enumerate() {
        // SAFETY: the handle is open and is never closed; slot `i` exists, and nothing calls through it before `load`
        // has returned
        unsafe {
            let function = match handles[*library].is_null() {
                true => without_curand(name),
                false => libc::dlsym(handles[*library], name.as_ptr()),
            };
            if !function.is_null() {
                (&raw mut late_table).cast::<*mut c_void>().add(i).write(function);
            }
        }
    }
    Ok(())
}

/// The first of these files that opens, or why the first does not.
fn open(names: &[&str]) -> Result<*mut c_void, String> {
    let folders = named(FOLDERS);
    // a file that is not there gives a reason that nobody needs
    let here = folders.iter().flat_map(|f| names.iter().map(move |name| f.join(name))).filter(|f| f.is_file());
    let mut problem = None;
    for file in here.chain(names.iter().map(PathBuf::from)) {
        open_companions(&file);
        match open_file(&file) {
            Ok(handle) => return Ok(handle),
            Err(why) => _ = problem.get_or_insert(why),
        }
    }
    Err(problem.expect("every library has a name"))
}

/// NVRTC opens its built-in functions by their name alone, which the dynamic linker knows once they are open. What is not
/// there is not needed, or NVRTC says so.
fn open_companions(file: &Path) {
    let (Some(folder), true) = (file.parent(), file.to_string_lossy().contains("libnvrtc")) else { return };
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so") {
            open_file(&entry.path()).ok();
        }
    }
}

fn open_file(file: &Path) -> Result<*mut c_void, String> {
    let path = CString::new(file.as_os_str().as_bytes()).map_err(|_| format!("{}: a zero byte", file.display()))?;
    // SAFETY: a valid string; the initialisers of the libraries are NVIDIA's, as if they had been linked
    let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(handle);
    }
    // SAFETY: after a failure `dlerror` gives a string that lives until the next call
    Err(unsafe { CStr::from_ptr(libc::dlerror()) }.to_string_lossy().into_owned())
}
