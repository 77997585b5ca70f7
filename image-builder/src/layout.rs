//! Where everything lies on the disk. Pure arithmetic; `provisioning` grows what is laid out here.

use crate::error::ImageError;

/// Bytes in a MiB.
pub const MIB: u64 = 1024 * 1024;
/// Bytes in a sector, for GPT and LVM alike.
pub(crate) const SECTOR: u64 = 512;
/// Bytes in an LVM extent.
pub(crate) const EXTENT: u64 = 4 * MIB;
/// Bytes in a block of the thin pool: small, since a snapshot of root copies whole blocks.
pub(crate) const CHUNK: u64 = 64 * 1024;

const FIRST_PARTITION: u64 = MIB;
const ESP_SIZE: u64 = 512 * MIB;
/// Before the first extent: label and LVM metadata text.
pub(crate) const PV_HEADER: u64 = MIB;
/// Kept for the second GPT.
const TAIL: u64 = MIB;
/// 32 MiB map about 40 GiB of 64 KiB blocks; growing the disk extends them.
const POOL_METADATA_EXTENTS: u64 = 8;
/// One extent of ten stays free in the VG: room to repair a full pool.
const RESERVE_DIVISOR: u64 = 10;
const ROOT_MIN: u64 = 2048 * MIB;
const DATA_MIN: u64 = 512 * MIB;

/// A range of bytes on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// First byte.
    pub(crate) start: u64,
    /// Number of bytes.
    pub(crate) size: u64,
}

/// All places of an image. Sizes in bytes unless the name says extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The whole disk.
    pub(crate) disk: u64,
    /// Partition 1: the EFI system partition.
    pub(crate) esp: Span,
    /// Partition 2: the physical volume.
    pub(crate) pv: Span,
    /// Extents of the PV.
    pub(crate) extents: u64,
    /// Extents of the pool's metadata, and of its spare.
    pub(crate) metadata_extents: u64,
    /// Extents of the pool's data.
    pub(crate) pool_extents: u64,
    /// Virtual size of root.
    pub(crate) root: u64,
    /// Virtual size of data.
    pub(crate) data: u64,
}

impl Layout {
    /// Lays out a disk of `disk` bytes, rounded down to a MiB.
    pub(crate) fn of_disk(disk: u64) -> Result<Self, ImageError> {
        let disk = disk / MIB * MIB;
        let pv_start = FIRST_PARTITION + ESP_SIZE;
        let smallest = pv_start + PV_HEADER + TAIL + (ROOT_MIN + DATA_MIN) / 8 * 10;
        if disk < smallest {
            let (need_mib, have_mib) = (smallest / MIB, disk / MIB);
            return Err(ImageError::TooSmall {
                what: "the partition table",
                need_mib,
                have_mib,
            });
        }
        let pv = Span {
            start: pv_start,
            size: disk - pv_start - TAIL,
        };
        let extents = (pv.size - PV_HEADER) / EXTENT;
        let metadata_extents = POOL_METADATA_EXTENTS;
        let pool_extents = extents - 2 * metadata_extents - extents / RESERVE_DIVISOR;
        let pool = pool_extents * EXTENT;
        let root = ROOT_MIN;
        let data = (pool.saturating_sub(2 * root)).max(DATA_MIN);
        let esp = Span {
            start: FIRST_PARTITION,
            size: ESP_SIZE,
        };
        Ok(Self {
            disk,
            esp,
            pv,
            extents,
            metadata_extents,
            pool_extents,
            root,
            data,
        })
    }

    /// Place of the `extent`-th extent on the disk.
    pub(crate) fn extent_offset(&self, extent: u64) -> u64 {
        self.pv.start + PV_HEADER + extent * EXTENT
    }

    /// First extent of the spare metadata volume.
    pub(crate) fn spare_start(&self) -> u64 {
        self.metadata_extents
    }

    /// First extent of the pool's data: last, so that it grows in one piece.
    pub(crate) fn pool_start(&self) -> u64 {
        2 * self.metadata_extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_gib_hold_root_and_data_within_the_pool() {
        let layout = Layout::of_disk(4096 * MIB).expect("a layout");
        assert!(layout.root + layout.data <= layout.pool_extents * EXTENT);
        assert!(layout.pool_start() + layout.pool_extents <= layout.extents);
        assert_eq!(layout.pv.start + layout.pv.size + TAIL, layout.disk);
    }

    #[test]
    fn a_tenth_of_the_volume_group_stays_free() {
        let layout = Layout::of_disk(16384 * MIB).expect("a layout");
        let free = layout.extents - layout.pool_start() - layout.pool_extents;
        assert!(free * 10 >= layout.extents - 10, "{free} of {}", layout.extents);
    }

    #[test]
    fn disk_that_cannot_hold_the_volumes_is_refused_with_numbers() {
        let text = Layout::of_disk(2048 * MIB).unwrap_err().to_string();
        assert!(text.contains("2048 MiB") && text.contains("--size"), "{text}");
    }
}
