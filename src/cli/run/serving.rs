//! `bench run --url URL` and `bench run --max-concurrency N`: load on a server or on an engine in this process, one record,
//! what it costs.

pub(super) mod args;
mod refused;
mod sensors;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::time::Duration;

use crate::base::failure::Usage;
use crate::base::{clock, env, redact, sys};
use crate::catalog::Catalog;
use crate::endpoint::{Api, Invalid, Patience, Target, Url};
use crate::hardware::device;
use crate::record::{self, Record, Verdict};
use crate::report::terminal::{self, Bar};
use crate::run::energy::Sensors;
use crate::run::measure::serving::Goals;
use crate::run::serving::{self, Asked, Error, Hardware, Job, Local, Named, Plan, Sealing, Told};
use crate::run::session::{self, Session, Watch as _};
use crate::workload::{self, Lengths, Stopped};

use super::super::values::list::List;
use super::super::{Output, exit};
use super::flags::{RunArgs, RunEngine};
use super::{show, steps};

use args::ServingArgs;

/// Prompt and output where none were asked for and the processor computes: as of rows without a load.
const LENGTHS_ON_A_PROCESSOR: (u32, u32) = (128, 32);

/// Share of the requests that must keep the goals at the rate that is searched.
const SLO_SHARE: f64 = 0.9;

/// What a load is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// The server at `--url`.
    OnAServer,
    /// An engine in this process.
    Here,
}

/// Whether the run is a load, and on what; checks that the flags are all for it, or none.
///
/// # Errors
/// [`Usage`] naming the first flag that has no meaning.
pub(super) fn is_asked(args: &RunArgs) -> Result<Option<Load>, Usage> {
    let ServingArgs { max_concurrency, request_rate, find, slo_share, .. } = &args.serving;
    let load = !max_concurrency.is_empty() || !request_rate.is_empty() || find.is_some();
    if slo_share.is_some() && find.is_none() {
        return Err(Usage::new("--slo-share", "it is for --find max-rate; leave it out"));
    }
    let on_a_server = args.serving.url.is_some() || args.serving.serve.is_some();
    match (on_a_server, args.engine) {
        (true, RunEngine::Auto | RunEngine::Endpoint) => {
            refused::with_a_server(args).map(|()| Some(Load::OnAServer))
        }
        (true, RunEngine::Fused | RunEngine::Candle) => Err(Usage::new(
            "--url",
            "it names a server, and --engine an engine in this process; leave one out",
        )),
        (false, RunEngine::Endpoint) => {
            Err(Usage::new("--engine endpoint", "it needs the server's address: --url http://localhost:8000"))
        }
        (false, _) if load => refused::in_process(args).map(|()| Some(Load::Here)),
        (false, _) => refused::without_a_load(&args.serving).map(|()| None),
    }
}

/// A load on an engine in this process.
pub(super) fn run_here(
    args: &RunArgs,
    catalog: &dyn Fn() -> Result<Catalog, crate::catalog::Error>,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
    // What is wrong with the flags alone is said before anything is looked at.
    let asked = asked(args);
    Plan::resolve(asked.clone())?;
    let interrupt = sys::Interrupt::install()?;
    session::limit_threads(args.threads)?;
    let request = args.request(super::super::typed(argv))?;
    let catalog = catalog()?;
    let session = Session::begin(&request, &catalog, &interrupt)?;
    let default_lengths = (!session.place.on_gpu()).then_some(LENGTHS_ON_A_PROCESSOR);
    let plan = Plan::resolve(Asked { default_lengths, ..asked })?;
    let file = plan.lengths.as_deref().map(|path| lengths(path, args.seed)).transpose()?;
    let chosen = session.model();
    steps::announce(&session, &chosen, output);
    if !args.dry_run {
        args.output.probe()?;
    }
    let bar = output.bar();
    let resolved = steps::resolve(&session, &chosen, args, &bar, output)?;
    bar.clear();
    let local = Local::new(&session, resolved, plan, file, args.serving.ignore_eos.unwrap_or(true))?;
    if args.dry_run {
        dry_run(args, local.plan(), &local.in_words(), output)?;
        local.check_memory()?;
        return Ok(session.check_settings()?);
    }
    local.check_memory()?;
    bar.spin("reading the model's hash");
    let content = local.content();
    bar.clear();
    let mut tell = telling(&bar, output);
    let measured = local.measure(&content, &bar, &mut tell);
    bar.clear();
    let (record, stopped) = or_silent(measured, &interrupt)?;
    let kept = publish(args, &record, output)?;
    ended(stopped, &record, &kept, &interrupt)
}

/// What came of a step; an interrupt ends the command without a word.
fn or_silent<T>(result: Result<T, Error>, interrupt: &sys::Interrupt) -> anyhow::Result<T> {
    match result {
        Err(Error::Interrupted) => Err(exit::Silent(interrupt.exit_code().unwrap_or(130)).into()),
        other => Ok(other?),
    }
}

/// Tells which row runs and what each came to.
fn telling<'a>(bar: &'a Bar, output: &'a Output) -> impl FnMut(Told<'_>) + 'a {
    |told| match told {
        Told::Begins { row, number: (number, all), time } => {
            let time = time.map_or_else(String::new, |time| format!(", {:.0} s", time.get().ceil()));
            bar.parts(number, all, &format!("{} (row {} of {all}{time})", row.label, number + 1));
        }
        Told::Over(driven) => {
            bar.clear();
            output.note(&terminal::render_row(driven));
        }
    }
}

/// A load on a server.
pub(super) fn run(
    args: &RunArgs,
    catalog: &dyn Fn() -> Result<Catalog, crate::catalog::Error>,
    output: &Output,
    argv: &[OsString],
) -> anyhow::Result<()> {
    let created = clock::wall();
    let interrupt = sys::Interrupt::install()?;
    let plan = Plan::resolve(asked(args))?;
    let catalog = catalog()?;
    let hardware =
        Hardware { gpu: args.gpu.as_deref().map(|id| catalog.gpu(id)).transpose()?, gpus: args.serving.gpus };
    for api in &args.api {
        catalog.api_or_hosts(api)?;
    }
    let target = target(args)?;
    let file = plan.lengths.as_deref().map(|path| lengths(path, args.seed)).transpose()?;
    if args.dry_run {
        return dry_run(args, &plan, &target.url.to_string(), output);
    }
    args.output.probe()?;
    if let Some((id, card)) = args.gpu.as_deref().zip(hardware.gpu) {
        let others = catalog.other_forms(id);
        if !others.is_empty() {
            output.note(&format!("--gpu {id} means {} here; it may also be {}", card.id, others.join(", ")));
        }
    }
    let found = match &args.nvml_library {
        Some(library) => device::discover_through(library)?,
        None => device::discover(),
    };

    let bar = output.bar();
    let mut started = None;
    if let Some(command) = &args.serving.serve {
        bar.spin("waiting for the server to be healthy");
        let begun = serving::start(command, &target, &interrupt);
        bar.clear();
        started = Some(or_silent(begun, &interrupt)?);
    }
    bar.spin("asking the server");
    let named = Named {
        served: args.serving.served_model_name.as_deref(),
        model: args.model.as_deref(),
        ignore_eos: args.serving.ignore_eos,
    };
    let first = plan.lengths(&plan.rows[0], file.as_ref()).map_err(Error::from)?;
    let answers = serving::find(target, named, &first, plan.salt, &interrupt);
    bar.clear();
    let mut server = or_silent(answers, &interrupt)?;
    let cold_start = started.as_ref().map(|started| started.cold_start(&server));
    for note in &server.notes {
        output.note(note);
    }
    server.elsewhere = server.elsewhere.take().or_else(|| hardware.elsewhere(&found, &catalog));
    let chosen = sensors::choose(args, &server, hardware, &found)?;
    let recorders = chosen.as_ref().map_err(Clone::clone).and_then(|chosen| sensors::record(chosen));
    let mut tell = telling(&bar, output);
    let job = Job { plan: &plan, file: file.as_ref(), prompting: server.prompting(), interrupt: &interrupt };
    let measured = serving::run(&job, &mut &server.target, &mut tell);
    bar.clear();
    let sensors = recorders.map(|recorders| {
        let each = recorders.into_iter().zip(chosen.iter().flatten());
        each.map(|(recorder, chosen)| Sensors {
            recorded: recorder.stop(),
            other_device: chosen.other_device,
        })
        .collect()
    });
    // Its process group is gone before anything is said.
    drop(started);
    let finished = or_silent(measured, &interrupt)?;

    let today = clock::today();
    let record = serving::seal(
        &finished,
        Sealing {
            argv: without_headers(super::super::typed(argv)),
            plan: &plan,
            created,
            subject: serving::subject(
                &server,
                args.model.as_deref(),
                hardware,
                cold_start,
                (&found, &catalog),
            ),
            elsewhere: server.elsewhere.clone(),
            price: serving::price(args.price_per_hour, hardware, &server, &found, &catalog, today),
            sensors,
            apis: &args.api,
            catalog: &catalog,
            today,
            signal: interrupt.exit_code(),
        },
    )?;
    let kept = publish(args, &record, output)?;
    ended(finished.stopped, &record, &kept, &interrupt)
}

/// How the command ends once the record is kept.
fn ended(
    stopped: Option<Stopped>,
    record: &Record,
    kept: &str,
    interrupt: &sys::Interrupt,
) -> anyhow::Result<()> {
    let context = || format!("what was measured before is kept in {kept}");
    match stopped {
        Some(Stopped::Interrupted) => Err(exit::Silent(interrupt.exit_code().unwrap_or(130)).into()),
        Some(Stopped::NoAnswers { last, .. } | Stopped::EngineFailed(last)) => {
            Err(anyhow::Error::from(Error::Failed(last)).context(context()))
        }
        Some(Stopped::NotDrained) => {
            Err(anyhow::anyhow!("requests were still running long after the last was sent")
                .context(context()))
        }
        None if record.validity.verdict == Verdict::Invalid => Err(exit::Silent(12).into()),
        None => Ok(()),
    }
}

/// Prints what would be asked.
fn dry_run(args: &RunArgs, plan: &Plan, on: &str, output: &Output) -> anyhow::Result<()> {
    if output.json || args.output.is_stdout() {
        output.stdout(&(record::write::to_json(plan)? + "\n"))
    } else {
        output.human(&terminal::render_serving_plan(plan, on))
    }
}

/// Writes the record and prints it; says where it is.
fn publish(args: &RunArgs, record: &Record, output: &Output) -> anyhow::Result<String> {
    let style = output.human_style();
    let mut human = terminal::render(record, style);
    let written = args.output.keep(record);
    if let Ok(Some(path)) = &written {
        human = format!("{human}{} {}\n", style.strong("Record  "), path.display());
        human.push_str(&show::samples_note(record, style));
    }
    // A disk that is full must not take the figures along.
    let human = redact::text(&human);
    if output.json || args.output.is_stdout() {
        if !output.quiet {
            eprint!("{human}");
        }
        output.stdout(&(record::write::to_json(record)? + "\n"))?;
    } else {
        output.stdout(&human)?;
    }
    Ok(written?.map_or_else(|| "the record on stdout".to_owned(), |path| path.display().to_string()))
}

/// What was typed, as the plan takes it.
fn asked(args: &RunArgs) -> Asked {
    let ServingArgs { max_concurrency, request_rate, slo, .. } = &args.serving;
    let mut goals = Goals::default();
    for goal in slo {
        let field = match goal.name {
            args::GoalName::Ttft => &mut goals.time_to_first_token,
            args::GoalName::Tpot => &mut goals.time_per_output_token,
            args::GoalName::E2el => &mut goals.end_to_end_latency,
        };
        *field = Some(goal.most);
    }
    Asked {
        prompt_tokens: List::joined(&args.prompt_tokens),
        output_tokens: List::joined(&args.output_tokens),
        joint: args.pg.clone(),
        default_lengths: None,
        prefix_tokens: List::joined(&args.serving.random_prefix_len),
        range_ratio: args.serving.random_range_ratio,
        lengths: args.serving.lengths.clone(),
        concurrency: List::joined(max_concurrency),
        rates: request_rate.iter().flat_map(|rates| rates.0.clone()).collect(),
        burstiness: args.serving.burstiness,
        max_time: args.max_time,
        requests: args.serving.num_prompts,
        warmups: args.serving.num_warmups,
        goals,
        find_share: args.serving.find.map(|args::Find::MaxRate| args.serving.slo_share.unwrap_or(SLO_SHARE)),
        seed: args.seed,
        salt: args.serving.salt.unwrap_or_else(random_salt),
    }
}

/// A number that no other run has, short enough for every reader of JSON.
fn random_salt() -> u64 {
    let id = crate::run::seal::unique_id(clock::wall());
    u64::from_str_radix(&id, 16).unwrap_or_else(|_| clock::now().nanos())
}

/// The server as the flags describe it; its model is filled in when it has been asked.
fn target(args: &RunArgs) -> Result<Target, Error> {
    let given = &args.serving;
    let invalid = |invalid: Invalid| Error::Endpoint(invalid.into());
    let url = match (&given.url, &given.serve) {
        (Some(url), _) => url.clone(),
        (None, Some(command)) => serving::address_of(command).ok_or_else(|| {
            Usage::new("--serve", "its command has no --port; give the server's address with --url")
        })?,
        (None, None) => String::new(),
    };
    let url = Url::parse(&url).map_err(invalid)?;
    let mut target = Target::new(url, "");
    if given.chat {
        target.api = Api::Chat;
    }
    for header in &given.header {
        target.add_header(header).map_err(invalid)?;
    }
    if let Some(path) = &given.api_key_file {
        target.set_key(&read_key(path)?).map_err(invalid)?;
    }
    if let Some(name) = &given.api_key_env {
        let key = env::secret_named(name).ok_or_else(|| {
            Error::Absent(format!("--api-key-env {name}: no such variable, or it is empty"))
        })?;
        target.set_key(&key).map_err(invalid)?;
    }
    target.threads = given.client_threads.unwrap_or(1);
    target.authorities.clone_from(&given.cacert);
    if let Some(timeout) = given.timeout {
        let stall = Duration::from_secs_f64(timeout.get());
        let connect = Patience::default().connect.min(stall);
        target.patience = Patience { stall, connect, ..Patience::default() };
    }
    Ok(target)
}

fn read_key(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| {
        let reason = if error.kind() == ErrorKind::NotFound {
            "no such file; --api-key-file takes a file with the key".to_owned()
        } else {
            error.to_string()
        };
        Error::Endpoint(Invalid::File { path: path.to_owned(), reason }.into())
    })
}

fn lengths(path: &Path, seed: u64) -> Result<Lengths, Error> {
    let shown = crate::base::text::path(path);
    let file = File::open(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => Error::Absent(format!(
            "--lengths {shown}: no such file; it has one object per line: {{\"prompt_tokens\": 512, \"output_tokens\": 128}}"
        )),
        _ => workload::Error::Read { file: shown.clone(), source }.into(),
    })?;
    Ok(Lengths::read(&shown, BufReader::new(file), seed)?)
}

/// The command line without the values of its headers, whatever their names.
fn without_headers(mut words: Vec<String>) -> Vec<String> {
    let hidden = |header: &str| match header.split_once(':') {
        Some((name, _)) => format!("{name}: [redacted]"),
        None => header.to_owned(),
    };
    for at in 0..words.len() {
        if let Some(header) = words[at].strip_prefix("--header=") {
            words[at] = format!("--header={}", hidden(header));
        } else if at > 0 && words[at - 1] == "--header" {
            words[at] = hidden(&words[at]);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_of_a_header_is_kept_whatever_its_name() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let typed = words(&["bench", "run", "--header", "X-Team: blue", "--header=A:b:c", "-n", "5"]);
        let kept =
            words(&["bench", "run", "--header", "X-Team: [redacted]", "--header=A: [redacted]", "-n", "5"]);
        assert_eq!(without_headers(typed), kept);
    }

    #[test]
    fn salts_differ() {
        assert_ne!(random_salt(), random_salt());
        assert!(random_salt() < 1 << 48);
    }
}
