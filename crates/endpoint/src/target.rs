//! Which server is asked, and how: address, API, key, trust, patience.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use crate::base::failure::{Class, Classed};
use crate::base::redact;
use crate::base::requests::Ending;
use crate::base::requests::Failure;

/// A setting that cannot be used (exit code 2, or 13 where a file is not there).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The address.
    #[error("--url: {0}; an example: http://localhost:8000")]
    Url(&'static str),
    /// A header.
    #[error("--header: {0}; an example: --header 'X-Tenant: bench'")]
    Header(&'static str),
    /// The key.
    #[error("the API key {0}")]
    Key(&'static str),
    /// A file that cannot be read.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Classed for Invalid {
    fn class(&self) -> Class {
        match self {
            Self::File { path, .. } if !path.exists() => Class::Missing,
            Self::File { .. } => Class::Unusable,
            Self::Url(_) | Self::Header(_) | Self::Key(_) => Class::Usage,
        }
    }
}

/// A text that is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it begins with `https`.
    pub is_https: bool,
    /// Host name or address, without brackets.
    pub host: String,
    /// Port; 80 or 443 when none is given.
    pub port: u16,
    /// The path up to `/v1`, that included, without a slash at its end.
    pub base: String,
    /// The query after the path, with its `?`; it may be a secret.
    query: Secret,
    /// The API that the address itself names.
    pub api: Option<Api>,
}

impl Url {
    /// Reads an address. `/v1` is added when no path is given; a path that ends in the API's own is understood.
    ///
    /// # Errors
    /// An address that is none.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (scheme, rest) = text
            .trim()
            .split_once("://")
            .ok_or(Invalid::Url("it does not start with http:// or https://"))?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(Invalid::Url("unknown scheme; supported: http, https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').map_or((rest, String::new()), |(a, b)| (a, format!("?{b}")));
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.contains('@') {
            return Err(Invalid::Url("no user or password in it; use --header or --api-key-file"));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(inside) => {
                let (host, after) =
                    inside.split_once(']').ok_or(Invalid::Url("the ] of its address is missing"))?;
                (host, after.strip_prefix(':'))
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !visible(host) || !visible(path) || !visible(&query) {
            return Err(Invalid::Url("no host, or characters that a URL cannot have"));
        }
        let port = match port {
            None => {
                if is_https {
                    443
                } else {
                    80
                }
            }
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or(Invalid::Url("not a port from 1 to 65535"))?,
        };
        let path = path.trim_end_matches('/');
        let (base, api) = if let Some(base) = path.strip_suffix("/chat/completions") {
            (base.to_owned(), Some(Api::Chat))
        } else if let Some(base) = path.strip_suffix("/completions") {
            (base.to_owned(), Some(Api::Completions))
        } else if path.is_empty() {
            ("/v1".to_owned(), None)
        } else {
            (path.to_owned(), None)
        };
        Ok(Self { is_https, host: host.to_owned(), port, base, query: Secret::new(query), api })
    }

    /// The path and query of `end`, such as `/models`.
    pub(crate) fn path(&self, end: &str) -> String {
        format!("{}{end}{}", self.base, self.query.reveal())
    }

    /// As the `Host` header has it.
    pub(crate) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.is_https { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// The addresses of the host, those of IPv4 first where both are this machine's own.
    ///
    /// # Errors
    /// A name without address.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, Failure> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let mut found: Vec<SocketAddr> = found
            .map_err(|error| {
                Failure::new(
                    Ending::NameNotResolved,
                    format!("the name {} has no address ({error})", self.host),
                )
            })?
            .collect();
        // Most servers listen on 127.0.0.1 alone, and a refusal first would be in every new connection's time.
        if found.iter().all(|address| address.ip().is_loopback()) {
            found.sort_by_key(SocketAddr::is_ipv6);
        }
        if found.is_empty() {
            return Err(Failure::new(
                Ending::NameNotResolved,
                format!("the name {} has no address", self.host),
            ));
        }
        Ok(found)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.is_https { "https" } else { "http" }, self.authority(), self.base)
    }
}

/// Which of the two APIs is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    /// `/v1/completions`: the prompt as token ids or as text.
    Completions,
    /// `/v1/chat/completions`: one message of the user.
    Chat,
}

impl Api {
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Completions => "/completions",
            Self::Chat => "/chat/completions",
        }
    }
}

/// How long is waited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// Between two tokens, and for the first.
    pub stall: Duration,
    /// For a whole request.
    pub request: Duration,
    /// For requests still running once the load is over.
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self { connect: Duration::from_secs(10), stall: minutes(2), request: minutes(60), drain: minutes(5) }
    }
}

/// A server, and how it is asked.
#[expect(clippy::struct_excessive_bools, reason = "each a field of a request that is asked for or not")]
#[derive(Debug, Clone)]
pub struct Target {
    /// Its address.
    pub url: Url,
    /// Which API.
    pub api: Api,
    /// The model's name there.
    pub model: String,
    /// The key, sent as `Authorization: Bearer …`.
    pub key: Option<Secret>,
    /// Further headers; their values are kept out of every message.
    pub headers: Vec<(String, Secret)>,
    /// Certificate authorities in PEM, trusted instead of those that browsers trust.
    pub authorities: Option<PathBuf>,
    /// Ask for `ignore_eos`: an answer has as many tokens as asked for. vLLM, SGLang and llama.cpp take it.
    pub ignore_eos: bool,
    /// Ask for `min_tokens` as many as `max_tokens`. vLLM takes it.
    pub min_tokens: bool,
    /// Ask for `return_token_ids`, so that each delivery's tokens are known. vLLM takes it.
    pub return_token_ids: bool,
    /// Accept answers that name another model.
    pub any_model: bool,
    /// How long is waited.
    pub patience: Patience,
    /// Threads that send and read; 0 counts as 1.
    pub threads: u32,
}

impl Target {
    /// The server at `url`, asked by completions without more.
    pub fn new(url: Url, model: impl Into<String>) -> Self {
        Self {
            api: url.api.unwrap_or(Api::Completions),
            url,
            model: model.into(),
            key: None,
            headers: Vec::new(),
            authorities: None,
            ignore_eos: false,
            min_tokens: false,
            return_token_ids: false,
            any_model: false,
            patience: Patience::default(),
            threads: 1,
        }
    }

    /// Takes a key, spaces around it removed.
    ///
    /// # Errors
    /// A key that no header can carry.
    pub fn set_key(&mut self, key: &str) -> Result<(), Invalid> {
        let key = key.trim();
        if key.is_empty() {
            return Err(Invalid::Key("is empty"));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::Key("has characters that a header cannot carry"));
        }
        self.key = Some(Secret::new(key));
        Ok(())
    }

    /// Takes a header as `Name: value`.
    ///
    /// # Errors
    /// A header that is none, or one that this client sets itself.
    pub fn add_header(&mut self, text: &str) -> Result<(), Invalid> {
        let (name, value) = text.split_once(':').ok_or(Invalid::Header("no colon in it"))?;
        let (name, value) = (name.trim(), value.trim());
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Invalid::Header("its name has characters that a header name cannot have"));
        }
        if value.bytes().any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f) {
            return Err(Invalid::Header("its value has control characters"));
        }
        let own =
            ["host", "content-length", "transfer-encoding", "connection", "content-type", "accept-encoding"];
        if own.iter().any(|own| name.eq_ignore_ascii_case(own)) {
            return Err(Invalid::Header("this header is set by the program itself"));
        }
        self.headers.push((name.to_owned(), Secret::new(value)));
        Ok(())
    }

    /// Words of a server without this target's secrets and others.
    pub(crate) fn scrub(&self, words: &[u8]) -> String {
        let mut text = String::from_utf8_lossy(&words[..words.len().min(4096)]).into_owned();
        let own = self.key.iter().chain(self.headers.iter().map(|(_, value)| value));
        for secret in own.map(Secret::reveal).filter(|secret| secret.len() > 3) {
            text = text.replace(secret, "***");
        }
        let text = redact::text(&text).split_whitespace().collect::<Vec<_>>().join(" ");
        match text.char_indices().nth(300) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        }
    }

    /// The head of a request, up to and with the empty line.
    fn head(&self, method: &str, end: &str, body: Option<usize>, into: &mut Vec<u8>) {
        let mut line = |parts: &[&str]| {
            for part in parts {
                into.extend_from_slice(part.as_bytes());
            }
            into.extend_from_slice(b"\r\n");
        };
        line(&[method, " ", &self.url.path(end), " HTTP/1.1"]);
        line(&["Host: ", &self.url.authority()]);
        let given = |name: &str| self.headers.iter().any(|(header, _)| header.eq_ignore_ascii_case(name));
        if !given("user-agent") {
            line(&["User-Agent: infercost/", env!("CARGO_PKG_VERSION")]);
        }
        if let Some(key) = &self.key
            && !given("authorization")
        {
            line(&["Authorization: Bearer ", key.reveal()]);
        }
        for (name, value) in &self.headers {
            line(&[name, ": ", value.reveal()]);
        }
        if let Some(length) = body {
            line(&["Accept: text/event-stream"]);
            line(&["Content-Type: application/json"]);
            line(&["Content-Length: ", &length.to_string()]);
        }
        line(&[]);
    }

    /// A request for the list of models.
    pub(crate) fn models_request(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.head("GET", "/models", None, &mut bytes);
        bytes
    }

    /// A request for a page outside the API's path, such as `/metrics`.
    pub(crate) fn beside_request(&self, page: &str) -> Vec<u8> {
        let mut beside = self.clone();
        self.url.base.strip_suffix("/v1").unwrap_or_default().clone_into(&mut beside.url.base);
        let mut bytes = Vec::new();
        beside.head("GET", page, None, &mut bytes);
        bytes
    }

    /// A request whose body is `body`.
    pub(crate) fn post(&self, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(body.len() + 512);
        self.head("POST", self.api.path(), Some(body.len()), &mut bytes);
        bytes.extend_from_slice(body);
        bytes
    }

    /// The body that asks for `output_tokens` after `prompt`.
    pub(crate) fn body(&self, prompt: Prompt<'_>, output_tokens: u32) -> Vec<u8> {
        use std::io::Write as _;
        let room = match prompt {
            Prompt::Tokens(ids) => ids.len() * 8,
            Prompt::Text(text) => text.len() + text.len() / 8,
        };
        let mut body = Vec::with_capacity(room + 256);
        // Nothing that is written to memory fails.
        let string = |text: &str, body: &mut Vec<u8>| drop(serde_json::to_writer(body, text));
        body.extend_from_slice(b"{\"model\":");
        string(&self.model, &mut body);
        match (self.api, prompt) {
            (Api::Completions, Prompt::Tokens(ids)) => {
                body.extend_from_slice(b",\"prompt\":[");
                for (at, id) in ids.iter().enumerate() {
                    drop(write!(body, "{}{id}", if at == 0 { "" } else { "," }));
                }
                body.push(b']');
            }
            (Api::Completions, Prompt::Text(text)) => {
                body.extend_from_slice(b",\"prompt\":");
                string(text, &mut body);
            }
            (Api::Chat, Prompt::Text(text)) => {
                body.extend_from_slice(b",\"messages\":[{\"role\":\"user\",\"content\":");
                string(text, &mut body);
                body.extend_from_slice(b"}]");
            }
            // Refused before the first request: chat has no place for ids.
            (Api::Chat, Prompt::Tokens(_)) => {}
        }
        let flags = [("ignore_eos", self.ignore_eos), ("return_token_ids", self.return_token_ids)];
        for (name, _) in flags.iter().filter(|(_, is_set)| *is_set) {
            drop(write!(body, ",\"{name}\":true"));
        }
        if self.min_tokens {
            drop(write!(body, ",\"min_tokens\":{output_tokens}"));
        }
        drop(write!(
            body,
            ",\"max_tokens\":{output_tokens},\"temperature\":0,\"stream\":true,\"stream_options\":{{\"include_usage\":true}}}}"
        ));
        body
    }

    /// Whether an answer that names `got` comes from the model asked for: some servers add a date or leave out an owner.
    pub(crate) fn is_same_model(&self, got: crate::scan::Text<'_>) -> bool {
        if self.any_model || got.is(&self.model) {
            return true;
        }
        let got: String = got.decoded().collect::<String>().to_ascii_lowercase();
        let asked = self.model.to_ascii_lowercase();
        let tail = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
        let (got, asked) = (tail(&got), tail(&asked));
        let (long, short) = if got.len() > asked.len() { (&got, &asked) } else { (&asked, &got) };
        // A date or a version after the name is the same model; a word, such as `-mini`, is another.
        let is_version = |rest: &str| {
            let begins = rest.starts_with(['-', '@', ':']);
            rest.is_empty()
                || matches!(rest, "-latest" | ":latest")
                || (begins
                    && rest.len() > 4
                    && rest.bytes().skip(1).all(|byte| byte.is_ascii_digit() || b"-.".contains(&byte)))
        };
        short.is_empty() || long.strip_prefix(short.as_str()).is_some_and(is_version)
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt<'a> {
    /// Token ids, as most servers accept them in completions.
    Tokens(&'a [u32]),
    /// A text.
    Text(&'a str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for (text, shown, base, api) in [
            ("http://localhost:8000", "http://localhost:8000/v1", "/v1", None),
            ("http://localhost:8000/", "http://localhost:8000/v1", "/v1", None),
            ("HTTPS://api.example.com/v1/", "https://api.example.com/v1", "/v1", None),
            ("https://x.example:443/a/b", "https://x.example/a/b", "/a/b", None),
            ("http://[::1]:9/v1/chat/completions", "http://[::1]:9/v1", "/v1", Some(Api::Chat)),
            ("http://h/v1/completions?k=1#x", "http://h/v1", "/v1", Some(Api::Completions)),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.base.as_str(), url.api), (shown, base, api), "{text}");
        }
        assert_eq!(Url::parse("http://h?k=1").unwrap().path("/models"), "/v1/models?k=1");
        for text in [
            "localhost:8000",
            "ftp://h",
            "http://",
            "http://h:0",
            "http://h:99999",
            "http://u:p@h",
            "http://[::1",
            "http://a b",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_behind_its_name_is_the_same_model_and_a_word_is_another() {
        let is_same = |asked: &str, got: &str| {
            let target = Target::new(Url::parse("http://h").unwrap(), asked);
            target.is_same_model(crate::scan::Text { raw: got, bytes: 0 })
        };
        for (asked, got) in [
            ("gpt-4o", "gpt-4o"),
            ("gpt-4o", "gpt-4o-2024-08-06"),
            ("openai/gpt-4o", "GPT-4o"),
            ("mistral-small-latest", "mistral-small"),
            ("/models/a.gguf", "a.gguf"),
            ("a\u{e9}", "a\\u00e9"),
        ] {
            assert!(is_same(asked, got), "{asked} {got}");
        }
        for (asked, got) in
            [("gpt-4o", "gpt-4o-mini"), ("llama-3-8b", "llama-3-70b"), ("llama", "llama-3"), ("a", "b")]
        {
            assert!(!is_same(asked, got), "{asked} {got}");
        }
    }
}
