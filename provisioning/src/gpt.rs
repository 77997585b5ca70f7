//! The GUID partition table, as far as growing the last partition needs it. Pure: blocks in, blocks out.
//!
//! Format: UEFI specification 2.10, chapter 5.3.

use std::ops::Range;

/// Partitions end on a boundary of this many bytes.
const ALIGNMENT: u64 = 1024 * 1024;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_BYTES: Range<usize> = 0..92;
const ENTRY_BYTES: usize = 128;
const MAX_ENTRIES: usize = 1024;

/// Fields of the header, by their offsets.
mod at {
    pub(super) const CRC: usize = 16;
    pub(super) const MY_LBA: usize = 24;
    pub(super) const ALTERNATE_LBA: usize = 32;
    pub(super) const LAST_USABLE: usize = 48;
    pub(super) const ENTRIES_LBA: usize = 72;
    pub(super) const ENTRY_COUNT: usize = 80;
    pub(super) const ENTRY_SIZE: usize = 84;
    pub(super) const ENTRIES_CRC: usize = 88;
    pub(super) const ENTRY_FIRST: usize = 32;
    pub(super) const ENTRY_LAST: usize = 40;
}

/// One of the two copies of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    header: Vec<u8>,
    entries: Vec<u8>,
}

/// Where a header says that its entries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntriesPlace {
    pub(crate) lba: u64,
    pub(crate) bytes: usize,
}

/// The last partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its number, from 1.
    pub(crate) number: usize,
    /// First sector.
    pub(crate) first: u64,
    /// Last sector.
    pub(crate) last: u64,
}

/// Bytes to write, in this order, with a sync after each: at any cut one copy is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) lba: u64,
    pub(crate) bytes: Vec<u8>,
}

/// Reads a header's claim about its entries, if the header itself is whole and lies where it says.
pub(crate) fn entries_place(header: &[u8], lba: u64) -> Option<EntriesPlace> {
    if header.len() < HEADER_BYTES.end || !header.starts_with(SIGNATURE) || get64(header, at::MY_LBA) != lba {
        return None;
    }
    let mut checked = header[HEADER_BYTES].to_vec();
    checked[at::CRC..at::CRC + 4].fill(0);
    let (count, size) = (
        get32(header, at::ENTRY_COUNT) as usize,
        get32(header, at::ENTRY_SIZE) as usize,
    );
    let sane = size == ENTRY_BYTES && count <= MAX_ENTRIES && crc32(&checked) == get32(header, at::CRC);
    sane.then(|| EntriesPlace {
        lba: get64(header, at::ENTRIES_LBA),
        bytes: count * size,
    })
}

impl Table {
    /// Joins header and entries, if the entries are those the header was made for.
    pub(crate) fn new(header: &[u8], entries: Vec<u8>) -> Option<Self> {
        (crc32(&entries) == get32(header, at::ENTRIES_CRC)).then(|| Self {
            header: header.to_vec(),
            entries,
        })
    }

    /// The partition that ends last.
    pub(crate) fn last_partition(&self) -> Option<Partition> {
        let used = self
            .entries
            .chunks_exact(ENTRY_BYTES)
            .enumerate()
            .filter(|(_, entry)| entry[..16] != [0; 16]);
        used.map(|(index, entry)| Partition {
            number: index + 1,
            first: get64(entry, at::ENTRY_FIRST),
            last: get64(entry, at::ENTRY_LAST),
        })
        // Whole by its checksum and yet nonsense: nothing that can be grown.
        .filter(|partition| partition.first <= partition.last && partition.last < u64::MAX)
        .max_by_key(|partition| partition.last)
    }

    /// The table for a disk of `sectors`, its last partition grown to the end. The partition never shrinks.
    pub(crate) fn grown(&self, sectors: u64, sector_size: u64) -> Option<Self> {
        let last_usable = sectors.checked_sub(2 + self.entry_sectors(sector_size))?;
        let align = ALIGNMENT / sector_size;
        let end = ((last_usable + 1) / align * align).checked_sub(1)?;
        let partition = self.last_partition()?;
        if end <= partition.last {
            return None;
        }
        let mut table = self.clone();
        let entry = (partition.number - 1) * ENTRY_BYTES;
        put64(&mut table.entries, entry + at::ENTRY_LAST, end);
        put64(&mut table.header, at::LAST_USABLE, last_usable);
        Some(table)
    }

    /// Both copies, the one at the end of the disk first.
    pub(crate) fn writes(&self, sectors: u64, sector_size: u64) -> Vec<Write> {
        let last = sectors - 1;
        let backup_entries = last - self.entry_sectors(sector_size);
        let backup = self.header_at(last, 1, backup_entries, sector_size);
        let mut primary = self.header_at(1, last, 2, sector_size);
        // Header and the first entries lie side by side: one write.
        primary.extend(&self.entries);
        vec![
            Write {
                lba: backup_entries,
                bytes: self.entries.clone(),
            },
            Write {
                lba: last,
                bytes: backup,
            },
            Write {
                lba: 1,
                bytes: primary,
            },
        ]
    }

    fn entry_sectors(&self, sector_size: u64) -> u64 {
        (self.entries.len() as u64).div_ceil(sector_size)
    }

    fn header_at(&self, lba: u64, alternate: u64, entries: u64, sector_size: u64) -> Vec<u8> {
        let mut header = self.header[HEADER_BYTES].to_vec();
        put64(&mut header, at::MY_LBA, lba);
        put64(&mut header, at::ALTERNATE_LBA, alternate);
        put64(&mut header, at::ENTRIES_LBA, entries);
        put32(&mut header, at::ENTRIES_CRC, crc32(&self.entries));
        put32(&mut header, at::CRC, 0);
        let crc = crc32(&header);
        put32(&mut header, at::CRC, crc);
        header.resize(usize::try_from(sector_size).expect("a sector fits memory"), 0);
        header
    }
}

fn get32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(
        bytes[offset..offset + 4]
            .try_into()
            .expect("four bytes were cut out"),
    )
}

fn get64(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(
        bytes[offset..offset + 8]
            .try_into()
            .expect("eight bytes were cut out"),
    )
}

fn put32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

fn put64(bytes: &mut [u8], offset: usize, value: u64) {
    bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                crc >> 1 ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const SECTOR: u64 = 512;

    /// An ESP and a PV on a disk of `sectors`.
    pub(crate) fn table(sectors: u64) -> Table {
        let mut entries = vec![0; 128 * ENTRY_BYTES];
        for (index, (first, last)) in [(2048, 4095), (4096, sectors / 2048 * 2048 - 2049)]
            .into_iter()
            .enumerate()
        {
            let entry = index * ENTRY_BYTES;
            entries[entry] = 1;
            put64(&mut entries, entry + at::ENTRY_FIRST, first);
            put64(&mut entries, entry + at::ENTRY_LAST, last);
        }
        let mut header = vec![0; 92];
        header[..8].copy_from_slice(SIGNATURE);
        put32(&mut header, 8, 0x0001_0000);
        put32(&mut header, 12, 92);
        put32(&mut header, at::ENTRY_COUNT, 128);
        put32(&mut header, at::ENTRY_SIZE, 128);
        put64(&mut header, at::LAST_USABLE, sectors - 34);
        Table { header, entries }
    }

    #[test]
    fn checksum_is_the_standard_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn written_table_is_read_back_from_both_places() {
        let table = table(32768);
        let writes = table.writes(32768, SECTOR);
        let backup = entries_place(&writes[1].bytes, 32767).expect("a header");
        assert_eq!(backup.lba, writes[0].lba);
        assert!(Table::new(&writes[1].bytes, writes[0].bytes.clone()).is_some());
        let primary = entries_place(&writes[2].bytes, 1).expect("a header");
        assert_eq!((primary.lba, primary.bytes), (2, 128 * 128));
        assert!(Table::new(&writes[2].bytes, writes[2].bytes[512..].to_vec()).is_some());
    }

    #[test]
    fn damage_anywhere_in_header_or_entries_is_seen() {
        let writes = table(32768).writes(32768, SECTOR);
        for byte in 0..92 {
            let mut header = writes[1].bytes.clone();
            header[byte] ^= 1;
            assert_eq!(entries_place(&header, 32767), None, "byte {byte}");
        }
        let mut entries = writes[0].bytes.clone();
        entries[5000] ^= 1;
        assert_eq!(Table::new(&writes[1].bytes, entries), None);
        assert_eq!(
            entries_place(&writes[1].bytes, 1),
            None,
            "a header at a foreign place"
        );
        assert_eq!(entries_place(&[], 1), None);
    }

    #[test]
    fn last_partition_grows_to_an_aligned_end_and_the_first_stays() {
        let grown = table(32768).grown(65536, SECTOR).expect("growth");
        let last = grown.last_partition().expect("a partition");
        assert_eq!((last.number, last.first, last.last), (2, 4096, 65536 - 2048 - 1));
        assert_eq!(
            grown.grown(65536, SECTOR),
            None,
            "a second time there is nothing to do"
        );
    }

    #[test]
    fn smaller_or_absurd_disk_changes_nothing() {
        for sectors in [0, 1, 33, 4096, 32768] {
            assert_eq!(table(32768).grown(sectors, SECTOR), None, "{sectors}");
        }
    }
}
