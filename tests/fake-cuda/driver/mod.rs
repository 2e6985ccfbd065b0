//! The driver's side: a machine that a script describes, its state, and the door that every function goes through.
//!
//! One lock is held for the whole of a call. A kernel's fault is told on stderr and in the script's log, and ends
//! the context as on a card: every later call gives its code.

pub mod api;
pub mod card;
pub mod code;
pub mod launch;
pub mod memory;
pub mod module;
pub mod script;
pub mod stream;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use code::Code;
use memory::Memory;
use module::Module;
use script::Script;
use stream::{DEFAULT, Stream, Streams, Work};

use crate::ptx::decode::Kernel;

/// A kernel that was taken from a module.
#[derive(Debug, Clone)]
pub struct Function {
    pub kernel: Arc<Kernel>,
    pub module: usize,
    pub device: usize,
    pub dynamic_shared: Option<u32>,
}

/// Everything that the driver knows.
#[derive(Debug)]
pub struct State {
    pub script: Script,
    pub initialized: bool,
    /// Holders of each card's primary context.
    pub contexts: Vec<u32>,
    pub memory: Memory,
    pub streams: Streams,
    pub modules: HashMap<usize, Module>,
    pub functions: HashMap<usize, Function>,
    pub graphs: HashMap<usize, Vec<Work>>,
    pub executables: HashMap<usize, Vec<Work>>,
    pub pool_threshold: u64,
    calls: HashMap<String, u64>,
    dead: Option<Code>,
    handles: usize,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

thread_local! {
    /// The card whose context is current on this thread, and those below it.
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// First handle: no pointer to anything.
const HANDLES: usize = 0x1000_0000;

impl State {
    /// The machine of a script.
    pub fn new(script: Script) -> Self {
        let mut streams = Streams::default();
        streams.all.insert(DEFAULT, Stream { blocking: true, ..Stream::default() });
        Self {
            contexts: vec![0; script.cards.len()],
            script,
            initialized: false,
            memory: Memory::default(),
            streams,
            modules: HashMap::new(),
            functions: HashMap::new(),
            graphs: HashMap::new(),
            executables: HashMap::new(),
            pool_threshold: 0,
            calls: HashMap::new(),
            dead: None,
            handles: HANDLES,
        }
    }

    /// A handle that was never given before.
    pub fn handle(&mut self) -> usize {
        self.handles += 16;
        self.handles
    }

    /// The card whose context is current.
    pub fn current(&self) -> Result<usize, Code> {
        CURRENT.get().filter(|device| self.contexts[*device] > 0).ok_or(Code::INVALID_CONTEXT)
    }

    /// A stream by its handle; 1 and 2 are other names of the default one.
    pub fn stream(&self, handle: usize) -> Result<usize, Code> {
        let id = if handle <= 2 { DEFAULT } else { handle };
        if self.streams.all.contains_key(&id) { Ok(id) } else { Err(Code::INVALID_HANDLE) }
    }

    /// The context ends with a fault.
    fn die(&mut self, code: Code, what: &str) -> Code {
        self.say(what);
        self.dead = Some(code);
        code
    }

    /// Tells what is wrong, on stderr and in the log.
    #[allow(clippy::print_stderr, reason = "for whoever reads the test's output")]
    fn say(&self, what: &str) {
        eprintln!("fake CUDA: {what}");
        self.log(&format!("fault {what}"));
    }

    /// A line for the log, where the script names one.
    fn log(&self, line: &str) {
        let Some(path) = &self.script.log else { return };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        // A log that cannot be written changes nothing for the caller.
        file.and_then(|mut file| writeln!(file, "{line}")).ok();
    }

    /// The code with which the script has this call fail.
    fn scripted(&mut self, function: &str) -> Option<Code> {
        let calls = self.calls.entry(function.to_owned()).or_default();
        *calls += 1;
        let fails = |failure: &&script::Failure| failure.function == function && *calls > failure.after;
        let code = Code(self.script.failures.iter().find(fails)?.code);
        // What a card reports once it is lost or broken, it reports for ever.
        if matches!(code.0, 700..=720 | 999) {
            self.dead = Some(code);
        }
        Some(code)
    }
}

/// What a function may be called for: before `cuInit`, or with a context that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    Init,
    /// A context that works.
    Context,
}

/// Runs a function's body under the lock, after what every function checks.
pub fn call(function: &str, needs: Needs, body: impl FnOnce(&mut State) -> Result<(), Code>) -> i32 {
    let mut guard = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    if guard.is_none() {
        let script = api::own_path().and_then(|path| {
            let mut path = path.into_os_string();
            path.push(".script");
            Script::read(path.as_ref())
        });
        match script {
            Ok(script) => *guard = Some(State::new(script)),
            Err(error) => {
                #[allow(clippy::print_stderr, reason = "for whoever wrote the script")]
                {
                    eprintln!("fake CUDA: {error}");
                }
                return Code::UNKNOWN.0;
            }
        }
    }
    let Some(state) = guard.as_mut() else { return Code::UNKNOWN.0 };
    if let Some(code) = state.scripted(function) {
        // A capture is over however its end comes out.
        if function == "cuStreamEndCapture" {
            state.abandon_captures();
        }
        return code.0;
    }
    if needs != Needs::Nothing && !state.initialized {
        return Code::NOT_INITIALIZED.0;
    }
    if needs == Needs::Context {
        if let Some(code) = state.dead {
            return code.0;
        }
        if let Err(code) = state.current() {
            return code.0;
        }
    }
    match body(state) {
        Ok(()) => 0,
        Err(code) => code.0,
    }
}

/// Makes a card's context current on this thread.
pub fn make_current(device: Option<usize>) {
    CURRENT.set(device);
}

/// The card whose context this thread has, if it is one.
pub fn current_raw() -> Option<usize> {
    CURRENT.get()
}
