//! Virtual files held against arithmetic, against candle and against llama.cpp.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use candle_core::quantized::gguf_file::Content;
use candle_core::{Device, Tensor};
use candle_transformers::models::{
    quantized_gemma3, quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3,
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::base::sys::Interrupt;
use crate::catalog::{Catalog, ExpertShape, Shape};
use crate::{TensorInfo, TensorType};
use infercost_testing::llama_cpp;

/// A bundled preset.
fn preset(id: &str) -> ModelRow {
    Catalog::bundled().model(id).unwrap().clone()
}

/// A preset of `id`'s kind that is small in every direction; rows of 256 fit the K-quants.
fn tiny(id: &str) -> ModelRow {
    let mut row = preset(id);
    let small = Shape {
        layers: 3,
        width: 256,
        feed_forward: 512,
        heads: 4,
        kv_heads: 2,
        head_size: 64,
        rotated: row.shape.rotated.map(|_| 48),
        vocabulary: 320,
        context_length: 128,
        experts: row.shape.experts.map(|experts| ExpertShape {
            count: experts.count.min(12),
            // A llama's experts are as wide as its feed-forward layer.
            feed_forward: if row.shape.architecture == "llama" { 512 } else { 256 },
            ..experts
        }),
        ..row.shape
    };
    row.shape = small;
    row
}

/// Presets with experts, which stock candle does not compute.
const MIXTURES: [&str; 3] = ["mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-20b"];

/// Dense presets that stock candle does not compute.
const OTHERS: [&str; 2] = ["smollm3-3b", "phi-4-mini"];

/// One preset of each architecture that it does.
const KINDS: [&str; 6] = ["llama-3-8b", "llama-3.2-1b", "qwen2.5-7b", "qwen3-8b", "gemma-3-1b", "phi-3-mini"];

fn bytes(synthetic: &Synthetic) -> Vec<u8> {
    let mut all = Vec::new();
    synthetic.reader().read_to_end(&mut all).unwrap();
    all
}

#[test]
fn the_virtual_file_is_a_gguf_file_of_the_length_announced() {
    for kind in KINDS.into_iter().chain(MIXTURES).chain(OTHERS) {
        for label in Mixture::labels().filter(|label| *label != "MXFP4" || MIXTURES.contains(&kind)) {
            let synthetic = Synthetic::new(&tiny(kind), label, 1).unwrap();
            let all = bytes(&synthetic);
            let file = gguf::parse(&all[..], all.len() as u64, Path::new(kind)).unwrap();
            assert_eq!(all.len() as u64, synthetic.length());
            assert_eq!(&file.header, synthetic.header());
            assert!(file.header.is_synthetic());
            // In so small a model most weights are in the larger types of these mixtures; the next test has true shapes.
            if !["Q2_K", "Q3_K_M", "Q3_K_L"].contains(&label) {
                assert_eq!(file.header.quantization, label);
            }
            // Every tensor's bytes, each padded to 32, after the header.
            let data: u64 =
                file.header.tensors.iter().map(|tensor| tensor.bytes().get().next_multiple_of(32)).sum();
            assert_eq!(file.data_start + data, synthetic.length());
        }
    }
}

#[test]
fn a_model_of_true_shape_is_called_by_its_label() {
    for label in Mixture::labels().filter(|label| *label != "MXFP4") {
        for id in ["llama-3-8b", "llama-3-70b", "qwen2.5-7b"] {
            assert_eq!(Synthetic::new(&preset(id), label, 0).unwrap().header().quantization, label, "{id}");
        }
    }
}

#[test]
fn presets_have_the_weights_and_the_sizes_that_are_published() {
    let check = |id: &str, quant: &str, parameters: u64, size: &str| {
        let header = Synthetic::new(&preset(id), quant, 0).unwrap().header().clone();
        assert_eq!(
            header.parameters() - header.tensor("rope_freqs.weight").map_or(0, TensorInfo::elements),
            parameters
        );
        let bytes = header.weight_bytes().get() as f64;
        let printed = if bytes < 1_073_741_824.0 {
            format!("{:.2} MiB", bytes / 1_048_576.0)
        } else {
            format!("{:.2} GiB", bytes / 1_073_741_824.0)
        };
        assert_eq!(printed, size, "{id} {quant}");
    };
    // Sizes as llama-bench prints them for the published files: "llama 70B Q4_K - Medium | 39.59 GiB | 70.55 B".
    check("llama-3-70b", "q4_k_m", 70_553_706_496, "39.59 GiB");
    check("llama-3-8b", "q4_k_m", 8_030_261_248, "4.58 GiB");
    check("llama-3.2-1b", "q4_k_m", 1_235_814_400, "762.81 MiB");
    check("qwen2.5-7b", "q4_k_m", 7_615_616_512, "4.36 GiB");
    check("smollm2-135m", "f16", 134_515_008, "256.63 MiB");
    // Of a mixture in a type that all its matrices have: the rules of the K mixtures were others when it came out
    // (<https://github.com/ggml-org/llama.cpp/pull/4406>, 2023-12-16).
    check("mixtral-8x7b", "q8_0", 46_702_792_704, "46.22 GiB");
    check("qwen3-30b-a3b", "q4_k_m", 30_532_122_624, "17.28 GiB");
    // "gpt-oss 20B MXFP4 MoE | 11.27 GiB | 20.91 B" and "gpt-oss 120B MXFP4 MoE | 59.02 GiB | 116.83 B".
    // A file of 1,915,305,312 bytes with its vocabulary, <https://huggingface.co/ggml-org/SmolLM3-3B-GGUF>.
    check("smollm3-3b", "q4_k_m", 3_075_098_624, "1.78 GiB");
    check("gpt-oss-20b", "mxfp4", 20_914_757_184, "11.27 GiB");
    check("gpt-oss-120b", "mxfp4", 116_829_156_672, "59.02 GiB");
}

#[test]
fn every_bundled_preset_can_be_made() {
    for row in Catalog::bundled().models {
        let header = Synthetic::new(&row, "q4_k_m", 0).unwrap().header().clone();
        let spec = &header.spec;
        assert_eq!(
            (spec.layers, spec.width, spec.vocabulary),
            (row.shape.layers, row.shape.width, row.shape.vocabulary)
        );
        assert_eq!(
            (spec.head_size, spec.tied_head),
            (row.shape.head_size, row.shape.tied_head),
            "{}",
            row.id
        );
        assert_eq!(header.has_rope_factors, row.shape.rope_factors, "{}", row.id);
        // Norms and biases are under a thousandth.
        let ratio = header.parameters() as f64 / row.shape.matrix_parameters() as f64;
        assert!((1.0..1.001).contains(&ratio), "{}: {ratio}", row.id);
        assert!(!header.has_tokenizer);
    }
}

#[test]
fn the_same_seed_makes_the_same_file_and_another_seed_another() {
    let make = |seed| Synthetic::new(&tiny("llama-3.2-1b"), "q4_k_m", seed).unwrap();
    let [one, same, other] = [make(1), make(1), make(2)];
    let (one_bytes, other_bytes) = (bytes(&one), bytes(&other));
    assert!(one_bytes == bytes(&same));
    let tensor = one.header().tensor("blk.1.ffn_down.weight").unwrap();
    let place = usize::try_from(tensor.offset).unwrap()
        ..usize::try_from(tensor.offset + tensor.bytes().get()).unwrap();
    assert!(one_bytes[place.clone()] != other_bytes[place]);
    // Two tensors of one shape and type have different weights.
    let at = |name: &str| usize::try_from(one.header().tensor(name).unwrap().offset).unwrap();
    let [gate, up] = ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"].map(at);
    assert!(one_bytes[gate..gate + 1440] != one_bytes[up..up + 1440]);
    assert_eq!(one.origin(), "synthetic weights of llama-3.2-1b in Q4_K_M, seed 1");
}

#[test]
fn long_reads_by_all_cores_equal_short_ones() {
    let mut row = tiny("llama-3-8b");
    row.shape.vocabulary = 20_000;
    let synthetic = Synthetic::new(&row, "q6_k", 5).unwrap();
    let mut reader = synthetic.reader();
    let length = usize::try_from(synthetic.length()).unwrap();
    let mut whole = vec![1; length];
    reader.read_exact(&mut whole).unwrap();
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    let mut pieces = Vec::new();
    reader.rewind().unwrap();
    let mut buffer = vec![0; 10_007];
    loop {
        let count = reader.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        pieces.extend_from_slice(&buffer[..count]);
    }
    assert!(whole == pieces);
}

#[test]
fn seeking_before_the_start_fails_and_beyond_the_end_reads_nothing() {
    let synthetic = Synthetic::new(&tiny("llama-3-8b"), "q4_0", 5).unwrap();
    let mut reader = synthetic.reader();
    assert!(reader.seek(SeekFrom::Current(-1)).is_err());
    assert_eq!(reader.seek(SeekFrom::End(10)).unwrap(), synthetic.length() + 10);
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    assert_eq!(reader.seek(SeekFrom::End(-4)).unwrap(), synthetic.length() - 4);
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 4);
}

proptest! {
    #[test]
    fn any_range_equals_that_part_of_the_whole(start in 0_usize..900_000, length in 0_usize..40_000) {
        let synthetic = Synthetic::new(&tiny("qwen2.5-7b"), "q5_k_m", 9).unwrap();
        let all = bytes(&synthetic);
        let mut reader = synthetic.reader();
        reader.seek(SeekFrom::Start(start as u64)).unwrap();
        let mut part = vec![0; length];
        reader.read_exact(&mut part).unwrap();
        prop_assert!(part[..] == all[start..start + length]);
    }
}

/// Logits of stock candle for four tokens of a virtual file.
fn candle_logits(synthetic: &Synthetic) -> Vec<f32> {
    let mut reader = synthetic.reader();
    let content = Content::read(&mut reader).unwrap();
    let device = Device::Cpu;
    let tokens = Tensor::new(&[[1_u32, 20, 3, 250]], &device).unwrap();
    let spec = &synthetic.header().spec;
    let logits = match spec.architecture.as_str() {
        "llama" => {
            let mut model = quantized_llama::ModelWeights::from_gguf(content, &mut reader, &device).unwrap();
            model.forward(&tokens, 0).unwrap()
        }
        "qwen2" => {
            let mut model = quantized_qwen2::ModelWeights::from_gguf(content, &mut reader, &device).unwrap();
            model.forward(&tokens, 0).unwrap()
        }
        "qwen3" => {
            let mut model = quantized_qwen3::ModelWeights::from_gguf(content, &mut reader, &device).unwrap();
            model.forward(&tokens, 0).unwrap()
        }
        "gemma3" => {
            let mut model = quantized_gemma3::ModelWeights::from_gguf(content, &mut reader, &device).unwrap();
            model.forward(&tokens, 0).unwrap()
        }
        "phi3" => {
            let mut model =
                quantized_phi3::ModelWeights::from_gguf(false, content, &mut reader, &device).unwrap();
            model.forward(&tokens, 0).unwrap()
        }
        other => panic!("{other}"),
    };
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn stock_candle_loads_every_architecture_and_computes_finite_logits() {
    for kind in KINDS {
        for label in ["f16", "q8_0", "q4_0", "q4_k_m", "q5_k_s", "q6_k"] {
            let logits = candle_logits(&Synthetic::new(&tiny(kind), label, 3).unwrap());
            assert_eq!(logits.len(), 320, "{kind} {label}");
            let rms = (logits.iter().map(|logit| logit * logit).sum::<f32>() / 320.0).sqrt();
            // Outputs of the last norm are about 1, and the head keeps their size.
            assert!((0.3..3.0).contains(&rms), "{kind} {label}: logits of {rms}");
        }
    }
}

/// Writes a virtual file where another program can read it, in the place of the one before.
fn export(synthetic: &Synthetic, path: &Path) -> Exported {
    drop(std::fs::remove_file(path));
    synthetic.export(path, &Interrupt::default(), &|_| ()).unwrap()
}

fn names(folder: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn an_exported_file_is_the_virtual_one_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let synthetic = Synthetic::new(&tiny("llama-3.2-1b"), "q4_k_m", 1).unwrap();
    let told = AtomicU64::new(0);
    let written = synthetic
        .export(&path, &Interrupt::default(), &|bytes| _ = told.fetch_add(bytes.get(), Ordering::Relaxed))
        .unwrap();
    let all = bytes(&synthetic);
    assert!(std::fs::read(&path).unwrap() == all);
    assert_eq!((written.bytes.get(), told.into_inner()), (all.len() as u64, all.len() as u64));
    assert_eq!(written.sha256, format!("{:x}", Sha256::digest(&all)));
    assert_eq!(names(folder.path()), ["tiny.gguf"]);

    let other = Synthetic::new(&tiny("llama-3.2-1b"), "q4_k_m", 2).unwrap();
    let error = other.export(&path, &Interrupt::default(), &|_| ()).unwrap_err();
    assert!(
        matches!(&error, Error::Unusable { .. }) && error.to_string().contains("not overwritten"),
        "{error}"
    );
    assert!(std::fs::read(&path).unwrap() == all);
    let nowhere = folder.path().join("nowhere/tiny.gguf");
    let error = other.export(&nowhere, &Interrupt::default(), &|_| ()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn a_name_taken_meanwhile_or_an_interrupt_leaves_nothing_half() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.gguf");
    // Two pieces at least, so that the flag is looked at between them.
    let synthetic = Synthetic::new(&preset("smollm2-135m"), "q4_0", 1).unwrap();
    let interrupt = Interrupt::default();
    let error = synthetic.export(&path, &interrupt, &|_| interrupt.request()).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    assert_eq!(names(folder.path()).len(), 0);
    let theirs = |_| std::fs::write(&path, "theirs").unwrap();
    let small = Synthetic::new(&tiny("llama-3.2-1b"), "q4_0", 1).unwrap();
    let error = small.export(&path, &Interrupt::default(), &theirs).unwrap_err();
    assert!(error.to_string().contains("not overwritten"), "{error}");
    assert_eq!(names(folder.path()), ["large.gguf"]);
    assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
}

fn types(header: &Header) -> Vec<(String, TensorType)> {
    let mut types: Vec<_> = header.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.dtype)).collect();
    types.sort_by(|one, other| one.0.cmp(&other.0));
    types
}

#[test]
fn llama_quantize_chooses_the_same_types() {
    let Some(program) = llama_cpp("llama-quantize") else { return };
    let folder = tempfile::tempdir().unwrap();
    let [source, result] = ["source.gguf", "result.gguf"].map(|name| folder.path().join(name));
    let shaped = |id: &str, change: &dyn Fn(&mut Shape)| {
        let mut row = tiny(id);
        (row.shape.layers, row.shape.feed_forward, row.shape.vocabulary) = (11, 256, 64);
        change(&mut row.shape);
        row
    };
    let same = |_: &mut Shape| {};
    let narrow = |experts| ExpertShape { feed_forward: 256, ..experts };
    let k_labels = ["Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_S", "Q4_K_M", "Q5_K_M"];
    let all: Vec<&str> = Mixture::labels().filter(|label| label.contains('_')).collect();
    let cases: [(ModelRow, &[&str]); 12] = [
        (shaped("llama-3-8b", &same), &all),
        (shaped("llama-3.2-1b", &same), &k_labels),
        (shaped("phi-3-mini", &same), &k_labels),
        (shaped("smollm3-3b", &same), &["Q4_K_M"]),
        (shaped("qwen2.5-7b", &same), &["Q4_K_M"]),
        (shaped("gemma-3-1b", &same), &["Q4_K_M"]),
        (shaped("mixtral-8x7b", &|shape| shape.experts = shape.experts.map(narrow)), &all),
        (shaped("qwen3-30b-a3b", &same), &["Q4_K_S", "Q4_K_M", "MXFP4_MOE"]),
        (shaped("gpt-oss-20b", &same), &["Q4_K_M", "Q8_0", "MXFP4_MOE"]),
        // Eighty blocks with grouped heads count as 70B.
        (shaped("llama-3-70b", &|shape| shape.layers = 80), &["Q2_K", "Q3_K_S", "Q4_K_S", "Q4_K_M"]),
        // 288 is no multiple of 256, and 48 none of 32.
        (
            shaped("llama-3-8b", &|shape| {
                (shape.width, shape.head_size, shape.feed_forward) = (288, 72, 320);
            }),
            &all,
        ),
        (shaped("llama-3.2-1b", &|shape| (shape.width, shape.head_size) = (48, 12)), &all),
    ];
    for (row, labels) in cases {
        export(&Synthetic::new(&row, "f32", 1).unwrap(), &source);
        for label in labels {
            let output = Command::new(&program).args([&source, &result]).args([label, "2"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let theirs = types(&gguf::read(&result).unwrap().header);
            assert_eq!(types(Synthetic::new(&row, label, 1).unwrap().header()), theirs, "{} {label}", row.id);
        }
    }
}

#[test]
fn llama_cpp_runs_the_exported_file() {
    let Some(program) = llama_cpp("llama-bench") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("synthetic.gguf");
    for kind in KINDS.into_iter().chain(MIXTURES).chain(OTHERS) {
        export(&Synthetic::new(&tiny(kind), "q4_k_m", 1).unwrap(), &path);
        let output = Command::new(&program)
            .args(["-p", "8", "-n", "4", "-r", "1", "-t", "1", "-o", "json", "-m"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(output.status.success(), "{kind}: {}", String::from_utf8_lossy(&output.stderr));
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let expected = Synthetic::new(&tiny(kind), "q4_k_m", 1).unwrap().header().parameters();
        assert_eq!(rows[0]["model_n_params"].as_u64(), Some(expected), "{kind}");
    }
}

#[test]
fn rope_factors_follow_the_published_scaling() {
    // Llama 3.1: the first 29 of 64 stay, the last 28 are stretched 8 times, between them a blend.
    let factors = network::rope_factors(&preset("llama-3.1-8b").shape);
    assert_eq!(factors.len(), 64);
    assert!(factors[..29].iter().all(|factor| (factor - 1.0).abs() < 1e-6), "{factors:?}");
    assert!(factors[36..].iter().all(|factor| (factor - 8.0).abs() < 1e-5), "{factors:?}");
    assert!(factors[29..36].is_sorted() && factors[29] > 1.0 && factors[35] < 8.0 + 1e-5);
    let small = network::rope_factors(&preset("llama-3.2-1b").shape);
    assert!((small[31] - 32.0).abs() < 1e-4);
}

#[test]
fn what_cannot_be_made_says_why() {
    let message = |change: &dyn Fn(&mut Shape), quant: &str| {
        let mut row = tiny("gemma-3-1b");
        change(&mut row.shape);
        let error = Synthetic::new(&row, quant, 0).unwrap_err();
        assert!(matches!(error, Error::BadName { .. }), "{error:?}");
        error.to_string()
    };
    let check = |message: String, parts: &[&str]| {
        for part in parts {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    };
    let same = |_: &mut Shape| {};
    check(message(&same, "q4_k_x"), &["`synthetic:gemma-3-1b:q4_k_x`", "did you mean `q4_k_", "bf16"]);
    check(message(&|shape| shape.architecture = "mamba".to_owned(), "f16"), &["`mamba`", "llama, qwen2"]);
    check(message(&|shape| shape.heads = 0, "f16"), &["heads = 0"]);
    check(message(&|shape| shape.kv_heads = 3, "f16"), &["kv_heads = 3", "4 heads"]);
    check(message(&|shape| shape.layers = u32::MAX, "f16"), &["layers = 4294967295"]);
    check(message(&|shape| shape.head_size = 7, "f16"), &["head_size = 7"]);
    check(message(&|shape| shape.sliding_window = None, "f16"), &["sliding_window", "gemma3"]);
    check(message(&|shape| shape.rotated = Some(0), "f16"), &["rotated = 0", "64 elements"]);
    check(message(&|shape| shape.rope_factors = true, "f16"), &["rope_factors = true", "gemma3"]);
    check(message(&same, "mxfp4"), &["MXFP4", "mixtures of experts", "q8_0"]);
    check(message(&|shape| shape.norm_epsilon = 0.0, "f16"), &["norm_epsilon = 0"]);
    let experts = ExpertShape { count: 8, used: 9, feed_forward: 512 };
    check(
        message(&|shape| shape.experts = Some(experts), "f16"),
        &["gemma3 has none", "llama, qwen3moe, gpt-oss"],
    );
    let of_llama = |shape: &mut Shape, experts| {
        shape.architecture = "llama".to_owned();
        shape.experts = Some(experts);
    };
    check(message(&|shape| of_llama(shape, experts), "f16"), &["experts.used = 9, expected 1 to 8"]);
    let narrow = ExpertShape { used: 2, feed_forward: 256, ..experts };
    check(
        message(&|shape| of_llama(shape, narrow), "f16"),
        &["experts.feed_forward = 256", "feed_forward = 512"],
    );
    for name in ["qwen3moe", "gpt-oss"] {
        check(message(&|shape| shape.architecture = name.to_owned(), "f16"), &["has no experts", name]);
    }
    let giant =
        |shape: &mut Shape| (shape.width, shape.feed_forward, shape.layers) = (1 << 20, 1 << 20, 4000);
    check(message(&giant, "f16"), &["more than any model"]);
}
