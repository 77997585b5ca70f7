//! A disk whose partition table is whole by its checksums and says anything: growing it refuses, or ends with a table that a second
//! run finds nothing to do about.

use std::io;

use fleet_provision::{Machine, Sizes, Volume, VolumeGroup, grow_disk};

const SECTOR: usize = 512;
const SECTORS: usize = 4096 + 128;
const ENTRY_BYTES: usize = 128;
const HEADER_BYTES: usize = 92;
/// Fields of the header, by their offsets.
const CRC: usize = 16;
const MY_LBA: usize = 24;
const ENTRY_COUNT: usize = 80;
const ENTRIES_CRC: usize = 88;

pub(super) fn run(bytes: &[u8]) {
    if bytes.len() < HEADER_BYTES + ENTRY_BYTES {
        return;
    }
    let mut disk = Disk::with_table(bytes);
    if grow_disk(&mut disk).is_err() {
        return;
    }
    let grown = disk.bytes.clone();
    disk.recorded = None;
    if grow_disk(&mut disk).is_ok() {
        assert!(disk.bytes == grown, "a second run changed the table again");
    }
}

/// A disk in memory with LVM that has nothing to do.
struct Disk {
    bytes: Vec<u8>,
    recorded: Option<u64>,
}

impl Disk {
    /// The bytes are the header and, from sector 2, the entries; both checksums are made right, or nothing would be read at all.
    fn with_table(bytes: &[u8]) -> Self {
        let mut disk = vec![0; SECTORS * SECTOR];
        let (header, entries) = bytes.split_at(HEADER_BYTES);
        let count = (entries.len() / ENTRY_BYTES).min(1024);
        let entries = &entries[..count * ENTRY_BYTES];
        let mut header = header.to_vec();
        header[..8].copy_from_slice(b"EFI PART");
        header[MY_LBA..MY_LBA + 8].copy_from_slice(&1_u64.to_le_bytes());
        header[MY_LBA + 48..MY_LBA + 56].copy_from_slice(&2_u64.to_le_bytes());
        put(&mut header, ENTRY_COUNT, count);
        put(&mut header, ENTRY_COUNT + 4, ENTRY_BYTES);
        put(&mut header, ENTRIES_CRC, crc32(entries) as usize);
        put(&mut header, CRC, 0);
        let crc = crc32(&header);
        put(&mut header, CRC, crc as usize);
        disk[SECTOR..SECTOR + HEADER_BYTES].copy_from_slice(&header);
        disk[2 * SECTOR..2 * SECTOR + entries.len()].copy_from_slice(entries);
        Self {
            bytes: disk,
            recorded: None,
        }
    }

    fn place(&self, lba: u64, bytes: usize) -> io::Result<std::ops::Range<usize>> {
        let start = usize::try_from(lba).ok().and_then(|lba| lba.checked_mul(SECTOR));
        let range = start.and_then(|start| Some(start..start.checked_add(bytes)?));
        range
            .filter(|range| range.end <= self.bytes.len())
            .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

fn put(bytes: &mut [u8], offset: usize, value: usize) {
    let value = u32::try_from(value).expect("small numbers and checksums only");
    bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

const SIZES: Sizes = Sizes {
    metadata: 1 << 22,
    pool: 1 << 30,
    root: 1 << 29,
    data: 1 << 29,
};

impl Machine for Disk {
    fn disk_bytes(&mut self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
    fn sector_bytes(&mut self) -> io::Result<u64> {
        Ok(SECTOR as u64)
    }
    fn partition_number(&mut self) -> io::Result<usize> {
        Ok(2)
    }
    fn kernel_sectors(&mut self) -> io::Result<u64> {
        Ok(0)
    }
    fn read(&mut self, lba: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let place = self.place(lba, bytes)?;
        Ok(self.bytes[place].to_vec())
    }
    fn write(&mut self, lba: u64, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(lba, bytes.len())?;
        self.bytes[place].copy_from_slice(bytes);
        Ok(())
    }
    fn reread_partition(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn volume_group(&mut self) -> io::Result<VolumeGroup> {
        Ok(VolumeGroup {
            extent: 1 << 22,
            total: 1 << 30,
            unused_partition: 0,
            sizes: SIZES,
        })
    }
    fn resize_physical_volume(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn extend_metadata(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn extend_pool(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn extend_volume(&mut self, _: Volume, _: u64) -> io::Result<()> {
        Ok(())
    }
    fn file_system_bytes(&mut self, _: Volume) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    fn extend_file_system(&mut self, _: Volume) -> io::Result<()> {
        Ok(())
    }
    fn recorded(&mut self) -> io::Result<Option<u64>> {
        Ok(self.recorded)
    }
    fn record(&mut self, disk_bytes: u64) -> io::Result<()> {
        self.recorded = Some(disk_bytes);
        Ok(())
    }
}
