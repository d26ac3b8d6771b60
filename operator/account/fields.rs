//! An account in words: what the object says and what the service has, field by field, and the changes that make the one of the other. Pure.

use std::collections::BTreeSet;

use ekitei_api::{Account, AccountPatch, Alias, Forwarding};
use ekitei_operator_api::MailAccountSpec;

use crate::account::claim::canonical;
use crate::account::drift::{Comparison, Fields};
use crate::account::quantity::{self, NotAQuantity};

/// Fields that have one value.
const DISPLAY_NAME: &str = "displayName";
const QUOTA: &str = "quota";
const FORWARDING: &str = "forwarding";
const ENABLED: &str = "enabled";
/// What the names of fields begin with that are aliases; the address follows.
const ALIAS: &str = "aliases/";
/// The password has no value that could be compared.
pub const PASSWORD: &str = "password";

/// What the object says of an account that the service calls `address`.
///
/// # Errors
/// [`NotAQuantity`].
pub fn wanted(spec: &MailAccountSpec, address: &str) -> Result<Fields, NotAQuantity> {
    let mut fields = Fields::from([(ENABLED.to_owned(), spec.enabled.to_string())]);
    if let Some(name) = spec.display_name.as_ref().filter(|name| !name.is_empty()) {
        fields.insert(DISPLAY_NAME.to_owned(), name.clone());
    }
    if let Some(quota) = &spec.quota {
        fields.insert(QUOTA.to_owned(), quantity::quantity(quantity::octets(quota)?).0);
    }
    if let Some(forwarding) = forwarding(spec) {
        fields.insert(FORWARDING.to_owned(), forwarding_text(&forwarding));
    }
    // An alias that is the account's own address is no alias.
    let aliases = spec.aliases.iter().map(|alias| canonical(alias)).filter(|alias| alias != address);
    fields.extend(aliases.map(|alias| (format!("{ALIAS}{alias}"), address.to_owned())));
    Ok(fields)
}

/// What the service has.
pub fn found(account: &Account, aliases: &[Alias]) -> Fields {
    let mut fields = Fields::from([(ENABLED.to_owned(), account.enabled.to_string())]);
    if !account.display_name.is_empty() {
        fields.insert(DISPLAY_NAME.to_owned(), account.display_name.clone());
    }
    if let Some(quota) = account.quota {
        fields.insert(QUOTA.to_owned(), quantity::quantity(quota).0);
    }
    if let Some(forwarding) = &account.forwarding {
        fields.insert(FORWARDING.to_owned(), forwarding_text(forwarding));
    }
    for alias in aliases {
        let targets: Vec<&str> = alias.targets.iter().map(String::as_str).collect();
        fields.insert(format!("{ALIAS}{}", canonical(&alias.address)), targets.join(", "));
    }
    fields
}

/// The aliases that fields are about.
pub fn aliases<'a>(fields: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
    fields.into_iter().filter_map(|field| field.strip_prefix(ALIAS)).collect()
}

/// Aliases of others that the object wants: they are there, lead elsewhere, and the operator did not make them. They are taken out of what is to be written.
pub fn foreign_aliases(comparison: &mut Comparison, applied: &Fields, found: &Fields) -> Vec<String> {
    let foreign = |field: &&String| {
        field.starts_with(ALIAS) && found.contains_key(*field) && !applied.contains_key(*field)
    };
    let fields: Vec<String> = comparison.write.iter().filter(foreign).cloned().collect();
    for field in &fields {
        comparison.write.remove(field);
        comparison.applied.remove(field);
    }
    fields.iter().filter_map(|field| field.strip_prefix(ALIAS)).map(str::to_owned).collect()
}

/// The change of an account; none if only aliases change.
///
/// # Errors
/// [`NotAQuantity`].
pub fn patch(spec: &MailAccountSpec, comparison: &Comparison) -> Result<Option<AccountPatch>, NotAQuantity> {
    let write = |field: &str| comparison.write.contains(field);
    let reset = |field: &str| comparison.reset.contains(field);
    let mut patch = AccountPatch::default();
    if write(ENABLED) {
        patch.enabled = Some(spec.enabled);
    }
    if write(DISPLAY_NAME) || reset(DISPLAY_NAME) {
        patch.display_name = Some(spec.display_name.clone().unwrap_or_default());
    }
    if write(QUOTA) || reset(QUOTA) {
        patch.quota = Some(spec.quota.as_deref().map(quantity::octets).transpose()?);
    }
    if write(FORWARDING) || reset(FORWARDING) {
        patch.forwarding = Some(forwarding(spec));
    }
    Ok(Some(patch).filter(|patch| *patch != AccountPatch::default()))
}

/// Where mail is sent on to, as the service knows it.
pub fn forwarding(spec: &MailAccountSpec) -> Option<Forwarding> {
    spec.forwarding.as_ref().map(|forwarding| Forwarding {
        addresses: forwarding.addresses.iter().map(|address| canonical(address)).collect(),
        keep_copy: forwarding.keep_copy,
    })
}

fn forwarding_text(forwarding: &Forwarding) -> String {
    let addresses: Vec<String> = forwarding.addresses.iter().map(|address| canonical(address)).collect();
    let copy = if forwarding.keep_copy { "a copy is kept" } else { "no copy is kept" };
    format!("{} ({copy})", addresses.join(", "))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::account::drift::compare;

    const ADDRESS: &str = "alice@example.org";

    fn spec(fields: serde_json::Value) -> MailAccountSpec {
        let mut spec = json!({"address": ADDRESS});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(spec).unwrap()
    }

    fn account(fields: serde_json::Value) -> Account {
        let mut account = json!({"id": 7, "address": ADDRESS, "display_name": "", "enabled": true, "quota": null,
            "has_password": true, "created": 1, "revision": "r"});
        account.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(account).unwrap()
    }

    fn alias(address: &str, targets: &[&str]) -> Alias {
        serde_json::from_value(json!({"address": address, "targets": targets, "created": 1, "revision": "r"}))
            .unwrap()
    }

    fn full() -> MailAccountSpec {
        spec(json!({"displayName": "Alice", "quota": "5Gi", "aliases": ["A.Liddell@example.org"],
            "forwarding": {"addresses": ["Alice@example.com"], "keepCopy": false}}))
    }

    #[test]
    fn the_same_is_said_in_the_same_words() {
        let has = account(json!({"display_name": "Alice", "quota": 5_u64 << 30,
            "forwarding": {"addresses": ["alice@example.com"], "keep_copy": false}}));
        let aliases = [alias("a.liddell@example.org", &[ADDRESS])];
        assert_eq!(wanted(&full(), ADDRESS).unwrap(), found(&has, &aliases));
    }

    #[test]
    fn what_is_not_said_is_not_touched() {
        let has = account(json!({"display_name": "Alice", "quota": 5}));
        let comparison =
            compare(&wanted(&spec(json!({})), ADDRESS).unwrap(), &Fields::new(), &found(&has, &[]));
        assert!(comparison.is_settled() && comparison.drift.is_empty());
        assert!(patch(&spec(json!({})), &comparison).unwrap().is_none());
    }

    #[test]
    fn what_differs_is_written_and_what_is_said_no_more_is_set_back() {
        let wants = wanted(&full(), ADDRESS).unwrap();
        let comparison = compare(&wants, &Fields::new(), &found(&account(json!({})), &[]));
        let change = patch(&full(), &comparison).unwrap().unwrap();
        assert_eq!(
            serde_json::to_value(&change).unwrap(),
            json!({"display_name": "Alice", "quota": 5_u64 << 30,
                "forwarding": {"addresses": ["alice@example.com"], "keep_copy": false}})
        );
        assert_eq!(aliases(&comparison.write), ["a.liddell@example.org"].into());

        let has = account(json!({"display_name": "Alice", "quota": 5_u64 << 30,
            "forwarding": {"addresses": ["alice@example.com"], "keep_copy": false}}));
        let now = found(&has, &[alias("a.liddell@example.org", &[ADDRESS])]);
        let less = compare(&wanted(&spec(json!({})), ADDRESS).unwrap(), &wants, &now);
        let change = patch(&spec(json!({})), &less).unwrap().unwrap();
        let expected = json!({"display_name": "", "quota": null, "forwarding": null});
        assert_eq!(serde_json::to_value(&change).unwrap(), expected);
        assert_eq!(aliases(&less.reset), ["a.liddell@example.org"].into());
    }

    #[test]
    fn aliases_of_others_are_not_taken() {
        let wants = wanted(&full(), ADDRESS).unwrap();
        let has = found(&account(json!({})), &[alias("a.liddell@example.org", &["bob@example.org"])]);
        let mut comparison = compare(&wants, &Fields::new(), &has);
        assert_eq!(
            foreign_aliases(&mut comparison, &Fields::new(), &has),
            ["a.liddell@example.org".to_owned()]
        );
        assert!(aliases(&comparison.write).is_empty() && aliases(comparison.applied.keys()).is_empty());
    }
}
