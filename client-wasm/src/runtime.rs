//! What the standard library would bring, at a third of the module's size: an allocator, and what a panic does.

#![cfg(target_arch = "wasm32")]

/// One thread, so no lock.
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

/// A trap, which TypeScript turns into an `internal` error. The message would cost core's formatting.
#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
