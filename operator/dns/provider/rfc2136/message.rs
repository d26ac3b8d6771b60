//! UPDATE messages (RFC 2136 §2).

use std::collections::BTreeSet;

use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::{DNSClass, Record, RecordType as WireType};

use crate::plan::Change;
use crate::provider::{ProviderError, Result, Zone};
use crate::record::{RecordSet, Value};

/// The most octets that we put into one message; TCP takes 65,535, and a signature comes on top.
const LONGEST: usize = 60_000;

/// The records of one change: what has to be there, and what to do.
#[derive(Default)]
struct Part {
    prerequisites: Vec<Record>,
    updates: Vec<Record>,
}

/// One message for all changes; several only if they do not fit into one.
pub(super) fn updates(zone: &Zone, changes: &[Change]) -> Result<Vec<Message>> {
    let mut messages: Vec<Message> = Vec::new();
    for change in changes {
        let Part { prerequisites, updates } = part(change)?;
        let mut grown = messages.last().cloned().map_or_else(|| empty(zone), Ok)?;
        grown.answers.extend(prerequisites.iter().cloned());
        grown.authorities.extend(updates.iter().cloned());
        let length = grown.to_vec().map_err(|error| ProviderError::Rejected(error.to_string()))?.len();
        if length <= LONGEST {
            messages.pop();
            messages.push(grown);
        } else {
            let mut next = empty(zone)?;
            next.answers = prerequisites;
            next.authorities = updates;
            messages.push(next);
        }
    }
    Ok(messages)
}

/// A message that changes nothing, and succeeds if there is such a record set, with whatever values (§2.4.1).
pub(super) fn exists(zone: &Zone, set: &RecordSet) -> Result<Message> {
    let mut message = empty(zone)?;
    message.answers.push(whole(set, DNSClass::ANY)?);
    Ok(message)
}

fn empty(zone: &Zone) -> Result<Message> {
    let name = zone.name.to_wire().map_err(|error| ProviderError::Rejected(error.to_string()))?;
    let mut message = Message::query();
    message.metadata.op_code = OpCode::Update;
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name, WireType::SOA));
    Ok(message)
}

fn part(change: &Change) -> Result<Part> {
    let mut part = Part::default();
    match &change.before {
        Some(before) => part.prerequisites.extend(exactly(before)?),
        None => {
            if let Some(after) = &change.after {
                part.prerequisites.push(whole(after, DNSClass::NONE)?);
            }
        }
    }
    match (&change.before, &change.after) {
        (Some(before), None) => part.updates.push(whole(before, DNSClass::ANY)?),
        // Only what changes, unless all records get another TTL.
        (Some(before), Some(after)) if before.ttl == after.ttl => {
            let (old, new) = (&before.values, &after.values);
            part.updates.extend(records(before, old.difference(new), DNSClass::NONE, 0)?);
            part.updates.extend(records(after, new.difference(old), DNSClass::IN, ttl(after))?);
        }
        (before, Some(after)) => {
            if let Some(before) = before {
                part.updates.push(whole(before, DNSClass::ANY)?);
            }
            part.updates.extend(records(after, after.values.iter(), DNSClass::IN, ttl(after))?);
        }
        (None, None) => {}
    }
    Ok(part)
}

fn ttl(set: &RecordSet) -> u32 {
    set.ttl.unwrap_or_default()
}

/// "RRset exists, value dependent" (§2.4.2).
fn exactly(set: &RecordSet) -> Result<Vec<Record>> {
    records(set, set.values.iter(), DNSClass::IN, 0)
}

/// The record set as such, without its values: "does not exist" with class NONE (§2.4.3), "exists" (§2.4.1) and "delete" (§2.5.2) with ANY.
fn whole(set: &RecordSet, class: DNSClass) -> Result<Record> {
    let name = set.name.to_wire().map_err(|error| ProviderError::Rejected(error.to_string()))?;
    let mut record = Record::update0(name, 0, set.record_type.to_wire());
    record.dns_class = class;
    Ok(record)
}

fn records<'a>(
    set: &RecordSet,
    values: impl Iterator<Item = &'a Value>,
    class: DNSClass,
    ttl: u32,
) -> Result<Vec<Record>> {
    let values: BTreeSet<Value> = values.cloned().collect();
    let some = RecordSet { ttl: Some(ttl), values, ..set.clone() };
    let mut records = some.to_wire().map_err(|error| ProviderError::Rejected(error.to_string()))?;
    records.iter_mut().for_each(|record| record.dns_class = class);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_changes_are_one_message_unless_they_do_not_fit() {
        let zone = Zone { name: "a.test".parse().unwrap(), id: None };
        let change = |index: usize| {
            let name = format!("s{index}._domainkey.a.test").parse().unwrap();
            Change { before: None, after: RecordSet::new(name, 300, [Value::txt("x".repeat(400))]) }
        };
        let changes: Vec<Change> = (0..300).map(change).collect();
        assert_eq!(updates(&zone, &changes[..40]).unwrap().len(), 1);
        let messages = updates(&zone, &changes).unwrap();
        assert!(messages.len() > 1);
        assert!(messages.iter().all(|message| message.to_vec().unwrap().len() <= LONGEST));
        let records: usize = messages.iter().map(|message| message.authorities.len()).sum();
        assert_eq!(records, 300);
    }
}
