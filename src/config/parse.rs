//! From text to [`Config`].
//!
//! The tree that was read is compared with the schema of the types, so that every problem of a file is reported at
//! once, each with its path, its value and what is allowed. What passes is then put into the types.

use std::net::SocketAddr;

use serde_json::{Map, Value};

use crate::cidr::CIDR_FORM;
use crate::endpoint::ENDPOINT_FORM;
use crate::schema::{Schema, Shape};
use crate::substitute::{Environment, substitute};
use crate::units::{DURATION_FORM, SIZE_FORM};
use crate::{ByteSize, Cidr, Config, ConfigError, Duration, Endpoint, Problem, suggest, yaml};

/// What the address of a listener may look like, for error messages.
const ADDRESS_FORM: &str = "must be an address with a port, such as 0.0.0.0:25, [::]:25 or 127.0.0.1:2525";

/// Reads `text`, with `${NAME}` from `environment`.
pub(crate) fn parse(text: &str, environment: Environment<'_>) -> Result<Config, ConfigError> {
    let mut tree = yaml::read(text).map_err(ConfigError::Syntax)?;
    let root = Schema::of_config();
    let mut reader = Reader { environment, problems: Vec::new() };
    reader.visit(&root, &mut tree, &Path::default());
    if !reader.problems.is_empty() {
        return Err(ConfigError::Invalid(reader.problems));
    }
    serde_json::from_value(tree)
        .map_err(|error| ConfigError::Invalid(vec![Problem::error("", None, error.to_string())]))
}

/// A place in the tree, as it is shown: `listeners[2].address`.
#[derive(Debug, Clone, Default)]
struct Path(String);

impl Path {
    fn key(&self, name: &str) -> Self {
        Self(if self.0.is_empty() { name.to_owned() } else { format!("{}.{name}", self.0) })
    }

    fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }
}

/// Goes through a tree, replaces `${NAME}` and `file:`, and collects what is wrong.
struct Reader<'a> {
    environment: Environment<'a>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn visit(&mut self, schema: &Schema, value: &mut Value, path: &Path) {
        let substituted = match value.as_str().map(|text| substitute(text, self.environment)) {
            Some(Ok(text)) => {
                let changed = value.as_str() != Some(&text);
                *value = Value::String(text);
                changed
            }
            Some(Err(wrong)) => return self.wrong(path, None, wrong),
            None => false,
        };
        let shape = schema.shape();
        match (&shape, &*value) {
            (Shape::Optional(_), Value::Null) => {}
            (Shape::Optional(inner), _) => self.visit_as(&inner.shape(), value, path, substituted),
            _ => self.visit_as(&shape, value, path, substituted),
        }
    }

    /// `substituted`: the value is a string only because it came from the environment.
    fn visit_as(&mut self, shape: &Shape, value: &mut Value, path: &Path, substituted: bool) {
        match shape {
            Shape::Section(_) | Shape::Tagged(_) => self.visit_mapping(shape, value, path),
            Shape::List(item) => self.visit_list(item, value, path),
            Shape::OneOf(names) => self.visit_name(names, value, path),
            Shape::Boolean => self.visit_boolean(value, path, substituted),
            Shape::Integer { minimum, maximum } => {
                self.visit_integer((*minimum, *maximum), value, path, substituted);
            }
            Shape::Text(format) => self.visit_text(format, value, path),
            Shape::Optional(inner) => self.visit_as(&inner.shape(), value, path, substituted),
        }
    }

    fn visit_mapping(&mut self, shape: &Shape, value: &mut Value, path: &Path) {
        // `smtp:` with nothing under it, as when all its keys are commented out.
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        let Value::Object(mapping) = value else {
            let shown = shown(value);
            return self.wrong(path, Some(shown), "must be a section with keys".to_owned());
        };
        let section = match shape {
            Shape::Tagged(variants) => {
                let kinds: Vec<&str> = variants.iter().map(|(kind, _)| kind.as_str()).collect();
                let mut kind = mapping.get("kind").cloned().unwrap_or(Value::Null);
                self.visit(&Schema::names(&kinds), &mut kind, &path.key("kind"));
                let chosen = variants.iter().find(|(name, _)| kind.as_str() == Some(name));
                mapping.insert("kind".to_owned(), kind);
                match chosen {
                    Some((_, section)) => section,
                    None => return,
                }
            }
            Shape::Section(section) => section,
            _ => return,
        };
        let known = section.keys();
        for (key, value) in mapping.iter_mut() {
            match known.iter().find(|(name, _)| name == key) {
                Some((_, schema)) => self.visit(schema, value, &path.key(key)),
                None => self.unknown_key(path, key, known.iter().map(|(name, _)| name.as_str())),
            }
        }
        for key in section.required() {
            if !mapping.contains_key(&key) {
                self.wrong(&path.key(&key), None, "is missing and has no default".to_owned());
            }
        }
    }

    fn unknown_key<'n>(&mut self, path: &Path, key: &str, known: impl Iterator<Item = &'n str>) {
        let known: Vec<&str> = known.collect();
        let help = match suggest::nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("allowed here: {}", known.join(", ")),
        };
        self.wrong(&path.key(key), None, format!("there is no such key; {help}"));
    }

    fn visit_list(&mut self, item: &Schema, value: &mut Value, path: &Path) {
        match value {
            Value::Array(items) => {
                for (index, value) in items.iter_mut().enumerate() {
                    self.visit(item, value, &path.index(index));
                }
            }
            Value::Null => *value = Value::Array(Vec::new()),
            other => {
                let shown = shown(other);
                self.wrong(path, Some(shown), "must be a list".to_owned());
            }
        }
    }

    fn visit_name(&mut self, names: &[String], value: &mut Value, path: &Path) {
        // `minVersion: 1.2` is a number to YAML.
        if value.is_number() {
            *value = Value::String(value.to_string());
        }
        let text = value.as_str().unwrap_or_default();
        if names.iter().any(|name| name == text) {
            return;
        }
        let shown = (!value.is_null()).then(|| shown(value));
        self.wrong(path, shown, format!("must be one of {}", names.join(", ")));
    }

    fn visit_boolean(&mut self, value: &mut Value, path: &Path, substituted: bool) {
        if substituted && let Some(flag) = value.as_str().and_then(|text| text.parse::<bool>().ok()) {
            *value = flag.into();
        }
        if !value.is_boolean() {
            let shown = shown(value);
            self.wrong(path, Some(shown), "must be true or false".to_owned());
        }
    }

    fn visit_integer(&mut self, bounds: (i64, i64), value: &mut Value, path: &Path, substituted: bool) {
        if substituted && let Some(number) = value.as_str().and_then(|text| text.parse::<i64>().ok()) {
            *value = number.into();
        }
        let (minimum, maximum) = bounds;
        if !value.as_i64().is_some_and(|number| (minimum..=maximum).contains(&number)) {
            let shown = shown(value);
            self.wrong(path, Some(shown), format!("must be a whole number from {minimum} to {maximum}"));
        }
    }

    fn visit_text(&mut self, format: &str, value: &mut Value, path: &Path) {
        // `4096` and `0` mean what they say where a size or a duration is wanted.
        if matches!(format, "byte-size" | "duration") && value.is_u64() {
            *value = Value::String(value.to_string());
        }
        let allowed = match format {
            "duration" => format!("must be {DURATION_FORM}"),
            "byte-size" => format!("must be {SIZE_FORM}"),
            "cidr" => format!("must be {CIDR_FORM}"),
            "endpoint" => format!("must be {ENDPOINT_FORM}"),
            "socket-address" => ADDRESS_FORM.to_owned(),
            _ => "must be a text; put it in quotes".to_owned(),
        };
        let fits = match (format, &mut *value) {
            ("duration", Value::String(text)) => text.parse::<Duration>().is_ok(),
            ("byte-size", Value::String(text)) => text.parse::<ByteSize>().is_ok(),
            ("cidr", Value::String(text)) => text.parse::<Cidr>().is_ok(),
            ("endpoint", Value::String(text)) => text.parse::<Endpoint>().is_ok(),
            ("socket-address", Value::String(text)) => text.parse::<SocketAddr>().is_ok(),
            ("secret", Value::String(text)) => return self.read_secret(text, path),
            (_, other) => other.is_string(),
        };
        if !fits {
            let shown = (format != "secret").then(|| shown(value));
            self.wrong(path, shown, allowed);
        }
    }

    /// `file:/path` becomes what the file holds, without its last line end.
    fn read_secret(&mut self, text: &mut String, path: &Path) {
        let Some(file) = text.strip_prefix("file:") else { return };
        match std::fs::read_to_string(file) {
            Ok(mut secret) => {
                let end = secret.trim_end_matches(['\r', '\n']).len();
                secret.truncate(end);
                *text = secret;
            }
            Err(error) => {
                let shown = format!("file:{file}");
                self.wrong(path, Some(shown), format!("cannot be read: {error}"));
            }
        }
    }

    fn wrong(&mut self, path: &Path, value: Option<String>, message: String) {
        self.problems.push(Problem::error(path.0.clone(), value, message));
    }
}

/// A value for an error message, shortened.
fn shown(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::{ByteSize, Config, ConfigError, Duration, Protocol, Store, TlsVersion};

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, &|name| match name {
            "HOST" => Some("mx1.example.test".to_owned()),
            "MANY" => Some("77".to_owned()),
            "SECRET" => Some("from the environment".to_owned()),
            _ => None,
        })
    }

    /// The problems as they are printed, one a line.
    fn problems(text: &str) -> Vec<String> {
        match parse(text) {
            Err(ConfigError::Invalid(problems)) => problems.iter().map(ToString::to_string).collect(),
            other => panic!("{text:?} must be refused, but gives {other:?}"),
        }
    }

    #[test]
    fn nothing_is_the_defaults() {
        for text in ["", "---", "smtp:", "smtp: {}", "listeners:", "{}"] {
            assert_eq!(parse(text).unwrap(), Config::default(), "{text:?}");
        }
    }

    #[test]
    fn a_whole_configuration_is_read() {
        let config = parse(
            "
hostname: ${HOST}
store: { kind: foundationdb, clusterFile: /run/fdb.cluster }
tls:
  minVersion: 1.3
  certificates: [{ certificate: /tls/crt, key: /tls/key }]
listeners:
  - { protocol: smtp, address: '[::]:25', proxyProtocol: { trustedNetworks: [10.0.0.0/8] } }
  - { name: web, protocol: imaps, address: 0.0.0.0:993, maxConnections: '${MANY}' }
smtp:
  maxMessageSize: 10MiB
  maxCommandLength: 4096
  timeouts: { command: 5m }
  submission: { allowInsecureAuth: '${UNSET:-true}' }
imap: { idleKeepalive: 0 }
admin: { token: '${SECRET}' }
",
        )
        .unwrap();
        assert_eq!(config.hostname, "mx1.example.test");
        assert_eq!(
            config.store,
            Store::FoundationDb { cluster_file: "/run/fdb.cluster".into(), prefix: String::new() }
        );
        assert_eq!(config.tls.min_version, TlsVersion::Tls13);
        assert_eq!(config.listeners[0].protocol, Protocol::Smtp);
        assert_eq!(config.listeners[0].label(), "smtp");
        assert_eq!((config.listeners[1].label().as_ref(), config.listeners[1].max_connections), ("web", 77));
        assert_eq!(config.smtp.max_message_size, ByteSize::mib(10));
        assert_eq!(config.smtp.max_command_length, ByteSize::bytes(4096));
        assert_eq!(config.smtp.timeouts.data_init, Duration::minutes(2), "a sibling keeps its default");
        assert!(config.smtp.submission.allow_insecure_auth);
        assert_eq!(config.admin.token.unwrap().expose(), "from the environment");
    }

    #[test]
    fn every_problem_names_the_path_the_value_and_what_is_allowed() {
        let found = problems(
            "
hostnme: x
smtp:
  max_recipients: 5
  maxHops: many
  maxErrors: 0
  timeouts: { command: 30, colour: blue }
  trustedNetworks: [10.0.0.1/8]
imap: [1]
listeners:
  - { protocol: smpt, address: 25 }
  - { protocol: imap }
store: { kind: sqlite }
log: { level: loud }
pop3: { allowInsecureAuth: perhaps }
",
        );
        assert_eq!(
            found,
            [
                "hostnme: there is no such key; did you mean `hostname`?",
                "smtp.max_recipients: there is no such key; did you mean `maxRecipients`?",
                "smtp.maxHops: \"many\": must be a whole number from 1 to 4294967295",
                "smtp.maxErrors: 0: must be a whole number from 1 to 4294967295",
                "smtp.timeouts.command: \"30\": must be a duration such as 500ms, 30s, 5m, 4h or 5d",
                "smtp.timeouts.colour: there is no such key; allowed here: command, dataInit, dataBlock, dataEnd, store",
                "smtp.trustedNetworks[0]: \"10.0.0.1/8\": must be a network such as 10.0.0.0/8, fd00::/8 or 192.0.2.1, \
                 without host bits",
                "imap: [1]: must be a section with keys",
                "listeners[0].protocol: \"smpt\": must be one of smtp, submission, submissions, lmtp, imap, imaps, pop3, \
                 pop3s, http, https",
                "listeners[0].address: 25: must be an address with a port, such as 0.0.0.0:25, [::]:25 or \
                 127.0.0.1:2525",
                "listeners[1].address: is missing and has no default",
                "store.kind: \"sqlite\": must be one of embedded, foundationdb",
                "log.level: \"loud\": must be one of error, warn, info, debug, trace",
                "pop3.allowInsecureAuth: \"perhaps\": must be true or false",
            ]
        );
    }

    #[test]
    fn a_key_of_another_kind_of_store_is_unknown() {
        let found = problems("store: { kind: embedded, clusterFile: x }");
        assert_eq!(
            found,
            [
                "store.clusterFile: there is no such key; allowed here: kind, path, cacheSize, writeBuffer, verify"
            ]
        );
        assert_eq!(problems("store: { path: x }"), ["store.kind: must be one of embedded, foundationdb"]);
    }

    #[test]
    fn what_is_no_yaml_or_says_a_thing_twice_is_refused_with_its_place() {
        assert!(matches!(parse("smtp: [1"), Err(ConfigError::Syntax(message)) if message.contains("line 1")));
        assert!(
            matches!(parse("hostname: a.b\nhostname: c.d"), Err(ConfigError::Syntax(message)) if message.contains("hostname"))
        );
        assert!(matches!(parse("1: 2"), Err(ConfigError::Syntax(_) | ConfigError::Invalid(_))));
    }

    #[test]
    fn a_variable_that_is_not_set_is_an_error_at_its_place() {
        assert_eq!(
            problems("smtp: { banner: '${UNSET}' }"),
            ["smtp.banner: the environment has no UNSET; set it, or give a default: `${UNSET:-default}`"]
        );
    }

    #[test]
    fn a_secret_comes_from_a_file_and_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        std::fs::write(&file, "top secret of the day\n").unwrap();
        let config = parse(&format!("admin: {{ token: 'file:{}' }}", file.display())).unwrap();
        assert_eq!(config.admin.token.as_ref().unwrap().expose(), "top secret of the day");
        assert!(!format!("{config:?}").contains("top secret"));
        assert!(!config.to_yaml().contains("top secret"));
        assert!(config.to_yaml().contains("token: '[redacted]'"), "{}", config.to_yaml());
        let missing = problems("admin: { token: 'file:/nowhere/token' }");
        assert!(missing[0].starts_with("admin.token: file:/nowhere/token: cannot be read: "), "{missing:?}");
        assert_eq!(
            problems("admin: { token: [hunter2] }"),
            ["admin.token: must be a text; put it in quotes"]
        );
    }

    #[test]
    fn what_is_printed_reads_back() {
        let config = parse("hostname: mx.example.test\nsmtp: { maxHops: 9 }").unwrap();
        assert_eq!(parse(&config.to_yaml()).unwrap(), config);
    }
}
