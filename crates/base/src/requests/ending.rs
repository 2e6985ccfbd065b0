//! How a request ended, and why the server said it stopped.

/// How a request ended. All but [`Completed`](Self::Completed) and [`CutByUs`](Self::CutByUs) are failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// The whole answer came.
    Completed,
    /// Closed by us: the run was over, or interrupted.
    CutByUs,
    /// The server's name could not be resolved.
    NameNotResolved,
    /// Nothing listens on the port.
    ConnectionRefused,
    /// No connection within the time limit.
    ConnectTimeout,
    /// Any other failure to connect, such as no route to the host.
    Unreachable,
    /// The TLS handshake failed, or the certificate isn't trusted.
    Tls,
    /// 401 or 403.
    NotAuthorized,
    /// 404.
    NotFound,
    /// 429.
    RateLimited,
    /// Any other 4xx, such as 400 or 422.
    RequestRejected,
    /// 5xx.
    ServerError,
    /// Any other status except 200.
    UnexpectedStatus,
    /// An error object within a stream that began with 200.
    ErrorInStream,
    /// 200, but no output.
    NoOutput,
    /// The answer is not HTTP/1.1.
    MalformedHttp,
    /// The stream does not consist of server-sent events.
    MalformedStream,
    /// An event's data is not JSON of the expected form.
    MalformedJson,
    /// The text is not valid UTF-8.
    MalformedUtf8,
    /// The connection was closed or reset before the answer was whole.
    ClosedEarly,
    /// Nothing arrived for longer than allowed.
    Stalled,
    /// The whole request took longer than allowed.
    TimedOut,
    /// The answer names another model.
    WrongModel,
    /// This process has no file descriptor or port left.
    OutOfFiles,
    /// The engine failed, in process.
    EngineFailed,
}

impl Ending {
    /// Its name in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::CutByUs => "cut_by_us",
            Self::NameNotResolved => "name_not_resolved",
            Self::ConnectionRefused => "connection_refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::NotAuthorized => "not_authorized",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::RequestRejected => "request_rejected",
            Self::ServerError => "server_error",
            Self::UnexpectedStatus => "unexpected_status",
            Self::ErrorInStream => "error_in_stream",
            Self::NoOutput => "no_output",
            Self::MalformedHttp => "malformed_http",
            Self::MalformedStream => "malformed_stream",
            Self::MalformedJson => "malformed_json",
            Self::MalformedUtf8 => "malformed_utf8",
            Self::ClosedEarly => "closed_early",
            Self::Stalled => "stalled",
            Self::TimedOut => "timed_out",
            Self::WrongModel => "wrong_model",
            Self::OutOfFiles => "out_of_files",
            Self::EngineFailed => "engine_failed",
        }
    }

    /// Whether the server, the connection or this machine failed the request.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Completed | Self::CutByUs)
    }
}

/// The finish reason that the server reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finish {
    /// A stop token or stop string.
    Stop,
    /// The token limit, or the end of the context.
    Length,
    /// A tool call.
    ToolCalls,
    /// A content filter.
    ContentFilter,
    /// A reason not in this list.
    Other,
    /// Not stated.
    NotSaid,
}

impl Finish {
    /// Its name in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Other => "other",
            Self::NotSaid => "not_said",
        }
    }
}
