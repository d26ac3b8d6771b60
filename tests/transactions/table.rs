//! Budgets of transactions: what an operation may cost the store at most, asserted by the tests of several crates, and the table of them in
//! `docs/transactions.md`, which the same tests compare (`EKITEI_WRITE_DOCS=1` writes it).

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ekitei_kv::Observed;

/// What an operation may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Transactions that write.
    pub commits: u64,
    /// Rows read by key.
    pub gets: u64,
    /// Ranges read.
    pub ranges: u64,
    /// Rows that the ranges hold.
    pub rows: u64,
    /// Written, in KiB, as it counts against the limit of a transaction.
    pub kib: u64,
}

impl Budget {
    fn holds(&self, spent: &Observed) -> bool {
        spent.commits <= self.commits
            && spent.conflicts == 0
            && spent.gets <= self.gets
            && spent.ranges <= self.ranges
            && spent.rows <= self.rows
            && spent.bytes <= self.kib << 10
    }

    /// A budget that nobody comes near guards nothing.
    fn is_tight(&self, spent: &Observed) -> bool {
        let near = |budget: u64, spent: u64| budget <= spent + spent / 4 + 2;
        // Where several share a commit, one may come too late for it.
        let commits = spent.commits + u64::from(self.commits > 1);
        self.commits <= commits
            && near(self.gets, spent.gets)
            && near(self.ranges, spent.ranges)
            && near(self.rows, spent.rows)
            && self.kib << 10 <= 2 * spent.bytes + (2 << 10)
    }
}

/// One section of the page.
pub struct Table {
    section: &'static str,
    lines: String,
    wrong: Vec<String>,
}

impl Table {
    /// Of the section with this name.
    pub fn new(section: &'static str) -> Self {
        let head =
            "| operation | commits | gets | ranges | rows | KiB written |\n|---|---|---|---|---|---|\n";
        Self { section, lines: head.to_owned(), wrong: Vec::new() }
    }

    /// Holds what an operation cost against its budget.
    pub fn spent(&mut self, operation: &str, spent: Observed, budget: Budget) {
        if !budget.holds(&spent) || !budget.is_tight(&spent) {
            self.wrong.push(format!("{operation}: {spent:?}, of {budget:?}"));
        }
        let Budget { commits, gets, ranges, rows, kib } = budget;
        let line = writeln!(self.lines, "| {operation} | {commits} | {gets} | {ranges} | {rows} | {kib} |");
        line.expect("memory takes everything");
    }

    /// Fails if a budget was not kept, is too large, or is not what the page says.
    pub fn finish(self) {
        assert!(self.wrong.is_empty(), "spent more than the budget, or far less:\n{}", self.wrong.join("\n"));
        // Tests of one binary may write it at the same time.
        static PAGE: Mutex<()> = Mutex::new(());
        let _turn = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/transactions.md");
        let page = std::fs::read_to_string(&path).expect("the page of transactions");
        let (begin, end) =
            (format!("<!-- {} -->\n", self.section), format!("<!-- end of {} -->", self.section));
        let from = page.find(&begin).expect("the section begins") + begin.len();
        let to = page.find(&end).expect("the section ends");
        if page[from..to] == self.lines {
            return;
        }
        assert!(
            std::env::var_os("EKITEI_WRITE_DOCS").is_some(),
            "docs/transactions.md is not what is asserted; EKITEI_WRITE_DOCS=1 writes it"
        );
        std::fs::write(&path, [&page[..from], &self.lines, &page[to..]].concat())
            .expect("the page is written");
    }
}
