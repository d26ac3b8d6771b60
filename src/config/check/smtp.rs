//! The rules of `smtp`.

use super::Checks;
use crate::{ByteSize, Config, Duration, Protocol};

impl Checks {
    pub(super) fn smtp(&mut self, config: &Config) {
        let smtp = &config.smtp;
        self.at_least("smtp.maxMessageSize", smtp.max_message_size, ByteSize::kib(64), "RFC 5321 §4.5.3.1.7");
        self.at_least(
            "smtp.maxCommandLength",
            smtp.max_command_length,
            ByteSize::bytes(512),
            "RFC 5321 §4.5.3.1.4",
        );
        self.at_least(
            "smtp.maxBodiesInFlight",
            smtp.max_bodies_in_flight,
            smtp.max_message_size,
            "one message of smtp.maxMessageSize must fit",
        );
        if smtp.max_recipients < 100 {
            self.warn(
                "smtp.maxRecipients",
                smtp.max_recipients,
                "is less than the 100 of RFC 5321 §4.5.3.1.8",
            );
        }
        let least = crate::SmtpTimeouts::default();
        let times = &smtp.timeouts;
        for (key, value, least) in [
            ("command", times.command, least.command),
            ("dataInit", times.data_init, least.data_init),
            ("dataBlock", times.data_block, least.data_block),
        ] {
            let path = format!("smtp.timeouts.{key}");
            self.not_zero(&path, value);
            if !value.is_zero() && value < least {
                self.warn(path, value, format!("is shorter than the {least} of RFC 5321 §4.5.3.2"));
            }
        }
        self.not_zero("smtp.timeouts.dataEnd", times.data_end);
        self.not_zero("smtp.timeouts.store", times.store);
        if times.store > Duration::minutes(10) {
            self.warn(
                "smtp.timeouts.store",
                times.store,
                "is longer than clients wait (10m, RFC 5321 §4.5.3.2.6), who then send the message again",
            );
        }
        if smtp.tarpit_delay > smtp.max_tarpit_delay {
            self.error("smtp.tarpitDelay", smtp.tarpit_delay, "must be at most smtp.maxTarpitDelay");
        }
        if smtp.submission.allow_insecure_auth {
            self.warn("smtp.submission.allowInsecureAuth", true, "passwords cross the network in the clear");
        }
        if smtp.banner.chars().any(char::is_control) {
            self.error("smtp.banner", format!("{:?}", smtp.banner), "must be one line");
        }
    }

    /// Relaying for a trusted network must not become relaying for everyone.
    pub(super) fn trusted_networks(&mut self, config: &Config) {
        for (index, network) in config.smtp.trusted_networks.iter().enumerate() {
            let path = format!("smtp.trustedNetworks[{index}]");
            if network.is_everything() {
                self.error(path, network, "is the whole Internet: that is an open relay");
                continue;
            }
            let balancer = config.listeners.iter().enumerate().find(|(_, listener)| {
                let balancers = listener.proxy_protocol.iter().flat_map(|proxy| &proxy.trusted_networks);
                matches!(listener.protocol, Protocol::Smtp | Protocol::Submission | Protocol::Submissions)
                    && balancers.into_iter().any(|balancer| balancer.overlaps(network))
            });
            if let Some((listener, _)) = balancer {
                self.error(
                    path,
                    network,
                    format!(
                        "overlaps listeners[{listener}].proxyProtocol.trustedNetworks: whoever comes through that load balancer could relay"
                    ),
                );
            }
        }
    }
}
