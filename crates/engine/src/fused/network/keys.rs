//! The metadata that say how positions are scaled, which blocks have a window and how experts are mixed.
//!
//! Keys and defaults: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use crate::base::text;
use crate::model::architecture::Windows;
use crate::model::gguf::{Metadata, Value};
use crate::model::{Header, ModelSpec};

use super::{Error, Experts, WAY_OUT, unsupported};

/// How positions are scaled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scaling {
    pub(super) divisor: f64,
    pub(super) magnitude: f64,
    /// Turns of a pair that keeps its angles, and of one whose positions are divided.
    pub(super) yarn: Option<[f64; 2]>,
}

/// The metadata of one architecture.
pub(super) struct Keys<'a> {
    pub(super) architecture: &'a str,
    pub(super) metadata: &'a Metadata,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(&format!("{}.{key}", self.architecture))
    }

    fn number(&self, key: &str) -> Result<Option<u32>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.odd(key, value, "a number"))
    }

    /// A fraction; 0 stands for none.
    pub(super) fn fraction(&self, key: &str) -> Result<Option<f64>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match value.as_f64().filter(|number| number.is_finite() && *number >= 0.0) {
            Some(number) => Ok(Some(number).filter(|number| *number > 0.0)),
            None => Err(self.odd(key, value, "a non-negative number")),
        }
    }

    /// An unreadable key must not be taken for an absent one: the model would compute something else.
    fn odd(&self, key: &str, value: &Value, wanted: &str) -> Error {
        unsupported(
            format!("read `{}.{key}`", self.architecture),
            format!(
                "it is {}, and should be {wanted}; fetch the file again",
                text::clipped(&format!("{value:?}"), 60)
            ),
        )
    }

    /// Elements of a head that are rotated.
    pub(super) fn rotated(&self, head_size: u32, partial: bool) -> Result<u32, Error> {
        let elements = self.number("rope.dimension_count")?.unwrap_or(head_size);
        let wanted = if elements > head_size || !elements.is_multiple_of(2) {
            "must be even and no larger than a head"
        } else if !partial && elements != head_size {
            "must be a whole head in this architecture; fetch the file again"
        } else {
            return Ok(elements);
        };
        Err(unsupported(
            format!("rotate {elements} of a head's {head_size} elements"),
            format!("`{}.rope.dimension_count` {wanted}", self.architecture),
        ))
    }

    /// Positions that the model was first trained with, before its context was stretched.
    pub(super) fn first_training(&self, spec: &ModelSpec) -> Result<u32, Error> {
        Ok(self.number("rope.scaling.original_context_length")?.unwrap_or(spec.context_length))
    }

    /// The sliding window, when the file says what the architecture's blocks do with it.
    pub(super) fn window(&self, windows: Option<Windows>) -> Result<Option<u32>, Error> {
        let key = "attention.sliding_window";
        let window = self.number(key)?.filter(|window| *window > 0);
        let Some(windows) = windows else { return Ok(window) };
        if windows.required && window.is_none() {
            return Err(unsupported(
                format!("run this {} model with its `{}.{key}`", self.architecture, self.architecture),
                "it is missing or 0, and the architecture needs it; fetch the file again",
            ));
        }
        let pattern = "attention.sliding_window_pattern";
        match self.get(pattern) {
            Some(value) if value.as_u64() != Some(u64::from(windows.open_every)) => Err(self.odd(
                pattern,
                value,
                &format!(
                    "{0} (every block whose number is a multiple of {0} sees all positions)",
                    windows.open_every
                ),
            )),
            _ => Ok(window),
        }
    }

    /// Refuses soft-capped logits and scores.
    pub(super) fn refuse_caps(&self) -> Result<(), Error> {
        for key in ["final_logit_softcapping", "attn_logit_softcapping"] {
            if let Some(bound) = self.fraction(key)? {
                return Err(unsupported(
                    format!("cap logits at `{}.{key}` = {bound}", self.architecture),
                    format!("no published model of an architecture that it knows does; {WAY_OUT}"),
                ));
            }
        }
        Ok(())
    }

    /// The experts, when the keys that say how they are mixed say what is computed here.
    pub(super) fn experts(&self, header: &Header, biases: bool) -> Result<Option<Experts>, Error> {
        let Some(experts) = header.spec.experts else { return Ok(None) };
        let other = [
            ("expert_shared_count", self.number("expert_shared_count")?.is_some_and(|count| count > 0)),
            ("expert_group_count", self.number("expert_group_count")?.is_some_and(|count| count > 1)),
            // 1 is the softmax, 3 that of the chosen: the same here.
            (
                "expert_gating_func",
                self.number("expert_gating_func")?.is_some_and(|kind| !matches!(kind, 0 | 1 | 3)),
            ),
            (
                "expert_weights_scale",
                self.fraction("expert_weights_scale")?
                    .is_some_and(|scale| (scale - 1.0).abs() > f64::EPSILON),
            ),
            (
                "expert_weights_norm",
                self.get("expert_weights_norm").is_some_and(|value| *value != Value::Bool(true)),
            ),
        ];
        if let Some((key, _)) = other.into_iter().find(|(_, there)| *there) {
            return Err(unsupported(
                format!("mix experts as `{}.{key}` says", self.architecture),
                format!("it knows a softmax over a token's chosen experts; {WAY_OUT}"),
            ));
        }
        Ok(Some(Experts { count: experts.count as usize, used: experts.used as usize, biases }))
    }

    /// What is rotated is multiplied by this, whatever the scaling.
    pub(super) fn magnitude(&self) -> Result<f64, Error> {
        Ok(self.fraction("rope.scaling.attn_factor")?.unwrap_or(1.0))
    }

    /// How positions are scaled, as llama.cpp reads these keys; `long_factors` says whether the file has the tensors of
    /// `longrope`, which do the scaling then.
    pub(super) fn scaling(&self, long_factors: bool) -> Result<Scaling, Error> {
        let key = "rope.scaling.type";
        let divisor = match self.fraction("rope.scaling.factor")? {
            Some(factor) => factor,
            None => self.fraction("rope.scale_linear")?.unwrap_or(1.0),
        };
        let magnitude = self.magnitude()?;
        let kind = match self.get(key) {
            Some(value) => Some(value.as_str().ok_or_else(|| self.odd(key, value, "a word"))?),
            None => None,
        };
        match kind {
            Some("none") => Ok(Scaling { divisor: 1.0, magnitude, yarn: None }),
            None | Some("linear") => Ok(Scaling { divisor, magnitude, yarn: None }),
            Some("longrope") if long_factors => Ok(Scaling { divisor: 1.0, magnitude, yarn: None }),
            Some("yarn") => {
                let others =
                    [("yarn_ext_factor", 1.0), ("yarn_attn_factor", 1.0), ("yarn_log_multiplier", 0.0)];
                for (name, usual) in others {
                    let key = format!("rope.scaling.{name}");
                    let Some(value) = self.get(&key) else { continue };
                    let value = value.as_f64().ok_or_else(|| self.odd(&key, value, "a number"))?;
                    if (value - usual).abs() > f64::EPSILON {
                        return Err(unsupported(
                            format!("scale positions with `{}.{key}` = {value}", self.architecture),
                            format!("it knows YaRN with {usual} there; {WAY_OUT}"),
                        ));
                    }
                }
                let turns = |name: &str, usual: f64| -> Result<f64, Error> {
                    Ok(self.fraction(&format!("rope.scaling.{name}"))?.unwrap_or(usual))
                };
                // Scores grow with the square of this: attention over more positions is to be as sharp.
                let magnitude = magnitude * (1.0 + 0.1 * divisor.max(1.0).ln());
                let yarn = Some([turns("yarn_beta_fast", 32.0)?, turns("yarn_beta_slow", 1.0)?]);
                Ok(Scaling { divisor, magnitude, yarn })
            }
            Some(other) => Err(unsupported(
                format!("scale positions by `{other}` (`{}.{key}`)", self.architecture),
                format!(
                    "it knows `linear`, `yarn`, the factors of `rope_freqs.weight`, and `longrope` where the file has \
                     both tensors of factors; {WAY_OUT}"
                ),
            )),
        }
    }
}
