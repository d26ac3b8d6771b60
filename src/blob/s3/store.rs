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
use futures_util::{StreamExt, TryStreamExt};

use crate::aws::{Access, Renewable};
use crate::error::from_sdk;
use crate::multipart;

/// The most names that a server gives in one answer.
const PAGE: usize = 1000;
/// Objects that are deleted at the same time. (Not in one request: not every server has that, and Amazon charges for neither.)
const DELETIONS: usize = 8;
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
}

/// How the server is to encrypt, in the words of the requests.
type Encryption = (Option<ServerSideEncryption>, Option<String>);

impl S3Store {
    /// Makes a client of the bucket. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// [`Access::connect`]'s.
    pub async fn open(settings: Settings) -> Result<Self, ObjectError> {
        let connection = settings.access.connect().await?;
        let config = aws_sdk_s3::config::Builder::from(&connection.config)
            .force_path_style(settings.path_style)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Ok(Self {
            client: Client::from_conf(config),
            credentials: connection.credentials,
            bucket: settings.bucket,
            prefix: settings.prefix,
            encryption: settings.encryption,
            part_size: usize::try_from(settings.part_size).unwrap_or(usize::MAX).max(1),
            part_uploads: settings.part_uploads.max(1),
        })
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

    /// The error of a request; credentials that have expired are forgotten, so that the next one has new ones.
    pub(crate) async fn failure<E>(&self, doing: &str, error: SdkError<E, HttpResponse>) -> ObjectError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let error = from_sdk(doing, &error);
        if error.kind() == ObjectErrorKind::Expired {
            self.credentials.forget().await;
        }
        error
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
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.failure(&format!("PutObject {name}"), error).await),
        }
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
        let doing = format!("GetObject {name}");
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(name)?).range(asked);
        match request.send().await {
            Ok(answer) => collect(&doing, answer, range).await,
            // Past the end of the object.
            Err(error) if error.code() == Some("InvalidRange") => Ok(Bytes::new()),
            Err(error) => Err(self.failure(&doing, error).await),
        }
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
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) => return Err(self.failure(&format!("ListObjectsV2 {prefix}"), error).await),
            };
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
        Box::pin(async move {
            let request = self.client.head_object().bucket(&self.bucket).key(self.key(name)?);
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) => return Err(self.failure(&format!("HeadObject {name}"), error).await),
            };
            let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
            let size = size.ok_or_else(|| ObjectError::damaged(format!("HeadObject {name}: no length")))?;
            Ok(ObjectInfo { name: name.to_owned(), size, modified: since_epoch(answer.last_modified()) })
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            let request = self.client.delete_object().bucket(&self.bucket).key(self.key(name)?);
            match request.send().await {
                Ok(_) => Ok(()),
                Err(error) => match self.failure(&format!("DeleteObject {name}"), error).await {
                    error if error.is_not_found() => Ok(()),
                    error => Err(error),
                },
            }
        })
    }

    fn delete_many<'a>(&'a self, names: &'a [String]) -> ObjectFuture<'a, ()> {
        Box::pin(async move {
            let deletions: Vec<_> = names.iter().map(|name| self.delete(name)).collect();
            futures_util::stream::iter(deletions).buffer_unordered(DELETIONS).try_collect().await
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

/// Reads an answer to its end, which must be where it was announced.
async fn collect(doing: &str, answer: GetObjectOutput, range: Range<u64>) -> Result<Bytes, ObjectError> {
    let announced = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let whole = answer.content_range().is_none();
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
