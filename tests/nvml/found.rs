//! Which GPUs are here, which one is meant, and what each says of itself.

use std::path::Path;

use infercost::base::units::{Bytes, Watts};
use infercost::hardware::device;
use infercost::hardware::nvml::{self, Absent};

use super::gpu;
use crate::support::fake_nvml::{FakeNvml, GpuScript, Script};
use crate::support::{Bench, quick, ran};

/// Three GPUs in NVML's order, that of PCI addresses; CUDA would put the fastest first.
fn three() -> FakeNvml {
    let one = |name: &str, uuid: &str, pci: &str| GpuScript {
        name: name.to_owned(),
        uuid: uuid.to_owned(),
        pci: pci.to_owned(),
        ..GpuScript::default()
    };
    FakeNvml::new(Script {
        gpu: vec![
            one("NVIDIA T4", "GPU-aaaa0000-0000-0000-0000-000000000001", "00000000:1B:00.0"),
            one("NVIDIA H200", "GPU-bbbb0000-0000-0000-0000-000000000002", "00000000:3B:00.0"),
            one("NVIDIA A100-SXM4-80GB", "GPU-bbbb1111-0000-0000-0000-000000000003", "00000001:3B:00.0"),
        ],
        ..Script::default()
    })
}

#[test]
fn every_fact_about_a_gpu_is_read() {
    let fake = FakeNvml::gpu(GpuScript { processes: vec![(4711, 512)], ..GpuScript::default() });
    let facts = gpu(&fake).facts();
    assert_eq!(facts.name.as_deref(), Ok("NVIDIA H100 80GB HBM3"));
    assert_eq!(facts.uuid.as_deref(), Ok("GPU-00000000-fa4e-0000-0000-000000000000"));
    assert_eq!(facts.pci_bus_id.as_deref(), Ok("00000000:1B:00.0"));
    assert_eq!(facts.memory_total, Ok(Bytes::new(81559 << 20)));
    assert_eq!(facts.memory_free, Ok(Bytes::new(81000 << 20)));
    assert_eq!(facts.driver.as_deref(), Ok("570.86.15"));
    assert_eq!(facts.cuda.as_deref(), Ok("12.8"));
    assert_eq!(facts.nvml.as_deref(), Ok("12.570.86.15"));
    assert_eq!(facts.vbios.as_deref(), Ok("96.00.89.00.01"));
    let limit = &facts.power_limit;
    assert_eq!((&limit.default, &limit.current), (&Ok(Watts::new(700.0)), &Ok(Watts::new(700.0))));
    assert_eq!((&limit.lowest, &limit.highest), (&Ok(Watts::new(200.0)), &Ok(Watts::new(700.0))));
    assert_eq!(limit.enforced, Ok(Watts::new(700.0)));
    assert_eq!((facts.clocks.sm, facts.clocks.memory), (Ok(1980), Ok(2619)));
    assert_eq!((facts.max_clocks.sm, facts.max_clocks.memory), (Ok(1980), Ok(2619)));
    assert_eq!((facts.application_clocks.sm, facts.application_clocks.memory), (Ok(1755), Ok(2619)));
    assert_eq!((facts.ecc, facts.persistence, facts.mig), (Ok(true), Ok(true), Ok(false)));
    assert_eq!((facts.pcie.generation, facts.pcie.width), (Ok(4), Ok(16)));
    assert_eq!((facts.max_pcie.generation, facts.max_pcie.width), (Ok(5), Ok(16)));
    assert_eq!((facts.celsius, facts.performance_state), (Ok(45), Ok(0)));
    assert!(facts.fan_percent.expect_err("no fan").contains("not supported"));
    let processes = facts.processes.expect("processes");
    assert_eq!((processes[0].pid, processes[0].memory), (4711, Some(Bytes::new(512 << 20))));
}

#[test]
fn what_a_gpu_does_not_say_is_a_reason_and_takes_nothing_else_along() {
    let unsupported = [
        "nvmlDeviceGetVbiosVersion",
        "nvmlDeviceGetEccMode",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetApplicationsClock",
    ];
    let script = Script {
        missing: vec!["nvmlDeviceGetPersistenceMode".to_owned()],
        gpu: vec![GpuScript { unsupported: unsupported.map(str::to_owned).to_vec(), ..GpuScript::default() }],
        ..Script::default()
    };
    let hidden = [
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetComputeRunningProcesses",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetMemoryInfo",
    ];
    let facts = gpu(&FakeNvml::without(script, &hidden)).facts();
    let not_supported = "NVML: not supported by this GPU";
    let no_function = "NVML: this driver's library has no such function";
    assert_eq!(facts.vbios.expect_err("refused"), not_supported);
    assert_eq!(facts.ecc.expect_err("refused"), not_supported);
    assert_eq!(facts.application_clocks.sm.expect_err("refused"), not_supported);
    assert_eq!(facts.persistence.expect_err("missing"), no_function);
    assert_eq!(facts.processes.expect_err("hidden"), no_function);
    assert_eq!(facts.memory_total.expect_err("hidden"), no_function);
    assert_eq!(facts.mig, Ok(false), "a GPU that knows no slices has none");
    assert!(facts.name.is_ok() && facts.celsius.is_ok() && facts.power_limit.current.is_ok());
}

#[test]
fn gpus_are_found_through_the_named_library() {
    let fake = three();
    let found = device::discover_through(&fake.library()).expect("the fake library");
    let names: Vec<&str> = found.gpus.iter().map(infercost::hardware::nvml::GpuFound::label).collect();
    assert_eq!(names, ["NVIDIA T4", "NVIDIA H200", "NVIDIA A100-SXM4-80GB"]);
    assert_eq!((found.driver.as_deref(), found.cuda.as_deref()), (Ok("570.86.15"), Ok("12.8")));

    let missing = fake.library().with_extension("2");
    assert!(matches!(device::discover_through(&missing), Err(Absent::Named(path)) if path == missing));
}

#[test]
fn a_library_that_cannot_start_says_why() {
    for (returned, word) in
        [(9, "driver is not loaded"), (18, "reboot"), (4, "/dev/nvidiactl"), (999, "cannot start")]
    {
        let fake = FakeNvml::new(Script { init_error: Some(returned), ..Script::default() });
        let error = nvml::open(Some(&fake.library())).expect_err("it does not start");
        assert!(matches!(&error, Absent::Unusable { .. }) && error.to_string().contains(word), "{error}");
    }
    let fake = FakeNvml::without(Script::default(), &["nvmlInit_v2"]);
    let error = nvml::open(Some(&fake.library())).expect_err("no function to start it with");
    assert!(error.to_string().contains("is not NVML"), "{error}");
}

#[test]
fn a_gpu_is_chosen_by_what_is_its_own() {
    let fake = three();
    let library = nvml::open(Some(&fake.library())).expect("the fake library");
    let chosen = |text: &str| nvml::select(library, &text.parse()?).map(|gpu| gpu.index());
    assert_eq!(chosen("GPU-bbbb0000-0000-0000-0000-000000000002"), Ok(1));
    assert_eq!(chosen("gpu-BBBB1"), Ok(2));
    assert_eq!(chosen("0000:3b:00.0"), Ok(1));
    assert_eq!(chosen("00000001:3B:00.0"), Ok(2));
    assert_eq!(chosen("0"), Ok(0));
    assert!(chosen("GPU-bbbb").expect_err("two").contains("matches 2 GPUs"));
    let absent = chosen("GPU-cccc").expect_err("none");
    assert!(absent.contains("GPU-aaaa0000-0000-0000-0000-000000000001"), "{absent}");
    assert!(chosen("3").is_err());
}

#[test]
fn a_gpu_of_cuda_is_the_one_with_its_uuid_or_address() {
    let fake = three();
    let library = nvml::open(Some(&fake.library())).expect("the fake library");
    let matched = |uuid, pci| nvml::by_cuda(library, uuid, pci).map(|gpu| gpu.index());
    // CUDA's device 0 is NVML's GPU 1.
    let h200 = Some("GPU-bbbb0000-0000-0000-0000-000000000002");
    assert_eq!(matched(h200, Some("0000:3B:00.0")), Ok(1));
    assert_eq!(matched(h200, None), Ok(1));
    assert_eq!(matched(None, Some("0001:3b:00.0")), Ok(2));
    assert!(matched(h200, Some("0000:1B:00.0")).expect_err("two GPUs").contains("its sensors are ambiguous"));
    assert!(matched(Some("GPU-cccc"), None).expect_err("none").contains("does not know"));
}

#[test]
fn the_program_finds_the_library_under_its_own_name() {
    let fake = FakeNvml::gpu(GpuScript { name: "NVIDIA Scripted".to_owned(), ..GpuScript::default() });
    let bench = Bench::new();
    let with = |folder: &Path| {
        let mut command = bench.command(&["run", "--dry-run"]);
        ran(&command.env("LD_LIBRARY_PATH", folder).output().expect("the program starts"))
    };
    let found = with(fake.library().parent().expect("its folder"));
    assert_eq!(found.code, 0, "{}", found.stderr);
    let first = found.stderr.lines().next().unwrap_or_default();
    assert_eq!(
        first,
        "CPU measured; NVIDIA Scripted not used: CUDA cannot use it (libcuda was not found: no NVIDIA driver is installed); bench doctor"
    );
    assert!(!with(bench.folder()).stderr.contains("Scripted"));
}

#[test]
fn a_gpu_that_is_not_used_stands_at_the_head_of_the_result_and_in_the_record() {
    let with = |script: Script, command: &[&str]| {
        let (fake, bench) = (FakeNvml::new(script), Bench::new());
        let library = fake.library();
        let library = ["--nvml-library", library.to_str().expect("a path"), "--power", "none"];
        let ran = bench.run(&[&quick(&[]), &library[..], command].concat());
        let record = bench.records().first().map(|path| {
            let text = std::fs::read_to_string(path).expect("a record");
            serde_json::from_str::<serde_json::Value>(&text).expect("a record")
        });
        (ran, record)
    };
    let named = |name: &str| Script {
        gpu: vec![GpuScript { name: name.to_owned(), ..GpuScript::default() }],
        ..Script::default()
    };
    for name in ["NVIDIA H200", "NVIDIA GeForce RTX 3060 Laptop GPU"] {
        let (ran, record) = with(named(name), &[]);
        let said = format!(
            "CPU measured; {name} not used: CUDA cannot use it (libcuda was not found: no NVIDIA driver is installed); bench doctor"
        );
        // It is broken at the width of the view, so its words are compared.
        let head: Vec<&str> = ran.stdout.split_whitespace().take(said.split(' ').count()).collect();
        assert_eq!(head.join(" "), said, "{}", ran.stdout);
        let record = record.expect("the CPU was measured");
        let gpu = &record["environment"]["unused_gpu"];
        assert_eq!((&gpu["name"], &gpu["command"]), (&name.into(), &"bench doctor".into()));
        assert!(!ran.stdout.contains("Figures  valid,"), "{}", ran.stdout);
    }
    // A request for the CPU is served, and nothing is missing.
    let (ran, record) = with(named("NVIDIA H200"), &["--device", "cpu"]);
    assert!(!ran.stdout.contains("not used"), "{}", ran.stdout);
    assert!(record.expect("a record")["environment"].get("unused_gpu").is_none());
    let (ran, record) = with(named("NVIDIA H200"), &["--device", "cuda"]);
    assert_eq!((ran.code, record), (13, None), "{}", ran.stderr);
}
