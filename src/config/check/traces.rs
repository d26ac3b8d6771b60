//! The rules of `traces`.

use super::Checks;
use crate::Config;

impl Checks {
    pub(super) fn traces(&mut self, config: &Config) {
        let traces = &config.traces;
        let host = ["http://", "https://"].iter().find_map(|scheme| traces.endpoint.strip_prefix(scheme));
        if !traces.endpoint.is_empty() && host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
            self.error("traces.endpoint", &traces.endpoint, "must be a URL such as http://collector:4318");
        }
        self.not_zero("traces.timeout", traces.timeout);
        if traces.service_name.is_empty() {
            self.error("traces.serviceName", "", "must not be empty");
        }
        for (index, header) in traces.headers.iter().enumerate() {
            let is_token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
            if header.name.is_empty() || !header.name.bytes().all(is_token) {
                let path = format!("traces.headers[{index}].name");
                self.error(path, &header.name, "must be the name of a field, such as Authorization");
            }
            // The value is not shown: it may be a secret.
            let value = header.value.as_ref().map(|value| value.expose());
            if !value.is_some_and(|value| value.bytes().all(|c| (b' '..=b'~').contains(&c))) {
                let path = format!("traces.headers[{index}].value");
                self.error(path, "", "must be given, in printable ASCII");
            }
        }
        for (index, attribute) in traces.attributes.iter().enumerate() {
            if attribute.split_once('=').is_none_or(|(key, _)| key.trim().is_empty()) {
                self.error(format!("traces.attributes[{index}]"), attribute, "must be key=value");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, ConfigError};

    /// The paths of what is wrong.
    fn errors(traces: &str) -> Vec<String> {
        match Config::parse(&format!("traces: {{ {traces} }}"), &|_| None) {
            Err(ConfigError::Invalid(problems)) => problems.into_iter().map(|problem| problem.path).collect(),
            Err(other) => panic!("{other}"),
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn a_collector_is_a_url_with_fields_that_can_be_sent() {
        let good = "endpoint: 'https://a:4318', headers: [{ name: Authorization, value: Bearer x }], attributes: [a=b]";
        assert_eq!(errors(good), [""; 0]);
        for bad in ["collector:4318", "'http://'", "'http:///v1/traces'", "'grpc://a:4317'"] {
            assert_eq!(errors(&format!("endpoint: {bad}")), ["traces.endpoint"], "{bad}");
        }
        assert_eq!(errors("headers: [{ name: a b, value: x }]"), ["traces.headers[0].name"]);
        assert_eq!(errors("headers: [{ name: a }]"), ["traces.headers[0].value"]);
        assert_eq!(errors("headers: [{ name: a, value: é }]"), ["traces.headers[0].value"]);
        assert_eq!(errors("attributes: [a, '=b']"), ["traces.attributes[0]", "traces.attributes[1]"]);
        assert_eq!(errors("timeout: 0s"), ["traces.timeout"]);
    }
}
