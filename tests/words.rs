//! What people read, as files under `tests/data/words`: the help of every command at 80 and 120 columns, and views of a fixed
//! record. A change of words is then a difference that a reviewer reads. After an intended change:
//! `INSTA_UPDATE=always cargo test --test outside words`. Wrong command lines have their own table (`command_lines`).

use std::collections::BTreeSet;

use crate::support::Bench;

const WIDTHS: [&str; 2] = ["80", "120"];

/// What `bench` prints, at a width.
fn printed(bench: &Bench, args: &[&str], columns: &str) -> String {
    let output = bench.command(args).env("COLUMNS", columns).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("data/words");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings
}

/// Names under the heading `Commands:` of a help text.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        // A continued description is indented further than a name.
        let line = line.strip_prefix("  ").filter(|line| !line.starts_with(' '))?;
        line.split_whitespace().next().map(str::to_owned)
    });
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_help_is_as_it_was_reviewed() {
    let bench = Bench::new();
    let (mut open, mut seen) = (vec![Vec::new()], BTreeSet::new());
    while let Some(command) = open.pop() {
        let args: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        for columns in WIDTHS {
            let help = printed(&bench, &args, columns);
            let longest = help.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            assert!(
                longest <= columns.parse().expect("a number"),
                "{command:?}: {longest} columns of {columns}"
            );
            let name = ["bench".to_owned()].into_iter().chain(command.clone()).collect::<Vec<_>>().join("-");
            settings().bind(|| insta::assert_snapshot!(format!("help-{name}.{columns}"), help));
            if columns == WIDTHS[0] {
                open.extend(subcommands(&help).into_iter().map(|sub| [command.clone(), vec![sub]].concat()));
            }
        }
        assert!(seen.insert(command.clone()), "{command:?} is its own subcommand");
    }
    assert!(seen.len() >= 20, "{seen:?}");
}

/// Without what is another tomorrow: the number in `12 days old`, and the mark of a price that became old.
fn without_ages(text: &str) -> String {
    let line = |line: &str| {
        let mut words: Vec<&str> = line.trim_end_matches(" old").split(' ').collect();
        for at in 1..words.len() {
            if words[at].starts_with("days") && words[at - 1].parse::<u32>().is_ok() {
                words[at - 1] = "N";
            }
        }
        words.join(" ")
    };
    text.lines().map(|each| line(each) + "\n").collect()
}

#[test]
fn views_of_fixed_records_are_as_they_were_reviewed() {
    let bench = Bench::new();
    // What `bench run` without flags left on a processor with AVX2.
    let record = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/records/llama-3.2-1b-cpu.json");
    let views: [(&str, &[&str]); 6] = [
        ("cost", &["cost", record]),
        (
            "cost-margin",
            &["cost", record, "--price-per-hour", "2", "--sell", "0.59,0.79", "--utilization", "60%"],
        ),
        ("cost-markdown", &["cost", record, "-o", "md"]),
        ("cost-target", &["cost", "--target", "0.20", "--price-per-hour", "2.49"]),
        ("compare-api", &["compare", record]),
        ("compare-month", &["compare", record, "--input-per-month", "40M", "--output-per-month", "8M"]),
    ];
    for (name, args) in views {
        let view = without_ages(&printed(&bench, args, WIDTHS[0])).replace(record, "RECORD");
        settings().bind(|| insta::assert_snapshot!(format!("view-{name}"), view));
    }
}
