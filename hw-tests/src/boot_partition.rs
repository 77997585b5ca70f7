//! The FAT boot partition of a disk: found in the GPT, read and written without a kernel's help.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek, SeekFrom, Write};

use fatfs::{FileSystem, FsOptions};

use crate::error::Fault;

const SECTOR: u64 = 512;
/// The EFI system partition's type as it lies on disk: C12A7328-F81F-11D2-BA4B-00A0C93EC93B.
const ESP: [u8; 16] = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
/// Largest plausible entry table; a broken header must not make us read the whole disk.
const TABLE_LIMIT: usize = 1 << 16;
const BLOCK: usize = 32 << 10;
/// What is searched at a time.
const SEARCH: usize = 1 << 20;

/// A disk that is read and written by offset. The whole range must lie inside it.
pub trait BlockDevice {
    /// Fills `buffer` from `offset`.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written lasting.
    fn sync(&mut self) -> io::Result<()>;
}

/// An opened boot partition.
pub struct BootPartition<D: BlockDevice> {
    files: FileSystem<Window<D>>,
}

impl<D: BlockDevice> BootPartition<D> {
    /// Finds the EFI system partition of a disk with a GPT.
    pub fn open(mut disk: D) -> Result<Self, Fault> {
        let (start, size) = find_esp(&mut disk)?;
        let window = Window::new(disk, start, size);
        let files = FileSystem::new(window, FsOptions::new()).map_err(boot_file("open", "/"))?;
        Ok(Self { files })
    }

    /// A file's content, `None` when it does not exist.
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        let root = self.files.root_dir();
        let mut file = match root.open_file(path.trim_start_matches('/')) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(boot_file("open", path))?,
        };
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(boot_file("read", path))?;
        Ok(Some(content))
    }

    /// Writes a file into a folder that exists, and closes the file system.
    pub fn put(self, path: &str, content: &[u8]) -> Result<(), Fault> {
        self.write(path, content).map_err(boot_file("write", path))?;
        self.files.unmount().map_err(boot_file("write", path))
    }

    fn write(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let root = self.files.root_dir();
        let mut file = root.create_file(path.trim_start_matches('/'))?;
        file.truncate()?;
        file.write_all(content)?;
        file.flush()
    }
}

/// Whether the boot partition's sectors hold `text` (not empty, no zero bytes) anywhere: in a file, or in what a removed one left.
pub fn holds(disk: &mut impl BlockDevice, text: &[u8]) -> Result<bool, Fault> {
    let (start, size) = find_esp(disk)?;
    let end = start + size;
    let zeros = vec![0; SEARCH];
    let mut window = Vec::new();
    for at in (start..end).step_by(SEARCH) {
        let length = usize::try_from((end - at).min(SEARCH as u64)).expect("it is at most SEARCH");
        // The end of the piece before stays, for what lies across the border.
        let kept = window.len().min(text.len() - 1);
        window.drain(..window.len() - kept);
        window.resize(kept + length, 0);
        disk.read_at(at, &mut window[kept..])
            .map_err(|source| Fault::BootFile {
                operation: "search",
                path: "the sectors".to_owned(),
                source,
            })?;
        // Most of it: the comparison is libc's and quick, the search below is this crate's and, unoptimized, slow.
        if window[kept..] == zeros[..length] {
            window.clear();
        } else if contains(&window, text) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == text[0]) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

fn boot_file(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> Fault {
    let path = path.to_owned();
    move |source| Fault::BootFile {
        operation,
        path,
        source,
    }
}

/// Start and size of the EFI system partition, in bytes.
fn find_esp(disk: &mut impl BlockDevice) -> Result<(u64, u64), Fault> {
    let unreadable = |source| Fault::BootFile {
        operation: "read",
        path: "the partition table".to_owned(),
        source,
    };
    let mut header = [0; 512];
    disk.read_at(SECTOR, &mut header).map_err(unreadable)?;
    if &header[..8] != b"EFI PART" {
        return Err(Fault::NoBootPartition {
            detail: "there is no GPT",
        });
    }
    let entry_size = word(&header, 84);
    let table = word(&header, 80).saturating_mul(entry_size);
    if entry_size < 128 || table > TABLE_LIMIT {
        return Err(Fault::NoBootPartition {
            detail: "the GPT's header is broken",
        });
    }
    let mut entries = vec![0; table];
    disk.read_at(long(&header, 72) * SECTOR, &mut entries)
        .map_err(unreadable)?;
    let esp = entries.chunks_exact(entry_size).find(|entry| entry[..16] == ESP);
    let esp = esp.ok_or(Fault::NoBootPartition {
        detail: "the GPT lists none",
    })?;
    let (first, last) = (long(esp, 32), long(esp, 40));
    Ok((first * SECTOR, (last + 1 - first) * SECTOR))
}

fn word(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + 4]
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8]
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// A partition as a seekable file. Blocks are cached, since a FAT is walked four bytes at a time; changed blocks
/// reach the disk at `flush`.
struct Window<D: BlockDevice> {
    disk: D,
    start: u64,
    size: u64,
    position: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
    changed: BTreeSet<u64>,
}

impl<D: BlockDevice> Window<D> {
    fn new(disk: D, start: u64, size: u64) -> Self {
        Self {
            disk,
            start,
            size,
            position: 0,
            blocks: BTreeMap::new(),
            changed: BTreeSet::new(),
        }
    }

    /// The cached block at the position, the offset inside it, and its number.
    fn block(&mut self) -> io::Result<(u64, usize)> {
        let number = self.position / BLOCK as u64;
        let at = number * BLOCK as u64;
        if !self.blocks.contains_key(&number) {
            let length = usize::try_from((self.size - at).min(BLOCK as u64)).expect("a block's length fits");
            let mut block = vec![0; length];
            self.disk.read_at(self.start + at, &mut block)?;
            self.blocks.insert(number, block);
        }
        Ok((
            number,
            usize::try_from(self.position - at).expect("an offset inside a block fits"),
        ))
    }
}

impl<D: BlockDevice> Read for Window<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size {
            return Ok(0);
        }
        let (number, at) = self.block()?;
        let rest = &self.blocks[&number][at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl<D: BlockDevice> Write for Window<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.position >= self.size {
            return Ok(0);
        }
        let (number, at) = self.block()?;
        let block = self.blocks.get_mut(&number).expect("the block was just cached");
        let count = (block.len() - at).min(bytes.len());
        block[at..at + count].copy_from_slice(&bytes[..count]);
        self.changed.insert(number);
        self.position += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        for number in std::mem::take(&mut self.changed) {
            self.disk
                .write_at(self.start + number * BLOCK as u64, &self.blocks[&number])?;
        }
        self.disk.sync()
    }
}

impl<D: BlockDevice> Seek for Window<D> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl<D: BlockDevice> Drop for Window<D> {
    fn drop(&mut self) {
        // Reached with changes only after an error that was reported already, or when nothing was written.
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    const PARTITION: u64 = 2048 * SECTOR;
    const SIZE: u64 = 40 << 20;

    /// A disk in memory that the test can look at afterwards.
    #[derive(Clone)]
    struct Memory(Rc<RefCell<Vec<u8>>>);

    impl BlockDevice for Memory {
        fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            buffer.copy_from_slice(&self.0.borrow()[at..at + buffer.len()]);
            Ok(())
        }

        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            let at = usize::try_from(offset).map_err(io::Error::other)?;
            self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        }

        fn sync(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn disk() -> Memory {
        let mut bytes = vec![0; usize::try_from(PARTITION + SIZE).expect("it fits") + 4096];
        bytes[512..520].copy_from_slice(b"EFI PART");
        bytes[512 + 72..512 + 80].copy_from_slice(&2u64.to_le_bytes());
        bytes[512 + 80..512 + 84].copy_from_slice(&128u32.to_le_bytes());
        bytes[512 + 84..512 + 88].copy_from_slice(&128u32.to_le_bytes());
        let entry = 1024 + 128;
        bytes[entry..entry + 16].copy_from_slice(&ESP);
        bytes[entry + 32..entry + 40].copy_from_slice(&(PARTITION / SECTOR).to_le_bytes());
        bytes[entry + 40..entry + 48].copy_from_slice(&((PARTITION + SIZE) / SECTOR - 1).to_le_bytes());
        let memory = Memory(Rc::new(RefCell::new(bytes)));
        let mut window = Window::new(memory.clone(), PARTITION, SIZE);
        fatfs::format_volume(&mut window, fatfs::FormatVolumeOptions::new()).expect("formatted");
        drop(window);
        memory
    }

    #[test]
    fn a_file_put_on_the_partition_is_read_back_by_a_second_opening() {
        let disk = disk();
        let content: Vec<u8> = (0..200_000u32).map(|number| number.to_le_bytes()[0]).collect();
        BootPartition::open(disk.clone())
            .expect("open")
            .put("fleet.toml", b"old and longer")
            .expect("put");
        BootPartition::open(disk.clone())
            .expect("open")
            .put("/fleet.toml", b"new")
            .expect("put");
        BootPartition::open(disk.clone())
            .expect("open")
            .put("Long file name.bin", &content)
            .expect("put");
        let partition = BootPartition::open(disk).expect("open");
        assert_eq!(
            partition.read("fleet.toml").expect("read").as_deref(),
            Some(b"new".as_slice())
        );
        assert_eq!(partition.read("Long file name.bin").expect("read"), Some(content));
        assert_eq!(partition.read("absent.txt").expect("read"), None);
    }

    #[test]
    fn nothing_outside_the_partition_is_touched() {
        let disk = disk();
        let before = disk.0.borrow().clone();
        BootPartition::open(disk.clone())
            .expect("open")
            .put("a.txt", b"a")
            .expect("put");
        let after = disk.0.borrow();
        let at = |offset| usize::try_from(offset).expect("it fits");
        let (start, end) = (at(PARTITION), at(PARTITION + SIZE));
        assert!(before[..start] == after[..start] && before[end..] == after[end..]);
        assert!(before[start..end] != after[start..end]);
    }

    #[test]
    fn a_text_is_found_wherever_it_lies_in_the_partition_and_nowhere_else() {
        let end = PARTITION + SIZE;
        let border = PARTITION + 3 * SEARCH as u64;
        for at in [PARTITION + 70_000, border - 3, border, end - 6] {
            let mut disk = disk();
            assert!(!holds(&mut disk, b"secret").expect("searched"));
            disk.write_at(at, b"secret").expect("written");
            assert!(holds(&mut disk, b"secret").expect("searched"), "at {at}");
        }
        let mut disk = disk();
        disk.write_at(PARTITION - 3, b"secret").expect("written");
        disk.write_at(end, b"secret").expect("written");
        assert!(!holds(&mut disk, b"secret").expect("searched"));
    }

    #[test]
    fn a_disk_without_a_table_is_refused_in_words() {
        let disk = Memory(Rc::new(RefCell::new(vec![0; 4096])));
        let error = BootPartition::open(disk).err().expect("no table");
        assert_eq!(
            error.to_string(),
            "the disk has no EFI system partition: there is no GPT"
        );
    }
}
