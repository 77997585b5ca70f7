//! The disk of a virtual device: layers of qcow2 over a raw image that is never written to.
//!
//! # What a power cut loses
//!
//! The disk tells the device that it has a volatile write cache, and each power-on begins a fresh layer. In a fresh layer, a first write to
//! a 64 KiB cluster needs a new entry in qcow2's mapping tables. QEMU holds those tables in its own memory (32 MiB cover far more than our
//! disks, so nothing is evicted) and writes them out when the device flushes. Killing QEMU therefore loses what was written but not
//! flushed: the cluster shows its old content, as on a disk that lost its cache. What was flushed is in the host's page cache, which
//! survives the kill; so sparing the host's fsync (`cache.no-flush`) changes nothing here and makes the device several times faster.
//!
//! Less cruel than a real disk in one way: a second write to a cluster that was flushed since power-on goes in place and stays. A
//! real disk may lose it or keep it, so both are legal, and a test cannot count on either. Torn sectors are not simulated.

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_testbed::process::{Service, ServiceSpec, run_to_end};

use crate::boot_partition::BootPartition;
use crate::error::Fault;
use crate::nbd::Nbd;
use crate::tools::Tools;

const NBD_DEADLINE: Duration = Duration::from_secs(20);

/// What lies under the layers.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) path: PathBuf,
    /// `raw` or `qcow2`.
    pub(crate) format: &'static str,
}

/// The layers of one rig.
#[derive(Debug)]
pub(crate) struct Disk {
    tools: Tools,
    folder: PathBuf,
    sockets: PathBuf,
    base: Base,
    size_gib: u32,
    /// Oldest first; never more than two, see [`Disk::begin_layer`].
    layers: Vec<PathBuf>,
    count: u32,
}

impl Disk {
    /// A disk of `size_gib` over `base`, with its layers in `folder`.
    pub(crate) fn new(tools: &Tools, folder: PathBuf, sockets: PathBuf, base: Base, size_gib: u32) -> Self {
        Self {
            tools: tools.clone(),
            folder,
            sockets,
            base,
            size_gib,
            layers: Vec::new(),
            count: 0,
        }
    }

    /// All files, top first, the base last.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.layers
            .iter()
            .rev()
            .chain([&self.base.path])
            .cloned()
            .collect()
    }

    /// Begins a fresh top layer and gives its path. The layer of the power-on before the last is folded into the one
    /// below, so that a hundred power cuts do not make a hundred layers.
    pub(crate) fn begin_layer(&mut self) -> Result<PathBuf, Fault> {
        self.fold()?;
        self.count += 1;
        let layer = self.folder.join(format!("layer-{}.qcow2", self.count));
        let (below, format) = match self.layers.last() {
            Some(below) => (below, "qcow2"),
            None => (&self.base.path, self.base.format),
        };
        let mut args: Vec<OsString> = ["create", "-q", "-f", "qcow2", "-F", format, "-b"]
            .map(Into::into)
            .to_vec();
        args.extend([
            below.into(),
            (&layer).into(),
            format!("{}G", self.size_gib).into(),
        ]);
        run_to_end(&self.tools.qemu_img, &args)?;
        self.layers.push(layer.clone());
        Ok(layer)
    }

    /// Folds all layers into one, and moves it to `place`.
    pub(crate) fn move_to(mut self, place: &Path) -> Result<(), Fault> {
        self.fold()?;
        let layer = self.layers.first().expect("a device that ran has a layer");
        fs::rename(layer, place).map_err(Fault::file("move", layer))
    }

    /// Opens the boot partition of the device, which must be off, and hands it to `work`.
    pub(crate) fn with_boot_partition<T>(
        &mut self,
        work: impl FnOnce(BootPartition<Nbd>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.with_blocks(|disk| BootPartition::open(disk).and_then(work))
    }

    /// Opens the whole disk of the device, which must be off, and hands it to `work`. What is written lasts.
    pub(crate) fn with_blocks<T>(&mut self, work: impl FnOnce(Nbd) -> Result<T, Fault>) -> Result<T, Fault> {
        let top = match self.layers.last() {
            Some(top) => top.clone(),
            None => self.begin_layer()?,
        };
        let socket = self.sockets.join("nbd");
        let args: [OsString; 5] = [
            "--socket".into(),
            (&socket).into(),
            "--format=qcow2".into(),
            "--cache=unsafe".into(),
            top.into(),
        ];
        let log = self.folder.join("nbd.log");
        let mut server = Service::start(ServiceSpec::new("qemu-nbd", &self.tools.qemu_nbd, args, &log))?;
        let stream = server.wait_until("open its socket", NBD_DEADLINE, || {
            UnixStream::connect(&socket).map_err(|error| error.to_string())
        })?;
        let nbd = Nbd::new(stream).map_err(Fault::connection("qemu-nbd"))?;
        let outcome = work(nbd);
        // It ends by itself when its only client is gone; until then the layer is locked and not complete.
        server.wait("end", NBD_DEADLINE)?;
        outcome
    }

    fn fold(&mut self) -> Result<(), Fault> {
        while self.layers.len() > 1 {
            let top = self.layers.last().expect("there are two").clone();
            let commit = ["commit", "-q", "-d", "-t", "unsafe", "-f", "qcow2"].map(Path::new);
            run_to_end(&self.tools.qemu_img, commit.into_iter().chain([top.as_path()]))?;
            fs::remove_file(&top).map_err(Fault::file("remove", &top))?;
            self.layers.pop();
        }
        Ok(())
    }
}
