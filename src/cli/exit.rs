//! From an error to an exit code: the one place that knows them all.
//!
//! 1 it is there and cannot be used · 2 a flag's value is wrong · 10 a regression · 11 inconclusive ·
//! 12 invalid or incomparable · 13 something named is not there · 130 and 143 interrupted.

use crate::report::exchange;
use crate::{catalog, cost, engine, hardware, model, record, regress, run};

/// Ends the command with a code and nothing more to say: the command has said it.
#[derive(Debug, thiserror::Error)]
#[error("exit code {0}")]
pub(super) struct Silent(pub(super) u8);

/// The record is invalid, and was not asked for all the same.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Invalid(pub(super) String);

/// The exit code for a failed command: that of the first error in the chain that has one.
pub(super) fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(of).unwrap_or(1)
}

fn of(error: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(Silent(code)) = error.downcast_ref() {
        return Some(*code);
    }
    if error.is::<Invalid>() {
        return Some(12);
    }
    if let Some(error) = error.downcast_ref::<catalog::Error>() {
        return Some(match error {
            catalog::Error::Unknown { .. } | catalog::Error::NotSold(_) => 2,
            catalog::Error::Missing { .. } => 13,
            _ => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<catalog::update::Error>() {
        return Some(match error {
            catalog::update::Error::Missing { .. } => 13,
            catalog::update::Error::Usage { .. } => 2,
            _ => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<model::Error>() {
        return Some(match error {
            model::Error::BadName { .. } => 2,
            model::Error::Missing { .. } | model::Error::Unreachable { .. } => 13,
            model::Error::Interrupted => 130,
            _ => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<record::Error>() {
        return Some(match error {
            record::Error::Missing { .. } => 13,
            _ => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<engine::Error>() {
        return Some(match error {
            engine::Error::NoDevice(_) => 13,
            engine::Error::Interrupted => 130,
            _ => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<run::plan::Error>() {
        return Some(match error {
            run::plan::Error::Usage { .. } => 2,
            _ => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<run::quality::Error>() {
        return match error {
            run::quality::Error::NoText { .. } => Some(13),
            run::quality::Error::BadText { .. } => Some(1),
            run::quality::Error::Incomparable { .. } | run::quality::Error::NonFinite { .. } => Some(12),
            run::quality::Error::Engine(error) => of(error),
        };
    }
    if let Some(run::runner::Error::Engine(error)) = error.downcast_ref() {
        return of(error);
    }
    if let Some(error) = error.downcast_ref::<run::session::Error>() {
        return match error {
            run::session::Error::Catalog(error) => of(error),
            run::session::Error::Device(error) => of(error),
            run::session::Error::Library(error) => of(error),
            run::session::Error::Sensors(error) => of(error),
            run::session::Error::Plan(error) => of(error),
            run::session::Error::Engine(error) => of(error),
            run::session::Error::Runner(error) => of(error),
        };
    }
    if error.is::<hardware::device::Error>() {
        return Some(13);
    }
    if let Some(error) = error.downcast_ref::<hardware::telemetry::choose::Error>() {
        return Some(match error {
            hardware::telemetry::choose::Error::Absent(_) => 13,
            hardware::telemetry::choose::Error::Unusable(_) => 1,
            hardware::telemetry::choose::Error::Usage(_) => 2,
        });
    }
    if let Some(error) = error.downcast_ref::<hardware::nvml::Absent>() {
        return Some(match error {
            hardware::nvml::Absent::Unusable { .. } => 1,
            _ => 13,
        });
    }
    if let Some(error) = error.downcast_ref::<exchange::ImportError>() {
        return match error {
            exchange::ImportError::File(error) => of(error),
            exchange::ImportError::Catalog(error) => of(error),
        };
    }
    if let Some(error) = error.downcast_ref::<exchange::Error>() {
        return Some(match error {
            exchange::Error::Missing { .. } => 13,
            exchange::Error::NoModel { .. } | exchange::Error::Contradicted { .. } => 2,
            exchange::Error::Export { .. } => 12,
            _ => 1,
        });
    }
    if let Some(error) = error.downcast_ref::<regress::Error>() {
        return match error {
            regress::Error::Missing { .. }
            | regress::Error::NoStore { .. }
            | regress::Error::Nothing { .. }
            | regress::Error::NotBuilt { .. } => Some(13),
            regress::Error::Usage { .. } => Some(2),
            regress::Error::Interrupted { code, .. } => Some(*code),
            regress::Error::Record(error) => of(error),
            _ => Some(1),
        };
    }
    if let Some(error) = error.downcast_ref::<cost::compare_api::CompareError>() {
        return match error {
            cost::compare_api::CompareError::Cost(error) => of(error),
            cost::compare_api::CompareError::Catalog(error) => of(error),
        };
    }
    if let Some(error) = error.downcast_ref::<cost::Error>() {
        return Some(match error {
            cost::Error::Usage { .. } => 2,
            cost::Error::Incomparable(_) => 12,
            cost::Error::Stale { .. } => 1,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_code_survives_context() {
        let missing: Result<(), record::Error> = Err(record::Error::Missing { path: "x".into() });
        assert_eq!(code(&missing.context("while pricing").expect_err("missing")), 13);
        let device = engine::Error::NoDevice("none".into());
        assert_eq!(code(&run::runner::Error::Engine(device).into()), 13);
        assert_eq!(code(&anyhow::anyhow!("anything else")), 1);
    }
}
