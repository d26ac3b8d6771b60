//! What a client may ask the codec to hold: every bound on a command, in one place.

/// Bounds on what one client command may contain. All sizes are in octets.
///
/// A command that breaks one of them is refused and skipped exactly; the reader never holds more than
/// [`Limits::command`] plus what the caller fed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Text of one command without its literals, line ends included.
    pub line: usize,
    /// One literal that is an argument (a mailbox name, a search string, ...).
    pub literal: usize,
    /// One literal of LOGIN or AUTHENTICATE: anyone may send these.
    pub login_literal: usize,
    /// One message literal of APPEND. These are streamed, never held by the reader.
    pub append: u64,
    /// Messages in one APPEND (RFC 3502 MULTIAPPEND).
    pub append_messages: usize,
    /// One non-synchronizing literal: 4096 where LITERAL- is announced, [`u64::MAX`] for LITERAL+ (RFC 7888).
    pub non_sync_literal: u64,
    /// Text and argument literals of one command together. Literals get what `line` leaves of it.
    pub command: usize,
    /// Argument literals in one command.
    pub literals: usize,
    /// Octets of refused non-synchronizing literals that are read and thrown away before the connection
    /// is given up.
    pub skip: u64,
    /// Depth of parentheses, NOT and OR.
    pub nesting: usize,
    /// Numbers and ranges in all sequence sets of one command.
    pub sequence_ranges: usize,
    /// Search keys in one command.
    pub search_keys: usize,
    /// A mailbox name, reference or pattern, as it is written.
    pub mailbox_name: usize,
    /// Patterns in one LIST: each is matched with each mailbox.
    pub list_patterns: usize,
    /// Items in any other list: flags, FETCH items, header names, parameters.
    pub list_items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            line: 64 * 1024,
            literal: 64 * 1024,
            login_literal: 4096,
            append: 50 * 1024 * 1024,
            append_messages: 1000,
            non_sync_literal: u64::MAX,
            command: 256 * 1024,
            literals: 256,
            skip: 256 * 1024 * 1024,
            nesting: 32,
            sequence_ranges: 10_000,
            search_keys: 256,
            mailbox_name: 1024,
            list_patterns: 32,
            list_items: 1000,
        }
    }
}
