//! GGUF files that are right, files that are wrong in one way each, and files that are wrong anywhere.

use proptest::prelude::*;

use super::*;
use infercost_testing::real_model;

use crate::testing::{Draft, parse_bytes};
use crate::{ModelSpec, TensorInfo, TensorType};

#[test]
fn a_small_file_reads_back_in_our_words() {
    let file = Draft::new().parse().unwrap();
    assert_eq!((file.version, file.alignment), (3, 32));
    let expected = ModelSpec {
        architecture: "llama".to_owned(),
        layers: 1,
        width: 32,
        feed_forward: 64,
        experts: None,
        heads: 4,
        kv_heads: 2,
        head_size: 8,
        vocabulary: 10,
        context_length: 128,
        window: None,
        windowed_layers: 0,
        tied_head: true,
        rope_theta: 10_000.0,
        norm_epsilon: f64::from(1e-5_f32),
    };
    assert_eq!(file.header.spec, expected);
    assert_eq!((file.header.name.as_str(), file.header.quantization.as_str()), ("Tiny", "Q4_0"));
    assert!(!file.header.has_rope_factors && !file.header.has_tokenizer);
    let down = file.header.tensor("blk.0.ffn_down.weight").unwrap();
    // 10 and 32 rows of one Q8_0 block of 34 bytes come before it, each tensor padded to 32.
    assert_eq!(down.offset, file.data_start + 352 + 1088);
    assert_eq!((&down.shape[..], down.bytes().get()), (&[32, 64][..], 32 * 2 * 18));
}

#[test]
fn the_real_model_reads_as_published() {
    let Some(path) = real_model() else { return };
    let file = read(&path).unwrap();
    let header = &file.header;
    let spec = &header.spec;
    assert_eq!((spec.layers, spec.width, spec.feed_forward), (30, 576, 1536));
    assert_eq!((spec.heads, spec.kv_heads, spec.head_size, spec.vocabulary), (9, 3, 64, 49_152));
    assert!(spec.tied_head && header.has_tokenizer && !header.has_rope_factors);
    assert_eq!((header.quantization.as_str(), header.tensors.len()), ("Q4_1", 272));
    assert_eq!(header.parameters(), 134_515_008);
    assert_eq!(file.length, 98_362_432);
    // The last tensor ends where the file does.
    let end = header.tensors.iter().map(|tensor| tensor.offset + tensor.bytes().get()).max().unwrap();
    assert_eq!(end, file.length);
    let tokens = file.metadata.get("tokenizer.ggml.tokens").and_then(Value::as_array).unwrap();
    assert_eq!(tokens.count(), 49_152);
    assert_eq!(tokens.strings().unwrap().nth(1), Some(&b"<|im_start|>"[..]));
}

#[test]
fn a_missing_file_and_a_folder_say_so() {
    let missing = read(Path::new("no/such.gguf")).unwrap_err();
    assert!(matches!(missing, Error::Missing { .. }), "{missing}");
    let folder = read(Path::new("src")).unwrap_err().to_string();
    assert!(folder.contains("not a regular file"), "{folder}");
}

/// Overwrites bytes `skip` after the first `needle`.
fn patch(mut bytes: Vec<u8>, needle: &str, skip: usize, new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(needle.len()).position(|window| window == needle.as_bytes()).unwrap();
    let from = at + needle.len() + skip;
    bytes[from..from + new.len()].copy_from_slice(new);
    bytes
}

/// Overwrites the bytes at `at`.
fn overwrite(mut bytes: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// Each bad file, and what its message must say.
fn bad_files() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let good = || Draft::new().file();
    let with = |key: &str, value: Option<Value>| Draft::new().with(key, value).file();
    let huge = u64::MAX.to_le_bytes();
    let billion = 1_000_000_000_u64.to_le_bytes();
    let text = |text: &str| Some(Value::string(text));
    let mut cut = good();
    cut.truncate(cut.len() - 100);
    let mut cut_in_header = good();
    cut_in_header.truncate(300);
    let mut v1 = good();
    v1[4] = 1;
    let mut key_twice = Draft::new();
    key_twice.metadata.push(("general.name".to_owned(), Value::U8(1)));
    let nested = |depth| {
        let mut array = Array::of_i32([1]);
        for _ in 0..depth {
            array = Array::of_arrays([array]);
        }
        with("x", Some(Value::Array(array)))
    };
    vec![
        ("empty", Vec::new(), &["0 bytes", "fetch it again"]),
        ("seven bytes", b"GGUF\x03\0\0".to_vec(), &["7 bytes"]),
        ("wrong magic", overwrite(good(), 0, b"ELF\x7f"), &["not a GGUF file", "ELF\\x7f", "`GGUF`"]),
        ("old GGML", overwrite(good(), 0, b"tjgg"), &["before GGUF"]),
        ("web page", b"<!DOCTYPE html><html></html>".to_vec(), &["web page"]),
        ("LFS pointer", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), &["git lfs pull"]),
        ("zip", overwrite(good(), 0, b"PK\x03\x04"), &["zip archive"]),
        ("version 0", overwrite(good(), 4, &[0]), &["version 0"]),
        ("version 1", v1, &["version 1", "convert"]),
        ("version 4", overwrite(good(), 4, &[4]), &["version 4", "newer"]),
        ("big-endian", overwrite(good(), 4, &[0, 0, 0, 3]), &["big-endian", "version 3"]),
        ("big-endian magic", overwrite(good(), 0, b"FUGG"), &["big-endian"]),
        ("no tensor", overwrite(good(), 8, &[0; 8]), &["lists no tensor"]),
        ("a billion tensors", overwrite(good(), 8, &billion), &["1000000000 tensors", "25000000000 bytes"]),
        ("2^64 tensors", overwrite(good(), 8, &huge), &["18446744073709551615 tensors"]),
        ("a billion entries", overwrite(good(), 16, &billion), &["1000000000 metadata entries"]),
        ("one entry too many", overwrite(good(), 16, &[12]), &["corrupted"]),
        (
            "key of 2^64 bytes",
            overwrite(good(), 24, &huge),
            &["metadata entry 1", "18446744073709551615 bytes"],
        ),
        ("key of no bytes", overwrite(good(), 24, &[0; 8]), &["metadata entry 1", "0 bytes"]),
        ("key not UTF-8", patch(good(), "general.nam", 0, &[0xff]), &["metadata entry 2", "UTF-8"]),
        (
            "key with an escape",
            patch(good(), "general.nam", 0, &[0x1b]),
            &["metadata entry 2", "u{1b}", "control"],
        ),
        (
            "architecture of two lines",
            with("general.architecture", text("a\nb")),
            &["`general.architecture`", "`a\\nb`"],
        ),
        ("key twice", key_twice.file(), &["`general.name`", "twice"]),
        ("value type 13", patch(good(), "general.name", 0, &[13]), &["`general.name`", "value type 13"]),
        ("string of 2^64 bytes", patch(good(), "general.name", 4, &huge), &["`general.name`", "missing"]),
        ("string not UTF-8", patch(good(), "general.name", 12, &[0xc0]), &["`general.name`", "UTF-8"]),
        (
            "truth value 2",
            patch(with("flag", Some(Value::Bool(true))), "flag", 4, &[2]),
            &["`flag`", "boolean of value 2"],
        ),
        (
            "array of 2^64",
            patch(with("list", Some(Value::Array(Array::of_i32([1, 2])))), "list", 8, &huge),
            &["`list`", "18446744073709551615 elements"],
        ),
        (
            "array of a billion strings",
            patch(with("list", Some(Value::Array(Array::of_strings(["a"])))), "list", 8, &billion),
            &["`list`", "1000000000 elements"],
        ),
        (
            "array string of 2^64 bytes",
            patch(with("list", Some(Value::Array(Array::of_strings(["a"])))), "list", 16, &huge),
            &["`list`", "missing"],
        ),
        ("arrays six deep", nested(6), &["`x`", "deeper than 4"]),
        (
            "array type 99",
            patch(with("list", Some(Value::Array(Array::of_i32([1])))), "list", 4, &[99]),
            &["`list`", "value type 99"],
        ),
        ("cut in the header", cut_in_header, &["ends inside its header", "missing"]),
        ("cut in the data", cut, &["cut off", "`output_norm.weight`", "100 bytes are missing"]),
        (
            "alignment 0",
            with("general.alignment", Some(Value::U32(0))),
            &["general.alignment", "is 0", "power of two"],
        ),
        ("alignment 33", with("general.alignment", Some(Value::U32(33))), &["is 33", "power of two"]),
        ("alignment text", with("general.alignment", text("wide")), &["the string `wide`"]),
        (
            "split",
            with("split.count", Some(Value::U16(3))),
            &["part 1", "3 files", "llama-gguf-split --merge"],
        ),
        (
            "tensor name of no bytes",
            Draft::new().tensor("", TensorType::F32, &[1]).file(),
            &["tensor 5 of 5", "0 bytes"],
        ),
        (
            "five dimensions",
            patch(good(), "token_embd.weight", 0, &[5]),
            &["`token_embd.weight`", "5 dimensions"],
        ),
        ("dimension 0", patch(good(), "token_embd.weight", 4, &[0; 8]), &["`token_embd.weight`", "zero"]),
        (
            "dimensions that overflow",
            patch(patch(good(), "token_embd.weight", 4, &huge), "token_embd.weight", 12, &huge),
            &["`token_embd.weight`", "more elements"],
        ),
        (
            "row of half a block",
            Draft::new().tensor("odd.weight", TensorType::Q8_0, &[4, 48]).file(),
            &["`odd.weight`", "48 elements", "Q8_0", "32"],
        ),
        (
            "row of half a super-block",
            Draft::new().tensor("odd.weight", TensorType::Q4_K, &[2, 128]).file(),
            &["`odd.weight`", "128 elements", "Q4_K", "256"],
        ),
        (
            "type IQ3_S",
            patch(good(), "token_embd.weight", 20, &[21]),
            &["`token_embd.weight`", "type 21 (IQ3_S)", "Q4_K"],
        ),
        ("type 77", patch(good(), "token_embd.weight", 20, &[77]), &["`token_embd.weight`", "type 77,"]),
        (
            "offset off the grid",
            patch(good(), "attn_q.weight", 24, &[0x61]),
            &["`blk.0.attn_q.weight`", "multiple of the alignment 32"],
        ),
        (
            "offset beyond the file",
            patch(good(), "attn_q.weight", 24, &(1_u64 << 40).to_le_bytes()),
            &["cut off", "`blk.0.attn_q.weight`"],
        ),
        (
            "offset beyond any file",
            patch(good(), "attn_q.weight", 24, &(u64::MAX - 31).to_le_bytes()),
            &["`blk.0.attn_q.weight`", "beyond any file"],
        ),
        (
            "overlap",
            patch(good(), "attn_q.weight", 24, &[0; 8]),
            &["`token_embd.weight` and `blk.0.attn_q.weight` overlap"],
        ),
        (
            "tensor twice",
            Draft::new().tensor("token_embd.weight", TensorType::F32, &[1]).file(),
            &["`token_embd.weight`", "twice"],
        ),
        ("no architecture", with("general.architecture", None), &["`general.architecture` is missing"]),
        (
            "architecture 7",
            with("general.architecture", Some(Value::U8(7))),
            &["`general.architecture` is 7"],
        ),
        ("no block count", with("llama.block_count", None), &["`llama.block_count` is missing"]),
        ("no blocks", with("llama.block_count", Some(Value::U32(0))), &["`llama.block_count` is 0"]),
        (
            "text for blocks",
            with("llama.block_count", text("ten")),
            &["`llama.block_count`", "the string `ten`"],
        ),
        (
            "more blocks than tensors",
            with("llama.block_count", Some(Value::U32(3))),
            &["is 3", "block 1 has no tensor"],
        ),
        (
            "2^32 blocks",
            with("llama.block_count", Some(Value::U32(u32::MAX))),
            &["`llama.block_count`", "65536"],
        ),
        ("zero heads", with("llama.attention.head_count", Some(Value::U32(0))), &["head_count` is 0"]),
        (
            "zero KV heads",
            with("llama.attention.head_count_kv", Some(Value::U32(0))),
            &["head_count_kv` is 0"],
        ),
        (
            "3 KV heads of 4",
            with("llama.attention.head_count_kv", Some(Value::U32(3))),
            &["does not divide 4 heads"],
        ),
        (
            "5 heads in 32",
            Draft::new()
                .with("llama.attention.head_count", Value::U32(5))
                .with("llama.attention.head_count_kv", None)
                .file(),
            &["is 5", "does not divide the width 32"],
        ),
        (
            "huge heads",
            with("llama.attention.key_length", Some(Value::U32(1 << 24))),
            &["key_length` gives 4 heads"],
        ),
        ("no width", with("llama.embedding_length", None), &["`llama.embedding_length` is missing"]),
        (
            "width 64",
            with("llama.embedding_length", Some(Value::U32(64))),
            &["`token_embd.weight`", "[10, 32]", "[vocabulary, 64]"],
        ),
        (
            "no feed-forward",
            with("llama.feed_forward_length", None),
            &["`llama.feed_forward_length` is missing"],
        ),
        ("no context", with("llama.context_length", None), &["`llama.context_length` is missing"]),
        (
            "no epsilon",
            with("llama.attention.layer_norm_rms_epsilon", None),
            &["layer_norm_rms_epsilon` is missing"],
        ),
        (
            "epsilon NaN",
            with("llama.attention.layer_norm_rms_epsilon", Some(Value::F32(f32::NAN))),
            &["is NaN"],
        ),
        (
            "heads by layer",
            with("llama.attention.head_count", Some(Value::Array(Array::of_i32([4, 2])))),
            &["`llama.attention.head_count` differs from layer to layer"],
        ),
        (
            "no embedding",
            Draft::new().without_tensor("token_embd.weight").file(),
            &["`token_embd.weight` is missing", "not a language model"],
        ),
    ]
}

#[test]
fn each_bad_file_says_what_is_wrong() {
    for (name, bytes, expected) in bad_files() {
        let message = match parse_bytes(&bytes) {
            Ok(_) => panic!("{name}: read without a word"),
            Err(error @ Error::Unusable { .. }) => error.to_string(),
            Err(error) => panic!("{name}: {error:?}"),
        };
        assert!(message.starts_with("tiny.gguf: "), "{name}: {message}");
        assert!(message.len() < 500 && !message.contains('\n'), "{name}: {message}");
        for part in expected {
            assert!(message.contains(part), "{name}: `{part}` is not in: {message}");
        }
    }
}

#[test]
fn a_name_is_one_short_line_and_an_empty_one_is_the_files() {
    let name =
        |text: &str| Draft::new().with("general.name", Value::string(text)).parse().unwrap().header.name;
    assert_eq!(name(" A\x1b[31m\nmodel "), "A[31mmodel");
    assert_eq!(name(" \n"), "tiny");
    assert_eq!(name(&"x".repeat(500)).len(), 120);
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.gguf");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert!(read(&pipe).unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn equal_heads_in_every_layer_are_one_number() {
    let heads = Value::Array(Array::of_i32([4, 4]));
    assert_eq!(Draft::new().with("llama.attention.head_count", heads).parse().unwrap().header.spec.heads, 4);
}

#[test]
fn without_a_file_type_the_type_of_most_weights_names_the_quantization() {
    let draft = Draft::new().with("general.file_type", None);
    assert_eq!(draft.parse().unwrap().header.quantization, "Q4_0");
    let heavier = draft.tensor("blk.0.ffn_up.weight", TensorType::F16, &[128, 32]);
    assert_eq!(heavier.parse().unwrap().header.quantization, "F16");
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        (-1e30_f32..1e30).prop_map(Value::F32),
        (-1e300_f64..1e300).prop_map(Value::F64),
        "\\PC{0,20}".prop_map(Value::String),
    ]
}

fn array() -> impl Strategy<Value = Array> {
    let flat = prop_oneof![
        proptest::collection::vec("\\PC{0,9}", 0..9).prop_map(Array::of_strings),
        proptest::collection::vec(any::<i32>(), 0..9).prop_map(Array::of_i32),
        proptest::collection::vec(-1e9_f32..1e9, 0..9).prop_map(Array::of_f32),
    ];
    flat.prop_recursive(2, 16, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(Array::of_arrays))
}

prop_compose! {
    fn planned()(
        name in "[a-z.]{1,40}",
        dtype in proptest::sample::select(TensorType::ALL.to_vec()),
        rows in 1_u64..5,
        blocks in 1_u64..4,
    ) -> write::Planned {
        write::Planned { name, dtype, shape: vec![rows, blocks * dtype.block_elements()] }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back_equal(
        pairs in proptest::collection::btree_map("x\\.[a-z_.]{1,20}", prop_oneof![scalar(), array().prop_map(Value::Array)], 0..12),
        more in proptest::collection::vec(planned(), 0..8),
    ) {
        let mut draft = Draft::new();
        draft.metadata.extend(pairs);
        for tensor in more {
            if draft.tensors.iter().all(|other| other.name != tensor.name) {
                draft.tensors.push(tensor);
            }
        }
        let head = write::head(&draft.metadata, &draft.tensors);
        let file = draft.parse().unwrap();
        prop_assert_eq!(file.metadata, draft.metadata.iter().cloned().collect::<Metadata>());
        let tensors: &[TensorInfo] = &file.header.tensors;
        prop_assert_eq!(tensors, &head.tensors[..]);
        prop_assert_eq!((file.data_start, file.length), (head.bytes.len() as u64, head.length));
    }

    /// A file with bytes changed anywhere, and cut anywhere, is read or refused, and never holds more
    /// of itself in memory than it has bytes.
    #[test]
    fn a_file_changed_anywhere_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        lengths in proptest::collection::vec((any::<prop::sample::Index>(), any::<u64>()), 0..2),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = Draft::new()
            .with("tokenizer.ggml.tokens", Value::Array(Array::of_strings(["a", "b", "cc"])))
            .with("deep", Value::Array(Array::of_arrays([Array::of_f32([1.0]), Array::of_strings(["x"])])))
            .file();
        // Most of a small file is data, which is not read: change its header.
        let header = 900.min(bytes.len());
        for (at, byte) in changes {
            bytes[at.index(header)] = byte;
        }
        for (at, length) in lengths {
            let from = at.index(header - 8);
            bytes[from..from + 8].copy_from_slice(&length.to_le_bytes());
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let read = parse_bytes(&bytes);
        if let Err(error) = &read {
            let message = error.to_string();
            prop_assert!(message.len() < 3000 && !message.contains(char::is_control), "{message:?}");
        }
        if let Ok(file) = read {
            prop_assert!(!file.header.name.contains(char::is_control));
            let held: usize = file
                .metadata
                .iter()
                .map(|(key, value)| key.len() + value.as_array().map_or(0, |array| array.bytes.capacity()))
                .sum();
            prop_assert!(held <= 2 * bytes.len() + 64, "{held} bytes held of a file of {}", bytes.len());
        }
    }
}
