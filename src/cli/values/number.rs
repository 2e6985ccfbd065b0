//! Numbers and counts: of threads, of tokens, ratios.

use crate::run::plan::ranges;

/// A finite number.
pub(in crate::cli) fn finite(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A number above zero.
pub(in crate::cli) fn above_zero(text: &str) -> Result<f64, String> {
    finite(text).filter(|value| *value > 0.0).ok_or_else(|| "expected a number above 0".to_owned())
}

/// A number of threads; llama-bench takes a list.
pub(in crate::cli) fn threads(text: &str) -> Result<u16, String> {
    if text.contains([',', '-']) && ranges::parse(text).is_ok() {
        return Err(
            "a run has one number of threads. For several: `for t in 1 2 4; do bench run -t $t; done`"
                .to_owned(),
        );
    }
    text.parse()
        .ok()
        .filter(|count| *count > 0)
        .ok_or_else(|| "expected a whole number from 1 to 65535".to_owned())
}

/// Power of the building over that of its machines: 1 or more.
pub(in crate::cli) fn pue(text: &str) -> Result<f64, String> {
    finite(text).filter(|value| (1.0..=10.0).contains(value)).ok_or_else(|| {
        "PUE is the building's power over that of its machines, from 1 to 10, such as `1.3`".to_owned()
    })
}

/// Input to output: `3:1` or `3`.
pub(in crate::cli) fn blend(text: &str) -> Result<f64, String> {
    let part = |text: &str| finite(text).filter(|value| *value > 0.0);
    let ratio = match text.split_once(':') {
        Some((input, output)) => part(input).zip(part(output)).map(|(input, output)| input / output),
        None => part(text),
    };
    ratio.ok_or_else(|| "a blend is input to output, such as `3:1`".to_owned())
}

/// Most tokens of a month: far more than anybody serves, and the machines for them can still be counted.
const MOST_TOKENS: f64 = 1e18;

/// A count of tokens: `5000000`, `20M`, `2.5B`.
pub(in crate::cli) fn tokens(text: &str) -> Result<f64, String> {
    let factors = [('k', 1e3), ('m', 1e6), ('b', 1e9), ('t', 1e12)];
    let text = text.trim().to_lowercase().replace(['_', ','], "");
    let found = factors.iter().find_map(|(unit, factor)| Some(finite(text.strip_suffix(*unit)?)? * factor));
    let unread = || "expected tokens, such as `20M` or `2.5B`".to_owned();
    let count = found.or_else(|| finite(&text)).ok_or_else(unread)?;
    if (1.0..=MOST_TOKENS).contains(&count) {
        Ok(count)
    } else {
        Err("a number of tokens is from 1 to 1,000,000T, such as `20M` or `2.5B`".to_owned())
    }
}

/// Tokens of a call: a whole number, one at least.
pub(in crate::cli) fn tokens_of_a_call(text: &str) -> Result<f64, String> {
    match text.trim().parse::<u32>() {
        Ok(count) if count > 0 => Ok(f64::from(count)),
        _ => Err("tokens are a whole number above 0, such as `3000`".to_owned()),
    }
}

/// Tokens of a call, in and out: `3000,500`.
pub(in crate::cli) fn call(text: &str) -> Result<(f64, f64), String> {
    let wrong = || "expected tokens in and out, such as `3000,500`".to_owned();
    let (input, output) = text.split_once(',').ok_or_else(wrong)?;
    tokens_of_a_call(input).and_then(|input| Ok((input, tokens_of_a_call(output)?))).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_ratios() {
        for (text, expected) in
            [("20M", Some(2e7)), ("2.5B", Some(2.5e9)), ("5_000", Some(5e3)), ("0", None), ("many", None)]
        {
            assert_eq!(tokens(text).ok(), expected, "{text}");
        }
        for wrong in ["1e30", "1e19", "0", "-5"] {
            assert!(tokens(wrong).is_err_and(|said| said.contains("1,000,000T")), "{wrong}");
        }
        for (text, expected) in
            [("3:1", Some(3.0)), ("4", Some(4.0)), ("1:2", Some(0.5)), ("0:1", None), ("1:0", None)]
        {
            assert_eq!(blend(text).ok(), expected, "{text}");
        }
        assert!(pue("0.9").is_err() && pue("1.3").is_ok());
        assert_eq!(call("3000, 500"), Ok((3000.0, 500.0)));
        for wrong in ["3000", "0,5", "5,0", "-1,5", "1.5,2", "99999999999,1", ","] {
            assert!(call(wrong).is_err(), "{wrong}");
        }
    }
}
