//! A hostile HTTP proxy: it passes requests on to a server, and does to some of them what networks and overloaded servers do.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered by the proxy: status and code of an S3 error. The server never sees it.
    Answer(u16, &'static str),
    /// The server does it, and the connection is reset before the answer.
    Swallow,
    /// The connection is reset in the middle of the answer's body.
    Reset,
    /// The connection is closed in the middle of the answer's body.
    Truncate,
    /// One bit in the middle of the answer's body is wrong.
    Flip,
    /// The answer comes late.
    Slow(Duration),
    /// Nothing ever comes back.
    Hang,
}

/// A running proxy; it ends with the test's runtime.
#[derive(Clone)]
pub struct Proxy {
    /// Where it listens.
    pub address: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What is to happen to the next requests of a method.
    faults: HashMap<String, VecDeque<Fault>>,
    /// What happens to all requests, if anything.
    outage: Option<Fault>,
    /// The heads of requests as they came.
    seen: Vec<String>,
}

impl Proxy {
    /// Starts a proxy before the server at `upstream`.
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = Self { address, state: Arc::default() };
        let (serving, upstream) = (proxy.clone(), upstream.to_owned());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (proxy, upstream) = (serving.clone(), upstream.clone());
                // A client that goes away in the middle is no failure of the test.
                tokio::spawn(async move { drop(proxy.serve(client, &upstream).await) });
            }
        });
        proxy
    }

    /// Does this to the next requests of a method, one after the other.
    pub fn fail(&self, method: &str, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.entry(method.to_owned()).or_default().extend(faults);
    }

    /// Does this to all requests, until it is told otherwise.
    pub fn outage(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().outage = fault;
    }

    /// How many requests of a method came whose head holds `part`: of the path, or a field in lower case.
    pub fn count(&self, method: &str, part: &str) -> usize {
        let state = self.state.lock().unwrap();
        let of_method = |head: &&String| head.split(' ').next() == Some(method);
        state.seen.iter().filter(of_method).filter(|head| head.contains(part)).count()
    }

    fn fault(&self, method: &str, head: &str) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.seen.push(head.to_owned());
        let outage = state.outage.clone();
        outage.or_else(|| state.faults.get_mut(method)?.pop_front())
    }

    /// One request of one connection.
    async fn serve(&self, mut client: TcpStream, upstream: &str) -> std::io::Result<()> {
        let (head, rest) = read_head(&mut client).await?;
        let fault = self.fault(head.split(' ').next().unwrap_or_default(), &head);
        if header(&head, "expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = read_body(&mut client, &head, rest).await?;
        match &fault {
            Some(Fault::Answer(status, code)) => return client.write_all(&answer(*status, code)).await,
            Some(Fault::Hang) => {
                let mut nothing = [0];
                client.read_exact(&mut nothing).await?;
                return Ok(());
            }
            _ => {}
        }
        let answer = ask(upstream, &head, &body).await?;
        let begin = find(&answer, b"\r\n\r\n").map_or(answer.len(), |end| end + 4);
        let middle = begin + (answer.len() - begin) / 2;
        match fault {
            Some(Fault::Swallow) => reset(client),
            Some(Fault::Reset) => {
                client.write_all(&answer[..middle]).await?;
                client.flush().await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
                reset(client);
            }
            Some(Fault::Truncate) => client.write_all(&answer[..middle]).await?,
            Some(Fault::Flip) => {
                let mut damaged = answer;
                damaged[middle] ^= 0x10;
                client.write_all(&damaged).await?;
            }
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                client.write_all(&answer).await?;
            }
            _ => client.write_all(&answer).await?,
        }
        Ok(())
    }
}

/// Ends a connection without a word.
fn reset(client: TcpStream) {
    client.set_zero_linger().unwrap();
    drop(client);
}

fn answer(status: u16, code: &str) -> Vec<u8> {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <Error><Code>{code}</Code><Message>By the proxy.</Message><RequestId>PROXY1</RequestId></Error>"
    );
    format!(
        "HTTP/1.1 {status} Hostile\r\ncontent-type: application/xml\r\nx-amz-request-id: PROXY1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Passes a request on and reads the whole answer.
async fn ask(upstream: &str, head: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await?;
    let head = head.trim_end_matches("\r\n");
    server.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    server.write_all(body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    let interim = b"HTTP/1.1 100";
    if answer.starts_with(interim) {
        let end = find(&answer, b"\r\n\r\n").map_or(0, |end| end + 4);
        answer.drain(..end);
    }
    Ok(answer)
}

async fn read_head(client: &mut TcpStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = find(&read, b"\r\n\r\n") {
            let rest = read.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&read).into_owned(), rest));
        }
        if client.read_buf(&mut read).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

async fn read_body(client: &mut TcpStream, head: &str, mut body: Vec<u8>) -> std::io::Result<Vec<u8>> {
    assert!(header(head, "transfer-encoding").is_none(), "the proxy knows no chunks:\n{head}");
    let length: usize = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(body)
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn find(octets: &[u8], part: &[u8]) -> Option<usize> {
    octets.windows(part.len()).position(|window| window == part)
}
