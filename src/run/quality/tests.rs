//! Real engines on tiny models: chunk by chunk against one context at a time.

use std::path::Path;

use candle_core::quantized::GgmlDType;

use super::*;
use crate::engine::Options;
use crate::model::{Header, Model, Source};
use crate::run::engines::Kind;
use infercost_testing::{Tiny, VOCABULARY};

const BOS: u32 = 1;

fn tokens(count: usize) -> Vec<u32> {
    (0..count).map(|i| u32::try_from((i * i * 7 + i * 37 + 11) % VOCABULARY).unwrap()).collect()
}

fn tiny(architecture: &'static str, dtype: GgmlDType) -> Tiny {
    let mut tiny = Tiny::of(architecture);
    tiny.dtype = dtype;
    tiny
}

fn open(kind: Kind, path: &Path, header: &Header) -> Box<dyn Engine> {
    let source = Source::Gguf(path.to_owned());
    let model = Model { id: "tiny".to_owned(), header: header.clone(), source, origin: String::new() };
    let options =
        Options { max_positions: Some(256), max_batch: Some(1), threads: Some(2), ..Options::default() };
    kind.load(&model, &options, &Interrupt::default()).unwrap()
}

fn text(count: usize, bos: Option<u32>, context: u32, most: Option<u32>) -> Text {
    Text::new("text.txt", tokens(count), bos, context, most).unwrap()
}

fn all(text: &Text, engine: &mut dyn Engine, reference: Option<&mut dyn Engine>) -> Finished {
    measure(text, engine, reference, &Interrupt::default(), &mut |_| ()).unwrap()
}

/// The protocol by its words: each scored token has a context of its own, fed from the start.
fn by_words(engine: &mut dyn Engine, tokens: &[u32], bos: Option<u32>, context: usize) -> Scores {
    let mut scores = Scores::default();
    for chunk in tokens.chunks_exact(context) {
        for at in context / 2 + 1..context {
            let mut before = chunk[..at].to_vec();
            before[0] = bos.unwrap_or(before[0]);
            let logits = engine.logits(&[before], &Interrupt::default()).unwrap().remove(0);
            scores.add(Row::of(&logits, chunk[at]).unwrap());
        }
    }
    scores
}

#[test]
fn perplexity_follows_the_protocol_on_every_engine() {
    for (architecture, dtype) in [("llama", GgmlDType::F32), ("qwen3", GgmlDType::Q8_0)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        let header = tiny(architecture, dtype).write(&path);
        for kind in [Kind::Fused, Kind::Candle] {
            let mut engine = open(kind, &path, &header);
            for bos in [None, Some(BOS)] {
                // 24 tokens are left over after two chunks; the second half of 88 is longer than a step with logits.
                let found = all(&text(200, bos, 88, None), &mut *engine, None);
                let expected = by_words(&mut *engine, &tokens(200), bos, 88);
                assert_eq!((found.chunks, found.scores.count(), found.against), (2, 86, None));
                let [found, expected] = [found.scores, expected].map(|scores| scores.perplexity().unwrap());
                let ratio = found.value / expected.value;
                assert!(
                    (ratio - 1.0).abs() < 1e-3,
                    "{architecture} {kind:?} {bos:?}: {found:?} {expected:?}"
                );
                let ratio = found.standard_error / expected.standard_error;
                assert!(
                    (ratio - 1.0).abs() < 1e-2,
                    "{architecture} {kind:?} {bos:?}: {found:?} {expected:?}"
                );
            }
        }
    }
}

#[test]
fn engines_agree_on_one_file_and_differ_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = tiny("llama", GgmlDType::F32).write(&path);
    let text = text(400, Some(BOS), 128, None);
    let mut fused = open(Kind::Fused, &path, &header);
    let mut same = open(Kind::Fused, &path, &header);
    let found = all(&text, &mut *fused, Some(&mut *same));
    let (scores, agreement) = found.against.unwrap();
    assert_eq!(scores, found.scores);
    assert_eq!(agreement.divergence().unwrap().value.to_bits(), 0f64.to_bits());
    assert_eq!(agreement.top1().unwrap().value.to_bits(), 1f64.to_bits());

    let mut candle = open(Kind::Candle, &path, &header);
    let (_, agreement) = all(&text, &mut *fused, Some(&mut *candle)).against.unwrap();
    // The cache of one is in half, of the other in single precision: a hundredth of what `Q4_0` does below.
    let divergence = agreement.divergence().unwrap().value;
    assert!(divergence > 0.0 && divergence < 1e-4, "{divergence}");

    let other = folder.path().join("other.gguf");
    let header = tiny("llama", GgmlDType::Q4_0).write(&other);
    let mut coarse = open(Kind::Fused, &other, &header);
    let (_, agreement) = all(&text, &mut *coarse, Some(&mut *fused)).against.unwrap();
    let (divergence, top1) = (agreement.divergence().unwrap(), agreement.top1().unwrap());
    assert!(divergence.value > 1e-2 && divergence.standard_error > 0.0, "{divergence:?}");
    assert!(top1.value < 1.0, "{top1:?}");
}

#[test]
fn an_interruption_keeps_the_chunks_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = Tiny::of("llama").write(&path);
    let mut engine = open(Kind::Fused, &path, &header);
    let text = text(400, None, 64, None);
    let whole = all(&text, &mut *engine, None);
    assert_eq!((whole.chunks, whole.interrupted), (6, false));
    let interrupt = Interrupt::default();
    let mut stop = |done| {
        if done == 3 {
            interrupt.request();
        }
    };
    let part = measure(&text, &mut *engine, None, &interrupt, &mut stop).unwrap();
    let three = self::text(400, None, 64, Some(3));
    assert_eq!(part, Finished { interrupted: true, ..all(&three, &mut *engine, None) });
    assert_eq!((part.chunks, part.scores.count()), (3, 3 * 31));
}

#[test]
fn a_text_that_is_too_short_says_how_long_it_must_be() {
    let error = Text::new("short.txt", tokens(1023), None, 512, None).unwrap_err().to_string();
    assert!(error.starts_with("short.txt: it has 1023 tokens") && error.contains("at least 1024"), "{error}");
    assert_eq!(Text::new("text.txt", tokens(1024), None, 512, None).unwrap().chunks(), 2);
    assert_eq!(text(1024, None, 512, Some(1)).chunks(), 1);
    assert_eq!(text(1024, None, 512, Some(9)).chunks(), 2);
}
