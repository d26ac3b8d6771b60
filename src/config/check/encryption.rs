//! What is wrong or doubtful in `encryption`.

use super::Checks;
use crate::{Config, Kms};

impl Checks {
    pub(super) fn encryption(&mut self, config: &Config) {
        let encryption = &config.encryption;
        if encryption.enabled && encryption.master_key.is_none() && encryption.kms.is_none() {
            self.error(
                "encryption.enabled",
                true,
                "needs a master key: encryption.masterKey (`openssl rand -base64 32`) or encryption.kms",
            );
        }
        if let Some(kms) = &encryption.kms {
            self.kms("encryption.kms", kms);
        }
        for (index, kms) in encryption.previous_kms.iter().enumerate() {
            self.kms(&format!("encryption.previousKms[{index}]"), kms);
        }
        if encryption.cached_keys == 0 {
            self.error("encryption.cachedKeys", 0, "must be at least 1");
        }
        self.not_zero("encryption.maintenanceInterval", encryption.maintenance_interval);
    }

    fn kms(&mut self, path: &str, kms: &Kms) {
        if kms.key_id.is_empty() {
            self.error(
                format!("{path}.keyId"),
                "",
                "must name a key: its id, its ARN, or `alias/` and its alias",
            );
        }
        if let Some(keys) = &kms.credentials
            && (keys.access_key_id.is_empty() || keys.secret_access_key.is_empty())
        {
            let message = "accessKeyId and secretAccessKey go together; leave credentials out for those of the environment";
            self.error(format!("{path}.credentials"), "", message);
        }
        if kms.endpoint.as_ref().is_some_and(|endpoint| !is_http(endpoint)) {
            let endpoint = kms.endpoint.as_deref().unwrap_or_default();
            self.error(format!("{path}.endpoint"), endpoint, "must begin with `https://` or `http://`");
        }
        self.not_zero(&format!("{path}.timeout"), kms.timeout);
    }
}

fn is_http(address: &str) -> bool {
    address.starts_with("https://") || address.starts_with("http://")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::{Config, ConfigError};

    fn errors(text: &str) -> Vec<String> {
        match Config::parse(&format!("encryption: {text}"), &|_| None) {
            Err(ConfigError::Invalid(problems)) => problems.into_iter().map(|problem| problem.path).collect(),
            Err(other) => panic!("{other}"),
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn encryption_needs_a_master_key() {
        assert_eq!(errors("{ enabled: true }"), ["encryption.enabled"]);
        assert_eq!(errors("{ enabled: true, masterKey: x }"), [] as [&str; 0]);
        assert_eq!(errors("{ enabled: true, kms: { keyId: alias/mail } }"), [] as [&str; 0]);
    }

    #[test]
    fn a_key_in_kms_is_checked_wherever_it_is() {
        assert_eq!(errors("{ kms: {} }"), ["encryption.kms.keyId"]);
        assert_eq!(
            errors("{ previousKms: [{ keyId: x, credentials: { accessKeyId: a }, endpoint: kms }] }"),
            ["encryption.previousKms[0].credentials", "encryption.previousKms[0].endpoint"]
        );
    }
}
