//! Record sets as Route 53 has them: values in presentation format, but with escapes in octal.

use std::fmt::Write;

use aws_sdk_route53::error::BuildError;
use aws_sdk_route53::types::{
    GeoLocation, ResourceRecord, ResourceRecordSet, ResourceRecordSetRegion, RrType,
};

use crate::name::Name;
use crate::record::{RecordSet, RecordType, Routing, Value, Variant};

/// A name as Route 53 writes it: `\052.example.org.`
pub(super) fn name(text: &str) -> Option<Name> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(if octet == b'\\' { octal(&mut rest)? } else { octet });
    }
    String::from_utf8(octets).ok()?.parse().ok()
}

fn octal(octets: &mut impl Iterator<Item = u8>) -> Option<u8> {
    let digits = [octets.next()?, octets.next()?, octets.next()?];
    u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 8).ok()
}

/// Reads a set.
///
/// # Errors
/// It is of a kind that we do not touch, since we could not write it again as it is.
pub(super) fn read(set: &ResourceRecordSet) -> Result<RecordSet, String> {
    let at = format!("{} {}", set.name(), set.r#type().as_str());
    let special = [
        (set.alias_target().is_some(), "an alias of a resource of Amazon's"),
        (set.health_check_id().is_some(), "tied to a health check"),
        (set.weight().is_some(), "weighted"),
        (set.failover().is_some(), "a failover set"),
        (set.multi_value_answer().is_some(), "a multivalue set"),
        (set.cidr_routing_config().is_some(), "routed by CIDR"),
        (set.geo_proximity_location().is_some(), "routed by proximity"),
        (set.traffic_policy_instance_id().is_some(), "of a traffic policy"),
    ];
    if let Some((_, what)) = special.iter().find(|(is, _)| *is) {
        return Err(format!("{at} is {what} in Route 53, which is not touched"));
    }
    let record_type: RecordType =
        set.r#type().as_str().parse().map_err(|_| format!("{at} is of a type that is not known"))?;
    let owner = name(set.name()).ok_or_else(|| format!("{at} has a strange name"))?;
    let values =
        set.resource_records().iter().map(|record| Value::parse(record_type, &decimal(record.value())));
    let values = values.collect::<Result<_, _>>().map_err(|error| format!("{at}: {error}"))?;
    let ttl = set.ttl().and_then(|ttl| u32::try_from(ttl).ok());
    Ok(RecordSet { name: owner, record_type, ttl, values, variant: variant(set)? })
}

fn variant(set: &ResourceRecordSet) -> Result<Option<Variant>, String> {
    let Some(id) = set.set_identifier() else { return Ok(None) };
    let routing = match (set.region(), set.geo_location()) {
        (Some(region), _) => Routing::Latency(region.as_str().to_owned()),
        (None, Some(place)) => Routing::Place {
            continent: place.continent_code().map(str::to_owned),
            country: place.country_code().map(str::to_owned),
            subdivision: place.subdivision_code().map(str::to_owned),
        },
        (None, None) => {
            return Err(format!("the set {id} of {} is routed by nothing that is known", set.name()));
        }
    };
    Ok(Some(Variant { id: id.to_owned(), routing }))
}

/// Writes a set.
pub(super) fn write(set: &RecordSet) -> Result<ResourceRecordSet, BuildError> {
    let record = |value: &Value| ResourceRecord::builder().value(octals(&value.to_string())).build();
    let records = set.values.iter().map(record).collect::<Result<Vec<_>, _>>()?;
    let mut builder = ResourceRecordSet::builder()
        .name(set.name.absolute())
        .r#type(RrType::from(set.record_type.as_str()))
        .ttl(i64::from(set.ttl.unwrap_or_default()))
        .set_resource_records(Some(records));
    if let Some(Variant { id, routing }) = &set.variant {
        builder = builder.set_identifier(id);
        builder = match routing {
            Routing::Latency(region) => builder.region(ResourceRecordSetRegion::from(region.as_str())),
            Routing::Place { continent, country, subdivision } => builder.geo_location(
                GeoLocation::builder()
                    .set_continent_code(continent.clone())
                    .set_country_code(country.clone())
                    .set_subdivision_code(subdivision.clone())
                    .build(),
            ),
        };
    }
    builder.build()
}

/// Escapes in octal become those of zone files.
fn decimal(text: &str) -> String {
    escapes(text, 8, |octet| format!("\\{octet:03}"))
}

/// Escapes of zone files become those of Route 53.
fn octals(text: &str) -> String {
    escapes(text, 10, |octet| format!("\\{octet:03o}"))
}

fn escapes(text: &str, radix: u32, write: impl Fn(u8) -> String) -> String {
    let mut found = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        found.push_str(before);
        let number = after.get(..3).and_then(|digits| u8::from_str_radix(digits, radix).ok());
        let skipped = match (number, after.chars().next()) {
            (Some(octet), _) => {
                found.push_str(&write(octet));
                3
            }
            (None, Some(next)) => {
                let _ = write!(found, "\\{next}");
                next.len_utf8()
            }
            (None, None) => 0,
        };
        rest = after.get(skipped..).unwrap_or_default();
    }
    found.push_str(rest);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_octal_there_and_decimal_here() {
        assert_eq!(name("\\052.example.org."), "*.example.org".parse().ok());
        let value = Value::txt([b'a', 7, 200, b'"', b'\\']);
        let theirs = octals(&value.to_string());
        assert_eq!(theirs, "\"a\\007\\310\\\"\\\\\"");
        assert_eq!(Value::parse(RecordType::Txt, &decimal(&theirs)), Ok(value));
    }

    #[test]
    fn what_is_routed_comes_back_and_what_we_could_not_write_again_is_refused() {
        let routing = Routing::Place { continent: None, country: Some("JP".to_owned()), subdivision: None };
        for routing in [routing, Routing::Latency("ap-northeast-1".to_owned())] {
            let mut set =
                RecordSet::new("mail.a.test".parse().unwrap(), 60, [Value::A([192, 0, 2, 1].into())])
                    .unwrap();
            set.variant = Some(Variant { id: "tokyo".to_owned(), routing });
            assert_eq!(read(&write(&set).unwrap()), Ok(set));
        }
        let weighted =
            ResourceRecordSet::builder().name("a.test.").r#type(RrType::A).weight(1).build().unwrap();
        assert!(read(&weighted).unwrap_err().contains("weighted"));
    }
}
