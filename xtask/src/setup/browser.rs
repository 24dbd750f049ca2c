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
    /// Folders of programs that stand in no PATH, below each folder of `/usr/lib` too.
    folders: &'static [&'static str],
    /// What else must be there.
    needs: Option<&'static str>,
    /// Sets of packages; the first one that there is.
    packages: &'static [&'static [&'static str]],
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
    folders: &[],
    needs: None,
    packages: &[&["chromium"]],
};

const FIREFOX: Places = Places {
    title: "Firefox",
    programs: &["firefox", "firefox-esr"],
    mac_apps: &["Applications/Firefox.app/Contents/MacOS/firefox"],
    folders: &[],
    needs: None,
    packages: &[&["firefox-esr"], &["firefox"]],
};

/// Its own browser, which is no program for people; it has no headless mode.
const WEBKIT: Places = Places {
    title: "WebKitGTK with its MiniBrowser, and Xvfb",
    programs: &["MiniBrowser"],
    mac_apps: &[],
    folders: &["webkitgtk-6.0", "webkit2gtk-4.1", "webkit2gtk-4.0"],
    needs: Some("Xvfb"),
    packages: &[&["webkit2gtk-driver", "xvfb"]],
};

/// The browser that the environment names, else an installed one, else Debian's package.
pub fn find_or_install(browser: Browser) -> Result<PathBuf> {
    let places = match browser {
        Browser::Chromium => &CHROMIUM,
        Browser::Firefox => &FIREFOX,
        Browser::WebKit => &WEBKIT,
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
    let packaged = |set: &&&[&str]| set.iter().all(|name| apt::candidate(name).is_some());
    if apt::is_here()
        && let Some(packages) = places.packages.iter().find(packaged)
    {
        apt::install(packages)?;
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
        if let Some(helper) = self.needs {
            find_program(helper)?;
        }
        let mac_folders = [Some(PathBuf::from("/")), std::env::home_dir()];
        let mac = mac_folders
            .into_iter()
            .flatten()
            .flat_map(|folder| self.mac_apps.iter().map(move |app| folder.join(app)))
            .find(|path| cfg!(target_os = "macos") && is_executable(path));
        self.programs
            .iter()
            .find_map(|name| find_program(name))
            .or_else(|| self.find_in_folders())
            .or(mac)
    }

    fn find_in_folders(&self) -> Option<PathBuf> {
        if self.folders.is_empty() {
            return None;
        }
        // Debian has a folder for each kind of processor.
        let below = std::fs::read_dir("/usr/lib").into_iter().flatten();
        let mut roots: Vec<_> = below.flatten().map(|entry| entry.path()).collect();
        roots.extend(["/usr/lib", "/usr/libexec"].map(PathBuf::from));
        let folders = (self.folders.iter())
            .flat_map(|folder| roots.iter().map(move |root| root.join(folder)));
        folders
            .flat_map(|folder| self.programs.iter().map(move |name| folder.join(name)))
            .find(|path| is_executable(path))
    }
}
