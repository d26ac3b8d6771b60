//! A bucket as an object store.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::{RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ServerSideEncryption;
use bytes::{Bytes, BytesMut};
use ekitei_blob::{ObjectError, ObjectErrorKind, ObjectFuture, ObjectInfo, ObjectStore, check_name};
use tokio::time::Instant;

use crate::aws::{Access, Connection, KeySource, Renewable};
use crate::error::{from_sdk, is_of_the_keys};
use crate::multipart;

/// The most names that a server gives in one answer.
const PAGE: usize = 1000;
/// No object is larger.
const LARGEST: u64 = 5 << 40;

/// Which bucket, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the service is.
    pub access: Access,
    /// The bucket.
    pub bucket: String,
    /// What all names begin with in the bucket, such as `mail/`.
    pub prefix: String,
    /// The bucket is named in the path and not in the host name, as most servers but Amazon's want it.
    pub path_style: bool,
    /// How the server encrypts what it stores.
    pub encryption: ServerEncryption,
    /// A larger object is uploaded in parts of this size: at least 5 MiB.
    pub part_size: u64,
    /// Parts of one object that are uploaded at the same time.
    pub part_uploads: usize,
    /// How long the upload of one part may take before it is sent again.
    pub part_timeout: Duration,
}

/// How the server encrypts what it stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ServerEncryption {
    /// As the bucket says.
    #[default]
    None,
    /// With keys of the server (`AES256`).
    Aes256,
    /// With a key of the key management service (`aws:kms`); without an id, the account's.
    Kms(Option<String>),
}

/// A bucket. Clones share connections and credentials.
#[derive(Clone, Debug)]
pub struct S3Store {
    pub(crate) client: Client,
    credentials: Arc<Renewable>,
    pub(crate) bucket: String,
    prefix: String,
    encryption: ServerEncryption,
    part_size: usize,
    pub(crate) part_uploads: usize,
    pub(crate) part_timeout: Duration,
}

/// How the server is to encrypt, in the words of the requests.
type Encryption = (Option<ServerSideEncryption>, Option<String>);

impl S3Store {
    /// Makes a client of the bucket. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// [`Access::connect`]'s.
    pub async fn open(settings: Settings) -> Result<Self, ObjectError> {
        Ok(Self::over(settings.access.connect().await?, settings))
    }

    /// Like [`S3Store::open`], with keys that may be replaced at any time in place of [`Access::keys`].
    ///
    /// # Errors
    /// [`Access::connect`]'s.
    pub async fn open_with(settings: Settings, keys: KeySource) -> Result<Self, ObjectError> {
        Ok(Self::over(settings.access.connect_with(Some(keys)).await?, settings))
    }

    fn over(connection: Connection, settings: Settings) -> Self {
        let config = aws_sdk_s3::config::Builder::from(&connection.config)
            .force_path_style(settings.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Self {
            client: Client::from_conf(config),
            credentials: connection.credentials,
            bucket: settings.bucket,
            prefix: settings.prefix,
            encryption: settings.encryption,
            part_size: usize::try_from(settings.part_size).unwrap_or(usize::MAX).max(1),
            part_uploads: settings.part_uploads.max(1),
            part_timeout: settings.part_timeout,
        }
    }

    pub(crate) fn key(&self, name: &str) -> Result<String, ObjectError> {
        check_name(name)?;
        Ok(format!("{}{name}", self.prefix))
    }

    pub(crate) fn encryption(&self) -> Encryption {
        match &self.encryption {
            ServerEncryption::None => (None, None),
            ServerEncryption::Aes256 => (Some(ServerSideEncryption::Aes256), None),
            ServerEncryption::Kms(key) => (Some(ServerSideEncryption::AwsKms), key.clone()),
        }
    }

    /// Sends a request that does `doing`. Credentials that have expired, or that the service does not know, are forgotten, so that the next
    /// request has new ones.
    pub(crate) async fn send<T, E>(
        &self,
        doing: &str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, ObjectError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let begun = Instant::now();
        request.await.map_err(|error| self.failure(begun, doing, &error))
    }

    fn failure<E>(&self, begun: Instant, doing: &str, error: &SdkError<E, HttpResponse>) -> ObjectError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let known = from_sdk(doing, error);
        if known.kind() == ObjectErrorKind::Expired {
            self.credentials.expired(begun);
        } else if is_of_the_keys(status_of(error), error.code()) {
            self.credentials.unknown();
        }
        known
    }

    async fn put_whole(&self, name: &str, octets: Bytes) -> Result<(), ObjectError> {
        let (encryption, key) = self.encryption();
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(name)?)
            .set_server_side_encryption(encryption)
            .set_ssekms_key_id(key)
            .body(ByteStream::from(octets));
        self.send(&format!("PutObject {name}"), request.send()).await.map(drop)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        if range.is_empty() || range.start > LARGEST {
            return Ok(Bytes::new());
        }
        let asked = if range.end > LARGEST {
            format!("bytes={}-", range.start)
        } else {
            format!("bytes={}-{}", range.start, range.end - 1)
        };
        let (doing, begun) = (format!("GetObject {name}"), Instant::now());
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(name)?).range(asked);
        match request.send().await {
            Ok(answer) => collect(&doing, answer, range).await,
            // Past the end of the object.
            Err(error) if is_past_the_end(&error) => Ok(Bytes::new()),
            Err(error) => Err(self.failure(begun, &doing, &error)),
        }
    }

    async fn head_object(&self, name: &str) -> Result<ObjectInfo, ObjectError> {
        let (doing, begun) = (format!("HeadObject {name}"), Instant::now());
        let request = self.client.head_object().bucket(&self.bucket).key(self.key(name)?);
        let answer = request.send().await.map_err(|error| {
            let known = self.failure(begun, &doing, &error);
            if !is_bare_400(&error) {
                return known;
            }
            // The answer to other requests would say so; this one has no body.
            self.credentials.expired(begun);
            ObjectError::new(ObjectErrorKind::Expired, format!("{known}; the credentials may have expired"))
        })?;
        let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| ObjectError::damaged(format!("{doing}: no length")))?;
        Ok(ObjectInfo { name: name.to_owned(), size, modified: since_epoch(answer.last_modified()) })
    }

    async fn list_some(
        &self,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<Vec<ObjectInfo>, ObjectError> {
        let mut found: Vec<ObjectInfo> = Vec::new();
        let mut next: Option<String> = None;
        while found.len() < limit {
            let page = i32::try_from((limit - found.len()).min(PAGE)).unwrap_or(i32::MAX);
            let begin = (next.is_none() && !after.is_empty()).then(|| format!("{}{after}", self.prefix));
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(format!("{}{prefix}", self.prefix))
                .max_keys(page)
                .set_start_after(begin)
                .set_continuation_token(next.take());
            let answer = self.send(&format!("ListObjectsV2 {prefix}"), request.send()).await?;
            found.extend(answer.contents().iter().filter_map(|object| {
                let name = object.key()?.strip_prefix(&self.prefix)?;
                check_name(name).ok()?; // somebody else's object is none of ours
                let size = u64::try_from(object.size()?).ok()?;
                Some(ObjectInfo {
                    name: name.to_owned(),
                    size,
                    modified: since_epoch(object.last_modified()),
                })
            }));
            next = answer
                .next_continuation_token()
                .filter(|_| answer.is_truncated() == Some(true))
                .map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

impl ObjectStore for S3Store {
    fn put<'a>(&'a self, name: &'a str, pieces: Vec<Bytes>) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            if pieces.iter().map(Bytes::len).sum::<usize>() > self.part_size {
                multipart::put(self, name, pieces, self.part_size).await
            } else {
                self.put_whole(name, multipart::join(&pieces)).await
            }
        })
    }

    fn get<'a>(&'a self, name: &'a str, range: Range<u64>) -> ObjectFuture<'a, Bytes> {
        Box::pin(self.get_range(name, range))
    }

    fn head<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ObjectInfo> {
        Box::pin(self.head_object(name))
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            let request = self.client.delete_object().bucket(&self.bucket).key(self.key(name)?);
            match self.send(&format!("DeleteObject {name}"), request.send()).await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            }
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: &'a str,
        limit: usize,
    ) -> ObjectFuture<'a, Vec<ObjectInfo>> {
        Box::pin(self.list_some(prefix, after, limit))
    }
}

fn since_epoch(time: Option<&DateTime>) -> Duration {
    let millis = time.and_then(|time| time.to_millis().ok()).and_then(|millis| u64::try_from(millis).ok());
    Duration::from_millis(millis.unwrap_or_default())
}

fn status_of<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Whether an object has nothing of the range that was asked for.
fn is_past_the_end<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some("InvalidRange") || (error.code().is_none() && status_of(error) == Some(416))
}

/// Whether a request was refused without any reason: not even that the bucket is elsewhere.
fn is_bare_400<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let names_region = |response: &HttpResponse| response.headers().get("x-amz-bucket-region").is_some();
    status_of(error) == Some(400) && !error.raw_response().is_some_and(names_region)
}

/// Where a range begins that an answer has (`bytes 5-9/100`); `None` if it does not say so.
fn beginning(content_range: &str) -> Option<u64> {
    content_range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}

/// Reads an answer to its end, which must be where it was announced.
async fn collect(doing: &str, answer: GetObjectOutput, range: Range<u64>) -> Result<Bytes, ObjectError> {
    let announced = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let whole = answer.content_range().is_none();
    if let Some(begin) = answer.content_range().and_then(beginning).filter(|begin| *begin != range.start) {
        let asked = range.start;
        let what =
            "octets came of another range than was asked for; does something before the server keep answers?";
        return Err(ObjectError::damaged(format!("{doing}: {what} ({begin} and not {asked})")));
    }
    let longest = if whole { range.end } else { range.end - range.start };
    let capacity = announced.unwrap_or_default().min(longest);
    let mut body = answer.body;
    let mut read = BytesMut::with_capacity(usize::try_from(capacity).unwrap_or_default());
    while let Some(piece) = body.next().await {
        let piece =
            piece.map_err(|error| ObjectError::damaged(format!("{doing}: the answer broke off: {error}")))?;
        read.extend_from_slice(&piece);
        if read.len() as u64 >= longest {
            break;
        }
    }
    let complete = announced.is_none_or(|announced| read.len() as u64 >= announced.min(longest));
    if !complete {
        let (octets, of) = (read.len(), announced.unwrap_or_default());
        return Err(ObjectError::damaged(format!("{doing}: {octets} octets came, of {of}")));
    }
    let mut read = read.freeze();
    if whole {
        // A server that does not know ranges gives all of it.
        let begin = usize::try_from(range.start).unwrap_or(usize::MAX).min(read.len());
        read = read.slice(begin..);
    }
    read.truncate(usize::try_from(range.end - range.start).unwrap_or(usize::MAX));
    Ok(read)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_where_it_begins() {
        assert_eq!(beginning("bytes 5-9/100"), Some(5));
        assert_eq!(beginning("bytes 0-9/*"), Some(0));
        assert_eq!(beginning("bytes */100"), None);
    }

    #[tokio::test]
    async fn octets_of_another_range_are_not_taken_for_those_that_were_asked_for() {
        let answer = |range: &str| {
            let body = ByteStream::from_static(b"abcde");
            GetObjectOutput::builder().content_length(5).content_range(range).body(body).build()
        };
        let read = collect("GetObject", answer("bytes 5-9/10"), 5..10).await;
        assert_eq!(read.as_deref(), Ok(&b"abcde"[..]));
        let error = collect("GetObject", answer("bytes 0-4/10"), 5..10).await.unwrap_err();
        assert_eq!(error.kind(), ObjectErrorKind::Damaged);
    }
}
