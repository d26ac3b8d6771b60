//! A gauge of things that belong to objects: it shows what is known of objects that are there, the most urgent of it where that is too much, and nothing of others.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use ekitei_telemetry::GaugeFamily;
use kube::{Resource, ResourceExt as _};

/// An object, as metrics tell it from others: by the name that it keeps until it is gone, and may have again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Object {
    /// Its kind.
    pub kind: &'static str,
    namespace: String,
    name: String,
}

impl Object {
    /// An object of this kind.
    pub fn of(kind: &'static str, object: &impl Resource) -> Self {
        Self { kind, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }

    /// The object of this kind, namespace and name.
    pub fn named(kind: &'static str, namespace: Option<&str>, name: &str) -> Self {
        Self { kind, namespace: namespace.unwrap_or_default().to_owned(), name: name.to_owned() }
    }
}

/// Label values, and the value that the gauge has with them.
type Member = (Vec<String>, i64);

/// Which values are shown where there are more than a family may have members.
#[derive(Clone, Copy, Debug)]
pub enum First {
    /// The smallest: what ends first.
    Smallest,
    /// The largest: what is oldest.
    Largest,
}

/// What is known of all objects, and which of it is shown.
#[derive(Debug, Default)]
struct Known {
    members: HashMap<Object, Vec<Member>>,
    shown: HashSet<Vec<String>>,
}

/// A gauge of things that belong to objects.
#[derive(Debug)]
pub struct PerObject {
    gauge: GaugeFamily,
    first: First,
    known: Mutex<Known>,
}

impl PerObject {
    /// Shows them by `gauge`.
    pub fn new(gauge: GaugeFamily, first: First) -> Self {
        Self { gauge, first, known: Mutex::default() }
    }

    /// What is true of an object now, in place of what was before: values by their label values.
    pub fn show<'a, const WIDTH: usize>(
        &self,
        object: &Object,
        members: impl IntoIterator<Item = ([&'a str; WIDTH], i64)>,
    ) {
        let owned = |(labels, value): ([&str; WIDTH], i64)| (labels.map(str::to_owned).to_vec(), value);
        let members: Vec<Member> = members.into_iter().map(owned).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = if members.is_empty() {
            known.members.remove(object).is_some()
        } else {
            known.members.insert(object.clone(), members.clone()) != Some(members)
        };
        if changed {
            self.render(&mut known);
        }
    }

    /// The object is gone, and what belonged to it.
    pub fn gone(&self, object: &Object) {
        self.show(object, [([""; 0], 0); 0]);
    }

    /// Nothing is known of any object.
    pub fn clear(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.members.clear();
        self.render(&mut known);
    }

    fn render(&self, known: &mut Known) {
        let mut members: Vec<&Member> = known.members.values().flatten().collect();
        members.sort_by(|(some, one), (others, other)| {
            let by_value = match self.first {
                First::Smallest => one.cmp(other),
                First::Largest => other.cmp(one),
            };
            by_value.then_with(|| some.cmp(others))
        });
        members.truncate(GaugeFamily::MAX);
        let shown: HashSet<Vec<String>> = members.iter().map(|(labels, _)| labels.clone()).collect();
        for labels in known.shown.difference(&shown) {
            self.gauge.forget(&borrowed(labels));
        }
        for (labels, value) in members {
            self.gauge.with(&borrowed(labels)).set(*value);
        }
        known.shown = shown;
    }
}

fn borrowed(labels: &[String]) -> Vec<&str> {
    labels.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use ekitei_telemetry::Registry;

    use super::*;

    fn object(name: &str) -> Object {
        Object::named("MailDomain", Some("mail"), name)
    }

    fn gauge(first: First) -> (Registry, PerObject) {
        let registry = Registry::new();
        let gauge = PerObject::new(registry.gauges("ends", "When they end.", &["name"]), first);
        (registry, gauge)
    }

    fn lines(registry: &Registry) -> Vec<String> {
        let text = registry.render();
        text.lines().filter(|line| line.starts_with("ekitei_ends{")).map(str::to_owned).collect()
    }

    #[test]
    fn what_an_object_does_not_have_any_more_is_not_shown() {
        let (registry, gauge) = gauge(First::Smallest);
        gauge.show(&object("a"), [(["one"], 1), (["two"], 2)]);
        gauge.show(&object("b"), [(["three"], 3)]);
        gauge.show(&object("a"), [(["two"], 4)]);
        assert_eq!(lines(&registry), ["ekitei_ends{name=\"three\"} 3", "ekitei_ends{name=\"two\"} 4"]);
        gauge.gone(&object("a"));
        gauge.gone(&object("nobody"));
        assert_eq!(lines(&registry), ["ekitei_ends{name=\"three\"} 3"]);
        gauge.clear();
        assert_eq!(lines(&registry), Vec::<String>::new());
    }

    #[test]
    fn of_more_than_can_be_shown_the_most_urgent_is() {
        for (first, urgent) in [(First::Smallest, -1), (First::Largest, 1_000_000)] {
            let (registry, gauge) = gauge(first);
            for number in 0..300_i64 {
                gauge.show(&object(&number.to_string()), [([number.to_string().as_str()], number)]);
            }
            gauge.show(&object("late"), [(["late"], urgent)]);
            let shown = lines(&registry);
            assert_eq!(shown.len(), GaugeFamily::MAX, "{first:?}");
            assert!(shown.contains(&format!("ekitei_ends{{name=\"late\"}} {urgent}")), "{first:?}");
            assert!(!shown.iter().any(|line| line.contains("other")), "{first:?}");
            gauge.gone(&object("late"));
            assert_eq!(lines(&registry).len(), GaugeFamily::MAX, "the next one takes its place");
        }
    }
}
