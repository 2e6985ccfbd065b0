//! The client: one thread, one poll loop, sockets that never block, connections kept open.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::Error;
use crate::base::clock;
use crate::base::event::Tick;
use crate::base::requests::{Ending, Failure, Outcome, Planned, RequestLog};
use crate::base::stats::Histogram;
#[cfg(target_os = "linux")]
use crate::base::sys::Alarm;
use crate::base::sys::{self, Resource};
use crate::connection::{Connection, Trouble, nanos};
use crate::exchange::{Exchange, Purpose};
use crate::target::Target;
use crate::tls;
use crate::workload::Stats;

/// A request of the load that is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Over {
    pub(crate) planned: Planned,
    pub(crate) at: Tick,
    pub(crate) ending: Ending,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Handshaking,
    Ready,
}

struct Slot {
    connection: Connection,
    state: State,
    opened: Tick,
    exchange: Option<Exchange>,
}

/// How far a slot came.
enum Progress {
    Waiting,
    /// The body is over; whether the connection may be used again.
    Over(bool),
}

/// Why a slot cannot go on.
enum Broken {
    /// No connection came about.
    NotConnected(io::Error),
    /// The connection is gone, how and whether in order.
    Lost(&'static str, bool),
    /// The answer is a failure.
    Failed(Failure),
}

pub(crate) struct Client<'t> {
    target: &'t Target,
    addresses: Vec<SocketAddr>,
    /// The address that last worked.
    address: usize,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    poll: Poll,
    events: Events,
    /// Sockets that the poll named and that were not looked at yet, and whether their peer has closed.
    ready: VecDeque<(usize, bool)>,
    #[cfg(target_os = "linux")]
    alarm: Alarm,
    alarm_at: Option<Tick>,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    /// Connections without a request; the one used last is used first.
    idle: Vec<usize>,
    buffer: Box<[u8]>,
    in_flight: usize,
    looked_at_deadlines: Tick,
    fetched: Option<Result<Vec<u8>, Failure>>,
    pub(crate) over: Vec<Over>,
    pub(crate) stats: Stats,
}

const ALARM: Token = Token(usize::MAX);
/// How often deadlines and the interrupt flag are checked.
const LOOK: Duration = Duration::from_millis(20);
/// How long a server may take to end a body after `[DONE]`.
const GRACE: Duration = Duration::from_secs(1);

impl<'t> Client<'t> {
    /// A client of `target`, whose name is resolved here and never again.
    pub(crate) fn new(target: &'t Target) -> Result<Self, Error> {
        let tls = match tls::settings(target)? {
            Some(settings) => Some((settings, tls::name(&target.url)?)),
            None => None,
        };
        let addresses = target.url.resolve()?;
        let poll = Poll::new().map_err(Error::System)?;
        #[cfg(target_os = "linux")]
        let alarm = {
            use std::os::fd::AsRawFd as _;
            let alarm = Alarm::new().map_err(Error::System)?;
            let mut source = mio::unix::SourceFd(&alarm.as_raw_fd());
            poll.registry().register(&mut source, ALARM, Interest::READABLE).map_err(Error::System)?;
            alarm
        };
        Ok(Self {
            target,
            addresses,
            address: 0,
            tls,
            poll,
            events: Events::with_capacity(1024),
            ready: VecDeque::with_capacity(1024),
            #[cfg(target_os = "linux")]
            alarm,
            alarm_at: None,
            slots: Vec::new(),
            free: Vec::new(),
            idle: Vec::new(),
            buffer: vec![0; 64 << 10].into_boxed_slice(),
            in_flight: 0,
            looked_at_deadlines: clock::now(),
            fetched: None,
            over: Vec::new(),
            stats: Stats::default(),
        })
    }

    /// What it asks.
    pub(crate) fn target(&self) -> &'t Target {
        self.target
    }

    /// Requests that are not over.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes up a request of the load, written out as `request`.
    pub(crate) fn send(&mut self, planned: Planned, request: Vec<u8>, log: &mut RequestLog) {
        let started = clock::now();
        let slot = log.start(planned, started);
        self.begin(Exchange::new(Purpose::Load(slot, planned), request, started), log);
    }

    /// Fetches what answers `request`; waits until it is there.
    pub(crate) fn fetch(&mut self, request: Vec<u8>) -> Result<Vec<u8>, Error> {
        let mut nothing = RequestLog::new(clock::now());
        self.begin(Exchange::new(Purpose::Fetch, request, clock::now()), &mut nothing);
        while self.fetched.is_none() {
            self.turn(None, &mut nothing)?;
        }
        Ok(self.fetched.take().unwrap_or_else(|| Ok(Vec::new()))?)
    }

    fn begin(&mut self, mut exchange: Exchange, log: &mut RequestLog) {
        self.in_flight += 1;
        if let Some(index) = self.idle.pop()
            && let Some(slot) = &mut self.slots[index]
        {
            exchange.is_reused = true;
            slot.exchange = Some(exchange);
            self.advance(index, false, log);
        } else {
            self.connect(exchange, log);
        }
    }

    /// Opens a connection for `exchange`.
    fn connect(&mut self, mut exchange: Exchange, log: &mut RequestLog) {
        loop {
            let address = self.addresses[self.address];
            exchange.addresses += 1;
            match self.open(address) {
                Ok(connection) => {
                    let slot = Slot {
                        connection,
                        state: State::Connecting,
                        opened: clock::now(),
                        exchange: Some(exchange),
                    };
                    if let Err((slot, error)) = self.keep(slot)
                        && let Some(exchange) = slot.exchange
                    {
                        self.fail(&exchange, &Failure::new(Ending::OutOfFiles, error.to_string()), log);
                    }
                    return;
                }
                Err(Broken::NotConnected(error)) => {
                    if !self.try_next_address(&exchange, &error) {
                        let failure = self.not_connected(&error);
                        return self.fail(&exchange, &failure, log);
                    }
                }
                Err(Broken::Failed(failure)) => return self.fail(&exchange, &failure, log),
                Err(Broken::Lost(why, _)) => {
                    return self.fail(&exchange, &Failure::new(Ending::ClosedEarly, why), log);
                }
            }
        }
    }

    fn open(&mut self, address: SocketAddr) -> Result<Connection, Broken> {
        let session = match &self.tls {
            Some((config, name)) => Some(
                tls::session(config, name)
                    .map_err(|error| Broken::Failed(Failure::new(Ending::Tls, error.to_string())))?,
            ),
            None => None,
        };
        let connection = Connection::open(address, session).map_err(Broken::NotConnected)?;
        self.stats.opened += 1;
        Ok(connection)
    }

    /// Puts a slot where the poll finds it.
    fn keep(&mut self, mut slot: Slot) -> Result<(), (Box<Slot>, io::Error)> {
        let index = self.free.last().copied().unwrap_or(self.slots.len());
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut slot.connection.socket, Token(index), both) {
            return Err((Box::new(slot), error));
        }
        match self.free.pop() {
            Some(index) => self.slots[index] = Some(slot),
            None => self.slots.push(Some(slot)),
        }
        Ok(())
    }

    /// Whether there is another address to try, where `error` is about this one.
    fn try_next_address(&mut self, exchange: &Exchange, error: &io::Error) -> bool {
        if is_out_of_files(error) || exchange.addresses >= self.addresses.len() {
            return false;
        }
        self.address = (self.address + 1) % self.addresses.len();
        true
    }

    fn not_connected(&self, error: &io::Error) -> Failure {
        let (ending, what) = match error.kind() {
            _ if is_out_of_files(error) => {
                let limit =
                    sys::limit(Resource::Files).map_or("no limit".to_owned(), |limit| limit.to_string());
                let detail = format!("no connection could be opened ({error}; open files allowed: {limit})");
                return Failure::new(Ending::OutOfFiles, detail);
            }
            io::ErrorKind::ConnectionRefused => (Ending::ConnectionRefused, "nothing listens at"),
            io::ErrorKind::TimedOut => (Ending::ConnectTimeout, "no connection to"),
            _ => (Ending::Unreachable, "no connection to"),
        };
        let detail = format!("{what} {} ({error})", self.target.url.authority());
        Failure::new(ending, detail)
    }

    /// Waits for something to happen, or until `due`, and does what there is to do. Returns early once `due` has come.
    pub(crate) fn turn(&mut self, due: Option<Tick>, log: &mut RequestLog) -> Result<(), Error> {
        if self.ready.is_empty() {
            self.wait(due)?;
        }
        while let Some((index, is_closed)) = self.ready.pop_front() {
            self.advance(index, is_closed, log);
            if due.is_some_and(|due| clock::now() >= due) {
                break;
            }
        }
        let now = clock::now();
        if now.since(self.looked_at_deadlines).get() >= LOOK.as_secs_f64() {
            self.looked_at_deadlines = now;
            self.look_at_deadlines(now, log);
        }
        Ok(())
    }

    fn wait(&mut self, due: Option<Tick>) -> Result<(), Error> {
        let mut timeout = LOOK;
        if let Some(due) = due {
            let left = Duration::from_nanos(due.nanos().saturating_sub(clock::now().nanos()));
            if left.is_zero() {
                timeout = left;
            } else if cfg!(not(target_os = "linux")) {
                timeout = timeout.min(left);
            } else if self.alarm_at != Some(due) {
                #[cfg(target_os = "linux")]
                self.alarm.set(left).map_err(Error::System)?;
                self.alarm_at = Some(due);
            }
        }
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(Error::System(error)),
        }
        for event in &self.events {
            match event.token() {
                ALARM => self.alarm_at = None,
                Token(index) => self.ready.push_back((index, event.is_read_closed())),
            }
        }
        Ok(())
    }

    /// Goes on with a slot as far as it goes.
    fn advance(&mut self, index: usize, is_closed: bool, log: &mut RequestLog) {
        let Some(Some(slot)) = self.slots.get_mut(index) else { return };
        let lag = &mut self.stats.receive_lag;
        let Some(exchange) = &mut slot.exchange else {
            // Nothing was asked: it was closed, or sent something unsolicited.
            if !matches!(slot.connection.read(&mut self.buffer, lag), Err(Trouble::Later)) {
                self.close(index);
            }
            return;
        };
        let read = Read { buffer: &mut self.buffer, lag, is_closed };
        let step = step(&mut slot.connection, &mut slot.state, exchange, self.target, read, log);
        let result = match step {
            Ok(Progress::Waiting) => return,
            Ok(Progress::Over(may_stay)) => {
                let exchange = slot.exchange.take();
                if may_stay {
                    self.idle.push(index);
                } else {
                    self.close(index);
                }
                let Some(exchange) = exchange else { return };
                return self.end(exchange, log);
            }
            Err(broken) => broken,
        };
        let exchange = slot.exchange.take();
        self.close(index);
        let Some(mut exchange) = exchange else { return };
        match result {
            Broken::Failed(failure) => self.fail(&exchange, &failure, log),
            Broken::NotConnected(error) => {
                if self.try_next_address(&exchange, &error) {
                    self.connect(exchange, log);
                } else {
                    let failure = self.not_connected(&error);
                    self.fail(&exchange, &failure, log);
                }
            }
            Broken::Lost(..) if exchange.is_reused && !exchange.has_answer() => {
                // It was closed while idle, before this side noticed: no server has seen the request.
                self.stats.reopened += 1;
                exchange.rewind();
                self.connect(exchange, log);
            }
            Broken::Lost(why, in_order) => match exchange.closed(why, in_order) {
                Ok(()) => self.end(exchange, log),
                Err(failure) => self.fail(&exchange, &failure, log),
            },
        }
    }

    fn look_at_deadlines(&mut self, now: Tick, log: &mut RequestLog) {
        let patience = self.target.patience;
        for index in 0..self.slots.len() {
            let Some(slot) = &mut self.slots[index] else { continue };
            let Some(exchange) = &slot.exchange else { continue };
            let past = |since: Tick, most: Duration| now.nanos().saturating_sub(since.nanos()) >= nanos(most);
            let seconds = |most: Duration| format!("{} s", most.as_secs_f64());
            if exchange.done.is_some_and(|done| past(done, GRACE)) {
                let exchange = slot.exchange.take();
                self.close(index);
                if let Some(exchange) = exchange {
                    self.end(exchange, log);
                }
                continue;
            }
            let failure = if slot.state != State::Ready && past(slot.opened, patience.connect) {
                let what = if slot.state == State::Connecting { "connection" } else { "TLS handshake" };
                let detail = format!("no {what} within {}", seconds(patience.connect));
                Failure::new(Ending::ConnectTimeout, detail)
            } else if past(exchange.progress, patience.stall) {
                Failure::new(Ending::Stalled, format!("no token for {}", seconds(patience.stall)))
            } else if past(exchange.started, patience.request) {
                Failure::new(Ending::TimedOut, format!("not done after {}", seconds(patience.request)))
            } else {
                continue;
            };
            let exchange = slot.exchange.take();
            self.close(index);
            if let Some(exchange) = exchange {
                self.fail(&exchange, &failure, log);
            }
        }
    }

    /// Ends every request that is not over: the run is.
    pub(crate) fn cut(&mut self, log: &mut RequestLog) {
        let now = clock::now();
        for index in 0..self.slots.len() {
            let Some(exchange) = self.slots[index].as_mut().and_then(|slot| slot.exchange.take()) else {
                continue;
            };
            self.close(index);
            self.note(&exchange, now, Ending::CutByUs, log);
        }
    }

    /// The answer is over.
    fn end(&mut self, exchange: Exchange, log: &mut RequestLog) {
        if matches!(exchange.purpose, Purpose::Fetch) {
            self.in_flight -= 1;
            self.fetched = Some(exchange.fetched(self.target));
            return;
        }
        match exchange.verdict(self.target) {
            Ok(()) => self.note(&exchange, clock::now(), Ending::Completed, log),
            Err(failure) => self.fail(&exchange, &failure, log),
        }
    }

    fn fail(&mut self, exchange: &Exchange, failure: &Failure, log: &mut RequestLog) {
        if matches!(exchange.purpose, Purpose::Fetch) {
            self.in_flight -= 1;
            self.fetched = Some(Err(failure.clone()));
            return;
        }
        self.stats.count(failure);
        self.note(exchange, clock::now(), failure.ending, log);
    }

    fn note(&mut self, exchange: &Exchange, at: Tick, ending: Ending, log: &mut RequestLog) {
        self.in_flight -= 1;
        let Purpose::Load(slot, planned) = exchange.purpose else { return };
        let (finish, usage) = exchange.said();
        log.end(slot, Outcome { at, ending, finish, usage, tokenizer: None });
        self.over.push(Over { planned, at, ending });
    }

    fn close(&mut self, index: usize) {
        if let Some(mut slot) = self.slots[index].take() {
            // Closing the socket takes it out of the poll as well.
            drop(self.poll.registry().deregister(&mut slot.connection.socket));
            self.free.push(index);
            self.idle.retain(|idle| *idle != index);
        }
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let out = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| out.contains(&code))
}

/// What reading needs.
struct Read<'a> {
    buffer: &'a mut [u8],
    lag: &'a mut Histogram,
    /// Whether the poll said that the peer has closed.
    is_closed: bool,
}

/// Goes on with one exchange over one connection.
fn step(
    connection: &mut Connection,
    state: &mut State,
    exchange: &mut Exchange,
    target: &Target,
    read: Read<'_>,
    log: &mut RequestLog,
) -> Result<Progress, Broken> {
    let Read { buffer, lag, is_closed } = read;
    if *state == State::Connecting {
        match connection.is_connected() {
            Ok(()) => *state = State::Handshaking,
            Err(Trouble::Later) => return Ok(Progress::Waiting),
            Err(Trouble::System(error)) => return Err(Broken::NotConnected(error)),
            Err(Trouble::Tls(error)) => return Err(tls_failure(&error)),
        }
    }
    if *state == State::Handshaking {
        match connection.handshake(lag) {
            Ok(()) => *state = State::Ready,
            Err(Trouble::Later) => return Ok(Progress::Waiting),
            Err(Trouble::System(error)) => {
                return Err(Broken::Failed(Failure::new(Ending::Tls, format!("no TLS handshake ({error})"))));
            }
            Err(Trouble::Tls(error)) => return Err(tls_failure(&error)),
        }
    }
    // A server may answer, and close, before it has read the whole: what it says counts, not that writing failed.
    if !exchange.is_sent
        && let Some(at) = write(connection, exchange)?
    {
        exchange.is_sent = true;
        exchange.progress = at;
        if let Purpose::Load(slot, _) = exchange.purpose {
            log.sent(slot, at);
        }
    }
    loop {
        match connection.read(buffer, lag) {
            Ok(0) => return Err(Broken::Lost("the server closed the connection", true)),
            Ok(length) => {
                // An answer comes after what it answers, whatever the clock was set to meanwhile.
                let at = connection.arrived().max(exchange.progress);
                match exchange.take(&buffer[..length], at, target, log) {
                    Ok(Some(may_stay)) => return Ok(Progress::Over(may_stay && exchange.is_sent)),
                    // A read that did not fill the buffer has emptied the socket, and the poll tells of the next bytes; of
                    // a close it has told already.
                    Ok(None) if length < buffer.len() && !is_closed && !connection.is_tls() => {
                        return Ok(Progress::Waiting);
                    }
                    Ok(None) => {}
                    Err(failure) => return Err(Broken::Failed(failure)),
                }
            }
            Err(Trouble::Later) => {
                // TLS may have something to say of its own, such as new keys.
                return match connection.flush() {
                    Ok(()) | Err(Trouble::Later) => Ok(Progress::Waiting),
                    Err(Trouble::System(_)) => Err(Broken::Lost("the connection broke", false)),
                    Err(Trouble::Tls(error)) => Err(tls_failure(&error)),
                };
            }
            Err(Trouble::System(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(Trouble::System(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(Broken::Lost("the server reset the connection", false));
            }
            Err(Trouble::System(_)) => return Err(Broken::Lost("the connection broke", false)),
            Err(Trouble::Tls(error)) => return Err(tls_failure(&error)),
        }
    }
}

/// Writes what is left of a request; when the last of it has left.
fn write(connection: &mut Connection, exchange: &mut Exchange) -> Result<Option<Tick>, Broken> {
    loop {
        let result = if exchange.written < exchange.request.len() {
            connection.write(&exchange.request[exchange.written..])
        } else {
            match connection.flush() {
                Ok(()) => return Ok(Some(clock::now())),
                Err(trouble) => Err(trouble),
            }
        };
        match result {
            Ok(written) => exchange.written += written,
            Err(Trouble::System(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(Trouble::Later | Trouble::System(_)) => return Ok(None),
            Err(Trouble::Tls(error)) => return Err(tls_failure(&error)),
        }
    }
}

fn tls_failure(error: &rustls::Error) -> Broken {
    Broken::Failed(Failure::new(Ending::Tls, format!("TLS failed ({error})")))
}
