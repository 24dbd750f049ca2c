//! A Chromium for the tests and the measurements in a browser.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::apt;
use crate::process::{find_program, is_executable};
use crate::progress::ready;

const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
const MAC_APPS: [&str; 3] = [
    "Applications/Chromium.app/Contents/MacOS/Chromium",
    "Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
];

/// The browser that `CHROMIUM` names, else an installed one, else Debian's package.
pub fn find_or_install() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CHROMIUM").map(PathBuf::from) {
        if !is_executable(&path) {
            bail!("CHROMIUM names {}, which is no program", path.display());
        }
        ready(&format!("Browser: {} (from CHROMIUM)", path.display()));
        return Ok(path);
    }
    if let Some(path) = find() {
        ready(&format!("Browser: {}", path.display()));
        return Ok(path);
    }
    if apt::is_here() && apt::candidate("chromium").is_some() {
        apt::install(&["chromium"])?;
    }
    match find() {
        Some(path) => Ok(path),
        None => bail!(
            "no Chromium found: install Chromium or Google Chrome, or set CHROMIUM to the path of one"
        ),
    }
}

fn find() -> Option<PathBuf> {
    let mac_folders = [Some(PathBuf::from("/")), std::env::home_dir()];
    let mac = mac_folders
        .into_iter()
        .flatten()
        .flat_map(|folder| MAC_APPS.map(|app| folder.join(app)))
        .find(|path| cfg!(target_os = "macos") && is_executable(path));
    PROGRAMS.iter().find_map(|name| find_program(name)).or(mac)
}
