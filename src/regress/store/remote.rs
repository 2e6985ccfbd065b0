//! Access to the object store through the crate `object_store`: S3 and compatible ones, Google's, Azure's, a folder.
//!
//! The only file with an async runtime, only on the threads that wait for the network. Requests use the same HTTP client as
//! downloads from the hub, so proxies and certificates are the same.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use http_body_util::BodyExt as _;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService,
};
use object_store::path::Path as Key;
use object_store::{
    ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, PutMode, PutPayload,
    RetryConfig, aws, azure, gcp, local,
};

use super::moved::Moved;
use crate::regress::Error;
use crate::regress::gate::write_whole;
use crate::regress::history::ACKNOWLEDGED;

/// Number of concurrent requests.
const LANES: usize = 8;
/// A longer response is not a record.
const MOST_BYTES: u64 = 64 << 20;
/// Longest time for one request.
const PATIENCE: Duration = Duration::from_mins(1);

/// One place in an object store.
pub(super) struct Remote {
    url: String,
    store: Arc<dyn ObjectStore>,
    prefix: Key,
}

impl Remote {
    /// The place named by `url`; no request is made yet.
    ///
    /// # Errors
    /// [`Error::Remote`] for a URL of an unknown kind, or invalid settings.
    pub(super) fn open(url: &str, settings: Vec<(String, String)>) -> Result<Self, Error> {
        let failed = |reason: String| Error::Remote { url: url.to_owned(), reason };
        let parsed = url::Url::parse(url).map_err(|error| failed(error.to_string()))?;
        let (scheme, prefix) =
            ObjectStoreScheme::parse(&parsed).map_err(|error| failed(error.to_string()))?;
        // A lower-case name that the builder knows is a setting; other variables are ignored.
        macro_rules! built {
            ($builder:ty) => {{
                let mut builder =
                    <$builder>::new().with_url(url).with_http_connector(Connector).with_retry(retry());
                for (name, value) in settings {
                    if let Ok(key) = name.to_ascii_lowercase().parse() {
                        builder = builder.with_config(key, value);
                    }
                }
                Arc::new(builder.build().map_err(|error| failed(error.to_string()))?)
            }};
        }
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::Local => Arc::new(local::LocalFileSystem::new()),
            ObjectStoreScheme::AmazonS3 => built!(aws::AmazonS3Builder),
            ObjectStoreScheme::GoogleCloudStorage => built!(gcp::GoogleCloudStorageBuilder),
            ObjectStoreScheme::MicrosoftAzure => built!(azure::MicrosoftAzureBuilder),
            _ => {
                return Err(failed(
                    "unknown kind of URL; supported: s3://, gs://, az://, file://".to_owned(),
                ));
            }
        };
        Ok(Self { url: url.to_owned(), store, prefix })
    }

    /// See [`pull`](super::url::pull).
    pub(super) fn pull(&self, mirror: &Path) -> Result<Moved, Error> {
        let objects = self.objects()?;
        fs::create_dir_all(mirror).map_err(Error::io(mirror))?;
        let mut wanted = Vec::new();
        let mut kept = std::collections::HashSet::new();
        for object in objects {
            let Some(path) = self.local(&object.location, mirror) else { continue };
            if !same(&path, &object) {
                wanted.push((path.clone(), object.location));
            }
            kept.insert(path);
        }
        let copied = wanted.len();
        self.each(&wanted, |(path, key), lane| {
            let bytes = lane.wait(async { self.store.get(key).await?.bytes().await });
            let bytes = bytes.map_err(|error| self.failed(&error))?;
            let parent = path.parent().unwrap_or(mirror);
            fs::create_dir_all(parent).map_err(Error::io(parent))?;
            write_whole(path, &bytes)
        })?;
        let mut gone = 0;
        for path in files(mirror)? {
            if !kept.contains(&path) {
                fs::remove_file(&path).map_err(Error::io(&path))?;
                gone += 1;
            }
        }
        Ok(Moved { copied, there: kept.len() - copied, gone })
    }

    /// See [`push`](super::url::push).
    pub(super) fn push(&self, folder: &Path) -> Result<Moved, Error> {
        let there = AtomicUsize::new(0);
        let paths = files(folder)?;
        self.each(&paths, |path, lane| {
            let key = self.key(folder, path);
            let bytes = fs::read(path).map_err(Error::io(path))?;
            let (size, payload) = (bytes.len() as u64, PutPayload::from(bytes));
            match lane.wait(self.store.put_opts(&key, payload, PutMode::Create.into())) {
                Ok(_) => Ok(()),
                Err(object_store::Error::AlreadyExists { .. }) => {
                    let found = lane.wait(self.store.head(&key)).map_err(|error| self.failed(&error))?;
                    // The notes are uploaded by `replace`; everything else is written once.
                    if found.size != size && !path.ends_with(ACKNOWLEDGED) {
                        let reason = format!(
                            "{} already has a different file of this name ({} bytes instead of {size}), and existing files are never overwritten",
                            self.url, found.size
                        );
                        return Err(Error::Unusable { path: path.clone(), reason });
                    }
                    there.fetch_add(1, Ordering::Relaxed);
                    Ok(())
                }
                Err(error) => Err(self.failed(&error)),
            }
        })?;
        let there = there.into_inner();
        Ok(Moved { copied: paths.len() - there, there, gone: 0 })
    }

    /// See [`replace`](super::url::replace).
    pub(super) fn replace(&self, folder: &Path, name: &str) -> Result<(), Error> {
        let path = folder.join(name);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let put = Lane::new()?.wait(self.store.put(&self.key(folder, &path), bytes.into()));
        put.map(|_| ()).map_err(|error| self.failed(&error))
    }

    /// All objects under the prefix that belong to a store.
    fn objects(&self) -> Result<Vec<ObjectMeta>, Error> {
        let listed = Lane::new()?.wait(self.store.list(Some(&self.prefix)).try_collect::<Vec<_>>());
        let mut objects = listed.map_err(|error| self.failed(&error))?;
        objects.retain(|object| belongs(Path::new(object.location.as_ref())) && object.size <= MOST_BYTES);
        if objects.is_empty() {
            return Err(Error::Nothing { url: self.url.clone() });
        }
        Ok(objects)
    }

    /// Runs `work` on each of `items`, several at a time, and returns the first error.
    fn each<T: Sync>(
        &self,
        items: &[T],
        work: impl Fn(&T, &Lane) -> Result<(), Error> + Sync,
    ) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let lane = || {
            let lane = Lane::new()?;
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                work(item, &lane).inspect_err(|_| next.store(items.len(), Ordering::Relaxed))?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..LANES.min(items.len())).map(|_| scope.spawn(lane)).collect();
            let ended = |reason: &str| Error::Remote { url: self.url.clone(), reason: reason.to_owned() };
            lanes.into_iter().try_for_each(|lane| {
                lane.join().unwrap_or_else(|_| Err(ended("a copying thread ended unexpectedly")))
            })
        })
    }

    fn local(&self, key: &Key, mirror: &Path) -> Option<PathBuf> {
        let parts: Vec<_> = key.prefix_match(&self.prefix)?.collect();
        let relative: PathBuf = parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().iter().collect();
        // An object's name must not escape the mirror folder.
        let plain = relative.components().all(|part| matches!(part, Component::Normal(_)));
        (plain && !parts.is_empty()).then(|| mirror.join(relative))
    }

    fn key(&self, folder: &Path, path: &Path) -> Key {
        let relative = path.strip_prefix(folder).unwrap_or(path);
        let names = relative.iter().map(|name| name.to_string_lossy().into_owned());
        names.fold(self.prefix.clone(), Key::join)
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        Error::Remote { url: self.url.clone(), reason: error.to_string() }
    }
}

/// Few retries, since a person is waiting.
fn retry() -> RetryConfig {
    RetryConfig { max_retries: 4, retry_timeout: PATIENCE, ..RetryConfig::default() }
}

/// Whether the mirror has this object: same length, and not older.
fn same(path: &Path, object: &ObjectMeta) -> bool {
    let Ok(about) = fs::metadata(path) else { return false };
    let written = about.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let written = written.and_then(|since| i64::try_from(since.as_secs()).ok());
    about.len() == object.size && written.is_some_and(|at| at >= object.last_modified.timestamp())
}

fn belongs(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json") || path.ends_with(ACKNOWLEDGED)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let path = entry.map_err(Error::io(&folder))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if belongs(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// One thread's runtime.
struct Lane(tokio::runtime::Runtime);

impl Lane {
    fn new() -> Result<Self, Error> {
        let built = tokio::runtime::Builder::new_current_thread().enable_time().build();
        built.map(Self).map_err(Error::io("a thread for the object store"))
    }

    fn wait<F: Future>(&self, work: F) -> F::Output {
        self.0.block_on(work)
    }
}

/// Creates clients based on the HTTP crate in use.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain_too =
            options.get_config_value(&ClientConfigKey::AllowHttp).is_some_and(|value| value == "true");
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .https_only(!plain_too)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build();
        Ok(HttpClient::new(Client(config.new_agent())))
    }
}

#[derive(Debug)]
struct Client(ureq::Agent);

#[async_trait]
impl HttpService for Client {
    /// Blocks its thread, which has nothing else to do.
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let sent = if body.is_empty() {
            self.0.run(ureq::http::Request::from_parts(parts, ()))
        } else {
            self.0.run(ureq::http::Request::from_parts(parts, &body[..]))
        };
        let response = sent.map_err(|error| HttpError::new(kind(&error), error))?;
        let (parts, mut body) = response.into_parts();
        let bytes = body.with_config().limit(MOST_BYTES).read_to_vec();
        let bytes = bytes.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, error))?;
        Ok(HttpResponse::from_parts(parts, bytes.into()))
    }
}

fn kind(error: &ureq::Error) -> HttpErrorKind {
    match error {
        ureq::Error::Timeout(_) => HttpErrorKind::Timeout,
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => HttpErrorKind::Connect,
        ureq::Error::Io(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_comes_back_and_is_never_overwritten() {
        let folder = || tempfile::tempdir().expect("a folder");
        let (from, to, mirror) = (folder(), folder(), folder());
        let write = |path: PathBuf, text: &str| {
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        };
        write(from.path().join("a.json"), "{\"a\": 1}");
        write(from.path().join("gates/gate 1/verdict.json"), "{}");
        write(from.path().join("gates/gate 1/01-A.log"), "talk");
        write(from.path().join(ACKNOWLEDGED), "");
        let url = format!("file://{}/store", to.path().display());
        let remote = Remote::open(&url, Vec::new()).expect("a folder");
        let nothing = remote.pull(mirror.path()).expect_err("empty").to_string();
        assert!(nothing.contains(&url), "{nothing}");
        let moved = |copied, there, gone| Moved { copied, there, gone };
        assert_eq!(remote.push(from.path()).expect("pushed"), moved(3, 0, 0));
        assert_eq!(remote.push(from.path()).expect("pushed"), moved(0, 3, 0));
        assert_eq!(remote.pull(mirror.path()).expect("pulled"), moved(3, 0, 0));
        assert_eq!(remote.pull(mirror.path()).expect("pulled"), moved(0, 3, 0));
        let text = |path: &Path| fs::read_to_string(path).expect("there");
        assert_eq!(text(&mirror.path().join("gates/gate 1/verdict.json")), "{}");
        assert_eq!(files(mirror.path()).expect("listed").len(), 3);

        write(from.path().join("a.json"), "{\"a\": 10}");
        let refused = remote.push(from.path()).expect_err("another file").to_string();
        assert!(refused.contains("a.json") && refused.contains("overwritten"), "{refused}");
        assert_eq!(text(&to.path().join("store/a.json")), "{\"a\": 1}");
        write(from.path().join(ACKNOWLEDGED), "[[change]]\nlabel = \"c\"\n");
        remote.replace(from.path(), ACKNOWLEDGED).expect("replaced");
        fs::remove_file(to.path().join("store/a.json")).expect("removed");
        assert_eq!(remote.pull(mirror.path()).expect("pulled"), moved(1, 1, 1));
        assert!(text(&mirror.path().join(ACKNOWLEDGED)).contains("\"c\""));
    }

    #[test]
    fn a_url_of_no_known_kind_is_named() {
        for url in ["ftp://host/x", "https://example.org/x", "s3:///x"] {
            let said = Remote::open(url, Vec::new()).err().expect("refused").to_string();
            assert!(said.contains(url), "{said}");
        }
    }
}
