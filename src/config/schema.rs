//! The schema of [`Config`], as `schemars` derives it from the types, in the few shapes that occur in it.
//!
//! Reading and the reference both go by it, so what is accepted and what is documented cannot differ.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::Config;

/// One node, with the definitions that `$ref` points to.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    node: Value,
    definitions: Arc<Value>,
}

/// What a node allows.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A mapping with known keys.
    Section(Schema),
    /// A mapping whose keys depend on `kind`.
    Tagged(Vec<(String, Schema)>),
    /// The inner shape, or nothing.
    Optional(Schema),
    /// A list.
    List(Schema),
    /// One of some names.
    OneOf(Vec<String>),
    /// `true` or `false`.
    Boolean,
    /// A whole number within bounds, both included.
    Integer {
        /// The least.
        minimum: i64,
        /// The most.
        maximum: i64,
    },
    /// A text; the format says of what form, empty for any.
    Text(String),
}

impl Schema {
    /// The schema of the whole configuration.
    pub(crate) fn of_config() -> Self {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA
            .get_or_init(|| {
                let mut node = schemars::schema_for!(Config).to_value();
                let definitions = node.get_mut("$defs").map(Value::take).unwrap_or_default();
                Self { node, definitions: Arc::new(definitions) }
            })
            .clone()
    }

    /// A schema that allows these names.
    pub(crate) fn names(names: &[&str]) -> Self {
        let choices: Vec<Value> = names.iter().map(|name| json!({ "const": name })).collect();
        Self { node: json!({ "oneOf": choices }), definitions: Arc::default() }
    }

    fn at(&self, node: &Value) -> Self {
        Self { node: node.clone(), definitions: Arc::clone(&self.definitions) }
    }

    /// The node that `$ref` points to, or the node itself.
    fn target(&self) -> Cow<'_, Value> {
        let name = self.node["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/"));
        Cow::Borrowed(name.map_or(&self.node, |name| &self.definitions[name]))
    }

    /// What is written where the key stands, or else about its type.
    pub(crate) fn description(&self) -> String {
        let own = self.node["description"].as_str();
        own.or(self.target()["description"].as_str()).unwrap_or_default().replace('\n', " ")
    }

    /// What is written about the type.
    pub(crate) fn type_description(&self) -> String {
        self.target()["description"].as_str().unwrap_or_default().replace('\n', " ")
    }

    /// The default as JSON, if the key has one.
    pub(crate) fn default(&self) -> Option<&Value> {
        self.node.get("default")
    }

    /// Whether there is only one value it can have, as for the `kind` inside a variant.
    pub(crate) fn is_constant(&self) -> bool {
        self.node.get("const").is_some()
    }

    /// The keys of a section, in the order of the declaration.
    pub(crate) fn keys(&self) -> Vec<(String, Self)> {
        let target = self.target();
        let properties = target["properties"].as_object().into_iter().flatten();
        properties.map(|(name, node)| (name.clone(), self.at(node))).collect()
    }

    /// The keys of a section that must be there.
    pub(crate) fn required(&self) -> Vec<String> {
        let target = self.target();
        let names = target["required"].as_array().into_iter().flatten();
        names.filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The names of [`Shape::OneOf`] with what each means.
    pub(crate) fn choices(&self) -> Vec<(String, String)> {
        let target = self.target();
        let text = |value: &Value| value.as_str().unwrap_or_default().replace('\n', " ");
        let choices = target["oneOf"].as_array().into_iter().flatten();
        choices.map(|choice| (text(&choice["const"]), text(&choice["description"]))).collect()
    }

    /// What the node allows.
    ///
    /// # Panics
    /// For a shape that no type of the configuration has; the tests of this crate visit them all.
    pub(crate) fn shape(&self) -> Shape {
        let node = self.target();
        if let Some(choices) = node["anyOf"].as_array() {
            let inner = choices.iter().find(|choice| choice["type"] != "null").unwrap_or(&Value::Null);
            return Shape::Optional(self.at(inner));
        }
        if let Some(choices) = node["oneOf"].as_array() {
            return self.one_of(choices);
        }
        if let Some(types) = node["type"].as_array() {
            let mut inner = node.clone().into_owned();
            inner["type"] = types.iter().find(|name| **name != "null").cloned().unwrap_or_default();
            return Shape::Optional(self.at(&inner));
        }
        match node["type"].as_str() {
            Some("object") => Shape::Section(self.clone()),
            Some("array") => Shape::List(self.at(&node["items"])),
            Some("boolean") => Shape::Boolean,
            Some("integer") => Shape::Integer {
                minimum: node["minimum"].as_i64().unwrap_or(i64::from(i32::MIN)),
                maximum: node["maximum"].as_i64().unwrap_or(largest(node["format"].as_str())),
            },
            Some("string") => Shape::Text(node["format"].as_str().unwrap_or_default().to_owned()),
            _ => panic!("the configuration has a type of unknown shape: {node}"),
        }
    }

    fn one_of(&self, choices: &[Value]) -> Shape {
        let name = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if choices.iter().all(|choice| choice.get("const").is_some()) {
            return Shape::OneOf(choices.iter().map(|choice| name(&choice["const"])).collect());
        }
        let variant = |choice: &Value| (name(&choice["properties"]["kind"]["const"]), self.at(choice));
        Shape::Tagged(choices.iter().map(variant).collect())
    }
}

/// The largest number of an integer type.
fn largest(format: Option<&str>) -> i64 {
    match format {
        Some("uint32") => i64::from(u32::MAX),
        Some("uint16") => i64::from(u16::MAX),
        _ => i64::from(i32::MAX),
    }
}
