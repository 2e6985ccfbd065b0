//! A server that writes tokens at scripted times, keeps what it wrote when, and misbehaves on request. One thread for each
//! connection; each blocks.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use infercost_base::clock;
use infercost_base::event::Tick;
use serde_json::{Value, json};

/// What a request asked for.
pub(crate) struct Asked {
    /// Which request of the server, from 0.
    pub(crate) index: u32,
    /// Which request of its connection, from 0.
    pub(crate) on_connection: u32,
    /// The path, without its query.
    pub(crate) path: String,
    /// All header lines.
    pub(crate) head: String,
    /// The body.
    pub(crate) body: Value,
}

/// How to answer.
#[derive(Clone)]
pub(crate) enum Answer {
    /// A stream of tokens, each after its wait, so many events a write.
    Tokens { first: Duration, gap: Duration, a_write: usize },
    /// These tokens' events, then whatever `After` says.
    Then(u32, After),
    /// These bytes as they are, then the connection is closed.
    Raw(Vec<u8>),
    /// The same, a byte every so often.
    Drip(Vec<u8>, Duration),
    /// A head with this status and these header lines, and a body.
    Status(u16, &'static str, String),
    /// A stream whose chunks name another model.
    Model(&'static str),
    /// A whole stream, and the connection closed without a word that it would be.
    CloseAfter,
    /// A stream with this data as its events.
    Events(Vec<Vec<u8>>),
}

/// What happens in the middle of a stream.
#[derive(Clone)]
pub(crate) enum After {
    /// The connection is closed inside an event.
    Cut,
    /// The body ends in order, without a finish reason.
    End,
    /// Nothing more comes.
    Silence,
    /// Only comments come.
    Comments,
    /// An error object.
    Error,
    /// The stream goes on after this time.
    Pause(Duration),
}

/// A token that was written.
#[allow(dead_code, reason = "which request matters to the example alone")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// To which request.
    pub(crate) request: u32,
    /// When, just before the write.
    pub(crate) at: Tick,
}

/// The server, on a port of its own.
pub(crate) struct Server {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    is_over: Arc<AtomicBool>,
    written: Arc<Mutex<Vec<Written>>>,
    connections: Arc<AtomicU32>,
}

type Script = dyn Fn(&Asked) -> Answer + Send + Sync;

impl Server {
    /// Starts it.
    pub(crate) fn start(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", None, script)
    }

    /// Starts it with TLS.
    pub(crate) fn with_tls(script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", Some(tls()), script)
    }

    /// Starts it at an address of choice.
    pub(crate) fn listen(
        at: &str,
        tls: Option<Arc<rustls::ServerConfig>>,
        script: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(at).expect("a port");
        let server = Self {
            address: listener.local_addr().expect("bound"),
            is_over: Arc::default(),
            written: Arc::default(),
            connections: Arc::default(),
        };
        let (is_over, written) = (Arc::clone(&server.is_over), Arc::clone(&server.written));
        let (connections, script) =
            (Arc::clone(&server.connections), Arc::<Script>::from(Box::new(script) as Box<Script>));
        let requests = Arc::new(AtomicU32::new(0));
        let accept = move || {
            for stream in listener.incoming() {
                if is_over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else {
                    // No file descriptor left; some will be.
                    clock::sleep(Duration::from_millis(10));
                    continue;
                };
                connections.fetch_add(1, Ordering::SeqCst);
                drop(stream.set_nodelay(true));
                let (script, written, requests) =
                    (Arc::clone(&script), Arc::clone(&written), Arc::clone(&requests));
                let tls = tls.clone();
                let talk = move || {
                    let raw = stream.try_clone();
                    let Ok(raw) = raw else { return };
                    // A client that went away ends the talk; so does a handshake that failed.
                    drop(match tls {
                        None => talk(stream, &raw, &*script, &written, &requests),
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).expect("a session");
                            talk(
                                rustls::StreamOwned::new(session, stream),
                                &raw,
                                &*script,
                                &written,
                                &requests,
                            )
                        }
                    });
                };
                let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(talk);
                drop(thread);
            }
        };
        std::thread::spawn(accept);
        server
    }

    /// Its address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every token written so far.
    pub(crate) fn written(&self) -> Vec<Written> {
        self.written.lock().expect("no thread died with it").clone()
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

fn tls() -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    let certificate = CertificateDer::from_pem_slice(include_bytes!("../../tests/data/localhost.pem"))
        .expect("a certificate");
    let key = PrivatePkcs8KeyDer::from(&include_bytes!("../../tests/data/localhost-key.der")[..]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::from(key))
        .expect("a certificate and its key");
    Arc::new(config)
}

fn talk<S: Read + Write>(
    stream: S,
    raw: &TcpStream,
    script: &Script,
    written: &Mutex<Vec<Written>>,
    requests: &AtomicU32,
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    for on_connection in 0.. {
        let Some(mut asked) = read(&mut stream, requests)? else { return Ok(()) };
        asked.on_connection = on_connection;
        let out = stream.get_mut();
        if asked.path.ends_with("/models") {
            let list = json!({"object": "list", "data": [{"id": "truth", "object": "model", "max_model_len": 4096}]});
            if let Answer::Status(status, lines, body) = script(&asked) {
                whole(out, status, lines, &body)?;
            } else {
                whole(out, 200, "Content-Type: application/json\r\n", &list.to_string())?;
            }
            continue;
        }
        let mut reply = Reply { out, written, asked: &asked, model: "truth" };
        let keep = match script(&asked) {
            Answer::Tokens { first, gap, a_write } => reply.tokens(first, gap, a_write)?,
            Answer::Then(count, after) => reply.then(count, &after)?,
            Answer::Raw(bytes) => {
                reply.out.write_all(&bytes)?;
                false
            }
            Answer::Drip(bytes, gap) => {
                for byte in bytes {
                    clock::sleep(gap);
                    reply.out.write_all(&[byte])?;
                }
                false
            }
            Answer::Status(status, lines, body) => whole(reply.out, status, lines, &body).map(|()| true)?,
            Answer::Model(name) => {
                reply.model = name;
                reply.tokens(Duration::ZERO, Duration::ZERO, 1)?
            }
            Answer::CloseAfter => reply.tokens(Duration::ZERO, Duration::ZERO, 1).map(|_| false)?,
            Answer::Events(events) => {
                reply.begin()?;
                for event in events {
                    reply.chunk(&[b"data: ", &event[..], b"\n\n"].concat())?;
                }
                reply.end()?
            }
        };
        if !keep {
            drop(raw.shutdown(std::net::Shutdown::Both));
            return Ok(());
        }
    }
    Ok(())
}

fn read(stream: &mut BufReader<impl Read>, requests: &AtomicU32) -> io::Result<Option<Asked>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if stream.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head[before..].trim().is_empty() {
            break;
        }
    }
    let path = head.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:").map(str::to_owned));
    let length = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let index = if path.ends_with("/models") { 0 } else { requests.fetch_add(1, Ordering::SeqCst) };
    Ok(Some(Asked { index, on_connection: 0, path, head, body }))
}

fn whole(out: &mut impl Write, status: u16, lines: &str, body: &str) -> io::Result<()> {
    let answer =
        format!("HTTP/1.1 {status} As scripted\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len());
    out.write_all(answer.as_bytes())?;
    out.flush()
}

struct Reply<'a, S> {
    out: &'a mut S,
    written: &'a Mutex<Vec<Written>>,
    asked: &'a Asked,
    model: &'a str,
}

impl<S: Write> Reply<'_, S> {
    fn begin(&mut self) -> io::Result<()> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n";
        self.out.write_all(head.as_bytes())?;
        self.out.flush()
    }

    fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut all = format!("{:x}\r\n", bytes.len()).into_bytes();
        all.extend_from_slice(bytes);
        all.extend_from_slice(b"\r\n");
        self.out.write_all(&all)?;
        self.out.flush()
    }

    fn end(&mut self) -> io::Result<bool> {
        self.out.write_all(b"0\r\n\r\n")?;
        self.out.flush()?;
        Ok(true)
    }

    fn output_tokens(&self) -> u32 {
        self.asked.body["max_tokens"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(16)
    }

    fn event(&self, text: Option<&str>, finish: Option<&str>) -> String {
        let is_chat = self.asked.path.ends_with("/chat/completions");
        // Some clients tell the kinds of chunks by this name.
        let object = if is_chat { "chat.completion.chunk" } else { "text_completion" };
        let choice = if is_chat {
            let delta = text.map_or(json!({}), |text| json!({"content": text}));
            json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish})
        } else {
            // `text` stands in `logprobs` as well, before the real one.
            let logprobs = json!({"text": ["not this"], "token_logprobs": [-0.5]});
            json!({"index": 0, "logprobs": logprobs, "text": text.unwrap_or(""), "finish_reason": finish})
        };
        let chunk = json!({"id": "1", "object": object, "created": 1, "model": self.model, "choices": [choice], "usage": null});
        format!("data: {chunk}\n\n")
    }

    fn note(&self) {
        let written = Written { request: self.asked.index, at: clock::now() };
        self.written.lock().expect("no thread died with it").push(written);
    }

    fn token(&mut self, number: u32) -> io::Result<()> {
        let event = self.event(Some(&format!(" word{number}")), None);
        self.note();
        self.chunk(event.as_bytes())
    }

    fn role(&mut self) -> io::Result<()> {
        if self.asked.path.ends_with("/chat/completions") {
            let chunk = json!({"model": self.model, "choices": [{"index": 0, "delta": {"role": "assistant", "content": null}}]});
            self.chunk(format!("data: {chunk}\n\n").as_bytes())?;
        }
        Ok(())
    }

    fn tokens(&mut self, first: Duration, gap: Duration, a_write: usize) -> io::Result<bool> {
        self.begin()?;
        self.role()?;
        let count = self.output_tokens();
        let begun = clock::now();
        let mut number = 0;
        while number < count {
            let writes = number / u32::try_from(a_write).expect("a small number");
            // Against drift: each time counts from the beginning.
            let due = first + gap * writes;
            let passed = Duration::from_secs_f64(clock::now().since(begun).get());
            clock::sleep(due.saturating_sub(passed));
            let upto = count.min(number + u32::try_from(a_write).expect("a small number"));
            let mut all = Vec::new();
            for each in number..upto {
                let event = self.event(Some(&format!(" word{each}")), None);
                all.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
                self.note();
            }
            self.out.write_all(&all)?;
            self.out.flush()?;
            number = upto;
        }
        self.finish(count)
    }

    fn finish(&mut self, count: u32) -> io::Result<bool> {
        self.chunk(self.event(None, Some("length")).as_bytes())?;
        // Ids are as many as they are, and new; words are seven tokens, of which three were known.
        let ids = self.asked.body["prompt"].as_array().map(Vec::len);
        let (prompt, cached) = ids.map_or((7, 3), |ids| (ids, 0));
        let usage = json!({
            "prompt_tokens": prompt, "completion_tokens": count, "total_tokens": prompt + count as usize,
            "prompt_tokens_details": {"cached_tokens": cached},
        });
        let last = json!({"model": self.model, "choices": [], "usage": usage});
        self.chunk(format!("data: {last}\n\ndata: [DONE]\n\n").as_bytes())?;
        self.end()
    }

    fn then(&mut self, count: u32, after: &After) -> io::Result<bool> {
        self.begin()?;
        for number in 0..count {
            self.token(number)?;
        }
        match after {
            After::Cut => self.chunk(b"data: {\"choices\":[{\"index\":0,\"te")?,
            After::End => return self.end(),
            After::Silence => clock::sleep(Duration::from_secs(5)),
            After::Comments => {
                for _ in 0..100 {
                    clock::sleep(Duration::from_millis(50));
                    self.chunk(b": still here\n\n")?;
                }
            }
            After::Error => {
                let error = json!({"error": {"message": "CUDA out of memory", "code": 500}});
                self.chunk(format!("data: {error}\n\n").as_bytes())?;
                return self.end();
            }
            After::Pause(length) => {
                clock::sleep(*length);
                let all = self.output_tokens();
                for number in count..all {
                    self.token(number)?;
                }
                return self.finish(all);
            }
        }
        Ok(false)
    }
}
