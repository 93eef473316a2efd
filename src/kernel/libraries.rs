//! The CUDA libraries: their names, and where they are looked for. Without feature `cuda` nothing opens them; `doctor` looks all
//! the same.

use std::path::{Path, PathBuf};

/// File names of each library, in the order of `build.rs`; cuBLASLt stands before cuBLAS, which takes the one that is
/// loaded already.
pub const LIBRARIES: [&[&str]; 6] = [
    &["libcuda.so.1"],
    &["libcublasLt.so.13", "libcublasLt.so.12"],
    &["libcublas.so.13", "libcublas.so.12"],
    &["libcurand.so.10"],
    &["libnvrtc.so.13", "libnvrtc.so.12"],
    &["libcudnn.so.9"],
];

/// Folders that are searched first, separated as in PATH: the dynamic linker reads LD_LIBRARY_PATH when the program starts
/// and never again.
pub const FOLDERS: &str = "FOOLPROOF_CUDA_LIBS";

/// Where the dynamic linker of Linux lists the libraries that it knows.
pub const LISTED: &str = "/etc/ld.so.cache";

/// Those that a variable names.
pub fn named(variable: &str) -> Vec<PathBuf> {
    let folders = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&folders).filter(|folder| !folder.as_os_str().is_empty()).collect()
}

/// Folders that are searched before the list, in order.
pub fn folders() -> Vec<PathBuf> {
    [named(FOLDERS), named("LD_LIBRARY_PATH")].concat()
}

/// The file of the first of these names, as far as can be told without opening any.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let folders = folders();
    let in_folders = folders.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    let list = std::fs::read(LISTED).unwrap_or_default();
    let listed = names.iter().filter_map(|name| listed(&list, name));
    in_folders.chain(listed).find(|file| file.is_file())
}

/// The path of a library in the linker's list, whose texts end with a zero byte.
fn listed(list: &[u8], name: &str) -> Option<PathBuf> {
    let texts = list.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
    let is_it = |text: &&str| text.starts_with('/') && Path::new(text).file_name().is_some_and(|file| file == name);
    texts.into_iter().find(is_it).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_in_the_list_by_its_whole_name() {
        let list = b"ld.so-1.7.0\0\x01\x02\0libcuda.so.1\0/usr/lib/libcuda.so.1\0libx.so\0/opt/notlibx.so\0";
        assert_eq!(listed(list, "libcuda.so.1"), Some(PathBuf::from("/usr/lib/libcuda.so.1")));
        assert_eq!((listed(list, "libx.so"), listed(list, "libcuda.so")), (None, None));
    }
}
