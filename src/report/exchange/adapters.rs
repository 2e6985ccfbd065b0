//! Classifies graphics adapters by the driver's name for them: their vendor, and which ones are not discrete cards.

/// The vendor of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vendor {
    Nvidia,
    Amd,
    Intel,
    Apple,
}

impl Vendor {
    /// The only vendor that a llama.cpp backend supports.
    pub(super) fn of_backend(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "cuda" => Some(Self::Nvidia),
            "rocm" | "hip" => Some(Self::Amd),
            "sycl" => Some(Self::Intel),
            "metal" | "mtl" => Some(Self::Apple),
            _ => None,
        }
    }
}

/// The vendor of the GPU with this name.
pub(super) fn vendor(name: &str) -> Option<Vendor> {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match () {
        () if has(&["nvidia", "geforce", "tesla", "quadro", "rtx "]) => Some(Vendor::Nvidia),
        () if has(&["amd", "radeon", "instinct", "gfx"]) => Some(Vendor::Amd),
        () if has(&["intel", "arc("]) => Some(Vendor::Intel),
        () if has(&["apple"]) => Some(Vendor::Apple),
        () => None,
    }
}

/// A software adapter running on the CPU.
pub(super) fn software(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["llvmpipe", "lavapipe", "softpipe", "swiftshader", "basic render", "software rasterizer", "pocl"]
        .iter()
        .any(|word| name.contains(word))
}

/// A device of another machine, as llama.cpp names it over RPC: `RPC[host:port]`, `RPC0`, or only host and port.
pub(super) fn remote(name: &str) -> bool {
    let name = name.trim();
    let rest = name.get(..3).filter(|word| word.eq_ignore_ascii_case("rpc")).and_then(|_| name.get(3..));
    let port = name.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && (2..=5).contains(&port.len()) && digits(port) && !host.contains(' ')
    });
    port || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| !c.is_alphabetic()))
}

/// The kind of GPU slice, if the device is one.
pub(super) fn slice(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let profile = |word: &str| {
        let (compute, memory) = word.split_once("g.")?;
        let memory = memory.split('+').next()?.strip_suffix("gb")?;
        (!compute.is_empty() && digits(compute) && digits(memory)).then_some(())
    };
    if lower.split_whitespace().any(|word| word == "mig" || profile(word).is_some()) {
        return Some("a MIG slice of a GPU");
    }
    // `GRID A100-10C`, `NVIDIA A40-48Q`: memory in GB and the kind of virtual GPU.
    let last = lower.rsplit_once('-').map(|(_, last)| last)?;
    let memory = last.strip_suffix(['a', 'b', 'c', 'q'])?;
    ((1..=3).contains(&memory.len()) && digits(memory)).then_some("a virtual GPU, a share of a card")
}

/// A GPU integrated into a processor.
pub(super) fn integrated(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match vendor(&name) {
        // Intel's cards are Arc with a model letter and the data-centre GPUs.
        Some(Vendor::Intel) => !has(&["data center", "xe max"]) && !words(&name).any(arc_card),
        Some(Vendor::Amd) => {
            let parts = [
                "radeon graphics",
                "radeon(tm) graphics",
                "custom gpu",
                "raphael",
                "mendocino",
                "renoir",
                "cezanne",
                "rembrandt",
                "phoenix",
                "raven",
                "picasso",
                "vangogh",
                "strix",
                "gfx90c",
                "gfx1035",
                "gfx1036",
                "gfx1103",
                "gfx115",
            ];
            has(&parts)
                || (has(&["vega"]) && has(&["graphics"]))
                || (!has(&["rx "]) && words(&name).any(of_an_apu))
        }
        Some(Vendor::Nvidia | Vendor::Apple) => false,
        None => has(&["adreno", "mali", "powervr", "videocore", "v3d"]),
    }
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
}

/// `a770`, `b580`.
fn arc_card(word: &str) -> bool {
    word.strip_prefix(['a', 'b']).is_some_and(|rest| rest.len() >= 2 && digits(rest))
}

/// `780m`, `8060s`.
fn of_an_apu(word: &str) -> bool {
    word.strip_suffix(['m', 's']).is_some_and(|rest| (3..=4).contains(&rest.len()) && digits(rest))
}

/// Words of a name that identify the model: `h100`, `4090`, `k80`; not its memory, form factor or bus.
pub(super) fn models(name: &str) -> Vec<String> {
    const OTHER: [&str; 9] = ["sxm", "pcie", "hbm", "nvl", "gddr", "gen", "cuda", "rev", "sm"];
    let name = name.to_ascii_lowercase();
    let model = |word: &&str| {
        let bare = word.trim_end_matches(|c: char| c.is_ascii_digit());
        let memory = ["gb", "gib", "g"].iter().any(|unit| word.strip_suffix(unit).is_some_and(digits));
        let number = digits(word);
        word.bytes().any(|byte| byte.is_ascii_digit())
            && !memory
            && !OTHER.contains(&bare.trim_end_matches('e'))
            && !OTHER.contains(&word.trim_end_matches('e').trim_end_matches(|c: char| c.is_ascii_digit()))
            && (!number || word.len() >= 3)
    };
    words(&name).filter(model).map(str::to_owned).collect()
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_a_gpu_is_told_from_a_whole_one() {
        for name in [
            "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
            "NVIDIA H100 80GB HBM3 MIG 3g.40gb",
            "1g.10gb+me",
            "GRID A100-10C",
            "NVIDIA A40-48Q",
            "GRID T4-16C",
        ] {
            assert!(slice(name).is_some(), "{name}");
        }
        for name in [
            "NVIDIA A100-SXM4-40GB",
            "NVIDIA H100 80GB HBM3",
            "NVIDIA A10G",
            "Tesla V100-PCIE-16GB",
            "a100",
            "",
        ] {
            assert!(slice(name).is_none(), "{name}");
        }
        assert!(!remote("NVIDIA H100 80GB HBM3") && !remote("Vulkan0") && !remote("RPCX"));
    }

    #[test]
    fn a_models_words_leave_memory_and_form_out() {
        for (name, expected) in [
            ("NVIDIA H100 80GB HBM3e SXM5", vec!["h100"]),
            ("NVIDIA GeForce RTX 4090 D", vec!["4090"]),
            ("Tesla K80", vec!["k80"]),
            ("AMD Instinct MI300X", vec!["mi300x"]),
            ("NVIDIA Graphics Device", vec![]),
            ("NVIDIA A100-PCIE-40GB", vec!["a100"]),
        ] {
            assert_eq!(models(name), expected, "{name}");
        }
    }

    #[test]
    fn cards_are_told_from_what_is_part_of_a_processor() {
        for name in [
            "AMD Radeon Graphics",
            "AMD Radeon(TM) Graphics",
            "AMD Radeon 780M Graphics",
            "AMD Radeon 890M Graphics (RADV GFX1150)",
            "Radeon 8060S Graphics",
            "AMD Radeon Vega 8 Graphics",
            "AMD Radeon Graphics (RADV RENOIR)",
            "AMD Custom GPU 0405 (RADV VANGOGH)",
            "Intel(R) UHD Graphics 770",
            "Intel(R) Iris(R) Xe Graphics",
            "Intel(R) Arc(TM) Graphics",
            "Intel(R) Arc(TM) 140V GPU (16GB)",
            "Intel(R) Graphics (RPL-S)",
            "Adreno (TM) 740",
        ] {
            assert!(integrated(name), "{name}");
        }
        for name in [
            "NVIDIA GeForce RTX 4090",
            "NVIDIA H100 80GB HBM3",
            "AMD Radeon RX 7900 XTX",
            "AMD Radeon RX 7600M XT",
            "Radeon RX Vega",
            "AMD Instinct MI300X",
            "AMD Radeon PRO W7900 (RADV NAVI31)",
            "Intel(R) Arc(TM) A770 Graphics",
            "Intel(R) Arc(TM) B580 Graphics",
            "Intel(R) Data Center GPU Max 1100",
            "Apple M2 Ultra",
        ] {
            assert!(!integrated(name) && !software(name), "{name}");
        }
        assert!(software("llvmpipe (LLVM 15.0.7, 256 bits)") && software("Microsoft Basic Render Driver"));
    }
}
