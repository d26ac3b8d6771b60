//! Asking one server one thing: over UDP, and over TCP if the answer does not fit or does not come.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::RecordType as WireType;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::name::Name;

/// What a UDP answer may have without being fragmented (<https://www.dnsflagday.net/2020/>).
const PAYLOAD: u16 = 1232;

/// Why a server did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Silence {
    #[error("no answer in {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("{0}")]
    Network(String),
    #[error("its answer cannot be read: {0}")]
    Garbled(String),
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        Self::Network(error.to_string())
    }
}

/// A question.
pub(crate) fn question(name: &Name, record_type: WireType) -> Result<Message, Silence> {
    let name = name.to_wire().map_err(|error| Silence::Garbled(error.to_string()))?;
    let mut message = Message::query();
    message.add_query(Query::query(name, record_type));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD).set_version(0);
    message.set_edns(edns);
    Ok(message)
}

/// Asks over UDP, and over TCP if that brings no whole answer. `patience` is for each.
pub(crate) async fn ask(
    server: SocketAddr,
    question: &Message,
    patience: Duration,
) -> Result<Message, Silence> {
    let octets = question.to_vec().map_err(|error| Silence::Garbled(error.to_string()))?;
    match within(patience, udp(server, &octets, question)).await {
        Ok(answer) if !answer.truncation && answer.response_code != ResponseCode::FormErr => Ok(answer),
        // What is refused over UDP may be answered over TCP, and what was lost as well.
        _ => {
            let octets = within(patience, tcp(server, &octets)).await?;
            read(&octets, question).ok_or_else(|| Silence::Garbled("it is for another question".to_owned()))
        }
    }
}

/// Sends octets over TCP, and receives as many messages as one.
pub(crate) async fn tcp(server: SocketAddr, octets: &[u8]) -> Result<Vec<u8>, Silence> {
    let length = u16::try_from(octets.len()).map_err(|_| Silence::Network("it is too long".to_owned()))?;
    let mut stream = TcpStream::connect(server).await?;
    let framed = [&length.to_be_bytes()[..], octets].concat();
    stream.write_all(&framed).await?;
    let length = usize::from(stream.read_u16().await?);
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// Waits no longer than that.
pub(crate) async fn within<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Silence>>,
) -> Result<T, Silence> {
    timeout(patience, work).await.unwrap_or(Err(Silence::Timeout(patience)))
}

async fn udp(server: SocketAddr, octets: &[u8], question: &Message) -> Result<Message, Silence> {
    let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(octets).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anybody can send something to our port; the answer has our number and our question.
        if let Some(answer) = read(&buffer[..length], question) {
            return Ok(answer);
        }
    }
}

fn read(octets: &[u8], question: &Message) -> Option<Message> {
    let answer = Message::from_vec(octets).ok()?;
    let fits = answer.id == question.id
        && (answer.queries.is_empty() || answer.queries == question.queries)
        && answer.message_type == hickory_proto::op::MessageType::Response;
    fits.then_some(answer)
}
