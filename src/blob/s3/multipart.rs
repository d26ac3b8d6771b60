//! Uploads in parts: a large object in several requests, which exists when the last one says so. What is broken off is aborted, since parts
//! without an object are invisible and cost money. Only until the last request is sent: after that the object may exist.
//!
//! A part that fails for now is sent again, a few times for the whole upload: else one lost connection would cost all of a large object. More than that is an outage,
//! which is for who asked for the upload.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use ekitei_blob::ObjectError;
use futures_util::{StreamExt, TryStreamExt};

use crate::store::S3Store;

/// Parts that are sent again in one upload.
const RETRIES: u32 = 3;
/// The pause before that, at most; each of the next ones is up to twice as long.
const PAUSE: Duration = Duration::from_millis(200);
/// How long an abortion may take: nobody waits for it, and a store that hangs must not collect them.
const ABORTION: Duration = Duration::from_secs(30);

/// An upload that is aborted if it is dropped before it is to be completed.
struct Upload {
    client: Client,
    bucket: String,
    key: String,
    id: String,
    /// Parts that may be sent again.
    retries: AtomicU32,
    /// Completion was asked for. An abortion may overtake that, and a server may then take parts away from the object.
    completing: bool,
}

/// Stores `pieces` as one object in parts of `part_size`.
pub(crate) async fn put(
    store: &S3Store,
    name: &str,
    pieces: Vec<Bytes>,
    part_size: usize,
) -> Result<(), ObjectError> {
    let mut upload = begin(store, name).await?;
    let parts = split(pieces, part_size).into_iter().zip(1..);
    let parts = futures_util::stream::iter(parts)
        .map(|(part, number)| send_part(store, &upload, name, number, join(&part)));
    let mut parts: Vec<CompletedPart> = parts.buffer_unordered(store.part_uploads).try_collect().await?;
    parts.sort_by_key(CompletedPart::part_number);
    let request = store
        .client
        .complete_multipart_upload()
        .bucket(&upload.bucket)
        .key(&upload.key)
        .upload_id(&upload.id)
        .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
    // Without an answer nobody knows whether it is complete; what is left then is for the rule of the bucket.
    upload.completing = true;
    store.send(&format!("CompleteMultipartUpload {name}"), request.send()).await.map(drop)
}

async fn begin(store: &S3Store, name: &str) -> Result<Upload, ObjectError> {
    let key = store.key(name)?;
    let (encryption, kms_key) = store.encryption();
    let request = store
        .client
        .create_multipart_upload()
        .bucket(&store.bucket)
        .key(&key)
        .set_server_side_encryption(encryption)
        .set_ssekms_key_id(kms_key);
    let doing = format!("CreateMultipartUpload {name}");
    let answer = store.send(&doing, request.send()).await?;
    let id = answer.upload_id().ok_or_else(|| ObjectError::damaged(format!("{doing}: no id")))?.to_owned();
    let (client, bucket, retries) = (store.client.clone(), store.bucket.clone(), RETRIES.into());
    Ok(Upload { client, bucket, key, id, retries, completing: false })
}

/// Sends a part, again if it fails for now and the upload has retries left.
async fn send_part(
    store: &S3Store,
    upload: &Upload,
    name: &str,
    number: i32,
    part: Bytes,
) -> Result<CompletedPart, ObjectError> {
    loop {
        let sent =
            tokio::time::timeout(store.part_timeout, upload_part(store, upload, name, number, part.clone()));
        let error = match sent.await {
            Ok(Ok(part)) => return Ok(part),
            Ok(Err(error)) => error,
            Err(_) => ObjectError::unavailable(format!(
                "UploadPart {number} of {name}: no answer for {:?}",
                store.part_timeout
            )),
        };
        let left =
            upload.retries.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1));
        let Some(left) = left.ok().filter(|_| error.kind().is_temporary()) else { return Err(error) };
        tracing::debug!(%error, name, number, "a part is sent again");
        let longest = PAUSE * 2u32.pow(RETRIES - left);
        tokio::time::sleep(longest.mul_f64(rand::random_range(0.0..=1.0))).await;
    }
}

async fn upload_part(
    store: &S3Store,
    upload: &Upload,
    name: &str,
    number: i32,
    part: Bytes,
) -> Result<CompletedPart, ObjectError> {
    let request = store
        .client
        .upload_part()
        .bucket(&upload.bucket)
        .key(&upload.key)
        .upload_id(&upload.id)
        .part_number(number)
        .body(ByteStream::from(part));
    let answer = store.send(&format!("UploadPart {number} of {name}"), request.send()).await?;
    let etag = answer.e_tag().map(str::to_owned);
    Ok(CompletedPart::builder().set_e_tag(etag).part_number(number).build())
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.completing {
            return;
        }
        // Outside of a runtime the process is ending, and a rule of the bucket must clean up.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let request =
            self.client.abort_multipart_upload().bucket(&self.bucket).key(&self.key).upload_id(&self.id);
        let key = self.key.clone();
        runtime.spawn(async move {
            let error = match tokio::time::timeout(ABORTION, request.send()).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => crate::error::from_sdk("AbortMultipartUpload", &error),
                Err(_) => ObjectError::unavailable(format!("no answer for {ABORTION:?}")),
            };
            if !error.is_not_found() {
                tracing::warn!(%error, key, "parts of an upload that was broken off stay in the bucket");
            }
        });
    }
}

/// One after the other, without copying if there is one.
pub(crate) fn join(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => {
            let mut joined = BytesMut::with_capacity(many.iter().map(Bytes::len).sum());
            many.iter().for_each(|piece| joined.extend_from_slice(piece));
            joined.freeze()
        }
    }
}

/// Cuts `pieces` into parts of exactly `size` octets, but for the last.
fn split(pieces: Vec<Bytes>, size: usize) -> Vec<Vec<Bytes>> {
    let mut parts = Vec::new();
    let (mut part, mut room) = (Vec::new(), size);
    for mut piece in pieces {
        while !piece.is_empty() {
            let taken = piece.split_to(piece.len().min(room));
            room -= taken.len();
            part.push(taken);
            if room == 0 {
                parts.push(std::mem::take(&mut part));
                room = size;
            }
        }
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_one_size_and_the_last_one_the_rest() {
        let pieces = vec![Bytes::from_static(b"abc"), Bytes::new(), Bytes::from_static(b"defghij")];
        let parts: Vec<Bytes> = split(pieces, 4).iter().map(|part| join(part)).collect();
        assert_eq!(parts, ["abcd", "efgh", "ij"]);
        assert_eq!(split(vec![Bytes::from_static(b"abcdefgh")], 4).len(), 2);
        assert!(split(Vec::new(), 4).is_empty());
    }
}
