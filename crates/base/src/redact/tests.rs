//! Secrets planted in text of outside origin, and text that must not change.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::clock;

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
        "phc_0123456789abcdefGHIJKLMNOP",
        "dapi0123456789abcdef0123456789abcdef",
        "ops_eyJzaWduSW5BZGRyZXNzIjoiZXhhbXBsZSJ9",
        "sess-0123456789abcdefGHIJ0123",
        "EAACEdEose0cBA0123456789abcdefGHIJ",
        "sntrys_eyJpYXQiOjE2MzIxMjM0NTY3ODkuMH0=_0123456789abc",
        "key-0123456789abcdef0123456789abcdef",
        "0123456789abcd.atlasv1.0123456789abcdefghijklmnopqrstuvwxyz",
        "glsa_0123456789abcdefGHIJ_01234567",
        "glptt-0123456789abcdef0123",
        "GOCSPX-0123456789abcdefGHIJ",
        "dp.pt.0123456789abcdefGHIJ",
        "hvb.AAAAAQ0123456789abcdef",
        "HRKU-AA0123456789abcdefGHIJ",
        "sq0atp-0123456789abcdefGHIJ",
        "pul-0123456789abcdef0123456789abcdef01234567",
        "PMAK-0123456789abcdef01234567-0123456789abcdef",
        "shpss_0123456789abcdef0123456789abcdef",
        "SK0123456789abcdef0123456789abcdef",
        "lsv2_sk_0123456789abcdef_0123456789",
        "pcsk_0123456789_abcdefGHIJ",
        "123456789:AAE0123456789abcdefghijKLMNOPQRSTUV",
        "0123456789abcdef0123456789abcdef-us12",
        "a1b8Q~0123456789abcdefghijklmnopqrstuv",
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
fn by_a_path_in_an_address() {
    for (said, expected) in [
        (
            "https://hooks.slack.com/services/T0123/B0123/abcDEF0123456789",
            "https://hooks.slack.com/services/[redacted]",
        ),
        ("to hooks.slack.com/workflows/T0123/A0123/456 now", "to hooks.slack.com/workflows/[redacted] now"),
        ("https://discord.com/api/webhooks/123456789/abc-DEF", "https://discord.com/api/webhooks/[redacted]"),
        (
            "https://discordapp.com/api/v10/webhooks/123456/x",
            "https://discordapp.com/api/v10/webhooks/[redacted]",
        ),
        (
            "https://api.telegram.org/bot123456789:AAE0123-x/sendMessage?chat_id=1",
            "https://api.telegram.org/bot[redacted]/sendMessage?chat_id=1",
        ),
        (
            "https://x.webhook.office.com/webhookb2/0123-45@67/IncomingWebhook/89ab/cdef",
            "https://x.webhook.office.com/webhookb2/[redacted]",
        ),
        ("https://outlook.office.com/webhook/0123-45@67/x", "https://outlook.office.com/webhook/[redacted]"),
        ("https://hooks.zapier.com/hooks/catch/123456/abcdef/", "https://hooks.zapier.com/hooks/[redacted]"),
        ("https://chat.example/hooks/x1y2z3x1y2z3", "https://chat.example/hooks/[redacted]"),
        (
            "https://open.feishu.cn/open-apis/bot/v2/hook/0123-4567",
            "https://open.feishu.cn/open-apis/bot/v2/hook/[redacted]",
        ),
        (
            "https%3A%2F%2Fhooks.slack.com%2Fservices%2FT0123%2FB0123%2Fabc",
            "https%3A%2F%2Fhooks.slack.com%2Fservices%2F[redacted]",
        ),
    ] {
        check(said, expected);
    }
}

/// Parts that a search may go through again from every place, repeated.
const AGAIN: [&str; 43] = [
    "://",
    "a://b:c/",
    "?key=",
    "eyJ-",
    "eyJaaaa",
    "-----BEGIN PRIVATE KEY-----",
    "key=",
    "token='",
    "token=[",
    "token=\\\"",
    "a@",
    "u:x@",
    "/hooks/",
    "apikey>",
    "<apikey ",
    "apikey</",
    "\"apikey\",",
    "name: apikey\n",
    "--api-key ",
    "--api-key '",
    "curl -u ",
    "mysql -p",
    "%25",
    "\\\\",
    "&amp;",
    "\"",
    "[",
    "{\"a\":",
    "api_key:\n ",
    "token: |\n  ",
    "bearer+",
    "sk-",
    ".atlasv1.",
    "0",
    "password=",
    "é",
    "\n",
    "x ",
    "]",
    "apikey=\\\"",
    "\r",
    "password: ",
    "api_key: |\n",
];

/// Were each searched in time with the square of its length, this took minutes.
#[test]
fn a_long_text_takes_time_in_proportion() {
    let seconds = |said: &str| {
        let start = clock::now();
        drop(text(said));
        clock::now().since(start).get()
    };
    for part in AGAIN {
        let spent = seconds(&part.repeat(200_000 / part.len()));
        assert!(spent < 10.0, "{part}: {spent} s");
    }
    let all = AGAIN.map(|part| part.repeat(60_000 / part.len())).concat();
    let spent = seconds(&all.repeat(5_000_000 / all.len() + 1));
    assert!(spent < 100.0, "all: {spent} s");
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
    check("Invalid api_key hunter2abc99.", "Invalid api_key [redacted].");
    check("to user:hunter2@host", "to [redacted]@host");
    check("headers[\"x-api-key\"] = \"abc\"", "headers[\"x-api-key\"] = \"[redacted]\"");
}

/// What each says, with `§` for the secret, which must not be found again.
const HIDDEN: &[&str] = &[
    // Command lines.
    "curl -u a:§ http://h/v1",
    "curl -sSu a:§ http://h/v1",
    "curl -ubob:§ http://h/v1",
    "curl --user bob:§ http://h/v1",
    "curl --user=bob:§ http://h/v1",
    "curl --proxy-user 'bob:§' http://h/v1",
    "mysql -u root -p§ db",
    "sh -c \"mysqldump -h h -p§ db\"",
    "/usr/bin/mysql.real; mysql -p§",
    "sshpass -p § ssh h",
    "sshpass -p§ ssh h",
    "redis-cli -h h -a § ping",
    "redis-cli --pass § ping",
    "mongosh -u u -p §",
    "ldapsearch -x -w §",
    "docker login -u u -p § ghcr.io",
    "openssl enc -k § -in f",
    "openssl rsa -passin pass:§",
    "smbclient -U user%§ //h/x",
    "vault login §",
    "['serve','--api-key','§']",
    "['serve', '--api-key', '§', '--port', '1']",
    "[\"serve\", \"--api-key\", \"§\"]",
    "serve --api-key A1 § --port 1",
    "serve --api-key A1 §",
    "serve --token §",
    "serve -token §",
    "serve -api-key §",
    "java -Dapi.key=§ -jar x",
    "java -Dopenai.api.key=§ -jar x",
    "set -x HF_TOKEN §",
    "set -gx HF_TOKEN §",
    "set HF_TOKEN=§",
    "export X_TOKEN=§",
    "export X_TOKEN='§'",
    "X_TOKEN=§ ./x",
    "setenv HF_TOKEN §",
    "setx HF_TOKEN §",
    "$env:HF_TOKEN = \"§\"",
    "$env:HF_TOKEN='§'",
    "${env:HF_TOKEN} = '§'",
    "[Environment]::SetEnvironmentVariable(\"HF_TOKEN\", \"§\")",
    "os.environ['HF_TOKEN'] = '§'",
    "os.environ.setdefault(\"HF_TOKEN\", \"§\")",
    "ENV HF_TOKEN §",
    "aws configure set aws_secret_access_key §",
    "npm config set //registry.npmjs.org/:_authToken §",
    "//registry.npmjs.org/:_authToken=§",
    "machine h login u password §",
    "docker run -e HF_TOKEN=§ -p 80:80 x",
    // Addresses.
    "https://u:§@h/v1",
    "user:§@host.example",
    "ftp bob:§@[::1]:21",
    "user:§@localhost:8000",
    "DB=user:§@10.0.0.1",
    "//u:§@h.example/x",
    "//u:§@h/x",
    "postgres://u:§@h:5432/db",
    "jdbc:oracle:thin:scott/§@//h:1521/x",
    "https%3A%2F%2Fu%3A§%40h%2Fx",
    "https://p/?next=https%3A%2F%2Fu%3A§%40h",
    "https://p/?next=http%3A%2F%2Fh%3Fapi_key%3D§%26n%3D1",
    "https://p/?next=http%253A%252F%252Fh%253Fapi_key%253D§",
    "https://h/?api%5Fkey=§",
    "https://h/?a=1&amp;access_token=§",
    "https://h/?a=1\\u0026access_token=§",
    "https://h/f?sig=§&se=2026",
    "AccountName=x;AccountKey=§;EndpointSuffix=y",
    "Endpoint=sb://x/;SharedAccessKey=§",
    "SharedAccessSignature=§",
    "Server=h;User Id=u;Password=§;",
    // Pairs, JSON, XML and YAML in a text.
    "{\"k\":\"api_key\",\"v\":\"§\"}",
    "{\"Key\": \"HF_TOKEN\", \"Value\": \"§\"}",
    "{\"value\": \"§\", \"name\": \"HF_TOKEN\"}",
    "{\"id\":\"api_key\",\"default\":\"§\"}",
    "{\"tokens\":{\"hf\":\"§\"}}",
    "log: {'name': 'HF_TOKEN', 'value': '§'} end",
    "env:\n  - name: HF_TOKEN\n    value: §\n",
    "env:\n  - name: HF_TOKEN\n    value: \"§\"\n",
    "log {\\\"name\\\": \\\"HF_TOKEN\\\", \\\"value\\\": \\\"§\\\"}",
    "<apiKey>§</apiKey>",
    "<ns:apiKey>§</ns:apiKey>",
    "<apiKey type=\"x\">§</apiKey>",
    "<apiKey><![CDATA[§]]></apiKey>",
    "<add key=\"ApiKey\" value=\"§\"/>",
    "<entry key=\"apiKey\">§</entry>",
    "<key>apiKey</key> <string>§</string>",
    "&lt;apiKey&gt;§&lt;/apiKey&gt;",
    "api_key: |\n  §\nmodel: m",
    "a:\n  api_key: >-\n    §\n  model: m",
    "api_keys:\n  - A1\n  - §\nmodel: m",
    "api_keys:\n- A1\n- §\nmodel: m",
    "api_key:\n  §\nmodel: m",
    "credentials:\n  user: u\n  value: §\nmodel: m",
    "api_key: |\\n  §\\nmodel: m",
    "api_key = \"\"\"§\"\"\"",
    "password: correct §",
    "basic_auth.value=§",
    "cred=§",
    "pw: §",
    "psk='§'",
    "sas=§",
    "hf_token2=§",
    "HF_TOKENS='§'",
    "serve --api-key=A1,§ --port 1",
    "api_key -> §",
    "config/password: §",
    "/run/secrets/db_password:§",
    "/run/secrets/db_password: §\n",
    "https://h/x/password: §",
    "passphrase => '§'",
    "secret := §",
];

#[test]
fn nothing_of_a_table_is_found_again() {
    let mut shown = Vec::new();
    for said in HIDDEN {
        assert!(said.contains('§'), "{said}");
        for secret in ["hunter2-Secret", "correct.Horse", "zq8"] {
            let said = said.replace('§', secret);
            let found = text(&said);
            if found.contains(secret) || text(&found) != found {
                shown.push(format!("{said}\n  gave {found}"));
            }
        }
    }
    assert!(shown.is_empty(), "{}", shown.join("\n"));
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
        "api_key_env=OPENAI_API_KEY api_key_env: 'OPENAI_API_KEY' password_file=/run/secrets/x",
        "{\"api_key_env\": \"OPENAI_API_KEY\", \"cookie_policy\": \"strict\", \"secretary\": \"Ann\"}",
        "cookie_policy: strict, secretary: Ann, passwordless: yes, secretion: x",
        "max_tokens: 512, prompt_tokens=128 token_ids: [1, 2] total_output_tokens='8'",
        "tokenizer: meta-llama/Llama-3.1-8B tokenizer_mode: auto tokenizer=Qwen/Qwen2.5-7B-Instruct-1M",
        "image_token: '<image>' pad_token=<pad> stop_token='</s>' first_token: 12ms",
        "commit: 8ef136a1b2c3d4e5f60718293a4b5c6d7e8f9012 build b4589 (8ef136a1)",
        "GPU-8f2a1b3c-4d5e-6f70-8192-a3b4c5d6e7f8 MIG-GPU-8f2a1b3c/1/0",
        "request_id: chatcmpl-9f86d081884c7d659a2feaa0c55ad015 cmpl-abc req_011CQ1a2b3c4d5",
        "nvcr.io/nvidia/vllm:25.01@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "llama3:8b@main foo:1.0@v2 org/model:Q4_K_M@abcdef1 mailto:bob@example.com bob@example.com",
        "git@github.com:org/repo.git 10:30@noon",
        "docker run -p 8000:8000 --gpus all -v /a:/b x; mysql -p db; curl -u bob http://h",
        "set HF_TOKEN to a token that may read it; set the password first; export the key",
        "--api-key is missing; --token, --port; `--api-key` may not be empty",
        "https://h/docs/webhooks/using-webhooks https://h/robots.txt https://h/v1/bots/list",
        "100%25 done, a%20b, x\\ny, C:\\new\\table, &amp; more",
        "series_key: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "serve --pass 3 --token 5 --tokens 8; primary key: id; key error: 'model'",
        "Token indices sequence length is longer than the maximum; password must not be empty",
        "auth: none, auth=basic, --auth bearer, use_auth: true",
        "/home/user/models/llama.gguf /home/u/skills-2026/x ./sk/learn",
        "api_key:\nmodel: m\nport: 1",
        "--lengths /etc/passwd: line 1 is not JSON",
        "cat: /etc/passwd: Permission denied",
        "cannot read `/run/secrets/hf_token`: no such file",
        "./password:3: a key expected; ~/api_key:12:5: bad",
        "--api-key-file=/keys/api_key: it is a folder",
    ] {
        check(said, said);
        assert!(matches!(text(said), Cow::Borrowed(_)), "{said}");
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

/// What each says, and what of it is named as left out.
#[test]
fn members_that_hold_a_secret() {
    let secret = "hunter2-correct";
    for (said, left_out) in [
        (json!({"k": "api_key", "v": secret}), "v"),
        (json!({"Key": "HF_TOKEN", "Value": secret}), "Value"),
        (json!({"id": "api_key", "default": secret, "type": "string"}), "default"),
        (json!({"default": secret, "id": "api_key"}), "default"),
        (json!({"name": "HF_TOKEN", "valueFrom": {"literal": secret}}), "valueFrom"),
        (json!({"name": "password", "current_value": secret}), "current_value"),
        (json!({"header": "X-Api-Key", "values": [secret]}), "values"),
        (json!({"tokens": {"hf": secret}}), "tokens.hf"),
        (json!({"keys": {"openai": secret}}), "keys.openai"),
        (json!({"auth": ["bob", secret]}), "auth"),
        (json!({"http_auth": {"user": "bob", "x": secret}}), "http_auth"),
        (json!({"basic_auth.value": secret}), "basic_auth.value"),
        (json!({"basic_auth": {"value": secret}}), "basic_auth"),
        (json!({"cred": secret}), "cred"),
        (json!({"pw": secret}), "pw"),
        (json!({"wifi_psk": secret}), "wifi_psk"),
        (json!({"sas": secret}), "sas"),
        (json!({"api_key_1": secret}), "api_key_1"),
        (json!({"apiKeyValue": secret}), "apiKeyValue"),
        (json!({"HF_TOKEN2": secret}), "HF_TOKEN2"),
        (json!({"MY_SERVICE_X_TOKEN": secret}), "MY_SERVICE_X_TOKEN"),
        (json!({"slack_webhook_url": secret}), "slack_webhook_url"),
        (json!({"argv": ["curl", "-u", "bob:hunter2-correct"]}), "argv[2]"),
        (json!({"argv": ["mysql", "-phunter2-correct"]}), "argv[1]"),
        (json!({"argv": ["sshpass", "-p", secret]}), "argv[2]"),
        (json!({"argv": ["serve", "--api-key", "A1", secret, "--port", "1"]}), "argv[2] argv[3]"),
        (json!({"argv": ["set", "-x", "HF_TOKEN", secret]}), "argv[3]"),
        (json!({"env": {"X": [["HF_TOKEN", secret]]}}), "env.X[0][1]"),
    ] {
        let mut named = Vec::new();
        let found = value("", said.clone(), &mut named);
        assert!(!found.to_string().contains(secret), "{said} gave {found}");
        assert_eq!(named.join(" "), left_out, "{said}");
        named.clear();
        assert_eq!(value("", found.clone(), &mut named), found, "twice: {said}");
    }
}

#[test]
fn members_that_hold_none_stay() {
    let said = json!({
        "api_key_env": "OPENAI_API_KEY", "cookie_policy": "strict", "secretary": "Ann", "api_key_required": true,
        "password_file": "/run/secrets/x", "credential_type": "none", "use_auth_token": false, "auth": {"type": "none"},
        "max_tokens": 512, "token_ids": [1, 2, 3], "prompt_tokens": 128, "user_tokens": [5, 6], "hf_tokens": 7,
        "tokens": ["Hello", " world"], "special_tokens": {"bos": "<s>", "eos": "</s>"}, "tokens_per_second": {"p50": 1.5},
        "tokenizer": "meta-llama/Llama-3.1-8B-Instruct", "tokenizer_id": "abcdef0123456789ABC", "image_token": "<image>",
        "key": "decode_tokens_per_second", "keys": ["model", "batch"], "fingerprint": {"keys": {"model": "a1B2c3D4e5F6g7/8"}},
        "build_commit": "8ef136a1b2c3d4e5f60718293a4b5c6d7e8f9012", "request_id": "chatcmpl-9f86d081884c7d659a2feaa0",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "uuid": "GPU-8f2a1b3c-4d5e-6f70-8192-a3b4c5d6e7f8", "name": "max_tokens", "value": 5,
        "settings": [{"name": "seed", "value": "42"}, {"id": "chatcmpl-1", "text": "an answer"}],
    });
    let mut left_out = Vec::new();
    assert_eq!(value("", said.clone(), &mut left_out), said);
    assert_eq!(left_out, Vec::<String>::new());
}

#[test]
fn prefixes_are_in_order() {
    assert!(forms::in_order());
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
    fn a_secret_is_found_wherever_it_is((secret, by_form) in secret(), name in 0..NAMES.len(), place in 0..16usize) {
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
            8 => json!({ "a": { "k": name, "v": secret } }),
            9 => json!({ "a": format!("{{\"name\": \"{name}\", \"value\": \"{secret}\"}}") }),
            10 => json!({ "a": format!("<x><{name}>{secret}</{name}></x>") }),
            11 => json!({ "a": format!("x:\n  {name}: |\n    {secret}\n  y: 1\n") }),
            12 => json!({ "a": format!("['x','--{name}','{secret}']") }),
            13 => json!({ "a": format!("{{\"value\": \"{secret}\", \"key\": \"{name}\"}}") }),
            14 => json!({ "a": format!("- name: {name}\n  value: '{secret}'\n") }),
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
