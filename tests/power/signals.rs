//! A signal in each phase of a run that holds clocks and power limit: both are put back, and the library's own log says so.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::fake_nvml::{FakeNvml, GpuScript};
use crate::support::{Bench, SMALL};

/// Starts a run that changes the GPU, sends `signals` after `delay` and gives the exit code, the setters' log and what
/// the record says of the moment.
fn signalled(model: &str, signals: &[&str], delay: Duration) -> (i32, Vec<String>, String) {
    let fake = FakeNvml::gpu(GpuScript::default());
    let bench = Bench::new();
    let library = fake.library();
    let library = library.to_str().expect("text");
    let args = [
        "run",
        "--model",
        model,
        "--device",
        "cpu",
        "--power",
        "nvml",
        "--nvml-library",
        library,
        "--lock-clocks",
        "1410",
        "--power-limit",
        "350,500",
        "-p",
        "32",
        "-n",
        "16",
        "--max-time",
        "600s",
        "--precision",
        "0.01%",
    ];
    let mut child =
        bench.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
    // From the moment at which there is something to put back.
    let begin = Instant::now();
    while fake.setters().len() < 2 {
        assert!(begin.elapsed() < Duration::from_mins(1), "nothing was set");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(delay);
    for signal in signals {
        let status = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &child.id().to_string()])
            .status();
        assert!(status.expect("kill").success());
    }
    let status = child.wait().expect("it ends");
    let records = bench.records();
    let text =
        records.first().map_or_else(String::new, |path| std::fs::read_to_string(path).expect("a record"));
    let record: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let moment = record["command"]["interrupted_reason"].as_str().unwrap_or("no record").to_owned();
    (status.code().unwrap_or(-1), fake.setters(), moment)
}

fn restored(log: &[String]) -> bool {
    let said = |what: &str| log.iter().filter(|line| line.ends_with(what)).count();
    said("lock clocks 1410 1410") == 1
        && said("power limit 350000") == 1
        && said("reset clocks") == 1
        && said("power limit 700000") == 1
}

#[test]
fn whatever_the_phase_clocks_and_limit_are_put_back() {
    let (small, large) = (SMALL, "synthetic:llama-3.2-1b:q8_0");
    // Idle for 2 s, then loading, warming up, measuring; how long the last three take is the machine's affair.
    for (model, signal, code, millis, phases) in [
        (small, "INT", 130, 100, &["idle"][..]),
        (small, "TERM", 143, 1500, &["idle"]),
        (large, "INT", 130, 2350, &["idle", "loading"]),
        (large, "TERM", 143, 2500, &["idle", "loading"]),
        (small, "INT", 130, 2600, &["idle", "loading", "warming up", "measuring"]),
        (small, "TERM", 143, 2700, &["idle", "loading", "warming up", "measuring"]),
        (small, "INT", 130, 5500, &["loading", "warming up", "measuring"]),
        (small, "TERM", 143, 5600, &["loading", "warming up", "measuring"]),
    ] {
        let (exit, log, moment) = signalled(model, &[signal], Duration::from_millis(millis));
        eprintln!("{signal} after {millis} ms: exit {exit}, {moment}, {log:?}");
        assert_eq!(exit, code, "{signal} after {millis} ms");
        assert!(restored(&log), "{signal} after {millis} ms: {log:?}");
        assert!(phases.iter().any(|phase| moment.contains(phase)), "{signal} after {millis} ms: {moment}");
    }
}

#[test]
fn a_second_signal_puts_back_too() {
    let (exit, log, _) =
        signalled("synthetic:llama-3.2-1b:q8_0", &["INT", "QUIT"], Duration::from_millis(2500));
    assert_eq!(exit, 131);
    assert!(restored(&log), "{log:?}");
}

#[test]
fn the_end_of_a_sweep_puts_back_once() {
    let fake = FakeNvml::gpu(GpuScript::default());
    let bench = Bench::new();
    let library = fake.library();
    let library = library.to_str().expect("text");
    let args = [
        "run",
        "--model",
        SMALL,
        "--device",
        "cpu",
        "--power",
        "nvml",
        "--nvml-library",
        library,
        "--power-limit",
        "350,500",
        "-p",
        "8",
        "-n",
        "4",
        "-r",
        "1",
        "--json",
    ];
    let ran = bench.run(&args);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(bench.records().len(), 2);
    let ends: Vec<String> =
        fake.setters().iter().map(|line| line.rsplit(' ').next().unwrap_or("").to_owned()).collect();
    assert_eq!(ends, ["350000", "500000", "700000"]);
    assert!(ran.stderr.contains("350 W") && ran.stderr.contains("500 W"), "{}", ran.stderr);
    // One object on stdout, each record as it is in its file.
    let object: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one object");
    let limits: Vec<f64> = (object["records"].as_array().expect("records").iter())
        .map(|record| &record["environment"]["gpus"][0]["facts"]["power_limit_set_by_this_run_watts"])
        .map(|watts| watts.as_f64().expect("a limit"))
        .collect();
    assert_eq!(limits, [350.0, 500.0]);
}

#[test]
fn a_limit_that_is_refused_leaves_the_records_before_it() {
    let fake = FakeNvml::gpu(GpuScript { refused_limits: vec![500_000], ..GpuScript::default() });
    let bench = Bench::new();
    let library = fake.library();
    let library = library.to_str().expect("text");
    let base = ["run", "--model", SMALL, "--device", "cpu", "--power", "nvml", "--nvml-library", library];
    let more = ["-p", "8", "-n", "0", "--power-limit", "350,500", "-r", "1", "--json", "-q"];
    let ran = bench.run(&[&base[..], &more].concat());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let object: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one object");
    let [record] = &object["records"].as_array().expect("records")[..] else { panic!("{object}") };
    let [kept] = &bench.records()[..] else { panic!("{:?}", bench.records()) };
    let kept = kept.display().to_string();
    assert!(kept.contains(record["id"].as_str().expect("an id")), "{kept}");
    // `-q` leaves the reason alone.
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("--power-limit: setting the power limit: NVML"), "{}", ran.stderr);
    assert!(
        fake.setters().last().is_some_and(|line| line.ends_with("power limit 700000")),
        "{:?}",
        fake.setters()
    );
}

#[test]
fn settings_without_permission_or_a_gpu_are_refused_before_anything_runs() {
    let bench = Bench::new();
    let ran = bench.run(&["run", "--model", SMALL, "--lock-clocks", "-p", "8", "-n", "4"]);
    assert_eq!(ran.code, 13, "{}", ran.stderr);
    assert!(ran.stderr.contains("--lock-clocks") && ran.stderr.contains("--power nvml"), "{}", ran.stderr);
    let denied = crate::support::fake_nvml::Script { denied: true, ..Default::default() };
    let fake = FakeNvml::new(denied);
    let library = fake.library();
    let library = library.to_str().expect("text");
    let base = ["run", "--model", SMALL, "--device", "cpu", "--power", "nvml", "--nvml-library", library];
    let ran = bench.run(&[&base[..], &["--lock-clocks=1410"]].concat());
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("root"), "{}", ran.stderr);
    assert!(bench.records().is_empty());
    // Every limit is looked at before the first is set.
    let fake = FakeNvml::gpu(GpuScript::default());
    let library = fake.library();
    let library = library.to_str().expect("text");
    let base = ["run", "--model", SMALL, "--device", "cpu", "--power", "nvml", "--nvml-library", library];
    let ran = bench.run(&[&base[..], &["--power-limit", "350,900"]].concat());
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("900 W is out of this GPU's range, 200 to 700 W"), "{}", ran.stderr);
    let ran = bench.run(&[&base[..], &["--lock-clocks", "99999"]].concat());
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("--lock-clocks: locking clocks: 99999 MHz is out of"), "{}", ran.stderr);
    assert!(fake.setters().is_empty() && bench.records().is_empty());
}
