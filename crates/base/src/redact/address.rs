//! Secrets of an address: who logs in, and what a signed or keyed query proves it with.

use std::ops::Range;

use super::names::secret_name;

/// Names that are of a secret in a query, and of many things elsewhere.
const IN_QUERY: [&str; 10] =
    ["key", "token", "sig", "signature", "auth", "pass", "sid", "hmac", "code", "x-amz-security-token"];

/// The secret parts of the addresses in a text.
pub(super) fn parts(text: &str) -> Vec<Range<usize>> {
    let mut found = logins(text);
    found.extend(queries(text));
    found
}

/// `user:password` of `scheme://user:password@host`.
fn logins(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("://") {
        let scheme =
            text[..at].rsplit(|sign: char| !sign.is_ascii_alphanumeric() && !"+-.".contains(sign)).next();
        let start = at + 3;
        let rest = &text[start..];
        let ends = |sign: char| sign.is_whitespace() || "\"'`<>\\|".contains(sign);
        let whole = &rest[..rest.find(ends).unwrap_or(rest.len())];
        let authority = &whole[..whole.find(['/', '?', '#']).unwrap_or(whole.len())];
        let login = authority.rfind('@').or_else(|| {
            // A password may have a slash in it: what follows the colon is then no port.
            let (_, port) = authority.split_once(':')?;
            let password = !port.is_empty() && !port.bytes().all(|byte| byte.is_ascii_digit());
            password.then(|| whole.rfind('@')).flatten()
        });
        let Some(end) = login else { continue };
        // `ssh://git@host` names nobody in particular.
        let nobody = scheme.is_some_and(|scheme| scheme.ends_with("ssh") || scheme == "git")
            && !whole[..end].contains(':');
        if end > 0 && !nobody {
            found.push(start..start + end);
        }
    }
    found
}

/// The values of `?api_key=…&X-Amz-Signature=…`.
fn queries(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(['?', '&', '#', ';']) {
        let rest = &text[at + 1..];
        // `&amp;` of HTML, `\u0026` of JSON within a text.
        let rest = rest.strip_prefix("amp;").or_else(|| rest.strip_prefix("amp%3B")).unwrap_or(rest);
        let start = text.len() - rest.len();
        let in_name = |sign: char| sign.is_ascii_alphanumeric() || "_-.%[]".contains(sign);
        let length = rest.find(|sign: char| !in_name(sign)).unwrap_or(rest.len());
        if length == 0 || length > 100 || !rest[length..].starts_with('=') {
            continue;
        }
        let name = decoded(&rest[..length]);
        if !secret_name(&name) && !IN_QUERY.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        let value = &rest[length + 1..];
        let value = &value[..value_length(value)];
        let kept = matches!(value, "true" | "false" | "null");
        if !kept {
            found.push(start + length + 1..start + length + 1 + value.len());
        }
    }
    found
}

fn value_length(value: &str) -> usize {
    if value.starts_with(super::MARK) {
        return super::MARK.len();
    }
    let ends = |sign: char| sign.is_whitespace() || "&#;\"'`<>\\|)}],".contains(sign);
    value.find(ends).unwrap_or(value.len())
}

/// `api%5Fkey` as `api_key`.
fn decoded(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = (bytes[at] == b'%').then(|| name.get(at + 1..at + 3)).flatten();
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}
