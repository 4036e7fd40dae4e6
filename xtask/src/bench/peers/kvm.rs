//! KVM (nVHE, as the emulated cores have no VHE): Debian's kernel as the host, guests/kvm-vmm as its whole user space.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::collected::{self, Collected};
use super::command::Machine;
use super::console::{self, Next};
use super::{Guest, NOT_APART, one_line, packages, tree};
use crate::bench;
use crate::images::initramfs;
use crate::paths;
use crate::process;
use crate::progress::Step;
use crate::setup::linux;

/// The longest a run may take; a busy machine needs a tenth of it.
const LIMIT: Duration = Duration::from_secs(180);
/// How the VMM's complaints begin.
const COMPLAINT: &str = "kvm-vmm: ";
/// The host's first file system, in the format of [`initramfs`]; the files are beside one another.
const FILES: &str = "\
dir /dev 0755 0 0
nod /dev/console 0600 0 0 c 5 1
nod /dev/kvm 0600 0 0 c 10 232
file /init init 0755 0 0
file /image image 0644 0 0
file /tree tree 0644 0 0
";

/// How the host backs the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// With huge pages where it can, as Debian's kernel does by default; the image is copied.
    Default,
    /// With 4 KiB pages only.
    Small,
    /// As by default, but the image's pages are those of its file until the guest writes to them.
    SharedImage,
}

/// All figures of KVM; in one line why there are none.
///
/// Debian's kernel gives a guest huge pages. Then one touch in 512 costs a whole one: what a page's touch costs is
/// measured without.
pub fn measure(image: &Path, writer: &Path, gic: u32, step: &Step) -> Result<String, String> {
    let run = |image, command_line, cpus, pages| run(&Guest::bench(image, command_line, gic, cpus), pages, step);
    let console = run(image, "", 1, Pages::Default)?;
    let began = collected::began(&console);
    let mut all = Collected::new(gic, console);
    all.replace("sgi_other_vcpu", run(image, "ops=sgi_other_vcpu", 2, Pages::Default));
    all.replace("page_first_touch", run(image, "ops=page_first_touch", 1, Pages::Small));
    all.replace("cow_break", run(writer, "", 1, Pages::SharedImage));
    all.set("boot_to_guest", began);
    for operation in ["el2_memory_bytes", "image_bytes"] {
        all.set(operation, Err("a whole Linux".to_owned()));
    }
    all.set("scrub_128_mib", Err(NOT_APART.to_owned()));
    all.set("linux_to_init", bench::linux::under_kvm(gic, step));
    Ok(all.into_text())
}

/// Runs the guest under KVM: its console's text, or in one line why there is none.
pub fn run(guest: &Guest, pages: Pages, step: &Step) -> Result<String, String> {
    boot(guest, pages, step).map_err(|error| one_line(&error))
}

fn boot(guest: &Guest, pages: Pages, step: &Step) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let place = folder.path();
    let machine = machine(guest, place, step)?;
    step.shown()(&format!("running the guest under KVM, GICv{}", guest.gic));
    let mut command = machine.command();
    command.arg("-initrd").arg(place.join("initramfs")).args(["-append", &kernel_arguments(guest, pages)]);
    command.args(guest.counting());
    guest_text(guest, &console::watch(command, LIMIT, |_| Next::Wait)?)
}

/// Makes all files of the machine in `place`.
fn machine(guest: &Guest, place: &Path, step: &Step) -> Result<Machine> {
    compile(&packages::c_library(step)?, &place.join("init"), step)?;
    fs::copy(guest.image, place.join("image")).with_context(|| guest.image.display().to_string())?;
    let mut files = FILES.to_owned();
    let mut initrd_bytes = None;
    if let Some(initrd) = guest.initrd {
        initrd_bytes = Some(fs::copy(initrd, place.join("initrd")).with_context(|| initrd.display().to_string())?);
        files.push_str("file /initrd initrd 0644 0 0\n");
    }
    fs::write(place.join("tree"), tree::kvm_guest(guest, initrd_bytes).to_dtb())?;
    fs::write(place.join("initramfs"), initramfs::pack(&files, place, Path::new(""))?)?;
    let file = place.join("host.dtb");
    fs::write(&file, tree::machine(step, guest, place)?.to_dtb())?;
    Ok(Machine { gic: guest.gic, cpus: guest.cpus, tree: file, kernel: linux::kernel() })
}

/// Compiles the VMM with the headers and libraries under `root`.
fn compile(root: &Path, program: &Path, step: &Step) -> Result<()> {
    let compiler = packages::compiler()?;
    let own_headers = process::output(Command::new(compiler).arg("-print-file-name=include"))?;
    let library = root.join("usr/lib/aarch64-linux-gnu");
    let mut compile = Command::new(compiler);
    compile.args(["-O2", "-Wall", "-Wextra", "-static", "-pthread", "-nostdinc"]);
    for headers in
        [Path::new(own_headers.trim()), &root.join("usr/include"), &root.join("usr/include/aarch64-linux-gnu")]
    {
        compile.arg("-isystem").arg(headers);
    }
    compile.arg("-B").arg(&library).arg("-L").arg(&library);
    compile.arg("-o").arg(program).arg(paths::guests().join("kvm-vmm/vmm.c"));
    process::run(step, &mut compile)
}

/// The host's command line; what Linux does not know becomes the VMM's environment.
fn kernel_arguments(guest: &Guest, pages: Pages) -> String {
    let backing = match pages {
        Pages::Default => "",
        Pages::Small => " vm_small_pages=1",
        Pages::SharedImage => " vm_share_image=1",
    };
    let (gic, cpus, mib) = (guest.gic, guest.cpus, guest.memory >> 20);
    format!("console=ttyAMA0 quiet nokaslr panic=-1 vm_gic={gic} vm_cpus={cpus} vm_mib={mib}{backing}")
}

/// The guest's lines among all of the machine's.
pub(super) fn guest_text(guest: &Guest, lines: &[String]) -> Result<String> {
    if let Some(complaint) = lines.iter().find_map(|line| line.strip_prefix(COMPLAINT)) {
        bail!("the VMM failed: {complaint}");
    }
    let text: String = lines.iter().filter(|line| !is_kernels(line)).map(|line| format!("{line}\n")).collect();
    guest.check_done(&text, lines)?;
    Ok(text)
}

/// Whether the host's kernel wrote the line: `[    0.842357] reboot: Power down`.
fn is_kernels(line: &str) -> bool {
    let time = line.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(time, _)| time.trim());
    time.is_some_and(|time| time.parse::<f64>().is_ok())
}
