//! A chunked body's framing, byte by byte (RFC 9112, section 7.1). Chunk data is skipped, and
//! nothing is kept.

use super::Defect;
use super::syntax::{is_blank, is_token_byte, is_value_byte};

/// Hexadecimal digits of a chunk's size: 64 bits.
const MAX_DIGITS: u8 = 16;

/// Bytes of one chunk's extensions, and of all in a body. Nobody uses them.
const MAX_LINE: u16 = 1 << 10;
const MAX_EXTENSIONS: u16 = 8 << 10;

/// Bytes of a trailer section. Providers send none.
const MAX_TRAILERS: u16 = 8 << 10;

/// Follows one body.
#[derive(Debug)]
pub(super) struct Chunked {
    place: Place,
    size: u64,
    digits: u8,
    line: u16,
    extensions: u16,
    trailers: u16,
    fields: usize,
    max_fields: usize,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum Place {
    Size,
    Extension(Extension),
    /// The LF of a size line.
    SizeEnd,
    /// Data of which `size` bytes are to come.
    Data,
    DataCr,
    DataLf,
    Trailer(Trailer),
}

#[derive(Clone, Copy, Debug)]
enum Extension {
    /// Whitespace, which a semicolon must follow.
    Gap,
    /// Behind a semicolon.
    BeforeName,
    Name,
    /// Whitespace behind a name, which a semicolon or an equals sign must follow.
    AfterName,
    /// Behind an equals sign.
    BeforeValue,
    Token,
    Quoted,
    /// Behind a backslash.
    Escaped,
    /// Behind a closing quotation mark.
    Closed,
}

#[derive(Clone, Copy, Debug)]
enum Trailer {
    /// At the beginning of a line.
    Line,
    Name,
    Value,
    /// The LF of a field line.
    LineEnd,
    /// The LF of the body's last line.
    End,
}

impl Chunked {
    pub(super) fn new(max_fields: usize) -> Self {
        Self {
            place: Place::Size,
            size: 0,
            digits: 0,
            line: 0,
            extensions: 0,
            trailers: 0,
            fields: 0,
            max_fields,
        }
    }

    /// How many of the bytes belong to the body, and whether it ends with them; or how many come
    /// before the first that is wrong.
    pub(super) fn take(&mut self, bytes: &[u8]) -> (usize, Result<bool, Defect>) {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if matches!(self.place, Place::Data) {
                at += self.skip(bytes.len() - at);
                continue;
            }
            match self.step(*byte) {
                Ok(Some(place)) => self.place = place,
                Ok(None) => return (at + 1, Ok(true)),
                Err(defect) => return (at, Err(defect)),
            }
            at += 1;
        }
        (at, Ok(false))
    }

    /// Skips at most so many bytes of data.
    fn skip(&mut self, most: usize) -> usize {
        let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(most);
        self.size -= u64::try_from(here).unwrap_or(self.size);
        if self.size == 0 {
            self.place = Place::DataCr;
        }
        here
    }

    /// Where a byte leads; `None`: it is the body's last.
    fn step(&mut self, byte: u8) -> Result<Option<Place>, Defect> {
        let place = match (self.place, byte) {
            (Place::Size, _) => self.size(byte)?,
            (Place::Extension(extension), _) => self.extension(extension, byte)?,
            (Place::SizeEnd, b'\n') => self.size_end(),
            (Place::SizeEnd, _) => return Err(Defect::ChunkSize),
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::Data | Place::DataCr | Place::DataLf, _) => return Err(Defect::ChunkEnd),
            (Place::Trailer(Trailer::End), b'\n') => return Ok(None),
            (Place::Trailer(trailer), _) => Place::Trailer(self.trailer(trailer, byte)?),
        };
        Ok(Some(place))
    }

    fn size(&mut self, byte: u8) -> Result<Place, Defect> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            self.digits += 1;
            if self.digits > MAX_DIGITS {
                return Err(Defect::ChunkSize);
            }
            self.size = self.size << 4 | u64::from(digit);
            return Ok(Place::Size);
        }
        if self.digits == 0 {
            return Err(Defect::ChunkSize);
        }
        match byte {
            b'\r' => Ok(Place::SizeEnd),
            b';' => self.extension(Extension::Gap, byte),
            // Whitespace is wrong here, but must be taken before an extension, and only there.
            _ if is_blank(byte) => self.extension(Extension::Gap, byte),
            _ => Err(Defect::ChunkSize),
        }
    }

    fn size_end(&mut self) -> Place {
        (self.digits, self.line) = (0, 0);
        if self.size == 0 { Place::Trailer(Trailer::Line) } else { Place::Data }
    }

    fn extension(&mut self, place: Extension, byte: u8) -> Result<Place, Defect> {
        use Extension as E;
        if matches!((place, byte), (E::Name | E::Token | E::Closed, b'\r')) {
            return Ok(Place::SizeEnd);
        }
        self.line += 1;
        self.extensions += 1;
        if self.line > MAX_LINE || self.extensions > MAX_EXTENSIONS {
            return Err(Defect::ChunkExtension);
        }
        let next = match (place, byte) {
            (E::Gap | E::Name | E::AfterName | E::Token | E::Closed, b';') => E::BeforeName,
            (E::Name | E::AfterName, b'=') => E::BeforeValue,
            (E::BeforeValue, b'"') => E::Quoted,
            (E::Quoted, b'"') => E::Closed,
            (E::Quoted, b'\\') => E::Escaped,
            (E::Quoted | E::Escaped, _) if is_value_byte(byte) => E::Quoted,
            (E::Gap | E::Token | E::Closed, _) if is_blank(byte) => E::Gap,
            (E::Name | E::AfterName, _) if is_blank(byte) => E::AfterName,
            (E::BeforeName | E::BeforeValue, _) if is_blank(byte) => place,
            (E::BeforeName | E::Name, _) if is_token_byte(byte) => E::Name,
            (E::BeforeValue | E::Token, _) if is_token_byte(byte) => E::Token,
            _ => return Err(Defect::ChunkExtension),
        };
        Ok(Place::Extension(next))
    }

    fn trailer(&mut self, place: Trailer, byte: u8) -> Result<Trailer, Defect> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            return Err(Defect::LongTrailers);
        }
        match (place, byte) {
            (Trailer::Line, b'\r') => Ok(Trailer::End),
            (Trailer::Line, _) if is_token_byte(byte) => {
                self.fields += 1;
                let many = self.fields > self.max_fields;
                if many { Err(Defect::LongTrailers) } else { Ok(Trailer::Name) }
            }
            (Trailer::Name, b':') => Ok(Trailer::Value),
            (Trailer::Name, _) if is_token_byte(byte) => Ok(Trailer::Name),
            (Trailer::Value, b'\r') => Ok(Trailer::LineEnd),
            (Trailer::Value, _) if is_value_byte(byte) => Ok(Trailer::Value),
            (Trailer::LineEnd, b'\n') => Ok(Trailer::Line),
            _ => Err(Defect::Trailer),
        }
    }
}
