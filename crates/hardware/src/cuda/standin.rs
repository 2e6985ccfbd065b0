//! Tests that run a kernel through the stand-in for the driver, `tests/fake-cuda`: this executable starts itself again
//! with it on `LD_LIBRARY_PATH`, since a process has one driver.

use std::fs;
use std::process::Output;
use std::thread;

use super::module::{LOAD, OPTIONS};
use super::testing::{StandIn, nvrtc};
use super::{Architecture, Device, Form, Identity, Load, Places};

/// One multiprocessor, so that the load is small.
const CARD: &str = "card h100-sxm5-80gb multiprocessors=1\n";
/// The test that the others start, and the file by which it knows that they did.
const INSIDE: &str = "cuda::standin::inside";
const PTX: &str = "load.ptx";

/// Does what the program does with a GPU, and says what came of it in one line.
#[test]
#[allow(clippy::print_stdout, reason = "the test that started this one reads it")]
fn inside() {
    let Ok(ptx) = fs::read(PTX) else { return };
    match work(&ptx) {
        Ok(done) => println!("\ndone: {done}"),
        Err(reason) => println!("\nreason: {reason}"),
    }
}

fn work(ptx: &[u8]) -> Result<String, String> {
    let places = Places::here();
    let identity = Identity::all(&places)?;
    let device = Device::all(&places)?.into_iter().next().ok_or("CUDA offers no GPU")?;
    let code = |form| Ok(if form == Form::Cubin { b"\x7fELF machine code".to_vec() } else { ptx.to_vec() });
    let load = Load::of(&device, device.function(code, "load")?, 1)?;
    let sums = load.sums()?;
    let Device { name, uuid, pci, architecture, multiprocessors, .. } = &device;
    let same = identity.iter().any(|identity| identity.uuid == *uuid && identity.pci == *pci);
    let sum = sums.first().copied().unwrap_or_default();
    Ok(format!("{name} {uuid} {pci} {architecture} {multiprocessors} {same} {} {sum}", sums.len()))
}

/// The stand-in, with the load's PTX where the tests run; nothing without NVRTC.
fn stand_in() -> Option<StandIn> {
    let hopper = Architecture { major: 9, minor: 0 };
    let compiled = nvrtc()?.compile(LOAD, OPTIONS, hopper, Form::Ptx).expect("a correct kernel");
    let stand_in = StandIn::new();
    fs::write(stand_in.folder().join(PTX), compiled.code).expect("the kernel");
    Some(stand_in)
}

/// What it said, after `done` or `reason`; anything else, a panic above all, is a failure.
fn said(what: &str, output: &Output) -> Result<String, String> {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}: {:?}\n{out}{err}", output.status);
    assert!(!out.contains("panicked") && !err.contains("panicked"), "{what}\n{out}{err}");
    let line = |start: &str| out.lines().find_map(|line| Some(line.strip_prefix(start)?.to_owned()));
    line("done: ")
        .ok_or_else(|| line("reason: ").unwrap_or_else(|| panic!("{what} said nothing\n{out}{err}")))
}

#[test]
fn a_kernel_runs_by_ptx_where_machine_code_is_refused() {
    let Some(stand_in) = stand_in() else { return };
    let script = CARD.replace("=1", "=1 uuid=00112233445566778899aabbccddeeff pci=0000:3b:00");
    let done = said("the load", &stand_in.run("whole", INSIDE, &script, &[])).expect("it runs");
    // Eight blocks of 256 threads; each of eight chains is at addend / (1 − factor) = 2 but for what is left of the start.
    let (of_card, sum) = done.rsplit_once(' ').expect("a sum");
    let uuid = "GPU-00112233-4455-6677-8899-aabbccddeeff";
    assert_eq!(of_card, format!("NVIDIA H100 80GB HBM3 {uuid} 0000:3b:00.0 sm_90a 1 true 2048"));
    let chain = |start: f32| (0..16).fold(start, |value: f32, _| value.mul_add(0.5, 1.0));
    let want = (0..8u8).fold(0.0, |sum, start| sum + chain(f32::from(start)));
    assert_eq!(sum.parse(), Ok(want));
}

#[test]
fn a_driver_that_lacks_a_function_is_refused_by_a_sentence() {
    let Some(stand_in) = stand_in() else { return };
    let functions = super::driver::needed();
    thread::scope(|scope| {
        for part in functions.chunks(functions.len().div_ceil(2)) {
            let stand_in = &stand_in;
            scope.spawn(move || {
                for function in part {
                    let output = stand_in.run(function, INSIDE, CARD, &[function]);
                    let reason = said(function, &output).expect_err("a function is missing");
                    assert!(
                        reason.contains(function) && reason.contains("CUDA 12.0"),
                        "{function}: {reason}"
                    );
                }
            });
        }
    });
}

/// The list of what is looked for beforehand is whole: with everything else gone, nothing is missed.
#[test]
fn no_other_function_is_called() {
    let Some(stand_in) = stand_in() else { return };
    let needed = super::driver::needed();
    let mut others = stand_in.functions();
    assert!(others.len() > 100, "only {} functions", others.len());
    others.retain(|function| !needed.contains(function));
    others.dedup();
    said("the load", &stand_in.run("alone", INSIDE, CARD, &others)).expect("it runs");
}

/// Every function fails once with each of these, at the least, over the functions.
const CODES: [i32; 7] = [2, 100, 209, 218, 700, 719, 999];

#[test]
fn a_function_that_fails_gives_a_sentence() {
    let Some(stand_in) = stand_in() else { return };
    let functions = super::driver::needed();
    let cases: Vec<(usize, &str)> = functions.iter().copied().enumerate().collect();
    thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(2)) {
            let stand_in = &stand_in;
            scope.spawn(move || {
                for (at, function) in part {
                    let code = CODES[at % CODES.len()];
                    let script = format!("{CARD}fail {function} {code}\n");
                    let output = stand_in.run(&format!("{function}-{code}"), INSIDE, &script, &[]);
                    // What only cleans up, or is asked in passing, may fail unnoticed.
                    if let Err(reason) = said(function, &output) {
                        assert!(reason.starts_with("CUDA: "), "{function} failing with {code}: {reason}");
                    }
                }
            });
        }
    });
}
