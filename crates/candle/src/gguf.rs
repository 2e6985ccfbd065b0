//! Quantized networks from a GGUF file, read through candle's own parser.

use std::io::{self, BufReader, Read, Seek, SeekFrom};

use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::{Result, Tensor};
use candle_transformers::models::{
    quantized_gemma3 as gemma3, quantized_llama as llama, quantized_phi3 as phi3, quantized_qwen2 as qwen2,
    quantized_qwen3 as qwen3,
};

use crate::base::sys::Interrupt;
use crate::model::{Header, ReadSeek};

use super::facts::Facts;
use super::family::{Family, family_of};
use super::network::{Loaded, Network};
use super::support::ignored_tensors;
use super::unquantized::single;
use super::{Options, first_line, not_loaded, unsupported};
use crate::engine::Error;

/// Loads the file of `reader` into candle's network for it.
pub(super) fn load(
    reader: Box<dyn ReadSeek + Send>,
    header: &Header,
    options: &Options,
    device: &candle_core::Device,
    interrupt: &Interrupt,
) -> std::result::Result<Loaded, Error> {
    let family = family_of(header)?;
    let mut reader = Watched { inner: BufReader::with_capacity(1 << 16, reader), failure: None };
    let built = Content::read(&mut reader).map_err(|error| not_loaded(first_line(&error)));
    let built = built.and_then(|mut content| {
        refuse_partial_rotation(family, header, &content)?;
        let facts = facts(family, header, &content, options, device);
        let caveats = caveats(family, header, &content);
        adjust(family, header, &mut content, facts.max_context);
        let network = build(family, content, &mut reader, device);
        let network = network.map_err(|error| not_loaded(first_line(&error)))?;
        Ok(Loaded { network, facts, caveats })
    });
    if interrupt.requested() {
        return Err(Error::Interrupted);
    }
    // candle takes any failure to read `output.weight` for a tied head, so a success is not to be
    // believed once a read has failed.
    match reader.failure {
        Some(failure) => Err(not_loaded(format!("reading the weights failed: {failure}"))),
        None => built,
    }
}

/// candle rotates whole heads; some models rotate a part of each (Phi-4-mini).
fn refuse_partial_rotation(
    family: Family,
    header: &Header,
    content: &Content,
) -> std::result::Result<(), Error> {
    let key = format!("{}.rope.dimension_count", header.spec.architecture);
    match number(content, &key) {
        Some(rotated)
            if rotated != header.spec.head_size && matches!(family, Family::Llama | Family::Phi3) =>
        {
            Err(unsupported(
                format!("rotate {rotated} of a head's {} elements (`{key}`)", header.spec.head_size),
                "candle's quantized networks rotate whole heads; use a model of another architecture",
            ))
        }
        _ => Ok(()),
    }
}

fn build(
    family: Family,
    content: Content,
    reader: &mut (impl Read + Seek),
    device: &candle_core::Device,
) -> Result<Box<dyn Network>> {
    Ok(match family {
        Family::Llama => Box::new(llama::ModelWeights::from_gguf(content, reader, device)?),
        Family::Qwen2 => Box::new(qwen2::ModelWeights::from_gguf(content, reader, device)?),
        Family::Qwen3 => Box::new(qwen3::ModelWeights::from_gguf(content, reader, device)?),
        Family::Gemma3 => Box::new(gemma3::ModelWeights::from_gguf(content, reader, device)?),
        Family::Phi3 => Box::new(phi3::ModelWeights::from_gguf(false, content, reader, device)?),
    })
}

/// Says in candle's own words what the file leaves open, and chooses where candle leaves a choice.
fn adjust(family: Family, header: &Header, content: &mut Content, max_context: u32) {
    let spec = &header.spec;
    // GGUF gives these defaults, and candle asks for the keys.
    for (key, value) in [
        ("attention.head_count_kv", spec.kv_heads),
        ("attention.key_length", spec.head_size),
        ("attention.value_length", spec.head_size),
        ("rope.dimension_count", spec.head_size),
    ] {
        let key = format!("{}.{key}", spec.architecture);
        content.metadata.entry(key).or_insert(Value::U32(value));
    }
    // candle takes a base that is missing or of another type for 10,000, whatever the model's default.
    let base = Value::F32(single(spec.rope_theta));
    content.metadata.insert(format!("{}.rope.freq_base", spec.architecture), base);
    match family {
        // Without this key the rotary angles are computed in f16, which has no odd number above 2,048.
        Family::Qwen3 => {
            content.metadata.insert("general.dtype".to_owned(), Value::U32(0));
        }
        // The KV cache is allocated for all of it at the first step.
        Family::Phi3 => {
            content.metadata.insert("phi3.context_length".to_owned(), Value::U32(max_context));
        }
        Family::Llama | Family::Qwen2 | Family::Gemma3 => {}
    }
}

/// The header's facts, and what only the file's other metadata say.
fn facts(
    family: Family,
    header: &Header,
    content: &Content,
    options: &Options,
    device: &candle_core::Device,
) -> Facts {
    let mut facts = Facts::of(family, header, device.is_cpu());
    if family == Family::Gemma3
        && let Some(window) = number(content, "gemma3.attention.sliding_window")
    {
        facts.at_most(
            window,
            format!(
                "the model has a sliding window of {window} positions, but candle's decode steps attend to all positions"
            ),
        );
    }
    if family == Family::Phi3
        && let Some(positions) = options.max_positions
    {
        facts.at_most(positions.max(1), format!("the model was loaded for {positions} positions"));
    }
    facts
}

/// What candle computes otherwise than the file says; each sentence makes a record suspect.
fn caveats(family: Family, header: &Header, content: &Content) -> Vec<String> {
    let mut caveats = Vec::new();
    let ignored = ignored_tensors(family, header);
    if header.has_rope_factors {
        caveats.push(
            "candle ignores rope_freqs.weight, so the rotary angles differ from those this model was trained with"
                .to_owned(),
        );
    }
    if !ignored.is_empty() {
        caveats.push(format!(
            "candle ignores {} of the model's tensors: {}",
            ignored.len(),
            some_of(&ignored)
        ));
    }
    if family == Family::Gemma3 {
        caveats.push(
            "candle's quantized Gemma 3 computes SiLU where the model was trained with GELU".to_owned(),
        );
    }
    let architecture = &header.spec.architecture;
    if let Some(Value::String(scaling)) = content.metadata.get(&format!("{architecture}.rope.scaling.type"))
        && scaling != "none"
    {
        caveats.push(format!("candle ignores the model's {scaling} scaling of rotary positions"));
    }
    if family == Family::Phi3 {
        if let Some(base) = content.metadata.get("phi3.rope.freq_base").and_then(|value| value.to_f32().ok())
            && (base - 10_000.0).abs() > 0.5
        {
            caveats.push(format!(
                "candle rotates positions with base 10000, but the model was trained with {base}"
            ));
        }
        if let Some(window) = number(content, "phi3.attention.sliding_window")
            && window < header.spec.context_length
        {
            caveats.push(format!("candle ignores the model's sliding window of {window} positions"));
        }
    }
    caveats
}

fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} …") } else { shown }
}

fn number(content: &Content, key: &str) -> Option<u32> {
    content.metadata.get(key)?.to_u32().ok().filter(|value| *value > 0)
}

/// Remembers the first failure of a read that the reader's user may swallow.
struct Watched<R> {
    inner: R,
    failure: Option<io::Error>,
}

impl<R> Watched<R> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failure.get_or_insert_with(|| io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        self.note(result)
    }
}

impl<R: Seek> Seek for Watched<R> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        let result = self.inner.seek(position);
        self.note(result)
    }
}

/// `forward` of candle's quantized types already gives the last position's logits as `[batch, vocabulary]`.
macro_rules! network {
    ($($type:ty, $fork:expr, $reset:expr;)+) => { $(
        impl Network for $type {
            fn forward(&mut self, tokens: &Tensor, position: usize) -> Result<Tensor> {
                <$type>::forward(self, tokens, position)
            }

            fn reset(&mut self) {
                let reset: fn(&mut $type) = $reset;
                reset(self);
            }

            fn fork(&self) -> Option<Box<dyn Network>> {
                let fork: fn(&$type) -> Option<Box<dyn Network>> = $fork;
                fork(self)
            }
        }
    )+ };
}

network! {
    llama::ModelWeights, |model| Some(Box::new(model.clone())), llama::ModelWeights::clear_kv_cache;
    // The one type without Clone: its contexts are fed again.
    qwen2::ModelWeights, |_| None, qwen2::ModelWeights::clear_kv_cache;
    qwen3::ModelWeights, |model| Some(Box::new(model.clone())), qwen3::ModelWeights::clear_kv_cache;
    // These two have no such call; they drop their cache in a step at position 0.
    gemma3::ModelWeights, |model| Some(Box::new(model.clone())), |_| {};
    phi3::ModelWeights, |model| Some(Box::new(model.clone())), |_| {};
}
