//! `bench run --serve`: a server that is started, timed and ended.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::truth::Server;
use super::{ms, number, record_of, tokens};
use crate::support::{self, Bench};

/// Whether a process group has anyone in it.
fn group_is_there(group: &str) -> bool {
    let asked = Command::new("sh").args(["-c", &format!("kill -0 -{group} 2>&-")]).status();
    asked.expect("a shell").success()
}

/// Whether it is empty within some seconds: who was killed is there until the system takes note of it.
fn group_is_gone(group: &str) -> bool {
    (0..500).any(|_| {
        std::thread::sleep(ms(20));
        !group_is_there(group)
    })
}

/// Not a test: the server that the test below starts, in a process of its own.
#[test]
fn a_truth_server_for_another_test() {
    let Some(port) = std::env::var_os("INFERCOST_TRUTH_PORT") else { return };
    let address = format!("127.0.0.1:{}", port.display());
    let _server = Server::listen(&address, None, |_| tokens());
    std::thread::sleep(Duration::from_mins(2));
}

#[test]
fn a_server_that_is_started_for_the_run_is_timed_and_its_group_is_gone_afterwards() {
    let bench = Bench::new();
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let program = std::env::current_exe().expect("the test's own path");
    // Its other child processes must end as well; the shell's pid is its group's.
    let command = format!(
        "echo $$ > group; sleep 600 & INFERCOST_TRUTH_PORT={port} {} --exact serving::started::a_truth_server_for_another_test",
        program.display()
    );
    let url = format!("http://127.0.0.1:{port}");
    let more =
        ["-p", "16", "-n", "16", "--price-per-hour", "3.6", "--max-concurrency", "2", "--num-prompts", "60"];
    let ran = bench.run(&[&["run", "--serve", &command, "--url", &url][..], &more].concat());
    assert_eq!(ran.code, 0, "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("cold start: listening after"), "{}", ran.stdout);
    let record = record_of(&bench);
    let cold = &record["serving"]["cold_start"];
    let [listening, healthy, first] =
        ["listening", "healthy", "first_token"].map(|name| number(&cold[format!("{name}_seconds")]));
    assert!(0.0 < listening && listening <= healthy && healthy < first, "{cold}");
    assert!((number(&cold["usd"]) / (first * 0.001) - 1.0).abs() < 1e-9, "{cold}");
    let group = fs::read_to_string(bench.folder().join("group")).expect("a group");
    assert!(group_is_gone(group.trim()), "somebody of {group} is still there");

    // Ctrl-C in mid run ends it as well.
    fs::remove_file(bench.folder().join("group")).expect("the last group");
    let long = [&more[..8], &["--max-time", "100s"]].concat();
    let child = bench
        .command(&[&["run", "--serve", &command, "--url", &url][..], &long].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!((0..600).any(|_| {
        std::thread::sleep(ms(50));
        listens()
    }));
    std::thread::sleep(ms(500));
    let group = fs::read_to_string(bench.folder().join("group")).expect("a group");
    assert!(group_is_there(group.trim()), "the server runs");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill").success());
    let ran = support::ran(&child.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 130, "{}", ran.stderr);
    assert!(group_is_gone(group.trim()), "somebody of {group} is still there");

    let broken =
        bench.run(&["run", "--serve", "echo no such model >&2; exit 3", "--url", "http://127.0.0.1:9"]);
    assert_eq!(broken.code, 1, "{}", broken.stderr);
    assert!(
        broken.stderr.contains("it ended before it was healthy; its last output: no such model"),
        "{}",
        broken.stderr
    );
}
