//! The PROXY protocol, versions 1 and 2, as load balancers send it
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of version 2 (§2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest header of version 1, with its CRLF (§2.1).
const MAX_V1: usize = 107;
/// The longest address block and TLVs of version 2 that are read. Headers in use have some hundred bytes.
const MAX_V2: usize = 4096;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// A client's connection that the load balancer passes on.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where the client connected to.
        destination: SocketAddr,
    },
    /// The load balancer's own connection, such as a health check (`LOCAL`, `UNKNOWN`): the socket's addresses are
    /// right.
    Local,
}

/// Why a header is not accepted; the connection is closed without a word.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The stream ended or failed.
    #[error("the PROXY header could not be read: {0}")]
    Io(#[from] io::Error),
    /// The bytes are no header.
    #[error("no valid PROXY header: {0}")]
    Malformed(&'static str),
}

impl ProxyHeader {
    /// Reads one header and not a byte more, so that what follows is left for TLS or the protocol.
    ///
    /// # Errors
    /// [`ProxyError`].
    pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self, ProxyError> {
        // Both versions are at least this long: the shortest of version 1 is "PROXY UNKNOWN\r\n".
        let mut start = [0; SIGNATURE.len()];
        stream.read_exact(&mut start).await?;
        if start == *SIGNATURE { read_v2(stream).await } else { read_v1(stream, &start).await }
    }
}

async fn read_v1(stream: &mut (impl AsyncRead + Unpin), start: &[u8]) -> Result<ProxyHeader, ProxyError> {
    if !start.starts_with(b"PROXY ") {
        return Err(ProxyError::Malformed("it begins with neither signature"));
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_V1 {
            return Err(ProxyError::Malformed("the line of version 1 is too long"));
        }
        line.push(stream.read_u8().await?);
    }
    let text = std::str::from_utf8(&line[..line.len() - 2])
        .map_err(|_| ProxyError::Malformed("the line of version 1 is not ASCII"))?;
    parse_v1(text).ok_or(ProxyError::Malformed("the line of version 1 is not understood"))
}

fn parse_v1(line: &str) -> Option<ProxyHeader> {
    let mut words = line.strip_prefix("PROXY ")?.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(ProxyHeader::Local);
    }
    let source: IpAddr = words.next()?.parse().ok()?;
    let destination: IpAddr = words.next()?.parse().ok()?;
    let source_port = port(words.next()?)?;
    let destination_port = port(words.next()?)?;
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then(|| ProxyHeader::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

/// A decimal port without sign or leading zeros (§2.1).
fn port(text: &str) -> Option<u16> {
    let canonical = text == "0" || (text.starts_with(|c: char| ('1'..='9').contains(&c)));
    canonical.then(|| text.parse().ok()).flatten()
}

async fn read_v2(stream: &mut (impl AsyncRead + Unpin)) -> Result<ProxyHeader, ProxyError> {
    let version_command = stream.read_u8().await?;
    let family = stream.read_u8().await?;
    let length = usize::from(stream.read_u16().await?);
    if version_command >> 4 != 2 {
        return Err(ProxyError::Malformed("the version is not 2"));
    }
    if length > MAX_V2 {
        return Err(ProxyError::Malformed("the header of version 2 is too long"));
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await?;
    match version_command & 0x0f {
        0 => Ok(ProxyHeader::Local),
        1 => parse_v2(family, &block).ok_or(ProxyError::Malformed("the address block is too short")),
        _ => Err(ProxyError::Malformed("the command is neither LOCAL nor PROXY")),
    }
}

/// The addresses of a PROXY command; TLVs after them are ignored. Families that are not TCP over IP say nothing
/// about the client, so the socket's addresses stand (§2.2, "UNSPEC").
fn parse_v2(family: u8, block: &[u8]) -> Option<ProxyHeader> {
    let port_at = |at: usize| Some(u16::from_be_bytes(block.get(at..at + 2)?.try_into().ok()?));
    let v4 = |at: usize| -> Option<IpAddr> {
        Some(Ipv4Addr::from(<[u8; 4]>::try_from(block.get(at..at + 4)?).ok()?).into())
    };
    let v6 = |at: usize| -> Option<IpAddr> {
        Some(Ipv6Addr::from(<[u8; 16]>::try_from(block.get(at..at + 16)?).ok()?).into())
    };
    let (source, destination, source_port, destination_port) = match family {
        0x11 => (v4(0)?, v4(4)?, port_at(8)?, port_at(10)?),
        0x21 => (v6(0)?, v6(16)?, port_at(32)?, port_at(34)?),
        _ => return Some(ProxyHeader::Local),
    };
    Some(ProxyHeader::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    async fn read(mut bytes: &[u8]) -> Result<(ProxyHeader, Vec<u8>), ProxyError> {
        let header = ProxyHeader::read(&mut bytes).await?;
        Ok((header, bytes.to_vec()))
    }

    fn proxied(source: &str, destination: &str) -> ProxyHeader {
        ProxyHeader::Proxied { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([0x20 | command, family]);
        bytes.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        bytes.extend(block);
        bytes
    }

    #[tokio::test]
    async fn version_1_is_read_and_nothing_after_it() {
        let (header, rest) = read(b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 25\r\nEHLO x\r\n").await.unwrap();
        assert_eq!(header, proxied("192.0.2.1:5000", "198.51.100.2:25"));
        assert_eq!(rest, b"EHLO x\r\n");
        let (header, _) = read(b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 25\r\n").await.unwrap();
        assert_eq!(header, proxied("[2001:db8::1]:5000", "[2001:db8::2]:25"));
        let (header, rest) = read(b"PROXY UNKNOWN\r\nEHLO").await.unwrap();
        assert_eq!((header, rest.as_slice()), (ProxyHeader::Local, b"EHLO".as_slice()));
    }

    #[tokio::test]
    async fn version_2_is_read_and_nothing_after_it() {
        let mut block = vec![192, 0, 2, 1, 198, 51, 100, 2, 0x13, 0x88, 0, 25];
        block.extend([0x04, 0, 1, 0]); // a TLV that says nothing
        let mut bytes = v2(1, 0x11, &block);
        bytes.extend(b"\x16\x03\x01");
        let (header, rest) = read(&bytes).await.unwrap();
        assert_eq!(header, proxied("192.0.2.1:5000", "198.51.100.2:25"));
        assert_eq!(rest, b"\x16\x03\x01");
        let (header, _) = read(&v2(0, 0, &[])).await.unwrap();
        assert_eq!(header, ProxyHeader::Local, "a health check");
        let mut block = Vec::new();
        block.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        block.extend("2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        block.extend([0x13, 0x88, 0, 25]);
        let (header, _) = read(&v2(1, 0x21, &block)).await.unwrap();
        assert_eq!(header, proxied("[2001:db8::1]:5000", "[2001:db8::2]:25"));
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        for bytes in [
            b"EHLO example.test\r\n".as_slice(),
            b"PROXY TCP4 192.0.2.1\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 99999\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 05000 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 +5000 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 25 extra\r\n",
            b"PROXY TCP4 2001:db8::1 198.51.100.2 5000 25\r\n",
            b"PROXY UDP4 192.0.2.1 198.51.100.2 5000 25\r\n",
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 25\n",
            b"PROXY",
            b"",
        ] {
            assert!(read(bytes).await.is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        assert!(read(&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()).await.is_err(), "too long");
        assert!(read(&v2(2, 0x11, &[0; 12])).await.is_err(), "an unknown command");
        assert!(read(&v2(1, 0x11, &[0; 11])).await.is_err(), "a short address block");
        assert!(read(&v2(1, 0x11, &[0; 5000])).await.is_err(), "a long block");
    }
    /// Bytes that look like a header for a while.
    fn nearly_a_header() -> impl Strategy<Value = Vec<u8>> {
        let start = prop_oneof![Just(b"PROXY ".to_vec()), Just(SIGNATURE.to_vec()), Just(Vec::new())];
        (start, proptest::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(start, rest)| [start, rest].concat())
    }

    proptest! {
        #[test]
        fn no_bytes_are_a_surprise(bytes in nearly_a_header()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let _ = runtime.block_on(read(&bytes));
        }

        #[test]
        fn what_a_load_balancer_writes_is_read(source: [u8; 4], destination: [u8; 4], ports: (u16, u16)) {
            let (source, destination) = (Ipv4Addr::from(source), Ipv4Addr::from(destination));
            let line = format!("PROXY TCP4 {source} {destination} {} {}\r\n", ports.0, ports.1);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (header, rest) = runtime.block_on(read(line.as_bytes())).unwrap();
            prop_assert_eq!(header, ProxyHeader::Proxied {
                source: (source, ports.0).into(),
                destination: (destination, ports.1).into(),
            });
            prop_assert!(rest.is_empty());
        }
    }
}
