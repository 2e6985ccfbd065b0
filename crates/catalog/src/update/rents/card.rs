//! Finds the catalog's GPU for a name, the text next to it and its memory.
//!
//! Owns the words that a name may contain in addition to the card: its memory (`80G`, `80GB`), its form factor (`SXM5`,
//! `PCIe`, `NVL`) and words that say nothing about it (`NVLink` connects both SXM and PCIe cards). Two places that disagree
//! about form factor or memory are a contradiction; an unstated form factor is guessed only among cards of the same memory,
//! and the row says so.

use crate::base::text::shown;
use crate::find::plain;
use crate::{Catalog, Gpu};

/// How far an imported memory size may be from the marketed one.
const MEMORY_TOLERANCE: std::ops::RangeInclusive<f64> = 0.90..=1.10;
/// Words in a name that do not distinguish cards.
const NOISE: [&str; 18] = [
    "nvidia",
    "tesla",
    "geforce",
    "nvlink",
    "nvswitch",
    "hbm2",
    "hbm2e",
    "hbm3",
    "hbm3e",
    "baremetal",
    "dgx",
    "hgx",
    "mega",
    "nvl72",
    "ib",
    "vm",
    "gpu",
    "ac",
];

/// Why no card could be identified.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NoMatch {
    /// The catalog does not have it, or it is ambiguous.
    Card(String),
    /// The memory is that of several cards: their number, and the memory in GB.
    Several(u32, f64),
}

/// A card's name, parsed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Named {
    /// The name without memory, form factor and noise: `h100`.
    pub(super) core: String,
    size: Option<f64>,
    form: Option<&'static str>,
}

impl Named {
    pub(super) fn of(catalog: &Catalog, name: &str) -> Self {
        let mut named = Self { core: String::new(), size: None, form: form(name) };
        for token in tokens(name) {
            if let Some(size) = gigabytes(&token) {
                named.size = Some(size);
            } else if !is_form(&token) && !NOISE.contains(&token.as_str()) {
                named.core.push_str(&token);
            }
        }
        // `H100NVL`, `A10080GB`: written without a separator.
        while let Some((rest, size)) = shorter(catalog, &named.core) {
            if first(catalog, &rest).is_none() && first(catalog, &named.core).is_some() {
                break;
            }
            named.size = size.or(named.size);
            named.core = rest;
        }
        if first(catalog, &named.core).is_none() {
            let edition = named
                .core
                .strip_prefix("rtxpro6000")
                .is_some_and(|rest| matches!(rest, "s" | "se" | "server" | "wk" | "ws"));
            if edition {
                "rtxpro6000".clone_into(&mut named.core);
            }
        }
        named
    }

    /// Whether the catalog has such a card.
    pub(super) fn known(&self, catalog: &Catalog) -> bool {
        first(catalog, &self.core).is_some()
    }

    /// Whether the name matches `gpu`: its family, and its memory if the name states one.
    pub(super) fn is(&self, catalog: &Catalog, gpu: &Gpu) -> bool {
        let fits = |size: f64| MEMORY_TOLERANCE.contains(&(size / gpu.memory_gb));
        first(catalog, &self.core).is_some_and(|card| card.family == gpu.family) && self.size.is_none_or(fits)
    }
}

/// The card, and whether its form factor had to be guessed.
pub(super) fn card<'a>(
    catalog: &'a Catalog,
    name: &str,
    context: &str,
    memory: &[f64],
) -> Result<(&'a Gpu, bool), NoMatch> {
    let named = Named::of(catalog, name);
    let pass = |text: String| Err(NoMatch::Card(text));
    let Some(known) = first(catalog, &named.core) else {
        return pass(format!("GPU {} is not in the catalog", shown(name)));
    };
    let form = match (named.form, form(context)) {
        // An NVL card is also a PCIe card.
        (Some("nvl"), Some("pcie")) | (Some("pcie"), Some("nvl")) => Some("nvl"),
        (Some(one), Some(other)) if one != other => {
            return pass(format!("the form factor of {} is ambiguous ({one}, {other})", shown(name)));
        }
        (one, other) => one.or(other),
    };
    let mut fits: Vec<&Gpu> = catalog.gpus.iter().filter(|gpu| gpu.family == known.family).collect();
    if let Some(form) = form {
        let formless = |gpu: &Gpu| !["pcie", "sxm", "nvl"].iter().any(|any| gpu.id.contains(any));
        fits.retain(|gpu| gpu.id.contains(form) || formless(gpu));
    }
    if let Some(size) = named.size {
        fits.retain(|gpu| MEMORY_TOLERANCE.contains(&(size / gpu.memory_gb)));
    }
    let before = fits.clone();
    if !memory.is_empty() {
        fits.retain(|gpu| memory.iter().any(|size| MEMORY_TOLERANCE.contains(&(size / gpu.memory_gb))));
    }
    let Some(card) = fits.first() else {
        return Err(misfit(name, &before, memory));
    };
    if fits.iter().any(|gpu| (gpu.memory_gb / card.memory_gb - 1.0).abs() > 0.2) {
        return pass(format!("the memory of {} is ambiguous", shown(name)));
    }
    Ok((card, fits.len() > 1))
}

/// Why a memory size matches none of the cards that the name allows.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small count")]
fn misfit(name: &str, cards: &[&Gpu], memory: &[f64]) -> NoMatch {
    let ratios = cards.iter().flat_map(|gpu| memory.iter().map(move |size| size / gpu.memory_gb));
    let near = |ratio: &f64| (ratio / ratio.round() - 1.0).abs() < 0.1;
    // Twice the memory may be another card with the same name; more means several cards.
    if let Some(ratio) = ratios.clone().find(|ratio| (2.5..100.0).contains(ratio) && near(ratio)) {
        return NoMatch::Several(ratio.round() as u32, memory.first().copied().unwrap_or_default());
    }
    match (cards, memory) {
        ([card, ..], [size, ..]) if ratios.clone().all(|ratio| ratio < 0.6) => {
            NoMatch::Card(format!("a fraction of {}: {size:.0} GB of {} GB", shown(name), card.memory_gb))
        }
        _ => NoMatch::Card(format!(
            "GPU {} with this form factor or memory is not in the catalog",
            shown(name)
        )),
    }
}

fn tokens(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|token| !token.is_empty()).map(str::to_lowercase)
}

/// `80g`, `80gb`, `80gib`: a memory size; `a10g` is a card.
fn gigabytes(token: &str) -> Option<f64> {
    let digits = ["gib", "gb", "g"].iter().find_map(|unit| token.strip_suffix(unit))?;
    digits
        .parse()
        .ok()
        .filter(|_| (2..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()))
}

/// The form factor in a text; `NVLink` does not count as one.
fn form(text: &str) -> Option<&'static str> {
    let mut found = None;
    for token in tokens(text) {
        match (form_of(&token), found) {
            (Some("nvl"), _) | (_, Some("nvl")) => found = Some("nvl"),
            (Some(form), None) => found = Some(form),
            _ => {}
        }
    }
    found
}

/// The form factor in a word: `sxm5x8`, `h100pcie`.
fn form_of(token: &str) -> Option<&'static str> {
    if token.contains("nvlink") {
        return None;
    }
    let end = token.trim_end_matches(|c: char| c.is_ascii_digit());
    let is = |form: &str| token.starts_with(form) || end.ends_with(form);
    if is("sxm") {
        Some("sxm")
    } else if is("pcie") || token == "pci" {
        Some("pcie")
    } else if token == "nvl" || (token.ends_with("nvl") && token.len() > 3) {
        Some("nvl")
    } else {
        None
    }
}

/// Whether a word is only a form factor.
fn is_form(token: &str) -> bool {
    matches!(token.trim_end_matches(|c: char| c.is_ascii_digit()), "sxm" | "pcie" | "pci" | "nvl")
}

/// A name without the memory or form factor at its end, and that memory.
fn shorter(catalog: &Catalog, core: &str) -> Option<(String, Option<f64>)> {
    for form in ["pcie", "sxm5", "sxm4", "sxm2", "sxm", "nvl"] {
        if let Some(rest) = core.strip_suffix(form).filter(|rest| !rest.is_empty()) {
            return Some((rest.to_owned(), None));
        }
    }
    let bare = ["gb", "g"].iter().find_map(|unit| core.strip_suffix(unit))?;
    // Digits of the name may precede the size (`a10080gb`): it is the largest that some card has, so `b200180gb` isn't 80 GB.
    let sizes = catalog.gpus.iter().filter_map(|gpu| {
        let rest = bare.strip_suffix(&gpu.memory_gb.to_string()).filter(|rest| rest.len() > 1)?;
        Some((rest.to_owned(), gpu.memory_gb))
    });
    sizes.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(rest, size)| (rest, Some(size)))
}

/// The first GPU that matches a name.
fn first<'a>(catalog: &'a Catalog, core: &str) -> Option<&'a Gpu> {
    let squeezed = |text: &str| plain(text).replace('-', "");
    catalog.gpus.iter().find(|gpu| {
        let names = gpu.aliases.iter().map(String::as_str).chain([gpu.id.as_str(), gpu.family.as_str()]);
        names.map(squeezed).any(|name| name == core)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_follows_from_name_instance_and_memory() {
        let catalog = Catalog::bundled();
        let identify = |name: &str, instance: &str, memory: &[f64]| {
            card(&catalog, name, instance, memory).map(|(gpu, guessed)| (gpu.id.clone(), guessed))
        };
        let sure = |id: &str| Ok((id.to_owned(), false));
        assert_eq!(identify("H100", "gpu_1x_h100_pcie", &[80.0]), sure("h100-pcie-80gb"));
        assert_eq!(identify("H100", "1x-H100_NVL-32-65536", &[93.6]), sure("h100-nvl-94gb"));
        assert_eq!(identify("H100NVL", "x", &[94.0]), sure("h100-nvl-94gb"));
        assert_eq!(identify("H100-SXM", "8x_H100-SXM_SECURE", &[80.0, 10.0]), sure("h100-sxm5-80gb"));
        assert_eq!(identify("H100", "1H100.80S.32V", &[80.0]), Ok(("h100-sxm5-80gb".to_owned(), true)));
        assert_eq!(identify("A100-80GB-SXM", "x", &[]), sure("a100-sxm4-80gb"));
        assert_eq!(identify("A100", "4x-A100_SXM4", &[160.0, 40.0]), sure("a100-sxm4-40gb"));
        assert_eq!(identify("RTX_4090", "x", &[23.99]), sure("rtx-4090-24gb"));
        assert_eq!(identify("RTX6000-Ada", "x", &[48.0]), sure("rtx-6000-ada-48gb"));
        assert_eq!(identify("RTXPRO6000", "x", &[96.0]), sure("rtx-pro-6000-blackwell-96gb"));
        assert_eq!(identify("V100", "gpu_8x_v100", &[16.0, 2.0]), Ok(("v100-sxm2-16gb".to_owned(), true)));
        // What catalogs write besides the card.
        assert_eq!(identify("A100-80G-PCIe", "n3-A100x1", &[80.0]), sure("a100-pcie-80gb"));
        assert_eq!(identify("A100-80G-PCIe-NVLink", "n3-A100x8-NVLink", &[80.0]), sure("a100-pcie-80gb"));
        assert_eq!(identify("H100-80G-PCIe-NVLink", "n3-H100x8-NVLink", &[80.0]), sure("h100-pcie-80gb"));
        assert_eq!(identify("H100-80G-SXM5", "n3-H100-SXM5x8", &[80.0]), sure("h100-sxm5-80gb"));
        assert_eq!(identify("A100_80G_SXM4", "x", &[80.0]), sure("a100-sxm4-80gb"));
        assert_eq!(identify("NVIDIA-H100-80GB-HBM3", "x", &[]), Ok(("h100-sxm5-80gb".to_owned(), true)));
        assert_eq!(identify("H100_PCIE_BAREMETAL", "x", &[80.0]), sure("h100-pcie-80gb"));
        assert_eq!(identify("RTX PRO 6000 96GB", "x", &[]), sure("rtx-pro-6000-blackwell-96gb"));
        assert_eq!(identify("RTXPRO6000-WK", "x", &[96.0]), sure("rtx-pro-6000-blackwell-96gb"));
        assert_eq!(identify("A10080GB", "x_sxm4", &[]), sure("a100-sxm4-80gb"));
        assert_eq!(identify("GB200", "GB200 NVL72", &[186.0]), sure("gb200-186gb"));
        assert_eq!(identify("MI300X192GB", "x", &[]), sure("mi300x-192gb"));
        assert_eq!(identify("B200180GB", "x", &[]), sure("b200-sxm-180gb"));
        assert_eq!(identify("A10G", "g5.xlarge", &[22.4]), sure("a10g-24gb"));
        assert_eq!(identify("L40S_PCIE", "L40Sx8_x", &[48.0]), sure("l40s-48gb"));
        let not = |text: &str| Err(NoMatch::Card(text.to_owned()));
        // 80 GB in total or each: two cards of 40 or two of 80.
        assert_eq!(identify("A100", "2x-A100_SXM4", &[80.0, 40.0]), not("the memory of A100 is ambiguous"));
        // A card with twice the memory of the one that is sold under the name.
        assert_eq!(
            identify("RTX4090", "x", &[47.99]),
            not("GPU RTX4090 with this form factor or memory is not in the catalog")
        );
        // A name that says 94 GB and a memory of 80; an ambiguous form factor; a slice; eight cards' memory for four.
        assert!(identify("H100_NVL", "n3-H100x8-NVLink", &[80.0]).is_err());
        assert_eq!(
            identify("A100_80G_PCIE", "gpu_1x_a100_SXM4_us-central-3", &[80.0]),
            not("the form factor of A100_80G_PCIE is ambiguous (pcie, sxm)")
        );
        assert_eq!(identify("A100", "x", &[10.0]), not("a fraction of A100: 10 GB of 40 GB"));
        assert_eq!(identify("H100-SXM", "x", &[640.0]), Err(NoMatch::Several(8, 640.0)));
        assert_eq!(identify("A6000", "x", &[48.0]), sure("rtx-a6000-48gb"));
        assert_eq!(identify("RTX-A6000", "x", &[48.0]), sure("rtx-a6000-48gb"));
        assert_eq!(identify("MI300X", "x", &[192.0]), sure("mi300x-192gb"));
        assert_eq!(identify("L40", "x", &[48.0]), sure("l40-48gb"));
        assert_eq!(identify("A4000", "x", &[16.0]), not("GPU A4000 is not in the catalog"));
        assert!(identify("tpu-v5", "x", &[]).is_err() && identify("", "x", &[]).is_err());
    }
}
