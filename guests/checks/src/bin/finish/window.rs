//! A gigabyte of virtual addresses whose first pages are mapped as the checks want them.

use core::cell::UnsafeCell;

use guest_runtime::mmu;

#[repr(C, align(4096))]
struct Table(UnsafeCell<[u64; 512]>);

/// The pages and the tables that they take.
pub struct Window {
    index: usize,
    level_2: Table,
    level_3: Table,
}

// SAFETY: this guest has one core.
unsafe impl Sync for Window {}

impl Window {
    /// The gigabyte at `index` GiB, in which nothing is.
    pub const fn new(index: usize) -> Self {
        Self { index, level_2: Table(UnsafeCell::new([0; 512])), level_3: Table(UnsafeCell::new([0; 512])) }
    }

    /// Its first address.
    pub fn start(&self) -> u64 {
        (self.index as u64) << 30
    }

    /// The address of a page's descriptor.
    pub fn descriptor(&self, index: usize) -> u64 {
        self.level_3.0.get() as u64 + 8 * index as u64
    }

    /// Makes these descriptors its pages.
    pub fn map(&self, pages: &[u64]) {
        let table = self.level_3.0.get() as u64;
        write(&self.level_2, 0, mmu::table(table));
        pages.iter().enumerate().for_each(|(index, page)| write(&self.level_3, index, *page));
        // SAFETY: nothing in use lies there.
        unsafe { mmu::map_by_table(self.index, self.level_2.0.get() as u64) };
    }
}

fn write(table: &Table, index: usize, descriptor: u64) {
    // SAFETY: `index` is that of a page of a check, of which there are few; the table is this window's.
    unsafe { table.0.get().cast::<u64>().add(index % 512).write_volatile(descriptor) };
}
