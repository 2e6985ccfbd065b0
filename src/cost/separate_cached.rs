//! Input, cached input and output separated: [`separate`](super::separate) with one more kind of token.
//!
//! A prompt token that a server finds in its cache is not computed, only its place in the cache is kept and read. If a
//! computed one takes `a` seconds, a cached one `c` and an output token `b`, each second of a saturated cell satisfies
//! `a·x + c·z + b·y = 1`. The same least squares, the same refusals.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

use super::separate::{FEWEST_MIXES, LARGEST_CONDITION};

/// Seconds a token of each kind takes: input, cached input, output.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CachedFit {
    /// The three.
    pub(super) seconds: [f64; 3],
    /// Their 95% intervals; that of cached input may reach 0.
    pub(super) ci95: [[f64; 2]; 3],
    /// Of the design with columns of unit length.
    pub(super) condition_number: f64,
    /// Measured ÷ fitted time − 1, in the order of the rates.
    pub(super) residuals: Vec<f64>,
}

type Matrix = [[f64; 3]; 3];

/// Fits `rates`: computed input, cached input and output tokens per second of each cell.
///
/// # Errors
/// One sentence that says why the three cannot be separated.
pub(super) fn fit(rates: &[[f64; 3]]) -> Result<CachedFit, String> {
    let n = rates.len();
    if n < FEWEST_MIXES + 1 {
        return Err(format!(
            "not separable: {n} mixes of input, cached input and output were measured, {} are needed",
            FEWEST_MIXES + 1
        ));
    }
    let sum = |i: usize, j: usize| rates.iter().map(|rate| rate[i] * rate[j]).sum::<f64>();
    let gram: Matrix = std::array::from_fn(|i| std::array::from_fn(|j| sum(i, j)));
    if (0..3).any(|i| gram[i][i] <= 0.0) {
        return Err("not separable: no cell has such tokens".to_owned());
    }
    let unit: Matrix =
        std::array::from_fn(|i| std::array::from_fn(|j| gram[i][j] / (gram[i][i] * gram[j][j]).sqrt()));
    let [most, .., least] = eigenvalues(&unit);
    let condition_number = (most / least).sqrt();
    if least <= 0.0 || condition_number.is_nan() || condition_number > LARGEST_CONDITION {
        return Err(format!(
            "not separable: the mixes are too similar (condition number {condition_number:.0}, at most {LARGEST_CONDITION:.0})"
        ));
    }
    let inverse = inverse(&gram).ok_or("not separable: the mixes are too similar")?;
    let ones: [f64; 3] = std::array::from_fn(|i| rates.iter().map(|rate| rate[i]).sum());
    let seconds: [f64; 3] = std::array::from_fn(|i| (0..3).map(|j| inverse[i][j] * ones[j]).sum());
    let fitted = |rate: &[f64; 3]| (0..3).map(|i| seconds[i] * rate[i]).sum::<f64>();
    for (kind, value) in ["input", "cached input", "output"].into_iter().zip(seconds) {
        if value < 0.0 || (value == 0.0 && kind != "cached input") {
            return Err(format!("not separable: an unconstrained fit gives {kind} a negative cost"));
        }
    }
    let squares: f64 = rates.iter().map(|rate| (1.0 - fitted(rate)).powi(2)).sum();
    let freedom = (n - 3) as f64;
    let t = StudentsT::new(0.0, 1.0, freedom).map_err(|error| error.to_string())?.inverse_cdf(0.975);
    let ci95: [[f64; 2]; 3] = std::array::from_fn(|i| {
        let half = t * (squares / freedom * inverse[i][i]).sqrt();
        [seconds[i] - half, seconds[i] + half]
    });
    for (kind, i) in [("input", 0), ("output", 2)] {
        if ci95[i][0] <= 0.0 {
            return Err(format!("not separable: the 95% interval of the cost of {kind} reaches 0"));
        }
    }
    let residuals = rates.iter().map(|rate| 1.0 / fitted(rate) - 1.0).collect();
    Ok(CachedFit { seconds, ci95, condition_number, residuals })
}

/// Of a symmetric matrix, the largest first (Smith 1961, "Eigenvalues of a symmetric 3 × 3 matrix").
fn eigenvalues(m: &Matrix) -> [f64; 3] {
    let off = m[0][1].powi(2) + m[0][2].powi(2) + m[1][2].powi(2);
    let mean = (m[0][0] + m[1][1] + m[2][2]) / 3.0;
    let diagonal: f64 = (0..3).map(|i| (m[i][i] - mean).powi(2)).sum();
    let p = ((diagonal + 2.0 * off) / 6.0).sqrt();
    if p == 0.0 {
        return [mean; 3];
    }
    let b: Matrix =
        std::array::from_fn(|i| std::array::from_fn(|j| (m[i][j] - if i == j { mean } else { 0.0 }) / p));
    let angle = (determinant(&b) / 2.0).clamp(-1.0, 1.0).acos() / 3.0;
    let of = |turn: f64| mean + 2.0 * p * (angle + turn).cos();
    let (most, least) = (of(0.0), of(2.0 * std::f64::consts::PI / 3.0));
    [most, 3.0 * mean - most - least, least]
}

fn determinant(m: &Matrix) -> f64 {
    (0..3).map(|i| m[0][i] * cofactor(m, 0, i)).sum()
}

fn cofactor(m: &Matrix, row: usize, column: usize) -> f64 {
    let others = |index: usize| [(index + 1) % 3, (index + 2) % 3];
    let [upper, lower] = others(row).map(|row| others(column).map(|column| m[row][column]));
    upper[0] * lower[1] - upper[1] * lower[0]
}

fn inverse(m: &Matrix) -> Option<Matrix> {
    let determinant = determinant(m);
    (determinant != 0.0)
        .then(|| std::array::from_fn(|i| std::array::from_fn(|j| cofactor(m, j, i) / determinant)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Computed input, cached input and output tokens of a request.
    const MIXES: [[f64; 3]; 6] = [
        [2048.0, 0.0, 64.0],
        [256.0, 2048.0, 64.0],
        [512.0, 512.0, 256.0],
        [128.0, 4096.0, 128.0],
        [1024.0, 0.0, 512.0],
        [256.0, 1024.0, 512.0],
    ];

    /// Tokens per second of a server with these seconds a token.
    fn server(seconds: [f64; 3], noise: [f64; 6]) -> Vec<[f64; 3]> {
        let rate = |mix: &[f64; 3], noise: f64| {
            let took = (0..3).map(|i| seconds[i] * mix[i]).sum::<f64>() * (1.0 + noise);
            mix.map(|tokens| tokens / took)
        };
        MIXES.iter().zip(noise).map(|(mix, noise)| rate(mix, noise)).collect()
    }

    proptest! {
        #[test]
        fn a_server_of_known_cost_gives_all_three_back(
            a in 1e-6f64..1e-3, cheaper in 3.0f64..50.0, dearer in 1.5f64..40.0,
        ) {
            let truth = [a, a / cheaper, a * dearer];
            let fit = fit(&server(truth, [0.0; 6])).expect("separable");
            for (found, truth) in fit.seconds.into_iter().zip(truth) {
                prop_assert!((found / truth - 1.0).abs() < 0.01, "{found} for {truth}");
            }
        }
    }

    #[test]
    fn noise_leaves_the_truth_inside_the_intervals() {
        let truth = [1e-4, 1e-5, 1e-3];
        let fit = fit(&server(truth, [0.004, -0.003, 0.002, -0.004, 0.003, -0.002])).expect("separable");
        for (ci95, truth) in fit.ci95.iter().zip(truth) {
            assert!(ci95[0] < truth && truth < ci95[1], "{truth}: {fit:?}");
        }
        assert!(fit.residuals.iter().all(|residual| residual.abs() < 0.01));
        assert!(fit.condition_number > 1.0 && fit.condition_number < 10.0, "{}", fit.condition_number);
    }

    #[test]
    fn what_cannot_hold_is_refused_with_the_reason() {
        let few = server([1e-4, 1e-5, 1e-3], [0.0; 6])[..3].to_vec();
        assert!(fit(&few).expect_err("three").contains("3 mixes of input"));
        let alike = [[100.0, 50.0, 10.0]; 5];
        assert!(fit(&alike).expect_err("alike").contains("too similar"));
        let none = [[100.0, 0.0, 10.0], [90.0, 0.0, 20.0], [50.0, 0.0, 30.0], [10.0, 0.0, 40.0]];
        assert!(fit(&none).expect_err("none").contains("no cell has such tokens"));
    }

    #[test]
    fn eigenvalues_are_those_of_the_matrix() {
        let found = eigenvalues(&[[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 2.0]]);
        let root = std::f64::consts::SQRT_2;
        for (found, truth) in found.into_iter().zip([2.0 + root, 2.0, 2.0 - root]) {
            assert!((found - truth).abs() < 1e-12, "{found}");
        }
        let same = eigenvalues(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert!(same.into_iter().all(|value| (value - 1.0).abs() < 1e-12), "{same:?}");
    }
}
