//! Writing a header field that is a list of tags (RFC 6376 §3.2), folded.

/// The column where a line is folded (RFC 5322 §2.1.1).
const COLUMN: usize = 76;

/// A field under construction. Its last tag is `b=`, empty until it is signed.
pub(crate) struct TagField {
    text: String,
    column: usize,
}

impl TagField {
    /// Begins a field.
    pub(crate) fn new(name: &str) -> Self {
        Self { text: format!("{name}:"), column: name.len() + 1 }
    }

    /// Adds a tag whose value is short.
    pub(crate) fn tag(&mut self, name: &str, value: impl std::fmt::Display) {
        self.word(&format!("{name}={value};"), " ");
    }

    /// Adds `h=`, which may be folded between names.
    pub(crate) fn names(&mut self, names: &[String]) {
        let last = names.len().saturating_sub(1);
        for (index, name) in names.iter().enumerate() {
            let (before, after) = (if index == 0 { "h=" } else { "" }, if index == last { ";" } else { ":" });
            self.word(&format!("{before}{name}{after}"), if index == 0 { " " } else { "" });
        }
    }

    /// Appends a word, on a new line if this one is full; otherwise after `gap`.
    fn word(&mut self, word: &str, gap: &str) {
        if self.column + gap.len() + word.len() > COLUMN {
            self.text.push_str("\r\n\t");
            self.column = 8;
        } else {
            self.text.push_str(gap);
            self.column += gap.len();
        }
        self.text.push_str(word);
        self.column += word.len();
    }

    /// Ends the tags with an empty `b=`: what is signed.
    pub(crate) fn unsigned(mut self) -> Unsigned {
        self.word("b=", " ");
        Unsigned(self)
    }
}

/// A field that lacks only the signature.
pub(crate) struct Unsigned(TagField);

impl Unsigned {
    /// The field so far, to be put in its canonical form.
    pub(crate) fn text(&self) -> &str {
        &self.0.text
    }

    /// The whole field with its line end.
    pub(crate) fn signed(self, signature: &str) -> String {
        let Self(TagField { mut text, mut column }) = self;
        for character in signature.chars() {
            if column >= COLUMN {
                text.push_str("\r\n\t");
                column = 8;
            }
            text.push(character);
            column += 1;
        }
        text.push_str("\r\n");
        text
    }
}
