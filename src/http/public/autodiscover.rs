//! The settings of Outlook and those that ask the same way (MS-OXDSCLI, "plain old XML").

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use bytes::Bytes;
use ekitei_api::ProblemCode;
use quick_xml::escape::escape;
use quick_xml::events::Event;

use super::address_of_ours;
use super::services::{Service, provider, services};
use crate::problem::{Refused, Result};
use crate::state::AppState;

/// The largest request; those of Outlook have some hundred octets.
const MAX_REQUEST: usize = 16 * 1024;
/// The schema of the answer. A request may ask for another (ActiveSync), which is not served.
const SCHEMA: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a";

pub(super) async fn show(State(state): State<AppState>, request: Bytes) -> Result<impl IntoResponse> {
    if request.len() > MAX_REQUEST {
        return Err(Refused::new(ProblemCode::TooLarge, "the request is larger than any such request"));
    }
    let asked = Asked::read(&request)
        .ok_or_else(|| Refused::invalid("the request is not an Autodiscover request with an EMailAddress"))?;
    if asked.schema.is_some_and(|schema| schema != SCHEMA) {
        return Err(Refused::new(ProblemCode::NotFound, "only the settings of Outlook are served"));
    }
    let (address, domain) = address_of_ours(&state, &asked.address).await?;
    let config = state.parts.live.load();
    let name = provider(&config, domain.name.as_ascii());
    let services = services(&config, domain.client_host.as_ref());
    let document = document(&address.to_wire(), &name, &services);
    Ok(([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], document))
}

/// What the request says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    address: String,
    schema: Option<String>,
}

impl Asked {
    fn read(request: &[u8]) -> Option<Self> {
        let mut reader = quick_xml::Reader::from_str(std::str::from_utf8(request).ok()?);
        let mut asked = Self::default();
        let mut element = String::new();
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => element = start.local_name().as_ref().to_owned(),
                Event::Text(text) => {
                    let text: &str = &text;
                    match element.as_str() {
                        "EMailAddress" => asked.address.push_str(text.trim()),
                        "AcceptableResponseSchema" => asked.schema = Some(text.trim().to_owned()),
                        _ => {}
                    }
                }
                Event::End(_) => element.clear(),
                Event::Eof => break,
                _ => {}
            }
        }
        (!asked.address.is_empty()).then_some(asked)
    }
}

fn document(address: &str, name: &str, services: &[Service]) -> String {
    let (address, name) = (escape(address), escape(name));
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006\">\n  \
         <Response xmlns=\"{SCHEMA}\">\n    <User><DisplayName>{name}</DisplayName></User>\n    \
         <Account>\n      <AccountType>email</AccountType>\n      <Action>settings</Action>\n"
    );
    for service in services {
        let (ssl, encryption) = if service.implicit_tls() { ("on", "SSL") } else { ("off", "TLS") };
        text.push_str(&format!(
            "      <Protocol>\n        <Type>{}</Type>\n        <Server>{}</Server>\n        <Port>{}</Port>\n        \
             <LoginName>{address}</LoginName>\n        <DomainRequired>off</DomainRequired>\n        <SPA>off</SPA>\n        \
             <SSL>{ssl}</SSL>\n        <Encryption>{encryption}</Encryption>\n        <AuthRequired>on</AuthRequired>\n      </Protocol>\n",
            service.kind().to_ascii_uppercase(),
            escape(service.host.as_str()),
            service.port,
        ));
    }
    text.push_str("    </Account>\n  </Response>\n</Autodiscover>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_what_outlook_sends() {
        let request = br#"<?xml version="1.0" encoding="utf-8"?>
            <Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
              <Request>
                <EMailAddress>a@example.test</EMailAddress>
                <AcceptableResponseSchema>http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a</AcceptableResponseSchema>
              </Request>
            </Autodiscover>"#;
        let asked = Asked::read(request);
        assert_eq!(asked, Some(Asked { address: "a@example.test".into(), schema: Some(SCHEMA.into()) }));
        for bad in [&b""[..], b"<a>", b"{}", b"<EMailAddress/>", b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>"]
        {
            assert_eq!(Asked::read(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }
}
