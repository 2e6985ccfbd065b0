//! GPUs as CUDA offers them, through a library that behaves like the driver.

use serde_json::Value;

use crate::support::Bench;
use crate::support::fake_cuda::FakeCuda;
use crate::support::fake_nvml::{FakeNvml, GpuScript, Script};

/// Two GPUs of NVML's.
fn sensors(count: u8) -> FakeNvml {
    let gpu = |n| GpuScript {
        uuid: format!("GPU-{n:08}-fa4e-0000-0000-000000000000"),
        pci: format!("00000000:{n}B:00.0"),
        ..GpuScript::default()
    };
    FakeNvml::new(Script { gpu: (1..=count).map(gpu).collect(), ..Script::default() })
}

/// The card of CUDA's that is NVML's `n`-th.
fn card(n: u8) -> String {
    format!("card h100-sxm5-80gb uuid=0000000{n}fa4e00000000000000000000 pci=0000:{n}b:00\n")
}

/// What the doctor says of CUDA on a box with these.
fn doctor(nvml: &FakeNvml, cuda: &FakeCuda) -> (Value, Value) {
    let bench = Bench::new();
    let library = nvml.library();
    let args = ["doctor", "--json", "--nvml-library", library.to_str().expect("a path")];
    let output =
        bench.command(&args).env("LD_LIBRARY_PATH", cuda.folder()).output().expect("the program starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!err.contains("panicked"), "{err}");
    let examination: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let lines = examination["lines"].as_array().expect("lines");
    let line = |area: &str, name: &str| {
        let line = lines.iter().find(|line| line["area"] == area && line["name"] == name);
        line.unwrap_or_else(|| panic!("no line {area}/{name} in {out}")).clone()
    };
    (line("gpu", "CUDA"), line("libraries", "libcuda"))
}

#[test]
fn the_doctor_matches_cudas_gpus_with_the_sensors() {
    let nvml = sensors(2);
    for (cards, found, order) in [
        (card(1) + &card(2), "2 of 2 GPUs, in NVML's order", [0, 1].as_slice()),
        (card(2) + &card(1), "2 of 2 GPUs, in another order than NVML's, matched by UUID", &[1, 0]),
        (card(2), "1 of 2 GPUs, in another order than NVML's, matched by UUID", &[1]),
    ] {
        let cuda = FakeCuda::new(&cards);
        let (line, library) = doctor(&nvml, &cuda);
        assert_eq!((&line["found"], &line["status"]), (&Value::from(found), &Value::from("ok")), "{line}");
        assert_eq!(line["facts"]["nvml_index_of_each_device"], Value::from(order), "{line}");
        let path = library["facts"]["path"].as_str().expect("a path");
        assert!(
            path.ends_with("libcuda.so.1") && library["facts"]["place"] == "LD_LIBRARY_PATH",
            "{library}"
        );
    }
}

#[test]
fn a_driver_that_does_not_answer_is_a_sentence_with_the_way_out() {
    let nvml = sensors(1);
    let with = |line: &str| FakeCuda::new(&format!("{}{line}\n", card(1)));
    for (cuda, word) in [
        (FakeCuda::new("# no card"), "no CUDA-capable device is detected"),
        (with("version 11080"), "the driver runs CUDA up to 11.8, at least 12.0 is needed"),
        (with("fail cuInit 999"), "unknown error"),
        (with("fail cuDeviceGetCount 719"), "unspecified launch failure"),
        (FakeCuda::without(&card(1), &["cuDeviceGetUuid_v2"]), "it has no function cuDeviceGetUuid_v2"),
        (FakeCuda::without(&card(1), &["cuLaunchKernel"]), "it has no function cuLaunchKernel"),
    ] {
        let (line, _) = doctor(&nvml, &cuda);
        assert!(line["found"].as_str().is_some_and(|found| found.contains(word)), "{word}: {line}");
        assert_eq!(line["status"], "warn", "{line}");
        assert!(line["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{line}");
    }
}
