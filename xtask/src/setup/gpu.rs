//! A Vulkan driver for the tests of the GPU backend.

use std::path::Path;

use super::apt;
use crate::progress::note;

/// Where drivers say that they are there.
const FOLDERS: [&str; 3] = [
    "/usr/share/vulkan/icd.d",
    "/usr/local/share/vulkan/icd.d",
    "/etc/vulkan/icd.d",
];

/// Debian's loader, and Mesa's drivers with one that needs no GPU.
const PACKAGES: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];

/// Installs a software driver where there is none. Without one the tests skip themselves, so nothing here fails.
pub fn find_or_install() {
    if !cfg!(target_os = "linux") || is_here() {
        return;
    }
    let installed = apt::is_here()
        && PACKAGES.iter().all(|name| apt::candidate(name).is_some())
        && apt::install(&PACKAGES).is_ok();
    if !installed {
        note(&format!(
            "no Vulkan driver: the tests of the GPU backend will skip themselves ({})",
            apt::advice(&PACKAGES)
        ));
    }
}

fn is_here() -> bool {
    let has_driver = |folder: &str| {
        Path::new(folder)
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some())
    };
    std::env::var_os("VK_DRIVER_FILES").is_some() || FOLDERS.into_iter().any(has_driver)
}
