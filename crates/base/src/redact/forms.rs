//! Secrets by their form: the prefixes that services give their keys so that they can be found where they should not be.

use std::ops::Range;

/// Signs that the rest of a key is made of.
#[derive(Debug, Clone, Copy)]
enum Signs {
    /// Letters and digits.
    Plain,
    /// And `_`.
    Low,
    /// And `-`.
    Dash,
    /// Capitals and digits.
    Capital,
    /// And `.`.
    Dot,
}

/// Prefix, signs and least number of them.
const KEYS: [(&str, Signs, usize); 55] = [
    ("sk-", Signs::Dash, 8),
    ("sk_live_", Signs::Plain, 8),
    ("sk_test_", Signs::Plain, 8),
    ("rk_live_", Signs::Plain, 8),
    ("pk_live_", Signs::Plain, 8),
    ("hf_", Signs::Plain, 8),
    ("api_org_", Signs::Plain, 16),
    ("ghp_", Signs::Plain, 8),
    ("gho_", Signs::Plain, 8),
    ("ghu_", Signs::Plain, 8),
    ("ghs_", Signs::Plain, 8),
    ("ghr_", Signs::Plain, 8),
    ("github_pat_", Signs::Low, 8),
    ("glpat-", Signs::Dash, 8),
    ("AKIA", Signs::Capital, 8),
    ("ASIA", Signs::Capital, 12),
    ("xoxa-", Signs::Dash, 8),
    ("xoxb-", Signs::Dash, 8),
    ("xoxc-", Signs::Dash, 8),
    ("xoxd-", Signs::Dash, 8),
    ("xoxe-", Signs::Dash, 8),
    ("xoxe.", Signs::Dot, 8),
    ("xoxo-", Signs::Dash, 8),
    ("xoxp-", Signs::Dash, 8),
    ("xoxr-", Signs::Dash, 8),
    ("xoxs-", Signs::Dash, 8),
    ("xapp-", Signs::Dash, 8),
    ("AIza", Signs::Dash, 16),
    ("ya29.", Signs::Dot, 8),
    ("gsk_", Signs::Plain, 8),
    ("nvapi-", Signs::Dash, 8),
    ("r8_", Signs::Plain, 8),
    ("xai-", Signs::Dash, 12),
    ("pplx-", Signs::Dash, 12),
    ("tgp_v1_", Signs::Dash, 8),
    ("hvs.", Signs::Dash, 16),
    ("npm_", Signs::Plain, 16),
    ("dop_v1_", Signs::Plain, 16),
    ("fw_", Signs::Plain, 16),
    ("csk-", Signs::Dash, 16),
    ("SG.", Signs::Dot, 16),
    ("dckr_pat_", Signs::Dash, 8),
    ("rpa_", Signs::Plain, 16),
    ("pypi-", Signs::Dash, 16),
    ("glrt-", Signs::Dash, 8),
    ("lsv2_pt_", Signs::Low, 16),
    ("whsec_", Signs::Plain, 16),
    ("shpat_", Signs::Plain, 16),
    ("AGE-SECRET-KEY-", Signs::Dash, 8),
    ("tskey-", Signs::Dash, 16),
    ("wandb_v1_", Signs::Low, 16),
    ("tvly-", Signs::Dash, 12),
    ("jina_", Signs::Plain, 16),
    ("lin_api_", Signs::Plain, 16),
    ("ATATT3", Signs::Dash, 16),
];

/// Keys by their prefix, tokens of three parts, and what follows `Bearer` and `Basic`.
pub(super) fn keys(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut until = 0;
    for (at, sign) in text.char_indices() {
        if at < until || !sign.is_ascii_alphabetic() || !begins(text, at) {
            continue;
        }
        if let Some(part) = prefixed(text, at).or_else(|| token(text, at)).or_else(|| scheme(text, at)) {
            until = part.end;
            found.push(part);
        }
    }
    found
}

/// Private keys in PEM, as far as they go.
pub(super) fn private_keys(text: &str) -> Vec<Range<usize>> {
    const BEGIN: &str = "-----BEGIN ";
    let mut found: Vec<Range<usize>> = Vec::new();
    for (at, _) in text.match_indices(BEGIN) {
        let rest = &text[at + BEGIN.len()..];
        let Some(label) = rest.find("-----").map(|end| &rest[..end]) else { continue };
        if !label.ends_with("PRIVATE KEY") && !label.ends_with("PRIVATE KEY BLOCK") {
            continue;
        }
        let end = rest.find("-----END ").and_then(|end| {
            let tail = &rest[end + "-----END ".len()..];
            Some(end + "-----END ".len() + tail.find("-----")? + "-----".len())
        });
        found.push(at..end.map_or(text.len(), |end| at + BEGIN.len() + end));
    }
    found
}

/// Whether a word can begin here: not within another, unless what is before is the sign of an escape.
fn begins(text: &str, at: usize) -> bool {
    let mut before = text[..at].chars().rev();
    match before.next() {
        Some(sign) if sign.is_ascii_alphanumeric() => "nrt".contains(sign) && before.next() == Some('\\'),
        _ => true,
    }
}

fn run(text: &str, signs: Signs) -> usize {
    let part = |byte: &u8| match signs {
        Signs::Plain => byte.is_ascii_alphanumeric(),
        Signs::Low => byte.is_ascii_alphanumeric() || *byte == b'_',
        Signs::Dash => byte.is_ascii_alphanumeric() || b"_-".contains(byte),
        Signs::Capital => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        Signs::Dot => byte.is_ascii_alphanumeric() || b"_-.".contains(byte),
    };
    text.bytes().take_while(part).count()
}

/// A word such as `hf_transfer` begins like a key and is none: no digit, no capital, and not long.
fn random(text: &str) -> bool {
    text.len() >= 20 || text.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

fn prefixed(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    KEYS.iter().find_map(|(prefix, signs, least)| {
        let tail = rest.strip_prefix(prefix)?;
        let length = run(tail, *signs);
        (length >= *least && random(&tail[..length])).then(|| at..at + prefix.len() + length)
    })
}

/// A JSON Web Token: header, claims and signature with dots between.
fn token(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    if !rest.starts_with("eyJ") {
        return None;
    }
    let header = run(rest, Signs::Dash);
    let claims = run(rest[header..].strip_prefix('.')?, Signs::Dash);
    if header < 6 || claims < 4 {
        return None;
    }
    let length = header + 1 + claims;
    let signature = rest[length..].strip_prefix('.').map_or(0, |rest| 1 + run(rest, Signs::Dot));
    Some(at..at + length + signature)
}

/// What follows `Bearer` or `Basic`, unless it is a word of a sentence.
fn scheme(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    let (length, signs): (usize, &[u8]) = if rest.get(..6)?.eq_ignore_ascii_case("bearer") {
        (6, b"._~+/=-")
    } else if rest.get(..5)?.eq_ignore_ascii_case("basic") {
        (5, b"+/=")
    } else {
        return None;
    };
    let tail = &rest[length..];
    let value = tail.trim_start_matches([' ', '\t']);
    let value = if value.len() < tail.len() {
        value
    } else {
        tail.strip_prefix("%20").or_else(|| tail.strip_prefix('+'))?
    };
    let start = text.len() - value.len();
    let count = value.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || signs.contains(byte)).count();
    let said = &value[..count];
    let digits = said.bytes().any(|byte| byte.is_ascii_digit() || b"=+".contains(&byte));
    let capitals = said.bytes().skip(1).any(|byte| byte.is_ascii_uppercase());
    let word =
        said.bytes().all(|byte| byte.is_ascii_lowercase() || b"/-.".contains(&byte)) && said.len() < 20;
    (count >= 8 && !word && (digits || capitals || count >= 20)).then(|| start..start + count)
}
