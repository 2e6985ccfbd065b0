//! Models on the Hugging Face hub: what is in a repository, and its files on this machine.
//!
//! Names, cache folders and the listing's form are hf-hub's, and the cache is the one that every other
//! tool of the field shares (`blobs/ETAG`, `snapshots/COMMIT/FILE`, `refs/BRANCH`, locks under `.locks`;
//! layout as `huggingface_hub` documents it). The transfer is our own (`download`), because hf-hub 0.5
//! cannot be interrupted, checks neither length nor hash, and fails by panic on odd answers.
//!
//! A file in the cache is used without asking the hub, so that a measurement can be repeated offline and
//! does not change with somebody's upload. For another version name it: `hf:org/repo/file@revision`.
//! Only for a repository without a file ([`assemble`]) is the hub asked each time, if it can be. A plan alone takes a
//! model's header, by range requests, and no weights (`beginning`).

use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, Repo, RepoType};

use super::Error;
use super::request::valid_file;
use crate::base::env;
use crate::base::sys::Interrupt;
use crate::base::units::Bytes;
use client::{Client, Method, Part};

pub mod assemble;
mod beginning;
mod client;
mod download;
mod layout;
pub mod pick;
mod refusal;
#[cfg(test)]
pub(super) mod tests;
mod url;

/// Where the hub is, and how to talk to it.
#[derive(Clone)]
pub struct HubSettings {
    /// Address without a trailing slash.
    pub endpoint: String,
    /// Access token; sent to the endpoint's own origin only.
    pub token: Option<String>,
    /// The shared cache folder.
    pub cache: PathBuf,
    /// Take files from the cache only.
    pub offline: bool,
    /// Failures in a row, without a byte between them, after which a transfer is given up.
    pub attempts: u32,
    /// Pause after the first failure; it doubles with each one that follows.
    pub first_pause: Duration,
    /// Longest silence of the server before the connection counts as broken.
    pub silence: Duration,
}

impl HubSettings {
    /// The settings that the user's environment asks for: `HF_ENDPOINT`, `HF_TOKEN` (else the file that
    /// logging in with the hub's own tool leaves), `HF_HUB_CACHE` or `HF_HOME`, `HF_HUB_OFFLINE`.
    pub fn from_env() -> Self {
        let cache = env::hf_cache();
        Self {
            endpoint: env::hf_endpoint().unwrap_or_else(|| "https://huggingface.co".into()),
            token: env::hf_token()
                .or_else(|| Cache::new(cache.clone()).token())
                .map(|token| token.trim().to_owned()),
            cache,
            offline: env::hf_offline(),
            attempts: 5,
            first_pause: Duration::from_millis(500),
            silence: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for HubSettings {
    /// Everything but the token, which must not reach a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubSettings")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token.as_ref().map(|_| "set"))
            .field("cache", &self.cache)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// Told how far a download is.
pub trait FetchProgress {
    /// A file begins, or begins anew; `already` of its `total` bytes are here from before.
    fn start(&self, file: &str, total: Bytes, already: Bytes);
    /// More bytes came.
    fn advance(&self, bytes: Bytes);
    /// The file is complete and was checked.
    fn done(&self);
    /// Another process is fetching this file; we wait for it.
    fn waiting(&self, _file: &str) {}
}

/// Nobody wants to know.
impl FetchProgress for () {
    fn start(&self, _file: &str, _total: Bytes, _already: Bytes) {}
    fn advance(&self, _bytes: Bytes) {}
    fn done(&self) {}
}

/// What a repository holds at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The commit that the revision stood for.
    pub commit: String,
    /// Paths of all files.
    pub files: Vec<String>,
}

/// A file of a repository, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is: a path under `snapshots/COMMIT/`.
    pub path: PathBuf,
    /// The commit it belongs to.
    pub commit: String,
}

/// One repository at one revision.
pub struct Hub<'a> {
    settings: &'a HubSettings,
    progress: &'a dyn FetchProgress,
    interrupt: &'a Interrupt,
    client: Client,
    repo: Repo,
}

impl<'a> Hub<'a> {
    /// The repository called `name` (`org/repo`) at `revision` (branch, tag or commit). Sends no request yet.
    pub fn new(
        settings: &'a HubSettings,
        (name, revision): (&str, &str),
        progress: &'a dyn FetchProgress,
        interrupt: &'a Interrupt,
    ) -> Self {
        let repo = Repo::with_revision(name.to_owned(), RepoType::Model, revision.to_owned());
        Self { settings, progress, interrupt, client: Client::new(settings), repo }
    }

    /// All files of the repository; those in the cache when the hub cannot be asked.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such repository or revision, or the hub is out of reach and
    /// nothing of it is in the cache; [`Error::Unusable`] when it is closed to this user or its answer
    /// makes no sense; [`Error::Interrupted`].
    pub fn list(&self) -> Result<Listing, Error> {
        if self.settings.offline {
            return self.cached_listing().ok_or_else(|| self.offline(None));
        }
        let url = format!("{}/api/{}", self.settings.endpoint, self.repo.api_url());
        let answer = match self.client.ask(Method::Get, &url, Part::default(), self.interrupt) {
            Ok(answer) => answer,
            Err(failure) if failure.is_out_of_reach() => {
                return self.cached_listing().ok_or_else(|| self.refused(failure, &url, None));
            }
            Err(failure) => return Err(self.refused(failure, &url, None)),
        };
        let info: hf_hub::api::RepoInfo = answer.json().map_err(|reason| {
            let reason = format!("the response is not a repository listing ({reason}); check HF_ENDPOINT");
            Error::unusable(&url, reason)
        })?;
        if !layout::is_plain(&info.sha) {
            return Err(Error::unusable(&url, format!("the commit's name `{}` is malformed", info.sha)));
        }
        // A name that would climb out of the folder is as good as absent.
        let files = info.siblings.into_iter().map(|file| file.rfilename).filter(|file| valid_file(file));
        Ok(Listing { commit: info.sha, files: files.collect() })
    }

    /// The file's place on this machine; fetched if it is not here yet.
    ///
    /// # Errors
    /// As [`Hub::list`]; also [`Error::Unusable`] when the disk is full, or the bytes that came are not
    /// the ones that the hub announced. What did come stays and is taken up again next time.
    pub fn fetch(&self, file: &str) -> Result<Fetched, Error> {
        if !valid_file(file) {
            return Err(Error::BadName { name: file.to_owned(), reason: "it is not a relative path".into() });
        }
        let layout = layout::Layout::new(&self.settings.cache, &self.repo);
        if let Some(found) = layout.find(file) {
            return Ok(found);
        }
        if self.settings.offline {
            return Err(self.offline(Some(file)));
        }
        let url = self.url(self.repo.revision(), file);
        let refused = |failure| self.refused(failure, &url, Some(file));
        let remote = self.client.describe(&url, self.interrupt).map_err(refused)?;
        let part = download::Download {
            client: &self.client,
            settings: self.settings,
            progress: self.progress,
            interrupt: self.interrupt,
            refused: &refused,
            url: &url,
            file,
            remote: &remote,
        };
        part.run(&layout)?;
        layout.link(file, &remote.etag, &remote.commit)
    }

    /// Reads the header of `file` with `read`, which is given a reader, the file's length and its name, without fetching
    /// the rest: from the cache when it is there, else by range requests. Says the commit too.
    ///
    /// # Errors
    /// As [`Hub::fetch`], and those of `read`.
    pub(super) fn header<T>(
        &self,
        file: &str,
        read: impl FnOnce(&mut dyn Read, u64, &Path) -> Result<T, Error>,
    ) -> Result<(T, String), Error> {
        if !valid_file(file) {
            return Err(Error::BadName { name: file.to_owned(), reason: "it is not a relative path".into() });
        }
        if let Some(Fetched { path, commit }) =
            layout::Layout::new(&self.settings.cache, &self.repo).find(file)
        {
            let opened =
                fs::File::open(&path).and_then(|file| file.metadata().map(|about| (file, about.len())));
            let (mut opened, length) = opened.map_err(|source| Error::Io { path: path.clone(), source })?;
            return Ok((read(&mut opened, length, &path)?, commit));
        }
        if self.settings.offline {
            return Err(self.offline(Some(file)));
        }
        let url = self.url(self.repo.revision(), file);
        let refused = |failure| self.refused(failure, &url, Some(file));
        let remote = self.client.describe(&url, self.interrupt).map_err(refused)?;
        let mut beginning = beginning::Beginning::new(&self.client, &url, remote.size, self.interrupt);
        let found = read(&mut beginning, remote.size, Path::new(file));
        match beginning.failure.take() {
            Some(failure) => Err(refused(failure)),
            None => Ok((found?, remote.commit)),
        }
    }

    /// The address of a file at a revision or commit.
    pub fn url(&self, revision: &str, file: &str) -> String {
        let revision = revision.replace('/', "%2F");
        format!("{}/{}/resolve/{revision}/{}", self.settings.endpoint, self.repo.url(), url::escape(file))
    }

    /// Notes in the cache which commit the revision stood for.
    fn remember(&self, commit: &str) -> Result<(), Error> {
        layout::Layout::new(&self.settings.cache, &self.repo).refer(commit)
    }

    fn cached_listing(&self) -> Option<Listing> {
        layout::Layout::new(&self.settings.cache, &self.repo).listing()
    }

    fn offline(&self, file: Option<&str>) -> Error {
        refusal::offline(&self.repo, file, &self.settings.cache)
    }

    fn refused(&self, failure: client::Failure, url: &str, file: Option<&str>) -> Error {
        let had_token = self.settings.token.is_some();
        refusal::explain(failure, &refusal::Asked { repo: &self.repo, file, url, had_token })
    }
}

/// Says which file, and what to do, when the system refuses a file in the cache.
fn cache_error(path: &Path, source: std::io::Error) -> Error {
    use std::io::ErrorKind;
    let way_out = "set the cache's location with HF_HUB_CACHE";
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::unusable(
            path,
            format!(
                "the disk is full ({source}); the partial file is kept: free some space and run again ({way_out})"
            ),
        ),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory => {
            Error::unusable(path, format!("the cache cannot be written ({source}); {way_out}"))
        }
        _ => Error::Io { path: path.to_owned(), source },
    }
}

fn create_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| cache_error(path, source))
}
