//! Reading what each layer has of its own from GGUF metadata.

use super::arch::{Architecture, WindowPattern};
use super::config::{LatentConfig, LayerConfig, Mixer};
use super::keys::{Keys, MAX_LAYERS, MAX_WIDTH};
use crate::Result;

/// Shapes and kinds of the layers that run.
///
/// # Errors
/// [`Error::MissingMetadata`], [`Error::BadMetadata`].
pub(super) fn read_layers(
    keys: &Keys,
    arch: &Architecture,
    n_layers: usize,
    d_model: usize,
) -> Result<Vec<LayerConfig>> {
    let heads = keys.per_layer("attention.head_count", n_layers)?;
    let kv_heads = keys.opt_per_layer("attention.head_count_kv", n_layers)?;
    let kv_heads = kv_heads.unwrap_or_else(|| heads.clone());
    let d_ff = keys.opt_per_layer("feed_forward_length", n_layers)?;
    let d_ff = d_ff.unwrap_or_else(|| vec![0; n_layers]);
    let windows = read_windows(keys, arch, n_layers)?;
    let mut mixers = read_mixers(keys, arch, &kv_heads)?;
    if arch.single_block {
        for (mixer, _) in mixers.iter_mut().zip(&d_ff).filter(|(_, d_ff)| **d_ff > 0) {
            *mixer = Mixer::Absent;
        }
    }
    let rotated = read_rotated(keys, arch, &windows)?;
    let sources = read_kv_sources(keys, &windows)?;
    let most_heads = heads.iter().copied().max().unwrap_or(0).max(1);
    let default = d_model / most_heads;
    let (head_dim, local_head_dim) = match read_latent(keys, arch, default)? {
        Some(latent) => (latent.plain + latent.rotated, latent.plain + latent.rotated),
        None => read_head_dims(keys, default)?,
    };
    let uneven = |i: &usize| heads[*i] == 0 || kv_heads[*i] == 0 || heads[*i] % kv_heads[*i] != 0;
    if (0..n_layers).any(|i| mixers[i] == Mixer::Attention && uneven(&i)) {
        let reason = "must divide the number of query heads";
        return Err(keys.bad("attention.head_count_kv", reason));
    }
    let layer = |i: usize| LayerConfig {
        mixer: mixers[i],
        n_heads: heads[i],
        head_dim: windows[i].map_or(head_dim, |_| local_head_dim),
        kv_source: sources[i],
        n_kv_heads: kv_heads[i],
        d_ff: d_ff[i],
        window: windows[i],
        rotated: rotated[i],
    };
    Ok((0..n_layers).map(layer).collect())
}

/// Shape of attention whose keys and values come from one short vector a token.
///
/// # Errors
/// [`Error::MissingMetadata`], [`Error::BadMetadata`].
pub(super) fn read_latent(
    keys: &Keys,
    arch: &Architecture,
    default_value: usize,
) -> Result<Option<LatentConfig>> {
    if !arch.latent {
        return Ok(None);
    }
    let size = |key: &str| keys.opt_size(key, MAX_WIDTH);
    let rank = keys.size("attention.kv_lora_rank", MAX_WIDTH)?;
    let rotated = keys.size("rope.dimension_count", MAX_WIDTH)?;
    // Files that store the two products apart give the lengths in the cache under the plain names.
    let (key, value) = match size("attention.key_length_mla")? {
        Some(key) => (key, keys.size("attention.value_length_mla", MAX_WIDTH)?),
        None => {
            let value = size("attention.value_length")?.unwrap_or(default_value);
            (keys.size("attention.key_length", MAX_WIDTH)?, value)
        }
    };
    if rotated % 2 != 0 || rotated >= key {
        let reason = "must be even and smaller than the head";
        return Err(keys.bad("rope.dimension_count", reason));
    }
    if value < rotated || value > key {
        let reason = "values must be no longer than keys, and no shorter than what is rotated";
        return Err(keys.bad("attention.value_length", reason));
    }
    Ok(Some(LatentConfig {
        rank,
        plain: key - rotated,
        rotated,
        value,
    }))
}

/// Length of a head in layers without and with a window.
fn read_head_dims(keys: &Keys, default: usize) -> Result<(usize, usize)> {
    let full = keys.opt_size("attention.key_length", MAX_WIDTH)?;
    let full = full.unwrap_or(default);
    let local = keys.opt_size("attention.key_length_swa", MAX_WIDTH)?;
    let local = local.unwrap_or(full);
    let values = [
        ("attention.value_length", full),
        ("attention.value_length_swa", local),
    ];
    for (key, length) in values {
        if keys
            .opt_size(key, MAX_WIDTH)?
            .is_some_and(|value| value != length)
        {
            return Err(keys.bad(key, "keys and values of different length are not supported"));
        }
    }
    Ok((full, local))
}

fn read_windows(keys: &Keys, arch: &Architecture, n_layers: usize) -> Result<Vec<Option<usize>>> {
    let (default, default_window) = match arch.window {
        WindowPattern::AllButEvery(every, window) => (every, window),
        WindowPattern::AllButFirstOf(every, window) => (every, window),
        WindowPattern::AllButEveryAt(layers, every, window) if layers == n_layers => {
            (every, window)
        }
        WindowPattern::AllButEveryAt(..) | WindowPattern::Never => return Ok(vec![None; n_layers]),
    };
    let window = keys
        .opt_count("attention.sliding_window", u64::from(u32::MAX))?
        .unwrap_or(default_window);
    if window == 0 {
        return Ok(vec![None; n_layers]);
    }
    let pattern_key = keys.full("attention.sliding_window_pattern");
    if let Ok(flags) = keys.meta.int_array(&pattern_key) {
        if flags.len() < n_layers {
            return Err(keys.bad(
                "attention.sliding_window_pattern",
                "has fewer entries than layers",
            ));
        }
        return Ok(flags
            .iter()
            .take(n_layers)
            .map(|flag| (*flag != 0).then_some(window))
            .collect());
    }
    let every = keys
        .meta
        .opt_u64(&pattern_key)?
        .map_or(default, |n| n as usize);
    let first = matches!(arch.window, WindowPattern::AllButFirstOf(..));
    let full = if first { 0 } else { every.saturating_sub(1) };
    let local = |i: usize| every == 0 || i % every != full;
    Ok((0..n_layers).map(|i| local(i).then_some(window)).collect())
}

/// Which layers have positions.
fn read_rotated(keys: &Keys, arch: &Architecture, windows: &[Option<usize>]) -> Result<Vec<bool>> {
    let windowed = windows.iter().any(Option::is_some);
    let finetuned = keys.meta.opt_bool(&keys.full("rope.scaling.finetuned"))?;
    let never = arch.rope_switch && finetuned == Some(false);
    let given = keys.meta.int_array(&keys.full("attention.rope_pattern"));
    let given = given.unwrap_or_default();
    let rotated = |(i, window): (usize, &Option<usize>)| {
        !never
            && given.get(i).is_none_or(|flag| *flag != 0)
            && arch.unrotated_every.is_none_or(|n| (i + 1) % n != 0)
            && (!arch.unrotated_without_window || !windowed || window.is_some())
    };
    Ok(windows.iter().enumerate().map(rotated).collect())
}

/// Layers at the end may look at the keys of the last layer of their kind (with or without a window) that has own ones.
fn read_kv_sources(keys: &Keys, windows: &[Option<usize>]) -> Result<Vec<Option<usize>>> {
    let shared = keys
        .opt_count("attention.shared_kv_layers", MAX_LAYERS)?
        .unwrap_or(0);
    let first = windows.len().saturating_sub(shared);
    let source = |i: usize| {
        if i < first {
            return Ok(None);
        }
        let same_kind = |source: &usize| windows[*source].is_some() == windows[i].is_some();
        let source = (0..first).rev().find(same_kind);
        let missing = || {
            keys.bad(
                "attention.shared_kv_layers",
                "leaves no layer to share with",
            )
        };
        source.map(Some).ok_or_else(missing)
    };
    (0..windows.len()).map(source).collect()
}

/// Which layers are recurrent: those without key/value heads, or all but every so many.
fn read_mixers(keys: &Keys, arch: &Architecture, kv_heads: &[usize]) -> Result<Vec<Mixer>> {
    let Some(interval) = arch.full_attention_every else {
        return Ok(kv_heads
            .iter()
            .map(|n| {
                if *n == 0 {
                    arch.recurrent
                } else {
                    Mixer::Attention
                }
            })
            .collect());
    };
    let n_layers = kv_heads.len();
    let flags = keys
        .meta
        .int_array(&keys.full("attention.recurrent_layers"))
        .ok();
    let interval = keys
        .opt_size("full_attention_interval", MAX_LAYERS)?
        .unwrap_or(interval);
    let recurrent = |i: usize| match &flags {
        Some(flags) => flags.get(i).is_some_and(|flag| *flag != 0),
        None => !(i + 1).is_multiple_of(interval),
    };
    Ok((0..n_layers)
        .map(|i| {
            if recurrent(i) {
                arch.recurrent
            } else {
                Mixer::Attention
            }
        })
        .collect())
}
