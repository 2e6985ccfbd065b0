//! Names of secrets, in any spelling: `api_key`, `X-API-Key`, `clientSecret`, `HF_TOKEN`.

use serde_json::Value;

use super::{MARK, carries};

/// Parts that make a name that of a secret, however it is spelled.
const PARTS: [&str; 15] = [
    "apikey",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "credential",
    "authorization",
    "privatekey",
    "accesskey",
    "setcookie",
    "signingkey",
    "presharedkey",
    "accesssignature",
    "mnemonic",
];

/// Words that contain such a part without denoting a secret.
const HARMLESS: [&str; 4] = ["secretar", "secretion", "passwordless", "credentialless"];

/// Words that make a name that of a secret.
const WORDS: [&str; 10] =
    ["pwd", "pwds", "cred", "creds", "psk", "sas", "bearer", "jwt", "sessionid", "sessionkey"];

/// Words that do so at the end of a name.
const LAST: [&str; 4] = ["cookie", "cookies", "pw", "webhook"];

/// Words that do so before `key`.
const KEYS: [&str; 66] = [
    "auth",
    "secret",
    "encryption",
    "subscription",
    "account",
    "ssh",
    "deploy",
    "license",
    "master",
    "storage",
    "session",
    "client",
    "service",
    "rsa",
    "ssl",
    "tls",
    "pem",
    "gpg",
    "pgp",
    "hmac",
    "app",
    "application",
    "write",
    "ingest",
    "ingestion",
    "shared",
    "webhook",
    "functions",
    "integration",
    "openai",
    "anthropic",
    "claude",
    "hf",
    "huggingface",
    "azure",
    "aws",
    "gcp",
    "google",
    "gemini",
    "groq",
    "mistral",
    "cohere",
    "deepseek",
    "together",
    "fireworks",
    "openrouter",
    "perplexity",
    "pplx",
    "xai",
    "deepinfra",
    "cerebras",
    "sambanova",
    "replicate",
    "runpod",
    "databricks",
    "nvidia",
    "ngc",
    "wandb",
    "comet",
    "langsmith",
    "langfuse",
    "stripe",
    "datadog",
    "dd",
    "pinecone",
    "litellm",
];

/// Words that do so before `token`.
const TOKENS: [&str; 62] = [
    "access",
    "auth",
    "bearer",
    "hf",
    "hub",
    "face",
    "huggingface",
    "api",
    "refresh",
    "session",
    "security",
    "github",
    "gh",
    "gitlab",
    "personal",
    "private",
    "bot",
    "slack",
    "discord",
    "telegram",
    "csrf",
    "xsrf",
    "oauth",
    "sso",
    "sas",
    "login",
    "jwt",
    "wandb",
    "aws",
    "azure",
    "gcp",
    "google",
    "vault",
    "identity",
    "service",
    "deploy",
    "secret",
    "client",
    "replicate",
    "ngc",
    "nvidia",
    "npm",
    "pypi",
    "cargo",
    "registry",
    "docker",
    "databricks",
    "sentry",
    "openai",
    "anthropic",
    "admin",
    "root",
    "job",
    "app",
    "runner",
    "webhook",
    "verification",
    "invite",
    "mlflow",
    "modal",
    "runpod",
    "kaggle",
];

/// Words before `token` that mean a token of text, or a count.
const TEXT_TOKENS: [&str; 66] = [
    "eos",
    "bos",
    "pad",
    "padding",
    "unk",
    "sep",
    "cls",
    "mask",
    "stop",
    "start",
    "begin",
    "end",
    "eot",
    "eom",
    "sot",
    "fim",
    "prefix",
    "suffix",
    "middle",
    "special",
    "first",
    "second",
    "next",
    "last",
    "previous",
    "per",
    "by",
    "every",
    "each",
    "single",
    "output",
    "input",
    "prompt",
    "completion",
    "generated",
    "new",
    "decode",
    "prefill",
    "cached",
    "sampled",
    "draft",
    "accepted",
    "bonus",
    "think",
    "thinking",
    "reasoning",
    "max",
    "min",
    "num",
    "n",
    "total",
    "inter",
    "image",
    "audio",
    "video",
    "vision",
    "media",
    "speech",
    "tool",
    "system",
    "user",
    "assistant",
    "role",
    "chat",
    "turn",
    "placeholder",
];

/// Last words of names that are about a secret without containing it: where it is, whether there is one, how long it lasts.
const ABOUT: [&str; 52] = [
    "env",
    "envvar",
    "var",
    "variable",
    "name",
    "names",
    "file",
    "files",
    "path",
    "paths",
    "dir",
    "folder",
    "policy",
    "type",
    "kind",
    "count",
    "counts",
    "length",
    "len",
    "enabled",
    "disabled",
    "required",
    "optional",
    "present",
    "provided",
    "exists",
    "ttl",
    "expiry",
    "expires",
    "expiration",
    "age",
    "seconds",
    "rotation",
    "format",
    "placeholder",
    "mode",
    "scheme",
    "provider",
    "manager",
    "store",
    "backend",
    "hint",
    "help",
    "description",
    "limit",
    "timeout",
    "days",
    "status",
    "valid",
    "version",
    "algorithm",
    "method",
];

/// Last words that only say that the name has a value.
const HOLDS: [&str; 14] = [
    "value",
    "val",
    "default",
    "raw",
    "string",
    "str",
    "text",
    "plain",
    "plaintext",
    "literal",
    "base64",
    "b64",
    "header",
    "url",
];

/// Members that name the setting an object describes.
const NAMING: [&str; 20] = [
    "name",
    "key",
    "k",
    "id",
    "header",
    "field",
    "param",
    "parameter",
    "option",
    "flag",
    "variable",
    "var",
    "env",
    "label",
    "property",
    "attribute",
    "setting",
    "dest",
    "title",
    "n",
];

/// Members that contain the setting's value.
const VALUES: [&str; 14] = [
    "value", "values", "val", "v", "default", "current", "content", "contents", "data", "text", "raw",
    "const", "example", "string",
];

/// Values that reveal nothing.
const EMPTY: [&str; 15] = [
    "null",
    "none",
    "true",
    "false",
    "nil",
    "undefined",
    "unset",
    "''",
    "bearer",
    "basic",
    "digest",
    "oauth2",
    "yes",
    "no",
    "auto",
];

/// Longer texts are not names.
const LONGEST_NAME: usize = 200;

/// Whether the value with this name is a secret.
pub fn secret_name(name: &str) -> bool {
    let words = own_words(name);
    !about(&words) && of_secret(name, &words)
}

/// The words of a name, without a number and without those that only say that it has a value: `api_key_1.value`.
fn own_words(name: &str) -> Vec<String> {
    if name.len() > LONGEST_NAME {
        return Vec::new();
    }
    let mut words = words(name);
    if let Some(last) = words.last_mut() {
        let length = last.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        // `base64` is one word.
        if length > 0 && !HOLDS.contains(&last.as_str()) {
            last.truncate(length);
        }
    }
    while words.len() > 1
        && words.last().is_some_and(|last| {
            HOLDS.contains(&last.as_str()) || last.bytes().all(|byte| byte.is_ascii_digit())
        })
    {
        words.pop();
    }
    words
}

/// Whether a name's last word says that it is only about a secret.
fn about(words: &[String]) -> bool {
    words.len() > 1 && words.last().is_some_and(|last| ABOUT.contains(&last.as_str()))
}

fn of_secret(name: &str, words: &[String]) -> bool {
    let Some(last) = words.last().map(String::as_str) else { return false };
    let mut joined = words.concat();
    for harmless in HARMLESS {
        if joined.contains(harmless) {
            joined = joined.replace(harmless, "");
        }
    }
    if PARTS.iter().any(|part| joined.contains(part))
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
        || LAST.contains(&last)
    {
        return true;
    }
    let list: Vec<&str> = words.iter().map(String::as_str).collect();
    if matches!(list.as_slice(), ["session"] | ["id", "token"]) || name == "_auth" {
        return true;
    }
    // Any environment variable `X_TOKEN`.
    let of_environment = name.contains('_') && !name.contains(|c: char| c.is_ascii_lowercase());
    if let [.., before, last] = list.as_slice()
        && of_environment
        && (matches!(*last, "pass" | "pat") || (*last == "token" && !TEXT_TOKENS.contains(before)))
    {
        return true;
    }
    // `hftoken` is `hf_token`.
    let joined_pair = |last: &str, word: &str, before: &[&str]| {
        last.strip_suffix(word).is_some_and(|first| before.contains(&first))
    };
    if joined_pair(last, "token", &TOKENS) || joined_pair(last, "key", &KEYS) {
        return true;
    }
    list.windows(2).any(|pair| match pair[1] {
        "key" | "keys" => KEYS.contains(&pair[0]),
        "token" => TOKENS.contains(&pair[0]),
        "tokens" => TOKENS.contains(&pair[0]) && !matches!(pair[0], "service" | "client" | "job" | "app"),
        "signature" => matches!(pair[0], "amz" | "goog"),
        "auth" => matches!(pair[0], "basic" | "http" | "proxy" | "digest" | "registry"),
        "id" => pair[0] == "session",
        _ => false,
    })
}

/// Whether a member of an object is a secret. `null`, booleans and empty strings are not; a number is one only if it can be
/// a password, since counts have such names as well.
pub(super) fn holds_secret(name: &str, value: &Value) -> bool {
    if !carries(value) || value == MARK {
        return false;
    }
    match value {
        Value::Number(number) => number_is_secret(name) && number.to_string().len() >= 4,
        Value::String(text) => {
            !says_nothing(text) && (secret_name(name) || (ambiguous(name) && looks_random(name, text)))
        }
        _ => {
            (secret_name(name) && (number_is_secret(name) || has_text(value)))
                || (is_auth(name) && has_text(value))
        }
    }
}

/// Whether a member of an object names the setting the object describes.
pub(super) fn names_setting(name: &str) -> bool {
    NAMING.contains(&name.to_ascii_lowercase().as_str())
}

/// Whether a member of an object contains the setting that another one names.
pub(super) fn value_of_setting(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    VALUES.contains(&lower.as_str()) || lower.starts_with("value") || lower.ends_with("value")
}

/// The full name of a member of `tokens: {hf: …}` or `keys: {openai: …}`, including its parent.
pub(super) fn within(parent: &str, name: &str) -> Option<String> {
    let words = own_words(parent);
    let one = match words.last()?.as_str() {
        "tokens" | "token" => "token",
        "keys" => "key",
        "passwords" => "password",
        _ => return None,
    };
    Some(format!("{name}_{one}"))
}

fn is_auth(name: &str) -> bool {
    matches!(own_words(name).last().map(String::as_str), Some("auth"))
}

/// Whether a value contains a text that reveals something.
fn has_text(value: &Value) -> bool {
    match value {
        Value::String(text) => !says_nothing(text),
        Value::Array(items) => items.iter().any(has_text),
        Value::Object(members) => members.values().any(has_text),
        _ => false,
    }
}

/// Whether a value is empty, a boolean, or the name of an authentication method.
pub(super) fn says_nothing(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || (text.len() <= 10 && EMPTY.contains(&text.to_ascii_lowercase().as_str()))
}

/// Whether a word of a command line is a flag; a password may begin with a dash too.
pub(super) fn is_flag(word: &str) -> bool {
    let name = &word[..word.find('=').unwrap_or(word.len())];
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let long = name
        .strip_prefix("--")
        .is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(part));
    let short = name.len() == 2 && name.starts_with('-') && name.as_bytes()[1].is_ascii_alphabetic();
    long || short
}

/// Whether the next word of a command line is a secret: after `--api-key`, and after `-token` as in Go and Java.
pub(super) fn secret_flag(word: &str) -> bool {
    let name = word.trim_start_matches('-');
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.len() < word.len()
        && name.len() > 1
        && name.bytes().all(part)
        && (secret_name(name) || matches!(name, "token" | "pass" | "pat" | "auth" | "otp"))
}

/// Whether a number under this name can be a secret.
pub(super) fn number_is_secret(name: &str) -> bool {
    let words = own_words(name);
    let last = words.last().map_or("", String::as_str);
    secret_name(name)
        && (last.ends_with("key")
            || PARTS.iter().any(|end| last.ends_with(end))
            || last == "pwd"
            || words == ["pw"])
}

/// Whether this name may denote a secret or something else.
pub(super) fn ambiguous(name: &str) -> bool {
    let words = own_words(name);
    let last = words.last().map_or("", String::as_str);
    matches!(last, "token" | "key" | "auth" | "sig" | "signature" | "sid" | "pass" | "pat" | "otp")
        || (about(&words) && of_secret(name, &words[..words.len() - 1]))
}

/// Whether the value of an [`ambiguous`] name looks like a secret: random, unlike words, names and hashes.
pub(super) fn looks_random(name: &str, text: &str) -> bool {
    let count = |is: fn(&u8) -> bool| text.bytes().filter(is).count();
    let (digits, upper, lower) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+/=.~".contains(&byte));
    let hash = matches!(text.len(), 32 | 40 | 64 | 128) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !plain || digits == 0 {
        return false;
    }
    if matches!(name.to_ascii_lowercase().as_str(), "token" | "auth" | "pass") {
        return text.len() >= 8;
    }
    let words = own_words(name);
    if let [.., before, last] = words.as_slice()
        && last == "token"
        && !TEXT_TOKENS.contains(&before.as_str())
        && !text.contains('/')
    {
        return text.len() >= 10 && upper + lower > 0 && !hash;
    }
    !hash && text.len() >= 16 && upper > 0 && lower > 0 && !text.contains('/')
}

/// The words of a name, in lower case: `xApiKey` has three, as `X-API-Key` has.
pub(super) fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, c) in chars.iter().enumerate() {
        if !c.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).map(|at| chars[at]);
        let after = chars.get(at + 1);
        let begins = c.is_uppercase()
            && (before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit())
                || (before.is_some_and(char::is_uppercase)
                    && after.is_some_and(|after| after.is_lowercase())));
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
