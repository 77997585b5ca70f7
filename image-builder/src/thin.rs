//! What lies where in the thin pool: the blocks of the file systems that are not empty, and the pool's metadata.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::ImageError;
use crate::layout::{CHUNK, EXTENT, Layout};
use crate::lvm::{DATA_DEVICE, ROOT_DEVICE, TRANSACTION};
use crate::sparse::for_each_block;

/// A run of blocks of a thin volume, and where it lies in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    origin: u64,
    data: u64,
    length: u64,
}

/// Packs volumes into the pool, one block after the other.
pub(crate) struct Packer<'a> {
    image: &'a File,
    pool: u64,
    next: u64,
    capacity: u64,
}

impl<'a> Packer<'a> {
    /// Packs into the pool of an image laid out as `layout`.
    pub(crate) fn new(image: &'a File, layout: &Layout) -> Self {
        let pool = layout.extent_offset(layout.pool_start());
        Self {
            image,
            pool,
            next: 0,
            capacity: layout.pool_extents * EXTENT / CHUNK,
        }
    }

    /// Copies the blocks of a file that are not empty; what is empty stays unmapped, and reads as zeros.
    pub(crate) fn add(&mut self, volume: &Path) -> Result<Vec<Run>, ImageError> {
        let file = File::open(volume).map_err(ImageError::io("open", volume))?;
        let mut runs = Vec::new();
        for_each_block(&file, CHUNK, |origin, block| {
            if self.next == self.capacity {
                return Err(io::Error::other("the thin pool is full"));
            }
            self.image.write_all_at(block, self.pool + self.next * CHUNK)?;
            extend(
                &mut runs,
                Run {
                    origin,
                    data: self.next,
                    length: 1,
                },
            );
            self.next += 1;
            Ok(())
        })
        .map_err(ImageError::io("copy into the pool", volume))?;
        Ok(runs)
    }
}

fn extend(runs: &mut Vec<Run>, next: Run) {
    match runs.last_mut() {
        Some(last) if last.origin + last.length == next.origin && last.data + last.length == next.data => {
            last.length += next.length;
        }
        _ => runs.push(next),
    }
}

/// The pool's metadata in the form that `thin_restore` reads.
pub(crate) fn metadata_xml(layout: &Layout, root: &[Run], data: &[Run]) -> String {
    let blocks = layout.pool_extents * EXTENT / CHUNK;
    format!(
        "<superblock uuid=\"\" time=\"0\" transaction=\"{TRANSACTION}\" flags=\"0\" version=\"2\" \
         data_block_size=\"{}\" nr_data_blocks=\"{blocks}\">\n{}{}</superblock>\n",
        CHUNK / 512,
        device_xml(ROOT_DEVICE, 0, root),
        device_xml(DATA_DEVICE, 1, data),
    )
}

fn device_xml(device: u64, created: u64, runs: &[Run]) -> String {
    let mapped: u64 = runs.iter().map(|run| run.length).sum();
    let mut xml = format!(
        "<device dev_id=\"{device}\" mapped_blocks=\"{mapped}\" transaction=\"{created}\" creation_time=\"0\" \
         snap_time=\"0\">\n"
    );
    for Run { origin, data, length } in runs {
        let _infallible = writeln!(
            xml,
            "<range_mapping origin_begin=\"{origin}\" data_begin=\"{data}\" length=\"{length}\" time=\"0\"/>"
        );
    }
    xml + "</device>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(origin: u64, data: u64, length: u64) -> Run {
        Run { origin, data, length }
    }

    #[test]
    fn neighbouring_blocks_become_one_run() {
        let mut runs = Vec::new();
        for (origin, data) in [(0, 0), (1, 1), (5, 2), (6, 3)] {
            extend(&mut runs, run(origin, data, 1));
        }
        assert_eq!(runs, [run(0, 0, 2), run(5, 2, 2)]);
    }
}
