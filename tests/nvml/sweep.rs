//! Every function of NVML that the program asks, each failing in every way that drivers fail: only a library that does
//! not start and a GPU without a handle are "no GPU"; everything else is asked under an older name or is null with its
//! reason. The table in `docs/power.md` is this sweep.

use std::path::{Path, PathBuf};

use infercost::catalog::Catalog;
use infercost::hardware::device;
use infercost::hardware::doctor::{self, Status};
use infercost::hardware::telemetry::choose::{self, PowerRequest};
use serde_json::Value;

use crate::support::fake_nvml::{FakeNvml, Script};
use crate::support::{Bench, SMALL};

/// The functions, those that answer the same question next to each other: the newest name first.
const QUESTIONS: &[&[&str]] = &[
    &["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetHandleByIndex"],
    &["nvmlDeviceGetCount_v2", "nvmlDeviceGetCount"],
    &["nvmlSystemGetDriverVersion"],
    &["nvmlSystemGetNVMLVersion"],
    &["nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"],
    &["nvmlDeviceGetName"],
    &["nvmlDeviceGetUUID"],
    &["nvmlDeviceGetPciInfo_v3"],
    &["nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo"],
    &["nvmlDeviceGetVbiosVersion"],
    &["nvmlDeviceGetPowerManagementDefaultLimit"],
    &["nvmlDeviceGetPowerManagementLimit"],
    &["nvmlDeviceGetEnforcedPowerLimit"],
    &["nvmlDeviceGetPowerManagementLimitConstraints"],
    &["nvmlDeviceGetClockInfo"],
    &["nvmlDeviceGetMaxClockInfo"],
    &["nvmlDeviceGetApplicationsClock"],
    &["nvmlDeviceGetEccMode"],
    &["nvmlDeviceGetPersistenceMode"],
    &["nvmlDeviceGetMigMode"],
    &["nvmlDeviceGetCurrPcieLinkGeneration"],
    &["nvmlDeviceGetCurrPcieLinkWidth"],
    &["nvmlDeviceGetMaxPcieLinkGeneration"],
    &["nvmlDeviceGetMaxPcieLinkWidth"],
    &["nvmlDeviceGetTemperature", "nvmlDeviceGetTemperatureV"],
    &["nvmlDeviceGetFanSpeed_v2", "nvmlDeviceGetFanSpeed"],
    &["nvmlDeviceGetPerformanceState"],
    &[
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetComputeRunningProcesses",
    ],
    &["nvmlDeviceGetFieldValues"],
    &["nvmlDeviceGetTotalEnergyConsumption"],
    &["nvmlDeviceGetPowerUsage"],
    &["nvmlDeviceGetCurrentClocksThrottleReasons", "nvmlDeviceGetCurrentClocksEventReasons"],
    &["nvmlDeviceGetViolationStatus"],
];
/// `NOT_SUPPORTED`, `NOT_FOUND`, `FUNCTION_NOT_FOUND`, `UNKNOWN`.
const CODES: [u32; 4] = [3, 6, 13, 999];

/// What fails at once: each function alone, then every name of a question.
fn failing() -> Vec<Vec<&'static str>> {
    let alone = QUESTIONS.iter().flat_map(|names| names.iter().map(|name| vec![*name]));
    let together = QUESTIONS.iter().filter(|names| names.len() > 1).map(|names| names.to_vec());
    alone.chain(together).collect()
}

/// Whether there is no handle without these.
fn no_handle(failing: &[&str]) -> bool {
    QUESTIONS[0].iter().all(|name| failing.contains(name))
}

/// One machine whose functions fail as a file says at that moment.
struct Moody {
    fake: FakeNvml,
    folder: tempfile::TempDir,
}

impl Moody {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let script = Script { fails: Some(folder.path().join("fails")), ..Script::default() };
        Self { fake: FakeNvml::new(script), folder }
    }

    fn library(&self) -> PathBuf {
        self.fake.library()
    }

    fn fail(&self, functions: &[&str], code: u32) {
        let lines: Vec<String> = functions.iter().map(|name| format!("{name} {code}\n")).collect();
        std::fs::write(self.folder.path().join("fails"), lines.concat()).expect("written");
    }
}

/// What doctor says of GPUs, a line each: its status and what was found.
fn doctors_lines(library: &Path) -> Vec<(String, Status, String)> {
    doctor::gpus(Some(library)).into_iter().map(|line| (line.name, line.status, line.found)).collect()
}

/// What a run does with NVML up to its first figure, and what its record then says of the machine.
fn run_goes_on(library: &Path) -> Result<Value, String> {
    let found = device::discover_through(library).map_err(|absent| absent.to_string())?;
    let chosen =
        choose::choose(&PowerRequest::Nvml(None), None, Some(library)).map_err(|e| e.to_string())??;
    let mut source = chosen.open()?;
    let (_, _) = (source.energy(), source.power());
    let (_, _) = (source.clocks(), source.throttled());
    let environment = device::environment(&found, None, &Catalog::bundled());
    serde_json::to_value(environment).map_err(|error| error.to_string())
}

/// Every `null` of an object has its reason.
fn reasons_are_given(object: &Value) {
    let fields = object.as_object().expect("an object");
    for (name, value) in fields {
        let reason = fields.get(&format!("{name}_reason")).and_then(Value::as_str);
        assert!(!value.is_null() || reason.is_some_and(|reason| !reason.is_empty()), "{name}: {object}");
    }
}

fn check(library: &Path, failing: &[&str], how: &str) {
    let lines = doctors_lines(library);
    let ran = run_goes_on(library);
    if no_handle(failing) {
        let (name, status, found) = &lines[0];
        assert_eq!((name.as_str(), *status), ("driver", Status::Fail), "{failing:?} {how}: {lines:?}");
        assert!(
            found.contains("no NVIDIA GPU") && found.contains("GPU 0 cannot be reached: NVML"),
            "{found}"
        );
        assert!(ran.expect_err("no handle").contains("GPU 0 cannot be reached"));
        return;
    }
    assert!(lines.iter().any(|(name, ..)| name == "GPU 0"), "{failing:?} {how}: {lines:?}");
    assert!(lines.iter().all(|(_, status, _)| *status != Status::Fail), "{failing:?} {how}: {lines:?}");
    let environment = ran.unwrap_or_else(|error| panic!("{failing:?} {how}: {error}"));
    reasons_are_given(&environment);
    let gpus = environment["gpus"].as_array().expect("GPUs");
    assert_eq!(gpus.len(), 1);
    reasons_are_given(&gpus[0]);
    reasons_are_given(&gpus[0]["facts"]);
}

#[test]
fn whatever_function_fails_the_gpu_stays() {
    let moody = Moody::new();
    check(&moody.library(), &[], "healthy");
    for functions in failing() {
        for code in CODES {
            moody.fail(&functions, code);
            check(&moody.library(), &functions, &code.to_string());
        }
    }
}

#[test]
fn whatever_function_a_driver_lacks_the_gpu_stays() {
    for functions in failing() {
        let fake = FakeNvml::without(Script::default(), &functions);
        check(&fake.library(), &functions, "absent");
    }
}

#[test]
fn what_an_older_function_knows_is_not_lost() {
    let moody = Moody::new();
    let facts = |functions: &[&str]| {
        moody.fail(functions, 13);
        let environment = run_goes_on(&moody.library()).expect("it goes on");
        (environment["gpus"][0].clone(), environment["cuda"].clone())
    };
    let healthy = facts(&[]);
    for names in QUESTIONS.iter().filter(|names| names.len() > 1) {
        assert_eq!(facts(&names[..1]), healthy, "{names:?}");
    }
    let (gpu, _) = facts(QUESTIONS[8]);
    assert_eq!(gpu["memory_bytes"], Value::Null);
    assert_eq!(gpu["catalog_id"], healthy.0["catalog_id"], "the name alone says which it is");
    let (gpu, _) = facts(&["nvmlDeviceGetUUID"]);
    assert_eq!(gpu["facts"]["pci_bus_id"], "00000000:1B:00.0");
}

/// A driver of another age: much is missing at once, and `run` measures anyway.
#[test]
fn a_run_beside_a_gpu_that_says_little_has_a_record() {
    let little = [
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetName",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetCount_v2",
        "nvmlDeviceGetCount",
        "nvmlSystemGetDriverVersion",
    ];
    let fake = FakeNvml::without(Script::default(), &little);
    let library = fake.library();
    let library = library.to_str().expect("text");
    let bench = Bench::new();
    let args = ["run", "--model", SMALL, "--device", "cpu", "--power", "nvml", "--nvml-library", library];
    let record = bench.json(&[&args[..], &["-p", "8", "-n", "0", "-r", "1", "--json"]].concat());
    let gpu = &record["environment"]["gpus"][0];
    reasons_are_given(gpu);
    assert_eq!((&gpu["name"], &gpu["memory_bytes"]), (&Value::Null, &Value::Null));
    assert_eq!(record["energy"]["device"], "00000000:1B:00.0");
    assert!(record["energy"]["windows"][0]["counter_joules"].is_number(), "{}", record["energy"]);
}

/// Prints the table; `scripts/nvml-sweep` puts it into the page.
#[test]
#[ignore = "prints the table of docs/power.md; the tests above hold it"]
fn print() {
    let moody = Moody::new();
    let healthy = doctors_lines(&moody.library());
    let changed = |library: &Path| -> Vec<String> {
        let lines = doctors_lines(library);
        let new = lines.into_iter().filter(|line| !healthy.contains(line));
        new.map(|(name, _, found)| format!("{name}: {found}")).collect()
    };
    let cell = |changed: &[String]| match changed {
        [] => "–",
        [first, ..] if first.contains("no NVIDIA GPU") => "no GPU",
        _ => "said",
    };
    let mut rows: Vec<(Vec<&str>, Vec<Vec<String>>)> = Vec::new();
    let init = |code: Option<u32>| match code {
        Some(code) => FakeNvml::new(Script { init_error: Some(code), ..Script::default() }),
        None => FakeNvml::without(Script::default(), &["nvmlInit_v2"]),
    };
    let codes = || std::iter::once(None).chain(CODES.map(Some));
    rows.push((vec!["nvmlInit_v2"], codes().map(|code| changed(&init(code).library())).collect()));
    for functions in failing() {
        let said = codes().map(|code| match code {
            None => changed(&FakeNvml::without(Script::default(), &functions).library()),
            Some(code) => {
                moody.fail(&functions, code);
                changed(&moody.library())
            }
        });
        rows.push((functions.clone(), said.collect()));
    }
    eprintln!("| function that fails | absent | 3 | 6 | 13 | 999 | what `doctor` says then, with 999 |");
    eprintln!("|---|---|---|---|---|---|---|");
    for (functions, said) in rows {
        let names: Vec<String> = functions.iter().map(|name| format!("`{name}`")).collect();
        let cells: Vec<&str> = said.iter().map(|changed| cell(changed)).collect();
        let words = said.last().map(|changed| changed.join(" · ")).unwrap_or_default();
        let path = regexless(&words);
        eprintln!("| {} | {} | {path} |", names.join(" and "), cells.join(" | "));
    }
}

/// The words without the folder of the test's own library.
fn regexless(words: &str) -> String {
    words.split_whitespace().filter(|word| !word.contains("libnvidia-ml.so.1")).collect::<Vec<_>>().join(" ")
}
