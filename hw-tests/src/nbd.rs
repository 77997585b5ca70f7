//! A small NBD client: reads and writes blocks of a disk image in any format that `qemu-nbd` serves on a Unix socket.
//!
//! This machine needs no kernel support for it. Format: the "fixed newstyle" handshake and simple replies of the NBD
//! protocol (`doc/proto.md` of the NetworkBlockDevice project).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::boot_partition::BlockDevice;

const OPTION_MAGIC: &[u8; 8] = b"IHAVEOPT";
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;
const FIXED_NEWSTYLE_NO_ZEROES: u32 = 0b11;
const OPTION_EXPORT_NAME: u32 = 1;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Request types.
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;

/// A connected block device; dropping it disconnects.
#[derive(Debug)]
pub struct Nbd {
    stream: UnixStream,
    size: u64,
}

impl Nbd {
    /// Speaks the handshake on a fresh connection.
    pub fn new(mut stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let greeting: [u8; 18] = read(&mut stream)?;
        if &greeting[..8] != b"NBDMAGIC" || &greeting[8..16] != OPTION_MAGIC {
            return Err(io::Error::other("this is no NBD server"));
        }
        let mut hello = FIXED_NEWSTYLE_NO_ZEROES.to_be_bytes().to_vec();
        hello.extend_from_slice(OPTION_MAGIC);
        hello.extend_from_slice(&OPTION_EXPORT_NAME.to_be_bytes());
        hello.extend_from_slice(&0u32.to_be_bytes());
        stream.write_all(&hello)?;
        let size = u64::from_be_bytes(read(&mut stream)?);
        let _flags: [u8; 2] = read(&mut stream)?;
        Ok(Self { stream, size })
    }

    /// The size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn request(&mut self, kind: u16, offset: u64, length: usize, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(length).map_err(io::Error::other)?;
        let mut request = REQUEST_MAGIC.to_be_bytes().to_vec();
        request.extend_from_slice(&0u16.to_be_bytes());
        request.extend_from_slice(&kind.to_be_bytes());
        request.extend_from_slice(&0u64.to_be_bytes());
        request.extend_from_slice(&offset.to_be_bytes());
        request.extend_from_slice(&length.to_be_bytes());
        request.extend_from_slice(payload);
        self.stream.write_all(&request)
    }

    fn reply(&mut self) -> io::Result<()> {
        let reply: [u8; 16] = read(&mut self.stream)?;
        let word = |at: usize| u32::from_be_bytes([reply[at], reply[at + 1], reply[at + 2], reply[at + 3]]);
        match (word(0), word(4)) {
            (REPLY_MAGIC, 0) => Ok(()),
            (REPLY_MAGIC, error) => Err(io::Error::from_raw_os_error(error.cast_signed())),
            _ => Err(io::Error::other("the NBD server's reply makes no sense")),
        }
    }
}

impl BlockDevice for Nbd {
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.request(READ, offset, buffer.len(), &[])?;
        self.reply()?;
        self.stream.read_exact(buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.request(WRITE, offset, bytes.len(), bytes)?;
        self.reply()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.request(FLUSH, 0, 0, &[])?;
        self.reply()
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        // Without it the server notices the closed socket all the same.
        let _ = self.request(DISCONNECT, 0, 0, &[]);
    }
}

fn read<const N: usize>(stream: &mut UnixStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}
