//! The pass itself, and the tape that it leaves. The tape holds offsets only; what a value is
//! shows in its first byte.
//!
//! A scalar or a member's name takes one entry, an array or object one for each of its brackets.
//! Members stand as name, value, name, value between those of their object.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use super::{MAX_DEPTH, Malformed, text};

/// Of a string's `link`: it has escapes.
const ESCAPED: u32 = 1 << 31;

/// Of an open bracket's `link`, while parsing: nothing is around it.
const NO_PARENT: u32 = u32::MAX;

/// Up to so many members of an object are compared with each other directly.
const FEW: usize = 16;

#[derive(Clone, Copy)]
struct Entry {
    /// Where the value begins; of a closing bracket, the offset behind it.
    start: u32,
    /// Of a scalar, the offset behind it, and [`ESCAPED`]; of an opening bracket, the entry of
    /// its closing one.
    link: u32,
}

/// Where every value of a valid text stands, in the order of the text.
pub(super) struct Tape(Vec<Entry>);

impl Tape {
    /// Validates `text` and finds its values.
    pub(super) fn of(text: &str) -> Result<Self, Malformed> {
        let mut parser = Parser {
            text,
            bytes: text.as_bytes(),
            at: 0,
            tape: Self(Vec::with_capacity(text.len() / 12 + 4)),
            open: NO_PARENT,
            depth: 0,
            objects: 0,
        };
        parser.document()?;
        Ok(parser.tape)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn first_byte(&self, text: &str, index: usize) -> Option<u8> {
        text.as_bytes().get(self.entry(index).start as usize).copied()
    }

    pub(super) fn span(&self, text: &str, index: usize) -> Range<u32> {
        let Entry { start, link } = self.entry(index);
        match self.first_byte(text, index) {
            Some(b'{' | b'[') => start..self.entry(link as usize).start,
            _ => start..link & !ESCAPED,
        }
    }

    pub(super) fn raw<'t>(&self, text: &'t str, index: usize) -> &'t str {
        let Range { start, end } = self.span(text, index);
        text.get(start as usize..end as usize).unwrap_or_default()
    }

    /// The content of the string at `index`.
    pub(super) fn string<'t>(&self, text: &'t str, index: usize) -> Cow<'t, str> {
        let content = self.between_quotes(text, index);
        if self.is_escaped(index) { text::unescape(content).into() } else { content.into() }
    }

    /// Whether the string at `index` has this content.
    pub(super) fn string_is(&self, text: &str, index: usize, content: &str) -> bool {
        let raw = self.between_quotes(text, index);
        if self.is_escaped(index) { text::unescape(raw) == content } else { raw == content }
    }

    /// The entries of the names of the object at `index`; the value of each is the next entry.
    pub(super) fn members(&self, text: &str, index: usize) -> impl Iterator<Item = usize> {
        self.children(text, index, 1)
    }

    /// The entries of the elements of the array at `index`.
    pub(super) fn elements(&self, text: &str, index: usize) -> impl Iterator<Item = usize> {
        self.children(text, index, 0)
    }

    /// Steps from child to child of a container; the value stands `skip` entries into each.
    fn children(&self, text: &str, index: usize, skip: usize) -> impl Iterator<Item = usize> {
        let end = self.entry(index).link as usize;
        let mut next = index + 1;
        std::iter::from_fn(move || {
            let child = next;
            next = self.behind(text, child + skip);
            (child < end).then_some(child)
        })
    }

    /// The entry after the value at `index` and all that is in it.
    fn behind(&self, text: &str, index: usize) -> usize {
        match self.first_byte(text, index) {
            Some(b'{' | b'[') => self.entry(index).link as usize + 1,
            _ => index + 1,
        }
    }

    fn between_quotes<'t>(&self, text: &'t str, index: usize) -> &'t str {
        let Entry { start, link } = self.entry(index);
        let end = (link & !ESCAPED) as usize;
        text.get(start as usize + 1..end.saturating_sub(1)).unwrap_or_default()
    }

    fn is_escaped(&self, index: usize) -> bool {
        self.entry(index).link & ESCAPED != 0
    }

    /// Past the end, an entry that leads to no text.
    fn entry(&self, index: usize) -> Entry {
        self.0.get(index).copied().unwrap_or(Entry { start: u32::MAX, link: 0 })
    }
}

/// What may come next.
enum Next {
    Value,
    /// A member, or the end of an object.
    FirstMember,
    Member,
    /// An element, or the end of an array.
    FirstElement,
    /// A comma, or the end of what is open.
    Separator,
    /// Nothing.
    End,
}

struct Parser<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    tape: Tape,
    /// The entry of the innermost open bracket. Until it is closed, its `link` is the one around.
    open: u32,
    depth: u32,
    /// One bit for each open bracket, the innermost lowest: whether it is an object's.
    objects: u128,
}

impl<'t> Parser<'t> {
    fn document(&mut self) -> Result<(), Malformed> {
        self.skip_whitespace();
        if self.peek().is_none() {
            return Err(Malformed::Empty);
        }
        let mut next = Next::Value;
        loop {
            next = match next {
                Next::Value => self.value()?,
                Next::FirstMember if self.peek() == Some(b'}') => self.close()?,
                Next::FirstElement if self.peek() == Some(b']') => self.close()?,
                Next::FirstMember | Next::Member => self.name()?,
                Next::FirstElement => self.value()?,
                Next::Separator => self.separator()?,
                Next::End if self.peek().is_none() => return Ok(()),
                Next::End => return Err(Malformed::TrailingData),
            };
            self.skip_whitespace();
        }
    }

    fn value(&mut self) -> Result<Next, Malformed> {
        let start = self.at;
        let mut flags = 0;
        match self.peek() {
            Some(b'{') => return self.open(true, Next::FirstMember),
            Some(b'[') => return self.open(false, Next::FirstElement),
            Some(b'"') => flags = self.string()?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            _ => return Err(self.unexpected()),
        }
        self.push(start, self.at as u32 | flags);
        Ok(self.after_value())
    }

    fn name(&mut self) -> Result<Next, Malformed> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let flags = self.string()?;
        self.push(start, self.at as u32 | flags);
        self.skip_whitespace();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(Next::Value)
    }

    fn separator(&mut self) -> Result<Next, Malformed> {
        let in_object = self.objects & 1 == 1;
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(if in_object { Next::Member } else { Next::Value })
            }
            Some(b'}') if in_object => self.close(),
            Some(b']') if !in_object => self.close(),
            _ => Err(self.unexpected()),
        }
    }

    fn open(&mut self, object: bool, next: Next) -> Result<Next, Malformed> {
        if self.depth == MAX_DEPTH {
            return Err(Malformed::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        let parent = std::mem::replace(&mut self.open, self.tape.0.len() as u32);
        self.push(self.at, parent);
        self.at += 1;
        Ok(next)
    }

    fn close(&mut self) -> Result<Next, Malformed> {
        self.at += 1;
        let opened = self.open as usize;
        let closing = self.tape.0.len() as u32;
        self.push(self.at, self.open);
        if let Some(entry) = self.tape.0.get_mut(opened) {
            self.open = std::mem::replace(&mut entry.link, closing);
        }
        if self.objects & 1 == 1 {
            self.check_names(opened)?;
        }
        self.objects >>= 1;
        self.depth -= 1;
        Ok(self.after_value())
    }

    fn after_value(&self) -> Next {
        if self.depth == 0 { Next::End } else { Next::Separator }
    }

    /// Refuses an object that has two members of one name.
    fn check_names(&self, object: usize) -> Result<(), Malformed> {
        let mut few = [""; FEW];
        let mut free = few.iter_mut();
        let mut seen = 0;
        for name in self.tape.members(self.text, object) {
            let Some(slot) = free.next().filter(|_| !self.tape.is_escaped(name)) else {
                return self.check_many_names(object);
            };
            *slot = self.tape.between_quotes(self.text, name);
            seen += 1;
        }
        let names = few.get(..seen).unwrap_or_default();
        let repeated =
            names.iter().enumerate().any(|(i, name)| names.iter().take(i).any(|n| n == name));
        if repeated { Err(Malformed::RepeatedMember) } else { Ok(()) }
    }

    /// The same by hashing, with keys of its own each time, so that no sender can prepare names
    /// that collide.
    fn check_many_names(&self, object: usize) -> Result<(), Malformed> {
        let mut seen = HashSet::new();
        for name in self.tape.members(self.text, object) {
            if !seen.insert(self.tape.string(self.text, name)) {
                return Err(Malformed::RepeatedMember);
            }
        }
        Ok(())
    }

    /// Reads a string from its opening quote on. [`ESCAPED`] if it has escapes, 0 if not.
    fn string(&mut self) -> Result<u32, Malformed> {
        self.at += 1;
        let mut flags = 0;
        loop {
            self.at = text::end_of_plain(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(Malformed::ControlCharacter),
                None => return Err(Malformed::Truncated),
            }
            flags = ESCAPED;
        }
        self.at += 1;
        Ok(flags)
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => return self.unicode_escape(),
            Some(_) => return Err(Malformed::InvalidEscape),
            None => return Err(Malformed::Truncated),
        }
        Ok(())
    }

    /// Reads `uXXXX`, and for the first half of a surrogate pair its second.
    fn unicode_escape(&mut self) -> Result<(), Malformed> {
        match self.code_unit()? {
            0xdc00..=0xdfff => Err(Malformed::LoneSurrogate),
            0xd800..=0xdbff => {
                let escaped = self.bytes.get(self.at..self.at + 2) == Some(b"\\u");
                self.at += 1;
                match escaped.then(|| self.code_unit()).transpose()? {
                    Some(0xdc00..=0xdfff) => Ok(()),
                    _ => Err(Malformed::LoneSurrogate),
                }
            }
            _ => Ok(()),
        }
    }

    fn code_unit(&mut self) -> Result<u16, Malformed> {
        let digits = self.bytes.get(self.at + 1..self.at + 5).ok_or(Malformed::Truncated)?;
        self.at += 5;
        text::code_unit(digits).ok_or(Malformed::InvalidEscape)
    }

    fn number(&mut self) -> Result<(), Malformed> {
        self.skip(|b| b == b'-', 1);
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.skip(|b| matches!(b, b'+' | b'-'), 1);
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Malformed> {
        let from = self.at;
        self.skip(|b| b.is_ascii_digit(), usize::MAX);
        if self.at == from { Err(Malformed::InvalidNumber) } else { Ok(()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            let cut = word.starts_with(rest);
            return Err(if cut { Malformed::Truncated } else { Malformed::UnexpectedByte });
        }
        self.at += word.len();
        Ok(())
    }

    fn skip_whitespace(&mut self) {
        self.skip(|b| matches!(b, b' ' | b'\n' | b'\r' | b'\t'), usize::MAX);
    }

    fn skip(&mut self, skipped: impl Fn(u8) -> bool, most: usize) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest.iter().take(most).take_while(|b| skipped(**b)).count();
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn unexpected(&self) -> Malformed {
        if self.at < self.bytes.len() { Malformed::UnexpectedByte } else { Malformed::Truncated }
    }

    fn push(&mut self, start: usize, link: u32) {
        self.tape.0.push(Entry { start: start as u32, link });
    }
}
