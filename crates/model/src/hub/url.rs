//! The little of RFC 3986 that talking to a hub needs: origins, where a redirect leads, and escaping.

use std::net::Ipv4Addr;

/// `scheme://host:port` of a URL.
pub(super) fn origin(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// Whether this is the machine itself.
pub(super) fn is_loopback(origin: &str) -> bool {
    let host = origin.split("://").nth(1).unwrap_or_default();
    let name = host.split(':').next().unwrap_or_default();
    name == "localhost"
        || host.starts_with("[::1]")
        || name.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback())
}

/// Where a redirect from `base` to `location` leads; `None` when to nothing that can be asked.
pub(super) fn join(base: &str, location: &str) -> Option<String> {
    if location.starts_with("http://") || location.starts_with("https://") {
        Some(location.to_owned())
    } else if location.starts_with("//") {
        Some(format!("{}:{location}", base.split("://").next()?))
    } else if location.starts_with('/') {
        Some(format!("{}{location}", origin(base)))
    } else {
        None
    }
}

/// A path as it is written in a URL.
pub(super) fn escape(path: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_browsers_go() {
        let base = "https://hub.example:8443/a/b?c";
        assert_eq!(origin(base), "https://hub.example:8443");
        assert_eq!(join(base, "/x/y").unwrap(), "https://hub.example:8443/x/y");
        assert_eq!(join(base, "//cdn.example/z").unwrap(), "https://cdn.example/z");
        assert_eq!(join(base, "http://cdn.example/z").unwrap(), "http://cdn.example/z");
        assert_eq!(join(base, "file:///etc/passwd"), None);
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let local = ["http://127.0.0.1:80", "http://localhost:1", "http://[::1]:5"];
        assert!(local.into_iter().all(is_loopback));
        let others = ["https://localhost.example", "https://127.example", "https://huggingface.co", ""];
        assert!(!others.into_iter().any(is_loopback));
    }

    #[test]
    fn a_path_is_escaped_byte_by_byte() {
        assert_eq!(escape("a b/c#d?é%.gguf"), "a%20b/c%23d%3F%C3%A9%25.gguf");
    }
}
