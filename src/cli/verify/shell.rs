//! The words of one command as a POSIX shell splits it, with bash's `$'…'`. Nothing is expanded and
//! nothing is run: what only a shell could fill in is an error.

/// Words of one command at most.
const MAX_WORDS: usize = 4096;

/// Why a text is not one plain command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ShellError {
    #[error("a quotation mark that is not closed")]
    Unclosed,
    #[error(
        "`$` or a backquote outside single quotes: put what the shell would fill in in its place"
    )]
    Expansion,
    #[error("`{0}` outside quotes means something else to a shell: quote what it stands in")]
    Operator(char),
    #[error("an escape in $'…' that is none, or NUL, which no argument can hold")]
    Escape,
    #[error("more words than a command has")]
    TooMany,
}

/// A command's words, and whether something follows it (behind `|`, `;` or a line's end).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) words: Vec<Vec<u8>>,
    pub(super) more: bool,
}

/// Splits the first command of `text`.
///
/// # Errors
/// [`ShellError`] when it is not plain words.
pub(super) fn split(text: &[u8]) -> Result<Command, ShellError> {
    let mut reader = Reader { rest: text, words: Vec::new(), word: None };
    let ended = reader.all()?;
    reader.end_word()?;
    let more = ended && !reader.rest.trim_ascii().is_empty();
    Ok(Command { words: reader.words, more })
}

struct Reader<'t> {
    rest: &'t [u8],
    words: Vec<Vec<u8>>,
    /// The word that has begun; an empty one too, as `''` is a word.
    word: Option<Vec<u8>>,
}

impl Reader<'_> {
    /// Reads to the command's end. Whether it ends before the text does.
    fn all(&mut self) -> Result<bool, ShellError> {
        while let Some(byte) = self.next() {
            match byte {
                b' ' | b'\t' | b'\r' => self.end_word()?,
                b'\n' if self.words.is_empty() && self.word.is_none() => {}
                b'\n' | b';' | b'|' => return Ok(true),
                b'&' | b'<' | b'>' | b'(' | b')' => return Err(ShellError::Operator(byte.into())),
                b'#' if self.word.is_none() => self.skip_line(),
                b'\'' => self.single()?,
                b'"' => self.double()?,
                b'$' => self.dollar()?,
                b'`' => return Err(ShellError::Expansion),
                b'\\' => self.escaped(),
                0 => return Err(ShellError::Escape),
                other => self.put(other),
            }
        }
        Ok(false)
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// Takes the next byte if it is this one.
    fn takes(&mut self, byte: u8) -> bool {
        let here = self.rest.first() == Some(&byte);
        if here {
            self.next();
        }
        here
    }

    fn open(&mut self) -> &mut Vec<u8> {
        self.word.get_or_insert_default()
    }

    fn put(&mut self, byte: u8) {
        self.open().push(byte);
    }

    fn end_word(&mut self) -> Result<(), ShellError> {
        self.words.extend(self.word.take());
        if self.words.len() > MAX_WORDS { Err(ShellError::TooMany) } else { Ok(()) }
    }

    fn skip_line(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
        self.rest = self.rest.get(end..).unwrap_or_default();
    }

    /// Behind a backslash outside quotes: a line's end goes, with a CR that an editor has added.
    fn escaped(&mut self) {
        match self.next() {
            Some(b'\r') if self.takes(b'\n') => {}
            Some(b'\n') => {}
            Some(other) => self.put(other),
            None => self.put(b'\\'),
        }
    }

    fn single(&mut self) -> Result<(), ShellError> {
        self.open();
        loop {
            match self.next().ok_or(ShellError::Unclosed)? {
                b'\'' => return Ok(()),
                0 => return Err(ShellError::Escape),
                other => self.put(other),
            }
        }
    }

    fn double(&mut self) -> Result<(), ShellError> {
        self.open();
        loop {
            match self.next().ok_or(ShellError::Unclosed)? {
                b'"' => return Ok(()),
                b'`' => return Err(ShellError::Expansion),
                b'$' if self.expands() => return Err(ShellError::Expansion),
                b'\\' => match self.next().ok_or(ShellError::Unclosed)? {
                    b'\n' => {}
                    special @ (b'$' | b'`' | b'"' | b'\\') => self.put(special),
                    other => self.open().extend([b'\\', other]),
                },
                0 => return Err(ShellError::Escape),
                other => self.put(other),
            }
        }
    }

    /// Whether the `$` before here is more than a dollar sign.
    fn expands(&self) -> bool {
        self.rest.first().is_some_and(|b| b.is_ascii_alphanumeric() || b"_{(@*#?$!-".contains(b))
    }

    fn dollar(&mut self) -> Result<(), ShellError> {
        if self.takes(b'\'') {
            return self.ansi();
        }
        if self.takes(b'"') {
            return self.double();
        }
        if self.expands() {
            return Err(ShellError::Expansion);
        }
        self.put(b'$');
        Ok(())
    }

    /// `$'…'`, as bash has it.
    fn ansi(&mut self) -> Result<(), ShellError> {
        self.open();
        loop {
            match self.next().ok_or(ShellError::Unclosed)? {
                b'\'' => return Ok(()),
                b'\\' => self.ansi_escape()?,
                0 => return Err(ShellError::Escape),
                other => self.put(other),
            }
        }
    }

    fn ansi_escape(&mut self) -> Result<(), ShellError> {
        let byte = match self.next().ok_or(ShellError::Unclosed)? {
            b'a' => 7,
            b'b' => 8,
            b'e' | b'E' => 0x1b,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            literal @ (b'\\' | b'\'' | b'"' | b'?') => literal,
            digit @ b'0'..=b'7' => {
                let number = self.number(8, 2, u32::from(digit - b'0'));
                return self.byte(number);
            }
            b'x' => {
                let number = self.needed(2)?;
                return self.byte(number);
            }
            b'u' => {
                let number = self.needed(4)?;
                return self.unicode(number);
            }
            b'U' => {
                let number = self.needed(8)?;
                return self.unicode(number);
            }
            b'c' => self.next().ok_or(ShellError::Unclosed)? & 0x1f,
            other => {
                self.put(b'\\');
                other
            }
        };
        self.byte(byte.into())
    }

    fn needed(&mut self, most: usize) -> Result<u32, ShellError> {
        let digit = self.rest.first().is_some_and(u8::is_ascii_hexdigit);
        if digit { Ok(self.number(16, most, 0)) } else { Err(ShellError::Escape) }
    }

    fn number(&mut self, radix: u32, most: usize, mut number: u32) -> u32 {
        for _ in 0..most {
            let digit = self.rest.first().and_then(|byte| char::from(*byte).to_digit(radix));
            let Some(digit) = digit else { break };
            number = number.wrapping_mul(radix) | digit;
            self.next();
        }
        number
    }

    fn byte(&mut self, number: u32) -> Result<(), ShellError> {
        // Beyond three octal digits' 255 bash keeps the low byte.
        let byte = u8::try_from(number & 0xff).unwrap_or_default();
        if byte == 0 {
            return Err(ShellError::Escape);
        }
        self.put(byte);
        Ok(())
    }

    /// A code point in UTF-8. Half of a surrogate pair comes out as bash writes it, in three bytes:
    /// a browser that copies it so has sent something else, and so would the shell.
    fn unicode(&mut self, number: u32) -> Result<(), ShellError> {
        if number == 0 {
            return Err(ShellError::Escape);
        }
        if let Some(c) = char::from_u32(number) {
            self.open().extend(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Ok(());
        }
        if number > 0xffff {
            return Err(ShellError::Escape);
        }
        let bits = |shift: u32| u8::try_from(number >> shift & 0x3f).unwrap_or_default();
        self.open().extend([0xe0 | bits(12), 0x80 | bits(6), 0x80 | bits(0)]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        let split = split(text.as_bytes()).unwrap();
        split.words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect()
    }

    #[test]
    fn words_are_those_of_a_shell() {
        for (text, expected) in [
            ("curl a  b\tc", &["curl", "a", "b", "c"][..]),
            ("a 'b c' \"d e\" f\\ g", &["a", "b c", "d e", "f g"]),
            ("a'b'\"c\"d", &["abcd"]),
            ("'' \"\"", &["", ""]),
            (r#"'a\n"' "a\n\"\\\$'""#, &[r#"a\n""#, r#"a\n"\$'"#]),
            ("a \\\n  b \\\r\n c", &["a", "b", "c"]),
            ("\"a\\\nb\" 'a\\\nb'", &["ab", "a\\\nb"]),
            (r"$'a\n\t\'\\\x41\101\u00e9\U0001f600\q'", &["a\n\t'\\AAé😀\\q"]),
            ("a$ \"b$\" $\"c\"", &["a$", "b$", "c"]),
            ("http://x/a?b=[1]{2}*~ # not", &["http://x/a?b=[1]{2}*~"]),
            ("a#b", &["a#b"]),
        ] {
            assert_eq!(words(text), expected, "{text:?}");
        }
        assert_eq!(split(br"$'\ud83d'").unwrap().words, [[0xed, 0xa0, 0xbd]]);
    }

    #[test]
    fn what_follows_the_command_is_told_apart() {
        for (text, more) in [("a b\n", false), ("a | jq", true), ("a;", false), ("a\nb", true)] {
            let split = split(text.as_bytes()).unwrap();
            assert_eq!((split.words[0].as_slice(), split.more), (&b"a"[..], more), "{text:?}");
        }
    }

    #[test]
    fn what_only_a_shell_could_do_is_refused() {
        for (text, error) in [
            ("a 'b", ShellError::Unclosed),
            ("a \"b", ShellError::Unclosed),
            ("$'a", ShellError::Unclosed),
            ("a $KEY", ShellError::Expansion),
            ("a \"${KEY}\"", ShellError::Expansion),
            ("a `id`", ShellError::Expansion),
            ("a $(id)", ShellError::Expansion),
            ("a http://x?a=1&b=2", ShellError::Operator('&')),
            ("a > b", ShellError::Operator('>')),
            (r"$'\x'", ShellError::Escape),
            (r"$'\0'", ShellError::Escape),
            (r"$'\U00110000'", ShellError::Escape),
        ] {
            assert_eq!(split(text.as_bytes()), Err(error), "{text:?}");
        }
        let many = "a ".repeat(MAX_WORDS + 1);
        assert_eq!(split(many.as_bytes()), Err(ShellError::TooMany));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes: Vec<u8>) {
            let _ = split(&bytes);
        }

        #[test]
        fn what_is_quoted_comes_back(text in "[^\\x00]*") {
            let single = format!("'{}'", text.replace('\'', r"'\''"));
            prop_assert_eq!(words(&single), [text.clone()]);
            let ansi: String = text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
            prop_assert_eq!(words(&format!("$'{ansi}'")), [text]);
        }
    }
}
