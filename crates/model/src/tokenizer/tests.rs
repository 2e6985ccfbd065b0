//! The real model's vocabulary, small vocabularies of both kinds, and vocabularies that are wrong.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::TensorType;
use crate::gguf::{Array, Value};
use infercost_testing::{llama_cpp, real_model};

use crate::testing::Draft;

const TEXTS: [&str; 8] = [
    "The capital of France is Paris.",
    "def f(x):\n    return x * 1024 + 7\n",
    "  two spaces,\ttab\n\n\nthree lines   ",
    "I'll say it's 2026-11-23, won't they've?",
    "naïve Straße Ελληνικά русский 日本語 한국어 العربية",
    "emoji 🙂👩‍👩‍👧 and a zero\u{200b}width",
    "x",
    "",
];

fn real() -> Option<Tokenizer> {
    let path = real_model()?;
    Some(Tokenizer::from_gguf(&gguf::read(&path).unwrap(), &path).unwrap().unwrap())
}

#[test]
fn the_real_vocabulary_takes_text_there_and_back() {
    let Some(tokenizer) = real() else { return };
    for text in TEXTS {
        let tokens = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&tokens).unwrap(), text);
    }
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), Some(2), false));
    assert_eq!(tokenizer.vocabulary(), 49_152);
}

#[test]
fn the_real_vocabulary_gives_the_tokens_its_publisher_gives() {
    let Some(tokenizer) = real() else { return };
    // Words with their space, digits one by one.
    let words = |text: &str| {
        let tokens = tokenizer.encode(text, false).unwrap();
        tokens.iter().map(|token| tokenizer.decode(&[*token]).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(
        words("The capital of France is 75"),
        ["The", " capital", " of", " France", " is", " ", "7", "5"]
    );
    let chat = "<|im_start|>user\nHi<|im_end|>";
    let tokens = tokenizer.encode(chat, true).unwrap();
    assert_eq!((tokens[0], tokens[1], tokens[tokens.len() - 1]), (1, 1, 2));
    assert_eq!(tokenizer.decode(&tokens).unwrap(), "user\nHi");
}

#[test]
fn llama_cpp_gives_the_same_tokens() {
    let (Some(path), Some(program)) = (real_model(), llama_cpp("llama-tokenize")) else { return };
    let tokenizer = Tokenizer::from_gguf(&gguf::read(&path).unwrap(), &path).unwrap().unwrap();
    for text in TEXTS.into_iter().filter(|text| !text.is_empty()) {
        let output = Command::new(&program)
            .args(["--log-disable", "--ids", "--no-bos", "--no-escape", "-m"])
            .arg(&path)
            .args(["-p", text])
            .output()
            .unwrap();
        let theirs = String::from_utf8(output.stdout).unwrap();
        let theirs: Vec<u32> = serde_json::from_str(theirs.trim()).unwrap();
        assert_eq!(tokenizer.encode(text, false).unwrap(), theirs, "{text:?}");
    }
}

/// A vocabulary of bytes and a few merges, in a file with enough rows.
fn byte_pairs(pre: &str) -> Draft {
    let tokens = ["<s>", "a", "b", "c", "Ġ", "1", "2", "3", "4", "ab", "abc", "Ġab", "12", "123", "Ċ"];
    let types = (0..15).map(|id| if id == 0 { 3 } else { 1 });
    Draft::new()
        .without_tensor("token_embd.weight")
        .tensor("token_embd.weight", TensorType::F32, &[16, 32])
        .with("tokenizer.ggml.model", Value::string("gpt2"))
        .with("tokenizer.ggml.pre", Value::string(pre))
        .with("tokenizer.ggml.tokens", Value::Array(Array::of_strings(tokens)))
        .with("tokenizer.ggml.token_type", Value::Array(Array::of_i32(types)))
        .with(
            "tokenizer.ggml.merges",
            Value::Array(Array::of_strings(["a b", "ab c", "Ġ ab", "1 2", "12 3"])),
        )
        .with("tokenizer.ggml.bos_token_id", Value::U32(0))
}

/// Pieces whose scores prefer "bc" to "ab", and all bytes.
fn scored_pieces() -> Draft {
    let named = [
        ("<unk>", 2, 0.0),
        ("<s>", 3, 0.0),
        ("</s>", 3, 0.0),
        ("▁", 1, -1.0),
        ("a", 1, -2.0),
        ("b", 1, -3.0),
        ("c", 1, -4.0),
        ("bc", 1, -0.5),
        ("ab", 1, -0.7),
        ("▁a", 1, -0.9),
        ("\n\n", 4, 0.0),
    ];
    let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    let tokens = named.iter().map(|(text, ..)| *text).chain(bytes.iter().map(String::as_str));
    let types = named.iter().map(|(_, kind, _)| *kind).chain([6; 256]);
    let scores = named.iter().map(|(.., score)| *score).chain([0.0; 256]);
    Draft::new()
        .without_tensor("token_embd.weight")
        .tensor("token_embd.weight", TensorType::F32, &[300, 32])
        .with("tokenizer.ggml.model", Value::string("llama"))
        .with("tokenizer.ggml.tokens", Value::Array(Array::of_strings(tokens)))
        .with("tokenizer.ggml.token_type", Value::Array(Array::of_i32(types)))
        .with("tokenizer.ggml.scores", Value::Array(Array::of_f32(scores)))
}

fn open(draft: &Draft) -> Result<Option<Tokenizer>, Error> {
    Tokenizer::from_gguf(&draft.parse().unwrap(), Path::new("tiny.gguf"))
}

#[test]
fn the_named_pre_tokenizer_cuts() {
    let tokens =
        |pre: &str, text: &str| open(&byte_pairs(pre)).unwrap().unwrap().encode(text, false).unwrap();
    // Digit by digit, in threes, and as one word.
    assert_eq!(tokens("smollm", "abc ab1234"), [10, 11, 5, 6, 7, 8]);
    assert_eq!(tokens("llama-bpe", "abc ab1234"), [10, 11, 13, 8]);
    assert_eq!(tokens("gpt-2", "abc ab1234"), [10, 11, 13, 8]);
    assert_eq!(tokens("qwen2", "12\nab"), [5, 6, 14, 9]);
    assert_eq!(tokens("default", "12 12\n"), [12, 4, 12, 14]);
    for (name, adds_bos) in [("llama-bpe", true), ("qwen2", false), ("tekken", true), ("deepseek-v3", false)]
    {
        let tokenizer = open(&byte_pairs(name)).unwrap().unwrap();
        assert_eq!(tokenizer.adds_bos(), adds_bos, "{name}");
        assert_eq!(tokenizer.encode("ab", true).unwrap(), [0, 9]);
    }
    let told = byte_pairs("llama-bpe").with("tokenizer.ggml.add_bos_token", Value::Bool(false));
    assert!(!open(&told).unwrap().unwrap().adds_bos());
}

#[test]
fn pieces_merge_by_score_and_fall_back_to_bytes() {
    let tokenizer = open(&scored_pieces()).unwrap().unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), Some(2), true));
    // "▁abc": "bc" scores best, then "▁a".
    assert_eq!(tokenizer.encode("abc", true).unwrap(), [1, 9, 7]);
    // "é" has no piece: its two bytes, 0xC3 and 0xA9.
    assert_eq!(tokenizer.encode("é", false).unwrap(), [3, 11 + 0xc3, 11 + 0xa9]);
    assert_eq!(tokenizer.encode("b\n\nb", false).unwrap(), [3, 5, 10, 3, 5]);
    for text in ["abc cab", "é a", "a"] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, true).unwrap()).unwrap(), text);
    }
    let bare = scored_pieces().with("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    assert_eq!(open(&bare).unwrap().unwrap().encode("abc", false).unwrap(), [4, 7]);
}

#[test]
fn a_vocabulary_that_cannot_be_used_says_why() {
    let strings = |strings: &[&str]| Value::Array(Array::of_strings(strings));
    let bad: [(Draft, &[&str]); 11] = [
        (byte_pairs("klingon"), &["`tokenizer.ggml.pre` is `klingon`", "tokenizer.json"]),
        (byte_pairs("").with("tokenizer.ggml.pre", None), &["`tokenizer.ggml.pre` is missing"]),
        (byte_pairs("gpt-2").with("tokenizer.ggml.model", Value::string("rwkv")), &["is `rwkv`"]),
        (byte_pairs("gpt-2").with("tokenizer.ggml.merges", None), &["`tokenizer.ggml.merges`"]),
        (byte_pairs("gpt-2").with("tokenizer.ggml.merges", strings(&["a b", "b a"])), &["merge 1 (`b a`)"]),
        (byte_pairs("gpt-2").with("tokenizer.ggml.merges", strings(&["ab"])), &["merge 0 (`ab`)"]),
        (
            byte_pairs("gpt-2").with("tokenizer.ggml.merges", Value::Array(Array::of_i32([1]))),
            &["no strings"],
        ),
        (
            byte_pairs("gpt-2").with("tokenizer.ggml.token_type", Value::Array(Array::of_i32([1]))),
            &["15 tokens"],
        ),
        (byte_pairs("gpt-2").with("tokenizer.ggml.bos_token_id", Value::U32(15)), &["is 15", "15 tokens"]),
        (scored_pieces().with("tokenizer.ggml.scores", Value::Array(Array::of_f32([0.0]))), &["267 tokens"]),
        (
            scored_pieces().without_tensor("token_embd.weight").tensor(
                "token_embd.weight",
                TensorType::F32,
                &[266, 32],
            ),
            &["267 tokens", "266 rows", "different models"],
        ),
    ];
    for (draft, expected) in bad {
        let message = open(&draft).unwrap_err().to_string();
        for part in expected {
            assert!(message.contains(part), "`{part}` is not in: {message}");
        }
    }
    assert!(!byte_pairs("klingon").parse().unwrap().header.has_tokenizer);
    assert!(byte_pairs("smollm").parse().unwrap().header.has_tokenizer);
    assert!(open(&Draft::new()).unwrap().is_none());
    assert!(
        open(&byte_pairs("gpt-2").with("tokenizer.ggml.model", Value::string("no_vocab"))).unwrap().is_none()
    );
}

fn json_folder(merges: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let added = r#"{"id":0,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}"#;
    write(
        "tokenizer.json",
        &format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[{added}],"normalizer":null,
            "pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{{"type":"BPE","dropout":null,
            "unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,
            "byte_fallback":false,"vocab":{{"<s>":0,"a":1,"b":2,"ab":3}},"merges":{merges}}}}}"#
        ),
    );
    write("tokenizer_config.json", r#"{"bos_token":{"content":"<s>"},"add_bos_token":true}"#);
    write("config.json", r#"{"bos_token_id":2,"eos_token_id":[3,1]}"#);
    folder
}

#[test]
fn a_tokenizer_json_beside_the_weights_is_used() {
    for merges in [r#"["a b"]"#, r#"[["a","b"]]"#] {
        let folder = json_folder(merges);
        let tokenizer = json::in_folder(folder.path(), 4).unwrap().unwrap();
        assert_eq!(tokenizer.encode("abb", true).unwrap(), [0, 3, 2]);
        assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(0), Some(3), true));
    }
    let empty = tempfile::tempdir().unwrap();
    assert!(json::in_folder(empty.path(), 4).unwrap().is_none());
}

#[test]
fn a_tokenizer_json_that_lies_is_refused() {
    let folder = json_folder(r#"["a b"]"#);
    let message = json::in_folder(folder.path(), 3).unwrap_err().to_string();
    assert!(message.contains("`ab` has id 3") && message.contains("3 rows"), "{message}");
    let folder = json_folder(r#"["ab ab"]"#);
    let message = json::in_folder(folder.path(), 4).unwrap_err().to_string();
    assert!(message.contains("tokenizer.json: merge 0"), "{message}");
    std::fs::write(folder.path().join("tokenizer.json"), "{\"version\"").unwrap();
    assert!(json::in_folder(folder.path(), 4).unwrap_err().to_string().contains("not JSON"));
}

#[test]
fn a_gguf_that_cannot_cut_text_takes_the_tokenizer_json_beside_it() {
    let folder = json_folder(r#"["a b"]"#);
    let path = folder.path().join("model.gguf");
    let open = |draft: &Draft| {
        std::fs::write(&path, draft.file()).unwrap();
        let header = gguf::read(&path).unwrap().header;
        let source = Source::Gguf(path.clone());
        Tokenizer::open(&Model { id: "model.gguf".to_owned(), header, source, origin: String::new() })
    };
    let other = open(&byte_pairs("klingon")).unwrap().unwrap();
    assert_eq!(other.vocabulary(), 4);
    let own = open(&byte_pairs("smollm")).unwrap().unwrap();
    assert_eq!(own.vocabulary(), 15);
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    assert!(open(&byte_pairs("klingon")).unwrap_err().to_string().contains("`klingon`"));
    assert!(open(&Draft::new()).unwrap().is_none());
}
