//! Good folders are read, and bad ones are refused for the right reason.

use std::fs;

use super::*;

const CONFIG: &str = r#"{"architectures":["LlamaForCausalLM"],"model_type":"llama","hidden_size":8,"intermediate_size":16,
    "num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"vocab_size":4,
    "max_position_embeddings":64,"tie_word_embeddings":true,"rms_norm_eps":1e-5,"hidden_act":"silu"}"#;

/// A safetensors file of these tensors, all of one type, zeros in it; written by the format's own crate.
fn file(dtype: safetensors::Dtype, tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let zeros = vec![0; 4 * 1024];
    let views = tensors.iter().map(|(name, shape)| {
        let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
        let view = safetensors::tensor::TensorView::new(dtype, shape.to_vec(), &zeros[..length]).unwrap();
        ((*name).to_owned(), view)
    });
    safetensors::serialize(views, None).unwrap()
}

/// A file with a header of the caller's own making.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn whole() -> Vec<u8> {
    file(
        safetensors::Dtype::BF16,
        &[("model.embed_tokens.weight", &[4, 8]), ("model.layers.0.mlp.up_proj.weight", &[16, 8])],
    )
}

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn refused(files: &[(&str, &[u8])], parts: &[&str]) {
    let folder = folder(files);
    let error = read(folder.path()).unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn a_folder_is_read_without_its_weights() {
    let folder = folder(&[
        ("config.json", CONFIG.as_bytes()),
        ("model.safetensors", &whole()),
        ("tokenizer.json", b"{}"),
    ]);
    let header = read(folder.path()).unwrap();
    let spec = &header.spec;
    assert_eq!((spec.architecture.as_str(), spec.layers, spec.width, spec.feed_forward), ("llama", 1, 8, 16));
    assert_eq!((spec.heads, spec.kv_heads, spec.head_size, spec.vocabulary), (2, 1, 4, 4));
    assert_eq!((spec.context_length, spec.tied_head), (64, true));
    assert!((spec.rope_theta - 1e4).abs() < 1e-9 && (spec.norm_epsilon - 1e-5).abs() < 1e-15);
    assert_eq!(header.quantization, "BF16");
    assert_eq!((header.parameters(), header.weight_bytes().get()), (160, 320));
    assert!(header.has_tokenizer && !header.has_rope_factors);
    let bytes = fs::metadata(folder.path().join("model.safetensors")).unwrap().len();
    let last = header.tensors.last().unwrap();
    assert_eq!(last.offset + last.bytes().get(), bytes, "offsets count from the start of the file");
}

#[test]
fn families_have_their_own_defaults() {
    let spec = |model_type: &str, extra: &str| {
        let text = CONFIG
            .replace("\"llama\"", &format!("\"{model_type}\""))
            .replace("\"tie_word_embeddings\":true,\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\"", extra);
        let folder = folder(&[("config.json", text.as_bytes())]);
        config::read(&folder.path().join("config.json")).unwrap()
    };
    let mistral = spec("mistral", r#""head_dim":16,"rope_theta":1000000.0"#);
    assert_eq!((mistral.spec.architecture.as_str(), mistral.spec.head_size), ("llama", 16));
    assert!((mistral.spec.rope_theta - 1e6).abs() < 1e-9 && !mistral.spec.tied_head);
    let windowed = spec("mistral", r#""sliding_window":32"#).spec.context_length;
    let unused = spec("qwen2", r#""sliding_window":32,"use_sliding_window":false"#).spec.context_length;
    assert_eq!((windowed, unused), (32, 64), "a window is the model's end where it is not computed");
    let gemma = spec("gemma3_text", r#""hidden_activation":"gelu_pytorch_tanh""#).spec;
    assert_eq!((gemma.architecture.as_str(), gemma.tied_head, gemma.head_size), ("gemma3", true, 256));
    assert_eq!(spec("qwen3", r#""hidden_act":"silu""#).spec.head_size, 128);
    assert!(spec("llama", r#""rope_scaling":{"rope_type":"llama3","factor":8.0}"#).has_rope_factors);
    let newer = spec("llama", r#""rope_parameters":{"rope_type":"default","rope_theta":500000.0}"#);
    assert!((newer.spec.rope_theta - 5e5).abs() < 1e-9 && !newer.has_rope_factors);
}

#[test]
fn shards_are_read_through_the_index() {
    let first = file(safetensors::Dtype::F16, &[("model.embed_tokens.weight", &[4, 8])]);
    let second = file(safetensors::Dtype::F16, &[("model.layers.0.mlp.up_proj.weight", &[16, 8])]);
    let index = r#"{"metadata":{"total_size":320},"weight_map":{"model.embed_tokens.weight":"a.safetensors",
        "model.layers.0.mlp.up_proj.weight":"b.safetensors"}}"#;
    let name = "model.safetensors.index.json";
    let both = folder(&[
        ("config.json", CONFIG.as_bytes()),
        (name, index.as_bytes()),
        ("a.safetensors", &first),
        ("b.safetensors", &second),
    ]);
    assert_eq!(read(both.path()).unwrap().tensors.len(), 2);
    assert_eq!(
        files(both.path()).unwrap(),
        ["a.safetensors", "b.safetensors"].map(|file| both.path().join(file))
    );
    let config = ("config.json", CONFIG.as_bytes());
    let index_entry = (name, index.as_bytes());
    refused(
        &[config, index_entry, ("a.safetensors", &first)],
        &["1 of the 2 files", "b.safetensors does not exist"],
    );
    refused(
        &[config, index_entry, ("a.safetensors", &second), ("b.safetensors", &first)],
        &["here, but it is missing"],
    );
    refused(&[config, (name, br#"{"weight_map":{"x":"../../x"}}"#)], &["outside the folder"]);
    refused(&[config, (name, br#"{"weight_map":{}}"#)], &["empty"]);
    refused(&[config, ("a.safetensors", &first), ("b.safetensors", &second)], &["no index"]);
    refused(&[config], &["has no *.safetensors"]);
    refused(&[("model.safetensors", &first)], &["config.json does not exist"]);
}

#[test]
fn a_header_that_lies_is_refused_before_memory_is_taken() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(
            r#"{{"model.embed_tokens.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#
        )
    };
    let mut endless = u64::MAX.to_le_bytes().to_vec();
    endless.extend(b"{}");
    let mut long = 99_000_000_u64.to_le_bytes().to_vec();
    long.extend(b"{}");
    let cut = &whole()[..whole().len() - 1];
    let cases: &[(&[u8], &str)] = &[
        (b"abc", "3 bytes are too few"),
        (&endless, "claims 18446744073709551615 bytes"),
        (&long, "claims 99000000 bytes"),
        (&raw("{not json", 0), "not valid JSON"),
        (&raw(r#"{"t":7}"#, 0), "tensor `t` has a malformed description"),
        (&raw(&entry("F8_E4M3", "[4,8]", "[0,32]"), 32), "type `F8_E4M3`"),
        (&raw(&entry("I64", "[4,8]", "[0,256]"), 256), "type `I64`"),
        (&raw(&entry("F16", "[4,8]", "[0,63]"), 63), "does not fit the bytes 0 to 63"),
        (&raw(&entry("F16", "[4,8]", "[64,0]"), 64), "does not fit the bytes 64 to 0"),
        (&raw(&entry("F16", "[4294967296,4294967296]", "[0,0]"), 0), "does not fit"),
        (&raw(&entry("F16", "[9223372036854775808]", "[0,0]"), 0), "does not fit"),
        (&raw(&entry("F16", "[1,1,1,1,1,1,1,1,1]", "[0,2]"), 2), "9 dimensions"),
        (&raw(&entry("F16", "[4,8]", "[10,74]"), 74), "the previous one ends at"),
        (&raw(&entry("F16", "[0,8]", "[18446744073709551615,18446744073709551615]"), 0), "starts at byte"),
        (&raw(&entry("F16", "[4,8]", "[0,64]"), 65), "it was cut off or altered"),
        (cut, "it was cut off or altered"),
        (&raw(&entry("F16", "[4,9]", "[0,72]"), 72), "different models"),
        (
            &raw(r#"{"other":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}"#, 2),
            "model.embed_tokens.weight",
        ),
        (&raw(&entry("F16", "[4,8]", "[0,64]"), 64), "layer 0 of 1"),
        (
            &file(safetensors::Dtype::F16, &[("model.embed_tokens.weight", &[4, 8]), ("q.bias", &[4])]),
            "`q.bias` is a bias",
        ),
    ];
    for (bytes, part) in cases {
        refused(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", bytes)], &[part]);
    }
}

#[test]
fn no_change_of_a_byte_and_no_cut_makes_it_panic() {
    let good = whole();
    let folder = folder(&[("config.json", CONFIG.as_bytes())]);
    let path = folder.path().join("model.safetensors");
    let header = usize::try_from(u64::from_le_bytes(good[..8].try_into().unwrap())).unwrap() + 8;
    for at in 0..header {
        for byte in [0, b'9', b'"', b'}', 0xff] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            fs::write(&path, &bytes).unwrap();
            // Some changes are harmless (a digit for itself, a name's letter): what matters is that it returns.
            if let Ok(header) = read(folder.path()) {
                assert_eq!(header.weight_bytes().get(), 320, "byte {at} as {byte}");
            }
        }
        fs::write(&path, &good[..at]).unwrap();
        assert!(read(folder.path()).is_err(), "cut at {at}");
    }
}

#[test]
fn a_config_that_cannot_be_run_is_refused_by_name() {
    let cases = [
        ("\"llama\"", "\"mamba\"", "model_type `mamba`"),
        ("\"silu\"", "\"relu\"", "activation `relu`"),
        ("\"hidden_size\":8", "\"hidden_size\":0", "hidden_size is 0"),
        ("\"hidden_size\":8,", "", "hidden_size is missing"),
        ("\"hidden_size\":8", "\"hidden_size\":-8", "invalid value"),
        ("\"num_attention_heads\":2", "\"num_attention_heads\":0", "num_attention_heads is 0"),
        ("\"num_attention_heads\":2", "\"num_attention_heads\":16", "head_dim is 0"),
        ("\"num_key_value_heads\":1", "\"num_key_value_heads\":3", "cannot share 3"),
        ("1e-5", "-1", "rms_norm_eps is -1"),
        ("\"hidden_act\"", "\"rope_scaling\":{\"type\":\"yarn\"},\"hidden_act\"", "type `yarn`"),
        (
            "\"hidden_act\"",
            "\"quantization_config\":{\"quant_method\":\"awq\"},\"hidden_act\"",
            "quantized by `awq`",
        ),
        ("{", "", "not a model's config.json"),
    ];
    for (from, to, part) in cases {
        let text = CONFIG.replacen(from, to, 1);
        assert_ne!(text, CONFIG, "{from}");
        refused(&[("config.json", text.as_bytes()), ("model.safetensors", &whole())], &[part, "config.json"]);
    }
}
