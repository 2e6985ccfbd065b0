//! The engine on a GPU that is not there: its compiled kernels are executed by the PTX machine, `tests/fake-cuda`.
//!
//! This executable starts itself again with the stand-in for the driver on `LD_LIBRARY_PATH`, since a process has one
//! driver; what happens then is the test whose name ends in `inside`, which does what the file `case` says.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use candle_core::quantized::GgmlDType;

use super::reference::Reference;
use super::serving;
use super::{ALL, POSITIONS, ROUNDED_TOLERANCE, TYPES, distance, greedy, iq4, mxfp4, open, tiny, tokens};
use crate::base::env;
use crate::base::sys::Interrupt;
use crate::fused::cuda::tests::{products, tensor_types};
use crate::fused::network::MATRIX_TYPES;
use crate::fused::{KvType, gpu_back_end, load};
use crate::hardware::cuda::{Kind, Places, survey};
use crate::model::{Header, Model, Source, TensorType};
use crate::schedule::{Request, Scheduled, ServeOptions};
use crate::{Device, Engine, Launches, Options, SequencePlan};
use infercost_testing::Tiny;

/// How far logits may be from f64 where activations are rounded to f16.
const HALVED_TOLERANCE: f64 = 3e-3;

const CARD: &str = "card h100-sxm5-80gb\n";
const INSIDE: &str = "fused::tests::cuda::inside";
const CASE: &str = "case";

/// Whether kernels can be compiled; CI must be able to.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn can_compile() -> bool {
    let found = Places::here().find(Kind::Nvrtc, None).is_some();
    assert!(found || !env::is_ci(), "CI needs NVRTC: scripts/fetch-nvrtc");
    if !found {
        eprintln!("skipped: NVRTC is not here; get it with scripts/fetch-nvrtc");
    }
    found
}

/// Runs `inside` for a case under a driver with this script, which has no function but those that `keeps` says; compiled
/// kernels go to `cache`, or to the user's.
fn child(case: &str, script: &str, keeps: impl Fn(&str) -> bool, cache: Option<&Path>) -> Output {
    let test = std::env::current_exe().expect("the test's own path");
    let built = test.parent().expect("a folder").join("libfake_cuda.so");
    let mut library = fs::read(&built).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    for name in library.split_mut(|byte| *byte == 0) {
        let is_function = |name: &&str| {
            let rest = name.strip_prefix("cu").unwrap_or_default();
            rest.starts_with(|c: char| c.is_ascii_uppercase())
                && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        let hidden = std::str::from_utf8(name).ok().filter(is_function).is_some_and(|name| !keeps(name));
        // Nobody finds a function under another name.
        if let Some(last) = name.last_mut().filter(|_| hidden) {
            *last = b'?';
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("libcuda.so.1"), library).expect("a copy of the library");
    fs::write(folder.path().join("libcuda.so.1.script"), script).expect("its script");
    fs::write(folder.path().join(CASE), case).expect("the case");
    let mut command = Command::new(test);
    command.args(["--exact", INSIDE, "--nocapture"]).current_dir(folder.path());
    // NVRTC may lie in the user's cache.
    let nvrtc = Places::here().find(Kind::Nvrtc, None).expect("NVRTC");
    let folders = [folder.path(), nvrtc.path.parent().expect("a folder")];
    command.env("LD_LIBRARY_PATH", std::env::join_paths(folders).expect("folders without a colon"));
    if let Some(cache) = cache {
        command.env("XDG_CACHE_HOME", cache);
    }
    command.output().expect("the test starts")
}

/// What a case found, which must end well.
fn check(case: &str) {
    check_on(CARD, case);
}

#[allow(clippy::print_stderr, reason = "docs/engine.md states the distances: run it with --nocapture")]
fn check_on(card: &str, case: &str) {
    if !can_compile() {
        return;
    }
    let output = child(case, card, |_| true, None);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{case}: {:?}\n{out}{err}", output.status);
    eprintln!("{err}");
}

#[test]
fn inside() {
    let Ok(case) = fs::read_to_string(CASE) else { return };
    let words: Vec<&str> = case.split(' ').collect();
    match words[..] {
        ["logits", architecture] => logits_of(named(architecture)),
        ["tokens", architecture] => tokens_of(named(architecture)),
        ["cuts", architecture, dtype] => cuts_of(named(architecture), typed(dtype)),
        ["products", kind] => products(of_label(kind)),
        ["long", architecture] => long_of(named(architecture)),
        ["groups", heads, kv_heads] => groups_of(heads.parse().unwrap(), kv_heads.parse().unwrap()),
        ["head", size] => heads_of(size.parse().unwrap()),
        ["eight-bits", architecture] => eight_bits_of(named(architecture)),
        ["preempted"] => preempted(),
        ["graphs", architecture, dtype] => graphs_of(named(architecture), typed(dtype)),
        ["parts"] => parts_of(),
        ["decode"] => decode(),
        ["once"] => once(GgmlDType::Q8_0, Launches::Graphs),
        ["once", dtype] => once(typed(dtype), Launches::Graphs),
        ["watched", dtype] => once(typed(dtype), Launches::Watched),
        _ => panic!("{case}"),
    }
}

fn of_label(label: &str) -> TensorType {
    tensor_types().find(|kind| kind.label() == label).expect("a type for tensor cores")
}

fn typed(dtype: &str) -> GgmlDType {
    TYPES.into_iter().find(|known| format!("{known:?}") == dtype).expect("a type")
}

fn named(architecture: &str) -> &'static str {
    ALL.into_iter().find(|name| *name == architecture).expect("an architecture")
}

fn on_gpu(batch: u32, kv_type: KvType) -> Options {
    let device = Device::Cuda(0);
    Options { device, max_batch: Some(batch), max_positions: Some(POSITIONS), kv_type, ..Options::default() }
}

/// An engine on the GPU for one sequence.
fn gpu(path: &Path, header: &Header) -> Box<dyn Engine> {
    open(path, header.clone(), &on_gpu(1, KvType::F16))
}

fn logits(engine: &mut dyn Engine, prompt: &[u32]) -> Vec<f32> {
    engine.logits(&[prompt.to_vec()], &Interrupt::default()).unwrap().remove(0)
}

/// A shape with as few weights as each type and architecture allows.
fn small(architecture: &'static str, dtype: GgmlDType) -> Tiny {
    let shape = tiny(architecture, dtype);
    // So many that each kind of block is there.
    let layers = if matches!(architecture, "gemma3" | "smollm3") { shape.layers } else { 2 };
    Tiny { layers, rope_factors: architecture == "llama", ..shape }
}

#[allow(clippy::print_stderr, reason = "docs/engine.md states the distances")]
fn logits_of(architecture: &'static str) {
    let types = TYPES.into_iter().chain([GgmlDType::BF16]);
    let types = types.map(|dtype| (format!("{dtype:?}"), small(architecture, dtype)));
    let fp4 = (architecture == "gpt-oss").then(|| ("MXFP4".to_owned(), Tiny { layers: 2, ..mxfp4() }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let looked_up = (architecture == "llama").then(|| {
        [TensorType::IQ4_NL, TensorType::IQ4_XS]
            .map(|dtype| (dtype.to_string(), Tiny { layers: 2, ..iq4("llama", dtype) }))
    });
    for (what, shape) in types.chain(fp4).chain(looked_up.into_iter().flatten()) {
        let header = shape.write(&path);
        // A page and a part of the next one for unquantized weights; the types themselves need no length.
        let prompt = tokens(if what == "F32" { 70 } else { 9 }, 4);
        let expected = Reference::with_cache(&path, KvType::F16).logits(&prompt);
        let found = distance(&logits(&mut *gpu(&path, &header), &prompt), &expected);
        eprintln!("{architecture} {what}: {found:.5}");
        let on_tensor_cores =
            header.tensors.iter().any(|tensor| tensor_types().any(|kind| kind == tensor.dtype));
        let tolerance = match (on_tensor_cores, shape.experts.is_some()) {
            (false, _) => ROUNDED_TOLERANCE,
            (true, false) => HALVED_TOLERANCE,
            // Where two experts are nearly alike, rounding an activation may choose the other one.
            (true, true) => 10.0 * HALVED_TOLERANCE,
        };
        assert!(found < tolerance, "{architecture} {what}: {found}");
    }
}

/// The processor's tokens and the GPU's, for weights with which neither rounds more than the cache does.
fn tokens_of(architecture: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = small(architecture, GgmlDType::F32).write(&path);
    let plan = |salt| SequencePlan { prompt: tokens(20, salt), output_tokens: 12, ..SequencePlan::default() };
    let [on_processor, on_gpu] =
        [Options { max_positions: Some(POSITIONS), ..Options::default() }, on_gpu(1, KvType::F16)].map(
            |options| {
                let mut engine = open(&path, header.clone(), &options);
                (0..2).flat_map(|salt| greedy(&mut *engine, vec![plan(salt)])).collect::<Vec<_>>()
            },
        );
    assert_eq!(on_gpu, on_processor, "{architecture}");
}

/// However a prompt is cut and whatever else is in the batch, a sequence has the tokens and the bits of logits that it has
/// alone.
fn cuts_of(architecture: &'static str, dtype: GgmlDType) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = small(architecture, dtype).write(&path);
    let lengths = [70, 3, 66];
    let plan = |salt: usize, context: usize| {
        let all = tokens(lengths[salt], salt);
        let context = context.min(all.len() - 1);
        SequencePlan { context: all[..context].to_vec(), prompt: all[context..].to_vec(), output_tokens: 3 }
    };
    let mut one = gpu(&path, &header);
    let alone: Vec<_> = (0..3).flat_map(|salt| greedy(&mut *one, vec![plan(salt, 0)])).collect();
    let mut engine = open(&path, header.clone(), &on_gpu(3, KvType::F16));
    for context in [0, 1, 64] {
        let together = greedy(&mut *engine, (0..3).map(|salt| plan(salt, context)).collect());
        assert_eq!(together, alone, "{architecture}, context {context}");
    }
    let prompts: Vec<Vec<u32>> = (0..3).map(|salt| tokens(12, salt)).collect();
    let together = engine.logits(&prompts, &Interrupt::default()).unwrap();
    for (prompt, together) in prompts.iter().zip(together) {
        assert_eq!(logits(&mut *one, prompt), together, "{architecture}");
    }
}

/// A context of two parts of attention, of one page more, and cut around where the second part begins.
fn long_of(architecture: &'static str) {
    let shape =
        Tiny { width: 64, feed_forward: 64, heads: 2, kv_heads: 1, ..small(architecture, GgmlDType::F32) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = shape.write(&path);
    let prompt = tokens(530, 4);
    let mut engine = gpu(&path, &header);
    let found =
        distance(&logits(&mut *engine, &prompt), &Reference::with_cache(&path, KvType::F16).logits(&prompt));
    assert!(found < ROUNDED_TOLERANCE, "{architecture}: {found}");
    let mut greedy_from = |context: usize| {
        let (context, prompt) = (prompt[..context].to_vec(), prompt[context..].to_vec());
        greedy(&mut *engine, vec![SequencePlan { context, prompt, output_tokens: 3 }])
    };
    let whole = greedy_from(0);
    for context in [511, 512] {
        assert_eq!(greedy_from(context), whole, "{architecture}, context {context}");
    }
}

/// Heads in groups that no block has whole: the last of several blocks of a group has fewer, or all of one are fewer.
fn groups_of(heads: usize, kv_heads: usize) {
    let shape = Tiny { width: 64, feed_forward: 64, heads, kv_heads, ..small("gpt-oss", GgmlDType::F32) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = shape.write(&path);
    let prompt = tokens(70, 4);
    let found = logits(&mut *gpu(&path, &header), &prompt);
    let found = distance(&found, &Reference::with_cache(&path, KvType::F16).logits(&prompt));
    assert!(found < ROUNDED_TOLERANCE, "{heads} heads, {kv_heads} of keys: {found}");
}

fn heads_of(size: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let shape =
        Tiny { width: 64, feed_forward: 64, heads: 6, kv_heads: 2, ..small("gpt-oss", GgmlDType::F32) };
    let header = Tiny { head_size: size, ..shape }.write(&path);
    let prompt = tokens(70, 4);
    for (kv_type, tolerance) in [(KvType::F16, ROUNDED_TOLERANCE), (KvType::Q8_0, 0.003)] {
        if kv_type == KvType::Q8_0 && !size.is_multiple_of(32) {
            continue;
        }
        let found = logits(&mut *open(&path, header.clone(), &on_gpu(1, kv_type)), &prompt);
        let found = distance(&found, &Reference::with_cache(&path, kv_type).logits(&prompt));
        assert!(found < tolerance, "heads of {size}, {kv_type:?}: {found}");
    }
}

fn eight_bits_of(architecture: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = small(architecture, GgmlDType::F32).write(&path);
    let prompt = tokens(70, 4);
    let exact = Reference::open(&path).logits(&prompt);
    let expected = Reference::with_cache(&path, KvType::Q8_0).logits(&prompt);
    let found = logits(&mut *open(&path, header, &on_gpu(1, KvType::Q8_0)), &prompt);
    let (near, far) = (distance(&found, &expected), distance(&found, &exact));
    assert!(near < 0.003 && far > 2.0 * near, "{architecture}: {near}, from exact keys {far}");
}

/// Requests that lose their pages and come back get the tokens that they get alone.
fn preempted() {
    let shape =
        Tiny { width: 64, feed_forward: 64, heads: 2, kv_heads: 1, ..small("llama", GgmlDType::Q8_0) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = shape.write(&path);
    let requests = serving::requests(8, 11);
    let mut one = gpu(&path, &header);
    let mut alone = |request: &Request| {
        let (prompt, output_tokens) = (request.prompt.clone(), request.output_tokens);
        greedy(&mut *one, vec![SequencePlan { prompt, output_tokens, ..SequencePlan::default() }]).remove(0)
    };
    let alone: Vec<Vec<u32>> = requests.iter().map(&mut alone).collect();
    let model = Model { id: String::new(), header, source: Source::Gguf(path), origin: String::new() };
    let options = on_gpu(8, KvType::F16);
    let engine = gpu_back_end(&model, (0, &options), &Interrupt::default(), &|_| ()).unwrap();
    let mut scheduled = Scheduled::new(serving::FewPages { engine, pages: 5 });
    let mut preemptions = 0;
    for share_prefixes in [false, true] {
        let how = ServeOptions { share_prefixes, spare_pages: Some(0), ..ServeOptions::default() };
        let served = scheduled.serve(&requests, &how, &mut Vec::new(), &Interrupt::default()).unwrap();
        serving::check(&served, &alone, &format!("{how:?}"));
        preemptions += served.preemptions;
    }
    assert!(preemptions > 0, "nobody had to give way");
}

/// Sequences of these lengths that a batch decodes, each past the end of a page or up to it.
const DECODED: u32 = 6;

fn decoded(lengths: &[usize]) -> Vec<SequencePlan> {
    let plan = |(salt, length): (usize, &usize)| SequencePlan {
        prompt: tokens(*length, salt),
        output_tokens: DECODED,
        ..SequencePlan::default()
    };
    lengths.iter().enumerate().map(plan).collect()
}

/// Batches of one, of three, and of nine in a bucket of ten.
const BATCHES: [&[usize]; 3] = [&[61], &[3, 62, 60], &[2, 61, 5, 1, 63, 4, 9, 7, 62]];

/// Tokens of decode steps that are graphs, and of the same kernels one by one.
fn graphs_of(architecture: &'static str, dtype: GgmlDType) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = small(architecture, dtype).write(&path);
    let [graphs, single] = [Launches::Graphs, Launches::Single].map(|launches| {
        let mut engine = open(&path, header.clone(), &Options { launches, ..on_gpu(10, KvType::F16) });
        let said = engine.capabilities().choices.last().unwrap().clone();
        assert_eq!(
            said.contains("up to 10 sequences are CUDA graphs"),
            launches == Launches::Graphs,
            "{said}"
        );
        // Twice, so that what one batch leaves in a graph's memory would show in the next.
        let batches = BATCHES.iter().chain(BATCHES.iter().rev());
        batches.map(|lengths| greedy(&mut *engine, decoded(lengths))).collect::<Vec<_>>()
    });
    assert_eq!(graphs, single, "{architecture} {dtype:?}");
}

/// A sequence that grows into the second part of attention.
fn parts_of() {
    let shape = Tiny { width: 64, feed_forward: 64, heads: 2, kv_heads: 1, ..small("llama", GgmlDType::F32) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = shape.write(&path);
    let [graphs, single] = [Launches::Graphs, Launches::Single].map(|launches| {
        let options = Options { launches, max_positions: Some(600), ..on_gpu(1, KvType::F16) };
        greedy(&mut *open(&path, header.clone(), &options), decoded(&[509]))
    });
    assert_eq!(graphs, single);
}

/// Loads a model, lets it decode, and says what it then says of itself.
#[allow(clippy::print_stdout, reason = "the test that started this one reads it")]
fn decode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = small("llama", GgmlDType::F32).write(&path);
    let mut engine = open(&path, header, &on_gpu(1, KvType::F16));
    let found = greedy(&mut *engine, decoded(&[3]));
    println!("\ndone: {found:?}; {}", engine.capabilities().choices.join("; "));
}

/// Loads a model and runs it once, and says what came of it in one line.
#[allow(clippy::print_stdout, reason = "the test that started this one reads it")]
fn once(dtype: GgmlDType, launches: Launches) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    let header = small("llama", dtype).write(&path);
    let model = Model { id: "test".to_owned(), header, source: Source::Gguf(path), origin: String::new() };
    let options = Options { launches, ..on_gpu(1, KvType::F16) };
    let ran = load(&model, &options, &Interrupt::default(), &|_| ()).and_then(|mut engine| {
        engine.logits(&[tokens(2, 1)], &Interrupt::default())?;
        Ok(engine.capabilities().clone())
    });
    match ran {
        Ok(with) => {
            let (kernels, choices) = (with.kernels.unwrap_or_default(), with.choices.join("; "));
            println!("\ndone: it ran; {kernels}; {choices}");
        }
        Err(error) => println!("\nreason: {error}"),
    }
}

#[test]
fn logits_are_those_of_f64_for_every_architecture_and_type() {
    for architecture in ALL {
        check(&format!("logits {architecture}"));
    }
}

#[test]
fn tokens_are_those_of_the_processor() {
    for architecture in ALL {
        check(&format!("tokens {architecture}"));
    }
}

#[test]
fn batches_chunks_and_pages_change_no_bit() {
    for case in ["llama Q4_0", "qwen2 Q4_0", "gpt-oss Q4_0", "llama Q4K"] {
        check(&format!("cuts {case}"));
    }
}

/// A card that even small matrices and batches fill.
fn small_card() -> String {
    CARD.replace('\n', " multiprocessors=1\n")
}

/// On a card that small matrices fill, steps of many tokens stage their activations. A load of 16 bytes a lane takes
/// four wavefronts of shared memory, and more where lanes ask for the same bank.
#[test]
fn steps_of_many_tokens_stage_their_activations_and_change_no_bit() {
    if !can_compile() {
        return;
    }
    let log = logged_case("cuts llama Q4K", &small_card());
    let staged = logged(&log, "launch multiply_staged ");
    // 139 tokens, which no check at load has.
    let of_step: Vec<&&str> = staged.iter().filter(|line| line.contains("grid=[3, ")).collect();
    assert!(!of_step.is_empty(), "{staged:?}");
    // A warp loads 64 columns of 64 tokens with 16 loads; the matrices of a layer have 256 columns, and the last one 512.
    for (number, line) in of_step.iter().enumerate() {
        let field = |name: &str| line.split(name).nth(1).and_then(|rest| rest.split([' ', ',']).next());
        let whole = |name: &str| field(name).and_then(|text| text.parse::<u64>().ok()).expect(name);
        let chunks = if number % 4 == 3 { 8 } else { 4 };
        let blocks = 3 * whole("grid=[3, ");
        assert_eq!(whole("wavefronts="), blocks * chunks * 8 * 16 * 4, "{line}");
    }
}

/// Lines of the driver's log that begin with this.
fn logged<'a>(log: &'a str, start: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.starts_with(start)).collect()
}

/// Runs a case on such a card with a log of the driver's, which it gives.
fn logged_case(case: &str, card: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let output = child(case, &format!("{card}log {}\n", log.display()), |_| true, None);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{case}: {:?}\n{out}{err}", output.status);
    fs::read_to_string(log).expect("a log")
}

#[test]
fn decode_steps_are_graphs_that_change_no_bit() {
    if !can_compile() {
        return;
    }
    // The check at load, and all steps of each batch but the prompt's, each batch twice; a graph for each size of batch.
    let steps = 1 + 2 * BATCHES.len() * (DECODED as usize - 1);
    for case in ["llama Q4_0", "gpt-oss Q4_0", "qwen2 F32"] {
        let log = logged_case(&format!("graphs {case}"), CARD);
        let (made, replayed) = (logged(&log, "instantiate "), logged(&log, "graph "));
        assert_eq!((made.len(), replayed.len()), (BATCHES.len(), steps), "{case}: {made:?}");
        // Two layers of a dozen kernels, and a copy at either end.
        let nodes = |line: &&str| line.rsplit('=').next().and_then(|count| count.parse::<usize>().ok());
        assert!(made.iter().all(|line| nodes(line).is_some_and(|nodes| nodes > 24)), "{case}: {made:?}");
    }
    // Positions 509 to 511, and 512 to 513 with two parts.
    let log = logged_case("parts", CARD);
    assert_eq!((logged(&log, "instantiate ").len(), logged(&log, "graph ").len()), (2, 1 + 5), "{log}");
}

#[test]
fn a_driver_that_records_no_graph_launches_kernels_one_by_one() {
    if !can_compile() {
        return;
    }
    let said = |script: &str| {
        let output = child("decode", &format!("{CARD}{script}\n"), |_| true, None);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !err.contains("panicked"), "{script}\n{out}{err}");
        let done = out.lines().find_map(|line| line.strip_prefix("done: "));
        let (tokens, choices) = done.and_then(|done| done.split_once("; ")).expect("what it did");
        (tokens.to_owned(), choices.to_owned())
    };
    let (tokens, choices) = said("");
    assert!(
        choices.ends_with("decode steps of up to 1 sequence are CUDA graphs, checked at load"),
        "{choices}"
    );
    for (script, why) in [
        ("fail cuStreamBeginCapture_v2 801", "operation not supported"),
        ("fail cuStreamEndCapture 901", "due to a previous error during capture"),
        ("fail cuGraphInstantiateWithFlags 2", "out of memory"),
        ("fail cuGraphLaunch 801", "operation not supported"),
        // After the check at load.
        ("fail cuGraphLaunch 801 after=3", "operation not supported"),
    ] {
        let (found, choices) = said(script);
        assert_eq!(found, tokens, "{script}");
        let start = "kernels are launched one by one, without CUDA graphs: CUDA: ";
        assert!(choices.contains(start) && choices.ends_with(why), "{script}: {choices}");
        assert!(!choices.contains("are CUDA graphs"), "{script}: {choices}");
    }
}

#[test]
fn the_survey_compiles_every_type_that_the_engine_takes() {
    let sorted = |mut names: Vec<&'static str>| {
        names.sort_unstable();
        names
    };
    let labels = |types: &mut dyn Iterator<Item = TensorType>| sorted(types.map(TensorType::label).collect());
    assert_eq!(sorted(survey::MATRIX_TYPES.to_vec()), labels(&mut MATRIX_TYPES.into_iter()));
    assert_eq!(sorted(survey::TENSOR_TYPES.to_vec()), labels(&mut tensor_types()));
}

#[test]
fn products_on_tensor_cores_are_those_of_f64_and_the_same_in_every_batch() {
    for kind in tensor_types() {
        check(&format!("products {kind}"));
    }
}

#[test]
fn heads_in_groups_of_any_size_attend_as_in_f64() {
    for case in ["3 3", "6 2", "7 1", "10 1", "18 2"] {
        check_on(&small_card(), &format!("groups {case}"));
    }
}

/// Heads whose values a warp has whole, a half or a quarter of, in blocks of 64, 32 and 16 elements.
#[test]
fn heads_of_any_size_attend_as_in_f64() {
    for size in [16, 112, 192, 384] {
        check(&format!("head {size}"));
    }
}

#[test]
fn a_long_context_is_that_of_f64_and_the_same_in_every_cut() {
    for architecture in ["llama", "gpt-oss"] {
        check(&format!("long {architecture}"));
    }
}

#[test]
fn whoever_loses_its_pages_gets_the_tokens_that_it_gets_alone() {
    check("preempted");
}

#[test]
fn a_cache_of_eight_bits_is_near_f64() {
    for architecture in ["llama", "gpt-oss"] {
        check(&format!("eight-bits {architecture}"));
    }
}

#[test]
fn a_driver_that_fails_gives_a_sentence_and_no_panic() {
    if !can_compile() {
        return;
    }
    for (script, says) in [
        ("fail cuMemAlloc_v2 2 after=20", "out of memory"),
        ("card h100-sxm5-80gb memory=33554432", "memory"),
        ("fail cuMemcpyHtoDAsync_v2 719 after=10", "unspecified launch failure"),
        ("fail cuLaunchKernel 701 after=3", "too many resources"),
        ("fail cuStreamSynchronize 719 after=1", "unspecified launch failure"),
        ("fail cuMemcpyDtoHAsync_v2 999", "unknown error"),
        ("fail cuModuleLoadData 218", "PTX"),
        ("fail cuModuleGetFunction 500", "not found"),
        ("fail cuCtxSetCurrent 201", "invalid device context"),
    ] {
        let script =
            if script.starts_with("card") { format!("{script}\n") } else { format!("{CARD}{script}\n") };
        let output = child("once", &script, |_| true, None);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !err.contains("panicked"), "{script}\n{out}{err}");
        let reason = out.lines().find_map(|line| line.strip_prefix("reason: "));
        assert!(reason.is_some_and(|reason| reason.contains(says)), "{script}\n{out}{err}");
    }
}

/// The list of what is looked for before anything is called is whole: without all else, nothing is missed.
#[test]
fn no_function_is_called_that_was_not_looked_for() {
    if !can_compile() {
        return;
    }
    let source = include_str!("../../../../hardware/src/cuda/driver.rs");
    let literals = source.match_indices("c\"cu").map(|(at, _)| &source[at + 2..]);
    let needed: Vec<&str> = literals.filter_map(|rest| rest.split('"').next()).collect();
    assert!(needed.len() > 20, "{needed:?}");
    let output = child("once", CARD, |name| needed.contains(&name), None);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("done: it ran"), "{out}{err}");
}

/// Sums of a warp that take the wrong lanes, and keys of the wrong halves of a pair (`prmt` 0x7632 for 0x5410), planted in the code
/// that the cache keeps.
#[test]
fn a_kernel_that_computes_wrongly_is_found_when_a_model_is_loaded() {
    if !can_compile() {
        return;
    }
    let cache = tempfile::tempdir().expect("a folder");
    let once = || {
        let output = child("once", CARD, |_| true, Some(cache.path()));
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let right = once();
    assert!(right.contains("done: it ran"), "{right}");
    for (entry, from, to, says) in [
        ("multiply_many", "shfl.sync.bfly", "shfl.sync.up", "its kernel for Q8_0"),
        ("rms_norm", "shfl.sync.bfly", "shfl.sync.up", "its kernel rms_norm"),
        ("place_heads", "shfl.sync.bfly", "shfl.sync.up", "its kernel place_heads"),
        ("attend", ", 21520;", ", 30258;", "its kernel attend"),
    ] {
        let mut planted = Vec::new();
        for found in fs::read_dir(cache.path().join("infercost/cubins")).expect("a cache") {
            let file = found.expect("an entry").path();
            let code = fs::read(&file).expect("code");
            let Ok(text) = String::from_utf8(code) else { continue };
            let Some(at) = text.find(&format!(".entry {entry}(")) else { continue };
            let end = text[at + 1..].find(".entry ").map_or(text.len(), |next| at + 1 + next);
            let changed = text[at..end].replace(from, to);
            assert_ne!(changed, text[at..end]);
            fs::write(&file, [&text[..at], &changed, &text[end..]].concat()).expect("other code");
            planted.push((file, text));
        }
        assert!(!planted.is_empty(), "no code of {entry} in the cache");
        let wrong = once();
        assert!(
            wrong.contains("reason: ") && wrong.contains(&format!("gives wrong results: {says}")),
            "{wrong}"
        );
        for (file, text) in planted {
            fs::write(file, text).expect("the code as it was");
        }
    }
}

/// A fragment without the bits that make its codes numbers, planted in one kernel for tensor cores: the others are used.
#[test]
fn a_kernel_for_tensor_cores_that_computes_wrongly_is_dropped_by_name() {
    if !can_compile() {
        return;
    }
    let cache = tempfile::tempdir().expect("a folder");
    let once = || {
        let output = child("once Q4K", CARD, |_| true, Some(cache.path()));
        assert!(output.status.success(), "{output:?}");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        out.lines().find(|line| line.starts_with("done: ")).unwrap_or_else(|| panic!("{out}")).to_owned()
    };
    let right = once();
    assert!(right.contains("tensor cores, activations in f16: matrices of Q4_K"), "{right}");
    assert!(!right.contains("without"), "{right}");
    for (entry, kept) in [("multiply_64", true), ("multiply_staged", true), ("multiply_8", false)] {
        let mut planted = Vec::new();
        for found in fs::read_dir(cache.path().join("infercost/cubins")).expect("a cache") {
            let file = found.expect("an entry").path();
            let Ok(text) = String::from_utf8(fs::read(&file).expect("code")) else { continue };
            let Some(at) = text.find(&format!(".entry {entry}(")) else { continue };
            let (before, after) = text.split_at(at);
            fs::write(&file, before.to_owned() + &after.replacen("0xea;", "0xc0;", 1)).expect("other code");
            planted.push((file, text));
        }
        assert_eq!(planted.len(), 1, "one file has {entry}");
        let wrong = once();
        assert!(wrong.contains(&format!(" without {entry} for Q4_K")), "{wrong}");
        assert!(wrong.contains(&format!("{entry} for Q4_K is not used: its results are wrong: ")), "{wrong}");
        assert_eq!(wrong.contains("tensor cores, activations"), kept, "{wrong}");
        for (file, text) in planted {
            fs::write(file, text).expect("the code as it was");
        }
    }
}

/// Kernels for tensor cores whose barrier was taken out: the machine that executes them refuses.
#[test]
fn a_race_in_a_kernel_for_tensor_cores_is_found() {
    if !can_compile() {
        return;
    }
    let cache = tempfile::tempdir().expect("a folder");
    let once = || child("once Q4K", CARD, |_| true, Some(cache.path()));
    assert!(String::from_utf8_lossy(&once().stdout).contains("done: "));
    let mut planted = 0;
    for found in fs::read_dir(cache.path().join("infercost/cubins")).expect("a cache") {
        let file = found.expect("an entry").path();
        let Ok(text) = String::from_utf8(fs::read(&file).expect("code")) else { continue };
        if text.contains(".entry multiply_64(") && text.contains("bar.sync") {
            let without: Vec<&str> = text.lines().filter(|line| !line.contains("bar.sync")).collect();
            fs::write(&file, without.join("\n")).expect("other code");
            planted += 1;
        }
    }
    assert_eq!(planted, 1);
    let output = once();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("reason: ") && !out.contains("done: "), "{output:?}");
    // With each launch waited for, the error names the kernel that failed.
    let output = child("watched Q4K", CARD, |_| true, Some(cache.path()));
    let out = String::from_utf8_lossy(&output.stdout);
    let reason = out.lines().find_map(|line| line.strip_prefix("reason: ")).expect("a reason");
    assert!(reason.contains("kernel multiply_8: CUDA: unspecified launch failure"), "{reason}");
}
