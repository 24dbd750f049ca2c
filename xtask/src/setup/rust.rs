//! A Rust toolchain that compiles for wasm32.
//!
//! The standard library is compiled with the crate (`-Zbuild-std`): so it has the same target features and aborts on
//! panic, and the only thing needed beyond a compiler is the library's source. Stable compilers accept that with
//! `RUSTC_BOOTSTRAP=1`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::apt;
use crate::process::{find_program, is_executable, probe, succeeds_within};
use crate::progress::{note, ready, step};

const TARGET: &str = "wasm32-unknown-unknown";
/// rustup needs seconds for this where it can reach its server at all.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(90);
/// Debian has a second, newer set of Rust packages for building browsers; other releases have a new enough first set.
const DEBIAN_SETS: [DebianSet; 2] = [
    DebianSet {
        packages: ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"],
        clippy: "rust-web-clippy",
    },
    DebianSet {
        packages: ["rustc", "cargo", "rust-src", "rust-llvm"],
        clippy: "rust-clippy",
    },
];

struct DebianSet {
    packages: [&'static str; 4],
    clippy: &'static str,
}

/// One compiler with its library's source.
pub struct WasmToolchain {
    sysroot: PathBuf,
    /// What `rustc --version` says.
    pub version: String,
}

impl WasmToolchain {
    /// `cargo SUBCOMMAND` for the wasm target.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let bin = self.sysroot.join("bin");
        let mut command = match subcommand {
            // Called by its path: `cargo clippy` would take the first one in PATH, perhaps of another toolchain.
            "clippy" => Command::new(bin.join("cargo-clippy")),
            _ => Command::new(bin.join("cargo")),
        };
        command
            .arg(subcommand)
            .args(["--target", TARGET, "-Zbuild-std=std,panic_abort"])
            // Small sorting and formatting instead of the fastest: 30 kB of the download.
            .arg("-Zbuild-std-features=optimize_for_size")
            .env("CARGO", bin.join("cargo"))
            .env("RUSTC", bin.join("rustc"))
            .env("RUSTC_BOOTSTRAP", "1");
        // Left by the cargo and the rustup that started us; they belong to another toolchain.
        for name in [
            "RUSTUP_TOOLCHAIN",
            "LD_LIBRARY_PATH",
            "DYLD_FALLBACK_LIBRARY_PATH",
            "CARGO_ENCODED_RUSTFLAGS",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// The folder below the target folder where cargo leaves what it makes for this target.
    pub fn target(&self) -> &'static str {
        TARGET
    }

    /// Where the source of the standard library stands.
    pub fn library_source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }

    fn at(sysroot: &Path) -> Option<Self> {
        let version = probe(Command::new(sysroot.join("bin/rustc")).arg("--version"))?;
        let toolchain = Self {
            sysroot: sysroot.to_path_buf(),
            version,
        };
        let complete = is_new_enough(toolchain.version.split(' ').nth(1)?)
            && toolchain
                .library_source()
                .join("library/Cargo.lock")
                .is_file()
            && is_executable(&sysroot.join("bin/cargo"))
            && toolchain.has_linker();
        complete.then_some(toolchain)
    }

    fn has_linker(&self) -> bool {
        let own = std::fs::read_dir(self.sysroot.join("lib/rustlib"));
        let mut own = own
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path());
        own.any(|folder| is_executable(&folder.join("bin/rust-lld")))
            || find_program("rust-lld").is_some()
    }
}

/// Finds a toolchain or installs what one lacks.
pub fn wasm_toolchain() -> Result<WasmToolchain> {
    let found = active().or_else(system);
    let toolchain = match found {
        Some(toolchain) => toolchain,
        None => install()?,
    };
    ready(&format!("Rust for wasm: {}", toolchain.version));
    Ok(toolchain)
}

/// Both linters: clippy and rustfmt for the host, clippy for the wasm toolchain.
pub fn linters(toolchain: &WasmToolchain) -> Result<()> {
    for tool in ["clippy", "fmt"] {
        if probe(Command::new("cargo").args([tool, "--version"])).is_none() {
            bail!(
                "cargo {tool} is missing: run `rustup component add clippy rustfmt` and try again"
            );
        }
    }
    let clippy = toolchain.sysroot.join("bin/cargo-clippy");
    if !is_executable(&clippy) && toolchain.sysroot == Path::new("/usr") && apt::is_here() {
        let package = debian_set().map_or(DEBIAN_SETS[0].clippy, |set| set.clippy);
        apt::install(&[package])?;
    }
    if !is_executable(&clippy) {
        bail!("{} is missing", clippy.display());
    }
    ready("Linters: rustfmt, clippy");
    Ok(())
}

/// The toolchain that runs us.
fn active() -> Option<WasmToolchain> {
    let sysroot = probe(Command::new("rustc").args(["--print", "sysroot"]))?;
    WasmToolchain::at(Path::new(&sysroot))
}

/// The one of the system's packages.
fn system() -> Option<WasmToolchain> {
    WasmToolchain::at(Path::new("/usr"))
}

fn install() -> Result<WasmToolchain> {
    if find_program("rustup").is_some()
        && let Some(toolchain) = step("Asking rustup for the standard library's source", || {
            Ok(from_rustup())
        })?
    {
        return Ok(toolchain);
    }
    if apt::is_here()
        && let Some(set) = debian_set()
    {
        note("rustup cannot add what wasm needs here: taking the system's packages beside it");
        return from_debian(set);
    }
    bail!(
        "no Rust toolchain here can compile for wasm. Install rustup (see rust-lang.org), then run\n  \
         rustup toolchain install stable --component rust-src\nand try again"
    )
}

fn from_rustup() -> Option<WasmToolchain> {
    let mut command = Command::new("rustup");
    command.args(["component", "add", "rust-src"]);
    if !succeeds_within(&mut command, RUSTUP_PATIENCE) {
        return None;
    }
    active()
}

fn from_debian(set: &DebianSet) -> Result<WasmToolchain> {
    let mut packages = set.packages.to_vec();
    // The linker must come from the same LLVM that the compiler is linked with.
    let linker = apt::depends(set.packages[3])
        .iter()
        .find_map(|package| Some(format!("lld-{}", package.strip_prefix("llvm-")?)));
    packages.push(linker.as_deref().unwrap_or("lld"));
    apt::install(&packages)?;
    system().context("the packages are installed, but there is no complete toolchain in /usr")
}

/// The set of packages that is new enough on this release.
fn debian_set() -> Option<&'static DebianSet> {
    DEBIAN_SETS
        .iter()
        .find(|set| apt::candidate(set.packages[0]).is_some_and(|version| is_new_enough(&version)))
}

fn is_new_enough(version: &str) -> bool {
    let parse = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    parse(version) >= parse(env!("CARGO_PKG_RUST_VERSION"))
}
