//! Determines which of the GPUs listed in `gpu_info` a llama-bench run used.
//!
//! llama.cpp lists all GPUs of the machine. Without `devices` it uses all discrete GPUs, and integrated ones only if there
//! is nothing else; `tensor_split` may give some of them no layer, `split_mode none` uses only `main_gpu`, and zero GPU
//! layers, or `devices none`, leaves the run to the CPU.

use super::Error;
use super::adapters::{Vendor, integrated, remote, software, vendor};
use super::fields::At;
use super::json::{Node, shown};

/// The devices that did the work.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Used {
    /// The GPUs by name, one per board; empty if the CPU did the work, or if the names are unknown.
    pub(super) gpus: Vec<String>,
    /// How many there were, as far as the file states.
    pub(super) count: Option<usize>,
    /// `cuda`, `cuda,blas`, `cpu`.
    pub(super) device: Option<String>,
    /// What a reader should know about the choice.
    pub(super) notes: Vec<String>,
}

/// Backends that compute on the CPU.
const ON_CPU: [&str; 7] = ["CPU", "BLAS", "AMX", "Accelerate", "KleidiAI", "LLAMAFILE", "zDNN"];

/// Reads a row's device fields.
pub(super) fn used(at: &At<'_>) -> Result<Used, Error> {
    let backends = backends(at)?;
    let listed = listed(at, backends.as_ref())?;
    let named = devices(at)?;
    if backends.is_none() && named.is_none() {
        return Ok(Used::default());
    }
    if let Some(why) = on_cpu(at, backends.as_ref(), named.as_deref(), &listed)? {
        let had = listed.iter().any(|name| !software(name));
        let notes = had.then(|| format!("the machine has {}, but the run used the CPU: {why}", all(&listed)));
        return Ok(Used {
            device: Some("cpu".to_owned()),
            notes: notes.into_iter().chain(offloaded(at)).collect(),
            ..Used::default()
        });
    }
    let gpu_backends: Vec<&str> = backends
        .iter()
        .flat_map(Backends::names)
        .filter(|name| on_gpu(name) && !name.eq_ignore_ascii_case("rpc"))
        .collect();
    let (far, local): (Vec<String>, Vec<String>) = listed.iter().cloned().partition(|name| remote(name));
    let mut notes = Vec::new();
    let chosen: Vec<Option<String>> = if let Some(names) = &named {
        names.iter().map(|name| card_name(name, &local, &gpu_backends)).collect()
    } else {
        // llama.cpp uses remote devices first.
        let own = automatic(&local, &gpu_backends, &mut notes).into_iter().map(Some);
        far.iter().map(|_| None).chain(own).collect()
    };
    let (chosen, why) = with_layers(at, chosen, &listed)?;
    let device = match &named {
        Some(names) => Some(kinds(names)),
        None => backends.map(|backends| backends.text.to_lowercase()),
    };
    let why = why.or_else(|| named.as_ref().map(|names| format!("`devices` is {}", shown(&names.join("/")))));
    if let Some(why) = why.filter(|_| listed.len() != chosen.len()) {
        notes.push(format!("the machine has {}, and {why}: {} counted", all(&listed), chosen.len()));
    }
    let count = (!chosen.is_empty()).then_some(chosen.len());
    let far: Vec<&String> = match &named {
        Some(names) => names.iter().filter(|name| remote(name)).collect(),
        None => far.iter().collect(),
    };
    let gpus = chosen.into_iter().collect::<Option<Vec<String>>>().unwrap_or_else(|| {
        notes.push(match far.as_slice() {
            [] => "its `gpu_info` does not identify the GPU of each of its `devices`".to_owned(),
            far => {
                let far: Vec<String> = far.iter().map(|name| shown(name)).collect();
                format!(
                    "{} on another machine, about which the file says nothing; give the GPU model of all of them with --gpu, or the rent of all machines with --price-per-hour USD",
                    far.join(", ")
                )
            }
        });
        Vec::new()
    });
    Ok(Used { gpus, count, device, notes })
}

/// Backend names: `CUDA,BLAS`.
struct Backends {
    text: String,
    /// Whether they come from the field `backends`, written by llama-bench since late 2024.
    registry: bool,
}

impl Backends {
    fn names(&self) -> impl Iterator<Item = &str> {
        self.text.split(',').map(str::trim)
    }
}

/// `CUDA`, `CPU`, `CUDA,BLAS`; before late 2024 each backend had its own field.
fn backends(at: &At<'_>) -> Result<Option<Backends>, Error> {
    if let Some(names) = at.text("backends")? {
        return Ok(Some(Backends { text: names.to_owned(), registry: true }));
    }
    let mut old = Vec::new();
    let mut said = false;
    for name in ["cuda", "vulkan", "kompute", "metal", "sycl", "opencl"] {
        if let Some(used) = at.boolean(name)? {
            said = true;
            old.extend(used.then(|| name.to_owned()));
        }
    }
    let text = if old.is_empty() { "CPU".to_owned() } else { old.join(",") };
    Ok(said.then_some(Backends { text, registry: false }))
}

fn on_gpu(backend: &str) -> bool {
    !backend.is_empty() && !ON_CPU.iter().any(|name| backend.eq_ignore_ascii_case(name))
}

/// The GPUs of the machine. Before it had `backends`, llama-bench separated them with `/`.
fn listed(at: &At<'_>, backends: Option<&Backends>) -> Result<Vec<String>, Error> {
    let Some(text) = at.text("gpu_info")? else { return Ok(Vec::new()) };
    let slashes = backends.is_none_or(|all| !all.registry);
    let mut depth = 0_usize;
    // `llvmpipe (LLVM 19.1.7, 256 bits)` is a single name.
    let names = text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (c == ',' || (slashes && c == '/'))
    });
    let names = names.map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

/// The requested devices; an empty list means none, and `None` that llama.cpp chose.
fn devices(at: &At<'_>) -> Result<Option<Vec<String>>, Error> {
    let Some(text) = at.text("devices")? else { return Ok(None) };
    if text.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    let names = text.split(['/', ',']).map(str::trim).filter(|name| !name.is_empty());
    // `BLAS` may be listed, but is not a GPU.
    let names = names.filter(|name| !name.eq_ignore_ascii_case("none") && on_gpu(split_index(name).0));
    let mut all: Vec<String> = Vec::new();
    // A device that is listed twice is one device.
    for name in names {
        if !all.iter().any(|known| known == name) {
            all.push(name.to_owned());
        }
    }
    Ok(Some(all))
}

/// Why the run used the CPU, if it did.
fn on_cpu(
    at: &At<'_>,
    backends: Option<&Backends>,
    named: Option<&[String]>,
    listed: &[String],
) -> Result<Option<&'static str>, Error> {
    let number = |field: &str| at.get(field).and_then(|node| at.number(node));
    let no_gpu_found = at.get("gpu_info").is_some() && listed.iter().all(|name| software(name));
    Ok(match backends {
        _ if named.is_some_and(<[String]>::is_empty) => Some("`devices` is none"),
        // llama.cpp does not use a GPU without layers.
        _ if number("n_gpu_layers") == Some(0.0) => Some("`n_gpu_layers` is 0"),
        _ if at.text("split_mode")? == Some("none")
            && number("main_gpu").is_some_and(|index| index < 0.0) =>
        {
            Some("`main_gpu` is below 0")
        }
        Some(all) if !all.names().any(on_gpu) => Some("it was built without a backend for GPUs"),
        Some(all) if all.registry && named.is_none() && no_gpu_found => Some("no GPU was found"),
        _ => None,
    })
}

/// A GPU without layers may still be used for the matrices of a large prompt.
fn offloaded(at: &At<'_>) -> Option<String> {
    let zero = |field: &str| at.get(field).and_then(|node| at.number(node)) == Some(0.0);
    let may = zero("n_gpu_layers")
        && (zero("no_op_offload") || at.get("no_op_offload") == Some(&Node::Bool(false)));
    let none = matches!(at.get("devices"), Some(Node::Text(text)) if text.eq_ignore_ascii_case("none"));
    (may && !none)
        .then(|| "`no_op_offload` is off, so a GPU may have processed parts of large prompts".to_owned())
}

/// The devices that llama.cpp chooses by default.
fn automatic(listed: &[String], backends: &[&str], notes: &mut Vec<String>) -> Vec<String> {
    let mut taken: Vec<String> = listed.iter().filter(|name| !software(name)).cloned().collect();
    let discrete: Vec<String> = taken.iter().filter(|name| !integrated(name)).cloned().collect();
    if !discrete.is_empty() && discrete.len() < taken.len() {
        let left: Vec<String> = taken.iter().filter(|name| integrated(name)).cloned().collect();
        notes.push(format!("not counted, integrated: {}", all(&left)));
        taken = discrete;
    }
    // A vendor-neutral backend lists again the cards that a vendor's own backend has listed.
    if backends.len() > 1 && backends.iter().any(|name| Vendor::of_backend(name).is_none()) {
        let both = backends.join(" and by ");
        match repeated(&taken) {
            Repeated::No => {}
            Repeated::All(own) => {
                notes.push(format!("each GPU is listed by {both} but counted once"));
                taken.drain(..own);
            }
            Repeated::Some => notes.push(format!(
                "some of these {} may be listed by {both}; all are counted, give the real number with --gpus N",
                taken.len()
            )),
        }
    }
    taken
}

/// Cards that are listed twice.
enum Repeated {
    No,
    /// This many at the head of the list, all of them listed again.
    All(usize),
    /// More are listed again than are at the head.
    Some,
}

/// Whether the list consists of one backend's cards followed by another's, which repeats them.
fn repeated(names: &[String]) -> Repeated {
    let Some(maker) = names.first().and_then(|name| vendor(name)) else { return Repeated::No };
    let normalized_all = |names: &[String]| -> Vec<String> {
        let mut names: Vec<String> = names.iter().map(|name| normalized(name)).collect();
        names.sort();
        names
    };
    let head = names.iter().take_while(|name| vendor(name) == Some(maker)).count();
    let (mut found, mut some) = (Repeated::No, false);
    for own in 1..=head {
        let (first, rest) = names.split_at(own);
        let same: Vec<String> = rest.iter().filter(|name| vendor(name) == Some(maker)).cloned().collect();
        let (first, same) = (normalized_all(first), normalized_all(&same));
        if first == same {
            found = Repeated::All(own);
        }
        some |= same.len() > first.len() && first.iter().all(|name| same.contains(name));
    }
    if matches!(found, Repeated::No) && some { Repeated::Some } else { found }
}

/// Whether the second half of the list repeats the first: the same cards, seen by a second backend.
fn second_half_repeats(names: &[String]) -> bool {
    let (first, second) = names.split_at(names.len() / 2);
    !names.is_empty()
        && names.len().is_multiple_of(2)
        && first.iter().zip(second).all(|(a, b)| normalized(a) == normalized(b))
}

/// A card's name without backend-specific parts: `NVIDIA`, `(RADV NAVI31)`.
fn normalized(name: &str) -> String {
    let bare = name.split('(').next().unwrap_or(name).to_ascii_lowercase();
    bare.replace("nvidia", "").replace("amd", "").trim().to_owned()
}

/// Splits `CUDA0` into backend and number.
fn split_index(name: &str) -> (&str, usize) {
    let name = name.split('[').next().unwrap_or(name);
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (backend, index) = name.split_at(name.len() - digits);
    (backend, index.parse().unwrap_or(0))
}

/// The card name of a device, if the list determines it.
fn card_name(device: &str, listed: &[String], backends: &[&str]) -> Option<String> {
    if remote(device) {
        return None;
    }
    let (backend, index) = split_index(device);
    let known = Vendor::of_backend(backend);
    if backends.len() < 2 {
        return listed.get(index).cloned();
    }
    // Several backends list their devices in sequence; a vendor's own backend lists only its cards.
    if let Some(known) = known {
        return listed.iter().filter(|name| vendor(name) == Some(known)).nth(index).cloned();
    }
    let before = backends.iter().find_map(|name| Vendor::of_backend(name))?;
    let own = listed.iter().take_while(|name| vendor(name) == Some(before)).count();
    let both = listed.get(..own).is_some_and(second_half_repeats);
    listed.get(if both { own / 2 } else { own }..)?.get(index).cloned()
}

/// `cuda` of `CUDA0` and `CUDA1`.
fn kinds(devices: &[String]) -> String {
    let mut kinds: Vec<String> = devices.iter().map(|name| split_index(name).0.to_lowercase()).collect();
    kinds.dedup();
    kinds.join(",")
}

/// The chosen devices that get a share of the model, and the reason.
fn with_layers(
    at: &At<'_>,
    mut chosen: Vec<Option<String>>,
    listed: &[String],
) -> Result<(Vec<Option<String>>, Option<String>), Error> {
    let main = at.get("main_gpu").and_then(|node| at.number(node)).unwrap_or(0.0);
    if at.text("split_mode")? == Some("none") {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below 0 was the CPU; saturates"
        )]
        let index = main as usize;
        let one =
            chosen.get(index).cloned().or_else(|| chosen.first().cloned().filter(|_| chosen.len() == 1));
        let why = format!("`split_mode` is none and `main_gpu` {main}");
        return Ok((if chosen.is_empty() { chosen } else { vec![one.flatten()] }, Some(why)));
    }
    let shares = shares(at)?;
    if !shares.iter().any(|share| *share > 0.0) {
        return Ok((chosen, None));
    }
    if shares.iter().rposition(|share| *share > 0.0).is_some_and(|last| last >= chosen.len())
        && !listed.is_empty()
    {
        // More shares than devices: an older llama.cpp also used the integrated ones.
        chosen = listed.iter().map(|name| (!remote(name)).then(|| name.clone())).collect();
    }
    // With a split by rows, the main GPU also holds what is not split.
    let rows = at.text("split_mode")? == Some("row");
    let kept = chosen.into_iter().enumerate().filter(|(index, _)| {
        shares.get(*index).is_some_and(|share| *share > 0.0) || (rows && (*index as f64 - main).abs() < 0.5)
    });
    let text = shares.iter().map(f64::to_string).collect::<Vec<_>>().join("/");
    Ok((kept.map(|(_, name)| name).collect(), Some(format!("`tensor_split` is {text}"))))
}

/// `1.00/0.00`: the share of each device; devices not listed get nothing.
fn shares(at: &At<'_>) -> Result<Vec<f64>, Error> {
    match at.get("tensor_split") {
        Some(Node::Text(text)) => {
            let share = |part: &str| part.trim().parse::<f64>().ok().filter(|share| share.is_finite());
            let parts = text.split(['/', ',', ';']).filter(|part| !part.trim().is_empty());
            parts.map(share).collect::<Option<Vec<f64>>>().ok_or_else(|| {
                at.error("tensor_split", format!("is `{}`, not shares such as 1.00/0.00", shown(text)))
            })
        }
        Some(Node::Numbers(shares)) => Ok(shares.to_vec()),
        Some(Node::Number(share)) => Ok(vec![*share]),
        _ => Ok(Vec::new()),
    }
}

/// `4 × NVIDIA H100, AMD Radeon Graphics`.
fn all(names: &[String]) -> String {
    let mut counted: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match counted.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += 1,
            None => counted.push((name, 1)),
        }
    }
    let one = |(name, count): &(&str, usize)| {
        if *count == 1 { shown(name) } else { format!("{count} × {}", shown(name)) }
    };
    counted.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::fields::Row;
    use super::super::json::parse;
    use super::*;

    const H100: &str = "NVIDIA H100 80GB HBM3";
    const IGPU: &str = "AMD Radeon Graphics (RADV RAPHAEL_MENDOCINO)";

    /// Backend, GPUs and the rest of a row: what was used.
    fn of(backends: &str, gpus: &[&str], more: &str) -> Used {
        let text = format!(
            r#"{{"backends": "{backends}", "gpu_info": "{}", "n_gpu_layers": 99{more}}}"#,
            gpus.join(", ")
        );
        let Node::Object(fields) = parse(&text).expect("JSON") else { panic!("an object") };
        let row = Row { place: String::new(), quoted: false, fields };
        used(&At::new(Path::new("f"), &row)).expect("readable")
    }

    #[test]
    fn devices_and_shares_decide_among_four() {
        let four = [H100; 4];
        for (more, count) in [
            ("", 4),
            (r#", "devices": "auto", "tensor_split": "0.00", "split_mode": "layer", "main_gpu": 0"#, 4),
            (r#", "devices": "CUDA0""#, 1),
            (r#", "devices": "CUDA0/CUDA1""#, 2),
            (r#", "devices": "auto", "tensor_split": "1.00/0.00/0.00/0.00""#, 1),
            // What llama-bench itself prints of `-ts 1/0/0/0`: it stops at the last share above 0.
            (r#", "tensor_split": "1.00""#, 1),
            (r#", "tensor_split": "0.00/3.00/1.00""#, 2),
            (r#", "split_mode": "row", "main_gpu": 0, "tensor_split": "0.00/1.00""#, 2),
            (r#", "split_mode": "none", "main_gpu": 2"#, 1),
            (r#", "devices": "CUDA1/CUDA3", "tensor_split": "1.00/0.00""#, 1),
        ] {
            let found = of("CUDA", &four, more);
            assert_eq!((found.gpus, found.count), (vec![H100.to_owned(); count], Some(count)), "{more}");
            assert_eq!(found.notes.is_empty(), count == 4, "{more}");
            assert_eq!(found.device.as_deref(), Some("cuda"), "{more}");
        }
        let two = of("CUDA", &[H100, "NVIDIA A100-SXM4-80GB"], r#", "split_mode": "none", "main_gpu": 1"#);
        assert_eq!(two.gpus, ["NVIDIA A100-SXM4-80GB"]);
        let two = of("CUDA", &[H100, "NVIDIA A100-SXM4-80GB"], r#", "tensor_split": "0.00/1.00""#);
        assert_eq!(two.gpus, ["NVIDIA A100-SXM4-80GB"]);
    }

    #[test]
    fn what_no_gpu_computed_is_a_run_of_the_cpu() {
        for (backends, gpus, more) in [
            ("CUDA", vec![H100], r#", "devices": "none""#),
            ("CUDA", vec![H100], r#", "n_gpu_layers": 0"#),
            ("CUDA", vec![H100], r#", "split_mode": "none", "main_gpu": -1"#),
            ("BLAS", vec![], ""),
            ("CPU", vec![H100], ""),
            ("CUDA", vec![], ""),
            ("Vulkan", vec!["llvmpipe (LLVM 19.1.7, 256 bits)"], ""),
        ] {
            let found = of(backends, &gpus, more);
            assert_eq!((found.gpus, found.count), (vec![], None), "{backends} {more}");
            assert_eq!(found.device.as_deref(), Some("cpu"), "{backends} {more}");
        }
        let zero = of("CUDA", &[H100], r#", "n_gpu_layers": 0, "no_op_offload": 0"#);
        assert!(zero.notes.iter().any(|note| note.contains("large prompts")), "{:?}", zero.notes);
    }

    #[test]
    fn an_adapter_of_another_kind_is_not_counted() {
        for gpus in
            [vec![H100, IGPU], vec![IGPU, H100], vec![H100, "Intel(R) UHD Graphics 770 (RPL-S)", "llvmpipe"]]
        {
            let found = of("Vulkan", &gpus, "");
            assert_eq!((found.gpus, found.count), (vec![H100.to_owned()], Some(1)), "{gpus:?}");
        }
        // Alone it is what computed.
        assert_eq!(of("Vulkan", &[IGPU], "").gpus, [IGPU]);
        let named = of("Vulkan", &[H100, IGPU], r#", "devices": "Vulkan1""#);
        assert_eq!(named.gpus, [IGPU]);
    }

    #[test]
    fn a_device_that_is_listed_twice_is_one() {
        let found = of("CUDA", &[H100, H100], r#", "devices": "CUDA0/CUDA0""#);
        assert_eq!((found.gpus.len(), found.count), (1, Some(1)));
    }

    #[test]
    fn a_card_that_two_backends_list_is_one() {
        let both = of("CUDA,Vulkan", &[H100, H100, IGPU], "");
        assert_eq!((both.gpus.as_slice(), both.count), ([H100.to_owned()].as_slice(), Some(1)));
        let cuda = of("CUDA,Vulkan", &[H100, H100, H100, H100, IGPU], r#", "devices": "CUDA1""#);
        assert_eq!((cuda.gpus.len(), cuda.device.as_deref()), (1, Some("cuda")));
        let other = of("CUDA,Vulkan", &[H100, H100, IGPU], r#", "devices": "Vulkan1""#);
        assert_eq!(other.gpus, [IGPU]);
        // A device that the list does not have: one GPU, of an unknown kind.
        let remote = of("CUDA", &[H100], r#", "devices": "CUDA3""#);
        assert_eq!((remote.gpus.len(), remote.count), (0, Some(1)));
    }

    #[test]
    fn cards_that_only_some_backends_list_are_noted() {
        const CARD: &str = "AMD Radeon RX 7900 XTX (RADV NAVI31)";
        for (gpus, cards) in [
            (vec![H100, H100, CARD], vec![H100, CARD]),
            (vec![H100, CARD, H100], vec![CARD, H100]),
            (
                vec![H100, "NVIDIA A100-SXM4-80GB", H100, "NVIDIA A100-SXM4-80GB", CARD],
                vec![H100, "NVIDIA A100-SXM4-80GB", CARD],
            ),
        ] {
            let found = of("CUDA,Vulkan", &gpus, "");
            assert_eq!(found.gpus, cards, "{gpus:?}");
            assert!(found.notes[0].contains("CUDA and by Vulkan but counted once"), "{:?}", found.notes);
        }
        // Three of one kind: how many each backend lists cannot be told.
        let three = of("CUDA,Vulkan", &[H100; 3], "");
        assert_eq!(three.gpus.len(), 3);
        assert!(three.notes[0].contains("give the real number with --gpus N"), "{:?}", three.notes);
        // A card that only one backend lists is not a duplicate.
        let other = of("CUDA,Vulkan", &[H100, CARD], "");
        assert_eq!((other.gpus.len(), other.notes.len()), (2, 0));
        let apart = of("CUDA,ROCm", &[H100, "AMD Instinct MI300X"], "");
        assert_eq!((apart.gpus.len(), apart.notes.len()), (2, 0));
    }

    #[test]
    fn a_device_of_another_machine_is_no_card_of_this_one() {
        for far in ["RPC[10.0.0.1:50052]", "10.0.0.1:50052", "RPC0 (10.0.0.1:50052)"] {
            for (backends, more) in [
                ("CUDA,RPC", String::new()),
                ("CUDA", String::new()),
                ("CUDA,RPC", ", \"devices\": \"CUDA0/RPC[10.0.0.1:50052]\"".to_owned()),
                ("CUDA", ", \"devices\": \"RPC0/CUDA0\"".to_owned()),
            ] {
                let found = of(backends, &[H100, far], &more);
                assert_eq!((found.gpus.as_slice(), found.count), ([].as_slice(), Some(2)), "{far} {more}");
                let note = found.notes.last().expect("a note");
                assert!(note.contains("on another machine") && note.contains("--price-per-hour"), "{note}");
            }
            // What this machine alone computed.
            let own = of("CUDA,RPC", &[H100, far], r#", "devices": "CUDA0""#);
            assert_eq!((own.gpus, own.count), (vec![H100.to_owned()], Some(1)), "{far}");
        }
    }

    #[test]
    fn a_file_of_2023_has_slashes_between_its_gpus() {
        let text = r#"{"cuda": true, "gpu_info": "NVIDIA GeForce RTX 3090/NVIDIA GeForce RTX 3090", "n_gpu_layers": 99}"#;
        let Node::Object(fields) = parse(text).expect("JSON") else { panic!("an object") };
        let row = Row { place: String::new(), quoted: false, fields };
        let found = used(&At::new(Path::new("f"), &row)).expect("readable");
        assert_eq!((found.gpus.len(), found.count, found.device.as_deref()), (2, Some(2), Some("cuda")));
    }
}
