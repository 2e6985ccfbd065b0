//! Tells by file names what a folder or a repository without a runnable model is.
//!
//! The names are those that the field's writers use: PEFT (`adapter_config.json`), diffusers (`model_index.json`),
//! sentence-transformers (`modules.json`), transformers (`pytorch_model.bin`, `tf_model.h5`), Meta (`consolidated.*.pth`).

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::Error;

/// Largest `adapter_config.json` that is read.
const MAX_BYTES: u64 = 1 << 20;

/// Refuses a folder that holds something else than a safetensors model, by name.
pub(super) fn refuse_folder(dir: &Path) -> Result<(), Error> {
    let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    match refusal(&names, base_model(dir).as_deref()) {
        None => Ok(()),
        Some(reason) => Err(Error::unusable(dir, reason)),
    }
}

/// Why files of these names are no model that can be run; `None` when they may be one. `base` is the model that an
/// adapter is for.
pub(super) fn refusal(names: &[String], base: Option<&str>) -> Option<String> {
    let has = |name: &str| names.iter().any(|found| found == name);
    let with = |ends: &[&str]| -> Vec<&str> {
        let fits = |name: &&String| {
            let name = name.to_ascii_lowercase();
            !name.contains('/') && ends.iter().any(|end| name.ends_with(end))
        };
        names.iter().filter(fits).map(String::as_str).collect()
    };
    let weights = with(&[".safetensors"]);
    if has("adapter_config.json") && weights.iter().all(|name| name.starts_with("adapter")) {
        let base = base.map_or_else(String::new, |base| format!(", {}", base.escape_debug()));
        return Some(format!(
            "this is a LoRA adapter (it has adapter_config.json), not a model; give the base model{base}, which runs as fast as with the adapter merged in"
        ));
    }
    if has("model_index.json") {
        return Some(
            "this is a pipeline for images or video (it has model_index.json), not a language model"
                .to_owned(),
        );
    }
    if has("modules.json") || has("config_sentence_transformers.json") {
        return Some(
            "this is an embedding model of sentence-transformers (modules.json), which turns text into vectors, not more text; give a causal language model"
                .to_owned(),
        );
    }
    let gguf = with(&[".gguf"]);
    if !gguf.is_empty() && weights.is_empty() {
        let shown = gguf.iter().take(6).copied().collect::<Vec<_>>().join(", ");
        let more = gguf.len().saturating_sub(6);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Some(format!(
            "the folder holds GGUF files and no safetensors model; give the path of one: {shown}{more}"
        ));
    }
    if !weights.is_empty() {
        return None;
    }
    for (ends, what, way_out) in [
        (
            &[".bin", ".pt", ".pth", ".ckpt"][..],
            "PyTorch weights",
            "get the model as safetensors or GGUF, or convert it with convert_hf_to_gguf.py",
        ),
        (&[".onnx", ".onnx_data"], "an ONNX model", "get the model as safetensors or GGUF"),
        (
            &[".h5", ".msgpack", ".tflite"],
            "weights of TensorFlow or Flax",
            "get the model as safetensors or GGUF",
        ),
        (
            &[".npz", ".mlmodel", ".mlpackage"],
            "weights of MLX or Core ML",
            "get the model as safetensors or GGUF",
        ),
    ] {
        if let Some(first) = with(ends).first() {
            return Some(format!(
                "it holds {what} ({}) and no *.safetensors; {way_out}",
                first.escape_debug()
            ));
        }
    }
    None
}

/// The model that the adapter in folder `dir` says it is for.
fn base_model(dir: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Adapter {
        base_model_name_or_path: Option<String>,
    }
    let path = dir.join("adapter_config.json");
    if fs::metadata(&path).ok()?.len() > MAX_BYTES {
        return None;
    }
    let adapter: Adapter = serde_json::from_str(&fs::read_to_string(path).ok()?).ok()?;
    adapter.base_model_name_or_path.filter(|name| !name.is_empty() && name.len() <= 200)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], part: Option<&str>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = refusal(&names, None);
        match part {
            None => assert_eq!(found, None, "{names:?}"),
            Some(part) => {
                assert!(found.as_ref().is_some_and(|found| found.contains(part)), "{names:?}: {found:?}");
            }
        }
    }

    #[test]
    fn a_folder_that_is_no_model_is_called_what_it_is() {
        check(&["adapter_config.json", "adapter_model.safetensors"], Some("a LoRA adapter"));
        check(&["adapter_config.json", "adapter_model.bin"], Some("a LoRA adapter"));
        check(&["config.json", "adapter_config.json", "adapter_model.safetensors"], Some("a LoRA adapter"));
        check(&["model_index.json", "vae/config.json"], Some("pipeline for images"));
        check(&["config.json", "model.safetensors", "modules.json"], Some("embedding model"));
        check(
            &["config.json", "pytorch_model-00001-of-00002.bin"],
            Some("PyTorch weights (pytorch_model-00001"),
        );
        check(&["params.json", "consolidated.00.pth"], Some("PyTorch weights"));
        check(&["config.json", "model.onnx"], Some("an ONNX model"));
        check(&["config.json", "tf_model.h5"], Some("TensorFlow or Flax"));
        check(&["README.md", "x-Q4_K_M.gguf"], Some("give the path of one: x-Q4_K_M.gguf"));
    }

    #[test]
    fn a_model_is_not_refused_for_what_lies_beside_it() {
        check(
            &["config.json", "model.safetensors", "pytorch_model.bin", "model.onnx", "tokenizer.json"],
            None,
        );
        check(&["config.json", "model.safetensors", "adapter_config.json"], None);
        check(&["config.json", "model-00001-of-00002.safetensors", "x.gguf", "training_args.bin"], None);
        check(&["config.json"], None);
        check(&[], None);
    }

    #[test]
    fn an_adapter_names_the_model_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let config = r#"{"peft_type":"LORA","base_model_name_or_path":"org/Base-8B"}"#;
        fs::write(folder.path().join("adapter_config.json"), config).unwrap();
        fs::write(folder.path().join("adapter_model.safetensors"), b"").unwrap();
        let error = refuse_folder(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("a LoRA adapter") && error.contains("give the base model, org/Base-8B"),
            "{error}"
        );
    }
}
