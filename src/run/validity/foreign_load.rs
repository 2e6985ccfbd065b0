//! Other load on the machine: other processes, other tenants of the hypervisor, a container's quota, another user
//! of the GPU.

use super::{Check, Evidence, Verdict, check, unmade};
use crate::hardware::telemetry::host::HostWindow;

/// Share of the processors' time that others may use.
const MOST_FOREIGN: f64 = 0.05;
/// Share that a quota may hold back.
const MOST_HELD_BACK: f64 = 0.01;
/// Share that the hypervisor may take.
const MOST_STOLEN: f64 = 0.01;

/// What exceeded the limits on the host, what did not, and what is unknown.
pub(super) fn on_host(host: Option<HostWindow>) -> [Vec<String>; 3] {
    let mut wrong = Vec::new();
    let (mut seen, mut unknown) = (Vec::new(), Vec::new());
    for (share, most, who) in [
        (host.and_then(|host| host.foreign_share), MOST_FOREIGN, "other processes used"),
        (host.and_then(|host| host.stolen_share), MOST_STOLEN, "the hypervisor took"),
    ] {
        match share {
            Some(share) => {
                let text = format!("{who} {:.1}% of the processors' time", share * 100.0);
                if share > most { wrong.push(text) } else { seen.push(text) }
            }
            None => unknown.push(format!("what {who} is not known")),
        }
    }
    // A box without control groups has no quota either, so silence is no news.
    if let Some(share) = host.and_then(|host| host.quota_share) {
        let text = format!("the container's quota held back {:.1}% of it", share * 100.0);
        if share > MOST_HELD_BACK { wrong.push(text) } else { seen.push(text) }
    }
    [wrong, seen, unknown]
}

pub(super) fn run(evidence: &Evidence<'_>) -> Check {
    let name = "foreign_load";
    let [mut wrong, mut seen, mut unknown] = on_host(evidence.host);
    let host = evidence.host;
    if let Some(count @ 1..) = evidence.gpu_processes_during {
        wrong.push(format!("{count} other process(es) were on the GPU during the run"));
    }
    match evidence.gpu_processes {
        Some(0) => seen.push("no other process was on the GPU".to_owned()),
        Some(count) => wrong.push(format!("{count} other process(es) were on the GPU before the run")),
        None if evidence.on_processor || evidence.gpu_processes_during.is_some() => {}
        None => unknown.push("who else was on the GPU is not known".to_owned()),
    }
    if !wrong.is_empty() {
        let text = format!("{}; run it on a machine with nothing else on it", wrong.join("; "));
        return check(name, Verdict::Suspect, text);
    }
    // What disturbs the working device must be visible, or the check was not made.
    let looked = if evidence.on_processor {
        host.and_then(|host| host.foreign_share).is_some()
    } else {
        evidence.gpu_processes.is_some() || evidence.gpu_processes_during.is_some()
    };
    seen.append(&mut unknown);
    if looked { check(name, Verdict::Valid, seen.join("; ")) } else { unmade(name, seen.join("; ")) }
}
