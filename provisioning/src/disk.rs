//! The machine this runs on: sysfs, the disk's device, and LVM's tools.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::exec::run;
use crate::grow::{Machine, Volume, VolumeGroup};
use crate::repairs::Volumes;
use crate::sizes::Sizes;

const LVM: &str = "/usr/sbin/lvm";
const GROUP: &str = "fleet";
const RECORD: &str = "/var/lib/fleet-provision/grown-to";
/// sysfs counts in these whatever the disk's own sectors are.
const SYSFS_SECTOR: u64 = 512;
const EXT4_SUPERBLOCK: u64 = 1024;
const EXT4_MAGIC: u16 = 0xef53;

/// The disk below the root volume.
pub struct LocalMachine {
    /// `/sys/class/block/vda2`.
    partition: PathBuf,
    /// `/sys/class/block/vda`.
    disk: PathBuf,
}

impl LocalMachine {
    /// Follows the root volume down to its partition and disk.
    pub fn find() -> io::Result<Self> {
        let root = fs::canonicalize("/dev/fleet/root")?;
        let mut partition = Path::new("/sys/class/block").join(root.file_name().unwrap_or_default());
        while let Some(below) = first_slave(&partition)? {
            partition = below;
        }
        let real = fs::canonicalize(&partition)?;
        if !real.join("partition").exists() {
            return Err(io::Error::other(format!("{} is not a partition", real.display())));
        }
        let disk = real
            .parent()
            .expect("a partition lies below its disk in sysfs")
            .to_owned();
        Ok(Self {
            partition: real,
            disk,
        })
    }

    fn device(path: &Path) -> String {
        format!("/dev/{}", path.file_name().unwrap_or_default().to_string_lossy())
    }

    fn open_disk(&self, write: bool) -> io::Result<File> {
        File::options()
            .read(true)
            .write(write)
            .open(Self::device(&self.disk))
    }
}

fn first_slave(block: &Path) -> io::Result<Option<PathBuf>> {
    match fs::read_dir(block.join("slaves")) {
        Ok(mut entries) => entries
            .next()
            .transpose()
            .map(|entry| entry.map(|entry| Path::new("/sys/class/block").join(entry.file_name()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn number(path: &Path) -> io::Result<u64> {
    fs::read_to_string(path)?
        .trim()
        .parse()
        .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))
}

impl Machine for LocalMachine {
    fn disk_bytes(&mut self) -> io::Result<u64> {
        Ok(number(&self.disk.join("size"))? * SYSFS_SECTOR)
    }

    fn sector_bytes(&mut self) -> io::Result<u64> {
        number(&self.disk.join("queue/logical_block_size"))
    }

    fn partition_number(&mut self) -> io::Result<usize> {
        number(&self.partition.join("partition"))?
            .try_into()
            .map_err(io::Error::other)
    }

    fn kernel_sectors(&mut self) -> io::Result<u64> {
        let sector = self.sector_bytes()?;
        Ok(number(&self.partition.join("size"))? * SYSFS_SECTOR / sector)
    }

    fn read(&mut self, lba: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut content = vec![0; bytes];
        self.open_disk(false)?
            .read_exact_at(&mut content, lba * self.sector_bytes()?)?;
        Ok(content)
    }

    fn write(&mut self, lba: u64, bytes: &[u8]) -> io::Result<()> {
        let disk = self.open_disk(true)?;
        disk.write_all_at(bytes, lba * self.sector_bytes()?)?;
        disk.sync_all()
    }

    fn reread_partition(&mut self) -> io::Result<()> {
        let number = self.partition_number()?.to_string();
        run(
            "/usr/bin/partx",
            &["--update", "--nr", &number, &Self::device(&self.disk)],
        )
        .map(drop)
    }

    fn volume_group(&mut self) -> io::Result<VolumeGroup> {
        let device = Self::device(&self.partition);
        let group = report("vgs", &["vg_extent_size", "vg_size"], GROUP)?;
        let physical = report("pvs", &["dev_size", "pv_size"], &device)?;
        let volumes = report("lvs", &["lv_name", "lv_size", "lv_metadata_size"], GROUP)?;
        let (group, physical) = (only(&group)?, only(&physical)?);
        let volume = |name: &str| {
            let found = volumes.iter().find(|row| row["lv_name"] == name);
            found.ok_or_else(|| io::Error::other(format!("the volume group has no volume `{name}`")))
        };
        let sizes = Sizes {
            metadata: bytes(volume("pool")?, "lv_metadata_size")?,
            pool: bytes(volume("pool")?, "lv_size")?,
            root: bytes(volume("root")?, "lv_size")?,
            data: bytes(volume("data")?, "lv_size")?,
        };
        let extent = bytes(group, "vg_extent_size")?;
        // One extent less: the label and LVM's metadata lie before the first extent.
        let used = bytes(physical, "pv_size")? + extent;
        let unused_partition = bytes(physical, "dev_size")?.saturating_sub(used);
        Ok(VolumeGroup {
            extent,
            total: bytes(group, "vg_size")?,
            unused_partition,
            sizes,
        })
    }

    fn resize_physical_volume(&mut self) -> io::Result<()> {
        run(LVM, &["pvresize", "-q", &Self::device(&self.partition)]).map(drop)
    }

    fn extend_metadata(&mut self, bytes: u64) -> io::Result<()> {
        run(
            LVM,
            &[
                "lvextend",
                "-q",
                "--poolmetadatasize",
                &format!("{bytes}b"),
                "fleet/pool",
            ],
        )
        .map(drop)
    }

    fn extend_pool(&mut self, bytes: u64) -> io::Result<()> {
        run(LVM, &["lvextend", "-q", "-L", &format!("{bytes}b"), "fleet/pool"]).map(drop)
    }

    fn extend_volume(&mut self, volume: Volume, bytes: u64) -> io::Result<()> {
        let name = format!("fleet/{}", volume.name());
        run(LVM, &["lvextend", "-q", "-L", &format!("{bytes}b"), &name]).map(drop)
    }

    fn file_system_bytes(&mut self, volume: Volume) -> io::Result<u64> {
        let mut superblock = [0; 0x160];
        File::open(format!("/dev/fleet/{}", volume.name()))?
            .read_exact_at(&mut superblock, EXT4_SUPERBLOCK)?;
        ext4_bytes(&superblock).ok_or_else(|| io::Error::other("there is no ext4 file system on the volume"))
    }

    fn extend_file_system(&mut self, volume: Volume) -> io::Result<()> {
        run("/usr/sbin/resize2fs", &[&format!("/dev/fleet/{}", volume.name())]).map(drop)
    }

    fn recorded(&mut self) -> io::Result<Option<u64>> {
        match fs::read_to_string(RECORD) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn record(&mut self, disk_bytes: u64) -> io::Result<()> {
        let (path, staged) = (Path::new(RECORD), Path::new(RECORD).with_extension("new"));
        let folder = path.parent().expect("the record is in a folder");
        fs::create_dir_all(folder)?;
        let mut file = File::create(&staged)?;
        writeln!(file, "{disk_bytes}")?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        File::open(folder)?.sync_all()
    }
}

/// The volume group that root lies in.
pub struct LocalVolumes;

impl Volumes for LocalVolumes {
    fn names(&mut self) -> io::Result<Vec<String>> {
        let rows = report("lvs", &["lv_name"], GROUP)?;
        let name = |row: &Value| row["lv_name"].as_str().map(str::to_owned);
        let names: Option<Vec<String>> = rows.iter().map(name).collect();
        names.ok_or_else(|| io::Error::other("LVM's report has a volume without a name"))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        run(LVM, &["lvremove", "-q", "-y", &format!("{GROUP}/{name}")]).map(drop)
    }
}

/// The size in an ext4 superblock, from block count (low and high half) and block size.
fn ext4_bytes(superblock: &[u8]) -> Option<u64> {
    let get32 = |offset: usize| {
        superblock
            .get(offset..offset + 4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
    };
    let magic = superblock.get(0x38..0x3a)?;
    if magic != EXT4_MAGIC.to_le_bytes() {
        return None;
    }
    let blocks = u64::from(get32(0x04)?) | u64::from(get32(0x150)?) << 32;
    let block = 1024u64.checked_shl(get32(0x18)?)?;
    blocks.checked_mul(block)
}

/// Rows of one of LVM's reports, sizes in bytes.
fn report(what: &str, fields: &[&str], subject: &str) -> io::Result<Vec<Value>> {
    let fields = fields.join(",");
    let text = run(
        LVM,
        &[
            what,
            "--reportformat",
            "json",
            "--units",
            "b",
            "--nosuffix",
            "-o",
            &fields,
            subject,
        ],
    )?;
    rows(&text, what.trim_end_matches('s'))
}

fn rows(text: &str, kind: &str) -> io::Result<Vec<Value>> {
    let report: Value = serde_json::from_str(text)?;
    match report["report"][0][kind].as_array() {
        Some(rows) => Ok(rows.clone()),
        None => Err(io::Error::other(format!("LVM's report has no `{kind}`"))),
    }
}

fn only(rows: &[Value]) -> io::Result<&Value> {
    rows.first()
        .ok_or_else(|| io::Error::other("LVM's report is empty"))
}

fn bytes(row: &Value, field: &str) -> io::Result<u64> {
    let number = row[field].as_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("LVM's report has no number in `{field}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_lvm_are_read_as_they_come() {
        let text =
            r#"{"report": [{"vg": [{"vg_extent_size":"4194304", "vg_size":"3753902080"}]}], "log": []}"#;
        let rows = rows(text, "vg").expect("rows");
        assert_eq!(bytes(&rows[0], "vg_size").expect("a number"), 3_753_902_080);
        assert!(bytes(&rows[0], "vg_free").is_err());
    }

    #[test]
    fn size_of_a_file_system_is_read_from_its_superblock() {
        let mut superblock = [0; 0x160];
        assert_eq!(ext4_bytes(&superblock), None);
        superblock[0x38..0x3a].copy_from_slice(&EXT4_MAGIC.to_le_bytes());
        superblock[0x04..0x08].copy_from_slice(&1000u32.to_le_bytes());
        superblock[0x18] = 2;
        assert_eq!(ext4_bytes(&superblock), Some(4_096_000));
        assert_eq!(ext4_bytes(&superblock[..0x100]), None);
    }
}
