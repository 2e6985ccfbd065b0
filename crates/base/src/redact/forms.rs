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
    /// Letters, digits, and the signs of base 64.
    Base64,
    /// Digits to the base of 16.
    Hex,
}

/// Prefix, signs and least number of them, in the order of the prefixes.
const KEYS: [(&str, Signs, usize); 172] = [
    ("A3T", Signs::Capital, 16),
    ("ABIA", Signs::Capital, 16),
    ("ABSK", Signs::Base64, 60),
    ("ACCA", Signs::Capital, 16),
    ("AGE-SECRET-KEY-", Signs::Dash, 8),
    ("AIza", Signs::Dash, 16),
    ("AKCp", Signs::Plain, 40),
    ("AKIA", Signs::Capital, 8),
    ("AKID", Signs::Plain, 30),
    ("API-", Signs::Capital, 24),
    ("AQVN", Signs::Dash, 30),
    ("ASIA", Signs::Capital, 12),
    ("ATATT3", Signs::Dash, 16),
    ("ATBB", Signs::Plain, 24),
    ("ATCTT3", Signs::Dash, 16),
    ("CLOJARS_", Signs::Plain, 24),
    ("EAAA", Signs::Dash, 22),
    ("EAAC", Signs::Plain, 20),
    ("EAAG", Signs::Plain, 20),
    ("EAAM", Signs::Plain, 20),
    ("EZAK", Signs::Plain, 40),
    ("EZTK", Signs::Plain, 40),
    ("FLWSECK", Signs::Dash, 12),
    ("FlyV1", Signs::Dash, 24),
    ("GOCSPX-", Signs::Dash, 16),
    ("GR1348941", Signs::Dash, 16),
    ("HRKU-", Signs::Dash, 16),
    ("LTAI", Signs::Plain, 16),
    ("NRAK-", Signs::Plain, 16),
    ("NRII-", Signs::Dash, 16),
    ("NRJS-", Signs::Plain, 16),
    ("PMAK-", Signs::Dash, 24),
    ("SG.", Signs::Dot, 16),
    ("SK", Signs::Hex, 32),
    ("api_org_", Signs::Plain, 16),
    ("apify_api_", Signs::Plain, 16),
    ("bedrock-api-key-", Signs::Dash, 16),
    ("bkua_", Signs::Plain, 24),
    ("ccipat_", Signs::Low, 16),
    ("cmVmd", Signs::Plain, 50),
    ("csk-", Signs::Dash, 16),
    ("dapi", Signs::Hex, 32),
    ("dckr_oat_", Signs::Dash, 8),
    ("dckr_pat_", Signs::Dash, 8),
    ("doo_v1_", Signs::Plain, 16),
    ("dop_v1_", Signs::Plain, 16),
    ("dor_v1_", Signs::Plain, 16),
    ("dp.ct.", Signs::Plain, 16),
    ("dp.pt.", Signs::Plain, 16),
    ("dp.sa.", Signs::Plain, 16),
    ("dp.st.", Signs::Dot, 16),
    ("dt0c01.", Signs::Dot, 24),
    ("dt0s01.", Signs::Dot, 24),
    ("duffel_live_", Signs::Dash, 16),
    ("duffel_test_", Signs::Dash, 16),
    ("e2b_", Signs::Plain, 24),
    ("figd_", Signs::Dash, 24),
    ("fio-u-", Signs::Dash, 24),
    ("fm1a_", Signs::Base64, 24),
    ("fm1r_", Signs::Base64, 24),
    ("fm2_", Signs::Base64, 24),
    ("fo1_", Signs::Dash, 24),
    ("fw_", Signs::Plain, 16),
    ("gho_", Signs::Plain, 8),
    ("ghp_", Signs::Plain, 8),
    ("ghr_", Signs::Plain, 8),
    ("ghs_", Signs::Plain, 8),
    ("ghu_", Signs::Plain, 8),
    ("github_pat_", Signs::Low, 8),
    ("glagent-", Signs::Dash, 16),
    ("glc_", Signs::Base64, 16),
    ("glcbt-", Signs::Dash, 16),
    ("gldt-", Signs::Dash, 16),
    ("glffct-", Signs::Dash, 16),
    ("glft-", Signs::Dash, 16),
    ("glimt-", Signs::Dash, 16),
    ("gloas-", Signs::Dash, 16),
    ("glpat-", Signs::Dot, 8),
    ("glptt-", Signs::Dash, 16),
    ("glrt-", Signs::Dot, 8),
    ("glsa_", Signs::Low, 16),
    ("glsoat-", Signs::Dash, 16),
    ("gsk_", Signs::Plain, 8),
    ("hf_", Signs::Plain, 8),
    ("hvb.", Signs::Dash, 16),
    ("hvr.", Signs::Dash, 16),
    ("hvs.", Signs::Dash, 16),
    ("ico-", Signs::Plain, 32),
    ("jina_", Signs::Plain, 16),
    ("key-", Signs::Hex, 32),
    ("lin_api_", Signs::Plain, 16),
    ("lsv2_pt_", Signs::Low, 16),
    ("lsv2_sk_", Signs::Low, 16),
    ("napi_", Signs::Plain, 24),
    ("nbp_", Signs::Plain, 24),
    ("nfp_", Signs::Plain, 24),
    ("npm_", Signs::Plain, 16),
    ("ntn_", Signs::Plain, 24),
    ("nvapi-", Signs::Dash, 8),
    ("ops_eyJ", Signs::Base64, 16),
    ("p8e-", Signs::Plain, 24),
    ("pcsk_", Signs::Low, 16),
    ("phc_", Signs::Plain, 16),
    ("phx_", Signs::Plain, 16),
    ("pk-lf-", Signs::Dash, 16),
    ("pk_live_", Signs::Plain, 8),
    ("pnu_", Signs::Plain, 24),
    ("pplx-", Signs::Dash, 12),
    ("pscale_oauth_", Signs::Dot, 16),
    ("pscale_pw_", Signs::Dot, 16),
    ("pscale_tkn_", Signs::Dot, 16),
    ("pul-", Signs::Hex, 32),
    ("pypi-", Signs::Dash, 16),
    ("r8_", Signs::Plain, 8),
    ("rdme_", Signs::Plain, 24),
    ("rk_live_", Signs::Plain, 8),
    ("rk_prod_", Signs::Plain, 8),
    ("rk_test_", Signs::Plain, 8),
    ("rpa_", Signs::Plain, 16),
    ("rubygems_", Signs::Plain, 24),
    ("sb_secret_", Signs::Dash, 16),
    ("sbp_", Signs::Plain, 24),
    ("secret_", Signs::Plain, 32),
    ("sess-", Signs::Plain, 16),
    ("sgp_", Signs::Low, 24),
    ("sha256~", Signs::Dash, 40),
    ("shippo_live_", Signs::Plain, 16),
    ("shippo_test_", Signs::Plain, 16),
    ("shpat_", Signs::Plain, 16),
    ("shpca_", Signs::Plain, 16),
    ("shppa_", Signs::Plain, 16),
    ("shpss_", Signs::Plain, 16),
    ("sk-", Signs::Dash, 8),
    ("sk_live_", Signs::Plain, 8),
    ("sk_prod_", Signs::Plain, 8),
    ("sk_test_", Signs::Plain, 8),
    ("sl.", Signs::Dash, 60),
    ("sm_aat_", Signs::Plain, 16),
    ("sm_pat_", Signs::Plain, 16),
    ("sm_sat_", Signs::Plain, 16),
    ("sntrys_", Signs::Base64, 16),
    ("sntryu_", Signs::Plain, 16),
    ("sq0atp-", Signs::Dash, 16),
    ("sq0csp-", Signs::Dash, 16),
    ("sqa_", Signs::Plain, 24),
    ("sqp_", Signs::Plain, 24),
    ("squ_", Signs::Plain, 24),
    ("t1.", Signs::Dot, 60),
    ("tfp_", Signs::Dash, 24),
    ("tgp_v1_", Signs::Dash, 8),
    ("tk-us-", Signs::Dash, 24),
    ("tskey-", Signs::Dash, 16),
    ("tvly-", Signs::Dash, 12),
    ("v1.0-", Signs::Dash, 60),
    ("vercel_blob_rw_", Signs::Low, 16),
    ("wandb_v1_", Signs::Low, 16),
    ("whsec_", Signs::Base64, 16),
    ("xai-", Signs::Dash, 12),
    ("xapp-", Signs::Dash, 8),
    ("xkeysib-", Signs::Dash, 32),
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
    ("xsmtpsib-", Signs::Dash, 32),
    ("ya29.", Signs::Dot, 8),
];

/// Whether each first sign's prefixes stand together, as the search for them takes it.
#[cfg(test)]
pub(super) fn in_order() -> bool {
    KEYS.is_sorted_by_key(|(prefix, ..)| prefix.as_bytes()[0])
}

/// Keys by their prefix, tokens of several parts, and what follows `Bearer` and `Basic`.
pub(super) fn keys(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut until = 0;
    // Where the run of signs ends in which no token begins.
    let mut no_token = 0;
    for (at, byte) in text.bytes().enumerate() {
        if at < until || !byte.is_ascii_alphanumeric() || !begins(text, at) {
            continue;
        }
        let mut part = prefixed(text, at).or_else(|| numbered(text, at)).or_else(|| scheme(text, at));
        if part.is_none() && at >= no_token {
            part = token(text, at);
            if part.is_none() && text[at..].starts_with("eyJ") {
                no_token = at + run(&text[at..], Signs::Dash);
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

/// Private keys in PEM, as far as they go.
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

/// Keys that are told by what is in their middle: Terraform's and Azure's.
fn between(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric();
    // `\n` before a key is none of it.
    let start = |at: usize| {
        let escaped = at > 0 && text.as_bytes()[at - 1] == b'\\' && text[at..].starts_with(['n', 'r', 't']);
        at + usize::from(escaped)
    };
    for (at, sign) in text.match_indices(".atlasv1.") {
        let before = text.as_bytes()[..at].iter().rev().take(20).take_while(|byte| plain(byte)).count();
        let after = run(&text[at + sign.len()..], Signs::Dash);
        if before >= 8 && after >= 16 {
            found.push(start(at - before)..at + sign.len() + after);
        }
    }
    for (at, sign) in text.match_indices("Q~") {
        let bytes = text.as_bytes();
        let part = |byte: &u8| plain(byte) || b"_~.-".contains(byte);
        let before = bytes[..at].iter().rev().take(4).take_while(|byte| part(byte)).count();
        let after = bytes[at + sign.len()..].iter().take(60).take_while(|byte| part(byte)).count();
        if before == 4 && bytes[at - 1].is_ascii_digit() && (31..=34).contains(&after) {
            found.push(at - before..at + sign.len() + after);
        }
    }
    found
}

/// A bot's token of Telegram, `123456789:AA…`, and a key of Mailchimp, `…-us12`.
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

/// Whether a word can begin here: not within another, unless what is before is the sign of an escape, also of one that
/// gives a terminal its colour.
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

fn run(text: &str, signs: Signs) -> usize {
    let part = |byte: &u8| match signs {
        Signs::Plain => byte.is_ascii_alphanumeric(),
        Signs::Low => byte.is_ascii_alphanumeric() || *byte == b'_',
        Signs::Dash => byte.is_ascii_alphanumeric() || b"_-".contains(byte),
        Signs::Capital => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        Signs::Dot => byte.is_ascii_alphanumeric() || b"_-.".contains(byte),
        Signs::Base64 => byte.is_ascii_alphanumeric() || b"_-+/=".contains(byte),
        Signs::Hex => byte.is_ascii_hexdigit(),
    };
    text.bytes().take_while(part).count()
}

/// A word such as `hf_transfer` begins like a key and is none: no digit, no capital, and not long.
fn random(text: &str) -> bool {
    text.len() >= 20 || text.bytes().any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

fn prefixed(text: &str, at: usize) -> Option<Range<usize>> {
    let rest = &text[at..];
    let first = *rest.as_bytes().first()?;
    let from = KEYS.partition_point(|(prefix, ..)| prefix.as_bytes()[0] < first);
    let mut same = KEYS[from..].iter().take_while(|(prefix, ..)| prefix.as_bytes()[0] == first);
    same.find_map(|(prefix, signs, least)| {
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
