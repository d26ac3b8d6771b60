//! Where a program on this host or another listens: `host:port`, or `unix:/path`.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The socket of another program.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    /// A host by name or address, and a port.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
    /// A socket in the file system, by its absolute path.
    Unix(PathBuf),
}

/// What an endpoint may look like, for error messages.
pub const ENDPOINT_FORM: &str = "a host with a port, such as 127.0.0.1:11333, [::1]:3310 or scanner.example.com:8891, or unix:/path/of/socket";

/// A text that is no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{ENDPOINT_FORM}")]
pub struct EndpointError;

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path);
            return if path.is_absolute() { Ok(Self::Unix(path.to_owned())) } else { Err(EndpointError) };
        }
        let (host, port) = text.rsplit_once(':').ok_or(EndpointError)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or(EndpointError)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let address = rest.strip_suffix(']').ok_or(EndpointError)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| EndpointError)?;
                address
            }
            None => host,
        };
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let bracketed = text.starts_with('[');
        if host.is_empty() || !bracketed && !host.chars().all(name) {
            return Err(EndpointError);
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Endpoint {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "endpoint" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_written_as_they_are_read() {
        for text in
            ["127.0.0.1:11333", "[::1]:3310", "scanner.example.com:8891", "unix:/run/clamav/clamd.ctl"]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        for text in [
            "",
            "localhost",
            ":25",
            "host:",
            "host:0",
            "host:65536",
            "::1:25",
            "[::1]",
            "[x]:1",
            "a b:1",
            "unix:",
            "unix:relative",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
