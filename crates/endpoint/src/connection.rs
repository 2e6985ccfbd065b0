//! One connection that never blocks, with TLS or without.

use std::io::{self, Read, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use mio::net::TcpStream;
use rustls::ClientConnection;

use crate::base::event::Tick;
use crate::base::stats::Histogram;
use crate::base::{clock, sys};

/// What went wrong with a connection.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Nothing can be done now; the poll says when.
    Later,
    /// The system.
    System(io::Error),
    /// TLS.
    Tls(rustls::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock { Self::Later } else { Self::System(error) }
    }
}

pub(crate) struct Connection {
    pub(crate) socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Whether the peer has closed its side, as seen under TLS.
    closed: bool,
    /// When the last bytes read from the socket had arrived.
    arrived: Tick,
}

/// Reads from the socket and notes when the bytes had arrived, and how long they had been waiting.
struct Stamped<'a> {
    socket: &'a TcpStream,
    lag: &'a mut Histogram,
    arrived: &'a mut Tick,
}

impl Read for Stamped<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (length, waited) = sys::receive(self.socket.as_fd(), buffer)?;
        let now = clock::now();
        *self.arrived = now;
        if let Some(waited) = waited.map(nanos) {
            self.lag.add(waited, 1);
            *self.arrived = Tick::from_nanos(now.nanos().saturating_sub(waited));
        }
        Ok(length)
    }
}

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Connection {
    /// Begins to connect.
    pub(crate) fn open(address: SocketAddr, tls: Option<Box<ClientConnection>>) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        // Without it a request's second packet waits for the answer to its first.
        socket.set_nodelay(true).or_else(|error| match error.kind() {
            // Some systems want a connection first; then it is tried again.
            io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected => Ok(()),
            _ => Err(error),
        })?;
        sys::stamp_arrivals(socket.as_fd());
        Ok(Self { socket, tls, closed: false, arrived: clock::now() })
    }

    /// Whether there is a connection by now, TLS not counted.
    pub(crate) fn is_connected(&self) -> Result<(), Trouble> {
        if let Some(error) = self.socket.take_error()? {
            return Err(Trouble::System(error));
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(Trouble::Later),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Err(Trouble::Later),
            Err(error) => Err(Trouble::System(error)),
        }
    }

    /// When the bytes read last had arrived at this machine, by the system's stamp, so that a client that reads late does not
    /// make the server look slow; where there is no stamp, when they were read.
    pub(crate) fn arrived(&self) -> Tick {
        self.arrived
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Goes on with the handshake of TLS; `Ok` when it is done or not needed.
    pub(crate) fn handshake(&mut self, lag: &mut Histogram) -> Result<(), Trouble> {
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            self.flush()?;
            if self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                self.pull(lag)?;
                if self.closed {
                    let early = io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed during the handshake",
                    );
                    return Err(Trouble::System(early));
                }
            }
        }
        self.flush()
    }

    /// Writes as much of `bytes` as goes; how many were taken. With TLS they may not all have left: see [`Self::flush`].
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Trouble> {
        match &mut self.tls {
            None => Ok((&self.socket).write(bytes)?),
            Some(tls) => Ok(tls.writer().write(bytes)?),
        }
    }

    /// Hands what TLS still holds to the system.
    pub(crate) fn flush(&mut self) -> Result<(), Trouble> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut &self.socket)?;
        }
        Ok(())
    }

    /// Reads what is there; 0 when the peer has closed.
    pub(crate) fn read(&mut self, buffer: &mut [u8], lag: &mut Histogram) -> Result<usize, Trouble> {
        if self.tls.is_none() {
            let mut stamped = Stamped { socket: &self.socket, lag, arrived: &mut self.arrived };
            return Ok(stamped.read(buffer)?);
        }
        loop {
            let Some(tls) = &mut self.tls else { return Ok(0) };
            match tls.reader().read(buffer) {
                Ok(length) => return Ok(length),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.closed => self.pull(lag)?,
                // Closed, orderly or not: whether the answer was whole is seen from the answer.
                Err(error) if self.closed && error.kind() != io::ErrorKind::Interrupted => return Ok(0),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Takes one read's worth of TLS records in.
    fn pull(&mut self, lag: &mut Histogram) -> Result<(), Trouble> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let mut stamped = Stamped { socket: &self.socket, lag, arrived: &mut self.arrived };
        if tls.read_tls(&mut stamped)? == 0 {
            self.closed = true;
        }
        if let Err(error) = tls.process_new_packets() {
            // An alert may wait to be sent; it is the server's to know, and no more.
            drop(self.flush());
            return Err(Trouble::Tls(error));
        }
        Ok(())
    }
}
