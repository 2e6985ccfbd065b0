//! `config.json`: the shape, in the terms of Hugging Face's transformers (`PretrainedConfig` and its kin).
//!
//! Defaults are those of the model's own configuration class there; a field without one must be present.
//! What would change the computation and is not understood here is refused by name.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::{Error, ModelSpec, TensorInfo};

/// A `config.json` understood.
#[derive(Debug)]
pub(super) struct Config {
    pub name: Option<String>,
    pub spec: ModelSpec,
    pub has_rope_factors: bool,
}

#[derive(Deserialize)]
struct Raw {
    model_type: String,
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
    hidden_size: Option<u32>,
    intermediate_size: Option<u32>,
    num_hidden_layers: Option<u32>,
    num_attention_heads: Option<u32>,
    num_key_value_heads: Option<u32>,
    head_dim: Option<u32>,
    vocab_size: Option<u32>,
    max_position_embeddings: Option<u32>,
    tie_word_embeddings: Option<bool>,
    rope_theta: Option<f64>,
    rms_norm_eps: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
    quantization_config: Option<serde_json::Value>,
    hidden_act: Option<String>,
    hidden_activation: Option<String>,
    sliding_window: Option<u32>,
    use_sliding_window: Option<bool>,
    sliding_window_pattern: Option<u32>,
}

#[derive(Deserialize)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

/// A family: its name there, its name in GGUF, and what it takes when the file does not say.
struct Family {
    model_type: &'static str,
    architecture: &'static str,
    tied_head: bool,
    rope_theta: f64,
    norm_epsilon: f64,
    activation: &'static str,
    head_size: Option<u32>,
}

const FAMILIES: &[Family] = &[
    family("llama", "llama"),
    family("mistral", "llama"),
    family("qwen2", "qwen2"),
    Family { head_size: Some(128), ..family("qwen3", "qwen3") },
    Family { norm_epsilon: 1e-5, ..family("phi3", "phi3") },
    Family {
        tied_head: true,
        rope_theta: 1e6,
        activation: "gelu_pytorch_tanh",
        head_size: Some(256),
        ..family("gemma3_text", "gemma3")
    },
];

const fn family(model_type: &'static str, architecture: &'static str) -> Family {
    Family {
        model_type,
        architecture,
        tied_head: false,
        rope_theta: 10_000.0,
        norm_epsilon: 1e-6,
        activation: "silu",
        head_size: None,
    }
}

/// Largest `config.json` that is read; real ones have some kilobytes.
const MAX_BYTES: u64 = 4 << 20;

/// Reads and judges a `config.json`.
pub(super) fn read(path: &Path) -> Result<Config, Error> {
    let raw: Raw = serde_json::from_str(&text(path)?)
        .map_err(|error| Error::unusable(path, format!("it is not a model's config.json: {error}")))?;
    let family = FAMILIES.iter().find(|family| family.model_type == raw.model_type).ok_or_else(|| {
        let known: Vec<_> = FAMILIES.iter().map(|family| family.model_type).collect();
        Error::unusable(
            path,
            format!(
                "model_type `{}` is not supported; supported: {}",
                raw.model_type.escape_debug(),
                known.join(", ")
            ),
        )
    })?;
    if let Some(method) = &raw.quantization_config {
        let method = method.get("quant_method").and_then(|name| name.as_str()).unwrap_or("unnamed");
        return Err(Error::unusable(
            path,
            format!(
                "the weights are quantized by `{}`, which is not supported in safetensors; use the unquantized model, or a GGUF file",
                method.escape_debug()
            ),
        ));
    }
    if let Some(activation) = raw.hidden_activation.as_ref().or(raw.hidden_act.as_ref())
        && activation != family.activation
    {
        return Err(Error::unusable(
            path,
            format!(
                "the activation `{}` is not the `{}` of {}",
                activation.escape_debug(),
                family.activation,
                family.model_type
            ),
        ));
    }
    let has_rope_factors = scaled_rope(path, &raw)?;
    let spec = raw.spec(path, family)?;
    let name = raw.name.filter(|name| !name.is_empty() && !Path::new(name).is_absolute());
    Ok(Config { name, spec, has_rope_factors })
}

fn text(path: &Path) -> Result<String, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let length = match fs::metadata(path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing {
                what: path.display().to_string(),
                reason: "a safetensors model is a folder with config.json next to the weights; check the folder, or give the path of a .gguf file"
                    .into(),
            });
        }
        Err(error) => return Err(io(error)),
    };
    if length > MAX_BYTES {
        return Err(Error::unusable(path, format!("{length} bytes is too long for a config.json")));
    }
    fs::read_to_string(path).map_err(io)
}

/// Whether the rotary frequencies are scaled as in Llama 3.1; any other scaling is refused.
fn scaled_rope(path: &Path, raw: &Raw) -> Result<bool, Error> {
    let given = raw.rope_scaling.iter().chain(&raw.rope_parameters);
    match given.filter_map(|rope| rope.rope_type.as_deref()).find(|kind| *kind != "default") {
        None => Ok(false),
        Some("llama3") => Ok(true),
        Some(other) => Err(Error::unusable(
            path,
            format!(
                "rope_scaling of type `{}` is not supported, and without it the model's output would differ; supported: `default`, `llama3`",
                other.escape_debug()
            ),
        )),
    }
}

impl Raw {
    fn spec(&self, path: &Path, family: &Family) -> Result<ModelSpec, Error> {
        let field = |name: &str, value: Option<u32>| match value {
            Some(0) => Err(Error::unusable(path, format!("{name} is 0; the file is damaged"))),
            Some(value) => Ok(value),
            None => Err(Error::unusable(
                path,
                format!("{name} is missing; the file is not for {}", family.model_type),
            )),
        };
        let number = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(value);
            }
            Err(Error::unusable(path, format!("{name} is {value}, not a positive number")))
        };
        let width = field("hidden_size", self.hidden_size)?;
        let heads = field("num_attention_heads", self.num_attention_heads)?;
        let kv_heads = field("num_key_value_heads", self.num_key_value_heads.or(Some(heads)))?;
        let head_size = field("head_dim", self.head_dim.or(family.head_size).or(Some(width / heads)))?;
        if heads % kv_heads != 0 {
            let reason =
                format!("{heads} attention heads cannot share {kv_heads} key and value heads evenly");
            return Err(Error::unusable(path, reason));
        }
        let rope_theta = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta).or(self.rope_theta);
        let layers = field("num_hidden_layers", self.num_hidden_layers)?;
        // For the other families the window is where the model ends.
        let window = self.sliding_window.filter(|size| family.architecture == "gemma3" && *size > 0);
        Ok(ModelSpec {
            architecture: family.architecture.to_owned(),
            layers,
            width,
            feed_forward: field("intermediate_size", self.intermediate_size)?,
            // Architectures with experts are not read from folders.
            experts: None,
            heads,
            kv_heads,
            head_size,
            vocabulary: field("vocab_size", self.vocab_size)?,
            context_length: self
                .window(family)
                .min(field("max_position_embeddings", self.max_position_embeddings)?),
            window,
            windowed_layers: window
                .map_or(0, |_| layers - layers / self.sliding_window_pattern.unwrap_or(6).max(1)),
            tied_head: self.tie_word_embeddings.unwrap_or(family.tied_head),
            rope_theta: number("rope_theta", rope_theta.unwrap_or(family.rope_theta))?,
            norm_epsilon: number("rms_norm_eps", self.rms_norm_eps.unwrap_or(family.norm_epsilon))?,
        })
    }
}

impl Raw {
    /// Positions up to which a sliding window changes nothing. No engine here computes it but Gemma's, so
    /// for the others the window is where the model ends.
    fn window(&self, family: &Family) -> u32 {
        let on = family.architecture != "gemma3" && self.use_sliding_window.unwrap_or(true);
        self.sliding_window.filter(|size| on && *size > 0).unwrap_or(u32::MAX)
    }
}

impl Config {
    /// Whether the weights in the folder are of the shape described.
    pub(super) fn check(&self, dir: &Path, tensors: &[TensorInfo]) -> Result<(), Error> {
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        let (vocabulary, width) = (u64::from(self.spec.vocabulary), u64::from(self.spec.width));
        let head = (!self.spec.tied_head).then_some("lm_head.weight");
        for name in ["model.embed_tokens.weight"].into_iter().chain(head) {
            let tensor = find(name).ok_or_else(|| {
                Error::unusable(
                    dir,
                    format!("tensor `{name}` is missing, which the model in config.json must have"),
                )
            })?;
            if tensor.shape != [vocabulary, width] {
                return Err(Error::unusable(
                    dir,
                    format!(
                        "`{name}` has shape {:?} and config.json says [{vocabulary}, {width}]: weights and config.json belong to different models",
                        tensor.shape
                    ),
                ));
            }
        }
        if let Some(bias) = tensors.iter().find(|tensor| tensor.name.rsplit('.').next() == Some("bias"))
            && self.spec.architecture == "llama"
        {
            let reason = format!(
                "`{}` is a bias, which llama does not have: ignoring it would change the output",
                bias.name
            );
            return Err(Error::unusable(dir, reason));
        }
        let last = format!("model.layers.{}.", self.spec.layers - 1);
        if !tensors.iter().any(|tensor| tensor.name.starts_with(&last)) {
            let reason =
                format!("no tensor belongs to layer {} of {}", self.spec.layers - 1, self.spec.layers);
            return Err(Error::unusable(dir, reason));
        }
        Ok(())
    }
}
