//! The only module that knows which YAML library is in use.

use serde_json::Value;

/// Reads one YAML document as a tree of JSON values, in the order of the text. An empty document is an empty
/// mapping.
///
/// # Errors
/// The library's message, with line and column where it has them. A key that appears twice in one mapping is
/// refused, and so are keys that are not strings.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    // By way of the library's own tree, which refuses keys that appear twice; JSON's would keep the last.
    let tree: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let value = serde_json::to_value(tree).map_err(|error| error.to_string())?;
    Ok(if value.is_null() { Value::Object(serde_json::Map::new()) } else { value })
}

/// Writes a value as YAML.
///
/// # Errors
/// The library's message; values made of maps, lists and scalars have none.
pub(crate) fn write(value: &impl serde::Serialize) -> Result<String, String> {
    serde_yaml::to_string(value).map_err(|error| error.to_string())
}
