//! The engine as wasm: compiled by cargo, bound by wasm-bindgen, shrunk by wasm-opt.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::Effort;
use crate::fingerprint::Fingerprint;
use crate::process::{find_program, probe, run};
use crate::progress::{bytes, ready, step};
use crate::project::Project;
use crate::setup::WasmToolchain;

/// One build of the engine. The package picks the wasm by what the browser can do.
struct Variant {
    /// `inkling_NAME_bg.wasm`; the first variant's file is plain `inkling_bg.wasm`.
    name: &'static str,
    /// For rustc, beside those that all variants share.
    rust_flags: &'static [&'static str],
    /// For wasm-opt, beside those that all variants share.
    wasm_opt_flags: &'static [&'static str],
    /// Name of its JavaScript glue. Builds with the same imports share one file; shared memory needs its own.
    glue: &'static str,
    /// Whether `chat` and `test` build it, or only `build`.
    everyday: bool,
}

/// Shared memory, and what wasm-bindgen needs to give each worker its own stack and thread-local storage. The maximum is
/// what 32 bits can address; browsers only reserve it.
macro_rules! threads {
    ($features:literal) => {
        &[
            $features,
            "-Clink-arg=--shared-memory",
            "-Clink-arg=--import-memory",
            "-Clink-arg=--max-memory=4294967296",
            "-Clink-arg=--export=__wasm_init_tls",
            "-Clink-arg=--export=__tls_size",
            "-Clink-arg=--export=__tls_align",
            "-Clink-arg=--export=__tls_base",
        ]
    };
}

const VARIANTS: [Variant; 4] = [
    Variant {
        name: "simd",
        rust_flags: &["-Ctarget-feature=+simd128"],
        wasm_opt_flags: &["--enable-simd"],
        glue: "inkling",
        everyday: true,
    },
    Variant {
        name: "relaxed",
        rust_flags: &["-Ctarget-feature=+simd128,+relaxed-simd"],
        wasm_opt_flags: &["--enable-simd", "--enable-relaxed-simd"],
        glue: "inkling",
        everyday: false,
    },
    Variant {
        name: "simd_threads",
        rust_flags: threads!("-Ctarget-feature=+simd128,+atomics,+bulk-memory,+mutable-globals"),
        wasm_opt_flags: &["--enable-simd", "--enable-threads"],
        glue: "inkling_threads",
        everyday: false,
    },
    Variant {
        name: "relaxed_threads",
        rust_flags: threads!(
            "-Ctarget-feature=+simd128,+relaxed-simd,+atomics,+bulk-memory,+mutable-globals"
        ),
        wasm_opt_flags: &["--enable-simd", "--enable-relaxed-simd", "--enable-threads"],
        glue: "inkling_threads",
        everyday: true,
    },
];

/// A third of the compiler's usual limit for calls that it replaces by what they call. Kernels say themselves what has to
/// be inlined, and stay as they were; the rest takes 30 kB less of the download. And instructions in the order of the
/// source: in the compiler's own, kernels need more registers than there are (products with half floats take 1.5 times as
/// long).
const COMMON_FLAGS: [&str; 2] = [
    "-Cllvm-args=-inline-threshold=75",
    "-Cllvm-args=-pre-RA-sched=source",
];

/// What every browser with SIMD has, and what rustc uses without being told.
const WASM_FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-nontrapping-float-to-int",
    "--enable-sign-ext",
    "--enable-mutable-globals",
    "--enable-multivalue",
    "--enable-reference-types",
];

/// Builds the variants that `effort` asks for into `pkg/wasm/`, all at once: the end of each build (link-time
/// optimisation, wasm-opt) keeps only one core busy.
pub fn build(project: &Project, toolchain: &WasmToolchain, effort: Effort) -> Result<()> {
    let wanted: Vec<&Variant> = VARIANTS
        .iter()
        .filter(|variant| variant.everyday || effort == Effort::Publish)
        .collect();
    std::thread::scope(|scope| {
        let start =
            |&variant| scope.spawn(move || build_variant(project, toolchain, variant, effort));
        let builds: Vec<_> = wanted.iter().map(start).collect();
        builds
            .into_iter()
            .try_for_each(|build| build.join().map_err(|_| anyhow!("a build panicked"))?)
    })?;
    for variant in &wanted {
        let twins = wanted.iter().filter(|other| other.glue == variant.glue);
        copy_glue(project, variant, twins)?;
    }
    write_list(project, &wanted)
}

fn build_variant(
    project: &Project,
    toolchain: &WasmToolchain,
    variant: &Variant,
    effort: Effort,
) -> Result<()> {
    let title = format!("Compiling the engine to wasm ({})", variant.name);
    let module = step(&title, || compile(project, toolchain, variant, effort))?;
    finish(project, variant, &module, effort)
}

impl Variant {
    fn file(&self, project: &Project) -> PathBuf {
        let name = match self.name {
            "simd" => "inkling_bg.wasm".to_owned(),
            name => format!("inkling_{name}_bg.wasm"),
        };
        project.path("pkg/wasm").join(name)
    }
}

/// The JavaScript of a variant, which must be that of all variants whose glue has the same name.
fn copy_glue<'a>(
    project: &Project,
    variant: &Variant,
    twins: impl Iterator<Item = &'a &'a Variant>,
) -> Result<()> {
    let script = statements(project, variant)?;
    for twin in twins {
        if statements(project, twin)? != script {
            bail!(
                "{} and {} cannot share one glue file any longer: give one its own in VARIANTS",
                variant.name,
                twin.name
            );
        }
    }
    for extension in ["js", "d.ts"] {
        std::fs::copy(
            bindings(project, variant).join(format!("inkling.{extension}")),
            project
                .path("pkg/wasm")
                .join(format!("{}.{extension}", variant.glue)),
        )?;
    }
    Ok(())
}

/// The lines of a variant's JavaScript without comments: those name functions by numbers that differ between builds.
fn statements(project: &Project, variant: &Variant) -> Result<Vec<String>> {
    let script = std::fs::read_to_string(bindings(project, variant).join("inkling.js"))?;
    let lines = script
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    Ok(lines.map(str::to_owned).collect())
}

/// Where wasm-bindgen and wasm-opt work on a variant.
fn bindings(project: &Project, variant: &Variant) -> PathBuf {
    project.cache(&format!("bindings-{}", variant.name))
}

/// `builds.js`: which variants the package carries. Not those of an earlier run that asked for more: they are of another
/// state of the source, and the glue would not fit them.
fn write_list(project: &Project, wanted: &[&Variant]) -> Result<()> {
    let names: Vec<String> = wanted
        .iter()
        .map(|variant| format!("'{}'", variant.name))
        .collect();
    let text = format!("export const builds = [{}];\n", names.join(", "));
    Ok(std::fs::write(project.path("pkg/wasm/builds.js"), text)?)
}

/// `cargo clippy` over the code that only exists for wasm.
pub fn lint(project: &Project, toolchain: &WasmToolchain) -> Result<Command> {
    let mut command = cargo(project, toolchain, &VARIANTS[0], "clippy")?;
    // In the profile of the build, so that the standard library is not compiled twice.
    command.args(["--lib", "--profile", "release", "--", "-Dwarnings"]);
    Ok(command)
}

/// Compiles an example for wasm, with the flags of a variant; gives its module.
pub fn example(
    project: &Project,
    toolchain: &WasmToolchain,
    variant: &str,
    name: &str,
) -> Result<PathBuf> {
    let variant = VARIANTS
        .iter()
        .find(|known| known.name == variant)
        .with_context(|| format!("there is no variant {variant}"))?;
    let mut command = cargo(project, toolchain, variant, "build")?;
    run(command.args(["--example", name, "--profile", "release"]))?;
    let folder = target_folder(project, variant).join(toolchain.target());
    Ok(folder.join(format!("release/examples/{name}.wasm")))
}

fn compile(
    project: &Project,
    toolchain: &WasmToolchain,
    variant: &Variant,
    effort: Effort,
) -> Result<PathBuf> {
    let profile = match effort {
        Effort::Release | Effort::Publish => "release",
        Effort::Dev => "wasm-dev",
    };
    let mut command = cargo(project, toolchain, variant, "build")?;
    run(command.args(["--lib", "--profile", profile]))?;
    let folder = target_folder(project, variant).join(toolchain.target());
    Ok(folder.join(profile).join("inkling.wasm"))
}

/// cargo with the flags of a variant. Each variant has its own target folder: flags are part of what cargo compares, so
/// that in a common one each would throw out the other's standard library.
fn cargo(
    project: &Project,
    toolchain: &WasmToolchain,
    variant: &Variant,
    subcommand: &str,
) -> Result<Command> {
    let mut flags: Vec<String> = variant
        .rust_flags
        .iter()
        .chain(&COMMON_FLAGS)
        .map(|&flag| flag.to_owned())
        .collect();
    // Panic messages name source files: without the folders of whoever built it.
    let mut places = vec![
        (toolchain.library_source().canonicalize()?, "rust"),
        (project.root().to_path_buf(), "inkling"),
    ];
    let registries = std::fs::read_dir(cargo_home()?.join("registry/src"));
    for registry in registries.into_iter().flatten() {
        places.push((registry?.path(), "crates"));
    }
    for (place, name) in places {
        flags.push(format!("--remap-path-prefix={}={name}", place.display()));
    }
    let mut command = toolchain.cargo(subcommand);
    command
        .args(["--package", "inkling", "--features", "webgpu"])
        .arg("--target-dir")
        .arg(target_folder(project, variant))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .current_dir(project.root());
    Ok(command)
}

fn cargo_home() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CARGO_HOME") {
        return Ok(folder.into());
    }
    Ok(std::env::home_dir()
        .context("there is no home folder")?
        .join(".cargo"))
}

fn target_folder(project: &Project, variant: &Variant) -> PathBuf {
    project.path("target/wasm").join(variant.name)
}

/// Bindings and optimisation, unless the compiled module is the one of the last time.
fn finish(project: &Project, variant: &Variant, module: &Path, effort: Effort) -> Result<()> {
    let wasm_opt = project.path("node_modules/binaryen/bin/wasm-opt");
    let mut inputs = Fingerprint::new(if effort == Effort::Dev {
        "dev"
    } else {
        "release"
    });
    for input in [
        module,
        &project.path("xtask/src/build/wasm.rs"),
        &project.path("node_modules/binaryen/package.json"),
    ] {
        inputs.add(input)?;
    }
    let result = variant.file(project);
    let stamp = project.cache(&format!("wasm-{}", variant.name));
    let made = result.exists() && bindings(project, variant).join("inkling.js").exists();
    if made && inputs.matches(&stamp) {
        ready(&format!(
            "{} is up to date ({})",
            variant.name,
            size(&result)?
        ));
        return Ok(());
    }

    let work = bindings(project, variant);
    std::fs::create_dir_all(&work)?;
    let name = variant.name;
    step(&format!("Writing the JavaScript bindings ({name})"), || {
        bind(project, module, &work)
    })?;
    let bound = work.join("inkling_bg.wasm");
    if effort != Effort::Dev {
        step(&format!("Optimising with wasm-opt ({name})"), || {
            optimise(&wasm_opt, variant, &bound)
        })?;
    }
    std::fs::create_dir_all(project.path("pkg/wasm"))?;
    std::fs::copy(&bound, &result)?;
    ready(&format!("{}: {}", variant.name, size(&result)?));
    inputs.write(&stamp)
}

fn size(file: &Path) -> Result<String> {
    Ok(bytes(std::fs::metadata(file)?.len()))
}

/// Runs wasm-bindgen: the installed command if it is of the very version of our `Cargo.lock`, else our own program.
fn bind(project: &Project, module: &Path, folder: &Path) -> Result<()> {
    let wanted = locked_version(project, "wasm-bindgen")?;
    let installed = find_program("wasm-bindgen")
        .and_then(|program| probe(Command::new(program).arg("--version")))
        .is_some_and(|text| text.split_whitespace().nth(1) == Some(&wanted));
    if installed {
        return run(Command::new("wasm-bindgen")
            .args([
                "--target",
                "web",
                "--remove-name-section",
                "--remove-producers-section",
            ])
            .args(["--out-name", "inkling", "--out-dir"])
            .arg(folder)
            .arg(module));
    }
    if locked_version(project, "wasm-bindgen-cli-support")? != wanted {
        bail!(
            "Cargo.lock: wasm-bindgen and wasm-bindgen-cli-support must have the same version ({wanted})"
        );
    }
    run(Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--package",
            "xtask-bindgen",
            "--profile",
            "tools",
            "--",
        ])
        .arg(module)
        .arg(folder)
        .arg("inkling")
        .current_dir(project.root()))
}

/// Not -O3: it puts constants back that kernels hide from V8, and -Os would take no more than 0.4 % off the compressed size.
/// Functions that are called in one place stay functions, unless they are small: else all kernels of a product become one,
/// which V8 compiles badly, and which is larger too. Where the stack ends, at the lowest addresses, nothing is ever stored,
/// so that what is added to an address may become part of the instruction: 2 kB less.
fn optimise(wasm_opt: &Path, variant: &Variant, module: &Path) -> Result<()> {
    let optimised = module.with_extension("opt.wasm");
    run(Command::new("node")
        .arg(wasm_opt)
        .arg(module)
        .arg("-o")
        .arg(&optimised)
        .args(["-O2", "--one-caller-inline-max-function-size=50"])
        .args(["--low-memory-unused", "--optimize-added-constants"])
        .args(["--strip-debug", "--strip-producers"])
        .args(WASM_FEATURES)
        .args(variant.wasm_opt_flags))?;
    std::fs::rename(&optimised, module)?;
    Ok(())
}

/// The version that `Cargo.lock` holds a package to.
fn locked_version(project: &Project, package: &str) -> Result<String> {
    let lock = std::fs::read_to_string(project.path("Cargo.lock"))?;
    let entry = format!("name = \"{package}\"\nversion = \"");
    let start = lock
        .find(&entry)
        .with_context(|| format!("Cargo.lock has no {package}"))?
        + entry.len();
    let rest = &lock[start..];
    Ok(rest[..rest.find('"').unwrap_or(rest.len())].to_owned())
}
