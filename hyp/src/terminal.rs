//! temp
pub struct Emergency;
impl Emergency { pub fn begin() -> Self { Emergency } }
impl core::fmt::Write for Emergency {
    fn write_str(&mut self, s: &str) -> core::fmt::Result {
        for b in s.bytes() { unsafe { core::ptr::write_volatile(0x0900_0000 as *mut u32, b as u32) } }
        Ok(())
    }
}
pub fn stop_machine(_: bool) -> ! { crate::arch::aarch64::halt() }
