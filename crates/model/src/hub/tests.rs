//! The hub against a real server on this machine: what is fetched, what is not, and what is said.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::*;

#[path = "../../../../tests/support/hub_server.rs"]
pub(crate) mod hub_server;

use hub_server::{COMMIT, HubServer};

const REPO: &str = "org/model";
const FILE: &str = "model-Q8_0.gguf";

/// Bytes without a pattern that a shifted or repeated piece could hide in.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// A server with one file, and an empty cache.
struct Case {
    server: HubServer,
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    progress: Counted,
    interrupt: Interrupt,
}

/// Keeps what it is told, and asks to stop when so many bytes have come.
#[derive(Default)]
struct Counted {
    told: Mutex<Vec<String>>,
    came: Mutex<u64>,
    stop_at: Mutex<Option<(u64, Interrupt)>>,
}

impl FetchProgress for Counted {
    fn start(&self, file: &str, total: Bytes, already: Bytes) {
        self.told.lock().unwrap().push(format!("start {file} {} {}", total.get(), already.get()));
    }
    fn advance(&self, bytes: Bytes) {
        let mut came = self.came.lock().unwrap();
        *came += bytes.get();
        if let Some((limit, interrupt)) = &*self.stop_at.lock().unwrap()
            && *came >= *limit
        {
            interrupt.request();
        }
    }
    fn done(&self) {
        self.told.lock().unwrap().push("done".into());
    }
    fn waiting(&self, file: &str) {
        self.told.lock().unwrap().push(format!("waiting {file}"));
    }
}

impl Case {
    fn new(length: usize) -> Self {
        let server = HubServer::start();
        let bytes = noise(length);
        server.put(&format!("{REPO}/{FILE}"), bytes.clone(), &sha256(&bytes));
        Self {
            server,
            folder: tempfile::tempdir().unwrap(),
            bytes,
            progress: Counted::default(),
            interrupt: Interrupt::default(),
        }
    }

    fn settings(&self) -> HubSettings {
        HubSettings {
            endpoint: self.server.url(),
            token: None,
            cache: self.folder.path().join("hub"),
            offline: false,
            attempts: 3,
            first_pause: Duration::from_millis(1),
            silence: Duration::from_secs(5),
        }
    }

    fn fetch(&self) -> Result<Fetched, Error> {
        self.fetch_with(&self.settings())
    }

    fn fetch_with(&self, settings: &HubSettings) -> Result<Fetched, Error> {
        Hub::new(settings, (REPO, "main"), &self.progress, &self.interrupt).fetch(FILE)
    }

    fn cache(&self, rest: &str) -> PathBuf {
        self.folder.path().join("hub/models--org--model").join(rest)
    }

    fn incomplete(&self) -> PathBuf {
        self.cache(&format!("blobs/{}.incomplete", sha256(&self.bytes)))
    }

    /// Asserts that the file is whole, and in the layout that the hub's other clients use.
    fn assert_whole(&self, fetched: &Fetched) {
        assert_eq!(std::fs::read(&fetched.path).unwrap(), self.bytes);
        assert_eq!(fetched.commit, COMMIT);
        assert_eq!(fetched.path, self.cache(&format!("snapshots/{COMMIT}/{FILE}")));
        let link = std::fs::read_link(&fetched.path).unwrap();
        assert_eq!(link, PathBuf::from(format!("../../blobs/{}", sha256(&self.bytes))));
        assert_eq!(std::fs::read_to_string(self.cache("refs/main")).unwrap(), COMMIT);
        assert!(!self.incomplete().exists());
    }

    fn assert_refused(&self, kind: fn(&Error) -> bool, parts: &[&str]) {
        let error = self.fetch().unwrap_err();
        let text = error.to_string();
        assert!(kind(&error), "{error:?}");
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    }
}

fn missing(error: &Error) -> bool {
    matches!(error, Error::Missing { .. } | Error::Unreachable { .. })
}

fn unusable(error: &Error) -> bool {
    matches!(error, Error::Unusable { .. })
}

#[test]
fn a_file_is_fetched_once_and_then_taken_from_the_cache() {
    let case = Case::new(700_000);
    case.assert_whole(&case.fetch().unwrap());
    assert_eq!(*case.progress.told.lock().unwrap(), [format!("start {FILE} 700000 0"), "done".into()]);
    assert_eq!(*case.progress.came.lock().unwrap(), 700_000);
    let requests = case.server.seen().len();
    case.assert_whole(&case.fetch().unwrap());
    let offline = HubSettings { offline: true, ..case.settings() };
    case.assert_whole(&case.fetch_with(&offline).unwrap());
    assert_eq!(case.server.seen().len(), requests, "the cache was enough");
}

#[test]
fn a_broken_line_is_taken_up_where_it_broke() {
    let case = Case::new(1_000_000);
    case.server.fault(|faults| faults.cut_after = vec![300_000, 0, 200_000]);
    case.assert_whole(&case.fetch().unwrap());
    let downloads = case.server.downloads(FILE);
    let ranges: Vec<_> = downloads.iter().map(|seen| seen.range.as_deref()).collect();
    assert_eq!(ranges, [None, Some("bytes=300000-"), Some("bytes=300000-"), Some("bytes=500000-")]);
    assert_eq!(downloads.iter().map(|seen| seen.body_bytes).sum::<u64>(), 1_000_000, "no byte came twice");
}

#[test]
fn a_line_that_keeps_breaking_is_given_up_and_the_part_is_kept() {
    let case = Case::new(1_000_000);
    case.server.fault(|faults| faults.cut_after = vec![400_000, 0, 0, 0]);
    case.assert_refused(missing, &["400000 of 1000000 bytes", "3 times in a row", "resumes it"]);
    assert_eq!(std::fs::metadata(case.incomplete()).unwrap().len(), 400_000);
    case.server.fault(|faults| faults.cut_after.clear());
    case.assert_whole(&case.fetch().unwrap());
    assert_eq!(case.server.downloads(FILE).last().unwrap().body_bytes, 600_000);
}

#[test]
fn an_interrupt_stops_the_transfer_and_keeps_the_part() {
    let case = Case::new(2_000_000);
    case.server.fault(|faults| faults.pause = Some(Duration::from_millis(2)));
    *case.progress.stop_at.lock().unwrap() = Some((500_000, case.interrupt.clone()));
    assert!(matches!(case.fetch().unwrap_err(), Error::Interrupted));
    let kept = std::fs::metadata(case.incomplete()).unwrap().len();
    assert!((500_000..2_000_000).contains(&kept), "{kept}");

    let again = Interrupt::default();
    let settings = case.settings();
    case.server.fault(|faults| faults.pause = None);
    case.assert_whole(&Hub::new(&settings, (REPO, "main"), &(), &again).fetch(FILE).unwrap());
    let last = case.server.downloads(FILE).pop().unwrap();
    assert_eq!(last.range, Some(format!("bytes={kept}-")));
    assert_eq!(last.body_bytes, 2_000_000 - kept, "only what was missing");
}

#[test]
fn an_interrupt_ends_the_wait_for_a_silent_server() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let case = Case::new(10);
    let settings = HubSettings {
        endpoint: format!("http://{}", listener.local_addr().unwrap()),
        silence: Duration::from_mins(10),
        ..case.settings()
    };
    let interrupt = case.interrupt.clone();
    std::thread::spawn(move || {
        let _connection = listener.accept();
        interrupt.request();
    });
    assert!(matches!(case.fetch_with(&settings).unwrap_err(), Error::Interrupted));
}

/// The body of the child process of the next test: does nothing unless that test prepared the cache.
#[test]
fn a_child_fetches_what_its_environment_names() {
    let settings = HubSettings::from_env();
    if settings.cache.join("kill-me").exists() {
        let fetched = Hub::new(&settings, (REPO, "main"), &(), &Interrupt::default()).fetch(FILE);
        assert!(fetched.is_ok(), "{fetched:?}");
    }
}

#[test]
fn a_killed_process_leaves_a_part_that_the_next_one_completes() {
    let case = Case::new(3_000_000);
    let cache = case.settings().cache;
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("kill-me"), "").unwrap();
    case.server.fault(|faults| faults.pause = Some(Duration::from_millis(5)));
    let start = || {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "hub::tests::a_child_fetches_what_its_environment_names"])
            .env("HF_ENDPOINT", case.server.url())
            .env("HF_HUB_CACHE", &cache)
            .env_remove("HF_HUB_OFFLINE")
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut child = start();
    let length = || std::fs::metadata(case.incomplete()).map_or(0, |found| found.len());
    while length() < 300_000 {
        assert!(child.try_wait().unwrap().is_none(), "the child ended before it could be killed");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = length();
    assert!((300_000..3_000_000).contains(&kept), "{kept}");

    case.server.fault(|faults| faults.pause = None);
    assert!(start().wait().unwrap().success());
    let last = case.server.downloads(FILE).pop().unwrap();
    assert_eq!(last.range, Some(format!("bytes={kept}-")));
    assert_eq!(last.body_bytes, 3_000_000 - kept, "only what was missing");
    let offline = HubSettings { offline: true, ..case.settings() };
    case.assert_whole(&case.fetch_with(&offline).unwrap());
}

#[test]
fn two_at_once_fetch_the_file_once() {
    let case = Case::new(1_500_000);
    case.server.fault(|faults| faults.pause = Some(Duration::from_millis(1)));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| case.fetch())).collect();
        for thread in threads {
            case.assert_whole(&thread.join().unwrap().unwrap());
        }
    });
    assert_eq!(case.server.downloads(FILE).len(), 1);
    let told = case.progress.told.lock().unwrap();
    assert!(told.contains(&format!("waiting {FILE}")), "{told:?}");
}

#[test]
fn a_server_without_ranges_sends_all_of_it_again() {
    let case = Case::new(500_000);
    case.server.fault(|faults| (faults.cut_after, faults.no_ranges) = (vec![100_000], true));
    case.assert_whole(&case.fetch().unwrap());
    assert_eq!(case.progress.told.lock().unwrap().len(), 3, "the progress begins anew");
}

#[test]
fn a_spoilt_part_is_fetched_anew() {
    let case = Case::new(500_000);
    for spoilt in [vec![7; 100_000], vec![7; 500_000], vec![7; 600_000]] {
        std::fs::create_dir_all(case.cache("blobs")).unwrap();
        std::fs::write(case.incomplete(), &spoilt).unwrap();
        case.assert_whole(&case.fetch().unwrap());
        std::fs::remove_dir_all(case.cache("")).unwrap();
    }
}

#[test]
fn bytes_that_are_not_the_announced_ones_are_not_taken() {
    let case = Case::new(500_000);
    case.server.fault(|faults| faults.corrupt = true);
    case.assert_refused(unusable, &["SHA-256", &sha256(&case.bytes), "alters them"]);
    assert!(!case.cache(&format!("blobs/{}", sha256(&case.bytes))).exists());
    assert!(!case.cache(&format!("snapshots/{COMMIT}/{FILE}")).exists());
    case.server.fault(|faults| faults.corrupt = false);
    case.assert_whole(&case.fetch().unwrap());
}

#[test]
fn a_server_that_lies_about_the_length_is_found_out() {
    for (more, parts) in
        [(1000, ["announced 501000", "sends 500000"]), (-1000, ["announced 499000", "sends 500000"])]
    {
        let case = Case::new(500_000);
        case.server.fault(|faults| faults.announce_more = more);
        case.assert_refused(unusable, &parts);
    }
}

#[test]
fn names_from_the_server_cannot_leave_the_cache() {
    let case = Case::new(1000);
    case.server.fault(|faults| faults.etag = Some("../../../escaped".into()));
    case.assert_refused(unusable, &["malformed name", "escaped"]);
    let server = &case.server;
    server.fault(|faults| {
        faults.listing = Some(format!(
            r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"../x"}},{{"rfilename":"a/b"}}]}}"#
        ));
    });
    let settings = case.settings();
    let hub = Hub::new(&settings, (REPO, "main"), &(), &case.interrupt);
    assert_eq!(hub.list().unwrap().files, ["a/b"]);
    server.fault(|faults| faults.listing = Some(r#"{"sha":"../..","siblings":[]}"#.into()));
    assert!(hub.list().unwrap_err().to_string().contains("malformed"));
    server.fault(|faults| faults.listing = Some("<html>".into()));
    assert!(hub.list().unwrap_err().to_string().contains("HF_ENDPOINT"));
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let case = Case::new(400_000);
    let storage = HubServer::start();
    storage.put(&format!("{REPO}/{FILE}"), case.bytes.clone(), &sha256(&case.bytes));
    case.server.fault(|faults| {
        faults.token = Some("hf_secret".into());
        faults.storage = Some(storage.url());
    });
    case.assert_refused(missing, &["private", "HF_TOKEN"]);

    let settings = HubSettings { token: Some("hf_secret".into()), ..case.settings() };
    storage.fault(|faults| faults.cut_after = vec![150_000]);
    case.assert_whole(&case.fetch_with(&settings).unwrap());
    let at_hub = case.server.downloads(FILE);
    assert!(!at_hub.is_empty() && at_hub.iter().all(|seen| seen.authorization.is_some()));
    let elsewhere = storage.seen();
    assert_eq!(elsewhere.len(), 2, "the transfer and its continuation: {elsewhere:?}");
    assert!(elsewhere.iter().all(|seen| seen.authorization.is_none()), "{elsewhere:?}");
    assert_eq!(elsewhere[1].range.as_deref(), Some("bytes=150000-"), "a range survives the redirect");
    assert!(!format!("{settings:?}").contains("hf_secret"));
}

/// Status, the hub's word for it, the kind of error, and what its text must hold.
type Refusal = (u16, &'static str, fn(&Error) -> bool, &'static [&'static str]);

#[test]
fn each_refusal_says_what_to_do() {
    let cases: &[Refusal] = &[
        (401, "GatedRepo", unusable, &["gated", "https://huggingface.co/org/model", "set HF_TOKEN"]),
        (403, "GatedRepo", unusable, &["gated"]),
        (401, "RepoNotFound", missing, &["no such repository", "private"]),
        (404, "RepoNotFound", missing, &["no such repository", "org/model"]),
        (404, "RevisionNotFound", missing, &["branch, tag or commit `main`"]),
        (404, "EntryNotFound", missing, &["no such file", "hf:org/model/model-Q8_0.gguf"]),
        (429, "", missing, &["too many requests"]),
        (500, "", missing, &["answered 500"]),
    ];
    for (status, code, kind, parts) in cases {
        let case = Case::new(1000);
        case.server.fault(|faults| faults.refuse = Some((*status, code)));
        case.assert_refused(*kind, parts);
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let case = Case::new(1000);
    case.server.fault(|faults| faults.busy = 2);
    case.assert_whole(&case.fetch().unwrap());
}

#[test]
fn without_a_network_the_cache_serves_and_its_lack_is_explained() {
    let case = Case::new(1000);
    let offline = HubSettings { offline: true, ..case.settings() };
    let error = case.fetch_with(&offline).unwrap_err();
    assert!(missing(&error) && error.to_string().contains("HF_HUB_OFFLINE is set"), "{error}");
    assert!(case.server.seen().is_empty(), "offline means that no request is sent");

    // A port that nothing listens on: bound for a moment, to be sure that it was free.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let alone = HubSettings { endpoint: format!("http://127.0.0.1:{port}"), ..case.settings() };
    let error = case.fetch_with(&alone).unwrap_err();
    assert!(missing(&error) && error.to_string().contains("cannot be reached"), "{error}");

    let schemeless = HubSettings { endpoint: format!("127.0.0.1:{port}"), ..case.settings() };
    let error = case.fetch_with(&schemeless).unwrap_err();
    assert!(error.to_string().contains("HF_ENDPOINT must begin with http"), "{error}");

    case.fetch().unwrap();
    case.assert_whole(&case.fetch_with(&alone).unwrap());
    for settings in [&alone, &offline] {
        let listing = Hub::new(settings, (REPO, "main"), &(), &case.interrupt).list().unwrap();
        assert_eq!(listing, Listing { commit: COMMIT.into(), files: vec![FILE.into()] });
    }
}

#[test]
fn a_commit_is_its_own_revision() {
    let case = Case::new(1000);
    let settings = case.settings();
    let at = |revision| Hub::new(&settings, (REPO, revision), &(), &case.interrupt).fetch(FILE);
    let fetched = at(COMMIT).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), case.bytes);
    assert!(!case.cache("refs").exists(), "a commit needs no reference");
    let offline = HubSettings { offline: true, ..case.settings() };
    assert_eq!(Hub::new(&offline, (REPO, COMMIT), &(), &case.interrupt).fetch(FILE).unwrap(), fetched);
    at("refs/pr/1").unwrap();
    assert_eq!(std::fs::read_to_string(case.cache("refs/refs/pr/1")).unwrap(), COMMIT);
    assert!(case.server.seen().iter().any(|seen| seen.path.contains("/resolve/refs%2Fpr%2F1/")));
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let case = Case::new(1000);
    let file = case.folder.path().join("a-file");
    std::fs::write(&file, "").unwrap();
    let settings = HubSettings { cache: file.join("hub"), ..case.settings() };
    let error = case.fetch_with(&settings).unwrap_err();
    assert!(unusable(&error) && error.to_string().contains("HF_HUB_CACHE"), "{error}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_called_a_full_disk() {
    let case = Case::new(1000);
    std::fs::create_dir_all(case.cache("blobs")).unwrap();
    // Every write to /dev/full fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", case.incomplete()).unwrap();
    case.assert_refused(unusable, &["the disk is full", "free some space"]);
}

/// A GGUF file of 32 MiB whose header takes some hundred bytes.
fn large_gguf() -> Vec<u8> {
    let big = crate::TensorType::F32;
    crate::testing::Draft::new().tensor("blk.0.ffn_up.weight", big, &[8 << 10, 1 << 10]).file()
}

/// The name in the header of the case's file, read without fetching it.
fn look(case: &Case, settings: &HubSettings) -> Result<String, Error> {
    let hub = Hub::new(settings, (REPO, "main"), &case.progress, &case.interrupt);
    let read = |reader: &mut dyn std::io::Read, length, path: &Path| {
        crate::gguf::parse(reader, length, path).map(|file| file.header.name)
    };
    let (name, commit) = hub.header(FILE, read)?;
    assert_eq!(commit, COMMIT);
    Ok(name)
}

fn case_of(bytes: Vec<u8>) -> Case {
    let case = Case { bytes, ..Case::new(0) };
    case.server.put(&format!("{REPO}/{FILE}"), case.bytes.clone(), &sha256(&case.bytes));
    case
}

#[test]
fn a_header_is_read_by_ranges_alone() {
    let case = case_of(large_gguf());
    assert_eq!(look(&case, &case.settings()).unwrap(), "Tiny");
    let asked = case.server.downloads(FILE);
    assert!(!asked.is_empty() && asked.iter().all(|seen| seen.range.is_some()), "{asked:?}");
    assert!(asked.iter().map(|seen| seen.body_bytes).sum::<u64>() <= 64 << 10, "{asked:?}");
    assert!(!case.cache("").exists(), "nothing is kept");
    // A local file causes no request.
    case.fetch().unwrap();
    let seen = case.server.seen().len();
    assert_eq!(look(&case, &HubSettings { offline: true, ..case.settings() }).unwrap(), "Tiny");
    assert_eq!(case.server.seen().len(), seen);
}

#[test]
fn a_header_of_many_pieces_is_read_in_growing_ranges() {
    let words = crate::gguf::Value::string("word ".repeat(100_000));
    let draft = crate::testing::Draft::new().with("general.description", words);
    let big = crate::TensorType::F32;
    let case = case_of(draft.tensor("blk.0.ffn_up.weight", big, &[4 << 10, 1 << 10]).file());
    assert_eq!(look(&case, &case.settings()).unwrap(), "Tiny");
    let asked = case.server.downloads(FILE);
    let ranges: Vec<_> = asked.iter().filter_map(|seen| seen.range.as_deref()).collect();
    assert_eq!(ranges, ["bytes=0-65535", "bytes=65536-196607", "bytes=196608-458751", "bytes=458752-983039"]);
}

#[test]
fn a_server_without_ranges_is_cut_off_behind_the_header() {
    let case = case_of(large_gguf());
    case.server.fault(|faults| faults.no_ranges = true);
    assert_eq!(look(&case, &case.settings()).unwrap(), "Tiny");
    // What the two sockets hold goes out before the server notices.
    let noticed = || {
        let asked = case.server.downloads(FILE);
        (asked.len(), asked.iter().map(|seen| seen.body_bytes).sum::<u64>())
    };
    let mut before = noticed();
    for _ in 0..100 {
        crate::base::clock::sleep(Duration::from_millis(5));
        let now = noticed();
        if now == before {
            break;
        }
        before = now;
    }
    assert!(before.0 == 1 && before.1 < 24 << 20, "{before:?} of {} bytes", case.bytes.len());
}

#[test]
fn a_header_comes_from_the_storage_without_the_token() {
    let case = case_of(large_gguf());
    let storage = HubServer::start();
    storage.put(&format!("{REPO}/{FILE}"), case.bytes.clone(), &sha256(&case.bytes));
    case.server.fault(|faults| {
        faults.storage = Some(storage.url());
        faults.token = Some("secret".into());
    });
    let settings = HubSettings { token: Some("secret".into()), ..case.settings() };
    assert_eq!(look(&case, &settings).unwrap(), "Tiny");
    assert!(case.server.seen().iter().all(|seen| seen.authorization.is_some()));
    let asked = storage.seen();
    assert!(!asked.is_empty() && asked.iter().all(|seen| seen.authorization.is_none()), "{asked:?}");
    assert!(asked.iter().all(|seen| seen.range.is_some() && seen.body_bytes <= 64 << 10), "{asked:?}");
}

#[test]
fn a_header_that_does_not_come_is_the_hubs_failure_and_not_the_files() {
    let case = case_of(large_gguf());
    case.server.fault(|faults| faults.cut_after = vec![100, 100]);
    assert_eq!(look(&case, &case.settings()).unwrap(), "Tiny", "an answer that breaks off is gone on from");
    case.server.fault(|faults| faults.cut_after = vec![10; 3]);
    let error = look(&case, &case.settings()).unwrap_err().to_string();
    assert!(error.contains("cannot be reached") || error.contains("closed early"), "{error}");
    let offline = HubSettings { offline: true, ..case.settings() };
    assert!(look(&case, &offline).unwrap_err().to_string().contains("HF_HUB_OFFLINE"));
    let cut = case_of(large_gguf()[..1 << 20].to_vec());
    let error = look(&cut, &cut.settings()).unwrap_err().to_string();
    assert!(error.contains("the file is cut off") && error.contains(FILE), "{error}");
}
