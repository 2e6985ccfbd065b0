//! Mean and standard deviation.

/// Arithmetic mean; `None` if empty.
pub fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// Sample standard deviation (divides by n − 1), two passes; `None` for fewer than two samples.
pub fn sample_sd(samples: &[f64]) -> Option<f64> {
    if samples.len() < 2 {
        return None;
    }
    let center = mean(samples)?;
    let squares: f64 = samples.iter().map(|x| (x - center).powi(2)).sum();
    Some((squares / (samples.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sd_divides_by_n_minus_one() {
        let sd = sample_sd(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]).expect("eight samples");
        assert!((sd - 2.138_089_935_299_395).abs() < 1e-12);
    }
}
