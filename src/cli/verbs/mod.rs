//! The verbs of the administrator: each asks the admin API, and prints what came back.

pub mod accounts;
pub mod aliases;
pub mod app_passwords;
pub mod backup;
pub mod bans;
pub mod bodies;
pub mod certificates;
pub mod config;
pub mod deliverability;
pub mod dkim;
pub mod doctor;
pub mod domains;
pub mod groups;
pub mod keys;
pub mod locks;
pub mod mailboxes;
pub mod nodes;
pub mod queue;
pub mod reports;
pub mod selftest;
pub mod stores;
pub mod usage;

use std::future::Future;

use ekitei_api::{ClientError, Page, PageQuery};
use ekitei_config::ByteSize;

use super::exit::{Failure, Outcome};

/// Objects asked for at once.
const PAGE: usize = 1000;

/// All objects of a listing, page by page.
pub async fn all_pages<T, F, Fut>(domain: Option<&str>, list: F) -> Outcome<Vec<T>>
where
    F: Fn(PageQuery) -> Fut,
    Fut: Future<Output = Result<Page<T>, ClientError>>,
{
    let mut query = PageQuery { after: None, limit: Some(PAGE), domain: domain.map(str::to_owned) };
    let mut items = Vec::new();
    loop {
        let page = list(query.clone()).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(items),
        }
    }
}

/// A value to set, or none. (An `Option` of an `Option` would be something else to clap.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrNone<T>(pub Option<T>);

/// Reads an address to set, or `none` to have none.
pub fn none_or_text(text: &str) -> Result<OrNone<String>, String> {
    Ok(OrNone((text != "none").then(|| text.to_owned())))
}

/// Reads a quota: a size, or `none` to have none.
pub fn none_or_size(text: &str) -> Result<OrNone<u64>, String> {
    if text == "none" {
        return Ok(OrNone(None));
    }
    text.parse::<ByteSize>().map(|size| OrNone(Some(size.get()))).map_err(|error| format!("{error}, or none"))
}

/// Refuses a change that changes nothing.
pub fn nothing_to_set<T: PartialEq + Default>(patch: &T) -> Outcome {
    if *patch == T::default() {
        return Err(Failure::usage("say what to set; --help lists it"));
    }
    Ok(())
}
