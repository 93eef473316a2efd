//! The target, for `doctor`. With feature `cuda` also what the linker asks for by name (`-lcuda -lcublas …`) without any CUDA library at hand. Empty
//! archives stand for the libraries whose functions `src/kernel/cuda/shim` defines as jumps through a table, filled
//! when the program runs. Only the CUDA runtime, which is made to be linked statically, comes from the toolkit.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// The libraries, in the order of `LIBRARIES` in the shim; each has its functions in `symbols/NAME.txt`.
const LIBRARIES: [&str; 6] = ["cuda", "cublasLt", "cublas", "curand", "nvrtc", "cudnn"];
const SYMBOLS: &str = "src/kernel/cuda/shim/symbols";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // for `foolproof doctor`
    println!("cargo:rustc-env=FOOLPROOF_TARGET={}", env::var("TARGET").unwrap());
    if env::var_os("CARGO_FEATURE_CUDA").is_none() {
        return;
    }
    println!("cargo:rerun-if-changed={SYMBOLS}");
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    println!("cargo:rustc-link-search=native={}", out.display());
    for library in LIBRARIES {
        fs::write(out.join(format!("lib{library}.a")), "!<arch>\n").unwrap();
    }
    // without a toolkit the program can be checked, not linked
    if let Some(home) = env::var_os("CUDA_HOME") {
        let folders = ["lib", "lib64", "targets/x86_64-linux/lib"].map(|f| Path::new(&home).join(f));
        let found = folders.iter().map(|f| f.join("libcudart_static.a")).find(|f| f.is_file());
        let runtime = found.unwrap_or_else(|| panic!("no libcudart_static.a below CUDA_HOME, {}", home.display()));
        fs::copy(runtime, out.join("libcudart.a")).unwrap();
    }
    let (jumps, names) = table();
    fs::write(out.join("jumps.s"), jumps).unwrap();
    fs::write(out.join("symbols.rs"), names).unwrap();
}

/// Assembler text of all jumps and their table, and a Rust slice of `(library, name)` in the table's order.
fn table() -> (String, String) {
    let (mut jumps, mut slots, mut names) = (String::new(), String::new(), String::from("&[\n"));
    let mut n = 0;
    for (library, file) in LIBRARIES.iter().enumerate() {
        let list = fs::read_to_string(format!("{SYMBOLS}/{file}.txt")).unwrap();
        for name in list.split_whitespace() {
            // an unfilled slot leads to `late_missing` with the symbol's number
            jumps += &format!(
                ".section .text.late.{name},\"ax\",@progbits\n.globl {name}\n.hidden {name}\n.type {name},@function\n\
                 {name}:\n endbr64\n jmp *late_table+{}(%rip)\nlate_missing_{n}:\n movl ${n}, %edi\n jmp late_missing\n\
                 .size {name}, .-{name}\n",
                8 * n
            );
            slots += &format!(" .quad late_missing_{n}\n");
            names += &format!("({library}, c\"{name}\"),\n");
            n += 1;
        }
    }
    jumps += &format!(
        ".section .data.rel.late,\"aw\",@progbits\n.globl late_table\n.hidden late_table\n.p2align 3\n\
         .type late_table,@object\nlate_table:\n{slots}.size late_table, .-late_table\n.text\n"
    );
    (jumps, names + "]\n")
}
