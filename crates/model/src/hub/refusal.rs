//! Why the hub refused, in words that say what to do next.
//!
//! The hub answers 401 for a repository that does not exist as for one that is private, so that names cannot be
//! probed; its `X-Error-Code` header tells gated repositories and missing files apart.

use std::path::Path;

use hf_hub::Repo;

use super::client::Failure;
use crate::Error;

/// What was asked for.
pub(super) struct Asked<'a> {
    pub repo: &'a Repo,
    pub file: Option<&'a str>,
    pub url: &'a str,
    pub had_token: bool,
}

/// The error for an answer that did not come.
pub(super) fn explain(failure: Failure, asked: &Asked<'_>) -> Error {
    let name = name(asked.repo, asked.file);
    let missing = |reason: String| Error::Missing { what: name.clone(), reason };
    let unreachable = |reason: String| Error::Unreachable { what: name.clone(), reason };
    let unusable = |reason: String| Error::unusable(asked.url, reason);
    let repo = asked.repo.url();
    match failure {
        Failure::Interrupted => Error::Interrupted,
        Failure::Nonsense(what) => unusable(format!("{what}; check HF_ENDPOINT, or try again later")),
        Failure::Transport(_) if !asked.url.starts_with("http://") && !asked.url.starts_with("https://") => {
            unusable("HF_ENDPOINT must begin with http:// or https://".into())
        }
        Failure::Transport(error) => unreachable(format!(
            "the hub cannot be reached ({error}) at {}; check the connection, HTTPS_PROXY and HF_ENDPOINT. \
             Without a network, give the path of a local file, or synthetic:PRESET",
            asked.url
        )),
        Failure::Status { status: status @ (401 | 403), code } if code == "GatedRepo" || status == 403 => {
            let token = if asked.had_token {
                "the token in use has not been granted access"
            } else {
                "no token was given: set HF_TOKEN to one of an account with access"
            };
            unusable(format!(
                "the repository is gated: its terms must be accepted at https://huggingface.co/{repo}, and {token}"
            ))
        }
        Failure::Status { status: 401, .. } if asked.had_token => missing(format!(
            "the hub knows no such repository, or the token in use may not see it, or is no longer valid; \
             check the name {repo} and HF_TOKEN"
        )),
        Failure::Status { status: 401, .. } => missing(format!(
            "the hub knows no such repository, or it is private; check the name {repo}, or set HF_TOKEN"
        )),
        Failure::Status { status: 404, code } if code == "RevisionNotFound" => {
            missing(format!("the repository {repo} has no branch, tag or commit `{}`", asked.repo.revision()))
        }
        Failure::Status { status: 404, code } if asked.file.is_some() && code != "RepoNotFound" => {
            missing(format!(
                "the repository {repo} has no such file at {}; see https://huggingface.co/{repo}/tree/{0}",
                asked.repo.revision()
            ))
        }
        Failure::Status { status: 404, .. } => missing(format!(
            "the hub knows no such repository or revision; check {repo} at {}",
            asked.repo.revision()
        )),
        Failure::Status { status: 429, .. } => unreachable(
            "the hub received too many requests from here (429); wait a few minutes, or set HF_TOKEN".into(),
        ),
        Failure::Status { status, code } => unreachable(format!(
            "{} answered {status}{}; try again later",
            asked.url,
            if code.is_empty() { String::new() } else { format!(" ({})", code.escape_debug()) }
        )),
    }
}

/// The error for a file or listing that would have to be fetched while offline was asked for.
pub(super) fn offline(repo: &Repo, file: Option<&str>, cache: &Path) -> Error {
    Error::Unreachable {
        what: name(repo, file),
        reason: format!(
            "HF_HUB_OFFLINE is set and the cache {} does not hold it at revision {}; unset HF_HUB_OFFLINE and run once with a network, or give the path of a local file, or synthetic:PRESET",
            cache.display(),
            repo.revision()
        ),
    }
}

fn name(repo: &Repo, file: Option<&str>) -> String {
    let file = file.map_or(String::new(), |file| format!("/{file}"));
    format!("hf:{}{file}", repo.url())
}
