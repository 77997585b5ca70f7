//! A cpio archive in the "newc" format, as the kernel takes it for an initramfs (`Documentation/driver-api/early-userspace/
//! buffer-format.rst`). Archives are unpacked one after the other, so a later one replaces files of an earlier one.

/// An archive of executable files: path without a leading slash, and content. Folders must be there already.
pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (inode, (name, content)) in (1..).zip(files) {
        member(&mut bytes, inode, 0o100_755, name, content.as_bytes());
    }
    member(&mut bytes, 0, 0, "TRAILER!!!", &[]);
    bytes
}

fn member(archive: &mut Vec<u8>, inode: u32, mode: u32, name: &str, content: &[u8]) {
    let length = |bytes: usize| u32::try_from(bytes).expect("an archive of a test is small");
    // Inode, mode, owner, group, links, time, size, four device numbers, length of the name, no checksum.
    let (size, name_length) = (length(content.len()), length(name.len() + 1));
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_length, 0];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_begin_at_multiples_of_four_and_a_trailer_ends_them() {
        let archive = archive(&[("scripts/a", "12345"), ("b", "")]);
        let starts: Vec<usize> = archive
            .windows(6)
            .enumerate()
            .filter_map(|(at, bytes)| (bytes == b"070701").then_some(at))
            .collect();
        assert_eq!(starts.len(), 3);
        assert!(starts.iter().all(|start| start % 4 == 0), "{starts:?}");
        // 110 bytes of header, the name and its end.
        assert_eq!(&archive[starts[0] + 110..starts[0] + 120], b"scripts/a\0");
        assert_eq!(&archive[starts[0] + 120..starts[0] + 125], b"12345");
        assert_eq!(&archive[starts[2] + 110..starts[2] + 121], b"TRAILER!!!\0");
    }
}
