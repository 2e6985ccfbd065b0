//! GPUs as CUDA offers them, through a library that behaves like the driver.

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::quantized::GgmlDType;
use infercost::hardware::cuda::{Kind, Places};
use infercost_testing::Tiny;
use serde_json::Value;

use crate::support::fake_cuda::FakeCuda;
use crate::support::fake_nvml::{FakeNvml, GpuScript, Script};
use crate::support::{Bench, Ran, ran};

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
        (card(2) + &card(1), "2 of 2 GPUs, in a different order than NVML's, matched by UUID", &[1, 0]),
        (card(2), "1 of 2 GPUs, in a different order than NVML's, matched by UUID", &[1]),
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
        (with("version 11080"), "the driver supports CUDA up to 11.8, but 12.0 or newer is needed"),
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

/// The folder of NVRTC, or `None` with a word on how to get it; under `CI=true` its absence is a failure.
fn nvrtc() -> Option<PathBuf> {
    let found = Places::here().find(Kind::Nvrtc, None);
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI needs NVRTC: scripts/fetch-nvrtc");
        eprintln!("skipped: NVRTC is not here; get it with scripts/fetch-nvrtc");
    }
    Some(found?.path.parent().expect("a folder").to_owned())
}

/// What a run of a tiny model says on a box with these sensors, this driver and NVRTC where it is given.
fn run(nvml: &FakeNvml, cuda: &FakeCuda, nvrtc: Option<&Path>, more: &[&str]) -> (Bench, Ran) {
    let bench = Bench::new();
    Tiny::of("llama").write(&bench.folder().join("tiny.gguf"));
    let library = nvml.library();
    let library = library.to_str().expect("a path");
    let args = ["run", "--model", "tiny.gguf", "-p", "8", "-n", "2", "-b", "1", "-r", "2"];
    let rest = ["--price-per-hour", "2.49", "--nvml-library", library, "--json", "--output", "-"];
    let folders = std::iter::once(cuda.folder()).chain(nvrtc);
    let path = std::env::join_paths(folders).expect("folders without a colon");
    let mut command = bench.command(&[&args[..], &rest, more].concat());
    let output = command.env("LD_LIBRARY_PATH", path).output().expect("the program starts");
    (bench, ran(&output))
}

/// Our own kernels, compiled for an H100 and executed by the stand-in for its driver.
#[test]
fn a_model_is_measured_on_a_gpu_by_our_own_kernels() {
    let Some(nvrtc) = nvrtc() else { return };
    let nvml = sensors(1);
    let record = |cuda: &FakeCuda, more: &[&str]| {
        let (_, ran) = run(&nvml, cuda, Some(&nvrtc), more);
        assert!(ran.code == 0 && !ran.stderr.contains("panicked"), "{}\n{}", ran.stdout, ran.stderr);
        serde_json::from_str::<Value>(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}", ran.stdout))
    };
    let on_processor = record(&FakeCuda::new(&card(1)), &["--device", "cpu", "--power", "none"]);
    for (more, launches) in [
        (&["--device", "cuda"][..], "are CUDA graphs"),
        (&["--no-graphs"], "without CUDA graphs: as requested"),
        (&["--debug-kernels"], "without CUDA graphs: each is waited for"),
    ] {
        let on_gpu = record(&FakeCuda::new(&card(1)), more);
        let choices = on_gpu["engine"]["choices"].to_string();
        assert!(choices.contains(launches), "{choices}");
        let engine = &on_gpu["engine"];
        assert_eq!((&engine["name"], &engine["device"]), (&"fused".into(), &"cuda:0".into()), "{engine}");
        assert!(engine["version"].as_str().is_some_and(|version| version.contains("sm_90a")), "{engine}");
        assert_eq!(on_gpu["environment"]["gpus"][0]["used"], true, "{}", on_gpu["environment"]["gpus"]);
        assert!(on_gpu["quality"]["greedy"]["tokens"].is_array(), "{}", on_gpu["quality"]);
        let (of_gpu, of_processor) = (&on_gpu["quality"]["greedy"], &on_processor["quality"]["greedy"]);
        assert_eq!(of_gpu["tokens"][0], of_processor["tokens"][0]);
        let peaks = &on_gpu["environment"]["peaks"];
        assert_eq!(peaks["flops_instruction_set"], "mma.sync f16", "{}", on_gpu["environment"]);
        for rate in ["read", "write", "copy"].map(|kind| format!("{kind}_bytes_per_second")) {
            assert!(peaks[&rate].as_f64() > Some(0.0), "{peaks}");
        }
        assert!(peaks["fp8_flops_per_second"].as_f64() > Some(0.0), "{peaks}");
        let checks = on_gpu["validity"]["checks"].as_array().expect("checks");
        let roofline = checks.iter().find(|check| check["name"] == "roofline").expect("a check");
        assert_eq!(roofline["verdict"], "valid", "{roofline}");
    }
}

#[test]
fn what_keeps_a_gpu_from_computing_is_a_sentence() {
    let Some(nvrtc) = nvrtc() else { return };
    let nvml = sensors(1);
    let with = |line: &str| FakeCuda::new(&format!("{}{line}\n", card(1)));
    for (cuda, compiler, code, says) in [
        // Nobody finds a compiler in the folder of the driver.
        (with(""), None, 13, "NVRTC"),
        (with("fail cuInit 999"), Some(&*nvrtc), 13, "unknown error"),
        (with("version 11080"), Some(&*nvrtc), 13, "12.0 or newer"),
        (with("fail cuMemAlloc_v2 2 after=9"), Some(&*nvrtc), 1, "out of memory"),
        (with("fail cuStreamSynchronize 719 after=20"), Some(&*nvrtc), 1, "unspecified launch failure"),
    ] {
        let (_, ran) = run(&nvml, &cuda, compiler, &["--device", "cuda"]);
        assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        assert_eq!(ran.code, code, "{says}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{says}: {}", ran.stderr);
    }
}

/// The kit for a bare GPU box, with models of a few thousand weights. (Its second part takes a minute to calibrate a sensor.)
#[test]
fn the_kit_runs_to_its_end_through_the_stand_in() {
    let Some(nvrtc) = nvrtc() else { return };
    let (nvml, cuda) = (sensors(1), FakeCuda::new(&card(1).replace('\n', " multiprocessors=1\n")));
    let folder = tempfile::tempdir().expect("a folder");
    // As part A is unpacked: the program next to the script.
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_bench"), folder.path().join("bench")).expect("a link");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu/selfcheck");
    std::fs::copy(script, folder.path().join("selfcheck")).expect("a copy");
    // Neither side rounds these weights, so both continue a prompt alike.
    let model = folder.path().join("tiny.gguf");
    Tiny { dtype: GgmlDType::F32, ..Tiny::of("llama") }.write(&model);
    let sensors = nvml.library();
    let folders = [cuda.folder(), sensors.parent().expect("a folder"), &nvrtc];
    let output = Command::new(folder.path().join("selfcheck"))
        .args(["--tiny", "--part", "1", "out"])
        .current_dir(folder.path())
        .env("INFERCOST_TEST_MODEL", &model)
        .env("LD_LIBRARY_PATH", std::env::join_paths(folders).expect("folders without a colon"))
        .output()
        .expect("the script starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let log = std::fs::read_to_string(folder.path().join("out/selfcheck.log")).unwrap_or_default();
    assert_eq!(output.status.code(), Some(0), "{said}{log}");
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(folder.path().join("out").join(name)).expect(name);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"))
    };
    let summary = read("summary.json");
    let steps = summary["steps"].as_array().expect("steps");
    let status = |name: &str| {
        let step = steps.iter().find(|step| step["step"] == name);
        step.unwrap_or_else(|| panic!("no step {name}: {summary}"))["status"].clone()
    };
    let done = ["doctor", "kernels", "device", "cpu", "real", "synthetic", "no-graphs", "batches", "gpt-oss"];
    for name in done {
        assert_eq!(status(name), "ok", "{name}: {summary}");
        assert!(read(&format!("{name}.json")).is_object(), "{name}");
    }
    assert_eq!(status("parity"), "ok", "{summary}");
    let device = read("device.json");
    assert_eq!(device["wrong"], 0, "{device}");
    let kernels = device["kernels"].as_array().expect("kernels");
    let has = |kernel: &str, variant: &str| {
        kernels.iter().any(|line| line["kernel"] == kernel && line["variant"] == variant)
    };
    assert!(has("multiply_segments", "MXFP4 tensor") && has("multiply_staged", "Q4_K tensor"), "{device}");
    assert!(
        has("place_heads, attend_one, attend, combine, combine_halve", "head 64 q8_0")
            && has("embed", "IQ4_XS"),
        "{device}"
    );
}

#[test]
fn kernels_are_compiled_without_a_gpu_and_what_they_take_is_said() {
    let bench = Bench::new();
    let Some(nvrtc) = Places::here().find(Kind::Nvrtc, None) else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI needs NVRTC: scripts/fetch-nvrtc");
        eprintln!("skipped: NVRTC is not here; get it with scripts/fetch-nvrtc");
        return;
    };
    let check = |more: &[&str]| {
        let mut command = bench.command(&[&["kernels", "check", "--arch", "sm_90a"], more].concat());
        command.env("LD_LIBRARY_PATH", nvrtc.path.parent().expect("a folder"));
        ran(&command.output().expect("the program starts"))
    };
    let found: Value = serde_json::from_str(&check(&["--json"]).stdout).expect("JSON");
    let kernels = found["kernels"].as_array().expect("a list");
    let of = |kernel: &str, variant: &str| {
        let found = kernels.iter().find(|entry| entry["kernel"] == kernel && entry["variant"] == variant);
        found.unwrap_or_else(|| panic!("no {kernel} for {variant}"))
    };
    assert_eq!(found["spilling"], 0, "{found}");
    let one = of("multiply_one", "Q4_K");
    assert!(one["registers"].as_u64().is_some_and(|registers| (16..=64).contains(&registers)), "{one}");
    assert!(of("attend", "head 128 q8_0")["shared_bytes"].as_u64() > Some(0), "{found}");
    let said = check(&[]).stdout;
    assert!(
        said.contains(&format!("{} kernels compiled in", kernels.len())) && said.contains("no spills"),
        "{said}"
    );
}
