//! Events: no bytes make the parser panic, and what it takes, it takes again the same.
#![no_main]

use kindred_shared::event::{Limits, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let limits = Limits::default();
    if let Ok(event) = parse(data, &limits) {
        let again = event.to_json();
        assert_eq!(parse(again.as_bytes(), &limits).ok(), Some(event));
    }
});
