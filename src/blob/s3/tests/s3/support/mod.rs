//! What the scenarios are written with.

pub mod proxy;
pub mod seaweed;
pub mod tls;

use std::time::Duration;

use bytes::Bytes;
use ekitei_s3::aws::{Access, Keys};
use ekitei_s3::{S3Store, ServerEncryption, Settings};

/// Settings for a bucket of its own at `address`.
pub fn settings(address: &str, bucket: &str) -> Settings {
    Settings {
        access: Access {
            region: None,
            endpoint: Some(format!("http://{address}")),
            keys: Some(Keys {
                access_key_id: seaweed::ACCESS_KEY.to_owned(),
                secret_access_key: seaweed::SECRET_KEY.to_owned(),
                session_token: None,
            }),
            authorities: None,
            connect_timeout: Duration::from_secs(5),
        },
        bucket: bucket.to_owned(),
        prefix: "mail/".to_owned(),
        path_style: true,
        encryption: ServerEncryption::None,
        part_size: 8 << 20,
        part_uploads: 4,
        part_timeout: Duration::from_secs(5),
    }
}

/// Opens a bucket that is created first.
pub async fn bucket(address: &str, name: &str) -> S3Store {
    let settings = settings(address, name);
    let connection = settings.access.connect().await.unwrap();
    let config = aws_sdk_s3::config::Builder::from(&connection.config).force_path_style(true).build();
    aws_sdk_s3::Client::from_conf(config).create_bucket().bucket(name).send().await.unwrap();
    S3Store::open(settings).await.unwrap()
}

/// Octets that cannot be compressed.
pub fn noise(length: usize) -> Bytes {
    use rand::RngExt;
    let mut octets = vec![0; length];
    rand::rng().fill(&mut octets[..]);
    octets.into()
}
