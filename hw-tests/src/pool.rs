//! The metadata of a device's thin pool as it lies on its disk, for suites that damage it while the device is off.
//!
//! Damage is done from outside on purpose. In a running device the kernel commits its own copy over it within a second, and a
//! cut of the power drops whatever was not flushed, the damage itself included: such a test may boot a healthy device and not
//! know it.
//!
//! Format: `struct thin_disk_superblock` of the kernel's `drivers/md/dm-thin-metadata.c`, all little-endian.

use std::io;
use std::time::Duration;

use crate::boot_partition::BlockDevice;
use crate::error::{Fault, RigError};
use crate::nbd::Nbd;
use crate::qemu::QemuRig;
use crate::rig::Rig;

/// Bytes of a block of the metadata.
pub const BLOCK: usize = 4096;
const SECTOR: u64 = 512;
const COMMAND: Duration = Duration::from_secs(60);
const MAGIC: u64 = 27_022_010;
const MAGIC_AT: usize = 32;
/// The data space map's root begins at 64; its `bitmap_root` follows two numbers.
const BITMAP_ROOT_AT: usize = 80;
/// `nr_entries`, `max_entries` and the keys of a tree node (`dm-btree-internal.h`).
const ENTRIES_AT: usize = 16;
const KEYS_AT: usize = 32;
const LEAF: u32 = 2;
/// Bytes of an entry of the space map's index; its first word is the number of a bitmap's block.
const INDEX_ENTRY: usize = 16;
/// Bytes before the counts in a bitmap: checksum and number. Two bits for each block of data (`dm-space-map-common.c`).
const BITMAP_HEADER: usize = 16;
const BITMAP_CSUM_XOR: u32 = 240_779;
/// No block of it is zero, valid or all ones.
const RUBBISH: u8 = 0xa5;

/// Where the metadata begins on the disk.
#[derive(Debug, Clone, Copy)]
pub struct PoolMetadata {
    start: u64,
}

impl PoolMetadata {
    /// Asks a running device, and has it write out everything first.
    pub fn of_running(rig: &mut QemuRig) -> Result<Self, RigError> {
        let answer = rig.run_ok(
            "sync; cat /sys/class/block/vda2/start; dmsetup table fleet-pool_tmeta | head -n 1 | cut -d' ' -f5",
            COMMAND,
        )?;
        let sectors: Vec<u64> = answer.lines().filter_map(|line| line.parse().ok()).collect();
        match sectors[..] {
            [partition, metadata] => Ok(Self {
                start: (partition + metadata) * SECTOR,
            }),
            _ => Err(nonsense(rig, format!("where it begins: {answer:?}"))),
        }
    }

    /// The block that holds the root of the data space map. The device is off.
    pub fn space_map_root(&self, rig: &mut QemuRig) -> Result<u64, RigError> {
        let superblock = self.read(rig, 0, 1)?;
        let word = |at: usize| superblock[at..at + 8].try_into().map(u64::from_le_bytes);
        match (word(MAGIC_AT), word(BITMAP_ROOT_AT)) {
            (Ok(MAGIC), Ok(root)) => Ok(root),
            other => Err(nonsense(
                rig,
                format!("magic and root of the space map: {other:?}"),
            )),
        }
    }

    /// Writes rubbish over `count` blocks from `first` on, and looks on the disk whether it is there. The device is off.
    pub fn destroy(&self, rig: &mut QemuRig, first: u64, count: usize) -> Result<(), RigError> {
        let offset = self.offset(first);
        let rubbish = vec![RUBBISH; count * BLOCK];
        rig.with_disk(|disk: &mut Nbd| {
            disk.write_at(offset, &rubbish)?;
            disk.sync()
        })?;
        match self.destroyed(rig, first, count)? {
            all if all == count => Ok(()),
            some => Err(nonsense(rig, format!("{some} of {count} blocks are destroyed"))),
        }
    }

    /// How many of `count` blocks from `first` on hold rubbish. The device is off.
    pub fn destroyed(&self, rig: &mut QemuRig, first: u64, count: usize) -> Result<usize, RigError> {
        let blocks = self.read(rig, first, count)?;
        let gone = |block: &&[u8]| block.iter().all(|byte| *byte == RUBBISH);
        Ok(blocks.chunks(BLOCK).filter(gone).count())
    }

    /// Counts one use of a data block that nothing uses: a leak, as a cut leaves it that falls between two commits of the
    /// metadata. Gives the block's number. The device is off.
    pub fn leak(&self, rig: &mut QemuRig) -> Result<u64, RigError> {
        let root = self.space_map_root(rig)?;
        let index = self.read(rig, root, 1)?;
        let keys = word(&index, ENTRIES_AT + 4) as usize * 8;
        if word(&index, 4) != LEAF || KEYS_AT + keys + INDEX_ENTRY > BLOCK {
            return Err(nonsense(rig, "its index of bitmaps is no single leaf".to_owned()));
        }
        let place = u64::from(word(&index, KEYS_AT + keys));
        let mut bitmap = self.read(rig, place, 1)?;
        if checksum(&bitmap) != word(&bitmap, 0) {
            return Err(nonsense(rig, format!("the checksum of bitmap {place}")));
        }
        let free = (0..(BLOCK - BITMAP_HEADER) * 4)
            .find(|block| bitmap[BITMAP_HEADER + block / 4] >> (block % 4 * 2) & 3 == 0)
            .ok_or_else(|| nonsense(rig, "no block is free".to_owned()))?;
        // The count's low bit is the second of the two.
        bitmap[BITMAP_HEADER + free / 4] |= 2 << (free % 4 * 2);
        let sum = checksum(&bitmap);
        bitmap[..4].copy_from_slice(&sum.to_le_bytes());
        let offset = self.offset(place);
        rig.with_disk(|disk: &mut Nbd| {
            disk.write_at(offset, &bitmap)?;
            disk.sync()
        })?;
        match self.read(rig, place, 1)? == bitmap {
            true => Ok(free as u64),
            false => Err(nonsense(rig, "the leak is not on the disk".to_owned())),
        }
    }

    fn read(&self, rig: &mut QemuRig, first: u64, count: usize) -> Result<Vec<u8>, RigError> {
        let offset = self.offset(first);
        rig.with_disk(|disk: &mut Nbd| -> io::Result<_> {
            let mut blocks = vec![0; count * BLOCK];
            disk.read_at(offset, &mut blocks)?;
            Ok(blocks)
        })
    }

    fn offset(&self, block: u64) -> u64 {
        self.start + block * BLOCK as u64
    }
}

fn word(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(block[at..at + 4].try_into().expect("four bytes are four bytes"))
}

/// CRC-32C of a bitmap after its first word, as the kernel keeps it.
fn checksum(bitmap: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    };
    bitmap[4..].iter().fold(!0, step) ^ BITMAP_CSUM_XOR
}

fn nonsense(rig: &QemuRig, detail: String) -> RigError {
    let peer = "the pool's metadata";
    Fault::Protocol { peer, detail }.of_rig(rig.name(), rig.logs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_kernels() {
        // CRC-32C of "123456789" is e3069283 once inverted at the end, which the kernel leaves out.
        assert_eq!(!(checksum(b"????123456789") ^ BITMAP_CSUM_XOR), 0xe306_9283);
    }
}
