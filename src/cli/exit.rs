//! From an error to an exit code: the one place that knows them all. Each room says the class of its own errors.
//!
//! 1 found, but cannot be used · 2 a flag's value is wrong · 10 a regression · 11 inconclusive ·
//! 12 invalid or incomparable · 13 something named does not exist · 130 and 143 interrupted.

use crate::base::failure::{Class, Classed, Usage};
use crate::hardware::{device, nvml, telemetry};
use crate::report::exchange;
use crate::{catalog, cost, endpoint, engine, model, record, regress, run, workload};

/// Ends the command with a code and nothing more to say: the command has said it.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub(super) struct Silent(pub(super) u8);

/// The record is invalid, and --allow-invalid was not given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Invalid(pub(super) String);

impl Classed for Invalid {
    fn class(&self) -> Class {
        Class::Incomparable
    }
}

/// The exit code for a failed command: that of the first error in the chain that has one.
pub(super) fn code(error: &anyhow::Error) -> u8 {
    let of = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref() {
        Some(Silent(code)) => Some(*code),
        None => class(error).map(code_of),
    };
    error.chain().find_map(of).unwrap_or(1)
}

fn code_of(class: Class) -> u8 {
    match class {
        Class::Unusable => 1,
        Class::Usage => 2,
        Class::Incomparable => 12,
        Class::Missing => 13,
        Class::Interrupted(code) => code.unwrap_or(130),
    }
}

/// The class of an error of ours.
fn class(error: &(dyn std::error::Error + 'static)) -> Option<Class> {
    macro_rules! first_of {
        ($($error:ty),* $(,)?) => {
            None$(.or_else(|| error.downcast_ref::<$error>().map(Classed::class)))*
        };
    }
    first_of!(
        Usage,
        Invalid,
        catalog::Error,
        catalog::update::Error,
        cost::Error,
        cost::compare_api::CompareError,
        device::Error,
        endpoint::Error,
        engine::Error,
        exchange::Error,
        exchange::ImportError,
        model::Error,
        nvml::Absent,
        record::Error,
        regress::Error,
        run::plan::Error,
        run::quality::Error,
        run::runner::Error,
        run::serving::Error,
        run::session::Error,
        telemetry::choose::Error,
        workload::Error,
    )
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_code_survives_context_and_wrapping() {
        let missing: Result<(), record::Error> = Err(record::Error::Missing { path: "x".into() });
        assert_eq!(code(&missing.context("while pricing").expect_err("missing")), 13);
        let no_device = || engine::Error::NoDevice("none".into());
        assert_eq!(code(&run::runner::Error::Engine(no_device()).into()), 13);
        let wrapped = run::session::Error::from(run::runner::Error::Engine(no_device()));
        assert_eq!(code(&wrapped.into()), 13);
        let usage = || Usage::new("--across x", "no such field");
        for error in [usage().into(), cost::Error::from(usage()).into(), regress::Error::from(usage()).into()]
        {
            assert_eq!(code(&error), 2, "{error}");
            assert_eq!(error.to_string(), "--across x: no such field");
        }
        let folder = "gates".into();
        assert_eq!(code(&regress::Error::Interrupted { folder, code: 143 }.into()), 143);
        assert_eq!(code(&anyhow::anyhow!("anything else")), 1);
    }
}
