//! SEARCH and UID SEARCH (RFC 9051 §6.4.4), with RETURN (RFC 4731) and SAVE (RFC 5182).

use ekitei_mailstore::Error;

use crate::numbering::{Expunges, number};
use crate::proto::Tag;
use crate::proto::response::{Code, SearchResult};
use crate::proto::search::{Search, SearchCharset, SearchReturn};
use crate::proto::sequence::NumberSet;
use crate::reply::{Outcome, Reply, Stop};
use crate::session::Session;

mod query;

impl Session {
    pub(crate) async fn search(&mut self, tag: &Tag, search: &Search) -> Outcome {
        let returns = self.returns(search);
        let saves = returns.is_some_and(|returns| returns.save);
        match self.find(search).await {
            Ok(found) => {
                if saves {
                    self.save(&found, returns.unwrap_or_default());
                }
                self.answer_search(tag, search.uid, returns, &found).await
            }
            Err(Stop::Reply(reply)) => {
                // RFC 5182 §2.1: a search that fails with NO leaves an empty result, one with BAD leaves the old.
                if saves && reply.status == crate::proto::response::Status::No {
                    self.save_uids(NumberSet::new());
                }
                Err(reply.into())
            }
            Err(lost) => Err(lost),
        }
    }

    /// What to return: `None` for the SEARCH response of IMAP4rev1.
    fn returns(&self, search: &Search) -> Option<SearchReturn> {
        let all = SearchReturn { all: true, ..SearchReturn::default() };
        match search.returns {
            None => self.rev2.then_some(all),
            Some(returns) if returns == SearchReturn::default() => Some(all),
            returns => returns,
        }
    }

    /// The indices of the messages that match, ascending. New messages are told first, so that the client knows every number.
    async fn find(&mut self, search: &Search) -> Result<Vec<usize>, Stop> {
        if matches!(search.charset, SearchCharset::Other(_)) {
            let known = vec!["UTF-8".into(), "US-ASCII".into()];
            return Err(Reply::no(Code::BadCharset(known), "Use UTF-8").into());
        }
        // Numbers in the command are those that the client knew when it sent it (RFC 9051 §5.5): they do not change here.
        self.sync(Expunges::Withhold, search.uid).await?;
        let now = self.shared.clock.now().as_secs();
        let selected = self.selected()?;
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let query = query::query(&search.key, selected, now, self.config.imap.max_set_ranges as usize)?;
        let numbering = &selected.numbering;
        let searching = self.shared.mailstore.search(self.account()?, numbering.told(), &query);
        let limit = self.config.imap.search.timeout.get();
        let uids = match tokio::time::timeout(limit, searching).await {
            Ok(Err(Error::Limit(reason))) => return Err(Reply::no(Code::Limit, reason).into()),
            Ok(result) => result?,
            Err(_) => return Err(Reply::no(Code::Limit, "The search takes too long; ask for less").into()),
        };
        // A message that was expunged elsewhere still has its number, and is nothing to be found.
        let found = uids.into_iter().filter_map(|uid| numbering.told().position(uid));
        Ok(found.filter(|&index| numbering.is_alive(index)).collect())
    }

    async fn answer_search(
        &mut self,
        tag: &Tag,
        uid: bool,
        returns: Option<SearchReturn>,
        found: &[usize],
    ) -> Outcome {
        let numbering = &self.selected()?.numbering;
        let name = |&index: &usize| if uid { numbering.entry(index).uid.get() } else { number(index) };
        let found: NumberSet = found.iter().map(name).collect();
        let mut responses = self.wire.responses(self.encoding);
        match returns {
            None => responses.search(&found, None),
            Some(returns) if returns.min || returns.max || returns.all || returns.count => {
                responses.esearch(&SearchResult { tag, uid, returns, found: &found, mod_seq: None });
            }
            // SAVE alone: nothing to tell.
            Some(_) => {}
        }
        self.wire.drain().await?;
        Ok(Reply::ok("Searched"))
    }

    /// Keeps the result for `$`: all of it, or what MIN and MAX return if nothing else is asked for (RFC 5182 §2.4).
    fn save(&mut self, found: &[usize], returns: SearchReturn) {
        let Some(selected) = &self.selected else { return };
        let uid = |&index: &usize| selected.numbering.entry(index).uid.get();
        let ends_only = (returns.min || returns.max) && !returns.all && !returns.count;
        let saved = if ends_only {
            let min = found.first().filter(|_| returns.min);
            let max = found.last().filter(|_| returns.max);
            min.into_iter().chain(max).map(uid).collect()
        } else {
            found.iter().map(uid).collect()
        };
        self.save_uids(saved);
    }

    fn save_uids(&mut self, uids: NumberSet) {
        if let Some(selected) = &mut self.selected {
            selected.saved = uids;
        }
    }
}
