//! Input and output separated from the outside: least squares over cells of different input:output ratio.
//!
//! A server that mixes both in its steps gives only totals. If an input token takes `a` seconds and an output
//! token `b`, a cell that serves `x` input and `y` output tokens a second is busy `a·x + b·y = 1` second of each.
//! Fitting that over cells, without intercept and with no negative coefficient, is the regression of seconds per
//! request on its tokens with each row divided by its left side, since errors are proportional to time. The
//! interval is Student's t with `n − 2` degrees of freedom. A fit that cannot hold is refused with the reason:
//! splitting by token count would always give an answer, and a wrong one.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Fewest different ratios of input to output.
pub const FEWEST_MIXES: usize = 3;
/// Ratios closer than this are one mix.
const SAME_MIX: f64 = 0.05;
/// Largest condition number of the design with columns of unit length.
pub const LARGEST_CONDITION: f64 = 30.0;

/// Seconds a token of each kind takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// Of input.
    pub input_seconds: f64,
    /// Its 95% interval.
    pub input_ci95: [f64; 2],
    /// Of output.
    pub output_seconds: f64,
    /// Its 95% interval.
    pub output_ci95: [f64; 2],
    /// Of the design with columns of unit length.
    pub condition_number: f64,
    /// Measured ÷ fitted time − 1, in the order of the rates.
    pub residuals: Vec<f64>,
}

/// Fits `rates`, input and output tokens per second of each cell.
///
/// # Errors
/// One sentence that says why the two cannot be separated.
pub fn fit(rates: &[[f64; 2]]) -> Result<Fit, String> {
    let mixes = mixes(rates);
    if mixes < FEWEST_MIXES {
        return Err(format!(
            "not separable: {mixes} input:output ratio{} measured, {FEWEST_MIXES} are needed",
            if mixes == 1 { " was" } else { "s were" }
        ));
    }
    let sum = |f: fn(&[f64; 2]) -> f64| rates.iter().map(f).sum::<f64>();
    let (xx, yy, xy) = (sum(|r| r[0] * r[0]), sum(|r| r[1] * r[1]), sum(|r| r[0] * r[1]));
    let (x, y) = (sum(|r| r[0]), sum(|r| r[1]));
    // With columns of unit length the Gram matrix is [1, ρ; ρ, 1], with eigenvalues 1 ± ρ.
    let cosine = xy / (xx * yy).sqrt();
    let condition_number = ((1.0 + cosine) / (1.0 - cosine)).sqrt();
    if condition_number.is_nan() || condition_number > LARGEST_CONDITION {
        return Err(format!(
            "not separable: the ratios are too similar (condition number {condition_number:.0}, at most {LARGEST_CONDITION:.0})"
        ));
    }
    let determinant = xx * yy - xy * xy;
    let input = (yy * x - xy * y) / determinant;
    let output = (xx * y - xy * x) / determinant;
    for (kind, value) in [("input", input), ("output", output)] {
        if value <= 0.0 {
            return Err(format!("not separable: an unconstrained fit gives {kind} a negative cost"));
        }
    }
    let fitted = |rate: &[f64; 2]| input * rate[0] + output * rate[1];
    let residuals: Vec<f64> = rates.iter().map(|rate| 1.0 / fitted(rate) - 1.0).collect();
    let squares: f64 = rates.iter().map(|rate| (1.0 - fitted(rate)).powi(2)).sum();
    let freedom = (rates.len() - 2) as f64;
    let t = StudentsT::new(0.0, 1.0, freedom).map_err(|error| error.to_string())?.inverse_cdf(0.975);
    let half = |diagonal: f64| t * (squares / freedom * diagonal / determinant).sqrt();
    let around = |value: f64, half: f64| [value - half, value + half];
    let (input_ci95, output_ci95) = (around(input, half(yy)), around(output, half(xx)));
    for (kind, ci) in [("input", input_ci95), ("output", output_ci95)] {
        if ci[0] <= 0.0 {
            return Err(format!("not separable: the 95% interval of the cost of {kind} reaches 0"));
        }
    }
    Ok(Fit {
        input_seconds: input,
        input_ci95,
        output_seconds: output,
        output_ci95,
        condition_number,
        residuals,
    })
}

/// How many different ratios of input to output there are.
fn mixes(rates: &[[f64; 2]]) -> usize {
    let mut ratios: Vec<f64> = rates.iter().map(|[input, output]| (input / output).ln()).collect();
    ratios.sort_by(f64::total_cmp);
    let mut last = f64::NEG_INFINITY;
    ratios
        .iter()
        .filter(|ratio| {
            if **ratio - last > SAME_MIX {
                last = **ratio;
                true
            } else {
                false
            }
        })
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Input and output tokens of a request, from 64:1 to 1:4.
    const MIXES: [[f64; 2]; 6] = [
        [8192.0, 128.0],
        [4096.0, 256.0],
        [2048.0, 512.0],
        [1024.0, 1024.0],
        [512.0, 1024.0],
        [256.0, 1024.0],
    ];

    /// Tokens per second of an engine that takes `a` seconds for an input token and `b` for an output one.
    fn engine(a: f64, b: f64, noise: [f64; 6]) -> Vec<[f64; 2]> {
        let rates = MIXES.iter().zip(noise);
        rates
            .map(|([i, o], noise)| {
                let s = (a * i + b * o) * (1.0 + noise);
                [i / s, o / s]
            })
            .collect()
    }

    /// What splitting the time by token count would say: each token takes the same.
    fn by_token_count(rates: &[[f64; 2]]) -> [f64; 2] {
        let all = rates.iter().map(|[i, o]| 1.0 / (i + o)).sum::<f64>() / rates.len() as f64;
        [all, all]
    }

    proptest! {
        #[test]
        fn an_engine_of_known_cost_gives_both_back(a in 1e-6f64..1e-3, dearer in 1.5f64..40.0) {
            let (b, rates) = (a * dearer, engine(a, a * dearer, [0.0; 6]));
            let fit = fit(&rates).expect("separable");
            prop_assert!((fit.input_seconds / a - 1.0).abs() < 0.01);
            prop_assert!((fit.output_seconds / b - 1.0).abs() < 0.01);
            // The same test, failed by splitting at token counts.
            let [input, output] = by_token_count(&rates);
            prop_assert!((input / a - 1.0).abs() > 0.01 || (output / b - 1.0).abs() > 0.01);
        }

        #[test]
        fn noise_of_two_percent_stays_small_and_inside_the_interval_or_is_refused(
            a in 1e-6f64..1e-3, dearer in 2.0f64..12.0, noise in prop::array::uniform6(-0.02f64..0.02),
        ) {
            if let Ok(fit) = fit(&engine(a, a * dearer, noise)) {
                // Worst case over six rows: ten times the noise.
                prop_assert!((fit.input_seconds / a - 1.0).abs() < 0.2, "{fit:?}");
                prop_assert!((fit.output_seconds / a / dearer - 1.0).abs() < 0.2, "{fit:?}");
                prop_assert!(fit.residuals.iter().all(|residual| residual.abs() < 0.05));
            }
        }
    }

    /// `scripts/check-cost` compares such a fit with scipy and numpy; here only that the truth is inside.
    #[test]
    fn the_worked_example_of_twenty_thousand_and_two_and_a_half_thousand() {
        let noise = [0.02, -0.01, 0.015, -0.02, 0.01, -0.005];
        let fit = fit(&engine(1.0 / 20_000.0, 1.0 / 2500.0, noise)).expect("separable");
        assert!((fit.input_seconds * 20_000.0 - 1.0).abs() < 0.03, "{fit:?}");
        assert!((fit.output_seconds * 2500.0 - 1.0).abs() < 0.02, "{fit:?}");
        assert!(fit.input_ci95[0] < 1.0 / 20_000.0 && 1.0 / 20_000.0 < fit.input_ci95[1]);
        assert!(fit.output_ci95[0] < 1.0 / 2500.0 && 1.0 / 2500.0 < fit.output_ci95[1]);
        assert!(fit.condition_number > 1.0 && fit.condition_number < LARGEST_CONDITION);
    }

    #[test]
    fn what_cannot_hold_is_refused_with_the_reason() {
        let refused = |rates: &[[f64; 2]]| fit(rates).expect_err("not separable");
        assert!(refused(&[[1000.0, 500.0]; 5]).contains("1 input:output ratio was"), "one mix");
        assert!(refused(&[[1000.0, 500.0], [500.0, 500.0]]).contains("2 input:output ratios were"));
        // Three mixes within a third of each other.
        let alike = [[1000.0, 500.0], [1060.0, 490.0], [1120.0, 480.0]];
        assert!(refused(&alike).contains("too similar"), "{}", refused(&alike));
        // Output tokens that come the faster the more input there is.
        let upside_down = [[100.0, 100.0], [1000.0, 200.0], [5000.0, 400.0]];
        assert!(refused(&upside_down).contains("a negative cost"), "{}", refused(&upside_down));
        let mut wild = engine(1e-5, 2e-5, [0.5, -0.4, 0.6, -0.5, 0.4, -0.6]);
        wild.truncate(4);
        assert!(refused(&wild).contains("reaches 0"), "{}", refused(&wild));
    }
}
