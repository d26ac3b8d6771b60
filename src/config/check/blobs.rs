//! What is wrong or doubtful in `blobs`.

use super::Checks;
use crate::{BlobSse, BlobStore, Blobs, ByteSize, Config};

/// The largest body that may be written inside a transaction.
const MAX_INLINE: ByteSize = ByteSize::mib(1);
/// The sizes of a page of a cache that make sense.
const PAGE_SIZE: [ByteSize; 2] = [ByteSize::kib(4), ByteSize::mib(16)];
/// The sizes that S3 allows for a part.
const PART_SIZE: [ByteSize; 2] = [ByteSize::mib(5), ByteSize::gib(5)];

/// The sizes that are sensible for a segment.
const SEGMENT_SIZE: [ByteSize; 2] = [ByteSize::mib(1), ByteSize::mib(64)];
/// The largest share, in percent, below which segments are rewritten.
const MAX_COMPACT_BELOW: u32 = 90;
/// Segments' worth of hot bodies that there is always room for: what waits must be well below half of the limit.
const HOT_SEGMENTS: u64 = 20;

impl Checks {
    pub(super) fn blobs(&mut self, config: &Config) {
        let blobs = &config.blobs;
        self.at_most("blobs.inlineLimit", blobs.inline_limit, MAX_INLINE, "it must fit into a transaction");
        if blobs.grace_period < config.smtp.timeouts.store {
            self.error("blobs.gracePeriod", blobs.grace_period, "must be longer than smtp.timeouts.store, or a body could be removed while it is being written");
        }
        self.patience(config);
        self.packing(config);
        let ([least, most], page) = (PAGE_SIZE, blobs.object_cache.page_size);
        if page < least || page > most {
            self.error("blobs.objectCache.pageSize", page, "must be 4KiB to 16MiB");
        }
        match blobs.kind {
            BlobStore::S3 => self.bucket(blobs),
            BlobStore::Directory => {
                let given = [
                    ("bucket", (!blobs.bucket.is_empty()).then_some(blobs.bucket.as_str())),
                    ("endpoint", blobs.endpoint.as_deref()),
                ];
                for (key, value) in given {
                    if let Some(value) = value {
                        self.error(
                            format!("blobs.{key}"),
                            value,
                            "needs kind: s3; bodies would go to blobs.path",
                        );
                    }
                }
            }
        }
    }

    fn packing(&mut self, config: &Config) {
        let blobs = &config.blobs;
        let (packing, scrub) = (&blobs.packing, &blobs.scrub);
        self.not_zero("blobs.packing.interval", packing.interval);
        self.not_zero("blobs.scrub.interval", scrub.interval);
        let [least, most] = SEGMENT_SIZE;
        let why = "smaller objects are hardly worth a request";
        self.at_least("blobs.packing.segmentSize", packing.segment_size, least, why);
        let why = "a process that packs needs three times that memory";
        self.at_most("blobs.packing.segmentSize", packing.segment_size, most, why);
        if packing.max_age < packing.min_age {
            let what = "must be at least blobs.packing.minAge";
            self.error("blobs.packing.maxAge", packing.max_age, what);
        }
        if packing.compact_below > MAX_COMPACT_BELOW {
            let what = "must be at most 90: fuller segments would be rewritten for nearly nothing";
            self.error("blobs.packing.compactBelow", packing.compact_below, what);
        }
        for (key, rate) in [("packing.compactRate", packing.compact_rate), ("scrub.rate", scrub.rate)] {
            self.at_least(&format!("blobs.{key}"), rate, ByteSize::kib(1), "it would never come to an end");
        }
        if packing.enabled && blobs.hot_limit.get() < packing.segment_size.get().saturating_mul(HOT_SEGMENTS)
        {
            let why = "is little: up to a segment of each of nine groups waits at any time";
            self.warn("blobs.hotLimit", blobs.hot_limit, why);
        }
    }

    fn patience(&mut self, config: &Config) {
        let blobs = &config.blobs;
        let (times, retries) = (&blobs.timeouts, &blobs.retries);
        for (key, value) in [
            ("timeouts.connect", times.connect),
            ("timeouts.attempt", times.attempt),
            ("timeouts.total", times.total),
            ("retries.firstDelay", retries.first_delay),
            ("retries.maxDelay", retries.max_delay),
            ("awayAfter", blobs.away_after),
            ("probeInterval", blobs.probe_interval),
        ] {
            self.not_zero(&format!("blobs.{key}"), value);
        }
        if times.attempt > times.total {
            self.error("blobs.timeouts.attempt", times.attempt, "must be at most blobs.timeouts.total");
        }
        if times.total >= config.smtp.timeouts.store {
            let why = "is not less than smtp.timeouts.store: a delivery ends before its last attempt does";
            self.warn("blobs.timeouts.total", times.total, why);
        }
        let why = "less would make every time limit endless";
        self.at_least("blobs.timeouts.minThroughput", times.min_throughput, ByteSize::kib(1), why);
        if blobs.max_requests == 0 {
            self.error("blobs.maxRequests", 0, "must be at least 1");
        }
    }

    fn bucket(&mut self, blobs: &Blobs) {
        let name = &blobs.bucket;
        let letters =
            name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b));
        if !letters || !(3..=63).contains(&name.len()) {
            let what = "must be the name of a bucket: 3 to 63 lower-case letters, digits, hyphens and dots";
            self.error("blobs.bucket", name, what);
        }
        if let Some(endpoint) = &blobs.endpoint {
            self.endpoint(endpoint);
        }
        let of_names = |b: u8| b.is_ascii_alphanumeric() || b"-._/".contains(&b);
        if blobs.prefix.starts_with('/') || !blobs.prefix.bytes().all(of_names) || blobs.prefix.len() > 256 {
            let what = "must be letters, digits and any of -._/ and not begin with /, such as mail/";
            self.error("blobs.prefix", &blobs.prefix, what);
        }
        if let Some(keys) = &blobs.credentials {
            for (key, value) in
                [("accessKeyId", &keys.access_key_id), ("secretAccessKey", &keys.secret_access_key)]
            {
                if value.is_empty() {
                    let what = "must be given; without credentials at all the environment is asked";
                    self.error(format!("blobs.credentials.{key}"), "", what);
                }
            }
        }
        if let Some(key) = &blobs.sse_key_id
            && blobs.sse != BlobSse::Kms
        {
            self.error("blobs.sseKeyId", key, "needs sse: aws:kms");
        }
        let [least, most] = PART_SIZE;
        self.at_least("blobs.partSize", blobs.part_size, least, "S3 takes no smaller parts");
        self.at_most("blobs.partSize", blobs.part_size, most, "S3 takes no larger parts");
    }

    fn endpoint(&mut self, endpoint: &str) {
        let plain = endpoint.strip_prefix("http://");
        let host = plain.or_else(|| endpoint.strip_prefix("https://")).map(|host| host.trim_end_matches('/'));
        let Some(host) = host.filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@'])) else {
            let what = "must be a URL such as https://s3.example.net:9000, without bucket or path";
            self.error("blobs.endpoint", endpoint, what);
            return;
        };
        let local = ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| host.starts_with(local));
        if plain.is_some() && !local {
            let what = "is plain HTTP: bodies cross the network in the clear, unless encryption is on";
            self.warn("blobs.endpoint", endpoint, what);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::{BlobSse, Config, Severity};

    fn problems(blobs: &str) -> Vec<(Severity, String)> {
        let text = format!("blobs: {{{blobs}}}");
        let config = Config::parse(&text, &|_| None);
        match config {
            Ok(config) => {
                let of_blobs = config.check().into_iter().filter(|problem| problem.path.starts_with("blobs"));
                of_blobs.map(|problem| (problem.severity, problem.path)).collect()
            }
            Err(error) => {
                let text = error.to_string();
                // The first key of a line is the one that is wrong.
                let paths = text
                    .lines()
                    .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("blobs.")));
                paths.map(|path| (Severity::Error, path.trim_end_matches(':').to_owned())).collect()
            }
        }
    }

    fn error(blobs: &str) -> String {
        let found = problems(&format!("kind: s3, bucket: mail, {blobs}"));
        let [(Severity::Error, path)] = &found[..] else { panic!("{blobs}: {found:?}") };
        path.clone()
    }

    #[test]
    fn a_bucket_needs_only_its_name() {
        assert_eq!(problems("kind: s3, bucket: mail"), []);
        let all = "kind: s3, bucket: mail, endpoint: 'https://s3.example.net:9000', region: eu, pathStyle: true, prefix: a/b/, \
                   credentials: {accessKeyId: id, secretAccessKey: secret}, sse: 'aws:kms', sseKeyId: k, partSize: 5MiB, \
                   hedgeAfter: 0s, timeouts: {attempt: 5s}, retries: {share: 0}";
        assert_eq!(problems(all), []);
        let config = Config::parse(&format!("blobs: {{{all}}}"), &|_| None).unwrap();
        assert_eq!(config.blobs.sse, BlobSse::Kms);
        assert!(!format!("{config:?}").contains("secret\""));
    }

    #[test]
    fn a_mistake_is_named_by_its_key() {
        assert_eq!(problems("kind: s3"), [(Severity::Error, "blobs.bucket".to_owned())]);
        for (blobs, key) in [
            ("endpoint: s3.example.net", "blobs.endpoint"),
            ("endpoint: 'https://s3.example.net/mail'", "blobs.endpoint"),
            ("prefix: /mail", "blobs.prefix"),
            ("credentials: {accessKeyId: id}", "blobs.credentials.secretAccessKey"),
            ("sseKeyId: key", "blobs.sseKeyId"),
            ("partSize: 1MiB", "blobs.partSize"),
            ("partSize: 6GiB", "blobs.partSize"),
            ("timeouts: {attempt: 60s}", "blobs.timeouts.attempt"),
            ("timeouts: {connect: 0s}", "blobs.timeouts.connect"),
            ("timeouts: {minThroughput: 1}", "blobs.timeouts.minThroughput"),
            ("maxRequests: 0", "blobs.maxRequests"),
            ("awayAfter: 0s", "blobs.awayAfter"),
            ("packing: {interval: 0s}", "blobs.packing.interval"),
            ("packing: {segmentSize: 100KiB}", "blobs.packing.segmentSize"),
            ("packing: {segmentSize: 100MiB}", "blobs.packing.segmentSize"),
            ("packing: {minAge: 2h, maxAge: 1h}", "blobs.packing.maxAge"),
            ("packing: {compactBelow: 95}", "blobs.packing.compactBelow"),
            ("packing: {compactRate: 1}", "blobs.packing.compactRate"),
            ("scrub: {rate: 1}", "blobs.scrub.rate"),
            ("scrub: {interval: 0s}", "blobs.scrub.interval"),
        ] {
            assert_eq!(error(blobs), key);
        }
        let unused = problems("bucket: mail");
        assert_eq!(unused, [(Severity::Error, "blobs.bucket".to_owned())]);
    }

    #[test]
    fn what_is_doubtful_is_said() {
        let doubtful = |blobs: &str| problems(&format!("kind: s3, bucket: mail, {blobs}"));
        let warning = |key: &str| vec![(Severity::Warning, key.to_owned())];
        assert_eq!(doubtful("endpoint: 'http://s3.example.net'"), warning("blobs.endpoint"));
        assert_eq!(doubtful("endpoint: 'http://127.0.0.1:8333'"), []);
        assert_eq!(doubtful("hotLimit: 100MiB"), warning("blobs.hotLimit"));
        assert_eq!(doubtful("timeouts: {total: 10m}"), warning("blobs.timeouts.total"));
    }
}
