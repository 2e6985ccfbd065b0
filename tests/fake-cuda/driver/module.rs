//! Modules: PTX decoded, its variables placed, its kernels ready. Machine code is refused, so that a program's
//! way by PTX is the one tested.
#![allow(unsafe_code, reason = "variables get their first values")]

use std::collections::HashMap;
use std::sync::Arc;

use super::card::{Card, SHARED_DEFAULT};
use super::code::Code;
use super::memory::{Memory, Owner};
use crate::ptx::decode::{Kernel, decode};
use crate::ptx::parse::parse;

/// A module that was loaded.
#[derive(Debug)]
pub struct Module {
    /// By name: address and size.
    pub globals: HashMap<String, (u64, u64)>,
    pub kernels: HashMap<String, Arc<Kernel>>,
}

/// Loads a module, or says why not, in words for the log of the just-in-time compiler.
pub fn load(
    image: &[u8],
    card: &Card,
    device: usize,
    version: i32,
    memory: &mut Memory,
) -> Result<Module, (Code, String)> {
    if image.starts_with(b"\x7fELF") || image.starts_with(&[0x50, 0xed, 0x55, 0xba]) {
        return Err((
            Code::NO_BINARY_FOR_GPU,
            "the stand-in for the driver executes PTX, not machine code".to_owned(),
        ));
    }
    let invalid = |what: String| (Code::INVALID_PTX, format!("ptxas application ptx input, {what}"));
    let text = std::str::from_utf8(image).map_err(|error| (Code::INVALID_IMAGE, error.to_string()))?;
    if !text.contains(".version") {
        return Err((Code::INVALID_IMAGE, "no PTX".to_owned()));
    }
    version_fits(text, version)?;
    let module = parse(text).map_err(|refusal| invalid(refusal.to_string()))?;
    target_fits(&module.target, card)?;
    let mut globals = HashMap::new();
    for global in &module.globals {
        let place = memory
            .allocate(global.size, Owner::Module(device))
            .map_err(|code| (code, global.name.clone()))?;
        if let Some(host) = memory.at(place, global.size) {
            // SAFETY: `at` gave a pointer to as many bytes as the variable has, of which these are the first.
            unsafe { std::ptr::copy_nonoverlapping(global.bytes.as_ptr(), host, global.bytes.len()) };
        }
        globals.insert(global.name.clone(), (place, global.size));
    }
    let address = |name: &str| globals.get(name).map(|(place, _)| *place);
    let mut kernels = HashMap::new();
    for function in module.functions.iter().filter(|function| function.entry) {
        let kernel =
            decode(&module, &function.name, &address).map_err(|refusal| invalid(refusal.to_string()))?;
        if kernel.static_shared > SHARED_DEFAULT as u32 {
            let what =
                format!("{} uses too much shared data ({:#x} bytes)", kernel.name, kernel.static_shared);
            return Err(invalid(what));
        }
        kernels.insert(function.name.clone(), Arc::new(kernel));
    }
    Ok(Module { globals, kernels })
}

/// PTX 9.0 came with CUDA 13.0, 8.4 with 12.4.
fn version_fits(text: &str, driver: i32) -> Result<(), (Code, String)> {
    let word =
        text.split(".version").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap_or_default();
    let parts: Vec<i32> = word.split('.').filter_map(|part| part.parse().ok()).collect();
    let [major, minor] = parts[..] else { return Err((Code::INVALID_PTX, format!("no version '{word}'"))) };
    let newest = (driver / 1000 - 4, driver % 1000 / 10);
    if (major, minor) > newest {
        let what = format!("PTX {major}.{minor}, while this driver takes up to {}.{}", newest.0, newest.1);
        return Err((Code::UNSUPPORTED_PTX_VERSION, what));
    }
    Ok(())
}

/// `sm_80` runs on 8.0 and all that came later, `sm_90a` on 9.0 alone, `sm_100f` on its family.
fn target_fits(target: &str, card: &Card) -> Result<(), (Code, String)> {
    let digits: String = target.trim_start_matches("sm_").chars().take_while(char::is_ascii_digit).collect();
    let number: i32 = digits.parse().map_err(|_| (Code::INVALID_PTX, format!("no target '{target}'")))?;
    let (major, minor) = card.kind.capability;
    let own = major * 10 + minor;
    let fits = match target.chars().last() {
        Some('a') => number == own,
        Some('f') => number / 10 == major && number <= own,
        _ => number <= own,
    };
    if fits {
        return Ok(());
    }
    let what = format!(
        "SM version specified by .target is higher than default SM version assumed: {target} on {own}"
    );
    Err((Code::INVALID_PTX, what))
}
