//! The record as a contract: its schema, its nulls, and what it keeps.

use serde_json::Value;

use crate::support::{Bench, quick};

fn a_record(bench: &Bench) -> Value {
    bench.json(&quick(&["--json", "--output", "-"]))
}

#[test]
fn the_schema_that_is_checked_in_is_the_one_printed() {
    let printed = Bench::new().run(&["schema"]).stdout;
    let stored = std::fs::read_to_string("docs/record.schema.json").expect("docs/record.schema.json");
    assert!(printed == stored, "run `cargo run -- schema > docs/record.schema.json`");
}

#[test]
fn another_projects_validator_accepts_a_record_and_refuses_a_broken_one() {
    let bench = Bench::new();
    let schema: Value = serde_json::from_str(&bench.run(&["schema"]).stdout).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let mut record = a_record(&bench);
    let errors: Vec<String> = validator.iter_errors(&record).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    record["measurements"][0]["n"] = "many".into();
    assert!(!validator.is_valid(&record));
    record["measurements"][0]["n"] = 3.into();
    record.as_object_mut().expect("an object").remove("cost");
    assert!(!validator.is_valid(&record));
}

/// Walks every object: a `null` must have a sibling `<name>_reason`.
pub(crate) fn nulls_without_reason(path: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = format!("{path}.{name}");
                if field.is_null() && !fields.contains_key(&format!("{name}_reason")) {
                    found.push(path.clone());
                }
                // The plan is the program's own view of what it resolved, not the record's data.
                if path != ".command.plan" {
                    nulls_without_reason(&path, field, found);
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                nulls_without_reason(&format!("{path}[{index}]"), item, found);
            }
        }
        _ => {}
    }
}

#[test]
fn what_is_not_known_is_null_with_its_reason() {
    let mut found = Vec::new();
    nulls_without_reason("", &a_record(&Bench::new()), &mut found);
    // An interval's absence is explained by the measurement it was computed from.
    found.retain(|path| !(path.starts_with(".cost") && path.ends_with("ci95")));
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn fields_of_a_newer_version_survive_a_read_and_a_write() {
    let mut record = a_record(&Bench::new());
    record["from_the_future"] = serde_json::json!({ "a": [1, 2] });
    record["model"]["also_new"] = 7.into();
    let read = infercost::record::read::parse(&record.to_string()).expect("readable");
    let written: Value = serde_json::to_value(&read).expect("writable");
    assert_eq!(written, record);
}

#[test]
fn every_raw_sample_is_kept() {
    let record = a_record(&Bench::new());
    for m in record["measurements"].as_array().expect("measurements") {
        let kept = m["samples"]["values"].as_array().map_or(0, Vec::len);
        assert_eq!(m["n"].as_u64().expect("n"), kept as u64, "{}", m["metric"]);
    }
}

#[test]
fn another_seed_is_another_series_and_another_flag_another_treatment() {
    let bench = Bench::new();
    let key = |record: &Value, name: &str| record["fingerprint"][name].as_str().expect("a key").to_owned();
    let a = a_record(&bench);
    let b = a_record(&bench);
    let c = bench.json(&quick(&["--json", "--output", "-", "--seed", "1"]));
    for name in ["series_key", "box_key", "treatment"] {
        assert_eq!(key(&a, name), key(&b, name), "{name}");
    }
    assert_ne!(key(&a, "series_key"), key(&c, "series_key"));
    assert_eq!(key(&a, "box_key"), key(&c, "box_key"));
}

#[test]
fn a_record_that_nobody_held_against_its_ceiling_says_so_wherever_it_is_read() {
    let bench = Bench::new();
    let mut record = a_record(&bench);
    let made = |record: &Value| record["validity"]["checks"].as_array().expect("checks").len();
    let unmade = record["validity"]["not_checked"].as_array().expect("names").clone();
    let called = |verdict: &str, evidence: &str, record: &mut Value| {
        for check in record["validity"]["checks"].as_array_mut().expect("checks") {
            if check["name"] == "roofline" {
                (check["verdict"], check["evidence"]) = (verdict.into(), evidence.into());
            }
        }
        bench.file("record.json", record.to_string().as_bytes());
    };
    let said = |args: &[&str]| {
        let ran = bench.run(args);
        assert_eq!(ran.code, 0, "{args:?}\n{}", ran.stderr);
        ran.stdout
    };
    let views: [&[&str]; 3] = [
        &["cost", "record.json"],
        &["compare", "record.json", "--api", "openai/gpt-4o-mini"],
        &["compare", "record.json", "record.json"],
    ];
    called("valid", "42% of the bandwidth", &mut record);
    for view in views {
        assert!(!said(view).contains("not checked"), "{view:?}");
    }
    // The second is how records said it before there was a verdict for it.
    for (verdict, evidence) in [("not_checked", "nobody looked"), ("valid", "not looked at: nobody looked")] {
        called(verdict, evidence, &mut record);
        for view in views {
            assert!(said(view).contains("roofline not checked: nobody looked"), "{view:?}: {}", said(view));
        }
        let cost: Value = serde_json::from_str(&said(&["cost", "record.json", "--json"])).expect("JSON");
        let names = cost["records"][0]["not_checked"].as_array().expect("names");
        assert_eq!((names.len(), names.last()), (unmade.len() + 1, Some(&"roofline".into())));
    }
    assert_eq!(made(&record), 14);
}
