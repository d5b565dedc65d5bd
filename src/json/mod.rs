//! I-JSON (RFC 7493 on top of RFC 8259): one strict pass over the bytes that validates everything
//! and writes down where the values stand, so that JSON Pointers (RFC 6901) are looked up
//! afterwards without another parse. Never changes, copies or re-serializes what it reads.
//!
//! Refused beyond RFC 8259: repeated member names, lone surrogates, invalid UTF-8, a byte order
//! mark, nesting beyond [`MAX_DEPTH`]. Numbers are checked against the grammar and kept as text,
//! whatever their size. Noncharacters such as U+FFFF are let through: RFC 7493 forbids them, but
//! nothing that reads the body afterwards is misled by one, and an event is worth more.

mod parse;
mod text;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use parse::Tape;
pub(crate) use text::{escape_if, write_string};

/// How deep arrays and objects may stand in one another.
pub const MAX_DEPTH: u32 = 128;

/// Longest text that is read, in bytes: places are kept in 31 bits.
pub const MAX_LEN: usize = (1 << 31) - 1;

/// Why a text is not I-JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// There is nothing, or nothing but whitespace.
    Empty,
    /// Longer than [`MAX_LEN`].
    TooLong,
    /// Not UTF-8.
    InvalidUtf8,
    /// It begins with U+FEFF.
    ByteOrderMark,
    /// It ends before the value does.
    Truncated,
    /// A byte that cannot stand where it does.
    UnexpectedByte,
    /// A number that is not of the grammar of RFC 8259 section 6.
    InvalidNumber,
    /// A control character in a string that is not escaped.
    ControlCharacter,
    /// A backslash that does not begin an escape.
    InvalidEscape,
    /// Half of a surrogate pair.
    LoneSurrogate,
    /// Two members of one object have the same name.
    RepeatedMember,
    /// Nested beyond [`MAX_DEPTH`].
    TooDeep,
    /// Something follows the value.
    TrailingData,
}

impl Malformed {
    /// The reason as fixed text, with nothing of the document in it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty body",
            Self::TooLong => "body too long for JSON",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::ByteOrderMark => "byte order mark",
            Self::Truncated => "JSON ends too early",
            Self::UnexpectedByte => "unexpected byte in JSON",
            Self::InvalidNumber => "invalid number in JSON",
            Self::ControlCharacter => "control character in a JSON string",
            Self::InvalidEscape => "invalid escape in a JSON string",
            Self::LoneSurrogate => "lone surrogate in a JSON string",
            Self::RepeatedMember => "repeated member name in a JSON object",
            Self::TooDeep => "JSON nested too deep",
            Self::TrailingData => "data after the JSON value",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Malformed {}

/// A text that is I-JSON, and where its values stand.
pub struct Document<'a> {
    text: &'a str,
    tape: Tape,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, of any size.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value in a [`Document`].
#[derive(Clone, Copy)]
pub struct Value<'d> {
    text: &'d str,
    tape: &'d Tape,
    index: usize,
}

impl<'a> Document<'a> {
    /// Validates `bytes` and finds its values. Takes time linear in the length, and at most eight
    /// bytes of memory for each value and each closing bracket, which is some five times the
    /// length at worst. Does not recurse.
    ///
    /// # Errors
    /// [`Malformed`] when it is anything but exactly one I-JSON value.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_LEN {
            return Err(Malformed::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed::InvalidUtf8)?;
        if text.starts_with('\u{feff}') {
            return Err(Malformed::ByteOrderMark);
        }
        Ok(Self { text, tape: Tape::of(text)? })
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value { text: self.text, tape: &self.tape, index: 0 }
    }

    /// The value that a JSON Pointer leads to, given as its unescaped reference tokens.
    pub fn pointer<S: AsRef<str>>(&self, tokens: &[S]) -> Option<Value<'_>> {
        tokens.iter().try_fold(self.root(), |value, token| value.get(token.as_ref()))
    }
}

/// Shows no content: a document is somebody's payload.
impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("len", &self.text.len()).finish_non_exhaustive()
    }
}

impl<'d> Value<'d> {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self.first_byte() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Where in the document it stands, quotes and brackets included, whitespace around it not.
    pub fn span(&self) -> Range<u32> {
        self.tape.span(self.text, self.index)
    }

    /// Its text as it was sent.
    pub fn raw(&self) -> &'d str {
        self.tape.raw(self.text, self.index)
    }

    /// A string's content, unescaped. `None`: it is not a string.
    pub fn as_str(&self) -> Option<Cow<'d, str>> {
        (self.first_byte() == Some(b'"')).then(|| self.tape.string(self.text, self.index))
    }

    /// The member with this name, or the element with this index (RFC 6901 section 4: `0`, or
    /// digits that do not begin with one).
    pub fn get(&self, token: &str) -> Option<Self> {
        match self.first_byte() {
            Some(b'{') => self.member(token),
            Some(b'[') => self.element(token),
            _ => None,
        }
    }

    /// Appends its compact form: no whitespace outside strings, strings as RFC 8785 section
    /// 3.2.2.2 writes them, numbers and the order of members as they were sent.
    pub fn write_compact(&self, out: &mut String) {
        text::write_compact(self.raw(), out);
    }

    fn first_byte(&self) -> Option<u8> {
        self.tape.first_byte(self.text, self.index)
    }

    fn at(&self, index: usize) -> Self {
        Self { index, ..*self }
    }

    fn member(&self, name: &str) -> Option<Self> {
        let mut members = self.tape.members(self.text, self.index);
        members.find(|key| self.tape.string_is(self.text, *key, name)).map(|key| self.at(key + 1))
    }

    fn element(&self, token: &str) -> Option<Self> {
        let canonical = token == "0" || !token.starts_with('0');
        if !canonical || !token.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let wanted = token.parse().ok()?;
        self.tape.elements(self.text, self.index).nth(wanted).map(|index| self.at(index))
    }
}

/// Shows no content: a value is a piece of somebody's payload.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value").field("kind", &self.kind()).field("span", &self.span()).finish()
    }
}

#[cfg(test)]
mod tests;
