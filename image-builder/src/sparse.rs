//! Sparse files: only what is not zero is read and copied.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

/// Calls `action` with the number and bytes of each block of `size` bytes that is not all zeros. A rest that is no whole
/// block is left out: parts of an image are whole blocks.
pub(crate) fn for_each_block(
    file: &File,
    size: u64,
    mut action: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut block = vec![0; usize::try_from(size).expect("a block fits memory")];
    let zeros = block.clone();
    let blocks = file.metadata()?.len() / size;
    let mut next = 0;
    while let Some(number) = data_from(file, next * size)?
        .map(|offset| offset / size)
        .filter(|n| *n < blocks)
    {
        file.read_exact_at(&mut block, number * size)?;
        if block != zeros {
            action(number, &block)?;
        }
        next = number + 1;
    }
    Ok(())
}

/// The next byte at or after `offset` that is not in a hole.
fn data_from(file: &File, offset: u64) -> io::Result<Option<u64>> {
    let offset = i64::try_from(offset).map_err(io::Error::other)?;
    match lseek(file, offset, Whence::SeekData) {
        Ok(found) => u64::try_from(found).map(Some).map_err(io::Error::other),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 64 * 1024;

    fn seen(file: &File) -> Vec<(u64, u8)> {
        let mut seen = Vec::new();
        for_each_block(file, SIZE, |number, block| {
            seen.push((number, block[5]));
            Ok(())
        })
        .expect("a walk");
        seen
    }

    #[test]
    fn blocks_of_zeros_are_not_visited_whether_written_or_not() {
        let file = tempfile::tempfile().expect("a file");
        file.set_len(8 * SIZE).expect("a size");
        file.write_all_at(b"x", 2 * SIZE + 5).expect("a byte");
        file.write_all_at(&[0; 100], 4 * SIZE).expect("zeros");
        file.write_all_at(b"y", 7 * SIZE + 5).expect("a byte");
        assert_eq!(seen(&file), [(2, b'x'), (7, b'y')]);
    }

    #[test]
    fn empty_file_has_no_blocks() {
        assert_eq!(seen(&tempfile::tempfile().expect("a file")), []);
    }
}
