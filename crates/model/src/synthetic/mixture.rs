//! Which type each tensor of a quantized model has.
//!
//! A label such as `Q4_K_M` names a mixture: most tensors in one type, and more bits where they matter. The
//! rules are those that llama-quantize follows without an importance matrix, derived from llama.cpp b11434,
//! src/llama-quant.cpp, and the tests hold them against the program itself:
//! - vectors (norms, biases) stay single precision;
//! - the output head, or the embedding when it serves as the head, has `Q6_K`, in a `Q8_0` file `Q8_0`;
//! - with `Q4_K_M` and `Q5_K_M`, attention values and feed-forward down have `Q6_K` in the first and last
//!   eighth of the blocks and in every third between;
//! - with `Q4_K_S`, they have `Q5_K` in the first four blocks and in the first eighth;
//! - with `Q3_K_M`, they have `Q5_K` in the first two blocks and in the first sixteenth, else `Q4_K`; with `Q3_K_L` `Q5_K`
//!   everywhere; the attention output has one step more than the rest;
//! - with `Q2_K`, values have `Q4_K` where four heads share one, else `Q3_K`, as feed-forward down and the attention output;
//! - with `IQ4_NL` and `IQ4_XS`, values have `Q5_K` where four heads share one, and feed-forward down in the first eighth;
//! - in a model of eight experts a block ("8x7B"), attention keys and values have `Q8_0`, and with `Q4_K_M` and `Q4_K_S`
//!   the attention output `Q5_K`; a router keeps single precision in every mixture;
//! - in a model of 80 blocks with grouped heads ("70B"), values in `Q4_K` become `Q5_K`, being small there;
//! - with `MXFP4` (llama-quantize's `MXFP4_MOE`), experts have that type and all other matrices `Q8_0`;
//! - a row that is no multiple of 256 falls back from `Q2_K` and `Q3_K` to `Q4_0`, from `IQ4_XS` to `IQ4_NL`, from `Q4_K` to
//!   `Q5_0`, from `Q5_K` to `Q5_1` and from `Q6_K` to `Q8_0`, and one that is no multiple of 32 to half precision.

use crate::TensorType;
use crate::architecture::Role;
use crate::gguf::file_type_number;

/// Label and main type of every mixture that can be made.
const MIXTURES: &[(&str, TensorType)] = &[
    ("F32", TensorType::F32),
    ("F16", TensorType::F16),
    ("BF16", TensorType::BF16),
    ("Q8_0", TensorType::Q8_0),
    ("Q6_K", TensorType::Q6_K),
    ("Q5_K_M", TensorType::Q5_K),
    ("Q5_K_S", TensorType::Q5_K),
    ("Q5_1", TensorType::Q5_1),
    ("Q5_0", TensorType::Q5_0),
    ("Q4_K_M", TensorType::Q4_K),
    ("Q4_K_S", TensorType::Q4_K),
    ("Q4_1", TensorType::Q4_1),
    ("Q4_0", TensorType::Q4_0),
    ("IQ4_NL", TensorType::IQ4_NL),
    ("IQ4_XS", TensorType::IQ4_XS),
    ("Q3_K_L", TensorType::Q3_K),
    ("Q3_K_M", TensorType::Q3_K),
    ("Q3_K_S", TensorType::Q3_K),
    ("Q2_K", TensorType::Q2_K),
    ("MXFP4", TensorType::MXFP4),
];

/// Other names for a mixture, as llama-quantize has them.
const ALIASES: &[(&str, &str)] =
    &[("Q3_K", "Q3_K_M"), ("Q4_K", "Q4_K_M"), ("Q5_K", "Q5_K_M"), ("MXFP4_MOE", "MXFP4")];

/// A mixture of tensor types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mixture {
    label: &'static str,
    main: TensorType,
}

/// What of the whole model decides a tensor's type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    /// Number of blocks.
    pub layers: u32,
    /// Whether the embedding is the output head too.
    pub tied_head: bool,
    /// Experts of a block; none in a dense model.
    pub experts: u32,
    /// Whether llama.cpp counts the model as "70B".
    pub seventy_billion: bool,
    /// Whether at least four heads share a key and value head.
    pub four_grouped: bool,
}

impl Mixture {
    /// The mixture called `label`, in any case.
    ///
    /// # Errors
    /// A sentence with the nearest label and all that are known.
    pub fn named(label: &str) -> Result<Self, String> {
        let upper = label.to_ascii_uppercase();
        let upper =
            ALIASES.iter().find(|(alias, _)| *alias == upper).map_or(upper.as_str(), |(_, label)| *label);
        if let Some((label, main)) = MIXTURES.iter().find(|(known, _)| *known == upper) {
            return Ok(Self { label, main: *main });
        }
        let likeness = |known: &str| strsim::jaro_winkler(known, upper);
        // Of equals the first listed is taken: medium before small.
        let nearest = MIXTURES.iter().rev().map(|(known, _)| *known);
        let nearest =
            nearest.max_by(|one, other| likeness(one).total_cmp(&likeness(other))).unwrap_or_default();
        let all: Vec<String> = MIXTURES.iter().map(|(known, _)| known.to_ascii_lowercase()).collect();
        Err(format!(
            "`{}` is not a format of synthetic weights; did you mean `{}`? Supported: {}",
            label.escape_debug(),
            nearest.to_ascii_lowercase(),
            all.join(", ")
        ))
    }

    /// All labels, as the field writes them.
    pub fn labels() -> impl Iterator<Item = &'static str> {
        MIXTURES.iter().map(|(label, _)| *label)
    }

    /// Whether it is one for mixtures of experts alone.
    pub(super) fn is_for_experts(self) -> bool {
        self.main == TensorType::MXFP4
    }

    /// The label: `Q4_K_M`.
    pub fn label(self) -> &'static str {
        self.label
    }

    /// The number for `general.file_type`.
    pub(super) fn file_type(self) -> u32 {
        // Every label of MIXTURES has a number; a test says so.
        file_type_number(self.label).unwrap_or(0)
    }

    /// The type of the matrix of `role` in block `layer` (0 outside of blocks), whose rows have `row` elements.
    pub(super) fn choose(self, role: Role, layer: u32, row: u64, whole: Whole) -> TensorType {
        if role == Role::Router {
            return TensorType::F32;
        }
        if matches!(self.main, TensorType::F32 | TensorType::F16 | TensorType::BF16) {
            return self.main;
        }
        if self.main == TensorType::MXFP4 {
            let expert = matches!(role, Role::ExpertGate | Role::ExpertUp | Role::ExpertDown);
            return fall_back(if expert { self.main } else { TensorType::Q8_0 }, row);
        }
        let eighth = whole.layers / 8;
        let more_bits = layer < eighth
            || u64::from(layer) >= 7 * u64::from(whole.layers) / 8
            || (layer.wrapping_sub(eighth)) % 3 == 2;
        let eight_experts = whole.experts == 8;
        let medium = matches!(self.label, "Q4_K_M" | "Q5_K_M");
        let wanted = match role {
            Role::Output => self.for_output(row),
            Role::Embedding if whole.tied_head => self.for_output(row),
            Role::Key | Role::Value | Role::QueryKeyValue if eight_experts => TensorType::Q8_0,
            Role::AttentionOutput => self.for_attention_output(eight_experts),
            Role::Value | Role::QueryKeyValue => {
                let wanted =
                    if medium && more_bits { TensorType::Q6_K } else { self.for_value(layer, whole) };
                let small = matches!(wanted, TensorType::Q3_K | TensorType::Q4_K);
                if whole.seventy_billion && small { TensorType::Q5_K } else { wanted }
            }
            Role::Down | Role::ExpertDown if medium && more_bits => TensorType::Q6_K,
            Role::Down | Role::ExpertDown => self.for_down(layer, whole.layers),
            _ => self.main,
        };
        fall_back(wanted, row)
    }

    fn for_attention_output(self, eight_experts: bool) -> TensorType {
        let few_bits = !matches!(self.label, "Q3_K_L")
            && matches!(
                self.main,
                TensorType::Q2_K
                    | TensorType::Q3_K
                    | TensorType::Q4_K
                    | TensorType::IQ4_NL
                    | TensorType::IQ4_XS
            );
        match self.label {
            _ if eight_experts => {
                if few_bits {
                    TensorType::Q5_K
                } else {
                    self.main
                }
            }
            "Q2_K" => TensorType::Q3_K,
            "Q3_K_M" => TensorType::Q4_K,
            "Q3_K_L" => TensorType::Q5_K,
            _ => self.main,
        }
    }

    fn for_value(self, layer: u32, whole: Whole) -> TensorType {
        match self.label {
            "Q2_K" if whole.four_grouped => TensorType::Q4_K,
            "Q2_K" => TensorType::Q3_K,
            "Q3_K_M" if layer >= 2 => TensorType::Q4_K,
            "Q3_K_M" | "Q3_K_L" => TensorType::Q5_K,
            "Q4_K_S" if layer < 4 => TensorType::Q5_K,
            "IQ4_NL" | "IQ4_XS" if whole.four_grouped => TensorType::Q5_K,
            _ => self.main,
        }
    }

    fn for_down(self, layer: u32, layers: u32) -> TensorType {
        match self.label {
            "Q2_K" => TensorType::Q3_K,
            "Q3_K_M" if layer >= layers / 16 => TensorType::Q4_K,
            "Q3_K_M" | "Q3_K_L" => TensorType::Q5_K,
            "Q4_K_S" | "IQ4_NL" | "IQ4_XS" if layer < layers / 8 => TensorType::Q5_K,
            _ => self.main,
        }
    }

    fn for_output(self, row: u64) -> TensorType {
        if self.main == TensorType::Q8_0 || !row.is_multiple_of(self.main.block_elements()) {
            TensorType::Q8_0
        } else {
            TensorType::Q6_K
        }
    }
}

/// The type for a row that `wanted` may not fit.
fn fall_back(wanted: TensorType, row: u64) -> TensorType {
    if row.is_multiple_of(wanted.block_elements()) {
        return wanted;
    }
    let smaller = match wanted {
        TensorType::Q2_K | TensorType::Q3_K => TensorType::Q4_0,
        TensorType::IQ4_XS => TensorType::IQ4_NL,
        TensorType::Q4_K => TensorType::Q5_0,
        TensorType::Q5_K => TensorType::Q5_1,
        TensorType::Q6_K => TensorType::Q8_0,
        other => other,
    };
    if row.is_multiple_of(smaller.block_elements()) { smaller } else { TensorType::F16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Whole =
        Whole { layers: 32, tied_head: false, experts: 0, seventy_billion: false, four_grouped: false };

    #[test]
    fn every_label_has_a_number_and_can_be_made() {
        for label in Mixture::labels() {
            let mixture = Mixture::named(&label.to_lowercase()).unwrap();
            assert_eq!(mixture.label(), label);
            assert_eq!(file_type_number(label), Some(mixture.file_type()));
            assert!(crate::quantize::can_make(mixture.main));
        }
        assert_eq!(Mixture::named("q4_k").unwrap().label(), "Q4_K_M");
        assert_eq!(Mixture::named("mxfp4_moe").unwrap().label(), "MXFP4");
    }

    #[test]
    fn an_unknown_label_gets_the_nearest_and_the_list() {
        for (label, nearest) in [("q4_km", "q4_k_m"), ("fp16", "f16"), ("q8", "q8_0"), ("Q5_K_L", "q5_k_m")] {
            let message = Mixture::named(label).unwrap_err();
            assert!(message.contains(&format!("did you mean `{nearest}`")), "{message}");
            assert!(message.contains("q8_0, q6_k"), "{message}");
        }
    }

    #[test]
    fn q4_k_m_of_32_blocks_has_six_bits_in_half_of_them() {
        let mixture = Mixture::named("q4_k_m").unwrap();
        let six = |layer: &u32| mixture.choose(Role::Down, *layer, 14_336, WHOLE) == TensorType::Q6_K;
        let blocks: Vec<u32> = (0..32).filter(six).collect();
        assert_eq!(blocks, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31]);
        assert_eq!(mixture.choose(Role::Output, 0, 4096, WHOLE), TensorType::Q6_K);
        assert_eq!(mixture.choose(Role::Embedding, 0, 4096, WHOLE), TensorType::Q4_K);
        assert_eq!(
            mixture.choose(Role::Embedding, 0, 4096, Whole { tied_head: true, ..WHOLE }),
            TensorType::Q6_K
        );
        let seventy = Whole { layers: 80, seventy_billion: true, ..WHOLE };
        assert_eq!(mixture.choose(Role::Value, 10, 8192, seventy), TensorType::Q5_K);
        assert_eq!(mixture.choose(Role::Query, 10, 8192, seventy), TensorType::Q4_K);
    }

    #[test]
    fn eight_experts_have_more_bits_in_attention_and_a_router_is_never_quantized() {
        let whole = Whole { experts: 8, ..WHOLE };
        let of = |label: &str, role, whole| Mixture::named(label).unwrap().choose(role, 5, 4096, whole);
        for role in [Role::Key, Role::Value] {
            assert_eq!(of("q4_0", role, whole), TensorType::Q8_0);
            assert_eq!(of("q4_0", role, Whole { experts: 128, ..WHOLE }), TensorType::Q4_0);
            assert_eq!(of("f16", role, whole), TensorType::F16);
        }
        assert_eq!(of("q4_k_s", Role::AttentionOutput, whole), TensorType::Q5_K);
        assert_eq!(of("q4_0", Role::AttentionOutput, whole), TensorType::Q4_0);
        assert_eq!(of("f16", Role::Router, whole), TensorType::F32);
    }

    #[test]
    fn rows_that_do_not_fit_fall_back() {
        // Width 576, as SmolLM2-135M has.
        for (label, role, expected) in [
            ("q4_k_m", Role::Query, TensorType::Q5_0),
            ("q5_k_s", Role::Query, TensorType::Q5_1),
            ("q6_k", Role::Query, TensorType::Q8_0),
            ("q4_0", Role::Output, TensorType::Q8_0),
            ("q4_0", Role::Query, TensorType::Q4_0),
            ("bf16", Role::Query, TensorType::BF16),
        ] {
            assert_eq!(Mixture::named(label).unwrap().choose(role, 5, 576, WHOLE), expected, "{label}");
        }
        let odd = Mixture::named("q4_0").unwrap().choose(Role::Query, 0, 100, WHOLE);
        assert_eq!(odd, TensorType::F16);
    }
}
