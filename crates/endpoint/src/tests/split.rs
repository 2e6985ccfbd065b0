//! The two readers against `serde_json` and against themselves, on input that is random, changed and cut anywhere.

use std::ops::ControlFlow;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::scan::{self, Chunk, Usage};
use crate::sse::Splitter;

/// What a chunk says, by `serde_json`.
#[derive(Debug, PartialEq, Default)]
struct Said {
    text: String,
    reasoning: String,
    tool_bytes: usize,
    tokens: Option<u32>,
    finish: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    error: Option<Value>,
    is_chunk: bool,
}

fn by_serde(value: &Value) -> Said {
    let string = |value: &Value| value.as_str().map(str::to_owned);
    let choice = &value["choices"][0];
    let delta = &choice["delta"];
    let (text, reasoning) = if delta.is_object() {
        let reasoning = string(&delta["reasoning_content"]).filter(|text| !text.is_empty());
        (string(&delta["content"]), reasoning.or_else(|| string(&delta["reasoning"])))
    } else {
        (string(&choice["text"]), None)
    };
    let call = |call: &Value| {
        ["name", "arguments"]
            .map(|part| call["function"][part].as_str().unwrap_or_default().len())
            .iter()
            .sum::<usize>()
    };
    let usage = value["usage"].is_object().then(|| Usage {
        prompt: value["usage"]["prompt_tokens"].as_u64(),
        completion: value["usage"]["completion_tokens"].as_u64(),
        cached: value["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64(),
        reasoning: value["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64(),
    });
    let has = |key: &str| value.as_object().is_some_and(|object| object.contains_key(key));
    let error = Some(value["error"].clone()).filter(|error| !error.is_null());
    Said {
        text: text.unwrap_or_default(),
        reasoning: reasoning.unwrap_or_default(),
        tool_bytes: delta["tool_calls"].as_array().map_or(0, |calls| calls.iter().map(call).sum()),
        tokens: choice["token_ids"].as_array().map(|ids| u32::try_from(ids.len()).unwrap()),
        finish: string(&choice["finish_reason"]),
        model: string(&value["model"]),
        usage,
        is_chunk: has("choices") || has("usage") || error.is_some(),
        error,
    }
}

fn by_us(chunk: &Chunk<'_>) -> Said {
    let string = |text: scan::Text<'_>| {
        let decoded: String = text.decoded().collect();
        assert_eq!(decoded.len(), text.bytes as usize, "{text:?}");
        decoded
    };
    Said {
        text: string(chunk.text),
        reasoning: string(chunk.reasoning),
        tool_bytes: chunk.tool_bytes as usize,
        tokens: chunk.tokens,
        finish: chunk.finish.map(string),
        model: chunk.model.map(string),
        usage: chunk.usage,
        error: chunk.error.map(|error| serde_json::from_str(error).unwrap()),
        is_chunk: chunk.is_chunk,
    }
}

/// Both readers on the same bytes.
fn agree(bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    match (serde_json::from_slice::<Value>(bytes), scan::chunk(bytes)) {
        (Ok(value), Ok(chunk)) => assert_eq!(by_us(&chunk), by_serde(&value), "{shown}"),
        (Err(_), Err(_)) => {}
        // A number that does not fit an f64 is still JSON; no server sends one.
        (Err(error), Ok(_)) if error.to_string().starts_with("number out of range") => {}
        (serde, ours) => panic!("serde_json says {serde:?}, the scan {ours:?} of {shown}"),
    }
}

/// A reader that has seen other chunks reads each as if it were the first, those that are almost the same too.
fn alike(events: &[Vec<u8>]) {
    let mut reader = scan::Reader::default();
    for event in events {
        let mut variants = vec![event.clone(), event.clone()];
        if let Ok(chunk) = scan::chunk(event)
            && !chunk.text.raw.is_empty()
        {
            let begin = chunk.text.raw.as_ptr().addr() - event.as_ptr().addr();
            let (before, after) = (&event[..begin], &event[begin + chunk.text.raw.len()..]);
            for text in ["", "other", "\u{e9}\u{1F600}", "\\n", "a\"", "\"}", "\t", "a\\"] {
                variants.push([before, text.as_bytes(), after].concat());
            }
            variants.push([before, b"\xff", after].concat());
            variants.push([before, b"longer than before", &after[..after.len() - 1], b" "].concat());
        }
        for variant in variants {
            // As an event of one line, with another after it: read in place, or left to the splitter.
            let stream = [b"data: ", &variant[..], b"\n\ndata: {}\n\n"].concat();
            if let Some((bytes, rest)) = reader.event(&stream) {
                let chunk = scan::chunk(&variant).expect("what is like a chunk is one");
                let text_alone = scan::Chunk {
                    text: chunk.text,
                    model: chunk.model,
                    is_chunk: true,
                    ..scan::Chunk::default()
                };
                assert_eq!((bytes, rest), (chunk.text.bytes, &b"data: {}\n\n"[..]));
                assert_eq!(chunk, text_alone, "nothing but a text is passed over");
            }
            assert_eq!(reader.read(&variant), scan::chunk(&variant), "{}", String::from_utf8_lossy(&variant));
        }
    }
}

/// Values with the names that chunks have, at right places and wrong ones.
fn value() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,12}",
        "\\PC{0,6}",
        Just("\u{1F600}\n\t\"\\\u{7f}\u{0}é".to_owned()),
        Just(String::new()),
        Just("stop".to_owned())
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0u64..5000).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        text.prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "choices",
        "delta",
        "content",
        "text",
        "reasoning_content",
        "reasoning",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "finish_reason",
        "usage",
        "prompt_tokens",
        "completion_tokens",
        "prompt_tokens_details",
        "cached_tokens",
        "completion_tokens_details",
        "reasoning_tokens",
        "error",
        "model",
        "token_ids",
        "logprobs",
        "index",
        "é\"",
    ]);
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6).prop_map(|pairs| pairs
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

/// Chunks of the right form, filled with any values.
fn chunk() -> impl Strategy<Value = Value> {
    (prop::collection::vec(value(), 8), any::<bool>()).prop_map(|(parts, is_chat)| {
        let [text, other, finish, usage, tools, ids, error, name] = <[Value; 8]>::try_from(parts).unwrap();
        let inner = if is_chat {
            json!({"logprobs": {"content": other, "text": "no"}, "delta": {"role": "assistant", "content": text,
                "reasoning_content": other, "tool_calls": [{"function": tools}, {"function": {"name": "f", "arguments": finish}}]},
                "finish_reason": finish, "token_ids": ids})
        } else {
            json!({"logprobs": {"text": other}, "text": text, "finish_reason": finish, "token_ids": ids})
        };
        json!({"model": name, "choices": [inner, {"text": "second"}], "usage": usage, "error": error})
    })
}

/// Text of JSON as some server might write it: with space, with all escapes, keys twice, bytes changed.
fn written(value: &Value, style: u8, changes: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    let mut text =
        if style & 1 == 0 { value.to_string() } else { serde_json::to_string_pretty(value).unwrap() };
    if style & 2 != 0 {
        let escaped = |c: char| {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units);
            units.iter().fold(String::new(), |text, unit| text + &format!("\\u{unit:04x}"))
        };
        text = text.chars().map(|c| if c.is_ascii() { c.to_string() } else { escaped(c) }).collect();
        text = text.replace("content", "c\\u006fntent");
    }
    if style & 4 != 0 {
        text = text.replacen(
            '{',
            r#"{"choices":[{"text":"earlier","finish_reason":"stop"}],"usage":{"prompt_tokens":1},"#,
            1,
        );
    }
    let mut bytes = text.into_bytes();
    for (at, byte) in changes {
        let at = at.index(bytes.len());
        bytes[at] = *byte;
    }
    bytes
}

fn run(cases: u32) -> u32 {
    let mut done = 0;
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let changes = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3),
        1 => prop::collection::vec(
            (any::<prop::sample::Index>(), prop::sample::select(b"{}[]\",:\\u0129-.eE tfn/".to_vec())), 1..4),
    ];
    let any_value = prop_oneof![value(), chunk(), chunk()];
    let stream = prop::collection::vec((any_value, any::<u8>(), changes), 1..4);
    let strategy = (stream, prop::collection::vec(any::<prop::sample::Index>(), 0..12), 0u8..4);
    TestRunner::new(config)
        .run(&strategy, |(events, cuts, ends)| {
            let events: Vec<Vec<u8>> =
                events.iter().map(|(value, style, changes)| written(value, *style, changes)).collect();
            for event in &events {
                agree(event);
            }
            alike(&events);
            splits(&events, &cuts, ends);
            Ok(())
        })
        .unwrap();
    done += cases;
    done
}

/// Events written as a stream, cut at random places, come out as they went in.
fn splits(events: &[Vec<u8>], cuts: &[prop::sample::Index], ends: u8) {
    let end: &[u8] = [&b"\n"[..], b"\r\n", b"\r", b"\n"][usize::from(ends)];
    let mut stream = Vec::new();
    if ends == 3 {
        stream.extend_from_slice(b"\xef\xbb\xbf");
    }
    let mut expected = Vec::new();
    for (number, event) in events.iter().enumerate() {
        // A line of data has no line end in it: an event with some has several lines.
        let lines: Vec<&[u8]> = event.split(|byte| matches!(byte, b'\n' | b'\r')).collect();
        expected.push(lines.join(&b'\n'));
        stream.extend_from_slice([&b": comment"[..], b"id: 7", b"retry"][number % 3]);
        stream.extend_from_slice(end);
        for line in lines {
            stream.extend_from_slice(if number % 2 == 0 || line.starts_with(b" ") {
                b"data: "
            } else {
                b"data:"
            });
            stream.extend_from_slice(line);
            stream.extend_from_slice(end);
        }
        stream.extend_from_slice(end);
    }
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
    at.extend([0, stream.len()]);
    at.sort_unstable();
    let mut splitter = Splitter::default();
    let mut found = Vec::new();
    for pair in at.windows(2) {
        let fed = splitter.feed(&stream[pair[0]..pair[1]], |event| {
            found.push(event.data.to_vec());
            ControlFlow::<()>::Continue(())
        });
        assert!(fed.unwrap().is_continue());
    }
    assert_eq!(found, expected);
    assert!(!splitter.is_inside_event());
}

#[test]
fn random_streams_cut_anywhere_are_read_as_serde_json_reads_them() {
    run(10_000);
}

#[test]
#[ignore = "takes minutes: cargo test --release -p infercost-endpoint --lib -- --ignored --nocapture a_million"]
fn a_million_random_streams_are_read_as_serde_json_reads_them() {
    let cases = run(1_000_000);
    println!("{cases} streams agree with serde_json");
}

#[test]
fn names_are_found_where_they_belong_and_nowhere_else() {
    let text = r#"{"text":"x","choices":[{"logprobs":{"text":["no"],"content":"no"},"text":"ye\u00e9\ud83d\ude00s","finish_reason":null},{"text":"no"}],"delta":{"content":"no"}}"#;
    let chunk = scan::chunk(text.as_bytes()).unwrap();
    assert_eq!(chunk.text.decoded().collect::<String>(), "yeé😀s");
    assert_eq!((chunk.text.bytes, chunk.finish, chunk.usage), (9, None, None));
    for text in [
        "[1,2]",
        "null",
        "\"text\"",
        "{}",
        r#"{"choices":null}"#,
        r#"{"choices":[]}"#,
        r#"{"choices":[null]}"#,
    ] {
        agree(text.as_bytes());
    }
    for depth in [127, 128, 129] {
        agree(format!("{}{}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
    }
    for text in [
        "",
        " ",
        "{",
        "{\"a\":1,}",
        "01",
        "1.",
        "-",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\t\"",
        "{}x",
        "tru",
    ] {
        agree(text.as_bytes());
        assert!(scan::chunk(text.as_bytes()).is_err(), "{text}");
    }
    let plain = |text: &str| {
        format!(r#"{{"model":"m","choices":[{{"text":"{text}","finish_reason":null}}],"usage":null}}"#)
    };
    alike(
        &[plain("a"), plain("bc"), plain(""), plain("d").replace("null}]", "\"stop\"}]"), plain("e")]
            .map(String::into_bytes),
    );
    let last = r#"{"choices":[{"delta":{"content":"abc"}}],"model":"m"}"#;
    alike(
        &[last, &last.replace("abc", "d"), &last.replace("\"m\"", "\"n\"")]
            .map(|text| text.as_bytes().to_vec()),
    );
    let broken = scan::chunk(b"{\"choices\":[{\"text\":\"\xff\"}]}").unwrap_err();
    assert_eq!((broken.at, broken.is_utf8), (21, false));
}

#[test]
fn a_stream_is_split_as_the_standard_says() {
    let split = |stream: &str| {
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        let fed = splitter.feed(stream.as_bytes(), |event| {
            found.push((String::from_utf8(event.data.to_vec()).unwrap(), event.named_error));
            ControlFlow::<()>::Continue(())
        });
        assert!(fed.unwrap().is_continue());
        (found, splitter.comments(), splitter.is_inside_event())
    };
    let event = |text: &str| (text.to_owned(), false);
    assert_eq!(split("data: a\n\ndata:b\r\n\r\n"), (vec![event("a"), event("b")], 0, false));
    assert_eq!(split("data: a\ndata:  b\n\n"), (vec![event("a\n b")], 0, false));
    assert_eq!(split(": x\n\n:\n\nid: 1\n\nevent: error\n\ndata\n\n"), (vec![event("")], 2, false));
    assert_eq!(
        split("event: error\ndata: x\n\ndata: y\n\n"),
        (vec![("x".to_owned(), true), event("y")], 0, false)
    );
    assert_eq!(split("data: a\n"), (vec![], 0, true));
    assert_eq!(split("database: a\n\n data: b\n\n"), (vec![], 0, false));
    let large = "x".repeat(Splitter::LIMIT + 1);
    assert!(Splitter::default().feed(large.as_bytes(), |_| ControlFlow::<()>::Continue(())).is_err());
}
