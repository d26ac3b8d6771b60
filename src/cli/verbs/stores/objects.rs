//! The object store: one probe object is written, read, listed and deleted.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ekitei_api::{Check, CheckStatus};
use ekitei_blob::{ObjectError, ObjectErrorKind, ObjectFuture, ObjectStore};
use ekitei_config::{BlobSse, BlobStore, Blobs};

use super::{check, failure};
use crate::cli::service::objects;

/// What the probe holds.
const PROBE: &[u8] = b"written by ekitei doctor; it may be deleted";
/// Where probes are.
const FOLDER: &str = "doctor/";
/// Slower than this, deliveries of large messages and reads of what is not in a cache are felt by people.
const SLOW: Duration = Duration::from_millis(500);
/// A clock that is off by more is worth a word; S3 refuses requests whose time is off by fifteen minutes.
const SKEW: Duration = Duration::from_secs(30);

/// Everything that is found of the object store.
pub(super) async fn checks(blobs: &Blobs) -> Vec<Check> {
    let place = match blobs.kind {
        BlobStore::Directory => format!("the directory {}", blobs.path.display()),
        BlobStore::S3 => match &blobs.endpoint {
            Some(endpoint) => format!("the bucket {} at {endpoint}", blobs.bucket),
            None => format!("the bucket {}", blobs.bucket),
        },
    };
    match objects::open_plain(blobs).await {
        Ok(store) => Probe { blobs, store: &*store }.run(&place).await,
        Err(error) => {
            let advice = if error.to_string().contains("region") || format!("{error:#}").contains("region") {
                "set blobs.region, or AWS_REGION in the environment"
            } else {
                "see the message"
            };
            vec![failure("objects", format!("{error:#}"), advice)]
        }
    }
}

/// A store that is being tried.
struct Probe<'a> {
    blobs: &'a Blobs,
    store: &'a dyn ObjectStore,
}

impl Probe<'_> {
    async fn run(&self, place: &str) -> Vec<Check> {
        let name = format!("{FOLDER}{:032x}", rand::random::<u128>());
        let written = self.timed(self.store.put(&name, vec![Bytes::from_static(PROBE)])).await;
        let took = match written {
            Ok(((), took)) => took,
            Err(error) => return vec![failure("objects: write", &error, self.advice(&error))],
        };
        let mut checks = vec![took_so_long("objects: write", &format!("{place} takes objects"), took)];
        checks.push(self.read(&name).await);
        checks.push(self.list(&name).await);
        checks.push(self.clock(&name).await);
        checks.extend(self.delete(&name).await);
        checks
    }

    async fn read(&self, name: &str) -> Check {
        match self.timed(self.store.get(name, 8..30)).await {
            Ok((octets, took)) if octets == PROBE[8..30] => {
                took_so_long("objects: read", "a range is read as it was written", took)
            }
            Ok((octets, _)) => failure(
                "objects: read",
                format!("22 octets were asked for, and {} others came", octets.len()),
                "the server, or a proxy before it, does not support ranges; it cannot be used",
            ),
            Err(error) => failure("objects: read", &error, self.advice(&error)),
        }
    }

    async fn list(&self, name: &str) -> Check {
        match self.timed(self.store.list(FOLDER, "", 1000)).await {
            Ok((found, took)) if found.iter().any(|object| object.name == name) => {
                took_so_long("objects: list", "the new object is listed", took)
            }
            Ok(_) => check(
                "objects: list",
                CheckStatus::Warning,
                "a new object is not listed at once: the store shows writes late, see blobs.retries.visibilityDelay",
            ),
            Err(error) => failure("objects: list", &error, self.advice(&error)),
        }
    }

    /// Compares the store's clock with this machine's, by the time of the object that was just written.
    async fn clock(&self, name: &str) -> Check {
        let info = match self.timed(self.store.head(name)).await {
            Ok((info, _)) => info,
            Err(error) => return failure("objects: clock", &error, self.advice(&error)),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let skew = now.abs_diff(info.modified);
        if skew <= SKEW {
            return check("objects: clock", CheckStatus::Ok, "the store's clock agrees with this machine's");
        }
        let detail = format!(
            "the store's clock differs by {} seconds; set both by NTP: S3 refuses requests at 15 minutes",
            skew.as_secs()
        );
        check("objects: clock", CheckStatus::Warning, detail)
    }

    async fn delete(&self, name: &str) -> Vec<Check> {
        let took = match self.timed(self.store.delete(name)).await {
            Ok(((), took)) => took,
            Err(error) => return vec![failure("objects: delete", &error, self.advice(&error))],
        };
        let deleted = took_so_long("objects: delete", "the object is deleted", took);
        let missing = match self.timed(self.store.head(name)).await {
            Err(error) if error.kind() == ObjectErrorKind::NotFound => return vec![deleted],
            Err(error) if error.kind() == ObjectErrorKind::Denied => check(
                "objects: missing",
                CheckStatus::Warning,
                "a missing object looks like a forbidden one: allow s3:ListBucket on the bucket",
            ),
            Err(error) => failure("objects: missing", &error, self.advice(&error)),
            Ok(_) => check(
                "objects: missing",
                CheckStatus::Warning,
                "a deleted object is still shown: the store shows deletions late",
            ),
        };
        vec![deleted, missing]
    }

    /// One request, with the time limit of an attempt, and how long it took.
    async fn timed<T>(&self, request: ObjectFuture<'_, T>) -> Result<(T, Duration), ObjectError> {
        let (begun, limit) = (Instant::now(), self.blobs.timeouts.attempt.get());
        match tokio::time::timeout(limit, request).await {
            Ok(result) => result.map(|answer| (answer, begun.elapsed())),
            Err(_) => Err(ObjectError::unavailable(format!("no answer for {limit:?}"))),
        }
    }

    fn advice(&self, error: &ObjectError) -> String {
        match self.blobs.kind {
            BlobStore::Directory => {
                format!("see who owns {}, and whether its disk is full", self.blobs.path.display())
            }
            BlobStore::S3 => advice(self.blobs, error.kind(), &error.to_string()),
        }
    }
}

fn took_so_long(name: &str, what: &str, took: Duration) -> Check {
    let detail = format!("{what} ({} ms)", took.as_millis());
    if took < SLOW {
        return check(name, CheckStatus::Ok, detail);
    }
    check(name, CheckStatus::Warning, format!("{detail}; that is slow: use a bucket near this machine"))
}

/// What to change so that an error of an S3 server goes away.
fn advice(blobs: &Blobs, kind: ObjectErrorKind, error: &str) -> String {
    let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
    let virtual_host = blobs.endpoint.is_some() && !blobs.path_style;
    let advice = match kind {
        _ if blobs.sse != BlobSse::None
            && says(&["KMS", "kms", "ncryption", "NotImplemented", "InternalError"]) =>
        {
            "the server cannot encrypt so: give the role kms:GenerateDataKey and kms:Decrypt on the key, or set blobs.sse: none"
        }
        _ if says(&["RequestTimeTooSkewed"]) => "set the clock of this machine by NTP",
        _ if says(&["PermanentRedirect", "AuthorizationHeaderMalformed", "the bucket is in"]) => {
            return match error.split_once("the bucket is in ") {
                Some((_, region)) => format!("set blobs.region: {}", region.trim_end_matches(')')),
                None => "set blobs.region to the region of the bucket".to_owned(),
            };
        }
        _ if says(&["InvalidAccessKeyId"]) => "no such access key: check blobs.credentials.accessKeyId",
        _ if says(&["SignatureDoesNotMatch"]) => {
            "check blobs.credentials.secretAccessKey; if it is right, a proxy changes the requests' host name"
        }
        _ if says(&["NoSuchBucket", "InvalidBucketName"]) && virtual_host => {
            "create the bucket or check blobs.bucket; if both are right, set blobs.pathStyle: true"
        }
        _ if says(&["NoSuchBucket", "InvalidBucketName"]) => "create the bucket, or check blobs.bucket",
        _ if says(&["certificate"]) => {
            "set blobs.caFile to the authority that signed the server's certificate"
        }
        ObjectErrorKind::Expired => {
            "the credentials have expired: renew blobs.credentials.sessionToken or the role's token"
        }
        ObjectErrorKind::Denied if says(&["redentials"]) => {
            "set blobs.credentials, or give the pod or the machine a role"
        }
        ObjectErrorKind::Denied => {
            "allow s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload on the bucket's objects, and s3:ListBucket on the bucket"
        }
        ObjectErrorKind::Throttled => {
            "the server asks for fewer requests: try later, or lower blobs.maxRequests"
        }
        ObjectErrorKind::Unavailable if virtual_host && says(&["dns", "resolve", "lookup"]) => {
            "the bucket's host name is not known: set blobs.pathStyle: true, or add the name to the DNS"
        }
        ObjectErrorKind::Unavailable if says(&["InvalidContentType"]) => {
            "the server speaks no TLS there: let blobs.endpoint begin with http://"
        }
        ObjectErrorKind::Unavailable if says(&["dns error"]) => {
            "the host name in blobs.endpoint is not known to this machine's resolver"
        }
        ObjectErrorKind::Unavailable => {
            "check that the server runs and that blobs.endpoint can be reached from here"
        }
        _ => "see docs/object-storage.md for the settings of this kind of server",
    };
    advice.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn blobs(text: &str) -> Blobs {
        ekitei_config::Config::parse(&format!("blobs: {{{text}}}"), &|_| None).unwrap().blobs
    }

    #[tokio::test]
    async fn a_directory_that_works_passes_everything() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = Blobs { path: folder.path().join("bodies"), ..Blobs::default() };
        let checks = checks(&blobs).await;
        let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(
            names,
            ["objects: write", "objects: read", "objects: list", "objects: clock", "objects: delete"]
        );
        assert!(checks.iter().all(|check| check.status != CheckStatus::Failure), "{checks:?}");
        let store = objects::open_plain(&blobs).await.unwrap();
        assert!(store.list("", "", 9).await.unwrap().is_empty(), "the probe is left behind");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_to_be_so() {
        let blobs = blobs(
            "kind: s3, bucket: mail, endpoint: 'http://127.0.0.1:1', credentials: {accessKeyId: a, secretAccessKey: b}",
        );
        let checks = checks(&blobs).await;
        assert_eq!(checks.len(), 1);
        assert_eq!(checks[0].status, CheckStatus::Failure);
        assert!(checks[0].detail.contains("blobs.endpoint"), "{}", checks[0].detail);
    }

    #[test]
    fn each_mistake_has_its_own_advice() {
        let plain = blobs("kind: s3, bucket: mail");
        let elsewhere = blobs("kind: s3, bucket: mail, endpoint: 'https://s3.example.net'");
        let encrypted = blobs("kind: s3, bucket: mail, sse: 'aws:kms'");
        use ObjectErrorKind::{Denied, Invalid, Unavailable};
        for (blobs, kind, error, expected) in [
            (&plain, Denied, "InvalidAccessKeyId: no (HTTP 403)", "accessKeyId"),
            (&plain, Denied, "SignatureDoesNotMatch: no (HTTP 403)", "secretAccessKey"),
            (&plain, Denied, "AccessDenied: no (HTTP 403)", "s3:PutObject"),
            (
                &plain,
                Denied,
                "dispatch failure: the credentials provider was not enabled: no providers in chain provided credentials",
                "a role",
            ),
            (&plain, Denied, "RequestTimeTooSkewed: no", "NTP"),
            (
                &plain,
                Invalid,
                "PermanentRedirect: (HTTP 301, the bucket is in eu-west-1)",
                "blobs.region: eu-west-1",
            ),
            (&plain, Invalid, "NoSuchBucket: no (HTTP 404)", "create the bucket, or"),
            (&elsewhere, Invalid, "NoSuchBucket: no (HTTP 404)", "pathStyle"),
            (&elsewhere, Unavailable, "dispatch failure: dns error: failed to lookup", "pathStyle"),
            (
                &elsewhere,
                Unavailable,
                "TLS handshake failed: received corrupt message of type InvalidContentType",
                "http://",
            ),
            (&elsewhere, Unavailable, "dispatch failure: invalid peer certificate: UnknownIssuer", "caFile"),
            (&encrypted, Invalid, "NotImplemented: no (HTTP 501)", "blobs.sse"),
        ] {
            let advice = advice(blobs, kind, error);
            assert!(advice.contains(expected), "{error}: {advice}");
        }
    }
}
