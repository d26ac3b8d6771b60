//! From the configuration to the settings of the parts, which know nothing of files and keys.

use ekitei_config::Config;
use ekitei_directory::{Domain, EmailAddress};

/// What the directory is told.
///
/// # Errors
/// A domain or an address that is none, with its key.
pub fn directory(config: &Config) -> Result<ekitei_directory::Settings, String> {
    let given = &config.directory;
    let hashing = &given.password_hashing;
    let defaults = ekitei_directory::Settings::default();
    let default_domain = given.default_domain.as_deref().map(Domain::parse).transpose();
    let default_domain = default_domain.map_err(|error| format!("directory.defaultDomain: {error}"))?;
    let postmaster = given.postmaster.as_deref().map(EmailAddress::parse).transpose();
    let postmaster = postmaster.map_err(|error| format!("directory.postmaster: {error}"))?;
    Ok(ekitei_directory::Settings {
        detail_separator: given.plus_addressing_separator.chars().next(),
        expansion_depth: count(given.max_expansion_depth),
        expansion_fanout: count(given.max_expansion),
        forwarding_addresses: count(given.max_forwarding_addresses),
        default_domain,
        postmaster,
        default_quota: Some(config.mailstore.default_quota.get()).filter(|&quota| quota > 0),
        lookup_cache_entries: count(given.lookup_cache_entries),
        lookup_cache_ttl: given.lookup_cache_ttl.get(),
        credential_cache_entries: count(given.credential_cache_entries),
        credential_cache_ttl: given.credential_cache_ttl.get(),
        failed_login_delay: given.failed_login_delay.get(),
        argon2: ekitei_directory::Argon2Cost {
            memory_kib: u32::try_from(hashing.memory.get() / 1024).unwrap_or(u32::MAX),
            passes: hashing.iterations,
            lanes: hashing.parallelism,
        },
        verify_concurrency: match hashing.concurrency {
            0 => defaults.verify_concurrency,
            some => count(some),
        },
        verify_queue: count(hashing.max_waiting),
        password_min_length: count(given.password_min_length),
        app_passwords_per_account: count(given.max_app_passwords),
    })
}

/// What the mailstore is told.
pub fn mailstore(config: &Config) -> ekitei_mailstore::Settings {
    let given = &config.mailstore;
    ekitei_mailstore::Settings {
        max_mailboxes: count(given.max_mailboxes),
        max_mailbox_depth: count(given.max_mailbox_depth),
        max_keywords: count(given.max_keywords),
        delivery_batch: count(given.delivery_batch.max_messages),
        delivery_batch_size: given.delivery_batch.max_bytes.as_usize(),
        change_log_length: count(given.change_log_length),
        max_search_bodies: count(config.imap.search.max_bodies),
        record_cache_size: given.record_cache_size.get(),
        max_watches: count(given.max_watches),
        watch_poll_interval: given.watch_poll_interval.get(),
        ..ekitei_mailstore::Settings::default()
    }
}

/// What the body store is told.
pub fn blobs(config: &Config) -> ekitei_blob::Settings {
    let given = &config.blobs;
    ekitei_blob::Settings {
        hot_limit: given.inline_limit.as_usize(),
        compression_level: given.compression_level,
        grace: given.grace_period.get(),
        cache_size: given.cache_size.get(),
        packing: super::bodies::packing(given),
        ..ekitei_blob::Settings::default()
    }
}

/// The filter of the log, in the notation of `tracing`.
pub fn log_filter(config: &Config) -> String {
    let level = config.log.level.name();
    match config.log.filter.trim() {
        "" => level.to_owned(),
        parts => format!("{level},{parts}"),
    }
}

/// How log lines are written.
pub fn log_format(config: &Config) -> ekitei_telemetry::LogFormat {
    match config.log.format {
        ekitei_config::LogFormat::Text => ekitei_telemetry::LogFormat::Text,
        ekitei_config::LogFormat::Json => ekitei_telemetry::LogFormat::Json,
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
