//! How many GPUs, or which fraction of one, an instance's name states.
//!
//! A catalog's count may be mistyped or wrong in the API; most names state it too (`8x_H100`, `n3-H100x8`,
//! `gpu-h100-sxm_8gpu-128vcpu`, `8H100.80S.176V`, `BM.GPU.H100.8`). The big clouds' names do not, so their sizes are in a
//! table (from their documentation of instance types), with the fraction of a card where they rent fractions.

/// What an instance name states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stated {
    /// Nothing.
    Nothing,
    /// One of these counts; two if the name is ambiguous.
    Count(Vec<u32>),
    /// A cloud's instance size: number of GPUs, and their row in `gpus.toml`.
    Size(u32, &'static str),
    /// A fraction of one GPU, as text: `1/6`.
    Part(String),
}

/// What `instance` of `provider` states about its GPUs; `core` is their name without form factor and memory, lower case.
pub(super) fn stated(provider: &str, instance: &str, core: &str) -> Stated {
    let name = instance.to_lowercase();
    let known = match provider {
        "aws" => aws(&name),
        "azure" => azure(&name),
        "gcp" => gcp(&name),
        _ => None,
    };
    if let Some(known) = known {
        return known;
    }
    if is_partitioned(&name) {
        return Stated::Part("a part".to_owned());
    }
    let mut counts = around_x(&name);
    let tokens: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    for token in &tokens {
        // `8gpu`, and `8h100`; Seeweb's `ecs3gpu8` is a series.
        let digits = leading_digits(token);
        let rest = &token[digits.len()..];
        if rest == "gpu" || rest == "gpus" || (rest.starts_with(core) && core.len() > 1) {
            counts.extend(small(digits));
        }
    }
    if provider == "oci" && (name.starts_with("vm.gpu") || name.starts_with("bm.gpu")) {
        counts.extend(tokens.last().and_then(|token| small(token)));
    }
    counts.sort_unstable();
    counts.dedup();
    if counts.is_empty() { Stated::Nothing } else { Stated::Count(counts) }
}

/// Whether a name denotes a slice: `1g.10gb`, MIG, a vGPU.
pub(super) fn is_partitioned(name: &str) -> bool {
    let name = name.to_lowercase();
    let tokens: Vec<&str> = name.split(|c: char| !c.is_ascii_alphanumeric()).collect();
    let slice = |pair: &[&str]| {
        let sevenths = pair[0].strip_suffix('g').and_then(small).is_some_and(|sevenths| sevenths <= 7);
        sevenths && pair[1].strip_suffix("gb").and_then(small).is_some()
    };
    tokens.iter().any(|token| matches!(*token, "mig" | "vgpu" | "fractional")) || tokens.windows(2).any(slice)
}

/// Counts written with an `x`: `8x` at the start of a word, `x8` at the end of one. `8x64x1v100` (IBM) is processors, memory and
/// GPUs; `1x14v119g` GPUs and processors; `48xlarge` a size.
fn around_x(name: &str) -> Vec<u32> {
    let bytes = name.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let word = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
    let mut counts = Vec::new();
    let mut at = 0;
    while let Some(found) = name.get(at..).and_then(|rest| rest.find('x')) {
        let x = at + found;
        at = x + 1;
        let start = (0..x).rev().take_while(|before| digit(*before)).last().unwrap_or(x);
        let end =
            (x + 1..bytes.len()).take_while(|after| digit(*after)).last().map_or(x + 1, |last| last + 1);
        let (left, right) = (&name[start..x], &name[x + 1..end]);
        let prefix = !left.is_empty() && left.len() <= 2 && (start == 0 || !word(start - 1));
        if prefix && bytes.get(end) == Some(&b'x') {
            // Numbers joined by `x`: the last of three counts GPUs; two of them say nothing about GPUs.
            let last = leading_digits(&name[end + 1..]);
            counts.extend(small(last).filter(|_| !right.is_empty()));
            at = end + 1 + last.len();
        } else if prefix && !right.is_empty() {
            if bytes.get(end) == Some(&b'v') {
                counts.extend(small(left));
            }
            at = end;
        } else if prefix {
            if !name[x..].starts_with("xl") || name[x + 1..].starts_with("l4") {
                counts.extend(small(left));
            }
        } else if (1..=2).contains(&right.len()) && !word(end) && x > 1 && word(x - 1) && word(x - 2) {
            counts.extend(small(right));
        }
    }
    counts
}

fn leading_digits(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

/// A count of GPUs: above zero, of at most three digits.
fn small(digits: &str) -> Option<u32> {
    digits.parse().ok().filter(|count| (1..1000).contains(count))
}

/// `part` of `whole`, in lowest terms, or a whole number of cards.
fn share(part: u32, whole: u32, card: &'static str) -> Stated {
    if part >= whole && part.is_multiple_of(whole) {
        return Stated::Size(part / whole, card);
    }
    let common = (1..=whole).rev().find(|n| part.is_multiple_of(*n) && whole.is_multiple_of(*n)).unwrap_or(1);
    Stated::Part(format!("{}/{}", part / common, whole / common))
}

fn azure(name: &str) -> Option<Stated> {
    const SIZES: [(&str, u32, &str); 25] = [
        ("nc4as_t4_v3", 1, "t4-16gb"),
        ("nc8as_t4_v3", 1, "t4-16gb"),
        ("nc16as_t4_v3", 1, "t4-16gb"),
        ("nc64as_t4_v3", 4, "t4-16gb"),
        ("nc6s_v3", 1, "v100-pcie-16gb"),
        ("nc12s_v3", 2, "v100-pcie-16gb"),
        ("nc24s_v3", 4, "v100-pcie-16gb"),
        ("nc24rs_v3", 4, "v100-pcie-16gb"),
        ("nd40rs_v2", 8, "v100-sxm2-32gb"),
        ("nc24ads_a100_v4", 1, "a100-pcie-80gb"),
        ("nc48ads_a100_v4", 2, "a100-pcie-80gb"),
        ("nc96ads_a100_v4", 4, "a100-pcie-80gb"),
        ("nd96asr_v4", 8, "a100-sxm4-40gb"),
        ("nd96asr_a100_v4", 8, "a100-sxm4-40gb"),
        ("nd96amsr_a100_v4", 8, "a100-sxm4-80gb"),
        ("nd96ams_a100_v4", 8, "a100-sxm4-80gb"),
        ("nc40ads_h100_v5", 1, "h100-nvl-94gb"),
        ("nc80adis_h100_v5", 2, "h100-nvl-94gb"),
        ("nd96is_h100_v5", 8, "h100-sxm5-80gb"),
        ("nd96isr_h100_v5", 8, "h100-sxm5-80gb"),
        ("nd96is_h200_v5", 8, "h200-sxm-141gb"),
        ("nd96isr_h200_v5", 8, "h200-sxm-141gb"),
        ("nd128isr_gb200_v6", 4, "gb200-186gb"),
        ("nd128isr_ndr_gb200_v6", 4, "gb200-186gb"),
        ("nd128isr_gb300_v6", 4, "gb300-288gb"),
    ];
    let name = name.strip_prefix("standard_").unwrap_or(name);
    let name = name.strip_suffix("_promo").unwrap_or(name);
    if let Some((_, count, card)) = SIZES.iter().find(|(size, ..)| *size == name) {
        return Some(Stated::Size(*count, card));
    }
    // A whole card comes with 36 vCPUs: NV6ads is a sixth of it.
    let series = name.strip_prefix("nv")?;
    let digits = leading_digits(series);
    let of_a10 = matches!(&series[digits.len()..], "ads_a10_v5" | "adms_a10_v5");
    small(digits).filter(|_| of_a10).map(|part| share(part, 36, "a10-24gb"))
}

fn aws(name: &str) -> Option<Stated> {
    let (family, size) = name.split_once('.')?;
    let one = |card| Some(Stated::Size(1, card));
    let card = match family {
        "g4dn" => "t4-16gb",
        "g5" => "a10g-24gb",
        "g6" | "gr6" => "l4-24gb",
        "g6e" => "l40s-48gb",
        "g6f" | "gr6f" => {
            let part = match size {
                "large" | "xlarge" => 1,
                "2xlarge" => 2,
                "4xlarge" => 4,
                _ => return Some(Stated::Part("a part".to_owned())),
            };
            return Some(share(part, 8, "l4-24gb"));
        }
        "p3" => "v100-sxm2-16gb",
        "p3dn" => "v100-sxm2-32gb",
        "p4d" => "a100-sxm4-40gb",
        "p4de" => "a100-sxm4-80gb",
        "p5" => "h100-sxm5-80gb",
        "p5e" | "p5en" => "h200-sxm-141gb",
        "p6-b200" => "b200-sxm-180gb",
        "p6-b300" => "b300-sxm-288gb",
        _ => return None,
    };
    match (family, size) {
        ("g4dn", "12xlarge") | ("g5" | "g6" | "g6e", "12xlarge" | "24xlarge") | ("p3", "8xlarge") => {
            Some(Stated::Size(4, card))
        }
        ("g4dn", "metal")
        | ("g5" | "g6" | "g6e" | "p5" | "p5e" | "p5en" | "p6-b200" | "p6-b300", "48xlarge") => {
            Some(Stated::Size(8, card))
        }
        ("p3", "16xlarge") | ("p3dn" | "p4d" | "p4de", "24xlarge") => Some(Stated::Size(8, card)),
        ("g4dn" | "g5" | "g6" | "g6e", "xlarge" | "2xlarge" | "4xlarge" | "8xlarge" | "16xlarge")
        | ("gr6", "4xlarge" | "8xlarge")
        | ("p3", "2xlarge")
        | ("p5", "4xlarge") => one(card),
        _ => None,
    }
}

fn gcp(name: &str) -> Option<Stated> {
    let parts: Vec<&str> = name.split('-').collect();
    let (family, series, size) = (*parts.first()?, *parts.get(1)?, *parts.get(2)?);
    let card = match (family, series) {
        ("a2", "highgpu" | "megagpu") => "a100-sxm4-40gb",
        ("a2", "ultragpu") => "a100-sxm4-80gb",
        ("a3", "highgpu" | "megagpu" | "edgegpu") => "h100-sxm5-80gb",
        ("a3", "ultragpu") => "h200-sxm-141gb",
        ("a4", "highgpu") => "b200-sxm-180gb",
        ("g2", "standard") => {
            let count = match size {
                "4" | "8" | "12" | "16" | "32" => 1,
                "24" => 2,
                "48" => 4,
                "96" => 8,
                _ => return None,
            };
            return Some(Stated::Size(count, "l4-24gb"));
        }
        // A whole card comes with 48 vCPUs; smaller sizes have a fraction of its memory.
        ("g4", "standard") => return small(size).map(|part| share(part, 48, "rtx-pro-6000-blackwell-96gb")),
        _ => return None,
    };
    size.strip_suffix('g').and_then(small).map(|count| Stated::Size(count, card))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_how_many_gpus_it_has() {
        for (provider, instance, core, counts) in [
            ("x", "8x_H100-SXM_SECURE", "h100", &[8][..]),
            ("x", "gpu_8x_v100_n", "v100", &[8]),
            ("x", "h100-80gb.sxm.8x", "h100", &[8]),
            ("x", "lambdalabs__8xA100_80GB__240__1800", "a100", &[8]),
            ("x", "n3-A100x8-NVLink", "a100", &[8]),
            ("x", "n3-H100-SXM5x8", "h100", &[8]),
            ("x", "A100_80Gx2_668d6762247d03149a4c9474_montreal-canada-2", "a100", &[2]),
            ("x", "RTX5090x8_67884c00280fba46a71e23eb_casper-usa-1", "rtx5090", &[8]),
            ("x", "crusoe_L40Sx10", "l40s", &[10]),
            ("x", "massedcompute_A6000-plusx2", "a6000", &[2]),
            ("x", "gpu-h100-sxm_8gpu-128vcpu-1600gb", "h100", &[8]),
            ("x", "8H100.80S.176V", "h100", &[8]),
            ("x", "1L40S.20V_SPOT", "l40s", &[1]),
            ("x", "1x14v119g_NVIDIA_GeForce_RTX_5090_32G_SECURE", "rtx5090", &[1]),
            ("x", "sapphire-rapids-h100_4x32v64gb", "h100", &[4]),
            ("x", "16x-RTX_5090-32-65536", "rtx5090", &[16]),
            ("x", "8xL4_24GB", "l4", &[8]),
            ("x", "gx2-8x64x1v100", "v100", &[1]),
            ("x", "gpu-mi300x8-1536gb", "mi300x", &[8]),
            ("oci", "BM.GPU.A100-v2.8", "a100", &[8]),
            ("oci", "VM.GPU3.4", "v100", &[4]),
        ] {
            assert_eq!(stated(provider, instance, core), Stated::Count(counts.to_vec()), "{instance}");
        }
        for instance in [
            "ECS3GPU12",
            "gpu-l40s-a",
            "H100-1-80G",
            "g3-l40s-large",
            "p9.48xlarge",
            "bx2-8x32",
            "MI300X",
            "",
        ] {
            assert_eq!(stated("x", instance, "h100"), Stated::Nothing, "{instance}");
        }
    }

    #[test]
    fn the_big_clouds_sizes_and_their_parts() {
        let part = |text: &str| Stated::Part(text.to_owned());
        for (provider, instance, expected) in [
            ("azure", "Standard_NV6ads_A10_v5", part("1/6")),
            ("azure", "Standard_NV12ads_A10_v5", part("1/3")),
            ("azure", "Standard_NV18ads_A10_v5", part("1/2")),
            ("azure", "Standard_NV36ads_A10_v5", Stated::Size(1, "a10-24gb")),
            ("azure", "Standard_NV72ads_A10_v5", Stated::Size(2, "a10-24gb")),
            ("azure", "Standard_ND96isr_H100_v5", Stated::Size(8, "h100-sxm5-80gb")),
            ("azure", "Standard_NC40ads_H100_v5", Stated::Size(1, "h100-nvl-94gb")),
            ("aws", "g6f.large", part("1/8")),
            ("aws", "gr6f.4xlarge", part("1/2")),
            ("aws", "p5.48xlarge", Stated::Size(8, "h100-sxm5-80gb")),
            ("aws", "g5.12xlarge", Stated::Size(4, "a10g-24gb")),
            ("gcp", "a2-highgpu-8g", Stated::Size(8, "a100-sxm4-40gb")),
            ("gcp", "a3-edgegpu-8g-nolssd", Stated::Size(8, "h100-sxm5-80gb")),
            ("gcp", "g4-standard-12", part("1/4")),
            ("gcp", "g4-standard-96", Stated::Size(2, "rtx-pro-6000-blackwell-96gb")),
            ("x", "A100-MIG-1g.10gb", part("a part")),
            ("x", "h100-3g.40gb", part("a part")),
        ] {
            assert_eq!(stated(provider, instance, "a10"), expected, "{instance}");
        }
    }

    #[test]
    fn every_size_names_a_card_of_the_catalog() {
        let catalog = crate::Catalog::bundled();
        let names =
            ["standard_nc4as_t4_v3", "standard_nc6s_v3", "standard_nd40rs_v2", "standard_nc24ads_a100_v4"];
        let azure =
            names.iter().chain(&["nd96asr_v4", "nd96ams_a100_v4", "nc40ads_h100_v5", "nd96is_h100_v5"]);
        let azure =
            azure.chain(&["nd96is_h200_v5", "nd128isr_gb200_v6", "nd128isr_gb300_v6"]).map(|n| ("azure", *n));
        let aws = ["g4dn", "g5", "g6", "g6e", "p3", "p5"].map(|family| format!("{family}.4xlarge"));
        let big = [
            "p3dn.24xlarge",
            "p4d.24xlarge",
            "p4de.24xlarge",
            "p5e.48xlarge",
            "p6-b200.48xlarge",
            "p6-b300.48xlarge",
        ];
        let gcp = [
            "a2-highgpu-1g",
            "a2-ultragpu-1g",
            "a3-highgpu-8g",
            "a3-ultragpu-8g",
            "a4-highgpu-8g",
            "g2-standard-4",
        ];
        let all = azure.chain(aws.iter().map(|n| ("aws", n.as_str())));
        for (provider, name) in all.chain(big.map(|n| ("aws", n))).chain(gcp.map(|n| ("gcp", n))) {
            match stated(provider, name, "zz") {
                Stated::Size(_, card) => {
                    assert!(catalog.gpus.iter().any(|gpu| gpu.id == card), "{name}: {card}");
                }
                other => assert!(name == "p3.4xlarge", "{name}: {other:?}"),
            }
        }
    }
}
