//! Secrets planted in strangers' texts, and what must stay as it is.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn check(said: &str, expected: &str) {
    assert_eq!(text(said), expected, "{said}");
    assert_eq!(text(expected), expected, "twice: {said}");
}

#[test]
fn by_form() {
    for key in [
        "sk-EXAMPLE-do-not-share-123",
        "sk-proj-a8Bc_d-Ef90",
        "hf_EXAMPLEdoNotShare",
        "ghp_0123456789abcdef",
        "github_pat_11ABCDE_0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789-abcdef",
        "AIzaSyA-1234567890abcdefghijklmnopqrs",
        "gsk_abcdefGHIJ0123",
        "nvapi-abc_DEF-0123456789",
        "r8_0123456789abcdef",
        "rpa_0123456789ABCDEFGHIJ",
        "csk-0123456789abcdefgh-i",
        "fw_0123456789abcdefGHIJ",
        "npm_0123456789abcdefGHIJ",
        "SG.abcDEF0123456789.ghiJKL",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-DEF_123",
    ] {
        check(&format!("with {key}, then"), "with [redacted], then");
        check(&format!("'{key}'"), "'[redacted]'");
        check(&format!("line\\n{key}\\n"), "line\\n[redacted]\\n");
    }
    check("Bearer abcdef0123456789", "Bearer [redacted]");
    check("basic dXNlcjpwYXNz", "basic [redacted]");
    check("a -----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY----- b", "a [redacted] b");
    check("-----BEGIN PRIVATE KEY-----\\nMIIB", "[redacted]");
}

#[test]
fn by_place_in_an_address() {
    check("https://me:pass@host:8000/v1", "https://[redacted]@host:8000/v1");
    check("https://abcdef@host/v1/models", "https://[redacted]@host/v1/models");
    check("https://me:pa/ss@host/v1", "https://[redacted]@host/v1");
    check("http://h/v1?api_key=abc&n=5", "http://h/v1?api_key=[redacted]&n=5");
    check("http://h/v1?n=5&token=abc#x", "http://h/v1?n=5&token=[redacted]#x");
    check("https://h/f?api%5Fkey=abc", "https://h/f?api%5Fkey=[redacted]");
    check(
        "https://h/f?X-Amz-Credential=AK%2F1&X-Amz-Date=2026&X-Amz-Signature=0a1b",
        "https://h/f?X-Amz-Credential=[redacted]&X-Amz-Date=2026&X-Amz-Signature=[redacted]",
    );
    for address in ["http://localhost:8000/v1/completions", "ssh://git@host/x", "https://h/x@v1?max_tokens=5"]
    {
        check(address, address);
    }
}

#[test]
fn by_name_within_a_text() {
    check("vllm serve m --api-key abc --port 1", "vllm serve m --api-key [redacted] --port 1");
    check("vllm serve m --api-key=abc --port 1", "vllm serve m --api-key=[redacted] --port 1");
    check("OPENAI_API_KEY=abc bench", "OPENAI_API_KEY=[redacted] bench");
    check("Namespace(model='m', api_key='a b', n=1)", "Namespace(model='m', api_key='[redacted]', n=1)");
    check(r#"{"apiKey": "a\"b", "n": 1}"#, r#"{"apiKey": "[redacted]", "n": 1}"#);
    check(r#"{\"password\": \"ab\", \"n\": 1}"#, r#"{\"password\": \"[redacted]\", \"n\": 1}"#);
    check("-H 'Authorization: Bearer abc' x", "-H 'Authorization: [redacted]' x");
    check("-H \"Cookie: a=b; c=d\" x", "-H \"Cookie: [redacted]\" x");
    check("client_secret: abc, n: 1", "client_secret: [redacted], n: 1");
    check("{'api_keys': ['a', 'b'], 'n': 1}", "{'api_keys': [redacted], 'n': 1}");
    check("password=1234 port=8000", "password=[redacted] port=8000");
    check("API key: abc", "API key: [redacted]");
    check("headers[\"x-api-key\"] = \"abc\"", "headers[\"x-api-key\"] = \"[redacted]\"");
}

#[test]
fn what_is_no_secret_stays() {
    for said in [
        "total_tokens=512 max_tokens: 8 --max-num-batched-tokens 2048",
        "eos_token='<|im_end|>' tokenizer=hf-internal-testing/llama-tokenizer --tokenizer meta-llama/Llama-3.1-8B",
        "time_to_first_token: 0.12 --api-key-count",
        "api_key=None hf_token=null use_auth_token=True",
        "hf_transfer hf_overrides=x sk-learn disk-0123456789 task-0123456789abc basic benchmarking of bearer networks",
        "meta-llama/Llama-3.1-8B-Instruct unsloth/Qwen3-8B-GGUF:Q4_K_M",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "key_value_heads=8 num_key_value_heads: 8 kv_cache keyword=x",
        "session_count=12345 session: 5",
        "author=x, monkey=12345678, --seed 5",
        "[2026-01-01 00:00:00] INFO: Application startup complete.",
    ] {
        check(said, said);
    }
}

#[test]
fn members_are_dropped_and_named() {
    let mut left_out = Vec::new();
    let said = json!({
        "backend": {"api_key": "abc", "target": "http://me:pass@h/v1", "apiKey": null, "model": "m"},
        "X-API-Key": "abc", "Authorization": {"scheme": "x", "value": "y"}, "cookies": ["a"], "password": 123_456,
        "argv": ["serve", "--api-key", "abc", "--port", "1"], "headers": [["authorization", "abc"], ["accept", "x"]],
        "env": [{"name": "HF_TOKEN", "value": "abc"}, {"name": "HOME", "value": "/root"}],
        "command": "x --api-key abc", "access_token": "", "use_auth_token": true, "token": "abc-12345",
        "tokens": 5, "total_tokens": 6, "tokenizer_id": "abcdef0123456789ABC", "token_ids": [1, 2], "num_secrets": 5,
        "eos_token": "</s>", "series_key": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "sk-abcdef012345": 1,
    });
    let Value::Object(said) = said else { panic!("an object") };
    let found = object("", said, &mut left_out);
    let expected = json!({
        "backend": {"target": "http://[redacted]@h/v1", "apiKey": null, "model": "m"},
        "argv": ["serve", "--api-key", "[redacted]", "--port", "1"],
        "headers": [["authorization", "[redacted]"], ["accept", "x"]],
        "env": [{"name": "HF_TOKEN"}, {"name": "HOME", "value": "/root"}],
        "command": "x --api-key [redacted]", "access_token": "", "use_auth_token": true,
        "tokens": 5, "total_tokens": 6, "tokenizer_id": "abcdef0123456789ABC", "token_ids": [1, 2], "num_secrets": 5,
        "eos_token": "</s>", "series_key": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "[redacted]": 1,
    });
    assert_eq!(Value::Object(found.clone()), expected);
    let named = [
        "backend.api_key",
        "backend.target",
        "X-API-Key",
        "Authorization",
        "cookies",
        "password",
        "argv[2]",
        "headers[0][1]",
        "env[0].value",
        "command",
        "token",
    ];
    assert_eq!(left_out, named);
    left_out.clear();
    assert_eq!(Value::Object(object("", found, &mut left_out)), expected, "twice");
    assert_eq!(left_out, Vec::<String>::new());
}

#[test]
fn words_of_a_command_line() {
    let said = [
        "bench",
        "run",
        "--api-key",
        "abc",
        "--url",
        "http://a:b@h/v1?key=x",
        "--header",
        "X-Api-Key: y",
        "-n",
        "5",
    ];
    let expected = [
        "bench",
        "run",
        "--api-key",
        MARK,
        "--url",
        "http://[redacted]@h/v1?key=[redacted]",
        "--header",
        "X-Api-Key: [redacted]",
        "-n",
        "5",
    ];
    assert_eq!(words(&said), expected);
    assert_eq!(words(&expected), expected);
}

/// A random secret of a form, or of any form under a name.
fn secret() -> impl Strategy<Value = (String, bool)> {
    let body = "[A-Za-z0-9]{20,40}";
    let prefixed = prop::sample::select(vec![
        "sk-",
        "hf_",
        "ghp_",
        "github_pat_",
        "xoxb-",
        "xoxp-",
        "AIza",
        "gsk_",
        "nvapi-",
        "r8_",
        "Bearer ",
        "Basic ",
    ]);
    prop_oneof![
        (prefixed, body).prop_map(|(prefix, body)| (format!("{prefix}{body}"), true)),
        "AKIA[A-Z0-9]{16}".prop_map(|key| (key, true)),
        "eyJ[A-Za-z0-9_-]{10,30}\\.eyJ[A-Za-z0-9_-]{10,30}\\.[A-Za-z0-9_-]{10,30}"
            .prop_map(|key| (key, true)),
        "[A-Za-z0-9!$%*+/=_.~-]{6,30}[A-Za-z0-9]".prop_map(|key| (key, false)),
    ]
}

/// What of a secret may not be found again.
fn core(secret: &str) -> &str {
    secret.trim_start_matches("Bearer ").trim_start_matches("Basic ")
}

const NAMES: [&str; 24] = [
    "api_key",
    "apikey",
    "api-key",
    "apiKey",
    "API_KEY",
    "password",
    "passwd",
    "secret",
    "client_secret",
    "clientSecret",
    "authorization",
    "Authorization",
    "x-api-key",
    "credential",
    "credentials",
    "access_token",
    "accessToken",
    "auth_token",
    "bearer",
    "hf_token",
    "HF_TOKEN",
    "private_key",
    "cookie",
    "openai_api_key",
];

proptest! {
    #[test]
    fn a_secret_is_found_wherever_it_is((secret, by_form) in secret(), name in 0..NAMES.len(), place in 0..9usize) {
        let name = NAMES[name];
        let said = match place {
            _ if by_form && place < 3 => json!({ "x": [{ "note": format!("before {secret} after") }] }),
            0 => json!({ "a": { name: secret } }),
            1 => json!({ "a": [{ name: [secret, 1] }] }),
            2 => json!({ "a": { name: { "value": secret } } }),
            3 => json!({ "a": format!("x --{name} '{secret}' y") }),
            4 => json!({ "a": format!("{name}='{secret}'") }),
            5 => json!({ "a": json!({ name: secret, "n": 1 }).to_string() }),
            6 => json!({ "a": json!({ "b": json!({ name: secret }).to_string() }).to_string() }),
            7 => json!({ "a": ["x", format!("--{name}"), secret] }),
            _ => json!({ "a": format!("Namespace({name}='{secret}', n=1)") }),
        };
        let mut left_out = Vec::new();
        let found = value("", said.clone(), &mut left_out).to_string();
        prop_assert!(!found.contains(core(&secret)), "{said} gave {found}");
        prop_assert!(!left_out.is_empty() && !left_out.concat().contains(core(&secret)), "{left_out:?}");
    }

    #[test]
    fn twice_is_once(parts in prop::collection::vec(prop_oneof![
        "[ -~]{0,12}".prop_map(|text| text),
        secret().prop_map(|(secret, _)| secret),
        prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
        prop::sample::select(vec!["=", ": ", "\"", "\\\"", "'", "?", "&", "://", "@", "[redacted]", "--", " ", "\n", "Bearer ", "token", "{", "["]).prop_map(str::to_owned),
    ], 0..12)) {
        let said = parts.concat();
        let once = text(&said).into_owned();
        prop_assert_eq!(text(&once).into_owned(), once.clone(), "{}", said);
    }

    #[test]
    fn a_text_of_any_bytes_is_no_panic(said in "\\PC{0,60}") {
        drop(text(&said));
    }
}
