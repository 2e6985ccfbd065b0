//! `bench run --url URL`: load on a server, one record, what it costs.

mod args;
mod refused;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::time::Duration;

use crate::base::failure::Usage;
use crate::base::{clock, env, redact, sys};
use crate::catalog::Catalog;
use crate::endpoint::{self, Api, Invalid, Patience, Stopped, Target, Url};
use crate::hardware::device::{self, Found};
use crate::hardware::telemetry::choose::{self, Chosen, PowerRequest};
use crate::hardware::telemetry::{Rate, Recorder};
use crate::record::{self, Record, Verdict};
use crate::report::terminal;
use crate::run::energy::Sensors;
use crate::run::measure::serving::Goals;
use crate::run::serving::{self, Asked, Error, Hardware, Named, Plan, Sealing, Server, Told};
use crate::run::session::Watch as _;
use crate::workload::{self, Lengths};

use super::run::{RunArgs, RunEngine};
use super::values::list::List;
use super::{Output, exit};

pub(super) use args::ServingArgs;

/// Whether the run is of a server; checks that the flags are all for it, or none.
///
/// # Errors
/// [`Usage`] naming the first flag that has no meaning.
pub(super) fn is_asked(args: &RunArgs) -> Result<bool, Usage> {
    match (args.serving.url.is_some(), args.engine) {
        (true, RunEngine::Auto | RunEngine::Endpoint) => refused::with_a_server(args).map(|()| true),
        (true, RunEngine::Fused | RunEngine::Candle) => Err(Usage::new(
            "--url",
            "it names a server, and --engine an engine in this process; leave one out",
        )),
        (false, RunEngine::Endpoint) => {
            Err(Usage::new("--engine endpoint", "it needs the server's address: --url http://localhost:8000"))
        }
        (false, _) => refused::without_a_server(&args.serving).map(|()| false),
    }
}

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
        return dry_run(&plan, &target, output);
    }
    args.output.probe()?;
    if let Some((id, card)) = args.gpu.as_deref().zip(hardware.gpu) {
        let others = catalog.other_forms(id);
        if !others.is_empty() {
            output.note(&format!("--gpu {id} is taken as {}; it may also be {}", card.id, others.join(", ")));
        }
    }
    let found = match &args.nvml_library {
        Some(library) => device::discover_through(library)?,
        None => device::discover(),
    };

    let bar = output.bar();
    bar.spin("asking the server");
    let named = Named {
        served: args.serving.served_model_name.as_deref(),
        model: args.model.as_deref(),
        ignore_eos: args.serving.ignore_eos,
    };
    let first = plan.lengths(&plan.rows[0], file.as_ref()).map_err(Error::from)?;
    let answers = serving::find(target, named, &first, plan.salt, &interrupt);
    bar.clear();
    let mut server = match answers {
        Err(Error::Interrupted) => return Err(exit::Silent(interrupt.exit_code().unwrap_or(130)).into()),
        other => other?,
    };
    for note in &server.notes {
        output.note(note);
    }
    server.on_this_machine &= hardware.may_be_here(&found, &catalog);
    let chosen = choose_sensors(args, &server, hardware, &found)?;
    let recorder = chosen.as_ref().map_err(Clone::clone).and_then(record_sensors);
    let mut tell = |told: Told<'_>| match told {
        Told::Begins { row, number: (number, all), time } => {
            let time = time.map_or_else(String::new, |time| format!(", {:.0} s", time.get().ceil()));
            bar.parts(number, all, &format!("{} (row {} of {all}{time})", row.label, number + 1));
        }
        Told::Over(driven) => {
            bar.clear();
            output.note(&terminal::render_row(driven));
        }
    };
    let measured = serving::run(&plan, &server, file.as_ref(), &interrupt, &mut tell);
    bar.clear();
    let sensors = recorder.map(|recorder| Sensors {
        recorded: recorder.stop(),
        other_device: chosen.as_ref().is_ok_and(|chosen| chosen.other_device),
    });
    let finished = match measured {
        Err(Error::Interrupted) => return Err(exit::Silent(interrupt.exit_code().unwrap_or(130)).into()),
        other => other?,
    };

    let today = clock::today();
    let record = serving::seal(
        &finished,
        &Sealing {
            argv: without_headers(super::typed(argv)),
            plan: &plan,
            created,
            server: &server,
            model: args.model.as_deref(),
            hardware,
            found: &found,
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

/// The sensors of the server's device, or why none are read.
fn choose_sensors(
    args: &RunArgs,
    server: &Server,
    hardware: Hardware<'_>,
    found: &Found,
) -> anyhow::Result<Result<Chosen, String>> {
    let by_name = !matches!(args.power, PowerRequest::Auto | PowerRequest::None);
    if !server.on_this_machine {
        if by_name {
            let reason =
                format!("{}, whose sensors cannot be read from here; leave it out", serving::ELSEWHERE);
            return Err(Usage::new("--power", reason).into());
        }
        return Ok(Err(serving::ELSEWHERE.to_owned()));
    }
    let used = match found.gpus.as_slice() {
        [] => None,
        [only] => Some(only.index),
        several if by_name || args.power == PowerRequest::None => several.first().map(|gpu| gpu.index),
        several => {
            let all = crate::base::text::count(several.len(), "GPU");
            return Ok(Err(format!(
                "this machine has {all}, of which the sensors of one can be read: --power nvml:GPU says which"
            )));
        }
    };
    if hardware.gpus.is_some_and(|gpus| gpus > 1) {
        return Ok(Err("the sensors of several GPUs are not added up yet".to_owned()));
    }
    Ok(choose::choose(&args.power, used, args.nvml_library.as_deref())?)
}

/// Starts to read them.
fn record_sensors(chosen: &Chosen) -> Result<Recorder, String> {
    let recorder = Recorder::start(chosen.open()?, Rate::default())
        .map_err(|error| format!("the sensors' thread cannot be started ({error})"))?;
    if let Some(sensor) = chosen.calibrated() {
        recorder.know(sensor);
    }
    Ok(recorder)
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
        Some(Stopped::NoAnswers { last, .. }) => {
            Err(anyhow::Error::from(endpoint::Error::Failed(last)).context(context()))
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
fn dry_run(plan: &Plan, target: &Target, output: &Output) -> anyhow::Result<()> {
    if output.json {
        output.stdout(&(record::write::to_json(plan)? + "\n"))
    } else {
        output.human(&terminal::render_serving_plan(plan, &target.url.to_string()))
    }
}

/// Writes the record and prints it; says where it is.
fn publish(args: &RunArgs, record: &Record, output: &Output) -> anyhow::Result<String> {
    let style = output.human_style();
    let mut human = terminal::render(record, style);
    let written = args.output.keep(record);
    if let Ok(Some(path)) = &written {
        human = format!("{human}{} {}\n", style.strong("Record  "), path.display());
        human.push_str(&super::run::beside(record, style));
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
        range_ratio: args.serving.random_range_ratio,
        lengths: args.serving.lengths.clone(),
        concurrency: List::joined(max_concurrency),
        rates: request_rate.iter().flat_map(|rates| rates.0.clone()).collect(),
        burstiness: args.serving.burstiness,
        max_time: args.max_time,
        requests: args.serving.num_prompts,
        warmups: args.serving.num_warmups,
        goals,
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
    let url = Url::parse(given.url.as_deref().unwrap_or_default()).map_err(invalid)?;
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
            Error::Absent(format!("--api-key-env {name}: there is no such variable, or it is empty"))
        })?;
        target.set_key(&key).map_err(invalid)?;
    }
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
            "there is no such file, and --api-key-file names one with the key".to_owned()
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
            "--lengths {shown}: the file is not there; it has an object a line: {{\"prompt_tokens\": 512, \"output_tokens\": 128}}"
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
