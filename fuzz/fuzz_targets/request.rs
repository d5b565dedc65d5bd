#![no_main]
mod in_memory;
libfuzzer_sys::fuzz_target!(|data: &[u8]| in_memory::gateway().request(data));
