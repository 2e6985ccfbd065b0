//! The server before the load: which of its models is asked, where it runs, and one request to see that it answers.

use std::net::UdpSocket;

use crate::base::clock;
use crate::base::event::Tick;
use crate::base::requests::{Ending, Failure, RequestLog};
use crate::base::sys::Interrupt;
use crate::endpoint::{self, Api, Model, Target};
use crate::workload::{Asked, Extent, Lengths, Load, Pace, Questions, Stopped};

use super::{Error, Prompting};

/// Servers that take `ignore_eos`, by the owner that they name in their list of models.
const TAKE_IGNORE_EOS: [&str; 3] = ["vllm", "sglang", "llamacpp"];
/// Output tokens of the request that shows whether the server answers.
const FEW_TOKENS: u32 = 8;

/// A server that answers.
#[derive(Debug)]
pub struct Server {
    /// How it is asked.
    pub target: Target,
    /// The model as it lists it, or why it lists none.
    pub listed: Result<Model, String>,
    /// Why it is not taken to run on this machine; `None` where it is.
    pub elsewhere: Option<String>,
    /// Whether prompts are words.
    pub as_text: bool,
    /// When the first token of the first request came.
    pub first_token: Option<Tick>,
    /// What the user should know of it.
    pub notes: Vec<String>,
}

impl Server {
    /// What prompts are made of.
    pub fn prompting(&self) -> Prompting {
        let vocabulary = self.listed.as_ref().ok().and_then(|model| model.vocabulary);
        Prompting { vocabulary, as_text: self.as_text }
    }
}

/// What the command line says about the server.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// `--served-model-name`: the model in requests.
    pub served: Option<&'a str>,
    /// `--model`: the same, or the catalog's row for it.
    pub model: Option<&'a str>,
    /// `--ignore-eos`, where it was given.
    pub ignore_eos: Option<bool>,
}

/// Looks the server over and asks it once, with a prompt of `lengths`; `target`'s model is filled in here.
///
/// # Errors
/// [`Error`], with what the server or the system said when there is no answer.
pub fn find(
    mut target: Target,
    named: Named<'_>,
    lengths: &Lengths,
    salt: u64,
    interrupt: &Interrupt,
) -> Result<Server, Error> {
    let addresses = target.url.resolve().map_err(endpoint::Error::Failed)?;
    let mut notes = Vec::new();
    let listed = match endpoint::models(&target) {
        Ok(listed) => listed,
        // A server without a list can be used anyway if the model is named.
        Err(endpoint::Error::Failed(failure))
            if has_no_list(failure.ending) && (named.served.is_some() || named.model.is_some()) =>
        {
            notes.push(format!("the server lists no models ({}); asking for the one named", failure.detail));
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    target.model = choose(&listed, named)?;
    let model = listed.into_iter().find(|model| model.id == target.model);
    let owner = model.as_ref().and_then(|model| model.owner.as_deref());
    let takes_it = owner.is_some_and(|owner| TAKE_IGNORE_EOS.contains(&owner));
    target.ignore_eos = named.ignore_eos.unwrap_or(takes_it);
    if named.ignore_eos.is_none() && !takes_it {
        notes.push(
            "the server is not known to support ignore_eos: answers may be shorter than -n; --ignore-eos requests it anyway"
                .to_owned(),
        );
    }
    // An address is this machine's when a socket can be bound to it.
    let is_here = addresses.iter().any(|address| UdpSocket::bind((address.ip(), 0)).is_ok());
    let mut server = Server {
        as_text: target.api == Api::Chat,
        first_token: None,
        listed: model.ok_or_else(|| "the server's list of models does not have it".to_owned()),
        elsewhere: (!is_here).then(|| "the server's address is not one of this machine's".to_owned()),
        target,
        notes,
    };
    match server.answers(lengths, salt, interrupt)? {
        Some(failure) if failure.ending == Ending::RequestRejected && !server.as_text => {
            server.as_text = true;
            if server.answers(lengths, salt, interrupt)?.is_some() {
                // The failure of the first request is what the user needs to see.
                return Err(endpoint::Error::Failed(failure).into());
            }
            server.notes.push(format!(
                "the server does not accept token ids ({}); prompts are words",
                failure.detail
            ));
        }
        Some(failure) => return Err(endpoint::Error::Failed(failure).into()),
        None => {}
    }
    Ok(server)
}

fn has_no_list(ending: Ending) -> bool {
    matches!(
        ending,
        Ending::NotFound | Ending::RequestRejected | Ending::MalformedJson | Ending::UnexpectedStatus
    )
}

/// The name in requests.
fn choose(listed: &[Model], named: Named<'_>) -> Result<String, Error> {
    let has = |name: &str| listed.iter().any(|model| model.id == name);
    let names = || {
        let more = listed.len().saturating_sub(5);
        let all: Vec<&str> = listed.iter().take(5).map(|model| model.id.as_str()).collect();
        if more > 0 { format!("{} and {more} more", all.join(", ")) } else { all.join(", ") }
    };
    let missing = |reason| Err(Error::Model { reason, is_missing: true });
    match (named.served, named.model, listed) {
        (Some(served), _, _) if listed.is_empty() || has(served) => Ok(served.to_owned()),
        (Some(served), _, _) => {
            missing(format!("--served-model-name {served}: the server has no such model; it has {}", names()))
        }
        (None, Some(model), _) if listed.is_empty() || has(model) => Ok(model.to_owned()),
        // Then --model names the row of the catalog.
        (None, _, [only]) => Ok(only.id.clone()),
        (None, Some(model), _) => missing(format!(
            "--model {model}: the server has no such model; it has {}; --served-model-name says which",
            names()
        )),
        (None, None, []) => Err(Error::Model {
            reason: "the server lists no model; give its name with --served-model-name".to_owned(),
            is_missing: false,
        }),
        (None, None, _) => Err(Error::Model {
            reason: format!("the server has several models: {}; say which with --served-model-name", names()),
            is_missing: false,
        }),
    }
}

impl Server {
    /// Asks once; the failure, if it was one.
    fn answers(
        &mut self,
        lengths: &Lengths,
        salt: u64,
        interrupt: &Interrupt,
    ) -> Result<Option<Failure>, Error> {
        let prompt_tokens = lengths.at(0).prompt_tokens;
        let questions = Questions {
            lengths: Lengths::fixed(Asked { prompt_tokens, output_tokens: FEW_TOKENS }),
            // Unlike the prompts of any row.
            prompts: self.prompting().prompts(!salt, 0, 0)?,
            as_text: self.as_text,
        };
        let begin = clock::now();
        let one = Extent { requests: Some(1), time: None };
        let mut load = Load::new(Pace::Closed { concurrency: 1 }, Extent::default(), one, begin)?;
        let mut log = RequestLog::new(begin);
        let report = endpoint::drive(&self.target, &mut load, &questions, &mut log, interrupt)?;
        self.first_token = log.requests().first().and_then(|request| request.first.get());
        if report.stopped == Some(Stopped::Interrupted) {
            return Err(Error::Interrupted);
        }
        Ok(report.stats.failures.into_iter().next().map(|(.., failure)| failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(id: &str) -> Model {
        Model { id: id.to_owned(), owner: None, context: None, vocabulary: None }
    }

    #[test]
    fn the_name_in_requests_is_the_servers_own() {
        let named = |served, model| Named { served, model, ignore_eos: None };
        let one = [model("a/b")];
        let two = [model("x"), model("y")];
        let chosen = |listed: &[Model], served, model| {
            choose(listed, named(served, model)).map_err(|error| error.to_string())
        };
        assert_eq!(chosen(&one, None, None).as_deref(), Ok("a/b"));
        assert_eq!(chosen(&one, None, Some("llama-3.1-8b")).as_deref(), Ok("a/b"), "a row of the catalog");
        assert_eq!(chosen(&two, None, Some("y")).as_deref(), Ok("y"));
        assert_eq!(chosen(&two, Some("x"), Some("y")).as_deref(), Ok("x"));
        assert_eq!(chosen(&[], Some("z"), None).as_deref(), Ok("z"));
        for (listed, served, name, words) in [
            (&two[..], None, None, "several models: x, y; say which with --served-model-name"),
            (&two, None, Some("z"), "--model z: the server has no such model; it has x, y"),
            (&one, Some("z"), None, "--served-model-name z: the server has no such model; it has a/b"),
            (&[], None, None, "lists no model; give its name with --served-model-name"),
        ] {
            let said = chosen(listed, served, name).expect_err(words);
            assert!(said.contains(words), "{said}");
        }
    }
}
