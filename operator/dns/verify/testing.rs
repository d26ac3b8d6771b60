//! A server for tests.

use std::net::Ipv4Addr;

use hickory_proto::op::{Message, MessageType};
use tokio::net::UdpSocket;

use super::Server;

/// A server on the loopback that is authoritative, and answers every question with what `say` makes of it.
pub(crate) async fn server(say: impl Fn(&mut Message) + Send + 'static) -> Server {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            message.metadata.authoritative = true;
            say(&mut message);
            socket.send_to(&message.to_vec().unwrap(), from).await.unwrap();
        }
    });
    Server { name: address.to_string(), addresses: vec![address] }
}
