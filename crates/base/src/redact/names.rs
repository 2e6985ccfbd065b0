//! Names under which a secret stands, in any spelling: `api_key`, `X-API-Key`, `clientSecret`, `HF_TOKEN`.

use serde_json::Value;

use super::{MARK, carries};

/// Parts that make a name one of a secret, however it is spelt.
const PARTS: [&str; 12] = [
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
];

/// Words that make it one.
const WORDS: [&str; 16] = [
    "pwd",
    "creds",
    "cookie",
    "cookies",
    "bearer",
    "jwt",
    "accesstoken",
    "authtoken",
    "bearertoken",
    "hftoken",
    "apitoken",
    "sessiontoken",
    "refreshtoken",
    "sessionid",
    "sessionkey",
    "githubtoken",
];

/// Words before `key` that make it one.
const KEYS: [&str; 31] = [
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
    "openai",
    "anthropic",
    "hf",
    "azure",
    "aws",
    "gcp",
    "google",
    "gemini",
    "groq",
    "mistral",
    "cohere",
    "nvidia",
    "ngc",
    "wandb",
];

/// Words before `token` that make it one.
const TOKENS: [&str; 34] = [
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
    "bot",
    "slack",
    "csrf",
    "xsrf",
    "oauth",
    "login",
    "jwt",
    "wandb",
    "aws",
    "azure",
    "vault",
    "identity",
    "service",
    "deploy",
    "secret",
    "client",
    "replicate",
    "ngc",
    "nvidia",
];

/// Whether what stands under this name is a secret.
pub fn secret_name(name: &str) -> bool {
    if name.len() > 200 {
        return false;
    }
    let words = words(name);
    let joined = words.concat();
    if PARTS.iter().any(|part| joined.contains(part))
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
    {
        return true;
    }
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["session"] | ["id", "token"] => return true,
        _ => {}
    }
    words.windows(2).any(|pair| match pair[1].as_str() {
        "key" | "keys" => KEYS.contains(&pair[0].as_str()),
        "token" => TOKENS.contains(&pair[0].as_str()),
        "signature" => matches!(pair[0].as_str(), "amz" | "goog"),
        "id" => pair[0] == "session",
        _ => false,
    })
}

/// Whether a member of an object is a secret. `null`, a truth and an empty text are none; a number is one only where it can
/// be a password, since counts have such names as well.
pub(super) fn holds_secret(name: &str, value: &Value) -> bool {
    if !carries(value) || value == MARK {
        return false;
    }
    match value {
        Value::Number(number) => number_is_secret(name) && number.to_string().len() >= 4,
        Value::String(text) => secret_name(name) || (doubtful(name) && telling(name, text)),
        _ => secret_name(name),
    }
}

/// Whether a word of a command line is a flag: a password may begin with a dash as well.
pub(super) fn is_flag(word: &str) -> bool {
    let name = &word[..word.find('=').unwrap_or(word.len())];
    let part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let long = name.strip_prefix("--").is_some_and(|name| {
        name.starts_with(|sign: char| sign.is_ascii_alphabetic()) && name.bytes().all(part)
    });
    let short = name.len() == 2 && name.starts_with('-') && name.as_bytes()[1].is_ascii_alphabetic();
    long || short
}

/// Whether a number under this name can be a secret.
pub(super) fn number_is_secret(name: &str) -> bool {
    let last = words(name).pop().unwrap_or_default();
    secret_name(name) && ["key", "secret"].iter().chain(&PARTS).chain(&["pwd"]).any(|end| last.ends_with(end))
}

/// Whether a secret may stand under this name, or something else.
pub(super) fn doubtful(name: &str) -> bool {
    let words = words(name);
    let last = words.last().map_or("", String::as_str);
    matches!(last, "token" | "key" | "auth" | "sig" | "signature" | "sid" | "pass" | "pat" | "otp")
}

/// Whether a text under a [`doubtful`] name looks like a secret: as random as words, names and hashes are not.
pub(super) fn telling(name: &str, text: &str) -> bool {
    let count = |is: fn(&u8) -> bool| text.bytes().filter(is).count();
    let (digits, upper, lower) =
        (count(u8::is_ascii_digit), count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-+/=.~".contains(&byte));
    let alone = matches!(name.to_ascii_lowercase().as_str(), "token" | "auth" | "pass");
    let hash = matches!(text.len(), 32 | 40 | 64 | 128) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if alone {
        return plain && text.len() >= 8 && digits > 0;
    }
    plain && !hash && text.len() >= 16 && digits > 0 && upper > 0 && lower > 0 && !text.contains('/')
}

/// The words of a name, in lower case: `xApiKey` has three, as `X-API-Key` has.
pub(super) fn words(name: &str) -> Vec<String> {
    let signs: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (at, sign) in signs.iter().enumerate() {
        if !sign.is_alphanumeric() {
            words.push(String::new());
            continue;
        }
        let before = at.checked_sub(1).map(|at| signs[at]);
        let after = signs.get(at + 1);
        let begins = sign.is_uppercase()
            && (before.is_some_and(|before| before.is_lowercase() || before.is_ascii_digit())
                || (before.is_some_and(char::is_uppercase)
                    && after.is_some_and(|after| after.is_lowercase())));
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(sign.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}
