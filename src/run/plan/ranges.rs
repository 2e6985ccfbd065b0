//! Lists and ranges of numbers in llama-bench's notation: `1,8,64` · `128-512+128` · `128-1024*2`.

/// Most values that one flag may stand for.
const MOST: usize = 1000;

/// The numbers in `text`, in order.
///
/// # Errors
/// One sentence that names the part and what would be right.
pub fn parse(text: &str) -> Result<Vec<u32>, String> {
    let mut values = Vec::new();
    for part in text.split(',') {
        let part = part.trim();
        match part.split_once('-') {
            None => values.push(number(part, part)?),
            Some((first, rest)) => expand(part, first, rest, &mut values)?,
        }
        if values.len() > MOST {
            return Err(format!("`{text}` has more than {MOST} values"));
        }
    }
    Ok(values)
}

fn expand(part: &str, first: &str, rest: &str, values: &mut Vec<u32>) -> Result<(), String> {
    let (last, step, multiply) = if let Some((last, factor)) = rest.split_once('*') {
        (last, number(part, factor)?, true)
    } else if let Some((last, step)) = rest.split_once('+') {
        (last, number(part, step)?, false)
    } else {
        (rest, 1, false)
    };
    let (mut value, last) = (number(part, first)?, number(part, last)?);
    if value > last {
        return Err(format!("the range `{part}` starts above its end"));
    }
    if (multiply && (step < 2 || value == 0)) || (!multiply && step == 0) {
        return Err(format!(
            "the range `{part}` never reaches its end: a factor needs 2 or more and a start above 0; a step, 1 or more"
        ));
    }
    while value <= last {
        values.push(value);
        if values.len() > MOST {
            return Err(format!("the range `{part}` has more than {MOST} values"));
        }
        let next = if multiply { value.checked_mul(step) } else { value.checked_add(step) };
        let Some(next) = next else { break };
        value = next;
    }
    Ok(())
}

fn number(part: &str, text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| {
        format!("`{part}` is not a number, a list `1,8,64` or a range `128-512`, `128-512+128`, `128-1024*2`")
    })
}

/// A joint row: `P,N`.
///
/// # Errors
/// One sentence that says what would be right.
pub fn parse_joint(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("`{text}` is not two numbers above 0 such as `512,128` (prompt, output)");
    let (prompt, output) = text.split_once(',').ok_or_else(wrong)?;
    let pair = (prompt.trim().parse().map_err(|_| wrong())?, output.trim().parse().map_err(|_| wrong())?);
    if pair.0 == 0 || pair.1 == 0 { Err(wrong()) } else { Ok(pair) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges() {
        for (text, expected) in [
            ("512", vec![512]),
            ("1,8,64", vec![1, 8, 64]),
            ("1-4", vec![1, 2, 3, 4]),
            ("128-512+128", vec![128, 256, 384, 512]),
            ("128-1024*2", vec![128, 256, 512, 1024]),
            ("0,16-17", vec![0, 16, 17]),
            ("4294967295-4294967295", vec![u32::MAX]),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_said() {
        for (text, says) in [
            ("", "not a number"),
            ("a", "`a` is not a number"),
            ("8-1", "starts above its end"),
            ("0-8*2", "never reaches"),
            ("1-8*1", "never reaches"),
            ("1-8+0", "never reaches"),
            ("-5", "`-5` is not a number"),
            ("1-100000", "more than 1000 values"),
            ("99999999999", "not a number"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn joint_rows() {
        assert_eq!(parse_joint("512,128"), Ok((512, 128)));
        for text in ["512", "0,128", "512,0", "a,b"] {
            assert!(parse_joint(text).is_err(), "{text}");
        }
    }
}
