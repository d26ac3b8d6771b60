//! Records and inventories, as statuses have them.

use ekitei_operator_api::{InventoryEntry, RecordState as ApiState, RecordStatus};
use ekitei_operator_dns::inventory::EntryText;
use ekitei_operator_dns::{Inventory, RecordState, State, Value};

use crate::error::{Error, Result};

/// The records for a status.
pub fn statuses(records: &[RecordState]) -> Vec<RecordStatus> {
    let status = |record: &RecordState| RecordStatus {
        name: record.desired.set.name.to_string(),
        type_: record.desired.set.record_type.to_string(),
        values: record.desired.set.values.iter().map(Value::to_string).collect(),
        state: api_state(&record.state),
        message: Some(record.message.clone()).filter(|message| !message.is_empty()),
    };
    records.iter().map(status).collect()
}

/// A state, as the status has it.
pub fn api_state(state: &State) -> ApiState {
    match state {
        State::Pending => ApiState::Pending,
        State::Published => ApiState::Published,
        State::Verified => ApiState::Verified,
        State::Drifted => ApiState::Drifted,
        State::Conflict { .. } => ApiState::Conflict,
        State::Manual => ApiState::Manual,
        State::Failed => ApiState::Failed,
    }
}

/// An inventory, for a status.
pub fn inventory_status(inventory: &Inventory) -> Vec<InventoryEntry> {
    let entry = |text: EntryText| InventoryEntry {
        name: text.name,
        type_: text.record_type,
        values: text.values,
        family: Some(text.family).filter(|family| !family.is_empty()),
        variant: text.variant,
        ttl: text.ttl,
    };
    inventory.texts().into_iter().map(entry).collect()
}

/// The inventory of a status.
///
/// # Errors
/// `InventoryInvalid`: somebody changed the status by hand.
pub fn inventory(entries: &[InventoryEntry]) -> Result<Inventory> {
    let text = |entry: &InventoryEntry| EntryText {
        name: entry.name.clone(),
        record_type: entry.type_.clone(),
        variant: entry.variant.clone(),
        family: entry.family.clone().unwrap_or_default(),
        values: entry.values.clone(),
        ttl: entry.ttl,
    };
    Inventory::read(entries.iter().map(text)).map_err(|error| {
        Error::invalid("InventoryInvalid", format!("status.inventory was changed by hand: {error}"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_inventory_survives_the_status() {
        let entry = |family: Option<&str>, type_: &str, value: &str| InventoryEntry {
            name: "example.org".to_owned(),
            type_: type_.to_owned(),
            values: vec![value.to_owned()],
            family: family.map(str::to_owned),
            variant: None,
            ttl: 300,
        };
        let mut entries = vec![
            entry(None, "MX", "10 mx.example.net."),
            entry(Some("v=spf1"), "TXT", "\"v=spf1 -all\""),
            entry(Some("*"), "CAA", "0 issue \"ca.example\""),
        ];
        let mut read = inventory_status(&inventory(&entries).unwrap());
        entries.sort_by(|a, b| a.type_.cmp(&b.type_));
        read.sort_by(|a, b| a.type_.cmp(&b.type_));
        assert_eq!(read, entries);
    }

    #[test]
    fn an_inventory_that_cannot_be_read_is_told_and_not_taken_for_an_empty_one() {
        let entry = InventoryEntry {
            name: "example.org".to_owned(),
            type_: "NONSENSE".to_owned(),
            values: Vec::new(),
            family: None,
            variant: None,
            ttl: 0,
        };
        assert_eq!(inventory(&[entry]).unwrap_err().reason(), "InventoryInvalid");
    }
}
