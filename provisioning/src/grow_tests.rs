use super::*;
use crate::gpt::tests::table;

const SECTOR: u64 = 512;
const EXTENT: u64 = 4 << 20;
const GIB: u64 = 1 << 30;

/// A machine in memory. The `power`-th write is cut: of a table it leaves the first half of the bytes, of LVM and file
/// systems (which have journals of their own) nothing.
#[derive(Clone, PartialEq, Debug)]
struct FakeMachine {
    disk: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    kernel_sectors: u64,
    partition_bytes: u64,
    group: VolumeGroup,
    root_fs: u64,
    data_fs: u64,
    recorded: Option<u64>,
    writes: usize,
    power: Option<usize>,
}

/// Bytes kept of each end of the disk.
const KEPT: usize = 64 * 1024;

impl FakeMachine {
    /// An image for 4 GiB on a disk of `disk` bytes.
    fn flashed(disk: u64) -> Self {
        let image = 4 * GIB;
        let sizes = Sizes {
            metadata: 32 << 20,
            pool: 3 * GIB,
            root: 2 * GIB,
            data: 512 << 20,
        };
        let mut this = Self {
            disk: image,
            head: vec![0; KEPT],
            tail: vec![0; KEPT],
            kernel_sectors: 0,
            partition_bytes: 0,
            group: VolumeGroup {
                extent: EXTENT,
                total: 0,
                unused_partition: 0,
                sizes,
            },
            root_fs: sizes.root,
            data_fs: sizes.data,
            recorded: None,
            writes: 0,
            power: None,
        };
        for write in table(image / SECTOR).writes(image / SECTOR, SECTOR) {
            this.put(write.lba, &write.bytes);
        }
        this.tail.fill(0);
        this.disk = disk;
        this.boot();
        this.group.total = this.partition_bytes / EXTENT * EXTENT;
        this
    }

    /// The kernel reads the table as it does with `gpt` among its options.
    fn boot(&mut self) {
        self.power = None;
        let sectors = self.disk / SECTOR;
        let (table, _) = read_table(self, sectors).expect("a table that boots");
        let partition = table.last_partition().expect("a partition");
        self.kernel_sectors = partition.last + 1 - partition.first;
        self.partition_bytes = self.kernel_sectors * SECTOR;
    }

    fn put(&mut self, lba: u64, bytes: &[u8]) {
        let offset = lba * SECTOR;
        let (area, start) = if offset < KEPT as u64 {
            (&mut self.head, offset)
        } else {
            (&mut self.tail, offset - (self.disk - KEPT as u64))
        };
        let start = usize::try_from(start).expect("within the kept bytes");
        area[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn spend(&mut self) -> io::Result<()> {
        if self.power == Some(self.writes) {
            return Err(io::Error::other("power cut"));
        }
        self.writes += 1;
        Ok(())
    }
}

impl Machine for FakeMachine {
    fn disk_bytes(&mut self) -> io::Result<u64> {
        Ok(self.disk)
    }

    fn sector_bytes(&mut self) -> io::Result<u64> {
        Ok(SECTOR)
    }

    fn partition_number(&mut self) -> io::Result<usize> {
        Ok(2)
    }

    fn kernel_sectors(&mut self) -> io::Result<u64> {
        Ok(self.kernel_sectors)
    }

    fn read(&mut self, lba: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let offset = lba * SECTOR;
        let (area, start) = match offset.checked_sub(self.disk - KEPT as u64) {
            Some(start) => (&self.tail, start),
            None => (&self.head, offset),
        };
        let start = usize::try_from(start).expect("within the kept bytes");
        Ok(area[start..start + bytes].to_vec())
    }

    fn write(&mut self, lba: u64, bytes: &[u8]) -> io::Result<()> {
        let spent = self.spend();
        let written = if spent.is_ok() {
            bytes.len()
        } else {
            bytes.len() / 2
        };
        self.put(lba, &bytes[..written]);
        spent
    }

    fn reread_partition(&mut self) -> io::Result<()> {
        self.spend()?;
        let power = self.power;
        self.boot();
        self.power = power;
        Ok(())
    }

    fn volume_group(&mut self) -> io::Result<VolumeGroup> {
        let unused_partition = self.partition_bytes - self.group.total;
        Ok(VolumeGroup {
            unused_partition,
            ..self.group
        })
    }

    fn resize_physical_volume(&mut self) -> io::Result<()> {
        self.spend()?;
        self.group.total = self.partition_bytes / EXTENT * EXTENT;
        Ok(())
    }

    fn extend_metadata(&mut self, bytes: u64) -> io::Result<()> {
        self.spend()?;
        self.group.sizes.metadata = bytes;
        Ok(())
    }

    fn extend_pool(&mut self, bytes: u64) -> io::Result<()> {
        self.spend()?;
        assert!(
            bytes + 2 * self.group.sizes.metadata <= self.group.total,
            "LVM would refuse"
        );
        self.group.sizes.pool = bytes;
        Ok(())
    }

    fn extend_volume(&mut self, volume: Volume, bytes: u64) -> io::Result<()> {
        self.spend()?;
        match volume {
            Volume::Root => self.group.sizes.root = bytes,
            Volume::Data => self.group.sizes.data = bytes,
        }
        Ok(())
    }

    fn file_system_bytes(&mut self, volume: Volume) -> io::Result<u64> {
        Ok(match volume {
            Volume::Root => self.root_fs,
            Volume::Data => self.data_fs,
        })
    }

    fn extend_file_system(&mut self, volume: Volume) -> io::Result<()> {
        self.spend()?;
        match volume {
            Volume::Root => self.root_fs = self.group.sizes.root,
            Volume::Data => self.data_fs = self.group.sizes.data,
        }
        Ok(())
    }

    fn recorded(&mut self) -> io::Result<Option<u64>> {
        Ok(self.recorded)
    }

    fn record(&mut self, disk_bytes: u64) -> io::Result<()> {
        self.spend()?;
        self.recorded = Some(disk_bytes);
        Ok(())
    }
}

#[test]
fn everything_grows_to_a_larger_disk() {
    let mut machine = FakeMachine::flashed(64 * GIB);
    let before = machine.group;
    grow_disk(&mut machine).expect("growth");
    assert!(machine.group.total > 15 * before.total);
    assert!(machine.group.sizes.data > 10 * before.sizes.data);
    assert_eq!(
        (machine.root_fs, machine.data_fs),
        (machine.group.sizes.root, machine.group.sizes.data)
    );
}

#[test]
fn second_run_writes_nothing_with_or_without_the_record() {
    let mut machine = FakeMachine::flashed(64 * GIB);
    grow_disk(&mut machine).expect("growth");
    machine.writes = 0;
    assert_eq!(
        grow_disk(&mut machine).expect("nothing to do"),
        Vec::<String>::new()
    );
    assert_eq!(machine.writes, 0);
    machine.recorded = None;
    grow_disk(&mut machine).expect("nothing to do");
    assert_eq!(machine.writes, 1, "the record alone is written again");
}

#[test]
fn power_cut_at_each_write_still_boots_and_ends_the_same() {
    let mut whole = FakeMachine::flashed(64 * GIB);
    grow_disk(&mut whole).expect("growth");
    assert!(whole.writes >= 10, "only {} writes were seen", whole.writes);
    for cut in 0..whole.writes {
        let mut machine = FakeMachine {
            power: Some(cut),
            ..FakeMachine::flashed(64 * GIB)
        };
        grow_disk(&mut machine).expect_err("the cut");
        machine.boot();
        grow_disk(&mut machine).expect("growth after the cut");
        machine.writes = whole.writes;
        assert_eq!(machine, whole, "after a cut at write {cut}");
    }
}

#[test]
fn torn_first_table_is_restored_from_the_second() {
    let mut machine = FakeMachine::flashed(64 * GIB);
    grow_disk(&mut machine).expect("growth");
    let whole = machine.head.clone();
    machine.head[600] ^= 0xff;
    machine.recorded = None;
    grow_disk(&mut machine).expect("a repair");
    assert_eq!(machine.head, whole);
}

#[test]
fn disk_without_a_whole_table_is_left_alone() {
    let mut machine = FakeMachine::flashed(64 * GIB);
    machine.head[600] ^= 0xff;
    let before = machine.clone();
    assert!(matches!(grow_disk(&mut machine), Err(GrowError::NoTable)));
    assert_eq!(machine, before);
}

/// Negative control: the cuts above would find the wrong order.
#[test]
fn writing_the_first_table_first_would_not_survive_a_cut() {
    let mut machine = FakeMachine::flashed(64 * GIB);
    let sectors = machine.disk / SECTOR;
    let (table, _) = read_table(&mut machine, sectors).expect("a table");
    let writes = table
        .grown(sectors, SECTOR)
        .expect("growth")
        .writes(sectors, SECTOR);
    machine.power = Some(0);
    let first = writes.last().expect("three writes");
    machine
        .write(first.lba, &first.bytes[..2 * 512])
        .expect_err("the cut");
    assert!(matches!(
        read_table(&mut machine, sectors),
        Err(GrowError::NoTable)
    ));
}
