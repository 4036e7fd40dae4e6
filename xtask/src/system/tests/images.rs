//! Images are recognised by their content; those that cannot run are refused by name.

use std::io::Write;

use super::support::{AARCH64, Workshop, accepted, elf, guest_vm, linux_image};

/// The message about an image with this content, and what to change.
fn refused(data: &[u8], kind: &str) -> String {
    let workshop = Workshop::new();
    workshop.write("file", data);
    let error = workshop.compile(&guest_vm(&format!("image = {{ path = \"file\"{kind} }}")));
    let error = error.expect_err("this image cannot run");
    assert_eq!(error.position(), Some((5, 18)), "the image's path");
    assert!(error.help().is_some());
    error.message().to_string()
}

#[test]
fn images_for_other_machines_are_refused() {
    let mut bz_image = vec![0; 1024];
    bz_image[0x202..0x206].copy_from_slice(b"HdrS");
    assert_eq!(refused(&bz_image, ""), "`file` is an x86 Linux kernel (bzImage)");
    let x86 = elf(62, 0, &[(0, 0, &[1], 1)]);
    assert_eq!(refused(&x86, ""), "`file` is an ELF file for x86-64, not for AArch64");
    let other = elf(40, 0, &[(0, 0, &[1], 1)]);
    assert_eq!(refused(&other, ""), "`file` is an ELF file for machine 40, not for AArch64 (183)");
    let mut narrow = elf(AARCH64, 0, &[(0, 0, &[1], 1)]);
    narrow[4] = 1;
    assert_eq!(refused(&narrow, ""), "`file` is a 32-bit ELF file");
    narrow[4..6].copy_from_slice(&[2, 2]);
    assert_eq!(refused(&narrow, ""), "`file` is a big-endian ELF file");
}

#[test]
fn files_that_are_no_images_are_refused() {
    assert_eq!(refused(&[], ""), "`file` is empty");
    assert_eq!(refused(b"MZ\0\0zimg", ""), "`file` is a compressed EFI kernel (zboot): unpack it first");
    assert_eq!(refused(b"MZ and more", ""), "`file` is a PE (EFI or Windows) program");
    assert_eq!(refused(b"\xd0\x0d\xfe\xed", ""), "`file` is a device tree blob or a FIT image");
    assert_eq!(refused(b"\x27\x05\x19\x56", ""), "`file` is a U-Boot image (uImage): give what it was made of");
    assert_eq!(refused(b"\xfd7zXZ\0", ""), "`file` is xz-compressed: unpack it first");
    assert_eq!(refused(b"070701", ""), "`file` is a cpio archive: give it as `initrd`");
}

#[test]
fn broken_elf_files_are_refused() {
    let good = elf(AARCH64, 0x4008_0000, &[(0x4008_0000, 0x4008_0000, &[1; 100], 100)]);
    let mut object = good.clone();
    object[16] = 1;
    assert_eq!(refused(&object, ""), "`file` is an ELF file that is not linked: link it to an executable");
    assert_eq!(refused(&good[..good.len() - 1], ""), "`file` is a damaged ELF file: a segment goes beyond its end");
    let wide = elf(AARCH64, 0, &[(0, 0, &[1; 100], 99)]);
    assert_eq!(refused(&wide, ""), "`file` is a damaged ELF file: a segment is larger in the file than in memory");
    let nothing = elf(AARCH64, 0, &[]);
    assert_eq!(refused(&nothing, ""), "`file` is an ELF file without anything to load");
    assert_eq!(refused(&good[..18], ""), "`file` is a damaged ELF file: it ends within its header");
    for length in 6..good.len() {
        refused(&good[..length], "");
    }
}

#[test]
fn a_kind_that_does_not_fit_is_refused() {
    assert_eq!(refused(&[1; 100], ", kind = \"linux\""), "`file` is no arm64 Linux Image");
    assert_eq!(refused(&[1; 100], ", kind = \"elf\""), "`file` is no ELF file");
}

#[test]
fn a_raw_image_may_be_anything() {
    let workshop = Workshop::new();
    workshop.write("file", b"MZ\0\0zimg");
    let (_, manifest) = accepted(&workshop, &guest_vm("image = { path = \"file\", kind = \"raw\" }"));
    assert_eq!(manifest.vms[0].entry, 0x4008_0000);
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).expect("into memory");
    encoder.finish().expect("into memory")
}

#[test]
fn a_gzipped_kernel_is_unpacked() {
    let workshop = Workshop::new();
    let image = linux_image(100_000, 0, 0x20_0000);
    workshop.write("vmlinuz", &gzip(&image));
    let (system, manifest) = accepted(&workshop, &guest_vm("image = \"vmlinuz\""));
    let segment = &manifest.vms[0].segments[0];
    assert_eq!(system.archive[segment.archive_offset..][..segment.file_bytes], image);
    assert_eq!(refused(&gzip(&[1; 100]), ""), "`file` is gzip'ed, but holds no arm64 Linux Image");
    let cut = &gzip(&image)[..100];
    assert!(refused(cut, "").starts_with("`file` is gzip'ed, but cannot be unpacked: "));
}
