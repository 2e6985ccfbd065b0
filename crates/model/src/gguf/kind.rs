//! What a GGUF file without a language model is: adapters, projectors, statistics, vocabularies, other networks.
//!
//! Names it, by the key that says so, with the way out; a file that is a model passes, whether it can be run or not.
//! Keys and values: `gguf-py/gguf/constants.py` and the converters of llama.cpp (`general.type`, `adapter.*`,
//! `imatrix.*`, `controlvector.*`), city96's `ComfyUI-GGUF` for pictures.

use std::path::Path;

use super::value::{Metadata, Value};
use crate::{Error, TensorInfo};

/// Networks that turn a text into a vector or a score.
const ENCODERS: &[&str] = &[
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "jina-bert-v2",
    "jina-bert-v3",
    "modern-bert",
    "neo-bert",
    "eurobert",
    "gemma-embedding",
    "llama-embed",
    "t5encoder",
];

/// Networks that draw pictures, films or sound.
const PAINTERS: &[&str] = &[
    "flux",
    "sd1",
    "sd3",
    "sdxl",
    "aura",
    "ltxv",
    "hyvid",
    "wan",
    "hidream",
    "cosmos",
    "lumina2",
    "qwen_image",
    "z_image",
    "pig",
    "stable-diffusion",
];

/// Networks that make a text by taking noise away, not word by word.
const DIFFUSERS: &[&str] = &["dream", "llada", "llada-moe", "rnd1", "diffusion-gemma"];

/// Refuses a file that is no language model; `tensors` are known but for the shape of the network.
pub(super) fn refuse(metadata: &Metadata, tensors: &[TensorInfo], path: &Path) -> Result<(), Error> {
    match identify(metadata, tensors) {
        None => Ok(()),
        Some(Found { what, because, instead }) => {
            Err(Error::unusable(path, format!("this is {what} ({because}), not a language model; {instead}")))
        }
    }
}

/// Why a file without a tensor is no model.
pub(super) fn without_tensors(metadata: &Metadata, path: &Path) -> Error {
    if let Err(error) = refuse(metadata, &[], path) {
        return error;
    }
    let what = if metadata.get("tokenizer.ggml.tokens").is_some()
        || metadata.get("tokenizer.ggml.model").is_some()
    {
        "it is a vocabulary alone (tokenizer.ggml.tokens), not a model; give the model's own GGUF file"
    } else {
        "it is metadata alone, not a model; convert or fetch the model again"
    };
    Error::unusable(path, format!("the header lists no tensor: {what}"))
}

struct Found {
    what: String,
    because: String,
    instead: String,
}

fn identify(metadata: &Metadata, tensors: &[TensorInfo]) -> Option<Found> {
    let text = |key: &str| metadata.str(key);
    let architecture = text("general.architecture").unwrap_or_default();
    let kind = text("general.type").unwrap_or_default();
    let found = |what: &str, because: String, instead: &str| {
        Some(Found { what: what.to_owned(), because, instead: instead.to_owned() })
    };
    let by_type = || format!("general.type = {}", kind.escape_debug());
    let by_architecture = || format!("general.architecture = {}", architecture.escape_debug());

    let lora =
        tensors.iter().find(|tensor| tensor.name.ends_with(".lora_a") || tensor.name.ends_with(".lora_b"));
    if kind == "adapter" || text("adapter.type").is_some() || lora.is_some() {
        let what = match text("adapter.type") {
            Some("lora") | None => "a LoRA adapter".to_owned(),
            Some(other) => format!("an adapter of type {}", other.escape_debug()),
        };
        let because = match (kind, lora) {
            ("adapter", _) => by_type(),
            (_, Some(tensor)) => format!("it holds tensor `{}`", tensor.name),
            _ => "it has adapter.type".to_owned(),
        };
        let base = text("general.base_model.0.name").map_or_else(
            || {
                if architecture.is_empty() {
                    String::new()
                } else {
                    format!(", a {} model", architecture.escape_debug())
                }
            },
            |name| format!(", {}", name.escape_debug()),
        );
        let instead = format!("give the base model{base}, which runs as fast as with the adapter merged in");
        return Some(Found { what, because, instead });
    }
    if kind == "mmproj" || architecture == "clip" {
        let because = if kind == "mmproj" { by_type() } else { by_architecture() };
        let instead = "give the language model's own GGUF file, which is next to this one";
        return found(
            "a multimodal projector (mmproj), which turns images or audio into embeddings",
            because,
            instead,
        );
    }
    let imatrix = metadata.get("imatrix.chunk_count").or(metadata.get("imatrix.datasets")).is_some();
    if kind == "imatrix" || imatrix {
        let because = if kind == "imatrix" { by_type() } else { "it has imatrix.chunk_count".to_owned() };
        let instead = "give the model that was quantized with it";
        return found("an importance matrix (imatrix), statistics for quantizing a model", because, instead);
    }
    if architecture == "controlvector" || metadata.get("controlvector.layer_count").is_some() {
        let of = text("controlvector.model_hint")
            .map_or_else(String::new, |of| format!(", a {} model", of.escape_debug()));
        let because = if architecture == "controlvector" {
            by_architecture()
        } else {
            "controlvector.layer_count is there".to_owned()
        };
        return found(
            "a control vector, which steers a model",
            because,
            &format!("give the model it was made for{of}"),
        );
    }
    if kind == "vocab" {
        return found("a vocabulary", by_type(), "give the model's own GGUF file");
    }
    if !kind.is_empty() && kind != "model" {
        return found("a file of another type", by_type(), "give a file whose general.type is `model`");
    }
    of_architecture(metadata, architecture)
}

/// What a network is by its architecture, where it does not make text token by token.
fn of_architecture(metadata: &Metadata, architecture: &str) -> Option<Found> {
    let found = |what: &str, because: String, instead: &str| {
        Some(Found { what: what.to_owned(), because, instead: instead.to_owned() })
    };
    let by_architecture = || format!("general.architecture = {}", architecture.escape_debug());
    let key = |name: &str| format!("{architecture}.{name}");
    let lower = architecture.to_ascii_lowercase();
    let causal = "give a causal language model, whose tokens have a price";
    if PAINTERS.contains(&lower.as_str()) {
        return found("a diffusion model for images or video", by_architecture(), causal);
    }
    if DIFFUSERS.contains(&lower.as_str()) || metadata.get("diffusion.shift_logits").is_some() {
        let because = if DIFFUSERS.contains(&lower.as_str()) {
            by_architecture()
        } else {
            "diffusion.shift_logits is there".to_owned()
        };
        return found("a diffusion model for text, which does not generate token by token", because, causal);
    }
    if ["eagle", "medusa", "mtp", "dflash"].iter().any(|mark| lower.contains(mark)) {
        let instead = "give the model it drafts for, or a whole small model";
        return found("the draft head of a model (EAGLE, Medusa or MTP)", by_architecture(), instead);
    }
    let pooling = metadata.get(&key("pooling_type")).and_then(Value::as_u64).filter(|pooling| *pooling > 0);
    if pooling == Some(4) {
        let because = format!("{} = 4", key("pooling_type"));
        return found("a reranker, which scores text but generates none", because, causal);
    }
    if let Some(pooling) = pooling {
        let because = format!("{} = {pooling}", key("pooling_type"));
        return found("an embedding model, which turns a text into a vector", because, causal);
    }
    if ENCODERS.contains(&lower.as_str()) {
        return found(
            "an encoder or embedding model, which turns a text into a vector",
            by_architecture(),
            causal,
        );
    }
    if matches!(metadata.get(&key("attention.causal")), Some(Value::Bool(false))) {
        let because = format!("{} = false", key("attention.causal"));
        return found("an encoder, which reads text whole and generates none", because, causal);
    }
    if lower == "t5" {
        return found("an encoder with a decoder", by_architecture(), causal);
    }
    if lower.starts_with("wavtokenizer") || lower == "whisper" {
        return found("an audio model", by_architecture(), causal);
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::TensorType;
    use crate::gguf::Value;
    use crate::testing::Draft;

    fn refused(draft: &Draft, parts: &[&str]) {
        let error = draft.parse().unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }

    fn with(keys: &[(&str, Value)]) -> Draft {
        keys.iter().fold(Draft::new(), |draft, (key, value)| draft.with(key, value.clone()))
    }

    /// Metadata as the writer of that kind of file leaves it: no shape of a network.
    fn alone(keys: &[(&str, Value)], tensor: Option<&str>) -> Draft {
        let mut draft = Draft { metadata: Vec::new(), tensors: Vec::new() };
        for (key, value) in keys {
            draft = draft.with(key, value.clone());
        }
        match tensor {
            Some(name) => draft.tensor(name, TensorType::F32, &[4, 32]),
            None => draft,
        }
    }

    #[test]
    fn a_file_that_is_no_model_is_called_what_it_is() {
        let text = Value::string;
        let adapter = [
            ("general.type", text("adapter")),
            ("general.architecture", text("llama")),
            ("adapter.type", text("lora")),
            ("general.base_model.0.name", text("Llama 3 8B")),
        ];
        refused(
            &alone(&adapter, Some("blk.0.attn_q.weight.lora_a")),
            &[
                "a LoRA adapter (general.type = adapter), not a language model; give the base model, Llama 3 8B",
            ],
        );
        // Before `general.type` there were adapters too.
        let old = [("general.architecture", text("qwen2"))];
        refused(
            &alone(&old, Some("blk.0.attn_q.weight.lora_b")),
            &["a LoRA adapter (it holds tensor `blk.0.attn_q.weight.lora_b`)", "a qwen2 model"],
        );
        let clip = [("general.architecture", text("clip")), ("clip.has_vision_encoder", Value::Bool(true))];
        refused(
            &alone(&clip, Some("v.blk.0.attn_q.weight")),
            &["multimodal projector (mmproj)", "general.architecture = clip"],
        );
        let projector = [("general.type", text("mmproj")), ("general.architecture", text("clip"))];
        refused(
            &alone(&projector, Some("mm.0.weight")),
            &["(mmproj)", "general.type = mmproj", "own GGUF file"],
        );
        let matrix = [("general.type", text("imatrix")), ("imatrix.chunk_count", Value::U32(100))];
        refused(
            &alone(&matrix, Some("blk.0.attn_q.weight.in_sum2")),
            &["importance matrix (imatrix)", "general.type = imatrix"],
        );
        let vector = [
            ("general.architecture", text("controlvector")),
            ("controlvector.model_hint", text("llama")),
            ("controlvector.layer_count", Value::I32(31)),
        ];
        refused(&alone(&vector, Some("direction.1")), &["a control vector", "made for, a llama model"]);
        refused(&with(&[("general.type", text("dataset"))]), &["general.type = dataset"]);
    }

    #[test]
    fn a_file_without_tensors_is_a_vocabulary_or_the_first_part_of_a_model() {
        let text = Value::string;
        let vocabulary = [("general.architecture", text("llama")), ("tokenizer.ggml.model", text("gpt2"))];
        refused(&alone(&vocabulary, None), &["lists no tensor", "a vocabulary alone"]);
        refused(
            &alone(&[("general.architecture", text("llama"))], None),
            &["lists no tensor", "metadata alone"],
        );
        let part = [
            ("general.architecture", text("llama")),
            ("split.count", Value::U16(3)),
            ("split.no", Value::U16(0)),
        ];
        refused(&alone(&part, None), &["part 1 of a model split into 3 files", "--merge"]);
    }

    #[test]
    fn a_network_that_writes_no_text_token_by_token_is_called_what_it_is() {
        let text = Value::string;
        let cases: &[(&[(&str, Value)], &str)] = &[
            (&[("general.architecture", text("bert"))], "an encoder or embedding model"),
            (&[("general.architecture", text("nomic-bert-moe"))], "an encoder or embedding model"),
            (
                &[("llama.pooling_type", Value::U32(3))],
                "an embedding model, which turns a text into a vector (llama.pooling_type = 3)",
            ),
            (&[("llama.pooling_type", Value::U32(4))], "a reranker"),
            (&[("llama.attention.causal", Value::Bool(false))], "an encoder, which reads text whole"),
            (&[("general.architecture", text("flux"))], "a diffusion model for images"),
            (&[("general.architecture", text("llada"))], "a diffusion model for text"),
            (&[("diffusion.shift_logits", Value::Bool(true))], "a diffusion model for text"),
            (&[("general.architecture", text("eagle3"))], "the draft head of a model"),
            (&[("general.architecture", text("qwen35-mtp"))], "the draft head of a model"),
            (&[("general.architecture", text("t5"))], "an encoder with a decoder"),
            (&[("general.architecture", text("wavtokenizer-dec"))], "an audio model"),
        ];
        for (keys, what) in cases {
            refused(&with(keys), &[what, "not a language model; give "]);
        }
    }

    #[test]
    fn a_model_is_a_model() {
        let text = Value::string;
        assert!(Draft::new().parse().is_ok());
        let said = [
            ("general.type", text("model")),
            ("llama.pooling_type", Value::U32(0)),
            ("llama.attention.causal", Value::Bool(true)),
        ];
        assert!(with(&said).parse().is_ok());
    }
}
