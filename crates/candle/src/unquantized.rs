//! Unquantized networks from a safetensors folder.
//!
//! On a processor all is computed in f32: candle 0.11.1 has no bf16 product there, and its f16 product
//! unpacks to f32 on the way. On a GPU the stored type is kept where candle computes the rotary angles in f32 (Llama, Mistral, Qwen3); Qwen2,
//! Gemma 3 and Phi-3 compute them in the type of the weights, and bf16 cannot count beyond 256, so
//! these are computed in f32 there too.

use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use candle_core::{DType, Result, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{gemma3, llama, mistral, phi3, qwen2, qwen3};
use serde_json::Value;

use crate::base::sys::Interrupt;
use crate::model::{Header, ModelSpec};

use super::facts::Facts;
use super::family::{Family, family_of, plain_heads};
use super::folder::{Failure, Folder};
use super::network::{Loaded, Network};
use super::{Options, first_line, not_loaded};
use crate::engine::Error;

/// Reads the folder into candle's network for it.
pub(super) fn load(
    path: &Path,
    header: &Header,
    options: &Options,
    device: &candle_core::Device,
    interrupt: &Interrupt,
) -> std::result::Result<Loaded, Error> {
    let family = family_of(header)?;
    let config = path.join("config.json");
    let text = fs::read_to_string(&config).map_err(|e| not_loaded(format!("{}: {e}", config.display())))?;
    let extra =
        Extra(serde_json::from_str(&text).map_err(|e| not_loaded(format!("{}: {e}", config.display())))?);
    let mut failure = Failure::default();
    let built = Folder::open(path, interrupt).and_then(|folder| {
        failure = folder.failure();
        let in_f32 = device.is_cpu() || matches!(family, Family::Qwen2 | Family::Gemma3 | Family::Phi3);
        let dtype = if in_f32 { DType::F32 } else { folder.dtype() };
        let mut facts = facts(family, header, &extra, options, device.is_cpu());
        facts.kv_type = match dtype {
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            _ => "f32",
        };
        let weights = VarBuilder::from_backend(Box::new(folder), dtype, device.clone());
        let network = build(family, header, &extra, &facts, weights)?;
        Ok(Loaded { network, facts, caveats: caveats(family, header, &extra) })
    });
    if interrupt.requested() {
        return Err(Error::Interrupted);
    }
    let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
    match failure {
        Some(failure) => Err(not_loaded(format!("{}: {failure}", path.display()))),
        None => built.map_err(|error| not_loaded(first_line(&error))),
    }
}

/// Fields of `config.json` beyond the shape.
struct Extra(Value);

impl Extra {
    fn whole(&self, name: &str) -> Option<usize> {
        self.0.get(name)?.as_u64().and_then(|value| usize::try_from(value).ok())
    }

    fn real(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    fn flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Gemma's window, from which on candle's masks are one position off.
    fn window(&self) -> u32 {
        self.whole("sliding_window").and_then(|window| u32::try_from(window).ok()).unwrap_or(4096)
    }

    /// Llama 3.1's scaling of the rotary angles, under its older or its newer name.
    fn rope_scaling(&self) -> Option<llama::Llama3RopeConfig> {
        ["rope_scaling", "rope_parameters"]
            .into_iter()
            .filter_map(|name| self.0.get(name))
            .find_map(|scaling| serde_json::from_value(scaling.clone()).ok())
    }
}

fn facts(family: Family, header: &Header, extra: &Extra, options: &Options, on_cpu: bool) -> Facts {
    let mut facts = Facts::of(family, header, on_cpu);
    if family == Family::Gemma3 {
        let window = extra.window();
        facts.at_most(
            window,
            format!("the model has a sliding window of {window} positions, and beyond it candle's masks are off by one"),
        );
        // The cache is taken whole at the first step.
        if let Some(positions) = options.max_positions {
            facts.at_most(positions.max(1), format!("the model was loaded for {positions} positions"));
        }
    }
    facts
}

fn caveats(family: Family, header: &Header, extra: &Extra) -> Vec<String> {
    let mut caveats = Vec::new();
    let head_size = header.spec.head_size as usize;
    if family == Family::Gemma3
        && let Some(scalar) = extra.whole("query_pre_attn_scalar")
        && scalar != head_size
    {
        caveats.push(format!(
            "candle scales attention by the head size {head_size}, but the model was trained with {scalar}"
        ));
    }
    caveats
}

fn build(
    family: Family,
    header: &Header,
    extra: &Extra,
    facts: &Facts,
    weights: VarBuilder<'_>,
) -> Result<Box<dyn Network>> {
    let spec = &header.spec;
    Ok(match family {
        Family::Llama if plain_heads(spec) => {
            let config =
                llama_config(spec, if header.has_rope_factors { extra.rope_scaling() } else { None });
            if header.has_rope_factors && config.rope_scaling.is_none() {
                candle_core::bail!(
                    "config.json scales the rotary angles in a way that candle does not support"
                );
            }
            let empty = llama::Cache::new(true, weights.dtype(), &config, weights.device())?;
            Box::new(LlamaNetwork {
                cache: empty.clone(),
                empty,
                model: llama::Llama::load(weights, &config)?,
            })
        }
        Family::Llama => Box::new(mistral::Model::new(&mistral_config(spec), weights)?),
        Family::Qwen2 => Box::new(qwen2::ModelForCausalLM::new(&qwen2_config(spec), weights)?),
        Family::Qwen3 => Box::new(qwen3::ModelForCausalLM::new(&qwen3_config(spec, extra), weights)?),
        Family::Gemma3 => Box::new(gemma3::Model::new(false, &gemma3_config(spec, extra, facts), weights)?),
        Family::Phi3 => Box::new(phi3::Model::new(&phi3_config(spec, extra), weights)?),
    })
}

fn llama_config(spec: &ModelSpec, rope_scaling: Option<llama::Llama3RopeConfig>) -> llama::Config {
    llama::Config {
        hidden_size: spec.width as usize,
        intermediate_size: spec.feed_forward as usize,
        vocab_size: spec.vocabulary as usize,
        num_hidden_layers: spec.layers as usize,
        num_attention_heads: spec.heads as usize,
        num_key_value_heads: spec.kv_heads as usize,
        use_flash_attn: false,
        rms_norm_eps: spec.norm_epsilon,
        rope_theta: single(spec.rope_theta),
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling,
        max_position_embeddings: spec.context_length as usize,
        tie_word_embeddings: spec.tied_head,
    }
}

fn mistral_config(spec: &ModelSpec) -> mistral::Config {
    mistral::Config {
        vocab_size: spec.vocabulary as usize,
        hidden_size: spec.width as usize,
        intermediate_size: spec.feed_forward as usize,
        num_hidden_layers: spec.layers as usize,
        num_attention_heads: spec.heads as usize,
        head_dim: Some(spec.head_size as usize),
        num_key_value_heads: spec.kv_heads as usize,
        hidden_act: Activation::Silu,
        max_position_embeddings: spec.context_length as usize,
        rms_norm_eps: spec.norm_epsilon,
        rope_theta: spec.rope_theta,
        // The header's context length ends where a window would begin to matter.
        sliding_window: None,
        use_flash_attn: false,
    }
}

fn qwen2_config(spec: &ModelSpec) -> qwen2::Config {
    qwen2::Config {
        vocab_size: spec.vocabulary as usize,
        hidden_size: spec.width as usize,
        intermediate_size: spec.feed_forward as usize,
        num_hidden_layers: spec.layers as usize,
        num_attention_heads: spec.heads as usize,
        num_key_value_heads: spec.kv_heads as usize,
        max_position_embeddings: spec.context_length as usize,
        // Applied to every layer by candle, whatever the two fields below say.
        sliding_window: spec.context_length as usize,
        max_window_layers: 0,
        tie_word_embeddings: spec.tied_head,
        rope_theta: spec.rope_theta,
        rms_norm_eps: spec.norm_epsilon,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

fn qwen3_config(spec: &ModelSpec, extra: &Extra) -> qwen3::Config {
    qwen3::Config {
        vocab_size: spec.vocabulary as usize,
        hidden_size: spec.width as usize,
        intermediate_size: spec.feed_forward as usize,
        num_hidden_layers: spec.layers as usize,
        num_attention_heads: spec.heads as usize,
        head_dim: spec.head_size as usize,
        attention_bias: extra.flag("attention_bias"),
        num_key_value_heads: spec.kv_heads as usize,
        max_position_embeddings: spec.context_length as usize,
        sliding_window: None,
        max_window_layers: 0,
        tie_word_embeddings: spec.tied_head,
        rope_theta: spec.rope_theta,
        rms_norm_eps: spec.norm_epsilon,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

fn gemma3_config(spec: &ModelSpec, extra: &Extra, facts: &Facts) -> gemma3::Config {
    gemma3::Config {
        attention_bias: extra.flag("attention_bias"),
        head_dim: spec.head_size as usize,
        hidden_activation: Activation::GeluPytorchTanh,
        hidden_size: spec.width as usize,
        intermediate_size: spec.feed_forward as usize,
        num_attention_heads: spec.heads as usize,
        num_hidden_layers: spec.layers as usize,
        num_key_value_heads: spec.kv_heads as usize,
        rms_norm_eps: spec.norm_epsilon,
        rope_theta: spec.rope_theta,
        rope_local_base_freq: extra.real("rope_local_base_freq").unwrap_or(10_000.0),
        vocab_size: spec.vocabulary as usize,
        final_logit_softcapping: extra.real("final_logit_softcapping"),
        attn_logit_softcapping: extra.real("attn_logit_softcapping"),
        query_pre_attn_scalar: spec.head_size as usize,
        sliding_window: extra.window() as usize,
        sliding_window_pattern: extra.whole("sliding_window_pattern").unwrap_or(6),
        // Rotary tables and caches of every block are made for all of these.
        max_position_embeddings: facts.max_context as usize,
    }
}

fn phi3_config(spec: &ModelSpec, extra: &Extra) -> phi3::Config {
    phi3::Config {
        vocab_size: spec.vocabulary as usize,
        hidden_act: Activation::Silu,
        hidden_size: spec.width as usize,
        intermediate_size: spec.feed_forward as usize,
        num_hidden_layers: spec.layers as usize,
        num_attention_heads: spec.heads as usize,
        num_key_value_heads: spec.kv_heads as usize,
        rms_norm_eps: spec.norm_epsilon,
        rope_theta: spec.rope_theta,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: spec.context_length as usize,
        original_max_position_embeddings: None,
        partial_rotary_factor: extra.real("partial_rotary_factor"),
        tie_word_embeddings: spec.tied_head,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "candle takes the base of rotation in single precision")]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}

/// candle's Llama keeps its cache apart from its weights.
#[derive(Clone)]
struct LlamaNetwork {
    model: llama::Llama,
    cache: llama::Cache,
    empty: llama::Cache,
}

impl Network for LlamaNetwork {
    fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor> {
        self.model.forward(tokens, position, &mut self.cache)
    }

    fn reset(&mut self) {
        self.cache = self.empty.clone();
    }

    fn fork(&self) -> Option<Box<dyn Network>> {
        Some(Box::new(self.clone()))
    }
}

/// The others give `[batch, 1, vocabulary]` and have to be told to forget.
macro_rules! network {
    ($($type:ty),+) => { $(
        impl Network for $type {
            fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor> {
                <$type>::forward(self, tokens, position)?.squeeze(1)
            }

            fn reset(&mut self) {
                self.clear_kv_cache();
            }

            fn fork(&self) -> Option<Box<dyn Network>> {
                Some(Box::new(self.clone()))
            }
        }
    )+ };
}

network!(mistral::Model, qwen2::ModelForCausalLM, qwen3::ModelForCausalLM, gemma3::Model, phi3::Model);
