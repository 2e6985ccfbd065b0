//! `bench doctor`: lines with verdicts, a way out of each that is not in order, and an exit code.

use serde_json::Value;

use crate::support::Bench;
use crate::support::fake_nvml::{FakeNvml, GpuScript, Script};

/// Status, and the command where there must be one.
fn check_lines(examination: &Value) {
    assert_eq!(examination["schema"], "infercost.doctor/1");
    let lines = examination["lines"].as_array().expect("lines");
    assert!(lines.len() >= 15, "only {} lines", lines.len());
    for line in lines {
        let status = line["status"].as_str().expect("a status");
        assert!(["ok", "warn", "fail"].contains(&status), "{line}");
        for key in ["area", "name", "found"] {
            assert!(line[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {line}");
        }
        assert_eq!(status != "ok", line["mend"].as_str().is_some_and(|text| !text.is_empty()), "{line}");
    }
    let mut names: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| (line["area"].as_str().expect("text"), line["name"].as_str().expect("text")))
        .collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count, "a name stands once in its area");
}

fn line<'a>(examination: &'a Value, area: &str, name: &str) -> &'a Value {
    let lines = examination["lines"].as_array().expect("lines");
    let found = lines.iter().find(|line| line["area"] == area && line["name"] == name);
    found.unwrap_or_else(|| panic!("no line {area}/{name}"))
}

#[test]
fn this_box_is_described() {
    let bench = Bench::new();
    let ran = bench.run(&["doctor", "--json"]);
    let examination: Value = serde_json::from_str(&ran.stdout).expect("JSON alone on stdout");
    check_lines(&examination);
    let failed = examination["verdict"] == "fail";
    assert_eq!(ran.code, i32::from(failed), "{}", ran.stdout);
    let usable = line(&examination, "processor", "threads")["facts"]["usable"].as_u64().expect("a number");
    assert_eq!(usable, std::thread::available_parallelism().map_or(1, |n| n.get() as u64));
    let cache = line(&examination, "disk", "cache")["found"].as_str().expect("text");
    assert!(cache.contains(".cache/infercost"), "{cache}");
    // Looking changes nothing but what it compiled, and leaves no probe file.
    assert!(!bench.folder().join("results").exists());
    assert!(examination.get("calibration").is_none());
}

#[test]
fn people_get_a_page_that_fits() {
    let ran = Bench::new().run(&["doctor"]);
    assert!(ran.stdout.starts_with("system\n"), "{}", ran.stdout);
    assert!(
        ran.stdout.trim_end().lines().last().is_some_and(|line| line.contains(" ok, ")),
        "{}",
        ran.stdout
    );
    let long = |line: &&str| line.chars().count() > 80 && line.split_whitespace().count() > 1;
    // A path may be longer than the page; what could be broken is.
    let wide: Vec<&str> = ran.stdout.lines().filter(long).filter(|line| !line.contains('/')).collect();
    assert!(wide.is_empty(), "{wide:?}");
}

#[test]
fn a_library_that_was_named_and_is_not_there_fails_the_examination() {
    let ran = Bench::new().run(&["doctor", "--json", "--nvml-library", "/nowhere/libnvidia-ml.so.1"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let examination: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    check_lines(&examination);
    assert_eq!(examination["verdict"], "fail");
    let driver = line(&examination, "gpu", "driver");
    assert_eq!(driver["status"], "fail");
    assert!(driver["mend"].as_str().is_some_and(|mend| mend.contains("ldconfig")), "{driver}");
    let library =
        examination["lines"].as_array().expect("lines").iter().find(|line| {
            line["area"] == "libraries" && line["facts"]["path"] == "/nowhere/libnvidia-ml.so.1"
        });
    assert_eq!(library.expect("a line of it")["status"], "fail");
}

#[test]
fn a_gpu_is_described_with_all_that_a_record_keeps_of_it() {
    let fake = FakeNvml::gpu(GpuScript::default());
    let library = fake.library();
    let ran = Bench::new().run(&["doctor", "--json", "--nvml-library", library.to_str().expect("text")]);
    let examination: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let facts = &line(&examination, "gpu", "GPU 0")["facts"];
    assert_eq!(
        (&facts["power_limit_watts"], &facts["memory_bytes_total"]),
        (&700.0.into(), &(81_559u64 << 20).into())
    );
    assert_eq!(facts["mig"], false);
}

#[test]
fn what_makes_a_gpus_figures_less_is_a_warning_with_its_command() {
    let sliced = GpuScript {
        uuid: "GPU-11111111-fa4e-0000-0000-000000000000".to_owned(),
        pci: "00000000:2B:00.0".to_owned(),
        mig: true,
        ..GpuScript::default()
    };
    let worked_on = GpuScript {
        processes: vec![(4711, 1024)],
        throttle: vec![(0.0, 0x40)],
        unsupported: vec!["nvmlDeviceGetTotalEnergyConsumption".to_owned()],
        unsupported_fields: vec![191],
        ..GpuScript::default()
    };
    let fake = FakeNvml::new(Script { gpu: vec![worked_on, sliced], ..Script::default() });
    let library = fake.library();
    let ran = Bench::new().run(&["doctor", "--json", "--nvml-library", library.to_str().expect("text")]);
    let examination: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    check_lines(&examination);
    let of = |name: &str| line(&examination, "gpu", name);
    for (name, status, word) in [
        ("GPU 0 power", "ok", "limit 700 W, default 700 W"),
        ("GPU 0 processes", "warn", "4711"),
        ("GPU 0 sensors", "warn", "clocks are currently limited by temperature"),
        ("GPU 1 modes", "warn", "slices (MIG) on"),
        ("GPU 1 processes", "ok", "no other process"),
        ("GPU 1 sensors", "warn", "NVML has no energy counter for a slice"),
    ] {
        let found = of(name);
        assert_eq!(found["status"], status, "{found}");
        assert!(found["found"].as_str().is_some_and(|text| text.contains(word)), "{word}: {found}");
    }
    assert_eq!(of("GPU 0 sensors")["facts"]["energy_counter"], false);
    assert_eq!(of("GPU 0 sensors")["facts"]["power_kinds"], serde_json::json!(["instant", "average"]));
}

#[test]
fn a_sensor_that_is_asked_for_and_not_there_has_its_reason_and_code() {
    let bench = Bench::new();
    let ran = bench.run(&["doctor", "--json", "--calibrate-power"]);
    let examination: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let reason = examination["calibration_reason"].as_str();
    let measured = examination["calibration"].is_object();
    assert_ne!(measured, reason.is_some_and(|reason| !reason.is_empty()), "{}", ran.stdout);
    let code = match (examination["verdict"] == "fail", measured) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => 13,
    };
    assert_eq!(ran.code, code, "{}", ran.stdout);
}
