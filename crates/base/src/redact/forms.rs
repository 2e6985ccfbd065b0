//! Secrets by their form: the prefixes that services give their keys so that leaked ones can be found.

use std::ops::Range;

/// Characters that the rest of a key consists of.
#[derive(Debug, Clone, Copy)]
enum Alphabet {
    /// Letters and digits.
    Plain,
    /// The same and `_`.
    Low,
    /// The same and `-`.
    Dash,
    /// Capitals and digits.
    Capital,
    /// The same and `.`.
    Dot,
    /// The base64 alphabet.
    Base64,
    /// Hexadecimal digits.
    Hex,
}

/// Prefix, characters and their minimum number, sorted by prefix.
const KEYS: [(&str, Alphabet, usize); 172] = [
    ("A3T", Alphabet::Capital, 16),
    ("ABIA", Alphabet::Capital, 16),
    ("ABSK", Alphabet::Base64, 60),
    ("ACCA", Alphabet::Capital, 16),
    ("AGE-SECRET-KEY-", Alphabet::Dash, 8),
    ("AIza", Alphabet::Dash, 16),
    ("AKCp", Alphabet::Plain, 40),
    ("AKIA", Alphabet::Capital, 8),
    ("AKID", Alphabet::Plain, 30),
    ("API-", Alphabet::Capital, 24),
    ("AQVN", Alphabet::Dash, 30),
    ("ASIA", Alphabet::Capital, 12),
    ("ATATT3", Alphabet::Dash, 16),
    ("ATBB", Alphabet::Plain, 24),
    ("ATCTT3", Alphabet::Dash, 16),
    ("CLOJARS_", Alphabet::Plain, 24),
    ("EAAA", Alphabet::Dash, 22),
    ("EAAC", Alphabet::Plain, 20),
    ("EAAG", Alphabet::Plain, 20),
    ("EAAM", Alphabet::Plain, 20),
    ("EZAK", Alphabet::Plain, 40),
    ("EZTK", Alphabet::Plain, 40),
    ("FLWSECK", Alphabet::Dash, 12),
    ("FlyV1", Alphabet::Dash, 24),
    ("GOCSPX-", Alphabet::Dash, 16),
    ("GR1348941", Alphabet::Dash, 16),
    ("HRKU-", Alphabet::Dash, 16),
    ("LTAI", Alphabet::Plain, 16),
    ("NRAK-", Alphabet::Plain, 16),
    ("NRII-", Alphabet::Dash, 16),
    ("NRJS-", Alphabet::Plain, 16),
    ("PMAK-", Alphabet::Dash, 24),
    ("SG.", Alphabet::Dot, 16),
    ("SK", Alphabet::Hex, 32),
    ("api_org_", Alphabet::Plain, 16),
    ("apify_api_", Alphabet::Plain, 16),
    ("bedrock-api-key-", Alphabet::Dash, 16),
    ("bkua_", Alphabet::Plain, 24),
    ("ccipat_", Alphabet::Low, 16),
    ("cmVmd", Alphabet::Plain, 50),
    ("csk-", Alphabet::Dash, 16),
    ("dapi", Alphabet::Hex, 32),
    ("dckr_oat_", Alphabet::Dash, 8),
    ("dckr_pat_", Alphabet::Dash, 8),
    ("doo_v1_", Alphabet::Plain, 16),
    ("dop_v1_", Alphabet::Plain, 16),
    ("dor_v1_", Alphabet::Plain, 16),
    ("dp.ct.", Alphabet::Plain, 16),
    ("dp.pt.", Alphabet::Plain, 16),
    ("dp.sa.", Alphabet::Plain, 16),
    ("dp.st.", Alphabet::Dot, 16),
    ("dt0c01.", Alphabet::Dot, 24),
    ("dt0s01.", Alphabet::Dot, 24),
    ("duffel_live_", Alphabet::Dash, 16),
    ("duffel_test_", Alphabet::Dash, 16),
    ("e2b_", Alphabet::Plain, 24),
    ("figd_", Alphabet::Dash, 24),
    ("fio-u-", Alphabet::Dash, 24),
    ("fm1a_", Alphabet::Base64, 24),
    ("fm1r_", Alphabet::Base64, 24),
    ("fm2_", Alphabet::Base64, 24),
    ("fo1_", Alphabet::Dash, 24),
    ("fw_", Alphabet::Plain, 16),
    ("gho_", Alphabet::Plain, 8),
    ("ghp_", Alphabet::Plain, 8),
    ("ghr_", Alphabet::Plain, 8),
    ("ghs_", Alphabet::Plain, 8),
    ("ghu_", Alphabet::Plain, 8),
    ("github_pat_", Alphabet::Low, 8),
    ("glagent-", Alphabet::Dash, 16),
    ("glc_", Alphabet::Base64, 16),
    ("glcbt-", Alphabet::Dash, 16),
    ("gldt-", Alphabet::Dash, 16),
    ("glffct-", Alphabet::Dash, 16),
    ("glft-", Alphabet::Dash, 16),
    ("glimt-", Alphabet::Dash, 16),
    ("gloas-", Alphabet::Dash, 16),
    ("glpat-", Alphabet::Dot, 8),
    ("glptt-", Alphabet::Dash, 16),
    ("glrt-", Alphabet::Dot, 8),
    ("glsa_", Alphabet::Low, 16),
    ("glsoat-", Alphabet::Dash, 16),
    ("gsk_", Alphabet::Plain, 8),
    ("hf_", Alphabet::Plain, 8),
    ("hvb.", Alphabet::Dash, 16),
    ("hvr.", Alphabet::Dash, 16),
    ("hvs.", Alphabet::Dash, 16),
    ("ico-", Alphabet::Plain, 32),
    ("jina_", Alphabet::Plain, 16),
    ("key-", Alphabet::Hex, 32),
    ("lin_api_", Alphabet::Plain, 16),
    ("lsv2_pt_", Alphabet::Low, 16),
    ("lsv2_sk_", Alphabet::Low, 16),
    ("napi_", Alphabet::Plain, 24),
    ("nbp_", Alphabet::Plain, 24),
    ("nfp_", Alphabet::Plain, 24),
    ("npm_", Alphabet::Plain, 16),
    ("ntn_", Alphabet::Plain, 24),
    ("nvapi-", Alphabet::Dash, 8),
    ("ops_eyJ", Alphabet::Base64, 16),
    ("p8e-", Alphabet::Plain, 24),
    ("pcsk_", Alphabet::Low, 16),
    ("phc_", Alphabet::Plain, 16),
    ("phx_", Alphabet::Plain, 16),
    ("pk-lf-", Alphabet::Dash, 16),
    ("pk_live_", Alphabet::Plain, 8),
    ("pnu_", Alphabet::Plain, 24),
    ("pplx-", Alphabet::Dash, 12),
    ("pscale_oauth_", Alphabet::Dot, 16),
    ("pscale_pw_", Alphabet::Dot, 16),
    ("pscale_tkn_", Alphabet::Dot, 16),
    ("pul-", Alphabet::Hex, 32),
    ("pypi-", Alphabet::Dash, 16),
    ("r8_", Alphabet::Plain, 8),
    ("rdme_", Alphabet::Plain, 24),
    ("rk_live_", Alphabet::Plain, 8),
    ("rk_prod_", Alphabet::Plain, 8),
    ("rk_test_", Alphabet::Plain, 8),
    ("rpa_", Alphabet::Plain, 16),
    ("rubygems_", Alphabet::Plain, 24),
    ("sb_secret_", Alphabet::Dash, 16),
    ("sbp_", Alphabet::Plain, 24),
    ("secret_", Alphabet::Plain, 32),
    ("sess-", Alphabet::Plain, 16),
    ("sgp_", Alphabet::Low, 24),
    ("sha256~", Alphabet::Dash, 40),
    ("shippo_live_", Alphabet::Plain, 16),
    ("shippo_test_", Alphabet::Plain, 16),
    ("shpat_", Alphabet::Plain, 16),
    ("shpca_", Alphabet::Plain, 16),
    ("shppa_", Alphabet::Plain, 16),
    ("shpss_", Alphabet::Plain, 16),
    ("sk-", Alphabet::Dash, 8),
    ("sk_live_", Alphabet::Plain, 8),
    ("sk_prod_", Alphabet::Plain, 8),
    ("sk_test_", Alphabet::Plain, 8),
    ("sl.", Alphabet::Dash, 60),
    ("sm_aat_", Alphabet::Plain, 16),
    ("sm_pat_", Alphabet::Plain, 16),
    ("sm_sat_", Alphabet::Plain, 16),
    ("sntrys_", Alphabet::Base64, 16),
    ("sntryu_", Alphabet::Plain, 16),
    ("sq0atp-", Alphabet::Dash, 16),
    ("sq0csp-", Alphabet::Dash, 16),
    ("sqa_", Alphabet::Plain, 24),
    ("sqp_", Alphabet::Plain, 24),
    ("squ_", Alphabet::Plain, 24),
    ("t1.", Alphabet::Dot, 60),
    ("tfp_", Alphabet::Dash, 24),
    ("tgp_v1_", Alphabet::Dash, 8),
    ("tk-us-", Alphabet::Dash, 24),
    ("tskey-", Alphabet::Dash, 16),
    ("tvly-", Alphabet::Dash, 12),
    ("v1.0-", Alphabet::Dash, 60),
    ("vercel_blob_rw_", Alphabet::Low, 16),
    ("wandb_v1_", Alphabet::Low, 16),
    ("whsec_", Alphabet::Base64, 16),
    ("xai-", Alphabet::Dash, 12),
    ("xapp-", Alphabet::Dash, 8),
    ("xkeysib-", Alphabet::Dash, 32),
    ("xoxa-", Alphabet::Dash, 8),
    ("xoxb-", Alphabet::Dash, 8),
    ("xoxc-", Alphabet::Dash, 8),
    ("xoxd-", Alphabet::Dash, 8),
    ("xoxe-", Alphabet::Dash, 8),
    ("xoxe.", Alphabet::Dot, 8),
    ("xoxo-", Alphabet::Dash, 8),
    ("xoxp-", Alphabet::Dash, 8),
    ("xoxr-", Alphabet::Dash, 8),
    ("xoxs-", Alphabet::Dash, 8),
    ("xsmtpsib-", Alphabet::Dash, 32),
    ("ya29.", Alphabet::Dot, 8),
];

/// Whether prefixes with the same first character are adjacent, as the search requires.
#[cfg(test)]
pub(super) fn in_order() -> bool {
    KEYS.is_sorted_by_key(|(prefix, ..)| prefix.as_bytes()[0])
}

/// Keys with a known prefix, multi-part tokens, and credentials after `Bearer` and `Basic`.
pub(super) fn keys(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut until = 0;
    // End of the run of characters known to contain no token.
    let mut no_token = 0;
    for (at, byte) in text.bytes().enumerate() {
        if at < until || !byte.is_ascii_alphanumeric() || !begins(text, at) {
            continue;
        }
        let mut part = prefixed(text, at).or_else(|| numbered(text, at)).or_else(|| scheme(text, at));
        if part.is_none() && at >= no_token {
            part = token(text, at);
            if part.is_none() && text[at..].starts_with("eyJ") {
                no_token = at + run(&text[at..], Alphabet::Dash);
            }
        }
        if let Some(part) = part {
            until = part.end;
            found.push(part);
        }
    }
    found.extend(between(text));
    found
}

/// PEM private keys, up to their end or the end of the text.
pub(super) fn private_keys(text: &str) -> Vec<Range<usize>> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut until = 0;
    for (at, _) in text.match_indices(BEGIN) {
        let rest = &text[at + BEGIN.len()..];
        if at < until {
            continue;
        }
        let Some(label) = rest.find("-----").map(|end| &rest[..end]) else { break };
        if !label.ends_with("PRIVATE KEY") && !label.ends_with("PRIVATE KEY BLOCK") {
            continue;
        }
        let end = rest.find(END).and_then(|end| {
            let tail = &rest[end + END.len()..];
            Some(end + END.len() + tail.find("-----")? + "-----".len())
        });
        until = end.map_or(text.len(), |end| at + BEGIN.len() + end);
        found.push(at..until);
    }
    found
}

/// Keys identified by a marker in their middle: Terraform's and Azure's.
fn between(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    // A `\n` escape before a key is not part of it.
    let start = |at: usize| {
        let escaped = at > 0 && text.as_bytes()[at - 1] == b'\\' && text[at..].starts_with(['n', 'r', 't']);
        at + usize::from(escaped)
    };
    for (at, marker) in text.match_indices(".atlasv1.") {
        let before = text.as_bytes()[..at].iter().rev().take(20).take_while(|byte| plain(byte)).count();
        let after = run(&text[at + marker.len()..], Alphabet::Dash);
        if before >= 8 && after >= 16 {
            found.push(start(at - before)..at + marker.len() + after);
        }
    }
    for (at, marker) in text.match_indices("Q~") {
        let bytes = text.as_bytes();
        let part = |byte: &u8| plain(byte) || b"_~.-".contains(byte);
        let before = bytes[..at].iter().rev().take(4).take_while(|byte| part(byte)).count();
        let after = bytes[at + marker.len()..].iter().take(60).take_while(|byte| part(byte)).count();
        if before == 4 && bytes[at - 1].is_ascii_digit() && (31..=34).contains(&after) {
            found.push(at - before..at + marker.len() + after);
        }
    }
    found
}

/// Telegram bot tokens, `123456789:AA…`, and Mailchimp keys, `…-us12`.
fn numbered(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text.as_bytes()[at..];
    let digits = rest.iter().take(17).take_while(|byte| byte.is_ascii_digit()).count();
    if (6..=16).contains(&digits) && rest.get(digits) == Some(&b':') {
        let tail = &text[at + digits + 1..];
        let length = tail
            .bytes()
            .take(60)
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
            .count();
        if tail.starts_with('A') && (33..=36).contains(&length) {
            return Some(at..at + digits + 1 + length);
        }
    }
    let hex = rest.iter().take(33).take_while(|byte| byte.is_ascii_hexdigit()).count();
    let tail = rest.get(hex..)?.strip_prefix(b"-us")?;
    let number = tail.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    (hex == 32 && (1..=2).contains(&number)).then(|| at..at + hex + 3 + number)
}

/// Whether a word can begin here: not within another word, unless preceded by an escape such as `\n` or a terminal
/// colour sequence.
fn begins(text: &str, at: usize) -> bool {
    let before = &text.as_bytes()[..at];
    match before {
        [] | [.., b'\\', b'n' | b'r' | b't'] => true,
        [.., b'm'] => {
            let count = before[..at - 1]
                .iter()
                .rev()
                .take(12)
                .take_while(|byte| byte.is_ascii_digit() || **byte == b';')
                .count();
            before[..at - 1 - count].ends_with(b"\x1b[")
        }
        [.., byte] => !byte.is_ascii_alphanumeric(),
    }
}

fn run(text: &str, alphabet: Alphabet) -> usize {
    let part = |byte: &u8| match alphabet {
        Alphabet::Plain => byte.is_ascii_alphanumeric(),
        Alphabet::Low => byte.is_ascii_alphanumeric() || *byte == b'_',
        Alphabet::Dash => byte.is_ascii_alphanumeric() || b"_-".contains(byte),
        Alphabet::Capital => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        Alphabet::Dot => byte.is_ascii_alphanumeric() || b"_-.".contains(byte),
        Alphabet::Base64 => byte.is_ascii_alphanumeric() || b"_-+/=".contains(byte),
        Alphabet::Hex => byte.is_ascii_hexdigit(),
    };
    text.bytes().take_while(part).count()
}

/// Whether the rest of a key looks random: `hf_transfer` begins like a key but has no digit or capital, and is short.
fn random(text: &str) -> bool {
    text.len() >= 20 || text.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

fn prefixed(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    let first = *rest.as_bytes().first()?;
    let from = KEYS.partition_point(|(prefix, ..)| prefix.as_bytes()[0] < first);
    let mut same = KEYS[from..].iter().take_while(|(prefix, ..)| prefix.as_bytes()[0] == first);
    same.find_map(|(prefix, alphabet, least)| {
        let tail = rest.strip_prefix(prefix)?;
        let length = run(tail, *alphabet);
        (length >= *least && random(&tail[..length])).then(|| at..at + prefix.len() + length)
    })
}

/// A JSON Web Token: header, claims and signature, separated by dots.
fn token(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    if !rest.starts_with("eyJ") {
        return None;
    }
    let header = run(rest, Alphabet::Dash);
    let claims = run(rest[header..].strip_prefix('.')?, Alphabet::Dash);
    if header < 6 || claims < 4 {
        return None;
    }
    let length = header + 1 + claims;
    let signature = rest[length..].strip_prefix('.').map_or(0, |rest| 1 + run(rest, Alphabet::Dot));
    Some(at..at + length + signature)
}

/// The credentials after `Bearer` or `Basic`, unless they look like prose.
fn scheme(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    let (length, extra): (usize, &[u8]) = if rest.get(..6)?.eq_ignore_ascii_case("bearer") {
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
    let count = value.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || extra.contains(byte)).count();
    let said = &value[..count];
    let digits = said.bytes().any(|byte| byte.is_ascii_digit() || b"=+".contains(&byte));
    let capitals = said.bytes().skip(1).any(|byte| byte.is_ascii_uppercase());
    let word =
        said.bytes().all(|byte| byte.is_ascii_lowercase() || b"/-.".contains(&byte)) && said.len() < 20;
    (count >= 8 && !word && (digits || capitals || count >= 20)).then(|| start..start + count)
}
