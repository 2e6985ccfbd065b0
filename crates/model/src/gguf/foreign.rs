//! What a file that is not GGUF is, as far as its first bytes tell, and what to do about it.

/// First bytes that are looked at.
pub(super) const LOOK: usize = 512;

/// What a file with these first bytes is, in words for an error.
pub(super) fn what_instead(start: &[u8]) -> String {
    let begins = start.get(..4).unwrap_or(start).escape_ascii();
    format!("it begins with {begins} instead of `GGUF` ({})", kind(start))
}

/// Formats by their first bytes.
const MARKS: &[(&[u8], &str)] = &[
    (b"lmgg", "a GGML file from before GGUF; convert the model again"),
    (b"fmgg", "a GGMF file from before GGUF; convert the model again"),
    (b"tjgg", "a GGJT file from before GGUF; convert the model again"),
    (b"algg", "a LoRA adapter from before GGUF, not a model; give the base model"),
    (b"nsgg", "a saved session of llama.cpp, not a model; give the model's GGUF file"),
    (b"qsgg", "a saved sequence of llama.cpp, not a model; give the model's GGUF file"),
    (b"MZqFpD", "a llamafile, a program with weights in it; give the GGUF file it was made from"),
    (b"\x89HDF", "HDF5 weights of Keras; get the model as GGUF or safetensors"),
    (b"\x93NUMPY", "a NumPy array; get the model as GGUF or safetensors"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\x7fELF", "a program; give the path of a model"),
];

const TORCH: &str =
    "a PyTorch checkpoint; get the model as safetensors, or convert it with convert_hf_to_gguf.py";

fn kind(start: &[u8]) -> String {
    if let Some((_, what)) = MARKS.iter().find(|(mark, _)| start.starts_with(mark)) {
        return (*what).to_owned();
    }
    let has = |text: &[u8]| start.windows(text.len()).any(|window| window == text);
    if start.starts_with(b"PK\x03\x04") {
        let what = if has(b"data.pkl") { TORCH } else { "a zip archive; unpack it first" };
        return what.to_owned();
    }
    // Pickle of protocol 2 and later.
    if matches!(start, [0x80, 2..=5, ..]) {
        return TORCH.to_owned();
    }
    if is_onnx(start) {
        return "an ONNX model; get the model as GGUF or safetensors".to_owned();
    }
    if start.get(4..8) == Some(b"TFL3") {
        return "a TensorFlow Lite model; get the model as GGUF or safetensors".to_owned();
    }
    if start.get(257..262) == Some(b"ustar") {
        return "a tar archive; unpack it first".to_owned();
    }
    if let Some((length, rest)) = start.split_first_chunk::<8>()
        && u64::from_le_bytes(*length) < 1 << 30
        && rest.first() == Some(&b'{')
    {
        return if has(b".lora_A") || has(b".lora_B") {
            "safetensors of a LoRA adapter, not a model; give the base model".to_owned()
        } else {
            "safetensors; give the folder that holds it and its config.json".to_owned()
        };
    }
    if start.iter().all(|byte| *byte == 0) {
        return "zeros; its place was reserved but never filled; fetch it again".to_owned();
    }
    text(start).unwrap_or_else(|| "check the path, or fetch the file again".to_owned())
}

/// `ModelProto` begins with its version, and what follows is a string: the producer's name, or the graph.
fn is_onnx(start: &[u8]) -> bool {
    match start {
        [0x08, version, 0x12, length, producer @ ..] => {
            let producer = producer.get(..usize::from(*length)).unwrap_or_default();
            *version < 32
                && !producer.is_empty()
                && producer.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ')
        }
        _ => false,
    }
}

/// What a text is that was saved in a model's place.
fn text(start: &[u8]) -> Option<String> {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    // The last letter may be cut.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    if text.chars().any(|sign| sign.is_control() && !sign.is_ascii_whitespace()) {
        return None;
    }
    let text = text.trim_start();
    if text.starts_with("version https://git-lfs.github.com/spec/") {
        let size = text.lines().find_map(|line| line.strip_prefix("size "));
        let size = size.and_then(|size| size.trim().parse::<u64>().ok());
        let of = size.map_or_else(String::new, |size| format!(" to a file of {size} bytes"));
        return Some(format!("a Git LFS pointer{of}, not the file itself; fetch it with `git lfs pull`"));
    }
    let lower = text.get(..text.len().min(64)).unwrap_or(text).to_ascii_lowercase();
    if ["<!doctype html", "<html", "<head", "<body"].iter().any(|tag| lower.starts_with(tag)) {
        return Some(
            "a web page; the download got a page instead of the model, perhaps a login page".to_owned(),
        );
    }
    let first: String = text.lines().next().unwrap_or_default().chars().take(60).collect();
    if lower.starts_with("<?xml") || lower.starts_with("<error") {
        return Some(format!(
            "XML, perhaps a storage's error message: `{}`; fetch the file again",
            first.escape_debug()
        ));
    }
    if text.starts_with(['{', '[']) {
        return Some(format!(
            "JSON: `{}`; give the model's own file, or fetch it again",
            first.escape_debug()
        ));
    }
    (!text.is_empty()).then(|| {
        format!(
            "a text: `{}`; the download got a message instead of the model, or this is the path of another file",
            first.escape_debug()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_format_is_called_what_it_is() {
        let torch = "a PyTorch checkpoint";
        let mut archive = vec![0_u8; 512];
        archive[..9].copy_from_slice(b"model.bin");
        archive[257..262].copy_from_slice(b"ustar");
        let cases: &[(&[u8], &str)] = &[
            (b"lmgg\x00", "GGML file from before GGUF"),
            (b"tjgg\x03\0\0\0", "GGJT file from before GGUF"),
            (b"algg\x01", "LoRA adapter from before GGUF"),
            (b"PK\x03\x04\x14\0\0\0archive/data.pkl", torch),
            (b"PK\x03\x04\x14\0\0\0word/document.xml", "a zip archive"),
            (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j", torch),
            (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0", "an ONNX model"),
            (b"\x20\0\0\0TFL3", "TensorFlow Lite"),
            (b"\x10\0\0\0\0\0\0\0{\"a\":1}", "safetensors; give the folder"),
            (b"\x40\0\0\0\0\0\0\0{\"base_model.model.q_proj.lora_A.weight\":", "a LoRA adapter, not a model"),
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4920739232\n",
                "a Git LFS pointer to a file of 4920739232 bytes",
            ),
            (b"<!DOCTYPE html><html>", "a web page"),
            (b"\n\n  <!doctype HTML>", "a web page"),
            (b"\xef\xbb\xbf<html lang=\"de\">", "a web page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", "XML, perhaps a storage's error message"),
            (b"{\"error\":\"Repository not found\"}", "JSON: `{\\\"error\\\":\\\"Repository not found\\\"}`"),
            (b"Invalid username or password.", "a text: `Invalid username or password.`"),
            (b"\x1f\x8b\x08\x00", "gzip"),
            (&[0; 512], "zeros; its place was reserved"),
            (&archive, "a tar archive"),
            (b"\xff\xfe\x01\x02\x03", "check the path"),
        ];
        for (start, what) in cases {
            let said = what_instead(start);
            assert!(said.contains(what), "`{what}` is not in: {said}");
        }
    }
}
