//! The architectures, one row each. Tensors are listed in the order in which the synthetic models write them.

use super::tensor::Size::{
    Expert, Experts, FeedForward, GateUp, Head, Heads, Keys, Pairs, Queries, QueriesKeysValues, Vocabulary,
    Width,
};
use super::tensor::{Role, Tensor, When};
use super::{Activation, Architecture, Pairing, Presence, Rope, Windows};

/// Every architecture that is known.
pub static ALL: &[Architecture] = &[LLAMA, QWEN2, QWEN3, QWEN3MOE, GEMMA3, PHI3, GPT_OSS, SMOLLM3];

const EMBEDDING: Tensor = Tensor::new("token_embd.weight", Role::Embedding, &[Vocabulary, Width]);
const ROPE_FACTORS: Tensor =
    Tensor::new("rope_freqs.weight", Role::RopeFactors, &[Pairs]).when(When::RopeFactors);
const LONG_FACTORS: Tensor =
    Tensor::new("rope_factors_long.weight", Role::LongFactors, &[Pairs]).when(When::RopeFactors);
const SHORT_FACTORS: Tensor =
    Tensor::new("rope_factors_short.weight", Role::ShortFactors, &[Pairs]).when(When::RopeFactors);
const OUTPUT_NORM: Tensor = Tensor::new("output_norm.weight", Role::OutputNorm, &[Width]);
const OUTPUT: Tensor = Tensor::new("output.weight", Role::Output, &[Vocabulary, Width]).when(When::OwnHead);

const ATTENTION_NORM: Tensor = Tensor::new("attn_norm.weight", Role::AttentionNorm, &[Width]);
const QUERY: Tensor = Tensor::new("attn_q.weight", Role::Query, &[Queries, Width]);
const KEY: Tensor = Tensor::new("attn_k.weight", Role::Key, &[Keys, Width]);
const VALUE: Tensor = Tensor::new("attn_v.weight", Role::Value, &[Keys, Width]);
const QUERY_KEY_VALUE: Tensor =
    Tensor::new("attn_qkv.weight", Role::QueryKeyValue, &[QueriesKeysValues, Width]);
const QUERY_BIAS: Tensor = Tensor::new("attn_q.bias", Role::QueryBias, &[Queries]).when(When::QkvBias);
const KEY_BIAS: Tensor = Tensor::new("attn_k.bias", Role::KeyBias, &[Keys]).when(When::QkvBias);
const VALUE_BIAS: Tensor = Tensor::new("attn_v.bias", Role::ValueBias, &[Keys]).when(When::QkvBias);
const QUERY_NORM: Tensor = Tensor::new("attn_q_norm.weight", Role::QueryNorm, &[Head]);
const KEY_NORM: Tensor = Tensor::new("attn_k_norm.weight", Role::KeyNorm, &[Head]);
const ATTENTION_OUTPUT: Tensor = Tensor::new("attn_output.weight", Role::AttentionOutput, &[Width, Queries]);
const ATTENTION_OUTPUT_BIAS: Tensor = Tensor::new("attn_output.bias", Role::AttentionOutputBias, &[Width]);
const SINKS: Tensor = Tensor::new("attn_sinks.weight", Role::Sinks, &[Heads]);
const POST_ATTENTION_NORM: Tensor =
    Tensor::new("post_attention_norm.weight", Role::PostAttentionNorm, &[Width]);

const FEED_NORM: Tensor = Tensor::new("ffn_norm.weight", Role::FeedNorm, &[Width]);
const GATE: Tensor = Tensor::new("ffn_gate.weight", Role::Gate, &[FeedForward, Width]).when(When::Dense);
const UP: Tensor = Tensor::new("ffn_up.weight", Role::Up, &[FeedForward, Width]).when(When::Dense);
const GATE_UP: Tensor = Tensor::new("ffn_up.weight", Role::GateUp, &[GateUp, Width]).when(When::Dense);
const DOWN: Tensor = Tensor::new("ffn_down.weight", Role::Down, &[Width, FeedForward]).when(When::Dense);
const POST_FEED_NORM: Tensor = Tensor::new("post_ffw_norm.weight", Role::PostFeedNorm, &[Width]);

const ROUTER: Tensor =
    Tensor::new("ffn_gate_inp.weight", Role::Router, &[Experts, Width]).when(When::Experts);
const EXPERT_GATE: Tensor =
    Tensor::new("ffn_gate_exps.weight", Role::ExpertGate, &[Experts, Expert, Width]).when(When::Experts);
const EXPERT_UP: Tensor =
    Tensor::new("ffn_up_exps.weight", Role::ExpertUp, &[Experts, Expert, Width]).when(When::Experts);
const EXPERT_DOWN: Tensor =
    Tensor::new("ffn_down_exps.weight", Role::ExpertDown, &[Experts, Width, Expert]).when(When::Experts);
const ROUTER_BIAS: Tensor = Tensor::new("ffn_gate_inp.bias", Role::RouterBias, &[Experts]);
const EXPERT_GATE_BIAS: Tensor = Tensor::new("ffn_gate_exps.bias", Role::ExpertGateBias, &[Experts, Expert]);
const EXPERT_UP_BIAS: Tensor = Tensor::new("ffn_up_exps.bias", Role::ExpertUpBias, &[Experts, Expert]);
const EXPERT_DOWN_BIAS: Tensor = Tensor::new("ffn_down_exps.bias", Role::ExpertDownBias, &[Experts, Width]);

/// Queries, keys and values, with biases where a model has them.
const PROJECTIONS: [Tensor; 6] = [QUERY, QUERY_BIAS, KEY, KEY_BIAS, VALUE, VALUE_BIAS];
/// The same with biases in every model.
const BIASED_PROJECTIONS: [Tensor; 6] = [
    QUERY,
    QUERY_BIAS.when(When::Always),
    KEY,
    KEY_BIAS.when(When::Always),
    VALUE,
    VALUE_BIAS.when(When::Always),
];
const HEAD_NORMS: [Tensor; 2] = [QUERY_NORM, KEY_NORM];
const DENSE: [Tensor; 3] = [GATE, UP, DOWN];
const MIXTURE: [Tensor; 4] = [ROUTER, EXPERT_GATE, EXPERT_UP, EXPERT_DOWN];

/// A block of groups of tensors, in order.
macro_rules! block {
    ($($group:expr),+ $(,)?) => {{
        const GROUPS: &[&[Tensor]] = &[$(&$group),+];
        const BLOCK: [Tensor; length(GROUPS)] = joined(GROUPS);
        &BLOCK
    }};
}

const fn length(groups: &[&[Tensor]]) -> usize {
    let (mut sum, mut group) = (0, 0);
    while group < groups.len() {
        sum += groups[group].len();
        group += 1;
    }
    sum
}

const fn joined<const N: usize>(groups: &[&[Tensor]]) -> [Tensor; N] {
    let mut all = [EMBEDDING; N];
    let (mut at, mut group) = (0, 0);
    while group < groups.len() {
        let mut tensor = 0;
        while tensor < groups[group].len() {
            all[at] = groups[group][tensor];
            (at, tensor) = (at + 1, tensor + 1);
        }
        group += 1;
    }
    all
}

/// Llama 2 and 3, SmolLM2, Mistral; with experts Mixtral.
const LLAMA: Architecture = Architecture {
    name: "llama",
    input: &[ROPE_FACTORS, EMBEDDING],
    block: block![[ATTENTION_NORM], PROJECTIONS, [ATTENTION_OUTPUT, FEED_NORM], MIXTURE, DENSE],
    output: &[OUTPUT_NORM, OUTPUT],
    experts: Presence::Optional,
    activation: Activation::Silu,
    rope: Rope { pairing: Pairing::Neighbours, partial: true, none_every: None },
    windows: None,
    scaled_embedding: false,
    wide_scores_at: None,
};

const QWEN2: Architecture = Architecture {
    name: "qwen2",
    input: &[EMBEDDING],
    block: block![[ATTENTION_NORM], BIASED_PROJECTIONS, [ATTENTION_OUTPUT, FEED_NORM], DENSE],
    experts: Presence::Never,
    rope: Rope { pairing: Pairing::Halves, partial: true, none_every: None },
    ..LLAMA
};

const QWEN3: Architecture = Architecture {
    name: "qwen3",
    block: block![[ATTENTION_NORM], PROJECTIONS, HEAD_NORMS, [ATTENTION_OUTPUT, FEED_NORM], DENSE],
    ..QWEN2
};

const QWEN3MOE: Architecture = Architecture {
    name: "qwen3moe",
    block: block![[ATTENTION_NORM], PROJECTIONS, HEAD_NORMS, [ATTENTION_OUTPUT, FEED_NORM], MIXTURE],
    experts: Presence::Always,
    ..QWEN3
};

const GEMMA3: Architecture = Architecture {
    name: "gemma3",
    block: block![
        [ATTENTION_NORM],
        PROJECTIONS,
        HEAD_NORMS,
        [ATTENTION_OUTPUT, POST_ATTENTION_NORM, FEED_NORM],
        DENSE,
        [POST_FEED_NORM],
    ],
    activation: Activation::GeluTanh,
    windows: Some(Windows { open_every: 6, required: false, base: Some(10_000.0), scaled: false }),
    scaled_embedding: true,
    // Gemma 3 27B: `query_pre_attn_scalar` is 168.
    wide_scores_at: Some(62),
    ..QWEN2
};

/// Phi-3, Phi-3.5 and Phi-4.
const PHI3: Architecture = Architecture {
    name: "phi3",
    input: &[LONG_FACTORS, SHORT_FACTORS, EMBEDDING],
    block: &[ATTENTION_NORM, QUERY_KEY_VALUE, ATTENTION_OUTPUT, FEED_NORM, GATE_UP, DOWN],
    ..QWEN2
};

const GPT_OSS: Architecture = Architecture {
    name: "gpt-oss",
    block: block![
        [ATTENTION_NORM],
        BIASED_PROJECTIONS,
        [ATTENTION_OUTPUT, ATTENTION_OUTPUT_BIAS, SINKS],
        [FEED_NORM.called("post_attention_norm.weight")],
        MIXTURE,
        [ROUTER_BIAS, EXPERT_GATE_BIAS, EXPERT_UP_BIAS, EXPERT_DOWN_BIAS],
    ],
    experts: Presence::Always,
    activation: Activation::ClampedSwiglu,
    rope: Rope { pairing: Pairing::Halves, partial: false, none_every: None },
    windows: Some(Windows { open_every: 2, required: true, base: None, scaled: true }),
    ..QWEN2
};

/// Llama with every fourth block without positions.
const SMOLLM3: Architecture = Architecture {
    name: "smollm3",
    input: &[EMBEDDING],
    block: block![[ATTENTION_NORM], PROJECTIONS, [ATTENTION_OUTPUT, FEED_NORM], DENSE],
    experts: Presence::Never,
    rope: Rope { pairing: Pairing::Neighbours, partial: false, none_every: Some(4) },
    ..LLAMA
};
