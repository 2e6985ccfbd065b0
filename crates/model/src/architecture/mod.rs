//! What each architecture is: the tensors it has, and what a forward pass does between them.
//!
//! An architecture is a row of [`ALL`], a description: a table of tensors (name, role, shape, condition) and a few
//! properties. Whatever has to know an architecture reads its row: the check of a file and the loading of its weights,
//! the synthetic models, the test models. Names and shapes are those that llama.cpp's converter writes
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).

mod families;
mod tensor;

pub use families::ALL;
pub use tensor::{Kind, Role, Size, Sizes, Tensor, Variant, When};

use crate::Header;

/// One architecture.
#[derive(Debug, PartialEq)]
pub struct Architecture {
    /// Its name in `general.architecture`.
    pub name: &'static str,
    /// Tensors before the blocks.
    pub input: &'static [Tensor],
    /// Tensors of every block, by their names after `blk.N.`.
    pub block: &'static [Tensor],
    /// Tensors after the blocks.
    pub output: &'static [Tensor],
    /// Whether the feed-forward layer may be a mixture of experts.
    pub experts: Presence,
    /// What is made of gate and up.
    pub activation: Activation,
    /// How queries and keys are rotated.
    pub rope: Rope,
    /// Which blocks have the sliding window that a file names; every block when `None`.
    pub windows: Option<Windows>,
    /// Whether the embedding is multiplied by the root of the width.
    pub scaled_embedding: bool,
    /// Scores are divided by the root of a head's size. In a model of this many blocks, width over number of heads
    /// replaces that size, and no key says so.
    pub wide_scores_at: Option<u32>,
}

/// Whether a part is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// In no model.
    Never,
    /// As the file says.
    Optional,
    /// In every model.
    Always,
}

/// What is made of the gate and the up projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// gate · sigmoid(gate) · up.
    Silu,
    /// gelu(gate) · up, in the tanh form of GELU.
    GeluTanh,
    /// gate · sigmoid(1.702 · gate) · (up + 1), the gate at most 7 and up within ±7.
    ClampedSwiglu,
}

/// Which two elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Neighbours 2i and 2i + 1.
    Neighbours,
    /// i and i + half.
    Halves,
}

/// How queries and keys are rotated by their position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rope {
    /// Which elements are rotated together.
    pub pairing: Pairing,
    /// Whether a file may rotate a part of each head only (`rope.dimension_count`).
    pub partial: bool,
    /// Every block whose number is a multiple of this, counted from 1, rotates nothing.
    pub none_every: Option<u32>,
}

/// Windows in some blocks and not in others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Windows {
    /// Every block whose number is a multiple of this, counted from 1, sees all positions.
    pub open_every: u32,
    /// Whether a file must name a window.
    pub required: bool,
    /// Base of the rotation in blocks with a window, unless the file has `rope.freq_base_swa`; `None` is the base of the
    /// other blocks.
    pub base: Option<f64>,
    /// Whether positions are scaled in blocks with a window, too.
    pub scaled: bool,
}

/// The architecture called `name` in `general.architecture`.
pub fn named(name: &str) -> Option<&'static Architecture> {
    ALL.iter().find(|architecture| architecture.name == name)
}

/// Names of all architectures, or of those that `keep` keeps, for a message.
pub fn names(keep: impl Fn(&Architecture) -> bool) -> String {
    ALL.iter().filter(|one| keep(one)).map(|one| one.name).collect::<Vec<_>>().join(", ")
}

impl Architecture {
    /// The tensor of `role`, if the architecture has one.
    pub fn tensor(&self, role: Role) -> Option<&'static Tensor> {
        [self.input, self.block, self.output].into_iter().flatten().find(|tensor| tensor.role == role)
    }

    /// Which of the tensors that not every model of the architecture has are in the file that `header` describes.
    pub fn variant(&self, header: &Header) -> Variant {
        let mut factors = self.input.iter().filter(|tensor| tensor.when == When::RopeFactors);
        let bias = self.tensor(Role::QueryBias);
        Variant {
            experts: header.spec.experts.is_some(),
            qkv_bias: bias.is_some_and(|bias| header.tensor(&bias.in_block(0)).is_some()),
            own_head: !header.spec.tied_head,
            rope_factors: factors.any(|tensor| header.tensor(tensor.name).is_some()),
        }
    }

    /// Blocks with a sliding window among `layers`, in a model whose file names one.
    pub fn windowed_layers(&self, layers: u32) -> u32 {
        self.windows.map_or(layers, |windows| layers - layers / windows.open_every)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_table_has_each_name_and_each_role_once() {
        for architecture in ALL {
            let tensors =
                || [architecture.input, architecture.block, architecture.output].into_iter().flatten();
            let names: HashSet<&str> = tensors().map(|tensor| tensor.name).collect();
            let roles: HashSet<Role> = tensors().map(|tensor| tensor.role).collect();
            assert_eq!(
                (names.len(), roles.len()),
                (tensors().count(), tensors().count()),
                "{}",
                architecture.name
            );
        }
    }

    #[test]
    fn every_variant_of_an_architecture_has_one_of_each_part_that_a_block_needs() {
        for architecture in ALL {
            for experts in [false, true] {
                match (architecture.experts, experts) {
                    (Presence::Never, true) | (Presence::Always, false) => continue,
                    _ => {}
                }
                let variant = Variant { experts, qkv_bias: false, own_head: false, rope_factors: false };
                let count = |roles: &[Role]| {
                    let there = architecture.block.iter().filter(|tensor| tensor.when.holds(variant));
                    there.filter(|tensor| roles.contains(&tensor.role)).count()
                };
                for roles in [
                    &[Role::AttentionNorm][..],
                    &[Role::Query, Role::QueryKeyValue],
                    &[Role::Key, Role::QueryKeyValue],
                    &[Role::Value, Role::QueryKeyValue],
                    &[Role::AttentionOutput],
                    &[Role::FeedNorm],
                    &[Role::Gate, Role::GateUp, Role::ExpertGate],
                    &[Role::Up, Role::GateUp, Role::ExpertUp],
                    &[Role::Down, Role::ExpertDown],
                ] {
                    assert_eq!(count(roles), 1, "{} {experts} {roles:?}", architecture.name);
                }
                assert_eq!(count(&[Role::Router]), usize::from(experts), "{}", architecture.name);
            }
        }
    }

    #[test]
    fn shapes_follow_the_sizes() {
        let sizes = Sizes {
            width: 3072,
            vocabulary: 32_064,
            heads: 24,
            kv_heads: 8,
            head: 128,
            feed_forward: 8192,
            experts: 0,
            expert: 0,
            rotated: 96,
        };
        let shape = |role| named("phi3").unwrap().tensor(role).unwrap().shape(&sizes);
        assert_eq!(shape(Role::QueryKeyValue), [(24 + 2 * 8) * 128, 3072]);
        assert_eq!(shape(Role::GateUp), [2 * 8192, 3072]);
        assert_eq!(shape(Role::LongFactors), [48]);
        assert_eq!(named("gpt-oss").unwrap().windowed_layers(3), 2);
        assert_eq!(named("gemma3").unwrap().windowed_layers(26), 22);
        assert_eq!(named("llama").unwrap().windowed_layers(26), 26);
    }
}
