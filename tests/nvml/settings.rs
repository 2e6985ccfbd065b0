//! What is changed on a GPU is put back, whatever ends the run; the library's log of its setters proves it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use infercost::base::sys::Interrupt;
use infercost::base::units::Watts;
use infercost::hardware::nvml::{self, Wanted};

use super::gpu;
use crate::support::fake_nvml::{FakeNvml, GpuScript, Script};

const UUID: &str = "GPU-00000000-fa4e-0000-0000-000000000000";

fn setters(calls: &[&str]) -> Vec<String> {
    calls.iter().map(|call| format!("{UUID} {call}")).collect()
}

#[test]
fn locked_clocks_are_put_back_also_by_a_panic() {
    let fake = FakeNvml::gpu(GpuScript::default());
    let gpu = gpu(&fake);
    let lock = nvml::lock_clocks(&gpu, Some(1410)).expect("permitted");
    assert_eq!((lock.mhz, gpu.facts().clocks.sm), (1410, Ok(1410)));
    drop(lock);
    assert_eq!(gpu.facts().clocks.sm, Ok(1980));
    assert_eq!(fake.setters(), setters(&["lock clocks 1410 1410", "reset clocks"]));

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let lock = nvml::lock_clocks(&gpu, None).expect("permitted");
        assert_eq!((lock.mhz, lock.chosen), (1755, "the GPU's default application clock"));
        panic!("in the midst of a run");
    }));
    assert!(panicked.is_err());
    assert_eq!(fake.setters()[2..], setters(&["lock clocks 1755 1755", "reset clocks"]));
}

#[test]
fn a_sweep_of_power_limits_ends_where_it_began() {
    let fake = FakeNvml::gpu(GpuScript { power_limit: [650_000, 200_000, 700_000], ..GpuScript::default() });
    let gpu = gpu(&fake);
    let mut limit = nvml::set_power_limit(&gpu, Watts::new(350.0)).expect("permitted");
    assert_eq!((limit.watts, limit.before), (Watts::new(350.0), Watts::new(650.0)));
    limit.change(Watts::new(500.0)).expect("permitted");
    assert_eq!(limit.watts, Watts::new(500.0));
    let error = limit.change(Watts::new(701.0)).expect_err("out of range");
    assert!(error.contains("200 to 700 W"), "{error}");
    drop(limit);
    assert_eq!(gpu.facts().power_limit.current, Ok(Watts::new(650.0)));
    assert_eq!(fake.setters(), setters(&["power limit 350000", "power limit 500000", "power limit 650000"]));
}

#[test]
fn what_may_not_be_set_says_who_may() {
    let fake = FakeNvml::new(Script { denied: true, ..Script::default() });
    let gpu = gpu(&fake);
    let clocks = nvml::lock_clocks(&gpu, Some(1410)).expect_err("denied");
    let power = nvml::set_power_limit(&gpu, Watts::new(350.0)).expect_err("denied");
    for error in [clocks, power] {
        assert!(error.contains("needs root") && error.contains("sudo"), "{error}");
    }
    // What was not changed is not put back.
    assert_eq!(fake.setters(), setters(&["denied: lock clocks 1410 1410", "denied: power limit 350000"]));

    let fake = FakeNvml::without(Script::default(), &["nvmlDeviceSetGpuLockedClocks"]);
    let error = nvml::lock_clocks(&self::gpu(&fake), None).expect_err("an old driver");
    assert!(error.contains("no such function"), "{error}");
    let error = nvml::lock_clocks(&gpu, Some(5000)).expect_err("out of range");
    assert!(error.contains("up to 1980 MHz"), "{error}");
}

/// Names the library to the process that [`a_signal_puts_the_settings_back`] starts: itself once more.
const HELD: &str = "INFERCOST_TEST_HELD";
/// Makes that process look at the flag, as a run does between two steps.
const LOOKS: &str = "INFERCOST_TEST_LOOKS";

#[test]
fn a_signal_puts_the_settings_back() {
    if let Some(library) = std::env::var_os(HELD) {
        return hold(Path::new(&library), std::env::var_os(LOOKS).is_some());
    }
    let cases: [(&[&str], bool, i32); 6] = [
        (&["INT"], true, 130),
        (&["TERM"], true, 143),
        (&["INT", "INT"], false, 130),
        (&["INT", "TERM"], false, 143),
        (&["HUP"], false, 129),
        (&["QUIT"], false, 131),
    ];
    for (signals, looks, code) in cases {
        let fake = FakeNvml::gpu(GpuScript::default());
        let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
        command.args(["--exact", "nvml::settings::a_signal_puts_the_settings_back"]);
        command.env(HELD, fake.library()).stdout(Stdio::null());
        if looks {
            command.env(LOOKS, "yes");
        }
        let mut child = command.spawn().expect("this test once more");
        let changed = ["lock clocks 1410 1410", "power limit 350000"];
        while fake.setters().len() < changed.len() {
            assert_eq!(child.try_wait().expect("a process"), None, "it ended by itself");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(fake.setters(), setters(&changed));
        for signal in signals {
            // Two within half a second are one.
            std::thread::sleep(Duration::from_millis(700));
            assert_eq!(fake.setters().len(), 2, "held until the last of {signals:?}");
            let killed = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
            assert!(killed.expect("kill").success());
        }
        let status = child.wait().expect("it ends");
        assert_eq!((status.code(), status.signal()), (Some(code), None), "{signals:?}");
        assert_eq!(fake.setters()[2..], setters(&["power limit 700000", "reset clocks"]), "{signals:?}");
    }
}

/// Holds clocks and power limit until a signal ends it.
#[expect(clippy::exit, reason = "the code is what the other process looks at")]
#[allow(unsafe_code, reason = "std cannot set a signal back to its default")]
fn hold(library: &Path, looks: bool) {
    // Under `nohup`, or in a shell's background, they come ignored, and the program leaves that as it is.
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: no other thread of this process changes how signals are handled.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let interrupt = Interrupt::install().expect("handlers");
    let library = nvml::open(Some(library)).expect("the fake library");
    let gpu = nvml::select(library, &Wanted::Index(0)).expect("its GPU");
    let clocks = nvml::lock_clocks(&gpu, Some(1410)).expect("permitted");
    let limit = nvml::set_power_limit(&gpu, Watts::new(350.0)).expect("permitted");
    while !(looks && interrupt.requested()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop((limit, clocks));
    std::process::exit(interrupt.exit_code().expect("a signal").into());
}
