//! Identifiers that are the same whenever the inputs are the same.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, SHA256};

use crate::error::ImageError;

/// Accumulates the inputs of a step and gives their digest.
#[derive(Clone)]
pub(crate) struct InputDigest(Context);

impl InputDigest {
    /// Starts with a tag, so that digests of different things never meet.
    pub(crate) fn new(tag: &str) -> Self {
        let mut this = Self(Context::new(&SHA256));
        this.add(tag.as_bytes());
        this
    }

    /// Adds one input; its length goes in too, so that "ab","c" differs from "a","bc".
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Lower-case hexadecimal SHA-256.
    pub(crate) fn hex(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

/// SHA-256 of a file, hexadecimal.
pub(crate) fn file_digest(path: &Path) -> Result<String, ImageError> {
    let mut file = File::open(path).map_err(ImageError::io("open", path))?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(context.finish().as_ref())),
            Ok(count) => context.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(ImageError::io("read", path)(error)),
        }
    }
}

/// A version-8 (vendor-specific) UUID made of a digest and a purpose.
pub(crate) fn uuid(inputs: &str, purpose: &str) -> String {
    let mut bytes = derive(inputs, purpose);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes[..16]);
    [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..32],
    ]
    .join("-")
}

/// The 32 characters of an LVM id, without the dashes that LVM prints.
pub(crate) fn lvm_id(inputs: &str, purpose: &str) -> String {
    const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    derive(inputs, purpose)
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % 62]))
        .collect()
}

/// A FAT volume id: eight hexadecimal digits.
pub(crate) fn fat_id(inputs: &str) -> String {
    hex(&derive(inputs, "fat")[..4])
}

fn derive(inputs: &str, purpose: &str) -> [u8; 32] {
    let mut digest = InputDigest::new("fleet-image id");
    digest.add(inputs.as_bytes());
    digest.add(purpose.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.0.finish().as_ref());
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_depend_on_inputs_and_purpose_alone() {
        assert_eq!(uuid("a", "root"), uuid("a", "root"));
        assert_ne!(uuid("a", "root"), uuid("a", "data"));
        assert_ne!(uuid("a", "root"), uuid("b", "root"));
    }

    #[test]
    fn uuid_says_that_it_is_vendor_specific() {
        let text = uuid("x", "y");
        assert_eq!(text.len(), 36);
        assert_eq!(text.as_bytes()[14], b'8');
    }

    #[test]
    fn lvm_id_has_32_characters_that_lvm_accepts() {
        let id = lvm_id("x", "vg");
        assert_eq!(id.len(), 32);
        assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }

    #[test]
    fn moving_a_byte_between_inputs_changes_the_digest() {
        let (mut one, mut two) = (InputDigest::new("t"), InputDigest::new("t"));
        one.add(b"ab");
        one.add(b"c");
        two.add(b"a");
        two.add(b"bc");
        assert_ne!(one.hex(), two.hex());
    }
}
