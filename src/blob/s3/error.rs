//! From what a server or the network says to the kinds of error that the caller acts on.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::RequestId;
use ekitei_blob::{ObjectError, ObjectErrorKind};

/// The error of a request that did `doing`.
pub(crate) fn from_sdk<E>(doing: &str, error: &SdkError<E, HttpResponse>) -> ObjectError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let raw = error.raw_response();
    let status = raw.map(|response| response.status().as_u16());
    let Some((status, service)) = status.zip(error.as_service_error()) else {
        return without_an_answer(doing, error);
    };
    let code = service.code();
    let kind = kind_of(status, code);
    let code = code.map_or(String::new(), |code| format!("{code}: "));
    let message = service.message().map_or(String::new(), |message| format!("{message} "));
    let request = error.request_id().map_or(String::new(), |id| format!(", request {id}"));
    let location = match raw.and_then(|response| response.headers().get("x-amz-bucket-region")) {
        Some(region) => format!(", the bucket is in {region}"),
        None => String::new(),
    };
    ObjectError::new(kind, format!("{doing}: {code}{message}(HTTP {status}{request}{location})"))
}

/// Nothing came, or nothing that could be read.
fn without_an_answer<E: Error + 'static>(doing: &str, error: &SdkError<E, HttpResponse>) -> ObjectError {
    let chain: Vec<&dyn Error> = std::iter::successors(error.source(), |&error| error.source()).collect();
    let of_credentials = chain.iter().find_map(|error| error.downcast_ref::<CredentialsError>());
    let kind = match (of_credentials, error) {
        (Some(CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)), _) => {
            ObjectErrorKind::Denied
        }
        (None, SdkError::ConstructionFailure(_)) => ObjectErrorKind::Invalid,
        _ => ObjectErrorKind::Unavailable,
    };
    let mut words: Vec<String> = Vec::new();
    for part in std::iter::once(error.to_string()).chain(chain.iter().map(ToString::to_string)) {
        if !words.iter().any(|known| known.contains(&part)) {
            words.push(part);
        }
    }
    ObjectError::new(kind, format!("{doing}: {}", words.join(": ")))
}

/// Whether the service does not know the keys or the token, which may have been replaced where they come from.
pub(crate) fn is_of_the_keys(status: Option<u16>, code: Option<&str>) -> bool {
    match code {
        Some(code) => {
            matches!(
                code,
                "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidToken" | "InvalidSecurity"
            )
        }
        // An answer to HEAD has no body, and says no more than this.
        None => matches!(status, Some(401 | 403)),
    }
}

/// What an answer means. Codes first: some servers give them with unusual statuses.
pub(crate) fn kind_of(status: u16, code: Option<&str>) -> ObjectErrorKind {
    use ObjectErrorKind::{Damaged, Denied, Expired, Invalid, NotFound, Throttled, Unavailable};
    match code.unwrap_or_default() {
        "NoSuchKey" => NotFound,
        // An upload in parts that somebody broke off: the whole is begun again.
        "NoSuchUpload" => Unavailable,
        // Of a new bucket, until the name servers know where it is.
        "TemporaryRedirect" => Unavailable,
        // A header that the server does not know, such as one that asks it to encrypt. It will not know it later.
        "NotImplemented" => Invalid,
        "NoSuchBucket" | "InvalidBucketName" | "PermanentRedirect" | "AuthorizationHeaderMalformed" => {
            Invalid
        }
        "SlowDown"
        | "TooManyRequests"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "RequestThrottled"
        | "BandwidthLimitExceeded" => Throttled,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => Expired,
        "RequestTimeout" | "InternalError" | "ServiceUnavailable" | "OperationAborted" => Unavailable,
        "BadDigest" | "IncompleteBody" | "InvalidDigest" | "XAmzContentSHA256Mismatch" => Damaged,
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "RequestTimeTooSkewed"
        | "AccountProblem"
        | "AllAccessDisabled" => Denied,
        _ => match status {
            404 => NotFound,
            429 => Throttled,
            401 | 403 => Denied,
            501 => Invalid,
            307 | 408 | 500.. => Unavailable,
            // "200" with an error inside is one of a large request that failed late.
            200..300 => Unavailable,
            _ => Invalid,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_whether_to_wait_to_renew_or_to_give_up() {
        for (status, code, kind) in [
            (404, Some("NoSuchKey"), ObjectErrorKind::NotFound),
            (404, None, ObjectErrorKind::NotFound),
            (404, Some("NoSuchBucket"), ObjectErrorKind::Invalid),
            (503, Some("SlowDown"), ObjectErrorKind::Throttled),
            (503, None, ObjectErrorKind::Unavailable),
            (400, Some("ExpiredToken"), ObjectErrorKind::Expired),
            (403, Some("ExpiredToken"), ObjectErrorKind::Expired),
            (403, Some("SignatureDoesNotMatch"), ObjectErrorKind::Denied),
            (403, None, ObjectErrorKind::Denied),
            (400, Some("RequestTimeout"), ObjectErrorKind::Unavailable),
            (400, Some("BadDigest"), ObjectErrorKind::Damaged),
            (400, Some("InvalidArgument"), ObjectErrorKind::Invalid),
            (301, Some("PermanentRedirect"), ObjectErrorKind::Invalid),
            (307, Some("TemporaryRedirect"), ObjectErrorKind::Unavailable),
            (501, Some("NotImplemented"), ObjectErrorKind::Invalid),
            (501, None, ObjectErrorKind::Invalid),
            (507, None, ObjectErrorKind::Unavailable),
        ] {
            assert_eq!(kind_of(status, code), kind, "{status} {code:?}");
        }
    }
}
