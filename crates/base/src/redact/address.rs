//! Secrets in URLs: user and password, keys and signatures in the query, and the path of a webhook.

use std::ops::Range;

use super::names::secret_name;

/// Names that denote a secret in a query, but many other things elsewhere.
const IN_QUERY: [&str; 10] =
    ["key", "token", "sig", "signature", "auth", "pass", "sid", "hmac", "code", "x-amz-security-token"];

/// Prefixes of webhook URLs, whose path is the secret.
const HOOKS: [&str; 18] = [
    "/webhooks/",
    "/webhook/",
    "/webhookb2/",
    "/hooks/",
    "/hook/",
    "hooks.slack.com/services/",
    "hooks.slack.com/workflows/",
    "hooks.slack.com/triggers/",
    "/with/key/",
    "events.pagerduty.com/integration/",
    ".make.com/",
    "hc-ping.com/",
    "webhook.site/",
    "api.day.app/",
    "sctapi.ftqq.com/",
    "infura.io/v3/",
    "alchemy.com/v2/",
    "/incomingwebhook/",
];

/// Words that precede a colon and a mail or code address without being a user with a password.
const NOT_A_USER: [&str; 15] = [
    "mailto",
    "mail",
    "email",
    "contact",
    "author",
    "from",
    "to",
    "cc",
    "bcc",
    "maintainer",
    "sip",
    "xmpp",
    "npm",
    "pkg",
    "git",
];

/// The secret parts of the URLs in a text.
pub(super) fn parts(text: &str) -> Vec<Range<usize>> {
    let mut found = queries(text);
    let ends = |c: char| c.is_whitespace() || "\"'`<>\\|".contains(c);
    // Each word is scanned a constant number of times, whatever it contains.
    for word in text.split(ends) {
        if word.len() < 4 {
            continue;
        }
        let start = word.as_ptr().addr() - text.as_ptr().addr();
        let mut here = logins(word);
        if here.is_empty() {
            here.extend(bare_login(word));
        }
        here.extend(hook(word));
        found.extend(here.into_iter().map(|part| start + part.start..start + part.end));
    }
    found
}

/// `user:password` of `scheme://user:password@host`.
fn logins(word: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let Some(last) = word.rfind('@') else { return found };
    let mut until = 0;
    for (at, _) in word.match_indices("://") {
        let start = at + 3;
        if at < until || start > last {
            continue;
        }
        let rest = &word[start..];
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let login = authority.rfind('@').or_else(|| {
            // A password may contain a slash: what follows the colon is then not a port.
            let (_, port) = authority.split_once(':')?;
            let password = !port.is_empty() && !port.bytes().all(|byte| byte.is_ascii_digit());
            password.then_some(last - start)
        });
        let Some(end) = login else { continue };
        // `ssh://git@host` is not a personal login.
        let scheme = &word[..at];
        let nobody =
            (scheme.ends_with("ssh") || scheme.ends_with("git")) && !word[start..start + end].contains(':');
        if end > 0 && !nobody {
            until = start + end;
            found.push(start..until);
        }
    }
    found
}

/// `user:password` of `user:password@host`, and of `//user:password@host`.
fn bare_login(word: &str) -> Option<Range<usize>> {
    let last = word.rfind('@')?;
    let first = word.find('@')?;
    [last, first].into_iter().find_map(|at| {
        let (login, host) = (&word[..at], &word[at + 1..]);
        let colon = login.find(':')?;
        let name = |byte: u8| byte.is_ascii_alphanumeric() || b"._+%-".contains(&byte);
        let length = login[..colon].bytes().rev().take_while(|byte| name(*byte)).count();
        let start = colon - length;
        let user = &login[start..colon];
        let password = &login[colon + 1..];
        let oracle = login[..colon].ends_with("jdbc");
        let host = is_host(host) || (!login[..start].ends_with('/') && is_own_host(user, password, host));
        if user.is_empty() || password.is_empty() || password.starts_with("//") || !host {
            return None;
        }
        if oracle {
            let from = password.rfind(':').map_or(0, |at| at + 1);
            return (from < password.len()).then(|| colon + 1 + from..at);
        }
        (!NOT_A_USER.contains(&user.to_ascii_lowercase().as_str()) && !password.contains('/'))
            .then_some(start..at)
    })
}

/// Whether a text begins with a host: a name with a dot and a top level of letters, four numbers, or one with a port.
fn is_host(text: &str) -> bool {
    let text = text.strip_prefix("//").unwrap_or(text);
    if let Some(address) = text.strip_prefix('[') {
        let digits = address.bytes().take_while(|byte| byte.is_ascii_hexdigit() || *byte == b':').count();
        return digits > 1 && address[digits..].starts_with(']');
    }
    let name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.".contains(byte);
    let length = text.bytes().take_while(name).count();
    let (host, rest) = text.split_at(length);
    let host = host.trim_end_matches('.');
    let digits = rest.strip_prefix(':').map_or(0, |port| port.bytes().take_while(u8::is_ascii_digit).count());
    let port =
        (1..=5).contains(&digits) && !rest[1 + digits..].starts_with(|c: char| c.is_ascii_alphanumeric());
    if rest.starts_with(':') && !port {
        return false;
    }
    let top = host.rsplit('.').next().unwrap_or_default();
    let named = host.contains('.') && top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let numbers =
        host.split('.').count() == 4 && host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    !host.is_empty() && (named || numbers || port || host == "localhost" || rest.starts_with('/'))
}

/// Whether a name without a dot is a host, rather than a version or branch name.
fn is_own_host(user: &str, password: &str, host: &str) -> bool {
    let letter = |text: &str| text.starts_with(|c: char| c.is_ascii_alphabetic());
    let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let version = host.strip_prefix('v').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    letter(user)
        && letter(host)
        && password.len() >= 5
        && host.bytes().all(part)
        && !version
        && !matches!(host, "main" | "master" | "latest" | "head" | "HEAD")
        && !(host.len() >= 7 && host.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// The secret part of a webhook's path.
fn hook(word: &str) -> Option<Range<usize>> {
    if !word.contains('/') {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let listed = HOOKS.iter().filter_map(|hook| Some(lower.find(hook)? + hook.len())).min();
    let bot = lower.find("/bot").map(|at| at + "/bot".len()).filter(|at| {
        let digits = lower[*at..].bytes().take_while(u8::is_ascii_digit).count();
        digits >= 5 && (lower[at + digits..].starts_with(':') || lower[at + digits..].starts_with("%3a"))
    });
    let start = listed.into_iter().chain(bot).min()?;
    let rest = &word[start..];
    let path = &rest[..rest.find(['?', '#', ')', ']', '}', ',', ';']).unwrap_or(rest.len())];
    let path = if bot == Some(start) { path.split('/').next().unwrap_or(path) } else { path };
    let random = |part: &str| {
        part.len() >= 5 && part.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
    };
    path.split('/').any(random).then(|| start..start + path.len())
}

/// The values of `?api_key=…&X-Amz-Signature=…`.
fn queries(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut until = 0;
    for (at, _) in text.match_indices(['?', '&', '#', ';']) {
        let start = at + 1;
        let rest = &text[start..];
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.%[]".contains(&byte);
        let length = rest.bytes().take(101).take_while(|byte| in_name(*byte)).count();
        if at < until || length == 0 || length > 100 || !rest[length..].starts_with('=') {
            continue;
        }
        let name = &rest[..length];
        if !secret_name(name) && !IN_QUERY.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        let value = &rest[length + 1..];
        let value = &value[..value_length(value)];
        if !matches!(value, "true" | "false" | "null") {
            until = start + length + 1 + value.len();
            found.push(start + length + 1..until);
        }
    }
    found
}

fn value_length(value: &str) -> usize {
    if value.starts_with(super::MARK) {
        return super::MARK.len();
    }
    let ends = |c: char| c.is_whitespace() || "&#;\"'`<>\\|)}],".contains(c);
    value.find(ends).unwrap_or(value.len())
}
