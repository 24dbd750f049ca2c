//! Browsers for the tests and the measurements in one.

use std::path::PathBuf;

use anyhow::{Result, bail};

use super::apt;
use crate::browser::Browser;
use crate::process::{find_program, is_executable};
use crate::progress::ready;

/// Where a browser may be found, and what to install where it is not.
struct Places {
    title: &'static str,
    programs: &'static [&'static str],
    mac_apps: &'static [&'static str],
    packages: &'static [&'static str],
}

const CHROMIUM: Places = Places {
    title: "Chromium or Google Chrome",
    programs: &[
        "chromium",
        "chromium-browser",
        "google-chrome",
        "google-chrome-stable",
    ],
    mac_apps: &[
        "Applications/Chromium.app/Contents/MacOS/Chromium",
        "Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    ],
    packages: &["chromium"],
};

const FIREFOX: Places = Places {
    title: "Firefox",
    programs: &["firefox", "firefox-esr"],
    mac_apps: &["Applications/Firefox.app/Contents/MacOS/firefox"],
    packages: &["firefox-esr", "firefox"],
};

/// The browser that the environment names, else an installed one, else Debian's package.
pub fn find_or_install(browser: Browser) -> Result<PathBuf> {
    let places = match browser {
        Browser::Chromium => &CHROMIUM,
        Browser::Firefox => &FIREFOX,
    };
    let variable = browser.variable();
    if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
        if !is_executable(&path) {
            bail!("{variable} names {}, which is no program", path.display());
        }
        ready(&format!("Browser: {} (from {variable})", path.display()));
        return Ok(path);
    }
    if let Some(path) = places.find() {
        ready(&format!("Browser: {}", path.display()));
        return Ok(path);
    }
    let packaged = |package: &&&str| apt::candidate(package).is_some();
    if apt::is_here()
        && let Some(package) = places.packages.iter().find(packaged)
    {
        apt::install(&[package])?;
    }
    match places.find() {
        Some(path) => Ok(path),
        None => bail!(
            "no browser found: install {}, or set {variable} to the path of one",
            places.title
        ),
    }
}

impl Places {
    fn find(&self) -> Option<PathBuf> {
        let mac_folders = [Some(PathBuf::from("/")), std::env::home_dir()];
        let mac = mac_folders
            .into_iter()
            .flatten()
            .flat_map(|folder| self.mac_apps.iter().map(move |app| folder.join(app)))
            .find(|path| cfg!(target_os = "macos") && is_executable(path));
        self.programs
            .iter()
            .find_map(|name| find_program(name))
            .or(mac)
    }
}
