//! Connections to the addresses of a host: one after the other, a little before the one before has failed ("happy eyeballs", RFC 8305).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ekitei_net::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::silent::Silent;

/// Makes connections. Tests have their own.
pub(crate) trait Dialer: Send + Sync {
    /// Connects to an address, from an address of the same family if one is given.
    fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> BoxFuture<'_, io::Result<Stream>>;
}

/// The system's TCP.
pub(crate) struct Tcp;

impl Dialer for Tcp {
    fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> BoxFuture<'_, io::Result<Stream>> {
        Box::pin(async move {
            let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(from) = from {
                socket.bind(SocketAddr::new(from, 0))?;
            }
            let stream = socket.connect(to).await?;
            // Commands are written whole, and each write waits for an answer.
            stream.set_nodelay(true)?;
            Ok(stream.into())
        })
    }
}

/// How to connect.
pub(crate) struct Race<'a> {
    /// What connects.
    pub(crate) dialer: &'a dyn Dialer,
    /// Addresses to connect from; the first one of the family is used, if any.
    pub(crate) sources: &'a [IpAddr],
    /// How long after an attempt the next one begins, if the first is still under way (RFC 8305 §5).
    pub(crate) stagger: Duration,
    /// How long one attempt may take.
    pub(crate) limit: Duration,
    /// Hears who does not answer in that time.
    pub(crate) silent: &'a Silent,
}

/// A connection.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    /// Where to.
    pub(crate) address: SocketAddr,
    /// Where from, if that was chosen.
    pub(crate) source: Option<IpAddr>,
}

/// No address answered: the address that failed last, and why.
#[derive(Debug, thiserror::Error)]
#[error("connecting to {address} failed: {reason}")]
pub(crate) struct Unreachable {
    pub(crate) address: SocketAddr,
    pub(crate) reason: io::Error,
}

impl Race<'_> {
    /// The first connection that one of the addresses accepts; the others are dropped. There must be an address.
    ///
    /// # Errors
    /// [`Unreachable`] when none did.
    pub(crate) async fn run(&self, addresses: &[SocketAddr]) -> Result<Connected, Unreachable> {
        let mut waiting = addresses.iter().copied();
        let mut under_way = FuturesUnordered::new();
        let mut last = None;
        loop {
            if let Some(address) = waiting.next() {
                under_way.push(self.attempt(address));
            } else if under_way.is_empty() {
                let nothing =
                    || (SocketAddr::from(([0, 0, 0, 0], 0)), io::ErrorKind::AddrNotAvailable.into());
                let (address, reason) = last.unwrap_or_else(nothing);
                return Err(Unreachable { address, reason });
            }
            let pause = async {
                if waiting.len() == 0 { std::future::pending().await } else { sleep(self.stagger).await }
            };
            tokio::select! {
                biased;
                Some((address, result)) = under_way.next() => match result {
                    Ok(stream) => return Ok(Connected { stream, address, source: self.source(address) }),
                    Err(reason) => {
                        tracing::debug!(%address, %reason, "an address does not answer");
                        last = Some((address, reason));
                    }
                },
                () = pause => {}
            }
        }
    }

    async fn attempt(&self, address: SocketAddr) -> (SocketAddr, io::Result<Stream>) {
        let result = timeout(self.limit, self.dialer.dial(address, self.source(address))).await;
        let result = result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match &result {
            Ok(_) => self.silent.forget(address),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => self.silent.note(address),
            Err(_) => {}
        }
        (address, result)
    }

    fn source(&self, address: SocketAddr) -> Option<IpAddr> {
        self.sources.iter().copied().find(|source| source.is_ipv4() == address.is_ipv4())
    }
}

/// The same addresses, the families by turns, beginning with the family of the first (RFC 8305 §4): where one family does not work, the second attempt is of
/// the other.
pub(crate) fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (same, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut mixed = Vec::with_capacity(addresses.len());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    while mixed.len() < addresses.len() {
        mixed.extend(same.next());
        mixed.extend(other.next());
    }
    mixed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;
    use tokio::time::Instant;

    use super::*;

    /// Answers after some milliseconds: an address ending in .1 accepts after 1,000, .2 refuses after 100, others never answer.
    struct Network {
        begun: Instant,
        log: Mutex<Vec<(u128, SocketAddr, Option<IpAddr>)>>,
    }

    impl Dialer for Network {
        fn dial(&self, to: SocketAddr, from: Option<IpAddr>) -> BoxFuture<'_, io::Result<Stream>> {
            self.log.lock().unwrap().push((self.begun.elapsed().as_millis(), to, from));
            Box::pin(async move {
                match to.ip().to_string().chars().last() {
                    Some('1') => {
                        sleep(Duration::from_millis(1000)).await;
                        Ok(Stream::over(tokio::io::duplex(1).0))
                    }
                    Some('2') => {
                        sleep(Duration::from_millis(100)).await;
                        Err(io::ErrorKind::ConnectionRefused.into())
                    }
                    _ => std::future::pending().await,
                }
            })
        }
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 25)).collect()
    }

    async fn race(
        list: &[&str],
        sources: &[IpAddr],
    ) -> (Result<SocketAddr, io::ErrorKind>, Vec<(u128, SocketAddr, Option<IpAddr>)>) {
        let network = Network { begun: Instant::now(), log: Mutex::default() };
        let race = Race {
            dialer: &network,
            sources,
            stagger: Duration::from_millis(250),
            limit: Duration::from_secs(5),
            silent: &Silent::new(),
        };
        let result = race.run(&addresses(list)).await;
        let result = result.map(|connected| connected.address).map_err(|error| error.reason.kind());
        (result, network.log.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_address_is_tried_when_one_is_slow_or_refuses() {
        let (won, log) = race(&["2001:db8::9", "192.0.2.2", "192.0.2.1", "192.0.2.9"], &[]).await;
        assert_eq!(won.unwrap(), addresses(&["192.0.2.1"])[0]);
        let times: Vec<u128> = log.iter().map(|(at, ..)| *at).collect();
        assert_eq!(times, [0, 250, 350, 600], "250 ms later, or at once after a refusal");
    }

    #[tokio::test(start_paused = true)]
    async fn when_none_answers_the_time_is_bounded() {
        let begun = Instant::now();
        let (won, _) = race(&["192.0.2.9", "192.0.2.8"], &[]).await;
        assert_eq!(won.unwrap_err(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_millis(), 5250);
    }

    #[tokio::test(start_paused = true)]
    async fn the_source_is_of_the_same_family() {
        let sources = ["198.51.100.1", "198.51.100.2"].map(|text| text.parse().unwrap());
        let (_, log) = race(&["2001:db8::2", "192.0.2.1"], &sources).await;
        let from: Vec<Option<IpAddr>> = log.iter().map(|(.., from)| *from).collect();
        assert_eq!(from, [None, Some(sources[0])]);
    }

    #[test]
    fn families_take_turns() {
        let mixed = interleave(&addresses(&["2001:db8::1", "2001:db8::2", "2001:db8::3", "192.0.2.1"]));
        assert_eq!(mixed, addresses(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3"]));
        assert!(interleave(&[]).is_empty());
    }
}
