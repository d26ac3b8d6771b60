//! Moto, which speaks Route 53.

use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use aws_sdk_route53::Client;
use ekitei_operator_dns::provider::route53::{Route53, Settings};
use ekitei_s3::aws::{Access, Keys};

use super::{free_port, program, skip, until_we_end, wait_until};

/// A running moto; it ends with the test.
pub struct Moto {
    process: Child,
    port: u16,
}

impl Moto {
    pub fn start() -> Option<Self> {
        let Some(program) = program("moto_server") else {
            skip("not installed: moto_server (pip install 'moto[server]')");
            return None;
        };
        let port = free_port();
        let mut command = until_we_end(&program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let moto = Self { process, port };
        wait_until("moto to answer", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(moto)
    }

    pub fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub fn access(&self) -> Access {
        Access {
            region: None,
            endpoint: Some(format!("http://127.0.0.1:{}", self.port)),
            keys: Some(Keys {
                access_key_id: "ekitei".to_owned(),
                secret_access_key: "secret".to_owned(),
                session_token: None,
            }),
            authorities: None,
            connect_timeout: Duration::from_secs(2),
        }
    }

    /// A client of Amazon's own, for what the provider does not do.
    pub async fn client(&self) -> Client {
        Client::new(&self.access().connect().await.unwrap().config)
    }

    pub async fn provider(&self, hosted_zone_id: Option<&str>) -> Route53 {
        let settings = Settings {
            access: self.access(),
            hosted_zone_id: hosted_zone_id.map(str::to_owned),
            timeout: Duration::from_secs(5),
            propagation: Duration::from_secs(10),
        };
        Route53::open(settings).await.unwrap()
    }

    /// A new zone; its id.
    pub async fn zone(&self, name: &str) -> String {
        let client = self.client().await;
        let made = client.create_hosted_zone().name(name).caller_reference(name).send().await.unwrap();
        made.hosted_zone.unwrap().id().trim_start_matches("/hostedzone/").to_owned()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.stop();
    }
}
