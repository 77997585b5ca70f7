//! Where two device images differ, and where two trees of Debian's packages do: the words for a build that is not reproducible.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::error::Fault;
use crate::image::hex_sha256;

/// As much as is compared at once.
const PIECE: usize = 1 << 20;
const MIB: u64 = 1 << 20;
/// Differences that are named; the rest is counted.
const NAMED: usize = 20;

/// A part of an image: from here to where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    start: u64,
    name: &'static str,
}

/// The parts of an image of `size` bytes, whose second partition begins at `volumes`. `image-builder` lays them out so: see its
/// module `layout`.
fn parts(size: u64, volumes: u64) -> Vec<Part> {
    let part = |start, name| Part { start, name };
    // Eight extents of 4 MiB for the pool's metadata, and as many for its spare.
    let pool = volumes + MIB;
    vec![
        part(0, "the partition table"),
        part(MIB, "partition 1: the ESP"),
        part(volumes, "partition 2: LVM's label and metadata"),
        part(pool, "partition 2: the pool's metadata"),
        part(pool + 32 * MIB, "partition 2: the spare of the pool's metadata"),
        part(pool + 64 * MIB, "partition 2: the pool's data, root and data"),
        part(size - MIB, "the second partition table"),
    ]
}

/// One sentence for each part in which two images differ; none when they are the same, byte for byte.
pub fn of_images(one: &Path, other: &Path) -> Result<Vec<String>, Fault> {
    let (first, second) = (open(one)?, open(other)?);
    let sizes = [(&first, one), (&second, other)].map(|(file, path)| {
        let facts = file.metadata().map_err(Fault::file("look at", path));
        facts.map(|facts| facts.len())
    });
    let [size, other_size] = sizes;
    let (size, other_size) = (size?, other_size?);
    if size != other_size {
        return Ok(vec![format!("one has {size} bytes, the other {other_size}")]);
    }
    let mut table = [0; 512];
    // The second entry of the partition table; its first sector is the 33rd byte on.
    first
        .read_exact_at(&mut table, 1024)
        .map_err(Fault::file("read", one))?;
    let volumes = table[160..168]
        .iter()
        .rev()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        * 512;
    let parts = parts(size, volumes);
    let mut found: BTreeMap<usize, (u64, u64)> = BTreeMap::new();
    for offset in differing(&first, &second, size).map_err(Fault::file("compare", other))? {
        let part = parts.partition_point(|part| part.start <= offset) - 1;
        found.entry(part).or_insert((offset, 0)).1 += 1;
    }
    let sentence = |(part, (first, count)): (usize, (u64, u64))| {
        let Part { start, name } = parts[part];
        format!(
            "{name}: {count} blocks of 4 KiB differ, the first at {} of it",
            first - start
        )
    };
    Ok(found.into_iter().map(sentence).collect())
}

/// Where blocks of 4 KiB differ.
fn differing(one: &File, other: &File, size: u64) -> io::Result<Vec<u64>> {
    let (mut left, mut right) = (vec![0; PIECE], vec![0; PIECE]);
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(next) = data_from(one, offset)?
        .into_iter()
        .chain(data_from(other, offset)?)
        .min()
    {
        offset = next / PIECE as u64 * PIECE as u64;
        let count = usize::try_from(size - offset).map_or(PIECE, |rest| rest.min(PIECE));
        let (left, right) = (&mut left[..count], &mut right[..count]);
        one.read_exact_at(left, offset)?;
        other.read_exact_at(right, offset)?;
        if left != right {
            let blocks = left
                .chunks(4096)
                .zip(right.chunks(4096))
                .zip((offset..).step_by(4096));
            found.extend(blocks.filter_map(|((left, right), at)| (left != right).then_some(at)));
        }
        offset += count as u64;
    }
    Ok(found)
}

/// The next byte at or after `offset` that is not in a hole; an image is mostly holes.
fn data_from(file: &File, offset: u64) -> io::Result<Option<u64>> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    match lseek(file, offset, Whence::SeekData) {
        Ok(found) => u64::try_from(found).map(Some).map_err(io::Error::other),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// One sentence for each file in which two tars differ, in content or in what is said of it, and for the order.
pub fn of_tars(one: &Path, other: &Path) -> Result<Vec<String>, Fault> {
    let (first, second) = (members(one)?, members(other)?);
    let (mut left, mut right) = (BTreeMap::new(), BTreeMap::new());
    left.extend(first.iter().map(|(name, member)| (name, member)));
    right.extend(second.iter().map(|(name, member)| (name, member)));
    let mut sentences = Vec::new();
    for (name, member) in &left {
        match right.get(name) {
            None => sentences.push(format!("{name}: only in the first")),
            Some(twin) if twin.content != member.content => sentences.push(format!("{name}: its content")),
            Some(twin) if twin.header != member.header => {
                sentences.push(format!("{name}: owner, mode, time or kind"));
            }
            Some(_) => {}
        }
    }
    let only = right.keys().filter(|name| !left.contains_key(*name));
    sentences.extend(only.map(|name| format!("{name}: only in the second")));
    if sentences.is_empty()
        && first
            .iter()
            .map(|(name, _)| name)
            .ne(second.iter().map(|(name, _)| name))
    {
        sentences.push("the order of the files".to_owned());
    }
    let rest = sentences.len().saturating_sub(NAMED);
    sentences.truncate(NAMED);
    if rest > 0 {
        sentences.push(format!("and {rest} more"));
    }
    Ok(sentences)
}

#[derive(Debug, PartialEq, Eq)]
struct Member {
    header: Vec<u8>,
    content: String,
}

fn members(tar: &Path) -> Result<Vec<(String, Member)>, Fault> {
    let mut archive = tar::Archive::new(open(tar)?);
    let read = |entry: io::Result<tar::Entry<'_, File>>| {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        let header = entry.header().as_bytes().to_vec();
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        let content = hex_sha256([content.as_slice()]);
        Ok((name, Member { header, content }))
    };
    let entries = archive.entries().map_err(Fault::file("read", tar))?;
    entries
        .map(read)
        .collect::<io::Result<_>>()
        .map_err(Fault::file("read", tar))
}

fn open(path: &Path) -> Result<File, Fault> {
    File::open(path).map_err(Fault::file("open", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 700 * MIB;
    const VOLUMES: u64 = 513 * MIB;

    /// A sparse image with the second partition's entry, and `bytes` at these places.
    fn image(folder: &Path, name: &str, bytes: &[(u64, u8)]) -> std::path::PathBuf {
        let path = folder.join(name);
        let file = File::create(&path).expect("a file");
        file.set_len(SIZE).expect("sized");
        let sector = (VOLUMES / 512).to_le_bytes();
        file.write_all_at(&sector, 1024 + 160).expect("written");
        for (place, byte) in bytes {
            file.write_all_at(&[*byte], *place).expect("written");
        }
        path
    }

    #[test]
    fn a_byte_that_differs_is_named_by_the_part_that_holds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = image(folder.path(), "one", &[(VOLUMES + MIB, 7)]);
        let same = image(folder.path(), "same", &[(VOLUMES + MIB, 7)]);
        assert_eq!(of_images(&one, &same).expect("compared"), [""; 0]);
        let places = [
            (MIB + 5000, 1),
            (VOLUMES + MIB, 7),
            (VOLUMES + 66 * MIB, 1),
            (SIZE - 1, 1),
        ];
        let other = image(folder.path(), "other", &places);
        let said = of_images(&one, &other).expect("compared").join("\n");
        assert_eq!(
            said,
            "partition 1: the ESP: 1 blocks of 4 KiB differ, the first at 4096 of it\n\
             partition 2: the pool's data, root and data: 1 blocks of 4 KiB differ, the first at 1048576 of it\n\
             the second partition table: 1 blocks of 4 KiB differ, the first at 1044480 of it"
        );
    }

    fn tar_of(folder: &Path, name: &str, files: &[(&str, &str, u64)]) -> std::path::PathBuf {
        let path = folder.join(name);
        let mut builder = tar::Builder::new(File::create(&path).expect("a file"));
        for (name, content, time) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mtime(*time);
            header.set_cksum();
            builder
                .append_data(&mut header, name, content.as_bytes())
                .expect("added");
        }
        builder.finish().expect("written");
        path
    }

    #[test]
    fn files_that_differ_are_named_with_what_differs() {
        let folder = tempfile::tempdir().expect("a folder");
        let one = tar_of(
            folder.path(),
            "one",
            &[("a", "1", 1), ("b", "2", 1), ("c", "3", 1)],
        );
        let other = tar_of(
            folder.path(),
            "other",
            &[("a", "x", 1), ("b", "2", 9), ("d", "4", 1)],
        );
        assert_eq!(
            of_tars(&one, &other).expect("compared"),
            [
                "a: its content",
                "b: owner, mode, time or kind",
                "c: only in the first",
                "d: only in the second"
            ]
        );
        let turned = tar_of(
            folder.path(),
            "turned",
            &[("b", "2", 1), ("a", "1", 1), ("c", "3", 1)],
        );
        assert_eq!(
            of_tars(&one, &turned).expect("compared"),
            ["the order of the files"]
        );
        assert_eq!(of_tars(&one, &one).expect("compared"), [""; 0]);
    }
}
