//! Grows partition, physical volume, pool, volumes and file systems, each only if it is smaller than it could be.
//!
//! Every step looks at what is there, so a cut after any of them costs nothing: the next boot does the rest. The size of
//! the disk that is done with is recorded last, and spares later boots the look.

use std::io;

use crate::gpt::{Partition, Table, entries_place};
use crate::sizes::Sizes;

/// Why the disk could not be grown. The device goes on with what it has.
#[derive(Debug, thiserror::Error)]
pub enum GrowError {
    /// An operation on the disk or a tool failed.
    #[error("the disk cannot be grown: {action}")]
    Step {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Neither copy of the partition table is whole.
    #[error("the disk cannot be grown: neither of its partition tables is whole")]
    NoTable,
    /// The last partition is not the one the volume group lies on.
    #[error(
        "the disk cannot be grown: partition {last} comes after partition {volume_group}, which holds the volumes"
    )]
    NotLast {
        /// Number of the last partition.
        last: usize,
        /// Number of the partition with the volume group.
        volume_group: usize,
    },
}

/// A thin volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volume {
    /// The system.
    Root,
    /// Identity, containers, the agent's state.
    Data,
}

impl Volume {
    /// Its name in the volume group.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Data => "data",
        }
    }
}

/// What LVM reports. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeGroup {
    /// Size of an extent.
    pub extent: u64,
    /// Size of all extents.
    pub total: u64,
    /// How much of the partition the physical volume doesn't use yet.
    pub unused_partition: u64,
    /// The volumes.
    pub sizes: Sizes,
}

/// Everything outside that growing touches. Each call is durable when it returns.
pub trait Machine {
    /// Bytes of the disk.
    fn disk_bytes(&mut self) -> io::Result<u64>;
    /// Bytes of a sector.
    fn sector_bytes(&mut self) -> io::Result<u64>;
    /// Number of the partition with the volume group.
    fn partition_number(&mut self) -> io::Result<usize>;
    /// Sectors of that partition, as the kernel sees them.
    fn kernel_sectors(&mut self) -> io::Result<u64>;
    /// Reads from the disk.
    fn read(&mut self, lba: u64, bytes: usize) -> io::Result<Vec<u8>>;
    /// Writes to the disk.
    fn write(&mut self, lba: u64, bytes: &[u8]) -> io::Result<()>;
    /// Tells the kernel the partition's size from the table.
    fn reread_partition(&mut self) -> io::Result<()>;
    /// What LVM has.
    fn volume_group(&mut self) -> io::Result<VolumeGroup>;
    /// Extends the physical volume to its partition.
    fn resize_physical_volume(&mut self) -> io::Result<()>;
    /// Extends the pool's metadata and the spare.
    fn extend_metadata(&mut self, bytes: u64) -> io::Result<()>;
    /// Extends the pool.
    fn extend_pool(&mut self, bytes: u64) -> io::Result<()>;
    /// Extends a thin volume.
    fn extend_volume(&mut self, volume: Volume, bytes: u64) -> io::Result<()>;
    /// Bytes of the file system on a volume.
    fn file_system_bytes(&mut self, volume: Volume) -> io::Result<u64>;
    /// Extends the mounted file system to its volume.
    fn extend_file_system(&mut self, volume: Volume) -> io::Result<()>;
    /// Size of the disk that was grown to the end.
    fn recorded(&mut self) -> io::Result<Option<u64>>;
    /// Records it.
    fn record(&mut self, disk_bytes: u64) -> io::Result<()>;
}

/// Grows what can grow, and returns a sentence for each thing that did.
pub fn grow_disk(machine: &mut dyn Machine) -> Result<Vec<String>, GrowError> {
    let disk = machine.disk_bytes().map_err(step("reading its size"))?;
    if machine.recorded().map_err(step("reading the record"))? == Some(disk) {
        return Ok(Vec::new());
    }
    let mut done = Vec::new();
    grow_partition(machine, disk, &mut done)?;
    grow_volumes(machine, &mut done)?;
    for volume in [Volume::Root, Volume::Data] {
        grow_file_system(machine, volume, &mut done)?;
    }
    machine.record(disk).map_err(step("recording its size"))?;
    Ok(done)
}

fn step(action: &'static str) -> impl FnOnce(io::Error) -> GrowError {
    move |source| GrowError::Step { action, source }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

fn grow_partition(machine: &mut dyn Machine, disk: u64, done: &mut Vec<String>) -> Result<(), GrowError> {
    let sector = machine
        .sector_bytes()
        .map_err(step("reading the sector's size"))?;
    let sectors = disk / sector;
    let (table, torn) = read_table(machine, sectors)?;
    let partition = table.last_partition().ok_or(GrowError::NoTable)?;
    let volume_group = machine
        .partition_number()
        .map_err(step("finding the partition"))?;
    if partition.number != volume_group {
        return Err(GrowError::NotLast {
            last: partition.number,
            volume_group,
        });
    }
    let grown = table.grown(sectors, sector);
    if grown.is_some() || torn {
        let table = grown.as_ref().unwrap_or(&table);
        for write in table.writes(sectors, sector) {
            machine
                .write(write.lba, &write.bytes)
                .map_err(step("writing the partition table"))?;
        }
    }
    let end = grown
        .as_ref()
        .and_then(Table::last_partition)
        .unwrap_or(partition);
    tell_kernel(machine, end, sector, done)
}

fn tell_kernel(
    machine: &mut dyn Machine,
    partition: Partition,
    sector: u64,
    done: &mut Vec<String>,
) -> Result<(), GrowError> {
    let wanted = partition.last + 1 - partition.first;
    let seen = machine
        .kernel_sectors()
        .map_err(step("reading the partition's size"))?;
    if seen < wanted {
        machine
            .reread_partition()
            .map_err(step("telling the kernel the partition's size"))?;
        done.push(format!(
            "partition {} has {} MiB",
            partition.number,
            mib(wanted.saturating_mul(sector))
        ));
    }
    Ok(())
}

/// The first copy, or else the one at the end of the disk; and whether the first was torn.
fn read_table(machine: &mut dyn Machine, sectors: u64) -> Result<(Table, bool), GrowError> {
    for (lba, torn) in [(1, false), (sectors.saturating_sub(1), true)] {
        if let Some(table) = read_copy(machine, lba).map_err(step("reading the partition table"))? {
            return Ok((table, torn));
        }
    }
    Err(GrowError::NoTable)
}

fn read_copy(machine: &mut dyn Machine, lba: u64) -> io::Result<Option<Table>> {
    let header = machine.read(lba, 512)?;
    let Some(place) = entries_place(&header, lba) else {
        return Ok(None);
    };
    let entries = machine.read(place.lba, place.bytes)?;
    Ok(Table::new(&header, entries))
}

fn grow_volumes(machine: &mut dyn Machine, done: &mut Vec<String>) -> Result<(), GrowError> {
    let mut group = machine.volume_group().map_err(step("asking LVM"))?;
    if group.unused_partition >= group.extent {
        machine
            .resize_physical_volume()
            .map_err(step("extending the physical volume"))?;
        group = machine.volume_group().map_err(step("asking LVM"))?;
    }
    let (now, wanted) = (group.sizes, Sizes::wanted(group.total, group.extent, group.sizes));
    if wanted.metadata > now.metadata {
        machine
            .extend_metadata(wanted.metadata)
            .map_err(step("extending the pool's metadata"))?;
    }
    if wanted.pool > now.pool {
        machine
            .extend_pool(wanted.pool)
            .map_err(step("extending the pool"))?;
        done.push(format!("the pool has {} MiB", mib(wanted.pool)));
    }
    for (volume, wanted, now) in [
        (Volume::Root, wanted.root, now.root),
        (Volume::Data, wanted.data, now.data),
    ] {
        if wanted > now {
            machine
                .extend_volume(volume, wanted)
                .map_err(step("extending a volume"))?;
            done.push(format!("volume {} has {} MiB", volume.name(), mib(wanted)));
        }
    }
    Ok(())
}

fn grow_file_system(
    machine: &mut dyn Machine,
    volume: Volume,
    done: &mut Vec<String>,
) -> Result<(), GrowError> {
    let sizes = machine.volume_group().map_err(step("asking LVM"))?.sizes;
    let size = match volume {
        Volume::Root => sizes.root,
        Volume::Data => sizes.data,
    };
    if machine
        .file_system_bytes(volume)
        .map_err(step("reading the file system's size"))?
        < size
    {
        machine
            .extend_file_system(volume)
            .map_err(step("extending the file system"))?;
        done.push(format!("file system {} has {} MiB", volume.name(), mib(size)));
    }
    Ok(())
}

#[cfg(test)]
#[path = "grow_tests.rs"]
mod tests;
