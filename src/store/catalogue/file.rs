//! A file of rows: its header, the rows of one segment of the journal, and a footer once there will be
//! no more. A file with its footer is believed at the next start if everything fits; one without is
//! made again.

use std::io;
use std::path::{Path, PathBuf};

use super::rows::{BLOCK_ROWS, Block, Row, What};
use crate::store::disk::{AppendFile, Disk, ReadFile};
use crate::store::journal::input::Input;
use crate::store::journal::segment::SegmentHeader;

/// Bytes in front of the rows.
pub const HEADER_LEN: usize = 40;
/// Bytes behind them.
pub const FOOTER_LEN: usize = 24;
const MAGIC: &[u8; 8] = b"HWCATLOG";
const END: &[u8; 8] = b"HWCATEND";
/// Bump it when rows change their form: files of another version are made again.
const VERSION: u16 = 1;
/// Rows that wait to be written together.
const BUFFER: usize = 64 << 10;
/// A frame of the journal has at least as many bytes for every row that is made of it.
const BYTES_A_ROW: u64 = 8;

/// The file for `what` of the segment with this number.
pub fn path(dir: &Path, number: u32, what: What) -> PathBuf {
    dir.join(format!("{number:010}{}", what.extension()))
}

/// The number of the segment that the file with this name is of, if it is one of ours.
pub fn number_of(name: &str) -> Option<u32> {
    let digits = [What::Events, What::Deeds].into_iter();
    let digits = digits.filter_map(|what| name.strip_suffix(what.extension())).next()?;
    let is_ours = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_ours)
}

/// Which segment a file is of: what its header must say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The segment's number.
    pub number: u32,
    /// The journal's random number.
    pub journal: u64,
    /// CRC32C of the segment's header: another segment with the same number has another.
    pub header: u32,
    /// What the digests are made with.
    pub mark: u64,
}

impl Origin {
    /// Of the segment with this header.
    pub fn of(header: &SegmentHeader, mark: u64) -> Self {
        let SegmentHeader { number, journal, .. } = *header;
        Self { number, journal, header: crc32c::crc32c(&header.encode()), mark }
    }

    fn encode(&self, what: What) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[what as u8, 0]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.journal.to_le_bytes());
        out.extend_from_slice(&self.mark.to_le_bytes());
        out.extend_from_slice(&self.header.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out
    }
}

fn encode_footer(segment_len: u64, crc: u32) -> Vec<u8> {
    let mut out = END.to_vec();
    out.extend_from_slice(&segment_len.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c_append(crc, &out).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out
}

/// The rows that are in a file, without them.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// How many there are.
    pub rows: u64,
    /// What is known of each [`BLOCK_ROWS`] of them.
    pub blocks: Vec<Block>,
}

impl Table {
    fn add(&mut self, row: &impl Row) {
        if self.rows.is_multiple_of(BLOCK_ROWS as u64) {
            self.blocks.push(Block::EMPTY);
        }
        if let Some(block) = self.blocks.last_mut() {
            row.note(block);
        }
        self.rows += 1;
    }

    /// Reads the rows of one block into `bytes`.
    ///
    /// # Errors
    /// As the file system says, and if the file ends before.
    pub fn read<R: Row>(
        &self,
        file: &dyn ReadFile,
        block: usize,
        bytes: &mut Vec<u8>,
    ) -> io::Result<()> {
        let first = block as u64 * BLOCK_ROWS as u64;
        let rows = self.rows.saturating_sub(first).min(BLOCK_ROWS as u64);
        bytes.resize(usize::try_from(rows).unwrap_or(BLOCK_ROWS) * R::LEN, 0);
        let got = file.read_at(bytes, HEADER_LEN as u64 + first * R::LEN as u64)?;
        if got < bytes.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

/// A file that rows are added to.
#[derive(Debug)]
pub struct RowFile<R> {
    file: Box<dyn AppendFile>,
    crc: u32,
    /// Rows that are not written yet.
    waiting: Vec<R>,
    bytes: Vec<u8>,
    table: Table,
}

impl<R: Row> RowFile<R> {
    /// Begins a file, in the place of one that may be there.
    ///
    /// # Errors
    /// As the file system says.
    pub fn begin(disk: &dyn Disk, dir: &Path, origin: &Origin) -> io::Result<Self> {
        let path = path(dir, origin.number, R::WHAT);
        remove(disk, &path)?;
        let mut file = disk.create(&path)?;
        let header = origin.encode(R::WHAT);
        file.append(&header)?;
        let (crc, table) = (crc32c::crc32c(&header), Table::default());
        Ok(Self { file, crc, waiting: Vec::new(), bytes: Vec::new(), table })
    }

    /// Adds a row. It is written when there are enough, or with [`RowFile::flush`].
    pub fn add(&mut self, row: R) {
        self.waiting.push(row);
    }

    /// Whether rows should be written now.
    pub fn is_full(&self) -> bool {
        self.waiting.len() * R::LEN >= BUFFER
    }

    /// Writes what waits, and hands it over.
    ///
    /// # Errors
    /// As the file system says; the file is of no use then.
    pub fn flush(&mut self) -> io::Result<Vec<R>> {
        let rows = std::mem::take(&mut self.waiting);
        if rows.is_empty() {
            return Ok(rows);
        }
        self.bytes.clear();
        rows.iter().for_each(|row| row.put(&mut self.bytes));
        self.file.append(&self.bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &self.bytes);
        rows.iter().for_each(|row| self.table.add(row));
        Ok(rows)
    }

    /// The rows that have been written.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// There will be no more rows: the segment has ended, with so many bytes.
    ///
    /// # Errors
    /// As the file system says.
    pub fn finish(mut self, segment_len: u64) -> io::Result<Table> {
        self.flush()?;
        self.file.append(&encode_footer(segment_len, self.crc))?;
        Ok(self.table)
    }
}

/// Reads a file that should be complete, of a segment with this length. `is_sound` may refuse rows.
/// `None`: it is not there, or anything of it does not fit.
///
/// # Errors
/// As the file system says.
pub fn read<R: Row>(
    disk: &dyn Disk,
    dir: &Path,
    origin: &Origin,
    segment_len: u64,
    mut is_sound: impl FnMut(&R) -> bool,
) -> io::Result<Option<Table>> {
    let file = match disk.open(&path(dir, origin.number, R::WHAT)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let around = (HEADER_LEN + FOOTER_LEN) as u64;
    let Some(len) = file.size()?.checked_sub(around) else { return Ok(None) };
    let rows = len / R::LEN as u64;
    // More than the segment can have: not ours, and not to be read.
    if len % R::LEN as u64 != 0 || rows > segment_len / BYTES_A_ROW {
        return Ok(None);
    }
    let mut bytes = vec![0; HEADER_LEN];
    let got = file.read_at(&mut bytes, 0)?;
    if got < HEADER_LEN || bytes != origin.encode(R::WHAT) {
        return Ok(None);
    }
    let mut crc = crc32c::crc32c(&bytes);
    let all = Table { rows, blocks: Vec::new() };
    let mut table = Table::default();
    for block in 0.. {
        all.read::<R>(&*file, block, &mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        crc = crc32c::crc32c_append(crc, &bytes);
        for row in bytes.chunks_exact(R::LEN).map(R::take) {
            if !is_sound(&row) {
                return Ok(None);
            }
            table.add(&row);
        }
    }
    let mut footer = [0; FOOTER_LEN];
    let got = file.read_at(&mut footer, HEADER_LEN as u64 + len)?;
    let fits =
        got == FOOTER_LEN && table.rows == rows && footer[..] == encode_footer(segment_len, crc);
    Ok(fits.then_some(table))
}

/// What the header of the file says its digests are made with; `None` if it does not say.
pub fn mark_of(file: &dyn ReadFile) -> Option<u64> {
    let mut bytes = [0; HEADER_LEN];
    file.read_at(&mut bytes, 0).ok().filter(|got| *got == HEADER_LEN)?;
    let mut input = Input(&bytes);
    input.bytes(24)?;
    input.u64()
}

/// Removes the file if it is there.
///
/// # Errors
/// As the file system says.
pub fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::{CARRIED, Deed, DeedRow, EventRow};
    use super::*;
    use crate::store::disk::OsDisk;

    const ORIGIN: Origin = Origin { number: 7, journal: 8, header: 9, mark: 10 };
    const SEGMENT_LEN: u64 = 1 << 20;

    fn deed(n: u64) -> DeedRow {
        let deed = Some(Deed::Died);
        DeedRow { event: n, upstream: n * 3, offset: u32::try_from(n).unwrap(), deed }
    }

    fn write(dir: &Path, rows: u64) -> Vec<u8> {
        let mut file = RowFile::begin(&OsDisk, dir, &ORIGIN).unwrap();
        for n in 0..rows {
            file.add(deed(n));
            if n % 7 == 0 {
                file.flush().unwrap();
            }
        }
        file.finish(SEGMENT_LEN).unwrap();
        std::fs::read(path(dir, ORIGIN.number, What::Deeds)).unwrap()
    }

    fn look(dir: &Path, origin: &Origin, segment_len: u64) -> Option<Vec<DeedRow>> {
        let mut rows = Vec::new();
        let read = read(&OsDisk, dir, origin, segment_len, |row: &DeedRow| {
            rows.push(*row);
            true
        });
        let table = read.unwrap()?;
        assert_eq!(table.rows, rows.len() as u64);
        assert_eq!(table.blocks.len(), rows.len().div_ceil(BLOCK_ROWS));
        Some(rows)
    }

    #[test]
    fn a_file_is_believed_only_as_it_was_finished_and_of_its_own_segment() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(look(dir, &ORIGIN, SEGMENT_LEN), None, "there is none");
        for rows in [0, 1, 2500] {
            write(dir, rows);
            let wanted: Vec<DeedRow> = (0..rows).map(deed).collect();
            assert_eq!(look(dir, &ORIGIN, SEGMENT_LEN), Some(wanted));
            assert_eq!(look(dir, &ORIGIN, SEGMENT_LEN + 1), None, "the segment is another");
        }
        for other in [
            Origin { journal: 0, ..ORIGIN },
            Origin { header: 0, ..ORIGIN },
            Origin { mark: 0, ..ORIGIN },
        ] {
            assert_eq!(look(dir, &other, SEGMENT_LEN), None, "{other:?}");
        }
        let (mut begun, row) = (RowFile::begin(&OsDisk, dir, &ORIGIN).unwrap(), deed(1));
        begun.add(row);
        assert_eq!(begun.flush().unwrap(), [row]);
        assert_eq!(look(dir, &ORIGIN, SEGMENT_LEN), None, "it was not finished");
        let (table, mut bytes) = (begun.table().clone(), Vec::new());
        let file = OsDisk.open(&path(dir, ORIGIN.number, What::Deeds)).unwrap();
        table.read::<DeedRow>(&*file, 0, &mut bytes).unwrap();
        assert_eq!(DeedRow::take(&bytes), row, "its rows can be read all the same");
    }

    #[test]
    fn no_bit_can_change_and_nothing_be_cut_off_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let good = write(dir.path(), 5);
        let path = path(dir.path(), ORIGIN.number, What::Deeds);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bad).unwrap();
            assert_eq!(look(dir.path(), &ORIGIN, SEGMENT_LEN), None, "bit {bit}");
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert_eq!(look(dir.path(), &ORIGIN, SEGMENT_LEN), None, "{len} bytes");
        }
    }

    /// A file of a terabyte that takes no room on the disk must not take an hour to be refused.
    #[test]
    fn a_file_with_more_rows_than_its_segment_can_have_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 5);
        let path = path(dir.path(), ORIGIN.number, What::Deeds);
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len((HEADER_LEN + FOOTER_LEN + DeedRow::LEN * (1 << 30)) as u64).unwrap();
        let mut rows = 0;
        let read = read(&OsDisk, dir.path(), &ORIGIN, SEGMENT_LEN, |_: &DeedRow| {
            rows += 1;
            true
        });
        assert!(read.unwrap().is_none());
        assert_eq!(rows, 0);
    }

    #[test]
    fn blocks_are_known_by_what_is_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = RowFile::begin(&OsDisk, dir.path(), &ORIGIN).unwrap();
        for event in 10..1010 + BLOCK_ROWS as u64 {
            let copy = event == 1030;
            let row = EventRow {
                event: if copy { 3 } else { event },
                received_at: 5000 - event,
                kind: 0,
                recipients: 0,
                source: 0,
                subject: 0,
                id: 0,
                offset: 0,
                flags: if copy { CARRIED } else { 0 },
            };
            file.add(row);
        }
        let [first, second] = file.finish(SEGMENT_LEN).unwrap().blocks.try_into().unwrap();
        assert_eq!((first.numbers, first.times, first.flags), ((10, 1033), (3967, 4990), CARRIED));
        assert_eq!((second.numbers, second.times, second.flags), ((1034, 2033), (2967, 3966), 0));
    }

    #[test]
    fn names_of_files_are_known_again() {
        let dir = Path::new("catalogue");
        for what in [What::Events, What::Deeds] {
            let path = path(dir, 42, what);
            assert_eq!(number_of(path.file_name().unwrap().to_str().unwrap()), Some(42));
        }
        for name in ["42.events", "0000000042.journal", "000000004x.deeds", "+000000042.deeds"] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }
}
