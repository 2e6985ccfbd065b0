//! The truth that readings are held against: each trace's integral, against a sum of a million small steps.

use crate::support::fake_nvml::Trace;

const STEPS: u32 = 1_000_000;

#[test]
fn the_integral_of_every_shape_is_exact() {
    let shapes = [
        Trace::constant(300.0),
        Trace::Ramp { from: 100.0, to: 700.0, seconds: 3.0 },
        Trace::Square { period: 0.5, duty: 0.3, low: 80.0, high: 690.0 },
        Trace::Bursts { every: 0.7, length: 0.15, low: 90.0, high: 650.0, seed: 7 },
        Trace::Steps { steps: vec![[0.5, 100.0], [2.0, 400.0], [2.25, 50.0], [4.5, 600.0]] },
    ];
    for shape in shapes {
        for (from, to) in [(-1.0, 6.0), (0.0, 5.0), (1.13, 4.87), (2.1, 2.2)] {
            let width = (to - from) / f64::from(STEPS);
            let sum: f64 =
                (0..STEPS).map(|step| shape.watts(from + (f64::from(step) + 0.5) * width) * width).sum();
            let exact = shape.joules(from, to);
            // Each jump of power may fall anywhere within one step of the sum.
            assert!(
                (sum - exact).abs() < 40.0 * 700.0 * width + 1e-6,
                "{shape:?} {from} {to}: {sum} {exact}"
            );
        }
    }
}

#[test]
fn bursts_fall_at_moments_that_do_not_repeat() {
    let bursts = Trace::Bursts { every: 1.0, length: 0.1, low: 0.0, high: 100.0, seed: 1 };
    let begins: Vec<u32> = (0..20)
        .map(|slot| {
            let begin = (0..1000).find(|ms| bursts.watts(f64::from(slot) + f64::from(*ms) / 1e3) > 0.0);
            begin.expect("one burst in each slot")
        })
        .collect();
    let mut different = begins.clone();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > 15, "{begins:?}");
    assert!((bursts.joules(0.0, 20.0) - 200.0).abs() < 1e-9);
}
